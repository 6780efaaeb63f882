//! Reading the session list from end to end, one page at a time.
//!
//! Sessions are read oldest first: only then can a scan go on after a snapshot expired, or beyond the hits that a basic
//! search shows, from the start time it had reached. Where a scan goes on, the last second is read again.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use fedaudit_core::{
    Context, Cursor, EndReason, Error, ErrorKind, EventBuilder, Next, Observed, Page, PageRequest, Rejected, Result,
    SessionBuilder, Time,
};
use serde::{Deserialize, Serialize};

use crate::api::{Api, BASIC_HITS, LARGEST_PAGE, List, ListQuery, View};
use crate::filter;
use crate::info::{SESSION_EVENTS, SESSIONS};
use crate::normalize::{push_events, push_session};
use crate::record::Record;

/// How far a list begins before the time it is wanted from: "after" may or may not include that instant itself.
const OVERLAP: Duration = Duration::from_secs(1);
const NO_ORDER: &str = "the appliance did not sort the list as asked; it was read to the end";

/// Which part of the answer is being read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// Sessions that are still running and began before those of the window.
    Running,
    /// Sessions that began in the window or in the look-back before it.
    #[default]
    Window,
}

/// Where the next request goes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
enum Place {
    /// A new list, from the start time reached so far.
    #[default]
    Begin,
    /// The appliance's link.
    Link(String),
    /// An offset in the basic search that began after `start`.
    Offset { start: Option<i64>, offset: u64 },
}

/// The state of a scan: all there is between two pages.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Position {
    phase: Phase,
    place: Place,
    snapshot: Option<String>,
    /// Latest start time seen, microseconds.
    last: Option<i64>,
    /// Key, start and revision of the sessions that a new list may bring again.
    recent: Vec<(String, i64, i64)>,
    /// The filter was refused, everything is read.
    unfiltered: bool,
    /// The list is not sorted, so that nothing may be concluded from start times.
    unordered: bool,
    /// The present list brought sessions not seen before.
    fresh: bool,
}

/// One scan's fixed terms.
pub(crate) struct Scan<'s> {
    pub(crate) api: &'s Api,
    pub(crate) look_back: Duration,
    pub(crate) user_forms: &'s [String],
}

enum Rows {
    Sessions(Box<SessionBuilder>),
    Events(Box<EventBuilder>),
}

