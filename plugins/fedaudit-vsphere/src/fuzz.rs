//! Fuzz targets for everything that a server sends. `docs/fuzzing.md` tells how they run.

use bytes::Bytes;
use fedaudit_core::{Cursor, EventBuilder, Rejected, SessionBuilder, StreamKind, Time};
use fedaudit_fuzz::Depth;
use fedaudit_testkit::conformance::{texts, unsound};
use fedaudit_transport::HttpResponse;
use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::Config;
use crate::cursor::{Place, Toward};
use crate::fault::Failure;
use crate::normalize::{Normalizer, Position, position};
use crate::record::{Members, Records};
use crate::redact::without_passwords;
use crate::session::{Part, newest_version, property_in, unboxed};
use crate::transcode::Declared;
use crate::wire::{Answer, fault_of, understood};

const NOW: Time = Time::from_micros(1_795_317_601_000_000);
const NORMALIZER: Normalizer<'_> =
    Normalizer { own_session: "s1", own_user: "CORP\\reader", product_version: Some("8.0.3"), now: NOW };

fn answer(body: &[u8], soap: bool) -> Answer {
    let body = Bytes::copy_from_slice(body);
    Answer::new(HttpResponse { status: 200, headers: http::HeaderMap::new(), body }, soap)
}

/// Rows of events and of sessions that a page gives; every record is a row or rejected with its bytes, and no password is
/// left in either.
fn rows(records: &Records<'_>) -> usize {
    let (mut events, mut sessions) = (EventBuilder::new("k"), SessionBuilder::new("k"));
    let bad = |json: &str, reason| Rejected { raw: without_passwords(json), reason };
    let bad_events = records.map(|record| {
        let record = record?;
        let json = record.json;
        let members = record.members().map_err(|reason| bad(json, reason))?;
        let at = position(&members).map_err(|reason| bad(json, reason))?;
        NORMALIZER.event(json, &members, at, &mut events)
    });
    let bad_sessions = records.map(|record| NORMALIZER.session(record?.json, NOW, &mut sessions));
    let bad_events: Vec<Rejected> = bad_events.into_iter().filter_map(Result::err).collect();
    let bad_sessions: Vec<Rejected> = bad_sessions.into_iter().filter_map(Result::err).collect();
    let (events, sessions) = (events.finish().expect("rows"), sessions.finish().expect("rows"));
    assert_eq!(events.num_rows() + bad_events.len(), records.len());
    assert_eq!(sessions.num_rows() + bad_sessions.len(), records.len());
    assert_eq!(unsound(&events, StreamKind::Events), None);
    assert_eq!(unsound(&sessions, StreamKind::Sessions), None);
    for raw in texts(&events, "raw").iter().chain(&texts(&events, "unmapped")).flatten() {
        assert!(!shows_password(raw), "{raw}");
    }
    for bad in &bad_events {
        assert!(!bad.raw.is_empty() && !bad.reason.is_empty());
        assert!(!shows_password(&bad.raw), "{}", bad.raw);
    }
    events.num_rows() + sessions.num_rows()
}

/// Whether a record still has a password, in any of its objects.
fn shows_password(json: &str) -> bool {
    fn inside(value: &Value) -> bool {
        match value {
            Value::Object(members) => members
                .iter()
                .any(|(name, value)| inside(value) || (name == "password" && !value.is_null() && value != "***")),
            Value::Array(items) => items.iter().any(inside),
            _ => false,
        }
    }
    // Of a repeated name this sees one value: that of the marker is looked for as well.
    serde_json::from_str::<Value>(json).is_ok_and(|record| inside(&record)) || json.contains("\"password\":\"s3cret\"")
}

