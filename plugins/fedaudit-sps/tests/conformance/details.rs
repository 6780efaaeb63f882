//! The lists below sessions, as streams.

use std::collections::BTreeSet;

use fedaudit_core::{EndReason, ErrorKind, Next, PageRequest, Predicate, Time, Window};
use fedaudit_testkit::World;
use fedaudit_testkit::records::SpsSession;
use fedaudit_testkit::sps::{Details, Options, details_of};

use super::harness::{Bench, Read, world};
use super::{HOUR, SECOND, keys};

const ALL: &str = "details = [\"events\", \"channels\", \"alerts\", \"trail_downloads\"]";
const STREAMS: [&str; 4] = ["sps.events", "sps.alerts", "sps.channels", "sps.trail_downloads"];

/// A world of few sessions: each of them costs requests.
fn small() -> World {
    let mut world = world();
    world.sps.sessions.truncate(70);
    world
}

/// `session, time, text` of every entry of a list.
type Facts = BTreeSet<(String, String, String)>;

fn truth<'s>(sessions: impl IntoIterator<Item = &'s SpsSession>, stream: &str) -> Facts {
    let at = |micros: i64| Time::from_micros(micros).to_string();
    let mut facts = Facts::new();
    for session in sessions {
        let Details { events, alerts, channels, downloads } = details_of(session);
        let found: Vec<(i64, String)> = match stream {
            "sps.events" => events.into_iter().map(|event| (event.time, event.content)).collect(),
            "sps.alerts" => alerts.into_iter().map(|alert| (alert.time, alert.rule.to_owned())).collect(),
            "sps.channels" => channels.into_iter().map(|channel| (channel.start, channel.kind.to_owned())).collect(),
            _ => downloads.into_iter().map(|download| (download.time, download.username.to_owned())).collect(),
        };
        facts.extend(found.into_iter().map(|(time, text)| (session.key.clone(), at(time), text)));
    }
    facts
}

fn facts(read: &Read, stream: &str) -> Facts {
    let columns: &[&str] = match stream {
        "sps.events" => &["operation", "message"],
        "sps.alerts" => &["policy"],
        "sps.channels" => &["event_code"],
        _ => &["user_original"],
    };
    let texts: Vec<_> = columns.iter().map(|column| read.texts(column)).collect();
    let text = |row: usize| texts.iter().find_map(|column| column[row].clone()).unwrap_or_default();
    let (sessions, times) = (read.texts("session_id"), read.texts("time"));
    (0..read.rows()).map(|row| (sessions[row].clone().unwrap(), times[row].clone().unwrap(), text(row))).collect()
}

#[tokio::test]
async fn details_of_every_session() {
    let world = small();
    let latency = std::time::Duration::from_millis(2);
    for options in [Options::default(), Options { firmware: "6.0.9".to_owned(), ..Options::default() }] {
        let bench = Bench::new(&world, Options { latency, ..options }).await;
        let source = bench.source(ALL);
        for stream in STREAMS {
            let read = bench.read(&*source, PageRequest::first(stream, Window::ALL)).await;
            let expected = truth(&world.sps.sessions, stream);
            assert!(expected.len() > 5, "{stream}");
            assert_eq!(facts(&read, stream), expected, "{stream}");
            assert_eq!(read.set("event_key").len(), read.rows(), "{stream}: keys");
            assert!(read.rejected.is_empty() && read.notes.is_empty(), "{:?}", read.notes);
            assert!(read.pages > 3);
        }
        assert_eq!(bench.stand_in.most_in_flight(), 2);
        let channel = bench.read(&*source, PageRequest::first("sps.events", Window::ALL)).await.texts("unmapped");
        assert!(channel.iter().flatten().all(|rest| rest.contains("\"channels_id\":\"1\"")), "{channel:?}");
        let alert = bench.read(&*source, PageRequest::first("sps.alerts", Window::ALL)).await.texts("unmapped");
        assert!(alert.iter().flatten().all(|rest| rest.contains("\"channel_id\":\"1\"")), "{alert:?}");
    }
}

