//! A stand-in on loopback, sources that talk to it, and what was read of them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array as _, RecordBatch};
use fedaudit_core::{
    AuditSource, Clock, Context, EndReason, Error, Meter, Next, Page, PageRequest, Plugin, Rejected, Time, Window,
};
use fedaudit_sps::Sps;
use fedaudit_testkit::sps::{Options, StandIn};
use fedaudit_testkit::{Authority, RequestLog, ServerHandle, Settings, World, serve};

/// End of every world's history: 2026-03-02T00:00:00Z.
const TO: i64 = 1_772_409_600_000_000;

pub(crate) fn world() -> World {
    world_of(4000)
}

pub(crate) fn world_of(events: usize) -> World {
    World::generate(&Settings { events, ..Settings::new(11, TO) })
}

pub(crate) fn micros(text: &str) -> i64 {
    Time::parse(text).unwrap().time.micros()
}

/// A clock that stands still unless it is moved.
#[derive(Debug)]
pub(crate) struct Still(AtomicI64);

impl Still {
    pub(crate) fn advance(&self, span: Duration) {
        self.0.fetch_add(span.as_micros() as i64, Ordering::Relaxed);
    }
}

impl Clock for Still {
    fn now(&self) -> Time {
        Time::from_micros(self.0.load(Ordering::Relaxed))
    }
}

pub(crate) struct Bench {
    pub(crate) stand_in: StandIn,
    pub(crate) log: RequestLog,
    pub(crate) cx: Context,
    pub(crate) clock: Arc<Still>,
    server: ServerHandle,
    folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn new(world: &World, options: Options) -> Self {
        let authority = Authority::new().unwrap();
        let log = options.log.clone();
        let stand_in = StandIn::new(Arc::new(world.clone()), options);
        let server = serve(stand_in.router(), &authority).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority.ca_pem()).unwrap();
        std::fs::write(folder.path().join("password"), "reader-password\n").unwrap();
        let clock = Arc::new(Still(AtomicI64::new(TO)));
        let cx = Context {
            source: "sps-1".into(),
            source_key: "https://sps-1.example".into(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            deadline: None,
            meter: Arc::new(Meter::default()),
        };
        Self { stand_in, log, cx, clock, server, folder }
    }

    pub(crate) fn source(&self, more: &str) -> Box<dyn AuditSource> {
        self.source_at(&self.server.origin, more)
    }

    pub(crate) fn source_at(&self, url: &str, more: &str) -> Box<dyn AuditSource> {
        let folder = self.folder.path().display();
        let text = format!(
            "url = \"{url}\"\nusername = \"reader\"\npassword = \"file:{folder}/password\"\ntls = {{ ca_file = \"{folder}/ca.pem\" }}\n{more}"
        );
        Sps::build("sps-1", toml::from_str(&text).unwrap()).unwrap()
    }

    /// Another account than the usual one.
    pub(crate) fn source_as(&self, username: &str, password: &Path, more: &str) -> Box<dyn AuditSource> {
        let (url, folder, password) = (&self.server.origin, self.folder.path().display(), password.display());
        let text = format!(
            "url = \"{url}\"\nusername = \"{username}\"\npassword = \"file:{password}\"\ntls = {{ ca_file = \"{folder}/ca.pem\" }}\n{more}"
        );
        Sps::build("sps-1", toml::from_str(&text).unwrap()).unwrap()
    }

    pub(crate) async fn read(&self, source: &dyn AuditSource, request: PageRequest) -> Read {
        self.try_read(source, request).await.unwrap()
    }

    pub(crate) async fn try_read(&self, source: &dyn AuditSource, mut request: PageRequest) -> Result<Read, Error> {
        let mut read = Read::default();
        loop {
            let page = source.fetch(&self.cx, &request).await?;
            read.add(&page);
            match page.next {
                Next::More(cursor) => request.cursor = Some(cursor),
                Next::End(reason) => {
                    read.end = reason;
                    assert_eq!(self.stand_in.complaints(), Vec::<String>::new());
                    return Ok(read);
                }
            }
            assert!(read.pages < 2000, "no end");
        }
    }
}

/// Six cells of a row.
pub(crate) type Facts = ([Option<String>; 3], [Option<String>; 3]);

/// All pages of a scan.
#[derive(Debug)]
pub(crate) struct Read {
    batches: Vec<RecordBatch>,
    pub(crate) pages: usize,
    pub(crate) records: u64,
    pub(crate) notes: Vec<String>,
    /// Where rows may be missing.
    pub(crate) gaps: Vec<Window>,
    pub(crate) rejected: Vec<Rejected>,
    pub(crate) end: EndReason,
}

impl Default for Read {
    fn default() -> Self {
        let (batches, notes, gaps, rejected) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { batches, pages: 0, records: 0, notes, gaps, rejected, end: EndReason::EnoughRows }
    }
}

impl Read {
    pub(crate) fn add(&mut self, page: &Page) {
        self.batches.push(page.rows.clone());
        self.pages += 1;
        self.records += page.observed.records;
        self.notes.extend(page.observed.notes.iter().cloned());
        self.gaps.extend(page.observed.gap);
        self.rejected.extend(page.rejected.iter().cloned());
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.batches.extend(other.batches);
    }