impl Scan<'_> {
    /// One page.
    pub(crate) async fn page(&self, cx: &Context, request: &PageRequest) -> Result<Page> {
        let mut rows = match request.stream.as_str() {
            SESSIONS => Rows::Sessions(Box::new(SessionBuilder::new(&cx.source_key))),
            SESSION_EVENTS => Rows::Events(Box::new(EventBuilder::new(&cx.source_key))),
            other => return Err(Error::new(ErrorKind::Internal, format!("sps has no stream '{other}'"))),
        };
        if request.count_only {
            return self.count(cx, request, rows).await;
        }
        if request.window.is_empty() {
            return Ok(Page::last(rows.finish()?, EndReason::NothingAsked));
        }
        let floor = request.window.from.map(|from| from.minus(self.look_back));
        let mut position = match &request.cursor {
            Some(cursor) => cursor.read()?,
            // A login event lies at the start of its session: only `sessions` needs those that began long ago.
            None if request.stream == SESSIONS && floor.is_some() => {
                Position { phase: Phase::Running, ..Position::default() }
            }
            None => Position::default(),
        };
        let pushed = filter::query(&request.predicates, self.user_forms);
        let limit = request.page_size.unwrap_or(LARGEST_PAGE).clamp(1, LARGEST_PAGE);
        let mut observed = Observed::default();
        let mut reopened = 0;
        let (response, login, path) = loop {
            let path = self.path(cx, &mut position, floor, pushed.as_deref(), limit).await?;
            let (response, login) = self.api.get(cx, &path).await?;
            match response.status {
                200 => break (response, login, path),
                404 if position.snapshot.take().is_some() && reopened < 2 => {
                    reopened += 1;
                    position.place = Place::Begin;
                    observed.notes.push("the search snapshot expired; reading went on from a new one".to_owned());
                }
                400 if pushed.is_some() && !position.unfiltered => {
                    position.unfiltered = true;
                    position.place = Place::Begin;
                    observed.notes.push(format!(
                        "the appliance refused the filter and everything was read instead: {}",
                        self.api.refused(&response, &path).message()
                    ));
                }
                400 if position.phase == Phase::Running => {
                    position = Position { unfiltered: position.unfiltered, ..Position::default() };
                    observed
                        .notes
                        .push("running sessions that began before the look-back could not be searched".to_owned());
                }
                _ => return Err(self.api.refused(&response, &path)),
            }
        };
        let list: List<'_> =
            serde_json::from_slice(&response.body).map_err(|error| self.api.unreadable(&response, &error, &path))?;
        observed.server_time = response.server_time();
        observed.records = list.items.len() as u64;

        let version = login.appliance.firmware.as_deref();
        let now = cx.now();
        let mut rejected = Vec::new();
        let mut seen: Vec<(String, i64, i64)> = Vec::new();
        let mut order = Ordered::default();
        let recent: HashMap<&str, i64> =
            position.recent.iter().map(|(key, _, revision)| (key.as_str(), *revision)).collect();
        let mut fresh = position.fresh;
        for item in &list.items {
            let record = match Record::decode(item, now) {
                Ok(record) => record,
                Err(reason) => {
                    rejected.push(Rejected { raw: item.get().to_owned(), reason });
                    fresh = true;
                    continue;
                }
            };
            let start = record.start.time;
            if let Some(start) = start {
                order.add(start.micros());
            }
            let revision = record.revision.unwrap_or(1);
            let known = recent.get(record.key.as_ref()).copied();
            fresh |= known.is_none();
            // A newer revision is news: the session may have ended between two pages.
            if known.is_some_and(|known| known >= revision) {
                continue;
            }
            if let Some(start) = start {
                seen.push((record.key.clone().into_owned(), start.micros(), revision));
            }
            let later = position.phase == Phase::Running
                && matches!((start, floor), (Some(start), Some(floor)) if start >= floor);
            if later || !record.overlaps(&request.window) {
                continue;
            }
            match &mut rows {
                Rows::Sessions(builder) => push_session(builder, &record, version),
                Rows::Events(builder) => push_events(builder, &record, &request.window, now, version),
            }
        }
        drop(recent);
        position.fresh = fresh;
        position.note_order(&order, &mut observed)?;
        position.remember(seen, &order);
        let next = self.next(position, &list, &order, limit, floor, request)?;
        Ok(Page { rows: rows.finish()?, next, frontier: None, observed, rejected })
    }

    /// The request for the position; a list is begun where none is.
    async fn path(
        &self,
        cx: &Context,
        position: &mut Position,
        floor: Option<Time>,
        pushed: Option<&str>,
        limit: usize,
    ) -> Result<String> {
        let pushed = pushed.filter(|_| !position.unfiltered);
        let q = match (position.phase, pushed) {
            (Phase::Running, Some(pushed)) => Some(format!("active:true AND {pushed}")),
            (Phase::Running, None) => Some("active:true".to_owned()),
            (Phase::Window, pushed) => pushed.map(str::to_owned),
        };
        let path = |start: Option<Time>, view: View<'_>| ListQuery { start, q: q.as_deref(), limit, view }.path();
        match &position.place {
            Place::Link(link) => return Ok(link.clone()),
            Place::Offset { start, offset } => return Ok(path(start.map(Time::from_micros), View::Basic(*offset))),
            Place::Begin => {}
        }
        let from = match (position.last, position.phase) {
            (Some(last), _) => Some(Time::from_micros(last)),
            (None, Phase::Window) => floor,
            (None, Phase::Running) => None,
        };
        let start = from.map(|from| from.minus(OVERLAP).max(Time::EPOCH));
        if position.snapshot.is_none() {
            position.snapshot = self.api.open_snapshot(cx).await?;
        }
        position.fresh = false;
        let (place, path) = match &position.snapshot {
            Some(id) => {
                let path = path(start, View::Snapshot(id));
                (Place::Link(path.clone()), path)
            }
            None => (Place::Offset { start: start.map(Time::micros), offset: 0 }, path(start, View::Basic(0))),
        };
        position.place = place;
        Ok(path)
    }

    /// Where it goes on after a page, or why it ends.
    fn next(
        &self,
        mut position: Position,
        list: &List<'_>,
        order: &Ordered,
        limit: usize,
        floor: Option<Time>,
        request: &PageRequest,
    ) -> Result<Next> {
        let bound = if position.phase == Phase::Running { floor } else { request.window.to };
        let past =
            !position.unordered && matches!((order.last, bound), (Some(last), Some(bound)) if last >= bound.micros());
        let received = list.items.len() as u64;
        let place = if past {
            Err(EndReason::PastWindow)
        } else {
            match (&position.place, &list.meta.next) {
                (Place::Link(_) | Place::Begin, None) => Err(EndReason::NoNextLink),
                (Place::Link(_) | Place::Begin, Some(link)) => Ok(self.follow(&position, link)?),
                (Place::Offset { .. }, _) if received == 0 => Err(EndReason::EmptyPage),
                (Place::Offset { start, offset }, link) => {
                    let offset = offset + received;
                    let hits = list.meta.match_count;
                    let unseen = hits.is_some_and(|hits| hits > offset) && received >= limit as u64;
                    let saturated = hits.is_none_or(|hits| hits >= BASIC_HITS);
                    if offset >= BASIC_HITS || (saturated && hits.is_some() && link.is_none()) {
                        Ok(position.new_list()?)
                    } else if link.is_some() || unseen {
                        Ok(Place::Offset { start: *start, offset })
                    } else {
                        Err(EndReason::NoNextLink)
                    }
                }
            }
        };
        match place {
            Ok(place) => {
                position.place = place;
                Cursor::new(&position).map(Next::More)
            }
            Err(_) if position.phase == Phase::Running => {
                let window =
                    Position { snapshot: position.snapshot, unfiltered: position.unfiltered, ..Position::default() };
                Cursor::new(&window).map(Next::More)
            }
            Err(reason) => Ok(Next::End(reason)),
        }
    }

    fn follow(&self, position: &Position, link: &str) -> Result<Place> {
        let link = self.api.resolve(link)?;
        if matches!(&position.place, Place::Link(current) if *current == link) {
            return Err(circles());
        }
        Ok(Place::Link(link))
    }

    /// The appliance's own count serves only where it counts exactly what was asked for.
    async fn count(&self, cx: &Context, request: &PageRequest, mut rows: Rows) -> Result<Page> {
        let mut page = Page::last(rows.finish()?, EndReason::SinglePage);
        let everything = request.window.from.is_none() && request.window.to.is_none() && request.predicates.is_empty();
        if request.stream == SESSIONS && everything {
            (page.observed.count, page.observed.server_time) = self.api.count(cx).await?;
        }
        Ok(page)
    }
}

