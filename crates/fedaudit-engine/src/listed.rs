//! Sessions as their product lists them, of a stream that is stored: the last stored state of each, unless the product
//! shows a newer one. Sessions that were active when they were collected are asked for again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::arrow::record_batch::RecordBatchOptions;
use datafusion::common::Result as SqlResult;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use fedaudit_core::rows::SESSIONS;
use fedaudit_core::{Direction, Error, ErrorKind, Result, SessionState, Time, Window, Windows};
use futures::StreamExt as _;

use crate::ledger::Assignment;
use crate::reader::{Keep, Provenance, Reader, internal, keys, overlaps};
use crate::run::Run;
use crate::scan::external;

/// What tells the last state of a session, and whether it is wanted.
pub(crate) const TELLING: &[&str] = &["session_key", "start_time", "end_time", "state", "fetched_at"];

/// A stream of sessions with what is stored of it.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    /// Index of the source; none where it is not configured any more.
    pub(crate) asking: Option<usize>,
    pub(crate) assignment: Assignment,
    /// Every stored state: the columns that tell which one is the last.
    pub(crate) states: Option<Arc<dyn ExecutionPlan>>,
    /// The same with the columns of the answer.
    pub(crate) rows: Option<Arc<dyn ExecutionPlan>>,
}

/// The last stored state of a session.
struct Last {
    fetched_at: i64,
    wanted: bool,
    active: bool,
}

/// Reads the sessions that overlap the window of the assignment.
pub(crate) async fn read(
    run: &Arc<Run>,
    listed: &Listed,
    projection: &[usize],
    schema: &SchemaRef,
    context: &Arc<TaskContext>,
) -> SqlResult<Vec<RecordBatch>> {
    let window = listed.assignment.asked;
    let last = last_states(listed.states.as_ref(), &window, context).await?;
    let open: Vec<i64> = last.values().filter(|last| last.wanted && last.active).map(|last| last.fetched_at).collect();
    let active = open.len();
    let mut assignment = listed.assignment.clone();
    if let Some(first) = open.into_iter().min() {
        assignment.live.extend(&since(&assignment, Time::from_micros(first)));
    }
    let (told, mut batches) = live(run, listed.asking, &assignment, projection, active).await.map_err(external)?;
    stored(listed.rows.as_ref(), &last, told, schema, context, &mut batches).await?;
    Ok(batches)
}

/// What is to be read to see what became of sessions that were active at this time: wherever they ended since is not
/// sealed, or it would be known. One that goes on overlaps the rest of the window; where the window has no such rest, what
/// lies behind it is read, too.
fn since(assignment: &Assignment, active_at: Time) -> Windows {
    let Some(stock) = assignment.stock.as_ref().filter(|stock| !stock.alone) else { return Windows::NONE };
    let reaches = assignment.live.span().is_some_and(|span| span.to == assignment.asked.to);
    let to = assignment.asked.to.filter(|_| reaches);
    stock.coverage.unsealed(Window { from: Some(active_at), to })
}

async fn last_states(
    states: Option<&Arc<dyn ExecutionPlan>>,
    window: &Window,
    context: &Arc<TaskContext>,
) -> SqlResult<HashMap<u128, Last>> {
    let mut last: HashMap<u128, Last> = HashMap::new();
    let Some(states) = states else { return Ok(last) };
    let mut rows = execute_stream(Arc::clone(states), Arc::clone(context))?;
    while let Some(rows) = rows.next().await {
        let rows = rows?;
        let states = of(&rows, "state").map_err(external)?.as_string::<i32>();
        let [starts, ends, fetched] = times(&rows).map_err(external)?;
        for (row, key) in keys(&rows, "session_key").map_err(external)?.enumerate() {
            let fetched_at = fetched.value(row);
            let Some(key) = key.filter(|key| last.get(key).is_none_or(|known| known.fetched_at < fetched_at)) else {
                continue;
            };
            let at = |times: &TimestampMicrosecondArray| times.is_valid(row).then(|| times.value(row));
            let wanted = overlaps(window, at(starts), at(ends));
            last.insert(key, Last { fetched_at, wanted, active: states.value(row) == SessionState::Active.as_str() });
        }
    }
    Ok(last)
}

