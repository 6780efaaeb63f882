//! What all parts of one question share: the sources with their contexts, the ledger, the clock and the limits.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fedaudit_core::{
    AuditSource, Clock, Context, Error, ErrorKind, Meter, Page, PageRequest, Result, Side, Time, Window,
};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};
use tokio::task::AbortHandle;

use crate::collected::Collected;
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
    pub(crate) default_range: Option<DefaultRange>,
    pub(crate) as_of: Time,
    pub(crate) fetch_id: String,
    pub(crate) in_flight: InFlight,
    /// A store, as it was when the question was asked.
    pub(crate) collected: Option<Arc<dyn Collected>>,
    /// Where rows have to come from; none: from both.
    pub(crate) side: Option<Side>,
}

/// The range of scans that nothing bounds from below, and which scans needed it.
#[derive(Debug)]
pub(crate) struct DefaultRange {
    span: Duration,
    used: Mutex<BTreeSet<String>>,
}

impl DefaultRange {
    pub(crate) fn new(span: Duration) -> Self {
        Self { span, used: Mutex::default() }
    }

    /// Bounds a scan of a table from below: it counts back from the scan's own end, at the latest from now.
    pub(crate) fn bound(&self, table: &str, window: Window, now: Time) -> Window {
        let end = window.to.map_or(now, |to| to.min(now));
        let from = end.minus(self.span).max(Time::EPOCH);
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(format!("{table} since {from}"));
        Window { from: Some(from), ..window }
    }

    /// What the receipt says of it, if it was needed.
    pub(crate) fn note(&self) -> Option<String> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let scans = used.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        (!used.is_empty()).then(|| format!("{scans}: no lower bound in time was given, the default range was used"))
    }
}

/// How long a page that nobody waits for may take to end by itself.
const LEAVE: Duration = Duration::from_secs(3);

/// Pages that are being fetched, each in a task of its own. A reader may be dropped at any time; a page cut short could
/// leave behind a login that nobody knows of.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    /// Every task holds it for reading.
    all: Arc<RwLock<()>>,
    tasks: Mutex<Vec<AbortHandle>>,
    closed: Mutex<Option<OwnedRwLockWriteGuard<()>>>,
}

impl InFlight {
    async fn fetch(
        &self,
        plugin: Arc<dyn AuditSource>,
        cx: Context,
        request: PageRequest,
        longest: Duration,
    ) -> Result<Page> {
        let held = Arc::clone(&self.all).read_owned().await;
        let task = tokio::spawn(async move {
            let page = plugin.fetch(&cx, &request).await;
            drop(held);
            page
        });
        let abort = task.abort_handle();
        {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.retain(|task| !task.is_finished());
            tasks.push(abort.clone());
        }
        match tokio::time::timeout(longest, task).await {
            Ok(Ok(page)) => page,
            Ok(Err(_panicked)) => Err(Error::new(ErrorKind::Internal, "the plugin failed while it made a page")
                .hint("this is a defect of the plugin; what it wrote on stderr says where")),
            Err(_elapsed) => {
                abort.abort();
                Err(Error::new(ErrorKind::Timeout, "no page within the time for one page"))
            }
        }
    }

    /// Waits until nothing is being fetched any more, and ends what takes too long. No page is begun after this: a reader
    /// that is still about to be dropped waits for ever instead.
    pub(crate) async fn leave(&self) {
        for patience in [LEAVE, Duration::from_secs(1)] {
            if let Ok(closed) = tokio::time::timeout(patience, Arc::clone(&self.all).write_owned()).await {
                *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = Some(closed);
                return;
            }
            for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
                task.abort();
            }
        }
    }
}

impl Run {
    /// The store, where rows may come from it.
    pub(crate) fn collected(&self) -> Option<&Arc<dyn Collected>> {
        self.collected.as_ref().filter(|_| self.side != Some(Side::Live))
    }

    /// Fetches a page. The plugin has the deadline in its context; the limit here is for one that forgets it.
    pub(crate) async fn fetch(&self, asking: &Asking, request: &PageRequest) -> Result<Page> {
        let longest = self.options.page_timeout + Duration::from_secs(5);
        let plugin = Arc::clone(&asking.source.plugin);
        self.in_flight.fetch(plugin, self.context(asking), request.clone(), longest).await
    }

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
