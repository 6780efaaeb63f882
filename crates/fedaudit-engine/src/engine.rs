//! Asks one SQL question of all sources and answers with rows and a receipt.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use fedaudit_core::{
    Clock, Error, ErrorKind, Meter, Receipt, ReceiptError, Result, Side, SourceHealth, SourceReceipt, StreamKind,
    StreamReceipt, Time, Window,
};
use futures::StreamExt as _;

use crate::catalog;
use crate::collected::Collected;
use crate::ledger::Ledger;
use crate::newest_first::NewestFirst;
use crate::run::{Asking, DefaultRange, InFlight, Options, Run, Source};
use crate::scan::external;
use crate::table::AuditTable;

/// SQL over a set of sources.
pub struct Engine {
    sources: Vec<Source>,
    clock: Arc<dyn Clock>,
    options: Options,
}

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// One SELECT or EXPLAIN.
    pub sql: String,
    /// Bounds `events.time`, and keeps the sessions that overlap it.
    pub window: Window,
    /// Whether a question without a lower bound in time is meant.
    pub all_time: bool,
    /// A store as it is now: what is sealed in it is not asked of the products again.
    pub collected: Option<Arc<dyn Collected>>,
    /// Where the rows have to come from; none: from the store what is sealed there, from the products the rest.
    pub side: Option<Side>,
    /// How far back a scan reads that neither the window nor SQL bounds from below. Without it such a scan is refused.
    pub default_range: Option<Duration>,
}

impl Engine {
    /// An engine over these sources.
    pub fn new(sources: Vec<Source>, clock: Arc<dyn Clock>, options: Options) -> Self {
        Self { sources, clock, options }
    }

    /// The sources.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Proves access to one source, and logs out again.
    pub async fn check(&self, name: &str) -> Result<SourceHealth> {
        let source = self
            .sources
            .iter()
            .find(|source| source.name == name)
            .ok_or_else(|| Error::new(ErrorKind::Config, format!("there is no source '{name}'")))?;
        let run = self.run(&Question::default());
        let asking = Asking { source: source.clone(), meter: Arc::new(Meter::default()) };
        let health = source.plugin.check(&run.context(&asking)).await;
        let closed = source.plugin.close(&run.context(&asking)).await;
        let health = health.map_err(|error| error.at(name))?;
        closed.map_err(|error| error.at(name))?;
        Ok(health)
    }

    /// Asks a question. The sources are read while the answer is taken; [`Answer::finish`] must be called on every way
    /// out, it gives back what is held on the products.
    pub async fn ask(&self, question: Question) -> Result<Answer> {
        let started = Instant::now();
        let run = Arc::new(self.run(&question));
        match execute(&run, &self.sources, &question.sql).await {
            Ok(rows) => {
                Ok(Answer { question, run, started, schema: rows.schema(), rows: Some(rows), count: 0, error: None })
            }
            Err(error) => {
                // Some scans may have begun before another could not.
                leave(&run).await;
                Err(from_datafusion(&error))
            }
        }
    }

    /// What a window that is read without a question shares.
    pub(crate) fn begin(&self, window: Window) -> Run {
        self.run(&Question { window, ..Question::default() })
    }

    /// The time now by the engine's clock.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// The engine's clock.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    pub(crate) fn run(&self, question: &Question) -> Run {
        let now = self.clock.now();
        let asking =
            self.sources.iter().map(|source| Asking { source: source.clone(), meter: Arc::default() }).collect();
        Run {
            asking,
            ledger: Ledger::default(),
            clock: Arc::clone(&self.clock),
            options: self.options,
            window: question.window,
            all_time: question.all_time,
            default_range: question.default_range.map(DefaultRange::new),
            as_of: now,
            fetch_id: format!("{:016x}", RandomState::new().hash_one(now)),
            in_flight: InFlight::default(),
            collected: question.collected.clone(),
            side: question.side,
        }
    }
}

