//! Where a walk through the session list stands: data that fits into a cursor, and the rules for going on.
//!
//! A snapshot is frozen, its links can be followed. A basic search is alive: documents appear, vanish and, where they
//! share an instant, change places. So its pages overlap: the last instant of a page is left to the next one, which has to
//! begin before that instant. If it does not, documents have vanished and others may have been skipped: then the search
//! begins anew from the last start time. What is left to the next page is taken as it is by then; the one session that shows
//! where the next page begins has been taken, and could be held back only if its whole instant were, and so on.

use std::collections::HashSet;
use std::time::Duration;

use fedaudit_core::{EndReason, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::api::{BASIC_HITS, LARGEST_PAGE};

/// How far a list begins before the time it is wanted from: "after" may or may not include that instant itself.
pub(crate) const OVERLAP: Duration = Duration::from_secs(1);
/// So many running sessions are known by key afterwards.
pub(crate) const LISTED: usize = 1000;
/// Pages in a row that may bring nothing before the list counts as endless.
const IDLE_PAGES: u32 = 50;

/// Which part of the answer is being read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Sessions that are still running and began before those of the window.
    Running,
    /// Sessions that began in the window or in the look-back before it.
    #[default]
    Window,
}

/// Where the next request goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    /// A new list, from the start time reached so far.
    #[default]
    Begin,
    /// The appliance's link.
    Link(String),
    /// An offset in the basic search that began after `start`.
    Offset { start: Option<i64>, offset: u64 },
}

/// The state of a walk: all there is between two pages.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) phase: Phase,
    pub(crate) place: Place,
    pub(crate) snapshot: Option<String>,
    /// Latest start time seen, microseconds.
    pub(crate) last: Option<i64>,
    /// The same within the present list.
    list_last: Option<i64>,
    /// Key, start and revision of the sessions that may come again.
    pub(crate) recent: Vec<(String, i64, i64)>,
    /// The instant that was left to the next page.
    held: Option<i64>,
    /// Sessions a page holds, where those that were asked for all began at one instant.
    wider: Option<usize>,
    /// Running sessions that began before the look-back have been listed already.
    pub(crate) running_listed: bool,
    /// Their keys, at most [`LISTED`].
    pub(crate) listed: Vec<String>,
    /// The filter was refused, everything is read.
    pub(crate) unfiltered: bool,
    /// The list is not sorted, so that nothing may be concluded from start times.
    unordered: bool,
    /// Pages in a row that brought nothing.
    idle: u32,
    /// Times the list was begun anew since the last start time grew.
    moved: u32,
}

/// A page as the walk sees it: what was on it, in the order received.
#[derive(Debug)]
pub(crate) struct Sighting<'p> {
    /// Key, start and revision; none for a record that cannot be decoded.
    pub(crate) items: Vec<Option<(&'p str, Option<i64>, i64)>>,
    pub(crate) next: Option<String>,
    pub(crate) hits: Option<u64>,
    pub(crate) limit: usize,
    /// No session that begins here or later is wanted.
    pub(crate) bound: Option<i64>,
}

/// What is to be done with a page, and then.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// So many of its items count now; the others come again.
    pub(crate) take: usize,
    /// Why the walk ends here, if it does.
    pub(crate) end: Option<EndReason>,
    /// What the receipt should tell.
    pub(crate) note: Option<&'static str>,
    /// Whether sessions that began at the last instant of the page may be missing.
    pub(crate) crowd: bool,
}

const NO_ORDER: &str = "the appliance did not sort the list as asked; it was read to the end";
const MOVED: &str = "the list moved while it was read, sessions vanished; reading went on from the last start time";
const CROWD: &str =
    "more sessions than a page holds began at one instant; of those, some may be missing if others vanished";

impl Position {
    /// The beginning of a walk.
    pub(crate) fn first(phase: Phase) -> Self {
        Self { phase, ..Self::default() }
    }

    /// The running sessions are listed, or could not be: now come those of the window.
    pub(crate) fn turn_to_window(&mut self, running_listed: bool) {
        let (snapshot, listed) = (self.snapshot.take(), std::mem::take(&mut self.listed));
        *self = Self { snapshot, listed, unfiltered: self.unfiltered, running_listed, ..Self::default() };
    }

