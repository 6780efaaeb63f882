//! One answer of stored and live rows: what is sealed is not asked for again, nothing stands twice, and the receipt says
//! which part came from where.

use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use fedaudit_core::{Clock as _, EndReason, ErrorKind, Receipt, Result, Side, Status, Window};
use fedaudit_engine::{Collected, Engine, Question};
use fedaudit_store::collect::{Progress, Wanted, collect, never};
use fedaudit_store::{Place, Store, Writer};

use crate::made::{Set, record, window};
use crate::product::{Product, STREAM};

const DAY: i64 = 86_400;
/// Seconds between two records.
const STEP: i64 = 600;
/// In seconds, longer than that.
const LATENESS: i64 = 900;

/// A product, a store and a clock that both go by.
pub(crate) struct World {
    pub(crate) clock: Arc<Set>,
    pub(crate) place: Place,
    pub(crate) product: Arc<Product>,
}

/// The whole of an answer.
pub(crate) struct Answered {
    pub(crate) ids: Vec<i64>,
    pub(crate) receipt: Receipt,
}

impl World {
    /// At the end of day 101; nothing is kept by the product for longer than `kept` days.
    fn new(kept: u64) -> Self {
        let product = Product::new(100, LATENESS as u64, Some(kept * DAY as u64));
        Self { clock: Set::at(101 * DAY), place: Place::in_memory(), product }
    }

    pub(crate) async fn collect(&self, wanted: &Wanted) {
        let writer = Writer::open(&self.place, self.clock.clone()).await.unwrap();
        collect(&self.product.engine(&self.clock), &writer, wanted, &Progress::default(), never()).await.unwrap();
    }

    pub(crate) async fn store(&self) -> Arc<dyn Collected> {
        Arc::new(Store::open(&self.place, self.clock.now()).await.unwrap())
    }

    /// Record ids of the events that a question finds, and its receipt.
    async fn ask(&self, side: Option<Side>, asked: Window, condition: &str) -> Answered {
        self.ask_as(&self.product.engine(&self.clock), side, asked, condition).await.unwrap()
    }

    async fn ask_as(&self, engine: &Engine, side: Option<Side>, asked: Window, condition: &str) -> Result<Answered> {
        let question = Question {
            sql: format!("SELECT CAST(record_id AS BIGINT) FROM events {condition}"),
            window: asked,
            collected: Some(self.store().await),
            side,
            ..Question::default()
        };
        answer(engine, question).await
    }
}

pub(crate) async fn answer(engine: &Engine, question: Question) -> Result<Answered> {
    let mut answer = engine.ask(question).await?;
    let mut ids = Vec::new();
    while let Some(rows) = answer.next().await {
        ids.extend(rows.unwrap().column(0).as_primitive::<Int64Type>().values().iter().copied());
    }
    Ok(Answered { ids, receipt: answer.finish().await })
}

impl Answered {
    fn sorted(&self) -> Vec<i64> {
        let mut ids = self.ids.clone();
        ids.sort_unstable();
        ids
    }

    fn stream(&self) -> &fedaudit_core::StreamReceipt {
        let [stream] = self.receipt.streams.as_slice() else { panic!("{:#?}", self.receipt) };
        stream
    }

    fn parts(&self) -> Vec<(Side, Window)> {
        self.stream().parts.iter().map(|part| (part.side, part.window)).collect()
    }
}

/// 100 days of records, collected at the end of the last, and a day since.
async fn a_hundred_days_and_one(kept: u64) -> World {
    let world = World::new(kept);
    world.product.write((0..100 * DAY / STEP).map(|id| record(id as u64, DAY + id * STEP)));
    world.collect(&Wanted::default()).await;
    world.clock.to(102 * DAY);
    world.product.write((0..DAY / STEP).map(|id| record(1_000_000 + id as u64, 101 * DAY + id * STEP)));
    world.product.take_asked();
    world
}

