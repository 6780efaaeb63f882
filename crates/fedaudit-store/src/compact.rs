//! Many small files become few large ones: each window leaves a file for every day it touches. Rows are merged in order of
//! time, some thousands at a time; one commit exchanges the files, and readers see either those before or those after.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use chrono::Utc;
use datafusion::common::{DataFusionError, Result as SqlResult};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use datafusion::prelude::{SessionConfig, SessionContext};
use deltalake_core::kernel::{Add, Remove};
use fedaudit_core::{Error, ErrorKind, Result};
use futures::TryStreamExt as _;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use crate::error::of_place;
use crate::file::Growing;
use crate::table::{Change, DataFile, Files, Table};

/// So many files of one source and day are worth the work.
const MANY: usize = 8;
/// Files of this size are large enough.
const LARGE: u64 = 48 << 20;
/// Rows in memory while files are merged: of all of them together, and of each.
const ROWS_AT_ONCE: usize = 1 << 15;
const FEWEST_AT_ONCE: usize = 64;
const MOST_AT_ONCE: usize = 8192;
/// What readers may still be reading is kept for so long.
const KEPT: Duration = Duration::from_hours(24);

/// What tidying came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Files that were merged.
    pub merged: u64,
    /// Files that they became.
    pub into: u64,
    /// Files of no version that were deleted.
    pub deleted: u64,
}

impl Tidied {
    /// Adds those of another table.
    pub fn add(&mut self, other: Self) {
        self.merged += other.merged;
        self.into += other.into;
        self.deleted += other.deleted;
    }
}

/// Merges the small files of a table, one source and day after the other.
pub(crate) async fn compact(table: &mut Table) -> Result<Tidied> {
    let mut tidied = Tidied::default();
    let files = table.files();
    let mut together: BTreeMap<(Option<String>, Option<String>), Vec<DataFile>> = BTreeMap::new();
    for file in files.list.iter().filter(|file| file.size < LARGE) {
        together.entry((file.source.clone(), file.day.clone())).or_default().push(file.clone());
    }
    for ((source, _), small) in together {
        let small = worth_merging(small);
        if small.len() < MANY {
            continue;
        }
        let adds = merged(&files, source.as_deref().unwrap_or_default(), &small).await?;
        tidied.merged += small.len() as u64;
        tidied.into += adds.len() as u64;
        let removes = small.iter().map(removed).collect();
        table.commit(Change { adds, removes, ..Change::default() }).await?;
    }
    Ok(tidied)
}

/// All but the largest, as long as the largest is larger than all the others together.
fn worth_merging(mut files: Vec<DataFile>) -> Vec<DataFile> {
    files.sort_by_key(|file| file.size);
    let mut sum: u64 = files.iter().map(|file| file.size).sum();
    while let Some(largest) = files.pop_if(|largest| largest.size > sum - largest.size) {
        sum -= largest.size;
    }
    files
}

/// Nothing is added or taken away: the same rows lie in other files.
fn removed(file: &DataFile) -> Remove {
    let values = [("source", &file.source), (crate::layout::DAY, &file.day)]
        .into_iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| (name.to_owned(), Some(value.clone()))));
    Remove {
        path: file.path.to_string(),
        data_change: false,
        deletion_timestamp: Some(Utc::now().timestamp_millis()),
        extended_file_metadata: Some(true),
        partition_values: Some(values.collect()),
        size: i64::try_from(file.size).ok(),
        ..Remove::default()
    }
}

async fn merged(files: &Files, source: &str, small: &[DataFile]) -> Result<Vec<Add>> {
    let mut rows = in_order(files, small).map_err(|error| of_sql(&error))?;
    let day = small.first().and_then(|file| file.day.clone());
    let (mut adds, mut growing) = (Vec::new(), None);
    while let Some(batch) = rows.try_next().await.map_err(|error| of_sql(&error))? {
        let file = match &mut growing {
            Some(file) => file,
            none => none.insert(Growing::new(files.layout)?),
        };
        file.write(&batch)?;
        if file.is_full() {
            adds.extend(finish(files, source, day.as_deref(), growing.take()).await?);
        }
    }
    adds.extend(finish(files, source, day.as_deref(), growing).await?);
    for add in &mut adds {
        add.data_change = false;
    }
    let (before, after): (u64, usize) = (small.iter().map(|file| file.rows).sum(), rows_of(&adds));
    if before != after as u64 {
        return Err(Error::new(ErrorKind::Internal, format!("{before} rows became {after} when files were merged"))
            .at(format!("table {}", files.layout.name()))
            .hint("nothing was changed"));
    }
    Ok(adds)
}

