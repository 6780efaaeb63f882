//! What a page may leave out because it follows from the rest: columns without a value, numbers that a word decides,
//! digests, and keys of which the parts came. Authors in other languages need neither our hash nor our tables.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray as _;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, new_null_array};
use arrow_schema::{DataType, Field, Schema};
use fedaudit_core::columns::Kind;
use fedaudit_core::key::{Key, KeyKind, sha256_hex};
use fedaudit_core::rows::duration_s;
use fedaudit_core::{Action, Result, StreamKind, Time};

use super::import::{table, wrong};

/// The rows with every column of a page that the given ones decide. What is neither there nor decided is still missing.
pub(super) fn completed(rows: RecordBatch, kind: StreamKind, source_key: &str) -> Result<RecordBatch> {
    let expected = table(kind).page_schema();
    if expected.fields().iter().all(|field| rows.column_by_name(field.name()).is_some()) {
        return Ok(rows);
    }
    let given = rows.schema();
    let mut fields: Vec<Arc<Field>> = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in given.fields().iter().zip(rows.columns()) {
        // Parts have done their work once the key is made; beside a key they would contradict it or say nothing.
        let is_spent = field
            .name()
            .strip_suffix(PARTS)
            .is_some_and(|key| rows.column_by_name(key).is_none() && expected.index_of(key).is_ok());
        if !is_spent {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
        }
    }
    for field in expected.fields().iter().filter(|field| rows.column_by_name(field.name()).is_none()) {
        if let Some(column) = decided(&rows, kind, source_key, field)? {
            fields.push(Arc::clone(field));
            columns.push(column);
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| wrong(error.to_string()))
}

/// A column `…_parts` holds the parts of the key `…`, without the source.
const PARTS: &str = "_parts";

/// A column that is not there, if it follows from those that are.
fn decided(rows: &RecordBatch, kind: StreamKind, source_key: &str, field: &Field) -> Result<Option<ArrayRef>> {
    let made: Option<ArrayRef> = match field.name().as_str() {
        "event_key" => keys(rows, KeyKind::Event, source_key, field)?,
        "session_key" => keys(rows, KeyKind::Session, source_key, field)?,
        "class_uid" => numbers(rows, |(class, _)| class)?,
        "activity_id" => numbers(rows, |(_, activity)| activity)?,
        "duration_s" if kind == StreamKind::Sessions => durations(rows)?,
        "raw_sha256" => digests(rows)?,
        _ => None,
    };
    Ok(made.or_else(|| field.is_nullable().then(|| new_null_array(field.data_type(), rows.num_rows()))))
}

/// A column of texts, if it is there; whether it is one is said here.
fn texts<'r>(rows: &'r RecordBatch, name: &str) -> Result<Option<&'r StringArray>> {
    let Some(column) = rows.column_by_name(name) else { return Ok(None) };
    let texts = column.as_string_opt::<i32>();
    texts
        .map(Some)
        .ok_or_else(|| wrong(format!("column '{name}' is {}, not {}", column.data_type(), Kind::Text.arrow())))
}

fn keys(rows: &RecordBatch, kind: KeyKind, source_key: &str, field: &Field) -> Result<Option<ArrayRef>> {
    let name = format!("{}{PARTS}", field.name());
    let Some(column) = rows.column_by_name(&name) else { return Ok(None) };
    let lists = column.as_list_opt::<i32>().filter(|lists| *lists.values().data_type() == DataType::Utf8);
    let lists: &ListArray = lists.ok_or_else(|| wrong(format!("column '{name}' is no list of texts")))?;
    let mut made = StringBuilder::with_capacity(rows.num_rows(), rows.num_rows() * 32);
    for row in 0..rows.num_rows() {
        let parts = (!lists.is_null(row)).then(|| lists.value(row)).filter(|parts| !parts.is_empty());
        match parts {
            None if field.is_nullable() => made.append_null(),
            None => return Err(wrong(format!("column '{name}' has no parts in row {row}"))),
            Some(parts) => {
                let parts: Vec<Option<&str>> = parts.as_string::<i32>().iter().collect();
                made.append_value(Key::new(kind, source_key, &parts).as_str());
            }
        }
    }
    Ok(Some(Arc::new(made.finish())))
}

