//! A stand-in, the plugin in front of it, and a reader that follows its pages.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array as _, RecordBatch};
use arrow_schema::DataType;
use fedaudit_core::{AuditSource, Clock, Context, EndReason, Meter, Next, PageRequest, Plugin as _, Time, Window};
use fedaudit_testkit::faults::{Fault, Faults, Plan, Product};
use fedaudit_testkit::records::{TrueNasRecord, TrueNasService};
use fedaudit_testkit::truenas::{Options, StandIn};
use fedaudit_testkit::{Authority, RequestLog, ServerHandle, Settings, World, serve};
use fedaudit_truenas::{Config, Service, TrueNasPlugin};
use serde_json::{Value as Json, json};

pub(crate) const TO: i64 = 1_795_300_000_000_000;
pub(crate) const KEY: &str = "4-Kx0123456789";

struct Wall;
impl Clock for Wall {
    fn now(&self) -> Time {
        Time::from_micros(TO)
    }
}

pub(crate) fn context() -> Context {
    Context {
        source: "nas-1".into(),
        source_key: "nas".into(),
        clock: Arc::new(Wall),
        deadline: None,
        meter: Arc::new(Meter::default()),
    }
}

pub(crate) struct Bench {
    pub(crate) world: Arc<World>,
    pub(crate) stand_in: StandIn,
    pub(crate) log: RequestLog,
    pub(crate) source: Box<dyn AuditSource>,
    pub(crate) cx: Context,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) server: ServerHandle,
}

pub(crate) fn world(events: usize) -> Arc<World> {
    Arc::new(World::generate(&Settings { events, ..Settings::new(7, TO) }))
}

pub(crate) fn options() -> Options {
    Options { api_key: Some(KEY.to_owned()), ..Options::default() }
}

pub(crate) async fn bench(world: Arc<World>, options: Options) -> Bench {
    bench_with(world, options, "api_key", KEY).await
}

pub(crate) async fn bench_with(world: Arc<World>, options: Options, credential: &str, secret: &str) -> Bench {
    bench_of(world, options, credential, secret, json!({})).await
}

/// The same with other keys in its configuration.
pub(crate) async fn bench_of(world: Arc<World>, options: Options, credential: &str, secret: &str, more: Json) -> Bench {
    let authority = Authority::new().unwrap();
    let (log, stand_in) = (options.log.clone(), StandIn::new(Arc::clone(&world), options));
    let server = serve(stand_in.router(), &authority).await.unwrap();
    build(world, stand_in, log, &authority, server, [credential, secret], &more)
}

/// An appliance of which calls go wrong.
pub(crate) async fn bench_with_faults(world: Arc<World>, faults: Vec<Fault>) -> Bench {
    let (authority, options) = (Authority::new().unwrap(), options());
    let (log, stand_in) = (options.log.clone(), StandIn::new(Arc::clone(&world), options));
    let faults = Faults::new(&Plan { seed: 0, faults }, 0);
    let server = faults.serve(Product::TrueNas, stand_in.router(), &authority).await.unwrap();
    build(world, stand_in, log, &authority, server, ["api_key", KEY], &json!({}))
}

fn build(
    world: Arc<World>,
    stand_in: StandIn,
    log: RequestLog,
    authority: &Authority,
    server: ServerHandle,
    [credential, secret]: [&str; 2],
    more: &Json,
) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (ca, secret) = (file("ca.pem", authority.ca_pem()), file("secret", secret));
    let mut config = json!({
        "url": server.origin,
        "username": "auditor",
        credential: format!("file:{}", secret.display()),
        "tls": {"ca_file": ca},
    });
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    let config: Config = serde_json::from_value(config).unwrap();
    let source = TrueNasPlugin::build("nas-1", config).unwrap();
    Bench { world, stand_in, log, source, cx: context(), folder, server }
}

pub(crate) struct Read {
    pub(crate) pages: Vec<RecordBatch>,
    pub(crate) end: EndReason,
    pub(crate) records: u64,
    pub(crate) rejected: Vec<String>,
    pub(crate) notes: Vec<String>,
}

impl Read {
    pub(crate) fn text(&self, column: &str) -> Vec<Option<String>> {
        let mut values = Vec::new();
        for page in &self.pages {
            let array = page.column_by_name(column).unwrap().as_string::<i32>();
            values.extend(array.iter().map(|value| value.map(str::to_owned)));
        }
        values
    }

    pub(crate) fn times(&self, column: &str) -> Vec<Option<i64>> {
        let mut values = Vec::new();
        for page in &self.pages {
            values.extend(page.column_by_name(column).unwrap().as_primitive::<TimestampMicrosecondType>().iter());
        }
        values
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.text("record_id").into_iter().flatten().collect()
    }
}

pub(crate) async fn read(bench: &Bench, mut request: PageRequest) -> Read {
    let mut read =
        Read { pages: Vec::new(), end: EndReason::NothingAsked, records: 0, rejected: Vec::new(), notes: Vec::new() };
    let mut frontier: Option<Time> = None;
    for _ in 0..100_000 {
        let page = bench.source.fetch(&bench.cx, &request).await.unwrap();
        if let Some(frontier) = frontier {
            let times = page.rows.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>().clone();
            assert!(times.iter().flatten().all(|time| time <= frontier.micros()), "a row beyond the frontier");
        }
        frontier = page.frontier.or(frontier);
        read.records += page.observed.records;
        read.rejected.extend(page.rejected.into_iter().map(|rejected| rejected.reason));
        read.notes.extend(page.observed.notes);
        read.pages.push(page.rows);
        match page.next {
            Next::More(cursor) => request.cursor = Some(cursor),
            Next::End(reason) => {
                read.end = reason;
                return read;
            }
        }
    }
    panic!("the pages never end");
}

pub(crate) fn records(world: &World, service: Service) -> &[TrueNasRecord] {
    let of_world = TrueNasService::ALL.into_iter().find(|known| known.as_str() == service.as_str()).unwrap();
    world.truenas.records(of_world)
}

pub(crate) fn all(service: Service) -> PageRequest {
    PageRequest::first(service.stream(), Window::ALL)
}

/// The cells of a row that are not NULL, by column.
pub(crate) fn cells(rows: &RecordBatch, row: usize) -> BTreeMap<String, String> {
    let schema = rows.schema();
    let mut cells = BTreeMap::new();
    for (field, array) in schema.fields().iter().zip(rows.columns()) {
        if array.is_null(row) {
            continue;
        }
        let value = match field.data_type() {
            DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
            DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
            DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
            DataType::Boolean => array.as_boolean().value(row).to_string(),
            DataType::Timestamp(..) => {
                Time::from_micros(array.as_primitive::<TimestampMicrosecondType>().value(row)).to_string()
            }
            _ => array.as_list::<i32>().value(row).as_string::<i32>().iter().flatten().collect::<Vec<_>>().join(","),
        };
        cells.insert(field.name().clone(), value);
    }
    cells
}

impl Read {
    /// Every row, by column.
    pub(crate) fn cells(&self) -> Vec<BTreeMap<String, String>> {
        self.pages.iter().flat_map(|page| (0..page.num_rows()).map(|row| cells(page, row))).collect()
    }
}