/// How many elements of that name stand in a well-formed document, none inside another; nothing where that is not so, or
/// where something else may hold the text of one.
fn elements_in(document: &str, name: &str) -> Option<usize> {
    let mut reader = Reader::from_str(document);
    let (mut open, mut inside, mut count) = (0_usize, None, 0);
    loop {
        let event = reader.read_event().ok()?;
        if !matches!(event, Event::Text(_)) && event.contains('<') {
            return None;
        }
        match event {
            Event::Start(start) => {
                open += 1;
                if start.name().0 == name {
                    (inside.is_none() && !name_is_longer(document, name)).then_some(())?;
                    (inside, count) = (Some(open), count + 1);
                }
            }
            Event::Empty(empty) if empty.name().0 == name => {
                inside.is_none().then_some(())?;
                count += 1;
            }
            Event::End(_) => {
                if inside == Some(open) {
                    inside = None;
                }
                open = open.checked_sub(1)?;
            }
            Event::CData(_) | Event::Comment(_) | Event::PI(_) | Event::DocType(_) => return None,
            Event::Eof => return (open == 0).then_some(count),
            _ => {}
        }
    }
}

/// Whether an end tag has space in it, which servers never write and ours does not look for.
fn name_is_longer(document: &str, name: &str) -> bool {
    document.contains(&format!("</{name} ")) || document.contains(&format!("</{name}\n"))
}

/// Of an answer over SOAP every record is JSON with the members that were noted, and there are as many as a full parser
/// finds; an answer that was cut off is an error.
#[test]
fn soap() {
    fedaudit_fuzz::target!("soap", |input| {
        let received = answer(input, true);
        let (document, declared) = (received.document().to_owned(), Declared::Event);
        let Ok(received) = understood(received, "ReadNextEventsResponse") else { return Depth::Refused };
        let records = received.values(declared).expect("a page");
        if let Some(count) = elements_in(&document, "returnval") {
            assert_eq!(records.len(), count, "{document}");
            assert_eq!(received.is_empty(), count == 0);
        }
        records.map(|record| {
            let record = match record {
                Ok(record) => record,
                Err(bad) => {
                    assert!(!bad.raw.contains("s3cret") || !has_tag_of_password(&bad.raw), "{}", bad.raw);
                    return;
                }
            };
            serde_json::from_str::<&RawValue>(record.json).unwrap_or_else(|error| panic!("{error}: {}", record.json));
            if let (Ok(known), Ok(parsed)) = (record.clone().members(), Members::parse(record.json)) {
                // An element without elements has no members of its own, whatever its type adds.
                if known.iter().next().is_none() {
                    assert!(parsed.get("key").is_none() && parsed.get("createdTime").is_none(), "{}", record.json);
                } else {
                    assert_eq!(known.iter().collect::<Vec<_>>(), parsed.iter().collect::<Vec<_>>());
                }
            }
        });
        let end = document.trim_end().len();
        for short in [1, 5, 30, 100, end / 2] {
            let cut = end.checked_sub(short).map_or(0, |cut| document.floor_char_boundary(cut));
            let beginning = &document[..cut];
            // What follows a whole answer is not missed.
            if !beginning.trim_end().ends_with("Envelope>") {
                let shorter = answer(beginning.as_bytes(), true);
                assert!(understood(shorter, "ReadNextEventsResponse").is_err(), "{beginning}");
            }
        }
        Depth::reached(rows(&records) > 0)
    });
}

/// Whether the marker of the corpus stands where an element says that it is a password.
fn has_tag_of_password(raw: &str) -> bool {
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once("password") {
        let name_begins = before.ends_with('<') || (before.ends_with(':') && before.rfind('<') > before.rfind('>'));
        let name_ends = after.starts_with(['>', ' ', '\n', '\t']);
        let value = after.split_once('>').map(|(_, value)| value.split('<').next().unwrap_or_default());
        if name_begins && name_ends && value.is_some_and(|value| value.contains("s3cret")) {
            return true;
        }
        rest = after;
    }
    false
}

