//! When our own clock was found set back. What was read before that was read by a clock that may have been ahead: nothing of
//! it can have been seen later than the clock showed then, whatever it showed before.

use std::time::Duration;

use fedaudit_core::{Result, Time, Window, Windows};

use crate::table::Table;

/// The instants that the clock showed when it was found set back, in the order in which that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Setbacks(Vec<Time>);

impl Setbacks {
    /// What the ledger's table says; the instants are marks of its commits, so that they are kept as long as it is.
    pub(crate) async fn load(coverage: &Table) -> Result<Self> {
        let mut found = Self::default();
        while let Some(micros) = coverage.mark(&mark(found.0.len())).await? {
            found.0.push(Time::from_micros(micros));
        }
        Ok(found)
    }

    /// How many there are: what is read now is read after so many.
    pub(crate) fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// What the clock showed at the last of them.
    pub(crate) fn last(&self) -> Option<Time> {
        self.0.last().copied()
    }

    /// The mark of one more.
    pub(crate) fn next_mark(&self, now: Time) -> (String, i64) {
        (mark(self.0.len()), now.micros())
    }

    /// Takes note of one whose mark is committed.
    pub(crate) fn add(&mut self, now: Time) {
        self.0.push(now);
    }

    /// The instants that can have been seen by whoever read after so many setbacks and before the others, rows of which come
    /// late by so much at most.
    pub(crate) fn seen(&self, before: u64, lateness: Duration) -> Windows {
        let later = self.0.iter().skip(usize::try_from(before).unwrap_or(usize::MAX));
        Windows::of(until(later.min().map(|bound| bound.minus(lateness))))
    }
}

/// Everything before an instant.
pub(crate) fn until(to: Option<Time>) -> Window {
    Window { from: None, to }
}

fn mark(number: usize) -> String {
    format!("clock-set-back-{number}")
}