fn rows_of(adds: &[Add]) -> usize {
    let rows = |add: &Add| {
        let stats: serde_json::Value = serde_json::from_str(add.stats.as_deref()?).ok()?;
        Some(stats.get("numRecords")?.as_u64()? as usize)
    };
    adds.iter().filter_map(rows).sum()
}

async fn finish(files: &Files, source: &str, day: Option<&str>, growing: Option<Growing>) -> Result<Option<Add>> {
    let Some(growing) = growing else { return Ok(None) };
    growing.put(files, source, day).await.map(Some)
}

/// The rows of sorted files as one sorted stream.
fn in_order(files: &Files, small: &[DataFile]) -> SqlResult<SendableRecordBatchStream> {
    let schema = files.layout.file_schema();
    let url = ObjectStoreUrl::parse("fedaudit-compact://files")?;
    // All files are open at once, each with some rows in memory.
    let each = (ROWS_AT_ONCE / small.len().max(1)).clamp(FEWEST_AT_ONCE, MOST_AT_ONCE);
    let context = SessionContext::new_with_config(SessionConfig::new().with_batch_size(each));
    context.register_object_store(url.as_ref(), Arc::clone(&files.store));
    let groups = small.iter().map(|file| {
        FileGroup::new(vec![PartitionedFile::new_from_meta(object_store::ObjectMeta {
            location: file.path.clone(),
            last_modified: chrono::DateTime::default(),
            size: file.size,
            e_tag: None,
            version: None,
        })])
    });
    let order = PhysicalSortExpr::new(
        col(files.layout.time, &schema)?,
        datafusion::arrow::compute::SortOptions { descending: false, nulls_first: false },
    );
    let order = LexOrdering::new([order]).ok_or_else(|| DataFusionError::Internal("no order".to_owned()))?;
    let config = FileScanConfigBuilder::new(url, Arc::new(ParquetSource::new(schema)))
        .with_file_groups(groups.collect())
        .with_output_ordering(vec![order.clone()])
        .build();
    let scan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(config);
    SortPreservingMergeExec::new(order, scan).execute(0, context.task_ctx())
}

fn of_sql(error: &DataFusionError) -> Error {
    Error::new(ErrorKind::Internal, error.strip_backtrace()).hint("nothing was changed")
}

/// Deletes files that belong to no version: merged ones that no reader can still want, and what a killed writer left.
pub(crate) async fn vacuum(table: &Table) -> Result<Tidied> {
    let files = table.files();
    let known: std::collections::HashSet<&Path> = files.list.iter().map(|file| &file.path).collect();
    let old = Utc::now() - KEPT;
    let listed: Vec<object_store::ObjectMeta> =
        files.store.list(None).try_collect().await.map_err(|error| of_place(&error))?;
    let mut tidied = Tidied::default();
    for object in listed {
        let of_log = object.location.parts().next().is_some_and(|part| part.as_ref() == "_delta_log");
        if of_log || known.contains(&object.location) || object.last_modified > old {
            continue;
        }
        files.store.delete(&object.location).await.map_err(|error| of_place(&error))?;
        tidied.deleted += 1;
    }
    Ok(tidied)
}

/// Rows of a batch as they will stand in a file.
pub(crate) fn columns_of(schema: &arrow_schema::SchemaRef, rows: &RecordBatch) -> Result<RecordBatch> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            rows.column_by_name(field.name())
                .cloned()
                .ok_or_else(|| Error::new(ErrorKind::Internal, format!("rows without {}", field.name())))
        })
        .collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(crate::error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(size: u64) -> DataFile {
        DataFile {
            path: Path::from(size.to_string()),
            size,
            rows: size,
            times: fedaudit_core::Window::ALL,
            timeless: false,
            source: None,
            day: None,
        }
    }

    #[test]
    fn a_file_is_written_again_only_a_few_times() {
        // One small file each time, tidied each time: what is written in all stays near what there is.
        let (mut files, mut written) = (Vec::new(), 0);
        for _ in 0..4096 {
            files.push(file(10));
            let merged = worth_merging(files.clone());
            if merged.len() >= MANY {
                let sum = merged.iter().map(|file| file.size).sum();
                files.sort_by_key(|file| file.size);
                files.drain(..merged.len());
                files.push(file(sum));
                written += sum;
            }
        }
        assert!(files.len() < 40, "{} files are left", files.len());
        assert!(written < 40_960 * 12, "{written} bytes were written for 40960");
    }
}
