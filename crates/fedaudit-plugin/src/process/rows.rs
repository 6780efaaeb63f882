//! Rows on their way through a pipe: an Arrow IPC stream of one batch. Neither side copies their values: the child writes
//! them from where the library put them, the host reads them where they arrived.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use arrow_array::{Array as _, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::{FileDecoder, StreamDecoder};
use arrow_ipc::writer::StreamEncoder;
use arrow_ipc::{Block, MetadataVersion};
use arrow_schema::{ArrowError, SchemaRef};
use fedaudit_core::{Error, ErrorKind, Result, StreamKind};

use crate::host::content;
use crate::host::import::{as_agreed, table};

/// Rows as a body, in pieces.
pub(super) fn body_of(rows: &RecordBatch) -> Result<Vec<Buffer>> {
    let pieces = StreamEncoder::try_new(&rows.schema()).and_then(|mut encoder| encoder.encode(rows));
    pieces.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()).at("rows"))
}

/// The rows of a body, with the page schema of their table.
pub(super) fn rows_of(body: Vec<u8>, kind: StreamKind) -> Result<RecordBatch> {
    let wrong = |text: String| Error::new(ErrorKind::Malformed, text).at("the plugin's rows");
    let mut bytes = Buffer::from_vec(body);
    // Messages that contradict each other make arrow panic in places.
    let decoded = catch_unwind(AssertUnwindSafe(|| match Agreed::of(kind).rest_of(&bytes) {
        Some(message) => decoded(Agreed::of(kind), &message),
        None => StreamDecoder::new().decode(&mut bytes),
    }));
    let rows = decoded.map_err(|_| wrong("they contradict themselves".into()))?;
    let rows = rows.map_err(|error| wrong(error.to_string()))?;
    let rows = rows.ok_or_else(|| wrong("there are none, not even none of them".into()))?;
    as_agreed(&rows, kind)
}

/// A batch of the agreed schema.
fn decoded(agreed: &Agreed, message: &Buffer) -> std::result::Result<Option<RecordBatch>, ArrowError> {
    let head = message.get(..PREFIX).and_then(|head| head[4..].try_into().ok()).map(u32::from_le_bytes);
    let head = head.map_or(usize::MAX, |head| head as usize).saturating_add(PREFIX);
    let lengths = message.len().checked_sub(head).and_then(|body| Some((i32::try_from(head).ok()?, body as i64)));
    let (head, body) = lengths.ok_or_else(|| ArrowError::IpcError("the message is cut off".into()))?;
    // SAFETY: nobody reads a value of what is decoded before all of it was looked at.
    let decoder =
        unsafe { FileDecoder::new(SchemaRef::clone(&agreed.schema), MetadataVersion::V5).with_skip_validation(true) };
    let rows = decoder.read_record_batch(&Block::new(0, head, body), message)?;
    for column in rows.iter().flat_map(RecordBatch::columns) {
        let data = column.to_data();
        data.validate()?;
        content::check(&data)?;
    }
    Ok(rows)
}

/// Continuation and length of the head of a message.
const PREFIX: usize = 8;

/// The schema that both sides expect, and the message that says so.
struct Agreed {
    schema: SchemaRef,
    message: Vec<u8>,
}

impl Agreed {
    fn of(kind: StreamKind) -> &'static Self {
        static EVENTS: LazyLock<Agreed> = LazyLock::new(|| Agreed::new(StreamKind::Events));
        static SESSIONS: LazyLock<Agreed> = LazyLock::new(|| Agreed::new(StreamKind::Sessions));
        match kind {
            StreamKind::Events => &EVENTS,
            StreamKind::Sessions => &SESSIONS,
        }
    }

    fn new(kind: StreamKind) -> Self {
        let schema = table(kind).page_schema();
        let pieces = body_of(&RecordBatch::new_empty(SchemaRef::clone(&schema))).unwrap_or_default();
        let stream: Vec<u8> = pieces.iter().flat_map(|piece| piece.as_slice()).copied().collect();
        // The first message says the schema.
        let length = stream.get(4..PREFIX).and_then(|head| head.try_into().ok()).map_or(0, u32::from_le_bytes);
        let message = stream.get(..PREFIX + length as usize).unwrap_or_default().to_vec();
        Self { schema, message }
    }

    /// What follows the schema, if it is this one.
    fn rest_of(&self, bytes: &Buffer) -> Option<Buffer> {
        let is_this = !self.message.is_empty() && bytes.starts_with(&self.message);
        is_this.then(|| bytes.slice(self.message.len()))
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, StringArray};
    use fedaudit_core::rows::{EventBuilder, EventRow};

    use super::*;

    fn events() -> RecordBatch {
        let mut rows = EventBuilder::new("s");
        for user in ["jörg", "kim", ""] {
            rows.push(&[Some(user)], &[], &EventRow { user_name: Some(user), raw: "{}", ..EventRow::new() });
        }
        rows.finish().unwrap()
    }

    fn bytes(rows: &RecordBatch) -> Vec<u8> {
        body_of(rows).unwrap().iter().flat_map(|piece| piece.as_slice()).copied().collect()
    }

    #[test]
    fn rows_arrive_as_they_were() {
        let rows = events();
        assert!(Agreed::of(StreamKind::Events).rest_of(&Buffer::from_vec(bytes(&rows))).is_some());
        assert_eq!(rows_of(bytes(&rows), StreamKind::Events).unwrap(), rows);
        let part = rows.slice(1, 2);
        assert_eq!(rows_of(bytes(&part), StreamKind::Events).unwrap(), part);
        let none = rows.slice(0, 0);
        assert_eq!(rows_of(bytes(&none), StreamKind::Events).unwrap(), none);
    }

    #[test]
    fn rows_of_another_schema_say_what_differs() {
        let name: ArrayRef = std::sync::Arc::new(StringArray::from(vec!["x"]));
        let other = RecordBatch::try_from_iter([("name", name)]).unwrap();
        let error = rows_of(bytes(&other), StreamKind::Events).unwrap_err().to_string();
        assert!(error.contains("is missing"), "{error}");
    }

    #[test]
    fn no_changed_byte_makes_a_text_that_is_none() {
        let whole = bytes(&events());
        let mut refused = 0;
        for place in 0..whole.len() {
            for value in [0x01, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[place] ^= value;
                match rows_of(changed, StreamKind::Events) {
                    Err(_) => refused += 1,
                    Ok(rows) => rows.columns().iter().for_each(|column| column.to_data().validate_full().unwrap()),
                }
            }
        }
        assert!(refused > 1000, "{refused} of {} were refused", 3 * whole.len());
        for length in 0..whole.len() {
            let _ = rows_of(whole[..length].to_vec(), StreamKind::Events);
        }
    }
}
