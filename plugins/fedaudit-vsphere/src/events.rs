//! One page of events, read forward through a collector. What the cursor holds is enough to start again elsewhere: the
//! collector only saves reading twice.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use fedaudit_core::{
    Context, Cursor, EndReason, Error, ErrorKind, EventBuilder, Next, Observed, Page, PageRequest, Time,
};
use serde::{Deserialize, Serialize};

use crate::collectors::Lease;
use crate::fault::Failure;
use crate::filter::Filter;
use crate::normalize::{Position, position};
use crate::record::Members;
use crate::session::Session;
use crate::transcode::Declared;
use crate::wire::{Answer, Call, Ref};

/// A new collector starts this much before the newest row delivered: events of almost one time can be stored out of order.
const OVERLAP: Duration = Duration::from_secs(1);
/// Rows of the overlap that a cursor remembers; with more, it remembers those of the newest instant only. A row that
/// comes twice has the same key and is dropped by the engine.
const MAX_SEEN: usize = 2000;

/// How far a reader came.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Progress {
    /// Time of the newest event delivered.
    created: Option<Time>,
    /// Time in µs and key of the events delivered near it.
    seen: Vec<(i64, i64)>,
    /// Pages read: a page of nothing but unreadable records is progress, too.
    pages: u64,
}

impl Progress {
    fn start(&self, filter: &Filter) -> Option<Time> {
        let again = self.created.map(|created| {
            let oldest = self.seen.iter().map(|(created, _)| *created).min().unwrap_or(created.micros());
            // Not before what is remembered: it would be delivered twice.
            Time::from_micros(oldest.min(created.micros())).max(created.minus(OVERLAP))
        });
        filter.begin.max(again)
    }

    fn advance(&mut self, delivered: impl Iterator<Item = Position>) {
        self.pages += 1;
        self.seen.extend(delivered.map(|at| (at.created.micros(), at.key)));
        let Some(newest) = self.seen.iter().map(|(created, _)| *created).max() else { return };
        self.created = Some(Time::from_micros(newest));
        let oldest = newest - OVERLAP.as_micros() as i64;
        self.seen.retain(|(created, _)| *created >= oldest);
        if self.seen.len() > MAX_SEEN {
            self.seen.retain(|(created, _)| *created == newest);
        }
    }
}

