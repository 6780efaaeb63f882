//! Cuts what has to be read into windows, oldest first: each as long as will bring a good number of rows, so that little is
//! read twice after an interruption, and quiet stretches cost few requests.

use std::time::Duration;

use fedaudit_core::{StreamInfo, Window, Windows};

/// Rows of a good window.
const ROWS: (u64, u64) = (20_000, 200_000);
/// Shortest and longest window, and the first.
const LENGTH: (Duration, Duration) = (Duration::from_mins(5), Duration::from_hours(24 * 30));
const FIRST: Duration = Duration::from_hours(24);

/// The windows to read, one after the other.
#[derive(Debug)]
pub(super) struct Steps {
    rest: Windows,
    length: Duration,
    longest: Duration,
}

impl Steps {
    pub(super) fn new(todo: Windows, stream: &StreamInfo) -> Self {
        let longest = stream.max_window.unwrap_or(LENGTH.1).min(LENGTH.1);
        Self { rest: todo, length: FIRST.min(longest), longest }
    }

    /// After each window: the next one is longer or shorter, by how many rows this one brought.
    pub(super) fn took(&mut self, rows: u64) {
        if rows > ROWS.1 {
            self.length = (self.length / 2).max(LENGTH.0.min(self.longest));
        } else if rows < ROWS.0 {
            self.length = (self.length * 2).min(self.longest);
        }
    }
}

impl Iterator for Steps {
    type Item = Window;

    fn next(&mut self) -> Option<Window> {
        let first = self.rest.iter().next()?;
        let end = first.from.map(|from| from.plus(self.length));
        let window = first.intersect(&Window { from: None, to: end });
        self.rest = self.rest.without(&Windows::of(window));
        Some(window)
    }
}

#[cfg(test)]
mod tests {
    use fedaudit_core::{StreamKind, Time};

    use super::*;

    #[test]
    fn quiet_stretches_are_read_in_long_windows_and_dense_ones_in_short_ones() {
        let end = Time::from_micros(100 * 86_400_000_000);
        let todo = Windows::of(Window { from: Some(Time::EPOCH), to: Some(end) });
        for (rows, least, most) in [(0, 5, 10), (100_000, 100, 100), (10_000_000, 1000, 40_000)] {
            let mut steps = Steps::new(todo.clone(), &StreamInfo::new("log", StreamKind::Events));
            let (mut read, mut count) = (Windows::NONE, 0);
            while let Some(window) = steps.next() {
                assert!(read.span().is_none_or(|span| span.to == window.from), "oldest first, without a gap");
                read.insert(window);
                count += 1;
                steps.took(rows);
            }
            assert_eq!(read, todo);
            assert!((least..=most).contains(&count), "{rows} rows: {count} windows");
        }
    }
}
