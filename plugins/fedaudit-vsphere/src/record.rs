//! A record as its members: names and raw values in the order received, so that nothing is lost whatever its class.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A record in VI JSON form, received so or made of XML.
#[derive(Debug)]
pub(crate) struct Record<'d> {
    json: Cow<'d, str>,
    /// Where the members are, as far as that is known already.
    members: Vec<(&'d str, Range<usize>)>,
}

impl<'d> Record<'d> {
    /// As received.
    pub(crate) fn from_json(json: &'d str) -> Self {
        Self { json: json.into(), members: Vec::new() }
    }

    /// Made of XML, with the places of its members.
    pub(crate) fn from_xml(json: String, members: Vec<(&'d str, Range<usize>)>) -> Self {
        Self { json: json.into(), members }
    }

    /// The text.
    pub(crate) fn json(&self) -> &str {
        &self.json
    }

    /// The text for good.
    pub(crate) fn into_json(self) -> String {
        self.json.into_owned()
    }

    /// The members of the outermost object.
    pub(crate) fn members(&self) -> Result<Members<'_>, String> {
        if self.members.is_empty() {
            return Members::parse(&self.json);
        }
        let member = |(name, range): &(&'d str, Range<usize>)| (Cow::Borrowed(*name), &self.json[range.clone()]);
        Ok(Members(self.members.iter().map(member).collect()))
    }
}

/// A JSON object: names and values, each value undecoded.
#[derive(Debug)]
pub(crate) struct Members<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Members<'a> {
    /// Reads the outermost object only.
    pub(crate) fn parse(json: &'a str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// The value of a member; null is none.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(member, _)| member == name).map(|(_, value)| *value).filter(|value| *value != "null")
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
                Ok(Members(members))
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
