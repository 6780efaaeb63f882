//! Which file a handle stands for. Records of reads, writes and closes carry a handle and no path; the path stands in the
//! `CREATE` of the same session, tree and handle before them.
//!
//! The answer must not depend on how the rows are read, so it is always the same one: the latest successful `CREATE` at or
//! before the row, at most a day before it. What pages in a row have shown need not be asked again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, ArrayRef, RecordBatch, StringArray};
use fedaudit_core::{Context, Error, ErrorKind, Result};
use serde_json::json;

use crate::gate::Gate;
use crate::isolate::METHOD;
use crate::items::Items;
use crate::question::{Members, Question};
use crate::rpc::{Answer, Failure};
use crate::smb;
use crate::streams::Feed;
use crate::wire::number;

/// How long before a row its `CREATE` is looked for, in seconds.
const LOOK_BACK: i64 = 24 * 3600;
/// Sessions in one question.
const SESSIONS: usize = 500;
/// `CREATE` records in the first answer to a question, in a later one, and in all.
const FEWEST_CREATES: usize = 100;
const CREATES: usize = 1000;
const MOST_CREATES: usize = 20_000;
/// Handles that are remembered from page to page.
const REMEMBERED: usize = 50_000;
/// Readings that are remembered.
const READINGS: usize = 4;
/// What a row says whose path was found.
const FLAG: &str = "path_from_create";

/// Session, tree and handle in one text.
pub(crate) type Key = Box<str>;

/// A row of a page that opens a handle or uses one.
#[derive(Debug)]
pub(crate) struct Use {
    /// Number of the row in its page.
    pub(crate) row: usize,
    pub(crate) key: Key,
    /// `session` as the record has it.
    pub(crate) session: Box<str>,
    /// Second of the event.
    pub(crate) at: i64,
    /// Second of its storing.
    pub(crate) logged: i64,
    /// The path, where the row opens it.
    pub(crate) opens: Option<Box<str>>,
}

#[derive(Clone, Debug)]
struct Opened {
    at: i64,
    path: Box<str>,
}

impl Opened {
    fn covers(&self, at: i64) -> bool {
        self.at <= at && at - self.at <= LOOK_BACK
    }
}

/// Handles that were met; none for those that were looked for in vain.
#[derive(Debug, Default)]
pub(crate) struct Known(HashMap<Key, Option<Opened>>);

/// Handles of readings that go on, by the cursor of their next page.
#[derive(Debug, Default)]
pub(crate) struct Trails(Mutex<VecDeque<(String, Known)>>);

impl Trails {
    /// What the pages before this one have shown; nothing is known of a reading that was taken up elsewhere.
    pub(crate) fn take(&self, cursor: &str) -> Known {
        let mut trails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = trails.iter().position(|(known, _)| known == cursor);
        at.and_then(|at| trails.remove(at)).map(|(_, known)| known).unwrap_or_default()
    }

    /// Keeps it for the page at this cursor.
    pub(crate) fn keep(&self, cursor: &str, known: Known) {
        if known.0.len() > REMEMBERED {
            return;
        }
        let mut trails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        trails.push_back((cursor.to_owned(), known));
        if trails.len() > READINGS {
            trails.pop_front();
        }
    }
}

/// Finds the paths of rows by what is known and what the page itself shows; the others are left over.
///
/// `Known` must hold every `CREATE` of the span that was read, up to this page: a filter may have hidden some.
pub(crate) fn resolve<'u>(uses: &'u [Use], known: &mut Known) -> (Vec<(usize, Box<str>)>, Vec<&'u Use>) {
    let mut in_time: Vec<&Use> = uses.iter().collect();
    in_time.sort_by_key(|one| (one.at, one.opens.is_none()));
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for one in in_time {
        if let Some(path) = &one.opens {
            known.0.insert(one.key.clone(), Some(Opened { at: one.at, path: path.clone() }));
            continue;
        }
        match known.0.get(&one.key) {
            Some(Some(opened)) if opened.covers(one.at) => found.push((one.row, opened.path.clone())),
            Some(Some(opened)) if opened.at <= one.at => {}
            Some(None) => {}
            _ => missing.push(one),
        }
    }
    (found, missing)
}

