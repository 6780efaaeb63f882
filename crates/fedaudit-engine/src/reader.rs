//! Reads one stream page by page, parts of its window at once: bounds it exactly, drops repeated records, adds provenance,
//! keeps the ledger. A stream that cannot be read ends here with an entry in the ledger; it never ends the question.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{
    ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::arrow::record_batch::RecordBatchOptions;
use fedaudit_core::columns::{Filled, Table};
use fedaudit_core::{Direction, EndReason, Error, ErrorKind, Next, Page, PageRequest, Rejected, Result, Time, Window};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;

use crate::chain::{Budget, Chain};
use crate::ledger::{Assignment, EntryId};
use crate::run::Run;
use crate::sight::Sight;

/// How rows of this table are kept or dropped by the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Events whose time lies inside.
    Inside,
    /// Sessions that overlap it.
    Overlapping,
}

/// Reads one stream: one run of pages at first, several at once where the stream allows it and there is much to read.
pub(crate) struct Reader {
    run: Arc<Run>,
    asking: usize,
    stream: String,
    /// What is kept of the rows.
    window: Window,
    keep: Keep,
    key: &'static str,
    entry: EntryId,
    waiting: VecDeque<Chain>,
    in_flight: FuturesUnordered<BoxFuture<'static, (Chain, Result<Page>)>>,
    budget: Budget,
    /// Keys of rows that are stored already.
    known: HashSet<u128>,
    frontier: Option<Time>,
    /// Records that could not be decoded, for somebody who keeps them; the receipt shows a few only.
    rejected: Option<Vec<Rejected>>,
}

impl Reader {
    /// Starts a stream; nothing is asked before the first page.
    pub(crate) fn new(
        run: &Arc<Run>,
        asking: usize,
        assignment: &Assignment,
        keep: Keep,
        direction: Direction,
    ) -> Self {
        let entry = run.ledger.open(assignment, run.clock.now());
        let mut request = PageRequest::first(&assignment.stream.name, assignment.read);
        request.predicates.clone_from(&assignment.pushed);
        request.direction = direction;
        // Sessions overlap the edges of any part of a window, and newest first is one page after the other.
        let alone = keep == Keep::Overlapping || direction == Direction::NewestFirst;
        let most = if alone { 1 } else { assignment.stream.parallel_windows };
        let chain = |window| Chain::new(PageRequest { window, ..request.clone() }, run.clock.now());
        let mut waiting: VecDeque<Chain> =
            assignment.live.iter().filter(|_| assignment.sight != Sight::Blind).map(chain).collect();
        if direction == Direction::NewestFirst {
            waiting.make_contiguous().reverse();
        }
        Self {
            run: Arc::clone(run),
            asking,
            stream: assignment.stream.name.clone(),
            // A reader for a wider span keeps what lies in that span: rebuilding sessions needs the look-back.
            window: assignment.asked,
            keep,
            key: if keep == Keep::Inside { "event_key" } else { "session_key" },
            entry,
            waiting,
            in_flight: FuturesUnordered::new(),
            budget: Budget::new(most),
            known: HashSet::new(),
            frontier: None,
            rejected: None,
        }
    }

    /// Keeps the rows of the window that is read instead of the one that was asked.
    pub(crate) fn keeping_look_back(mut self) -> Self {
        self.window = Window::ALL;
        self
    }

    /// Leaves out the rows with these keys.
    pub(crate) fn without(mut self, known: HashSet<u128>) -> Self {
        self.known = known;
        self
    }

    /// Keeps every row: a list of live sessions is asked for what is absent from it, too.
    pub(crate) fn keeping_everything(mut self) -> Self {
        self.window = Window::ALL;
        self
    }

    /// Keeps what could not be decoded.
    pub(crate) fn keeping_rejected(mut self) -> Self {
        self.rejected = Some(Vec::new());
        self
    }

