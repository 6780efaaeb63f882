//! Where a running query writes down what it saw; the receipt is read off here.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fedaudit_core::{EndReason, Error, Observed, Predicate, Rejected, Status, StreamInfo, StreamReceipt, Time, Window};

use crate::sight::Sight;

/// How many rejected records a receipt shows with their bytes; all are counted.
const REJECTED_SAMPLES: usize = 5;

/// Products keep days and clear away in jobs of their own, and their floor moves on while they are read: `--from -30d` of
/// a product that keeps 30 days is no question about what it has forgotten.
const RETENTION_SLACK: Duration = Duration::from_mins(1);

/// One stream's entry of a running query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryId(usize);

/// What a running query has seen.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Mutex<Vec<StreamReceipt>>,
    /// Where rows may be missing although a reader came to the end.
    gaps: Mutex<Vec<(EntryId, Window)>>,
    not_asked: Mutex<BTreeSet<String>>,
    clock_offsets: Mutex<Vec<(String, i64)>>,
}

/// What one stream is asked, for its entry.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    pub(crate) table: &'static str,
    pub(crate) source: String,
    pub(crate) stream: StreamInfo,
    pub(crate) asked: Window,
    pub(crate) read: Window,
    pub(crate) pushed: Vec<Predicate>,
    pub(crate) look_back_s: u64,
    pub(crate) sight: Sight,
    pub(crate) notes: Vec<String>,
}

impl Ledger {
    /// Opens an entry; until something else is known, it is complete as far as it got.
    pub(crate) fn open(&self, assignment: &Assignment, now: Time) -> EntryId {
        let stream = &assignment.stream;
        let tail = now.minus(stream.lateness);
        let unread = assignment.sight == Sight::Blind;
        let open_end = assignment.asked.to.is_none_or(|to| to > tail);
        let entry = StreamReceipt {
            table: assignment.table.to_owned(),
            source: assignment.source.clone(),
            stream: stream.name.clone(),
            status: if assignment.sight == Sight::Clear { Status::Complete } else { Status::Blind },
            asked: assignment.asked.spanned(),
            covered: Vec::new(),
            missing: Vec::new(),
            pushed: assignment.pushed.clone(),
            rows: 0,
            records: 0,
            duplicates: 0,
            rejected: 0,
            rejected_samples: Vec::new(),
            pages: 0,
            end: unread.then_some(EndReason::NothingAsked),
            provisional_after: (open_end && !stream.lateness.is_zero()).then_some(tail),
            retention_floor: stream.history.map(|history| now.minus(history)),
            look_back_s: assignment.look_back_s,
            server_count: None,
            blind_spots: stream
                .blind_spots
                .iter()
                .map(|spot| {
                    let predicates: Vec<String> = spot.predicates.iter().map(Predicate::to_string).collect();
                    if predicates.is_empty() {
                        spot.reason.clone()
                    } else {
                        format!("{}: {}", predicates.join(" AND "), spot.reason)
                    }
                })
                .collect(),
            notes: assignment.notes.clone(),
            error: None,
        };
        let mut entries = lock(&self.entries);
        entries.push(entry);
        EntryId(entries.len() - 1)
    }

    /// Streams that the question excludes.
    pub(crate) fn not_asked(&self, source: &str, stream: &str) {
        lock(&self.not_asked).insert(format!("{source}/{stream}"));
    }

    /// Writes down a page.
    pub(crate) fn page(
        &self,
        id: EntryId,
        rows: usize,
        duplicates: usize,
        observed: &Observed,
        rejected: Vec<Rejected>,
    ) {
        if let Some(gap) = observed.gap {
            lock(&self.gaps).push((id, gap));
        }
        self.change(id, |entry| {
            entry.pages += 1;
            entry.rows += rows as u64;
            entry.duplicates += duplicates as u64;
            // A plugin may say any number.
            entry.records = entry.records.saturating_add(observed.records);
            entry.rejected += rejected.len() as u64;
            let room = REJECTED_SAMPLES.saturating_sub(entry.rejected_samples.len());
            entry.rejected_samples.extend(rejected.into_iter().take(room));
            entry.server_count = observed.count.or(entry.server_count);
            entry.retention_floor = observed.retention_floor.or(entry.retention_floor);
            for note in &observed.notes {
                if !entry.notes.contains(note) {
                    entry.notes.push(note.clone());
                }
            }
        });
    }

