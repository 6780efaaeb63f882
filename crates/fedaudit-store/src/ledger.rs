//! The coverage ledger as it is used: for each stream of a source, which instants were read, and which of them are sealed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array as _, RecordBatch};
use fedaudit_core::{Error, ErrorKind, Result, Status, Time, Window, Windows};
use fedaudit_engine::Coverage;

use crate::entry::Entry;
use crate::keys::text;
use crate::read;
use crate::table::Files;

/// What is known of every stream.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    streams: BTreeMap<(String, String), Coverage>,
    /// Name of a source and identity, as often as they met.
    names: BTreeSet<(String, String)>,
}

/// One window of an entry.
struct Piece<'p> {
    source: &'p str,
    source_key: &'p str,
    product: &'p str,
    stream: &'p str,
    table: &'p str,
    /// What was asked, where the product had forgotten it.
    forgotten: Option<Window>,
    covered: Option<Window>,
    sealed_to: Option<Time>,
    rejected: bool,
    retention_floor: Option<Time>,
    lateness: Duration,
    as_of: Time,
}

impl Ledger {
    /// Reads what was written down. `now` bounds what can be sealed: entries of a clock that was ahead count for as much as
    /// they could have seen.
    pub(crate) async fn load(files: &Files, now: Time) -> Result<Self> {
        let mut ledger = Self::default();
        let columns = [
            "source",
            "source_key",
            "product",
            "stream",
            "table_name",
            "status",
            "asked_from",
            "asked_to",
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
        let [sources, keys, streams] = ["source", "source_key", "stream"].map(|name| text(rows, name));
        let (sources, keys, streams) = (sources?, keys?, streams?);
        let [products, tables, statuses] = ["product", "table_name", "status"].map(|name| text(rows, name));
        let (products, tables, statuses) = (products?, tables?, statuses?);
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
        let (asked_from, asked_to) = (time("asked_from")?, time("asked_to")?);
        let (from, to, sealed_to) = (time("covered_from")?, time("covered_to")?, time("sealed_to")?);
        let (floor, as_of) = (time("retention_floor")?, time("as_of")?);
        let (rejected, lateness) = (number("rows_rejected")?, number("lateness_s")?);
        for row in 0..rows.num_rows() {
            let covered = from(row).zip(to(row)).map(|(from, to)| Window::new(from, to));
            let piece = Piece {
                source: sources.value(row),
                source_key: keys.value(row),
                product: products.value(row),
                stream: streams.value(row),
                table: tables.value(row),
                forgotten: (statuses.value(row) == Status::Expired.as_str())
                    .then(|| Window { from: asked_from(row), to: asked_to(row) }),
                covered,
                sealed_to: sealed_to(row),
                rejected: rejected[row] > 0,
                retention_floor: floor(row),
                lateness: Duration::from_secs(lateness[row].unsigned_abs()),
                as_of: as_of(row).unwrap_or(Time::EPOCH),
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
                forgotten: (entry.status == Status::Expired).then_some(entry.asked),
                covered: *covered,
                sealed_to: entry.sealed_to,
                rejected: part == 0 && entry.counts.rejected > 0,
                retention_floor: entry.retention_floor,
                lateness: Duration::from_secs(entry.lateness_s),
                as_of: entry.as_of,
            };
            self.add_piece(&piece, now);
        }
    }

    fn add_piece(&mut self, piece: &Piece<'_>, now: Time) {
        let key = (piece.source_key.to_owned(), piece.stream.to_owned());
        let stream = self.streams.entry(key).or_default();
        if stream.read_at.is_none_or(|read_at| read_at <= piece.as_of) {
            piece.source.clone_into(&mut stream.source);
            piece.product.clone_into(&mut stream.product);
            piece.table.clone_into(&mut stream.table);
            stream.read_at = Some(piece.as_of);
            stream.retention_floor = piece.retention_floor.or(stream.retention_floor);
        }
        self.names.insert((piece.source.to_owned(), piece.source_key.to_owned()));
        if let Some(forgotten) = piece.forgotten {
            stream.forgotten.insert(forgotten);
        }
        let Some(covered) = piece.covered else { return };
        stream.covered.insert(covered);
        stream.reads.insert((covered.from, covered.to, piece.as_of));
        if piece.rejected {
            stream.rejected.insert(covered);
        }
        // Nothing is sealed by a clock that ran ahead of today's.
        let sealed_to = piece.sealed_to.map(|sealed| sealed.min(now.minus(piece.lateness)));
        if let Some(sealed_to) = sealed_to {
            stream.sealed.insert(covered.intersect(&Window { from: None, to: Some(sealed_to) }));
        }
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
