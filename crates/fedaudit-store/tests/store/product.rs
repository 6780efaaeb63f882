//! A product that writes records while it is read: some late, and forgets the old ones.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fedaudit_core::{
    Action, AuditSource, Bound, Context, Cursor, EndReason, Error, ErrorKind, EventBuilder, EventRow, Next, Observed,
    Order, Page, PageRequest, Rejected, Result, SourceHealth, SourceInfo, StreamInfo, StreamKind, Time, TimeQuality,
    Window,
};
use fedaudit_engine::{Engine, Options, Source};
use serde::{Deserialize, Serialize};

use crate::made::{Record, SECOND, SOURCE_KEY, Set};

pub(crate) const STREAM: &str = "audit.MIDDLEWARE";

/// How its list is read page by page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paging {
    /// Newest first, on behind the last record that was seen: whatever moves, nothing shifts.
    NewestFirst,
    /// Newest first by offset: what is written meanwhile shifts records to later pages.
    NewestByOffset,
    /// Oldest first by offset: what is deleted meanwhile shifts records to earlier pages. Each page begins with the last
    /// record of the one before; if it does not, the list is read again, and what was deleted unread is named.
    OldestByOffset,
    /// The same without looking: it loses records and never knows.
    OldestByOffsetBlindly,
}

/// One source.
#[derive(Debug)]
pub(crate) struct Product {
    info: SourceInfo,
    paging: Paging,
    state: Mutex<State>,
    pub(crate) page: usize,
    pub(crate) fetches: AtomicUsize,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// What it holds, in order of time.
    pub(crate) records: Vec<Record>,
    /// Written while a page is being made: once for each page.
    pub(crate) meanwhile: Vec<Vec<Record>>,
    /// Nothing older is kept.
    pub(crate) floor: Option<i64>,
    /// The fetch of this number fails.
    pub(crate) fails_at: Option<usize>,
    /// Records of these seconds cannot be decoded.
    pub(crate) broken: Vec<i64>,
    pub(crate) fingerprint: Option<String>,
    /// At the fetch of this number, everything before a second is deleted.
    pub(crate) purges: Option<(usize, i64)>,
    /// Nobody answers.
    pub(crate) dead: bool,
    /// At the fetch of this number, a clock is set.
    pub(crate) sets_clock: Option<(usize, Arc<Set>, i64)>,
    /// The windows that it was asked for.
    pub(crate) asked: Vec<Window>,
}

impl State {
    /// What waits to be written and is by now as old as this second will not be: no record comes later than the stream
    /// says one may.
    pub(crate) fn forget_late(&mut self, second: i64) {
        self.meanwhile.iter_mut().for_each(|records| records.retain(|record| record.second > second));
    }
}

impl Product {
    pub(crate) fn new(page: usize, lateness_s: u64, history_s: Option<u64>) -> Arc<Self> {
        Self::paged(Paging::NewestFirst, page, lateness_s, history_s)
    }

    pub(crate) fn paged(paging: Paging, page: usize, lateness_s: u64, history_s: Option<u64>) -> Arc<Self> {
        let oldest_first = matches!(paging, Paging::OldestByOffset | Paging::OldestByOffsetBlindly);
        let stream = StreamInfo {
            order: if oldest_first { Order::Ascending } else { Order::Descending },
            lower_bound: Bound::Inclusive,
            upper_bound: Bound::Inclusive,
            lateness: Duration::from_secs(lateness_s),
            history: history_s.map(Duration::from_secs),
            parallel_windows: if paging == Paging::NewestFirst { 2 } else { 1 },
            ..StreamInfo::new(STREAM, StreamKind::Events)
        };
        let info = SourceInfo {
            product: "truenas".into(),
            plugin: "truenas".into(),
            plugin_version: "1".into(),
            origin: SOURCE_KEY.into(),
            streams: vec![stream],
        };
        Arc::new(Self { info, paging, state: Mutex::default(), page, fetches: AtomicUsize::new(0) })
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap();
        change(&mut state);
        state.records.sort_by_key(|record| (record.second, record.id));
    }

    /// What it was asked since the last time.
    pub(crate) fn take_asked(&self) -> Vec<Window> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    pub(crate) fn write(&self, records: impl IntoIterator<Item = Record>) {
        self.change(|state| state.records.extend(records));
    }

    pub(crate) fn engine(self: &Arc<Self>, clock: &Arc<Set>) -> Engine {
        self.engine_named("nas", clock)
    }

    /// The same under another name.
    pub(crate) fn engine_named(self: &Arc<Self>, name: &str, clock: &Arc<Set>) -> Engine {
        let plugin: Arc<dyn AuditSource> = Arc::clone(self) as _;
        let source = Source { name: name.into(), source_key: SOURCE_KEY.into(), plugin };
        Engine::new(vec![source], Arc::clone(clock) as _, Options::default())
    }
}

/// Where the next page begins.
#[derive(Serialize, Deserialize)]
struct Place {
    last: (i64, u64),
    at: usize,
}

/// One page of the list.
struct Part<'r> {
    records: Vec<&'r Record>,
    /// Whether there are more.
    rest: bool,
    /// What was deleted before it was read.
    gap: Option<Window>,
    /// Offset of the page after it.
    at: usize,
}

