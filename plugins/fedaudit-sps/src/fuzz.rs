//! Fuzz targets for everything that an appliance sends. `docs/fuzzing.md` tells how they run.

use fedaudit_core::{Cursor, EventBuilder, SessionBuilder, StreamKind, Time, TimeQuality, Window};
use fedaudit_fuzz::Depth;
use fedaudit_testkit::conformance::{texts, unsound};
use fedaudit_transport::HttpResponse;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::api::{List, refusal};
use crate::config::{Config, Detail};
use crate::entry::{Seen, Terms, not_indexed};
use crate::login::appliance;
use crate::normalize::{push_events, push_session};
use crate::object::{Rest, Tape};
use crate::position::{Position, Sighting};
use crate::record::{Record, read_time};

const NOW: Time = Time::from_micros(1_795_317_601_000_000);

/// Items of a list as a general parser finds them; none if that finds no such list.
fn items(input: &[u8]) -> Option<Vec<&RawValue>> {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        items: Vec<&'a RawValue>,
    }
    serde_json::from_slice::<Whole<'_>>(input).ok().map(|whole| whole.items)
}

/// Every item of a list is a session or refused, a session is one row with its bytes, and its events have its times; a
/// list that was cut off is never a shorter one.
#[test]
fn list() {
    fedaudit_fuzz::target!("list", |input| {
        let Ok(list) = serde_json::from_slice::<List<'_>>(input) else { return Depth::Refused };
        assert_eq!(Some(list.items.len()), items(input).map(|items| items.len()));
        let (mut records, mut tape) = (Vec::new(), Tape::default());
        let mut sent = Vec::new();
        for item in &list.items {
            match Record::decode(item.get(), &mut tape, NOW) {
                Ok(record) => {
                    sent.push(Some(item.get().to_owned()));
                    records.push(record);
                }
                Err(reason) => assert!(!reason.is_empty()),
            }
        }
        let (mut sessions, mut events) = (SessionBuilder::new("k"), EventBuilder::new("k"));
        for record in &records {
            let before = events.len();
            push_session(&mut sessions, record, None);
            push_events(&mut events, record, &Window::ALL, NOW, Some("7.5"));
            assert!((1..=2).contains(&(events.len() - before)));
            let start = record.start.time.unwrap_or_default();
            let around = Window::new(start, start.plus(std::time::Duration::from_secs(1)));
            assert!(record.overlaps(&Window::ALL) && record.overlaps(&around));
        }
        let (sessions, events) = (sessions.finish().expect("rows"), events.finish().expect("rows"));
        assert_eq!(texts(&sessions, "raw"), sent);
        assert_eq!(unsound(&sessions, StreamKind::Sessions), None);
        assert_eq!(unsound(&events, StreamKind::Events), None);
        let end = input.trim_ascii_end().len();
        for short in [1, 2, 3, 40, end / 2] {
            let beginning = &input[..end.saturating_sub(short)];
            assert!(serde_json::from_slice::<List<'_>>(beginning).is_err());
        }
        let seen: Vec<_> = records
            .iter()
            .map(|record| Some((&*record.key, record.start.time.map(Time::micros), record.revision.unwrap_or(1))))
            .collect();
        walked(Position::default(), seen, list.meta.match_count);
        Depth::reached(!records.is_empty())
    });
}

/// A walk takes no more than there is of a page, and stands somewhere after it.
fn walked(mut position: Position, items: Vec<Option<(&str, Option<i64>, i64)>>, hits: Option<u64>) {
    let count = items.len();
    let next = Some("/api/audit/sessions?offset=1".to_owned());
    let sighting = Sighting { items, next, hits, limit: 500, bound: Some(NOW.micros()) };
    for _ in 0..3 {
        let Ok(step) = position.step(&sighting) else { return };
        assert!(step.take <= count);
        let written = Cursor::new(&position).expect("a cursor");
        let again = written.read::<Position>().and_then(|read| Cursor::new(&read)).expect("a cursor");
        assert_eq!(again, written);
    }
}

/// A document is taken apart into the members that a general parser finds, and put together again.
#[test]
fn object() {
    fedaudit_fuzz::target!("object", |input| {
        let Ok(text) = std::str::from_utf8(input) else { return Depth::Refused };
        // Whoever looks first must not fall over what is no JSON.
        let _ = Tape::parse(text);
        let tape = Tape::check(text);
        let Ok(mut expected) = serde_json::from_str::<Value>(text) else { return Depth::Refused };
        assert_eq!(tape.is_ok(), expected.is_object(), "{tape:?}");
        let (Ok(tape), Value::Object(members)) = (tape, &mut expected) else { return Depth::Refused };
        members.retain(|_, value| !value.is_null());
        let (mut rest, root) = (Rest::default(), tape.root());
        rest.all(&root);
        let again = rest.finish().unwrap_or_else(|| "{}".to_owned());
        let mut again: Value = serde_json::from_str(&again).unwrap_or_else(|error| panic!("{error}: {again}"));
        if let Value::Object(members) = &mut again {
            // Of a repeated name the last counts, were it null.
            members.retain(|name, _| expected.get(name).is_some());
        }
        let repeated = text.matches("null").count() > 0 && again != expected;
        assert!(repeated || again == expected, "{again} {expected}");
        for name in expected.as_object().into_iter().flat_map(|members| members.keys()) {
            let mut root = tape.root();
            let _ = (root.object(name).boolean("a"), root.int(name), root.port(name), root.text(name));
        }
        Depth::reached(!root.is_empty())
    });
}

/// Every entry of a list below a session is a row, lies outside the window, or is refused; its bytes stay.
#[test]
fn entries() {
    fedaudit_fuzz::target!("entries", |input| {
        const SESSION: &str = r#"{"key":"k1","body":{"start_time":"2026-11-22T03:00:00Z","end_time":"2026-11-22T04:00:00Z",
            "active":false,"recording":{"session_id":"svc/a-1","index_status":"INDEXED"},"user":{"name":"CORP\\ana"}}}"#;
        let Ok(list) = serde_json::from_slice::<List<'_>>(input) else { return Depth::Refused };
        let session = Record::decode(SESSION, &mut Tape::default(), NOW).expect("a session");
        assert_eq!(not_indexed(&session), None);
        let mut read = 0;
        for detail in Detail::ALL {
            let terms = Terms { detail, window: Window::ALL, naive_offset: 7200, now: NOW, version: None };
            let (mut rows, mut seen, mut sent) = (EventBuilder::new("k"), Seen::new(), Vec::new());
            for item in &list.items {
                match terms.push(&mut rows, &session, item.get(), &mut seen) {
                    Ok(_) => sent.push(Some(item.get().to_owned())),
                    Err(reason) => assert!(!reason.is_empty()),
                }
            }
            let rows = rows.finish().expect("rows");
            assert_eq!(texts(&rows, "raw"), sent);
            assert_eq!(unsound(&rows, StreamKind::Events), None);
            let mut keys = texts(&rows, "event_key");
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), rows.num_rows(), "two entries with one key");
            read += rows.num_rows();
        }
        Depth::reached(read > 0)
    });
}

