//! Children that break the protocol of the pipes: each costs the calls that wait, and the next question is answered by a
//! new one.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use fedaudit_core::rows::{EventBuilder, EventRow};
use fedaudit_core::{AuditSource, ErrorKind, PageRequest, Predicate, Window};
use fedaudit_plugin::process::{IsolatedPlugin, Recipe};
use serde_json::json;

use crate::support::context;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let mut compiler = Command::new("cc");
        compiler.args(["-std=c11", "-Wall", "-Wextra", "-Werror"]).arg("tests/library/bad_child.c");
        compiler.current_dir(env!("CARGO_MANIFEST_DIR")).arg("-o").arg(folder.path("child"));
        assert!(compiler.status().unwrap().success(), "{compiler:?}");
        std::fs::write(folder.path("body"), ipc(&rows())).unwrap();
        folder
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// A source whose child misbehaves once.
    fn source(&self, how: &str) -> Box<dyn AuditSource> {
        let mark = self.path(&format!("{how}.mark"));
        let arguments = vec![how.into(), self.path("body").into(), mark.into()];
        let recipe = Recipe { program: self.path("child"), arguments };
        IsolatedPlugin::load(recipe).unwrap().build("one", &json!({})).unwrap()
    }
}

fn rows() -> RecordBatch {
    let mut rows = EventBuilder::new("odd:1");
    for number in 0..3 {
        let id = format!("{number}");
        rows.push(
            &[Some(&id)],
            &[],
            &EventRow { event_code: "odd", user_name: Some("ana"), raw: "{}", ..EventRow::new() },
        );
    }
    rows.finish().unwrap()
}

fn ipc(rows: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    writer.write(rows).unwrap();
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

fn log() -> PageRequest {
    PageRequest::first("log", Window::ALL)
}

/// Processes that were started of a program, zombies not among them.
fn running(program: &Path) -> usize {
    let program = program.as_os_str().as_encoded_bytes();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.filter(|line| line.starts_with(program)).count()
}

fn is_gone(program: &Path) -> bool {
    let began = Instant::now();
    while running(program) > 0 {
        if began.elapsed() > Duration::from_secs(20) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

#[tokio::test]
async fn nonsense_is_the_calls_error_and_the_next_child_answers() {
    let folder = Folder::new();
    for (how, kind, words) in [
        ("garbage", ErrorKind::Malformed, "spoke nonsense"),
        ("huge", ErrorKind::Malformed, "a frame of 1152921504606846976 bytes"),
        ("no_json", ErrorKind::Malformed, "spoke nonsense"),
        ("no_utf8", ErrorKind::Malformed, "spoke nonsense"),
        ("second_source", ErrorKind::Malformed, "a second source"),
        ("half", ErrorKind::Malformed, "spoke nonsense"),
        ("closes_stdout", ErrorKind::Unavailable, "signal 9"),
        ("no_page", ErrorKind::Malformed, "page cannot be read"),
        ("no_body", ErrorKind::Malformed, "there are none"),
        ("daughter", ErrorKind::Unavailable, "status 5"),
    ] {
        let source = folder.source(how);
        let began = Instant::now();
        let error = source.fetch(&context(None), &log()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{how}: {error}");
        assert!(error.to_string().contains(words), "{how}: {error}");
        assert!(began.elapsed() < Duration::from_secs(20), "{how}: {:?}", began.elapsed());
        assert_eq!(source.fetch(&context(None), &log()).await.unwrap().rows, rows(), "{how}");
        drop(source);
        assert!(is_gone(&folder.path("child")), "{how}: a process is left");
    }
    // Answers to questions that nobody asked are nothing to anybody.
    assert_eq!(folder.source("others").fetch(&context(None), &log()).await.unwrap().rows, rows());
}

#[tokio::test]
async fn every_call_that_waits_ends_with_the_child() {
    let folder = Folder::new();
    let source = folder.source("dies");
    let (cx, wanted) = (context(None), log());
    let ended = futures::future::join_all((0..3).map(|_| source.fetch(&cx, &wanted))).await;
    for outcome in ended {
        let error = outcome.unwrap_err();
        assert!(error.kind() == ErrorKind::Unavailable && error.to_string().contains("status 5"), "{error}");
    }
    assert_eq!(source.fetch(&cx, &wanted).await.unwrap().rows, rows());
}

#[tokio::test]
async fn a_child_that_does_not_read_is_ended_in_time() {
    let folder = Folder::new();
    for (how, predicates) in [
        // More than a pipe holds.
        ("deaf", vec![Predicate::any_of("user_name", (0..50_000).map(|number| number.to_string()))]),
        ("silent", Vec::new()),
    ] {
        let source = folder.source(how);
        let began = Instant::now();
        let request = PageRequest { predicates, ..log() };
        let error = source.fetch(&context(Some(Duration::from_millis(100))), &request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{how}: {error}");
        // It is given a moment to come back, in which it is still the one that is asked.
        while let Err(error) = source.fetch(&context(Some(Duration::from_millis(100))), &log()).await {
            assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable), "{how}: {error}");
            assert!(began.elapsed() < Duration::from_secs(30), "{how}: {:?}", began.elapsed());
        }
    }
}

#[tokio::test]
async fn a_source_that_is_dropped_takes_its_child_along() {
    let folder = Folder::new();
    let source = folder.source("silent");
    let (cx, wanted) = (context(None), log());
    let given_up = tokio::time::timeout(Duration::from_millis(100), source.fetch(&cx, &wanted)).await;
    assert!(given_up.is_err());
    assert_eq!(running(&folder.path("child")), 1);
    drop(source);
    assert!(is_gone(&folder.path("child")));
}

#[tokio::test]
async fn damaged_rows_are_an_error_or_rows() {
    let folder = Folder::new();
    let source = folder.source("well");
    let whole = std::fs::read(folder.path("body")).unwrap();
    let mut refused = 0;
    let mut give = async |body: &[u8]| {
        std::fs::write(folder.path("body"), body).unwrap();
        match source.fetch(&context(None), &log()).await {
            // What was damaged may be the text of a cell.
            Ok(page) => assert_eq!(page.rows.schema(), rows().schema()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
                refused += 1;
            }
        }
    };
    for end in (0..whole.len()).step_by(97) {
        give(&whole[..end]).await;
    }
    for place in (0..whole.len()).step_by(31) {
        for change in [0x01, 0x80, 0xFF] {
            let mut body = whole.clone();
            body[place] ^= change;
            give(&body).await;
        }
    }
    let other: arrow_array::ArrayRef = std::sync::Arc::new(arrow_array::StringArray::from(vec!["a"]));
    give(&ipc(&RecordBatch::try_from_iter([("time", other)]).unwrap())).await;
    let mut twice = whole.clone();
    twice.extend(&whole);
    give(&twice).await;
    assert!(refused > 100, "{refused} of them were refused");
    std::fs::write(folder.path("body"), &whole).unwrap();
    assert_eq!(source.fetch(&context(None), &log()).await.unwrap().rows, rows());
}
