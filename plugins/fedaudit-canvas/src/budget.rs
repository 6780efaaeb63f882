//! How many requests may be in flight at once: as many as the budget that Canvas states allows, for all readers together.
//!
//! Canvas keeps a leaky bucket for each token. A request reserves 50 units while it is in flight and leaves behind what it
//! really cost; 10 units drain in a second; from a mark of 600 on, requests are refused. Every answer tells what remains.

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fedaudit_core::{Context, Error, ErrorKind, Result};
use fedaudit_transport::{PATIENCE, remaining};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Never more than this: nine reserve 450 of 600 units and leave room for others who use the token.
pub(crate) const IN_FLIGHT: usize = 9;
/// What a request reserves, as documented. Installations may differ: a refusal teaches that.
const RESERVED: f64 = 50.0;
/// What drains in a second, as documented.
const OUTFLOW: f64 = 10.0;
/// So much is left to others, and to the error of the estimate.
const SPARE: f64 = 75.0;
/// With more than this free, a fall is likely to be an error of the estimate.
const PLENTY: f64 = 8.0 * RESERVED;
/// After a refusal it takes so many answers until one more request is tried in flight.
const CALM: u32 = 1000;
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// Longer than any deadline, and still a moment that a clock can count.
const FOREVER: Duration = Duration::from_hours(24 * 365 * 10);

/// The budget of one token.
#[derive(Default)]
pub(crate) struct Budget {
    pace: Mutex<Pace>,
    changed: Notify,
}

/// The right to have one request in flight; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Permit<'b> {
    budget: &'b Budget,
    epoch: u64,
}

impl Budget {
    /// Waits for a turn, until the deadline at most; not at all where Canvas asked for a longer pause.
    pub(crate) async fn admit(&self, cx: &Context) -> Result<Permit<'_>> {
        let left = remaining(cx);
        let latest = Instant::now() + left.unwrap_or(PATIENCE);
        let turn = self.turn(latest);
        match left {
            None => turn.await,
            Some(left) => tokio::time::timeout(left, turn).await.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::RateLimited, "the token's budget allowed no request before the deadline"))
            }),
        }
        .map_err(|error| error.hint("another program may be using the same token: the budget is counted per token"))
    }

    async fn turn(&self, latest: Instant) -> Result<Permit<'_>> {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let turn = self.pace().enter(Instant::now());
            match turn {
                Turn::Now(epoch) => return Ok(Permit { budget: self, epoch }),
                Turn::At(instant) if instant >= latest => {
                    let seconds = instant.saturating_duration_since(Instant::now()).as_secs_f64().ceil();
                    let text = format!("Canvas asked to slow down; it may be asked again in {seconds} s");
                    return Err(Error::new(ErrorKind::RateLimited, text));
                }
                Turn::At(instant) => tokio::time::sleep_until(instant).await,
                Turn::AfterAnother => changed.await,
            }
        }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// The request was served and this remains of the budget, where the answer says so.
    pub(crate) fn answered(self, remaining: Option<f64>) {
        self.budget.pace().answered(remaining, Instant::now());
    }

    /// The request was refused; nobody asks again before the returned time has passed.
    pub(crate) fn refused(self, remaining: Option<f64>, asked: Option<Duration>) -> Duration {
        self.budget.pace().refused(self.epoch, remaining, asked, jitter(), Instant::now())
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.budget.pace().in_flight -= 1;
        self.budget.changed.notify_waiters();
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pace().fmt(f)
    }
}

/// When a request may go.
enum Turn {
    Now(u64),
    At(Instant),
    AfterAnother,
}

#[derive(Debug)]
struct Pace {
    in_flight: usize,
    /// How many may be in flight by the last answers.
    allowed: usize,
    /// What is free besides our own reservations, evened out over answers.
    free: Option<f64>,
    /// The largest remainder that any answer stated: the mark cannot be below it, and nobody knows that it is above.
    best: f64,
    /// How many may be at most since the last refusal.
    ceiling: usize,
    /// Answers since then.
    calm: u32,
    /// Refusals in a row.
    in_a_row: u32,
    /// Counts refusals, so that those of requests sent together count once.
    epoch: u64,
    /// Nobody asks before.
    resume: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            in_flight: 0,
            allowed: IN_FLIGHT,
            free: None,
            best: 0.0,
            ceiling: IN_FLIGHT,
            calm: 0,
            in_a_row: 0,
            epoch: 0,
            resume: None,
        }
    }
}

impl Pace {
    fn enter(&mut self, now: Instant) -> Turn {
        match self.resume {
            Some(resume) if resume > now => return Turn::At(resume),
            _ => self.resume = None,
        }
        if self.in_flight >= self.allowed.min(self.ceiling) {
            return Turn::AfterAnother;
        }
        self.in_flight += 1;
        Turn::Now(self.epoch)
    }

    fn answered(&mut self, remaining: Option<f64>, now: Instant) {
        self.in_a_row = 0;
        self.calm += 1;
        if self.calm >= CALM {
            self.calm = 0;
            self.ceiling = (self.ceiling + 1).min(IN_FLIGHT);
        }
        // Older servers leave the figure out where nothing is throttled.
        let Some(remaining) = remaining else { return };
        // The figure counts our other requests in flight, whose reservations come back. Which of them had arrived by then
        // is a guess, wrong by a few either way: so it is evened out, except for falls once little is left, and never goes
        // beyond what an answer has stated.
        let others = self.in_flight.saturating_sub(1) as f64;
        let seen = remaining + RESERVED * others;
        self.best = self.best.max(remaining);
        let free =
            self.free.map_or(seen, |free| free + (seen - free) / if seen < free.min(PLENTY) { 1.0 } else { 8.0 });
        self.free = Some(free);
        self.allowed = (((free.min(self.best) - SPARE) / RESERVED) as usize).clamp(1, IN_FLIGHT);
        if seen <= 0.0 {
            // Above the mark by other costs than reservations: the next request would be refused.
            self.pause(now, bounded((1.0 - seen) / OUTFLOW));
        }
    }

