//! Walking through the session list, one page at a time: what is asked, what is done about refusals, and which of the
//! documents concern the window.
//!
//! Sessions are read oldest first: only then can a walk go on after a snapshot expired, or beyond the hits that a basic
//! search shows, from the start time it had reached. Where it goes on, the last second is read again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fedaudit_core::{
    Context, Cursor, EndReason, Error, ErrorKind, EventBuilder, Next, Observed, Page, PageRequest, Rejected, Result,
    SessionBuilder, Time, Window,
};
use fedaudit_transport::HttpResponse;

use crate::api::{Api, LARGEST_PAGE, List, ListQuery, View};
use crate::filter;
use crate::info::{SESSION_EVENTS, SESSIONS};
use crate::login::Accepted;
use crate::normalize::{push_events, push_session};
use crate::object::Tape;
use crate::position::{LISTED, OVERLAP, Phase, Place, Position, Sighting};
use crate::record::Record;

/// What began since then is of just now.
const JUST_NOW: Duration = Duration::from_mins(5);
/// Times a walk may lose its snapshot within one page.
const REOPENED: usize = 2;

/// One walk's fixed terms.
#[derive(Debug)]
pub(crate) struct Walk<'s> {
    pub(crate) api: &'s Api,
    pub(crate) window: Window,
    /// Sessions that began earlier are of interest only while they run.
    pub(crate) floor: Option<Time>,
    /// The pushed conditions.
    pub(crate) filter: Option<String>,
    pub(crate) limit: usize,
    /// Whether a session that was handed out comes again when its document has changed. Its end is a new event; a row of
    /// `sessions` cannot be taken back.
    pub(crate) repeats: bool,
}

/// A page of the list as it was received.
#[derive(Debug)]
pub(crate) struct Fetched {
    response: HttpResponse,
    pub(crate) login: Arc<Accepted>,
    path: String,
    pub(crate) observed: Observed,
}

impl Fetched {
    /// Bytes received.
    fn size(&self) -> usize {
        self.response.body.len()
    }
}

/// What a page holds.
#[derive(Debug)]
pub(crate) struct Found<'p> {
    pub(crate) records: Vec<Record<'p>>,
    pub(crate) rejected: Vec<Rejected>,
    /// Why the list ends, if it does; otherwise the position has moved on.
    pub(crate) end: Option<EndReason>,
}

