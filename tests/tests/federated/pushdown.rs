//! What a question costs the products, by their own log of requests: hardly more records than match, and nothing at all
//! where nothing is asked.

use std::collections::BTreeMap;

use fedaudit_core::{EndReason, Time, Window};
use fedaudit_testkit::{LogEntry, Settings};

use crate::world::{Lab, TO, ask, small};

/// Records by product. What a login or a look into a directory brings is no reading of the log.
fn records(requests: &[LogEntry]) -> BTreeMap<&'static str, u64> {
    let mut sums = BTreeMap::new();
    for request in
        requests.iter().filter(|request| request.product != "canvas" || request.target.contains("/api/v1/audit/"))
    {
        *sums.entry(request.product).or_default() += request.records;
    }
    sums
}

/// Sessions of the gateway that began a day before the window may end inside it.
const LOOK_BACK: i64 = 24 * 3_600_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn hardly_more_is_read_than_matches() {
    let mut lab = Lab::start(Settings { events: 60_000, people: 6, ..Settings::new(31, TO) }).await;
    // Most of the numbers of Canvas come from its own log.
    let (user_uid, _) = most(lab.demo.world.canvas.events.iter().map(|event| event.user_id.to_string()));
    let (login_id, _) = most(lab.demo.world.canvas.events.iter().map(|event| event.login_id.to_string()));
    lab.table("sps-1").insert("user_forms".to_owned(), toml::Value::Array(vec!["{}".into()]));
    let engine = lab.engine();
    let from = TO - 9 * LOOK_BACK;
    let whole = lab.window();
    let part = Window::new(Time::from_micros(from), Time::from_micros(from + 6 * LOOK_BACK));
    let mut wrong = Vec::new();
    for (window, condition) in [
        (part, "product = 'truenas'".to_owned()),
        (part, "product = 'vsphere'".to_owned()),
        (part, "product = 'canvas'".to_owned()),
        (whole, "product = 'truenas'".to_owned()),
        (whole, "source IN ('vc-1', 'lms')".to_owned()),
        (whole, "stream = 'audit.SMB' AND user_name = 'ana'".to_owned()),
        (whole, "stream = 'audit.MIDDLEWARE' AND user_name = 'ana'".to_owned()),
        (whole, "product = 'truenas' AND stream <> 'audit.SYSTEM' AND user_name IN ('ana', 'ben')".to_owned()),
        (whole, "product = 'vsphere' AND user_name = 'ana'".to_owned()),
        (part, "product = 'vsphere' AND user_name IN ('ana', 'ben')".to_owned()),
        (whole, "product = 'vsphere' AND action = 'auth.login'".to_owned()),
        (whole, "product = 'vsphere' AND action IN ('auth.login', 'auth.logout')".to_owned()),
        (whole, "product = 'truenas' AND action = 'auth.login'".to_owned()),
        (whole, "stream = 'audit.SMB' AND action IN ('share.connect', 'share.disconnect')".to_owned()),
        (whole, "stream = 'audit.SMB' AND outcome = 'success'".to_owned()),
        (whole, "product = 'canvas' AND user_uid = '{user}'".replace("{user}", &user_uid)),
        (whole, "product = 'canvas' AND account_id = '{login}'".replace("{login}", &login_id)),
    ] {
        let sql = format!("SELECT count(*) FROM events WHERE {condition}");
        lab.requests();
        let taken = ask(&engine, window, &sql).await.unwrap().whole(&sql);
        let matches = taken.number();
        let read: u64 = records(&lab.requests()).values().sum();
        eprintln!("{matches:6} match, {read:6} read: {condition}");
        if matches < 1000 {
            wrong.push(format!("{condition}: only {matches} match: nothing is shown"));
        } else if read as f64 > matches as f64 * 1.1 {
            wrong.push(format!("{condition}: {read} read for {matches} that match: {:#?}", taken.receipt.streams));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The gateway has no upper bound on the time of start: reading stops by itself, within the page that passes the window.
const PAGE: f64 = 500.0;

/// A record of the gateway is a whole session: what began up to a day before the window is read, too, and said so.
#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_is_read_for_its_look_back_and_no_further() {
    let lab = Lab::start(Settings { events: 60_000, people: 6, ..Settings::new(32, TO) }).await;
    let (from, to) = (TO - 9 * LOOK_BACK, TO - 2 * LOOK_BACK);
    let window = Window::new(Time::from_micros(from), Time::from_micros(to));
    let engine = lab.engine_of("sps-1");
    let sessions = &lab.demo.world.sps.sessions;
    for (condition, admits) in [("true", None), ("user_name = 'ana'", Some("ana"))] {
        lab.requests();
        let sql = format!("SELECT count(*) FROM events WHERE {condition}");
        let taken = ask(&engine, window, &sql).await.unwrap().whole(&sql);
        let read: u64 = records(&lab.requests()).values().sum();
        let near = |start: i64| (from - LOOK_BACK..to).contains(&start);
        let due = sessions
            .iter()
            .filter(|session| near(session.start) && admits.is_none_or(|user| session.user_name == user));
        let due = due.count() as u64;
        eprintln!("{due} sessions due, {read} read: {condition}");
        assert!(taken.number() >= 1000 && read as f64 <= due as f64 * 1.1 + PAGE, "{condition}: {read} read for {due}");
        assert_eq!(taken.stream("sps-1", "sps.sessions").look_back_s, 24 * 3600);
    }
}

fn most(values: impl Iterator<Item = String>) -> (String, usize) {
    let mut counts = BTreeMap::<String, usize>::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_asked_hears_nothing() {
    let lab = Lab::start(small(33)).await;
    let engine = lab.engine();
    for (condition, asked) in [
        ("source = 'nas-1'", vec!["truenas"]),
        ("product IN ('sps', 'canvas')", vec!["canvas", "sps"]),
        ("product <> 'vsphere' AND source <> 'nas-1'", vec!["canvas", "sps"]),
        ("stream = 'vim.events'", vec!["vsphere"]),
        ("product = 'sps' AND source = 'nas-1'", vec![]),
        ("product = 'truenas' OR product = 'vsphere'", vec!["truenas", "vsphere"]),
        ("source LIKE 'l%'", vec!["canvas"]),
        ("time < timestamp '2020-01-01T00:00:00Z'", vec![]),
        ("action = 'auth.login' AND outcome = 'failure' AND product = 'canvas'", vec![]),
        ("false", vec![]),
    ] {
        lab.requests();
        let taken =
            ask(&engine, lab.window(), &format!("SELECT count(*) FROM events WHERE {condition}")).await.unwrap();
        let mut heard: Vec<&str> = lab.requests().iter().map(|request| request.product).collect();
        heard.sort_unstable();
        heard.dedup();
        assert_eq!(heard, asked, "{condition}");
        let entries = taken.receipt.streams.len() + taken.receipt.not_asked.len();
        assert!(condition == "false" || entries == 7, "{condition}: {entries} streams of events: {:#?}", taken.receipt);
    }
    // One stream of several.
    lab.requests();
    ask(&engine, lab.window(), "SELECT * FROM events WHERE stream = 'audit.SMB'").await.unwrap();
    let queries: Vec<LogEntry> = lab
        .requests()
        .into_iter()
        .filter(|request| request.target.contains("audit.query") || request.method == "audit.query")
        .collect();
    assert!(!queries.is_empty() && queries.iter().all(|query| query.target.contains("SMB")), "{queries:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_rows_cost_a_few_pages() {
    let lab = Lab::start(Settings { events: 30_000, people: 12, ..Settings::new(34, TO) }).await;
    for (source, product) in [("nas-1", "truenas"), ("vc-1", "vsphere"), ("lms", "canvas")] {
        let engine = lab.engine_of(source);
        let all =
            ask(&engine, lab.window(), "SELECT event_key FROM events ORDER BY time DESC, event_key").await.unwrap();
        let total = all.rows() as u64;
        let cost_of_all = records(&lab.requests())[product];
        for sql in [
            "SELECT event_key FROM events ORDER BY time DESC, event_key LIMIT 10",
            "SELECT * FROM events ORDER BY time DESC LIMIT 10",
            "SELECT event_key, user_name FROM events WHERE user_name IS NOT NULL ORDER BY time DESC LIMIT 10",
            "SELECT upper(action) FROM events WHERE action LIKE 'auth%' ORDER BY time DESC LIMIT 10",
        ] {
            lab.requests();
            let few = ask(&engine, lab.window(), sql).await.unwrap().whole(sql);
            let cost = records(&lab.requests())[product];
            eprintln!("{source}: {cost} of {total} read: {sql}");
            assert!(cost * 4 < cost_of_all, "{source}: {cost} records of {total} for ten rows: {sql}");
            let stopped = few.receipt.streams.iter().any(|stream| stream.end == Some(EndReason::EnoughRows));
            assert!(stopped, "{:#?}", few.receipt.streams);
            assert_eq!(few.rows(), 10);
            if !sql.contains('*') && sql.contains(", event_key") {
                assert_eq!(few.lines(), all.lines()[..10], "{sql}");
            }
        }
    }
    // With sources that only read oldest first beside them.
    let engine = lab.engine();
    let all = ask(&engine, lab.window(), "SELECT event_key FROM events ORDER BY time DESC, event_key").await.unwrap();
    lab.requests();
    let few = ask(&engine, lab.window(), "SELECT event_key FROM events ORDER BY time DESC, event_key LIMIT 10")
        .await
        .unwrap();
    assert_eq!(few.lines(), all.lines()[..10]);
    let cost = records(&lab.requests());
    assert!(cost["canvas"] < 1500 && cost["truenas"] < 1500, "{cost:?}");
}
