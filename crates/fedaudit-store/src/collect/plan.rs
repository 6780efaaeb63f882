//! What of a stream has to be read: everything wanted that is not sealed, a little before it for rows that came late, and
//! nothing that the product no longer has.

use std::time::Duration;

use fedaudit_core::{StreamInfo, Time, Window, Windows};
use fedaudit_engine::Coverage;

use super::{UNKNOWN_HISTORY, Wanted};

/// The plan of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The whole of what is wanted.
    pub(super) asked: Window,
    /// To be read.
    pub(super) todo: Windows,
    /// Wanted, never read, and gone at the product: news, or asked for explicitly.
    pub(super) forgotten: Windows,
    /// What of it is not entered as gone yet.
    pub(super) untold: Windows,
    /// The product keeps nothing older, as far as that is known.
    pub(super) floor: Option<Time>,
    history: Option<Duration>,
}

impl Plan {
    pub(super) fn new(
        stream: &StreamInfo,
        coverage: &Coverage,
        stated_floor: Option<Time>,
        wanted: &Wanted,
        now: Time,
    ) -> Self {
        let documented = stream.history.map(|history| now.minus(history));
        let floor = stated_floor.or(documented);
        let first = coverage.covered.span().and_then(|span| span.from);
        // Without a wish: from where the product begins, or from where we once began, to see what was forgotten since.
        let begin = floor.unwrap_or_else(|| now.minus(UNKNOWN_HISTORY));
        let from = wanted.from.unwrap_or_else(|| first.map_or(begin, |first| first.min(begin)));
        let from = from.max(Time::EPOCH);
        let asked = Window { from: Some(from), to: Some(wanted.to.map_or(now, |to| to.min(now))) };
        let kept = asked.intersect(&Window { from: floor, to: None });
        let mut todo = if wanted.again { Windows::of(kept) } else { coverage.unsealed(kept) };
        if !stream.lateness.is_zero() {
            // As long again before it: a row that came later than it should is found then, and told.
            let before: Vec<Window> = todo
                .iter()
                .filter_map(|window| Some(Window { from: Some(window.from?.minus(stream.lateness)), to: window.from }))
                .map(|before| before.intersect(&kept))
                .collect();
            for window in before {
                todo.insert(window);
            }
        }
        let gone = floor.map_or(Windows::NONE, |floor| {
            Windows::of(asked.intersect(&Window { from: None, to: Some(floor) })).without(&coverage.covered)
        });
        // What lay before the product's memory when it was first met was never ours to lose, unless somebody asked for it.
        let ours = if wanted.from.is_some() { Windows::of(asked) } else { after(first) };
        let gone = gone.intersect(&ours);
        let untold = gone.without(&coverage.forgotten);
        let forgotten = if wanted.from.is_some() { gone } else { untold.clone() };
        Self { asked, todo, forgotten, untold, floor, history: stream.history }
    }

    /// A list of what is open now.
    pub(super) fn of_now(now: Time) -> Self {
        let asked = Window { from: Some(now.minus(Duration::from_secs(1))), to: Some(now) };
        let todo = Windows::of(asked);
        Self { asked, todo, forgotten: Windows::NONE, untold: Windows::NONE, floor: None, history: None }
    }

    /// How long until the product forgets something of this.
    pub(super) fn forgotten_in(&self, now: Time) -> Duration {
        let oldest = self.todo.span().and_then(|span| span.from);
        match (oldest, self.history) {
            (Some(oldest), Some(history)) => {
                let until = oldest.plus(history).micros().saturating_sub(now.micros());
                Duration::from_micros(u64::try_from(until).unwrap_or(0))
            }
            // Nothing to read can wait for ever; of what is kept for an unknown time nobody knows.
            (None, _) => Duration::MAX,
            (Some(_), None) => UNKNOWN_HISTORY,
        }
    }

    /// Whether a tenth of the product's memory is all the time that is left. A stream that is met for the first time is
    /// always read from its oldest row on.
    pub(super) fn is_urgent(&self, now: Time) -> bool {
        let first_contact = self.todo.covers(self.asked);
        !first_contact && self.history.is_some_and(|history| self.forgotten_in(now) < history / 10)
    }
}

