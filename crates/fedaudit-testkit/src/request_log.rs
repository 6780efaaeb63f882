//! What the stand-ins were asked: the proof, for tests and for the demo, of what a query really cost each product.

use std::sync::{Arc, Mutex, PoisonError};

/// One request that a stand-in answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// `truenas`, `vsphere`, `sps` or `canvas`.
    pub product: &'static str,
    /// HTTP method, or `RPC` for a call inside a WebSocket.
    pub method: String,
    /// Path and query; for RPC the method name, a space and the parameters as JSON text.
    pub target: String,
    /// HTTP status; for RPC 200, or the error code.
    pub status: i32,
    /// Records in the answer, where it is a list.
    pub records: u64,
}

/// A list of answered requests, shared between a stand-in and its observer.
#[derive(Debug, Clone, Default)]
pub struct RequestLog(Arc<Mutex<Vec<LogEntry>>>);

impl RequestLog {
    /// Adds one request.
    pub fn push(&self, entry: LogEntry) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// Takes all requests so far, oldest first, and forgets them.
    pub fn take(&self) -> Vec<LogEntry> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All requests so far, oldest first.
    pub fn entries(&self) -> Vec<LogEntry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
