//! What one fetch returns.

use arrow_array::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::{Cursor, Time, Window};

/// One page of a stream.
#[derive(Clone, Debug)]
pub struct Page {
    /// Rows in the page schema of the stream's table.
    pub rows: RecordBatch,
    /// Where to go on, or why this was the last page.
    pub next: Next,
    /// Read newest first: no row of a later page has a later `time` than this.
    pub frontier: Option<Time>,
    /// What the product said besides rows.
    pub observed: Observed,
    /// Records that could not be decoded.
    pub rejected: Vec<Rejected>,
}

impl Page {
    /// A last page without further observations.
    pub fn last(rows: RecordBatch, reason: EndReason) -> Self {
        Self { rows, next: Next::End(reason), frontier: None, observed: Observed::default(), rejected: Vec::new() }
    }
}

/// Whether there is more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// More may follow from here.
    More(Cursor),
    /// That was all, and why we believe so.
    End(EndReason),
}

/// Why a sequence of pages ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The product gave no further link.
    NoNextLink,
    /// The product returned fewer records than were asked for, which is its documented end.
    ShortPage,
    /// The product returned a page without records, which is its documented end.
    EmptyPage,
    /// Everything later in the product's order lies outside the window.
    PastWindow,
    /// The stream is one answer.
    SinglePage,
    /// Nobody wanted more rows.
    EnoughRows,
    /// Nothing of the stream can match, so that nothing was read.
    NothingAsked,
    /// All that was wanted is stored, so that the product was not asked.
    Stored,
}

/// What the product said besides rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observed {
    /// The product's clock when it answered.
    pub server_time: Option<Time>,
    /// Its own count of what matches, if it states one.
    pub count: Option<u64>,
    /// Nothing older than this is kept.
    pub retention_floor: Option<Time>,
    /// Records the product sent, rejected ones and those outside the window included.
    pub records: u64,
    /// Rows with a time in here may be missing although everything was asked for, for a reason that stands in `notes`:
    /// the stream is `partial` then.
    pub gap: Option<Window>,
    /// What else the receipt should tell: two snapshots were needed, a row vanished.
    pub notes: Vec<String>,
}

/// A record that could not be decoded, with its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The bytes as received, lossily decoded where they are no UTF-8.
    pub raw: String,
    /// Why, and where in the record.
    pub reason: String,
}
