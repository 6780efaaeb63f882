//! One Delta table of the store: its files, its commits, and the notes that commits carry.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deltalake_core::DeltaTable;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake_core::kernel::{Action, Add, LogicalFileView, Remove, StructType, Transaction};
use deltalake_core::logstore::{StorageConfig, default_logstore, get_actions};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use fedaudit_core::{Error, ErrorKind, Result, Time, Window};
use object_store::ObjectStore;
use object_store::path::Path;
use serde_json::Value;

use crate::error::{of_table, taken_away};
use crate::layout::{DAY, Layout};
use crate::place::Place;

/// The key of our note in the information of a commit.
const NOTE: &str = "fedaudit";

/// One file of a table.
#[derive(Clone, Debug)]
pub(crate) struct DataFile {
    /// Its place below the table.
    pub(crate) path: Path,
    /// Bytes.
    pub(crate) size: u64,
    /// Rows.
    pub(crate) rows: u64,
    /// Where the times of its rows lie; open where that is not known.
    pub(crate) times: Window,
    /// Whether there are rows without a time.
    pub(crate) timeless: bool,
    /// The source of its rows, in a table that is kept apart by it.
    pub(crate) source: Option<String>,
    /// Their day, likewise.
    pub(crate) day: Option<String>,
}

/// Where the files of a table are and how they lie: enough to read and write them.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) layout: &'static Layout,
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The files of the last commit that was seen.
    pub(crate) list: Arc<Vec<DataFile>>,
}

/// One table.
pub(crate) struct Table {
    layout: &'static Layout,
    delta: DeltaTable,
    store: Arc<dyn ObjectStore>,
    list: Arc<Vec<DataFile>>,
}

/// What a commit does.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) adds: Vec<Add>,
    pub(crate) removes: Vec<Remove>,
    /// What the commit says of itself.
    pub(crate) note: Option<Value>,
    /// Marks: how far another table has been taken note of.
    pub(crate) marks: Vec<(String, i64)>,
}

impl Table {
    /// The table, if there is one already.
    pub(crate) async fn open(place: &Place, layout: &'static Layout) -> Result<Option<Self>> {
        let mut table = Self::at(place, layout)?;
        let there = table.delta.verify_deltatable_existence().await.map_err(|error| table.failed(&error))?;
        if !there {
            return Ok(None);
        }
        table.delta.load().await.map_err(|error| table.failed(&error))?;
        table.check_columns()?;
        table.list = Arc::new(table.listed()?);
        Ok(Some(table))
    }

