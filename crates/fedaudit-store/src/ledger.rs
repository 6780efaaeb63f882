//! The coverage ledger as it is used: for each stream of a source, which instants were read, and which of them are sealed.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array as _, RecordBatch};
use fedaudit_core::{Error, ErrorKind, Result, Time, Window};

use crate::entry::Entry;
use crate::keys::text;
use crate::read;
use crate::table::Files;
use crate::windows::Windows;

/// What is known of every stream.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    streams: BTreeMap<(String, String), Coverage>,
}

/// What is known of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Name of the source when it was read last.
    pub source: String,
    /// Instants that were read to the end.
    pub covered: Windows,
    /// Those of them after which nothing late is expected; the rest is provisional.
    pub sealed: Windows,
    /// Windows in which records could not be decoded: what they were is not known.
    pub rejected: Windows,
    /// The product said last that it keeps nothing older.
    pub retention_floor: Option<Time>,
    /// When it was read last.
    pub read_at: Option<Time>,
}

impl Coverage {
    /// What has to be read of a window: everything that is not sealed.
    pub fn unsealed(&self, window: Window) -> Windows {
        Windows::of(window).without(&self.sealed)
    }

    /// What of a window was read, but may still change.
    pub fn provisional(&self, window: Window) -> Windows {
        Windows::of(window).intersect(&self.covered).without(&self.sealed)
    }
}

/// One window of an entry.
struct Piece<'p> {
    source: &'p str,
    source_key: &'p str,
    stream: &'p str,
    covered: Option<Window>,
    sealed_to: Option<Time>,
    rejected: bool,
    retention_floor: Option<Time>,
    lateness: Duration,
    as_of: Time,
}

impl Ledger {
    /// Reads what was written down. `now` bounds what can be sealed: entries of a clock that was ahead count for as much as
    /// they could have seen.
    pub(crate) async fn load(files: &Files, now: Time) -> Result<Self> {
        let mut ledger = Self::default();
        let columns = [
            "source",
            "source_key",
            "stream",
            "covered_from",
            "covered_to",
            "sealed_to",
            "rows_rejected",
            "retention_floor",
            "lateness_s",
            "as_of",
        ];
        read::rows(files, &columns, &Windows::of(Window::ALL), |rows| ledger.add_rows(&rows, now)).await?;
        Ok(ledger)
    }

    fn add_rows(&mut self, rows: &RecordBatch, now: Time) -> Result<()> {
        let [sources, keys, streams] = ["source", "source_key", "stream"].map(|name| text(rows, name));
        let (sources, keys, streams) = (sources?, keys?, streams?);
        let broken = |name: &str| Error::new(ErrorKind::Malformed, format!("rows without {name}"));
        let time = |name: &'static str| {
            let column = rows.column_by_name(name).and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
            let column = column.ok_or_else(|| broken(name))?;
            Ok(move |row: usize| column.is_valid(row).then(|| Time::from_micros(column.value(row))))
        };
        let number = |name: &'static str| {
            let column = rows.column_by_name(name).and_then(|c| c.as_primitive_opt::<Int64Type>());
            Ok(column.ok_or_else(|| broken(name))?.values())
        };
        let (from, to, sealed_to) = (time("covered_from")?, time("covered_to")?, time("sealed_to")?);
        let (floor, as_of) = (time("retention_floor")?, time("as_of")?);
        let (rejected, lateness) = (number("rows_rejected")?, number("lateness_s")?);
        for row in 0..rows.num_rows() {
            let covered = from(row).zip(to(row)).map(|(from, to)| Window::new(from, to));
            let piece = Piece {
                source: sources.value(row),
                source_key: keys.value(row),
                stream: streams.value(row),
                covered,
                sealed_to: sealed_to(row),
                rejected: rejected[row] > 0,
                retention_floor: floor(row),
                lateness: Duration::from_secs(lateness[row].unsigned_abs()),
                as_of: as_of(row).unwrap_or(Time::EPOCH),
            };
            self.add_piece(&piece, now);
        }
        Ok(())
    }

    /// Takes note of an entry that was written down.
    pub(crate) fn add(&mut self, entry: &Entry, now: Time) {
        let nothing = [None];
        let covered: Vec<Option<Window>> = entry.covered.iter().copied().map(Some).collect();
        for (part, covered) in if covered.is_empty() { &nothing[..] } else { &covered }.iter().enumerate() {
            let piece = Piece {
                source: &entry.source,
                source_key: &entry.source_key,
                stream: &entry.stream,
                covered: *covered,
                sealed_to: entry.sealed_to,
                rejected: part == 0 && entry.counts.rejected > 0,
                retention_floor: entry.retention_floor,
                lateness: Duration::from_secs(entry.lateness_s),
                as_of: entry.as_of,
            };
            self.add_piece(&piece, now);
        }
    }

    fn add_piece(&mut self, piece: &Piece<'_>, now: Time) {
        let key = (piece.source_key.to_owned(), piece.stream.to_owned());
        let stream = self.streams.entry(key).or_default();
        if stream.read_at.is_none_or(|read_at| read_at <= piece.as_of) {
            piece.source.clone_into(&mut stream.source);
            stream.read_at = Some(piece.as_of);
            stream.retention_floor = piece.retention_floor.or(stream.retention_floor);
        }
        let Some(covered) = piece.covered else { return };
        stream.covered.insert(covered);
        if piece.rejected {
            stream.rejected.insert(covered);
        }
        // Nothing is sealed by a clock that ran ahead of today's.
        let sealed_to = piece.sealed_to.map(|sealed| sealed.min(now.minus(piece.lateness)));
        if let Some(sealed_to) = sealed_to {
            stream.sealed.insert(covered.intersect(&Window { from: None, to: Some(sealed_to) }));
        }
    }

    /// What is known of a stream; nothing of one that was never read.
    pub fn of(&self, source_key: &str, stream: &str) -> Coverage {
        self.streams.get(&(source_key.to_owned(), stream.to_owned())).cloned().unwrap_or_default()
    }

    /// Every stream that was ever read: identity of the source, stream, what is known.
    pub fn streams(&self) -> impl Iterator<Item = (&str, &str, &Coverage)> {
        self.streams.iter().map(|((source_key, stream), coverage)| (source_key.as_str(), stream.as_str(), coverage))
    }
}
