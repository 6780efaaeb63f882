//! What goes wrong around a store: no room, a clock that is set back, files that are damaged or gone. Each ends in an error
//! that says what to do, and the next run makes the store whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fedaudit_core::{Clock as _, Error, ErrorKind, Rejected, Result, Time};
use fedaudit_store::collect::{Progress, Report, Wanted, collect, never};
use fedaudit_store::{Place, Store, Tidied, Writer};

use crate::collecting::{run, since};
use crate::failing::{Failing, MANNERS, Manner};
use crate::made::{SECOND, SOURCE_KEY, Set, reading, receipt, record, rows, window};
use crate::product::{Product, STREAM};
use crate::sql::Opened;

/// Collects piece by piece and merges the files of the pieces; whatever fails is the result.
async fn attempt(product: &Arc<Product>, clock: &Arc<Set>, place: &Place) -> Result<(Report, Tidied)> {
    let writer = Writer::open(place, Arc::clone(clock) as _).await?.with_buffer(10_000);
    let engine = product.engine(clock);
    let mut report = Report::default();
    for piece in 1..=PIECES {
        let to = (piece < PIECES).then(|| Time::from_micros((9_000 + piece * 8_000) * SECOND));
        let wanted = Wanted { to, ..since(9_000) };
        let of_piece = collect(&engine, &writer, &wanted, &Progress::default(), never()).await?;
        report.streams.extend(of_piece.streams);
    }
    Ok((report, writer.tidy().await?))
}

/// As many files are worth merging.
const PIECES: i64 = 8;

/// Thirty records of one day, of which two cannot be decoded.
fn some_product() -> Arc<Product> {
    let product = Product::new(7, 60, None);
    product.write((0..30).map(|id| record(id, 10_000 + id as i64 * 2_400)));
    product.change(|state| state.broken = vec![10_000 + 3 * 2_400, 10_000 + 20 * 2_400]);
    product
}

fn hint(error: &Error) -> &str {
    error.hint_text().unwrap_or_default()
}

/// Names the distance from one write that fails to the next that is tried: 1 tries all of them.
const EVERY: &str = "FEDAUDIT_TEST_EVERY_WRITE";

#[tokio::test]
async fn a_write_that_fails_loses_nothing_whichever_it_is() {
    let every: usize = std::env::var(EVERY).ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    let mut failed = 0;
    for (first, manner) in MANNERS.into_iter().enumerate() {
        for at in (1 + first..).step_by(every) {
            let store = Failing::new(manner, at);
            let place = Place::of(Arc::clone(&store) as _);
            let (product, clock) = (some_product(), Set::at(100_000));
            let when = format!("{manner:?} at write {at}");
            let first = attempt(&product, &clock, &place).await;
            if !store.has_failed() {
                let (report, tidied) = first.unwrap();
                assert_eq!(report.streams.iter().map(|stream| stream.counts.new).sum::<u64>(), 28, "{when}");
                assert!(tidied.merged >= 2 * PIECES as u64, "{when}: {tidied:?}");
                break;
            }
            failed += 1;
            if let Err(error) = &first {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{when}: {error:?}");
                assert!(hint(error).contains("no room left"), "{when}: {error:?}");
            } else {
                // A checkpoint of the list of files is made again later: nothing depends on it.
                assert!(matches!(manner, Manner::Once | Manner::Unheard), "{when}: nobody heard of it");
            }
            store.mend();
            clock.to(100_100);
            attempt(&product, &clock, &place).await.unwrap_or_else(|error| panic!("{when}: {error:?}"));
            let opened = Opened::at(&place, clock.now()).await;
            opened.holds(28, &when).await;
            assert_eq!(opened.number("SELECT count(*) FROM rejected").await, 2, "{when}");
            let covered = Writer::open(&place, clock).await.unwrap().coverage(SOURCE_KEY, STREAM).await;
            assert!(covered.covered.covers(window(9_000, 100_100)), "{when}: {covered:?}");
        }
    }
    println!("{failed} failed writes, each made whole by the next run");
    assert!(failed > 80 / every);
}

