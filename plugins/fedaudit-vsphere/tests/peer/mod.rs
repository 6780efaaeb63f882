//! VMware's own Python client as a second reader: it judges our stand-in, and what we read of VMware's simulator.
//!
//! Needs a Python with pyvmomi (`FEDAUDIT_PYVMOMI_PYTHON`, else `python3`).

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use fedaudit_core::{PageRequest, Time, Window};
use fedaudit_testkit::records::VimValue;
use fedaudit_testkit::vsphere::Options;
use serde_json::Value;

use crate::support::{Bench, PASSWORD, cell, read, world};

fn python() -> String {
    std::env::var("FEDAUDIT_PYVMOMI_PYTHON").unwrap_or_else(|_| "python3".into())
}

/// Why there is no such client here.
pub(crate) fn missing() -> Option<&'static str> {
    let import = Command::new(python()).args(["-c", "import pyVmomi"]).stderr(Stdio::null()).status();
    (!import.is_ok_and(|status| status.success())).then_some("no Python with pyvmomi")
}

/// Says why a test is left out; in CI it may not be.
pub(crate) fn skip(what: &str, reason: &str) {
    eprintln!("SKIPPED: {what}: {reason}");
    assert!(std::env::var_os("CI").is_none(), "CI has to have it: {reason}");
}

/// What the client read; its session lasts as long as this.
pub(crate) struct Peer {
    client: Child,
    pub(crate) read: Value,
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.client.stdin.take());
        let _ = self.client.wait();
    }
}

/// Has the client read everything at this address.
pub(crate) fn peer(url: &str, user: &str, password: &str) -> Peer {
    let address = url.strip_prefix("https://").unwrap();
    let (host, port) = address.rsplit_once(':').unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer/pyvmomi_events.py");
    let mut client = Command::new(python())
        .arg(script)
        .args([host, port, user])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(client.stdin.as_mut().unwrap(), "{password}").unwrap();
    let mut line = String::new();
    BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Peer { read: serde_json::from_str(&line).unwrap(), client }
}

/// The client rounds nanoseconds to microseconds where we cut them.
pub(crate) fn same_time(ours: Option<String>, theirs: &Value) {
    let micros = |text: &str| Time::parse(text).unwrap().time.micros();
    match (ours, theirs.as_str()) {
        (Some(ours), Some(theirs)) => assert!((micros(&ours) - micros(theirs)).abs() <= 1, "{ours} {theirs}"),
        (ours, theirs) => assert_eq!(ours.as_deref(), theirs),
    }
}

/// Text, where none and empty are the same to the client.
pub(crate) fn same_text(ours: Option<&str>, theirs: &Value) {
    assert_eq!(ours.filter(|text| !text.is_empty()), theirs.as_str().filter(|text| !text.is_empty()));
}

fn micros(value: &Value) -> i64 {
    Time::parse(value.as_str().unwrap()).unwrap().time.micros()
}

/// The text of a member of a record of the truth.
fn member<'m>(members: &'m [(&'static str, VimValue)], name: &str) -> Option<&'m str> {
    members.iter().find_map(|(member, value)| match value {
        VimValue::Text(text) if *member == name => Some(text.as_str()),
        _ => None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn pyvmomi_reads_the_stand_in() {
    if let Some(reason) = missing() {
        return skip("VMware's client against our stand-in", reason);
    }
    let world = world();
    let options = Options { list_reader: true, ..Options::default() };
    let bench = Bench::start(Arc::clone(&world), options, "auto", "").await;
    let origin = bench.origin().to_owned();
    let peer = tokio::task::spawn_blocking(move || peer(&origin, "reader@vsphere.local", PASSWORD)).await.unwrap();

    // The whole log, each event as the truth has it, and then the client's own coming and going.
    let events = peer.read["events"].as_array().unwrap();
    let log = &world.vsphere.events;
    assert!(events.len() > log.len());
    for (theirs, truth) in events.iter().zip(log) {
        assert_eq!((&theirs["key"], &theirs["chainId"]), (&truth.key.into(), &truth.chain_id.into()));
        assert_eq!(theirs["class"].as_str().map(str::to_owned), Some(truth.class.to_owned()));
        assert_eq!(micros(&theirs["createdTime"]), truth.created);
        same_text(Some(&truth.user_name), &theirs["userName"]);
        for (name, theirs) in [
            ("fullFormattedMessage", &theirs["message"]),
            ("ipAddress", &theirs["ipAddress"]),
            ("userAgent", &theirs["userAgent"]),
            ("sessionId", &theirs["sessionId"]),
        ] {
            same_text(member(&truth.members, name), theirs);
        }
        for (name, value) in &truth.members {
            match value {
                VimValue::Int(number) if *name == "callCount" => assert_eq!(theirs["callCount"], *number),
                VimValue::Time(time) if *name == "loginTime" => assert_eq!(micros(&theirs["loginTime"]), *time),
                VimValue::Object { members, .. } if theirs["entities"][name].is_object() => {
                    let theirs = &theirs["entities"][name];
                    same_text(member(members, "name"), &theirs["name"]);
                    let reference = members.iter().find_map(|(_, value)| match value {
                        VimValue::Ref { kind, value } => Some((*kind, value.as_str())),
                        _ => None,
                    });
                    assert_eq!(reference, Some((theirs["type"].as_str().unwrap(), theirs["id"].as_str().unwrap())));
                }
                _ => {}
            }
        }
    }
    let own: Vec<&str> = events[log.len()..].iter().map(|event| event["class"].as_str().unwrap()).collect();
    let (login, logout) = ("UserLoginSessionEvent", "UserLogoutSessionEvent");
    assert_eq!(own, [login, logout, login, logout, login]);

    let sessions = peer.read["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), world.vsphere.sessions.len() + 1);
    for (theirs, truth) in sessions.iter().zip(&world.vsphere.sessions) {
        assert_eq!(theirs["key"], truth.key.as_str());
        same_text(Some(&truth.user_name), &theirs["userName"]);
        same_text(Some(&truth.full_name), &theirs["fullName"]);
        same_text(Some(&truth.ip_address), &theirs["ipAddress"]);
        assert_eq!(micros(&theirs["loginTime"]), truth.login_time);
    }

    // The plugin, meanwhile, sees the client's session and its events.
    let ours = read(&bench, PageRequest::first("vim.events", Window::ALL)).await;
    assert_eq!(
        ours.keys()[..events.len()],
        events.iter().map(|event| event["key"].as_i64().unwrap()).collect::<Vec<_>>()
    );
    let live = read(&bench, PageRequest::first("sessions", Window::ALL)).await;
    let client = sessions.last().unwrap()["key"].as_str();
    let batch = &live.rows[0];
    let row = (0..batch.num_rows()).find(|row| cell(batch, "session_id", *row).as_deref() == client).unwrap();
    assert!(cell(batch, "user_agent", row).unwrap().contains("pyvmomi") && cell(batch, "quality_flags", row).is_none());
}
