//! The token goes to the configured origin and nowhere else, and answers are believed only as far as they can be.

use std::collections::BTreeSet;
use std::sync::Arc;

use fedaudit_core::{ErrorKind, PageRequest, Predicate};
use fedaudit_testkit::RequestLog;
use fedaudit_testkit::canvas::{Bookmark, Fault, Options};
use serde_json::json;

use crate::bench::{Bench, Reading, TOKEN, bench, bench_of, second, world};

fn ids(reading: &Reading) -> BTreeSet<String> {
    reading.column("record_id").into_iter().flatten().collect()
}

fn world_ids(bench: &Bench) -> BTreeSet<String> {
    bench.world.canvas.events.iter().map(|event| event.id.clone()).collect()
}

#[tokio::test]
async fn links_that_lead_away_or_round() {
    let away = bench(Options::default(), json!({})).await;
    let trap = RequestLog::default();
    let trap_options = || Options { token: TOKEN.to_owned(), log: trap.clone(), ..Options::default() };
    let elsewhere = away.second(trap_options()).await;
    let plain = fedaudit_testkit::serve::serve_plain(
        fedaudit_testkit::canvas::StandIn::new(Arc::clone(&away.world), trap_options()).router(),
    )
    .await
    .unwrap();
    let other_port = elsewhere.origin.clone();
    let hidden_host = format!("https://127.0.0.1:9@{}", other_port.trim_start_matches("https://"));
    let other_host = other_port.replace("127.0.0.1", "localhost");
    for base in [other_port, hidden_host, other_host, plain.origin.clone()] {
        let bench = bench(Options { link_base: Some(base.clone()), ..Options::default() }, json!({})).await;
        let error = bench.read(bench.request()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{base}");
        let list = bench.another(&json!({ "accounts": ["all"] })).unwrap();
        // The list of accounts fits on one page; its links lead away all the same and are not needed.
        assert!(list.check(&bench.cx).await.is_ok());
    }
    // The same host and port over plain HTTP.
    let downgrade = bench(Options::default(), json!({})).await;
    let base = downgrade.server.origin.replace("https://", "http://");
    let fault = Fault::Answer {
        status: 200,
        content_type: "application/json",
        headers: vec![(
            "link",
            format!("<{base}/api/v1/audit/authentication/accounts/1?page=bookmark:x>; rel=\"next\""),
        )],
        body: r#"{"events":[]}"#.to_owned(),
    };
    let world = Arc::clone(&downgrade.world);
    let bench = bench_of(world, Options { faults: vec![(1..=1, fault)], ..Options::default() }, json!({})).await;
    assert_eq!(bench.read(bench.request()).await.unwrap_err().kind(), ErrorKind::Malformed);
    assert!(trap.take().is_empty(), "the token went to another origin");

    let options = Options { endless: true, ..Options::default() };
    let round = bench_of(Arc::clone(&bench.world), options, json!({})).await;
    assert_eq!(round.read(round.request()).await.unwrap_err().kind(), ErrorKind::Malformed);
}

#[tokio::test]
async fn a_damaged_link_is_not_the_end() {
    let next = "<https://c.example/api/v1/audit/authentication/accounts/1?page=bookmark:x>";
    for link in
        [format!("{next}; rel=\"next"), format!("{next}; "), next[..40].to_owned(), format!("{next}é; rel=\"next\"")]
    {
        let headers = vec![("link", link.clone())];
        let body = r#"{"events":[]}"#.to_owned();
        let fault = Fault::Answer { status: 200, content_type: "application/json", headers, body };
        let bench = bench(Options { faults: vec![(1..=1, fault)], ..Options::default() }, json!({})).await;
        let error = bench.read(bench.request()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{link}");
        assert!(error.hint_text().is_some());
    }
}

#[tokio::test]
async fn foreign_links_are_rewritten_only_when_told() {
    let options = Options { link_base: Some("http://lms.internal:3000".to_owned()), ..Options::default() };
    let bench = bench(options, json!({})).await;
    assert_eq!(bench.read(bench.request()).await.unwrap_err().kind(), ErrorKind::Malformed);
    let source = bench.another(&json!({ "rewrite_links": true })).unwrap();
    let reading = crate::bench::read(&*source, &bench.cx, bench.request()).await.unwrap();
    assert_eq!(ids(&reading), world_ids(&bench));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let home = bench(Options::default(), json!({})).await;
    let trap = RequestLog::default();
    let elsewhere = home.second(Options { token: TOKEN.to_owned(), log: trap.clone(), ..Options::default() }).await;
    for status in [301, 302, 307, 308] {
        let location = format!("{}/api/v1/audit/authentication/accounts/1", elsewhere.origin);
        let headers = vec![("location", location)];
        let fault = Fault::Answer { status, content_type: "text/html", headers, body: String::new() };
        let bench = bench(Options { faults: vec![(1..=9, fault)], ..Options::default() }, json!({})).await;
        let error = bench.read(bench.request()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert!(error.to_string().contains("not followed"), "{error}");
    }
    assert!(trap.take().is_empty(), "the token went to another origin");
}

#[tokio::test]
async fn the_token_is_never_in_an_address() {
    let bench = bench(Options { needs_user_agent: true, ..Options::default() }, json!({})).await;
    bench.source.check(&bench.cx).await.unwrap();
    bench.read(PageRequest { page_size: Some(40), ..bench.request() }).await.unwrap();
    let log = bench.log.take();
    assert!(log.len() > 10);
    for entry in log {
        for word in [TOKEN, "access_token", "as_user_id", "?page=", "&page=1", "&page=2"] {
            assert!(!entry.target.contains(word), "{}", entry.target);
        }
        assert_eq!(entry.status, 200, "{}", entry.target);
    }
}

#[tokio::test]
async fn a_merged_list_is_not_trusted() {
    let bench = bench(Options { merged_user_lists: true, ..Options::default() }, json!({})).await;
    let user = bench.world.canvas.events[10].user_id;
    let events = || bench.world.canvas.events.iter().filter(|event| event.user_id == user);
    let predicates = vec![Predicate::any_of("user_uid", [user.to_string()])];
    // Several pages: the list loses rows between them, so that the account is read.
    let request = PageRequest { predicates: predicates.clone(), page_size: Some(10), ..bench.request() };
    let reading = bench.read(request).await.unwrap();
    assert!(events().count() > 10);
    assert_eq!(ids(&reading), world_ids(&bench));
    assert_eq!(reading.rows(), ids(&reading).len(), "an event came twice");
    assert!(reading.notes.iter().any(|note| note.contains("merged")), "{:?}", reading.notes);
    // On one page nothing can be lost.
    let day = events().next().unwrap().created_at;
    let from = fedaudit_core::Time::from_seconds(day).unwrap();
    let window = fedaudit_core::Window { from: Some(from), to: None };
    bench.log.take();
    let reading = bench.read(PageRequest { predicates, window, ..bench.request() }).await.unwrap();
    assert_eq!(ids(&reading).len(), events().filter(|event| event.created_at >= day).count());
    assert!(bench.log.take().iter().all(|entry| !entry.target.contains("/audit/authentication/accounts")));
}

#[tokio::test]
async fn a_crowded_second_is_read_user_by_user() {
    let mut world = (*world()).clone();
    let events = &mut world.canvas.events;
    let at = events[200].created_at;
    for event in &mut events[200..350] {
        event.created_at = at;
    }
    let world = Arc::new(world);
    let options = Options { bookmark: Bookmark::TimeOnly, ..Options::default() };
    let bench = bench_of(Arc::clone(&world), options.clone(), json!({})).await;
    let reading = bench.read(PageRequest { page_size: Some(7), ..bench.request() }).await.unwrap();
    assert_eq!(ids(&reading), world_ids(&bench));
    assert_eq!(reading.rows(), ids(&reading).len(), "an event came twice");
    assert!(reading.notes.iter().any(|note| note.contains("user by user")), "{:?}", reading.notes);
    // Nothing tells that this was all.
    assert!(!reading.gaps.is_empty() && reading.gaps.iter().all(|gap| *gap == second(at)), "{:?}", reading.gaps);
    // Two users are deleted: what they did in that second cannot be had, and that is said.
    let deleted_users = vec![world.canvas.users[0].id, world.canvas.users[1].id];
    let bench = bench_of(world, Options { deleted_users, ..options }, json!({})).await;
    let reading = bench.read(PageRequest { page_size: Some(7), ..bench.request() }).await.unwrap();
    assert!(ids(&reading).is_subset(&world_ids(&bench)));
    assert!(reading.notes.iter().any(|note| note.contains("deleted users may be missing")), "{:?}", reading.notes);
    assert!(!reading.gaps.is_empty());
}

#[tokio::test]
async fn a_second_of_one_user_that_no_page_holds_is_a_gap() {
    let mut world = (*world()).clone();
    let events = &mut world.canvas.events;
    let (at, user) = (events[200].created_at, events[200].user_id);
    for event in &mut events[200..350] {
        (event.created_at, event.user_id) = (at, user);
    }
    let options = Options { bookmark: Bookmark::TimeOnly, ..Options::default() };
    let bench = bench_of(Arc::new(world), options, json!({})).await;
    let predicates = vec![Predicate::any_of("user_uid", [user.to_string()])];
    for request in [bench.request(), PageRequest { predicates, ..bench.request() }] {
        let reading = bench.read(PageRequest { page_size: Some(60), ..request }).await.unwrap();
        let note = format!("of user {user} at {}", second(at).from.unwrap());
        assert!(reading.notes.iter().any(|said| said.contains(&note)), "{:?}", reading.notes);
        assert!(!reading.gaps.is_empty() && reading.gaps.iter().all(|gap| *gap == second(at)), "{:?}", reading.gaps);
    }
}

#[tokio::test]
async fn rows_that_arrive_meanwhile_shift_nothing() {
    let bench = bench(Options { arrivals: 25, ..Options::default() }, json!({})).await;
    let reading = bench.read(PageRequest { page_size: Some(10), ..bench.request() }).await.unwrap();
    assert_eq!(reading.rows(), bench.world.canvas.events.len() - 25);
    assert_eq!(ids(&reading).len(), reading.rows());
}

#[tokio::test]
async fn a_smaller_cap_of_pages_changes_nothing() {
    let bench = bench(Options { page_cap: 50, ..Options::default() }, json!({})).await;
    let reading = bench.read(bench.request()).await.unwrap();
    assert_eq!(ids(&reading), world_ids(&bench));
    assert_eq!(reading.pages, bench.world.canvas.events.len().div_ceil(50));
}

#[tokio::test]
async fn a_log_is_read_where_its_account_is_not() {
    let bench = bench(Options { may_view_account: false, ..Options::default() }, json!({})).await;
    let reading = bench.read(bench.request()).await.unwrap();
    assert_eq!(ids(&reading), world_ids(&bench));
    // Its number is not known, so that a question for any tenant has to be asked.
    let predicates = vec![Predicate::any_of("tenant", ["424242"])];
    let reading = bench.read(PageRequest { predicates, ..bench.request() }).await.unwrap();
    assert_eq!(reading.rows(), bench.world.canvas.events.len());
}

#[tokio::test]
async fn no_account_is_no_answer() {
    let bench = bench(Options { may_view: false, ..Options::default() }, json!({ "accounts": ["all"] })).await;
    let error = bench.read(bench.request()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.hint_text().is_some());
}
