//! A record as its members: names and raw values in the order received, so that nothing is lost whatever its class.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use fedaudit_core::Rejected;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Records in VI JSON form, received so or made of XML: one text and one list of members for all of them.
#[derive(Debug, Default)]
pub(crate) struct Records<'d> {
    /// What was made of XML; empty if the records stand in the document.
    text: String,
    /// Members of all records made of XML: name, and where in the text the value is.
    members: Vec<(&'d str, Range<usize>)>,
    entries: Vec<Entry<'d>>,
}

#[derive(Debug)]
enum Entry<'d> {
    Received(&'d str),
    Made { text: Range<usize>, members: Range<usize> },
    Bad(Rejected),
}

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct Record<'a> {
    /// The text.
    pub(crate) json: &'a str,
    known: Option<Members<'a>>,
}

impl<'d> Records<'d> {
    /// As received.
    pub(crate) fn received(records: impl IntoIterator<Item = &'d str>) -> Self {
        Self { entries: records.into_iter().map(Entry::Received).collect(), ..Self::default() }
    }

    /// Made by something that writes a record's text and notes its members, or says why it cannot.
    pub(crate) fn made(
        elements: impl Iterator<Item = &'d str>,
        size: usize,
        make: impl Fn(&'d str, &mut String, &mut Vec<(&'d str, Range<usize>)>) -> Result<(), Rejected>,
    ) -> Self {
        let mut records = Self { text: String::with_capacity(size), ..Self::default() };
        for element in elements {
            let (text, members) = (records.text.len(), records.members.len());
            records.entries.push(match make(element, &mut records.text, &mut records.members) {
                Ok(()) => Entry::Made { text: text..records.text.len(), members: members..records.members.len() },
                Err(bad) => {
                    records.text.truncate(text);
                    records.members.truncate(members);
                    Entry::Bad(bad)
                }
            });
        }
        records
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Each record, or why it is none.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Result<Record<'_>, &Rejected>> {
        self.entries.iter().map(|entry| match entry {
            Entry::Received(json) => Ok(Record { json, known: None }),
            Entry::Made { text, members } => {
                let members = Members::Known { text: &self.text, members: &self.members[members.clone()] };
                Ok(Record { json: &self.text[text.clone()], known: Some(members) })
            }
            Entry::Bad(bad) => Err(bad),
        })
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
    Known { text: &'a str, members: &'a [(&'a str, Range<usize>)] },
}

impl<'a> Members<'a> {
    /// Reads the outermost object only.
    pub(crate) fn parse(json: &'a str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        let count = match self {
            Self::Parsed(members) => members.len(),
            Self::Known { members, .. } => members.len(),
        };
        (0..count).map(|at| match self {
            Self::Parsed(members) => (members[at].0.as_ref(), members[at].1),
            Self::Known { text, members } => (members[at].0, &text[members[at].1.clone()]),
        })
    }

    /// The value of a member; null is none.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.iter().find(|(member, _)| *member == name).map(|(_, value)| value).filter(|value| *value != "null")
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
        Members::parse(self.get(name)?).ok()
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