fn after(first: Option<Time>) -> Windows {
    first.map_or(Windows::NONE, |first| Windows::of(Window { from: Some(first), to: None }))
}

#[cfg(test)]
mod tests {
    use fedaudit_core::StreamKind;

    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn window(from: i64, to: i64) -> Window {
        Window::new(Time::from_micros(from * HOUR), Time::from_micros(to * HOUR))
    }

    fn stream(history_h: Option<u64>) -> StreamInfo {
        StreamInfo {
            history: history_h.map(Duration::from_hours),
            lateness: Duration::from_hours(2),
            ..StreamInfo::new("log", StreamKind::Events)
        }
    }

    fn coverage(covered: Window, sealed: Window) -> Coverage {
        Coverage { covered: Windows::of(covered), sealed: Windows::of(sealed), ..Coverage::default() }
    }

    fn plan(history_h: Option<u64>, coverage: &Coverage, wanted: &Wanted, now_h: i64) -> Plan {
        Plan::new(&stream(history_h), coverage, None, wanted, Time::from_micros(now_h * HOUR))
    }

    #[test]
    fn the_first_time_all_that_the_product_keeps_is_read() {
        let plan = plan(Some(100), &Coverage::default(), &Wanted::default(), 1000);
        assert_eq!((plan.todo, plan.forgotten), (Windows::of(window(900, 1000)), Windows::NONE));
    }

    #[test]
    fn later_the_unsealed_rest_and_as_much_again_as_rows_may_be_late() {
        let known = coverage(window(900, 1000), window(900, 998));
        let plan = plan(Some(200), &known, &Wanted::default(), 1010);
        assert_eq!(plan.todo, [window(810, 900), window(996, 1010)].into_iter().collect());
        let known = coverage(window(810, 1000), window(810, 998));
        let plan =
            super::Plan::new(&stream(Some(200)), &known, None, &Wanted::default(), Time::from_micros(1010 * HOUR));
        assert_eq!((plan.todo, plan.forgotten), (Windows::of(window(996, 1010)), Windows::NONE));
    }

    #[test]
    fn what_the_product_forgot_meanwhile_is_named() {
        let known = coverage(window(900, 1000), window(900, 998));
        let plan = plan(Some(50), &known, &Wanted::default(), 1100);
        assert_eq!(plan.todo, Windows::of(window(1050, 1100)));
        assert_eq!((&plan.forgotten, &plan.untold), (&Windows::of(window(1000, 1050)), &plan.forgotten));
        // Once it is entered, it is told only to whoever asks for that time.
        let known = Coverage { forgotten: Windows::of(window(1000, 1050)), ..known };
        let plan =
            super::Plan::new(&stream(Some(50)), &known, None, &Wanted::default(), Time::from_micros(1100 * HOUR));
        assert_eq!((plan.forgotten, plan.untold), (Windows::NONE, Windows::NONE));
        let asked = Wanted { from: Some(Time::from_micros(900 * HOUR)), ..Wanted::default() };
        let plan = super::Plan::new(&stream(Some(50)), &known, None, &asked, Time::from_micros(1100 * HOUR));
        assert_eq!((plan.forgotten, plan.untold), (Windows::of(window(1000, 1050)), Windows::NONE));
    }

    #[test]
    fn what_is_wanted_again_is_read_again() {
        let known = coverage(window(900, 1000), window(900, 998));
        let from = Some(Time::from_micros(950 * HOUR));
        let again = Wanted { from, to: Some(Time::from_micros(990 * HOUR)), again: true, ..Wanted::default() };
        assert_eq!(plan(None, &known, &again, 1010).todo, Windows::of(window(950, 990)));
        let not = Wanted { again: false, ..again };
        assert!(plan(None, &known, &not, 1010).todo.is_empty());
    }

    #[test]
    fn what_is_about_to_be_forgotten_is_urgent() {
        let known = coverage(window(900, 1000), window(900, 998));
        let at = |now| plan(Some(100), &known, &Wanted::default(), now).is_urgent(Time::from_micros(now * HOUR));
        assert!(!at(1010) && !at(1080) && at(1090));
    }
}
