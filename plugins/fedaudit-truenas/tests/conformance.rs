//! The plugin against its stand-in, over real TLS on loopback: every row arrives once, pushed filters keep every wanted row,
//! fields mean what they should, and every way of failing has its own name.
#![allow(clippy::unwrap_used, reason = "tests")]

mod access;
mod bench;
mod golden;
mod live;
mod pair;
mod reading;
mod regimes;
mod spoilt;

use bench::*;

#[path = "conformance/suite.rs"]
mod suite;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray as _;
use fedaudit_core::{
    Context, Direction, EndReason, ErrorKind, Next, PageRequest, Plugin as _, Predicate, Time, Window,
};
use fedaudit_testkit::truenas::Options;
use fedaudit_truenas::{Config, Service, TrueNasPlugin};

#[tokio::test]
async fn every_row_arrives_once_in_both_directions() {
    let bench = bench(world(4000), options()).await;
    for service in Service::ALL {
        let expected: Vec<&str> = records(&bench.world, service).iter().map(|row| row.audit_id.as_str()).collect();
        assert!(!expected.is_empty());
        for (direction, size) in [(Direction::Any, None), (Direction::Any, Some(7)), (Direction::NewestFirst, Some(50))]
        {
            let request = PageRequest { direction, page_size: size, ..all(service) };
            let read = read(&bench, request).await;
            let mut ids = read.ids();
            if direction == Direction::NewestFirst {
                ids.reverse();
            }
            assert_eq!(ids, expected, "{service:?} {direction:?} {size:?}");
            assert_eq!(read.records as usize, expected.len());
            assert!(read.rejected.is_empty());
        }
    }
    bench.source.close(&bench.cx).await.unwrap();
    assert_eq!(bench.cx.meter.read().logins, 1);
    assert_eq!(bench.stand_in.logins(), 0);
}

#[tokio::test]
async fn seconds_with_more_rows_than_a_page() {
    let mut crowded = (*world(1200)).clone();
    // Whole pages, and pages that end in the middle of a second.
    for (index, row) in crowded.truenas.smb.iter_mut().enumerate() {
        row.timestamp = TO / 1_000_000 - 5000 + (index / 37) as i64;
        row.message_timestamp = row.timestamp;
    }
    crowded.truenas.smb.sort_by(|a, b| (a.message_timestamp, &a.audit_id).cmp(&(b.message_timestamp, &b.audit_id)));
    let bench = bench(Arc::new(crowded), options()).await;
    let expected: BTreeSet<&str> = bench.world.truenas.smb.iter().map(|row| row.audit_id.as_str()).collect();
    for direction in [Direction::Any, Direction::NewestFirst] {
        for size in [1, 10, 36, 37, 38, 74, 100] {
            let read = read(&bench, PageRequest { direction, page_size: Some(size), ..all(Service::Smb) }).await;
            let ids = read.ids();
            assert_eq!(ids.len(), expected.len(), "{direction:?} {size}");
            assert_eq!(ids.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected, "{direction:?} {size}");
            assert_eq!(read.records as usize, expected.len());
        }
    }
}

#[tokio::test]
async fn rows_agree_with_what_happened() {
    let bench = bench(world(6000), options()).await;
    let mut found: BTreeMap<String, i64> = BTreeMap::new();
    for service in Service::ALL {
        let read = read(&bench, all(service)).await;
        let columns: Vec<_> =
            ["action", "outcome", "user_name", "src_ip", "session_id"].map(|name| read.text(name)).into();
        for (row, time) in read.times("time").into_iter().enumerate() {
            let texts: Vec<&str> = columns.iter().map(|column| column[row].as_deref().unwrap_or("-")).collect();
            *found.entry(format!("{} {}", Time::from_micros(time.unwrap()), texts.join(" "))).or_default() += 1;
        }
    }
    let truth: serde_json::Value = serde_json::to_value(&bench.world.truth).unwrap();
    let mut events = 0;
    for event in truth["events"].as_array().unwrap() {
        if event["product"] != "truenas" || event["observable"] != true {
            continue;
        }
        events += 1;
        let text = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
        let time = Time::parse(&text("time")).unwrap().time;
        let texts = ["action", "outcome", "user_name", "src_ip", "session_id"].map(text);
        *found.entry(format!("{time} {}", texts.join(" "))).or_default() -= 1;
    }
    assert!(events > 500);
    let wrong: Vec<_> = found.iter().filter(|(_, count)| **count != 0).take(10).collect();
    assert!(wrong.is_empty(), "+ ours, - the truth: {wrong:#?}");
}

