//! What was read of a stream, page after page, with looks into its cells.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use fedaudit_core::columns::Table;
use fedaudit_core::rows::{EVENTS, SESSIONS};
use fedaudit_core::{EndReason, Observed, Page, Rejected, StreamKind, Time};

use super::product::Fact;

/// A value of a cell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cell {
    /// Truth.
    Bool(bool),
    /// Number, or microseconds of a time.
    Int(i64),
    /// Text; a list joined with spaces.
    Text(String),
}

impl Cell {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Text(value) => value.clone(),
        }
    }
}

/// The table that a kind of stream fills.
pub(crate) fn table(kind: StreamKind) -> &'static Table {
    match kind {
        StreamKind::Events => &EVENTS,
        StreamKind::Sessions => &SESSIONS,
    }
}

/// All pages of one question.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) kind: StreamKind,
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) observed: Vec<Observed>,
    pub(crate) frontiers: Vec<Option<Time>>,
    pub(crate) rejected: Vec<Rejected>,
    pub(crate) end: Option<EndReason>,
}

impl Reading {
    pub(crate) fn new(kind: StreamKind) -> Self {
        Self { kind, batches: Vec::new(), observed: Vec::new(), frontiers: Vec::new(), rejected: Vec::new(), end: None }
    }

    pub(crate) fn add(&mut self, page: Page) {
        self.batches.push(page.rows);
        self.observed.push(page.observed);
        self.frontiers.push(page.frontier);
        self.rejected.extend(page.rejected);
    }

    pub(crate) fn pages(&self) -> usize {
        self.batches.len()
    }

    pub(crate) fn notes(&self) -> impl Iterator<Item = &String> {
        self.observed.iter().flat_map(|observed| &observed.notes)
    }

    /// A column of all pages.
    pub(crate) fn column(&self, name: &str) -> Vec<Option<Cell>> {
        self.batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| cell(batch, name, row))).collect()
    }

    /// A text column of all pages.
    pub(crate) fn texts(&self, name: &str) -> Vec<Option<String>> {
        self.column(name).into_iter().map(|cell| cell.map(|cell| cell.text())).collect()
    }

    /// Rows that are not of the reader's own making.
    pub(crate) fn foreign(&self) -> usize {
        self.texts("quality_flags")
            .iter()
            .filter(|flags| !flags.as_deref().is_some_and(|flags| flags.contains("own_reader")))
            .count()
    }

    /// The column that holds our key.
    pub(crate) fn key_column(&self) -> &'static str {
        match self.kind {
            StreamKind::Events => "event_key",
            StreamKind::Sessions => "session_key",
        }
    }

    /// The column that the window is about.
    pub(crate) fn time_column(&self) -> &'static str {
        match self.kind {
            StreamKind::Events => "time",
            StreamKind::Sessions => "start_time",
        }
    }

    /// Our keys, in order.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.texts(self.key_column()).into_iter().map(Option::unwrap_or_default).collect()
    }

    /// The set of our keys.
    pub(crate) fn key_set(&self) -> BTreeSet<String> {
        self.keys().into_iter().collect()
    }

    /// Times of the rows.
    pub(crate) fn times(&self) -> Vec<Option<Time>> {
        self.column(self.time_column())
            .into_iter()
            .map(|cell| match cell {
                Some(Cell::Int(micros)) => Some(Time::from_micros(micros)),
                _ => None,
            })
            .collect()
    }

    /// Rows by key as the product's facts: id and time.
    pub(crate) fn facts(&self, id: &[String]) -> BTreeMap<String, Fact> {
        let columns: Vec<_> = id.iter().map(|name| self.texts(name)).collect();
        let times = self.times();
        self.keys()
            .into_iter()
            .enumerate()
            .map(|(row, key)| {
                let id: Vec<_> = columns.iter().map(|column| column[row].clone().unwrap_or_default()).collect();
                (key, Fact::new(id.join("/"), times[row].unwrap_or_default()))
            })
            .collect()
    }

    /// What must not depend on how a stream is read: key, time and digest of every row.
    pub(crate) fn fingerprints(&self) -> BTreeSet<String> {
        let (times, digests) = (self.times(), self.texts("raw_sha256"));
        self.keys()
            .into_iter()
            .enumerate()
            .map(|(row, key)| format!("{key} {:?} {:?}", times[row], digests[row]))
            .collect()
    }
}

/// A cell of a batch; none is NULL.
pub(crate) fn cell(batch: &RecordBatch, name: &str, row: usize) -> Option<Cell> {
    let column = batch.column_by_name(name)?;
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Boolean => Cell::Bool(column.as_boolean().value(row)),
        DataType::Int32 => Cell::Int(column.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Cell::Int(column.as_primitive::<Int64Type>().value(row)),
        DataType::Timestamp(..) => Cell::Int(column.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::List(_) => {
            let list = column.as_list::<i32>().value(row);
            Cell::Text(list.as_string::<i32>().iter().flatten().collect::<Vec<_>>().join(" "))
        }
        _ => Cell::Text(column.as_string::<i32>().value(row).to_owned()),
    })
}
