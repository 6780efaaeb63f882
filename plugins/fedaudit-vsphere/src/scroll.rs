//! The calls to an event collector: it is made, scrolled forward from the oldest event or backward from the latest page, and
//! asked what its latest page is.

use std::sync::Arc;
use std::time::Duration;

use fedaudit_core::{Context, Error, ErrorKind, Rejected};

use crate::collectors::Lease;
use crate::cursor::Edge;
use crate::fault::Failure;
use crate::filter::Filter;
use crate::normalize::{Position, position};
use crate::record::Record;
use crate::session::Session;
use crate::transcode::Declared;
use crate::wire::{Answer, Call, Ref};

/// Events in the latest page that tells whether an empty page is the end.
pub(crate) const LATEST: usize = 10;
/// Empty pages in a row that are passed over while nothing proves the end: the server takes out what the account may not
/// see after it made a page.
const EMPTY_PAGES: usize = 64;
/// What an account has that may see the root, and with it every event where its role is propagated.
const READ_PRIVILEGE: &str = "System.Read";

/// What came of reading on.
pub(crate) enum Read {
    /// A page with events.
    Page(Answer),
    /// The end; the last, empty answer, and why more may follow all the same.
    End(Answer, Option<&'static str>),
}

/// What leaves an end in doubt when rows came, and when none did.
const NEWEST_HIDDEN: &str =
    "the newest events of this window are hidden from the account, which may not see every object";
const ALL_HIDDEN: &str =
    "no event was seen and nothing proves that there is none: the account may not see every object";

/// What a latest page says about an empty one.
#[derive(Debug, PartialEq, Eq)]
enum Latest {
    /// Its events were all delivered.
    Delivered,
    /// There is one that was not.
    Ahead,
    /// It is empty.
    Silent,
}

/// A collector with a latest page of this size, after a look at those that nobody needs any more.
pub(crate) async fn create(
    cx: &Context,
    session: &Arc<Session>,
    filter: &Filter,
    latest: usize,
) -> Result<Lease, Failure> {
    for collector in session.collectors.drain_abandoned() {
        session.destroy(cx, &collector).await;
    }
    let lease = match try_create(cx, session, filter).await {
        // An older server may not know a class by name. It then sends more, which is allowed.
        Err(failure) if filter.is_narrow() && (failure.is("InvalidArgument") || failure.is("InvalidType")) => {
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
    }?;
    // What the size is otherwise depends on which page of the documentation one reads.
    let call = Call::new(lease.collector(), "SetCollectorPageSize").number("maxCount", latest);
    session.call(cx, call).await?;
    Ok(lease)
}

/// A collector with exactly this filter.
pub(crate) async fn try_create(cx: &Context, session: &Session, filter: &Filter) -> Result<Lease, Failure> {
    let call =
        Call::new(session.event_manager()?, "CreateCollectorForEvents").object("filter", &filter.xml(), &filter.json());
    let answer = session.call(cx, call).await?;
    let collector = answer.value()?.and_then(|json| serde_json::from_str::<Ref>(&json).ok());
    let collector =
        collector.ok_or_else(|| Error::new(ErrorKind::Malformed, "the server made a collector and did not name it"))?;
    Ok(session.collectors.lease(collector))
}

/// The next page toward newer events.
pub(crate) async fn read_next(cx: &Context, session: &Session, lease: &Lease, count: usize) -> Result<Answer, Failure> {
    session.call(cx, Call::new(lease.collector(), "ReadNextEvents").number("maxCount", count)).await
}

/// The next page toward older events.
pub(crate) async fn read_previous(
    cx: &Context,
    session: &Session,
    lease: &Lease,
    count: usize,
) -> Result<Answer, Failure> {
    session.call(cx, Call::new(lease.collector(), "ReadPreviousEvents").number("maxCount", count)).await
}

/// Stands just before the latest page, as it is now: what came since it was read is read again, and nothing is left out.
pub(crate) async fn reset(cx: &Context, session: &Session, lease: &Lease) -> Result<(), Failure> {
    session.call(cx, Call::new(lease.collector(), "ResetCollector")).await.map(drop)
}

/// The newest events that match, in no order.
pub(crate) async fn latest_page(cx: &Context, session: &Session, lease: &Lease) -> Result<Answer, Failure> {
    session.array(cx, lease.collector(), "latestPage", "Event").await
}

/// Reads forward until something comes that was not delivered, or nothing can come any more.
///
/// An empty page alone is no end: the server removes what the account may not see from a page that it has made. It is one
/// where the newest matching events were delivered, or where the newest one that there is stands before the window.
pub(crate) async fn forward(
    cx: &Context,
    session: &Arc<Session>,
    lease: &Lease,
    filter: &Filter,
    count: usize,
    edge: &Edge,
) -> Result<Read, Failure> {
    let mut latest = None;
    let mut empty = 0;
    let mut repeats = Repeats::of(edge, count);
    loop {
        let answer = read_next(cx, session, lease, count).await?;
        if !answer.is_empty() {
            if repeats.pass_over(&answer, edge)? {
                continue;
            }
            return Ok(Read::Page(answer));
        }
        empty += 1;
        let seen = if let Some(seen) = &latest {
            seen
        } else {
            let seen = compare(&latest_page(cx, session, lease).await?, edge)?;
            if seen == Latest::Silent && edge.created.is_none() && nothing_since(cx, session, filter).await? {
                return Ok(Read::End(answer, None));
            }
            latest.insert(seen)
        };
        match seen {
            Latest::Delivered => return Ok(Read::End(answer, None)),
            Latest::Silent if empty > EMPTY_PAGES => {
                let doubt = match edge.created {
                    Some(_) => Some(NEWEST_HIDDEN),
                    None => (!sees_the_root(cx, session).await?).then_some(ALL_HIDDEN),
                };
                return Ok(Read::End(answer, doubt));
            }
            Latest::Ahead if empty > EMPTY_PAGES => {
                let text = "the server sends only empty pages although it has newer events";
                return Err(Error::new(ErrorKind::Unavailable, text)
                    .hint("rows after the last one are missing; give the account the Read-only role at the root, with propagation to children")
                    .into());
            }
            Latest::Silent | Latest::Ahead => {}
        }
    }
}

/// Whether the newest event up to the end of the window is one before it, which this account sees: then there is none in
/// the window, hidden or not.
async fn nothing_since(cx: &Context, session: &Arc<Session>, filter: &Filter) -> Result<bool, Failure> {
    let Some(begin) = filter.begin else { return Ok(false) };
    let lease = match create(cx, session, &Filter { begin: None, ..filter.clone() }, 1).await {
        // There may be room for one collector only.
        Err(failure) if failure.is("InvalidState") => return Ok(false),
        other => other?,
    };
    let newest = latest_page(cx, session, &lease).await;
    session.destroy(cx, &lease.finish()).await;
    let newest = newest?.first(Declared::Event).map(place);
    Ok(newest.first().is_some_and(|at| at.is_some_and(|at| at.created < begin)))
}

/// Whether the account may read at the root, as far as the server tells.
async fn sees_the_root(cx: &Context, session: &Session) -> Result<bool, Failure> {
    match session.has_privilege(cx, READ_PRIVILEGE).await {
        Err(failure) if failure.is("NoPermission") => Ok(false),
        told => Ok(told? == Some(true)),
    }
}

/// Reads backward in the same way; an empty page is an end here, for what is older still is then looked for forward.
pub(crate) async fn backward(
    cx: &Context,
    session: &Session,
    lease: &Lease,
    count: usize,
    edge: &Edge,
) -> Result<Read, Failure> {
    let mut repeats = Repeats::of(edge, count);
    loop {
        let answer = read_previous(cx, session, lease, count).await?;
        if answer.is_empty() {
            return Ok(Read::End(answer, None));
        }
        if !repeats.pass_over(&answer, edge)? {
            return Ok(Read::Page(answer));
        }
    }
}

/// Asks until there is an event or the patience is spent: after the last event, the same call returns what is added later.
pub(crate) async fn wait(
    cx: &Context,
    session: &Session,
    lease: &Lease,
    count: usize,
    edge: &Edge,
    patience: Duration,
) -> Result<Answer, Failure> {
    let until = cx.now().plus(patience);
    let mut pause = Duration::from_millis(500);
    let mut repeats = Repeats::of(edge, count);
    loop {
        let answer = read_next(cx, session, lease, count).await?;
        let empty = answer.is_empty();
        let left = Duration::from_micros((until.micros() - cx.now().micros()).max(0) as u64);
        if left.is_zero() || (!empty && !repeats.pass_over(&answer, edge)?) {
            return Ok(answer);
        }
        if empty {
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }
}

/// Whether a page has anything that was not delivered. What cannot be read counts as news.
pub(crate) fn brings_news(answer: &Answer, edge: &Edge) -> Result<bool, Failure> {
    Ok(repeated(answer, edge)? == 0)
}

/// How many events a page has, if all of them were delivered before.
fn repeated(answer: &Answer, edge: &Edge) -> Result<usize, Failure> {
    let seen = edge.seen();
    // Hardly any page begins with what was delivered before; the others need not be looked through.
    let first = answer.first(Declared::Event).map(place);
    if seen.is_empty() || first.iter().any(|at| at.is_none_or(|at| !seen.contains(&at))) {
        return Ok(0);
    }
    let positions = answer.values(Declared::Event)?.map(place);
    let all = positions.iter().all(|at| at.is_some_and(|at| seen.contains(&at)));
    Ok(if all { positions.len() } else { 0 })
}

/// A new collector repeats what is remembered, once. One that repeats more does not move.
struct Repeats(usize);

impl Repeats {
    fn of(edge: &Edge, count: usize) -> Self {
        Self(edge.seen().len() + count)
    }

    /// Whether the page is to be passed over.
    fn pass_over(&mut self, answer: &Answer, edge: &Edge) -> Result<bool, Failure> {
        let repeated = repeated(answer, edge)?;
        self.0 = self.0.checked_sub(repeated).ok_or_else(stuck)?;
        Ok(repeated > 0)
    }
}

/// The error for a server that sends one page over and over.
pub(crate) fn stuck() -> Error {
    Error::new(ErrorKind::Malformed, "the server keeps sending the same events")
        .hint("stopped instead of reading them forever; rows after them are missing")
}

/// The error for a server that sends one page of nonsense after the other.
pub(crate) fn unreadable() -> Error {
    Error::new(ErrorKind::Malformed, "the server keeps sending records of which none can be read")
        .hint("stopped instead of reading them forever; the first ones are kept as rejected records, rows after them are missing")
}

fn compare(latest: &Answer, edge: &Edge) -> Result<Latest, Failure> {
    if latest.is_empty() {
        return Ok(Latest::Silent);
    }
    let seen = edge.seen();
    let ahead = latest.values(Declared::Event)?.map(place).into_iter().flatten().any(|at| match edge.created {
        Some(created) if at.created == created => !seen.contains(&at),
        Some(created) => at.created > created,
        None => true,
    });
    Ok(if ahead { Latest::Ahead } else { Latest::Delivered })
}

/// Where an event stands; nothing where that cannot be read.
pub(crate) fn place(record: Result<Record<'_>, Rejected>) -> Option<Position> {
    position(&record.ok()?.members().ok()?).ok()
}