#[tokio::test]
async fn a_day_is_read_from_the_product_and_a_hundred_from_the_store() {
    let world = a_hundred_days_and_one(400).await;
    let asked = window(DAY, 102 * DAY);
    for condition in ["", "WHERE user_name = 'user3'", "WHERE time >= '1970-01-05T00:00:00Z' AND source = 'nas'"] {
        let live = world.ask(Some(Side::Live), asked, condition).await;
        assert!(live.receipt.complete && live.parts() == [(Side::Live, live.stream().asked)], "{:#?}", live.receipt);
        world.product.take_asked();
        let both = world.ask(None, asked, condition).await;
        assert_eq!(both.sorted(), live.sorted(), "{condition}");
        assert!(both.ids.len() > 1000);
        let stream = both.stream();
        assert_eq!((stream.status, stream.end), (Status::Complete, Some(EndReason::ShortPage)));
        let seam = 101 * DAY - LATENESS;
        let from = stream.asked.from.unwrap().micros() / 1_000_000;
        assert_eq!(both.parts(), [(Side::Stored, window(from, seam)), (Side::Live, window(seam, 102 * DAY))]);
        assert_eq!(Some(stream.parts[0].as_of), fedaudit_core::Time::from_seconds(101 * DAY));
        // Two pages at most come twice: those of what is not sealed yet.
        let read = world.product.take_asked();
        assert!(!read.is_empty() && read.iter().all(|read| read.from >= window(seam, seam).from), "{read:?}");
        assert!(stream.records < 200, "{stream:#?}");
    }
}

#[tokio::test]
async fn a_product_is_not_asked_for_what_is_sealed() {
    let world = a_hundred_days_and_one(400).await;
    let both = world.ask(None, window(50 * DAY, 60 * DAY), "").await;
    assert_eq!(both.ids.len() as i64, 10 * DAY / STEP);
    assert_eq!((both.stream().status, both.stream().end), (Status::Complete, Some(EndReason::Stored)));
    assert_eq!(both.parts(), [(Side::Stored, window(50 * DAY, 60 * DAY))]);
    assert!(both.receipt.complete && world.product.take_asked().is_empty());
    let count = Question {
        sql: "SELECT count(*) FROM events".into(),
        window: window(50 * DAY + 250, 60 * DAY),
        collected: Some(world.store().await),
        ..Question::default()
    };
    let count = answer(&world.product.engine(&world.clock), count).await.unwrap();
    assert_eq!((count.ids.as_slice(), count.receipt.streams.len()), (&[10 * DAY / STEP - 1][..], 1));
    // The edges lie inside files: what is beside them is not in the answer.
    let narrow = world.ask(None, window(50 * DAY + 1, 50 * DAY + STEP + 1), "").await;
    assert_eq!(narrow.ids, [49 * DAY / STEP + 1]);
}

#[tokio::test]
async fn what_the_product_has_forgotten_is_complete_if_it_is_stored() {
    let world = a_hundred_days_and_one(100).await;
    world.product.change(|state| state.floor = Some(90 * DAY));
    let asked = window(2 * DAY, 102 * DAY);
    let live = world.ask(Some(Side::Live), asked, "").await;
    assert_eq!(live.stream().status, Status::Expired);
    let both = world.ask(None, asked, "").await;
    assert!(both.receipt.complete, "{:#?}", both.receipt);
    assert_eq!(both.ids.len() as i64, 100 * DAY / STEP);
    // Before it was first met nothing is stored.
    let before = world.ask(None, window(0, 102 * DAY), "").await;
    assert_eq!(before.stream().status, Status::Expired);
    assert_eq!(before.stream().missing, [window(0, DAY)]);
}

#[tokio::test]
async fn a_product_that_is_down_costs_what_is_not_stored() {
    let world = a_hundred_days_and_one(400).await;
    world.product.change(|state| state.dead = true);
    let both = world.ask(None, window(DAY, 102 * DAY), "").await;
    assert_eq!(both.ids.len() as i64, 100 * DAY / STEP, "provisional rows are there, too");
    let stream = both.stream();
    assert_eq!((stream.status, stream.missing.as_slice()), (Status::Failed, &[window(101 * DAY, 102 * DAY)][..]));
    assert_eq!(stream.provisional_after, window(101 * DAY - LATENESS, 0).from);
    assert!(!both.receipt.complete);
}

