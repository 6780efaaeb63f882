//! Where a running query writes down what it saw; the receipt is read off here.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fedaudit_core::{
    EndReason, Error, ErrorKind, Observed, PartReceipt, Predicate, Rejected, Side, Status, StreamInfo, StreamReceipt,
    Time, Window, Windows,
};

use crate::seam::Stock;
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
    entries: Mutex<Vec<Entry>>,
    not_asked: Mutex<BTreeSet<String>>,
    not_configured: Mutex<BTreeSet<String>>,
    clock_offsets: Mutex<Vec<(String, i64)>>,
}

/// A receipt that is being written, and what it will rest on.
#[derive(Debug)]
struct Entry {
    receipt: StreamReceipt,
    read: Window,
    stock: Option<Arc<Stock>>,
    begun: Time,
    /// What was read from the product to its end.
    live: Windows,
    /// Where rows of it may be missing all the same.
    gaps: Windows,
}

/// What one stream is asked, for its entry.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    pub(crate) table: &'static str,
    pub(crate) source: String,
    pub(crate) stream: StreamInfo,
    pub(crate) asked: Window,
    /// The whole of what is read: what is asked, and a look-back.
    pub(crate) read: Window,
    /// What of it is read from the product.
    pub(crate) live: Windows,
    /// What the store has of it.
    pub(crate) stock: Option<Arc<Stock>>,
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
        let alone = assignment.stock.as_ref().is_some_and(|stock| stock.alone);
        let open_end = !alone && assignment.asked.to.is_none_or(|to| to > tail);
        let end = if assignment.sight == Sight::Blind {
            Some(EndReason::NothingAsked)
        } else {
            assignment.live.is_empty().then_some(EndReason::Stored)
        };
        // A store knows nothing of what is to come.
        let asked =
            if alone { assignment.asked.intersect(&Window { from: None, to: Some(now) }) } else { assignment.asked };
        let receipt = StreamReceipt {
            table: assignment.table.to_owned(),
            source: assignment.source.clone(),
            stream: stream.name.clone(),
            status: if assignment.sight == Sight::Clear { Status::Complete } else { Status::Blind },
            asked: asked.spanned(),
            covered: Vec::new(),
            missing: Vec::new(),
            parts: Vec::new(),
            amendments: 0,
            pushed: assignment.pushed.clone(),
            rows: 0,
            records: 0,
            duplicates: 0,
            rejected: 0,
            rejected_samples: Vec::new(),
            pages: 0,
            end,
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
        let (read, stock) = (assignment.read, assignment.stock.clone());
        let mut entries = lock(&self.entries);
        entries.push(Entry { receipt, read, stock, begun: now, live: Windows::NONE, gaps: Windows::NONE });
        EntryId(entries.len() - 1)
    }

    /// The entries that rest on stored rows, with what is asked of each.
    pub(crate) fn stocks(&self) -> Vec<(EntryId, Arc<Stock>, Window)> {
        let of = |(index, entry): (usize, &Entry)| Some((EntryId(index), entry.stock.clone()?, entry.receipt.asked));
        lock(&self.entries).iter().enumerate().filter_map(of).collect()
    }

    /// Writes down how many rows of a stream were amended since they were stored.
    pub(crate) fn amended(&self, id: EntryId, rows: u64) {
        self.change(id, |entry| entry.receipt.amendments = rows);
    }

    /// Writes down what else is to be known of a stream.
    pub(crate) fn note(&self, id: EntryId, note: String) {
        self.change(id, |entry| {
            if !entry.receipt.notes.contains(&note) {
                entry.receipt.notes.push(note);
            }
        });
    }

    /// Streams that the question excludes.
    pub(crate) fn not_asked(&self, source: &str, stream: &str) {
        lock(&self.not_asked).insert(format!("{source}/{stream}"));
    }

    /// A stream that is stored and that no configured source has.
    pub(crate) fn is_not_configured(&self, source: &str, stream: &str) {
        lock(&self.not_configured).insert(format!("{source}/{stream}"));
    }

    /// Streams that are stored and that no configured source has.
    pub(crate) fn not_configured(&self) -> Vec<String> {
        lock(&self.not_configured).iter().cloned().collect()
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
        self.change(id, |entry| {
            if let Some(gap) = observed.gap {
                entry.gaps.insert(gap);
            }
            let entry = &mut entry.receipt;
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
        self.change(id, |entry| entry.receipt.end = Some(reason));
    }

    /// Writes down that a stream could not be read, or not to its end.
    pub(crate) fn failed(&self, id: EntryId, error: &Error) {
        self.change(id, |entry| {
            entry.receipt.status = Status::of_error(error.kind());
            entry.receipt.error = Some(error.into());
        });
    }

    /// The entries as they are now.
    pub(crate) fn snapshot(&self) -> Vec<StreamReceipt> {
        lock(&self.entries).iter().map(|entry| entry.receipt.clone()).collect()
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
            entry.live.insert(part);
            entry.receipt.covered = entry.covered().iter().collect();
        });
    }

    /// The entries with their final status. Streams that were still being read were not needed any further, if the
    /// answer was taken to its end.
    pub(crate) fn close(&self, taken_whole: bool) -> Vec<StreamReceipt> {
        let mut receipts = Vec::new();
        for entry in lock(&self.entries).iter() {
            let receipt = &entry.receipt;
            // Of a stream that had not answered when the answer was complete nothing is known, not even that it can.
            let answered = receipt.pages > 0 || receipt.end.is_some() || receipt.error.is_some();
            if !taken_whole || answered || !entry.stored().is_empty() {
                receipts.push(entry.closed(taken_whole));
            } else {
                self.not_asked(&receipt.source, &receipt.stream);
            }
        }
        receipts.sort_by(|a, b| (&a.source, &a.table, &a.stream).cmp(&(&b.source, &b.table, &b.stream)));
        receipts
    }

    fn change(&self, id: EntryId, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = lock(&self.entries).get_mut(id.0) {
            change(entry);
        }
    }
}

