//! A store in an object store: the program against a server that speaks S3 (moto), over the wire.
#![cfg(unix)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Demo, command, err, json, out};

/// Names a Python that has `duckdb`, `deltalake` and `moto[server]`.
const PYTHON: &str = "FEDAUDIT_STORE_PYTHON";

/// That Python. Without it a test is skipped, but not in CI.
pub(crate) fn python() -> Option<String> {
    let python = std::env::var(PYTHON).ok();
    assert!(python.is_some() || std::env::var("CI").as_deref() != Ok("true"), "{PYTHON} is not set, and this is CI");
    if python.is_none() {
        println!("skipped: {PYTHON} names no Python with duckdb, deltalake and moto");
    }
    python
}

const BUCKET: &str = "audit";

/// A server with one bucket, ended when dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(python: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, port };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_mins(1), "the server does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn make_bucket(&self) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "PUT /{BUCKET} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Scene {
    demo: Demo,
    server: Server,
    config: PathBuf,
}

const SECRET: &str = "not-a-real-key-of-anybody";

impl Scene {
    fn start(python: &str, seed: u64, more: &[&str]) -> Self {
        let server = Server::start(python);
        let demo = Demo::started(seed, 600, more);
        let config = demo.changed("collect.toml", |text| format!("store = \"s3://{BUCKET}/deep/fedaudit\"\n{text}"));
        Self { demo, server, config }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let (name, rest) = arguments.split_first().unwrap();
        let mut command = command(&[&[*name, "--config", self.config.to_str().unwrap()], rest].concat());
        for (name, value) in [
            ("AWS_ACCESS_KEY_ID", "auditor"),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_ENDPOINT", &format!("http://127.0.0.1:{}", self.server.port)),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
        ] {
            command.env(name, value);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        assert!(!out(&output).contains(SECRET) && !err(&output).contains(SECRET));
        output
    }

    /// New rows of events that a run stored.
    fn collected(&self, more: &[&str]) -> u64 {
        let output = self.run(&[&["collect", "--json"], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        new_rows(&json(&output))
    }

    fn asked(&self) -> u64 {
        let sql = "SELECT count(*) AS n, count(DISTINCT event_key) AS k FROM events";
        let output = self.run(&["query", "--from", "-20d", "--to", &self.to(), "--format", "json", sql]);
        let row = &json(&output)["rows"][0];
        assert_eq!(row["n"], row["k"]);
        row["n"].as_u64().unwrap()
    }

    /// Nothing is recorded after this.
    fn to(&self) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64;
        fedaudit_core::Time::from_micros(now).to_string()
    }
}

fn new_rows(report: &Value) -> u64 {
    let streams = report["streams"].as_array().unwrap().iter();
    streams
        .filter(|stream| !stream["stream"].as_str().unwrap().contains("sessions"))
        .map(|stream| stream["counts"]["new"].as_u64().unwrap())
        .sum()
}

#[test]
fn a_bucket_holds_a_store() {
    let Some(python) = python() else { return };
    let scene = Scene::start(&python, 81, &[]);
    let refused = scene.run(&["collect"]);
    assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
    let said = err(&refused);
    assert!(said.contains("s3://audit/deep/fedaudit/") && said.contains("hint: make the bucket first"), "{said}");
    scene.server.make_bucket();

    // Killed while the store is made and filled: the next one goes on.
    let mut killed = 0;
    for patience in [900, 2500, 4500, 6500] {
        let mut child = scene.command(&["collect"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(patience));
        killed += u64::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let rest = scene.collected(&[]);
    assert_eq!(scene.collected(&[]), 0, "a second run adds nothing");
    assert_eq!(scene.collected(&["--again"]), 0, "all of it is known");

    let other = Scene {
        config: scene
            .demo
            .changed("other.toml", |text| format!("store = \"{}\"\n{text}", scene.demo.path("folder").display())),
        ..scene
    };
    let in_folder = other.collected(&[]);
    let scene = Scene { config: other.demo.path("collect.toml"), ..other };
    // The ledger counts what four killed runs and a whole one stored: as much as one run into a folder.
    let again = scene.run(&["collect", "--json", "--again"]);
    let report = json(&again);
    let known: u64 = report["streams"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|stream| !stream["stream"].as_str().unwrap().contains("sessions"))
        .map(|stream| stream["counts"]["duplicate"].as_u64().unwrap())
        .sum();
    println!("{killed} kills, {rest} rows were left for the last run, {known} are stored, {in_folder} in a folder");
    assert_eq!(known, in_folder);

    let coverage = scene.run(&["coverage"]);
    assert_eq!(coverage.status.code(), Some(0), "{}", err(&coverage));
    let streams = json(&coverage);
    let sealed = |stream: &Value| stream["live_list"] == true || stream["covered"] != serde_json::json!([]);
    assert!(streams["streams"].as_array().unwrap().iter().all(sealed), "{streams}");
    assert!(scene.asked() > 100);
}

#[test]
fn of_two_collectors_into_one_bucket_the_slower_one_stops() {
    let Some(python) = python() else { return };
    let scene = Scene::start(&python, 82, &["--live", "1s"]);
    scene.server.make_bucket();
    assert!(scene.collected(&[]) > 100);
    // Both go on until one finds that the other was quicker. It may be either, and it must be one.
    let mut both: Vec<Child> = (0..2)
        .map(|_| {
            let mut command = scene.command(&["collect", "--every", "1s", "--json"]);
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let began = Instant::now();
    let ended = loop {
        if let Some(ended) = both.iter_mut().position(|child| child.try_wait().unwrap().is_some()) {
            break ended;
        }
        assert!(began.elapsed() < Duration::from_mins(2), "two collectors write to one store");
        std::thread::sleep(Duration::from_millis(50));
    };
    let slower = both.remove(ended).wait_with_output().unwrap();
    let said = err(&slower);
    assert_eq!(slower.status.code(), Some(1), "{said}");
    assert!(
        said.contains("another collector wrote to this store meanwhile") && said.contains("hint: only one"),
        "{said}"
    );
    let mut other = both.remove(0);
    Command::new("kill").args(["-TERM", &other.id().to_string()]).status().unwrap();
    other.wait().unwrap();
    // Whoever comes next finds everything, each row once.
    scene.run(&["collect"]);
    let again = scene.run(&["collect", "--json", "--again"]);
    assert_eq!(again.status.code(), Some(0), "{}", err(&again));
    assert!(scene.asked() > 100);
}
