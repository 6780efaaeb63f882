//! When to try again, and after how long: exponential with jitter, unless the product names a delay itself.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use fedaudit_core::{Context, Error, ErrorKind, Result};

use crate::HttpResponse;

/// How often an idempotent request is sent and a connection is tried, unless the caller says otherwise.
pub(crate) const ATTEMPTS: usize = 4;
/// Longest wait that a product may ask for when the caller has set no deadline.
pub const PATIENCE: Duration = Duration::from_mins(5);

/// Delays between the attempts of one request.
pub(crate) fn delays(attempts: usize) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(20))
        .with_factor(2.0)
        .with_jitter()
        .with_max_times(attempts.saturating_sub(1))
        .build()
}

/// The delay that the product asks for, in seconds or as a date. A date is held against the answer's own, so that clocks
/// which differ do no harm.
pub fn retry_after(response: &HttpResponse, cx: &Context) -> Option<Duration> {
    let text = response.header("retry-after")?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    let now = response.server_time().unwrap_or_else(|| cx.now()).micros();
    Some(Duration::from_micros((date.as_micros() as i64 - now).max(0) as u64))
}

/// The same, a little later: readers that were told the same moment must not all come back in it.
pub(crate) fn wait_asked_for(response: &HttpResponse, cx: &Context) -> Option<Duration> {
    retry_after(response, cx).map(|wait| wait.saturating_add(jitter()))
}

/// A few milliseconds that differ from call to call.
fn jitter() -> Duration {
    let mut jittered = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(5))
        .with_max_delay(Duration::from_millis(50))
        .with_jitter()
        .build();
    jittered.next().unwrap_or_default()
}

/// How long is left until the deadline.
pub fn remaining(cx: &Context) -> Option<Duration> {
    cx.deadline.map(|deadline| Duration::from_micros((deadline.micros() - cx.now().micros()).max(0) as u64))
}

/// Runs a future until the deadline at most.
pub(crate) async fn within_deadline<T>(cx: &Context, what: &str, future: impl Future<Output = Result<T>>) -> Result<T> {
    match remaining(cx) {
        None => future.await,
        Some(left) => tokio::time::timeout(left, future)
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, format!("{what}: no answer before the deadline")))),
    }
}
