//! `fedaudit watch`: everything that happens, soon, once, and on from where it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::{Demo, command, err, json, run};

const LOGINS: &str = "action = 'auth.login'";

/// Ended for good when dropped.
struct Watcher(Child);

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn watch(config: &Path, more: &[&str], to: Stdio) -> Watcher {
    let mut command = command(&[&["watch", "--config", config.to_str().unwrap(), LOGINS], more].concat());
    Watcher(command.stdout(to).stderr(Stdio::null()).spawn().unwrap())
}

fn micros() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64
}

fn time_of(row: &Value) -> i64 {
    fedaudit_core::Time::parse(row["time"].as_str().unwrap()).unwrap().time.micros()
}

#[test]
fn logins_of_every_product_are_seen_within_seconds() {
    let demo = Demo::started(11, 500, &["--live", "2s"]);
    let mut watcher = watch(&demo.path("c.toml"), &["--format", "ndjson"], Stdio::piped());
    let lines = BufReader::new(watcher.0.stdout.take().unwrap()).lines();
    let begun = Instant::now();
    let mut delays: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut before = 0;
    for line in lines.map_while(Result::ok) {
        let row: Value = serde_json::from_str(&line).unwrap();
        let time = time_of(&row);
        assert!(time >= before || row["late"] == true, "{row} comes after {before}");
        before = before.max(time);
        delays.entry(row["product"].as_str().unwrap().to_owned()).or_default().push(micros() - time);
        if delays.len() == 4 && delays.values().all(|delays| delays.len() >= 5) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_mins(2), "{delays:?}");
    }
    for (product, delays) in &mut delays {
        delays.sort_unstable();
        // Times of whole seconds add up to one; a busy machine may hold up single rows.
        let usual = delays[delays.len() / 2];
        assert!(usual < 6_000_000, "{product}: {delays:?}");
    }
}

#[test]
fn whatever_ends_it_the_next_one_goes_on() {
    let demo = Demo::started(12, 500, &["--live", "1s"]);
    let (shown, state) = (demo.path("shown.ndjson"), demo.path("watch.state"));
    let begun = micros();
    let from = fedaudit_core::Time::from_micros(begun).to_string();
    let mut moments = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..6 {
        let to = File::options().create(true).append(true).open(&shown).unwrap();
        let state = state.to_str().unwrap();
        let mut watcher =
            watch(&demo.path("c.toml"), &["--state", state, "--from", &from, "--format", "ndjson"], to.into());
        moments ^= moments << 13;
        moments ^= moments >> 7;
        let more = if round == 5 { 12_000 } else { moments % 4000 };
        std::thread::sleep(Duration::from_millis(2500 + more));
        if round == 5 {
            // The last one may end in peace.
            let _ = rustix::process::kill_process(
                rustix::process::Pid::from_raw(watcher.0.id() as i32).unwrap(),
                rustix::process::Signal::INT,
            );
            assert!(watcher.0.wait().unwrap().success());
        }
    }
    let text = fs::read_to_string(&shown).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let keys: Vec<&str> = rows.iter().map(|row| row["event_key"].as_str().unwrap()).collect();
    let once: BTreeSet<&str> = keys.iter().copied().collect();
    assert_eq!(once.len(), keys.len(), "rows came twice");
    let products: BTreeSet<&str> = rows.iter().map(|row| row["product"].as_str().unwrap()).collect();
    assert_eq!(products.len(), 4, "{products:?}");

    // What the sources say now, up to what the last watcher can have shown.
    let last = rows.iter().map(time_of).max().unwrap() - 4_000_000;
    let to = fedaudit_core::Time::from_micros(last).to_string();
    let sql = format!("SELECT event_key, product FROM events WHERE {LOGINS}");
    let config = demo.path("c.toml");
    let asked =
        run(&["query", "--config", config.to_str().unwrap(), "--from", &from, "--to", &to, "--format", "json", &sql]);
    let answer = json(&asked);
    let happened = answer["rows"].as_array().unwrap();
    assert!(happened.len() > 30, "{}", err(&asked));
    for row in happened {
        assert!(once.contains(row["event_key"].as_str().unwrap()), "{row} was lost");
    }
}

#[test]
fn what_is_wrong_is_said_and_the_others_go_on() {
    let demo = Demo::started(13, 500, &["--live", "1s"]);
    let config = demo.changed("wrong.toml", |config| config.replacen("sps-1.password", "lms.token", 1));
    let mut watcher = command(&["watch", "--config", config.to_str().unwrap(), "outcome = 'failure'"]);
    let mut watcher = Watcher(watcher.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let said: Vec<String> =
        BufReader::new(watcher.0.stderr.take().unwrap()).lines().map_while(Result::ok).take(6).collect();
    let said = said.join("\n");
    assert!(said.contains("sps-1/sps.sessions") && said.contains("asked again in 60 s"), "{said}");
    assert!(said.contains("lms/audit.authentication can never show what is watched for"), "{said}");

    let config = demo.path("c.toml");
    let refused = |arguments: &[&str], words: &str| {
        let output = run(&[&["watch", "--config", config.to_str().unwrap()], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
        assert!(err(&output).contains(words), "{words}: {}", err(&output));
    };
    refused(&["user_name"], "is no condition");
    refused(&["nobody = 1"], "nobody");
    refused(&["--every", "0s"], "--every is at least 1s");
    refused(&["source = 'x'"], "no stream can show");
}
