//! A source on the bare table of the C interface, whose rows are made by the previous major version of arrow.
//!
//! It holds a few hundred events and serves them page by page; its JSON is written by hand.

use std::ffi::c_void;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, to_ffi};
use arrow_array::{Array, ArrayRef, Int32Array, StringArray, StructArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Fields};

const OK: i32 = 0;
const FAILED: i32 = 1;

/// Events that there are.
const EVENTS: usize = 250;
/// Events of a page.
const PAGE: usize = 100;
/// 2026-01-05T08:00:00Z
const FIRST: i64 = 1_767_600_000_000_000;

#[repr(C)]
struct Slice {
    data: *const u8,
    length: usize,
}

#[repr(C)]
struct Bytes {
    data: *mut u8,
    length: usize,
    capacity: usize,
    free: Option<unsafe extern "C" fn(*mut Bytes)>,
}

#[repr(C)]
struct Call {
    size: usize,
    host: *mut c_void,
    source: Slice,
    source_key: Slice,
    deadline: i64,
    now: Option<unsafe extern "C" fn(*mut c_void) -> i64>,
    cancelled: Option<unsafe extern "C" fn(*mut c_void) -> i32>,
    count: Option<unsafe extern "C" fn(*mut c_void, u32, u64)>,
}

type Ask = unsafe extern "C" fn(*mut c_void, *const Call, *mut Bytes) -> i32;

#[repr(C)]
pub struct Table {
    abi_major: u32,
    abi_minor: u32,
    size: usize,
    start: unsafe extern "C" fn(*const c_void, *mut Bytes) -> i32,
    create: unsafe extern "C" fn(Slice, Slice, *mut *mut c_void, *mut Bytes) -> i32,
    check: Ask,
    fetch: unsafe extern "C" fn(
        *mut c_void,
        *const Call,
        Slice,
        *mut FFI_ArrowSchema,
        *mut FFI_ArrowArray,
        *mut Bytes,
    ) -> i32,
    close: Ask,
    cancel: Option<unsafe extern "C" fn(*mut c_void, *const Call)>,
    release: unsafe extern "C" fn(*mut c_void),
}

unsafe extern "C" fn free(bytes: *mut Bytes) {
    // SAFETY: only `say` hands this function out, with the parts of a `String` that it forgot.
    unsafe { drop(Vec::from_raw_parts((*bytes).data, (*bytes).length, (*bytes).capacity)) };
}

/// # Safety
/// `out` is the host's variable for the answer.
unsafe fn say(out: *mut Bytes, status: i32, text: String) -> i32 {
    let mut text = std::mem::ManuallyDrop::new(text.into_bytes());
    let bytes = Bytes { data: text.as_mut_ptr(), length: text.len(), capacity: text.capacity(), free: Some(free) };
    // SAFETY: as promised by the caller.
    unsafe { out.write(bytes) };
    status
}

unsafe extern "C" fn start(_: *const c_void, out: *mut Bytes) -> i32 {
    let text = r#"{"type": "previous-arrow", "version": "58", "streams": ["log"]}"#;
    // SAFETY: part of the interface.
    unsafe { say(out, OK, text.to_owned()) }
}

unsafe extern "C" fn create(_: Slice, _: Slice, source: *mut *mut c_void, out: *mut Bytes) -> i32 {
    let info = r#"{"product": "previous-arrow", "plugin": "previous-arrow", "plugin_version": "58",
        "origin": "https://previous.example", "streams": [{"name": "log", "kind": "events", "time_field": "time"}]}"#;
    // SAFETY: part of the interface.
    unsafe {
        source.write(Box::into_raw(Box::new(EVENTS)).cast());
        say(out, OK, info.to_owned())
    }
}

unsafe extern "C" fn check(_: *mut c_void, _: *const Call, out: *mut Bytes) -> i32 {
    // SAFETY: part of the interface.
    unsafe { say(out, OK, "{}".to_owned()) }
}

