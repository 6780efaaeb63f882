//! A JSON object taken apart member by member without building a tree, forgiving about leaves of an unexpected type:
//! the appliance's bodies differ by version and nothing but the key is guaranteed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Members of an object in the order received. What is taken out has found its column; the rest is `unmapped`.
#[derive(Debug, Default)]
pub(crate) struct Object<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
    wrong_types: usize,
}

/// A text that borrows from the answer where it holds no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(32);
                while let Some((Text(name), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    members.push((name, value));
                }
                Ok(Object { members, wrong_types: 0 })
            }
        }

        deserializer.deserialize_map(Members)
    }
}

impl<'a> Object<'a> {
    /// Reads an object.
    pub(crate) fn parse(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// Takes a member out. `null` counts as missing.
    pub(crate) fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let place = self.members.iter().position(|(known, _)| known == name)?;
        let (_, value) = self.members.remove(place);
        (value.get() != "null").then_some(value)
    }

    /// Looks at a member that stays.
    pub(crate) fn peek(&self, name: &str) -> Option<&'a RawValue> {
        self.members.iter().find(|(known, value)| known == name && value.get() != "null").map(|(_, value)| *value)
    }

    /// Takes a member that `read` understands; any other stays, and is counted.
    fn take_as<T>(&mut self, name: &str, read: impl FnOnce(&'a RawValue) -> Option<T>) -> Option<T> {
        let value = self.peek(name)?;
        let found = read(value);
        if found.is_some() {
            self.take(name);
        } else {
            self.wrong_types += 1;
        }
        found
    }

    /// A text, or a number as it was written. Empty is unknown.
    pub(crate) fn text(&mut self, name: &str) -> Option<Cow<'a, str>> {
        self.take_as(name, text_of).filter(|text| !text.trim().is_empty())
    }

    /// A whole number, also where it was written as text.
    pub(crate) fn int(&mut self, name: &str) -> Option<i64> {
        self.take_as(name, |value| value.get().trim_matches('"').parse().ok())
    }

    /// A port; anything outside its range is none.
    pub(crate) fn port(&mut self, name: &str) -> Option<i32> {
        self.take_as(name, |value| value.get().trim_matches('"').parse::<u16>().ok()).map(i32::from)
    }

    /// Truth, also where it was written as text.
    pub(crate) fn boolean(&mut self, name: &str) -> Option<bool> {
        self.take_as(name, |value| match value.get().trim_matches('"') {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        })
    }

    /// An object, taken apart in its turn. A missing one is empty.
    pub(crate) fn object(&mut self, name: &str) -> Self {
        self.take_as(name, |value| Self::parse(value.get()).ok()).unwrap_or_default()
    }

    /// Leaves that had an unexpected type and were left where they are.
    pub(crate) fn wrong_types(&self) -> usize {
        self.wrong_types
    }

    /// Whether there are no members left.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

/// The text of a string or the literal of a number.
pub(crate) fn text_of(value: &RawValue) -> Option<Cow<'_, str>> {
    match value.get().as_bytes().first()? {
        b'"' => serde_json::from_str::<Text<'_>>(value.get()).ok().map(|text| text.0),
        b'-' | b'0'..=b'9' => Some(Cow::Borrowed(value.get())),
        _ => None,
    }
}

/// The first text of a list, or the text itself where the version sends no list.
pub(crate) fn first_text(value: &RawValue) -> Option<Cow<'_, str>> {
    if value.get().starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
        return items.into_iter().find_map(text_of);
    }
    text_of(value)
}

/// Writes the members that found no column, values as received.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    text: String,
}

impl Rest {
    /// Adds a value under a name.
    pub(crate) fn member(&mut self, name: &str, value: &str) {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        push_name(&mut self.text, name);
        self.text.push_str(value);
    }

    /// Adds what is left of an object, in an object of that name.
    pub(crate) fn object(&mut self, name: &str, object: &Object<'_>) {
        let mut inner = Self::default();
        inner.all(object);
        if let Some(text) = inner.finish() {
            self.member(name, &text);
        }
    }

    /// Adds every member that is left of an object.
    pub(crate) fn all(&mut self, object: &Object<'_>) {
        for (name, value) in &object.members {
            if value.get() != "null" {
                self.member(name, value.get());
            }
        }
    }

    /// The object, if there is anything in it.
    pub(crate) fn finish(mut self) -> Option<String> {
        if self.text.is_empty() {
            return None;
        }
        self.text.push('}');
        Some(self.text)
    }
}

fn push_name(text: &mut String, name: &str) {
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)) {
        text.push('"');
        text.push_str(name);
        text.push('"');
    } else {
        text.push_str(&serde_json::Value::from(name).to_string());
    }
    text.push(':');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_of_any_type() {
        let mut object =
            Object::parse(r#"{"a":"x\ny","b":12,"c":"34","d":null,"e":{"f":true},"g":[1],"h":"true","i":70000}"#)
                .unwrap();
        assert_eq!(object.text("a").as_deref(), Some("x\ny"));
        assert_eq!(object.text("b").as_deref(), Some("12"));
        assert_eq!(object.int("c"), Some(34));
        assert_eq!(object.text("d"), None);
        assert_eq!(object.object("e").boolean("f"), Some(true));
        assert_eq!(object.text("g"), None);
        assert_eq!(object.boolean("h"), Some(true));
        assert_eq!(object.port("i"), None);
        assert_eq!(object.wrong_types(), 2);
        let mut rest = Rest::default();
        rest.all(&object);
        assert_eq!(rest.finish().as_deref(), Some(r#"{"g":[1],"i":70000}"#));
    }

    #[test]
    fn lists_and_texts() {
        for (json, expected) in
            [(r#""a""#, Some("a")), (r#"["a","b"]"#, Some("a")), ("[]", None), ("[null,\"b\"]", Some("b"))]
        {
            let value: &RawValue = serde_json::from_str(json).unwrap();
            assert_eq!(first_text(value).as_deref(), expected, "{json}");
        }
    }
}