fn numbers(rows: &RecordBatch, of: impl Fn((i32, i32)) -> i32) -> Result<Option<ArrayRef>> {
    let Some(actions) = texts(rows, "action")? else { return Ok(None) };
    let number = |word: Option<&str>| {
        let word = word.unwrap_or_default();
        Action::from_word(word)
            .map(|action| of(action.ocsf()))
            .ok_or_else(|| wrong(format!("'{word}' is no word of 'action'")))
    };
    let numbers = actions.iter().map(number).collect::<Result<Vec<i32>>>()?;
    Ok(Some(Arc::new(Int32Array::from(numbers))))
}

fn durations(rows: &RecordBatch) -> Result<Option<ArrayRef>> {
    let times = |name: &str| {
        let column = rows.column_by_name(name)?;
        Some(
            column
                .as_primitive_opt::<TimestampMicrosecondType>()
                .ok_or_else(|| wrong(format!("column '{name}' is {}, not {}", column.data_type(), Kind::Time.arrow()))),
        )
    };
    let (Some(starts), Some(ends)) = (times("start_time").transpose()?, times("end_time").transpose()?) else {
        return Ok(None);
    };
    let time = |micros: Option<i64>| micros.map(Time::from_micros);
    let durations: Int64Array =
        starts.iter().zip(ends.iter()).map(|(start, end)| duration_s(time(start), time(end))).collect();
    Ok(Some(Arc::new(durations)))
}

fn digests(rows: &RecordBatch) -> Result<Option<ArrayRef>> {
    let Some(raws) = texts(rows, "raw")? else { return Ok(None) };
    let mut made = StringBuilder::with_capacity(rows.num_rows(), rows.num_rows() * 64);
    for raw in raws {
        // A NULL is said to be one where all columns are looked at.
        let digest = sha256_hex(raw.unwrap_or_default().as_bytes());
        made.append_value(std::str::from_utf8(&digest).unwrap_or_default());
    }
    Ok(Some(Arc::new(made.finish())))
}

#[cfg(test)]
mod tests {
    use fedaudit_core::rows::{EventBuilder, EventRow, SessionBuilder, SessionRow};
    use fedaudit_core::{ErrorKind, Outcome};

    use super::super::import::as_agreed;
    use super::*;

    const SOURCE: &str = "https://nas.example";

    fn without(rows: &RecordBatch, names: &[&str], more: Vec<(&str, ArrayRef)>) -> RecordBatch {
        let schema = rows.schema();
        let kept =
            schema.fields().iter().zip(rows.columns()).filter(|(field, _)| !names.contains(&field.name().as_str()));
        let kept = kept.map(|(field, column)| (field.name().clone(), Arc::clone(column), field.is_nullable()));
        let more = more.into_iter().map(|(name, column)| (name.to_owned(), column, true));
        RecordBatch::try_from_iter_with_nullable(kept.chain(more)).unwrap()
    }

    fn lists(rows: &[Option<&[Option<&str>]>]) -> ArrayRef {
        let mut lists = arrow_array::builder::ListBuilder::new(StringBuilder::new());
        for row in rows {
            for part in row.unwrap_or_default() {
                lists.values().append_option(*part);
            }
            lists.append(row.is_some());
        }
        Arc::new(lists.finish())
    }

