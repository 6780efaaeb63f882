//! The lists below sessions as streams of their own. Each costs a request per session, so the sessions are bounded in
//! number, and few are asked for at once. A session whose list is refused costs its own rows, never those of the others.

use std::collections::BTreeMap;
use std::time::Duration;

use fedaudit_core::{
    Context, Cursor, EndReason, Error, ErrorKind, EventBuilder, Next, Observed, Operator, Page, PageRequest, Rejected,
    Result, Window,
};
use fedaudit_transport::HttpResponse;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::api::{AT_ONCE, Api, BASIC_HITS, LARGEST_PAGE, List};
use crate::config::{Config, Detail};
use crate::entry::{Seen, Terms, not_indexed};
use crate::filter;
use crate::object::Tape;
use crate::position::Position;
use crate::record::Record;
use crate::scan::{Walk, misses};

/// Sessions whose lists make one page.
const SESSIONS_PER_PAGE: usize = 16;
/// Parts of a list that are read for one page; a longer list goes on with the next page.
const PARTS_PER_PAGE: usize = 4;
/// So many failures in a row are the appliance's, not the sessions'.
const FAILURES_IN_A_ROW: usize = 3;
/// So many refusals and no list read: the account may read none.
const REFUSALS: usize = 20;

/// How lists of sessions are read.
#[derive(Debug)]
pub(crate) struct Details {
    config: Config,
    naive_offset: i64,
}

/// The state of a scan.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Progress {
    /// Sessions that are asked by key, and the entry their lists go on at.
    queue: Vec<(String, u64)>,
    /// Where the list of sessions goes on.
    list: Option<Position>,
    /// Sessions whose lists were asked for.
    asked: usize,
    /// Those that could be read.
    read: usize,
    /// Those that could not.
    failed: usize,
    /// Failures in a row that are no refusals.
    in_a_row: usize,
    /// The first failure.
    failure: Option<(ErrorKind, String)>,
}

/// A session whose list is to be read, from an entry on.
struct Parent<'p> {
    record: Record<'p>,
    offset: u64,
}

/// What was read of a session's list.
struct Reading {
    parts: Vec<HttpResponse>,
    stop: Stop,
}

/// Why reading a list stopped.
enum Stop {
    Done,
    /// It goes on at this entry.
    GoOn(u64),
    /// The session itself is not there any more.
    Gone,
    Failed(Error),
}

/// What a page has gathered.
struct Gathered {
    rows: EventBuilder,
    observed: Observed,
    rejected: Vec<Rejected>,
    gone: usize,
    outside: usize,
    /// Lists that ended with a link to another list.
    astray: usize,
    not_indexed: BTreeMap<String, usize>,
}

impl Details {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        Ok(Self { config: config.clone(), naive_offset: config.naive_offset()? })
    }

    /// The configured list that is this stream.
    pub(crate) fn of_stream(&self, stream: &str) -> Option<Detail> {
        self.config.details.iter().copied().find(|detail| detail.stream() == stream)
    }

    /// Asks for the configured lists of one session, and says which of them this account may not read. One session proves
    /// nothing of the others, so this is a hint and no verdict.
    pub(crate) async fn probe(&self, cx: &Context, api: &Api, list: &HttpResponse) -> Result<Vec<String>> {
        // It has been read as a list before, by whoever asked for it.
        let list: List<'_> = serde_json::from_slice(&list.body).unwrap_or_default();
        let tape = list.items.first().and_then(|item| Tape::parse(item.get()).ok());
        let Some(key) = tape.and_then(|tape| tape.root().text("key")) else { return Ok(Vec::new()) };
        let mut refused = Vec::new();
        for detail in &self.config.details {
            let (response, path) = api.detail(cx, &key, detail.path(), 0).await?;
            if response.status != 200 {
                let error = api.refused(&response, &path);
                refused.push(format!("{} may not be readable: {error}", detail.stream()));
            }
        }
        Ok(refused)
    }

    /// One page.
    pub(crate) async fn page(&self, cx: &Context, api: &Api, detail: Detail, request: &PageRequest) -> Result<Page> {
        let mut gathered = Gathered {
            rows: EventBuilder::new(&cx.source_key),
            observed: Observed::default(),
            rejected: Vec::new(),
            gone: 0,
            outside: 0,
            astray: 0,
            not_indexed: BTreeMap::new(),
        };
        if request.count_only || request.window.is_empty() {
            let reason = if request.count_only { EndReason::SinglePage } else { EndReason::NothingAsked };
            return Ok(Page::last(gathered.rows.finish()?, reason));
        }
        let walk = Walk {
            api,
            window: request.window,
            floor: request.window.from.map(|from| from.minus(self.config.reach(detail))),
            // A download's user and addresses are not those of the session.
            filter: filter::query(&request.predicates, &self.config.user_forms)
                .filter(|_| detail != Detail::TrailDownloads),
            limit: SESSIONS_PER_PAGE,
            // A session that has changed may have more entries.
            repeats: true,
        };
        let mut progress: Progress = match &request.cursor {
            Some(cursor) => cursor.read()?,
            None => match named_sessions(request) {
                Some(queue) => Progress { queue, ..Progress::default() },
                None => Progress { list: Some(walk.start(true)), ..Progress::default() },
            },
        };
        let round = Round { details: self, cx, walk: &walk, detail };
        if progress.queue.is_empty() {
            Box::pin(round.listed(&mut progress, &mut gathered)).await?;
        } else {
            Box::pin(round.named(&mut progress, &mut gathered)).await?;
        }
        let over = progress.queue.is_empty() && progress.list.is_none();
        if let (0, Some((kind, text))) = (progress.read, &progress.failure)
            && (over || progress.failed >= REFUSALS)
        {
            return Err(Error::new(*kind, format!("not one list of {} could be read: {text}", detail.path()))
                .hint("the account needs the Search privilege, and access to the recordings of the sessions"));
        }
        gathered.say(detail);
        let Gathered { mut rows, observed, rejected, .. } = gathered;
        let next = if over { Next::End(EndReason::NoNextLink) } else { Next::More(Cursor::new(&progress)?) };
        Ok(Page { rows: rows.finish()?, next, frontier: None, observed, rejected })
    }
}