impl Walk<'_> {
    /// Where a walk begins. `running` asks first for the sessions that run since before the floor.
    pub(crate) fn start(&self, running: bool) -> Position {
        Position::first(if running && self.floor.is_some() { Phase::Running } else { Phase::Window })
    }

    /// Asks for the page at the position.
    pub(crate) async fn fetch(&self, cx: &Context, position: &mut Position) -> Result<Fetched> {
        let mut observed = Observed::default();
        let mut reopened = 0;
        loop {
            let path = self.path(cx, position, &mut observed).await?;
            let (response, login) = self.api.get(cx, &path).await?;
            match response.status {
                200 => {
                    observed.server_time = response.server_time();
                    observed.notes.extend(login.note.clone());
                    return Ok(Fetched { response, login, path, observed });
                }
                404 if reopened < REOPENED && position.snapshot.take().is_some() => {
                    reopened += 1;
                    position.begin_again()?;
                    observed.notes.push("the search snapshot expired; reading went on from a new one".to_owned());
                }
                400 if self.filter.is_some() && !position.unfiltered => {
                    position.unfiltered = true;
                    position.begin_again()?;
                    observed.notes.push(format!(
                        "the appliance refused the filter and everything was read instead: {}",
                        self.api.refused(&response, &path).message()
                    ));
                }
                400 if position.phase == Phase::Running => {
                    position.turn_to_window(false);
                    // Each of them belongs to all of the window.
                    misses(&mut observed, self.window);
                    observed
                        .notes
                        .push("running sessions that began before the look-back could not be searched".to_owned());
                }
                _ => return Err(self.api.refused(&response, &path)),
            }
        }
    }

    /// Reads a page and moves the position on. Of a session that comes twice the larger revision counts.
    pub(crate) fn read<'p>(
        &self,
        fetched: &'p Fetched,
        position: &mut Position,
        observed: &mut Observed,
        now: Time,
    ) -> Result<Found<'p>> {
        let list: List<'p> = serde_json::from_slice(&fetched.response.body)
            .map_err(|error| self.api.unreadable(&fetched.response, &error, &fetched.path))?;
        // Records are large: they are decoded into their place and not moved again.
        let (mut records, mut places, mut wrong) = (Vec::with_capacity(list.items.len()), Vec::new(), Vec::new());
        let mut tape = Tape::default();
        for (at, item) in list.items.iter().enumerate() {
            match Record::decode(item.get(), &mut tape, now) {
                Ok(record) => {
                    records.push(record);
                    places.push(at);
                }
                Err(reason) => wrong.push((at, reason)),
            }
        }
        let mut seen = vec![None; list.items.len()];
        for (record, at) in records.iter().zip(&places) {
            let start = record.start.time.map(Time::micros);
            seen[*at] = Some((record.key.as_ref(), start, record.revision.unwrap_or(1)));
        }
        let news = newest(&seen, &position.recent);
        let bound = if position.phase == Phase::Running { self.floor } else { self.window.to };
        let sighting = Sighting {
            items: seen,
            next: list.meta.next.as_deref().map(|link| self.api.resolve(link)).transpose()?,
            hits: list.meta.match_count,
            limit: position.limit(self.limit),
            bound: bound.map(Time::micros),
        };
        let phase = position.phase;
        let step = position.step(&sighting)?;
        if step.crowd {
            let instant = sighting.items.iter().flatten().filter_map(|item| item.1).max();
            let since = Window { from: instant.map(Time::from_micros), to: None };
            misses(observed, since.intersect(&self.window));
        }
        drop(sighting);
        observed.records = step.take as u64;
        observed.notes.extend(step.note.map(str::to_owned));
        let (mut places, mut changed) = (places.into_iter(), 0);
        records.retain(|record| {
            let news = places.next().filter(|at| *at < step.take).map_or(News::Nothing, |at| news[at]);
            if news == News::Nothing || !self.concerns(record, phase, position.running_listed) {
                return false;
            }
            let was_handed_out =
                news == News::Revision || (phase == Phase::Window && self.was_listed(record, position));
            changed += usize::from(was_handed_out && !self.repeats);
            self.repeats || !was_handed_out
        });
        if phase == Phase::Running {
            let room = LISTED.saturating_sub(position.listed.len());
            if records.len() > room {
                observed.notes.push(format!(
                    "more than {LISTED} sessions run since before the look-back; of the others, one that ends now may come twice"
                ));
            }
            position.listed.extend(records.iter().take(room).map(|record| record.key.clone().into_owned()));
        }
        if changed > 0 {
            observed.notes.push(format!(
                "sessions that changed while the list was read: {changed}; their rows show the revision that was read first"
            ));
        }
        let rejected = wrong
            .into_iter()
            .filter(|(at, _)| *at < step.take)
            .map(|(at, reason)| Rejected { raw: list.items[at].get().to_owned(), reason })
            .collect();
        let mut found = Found { records, rejected, end: step.end };
        if found.end.is_some() && phase == Phase::Running {
            found.end = None;
            position.turn_to_window(true);
        }
        Ok(found)
    }

    /// Whether a session belongs to this part of the walk.
    fn concerns(&self, record: &Record<'_>, phase: Phase, running_listed: bool) -> bool {
        match phase {
            Phase::Running => self.is_early(record),
            Phase::Window => !(running_listed && record.active == Some(true) && self.is_early(record)),
        }
    }

    /// Whether a session was listed as running; it is no more.
    fn was_listed(&self, record: &Record<'_>, position: &Position) -> bool {
        self.is_early(record) && position.listed.iter().any(|key| *key == record.key)
    }

    /// Whether a session began before those of the window. What has no start time is found by no later part either.
    fn is_early(&self, record: &Record<'_>) -> bool {
        self.floor.is_some_and(|floor| record.start.time.is_none_or(|start| start < floor))
    }

    /// Whether somebody watches what happens now: a snapshot, good as it is, may be half a minute behind, and there is too little
    /// to read for it to be needed.
    fn is_of_just_now(&self, cx: &Context) -> bool {
        self.window.to.is_none() && self.window.from.is_some_and(|from| from >= cx.now().minus(JUST_NOW))
    }

    /// The request for the position; a list is begun where none is.
    async fn path(&self, cx: &Context, position: &mut Position, observed: &mut Observed) -> Result<String> {
        let filter = self.filter.as_deref().filter(|_| !position.unfiltered);
        let q = match (position.phase, filter) {
            (Phase::Running, Some(filter)) => Some(format!("active:true AND {filter}")),
            (Phase::Running, None) => Some("active:true".to_owned()),
            (Phase::Window, filter) => filter.map(str::to_owned),
        };
        let limit = position.limit(self.limit);
        let path = |start: Option<Time>, view: View<'_>| ListQuery { start, q: q.as_deref(), limit, view }.path();
        match &position.place {
            Place::Link(link) => return Ok(link.clone()),
            Place::Offset { start, offset } => return Ok(path(start.map(Time::from_micros), View::Basic(*offset))),
            Place::Begin => {}
        }
        let from = match (position.last, position.phase) {
            (Some(last), _) => Some(Time::from_micros(last)),
            (None, Phase::Window) => self.floor,
            (None, Phase::Running) => None,
        };
        let start = from.map(|from| from.minus(OVERLAP).max(Time::EPOCH));
        if position.snapshot.is_none() && !self.is_of_just_now(cx) {
            position.snapshot = self.api.open_snapshot(cx, &mut observed.notes).await?;
        }
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
}

