//! What a source is handed with every call: who it is, what time it is, until when, and where to count.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use crate::Time;

/// Where the time comes from; tests hand in their own.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Time;
}

/// Resources of one call.
#[derive(Clone)]
pub struct Context {
    /// Name of the source in the configuration.
    pub source: Arc<str>,
    /// Stable identity of the source, the first part of every key.
    pub source_key: Arc<str>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// When the whole call has to be over.
    pub deadline: Option<Time>,
    /// What the wire did so far.
    pub meter: Arc<Meter>,
}

impl Context {
    /// The time now.
    pub fn now(&self) -> Time {
        self.clock.now()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("source", &self.source)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Counts what the wire did, for the receipt.
#[derive(Debug, Default)]
pub struct Meter {
    /// Requests sent, retries included.
    pub requests: AtomicU64,
    /// Requests sent again after a failure.
    pub retries: AtomicU64,
    /// Times the product asked us to slow down.
    pub throttled: AtomicU64,
    /// Logins.
    pub logins: AtomicU64,
    /// Bytes of answers, decompressed.
    pub bytes: AtomicU64,
}

/// A reading of a [`Meter`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterReading {
    /// Requests sent, retries included.
    pub requests: u64,
    /// Requests sent again after a failure.
    pub retries: u64,
    /// Times the product asked us to slow down.
    pub throttled: u64,
    /// Logins.
    pub logins: u64,
    /// Bytes of answers, decompressed.
    pub bytes: u64,
}

impl Meter {
    /// Adds one to a counter of the meter.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// What it shows now.
    pub fn read(&self) -> MeterReading {
        MeterReading {
            requests: self.requests.load(Relaxed),
            retries: self.retries.load(Relaxed),
            throttled: self.throttled.load(Relaxed),
            logins: self.logins.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }
}