    /// Begins the list anew from the start time that was reached.
    pub(crate) fn begin_again(&mut self) -> Result<()> {
        if self.unordered && self.last.is_some() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the appliance did not sort the list as asked, so that it could not be gone on with after an interruption",
            ));
        }
        self.place = Place::Begin;
        (self.list_last, self.held, self.wider) = (None, None, None);
        Ok(())
    }

    /// Decides what a page means for the walk, and moves on.
    pub(crate) fn step(&mut self, page: &Sighting<'_>) -> Result<Step> {
        let starts: Vec<i64> = page.items.iter().flatten().filter_map(|item| item.1).collect();
        let latest = starts.iter().copied().max();
        let basic = matches!(self.place, Place::Offset { .. });
        let present: HashSet<&str> = page.items.iter().flatten().map(|item| item.0).collect();
        let backward = matches!((latest, self.list_last), (Some(page), Some(before)) if page < before);
        let skipped = self.held.is_some_and(|held| starts.first().is_none_or(|first| *first >= held));
        let unordered = !starts.is_sorted();
        if basic && !self.unordered && !unordered && (skipped || backward) {
            self.moved = self.moved.saturating_add(1);
            if self.moved > IDLE_PAGES {
                return Err(circles());
            }
            self.begin_again()?;
            return Ok(Step { take: 0, end: None, note: Some(MOVED), crowd: false });
        }
        if backward && !self.unordered && !unordered {
            return Err(circles());
        }
        let mut note = (unordered && !self.unordered).then_some(NO_ORDER);
        self.unordered |= unordered;
        if self.recent.iter().filter(|item| present.contains(item.0.as_str())).count() < present.len() {
            self.idle = 0;
        } else if !basic {
            self.nothing_new()?;
        }
        // One start time alone says nothing of the order.
        let ordered = !self.unordered && (self.list_last.is_some() || starts.len() > 1);
        let past = ordered && matches!((latest, page.bound), (Some(last), Some(bound)) if last >= bound);
        let going = if past { Going::End(EndReason::PastWindow) } else { self.go_on(page, latest)? };
        let crowd = matches!(going, Going::Crowd);
        let (take, end) = match going {
            Going::On(take) => (take, None),
            Going::Crowd => {
                note = note.or(Some(CROWD));
                (page.items.len(), None)
            }
            Going::End(reason) => (page.items.len(), Some(reason)),
        };
        if take > 0 {
            // A page that is asked for again, only larger, begins where this one did.
            self.held = latest.filter(|_| take < page.items.len());
            (self.list_last, self.wider) = (self.list_last.max(latest), None);
            self.remember(&page.items[..take], basic);
        }
        if self.place == Place::Begin {
            self.begin_again()?;
        }
        Ok(Step { take, end, note, crowd })
    }

    /// Moves to the next page and says how many items of this one count; or why there is none.
    fn go_on(&mut self, page: &Sighting<'_>, latest: Option<i64>) -> Result<Going> {
        let received = page.items.len();
        let Place::Offset { start, offset } = self.place else {
            return Ok(match &page.next {
                Some(link) => {
                    self.place = Place::Link(link.clone());
                    Going::On(received)
                }
                None => Going::End(EndReason::NoNextLink),
            });
        };
        if received == 0 {
            return Ok(Going::End(EndReason::EmptyPage));
        }
        let reached = offset.saturating_add(received as u64);
        let saturated = page.hits.is_some_and(|hits| hits >= BASIC_HITS);
        let unseen = page.hits.is_some_and(|hits| hits > reached) && received >= page.limit;
        // The hits that can be walked end here, and there may be others behind them.
        if reached >= BASIC_HITS || (saturated && page.next.is_none()) {
            let from = latest.max(self.last).map(|last| last.saturating_sub(micros(OVERLAP)));
            if self.unordered || from <= start {
                return Err(stuck());
            }
            self.place = Place::Begin;
            return Ok(Going::On(received));
        }
        if page.next.is_none() && !unseen {
            return Ok(Going::End(EndReason::NoNextLink));
        }
        // Records without a start time stay with their neighbours.
        let tail =
            page.items.iter().rev().take_while(|item| item.is_none_or(|item| item.1.is_none() || item.1 == latest));
        let before = received - tail.count();
        let (take, next) = match before {
            _ if self.unordered => (received, reached),
            // The next page begins with the last session before the instant.
            2.. => (before, reached.saturating_sub((received - before + 1) as u64)),
            _ if page.limit < LARGEST_PAGE => {
                self.wider = Some(page.limit.saturating_mul(4).min(LARGEST_PAGE));
                (0, offset)
            }
            _ => {
                self.place = Place::Offset { start, offset: reached };
                return Ok(Going::Crowd);
            }
        };
        self.place = Place::Offset { start, offset: next };
        Ok(Going::On(take))
    }

    /// Sessions that the next page should hold.
    pub(crate) fn limit(&self, wanted: usize) -> usize {
        self.wider.map_or(wanted, |wider| wider.max(wanted))
    }

    /// Keeps what may come again: the last seconds, and of a list that is alive the whole page.
    fn remember(&mut self, items: &[Option<(&str, Option<i64>, i64)>], alive: bool) {
        let latest = items.iter().flatten().filter_map(|item| item.1).max();
        if latest > self.last {
            (self.last, self.moved) = (latest, 0);
        }
        let oldest = self.last.unwrap_or(i64::MIN).saturating_sub(2 * micros(OVERLAP));
        let now: HashSet<&str> = items.iter().flatten().map(|item| item.0).collect();
        self.recent.retain(|(key, start, _)| *start >= oldest && !now.contains(key.as_str()));
        let again = items.iter().flatten().filter(|item| alive || item.1.is_some_and(|start| start >= oldest));
        self.recent
            .extend(again.map(|(key, start, revision)| ((*key).to_owned(), start.unwrap_or(i64::MIN), *revision)));
    }

    fn nothing_new(&mut self) -> Result<()> {
        self.idle = self.idle.saturating_add(1);
        if self.idle > IDLE_PAGES { Err(circles()) } else { Ok(()) }
    }
}

/// Whether there is another page.
enum Going {
    /// There is, and so many items of this one count.
    On(usize),
    /// There is. All of this one began at one instant, so that nothing can show whether others were skipped.
    Crowd,
    End(EndReason),
}

/// The error for a basic search that cannot go on.
fn stuck() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("more than {BASIC_HITS} sessions started within one second; the basic search cannot show the rest"),
    )
    .hint("firmware 7.1 and later has search snapshots, which can; or narrow the question by protocol or user")
}

fn circles() -> Error {
    Error::new(ErrorKind::Malformed, "the appliance's pages go round in circles: a later page repeats an earlier one")
}

pub(crate) fn micros(span: Duration) -> i64 {
    span.as_micros() as i64
}
