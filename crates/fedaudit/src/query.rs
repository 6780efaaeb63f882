//! `fedaudit query`: one question, its rows, its receipt.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;
use std::sync::Arc;

use fedaudit_core::{Clock as _, Error, ErrorKind, Receipt, Result, Side, Time, Window};
use fedaudit_engine::{Collected, Engine, Question};
use fedaudit_store::Store;

use crate::cli::{Format, QueryArgs};
use crate::collect::place;
use crate::config::{self, Config};
use crate::exit::Exit;
use crate::files::{Draft, are_one, file_error};
use crate::interrupt::{Interrupts, insisting};
use crate::output::{Output, Target};
use crate::times::{SystemClock, instant};
use crate::{progress, receipt_text};

pub(crate) async fn run(arguments: QueryArgs) -> Result<Exit> {
    // While somebody still types the question, an interrupt just ends the program.
    let sql = sql(&arguments);
    let mut interrupts = Interrupts::listen();
    let paper = match &arguments.receipt {
        Some(path) if are_one(arguments.output.as_deref(), path) => {
            return Err(Error::new(ErrorKind::Config, "the receipt would replace the answer")
                .at(path.display())
                .hint("give --receipt a file of its own; --format json holds rows and receipt in one document"));
        }
        Some(path) => Some(Draft::of(path)?),
        None => None,
    };
    // What is known without an answer. A receipt of an earlier question must not stand for this one.
    let mut receipt = Receipt { as_of: Some(SystemClock.now()), ..Receipt::default() };
    let outcome = match sql {
        Ok(sql) => ask(&arguments, sql, &mut receipt, &mut interrupts).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &outcome {
        not_whole(&mut receipt, error);
    }
    let written = paper.map_or(Ok(()), |paper| write_receipt(paper, &receipt));
    outcome.and_then(|exit| written.map(|()| exit))
}

async fn ask(arguments: &QueryArgs, sql: String, receipt: &mut Receipt, interrupts: &mut Interrupts) -> Result<Exit> {
    receipt.sql = sql;
    let config = arguments.config.clone();
    let configured = interrupts.unless(move || config::load(&config)).await?;
    let mut question = question(arguments, &receipt.sql, &configured.config)?;
    receipt.sql.clone_from(&question.sql);
    receipt.window = question.window;
    let partial = arguments.partial.unwrap_or(configured.config.partial);
    let to_terminal = arguments.output.is_none() && std::io::stdout().is_terminal();
    // A plan is for people, wherever it goes.
    let explains = explains(&question.sql);
    let format = arguments.format.unwrap_or(if to_terminal || explains { Format::Table } else { Format::Ndjson });
    if to_terminal && matches!(format, Format::Parquet | Format::Arrow) {
        return Err(Error::new(ErrorKind::Config, "this format is not for a terminal").hint("add --output FILE"));
    }
    let target = match &arguments.output {
        Some(path) => Target::File(Draft::of(path)?),
        None => Target::Stdout,
    };
    let output = Output::new(format, target, explains);
    // The store is looked at before any product is: what is written to it meanwhile is read from the product.
    question.collected = tokio::select! {
        store = store(&configured.config, question.side) => store?,
        () = interrupts.requested() => return Err(Error::new(ErrorKind::Unavailable, "interrupted")),
    };
    let answered = answer(&configured.engine, question, output, interrupts).await?;
    *receipt = answered.receipt;
    match answered.outcome {
        Outcome::Whole => Ok(Exit::of_receipt(receipt, partial)),
        Outcome::ReaderLeft => Ok(Exit::of_beginning(receipt, partial)),
        Outcome::Failed(error) => Err(error),
    }
}

/// The store that the configuration names, as it is now; none if the products alone are asked, or nothing was collected yet.
/// One that cannot be read is an error: without it an answer would look as if nothing had ever been collected.
async fn store(config: &Config, side: Option<Side>) -> Result<Option<Arc<dyn Collected>>> {
    if side == Some(Side::Live) || (side.is_none() && config.store.is_none()) {
        return Ok(None);
    }
    match Store::open(&place(config)?, SystemClock.now()).await {
        Ok(store) => Ok(Some(Arc::new(store))),
        Err(error) if error.kind() == ErrorKind::NotFound && side.is_none() => Ok(None),
        Err(error) if error.hint_text().is_none() => {
            Err(error.hint("--live asks the products alone, for as far back as they remember"))
        }
        Err(error) => Err(error),
    }
}

/// A question that was asked.
pub(crate) struct Answered {
    pub(crate) receipt: Receipt,
    pub(crate) outcome: Outcome,
}

/// What became of the rows.
pub(crate) enum Outcome {
    /// All were written.
    Whole,
    /// The reader of the answer had enough.
    ReaderLeft,
    /// They could not be computed or written, or somebody interrupted.
    Failed(Error),
}

/// Asks, writes the rows as they come, always ends what was begun on the products, and tells the receipt of what was asked.
pub(crate) async fn answer(
    engine: &Engine,
    question: Question,
    mut output: Output,
    interrupts: &mut Interrupts,
) -> Result<Answered> {
    let mut answer = engine.ask(question).await?;
    let progress = progress::show(answer.progress());
    let written = async {
        output.begin(answer.schema())?;
        while let Some(rows) = answer.next().await {
            output.rows(&rows?)?;
        }
        Ok(())
    };
    let outcome: Result<()> = tokio::select! {
        outcome = written => outcome,
        () = interrupts.requested() => Err(Error::new(ErrorKind::Unavailable, "interrupted")),
    };
    let insisting = insisting();
    let mut receipt = answer.finish().await;
    drop(insisting);
    drop(progress);
    let outcome = match outcome.and_then(|()| output.end(&receipt)) {
        _ if output.reader_left() => Outcome::ReaderLeft,
        Ok(()) => Outcome::Whole,
        Err(error) => {
            not_whole(&mut receipt, &error);
            Outcome::Failed(error)
        }
    };
    // A plan alone rests on nothing; EXPLAIN ANALYZE does ask.
    if !output.is_plan() || !receipt.streams.is_empty() {
        receipt_text::tell(&receipt, &outcome);
    }
    Ok(Answered { receipt, outcome })
}

/// Rows that nobody got are missing, however well they were read.
fn not_whole(receipt: &mut Receipt, error: &Error) {
    receipt.complete = false;
    receipt.error.get_or_insert_with(|| error.into());
}

/// The question's text, from wherever it is.
fn sql(arguments: &QueryArgs) -> Result<String> {
    let text = match (&arguments.sql, &arguments.file) {
        (Some(sql), _) if sql != "-" => return Ok(sql.clone()),
        (_, Some(path)) if path != Path::new("-") => {
            std::fs::read_to_string(path).map_err(|error| file_error(path, &error))?
        }
        _ => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|error| file_error(Path::new("stdin"), &error))?;
            text
        }
    };
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

