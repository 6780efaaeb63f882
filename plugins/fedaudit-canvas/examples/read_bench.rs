//! Prints how fast a stand-in in a process of its own is read, by one reader and by nine that share one token's budget:
//! `cargo run --release -p fedaudit-canvas --example read_bench [RECORDS [LATENCY_MS]]`. The records are those of all
//! products together; Canvas has about a quarter of them.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "a program for people")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fedaudit_canvas::Canvas;
use fedaudit_core::{AuditSource, Clock, Context, Meter, Next, PageRequest, Plugin as _, Time, Window};
use fedaudit_testkit::canvas::{Options, StandIn};
use fedaudit_testkit::{Authority, Settings, World, serve};
use futures::StreamExt as _;
use serde_json::json;

const TO: i64 = 1_795_300_000_000_000;
const DAYS: i64 = 14;
/// Many more than readers, so that none of them waits long for the last one.
const SLICES: i64 = 45;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |index: usize, default: u64| arguments.get(index).map_or(default, |text| text.parse().unwrap());
    if arguments.get(1).is_some_and(|word| word == "serve") {
        return stand_in(number(2, 0), number(3, 0), &arguments[4]).await;
    }
    let (records, latency) = (number(1, 200_000), number(2, 100));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("token"), Options::default().token).unwrap();
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["serve", &records.to_string(), &latency.to_string(), &path("ca.pem")])
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
        let slices = if readers == 1 { 1 } else { SLICES };
        let begun = Instant::now();
        let rows: Vec<usize> = futures::stream::iter(0..slices)
            .map(|slice| read(&*source, &cx, window(slice, slices)))
            .buffer_unordered(readers)
            .collect()
            .await;
        let (rows, seconds) = (rows.iter().sum::<usize>(), begun.elapsed().as_secs_f64());
        let meter = cx.meter.read();
        rates.push(rows as f64 / seconds);
        println!(
            "{readers} reader(s): {rows} events in {seconds:.2} s, {:.0} events/s, {} calls, {} throttled",
            rows as f64 / seconds,
            meter.requests,
            meter.throttled
        );
    }
    println!("nine readers are {:.2} times as fast as one", rates[1] / rates[0]);
    drop(server.stdin.take());
    server.wait().unwrap();
}

/// Serves until its standard input ends.
async fn stand_in(records: u64, latency: u64, ca_file: &str) {
    let world = Arc::new(World::generate(&Settings { events: records as usize, ..Settings::new(1, TO) }));
    let authority = Authority::new().unwrap();
    std::fs::write(ca_file, authority.ca_pem()).unwrap();
    let stand_in = StandIn::new(world, Options { latency: Duration::from_millis(latency), ..Options::default() });
    let server = serve(stand_in.router(), &authority).await.unwrap();
    println!("{}", server.origin);
    std::io::stdout().flush().unwrap();
    tokio::task::spawn_blocking(|| std::io::stdin().lines().for_each(drop)).await.unwrap();
    eprintln!("at most {} in flight", stand_in.peak_in_flight());
}

fn window(slice: i64, slices: i64) -> Window {
    let span = DAYS * 86_400;
    let edge = |n: i64| Time::from_micros(TO - (span - span * n / slices) * 1_000_000);
    Window::new(edge(slice), edge(slice + 1))
}

async fn read(source: &dyn AuditSource, cx: &Context, window: Window) -> usize {
    let mut request = PageRequest::first("audit.authentication", window);
    let mut rows = 0;
    loop {
        let page = source.fetch(cx, &request).await.unwrap();
        rows += page.rows.num_rows();
        match page.next {
            Next::More(cursor) => request.cursor = Some(cursor),
            Next::End(_) => return rows,
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
