//! The JSON that crosses besides rows.

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
        (abi::COUNT_REQUESTS, now.requests - before.requests),
        (abi::COUNT_RETRIES, now.retries - before.retries),
        (abi::COUNT_THROTTLED, now.throttled - before.throttled),
        (abi::COUNT_LOGINS, now.logins - before.logins),
        (abi::COUNT_BYTES, now.bytes - before.bytes),
    ]
    .into_iter()
    .filter(|(_, amount)| *amount > 0)
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
    counter.fetch_add(amount, Ordering::Relaxed);
}
