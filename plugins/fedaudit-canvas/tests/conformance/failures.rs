//! What goes wrong is said, with what to do about it; it never looks like an empty answer.

use std::time::Duration;

use fedaudit_core::{Error, ErrorKind};
use fedaudit_testkit::canvas::{Extra, Fault, OAuthClient, Options};
use serde_json::{Value, json};

use crate::bench::bench;

async fn failure(options: Options, settings: Value) -> Error {
    let bench = bench(options, settings).await;
    bench.read(bench.request()).await.unwrap_err()
}

#[tokio::test]
async fn credentials_and_rights() {
    let error = failure(Options::default(), json!({ "token": "7~another" })).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.hint_text().is_some() && !format!("{error:?}").contains("7~another"));

    for permission_status in [401, 403] {
        let options = || Options { may_view: false, permission_status, ..Options::default() };
        let error = failure(options(), json!({})).await;
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.hint_text().unwrap().contains("view_statistics"));
        let bench = bench(options(), json!({})).await;
        let health = bench.source.check(&bench.cx).await.unwrap();
        assert_eq!(health.denied.len(), 1);
        // Asked once: a right that is missing does not appear by asking again.
        bench.log.take();
        bench.read(bench.request()).await.unwrap_err();
        assert_eq!(bench.log.take().iter().filter(|entry| entry.target.contains("/audit/")).count(), 1);
    }

    // A scope that is missing: 401 without a challenge.
    let scope = Fault::json(401, r#"{"errors":[{"message":"Insufficient scopes on access token."}]}"#);
    let error = failure(Options { faults: vec![(1..=u64::MAX, scope)], ..Options::default() }, json!({})).await;
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.hint_text().unwrap().contains("scopes"));

    let oauth =
        json!({ "token": null, "oauth": { "client_id": "1", "client_secret": "s3cret", "refresh_token": "r3fresh" } });
    let error = failure(Options::default(), oauth).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(!format!("{error:?}").contains("s3cret") && !format!("{error:?}").contains("r3fresh"));
}

