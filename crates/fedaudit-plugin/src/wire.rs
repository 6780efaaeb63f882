//! The JSON that crosses besides rows.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use fedaudit_core::{Error, ErrorKind, Meter, MeterReading, Next, Observed, Page, Rejected, Result, Time};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::abi;

/// A page without its rows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PageRest {
    pub(crate) next: Next,
    #[serde(default)]
    pub(crate) frontier: Option<Time>,
    #[serde(default)]
    pub(crate) observed: Observed,
    #[serde(default)]
    pub(crate) rejected: Vec<Rejected>,
}

impl PageRest {
    pub(crate) fn of(page: Page) -> (Self, arrow_array::RecordBatch) {
        let Page { rows, next, frontier, observed, rejected } = page;
        (Self { next, frontier, observed, rejected }, rows)
    }

    pub(crate) fn with(self, rows: arrow_array::RecordBatch) -> Page {
        let Self { next, frontier, observed, rejected } = self;
        Page { rows, next, frontier, observed, rejected }
    }
}

pub(crate) fn json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::new(ErrorKind::Internal, format!("cannot be written: {error}")))
}

/// Reads what the other side wrote.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::new(ErrorKind::Malformed, format!("the plugin's {what} cannot be read: {error}")))
}

/// What was counted between two readings, by the numbers of the interface.
pub(crate) fn counted(before: MeterReading, now: MeterReading) -> impl Iterator<Item = (u32, u64)> {
    [
        (abi::COUNT_REQUESTS, now.requests.saturating_sub(before.requests)),
        (abi::COUNT_RETRIES, now.retries.saturating_sub(before.retries)),
        (abi::COUNT_THROTTLED, now.throttled.saturating_sub(before.throttled)),
        (abi::COUNT_LOGINS, now.logins.saturating_sub(before.logins)),
        (abi::COUNT_BYTES, now.bytes.saturating_sub(before.bytes)),
    ]
    .into_iter()
    .filter(|(_, amount)| *amount > 0)
}

/// Longest text of a library in a log or an error.
const LONGEST: usize = 4000;

/// A text as one line of bounded length: what a library says must not look like something that fedaudit says.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    let end = text.char_indices().nth(LONGEST).map_or(text.len(), |(end, _)| end);
    let (shown, rest) = text.split_at(end);
    if rest.is_empty() && !shown.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(shown.len() + 1);
    for letter in shown.trim_end().chars() {
        if letter.is_control() { line.extend(letter.escape_default()) } else { line.push(letter) }
    }
    if !rest.is_empty() {
        line.push('…');
    }
    Cow::Owned(line)
}

/// Adds what the other side counted. Counters of a later version are left out.
pub(crate) fn count(meter: &Meter, counter: u32, amount: u64) {
    let counter = match counter {
        abi::COUNT_REQUESTS => &meter.requests,
        abi::COUNT_RETRIES => &meter.retries,
        abi::COUNT_THROTTLED => &meter.throttled,
        abi::COUNT_LOGINS => &meter.logins,
        abi::COUNT_BYTES => &meter.bytes,
        _ => return,
    };
    // Any number may come, and a count that wraps would be a lie.
    let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |so_far| Some(so_far.saturating_add(amount)));
}
