//! One writer, its windows, and what is read again.

use fedaudit_core::{Clock as _, ErrorKind, Rejected, Time};
use fedaudit_store::{Counts, Entry, Identity, Place, Tidied, Writer};

use crate::made::{Record, Set, reading, receipt, record, rows, window};

/// Stores records as one window, in batches of so many.
pub(crate) async fn store(writer: &Writer, clock: &Set, asked: (i64, i64), records: &[Record], batch: usize) -> Entry {
    let asked = window(asked.0, asked.1);
    let fetch_id = fresh();
    let mut fetch = writer.begin(&reading(), &fetch_id, asked, clock.now()).await.unwrap();
    for part in records.chunks(batch.max(1)) {
        writer.rows(&mut fetch, rows(part, &fetch_id, clock.now())).await.unwrap();
    }
    writer.end(fetch, &receipt(asked, records.len()), Some(0)).await.unwrap()
}

/// An id that no other fetch has, of no other process either.
fn fresh() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

#[tokio::test]
async fn what_is_read_again_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::parse(&folder.path().join("store").display().to_string()).unwrap();
    let clock = Set::at(1000);
    let writer = Writer::open(&place, clock.clone()).await.unwrap().with_buffer(20_000);
    let records: Vec<Record> = (0..100).map(|id| record(id, 999 - id as i64 / 2)).collect();
    let entry = store(&writer, &clock, (900, 1000), &records, 10).await;
    assert_eq!(entry.counts, Counts { returned: 100, new: 100, ..Counts::default() });
    // Read at 1000 with a lateness of 10: sealed up to 990.
    let coverage = writer.coverage(reading().source_key, reading().stream).await;
    assert!(coverage.covered.covers(window(900, 1000)) && coverage.sealed.covers(window(900, 990)));
    assert!(!coverage.sealed.contains(Time::from_micros(990_000_000)));
    drop(writer);

    clock.to(1100);
    let writer = Writer::open(&place, clock.clone()).await.unwrap();
    assert_eq!(writer.coverage(reading().source_key, reading().stream).await, coverage);
    let more: Vec<Record> = records.iter().cloned().chain([record(500, 995), record(501, 1005)]).collect();
    let entry = store(&writer, &clock, (950, 1100), &more, 1000).await;
    assert_eq!(entry.counts, Counts { returned: 102, new: 2, duplicate: 100, ..Counts::default() });
    let coverage = writer.coverage(reading().source_key, reading().stream).await;
    assert!(coverage.sealed.covers(window(900, 1090)));
    // A second writer is refused while this one is there.
    let refused = Writer::open(&place, clock).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused:?}");
}

#[tokio::test]
async fn late_rows_are_stored_and_told_edited_ones_are_told_once() {
    let place = Place::in_memory();
    let clock = Set::at(1000);
    let writer = Writer::open(&place, clock.clone()).await.unwrap();
    let records: Vec<Record> = (0..10).map(|id| record(id, 900 + id as i64)).collect();
    store(&writer, &clock, (900, 1000), &records, 100).await;
    clock.to(2000);
    let mut now = records.clone();
    now[3].user = "mallory".into();
    now.push(record(77, 905));
    for (new, late) in [(1, 1), (0, 0)] {
        let entry = store(&writer, &clock, (900, 1000), &now, 4).await;
        let counts = Counts { returned: 11, new, duplicate: 11 - new, late, edited: 1, ..Counts::default() };
        assert_eq!(entry.counts, counts);
        clock.to(3000);
    }
    drop(writer);
    let writer = Writer::open(&place, clock.clone()).await.unwrap();
    let entry = store(&writer, &clock, (900, 1000), &records, 100).await;
    assert_eq!(entry.counts, Counts { returned: 10, duplicate: 10, ..Counts::default() });
}