#[tokio::test]
async fn the_store_alone_says_what_it_lacks() {
    let world = a_hundred_days_and_one(400).await;
    world.product.change(|state| state.dead = true);
    let stored = world.ask(Some(Side::Stored), window(DAY, 102 * DAY), "").await;
    assert_eq!(stored.ids.len() as i64, 100 * DAY / STEP);
    let stream = stored.stream();
    assert_eq!((stream.status, stream.missing.as_slice()), (Status::Partial, &[window(101 * DAY, 102 * DAY)][..]));
    assert!(stream.error.as_ref().unwrap().hint.as_ref().unwrap().contains("fedaudit collect"), "{stream:#?}");
    let stored = world.ask(Some(Side::Stored), window(DAY, 101 * DAY), "").await;
    assert!(stored.receipt.complete);
    assert_eq!(stored.stream().provisional_after, window(101 * DAY - LATENESS, 0).from);
    assert!(world.product.take_asked().is_empty());
    // An open end is now, as far as a store knows.
    let open = world.ask(Some(Side::Stored), Window { to: None, ..window(DAY, 0) }, "").await;
    assert_eq!(open.stream().missing, [window(101 * DAY, 102 * DAY)]);
}

#[tokio::test]
async fn newest_rows_come_from_the_product_and_no_more_than_needed() {
    let world = a_hundred_days_and_one(400).await;
    let both = world.ask(None, window(DAY, 102 * DAY), "ORDER BY time DESC LIMIT 5").await;
    let last = 1_000_000 + DAY / STEP - 1;
    assert_eq!(both.ids, (0..5).map(|back| last - back).collect::<Vec<i64>>());
    assert_eq!((both.stream().end, both.stream().pages), (Some(EndReason::EnoughRows), 1));
    // Old gaps are read last, and not at all if they hold nothing that counts.
    let world = World::new(400);
    world.product.write((0..100 * DAY / STEP).map(|id| record(id as u64, DAY + id * STEP)));
    for (from, to) in [(10, 30), (60, 80)] {
        let asked = window(from * DAY, to * DAY);
        world.collect(&Wanted { from: asked.from, to: asked.to, ..Wanted::default() }).await;
    }
    world.product.take_asked();
    let both = world.ask(None, window(DAY, 70 * DAY), "ORDER BY time DESC LIMIT 5").await;
    assert_eq!(both.ids, (1..6).map(|back| 69 * DAY / STEP - back).collect::<Vec<i64>>());
    assert!(world.product.take_asked().len() <= 1, "everything newest is stored");
}

#[tokio::test]
async fn a_renamed_source_keeps_its_rows_and_one_that_is_gone_is_told() {
    let world = a_hundred_days_and_one(400).await;
    let asked = window(50 * DAY, 51 * DAY);
    let renamed = world.product.engine_named("filer", &world.clock);
    let both = world.ask_as(&renamed, None, asked, "WHERE source = 'filer'").await.unwrap();
    assert_eq!((both.ids.len() as i64, both.receipt.complete), (DAY / STEP, true));
    assert!(both.receipt.not_configured.is_empty(), "{:#?}", both.receipt);

    let none = Engine::new(Vec::new(), world.clock.clone(), fedaudit_engine::Options::default());
    let both = world.ask_as(&none, None, asked, "").await.unwrap();
    assert!(both.ids.is_empty());
    assert_eq!(both.receipt.not_configured, [format!("nas/{STREAM}")]);
    let stored = world.ask_as(&none, Some(Side::Stored), asked, "WHERE source = 'nas'").await.unwrap();
    assert_eq!((stored.ids.len() as i64, stored.receipt.complete), (DAY / STEP, true));
    let Err(error) = world.ask_as(&none, None, asked, "WHERE source = 'nas'").await else { panic!("no such source") };
    assert!(error.hint_text().unwrap().contains("--stored"), "{error:?}");
}

