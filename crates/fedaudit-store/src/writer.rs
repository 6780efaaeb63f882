//! The one writer of a store. Rows are on the disk and in their table before the ledger speaks of them; a process that is
//! killed in between leaves rows that are known again by their keys, or a note that the next writer enters in the ledger.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use fedaudit_core::{Clock, Error, ErrorKind, Rejected, Result, StreamReceipt, Time, Window, Windows};
use fedaudit_engine::Coverage;
use tokio::sync::{Mutex, MutexGuard};

use crate::columns::IDENTITIES;
use crate::compact::{Tidied, compact, vacuum};
use crate::entry::{Entry, Reading};
use crate::error::internal;
use crate::file;
use crate::findings;
use crate::format;
use crate::identity::{Identities, Identity};
use crate::keys::{Known, OF_EVENTS, OF_SESSIONS};
use crate::layout::{
    AMENDMENTS_LAYOUT, COVERAGE_LAYOUT, EVENTS_LAYOUT, IDENTITIES_LAYOUT, Layout, REJECTED_LAYOUT, SESSIONS_LAYOUT,
};
use crate::ledger::Ledger;
use crate::lock::Lock;
use crate::place::Place;
use crate::records;
use crate::recover::enter_what_is_left;
use crate::setbacks::Setbacks;
use crate::sift::{edits, near, sift};
use crate::table::{Change, Table};

/// A session's start may be told a little differently each time.
const SESSION_MARGIN: std::time::Duration = std::time::Duration::from_hours(24);

/// Rows are written as soon as they take so much memory.
const BUFFER_BYTES: usize = 32 << 20;

/// The one writer of a store.
pub struct Writer {
    place: Place,
    tables: Mutex<Tables>,
    /// Rows of one source are sifted one batch at a time: its streams share keys.
    sifting: Mutex<HashMap<String, Arc<Mutex<()>>>>,
    clock: Arc<dyn Clock>,
    buffer_bytes: usize,
    _lock: Lock,
}

struct Tables {
    events: Table,
    sessions: Table,
    rejected: Table,
    coverage: Table,
    amendments: Table,
    identities: Table,
    ledger: Ledger,
    pinned: Identities,
    /// Fetches that have committed rows and are not in the ledger yet: their table and the commit before their first.
    unentered: BTreeMap<String, (&'static str, i64)>,
}

impl Tables {
    fn of(&mut self, name: &str) -> &mut Table {
        if name == SESSIONS_LAYOUT.name() { &mut self.sessions } else { &mut self.events }
    }

    fn all(&mut self) -> [&mut Table; 6] {
        [
            &mut self.events,
            &mut self.sessions,
            &mut self.rejected,
            &mut self.coverage,
            &mut self.amendments,
            &mut self.identities,
        ]
    }

    /// How far each table of rows has been taken note of in the ledger, once this fetch is entered.
    fn marks(&self, entered: &str) -> Vec<(String, i64)> {
        [(&EVENTS_LAYOUT, &self.events), (&SESSIONS_LAYOUT, &self.sessions)]
            .map(|(layout, table)| {
                let last = i64::try_from(table.version()).unwrap_or(i64::MAX);
                let open = self.unentered.iter().filter(|(id, (name, _))| *name == layout.name() && *id != entered);
                (layout.name().to_owned(), open.map(|(_, (_, before))| *before).min().unwrap_or(last).min(last))
            })
            .into()
    }

    async fn enter(&mut self, entry: &Entry, now: Time) -> Result<()> {
        if !self.unentered.contains_key(&entry.fetch_id) && self.ledger.says_already(entry) {
            return Ok(());
        }
        let rows = records::coverage(std::slice::from_ref(entry))?;
        let adds = file::write(&self.coverage.files(), "", &rows).await?;
        let mut marks = self.marks(&entry.fetch_id);
        marks.extend(self.ledger.setback(now));
        self.coverage.commit(Change { adds, marks, ..Change::default() }).await?;
        self.unentered.remove(&entry.fetch_id);
        self.ledger.look_at_clock(now);
        self.ledger.add(entry, now);
        Ok(())
    }
}

/// Rows of one window on their way into the store.
#[derive(Debug)]
pub struct Fetch {
    entry: Entry,
    layout: &'static Layout,
    /// What was sealed when reading began: new rows in there are late.
    sealed: Windows,
    batches: Vec<RecordBatch>,
    rejected: Vec<Rejected>,
    bytes: usize,
}

impl Fetch {
    /// What is known of it so far.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl Writer {
    /// Opens a store for writing, and makes it if there is none. Enters in the ledger what a killed writer had left to enter.
    pub async fn open(place: &Place, clock: Arc<dyn Clock>) -> Result<Self> {
        let known = format::check(place).await.map_err(|error| error.at(place))?;
        let lock = Lock::take(place).await?;
        if !known {
            format::mark(place).await.map_err(|error| error.at(place))?;
        }
        Self::open_tables(place, clock, lock).await.map_err(|error| error.at(place))
    }