    /// All tables in this order, made where they are not yet. One that is missing before others that are there was taken
    /// away.
    pub(crate) async fn open_or_create<const N: usize>(
        place: &Place,
        layouts: [&'static Layout; N],
    ) -> Result<[Self; N]> {
        let mut tables: Vec<Option<Self>> = Vec::with_capacity(N);
        for layout in layouts {
            let table = Self::open(place, layout).await?;
            if let (Some(_), Some(gone)) = (&table, tables.iter().position(Option::is_none)) {
                return Err(taken_away(layouts[gone].name()));
            }
            tables.push(table);
        }
        let mut all = Vec::with_capacity(N);
        for (layout, table) in layouts.into_iter().zip(tables) {
            all.push(match table {
                Some(table) => table,
                None => Self::create(place, layout).await?,
            });
        }
        all.try_into().map_err(|_| Error::new(ErrorKind::Internal, "as many tables as layouts"))
    }

    async fn create(place: &Place, layout: &'static Layout) -> Result<Self> {
        let mut table = Self::at(place, layout)?;
        let schema = layout.schema();
        let columns: StructType = schema.as_ref().try_into_kernel().map_err(crate::error::internal)?;
        let created = CreateBuilder::new()
            .with_log_store(table.delta.log_store())
            .with_table_name(layout.name())
            .with_columns(columns.fields().cloned())
            .with_partition_columns(layout.partitions().iter().copied())
            .with_configuration(layout.configuration())
            .await;
        table.delta = match created {
            Ok(delta) => delta,
            Err(error) => return Err(table.failed(&error)),
        };
        Ok(table)
    }

    fn at(place: &Place, layout: &'static Layout) -> Result<Self> {
        let store = place.store_of(layout.name());
        let log = default_logstore(
            Arc::clone(&store),
            place.whole(),
            &place.url_of(layout.name())?,
            &StorageConfig::default(),
        );
        Ok(Self { layout, delta: DeltaTable::new(log), store, list: Arc::default() })
    }

    /// A table with other columns than ours was made by another version.
    fn check_columns(&self) -> Result<()> {
        let there = self.delta.snapshot().map_err(|error| self.failed(&error))?.snapshot().arrow_schema();
        let ours = self.layout.schema();
        let differs = |field: &&Arc<arrow_schema::Field>| {
            there.field_with_name(field.name()).map_or(true, |there| {
                !there.data_type().equals_datatype(field.data_type()) && !is_same_list(there, field)
            })
        };
        let missing: Vec<&str> = ours.fields().iter().filter(differs).map(|field| field.name().as_str()).collect();
        let foreign: Vec<&str> = there
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .filter(|name| ours.column_with_name(name).is_none())
            .collect();
        if missing.is_empty() && foreign.is_empty() {
            return Ok(());
        }
        let mut text = format!("table {} of the store has other columns than this version", self.layout.name());
        for (what, names) in [("missing or of another type", missing), ("unknown", foreign)] {
            if !names.is_empty() {
                text = format!("{text}; {what}: {}", names.join(", "));
            }
        }
        Err(Error::new(ErrorKind::Unsupported, text)
            .hint("use the version that made the store, or collect into a new place; nothing was changed"))
    }

    /// Its files as of the last commit that was seen.
    pub(crate) fn files(&self) -> Files {
        Files { layout: self.layout, store: Arc::clone(&self.store), list: Arc::clone(&self.list) }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        self.layout.name()
    }

    /// Number of its last commit.
    pub(crate) fn version(&self) -> u64 {
        self.delta.version().unwrap_or(0)
    }

    fn listed(&self) -> Result<Vec<DataFile>> {
        let state = self.delta.snapshot().map_err(|error| self.failed(&error))?;
        let of = |file: LogicalFileView| {
            let stats = file.stats();
            self.data_file(file.object_store_path(), file.size(), stats.as_deref(), &file.partition_values_map())
        };
        state.log_data().iter().map(of).collect()
    }

    fn data_file(
        &self,
        path: Path,
        size: i64,
        text: Option<&str>,
        values: &HashMap<String, Option<String>>,
    ) -> Result<DataFile> {
        let stats = text.map(|text| stats(text, self.layout.time)).transpose()?.unwrap_or_default();
        let value = |column: &str| values.get(column).cloned().flatten();
        Ok(DataFile {
            path,
            size: u64::try_from(size).unwrap_or(0),
            rows: stats.rows,
            times: stats.times,
            timeless: stats.timeless,
            source: value("source"),
            day: value(DAY),
        })
    }

    /// Commits. Everything that the commit names has to be on the disk already. This process is the only writer, so a table
    /// that has moved on belongs to somebody else now.
    pub(crate) async fn commit(&mut self, change: Change) -> Result<u64> {
        let Change { adds, removes, note, marks } = change;
        let state = self.delta.snapshot().map_err(|error| self.failed(&error))?;
        let operation = if removes.is_empty() {
            let partitions = self.layout.partitions().iter().map(|name| (*name).to_owned()).collect();
            DeltaOperation::Write { mode: SaveMode::Append, partition_by: Some(partitions), predicate: None }
        } else {
            DeltaOperation::Optimize { predicate: None, target_size: 0 }
        };
        let mut list = Vec::clone(&self.list);
        list.retain(|file| !removes.iter().any(|remove| remove.path == file.path.as_ref()));
        for add in &adds {
            let path = Path::parse(&add.path).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
            list.push(self.data_file(path, add.size, add.stats.as_deref(), &add.partition_values)?);
        }
        let marks = marks.into_iter().map(|(of, version)| Transaction::new(of, version)).collect();
        let properties = CommitProperties::default()
            .with_max_retries(0)
            .with_metadata(note.map(|note| (NOTE.to_owned(), note)))
            .with_application_transactions(marks);
        let actions = removes.into_iter().map(Action::Remove).chain(adds.into_iter().map(Action::Add)).collect();
        let committed = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(state), self.delta.log_store(), operation)
            .await;
        let committed = committed.map_err(|error| self.failed(&error))?;
        self.delta.state = Some(committed.snapshot());
        self.list = Arc::new(list);
        Ok(committed.version())
    }

