//! All sessions of one source: what the product lists, joined by key with what its events tell.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use fedaudit_core::rows::SESSIONS;
use fedaudit_core::{
    Action, AddressKind, Direction, Error, ErrorKind, Outcome, Pairing, Result, SessionBuilder, SessionRow,
    SessionState, Time, UserType, Window,
};
use futures::StreamExt as _;

use crate::engine::from_datafusion;
use crate::ledger::Assignment;
use crate::reader::{Keep, Provenance, Reader, internal, overlaps};
use crate::run::Run;
use crate::sessions::{LiveList, Rebuilt, SessionEvent, rebuild};
use crate::sight::Sight;

/// The stream of sessions that no product lists.
pub(crate) const DERIVED: &str = "derived";

/// What rows of events are kept of, for the sessions made from them.
pub(crate) const KEPT: &[&str] = &[
    "event_key",
    "session_key",
    "session_id",
    "time",
    "time_original",
    "logged_time",
    "sequence",
    "action",
    "outcome",
    "user_name",
    "user_domain",
    "user_uid",
    "user_original",
    "user_type",
    "account_id",
    "src_ip",
    "src_port",
    "src_host",
    "src_kind",
    "src_original",
    "user_agent",
    "dst_ip",
    "dst_port",
    "dst_host",
    "protocol",
    "auth_method",
    "is_mfa",
    "is_remote",
    "secure_transport",
    "source_node",
    "product_version",
    "tenant",
    "unmapped",
];

/// Reads one source's sessions. Streams that cannot be read are in the ledger; what the others tell is still returned.
pub(crate) async fn read(
    run: &Arc<Run>,
    asking: usize,
    window: Window,
    lists: &[Assignment],
    feeds: &[Feed],
    projection: &[usize],
    context: &Arc<TaskContext>,
) -> Result<Vec<RecordBatch>> {
    let projection = Some(projection);
    // The lists come first: a logout seen later is newer knowledge than the list.
    let listed = futures::future::try_join_all(lists.iter().map(|list| read_list(run, asking, list))).await?;
    let feeds = futures::future::try_join_all(feeds.iter().map(|feed| read_feed(run, asking, feed, context))).await?;
    let source_key = &run.asking[asking].source.source_key;
    let mut rebuilt = Vec::new();
    for feed in feeds {
        let list = listed.iter().find(|list| list.complete && feed.pairing.live_stream.as_ref() == Some(&list.stream));
        let live = list.map(|list| LiveList { newer_than_events: feed.read_to.is_some(), ..list.live.clone() });
        let sessions = rebuild(source_key, &feed.pairing, feed.events, live.as_ref(), run.as_of);
        let rows = Arc::new(feed.rows);
        rebuilt.extend(sessions.into_iter().map(|session| (session, Arc::clone(&rows))));
    }
    let by_key: HashMap<&str, &Rebuilt> =
        rebuilt.iter().map(|(session, _)| (session.session_key.as_str(), session)).collect();
    let fetched_at = run.clock.now();
    let mut batches = Vec::new();
    let mut merged = HashSet::new();
    for list in &listed {
        let provenance = Provenance::new(run, asking, &SESSIONS, projection, &list.stream);
        for page in &list.pages {
            let page = joined(page, &by_key, &window, &mut merged)?;
            batches.push(provenance.add(&page, fetched_at)?);
        }
    }
    let mut builder = SessionBuilder::new(source_key);
    for (session, rows) in &rebuilt {
        let (start, end) = (session.start.map(Time::micros), session.end.map(Time::micros));
        if !merged.contains(&session.session_key) && overlaps(&window, start, end) {
            push(&mut builder, session, rows, listed.iter().any(|list| list.live.keys.contains(&session.session_key)))?;
        }
    }
    let provenance = Provenance::new(run, asking, &SESSIONS, projection, DERIVED);
    batches.push(provenance.add(&builder.finish()?, fetched_at)?);
    Ok(batches)
}

/// A product's own list of sessions.
struct List {
    stream: String,
    pages: Vec<RecordBatch>,
    live: LiveList,
    complete: bool,
}

