//! What becomes of each family of events, over both transports.

mod families;

use std::sync::Arc;

use fedaudit_core::{PageRequest, Window};
use fedaudit_testkit::records::VimValue;
use fedaudit_testkit::vsphere::Options;

use crate::PROTOCOLS;
use crate::support::{Answer, Bench, event, read, text, world, world_of};
use families::object;

fn events() -> PageRequest {
    PageRequest::first("vim.events", Window::ALL)
}

/// Every column that both transports can carry.
fn columns(answer: &Answer) -> Vec<(String, Vec<Option<String>>)> {
    let batch = &answer.rows[0];
    let schema = batch.schema();
    schema.fields().iter().map(|field| (field.name().clone(), answer.column(field.name()))).collect()
}

#[tokio::test]
async fn every_family_of_events() {
    let cases = families::cases();
    let world = world_of(cases.iter().map(|(event, _)| event.clone()).collect());
    let mut answers = Vec::new();
    for protocol in PROTOCOLS {
        let bench = Bench::start(Arc::clone(&world), Options::default(), protocol, "").await;
        let answer = read(&bench, events()).await;
        assert_eq!((answer.keys().len(), answer.rejected.len()), (cases.len(), 0));
        for (row, (event, expected)) in cases.iter().enumerate() {
            for (column, value) in expected {
                let found = answer.column(column).swap_remove(row);
                assert_eq!(found.as_deref(), *value, "{protocol} {} {column}", event.class);
            }
        }
        answers.push(columns(&answer));
    }
    assert_eq!(answers[0], answers[1], "the same rows over both transports");
}

#[tokio::test]
async fn json_objects_in_any_order() {
    let world = world();
    let mut answers = Vec::new();
    for json_disorder in [false, true] {
        let options = Options { json_disorder, list_reader: true, ..Options::default() };
        let bench = Bench::start(Arc::clone(&world), options, "json", "").await;
        let answer = read(&bench, events()).await;
        let sessions = read(&bench, PageRequest::first("sessions", Window::ALL)).await;
        assert!(answer.rejected.is_empty() && sessions.rejected.is_empty());
        assert_eq!(sessions.column("session_id").len(), world.vsphere.sessions.len() + 1);
        let mut columns = columns(&answer);
        // The raw text is what was received, and so is what has no column; our own login is of another time.
        columns.retain(|(name, _)| !["raw", "raw_sha256", "unmapped"].contains(&name.as_str()));
        for (_, values) in &mut columns {
            values.truncate(world.vsphere.events.len());
        }
        answers.push(columns);
    }
    assert_eq!(answers[0], answers[1]);
}

/// What differs between the transports: characters that XML forbids are escaped in JSON and sent bare, ill-formed, in XML.
const SOAP_CANNOT_CARRY: &[&str] = &["message", "raw", "raw_sha256"];

#[tokio::test]
async fn characters_that_xml_forbids() {
    let world = world_of(vec![
        event("GeneralUserEvent", 1, 0, vec![("fullFormattedMessage", text("bell \u{7} and escape \u{1b}["))]),
        event("GeneralUserEvent", 2, 1, vec![("fullFormattedMessage", text("ほかの <文字> & \"🦀\"\u{9}\u{85}"))]),
    ]);
    let mut answers = Vec::new();
    for protocol in PROTOCOLS {
        let bench = Bench::start(Arc::clone(&world), Options::default(), protocol, "").await;
        let answer = read(&bench, events()).await;
        assert_eq!((answer.keys(), answer.rejected.len()), (vec![1, 2], 0));
        let messages = answer.column("message");
        let expected =
            if protocol == "soap" { "bell \u{fffd} and escape \u{fffd}[" } else { "bell \u{7} and escape \u{1b}[" };
        assert_eq!(messages[0].as_deref(), Some(expected));
        assert_eq!(messages[1].as_deref(), Some("ほかの <文字> & \"🦀\"\u{9}\u{85}"));
        answers.push(columns(&answer));
    }
    for ((name, soap), (_, json)) in answers[0].iter().zip(&answers[1]) {
        assert!(soap == json || SOAP_CANNOT_CARRY.contains(&name.as_str()), "{name}");
    }
}

#[tokio::test]
async fn holes_that_the_log_names_are_notes() {
    let named = |id: &'static str| vec![("eventTypeId", text(id)), ("message", text(""))];
    for (id, words) in [
        ("com.vmware.vc.EventBurstCompressedEvent", Some("never stored")),
        ("com.vmware.vc.EventBurstStartedEvent", Some("only the first 30")),
        ("com.vmware.vc.RestrictedAccess", Some("may not see")),
        ("com.vmware.vc.ha.SomethingElse", None),
    ] {
        for protocol in PROTOCOLS {
            // Twice in the log, once in the notes.
            let world = world_of((0..2).map(|key| event("EventEx", key, 0, named(id))).collect());
            let bench = Bench::start(world, Options::default(), protocol, "").await;
            let answer = read(&bench, events()).await;
            assert_eq!(answer.notes.len(), usize::from(words.is_some()), "{:?}", answer.notes);
            assert!(words.is_none_or(|words| answer.notes[0].contains(words)), "{:?}", answer.notes);
            assert_eq!(answer.keys().len(), 2);
        }
    }
}

#[tokio::test]
async fn a_password_in_a_broken_record_is_not_shown() {
    let spec = object("HostAccountSpec", vec![("id", text("local1")), ("password", text("not-a-secret"))]);
    let world =
        world_of(vec![event("AccountCreatedEvent", 7, 0, vec![("spec", spec), ("group", VimValue::Bool(false))])]);
    for protocol in PROTOCOLS {
        for broken_event in [None, Some(7)] {
            let options = Options { broken_event, ..Options::default() };
            let bench = Bench::start(Arc::clone(&world), options, protocol, "").await;
            let page = bench.source.fetch(&bench.cx, &events()).await.unwrap();
            assert_eq!(page.rejected.len(), usize::from(broken_event.is_some()));
            let shown = format!("{page:?}");
            assert!(shown.contains("local1") && !shown.contains("not-a-secret"), "{shown}");
        }
    }
}
