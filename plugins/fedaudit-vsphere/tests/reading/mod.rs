//! Pages and what can happen between them: everything comes, once, whatever is lost on the way; and where it cannot, that is
//! said.

#![allow(clippy::single_range_in_vec_init, reason = "one range of keys is hidden")]

mod newest_first;

use std::sync::Arc;
use std::time::Duration;

use fedaudit_core::{Direction, EndReason, ErrorKind, Next, PageRequest, Predicate, Time, Window};
use fedaudit_testkit::vsphere::Options;

use crate::support::{Answer, Bench, START, event, many, read, world, world_of};
use crate::{PROTOCOLS, keys};

fn pages_of(rows: usize) -> PageRequest {
    PageRequest { page_size: Some(rows), ..PageRequest::first("vim.events", Window::ALL) }
}

async fn read_with(options: Options, protocol: &str, world: &Arc<fedaudit_testkit::World>, rows: usize) -> Answer {
    let bench = Bench::start(Arc::clone(world), options, protocol, "").await;
    read(&bench, pages_of(rows)).await
}

#[tokio::test]
async fn page_borders() {
    for protocol in PROTOCOLS {
        // As many as fit one page of the largest size, one more, one less; and a plugin's own size.
        for count in [0, 1, 999, 1000, 1001] {
            let answer = read_with(Options::default(), protocol, &world_of(many(count)), 1000).await;
            assert_eq!(answer.keys(), (0..i64::from(count)).collect::<Vec<_>>());
            assert_eq!((answer.end, answer.records), (EndReason::EmptyPage, count as u64));
        }
        // The same instant on both sides of a border.
        let same: Vec<_> = (0..50).map(|key| event("VmPoweredOnEvent", key, 0, Vec::new())).collect();
        let world = world_of(same);
        for rows in [1, 7, 49, 50] {
            assert_eq!(read_with(Options::default(), protocol, &world, rows).await.keys().len(), 50);
        }
    }
}

#[tokio::test]
async fn pages_out_of_order() {
    // Neighbours stand in the wrong order in the log, also across the borders of pages.
    let mut events = many(60);
    for pair in events.chunks_mut(2) {
        pair.swap(0, 1);
    }
    let world = world_of(events);
    for protocol in PROTOCOLS {
        for rows in [7, 60] {
            let answer = read_with(Options::default(), protocol, &world, rows).await;
            assert_eq!(answer.sorted_keys(), (0..60).collect::<Vec<_>>());
        }
        let whole = read_with(Options::default(), protocol, &world, 60).await;
        assert_eq!(whole.keys(), (0..60).collect::<Vec<_>>(), "a page is sorted");
        // A login that is lost in the middle of it.
        for expire_after in [5, 8, 11] {
            let options = Options { expire_after: Some(expire_after), ..Options::default() };
            let answer = read_with(options, protocol, &world, 7).await;
            assert_eq!(answer.sorted_keys(), (0..60).collect::<Vec<_>>());
        }
    }
}

#[tokio::test]
async fn negative_and_restarted_keys() {
    // The counter overflows, then the log is made anew and counts from one again; gaps are usual.
    let keys = [i32::MAX - 5, i32::MAX, i32::MIN, i32::MIN + 7, -3, 1, 2, 9, i32::MAX, 1];
    let events = keys.iter().zip(0..).map(|(key, at)| event("VmPoweredOnEvent", *key, at * 700_000, Vec::new()));
    let world = world_of(events.collect());
    let expected: Vec<i64> = keys.iter().map(|key| i64::from(*key)).collect();
    for protocol in PROTOCOLS {
        for rows in 1..4 {
            for expire_after in [None, Some(6), Some(8)] {
                let options = Options { expire_after, ..Options::default() };
                let answer = read_with(options, protocol, &world, rows).await;
                assert_eq!(answer.keys(), expected);
                let mut distinct = answer.column("event_key");
                distinct.sort();
                distinct.dedup();
                assert_eq!(distinct.len(), keys.len(), "one key at two times is two events");
            }
        }
    }
}

