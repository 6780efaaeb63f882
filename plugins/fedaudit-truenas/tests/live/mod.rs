//! Watching live sessions: with and without the right to be told.

use std::time::Duration;

use fedaudit_core::{ErrorKind, Next, PageRequest, Window};
use fedaudit_testkit::records::TrueNasSession;
use fedaudit_testkit::truenas::Options;

use crate::bench::*;

fn session(id: &str) -> TrueNasSession {
    TrueNasSession {
        id: id.to_owned(),
        internal: false,
        origin: "192.0.2.7:51234".to_owned(),
        credentials: "LOGIN_PASSWORD",
        credentials_data: r#"{"username": "ana", "login_id": "l-1", "login_at": {"$date": 1795299000000}}"#.into(),
        created_at: 1_795_299_000,
        secure_transport: true,
    }
}

/// Follows the stream and tells of each row: id, state, why it ended, whether an end is known, and how sure that is.
struct Watch<'b> {
    bench: &'b Bench,
    request: PageRequest,
}

impl<'b> Watch<'b> {
    fn new(bench: &'b Bench, wait: u64) -> Self {
        let follow = Some(Duration::from_millis(wait));
        Self { bench, request: PageRequest { follow, ..PageRequest::first("auth.sessions", Window::ALL) } }
    }

    async fn next(&mut self) -> Vec<String> {
        let page = self.bench.source.fetch(&self.bench.cx, &self.request).await.unwrap();
        let Next::More(cursor) = page.next else { panic!("watching ended") };
        self.request.cursor = Some(cursor);
        let row = |row: usize| {
            let cells = cells(&page.rows, row);
            let cell = |name: &str| cells.get(name).map_or("-", String::as_str).to_owned();
            let end = if cells.contains_key("end_time") { "ended" } else { "no end" };
            ["session_id", "state", "end_reason", "confidence_reason"].map(cell).join(" ") + " " + end
        };
        (0..page.rows.num_rows()).map(row).collect()
    }

    /// Waits for rows.
    async fn some(&mut self) -> Vec<String> {
        for _ in 0..100 {
            let rows = self.next().await;
            if !rows.is_empty() {
                return rows;
            }
        }
        panic!("nothing happened");
    }
}

#[tokio::test]
async fn watching_sessions_by_polling_alone() {
    let bench = bench(world(600), options()).await;
    let mut watch = Watch::new(&bench, 50);
    let first = watch.next().await;
    assert_eq!(first.len(), bench.world.truenas.sessions.len());
    assert!(watch.next().await.is_empty());
    bench.stand_in.begin_session(session("s-new"));
    assert_eq!(watch.some().await, ["s-new active - live_poll no end"]);
    bench.stand_in.end_session("s-new");
    assert_eq!(watch.some().await, ["s-new closed vanished vanished no end"]);
    // Internal sessions are listed like others.
    bench.stand_in.begin_session(TrueNasSession { internal: true, ..session("s-node") });
    assert_eq!(watch.some().await, ["s-node active - live_poll no end"]);
    // A new login on the same connection is told.
    bench.stand_in.end_session("s-node");
    bench.stand_in.begin_session(TrueNasSession { credentials: "API_KEY", internal: true, ..session("s-node") });
    assert_eq!(watch.some().await, ["s-node active - live_poll no end"]);
    // The account was refused the subscription, and nothing else.
    let refused: Vec<String> =
        bench.log.entries().into_iter().filter(|entry| entry.status != 200).map(|entry| entry.target).collect();
    assert_eq!(refused, [r#"core.subscribe ["auth.sessions"]"#]);
}

#[tokio::test]
async fn watching_sessions_by_subscription() {
    let mut options = options();
    options.roles.full_admin = true;
    let bench = bench(world(600), options).await;
    let mut watch = Watch::new(&bench, 60_000);
    let first = watch.next().await;
    assert_eq!(first.len(), bench.world.truenas.sessions.len());
    let looks = || bench.log.entries().iter().filter(|entry| entry.target == "auth.sessions []").count();
    let before = looks();
    bench.stand_in.begin_session(session("s-new"));
    assert_eq!(watch.next().await, ["s-new active - live_poll no end"]);
    bench.stand_in.begin_session(session("s-brief"));
    bench.stand_in.end_session("s-brief");
    // Nobody looked at the list: a session that ends at once is seen all the same.
    assert_eq!(watch.next().await, ["s-brief active - live_poll no end"]);
    assert_eq!(watch.next().await, ["s-brief closed disconnect end_from_feed ended"]);
    bench.stand_in.end_session("s-new");
    assert_eq!(watch.next().await, ["s-new closed disconnect end_from_feed ended"]);
    assert_eq!(looks(), before);

    // The subscription ends, or the connection does: the list makes up for it.
    bench.stand_in.end_subscriptions();
    bench.stand_in.begin_session(session("s-unheard"));
    assert_eq!(watch.next().await, ["s-unheard active - live_poll no end"]);
    bench.stand_in.cut_connections();
    while bench.stand_in.logins() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bench.stand_in.end_session("s-unheard");
    assert_eq!(watch.next().await, ["s-unheard closed vanished vanished no end"]);
    bench.stand_in.begin_session(session("s-last"));
    assert_eq!(watch.next().await, ["s-last active - live_poll no end"]);
    bench.source.close(&bench.cx).await.unwrap();
    assert_eq!(bench.stand_in.logins(), 0);
}

#[tokio::test]
async fn a_watch_goes_on_from_its_cursor_alone() {
    let world = world(600);
    let first = bench(world.clone(), options()).await;
    let mut watch = Watch::new(&first, 20);
    watch.next().await;
    let second = bench(world, Options { list_reader: false, ..options() }).await;
    second.stand_in.begin_session(session("s-new"));
    let mut taken_up = Watch { bench: &second, request: watch.request };
    assert_eq!(taken_up.next().await, ["s-new active - live_poll no end"]);
}

#[tokio::test]
async fn a_list_without_the_reader_is_not_believed() {
    let request = PageRequest::first("auth.sessions", Window::ALL);
    let follow = PageRequest { follow: Some(Duration::from_millis(10)), ..request.clone() };
    let silent = bench(world(300), Options { lists_nobody: true, ..options() }).await;
    for request in [request.clone(), PageRequest { count_only: true, ..request.clone() }, follow.clone()] {
        let error = silent.source.fetch(&silent.cx, &request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
    }
    // Whoever has seen sessions does not take them for ended.
    let told = bench(world(300), options()).await;
    let Next::More(cursor) = told.source.fetch(&told.cx, &follow).await.unwrap().next else { panic!("watching ended") };
    let later = PageRequest { cursor: Some(cursor), ..follow };
    assert_eq!(silent.source.fetch(&silent.cx, &later).await.unwrap_err().kind(), ErrorKind::Malformed);
    // Nobody else is there: the reader is.
    let mut quiet = fedaudit_testkit::World::clone(&world(300));
    quiet.truenas.sessions.clear();
    let quiet = bench(std::sync::Arc::new(quiet), options()).await;
    let page = quiet.source.fetch(&quiet.cx, &request).await.unwrap();
    assert_eq!(page.rows.num_rows(), 1);
    assert!(cells(&page.rows, 0)["quality_flags"].contains("own_reader"));
}
