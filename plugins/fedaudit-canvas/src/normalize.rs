//! From an answer's bytes to rows of `events`. Pure: no network, no clock.

use std::borrow::Cow;
use std::time::Duration;

use arrow_array::RecordBatch;
use fedaudit_core::{EventBuilder, EventRow, Rejected, Result, Time, TimeQuality};
use serde::{Deserialize, Serialize};

use crate::record::{Record, Scratch};
use crate::stream::Stream;
use crate::wire::{Document, Event, text};
use crate::{authentication, course, grade_change};

/// What does not stand in the answer itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) stream: Stream,
    pub(crate) source_key: &'a str,
    /// The user that we read as.
    pub(crate) reader: Option<&'a str>,
    pub(crate) now: Time,
}

/// Turns answers into rows of one page.
#[derive(Debug)]
pub(crate) struct Decoder<'f> {
    frame: Frame<'f>,
    builder: EventBuilder,
    rejected: Vec<Rejected>,
    records: u64,
    replaced: bool,
}

/// Rows of one page.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) rows: RecordBatch,
    pub(crate) rejected: Vec<Rejected>,
    pub(crate) records: u64,
    pub(crate) notes: Vec<String>,
}

/// What the times of an answer are like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// That of the last record that has one.
    pub(crate) last: Option<Time>,
    /// No record is later than the one before it.
    pub(crate) is_descending: bool,
}

/// Tells events of the newest second apart where the product gives them no id. Carried from page to page, because a
/// second may be cut by a page boundary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ties {
    second: i64,
    seen: Vec<(String, u32)>,
}

impl Ties {
    /// How many equal events came before this one in its second.
    fn ordinal(&mut self, time: Time, event: &str) -> u32 {
        if self.second != time.seconds() {
            self.second = time.seconds();
            self.seen.clear();
        }
        if let Some((_, count)) = self.seen.iter_mut().find(|(known, _)| known == event) {
            *count += 1;
            return *count;
        }
        self.seen.push((event.to_owned(), 0));
        0
    }
}

/// Events of one second that were handed out already, where that second is read again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Edge {
    pub(crate) second: i64,
    events: Vec<String>,
}