    fn refused(
        &mut self,
        epoch: u64,
        remaining: Option<f64>,
        asked: Option<Duration>,
        jitter: f64,
        now: Instant,
    ) -> Duration {
        if epoch == self.epoch {
            self.epoch += 1;
            self.in_a_row += 1;
            self.calm = 0;
            self.ceiling = (self.in_flight.min(self.ceiling) / 2).max(1);
            let missing = (RESERVED - remaining.unwrap_or(RESERVED)).max(0.0) / OUTFLOW;
            let doubled = missing.max(1.0) * f64::from(1 << (self.in_a_row - 1).min(6));
            let wait = asked.unwrap_or_else(|| bounded(doubled * (1.0 + jitter)));
            self.pause(now, wait);
        }
        self.resume.map_or(Duration::ZERO, |resume| resume.saturating_duration_since(now))
    }

    fn pause(&mut self, now: Instant, wait: Duration) {
        self.resume = self.resume.max(Some(now + wait.min(FOREVER)));
    }
}

/// So many seconds, but no longer than the longest wait, also where the figure is none that a duration can hold.
fn bounded(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).map_or(LONGEST_WAIT, |wait| wait.min(LONGEST_WAIT))
}

/// Up to a quarter, so that several programs do not come back at once.
fn jitter() -> f64 {
    (RandomState::new().build_hasher().finish() % 1024) as f64 / 4096.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pace with so many in flight, on an installation with the documented mark.
    fn busy(in_flight: usize) -> Pace {
        let mut pace = Pace { best: 600.0, ..Pace::default() };
        let now = Instant::now();
        assert!((0..in_flight).all(|_| matches!(pace.enter(now), Turn::Now(_))));
        pace
    }

    #[test]
    fn fewer_in_flight_as_the_budget_falls() {
        let now = Instant::now();
        // Nine in flight reserve 450; what remains besides decides.
        for (level, allowed) in [(0.0, 9), (75.0, 9), (76.0, 8), (250.0, 5), (400.0, 2), (460.0, 1), (599.0, 1)] {
            let mut pace = busy(9);
            pace.answered(Some(600.0 - 400.0 - level), now);
            assert_eq!(pace.allowed, allowed, "at {level}");
            assert!(pace.resume.is_none());
            assert!(matches!(pace.enter(now), Turn::AfterAnother));
        }
        let mut pace = busy(1);
        pace.answered(Some(-50.0), now);
        assert_eq!(pace.resume, Some(now + Duration::from_millis(5100)));
        assert!(matches!(pace.enter(now), Turn::At(_)));
    }

    #[test]
    fn without_figures_nothing_changes() {
        let mut pace = busy(9);
        pace.answered(None, Instant::now());
        assert_eq!((pace.allowed, pace.ceiling), (IN_FLIGHT, IN_FLIGHT));
        // An installation with a lower mark, also when answers overtake each other.
        let mut pace = Pace { in_flight: 3, ..Pace::default() };
        pace.answered(Some(280.0), Instant::now());
        assert_eq!(pace.allowed, 4);
    }

    #[test]
    fn a_refusal_halves() {
        let now = Instant::now();
        let mut pace = busy(9);
        for _ in 0..9 {
            // All nine were sent together: one refusal.
            pace.refused(0, Some(0.0), None, 0.0, now);
        }
        assert_eq!((pace.ceiling, pace.in_a_row), (4, 1));
        pace.in_flight = 0;
        let later = now + Duration::from_mins(2);
        assert_eq!((0..9).filter(|_| matches!(pace.enter(later), Turn::Now(1))).count(), 4);
        for _ in 0..CALM {
            pace.answered(None, later);
        }
        assert_eq!(pace.ceiling, 5);
    }

    #[test]
    fn waits_grow() {
        let now = Instant::now();
        let mut pace = busy(1);
        let mut refuse = |remaining, asked| {
            pace.resume = None;
            let epoch = pace.epoch;
            pace.refused(epoch, remaining, asked, 0.0, now).as_secs()
        };
        let waits: Vec<u64> = (0..6).map(|_| refuse(Some(0.0), None)).collect();
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
        assert_eq!(refuse(None, Some(Duration::from_secs(2))), 2);
        let mut pace = busy(1);
        assert_eq!(pace.refused(0, None, None, 0.0, now).as_secs(), 1);
    }

    #[test]
    fn no_figure_is_too_large() {
        let now = Instant::now();
        let wildest = [f64::MIN, f64::MAX, f64::NEG_INFINITY, f64::INFINITY, f64::NAN, -1e300];
        for figure in wildest {
            let mut pace = busy(1);
            pace.answered(Some(figure), now);
            assert!(pace.resume.is_none_or(|resume| resume <= now + LONGEST_WAIT), "{figure}");
            assert!((1..=IN_FLIGHT).contains(&pace.allowed));
            let mut pace = busy(1);
            let wait = pace.refused(0, Some(figure), None, 0.25, now);
            assert!(wait >= Duration::from_secs(1) && wait <= LONGEST_WAIT, "{figure}: {wait:?}");
        }
        let mut pace = busy(1);
        let asked = Duration::from_secs(u64::MAX);
        assert!(pace.refused(0, None, Some(asked), 0.0, now) > PATIENCE);
        assert!(matches!(pace.enter(now), Turn::At(_)));
    }
}
