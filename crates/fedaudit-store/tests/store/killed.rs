//! A writer that is killed at any moment leaves a store in which nothing is lost, nothing stands twice, and the ledger is
//! true. The writer is this test binary itself, started as a child; the parent kills it without a warning.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fedaudit_core::{Clock as _, Window};
use fedaudit_store::{Place, Store, Writer};

use crate::made::{Record, SECOND, SOURCE_KEY, Set, reading, record};
use crate::sql::Opened;
use crate::writing::store;

/// Names the folder to the child.
const FOLDER: &str = "FEDAUDIT_TEST_STORE";
/// How often to kill; more by hand.
const TIMES: &str = "FEDAUDIT_TEST_KILLS";

/// What the product recorded in these seconds: the same whoever asks.
fn truth(from: i64, to: i64) -> Vec<Record> {
    let at = |second: i64| {
        let noise = (second as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        (0..noise % 6).map(move |number| record(second as u64 * 8 + number, second))
    };
    (from.max(0)..to).rev().flat_map(at).collect()
}

/// Later than all that is recorded.
const NOW: i64 = 4_000_000_000;
/// Seconds of a window, and how many of them were read before.
const STEP: (i64, i64) = (40, 15);

/// Collects for ever, each window a little over the one before.
#[tokio::test]
#[ignore = "the child of the test that kills it"]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let place = Place::parse(folder.to_str().unwrap()).unwrap();
    let clock = Set::at(NOW);
    let writer = Writer::open(&place, clock.clone()).await.unwrap().with_buffer(100_000);
    for round in 1.. {
        if round % 5 == 0 {
            writer.tidy().await.unwrap();
        }
        let sealed = writer.coverage(SOURCE_KEY, reading().stream).await.sealed;
        let end = sealed.span().and_then(|span| span.to).map_or(0, |to| to.micros() / SECOND);
        let asked = ((end - STEP.1).max(0), end + STEP.0);
        // Buffers of a few rows: every window takes several commits.
        store(&writer, &clock, asked, &truth(asked.0, asked.1), 20).await;
        clock.to(NOW + end);
    }
}

async fn verify(folder: &Path, recovered: bool) -> i64 {
    let place = Place::parse(folder.to_str().unwrap()).unwrap();
    let now = Set::at(NOW).now();
    let store = match Store::open(&place, now).await {
        Err(error) if error.kind() == fedaudit_core::ErrorKind::NotFound => return 0,
        store => store.unwrap(),
    };
    let opened = Opened::of(&store);
    let covered = store.ledger().of(SOURCE_KEY, reading().stream).covered;
    let end = covered.span().and_then(|span| span.to).map_or(0, |to| to.micros() / SECOND);
    assert!(covered.iter().count() <= 1, "no gap: {covered:?}");
    let expected = truth(0, end).len() as i64;
    let sql = |text: &str| format!("SELECT {text} FROM events WHERE time < to_timestamp_seconds({end})");
    assert_eq!(opened.number(&sql("count(*)")).await, expected, "nothing is lost, nothing stands twice");
    assert_eq!(opened.number(&sql("count(DISTINCT record_id)")).await, expected);
    let all = opened.number("SELECT count(*) FROM events").await;
    assert_eq!(opened.number("SELECT count(DISTINCT event_key) FROM events").await, all);
    if recovered {
        // Every stored row is a new row of exactly one entry, and belongs to a fetch that the ledger knows.
        let new = opened.number("SELECT coalesce(sum(rows_new), 0) FROM coverage").await;
        assert_eq!(new, all, "the ledger counts what is there");
        let unknown = "SELECT count(*) FROM events WHERE fetch_id NOT IN (SELECT fetch_id FROM coverage)";
        assert_eq!(opened.number(unknown).await, 0);
        assert_eq!(
            opened.number("SELECT count(*) FROM (SELECT fetch_id FROM coverage GROUP BY 1 HAVING count(*) > 1)").await,
            0
        );
    }
    assert!(!covered.covers(Window::ALL));
    end
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_writer_loses_nothing_and_repeats_nothing() {
    let times: u64 = std::env::var(TIMES).ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let (mut progress, mut interrupted) = (0, 0);
    for kill in 0..times {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::child", "--include-ignored"])
            .env(FOLDER, &store)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The first ones die while the store is made, later ones at any moment of their work.
        let longest = if kill < 4 { 120 } else { 900 };
        let patience = Duration::from_micros(random % (longest * 1000));
        let began = Instant::now();
        while began.elapsed() < patience {
            assert!(child.try_wait().unwrap().is_none(), "the child ends only when it is killed");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let end = verify(&store, false).await;
        assert!(end >= progress, "what was covered stays covered");
        if kill % 3 == 0 {
            // The next writer enters what was left to enter.
            let place = Place::parse(store.to_str().unwrap()).unwrap();
            drop(Writer::open(&place, Set::at(NOW)).await.unwrap());
            verify(&store, true).await;
            let partial = "SELECT count(*) FROM coverage WHERE error_kind IS NOT NULL";
            interrupted = Opened::at(&place, Set::at(NOW).now()).await.number(partial).await;
        }
        progress = end;
    }
    assert!(progress > 0, "the children came to nothing");
    println!("{times} kills, {progress} s of history covered, {interrupted} fetches were interrupted with stored rows");
}
