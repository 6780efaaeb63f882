//! Rows become files: sorted by time, one file for each source and day, durable before anybody hears of them.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arrow_array::cast::AsArray as _;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array as _, ArrayRef, RecordBatch, UInt32Array};
use arrow_ord::sort::{SortOptions, sort_to_indices};
use arrow_schema::SchemaRef;
use arrow_select::take::take_record_batch;
use chrono::DateTime;
use deltalake_core::kernel::Add;
use fedaudit_core::key::sha256_hex;
use fedaudit_core::{Error, ErrorKind, Result, Time};
use object_store::path::Path;
use object_store::{ObjectStore as _, PutMode, PutOptions};
use parquet::arrow::ArrowWriter;
use serde_json::json;

use crate::compact::columns_of;
use crate::error::{internal, of_file, of_place};
use crate::layout::{DAY, Layout, ROW_GROUP};
use crate::table::Files;

const DAY_MICROS: i64 = 86_400_000_000;

/// Writes rows of one source as files of a table; a commit has to name them.
pub(crate) async fn write(files: &Files, source: &str, rows: &RecordBatch) -> Result<Vec<Add>> {
    let rows = sorted(files.layout, rows)?;
    let mut adds = Vec::new();
    for (day, part) in by_day(files.layout, &rows)? {
        adds.push(write_one(files, source, day, part).await?);
    }
    Ok(adds)
}

/// Writes rows that are sorted and of one day as one file.
async fn write_one(files: &Files, source: &str, day: Option<i64>, rows: RecordBatch) -> Result<Add> {
    let layout = files.layout;
    // Compression takes a while: others go on meanwhile.
    let growing = tokio::task::spawn_blocking(move || {
        let mut growing = Growing::sized(layout, rows.num_rows())?;
        growing.write(&rows)?;
        Ok::<_, Error>(growing)
    });
    let growing = growing.await.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))??;
    growing.put(files, source, day.map(day_text).as_deref()).await
}

/// A file that is being written, rows in order of time.
pub(crate) struct Growing {
    layout: &'static Layout,
    schema: SchemaRef,
    writer: ArrowWriter<Vec<u8>>,
    rows: usize,
    timeless: usize,
    bounds: Option<(i64, i64)>,
}

/// Most rows and bytes of one file.
const FULL: (usize, usize) = (2 * ROW_GROUP, 64 << 20);

impl Growing {
    /// A file of many rows.
    pub(crate) fn new(layout: &'static Layout) -> Result<Self> {
        Self::sized(layout, ROW_GROUP)
    }

    fn sized(layout: &'static Layout, rows: usize) -> Result<Self> {
        let schema = layout.file_schema();
        let properties = layout.properties(rows);
        let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties)).map_err(of_file)?;
        Ok(Self { layout, schema, writer, rows: 0, timeless: 0, bounds: None })
    }

    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let times = column(rows, self.layout.time)?.as_primitive::<TimestampMicrosecondType>();
        self.rows += rows.num_rows();
        self.timeless += times.null_count();
        self.bounds = times.iter().flatten().fold(self.bounds, |bounds, time| {
            Some(bounds.map_or((time, time), |(min, max)| (min.min(time), max.max(time))))
        });
        self.writer.write(&columns_of(&self.schema, rows)?).map_err(of_file)
    }

    /// Whether another file should be begun.
    pub(crate) fn is_full(&self) -> bool {
        self.rows >= FULL.0 || self.writer.bytes_written() + self.writer.in_progress_size() >= FULL.1
    }

    /// Puts the file where it belongs; a commit has to name it.
    pub(crate) async fn put(self, files: &Files, source: &str, day: Option<&str>) -> Result<Add> {
        let stats = self.stats();
        let folder = day.map(|day| format!("source={}/{DAY}={day}/", folder_name(source)));
        let path = Path::from(format!("{}{}.parquet", folder.unwrap_or_default(), fresh_id()));
        let bytes = self.writer.into_inner().map_err(of_file)?;
        let size = bytes.len() as i64;
        let only_new = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = files.store.put_opts(&path, bytes.into(), only_new).await;
        put.map_err(|error| of_place(&error).at(format!("table {}", self.layout.name())))?;
        let values =
            day.map(|day| [("source".to_owned(), Some(source.to_owned())), (DAY.to_owned(), Some(day.to_owned()))]);
        Ok(Add {
            path: path.to_string(),
            partition_values: values.map(HashMap::from).unwrap_or_default(),
            size,
            modification_time: chrono::Utc::now().timestamp_millis(),
            data_change: true,
            stats: Some(stats),
            ..Add::default()
        })
    }

    /// What others need to know of a file to leave it out. Milliseconds, as Delta has it: the first is rounded down, the last
    /// up.
    fn stats(&self) -> String {
        let time = self.layout.time;
        let text = |millis: i64| Time::from_micros(millis * 1000).to_string();
        let mut stats = json!({"numRecords": self.rows, "nullCount": {time: self.timeless}});
        if let Some((min, max)) = self.bounds {
            stats["minValues"] = json!({time: text(min.div_euclid(1000))});
            stats["maxValues"] = json!({time: text(-(-max).div_euclid(1000))});
        }
        stats.to_string()
    }
}

