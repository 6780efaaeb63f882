//! A real product, of which nobody knows what is true: what can be held against the contract all the same. It is asked for its
//! last day only, and for a limited number of pages.

use std::time::Duration;

use fedaudit_core::{AuditSource, Context, Direction, ErrorKind, PageRequest, PluginInfo, StreamInfo, Time, Window};

use super::bench::Reader;
use super::cases::described::sound;
use super::reading::Reading;
use super::soundness::unsound;
use super::{Outcome, Report, Trouble, all_cases, ensure};

/// What each case shows here, which is less than with a product about which everything is known.
pub const LIVE: &[(&str, &str)] = &[
    ("U1", "every stream has a name, a time field, columns that exist and blind spots that can be checked"),
    ("U8", "a stream that does not exist is an error, not an empty answer"),
    ("U11", "pages of the last day keep the contract, in both directions: columns, words, keys, cursors, frontiers"),
    ("U25", "a window in the future holds nothing and ends"),
    ("U26", "an empty window holds nothing and ends"),
    ("U34", "the day before the last hour has the same keys in two readings"),
    ("U50", "check proves the login"),
    ("U63", "close twice, and a check after it, do no harm"),
];

/// Most pages of a stream that are read.
const PAGES: usize = 50;
const DAY: Duration = Duration::from_hours(24);

/// Asks a source of a real product. The cases have the numbers that they have in the suite.
pub async fn live(source: &dyn AuditSource, plugin: &PluginInfo, cx: &Context) -> Report {
    let mut report = Report { plugin: plugin.kind.clone(), ..Report::default() };
    report.add("U1", sound(source.info(), plugin));
    report.add("U8", unknown_streams(source, cx).await);
    let denied = match source.check(cx).await {
        Ok(health) => {
            report.add("U50", Ok(()));
            health.denied
        }
        Err(error) => {
            report.add("U50", Err(error.into()));
            Vec::new()
        }
    };
    let mut outcomes: [(&'static str, Outcome); 4] =
        [("U11", Ok(())), ("U25", Ok(())), ("U26", Ok(())), ("U34", Ok(()))];
    for stream in &source.info().streams {
        if let Some((_, reason)) = denied.iter().find(|(name, _)| *name == stream.name) {
            report.skipped.push((stream.name.clone(), format!("this account may not read it: {reason}")));
            continue;
        }
        let came = [
            last_day(source, stream, cx).await,
            nothing_in(source, stream, cx, Window { from: Some(cx.now().plus(9000 * DAY)), to: None }).await,
            nothing_in(source, stream, cx, Window::new(cx.now(), cx.now())).await,
            same_keys(source, stream, cx).await,
        ];
        for ((_, outcome), came) in outcomes.iter_mut().zip(came) {
            // The first that says something.
            if outcome.is_ok() {
                *outcome = came;
            }
        }
    }
    for (id, outcome) in outcomes {
        report.add(id, outcome);
    }
    report.add("U63", closed_and_opened(source, cx).await);
    for case in all_cases() {
        if !report.ran.contains(&case.id) {
            let reason = "needs a stand-in: it breaks answers, or has to know what is true";
            report.skipped.push((case.id.to_owned(), reason.to_owned()));
        }
    }
    report
}

async fn unknown_streams(source: &dyn AuditSource, cx: &Context) -> Outcome {
    let outcome = source.fetch(cx, &PageRequest::first("no.such.stream", Window::ALL)).await;
    ensure!(outcome.is_err(), "a stream that does not exist gives an answer");
    Ok(())
}

/// Pages of the last day, each held against the contract.
async fn last_day(source: &dyn AuditSource, stream: &StreamInfo, cx: &Context) -> Outcome {
    let window = Window::new(cx.now().minus(DAY), cx.now());
    for direction in [Direction::Any, Direction::NewestFirst] {
        read(source, stream, cx, window, direction).await?;
    }
    Ok(())
}

async fn read(
    source: &dyn AuditSource,
    stream: &StreamInfo,
    cx: &Context,
    window: Window,
    direction: Direction,
) -> Outcome<Reading> {
    let request = PageRequest { direction, ..PageRequest::first(&stream.name, window) };
    let mut reader = Reader::new(stream.kind, &request, PAGES + 1);
    while !reader.done() && reader.reading.pages() < PAGES {
        let page = source.fetch(cx, &reader.request).await?;
        if let Some(wrong) = unsound(&page.rows, stream.kind) {
            return Err(Trouble::Broken(format!("{}: {wrong}", stream.name)));
        }
        reader.take(page)?;
    }
    Ok(reader.reading)
}

async fn nothing_in(source: &dyn AuditSource, stream: &StreamInfo, cx: &Context, window: Window) -> Outcome {
    let reading = read(source, stream, cx, window, Direction::Any).await?;
    let inside = |time: &Time| window.contains(*time) && reading.time_column() == "time";
    let inside = reading.times().into_iter().flatten().filter(inside).count();
    ensure!(inside == 0, "{} {window}: {inside} rows", stream.name);
    Ok(())
}

/// What was over an hour ago does not change any more.
async fn same_keys(source: &dyn AuditSource, stream: &StreamInfo, cx: &Context) -> Outcome {
    if stream.kind == fedaudit_core::StreamKind::Sessions {
        return Ok(());
    }
    let to = cx.now().minus(Duration::from_hours(1).max(2 * stream.lateness));
    let window = Window::new(to.minus(DAY), to);
    let one = read(source, stream, cx, window, Direction::Any).await?;
    let other = read(source, stream, cx, window, Direction::Any).await?;
    ensure!(one.key_set() == other.key_set(), "{}: other keys in another reading", stream.name);
    Ok(())
}

async fn closed_and_opened(source: &dyn AuditSource, cx: &Context) -> Outcome {
    source.close(cx).await?;
    source.close(cx).await?;
    match source.check(cx).await {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::RateLimited => {}
        Err(error) => return Err(error.into()),
    }
    source.close(cx).await?;
    Ok(())
}