#[tokio::test]
async fn windows_lose_no_row_and_read_little_else() {
    let bench = bench(world(6000), options()).await;
    let rows = records(&bench.world, Service::Smb);
    let edge = rows[rows.len() / 2].timestamp * 1_000_000;
    let hour = 3_600_000_000;
    for (from, to) in [(edge, edge + hour), (edge - hour, edge), (edge, edge + 1), (edge + 1, edge + 2), (edge, edge)] {
        let window = Window::new(Time::from_micros(from), Time::from_micros(to));
        let read = read(&bench, PageRequest::first("audit.SMB", window)).await;
        let inside: BTreeSet<&str> = rows
            .iter()
            .filter(|row| window.contains(Time::from_micros(row.timestamp * 1_000_000)))
            .map(|row| row.audit_id.as_str())
            .collect();
        let ids = read.ids();
        let ids: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
        assert!(inside.is_subset(&ids), "{window}");
        assert!(ids.len() <= inside.len() + 300, "{window}: {} rows for {}", ids.len(), inside.len());
    }
}

#[tokio::test]
async fn pushed_filters_keep_every_wanted_row_and_spare_the_others() {
    let bench = bench(world(6000), options()).await;
    for service in Service::ALL {
        let everything = read(&bench, all(service)).await;
        for column in ["event_code", "action", "outcome", "record_id", "user_name", "session_id"] {
            let values = everything.text(column);
            let wanted: BTreeSet<&str> = values.iter().flatten().map(String::as_str).collect();
            for value in wanted.into_iter().take(12) {
                let predicate = Predicate::any_of(column, [value]);
                let stream = bench.source.info().stream(service.stream()).unwrap();
                if !stream.can_push(&predicate) {
                    continue;
                }
                let matching: BTreeSet<String> = everything
                    .text("record_id")
                    .into_iter()
                    .zip(&values)
                    .filter(|(_, of_row)| of_row.as_deref() == Some(value))
                    .filter_map(|(id, _)| id)
                    .collect();
                let read = read(&bench, PageRequest { predicates: vec![predicate], ..all(service) }).await;
                let ids: BTreeSet<String> = read.ids().into_iter().collect();
                assert!(matching.is_subset(&ids), "{service:?} {column} = {value}");
                let exact = stream.pushable.iter().any(|pushable| pushable.column == column && pushable.exact);
                assert!(!exact || matching == ids, "{service:?} {column} = {value} is not exact");
                if column == "user_name" && everything.ids().len() > 200 {
                    assert!(ids.len() < everything.ids().len() * 3 / 4, "{service:?} {value}: nothing was spared");
                }
            }
        }
    }
    let log = bench.log.entries();
    assert!(log.iter().all(|entry| entry.status == 200), "a question was refused");
}

#[tokio::test]
async fn a_question_without_an_answer_is_not_asked() {
    let bench = bench(world(500), options()).await;
    let request = PageRequest { predicates: vec![Predicate::any_of("action", ["auth.login"])], ..all(Service::Sudo) };
    let read = read(&bench, request).await;
    assert_eq!((read.end, bench.log.entries().len()), (EndReason::NothingAsked, 0));
}

#[tokio::test]
async fn other_releases_answer_the_same() {
    for newest in ["v25.04.2", "v25.10.0", "v26.0.0"] {
        let bench = bench(world(1500), Options { versions: vec![newest.to_owned()], ..options() }).await;
        for service in Service::ALL {
            let names = read(&bench, all(service)).await.text("user_name");
            let name = names.into_iter().flatten().next().unwrap();
            let predicates = match service {
                Service::System => Vec::new(),
                _ => vec![Predicate::any_of("user_name", [name]), Predicate::any_of("outcome", ["success"])],
            };
            let read = read(&bench, PageRequest { predicates, page_size: Some(20), ..all(service) }).await;
            assert!(!read.ids().is_empty());
        }
        assert!(bench.log.entries().iter().all(|entry| entry.status == 200));
    }
}

#[tokio::test]
async fn live_sessions_are_listed_under_the_keys_of_their_events() {
    let bench = bench(world(3000), options()).await;
    let sessions = read(&bench, PageRequest::first("auth.sessions", Window::ALL)).await;
    assert_eq!(sessions.end, EndReason::SinglePage);
    let expected: Vec<Option<String>> =
        bench.world.truenas.sessions.iter().map(|session| Some(session.id.clone())).collect();
    assert_eq!(sessions.text("session_id"), expected);
    assert!(sessions.text("state").iter().all(|state| state.as_deref() == Some("active")));
    let events = read(&bench, all(Service::Middleware)).await;
    let keys: BTreeMap<_, _> = events.text("session_id").into_iter().zip(events.text("session_key")).collect();
    let mut met = 0;
    for (id, key) in sessions.text("session_id").into_iter().zip(sessions.text("session_key")) {
        if let Some(of_event) = keys.get(&id) {
            assert_eq!(of_event, &key);
            met += 1;
        }
    }
    assert!(met > 0);
    let smb = read(&bench, all(Service::Smb)).await;
    assert!(smb.text("session_key").iter().zip(smb.text("session_id")).all(|(key, id)| key.is_some() == id.is_some()));
}