impl Entry {
    fn stored(&self) -> Windows {
        self.stock.as_ref().map_or(Windows::NONE, |stock| stock.covered(self.read))
    }

    fn covered(&self) -> Windows {
        let mut covered = self.stored();
        covered.extend(&self.live);
        covered
    }

    /// The receipt with its final status.
    fn closed(&self, taken_whole: bool) -> StreamReceipt {
        let mut receipt = self.receipt.clone();
        let mut live = self.live.without(&self.gaps);
        if !self.gaps.is_empty() && receipt.status == Status::Complete {
            receipt.status = Status::Partial;
        }
        if receipt.end.is_none() && receipt.error.is_none() {
            receipt.end = taken_whole.then_some(EndReason::EnoughRows);
            if !taken_whole {
                receipt.status = Status::Partial;
            }
        }
        let kept = Window { from: receipt.retention_floor, to: None };
        live = live.inside(kept);
        let stored = self.stored();
        let from_store = stored.without(&live);
        let mut covered = stored.clone();
        covered.extend(&live);
        receipt.covered = covered.iter().collect();
        receipt.parts = live.iter().map(|window| self.live_part(window)).collect();
        let mut undecoded = Windows::NONE;
        if let Some(stock) = &self.stock {
            receipt.parts.extend(stock.parts(&from_store));
            receipt.parts.sort_by_key(|part| part.window.from);
            let may_change = stock.provisional_after(&from_store.inside(receipt.asked));
            receipt.provisional_after = [receipt.provisional_after, may_change].into_iter().flatten().min();
            undecoded = stock.undecoded(receipt.asked);
        }
        if receipt.status == Status::Complete {
            receipt.status = self.settled(&mut receipt, &stored, &undecoded);
        }
        if !receipt.status.is_whole() {
            // What nobody wanted to read is not missing.
            if receipt.end == Some(EndReason::EnoughRows) {
                covered.insert(kept);
            }
            let mut missing = Windows::of(receipt.asked).without(&covered);
            missing.extend(&undecoded);
            receipt.missing = missing.iter().collect();
        }
        receipt
    }

    fn live_part(&self, window: Window) -> PartReceipt {
        PartReceipt { window, side: Side::Live, as_of: self.begun, first_as_of: self.begun }
    }

    /// The final status of an entry that nothing has decided yet.
    fn settled(&self, receipt: &mut StreamReceipt, stored: &Windows, undecoded: &Windows) -> Status {
        let unstored = Windows::of(receipt.asked).without(stored);
        let first = unstored.iter().next().and_then(|window| window.from);
        let floored = matches!((first, receipt.retention_floor),
            (Some(from), Some(floor)) if from < floor.minus(RETENTION_SLACK));
        let (forgotten, alone) =
            self.stock.as_ref().map_or((Windows::NONE, false), |stock| (stock.forgotten(receipt.asked), stock.alone));
        if (floored && !alone) || !forgotten.is_empty() {
            return Status::Expired;
        }
        if alone && !unstored.is_empty() {
            let missing = Error::new(ErrorKind::NotFound, format!("not collected: {}", few(&unstored)))
                .hint("'fedaudit collect' reads what the products still have; without --stored they are asked now");
            receipt.error = Some((&missing).into());
            return Status::Partial;
        }
        if !undecoded.is_empty() {
            receipt
                .notes
                .push("stored windows hold records that could not be decoded: SELECT * FROM rejected".to_owned());
            return Status::Partial;
        }
        if receipt.rejected > 0 {
            return Status::Partial;
        }
        let nothing = receipt.rows == 0 && stored.inside(receipt.asked).is_empty();
        if nothing && receipt.end != Some(EndReason::EnoughRows) { Status::Empty } else { Status::Complete }
    }
}

/// The first of many windows.
fn few(windows: &Windows) -> String {
    let (first, more) = (windows.iter().take(3).collect::<Windows>(), windows.iter().skip(3).count());
    if more > 0 { format!("{first} and {more} more") } else { first.to_string() }
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
            live: Windows::of(window(0, 10)),
            stock: None,
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
}
