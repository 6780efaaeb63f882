//! Judges an answer under faults by the answer without them. Every finding is a difference that nobody was told of.

use std::collections::{BTreeMap, BTreeSet};

use fedaudit_core::{Receipt, Status, StreamReceipt, Time};
use fedaudit_testkit::faults::Hit;

use super::answers::{Answer, Answers, Row};

/// How many rows of one kind a finding names.
const SHOWN: usize = 3;

/// What is wrong with an answer to `events`.
pub(super) fn events(truth: &Answer, given: &Answer, hits: &[Hit]) -> Vec<String> {
    let mut wrong = receipt(&truth.receipt, &given.receipt, hits);
    for entry in &given.receipt.streams {
        let of = |answer: &Answer| -> BTreeMap<Row, usize> {
            let of_stream = |row: &Row| row.source == entry.source && row.stream == entry.stream;
            answer.rows.iter().filter(|(row, _)| of_stream(row)).map(|(row, count)| (row.clone(), *count)).collect()
        };
        let (expected, found) = (of(truth), of(given));
        let mut say = |what: &str, rows: Vec<&Row>| {
            if !rows.is_empty() {
                wrong.push(finding(entry, what, &rows));
            }
        };
        let more = |row: &&Row| found[*row] > expected.get(*row).copied().unwrap_or(0);
        say("rows that do not exist, or exist once", found.keys().filter(more).collect());
        let missing: Vec<&Row> = expected
            .iter()
            .filter(|(row, count)| found.get(row).copied().unwrap_or(0) < **count)
            .map(|(row, _)| row)
            .collect();
        if entry.status.is_whole() {
            say("missing rows", missing);
        } else {
            let windows = &entry.covered;
            let inside = |row: &&&Row| {
                row.time.is_some_and(|time| windows.iter().any(|window| window.contains(Time::from_micros(time))))
            };
            let inside: Vec<&Row> = missing.iter().filter(inside).copied().collect();
            // A record that could not be decoded is named by itself.
            if inside.len() as u64 > entry.rejected {
                say("rows missing in a window that was covered", inside);
            }
        }
        if entry.rows as usize != found.values().sum::<usize>() {
            wrong.push(format!(
                "{}/{}: the receipt counts {} rows, {} came",
                entry.source,
                entry.stream,
                entry.rows,
                found.len()
            ));
        }
    }
    wrong
}

/// What is wrong with an answer to `sessions`. Sessions that were rebuilt from events are compared where all of the
/// source's streams are whole; else the missing half of a session may make another one of it.
pub(super) fn sessions(truths: &Answers, given: &Answer, hits: &[Hit]) -> Vec<String> {
    let truth = &truths.sessions;
    let is_feed = |entry: &StreamReceipt| {
        let mut streams = truths.events.receipt.streams.iter();
        streams.any(|feed| (&feed.source, &feed.stream) == (&entry.source, &entry.stream))
    };
    let mut wrong = receipt(&truth.receipt, &given.receipt, hits);
    let sources: BTreeSet<&str> = truth.receipt.streams.iter().map(|entry| entry.source.as_str()).collect();
    for source in sources {
        let of = |answer: &Answer| -> BTreeMap<Row, usize> {
            answer
                .rows
                .iter()
                .filter(|(row, _)| row.source == source)
                .map(|(row, count)| (row.clone(), *count))
                .collect()
        };
        let (expected, found) = (of(truth), of(given));
        let entries: Vec<&StreamReceipt> =
            given.receipt.streams.iter().filter(|entry| entry.source == source).collect();
        if entries.iter().all(|entry| entry.status.is_whole()) {
            if expected != found {
                let missing: Vec<&Row> = expected.keys().filter(|row| found.get(*row) != expected.get(*row)).collect();
                let other: Vec<&Row> = found.keys().filter(|row| found.get(*row) != expected.get(*row)).collect();
                wrong.push(format!("{source}: sessions differ: expected {}, found {}", some(&missing), some(&other)));
            }
            continue;
        }
        let keys: BTreeSet<&str> = expected.keys().map(|row| row.key.as_str()).collect();
        let there: BTreeSet<&str> = found.keys().map(|row| row.key.as_str()).collect();
        let invented: Vec<&Row> =
            found.keys().filter(|row| row.stream != "derived" && !keys.contains(row.key.as_str())).collect();
        if !invented.is_empty() {
            wrong.push(format!("{source}: sessions that nobody listed: {}", some(&invented)));
        }
        for entry in entries.iter().filter(|entry| entry.status.is_whole()) {
            let missing: Vec<&Row> =
                expected.keys().filter(|row| row.stream == entry.stream && !there.contains(row.key.as_str())).collect();
            if !missing.is_empty() {
                wrong.push(finding(entry, "missing sessions of a list", &missing));
            }
        }
        let feeds_are_whole = entries.iter().filter(|entry| is_feed(entry)).all(|entry| entry.status.is_whole());
        let missing: Vec<&Row> =
            expected.keys().filter(|row| row.stream == "derived" && !there.contains(row.key.as_str())).collect();
        if feeds_are_whole && !missing.is_empty() {
            wrong.push(format!("{source}: every feed was read, and sessions are missing: {}", some(&missing)));
        }
    }
    wrong
}

