//! A library made with `export_plugin!`.

use std::time::{Duration, Instant};

use fedaudit_core::{AuditSource, Error, ErrorKind, PageRequest, Result, Window};
use fedaudit_plugin::host::LoadedPlugin;

use crate::support::{NOW, context, example};

fn built(does: &str, rows: usize) -> Result<Box<dyn AuditSource>> {
    let plugin = LoadedPlugin::load(&example("odd"), None)?;
    assert_eq!((plugin.info().kind.as_str(), plugin.info().version.as_str()), ("odd", "1"));
    assert_eq!(plugin.info().streams, ["log"]);
    plugin.build("one", &serde_json::json!({"does": does, "rows": rows}))
}

fn log() -> PageRequest {
    PageRequest::first("log", Window::ALL)
}

fn assert_is(error: &Error, kind: ErrorKind, words: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[tokio::test]
async fn rows_counts_clock_and_answers_come_through() {
    let source = built("its duty", 3).unwrap();
    assert_eq!(source.info().streams[0].name, "log");
    let cx = context(Some(Duration::from_mins(1)));
    let page = source.fetch(&cx, &log()).await.unwrap();
    assert_eq!(page.rows.num_rows(), 3);
    assert_eq!(page.rows.schema(), fedaudit_core::rows::EVENTS.page_schema());
    let meter = cx.meter.read();
    assert_eq!((meter.requests, meter.bytes), (1, 77));
    let health = source.check(&cx).await.unwrap();
    assert_eq!(health.server_time, Some(NOW));
    assert_eq!(health.account.as_deref(), Some("one odd:1"));
    source.close(&cx).await.unwrap();
    let error = source.fetch(&cx, &PageRequest::first("other", Window::ALL)).await.unwrap_err();
    assert_is(&error, ErrorKind::Internal, "other");
}

#[tokio::test]
async fn errors_keep_their_kind_place_and_hint() {
    let error = built("fails in build", 0).unwrap_err();
    assert_is(&error, ErrorKind::Config, "does: no");
    assert_eq!(error.hint_text(), Some("say something else"));
    let plugin = LoadedPlugin::load(&example("odd"), None).unwrap();
    let error = plugin.build("one", &serde_json::json!({"dos": "x"})).unwrap_err();
    assert_is(&error, ErrorKind::Config, "unknown field `dos`");
    let error = built("two streams of a name", 0).unwrap_err();
    assert_is(&error, ErrorKind::Malformed, "two streams are named 'log'");
}

#[tokio::test]
async fn a_panic_is_an_error_of_its_call() {
    assert_is(&built("panics in build", 0).unwrap_err(), ErrorKind::Internal, "panicked: on purpose");
    let cx = context(None);
    let source = built("panics in fetch", 0).unwrap();
    assert_is(&source.fetch(&cx, &log()).await.unwrap_err(), ErrorKind::Internal, "panicked: on purpose");
    // The source is still there.
    source.check(&cx).await.unwrap();
    let source = built("panics in check", 1).unwrap();
    assert_is(&source.check(&cx).await.unwrap_err(), ErrorKind::Internal, "panicked: on purpose");
    assert_eq!(source.fetch(&cx, &log()).await.unwrap().rows.num_rows(), 1);
    let source = built("panics in a task", 0).unwrap();
    assert_is(&source.fetch(&cx, &log()).await.unwrap_err(), ErrorKind::Internal, "panic");
}

#[tokio::test]
async fn who_stops_waiting_stops_the_call() {
    let source = built("hangs and can be cancelled", 0).unwrap();
    let cx = context(None);
    let wanted = log();
    let given_up = tokio::time::timeout(Duration::from_millis(100), source.fetch(&cx, &wanted)).await;
    assert!(given_up.is_err());
    for _ in 0..100 {
        if source.check(&cx).await.unwrap().notes == ["1 dropped"] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the fetch still runs");
}

#[tokio::test]
async fn a_call_that_cannot_be_stopped_is_left_behind() {
    let source = built("hangs", 0).unwrap();
    let began = Instant::now();
    let error = source.fetch(&context(Some(Duration::from_millis(100))), &log()).await.unwrap_err();
    assert_is(&error, ErrorKind::Timeout, "did not come back");
    // It is given a moment to come back, in which it can still be asked something else.
    let error = loop {
        match source.close(&context(None)).await {
            Err(error) => break error,
            Ok(()) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
    };
    assert_is(&error, ErrorKind::Unavailable, "still hangs");
    drop(source);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_one_source_run_at_once() {
    let source = built("its duty", 1000).unwrap();
    let cx = context(None);
    let wanted = log();
    let pages = futures::future::join_all((0..32).map(|_| source.fetch(&cx, &wanted))).await;
    assert!(pages.iter().all(|page| page.as_ref().is_ok_and(|page| page.rows.num_rows() == 1000)));
    assert_eq!(cx.meter.read().requests, 32);
}
