//! `fedaudit query`: one question, its rows, its receipt.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use fedaudit_core::{Clock as _, Error, ErrorKind, Receipt, Result, Time, Window};
use fedaudit_engine::{Engine, Question};

use crate::cli::{Format, QueryArgs};
use crate::config::{self, Config};
use crate::exit::Exit;
use crate::output::{Output, Target};
use crate::times::{SystemClock, instant, span};
use crate::{progress, receipt_text, report};

pub(crate) async fn run(arguments: QueryArgs) -> Result<Exit> {
    if arguments.stored {
        return Err(Error::new(ErrorKind::Unsupported, "--stored: this version does not collect rows")
            .hint("leave it out: the products themselves are asked"));
    }
    let configured = config::load(&arguments.config)?;
    if configured.config.store.is_some() {
        tracing::warn!("'store' is configured, but this version asks the products only; nothing is collected");
    }
    let question = question(&arguments, &configured.config)?;
    let partial = arguments.partial.unwrap_or(configured.config.partial);
    let to_terminal = arguments.output.is_none() && std::io::stdout().is_terminal();
    // A plan is for people, wherever it goes.
    let explains = explains(&question.sql);
    let format = arguments.format.unwrap_or(if to_terminal || explains { Format::Table } else { Format::Ndjson });
    if to_terminal && matches!(format, Format::Parquet | Format::Arrow) {
        return Err(Error::new(ErrorKind::Config, "this format is not for a terminal").hint("add --output FILE"));
    }
    if let Some(path) = &arguments.receipt {
        // Better known now than after a long question; what stands there already stays until there is a new receipt.
        OpenOptions::new().create(true).append(true).open(path).map_err(|error| file_error(path, &error))?;
    }
    let target = arguments.output.clone().map_or(Target::Stdout, Target::File);
    let (receipt, outcome) =
        answer(&configured.engine, question, Output::new(format, target, explains), !explains).await?;
    if let Some(path) = &arguments.receipt {
        write_receipt(path, &receipt)?;
    }
    Ok(match outcome {
        Ok(()) => Exit::of_receipt(&receipt, partial),
        Err(None) => Exit::Complete,
        Err(Some(error)) => {
            report(&error);
            Exit::of_error(&error)
        }
    })
}

/// Asks, writes the rows as they come, and always ends what was begun on the products. An outcome of `Err(None)` is a
/// reader that went away.
pub(crate) async fn answer(
    engine: &Engine,
    question: Question,
    mut output: Output,
    tell: bool,
) -> Result<(Receipt, Result<(), Option<Error>>)> {
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
        () = crate::interrupt::requested() => Err(Error::new(ErrorKind::Unavailable, "interrupted")),
    };
    crate::interrupt::insist();
    let receipt = answer.finish().await;
    drop(progress);
    let outcome = outcome.and_then(|()| output.end(&receipt));
    if tell && !output.reader_left() {
        receipt_text::tell(&receipt);
    }
    // A reader that went away (`| head`) has all it wants.
    if output.reader_left() { Ok((receipt, Err(None))) } else { Ok((receipt, outcome.map_err(Some))) }
}

fn question(arguments: &QueryArgs, config: &Config) -> Result<Question> {
    let now: Time = SystemClock.now();
    let bound = |text: &Option<String>, flag: &str| {
        text.as_deref().map(|text| instant(text, now).map_err(|error| error.at(flag))).transpose()
    };
    let mut window = Window { from: bound(&arguments.from, "--from")?, to: bound(&arguments.to, "--to")? };
    let mut default_range = None;
    if let (None, false, Some(range)) = (window.from, arguments.all_time, &config.default_range) {
        window.from = Some(now.minus(span(range).map_err(|error| error.at("default_range"))?));
        default_range = Some(format!("the last {range}, from default_range"));
    }
    if window.is_empty() {
        return Err(Error::new(ErrorKind::Config, "--from is not before --to"));
    }
    let explained = explains(&arguments.sql);
    let sql =
        if arguments.explain && !explained { format!("EXPLAIN {}", arguments.sql) } else { arguments.sql.clone() };
    Ok(Question { sql, window, all_time: arguments.all_time, default_range })
}

fn explains(sql: &str) -> bool {
    sql.trim_start().get(..7).is_some_and(|word| word.eq_ignore_ascii_case("explain"))
}

fn write_receipt(path: &Path, receipt: &Receipt) -> Result<()> {
    let text = serde_json::to_string_pretty(receipt)
        .map_err(|error| Error::new(ErrorKind::Internal, format!("receipt: {error}")))?;
    let mut file = File::create(path).map_err(|error| file_error(path, &error))?;
    file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(|error| file_error(path, &error))
}

pub(crate) fn file_error(path: &Path, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Config, error.to_string()).at(path.display())
}
