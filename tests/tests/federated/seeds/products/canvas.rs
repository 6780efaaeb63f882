//! Canvas: events in the documents' own form, and the parameters of its routes, through the stand-in.

use std::sync::Arc;

use fedaudit_canvas::Canvas;
use fedaudit_core::{AuditSource, PageRequest, Plugin as _, Predicate, Time, Window};
use fedaudit_testkit::canvas::{Extra, Form, Options, StandIn};
use fedaudit_testkit::records::World;
use fedaudit_testkit::{Authority, RequestLog, ServerHandle, serve};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::{Cells, NOW, asked, config, read as read_all, world};

const STREAM: &str = "audit.authentication";

async fn bench(world: World, options: Options) -> ((ServerHandle, TempDir), Box<dyn AuditSource>) {
    let authority = Authority::new().unwrap();
    let token = options.token.clone();
    let server = serve(StandIn::new(Arc::new(world), options).router(), &authority).await.unwrap();
    let (config, folder) = config(&server.origin, &authority, ("token", &token), json!({}));
    let source = Canvas::build("seed", serde_json::from_value(config).unwrap()).unwrap();
    ((server, folder), source)
}

/// An event of the account's list.
pub(in super::super) async fn read(record: &Json) -> Cells {
    let mut world = world();
    world.canvas.events.clear();
    let extra = vec![Extra { created_at: NOW / 1_000_000, json: record.to_string() }];
    let (_server, source) = bench(world, Options { form: Form::Flat, extra, ..Options::default() }).await;
    let mut cells = Cells::default();
    for page in read_all(&*source, PageRequest::first(STREAM, Window::ALL)).await {
        cells.add("events", page.rows);
    }
    cells
}

/// All requests: of an account, a user, a login, and of a login on a server of 2013.
pub(in super::super) async fn requests() -> Vec<String> {
    let mut all = Vec::new();
    for only_pseudonyms in [false, true] {
        let world = world();
        let (login, user) = (world.canvas.logins[0].id.to_string(), world.canvas.users[0].id.to_string());
        let window = Window::new(Time::from_micros(world.from), Time::from_micros(world.to));
        let log = RequestLog::default();
        let (_server, source) = bench(world, Options { only_pseudonyms, log: log.clone(), ..Options::default() }).await;
        for predicates in
            [vec![], vec![Predicate::any_of("account_id", [login])], vec![Predicate::any_of("user_uid", [user])]]
        {
            read_all(&*source, PageRequest { predicates, ..PageRequest::first(STREAM, window) }).await;
        }
        all.extend(asked(&log));
    }
    all
}