/// What the product lists now, and the keys of all sessions that it told of, wanted or not.
async fn live(
    run: &Arc<Run>,
    asking: Option<usize>,
    assignment: &Assignment,
    projection: &[usize],
    active: usize,
) -> Result<(HashSet<u128>, Vec<RecordBatch>)> {
    let (mut told, mut batches) = (HashSet::new(), Vec::new());
    let not_refreshed = || format!("{active} sessions are as they were when they were collected: active");
    let Some(asking) = asking.filter(|_| !assignment.live.is_empty()) else {
        let entry = run.ledger.open(assignment, run.clock.now());
        if active > 0 {
            run.ledger.note(entry, not_refreshed());
        }
        return Ok((told, batches));
    };
    let provenance = Provenance::new(run, asking, &SESSIONS, Some(projection), &assignment.stream.name);
    let mut reader = Reader::new(run, asking, assignment, Keep::Overlapping, Direction::Any).keeping_everything();
    loop {
        let page = match reader.next().await {
            Ok(Some(page)) => page,
            Ok(None) => break,
            Err(_in_the_ledger) => {
                if active > 0 {
                    run.ledger.note(reader.entry(), not_refreshed());
                }
                break;
            }
        };
        let [starts, ends] = ["start_time", "end_time"].map(|name| time(&page, name));
        let (starts, ends) = (starts?, ends?);
        let mask: BooleanArray = keys(&page, "session_key")?
            .zip(starts.iter().zip(ends.iter()))
            .map(|(key, (start, end))| {
                let first = key.is_none_or(|key| told.insert(key));
                Some(first && overlaps(&assignment.asked, start, end))
            })
            .collect();
        let page = filter_record_batch(&page, &mask).map_err(internal)?;
        batches.push(provenance.add(&page, run.clock.now())?);
    }
    Ok((told, batches))
}

/// The last stored state of every wanted session that the product did not tell of.
async fn stored(
    rows: Option<&Arc<dyn ExecutionPlan>>,
    last: &HashMap<u128, Last>,
    mut told: HashSet<u128>,
    schema: &SchemaRef,
    context: &Arc<TaskContext>,
    batches: &mut Vec<RecordBatch>,
) -> SqlResult<()> {
    let Some(rows) = rows else { return Ok(()) };
    let mut rows = execute_stream(Arc::clone(rows), Arc::clone(context))?;
    while let Some(rows) = rows.next().await {
        let rows = rows?;
        let [_, _, fetched] = times(&rows).map_err(external)?;
        let mask: BooleanArray = keys(&rows, "session_key")
            .map_err(external)?
            .enumerate()
            .map(|(row, key)| {
                let Some((key, last)) = key.and_then(|key| Some((key, last.get(&key)?))) else { return Some(false) };
                Some(last.wanted && last.fetched_at == fetched.value(row) && told.insert(key))
            })
            .collect();
        if mask.true_count() > 0 {
            let columns = schema.fields().iter().map(|field| of(&rows, field.name()).cloned());
            let columns = columns.collect::<Result<Vec<ArrayRef>>>().map_err(external)?;
            let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
            let rows = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?;
            batches.push(filter_record_batch(&rows, &mask)?);
        }
    }
    Ok(())
}

fn of<'r>(rows: &'r RecordBatch, name: &str) -> Result<&'r ArrayRef> {
    rows.column_by_name(name).ok_or_else(|| Error::new(ErrorKind::Internal, format!("sessions without {name}")))
}

fn time<'r>(rows: &'r RecordBatch, name: &str) -> Result<&'r TimestampMicrosecondArray> {
    let times = of(rows, name)?.as_primitive_opt::<TimestampMicrosecondType>();
    times.ok_or_else(|| Error::new(ErrorKind::Internal, format!("{name} is no time")))
}

/// Start, end and time of reading.
fn times(rows: &RecordBatch) -> Result<[&TimestampMicrosecondArray; 3]> {
    Ok([time(rows, "start_time")?, time(rows, "end_time")?, time(rows, "fetched_at")?])
}