#[tokio::test]
async fn what_is_known_to_be_missing_is_missing_when_it_is_stored() {
    let world = World::new(400);
    world.product.write((0..1000).map(|id| record(id, 90 * DAY + id as i64 * STEP)));
    world.product.change(|state| state.broken = vec![90 * DAY + 6000]);
    let wanted =
        |from: i64, to: i64| Wanted { from: window(from, to).from, to: window(from, to).to, ..Wanted::default() };
    world.collect(&wanted(90 * DAY, 91 * DAY)).await;
    world.collect(&wanted(91 * DAY, 92 * DAY)).await;
    let both = world.ask(None, window(90 * DAY, 92 * DAY), "").await;
    assert_eq!(
        (both.stream().status, &both.stream().missing[..]),
        (Status::Partial, &[window(90 * DAY, 91 * DAY)][..])
    );
    assert!(world.ask(None, window(91 * DAY, 92 * DAY), "").await.receipt.complete);
    // Late and edited rows are counted where they fall into what is asked.
    world.product.write([record(5000, 91 * DAY + 7)]);
    world.collect(&Wanted { again: true, ..wanted(91 * DAY, 92 * DAY) }).await;
    assert_eq!(world.ask(None, window(91 * DAY, 92 * DAY), "").await.stream().amendments, 1);
    assert_eq!(world.ask(None, window(91 * DAY + 8, 92 * DAY), "").await.stream().amendments, 0);
    let counted = Question {
        sql: "SELECT count(*) FROM amendments WHERE kind = 'late'".into(),
        collected: Some(world.store().await),
        ..Question::default()
    };
    assert_eq!(answer(&world.product.engine(&world.clock), counted).await.unwrap().ids, [1]);
}

#[tokio::test]
async fn a_plan_shows_both_sides_and_asks_nobody() {
    let world = a_hundred_days_and_one(400).await;
    let question = Question {
        sql: "EXPLAIN SELECT record_id FROM events WHERE user_name = 'user3'".into(),
        window: window(DAY, 102 * DAY),
        collected: Some(world.store().await),
        ..Question::default()
    };
    let mut answer = world.product.engine(&world.clock).ask(question).await.unwrap();
    let mut plan = String::new();
    while let Some(rows) = answer.next().await {
        let rows = rows.unwrap();
        plan.extend(rows.column(1).as_string::<i32>().iter().flatten());
    }
    let receipt = answer.finish().await;
    assert!(receipt.streams.is_empty() && world.product.take_asked().is_empty());
    for part in
        ["DataSourceExec", "predicate=user_name", "stored=[[1970-01-02T00:00:00Z", "live=[[1970-04-11T23:45:00Z"]
    {
        assert!(plan.contains(part), "{part} in {plan}");
    }
}

/// The first file below a folder that ends so.
fn file_below(folder: &std::path::Path, ending: &str) -> Option<std::path::PathBuf> {
    std::fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() { file_below(&path, ending) } else { path.to_str()?.ends_with(ending).then_some(path) }
    })
}

#[tokio::test]
async fn a_damaged_store_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::parse(&folder.path().display().to_string()).unwrap();
    let world = World { place, ..World::new(400) };
    world.product.write((0..1000).map(|id| record(id, 90 * DAY + id as i64 * STEP)));
    world.collect(&Wanted::default()).await;
    let asked = window(90 * DAY, 95 * DAY);
    assert!(world.ask(None, asked, "").await.receipt.complete);
    let file = file_below(&folder.path().join("events"), ".parquet").unwrap();
    for content in [Some(b"no rows at all".as_slice()), None] {
        match content {
            Some(content) => std::fs::write(&file, content).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let question = Question {
            sql: "SELECT user_name FROM events".into(),
            window: asked,
            collected: Some(world.store().await),
            ..Question::default()
        };
        let mut answer = world.product.engine(&world.clock).ask(question).await.unwrap();
        let mut error = None;
        while let Some(rows) = answer.next().await {
            error = error.or(rows.err());
        }
        let error = error.unwrap();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{error:?}");
        assert!(error.hint_text().unwrap().contains("--live"));
        assert!(!answer.finish().await.complete);
    }
}

#[tokio::test]
async fn a_store_of_another_form_is_no_empty_store() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::parse(&folder.path().display().to_string()).unwrap();
    std::fs::write(folder.path().join("fedaudit-store.json"), r#"{"format":99,"made_by":"fedaudit 9"}"#).unwrap();
    let error = Store::open(&place, fedaudit_core::Time::EPOCH).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
