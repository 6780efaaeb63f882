//! Everything is read, nothing is read twice, and what is pushed down reads less without losing a row.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fedaudit_core::{Direction, EndReason, Next, PageRequest, Predicate, Time, Window};
use fedaudit_testkit::canvas::{Bookmark, Extra, Form, OAuthClient, Options};
use fedaudit_testkit::records::CanvasEvent;
use serde_json::json;

use crate::bench::{At, Bench, Reading, bench, bench_of, second, world};

/// Whether an event is asked for.
type Wanted = Box<dyn Fn(&CanvasEvent) -> bool>;

fn ids(reading: &Reading, column: &str) -> BTreeSet<String> {
    reading.column(column).into_iter().flatten().collect()
}

fn world_ids(bench: &Bench) -> BTreeSet<String> {
    bench.world.canvas.events.iter().map(|event| event.id.clone()).collect()
}

#[tokio::test]
async fn every_event_comes_once() {
    for form in [Form::Links, Form::Flat, Form::IntegerIds] {
        for bookmark in [Bookmark::TimeAndRow, Bookmark::TimeOnly] {
            let bench = bench(Options { form, bookmark, ..Options::default() }, json!({})).await;
            let count = bench.world.canvas.events.len();
            let reading = bench.read(bench.request()).await.unwrap();
            assert_eq!(reading.rows(), count, "{form:?} {bookmark:?}");
            assert_eq!(ids(&reading, "event_key").len(), count, "{form:?} {bookmark:?}");
            assert_eq!(reading.end, Some(EndReason::NoNextLink));
            assert!(reading.rejected.is_empty() && reading.notes.is_empty(), "{:?}", reading.notes);
            if form == Form::Links {
                assert_eq!(ids(&reading, "record_id"), world_ids(&bench));
            }
            if bookmark == Bookmark::TimeAndRow {
                assert_eq!(reading.records, count as u64);
            }
        }
    }
}