    /// Writes down the product's clock against ours.
    pub(crate) fn clock(&self, source: &str, product: Time, ours: Time) {
        let offset = (product.micros() - ours.micros()) / 1000;
        let mut offsets = lock(&self.clock_offsets);
        offsets.retain(|(name, _)| name != source);
        offsets.push((source.to_owned(), offset));
    }

    /// The last clock offset seen of a source.
    pub(crate) fn clock_offset(&self, source: &str) -> Option<i64> {
        lock(&self.clock_offsets).iter().find(|(name, _)| name == source).map(|(_, offset)| *offset)
    }

    /// Writes down why a stream ended.
    pub(crate) fn ended(&self, id: EntryId, reason: EndReason) {
        self.change(id, |entry| entry.end = Some(reason));
    }

    /// Writes down that a stream could not be read, or not to its end.
    pub(crate) fn failed(&self, id: EntryId, error: &Error) {
        self.change(id, |entry| {
            entry.status = Status::of_error(error.kind());
            entry.error = Some(error.into());
        });
    }

    /// The entries as they are now.
    pub(crate) fn snapshot(&self) -> Vec<StreamReceipt> {
        lock(&self.entries).clone()
    }

    /// Streams that the question excludes or did not wait for, without those that it has the answer of.
    pub(crate) fn excluded(&self, answered: &[StreamReceipt]) -> Vec<String> {
        let asked: BTreeSet<String> =
            answered.iter().map(|entry| format!("{}/{}", entry.source, entry.stream)).collect();
        lock(&self.not_asked).difference(&asked).cloned().collect()
    }

    /// Writes down a part of the window that was read to its end.
    pub(crate) fn covered(&self, id: EntryId, part: Option<Window>) {
        let Some(part) = part else { return };
        self.change(id, |entry| {
            entry.covered.push(part);
            merge(&mut entry.covered);
        });
    }

    /// The entries with their final status. Streams that were still being read were not needed any further, if the
    /// answer was taken to its end.
    pub(crate) fn close(&self, taken_whole: bool) -> Vec<StreamReceipt> {
        let mut entries = self.snapshot();
        for (id, gap) in lock(&self.gaps).iter() {
            if let Some(entry) = entries.get_mut(id.0) {
                entry.covered = entry.covered.iter().flat_map(|covered| without(*covered, &[*gap])).collect();
                if entry.status == Status::Complete {
                    entry.status = Status::Partial;
                }
            }
        }
        // Of a stream that had not answered when the answer was complete nothing is known, not even that it can.
        entries.retain(|entry| {
            let needed = !taken_whole || entry.pages > 0 || entry.end.is_some() || entry.error.is_some();
            if !needed {
                self.not_asked(&entry.source, &entry.stream);
            }
            needed
        });
        for entry in &mut entries {
            if entry.end.is_none() && entry.error.is_none() {
                entry.end = taken_whole.then_some(EndReason::EnoughRows);
                if !taken_whole {
                    entry.status = Status::Partial;
                }
            }
            if let Some(floor) = entry.retention_floor {
                let kept = Window { from: Some(floor), to: None };
                entry.covered = entry.covered.iter().map(|covered| covered.intersect(&kept)).collect();
                entry.covered.retain(|covered| !covered.is_empty());
            }
            entry.status = settled(entry);
            if !entry.status.is_whole() {
                // What nobody wanted to read is not missing.
                let unwanted = Window { from: entry.retention_floor, to: None };
                let enough = entry.end == Some(EndReason::EnoughRows);
                entry.missing =
                    without(entry.asked, if enough { std::slice::from_ref(&unwanted) } else { &entry.covered });
            }
        }
        entries.sort_by(|a, b| (&a.source, &a.table, &a.stream).cmp(&(&b.source, &b.table, &b.stream)));
        entries
    }

