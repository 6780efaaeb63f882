//! Probes of a set that moves while it is read: rows that come late, rows that are written, rows that are deleted. Nothing is
//! missed and nothing stands twice, or the ledger names the window of the rows as lost at the source.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use fedaudit_core::{Clock as _, Time};
use fedaudit_store::collect::{Report, Wanted};
use fedaudit_store::{Place, Store};

use crate::collecting::{run, since};
use crate::made::{Record, SECOND, SOURCE_KEY, Set, record};
use crate::product::{Paging, Product, STREAM};
use crate::sql::Opened;

const LATENESS: i64 = 60;
const BEGIN: i64 = 9_000;
const NOW: i64 = 20_000;

/// Numbers that look random and are the same every time.
struct Seed(u64);

impl Seed {
    fn below(&mut self, bound: u64) -> i64 {
        self.0 = self.0.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        ((self.0 >> 33) % bound) as i64
    }
}

/// A product, the store that is filled from it, and all that it ever recorded.
struct Probe {
    product: Arc<Product>,
    clock: Arc<Set>,
    place: Place,
    truth: Vec<Record>,
}

/// What became of what was recorded.
#[derive(Debug, Default)]
struct Outcome {
    recorded: usize,
    missed: usize,
    named: usize,
    repeated: usize,
}

impl Outcome {
    fn add(&mut self, other: &Self) {
        self.recorded += other.recorded;
        self.missed += other.missed;
        self.named += other.named;
        self.repeated += other.repeated;
    }
}

impl Probe {
    fn new(paging: Paging, page: usize) -> Self {
        let product = Product::paged(paging, page, LATENESS as u64, None);
        Self { product, clock: Set::at(NOW), place: Place::in_memory(), truth: Vec::new() }
    }

    fn write(&mut self, records: Vec<Record>) {
        self.truth.extend(records.iter().cloned());
        self.product.write(records);
    }

    async fn collect(&self, wanted: &Wanted) -> Report {
        run(&self.product, &self.clock, &self.place, wanted).await
    }

    /// Compares the store with all that was recorded. A row that is missing has to lie in a window that the ledger calls
    /// forgotten by the product, and in none that it calls covered.
    async fn outcome(&self) -> Outcome {
        let now = self.clock.now();
        let store = Store::open(&self.place, now).await.unwrap();
        let coverage = store.ledger().of(SOURCE_KEY, STREAM);
        let opened = Opened::of(&store);
        let rows = opened.ask("SELECT record_id FROM events").await;
        let stored: Vec<u64> = rows
            .iter()
            .flat_map(|rows| rows.column(0).as_string::<i32>().iter().flatten().map(|id| id.parse().unwrap()))
            .collect();
        let once: BTreeSet<u64> = stored.iter().copied().collect();
        let missed: Vec<&Record> = self.truth.iter().filter(|record| !once.contains(&record.id)).collect();
        let named = missed.iter().filter(|record| {
            let time = Time::from_micros(record.second * SECOND);
            coverage.forgotten.contains(time) && !coverage.covered.contains(time)
        });
        Outcome {
            recorded: self.truth.len(),
            missed: missed.len(),
            named: named.count(),
            repeated: stored.len() - once.len(),
        }
    }
}

