//! The tables of a store for SQL: files whose statistics or partition show that no row is wanted are not opened, row groups
//! and pages are skipped by the filter, and rows are filtered while they are decoded.

use std::fmt;
use std::sync::Arc;

use arrow_schema::{DataType, Field, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{DFSchema, Result, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use object_store::ObjectMeta;

use crate::layout::DAY;
use crate::table::{DataFile, Files};

/// One table as it was at one commit.
#[derive(Clone)]
pub(crate) struct Stored {
    files: Files,
    schema: SchemaRef,
    url: ObjectStoreUrl,
}

impl Stored {
    /// A table; `url` names its place for as long as the process lives.
    pub(crate) fn new(files: Files, url: ObjectStoreUrl) -> Self {
        Self { schema: files.layout.schema(), files, url }
    }

    /// Columns as they come from a scan: first those of the files, then those of the partitions.
    fn scanned(&self) -> TableSchema {
        let partitions = self.files.layout.partitions().iter().map(|name| {
            let kind = if *name == DAY { DataType::Date32 } else { DataType::Utf8 };
            Arc::new(Field::new(*name, kind, false))
        });
        TableSchema::builder(self.files.layout.file_schema())
            .with_table_partition_cols(partitions.collect::<Vec<_>>())
            .build()
    }

    fn file(&self, file: &DataFile, columns: usize) -> Result<PartitionedFile> {
        let meta = ObjectMeta {
            location: file.path.clone(),
            last_modified: chrono::DateTime::default(),
            size: file.size,
            e_tag: None,
            version: None,
        };
        let values = self
            .files
            .layout
            .partitions()
            .iter()
            .map(|name| {
                let text = if *name == DAY { &file.day } else { &file.source };
                let text = ScalarValue::Utf8(text.clone());
                if *name == DAY { text.cast_to(&DataType::Date32) } else { Ok(text) }
            })
            .collect::<Result<Vec<_>>>()?;
        let mut statistics = Statistics::new_unknown(&self.files.layout.file_schema());
        statistics.num_rows = Precision::Exact(file.rows as usize);
        statistics.total_byte_size = Precision::Inexact(file.size as usize);
        if let Some(time) = statistics.column_statistics.get_mut(columns) {
            let at = |bound: Option<fedaudit_core::Time>| {
                bound.map_or(Precision::Absent, |time| {
                    Precision::Inexact(ScalarValue::TimestampMicrosecond(Some(time.micros()), Some("UTC".into())))
                })
            };
            (time.min_value, time.max_value) = (at(file.times.from), at(file.times.to));
        }
        Ok(PartitionedFile::new_from_meta(meta).with_partition_values(values).with_statistics(Arc::new(statistics)))
    }

    /// A scan of some of its files; the source that a file is said to be of stands in its rows. None of no files.
    pub(crate) fn scan_files(
        &self,
        session: &dyn Session,
        mut list: Vec<DataFile>,
        projection: &[usize],
        filter: Option<Expr>,
        limit: Option<usize>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let scanned = self.scanned();
        let all = Arc::clone(scanned.table_schema());
        let indices = projection
            .iter()
            .map(|index| Ok(all.index_of(self.schema.field(*index).name())?))
            .collect::<Result<Vec<_>>>()?;
        let time = self.files.layout.file_schema().index_of(self.files.layout.time)?;
        if list.is_empty() {
            return Ok(None);
        }
        list.sort_by_key(|file| file.times.from);
        session.runtime_env().register_object_store(self.url.as_ref(), Arc::clone(&self.files.store));

        let mut source = ParquetSource::new(scanned).with_pushdown_filters(true).with_reorder_filters(true);
        if let Some(filter) = filter {
            let columns = DFSchema::try_from(Arc::clone(&all))?;
            source = source.with_predicate(session.create_physical_expr(filter, &columns)?);
        }
        let rows: u64 = list.iter().map(|file| file.rows).sum();
        let mut statistics = Statistics::new_unknown(&all);
        statistics.num_rows = Precision::Exact(rows as usize);
        // Neighbours in time stay together: a narrow question then reads in one place.
        let share = list.len().div_ceil(session.config().target_partitions().max(1));
        let groups = list
            .chunks(share)
            .map(|files| Ok(FileGroup::new(files.iter().map(|file| self.file(file, time)).collect::<Result<_>>()?)))
            .collect::<Result<Vec<_>>>()?;
        let config = FileScanConfigBuilder::new(self.url.clone(), Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(Some(indices))?
            .with_limit(limit)
            .build();
        Ok(Some(DataSourceExec::from_data_source(config)))
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").field("table", &self.files.layout.name()).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for Stored {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Files, row groups and pages are left out by a filter, and most of the other rows too; SQL looks again.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let projection: Vec<usize> = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let files = Vec::clone(&self.files.list);
        match self.scan_files(session, files, &projection, conjunction(filters.iter().cloned()), limit)? {
            Some(scan) => Ok(scan),
            None => Ok(Arc::new(EmptyExec::new(Arc::new(self.schema.project(&projection)?)))),
        }
    }
}