/// The fixed terms of a page.
struct Round<'r> {
    details: &'r Details,
    cx: &'r Context,
    walk: &'r Walk<'r>,
    detail: Detail,
}

impl Round<'_> {
    /// Lists of the sessions on the next page of the session list.
    async fn listed(&self, progress: &mut Progress, gathered: &mut Gathered) -> Result<()> {
        let Self { cx, walk, detail, .. } = *self;
        let Some(mut position) = progress.list.take() else { return Ok(()) };
        let mut fetched = walk.fetch(cx, &mut position).await?;
        gathered.observed = std::mem::take(&mut fetched.observed);
        let found = walk.read(&fetched, &mut position, &mut gathered.observed, cx.now())?;
        // Nobody knows what hangs below a session that cannot be decoded.
        gathered.rejected.extend(found.rejected);
        let parents = found
            .records
            .into_iter()
            .filter(|record| concerns(detail, record, walk))
            .map(|record| Parent { record, offset: 0 })
            .collect();
        progress.list = found.end.is_none().then_some(position);
        let version = fetched.login.appliance.firmware.as_deref();
        self.lists(version, parents, progress, gathered).await
    }

    /// Lists of the sessions that are asked for by key.
    async fn named(&self, progress: &mut Progress, gathered: &mut Gathered) -> Result<()> {
        let Self { cx, walk, detail, .. } = *self;
        let rest = progress.queue.split_off(progress.queue.len().min(SESSIONS_PER_PAGE));
        let batch = std::mem::replace(&mut progress.queue, rest);
        let answers: Vec<_> = batch.iter().map(|(key, _)| walk.api.session(cx, key)).collect();
        let answers: Vec<_> = futures::stream::iter(answers).buffered(AT_ONCE).collect().await;
        let mut documents = Vec::with_capacity(batch.len());
        for ((key, offset), answer) in batch.iter().zip(answers) {
            match answer {
                Ok((response, path)) => match response.status {
                    200 => {
                        gathered.observed.server_time = response.server_time();
                        documents.push((key, *offset, response));
                    }
                    // It is another source's session, or was cleaned up before anybody asked.
                    404 if *offset == 0 => {}
                    404 => gathered.gone(walk.window),
                    _ => gathered.missed(progress, detail, key, walk.api.refused(&response, &path))?,
                },
                Err(error) => gathered.missed(progress, detail, key, error)?,
            }
        }
        let now = cx.now();
        let mut parents = Vec::with_capacity(documents.len());
        for (key, offset, response) in &documents {
            let decoded = serde_json::from_slice::<&RawValue>(&response.body)
                .map_err(|error| error.to_string())
                .and_then(|item| Record::decode(item.get(), &mut Tape::default(), now));
            match decoded {
                Ok(record) if concerns(detail, &record, walk) => parents.push(Parent { record, offset: *offset }),
                Ok(_) => {}
                Err(reason) => {
                    let error = Error::new(ErrorKind::Malformed, format!("the session cannot be read: {reason}"));
                    gathered.missed(progress, detail, key, error)?;
                }
            }
        }
        let appliance = walk.api.appliance(cx).await?;
        self.lists(appliance.firmware.as_deref(), parents, progress, gathered).await
    }

    /// Reads the lists of some sessions, few at once, and makes rows of them.
    async fn lists(
        &self,
        version: Option<&str>,
        parents: Vec<Parent<'_>>,
        progress: &mut Progress,
        gathered: &mut Gathered,
    ) -> Result<()> {
        let Self { details: Details { config, naive_offset }, cx, walk, detail } = *self;
        progress.asked += parents.iter().filter(|parent| parent.offset == 0).count();
        if progress.asked > config.details_max_sessions {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the question needs the {} of more than {} sessions, one request each; those of the sessions after \
                     the first {} are missing",
                    detail.path(),
                    config.details_max_sessions,
                    progress.asked - parents.len()
                ),
            )
            .hint("ask for session_id = '…', a user_name or a shorter window, or raise details_max_sessions"));
        }
        let readings: Vec<_> =
            parents.iter().map(|parent| read_list(cx, walk.api, detail, &parent.record.key, parent.offset)).collect();
        let readings: Vec<Reading> = futures::stream::iter(readings).buffered(AT_ONCE).collect().await;
        let terms = Terms { detail, window: walk.window, naive_offset: *naive_offset, now: cx.now(), version };
        for (parent, reading) in parents.iter().zip(readings) {
            let entries = gathered.entries(&terms, &parent.record, &reading.parts)?;
            match reading.stop {
                Stop::Done => {
                    if detail == Detail::Events && entries == 0 && parent.offset == 0 {
                        gathered.empty(&parent.record);
                    }
                    progress.succeeded();
                }
                Stop::GoOn(offset) => {
                    progress.queue.push((parent.record.key.clone().into_owned(), offset));
                    progress.succeeded();
                }
                Stop::Gone => gathered.gone(reach(detail, &parent.record).intersect(&walk.window)),
                Stop::Failed(error) => gathered.missed(progress, detail, parent.record.raw, error)?,
            }
        }
        Ok(())
    }
}