/// What to do about events that may come twice.
#[derive(Debug)]
pub(crate) enum Twice<'e> {
    /// They do not.
    Never,
    /// Remember those of the last second.
    Remember(&'e mut Edge),
    /// Leave out those remembered.
    Skip(&'e Edge),
    /// Leave out those remembered, and remember the others.
    Extend(&'e mut Edge),
}

impl<'f> Decoder<'f> {
    pub(crate) fn new(frame: Frame<'f>) -> Self {
        Self { frame, builder: EventBuilder::new(frame.source_key), rejected: Vec::new(), records: 0, replaced: false }
    }

    /// Takes one answer. A record that cannot be read is rejected with its bytes and the rest goes on.
    pub(crate) fn add(
        &mut self,
        body: &[u8],
        tenant: Option<&str>,
        ties: &mut Ties,
        mut twice: Twice<'_>,
    ) -> Result<Seen> {
        // Seeing that it is text costs little; mending it byte by byte does not.
        let body = std::str::from_utf8(body).map_or_else(|_| String::from_utf8_lossy(body), Cow::Borrowed);
        let document = Document::parse(&body)?;
        if self.builder.is_empty() {
            self.builder = EventBuilder::sized(self.frame.source_key, document.events.len(), body.len());
        }
        self.records += document.events.len() as u64;
        self.replaced |= matches!(body, Cow::Owned(_));
        let mut seen = Seen { last: None, is_descending: true };
        let mut scratch = Scratch::default();
        for raw in &document.events {
            match self.push(raw.get(), &document, tenant, ties, &mut twice, &mut scratch) {
                Ok(time) => {
                    seen.is_descending &= seen.last.is_none_or(|last| time <= last);
                    seen.last = Some(time);
                }
                Err(reason) => self.rejected.push(Rejected { raw: raw.get().to_owned(), reason }),
            }
        }
        Ok(seen)
    }

    /// Decodes one record and appends its row. An event without a readable time is refused and so shows up in the receipt;
    /// under an invented time it would drop out of every question unseen.
    fn push(
        &mut self,
        raw: &str,
        document: &Document<'_>,
        tenant: Option<&str>,
        ties: &mut Ties,
        twice: &mut Twice<'_>,
        scratch: &mut Scratch,
    ) -> Result<Time, String> {
        scratch.flags.clear();
        let event: Event<'_> = serde_json::from_str(raw).map_err(|error| error.to_string())?;
        let code = text(event.event_type.as_ref()).ok_or("event_type is missing")?;
        let original = text(event.created_at.as_ref()).ok_or("created_at is missing")?;
        let parsed =
            Time::parse(original).ok_or_else(|| format!("created_at '{original}' is no time that can be stored"))?;
        let time = parsed.time;
        if parsed.leap_second {
            scratch.flags.push("leap_second");
        }
        if time > self.frame.now.plus(DAY) {
            scratch.flags.push("future_time");
        }
        let record = Record { event: &event, document, frame: self.frame, code, tenant };
        let row = EventRow {
            time,
            time_original: Some(original),
            time_quality: match (parsed.assumed_zone, time.micros() % 1_000_000) {
                (true, _) => TimeQuality::AssumedZone,
                (false, 0) => TimeQuality::Seconds,
                (false, _) => TimeQuality::Exact,
            },
            event_code: code,
            service: Some("Canvas"),
            record_id: text(event.id.as_ref()),
            correlation_id: event.page_view(),
            raw,
            ..EventRow::new()
        };
        let mut push = |identity: &Identity<'_>, row: &EventRow<'_>| {
            identity.with_key(time, ties, |key| {
                if twice.is_new(time, key) {
                    self.builder.push(key, &[], row);
                }
            });
        };
        match self.frame.stream {
            Stream::Authentication => authentication::push(&record, &row, scratch, &mut push),
            Stream::Course => course::push(&record, &row, scratch, &mut push),
            Stream::GradeChange => grade_change::push(&record, &row, scratch, &mut push),
        }
        Ok(time)
    }

    /// The page.
    pub(crate) fn finish(mut self) -> Result<Decoded> {
        let note = "an answer held bytes that are no UTF-8; they are replaced by U+FFFD in raw";
        Ok(Decoded {
            rows: self.builder.finish()?,
            rejected: self.rejected,
            records: self.records,
            notes: self.replaced.then(|| note.to_owned()).into_iter().collect(),
        })
    }
}

/// Id and time of every record of an answer that has both.
pub(crate) fn identities(body: &[u8]) -> Result<Vec<(String, Time)>> {
    let body = String::from_utf8_lossy(body);
    let identity = |event: Event<'_>| {
        let time = Time::parse(text(event.created_at.as_ref())?)?.time;
        Some((text(event.id.as_ref())?.to_owned(), time))
    };
    let events = Document::parse(&body)?.events;
    Ok(events.iter().filter_map(|raw| serde_json::from_str(raw.get()).ok().and_then(identity)).collect())
}

const DAY: Duration = Duration::from_hours(24);

/// What makes a record itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity<'r> {
    /// The stream, where ids of other logs could be the same.
    pub(crate) stream: Option<&'r str>,
    pub(crate) id: Option<&'r str>,
    /// The account, whose server numbers its rows by itself.
    pub(crate) account: Option<&'r str>,
    /// What stands in where there is no id; with the time and an ordinal.
    pub(crate) parts: [Option<&'r str>; 3],
}

impl Identity<'_> {
    /// Hands over the parts of the key.
    fn with_key(&self, time: Time, ties: &mut Ties, then: impl FnOnce(&[Option<&str>])) {
        let numbered = |id: &str| id.bytes().all(|byte| byte.is_ascii_digit());
        match (self.stream, self.id) {
            (None, Some(id)) if numbered(id) => then(&[self.account, Some(id)]),
            (Some(stream), Some(id)) if numbered(id) => then(&[Some(stream), self.account, Some(id)]),
            (None, Some(id)) => then(&[Some(id)]),
            (Some(stream), Some(id)) => then(&[Some(stream), Some(id)]),
            (stream, None) => {
                let [a, b, c] = self.parts;
                let same = [stream, self.account, a, b, c].map(Option::unwrap_or_default).join("\u{1f}");
                let (micros, ordinal) = (time.micros().to_string(), ties.ordinal(time, &same).to_string());
                let (micros, ordinal) = (Some(micros.as_str()), Some(ordinal.as_str()));
                match stream {
                    None => then(&[self.account, a, b, c, micros, ordinal]),
                    Some(_) => then(&[stream, self.account, a, b, c, micros, ordinal]),
                }
            }
        }
    }
}