async fn read_list(run: &Arc<Run>, asking: usize, assignment: &Assignment) -> Result<List> {
    let mut reader = Reader::new(run, asking, assignment, Keep::Overlapping, Direction::Any).keeping_everything();
    let live = LiveList { seen_at: run.clock.now(), ..LiveList::default() };
    let mut list = List { stream: assignment.stream.name.clone(), pages: Vec::new(), live, complete: false };
    loop {
        match reader.next().await {
            Ok(Some(page)) => {
                list.live.keys.extend(texts(&page, "session_key")?.iter().flatten().map(str::to_owned));
                list.pages.push(page);
            }
            Ok(None) => {
                list.complete = assignment.sight != Sight::Blind;
                return Ok(list);
            }
            Err(_in_the_ledger) => return Ok(list),
        }
    }
}

/// A stream of events that sessions are rebuilt from.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    pub(crate) assignment: Assignment,
    /// What is stored of it, in the columns that are kept.
    pub(crate) stored: Option<Arc<dyn ExecutionPlan>>,
}

/// The events of a stream that open, close or restart sessions, and what is kept of their rows.
struct Signs {
    pairing: Pairing,
    /// Where reading ended; none for now.
    read_to: Option<Time>,
    events: Vec<SessionEvent>,
    rows: Vec<RecordBatch>,
}

/// Rows of a feed are addressed by page and place in the page.
const PAGE_SHIFT: u32 = 32;

async fn read_feed(run: &Arc<Run>, asking: usize, feed: &Feed, context: &Arc<TaskContext>) -> Result<Signs> {
    let assignment = &feed.assignment;
    let pairing = assignment.stream.pairing.clone();
    let pairing = pairing.ok_or_else(|| Error::new(ErrorKind::Internal, "a feed without a pairing rule"))?;
    let mut signs = Signs { pairing, read_to: assignment.read.to, events: Vec::new(), rows: Vec::new() };
    if let Some(stored) = &feed.stored {
        let mut rows =
            execute_stream(Arc::clone(stored), Arc::clone(context)).map_err(|error| from_datafusion(&error))?;
        while let Some(rows) = rows.next().await {
            signs.add(&rows.map_err(|error| from_datafusion(&error))?)?;
        }
    }
    // What is stored and read once more is one event: rebuilding looks at the keys.
    let mut reader = Reader::new(run, asking, assignment, Keep::Inside, Direction::Any).keeping_look_back();
    while let Ok(Some(page)) = reader.next().await {
        signs.add(&page)?;
    }
    Ok(signs)
}

impl Signs {
    fn add(&mut self, rows: &RecordBatch) -> Result<()> {
        let Pairing { opens, closes, restarts, .. } = &self.pairing;
        let signs: HashSet<&str> = opens.iter().chain(closes).chain(restarts).map(|action| action.as_str()).collect();
        let actions = texts(rows, "action")?;
        let mask: BooleanArray =
            actions.iter().map(|action| Some(action.is_some_and(|action| signs.contains(action)))).collect();
        let columns: Vec<usize> = KEPT.iter().filter_map(|name| rows.schema_ref().index_of(name).ok()).collect();
        let page = rows.project(&columns).and_then(|page| filter_record_batch(&page, &mask)).map_err(internal)?;
        let view = View(&page);
        self.events.extend((0..page.num_rows()).map(|row| {
            let mut event = view.event(row, &self.pairing);
            event.row |= self.rows.len() << PAGE_SHIFT;
            event
        }));
        self.rows.push(page);
        Ok(())
    }
}

/// Rows by column name; a column that is not there reads as NULL.
struct View<'r>(&'r RecordBatch);

