//! What all parts of one question share: the sources with their contexts, the ledger, the clock and the limits.

use std::sync::Arc;
use std::time::Duration;

use fedaudit_core::{AuditSource, Clock, Context, Meter, Time, Window};

use crate::ledger::Ledger;

/// A configured source.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name in the configuration.
    pub name: String,
    /// Its stable identity, the first part of every key.
    pub source_key: String,
    /// The code that reads it.
    pub plugin: Arc<dyn AuditSource>,
}

/// Limits and defaults of an engine.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How far before a window events are read to rebuild the sessions that began there.
    pub look_back: Duration,
    /// Longest time for one page of one source, retries included.
    pub page_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { look_back: Duration::from_hours(24), page_timeout: Duration::from_mins(2) }
    }
}

/// One source within one question.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) source: Source,
    pub(crate) meter: Arc<Meter>,
}

/// One question.
pub(crate) struct Run {
    pub(crate) asking: Vec<Asking>,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Options,
    pub(crate) window: Window,
    pub(crate) all_time: bool,
    pub(crate) as_of: Time,
    pub(crate) fetch_id: String,
}

impl Run {
    /// The context for one call to a source.
    pub(crate) fn context(&self, asking: &Asking) -> Context {
        Context {
            source: asking.source.name.as_str().into(),
            source_key: asking.source.source_key.as_str().into(),
            clock: Arc::clone(&self.clock),
            deadline: Some(self.clock.now().plus(self.options.page_timeout)),
            meter: Arc::clone(&asking.meter),
        }
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("window", &self.window).finish_non_exhaustive()
    }
}
