//! The plugin against the stand-in appliance, over real TLS on loopback.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

#[path = "conformance/details.rs"]
mod details;
#[path = "conformance/harness.rs"]
mod harness;
#[path = "conformance/logins.rs"]
mod logins;
#[path = "conformance/paging.rs"]
mod paging;

#[path = "conformance/suite.rs"]
mod suite;

use std::collections::BTreeSet;
use std::time::Duration;

use fedaudit_core::{EndReason, ErrorKind, Operator, PageRequest, Plugin, Predicate, Time, Value, Window};
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
    // Of those that began long ago nothing is known, and they may run all through the window.
    assert_eq!(read.gaps, [window]);
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
async fn what_single_members_mean() {
    let mut world = world();
    world.sps.sessions.clear();
    let bench = Bench::new(&world, Options::default()).await;
    let start = micros("2024-03-01T08:00:00Z");
    let score = |value: &str| format!(r#""analytics":{{"score":{{"aggregated":{value}}}}}"#);
    for (at, (key, members)) in [
        ("a", format!(r#""hidden":true,"origin":"RECORDING","protocol":"ssh",{}"#, score("42"))),
        ("b", format!(r#""phantom":true,"origin":"RECORDING","protocol":"MSSQL",{}"#, score("101"))),
        ("c", format!(r#""origin":"LOG","user":{{"name":"far"}},{}"#, score("\"55\""))),
        ("d", format!(r#""origin":"VAULT","user":{{"name":"far","gateway_username":"near"}},{}"#, score("-1"))),
    ]
    .into_iter()
    .enumerate()
    {
        let body = format!(
            r#"{{"key":"{key}","body":{{"start_time":"2024-03-01T08:00:0{at}Z","end_time":"2024-03-01T09:00:00Z","creation_time":"2024-03-02T00:00:00Z",{members}}}}}"#
        );
        bench.stand_in.insert_item(start + at as i64 * SECOND, key, &body);
    }
    let read = bench.read(&*bench.source(""), PageRequest::first(SESSIONS, Window::ALL)).await;
    let texts =
        |column: &str| -> Vec<String> { read.texts(column).into_iter().map(Option::unwrap_or_default).collect() };
    // What the product hides, or does not record itself, is kept; the row says how far to trust it.
    assert_eq!(texts("session_id"), ["a", "b", "c", "d"]);
    assert_eq!(texts("confidence_reason"), ["fragment", "phantom", "fragment", "fragment"]);
    assert_eq!(texts("is_privileged"), ["true", "true", "", ""]);
    assert_eq!(texts("risk_score"), ["42", "", "55", ""]);
    assert_eq!(texts("protocol"), ["SSH", "MSSQL", "", ""]);
    assert_eq!(texts("user_name"), ["", "", "far", "near"]);
    // The document's age is no time of the session.
    let starts = read.times("start_time");
    assert_eq!(starts, [0, 1, 2, 3].map(|second| Some(start + second * SECOND)));
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
        bench.stand_in.answer_next("fields=*", status, kind, body);
        let error = bench.try_read(&*source, ask()).await.unwrap_err();
        assert_eq!(error.kind(), expected, "{error:?}");
    }
    bench.stand_in.answer_next(
        "fields=*",
        200,
        "application/json",
        r#"{"items":[],"meta":{"next":"https://evil.example/api"}}"#,
    );
    let error = bench.try_read(&*source, ask()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed, "{error:?}");
    // An empty page with a link is not the end.
    bench.stand_in.answer_next("fields=*", 503, "application/json", "");
    assert!(bench.try_read(&*source, ask()).await.is_ok());

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

#[tokio::test]
async fn two_generations_tell_the_same() {
    let mut world = world();
    for session in &mut world.sps.sessions {
        // Whole seconds are all that the earliest releases keep.
        session.start = session.start / SECOND * SECOND;
        session.end = session.end.map(|end| end / SECOND * SECOND);
    }
    // What 6.0 does not have, what differs because it is the text of the product, and how precise a text is.
    let sessions_differ = ["risk_score", "product_version", "raw", "raw_sha256", "unmapped"];
    let early_differ = ["start_time_original", "end_time_original"];
    let more = "details = [\"events\", \"channels\", \"alerts\", \"trail_downloads\"]";
    let read = async |options: Options, stream: &str| {
        let bench = Bench::new(&world, options).await;
        let source = bench.source(more);
        bench.read(&*source, PageRequest::first(stream, Window::ALL)).await
    };
    let six = || Options { firmware: "6.0.9".to_owned(), ..Options::default() };
    let early = || Options { old_bodies: true, ..six() };
    let key = |stream: &str| if stream == SESSIONS { "session_key" } else { "event_key" };
    for stream in [SESSIONS, EVENTS, "sps.events", "sps.alerts", "sps.channels", "sps.trail_downloads"] {
        let current = read(Options::default(), stream).await.sorted_by(key(stream));
        assert!(current.rows() > 20, "{stream}");
        let mut exceptions = sessions_differ.to_vec();
        if stream == "sps.channels" {
            // Channels of early releases have numbers and whole seconds since 1970.
            exceptions.extend(["record_id", "time_original", "time_quality"]);
        }
        assert_eq!(
            current.differences(&read(six(), stream).await.sorted_by(key(stream)), &exceptions),
            [""; 0],
            "{stream}"
        );
        exceptions.extend(early_differ);
        exceptions.extend(["time_original", "time_quality"]);
        if stream == "sps.events" {
            exceptions.push("event_code");
            exceptions.push("event_key");
        }
        let early = read(early(), stream).await.sorted_by(if stream == "sps.events" { "time" } else { key(stream) });
        let current = if stream == "sps.events" { current.sorted_by("time") } else { current };
        assert_eq!(current.differences(&early, &exceptions), [""; 0], "{stream} of early releases");
    }
}

#[tokio::test]
async fn keys_with_any_characters() {
    let mut world = world();
    world.sps.sessions.truncate(6);
    for (at, key) in ["2", "svc-a/b:c d", "ünï%20", "a+b&c=d?#", "\"quoted\\\"", "0123456789abcdef0123456789abcdef"]
        .into_iter()
        .enumerate()
    {
        world.sps.sessions[at].key = key.to_owned();
    }
    let bench = Bench::new(&world, Options::default()).await;
    let source = bench.source("details = [\"channels\"]");
    let read = bench.read(&*source, PageRequest::first(SESSIONS, Window::ALL)).await;
    assert_eq!(read.set("session_id"), keys(&world.sps.sessions));
    let channels = bench.read(&*source, PageRequest::first("sps.channels", Window::ALL)).await;
    let recorded = keys(world.sps.sessions.iter().filter(|session| session.has_trail));
    assert_eq!((channels.set("session_id"), channels.rejected.len()), (recorded, 0));
}

#[test]
fn blind_spots_are_said() {
    let base = "url = \"https://sps.example\"\nusername = \"reader\"\npassword = \"env:SPS_PASSWORD\"\n";
    let build =
        |more: &str| fedaudit_sps::Sps::build("sps-1", toml::from_str(&format!("{base}{more}")).unwrap()).unwrap();
    let source = build("");
    let stream = source.info().stream(EVENTS).unwrap();
    let said = |part: &str| stream.blind_spots.iter().any(|spot| spot.reason.contains(part));
    assert!(said("access rule") && said("search-local") && said("logins to the appliance itself"));
    assert!(stream.lateness >= Duration::from_hours(24));
    // A question about downloads is blind where they are not read, and is not where they are.
    let about = |stream: &fedaudit_core::StreamInfo, action: &str| {
        stream.blind_spots.iter().any(|spot| spot.predicates == [Predicate::any_of("action", [action])])
    };
    assert!(about(stream, "log.read") && about(stream, "exec.run"));
    let source = build("details = [\"trail_downloads\"]");
    assert!(!about(source.info().stream(EVENTS).unwrap(), "log.read"));
    assert_eq!(source.info().streams.len(), 3);
    let downloads = source.info().stream("sps.trail_downloads").unwrap();
    assert_eq!(downloads.look_back, Duration::from_hours(24 * 30));
    assert!(downloads.blind_spots.iter().any(|spot| spot.reason.contains("30 days")));
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
        format!("{base}details = [\"screens\"]"),
        format!("{base}naive_time_zone = \"Europe/Budapest\""),
        format!("{base}naive_time_zone = \"\""),
    ] {
        let error = build(&wrong).unwrap_err();
        assert!(!error.contains("hunter2\" "), "{error}");
    }
    let _ = world_of(1);
}
