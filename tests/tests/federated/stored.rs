//! The four products and a store of them: what is sealed is not asked for again, and the receipts are what their schema says.

use std::sync::Arc;
use std::time::Duration;

use fedaudit_core::{EndReason, Side, Time, Window};
use fedaudit_engine::{Collected, Engine, Question};
use fedaudit_store::collect::{Progress, Wanted, collect, never};
use fedaudit_store::{Place, Store, Writer};

use crate::world::{Lab, TO, Taken, small};

const DAY: Duration = Duration::from_hours(24);

async fn ask(engine: &Engine, collected: &Arc<dyn Collected>, side: Option<Side>, window: Window, sql: &str) -> Taken {
    let question =
        Question { sql: sql.to_owned(), window, collected: Some(Arc::clone(collected)), side, ..Question::default() };
    let mut answer = engine.ask(question).await.unwrap();
    let mut batches = Vec::new();
    while let Some(rows) = answer.next().await {
        batches.push(rows.unwrap());
    }
    Taken { batches, receipt: answer.finish().await }
}

#[tokio::test(flavor = "multi_thread")]
async fn days_that_are_sealed_are_not_asked_for_again() {
    let lab = Lab::start(small(81)).await;
    let (engine, place) = (lab.engine(), Place::in_memory());
    let writer = Writer::open(&place, engine.clock()).await.unwrap();
    let wanted = Wanted { from: lab.window().from, ..Wanted::default() };
    assert!(collect(&engine, &writer, &wanted, &Progress::default(), never()).await.unwrap().is_whole());
    let store: Arc<dyn Collected> = Arc::new(Store::open(&place, engine.now()).await.unwrap());
    let end = Time::from_micros(TO);
    let sealed = Window { from: lab.window().from, to: Some(end.minus(2 * DAY)) };
    let whole = Window { from: lab.window().from, to: None };

    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/receipt.schema.json");
    let schema: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(folder).unwrap()).unwrap();
    let validator = jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap();

    let events =
        "SELECT source, stream, event_key, time, action, user_name, raw FROM events ORDER BY event_key, source";
    let live = ask(&engine, &store, Some(Side::Live), sealed, events).await.whole(events);
    lab.requests();
    let both = ask(&engine, &store, None, sealed, events).await.whole(events);
    assert!(both.rows() > 1000);
    assert_eq!(both.lines(), live.lines());
    assert!(lab.requests().is_empty(), "not even a login");
    assert!(both.receipt.streams.iter().all(|stream| stream.end == Some(EndReason::Stored)));

    // The whole history: only the last days are read, by each product.
    let live = ask(&engine, &store, Some(Side::Live), whole, events).await.whole(events);
    let asked_live = lab.requests();
    let both = ask(&engine, &store, None, whole, events).await.whole(events);
    let asked_both = lab.requests();
    assert_eq!(both.lines(), live.lines());
    for product in ["truenas", "vsphere", "canvas"] {
        let records = |asked: &[fedaudit_testkit::LogEntry]| -> u64 {
            asked.iter().filter(|request| request.product == product).map(|request| request.records).sum()
        };
        let (less, all) = (records(&asked_both), records(&asked_live));
        assert!(all > 20 && less < all / 4, "{product}: {less} of {all} records");
    }

    let sessions = "SELECT source, session_key, start_time, end_time, state FROM sessions ORDER BY 1, 2, 3, 4";
    for window in [sealed, whole] {
        let live = ask(&engine, &store, Some(Side::Live), window, sessions).await.whole(sessions);
        let both = ask(&engine, &store, None, window, sessions).await.whole(sessions);
        assert_eq!(both.lines(), live.lines());
        assert!(both.rows() > 50);
    }
    for side in [None, Some(Side::Stored)] {
        for sql in
            [events, sessions, "SELECT count(*) FROM amendments", "SELECT * FROM events ORDER BY time DESC LIMIT 2"]
        {
            let json = serde_json::to_value(ask(&engine, &store, side, whole, sql).await.receipt).unwrap();
            let errors: Vec<String> =
                validator.iter_errors(&json).map(|error| format!("{}: {error}", error.instance_path())).collect();
            assert!(errors.is_empty(), "{sql}: {errors:#?}\n{json:#}");
        }
    }
}
