//! What the tests share: a world, a stand-in that serves it, a source that reads it, and looks into the rows.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType as T;
use fedaudit_core::{AuditSource, Clock, Context, EndReason, Meter, Next, PageRequest, Plugin, Rejected, Time, Window};
use fedaudit_testkit::records::{VimValue, VsphereEvent, World};
use fedaudit_testkit::vsphere::{Options, StandIn};
use fedaudit_testkit::{Authority, RequestLog, ServerHandle, Settings, serve};
use fedaudit_vsphere::{Config, VSphere};

pub(crate) const PASSWORD: &str = "correct horse";

/// The same small history for every test.
pub(crate) fn world() -> Arc<World> {
    static WORLD: LazyLock<Arc<World>> = LazyLock::new(|| {
        let settings = Settings { days: 3, events: 4000, ..Settings::new(7, 1_770_249_600_000_000) };
        Arc::new(World::generate(&settings))
    });
    Arc::clone(&WORLD)
}

/// The same world with another log.
pub(crate) fn world_of(events: Vec<VsphereEvent>) -> Arc<World> {
    let mut world = World::clone(&world());
    world.vsphere.events = events;
    Arc::new(world)
}

/// A first instant for made-up logs.
pub(crate) const START: i64 = 1_770_113_730_250_001;

pub(crate) fn text(text: &str) -> VimValue {
    VimValue::Text(text.into())
}

/// An event of the first instant and later.
pub(crate) fn event(class: &'static str, key: i32, after: i64, members: Vec<(&'static str, VimValue)>) -> VsphereEvent {
    VsphereEvent { class, key, chain_id: key, created: START + after, user_name: "CORP\\Ana".into(), members }
}

/// So many events, one every 100 ms.
pub(crate) fn many(count: i32) -> Vec<VsphereEvent> {
    (0..count).map(|key| event("VmPoweredOnEvent", key, i64::from(key) * 100_000, Vec::new())).collect()
}

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time::from_micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64)
    }
}

pub(crate) fn context() -> Context {
    Context {
        source: "vc-1".into(),
        source_key: "https://vc-1.example".into(),
        clock: Arc::new(SystemClock),
        deadline: None,
        meter: Arc::new(Meter::default()),
    }
}

/// A stand-in and a source that is configured for it.
pub(crate) struct Bench {
    pub(crate) source: Box<dyn AuditSource>,
    pub(crate) cx: Context,
    pub(crate) stand_in: StandIn,
    pub(crate) log: RequestLog,
    config: String,
    server: ServerHandle,
    folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn start(world: Arc<World>, options: Options, protocol: &str, more: &str) -> Self {
        let authority = Authority::new().unwrap();
        let log = options.log.clone();
        let stand_in = StandIn::new(world, options);
        let server = serve(stand_in.router(), &authority).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (ca, password) = (folder.path().join("ca.pem"), folder.path().join("password"));
        std::fs::write(&ca, authority.ca_pem()).unwrap();
        std::fs::write(&password, PASSWORD).unwrap();
        let more = if more.is_empty() { String::new() } else { format!(", {more}") };
        let config = format!(
            r#"{{"url": "{}", "username": "reader@vsphere.local", "password": "file:{}", "tls": {{"ca_file": "{}"}}, "protocol": "{protocol}"{more}}}"#,
            server.origin,
            password.display(),
            ca.display()
        );
        Self { source: source(&config), cx: context(), stand_in, log, config, server, folder }
    }

    /// Where the stand-in is.
    pub(crate) fn origin(&self) -> &str {
        &self.server.origin
    }

    /// The same source after the server went away.
    pub(crate) fn gone(self) -> Gone {
        let Self { config, folder, server, .. } = self;
        drop(server);
        Gone { source: source(&config), cx: context(), folder }
    }
}

pub(crate) struct Gone {
    pub(crate) source: Box<dyn AuditSource>,
    pub(crate) cx: Context,
    #[expect(dead_code, reason = "the files live as long as it does")]
    folder: tempfile::TempDir,
}

pub(crate) fn source(config: &str) -> Box<dyn AuditSource> {
    let config: Config = serde_json::from_str(config).unwrap();
    VSphere::build("vc-1", config).unwrap()
}

