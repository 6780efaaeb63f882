//! Products that are down, refuse, or answer nonsense: the others still answer, and the receipt says what is missing. Nothing
//! that was denied or failed ever looks like an empty answer.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use fedaudit_core::{ErrorKind, Status};
use fedaudit_testkit::{Authority, ServerHandle, canvas, serve, sps, truenas, vsphere};

use crate::world::{Lab, Taken, ask, differences, small};

const ALL: &str = "SELECT source, event_key FROM events";

/// An address where nobody listens.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("https://{}", listener.local_addr().unwrap())
}

/// Puts another stand-in in the place of a source.
async fn replace(lab: &mut Lab, name: &str, router: axum::Router, secret: (&str, &str)) -> ServerHandle {
    let authority = Authority::new().unwrap();
    let server = serve(router, &authority).await.unwrap();
    let ca = lab.file(&format!("{name}.other-ca.pem"), authority.ca_pem());
    let file = lab.file(&format!("{name}.other-secret"), secret.1);
    let table = lab.table(name);
    table.insert("url".to_owned(), server.origin.clone().into());
    table.insert(secret.0.to_owned(), format!("file:{}", file.display()).into());
    table.insert("tls".to_owned(), trust(&ca));
    server
}

fn trust(ca: &Path) -> toml::Value {
    toml::Table::from_iter([("ca_file".to_owned(), ca.display().to_string().into())]).into()
}

async fn other_canvas(lab: &mut Lab, options: canvas::Options) -> ServerHandle {
    let router = canvas::StandIn::new(Arc::clone(&lab.demo.world), options.clone()).router();
    replace(lab, "lms", router, ("token", &options.token)).await
}

async fn other_truenas(lab: &mut Lab, options: truenas::Options) -> ServerHandle {
    let options = truenas::Options { api_key: Some("1-other".to_owned()), ..options };
    let router = truenas::StandIn::new(Arc::clone(&lab.demo.world), options).router();
    replace(lab, "nas-1", router, ("api_key", "1-other")).await
}

async fn other_vsphere(lab: &mut Lab, options: vsphere::Options) -> ServerHandle {
    let router = vsphere::StandIn::new(Arc::clone(&lab.demo.world), options.clone()).router();
    replace(lab, "vc-1", router, ("password", &options.password)).await
}

async fn other_sps(lab: &mut Lab, options: sps::Options) -> ServerHandle {
    let router = sps::StandIn::new(Arc::clone(&lab.demo.world), options.clone()).router();
    replace(lab, "sps-1", router, ("password", &options.password)).await
}

