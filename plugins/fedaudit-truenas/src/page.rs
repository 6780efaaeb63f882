//! Reads an audit database page by page, in either direction, while rows arrive and old ones are deleted.

use std::collections::HashSet;
use std::time::Duration;

use fedaudit_core::{
    Context, Cursor, Direction, EndReason, Error, ErrorKind, EventBuilder, Next, Observed, Operator, Page, PageRequest,
    Result, Time,
};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::gate::Gate;
use crate::isolate::{self, METHOD, Part, Parts};
use crate::items::Items;
use crate::normalize::{Added, Decoder, Mark, Reading};
use crate::paths::{self, Known, Trails, Use};
use crate::position::{Position, Turned};
use crate::push::{self, Pushed};
use crate::question::{Members, Question};
use crate::rpc::Failure;
use crate::streams::{Feed, LATENESS, Service};

/// Rows of a page, unless the request names a number.
const PAGE: usize = 2000;
/// The same of the other controller, which has two seconds for each.
const PAGE_OF_OTHER: usize = 500;
/// And where that was too much.
const SMALL_PAGE: usize = 50;
/// The product refuses more.
const MAX_PAGE: usize = 10_000;
/// Time between two looks for new rows.
const POLL: Duration = Duration::from_secs(1);

/// The reader of one source's audit databases.
pub(crate) struct Reader<'s> {
    pub(crate) gate: &'s Gate,
    pub(crate) own_key: Option<&'s str>,
    pub(crate) trails: &'s Trails,
    pub(crate) feed: Feed,
    /// Which controller that is, where there are two.
    pub(crate) node: Option<&'static str>,
}

/// How one page is asked for.
struct Step<'r> {
    pushed: &'r Pushed,
    position: &'r Position,
    /// First and last second of the window.
    bounds: (Option<i64>, Option<i64>),
    limit: usize,
    /// The cursor that led here; none on the first page.
    cursor: Option<&'r str>,
}

/// A page, and at the end of what there is, where new rows would be. None where the filters would hide rows.
type Stepped = std::result::Result<Option<(Page, Option<Position>)>, Failure>;

