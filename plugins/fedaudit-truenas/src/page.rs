//! Reads an audit database page by page, in either direction, while rows arrive and old ones are deleted.
//!
//! Pages go by `message_timestamp`: the next page starts at the last second of this one, and rows of that second that were
//! seen are dropped. Offsets alone would shift when the appliance deletes its oldest rows. Only inside one second with
//! more rows than a page holds are offsets used.

use std::collections::HashSet;
use std::time::Duration;

use fedaudit_core::{
    Context, Cursor, Direction, EndReason, Error, ErrorKind, EventBuilder, Next, Observed, Page, PageRequest, Result,
    Time,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::gate::Gate;
use crate::items::Items;
use crate::normalize::{Decoder, Mark, Reading};
use crate::push;
use crate::rpc::{Answer, Failure};
use crate::streams::Service;

/// Rows of a page, unless the request names a number.
const PAGE: usize = 2000;
/// The product refuses more.
const MAX_PAGE: usize = 10_000;
/// While waiting for new rows this many seconds are read again: the log daemon commits up to a second of rows at once.
const UNSETTLED: i64 = 5;
/// Time between two looks for new rows.
const POLL: Duration = Duration::from_secs(1);
/// Members of a record without the two that can be beyond the product's own decoding.
const PLAIN_MEMBERS: [&str; 9] =
    ["audit_id", "message_timestamp", "timestamp", "address", "username", "session", "service", "event", "success"];

/// Where the next page starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    /// First second to read; going back in time, the last. None: no record had a readable one yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    second: Option<i64>,
    /// Rows of that second (and, while waiting for new ones, of those after it) that were seen, with their seconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    seen: Vec<(i64, String)>,
    /// Rows to skip inside that one second, or in all where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offset: Option<usize>,
    /// Going back in time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    newest_first: bool,
}

/// The reader of one source's audit databases.
pub(crate) struct Reader<'s> {
    pub(crate) gate: &'s Gate,
    pub(crate) own_key: Option<&'s str>,
    pub(crate) remote_controller: bool,
}

/// One question to the product.
struct Question {
    service: Service,
    filters: Vec<Json>,
    newest_first: bool,
    offset: usize,
    limit: usize,
    remote_controller: bool,
}

impl Question {
    fn params(&self, offset: usize, limit: usize, plain: bool) -> String {
        let order =
            if self.newest_first { ["-message_timestamp", "-audit_id"] } else { ["message_timestamp", "audit_id"] };
        let mut options = json!({"order_by": order, "limit": limit});
        if offset > 0 {
            options["offset"] = json!(offset);
        }
        if plain {
            options["select"] = json!(PLAIN_MEMBERS);
        }
        self.wrap(options)
    }

    fn wrap(&self, options: Json) -> String {
        let mut question =
            json!({"services": [self.service.as_str()], "query-filters": self.filters, "query-options": options});
        if self.remote_controller {
            question["remote_controller"] = json!(true);
        }
        json!([question]).to_string()
    }
}