impl<'r> View<'r> {
    fn text(&self, column: &str, row: usize) -> Option<&'r str> {
        let values = self.0.column_by_name(column)?.as_string_opt::<i32>()?;
        values.is_valid(row).then(|| values.value(row))
    }

    fn time(&self, column: &str, row: usize) -> Option<Time> {
        let values = self.0.column_by_name(column)?.as_primitive_opt::<TimestampMicrosecondType>()?;
        values.is_valid(row).then(|| Time::from_micros(values.value(row)))
    }

    fn int32(&self, column: &str, row: usize) -> Option<i32> {
        let values = self.0.column_by_name(column)?.as_primitive_opt::<Int32Type>()?;
        values.is_valid(row).then(|| values.value(row))
    }

    fn int64(&self, column: &str, row: usize) -> Option<i64> {
        let values = self.0.column_by_name(column)?.as_primitive_opt::<Int64Type>()?;
        values.is_valid(row).then(|| values.value(row))
    }

    fn truth(&self, column: &str, row: usize) -> Option<bool> {
        let values = self.0.column_by_name(column)?.as_boolean_opt()?;
        values.is_valid(row).then(|| values.value(row))
    }

    /// A member of a JSON column; only closing events are asked, so that this is no work per record.
    fn member(&self, column: &str, row: usize, name: &str) -> Option<serde_json::Value> {
        let object: serde_json::Value = serde_json::from_str(self.text(column, row)?).ok()?;
        object.get(name).cloned()
    }

    fn event(&self, row: usize, pairing: &Pairing) -> SessionEvent {
        let owned = |column| self.text(column, row).map(str::to_owned);
        let action = self.text("action", row).and_then(Action::from_word).unwrap_or_default();
        let began = pairing
            .start_member
            .as_ref()
            .filter(|_| pairing.closes.contains(&action))
            .and_then(|member| self.member("unmapped", row, member))
            .and_then(|time| Time::parse(time.as_str()?))
            .map(|parsed| parsed.time);
        SessionEvent {
            event_key: owned("event_key").unwrap_or_default(),
            session_key: owned("session_key"),
            time: self.time("time", row).unwrap_or_default(),
            logged_time: self.time("logged_time", row),
            sequence: self.int64("sequence", row),
            action,
            outcome: self.text("outcome", row).and_then(Outcome::from_word).unwrap_or_default(),
            began,
            account_id: owned("account_id"),
            user_name: owned("user_name"),
            src_ip: owned("src_ip"),
            user_agent: owned("user_agent"),
            protocol: owned("protocol"),
            row,
        }
    }
}

/// Rows that the product lists, completed by the events of the same session. A row whose end was seen in the events is
/// left out: the rebuilt one is newer.
fn joined(
    page: &RecordBatch,
    by_key: &HashMap<&str, &Rebuilt>,
    window: &Window,
    merged: &mut HashSet<String>,
) -> Result<RecordBatch> {
    let view = View(page);
    let keys = texts(page, "session_key")?;
    let of = |row: usize| by_key.get(keys.value(row)).copied();
    let mask: BooleanArray = (0..page.num_rows())
        .map(|row| {
            let start = of(row).and_then(|session| session.start).or(view.time("start_time", row)).map(Time::micros);
            let ended = of(row).is_some_and(|session| session.end.is_some());
            Some(!ended && overlaps(window, start, view.time("end_time", row).map(Time::micros)))
        })
        .collect();
    merged.extend((0..page.num_rows()).filter(|row| mask.value(*row)).map(|row| keys.value(row).to_owned()));
    let replaced = |name: &str| -> Option<ArrayRef> {
        let rows = 0..page.num_rows();
        let started = |row| of(row).and_then(|session| session.start).or(view.time("start_time", row));
        Some(match name {
            "start_time" => Arc::new(
                rows.map(|row| started(row).map(Time::micros))
                    .collect::<TimestampMicrosecondArray>()
                    .with_timezone("UTC"),
            ),
            "login_event_key" => Arc::new(
                rows.map(|row| {
                    of(row).and_then(|session| session.login.as_ref()).map(|login| login.event_key.as_str())
                })
                .collect::<StringArray>(),
            ),
            "event_count" => {
                Arc::new(rows.map(|row| of(row).map(|session| session.event_keys.len() as i64)).collect::<Int64Array>())
            }
            _ => return None,
        })
    };
    let schema = page.schema();
    let arrays = schema
        .fields()
        .iter()
        .zip(page.columns())
        .map(|(field, array)| replaced(field.name()).unwrap_or(Arc::clone(array)));
    let page = RecordBatch::try_new(Arc::clone(&schema), arrays.collect()).map_err(internal)?;
    filter_record_batch(&page, &mask).map_err(internal)
}

