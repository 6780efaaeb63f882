//! What an answer rests on. The JSON form is described by `docs/receipt.schema.json`.

use serde::{Deserialize, Serialize};

use crate::{EndReason, Error, ErrorKind, MeterReading, Predicate, Rejected, Time, Window};

/// How a stream's part of an answer came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Everything asked for was read.
    Complete,
    /// Everything asked for was read, and there was nothing.
    Empty,
    /// Some of it is missing.
    Partial,
    /// The product refused.
    Denied,
    /// The product could not be read.
    Failed,
    /// Part of the window lies before what the product keeps.
    Expired,
    /// The question is about something this stream can never show.
    Blind,
}

impl Status {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Empty => "empty",
            Self::Partial => "partial",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Blind => "blind",
        }
    }

    /// Whether the answer holds all that was asked of the stream.
    pub fn is_whole(self) -> bool {
        matches!(self, Self::Complete | Self::Empty)
    }

    /// What a failure of this kind makes of a stream.
    pub fn of_error(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Unauthenticated | ErrorKind::Denied => Self::Denied,
            _ => Self::Failed,
        }
    }
}

/// An error as it stands in a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptError {
    /// Its kind.
    pub error_kind: ErrorKind,
    /// Its text, with the place.
    pub error_text: String,
    /// What to try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<&Error> for ReceiptError {
    fn from(error: &Error) -> Self {
        Self { error_kind: error.kind(), error_text: error.to_string(), hint: error.hint_text().map(str::to_owned) }
    }
}

/// Where rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The store.
    Stored,
    /// The product itself.
    Live,
}

/// A part of what is covered, and where its rows came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartReceipt {
    /// The part.
    pub window: Window,
    /// Where its rows came from.
    pub side: Side,
    /// As of when: the last time that any of it was read from the product. A product may have shown more of it since.
    pub as_of: Time,
    /// The first time that any of it was read: what was collected piece by piece is of several times.
    pub first_as_of: Time,
}

/// One stream's part of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamReceipt {
    /// The table that was asked.
    pub table: String,
    /// The source.
    pub source: String,
    /// The stream.
    pub stream: String,
    /// How it came out.
    pub status: Status,
    /// The window of the question.
    pub asked: Window,
    /// What was read to its end, in order: wider than the question by a look-back, narrower where reading stopped.
    pub covered: Vec<Window>,
    /// What of the question's window was not: empty where the status says that all is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Window>,
    /// What is covered, by where its rows came from.
    #[serde(default)]
    pub parts: Vec<PartReceipt>,
    /// Rows of the window that came late to the store or were edited at their source since.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub amendments: u64,
    /// Conditions the product was given.
    pub pushed: Vec<Predicate>,
    /// Rows of the product handed to SQL, inside the window and without duplicates; those of the store are not counted.
    pub rows: u64,
    /// Records the product sent.
    pub records: u64,
    /// Records that came twice.
    pub duplicates: u64,
    /// Records that could not be decoded.
    pub rejected: u64,
    /// The first of them, with their bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected_samples: Vec<Rejected>,
    /// Pages read.
    pub pages: u64,
    /// Why reading ended.
    pub end: Option<EndReason>,
    /// Rows newer than this may still appear at the product.
    pub provisional_after: Option<Time>,
    /// Nothing older is kept by the product.
    pub retention_floor: Option<Time>,
    /// How far before the window it was read, in seconds.
    pub look_back_s: u64,
    /// The product's own count, if it stated one.
    pub server_count: Option<u64>,
    /// What this stream can never show.
    pub blind_spots: Vec<String>,
    /// What else is to be known.
    pub notes: Vec<String>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ReceiptError>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What the wire did for one source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceReceipt {
    /// The source.
    pub source: String,
    /// Its product.
    pub product: String,
    /// Its stable identity.
    pub source_key: String,
    /// What the wire did.
    pub wire: MeterReading,
    /// The product's clock minus ours, in milliseconds, where it was seen.
    pub clock_offset_ms: Option<i64>,
    /// Whether everything held on the server was given back; the error otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close_error: Option<ReceiptError>,
}

/// What an answer rests on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The question.
    pub sql: String,
    /// When it was asked: what is known of sessions is as of then, or of the end of what was read of their events.
    pub as_of: Option<Time>,
    /// `--from` and `--to`.
    pub window: Window,
    /// What was bounded by a default range, because nothing else bounded it from below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_range: Option<String>,
    /// Whether nothing asked for is missing.
    pub complete: bool,
    /// Every stream that was asked.
    pub streams: Vec<StreamReceipt>,
    /// Streams that the question itself excludes, or that had not answered when enough rows were known, as `source/stream`:
    /// nothing is claimed of them.
    pub not_asked: Vec<String>,
    /// Streams that the store holds, but that no configured source has, as `source/stream`: their rows are in the answer
    /// only if the question was asked of the store alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_configured: Vec<String>,
    /// Every source that was asked.
    pub sources: Vec<SourceReceipt>,
    /// Rows of the answer.
    pub rows: u64,
    /// Wall time in milliseconds.
    pub elapsed_ms: u64,
    /// What ended the question before its answer was whole; what a source failed with stands with its streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ReceiptError>,
}