/// Reads the next page for this filter.
pub(crate) async fn read_page(
    cx: &Context,
    session: &Arc<Session>,
    request: &PageRequest,
    filter: &Filter,
) -> Result<Page, Failure> {
    let mut progress: Progress = match &request.cursor {
        Some(cursor) => cursor.read()?,
        None => Progress::default(),
    };
    let resting = request.cursor.as_ref().and_then(|cursor| session.collectors.take(&place(filter, cursor)));
    let (lease, anew) = if let Some(lease) = resting {
        (lease, false)
    } else {
        let filter = Filter { begin: progress.start(filter), ..filter.clone() };
        (create(cx, session, &filter).await?, true)
    };
    let mut answer = match request.follow {
        None => read_next(cx, session, &lease.collector(), filter.page_size).await?,
        Some(patience) => wait_for_events(cx, session, &lease.collector(), filter.page_size, patience).await?,
    };
    // A new collector repeats what was delivered. A page of nothing else would leave the cursor where it is, and readers
    // that take each other's collectors away would never get on.
    while anew && request.follow.is_none() && only_repeats(&answer, &progress)? {
        answer = read_next(cx, session, &lease.collector(), filter.page_size).await?;
    }
    let values = answer.values(Declared::Event)?;
    let server_time = answer.server_time();
    let mut observed = Observed {
        server_time,
        count: None,
        retention_floor: server_time.zip(session.max_age).map(|(now, age)| now.minus(age)),
        records: values.len() as u64,
        notes: Vec::new(),
    };

    let mut rejected = Vec::new();
    let mut records: Vec<(Position, Cow<'_, str>)> = Vec::with_capacity(values.len());
    for value in values {
        match value {
            Ok(raw) => match Members::parse(&raw).and_then(|members| position(&members)) {
                Ok(at) => records.push((at, raw)),
                Err(reason) => rejected.push(fedaudit_core::Rejected { raw: raw.into_owned(), reason }),
            },
            Err(bad) => rejected.push(bad),
        }
    }
    // Pages come in order of creation, except that one product's pages were seen with the newer key first.
    records.sort_by_key(|(at, _)| *at);

    let normalizer = crate::normalizer(cx, session);
    let mut rows = EventBuilder::new(&cx.source_key);
    let seen: HashSet<(i64, i64)> = if anew { progress.seen.iter().copied().collect() } else { HashSet::new() };
    let wanted = |at: &Position| request.window.contains(at.created) && !seen.contains(&(at.created.micros(), at.key));
    for (at, raw) in records.iter().filter(|(at, _)| wanted(at)) {
        let pushed = Members::parse(raw)
            .map_err(|reason| fedaudit_core::Rejected { raw: raw.clone().into_owned(), reason })
            .and_then(|members| normalizer.event(raw, &members, *at, &mut rows));
        if let Err(bad) = pushed {
            rejected.push(bad);
        }
        if raw.contains("EventBurstCompressedEvent") {
            observed.notes.push(
                "the server compressed a burst of equal events: those after the first 30 were never stored (EventBurstCompressedEvent)".into(),
            );
        }
    }
    let next = if observed.records == 0 && request.follow.is_none() {
        if let Some(collector) = lease.finish() {
            session.destroy(cx, &collector).await;
        }
        Next::End(EndReason::EmptyPage)
    } else {
        progress.advance(records.iter().map(|(at, _)| *at));
        let cursor = Cursor::new(&progress)?;
        lease.rest(&place(filter, &cursor));
        Next::More(cursor)
    };
    Ok(Page { rows: rows.finish()?, next, frontier: None, observed, rejected })
}

/// Whether a page has events and all of them were delivered before.
fn only_repeats(answer: &Answer, progress: &Progress) -> Result<bool, Failure> {
    let values = answer.values(Declared::Event)?;
    let repeated = |raw: &str| {
        let at = Members::parse(raw).and_then(|members| position(&members));
        at.is_ok_and(|at| progress.seen.contains(&(at.created.micros(), at.key)))
    };
    Ok(!progress.seen.is_empty()
        && !values.is_empty()
        && values.iter().all(|value| value.as_ref().is_ok_and(|raw| repeated(raw))))
}

/// Identifies a collector: its filter, and the cursor that continues it.
fn place(filter: &Filter, cursor: &Cursor) -> String {
    format!("{filter:?} {}", cursor.as_str())
}

async fn read_next(cx: &Context, session: &Session, collector: &Ref, count: usize) -> Result<Answer, Failure> {
    session.call(cx, Call::new(collector, "ReadNextEvents").number("maxCount", count)).await
}

/// Asks until there is an event or the patience is spent: after the last event, the same call returns what is added later.
async fn wait_for_events(
    cx: &Context,
    session: &Session,
    collector: &Ref,
    count: usize,
    patience: Duration,
) -> Result<Answer, Failure> {
    let until = cx.now().plus(patience);
    let mut pause = Duration::from_millis(500);
    loop {
        let answer = read_next(cx, session, collector, count).await?;
        let left = Duration::from_micros((until.micros() - cx.now().micros()).max(0) as u64);
        if left.is_zero() || !answer.values(Declared::Event)?.is_empty() {
            return Ok(answer);
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

/// Makes a collector, after a look at those that nobody needs any more.
pub(crate) async fn create(cx: &Context, session: &Arc<Session>, filter: &Filter) -> Result<Lease, Failure> {
    for collector in session.collectors.drain_abandoned() {
        session.destroy(cx, &collector).await;
    }
    match try_create(cx, session, filter).await {
        // An older server may not know a class by name. It then sends more, which is allowed.
        Err(failure) if failure.is("InvalidArgument") || failure.is("InvalidType") => {
            tracing::debug!(source = %cx.source, ?failure, "the server refuses the filter; reading by time only");
            try_create(cx, session, &filter.by_time_only()).await
        }
        // The server has a limit for all its clients: give back what we do not need at this moment.
        Err(failure) if failure.is("InvalidState") => {
            for collector in session.collectors.drain() {
                session.destroy(cx, &collector).await;
            }
            try_create(cx, session, filter).await
        }
        other => other,
    }
}

async fn try_create(cx: &Context, session: &Session, filter: &Filter) -> Result<Lease, Failure> {
    let call =
        Call::new(session.event_manager()?, "CreateCollectorForEvents").object("filter", &filter.xml(), &filter.json());
    let answer = session.call(cx, call).await?;
    let collector = answer.value()?.and_then(|json| serde_json::from_str::<Ref>(&json).ok());
    let collector =
        collector.ok_or_else(|| Error::new(ErrorKind::Malformed, "the server made a collector and did not name it"))?;
    Ok(session.collectors.lease(collector))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64, key: i64) -> Position {
        Position { created: Time::from_micros(micros), key }
    }

    #[test]
    fn a_cursor_remembers_what_a_new_collector_sends_again() {
        let mut progress = Progress::default();
        assert_eq!(progress.start(&Filter::default()), None);
        progress.advance([at(1_000_000, 1), at(5_000_000, 3), at(5_200_000, -2)].into_iter());
        assert_eq!(progress.seen, [(5_000_000, 3), (5_200_000, -2)]);
        assert_eq!(progress.start(&Filter::default()), Some(Time::from_micros(5_000_000)));
        progress.advance((0..3000).map(|key| at(5_200_000 + key, key)));
        assert_eq!(progress.seen, [(5_202_999, 2999)]);
        assert_eq!(progress.start(&Filter::default()), Some(Time::from_micros(5_202_999)));
        let filter = Filter { begin: Some(Time::from_micros(9_000_000)), ..Filter::default() };
        assert_eq!(progress.start(&filter), Some(Time::from_micros(9_000_000)));
    }
}
