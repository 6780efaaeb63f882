//! `fedaudit collect`: reads into the store what the products would forget, once or for ever.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use clap::Args;
use fedaudit_core::{Clock as _, Error, ErrorKind, Result, Status, Window};
use fedaudit_engine::Engine;
use fedaudit_store::collect::{Progress, Report, StreamProgress, StreamReport, Wanted, collect};
use fedaudit_store::{Place, Writer};
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use tokio::sync::watch;

use crate::cli::{ConfigArgs, Partial};
use crate::config::{self, Config};
use crate::exit::Exit;
use crate::interrupt::{Interrupts, insisting};
use crate::report;
use crate::terminal::{print, say};
use crate::times::{SystemClock, instant, span};

/// How often `--follow` collects, and how often anybody may.
const FOLLOW: Duration = Duration::from_mins(1);
const SHORTEST: Duration = Duration::from_secs(1);

/// Files that are no longer wanted are looked for once in so long: every file of the store is listed for that.
const VACUUM: Duration = Duration::from_hours(1);

pub(crate) const HELP: &str = "\
What is collected is in the store and its ledger as soon as a window has been read, so that the next run goes on from there,
whatever ended this one.

Ctrl-C, SIGTERM and SIGHUP end a run in good order: what was read is stored and entered, every login is given back. A second one
ends it at once.

Exit codes: 0 everything that was to be read was read; 3 something is missing, or it was stopped in the middle (see 'partial' in the
configuration); 1 no source answered, or the store cannot be written; 2 usage. With --every or --follow: that of the last run.

Examples:
  fedaudit collect                              once, as a timer would
  fedaudit collect --every 5m --json            again and again, a line of JSON for each run
  fedaudit collect nas-1 --from -30d --again    looks for late rows and edited records of one source";

#[derive(Debug, Args)]
pub(crate) struct CollectArgs {
    /// Only these sources
    sources: Vec<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Nothing older than this [default: as far back as each product keeps anything]
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    from: Option<String>,
    /// Nothing from here on [default: now]
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    to: Option<String>,
    /// Read again what is sealed, to find late rows and edited records
    #[arg(long)]
    again: bool,
    /// The system behind this source is another one now, and that is right
    #[arg(long, value_name = "SOURCE")]
    confirm: Vec<String>,
    /// Collect again and again, such as every 5m, until interrupted; a source that fails is asked again next time
    #[arg(long, value_name = "D")]
    every: Option<String>,
    /// The same every minute
    #[arg(long, conflicts_with = "every")]
    follow: bool,
    /// What was collected as JSON, one line for each run
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: CollectArgs) -> Result<Exit> {
    let mut interrupts = Interrupts::listen();
    let config = arguments.config.clone();
    let configured = interrupts.unless(move || config::load(&config)).await?;
    let place = place(&configured.config)?;
    let wanted = wanted(&arguments)?;
    let every = every(&arguments)?;
    let engine = &configured.engine;
    let writer = tokio::select! {
        writer = Writer::open(&place, engine.clock()) => writer?,
        // An object store that does not answer is asked for minutes.
        () = interrupts.requested() => {
            return Err(Error::new(ErrorKind::Unavailable, "interrupted before anything was read").at(&place));
        }
    };
    let (stopping, stop) = watch::channel(false);
    let work = async {
        let mut vacuumed: Option<Instant> = None;
        loop {
            let began = Instant::now();
            let report = once(engine, &writer, &wanted, stop.clone()).await?;
            tell(&report, arguments.json, began.elapsed())?;
            let exit = exit_of(&report, configured.config.partial);
            let mut stopped = stop.clone();
            let due = vacuumed.is_none_or(|before| before.elapsed() >= VACUUM);
            // To end in the middle of tidying loses nothing: a file that is not exchanged yet is the old one.
            tokio::select! {
                tidied = tidy(&writer, due) => tidied.map_err(|error| error.at(&place))?,
                _ = stopped.wait_for(|stop| *stop) => return Ok(exit),
            }
            if due {
                vacuumed = Some(Instant::now());
            }
            let Some(every) = every else { return Ok(exit) };
            tokio::select! {
                () = tokio::time::sleep(every.saturating_sub(began.elapsed())) => {}
                _ = stopped.wait_for(|stop| *stop) => return Ok(exit),
            }
        }
    };
    let mut work = std::pin::pin!(work);
    tokio::select! {
        exit = &mut work => return exit,
        () = interrupts.requested() => {}
    }
    // What was read until now is stored and entered before the program ends; who asks twice does not want to wait.
    let _insisting = insisting();
    stopping.send_replace(true);
    work.await
}

/// Where the configuration says that the store is.
pub(crate) fn place(config: &Config) -> Result<Place> {
    let Some(store) = &config.store else {
        return Err(Error::new(ErrorKind::Config, "no store is configured").hint(
            "say where collected rows shall live: store = \"~/.local/share/fedaudit\" in the configuration, or FEDAUDIT_STORE",
        ));
    };
    Place::parse(store)
}

/// How long from the begin of one run to that of the next, if there is a next one.
fn every(arguments: &CollectArgs) -> Result<Option<Duration>> {
    let Some(text) = &arguments.every else { return Ok(arguments.follow.then_some(FOLLOW)) };
    let every = span(text).map_err(|error| error.at("--every"))?;
    if every < SHORTEST {
        return Err(Error::new(ErrorKind::Config, "--every is at least 1s"));
    }
    Ok(Some(every))
}

