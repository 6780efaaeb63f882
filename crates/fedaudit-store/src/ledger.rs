//! The coverage ledger as it is used: for each stream of a source, which instants were read, and which of them are sealed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array as _, RecordBatch};
use fedaudit_core::{Error, ErrorKind, Result, Status, Time, Window, Windows};
use fedaudit_engine::Coverage;

use crate::entry::{Counts, Entry};
use crate::keys::text;
use crate::read;
use crate::setbacks::{Setbacks, until};
use crate::table::Files;

/// What is known of every stream.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    streams: BTreeMap<(String, String), Coverage>,
    aside: BTreeMap<(String, String), Aside>,
    setbacks: Setbacks,
    /// The latest that our clock showed since it was set back last, or ever.
    clock: Option<Time>,
    /// Name of a source and identity, as often as they met.
    names: BTreeSet<(String, String)>,
}

/// What the ledger has to know of a stream besides.
#[derive(Clone, Debug, Default)]
struct Aside {
    /// How the last attempt failed, and when; none if it did not.
    failing: Option<(Failure, Time)>,
    /// When it was read last: after how many setbacks of our clock, and what it showed.
    last: Option<(u64, Time)>,
    /// Rows come no later than this after the fact.
    lateness: Duration,
}

/// How an attempt failed: its status and the kind of its error.
type Failure = (String, Option<String>);

/// A failure that lasts is entered again after so long: not at every attempt, of which there may be one a minute.
const ENTERED_AGAIN: Duration = Duration::from_hours(1);

/// One window of an entry.
struct Piece<'p> {
    source: &'p str,
    source_key: &'p str,
    product: &'p str,
    stream: &'p str,
    table: &'p str,
    status: &'p str,
    error_kind: Option<&'p str>,
    asked: Window,
    covered: Option<Window>,
    setbacks: u64,
    sealed_to: Option<Time>,
    rejected: bool,
    retention_floor: Option<Time>,
    lateness: Duration,
    as_of: Time,
    fetched_at: Time,
}

impl Ledger {
    /// Reads what was written down. `now` bounds what can be sealed: entries of a clock that was ahead count for as much as
    /// they could have seen.
    pub(crate) async fn load(files: &Files, setbacks: Setbacks, now: Time) -> Result<Self> {
        let mut ledger = Self { clock: setbacks.last(), setbacks, ..Self::default() };
        let columns = [
            "source",
            "source_key",
            "product",
            "stream",
            "table_name",
            "status",
            "error_kind",
            "asked_from",
            "asked_to",
            "clock_setbacks",
            "covered_from",
            "covered_to",
            "sealed_to",
            "rows_rejected",
            "retention_floor",
            "lateness_s",
            "as_of",
        ];
        read::rows(files, &columns, &Windows::of(Window::ALL), |rows| ledger.add_rows(&rows, now)).await?;
        Ok(ledger)
    }