/// Its rows are stored, and it is entered later: by the next writer, although others were entered since.
#[tokio::test]
async fn a_window_that_could_not_be_entered_is_entered_by_the_next_writer() {
    for failing in ["coverage/_delta_log", "coverage/"] {
        let store = Failing::new(Manner::Once, usize::MAX);
        let place = Place::of(Arc::clone(&store) as _);
        let clock = Set::at(1000);
        let writer = Writer::open(&place, Arc::clone(&clock) as _).await.unwrap();
        for (id, fails) in [(1, true), (2, false)] {
            let asked = window(id * 100, id * 100 + 100);
            let fetch_id = format!("fetch-{id}");
            let mut fetch = writer.begin(&reading(), &fetch_id, asked, clock.now()).await.unwrap();
            writer.rows(&mut fetch, rows(&[record(id as u64, id * 100 + 5)], &fetch_id, clock.now())).await.unwrap();
            if fails {
                store.fail_below(failing);
            }
            assert_eq!(writer.end(fetch, &receipt(asked, 1), None).await.is_err(), fails);
        }
        drop(writer);
        drop(Writer::open(&place, Arc::clone(&clock) as _).await.unwrap());
        Opened::at(&place, clock.now()).await.holds(2, failing).await;
    }
}

/// Our clock and the product's were ahead by half a day when it was collected first: the product had nothing of that time yet.
#[tokio::test]
async fn a_clock_that_was_ahead_hides_nothing_that_comes_later() {
    for dead_meanwhile in [false, true] {
        let (clock, place) = (Set::at(100_000), Place::in_memory());
        let product = Product::new(5, 60, None);
        product.write((0..20).map(|id| record(id, 40_000 + id as i64 * 500)));
        run(&product, &clock, &place, &since(9_000)).await;
        // The clock is put right, perhaps while nobody can be asked, and time goes on.
        clock.to(50_100);
        product.change(|state| state.dead = dead_meanwhile);
        run(&product, &clock, &place, &since(9_000)).await;
        let writer = Writer::open(&place, Arc::clone(&clock) as _).await.unwrap();
        let coverage = writer.coverage(SOURCE_KEY, STREAM).await;
        assert!(!coverage.covered.contains(Time::from_micros(50_200_000_000)), "of what is to come nothing is covered");
        drop(writer);
        product.change(|state| state.dead = false);
        product.write((20..120).map(|id| record(id, 50_150 + (id as i64 - 20) * 499)));
        clock.to(110_000);
        let report = run(&product, &clock, &place, &since(9_000)).await;
        assert_eq!((report.streams[0].counts.new, report.streams[0].counts.late), (100, 0), "{dead_meanwhile}");
        let opened = Opened::at(&place, clock.now()).await;
        opened.holds(120, "after the clock was put right").await;
        assert!(opened.number("SELECT max(clock_setbacks) FROM coverage").await == 1);
        // The ledger says the same to whoever opens it later.
        let coverage = Store::open(&place, clock.now()).await.unwrap().ledger().of(SOURCE_KEY, STREAM);
        assert!(coverage.sealed.covers(window(9_000, 109_000)));
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_during_a_run_hides_nothing_either() {
    for at in 1..=8 {
        let (clock, place) = (Set::at(100_000), Place::in_memory());
        let product = Product::new(5, 60, None);
        product.write((0..40).map(|id| record(id, 10_000 + id as i64 * 1000)));
        product.change(|state| state.sets_clock = Some((at, Arc::clone(&clock), 50_000)));
        run(&product, &clock, &place, &since(9_000)).await;
        assert_eq!(clock.now(), Time::from_micros(50_000_000_000), "fetch {at} came");
        product.write((40..90).map(|id| record(id, 50_001 + (id as i64 - 40) * 900)));
        clock.to(101_000);
        run(&product, &clock, &place, &since(9_000)).await;
        Opened::at(&place, clock.now()).await.holds(90, &format!("set back at fetch {at}")).await;
    }
}

#[tokio::test]
async fn a_source_that_stays_dead_is_entered_now_and_then() {
    let (clock, place) = (Set::at(100_000), Place::in_memory());
    let product = Product::new(5, 60, None);
    product.write((0..20).map(|id| record(id, 40_000 + id as i64 * 500)));
    run(&product, &clock, &place, &since(9_000)).await;
    product.change(|state| state.dead = true);
    let failed = "SELECT count(*) FROM coverage WHERE status = 'failed' AND error_kind = 'unavailable'";
    for minute in (3..=150).step_by(3) {
        clock.to(100_000 + minute * 60);
        assert!(!run(&product, &clock, &place, &since(9_000)).await.is_whole());
        if minute == 3 {
            assert_eq!(Opened::at(&place, clock.now()).await.number(failed).await, 1, "the first time is told at once");
        }
    }
    assert_eq!(Opened::at(&place, clock.now()).await.number(failed).await, 3, "150 minutes");
    // What ended and began again is news.
    for _ in 0..2 {
        product.change(|state| state.dead = false);
        run(&product, &clock, &place, &since(9_000)).await;
        product.change(|state| state.dead = true);
        run(&product, &clock, &place, &since(9_000)).await;
    }
    assert_eq!(Opened::at(&place, clock.now()).await.number(failed).await, 5);
    Opened::at(&place, clock.now()).await.holds(20, "all the time").await;
}

#[tokio::test]
async fn what_was_forgotten_is_entered_once() {
    let (clock, place) = (Set::at(100_000), Place::in_memory());
    let product = Product::new(50, 60, Some(10_000));
    product.write((0..100).map(|id| record(id, 90_000 + id as i64 * 100)));
    run(&product, &clock, &place, &Wanted::default()).await;
    let mut told = Vec::new();
    for round in 0..4 {
        clock.to(130_000 + round * 60);
        let report = run(&product, &clock, &place, &Wanted::default()).await;
        told.push(!report.streams[0].forgotten.is_empty());
    }
    assert_eq!(told, [true, false, false, false]);
    let opened = Opened::at(&place, clock.now()).await;
    assert_eq!(opened.number("SELECT count(*) FROM coverage WHERE status = 'expired'").await, 1);
    // It stays a gap.
    let covered = Store::open(&place, clock.now()).await.unwrap().ledger().of(SOURCE_KEY, STREAM).covered;
    assert!(!covered.contains(Time::from_micros(110_000_000_000)));
}

/// What could not be decoded may be much, and is not kept in memory: only what comes at once.
#[tokio::test]
async fn a_great_deal_that_cannot_be_decoded_is_kept_once_in_few_files() {
    let store = Failing::new(Manner::Once, usize::MAX);
    let place = Place::of(Arc::clone(&store) as _);
    let clock = Set::at(1000);
    let writer = Writer::open(&place, Arc::clone(&clock) as _).await.unwrap().with_buffer(1 << 20);
    let bad = |page: usize| -> Vec<Rejected> {
        (0..100)
            .map(|row| Rejected { raw: format!("{{{:0100}", page * 100 + row), reason: "ends early".into() })
            .collect()
    };
    for _ in 0..2 {
        let mut fetch = writer.begin(&reading(), "f", window(0, 10), clock.now()).await.unwrap();
        for page in 0..200 {
            writer.rejected(&mut fetch, &bad(page)).await.unwrap();
        }
        let entry = writer.end(fetch, &receipt(window(0, 10), 0), None).await.unwrap();
        assert_eq!(entry.counts.rejected, 20_000);
    }
    let opened = Opened::at(&place, clock.now()).await;
    assert_eq!(opened.number("SELECT count(*) FROM rejected").await, 20_000);
    assert_eq!(opened.number("SELECT count(DISTINCT rejected_key) FROM rejected").await, 20_000);
    assert!(store.writes_below("rejected/") <= 2 * 4 + 2, "{} writes", store.writes_below("rejected/"));
}

/// A store in a folder, with what was collected at first.
async fn filled(folder: &Path) -> (Arc<Product>, Arc<Set>, Place) {
    let (product, clock) = (some_product(), Set::at(100_000));
    let place = Place::parse(&folder.display().to_string()).unwrap();
    attempt(&product, &clock, &place).await.unwrap();
    clock.to(100_100);
    attempt(&product, &clock, &place).await.unwrap();
    (product, clock, place)
}

/// Everything is read again, so that every file is looked at.
async fn again(product: &Arc<Product>, clock: &Arc<Set>, place: &Place) -> Result<Report> {
    let writer = Writer::open(place, Arc::clone(clock) as _).await?;
    let wanted = Wanted { again: true, ..since(9_000) };
    collect(&product.engine(clock), &writer, &wanted, &Progress::default(), never()).await
}

/// Files below a folder whose names end so, the largest first.
fn largest(folder: &Path, ending: &str) -> PathBuf {
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().map(|entry| entry.unwrap()) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().ends_with(ending) {
                found.push((entry.metadata().unwrap().len(), path));
            }
        }
    }
    found.sort();
    found.pop().unwrap().1
}

