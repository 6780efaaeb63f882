//! Windows are half-open and in UTC microseconds, whatever bounds the product has.

use std::time::Duration;

use fedaudit_core::{Clock, Context, PageRequest, Time, Window};
use std::sync::Arc;

use super::paging::{all, in_pages};
use crate::conformance::bench::Bench;
use crate::conformance::compare::{compare, compare_window};
use crate::conformance::product::{Condition, Truth};
use crate::conformance::reading::Reading;
use crate::conformance::{Kit, Outcome, ensure};

const MICRO: Duration = Duration::from_micros(1);

async fn window(
    bench: &Bench<'_>,
    source: &dyn fedaudit_core::AuditSource,
    truth: &Truth,
    window: Window,
) -> Outcome<Reading> {
    let request = PageRequest { window, ..in_pages(truth, 20) };
    let reading = bench.read(source, &request).await?;
    compare_window(truth, window, &reading)?;
    Ok(reading)
}

/// A few times of a truth, spread over it.
fn picked(truth: &Truth, count: usize) -> Vec<Time> {
    let mut times: Vec<Time> = truth.facts.iter().map(|fact| fact.time).collect();
    times.sort_unstable();
    times.dedup();
    let last = times.len() - 1;
    let mut picked: Vec<Time> = (0..=count).map(|at| times[at * last / count]).collect();
    picked.dedup();
    picked
}

pub(super) async fn bounds_are_half_open(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    for truth in bench.filled()? {
        let times = picked(truth, 5);
        for pair in times.windows(2) {
            for (from, to) in [
                (pair[0], pair[1]),
                (pair[0].plus(MICRO), pair[1].plus(MICRO)),
                (pair[0].minus(MICRO), pair[1]),
                (pair[0].plus(Duration::from_millis(500)), pair[1].plus(Duration::from_millis(999))),
            ] {
                window(&bench, &*source, truth, Window::new(from, to)).await?;
            }
        }
    }
    source.close(&bench.cx).await?;
    Ok(())
}

pub(super) async fn instants(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    for truth in bench.filled()? {
        for time in picked(truth, 4) {
            window(&bench, &*source, truth, Window::new(time, time.plus(MICRO))).await?;
        }
    }
    source.close(&bench.cx).await?;
    Ok(())
}

pub(super) async fn windows_add_up(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    for truth in bench.filled()? {
        let whole = bench.read(&*source, &all(truth)).await?.key_set();
        let mut edges = picked(truth, 6);
        edges.push(edges[edges.len() - 1].plus(MICRO));
        let mut together = std::collections::BTreeSet::new();
        for pair in edges.windows(2) {
            together.extend(window(&bench, &*source, truth, Window::new(pair[0], pair[1])).await?.key_set());
        }
        let lost = whole.difference(&together).count();
        ensure!(lost == 0, "{}: {lost} of {} rows are in no window", truth.stream, whole.len());
    }
    source.close(&bench.cx).await?;
    Ok(())
}

pub(super) async fn open_windows(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    for truth in bench.filled()? {
        for edge in picked(truth, 3) {
            window(&bench, &*source, truth, Window { from: Some(edge), to: None }).await?;
            window(&bench, &*source, truth, Window { from: None, to: Some(edge) }).await?;
        }
    }
    source.close(&bench.cx).await?;
    Ok(())
}

pub(super) async fn past_and_future(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    let day = Duration::from_hours(24);
    for truth in bench.filled()? {
        let times = picked(truth, 1);
        let (first, last) = (times[0], times[times.len() - 1]);
        let far = [
            Window::new(Time::EPOCH, Time::from_micros(1)),
            Window::new(first.minus(900 * day), first.minus(800 * day)),
            Window::new(last.plus(day), last.plus(2 * day)),
            Window::new(last.plus(9000 * day), last.plus(9001 * day)),
            Window { from: Some(last.plus(day)), to: None },
        ];
        for far in far {
            let reading = window(&bench, &*source, truth, far).await?;
            if reading.kind == fedaudit_core::StreamKind::Events {
                let inside = reading.times().into_iter().flatten().filter(|time| far.contains(*time)).count();
                ensure!(inside == 0, "{} {far}: {inside} rows", truth.stream);
            }
        }
    }
    source.close(&bench.cx).await?;
    Ok(())
}

pub(super) async fn empty_windows(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    for truth in bench.filled()? {
        let time = picked(truth, 2)[0];
        for empty in [Window::new(time, time), Window::new(time.plus(MICRO), time)] {
            let reading = bench.read(&*source, &PageRequest { window: empty, ..all(truth) }).await?;
            // A list of live sessions has no times to ask by: it may come whole.
            let inside = reading.times().into_iter().flatten().filter(|time| empty.contains(*time)).count();
            ensure!(inside == 0, "{} {empty}: {inside} rows", truth.stream);
        }
    }
    source.close(&bench.cx).await?;
    Ok(())
}

struct Off {
    clock: Arc<dyn Clock>,
    by: Duration,
    fast: bool,
}

impl Clock for Off {
    fn now(&self) -> Time {
        if self.fast { self.clock.now().plus(self.by) } else { self.clock.now().minus(self.by) }
    }
}

pub(super) async fn our_clock_does_not_matter(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    for truth in bench.filled()? {
        for fast in [true, false] {
            let clock = Arc::new(Off { clock: Arc::clone(&bench.cx.clock), by: Duration::from_mins(10), fast });
            let cx = Context { clock, ..bench.cx.clone() };
            let source = bench.source()?;
            let reading = bench.read_with(&*source, &cx, &all(truth)).await?;
            compare(truth, &reading)?;
            source.close(&cx).await?;
        }
    }
    Ok(())
}
