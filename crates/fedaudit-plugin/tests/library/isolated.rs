//! The same libraries in processes of their own: whatever they do, it is one source's outcome, and the next question is
//! answered again.

use std::path::Path;
use std::time::{Duration, Instant};

use fedaudit_core::{AuditSource, ErrorKind, PageRequest, Window};
use fedaudit_plugin::host::LoadedPlugin;
use serde_json::json;

use crate::support::{NOW, compiled, context, example, isolated};

fn odd(does: &str) -> Box<dyn AuditSource> {
    isolated(&example("odd"), &json!({"does": does, "rows": 5})).unwrap()
}

fn log() -> PageRequest {
    PageRequest::first("log", Window::ALL)
}

#[tokio::test]
async fn pages_are_those_of_the_library_loaded_here() {
    let settings = json!({"does": "its duty", "rows": 2000});
    let here = LoadedPlugin::load(&example("odd"), None).unwrap().build("one", &settings).unwrap();
    let there = isolated(&example("odd"), &settings).unwrap();
    assert_eq!(format!("{:?}", here.info()), format!("{:?}", there.info()));
    let cx = context(Some(Duration::from_mins(1)));
    let (one, other) = (here.fetch(&cx, &log()).await.unwrap(), there.fetch(&cx, &log()).await.unwrap());
    assert_eq!(one.rows, other.rows);
    assert_eq!((one.next, one.observed), (other.next, other.observed));
    assert_eq!((cx.meter.read().requests, cx.meter.read().bytes), (2, 2 * 77));
    let health = there.check(&cx).await.unwrap();
    assert_eq!(health.account.as_deref(), Some("one odd:1"));
    let passed = health.server_time.unwrap().micros() - NOW.micros();
    assert!((0..60_000_000).contains(&passed), "the child's clock is {passed} µs ahead");
    there.close(&cx).await.unwrap();
    there.fetch(&cx, &log()).await.unwrap();
}

#[tokio::test]
async fn errors_of_building_come_through() {
    let error = isolated(&example("odd"), &json!({"does": "fails in build"})).unwrap_err();
    assert_eq!((error.kind(), error.hint_text()), (ErrorKind::Config, Some("say something else")));
    let error = isolated(&example("odd"), &json!({"does": "panics in build"})).unwrap_err();
    assert!(error.to_string().contains("panicked: on purpose"), "{error}");
    let error = isolated(Path::new("none.so"), &json!({})).unwrap_err();
    assert!(error.to_string().contains("none.so"), "{error}");
}

#[tokio::test]
async fn a_process_that_ends_is_the_calls_error_and_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let crash = compiled("tests/library/odd.c", &["ROWS=crash"], folder.path());
    let wild = compiled("tests/library/odd.c", &["ROWS=wild_offsets"], folder.path());
    for (source, words) in [
        (odd("aborts"), "signal 6 (SIGABRT)"),
        (odd("takes 10 GB"), "signal 6 (SIGABRT)"),
        (odd("exits"), "status 3"),
        (isolated(&crash, &json!({})).unwrap(), "signal 11 (SIGSEGV)"),
        (isolated(&wild, &json!({})).unwrap(), ""),
    ] {
        for _ in 0..2 {
            let error = source.fetch(&context(None), &log()).await.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Malformed), "{error:?}");
            assert!(error.to_string().contains(words), "{error}");
            source.close(&context(None)).await.unwrap();
            source.check(&context(None)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_call_that_does_not_end_costs_the_process() {
    for does in ["hangs", "loops"] {
        let source = odd(does);
        let began = Instant::now();
        let error = source.fetch(&context(Some(Duration::from_millis(100))), &log()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        // Another call of the same process ends with it.
        let error = source.fetch(&context(None), &log()).await.unwrap_err();
        assert!(error.to_string().contains("a call did not come back"), "{error}");
        assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
        source.check(&context(None)).await.unwrap();
    }
}

#[tokio::test]
async fn a_call_that_can_be_cancelled_leaves_the_process() {
    let source = odd("hangs and can be cancelled");
    let wanted = log();
    let cx = context(None);
    assert!(tokio::time::timeout(Duration::from_millis(200), source.fetch(&cx, &wanted)).await.is_err());
    for _ in 0..100 {
        if source.check(&cx).await.unwrap().notes == ["1 dropped"] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the fetch still runs, or the process is another one");
}

#[tokio::test]
async fn files_are_limited_and_stdout_is_the_hosts() {
    let error = odd("opens files").fetch(&context(None), &log()).await.unwrap_err();
    assert!(error.to_string().contains("Too many open files"), "{error}");
    assert_eq!(odd("prints").fetch(&context(None), &log()).await.unwrap().rows.num_rows(), 5);
}

#[tokio::test]
async fn the_environment_is_what_the_settings_name() {
    let settings = json!({"does": "tells its environment", "secret": "env:CARGO_PKG_NAME"});
    let source = isolated(&example("odd"), &settings).unwrap();
    let error = source.fetch(&context(None), &log()).await.unwrap_err();
    let names: Vec<&str> = error.message().split(' ').collect();
    assert!(names.contains(&"CARGO_PKG_NAME") && names.contains(&"PATH"), "{names:?}");
    assert!(!names.contains(&"CARGO_MANIFEST_DIR"), "{names:?}");
}