#[tokio::test]
async fn seconds_cut_by_a_page_are_read_whole() {
    // Twelve events in one second and pages of five: with a bookmark of the time alone the server skips the rest.
    let world = world();
    let at = world.canvas.events[20].created_at;
    let record = |n: usize| Extra {
        created_at: at,
        json: format!(r#"{{"id":"tie-{n}","created_at":"{}","event_type":"login","links":{{}}}}"#, utc(at)),
    };
    for (ties, note) in [(12, false), (150, true)] {
        let extra = (0..ties).map(record).collect();
        let options = Options { extra, bookmark: Bookmark::TimeOnly, ..Options::default() };
        let bench = bench_of(std::sync::Arc::clone(&world), options, json!({})).await;
        let reading = bench.read(PageRequest { page_size: Some(5), ..bench.request() }).await.unwrap();
        let came = ids(&reading, "record_id").len();
        assert_eq!(reading.rows(), came, "an event came twice");
        assert_eq!(came == bench.world.canvas.events.len() + ties, !note);
        assert_eq!(reading.notes.is_empty(), !note, "{:?}", reading.notes);
        assert_eq!(reading.gaps.is_empty(), !note);
        assert!(reading.gaps.iter().all(|gap| *gap == second(at)), "{:?}", reading.gaps);
    }
}

#[tokio::test]
async fn equal_events_without_id_have_keys_of_their_own_whatever_the_pages() {
    let world = world();
    let at = world.canvas.events[20].created_at;
    let json =
        format!(r#"{{"created_at":"{}","event_type":"login","pseudonym_id":1,"account_id":2,"user_id":3}}"#, utc(at));
    let mut keys = Vec::new();
    for (size, bookmark) in [(100, Bookmark::TimeAndRow), (3, Bookmark::TimeAndRow), (3, Bookmark::TimeOnly)] {
        let extra = vec![Extra { created_at: at, json: json.clone() }; 8];
        let options = Options { extra, form: Form::Flat, bookmark, ..Options::default() };
        let bench = bench_of(std::sync::Arc::clone(&world), options, json!({})).await;
        let reading = bench.read(PageRequest { page_size: Some(size), ..bench.request() }).await.unwrap();
        assert_eq!(reading.rows(), bench.world.canvas.events.len() + 8);
        keys.push(ids(&reading, "event_key"));
        assert_eq!(keys[0].len(), reading.rows());
    }
    assert!(keys[0] == keys[1] && keys[1] == keys[2]);
}

#[tokio::test]
async fn a_cursor_serves_another_login() {
    let bench = bench(Options::default(), json!({})).await;
    let first = bench.source.fetch(&bench.cx, &bench.request()).await.unwrap();
    let Next::More(cursor) = first.next else { panic!("one page only") };
    bench.source.close(&bench.cx).await.unwrap();
    let another = bench.another(&json!({})).unwrap();
    let rest = crate::bench::read(&*another, &bench.cx, PageRequest { cursor: Some(cursor), ..bench.request() })
        .await
        .unwrap();
    assert_eq!(first.rows.num_rows() + rest.rows(), bench.world.canvas.events.len());
}

fn utc(seconds: i64) -> String {
    Time::from_seconds(seconds).unwrap().to_string()
}

#[tokio::test]
async fn pages_are_as_large_as_asked_and_bounded_by_their_frontier() {
    let bench = bench(Options::default(), json!({})).await;
    let request = bench.request();
    for (size, pages) in [(Some(7), 7), (Some(100), 100), (None, 100), (Some(5000), 100)] {
        let request = PageRequest { page_size: size, direction: Direction::NewestFirst, ..request.clone() };
        let reading = bench.read(request).await.unwrap();
        assert_eq!(reading.pages, bench.world.canvas.events.len().div_ceil(pages));
        assert_eq!(reading.frontiers.len(), reading.pages - 1);
        for (page, frontier) in &reading.frontiers {
            let later = Reading { batches: reading.batches[*page..].to_vec(), ..Reading::default() };
            assert!(later.times().iter().all(|time| time <= frontier));
        }
    }
}

#[tokio::test]
async fn windows_are_half_open() {
    let bench = bench(Options::default(), json!({})).await;
    let all = bench.read(bench.request()).await.unwrap().times();
    // A second that several events share must not be cut.
    for edge in [all[all.len() / 2], all[all.len() / 3], all[3].plus(std::time::Duration::from_millis(500))] {
        let window = bench.request().window;
        let read = async |window: Window| {
            let reading = bench.read(PageRequest { window, ..bench.request() }).await.unwrap();
            reading.times().into_iter().filter(|time| window.contains(*time)).count()
        };
        let before = read(Window { to: Some(edge), ..window }).await;
        let after = read(Window { from: Some(edge), ..window }).await;
        assert_eq!(before, all.iter().filter(|time| **time < edge).count());
        assert_eq!(before + after, all.len());
    }
    // Whole seconds go to the server exactly, so that nothing outside is read.
    bench.log.take();
    let reading = bench.read(PageRequest { window: Window { from: Some(all[0]), to: None }, ..bench.request() });
    let reading = reading.await.unwrap();
    assert_eq!(reading.records as usize, all.iter().filter(|time| **time >= all[0]).count());
    let empty = bench.read(PageRequest { window: Window::new(all[0], all[0]), ..bench.request() }).await.unwrap();
    assert_eq!((empty.rows(), empty.end), (0, Some(EndReason::NothingAsked)));
}

#[tokio::test]
async fn what_is_pushed_reads_less_and_loses_nothing() {
    let bench = bench(Options::default(), json!({})).await;
    let event = bench.world.canvas.events[10].clone();
    let events = bench.world.canvas.events.clone();
    let cases: [(Predicate, Wanted, &str); 3] = [
        (
            Predicate::any_of("user_uid", [event.user_id.to_string()]),
            Box::new(move |e| e.user_id == event.user_id),
            "/users/",
        ),
        (
            Predicate::any_of("account_id", [event.login_id.to_string()]),
            Box::new(move |e| e.login_id == event.login_id),
            "/logins/",
        ),
        (Predicate::any_of("tenant", [event.account_id.to_string()]), Box::new(|_| true), "/accounts/"),
    ];
    for (predicate, wanted, path) in cases {
        bench.log.take();
        let reading = bench.read(PageRequest { predicates: vec![predicate.clone()], ..bench.request() }).await.unwrap();
        let expected: BTreeSet<String> = events.iter().filter(|e| wanted(e)).map(|e| e.id.clone()).collect();
        assert_eq!(ids(&reading, "record_id"), expected, "{predicate}");
        assert_eq!(reading.records as usize, expected.len(), "{predicate} reads too much");
        let log = bench.log.take();
        let audit: Vec<_> = log.iter().filter(|entry| entry.target.contains("/audit/")).collect();
        assert!(!audit.is_empty() && audit.iter().all(|entry| entry.target.contains(path)), "{audit:?}");
    }
    for predicate in [Predicate::any_of("tenant", ["999"]), Predicate::any_of("user_uid", ["self"])] {
        let reading = bench.read(PageRequest { predicates: vec![predicate], ..bench.request() }).await.unwrap();
        assert_eq!((reading.rows(), reading.end), (0, Some(EndReason::NothingAsked)));
    }
}

#[tokio::test]
async fn deleted_users_and_logins_are_found_in_the_account() {
    let world = world();
    let event = world.canvas.events[10].clone();
    let options =
        Options { deleted_users: vec![event.user_id], deleted_logins: vec![event.login_id], ..Options::default() };
    let bench = bench_of(world, options, json!({})).await;
    for predicate in [
        Predicate::any_of("user_uid", [event.user_id.to_string()]),
        Predicate::any_of("account_id", [event.login_id.to_string()]),
    ] {
        let reading = bench.read(PageRequest { predicates: vec![predicate], ..bench.request() }).await.unwrap();
        assert_eq!(ids(&reading, "record_id"), world_ids(&bench));
        assert!(!reading.notes.is_empty());
    }
}

#[tokio::test]
async fn the_path_of_2013_is_found() {
    let bench = bench(Options { only_pseudonyms: true, form: Form::Flat, ..Options::default() }, json!({})).await;
    let login = bench.world.canvas.events[10].login_id;
    let predicates = vec![Predicate::any_of("account_id", [login.to_string()])];
    let reading = bench.read(PageRequest { predicates, ..bench.request() }).await.unwrap();
    assert_eq!(reading.rows(), bench.world.canvas.events.iter().filter(|event| event.login_id == login).count());
}

#[tokio::test]
async fn empty_pages_do_not_end_a_walk() {
    let bench = bench(Options { empty_pages: true, ..Options::default() }, json!({})).await;
    let reading = bench.read(bench.request()).await.unwrap();
    assert_eq!(ids(&reading, "record_id"), world_ids(&bench));
}

#[tokio::test]
async fn accounts_by_every_name() {
    let bench = bench(Options::default(), json!({})).await;
    let root = bench.world.canvas.root_account_id.to_string();
    for accounts in [json!(["all"]), json!([root]), json!(["default", "self", root])] {
        let source = bench.another(&json!({ "accounts": accounts })).unwrap();
        let reading = crate::bench::read(&*source, &bench.cx, bench.request()).await.unwrap();
        assert_eq!(reading.rows(), bench.world.canvas.events.len(), "{accounts}");
    }
}

#[tokio::test]
async fn one_login_serves_all_and_is_renewed_when_lost() {
    let client = OAuthClient {
        client_id: "10000000000001".to_owned(),
        client_secret: "key-secret".to_owned(),
        refresh_token: "refresh-secret".to_owned(),
    };
    let oauth = json!({ "token": null, "oauth": { "client_id": client.client_id, "client_secret": client.client_secret, "refresh_token": client.refresh_token } });
    let bench = bench(Options { oauth: Some(client), token_requests: Some(9), ..Options::default() }, oauth).await;
    // Never logged in: nothing to end.
    bench.source.close(&bench.cx).await.unwrap();
    let first = bench.request();
    let (a, b, c) = tokio::join!(
        bench.source.fetch(&bench.cx, &first),
        bench.source.fetch(&bench.cx, &first),
        bench.source.fetch(&bench.cx, &first)
    );
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(bench.cx.meter.read().logins, 1);
    let reading = bench.read(PageRequest { page_size: Some(40), ..bench.request() }).await.unwrap();
    assert_eq!(ids(&reading, "record_id"), world_ids(&bench));
    let bought = bench.cx.meter.read().logins;
    assert!(bought > 1, "the token was to lapse on the way");
    for _ in 0..2 {
        bench.source.close(&bench.cx).await.unwrap();
    }
    bench.source.fetch(&bench.cx, &first).await.unwrap();
    assert_eq!(bench.cx.meter.read().logins, bought + 1);
    let shown = format!("{:?}", bench.source);
    assert!(!shown.contains("secret\"") && !shown.contains("bought"), "{shown}");
}

#[tokio::test]
async fn a_bought_token_is_renewed_before_it_lapses_and_a_given_one_is_no_login() {
    let client = OAuthClient {
        client_id: "10000000000001".to_owned(),
        client_secret: "key-secret".to_owned(),
        refresh_token: "refresh-secret".to_owned(),
    };
    let oauth = json!({ "token": null, "oauth": { "client_id": client.client_id, "client_secret": client.client_secret, "refresh_token": client.refresh_token } });
    let mut bench = bench(Options { oauth: Some(client), ..Options::default() }, oauth).await;
    // It is sold for an hour, and renewed a minute before that is over.
    for (minutes, logins) in [(0, 1), (58, 1), (59, 2), (117, 2), (118, 3)] {
        let now = Time::from_micros(bench.world.to).plus(Duration::from_mins(minutes));
        bench.cx.clock = Arc::new(At(now));
        bench.source.fetch(&bench.cx, &bench.request()).await.unwrap();
        assert_eq!(bench.cx.meter.read().logins, logins, "after {minutes} minutes");
    }
    assert!(bench.log.take().iter().all(|entry| entry.status == 200));
    let given = self::bench(Options::default(), json!({})).await;
    given.read(given.request()).await.unwrap();
    assert_eq!(given.cx.meter.read().logins, 0);
}

#[tokio::test]
async fn the_check_tells_who_and_where() {
    let bench = bench(Options::default(), json!({})).await;
    let health = bench.source.check(&bench.cx).await.unwrap();
    assert_eq!(health.account.as_deref(), Some("auditor"));
    assert_eq!(health.fingerprint.as_deref(), Some(bench.world.canvas.root_account_uuid.as_str()));
    assert!(health.server_time > Some(Time::EPOCH));
    assert!(health.denied.is_empty());
}
