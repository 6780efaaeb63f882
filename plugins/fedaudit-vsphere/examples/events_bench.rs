//! Prints how many events one core reads in a second from a stand-in in a process of its own, TLS, decoding, normalising and
//! Arrow included: `cargo run --release -p fedaudit-vsphere --example events_bench [EVENTS [soap|json]]`. The rate per second of
//! processor time depends less on what else the machine does than the rate by the clock. The most memory that the reader had at
//! any time is printed at the end.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fedaudit_core::{Clock, Context, Meter, Next, PageRequest, Plugin, Time, Window};
use fedaudit_testkit::vsphere::{Options, StandIn};
use fedaudit_testkit::{Authority, Settings, World, serve};
use fedaudit_vsphere::VSphere;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let events = arguments.next().map_or(200_000, |text| text.parse().unwrap());
    let protocol = arguments.next().unwrap_or_else(|| "soap".into());
    if protocol == "serve" {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(stand_in(events));
    } else {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(read(events, &protocol));
    }
}

/// Serves until the other side has read enough.
async fn stand_in(events: usize) {
    let settings = Settings::new(1, 1_795_300_000_000_000);
    // The organisation's events are spread over four products.
    let mut world = World::generate(&Settings { events: events * 4, ..settings });
    world.vsphere.events.truncate(events);
    let count = world.vsphere.events.len();
    let authority = Authority::new().unwrap();
    let server = serve(StandIn::new(Arc::new(world), Options::default()).router(), &authority).await.unwrap();
    let folder = std::env::temp_dir().join(format!("fedaudit-read-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("ca.pem"), authority.ca_pem()).unwrap();
    std::fs::write(folder.join("password"), Options::default().password).unwrap();
    println!("{} {} {count}", server.origin, folder.display());
    std::io::stdout().flush().unwrap();
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}

async fn read(events: usize, protocol: &str) {
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args([&events.to_string(), "serve"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mut told = line.split_whitespace();
    let (origin, folder, expected) = (told.next().unwrap(), told.next().unwrap(), told.next().unwrap());
    let config = serde_json::json!({
        "url": origin, "username": "reader@vsphere.local", "password": format!("file:{folder}/password"),
        "tls": {"ca_file": format!("{folder}/ca.pem")}, "protocol": protocol,
    });
    let source = VSphere::build("vc-1", serde_json::from_value(config).unwrap()).unwrap();
    let cx = Context {
        source: "vc-1".into(),
        source_key: "https://vc-1.example".into(),
        clock: Arc::new(SystemClock),
        deadline: None,
        meter: Arc::new(Meter::default()),
    };
    for _ in 0..5 {
        let mut request = PageRequest::first("vim.events", Window::ALL);
        let (started, busy) = (Instant::now(), processor_seconds());
        let mut rows = 0;
        loop {
            let page = source.fetch(&cx, &request).await.unwrap();
            rows += page.rows.num_rows();
            match page.next {
                Next::More(cursor) => request.cursor = Some(cursor),
                Next::End(_) => break,
            }
        }
        assert_eq!(rows.to_string(), expected);
        let seconds = started.elapsed().as_secs_f64();
        let of_processor = processor_seconds().zip(busy).map_or(seconds, |(now, then)| now - then);
        println!(
            "{protocol} {rows} events: {:>8.0} events/s by the clock, {:>8.0} per second of processor time",
            rows as f64 / seconds,
            rows as f64 / of_processor
        );
    }
    if let Some(most) = most_memory() {
        println!("{most} kB of memory at most");
    }
    source.close(&cx).await.unwrap();
    drop(server.stdin.take());
    server.wait().unwrap();
}

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time::from_micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64)
    }
}

/// The most memory this process ever had in kB, where Linux tells it.
fn most_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok())
}

/// Processor time of this thread, where Linux tells it.
fn processor_seconds() -> Option<f64> {
    let nanoseconds: f64 =
        std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()?;
    (nanoseconds > 0.0).then_some(nanoseconds / 1e9)
}