impl Rows {
    fn finish(&mut self) -> Result<arrow_array::RecordBatch> {
        match self {
            Self::Sessions(builder) => builder.finish(),
            Self::Events(builder) => builder.finish(),
        }
    }
}

/// Start times of a page in the order received.
#[derive(Debug, Default)]
struct Ordered {
    last: Option<i64>,
    inverted: bool,
}

impl Ordered {
    fn add(&mut self, start: i64) {
        self.inverted |= self.last.is_some_and(|last| start < last);
        self.last = self.last.max(Some(start));
    }
}

impl Position {
    /// Notes whether the list is sorted; a sorted one that begins again never ends.
    fn note_order(&mut self, order: &Ordered, observed: &mut Observed) -> Result<()> {
        if order.inverted && !self.unordered {
            self.unordered = true;
            observed.notes.push(NO_ORDER.to_owned());
        }
        let backward =
            matches!((order.last, self.last), (Some(page), Some(before)) if page < before - 2 * micros(OVERLAP));
        if backward && !self.unordered {
            return Err(circles());
        }
        Ok(())
    }

    /// Keeps the sessions that the next list may bring again.
    fn remember(&mut self, seen: Vec<(String, i64, i64)>, order: &Ordered) {
        self.last = self.last.max(order.last);
        let oldest = self.last.unwrap_or(0) - 2 * micros(OVERLAP);
        let newer: HashSet<&str> = seen.iter().map(|(key, ..)| key.as_str()).collect();
        self.recent.retain(|(key, start, _)| *start >= oldest && !newer.contains(key.as_str()));
        self.recent.extend(seen.into_iter().filter(|(_, start, _)| *start >= oldest));
    }

    /// Goes beyond the hits of a basic search with a new one from the last start time.
    fn new_list(&mut self) -> Result<Place> {
        let stuck = || {
            Error::new(
                ErrorKind::Unsupported,
                format!(
                    "more than {BASIC_HITS} sessions started within one second; the basic search cannot show the rest"
                ),
            )
            .hint("firmware 7.1 and later has search snapshots, which can; or narrow the question by protocol or user")
        };
        if !self.fresh || self.unordered {
            return Err(stuck());
        }
        let last = self.last.ok_or_else(stuck)?;
        self.fresh = false;
        Ok(Place::Offset { start: Some(last - micros(OVERLAP)), offset: 0 })
    }
}

fn circles() -> Error {
    Error::new(ErrorKind::Malformed, "the appliance's pages go round in circles: a later page repeats an earlier one")
}

fn micros(span: Duration) -> i64 {
    span.as_micros() as i64
}