#[tokio::test]
async fn details_say_what_was_done() {
    let world = small();
    let bench = Bench::new(&world, Options::default()).await;
    let source = bench.source(ALL);
    let events = bench.read(&*source, PageRequest::first("sps.events", Window::ALL)).await;
    for row in events.facts(["action", "event_code", "operation"], ["message", "user_name", "dst_ip"]) {
        let command = row.0[1].as_deref() == Some("command");
        assert_eq!(row.0[0].as_deref(), Some(if command { "exec.run" } else { "other" }));
        assert_eq!((row.0[2].is_some(), row.1[0].is_some()), (command, !command), "{row:?}");
        assert!(row.1[1].is_some() && row.1[2].is_some(), "{row:?}");
    }
    let channels = bench.read(&*source, PageRequest::first("sps.channels", Window::ALL)).await;
    let outcomes = channels.facts(["event_code", "outcome", "outcome_code"], ["operation", "action", "time_quality"]);
    assert!(outcomes.iter().any(|row| row.0[1].as_deref() == Some("failure") && row.0[2].as_deref() == Some("DENY")));
    assert!(
        outcomes.iter().any(|row| row.1[0].as_deref() == Some("uptime") && row.1[1].as_deref() == Some("exec.run"))
    );
    assert!(
        channels
            .texts("unmapped")
            .iter()
            .flatten()
            .any(|rest| rest.contains("\"four_eyes_authorizer\":\"second-pair\""))
    );
}

#[tokio::test]
async fn details_of_early_releases() {
    let world = small();
    let options = Options { old_bodies: true, firmware: "6.0.9".to_owned(), ..Options::default() };
    let bench = Bench::new(&world, options).await;
    let source = bench.source(ALL);
    for stream in STREAMS {
        let read = bench.read(&*source, PageRequest::first(stream, Window::ALL)).await;
        assert_eq!(facts(&read, stream), truth(&world.sps.sessions, stream), "{stream}");
    }
    let read = bench.read(&*source, PageRequest::first("sps.events", Window::ALL)).await;
    assert!(read.set("event_code").contains("adp.event.command"));
    assert!(read.set("action").contains("exec.run"));
    let read = bench.read(&*source, PageRequest::first("sps.channels", Window::ALL)).await;
    let rest = read.texts("unmapped")[0].clone().unwrap();
    assert!(rest.contains("\"connected.address\":"), "{rest}");
}

#[tokio::test]
async fn windows_of_details() {
    let world = small();
    let bench = Bench::new(&world, Options::default()).await;
    let source = bench.source(ALL);
    let middle = &world.sps.sessions[40];
    for (from, to) in [(middle.start, middle.start + 12 * HOUR), (middle.start - HOUR, middle.start + SECOND)] {
        let window = Window::new(Time::from_micros(from), Time::from_micros(to));
        for stream in STREAMS {
            let read = bench.read(&*source, PageRequest::first(stream, window)).await;
            let inside = |fact: &(String, String, String)| window.contains(Time::parse(&fact.1).unwrap().time);
            let expected: Facts = truth(&world.sps.sessions, stream).into_iter().filter(inside).collect();
            assert_eq!(facts(&read, stream), expected, "{stream} {window}");
        }
    }
    let empty = Window::new(Time::from_micros(5), Time::from_micros(5));
    assert_eq!(bench.read(&*source, PageRequest::first("sps.events", empty)).await.end, EndReason::NothingAsked);
}

#[tokio::test]
async fn times_without_a_zone() {
    let world = small();
    let bench = Bench::new(&world, Options { naive_local: true, ..Options::default() }).await;
    let expected = truth(&world.sps.sessions, "sps.events");
    // The appliance is two hours east of UTC, which nobody told: the entries do not fit their sessions.
    let read = bench.read(&*bench.source(ALL), PageRequest::first("sps.events", Window::ALL)).await;
    assert_ne!(facts(&read, "sps.events"), expected);
    assert!(read.notes.iter().any(|note| note.contains("naive_time_zone")), "{:?}", read.notes);
    assert!(read.texts("quality_flags").iter().flatten().any(|flags| flags.contains("outside_session")));
    let told = bench.source(&format!("{ALL}\nnaive_time_zone = \"+02:00\""));
    let again = bench.read(&*told, PageRequest::first("sps.events", Window::ALL)).await;
    assert_eq!(facts(&again, "sps.events"), expected);
    assert_eq!(again.set("time_quality"), BTreeSet::from(["assumed_zone".to_owned()]));
    assert!(again.notes.is_empty(), "{:?}", again.notes);
    // Whoever corrects the zone does not get every entry a second time.
    assert_eq!(read.set("event_key"), again.set("event_key"));
}

