//! A source of a loaded library.

use std::ffi::c_void;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use async_trait::async_trait;
use fedaudit_core::{AuditSource, Context, Error, ErrorKind, Page, PageRequest, Result, SourceHealth, SourceInfo};

use super::running::{GRACE, call, within};
use super::{Functions, Shared, ask, import};
use crate::abi::{Ask, Call, Slice};
use crate::wire::{PageRest, json, read};

/// The library's own source. Calls that run keep it alive.
pub(super) struct Handle {
    functions: Functions,
    source: *mut c_void,
    abandoned: AtomicBool,
    left_behind: fn(),
}

// SAFETY: a source may be called on any thread, as the interface demands.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
        (self.left_behind)();
    }

    pub(super) fn cancel(&self, call: *const Call) {
        if let Some(cancel) = self.functions.cancel {
            // SAFETY: part of the interface; the source is not released while somebody holds this.
            unsafe { cancel(self.source, call) };
        }
    }

    fn ask(&self, function: Ask, call: *const Call) -> Result<Vec<u8>> {
        // SAFETY: as above; the call is lent.
        ask(|out| unsafe { function(self.source, call, out) })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let (release, source) = (self.functions.release, Shared(self.source));
        let released = within(GRACE, "releasing a source", move || {
            let Shared(source) = { source };
            // SAFETY: every call held this, so none runs any more; released once.
            unsafe { release(source) };
            Ok(())
        });
        if let Err(error) = released {
            tracing::warn!(%error, "a source of a plugin was not released");
        }
    }
}

pub(super) struct LoadedSource {
    handle: Arc<Handle>,
    info: SourceInfo,
}

impl LoadedSource {
    pub(super) fn new(functions: Functions, source: *mut c_void, info: SourceInfo, left_behind: fn()) -> Self {
        let handle = Handle { functions, source, abandoned: AtomicBool::new(false), left_behind };
        Self { handle: Arc::new(handle), info }
    }
}

impl fmt::Debug for LoadedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedSource").field("info", &self.info).finish_non_exhaustive()
    }
}

#[async_trait]
impl AuditSource for LoadedSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    async fn check(&self, cx: &Context) -> Result<SourceHealth> {
        call(&self.handle, cx, |handle, call| read(&handle.ask(handle.functions.check, call)?, "SourceHealth")).await
    }

    async fn fetch(&self, cx: &Context, request: &PageRequest) -> Result<Page> {
        let stream = self
            .info
            .stream(&request.stream)
            .ok_or_else(|| Error::new(ErrorKind::Internal, format!("there is no stream '{}'", request.stream)))?;
        let (kind, source_key) = (stream.kind, Arc::clone(&cx.source_key));
        let request = json(request)?;
        call(&self.handle, cx, move |handle, call| {
            let (mut schema, mut rows) = (FFI_ArrowSchema::empty(), FFI_ArrowArray::empty());
            let rest = ask(|out| {
                // SAFETY: part of the interface; everything is lent for the call.
                unsafe {
                    let places = (&raw mut schema, &raw mut rows);
                    (handle.functions.fetch)(handle.source, call, Slice::of(&request), places.0, places.1, out)
                }
            })?;
            let rest: PageRest = read(&rest, "page")?;
            Ok(rest.with(import::rows(&schema, rows, kind, &source_key)?))
        })
        .await
    }

    async fn close(&self, cx: &Context) -> Result<()> {
        call(&self.handle, cx, |handle, call| handle.ask(handle.functions.close, call).map(drop)).await
    }
}
