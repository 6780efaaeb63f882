//! Sets of instants as disjoint half-open windows: what is covered, what is sealed, what is missing.

use crate::{Time, Window};

/// Disjoint windows in order, no two of which adjoin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows(Vec<(i64, i64)>);

impl Windows {
    /// No instant.
    pub const NONE: Self = Self(Vec::new());

    /// The instants of one window; an open bound reaches as far as time does.
    pub fn of(window: Window) -> Self {
        let (from, to) = bounds(window);
        Self(if from < to { vec![(from, to)] } else { Vec::new() })
    }

    /// Adds the instants of a window.
    pub fn insert(&mut self, window: Window) {
        let (mut from, mut to) = bounds(window);
        if from >= to {
            return;
        }
        // Everything that overlaps or adjoins becomes one with it.
        let first = self.0.partition_point(|(_, end)| *end < from);
        let last = self.0.partition_point(|(start, _)| *start <= to);
        if first < last {
            from = from.min(self.0[first].0);
            to = to.max(self.0[last - 1].1);
        }
        self.0.splice(first..last, [(from, to)]);
    }

    /// Adds the instants of another set.
    pub fn extend(&mut self, other: &Self) {
        other.iter().for_each(|window| self.insert(window));
    }

    /// The instants in both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let (mut a, mut b, mut both) = (0, 0, Vec::new());
        while let (Some(left), Some(right)) = (self.0.get(a), other.0.get(b)) {
            let (from, to) = (left.0.max(right.0), left.1.min(right.1));
            if from < to {
                both.push((from, to));
            }
            if left.1 <= right.1 { a += 1 } else { b += 1 }
        }
        Self(both)
    }

    /// The instants that are not in the other set.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut rest = Vec::new();
        let mut next = 0;
        for (mut from, to) in self.0.iter().copied() {
            while other.0.get(next).is_some_and(|(_, end)| *end <= from) {
                next += 1;
            }
            let mut index = next;
            while let Some((start, end)) = other.0.get(index).copied().filter(|(start, _)| *start < to) {
                if from < start {
                    rest.push((from, start));
                }
                from = from.max(end);
                index += 1;
            }
            if from < to {
                rest.push((from, to));
            }
        }
        Self(rest)
    }

    /// Whether an instant is in the set.
    pub fn contains(&self, time: Time) -> bool {
        let next = self.0.partition_point(|(_, end)| *end <= time.micros());
        self.0.get(next).is_some_and(|(start, _)| *start <= time.micros())
    }

    /// Whether every instant of the window is in the set.
    pub fn covers(&self, window: Window) -> bool {
        Self::of(window).without(self).is_empty()
    }

    /// Those of them that lie in one window.
    #[must_use]
    pub fn inside(&self, window: Window) -> Self {
        self.intersect(&Self::of(window))
    }

    /// Whether there is no instant.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The windows in order.
    pub fn iter(&self) -> impl Iterator<Item = Window> + '_ {
        self.0.iter().map(|(from, to)| Window {
            from: (*from > i64::MIN).then(|| Time::from_micros(*from)),
            to: (*to < i64::MAX).then(|| Time::from_micros(*to)),
        })
    }

    /// From the first instant to the last; nothing of an empty set.
    pub fn span(&self) -> Option<Window> {
        let first = self.iter().next()?;
        let last = self.iter().last()?;
        Some(Window { from: first.from, to: last.to })
    }
}

impl std::fmt::Display for Windows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let windows: Vec<String> = self.iter().map(|window| window.to_string()).collect();
        f.write_str(&windows.join(", "))
    }
}

impl FromIterator<Window> for Windows {
    fn from_iter<T: IntoIterator<Item = Window>>(windows: T) -> Self {
        let mut set = Self::NONE;
        windows.into_iter().for_each(|window| set.insert(window));
        set
    }
}

fn bounds(window: Window) -> (i64, i64) {
    (window.from.map_or(i64::MIN, Time::micros), window.to.map_or(i64::MAX, Time::micros))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn window(from: i64, to: i64) -> Window {
        Window::new(Time::from_micros(from), Time::from_micros(to))
    }

    fn instants(windows: &Windows) -> BTreeSet<i64> {
        windows.0.iter().flat_map(|(from, to)| *from..*to).collect()
    }

    fn some_windows() -> impl Strategy<Value = Vec<(i64, i64)>> {
        proptest::collection::vec((0..40_i64, 0..40_i64), 0..8)
    }

    proptest! {
        #[test]
        fn sets_of_windows_are_sets_of_instants(a in some_windows(), b in some_windows()) {
            let [left, right] = [&a, &b].map(|list| list.iter().map(|(from, to)| window(*from, *to)).collect::<Windows>());
            let [all_left, all_right] = [&a, &b]
                .map(|list| list.iter().flat_map(|(from, to)| *from..*to).collect::<BTreeSet<i64>>());
            prop_assert_eq!(instants(&left), all_left.clone());
            prop_assert!(left.0.windows(2).all(|pair| pair[0].1 < pair[1].0), "{:?}", left);
            prop_assert_eq!(instants(&left.intersect(&right)), all_left.intersection(&all_right).copied().collect());
            prop_assert_eq!(instants(&left.without(&right)), all_left.difference(&all_right).copied().collect());
            let mut both = left.clone();
            both.extend(&right);
            prop_assert_eq!(instants(&both), all_left.union(&all_right).copied().collect());
            for instant in 0..40 {
                prop_assert_eq!(left.contains(Time::from_micros(instant)), all_left.contains(&instant));
            }
        }
    }

    #[test]
    fn open_bounds_reach_everywhere() {
        let all = Windows::of(Window::ALL);
        assert!(all.covers(Window::ALL) && all.contains(Time::EPOCH));
        let rest = all.without(&Windows::of(window(3, 5)));
        assert_eq!(rest.iter().map(|window| window.to_string()).collect::<Vec<_>>().len(), 2);
        assert_eq!(rest.span(), Some(Window::ALL));
        assert_eq!(Windows::of(window(5, 5)), Windows::NONE);
    }
}
