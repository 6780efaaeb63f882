//! Small pieces of TrueNAS' JSON: texts that may be numbers, truths that may be numbers, wrapped dates.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use fedaudit_core::Time;
use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A text, borrowed where it holds no escapes; a number or a truth as its text; anything else is nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scalar<'a>(Option<Cow<'a, str>>);

impl<'a> Scalar<'a> {
    /// The text unless it is empty.
    pub(crate) fn some(self) -> Option<Cow<'a, str>> {
        self.0.filter(|text| !text.is_empty())
    }

    /// The text, perhaps empty.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<'a> From<&'a str> for Scalar<'a> {
    fn from(text: &'a str) -> Self {
        Self(Some(text.into()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Scalar<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar(Some(Cow::Borrowed(text))))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Scalar(Some(Cow::Owned(text.to_owned()))))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Scalar(Some(Cow::Owned(number.to_string()))))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Scalar(Some(Cow::Owned(number.to_string()))))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Scalar(Some(Cow::Owned(number.to_string()))))
            }
            fn visit_bool<E>(self, truth: bool) -> Result<Self::Value, E> {
                Ok(Scalar(Some(Cow::Borrowed(if truth { "true" } else { "false" }))))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Scalar(None))
            }
            fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Self::Value, S::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar(None))
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar(None))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// An object read as `T`. Anything else in its place is nothing, and costs nothing of what stands beside it.
#[derive(Debug)]
pub(crate) struct Loose<T>(pub(crate) Option<T>);

impl<T> Default for Loose<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Loose<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
            type Value = Loose<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Self::Value, M::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|value| Loose(Some(value)))
            }
            fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Self::Value, S::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Loose(None))
            }
            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(Loose(None))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Loose(None))
            }
            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Loose(None))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Loose(None))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Loose(None))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Loose(None))
            }
        }
        deserializer.deserialize_any(Object(PhantomData))
    }
}

/// A truth as JSON text: `true`, `false`, `1`, `0`; anything else is unknown.
pub(crate) fn truth(raw: Option<&RawValue>) -> Option<bool> {
    truth_in(raw?.get())
}

/// The same of a JSON text.
pub(crate) fn truth_in(json: &str) -> Option<bool> {
    match json {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// A whole number as JSON text; a fraction is cut off.
pub(crate) fn number(json: &str) -> Option<i64> {
    let text = json.trim_matches('"');
    text.parse().ok().or_else(|| {
        let fraction = text.parse::<f64>().ok().filter(|number| number.is_finite())?;
        Some(fraction.floor() as i64)
    })
}

/// An instant as TrueNAS sends it: the verbatim text, the instant where it can be stored, and whether it was finer than a
/// second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instant<'a> {
    pub(crate) text: &'a str,
    pub(crate) time: Option<Time>,
    pub(crate) whole_second: bool,
    pub(crate) odd_form: bool,
}

/// Reads `{"$date": ms}` and its relatives.
pub(crate) fn instant(raw: Option<&RawValue>) -> Option<Instant<'_>> {
    instant_in(raw?.get())
}

/// The same of a JSON text.
pub(crate) fn instant_in(text: &str) -> Option<Instant<'_>> {
    #[derive(Deserialize)]
    struct Wrapped<'a> {
        #[serde(borrow, rename = "$date")]
        date: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Long<'a> {
        #[serde(borrow, rename = "$numberLong")]
        number: &'a RawValue,
    }
    if let Some(millis) = plain_date(text) {
        let time = millis.parse().ok().and_then(Time::from_millis);
        return Some(Instant { text: millis, time, whole_second: millis.ends_with("000"), odd_form: false });
    }
    let found = |text, time: Option<Time>| {
        let whole_second = time.is_some_and(|time| time.micros() % 1_000_000 == 0);
        Some(Instant { text, time, whole_second, odd_form: true })
    };
    let inner = serde_json::from_str::<Wrapped<'_>>(text).map_or(text, |wrapped| wrapped.date.get());
    let inner = serde_json::from_str::<Long<'_>>(inner).map_or(inner, |long| long.number.get());
    let inner = inner.trim_matches('"');
    match inner {
        "null" | "" | "-" => None,
        _ => found(
            inner,
            inner.parse().ok().and_then(Time::from_number).or_else(|| Time::parse(inner).map(|parsed| parsed.time)),
        ),
    }
}

/// The digits of `{"$date": 1795317601000}`.
fn plain_date(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('{')?.trim_start().strip_prefix("\"$date\"")?.trim_start().strip_prefix(':')?;
    let digits = rest.strip_suffix('}')?.trim();
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_in_every_form() {
        for (json, micros) in [
            (r#"{"$date":1795317601000}"#, Some(1_795_317_601_000_000)),
            (r#"{ "$date" : 1795317601123 }"#, Some(1_795_317_601_123_000)),
            (r#"{"$date":"1795317601000"}"#, Some(1_795_317_601_000_000)),
            (r#"{"$date":{"$numberLong":"1795317601000"}}"#, Some(1_795_317_601_000_000)),
            (r#""2026-11-22T03:20:01+00:00""#, Some(1_795_317_601_000_000)),
            (r#"{"$date":99999999999999999}"#, None),
        ] {
            let raw: &RawValue = serde_json::from_str(json).unwrap();
            assert_eq!(instant(Some(raw)).unwrap().time.map(Time::micros), micros, "{json}");
        }
        let raw: &RawValue = serde_json::from_str("null").unwrap();
        assert_eq!(instant(Some(raw)), None);
    }
}
