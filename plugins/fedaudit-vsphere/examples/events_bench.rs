//! Prints how many events one core reads in a second from a stand-in in a process of its own, TLS, decoding, normalising and
//! Arrow included, and the most memory that took: `cargo run --release -p fedaudit-vsphere --example events_bench [EVENTS
//! [soap|json]]`. The rate per second of processor time depends less on what else the machine does than that by the clock.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people")]

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use fedaudit_core::{Clock, Context, Meter, Plugin, Time};
use fedaudit_testkit::conformance::{Apart, cost, serve_apart};
use fedaudit_testkit::vsphere::{Options, StandIn};
use fedaudit_testkit::{Settings, World};
use fedaudit_vsphere::VSphere;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let events: usize = arguments.next().map_or(200_000, |text| text.parse().unwrap());
    let protocol = arguments.next().unwrap_or_else(|| "soap".into());
    if protocol == "serve" {
        let settings = Settings { events, only: Some("vsphere".into()), ..Settings::new(1, 1_795_300_000_000_000) };
        let mut world = World::generate(&settings);
        world.vsphere.events.truncate(events);
        let count = world.vsphere.events.len();
        let router = StandIn::new(Arc::new(world), Options::default()).router();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(serve_apart(router, &Options::default().password, count)).unwrap();
    } else {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(read(events, &protocol));
    }
}

async fn read(events: usize, protocol: &str) {
    let server = Apart::start(&[&events.to_string(), "serve"]).unwrap();
    let folder = server.folder.display();
    let config = serde_json::json!({
        "url": server.origin, "username": "reader@vsphere.local", "password": format!("file:{folder}/secret"),
        "tls": {"ca_file": format!("{folder}/ca.pem")}, "protocol": protocol,
    });
    let source = VSphere::build("vc-1", serde_json::from_value(config).unwrap()).unwrap();
    let cx = Context {
        source: "vc-1".into(),
        source_key: "https://vc-1.example".into(),
        clock: Arc::new(SystemClock),
        deadline: None,
        meter: Arc::new(Meter::default()),
    };
    for _ in 0..5 {
        let cost = cost(&*source, &cx, "vim.events").await.unwrap();
        assert_eq!(cost.rows, server.records);
        println!("{protocol} {cost}");
    }
    source.close(&cx).await.unwrap();
}

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time::from_micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64)
    }
}