impl Twice<'_> {
    fn is_new(&mut self, time: Time, key: &[Option<&str>]) -> bool {
        let name = || key.iter().map(|part| part.unwrap_or("\u{1e}")).collect::<Vec<_>>().join("\u{1f}");
        match self {
            Self::Never => true,
            Self::Remember(edge) => {
                if edge.second != time.seconds() {
                    edge.second = time.seconds();
                    edge.events.clear();
                }
                edge.events.push(name());
                true
            }
            Self::Skip(edge) => edge.second != time.seconds() || !edge.events.contains(&name()),
            Self::Extend(edge) => {
                let name = name();
                let is_new = edge.second != time.seconds() || !edge.events.contains(&name);
                if is_new {
                    edge.events.push(name);
                }
                is_new
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoder(stream: Stream) -> Decoder<'static> {
        Decoder::new(Frame { stream, source_key: "k", reader: None, now: Time::EPOCH })
    }

    fn keys(bodies: &[&str]) -> Vec<String> {
        use arrow_array::cast::AsArray as _;
        let mut decoder = decoder(Stream::Authentication);
        for body in bodies {
            decoder.add(body.as_bytes(), None, &mut Ties::default(), Twice::Never).unwrap();
        }
        let rows = decoder.finish().unwrap().rows;
        let keys = rows.column_by_name("event_key").unwrap().as_string::<i32>();
        keys.iter().flatten().map(str::to_owned).collect()
    }

    fn event(id: &str, account: &str) -> String {
        format!(
            r#"{{"events":[{{"id":{id},"created_at":"2026-03-02T08:15:30Z","event_type":"login","links":{{"account":{account}}}}}]}}"#
        )
    }

    #[test]
    fn row_numbers_of_two_accounts_are_two_events() {
        let keys = keys(&[
            &event("7", "1"),
            &event("7", "2"),
            &event("\"7\"", "1"),
            &event("\"u\"", "1"),
            &event("\"u\"", "2"),
        ]);
        assert_ne!(keys[0], keys[1]);
        assert_eq!(keys[0], keys[2], "a number is the same as a text");
        assert_eq!(keys[3], keys[4], "a UUID is unique by itself");
    }

    #[test]
    fn a_page_out_of_order_promises_nothing() {
        let page = |times: &[&str]| {
            let events: Vec<String> = times
                .iter()
                .map(|time| format!(r#"{{"id":"a","created_at":"2026-03-02T08:15:{time}Z","event_type":"login"}}"#))
                .collect();
            let body = format!(r#"{{"events":[{}]}}"#, events.join(","));
            decoder(Stream::Authentication).add(body.as_bytes(), None, &mut Ties::default(), Twice::Never).unwrap()
        };
        assert!(page(&["30", "30", "10"]).is_descending);
        assert!(!page(&["30", "10", "20"]).is_descending);
        assert_eq!(page(&[]).last, None);
    }
}