#[tokio::test]
async fn what_could_not_be_decoded_is_kept_once() {
    let place = Place::in_memory();
    let clock = Set::at(1000);
    let writer = Writer::open(&place, clock.clone()).await.unwrap();
    for _ in 0..2 {
        let mut fetch = writer.begin(&reading(), "f", window(0, 10), clock.now()).await.unwrap();
        let bad = Rejected { raw: "{".into(), reason: "ends early".into() };
        writer.rejected(&mut fetch, &[bad.clone(), bad]).await.unwrap();
        let entry = writer.end(fetch, &receipt(window(0, 10), 0), None).await.unwrap();
        assert_eq!(entry.counts.rejected, 2);
    }
    assert!(!writer.coverage(reading().source_key, reading().stream).await.rejected.is_empty());
}

#[tokio::test]
async fn a_clock_that_ran_ahead_seals_nothing() {
    let place = Place::in_memory();
    let clock = Set::at(10_000);
    let writer = Writer::open(&place, clock.clone()).await.unwrap();
    store(&writer, &clock, (0, 9000), &[record(1, 5)], 1).await;
    drop(writer);
    clock.to(2000);
    let writer = Writer::open(&place, clock.clone()).await.unwrap();
    let coverage = writer.coverage(reading().source_key, reading().stream).await;
    assert!(coverage.sealed.covers(window(0, 1990)));
    assert!(!coverage.sealed.contains(Time::from_micros(1_995_000_000)), "nothing of the future is sealed");
}

#[tokio::test]
async fn another_system_under_a_known_name_stores_nothing() {
    let place = Place::in_memory();
    let clock = Set::at(1000);
    let writer = Writer::open(&place, clock.clone()).await.unwrap();
    let found = |print: &str| Identity {
        source: "nas".into(),
        source_key: reading().source_key.into(),
        product: "truenas".into(),
        fingerprint: Some(print.into()),
        product_version: Some("25.10".into()),
        pinned_at: clock.now(),
        reason: "",
    };
    writer.identify(found("a"), false).await.unwrap();
    // What was confirmed last holds, whatever the clock says.
    clock.to(500);
    let error = writer.identify(found("b"), false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    writer.identify(found("b"), true).await.unwrap();
    drop(writer);
    let writer = Writer::open(&place, clock.clone()).await.unwrap();
    writer.identify(found("b"), false).await.unwrap();
    assert!(writer.identify(found("a"), false).await.is_err());
}

#[tokio::test]
async fn a_store_of_another_form_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::parse(&folder.path().display().to_string()).unwrap();
    let clock = Set::at(1000);
    drop(Writer::open(&place, clock.clone()).await.unwrap());
    let left = folder.path().join("events/_delta_log/00000000000000000001.json#4711");
    std::fs::write(&left, "half a com").unwrap();
    drop(Writer::open(&place, clock.clone()).await.unwrap());
    assert!(!left.exists(), "what a killed writer left aside is cleared away");
    let mark = folder.path().join("fedaudit-store.json");
    for (text, word) in [(r#"{"format":0,"made_by":"x 0"}"#, "form 0"), (r#"{"format":9,"made_by":"x 9"}"#, "form 9")] {
        std::fs::write(&mark, text).unwrap();
        let error = Writer::open(&place, clock.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(word) && error.hint_text().is_some(), "{error:?}");
        // Nor is it asked.
        let error = fedaudit_store::Store::open(&place, clock.now()).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains(word), "{error:?}");
    }
    std::fs::write(&mark, "{").unwrap();
    assert_eq!(Writer::open(&place, clock.clone()).await.unwrap_err().kind(), ErrorKind::Malformed);

    let foreign = tempfile::tempdir().unwrap();
    std::fs::write(foreign.path().join("thesis.odt"), "").unwrap();
    let place = Place::parse(&foreign.path().display().to_string()).unwrap();
    assert_eq!(Writer::open(&place, clock).await.unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn merged_files_hold_the_same_rows_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::parse(&folder.path().display().to_string()).unwrap();
    let clock = Set::at(10_000);
    let writer = Writer::open(&place, clock.clone()).await.unwrap();
    let of = |from: i64| (0..20).map(move |id| record((from + id) as u64, from + id * 7)).collect::<Vec<Record>>();
    for from in (0..4000).step_by(200) {
        store(&writer, &clock, (from, from + 200), &of(from), 100).await;
    }
    let files = || walk(&folder.path().join("events")).len();
    let before = files();
    let tidied = writer.tidy().await.unwrap();
    assert!(before >= 20 && tidied.merged >= 20 && tidied.into < 5, "{before} files, {tidied:?}");
    assert_eq!(writer.tidy().await.unwrap(), Tidied::default(), "there is nothing left to do");
    assert_eq!(files(), before + 1, "the old files stay for a day");
    // A file that nobody knows of, old and new.
    for (name, age_h) in [("old.parquet", 25), ("new.parquet", 1)] {
        let path = folder.path().join("events").join(name);
        std::fs::write(&path, "left").unwrap();
        let then = std::time::SystemTime::now() - std::time::Duration::from_hours(age_h);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
    }
    assert_eq!(writer.tidy().await.unwrap().deleted, 1);
    let opened = crate::sql::Opened::at(&place, clock.now()).await;
    assert_eq!(opened.number("SELECT count(*) FROM events").await, 400);
    assert_eq!(opened.number("SELECT count(DISTINCT event_key) FROM events").await, 400);
    assert_eq!(opened.number("SELECT count(*) FROM coverage").await, 20);
    // What was merged is known by its keys as before.
    let entry = store(&writer, &clock, (200, 400), &of(200), 7).await;
    assert_eq!(entry.counts, Counts { returned: 20, duplicate: 20, ..Counts::default() });
}

/// Parquet files below a folder, without the log.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("_delta_log") {
            found.extend(walk(&path));
        } else if path.extension().is_some_and(|ending| ending == "parquet") {
            found.push(path);
        }
    }
    found
}

