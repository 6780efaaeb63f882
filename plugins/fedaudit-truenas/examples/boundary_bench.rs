//! Prints what the boundary of a run-time plugin costs: one stand-in in a process of its own is read by this plugin built in,
//! loaded as a library, and loaded in another process, in turns; each reader is a fresh process, and what counts is the
//! processor time of all its threads and of its child.
//!
//! `cargo build --release -p fedaudit-truenas --examples && target/release/examples/boundary_bench [RECORDS [ROUNDS]]`
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fedaudit_core::{AuditSource, Clock, Context, Meter, Plugin, Time};
use fedaudit_plugin::host::{LoadedPlugin, wanted_level};
use fedaudit_plugin::process::{IsolatedPlugin, Limits, Recipe, serve};
use fedaudit_testkit::conformance::{Apart, cost, serve_apart};
use fedaudit_testkit::truenas::{Options, StandIn};
use fedaudit_testkit::{Settings, World};
use fedaudit_truenas::TrueNasPlugin;

const KEY: &str = "7-of-the-bench";
const TO: i64 = 1_795_300_000_000_000;
/// What is measured; the first is what the others are compared with.
const WAYS: [&str; 3] = ["built in", "loaded", "isolated"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["child", library] => serve(Path::new(library), None, Limits::default(), wanted_level()).unwrap(),
        ["serve", records] => stand_in(records.parse().unwrap()),
        ["read", way, origin, folder] => read(way, origin, folder),
        [] => compare(1_000_000, 10),
        [records] => compare(records.parse().unwrap(), 10),
        [records, rounds] => compare(records.parse().unwrap(), rounds.parse().unwrap()),
        _ => panic!("boundary_bench [RECORDS [ROUNDS]]"),
    }
}

fn stand_in(records: usize) {
    let world = World::generate(&Settings { events: records, only: Some("truenas".into()), ..Settings::new(1, TO) });
    let count = world.truenas.middleware.len() + world.truenas.smb.len();
    let options = Options { api_key: Some(KEY.to_owned()), ..Options::default() };
    let router = StandIn::new(Arc::new(world), options).router();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(serve_apart(router, KEY, count)).unwrap();
}

/// Rounds in which each way is measured once, so that what else the machine does meets all of them.
fn compare(records: usize, rounds: usize) {
    let server = Apart::start(&["serve", &records.to_string()]).unwrap();
    let (origin, folder) = (server.origin.as_str(), server.folder.display().to_string());
    let mut ratios = [const { Vec::new() }; WAYS.len()];
    for round in 0..rounds {
        let mut seconds = [0.0; WAYS.len()];
        for turn in 0..WAYS.len() {
            let way = (round + turn) % WAYS.len();
            let mut reader = Command::new(std::env::current_exe().unwrap());
            let output = reader.args(["read", WAYS[way], origin, &folder]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let said = String::from_utf8(output.stdout).unwrap();
            let (rows, time) = said.trim().split_once(' ').unwrap();
            assert_eq!(rows.parse::<usize>().unwrap(), server.records);
            seconds[way] = time.parse().unwrap();
        }
        for (ratios, time) in ratios.iter_mut().zip(seconds) {
            ratios.push(time / seconds[0]);
        }
        println!("built in {:.2} s, loaded {:.2} s, isolated {:.2} s", seconds[0], seconds[1], seconds[2]);
    }
    for (way, mut ratios) in WAYS.iter().zip(ratios).skip(1) {
        ratios.sort_by(f64::total_cmp);
        let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
        let median = f64::midpoint(ratios[(ratios.len() - 1) / 2], ratios[ratios.len() / 2]);
        println!(
            "{way}: {:+.1} % ({:+.1} to {:+.1} %)",
            100.0 * (median - 1.0),
            100.0 * (least - 1.0),
            100.0 * (most - 1.0)
        );
    }
}

fn read(way: &str, origin: &str, folder: &str) {
    let config = serde_json::json!({
        "url": origin, "username": Options::default().username, "api_key": format!("file:{folder}/secret"),
        "tls": {"ca_file": format!("{folder}/ca.pem")},
    });
    let source: Box<dyn AuditSource> = match way {
        "loaded" => LoadedPlugin::load(&library(), None).unwrap().build("nas-1", &config).unwrap(),
        "isolated" => {
            let program = std::env::current_exe().unwrap();
            let recipe = Recipe { program, arguments: vec!["child".into(), library().into()] };
            IsolatedPlugin::load(recipe).unwrap().build("nas-1", &config).unwrap()
        }
        _ => TrueNasPlugin::build("nas-1", serde_json::from_value(config).unwrap()).unwrap(),
    };
    let cx = Context {
        source: "nas-1".into(),
        source_key: "https://nas-1.example".into(),
        clock: Arc::new(EndOfHistory),
        deadline: None,
        meter: Arc::new(Meter::default()),
    };
    // In a task of a runtime with workers, as the engine reads: on the main thread the allocator behaves otherwise.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let reading = runtime.spawn(async move {
        let mut rows = 0;
        for stream in ["audit.MIDDLEWARE", "audit.SMB"] {
            rows += cost(&*source, &cx, stream).await.unwrap().rows;
        }
        source.close(&cx).await.unwrap();
        println!("{rows} {}", processor_seconds());
    });
    runtime.block_on(reading).unwrap();
}

/// The same plugin, built with the same settings.
fn library() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.with_file_name(format!("{}truenas{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX))
}

/// Processor time of this process, of its children that run, and of those that ended.
fn processor_seconds() -> f64 {
    let own = std::process::id().to_string();
    // Numbers only: /proc/self is this process once more.
    let is_number = |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| name.parse::<u32>().is_ok());
    let processes = std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| is_number(&entry.file_name()));
    let lines = processes.filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok());
    let ticks: f64 = lines
        .filter_map(|line| {
            let number = line.split(' ').next()?.to_owned();
            let fields: Vec<&str> = line.rsplit(") ").next()?.split(' ').collect();
            let is_ours = number == own || fields[1] == own;
            is_ours.then(|| fields[11..15].iter().map(|field| field.parse::<f64>().unwrap()).sum::<f64>())
        })
        .sum();
    ticks / 100.0
}

struct EndOfHistory;

impl Clock for EndOfHistory {
    fn now(&self) -> Time {
        Time::from_micros(TO)
    }
}
