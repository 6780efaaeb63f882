//! The interface between fedaudit and a plugin, version 1: a shared library that exports one function, which returns a
//! table of functions. `include/fedaudit_plugin.h` says the same in C and is made from this file.
//!
//! Texts are UTF-8 without a final NUL. Times are microseconds since 1970-01-01T00:00:00Z.
//!
//! **Ownership.** What a call is handed is borrowed until it returns. What it hands back is freed by its maker: [`Bytes`]
//! through its own `free`, Arrow structures through their `release`, a source through [`Table::release`].
//!
//! **Threads.** Every function may be called on any thread, and several at once for one source, except `release`, which
//! is called once, after every other call for that source has returned. A call blocks its thread until it is answered.
//!
//! **Growing.** Fields are only ever added at the end. A structure that may grow says its size as its maker knows it, so
//! that either side sees which fields the other has; [`Slice`] and [`Bytes`] never do.

use std::ffi::c_void;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};

/// Changes when a library of another version cannot be understood.
pub const ABI_MAJOR: u32 = 1;
/// Changes when something was added.
pub const ABI_MINOR: u32 = 0;
/// The one exported symbol; its type is [`Entry`].
pub const SYMBOL: &str = "fedaudit_plugin";

/// Done; the answer is in the call's `out`.
pub const OK: i32 = 0;
/// Not done; `out` holds the error as JSON: `{"kind": …, "message": …, "place": …, "hint": …}`.
pub const FAILED: i32 = 1;

/// Counters of [`Call::count`]: what the wire did, for the receipt.
pub const COUNT_REQUESTS: u32 = 0;
/// Requests sent again.
pub const COUNT_RETRIES: u32 = 1;
/// Times the product asked us to slow down.
pub const COUNT_THROTTLED: u32 = 2;
/// Logins.
pub const COUNT_LOGINS: u32 = 3;
/// Bytes of answers, decompressed.
pub const COUNT_BYTES: u32 = 4;

/// Levels of [`Host::log`].
pub const LOG_ERROR: u32 = 1;
/// Something an operator should look at.
pub const LOG_WARN: u32 = 2;
/// Something an operator may like to know.
pub const LOG_INFO: u32 = 3;
/// For whoever looks for a mistake.
pub const LOG_DEBUG: u32 = 4;
/// Everything.
pub const LOG_TRACE: u32 = 5;

/// What the exported symbol is.
pub type Entry = unsafe extern "C" fn() -> *const Table;

/// Bytes lent for the length of a call; UTF-8 where they are text.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// The first byte; anything where `length` is 0.
    pub data: *const u8,
    /// How many.
    pub length: usize,
}

/// Bytes that a plugin hands out: JSON text. The host calls `free` once when it has read them.
#[repr(C)]
#[derive(Debug)]
pub struct Bytes {
    /// The first byte.
    pub data: *mut u8,
    /// How many.
    pub length: usize,
    /// The maker's own affair.
    pub capacity: usize,
    /// Gives them back; none where there is nothing to give back.
    pub free: Option<unsafe extern "C" fn(*mut Bytes)>,
}

/// What the host offers for as long as the process lives.
#[repr(C)]
#[derive(Debug)]
pub struct Host {
    /// Size of this structure.
    pub size: usize,
    /// Nothing above this level is wanted.
    pub max_level: u32,
    /// Takes a line for the log: level, the part of the program that speaks, text. Any thread.
    pub log: Option<unsafe extern "C" fn(level: u32, target: Slice, message: Slice)>,
}

/// What the host offers for the length of one call.
#[repr(C)]
#[derive(Debug)]
pub struct Call {
    /// Size of this structure.
    pub size: usize,
    /// Handed back to the functions below.
    pub host: *mut c_void,
    /// Name of the source in the configuration.
    pub source: Slice,
    /// First part of every key.
    pub source_key: Slice,
    /// When the call has to be over, in UTC microseconds; `INT64_MAX` for never.
    pub deadline: i64,
    /// The time now, in UTC microseconds.
    pub now: Option<unsafe extern "C" fn(host: *mut c_void) -> i64>,
    /// Not 0 once nobody waits for the answer any more.
    pub cancelled: Option<unsafe extern "C" fn(host: *mut c_void) -> i32>,
    /// Adds to a counter, as soon as there is something to add: it is shown as progress.
    pub count: Option<unsafe extern "C" fn(host: *mut c_void, counter: u32, amount: u64)>,
}

