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

use crate::made::{Record, SECOND, SOURCE_KEY, Set};

pub(crate) const STREAM: &str = "audit.MIDDLEWARE";

/// One source.
#[derive(Debug)]
pub(crate) struct Product {
    info: SourceInfo,
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
    /// It does not answer.
    pub(crate) down: bool,
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
        let stream = StreamInfo {
            order: Order::Descending,
            lower_bound: Bound::Inclusive,
            upper_bound: Bound::Inclusive,
            lateness: Duration::from_secs(lateness_s),
            history: history_s.map(Duration::from_secs),
            parallel_windows: 2,
            ..StreamInfo::new(STREAM, StreamKind::Events)
        };
        let info = SourceInfo {
            product: "truenas".into(),
            plugin: "truenas".into(),
            plugin_version: "1".into(),
            origin: SOURCE_KEY.into(),
            streams: vec![stream],
        };
        Arc::new(Self { info, state: Mutex::default(), page, fetches: AtomicUsize::new(0) })
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

#[async_trait]
impl AuditSource for Product {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    async fn check(&self, cx: &Context) -> Result<SourceHealth> {
        let state = self.state.lock().unwrap();
        Ok(SourceHealth {
            fingerprint: state.fingerprint.clone(),
            server_time: Some(cx.now()),
            retention_floor: state.floor.map(|floor| Time::from_micros(floor * SECOND)),
            ..SourceHealth::default()
        })
    }

    /// Newest first; a page goes on behind the last record of the one before, so that what is written meanwhile shifts
    /// nothing.
    async fn fetch(&self, cx: &Context, request: &PageRequest) -> Result<Page> {
        let number = self.fetches.fetch_add(1, Relaxed) + 1;
        tokio::task::yield_now().await;
        // At once: what waits is written, or it is forgotten because it would be too late.
        self.change(|state| state.records.extend(state.meanwhile.pop().into_iter().flatten()));
        let mut state = self.state.lock().unwrap();
        state.asked.push(request.window);
        if state.down {
            return Err(Error::new(ErrorKind::Unavailable, "no answer"));
        }
        if state.fails_at == Some(number) {
            state.fails_at = None;
            return Err(Error::new(ErrorKind::Unavailable, "gone"));
        }
        if let Some(floor) = state.floor {
            state.records.retain(|record| record.second >= floor);
        }
        let Window { from, to } = request.window;
        let (from, to) = (from.map_or(0, Time::micros) / SECOND, to.map_or(i64::MAX, Time::micros) / SECOND);
        let behind: Option<(i64, u64)> = request.cursor.as_ref().map(Cursor::read).transpose()?;
        let listed: Vec<&Record> = state
            .records
            .iter()
            .rev()
            .filter(|record| (from..=to).contains(&record.second))
            .filter(|record| behind.is_none_or(|behind| (record.second, record.id) < behind))
            .collect();
        let page = &listed[..listed.len().min(self.page)];
        let mut rows = EventBuilder::new(&cx.source_key);
        let mut rejected = Vec::new();
        for record in page {
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
        let last = page.last().filter(|_| listed.len() > page.len()).map(|record| (record.second, record.id));
        Ok(Page {
            rows: rows.finish()?,
            next: last.map_or(Ok(Next::End(EndReason::ShortPage)), |last| Cursor::new(&last).map(Next::More))?,
            frontier: last.map(|(second, _)| Time::from_micros(second * SECOND)),
            observed: Observed {
                server_time: Some(cx.now()),
                retention_floor: state.floor.map(|floor| Time::from_micros(floor * SECOND)),
                records: page.len() as u64,
                ..Observed::default()
            },
            rejected,
        })
    }

    async fn close(&self, _cx: &Context) -> Result<()> {
        Ok(())
    }
}