/// All streams of a source have this status, with an error of this kind that names the source and says what to do.
fn assert_out(taken: &Taken, source: &str, status: Status, kinds: &[ErrorKind], hinted: bool) {
    let streams: Vec<_> = taken.receipt.streams.iter().filter(|entry| entry.source == source).collect();
    assert!(!streams.is_empty(), "{source}: {:#?}", taken.receipt);
    for stream in streams {
        assert_eq!(stream.status, status, "{stream:#?}");
        let error = stream.error.as_ref().unwrap_or_else(|| panic!("no error in {stream:#?}"));
        assert!(kinds.contains(&error.error_kind), "{error:#?}");
        assert!(error.error_text.starts_with(&format!("{source}/{}", stream.stream)), "{error:#?}");
        assert!(!hinted || error.hint.as_ref().is_some_and(|hint| hint.len() > 10), "{error:#?}");
        assert_eq!(stream.rows, 0);
        assert_eq!((stream.covered.as_slice(), stream.missing.as_slice()), ([].as_slice(), [stream.asked].as_slice()));
    }
    assert!(!taken.receipt.complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_down_and_the_fourth_answers() {
    let mut lab = Lab::start(small(41)).await;
    let before = ask(&lab.engine(), lab.window(), ALL).await.unwrap().whole(ALL);
    let sessions_before = ask(&lab.engine(), lab.window(), "SELECT source, session_key FROM sessions").await.unwrap();

    lab.table("nas-1").insert("url".to_owned(), nowhere().into());
    let wrong = lab.file("wrong.password", "not the password");
    lab.table("sps-1").insert("password".to_owned(), format!("file:{}", wrong.display()).into());
    let _canvas = other_canvas(&mut lab, canvas::Options { may_view: false, ..canvas::Options::default() }).await;

    let engine = lab.engine();
    let after = ask(&engine, lab.window(), ALL).await.unwrap();
    assert_out(&after, "nas-1", Status::Failed, &[ErrorKind::Unavailable], true);
    assert_out(&after, "sps-1", Status::Denied, &[ErrorKind::Unauthenticated], false);
    assert_out(&after, "lms", Status::Denied, &[ErrorKind::Denied], true);
    assert_eq!(after.statuses("vc-1"), [Status::Complete]);
    let kept: Vec<String> = before.lines().into_iter().filter(|line| line.starts_with("vc-1 ")).collect();
    assert!(kept.len() > 100);
    assert!(differences(&kept, &after.lines()).is_empty());

    let sessions = ask(&engine, lab.window(), "SELECT source, session_key FROM sessions").await.unwrap();
    assert_out(&sessions, "nas-1", Status::Failed, &[ErrorKind::Unavailable], true);
    assert_out(&sessions, "sps-1", Status::Denied, &[ErrorKind::Unauthenticated], false);
    assert_out(&sessions, "lms", Status::Denied, &[ErrorKind::Denied], true);
    let kept: Vec<String> = sessions_before.lines().into_iter().filter(|line| line.starts_with("vc-1 ")).collect();
    assert!(kept.len() > 10);
    assert!(differences(&kept, &sessions.lines()).is_empty());

    // A question about what is down only, and one that never asks it.
    let of_down = ask(&engine, lab.window(), "SELECT count(*) FROM events WHERE product = 'canvas'").await.unwrap();
    assert_eq!(of_down.number(), 0);
    assert_out(&of_down, "lms", Status::Denied, &[ErrorKind::Denied], true);
    ask(&engine, lab.window(), "SELECT count(*) FROM events WHERE product = 'vsphere'")
        .await
        .unwrap()
        .whole("vsphere only");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_four_down_is_an_answer_too() {
    let mut lab = Lab::start(small(42)).await;
    for name in ["nas-1", "vc-1", "sps-1", "lms"] {
        let url = nowhere();
        lab.table(name).insert("url".to_owned(), url.into());
    }
    let engine = lab.engine();
    for sql in [
        "SELECT count(*) FROM events",
        "SELECT count(*) FROM sessions",
        "SELECT count(*) FROM (SELECT * FROM events ORDER BY time DESC LIMIT 5)",
    ] {
        let taken = ask(&engine, lab.window(), sql).await.unwrap();
        assert_eq!(taken.number(), 0, "{sql}");
        for name in ["nas-1", "vc-1", "sps-1", "lms"] {
            assert_out(&taken, name, Status::Failed, &[ErrorKind::Unavailable], true);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let mut lab = Lab::start(small(43)).await;
    for table in &mut lab.tables {
        table.remove("tls");
    }
    let taken = ask(&lab.engine(), lab.window(), ALL).await.unwrap();
    assert!(taken.lines().is_empty());
    for name in ["nas-1", "vc-1", "sps-1", "lms"] {
        assert_out(&taken, name, Status::Failed, &[ErrorKind::Config], true);
        for stream in taken.receipt.streams.iter().filter(|stream| stream.source == name) {
            let error = stream.error.as_ref().unwrap();
            assert!(error.error_text.contains("certificate"), "{error:?}");
            assert!(error.hint.as_ref().unwrap().contains("ca_file"), "{error:?}");
        }
    }
    assert!(lab.requests().is_empty(), "no login travels to a server that is not trusted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_page_in_html_is_no_data() {
    let mut lab = Lab::start(small(44)).await;
    let _servers = [
        other_canvas(&mut lab, canvas::Options { html: true, ..canvas::Options::default() }).await,
        other_truenas(&mut lab, truenas::Options { html: true, ..truenas::Options::default() }).await,
        other_vsphere(&mut lab, vsphere::Options { html: true, ..vsphere::Options::default() }).await,
    ];
    let taken = ask(&lab.engine(), lab.window(), ALL).await.unwrap();
    for name in ["lms", "nas-1", "vc-1"] {
        assert_out(&taken, name, Status::Failed, &[ErrorKind::Malformed, ErrorKind::Unavailable], true);
    }
    assert_eq!(taken.statuses("sps-1"), [Status::Complete]);
    assert!(taken.lines().iter().all(|line| line.starts_with("sps-1 ")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_denied_and_never_empty() {
    let mut lab = Lab::start(small(45)).await;
    let roles = truenas::Roles { audit_read: false, sessions_read: true, full_admin: false };
    let _servers = [
        other_truenas(&mut lab, truenas::Options { roles, ..truenas::Options::default() }).await,
        other_sps(&mut lab, sps::Options { may_search: false, ..sps::Options::default() }).await,
        other_canvas(
            &mut lab,
            canvas::Options { may_view: false, permission_status: 401, ..canvas::Options::default() },
        )
        .await,
        other_vsphere(&mut lab, vsphere::Options { may_list_sessions: false, ..vsphere::Options::default() }).await,
    ];
    let engine = lab.engine();
    let events = ask(&engine, lab.window(), ALL).await.unwrap();
    for name in ["nas-1", "sps-1", "lms"] {
        assert_out(&events, name, Status::Denied, &[ErrorKind::Denied, ErrorKind::Unauthenticated], false);
    }
    assert_eq!(events.statuses("vc-1"), [Status::Complete]);
    let sessions = ask(&engine, lab.window(), "SELECT source, session_key, derived FROM sessions").await.unwrap();
    assert_eq!(sessions.stream("vc-1", "sessions").status, Status::Denied);
    assert_eq!(sessions.stream("vc-1", "vim.events").status, Status::Complete);
    assert_eq!(sessions.stream("nas-1", "auth.sessions").status, Status::Complete);
    assert_eq!(sessions.stream("nas-1", "audit.SMB").status, Status::Denied);
    assert!(!sessions.receipt.complete);
    // What the readable half tells is still there.
    assert!(sessions.lines().iter().any(|line| line.starts_with("vc-1 ")));
    assert!(sessions.lines().iter().any(|line| line.starts_with("nas-1 ")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_product_cannot_show_is_blind_and_not_zero() {
    let lab = Lab::start(small(46)).await;
    let engine = lab.engine();
    let sql = "SELECT count(*) FROM events WHERE action = 'auth.login' AND outcome = 'failure'";
    let taken = ask(&engine, lab.window(), sql).await.unwrap();
    assert!(taken.number() > 10);
    assert_eq!(taken.statuses("lms"), [Status::Blind]);
    assert!(!taken.receipt.complete);
    assert!(taken.stream("lms", "audit.authentication").blind_spots.iter().any(|spot| spot.contains("failed logins")));
    assert!(
        !lab.requests().iter().any(|request| request.product == "canvas"),
        "nothing is asked that cannot be answered"
    );
    // However it is asked. What the product could not name itself (`unknown`) is still read, but never called empty.
    for (condition, asked) in [
        ("lower(outcome) = 'failure'", false),
        ("outcome LIKE 'fail%' AND user_name IS NOT NULL", false),
        ("outcome NOT IN ('success', 'unknown')", false),
        ("NOT (outcome = 'success' OR outcome = 'unknown')", false),
        ("outcome <> 'success'", true),
        ("outcome IN ('failure', 'unknown')", true),
    ] {
        let taken =
            ask(&engine, lab.window(), &format!("SELECT count(*) FROM events WHERE {condition}")).await.unwrap();
        assert_eq!(taken.statuses("lms"), [Status::Blind], "{condition}");
        assert_eq!(lab.requests().iter().any(|request| request.product == "canvas"), asked, "{condition}");
    }
    // Sessions are made of logins that succeeded; only a product that lists refused ones itself can show them.
    for condition in ["outcome = 'failure'", "outcome <> 'success'"] {
        let sql = format!("SELECT count(*) FROM sessions WHERE {condition}");
        let taken = ask(&engine, lab.window(), &sql).await.unwrap();
        for source in ["nas-1", "vc-1", "lms"] {
            assert!(taken.statuses(source).iter().all(|status| *status == Status::Blind), "{condition}: {source}");
        }
        assert_eq!(taken.statuses("sps-1"), [Status::Complete]);
        assert!(taken.number() > 0 && !taken.receipt.complete);
    }
    // A word that no row can hold is a mistake, not an empty answer.
    for (table, condition, word) in
        [("events", "outcome = 'failed'", "failure"), ("sessions", "state IN ('open', 'live')", "active")]
    {
        let error = ask(&engine, lab.window(), &format!("SELECT * FROM {table} WHERE {condition}")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.hint_text().unwrap().contains(word), "{error:?}");
    }
    // A wider question is not blind, and the spot is listed all the same.
    let wider = ask(&engine, lab.window(), "SELECT count(*) FROM events WHERE action = 'auth.login'").await.unwrap();
    assert_eq!(wider.statuses("lms"), [Status::Complete]);
    assert!(!wider.stream("lms", "audit.authentication").blind_spots.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_expired_and_provisional_are_said() {
    let lab = Lab::start(small(47)).await;
    let engine = lab.engine();
    let day = std::time::Duration::from_hours(24);
    let (from, to) = (lab.window().from.unwrap(), lab.window().to.unwrap());
    let nothing = ask(&engine, lab.window(), "SELECT * FROM events WHERE user_name = 'nobody-at-all'").await.unwrap();
    assert_eq!(nothing.rows(), 0);
    for stream in &nothing.receipt.streams {
        // A product that cannot filter by account has rows of others.
        assert!(matches!(stream.status, Status::Empty | Status::Complete), "{stream:#?}");
    }
    assert_eq!(nothing.statuses("sps-1"), [Status::Empty]);
    assert!(nothing.receipt.complete);

    let window = fedaudit_core::Window::new(from.minus(day * 40), to);
    let expired = ask(&engine, window, ALL).await.unwrap();
    assert_eq!(expired.statuses("vc-1"), [Status::Expired], "event.maxAge is 30 days");
    assert!(!expired.receipt.complete);
    assert!(expired.stream("vc-1", "vim.events").retention_floor.is_some_and(|floor| floor > window.from.unwrap()));

    let tail = ask(&engine, fedaudit_core::Window { from: Some(from), to: None }, ALL).await.unwrap().whole("open end");
    assert!(tail.stream("lms", "audit.authentication").provisional_after.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_without_a_lower_bound_is_refused() {
    let lab = Lab::start(small(48)).await;
    let error = ask(&lab.engine(), fedaudit_core::Window::ALL, "SELECT count(*) FROM events").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.hint_text().unwrap().contains("--from"), "{error:?}");
    assert!(lab.requests().is_empty());
    for sql in [
        "SELEC",
        "SELECT nothing FROM events",
        "SELECT * FROM nowhere",
        "DROP TABLE events",
        "SET a = 1",
        "CREATE TABLE t AS SELECT 1",
    ] {
        let error = ask(&lab.engine(), lab.window(), sql).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{sql}: {error:?}");
        assert!(error.hint_text().is_some(), "{sql}");
    }
}
