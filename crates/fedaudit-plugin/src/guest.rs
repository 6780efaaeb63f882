//! The author's side: a [`Plugin`] as a table of C functions.
//!
//! The library has a runtime of its own, because host and library share no Rust code. A call blocks the host's thread on
//! it; a panic anywhere below becomes an error of that call.

mod calls;
pub(crate) mod log;

use std::any::Any;
use std::collections::HashMap;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, to_ffi};
use arrow_array::{Array as _, StructArray};
use fedaudit_core::{AuditSource, Context, Error, ErrorKind, PageRequest, Plugin, PluginInfo, Result};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::abi::{ABI_MAJOR, ABI_MINOR, Bytes, Call, FAILED, Host, OK, Slice, Table};
use crate::wire::{PageRest, json};
use calls::Called;

/// Makes a library of a [`Plugin`]: exports the one function that a host looks for.
///
/// The crate is a `cdylib`, and panics unwind in it (the default): under `panic = "abort"` a mistake would end the host.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty) => {
        /// The one symbol of a plugin.
        #[allow(unsafe_code)]
        // SAFETY: no other item of a plugin's library has this name.
        #[unsafe(no_mangle)]
        pub extern "C" fn fedaudit_plugin() -> *const $crate::abi::Table {
            static TABLE: $crate::abi::Table = $crate::guest::table::<$plugin>();
            &TABLE
        }
    };
}

/// The table of a plugin.
pub const fn table<P: Plugin>() -> Table {
    Table {
        abi_major: ABI_MAJOR,
        abi_minor: ABI_MINOR,
        size: size_of::<Table>(),
        start: Some(start::<P>),
        create: Some(create::<P>),
        check: Some(check),
        fetch: Some(fetch),
        close: Some(close),
        cancel: Some(cancel),
        release: Some(release),
    }
}

/// A source as the host holds it.
struct Guest {
    source: Box<dyn AuditSource>,
    /// The calls that are running, by the address of what they were handed.
    running: Mutex<HashMap<usize, Arc<Notify>>>,
}

/// Workers of the library's runtime: enough to keep connections alive while calls block threads of the host.
const WORKERS: usize = 2;
/// How often what was counted is told while a call runs.
const TELL_EVERY: Duration = Duration::from_millis(200);

fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    RUNTIME
        .get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build())
        .as_ref()
        .map_err(|error| Error::new(ErrorKind::Internal, format!("no runtime: {error}")))
}

unsafe extern "C" fn start<P: Plugin>(host: *const Host, out: *mut Bytes) -> i32 {
    answered(out, || {
        // SAFETY: the host lives as long as the process.
        log::forward(unsafe { host.as_ref() });
        json(&PluginInfo::of::<P>())
    })
}

unsafe extern "C" fn create<P: Plugin>(name: Slice, settings: Slice, place: *mut *mut c_void, out: *mut Bytes) -> i32 {
    answered(out, || {
        // SAFETY: both are lent for this call.
        let (name, settings) = unsafe { (name.bytes(), settings.bytes()) };
        let name = String::from_utf8_lossy(name);
        let settings: P::Config =
            serde_json::from_slice(settings).map_err(|error| Error::new(ErrorKind::Config, without_line(&error)))?;
        // Some clients want a runtime around them when they are made.
        let _inside = runtime()?.enter();
        let source = P::build(&name, settings)?;
        let info = json(source.info())?;
        let guest = Box::new(Guest { source, running: Mutex::default() });
        // SAFETY: the host's variable for the source.
        unsafe { place.write(Box::into_raw(guest).cast()) };
        Ok(info)
    })
}

/// Settings come as one line that nobody wrote: its columns help nobody.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

unsafe extern "C" fn check(source: *mut c_void, call: *const Call, out: *mut Bytes) -> i32 {
    // SAFETY: the source was made by `create`, the call is lent.
    unsafe { awaited(source, call, out, async |guest, cx| json(&guest.source.check(&cx).await?)) }
}

unsafe extern "C" fn close(source: *mut c_void, call: *const Call, out: *mut Bytes) -> i32 {
    // SAFETY: as in `check`.
    unsafe { awaited(source, call, out, async |guest, cx| json(&guest.source.close(&cx).await?)) }
}

