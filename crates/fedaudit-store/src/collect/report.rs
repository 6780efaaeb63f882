//! What collecting came to, and how far it has come while it goes on.

use std::sync::{Mutex, PoisonError};

use fedaudit_core::{ReceiptError, Status, Time, Window, Windows};
use serde::Serialize;

use crate::entry::{Counts, Entry};

/// What collecting came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Every stream.
    pub streams: Vec<StreamReport>,
    /// What else is to be known.
    pub notes: Vec<String>,
    /// Whether somebody stopped it.
    pub stopped: bool,
}

impl Report {
    /// Whether everything that was to be read was read.
    pub fn is_whole(&self) -> bool {
        !self.stopped && self.streams.iter().all(|stream| stream.status.is_whole() && stream.forgotten.is_empty())
    }
}

/// What became of one stream.
#[derive(Clone, Debug, Serialize)]
pub struct StreamReport {
    /// The source.
    pub source: String,
    /// The stream.
    pub stream: String,
    /// The worst that happened to it.
    pub status: Status,
    /// Windows read.
    pub windows: u64,
    /// What became of the rows.
    pub counts: Counts,
    /// Requests sent.
    pub requests: u64,
    /// Sealed up to here.
    pub sealed_to: Option<Time>,
    /// Never read, and gone at the product.
    #[serde(skip)]
    pub forgotten: Windows,
    /// What ended it early.
    pub error: Option<ReceiptError>,
}

impl StreamReport {
    pub(super) fn new(source: &str, stream: &str) -> Self {
        Self {
            source: source.to_owned(),
            stream: stream.to_owned(),
            status: Status::Empty,
            windows: 0,
            counts: Counts::default(),
            requests: 0,
            sealed_to: None,
            forgotten: Windows::NONE,
            error: None,
        }
    }

    pub(super) fn add(&mut self, entry: &Entry) {
        self.windows += 1;
        self.counts.add(&entry.counts);
        self.sealed_to = self.sealed_to.max(entry.sealed_to.filter(|_| entry.complete && !entry.covered.is_empty()));
        // Empty and complete are both good; of the others the last one tells.
        if !entry.status.is_whole() || self.status.is_whole() && self.status < entry.status || self.windows == 1 {
            self.status = entry.status;
        }
        if self.status == Status::Empty && self.counts.returned > 0 {
            self.status = Status::Complete;
        }
        self.error = entry.error.clone().or_else(|| self.error.take());
    }
}

impl Counts {
    /// Adds those of another fetch.
    pub fn add(&mut self, other: &Self) {
        self.returned += other.returned;
        self.new += other.new;
        self.duplicate += other.duplicate;
        self.rejected += other.rejected;
        self.late += other.late;
        self.edited += other.edited;
    }
}

/// How far collecting has come.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Vec<StreamProgress>>);

/// How far one stream has come.
#[derive(Clone, Debug)]
pub struct StreamProgress {
    /// The source.
    pub source: String,
    /// The stream.
    pub stream: String,
    /// To be read, in microseconds of its time.
    pub todo: u64,
    /// Of that, read.
    pub done: u64,
    /// Rows read.
    pub rows: u64,
}

impl Progress {
    /// Every stream as it is now.
    pub fn streams(&self) -> Vec<StreamProgress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn expect(&self, source: &str, stream: &str, todo: &Windows) {
        let todo = todo.iter().map(length).sum();
        let stream = StreamProgress { source: source.to_owned(), stream: stream.to_owned(), todo, done: 0, rows: 0 };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
    }

    pub(super) fn rows(&self, source: &str, stream: &str, rows: u64) {
        self.change(source, stream, |stream| stream.rows += rows);
    }

    pub(super) fn done(&self, source: &str, stream: &str, window: Window) {
        self.change(source, stream, |stream| stream.done += length(window));
    }

    fn change(&self, source: &str, stream: &str, change: impl FnOnce(&mut StreamProgress)) {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = streams.iter_mut().find(|known| known.source == source && known.stream == stream) {
            change(found);
        }
    }
}

fn length(window: Window) -> u64 {
    window.from.zip(window.to).map_or(0, |(from, to)| to.micros().abs_diff(from.micros()))
}