    fn add_rows(&mut self, rows: &RecordBatch, now: Time) -> Result<()> {
        let [sources, keys, products, streams] =
            ["source", "source_key", "product", "stream"].map(|name| text(rows, name));
        let (sources, keys, products, streams) = (sources?, keys?, products?, streams?);
        let [tables, statuses] = ["table_name", "status"].map(|name| text(rows, name));
        let (tables, statuses) = (tables?, statuses?);
        let broken = |name: &str| Error::new(ErrorKind::Malformed, format!("rows without {name}"));
        let time = |name: &'static str| {
            let column = rows.column_by_name(name).and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
            let column = column.ok_or_else(|| broken(name))?;
            Ok(move |row: usize| column.is_valid(row).then(|| Time::from_micros(column.value(row))))
        };
        let number = |name: &'static str| {
            let column = rows.column_by_name(name).and_then(|c| c.as_primitive_opt::<Int64Type>());
            Ok(column.ok_or_else(|| broken(name))?.values())
        };
        let (from, to, sealed_to) = (time("covered_from")?, time("covered_to")?, time("sealed_to")?);
        let (floor, as_of, fetched_at) = (time("retention_floor")?, time("as_of")?, time("fetched_at")?);
        let (asked_from, asked_to) = (time("asked_from")?, time("asked_to")?);
        let (rejected, lateness, setbacks) =
            (number("rows_rejected")?, number("lateness_s")?, number("clock_setbacks")?);
        let errors = rows.column_by_name("error_kind").and_then(|column| column.as_string_opt::<i32>());
        let errors = errors.ok_or_else(|| broken("error_kind"))?;
        for row in 0..rows.num_rows() {
            let covered = from(row).zip(to(row)).map(|(from, to)| Window::new(from, to));
            let piece = Piece {
                source: sources.value(row),
                source_key: keys.value(row),
                product: products.value(row),
                stream: streams.value(row),
                table: tables.value(row),
                status: statuses.value(row),
                error_kind: errors.is_valid(row).then(|| errors.value(row)),
                asked: Window { from: asked_from(row), to: asked_to(row) },
                covered,
                setbacks: setbacks[row].unsigned_abs(),
                sealed_to: sealed_to(row),
                rejected: rejected[row] > 0,
                retention_floor: floor(row),
                lateness: Duration::from_secs(lateness[row].unsigned_abs()),
                as_of: as_of(row).unwrap_or(Time::EPOCH),
                fetched_at: fetched_at(row).unwrap_or(Time::EPOCH),
            };
            self.add_piece(&piece, now);
        }
        Ok(())
    }

    /// Takes note of an entry that was written down.
    pub(crate) fn add(&mut self, entry: &Entry, now: Time) {
        let nothing = [None];
        let covered: Vec<Option<Window>> = entry.covered.iter().copied().map(Some).collect();
        for (part, covered) in if covered.is_empty() { &nothing[..] } else { &covered }.iter().enumerate() {
            let piece = Piece {
                source: &entry.source,
                source_key: &entry.source_key,
                product: &entry.product,
                stream: &entry.stream,
                table: &entry.table,
                status: entry.status.as_str(),
                error_kind: entry.error.as_ref().map(|error| error.error_kind.as_str()),
                asked: entry.asked,
                covered: *covered,
                setbacks: entry.clock_setbacks,
                sealed_to: entry.sealed_to,
                rejected: part == 0 && entry.counts.rejected > 0,
                retention_floor: entry.retention_floor,
                lateness: Duration::from_secs(entry.lateness_s),
                as_of: entry.as_of,
                fetched_at: entry.fetched_at,
            };
            self.add_piece(&piece, now);
        }
    }

    fn add_piece(&mut self, piece: &Piece<'_>, now: Time) {
        let key = (piece.source_key.to_owned(), piece.stream.to_owned());
        let aside = self.aside.entry(key.clone()).or_default();
        let stream = self.streams.entry(key).or_default();
        // What was read after the clock was set back is later, whatever the clock said before.
        let order = (piece.setbacks, piece.as_of);
        if aside.last.is_none_or(|last| last <= order) {
            aside.last = Some(order);
            piece.source.clone_into(&mut stream.source);
            piece.product.clone_into(&mut stream.product);
            piece.table.clone_into(&mut stream.table);
            stream.read_at = Some(piece.as_of);
            stream.retention_floor = piece.retention_floor.or(stream.retention_floor);
            aside.failing = failure(piece.status, piece.error_kind, piece.covered).map(|how| (how, piece.as_of));
        }
        aside.lateness = aside.lateness.max(piece.lateness);
        if piece.setbacks == self.setbacks.count() {
            self.clock = self.clock.max(Some(piece.fetched_at));
        }
        self.names.insert((piece.source.to_owned(), piece.source_key.to_owned()));
        if piece.status == Status::Expired.as_str() {
            stream.forgotten.insert(piece.asked);
        }
        let Some(covered) = piece.covered else { return };
        // Nothing is covered or sealed by a clock that ran ahead, of today's or of the one that it was set back to.
        let seen = |late: Duration| {
            let seen = self.setbacks.seen(piece.setbacks, late);
            Windows::of(covered.intersect(&until(Some(now.minus(late))))).intersect(&seen)
        };
        stream.covered.extend(&seen(Duration::ZERO));
        stream.reads.insert((covered.from, covered.to, piece.as_of));
        if piece.rejected {
            stream.rejected.insert(covered);
        }
        if let Some(sealed_to) = piece.sealed_to {
            stream.sealed.extend(&seen(piece.lateness).intersect(&Windows::of(until(Some(sealed_to)))));
        }
    }

    /// How often our clock had been found set back by now.
    pub(crate) fn setbacks(&self) -> u64 {
        self.setbacks.count()
    }

    /// The mark to commit if our clock shows less than it showed before.
    pub(crate) fn setback(&self, now: Time) -> Option<(String, i64)> {
        let before = self.clock.filter(|before| *before > now)?;
        tracing::warn!(
            "the clock was set back: it shows {now}, and showed {before} when something was collected before"
        );
        Some(self.setbacks.next_mark(now))
    }

    /// Takes note of our clock, once the mark of a setback is committed: nothing that was read until then counts for more
    /// than could be seen by now.
    pub(crate) fn look_at_clock(&mut self, now: Time) {
        if self.clock.replace(now).is_none_or(|before| before <= now) {
            return;
        }
        for (stream, aside) in self.streams.values_mut().zip(self.aside.values()) {
            stream.covered = stream.covered.intersect(&Windows::of(until(Some(now))));
            stream.sealed = stream.sealed.intersect(&Windows::of(until(Some(now.minus(aside.lateness)))));
        }
        self.setbacks.add(now);
    }

    /// Whether an entry says no more than the one before it: that a stream still fails as it did a little while ago.
    pub(crate) fn says_already(&self, entry: &Entry) -> bool {
        let kind = entry.error.as_ref().map(|error| error.error_kind.as_str());
        let (Some(how), true) =
            (failure(entry.status.as_str(), kind, entry.covered.first().copied()), entry.counts == Counts::default())
        else {
            return false;
        };
        let aside = self.aside.get(&(entry.source_key.clone(), entry.stream.clone()));
        aside
            .and_then(|aside| aside.failing.as_ref())
            .is_some_and(|(before, since)| *before == how && (*since..since.plus(ENTERED_AGAIN)).contains(&entry.as_of))
    }

    /// What is known of a stream; nothing of one that was never read.
    pub fn of(&self, source_key: &str, stream: &str) -> Coverage {
        self.streams.get(&(source_key.to_owned(), stream.to_owned())).cloned().unwrap_or_default()
    }

    /// Name of a source and identity, as often as they met.
    pub(crate) fn names(&self) -> Vec<(String, String)> {
        self.names.iter().cloned().collect()
    }

    /// Every stream that was ever read: identity of the source, stream, what is known.
    pub fn streams(&self) -> impl Iterator<Item = (&str, &str, &Coverage)> {
        self.streams.iter().map(|((source_key, stream), coverage)| (source_key.as_str(), stream.as_str(), coverage))
    }
}

/// How an attempt failed that covered nothing.
fn failure(status: &str, error_kind: Option<&str>, covered: Option<Window>) -> Option<Failure> {
    let failed = [Status::Failed, Status::Denied].map(Status::as_str).contains(&status) && covered.is_none();
    failed.then(|| (status.to_owned(), error_kind.map(str::to_owned)))
}
