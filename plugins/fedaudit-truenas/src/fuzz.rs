//! Fuzz targets for everything that an appliance sends. `docs/fuzzing.md` tells how they run.

use std::sync::OnceLock;

use fedaudit_core::{Cursor, Direction, ErrorKind, PageRequest, Secret, StreamKind, Time, Window};
use fedaudit_fuzz::Depth;
use fedaudit_testkit::conformance::{texts, unsound};
use fedaudit_transport::Origin;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::live::Notice;
use crate::normalize::Mark;
use crate::position::{Position, Turned};
use crate::redact::{self, Cut, splice};
use crate::rpc::{Answer, Failure, Heard};
use crate::scram::{Opening, Parts, Proof};
use crate::sessions::{Fate, add};
use crate::{Config, Reading, Service, decode_page, decode_sessions, push};

const NOW: Time = Time::from_micros(1_795_317_601_000_000);

fn reading() -> Reading<'static> {
    Reading { now: NOW, own_session: Some("s1"), own_key: Some("7"), ..Reading::default() }
}

/// The items of an answer's result as a general parser finds them; none if that finds no such list in it.
fn items(input: &[u8]) -> Option<Vec<&RawValue>> {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        result: Vec<&'a RawValue>,
    }
    serde_json::from_str::<Whole<'_>>(std::str::from_utf8(input).ok()?).ok().map(|whole| whole.result)
}

/// Beginnings of an answer: none of them is the answer.
fn beginnings(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = input.trim_ascii_end().len();
    [1, 2, 3, 17, 40, whole / 3, whole / 2].into_iter().filter_map(move |short| input.get(..whole.checked_sub(short)?))
}

/// Every record is a row or a rejected record with its bytes, in the order of the list; what is no list of records to a
/// general parser is none to ours, and the other way round; an answer that was cut off is never a shorter one.
#[test]
fn page() {
    fedaudit_fuzz::target!("page", |input| {
        let items = items(input);
        let mut rows = 0;
        for service in Service::ALL {
            let decoded = decode_page(input, service, "k", &reading()).ok();
            assert_eq!(decoded.as_ref().map(|page| page.records), items.as_ref().map(Vec::len));
            let Some(page) = decoded else { break };
            assert_eq!(page.rows.num_rows() + page.rejected.len(), page.records);
            assert_eq!(unsound(&page.rows, StreamKind::Events), None);
            rows += page.rows.num_rows();
            let raws = texts(&page.rows, "raw");
            let kept: Vec<&str> =
                raws.iter().flatten().chain(page.rejected.iter().map(|bad| &bad.raw)).map(String::as_str).collect();
            for json in &kept {
                assert!(serde_json::from_str::<IgnoredAny>(json).is_ok(), "{json}");
            }
            if service == Service::Smb {
                // Nothing in these is a secret.
                let mut sent: Vec<&str> = items.iter().flatten().map(|item| item.get()).collect();
                let mut kept = kept;
                sent.sort_unstable();
                kept.sort_unstable();
                assert_eq!(kept, sent);
            }
            for beginning in beginnings(input) {
                assert!(decode_page(beginning, service, "k", &reading()).is_err());
            }
        }
        Depth::reached(rows > 0)
    });
}

/// The same of the list of live sessions.
#[test]
fn sessions() {
    fedaudit_fuzz::target!("sessions", |input| {
        let decoded = decode_sessions(input, "k", &reading()).ok();
        assert_eq!(decoded.as_ref().map(|list| list.records), items(input).map(|items| items.len()));
        let Some(list) = decoded else { return Depth::Refused };
        assert_eq!(list.rows.num_rows() + list.rejected.len(), list.records);
        assert_eq!(unsound(&list.rows, StreamKind::Sessions), None);
        let mut kept: Vec<String> = texts(&list.rows, "raw").into_iter().flatten().collect();
        kept.extend(list.rejected.iter().map(|bad| bad.raw.clone()));
        kept.sort_unstable();
        let mut sent: Vec<String> = items(input).into_iter().flatten().map(|item| item.get().to_owned()).collect();
        sent.sort_unstable();
        assert_eq!(kept, sent);
        assert!(beginnings(input).all(|beginning| decode_sessions(beginning, "k", &reading()).is_err()));
        Depth::reached(list.rows.num_rows() > 0)
    });
}

