//! A writer that is killed at any moment of collecting, merging files or deleting old ones leaves a store in which nothing is
//! lost, nothing stands twice, and the ledger is true. The writer is this test binary itself, started as a child that says what
//! it is doing; the parent kills it without a warning.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use fedaudit_core::{Clock as _, Window};
use fedaudit_store::{Place, Store, Writer};

use crate::made::{Record, SECOND, SOURCE_KEY, Set, reading, record};
use crate::sql::Opened;
use crate::writing::store;

/// Names the folder to the child.
const FOLDER: &str = "FEDAUDIT_TEST_STORE";
/// How often to kill; more by hand.
const TIMES: &str = "FEDAUDIT_TEST_KILLS";
/// After so many kills a store has had its life.
const LIFE: u64 = 20;

/// What a child does when it is killed.
const MAKING: &str = "making";
const COLLECTING: &str = "collecting";
const MERGING: &str = "merging";
const DELETING: &str = "deleting";

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

/// Collects for ever, each window a little over the one before, and tidies now and then.
#[tokio::test]
#[ignore = "the child of the test that kills it"]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let says = |what: &str| {
        let mut out = std::io::stdout();
        writeln!(out, "{what}").and_then(|()| out.flush()).unwrap();
    };
    let place = Place::parse(folder.to_str().unwrap()).unwrap();
    let clock = Set::at(NOW);
    says(MAKING);
    let writer = Writer::open(&place, clock.clone()).await.unwrap().with_buffer(100_000);
    for round in 1.. {
        says(COLLECTING);
        let sealed = writer.coverage(SOURCE_KEY, reading().stream).await.sealed;
        let end = sealed.span().and_then(|span| span.to).map_or(0, |to| to.micros() / SECOND);
        let asked = ((end - STEP.1).max(0), end + STEP.0);
        // Buffers of a few rows: every window takes several commits.
        store(&writer, &clock, asked, &truth(asked.0, asked.1), 20).await;
        clock.to(NOW + end);
        if round % 3 == 0 {
            says(MERGING);
            writer.compact().await.unwrap();
            make_old(Path::new(&folder));
            says(DELETING);
            writer.vacuum().await.unwrap();
        }
    }
}

/// As if a day had passed: what belongs to no version any more may be deleted.
fn make_old(folder: &Path) {
    let then = SystemTime::now() - Duration::from_hours(48);
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            make_old(&path);
        } else if path.extension().is_some_and(|ending| ending == "parquet") {
            fs::File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
        }
    }
}

/// A child, and what it says it is doing; it never outlives the test.
struct Writing {
    child: Child,
    doing: Receiver<&'static str>,
}