#[tokio::test]
async fn a_lost_login_and_a_cut_connection_are_made_good_once() {
    let bench = bench(world(3000), options()).await;
    let request = PageRequest { page_size: Some(100), ..all(Service::Smb) };
    let first = bench.source.fetch(&bench.cx, &request).await.unwrap();
    bench.stand_in.expire_logins();
    let Next::More(cursor) = first.next else { panic!("one page only") };
    let second = PageRequest { cursor: Some(cursor), ..request };
    let again = bench.source.fetch(&bench.cx, &second).await.unwrap();
    assert!(again.rows.num_rows() > 50);
    bench.stand_in.cut_connections();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let once_more = bench.source.fetch(&bench.cx, &second).await.unwrap();
    assert_eq!(once_more.rows, again.rows);
    assert_eq!(bench.cx.meter.read().logins, 3);
}

#[tokio::test]
async fn a_connection_that_never_lasts_costs_few_logins() {
    let bench = bench(world(300), options()).await;
    let mut last = None;
    for _ in 0..20 {
        last = bench.source.fetch(&bench.cx, &all(Service::Smb)).await.err();
        bench.stand_in.cut_connections();
        while bench.stand_in.logins() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let error = last.expect("no end of logins");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("not logging in again"), "{error}");
    let logins = bench.log.entries().iter().filter(|entry| entry.target.starts_with("auth.login_ex")).count();
    assert_eq!((logins, bench.cx.meter.read().logins), (5, 5));
}

#[tokio::test]
async fn concurrent_readers_share_one_login() {
    let bench = bench(world(3000), Options { latency: Duration::from_millis(5), ..options() }).await;
    let requests: Vec<PageRequest> = (0..40).map(|n| all(Service::ALL[n % 4])).collect();
    let fetches = requests.iter().map(|request| bench.source.fetch(&bench.cx, request));
    let pages = futures_join(fetches).await;
    assert!(pages.iter().all(Result::is_ok));
    assert_eq!(bench.cx.meter.read().logins, 1);
}

async fn futures_join<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        let mut waiting = false;
        for (future, output) in &mut futures {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    futures.into_iter().filter_map(|(_, output)| output).collect()
}