/// What an appliance says of itself and why it refuses: a short line, whatever it sends.
#[test]
fn info() {
    fedaudit_fuzz::target!("info", |input| {
        let headers = [("content-type".parse().unwrap(), "application/json".parse().unwrap())].into_iter().collect();
        let response = HttpResponse { status: 200, headers, body: input.to_vec().into() };
        let told = appliance(&response);
        assert!(told.is_ok() || !std::str::from_utf8(input).is_ok_and(|text| text == "{}"));
        let mut words = false;
        for status in [400, 403, 404, 429, 500] {
            let error = refusal(&HttpResponse { status, ..response.clone() });
            assert!(error.message().chars().count() < 400 && !error.message().chars().any(char::is_control), "{error}");
            words |= error.message().contains(": ");
        }
        Depth::reached(told.is_ok_and(|appliance| appliance.firmware.is_some()) || words)
    });
}

/// A time is storable, and of the quality that its text has.
#[test]
fn time() {
    fedaudit_fuzz::target!("time", |input| {
        let text = String::from_utf8_lossy(input);
        let Some((time, quality, _)) = read_time(&text) else { return Depth::Refused };
        assert!(time.is_storable());
        match quality {
            TimeQuality::Seconds if text.contains(':') => {
                assert_eq!(time.micros() % 1_000_000 == 999_999, text.contains(":60"));
            }
            TimeQuality::Seconds => assert!(text.parse::<i64>().is_ok()),
            TimeQuality::AssumedZone => assert!(!text.ends_with(['Z', 'z'])),
            _ => assert!(text.contains(['.', ','])),
        }
        Depth::Decoded
    });
}

/// A cursor is read back as it was written, and whatever it says, reading goes on or ends with an error.
#[test]
fn cursor() {
    fedaudit_fuzz::target!("cursor", |input| {
        let Ok(position) = serde_json::from_slice::<Position>(input) else { return Depth::Refused };
        let micros = |second: i64| Some(NOW.micros() + second * 1_000_000);
        let items = vec![Some(("a", micros(0), 1)), None, Some(("b", None, 2)), Some(("c", micros(1), 1))];
        for hits in [None, Some(4), Some(10_000), Some(u64::MAX)] {
            walked(position.clone(), items.clone(), hits);
            walked(position.clone(), Vec::new(), hits);
        }
        Depth::Decoded
    });
}

/// No configuration panics; one that is taken has an encrypted origin and a zone within a day.
#[test]
fn config() {
    fedaudit_fuzz::target!("config", |input| {
        let text = String::from_utf8_lossy(input);
        let Ok(config) = toml::from_str::<Config>(&text) else { return Depth::Refused };
        let origin = config.origin();
        assert!(origin.as_ref().is_ok_and(fedaudit_transport::Origin::is_tls) || origin.is_err());
        assert!(config.naive_offset().map_or(0, i64::abs) < 86_400);
        assert!(Detail::ALL.into_iter().all(|detail| config.reach(detail) >= config.look_back()));
        Depth::reached(origin.is_ok())
    });
}
