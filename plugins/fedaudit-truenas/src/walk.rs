//! A reader of JSON that stands at one byte of a text and knows at any time how far it got: values are decoded where they
//! lie, and their bytes can be kept.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::Error as _;
use serde_json::value::RawValue;
use serde_json::{Deserializer, Error, Result};

/// A place in a JSON text.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Walk<'a> {
    /// At the start of a text.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// How far it got.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Goes back.
    pub(crate) fn return_to(&mut self, at: usize) {
        self.at = at;
    }

    /// What was walked over since.
    pub(crate) fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    /// The next byte that is no space.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// Passes a byte.
    pub(crate) fn expect(&mut self, wanted: u8) -> Result<()> {
        if self.peek() != Some(wanted) {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(())
    }

    /// Passes a byte if it is there.
    pub(crate) fn passes(&mut self, wanted: u8) -> bool {
        let is_there = self.peek() == Some(wanted);
        self.at += usize::from(is_there);
        is_there
    }

    /// A member's name and its colon.
    pub(crate) fn name(&mut self) -> Result<Cow<'a, str>> {
        #[derive(Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
        let name = match self.plain_text() {
            Some(name) => name.into(),
            None => self.value::<Name<'a>>()?.0,
        };
        self.expect(b':')?;
        Ok(name)
    }

    /// A text without escapes; nothing is consumed where something else stands.
    pub(crate) fn plain_text(&mut self) -> Option<&'a str> {
        if self.peek() != Some(b'"') {
            return None;
        }
        let start = self.at + 1;
        let end = start + plain_bytes(&self.text.as_bytes()[start..]);
        if self.text.as_bytes().get(end) != Some(&b'"') {
            return None;
        }
        self.at = end + 1;
        Some(&self.text[start..end])
    }

    /// One value; nothing is consumed where it is not of that type.
    pub(crate) fn value<T: Deserialize<'a>>(&mut self) -> Result<T> {
        let mut values = Deserializer::from_str(&self.text[self.at..]).into_iter();
        let value = values.next().unwrap_or_else(|| Err(self.unexpected()))?;
        self.at += values.byte_offset();
        Ok(value)
    }

    /// The bytes of one value.
    pub(crate) fn json(&mut self) -> Result<&'a str> {
        self.peek();
        let rest = &self.text[self.at..];
        let length = plain_value(rest.as_bytes());
        if length == 0 {
            return Ok(self.value::<&RawValue>()?.get());
        }
        self.at += length;
        Ok(&rest[..length])
    }

    /// The same object again, byte for byte.
    pub(crate) fn again(&mut self, object: &str) -> Option<&'a str> {
        self.peek();
        // An object ends where its text ends, whatever follows.
        let found = object.starts_with('{') && self.text.as_bytes()[self.at..].starts_with(object.as_bytes());
        found.then(|| {
            let start = self.at;
            self.at += object.len();
            self.since(start)
        })
    }

    /// The error for what stands here.
    pub(crate) fn unexpected(&self) -> Error {
        match self.text[self.at..].chars().next() {
            None => Error::custom(format_args!("the text ends early, after {} bytes", self.at)),
            Some(found) => Error::custom(format_args!("unexpected {found:?} at byte {}", self.at)),
        }
    }
}

/// How many bytes stand before the first that ends a text or makes it an escaped or a wrong one.
fn plain_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // The high bit of each byte that is zero; bytes above the lowest such one can be wrong.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let (chunks, tail) = bytes.as_chunks::<8>();
    for (index, chunk) in chunks.iter().enumerate() {
        let word = u64::from_le_bytes(*chunk);
        let control = word.wrapping_sub(ONES * u64::from(b' ')) & !word & HIGH;
        let ends = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\'))) | control;
        if ends != 0 {
            return index * 8 + ends.trailing_zeros() as usize / 8;
        }
    }
    let is_end = |byte: &u8| *byte == b'"' || *byte == b'\\' || *byte < b' ';
    bytes.len() - tail.len() + tail.iter().position(is_end).unwrap_or(tail.len())
}

