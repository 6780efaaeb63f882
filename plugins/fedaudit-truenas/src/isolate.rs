//! One record that the product cannot show fails its whole page. Here such a record is found, the others are read without
//! it, and what can be had of it is kept.
//!
//! The page is listed by ids first: a page cut in two by offsets would lose rows while others are deleted or arrive.

use fedaudit_core::{Context, Error, ErrorKind};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::gate::Gate;
use crate::question::{DATA, Members, PLAIN, Question};
use crate::rpc::{Answer, Failure, Refusal};
use crate::wire::{Scalar, number};

/// Ids in one question: a message may have 64 kB.
const IDS: usize = 400;

/// Records of one answer; there can be no more.
const MOST: usize = 10_000;
/// Spoilt records of one page that are looked into.
const SPOILT: usize = 200;

/// The method that is asked.
pub(crate) const METHOD: &str = "audit.query";

/// A piece of a page.
#[derive(Debug)]
pub(crate) enum Part {
    /// Records as they are.
    Rows(Answer),
    /// One record without what the product cannot show of it, and why.
    Partial(Answer, String),
    /// One record that the product does not show, what else is known of it, and why.
    Lost { raw: String, second: Option<i64>, audit_id: Option<String>, reason: String },
}

impl Part {
    /// Length of its text.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Rows(answer) | Self::Partial(answer, _) => answer.text().len(),
            Self::Lost { raw, .. } => raw.len(),
        }
    }
}

/// The records of a page.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) parts: Vec<Part>,
    /// How many records the product listed, where it was asked for a list: some may be gone since.
    pub(crate) listed: Option<usize>,
}

/// A record as the list has it.
#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(borrow, default)]
    audit_id: Scalar<'a>,
    #[serde(borrow, default)]
    message_timestamp: Option<&'a RawValue>,
}

/// A record that is asked for by itself.
struct Entry {
    raw: String,
    audit_id: Option<String>,
    second: Option<i64>,
}

impl Entry {
    fn lost(&self, reason: String) -> Part {
        Part::Lost { raw: self.raw.clone(), second: self.second, audit_id: self.audit_id.clone(), reason }
    }
}

/// Asks, and where one record spoils the page, finds it.
pub(crate) async fn ask(
    gate: &Gate,
    cx: &Context,
    question: &Question,
    offset: usize,
    limit: usize,
) -> Result<Parts, Failure> {
    match gate.call(cx, METHOD, &question.rows(offset, limit, Members::All)).await {
        Ok(answer) => Ok(Parts { parts: vec![Part::Rows(answer)], listed: None }),
        Err(Failure::Refused(refusal)) if refusal.is_spoilt_page() => {
            let list = match gate.call(cx, METHOD, &question.rows(offset, limit, Members::Identity)).await {
                Ok(answer) => entries(&answer)?,
                // Not even ids can be listed: one by one, from what is there now.
                Err(Failure::Refused(refusal)) if refusal.is_spoilt_page() => {
                    return one_by_one(gate, cx, question, offset, limit).await;
                }
                Err(failure) => return Err(failure),
            };
            let mut parts = Parts { parts: Vec::new(), listed: Some(list.len()) };
            let (known, nameless): (Vec<Entry>, Vec<Entry>) = list.into_iter().partition(|it| it.audit_id.is_some());
            let mut spoilt = 0;
            let mut spans: Vec<&[Entry]> = known.chunks(IDS).collect();
            spans.reverse();
            while let Some(span) = spans.pop() {
                let of_span = by_id(question, span);
                match gate.call(cx, METHOD, &of_span.rows(0, MOST, Members::All)).await {
                    Ok(answer) => parts.parts.push(Part::Rows(answer)),
                    Err(Failure::Refused(refusal)) if refusal.is_spoilt_page() => match span {
                        [] => {}
                        [entry] => {
                            spoilt += 1;
                            too_many(spoilt, &refusal)?;
                            let had = salvage(gate, cx, &of_span, 0, refusal.text()).await?;
                            parts.parts.push(had.unwrap_or_else(|| entry.lost(refusal.text())));
                        }
                        _ => {
                            let (earlier, later) = span.split_at(span.len() / 2);
                            spans.extend([later, earlier]);
                        }
                    },
                    Err(failure) => return Err(failure),
                }
            }
            parts.parts.extend(without_id(gate, cx, question, &nameless).await?);
            Ok(parts)
        }
        Err(failure) => Err(failure),
    }
}

fn entries(answer: &Answer) -> Result<Vec<Entry>, Failure> {
    let list: Vec<&RawValue> = answer.result().map_err(|error| Failure::Wire(error.at(METHOD)))?;
    let entry = |raw: &&RawValue| {
        let listed: Listed<'_> = serde_json::from_str(raw.get())
            .map_err(|error| Failure::Wire(Error::new(ErrorKind::Malformed, error.to_string()).at(METHOD)))?;
        Ok(Entry {
            raw: raw.get().to_owned(),
            audit_id: listed.audit_id.some().map(std::borrow::Cow::into_owned),
            second: listed.message_timestamp.and_then(|second| number(second.get())),
        })
    };
    list.iter().map(entry).collect()
}

