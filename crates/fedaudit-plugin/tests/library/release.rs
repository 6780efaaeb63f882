//! A source that is dropped while one of its calls runs, and libraries that end or hang as soon as they are loaded.

use std::time::{Duration, Instant};

use fedaudit_core::{ErrorKind, PageRequest, Window};
use fedaudit_plugin::host::LoadedPlugin;
use fedaudit_plugin::process::IsolatedPlugin;
use serde_json::json;

use crate::support::{compiled, context, recipe};

#[tokio::test]
async fn a_source_is_released_after_its_last_call() {
    let folder = tempfile::tempdir().unwrap();
    // It ends the process if it is released while a fetch runs.
    let plugin = LoadedPlugin::load(&compiled("tests/library/odd.c", &["ROWS=slow"], folder.path()), None).unwrap();
    let (cx, wanted) = (context(None), PageRequest::first("log", Window::ALL));
    let observer = plugin.build("observer", &json!({})).unwrap();
    let source = plugin.build("one", &json!({})).unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(50), source.fetch(&cx, &wanted)).await;
    assert!(given_up.is_err());
    drop(source);
    assert_eq!(observer.check(&cx).await.unwrap().notes, ["1 run, 0 released"]);
    let began = Instant::now();
    while observer.check(&cx).await.unwrap().notes != ["0 run, 1 released"] {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", observer.check(&cx).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_dropped_source_of_another_process_harms_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let library = compiled("tests/library/odd.c", &["ROWS=slow"], folder.path());
    let plugin = IsolatedPlugin::load(recipe(&library)).unwrap();
    let (cx, wanted) = (context(None), PageRequest::first("log", Window::ALL));
    for _ in 0..5 {
        let (one, other) = (plugin.build("one", &json!({})).unwrap(), plugin.build("other", &json!({})).unwrap());
        let given_up = tokio::time::timeout(Duration::from_millis(50), one.fetch(&cx, &wanted)).await;
        assert!(given_up.is_err());
        drop(one);
        // The other has a process of its own.
        other.check(&cx).await.unwrap();
    }
}

#[test]
fn a_library_that_ends_or_hangs_when_it_is_loaded_costs_its_process() {
    let folder = tempfile::tempdir().unwrap();
    for (does, kind, words) in [
        ("END", ErrorKind::Unavailable, "signal 6 (SIGABRT)"),
        ("WAIT", ErrorKind::Timeout, "did not load and start within 2s"),
        ("_exit(3)", ErrorKind::Unavailable, "status 3"),
    ] {
        let library = compiled("tests/library/odd.c", &[&format!("AT_LOAD={does}")], folder.path());
        let began = Instant::now();
        let error = IsolatedPlugin::load_within(Duration::from_secs(2), recipe(&library)).unwrap_err();
        assert_eq!(error.kind(), kind, "{does}: {error}");
        assert!(error.to_string().contains(words), "{does}: {error}");
        assert!(began.elapsed() < Duration::from_secs(20), "{does}: {:?}", began.elapsed());
    }
}
