//! Reads columns of a table's files, skipping row groups that lie at other times.

use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use fedaudit_core::{Error, ErrorKind, Result, Time, Windows};
use futures::TryStreamExt as _;
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

use crate::error::{internal, of_file};
use crate::file_reader::FileReader;
use crate::table::{DataFile, Files};

const BATCH_ROWS: usize = 8192;

/// Hands the rows of the files that lie in these windows to `each`, some thousands at a time: the named columns and the time.
pub(crate) async fn rows(
    files: &Files,
    columns: &[&str],
    windows: &Windows,
    mut each: impl FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    for file in files.list.iter().filter(|file| may_hold(file, windows)) {
        let read = of_file_in(files, file, columns, windows, &mut each).await;
        read.map_err(|error| error.at(format!("table {}: {}", files.layout.name(), file.path)))?;
    }
    Ok(())
}

fn may_hold(file: &DataFile, windows: &Windows) -> bool {
    file.timeless || !Windows::of(file.times).intersect(windows).is_empty()
}

async fn of_file_in(
    files: &Files,
    file: &DataFile,
    columns: &[&str],
    windows: &Windows,
    each: &mut impl FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    let time = files.layout.time;
    let reader = FileReader { store: Arc::clone(&files.store), path: file.path.clone(), size: file.size };
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(of_file)?;
    let schema = builder.parquet_schema();
    let wanted = columns.iter().copied().chain([time]);
    let mask = ProjectionMask::columns(schema, wanted);
    let groups = builder
        .metadata()
        .row_groups()
        .iter()
        .enumerate()
        .filter(|(_, group)| group_may_hold(group, time, windows))
        .map(|(index, _)| index)
        .collect();
    let mut stream =
        builder.with_projection(mask).with_row_groups(groups).with_batch_size(BATCH_ROWS).build().map_err(of_file)?;
    while let Some(rows) = stream.try_next().await.map_err(of_file)? {
        let rows = inside(&rows, time, windows)?;
        if rows.num_rows() > 0 {
            each(rows)?;
        }
    }
    Ok(())
}

fn group_may_hold(group: &RowGroupMetaData, time: &str, windows: &Windows) -> bool {
    let column = group.columns().iter().find(|column| column.column_path().string() == time);
    let Some(Statistics::Int64(stats)) = column.and_then(|column| column.statistics()) else { return true };
    let (Some(min), Some(max), Some(0)) = (stats.min_opt(), stats.max_opt(), stats.null_count_opt()) else {
        return true;
    };
    let span = fedaudit_core::Window::new(Time::from_micros(*min), Time::from_micros(max.saturating_add(1)));
    !Windows::of(span).intersect(windows).is_empty()
}

/// Rows without a time are everywhere.
fn inside(rows: &RecordBatch, time: &str, windows: &Windows) -> Result<RecordBatch> {
    let times = rows
        .column_by_name(time)
        .and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>())
        .ok_or_else(|| Error::new(ErrorKind::Malformed, format!("a file without {time}")))?;
    let mask: BooleanArray =
        times.iter().map(|time| Some(time.is_none_or(|time| windows.contains(Time::from_micros(time))))).collect();
    if mask.true_count() == rows.num_rows() {
        return Ok(rows.clone());
    }
    filter_record_batch(rows, &mask).map_err(internal)
}
