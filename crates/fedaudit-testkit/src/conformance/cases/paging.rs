//! Everything comes, once, whatever the pages.

use std::time::{Duration, Instant};

use fedaudit_core::{Cursor, Direction, Next, PageRequest, Window};
use futures::future::try_join_all;

use crate::conformance::bench::Bench;
use crate::conformance::compare::{compare, compare_window};
use crate::conformance::product::{Condition, Truth};
use crate::conformance::{Kit, Outcome, Trouble, ensure};

/// Everything of a stream.
pub(super) fn all(truth: &Truth) -> PageRequest {
    PageRequest::first(&truth.stream, Window::ALL)
}

/// Everything of a stream in pages of this size.
pub(super) fn in_pages(truth: &Truth, size: usize) -> PageRequest {
    PageRequest { page_size: Some(size.max(1)), ..all(truth) }
}

/// A page size that makes about so many pages.
pub(super) fn size_for(truth: &Truth, pages: usize) -> usize {
    truth.facts.len().div_ceil(pages).max(1)
}

pub(super) async fn nothing_is_nothing(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Empty).await?;
    let source = bench.source()?;
    for truth in &bench.product.truths {
        ensure!(truth.facts.is_empty(), "the subject's empty product holds {}", truth.stream);
        for request in [all(truth), PageRequest { direction: Direction::NewestFirst, ..in_pages(truth, 3) }] {
            let reading = bench.read(&*source, &request).await?;
            ensure!(reading.foreign() == 0, "{}: {} rows of nothing", truth.stream, reading.foreign());
            ensure!(reading.rejected.is_empty(), "{}: {:?}", truth.stream, reading.rejected);
        }
    }
    source.close(&bench.cx).await?;
    Ok(())
}

pub(super) async fn everything_comes_once(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    bench.filled()?;
    for truth in &bench.product.truths {
        let reading = bench.read(&*source, &all(truth)).await?;
        compare(truth, &reading)?;
        ensure!(reading.rejected.is_empty(), "{}: rejected {:?}", truth.stream, reading.rejected);
        let notes: Vec<_> = reading.notes().collect();
        ensure!(notes.is_empty(), "{}: a healthy product, and yet {notes:?}", truth.stream);
        let records: u64 = reading.observed.iter().map(|observed| observed.records).sum();
        ensure!(records > 0 || truth.facts.is_empty(), "{}: records are not counted", truth.stream);
    }
    source.close(&bench.cx).await?;
    Ok(())
}

pub(super) async fn page_sizes_do_not_matter(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    for truth in bench.filled()? {
        let count = truth.facts.len();
        let whole = bench.read(&*source, &all(truth)).await?.fingerprints();
        let divisor = (2..count).find(|size| count.is_multiple_of(*size) && count / size <= 20).unwrap_or(count);
        for size in [1, 3, 7, divisor, count.saturating_sub(1).max(1), count, count + 1, 100_000] {
            let reading = bench.read(&*source, &in_pages(truth, size)).await?;
            compare(truth, &reading)?;
            ensure!(reading.fingerprints() == whole, "{}: other rows in pages of {size}", truth.stream);
        }
    }
    source.close(&bench.cx).await?;
    Ok(())
}

pub(super) async fn newest_first_is_the_same(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    for truth in bench.filled()? {
        let whole = bench.read(&*source, &all(truth)).await?.fingerprints();
        for size in [1, 4, 1000] {
            // The reader holds every page against the frontier of the one before.
            let request = PageRequest { direction: Direction::NewestFirst, ..in_pages(truth, size) };
            let reading = bench.read(&*source, &request).await?;
            ensure!(reading.fingerprints() == whole, "{}: other rows newest first, pages of {size}", truth.stream);
        }
    }
    source.close(&bench.cx).await?;
    Ok(())
}

pub(super) async fn ties_over_page_edges(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Ties).await?;
    let source = bench.source()?;
    let truth = bench.fullest()?;
    let mut seconds: Vec<i64> = truth.facts.iter().map(|fact| fact.time.seconds()).collect();
    seconds.sort_unstable();
    let most = seconds.chunk_by(|a, b| a == b).map(<[i64]>::len).max().unwrap_or(0);
    ensure!(most > 20, "the subject's ties are {most} records in one second: the case shows nothing");
    for direction in [Direction::Any, Direction::NewestFirst] {
        for size in [None, Some(7), Some(10), Some(100)] {
            let request = PageRequest { direction, page_size: size, ..all(truth) };
            let reading = bench.read(&*source, &request).await?;
            compare(truth, &reading)?;
        }
    }
    source.close(&bench.cx).await?;
    Ok(())
}