    fn change(&self, id: EntryId, change: impl FnOnce(&mut StreamReceipt)) {
        if let Some(entry) = lock(&self.entries).get_mut(id.0) {
            change(entry);
        }
    }
}

/// The final status of an entry that nothing has decided yet.
fn settled(entry: &StreamReceipt) -> Status {
    let expired = matches!((entry.asked.from, entry.retention_floor),
        (Some(from), Some(floor)) if from < floor.minus(RETENTION_SLACK));
    match entry.status {
        Status::Complete if expired => Status::Expired,
        Status::Complete if entry.rejected > 0 => Status::Partial,
        Status::Complete if entry.rows == 0 && entry.end != Some(EndReason::EnoughRows) => Status::Empty,
        decided => decided,
    }
}

/// Adjoining windows as one.
fn merge(windows: &mut Vec<Window>) {
    windows.sort_by_key(|window| window.from);
    windows.dedup_by(|next, window| {
        let adjoins = window.to.is_none_or(|to| next.from.is_none_or(|from| from <= to));
        if adjoins {
            window.to = window.to.and_then(|to| next.to.map(|next| next.max(to)));
        }
        adjoins
    });
}

/// What of a window lies in none of the others, which are in order.
fn without(window: Window, others: &[Window]) -> Vec<Window> {
    let mut rest = vec![window];
    for other in others {
        let Some(last) = rest.pop() else { break };
        let before = Window { from: last.from, to: other.from };
        let after = other.to.map(|to| Window { from: Some(to), to: None });
        rest.extend(other.from.map(|_| last.intersect(&before)));
        rest.extend(after.map(|after| last.intersect(&after)));
    }
    rest.retain(|window| !window.is_empty());
    rest
}

/// A reader that panicked leaves counts that are still true.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from: i64, to: i64) -> Window {
        Window::new(Time::from_micros(from), Time::from_micros(to))
    }

    #[test]
    fn a_gap_is_missing_although_the_end_was_reached() {
        let ledger = Ledger::default();
        let assignment = Assignment {
            table: "events",
            source: "one".into(),
            stream: StreamInfo::new("log", fedaudit_core::StreamKind::Events),
            asked: window(0, 10),
            read: window(0, 10),
            pushed: Vec::new(),
            look_back_s: 0,
            sight: Sight::Clear,
            notes: Vec::new(),
        };
        let id = ledger.open(&assignment, Time::from_micros(100));
        let seen = |gap| Observed { gap, records: 1, ..Observed::default() };
        ledger.page(id, 1, 0, &seen(None), Vec::new());
        ledger.page(id, 1, 0, &seen(Some(window(4, 6))), Vec::new());
        ledger.covered(id, Some(window(0, 10)));
        ledger.ended(id, EndReason::ShortPage);
        let entry = &ledger.close(true)[0];
        assert_eq!((entry.status, entry.missing.as_slice()), (Status::Partial, &[window(4, 6)][..]));
        assert_eq!(entry.covered, [window(0, 4), window(6, 10)]);
    }

    #[test]
    fn windows_are_merged_and_subtracted() {
        let mut covered = vec![window(5, 7), window(1, 3), window(3, 4), window(6, 9)];
        merge(&mut covered);
        assert_eq!(covered, [window(1, 4), window(5, 9)]);
        assert_eq!(without(window(0, 12), &covered), [window(0, 1), window(4, 5), window(9, 12)]);
        assert_eq!(without(window(2, 3), &covered), []);
        assert_eq!(without(window(2, 6), &covered), [window(4, 5)]);
        let open = Window { from: Some(Time::from_micros(6)), to: None };
        assert_eq!(without(open, &covered), [Window { from: Some(Time::from_micros(9)), to: None }]);
        assert_eq!(without(window(0, 12), &[Window::ALL]), []);
        assert_eq!(without(window(0, 12), &[open]), [window(0, 6)]);
        assert_eq!(without(Window::ALL, &[window(1, 2)]).len(), 2);
    }
}
