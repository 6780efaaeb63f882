//! Reads one stream page by page: bounds it exactly, drops repeated records, adds provenance, keeps the ledger. A stream
//! that cannot be read ends here with an entry in the ledger; it never ends the question.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::arrow::record_batch::RecordBatchOptions;
use fedaudit_core::columns::{Filled, Table};
use fedaudit_core::{Cursor, Direction, Error, ErrorKind, Next, PageRequest, Result, Time, Window};

use crate::ledger::{Assignment, EntryId};
use crate::run::Run;
use crate::sight::Sight;

/// Records may come twice where two pages meet, never further apart: a plugin that starts over inside a stream skips by
/// its own cursor. So the keys of this many pages are enough, and memory does not grow with the data.
const PAGES_REMEMBERED: usize = 4;

/// From here on the size of a page is the plugin's choice.
const LARGE_PAGE: usize = 2000;

/// How rows of this table are kept or dropped by the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Events whose time lies inside.
    Inside,
    /// Sessions that overlap it.
    Overlapping,
}

/// Reads one stream.
pub(crate) struct Reader {
    run: Arc<Run>,
    asking: usize,
    stream: String,
    window: Window,
    keep: Keep,
    key: &'static str,
    request: PageRequest,
    entry: EntryId,
    seen: VecDeque<HashSet<u128>>,
    done: bool,
    frontier: Option<Time>,
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
        Self {
            run: Arc::clone(run),
            asking,
            stream: assignment.stream.name.clone(),
            // A reader for a wider span keeps what lies in that span: rebuilding sessions needs the look-back.
            window: assignment.asked,
            keep,
            key: if keep == Keep::Inside { "event_key" } else { "session_key" },
            request,
            entry,
            seen: VecDeque::new(),
            done: assignment.sight == Sight::Blind,
            frontier: None,
        }
    }

    /// Keeps the rows of the window that is read instead of the one that was asked.
    pub(crate) fn keeping_look_back(mut self) -> Self {
        self.window = self.request.window;
        self
    }

    /// Keeps every row: a list of live sessions is asked for what is absent from it, too.
    pub(crate) fn keeping_everything(mut self) -> Self {
        self.window = Window::ALL;
        self
    }

    /// Begins with small pages, for a question that may be answered by the first rows.
    pub(crate) fn beginning_with(mut self, rows: usize) -> Self {
        self.request.page_size = Some(rows);
        self
    }

    /// The first rows did not do: larger pages, up to the plugin's own choice.
    fn enlarge(&mut self) {
        self.request.page_size = self.request.page_size.map(|rows| rows * 4).filter(|rows| *rows < LARGE_PAGE);
    }

    /// No row of a later page is later than this, as far as the source can promise it.
    pub(crate) fn frontier(&self) -> Option<Time> {
        self.frontier
    }

    /// Ends reading because nobody wants more.
    pub(crate) fn stop(&mut self) {
        if !self.done {
            self.run.ledger.stopped(self.entry, self.frontier);
            self.done = true;
        }
    }

    /// The next page that has rows, in the page schema; `Ok(None)` after the last. An error is in the ledger already.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while !self.done {
            match self.page().await {
                Ok(rows) if rows.num_rows() > 0 => return Ok(Some(rows)),
                Ok(_) => {}
                Err(error) => {
                    self.done = true;
                    let asking = &self.run.asking[self.asking];
                    let error = error.at(format!("{}/{}", asking.source.name, self.stream));
                    self.run.ledger.failed(self.entry, &error);
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    async fn page(&mut self) -> Result<RecordBatch> {
        let asking = &self.run.asking[self.asking];
        let page = self.run.fetch(asking, &self.request).await?;
        if let Some(server_time) = page.observed.server_time {
            self.run.ledger.clock(&asking.source.name, server_time, self.run.clock.now());
        }
        let (rows, duplicates) = self.fresh(self.bounded(page.rows)?)?;
        let mut observed = page.observed;
        observed.records = observed.records.max((rows.num_rows() + duplicates + page.rejected.len()) as u64);
        self.run.ledger.page(self.entry, rows.num_rows(), duplicates, &observed, page.rejected);
        self.frontier = page.frontier;
        match page.next {
            Next::End(reason) => {
                self.done = true;
                self.run.ledger.ended(self.entry, reason);
            }
            Next::More(cursor) => self.advance(cursor)?,
        }
        Ok(rows)
    }

    fn advance(&mut self, cursor: Cursor) -> Result<()> {
        if self.request.cursor.as_ref() == Some(&cursor) {
            return Err(Error::new(ErrorKind::Malformed, "the product keeps sending the same page")
                .hint("stopped instead of reading it forever; rows after it are missing"));
        }
        self.request.cursor = Some(cursor);
        self.enlarge();
        Ok(())
    }

    /// Only what belongs to the window: a source may send more than was asked.
    fn bounded(&self, rows: RecordBatch) -> Result<RecordBatch> {
        if self.window == Window::ALL || rows.num_rows() == 0 {
            return Ok(rows);
        }
        let mask: BooleanArray = match self.keep {
            Keep::Inside => {
                let times = times(&rows, "time")?;
                times.values().iter().map(|time| Some(self.window.contains(Time::from_micros(*time)))).collect()
            }
            Keep::Overlapping => {
                let (starts, ends) = (times(&rows, "start_time")?, times(&rows, "end_time")?);
                starts.iter().zip(ends.iter()).map(|(start, end)| Some(overlaps(&self.window, start, end))).collect()
            }
        };
        if mask.true_count() == rows.num_rows() {
            return Ok(rows);
        }
        filter_record_batch(&rows, &mask).map_err(internal)
    }

    /// Without the records that the last pages had already.
    fn fresh(&mut self, rows: RecordBatch) -> Result<(RecordBatch, usize)> {
        let keys = rows
            .column_by_name(self.key)
            .and_then(|keys| keys.as_string_opt::<i32>())
            .ok_or_else(|| Error::new(ErrorKind::Internal, format!("a page without {}", self.key)))?;
        let mut of_page = HashSet::with_capacity(rows.num_rows());
        let mask: BooleanArray = keys
            .iter()
            .map(|key| {
                let Some(key) = key.and_then(|key| u128::from_str_radix(key, 16).ok()) else { return Some(true) };
                Some(!self.seen.iter().any(|page| page.contains(&key)) && of_page.insert(key))
            })
            .collect();
        self.seen.push_back(of_page);
        if self.seen.len() > PAGES_REMEMBERED {
            self.seen.pop_front();
        }
        let duplicates = rows.num_rows() - mask.true_count();
        if duplicates == 0 {
            return Ok((rows, 0));
        }
        Ok((filter_record_batch(&rows, &mask).map_err(internal)?, duplicates))
    }
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
