//! What goes wrong is said, with what to do about it; it never looks like an empty answer.

use fedaudit_core::{Error, ErrorKind};
use fedaudit_testkit::canvas::{Extra, Limits, Options};
use serde_json::{Value, json};

use crate::bench::{TOKEN, bench};

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
    }

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
async fn links_that_lead_away_or_round() {
    let away = bench(Options::default(), json!({})).await;
    let trap = fedaudit_testkit::RequestLog::default();
    let trap_options = Options { token: TOKEN.to_owned(), log: trap.clone(), ..Options::default() };
    let elsewhere = away.second(trap_options).await;
    for base in [elsewhere.origin.clone(), "http://127.0.0.1:1".to_owned()] {
        let error = failure(Options { link_base: Some(base), ..Options::default() }, json!({})).await;
        assert_eq!(error.kind(), ErrorKind::Malformed);
    }
    assert!(trap.take().is_empty(), "the token went to another origin");

    let error = failure(Options { endless: true, ..Options::default() }, json!({})).await;
    assert_eq!(error.kind(), ErrorKind::Malformed);
}

#[tokio::test]
async fn a_spent_budget_is_waited_for() {
    for throttle_status in [403, 429] {
        // The third request finds the bucket full, and a tenth of a second later it has drained.
        let limits = Limits { high_water: 600.0, maximum: 800.0, outflow: 3000.0, up_front: 50.0, extra_cost: 300.0 };
        let bench = bench(Options { limits, throttle_status, ..Options::default() }, json!({})).await;
        let reading = bench.read(bench.request()).await.unwrap();
        assert_eq!(reading.rows(), bench.world.canvas.events.len());
        assert!(bench.cx.meter.read().throttled > 0);
    }
    let limits = Limits { outflow: 0.0, extra_cost: 700.0, ..Limits::default() };
    assert_eq!(failure(Options { limits, ..Options::default() }, json!({})).await.kind(), ErrorKind::RateLimited);
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