unsafe extern "C" fn fetch(
    source: *mut c_void,
    call: *const Call,
    request: Slice,
    schema: *mut FFI_ArrowSchema,
    rows: *mut FFI_ArrowArray,
    out: *mut Bytes,
) -> i32 {
    let places = Places { schema, rows };
    let page = async |guest: &Guest, cx: Context| {
        // SAFETY: lent for this call.
        let request = unsafe { request.bytes() };
        let request: PageRequest = serde_json::from_slice(request)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("the request cannot be read: {error}")))?;
        let page = guest.source.fetch(&cx, &request).await?;
        let (rest, rows) = PageRest::of(page);
        let rest = json(&rest)?;
        let broken = |error| Error::new(ErrorKind::Internal, format!("rows cannot be handed over: {error}"));
        let (array, schema) = to_ffi(&StructArray::from(rows).into_data()).map_err(broken)?;
        // SAFETY: the host's variables for them.
        unsafe {
            places.schema.write(schema);
            places.rows.write(array);
        }
        Ok(rest)
    };
    // SAFETY: as in `check`.
    unsafe { awaited(source, call, out, page) }
}

/// Where the host wants the rows.
struct Places {
    schema: *mut FFI_ArrowSchema,
    rows: *mut FFI_ArrowArray,
}

unsafe extern "C" fn cancel(source: *mut c_void, call: *const Call) {
    let _ = catch_unwind(|| {
        // SAFETY: made by `create`, not yet released.
        let guest = unsafe { &*source.cast::<Guest>() };
        if let Some(running) = running(guest).get(&(call as usize)) {
            running.notify_one();
        }
    });
}

unsafe extern "C" fn release(source: *mut c_void) {
    let _ = catch_unwind(|| {
        let _inside = runtime().map(Runtime::enter);
        // SAFETY: made by `create`, and released once.
        drop(unsafe { Box::from_raw(source.cast::<Guest>()) });
    });
}

/// Runs the work of a call to its end, or until it is cancelled.
///
/// # Safety
/// `source` was made by `create` and is not yet released; `call` is lent for this call.
unsafe fn awaited(
    source: *mut c_void,
    call: *const Call,
    out: *mut Bytes,
    work: impl AsyncFnOnce(&Guest, Context) -> Result<Vec<u8>>,
) -> i32 {
    answered(out, || {
        // SAFETY: as promised by the caller.
        let (guest, called) = unsafe { (&*source.cast::<Guest>(), Called::new(call)?) };
        let wake = Arc::new(Notify::new());
        running(guest).insert(call as usize, Arc::clone(&wake));
        let _forget = Forget { guest, call: call as usize };
        // A cancellation that came before the call was known is seen here.
        if called.is_cancelled() {
            return Err(cancelled());
        }
        let cx = called.context();
        runtime()?.block_on(async {
            let mut work = std::pin::pin!(work(guest, cx.clone()));
            let mut tick = tokio::time::interval(TELL_EVERY);
            let done = loop {
                tokio::select! {
                    done = &mut work => break done,
                    () = wake.notified() => break Err(cancelled()),
                    _ = tick.tick() => called.tell(&cx.meter),
                }
            };
            called.tell(&cx.meter);
            done
        })
    })
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Timeout, "the call was cancelled")
}

/// Removes a call from the running ones on every way out.
struct Forget<'g> {
    guest: &'g Guest,
    call: usize,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        running(self.guest).remove(&self.call);
    }
}

fn running(guest: &Guest) -> std::sync::MutexGuard<'_, HashMap<usize, Arc<Notify>>> {
    guest.running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every function of the table runs in here: its answer, its error or its panic becomes bytes and a status.
fn answered(out: *mut Bytes, work: impl FnOnce() -> Result<Vec<u8>>) -> i32 {
    let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        Err(Error::new(ErrorKind::Internal, format!("the plugin panicked: {}", said(panic.as_ref()))))
    });
    let (status, bytes) = match done {
        Ok(bytes) => (OK, bytes),
        Err(error) => (FAILED, json(&error).unwrap_or_default()),
    };
    // SAFETY: the host's variable for the answer.
    unsafe { out.write(Bytes::of(bytes)) };
    status
}

fn said(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without words")
}