    async fn open_tables(place: &Place, clock: Arc<dyn Clock>, lock: Lock) -> Result<Self> {
        let now = clock.now();
        // The ledger first: whoever finds another table can rely on finding it.
        let layouts = [
            &COVERAGE_LAYOUT,
            &IDENTITIES_LAYOUT,
            &EVENTS_LAYOUT,
            &SESSIONS_LAYOUT,
            &REJECTED_LAYOUT,
            &AMENDMENTS_LAYOUT,
        ];
        let [coverage, identities, events, sessions, rejected, amendments] =
            Table::open_or_create(place, layouts).await?;
        let setbacks = Setbacks::load(&coverage).await?;
        let mut tables = Tables {
            ledger: Ledger::load(&coverage.files(), setbacks, now).await?,
            pinned: Identities::load(&identities.files()).await?,
            events,
            sessions,
            rejected,
            amendments,
            coverage,
            identities,
            unentered: BTreeMap::new(),
        };
        if let Some(setback) = tables.ledger.setback(now) {
            tables.coverage.commit(Change { marks: vec![setback], ..Change::default() }).await?;
        }
        tables.ledger.look_at_clock(now);
        let left = enter_what_is_left(&mut tables.coverage, &[&tables.events, &tables.sessions]).await?;
        for entry in &left {
            tables.ledger.add(entry, now);
        }
        Ok(Self {
            place: place.clone(),
            tables: Mutex::new(tables),
            sifting: Mutex::default(),
            clock,
            buffer_bytes: BUFFER_BYTES,
            _lock: lock,
        })
    }

