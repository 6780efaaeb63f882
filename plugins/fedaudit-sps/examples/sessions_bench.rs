//! Prints how many sessions a second are read from a stand-in in a process of its own, over TLS, into Arrow:
//! `cargo run --release -p fedaudit-sps --example sessions_bench [SESSIONS]`. Reading is timed from the first request to the
//! last page, login included. The rate per second of processor time depends less on what else the machine does than the
//! rate by the clock, which also waits for the stand-in.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use fedaudit_core::{Clock, Context, Meter, Next, PageRequest, Plugin as _, Time, Window};
use fedaudit_testkit::sps::{Options, StandIn};
use fedaudit_testkit::{Authority, Settings, World, serve};

const TO: i64 = 1_795_300_000_000_000;

#[derive(Debug)]
struct Now;

impl Clock for Now {
    fn now(&self) -> Time {
        Time::from_micros(TO)
    }
}

/// Processor time of this process, where Linux tells it: ticks of a hundredth of a second.
fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / 100.0)
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let sessions = arguments.first().map_or(100_000, |text| text.parse().unwrap());
    if let Some(folder) = arguments.get(1) {
        return stand_in(sessions, folder).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args([sessions.to_string().as_str(), folder.path().to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut origin = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut origin).unwrap();
    let path = folder.path().display();
    let config = format!(
        "url = \"{}\"\nusername = \"reader\"\npassword = \"file:{path}/password\"\ntls = {{ ca_file = \"{path}/ca.pem\" }}",
        origin.trim()
    );
    let source = fedaudit_sps::Sps::build("sps-1", toml::from_str(&config).unwrap()).unwrap();
    for stream in ["sessions", "sps.sessions", "sessions", "sessions", "sessions", "sessions"] {
        let cx = Context {
            source: "sps-1".into(),
            source_key: "sps-1".into(),
            clock: Arc::new(Now),
            deadline: None,
            meter: Arc::new(Meter::default()),
        };
        let mut request = PageRequest::first(stream, Window::ALL);
        let (mut rows, mut records) = (0, 0);
        let (started, busy) = (Instant::now(), processor_seconds());
        loop {
            let page = source.fetch(&cx, &request).await.unwrap();
            rows += page.rows.num_rows();
            records += page.observed.records;
            match page.next {
                Next::More(cursor) => request.cursor = Some(cursor),
                Next::End(_) => break,
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        let bytes = cx.meter.read().bytes as f64 / records as f64;
        let by_clock = records as f64 / seconds;
        let rate = processor_seconds().zip(busy).map_or(by_clock, |(now, then)| records as f64 / (now - then));
        println!(
            "{stream:<12} {records} sessions, {rows} rows, {bytes:.0} bytes each: {rate:.0} sessions/s of processor time, \
             {by_clock:.0} by the clock"
        );
        source.close(&cx).await.unwrap();
    }
    drop(server.stdin.take());
    server.wait().unwrap();
}

/// Serves until nobody is there any more.
async fn stand_in(sessions: usize, folder: &str) {
    // About every fifth event of an organisation is a session of the gateway.
    let mut world = World::generate(&Settings { events: 4000, ..Settings::new(1, TO) });
    let pattern = std::mem::take(&mut world.sps.sessions);
    world.sps.sessions = (0..sessions)
        .map(|number| {
            let mut session = pattern[number % pattern.len()].clone();
            session.start = world.from + number as i64 * 20_000;
            session.end = session.end.map(|_| session.start + 600_000_000);
            session.key = format!("{}{number:07}", &session.key[..13]);
            session
        })
        .collect();
    let authority = Authority::new().unwrap();
    let stand_in = StandIn::new(Arc::new(world), Options::default());
    let server = serve(stand_in.router(), &authority).await.unwrap();
    std::fs::write(format!("{folder}/ca.pem"), authority.ca_pem()).unwrap();
    std::fs::write(format!("{folder}/password"), "reader-password").unwrap();
    println!("{}", server.origin);
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
}