impl Product {
    /// The page of these records, which are in order of time, that a cursor asks for.
    fn part<'r>(&self, inside: &[&'r Record], cursor: Option<&Cursor>) -> Result<Part<'r>> {
        let place: Option<Place> = cursor.map(Cursor::read).transpose()?;
        let key = |record: &Record| (record.second, record.id);
        let mut list = inside.to_vec();
        let (mut begin, mut gap) = (place.as_ref().map_or(0, |place| place.at), None);
        match self.paging {
            Paging::NewestFirst => {
                list.reverse();
                begin = place.map_or(0, |place| list.partition_point(|record| key(record) >= place.last));
            }
            Paging::NewestByOffset => list.reverse(),
            Paging::OldestByOffsetBlindly => {}
            Paging::OldestByOffset => {
                if let Some(place) = place
                    && list.get(place.at - 1).map(|record| key(record)) != Some(place.last)
                {
                    begin = 0;
                    let next = list.first().map_or(i64::MAX / SECOND, |record| record.second);
                    let unread = Window::new(
                        Time::from_micros(place.last.0 * SECOND),
                        Time::from_micros(next.saturating_mul(SECOND)),
                    );
                    gap = Some(unread).filter(|_| list.first().is_none_or(|record| key(record) > place.last));
                }
            }
        }
        let end = list.len().min(begin + self.page);
        let records = list.get(begin..end).unwrap_or_default().to_vec();
        Ok(Part { records, rest: end < list.len(), gap, at: end })
    }
}

#[async_trait]
impl AuditSource for Product {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    async fn check(&self, cx: &Context) -> Result<SourceHealth> {
        let state = self.state.lock().unwrap();
        if state.dead {
            return Err(Error::new(ErrorKind::Unavailable, "nobody answers"));
        }
        Ok(SourceHealth {
            fingerprint: state.fingerprint.clone(),
            server_time: Some(cx.now()),
            retention_floor: state.floor.map(|floor| Time::from_micros(floor * SECOND)),
            ..SourceHealth::default()
        })
    }

    async fn fetch(&self, cx: &Context, request: &PageRequest) -> Result<Page> {
        let number = self.fetches.fetch_add(1, Relaxed) + 1;
        tokio::task::yield_now().await;
        // At once: what waits is written, or it is forgotten because it would be too late.
        self.change(|state| state.records.extend(state.meanwhile.pop().into_iter().flatten()));
        let mut state = self.state.lock().unwrap();
        state.asked.push(request.window);
        if state.dead {
            return Err(Error::new(ErrorKind::Unavailable, "nobody answers"));
        }
        if let Some((_, clock, second)) = state.sets_clock.take_if(|(at, ..)| *at == number) {
            clock.to(second);
        }
        if state.fails_at == Some(number) {
            state.fails_at = None;
            return Err(Error::new(ErrorKind::Unavailable, "gone"));
        }
        if let Some((_, floor)) = state.purges.take_if(|(at, _)| *at == number) {
            state.floor = Some(floor);
        }
        if let Some(floor) = state.floor {
            state.records.retain(|record| record.second >= floor);
        }
        let Window { from, to } = request.window;
        let (from, to) = (from.map_or(0, Time::micros) / SECOND, to.map_or(i64::MAX, Time::micros) / SECOND);
        let inside: Vec<&Record> = state.records.iter().filter(|record| (from..=to).contains(&record.second)).collect();
        let Part { records: page, rest, gap, at } = self.part(&inside, request.cursor.as_ref())?;
        let mut rows = EventBuilder::new(&cx.source_key);
        let mut rejected = Vec::new();
        for record in &page {
            let id = record.id.to_string();
            let raw = format!("{{\"id\":{},\"user\":\"{}\"}}", record.id, record.user);
            if state.broken.contains(&record.second) {
                rejected.push(Rejected { raw, reason: "made so".into() });
                continue;
            }
            let row = EventRow {
                time: Time::from_micros(record.second * SECOND),
                time_quality: TimeQuality::Seconds,
                action: Action::Login,
                user_name: Some(&record.user),
                record_id: Some(&id),
                raw: &raw,
                ..EventRow::new()
            };
            rows.push(&[Some(&id)], &[], &row);
        }
        let last = page.last().filter(|_| rest).map(|record| (record.second, record.id));
        let frontier = last.filter(|_| self.paging == Paging::NewestFirst);
        let notes = gap.map(|gap| format!("the product deleted {gap} while it was read")).into_iter().collect();
        Ok(Page {
            rows: rows.finish()?,
            next: last
                .map_or(Ok(Next::End(EndReason::ShortPage)), |last| Cursor::new(&Place { last, at }).map(Next::More))?,
            frontier: frontier.map(|(second, _)| Time::from_micros(second * SECOND)),
            observed: Observed {
                server_time: Some(cx.now()),
                retention_floor: state.floor.map(|floor| Time::from_micros(floor * SECOND)),
                records: page.len() as u64,
                gap,
                notes,
                ..Observed::default()
            },
            rejected,
        })
    }

    async fn close(&self, _cx: &Context) -> Result<()> {
        Ok(())
    }
}
