//! SQL over the tables of a store.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use datafusion::prelude::{SessionConfig, SessionContext};
use fedaudit_core::{Clock as _, Time};
use fedaudit_store::{Place, Store, Writer};

use crate::made::{Record, Set, record};
use crate::writing::store;

/// A store as it was when it was opened.
pub(crate) struct Opened(SessionContext);

impl Opened {
    pub(crate) async fn at(place: &Place, now: Time) -> Self {
        Self::of(&Store::open(place, now).await.unwrap())
    }

    pub(crate) fn of(store: &Store) -> Self {
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
        for (name, table) in store.tables().unwrap() {
            context.register_table(name, table).unwrap();
        }
        Self(context)
    }

    /// So many rows are stored, each once, and the ledger counts exactly these.
    pub(crate) async fn holds(&self, rows: usize, when: &str) {
        for (sql, expected) in [
            ("SELECT count(*) FROM events", rows as i64),
            ("SELECT count(DISTINCT record_id) FROM events", rows as i64),
            ("SELECT coalesce(sum(rows_new), 0) FROM coverage", rows as i64),
            ("SELECT count(*) FROM events WHERE fetch_id NOT IN (SELECT fetch_id FROM coverage)", 0),
        ] {
            assert_eq!(self.number(sql).await, expected, "{when}: {sql}");
        }
    }

    /// The rows of an answer.
    pub(crate) async fn ask(&self, sql: &str) -> Vec<RecordBatch> {
        self.0.sql(sql).await.unwrap().collect().await.unwrap()
    }

    /// The one number that is the answer.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let rows = self.ask(sql).await;
        let rows: Vec<&RecordBatch> = rows.iter().filter(|rows| rows.num_rows() > 0).collect();
        assert!(rows.len() == 1 && rows[0].num_rows() == 1, "{sql}: {rows:?}");
        rows[0].column(0).as_primitive::<Int64Type>().value(0)
    }
}

#[tokio::test]
async fn what_was_stored_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::parse(&folder.path().display().to_string()).unwrap();
    let clock = Set::at(400_000);
    let writer = Writer::open(&place, clock.clone()).await.unwrap();
    // Over more than four days, so that there are several files, one of them with bloom filters.
    let records: Vec<Record> = (0..5000).map(|id| record(id, 1 + id as i64 * 79)).collect();
    store(&writer, &clock, (0, 400_000), &records, 700).await;
    let opened = Opened::at(&place, clock.now()).await;
    for (sql, expected) in [
        ("SELECT count(*) FROM events", 5000),
        ("SELECT count(*) FROM events WHERE user_name = 'user3'", 714),
        ("SELECT count(*) FROM events WHERE source = 'nas' AND day = '1970-01-02'", 1094),
        ("SELECT count(*) FROM events WHERE source = 'other'", 0),
        ("SELECT count(*) FROM events WHERE time >= '1970-01-02T00:00:00Z' AND time < '1970-01-03T00:00:00Z'", 1094),
        ("SELECT count(DISTINCT day) FROM events", 5),
        ("SELECT count(*) FROM events WHERE record_id = '4711'", 1),
        ("SELECT count(*) FROM events WHERE event_key = 'ffffffffffffffffffffffffffffffff'", 0),
        ("SELECT sum(rows_new) FROM coverage", 5000),
        ("SELECT count(*) FROM coverage WHERE complete AND covered_to = asked_to AND sealed_to < covered_to", 1),
        ("SELECT count(*) FROM rejected", 0),
        ("SELECT count(*) FROM amendments", 0),
        ("SELECT count(*) FROM sessions", 0),
    ] {
        assert_eq!(opened.number(sql).await, expected, "{sql}");
    }
    let rows = opened.ask("SELECT * FROM events ORDER BY time DESC LIMIT 3").await;
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
    assert_eq!(rows[0].column_by_name("record_id").unwrap().as_string::<i32>().value(0), "4999");
}

#[tokio::test]
async fn there_is_no_store_before_something_is_collected() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::parse(&folder.path().join("none").display().to_string()).unwrap();
    let error = Store::open(&place, Time::EPOCH).await.unwrap_err();
    assert_eq!(error.kind(), fedaudit_core::ErrorKind::NotFound);
    assert!(!folder.path().join("none").exists(), "asking makes nothing");
}
