//! The vocabulary and the contract of fedaudit: what a source is, what it is asked, what it answers, and the columns of
//! the two tables. No I/O, no runtime, no clock and no DataFusion: resources arrive in [`Context`].

pub mod action;
pub mod address;
pub mod columns;
mod context;
mod error;
#[cfg(test)]
mod fuzz;
pub mod key;
mod page;
pub mod principal;
mod query;
mod receipt;
pub mod rows;
mod secret;
mod source;
mod time;
mod windows;
mod words;

pub use action::Action;
pub use context::{Clock, Context, Meter, MeterReading};
pub use error::{Error, ErrorKind, Result};
pub use page::{EndReason, Next, Observed, Page, Rejected};
pub use query::{Cursor, Direction, Operator, PageRequest, Predicate, Value, Window};
pub use receipt::{PartReceipt, Receipt, ReceiptError, Side, SourceReceipt, Status, StreamReceipt};
pub use rows::{EventBuilder, EventRow, SessionBuilder, SessionRow};
pub use secret::Secret;
pub use source::{
    AuditSource, BlindSpot, Bound, Order, Pairing, Plugin, PluginInfo, Pushable, SourceHealth, SourceInfo, StreamInfo,
    StreamKind,
};
pub use time::{ParsedTime, Time};
pub use windows::Windows;
pub use words::{AddressKind, Confidence, EndCause, Outcome, SessionState, TimeQuality, UserType};
