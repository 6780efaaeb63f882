//! Rows that come from a library: nothing is believed that can be checked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi};
use arrow_array::{Array as _, RecordBatch, StructArray};
use arrow_schema::DataType;
use fedaudit_core::columns::Table;
use fedaudit_core::rows::{EVENTS, SESSIONS};
use fedaudit_core::{Error, ErrorKind, Result, StreamKind};

use super::complete::completed;
use super::{content, shape};

/// The table that a stream fills.
pub(crate) fn table(kind: StreamKind) -> &'static Table {
    match kind {
        StreamKind::Events => &EVENTS,
        StreamKind::Sessions => &SESSIONS,
    }
}

/// The rows of a page, with the page schema of its table.
pub(super) fn rows(
    schema: &FFI_ArrowSchema,
    array: FFI_ArrowArray,
    kind: StreamKind,
    source_key: &str,
) -> Result<RecordBatch> {
    if array.is_released() {
        return Err(wrong("there are none, not even none of them".into()));
    }
    shape::check(schema, &array)?;
    // Structures that contradict each other make arrow panic in places.
    let imported = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: structures of the C Data Interface, as the interface demands.
        let mut data = unsafe { from_ffi(array, schema) }?;
        data.align_buffers();
        data.validate()?;
        content::check(&data)?;
        Ok::<_, arrow_schema::ArrowError>(data)
    }));
    let data =
        imported.map_err(|_| wrong("they contradict themselves".into()))?.map_err(|error| wrong(error.to_string()))?;
    if !matches!(data.data_type(), DataType::Struct(_)) {
        return Err(wrong(format!("they are of type {}, not a struct of columns", data.data_type())));
    }
    let rows = StructArray::from(data);
    if rows.null_count() > 0 {
        return Err(wrong("a whole row is NULL".into()));
    }
    as_agreed(&completed(RecordBatch::from(rows), kind, source_key)?, kind)
}

/// The rows with the page schema of their table, if that is what they hold.
pub(crate) fn as_agreed(rows: &RecordBatch, kind: StreamKind) -> Result<RecordBatch> {
    let expected = table(kind).page_schema();
    let mut columns = Vec::with_capacity(expected.fields().len());
    for field in expected.fields() {
        let (name, wanted) = (field.name(), field.data_type());
        let column = rows.column_by_name(name).ok_or_else(|| wrong(format!("column '{name}' is missing")))?;
        if column.data_type() != wanted {
            return Err(wrong(format!("column '{name}' is {}, not {wanted}", column.data_type())));
        }
        columns.push(Arc::clone(column));
    }
    if rows.num_columns() != columns.len() {
        let given = rows.schema();
        let unknown: Vec<&str> = given
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .filter(|name| expected.index_of(name).is_err())
            .collect();
        return Err(wrong(format!("unknown or repeated columns: {}", unknown.join(", "))));
    }
    // A NULL where the column allows none is an error here.
    RecordBatch::try_new(expected, columns).map_err(|error| wrong(error.to_string()))
}

pub(super) fn wrong(text: String) -> Error {
    Error::new(ErrorKind::Malformed, text).at("the plugin's rows")
}

#[cfg(test)]
mod tests {
    use arrow_array::StringArray;
    use fedaudit_core::rows::{EventBuilder, EventRow};

    use super::*;

    #[test]
    fn a_null_where_none_may_be_is_said() {
        let mut builder = EventBuilder::new("s");
        builder.push(&[Some("1")], &[], &EventRow { raw: "{}", ..EventRow::new() });
        let rows = builder.finish().unwrap();
        for (name, is_nullable) in [("raw", false), ("event_key", false), ("user_name", true)] {
            let null: arrow_array::ArrayRef = Arc::new(StringArray::from(vec![None::<&str>]));
            let schema = rows.schema();
            let columns = schema.fields().iter().zip(rows.columns()).map(|(field, column)| {
                let column = if field.name() == name { Arc::clone(&null) } else { Arc::clone(column) };
                (field.name().clone(), column, true)
            });
            let changed = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
            match as_agreed(&changed, StreamKind::Events) {
                Ok(_) => assert!(is_nullable, "{name}"),
                Err(error) => assert!(!is_nullable && error.to_string().contains(name), "{error}"),
            }
        }
    }
}
