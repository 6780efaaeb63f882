//! Many readers share one budget: as many requests in flight as it allows, and hardly ever one too many.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fedaudit_core::{ErrorKind, PageRequest, Time, Window};
use fedaudit_testkit::canvas::{Fault, Limits, Options};
use futures::StreamExt as _;
use serde_json::json;

use crate::bench::{Bench, Reading, bench};

/// Reads the window in so many slices, nine at a time, as the engine does.
async fn side_by_side(bench: &Bench, request: &PageRequest, slices: i64) -> Vec<Reading> {
    let (from, to) = (request.window.from.unwrap().micros(), request.window.to.unwrap().micros());
    let edge = |n: i64| Time::from_micros(from + (to - from) / slices * n);
    let window = |n: i64| Window::new(edge(n), if n + 1 == slices { Time::from_micros(to) } else { edge(n + 1) });
    let requests = (0..slices).map(|n| PageRequest { window: window(n), ..request.clone() });
    futures::stream::iter(requests)
        .map(|request| async {
            let window = request.window;
            let mut reading = bench.read(request).await.unwrap();
            // A slice that begins inside a second is given the whole second.
            for batch in &mut reading.batches {
                let part = Reading { batches: vec![batch.clone()], ..Reading::default() };
                let keep: Vec<bool> = part.times().iter().map(|time| window.contains(*time)).collect();
                let first = keep.iter().position(|keep| *keep).unwrap_or(0);
                let count = keep.iter().filter(|keep| **keep).count();
                assert!(keep[first..first + count].iter().all(|keep| *keep), "newest first");
                *batch = batch.slice(first, count);
            }
            reading
        })
        .buffer_unordered(9)
        .collect()
        .await
}

fn ids(readings: &[Reading]) -> (usize, BTreeSet<String>) {
    let ids: Vec<String> = readings.iter().flat_map(|reading| reading.column("record_id")).flatten().collect();
    (ids.len(), ids.into_iter().collect())
}

#[tokio::test]
async fn slices_side_by_side_are_one_reading() {
    let bench = bench(Options::default(), json!({})).await;
    let whole = ids(&[bench.read(bench.request()).await.unwrap()]);
    for slices in [2, 7, 40] {
        let readings = side_by_side(&bench, &bench.request(), slices).await;
        assert!(ids(&readings) == whole, "{slices} slices");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nine_in_flight_and_hardly_ever_throttled() {
    let count = async |limits: Limits| {
        // A busy machine must not make calls dear.
        let limits = Limits { charges_time: false, ..limits };
        let latency = Duration::from_millis(60);
        let bench = bench(Options { limits, latency, ..Options::default() }, json!({})).await;
        let request = PageRequest { page_size: Some(10), ..bench.request() };
        let (rows, distinct) = ids(&side_by_side(&bench, &request, 36).await);
        assert_eq!((rows, distinct.len()), (bench.world.canvas.events.len(), bench.world.canvas.events.len()));
        let meter = bench.cx.meter.read();
        // Within the same budget: the slices cost few calls more than one walk.
        let calls = bench.world.canvas.events.len().div_ceil(10) as u64;
        assert!(meter.requests < calls + 36 + 5, "{meter:?}");
        // Where every call costs forty times what is usual, one too many may slip through.
        assert!(meter.throttled <= u64::from(limits.extra_cost > 0.0), "{meter:?}");
        bench.stand_in.peak_in_flight()
    };
    // The bucket as documented: nine in flight, and not one more.
    assert_eq!(count(Limits::default()).await, 9);
    // Calls that cost much: fewer in flight as the budget falls, none refused.
    assert!(count(Limits { extra_cost: 4.0, ..Limits::default() }).await <= 9);
    // An installation with a third of the budget.
    assert!(count(Limits { high_water: 200.0, maximum: 300.0, ..Limits::default() }).await <= 2);
}

#[tokio::test]
async fn a_spent_budget_is_waited_for() {
    let waited = async |throttle_status: u16| {
        let faults = vec![(2..=2, Fault::Throttle)];
        let bench = bench(Options { faults, throttle_status, ..Options::default() }, json!({})).await;
        let begun = Instant::now();
        let reading = bench.read(bench.request()).await.unwrap();
        assert_eq!(reading.rows(), bench.world.canvas.events.len());
        assert_eq!(bench.cx.meter.read().throttled, 1);
        assert!(begun.elapsed() >= Duration::from_secs(5), "a reservation takes five seconds to drain");
    };
    tokio::join!(waited(403), waited(429));
}

#[tokio::test]
async fn a_named_delay_is_obeyed() {
    let faults = vec![(2..=3, Fault::Throttle)];
    let bench = bench(Options { faults, retry_after: Some(1), ..Options::default() }, json!({})).await;
    let begun = Instant::now();
    assert_eq!(bench.read(bench.request()).await.unwrap().rows(), bench.world.canvas.events.len());
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_secs(2) && waited < Duration::from_secs(5), "{waited:?}");
}

#[tokio::test]
async fn a_budget_that_stays_spent_is_an_error() {
    for throttle_status in [403, 429] {
        let faults = vec![(3..=u64::MAX, Fault::Throttle)];
        let options = Options { faults, throttle_status, ..Options::default() };
        let bench = bench(options, json!({})).await.patient_for(Duration::from_secs(3));
        let error = bench.read(bench.request()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert!(error.hint_text().is_some());
        assert_eq!(bench.cx.meter.read().throttled, 1, "nobody asks again before the time has come");
    }
}

#[tokio::test]
async fn a_pause_longer_than_the_deadline_is_an_error_at_once() {
    for throttle_status in [403, 429] {
        let faults = vec![(3..=u64::MAX, Fault::Throttle)];
        let options = Options { faults, throttle_status, retry_after: Some(3600), ..Options::default() };
        let bench = bench(options, json!({})).await.patient_for(Duration::from_mins(2));
        let begun = Instant::now();
        let error = bench.read(bench.request()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert!(error.message().contains("asked again in 3600 s"), "{error:?}");
        // Whoever comes later is not told to wait either, and Canvas is not asked.
        let asked = bench.cx.meter.read().requests;
        let error = bench.read(bench.request()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert!(error.message().contains("asked again in 3"), "{error:?}");
        assert_eq!(bench.cx.meter.read().requests, asked);
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    }
}
