//! A call into a library, on a thread of its own.
//!
//! Nobody can end a thread from outside. A call that is not wanted any more is told so; one that does not come back within
//! a grace time is left behind with its thread, and its source is not called again.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use fedaudit_core::{Context, Error, ErrorKind, Result};
use tokio::sync::oneshot;

use super::source::Handle;
use crate::abi::{Call, Slice};
use crate::wire;

/// Time to come back after being cancelled.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// Makes a call for which nobody waits longer than this; it is left behind then.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    what: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (answer, waiting) = mpsc::sync_channel(1);
    spawn(move || {
        let _ = answer.send(work());
    })?;
    waiting.recv_timeout(limit).unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Timeout, format!("the plugin did not finish {what} within {limit:?}")))
    })
}

pub(crate) fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new()
        .name("plugin".into())
        .spawn(work)
        .map(drop)
        .map_err(|error| Error::new(ErrorKind::Internal, format!("no thread for the plugin: {error}")))
}

/// Makes a call of a source.
pub(super) async fn call<T: Send + 'static>(
    handle: &Arc<Handle>,
    cx: &Context,
    work: impl FnOnce(&Handle, *const Call) -> Result<T> + Send + 'static,
) -> Result<T> {
    if handle.is_abandoned() {
        return Err(Error::new(ErrorKind::Unavailable, "the plugin still hangs in an earlier call")
            .hint("isolation = \"process\" lets a plugin that hangs be ended"));
    }
    let lent = Lent::new(cx);
    let (answer, waiting) = oneshot::channel();
    let thread = (Arc::clone(handle), Arc::clone(&lent));
    spawn(move || {
        let (handle, lent) = thread;
        let done = work(&handle, &raw const lent.call);
        lent.finish();
        let _ = answer.send(done);
    })?;
    // Whoever stops waiting, for whatever reason, has the call stopped.
    let stop = Stop(Some((Arc::clone(handle), lent)));
    let answered = match cx.deadline {
        None => waiting.await.ok(),
        Some(deadline) => {
            let left = Duration::from_micros(deadline.micros().saturating_sub(cx.now().micros()).max(0) as u64);
            // The plugin keeps the deadline itself and knows more about it: it gets the time to say so.
            match tokio::time::timeout(left + GRACE, waiting).await {
                Ok(answered) => answered.ok(),
                Err(_) => {
                    return Err(Error::new(ErrorKind::Timeout, "the plugin did not come back within the deadline"));
                }
            }
        }
    };
    stop.not_needed();
    answered.unwrap_or_else(|| Err(Error::new(ErrorKind::Internal, "the call of the plugin ended without an answer")))
}

/// What a call is lent. Lives until both the call and whoever stops it are done with it.
struct Lent {
    call: Call,
    cx: Context,
    cancelled: AtomicBool,
    finished: Mutex<bool>,
    changed: Condvar,
}

// SAFETY: the pointers in `call` lead into the structure itself, which does not move and is not changed.
unsafe impl Send for Lent {}
// SAFETY: as above.
unsafe impl Sync for Lent {}

impl Lent {
    fn new(cx: &Context) -> Arc<Self> {
        Arc::new_cyclic(|own: &std::sync::Weak<Self>| Self {
            call: Call {
                size: size_of::<Call>(),
                host: own.as_ptr().cast_mut().cast(),
                source: Slice::of(cx.source.as_bytes()),
                source_key: Slice::of(cx.source_key.as_bytes()),
                deadline: cx.deadline.map_or(i64::MAX, fedaudit_core::Time::micros),
                now: Some(now),
                cancelled: Some(cancelled),
                count: Some(count),
            },
            cx: cx.clone(),
            cancelled: AtomicBool::new(false),
            finished: Mutex::new(false),
            changed: Condvar::new(),
        })
    }

    fn finish(&self) {
        *self.finished.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    fn is_finished_within(&self, limit: Duration) -> bool {
        let finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(finished, limit, |finished| !*finished);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// # Safety
/// Called with `Call::host`, during the call.
unsafe fn lent<'l>(host: *mut c_void) -> &'l Lent {
    // SAFETY: `Lent::new` put its own address there.
    unsafe { &*host.cast::<Lent>() }
}

unsafe extern "C" fn now(host: *mut c_void) -> i64 {
    // SAFETY: called as documented.
    unsafe { lent(host) }.cx.now().micros()
}

unsafe extern "C" fn cancelled(host: *mut c_void) -> i32 {
    // SAFETY: called as documented.
    unsafe { lent(host) }.cancelled.load(Ordering::Acquire).into()
}

unsafe extern "C" fn count(host: *mut c_void, counter: u32, amount: u64) {
    // SAFETY: called as documented.
    wire::count(&unsafe { lent(host) }.cx.meter, counter, amount);
}

/// Stops a call when it is dropped.
struct Stop(Option<(Arc<Handle>, Arc<Lent>)>);

impl Stop {
    fn not_needed(mut self) {
        self.0 = None;
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        let Some((handle, lent)) = self.0.take() else { return };
        lent.cancelled.store(true, Ordering::Release);
        // `cancel` is the plugin's code as well: it may hang, too.
        let stopping = spawn(move || {
            handle.cancel(&raw const lent.call);
            if !lent.is_finished_within(GRACE) {
                handle.abandon();
            }
        });
        if let Err(error) = stopping {
            tracing::warn!(%error, "a call of a plugin could not be stopped");
        }
    }
}
