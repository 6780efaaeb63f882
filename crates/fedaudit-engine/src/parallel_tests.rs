//! Reading parts of a window at once gives what reading one page after the other gives: on random histories, page sizes and
//! budgets, with ties, superfluous rows, products that ask to slow down, and products that fail in the middle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use async_trait::async_trait;
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use fedaudit_core::{
    AuditSource, Bound, Clock, Context, Cursor, Direction, EndReason, Error, ErrorKind, EventBuilder, EventRow, Meter,
    Next, Observed, Order, Page, PageRequest, Result, SourceHealth, SourceInfo, StreamInfo, StreamKind, StreamReceipt,
    Time, Window, Windows,
};
use proptest::prelude::*;

use crate::ledger::{Assignment, Ledger};
use crate::reader::{Keep, Reader};
use crate::run::{Asking, InFlight, Run};
use crate::sight::Sight;
use crate::{Options, Source};

/// A product that lists its history newest first, and always a little more than was asked.
#[derive(Debug)]
struct Log {
    info: SourceInfo,
    /// Times of the records, newest first.
    times: Vec<i64>,
    page: usize,
    margin: i64,
    throttle_every: usize,
    fail_at: usize,
    asked: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

#[async_trait]
impl AuditSource for Log {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    async fn check(&self, _cx: &Context) -> Result<SourceHealth> {
        Ok(SourceHealth::default())
    }

    async fn fetch(&self, cx: &Context, request: &PageRequest) -> Result<Page> {
        let number = self.asked.fetch_add(1, Relaxed) + 1;
        self.most_at_once.fetch_max(self.at_once.fetch_add(1, Relaxed) + 1, Relaxed);
        // Answers overtake each other.
        for _ in 0..number * 7919 % 13 {
            tokio::task::yield_now().await;
        }
        self.at_once.fetch_sub(1, Relaxed);
        if self.throttle_every > 0 && number.is_multiple_of(self.throttle_every) {
            Meter::count(&cx.meter.throttled);
        }
        if number == self.fail_at {
            return Err(Error::new(ErrorKind::Unavailable, "gone"));
        }
        let Window { from, to } = request.window;
        let (from, to) = (from.unwrap().micros() - self.margin, to.unwrap().micros() + self.margin);
        let listed: Vec<(usize, i64)> =
            self.times.iter().copied().enumerate().filter(|(_, time)| (from..=to).contains(time)).collect();
        let offset: usize = request.cursor.as_ref().map_or(Ok(0), Cursor::read)?;
        let page = &listed[offset..listed.len().min(offset + self.page)];
        let mut rows = EventBuilder::new(&cx.source_key);
        for (id, time) in page {
            let id = id.to_string();
            let row = EventRow { time: Time::from_micros(*time), raw: &id, ..EventRow::new() };
            rows.push(&[Some(&id)], &[], &row);
        }
        let more = offset + self.page < listed.len();
        Ok(Page {
            rows: rows.finish()?,
            next: if more { Next::More(Cursor::new(&(offset + self.page))?) } else { Next::End(EndReason::NoNextLink) },
            frontier: page.last().filter(|_| more).map(|(_, time)| Time::from_micros(*time)),
            observed: Observed::default(),
            rejected: Vec::new(),
        })
    }

    async fn close(&self, _cx: &Context) -> Result<()> {
        Ok(())
    }
}

#[derive(Clone, Debug)]
struct Setup {
    times: Vec<i64>,
    page: usize,
    margin: i64,
    throttle_every: usize,
    fail_at: usize,
}

struct Still;

impl Clock for Still {
    fn now(&self) -> Time {
        Time::from_micros(2_000_000)
    }
}

/// The times of the rows by key, the receipt, and how many pages were asked for at once.
fn read(setup: &Setup, parallel_windows: usize) -> (BTreeMap<String, i64>, StreamReceipt, usize) {
    let stream = StreamInfo {
        order: Order::Descending,
        lower_bound: Bound::Inclusive,
        upper_bound: Bound::Inclusive,
        parallel_windows,
        ..StreamInfo::new("log", StreamKind::Events)
    };
    let mut times = setup.times.clone();
    times.sort_unstable_by(|a, b| b.cmp(a));
    let log = Arc::new(Log {
        info: SourceInfo {
            product: "log".to_owned(),
            plugin: "log".to_owned(),
            plugin_version: String::new(),
            origin: "https://log.example".to_owned(),
            streams: vec![stream],
        },
        times,
        page: setup.page,
        margin: setup.margin,
        throttle_every: setup.throttle_every,
        fail_at: setup.fail_at,
        asked: AtomicUsize::new(0),
        at_once: AtomicUsize::new(0),
        most_at_once: AtomicUsize::new(0),
    });
    let plugin: Arc<dyn AuditSource> = Arc::<Log>::clone(&log);
    let source = Source { name: "log".to_owned(), source_key: "log".to_owned(), plugin };
    let window = Window::new(Time::from_micros(100_000), Time::from_micros(900_000));
    let run = Arc::new(Run {
        asking: vec![Asking { source, meter: Arc::new(Meter::default()) }],
        ledger: Ledger::default(),
        clock: Arc::new(Still),
        options: Options::default(),
        window,
        all_time: false,
        default_range: None,
        as_of: Still.now(),
        fetch_id: String::new(),
        in_flight: InFlight::default(),
        collected: None,
        side: None,
    });
    let assignment = Assignment {
        table: "events",
        source: "log".to_owned(),
        stream: log.info.streams[0].clone(),
        asked: window,
        read: window,
        live: Windows::of(window),
        stock: None,
        pushed: Vec::new(),
        look_back_s: 0,
        sight: Sight::Clear,
        notes: Vec::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut reader = Reader::new(&run, 0, &assignment, Keep::Inside, Direction::Any);
        let mut rows = BTreeMap::new();
        while let Ok(Some(page)) = reader.next().await {
            let keys = page.column_by_name("event_key").unwrap().as_string::<i32>();
            let times = page.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>();
            for row in 0..page.num_rows() {
                let twice = rows.insert(keys.value(row).to_owned(), times.value(row));
                assert_eq!(twice, None, "a row twice");
            }
        }
        (rows, run.ledger.close(true).remove(0), log.most_at_once.load(Relaxed))
    })
}