#[tokio::test]
async fn who_watched_a_recording() {
    let mut world = small();
    world.sps.sessions.truncate(20);
    let session = world.sps.sessions.iter().find(|session| session.has_trail).unwrap().clone();
    let bench = Bench::new(&world, Options::default()).await;
    let at = session.start + 20 * 24 * HOUR;
    let item = format!(
        r#"{{"from_api":true,"ip_address":"192.0.2.77","time":"{}","username":"CORP\\Auditor"}}"#,
        Time::from_micros(at)
    );
    bench.stand_in.insert_detail(&session.key, "trail_downloads", &item);
    let window = Window::new(Time::from_micros(at - HOUR), Time::from_micros(at + HOUR));
    let read = bench.read(&*bench.source(ALL), PageRequest::first("sps.trail_downloads", window)).await;
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        read.facts(["action", "outcome", "user_name"], ["user_domain", "src_ip", "session_id"]),
        [([some("log.read"), some("success"), some("auditor")], [some("corp"), some("192.0.2.77"), Some(session.key)])]
    );
    assert_eq!(read.texts("raw"), [Some(item)]);
    assert_eq!(read.texts("target_type"), [some("recording")]);
    assert_eq!(read.texts("unmapped"), [some("{\"from_api\":true}")]);
    // So far back only as is configured, and stated.
    let near = bench.source(&format!("{ALL}\ndownloads_back_days = 10"));
    assert_eq!(bench.read(&*near, PageRequest::first("sps.trail_downloads", window)).await.rows(), 0);
}

#[tokio::test]
async fn recordings_that_are_not_indexed() {
    let world = small();
    for old_bodies in [false, true] {
        let bench = Bench::new(&world, Options { indexing: false, old_bodies, ..Options::default() }).await;
        let read = bench.read(&*bench.source(ALL), PageRequest::first("sps.events", Window::ALL)).await;
        assert_eq!(read.rows(), 0);
        assert!(read.notes.iter().any(|note| note.contains("not indexed (INDEXING_FAILED)")), "{:?}", read.notes);
    }
}

#[tokio::test]
async fn one_refused_session_is_a_stated_gap() {
    let world = small();
    let refused = world.sps.sessions.iter().find(|session| session.has_trail).unwrap();
    let options = Options { refused_details: vec![refused.key.clone()], ..Options::default() };
    let bench = Bench::new(&world, options).await;
    let source = bench.source(ALL);
    for stream in STREAMS {
        let read = bench.read(&*source, PageRequest::first(stream, Window::ALL)).await;
        let others = world.sps.sessions.iter().filter(|session| session.key != refused.key);
        assert_eq!(facts(&read, stream), truth(others, stream), "{stream}");
        let [gap] = read.rejected.as_slice() else { panic!("{:?}", read.rejected) };
        assert!(gap.raw.contains(&refused.key) && gap.reason.contains("HTTP 403"), "{gap:?}");
    }
    // Other ways to fail, for one session each.
    for (status, kind, body) in [
        (200, "application/json", "{\"items\":[{\"time\""),
        (200, "text/html", "<html>login</html>"),
        (400, "application/json", "{\"error\":{\"message\":\"no\"}}"),
        (404, "application/json", ""),
    ] {
        bench.stand_in.answer_next(&format!("{}/channels", refused.key), status, kind, body);
        let read = bench.read(&*source, PageRequest::first("sps.channels", Window::ALL)).await;
        assert_eq!(read.rejected.len(), 1, "{status} {kind}");
    }
}