impl Reader<'_> {
    /// One page of an audit stream.
    pub(crate) async fn page(&self, cx: &Context, request: &PageRequest) -> Result<Page> {
        let nothing = || Ok(Page::last(EventBuilder::new(&cx.source_key).finish()?, EndReason::NothingAsked));
        if request.window.is_empty() {
            return nothing();
        }
        let Some(mut pushed) = push::filters(self.feed.service, request) else { return nothing() };
        if request.count_only {
            return self.count(cx, request, &pushed).await;
        }
        let first = request.cursor.is_none();
        if first && self.feed.other && self.is_itself(cx).await? {
            let mut page = nothing()?;
            page.observed.notes.push("this appliance is no pair: its own rows are not read twice".to_owned());
            return Ok(page);
        }
        let mut position = match &request.cursor {
            Some(cursor) => cursor.read()?,
            None => Position {
                newest_first: request.direction == Direction::NewestFirst && request.follow.is_none(),
                ..Position::default()
            },
        };
        if position.unfiltered {
            pushed = Pushed::default();
        }
        let usual = if self.feed.other { PAGE_OF_OTHER } else { PAGE };
        let mut limit = request.page_size.unwrap_or(usual).clamp(1, MAX_PAGE);
        let mut notes = Vec::new();
        let mut waited = Duration::ZERO;
        let (mut page, at_end) = loop {
            let step = Step {
                pushed: &pushed,
                position: &position,
                bounds: push::seconds(&request.window),
                limit,
                cursor: request.cursor.as_ref().map(Cursor::as_str),
            };
            match Box::pin(self.step(cx, &step)).await {
                Ok(None) => {
                    notes.push(format!("{MAX_PAGE} rows or more have no name, so the filters were left out"));
                    pushed = Pushed::default();
                    position.unfiltered = true;
                }
                Ok(Some((page, at_end))) => {
                    let is_idle = at_end.is_some() && page.rows.num_rows() == 0 && page.rejected.is_empty();
                    match request.follow {
                        Some(wait) if is_idle && waited < wait => {
                            let pause = POLL.min(wait.saturating_sub(waited));
                            tokio::time::sleep(pause).await;
                            waited += pause;
                        }
                        _ => break (page, at_end),
                    }
                }
                Err(Failure::Refused(refusal)) if refusal.is_of_question() && !pushed.is_empty() => {
                    notes
                        .push(format!("the appliance refused the filters, so it was read without: {}", refusal.text()));
                    pushed = Pushed::default();
                    position.unfiltered = true;
                }
                Err(Failure::Refused(refusal)) if refusal.is_other_controller() && limit > SMALL_PAGE => {
                    limit = SMALL_PAGE;
                }
                Err(failure) => return Err(failure.into_error(METHOD)),
            }
        };
        if let (Some(at_end), Some(_)) = (at_end, request.follow) {
            page.next = Next::More(Cursor::new(&at_end)?);
        }
        if first {
            self.observe(cx, request, &mut page.observed).await?;
        }
        notes.append(&mut page.observed.notes);
        page.observed.notes = notes;
        Ok(page)
    }

    /// What the receipt should know of the whole stream.
    async fn observe(&self, cx: &Context, request: &PageRequest, observed: &mut Observed) -> Result<()> {
        let connection = self.gate.connection(cx).await?;
        observed.retention_floor = connection.retention_floor(cx).await;
        if observed.retention_floor.is_none() {
            observed.notes.push(
                "how far back rows are kept is unknown: the account may not read audit.config (7 days unless changed)"
                    .to_owned(),
            );
        }
        if self.feed.service == Service::Middleware && !connection.writes_logouts {
            observed.notes.push("TrueNAS 25.04.0 writes no logouts down: they begin with 25.04.1".to_owned());
        }
        if request.window.to.is_some() {
            observed.notes.push(format!(
                "rows that the appliance stored more than {} s after the event are not looked for beyond the window",
                LATENESS.as_secs()
            ));
        }
        Ok(())
    }

    /// One question and what to ask next.
    async fn step(&self, cx: &Context, step: &Step<'_>) -> Stepped {
        let wire = |error: Error| Failure::Wire(error);
        let (position, limit) = (step.position, step.limit);
        let question = |filters: Vec<Json>| {
            let filters = filters.into_iter().chain(position.filters(step.bounds)).collect();
            Question { feed: self.feed, filters, newest_first: position.newest_first }
        };
        let asked = question(step.pushed.all());
        let Parts { parts, listed } = isolate::ask(self.gate, cx, &asked, position.offset.unwrap_or(0), limit).await?;
        // Rows without a name are few, wherever they are: they come with the first page.
        let nameless = match step.pushed.nameless().filter(|_| step.cursor.is_none()) {
            Some(filters) => isolate::ask(self.gate, cx, &question(filters), 0, MAX_PAGE).await?,
            None => Parts::default(),
        };
        let connection = self.gate.connection(cx).await.map_err(wire)?;
        let reading = Reading {
            now: cx.now(),
            product_version: Some(&connection.release),
            source_node: self.node,
            own_session: connection.session.as_deref(),
            own_key: self.own_key,
        };
        let bytes = parts.iter().chain(&nameless.parts).map(Part::bytes).sum();
        let mut decoder = Decoder::new(self.feed.service, &cx.source_key, reading, bytes);
        let seen: HashSet<&str> = position.seen.iter().map(|(_, id)| id.as_str()).collect();
        let mut met = Met::default();
        for part in &parts {
            met.part(part, &mut decoder, &seen).map_err(wire)?;
        }
        let mut beside = Met::default();
        for part in &nameless.parts {
            beside.part(part, &mut decoder, &HashSet::new()).map_err(wire)?;
        }
        if nameless.listed.unwrap_or(beside.answered) >= MAX_PAGE {
            // They are not few, and the others would never be asked for.
            return Ok(None);
        }
        let (rows, rejected, uses) = decoder.finish().map_err(wire)?;

        let turned = Turned {
            marks: &met.marks,
            repeated: &met.repeated,
            full: listed.unwrap_or(met.answered) >= limit,
            limit,
            bounds: step.bounds,
        };
        let (next, at_end) = position.after(&turned).map_err(wire)?;
        let frontier = match &next {
            Next::More(_) if position.newest_first => {
                // A row is stored in the second of its event or later.
                met.marks.iter().filter_map(|mark| mark.second).min().and_then(|second| Time::from_seconds(second + 1))
            }
            _ => None,
        };
        let mut notes = Vec::new();
        let rows = if self.feed.service == Service::Smb {
            let on = match &next {
                Next::More(cursor) => Some(cursor.as_str()),
                Next::End(_) => None,
            };
            let found = self.paths(cx, step, &uses, on, &mut notes).await?;
            if found.is_empty() { rows } else { paths::fill(&rows, &found).map_err(wire)? }
        } else {
            rows
        };
        let records = (met.answered + beside.answered - met.repeated.len()) as u64;
        let observed = Observed { records, notes, ..Observed::default() };
        Ok(Some((Page { rows, next, frontier, observed, rejected }, at_end)))
    }

    /// The paths of handles that a page uses.
    async fn paths(
        &self,
        cx: &Context,
        step: &Step<'_>,
        uses: &[Use],
        on: Option<&str>,
        notes: &mut Vec<String>,
    ) -> std::result::Result<Vec<(usize, Box<str>)>, Failure> {
        let hides = step.pushed.hides_openings();
        let goes_on = !hides && !step.position.newest_first;
        let mut known = match step.cursor {
            Some(cursor) if goes_on => self.trails.take(cursor),
            _ => Known::default(),
        };
        let (mut found, missing) = if hides {
            (Vec::new(), uses.iter().filter(|one| one.opens.is_none()).collect())
        } else {
            paths::resolve(uses, &mut known)
        };
        if !missing.is_empty() {
            found.extend(paths::ask(self.gate, cx, self.feed, &missing, &mut known, notes).await?);
        }
        if let Some(cursor) = on.filter(|_| goes_on) {
            self.trails.keep(cursor, known);
        }
        Ok(found)
    }

    /// Whether what calls itself the other controller is the one that answers: a single appliance ignores that it is asked
    /// for another. Ids are unique, so one row that both have proves it.
    async fn is_itself(&self, cx: &Context) -> Result<bool> {
        #[derive(Deserialize)]
        struct Row {
            audit_id: Option<String>,
        }
        let ask = async |feed: Feed, filters: Vec<Json>| {
            let question = Question { feed, filters, newest_first: true };
            let answer = self.gate.call(cx, METHOD, &question.rows(0, 1, Members::Identity)).await;
            let answer = answer.map_err(|failure| failure.into_error(METHOD))?;
            answer.result::<Vec<Row>>().map_err(|error| error.at(METHOD))
        };
        let newest = ask(self.feed, Vec::new()).await?.pop().and_then(|row| row.audit_id);
        let Some(id) = newest else { return Ok(false) };
        let here = Feed { other: false, ..self.feed };
        Ok(!ask(here, vec![json!(["audit_id", "=", id])]).await?.is_empty())
    }

    /// The product's own count, where its filters say exactly what was asked.
    async fn count(&self, cx: &Context, request: &PageRequest, pushed: &Pushed) -> Result<Page> {
        let mut page = Page::last(EventBuilder::new(&cx.source_key).finish()?, EndReason::SinglePage);
        let filtered = request.predicates.iter().all(|predicate| {
            matches!(predicate.column.as_str(), "event_code" | "record_id" | "session_id")
                && matches!(predicate.operator, Operator::In | Operator::NotIn)
        }) && pushed.all().len() == request.predicates.len();
        if request.window.from.is_none() && request.window.to.is_none() && filtered {
            let question = Question { feed: self.feed, filters: pushed.all(), newest_first: false };
            let answer = self.gate.call(cx, METHOD, &question.count()).await;
            let answer = answer.map_err(|failure| failure.into_error(METHOD))?;
            page.observed.count = Some(answer.result().map_err(|error| error.at(METHOD))?);
        } else {
            page.observed
                .notes
                .push("the appliance counts by the second a row was stored, not by the time of its event".to_owned());
        }
        Ok(page)
    }
}

