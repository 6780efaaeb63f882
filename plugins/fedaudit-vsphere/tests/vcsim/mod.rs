//! The plugin against VMware's own simulator, judged by VMware's own Python client.
//!
//! Needs the program beside this file (`go build`; its path in `FEDAUDIT_VCSIM`, else `vcsim` on the search path or in
//! `~/go/bin`) and a Python with pyvmomi (`FEDAUDIT_PYVMOMI_PYTHON`, else `python3`). Without them the test says SKIPPED, except in CI,
//! where it fails.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use arrow_array::RecordBatch;
use fedaudit_core::{EndReason, PageRequest, Time, Window};
use serde_json::Value;

use crate::peer::{missing, peer, same_text, same_time, skip};
use crate::support::{cell, context, read_source, source};

const PASSWORD: &str = "vcsim-secret";

/// The simulator; it ends with its standard input, and this is only in case it does not.
struct Simulator {
    child: Child,
    url: String,
    pin: String,
}

impl Drop for Simulator {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("FEDAUDIT_VCSIM") {
        return Some(path.into());
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join("go/bin"));
    std::env::split_paths(&folders).chain(home).map(|folder| folder.join("vcsim")).find(|path| path.is_file())
}

fn start(program: &Path) -> Simulator {
    let mut child = Command::new(program)
        .args(["-username", "reader", "-password", PASSWORD])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let started: Value = serde_json::from_str(&line).unwrap();
    let text = |name: &str| started[name].as_str().unwrap().to_owned();
    Simulator { url: text("url"), pin: text("pin_sha256"), child }
}

#[tokio::test]
async fn vmwares_simulator_read_by_two_clients() {
    let what = "vSphere against VMware's simulator";
    let Some(program) = program() else { return skip(what, "no vcsim") };
    if let Some(reason) = missing() {
        return skip(what, reason);
    }
    let simulator = start(&program);
    let peer = peer(&simulator.url, "reader", PASSWORD);
    let theirs = &peer.read;
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, PASSWORD).unwrap();
    let source = source(&format!(
        r#"{{"url": "{}", "username": "reader", "password": "file:{}", "tls": {{"pin_sha256": "{}"}}}}"#,
        simulator.url,
        password.display(),
        simulator.pin
    ));
    let cx = context();
    let health = source.check(&cx).await.unwrap();
    assert!(health.fingerprint.is_some() && health.server_time.is_some() && health.denied.is_empty(), "{health:?}");

    let request = PageRequest { page_size: Some(7), ..PageRequest::first("vim.events", Window::ALL) };
    let answer = read_source(&*source, &cx, request).await;
    assert_eq!((answer.end, answer.rejected.len()), (EndReason::EmptyPage, 0));
    let rows: Vec<(&RecordBatch, usize)> =
        answer.rows.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row))).collect();
    let events = theirs["events"].as_array().unwrap();
    assert!(events.len() > 20 && rows.len() > events.len(), "{} {}", events.len(), rows.len());
    for (event, (batch, row)) in events.iter().zip(&rows) {
        let ours = |name: &str| cell(batch, name, *row);
        let raw: Value = serde_json::from_str(&ours("raw").unwrap()).unwrap();
        assert_eq!(ours("sequence"), Some(event["key"].to_string()), "{raw}");
        assert_eq!(ours("correlation_id"), Some(event["chainId"].to_string()), "{raw}");
        assert_eq!(raw["_typeName"], event["class"]);
        same_time(ours("time"), &event["createdTime"]);
        for (column, member) in [
            ("user_original", "userName"),
            ("message", "message"),
            ("src_original", "ipAddress"),
            ("user_agent", "userAgent"),
            ("session_id", "sessionId"),
        ] {
            same_text(ours(column).as_deref(), &event[member]);
        }
        same_time(raw["loginTime"].as_str().map(str::to_owned), &event["loginTime"]);
        let entities = event["entities"].as_object().unwrap();
        let resources: Vec<Value> =
            ours("resources").map_or_else(Vec::new, |json| serde_json::from_str(&json).unwrap());
        assert_eq!(resources.len(), entities.len());
        for entity in entities.values() {
            assert!(
                resources.iter().any(|resource| resource["name"] == entity["name"]
                    && resource["uid"] == entity["id"]
                    && resource["type"] == entity["type"]),
                "{raw}"
            );
        }
    }
    // What comes after their reading is their leaving and our coming.
    for (batch, row) in &rows[events.len()..] {
        let (action, flags) = (cell(batch, "action", *row).unwrap(), cell(batch, "quality_flags", *row));
        assert!(action == "auth.logout" || flags.as_deref() == Some("own_reader"), "{action} {flags:?}");
    }

    // The same backward, on another implementation of the latest page and of scrolling.
    let backward = PageRequest {
        page_size: Some(7),
        direction: fedaudit_core::Direction::NewestFirst,
        ..PageRequest::first("vim.events", Window::ALL)
    };
    let backward = read_source(&*source, &cx, backward).await;
    let mut keys = backward.sorted_keys();
    // Here, what is before the latest page begins inside it.
    keys.dedup();
    assert_eq!((keys, backward.rejected.len()), (answer.sorted_keys(), 0));

    // A window in the middle, and only logins.
    let times: Vec<Time> =
        rows.iter().map(|(batch, row)| Time::parse(&cell(batch, "time", *row).unwrap()).unwrap().time).collect();
    let window = Window::new(times[5], times[times.len() - 1]);
    let logins = fedaudit_core::Predicate::any_of("action", ["auth.login"]);
    let request = PageRequest { predicates: vec![logins], ..PageRequest::first("vim.events", window) };
    let pushed = read_source(&*source, &cx, request).await;
    let expected = rows.iter().zip(&times).filter(|((batch, row), time)| {
        window.contains(**time) && cell(batch, "action", *row).as_deref() == Some("auth.login")
    });
    assert_eq!(pushed.rows.iter().map(RecordBatch::num_rows).sum::<usize>(), expected.count());

    let sessions = read_source(&*source, &cx, PageRequest::first("sessions", Window::ALL)).await;
    let theirs = theirs["sessions"].as_array().unwrap();
    assert!(!theirs.is_empty());
    // They are still there, and so are we.
    let batch = &sessions.rows[0];
    assert_eq!(batch.num_rows(), theirs.len() + 1);
    let row_of =
        |key: &Value| (0..batch.num_rows()).find(|row| cell(batch, "session_id", *row).as_deref() == key.as_str());
    for session in theirs {
        let row = row_of(&session["key"]).unwrap_or_else(|| panic!("{session}"));
        same_text(cell(batch, "user_original", row).as_deref(), &session["userName"]);
        same_text(cell(batch, "client_original", row).as_deref(), &session["ipAddress"]);
        same_text(cell(batch, "user_agent", row).as_deref(), &session["userAgent"]);
        same_time(cell(batch, "start_time", row), &session["loginTime"]);
        let raw: Value = serde_json::from_str(&cell(batch, "raw", row).unwrap()).unwrap();
        assert_eq!(raw["fullName"], session["fullName"]);
        assert_eq!(cell(batch, "state", row).as_deref(), Some("active"));
    }
    let own = |row: &usize| cell(batch, "quality_flags", *row).as_deref() == Some("own_reader");
    assert_eq!((0..batch.num_rows()).filter(own).count(), 1);
    source.close(&cx).await.unwrap();
}