fn push(builder: &mut SessionBuilder, session: &Rebuilt, pages: &[RecordBatch], listed: bool) -> Result<()> {
    let Some(event) = session.login.as_ref().or(session.logout.as_ref()) else { return Ok(()) };
    let place = |event: &SessionEvent| (event.row >> PAGE_SHIFT, event.row & ((1 << PAGE_SHIFT) - 1));
    let (page, row) = place(event);
    let page = pages.get(page).ok_or_else(|| Error::new(ErrorKind::Internal, "a session without its event"))?;
    let view = View(page);
    let text = |column| view.text(column, row);
    let closing = session.logout.as_ref().map(place).and_then(|(page, row)| Some((View(pages.get(page)?), row)));
    let call_count = closing.as_ref().and_then(|(view, row)| view.member("unmapped", *row, "callCount")?.as_i64());
    let raw = serde_json::to_string(&session.event_keys)
        .map_err(|error| Error::new(ErrorKind::Internal, format!("event keys of a session: {error}")))?;
    let unmapped = session.ended_before.map(|time| format!(r#"{{"ended_before":"{time}"}}"#));
    let flags: Vec<&str> = session.flags.iter().map(String::as_str).collect();
    builder.push_keyed(
        &session.session_key,
        &SessionRow {
            session_id: text("session_id"),
            user_name: text("user_name"),
            user_domain: text("user_domain"),
            user_uid: text("user_uid"),
            user_original: text("user_original"),
            user_type: text("user_type").and_then(UserType::from_word).unwrap_or_default(),
            account_id: text("account_id"),
            start_time: session.start,
            start_time_original: session.login.as_ref().and(text("time_original")),
            end_time: session.end,
            end_time_original: closing.as_ref().and_then(|(view, row)| view.text("time_original", *row)),
            last_seen_at: session.last_seen,
            is_active: match session.state {
                SessionState::Active => Some(true),
                SessionState::Closed => Some(false),
                _ => None,
            },
            state: session.state,
            end_reason: session.end_reason,
            outcome: Outcome::Success,
            auth_method: text("auth_method"),
            is_mfa: view.truth("is_mfa", row),
            is_remote: view.truth("is_remote", row),
            secure_transport: view.truth("secure_transport", row),
            client_ip: text("src_ip"),
            client_port: view.int32("src_port", row),
            client_host: text("src_host"),
            client_kind: text("src_kind").and_then(AddressKind::from_word).unwrap_or_default(),
            client_original: text("src_original"),
            user_agent: text("user_agent"),
            server_ip: text("dst_ip"),
            server_port: view.int32("dst_port", row),
            server_host: text("dst_host"),
            protocol: text("protocol"),
            call_count,
            derived: !listed,
            confidence: session.confidence,
            confidence_reason: Some(&session.confidence_reason),
            login_event_key: session.login.as_ref().map(|login| login.event_key.as_str()),
            logout_event_key: session.logout.as_ref().map(|logout| logout.event_key.as_str()),
            event_count: Some(session.event_keys.len() as i64),
            source_node: text("source_node"),
            product_version: text("product_version"),
            tenant: text("tenant"),
            quality_flags: &flags,
            unmapped: unmapped.as_deref(),
            raw: &raw,
            ..SessionRow::new()
        },
    );
    Ok(())
}

fn texts<'r>(rows: &'r RecordBatch, column: &str) -> Result<&'r StringArray> {
    rows.column_by_name(column)
        .and_then(|values| values.as_string_opt::<i32>())
        .ok_or_else(|| Error::new(ErrorKind::Internal, format!("a page without {column}")))
}