    /// How far another table has been taken note of.
    pub(crate) async fn mark(&self, of: &str) -> Result<Option<i64>> {
        let state = self.delta.snapshot().map_err(|error| self.failed(&error))?;
        state.transaction_version(self.delta.log_store().as_ref(), of).await.map_err(|error| self.failed(&error))
    }

    /// The notes of the commits after one, oldest first.
    pub(crate) async fn notes_after(&self, version: i64) -> Result<Vec<(i64, Value)>> {
        let last = i64::try_from(self.version()).unwrap_or(i64::MAX);
        let log = self.delta.log_store();
        let mut notes = Vec::new();
        for version in (version + 1).max(0)..=last {
            let number = version.unsigned_abs();
            let bytes = log.read_commit_entry(number).await.map_err(|error| self.failed(&error))?;
            let Some(bytes) = bytes else {
                // Cleared away since: what it brought is in the files, and is known again by its keys.
                tracing::debug!("table {}: commit {version} is gone", self.layout.name());
                continue;
            };
            for action in get_actions(number, &bytes).map_err(|error| self.failed(&error))? {
                if let Action::CommitInfo(mut info) = action
                    && let Some(note) = info.info.remove(NOTE)
                {
                    notes.push((version, note));
                }
            }
        }
        Ok(notes)
    }

    fn failed(&self, error: &deltalake_core::DeltaTableError) -> Error {
        of_table(error).at(format!("table {}", self.layout.name()))
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("name", &self.layout.name()).finish_non_exhaustive()
    }
}

/// Items of lists have other names there.
fn is_same_list(there: &arrow_schema::Field, ours: &arrow_schema::Field) -> bool {
    use arrow_schema::DataType::List;
    matches!((there.data_type(), ours.data_type()), (List(a), List(b)) if a.data_type() == b.data_type())
}

/// What the statistics of a file say.
struct Stats {
    rows: u64,
    times: Window,
    timeless: bool,
}

impl Default for Stats {
    /// Nothing is known.
    fn default() -> Self {
        Self { rows: 0, times: Window::ALL, timeless: true }
    }
}

/// Statistics hold milliseconds: the last of them is not over before its end.
const MILLISECOND: Duration = Duration::from_millis(1);

fn stats(text: &str, time: &str) -> Result<Stats> {
    let stats: HashMap<String, Value> = serde_json::from_str(text)
        .map_err(|error| Error::new(ErrorKind::Malformed, format!("statistics of a file: {error}")))?;
    let at = |which: &str| stats.get(which).and_then(|values| values.get(time));
    let bound = |which: &str| at(which).and_then(Value::as_str).and_then(Time::parse).map(|parsed| parsed.time);
    let nulls = at("nullCount").and_then(Value::as_u64);
    Ok(Stats {
        rows: stats.get("numRecords").and_then(Value::as_u64).unwrap_or(0),
        times: Window { from: bound("minValues"), to: bound("maxValues").map(|max| max.plus(MILLISECOND)) },
        timeless: nulls != Some(0),
    })
}