/// What the parts of a page held.
#[derive(Default)]
struct Met<'p> {
    marks: Vec<Mark<'p>>,
    /// Seconds of the rows that were seen before.
    repeated: Vec<Option<i64>>,
    answered: usize,
}

impl<'p> Met<'p> {
    fn part(&mut self, part: &'p Part, decoder: &mut Decoder<'p, '_>, seen: &HashSet<&str>) -> Result<()> {
        let malformed = |error: serde_json::Error| {
            Error::new(ErrorKind::Malformed, format!("the answer cannot be read: {error}")).at(METHOD)
        };
        let (answer, reason) = match part {
            Part::Rows(answer) => (answer, None),
            Part::Partial(answer, reason) => (answer, Some(reason)),
            Part::Lost { raw, second, audit_id, reason } => {
                let is_known = audit_id.as_deref().is_some_and(|id| seen.contains(id));
                let mark = Mark { second: *second, audit_id: audit_id.as_deref().map(Into::into) };
                if !is_known {
                    decoder.reject(raw, reason.clone());
                }
                self.met(if is_known { Added::Repeated(*second) } else { Added::New(mark) });
                return Ok(());
            }
        };
        let mut items = Items::of(answer.text()).map_err(malformed)?;
        while let Some(item) = items.next().map_err(malformed)? {
            self.met(match reason {
                Some(reason) => decoder.add_partial(item, seen, reason),
                None => decoder.add(item, seen),
            });
        }
        Ok(())
    }

    fn met(&mut self, added: Added<'p>) {
        self.answered += 1;
        match added {
            Added::New(mark) => self.marks.push(mark),
            Added::Repeated(second) => self.repeated.push(second),
            Added::Rejected => {}
        }
    }
}