    /// What could not be decoded since this was asked last.
    pub(crate) fn take_rejected(&mut self) -> Vec<Rejected> {
        self.rejected.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Begins with small pages, for a question that may be answered by the first rows.
    pub(crate) fn beginning_with(mut self, rows: usize) -> Self {
        self.waiting.iter_mut().for_each(|chain| chain.request.page_size = Some(rows));
        self
    }

    /// No row of a later page is later than this, as far as the source can promise it.
    pub(crate) fn frontier(&self) -> Option<Time> {
        self.frontier
    }

    /// Where the ledger writes it down.
    pub(crate) fn entry(&self) -> EntryId {
        self.entry
    }

    /// Ends reading because nobody wants more.
    pub(crate) fn stop(&mut self) {
        if let Some(chain) = self.waiting.pop_front() {
            self.run.ledger.covered(self.entry, chain.covered());
            self.run.ledger.ended(self.entry, EndReason::EnoughRows);
        }
        self.waiting.clear();
    }

    /// The next page that has rows, in the page schema; `Ok(None)` after the last. An error is in the ledger already.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            self.start();
            let Some((mut chain, page)) = self.in_flight.next().await else { return Ok(None) };
            match self.received(&mut chain, page) {
                Ok((rows, end)) => {
                    self.go_on(chain, end);
                    if rows.num_rows() > 0 {
                        return Ok(Some(rows));
                    }
                }
                Err(error) => {
                    self.waiting.clear();
                    self.in_flight.clear();
                    let error = error.at(format!("{}/{}", self.run.asking[self.asking].source.name, self.stream));
                    self.run.ledger.covered(self.entry, chain.covered());
                    self.run.ledger.failed(self.entry, &error);
                    return Err(error);
                }
            }
        }
    }

    /// Asks for as many pages as may be asked for at once.
    fn start(&mut self) {
        while self.in_flight.len() < self.budget.limit {
            let Some(chain) = self.waiting.pop_front() else { return };
            let (run, asking) = (Arc::clone(&self.run), self.asking);
            self.in_flight.push(Box::pin(async move {
                let page = run.fetch(&run.asking[asking], &chain.request).await;
                (chain, page)
            }));
        }
    }

    /// The rows of a page, and why the run ends with it, if it does.
    fn received(&mut self, chain: &mut Chain, page: Result<Page>) -> Result<(RecordBatch, Option<EndReason>)> {
        let page = page?;
        let asking = &self.run.asking[self.asking];
        if let Some(server_time) = page.observed.server_time {
            self.run.ledger.clock(&asking.source.name, server_time, self.run.clock.now());
        }
        self.budget.adapt(asking.meter.read().throttled);
        let (rows, repeated) = chain.fresh(self.bounded(page.rows, chain)?, self.key)?;
        let (rows, stored) = unknown(rows, self.key, &self.known)?;
        let duplicates = repeated + stored;
        let mut observed = page.observed;
        observed.records = observed.records.max((rows.num_rows() + duplicates + page.rejected.len()) as u64);
        if let Some(kept) = &mut self.rejected {
            kept.extend(page.rejected.iter().cloned());
        }
        self.run.ledger.page(self.entry, rows.num_rows(), duplicates, &observed, page.rejected);
        self.frontier = page.frontier;
        let end = match page.next {
            Next::End(reason) => Some(reason),
            Next::More(cursor) => chain.advance(cursor, page.frontier)?,
        };
        Ok((rows, end))
    }

    /// A run that goes on shares its rest with whoever is idle; one that ended has covered its part.
    fn go_on(&mut self, mut chain: Chain, end: Option<EndReason>) {
        let others = self.waiting.len() + self.in_flight.len();
        let Some(reason) = end else {
            let given = chain.share(self.budget.limit.saturating_sub(others + 1));
            self.waiting.push_back(chain);
            self.waiting.extend(given);
            return;
        };
        self.run.ledger.covered(self.entry, Some(chain.part));
        if others == 0 {
            self.run.ledger.ended(self.entry, reason);
        }
        // Newest first one window comes after the other: nothing later than the next one's end is to come.
        if let (true, Some(next)) = (self.in_flight.is_empty(), self.waiting.front()) {
            self.frontier = next.part.to.map(|to| to.minus(Duration::from_micros(1)));
        }
    }

    /// Only what belongs to the window and to this part of it: a source may send more than was asked.
    fn bounded(&self, rows: RecordBatch, chain: &Chain) -> Result<RecordBatch> {
        let window = match self.keep {
            Keep::Inside => self.window.intersect(&chain.part),
            Keep::Overlapping => self.window,
        };
        if window == Window::ALL || rows.num_rows() == 0 {
            return Ok(rows);
        }
        let mask: BooleanArray = match self.keep {
            Keep::Inside => {
                let times = times(&rows, "time")?;
                times.values().iter().map(|time| Some(window.contains(Time::from_micros(*time)))).collect()
            }
            Keep::Overlapping => {
                let (starts, ends) = (times(&rows, "start_time")?, times(&rows, "end_time")?);
                starts.iter().zip(ends.iter()).map(|(start, end)| Some(overlaps(&window, start, end))).collect()
            }
        };
        if mask.true_count() == rows.num_rows() {
            return Ok(rows);
        }
        filter_record_batch(&rows, &mask).map_err(internal)
    }
}