impl Writing {
    fn start(store: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::child", "--include-ignored", "--nocapture"])
            .env(FOLDER, store)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (said, doing) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let known = [MAKING, COLLECTING, MERGING, DELETING].into_iter().find(|word| line.ends_with(word));
                if known.is_some_and(|word| said.send(word).is_err()) {
                    return;
                }
            }
        });
        Self { child, doing }
    }

    /// Kills it so long after it began to do this for the n-th time. Says what it was really doing.
    fn killed(mut self, at: &str, nth: u64, moment: f64, usual: &mut BTreeMap<&'static str, Duration>) -> &'static str {
        let patience = Duration::from_secs(60);
        let (mut seen, mut doing, mut began) = (0, MAKING, Instant::now());
        while seen < nth {
            let next = self.doing.recv_timeout(patience).expect("the child ends only when it is killed");
            usual.insert(doing, began.elapsed());
            (doing, began) = (next, Instant::now());
            seen += u64::from(doing == at);
        }
        let usual = usual.get(at).copied().unwrap_or(Duration::from_millis(40));
        std::thread::sleep(usual.mul_f64(moment));
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.doing.iter().last().unwrap_or(doing)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How far the store has come, in seconds of history; everything in it is as it has to be.
async fn verify(folder: &Path, recovered: bool, when: &str) -> i64 {
    let place = Place::parse(folder.to_str().unwrap()).unwrap();
    let now = Set::at(NOW).now();
    let store = match Store::open(&place, now).await {
        Err(error) if error.kind() == fedaudit_core::ErrorKind::NotFound => return 0,
        store => store.unwrap(),
    };
    let opened = Opened::of(&store);
    let covered = store.ledger().of(SOURCE_KEY, reading().stream).covered;
    let end = covered.span().and_then(|span| span.to).map_or(0, |to| to.micros() / SECOND);
    assert!(covered.iter().count() <= 1, "{when}: no gap: {covered:?}");
    assert!(!covered.covers(Window::ALL));
    let inside = format!("CASE WHEN time < to_timestamp_seconds({end}) THEN record_id END");
    let sql = format!(
        "SELECT count(*), count(DISTINCT event_key), count({inside}), count(DISTINCT {inside}),
                (SELECT coalesce(sum(rows_new), 0) FROM coverage),
                count(*) FILTER (WHERE known IS NULL),
                (SELECT count(*) - count(DISTINCT fetch_id) FROM coverage)
         FROM events LEFT JOIN (SELECT DISTINCT fetch_id AS known FROM coverage) ON fetch_id = known"
    );
    let row = opened.ask(&sql).await.remove(0);
    let numbers: Vec<i64> = row.columns().iter().map(|column| column.as_primitive::<Int64Type>().value(0)).collect();
    let [all, keys, within, once, new, unknown, parts] = numbers[..] else { unreachable!() };
    let expected = truth(0, end).len() as i64;
    assert_eq!((within, once), (expected, expected), "{when}: nothing is lost, nothing stands twice");
    assert_eq!(keys, all, "{when}: nothing stands twice");
    assert_eq!(parts, 0, "{when}: each fetch is entered once");
    if recovered {
        // Every stored row is a new row of exactly one entry, and belongs to a fetch that the ledger knows.
        assert_eq!((new, unknown), (all, 0), "{when}: the ledger counts what is there");
    }
    end
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_writer_loses_nothing_and_repeats_nothing() {
    let times: u64 = std::env::var(TIMES).ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut draw = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut usual = BTreeMap::new();
    let mut killed: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut history, mut interrupted, mut lives) = (0, 0, 0);
    let mut kill = 0;
    while kill < times {
        // A killed process leaves what it wrote to the system: no disk has to be waited for.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let store = folder.path().join("store");
        let place = Place::parse(store.to_str().unwrap()).unwrap();
        let mut progress = 0;
        for age in 0..LIFE.min(times - kill) {
            // The first one of each store dies while it is made.
            let rarest = [COLLECTING, MERGING, DELETING].into_iter().min_by_key(|phase| killed.get(phase).copied());
            let at = if age == 0 { MAKING } else { rarest.unwrap_or(COLLECTING) };
            let nth = if at == COLLECTING { 1 + draw(4) } else { 1 };
            let moment = draw(1000) as f64 / 1000.0;
            let was = Writing::start(&store).killed(at, nth, moment, &mut usual);
            *killed.entry(was).or_default() += 1;
            let when = format!("kill {kill} of {times}, while {was}");
            let end = verify(&store, false, &when).await;
            assert!(end >= progress, "{when}: what was covered stays covered");
            progress = end;
            kill += 1;
            if draw(3) == 0 || age + 1 == LIFE || kill == times {
                // The next writer enters what was left to enter.
                drop(Writer::open(&place, Set::at(NOW)).await.unwrap());
                assert!(verify(&store, true, &when).await >= progress);
            }
        }
        assert!(progress > 0, "the children came to nothing");
        let partial = "SELECT count(*) FROM coverage WHERE error_kind IS NOT NULL";
        interrupted += Opened::at(&place, Set::at(NOW).now()).await.number(partial).await;
        history += progress;
        lives += 1;
    }
    println!(
        "{times} kills of {lives} stores ({killed:?}): {history} s of history covered, 0 rows lost, 0 repeated; \
         {interrupted} fetches were interrupted with stored rows, and the ledger knows of them"
    );
    assert!(times < 12 || [COLLECTING, MERGING, DELETING].iter().all(|phase| killed.contains_key(phase)), "{killed:?}");
}
