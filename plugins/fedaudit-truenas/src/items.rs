//! Walks the records in an answer of `audit.query` one by one, so that megabytes of JSON are not scanned a first time only
//! to find where each record ends.

use serde::de::{Error as _, IgnoredAny};
use serde_json::{Error, Result};

use crate::record::{Met, Record};
use crate::walk::Walk;

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
    walk: Walk<'a>,
    met: Met<'a>,
    is_first: bool,
}

impl<'a> Items<'a> {
    /// Reads up to the first item.
    pub(crate) fn of(text: &'a str) -> Result<Self> {
        let mut walk = Walk::new(text);
        walk.expect(b'{')?;
        let mut is_first = true;
        loop {
            if walk.peek() == Some(b'}') {
                return Err(Error::missing_field("result"));
            }
            if !std::mem::take(&mut is_first) {
                walk.expect(b',')?;
            }
            if walk.name()? == "result" {
                break;
            }
            walk.value::<IgnoredAny>()?;
        }
        walk.expect(b'[')?;
        Ok(Self { walk, met: Met::default(), is_first: true })
    }

    /// The next item; none at the end of a well-formed answer.
    pub(crate) fn next(&mut self) -> Result<Option<Item<'a>>> {
        let walk = &mut self.walk;
        if walk.passes(b']') {
            return self.rest().map(|()| None);
        }
        if !std::mem::take(&mut self.is_first) {
            walk.expect(b',')?;
            walk.peek();
        }
        let start = walk.at();
        let record = Record::read(walk, &mut self.met);
        if record.is_err() {
            // Whatever else it is, only if it is no JSON does it spoil the page.
            walk.return_to(start);
            walk.json()?;
        }
        Ok(Some(Item { raw: walk.since(start), record }))
    }

    /// The members after the list, up to the end of the text.
    fn rest(&mut self) -> Result<()> {
        let walk = &mut self.walk;
        while !walk.passes(b'}') {
            walk.expect(b',')?;
            if walk.name()? == "result" {
                return Err(Error::duplicate_field("result"));
            }
            walk.value::<IgnoredAny>()?;
        }
        walk.peek().map_or(Ok(()), |_| Err(walk.unexpected()))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::value::RawValue;

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

    #[test]
    fn repeated_service_data_are_those_of_the_record() {
        let record = r#"{"session":"s1","service_data":{"a":[1]},"event":"X"}"#;
        let other = r#"{"session":"s1","service_data":{"a":[1],"b":2},"event":"X"}"#;
        let text = format!(r#"{{"result":[{record},{record},{other},{record}]}}"#);
        let mut items = Items::of(&text).unwrap();
        for expected in [record, record, other, record] {
            let item = items.next().unwrap().unwrap();
            assert_eq!(item.raw, expected);
            let data = item.record.unwrap().service_data.unwrap();
            assert!(expected.contains(data) && data.ends_with('}'));
            assert!(item.raw.as_bytes().as_ptr_range().contains(&data.as_ptr()));
        }
        assert!(items.next().unwrap().is_none());
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
            "{result:[]}",
        ] {
            assert!(serde_json::from_str::<Whole<'_>>(text).is_err(), "{text}");
            assert!(raws(text).is_err(), "{text}");
        }
    }
}