/// Says that rows of this window may be missing, besides those that were said to be.
pub(crate) fn misses(observed: &mut Observed, window: Window) {
    let known = observed.gap.unwrap_or(window);
    observed.gap = Some(Window {
        from: known.from.min(window.from),
        to: known.to.and_then(|known| window.to.map(|to| known.max(to))),
    });
}

/// What an item of a page brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// What was read before, or a smaller revision of what comes on the same page.
    Nothing,
    /// A session that was not read before.
    Session,
    /// A larger revision of one that was: it may have ended since.
    Revision,
}

/// What the items of a page bring: of each session its largest revision counts.
fn newest(items: &[Option<(&str, Option<i64>, i64)>], recent: &[(String, i64, i64)]) -> Vec<News> {
    let known: HashMap<&str, i64> = recent.iter().map(|(key, _, revision)| (key.as_str(), *revision)).collect();
    let mut best: HashMap<&str, (i64, usize)> = HashMap::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let Some((key, _, revision)) = item else { continue };
        if best.get(key).is_none_or(|(best, _)| best < revision) {
            best.insert(key, (*revision, at));
        }
    }
    let mut news = vec![News::Nothing; items.len()];
    for (key, (revision, at)) in best {
        news[at] = match known.get(key) {
            None => News::Session,
            Some(known) if *known < revision => News::Revision,
            Some(_) => News::Nothing,
        };
    }
    news
}

/// Reads pages of `sessions` and `sps.sessions`.
#[derive(Debug)]
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
        let sessions = match request.stream.as_str() {
            SESSIONS => true,
            SESSION_EVENTS => false,
            other => return Err(Error::new(ErrorKind::Internal, format!("sps has no stream '{other}'"))),
        };
        if request.count_only {
            return self.count(cx, request, Rows::of(cx, sessions, 0, 0)).await;
        }
        if request.window.is_empty() {
            return Ok(Page::last(Rows::of(cx, sessions, 0, 0).finish()?, EndReason::NothingAsked));
        }
        let walk = Walk {
            api: self.api,
            window: request.window,
            floor: request.window.from.map(|from| from.minus(self.look_back)),
            filter: filter::query(&request.predicates, self.user_forms),
            limit: request.page_size.unwrap_or(LARGEST_PAGE).clamp(1, LARGEST_PAGE),
            repeats: !sessions,
        };
        let mut position = match &request.cursor {
            Some(cursor) => cursor.read()?,
            // A login event lies at the start of its session: only `sessions` needs those that began long ago.
            None => walk.start(sessions),
        };
        let mut fetched = walk.fetch(cx, &mut position).await?;
        let mut observed = std::mem::take(&mut fetched.observed);
        let now = cx.now();
        let found = walk.read(&fetched, &mut position, &mut observed, now)?;
        let version = fetched.login.appliance.firmware.as_deref();
        let mut rows = Rows::of(cx, sessions, found.records.len(), fetched.size());
        for record in found.records.iter().filter(|record| record.overlaps(&request.window)) {
            match &mut rows {
                Rows::Sessions(builder) => push_session(builder, record, version),
                Rows::Events(builder) => push_events(builder, record, &request.window, now, version),
            }
        }
        let next = match found.end {
            Some(reason) => Next::End(reason),
            None => Next::More(Cursor::new(&position)?),
        };
        Ok(Page { rows: rows.finish()?, next, frontier: None, observed, rejected: found.rejected })
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
    /// Rows of so many sessions, with so many bytes of documents.
    fn of(cx: &Context, sessions: bool, records: usize, bytes: usize) -> Self {
        if sessions {
            Self::Sessions(Box::new(SessionBuilder::sized(&cx.source_key, records, bytes)))
        } else {
            // Most sessions are two events.
            Self::Events(Box::new(EventBuilder::sized(&cx.source_key, 2 * records, 2 * bytes)))
        }
    }

    fn finish(&mut self) -> Result<arrow_array::RecordBatch> {
        match self {
            Self::Sessions(builder) => builder.finish(),
            Self::Events(builder) => builder.finish(),
        }
    }
}
