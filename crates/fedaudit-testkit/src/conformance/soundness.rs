//! What holds of every row, whatever the record was that it came from.

use std::net::IpAddr;

use arrow_array::RecordBatch;
use fedaudit_core::columns::{Column, Filled, Kind};
use fedaudit_core::{StreamKind, Time};

use super::reading::{Cell, cell, table};

/// The first value of a page that cannot be one, if there is any.
pub fn unsound(rows: &RecordBatch, kind: StreamKind) -> Option<String> {
    let columns = || table(kind).columns.iter().filter(|column| column.filled != Filled::Engine);
    (0..rows.num_rows()).find_map(|row| {
        columns().find_map(|column| {
            let cell = cell(rows, column.name, row);
            let sound = cell.as_ref().map_or(column.nullable, |cell| is_sound(column, cell));
            (!sound).then(|| format!("row {row}: {} holds {cell:?}", column.name))
        })
    })
}

/// A column of a page, as text.
pub fn texts(rows: &RecordBatch, column: &str) -> Vec<Option<String>> {
    (0..rows.num_rows()).map(|row| cell(rows, column, row).map(|cell| cell.text())).collect()
}

/// Whether a column can hold this.
pub(crate) fn is_sound(column: &Column, cell: &Cell) -> bool {
    let text = cell.text();
    match (column.name, cell) {
        (_, Cell::Int(micros)) if column.kind == Kind::Time => Time::from_micros(*micros).is_storable(),
        ("raw", _) => !text.is_empty(),
        _ if column.kind == Kind::Json => serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(),
        (name, _) if name.ends_with("_ip") => text.parse::<IpAddr>().is_ok_and(|address| address.to_string() == text),
        (name, _) if name.ends_with("_port") => text.parse::<u16>().is_ok(),
        // Names of accounts without a realm keep their case where the product distinguishes it.
        ("user_domain" | "src_host" | "client_host", _) => text == text.to_lowercase(),
        ("protocol", _) => text == text.to_ascii_uppercase(),
        ("severity_id", _) => text.parse::<u8>().is_ok_and(|severity| severity <= 6 || severity == 99),
        _ => {
            let words = (column.words)();
            column.kind != Kind::Text || words.is_empty() || words.contains(&text.as_str())
        }
    }
}