/// The rows in order of time; rows without one come last.
pub(crate) fn sorted(layout: &Layout, rows: &RecordBatch) -> Result<RecordBatch> {
    let times = column(rows, layout.time)?;
    let values = times.as_primitive::<TimestampMicrosecondType>();
    if values.null_count() == 0 && values.values().is_sorted() {
        return Ok(rows.clone());
    }
    let order = SortOptions { descending: false, nulls_first: false };
    let indices: UInt32Array = sort_to_indices(times, Some(order), None).map_err(internal)?;
    take_record_batch(rows, &indices).map_err(internal)
}

/// Sorted rows cut where a day ends. A session without a start lies where it was fetched.
fn by_day(layout: &Layout, rows: &RecordBatch) -> Result<Vec<(Option<i64>, RecordBatch)>> {
    if rows.num_rows() == 0 {
        return Ok(Vec::new());
    }
    if !layout.by_day {
        return Ok(vec![(None, rows.clone())]);
    }
    let times = column(rows, layout.time)?.as_primitive::<TimestampMicrosecondType>();
    let fetched = column(rows, "fetched_at")?.as_primitive::<TimestampMicrosecondType>();
    let day = |row: usize| {
        let time = if times.is_null(row) { fetched.value(row) } else { times.value(row) };
        time.div_euclid(DAY_MICROS)
    };
    let mut parts = Vec::new();
    let mut begin = 0;
    for row in 1..=rows.num_rows() {
        if row == rows.num_rows() || day(row) != day(begin) {
            parts.push((Some(day(begin)), rows.slice(begin, row - begin)));
            begin = row;
        }
    }
    Ok(parts)
}

fn day_text(day: i64) -> String {
    let date = DateTime::from_timestamp(day * 86_400, 0).unwrap_or_default();
    date.format("%Y-%m-%d").to_string()
}

/// A folder for a source: its name, where that is a plain word; other engines read it off there.
fn folder_name(source: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !source.is_empty() && source.chars().all(plain) && source.chars().any(|c| c != '.') {
        return source.to_owned();
    }
    let like: String = source.chars().map(|c| if plain(c) { c } else { '_' }).take(40).collect();
    let digest = sha256_hex(source.as_bytes());
    format!("{like}-{}", std::str::from_utf8(&digest[..8]).unwrap_or_default())
}

fn column<'r>(rows: &'r RecordBatch, name: &str) -> Result<&'r ArrayRef> {
    rows.column_by_name(name).ok_or_else(|| Error::new(ErrorKind::Internal, format!("rows without {name}")))
}

/// A name that no file had before.
pub(crate) fn fresh_id() -> String {
    static MADE: AtomicU64 = AtomicU64::new(0);
    format!("{:016x}", RandomState::new().hash_one((MADE.fetch_add(1, Relaxed), std::process::id())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_plain_words() {
        assert_eq!(folder_name("nas-1"), "nas-1");
        for odd in ["", "..", "a/b", "über", "a b", "a%20b"] {
            let name = folder_name(odd);
            assert!(name.len() > 8 && !name.contains(['/', '%', ' ']), "{odd} became {name}");
        }
        assert_ne!(folder_name("a/b"), folder_name("a b"));
    }
}