/// A message belongs to the call whose id its outermost object has; what is no result is never read as an empty one; a
/// notice has a session or it has none.
#[test]
fn message() {
    fedaudit_fuzz::target!("message", |input| {
        let Ok(text) = std::str::from_utf8(input) else { return Depth::Refused };
        let Ok(Json::Object(members)) = serde_json::from_str::<Json>(text) else {
            let _ = (Heard::of(text), Notice::read(text));
            return Depth::Refused;
        };
        let of = |wanted: &str| -> Vec<&Json> {
            members.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value).collect()
        };
        match of("id").as_slice() {
            [Json::Number(id)] => match id.parse() {
                Ok(id) => assert_eq!(Heard::of(text), Heard::Answer(id)),
                Err(_) => assert!(matches!(Heard::of(text), Heard::Nonsense(_))),
            },
            [] => assert!(!matches!(Heard::of(text), Heard::Answer(_))),
            // Nobody knows what a repeated id means.
            _ => {}
        }
        match Answer::received(text.to_owned()) {
            Err(failure @ Failure::Refused(_)) => {
                assert!(matches!(of("error").as_slice(), [Json::Object(_)]), "no refusal in {text}");
                let error = failure.into_error("audit.query");
                assert!(error.message().chars().count() <= 300 && !error.message().contains('\n'));
            }
            Err(Failure::Wire(error)) => panic!("{error}"),
            Ok(answer) => {
                let list = answer.result::<Vec<IgnoredAny>>().map(|list| list.len()).ok();
                let sent = match of("result").as_slice() {
                    [Json::List(list)] => Some(list.len()),
                    _ => None,
                };
                assert_eq!(list, sent);
            }
        }
        match Notice::read(text) {
            Notice::Added(session) => {
                let mut builder = fedaudit_core::SessionBuilder::new("k");
                let added = add(&mut builder, &session, Fate::Ended(NOW), &reading()).is_ok();
                let rows = builder.finish().expect("rows");
                assert_eq!((rows.num_rows() == 1, unsound(&rows, StreamKind::Sessions)), (added, None));
            }
            Notice::Removed(id) => assert!(!id.is_empty()),
            Notice::Ended | Notice::Other => {}
        }
        Depth::Decoded
    });
}

/// After the cuts no member of a secret's name holds one, whatever stands around it; without such a member nothing is cut.
#[test]
fn redaction() {
    fedaudit_fuzz::target!("redaction", |input| {
        let Ok(text) = std::str::from_utf8(input) else { return Depth::Refused };
        let text = text.trim();
        let Ok(before) = serde_json::from_str::<Json>(text) else { return Depth::Refused };
        for service in Service::ALL {
            let (mut cuts, mut out) = (Vec::new(), String::new());
            redact::find(service, text, &mut cuts);
            cuts.sort_by_key(Cut::address);
            splice(text, &cuts, &mut out);
            let after: Json = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
            after.no_secret(service);
            // A text that looks like a piece of a record is taken for one.
            let looks = ["\\\"", "env", "raw_lines"].iter().any(|word| text.contains(word));
            if !before.has_secret(service) && !looks {
                assert_eq!(out, text);
            }
        }
        Depth::reached(Service::ALL.into_iter().any(|service| before.has_secret(service)))
    });
}

/// A server proves that it knows the key, or it is refused; what it asks for is within bounds.
#[test]
fn scram() {
    fedaudit_fuzz::target!("scram", |input| {
        static PROOF: OnceLock<Proof> = OnceLock::new();
        let text = String::from_utf8_lossy(input);
        let key = Parts::of(&Secret::new("7-not-a-secret")).expect("a key");
        let opening = Opening::new("ana", &key).expect("random numbers");
        let nonce = opening.nonce.clone();
        let answer = opening.read(&text.replace("NONCE", &nonce));
        if let Ok(answer) = &answer {
            assert!(text.contains("NONCE") && answer.nonce.starts_with(&nonce) && answer.nonce != nonce);
            assert!((4096..=5_000_000).contains(&answer.rounds.get()));
        }
        let proof = PROOF.get_or_init(|| {
            let opening = Opening::new("ana", &key).expect("random numbers");
            let first = format!("r={}x,s=c2FsdA==,i=4096", opening.nonce);
            opening.read(&first).expect("an answer").prove(&key.secret)
        });
        assert_eq!(proof.verify(&text).expect_err("nobody knows the key").kind(), ErrorKind::Unauthenticated);
        Depth::reached(answer.is_ok())
    });
}

