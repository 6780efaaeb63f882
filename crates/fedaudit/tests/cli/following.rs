//! `fedaudit collect --every` and `--follow`: it goes on by itself, lets nobody else write meanwhile, and ends in good order.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Lines, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fedaudit_testkit::{DemoOptions, LogEntry, Settings};
use serde_json::Value;

use crate::{Demo, command, err, json, out, query, run};

/// A collector that goes on and on, ended for good when dropped.
struct Collector {
    child: Child,
    reports: Lines<BufReader<ChildStdout>>,
}

impl Collector {
    fn start(config: &Path, more: &[&str]) -> Self {
        let mut command = command(&[&["collect", "--config", config.to_str().unwrap(), "--json"], more].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let reports = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, reports }
    }

    /// What the next run came to.
    fn report(&mut self) -> Value {
        serde_json::from_str(&self.reports.next().unwrap().unwrap()).unwrap()
    }

    /// Asks it to end, and waits: how it ended, what it said, and how long that took.
    fn end(&mut self, signal: &str) -> (ExitStatus, String, Duration) {
        let asked = Instant::now();
        Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        let status = self.child.wait().unwrap();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (status, said, asked.elapsed())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn new_rows(report: &Value) -> u64 {
    let streams = report["streams"].as_array().unwrap().iter();
    streams
        .filter(|stream| !stream["stream"].as_str().unwrap().contains("sessions"))
        .map(|stream| stream["counts"]["new"].as_u64().unwrap())
        .sum()
}

fn with_store(demo: &Demo) -> (PathBuf, PathBuf) {
    let store = demo.path("store");
    (demo.changed("collect.toml", |text| format!("store = \"{}\"\n{text}", store.display())), store)
}

fn files_below(folder: &Path) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_type().unwrap().is_dir() {
            files += files_below(&entry.path());
        } else {
            files += 1;
        }
    }
    files
}

#[test]
fn it_goes_on_by_itself_and_alone() {
    let demo = Demo::started(61, 500, &["--live", "1s"]);
    let (config, store) = with_store(&demo);
    let file = config.to_str().unwrap();
    let mut collector = Collector::start(&config, &["--every", "1s"]);
    let first = new_rows(&collector.report());
    assert!(first > 100, "{first}");
    // Somebody else is told who is at work.
    let other = run(&["collect", "--config", file]);
    assert_eq!(other.status.code(), Some(1), "{}", out(&other));
    let who = format!("another collector is at work here (process {})", collector.child.id());
    assert!(err(&other).contains(&who) && err(&other).contains("hint: only one"), "{}", err(&other));
    // Whoever only reads may.
    assert_eq!(run(&["coverage", "--config", file]).status.code(), Some(0));

    let mut later = 0;
    for _ in 0..7 {
        let report = collector.report();
        assert_eq!(report["stopped"], false);
        later += new_rows(&report);
    }
    assert!(later >= 5, "what happens meanwhile is collected: {later} rows");
    let (status, said, took) = collector.end("-TERM");
    assert!(matches!(status.code(), Some(0 | 3)), "{status}: {said}");
    assert!(took < Duration::from_secs(20), "{took:?}");

    // It merged what it wrote: there was a file for each stream and run, and more in the ledger.
    let merged =
        fs::read_dir(store.join("coverage/_delta_log")).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
            path.extension().is_some_and(|ending| ending == "json")
                && fs::read_to_string(&path).unwrap().contains("\"remove\"")
        });
    assert!(merged, "{} files", files_below(&store.join("coverage")));

    // Nothing was lost, nothing stands twice: what a question finds up to then is what all runs together stored.
    let coverage = json(&run(&["coverage", "--config", file]));
    let mut sealed: BTreeMap<String, String> = BTreeMap::new();
    for stream in coverage["streams"].as_array().unwrap().iter().filter(|stream| stream["live_list"] != true) {
        let to = stream["covered"].as_array().unwrap().last().unwrap()["to"].as_str().unwrap().to_owned();
        sealed.insert(stream["stream"].as_str().unwrap().to_owned(), to);
    }
    let again = run(&["collect", "--config", file, "--json", "--again", "--to", sealed.values().min().unwrap()]);
    let report = json(&again);
    for stream in report["streams"].as_array().unwrap() {
        let name = stream["stream"].as_str().unwrap();
        assert!(name.contains("sessions") || stream["counts"]["new"] == 0, "{stream}");
    }
    let asked = query(&config, "SELECT count(*) AS n FROM events", &["--all-time", "--format", "json"]);
    assert!(json(&asked)["rows"][0]["n"].as_u64().unwrap() >= first + later, "{}", out(&asked));
}

