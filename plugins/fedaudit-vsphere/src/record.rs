//! A record as its members: names and raw values in the order received, so that nothing is lost whatever its class.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use fedaudit_core::Rejected;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A member of a record, or of an object in it, noted when its text was written. Those inside it follow it.
#[derive(Clone, Debug)]
pub(crate) struct Note<'d> {
    pub(crate) name: &'d str,
    /// Where in the text its value is.
    pub(crate) value: Range<usize>,
    /// How many of the notes behind it are of members inside it.
    pub(crate) inside: usize,
}

/// Records in VI JSON form, received so or made of XML: one text and one list of notes for all of them.
#[derive(Debug, Default)]
pub(crate) struct Records<'d> {
    /// What was made of XML; empty if the records stand in the document.
    text: String,
    /// Members of all records made of XML.
    notes: Vec<Note<'d>>,
    entries: Vec<Entry<'d>>,
}

#[derive(Debug)]
enum Entry<'d> {
    Received(&'d str),
    Made { text: Range<usize>, notes: Range<usize> },
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
        make: impl Fn(&'d str, &mut String, &mut Vec<Note<'d>>) -> Result<(), Rejected>,
    ) -> Self {
        let mut records = Self { text: String::with_capacity(size), ..Self::default() };
        for element in elements {
            let (text, notes) = (records.text.len(), records.notes.len());
            records.entries.push(match make(element, &mut records.text, &mut records.notes) {
                Ok(()) => Entry::Made { text: text..records.text.len(), notes: notes..records.notes.len() },
                Err(bad) => {
                    records.text.truncate(text);
                    records.notes.truncate(notes);
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
            Entry::Made { text, notes } => {
                let members = Members::Noted { text: &self.text, notes: &self.notes[notes.clone()] };
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
