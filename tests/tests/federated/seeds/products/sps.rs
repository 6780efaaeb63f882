//! SPS: documents and lists through the stand-in.

use std::sync::Arc;

use fedaudit_core::{AuditSource, PageRequest, Plugin as _, Window};
use fedaudit_sps::Sps;
use fedaudit_testkit::sps::{Options, StandIn};
use fedaudit_testkit::{Authority, RequestLog, ServerHandle, serve};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::{Cells, NOW, asked, config, context, read, world};

/// An appliance without sessions, and a source that reads it.
pub(in super::super) struct Bench {
    stand_in: StandIn,
    source: Box<dyn AuditSource>,
    log: RequestLog,
    _server: ServerHandle,
    _folder: TempDir,
}

impl Bench {
    pub(in super::super) async fn start() -> Self {
        let mut world = world();
        world.sps.sessions.clear();
        let options = Options::default();
        let log = options.log.clone();
        let authority = Authority::new().unwrap();
        let secret = ("password", options.password.clone());
        let stand_in = StandIn::new(Arc::new(world), options);
        let server = serve(stand_in.router(), &authority).await.unwrap();
        // A snapshot would go on showing the document before.
        let more = json!({"username": "reader", "snapshots": false});
        let (config, folder) = config(&server.origin, &authority, (secret.0, &secret.1), more);
        let source = Sps::build("seed", serde_json::from_value(config).unwrap()).unwrap();
        Self { stand_in, source, log, _server: server, _folder: folder }
    }

    /// An item of the list, as session and as events.
    pub(in super::super) async fn read(&self, record: &Json) -> Cells {
        self.stand_in.insert_item(NOW, "seed", &record.to_string());
        let mut cells = Cells::default();
        for (stream, table) in [("sessions", "sessions"), ("sps.sessions", "events")] {
            for page in read(&*self.source, PageRequest::first(stream, Window::ALL)).await {
                cells.add(table, page.rows);
            }
        }
        self.stand_in.remove("seed");
        cells
    }
}

/// All requests, and the members of a list that decide how it is read on.
pub(in super::super) async fn requests() -> (Vec<String>, Vec<String>) {
    let bench = Bench::start().await;
    let item = |number: i64| {
        let start = format!("2026-03-0{}T00:00:00Z", number + 1);
        json!({"key": format!("k{number}"), "body": {"start_time": start}, "meta": {}})
    };
    for number in 0..3 {
        let start = NOW + number * 86_400_000_000;
        bench.stand_in.insert_item(start, &format!("k{number}"), &item(number).to_string());
    }
    let first = PageRequest { page_size: Some(1), ..PageRequest::first("sessions", Window::ALL) };
    let count = |pages: &[fedaudit_core::Page]| -> usize { pages.iter().map(|page| page.rows.num_rows()).sum() };
    assert_eq!(count(&read(&*bench.source, first.clone()).await), 3);
    assert_eq!(count(&read(&*bench.source, PageRequest { page_size: None, ..first.clone() }).await), 3);

    // A list that says nothing of what follows is at its end; either member makes the reader go on.
    let mut uses = Vec::new();
    for (name, meta) in [
        ("nothing", json!({})),
        ("list.meta.match_count", json!({"match_count": 3})),
        ("list.meta.next", json!({"next": "/api/audit/sessions?fields=*&sort=start_time&limit=1&offset=1"})),
    ] {
        let list = json!({"items": [item(0)], "meta": meta});
        bench.stand_in.answer_next("offset=0", 200, "application/json", &list.to_string());
        let rows = count(&read(&*bench.source, first.clone()).await);
        if rows > 1 {
            uses.push(name.to_owned());
        }
    }
    bench.source.close(&context()).await.unwrap();
    (asked(&bench.log), uses)
}
