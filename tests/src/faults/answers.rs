//! The two questions of a script, and their answers as plain rows.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use arrow_array::{Array as _, RecordBatch};
use fedaudit_core::{Error, ErrorKind, Receipt, Result, Window};
use fedaudit_engine::{Engine, Options, Question};
use fedaudit_testkit::Demo;

use super::script::Through;
use super::small_pages::SmallPages;
use crate::{AfterTheHistory, read_config, source};

const EVENTS: &str = "SELECT source, stream, event_key, raw_sha256, cast(time AS BIGINT) FROM events";
const SESSIONS: &str = "SELECT source, stream, session_key, concat_ws(' ', user_name, state, cast(end_time AS BIGINT)), \
                        cast(start_time AS BIGINT) FROM sessions";

/// A row of either answer, as far as two answers are compared by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) source: String,
    pub(super) stream: String,
    pub(super) key: String,
    /// What the record says: a digest of an event, the end and state of a session.
    pub(super) content: String,
    pub(super) time: Option<i64>,
}

/// One answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// How often each row came.
    pub(super) rows: BTreeMap<Row, usize>,
    pub(super) receipt: Receipt,
}

/// Both answers.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) events: Answer,
    pub(super) sessions: Answer,
}

/// An engine over a demo's products that reads pages of so many rows.
pub(super) fn engine(
    demo: &Demo,
    folder: &Path,
    rows: usize,
    page_timeout: Duration,
    through: Through,
) -> Result<Engine> {
    let unwritable = |error: std::io::Error| Error::new(ErrorKind::Internal, error.to_string());
    let config = demo.write_config(folder).map_err(unwritable)?;
    let mut sources = Vec::new();
    for table in read_config(&config)? {
        let mut source = source(&table)?;
        // Ports differ from run to run; keys must not.
        source.source_key.clone_from(&source.name);
        source.plugin = through(Arc::new(SmallPages { source: source.plugin, rows }));
        sources.push(source);
    }
    Ok(Engine::new(sources, AfterTheHistory::start(), Options { page_timeout, ..Options::default() }))
}

/// Asks for all events.
pub(super) async fn events(engine: &Engine, window: Window) -> Result<Answer> {
    ask(engine, window, EVENTS).await
}

/// Asks for all sessions.
pub(super) async fn sessions(engine: &Engine, window: Window) -> Result<Answer> {
    ask(engine, window, SESSIONS).await
}

async fn ask(engine: &Engine, window: Window, sql: &str) -> Result<Answer> {
    let mut answer = engine.ask(Question { sql: sql.to_owned(), window, ..Question::default() }).await?;
    let mut rows = BTreeMap::new();
    let mut failed = None;
    while let Some(batch) = answer.next().await {
        if let Err(error) = batch.and_then(|batch| collect(&batch, &mut rows)) {
            failed.get_or_insert(error);
        }
    }
    let receipt = answer.finish().await;
    failed.map_or(Ok(Answer { rows, receipt }), Err)
}

fn collect(batch: &RecordBatch, rows: &mut BTreeMap<Row, usize>) -> Result<()> {
    let odd = || Error::new(ErrorKind::Internal, format!("columns that are other than asked: {}", batch.schema()));
    let text = |column: usize| batch.column(column).as_string_opt::<i32>().ok_or_else(odd);
    let (sources, streams, keys, contents) = (text(0)?, text(1)?, text(2)?, text(3)?);
    let times = batch.column(4).as_primitive_opt::<Int64Type>().ok_or_else(odd)?;
    for row in 0..batch.num_rows() {
        let found = Row {
            source: sources.value(row).to_owned(),
            stream: streams.value(row).to_owned(),
            key: keys.value(row).to_owned(),
            content: contents.value(row).to_owned(),
            time: times.is_valid(row).then(|| times.value(row)),
        };
        *rows.entry(found).or_default() += 1;
    }
    Ok(())
}