impl Reader<'_> {
    /// One page of an audit stream.
    pub(crate) async fn page(&self, cx: &Context, service: Service, request: &PageRequest) -> Result<Page> {
        let nothing = || Ok(Page::last(EventBuilder::new(&cx.source_key).finish()?, EndReason::NothingAsked));
        if request.window.is_empty() {
            return nothing();
        }
        let Some(filters) = push::filters(service, request) else { return nothing() };
        if request.count_only {
            return self.count(cx, service, request, filters).await;
        }
        let first = request.cursor.is_none();
        let position: Option<Position> = request.cursor.as_ref().map(Cursor::read).transpose()?;
        let mut waited = Duration::ZERO;
        loop {
            let page = self.step(cx, service, request, filters.clone(), position.clone()).await?;
            let mut page = match (page, request.follow) {
                ((page, _), None) => page,
                ((page, Some(at_end)), Some(wait)) => {
                    if page.rows.num_rows() == 0 && page.rejected.is_empty() && waited < wait {
                        let pause = POLL.min(wait.saturating_sub(waited));
                        tokio::time::sleep(pause).await;
                        waited += pause;
                        continue;
                    }
                    Page { next: Next::More(Cursor::new(&at_end)?), ..page }
                }
                ((page, None), Some(_)) => page,
            };
            if first {
                let connection = self.gate.connection(cx).await?;
                page.observed.retention_floor = connection.retention_floor(cx).await;
                if request.window.to.is_some() {
                    page.observed.notes.push(format!(
                        "rows that the appliance stored more than {} s after the event are not looked for beyond the window",
                        crate::streams::LATENESS.as_secs()
                    ));
                }
            }
            return Ok(page);
        }
    }

    /// One question and what to ask next; at the end of what there is, also where new rows would be.
    async fn step(
        &self,
        cx: &Context,
        service: Service,
        request: &PageRequest,
        mut filters: Vec<Json>,
        position: Option<Position>,
    ) -> Result<(Page, Option<Position>)> {
        let limit = request.page_size.unwrap_or(PAGE).clamp(1, MAX_PAGE);
        let newest_first = position
            .as_ref()
            .map_or(request.direction == Direction::NewestFirst && request.follow.is_none(), |position| {
                position.newest_first
            });
        let (floor, ceiling) = push::seconds(&request.window);
        let at = |operator: &str, second: i64| json!(["message_timestamp", operator, second]);
        if let Some(Position { second: Some(second), offset: Some(_), .. }) = position {
            filters.push(at("=", second));
        } else {
            let from_here = position.as_ref().and_then(|position| position.second);
            let (floor, ceiling) =
                if newest_first { (floor, from_here.or(ceiling)) } else { (from_here.or(floor), ceiling) };
            filters.extend(floor.map(|second| at(">=", second)));
            filters.extend(ceiling.map(|second| at("<=", second)));
        }
        let position = position.unwrap_or_default();
        let question = Question {
            service,
            filters,
            newest_first,
            offset: position.offset.unwrap_or(0),
            limit,
            remote_controller: self.remote_controller,
        };
        let mut notes = Vec::new();
        let parts = self.ask(cx, &question, &mut notes).await?;
        let connection = self.gate.connection(cx).await?;
        let reading = Reading {
            now: cx.now(),
            product_version: Some(&connection.release),
            source_node: self.remote_controller.then_some("remote"),
            own_session: connection.session.as_deref(),
            own_key: self.own_key,
        };
        let mut decoder = Decoder::new(service, &cx.source_key, reading, parts.iter().map(Part::bytes).sum());
        let seen: HashSet<&str> = position.seen.iter().map(|(_, id)| id.as_str()).collect();
        let mut marks: Vec<Mark<'_>> = Vec::with_capacity(limit.min(MAX_PAGE));
        let mut answered = 0;
        let mut repeated = 0;
        for part in &parts {
            let answer = match part {
                Part::Rows(answer) => answer,
                Part::Unreadable(reason) => {
                    answered += 1;
                    decoder.reject("", reason.clone());
                    continue;
                }
            };
            let mut items = Items::of(answer.text()).map_err(|error| malformed(&error))?;
            while let Some(item) = items.next().map_err(|error| malformed(&error))? {
                answered += 1;
                let rejections = decoder.rejections();
                match decoder.add(item, &seen) {
                    Some(mark) => marks.push(mark),
                    None if decoder.rejections() > rejections => {}
                    None => repeated += 1,
                }
            }
        }
        let (rows, rejected) = decoder.finish()?;

        let full = answered >= limit;
        let bounds = (floor, ceiling);
        let (next, at_end) = Self::next(&position, &marks, full, limit, newest_first, bounds)?;
        let frontier = match &next {
            Next::More(_) if newest_first => {
                // A row is stored in the second of its event or later.
                marks.iter().filter_map(|mark| mark.second).min().and_then(|second| Time::from_seconds(second + 1))
            }
            _ => None,
        };
        let records = (answered - repeated) as u64;
        let observed = Observed { records, notes, ..Observed::default() };
        Ok((Page { rows, next, frontier, observed, rejected }, at_end))
    }

    #[expect(clippy::too_many_arguments, reason = "the state of one step, used once")]
    fn next(
        position: &Position,
        marks: &[Mark<'_>],
        full: bool,
        limit: usize,
        newest_first: bool,
        (floor, ceiling): (Option<i64>, Option<i64>),
    ) -> Result<(Next, Option<Position>)> {
        let more = |position: Position| Ok((Next::More(Cursor::new(&Position { newest_first, ..position })?), None));
        if let Position { second: Some(second), offset: Some(offset), .. } = *position {
            if full {
                return more(Position { offset: Some(offset + limit), ..position.clone() });
            }
            let second = if newest_first { second - 1 } else { second + 1 };
            let past = if newest_first {
                floor.is_some_and(|floor| second < floor)
            } else {
                ceiling.is_some_and(|c| second > c)
            };
            let onward = Position { second: Some(second), ..Position::default() };
            return if past { Ok((Next::End(EndReason::PastWindow), Some(onward))) } else { more(onward) };
        }
        let seconds = || marks.iter().filter_map(|mark| mark.second);
        let last = if newest_first { seconds().min() } else { seconds().max() };
        let seen_from = |second: i64| -> Vec<(i64, String)> {
            let wanted = |at: i64| if newest_first { at == second } else { at >= second };
            marks
                .iter()
                .filter_map(|mark| Some((mark.second.filter(|at| wanted(*at))?, mark.audit_id.as_deref()?.to_owned())))
                .collect()
        };
        if !full {
            // Where to look again for rows that are still to come.
            let second = last.map(|last| last - UNSETTLED).max(position.second);
            let mut seen = second.map(seen_from).unwrap_or_default();
            seen.extend(position.seen.iter().filter(|(at, _)| second.is_none_or(|second| *at >= second)).cloned());
            return Ok((Next::End(EndReason::ShortPage), Some(Position { second, seen, ..Position::default() })));
        }
        match last {
            // It goes on in the middle of a second that did not fill the page alone.
            Some(last)
                if position.second != Some(last)
                    && (!position.seen.is_empty() || seconds().any(|second| second != last)) =>
            {
                more(Position { second: Some(last), seen: seen_from(last), ..Position::default() })
            }
            // The whole page, seen rows included, is of one second.
            Some(last) => {
                let offset = Some(if position.offset.is_some() { 0 } else { limit });
                more(Position { second: Some(last), offset, ..Position::default() })
            }
            // Nothing new, or nothing readable, on a full page.
            None => more(Position {
                offset: Some(position.offset.unwrap_or(0) + limit),
                seen: Vec::new(),
                ..position.clone()
            }),
        }
    }

    /// Asks, and where one record spoils its whole page, halves the page until that record is alone.
    async fn ask(&self, cx: &Context, question: &Question, notes: &mut Vec<String>) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        let mut spans = vec![(question.offset, question.limit)];
        while let Some((offset, limit)) = spans.pop() {
            match self.gate.call(cx, METHOD, &question.params(offset, limit, false)).await {
                Ok(answer) => parts.push(Part::Rows(answer)),
                Err(Failure::Refused(refusal)) if refusal.is_poisoned_page() && limit > 1 => {
                    // The later half is put down first: it is taken up last.
                    spans.push((offset + limit / 2, limit - limit / 2));
                    spans.push((offset, limit / 2));
                }
                Err(Failure::Refused(refusal)) if refusal.is_poisoned_page() => {
                    notes.push(format!("one record is beyond the product's own decoding: {}", refusal.text()));
                    parts.push(match self.gate.call(cx, METHOD, &question.params(offset, limit, true)).await {
                        Ok(answer) => Part::Rows(answer),
                        Err(Failure::Refused(refusal)) => Part::Unreadable(refusal.text()),
                        Err(failure) => return Err(failure.into_error(METHOD)),
                    });
                }
                Err(failure) => return Err(failure.into_error(METHOD)),
            }
        }
        Ok(parts)
    }

    /// The product's own count, where its filters say exactly what was asked.
    async fn count(&self, cx: &Context, service: Service, request: &PageRequest, filters: Vec<Json>) -> Result<Page> {
        let mut page = Page::last(EventBuilder::new(&cx.source_key).finish()?, EndReason::SinglePage);
        let exact = |column: &str| matches!(column, "event_code" | "record_id" | "session_id");
        let filtered = request.predicates.iter().all(|predicate| exact(&predicate.column))
            && filters.len() == request.predicates.len();
        if request.window.from.is_none() && request.window.to.is_none() && filtered {
            let question = Question {
                service,
                filters,
                newest_first: false,
                offset: 0,
                limit: 0,
                remote_controller: self.remote_controller,
            };
            let params = question.wrap(json!({"count": true}));
            let answer = self.gate.call(cx, METHOD, &params).await.map_err(|failure| failure.into_error(METHOD))?;
            page.observed.count = Some(answer.result().map_err(|error| error.at(METHOD))?);
        } else {
            page.observed
                .notes
                .push("the appliance counts by the second a row was stored, not by the time of its event".to_owned());
        }
        Ok(page)
    }
}

const METHOD: &str = "audit.query";

fn malformed(error: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Malformed, format!("the answer cannot be read: {error}")).at(METHOD)
}

/// A piece of a page.
enum Part {
    Rows(Answer),
    /// One record, and why the product cannot show it.
    Unreadable(String),
}

impl Part {
    fn bytes(&self) -> usize {
        match self {
            Self::Rows(answer) => answer.text().len(),
            Self::Unreadable(_) => 0,
        }
    }
}
