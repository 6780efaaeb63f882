//! Prints how fast a stand-in in a process of its own is read, by one reader and by nine that share one token's budget:
//! `cargo run --release -p fedaudit-canvas --example read_bench [RECORDS [LATENCY_MS [EXTRA_COST]]]`. The records are those
//! of all products together; Canvas has about a fifth of them. A call costs the time it takes and the extra.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "a program for people")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use arrow_array::cast::AsArray as _;
use arrow_array::types::TimestampMicrosecondType;
use fedaudit_canvas::Canvas;
use fedaudit_core::{AuditSource, Clock, Context, Meter, Next, PageRequest, Plugin as _, Time, Window};
use fedaudit_testkit::canvas::{Limits, Options, StandIn};
use fedaudit_testkit::{Authority, Settings, World, serve};
use futures::future::join_all;
use serde_json::json;

const TO: i64 = 1_795_300_000_000_000;
const DAYS: i64 = 14;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |index: usize, default: u64| arguments.get(index).map_or(default, |text| text.parse().unwrap());
    if arguments.get(1).is_some_and(|word| word == "serve") {
        return stand_in(number(2, 0), number(3, 0), &arguments[4], &arguments[5]).await;
    }
    let (records, latency) = (number(1, 200_000), number(2, 100));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("token"), Options::default().token).unwrap();
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["serve", &records.to_string(), &latency.to_string(), &path("ca.pem")])
        .arg(arguments.get(3).map_or("0", String::as_str))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let origin = lines.next().unwrap().unwrap();
    let config = json!({
        "url": origin,
        "token": format!("file:{}", path("token")),
        "tls": { "ca_file": path("ca.pem") },
    });

    let mut rates = Vec::new();
    for readers in [1, 9] {
        let source = Canvas::build("lms", serde_json::from_value(config.clone()).unwrap()).unwrap();
        let cx = context();
        let board = Board::new(readers);
        let (begun, busy) = (Instant::now(), processor_seconds());
        let rows = join_all((0..readers).map(|reader| board.read(&*source, &cx, reader))).await;
        let (rows, seconds) = (rows.iter().sum::<usize>(), begun.elapsed().as_secs_f64());
        let meter = cx.meter.read();
        rates.push(rows as f64 / seconds);
        let busy = processor_seconds() - busy;
        println!(
            "{readers} reader(s): {rows} events in {seconds:.2} s, {:.0} events/s, {:.0} per second of the reader's processor \
             time, {} calls, {} throttled",
            rows as f64 / seconds,
            rows as f64 / busy,
            meter.requests,
            meter.throttled
        );
    }
    println!("nine readers are {:.2} times as fast as one", rates[1] / rates[0]);
    drop(server.stdin.take());
    server.wait().unwrap();
}

/// Processor time of this process, where Linux tells it.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

/// Serves until its standard input ends.
async fn stand_in(records: u64, latency: u64, ca_file: &str, extra_cost: &str) {
    let world = Arc::new(World::generate(&Settings { events: records as usize, ..Settings::new(1, TO) }));
    let authority = Authority::new().unwrap();
    std::fs::write(ca_file, authority.ca_pem()).unwrap();
    let limits = Limits { extra_cost: extra_cost.parse().unwrap(), ..Limits::default() };
    let options = Options { latency: Duration::from_millis(latency), limits, ..Options::default() };
    let stand_in = StandIn::new(world, options);
    let server = serve(stand_in.router(), &authority).await.unwrap();
    println!("{}", server.origin);
    std::io::stdout().flush().unwrap();
    tokio::task::spawn_blocking(|| std::io::stdin().lines().for_each(drop)).await.unwrap();
    eprintln!("at most {} in flight", stand_in.peak_in_flight());
}

/// Who reads which part of the time. A reader that is done takes half of what the busiest one has before it: the log comes
/// newest first, so that the older half is still unread.
struct Board(Mutex<Vec<Part>>);

/// From `from` up to `at`, in seconds; `at` falls as pages come.
#[derive(Clone, Copy)]
struct Part {
    from: i64,
    to: i64,
    at: i64,
    rows: usize,
}

impl Part {
    fn new(from: i64, to: i64) -> Self {
        Self { from, to, at: to, rows: 0 }
    }

    /// Pages still to come, by those that came.
    fn pages_left(&self) -> f64 {
        let density = self.rows as f64 / (self.to - self.at).max(1) as f64;
        density * (self.at - self.from) as f64 / 100.0
    }
}

impl Board {
    fn new(readers: usize) -> Self {
        let (span, readers) = (DAYS * 86_400, readers as i64);
        let edge = |n: i64| TO / 1_000_000 - span + span * n / readers;
        Self(Mutex::new((0..readers).map(|n| Part::new(edge(n), edge(n + 1))).collect()))
    }

    async fn read(&self, source: &dyn AuditSource, cx: &Context, reader: usize) -> usize {
        let mut rows = 0;
        loop {
            rows += self.read_part(source, cx, reader).await;
            let mut parts = self.0.lock().unwrap();
            let busiest = (0..parts.len()).max_by(|a, b| parts[*a].pages_left().total_cmp(&parts[*b].pages_left()));
            let Some(busiest) = busiest.filter(|part| parts[*part].pages_left() > 1.5) else { return rows };
            let middle = i64::midpoint(parts[busiest].from, parts[busiest].at);
            parts[reader] = Part::new(parts[busiest].from, middle);
            parts[busiest].from = middle;
        }
    }

    async fn read_part(&self, source: &dyn AuditSource, cx: &Context, reader: usize) -> usize {
        let part = self.0.lock().unwrap()[reader];
        let time = |second: i64| Time::from_micros(second * 1_000_000);
        let mut request = PageRequest::first("audit.authentication", Window::new(time(part.from), time(part.to)));
        let mut rows = 0;
        loop {
            let page = source.fetch(cx, &request).await.unwrap();
            let times = page.rows.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>().values();
            let mut parts = self.0.lock().unwrap();
            let part = &mut parts[reader];
            // Somebody may have taken the older half meanwhile.
            rows += times.iter().filter(|time| **time >= part.from * 1_000_000).count();
            part.rows += times.len();
            part.at = times.last().map_or(part.from, |last| (last / 1_000_000).max(part.from));
            let is_over = times.last().is_some_and(|last| *last < part.from * 1_000_000);
            match page.next {
                Next::More(cursor) if !is_over => request.cursor = Some(cursor),
                _ => {
                    part.at = part.from;
                    return rows;
                }
            }
        }
    }
}

struct Now;

impl Clock for Now {
    fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Time::from_micros(since.as_micros() as i64)
    }
}

fn context() -> Context {
    Context {
        source: "lms".into(),
        source_key: "https://lms.example".into(),
        clock: Arc::new(Now),
        deadline: None,
        meter: Arc::<Meter>::default(),
    }
}
