//! The tables that describe the sources: `sources`, `streams`, `blind_spots`. Plain data, no product is asked.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::error::ArrowError;
use fedaudit_core::{BlindSpot, Predicate, StreamInfo, StreamKind};

use crate::run::Source;
use crate::sight::refused_logins;

/// `sources`: one row per configured source.
pub(crate) fn sources(sources: &[Source]) -> Result<RecordBatch, ArrowError> {
    let text = |of: fn(&Source) -> &str| Arc::new(StringArray::from_iter_values(sources.iter().map(of))) as ArrayRef;
    let streams = sources.iter().map(|source| source.plugin.info().streams.len() as i64);
    RecordBatch::try_from_iter([
        ("source", text(|source| &source.name)),
        ("product", text(|source| &source.plugin.info().product)),
        ("origin", text(|source| &source.plugin.info().origin)),
        ("source_key", text(|source| &source.source_key)),
        ("plugin", text(|source| &source.plugin.info().plugin)),
        ("plugin_version", text(|source| &source.plugin.info().plugin_version)),
        ("streams", Arc::new(Int64Array::from_iter_values(streams))),
    ])
}

/// `streams`: one row per stream of a source.
pub(crate) fn streams(sources: &[Source]) -> Result<RecordBatch, ArrowError> {
    let rows: Vec<(&Source, &StreamInfo)> = sources
        .iter()
        .flat_map(|source| source.plugin.info().streams.iter().map(move |stream| (source, stream)))
        .collect();
    let text = |of: &dyn Fn(&StreamInfo) -> String| {
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, stream)| of(stream)))) as ArrayRef
    };
    let number = |of: fn(&StreamInfo) -> Option<i64>| {
        Arc::new(rows.iter().map(|(_, stream)| of(stream)).collect::<Int64Array>()) as ArrayRef
    };
    RecordBatch::try_from_iter([
        ("source", Arc::new(StringArray::from_iter_values(rows.iter().map(|(source, _)| &source.name))) as ArrayRef),
        ("stream", text(&|stream| stream.name.clone())),
        ("table_name", text(&|stream| table(stream.kind).to_owned())),
        ("time_field", text(&|stream| stream.time_field.clone())),
        ("reading_order", text(&|stream| format!("{:?}", stream.order).to_lowercase())),
        ("pushable", text(&pushable)),
        ("history_s", number(|stream| stream.history.map(|history| history.as_secs() as i64))),
        ("lateness_s", number(|stream| Some(stream.lateness.as_secs() as i64))),
        ("look_back_s", number(|stream| Some(stream.look_back.as_secs() as i64))),
        ("granularity_us", number(|stream| Some(stream.granularity.as_micros() as i64))),
        ("parallel_windows", number(|stream| Some(stream.parallel_windows as i64))),
        ("can_follow", Arc::new(rows.iter().map(|(_, stream)| Some(stream.follow)).collect::<BooleanArray>())),
        (
            "rebuilds_sessions",
            Arc::new(rows.iter().map(|(_, stream)| Some(stream.pairing.is_some())).collect::<BooleanArray>()),
        ),
        ("blind_spots", number(|stream| Some(stream.blind_spots.len() as i64))),
    ])
}

/// `blind_spots`: what each stream can never show, as a condition on the rows that will be missing.
pub(crate) fn blind_spots(sources: &[Source]) -> Result<RecordBatch, ArrowError> {
    let rows: Vec<(&Source, &StreamInfo, &str, BlindSpot)> = sources
        .iter()
        .flat_map(|source| source.plugin.info().streams.iter().map(move |stream| (source, stream)))
        .flat_map(|(source, stream)| {
            let own = stream.blind_spots.iter().cloned().map(|spot| (table(stream.kind), spot));
            let rebuilt = stream.pairing.iter().map(|_| ("sessions", refused_logins()));
            own.chain(rebuilt).map(move |(table, spot)| (source, stream, table, spot))
        })
        .collect();
    let condition = |spot: &BlindSpot| {
        (!spot.predicates.is_empty())
            .then(|| spot.predicates.iter().map(Predicate::to_string).collect::<Vec<_>>().join(" AND "))
    };
    RecordBatch::try_from_iter_with_nullable([
        ("source", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.0.name))) as ArrayRef, false),
        ("stream", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.1.name))), false),
        ("table_name", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.2))), false),
        ("condition", Arc::new(rows.iter().map(|row| condition(&row.3)).collect::<StringArray>()), true),
        ("reason", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.3.reason))), false),
    ])
}

fn table(kind: StreamKind) -> &'static str {
    match kind {
        StreamKind::Events => "events",
        StreamKind::Sessions => "sessions",
    }
}

fn pushable(stream: &StreamInfo) -> String {
    stream
        .pushable
        .iter()
        .map(|pushable| {
            let operators: Vec<String> = pushable.operators.iter().map(|operator| format!("{operator:?}")).collect();
            format!("{} ({})", pushable.column, operators.join(", "))
        })
        .collect::<Vec<_>>()
        .join("; ")
}
