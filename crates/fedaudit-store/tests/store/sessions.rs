//! Sessions that a product lists: the last stored state counts, and what was active when it was collected is asked for again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::Array as _;
use arrow_array::cast::AsArray as _;
use async_trait::async_trait;
use fedaudit_core::{
    AuditSource, Context, EndReason, Error, ErrorKind, Outcome, Page, PageRequest, Receipt, Result, SessionBuilder,
    SessionRow, SessionState, Side, SourceHealth, SourceInfo, Status, StreamInfo, StreamKind, Time, Window,
};
use fedaudit_engine::{Engine, Options, Question, Source};
use fedaudit_store::collect::{Progress, Wanted, collect, never};
use fedaudit_store::{Place, Store, Writer};

use crate::made::{SECOND, Set, window};

const KEY: &str = "https://gate.example";
const LATENESS: i64 = 100;

/// A gateway: name, start and end of each session, in seconds.
#[derive(Debug)]
struct Gateway {
    info: SourceInfo,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sessions: Vec<(&'static str, i64, Option<i64>)>,
    asked: Vec<Window>,
    down: bool,
}

impl Gateway {
    fn new(sessions: &[(&'static str, i64, Option<i64>)]) -> Arc<Self> {
        let stream = StreamInfo {
            lateness: Duration::from_secs(LATENESS as u64),
            ..StreamInfo::new("sessions", StreamKind::Sessions)
        };
        let info = SourceInfo {
            product: "sps".into(),
            plugin: "sps".into(),
            plugin_version: "1".into(),
            origin: KEY.into(),
            streams: vec![stream],
        };
        let state = State { sessions: sessions.to_vec(), ..State::default() };
        Arc::new(Self { info, state: Mutex::new(state) })
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    fn take_asked(&self) -> Vec<Window> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }
}

#[async_trait]
impl AuditSource for Gateway {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    async fn check(&self, _cx: &Context) -> Result<SourceHealth> {
        Ok(SourceHealth::default())
    }

    async fn fetch(&self, cx: &Context, request: &PageRequest) -> Result<Page> {
        let mut state = self.state.lock().unwrap();
        state.asked.push(request.window);
        if state.down {
            return Err(Error::new(ErrorKind::Unavailable, "no answer"));
        }
        let now = cx.now().micros() / SECOND;
        let from = request.window.from.map_or(0, |from| from.micros() / SECOND);
        let to = request.window.to.map_or(i64::MAX, |to| to.micros() / SECOND);
        let mut rows = SessionBuilder::new(&cx.source_key);
        for (name, start, end) in &state.sessions {
            let ended = end.filter(|end| *end <= now);
            if *start > now || *start >= to || ended.is_some_and(|end| end < from) {
                continue;
            }
            let raw = format!("{{\"id\":\"{name}\",\"end\":{}}}", ended.unwrap_or(0));
            let row = SessionRow {
                session_id: Some(name),
                user_name: Some("ana"),
                start_time: Some(Time::from_micros(start * SECOND)),
                end_time: ended.map(|end| Time::from_micros(end * SECOND)),
                state: if ended.is_some() { SessionState::Closed } else { SessionState::Active },
                outcome: Outcome::Success,
                raw: &raw,
                ..SessionRow::new()
            };
            rows.push(&[Some(name)], &row);
        }
        Ok(Page::last(rows.finish()?, EndReason::SinglePage))
    }

    async fn close(&self, _cx: &Context) -> Result<()> {
        Ok(())
    }
}

struct World {
    clock: Arc<Set>,
    place: Place,
    gateway: Arc<Gateway>,
}

impl World {
    fn engine(&self) -> Engine {
        let plugin: Arc<dyn AuditSource> = Arc::clone(&self.gateway) as _;
        let source = Source { name: "gate".into(), source_key: KEY.into(), plugin };
        Engine::new(vec![source], self.clock.clone(), Options::default())
    }

    async fn collect_at(&self, second: i64) {
        self.clock.to(second);
        let writer = Writer::open(&self.place, self.clock.clone()).await.unwrap();
        let wanted = Wanted { from: window(0, 1).from, ..Wanted::default() };
        let report = collect(&self.engine(), &writer, &wanted, &Progress::default(), never()).await.unwrap();
        assert!(report.is_whole(), "{report:?}");
        self.gateway.take_asked();
    }

    /// Sessions as `name state end`, in order.
    async fn ask(&self, side: Option<Side>, asked: Window, condition: &str) -> (Vec<String>, Receipt) {
        let store = Store::open(&self.place, fedaudit_core::Clock::now(self.clock.as_ref())).await.unwrap();
        let question = Question {
            sql: format!(
                "SELECT concat_ws(' ', session_id, state, to_unixtime(end_time)) AS line FROM sessions {condition} ORDER BY line"
            ),
            window: asked,
            collected: Some(Arc::new(store)),
            side,
            ..Question::default()
        };
        let mut answer = self.engine().ask(question).await.unwrap();
        let mut lines = Vec::new();
        while let Some(rows) = answer.next().await {
            let rows = rows.unwrap();
            let texts = arrow::compute::cast(rows.column(0), &arrow_schema::DataType::Utf8).unwrap();
            let texts = texts.as_string::<i32>();
            lines.extend((0..texts.len()).map(|row| texts.value(row).to_owned()));
        }
        (lines, answer.finish().await)
    }
}

/// Collected at 1000 and at 2000; asked at 3000.
async fn collected() -> World {
    let sessions = [
        ("early", 100, Some(200)),
        ("long", 150, Some(1500)),
        ("open", 160, Some(2500)),
        ("still", 170, None),
        ("late", 2600, Some(2700)),
    ];
    let world = World { clock: Set::at(1000), place: Place::in_memory(), gateway: Gateway::new(&sessions) };
    world.collect_at(1000).await;
    world.collect_at(2000).await;
    world.clock.to(3000);
    world
}

#[tokio::test]
async fn what_was_active_when_it_was_collected_is_asked_for_again() {
    let world = collected().await;
    // The window is sealed since long; what became of its sessions is not.
    let (lines, receipt) = world.ask(None, window(0, 400), "").await;
    assert_eq!(lines, ["early closed 200", "long closed 1500", "open closed 2500", "still active"]);
    assert!(receipt.complete, "{receipt:#?}");
    let since = Window { from: window(1900, 0).from, to: None };
    assert_eq!(world.gateway.take_asked(), [since]);
    // A condition that held for the stored state and does not hold now.
    let (lines, _) = world.ask(None, window(0, 400), "WHERE state = 'active'").await;
    assert_eq!(lines, ["still active"]);
    world.gateway.take_asked();
    // Nothing that was active: nothing to ask.
    world.gateway.change(|state| state.sessions.retain(|(name, ..)| *name == "early"));
    let (lines, receipt) = world.ask(None, window(0, 140), "").await;
    assert_eq!((lines.as_slice(), receipt.complete), (&["early closed 200".to_owned()][..], true));
    assert!(world.gateway.take_asked().is_empty());
}

#[tokio::test]
async fn both_sides_together_are_what_the_product_says() {
    let world = collected().await;
    for asked in [window(0, 3000), window(180, 2650), window(1600, 2100), window(2650, 3000)] {
        let (live, receipt) = world.ask(Some(Side::Live), asked, "").await;
        assert!(receipt.complete);
        world.gateway.take_asked();
        let (both, receipt) = world.ask(None, asked, "").await;
        assert_eq!(both, live, "{asked}");
        assert!(receipt.complete);
        let asked = world.gateway.take_asked();
        assert!(asked.iter().all(|asked| asked.from >= window(1900, 0).from), "{asked:?}");
        let (counted, _) = world.ask(None, window(0, 3000), "WHERE user_name = 'ana'").await;
        assert_eq!(counted.len(), 5);
        world.gateway.take_asked();
    }
}

#[tokio::test]
async fn without_the_product_sessions_are_as_they_were() {
    let world = collected().await;
    let expected = ["early closed 200", "long closed 1500", "open active", "still active"];
    let (lines, receipt) = world.ask(Some(Side::Stored), window(0, 400), "").await;
    assert_eq!(lines, expected);
    assert!(receipt.streams[0].notes.iter().any(|note| note.contains("2 sessions")), "{receipt:#?}");
    assert!(receipt.complete && world.gateway.take_asked().is_empty());
    world.gateway.change(|state| state.down = true);
    let (lines, receipt) = world.ask(None, window(0, 400), "").await;
    assert_eq!(lines, expected);
    assert_eq!(receipt.streams[0].status, Status::Failed);
    assert!(receipt.streams[0].notes.iter().any(|note| note.contains("2 sessions")), "{receipt:#?}");
}