#[tokio::test]
async fn a_lost_collector_is_made_anew_and_nothing_is_lost() {
    let world = world_of(many(300));
    for protocol in PROTOCOLS {
        for lost_collector in ["ManagedObjectNotFound", "InvalidState"] {
            for lose_collectors_after in [4, 5, 7, 10] {
                let options = Options {
                    lose_collectors_after: Some(lose_collectors_after),
                    lost_collector,
                    ..Options::default()
                };
                let bench = Bench::start(Arc::clone(&world), options, protocol, "").await;
                let answer = read(&bench, pages_of(70)).await;
                assert_eq!(answer.keys(), (0..300).collect::<Vec<_>>());
                assert_eq!(bench.cx.meter.read().logins, 1);
                assert_eq!(bench.stand_in.open_collectors(), 0);
            }
        }
    }
}

#[tokio::test]
async fn an_empty_page_is_not_the_end() {
    let world = world_of(many(500));
    for protocol in PROTOCOLS {
        // Several pages in a row hold nothing that the account may see; others are short.
        for hidden in [100..400, 0..333, 95..105] {
            let options = Options { hidden: vec![hidden.clone()], ..Options::default() };
            let answer = read_with(options, protocol, &world, 20).await;
            let expected: Vec<i64> = (0..500).filter(|key| !hidden.contains(key)).map(i64::from).collect();
            assert_eq!(answer.keys(), expected);
            assert_eq!((answer.end, answer.notes.len()), (EndReason::EmptyPage, 0));
        }
        // The newest are hidden, so that nothing proves the end: what could be seen was, and the doubt is told.
        let options = Options { hidden: vec![400..500], ..Options::default() };
        let answer = read_with(options, protocol, &world, 20).await;
        assert_eq!(answer.keys(), (0..400).collect::<Vec<_>>());
        assert!(answer.notes.iter().any(|note| note.contains("may not see every object")), "{:?}", answer.notes);
        assert_eq!(answer.gaps, [Window { from: Some(instant(399)), to: None }]);
    }
}

fn instant(key: i32) -> Time {
    Time::from_micros(START + i64::from(key) * 100_000)
}

/// What the account may see lies between what it may not: neither the first pages nor the latest one show anything.
#[tokio::test]
async fn events_between_hidden_ones_are_found() {
    let world = world_of(many(500));
    for protocol in PROTOCOLS {
        for direction in [Direction::Any, Direction::NewestFirst] {
            let options = Options { hidden: vec![0..200, 300..500], ..Options::default() };
            let bench = Bench::start(Arc::clone(&world), options, protocol, "").await;
            let answer = read(&bench, PageRequest { direction, ..pages_of(20) }).await;
            assert_eq!(answer.sorted_keys(), (200..300).collect::<Vec<_>>());
            assert_eq!(answer.gaps, [Window { from: Some(instant(299)), to: None }]);
            assert_eq!(answer.notes.len(), 1, "{:?}", answer.notes);
        }
    }
}

