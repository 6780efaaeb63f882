//! A pair of controllers: both are read, and one that does not answer is said.

use std::collections::BTreeMap;
use std::sync::Arc;

use fedaudit_core::{Direction, EndReason, ErrorKind, PageRequest, Window};
use fedaudit_testkit::truenas::{Options, OtherController};
use fedaudit_testkit::{Settings, World};
use serde_json::json;

use crate::bench::*;

fn other_world() -> Arc<World> {
    Arc::new(World::generate(&Settings { events: 900, ..Settings::new(8, TO) }))
}

async fn pair(other: Option<OtherController>) -> Bench {
    let options = Options { other, ..options() };
    bench_of(world(900), options, "api_key", KEY, json!({"remote_controller": true})).await
}

fn stream(name: &str) -> PageRequest {
    PageRequest::first(name, Window::ALL)
}

#[tokio::test]
async fn both_controllers_are_read() {
    let world = other_world();
    let bench = pair(Some(OtherController { world: Arc::clone(&world), reachable: true })).await;
    for (this, other) in [("audit.SMB", "audit.SMB.other"), ("audit.MIDDLEWARE", "audit.MIDDLEWARE.other")] {
        let here = read(&bench, PageRequest { page_size: Some(50), ..stream(this) }).await;
        for direction in [Direction::Any, Direction::NewestFirst] {
            let there = read(&bench, PageRequest { direction, page_size: Some(50), ..stream(other) }).await;
            let rows = if this == "audit.SMB" { &world.truenas.smb } else { &world.truenas.middleware };
            let mut ids = there.ids();
            if direction == Direction::NewestFirst {
                ids.reverse();
            }
            assert_eq!(ids, rows.iter().map(|row| row.audit_id.as_str()).collect::<Vec<_>>());
            assert!(there.text("source_node").iter().all(|node| node.as_deref() == Some("other")));
            assert!(ids.iter().all(|id| !here.ids().contains(id)));
        }
        assert!(here.text("source_node").iter().all(|node| node.as_deref() == Some("this")));
    }
    // After a failover the same record comes from the other side: it is the same event.
    let there = read(&bench, stream("audit.SUDO.other")).await;
    let alone = crate::bench::bench(world, options()).await;
    let here = read(&alone, stream("audit.SUDO")).await;
    let keys = |read: &Read| -> BTreeMap<_, _> { read.ids().into_iter().zip(read.text("event_key")).collect() };
    assert_eq!(keys(&there), keys(&here));
}

#[tokio::test]
async fn the_other_controller_of_a_single_one_is_itself() {
    let bench = pair(None).await;
    let there = read(&bench, stream("audit.SMB.other")).await;
    assert_eq!((there.end, there.ids().len()), (EndReason::NothingAsked, 0));
    assert!(there.notes.iter().any(|note| note.contains("no pair")), "{:?}", there.notes);
    assert!(read(&bench, stream("audit.SMB")).await.ids().len() > 100);
}

#[tokio::test]
async fn an_unreachable_controller_is_said() {
    let bench = pair(Some(OtherController { world: other_world(), reachable: false })).await;
    let error = bench.source.fetch(&bench.cx, &stream("audit.SMB.other")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("other controller") && error.hint_text().is_some(), "{error}");
    assert!(read(&bench, stream("audit.SMB")).await.ids().len() > 100);
    let health = bench.source.check(&bench.cx).await.unwrap();
    assert!(health.denied.is_empty());
    assert_eq!(health.notes.iter().filter(|note| note.contains("does not answer")).count(), 4, "{:?}", health.notes);
}

#[tokio::test]
async fn without_the_setting_nobody_asks_for_the_other() {
    let bench = bench(world(300), options()).await;
    assert_eq!(bench.source.info().streams.len(), 5);
    let error = bench.source.fetch(&bench.cx, &stream("audit.SMB.other")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    bench.source.check(&bench.cx).await.unwrap();
    assert!(bench.log.entries().iter().all(|entry| !entry.target.contains("remote_controller")));
}