/// What came late to the store or was edited at its source since, of the rows that the answer rests on.
async fn count_amendments(run: &Run) {
    let Some(collected) = run.collected() else { return };
    for (entry, stock, asked) in run.ledger.stocks() {
        match collected.amendments(&stock.source_key, &stock.stream, asked).await {
            Ok(rows) => run.ledger.amended(entry, rows),
            Err(error) => run.ledger.note(entry, format!("its amendments could not be read: {error}")),
        }
    }
}

/// Ends what is being read and gives back what is held on every product.
pub(crate) async fn leave(run: &Run) -> Vec<Option<ReceiptError>> {
    run.in_flight.leave().await;
    let closing = run.asking.iter().map(|asking| async {
        let closed = asking.source.plugin.close(&run.context(asking)).await;
        closed.err().map(|error| (&error.at(&asking.source.name)).into())
    });
    futures::future::join_all(closing).await
}

async fn execute(run: &Arc<Run>, sources: &[Source], sql: &str) -> Result<SendableRecordBatchStream, DataFusionError> {
    let mut config = SessionConfig::new().with_information_schema(true).with_target_partitions(2);
    let options = config.options_mut();
    options.explain.physical_plan_only = true;
    options.execution.time_zone = Some("UTC".to_owned());
    // In this dialect `raw->>'x' = 'y'` means what it says; in the generic one the comparison binds tighter.
    options.sql_parser.dialect = datafusion::config::Dialect::PostgreSQL;
    let state = SessionStateBuilder::new()
        .with_default_features()
        .with_config(config)
        .with_physical_optimizer_rule(Arc::new(NewestFirst))
        .build();
    let mut context = SessionContext::new_with_state(state);
    crate::functions::register(&mut context)?;
    context.register_table("events", Arc::new(AuditTable::new(run, StreamKind::Events)))?;
    context.register_table("sessions", Arc::new(AuditTable::new(run, StreamKind::Sessions)))?;
    for (name, rows) in [
        ("sources", catalog::sources(sources)?),
        ("streams", catalog::streams(sources)?),
        ("blind_spots", catalog::blind_spots(sources)?),
    ] {
        context.register_table(name, Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?))?;
    }
    if let Some(collected) = run.collected() {
        for (name, table) in collected.tables().map_err(external)? {
            context.register_table(name, table)?;
        }
    }
    // Questions only: nothing may be written, created or set.
    let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    context.sql_with_options(sql, read_only).await?.execute_stream().await
}

/// The rows of an answer as they come, then its receipt.
pub struct Answer {
    question: Question,
    run: Arc<Run>,
    started: Instant,
    schema: SchemaRef,
    rows: Option<SendableRecordBatchStream>,
    count: u64,
    error: Option<ReceiptError>,
}

impl Answer {
    /// Columns of the answer.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The next rows; `None` after the last. An error is one of SQL: sources that fail are in the receipt.
    pub async fn next(&mut self) -> Option<Result<RecordBatch>> {
        let next = self.rows.as_mut()?.next().await.map(|rows| rows.map_err(|error| from_datafusion(&error)));
        match &next {
            Some(Ok(rows)) => self.count += rows.num_rows() as u64,
            Some(Err(error)) => {
                self.error = Some(error.into());
                self.rows = None;
            }
            None => self.rows = None,
        }
        next
    }

    /// What was read so far, for a progress display.
    pub fn progress(&self) -> Progress {
        Progress { run: Arc::clone(&self.run) }
    }

