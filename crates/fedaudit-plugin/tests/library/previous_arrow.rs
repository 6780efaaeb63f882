//! A library on the bare table with the previous major version of arrow and a lock file of its own, in both isolations.

use std::path::{Path, PathBuf};
use std::process::Command;

use fedaudit_core::{AuditSource, Next, PageRequest, StreamKind, Window};
use fedaudit_plugin::host::LoadedPlugin;
use fedaudit_testkit::conformance::{texts, unsound};
use serde_json::json;

use crate::support::{context, isolated};

/// Builds it apart from the workspace, with the versions of its own lock file.
fn library() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/previous-arrow");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("previous-arrow");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--locked", "--manifest-path"]).arg(crate_folder.join("Cargo.toml"));
    // Flags for this build, such as a sanitizer's, are not meant for that one.
    cargo.arg("--target-dir").arg(&target).env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo.env_remove("CARGO_BUILD_TARGET");
    let output = cargo.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the library with the previous arrow cannot be built: {cargo:?}\n{said}");
    target.join("debug/libprevious_arrow.so")
}

async fn answers(source: &dyn AuditSource) {
    let cx = context(None);
    let mut request = PageRequest::first("log", Window::ALL);
    let (mut pages, mut users, mut keys) = (0, Vec::new(), Vec::new());
    loop {
        let page = source.fetch(&cx, &request).await.unwrap();
        assert_eq!(unsound(&page.rows, StreamKind::Events), None);
        pages += 1;
        users.extend(texts(&page.rows, "user_name"));
        keys.extend(texts(&page.rows, "event_key").into_iter().flatten());
        match page.next {
            Next::More(cursor) => request.cursor = Some(cursor),
            Next::End(_) => break,
        }
    }
    assert_eq!((pages, users.len(), cx.meter.read().requests), (3, 250, 3));
    assert_eq!(
        (users[1].as_deref(), users[3].as_deref(), users[248].as_deref()),
        (Some("user-1"), None, Some("user-248"))
    );
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 250);
    source.check(&cx).await.unwrap();
    source.close(&cx).await.unwrap();
}

#[tokio::test]
async fn another_arrow_answers_in_both_isolations() {
    let versions = include_str!("../previous-arrow/Cargo.lock");
    assert!(versions.contains("name = \"arrow-array\"\nversion = \"58."), "it is the previous major version no more");
    assert!(!versions.contains("fedaudit"), "it shares a crate with us");
    let library = library();
    let plugin = LoadedPlugin::load(&library, None).unwrap();
    assert_eq!((plugin.info().kind.as_str(), plugin.info().version.as_str()), ("previous-arrow", "58"));
    answers(&*plugin.build("one", &json!({})).unwrap()).await;
    answers(&*isolated(&library, &json!({})).unwrap()).await;
}
