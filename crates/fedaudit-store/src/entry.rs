//! An entry of the coverage ledger: one fetch, what it was asked, what it read to the end, and what came of it.

use fedaudit_core::{EndReason, ErrorKind, ReceiptError, Status, StreamReceipt, Time, Window};
use serde::{Deserialize, Serialize};

/// One fetch of one stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Name of the source when it was read.
    pub source: String,
    /// The feed.
    pub stream: String,
    /// The table that the rows went to.
    pub table: String,
    /// Stable identity of the source.
    pub source_key: String,
    /// Its product.
    pub product: String,
    /// The fetch; its rows carry the same.
    pub fetch_id: String,
    /// How it came out.
    pub status: Status,
    /// What was asked.
    pub asked: Window,
    /// What was read to its end, in order.
    pub covered: Vec<Window>,
    /// Nothing late is expected before this.
    pub sealed_to: Option<Time>,
    /// Whether everything asked for was read.
    pub complete: bool,
    /// What became of the rows.
    pub counts: Counts,
    /// The product's own count.
    pub server_count: Option<u64>,
    /// Pages read.
    pub pages: u64,
    /// Why reading ended.
    pub end: Option<EndReason>,
    /// Nothing older was kept.
    pub retention_floor: Option<Time>,
    /// How long after the fact a row may still appear, in seconds.
    pub lateness_s: u64,
    /// The product's clock minus ours.
    pub clock_offset_ms: Option<i64>,
    /// How often our clock had been found set back when reading began.
    pub clock_setbacks: u64,
    /// What ended reading early.
    pub error: Option<ReceiptError>,
    /// What else is to be known.
    pub notes: Vec<String>,
    /// The plugin.
    pub plugin: String,
    /// Its version.
    pub plugin_version: String,
    /// When reading began, by our clock.
    pub as_of: Time,
    /// When it ended.
    pub fetched_at: Time,
}

/// What became of the rows of a fetch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Rows inside the window.
    pub returned: u64,
    /// Stored.
    pub new: u64,
    /// Stored before, or sent twice.
    pub duplicate: u64,
    /// Records that could not be decoded.
    pub rejected: u64,
    /// Stored, although their window was sealed.
    pub late: u64,
    /// Stored before with other values.
    pub edited: u64,
}

impl Entry {
    /// An entry that says that reading has begun and has not come to any end.
    pub fn begun(of: &Reading<'_>, fetch_id: &str, asked: Window, as_of: Time) -> Self {
        Self {
            source: of.source.to_owned(),
            stream: of.stream.to_owned(),
            table: of.table.to_owned(),
            source_key: of.source_key.to_owned(),
            product: of.product.to_owned(),
            fetch_id: fetch_id.to_owned(),
            status: Status::Partial,
            asked,
            covered: Vec::new(),
            sealed_to: None,
            complete: false,
            counts: Counts::default(),
            server_count: None,
            pages: 0,
            end: None,
            retention_floor: None,
            lateness_s: of.lateness_s,
            clock_offset_ms: None,
            clock_setbacks: 0,
            error: Some(ReceiptError {
                error_kind: ErrorKind::Unavailable,
                error_text: "collecting was interrupted".to_owned(),
                hint: None,
            }),
            notes: Vec::new(),
            plugin: of.plugin.to_owned(),
            plugin_version: of.plugin_version.to_owned(),
            as_of,
            fetched_at: as_of,
        }
    }

    /// Says how reading ended. What was read before `as_of` less the lateness, by the slower of the two clocks, is sealed;
    /// nothing if our clock was set back meanwhile, because then nobody knows when that was.
    pub(crate) fn ended(&mut self, receipt: &StreamReceipt, clock_offset_ms: Option<i64>, now: Time) {
        self.status = receipt.status;
        self.complete = receipt.status.is_whole();
        self.covered = receipt.covered.iter().map(|part| part.intersect(&self.asked)).collect();
        self.covered.retain(|part| !part.is_empty());
        self.counts.returned = receipt.rows;
        self.server_count = receipt.server_count;
        self.pages = receipt.pages;
        self.end = receipt.end;
        self.retention_floor = receipt.retention_floor;
        self.error.clone_from(&receipt.error);
        self.notes.clone_from(&receipt.notes);
        self.clock_offset_ms = clock_offset_ms;
        self.fetched_at = now;
        let behind = clock_offset_ms.unwrap_or(0).min(0).unsigned_abs();
        let late = std::time::Duration::from_secs(self.lateness_s) + std::time::Duration::from_millis(behind);
        self.sealed_to = (self.as_of <= now).then(|| self.as_of.minus(late));
    }
}

/// Which stream is read, and by what.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'r> {
    /// Name of the source.
    pub source: &'r str,
    /// Its stable identity.
    pub source_key: &'r str,
    /// Its product.
    pub product: &'r str,
    /// The feed.
    pub stream: &'r str,
    /// The table that it fills.
    pub table: &'r str,
    /// How long after the fact a row may still appear, in seconds.
    pub lateness_s: u64,
    /// The plugin.
    pub plugin: &'r str,
    /// Its version.
    pub plugin_version: &'r str,
}
