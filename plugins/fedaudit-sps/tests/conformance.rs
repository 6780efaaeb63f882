//! The plugin against the stand-in appliance, over real TLS on loopback.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

#[path = "conformance/harness.rs"]
mod harness;

#[path = "conformance/suite.rs"]
mod suite;

use std::collections::BTreeSet;
use std::time::Duration;

use fedaudit_core::{EndReason, ErrorKind, Next, Operator, PageRequest, Plugin, Predicate, Time, Value, Window};
use fedaudit_testkit::records::SpsSession;
use fedaudit_testkit::sps::Options;
use harness::{Bench, Read, micros, world, world_of};

const SESSIONS: &str = "sessions";
const EVENTS: &str = "sps.sessions";
const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;

fn keys<'s>(sessions: impl IntoIterator<Item = &'s SpsSession>) -> BTreeSet<String> {
    sessions.into_iter().map(|session| session.key.clone()).collect()
}

fn rejected(session: &SpsSession) -> bool {
    !session.has_accepted_channel
}

/// `(key, action, outcome, time)` of every event of these sessions.
fn events_of<'s>(sessions: impl IntoIterator<Item = &'s SpsSession>) -> BTreeSet<(String, String, String, i64)> {
    let mut events = BTreeSet::new();
    for session in sessions {
        let outcome = if rejected(session) { "failure" } else { "success" };
        events.insert((session.key.clone(), "auth.login".to_owned(), outcome.to_owned(), session.start));
        if let (Some(end), false) = (session.end, rejected(session)) {
            events.insert((session.key.clone(), "auth.logout".to_owned(), "success".to_owned(), end));
        }
    }
    events
}

fn events_in(read: &Read) -> BTreeSet<(String, String, String, i64)> {
    let columns = (read.texts("session_id"), read.texts("action"), read.texts("outcome"), read.times("time"));
    (0..read.rows())
        .map(|row| {
            let text = |column: &[Option<String>]| column[row].clone().unwrap();
            (text(&columns.0), text(&columns.1), text(&columns.2), columns.3[row].unwrap())
        })
        .collect()
}

#[tokio::test]
async fn every_session_and_every_event_is_read_once() {
    let world = world();
    let bench = Bench::new(&world, Options::default()).await;
    let source = bench.source("");
    let sessions = bench.read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await;
    assert_eq!(sessions.set("session_id"), keys(&world.sps.sessions));
    assert_eq!(sessions.rows(), world.sps.sessions.len());
    assert_eq!(sessions.records, world.sps.sessions.len() as u64);
    assert_eq!(sessions.end, EndReason::NoNextLink);
    assert_eq!(sessions.rejected, []);
    let events =
        bench.read(&*source, PageRequest { page_size: Some(37), ..PageRequest::first(EVENTS, Window::ALL) }).await;
    let expected = events_of(&world.sps.sessions);
    assert_eq!(events.rows(), expected.len());
    assert_eq!(events_in(&events), expected);
    assert_eq!(events.set("event_key").len(), expected.len());
    assert!(events.pages > sessions.pages);
    assert!(events.set("session_key").is_subset(&sessions.set("session_key")));
    // One login for everything, the constant agent, no bound on the end, no page beyond the limits.
    assert_eq!(bench.stand_in.logins(), 1);
    for entry in bench.log.entries() {
        assert!(!entry.target.contains("&end="), "{entry:?}");
        assert_eq!(entry.method, "GET");
    }
}

