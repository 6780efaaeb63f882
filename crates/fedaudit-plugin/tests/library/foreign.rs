//! Libraries that keep to the interface badly, written on the bare table.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use fedaudit_core::key::sha256_hex;
use fedaudit_core::{AuditSource, ErrorKind, PageRequest, Result, Window};
use fedaudit_plugin::host::LoadedPlugin;

use crate::support::{compiled, context, example, isolated};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn odd(&self, defines: &[&str]) -> PathBuf {
        compiled("tests/library/odd.c", defines, self.0.path())
    }

    fn source(&self, defines: &[&str]) -> Result<Box<dyn AuditSource>> {
        LoadedPlugin::load(&self.odd(defines), None)?.build("one", &serde_json::json!({}))
    }
}

fn refused(path: &std::path::Path, allowed: Option<&[String]>) -> String {
    let error = LoadedPlugin::load(path, allowed).unwrap_err();
    let hint = error.hint_text().unwrap_or_default();
    assert!(error.to_string().contains(&path.file_name().unwrap().to_string_lossy().into_owned()), "{error}");
    format!("{}: {error} ({hint})", error.kind())
}

#[test]
fn a_table_that_is_not_as_agreed_is_refused_with_the_reason() {
    let folder = Folder::new();
    for (defines, words) in [
        (
            &["MAJOR=2"][..],
            "built for version 2.0 of the interface, this fedaudit has 1.0 (a newer fedaudit is needed)",
        ),
        (&["MAJOR=0"], "build it with a newer fedaudit-plugin"),
        (&["SIZE=24"], "table of 24 bytes is shorter"),
        (&["NO_FETCH"], "`fetch` of its table is NULL"),
        (&["NO_TABLE"], "its table is NULL"),
        (&["NAME=other_plugin"], "exports no `fedaudit_plugin`"),
        (&["TYPE=\"{}\""], "description cannot be read"),
        (&["TYPE=\"{\\\"type\\\": \\\"\\\"}\""], "its type is empty"),
    ] {
        let said = refused(&folder.odd(defines), None);
        assert!(said.contains(words), "{defines:?}: {said}");
    }
    // Later versions have longer tables.
    let later = folder.odd(&["SIZE=4096"]);
    assert_eq!(LoadedPlugin::load(&later, None).unwrap().info().kind, "odd-c");
}

#[test]
fn a_file_that_should_not_be_loaded_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(example("odd")).unwrap();
        change(&mut bytes);
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let open = copy("open.so", &|_| {});
    fs::set_permissions(&open, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(refused(&open, None).contains("everybody may write"));
    assert!(refused(&folder.path().join("none.so"), None).contains("No such file"));
    assert!(refused(folder.path(), None).contains("no file"));
    let text = copy("text.so", &|bytes| *bytes = b"#!/bin/sh\n".to_vec());
    assert!(refused(&text, None).contains("no ELF library"));
    let foreign = if cfg!(target_arch = "x86_64") { 183 } else { 62 };
    let other = copy("other.so", &|bytes| bytes[18] = foreign);
    assert!(refused(&other, None).contains("it was built for"));
    let cut = copy("cut.so", &|bytes| bytes.truncate(200));
    refused(&cut, None);

    let good = copy("good.so", &|_| {});
    let digest = String::from_utf8(sha256_hex(&fs::read(&good).unwrap()).to_vec()).unwrap();
    assert!(refused(&good, Some(&["00".repeat(32)])).contains(&digest));
    assert!(refused(&good, Some(&[])).contains("not among the allowed"));
    LoadedPlugin::load(&good, Some(&[digest.to_uppercase()])).unwrap();
}

/// Rows that are wrong, and a word of what is said of them.
const WRONG: &[(&str, &str)] = &[
    ("nothing", "there are none"),
    ("strange", "column 'event_key' is missing"),
    ("no_utf8", "utf-8"),
    ("null_buffer", ""),
    ("few_buffers", ""),
    ("short_child", ""),
    ("unknown_format", ""),
    ("no_children", "other children"),
    ("null_children", "is null"),
    ("null_child", "a child is null"),
    ("null_buffers", "is null"),
    ("null_format", "a format is null"),
    ("null_schemas", "is null"),
    ("no_schema", "released already"),
    ("released_child", "released already"),
    ("negative_length", "negative"),
    ("falling_offsets", "offset"),
    ("nulls_without_bits", ""),
    ("null_row", "a whole row is null"),
    ("deep", "too deep"),
];

#[tokio::test]
async fn rows_that_are_not_as_agreed_are_the_sources_error() {
    let folder = Folder::new();
    for (what, words) in WRONG {
        let library = folder.odd(&[&format!("ROWS={what}")]);
        let here = LoadedPlugin::load(&library, None).unwrap().build("one", &serde_json::json!({})).unwrap();
        let there = isolated(&library, &serde_json::json!({})).unwrap();
        for source in [here, there] {
            let error = source.fetch(&context(None), &PageRequest::first("log", Window::ALL)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{what}: {error}");
            assert!(error.to_string().to_lowercase().contains(words), "{what}: {error}");
            // It is still there.
            source.check(&context(None)).await.unwrap();
            source.close(&context(None)).await.unwrap();
        }
    }
    for page in ["\"\"", "\"{}\"", "\"{\\\"next\\\": 7}\""] {
        let source = folder.source(&[&format!("PAGE={page}")]).unwrap();
        let error = source.fetch(&context(None), &PageRequest::first("log", Window::ALL)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{page}: {error}");
    }
    let source = folder.source(&["WORDLESS"]).unwrap();
    let error = source.check(&context(None)).await.unwrap_err();
    assert!(error.to_string().contains("status 7 and without an error: out of order"), "{error}");
}