/// Asks the product for the `CREATE` records behind these rows. What it cannot tell is said in a note.
pub(crate) async fn ask(
    gate: &Gate,
    cx: &Context,
    feed: Feed,
    missing: &[&Use],
    known: &mut Known,
    notes: &mut Vec<String>,
) -> std::result::Result<Vec<(usize, Box<str>)>, Failure> {
    let mut opened = Openings::default();
    let mut sessions: Vec<&str> = missing.iter().map(|one| &*one.session).filter(|id| !id.is_empty()).collect();
    sessions.sort_unstable();
    sessions.dedup();
    for sessions in sessions.chunks(SESSIONS) {
        let of_these: Vec<&Use> =
            missing.iter().copied().filter(|one| sessions.binary_search(&&*one.session).is_ok()).collect();
        let first = of_these.iter().map(|one| one.at).min().unwrap_or_default() - LOOK_BACK;
        let mut last = of_these.iter().map(|one| one.logged).max().unwrap_or_default();
        // Most handles were opened a moment ago, by few records: begin with few.
        let mut size = (4 * of_these.len()).clamp(FEWEST_CREATES, CREATES);
        let mut read = 0;
        loop {
            let filters = vec![
                json!(["event", "=", "CREATE"]),
                json!(["success", "=", true]),
                json!(["session", "in", sessions]),
                json!(["message_timestamp", ">=", first]),
                json!(["message_timestamp", "<=", last]),
            ];
            let question = Question { feed, filters, newest_first: true };
            let (count, oldest) = match gate.call(cx, METHOD, &question.rows(0, size, Members::All)).await {
                Ok(answer) => opened.add(&answer)?,
                Err(Failure::Refused(refusal)) => {
                    notes.push(format!("the paths of some handles could not be looked up: {}", refusal.text()));
                    break;
                }
                Err(failure) => return Err(failure),
            };
            // What was stored before the oldest of these happened before it, too.
            let is_latest = |one: &Use| opened.latest(one).is_some_and(|opened| oldest < opened.at);
            if count < size || of_these.iter().all(|one| is_latest(one)) {
                break;
            }
            read += count;
            if (oldest >= last && size == CREATES) || read >= MOST_CREATES {
                notes.push(format!("the paths of some handles were not found in {read} records"));
                break;
            }
            last = oldest;
            size = (size * 4).min(CREATES);
        }
    }
    let mut found = Vec::new();
    for one in missing {
        let latest = opened.latest(one);
        if let Some(latest) = latest {
            found.push((one.row, latest.path.clone()));
        }
        known.0.entry(one.key.clone()).or_insert_with(|| latest.cloned());
    }
    Ok(found)
}

/// Records of opening, by handle.
#[derive(Default)]
struct Openings(HashMap<Key, Vec<Opened>>);

impl Openings {
    /// Adds those of an answer; says how many there were, and when the oldest was stored.
    fn add(&mut self, answer: &Answer) -> std::result::Result<(usize, i64), Failure> {
        let malformed =
            |error: serde_json::Error| Failure::Wire(Error::new(ErrorKind::Malformed, error.to_string()).at(METHOD));
        let mut items = Items::of(answer.text()).map_err(malformed)?;
        let (mut count, mut oldest) = (0, i64::MAX);
        while let Some(item) = items.next().map_err(malformed)? {
            count += 1;
            let Ok(record) = item.record else { continue };
            oldest = oldest.min(record.message_timestamp.and_then(number).unwrap_or(i64::MAX));
            if let Some((key, at, path)) = smb::opened(&record) {
                self.0.entry(key).or_default().push(Opened { at, path });
            }
        }
        Ok((count, oldest))
    }

    fn latest(&self, one: &Use) -> Option<&Opened> {
        let fitting = self.0.get(&one.key).into_iter().flatten().filter(|opened| opened.covers(one.at));
        fitting.max_by_key(|opened| opened.at)
    }
}

/// Writes paths into the rows.
pub(crate) fn fill(rows: &RecordBatch, found: &[(usize, Box<str>)]) -> Result<RecordBatch> {
    let wrong = |text: String| Error::new(ErrorKind::Internal, text);
    let at = |name: &str| rows.schema().index_of(name).map_err(|error| wrong(error.to_string()));
    let (names_at, flags_at) = (at("target_name")?, at("quality_flags")?);
    let found: HashMap<usize, &str> = found.iter().map(|(row, path)| (*row, &**path)).collect();
    let names = rows.column(names_at).as_string::<i32>();
    let names: StringArray = names.iter().enumerate().map(|(row, name)| found.get(&row).copied().or(name)).collect();
    let old = rows.column(flags_at).as_list::<i32>();
    let field = match old.data_type() {
        arrow_schema::DataType::List(field) => Arc::clone(field),
        other => return Err(wrong(format!("quality_flags is {other}"))),
    };
    let mut flags = ListBuilder::new(StringBuilder::new()).with_field(field);
    for row in 0..rows.num_rows() {
        if old.is_valid(row) {
            old.value(row).as_string::<i32>().iter().for_each(|flag| flags.values().append_option(flag));
        }
        if found.contains_key(&row) {
            flags.values().append_value(FLAG);
        }
        flags.append(old.is_valid(row) || found.contains_key(&row));
    }
    let mut columns = rows.columns().to_vec();
    columns[names_at] = Arc::new(names) as ArrayRef;
    columns[flags_at] = Arc::new(flags.finish()) as ArrayRef;
    RecordBatch::try_new(rows.schema(), columns).map_err(|error| wrong(error.to_string()))
}