#[tokio::test]
async fn the_tables_tell_what_happened() {
    let world = world();
    let bench = Bench::new(&world, Options::default()).await;
    let source = bench.source("");
    let events = bench.read(&*source, PageRequest::first(EVENTS, Window::ALL)).await;
    let time = |micros: i64| Time::from_micros(micros).to_string();
    let some = |text: &str| Some(text.to_owned());
    let mut expected: Vec<_> = world
        .truth
        .events
        .iter()
        .filter(|event| event.product == "sps" && event.observable)
        .map(|event| {
            let facts = [some(&time(event.time.0)), some(event.action), some(event.outcome)];
            (facts, [event.user_name.clone(), event.src_ip.clone(), event.session_id.clone()])
        })
        .collect();
    expected.sort();
    assert_eq!(events.facts(["time", "action", "outcome"], ["user_name", "src_ip", "session_id"]), expected);
    let sessions = bench.read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await;
    let mut expected: Vec<_> = world
        .truth
        .sessions
        .iter()
        .filter(|session| session.product == "sps" && session.observable)
        .map(|session| {
            let at =
                |time_of: &Option<fedaudit_testkit::truth::Instant>| time_of.as_ref().map(|instant| time(instant.0));
            let facts = [session.session_id.clone(), session.user_name.clone(), some(session.state)];
            (facts, [at(&session.start_time), at(&session.end_time), some("false")])
        })
        .collect();
    expected.sort();
    assert_eq!(sessions.facts(["session_id", "user_name", "state"], ["start_time", "end_time", "derived"]), expected);
}

#[tokio::test]
async fn either_reading_of_the_dates_serves() {
    let world = world();
    let bench = Bench::new(&world, Options { overlap_dates: true, zone_minutes: -210, ..Options::default() }).await;
    let window = Window::new(Time::from_micros(world.from + 30 * HOUR), Time::from_micros(world.from + 60 * HOUR));
    let read = bench.read(&*bench.source(""), PageRequest::first(EVENTS, window)).await;
    let expected: BTreeSet<_> = events_of(&world.sps.sessions)
        .into_iter()
        .filter(|event| window.contains(Time::from_micros(event.3)))
        .collect();
    assert_eq!(events_in(&read), expected);
}

#[tokio::test]
async fn windows_are_half_open_and_sessions_overlap_them() {
    let world = world();
    let bench = Bench::new(&world, Options::default()).await;
    let source = bench.source("");
    let all = &world.sps.sessions;
    let middle = &all[all.len() / 2];
    for (from, to) in [
        (middle.start, middle.start + HOUR),
        (middle.start + 1, middle.start + HOUR),
        (middle.start - HOUR, middle.start),
        (middle.start - HOUR, middle.start + 1),
        (world.from, world.to),
    ] {
        let window = Window::new(Time::from_micros(from), Time::from_micros(to));
        let events = bench.read(&*source, PageRequest::first(EVENTS, window)).await;
        let expected: BTreeSet<_> =
            events_of(all).into_iter().filter(|event| from <= event.3 && event.3 < to).collect();
        assert_eq!(events_in(&events), expected, "{window}");
        let sessions = bench.read(&*source, PageRequest::first(SESSIONS, window)).await.set("session_id");
        let overlapping = all.iter().filter(|session| {
            let end = session.end.or(session.active.then_some(i64::MAX));
            session.start < to && end.is_some_and(|end| end >= from)
        });
        assert!(keys(overlapping).is_subset(&sessions), "{window}");
        let far = all.iter().filter(|session| session.start >= to || session.end.is_some_and(|end| end < from));
        assert!(keys(far).is_disjoint(&sessions), "{window}");
    }
    let empty = Window::new(Time::from_micros(5), Time::from_micros(5));
    assert_eq!(bench.read(&*source, PageRequest::first(EVENTS, empty)).await.end, EndReason::NothingAsked);
}

#[tokio::test]
async fn reading_stops_behind_the_window_and_begins_before_it() {
    let world = world();
    let bench = Bench::new(&world, Options::default()).await;
    let source = bench.source("look_back_hours = 24");
    let from = world.from + 48 * HOUR;
    let window = Window::new(Time::from_micros(from), Time::from_micros(from + 24 * HOUR));
    let read = bench.read(&*source, PageRequest { page_size: Some(10), ..PageRequest::first(EVENTS, window) }).await;
    assert_eq!(read.end, EndReason::PastWindow);
    let near = |session: &&SpsSession| session.start >= from - 24 * HOUR - SECOND && session.start < from + 24 * HOUR;
    let wanted = world.sps.sessions.iter().filter(near).count() as u64;
    assert!(read.records >= wanted && read.records < wanted + 20, "{} of {wanted}", read.records);
}