#[tokio::test]
async fn damage_is_named_and_a_copy_makes_it_good() {
    // What is damaged, in which way, and what the error has to name.
    let garbage = || Some(vec![7; 5000]);
    let cases: &[(&str, &dyn Fn(Vec<u8>) -> Option<Vec<u8>>, &str)] = &[
        ("events .parquet", &|bytes| Some(bytes[..bytes.len() / 2].to_vec()), "table events: source=nas/"),
        ("events .parquet", &|_| Some(Vec::new()), "table events: source=nas/"),
        ("events .parquet", &|_| garbage(), "table events: source=nas/"),
        ("events .parquet", &|_| None, "table events: source=nas/"),
        ("coverage .parquet", &|bytes| Some(bytes[..bytes.len() - 9].to_vec()), "table coverage: "),
        ("coverage .parquet", &|_| None, "table coverage: "),
        ("identities .parquet", &|_| None, "table identities: "),
        ("rejected .parquet", &|_| None, "table rejected: "),
        ("events 0001.json", &|bytes| Some(bytes[..bytes.len() / 2].to_vec()), "table events"),
        ("events 0002.json", &|_| None, "table events"),
        ("coverage 0001.json", &|_| None, "table coverage"),
    ];
    for (number, (what, damage, named)) in cases.iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let (product, clock, place) = filled(folder.path()).await;
        let (table, ending) = what.split_once(' ').unwrap();
        let path = largest(&folder.path().join(table), ending);
        let sound = fs::read(&path).unwrap();
        match damage(sound.clone()) {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let error = again(&product, &clock, &place).await.expect_err(&format!("case {number}: {what}"));
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Malformed, "case {number}, {what}: {error:?}");
        assert!(text.contains(named) && hint(&error).contains("restore"), "case {number}, {what}: {error:?}");
        fs::write(&path, sound).unwrap();
        again(&product, &clock, &place).await.unwrap_or_else(|error| panic!("case {number}, {what}: {error:?}"));
        Opened::at(&place, clock.now()).await.holds(28, what).await;
    }
}

