//! Collects what the products would forget: every stream from the oldest unsealed instant on, those first whose product
//! forgets soonest. What was collected is in the ledger, so that the next run goes on where this one ended, however it ended.

mod plan;
mod report;
mod steps;

use std::collections::BTreeMap;
use std::time::Duration;

use fedaudit_core::{
    Error, ErrorKind, ReceiptError, Result, SourceHealth, Status, StreamInfo, StreamKind, Time, Window, Windows,
};
use fedaudit_engine::{Engine, Source, Whole};
use futures::StreamExt as _;
use tokio::sync::watch;

pub use self::report::{Progress, Report, StreamProgress, StreamReport};

use self::plan::Plan;
use self::steps::Steps;
use crate::entry::{Entry, Reading};
use crate::identity::Identity;
use crate::writer::Writer;

/// What is to be collected.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Not before this; none: as far back as the product keeps anything.
    pub from: Option<Time>,
    /// Not from here on; none: up to now.
    pub to: Option<Time>,
    /// Only these sources; none: all.
    pub sources: Vec<String>,
    /// Sources for which a change of identity is confirmed.
    pub confirmed: Vec<String>,
    /// Reads again what is sealed, to find late rows and edited records.
    pub again: bool,
}

/// How far back a stream is read of which nobody says how long it is kept.
const UNKNOWN_HISTORY: Duration = Duration::from_hours(24 * 30);

/// How many streams are read at once. Their rows share the memory.
const STREAMS_AT_ONCE: usize = 4;

/// One stream to be collected.
struct Job<'e> {
    source: &'e Source,
    stream: &'e StreamInfo,
    plan: Plan,
    /// Lists what is open now and nothing else.
    live_list: bool,
}

/// Collects once. `stop` ends it early, in good order: what was read until then is stored and entered.
pub async fn collect(
    engine: &Engine,
    writer: &Writer,
    wanted: &Wanted,
    progress: &Progress,
    stop: watch::Receiver<bool>,
) -> Result<Report> {
    if let Some(unknown) = wanted.sources.iter().find(|name| !engine.sources().iter().any(|known| known.name == **name))
    {
        return Err(Error::new(ErrorKind::Config, format!("there is no source '{unknown}'")));
    }
    let sources: Vec<&Source> = engine
        .sources()
        .iter()
        .filter(|source| wanted.sources.is_empty() || wanted.sources.contains(&source.name))
        .collect();
    let collected = from_all(engine, writer, wanted, progress, &stop, &sources).await;
    // However it ended, every login is given back.
    let mut notes = Vec::new();
    for source in &sources {
        if let Err(error) = engine.close(&source.name).await {
            notes.push(format!("{}: {error}", source.name));
        }
    }
    let mut report = collected.map_err(|error| error.at(writer.place()))?;
    report.notes.extend(notes);
    report.streams.sort_by(|a, b| (&a.source, &a.stream).cmp(&(&b.source, &b.stream)));
    report.stopped = *stop.borrow();
    Ok(report)
}