/// [`Table::start`]
pub type Start = unsafe extern "C" fn(host: *const Host, out: *mut Bytes) -> i32;
/// [`Table::create`]
pub type Create = unsafe extern "C" fn(name: Slice, settings: Slice, source: *mut *mut c_void, out: *mut Bytes) -> i32;
/// [`Table::check`] and [`Table::close`]
pub type Ask = unsafe extern "C" fn(source: *mut c_void, call: *const Call, out: *mut Bytes) -> i32;
/// [`Table::fetch`]
pub type Fetch = unsafe extern "C" fn(
    source: *mut c_void,
    call: *const Call,
    request: Slice,
    schema: *mut FFI_ArrowSchema,
    rows: *mut FFI_ArrowArray,
    out: *mut Bytes,
) -> i32;
/// [`Table::cancel`]
pub type Cancel = unsafe extern "C" fn(source: *mut c_void, call: *const Call);
/// [`Table::release`]
pub type Release = unsafe extern "C" fn(source: *mut c_void);

/// What a plugin offers. Only `cancel` may be absent.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// [`ABI_MAJOR`] of the plugin.
    pub abi_major: u32,
    /// [`ABI_MINOR`] of the plugin.
    pub abi_minor: u32,
    /// Size of this structure.
    pub size: usize,
    /// Called once, first. Answers `{"type": …, "version": …, "streams": […]}`: the word in the
    /// configuration, its version, and the name of every stream that its sources may have.
    pub start: Option<Start>,
    /// Makes a source of its name and its settings, the rest of its `[[source]]` table as JSON. Answers with its
    /// `SourceInfo`. Nothing is asked of the product yet.
    pub create: Option<Create>,
    /// Proves address, credentials and rights. Answers with a `SourceHealth`.
    pub check: Option<Ask>,
    /// Fetches one page: a `PageRequest` in; rows out as a struct array whose children are the columns of the stream's
    /// table, in any order, and the rest of the page in `out`.
    ///
    /// A column that may be NULL may be left out, and so may those that follow from others: `class_uid`, `activity_id`,
    /// `duration_s` and `raw_sha256`. In place of `event_key` and `session_key` may stand `event_key_parts` and
    /// `session_key_parts`, lists of the texts of which the host makes the key; the source is the first part of every
    /// key and not among them. An event without parts of a session has no session key.
    pub fetch: Option<Fetch>,
    /// Ends what is held on the server. A later fetch logs in again. Answers `null`.
    pub close: Option<Ask>,
    /// Asks a running call to come back at once. The call is only an identity here: it may have returned already, and is
    /// not to be read. May be absent where calls look at [`Call::cancelled`] themselves.
    pub cancel: Option<Cancel>,
    /// Ends a source.
    pub release: Option<Release>,
}

/// Size of a [`Table`] of version 1.0: what every plugin has at least.
pub const TABLE_SIZE_1_0: usize = std::mem::offset_of!(Table, release) + size_of::<Option<Release>>();

impl Slice {
    /// Lends bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), length: bytes.len() }
    }

    /// The bytes.
    ///
    /// # Safety
    /// `data` and `length` describe memory that nobody changes for `'a`.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.length == 0 || self.data.is_null() {
            return &[];
        }
        // SAFETY: as promised by the caller.
        unsafe { std::slice::from_raw_parts(self.data, self.length) }
    }
}

impl Bytes {
    /// None yet.
    pub const fn empty() -> Self {
        Self { data: std::ptr::null_mut(), length: 0, capacity: 0, free: None }
    }

    /// Hands out bytes of Rust's allocator.
    pub fn of(bytes: Vec<u8>) -> Self {
        let mut bytes = std::mem::ManuallyDrop::new(bytes);
        Self { data: bytes.as_mut_ptr(), length: bytes.len(), capacity: bytes.capacity(), free: Some(free) }
    }

    /// A copy, after which the original is given back; what cannot be is an error in words.
    ///
    /// # Safety
    /// The fields are what a plugin wrote as documented, or [`empty`](Self::empty).
    pub unsafe fn take(mut self) -> Result<Vec<u8>, String> {
        if self.length > MOST_BYTES || (self.length > 0 && self.data.is_null()) {
            // Nobody knows what it would give back.
            return Err(format!("the plugin's answer is said to be {} bytes at {:?}", self.length, self.data));
        }
        // SAFETY: as promised by the caller.
        let copy = unsafe { Slice { data: self.data, length: self.length }.bytes() }.to_vec();
        if let Some(free) = self.free.take() {
            // SAFETY: called once; `take` owns the bytes.
            unsafe { free(&raw mut self) };
        }
        Ok(copy)
    }
}

/// No text of a plugin is longer.
const MOST_BYTES: usize = 64 << 20;

unsafe extern "C" fn free(bytes: *mut Bytes) {
    // SAFETY: only `Bytes::of` hands this function out, with the parts of a `Vec` that it forgot.
    unsafe {
        let bytes = &mut *bytes;
        drop(Vec::from_raw_parts(bytes.data, bytes.length, bytes.capacity));
        *bytes = Bytes::empty();
    }
}

// SAFETY: plain data; the functions behind the pointers may be called on any thread, as the interface demands.
unsafe impl Sync for Table {}
// SAFETY: as above.
unsafe impl Sync for Host {}
