//! The receipt in a few lines for people, on stderr.

use std::collections::BTreeMap;

use fedaudit_core::{EndReason, PartReceipt, Receipt, Side, Status, StreamReceipt};

use crate::exit::is_lacking;
use crate::query::Outcome;
use crate::terminal::say;

/// Says what the answer rests on.
pub(crate) fn tell(receipt: &Receipt, outcome: &Outcome) {
    lines(receipt, outcome).iter().for_each(|line| say(line));
}

fn lines(receipt: &Receipt, outcome: &Outcome) -> Vec<String> {
    let left = matches!(outcome, Outcome::ReaderLeft);
    let (enough, whole): (Vec<&StreamReceipt>, Vec<&StreamReceipt>) = receipt
        .streams
        .iter()
        .filter(|stream| stream.status.is_whole())
        .partition(|stream| stream.end == Some(EndReason::EnoughRows));
    let needed = if enough.is_empty() { String::new() } else { format!(", {} as far as needed", enough.len()) };
    let verdict = match (receipt.complete, left) {
        (true, _) => "complete",
        (false, true) => "the reader left early",
        (false, false) => "NOT COMPLETE",
    };
    let mut lines = vec![format!(
        "receipt: {verdict}: {} of {} streams of {} sources in full{needed}, {} rows, {:.1} s",
        whole.len(),
        receipt.streams.len(),
        receipt.sources.len(),
        receipt.rows,
        receipt.elapsed_ms as f64 / 1000.0
    )];
    if receipt.streams.is_empty() && !receipt.not_asked.is_empty() {
        lines.push("  nothing was asked: the conditions exclude every stream of every source".to_owned());
    }
    // What is the same for several streams of a source is said once: a source that cannot be reached fails in each.
    let mut lacks = Grouped::default();
    for stream in receipt.streams.iter().filter(|stream| is_lacking(stream) || !(left || stream.status.is_whole())) {
        let hint = stream.error.as_ref().and_then(|error| error.hint.clone());
        lacks.add(stream, (format!("{}{}", stream.status.as_str(), cause(stream)), hint));
    }
    let mut lacks = lacks.said().peekable();
    while let Some((place, (text, hint))) = lacks.next() {
        lines.push(format!("  {place}: {text}"));
        // One hint for all that it helps.
        let goes_on = lacks.peek().is_some_and(|(_, (_, next))| *next == hint);
        lines.extend(hint.filter(|_| !goes_on).map(|hint| format!("    hint: {hint}")));
    }
    let mut notes = Grouped::default();
    for stream in &receipt.streams {
        stream.notes.iter().for_each(|note| notes.add(stream, note));
    }
    lines.extend(notes.said().map(|(place, note)| format!("  {place}: {note}")));
    lines.extend(of_the_store(receipt));
    for source in &receipt.sources {
        if let Some(error) = &source.close_error {
            lines.push(format!("  {}: could not log out: {}", source.source, error.error_text));
        }
    }
    let blind: usize = receipt.streams.iter().map(|stream| stream.blind_spots.len()).sum();
    if blind > 0 {
        lines.push(format!("  {blind} blind spots of these streams: SELECT * FROM blind_spots"));
    }
    if let Some(range) = &receipt.default_range {
        lines.push(format!("  range: {range}"));
    }
    if let Some(after) = receipt.streams.iter().filter_map(|stream| stream.provisional_after).min() {
        lines.push(format!("  provisional after {after}: rows newer than that may still appear at the products"));
    }
    lines
}

/// What of the answer came from the store, and how old that is.
fn of_the_store(receipt: &Receipt) -> Vec<String> {
    let mut seams = Grouped::default();
    for stream in &receipt.streams {
        if let Some(seam) = seam(&stream.parts) {
            seams.add(stream, seam);
        }
        if stream.amendments > 0 {
            let what = "rows came late to the store or were edited since: SELECT * FROM amendments";
            seams.add(stream, format!("{} {what}", stream.amendments));
        }
    }
    let mut lines: Vec<String> = seams.said().map(|(place, text)| format!("  {place}: {text}")).collect();
    let answered = |name: &&String| !receipt.streams.iter().any(|s| format!("{}/{}", s.source, s.stream) == **name);
    let left_out: Vec<&str> = receipt.not_configured.iter().filter(answered).map(String::as_str).collect();
    if !left_out.is_empty() {
        lines.push(format!("  stored, but not configured and not asked (--stored does): {}", left_out.join(", ")));
    }
    lines
}

/// Where the store ends and the product begins; nothing of what is all live.
fn seam(parts: &[PartReceipt]) -> Option<String> {
    let stored: Vec<&PartReceipt> = parts.iter().filter(|part| part.side == Side::Stored).collect();
    let last = stored.last()?;
    let as_of = stored.iter().map(|part| part.as_of).max()?;
    let until = last.window.to.map_or_else(String::new, |to| format!(" until {to}"));
    let gaps = if stored.len() > 1 { format!(" in {} parts", stored.len()) } else { String::new() };
    let live = match parts.last().map(|part| part.side) {
        Some(Side::Live) => ", live since",
        _ if stored.len() < parts.len() => ", the rest live",
        _ => "",
    };
    Some(format!("stored{until}{gaps}, read last {as_of}{live}"))
}

/// What is said of streams, by source and words.
struct Grouped<'r, T>(BTreeMap<(&'r str, T), Vec<&'r str>>);

impl<T> Default for Grouped<'_, T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'r, T: Ord> Grouped<'r, T> {
    fn add(&mut self, stream: &'r StreamReceipt, said: T) {
        let streams = self.0.entry((&stream.source, said)).or_default();
        // A question may ask a stream for both tables.
        if !streams.contains(&stream.stream.as_str()) {
            streams.push(&stream.stream);
        }
    }

    fn said(self) -> impl Iterator<Item = (String, T)> {
        self.0.into_iter().map(|((source, said), streams)| match streams.as_slice() {
            [stream] => (format!("{source}/{stream}"), said),
            streams => (format!("{source} ({})", streams.join(", ")), said),
        })
    }
}

fn cause(stream: &StreamReceipt) -> String {
    if let Some(error) = &stream.error {
        // The place stands in front of the line already.
        let place = format!("{}/{}: ", stream.source, stream.stream);
        let text = error.error_text.strip_prefix(&place).unwrap_or(&error.error_text);
        let text = text.strip_prefix(&format!("{}: ", stream.stream)).unwrap_or(text);
        return format!(" ({}): {text}", error.error_kind);
    }
    if stream.rejected > 0 {
        let first = stream.rejected_samples.first().map_or("", |rejected| rejected.reason.as_str());
        return format!(": {} records could not be decoded, the first: {first}", stream.rejected);
    }
    match (stream.status, stream.retention_floor) {
        (Status::Expired, Some(floor)) => format!(": the product keeps nothing before {floor}"),
        (Status::Blind, _) => format!(": {}", stream.blind_spots.join("; ")),
        _ => String::new(),
    }
}