/// Everything that a stream answered.
pub(crate) struct Answer {
    pub(crate) rows: Vec<RecordBatch>,
    pub(crate) rejected: Vec<Rejected>,
    pub(crate) end: EndReason,
    pub(crate) pages: usize,
    pub(crate) records: u64,
    pub(crate) server_time: Option<Time>,
    pub(crate) retention_floor: Option<Time>,
    pub(crate) notes: Vec<String>,
    /// Where rows may be missing.
    pub(crate) gaps: Vec<Window>,
    /// Frontier of each page.
    pub(crate) frontiers: Vec<Option<Time>>,
}

impl Answer {
    /// A column of all rows, in the order in which they came.
    pub(crate) fn column(&self, name: &str) -> Vec<Option<String>> {
        self.rows.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| cell(batch, name, row))).collect()
    }

    /// Keys of all rows, in the order in which they came.
    pub(crate) fn keys(&self) -> Vec<i64> {
        self.column("sequence").into_iter().map(|key| key.unwrap().parse().unwrap()).collect()
    }

    /// The keys in order.
    pub(crate) fn sorted_keys(&self) -> Vec<i64> {
        let mut keys = self.keys();
        keys.sort_unstable();
        keys
    }
}

pub(crate) async fn read(bench: &Bench, request: PageRequest) -> Answer {
    read_source(&*bench.source, &bench.cx, request).await
}

pub(crate) async fn read_source(source: &dyn AuditSource, cx: &Context, mut request: PageRequest) -> Answer {
    let mut answer = Answer {
        rows: Vec::new(),
        rejected: Vec::new(),
        end: EndReason::NothingAsked,
        pages: 0,
        records: 0,
        server_time: None,
        retention_floor: None,
        notes: Vec::new(),
        gaps: Vec::new(),
        frontiers: Vec::new(),
    };
    loop {
        let page = source.fetch(cx, &request).await.unwrap();
        answer.notes.extend(page.observed.notes);
        answer.gaps.extend(page.observed.gap);
        answer.frontiers.push(page.frontier);
        answer.pages += 1;
        answer.records += page.observed.records;
        answer.server_time = page.observed.server_time.or(answer.server_time);
        answer.retention_floor = page.observed.retention_floor.or(answer.retention_floor);
        answer.rows.push(page.rows);
        answer.rejected.extend(page.rejected);
        match page.next {
            Next::More(cursor) => request.cursor = Some(cursor),
            Next::End(end) => {
                answer.end = end;
                return answer;
            }
        }
    }
}

/// A cell as text; NULL is none.
pub(crate) fn cell(batch: &RecordBatch, name: &str, row: usize) -> Option<String> {
    let column = batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        T::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        T::Int32 => column.as_primitive::<Int32Type>().value(row).to_string(),
        T::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        T::Boolean => column.as_boolean().value(row).to_string(),
        T::Timestamp(..) => Time::from_micros(column.as_primitive::<TimestampMicrosecondType>().value(row)).to_string(),
        _ => {
            let list = column.as_list::<i32>().value(row);
            list.as_string::<i32>().iter().flatten().collect::<Vec<_>>().join(",")
        }
    })
}

/// Every cell that is not NULL, one a line.
pub(crate) fn records(batches: &[RecordBatch]) -> String {
    let mut out = String::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            for field in batch.schema().fields() {
                if let Some(value) = cell(batch, field.name(), row) {
                    writeln!(out, "{}: {value}", field.name()).unwrap();
                }
            }
            out.push('\n');
        }
    }
    out
}

/// Compares with a file under `fixtures/`; with `FEDAUDIT_GOLDEN=write` the file is written instead.
pub(crate) fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    if std::env::var("FEDAUDIT_GOLDEN").is_ok_and(|mode| mode == "write") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "{} differs; FEDAUDIT_GOLDEN=write rewrites it", path.display());
}

pub(crate) type Seen = (i64, String, String, Option<String>, Option<String>, Option<String>);

/// What really happened in the product, as far as it can be seen.
pub(crate) fn truth_of(world: &World) -> Vec<Seen> {
    let events = world.truth.events.iter().filter(|event| event.product == "vsphere" && event.observable);
    events
        .map(|event| {
            let text = |text: &Option<String>| text.as_ref().map(ToString::to_string);
            (
                event.time.0,
                event.action.to_string(),
                event.outcome.to_string(),
                text(&event.user_name),
                text(&event.src_ip),
                text(&event.session_id),
            )
        })
        .collect()
}
