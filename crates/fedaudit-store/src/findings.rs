//! Findings about rows of the store: late rows and edited records become rows of `amendments`, records that could not be
//! decoded rows of `rejected`. Each is told once, however often it is read.

use std::collections::HashSet;

use arrow_array::cast::AsArray as _;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array as _, RecordBatch};
use fedaudit_core::key::sha256_hex;
use fedaudit_core::{Error, ErrorKind, Rejected, Result, Time, Windows};
use serde::Serialize;

use crate::columns::{AMENDMENTS, REJECTED};
use crate::entry::Entry;
use crate::keys::{Known, OF_AMENDMENTS, number, text};
use crate::read;
use crate::records;
use crate::sift::{Edit, near};
use crate::table::Files;

/// One row of `amendments`.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "fields are columns")]
struct Amendment<'a> {
    amendment_key: String,
    kind: &'static str,
    source: &'a str,
    stream: &'a str,
    source_key: &'a str,
    key: &'a str,
    time: Time,
    changed: Option<Vec<String>>,
    stored_sha256: Option<String>,
    found_sha256: &'a str,
    raw: &'a str,
    stored_fetched_at: Option<Time>,
    fetched_at: Time,
    fetch_id: &'a str,
}

/// Late and edited rows as rows of `amendments`, without those that stand there already, and how many of each kind there are.
pub(crate) async fn amendments(
    files: &Files,
    entry: &Entry,
    fresh: &RecordBatch,
    sealed: &Windows,
    changed: &RecordBatch,
    edits: Vec<Edit>,
) -> Result<(RecordBatch, u64, u64)> {
    let late: Vec<usize> = if sealed.is_empty() {
        Vec::new()
    } else {
        let times = times(fresh)?;
        (0..fresh.num_rows()).filter(|row| sealed.contains(Time::from_micros(times.value(*row)))).collect()
    };
    let (late_rows, edited_rows) = (late.len() as u64, edits.len() as u64);
    if late.is_empty() && edits.is_empty() {
        return Ok((RecordBatch::new_empty(AMENDMENTS.schema()), 0, 0));
    }
    let near = near(&[fresh.clone(), changed.clone()], "time", std::time::Duration::ZERO);
    let known = Known::load(files, OF_AMENDMENTS, &near).await?;
    let mut rows = Vec::new();
    for row in late {
        rows.push(amendment("late", entry, fresh, row, None)?);
    }
    for edit in edits {
        rows.push(amendment("edited", entry, changed, edit.row, Some(edit))?);
    }
    let mut fresh = Vec::with_capacity(rows.len());
    for row in rows {
        if known.digest(number(&row.amendment_key)?).is_none() {
            fresh.push(row);
        }
    }
    Ok((records::rows(&AMENDMENTS, &fresh)?, late_rows, edited_rows))
}

fn amendment<'a>(
    kind: &'static str,
    entry: &'a Entry,
    rows: &'a RecordBatch,
    row: usize,
    edit: Option<Edit>,
) -> Result<Amendment<'a>> {
    let (key, digest) = (text(rows, "event_key")?.value(row), text(rows, "raw_sha256")?.value(row));
    let (changed, stored_sha256, stored_fetched_at) = match edit {
        Some(edit) => (Some(edit.columns), Some(edit.stored_sha256), Some(edit.stored_fetched_at)),
        None => (None, None, None),
    };
    Ok(Amendment {
        amendment_key: key_of(&[kind, key, digest]),
        kind,
        source: &entry.source,
        stream: &entry.stream,
        source_key: &entry.source_key,
        key,
        time: Time::from_micros(times(rows)?.value(row)),
        changed,
        stored_sha256,
        found_sha256: digest,
        raw: text(rows, "raw")?.value(row),
        stored_fetched_at,
        fetched_at: entry.fetched_at,
        fetch_id: &entry.fetch_id,
    })
}

fn times(rows: &RecordBatch) -> Result<&arrow_array::TimestampMicrosecondArray> {
    rows.column_by_name("time")
        .and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>())
        .filter(|times| times.null_count() == 0)
        .ok_or_else(|| Error::new(ErrorKind::Malformed, "rows without time"))
}

/// One row of `rejected`.
#[derive(Serialize)]
struct RejectedRow<'a> {
    rejected_key: &'a str,
    source: &'a str,
    stream: &'a str,
    source_key: &'a str,
    product: &'a str,
    asked_from: Option<Time>,
    asked_to: Option<Time>,
    reason: &'a str,
    raw: &'a str,
    plugin: &'a str,
    plugin_version: &'a str,
    fetched_at: Time,
    fetch_id: &'a str,
}

/// Records that could not be decoded as rows of `rejected`, without those that stand there already.
pub(crate) async fn rejected(files: &Files, entry: &Entry, records: &[Rejected]) -> Result<RecordBatch> {
    let keys: Vec<String> =
        records.iter().map(|record| key_of(&[&entry.source_key, &entry.stream, &record.raw])).collect();
    let wanted: HashSet<&str> = keys.iter().map(String::as_str).collect();
    let mut known = among(files, &wanted).await?;
    let mut rows = Vec::new();
    for (record, rejected_key) in records.iter().zip(&keys) {
        if !known.insert(rejected_key.clone()) {
            continue;
        }
        rows.push(RejectedRow {
            rejected_key,
            source: &entry.source,
            stream: &entry.stream,
            source_key: &entry.source_key,
            product: &entry.product,
            asked_from: entry.asked.from,
            asked_to: entry.asked.to,
            reason: &record.reason,
            raw: &record.raw,
            plugin: &entry.plugin,
            plugin_version: &entry.plugin_version,
            fetched_at: entry.as_of,
            fetch_id: &entry.fetch_id,
        });
    }
    records::rows(&REJECTED, &rows)
}

/// Those of some keys that stand in `rejected`. The table is read for them: there may be many of its keys, and few at a time
/// are asked for.
async fn among(files: &Files, wanted: &HashSet<&str>) -> Result<HashSet<String>> {
    let mut found = HashSet::new();
    read::rows(files, &["rejected_key"], &Windows::of(fedaudit_core::Window::ALL), |rows| {
        let keys = text(&rows, "rejected_key")?;
        found.extend(keys.iter().flatten().filter(|key| wanted.contains(key)).map(str::to_owned));
        Ok(())
    })
    .await?;
    Ok(found)
}

/// Parts are kept apart by their lengths, as in the keys of rows.
fn key_of(parts: &[&str]) -> String {
    let mut bytes = b"fedaudit/finding/1".to_vec();
    for part in parts {
        bytes.extend((part.len() as u64).to_be_bytes());
        bytes.extend(part.as_bytes());
    }
    let digest = sha256_hex(&bytes);
    std::str::from_utf8(&digest[..32]).unwrap_or_default().to_owned()
}
