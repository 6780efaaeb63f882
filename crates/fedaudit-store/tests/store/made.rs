//! Rows as an engine would hand them over, of a made-up source.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use arrow_array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array};
use fedaudit_core::columns::Filled;
use fedaudit_core::rows::EVENTS;
use fedaudit_core::{
    Action, Clock, EndReason, EventBuilder, EventRow, Status, StreamReceipt, Time, TimeQuality, Window,
};
use fedaudit_store::Reading;

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const SOURCE_KEY: &str = "https://nas.example";

/// A clock that is set.
#[derive(Debug, Default)]
pub(crate) struct Set(AtomicI64);

impl Set {
    pub(crate) fn at(seconds: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(seconds * SECOND)))
    }

    pub(crate) fn to(&self, seconds: i64) {
        self.0.store(seconds * SECOND, Relaxed);
    }
}

impl Clock for Set {
    fn now(&self) -> Time {
        Time::from_micros(self.0.load(Relaxed))
    }
}

/// One record: its number, when it happened, and what its user was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) second: i64,
    pub(crate) user: String,
}

pub(crate) fn record(id: u64, second: i64) -> Record {
    Record { id, second, user: format!("user{}", id % 7) }
}

pub(crate) fn window(from: i64, to: i64) -> Window {
    Window::new(Time::from_micros(from * SECOND), Time::from_micros(to * SECOND))
}

pub(crate) fn reading() -> Reading<'static> {
    Reading {
        source: "nas",
        source_key: SOURCE_KEY,
        product: "truenas",
        stream: "audit.MIDDLEWARE",
        table: "events",
        lateness_s: 10,
        plugin: "truenas",
        plugin_version: "1",
    }
}

/// Rows with every column, in the order of the records.
pub(crate) fn rows(records: &[Record], fetch_id: &str, fetched_at: Time) -> RecordBatch {
    let mut builder = EventBuilder::new(SOURCE_KEY);
    for record in records {
        let id = record.id.to_string();
        let raw = format!("{{\"id\":{},\"at\":{},\"user\":\"{}\"}}", record.id, record.second, record.user);
        let row = EventRow {
            time: Time::from_micros(record.second * SECOND),
            time_quality: TimeQuality::Exact,
            action: Action::Login,
            event_code: "AUTHENTICATION",
            user_name: Some(&record.user),
            record_id: Some(&id),
            raw: &raw,
            ..EventRow::new()
        };
        builder.push(&[Some(&id)], &[], &row);
    }
    let page = builder.finish().unwrap();
    let of = reading();
    let constant = |text: &str| Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, records.len())));
    let columns: Vec<ArrayRef> = EVENTS
        .columns
        .iter()
        .map(|column| match column.name {
            _ if column.filled != Filled::Engine => Arc::clone(page.column_by_name(column.name).unwrap()),
            "source" => constant(of.source),
            "product" => constant(of.product),
            "stream" => constant(of.stream),
            "source_key" => constant(SOURCE_KEY),
            "plugin" => constant(of.plugin),
            "plugin_version" => constant(of.plugin_version),
            "fetch_id" => constant(fetch_id),
            "fetched_at" => {
                Arc::new(TimestampMicrosecondArray::from_value(fetched_at.micros(), records.len()).with_timezone("UTC"))
            }
            _ => new_null_array(&column.kind.arrow(), records.len()),
        })
        .collect();
    RecordBatch::try_new(EVENTS.schema(), columns).unwrap()
}

/// What an engine would say of a window that was read to its end.
pub(crate) fn receipt(asked: Window, rows: usize) -> StreamReceipt {
    StreamReceipt {
        table: "events".into(),
        source: "nas".into(),
        stream: "audit.MIDDLEWARE".into(),
        status: if rows == 0 { Status::Empty } else { Status::Complete },
        asked,
        covered: vec![asked],
        missing: Vec::new(),
        parts: Vec::new(),
        amendments: 0,
        pushed: Vec::new(),
        rows: rows as u64,
        records: rows as u64,
        duplicates: 0,
        rejected: 0,
        rejected_samples: Vec::new(),
        pages: 1,
        end: Some(EndReason::ShortPage),
        provisional_after: None,
        retention_floor: None,
        look_back_s: 0,
        server_count: None,
        blind_spots: Vec::new(),
        notes: Vec::new(),
        error: None,
    }
}
