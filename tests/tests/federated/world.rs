//! What the federated tests share: four running products, the sources that read them, questions and their answers as text.

use std::path::PathBuf;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use fedaudit_core::{Receipt, Result, Status, StreamReceipt, Time, Window};
use fedaudit_engine::{Engine, Options, Question, Source};
use fedaudit_testkit::{Demo, DemoOptions, LogEntry, Settings};
pub(crate) use fedaudit_tests::TO;
use fedaudit_tests::{AfterTheHistory, behind, read_config};
use tempfile::TempDir;
use toml::Table;

/// Four running products and the configuration of their reader.
pub(crate) struct Lab {
    pub(crate) demo: Demo,
    pub(crate) tables: Vec<Table>,
    pub(crate) folder: TempDir,
}

/// A small organisation.
pub(crate) fn small(seed: u64) -> Settings {
    Settings { events: 4000, people: 16, ..Settings::new(seed, TO) }
}

impl Lab {
    pub(crate) async fn start(settings: Settings) -> Self {
        let demo = Demo::start(settings, DemoOptions { behind: behind(), ..DemoOptions::default() }).await.unwrap();
        let folder = TempDir::new().unwrap();
        let path = demo.write_config(folder.path()).unwrap();
        Self { demo, tables: read_config(&path).unwrap(), folder }
    }

    /// The configuration of one source, to be changed.
    pub(crate) fn table(&mut self, name: &str) -> &mut Table {
        self.tables.iter_mut().find(|table| table["name"].as_str() == Some(name)).unwrap()
    }

    /// A file beside the configuration.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// An engine over all four sources.
    pub(crate) fn engine(&self) -> Engine {
        engine(self.tables.iter().map(source).collect())
    }

    /// An engine over one of them.
    pub(crate) fn engine_of(&self, name: &str) -> Engine {
        engine(self.tables.iter().filter(|table| table["name"].as_str() == Some(name)).map(source).collect())
    }

    /// The whole history.
    pub(crate) fn window(&self) -> Window {
        Window::new(Time::from_micros(self.demo.world.from), Time::from_micros(self.demo.world.to))
    }

    /// What the products were asked since the last time.
    pub(crate) fn requests(&self) -> Vec<LogEntry> {
        self.demo.log.take()
    }
}

pub(crate) fn engine(sources: Vec<Source>) -> Engine {
    Engine::new(sources, AfterTheHistory::start(), Options::default())
}

/// The source of a `[[source]]` table, as the binary builds it.
pub(crate) fn source(table: &Table) -> Source {
    fedaudit_tests::source(table).unwrap()
}

/// An answer taken to its end.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) receipt: Receipt,
}

impl Taken {
    /// Every row as one line of text, in the order of the answer.
    pub(crate) fn lines(&self) -> Vec<String> {
        lines(&self.batches)
    }

    pub(crate) fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// The first value of the first row as a number: the answer of a `count(*)`.
    pub(crate) fn number(&self) -> u64 {
        self.lines()[0].parse().unwrap()
    }

    pub(crate) fn stream(&self, source: &str, stream: &str) -> &StreamReceipt {
        let mut found = self.receipt.streams.iter().filter(|entry| entry.source == source && entry.stream == stream);
        found.next().unwrap_or_else(|| panic!("{source}/{stream} is not in {:#?}", self.receipt))
    }

    /// The statuses of one source's streams.
    pub(crate) fn statuses(&self, source: &str) -> Vec<Status> {
        let of_source = self.receipt.streams.iter().filter(|entry| entry.source == source);
        of_source.map(|entry| entry.status).collect()
    }

    /// Fails where the answer is not whole.
    pub(crate) fn whole(self, sql: &str) -> Self {
        assert!(self.receipt.complete, "{sql}: {:#?}", self.receipt.streams);
        self
    }
}

/// Asks, takes all rows and the receipt.
pub(crate) async fn ask(engine: &Engine, window: Window, sql: &str) -> Result<Taken> {
    let question = Question { sql: sql.to_owned(), window, ..Question::default() };
    let mut answer = engine.ask(question).await?;
    let mut batches = Vec::new();
    while let Some(rows) = answer.next().await {
        match rows {
            Ok(rows) => batches.push(rows),
            Err(error) => {
                answer.finish().await;
                return Err(error);
            }
        }
    }
    Ok(Taken { batches, receipt: answer.finish().await })
}

/// Rows as text; NULL is told apart from an empty text.
pub(crate) fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("∅");
    let mut lines = Vec::new();
    for batch in batches {
        let columns: Vec<ArrayFormatter<'_>> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
            lines.push(cells.join(" | "));
        }
    }
    lines
}

/// What differs between two bags of lines, for a message; empty where they are equal.
pub(crate) fn differences(expected: &[String], given: &[String]) -> Vec<String> {
    let mut counts = std::collections::BTreeMap::<&str, i64>::new();
    for line in expected {
        *counts.entry(line).or_default() -= 1;
    }
    for line in given {
        *counts.entry(line).or_default() += 1;
    }
    counts
        .into_iter()
        .filter(|(_, count)| *count != 0)
        .map(|(line, count)| {
            format!("{} {line}", if count < 0 { format!("{} missing:", -count) } else { format!("{count} too many:") })
        })
        .collect()
}