unsafe extern "C" fn close(_: *mut c_void, _: *const Call, out: *mut Bytes) -> i32 {
    // SAFETY: part of the interface.
    unsafe { say(out, OK, "null".to_owned()) }
}

unsafe extern "C" fn fetch(
    source: *mut c_void,
    call: *const Call,
    request: Slice,
    schema: *mut FFI_ArrowSchema,
    array: *mut FFI_ArrowArray,
    out: *mut Bytes,
) -> i32 {
    // SAFETY: the request is lent for the call, the source was made by `create`.
    let (request, events) =
        unsafe { (std::slice::from_raw_parts(request.data, request.length), *source.cast::<usize>()) };
    // The one member that matters here. A cursor is a number in a JSON string.
    let request = String::from_utf8_lossy(request);
    let cursor = request.split_once(r#""cursor":""#).map_or(Some(0), |(_, rest)| rest.split('"').next()?.parse().ok());
    let Some(from) = cursor.filter(|from| *from <= events) else {
        let error = r#"{"kind": "internal", "message": "the cursor is of another making"}"#;
        // SAFETY: part of the interface.
        return unsafe { say(out, FAILED, error.to_owned()) };
    };
    let to = (from + PAGE).min(events);
    let next = if to == events { r#"{"end": "no_next_link"}"#.to_owned() } else { format!(r#"{{"more": "{to}"}}"#) };
    let Ok((rows, of)) = to_ffi(&rows(from, to).into_data()) else {
        let error = r#"{"kind": "internal", "message": "rows cannot be handed over"}"#;
        // SAFETY: part of the interface.
        return unsafe { say(out, FAILED, error.to_owned()) };
    };
    // SAFETY: the host's variables, and its functions with its pointer.
    unsafe {
        if let Some(count) = (*call).count {
            count((*call).host, 0, 1);
        }
        schema.write(of);
        array.write(rows);
        say(out, OK, format!(r#"{{"next": {next}, "observed": {{"records": {}}}}}"#, to - from))
    }
}

unsafe extern "C" fn release(source: *mut c_void) {
    // SAFETY: made by `create`, released once.
    drop(unsafe { Box::from_raw(source.cast::<usize>()) });
}

/// Some events. What is left out follows from the rest.
fn rows(from: usize, to: usize) -> StructArray {
    let count = to - from;
    let words = |word: &str| Arc::new(StringArray::from(vec![word; count])) as ArrayRef;
    let mut parts = ListBuilder::new(StringBuilder::new());
    for event in from..to {
        parts.append_value([Some(event.to_string())]);
    }
    let raws: StringArray = (from..to).map(|event| Some(format!(r#"{{"n":{event}}}"#))).collect();
    let users: StringArray = (from..to).map(|event| (event % 3 > 0).then(|| format!("user-{event}"))).collect();
    let times = (from..to).map(|event| FIRST + event as i64 * 1_000_000);
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("event_key_parts", Arc::new(parts.finish())),
        ("time", Arc::new(times)),
        ("time_quality", words("seconds")),
        ("event_code", words("login")),
        ("action", words("auth.login")),
        ("outcome", words("success")),
        ("severity_id", Arc::new(Int32Array::from(vec![1; count]))),
        ("user_name", Arc::new(users)),
        ("user_type", words("human")),
        ("src_kind", words("none")),
        ("raw", Arc::new(raws)),
    ];
    let field = |(name, column): &(&str, ArrayRef)| Field::new(*name, DataType::clone(column.data_type()), true);
    let fields: Fields = columns.iter().map(field).collect();
    StructArray::new(fields, columns.into_iter().map(|(_, column)| column).collect(), None)
}

/// The one symbol of a plugin.
// SAFETY: no other item of this library has this name.
#[unsafe(no_mangle)]
pub extern "C" fn fedaudit_plugin() -> *const Table {
    static TABLE: Table = Table {
        abi_major: 1,
        abi_minor: 0,
        size: size_of::<Table>(),
        start,
        create,
        check,
        fetch,
        close,
        cancel: None,
        release,
    };
    &raw const TABLE
}
