//! Newest pages first: the latest page, then backward; complete, and no frontier promises too much.

use std::sync::Arc;

use fedaudit_core::{Direction, EndReason, Next, PageRequest, Time, Window};
use fedaudit_testkit::vsphere::Options;

use crate::support::{Answer, Bench, START, cell, event, many, read, world, world_of};
use crate::{PROTOCOLS, keys};

fn newest(rows: usize, window: Window) -> PageRequest {
    PageRequest { page_size: Some(rows), direction: Direction::NewestFirst, ..PageRequest::first("vim.events", window) }
}

/// No row is later than a frontier before it.
fn frontiers_hold(answer: &Answer) {
    let mut bound: Option<Time> = None;
    for (batch, frontier) in answer.rows.iter().zip(&answer.frontiers) {
        for row in 0..batch.num_rows() {
            let time = Time::parse(&cell(batch, "time", row).unwrap()).unwrap().time;
            assert!(bound.is_none_or(|bound| time <= bound), "{time} after {bound:?}");
        }
        if let Some(frontier) = frontier {
            bound = Some(bound.map_or(*frontier, |bound| bound.min(*frontier)));
        }
    }
}

#[tokio::test]
async fn newest_first_reads_everything_once() {
    let mut disorder = many(120);
    for pair in disorder.chunks_mut(2) {
        pair.swap(0, 1);
    }
    let instant: Vec<_> = (0..90).map(|key| event("VmPoweredOnEvent", key, 0, Vec::new())).collect();
    for (world, sizes) in [
        (world(), vec![97, 1000]),
        (world_of(disorder), vec![7, 50]),
        (world_of(instant), vec![1, 20]),
        (world_of(Vec::new()), vec![10]),
    ] {
        let mut expected: Vec<i64> = world.vsphere.events.iter().map(|event| i64::from(event.key)).collect();
        expected.sort_unstable();
        for protocol in PROTOCOLS {
            for rows in &sizes {
                let bench = Bench::start(Arc::clone(&world), Options::default(), protocol, "").await;
                let answer = read(&bench, newest(*rows, Window::ALL)).await;
                assert_eq!(answer.sorted_keys(), expected);
                assert_eq!((answer.end, bench.stand_in.open_collectors()), (EndReason::EmptyPage, 0));
                frontiers_hold(&answer);
            }
        }
    }
}

#[tokio::test]
async fn a_first_page_is_the_newest_and_cheap() {
    let world = world();
    for protocol in PROTOCOLS {
        let bench = Bench::start(Arc::clone(&world), Options::default(), protocol, "").await;
        let page = bench.source.fetch(&bench.cx, &newest(10, Window::ALL)).await.unwrap();
        let events = &world.vsphere.events;
        let expected: Vec<i64> = events[events.len() - 10..].iter().map(|event| i64::from(event.key)).collect();
        assert_eq!(keys(&[page.rows]), expected);
        let sent: u64 = bench.log.take().iter().map(|entry| entry.records).sum();
        assert!(sent < 20, "{sent} records for ten rows");
    }
}

#[tokio::test]
async fn windows_are_half_open_backward_too() {
    let world = world_of(many(100));
    for protocol in PROTOCOLS {
        let bench = Bench::start(Arc::clone(&world), Options::default(), protocol, "").await;
        let at = |key: i64| Time::from_micros(START + key * 100_000);
        let answer = read(&bench, newest(7, Window::new(at(20), at(80)))).await;
        assert_eq!(answer.sorted_keys(), (20..80).collect::<Vec<_>>());
        frontiers_hold(&answer);
    }
}

/// The log grows while it is read backward: what came meanwhile may come or not, what was there does.
#[tokio::test]
async fn a_log_that_grows_under_the_reader() {
    for protocol in PROTOCOLS {
        for before_page in 1..4 {
            let bench = Bench::start(world_of(many(100)), Options::default(), protocol, "").await;
            let mut request = newest(15, Window::ALL);
            let mut seen = Vec::new();
            for page_number in 0.. {
                if page_number == before_page {
                    (100..140).for_each(|key| {
                        bench.stand_in.add(event("VmPoweredOnEvent", key, i64::from(key) * 100_000, Vec::new()));
                    });
                }
                let page = bench.source.fetch(&bench.cx, &request).await.unwrap();
                seen.extend(keys(&[page.rows]));
                let Next::More(cursor) = page.next else { break };
                request.cursor = Some(cursor);
            }
            seen.sort_unstable();
            seen.dedup();
            seen.retain(|key| *key < 100);
            assert_eq!(seen, (0..100).collect::<Vec<_>>(), "{protocol}, before page {before_page}");
        }
    }
}

#[tokio::test]
async fn newest_first_survives_what_forward_reading_does() {
    let world = world_of(many(200));
    for protocol in PROTOCOLS {
        let everything: Vec<i64> = (0..200).collect();
        for after in [4, 6, 7, 9, 12] {
            for options in [
                Options { expire_after: Some(after), ..Options::default() },
                Options { lose_collectors_after: Some(after), ..Options::default() },
            ] {
                let bench = Bench::start(Arc::clone(&world), options, protocol, "").await;
                let answer = read(&bench, newest(30, Window::ALL)).await;
                let mut keys = answer.sorted_keys();
                keys.dedup();
                assert_eq!(keys, everything);
                frontiers_hold(&answer);
            }
        }
        // Pages that are empty in the middle, at the new end and at the old one.
        for hidden in [50..120, 170..200, 0..70] {
            let options = Options { hidden: vec![hidden.clone()], ..Options::default() };
            let bench = Bench::start(Arc::clone(&world), options, protocol, "").await;
            let mut keys = read(&bench, newest(10, Window::ALL)).await.sorted_keys();
            keys.dedup();
            let visible: Vec<i64> = (0..200).filter(|key| !hidden.contains(key)).map(i64::from).collect();
            assert_eq!(keys, visible, "{hidden:?}");
        }
    }
}