/// Nothing at all is seen. It is an answer where something proves it, and a doubt otherwise.
#[tokio::test]
async fn silence_is_an_answer_only_where_that_is_proven() {
    let world = world_of(many(100));
    let later = Window { from: Some(instant(100)), to: None };
    let between = Window::new(instant(40), instant(60));
    for protocol in PROTOCOLS {
        for direction in [Direction::Any, Direction::NewestFirst] {
            let silence = async |hidden: Vec<_>, tells_privileges, window, code: Option<&str>| {
                let options = Options { hidden, tells_privileges, ..Options::default() };
                let bench = Bench::start(Arc::clone(&world), options, protocol, "").await;
                let predicates = code.map(|code| Predicate::any_of("event_code", [code])).into_iter().collect();
                let request = PageRequest { direction, window, predicates, ..pages_of(10) };
                let answer = read(&bench, request).await;
                assert!(answer.keys().is_empty());
                assert_eq!(bench.stand_in.open_collectors(), 0);
                (answer.gaps, answer.notes, bench.log.take().len())
            };
            // The newest event there is lies before the window, and the account sees it.
            let (gaps, notes, calls) = silence(vec![0..50], false, later, None).await;
            assert_eq!((gaps.len(), notes.len()), (0, 0), "{notes:?}");
            assert!(calls < 20, "{calls}");
            // It does not see that one.
            let (gaps, notes, _) = silence(vec![90..100], false, later, None).await;
            assert_eq!((gaps, notes.len()), (vec![later], 1));
            assert!(notes[0].contains("may not see every object"), "{notes:?}");
            // All of the window is hidden, and what is before it is not.
            let (gaps, ..) = silence(vec![30..61], true, between, None).await;
            assert_eq!(gaps, [between]);
            // No event of this kind was ever stored: an account that may read at the root would see it.
            let (gaps, notes, _) = silence(Vec::new(), true, Window::ALL, Some("AccountRemovedEvent")).await;
            assert_eq!((gaps.len(), notes.len()), (0, 0), "{notes:?}");
            for (hidden, tells_privileges) in [(Vec::new(), false), (vec![0..1], true)] {
                let (gaps, notes, _) =
                    silence(hidden, tells_privileges, Window::ALL, Some("AccountRemovedEvent")).await;
                assert_eq!((gaps, notes.len()), (vec![Window::ALL], 1));
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_stops_short_is_an_error() {
    for protocol in PROTOCOLS {
        let options = Options { stops_after: Some(41), ..Options::default() };
        let bench = Bench::start(world_of(many(90)), options, protocol, "").await;
        let mut request = pages_of(20);
        let mut seen = Vec::new();
        let error = loop {
            match bench.source.fetch(&bench.cx, &request).await {
                Ok(page) => {
                    seen.extend(keys(&[page.rows]));
                    let Next::More(cursor) = page.next else { panic!("that is no end") };
                    request.cursor = Some(cursor);
                }
                Err(error) => break error,
            }
        };
        assert_eq!(seen, (0..42).collect::<Vec<_>>());
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.hint_text().unwrap().contains("rows after the last one are missing"));
    }
}

#[tokio::test]
async fn a_server_that_sends_one_page_for_ever_is_an_error() {
    // Within the second that a cursor remembers, and over many of them.
    for world in [world_of(many(9)), world_of(many(90))] {
        for protocol in PROTOCOLS {
            for direction in [Direction::Any, Direction::NewestFirst] {
                let options = Options { stuck_collectors: true, ..Options::default() };
                let bench = Bench::start(Arc::clone(&world), options, protocol, "").await;
                let mut request =
                    PageRequest { direction, ..pages_of(if world.vsphere.events.len() < 10 { 3 } else { 30 }) };
                let mut pages = 0;
                let error = loop {
                    match bench.source.fetch(&bench.cx, &request).await.map(|page| page.next) {
                        Ok(Next::More(cursor)) => request.cursor = Some(cursor),
                        Ok(Next::End(end)) => panic!("{end:?} after {pages} pages"),
                        Err(error) => break error,
                    }
                    pages += 1;
                    assert!(pages < 100);
                };
                assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
            }
        }
    }
}

#[tokio::test]
async fn records_that_can_never_be_read_come_to_an_end() {
    let good: Vec<i64> = (0..41).collect();
    for protocol in PROTOCOLS {
        // A page holds nothing but the one that cannot be read, or that one among others.
        for (rows, message) in [(1, "of which none can be read"), (20, "the same events")] {
            for follow in [None, Some(Duration::from_millis(20))] {
                let options = Options { broken_event: Some(41), stuck_at_broken: true, ..Options::default() };
                let bench = Bench::start(world_of(many(90)), options, protocol, "").await;
                let mut request = PageRequest { follow, ..pages_of(rows) };
                let (mut seen, mut rejected) = (Vec::new(), 0);
                let error = loop {
                    match bench.source.fetch(&bench.cx, &request).await {
                        Ok(page) => {
                            seen.extend(keys(&[page.rows]));
                            rejected += page.rejected.len();
                            let Next::More(cursor) = page.next else { panic!("that is no end") };
                            request.cursor = Some(cursor);
                        }
                        Err(error) => break error,
                    }
                    assert!(rejected < 100, "without an end");
                };
                assert!(seen.starts_with(&good) && !seen.contains(&41), "{seen:?}");
                assert_eq!(error.kind(), ErrorKind::Malformed);
                assert!(error.to_string().contains(message) && rejected > 1, "{error}, {rejected} rejected");
            }
        }
    }
}

#[tokio::test]
async fn late_events_are_seen_by_a_reader_that_goes_on() {
    for protocol in PROTOCOLS {
        let bench = Bench::start(world_of(many(30)), Options::default(), protocol, "").await;
        let mut request = pages_of(30);
        let first = bench.source.fetch(&bench.cx, &request).await.unwrap();
        let Next::More(cursor) = first.next else { panic!("a page with rows is not the end") };
        // Stored now, with a time before that of the last row.
        bench.stand_in.add(event("VmPoweredOffEvent", 31, 29 * 100_000 - 50_000, Vec::new()));
        bench.source.close(&bench.cx).await.unwrap();
        request.cursor = Some(cursor);
        let rest = read(&bench, request).await;
        assert_eq!(rest.keys(), [31]);
    }
}

#[tokio::test]
async fn new_events_are_waited_for() {
    for protocol in PROTOCOLS {
        let bench = Bench::start(world_of(many(3)), Options::default(), protocol, "").await;
        let mut request = PageRequest { follow: Some(Duration::from_millis(50)), ..pages_of(10) };
        let mut seen = Vec::new();
        for round in 0..4 {
            if round == 2 {
                bench.stand_in.add(event("VmPoweredOffEvent", 3, 400_000, Vec::new()));
            }
            if round == 3 {
                // A new login stands behind what was delivered.
                bench.source.close(&bench.cx).await.unwrap();
                bench.stand_in.add(event("VmPoweredOffEvent", 4, 500_000, Vec::new()));
            }
            let page = bench.source.fetch(&bench.cx, &request).await.unwrap();
            seen.push(keys(&[page.rows]));
            let Next::More(cursor) = page.next else { panic!("a watch has no end") };
            request.cursor = Some(cursor);
        }
        assert_eq!(seen, [vec![0, 1, 2], vec![], vec![3], vec![4]]);
    }
}

#[tokio::test]
async fn a_cursor_of_another_server_is_refused() {
    let (here, mut other) = (world(), fedaudit_testkit::World::clone(&world()));
    other.vsphere.instance_uuid = "00000000-0000-4000-8000-000000000000".into();
    for protocol in PROTOCOLS {
        let bench = Bench::start(Arc::clone(&here), Options::default(), protocol, "").await;
        let page = bench.source.fetch(&bench.cx, &pages_of(20)).await.unwrap();
        let Next::More(cursor) = page.next else { panic!("there is more") };
        assert!(cursor.as_str().contains(&here.vsphere.instance_uuid));
        assert!(!cursor.as_str().contains("session["), "a cursor holds no handle: {}", cursor.as_str());
        let replaced = Bench::start(Arc::new(other.clone()), Options::default(), protocol, "").await;
        let request = PageRequest { cursor: Some(cursor), ..pages_of(20) };
        let error = replaced.source.fetch(&replaced.cx, &request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert!(error.to_string().contains("another vCenter answers"), "{error}");
    }
}

#[tokio::test]
async fn what_is_left_in_the_middle_is_given_back() {
    let world = world_of(many(300));
    for protocol in PROTOCOLS {
        let options = Options { latency: Duration::from_millis(20), ..Options::default() };
        let bench = Bench::start(Arc::clone(&world), options, protocol, "").await;
        let page = bench.source.fetch(&bench.cx, &pages_of(20)).await.unwrap();
        assert_eq!(bench.stand_in.open_collectors(), 1);
        let Next::More(cursor) = page.next else { panic!("there is more") };
        let request = PageRequest { cursor: Some(cursor), ..pages_of(20) };
        // The reader goes away while a page is on its way: that collector is taken back before the next one is made.
        let gone = tokio::time::timeout(Duration::from_millis(5), bench.source.fetch(&bench.cx, &request)).await;
        assert!(gone.is_err());
        let again = bench.source.fetch(&bench.cx, &request).await.unwrap();
        assert_eq!(keys(&[again.rows])[0], 20);
        assert_eq!(bench.stand_in.open_collectors(), 1);
        bench.source.close(&bench.cx).await.unwrap();
        assert_eq!((bench.stand_in.open_collectors(), bench.stand_in.open_logins()), (0, 0));
    }
}

#[tokio::test]
async fn a_busy_moment_in_the_middle_is_waited_out() {
    let world = world_of(many(100));
    for protocol in PROTOCOLS {
        for available_first in [6, 8] {
            let options = Options { available_first, unavailable: 2, ..Options::default() };
            let answer = read_with(options, protocol, &world, 20).await;
            assert_eq!(answer.keys(), (0..100).collect::<Vec<_>>());
        }
        // One that does not end is an error.
        let options = Options { available_first: 8, unavailable: 1000, ..Options::default() };
        let bench = Bench::start(Arc::clone(&world), options, protocol, "").await;
        let mut request = pages_of(10);
        let error = loop {
            match bench.source.fetch(&bench.cx, &request).await {
                Ok(page) => match page.next {
                    Next::More(cursor) => request.cursor = Some(cursor),
                    Next::End(end) => panic!("{end:?}"),
                },
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
}

#[tokio::test]
async fn retention_is_told_where_it_is_known() {
    for protocol in PROTOCOLS {
        let floor = async |options: Options| read_with(options, protocol, &world_of(many(3)), 20).await;
        let known = floor(Options { event_max_age: 7, ..Options::default() }).await;
        let age = known.server_time.unwrap().micros() - known.retention_floor.unwrap().micros();
        assert_eq!(age, 7 * 86_400 * 1_000_000);
        let kept = floor(Options { event_max_age_enabled: false, ..Options::default() }).await;
        assert_eq!(kept.retention_floor, None);
        let unknown = floor(Options { may_read_options: false, ..Options::default() }).await;
        assert_eq!((unknown.retention_floor, unknown.keys().len()), (None, 3));
        assert!(unknown.notes[0].starts_with("retention is not known: the account may not"), "{:?}", unknown.notes);
        assert!(known.notes.is_empty() && kept.notes.is_empty());
        // A server that is busy at that moment is asked again.
        let busy = floor(Options { available_first: 3, unavailable: 1, ..Options::default() }).await;
        assert!(busy.retention_floor.is_some() && busy.notes.is_empty(), "{:?}", busy.notes);
        let options = Options { available_first: 3, unavailable: 1000, ..Options::default() };
        let bench = Bench::start(world_of(many(3)), options, protocol, "").await;
        let error = bench.source.fetch(&bench.cx, &pages_of(20)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
}

#[tokio::test]
async fn collectors_held_by_others_are_an_error() {
    for protocol in PROTOCOLS {
        let options = Options { foreign_collectors: 32, ..Options::default() };
        let bench = Bench::start(world(), options, protocol, "").await;
        let error = bench.source.fetch(&bench.cx, &pages_of(20)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.hint_text().unwrap().contains("another tool leaks them"));
    }
}

/// A window whose bounds are events themselves, in the middle of a second with many of them.
#[tokio::test]
async fn windows_cut_within_a_second() {
    let events: Vec<_> = (0..40).map(|key| event("VmPoweredOnEvent", key, i64::from(key / 4), Vec::new())).collect();
    let world = world_of(events);
    for protocol in PROTOCOLS {
        let bench = Bench::start(Arc::clone(&world), Options::default(), protocol, "").await;
        for (from, to) in [(0, 1), (2, 5), (3, 10), (9, 50)] {
            let window = Window::new(Time::from_micros(START + from), Time::from_micros(START + to));
            for rows in [1, 3, 1000] {
                let request = PageRequest { page_size: Some(rows), ..PageRequest::first("vim.events", window) };
                let expected: Vec<i64> = (from * 4..to * 4).take_while(|key| *key < 40).collect();
                assert_eq!(read(&bench, request).await.keys(), expected);
            }
        }
    }
}