/// The rows whose key is not among these, and how many others there were.
fn unknown(rows: RecordBatch, key: &str, known: &HashSet<u128>) -> Result<(RecordBatch, usize)> {
    if known.is_empty() || rows.num_rows() == 0 {
        return Ok((rows, 0));
    }
    let keys = keys(&rows, key)?;
    let mask: BooleanArray = keys.map(|key| Some(key.is_none_or(|key| !known.contains(&key)))).collect();
    let dropped = rows.num_rows() - mask.true_count();
    Ok((filter_record_batch(&rows, &mask).map_err(internal)?, dropped))
}

/// The keys of rows as numbers; a row that has none is told by none.
pub(crate) fn keys<'r>(rows: &'r RecordBatch, key: &str) -> Result<impl Iterator<Item = Option<u128>> + use<'r>> {
    let keys = rows
        .column_by_name(key)
        .and_then(|keys| keys.as_string_opt::<i32>())
        .ok_or_else(|| Error::new(ErrorKind::Internal, format!("a page without {key}")))?;
    Ok(keys.iter().map(|key| u128::from_str_radix(key?, 16).ok()))
}

/// Whether a session that began and ended then may have been open in the window.
pub(crate) fn overlaps(window: &Window, start: Option<i64>, end: Option<i64>) -> bool {
    let began = start.or(end).is_none_or(|start| window.to.is_none_or(|to| start < to.micros()));
    let lasted = end.is_none_or(|end| window.from.is_none_or(|from| end >= from.micros()));
    // A record whose end lies before its start is a finding; its start decides.
    let reversed = matches!((start, end), (Some(start), Some(end)) if end < start);
    began && (lasted || (reversed && start.is_some_and(|start| window.contains(Time::from_micros(start)))))
}

fn times<'r>(rows: &'r RecordBatch, column: &str) -> Result<&'r TimestampMicrosecondArray> {
    rows.column_by_name(column)
        .and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>())
        .ok_or_else(|| Error::new(ErrorKind::Internal, format!("a page without {column}")))
}

/// Turns pages into rows of the table: provenance added, columns projected.
#[derive(Debug)]
pub(crate) struct Provenance {
    table: &'static Table,
    schema: SchemaRef,
    projection: Vec<usize>,
    constants: Vec<(&'static str, String)>,
}

impl Provenance {
    /// For the rows of one stream.
    pub(crate) fn new(
        run: &Run,
        asking: usize,
        table: &'static Table,
        projection: Option<&[usize]>,
        stream: &str,
    ) -> Self {
        let source = &run.asking[asking].source;
        let info = source.plugin.info();
        let projection = projection.map_or_else(|| (0..table.columns.len()).collect(), <[usize]>::to_vec);
        let full = table.schema();
        let fields: Vec<_> = projection.iter().map(|index| Arc::clone(&full.fields()[*index])).collect();
        let constants = vec![
            ("source", source.name.clone()),
            ("product", info.product.clone()),
            ("stream", stream.to_owned()),
            ("source_key", source.source_key.clone()),
            ("plugin", info.plugin.clone()),
            ("plugin_version", info.plugin_version.clone()),
            ("fetch_id", run.fetch_id.clone()),
        ];
        Self { table, schema: Arc::new(datafusion::arrow::datatypes::Schema::new(fields)), projection, constants }
    }

    /// The rows with every projected column.
    pub(crate) fn add(&self, page: &RecordBatch, fetched_at: Time) -> Result<RecordBatch> {
        let rows = page.num_rows();
        let arrays = self
            .projection
            .iter()
            .map(|index| {
                let column = &self.table.columns[*index];
                if column.filled != Filled::Engine {
                    return page.column_by_name(column.name).cloned().ok_or_else(|| {
                        Error::new(ErrorKind::Internal, format!("a page without column {}", column.name))
                    });
                }
                let constant = self.constants.iter().find(|(name, _)| *name == column.name);
                Ok(match constant {
                    Some((_, text)) => {
                        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows))) as ArrayRef
                    }
                    None if column.name == "fetched_at" => {
                        Arc::new(TimestampMicrosecondArray::from_value(fetched_at.micros(), rows).with_timezone("UTC"))
                    }
                    // `person` is filled by the identity map, which is not part of this engine yet.
                    None => new_null_array(&column.kind.arrow(), rows),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options).map_err(internal)
    }
}

/// An error of Arrow is a defect of ours.
#[expect(clippy::needless_pass_by_value, reason = "fits map_err")]
pub(crate) fn internal(error: datafusion::arrow::error::ArrowError) -> Error {
    Error::new(ErrorKind::Internal, error.to_string())
}
