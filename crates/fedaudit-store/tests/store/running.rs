//! Questions at random moments of a running collection: each answer holds what the product had made visible when it was
//! asked, every row once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use fedaudit_core::{Clock as _, ErrorKind, Time, Window};
use fedaudit_engine::{Collected, Question};
use fedaudit_store::collect::{Progress, Wanted, collect, never};
use fedaudit_store::{Place, Store, Writer};

use crate::made::{Record, SECOND, Set, record};
use crate::product::Product;
use crate::seam::answer;

/// How long after the fact a record may be written.
const LATENESS: i64 = 30;
const BEGIN: i64 = 10_000;
const WORLDS: u64 = 10;
const MOMENTS: usize = 10;

/// Numbers that are random enough, and the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % most.unsigned_abs()) as i64
    }

    /// Records of the last seconds, none of them later than it may be.
    fn records(&mut self, now: i64, next: &mut u64) -> Vec<Record> {
        let count = self.below(25);
        let made = (0..count).map(|_| {
            *next += 1;
            record(*next, now - self.below(LATENESS))
        });
        made.collect()
    }
}

/// Numbers of the records that are visible in a window now.
fn visible(product: &Product, asked: Window) -> BTreeSet<i64> {
    let mut ids = BTreeSet::new();
    product.change(|state| {
        let inside = state.records.iter().filter(|record| asked.contains(Time::from_micros(record.second * SECOND)));
        ids = inside.map(|record| record.id as i64).collect();
    });
    ids
}

/// Answers whether a collection was running at each of the moments.
async fn a_world(seed: u64) -> Vec<bool> {
    let mut dice = Dice(seed);
    let (clock, place) = (Set::at(BEGIN), Place::in_memory());
    let product = Product::new(1 + dice.below(12) as usize, LATENESS as u64, None);
    let running = Arc::new(AtomicBool::new(false));
    let (wake, mut woken) = tokio::sync::mpsc::channel::<()>(1);
    // On a thread of its own, as if in another process.
    let collector = std::thread::spawn({
        let (clock, place, product, running) =
            (Arc::clone(&clock), place.clone(), Arc::clone(&product), Arc::clone(&running));
        move || {
            let work = async move {
                let from = Some(Time::from_micros((BEGIN - 100) * SECOND));
                let writer = Writer::open(&place, clock.clone()).await.unwrap().with_buffer(4 << 10);
                while woken.recv().await.is_some() {
                    running.store(true, SeqCst);
                    let wanted = Wanted { from, ..Wanted::default() };
                    let engine = product.engine(&clock);
                    collect(&engine, &writer, &wanted, &Progress::default(), never()).await.unwrap();
                    running.store(false, SeqCst);
                    writer.tidy().await.unwrap();
                }
            };
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
        }
    });
    let (mut now, mut next, mut moments) = (BEGIN, 0, Vec::new());
    for moment in 0..MOMENTS {
        now += 1 + dice.below(90);
        // Whatever still waits to be written is not written too late: it is not written.
        product.change(|state| state.forget_late(now - LATENESS));
        clock.to(now);
        product.write(dice.records(now, &mut next));
        let meanwhile = dice.records(now, &mut next);
        product.change(|state| state.meanwhile.push(meanwhile));
        let _ = wake.try_send(());
        tokio::time::sleep(Duration::from_micros(dice.below(30_000).unsigned_abs())).await;

        let begin = BEGIN - 100 + dice.below(now - BEGIN + 100);
        let to = (dice.below(3) > 0).then(|| Time::from_micros((begin + 1 + dice.below(400)) * SECOND));
        let asked = Window { from: Some(Time::from_micros(begin * SECOND)), to };
        let collected: Option<Arc<dyn Collected>> = match Store::open(&place, clock.now()).await {
            Ok(store) => Some(Arc::new(store)),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => panic!("{error:?}"),
        };
        moments.push(running.load(SeqCst));
        let before = visible(&product, asked);
        let question = Question {
            sql: "SELECT CAST(record_id AS BIGINT) FROM events".into(),
            window: asked,
            collected,
            ..Question::default()
        };
        let answered = answer(&product.engine(&clock), question).await.unwrap();
        let after = visible(&product, asked);
        let told: BTreeSet<i64> = answered.ids.iter().copied().collect();
        let what = format!("seed {seed}, moment {moment}, {asked}: {:#?}", answered.receipt);
        assert_eq!(told.len(), answered.ids.len(), "a row twice: {what}");
        assert!(before.is_subset(&told), "missing {:?}: {what}", before.difference(&told));
        assert!(told.is_subset(&after), "never there: {:?}: {what}", told.difference(&after));
        assert_eq!(answered.receipt.as_of, Some(clock.now()));
        assert!(answered.receipt.complete, "{what}");
    }
    drop(wake);
    collector.join().unwrap();
    moments
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_moments_of_a_running_collection() {
    let mut moments = Vec::new();
    for seed in 0..WORLDS {
        moments.extend(a_world(seed).await);
    }
    assert_eq!(moments.len(), 100);
    // Which moments those are depends on the machine; that there are some does not.
    assert!(moments.iter().filter(|running| **running).count() >= 10, "{moments:?}");
}