    /// Ends the answer: stops reading, logs out everywhere, and says what the answer rests on.
    pub async fn finish(mut self) -> Receipt {
        let taken_whole = self.rows.take().is_none() && self.error.is_none();
        let close_errors = leave(&self.run).await;
        count_amendments(&self.run).await;
        let streams = self.run.ledger.close(taken_whole);
        let asked: Vec<&str> = streams.iter().map(|stream| stream.source.as_str()).collect();
        let sources = self.run.asking.iter().zip(close_errors).filter_map(|(asking, close_error)| {
            let name = &asking.source.name;
            asked.contains(&name.as_str()).then(|| SourceReceipt {
                source: name.clone(),
                product: asking.source.plugin.info().product.clone(),
                source_key: asking.source.source_key.clone(),
                wire: asking.meter.read(),
                clock_offset_ms: self.run.ledger.clock_offset(name),
                close_error,
            })
        });
        Receipt {
            sql: self.question.sql,
            as_of: Some(self.run.as_of),
            window: self.question.window,
            default_range: self.run.default_range.as_ref().and_then(DefaultRange::note),
            complete: taken_whole && streams.iter().all(|stream| stream.status.is_whole()),
            sources: sources.collect(),
            not_asked: self.run.ledger.excluded(&streams),
            not_configured: self.run.ledger.not_configured(),
            streams,
            rows: self.count,
            elapsed_ms: self.started.elapsed().as_millis() as u64,
            error: self.error,
        }
    }
}

/// A view of a running question.
#[derive(Clone, Debug)]
pub struct Progress {
    run: Arc<Run>,
}

impl Progress {
    /// The streams as they are now.
    pub fn streams(&self) -> Vec<StreamReceipt> {
        self.run.ledger.snapshot()
    }

    /// The time now by the engine's clock.
    pub fn now(&self) -> Time {
        self.run.clock.now()
    }
}

/// How DataFusion says that something is not one question. COPY fails for its format before it is refused.
const NO_QUESTION: &[&str] = &[
    "DDL not supported: ",
    "DML not supported: ",
    "Statement not supported: ",
    "Unsupported SQL statement",
    "No SQL statements",
    "a single SQL statement",
    "Use STORED AS",
];

/// An error of SQL in our words; one of ours that travelled through DataFusion comes out as it was.
pub(crate) fn from_datafusion(error: &DataFusionError) -> Error {
    let mut inner: &DataFusionError = error;
    loop {
        match inner {
            DataFusionError::External(ours) => {
                return match ours.downcast_ref::<Error>() {
                    Some(ours) => ours.clone(),
                    None => Error::new(ErrorKind::Internal, ours.to_string()),
                };
            }
            DataFusionError::Context(_, cause) | DataFusionError::Diagnostic(_, cause) => inner = cause,
            DataFusionError::Shared(cause) => inner = cause,
            DataFusionError::Collection(causes) if !causes.is_empty() => inner = &causes[0],
            _ => break,
        }
    }
    let text = inner.strip_backtrace();
    match inner {
        DataFusionError::ResourcesExhausted(_) | DataFusionError::IoError(_) | DataFusionError::Internal(_) => {
            Error::new(ErrorKind::Internal, text).at("SQL")
        }
        // Only files of a store are read this way.
        DataFusionError::ParquetError(_) | DataFusionError::ObjectStore(_) => Error::new(ErrorKind::Malformed, text)
            .at("store")
            .hint("a file of the store cannot be read; --live asks the products alone"),
        _ if NO_QUESTION.iter().any(|words| text.contains(words)) => Error::new(ErrorKind::Config, text)
            .at("SQL")
            .hint("ask one question: a SELECT, or EXPLAIN of one; nothing can be written, created or set"),
        DataFusionError::ArrowError(..) if text.contains("as nanoseconds") => Error::new(ErrorKind::Config, text)
            .at("SQL")
            .hint("times in SQL reach from 1677 to 2262: leave out a bound beyond that"),
        DataFusionError::ArrowError(..) => Error::new(ErrorKind::Config, text).at("SQL").hint(
            "a value does not fit: times are written '2026-01-31T12:00:00Z'; try_cast gives NULL instead of an error",
        ),
        _ => Error::new(ErrorKind::Config, text)
            .at("SQL")
            .hint("'fedaudit schema' lists the tables, 'fedaudit schema events' the columns of one"),
    }
}