    /// The same writer with room for so many bytes of rows in memory, of each window that is read.
    #[must_use]
    pub fn with_buffer(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// Where the store is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Compares what a source says it is with what was pinned, and pins what is new. An unconfirmed change is an error.
    pub async fn identify(&self, found: Identity, confirmed: bool) -> Result<()> {
        let mut tables = self.tables.lock().await;
        let Some(change) = tables.pinned.compare(found, confirmed)? else { return Ok(()) };
        let rows = records::rows(&IDENTITIES, std::slice::from_ref(&change))?;
        let adds = file::write(&tables.identities.files(), "", &rows).await?;
        tables.identities.commit(Change { adds, ..Change::default() }).await?;
        tables.pinned.add(change);
        Ok(())
    }

    /// What is known of a stream.
    pub async fn coverage(&self, source_key: &str, stream: &str) -> Coverage {
        self.tables.lock().await.ledger.of(source_key, stream)
    }

    /// The whole ledger as it is now.
    pub async fn ledger(&self) -> Ledger {
        self.tables.lock().await.ledger.clone()
    }

    /// Begins to store a window of a stream. `as_of` is when its reading began.
    pub async fn begin(&self, of: &Reading<'_>, fetch_id: &str, asked: Window, as_of: Time) -> Result<Fetch> {
        let layout = [&EVENTS_LAYOUT, &SESSIONS_LAYOUT]
            .into_iter()
            .find(|layout| layout.name() == of.table)
            .ok_or_else(|| Error::new(ErrorKind::Internal, format!("no table {}", of.table)))?;
        let tables = self.tables.lock().await;
        let mut entry = Entry::begun(of, fetch_id, asked, as_of);
        entry.clock_setbacks = tables.ledger.setbacks();
        Ok(Fetch {
            entry,
            layout,
            sealed: tables.ledger.of(of.source_key, of.stream).sealed,
            batches: Vec::new(),
            rejected: Vec::new(),
            bytes: 0,
        })
    }

    /// Takes rows of the window, in the columns of their table.
    pub async fn rows(&self, fetch: &mut Fetch, rows: RecordBatch) -> Result<()> {
        fetch.bytes += rows.get_array_memory_size();
        fetch.batches.push(rows);
        self.flush_if_full(fetch).await
    }

    /// Takes records that could not be decoded.
    pub async fn rejected(&self, fetch: &mut Fetch, records: &[Rejected]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        fetch.entry.counts.rejected += records.len() as u64;
        fetch.bytes += records.iter().map(|record| record.raw.len() + record.reason.len()).sum::<usize>();
        fetch.rejected.extend_from_slice(records);
        self.flush_if_full(fetch).await
    }

    /// Ends a window: stores what is left of its rows, then enters it in the ledger.
    pub async fn end(&self, mut fetch: Fetch, receipt: &StreamReceipt, clock_offset_ms: Option<i64>) -> Result<Entry> {
        let now = self.clock.now();
        fetch.entry.ended(receipt, clock_offset_ms, now);
        fetch.entry.counts.duplicate += receipt.duplicates;
        fetch.entry.counts.returned += receipt.duplicates;
        self.flush(&mut fetch).await?;
        self.tables.lock().await.enter(&fetch.entry, self.clock.now()).await?;
        Ok(fetch.entry)
    }

    /// Enters a window that was not read at all, for a reason that stands in the entry. A stream that goes on failing in the
    /// same way is entered once an hour.
    pub async fn enter(&self, mut entry: Entry) -> Result<()> {
        let mut tables = self.tables.lock().await;
        entry.clock_setbacks = tables.ledger.setbacks();
        tables.enter(&entry, self.clock.now()).await
    }

    /// Merges small files, and deletes those of no version that are old enough.
    pub async fn tidy(&self) -> Result<Tidied> {
        let mut tidied = self.compact().await?;
        tidied.add(self.vacuum().await?);
        Ok(tidied)
    }

    /// Merges small files.
    pub async fn compact(&self) -> Result<Tidied> {
        let mut tidied = Tidied::default();
        for table in self.tables.lock().await.all() {
            tidied.add(compact(table).await?);
        }
        Ok(tidied)
    }

    /// Deletes files of no version that are old enough. Every file of the store is listed for that.
    pub async fn vacuum(&self) -> Result<Tidied> {
        let mut tidied = Tidied::default();
        for table in self.tables.lock().await.all() {
            tidied.add(vacuum(table).await?);
        }
        Ok(tidied)
    }

    async fn flush_if_full(&self, fetch: &mut Fetch) -> Result<()> {
        if fetch.bytes < self.buffer_bytes {
            return Ok(());
        }
        fetch.entry.fetched_at = self.clock.now();
        self.flush(fetch).await
    }

    async fn flush(&self, fetch: &mut Fetch) -> Result<()> {
        let batches = std::mem::take(&mut fetch.batches);
        fetch.bytes = 0;
        self.flush_rejected(fetch).await?;
        let Some(first) = batches.first() else { return Ok(()) };
        let events = fetch.layout.name() == EVENTS_LAYOUT.name();
        let (identity, margin) =
            if events { (OF_EVENTS, std::time::Duration::ZERO) } else { (OF_SESSIONS, SESSION_MARGIN) };
        let near = near(&batches, fetch.layout.time, margin);
        let rows = concat_batches(&first.schema(), &batches).map_err(internal)?;
        drop(batches);

        let sifting = self.sifting_of(&fetch.entry.source_key).await;
        let _alone = sifting.lock().await;
        let (files, findings_files) = {
            let mut tables = self.tables.lock().await;
            (tables.of(fetch.layout.name()).files(), tables.amendments.files())
        };
        let known = Known::load(&files, identity, &near).await?;
        let sifted = sift(&rows, identity, &known)?;
        drop((rows, known));
        let mut entry = fetch.entry.clone();
        entry.counts.duplicate += sifted.duplicate;
        entry.counts.new += sifted.fresh.num_rows() as u64;
        let amendments = if events {
            let edits = edits(&files, fetch.layout.table, identity, &sifted.changed).await?;
            // A record that reads the same in every column is no edit.
            entry.counts.duplicate += sifted.changed.num_rows() as u64;
            let (rows, late, edited) =
                findings::amendments(&findings_files, &entry, &sifted.fresh, &fetch.sealed, &sifted.changed, edits)
                    .await?;
            entry.counts.late += late;
            entry.counts.edited += edited;
            Some(rows)
        } else {
            None
        };
        let adds = file::write(&files, &entry.source, &sifted.fresh).await?;
        let mut tables = self.tables.lock().await;
        if let Some(rows) = amendments {
            commit_rows(&mut tables.amendments, &rows).await?;
        }
        if !adds.is_empty() {
            commit_noted(&mut tables, fetch.layout, adds, &entry).await?;
        }
        fetch.entry = entry;
        Ok(())
    }

    /// Keeps what could not be decoded, without what is kept already.
    async fn flush_rejected(&self, fetch: &mut Fetch) -> Result<()> {
        let records = std::mem::take(&mut fetch.rejected);
        if records.is_empty() {
            return Ok(());
        }
        let mut tables = self.tables.lock().await;
        let rows = findings::rejected(&tables.rejected.files(), &fetch.entry, &records).await?;
        commit_rows(&mut tables.rejected, &rows).await
    }

    async fn sifting_of(&self, source_key: &str) -> Arc<Mutex<()>> {
        Arc::clone(self.sifting.lock().await.entry(source_key.to_owned()).or_default())
    }
}

/// Commits rows with a note of the fetch that brought them: what the ledger would say if the process ended now.
async fn commit_noted(
    tables: &mut MutexGuard<'_, Tables>,
    layout: &'static Layout,
    adds: Vec<deltalake_core::kernel::Add>,
    entry: &Entry,
) -> Result<()> {
    let note = serde_json::to_value(entry)
        .map_err(|error| Error::new(ErrorKind::Internal, format!("note of a fetch: {error}")))?;
    let before = i64::try_from(tables.of(layout.name()).version()).unwrap_or(i64::MAX);
    tables.unentered.entry(entry.fetch_id.clone()).or_insert((layout.name(), before));
    tables.of(layout.name()).commit(Change { adds, note: Some(note), ..Change::default() }).await?;
    Ok(())
}

async fn commit_rows(table: &mut Table, rows: &RecordBatch) -> Result<()> {
    if rows.num_rows() == 0 {
        return Ok(());
    }
    let adds = file::write(&table.files(), "", rows).await?;
    table.commit(Change { adds, ..Change::default() }).await?;
    Ok(())
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("place", &self.place.to_string()).finish_non_exhaustive()
    }
}