/// Whether an entry says something that the undisturbed answer does not.
fn is_noted(truth: &Receipt, entry: &StreamReceipt) -> bool {
    let same = |other: &&StreamReceipt| {
        (&other.table, &other.source, &other.stream) == (&entry.table, &entry.source, &entry.stream)
    };
    let usual = truth.streams.iter().find(same).map_or(&[][..], |other| other.notes.as_slice());
    entry.notes.iter().any(|note| !usual.contains(note))
}

/// What is wrong with a receipt by itself.
fn receipt(truth: &Receipt, given: &Receipt, hits: &[Hit]) -> Vec<String> {
    let mut wrong = Vec::new();
    let names = |receipt: &Receipt| -> Vec<String> {
        receipt.streams.iter().map(|entry| format!("{} {}/{}", entry.table, entry.source, entry.stream)).collect()
    };
    if names(truth) != names(given) {
        wrong.push(format!("the receipt names other streams: {:?}", names(given)));
    }
    if given.complete != given.streams.iter().all(|entry| entry.status.is_whole()) {
        wrong.push(format!("complete is {} against the statuses of the streams", given.complete));
    }
    for entry in &given.streams {
        let place = format!("{}/{}", entry.source, entry.stream);
        let reason = match entry.status {
            Status::Denied | Status::Failed => entry.error.is_some(),
            // A gap that the source knows of stands in a note that an undisturbed answer has not.
            Status::Partial => {
                entry.error.is_some() || entry.rejected > 0 || (!entry.missing.is_empty() && is_noted(truth, entry))
            }
            Status::Complete | Status::Empty => entry.error.is_none() && entry.rejected == 0,
            // No fault makes a stream so.
            Status::Expired | Status::Blind => false,
        };
        if !reason {
            wrong.push(format!("{place} is {} without a reason: {entry:?}", entry.status.as_str()));
        }
        let struck = hits.iter().any(|hit| hit.product.source() == entry.source);
        if !struck && !entry.status.is_whole() {
            wrong.push(format!(
                "{place} is {} though nothing happened to it: {:?}",
                entry.status.as_str(),
                entry.error
            ));
        }
    }
    wrong
}

fn finding(entry: &StreamReceipt, what: &str, rows: &[&Row]) -> String {
    let StreamReceipt { source, stream, status, error, .. } = entry;
    let error = error.as_ref().map_or_else(String::new, |error| format!(" ({})", error.error_text));
    format!("{source}/{stream}, {}{error}: {what}: {}", status.as_str(), some(rows))
}

fn some(rows: &[&Row]) -> String {
    let first: Vec<String> = rows
        .iter()
        .take(SHOWN)
        .map(|row| {
            let time = row.time.map_or_else(|| "no time".to_owned(), |time| Time::from_micros(time).to_string());
            format!("{} {time} {} {}", row.stream, row.key, row.content)
        })
        .collect();
    format!("{} [{}]", rows.len(), first.join("; "))
}
