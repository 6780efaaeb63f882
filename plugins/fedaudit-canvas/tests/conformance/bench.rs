//! A Canvas, a source that reads it, and a reader that does what the engine does: fetch until the end.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use fedaudit_canvas::Canvas;
use fedaudit_core::{
    AuditSource, Clock, Context, Cursor, EndReason, Next, Page, PageRequest, Plugin, Rejected, Result, Time, Window,
};
use fedaudit_testkit::canvas::{Gradebook, Options, StandIn};
use fedaudit_testkit::{Authority, RequestLog, ServerHandle, Settings, World, serve};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const STREAM: &str = "audit.authentication";
pub(crate) const STREAMS: [&str; 3] = [STREAM, "audit.course", "audit.grade_change"];
pub(crate) const TOKEN: &str = "7~stand-in-token";

#[derive(Debug)]
pub(crate) struct At(pub(crate) Time);

impl Clock for At {
    fn now(&self) -> Time {
        self.0
    }
}

pub(crate) struct Bench {
    pub(crate) world: Arc<World>,
    pub(crate) source: Box<dyn AuditSource>,
    pub(crate) log: RequestLog,
    pub(crate) cx: Context,
    pub(crate) server: ServerHandle,
    pub(crate) stand_in: StandIn,
    gradebook: Arc<Gradebook>,
    pub(crate) authority: Authority,
    pub(crate) folder: TempDir,
}

pub(crate) fn world() -> Arc<World> {
    let to = Time::parse("2026-03-15T00:00:00Z").unwrap().time.micros();
    Arc::new(World::generate(&Settings { events: 3000, people: 12, ..Settings::new(7, to) }))
}

/// Settings of the source that differ from the usual: keys of its table, or null to leave one out.
pub(crate) async fn bench(options: Options, settings: Value) -> Bench {
    bench_of(world(), options, settings).await
}

/// A bench that reads all three logs, and a gradebook for them.
pub(crate) async fn bench_of_changes(options: Options) -> Bench {
    let world = world();
    let gradebook = Arc::new(Gradebook::generate(&world, 11, 20, 700));
    bench_of(world, Options { gradebook, ..options }, json!({ "streams": STREAMS })).await
}

pub(crate) async fn bench_of(world: Arc<World>, options: Options, settings: Value) -> Bench {
    let log = options.log.clone();
    let gradebook = Arc::clone(&options.gradebook);
    let authority = Authority::new().unwrap();
    let stand_in = StandIn::new(Arc::clone(&world), Options { token: TOKEN.to_owned(), ..options });
    let server = serve(stand_in.router(), &authority).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.ca_pem()).unwrap();
    let source = build(&folder, &server.origin, &settings).unwrap();
    let cx = context(Time::from_micros(world.to));
    Bench { world, source, log, cx, server, stand_in, gradebook, authority, folder }
}

fn context(now: Time) -> Context {
    Context {
        source: "lms".into(),
        source_key: "https://lms.example".into(),
        clock: Arc::new(At(now)),
        deadline: None,
        meter: Arc::default(),
    }
}

fn build(folder: &TempDir, origin: &str, settings: &Value) -> Result<Box<dyn AuditSource>> {
    let secret = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        format!("file:{}", path.display())
    };
    let mut table = json!({
        "url": origin,
        "tls": { "ca_file": folder.path().join("ca.pem") },
        "token": secret("token", TOKEN),
    });
    for (key, value) in settings.as_object().into_iter().flatten() {
        table[key] = value.clone();
    }
    let mut table: Value = table;
    table.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    // Secrets stand in the settings as they are and go to files here.
    if let Some(oauth) = table.get_mut("oauth") {
        for key in ["client_secret", "refresh_token"] {
            oauth[key] = secret(key, oauth[key].as_str().unwrap()).into();
        }
    }
    if let Some(token) = table.get("token").and_then(Value::as_str).filter(|token| !token.starts_with("file:")) {
        table["token"] = secret("other", token).into();
    }
    Canvas::build("lms", serde_json::from_value(table).unwrap())
}

/// What reading to the end gave.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) frontiers: Vec<(usize, Time)>,
    pub(crate) rejected: Vec<Rejected>,
    pub(crate) notes: Vec<String>,
    pub(crate) gaps: Vec<Window>,
    pub(crate) records: u64,
    pub(crate) pages: usize,
    pub(crate) end: Option<EndReason>,
}

