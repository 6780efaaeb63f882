//! The event collectors that a login holds on the server: few, reused from page to page, and never forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::wire::Ref;

/// Collectors at rest, by the cursor that continues each; and those whose reader went away in the middle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collectors(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    resting: HashMap<String, Ref>,
    abandoned: Vec<Ref>,
}

impl Collectors {
    /// The collector that stands where this cursor does.
    pub(crate) fn take(&self, cursor: &str) -> Option<Lease> {
        let collector = self.with(|state| state.resting.remove(cursor))?;
        Some(self.lease(collector))
    }

    /// Watches over a collector while it is read.
    pub(crate) fn lease(&self, collector: Ref) -> Lease {
        Lease { collector, settled: false, home: self.clone() }
    }

    /// All collectors that nobody is reading, to be destroyed.
    pub(crate) fn drain(&self) -> Vec<Ref> {
        self.with(|state| {
            state.resting.drain().map(|(_, collector)| collector).chain(state.abandoned.drain(..)).collect()
        })
    }

    /// Those whose reader went away.
    pub(crate) fn drain_abandoned(&self) -> Vec<Ref> {
        self.with(|state| std::mem::take(&mut state.abandoned))
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A collector in use. Dropped in the middle of a read, its position is unknown: it is only good for destruction.
#[derive(Debug)]
pub(crate) struct Lease {
    collector: Ref,
    settled: bool,
    home: Collectors,
}

impl Lease {
    /// The collector.
    pub(crate) fn collector(&self) -> &Ref {
        &self.collector
    }

    /// Puts it to rest where this cursor continues.
    pub(crate) fn rest(mut self, cursor: &str) {
        self.settled = true;
        let collector = self.collector.clone();
        self.home.with(|state| {
            let displaced = state.resting.insert(cursor.to_owned(), collector);
            state.abandoned.extend(displaced);
        });
    }

    /// Takes it out for good.
    pub(crate) fn finish(mut self) -> Ref {
        self.settled = true;
        self.collector.clone()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.settled {
            let collector = self.collector.clone();
            self.home.with(|state| state.abandoned.push(collector));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_is_forgotten() {
        let collectors = Collectors::default();
        let collector = |id: &str| Ref { kind: "EventHistoryCollector".into(), value: id.into() };
        collectors.lease(collector("a")).rest("1");
        assert!(collectors.take("2").is_none());
        drop(collectors.take("1").unwrap());
        assert!(collectors.take("1").is_none());
        collectors.lease(collector("b")).rest("2");
        assert_eq!(collectors.lease(collector("c")).finish(), collector("c"));
        let mut left: Vec<String> = collectors.drain().into_iter().map(|left| left.value).collect();
        left.sort();
        assert_eq!(left, ["a", "b"]);
    }
}