/// Bytes of a value that is easily seen to be one: a whole number, `true`, `false`, or a date as TrueNAS writes it. Zero for
/// any other.
fn plain_value(bytes: &[u8]) -> usize {
    let digits = |bytes: &[u8]| match bytes.first() {
        Some(b'1'..=b'9') => bytes.iter().take_while(|byte| byte.is_ascii_digit()).count(),
        _ => 0,
    };
    let length = match bytes {
        [b'1'..=b'9', ..] => digits(bytes),
        [b't', b'r', b'u', b'e', ..] => 4,
        [b'f', b'a', b'l', b's', b'e', ..] => 5,
        [b'{', b'"', b'$', b'd', b'a', b't', b'e', b'"', b':', rest @ ..] => {
            let space = usize::from(rest.first() == Some(&b' '));
            let number = digits(&rest[space..]);
            let is_whole = number > 0 && rest.get(space + number) == Some(&b'}');
            return if is_whole { 9 + space + number + 1 } else { 0 };
        }
        _ => 0,
    };
    if matches!(bytes.get(length), Some(b',' | b'}' | b']' | b' ' | b'\n' | b'\t' | b'\r')) { length } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_end_where_they_end() {
        for (text, value) in [
            (" 17,", "17"),
            ("0]", "0"),
            ("1.5e3}", "1.5e3"),
            ("true}", "true"),
            ("false ,", "false"),
            ("null,", "null"),
            (r#"{"$date": 1795317601000}, 1"#, r#"{"$date": 1795317601000}"#),
            (r#"{"$date":1795317601000}}"#, r#"{"$date":1795317601000}"#),
            (r#"{"$date":{"$numberLong":"1"}},"#, r#"{"$date":{"$numberLong":"1"}}"#),
            (r#""a\"b","#, r#""a\"b""#),
        ] {
            let mut walk = Walk::new(text);
            assert_eq!(walk.json().unwrap(), value);
            assert_eq!(walk.since(text.len() - text.trim_start().len()), value);
        }
        for text in ["truer,", "017,", "17a,", "1.,", r#"{"$date":01}"#, r#"{"$date": 1"#, "tru", ""] {
            assert!(Walk::new(text).json().is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_but_the_same_object_is_met_again() {
        let mut walk = Walk::new(r#" {"a":1}, {"a":12}"#);
        assert_eq!(walk.again(r#"{"a":2}"#), None);
        assert_eq!(walk.again(r#"{"a":1}"#), Some(r#"{"a":1}"#));
        walk.expect(b',').unwrap();
        assert_eq!(walk.again(r#"{"a":1}"#), None);
        // Other values can go on after the same bytes.
        assert_eq!(Walk::new("12").again("1"), None);
        assert_eq!(Walk::new("12").again(""), None);
    }

    proptest! {
        #[test]
        fn texts_are_read_as_by_any_other_decoder(text in "[ -~\"\\\\\u{0}-\u{20}\u{7f}-\u{ff}ö€😀]{0,24}", tail in "[a-z\"]{0,9}") {
            for json in [serde_json::to_string(&text).unwrap(), format!("\"{text}\"")] {
                let json = format!("{json}{tail}");
                let mut walk = Walk::new(&json);
                if let Some(plain) = walk.plain_text() {
                    let mut values = Deserializer::from_str(&json).into_iter::<&str>();
                    prop_assert_eq!(values.next().unwrap().unwrap(), plain);
                    prop_assert_eq!(values.byte_offset(), walk.at());
                }
            }
        }

        #[test]
        fn values_are_those_of_any_other_decoder(text in "(true|false|null|[0-9]{0,5}|\\{\"\\$date\": ?[0-9]{0,5}\\}?)[,}\\] .e0-9a]{0,3}") {
            let mut values = Deserializer::from_str(&text).into_iter::<&RawValue>();
            let expected = values.next().and_then(std::result::Result::ok).map(RawValue::get);
            let mut walk = Walk::new(&text);
            let found = walk.json().ok();
            // A number may be followed by what only the caller sees to be wrong.
            prop_assert_eq!(found, expected);
        }
    }
}
