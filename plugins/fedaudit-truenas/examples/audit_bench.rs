//! Prints how many audit records one core reads in a second from a stand-in in a process of its own, TLS, WebSocket, decoding,
//! normalising and Arrow included, and the most memory that took: `cargo run --release -p fedaudit-truenas --example audit_bench
//! [RECORDS]`. The rate per second of processor time depends less on what else the machine does than that by the clock.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people")]

use std::sync::Arc;

use fedaudit_core::{Clock, Context, Meter, Plugin, Time};
use fedaudit_testkit::conformance::{Apart, cost, serve_apart};
use fedaudit_testkit::truenas::{Options, StandIn};
use fedaudit_testkit::{Settings, World};
use fedaudit_truenas::TrueNasPlugin;

const KEY: &str = "7-of-the-bench";
const TO: i64 = 1_795_300_000_000_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let records: usize = arguments.next().map_or(200_000, |text| text.parse().unwrap());
    if arguments.next().is_some() {
        let world =
            World::generate(&Settings { events: records, only: Some("truenas".into()), ..Settings::new(1, TO) });
        let count = world.truenas.middleware.len() + world.truenas.smb.len();
        let options = Options { api_key: Some(KEY.to_owned()), ..Options::default() };
        let router = StandIn::new(Arc::new(world), options).router();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(serve_apart(router, KEY, count)).unwrap();
    } else {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(read(records));
    }
}

async fn read(records: usize) {
    let server = Apart::start(&[&records.to_string(), "serve"]).unwrap();
    let folder = server.folder.display();
    let config = serde_json::json!({
        "url": server.origin, "username": Options::default().username, "api_key": format!("file:{folder}/secret"),
        "tls": {"ca_file": format!("{folder}/ca.pem")},
    });
    let source = TrueNasPlugin::build("nas-1", serde_json::from_value(config).unwrap()).unwrap();
    let cx = Context {
        source: "nas-1".into(),
        source_key: "https://nas-1.example".into(),
        clock: Arc::new(EndOfHistory),
        deadline: None,
        meter: Arc::new(Meter::default()),
    };
    for _ in 0..3 {
        let mut rows = 0;
        for stream in ["audit.MIDDLEWARE", "audit.SMB"] {
            let cost = cost(&*source, &cx, stream).await.unwrap();
            rows += cost.rows;
            println!("{stream} {cost}");
        }
        assert_eq!(rows, server.records);
    }
    source.close(&cx).await.unwrap();
}

struct EndOfHistory;

impl Clock for EndOfHistory {
    fn now(&self) -> Time {
        Time::from_micros(TO)
    }
}