#[tokio::test]
async fn late_rows_behind_the_watermark() {
    let (mut all, mut told) = (Outcome::default(), 0);
    for seed in 0..10 {
        let mut seed = Seed(seed);
        let mut probe = Probe::new(Paging::NewestFirst, 1 + seed.below(9) as usize);
        probe.write((0..100).map(|id| record(id, BEGIN + seed.below((NOW - BEGIN) as u64))).collect());
        probe.collect(&since(BEGIN)).await;
        let mut now = NOW;
        // Each row that comes is as late as its stream says it may be, or up to as long again.
        for (round, latest) in [(1, LATENESS), (2, LATENESS), (3, 2 * LATENESS)] {
            let step = 1 + seed.below(LATENESS as u64);
            now += step;
            probe.clock.to(now);
            let late = (0..20).map(|id| {
                let behind = if latest == LATENESS { seed.below(LATENESS as u64) } else { LATENESS + seed.below(30) };
                record(round * 1000 + id, now - behind)
            });
            probe.write(late.collect());
            probe.collect(&since(BEGIN)).await;
        }
        now += 1000;
        probe.clock.to(now);
        probe.collect(&since(BEGIN)).await;
        all.add(&probe.outcome().await);
        // Later than anybody said: found when it is looked for, and told.
        probe.write(vec![record(9000, BEGIN + 500)]);
        probe.collect(&Wanted { again: true, ..since(BEGIN) }).await;
        let outcome = probe.outcome().await;
        assert_eq!((outcome.missed, outcome.repeated), (0, 0), "{outcome:?}");
        let amendments = "SELECT count(*) FROM amendments WHERE kind = 'late'";
        told += Opened::at(&probe.place, probe.clock.now()).await.number(amendments).await;
    }
    println!("late rows: {all:?}, {told} told as amendments");
    assert_eq!((all.missed, all.repeated), (0, 0));
    assert!(told >= 10);
}

#[tokio::test]
async fn rows_that_are_written_during_newest_first_paging() {
    for paging in [Paging::NewestFirst, Paging::NewestByOffset] {
        let mut all = Outcome::default();
        for seed in 0..10 {
            let mut seed = Seed(seed);
            let mut probe = Probe::new(paging, 1 + seed.below(9) as usize);
            probe.write((0..100).map(|id| record(id, BEGIN + seed.below((NOW - BEGIN) as u64))).collect());
            // At each of the first pages something is written that is as new as can be, or a little late.
            for page in 0..12 {
                let written: Vec<Record> =
                    (0..seed.below(5) as u64).map(|id| record(1000 + page * 10 + id, NOW - seed.below(50))).collect();
                probe.truth.extend(written.iter().cloned());
                probe.product.change(|state| state.meanwhile.push(written));
            }
            probe.collect(&since(BEGIN)).await;
            probe.product.change(|state| state.records.extend(state.meanwhile.drain(..).flatten()));
            probe.clock.to(NOW + 30);
            probe.collect(&since(BEGIN)).await;
            all.add(&probe.outcome().await);
        }
        println!("written meanwhile, {paging:?}: {all:?}");
        assert_eq!((all.missed, all.repeated), (0, 0), "{paging:?}");
        assert!(all.recorded > 1100);
    }
}

/// Purges at a seeded page up to a seeded second, then collects again when all is quiet.
async fn purged(paging: Paging, seed: u64) -> Outcome {
    let mut seed = Seed(seed);
    let mut probe = Probe::new(paging, 3 + seed.below(9) as usize);
    probe.write((0..200).map(|id| record(id, BEGIN + 10 + id as i64 * 50)).collect());
    let pages = 200 / probe.product.page as u64;
    probe.product.change(|state| {
        state.floor = Some(BEGIN);
        state.purges = Some((2 + seed.below(pages - 1) as usize, BEGIN + seed.below(10_000)));
    });
    let first = probe.collect(&since(BEGIN)).await;
    probe.clock.to(NOW + 100);
    let second = probe.collect(&since(BEGIN)).await;
    let outcome = probe.outcome().await;
    if paging != Paging::OldestByOffsetBlindly {
        assert!(outcome.missed == 0 || !first.is_whole() || !second.is_whole(), "who ran it heard of it: {outcome:?}");
    }
    outcome
}

#[tokio::test]
async fn rows_that_are_deleted_during_oldest_first_paging() {
    for paging in [Paging::OldestByOffset, Paging::NewestFirst, Paging::NewestByOffset, Paging::OldestByOffsetBlindly] {
        let mut all = Outcome::default();
        for seed in 0..20 {
            all.add(&purged(paging, seed).await);
        }
        println!("deleted meanwhile, {paging:?}: {all:?}");
        assert_eq!(all.repeated, 0, "{paging:?}");
        if paging == Paging::OldestByOffsetBlindly {
            // The probe can tell: a source that does not look loses rows that nobody names.
            assert!(all.missed > all.named, "{all:?}");
        } else {
            assert_eq!(all.missed, all.named, "{paging:?}");
            assert!(all.named > 0, "something was deleted unread");
        }
    }
}