impl Bench {
    pub(crate) fn request(&self) -> PageRequest {
        self.request_of(STREAM)
    }

    pub(crate) fn request_of(&self, stream: &str) -> PageRequest {
        PageRequest::first(stream, Window::new(Time::from_micros(self.world.from), Time::from_micros(self.world.to)))
    }

    pub(crate) fn gradebook(&self) -> Arc<Gradebook> {
        Arc::clone(&self.gradebook)
    }

    /// With so long for every request. The bench's clock stands still, so that the deadline never comes nearer.
    pub(crate) fn patient_for(mut self, time: Duration) -> Self {
        self.cx.deadline = Some(self.cx.now().plus(time));
        self
    }

    /// Another source for the same server.
    pub(crate) fn another(&self, settings: &Value) -> Result<Box<dyn AuditSource>> {
        build(&self.folder, &self.server.origin, settings)
    }

    pub(crate) async fn read(&self, request: PageRequest) -> Result<Reading> {
        read(&*self.source, &self.cx, request).await
    }

    /// Another server with the same certificate authority.
    pub(crate) async fn second(&self, options: Options) -> ServerHandle {
        serve(StandIn::new(Arc::clone(&self.world), options).router(), &self.authority).await.unwrap()
    }
}

/// The second that begins here, in Unix seconds.
pub(crate) fn second(at: i64) -> Window {
    Window::new(Time::from_seconds(at).unwrap(), Time::from_seconds(at + 1).unwrap())
}

pub(crate) async fn read(source: &dyn AuditSource, cx: &Context, mut request: PageRequest) -> Result<Reading> {
    let mut reading = Reading::default();
    loop {
        let Page { rows, next, frontier, observed, rejected } = source.fetch(cx, &request).await?;
        reading.batches.push(rows);
        reading.records += observed.records;
        reading.notes.extend(observed.notes);
        reading.gaps.extend(observed.gap);
        reading.rejected.extend(rejected);
        reading.pages += 1;
        assert!(reading.pages < 3000, "reading does not end");
        if let Some(frontier) = frontier {
            reading.frontiers.push((reading.batches.len(), frontier));
        }
        match next {
            // A cursor is data: it must survive being written down.
            Next::More(cursor) => {
                let text = serde_json::to_string(&cursor).unwrap();
                request.cursor = Some(serde_json::from_str::<Cursor>(&text).unwrap());
            }
            Next::End(reason) => {
                reading.end = Some(reason);
                return Ok(reading);
            }
        }
    }
}

impl Reading {
    pub(crate) fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Every value of a column as text; NULL is none.
    pub(crate) fn column(&self, name: &str) -> Vec<Option<String>> {
        self.batches
            .iter()
            .flat_map(|batch| {
                let column = batch.column_by_name(name).unwrap();
                (0..batch.num_rows()).map(|row| cell(column, row)).collect::<Vec<_>>()
            })
            .collect()
    }

    pub(crate) fn times(&self) -> Vec<Time> {
        self.column("time").into_iter().map(|text| Time::parse(&text.unwrap()).unwrap().time).collect()
    }

    /// Everything that one row says, a line for each column that is not NULL; digests and keys left out.
    pub(crate) fn row(&self, column: &str, value: &str) -> String {
        let at = self.column(column).iter().position(|cell| cell.as_deref() == Some(value)).unwrap();
        let schema = self.batches[0].schema();
        let lines =
            schema.fields().iter().filter(|field| !["event_key", "raw_sha256"].contains(&field.name().as_str()));
        lines
            .filter_map(|field| Some(format!("{} {}\n", field.name(), self.column(field.name())[at].as_ref()?)))
            .collect()
    }
}

fn cell(column: &dyn Array, row: usize) -> Option<String> {
    column.is_valid(row).then(|| match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Timestamp(..) => {
            Time::from_micros(column.as_primitive::<TimestampMicrosecondType>().value(row)).to_string()
        }
        _ => {
            let list = column.as_list::<i32>().value(row);
            list.as_string::<i32>().iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join(",")
        }
    })
}