#[tokio::test]
async fn refusals_have_names() {
    let small = world(300);
    let wrong = bench_with(Arc::clone(&small), options(), "api_key", "4-wrong").await;
    let error = wrong.source.fetch(&wrong.cx, &all(Service::Smb)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.hint_text().is_some() && !format!("{error:?}").contains("4-wrong"));
    // A refused login is not tried again at once: it could lock the account.
    wrong.source.fetch(&wrong.cx, &all(Service::Sudo)).await.unwrap_err();
    assert_eq!(wrong.cx.meter.read().logins, 1);

    let password = Options { password: Some("sesame".to_owned()), ..options() };
    let bench = bench_with(Arc::clone(&small), password.clone(), "password", "sesame").await;
    bench.source.fetch(&bench.cx, &all(Service::Smb)).await.unwrap();
    let bench = bench_with(Arc::clone(&small), Options { second_factor: true, ..password }, "password", "sesame").await;
    let error = bench.source.check(&bench.cx).await.unwrap_err();
    assert!(error.to_string().contains("second factor"), "{error}");

    let html = bench_with(Arc::clone(&small), Options { html: true, ..options() }, "api_key", KEY).await;
    assert_eq!(html.source.check(&html.cx).await.unwrap_err().kind(), ErrorKind::Malformed);

    let mut limited = options();
    limited.anonymous_calls = Some(0);
    let limited = bench_with(Arc::clone(&small), limited, "api_key", KEY).await;
    assert_eq!(limited.source.check(&limited.cx).await.unwrap_err().kind(), ErrorKind::RateLimited);

    let standby = bench_with(small, Options { standby: true, ..options() }, "api_key", KEY).await;
    assert_eq!(standby.source.check(&standby.cx).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn missing_rights_are_told_by_stream() {
    let mut options = options();
    options.roles.audit_read = false;
    let bench = bench(world(300), options).await;
    let health = bench.source.check(&bench.cx).await.unwrap();
    let denied: Vec<&str> = health.denied.iter().map(|(stream, _)| stream.as_str()).collect();
    assert_eq!(denied, ["audit.MIDDLEWARE", "audit.SMB", "audit.SUDO", "audit.SYSTEM"]);
    assert!(health.denied[0].1.contains("SYSTEM_AUDIT_READ"));
    let error = bench.source.fetch(&bench.cx, &all(Service::Smb)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(read(&bench, PageRequest::first("auth.sessions", Window::ALL)).await.end, EndReason::SinglePage);
}

#[tokio::test]
async fn check_proves_what_is_there() {
    let bench = bench(world(300), options()).await;
    let health = bench.source.check(&bench.cx).await.unwrap();
    assert_eq!(health.product_version.as_deref(), Some("25.10.1"));
    assert_eq!(health.account.as_deref(), Some("auditor"));
    assert!(health.fingerprint.is_some() && health.server_time.is_some() && health.retention_floor.is_some());
    assert!(health.denied.is_empty());
    bench.source.close(&bench.cx).await.unwrap();
    bench.source.close(&bench.cx).await.unwrap();
    assert_eq!(bench.log.entries().iter().filter(|entry| entry.target.starts_with("auth.logout")).count(), 1);
}

#[tokio::test]
async fn nobody_there_and_keys_in_clear() {
    let config = |url: &str, key: &str| -> Config {
        serde_json::from_value(serde_json::json!({"url": url, "username": "auditor", key: "env:PATH"})).unwrap()
    };
    let error = TrueNasPlugin::build("nas-1", config("http://127.0.0.1:1", "api_key")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let source = TrueNasPlugin::build("nas-1", config("https://127.0.0.1:1", "api_key")).unwrap();
    let cx = Context { deadline: Some(Time::from_micros(TO + 300_000)), ..context() };
    assert_eq!(source.check(&cx).await.unwrap_err().kind(), ErrorKind::Unavailable);
    source.close(&cx).await.unwrap();
}

#[tokio::test]
async fn own_rows_are_marked() {
    let bench = bench(world(300), Options { list_reader: true, ..options() }).await;
    let sessions = read(&bench, PageRequest::first("auth.sessions", Window::ALL)).await;
    let events = read(&bench, all(Service::Middleware)).await;
    let marked = |read: &Read| -> usize {
        read.pages
            .iter()
            .map(|page| {
                let flags = page.column_by_name("quality_flags").unwrap().as_list::<i32>();
                flags
                    .iter()
                    .flatten()
                    .filter(|flags| flags.as_string::<i32>().iter().any(|flag| flag == Some("own_reader")))
                    .count()
            })
            .sum()
    };
    assert_eq!((marked(&sessions), marked(&events)), (1, 1));
}

#[tokio::test]
async fn watching_brings_late_rows_of_a_second_that_was_read() {
    let world = world(2000);
    let rows = &world.truenas.smb;
    let half = rows[rows.len() / 2].message_timestamp;
    let bench = bench(Arc::clone(&world), options()).await;
    bench.stand_in.store_until(half);
    let mut request = PageRequest { follow: Some(Duration::from_millis(10)), ..all(Service::Smb) };
    let mut ids = Vec::new();
    for round in 0..30 {
        let page = bench.source.fetch(&bench.cx, &request).await.unwrap();
        ids.extend(
            page.rows.column_by_name("record_id").unwrap().as_string::<i32>().iter().flatten().map(str::to_owned),
        );
        let Next::More(cursor) = page.next else { panic!("watching ended") };
        request.cursor = Some(cursor);
        if round == 2 {
            bench.stand_in.store_until(i64::MAX);
        }
        if ids.len() >= rows.len() {
            break;
        }
    }
    let expected: Vec<&str> = rows.iter().map(|row| row.audit_id.as_str()).collect();
    assert_eq!(ids, expected);
}

#[tokio::test]
async fn the_products_own_count_is_used_where_it_is_exact() {
    let bench = bench(world(1000), options()).await;
    let count = PageRequest { count_only: true, ..all(Service::Smb) };
    let page = bench.source.fetch(&bench.cx, &count).await.unwrap();
    assert_eq!(page.observed.count, Some(bench.world.truenas.smb.len() as u64));
    let window = Window::new(Time::from_micros(TO - 1_000_000), Time::from_micros(TO));
    let page = bench.source.fetch(&bench.cx, &PageRequest { window, ..count }).await.unwrap();
    assert_eq!(page.observed.count, None);
    assert!(bench.folder.path().exists());
}