async fn from_all(
    engine: &Engine,
    writer: &Writer,
    wanted: &Wanted,
    progress: &Progress,
    stop: &watch::Receiver<bool>,
    sources: &[&Source],
) -> Result<Report> {
    let checks = sources.iter().map(|source| contact(engine, writer, source, wanted));
    let mut report = Report::default();
    let mut stopped = stop.clone();
    let contacts = tokio::select! {
        contacts = futures::future::join_all(checks) => contacts,
        // Nobody waits for a product that does not answer.
        _ = stopped.wait_for(|stop| *stop) => return Ok(report),
    };
    let mut jobs = Vec::new();
    for (source, health) in sources.iter().zip(contacts) {
        match health {
            Ok(health) => jobs.extend(jobs_of(engine, writer, source, &health, wanted, &mut report).await?),
            Err(error) => refused(engine, writer, source, wanted, &error, &mut report).await?,
        }
    }
    // What is forgotten soonest is read first.
    jobs.sort_by_key(|job| job.plan.forgotten_in(engine.now()));
    for job in &jobs {
        progress.expect(&job.source.name, &job.stream.name, &job.plan.todo);
    }
    let mut done = futures::stream::iter(jobs.iter().map(|job| one(engine, writer, job, progress, stop.clone())))
        .buffer_unordered(STREAMS_AT_ONCE);
    let mut failed = None;
    while let Some(stream) = done.next().await {
        match stream {
            Ok(stream) => report.streams.push(stream),
            // The store itself fails: nothing more can be kept.
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(report), Err)
}

/// Proves access, and that the system is the one that it was.
async fn contact(engine: &Engine, writer: &Writer, source: &Source, wanted: &Wanted) -> Result<SourceHealth> {
    let health = engine.check(&source.name).await?;
    let found = Identity {
        source: source.name.clone(),
        source_key: source.source_key.clone(),
        product: source.plugin.info().product.clone(),
        fingerprint: health.fingerprint.clone(),
        product_version: health.product_version.clone(),
        pinned_at: engine.now(),
        reason: "",
    };
    writer.identify(found, wanted.confirmed.contains(&source.name)).await?;
    Ok(health)
}

async fn jobs_of<'e>(
    engine: &Engine,
    writer: &Writer,
    source: &'e Source,
    health: &SourceHealth,
    wanted: &Wanted,
    report: &mut Report,
) -> Result<Vec<Job<'e>>> {
    let info = source.plugin.info();
    let denied: BTreeMap<&str, &str> =
        health.denied.iter().map(|(stream, reason)| (stream.as_str(), reason.as_str())).collect();
    let mut jobs = Vec::new();
    for stream in &info.streams {
        let now = engine.now();
        let coverage = writer.coverage(&source.source_key, &stream.name).await;
        let live_list = info.is_live_list(stream);
        let plan = if live_list {
            Plan::of_now(now)
        } else {
            Plan::new(stream, &coverage, health.retention_floor, wanted, now)
        };
        if let Some(reason) = denied.get(stream.name.as_str()) {
            let error = Error::new(ErrorKind::Denied, (*reason).to_owned());
            report.streams.push(not_read(engine, writer, source, stream, plan.asked, &error).await?);
            continue;
        }
        if !plan.untold.is_empty() {
            tracing::warn!("{}/{}: the product has forgotten {}", source.name, stream.name, list(&plan.untold));
            for gone in plan.untold.iter() {
                writer.enter(forgotten(engine, source, stream, &plan, gone)).await?;
            }
        } else if plan.is_urgent(now) {
            tracing::warn!("{}/{}: the product is about to forget what is not collected yet", source.name, stream.name);
        }
        jobs.push(Job { source, stream, plan, live_list });
    }
    Ok(jobs)
}

/// A source that cannot be read at all: each of its streams says so in the ledger.
async fn refused(
    engine: &Engine,
    writer: &Writer,
    source: &Source,
    wanted: &Wanted,
    error: &Error,
    report: &mut Report,
) -> Result<()> {
    for stream in &source.plugin.info().streams {
        let coverage = writer.coverage(&source.source_key, &stream.name).await;
        let plan = Plan::new(stream, &coverage, None, wanted, engine.now());
        report.streams.push(not_read(engine, writer, source, stream, plan.asked, error).await?);
    }
    Ok(())
}

async fn not_read(
    engine: &Engine,
    writer: &Writer,
    source: &Source,
    stream: &StreamInfo,
    asked: Window,
    error: &Error,
) -> Result<StreamReport> {
    let mut entry = Entry::begun(&reading(source, stream), &crate::file::fresh_id(), asked, engine.now());
    entry.status = Status::of_error(error.kind());
    entry.error = Some(ReceiptError::from(error));
    let mut report = StreamReport::new(&source.name, &stream.name);
    report.add(&entry);
    // A mistake in the configuration says nothing about the product.
    if error.kind() != ErrorKind::Config {
        writer.enter(entry).await?;
    }
    Ok(report)
}

