//! Prints how many audit records one core decodes, normalises and turns into Arrow in a second, raw text and digests
//! included: `cargo run --release -p fedaudit-truenas --example decode_bench [RECORDS [SERVICE]]`. The rate per second of
//! processor time depends less on what else the machine does than the rate by the clock.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people")]

use std::time::Instant;

use fedaudit_core::Time;
use fedaudit_testkit::records::TrueNasService;
use fedaudit_testkit::{Settings, World};
use fedaudit_truenas::{Reading, Service, decode_page};

const PAGE: usize = 2000;

fn main() {
    let events = std::env::args().nth(1).map_or(200_000, |text| text.parse().unwrap());
    let only = std::env::args().nth(2);
    let to = 1_795_300_000_000_000;
    let world = World::generate(&Settings { events, ..Settings::new(1, to) });
    let reading = Reading { now: Time::from_micros(to), ..Reading::default() };
    for (service, of_world) in Service::ALL.into_iter().zip(TrueNasService::ALL) {
        if only.as_deref().is_some_and(|only| only != service.as_str()) {
            continue;
        }
        let pages: Vec<(usize, String)> = world
            .truenas
            .records(of_world)
            .chunks(PAGE)
            .map(|rows| {
                let texts: Vec<String> = rows.iter().map(fedaudit_testkit::truenas::row_text).collect();
                (rows.len(), format!("{{\"jsonrpc\": \"2.0\", \"result\": [{}], \"id\": 1}}", texts.join(", ")))
            })
            .collect();
        let (mut records, mut bytes) = (0, 0);
        let (started, busy) = (Instant::now(), processor_seconds());
        while started.elapsed().as_secs_f64() < 1.0 && !pages.is_empty() {
            for (rows, page) in &pages {
                let decoded = decode_page(page.as_bytes(), service, "nas", &reading).unwrap();
                assert_eq!(decoded.rows.num_rows(), *rows);
                records += rows;
                bytes += page.len();
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        let by_clock = records as f64 / seconds;
        let rate = processor_seconds().zip(busy).map_or(by_clock, |(now, then)| records as f64 / (now - then));
        let size = bytes as f64 / records.max(1) as f64;
        let name = service.as_str();
        println!(
            "{name:<11} {rate:>9.0} records/s of processor time, {by_clock:>9.0} by the clock  {size:>5.0} bytes each"
        );
    }
}

/// Processor time of this thread, where Linux tells it.
fn processor_seconds() -> Option<f64> {
    let nanoseconds: f64 =
        std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()?;
    (nanoseconds > 0.0).then_some(nanoseconds / 1e9)
}