/// Of an answer over VI JSON there are as many records as a general parser finds, and what that cannot read is an error.
#[test]
fn json() {
    fedaudit_fuzz::target!("json", |input| {
        let received = answer(input, false);
        let document = received.document().to_owned();
        let Ok(received) = understood(received, "") else { return Depth::Refused };
        let records = received.values(Declared::Event);
        let expected = match serde_json::from_str::<&RawValue>(&document) {
            Ok(list) if list.get().starts_with('[') => {
                Some(serde_json::from_str::<Vec<&RawValue>>(list.get()).expect("a list").len())
            }
            Ok(value) => Some(usize::from(value.get() != "null")),
            Err(_) => document.trim().is_empty().then_some(0),
        };
        assert_eq!(records.as_ref().ok().map(Records::len), expected);
        let Ok(records) = records else { return Depth::Refused };
        let end = document.trim_end().len();
        for short in [1, 5, 30, 100] {
            let cut = end.checked_sub(short).map_or(0, |cut| document.floor_char_boundary(cut));
            let beginning = &document[..cut];
            let shorter = answer(beginning.as_bytes(), false);
            let is_number = document.trim_start().starts_with(|c: char| c.is_ascii_digit() || c == '-');
            assert!(beginning.trim().is_empty() || is_number || shorter.values(Declared::Event).is_err());
        }
        Depth::reached(rows(&records) > 0)
    });
}

/// A refusal has a class, and its error one short line; the property of a refused question is never an empty list.
#[test]
fn refusal() {
    fedaudit_fuzz::target!("refusal", |input| {
        let mut found = false;
        for soap in [true, false] {
            let received = answer(input, soap);
            if let Some(fault) = fault_of(&received) {
                found = true;
                let error = fault.into_error();
                assert!(!error.message().chars().any(char::is_control), "{error:?}");
            }
            match property_in(received.document()) {
                Ok(Part::Here) => assert!(received.document().contains("<propSet")),
                Ok(Part::Later(_)) => assert!(received.document().contains("<token")),
                Err(Failure::Fault(_)) => found = true,
                Err(Failure::Error(_)) => {}
            }
            let _ = (received.value(), unboxed(received.document()));
        }
        Depth::reached(found)
    });
}

/// The version that is asked for in every later request is a word that can stand in a header.
#[test]
fn versions() {
    fedaudit_fuzz::target!("versions", |input| {
        let document = crate::transcode::readable(input.to_vec());
        let version = newest_version(&document);
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        assert!(!version.is_empty() && version.bytes().all(is_word), "{version:?}");
        Depth::reached(version != "5.5")
    });
}

/// A cursor is read back as it was written, and whatever it says, reading goes on.
#[test]
fn cursor() {
    fedaudit_fuzz::target!("cursor", |input| {
        let Ok(place) = serde_json::from_slice::<Place>(input) else { return Depth::Refused };
        let again: Place = Cursor::new(&place).and_then(|cursor| cursor.read()).expect("a cursor");
        assert_eq!(again, place);
        let mut way = place.way;
        let (seen, _) = (way.seen(), way.frontier());
        let is_of_ours = seen.iter().all(|at| at.created.is_storable());
        let (edge, toward) = way.edge();
        let next = Position { created: edge.created.unwrap_or(NOW), key: 7 };
        edge.advance(toward, (!seen.contains(&next)).then_some(next));
        edge.advance(if toward == Toward::Newer { Toward::Older } else { Toward::Newer }, seen);
        let written = Cursor::new(&way).expect("a cursor");
        assert!(!is_of_ours || written.read::<crate::cursor::Way>().is_ok(), "{}", written.as_str());
        Depth::Decoded
    });
}

/// No configuration panics; one that is taken has an encrypted origin.
#[test]
fn config() {
    fedaudit_fuzz::target!("config", |input| {
        let text = String::from_utf8_lossy(input);
        let Ok(config) = toml::from_str::<Config>(&text) else { return Depth::Refused };
        let origin = config.validate();
        assert!(origin.as_ref().is_ok_and(fedaudit_transport::Origin::is_tls) || origin.is_err());
        Depth::reached(origin.is_ok())
    });
}