async fn tidy(writer: &Writer, vacuum: bool) -> Result<()> {
    let mut tidied = writer.compact().await?;
    if vacuum {
        tidied.add(writer.vacuum().await?);
    }
    tracing::info!("{} files merged into {}, {} deleted", tidied.merged, tidied.into, tidied.deleted);
    Ok(())
}

fn wanted(arguments: &CollectArgs) -> Result<Wanted> {
    let now = SystemClock.now();
    let bound = |text: &Option<String>, flag: &str| {
        text.as_deref().map(|text| instant(text, now).map_err(|error| error.at(flag))).transpose()
    };
    let wanted = Wanted {
        from: bound(&arguments.from, "--from")?,
        to: bound(&arguments.to, "--to")?,
        sources: arguments.sources.clone(),
        confirmed: arguments.confirm.clone(),
        again: arguments.again,
    };
    if (Window { from: wanted.from, to: wanted.to }).is_empty() {
        return Err(Error::new(ErrorKind::Config, "--from is not before --to"));
    }
    Ok(wanted)
}

async fn once(engine: &Engine, writer: &Writer, wanted: &Wanted, stop: watch::Receiver<bool>) -> Result<Report> {
    let progress = Progress::default();
    let collecting = collect(engine, writer, wanted, &progress, stop);
    if !std::io::stderr().is_terminal() {
        return collecting.await;
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    let began = Instant::now();
    let mut collecting = std::pin::pin!(collecting);
    let report = loop {
        tokio::select! {
            report = &mut collecting => break report,
            () = tokio::time::sleep(Duration::from_millis(200)) => {
                bar.set_message(line(&progress.streams(), began.elapsed()));
                bar.tick();
            }
        }
    };
    bar.finish_and_clear();
    report
}

/// Rows, how fast they come, and when it will be over if it goes on like this.
fn line(streams: &[StreamProgress], elapsed: Duration) -> String {
    let sum = |of: fn(&StreamProgress) -> u64| streams.iter().map(of).sum::<u64>();
    let (rows, todo, done) = (sum(|s| s.rows), sum(|s| s.todo), sum(|s| s.done));
    let rate = rows as f64 / elapsed.as_secs_f64().max(0.001);
    let open = streams.iter().filter(|stream| stream.done < stream.todo).count();
    let end = if done > 0 && done < todo {
        let rest = elapsed.mul_f64((todo - done) as f64 / done as f64);
        format!(", about {} left", HumanDuration(rest))
    } else {
        String::new()
    };
    format!("{rows} rows, {rate:.0} a second, {open} of {} streams to go{end}", streams.len())
}

fn tell(report: &Report, json: bool, elapsed: Duration) -> Result<()> {
    for note in &report.notes {
        say(&format!("note: {note}"));
    }
    for stream in &report.streams {
        if let Some(error) = &stream.error {
            say(&format!("{}/{}: {}: {}", stream.source, stream.stream, error.error_kind, error.error_text));
            if let Some(hint) = &error.hint {
                say(&format!("hint: {hint}"));
            }
        }
    }
    if json {
        let text = serde_json::to_string(report)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("report: {error}")))?;
        print([text.as_str()])?;
    } else {
        let lines: Vec<String> = report.streams.iter().map(described).collect();
        print(lines.iter().map(String::as_str))?;
        let new: u64 = report.streams.iter().map(|stream| stream.counts.new).sum();
        say(&format!("{new} new rows in {:.1} s", elapsed.as_secs_f64()));
    }
    if report.stopped {
        report_stopped();
    }
    Ok(())
}

fn report_stopped() {
    report(
        &Error::new(ErrorKind::Unavailable, "stopped before everything was read")
            .hint("what was read is stored; the next run goes on from there"),
    );
}

fn described(stream: &StreamReport) -> String {
    let counts = &stream.counts;
    let name = format!("{}/{}", stream.source, stream.stream);
    let mut line = format!("{name:<32} {:<9} {:>9} new", stream.status.as_str(), counts.new);
    for (count, what) in [
        (counts.duplicate, "known"),
        (counts.rejected, "not decoded"),
        (counts.late, "late"),
        (counts.edited, "edited at the source"),
    ] {
        if count > 0 {
            line = format!("{line}, {count} {what}");
        }
    }
    if let Some(sealed_to) = stream.sealed_to {
        line = format!("{line}; sealed to {sealed_to}");
    }
    for forgotten in stream.forgotten.iter() {
        line = format!("{line}; forgotten by the product: {forgotten}");
    }
    line
}

fn exit_of(report: &Report, partial: Partial) -> Exit {
    let failed = |stream: &StreamReport| matches!(stream.status, Status::Denied | Status::Failed);
    if !report.streams.is_empty() && report.streams.iter().all(failed) {
        return Exit::Failed;
    }
    Exit::missing(!report.is_whole(), partial)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(todo: u64, done: u64, rows: u64) -> StreamProgress {
        StreamProgress { source: "nas".into(), stream: "log".into(), todo, done, rows }
    }

    #[test]
    fn progress_tells_the_rate_and_the_end() {
        let streams = [stream(100, 100, 500), stream(300, 100, 1500)];
        let line = line(&streams, Duration::from_mins(2));
        assert_eq!(line, "2000 rows, 17 a second, 1 of 2 streams to go, about 2 minutes left");
        assert_eq!(super::line(&[], Duration::ZERO), "0 rows, 0 a second, 0 of 0 streams to go");
    }
}