/// The question for exactly these records: ids are unique.
fn by_id(question: &Question, span: &[Entry]) -> Question {
    let ids: Vec<&str> = span.iter().filter_map(|entry| entry.audit_id.as_deref()).collect();
    let mut filters = vec![json!(["audit_id", "in", ids])];
    let seconds = || span.iter().filter_map(|entry| entry.second);
    if let (Some(first), Some(last)) = (seconds().min(), seconds().max()) {
        filters.extend([json!(["message_timestamp", ">=", first]), json!(["message_timestamp", "<=", last])]);
    }
    question.with(filters)
}

/// Records without an id, second by second: nothing tells them apart before they are seen.
async fn without_id(gate: &Gate, cx: &Context, question: &Question, nameless: &[Entry]) -> Result<Vec<Part>, Failure> {
    let mut parts = Vec::new();
    for of_second in nameless.chunk_by(|a, b| a.second == b.second) {
        let second = of_second[0].second;
        let filters = vec![json!(["audit_id", "=", null]), json!(["message_timestamp", "=", second])];
        match gate.call(cx, METHOD, &question.with(filters).rows(0, MOST, Members::All)).await {
            Ok(answer) => parts.push(Part::Rows(answer)),
            Err(Failure::Refused(refusal)) if refusal.is_spoilt_page() => {
                parts.extend(of_second.iter().map(|entry| entry.lost(refusal.text())));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(parts)
}

/// A product that can hardly show anything is not asked a thousand times why.
fn too_many(spoilt: usize, refusal: &Refusal) -> Result<(), Failure> {
    if spoilt <= SPOILT {
        return Ok(());
    }
    let text =
        format!("more than {SPOILT} records of one page are beyond the product's own decoding: {}", refusal.text());
    Err(Failure::Wire(
        Error::new(ErrorKind::Malformed, text)
            .at(METHOD)
            .hint("the audit database of this appliance is damaged; its support can repair it"),
    ))
}

/// What can be had of a record that spoils its page: the members that the product still shows, put together.
async fn salvage(
    gate: &Gate,
    cx: &Context,
    question: &Question,
    offset: usize,
    reason: String,
) -> Result<Option<Part>, Failure> {
    let mut members: Vec<String> = Vec::new();
    let mut missing = PLAIN.as_slice();
    if let Some(item) = alone(gate, cx, question, offset, Members::Plain).await? {
        members.extend(inside(&item));
        missing = &[];
    }
    for member in missing.iter().chain(&DATA) {
        if let Some(item) = alone(gate, cx, question, offset, Members::Only(member)).await? {
            members.extend(inside(&item));
        }
    }
    if members.is_empty() {
        return Ok(None);
    }
    Ok(Some(Part::Partial(Answer::of(&format!("[{{{}}}]", members.join(", "))), reason)))
}

/// One record, as far as those members go; none if they are what spoils it, or if it is gone.
async fn alone(
    gate: &Gate,
    cx: &Context,
    question: &Question,
    offset: usize,
    members: Members,
) -> Result<Option<String>, Failure> {
    match gate.call(cx, METHOD, &question.rows(offset, 1, members)).await {
        Ok(answer) => {
            let list: Vec<&RawValue> = answer.result().map_err(|error| Failure::Wire(error.at(METHOD)))?;
            Ok(list.first().map(|raw| raw.get().to_owned()))
        }
        Err(Failure::Refused(refusal)) if refusal.is_spoilt_page() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The text between the braces of an object.
fn inside(object: &str) -> Option<String> {
    let members = object.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    (!members.is_empty()).then(|| members.to_owned())
}

/// Every record of the page in a call of its own.
async fn one_by_one(
    gate: &Gate,
    cx: &Context,
    question: &Question,
    offset: usize,
    limit: usize,
) -> Result<Parts, Failure> {
    let mut parts = Parts::default();
    let mut spoilt = 0;
    let mut spans = vec![(offset, limit)];
    while let Some((offset, limit)) = spans.pop() {
        match gate.call(cx, METHOD, &question.rows(offset, limit, Members::All)).await {
            Ok(answer) => parts.parts.push(Part::Rows(answer)),
            Err(Failure::Refused(refusal)) if refusal.is_spoilt_page() && limit > 1 => {
                // The later half is put down first: it is taken up last.
                spans.push((offset + limit / 2, limit - limit / 2));
                spans.push((offset, limit / 2));
            }
            Err(Failure::Refused(refusal)) if refusal.is_spoilt_page() => {
                spoilt += 1;
                too_many(spoilt, &refusal)?;
                let had = salvage(gate, cx, question, offset, refusal.text()).await?;
                let nothing =
                    || Part::Lost { raw: String::new(), second: None, audit_id: None, reason: refusal.text() };
                parts.parts.push(had.unwrap_or_else(nothing));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(parts)
}
