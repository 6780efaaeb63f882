//! The plugin in C of `examples/plugin-c`: compiled as its README says, and held against the whole conformance suite.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use fedaudit_core::{ErrorKind, Next, PageRequest, Window};
use fedaudit_plugin::host::LoadedPlugin;
use fedaudit_plugin::subject;
use fedaudit_testkit::conformance::{Fixtures, Subject, texts, unsound};
use serde_json::json;

use crate::support::{compiled, context, recipe};

const SOURCE: &str = "../../examples/plugin-c/plugin.c";

struct Built {
    folder: tempfile::TempDir,
    library: PathBuf,
}

impl Built {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = compiled(SOURCE, &["NDEBUG"], folder.path());
        Self { folder, library }
    }

    fn file(&self, content: &[u8]) -> String {
        let path = self.folder.path().join("events.jsonl");
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn source(&self, file: &str) -> Box<dyn fedaudit_core::AuditSource> {
        LoadedPlugin::load(&self.library, None).unwrap().build("one", &json!({"file": file})).unwrap()
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/plugin-c/fixtures")
}

async fn passes(subject: Subject) {
    Fixtures::read(&fixtures()).unwrap().suite(subject).unwrap().run().await;
}

#[tokio::test]
async fn the_suite_passes_in_this_process() {
    let built = Built::new();
    passes(subject::loaded(&built.library).unwrap()).await;
}

#[tokio::test]
async fn the_suite_passes_in_a_process_of_its_own() {
    let built = Built::new();
    passes(subject::isolated(recipe(&built.library)).unwrap()).await;
}

#[tokio::test]
async fn rows_are_as_the_file_tells_them() {
    let built = Built::new();
    let file = built.file(
        "{\"id\":\"1\",\"time\":\"2024-02-29T23:59:59.123456789Z\",\"what\":\"login\",\"result\":\"failed\",\"user\":\"Jos\\u00e9 \
         \\ud83d\\ude00\",\"from\":\"::FFFF:10.1.2.3\",\"text\":\"a\\tb\"}\n \
         { \"what\" : \"odd\" , \"time\":\"1970-01-01T00:00:00Z\",\"id\":\"2\",\"from\":\"2001:DB8:0:1:0:0:0:1\" } \r\n"
            .as_bytes(),
    );
    let page = built.source(&file).fetch(&context(None), &PageRequest::first("log", Window::ALL)).await.unwrap();
    assert_eq!(unsound(&page.rows, fedaudit_core::StreamKind::Events), None);
    let column = |name: &str| texts(&page.rows, name).into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>();
    assert_eq!(column("time"), ["1709251199123456", "0"]);
    assert_eq!(column("action"), ["auth.login", "other"]);
    assert_eq!(column("class_uid"), ["3002", "0"]);
    assert_eq!(column("outcome"), ["failure", "unknown"]);
    assert_eq!(column("user_name"), ["José 😀", ""]);
    assert_eq!(column("src_ip"), ["10.1.2.3", "2001:db8:0:1::1"]);
    assert_eq!(column("message"), ["a\tb", ""]);
    assert_eq!(page.observed.records, 2);
    let key = fedaudit_core::key::Key::new(fedaudit_core::key::KeyKind::Event, "odd:1", &[Some("1")]);
    assert_eq!(column("event_key")[0], key.as_str());
}

#[tokio::test]
async fn what_is_no_event_is_said_and_kept() {
    let built = Built::new();
    let good = r#"{"id":"1","time":"2026-01-05T08:00:00Z","what":"login"}"#;
    let long = format!("{{\"id\":\"{}\"}}", "x".repeat(1 << 20));
    for (line, reason) in [
        (&b"x"[..], "no JSON object"),
        (b"{", "no JSON object of strings"),
        (br#"{"id":"1","time":"2026-01-05T08:00:00Z","what":"login"},"#, "something follows"),
        (br#"{"id":"1","id":"1"}"#, "twice"),
        (br#"{"id":1}"#, "no string"),
        (b"{\"id\":\"\xff\"}", "no string"),
        (b"{\"id\":\"\xed\xa0\x80\"}", "no string"),
        (br#"{"id":"\ud800"}"#, "no string"),
        (b"{\"id\":\"a\x01\"}", "no string"),
        (br#"{"id":"1","time":"2026-01-05T08:00:00Z"}"#, "`what` is missing"),
        (br#"{"id":"","time":"2026-01-05T08:00:00Z","what":"x"}"#, "`id` is missing"),
        (br#"{"id":"1","what":"x"}"#, "`time` is missing"),
        (br#"{"id":"1","time":"2026-02-29T08:00:00Z","what":"x"}"#, "no UTC time"),
        (br#"{"id":"1","time":"2026-01-05T08:00:00+01:00","what":"x"}"#, "no UTC time"),
        (br#"{"id":"1","time":"2026-01-05T08:00:00.Z","what":"x"}"#, "no UTC time"),
        (br#"{"id":"1","time":"2026-01-05T24:00:00Z","what":"x"}"#, "no UTC time"),
        (br#"{"id":"1","time":"2026-01-05T08:00:00Z","what":"x","result":"maybe"}"#, "neither ok nor failed"),
        (br#"{"id":"1","time":"2026-01-05T08:00:00Z","what":"x","more":"y"}"#, "not known"),
        (long.as_bytes(), "longer than a MiB"),
    ] {
        let file = built.file(&[good.as_bytes(), b"\n", line, b"\n\n", good.as_bytes(), b"\n"].concat());
        let source = built.source(&file);
        let page = source.fetch(&context(None), &PageRequest::first("log", Window::ALL)).await.unwrap();
        let said: Vec<_> = page.rejected.iter().map(|rejected| rejected.reason.as_str()).collect();
        let shown = String::from_utf8_lossy(&line[..line.len().min(80)]);
        assert!(said.len() == 1 && said[0].contains(reason), "{shown}: {said:?}");
        let most = line.len().min(1 << 20);
        assert_eq!(page.rejected[0].raw, String::from_utf8_lossy(&line[..most]), "{shown}");
        assert_eq!((page.rows.num_rows(), page.observed.records), (2, 3), "{shown}");
    }
}

#[tokio::test]
async fn files_and_cursors_that_are_not_there_are_errors() {
    let built = Built::new();
    let cx = context(None);
    let first = PageRequest { page_size: Some(1), ..PageRequest::first("log", Window::ALL) };
    let folder = built.folder.path().display().to_string();
    for (file, kind) in [
        (format!("{folder}/none.jsonl"), ErrorKind::NotFound),
        (folder.clone(), ErrorKind::Config),
        ("/dev/zero".to_owned(), ErrorKind::Config),
    ] {
        let source = built.source(&file);
        assert_eq!(source.fetch(&cx, &first).await.unwrap_err().kind(), kind, "{file}");
        assert_eq!(source.check(&cx).await.unwrap_err().kind(), kind, "{file}");
    }
    let line = r#"{"id":"1","time":"2026-01-05T08:00:00Z","what":"login"}"#;
    let file = built.file(format!("{line}\n{line}\n{{\"id\"").as_bytes());
    let source = built.source(&file);
    let page = source.fetch(&cx, &first).await.unwrap();
    let Next::More(cursor) = page.next else { panic!("{:?}", page.next) };
    let second = PageRequest { cursor: Some(cursor), page_size: None, ..first.clone() };
    let page = source.fetch(&cx, &second).await.unwrap();
    assert_eq!((page.rows.num_rows(), page.observed.notes.len()), (1, 1), "{:?}", page.observed);
    assert!(matches!(page.next, Next::End(_)) && page.rejected.is_empty());
    built.file(format!("{{\"more\":\"{line}").as_bytes());
    assert_eq!(source.fetch(&cx, &second).await.unwrap_err().kind(), ErrorKind::Malformed);
    built.file(b"");
    assert_eq!(source.fetch(&cx, &second).await.unwrap_err().kind(), ErrorKind::Malformed);

    let plugin = LoadedPlugin::load(&built.library, None).unwrap();
    for settings in [
        json!({}),
        json!({"file": 7}),
        json!({"file": ""}),
        json!({"file": "relative"}),
        json!({"file": "/a\0b"}),
        json!({"file": "/a", "more": 1}),
        json!([]),
    ] {
        assert_eq!(plugin.build("one", &settings).unwrap_err().kind(), ErrorKind::Config, "{settings}");
    }
}

#[test]
fn no_way_out_leaks_or_reads_what_is_not_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("alone");
    let build = |sanitizers: &[&str]| {
        let mut compiler = Command::new("cc");
        compiler.args(["-std=c11", "-g", "-Wall", "-Wextra", "-Werror", "-Iinclude"]).args(sanitizers);
        compiler.arg("-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc");
        compiler.args(["tests/library/plugin_c_alone.c", SOURCE]).arg("-o").arg(&program);
        compiler.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
    };
    let mut built = build(&["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
    if !built.status.success() {
        assert!(std::env::var_os("CI").is_none(), "{}", String::from_utf8_lossy(&built.stderr));
        let _ = writeln!(std::io::stderr(), "SKIPPED: this compiler's sanitizers; the calls are made all the same");
        built = build(&[]);
    }
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    for file in ["healthy", "ties", "bad", "empty"] {
        let file = fixtures().join(format!("{file}.jsonl"));
        let output = Command::new(&program).arg(&file).arg("800").output().unwrap();
        assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    }
}
