//! Which rows are stored already: the keys of the files that lie at the same times. Memory is bounded by the windows that
//! are asked about, not by the store.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use arrow_array::cast::AsArray as _;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array as _, RecordBatch, StringArray, TimestampMicrosecondArray};
use fedaudit_core::{Error, ErrorKind, Result, Windows};

use crate::read;
use crate::table::Files;

/// The columns that tell rows of a table apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    /// The key.
    pub(crate) key: &'static str,
    /// The digest of the whole record.
    pub(crate) digest: &'static str,
    /// Whether a changed record is stored again: then its last state counts, otherwise its first.
    pub(crate) last_counts: bool,
}

/// An event is what it was first: one that changed is a finding.
pub(crate) const OF_EVENTS: Identity = Identity { key: "event_key", digest: "raw_sha256", last_counts: false };
/// A session goes on: its last state counts.
pub(crate) const OF_SESSIONS: Identity = Identity { key: "session_key", digest: "raw_sha256", last_counts: true };
/// A finding is told once.
pub(crate) const OF_AMENDMENTS: Identity =
    Identity { key: "amendment_key", digest: "found_sha256", last_counts: false };

/// Keys with the digest of the record that each was stored with, and when.
#[derive(Debug, Default)]
pub(crate) struct Known(HashMap<u128, (u128, i64)>);

impl Known {
    /// What the files hold at these times.
    pub(crate) async fn load(files: &Files, identity: Identity, windows: &Windows) -> Result<Self> {
        let mut known = Self::default();
        let columns = [identity.key, identity.digest, "fetched_at"];
        read::rows(files, &columns, windows, |rows| {
            let keys = Keys::of(&rows, identity)?;
            for row in 0..rows.num_rows() {
                let stored = (keys.digest(row)?, keys.fetched_at.value(row));
                match known.0.entry(keys.key(row)?) {
                    Entry::Vacant(entry) => {
                        entry.insert(stored);
                    }
                    Entry::Occupied(mut entry) => {
                        if identity.last_counts == (stored.1 > entry.get().1) {
                            entry.insert(stored);
                        }
                    }
                }
            }
            Ok(())
        })
        .await?;
        Ok(known)
    }

    /// The digest that a key was stored with.
    pub(crate) fn digest(&self, key: u128) -> Option<u128> {
        self.0.get(&key).map(|(digest, _)| *digest)
    }
}

/// Keys and digests of rows as numbers: both are hex, and half of a digest tells two records apart.
pub(crate) struct Keys<'r> {
    hex: &'r StringArray,
    digests: &'r StringArray,
    fetched_at: &'r TimestampMicrosecondArray,
}

impl<'r> Keys<'r> {
    pub(crate) fn of(rows: &'r RecordBatch, identity: Identity) -> Result<Self> {
        let fetched_at = rows
            .column_by_name("fetched_at")
            .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
            .ok_or_else(|| Error::new(ErrorKind::Malformed, "rows without fetched_at"))?;
        Ok(Self { hex: text(rows, identity.key)?, digests: text(rows, identity.digest)?, fetched_at })
    }

    pub(crate) fn key(&self, row: usize) -> Result<u128> {
        number(self.hex.value(row))
    }

    pub(crate) fn digest(&self, row: usize) -> Result<u128> {
        number(self.digests.value(row))
    }
}

/// A column of texts that is never NULL.
pub(crate) fn text<'r>(rows: &'r RecordBatch, name: &str) -> Result<&'r StringArray> {
    rows.column_by_name(name)
        .and_then(|column| column.as_string_opt::<i32>())
        .filter(|column| column.null_count() == 0)
        .ok_or_else(|| Error::new(ErrorKind::Malformed, format!("rows without {name}")))
}

/// The first 32 hex digits as a number.
pub(crate) fn number(hex: &str) -> Result<u128> {
    hex.get(..32)
        .and_then(|hex| u128::from_str_radix(hex, 16).ok())
        .ok_or_else(|| Error::new(ErrorKind::Malformed, "a key that is not made of hex digits"))
}
