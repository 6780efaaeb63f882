//! A plugin that behaves as its settings say, for the tests of the interface: mostly badly.
#![allow(
    unsafe_code,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::infinite_loop,
    reason = "bad behaviour is its purpose"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow_array::{Array as _, ArrayRef, RecordBatch, StringArray};
use arrow_buffer::Buffer;
use arrow_data::ArrayData;
use arrow_schema::{DataType, Schema};
use async_trait::async_trait;
use fedaudit_core::{
    Action, AddressKind, AuditSource, Context, EndReason, Error, ErrorKind, EventBuilder, EventRow, Meter, Outcome,
    Page, PageRequest, Plugin, Result, SourceHealth, SourceInfo, StreamInfo, StreamKind, Time,
};
use serde::Deserialize;

/// The plugin.
#[derive(Debug)]
pub struct Odd;

/// Its settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    does: String,
    #[serde(default)]
    rows: usize,
    /// Only here to be a reference to a variable.
    #[serde(default, rename = "secret")]
    _secret: Option<String>,
}

impl Plugin for Odd {
    const TYPE: &'static str = "odd";
    const VERSION: &'static str = "1";
    const STREAMS: &'static [&'static str] = &["log"];
    type Config = Config;

    fn build(_name: &str, config: Config) -> Result<Box<dyn AuditSource>> {
        match config.does.as_str() {
            "panics in build" => panic!("on purpose"),
            "hangs in build" => std::thread::sleep(Duration::from_hours(1)),
            "fails in build" => return Err(Error::new(ErrorKind::Config, "no").at("does").hint("say something else")),
            _ => {}
        }
        let mut info = SourceInfo {
            product: "odd".into(),
            plugin: "odd".into(),
            plugin_version: "1".into(),
            origin: "https://odd.example".into(),
            streams: vec![StreamInfo::new("log", StreamKind::Events)],
        };
        if config.does == "two streams of a name" {
            info.streams.push(StreamInfo::new("log", StreamKind::Events));
        }
        Ok(Box::new(Source { info, config, dropped: Arc::default() }))
    }
}

#[derive(Debug)]
struct Source {
    info: SourceInfo,
    config: Config,
    /// Fetches whose future was dropped before its end.
    dropped: Arc<AtomicUsize>,
}

struct Count(Arc<AtomicUsize>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl AuditSource for Source {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    async fn check(&self, cx: &Context) -> Result<SourceHealth> {
        assert!(self.config.does != "panics in check", "on purpose");
        Ok(SourceHealth {
            account: Some(format!("{} {}", cx.source, cx.source_key)),
            server_time: Some(cx.now()),
            notes: vec![format!("{} dropped", self.dropped.load(Ordering::Relaxed))],
            ..SourceHealth::default()
        })
    }

    async fn fetch(&self, cx: &Context, _: &PageRequest) -> Result<Page> {
        Meter::count(&cx.meter.requests);
        cx.meter.bytes.fetch_add(77, Ordering::Relaxed);
        match self.config.does.as_str() {
            "panics in fetch" => panic!("on purpose"),
            "panics in a task" => {
                let task = tokio::spawn(async { panic!("on purpose") }).await;
                return Err(Error::new(ErrorKind::Internal, task.unwrap_err().to_string()));
            }
            "hangs and can be cancelled" => {
                let _count = Count(Arc::clone(&self.dropped));
                tokio::time::sleep(Duration::from_hours(1)).await;
            }
            "hangs" => std::thread::sleep(Duration::from_hours(1)),
            "aborts" => std::process::abort(),
            "exits" => std::process::exit(3),
            "takes 10 GB" => drop(std::hint::black_box(vec![1u8; 10 << 30])),
            "opens files" => {
                let files: Vec<_> = (0..1000).map(|_| std::fs::File::open("/dev/null")).collect();
                if let Some(Err(error)) = files.into_iter().find(Result::is_err) {
                    return Err(Error::new(ErrorKind::Unavailable, error.to_string()));
                }
            }
            "prints" => println!("to stdout"),
            "loops" => loop {
                std::hint::spin_loop();
            },
            "tells its environment" => {
                let mut names: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
                names.sort();
                return Err(Error::new(ErrorKind::Unsupported, names.join(" ")));
            }
            "crashes" => crash(),
            _ => {}
        }
        let mut rows = EventBuilder::new(&cx.source_key);
        for number in 0..self.config.rows {
            let id = number.to_string();
            let row = EventRow {
                time: Time::from_micros(1_700_000_000_000_000 + number as i64),
                event_code: "odd",
                action: Action::Login,
                outcome: Outcome::Success,
                user_name: Some("ana"),

                src_kind: AddressKind::None,
                raw: "{}",
                ..EventRow::new()
            };
            rows.push(&[Some(&id)], &[], &row);
        }
        let rows = rows.finish()?;
        let rows = match self.config.does.as_str() {
            "leaves a column out" => rows.project(&[0, 1]).unwrap(),
            "hands over NULL" => with(
                &rows,
                "time",
                arrow_array::new_null_array(rows.column_by_name("time").unwrap().data_type(), rows.num_rows()),
            ),
            "hands over a corrupt batch" => with(&rows, "raw", no_text(rows.num_rows())),
            _ => rows,
        };
        Ok(Page::last(rows, EndReason::SinglePage))
    }

    async fn close(&self, _: &Context) -> Result<()> {
        Ok(())
    }
}

/// The rows with another column, and a schema that lets it be so.
fn with(rows: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let place = rows.schema().index_of(name).unwrap();
    let fields =
        rows.schema().fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>();
    let mut columns = rows.columns().to_vec();
    columns[place] = column;
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// So many texts whose offsets lead far out of their bytes.
fn no_text(rows: usize) -> ArrayRef {
    let offsets: Vec<i32> = (0..=rows as i32).map(|at| at * 1_000_000).collect();
    let data = ArrayData::builder(DataType::Utf8)
        .len(rows)
        .add_buffer(Buffer::from_vec(offsets))
        .add_buffer(Buffer::from_vec(vec![b'x'; 8]));
    // SAFETY: none; nobody reads it here, and the host is to find out.
    Arc::new(StringArray::from(unsafe { data.build_unchecked() }))
}

fn crash() {
    // SAFETY: none.
    unsafe { std::ptr::null_mut::<u8>().write_volatile(1) }
}

fedaudit_plugin::export_plugin!(Odd);
