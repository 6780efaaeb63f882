//! An event as a line for people: when, where, what, who, from where, and what about.

use std::fmt::Write as _;

use fedaudit_core::{Error, ErrorKind, Result, Time};
use fedaudit_engine::arrow::array::{Array as _, AsArray as _, RecordBatch};
use fedaudit_engine::arrow::datatypes::TimestampMicrosecondType;

use crate::terminal::visible;

/// Columns that stand in every line, each in so many places.
const COLUMNS: &[(&str, usize)] = &[("source", 10), ("action", 18), ("outcome", 8), ("user_name", 16), ("src_ip", 16)];
/// The first of these that is known ends the line.
const ABOUT: &[&str] = &["target_name", "operation", "message", "event_code"];

/// So much of it is shown.
const LONGEST: usize = 60;

/// One line for each row.
pub(super) fn lines(rows: &RecordBatch, late: bool) -> Result<String> {
    let times = rows.column_by_name("time").and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
    let times = times.ok_or_else(|| Error::new(ErrorKind::Internal, "events without time"))?;
    let text = |name: &str, row: usize| {
        let column = rows.column_by_name(name)?.as_string_opt::<i32>()?;
        column.is_valid(row).then(|| visible(column.value(row)).into_owned())
    };
    let mut lines = String::new();
    for row in 0..rows.num_rows() {
        // Whole seconds are enough for people.
        let time = Time::from_seconds(times.value(row).div_euclid(1_000_000)).unwrap_or_default();
        let _ = write!(lines, "{time}");
        for (name, width) in COLUMNS {
            let _ = write!(lines, "  {:<width$}", text(name, row).as_deref().unwrap_or("-"));
        }
        let about = cut(ABOUT.iter().find_map(|name| text(name, row)).unwrap_or_default());
        let _ = writeln!(lines, "  {about}{}", if late { "  (late)" } else { "" });
    }
    Ok(lines)
}

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}