    fn events() -> RecordBatch {
        let mut builder = EventBuilder::new(SOURCE);
        let row = EventRow { action: Action::Login, outcome: Outcome::Success, raw: r#"{"a":1}"#, ..EventRow::new() };
        builder.push(&[Some("1"), None], &[Some("s")], &row);
        builder.push(&[Some("2")], &[], &EventRow { action: Action::FileRead, raw: "{}", ..row });
        builder.finish().unwrap()
    }

    #[test]
    fn what_follows_is_what_core_would_have_made() {
        let whole = events();
        let left_out = ["event_key", "session_key", "class_uid", "activity_id", "raw_sha256", "user_name", "resources"];
        let parts = vec![
            ("event_key_parts", lists(&[Some(&[Some("1"), None]), Some(&[Some("2")])])),
            ("session_key_parts", lists(&[Some(&[Some("s")]), Some(&[])])),
        ];
        let made = completed(without(&whole, &left_out, parts), StreamKind::Events, SOURCE).unwrap();
        assert_eq!(as_agreed(&made, StreamKind::Events).unwrap(), whole);
        // Sessions of events that name none.
        let parts = vec![("event_key_parts", lists(&[Some(&[Some("1"), None]), Some(&[Some("2")])]))];
        let made =
            completed(without(&whole, &["event_key", "session_key"], parts), StreamKind::Events, SOURCE).unwrap();
        assert_eq!(
            as_agreed(&made, StreamKind::Events).unwrap().column_by_name("session_key").unwrap().null_count(),
            2
        );
    }

    #[test]
    fn sessions_have_their_durations() {
        let mut builder = SessionBuilder::new(SOURCE);
        let at = |seconds: i64| Time::from_seconds(1_700_000_000 + seconds);
        let row = SessionRow { start_time: at(0), end_time: at(70), raw: "{}", ..SessionRow::new() };
        builder.push(&[Some("a")], &row);
        builder.push(&[Some("b")], &SessionRow { end_time: None, ..row });
        let whole = builder.finish().unwrap();
        let parts = vec![("session_key_parts", lists(&[Some(&[Some("a")]), Some(&[Some("b")])]))];
        let left_out = ["session_key", "duration_s", "raw_sha256"];
        let made = completed(without(&whole, &left_out, parts), StreamKind::Sessions, SOURCE).unwrap();
        assert_eq!(as_agreed(&made, StreamKind::Sessions).unwrap(), whole);
    }

    #[test]
    fn what_does_not_follow_is_still_an_error() {
        let whole = events();
        let refused = |left_out: &[&str], more: Vec<(&str, ArrayRef)>| {
            let made = completed(without(&whole, left_out, more), StreamKind::Events, SOURCE);
            let error = made.and_then(|rows| as_agreed(&rows, StreamKind::Events)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed);
            error.to_string()
        };
        let some = || lists(&[Some(&[Some("1")]), Some(&[Some("2")])]);
        let words = |first: &str| Arc::new(StringArray::from(vec![first, "auth.login"])) as ArrayRef;
        assert!(refused(&["event_key"], vec![]).contains("'event_key' is missing"));
        assert!(refused(&["event_code"], vec![]).contains("'event_code' is missing"));
        assert!(refused(&["raw", "raw_sha256"], vec![]).contains("is missing"));
        assert!(refused(&["event_key"], vec![("event_key_parts", words("1"))]).contains("no list of texts"));
        let none = lists(&[Some(&[Some("1")]), None]);
        assert!(refused(&["event_key"], vec![("event_key_parts", none)]).contains("no parts in row 1"));
        assert!(
            refused(&[], vec![("event_key_parts", some())]).contains("unknown or repeated columns: event_key_parts")
        );
        let beside = refused(&["user_name"], vec![("event_key_parts", some())]);
        assert!(beside.contains("unknown or repeated columns: event_key_parts"), "{beside}");
        assert!(refused(&["user_name"], vec![("odd_parts", some())]).contains("odd_parts"));
        let unknown = refused(&["action", "class_uid"], vec![("action", words("auth.logn"))]);
        assert!(unknown.contains("'auth.logn' is no word of 'action'"), "{unknown}");
        let numbers = Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef;
        assert!(refused(&["raw", "raw_sha256"], vec![("raw", numbers)]).contains("'raw' is Int32"));
    }
}
