//! How fast a source may be asked: calls in a span of time, and calls at once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fedaudit_core::{Context, Error, ErrorKind, Result};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::retry::remaining;

/// A ceiling on calls, shared by everybody who asks one product with one account.
#[derive(Debug)]
pub struct Pace {
    /// Time that each call takes out of the budget.
    each: Duration,
    /// How far ahead of the budget calls may run: a burst.
    ahead: Duration,
    /// When the budget of all calls so far is used up.
    used_until: Mutex<Option<Instant>>,
    at_once: Semaphore,
}

impl Pace {
    /// At most `calls` in any `span`; all of them may come in one burst.
    pub fn new(calls: u32, span: Duration) -> Self {
        let each = span / calls.max(1);
        Self {
            each,
            ahead: span.saturating_sub(each),
            used_until: Mutex::new(None),
            at_once: Semaphore::new(Semaphore::MAX_PERMITS),
        }
    }

    /// Besides, at most so many calls that are not answered yet.
    #[must_use]
    pub fn at_once(mut self, calls: usize) -> Self {
        self.at_once = Semaphore::new(calls.max(1));
        self
    }

    /// Waits for a turn, which lasts until it is dropped. A turn beyond the deadline is refused at once.
    pub(crate) async fn turn(&self, cx: &Context) -> Result<SemaphorePermit<'_>> {
        let permit = self.at_once.acquire().await;
        let permit = permit.map_err(|_| Error::new(ErrorKind::Internal, "the pace of a source was closed"))?;
        let wait = self.wait();
        if remaining(cx).is_some_and(|left| left <= wait) {
            return Err(Error::new(ErrorKind::RateLimited, "our own limit of calls leaves none before the deadline")
                .hint("ask for a shorter range, or allow more time"));
        }
        tokio::time::sleep(wait).await;
        Ok(permit)
    }

    /// Books a call and tells how long it has to wait.
    fn wait(&self) -> Duration {
        let now = Instant::now();
        let mut used_until = self.used_until.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = used_until.unwrap_or(now).max(now);
        *used_until = Some(begin + self.each);
        (begin - now).saturating_sub(self.ahead)
    }
}