fn forgotten(engine: &Engine, source: &Source, stream: &StreamInfo, plan: &Plan, gone: Window) -> Entry {
    let mut entry = Entry::begun(&reading(source, stream), &crate::file::fresh_id(), gone, engine.now());
    entry.status = Status::Expired;
    entry.error = None;
    entry.retention_floor = plan.floor;
    entry.notes.push(format!("the product had forgotten {gone} before it was collected"));
    entry
}

/// Reads one stream, window after window.
async fn one(
    engine: &Engine,
    writer: &Writer,
    job: &Job<'_>,
    progress: &Progress,
    mut stop: watch::Receiver<bool>,
) -> Result<StreamReport> {
    let Job { source, stream, plan, live_list } = job;
    let mut report = StreamReport::new(&source.name, &stream.name);
    report.forgotten = plan.forgotten.clone();
    let mut steps = Steps::new(plan.todo.clone(), stream);
    while let Some(window) = steps.next().filter(|_| !*stop.borrow()) {
        let mut whole = engine.read_whole(&source.name, &stream.name, window)?;
        if *live_list {
            whole = whole.keeping_everything();
        }
        let mut fetch = writer.begin(&reading(source, stream), whole.fetch_id(), window, whole.as_of()).await?;
        let taken =
            take(writer, &mut whole, &mut fetch, &mut stop, |rows| progress.rows(&source.name, &stream.name, rows));
        let taken = taken.await;
        let mut end = whole.finish().await?;
        taken?;
        if *live_list {
            // What is open now says nothing about any time that has passed.
            end.receipt.covered.clear();
        }
        let entry = writer.end(fetch, &end.receipt, end.clock_offset_ms).await?;
        steps.took(entry.counts.returned);
        report.add(&entry);
        report.requests += end.wire.requests;
        progress.done(&source.name, &stream.name, window);
        if matches!(entry.status, Status::Failed | Status::Denied) {
            break;
        }
    }
    Ok(report)
}

/// Hands the rows of a window to the writer until there are no more, or somebody wants to stop.
async fn take(
    writer: &Writer,
    whole: &mut Whole,
    fetch: &mut crate::writer::Fetch,
    stop: &mut watch::Receiver<bool>,
    mut told: impl FnMut(u64),
) -> Result<()> {
    loop {
        let rows = tokio::select! {
            rows = whole.next() => rows,
            _ = stop.wait_for(|stop| *stop) => None,
        };
        let rejected = whole.take_rejected();
        writer.rejected(fetch, &rejected).await?;
        let Some(rows) = rows else { return Ok(()) };
        let rows = rows?;
        told(rows.num_rows() as u64);
        writer.rows(fetch, rows).await?;
    }
}

fn reading<'s>(source: &'s Source, stream: &'s StreamInfo) -> Reading<'s> {
    let info = source.plugin.info();
    Reading {
        source: &source.name,
        source_key: &source.source_key,
        product: &info.product,
        stream: &stream.name,
        table: match stream.kind {
            StreamKind::Events => "events",
            StreamKind::Sessions => "sessions",
        },
        lateness_s: stream.lateness.as_secs() + u64::from(stream.lateness.subsec_nanos() > 0),
        plugin: &info.plugin,
        plugin_version: &info.plugin_version,
    }
}

fn list(windows: &Windows) -> String {
    windows.iter().map(|window| window.to_string()).collect::<Vec<_>>().join(", ")
}

/// A switch that is never used, for a run that nobody stops.
pub fn never() -> watch::Receiver<bool> {
    static NEVER: std::sync::LazyLock<watch::Sender<bool>> = std::sync::LazyLock::new(|| watch::Sender::new(false));
    NEVER.subscribe()
}