pub(super) async fn cursors_go_on_in_a_fresh_source(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    for truth in bench.filled()? {
        let first = bench.source()?;
        let mut reader = bench.reader(&*first, &in_pages(truth, size_for(truth, 5)))?;
        while !reader.done() {
            // Nothing but JSON text survives.
            let text = serde_json::to_string(&reader.request).map_err(|error| Trouble::Broken(error.to_string()))?;
            reader.request = serde_json::from_str(&text).map_err(|error| Trouble::Broken(error.to_string()))?;
            let source = bench.source()?;
            let page = bench.fetch(&*source, &bench.cx, &reader.request).await?;
            reader.take(page)?;
            source.close(&bench.cx).await?;
        }
        compare(truth, &reader.reading)?;
    }
    Ok(())
}

pub(super) async fn a_page_can_be_asked_twice(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    for truth in bench.filled()? {
        let source = bench.source()?;
        let mut reader = bench.reader(&*source, &in_pages(truth, size_for(truth, 5)))?;
        while !reader.done() {
            // The first answer is lost. The second may be cut elsewhere; going on from it has to lose nothing.
            bench.fetch(&*source, &bench.cx, &reader.request).await?;
            let page = bench.fetch(&*source, &bench.cx, &reader.request).await?;
            reader.take(page)?;
        }
        compare(truth, &reader.reading)?;
        source.close(&bench.cx).await?;
    }
    Ok(())
}

pub(super) async fn streams_at_once(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    let cx = bench.cx_within(Duration::from_mins(1));
    let truths = bench.product.truths.iter().flat_map(|truth| [truth, truth]);
    try_join_all(truths.map(async |truth| {
        let reading = bench.read_with(&*source, &cx, &in_pages(truth, size_for(truth, 4))).await?;
        compare(truth, &reading)
    }))
    .await?;
    let logins = cx.meter.read().logins;
    ensure!(logins <= 1, "{logins} logins for one source");
    source.close(&cx).await?;
    Ok(())
}

pub(super) async fn windows_at_once(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    for truth in bench.filled()? {
        let windows = source.info().stream(&truth.stream).map_or(1, |stream| stream.parallel_windows).max(2);
        let mut times: Vec<_> = truth.facts.iter().map(|fact| fact.time).collect();
        times.sort_unstable();
        times.dedup();
        let mut edges: Vec<_> = (1..windows).map(|at| Some(times[at * times.len() / windows])).collect();
        edges.dedup();
        let froms = std::iter::once(None).chain(edges.iter().copied());
        let tos = edges.iter().copied().chain([None]);
        let read = froms.zip(tos).map(async |(from, to)| {
            let window = Window { from, to };
            let request = PageRequest { window, ..in_pages(truth, 5) };
            let reading = bench.read(&*source, &request).await?;
            compare_window(truth, window, &reading)
        });
        try_join_all(read).await?;
    }
    source.close(&bench.cx).await?;
    Ok(())
}

pub(super) async fn counts_are_true(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    for truth in &bench.product.truths {
        let page = bench.fetch(&*source, &bench.cx, &PageRequest { count_only: true, ..all(truth) }).await?;
        ensure!(page.rows.num_rows() == 0, "{}: rows where a count was asked for", truth.stream);
        ensure!(matches!(page.next, Next::End(_)), "{}: more to come of a count", truth.stream);
        if let Some(count) = page.observed.count {
            let held = truth.facts.len() as u64;
            // Two events of one record are one to the product.
            ensure!(count == held || count * 2 == held, "{}: counts {count}, holds {held}", truth.stream);
        }
    }
    source.close(&bench.cx).await?;
    Ok(())
}

pub(super) async fn following_ends(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    let streams = source.info().streams.iter().filter(|stream| stream.follow);
    let names: Vec<String> = streams.map(|stream| stream.name.clone()).collect();
    if names.is_empty() {
        return Err(Trouble::Skip("no stream can be followed".to_owned()));
    }
    for name in names {
        let begun = Instant::now();
        let window = Window { from: Some(bench.cx.now()), to: None };
        let request = PageRequest { follow: Some(Duration::from_millis(300)), ..PageRequest::first(&name, window) };
        bench.fetch(&*source, &bench.cx_within(Duration::from_secs(20)), &request).await?;
        ensure!(begun.elapsed() < Duration::from_secs(15), "{name}: waited {:?} of 0.3 s", begun.elapsed());
    }
    source.close(&bench.cx).await?;
    Ok(())
}

/// The first page of a stream, and where to go on; an error if it is the only one.
pub(super) async fn first_page(
    bench: &Bench<'_>,
    source: &dyn fedaudit_core::AuditSource,
    cx: &fedaudit_core::Context,
    truth: &Truth,
) -> Outcome<Cursor> {
    let page = bench.fetch(source, cx, &in_pages(truth, size_for(truth, 6))).await?;
    match page.next {
        Next::More(cursor) => Ok(cursor),
        Next::End(_) => Err(Trouble::Broken(format!("{}: one page only, too few for this case", truth.stream))),
    }
}
