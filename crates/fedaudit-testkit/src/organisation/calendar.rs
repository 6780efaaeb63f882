//! When people work: office hours on weekdays, a little at other times.

use super::{DAY, HOUR, SECOND};
use crate::random::Random;

/// The bounds of the history, UTC microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Calendar {
    pub(super) from: i64,
    /// Exclusive.
    pub(super) to: i64,
}

/// Nothing but the maintenance that opens the history happens before this has passed.
pub(super) const QUIET: i64 = 600 * SECOND;

impl Calendar {
    /// A moment of ordinary work.
    pub(super) fn moment(&self, random: &mut Random) -> i64 {
        let mut moment = self.from + QUIET;
        // Rarely does a night draw ten misses; when it does, someone works late.
        for _ in 0..12 {
            moment = random.range(self.from + QUIET, self.to - 4 * SECOND);
            if random.chance(busy(moment)) {
                break;
            }
        }
        moment
    }

    /// The same, cut to the second.
    pub(super) fn second(&self, random: &mut Random) -> i64 {
        self.moment(random) / SECOND
    }

    /// A second at which a session may begin that might never be seen to end. Whether such a session counts as over
    /// depends on its age: nothing begins so that its age passes a day within two hours after the end of the history,
    /// so the truth does not change while someone asks.
    pub(super) fn open_end(&self, random: &mut Random) -> i64 {
        loop {
            let moment = self.moment(random);
            if !(22 * HOUR..DAY + SECOND).contains(&(self.to - moment)) {
                return moment / SECOND;
            }
        }
    }
}

/// How likely someone works at this moment.
fn busy(moment: i64) -> f64 {
    // 1970-01-01 was a Thursday; 0 is Monday.
    let weekday = (moment.div_euclid(DAY) + 3).rem_euclid(7);
    let hourly = match moment.rem_euclid(DAY) / HOUR {
        8..18 => 1.0,
        7 | 18..20 => 0.3,
        20..23 => 0.08,
        _ => 0.04,
    };
    if weekday >= 5 { hourly * 0.15 } else { hourly }
}