#[tokio::test]
async fn entries_that_are_none() {
    let world = small();
    let session = world.sps.sessions.iter().find(|session| session.has_trail).unwrap();
    let bench = Bench::new(&world, Options::default()).await;
    for item in ["[]", "{}", r#"{"type":"command","content":"w","record_id":900,"time":"yesterday"}"#] {
        bench.stand_in.insert_detail(&session.key, "events", item);
    }
    let read = bench.read(&*bench.source(ALL), PageRequest::first("sps.events", Window::ALL)).await;
    assert_eq!(read.rejected.len(), 2, "{:?}", read.rejected);
    // A time that cannot be read: the entry stays, near its session.
    let at = read.texts("record_id").iter().position(|id| id.as_deref() == Some("900")).unwrap();
    assert_eq!(read.times("time")[at], Some(session.start));
    assert_eq!(read.texts("time_original")[at].as_deref(), Some("yesterday"));
    assert!(read.texts("quality_flags")[at].as_deref().is_some_and(|flags| flags.contains("time_unparsed")));
}

#[tokio::test]
async fn details_that_are_all_refused() {
    let world = small();
    let bench = Bench::new(&world, Options { may_see_details: false, ..Options::default() }).await;
    let source = bench.source(ALL);
    let health = source.check(&bench.cx).await.unwrap();
    assert_eq!(health.notes.iter().filter(|note| note.contains("may not be readable")).count(), 4, "{health:?}");
    for stream in STREAMS {
        let error = bench.try_read(&*source, PageRequest::first(stream, Window::ALL)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{stream}");
    }
    // An appliance that fails is not asked for every session.
    let bench = Bench::new(&world, Options::default()).await;
    for _ in 0..40 {
        bench.stand_in.answer_next("/events?", 500, "application/json", "");
    }
    let error = bench.try_read(&*bench.source(ALL), PageRequest::first("sps.events", Window::ALL)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_session_that_vanished_before_its_details() {
    let world = small();
    let bench = Bench::new(&world, Options::default()).await;
    let source = bench.source(ALL);
    let first = source.fetch(&bench.cx, &PageRequest::first("sps.channels", Window::ALL)).await.unwrap();
    let Next::More(cursor) = first.next.clone() else { panic!("one page") };
    // The snapshot goes on showing it.
    let gone = world.sps.sessions.iter().rfind(|session| session.has_trail).unwrap();
    bench.stand_in.remove(&gone.key);
    let mut read = bench
        .read(&*source, PageRequest { cursor: Some(cursor), ..PageRequest::first("sps.channels", Window::ALL) })
        .await;
    read.add(&first);
    let others = world.sps.sessions.iter().filter(|session| session.key != gone.key);
    assert_eq!(facts(&read, "sps.channels"), truth(others, "sps.channels"));
    assert!(read.notes.iter().any(|note| note.contains("1 sessions were cleaned up")), "{:?}", read.notes);
    // Its entries were there when the reading began.
    let end = gone.end.map(|end| Time::from_micros(end + 1));
    assert_eq!(read.gaps, [Window { from: Some(Time::from_micros(gone.start)), to: end }]);
    // What was not there when it was asked for is not missed.
    let predicates = vec![Predicate::any_of("session_id", [gone.key.clone()])];
    let request = PageRequest { predicates, ..PageRequest::first("sps.channels", Window::ALL) };
    let read = bench.read(&*source, request).await;
    assert!(read.rows() == 0 && read.gaps.is_empty() && read.notes.is_empty(), "{:?}", read.notes);
}

#[tokio::test]
async fn an_empty_part_that_names_more_is_no_end() {
    let world = small();
    let bench = Bench::new(&world, Options::default()).await;
    let source = bench.source(ALL);
    let session = world.sps.sessions.iter().find(|session| !details_of(session).events.is_empty()).unwrap();
    let request = PageRequest::first("sps.events", Window::ALL);
    let own = format!("/api/audit/sessions/{}/events", session.key);
    for meta in [r#""match_count":7"#.to_owned(), format!(r#""next":"{own}?limit=500&offset=500""#)] {
        let body = format!(r#"{{"items":[],"meta":{{{meta}}}}}"#);
        bench.stand_in.answer_next(&format!("{own}?"), 200, "application/json", &body);
        let read = bench.read(&*source, request.clone()).await;
        let others = world.sps.sessions.iter().filter(|other| other.key != session.key);
        assert_eq!(facts(&read, "sps.events"), truth(others, "sps.events"), "{meta}");
        let [gap] = read.rejected.as_slice() else { panic!("{meta}: {:?}", read.rejected) };
        assert!(gap.raw.contains(&session.key) && gap.reason.contains("more are named"), "{gap:?}");
    }
    // Links of some releases lead to another list, and say nothing of this one.
    let body = format!(r#"{{"items":[],"meta":{{"next":"{}"}}}}"#, own.replace("events", "indexer"));
    bench.stand_in.answer_next(&format!("{own}?"), 200, "application/json", &body);
    let read = bench.read(&*source, request).await;
    assert!(read.rejected.is_empty());
    assert!(
        read.notes.iter().any(|note| note.contains("1 events ended with a link to another list")),
        "{:?}",
        read.notes
    );
}

#[tokio::test]
async fn details_are_bounded() {
    let world = small();
    let bench = Bench::new(&world, Options::default()).await;
    let source = bench.source(&format!("{ALL}\ndetails_max_sessions = 30"));
    let error = bench.try_read(&*source, PageRequest::first("sps.events", Window::ALL)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.hint_text().is_some_and(|hint| hint.contains("details_max_sessions")), "{error:?}");
    let asked = bench.log.entries().iter().filter(|entry| entry.target.contains("/events?")).count();
    assert!(asked <= 30, "{asked}");

    // Sessions that the question names: nothing else is asked.
    bench.log.take();
    let named: Vec<&SpsSession> = world.sps.sessions.iter().filter(|session| session.has_trail).take(3).collect();
    let ids = named.iter().map(|session| session.key.clone()).chain(["another-products".to_owned()]);
    let request = PageRequest {
        predicates: vec![Predicate::any_of("session_id", ids)],
        ..PageRequest::first("sps.channels", Window::ALL)
    };
    let stream = source.info().stream("sps.channels").unwrap();
    assert!(stream.can_push(&request.predicates[0]));
    let read = bench.read(&*source, request).await;
    assert_eq!(facts(&read, "sps.channels"), truth(named.iter().copied(), "sps.channels"));
    assert_eq!(read.set("session_id"), keys(named));
    assert!(!bench.log.entries().iter().any(|entry| entry.target.contains("fields=")));

    // Conditions on the session choose the sessions.
    bench.log.take();
    let request = PageRequest {
        predicates: vec![Predicate::any_of("protocol", ["RDP"])],
        ..PageRequest::first("sps.events", Window::ALL)
    };
    let source = bench.source(ALL);
    let read = bench.read(&*source, request).await;
    let rdp: Vec<_> = world.sps.sessions.iter().filter(|session| session.protocol == "RDP").collect();
    assert_eq!(facts(&read, "sps.events"), truth(rdp.iter().copied(), "sps.events"));
    let asked = bench.log.entries().iter().filter(|entry| entry.target.contains("/events?")).count();
    assert_eq!(asked, rdp.len());
}

#[tokio::test]
async fn details_longer_than_a_page() {
    let mut world = small();
    world.sps.sessions.truncate(12);
    let sessions: Vec<_> = world.sps.sessions.iter().filter(|session| session.has_trail).collect();
    let bench = Bench::new(&world, Options::default()).await;
    let item = |number: i64| {
        format!(
            r#"{{"from_api":false,"ip_address":"192.0.2.9","time":"{}","username":"u{number}"}}"#,
            Time::from_micros(sessions[0].start + number * SECOND)
        )
    };
    for number in 0..2600 {
        bench.stand_in.insert_detail(&sessions[0].key, "trail_downloads", &item(number));
    }
    for number in 0..10_050 {
        bench.stand_in.insert_detail(&sessions[1].key, "trail_downloads", &item(number));
    }
    let source = bench.source(ALL);
    let read = bench.read(&*source, PageRequest::first("sps.trail_downloads", Window::ALL)).await;
    let of = |key: &str| {
        let added = |fact: &&(String, String, String)| fact.0 == key && fact.2.starts_with('u');
        facts(&read, "sps.trail_downloads").iter().filter(added).count()
    };
    // This list's links lead elsewhere, with a limit of five: it is read to its end all the same.
    assert_eq!(of(&sessions[0].key), 2600);
    // And this one cannot be: the appliance would show its beginning again.
    assert!((9_990..=10_000).contains(&of(&sessions[1].key)), "{}", of(&sessions[1].key));
    let [gap] = read.rejected.as_slice() else { panic!("{:?}", read.rejected.len()) };
    assert!(gap.reason.contains("more than 10000 entries"), "{}", gap.reason);
}
