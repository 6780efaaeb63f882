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
            asked: assignment.asked,
            covered: (!unread).then_some(assignment.read),
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
        self.change(id, |entry| {
            entry.pages += 1;
            entry.rows += rows as u64;
            entry.duplicates += duplicates as u64;
            entry.records += observed.records;
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
            entry.covered = None;
            entry.error = Some(receipt_error(error));
        });
    }

    /// The entries as they are now.
    pub(crate) fn snapshot(&self) -> Vec<StreamReceipt> {
        lock(&self.entries).clone()
    }

    /// Streams that the question excludes, without those that another part of it did ask.
    pub(crate) fn excluded(&self) -> Vec<String> {
        let asked: BTreeSet<String> =
            lock(&self.entries).iter().map(|entry| format!("{}/{}", entry.source, entry.stream)).collect();
        lock(&self.not_asked).difference(&asked).cloned().collect()
    }

    /// Writes down that reading newest first stopped here.
    pub(crate) fn stopped(&self, id: EntryId, frontier: Option<Time>) {
        self.change(id, |entry| {
            entry.end = Some(EndReason::EnoughRows);
            entry.covered =
                entry.covered.zip(frontier).map(|(covered, frontier)| Window { from: Some(frontier), ..covered });
        });
    }

    /// The entries with their final status. Streams that were still being read were not needed any further, if the
    /// answer was taken to its end; what they covered is not known.
    pub(crate) fn close(&self, taken_whole: bool) -> Vec<StreamReceipt> {
        let mut entries = self.snapshot();
        for entry in &mut entries {
            if entry.end.is_none() && entry.error.is_none() {
                entry.end = taken_whole.then_some(EndReason::EnoughRows);
                entry.covered = None;
                if !taken_whole {
                    entry.status = Status::Partial;
                }
            }
            if let (Some(covered), Some(floor)) = (&mut entry.covered, entry.retention_floor) {
                covered.from = covered.from.max(Some(floor));
            }
            if !matches!(entry.status, Status::Complete) {
                continue;
            }
            let expired = matches!((entry.asked.from, entry.retention_floor),
                (Some(from), Some(floor)) if from < floor.minus(RETENTION_SLACK));
            entry.status = if expired {
                Status::Expired
            } else if entry.rejected > 0 {
                Status::Partial
            } else if entry.rows == 0 && entry.end != Some(EndReason::EnoughRows) {
                Status::Empty
            } else {
                Status::Complete
            };
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

/// An error as it stands in a receipt.
pub(crate) fn receipt_error(error: &Error) -> fedaudit_core::ReceiptError {
    error.into()
}

/// A reader that panicked leaves counts that are still true.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