#[tokio::test]
async fn a_running_session_is_seen_however_long_ago_it_began() {
    let mut world = world();
    let old = world.from - 40 * 24 * HOUR;
    let mut session = world.sps.sessions.iter().find(|session| session.active).unwrap().clone();
    (session.key, session.start) = ("long-runner".to_owned(), old);
    world.sps.sessions.insert(0, session);
    let bench = Bench::new(&world, Options::default()).await;
    let source = bench.source("");
    let window = Window::new(Time::from_micros(world.to - HOUR), Time::from_micros(world.to));
    let read = bench.read(&*source, PageRequest::first(SESSIONS, window)).await;
    let active = keys(world.sps.sessions.iter().filter(|session| session.active));
    assert!(active.is_subset(&read.set("session_id")));
    assert!(read.rows() < world.sps.sessions.len() / 2);
}

#[tokio::test]
async fn pushed_conditions_give_a_superset_and_save_reading() {
    let mut world = world();
    // One account in three spellings: all of them are `zora` for a question.
    for (at, name) in [(3, "CORP\\zora"), (40, "Zora@corp.example"), (90, "zora")] {
        world.sps.sessions[at].user_name = name.to_owned();
        world.sps.sessions[at].gateway_username = (at != 90).then(|| name.to_owned());
    }
    let bench = Bench::new(&world, Options::default()).await;
    let source = bench.source("");
    let forms = bench.source(r#"user_forms = ["{}", "CORP\\{}", "Zora@corp.example{}"]"#);
    let all = world.sps.sessions.len();
    let ask = |stream: &str, predicate: Predicate| {
        assert!(source.info().stream(stream).unwrap().can_push(&predicate), "{predicate}");
        PageRequest { predicates: vec![predicate], ..PageRequest::first(stream, Window::ALL) }
    };
    let read = bench.read(&*source, ask(SESSIONS, Predicate::any_of("user_name", ["zora"]))).await;
    let zora = keys([3, 40, 90].map(|at| &world.sps.sessions[at]));
    assert_eq!(read.matching("user_name", "zora"), zora);
    assert!(read.records < all as u64 / 4, "{} of {all}", read.records);
    assert_eq!(read.notes, Vec::<String>::new());
    let read = bench.read(&*forms, ask(EVENTS, Predicate::any_of("user_name", ["zora"]))).await;
    assert!(keys([3, 90].map(|at| &world.sps.sessions[at])).is_subset(&read.set("session_id")));

    let ip =
        world.sps.sessions.iter().find_map(|session| session.server_ip.clone().filter(|ip| !ip.contains(':'))).unwrap();
    let client = world.sps.sessions[0].client_ip.clone();
    for (predicate, field) in [
        (Predicate::any_of("protocol", ["RDP"]), "protocol"),
        (Predicate::any_of("verdict", ["AUTH_FAIL", "TERMINATED"]), "verdict"),
        (Predicate::any_of("policy", ["prod-ssh"]), "policy"),
        (Predicate::any_of("server_ip", [ip]), "server_ip"),
        (Predicate::any_of("client_ip", [client]), "client_ip"),
    ] {
        let values: Vec<String> = predicate.texts().unwrap().into_iter().map(str::to_owned).collect();
        let everything = bench.read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await;
        let read = bench.read(&*source, ask(SESSIONS, predicate)).await;
        for value in values {
            assert_eq!(read.matching(field, &value), everything.matching(field, &value), "{field} = {value}");
        }
        assert!(field == "client_ip" || read.records < everything.records, "{field}");
    }
    let running = Predicate { column: "is_active".to_owned(), operator: Operator::In, values: vec![Value::Bool(true)] };
    let read = bench.read(&*source, ask(SESSIONS, running)).await;
    assert_eq!(read.set("session_id"), keys(world.sps.sessions.iter().filter(|session| session.active)));
}

#[tokio::test]
async fn a_refused_filter_costs_reading_and_no_rows() {
    let world = world();
    let bench = Bench::new(&world, Options { refuse_queries: true, ..Options::default() }).await;
    let source = bench.source("");
    let window = Window::new(Time::from_micros(world.from), Time::from_micros(world.to));
    let request = PageRequest {
        predicates: vec![Predicate::any_of("protocol", ["SSH"])],
        ..PageRequest::first(SESSIONS, window)
    };
    let read = bench.read(&*source, request).await;
    assert_eq!(read.set("session_id"), keys(&world.sps.sessions));
    assert!(read.notes.iter().any(|note| note.contains("refused the filter")), "{:?}", read.notes);
    assert!(read.notes.iter().any(|note| note.contains("running sessions")), "{:?}", read.notes);
}

#[tokio::test]
async fn a_basic_search_goes_beyond_the_hits_it_shows() {
    let mut world = world();
    let pattern = world.sps.sessions[0].clone();
    world.sps.sessions = (0..10_400)
        .map(|number: i64| SpsSession {
            key: format!("k{number:06}"),
            // Crowds of 300 within each second, so that the restart meets many of them again.
            start: world.from + number / 300 * SECOND + number % 300 * 1000,
            ..pattern.clone()
        })
        .collect();
    let bench = Bench::new(&world, Options { firmware: "7.0.4".to_owned(), ..Options::default() }).await;
    let source = bench.source("");
    let read = bench.read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await;
    assert_eq!(read.rows(), 10_400);
    assert_eq!(read.set("session_id"), keys(&world.sps.sessions));
    let log = bench.log.entries();
    assert_eq!(log.iter().filter(|entry| entry.target.contains("_snapshot")).count(), 1);
    for entry in log.iter().filter(|entry| entry.target.contains("offset=")) {
        let offset: u32 = entry.target.rsplit_once("offset=").unwrap().1.parse().unwrap();
        assert!(offset < 10_000, "{entry:?}");
    }

    for session in &mut world.sps.sessions {
        session.start = world.from;
    }
    let bench = Bench::new(&world, Options { firmware: "6.0.9".to_owned(), ..Options::default() }).await;
    let error = bench.try_read(&*bench.source(""), PageRequest::first(SESSIONS, Window::ALL)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    let bench = Bench::new(&world, Options::default()).await;
    let read = bench.read(&*bench.source(""), PageRequest::first(SESSIONS, Window::ALL)).await;
    assert_eq!(read.set("session_id").len(), 10_400);
}

#[tokio::test]
async fn a_lost_login_and_a_lost_snapshot_lose_no_rows() {
    let world = world();
    let bench = Bench::new(&world, Options::default()).await;
    let source = bench.source("");
    let mut request = PageRequest { page_size: Some(50), ..PageRequest::first(SESSIONS, Window::ALL) };
    let mut read = Read::default();
    let mut page = 0;
    loop {
        match page {
            2 => bench.stand_in.expire_logins(),
            4 => bench.stand_in.expire_snapshots(),
            _ => {}
        }
        page += 1;
        let answer = source.fetch(&bench.cx, &request).await.unwrap();
        read.add(&answer);
        match answer.next {
            Next::More(cursor) => request.cursor = Some(cursor),
            Next::End(_) => break,
        }
    }
    assert_eq!(read.rows(), world.sps.sessions.len());
    assert_eq!(read.set("session_id"), keys(&world.sps.sessions));
    assert_eq!(bench.stand_in.logins(), 2);
    assert_eq!(read.notes.len(), 1, "{:?}", read.notes);
    assert!(read.notes[0].contains("snapshot expired"));
}

#[tokio::test]
async fn a_cursor_outlives_its_source() {
    let world = world();
    let bench = Bench::new(&world, Options { snapshot_quota: 1, ..Options::default() }).await;
    let mut request = PageRequest { page_size: Some(100), ..PageRequest::first(EVENTS, Window::ALL) };
    let mut read = Read::default();
    loop {
        let source = bench.source("");
        let page = source.fetch(&bench.cx, &request).await.unwrap();
        source.close(&bench.cx).await.unwrap();
        read.add(&page);
        match page.next {
            Next::More(cursor) => request.cursor = Some(cursor),
            Next::End(_) => break,
        }
    }
    assert_eq!(events_in(&read), events_of(&world.sps.sessions));
    assert_eq!(bench.stand_in.open_logins(), 0);
}

#[tokio::test]
async fn sessions_that_change_between_pages() {
    let mut world = world();
    world.sps.sessions.truncate(120);
    world.sps.sessions.iter_mut().for_each(|session| session.active = false);
    let bench = Bench::new(&world, Options { firmware: "6.0.9".to_owned(), ..Options::default() }).await;
    let source = bench.source("");
    let mut request = PageRequest { page_size: Some(50), ..PageRequest::first(SESSIONS, Window::ALL) };
    let first = source.fetch(&bench.cx, &request).await.unwrap();
    // A document appears late with an early start: later rows move on by one place.
    let late = SpsSession {
        key: "late".to_owned(),
        start: world.sps.sessions[5].start + 1000,
        ..world.sps.sessions[5].clone()
    };
    bench.stand_in.insert(late);
    let Next::More(cursor) = first.next.clone() else { panic!("one page") };
    let mut read = Read::default();
    read.add(&first);
    request.cursor = Some(cursor);
    read.merge(bench.read(&*source, request).await);
    assert_eq!(read.set("session_id"), keys(&world.sps.sessions));
    // The one repeated row has the same key; a snapshot taken later has the late one too.
    let again = bench.read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await;
    assert!(again.set("session_id").contains("late"));
}

#[tokio::test]
async fn an_old_snapshot_is_not_taken_for_the_present() {
    let world = world();
    let bench = Bench::new(&world, Options::default()).await;
    let source = bench.source("");
    let before = bench.read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await;
    bench.stand_in.insert(SpsSession { key: "new".to_owned(), ..world.sps.sessions[0].clone() });
    bench.clock.advance(Duration::from_mins(1));
    let after = bench.read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await;
    assert_eq!(after.rows(), before.rows() + 1);
    assert!(after.set("session_id").contains("new"));
}

#[tokio::test]
async fn an_unsorted_list_is_read_to_its_end() {
    let world = world();
    let bench = Bench::new(&world, Options { ignore_sort: true, ..Options::default() }).await;
    let window = Window::new(Time::from_micros(world.from), Time::from_micros(world.from + 24 * HOUR));
    let request = PageRequest { page_size: Some(40), ..PageRequest::first(EVENTS, window) };
    let read = bench.read(&*bench.source(""), request).await;
    let expected: BTreeSet<_> =
        events_of(&world.sps.sessions).into_iter().filter(|event| event.3 < world.from + 24 * HOUR).collect();
    assert_eq!(events_in(&read), expected);
    assert!(read.notes.iter().any(|note| note.contains("did not sort")), "{:?}", read.notes);
}

#[tokio::test]
async fn the_documented_sample() {
    let mut world = world();
    world.sps.sessions.clear();
    let bench = Bench::new(&world, Options::default()).await;
    let sample = include_str!("../fixtures/sample.json").trim();
    bench.stand_in.insert_item(micros("2018-09-15T10:53:00Z"), "rUhhQZ3jYsY1NDWYp9DEpq", sample);
    let source = bench.source("");
    let sessions = bench.read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await;
    harness::golden("sample-session", &sessions);
    assert_eq!(sessions.texts("raw")[0].as_deref(), Some(sample));
    let events = bench.read(&*source, PageRequest::first(EVENTS, Window::ALL)).await;
    harness::golden("sample-events", &events);
}

#[tokio::test]
async fn documents_of_other_releases() {
    let mut world = world();
    world.sps.sessions.clear();
    let bench = Bench::new(&world, Options::default()).await;
    let start = micros("2024-03-01T08:00:00Z");
    for (at, line) in include_str!("../fixtures/variants.jsonl").lines().enumerate() {
        bench.stand_in.insert_item(start + at as i64 * SECOND, &format!("v{at}"), line);
    }
    let source = bench.source("");
    let sessions = bench.read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await;
    harness::golden("variant-sessions", &sessions);
    let events = bench.read(&*source, PageRequest::first(EVENTS, Window::ALL)).await;
    harness::golden("variant-events", &events);
}

#[tokio::test]
async fn the_first_release_bodies_say_the_same() {
    let world = world();
    let new = Bench::new(&world, Options::default()).await;
    let old =
        Bench::new(&world, Options { old_bodies: true, firmware: "6.0.9".to_owned(), ..Options::default() }).await;
    let request = || PageRequest::first(SESSIONS, Window::ALL);
    let (new, old) = (new.read(&*new.source(""), request()).await, old.read(&*old.source(""), request()).await);
    for column in
        ["session_id", "user_name", "target_user", "state", "outcome", "client_ip", "server_ip", "has_recording"]
    {
        assert_eq!(new.texts(column), old.texts(column), "{column}");
    }
    let seconds =
        |read: &Read| read.times("start_time").into_iter().map(|time| time.map(|t| t / SECOND)).collect::<Vec<_>>();
    assert_eq!(seconds(&new), seconds(&old));
}

#[tokio::test]
async fn a_record_that_is_none_is_kept_and_told() {
    let mut world = world();
    world.sps.sessions.truncate(3);
    let bench = Bench::new(&world, Options::default()).await;
    for (at, text) in
        [r#"{"key":"x","meta":{}}"#, r#"{"body":{"active":true}}"#, r#"["no object"]"#].into_iter().enumerate()
    {
        bench.stand_in.insert_item(world.sps.sessions[0].start, &format!("bad{at}"), text);
    }
    let read = bench.read(&*bench.source(""), PageRequest::first(SESSIONS, Window::ALL)).await;
    assert_eq!((read.rows(), read.records), (3, 6));
    assert_eq!(read.rejected.len(), 3, "{:?}", read.rejected);
    assert!(read.rejected.iter().any(|rejected| rejected.raw == r#"["no object"]"#));
}

#[tokio::test]
async fn a_refused_password_is_tried_once() {
    let bench = Bench::new(&world(), Options { password: "another".to_owned(), ..Options::default() }).await;
    let source = bench.source("");
    for _ in 0..3 {
        let error = bench.try_read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(error.hint_text().is_some_and(|hint| hint.contains("login_method")), "{error:?}");
        assert!(!format!("{error:?}").contains("reader-password"));
    }
    assert_eq!(source.check(&bench.cx).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert_eq!(bench.log.entries().len(), 1);
    source.close(&bench.cx).await.unwrap();
}

#[tokio::test]
async fn a_second_factor_is_named() {
    let bench = Bench::new(&world(), Options { second_factor: true, ..Options::default() }).await;
    let error = bench.source("").check(&bench.cx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.message().contains("interactive"), "{error:?}");
}

#[tokio::test]
async fn check_tells_version_identity_and_rights() {
    let world = world();
    let bench = Bench::new(&world, Options { login_method: Some("local".to_owned()), ..Options::default() }).await;
    let source = bench.source("login_method = \"local\"");
    let health = source.check(&bench.cx).await.unwrap();
    assert_eq!(health.product_version.as_deref(), Some("8.2.0"));
    assert_eq!(health.fingerprint.as_deref(), Some(world.sps.hostname.as_str()));
    assert_eq!(health.account.as_deref(), Some("reader"));
    assert!(health.server_time.is_some());
    assert_eq!(health.denied, []);
    source.close(&bench.cx).await.unwrap();

    let bench = Bench::new(&world, Options { may_search: false, ..Options::default() }).await;
    let source = bench.source("");
    let health = source.check(&bench.cx).await.unwrap();
    assert_eq!(health.denied.len(), 2);
    assert!(health.denied[0].1.contains("Search privilege"), "{:?}", health.denied);
    let error = bench.try_read(&*source, PageRequest::first(EVENTS, Window::ALL)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn a_search_minion_is_refused() {
    let bench = Bench::new(&world(), Options { roles: vec!["search-minion".to_owned()], ..Options::default() }).await;
    let source = bench.source("");
    let error = bench.try_read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("search master"), "{error:?}");
    source.close(&bench.cx).await.unwrap();
    assert_eq!(bench.stand_in.open_logins(), 0);
    bench.source("allow_search_minion = true").check(&bench.cx).await.unwrap();
}

#[tokio::test]
async fn close_logs_out_and_may_be_called_at_any_time() {
    let bench = Bench::new(&world(), Options::default()).await;
    let source = bench.source("");
    source.close(&bench.cx).await.unwrap();
    assert_eq!(bench.log.entries().len(), 0);
    let request = PageRequest { page_size: Some(5), ..PageRequest::first(SESSIONS, Window::ALL) };
    let (a, b) = tokio::join!(source.fetch(&bench.cx, &request), source.fetch(&bench.cx, &request));
    assert!(a.is_ok() && b.is_ok());
    assert_eq!((bench.stand_in.logins(), bench.stand_in.open_logins()), (1, 1));
    source.close(&bench.cx).await.unwrap();
    source.close(&bench.cx).await.unwrap();
    assert_eq!(bench.stand_in.open_logins(), 0);
    source.fetch(&bench.cx, &request).await.unwrap();
    assert_eq!(bench.stand_in.logins(), 2);
}

#[tokio::test]
async fn answers_that_are_none() {
    let bench = Bench::new(&world(), Options::default()).await;
    let source = bench.source("");
    let ask = || PageRequest::first(SESSIONS, Window::ALL);
    for (status, kind, body, expected) in [
        (200, "text/html", "<html>please log in</html>", ErrorKind::Malformed),
        (200, "application/json", "{\"items\":[{\"key\":", ErrorKind::Malformed),
        (403, "application/json", "{\"error\":\"no\"}", ErrorKind::Denied),
        (406, "application/json", "", ErrorKind::Malformed),
    ] {
        bench.stand_in.answer_next("fields=", status, kind, body);
        let error = bench.try_read(&*source, ask()).await.unwrap_err();
        assert_eq!(error.kind(), expected, "{error:?}");
    }
    bench.stand_in.answer_next(
        "fields=",
        200,
        "application/json",
        r#"{"items":[],"meta":{"next":"https://evil.example/api"}}"#,
    );
    let error = bench.try_read(&*source, ask()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed, "{error:?}");
    // An empty page with a link is not the end.
    bench.stand_in.answer_next("fields=", 503, "application/json", "");
    assert!(bench.try_read(&*source, ask()).await.is_ok());

    let full = Bench::new(&world(), Options { snapshot_quota: 0, ..Options::default() }).await;
    let error = full.try_read(&*full.source(""), ask()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert!(error.hint_text().is_some_and(|hint| hint.contains("5 minutes")), "{error:?}");
    assert!(full.try_read(&*full.source("snapshots = false"), ask()).await.is_ok());

    let gone = bench.source_at("https://127.0.0.1:1", "");
    assert_eq!(gone.check(&bench.cx).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn the_products_own_count() {
    let world = world();
    let bench = Bench::new(&world, Options::default()).await;
    let source = bench.source("");
    let page = source
        .fetch(&bench.cx, &PageRequest { count_only: true, ..PageRequest::first(SESSIONS, Window::ALL) })
        .await
        .unwrap();
    assert_eq!(page.observed.count, Some(world.sps.sessions.len() as u64));
    let window = Window::new(Time::from_micros(world.from), Time::from_micros(world.to));
    let page = source
        .fetch(&bench.cx, &PageRequest { count_only: true, ..PageRequest::first(SESSIONS, window) })
        .await
        .unwrap();
    assert_eq!((page.observed.count, page.rows.num_rows()), (None, 0));
}

#[test]
fn configuration_that_is_wrong() {
    let base = "url = \"https://sps.example\"\nusername = \"reader\"\npassword = \"env:SPS_PASSWORD\"\n";
    let build = |text: &str| {
        let config =
            toml::from_str::<<fedaudit_sps::Sps as Plugin>::Config>(text).map_err(|error| error.to_string())?;
        fedaudit_sps::Sps::build("sps-1", config).map(|source| format!("{source:?}")).map_err(|error| error.to_string())
    };
    assert!(build(base).is_ok(), "{:?}", build(base));
    for wrong in [
        format!("{base}colour = 1"),
        base.replace("https", "http"),
        base.replace("env:SPS_PASSWORD", "hunter2"),
        base.replace("\"reader\"", "\"a:b\""),
        format!("{base}user_forms = [\"x\"]"),
    ] {
        let error = build(&wrong).unwrap_err();
        assert!(!error.contains("hunter2\" "), "{error}");
    }
    let _ = world_of(1);
}
