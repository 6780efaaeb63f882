//! Rows of the store's own tables: structures become Arrow rows by the names of their fields.

use arrow::json::ReaderBuilder;
use arrow_array::RecordBatch;
use fedaudit_core::{EndReason, Result, Time, Window};
use serde::Serialize;

use crate::columns::COVERAGE;
use crate::entry::Entry;
use crate::error::internal;
use fedaudit_core::columns::Table;

/// Rows of a table from structures whose fields are its columns.
pub(crate) fn rows<T: Serialize>(table: &Table, records: &[T]) -> Result<RecordBatch> {
    let schema = table.schema();
    let mut decoder = ReaderBuilder::new(schema.clone())
        .with_batch_size(records.len().max(1))
        .with_strict_mode(true)
        .build_decoder()
        .map_err(internal)?;
    decoder.serialize(records).map_err(internal)?;
    Ok(decoder.flush().map_err(internal)?.unwrap_or_else(|| RecordBatch::new_empty(schema)))
}

/// One row of `coverage`.
#[derive(Serialize)]
struct CoverageRow<'e> {
    source: &'e str,
    stream: &'e str,
    table_name: &'e str,
    source_key: &'e str,
    product: &'e str,
    fetch_id: &'e str,
    part: usize,
    status: &'e str,
    asked_from: Option<Time>,
    asked_to: Option<Time>,
    covered_from: Option<Time>,
    covered_to: Option<Time>,
    sealed_to: Option<Time>,
    complete: bool,
    rows_returned: u64,
    rows_new: u64,
    rows_duplicate: u64,
    rows_rejected: u64,
    rows_late: u64,
    rows_edited: u64,
    server_count: Option<u64>,
    pages: u64,
    end_reason: Option<EndReason>,
    retention_floor: Option<Time>,
    lateness_s: u64,
    clock_offset_ms: Option<i64>,
    clock_setbacks: u64,
    error_kind: Option<&'e str>,
    error_text: Option<&'e str>,
    notes: Option<&'e [String]>,
    plugin: &'e str,
    plugin_version: &'e str,
    as_of: Time,
    fetched_at: Time,
}

/// Entries as rows of `coverage`: one per window that was read to its end, at least one, the counts in the first.
pub(crate) fn coverage(entries: &[Entry]) -> Result<RecordBatch> {
    let nothing = [None];
    let rows_of = |entry: &Entry| {
        let covered: Vec<Option<Window>> = entry.covered.iter().copied().map(Some).collect();
        let parts = if covered.is_empty() { nothing.to_vec() } else { covered };
        parts.into_iter().enumerate().collect::<Vec<_>>()
    };
    let mut records = Vec::new();
    for entry in entries {
        for (part, covered) in rows_of(entry) {
            let count = |number: u64| if part == 0 { number } else { 0 };
            let counts = &entry.counts;
            records.push(CoverageRow {
                source: &entry.source,
                stream: &entry.stream,
                table_name: &entry.table,
                source_key: &entry.source_key,
                product: &entry.product,
                fetch_id: &entry.fetch_id,
                part,
                status: entry.status.as_str(),
                asked_from: entry.asked.from,
                asked_to: entry.asked.to,
                covered_from: covered.and_then(|covered| covered.from),
                covered_to: covered.and_then(|covered| covered.to),
                sealed_to: covered.and_then(|covered| match (covered.from, entry.sealed_to) {
                    (from, Some(sealed)) => {
                        let sealed = covered.to.map_or(sealed, |to| sealed.min(to));
                        from.is_none_or(|from| from < sealed).then_some(sealed)
                    }
                    _ => None,
                }),
                complete: entry.complete,
                rows_returned: count(counts.returned),
                rows_new: count(counts.new),
                rows_duplicate: count(counts.duplicate),
                rows_rejected: count(counts.rejected),
                rows_late: count(counts.late),
                rows_edited: count(counts.edited),
                server_count: entry.server_count,
                pages: count(entry.pages),
                end_reason: entry.end,
                retention_floor: entry.retention_floor,
                lateness_s: entry.lateness_s,
                clock_offset_ms: entry.clock_offset_ms,
                clock_setbacks: entry.clock_setbacks,
                error_kind: entry.error.as_ref().map(|error| error.error_kind.as_str()),
                error_text: entry.error.as_ref().map(|error| error.error_text.as_str()),
                notes: (!entry.notes.is_empty()).then_some(entry.notes.as_slice()),
                plugin: &entry.plugin,
                plugin_version: &entry.plugin_version,
                as_of: entry.as_of,
                fetched_at: entry.fetched_at,
            });
        }
    }
    rows(&COVERAGE, &records)
}