/// In an object store nobody holds a lock: the table itself tells who came first.
#[tokio::test]
async fn of_two_writers_without_a_lock_the_slower_one_stops() {
    let place = Place::in_memory();
    let clock = Set::at(1000);
    let one = Writer::open(&place, clock.clone()).await.unwrap();
    let two = Writer::open(&place, clock.clone()).await.unwrap();
    store(&one, &clock, (0, 100), &[record(1, 10)], 1).await;
    let mut fetch = two.begin(&reading(), "two", window(0, 100), clock.now()).await.unwrap();
    two.rows(&mut fetch, rows(&[record(1, 10), record(2, 20)], "two", clock.now())).await.unwrap();
    let error = two.end(fetch, &receipt(window(0, 100), 2), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("another collector"), "{error:?}");
    // Opened anew it sees what the other one stored.
    let two = Writer::open(&place, clock.clone()).await.unwrap();
    let entry = store(&two, &clock, (0, 100), &[record(1, 10), record(2, 20)], 1).await;
    assert_eq!((entry.counts.new, entry.counts.duplicate), (1, 1));
    let opened = crate::sql::Opened::at(&place, clock.now()).await;
    assert_eq!(opened.number("SELECT count(*) FROM events").await, 2);
}

#[tokio::test]
async fn tables_of_another_version_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::parse(&folder.path().display().to_string()).unwrap();
    let clock = Set::at(1000);
    drop(Writer::open(&place, clock.clone()).await.unwrap());
    let log = folder.path().join("events/_delta_log/00000000000000000000.json");
    let other = std::fs::read_to_string(&log).unwrap().replace("user_name", "actor");
    std::fs::write(&log, &other).unwrap();
    let error = Writer::open(&place, clock).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.to_string();
    assert!(text.contains("events") && text.contains("user_name") && text.contains("actor"), "{text}");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), other);
}