#[tokio::test]
async fn what_is_no_canvas() {
    let error = failure(Options { html: true, ..Options::default() }, json!({})).await;
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.hint_text().is_some());

    let bench = bench(Options::default(), json!({})).await;
    let gone = bench.another(&json!({ "url": "https://127.0.0.1:9" })).unwrap();
    let error = gone.check(&bench.cx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(bench.another(&json!({ "url": "http://lms.example" })).is_err());
    assert!(bench.another(&json!({ "token": null })).is_err());
    let sub_account = bench.another(&json!({ "accounts": ["990100"] })).unwrap();
    let error = sub_account.fetch(&bench.cx, &bench.request()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let unknown = bench.another(&json!({ "accounts": ["424242"] })).unwrap();
    assert_eq!(unknown.fetch(&bench.cx, &bench.request()).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_kept_and_the_page_goes_on() {
    let world = crate::bench::world();
    let at = world.canvas.events[50].created_at;
    let broken = [
        r#"{"id":"b1","created_at":"yesterday","event_type":"login","links":{}}"#,
        r#"{"id":"b2","created_at":"2026-03-02T08:15:30Z","links":{}}"#,
        r#"{"id":[1],"created_at":"2026-03-02T08:15:30Z","event_type":"login"}"#,
        "17",
    ];
    let extra = broken.map(|json| Extra { created_at: at, json: json.to_owned() }).into();
    let bench = bench(Options { extra, ..Options::default() }, json!({})).await;
    let reading = bench.read(bench.request()).await.unwrap();
    assert_eq!(reading.rows(), bench.world.canvas.events.len());
    assert_eq!(reading.rejected.iter().map(|rejected| rejected.raw.as_str()).collect::<Vec<_>>(), broken);
    assert!(reading.rejected.iter().all(|rejected| !rejected.reason.is_empty()));
    assert_eq!(reading.records as usize, bench.world.canvas.events.len() + broken.len());
}

#[tokio::test]
async fn a_translated_refusal_is_understood() {
    let body = r#"{"status":"nicht autorisiert","errors":[{"message":"Benutzer darf das nicht"}]}"#;
    for (headers, kind) in [
        (vec![], ErrorKind::Denied),
        (vec![("www-authenticate", r#"Bearer realm="canvas-lms""#.to_owned())], ErrorKind::Unauthenticated),
    ] {
        let content_type = "application/json";
        let fault = Fault::Answer { status: 401, content_type, headers, body: body.to_owned() };
        let error = failure(Options { faults: vec![(1..=9, fault)], ..Options::default() }, json!({})).await;
        assert_eq!(error.kind(), kind);
    }
}

#[tokio::test]
async fn refusals_in_every_shape() {
    for (status, body, kind) in [
        (400, r#"{"error":"end before start"}"#, ErrorKind::Malformed),
        (401, r#"{"errors":"Invalid as_user_id"}"#, ErrorKind::Denied),
        (403, r#"{"errors":{"account":[{"message":"no"}]}}"#, ErrorKind::Denied),
        (404, r#"{"message":"Auditors are not configured"}"#, ErrorKind::NotFound),
        (404, r#"{"errors":[{"message":"gone"}],"error_report_id":7}"#, ErrorKind::NotFound),
        (422, "", ErrorKind::Malformed),
    ] {
        let faults = vec![(1..=u64::MAX, Fault::json(status, body))];
        let error = failure(Options { faults, ..Options::default() }, json!({})).await;
        assert_eq!(error.kind(), kind, "{status} {body}");
        let text = error.to_string();
        assert!(text.contains(&format!("HTTP {status}")) && text.contains("/api/v1/audit/"), "{text}");
        if matches!(status, 401..=404) {
            assert!(text.contains(body) && text.contains("(request "), "{text}");
        }
    }
}

#[tokio::test]
async fn blocked_upstream_is_said() {
    let faults = vec![(1..=u64::MAX, Fault::proxy_page(403))];
    let bench = bench(Options { faults, ..Options::default() }, json!({})).await;
    let error = bench.read(bench.request()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.hint_text().unwrap().contains("in front of it"), "{error:?}");
    assert_eq!(bench.log.take().iter().filter(|entry| entry.status == 403).count(), 1);
}

#[tokio::test]
async fn faults_on_the_way_are_survived() {
    let faults = vec![
        (1..=1, Fault::proxy_page(502)),
        (3..=3, Fault::json(500, r#"{"errors":[{"message":"An error occurred."}],"error_report_id":1234}"#)),
        (5..=5, Fault::Reset),
        (7..=7, Fault::Silence(Duration::from_secs(4))),
        (9..=9, Fault::proxy_page(504)),
        (11..=11, Fault::Throttle),
    ];
    let options = Options { faults, retry_after: Some(1), page_cap: 50, ..Options::default() };
    let bench = bench(options, json!({})).await.patient_for(Duration::from_secs(2));
    let reading = bench.read(bench.request()).await.unwrap();
    assert_eq!(reading.rows(), bench.world.canvas.events.len());
    assert!(reading.rejected.is_empty());
    let meter = bench.cx.meter.read();
    assert_eq!((meter.retries, meter.throttled), (6, 1));
}

#[tokio::test]
async fn faults_that_stay_are_errors() {
    let stays = async |fault: Fault, kind: ErrorKind| {
        // From the second page on, so that rows came before.
        let faults = vec![(2..=u64::MAX, fault.clone())];
        let bench =
            bench(Options { faults, ..Options::default() }, json!({})).await.patient_for(Duration::from_secs(1));
        let error = bench.read(bench.request()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{fault:?}: {error:?}");
    };
    tokio::join!(
        stays(Fault::proxy_page(502), ErrorKind::Unavailable),
        stays(Fault::proxy_page(503), ErrorKind::Unavailable),
        stays(Fault::json(500, "{}"), ErrorKind::Unavailable),
        stays(Fault::Reset, ErrorKind::Unavailable),
        stays(Fault::Truncated, ErrorKind::Malformed),
        stays(Fault::Silence(Duration::from_secs(9)), ErrorKind::Timeout),
        stays(Fault::json(200, r#"{"errors":"none"}"#), ErrorKind::Malformed),
        stays(Fault::json(200, "[]"), ErrorKind::Malformed),
    );
}

#[tokio::test]
async fn a_refused_refresh_is_said() {
    let client = OAuthClient {
        client_id: "10000000000001".to_owned(),
        client_secret: "not-a-secret-1".to_owned(),
        refresh_token: "not-a-secret-2".to_owned(),
    };
    let settings = |secret: &str, refresh: &str| json!({ "token": null, "oauth": { "client_id": client.client_id, "client_secret": secret, "refresh_token": refresh } });
    // The access token lapses on the way and the second grant is refused.
    let options =
        Options { oauth: Some(client.clone()), token_requests: Some(4), refreshes: Some(1), ..Options::default() };
    let mut errors = vec![("invalid_grant", failure(options, settings("not-a-secret-1", "not-a-secret-2")).await)];
    for (word, secret, refresh) in [
        ("invalid_client", "wrong-word", "not-a-secret-2"),
        ("refresh_token not found", "not-a-secret-1", "wrong-word"),
    ] {
        let options = Options { oauth: Some(client.clone()), ..Options::default() };
        errors.push((word, failure(options, settings(secret, refresh)).await));
    }
    for (word, error) in errors {
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        let shown = format!("{error:?}");
        assert!(shown.contains(word) && shown.contains("POST /login/oauth2/token"), "{shown}");
        assert!(error.hint_text().unwrap().contains("refresh token"), "{shown}");
        assert!(!shown.contains("not-a-secret") && !shown.contains("wrong-word"), "{shown}");
    }
}
