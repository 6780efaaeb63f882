//! The three generations of the document say the same.

use std::collections::BTreeMap;

use fedaudit_testkit::canvas::{Form, Options};
use serde_json::json;

use crate::bench::{Reading, bench_of, world};

/// What form A has no place for, or writes differently: event ids and what hangs on them, the page view with the client's
/// address and program, and the record itself.
const NOT_IN_A: &[&str] = &[
    "event_key",
    "record_id",
    "correlation_id",
    "src_ip",
    "src_kind",
    "src_original",
    "user_agent",
    "unmapped",
    "raw",
    "raw_sha256",
];

/// Form B' has page views' ids, and no side-loaded object at all: so no login names, and a flag that says so.
const NOT_IN_B_INTEGER: &[&str] = &[
    "event_key",
    "record_id",
    "src_ip",
    "src_kind",
    "src_original",
    "user_agent",
    "user_name",
    "user_domain",
    "user_original",
    "quality_flags",
    "unmapped",
    "raw",
    "raw_sha256",
];

/// The rows as text, column by column, without those columns; each with how often it occurs.
fn rows(reading: &Reading, without: &[&str]) -> BTreeMap<String, usize> {
    let schema = reading.batches[0].schema();
    let columns: Vec<(String, Vec<Option<String>>)> = schema
        .fields()
        .iter()
        .filter(|field| !without.contains(&field.name().as_str()))
        .map(|field| (field.name().clone(), reading.column(field.name())))
        .collect();
    assert_eq!(columns.len(), schema.fields().len() - without.len(), "an exception names no column");
    let mut rows = BTreeMap::new();
    for row in 0..reading.rows() {
        let text: Vec<String> = columns.iter().map(|(name, cells)| format!("{name}={:?}", cells[row])).collect();
        *rows.entry(text.join(" ")).or_default() += 1;
    }
    rows
}

#[tokio::test]
async fn forms_agree() {
    let world = world();
    let mut readings = Vec::new();
    for form in [Form::Links, Form::Flat, Form::IntegerIds] {
        let options = Options { form, ..Options::default() };
        let bench = bench_of(std::sync::Arc::clone(&world), options, json!({})).await;
        readings.push(bench.read(bench.request()).await.unwrap());
    }
    let [current, flat, integer] = readings.as_slice() else { unreachable!() };
    assert_eq!(rows(current, &[]).values().sum::<usize>(), world.canvas.events.len());
    for (form, without) in [(flat, NOT_IN_A), (integer, NOT_IN_B_INTEGER)] {
        assert_eq!(rows(current, without), rows(form, without));
        // What is left out is left out for a reason.
        for column in without {
            assert_ne!(current.column(column), form.column(column), "{column} is the same");
        }
    }
}
