//! Collecting from a product that is written to, forgets and fails while it is read.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use fedaudit_core::{Clock as _, Status, Time};
use fedaudit_store::collect::{Progress, Report, Wanted, collect, never};
use fedaudit_store::{Place, Writer};
use proptest::prelude::*;

use crate::made::{Record, SECOND, SOURCE_KEY, Set, record, window};
use crate::product::{Product, STREAM};
use crate::sql::Opened;

pub(crate) async fn run(product: &Arc<Product>, clock: &Arc<Set>, place: &Place, wanted: &Wanted) -> Report {
    let writer = Writer::open(place, Arc::clone(clock) as _).await.unwrap().with_buffer(64 << 10);
    collect(&product.engine(clock), &writer, wanted, &Progress::default(), never()).await.unwrap()
}

pub(crate) fn since(second: i64) -> Wanted {
    Wanted { from: Some(Time::from_micros(second * SECOND)), ..Wanted::default() }
}

#[tokio::test]
async fn a_second_run_reads_only_what_is_not_sealed() {
    let (clock, place) = (Set::at(100_000), Place::in_memory());
    let product = Product::new(50, 60, Some(90_000));
    product.write((0..2000).map(|id| record(id, 20_000 + id as i64 * 40)));
    let report = run(&product, &clock, &place, &Wanted::default()).await;
    assert_eq!((report.streams[0].counts.new, report.streams[0].status), (2000, Status::Complete));
    assert!(report.is_whole());
    product.fetches.store(0, Relaxed);
    clock.to(100_100);
    product.write([record(9001, 100_050), record(9002, 99_970)]);
    let report = run(&product, &clock, &place, &Wanted::default()).await;
    assert_eq!(report.streams[0].counts.new, 2);
    assert!(product.fetches.load(Relaxed) <= 2, "one window, no more");
    assert_eq!(Opened::at(&place, clock.now()).await.number("SELECT count(*) FROM amendments").await, 0);
}

#[tokio::test]
async fn a_failure_costs_what_was_not_read_and_nothing_else() {
    let (clock, place) = (Set::at(1_000_000), Place::in_memory());
    let product = Product::new(20, 60, None);
    product.write((0..1000).map(|id| record(id, 500_000 + id as i64 * 400)));
    product.change(|state| state.fails_at = Some(20));
    let report = run(&product, &clock, &place, &since(400_000)).await;
    assert_eq!(report.streams[0].status, Status::Failed);
    assert!(report.streams[0].error.is_some() && !report.is_whole());
    let opened = Opened::at(&place, clock.now()).await;
    assert_eq!(opened.number("SELECT count(*) FROM coverage WHERE error_kind = 'unavailable'").await, 1);
    let report = run(&product, &clock, &place, &since(400_000)).await;
    assert!(report.is_whole());
    let opened = Opened::at(&place, clock.now()).await;
    assert_eq!(opened.number("SELECT count(*) FROM events").await, 1000);
    assert_eq!(opened.number("SELECT sum(rows_new) FROM coverage").await, 1000);
}

#[tokio::test]
async fn what_is_forgotten_before_it_was_read_is_named() {
    let (clock, place) = (Set::at(100_000), Place::in_memory());
    let product = Product::new(50, 60, Some(10_000));
    product.write((0..100).map(|id| record(id, 90_000 + id as i64 * 100)));
    run(&product, &clock, &place, &Wanted::default()).await;
    clock.to(130_000);
    product.change(|state| state.floor = Some(120_000));
    product.write((0..50).map(|id| record(1000 + id, 105_000 + id as i64 * 500)));
    let report = run(&product, &clock, &place, &Wanted::default()).await;
    assert!(!report.is_whole());
    assert!(report.streams[0].forgotten.covers(window(100_000, 120_000)));
    let opened = Opened::at(&place, clock.now()).await;
    assert_eq!(opened.number("SELECT count(*) FROM coverage WHERE status = 'expired'").await, 1);
    assert_eq!(opened.number("SELECT count(*) FROM events WHERE time < to_timestamp_seconds(100000)").await, 100);
}

#[tokio::test]
async fn broken_records_are_kept_with_their_bytes() {
    let (clock, place) = (Set::at(1000), Place::in_memory());
    let product = Product::new(5, 10, Some(900));
    product.write((0..40).map(|id| record(id, 200 + id as i64)));
    product.change(|state| state.broken = vec![210, 220, 230]);
    for _ in 0..2 {
        let report = run(&product, &clock, &place, &Wanted { again: true, ..Wanted::default() }).await;
        assert_eq!((report.streams[0].counts.rejected, report.streams[0].status), (3, Status::Partial));
    }
    let opened = Opened::at(&place, clock.now()).await;
    assert_eq!(opened.number("SELECT count(*) FROM rejected WHERE raw LIKE '{%}'").await, 3);
    assert_eq!(opened.number("SELECT count(*) FROM events").await, 37);
}

