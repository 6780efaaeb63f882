//! Walks the records in an answer of `audit.query` one by one, so that megabytes of JSON are not scanned a first time only
//! to find where each record ends.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Error as _, IgnoredAny};
use serde_json::value::RawValue;
use serde_json::{Deserializer, Error, Result};

use crate::record::Record;

/// One item of the list.
#[derive(Debug)]
pub(crate) struct Item<'a> {
    /// Its bytes as received.
    pub(crate) raw: &'a str,
    /// What it says, or why it is no record.
    pub(crate) record: Result<Record<'a>>,
}

/// The items of an answer's `result`, whatever stands around it.
#[derive(Debug)]
pub(crate) struct Items<'a> {
    text: &'a str,
    /// How far it was read.
    at: usize,
    is_first: bool,
}

impl<'a> Items<'a> {
    /// Reads up to the first item.
    pub(crate) fn of(text: &'a str) -> Result<Self> {
        let mut items = Self { text, at: 0, is_first: true };
        items.expect(b'{')?;
        if items.peek() == Some(b'}') {
            return Err(Error::missing_field("result"));
        }
        while items.name()? != "result" {
            items.value::<IgnoredAny>()?;
            if items.peek() == Some(b'}') {
                return Err(Error::missing_field("result"));
            }
            items.expect(b',')?;
        }
        items.expect(b'[')?;
        Ok(items)
    }

    /// The next item; none at the end of a well-formed answer.
    pub(crate) fn next(&mut self) -> Result<Option<Item<'a>>> {
        if self.peek() == Some(b']') {
            self.at += 1;
            return self.rest().map(|()| None);
        }
        if !std::mem::take(&mut self.is_first) {
            self.expect(b',')?;
            self.peek();
        }
        let start = self.at;
        let record = self.value();
        if record.is_err() {
            // Whatever else it is, only if it is no JSON does it spoil the page.
            self.value::<&RawValue>()?;
        }
        Ok(Some(Item { raw: &self.text[start..self.at], record }))
    }

    /// The members after the list, up to the end of the text.
    fn rest(&mut self) -> Result<()> {
        while self.peek() != Some(b'}') {
            self.expect(b',')?;
            if self.name()? == "result" {
                return Err(Error::duplicate_field("result"));
            }
            self.value::<IgnoredAny>()?;
        }
        self.at += 1;
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected()),
        }
    }

    /// A member's name and its colon.
    fn name(&mut self) -> Result<Cow<'a, str>> {
        #[derive(Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
        let Name(name) = self.value()?;
        self.expect(b':')?;
        Ok(name)
    }

    /// One value; where it is not of that type, nothing is consumed.
    fn value<T: Deserialize<'a>>(&mut self) -> Result<T> {
        let mut values = Deserializer::from_str(&self.text[self.at..]).into_iter();
        let value = values.next().unwrap_or_else(|| Err(self.unexpected()))?;
        self.at += values.byte_offset();
        Ok(value)
    }

    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn expect(&mut self, wanted: u8) -> Result<()> {
        if self.peek() != Some(wanted) {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(())
    }

    fn unexpected(&self) -> Error {
        match self.text[self.at..].chars().next() {
            None => Error::custom(format_args!("the answer ends early, after {} bytes", self.at)),
            Some(found) => Error::custom(format_args!("unexpected {found:?} at byte {}", self.at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raws(text: &str) -> Result<Vec<(&str, bool)>> {
        let mut items = Items::of(text)?;
        let mut raws = Vec::new();
        while let Some(item) = items.next()? {
            raws.push((item.raw, item.record.is_ok()));
        }
        Ok(raws)
    }

    #[test]
    fn the_list_may_stand_anywhere_in_the_answer() {
        for text in [
            r#"{"jsonrpc": "2.0", "result": [{"a": 1}, 17 ,{}, null], "id": 7}"#,
            r#" {"id":7,"x":{"result":[]},"result":[{"a": 1},17,{},null]} "#,
        ] {
            assert_eq!(raws(text).unwrap(), [(r#"{"a": 1}"#, true), ("17", false), ("{}", true), ("null", false)]);
        }
        assert_eq!(raws(r#"{"result":[ ]}"#).unwrap(), []);
        assert_eq!(raws(r#"{"re\u0073ult":[{}]}"#).unwrap(), [("{}", true)]);
    }

    #[test]
    fn a_record_that_cannot_be_decoded_is_left_out_alone() {
        let text = r#"{"result":[{"event":"\ud800"},{"success":1e999},{"event":1e999},{}]}"#;
        let oks: Vec<bool> = raws(text).unwrap().into_iter().map(|(_, is_ok)| is_ok).collect();
        assert_eq!(oks, [false, true, false, true]);
    }

    /// What the list is taken for is what a decoder of the whole answer takes it for.
    #[test]
    fn other_answers_are_malformed() {
        #[derive(Deserialize)]
        struct Whole<'a> {
            #[serde(borrow, rename = "result")]
            _result: Vec<&'a RawValue>,
        }
        for text in [
            "",
            "{}",
            "{",
            r#"{"id":7}"#,
            r#"{"result":5}"#,
            r#"{"result":null}"#,
            r#"{"result":[{}"#,
            r#"{"result":[{}]"#,
            r#"{"result":[{}]}}"#,
            r#"{"result":[{}],}"#,
            r#"{"result":[{},]}"#,
            r#"{"result":[,{}]}"#,
            r#"{"result":[{} {}]}"#,
            r#"{"result":[{"event_data":{"a":}}]}"#,
            r#"{"result":[{"event":"#,
            r#"{"result":[{}],"result":[]}"#,
            r#"{"id":7 "result":[{}]}"#,
            r#"{"result":[{}] "id":7}"#,
            r#"{"result":[1.2.3]}"#,
            r#"{result:[]}"#,
        ] {
            assert!(serde_json::from_str::<Whole<'_>>(text).is_err(), "{text}");
            assert!(raws(text).is_err(), "{text}");
        }
    }
}