/// A cursor is read back as it was written, and whatever it says, there is a next question.
#[test]
fn cursor() {
    fedaudit_fuzz::target!("cursor", |input| {
        let Ok(position) = serde_json::from_slice::<Position>(input) else { return Depth::Refused };
        let again: Position = Cursor::new(&position).and_then(|cursor| cursor.read()).expect("a cursor");
        assert_eq!(again, position);
        let marks: Vec<Mark<'_>> = position
            .seen
            .iter()
            .map(|(second, id)| Mark { second: second.checked_add(1), audit_id: Some(id.as_str().into()) })
            .collect();
        let window = Window { from: position.second.and_then(Time::from_seconds), to: None };
        let request = PageRequest { direction: Direction::NewestFirst, ..PageRequest::first("audit.SMB", window) };
        for (full, marks) in [(true, marks.as_slice()), (false, &marks), (true, &[]), (false, &[])] {
            let bounds = push::seconds(&request.window);
            let repeated = [position.second, None];
            let turned = Turned { marks, repeated: &repeated, full, limit: 10_000, bounds };
            let (next, _) = position.after(&turned).expect("a next position");
            if let fedaudit_core::Next::More(cursor) = next {
                let next: Position = cursor.read().expect("a position");
                let is_time = position.second.and_then(Time::from_seconds).is_some();
                assert!(full || !is_time || next.second != position.second, "the same question again: {position:?}");
                let _ = next.filters(bounds);
            }
        }
        Depth::Decoded
    });
}

/// No configuration panics, and none that is refused has its words repeated.
#[test]
fn config() {
    fedaudit_fuzz::target!("config", |input| {
        let text = String::from_utf8_lossy(input);
        let Ok(config) = toml::from_str::<Config>(&text) else { return Depth::Refused };
        let origin = Origin::parse(&config.url);
        if let Ok(origin) = &origin {
            let credential = config.credential(origin);
            let given = [config.api_key.is_some(), config.password.is_some(), config.token.is_some()];
            assert!(credential.is_err() || given.iter().filter(|given| **given).count() == 1);
            assert!(credential.is_err() || origin.is_tls() || config.password.is_some());
        }
        Depth::reached(origin.is_ok())
    });
}

/// JSON with every member that was written, repeated names included.
#[derive(Debug)]
enum Json {
    Null,
    Truth,
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Whether a member of this name holds what must not be shown.
    fn is_secret(service: Service, name: &str, value: &Json) -> bool {
        match (service, name) {
            (Service::Middleware, "token" | "api_key" | "password" | "otp_token" | "rfc_str") => {
                matches!(value, Json::Text(text) if !matches!(text.as_str(), "" | "***" | "<INVALID>" | "********"))
            }
            (Service::Sudo, "runenv" | "submitenv") => match value {
                Json::List(list) => {
                    !list.iter().all(|entry| matches!(entry, Json::Text(text) if text.ends_with("=***")))
                }
                Json::Object(members) => {
                    !members.iter().all(|(_, value)| matches!(value, Json::Text(text) if text == "***"))
                }
                Json::Text(text) => {
                    !text.is_empty() && text != "***" && text.split(',').any(|entry| !entry.ends_with("=***"))
                }
                Json::Number(_) | Json::Truth => true,
                Json::Null => false,
            },
            (Service::System, "data" | "raw_lines") => {
                !matches!(value, Json::Null) && !matches!(value, Json::Text(text) if text.starts_with("*** ("))
            }
            _ => false,
        }
    }

    fn any(&self, is: &mut impl FnMut(&str, &Json) -> bool) -> bool {
        match self {
            Self::Object(members) => members.iter().any(|(name, value)| is(name, value) || value.any(is)),
            Self::List(items) => items.iter().any(|item| item.any(is)),
            _ => false,
        }
    }

    fn has_secret(&self, service: Service) -> bool {
        self.any(&mut |name, value| Self::is_secret(service, name, value))
    }

    fn no_secret(&self, service: Service) {
        assert!(!self.has_secret(service), "{service:?} leaves a secret: {self:?}");
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
                Ok(Json::Truth)
            }
            fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
                Ok(Json::Number(number.to_string()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
                Ok(Json::Number(number.to_string()))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
                Ok(Json::Number(format!("{number:?}")))
            }
            fn visit_str<E>(self, text: &str) -> Result<Json, E> {
                Ok(Json::Text(text.to_owned()))
            }
            fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Json, S::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Json::List(items))
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Json, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Json::Object(members))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
