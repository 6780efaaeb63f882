//! TrueNAS: records through the plugin's decoders, parameters through its stand-in.

use std::sync::Arc;

use fedaudit_core::{Direction, PageRequest, Plugin as _, Predicate, Time, Window};
use fedaudit_testkit::truenas::{Options, Roles, StandIn};
use fedaudit_testkit::{Authority, RequestLog, ServerHandle, serve};
use fedaudit_truenas::{Reading, Service, TrueNasPlugin, decode_page, decode_sessions};
use serde_json::{Value as Json, json};

use super::{Cells, NOW, asked, config, context, read, world};

fn answer(record: &Json) -> Vec<u8> {
    json!({"jsonrpc": "2.0", "result": [record], "id": 7}).to_string().into_bytes()
}

fn reading() -> Reading<'static> {
    Reading { now: Time::from_micros(NOW), ..Reading::default() }
}

/// An item of `auth.sessions`.
pub(in super::super) fn sessions(record: &Json) -> Cells {
    let mut cells = Cells::default();
    cells.add("sessions", decode_sessions(&answer(record), "seed", &reading()).unwrap().rows);
    cells
}

/// An item of `audit.query`.
pub(in super::super) fn events(record: &Json) -> Cells {
    let mut cells = Cells::default();
    let service = match record["service"].as_str() {
        Some("SUDO") => Service::Sudo,
        Some("SMB") => Service::Smb,
        Some("SYSTEM") => Service::System,
        _ => Service::Middleware,
    };
    cells.add("events", decode_page(&answer(record), service, "seed", &reading()).unwrap().rows);
    cells
}

async fn server(options: Options, crowded: bool) -> (ServerHandle, Authority) {
    let mut world = world();
    if crowded {
        // Reading on inside one second is the only use of an offset.
        let second = world.truenas.smb[0].message_timestamp;
        world.truenas.smb.iter_mut().for_each(|row| row.message_timestamp = second);
        world.truenas.smb.sort_by(|a, b| a.audit_id.cmp(&b.audit_id));
    }
    let authority = Authority::new().unwrap();
    let server = serve(StandIn::new(Arc::new(world), options).router(), &authority).await.unwrap();
    (server, authority)
}

fn options(log: &RequestLog) -> Options {
    Options { api_key: Some("4-Kx0123456789".to_owned()), log: log.clone(), ..Options::default() }
}

/// All requests of all ways to read it.
pub(in super::super) async fn requests() -> Vec<String> {
    let log = RequestLog::default();
    let (server, authority) = server(options(&log), true).await;
    let key = ("api_key", "4-Kx0123456789");
    for more in [json!({"username": "auditor"}), json!({"username": "auditor", "remote_controller": true})] {
        let (config, _folder) = config(&server.origin, &authority, key, more);
        let source = TrueNasPlugin::build("seed", serde_json::from_value(config).unwrap()).unwrap();
        source.check(&context()).await.unwrap();
        for stream in &source.info().streams {
            let first = PageRequest::first(&stream.name, Window::ALL);
            let filtered = Predicate::any_of("action", ["auth.login", "auth.logout", "file.read"]);
            for request in [
                PageRequest { count_only: true, ..first.clone() },
                PageRequest { page_size: Some(3), ..first.clone() },
                PageRequest { direction: Direction::NewestFirst, predicates: vec![filtered], ..first },
            ] {
                read(&*source, request).await;
            }
        }
        source.close(&context()).await.unwrap();
    }
    asked(&log)
}

/// Why the audit streams are denied to an account without the role.
pub(in super::super) async fn denied_without_the_role() -> Vec<String> {
    let log = RequestLog::default();
    let roles = Roles { audit_read: false, ..Options::default().roles };
    let (server, authority) = server(Options { roles, ..options(&log) }, false).await;
    let key = ("api_key", "4-Kx0123456789");
    let (config, _folder) = config(&server.origin, &authority, key, json!({"username": "auditor"}));
    let source = TrueNasPlugin::build("seed", serde_json::from_value(config).unwrap()).unwrap();
    let health = source.check(&context()).await.unwrap();
    source.close(&context()).await.unwrap();
    health.denied.into_iter().map(|(_, reason)| reason).collect()
}
