//! `fedaudit watch`: the events of all sources as they happen, until somebody interrupts.

mod line;
mod state;

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use fedaudit_core::{Clock as _, Error, ErrorKind, Result};
use fedaudit_engine::arrow::array::{BooleanArray, RecordBatch};
use fedaudit_engine::arrow::datatypes::{DataType, Field, Schema};
use fedaudit_engine::{Memory, News, Watching};

use self::state::State;
use crate::cli::{WatchArgs, WatchFormat};
use crate::config;
use crate::exit::Exit;
use crate::interrupt::{Interrupts, insisting};
use crate::output::json_lines;
use crate::report;
use crate::terminal::say;
use crate::times::{SystemClock, instant, span};

/// Shortest pause between two questions to one stream: products are not there to be asked all the time.
const SHORTEST: Duration = Duration::from_secs(1);

pub(crate) async fn run(arguments: WatchArgs) -> Result<Exit> {
    let now = SystemClock.now();
    let every = span(&arguments.every).map_err(|error| error.at("--every"))?;
    if every < SHORTEST {
        return Err(Error::new(ErrorKind::Config, "--every is at least 1s"));
    }
    let watching = Watching {
        filter: arguments.filter.clone(),
        from: instant(arguments.from.as_deref().unwrap_or("now"), now).map_err(|error| error.at("--from"))?,
        every,
        quiet_after: span(&arguments.quiet_after).map_err(|error| error.at("--quiet-after"))?,
    };
    let mut interrupts = Interrupts::listen();
    let config = arguments.config.clone();
    let configured = interrupts.unless(move || config::load(&config)).await?;
    let (mut state, memory) = match &arguments.state {
        Some(path) => State::open(path).map(|(state, memory)| (Some(state), memory))?,
        None => (None, Memory::default()),
    };
    let format = arguments.format.unwrap_or(if std::io::stdout().is_terminal() {
        WatchFormat::Line
    } else {
        WatchFormat::Ndjson
    });
    let mut watch = configured.engine.watch(&watching, &memory)?;
    say(&format!("watching {}; Ctrl-C ends it", watch.streams().collect::<Vec<_>>().join(", ")));
    let outcome = loop {
        let news = tokio::select! {
            news = watch.next() => news,
            () = interrupts.requested() => break Ok(()),
        };
        let shown = news.and_then(|news| show(news, format));
        match shown {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
        let notes = watch.notes();
        if let Some(state) = &mut state
            && let Err(error) = state.add(notes)
        {
            break Err(error);
        }
    };
    let insisting = insisting();
    for error in watch.close().await {
        report(&error);
    }
    drop(insisting);
    outcome.map(|()| Exit::Complete)
}

/// Shows what is new: rows on stdout, the rest on stderr. False when nobody reads any more.
fn show(news: News, format: WatchFormat) -> Result<bool> {
    match news {
        News::Rows { rows, late } => {
            let text = match format {
                WatchFormat::Ndjson => json_lines(&marked(&rows, late)?)?,
                WatchFormat::Line => line::lines(&rows, late)?.into_bytes(),
            };
            let mut stdout = std::io::stdout().lock();
            return match stdout.write_all(&text).and_then(|()| stdout.flush()) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
                Err(error) => Err(Error::new(ErrorKind::Internal, format!("writing: {error}"))),
            };
        }
        News::Answers(stream) => tell(&format!("{stream} answers")),
        News::Failed { stream: _, error, again } => {
            tell(&format!("{error}; asked again in {} s", again.as_secs()));
            if let Some(hint) = error.hint_text() {
                say(&format!("hint: {hint}"));
            }
        }
        News::Quiet { stream, since } => {
            tell(&format!("{stream} answers, but nothing has come for {} s", since.as_secs()))
        }
        News::Blind(stream) => tell(&format!("{stream} can never show what is watched for: it is not asked")),
        News::Remark { stream, text } => tell(&format!("{stream}: {text}")),
    }
    Ok(true)
}

fn tell(text: &str) {
    say(&format!("{} {text}", SystemClock.now()));
}

/// The rows with a column that says whether they are late.
fn marked(rows: &RecordBatch, late: bool) -> Result<RecordBatch> {
    let schema = rows.schema();
    let fields = schema.fields().iter().cloned().chain([Arc::new(Field::new("late", DataType::Boolean, false))]);
    let marks = BooleanArray::from(vec![late; rows.num_rows()]);
    let columns = rows.columns().iter().cloned().chain([Arc::new(marks) as _]);
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns.collect())
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
}