fn question(arguments: &QueryArgs, sql: &str, config: &Config) -> Result<Question> {
    let now: Time = SystemClock.now();
    let bound = |text: &Option<String>, flag: &str| {
        text.as_deref().map(|text| instant(text, now).map_err(|error| error.at(flag))).transpose()
    };
    let window = Window { from: bound(&arguments.from, "--from")?, to: bound(&arguments.to, "--to")? };
    if window.is_empty() {
        return Err(Error::new(ErrorKind::Config, "--from is not before --to"));
    }
    let sql = if arguments.explain && !explains(sql) { format!("EXPLAIN {sql}") } else { sql.to_owned() };
    let default_range = config.default_range.as_ref().map(|span| span.0);
    let side = match (arguments.live, arguments.stored) {
        (true, _) => Some(Side::Live),
        (_, true) => Some(Side::Stored),
        _ => None,
    };
    Ok(Question { sql, window, all_time: arguments.all_time, default_range, collected: None, side })
}

/// Whether this asks for a plan, behind any comments.
fn explains(sql: &str) -> bool {
    let mut rest = sql.trim_start();
    loop {
        let end = match rest.get(..2) {
            Some("--") => "\n",
            Some("/*") => "*/",
            _ => break,
        };
        rest = rest.split_once(end).map_or("", |(_, rest)| rest).trim_start();
    }
    rest.get(..7).is_some_and(|word| word.eq_ignore_ascii_case("explain"))
}

fn write_receipt(paper: Draft, receipt: &Receipt) -> Result<()> {
    let text = serde_json::to_string_pretty(receipt)
        .map_err(|error| Error::new(ErrorKind::Internal, format!("receipt: {error}")))?;
    paper.keep_text(&(text + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_known_behind_comments() {
        for plan in ["EXPLAIN SELECT 1", " explain analyze SELECT 1", "-- why\n/* so */ Explain SELECT 1"] {
            assert!(explains(plan), "{plan}");
        }
        for question in ["SELECT 1", "-- EXPLAIN", "", "/*", "é", "--"] {
            assert!(!explains(question), "{question}");
        }
    }
}