/// Whether entries of a session's list may lie in the window.
fn concerns(detail: Detail, record: &Record<'_>, walk: &Walk<'_>) -> bool {
    match detail {
        // Recordings are watched after their session.
        Detail::TrailDownloads => {
            !matches!((record.start.time, walk.window.to), (Some(start), Some(to)) if start >= to)
        }
        _ => record.overlaps(&walk.window),
    }
}

/// Where entries of a session's list lie.
fn reach(detail: Detail, record: &Record<'_>) -> Window {
    let last = record.end.time.filter(|_| detail != Detail::TrailDownloads);
    Window { from: record.start.time, to: last.map(|last| last.plus(Duration::from_micros(1))) }.spanned()
}

/// The sessions that the question names.
fn named_sessions(request: &PageRequest) -> Option<Vec<(String, u64)>> {
    let named = request
        .predicates
        .iter()
        .find(|predicate| predicate.column == "session_id" && predicate.operator == Operator::In)?;
    let mut keys: Vec<(String, u64)> = named.texts()?.into_iter().map(|key| (key.to_owned(), 0)).collect();
    keys.retain(|(key, _)| !key.is_empty());
    keys.sort();
    keys.dedup();
    Some(keys)
}

/// Reads a list from an entry on. Its links are not followed: in some releases they lead to another list.
async fn read_list(cx: &Context, api: &Api, detail: Detail, key: &str, mut offset: u64) -> Reading {
    let mut parts: Vec<HttpResponse> = Vec::new();
    let stop = loop {
        if offset >= BASIC_HITS {
            break Stop::Failed(Error::new(
                ErrorKind::Unsupported,
                format!("the list has more than {BASIC_HITS} entries; the appliance shows no more"),
            ));
        }
        if parts.len() == PARTS_PER_PAGE {
            break Stop::GoOn(offset);
        }
        let (response, path) = match api.detail(cx, key, detail.path(), offset).await {
            Ok(answer) => answer,
            Err(error) => break Stop::Failed(error),
        };
        match response.status {
            200 => {}
            // Is it the session or the list that is not there?
            404 => {
                break match api.session(cx, key).await {
                    Ok((session, _)) if session.status == 404 => Stop::Gone,
                    Ok(_) => Stop::Failed(api.refused(&response, &path)),
                    Err(error) => Stop::Failed(error),
                };
            }
            _ => break Stop::Failed(api.refused(&response, &path)),
        }
        let (received, more) = match serde_json::from_slice::<List<'_>>(&response.body) {
            Ok(list) => {
                let received = list.items.len() as u64;
                let named = list.meta.match_count.is_some_and(|hits| hits > offset + received);
                let full = received >= LARGEST_PAGE as u64;
                let next = list.meta.next.as_deref();
                // A part without entries does not move on; a link to another list says nothing of this one.
                if received == 0 && (named || next.is_some_and(|link| leads_to(link, detail))) {
                    break Stop::Failed(Error::new(
                        ErrorKind::Malformed,
                        format!("no entries came from the {offset}th on, but more are named"),
                    ));
                }
                (received, received > 0 && (full || named || next.is_some()))
            }
            Err(error) => break Stop::Failed(api.unreadable(&response, &error, &path)),
        };
        if received > 0 && parts.last().is_some_and(|before| same_items(before, &response)) {
            break Stop::Failed(Error::new(ErrorKind::Malformed, "a later part of the list repeats an earlier one"));
        }
        offset += received;
        parts.push(response);
        if !more {
            break Stop::Done;
        }
    };
    Reading { parts, stop }
}

