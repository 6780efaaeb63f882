//! A record as its members: names and raw values in the order received, so that nothing is lost whatever its class.

use std::borrow::Cow;
use std::fmt;

use fedaudit_core::Rejected;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::redact::without_passwords;
use crate::transcode::{Declared, Note, write_json};

/// The records of an answer as received. Each is brought into VI JSON form when it is looked at, in one place for all of them:
/// a page is long, a record fits into a processor's cache.
#[derive(Debug)]
pub(crate) struct Records<'d> {
    received: Vec<&'d str>,
    xml: Option<Xml<'d>>,
}

/// What is known of records that are XML.
#[derive(Debug)]
pub(crate) struct Xml<'d> {
    pub(crate) declared: Declared,
    /// Prefixes that name types, besides the customary one.
    pub(crate) prefixes: Vec<&'d str>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct Record<'a> {
    /// The text.
    pub(crate) json: &'a str,
    known: Option<Members<'a>>,
}

impl<'d> Records<'d> {
    pub(crate) fn new(received: impl IntoIterator<Item = &'d str>, xml: Option<Xml<'d>>) -> Self {
        Self { received: received.into_iter().collect(), xml }
    }

    pub(crate) fn len(&self) -> usize {
        self.received.len()
    }

    /// What something makes of each record, or of the reason why it is none.
    pub(crate) fn map<T>(&self, mut each: impl FnMut(Result<Record<'_>, Rejected>) -> T) -> Vec<T> {
        let (mut text, mut notes) = (String::new(), Vec::new());
        let decode = |&received: &&'d str| {
            let Some(Xml { declared, prefixes }) = &self.xml else {
                return each(Ok(Record { json: received, known: None }));
            };
            text.clear();
            notes.clear();
            match write_json(received, *declared, prefixes, &mut text, &mut notes) {
                Ok(()) => each(Ok(Record { json: &text, known: Some(Members::Noted { text: &text, notes: &notes }) })),
                Err(reason) => each(Err(Rejected { raw: without_passwords(received), reason })),
            }
        };
        self.received.iter().map(decode).collect()
    }

    /// Puts them into the order of their keys.
    pub(crate) fn sort_by<K: Ord>(&mut self, key: impl FnMut(Result<Record<'_>, Rejected>) -> K) {
        let mut keyed: Vec<_> = self.map(key).into_iter().zip(self.received.drain(..)).collect();
        keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.received.extend(keyed.into_iter().map(|(_, received)| received));
    }
}

impl<'a> Record<'a> {
    /// The members of the outermost object.
    pub(crate) fn members(self) -> Result<Members<'a>, String> {
        self.known.map_or_else(|| Members::parse(self.json), Ok)
    }
}

/// A JSON object: names and values, each value undecoded.
#[derive(Clone, Debug)]
pub(crate) enum Members<'a> {
    /// Read from text.
    Parsed(Vec<(Cow<'a, str>, &'a str)>),
    /// Noted when the text was written.
    Noted { text: &'a str, notes: &'a [Note<'a>] },
}

impl<'a> Members<'a> {
    /// Reads the outermost object only.
    pub(crate) fn parse(json: &'a str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        let mut at = 0;
        std::iter::from_fn(move || match self {
            Self::Parsed(members) => {
                let (name, value) = members.get(at)?;
                at += 1;
                Some((name.as_ref(), *value))
            }
            Self::Noted { text, notes } => {
                let note = notes.get(at)?;
                at += 1 + note.inside;
                Some((note.name, &text[note.value.clone()]))
            }
        })
    }

    /// The value of a member; null is none.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.find(name).map(|(value, _)| value)
    }

    /// The value of a member with what is noted of the members inside it.
    fn find(&self, name: &str) -> Option<(&'a str, &'a [Note<'a>])> {
        let (value, inside): (_, &[_]) = match self {
            Self::Parsed(members) => (members.iter().find(|(member, _)| member == name)?.1, &[]),
            Self::Noted { text, notes } => {
                let mut at = 0;
                while notes.get(at)?.name != name {
                    at += 1 + notes[at].inside;
                }
                (&text[notes[at].value.clone()], &notes[at + 1..][..notes[at].inside])
            }
        };
        (value != "null").then_some((value, inside))
    }

    /// A text member, boxed or not; empty is none.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        text(self.get(name)?).filter(|text| !text.is_empty())
    }

    /// A whole number, which a careless encoder may have quoted.
    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.get(name)?.trim_matches('"').parse().ok()
    }

    /// A member that is an object.
    pub(crate) fn object(&self, name: &str) -> Option<Members<'a>> {
        match (self, self.find(name)?) {
            (Self::Noted { text, .. }, (_, notes)) if !notes.is_empty() => Some(Members::Noted { text, notes }),
            (_, (value, _)) => Members::parse(value).ok(),
        }
    }
}

/// The text of a value: a JSON string, or one in a box of declared type `any`.
fn text(value: &str) -> Option<Cow<'_, str>> {
    match value.as_bytes().first() {
        Some(b'"') => {
            let inner = value.get(1..value.len() - 1)?;
            if memchr::memchr(b'\\', inner.as_bytes()).is_some() {
                serde_json::from_str::<String>(value).ok().map(Cow::Owned)
            } else {
                Some(inner.into())
            }
        }
        Some(b'{') => {
            let inner = Members::parse(value).ok()?.get("_value")?;
            text(inner).or_else(|| Some(inner.into()))
        }
        _ => None,
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(16);
                while let Some(Name(name)) = map.next_key()? {
                    members.push((name, map.next_value::<&RawValue>()?.get()));
                }
                Ok(Members::Parsed(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(name.into()))
            }
            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(name.to_owned().into()))
            }
        }
        deserializer.deserialize_str(Borrow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_many_forms() {
        let json = r#"{"a":"x","b":"\u0041","c":{"_typeName":"string","_value":"y"},"d":null,"e":"","f":{"_value":5},"g":-3,"h":"4"}"#;
        let members = Members::parse(json).unwrap();
        let text = |name| members.text(name).unwrap_or_default().into_owned();
        assert_eq!([text("a"), text("b"), text("c"), text("d"), text("e"), text("f")], ["x", "A", "y", "", "", "5"]);
        assert_eq!((members.int("g"), members.int("h"), members.int("a")), (Some(-3), Some(4), None));
        assert!(Members::parse("[]").is_err());
    }
}