#[test]
fn a_pause_has_a_length() {
    let demo = Demo::start(62, 200);
    let (config, _) = with_store(&demo);
    for (arguments, words) in
        [(&["--every", "0s"][..], "--every is at least 1s"), (&["--every", "soon"], "no span of time")]
    {
        let refused = run(&[&["collect", "--config", config.to_str().unwrap()], arguments].concat());
        assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
        assert!(err(&refused).contains(words), "{}", err(&refused));
    }
}

/// A store that never answers is no reason not to be heard.
#[test]
fn a_signal_is_heard_while_the_store_does_not_answer() {
    let demo = Demo::start(64, 200);
    let config = demo.changed("collect.toml", |text| format!("store = \"s3://audit/x\"\n{text}"));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = command(&["collect", "--config", config.to_str().unwrap()]);
    command.env("AWS_ENDPOINT", format!("http://{}", silent.local_addr().unwrap())).env("AWS_ALLOW_HTTP", "true");
    command.env("AWS_ACCESS_KEY_ID", "auditor").env("AWS_SECRET_ACCESS_KEY", "none").env("AWS_REGION", "us-east-1");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // It asks, and waits for the answer.
    let asked = silent.accept().unwrap();
    let began = Instant::now();
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("interrupted before anything was read") && began.elapsed() < Duration::from_secs(10),
        "{said}"
    );
    drop(asked);
}

fn count(entries: &[LogEntry], product: &str, words: &str) -> usize {
    entries.iter().filter(|entry| entry.product == product && entry.target.starts_with(words)).count()
}

/// A service manager ends it in the middle of a run: what was read is there, every login was given back, the next run goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_in_the_middle_stores_what_was_read_and_logs_out() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    let options = DemoOptions { latency: Duration::from_millis(120), ..DemoOptions::default() };
    let demo =
        fedaudit_testkit::Demo::start(Settings { events: 6000, ..Settings::new(63, now) }, options).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let made = demo.write_config(folder.path()).unwrap();
    let text = fs::read_to_string(&made).unwrap();
    let store = folder.path().join("store");
    let config = folder.path().join("collect.toml");
    fs::write(&config, format!("store = \"{}\"\n{text}", store.display())).unwrap();
    let to = fedaudit_core::Time::from_micros(now).to_string();
    let mut stored = 0;
    for signal in ["-TERM", "-HUP", "-INT"] {
        let mut collector = Collector::start(&config, &["--follow", "--to", &to]);
        let busy = |entries: &[LogEntry]| count(entries, "truenas", "audit.query") > 1;
        for _ in 0..1000 {
            if busy(&demo.log.entries()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (status, said, report) = tokio::task::spawn_blocking(move || {
            let (status, said, _) = collector.end(signal);
            (status, said, collector.report())
        })
        .await
        .unwrap();
        assert_eq!(status.code(), Some(3), "{signal}: {said}");
        assert!(said.contains("stopped before everything was read") && said.contains("goes on from there"), "{said}");
        assert_eq!(report["stopped"], true);
        stored += new_rows(&report);
        let entries = demo.log.take();
        assert!(busy(&entries), "{signal}");
        for (product, login, logout) in
            [("truenas", "auth.login_ex ", "auth.logout "), ("vsphere", "Login ", "Logout ")]
        {
            let logins = count(&entries, product, login);
            assert!(logins > 0, "{signal}: {product}");
            assert_eq!(logins, count(&entries, product, logout), "{signal}: {product}");
        }
        let of_sps = |method: &str| {
            let of = |entry: &&LogEntry| entry.target.starts_with("/api/authentication") && entry.method == method;
            entries.iter().filter(of).count()
        };
        assert_eq!(of_sps("GET"), of_sps("DELETE"), "{signal}");
    }
    // One that nobody disturbs stores the same.
    let undisturbed = folder.path().join("undisturbed.toml");
    fs::write(&undisturbed, format!("store = \"{}\"\n{text}", folder.path().join("other").display())).unwrap();
    let rest = tokio::task::spawn_blocking(move || {
        [config, undisturbed]
            .map(|config| run(&["collect", "--config", config.to_str().unwrap(), "--json", "--to", &to]))
    });
    let [rest, undisturbed] = rest.await.unwrap();
    assert!(matches!(rest.status.code(), Some(0)), "{}", err(&rest));
    let (stored, expected) = (stored + new_rows(&json(&rest)), new_rows(&json(&undisturbed)));
    println!("{stored} rows in four runs, of which three were ended; {expected} in one");
    assert_eq!(stored, expected);
}