#[tokio::test]
async fn another_product_behind_the_same_address_stops_the_source() {
    let (clock, place) = (Set::at(1000), Place::in_memory());
    let product = Product::new(5, 10, Some(90_000));
    product.write([record(1, 500)]);
    product.change(|state| state.fingerprint = Some("host-a".into()));
    assert!(run(&product, &clock, &place, &Wanted::default()).await.is_whole());
    product.change(|state| state.fingerprint = Some("host-b".into()));
    product.write([record(2, 600)]);
    clock.to(2000);
    let report = run(&product, &clock, &place, &Wanted::default()).await;
    assert_eq!(report.streams[0].status, Status::Failed);
    let hint = report.streams[0].error.as_ref().unwrap().hint.as_ref().unwrap();
    assert!(hint.contains("--confirm"), "{hint}");
    assert_eq!(Opened::at(&place, clock.now()).await.number("SELECT count(*) FROM events").await, 1);
    let confirmed = Wanted { confirmed: vec!["nas".into()], ..Wanted::default() };
    assert!(run(&product, &clock, &place, &confirmed).await.is_whole());
}

/// What happens between two runs.
#[derive(Clone, Debug)]
enum Happening {
    /// Time passes, and so many records are written, each late by so much.
    Writes { seconds: i64, records: Vec<(i64, i64)> },
    /// Records are written while the next run reads.
    Meanwhile(Vec<(i64, i64)>),
    /// The next run fails at this page.
    Fails(usize),
    /// A run.
    Collect,
}

const LATENESS: i64 = 30;

fn happening() -> impl Strategy<Value = Happening> {
    // (seconds back from now at which it happened, nothing): never later than the lateness allows.
    let records = || proptest::collection::vec((0..LATENESS, 0..1_i64), 0..20);
    prop_oneof![
        3 => (1..400_i64, records()).prop_map(|(seconds, records)| Happening::Writes { seconds, records }),
        2 => records().prop_map(Happening::Meanwhile),
        1 => (1..6_usize).prop_map(Happening::Fails),
        4 => Just(Happening::Collect),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_row_is_there_once(
        happenings in proptest::collection::vec(happening(), 1..14),
        page in 1..9_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let (clock, place) = (Set::at(10_000), Place::in_memory());
            let product = Product::new(page, LATENESS as u64, None);
            let mut id = 0;
            let mut now = 10_000;
            let mut made = |now: i64, list: &[(i64, i64)]| -> Vec<Record> {
                list.iter().map(|(back, _)| { id += 1; record(id, now - back) }).collect()
            };
            for happening in &happenings {
                match happening {
                    Happening::Writes { seconds, records } => {
                        now += seconds;
                        clock.to(now);
                        product.change(|state| state.forget_late(now - LATENESS));
                        product.write(made(now, records));
                    }
                    Happening::Meanwhile(records) => {
                        let records = made(now, records);
                        product.change(|state| state.meanwhile.push(records));
                    }
                    Happening::Fails(at) => product.change(|state| {
                        state.fails_at = Some(product.fetches.load(Relaxed) + at);
                    }),
                    Happening::Collect => {
                        run(&product, &clock, &place, &since(9_000)).await;
                    }
                }
            }
            // What was to be written meanwhile and was not: it is written before time goes on.
            let mut truth = 0;
            product.change(|state| {
                state.records.extend(state.meanwhile.drain(..).flatten());
                state.fails_at = None;
                truth = state.records.len() as i64;
            });
            clock.to(now + 10_000);
            let report = run(&product, &clock, &place, &since(9_000)).await;
            assert!(report.is_whole(), "{report:?}");
            let opened = Opened::at(&place, clock.now()).await;
            assert_eq!(opened.number("SELECT count(*) FROM events").await, truth);
            assert_eq!(opened.number("SELECT count(DISTINCT record_id) FROM events").await, truth);
            assert_eq!(opened.number("SELECT coalesce(sum(rows_new), 0) FROM coverage").await, truth);
            assert_eq!(opened.number("SELECT count(*) FROM amendments").await, 0, "nothing was too late");
            // What comes later than it should is found when it is looked for, and told.
            product.write([record(1_000_000, 10_000)]);
            clock.to(now + 20_000);
            let again = Wanted { again: true, ..since(9_000) };
            let report = run(&product, &clock, &place, &again).await;
            assert_eq!((report.streams[0].counts.new, report.streams[0].counts.late), (1, 1));
            let coverage = Writer::open(&place, Arc::clone(&clock) as _).await.unwrap().coverage(SOURCE_KEY, STREAM).await;
            assert!(coverage.sealed.covers(window(9_000, now + 19_000)));
        });
    }
}