    pub(crate) fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// A column as texts, whatever its type.
    pub(crate) fn texts(&self, column: &str) -> Vec<Option<String>> {
        self.batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| cell(batch, column, row))).collect()
    }

    pub(crate) fn times(&self, column: &str) -> Vec<Option<i64>> {
        let times = |batch: &RecordBatch| {
            let array = batch.column_by_name(column).unwrap().as_primitive::<TimestampMicrosecondType>().clone();
            (0..array.len()).map(move |row| array.is_valid(row).then(|| array.value(row))).collect::<Vec<_>>()
        };
        self.batches.iter().flat_map(times).collect()
    }

    /// Six columns of every row, sorted.
    pub(crate) fn facts(&self, first: [&str; 3], second: [&str; 3]) -> Vec<Facts> {
        let (first, second) = (first.map(|name| self.texts(name)), second.map(|name| self.texts(name)));
        let at = |columns: &[Vec<Option<String>>; 3], row: usize| [0, 1, 2].map(|column| columns[column][row].clone());
        let mut facts: Vec<Facts> = (0..self.rows()).map(|row| (at(&first, row), at(&second, row))).collect();
        facts.sort();
        facts
    }

    /// The same rows in the order of a column, and of the rest where that is the same.
    pub(crate) fn sorted_by(&self, column: &str) -> Self {
        let whole = arrow_select::concat::concat_batches(&self.batches[0].schema(), &self.batches).unwrap();
        let row = |at: usize| {
            let cells =
                ["session_key", "message"].map(|name| whole.column_by_name(name).and_then(|_| cell(&whole, name, at)));
            (
                cell(&whole, column, at),
                cells,
                whole.column_by_name("sequence").and_then(|_| cell(&whole, "sequence", at)),
            )
        };
        let mut order: Vec<u32> = (0..whole.num_rows() as u32).collect();
        order.sort_by_key(|at| row(*at as usize));
        let order = arrow_array::UInt32Array::from(order);
        let sorted = arrow_select::take::take_record_batch(&whole, &order).unwrap();
        Self { batches: vec![sorted], ..Self::default() }
    }

    /// Columns in which two readings differ, and where, but for those that may.
    pub(crate) fn differences(&self, other: &Self, exceptions: &[&str]) -> Vec<String> {
        assert_eq!(self.rows(), other.rows());
        let mut found = Vec::new();
        for field in self.batches[0].schema().fields() {
            let name = field.name().as_str();
            if exceptions.contains(&name) {
                continue;
            }
            let (a, b) = (self.texts(name), other.texts(name));
            found.extend(a.iter().zip(&b).find(|(a, b)| a != b).map(|(a, b)| format!("{name}: {a:?} and {b:?}")));
        }
        found
    }

    pub(crate) fn set(&self, column: &str) -> BTreeSet<String> {
        self.texts(column).into_iter().flatten().collect()
    }

    /// Ids of the sessions where a column has this value.
    pub(crate) fn matching(&self, column: &str, value: &str) -> BTreeSet<String> {
        let ids = self.texts("session_id");
        let values = self.texts(column);
        ids.into_iter()
            .zip(values)
            .filter(|(_, found)| found.as_deref() == Some(value))
            .filter_map(|(id, _)| id)
            .collect()
    }
}

fn cell(batch: &RecordBatch, column: &str, row: usize) -> Option<String> {
    use arrow_array::types::ArrowPrimitiveType;
    fn number<T: ArrowPrimitiveType>(array: &dyn arrow_array::Array, row: usize) -> String
    where
        T::Native: ToString,
    {
        array.as_primitive::<T>().value(row).to_string()
    }
    let array = batch.column_by_name(column).unwrap_or_else(|| panic!("no column {column}"));
    if array.is_null(row) {
        return None;
    }
    let kind = array.data_type().to_string();
    Some(match kind.as_str() {
        "Utf8" => array.as_string::<i32>().value(row).to_owned(),
        "Boolean" => array.as_boolean().value(row).to_string(),
        "Int32" => number::<Int32Type>(array, row),
        "Int64" => number::<Int64Type>(array, row),
        _ if kind.starts_with("Timestamp") => {
            Time::from_micros(array.as_primitive::<TimestampMicrosecondType>().value(row)).to_string()
        }
        _ => {
            let items = array.as_list::<i32>().value(row);
            let items = items.as_string::<i32>();
            (0..items.len()).map(|item| items.value(item)).collect::<Vec<_>>().join(" ")
        }
    })
}

/// Compares every filled column of every row with a file; `FEDAUDIT_BLESS=1` writes the file anew.
pub(crate) fn golden(name: &str, read: &Read) {
    let mut text = String::new();
    for batch in &read.batches {
        for row in 0..batch.num_rows() {
            text.push_str("---\n");
            for field in batch.schema().fields() {
                if let Some(value) = cell(batch, field.name(), row).filter(|_| field.name() != "raw") {
                    let _ = writeln!(text, "{}: {value}", field.name());
                }
            }
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(format!("{name}.golden"));
    if std::env::var_os("FEDAUDIT_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{}", path.display());
}
