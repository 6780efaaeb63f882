//! How each table lies in its files: columns, partitions, order, and which columns have a bloom filter.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use fedaudit_core::columns::Table;
use fedaudit_core::rows::{EVENTS, SESSIONS};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::columns::{AMENDMENTS, COVERAGE, IDENTITIES, REJECTED};

/// Rows of a row group: what a reader skips or decodes at once.
pub(crate) const ROW_GROUP: usize = 250_000;

/// Rows of a page: with the page index, what a narrow range of time costs.
const PAGE_ROWS: usize = 20_000;

/// Fewer rows are found by their statistics as quickly.
const BLOOM_FROM: usize = 2_000;

/// How one table lies in its files.
#[derive(Debug)]
pub(crate) struct Layout {
    /// The table.
    pub(crate) table: &'static Table,
    /// The column that rows of a file are ordered by.
    pub(crate) time: &'static str,
    /// Whether files are kept apart by source and day.
    pub(crate) by_day: bool,
    /// Columns that are looked for by value.
    blooms: &'static [&'static str],
    /// Columns in which hardly a value comes twice.
    unique: &'static [&'static str],
}

pub(crate) static EVENTS_LAYOUT: Layout = Layout {
    table: &EVENTS,
    time: "time",
    by_day: true,
    blooms: &["event_key", "session_key", "src_ip", "user_name"],
    unique: &["event_key", "raw", "raw_sha256", "record_id", "unmapped"],
};

pub(crate) static SESSIONS_LAYOUT: Layout = Layout {
    table: &SESSIONS,
    time: "start_time",
    by_day: true,
    blooms: &["session_key", "client_ip", "user_name"],
    unique: &["session_key", "session_id", "raw", "raw_sha256", "record_id", "unmapped"],
};

pub(crate) static REJECTED_LAYOUT: Layout =
    Layout { table: &REJECTED, time: "fetched_at", by_day: false, blooms: &[], unique: &["rejected_key", "raw"] };

pub(crate) static COVERAGE_LAYOUT: Layout =
    Layout { table: &COVERAGE, time: "fetched_at", by_day: false, blooms: &[], unique: &[] };

pub(crate) static AMENDMENTS_LAYOUT: Layout = Layout {
    table: &AMENDMENTS,
    time: "time",
    by_day: false,
    blooms: &[],
    unique: &["amendment_key", "raw", "found_sha256", "stored_sha256"],
};

pub(crate) static IDENTITIES_LAYOUT: Layout =
    Layout { table: &IDENTITIES, time: "pinned_at", by_day: false, blooms: &[], unique: &[] };

/// The column by which files are kept apart besides `source`.
pub(crate) const DAY: &str = "day";

impl Layout {
    /// Name of the table, and of its folder.
    pub(crate) fn name(&self) -> &'static str {
        self.table.name
    }

    /// All columns, those of the partitions included.
    pub(crate) fn schema(&self) -> SchemaRef {
        let mut fields = self.table.schema().fields().to_vec();
        if self.by_day {
            fields.push(Arc::new(Field::new(DAY, DataType::Date32, false)));
        }
        Arc::new(Schema::new(fields))
    }

    /// Columns of the partitions.
    pub(crate) fn partitions(&self) -> &'static [&'static str] {
        if self.by_day { &["source", DAY] } else { &[] }
    }

    /// The columns that stand in the files: all but those of the partitions.
    pub(crate) fn file_schema(&self) -> SchemaRef {
        let full = self.table.schema();
        let inside = |field: &&Arc<Field>| !self.partitions().contains(&field.name().as_str());
        Arc::new(Schema::new(full.fields().iter().filter(inside).cloned().collect::<Vec<_>>()))
    }

    /// How a file of so many rows is written.
    pub(crate) fn properties(&self, rows: usize) -> WriterProperties {
        let schema = self.file_schema();
        let sorted = schema
            .index_of(self.time)
            .ok()
            .map(|index| vec![SortingColumn { column_idx: index as i32, descending: false, nulls_first: false }]);
        let mut properties = WriterProperties::builder()
            .set_created_by(concat!("fedaudit ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
            .set_max_row_group_row_count(Some(ROW_GROUP))
            .set_data_page_row_count_limit(PAGE_ROWS)
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_sorting_columns(sorted);
        for name in self.unique {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(*name), false);
        }
        // Bounds of long texts serve nobody and cost room in every footer.
        for name in ["raw", "unmapped", "raw_sha256", "resources"] {
            properties = properties.set_column_statistics_enabled(ColumnPath::from(name), EnabledStatistics::None);
        }
        if rows >= BLOOM_FROM {
            for name in self.blooms {
                let column = ColumnPath::from(*name);
                properties = properties
                    .set_column_bloom_filter_enabled(column.clone(), true)
                    .set_column_bloom_filter_fpp(column.clone(), 0.01)
                    .set_column_bloom_filter_max_ndv(column, rows.min(ROW_GROUP) as u64);
            }
        }
        properties.build()
    }

    /// Properties of the table for whoever writes to it or lists its files.
    pub(crate) fn configuration(&self) -> HashMap<String, Option<String>> {
        [
            ("delta.dataSkippingStatsColumns", self.time),
            ("delta.checkpointInterval", "50"),
            ("delta.logRetentionDuration", "interval 7 days"),
            ("delta.deletedFileRetentionDuration", "interval 1 days"),
        ]
        .map(|(key, value)| (key.to_owned(), Some(value.to_owned())))
        .into()
    }
}
