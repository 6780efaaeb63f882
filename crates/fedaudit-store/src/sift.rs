//! Tells the rows that are new from those that are stored already and from those that changed since.

use std::collections::HashSet;

use arrow_array::cast::AsArray as _;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array as _, RecordBatch, UInt32Array};
use arrow_select::take::{take, take_record_batch};
use fedaudit_core::columns::{Filled, Table};
use fedaudit_core::{Result, Time, Window, Windows};

use crate::error::internal;
use crate::keys::{Identity, Keys, Known, number, text};
use crate::read;
use crate::table::Files;

/// Rows by what is to be done with them.
#[derive(Debug)]
pub(crate) struct Sifted {
    /// To be stored.
    pub(crate) fresh: RecordBatch,
    /// Stored already, or twice among these.
    pub(crate) duplicate: u64,
    /// Stored already from another record.
    pub(crate) changed: RecordBatch,
}

/// Sifts rows by their keys.
pub(crate) fn sift(rows: &RecordBatch, identity: Identity, known: &Known) -> Result<Sifted> {
    let keys = Keys::of(rows, identity)?;
    let mut seen = HashSet::with_capacity(rows.num_rows());
    let (mut fresh, mut changed) = (Vec::new(), Vec::new());
    for row in 0..rows.num_rows() {
        let key = keys.key(row)?;
        if !seen.insert(key) {
            continue;
        }
        match known.digest(key) {
            None => fresh.push(row as u32),
            Some(digest) if digest == keys.digest(row)? => {}
            Some(_) if identity.last_counts => fresh.push(row as u32),
            Some(_) => changed.push(row as u32),
        }
    }
    let duplicate = (rows.num_rows() - fresh.len() - changed.len()) as u64;
    let of = |indices: Vec<u32>| take_record_batch(rows, &UInt32Array::from(indices)).map_err(internal);
    let fresh = if fresh.len() == rows.num_rows() { rows.clone() } else { of(fresh)? };
    Ok(Sifted { fresh, duplicate, changed: of(changed)? })
}

/// The windows in which the times of these rows lie, each batch by itself: parts of a window that were read at the same time
/// lie apart.
pub(crate) fn near(batches: &[RecordBatch], time: &str, margin: std::time::Duration) -> Windows {
    let mut near = Windows::NONE;
    for rows in batches {
        let times = rows.column_by_name(time).and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
        let bounds = times.into_iter().flatten().flatten().fold(None, |bounds: Option<(i64, i64)>, time| {
            Some(bounds.map_or((time, time), |(min, max)| (min.min(time), max.max(time))))
        });
        if let Some((min, max)) = bounds {
            let window = Window::new(Time::from_micros(min), Time::from_micros(max + 1));
            near.insert(Window {
                from: window.from.map(|from| from.minus(margin)),
                to: window.to.map(|to| to.plus(margin)),
            });
        }
    }
    near
}

/// A stored row whose record reads differently now.
#[derive(Debug)]
pub(crate) struct Edit {
    /// The row, in what was read now.
    pub(crate) row: usize,
    /// Columns that differ.
    pub(crate) columns: Vec<String>,
    /// Digest of the stored record.
    pub(crate) stored_sha256: String,
    /// When it was read.
    pub(crate) stored_fetched_at: Time,
}

/// Of rows whose record changed, those in which a mapped column differs. Rows that another version of the plugin or of the
/// product's interface brought are not compared: what changed may be the mapping.
pub(crate) async fn edits(
    files: &Files,
    table: &Table,
    identity: Identity,
    changed: &RecordBatch,
) -> Result<Vec<Edit>> {
    if changed.num_rows() == 0 {
        return Ok(Vec::new());
    }
    let keys = Keys::of(changed, identity)?;
    let mut rows_of = std::collections::HashMap::new();
    for row in 0..changed.num_rows() {
        rows_of.insert(keys.key(row)?, row);
    }
    let mapped: Vec<&str> = table
        .columns
        .iter()
        .filter(|column| column.filled == Filled::Row && !matches!(column.name, "raw" | "unmapped" | "product_version"))
        .map(|column| column.name)
        .collect();
    let wanted: Vec<&str> = mapped
        .iter()
        .copied()
        .chain([identity.key, identity.digest, "fetched_at", "plugin", "plugin_version", "product_version"])
        .collect();
    let near = near(std::slice::from_ref(changed), files.layout.time, std::time::Duration::ZERO);
    let mut edits = Vec::new();
    let mut told = HashSet::new();
    read::rows(files, &wanted, &near, |stored| {
        let [stored_keys, digests] = [identity.key, identity.digest].map(|name| text(&stored, name));
        let (stored_keys, digests) = (stored_keys?, digests?);
        for index in 0..stored.num_rows() {
            let key = number(stored_keys.value(index))?;
            let Some(row) = rows_of.get(&key).copied().filter(|_| told.insert(key)) else { continue };
            let differs = |name: &&str| differ(&stored, index, changed, row, name).unwrap_or(true);
            if ["plugin", "plugin_version", "product_version"].iter().any(differs) {
                continue;
            }
            let columns: Vec<String> = mapped.iter().copied().filter(|name| differs(name)).map(str::to_owned).collect();
            if columns.is_empty() {
                continue;
            }
            let fetched = stored
                .column_by_name("fetched_at")
                .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
            edits.push(Edit {
                row,
                columns,
                stored_sha256: digests.value(index).to_owned(),
                stored_fetched_at: Time::from_micros(fetched.map_or(0, |fetched| fetched.value(index))),
            });
        }
        Ok(())
    })
    .await?;
    Ok(edits)
}

/// Whether a column of two rows differs; `None` where it cannot be compared.
fn differ(a: &RecordBatch, row_a: usize, b: &RecordBatch, row_b: usize, name: &str) -> Option<bool> {
    let (a, b) = (a.column_by_name(name)?, b.column_by_name(name)?);
    if a.is_null(row_a) || b.is_null(row_b) {
        return Some(a.is_null(row_a) != b.is_null(row_b));
    }
    let one = |array: &arrow_array::ArrayRef, row: usize| take(array, &UInt32Array::from(vec![row as u32]), None).ok();
    let (a, b) = (one(a, row_a)?, one(b, row_b)?);
    if let (Some(a), Some(b)) = (a.as_list_opt::<i32>(), b.as_list_opt::<i32>()) {
        return Some(a.value(0).to_data() != b.value(0).to_data());
    }
    Some(a.to_data() != b.to_data())
}