#[tokio::test]
async fn a_table_that_was_taken_away_is_no_empty_one() {
    for (name, of_store) in [("coverage", true), ("identities", false), ("events", false), ("sessions", false)] {
        let folder = tempfile::tempdir().unwrap();
        let (product, clock, place) = filled(folder.path()).await;
        let aside = tempfile::tempdir().unwrap();
        let (log, kept) = (folder.path().join(name).join("_delta_log"), aside.path().join("log"));
        fs::rename(&log, &kept).unwrap();
        let refused = again(&product, &clock, &place).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Malformed, "{name}: {refused:?}");
        assert!(refused.to_string().contains(name) && hint(&refused).contains("restore"), "{refused:?}");
        assert!(!log.exists(), "{name}: nothing is made in its place");
        if of_store {
            assert_eq!(Store::open(&place, clock.now()).await.unwrap_err().kind(), ErrorKind::Malformed);
        }
        fs::rename(&kept, &log).unwrap();
        again(&product, &clock, &place).await.unwrap();
        Opened::at(&place, clock.now()).await.holds(28, name).await;
    }
}

/// Somebody put an older copy of one table back: the ledger knows that there was more.
#[tokio::test]
async fn commits_that_were_lost_are_missed() {
    let folder = tempfile::tempdir().unwrap();
    let (product, clock, place) = filled(folder.path()).await;
    let log = folder.path().join("events/_delta_log");
    let last = fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    fs::rename(&last, folder.path().join("kept")).unwrap();
    let refused = again(&product, &clock, &place).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Malformed, "{refused:?}");
    assert!(refused.to_string().contains("events") && hint(&refused).contains("restore"), "{refused:?}");
    fs::rename(folder.path().join("kept"), &last).unwrap();
    again(&product, &clock, &place).await.unwrap();
    Opened::at(&place, clock.now()).await.holds(28, "with all commits").await;
}