/// Whether a link leads to a list of this kind.
fn leads_to(link: &str, detail: Detail) -> bool {
    link.split('?').next().and_then(|path| path.rsplit('/').next()) == Some(detail.path())
}

fn same_items(a: &HttpResponse, b: &HttpResponse) -> bool {
    let items = |response: &HttpResponse| -> Option<Vec<String>> {
        let list: List<'_> = serde_json::from_slice(&response.body).ok()?;
        Some(list.items.iter().map(|item| item.get().to_owned()).collect())
    };
    items(a) == items(b)
}

impl Progress {
    fn succeeded(&mut self) {
        self.read += 1;
        self.in_a_row = 0;
    }
}

impl Gathered {
    /// Makes rows of what was read of a session's list; says how many entries there were.
    fn entries(&mut self, terms: &Terms<'_>, session: &Record<'_>, parts: &[HttpResponse]) -> Result<usize> {
        let (mut seen, mut entries) = (Seen::new(), 0);
        for part in parts {
            let list: List<'_> = serde_json::from_slice(&part.body)
                .map_err(|error| Error::new(ErrorKind::Malformed, format!("the list cannot be read: {error}")))?;
            entries += list.items.len();
            self.astray += usize::from(list.items.is_empty() && list.meta.next.is_some());
            self.observed.server_time = part.server_time().or(self.observed.server_time);
            for item in list.items {
                match terms.push(&mut self.rows, session, item.get(), &mut seen) {
                    Ok(outside) => self.outside += usize::from(outside),
                    Err(reason) => self.rejected.push(Rejected { raw: item.get().to_owned(), reason }),
                }
            }
        }
        self.observed.records += entries as u64;
        Ok(entries)
    }

    /// A session was there when the reading began, and its entries are not any more.
    fn gone(&mut self, window: Window) {
        self.gone += 1;
        misses(&mut self.observed, window);
    }

    /// A recording without events: did nothing happen, or was it not indexed?
    fn empty(&mut self, session: &Record<'_>) {
        if let Some(status) = not_indexed(session).filter(|_| session.has_recording != Some(false)) {
            *self.not_indexed.entry(status.to_owned()).or_default() += 1;
        }
    }

    /// A session's list could not be read: a gap that the receipt shows, unless it is the appliance that fails.
    fn missed(&mut self, progress: &mut Progress, detail: Detail, raw: &str, error: Error) -> Result<()> {
        progress.failed += 1;
        progress.failure.get_or_insert_with(|| (error.kind(), error.to_string()));
        progress.in_a_row = if error.kind().is_temporary() { progress.in_a_row + 1 } else { 0 };
        let fatal = matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::Config | ErrorKind::Internal);
        if fatal || progress.in_a_row >= FAILURES_IN_A_ROW {
            return Err(error);
        }
        let reason = format!("the {} of this session are missing: {error}", detail.path());
        self.rejected.push(Rejected { raw: raw.to_owned(), reason });
        Ok(())
    }

    /// Says what the rows alone do not tell.
    fn say(&mut self, detail: Detail) {
        let list = detail.path();
        let notes = &mut self.observed.notes;
        if self.gone > 0 {
            notes.push(format!("{} sessions were cleaned up before their {list} could be read", self.gone));
        }
        if self.outside > 0 {
            notes.push(format!(
                "{} {list} lie outside their sessions: naive_time_zone may not be the zone of the appliance",
                self.outside
            ));
        }
        if self.astray > 0 {
            notes.push(format!("{} {list} ended with a link to another list; it was not followed", self.astray));
        }
        for (status, count) in &self.not_indexed {
            notes.push(format!("events of {count} recordings are not known, they are not indexed ({status})"));
        }
    }
}