fn setup() -> impl Strategy<Value = Setup> {
    // Dense stretches, long silence, many records of one instant.
    let stretch =
        (0..1_000_000_i64, 1..100_000_i64, 1..60_usize, any::<u64>()).prop_map(|(from, width, count, seed)| {
            (0..count as u64)
                .map(move |at| from + ((seed ^ at.wrapping_mul(0x9E37_79B9_7F4A_7C15)) % width as u64) as i64)
        });
    let tie = (0..1_000_000_i64, 1..20_usize).prop_map(|(at, count)| std::iter::repeat_n(at, count));
    let times =
        (prop::collection::vec(stretch, 0..8), prop::collection::vec(tie, 0..4)).prop_map(|(stretches, ties)| {
            stretches.into_iter().flatten().chain(ties.into_iter().flatten()).collect::<Vec<i64>>()
        });
    (times, 3..30_usize, prop_oneof![Just(0), 1..50_000_i64], prop_oneof![Just(0), 2..9_usize])
        .prop_map(|(times, page, margin, throttle_every)| Setup { times, page, margin, throttle_every, fail_at: 0 })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn parallel_reading_changes_nothing(setup in setup(), budget in 2..10_usize) {
        let inside = |time: &&i64| (100_000..900_000).contains(*time);
        let (one, sequential, at_once) = read(&setup, 1);
        prop_assert_eq!(one.len(), setup.times.iter().filter(inside).count());
        prop_assert!(at_once <= 1);
        let listed = setup.times.iter().filter(|time| (100_000 - setup.margin..=900_000 + setup.margin).contains(*time));
        prop_assert!(sequential.pages as usize <= listed.count().div_ceil(setup.page).max(1));
        let (many, stream, at_once) = read(&setup, budget);
        prop_assert_eq!(one, many);
        prop_assert!(at_once <= budget);
        prop_assert!(stream.status.is_whole());
        prop_assert_eq!(&stream.covered, &[stream.asked]);
        prop_assert!(stream.missing.is_empty() && stream.end.is_some());
    }

    #[test]
    fn what_is_covered_was_read_when_the_rest_failed(setup in setup(), budget in 1..10_usize, fail_at in 1..12_usize) {
        let (all, _, _) = read(&setup, 1);
        let (some, stream, _) = read(&Setup { fail_at, ..setup }, budget);
        prop_assert!(some.iter().all(|(key, time)| all.get(key) == Some(time)));
        prop_assert_eq!(stream.status.is_whole(), stream.missing.is_empty());
        for (key, time) in &all {
            let covered = stream.covered.iter().any(|window| window.contains(Time::from_micros(*time)));
            let missing = stream.missing.iter().any(|window| window.contains(Time::from_micros(*time)));
            prop_assert!(covered != missing);
            prop_assert!(!covered || some.contains_key(key));
        }
    }
}

#[test]
fn a_long_history_is_read_by_as_many_as_allowed() {
    let times = (0..20_000).map(|at| 100_000 + at * 40).collect();
    let setup = Setup { times, page: 20, margin: 0, throttle_every: 0, fail_at: 0 };
    let (rows, stream, at_once) = read(&setup, 9);
    assert_eq!((rows.len(), at_once), (20_000, 9));
    // Sharing costs hardly any request: each part ends with a page of its own, at most.
    assert!(stream.pages <= 1000 + 60, "{} pages", stream.pages);
}
