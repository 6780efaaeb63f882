//! The program from outside: what a person or a script sees. One demo per test, on ports of its own.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests may panic")]

mod collecting;
mod collecting_faults;
mod files;
mod following;
mod manners;
#[cfg(unix)]
mod object_store;
#[cfg(unix)]
mod other_readers;
mod plugins;
mod questions;
mod range;
mod scaffold;
mod watch;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

const FEDAUDIT: &str = env!("CARGO_BIN_EXE_fedaudit");

/// A running `fedaudit demo --hold`, ended when dropped.
struct Demo {
    child: Child,
    folder: TempDir,
}

impl Demo {
    fn start(seed: u64, events: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let truth = folder.path().join("t.json");
        Self::in_folder(folder, seed, events, &["--truth", truth.to_str().unwrap()])
    }

    /// One with further arguments.
    fn started(seed: u64, events: usize, more: &[&str]) -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), seed, events, more)
    }

    fn in_folder(folder: TempDir, seed: u64, events: usize, more: &[&str]) -> Self {
        let mut child = Command::new(FEDAUDIT)
            .args(["demo", "--hold", "--seed", &seed.to_string(), "--events", &events.to_string()])
            .args(more)
            .arg("--config-out")
            .arg(folder.path().join("c.toml"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains("go on answering"));
        assert!(ready, "the demo ended instead of holding");
        // Somebody has to read on, or the demo blocks on its own words.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { child, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> String {
        fs::read_to_string(self.path("c.toml")).unwrap()
    }

    /// A configuration of its own, made from the demo's.
    fn changed(&self, name: &str, change: impl Fn(&str) -> String) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, change(&self.config())).unwrap();
        path
    }

    fn query(&self, sql: &str, more: &[&str]) -> Output {
        query(&self.path("c.toml"), sql, more)
    }

    /// Ends the products; their configuration stays.
    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The files of its secrets, as its configuration names them.
    fn secret_files(&self) -> Vec<PathBuf> {
        let config = self.config();
        let files = config.lines().filter_map(|line| line.split("\"file:").nth(1)?.split('"').next());
        files.map(PathBuf::from).collect()
    }

    /// The secrets of the demo.
    fn secrets(&self) -> Vec<String> {
        self.secret_files().iter().map(|file| fs::read_to_string(file).unwrap().trim().to_owned()).collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.end();
    }
}

fn query(config: &Path, sql: &str, more: &[&str]) -> Output {
    run(&[&["query", "--config", config.to_str().unwrap(), sql], more].concat())
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// The program without what the environment says.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(FEDAUDIT);
    let variables = ["FEDAUDIT_CONFIG", "FEDAUDIT_DEFAULT_RANGE", "FEDAUDIT_PARTIAL", "FEDAUDIT_STORE", "FEDAUDIT_LOG"];
    for variable in variables {
        command.env_remove(variable);
    }
    command.args(arguments);
    command
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}\n{}\n{}", out(output), err(output)))
}

/// Status of a source's streams in a receipt.
fn statuses<'r>(receipt: &'r serde_json::Value, source: &str) -> Vec<&'r str> {
    let streams = receipt["streams"].as_array().unwrap();
    streams
        .iter()
        .filter(|stream| stream["source"] == source)
        .map(|stream| stream["status"].as_str().unwrap())
        .collect()
}

const ALL_EVENTS: &str = "SELECT product, action, outcome, user_name, date_trunc('hour', time) AS hour, count(*) AS n \
                          FROM events GROUP BY product, action, outcome, user_name, date_trunc('hour', time)";
const ALL_SESSIONS: &str = "SELECT product, session_id, user_name, start_time, end_time, state FROM sessions";

/// The answer of the program equals the truth as a script of another language computes it from the truth file.
fn equals_truth(seed: u64) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/truth.py");
    if Command::new("python3").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "python3 is missing");
        eprintln!("SKIPPED: python3 is missing, the answers are not compared with the truth");
        return;
    }
    let demo = Demo::start(seed, 5000);
    let truth: serde_json::Value = serde_json::from_str(&fs::read_to_string(demo.path("t.json")).unwrap()).unwrap();
    let window = ["--format", "json", "--from", truth["from"].as_str().unwrap(), "--to", truth["to"].as_str().unwrap()];
    for (name, sql) in [("events.json", ALL_EVENTS), ("sessions.json", ALL_SESSIONS)] {
        let answer = demo.query(sql, &window);
        assert_eq!(answer.status.code(), Some(0), "{}", err(&answer));
        assert_eq!(json(&answer)["receipt"]["complete"], true);
        fs::write(demo.path(name), answer.stdout).unwrap();
    }
    let compared = Command::new("python3")
        .arg(script)
        .args([
            demo.path("t.json").as_path(),
            Path::new("compare"),
            &demo.path("events.json"),
            &demo.path("sessions.json"),
        ])
        .output()
        .unwrap();
    assert!(compared.status.success(), "seed {seed}:\n{}{}", out(&compared), err(&compared));
}

#[test]
fn the_answer_is_the_truth_of_seed_7() {
    equals_truth(7);
}

#[test]
fn the_answer_is_the_truth_of_seed_8() {
    equals_truth(8);
}

#[test]
fn the_answer_is_the_truth_of_seed_2026() {
    equals_truth(2026);
}

#[test]
fn what_is_missing_is_said_and_the_rest_answers() {
    let demo = Demo::start(3, 2000);
    fs::write(demo.path("wrong"), "not-the-one").unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("https://{}", nobody.local_addr().unwrap());
    drop(nobody);
    // One section per source, in the order of the demo's configuration.
    let config = demo.changed("broken.toml", |text| {
        let sections: Vec<&str> = text.split("[[source]]").collect();
        let wrong = |section: &str, key: &str| {
            let lines = section
                .lines()
                .map(|line| if line.starts_with(key) { format!("{key} = \"file:wrong\"") } else { line.to_owned() });
            lines.collect::<Vec<_>>().join("\n") + "\n"
        };
        let moved = |section: &str| {
            let lines = section
                .lines()
                .map(|line| if line.starts_with("url") { format!("url = \"{closed}\"") } else { line.to_owned() });
            lines.collect::<Vec<_>>().join("\n") + "\n"
        };
        [
            sections[0].to_owned(),
            moved(sections[1]),
            sections[2].to_owned(),
            wrong(sections[3], "password"),
            wrong(sections[4], "token"),
        ]
        .join("[[source]]")
    });
    let sql = "SELECT source, count(*) AS n FROM events GROUP BY source";
    let ask = |more: &[&str]| query(&config, sql, &[&["--from", "-30d", "--format", "json"], more].concat());
    let answer = ask(&[]);
    assert_eq!(answer.status.code(), Some(3), "{}", err(&answer));
    let answer = json(&answer);
    let rows = answer["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["source"], "vc-1");
    assert!(rows[0]["n"].as_u64().unwrap() > 0);
    let receipt = &answer["receipt"];
    assert_eq!(receipt["complete"], false);
    for (source, status) in [("nas-1", "failed"), ("vc-1", "complete"), ("sps-1", "denied"), ("lms", "denied")] {
        let found = statuses(receipt, source);
        assert!(!found.is_empty() && found.iter().all(|known| *known == status), "{source}: {found:?}");
    }
    for stream in receipt["streams"].as_array().unwrap() {
        assert_eq!(stream["error"].is_null(), stream["source"] == "vc-1", "{stream}");
    }
    assert_eq!(ask(&["--partial", "fail"]).status.code(), Some(1));
    assert_eq!(ask(&["--partial", "allow"]).status.code(), Some(0));
    let only_broken = "SELECT count(*) FROM events WHERE source <> 'vc-1'";
    let all_down = query(&config, only_broken, &["--from", "-30d", "--partial", "allow"]);
    assert_eq!(all_down.status.code(), Some(1), "{}", err(&all_down));
}

#[test]
fn secrets_appear_nowhere() {
    let demo = Demo::start(4, 1000);
    let secrets = demo.secrets();
    assert_eq!(secrets.len(), 4);
    let config = demo.path("c.toml");
    let config = config.to_str().unwrap();
    let receipt = demo.path("receipt.json");
    let mut said = String::new();
    let mut hear = |arguments: &[&str]| {
        let output = run(arguments);
        said += &out(&output);
        said += &err(&output);
    };
    hear(&[
        "-vv",
        "query",
        "--config",
        config,
        "--from",
        "-30d",
        "--receipt",
        receipt.to_str().unwrap(),
        "SELECT * FROM events",
    ]);
    hear(&["-vv", "query", "--config", config, "--from", "-30d", "SELECT * FROM sessions"]);
    hear(&["-vv", "query", "--config", config, "--from", "-30d", "--explain", "SELECT * FROM events"]);
    hear(&["-vv", "sources", "check", "--config", config]);
    hear(&["-vv", "sources", "info", "nas-1", "--config", config]);
    // The secret itself where a reference belongs, and a secret that the product refuses.
    for (index, secret) in secrets.iter().enumerate() {
        let broken = demo.changed(&format!("inline-{index}.toml"), |text| {
            let file = text.split("\"file:").nth(index + 1).unwrap().split('"').next().unwrap().to_owned();
            text.replace(&format!("\"file:{file}\""), &format!("\"{secret}\""))
        });
        hear(&["-vv", "query", "--config", broken.to_str().unwrap(), "--from", "-1d", "SELECT 1 FROM events"]);
    }
    let swapped = demo.changed("swapped.toml", |text| {
        text.replace("nas-1.key", "lms.token").replace("sps-1.password", "vc-1.password")
    });
    hear(&[
        "-vv",
        "query",
        "--config",
        swapped.to_str().unwrap(),
        "--from",
        "-30d",
        "--format",
        "json",
        "SELECT count(*) FROM events",
    ]);
    said += &fs::read_to_string(receipt).unwrap();
    for secret in &secrets {
        assert!(!said.contains(secret.as_str()), "a secret was shown");
    }
    assert!(said.contains("sps-1"));
}

#[test]
fn every_format_holds_the_same_rows() {
    let demo = Demo::start(5, 1000);
    let sql = "SELECT time, source, action, user_name, quality_flags, raw FROM events WHERE source = 'lms' ORDER BY time, raw";
    let window = ["--from", "-30d"];
    let ask = |format: &str| demo.query(sql, &[&window[..], &["--format", format]].concat());
    let rows = json(&ask("json"))["rows"].as_array().unwrap().clone();
    assert!(rows.len() > 10);
    let lines: Vec<serde_json::Value> =
        out(&ask("ndjson")).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, rows);
    let csv = out(&ask("csv"));
    assert!(csv.starts_with("time,source,action,user_name,quality_flags,raw\n"));
    assert!(out(&ask("table")).lines().count() >= rows.len());
    let parquet = ask("parquet").stdout;
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    let arrow = arrow::ipc::reader::StreamReader::try_new(std::io::Cursor::new(ask("arrow").stdout), None).unwrap();
    assert_eq!(arrow.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), rows.len());
    // No rows are still a document.
    let none = "SELECT * FROM events WHERE source = 'lms' AND user_name = 'nobody'";
    let none = demo.query(none, &["--from", "-1d", "--format", "json"]);
    assert_eq!(json(&none)["rows"].as_array().unwrap().len(), 0);
}

#[test]
fn bad_input_names_the_place_and_gives_a_hint() {
    let demo = Demo::start(6, 500);
    let cases: &[(&str, &str, &[&str], &[&str])] = &[
        ("SELECT * FROM events", "no time bound", &[], &["no lower bound in time", "--all-time"]),
        ("SELECT nothing FROM events", "unknown column", &["--from", "-1d"], &["nothing", "fedaudit schema"]),
        ("SELECT * FROM nowhere", "unknown table", &["--from", "-1d"], &["nowhere"]),
        (
            "SELECT * FROM events WHERE source = 'nas-9'",
            "unknown source",
            &["--from", "-1d"],
            &["nas-9", "configured: lms, nas-1"],
        ),
        ("SELEKT 1", "no SQL", &["--from", "-1d"], &["SELEKT"]),
        ("DROP TABLE events", "no question", &["--from", "-1d"], &["DDL"]),
        (
            "SELECT * FROM events WHERE ip_in(src_ip, '10.0.0.0/33')",
            "bad range",
            &["--from", "-1d"],
            &["10.0.0.0/33", "10.0.0.0/8"],
        ),
        ("SELECT * FROM events WHERE outcome = 'failed'", "no such word", &["--from", "-1d"], &["failed", "failure"]),
        (
            "SELECT * FROM events WHERE time > timestamp '9999-12-31T00:00:00Z'",
            "too late a time",
            &["--from", "-1d"],
            &["9999-12-31", "2262"],
        ),
        (
            "SELECT * FROM events WHERE time < '9999-12-31T00:00:00Z'",
            "too late a time as a text",
            &["--from", "-1d"],
            &["9999-12-31", "hint: times in SQL reach from 1677 to 2262"],
        ),
        ("COPY events TO '/tmp/x'", "writing", &["--from", "-1d"], &["ask one question"]),
        ("", "nothing", &["--from", "-1d"], &["ask one question"]),
        ("SET x = 1", "setting", &["--from", "-1d"], &["ask one question"]),
        ("SELECT 1; SELECT 2", "two questions", &["--from", "-1d"], &["single SQL statement", "ask one question"]),
        ("SELECT 1", "before times", &["--from", "1969-01-01"], &["--from", "1969-01-01", "1970-01-01 to 2262"]),
        ("SELECT 1", "after times", &["--to", "9999-01-01"], &["--to", "9999-01-01", "1970-01-01 to 2262"]),
        ("SELECT 1", "too long ago", &["--from", "-999999999w"], &["--from", "999999999w"]),
        ("SELECT 1", "bad time", &["--from", "tomorrow"], &["--from", "tomorrow"]),
        ("SELECT 1", "reversed", &["--from", "now", "--to", "-1d"], &["--from is not before --to"]),
    ];
    for (sql, what, more, expected) in cases {
        let answer = demo.query(sql, more);
        assert_eq!(answer.status.code(), Some(2), "{what}: {}", err(&answer));
        for words in *expected {
            assert!(err(&answer).contains(words), "{what}: {}", err(&answer));
        }
        assert!(out(&answer).is_empty(), "{what}: {}", out(&answer));
    }
    for (from, to, expected) in [
        ("username =", "usrname =", &["source 'nas-1'", "usrname", "did you mean 'username'?"][..]),
        ("type = \"sps\"", "type = \"spss\"", &["source 'sps-1'", "spss", "known types"]),
        ("[[source]]", "[[sources]]", &["sources", "did you mean 'source'?"]),
        ("https://127", "ftp://127", &["source 'nas-1'", "neither https nor http"]),
        ("name = \"vc-1\"", "name = \"nas-1\"", &["two sources are named 'nas-1'"]),
        ("https://127.0.0.1", "https://127.0.0.1/?key=hush&x=", &["source 'nas-1'", "?***", "a path or a query"]),
    ] {
        let config = demo.changed("wrong.toml", |text| text.replace(from, to));
        let answer = query(&config, "SELECT 1", &[]);
        assert_eq!(answer.status.code(), Some(2), "{to}: {}", err(&answer));
        for words in expected {
            assert!(err(&answer).contains(words), "{to}: {}", err(&answer));
        }
    }
    // A secret without its quotes, and one at the wrong place, are not repeated.
    for (from, to) in [
        ("username = \"auditor\"", "username = forgotten-quotes"),
        ("type = \"sps\"", "type = \"sps\"\npartial = \"hush-hush\""),
        ("https://127.0.0.1", "https://127.0.0.1/?key=hush-hush&x="),
    ] {
        let config = demo.changed("wrong.toml", |text| text.replace(from, to));
        let answer = query(&config, "SELECT 1", &[]);
        assert_eq!(answer.status.code(), Some(2), "{}", err(&answer));
        assert!(!err(&answer).contains("forgotten-quotes") && !err(&answer).contains("hush-hush"), "{}", err(&answer));
    }
    for (line, expected) in [
        ("page_timeout = \"0s\"", &["page_timeout", "longer than nothing"][..]),
        ("default_range = \"99999999999w\"", &["default_range", "99999999999w", "a hundred years"]),
        ("look_back = \"7\"", &["look_back", "'7' is no span", "30d"]),
    ] {
        let config = demo.changed("wrong.toml", |text| format!("{line}\n{text}"));
        let answer = query(&config, "SELECT 1", &[]);
        assert_eq!(answer.status.code(), Some(2), "{line}: {}", err(&answer));
        for words in expected.iter().chain(&["wrong.toml"]) {
            assert!(err(&answer).contains(words), "{line}: {}", err(&answer));
        }
    }
    // A missing secret, a missing CA file and an untrusted certificate are those sources' own trouble.
    let config = demo.changed("nosecret.toml", |text| text.replacen("nas-1.key", "gone.key", 1));
    let answer = query(&config, "SELECT count(*) FROM events", &["--from", "-30d"]);
    assert_eq!(answer.status.code(), Some(3), "{}", err(&answer));
    assert!(err(&answer).contains("gone.key"), "{}", err(&answer));
    let config = demo.changed("noca.toml", |text| text.replacen("ca.pem", "gone.pem", 1));
    let answer = query(&config, "SELECT count(*) FROM events", &["--from", "-30d"]);
    assert_eq!(answer.status.code(), Some(3), "{}", err(&answer));
    assert!(err(&answer).contains("ca_file") && err(&answer).contains("gone.pem"), "{}", err(&answer));
    let config = demo.changed("untrusted.toml", |text| {
        text.lines().filter(|line| !line.starts_with("tls")).collect::<Vec<_>>().join("\n")
    });
    let answer = query(&config, "SELECT count(*) FROM events", &["--from", "-30d"]);
    assert_eq!(answer.status.code(), Some(1), "{}", err(&answer));
    assert!(err(&answer).contains("not trusted") && err(&answer).contains("ca_file"), "{}", err(&answer));
}

#[test]
fn a_reader_may_go_away_and_files_are_kept() {
    let demo = Demo::start(12, 3000);
    let config = demo.path("c.toml");
    for format in ["csv", "ndjson", "json", "table"] {
        let mut child = Command::new(FEDAUDIT)
            .args([
                "query",
                "--config",
                config.to_str().unwrap(),
                "--from",
                "-30d",
                "--format",
                format,
                "SELECT * FROM events",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{format}: {}", err(&ended));
        assert!(!err(&ended).contains("panicked"));
    }
    let kept = demo.path("kept.csv");
    fs::write(&kept, "what was there").unwrap();
    let wrong = demo.query("SELECT nothing FROM events", &["--from", "-1d", "--output", kept.to_str().unwrap()]);
    assert_eq!(wrong.status.code(), Some(2));
    assert_eq!(fs::read_to_string(&kept).unwrap(), "what was there");
}

#[test]
fn the_sample_configuration_is_true() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/fedaudit.toml");
    let listed = run(&["sources", "list", "--config", sample.to_str().unwrap()]);
    assert_eq!(listed.status.code(), Some(0), "{}", err(&listed));
    for name in ["nas-1", "vc-1", "sps-1", "lms"] {
        assert!(out(&listed).contains(name));
        let info = run(&["sources", "info", name, "--config", sample.to_str().unwrap()]);
        assert_eq!(info.status.code(), Some(0), "{}", err(&info));
        assert!(out(&info).contains("lateness"));
    }
}

#[test]
fn sources_are_checked() {
    let demo = Demo::start(9, 500);
    let config = demo.path("c.toml");
    let config = config.to_str().unwrap();
    let check = run(&["sources", "check", "--config", config]);
    assert_eq!(check.status.code(), Some(0), "{}{}", out(&check), err(&check));
    assert_eq!(out(&check).matches(": ok").count(), 4, "{}", out(&check));
    let unknown = run(&["sources", "check", "nas-9", "--config", config]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(err(&unknown).contains("configured: nas-1"));
}

#[test]
fn the_schema_comes_from_the_columns() {
    let schema = out(&run(&["schema"]));
    for table in [&fedaudit_core::rows::EVENTS, &fedaudit_core::rows::SESSIONS] {
        for column in table.columns {
            assert!(schema.contains(column.name) && schema.contains(column.meaning), "{}", column.name);
        }
    }
    assert_eq!(run(&["schema", "nothing"]).status.code(), Some(2));
    assert!(out(&run(&["completions", "bash"])).contains("fedaudit"));
    assert_eq!(run(&["query"]).status.code(), Some(2));
}

#[test]
fn a_plan_says_who_is_asked_what() {
    let demo = Demo::start(10, 500);
    let sql = "SELECT * FROM events WHERE action = 'auth.login' AND user_agent IS NOT NULL";
    let plan = out(&demo.query(sql, &["--from", "-7d", "--explain", "--format", "table"]));
    for words in
        ["nas-1/audit.MIDDLEWARE", "vc-1/vim.events", "lms/audit.authentication", "window=[", "pushed=[", "local=["]
    {
        assert!(plan.contains(words), "{plan}");
    }
    assert!(plan.contains("action = 'auth.login'"), "{plan}");
}

/// A service manager, a closing terminal, Ctrl-C: each ends the question, and every login is given back first.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn every_signal_logs_out_first() {
    use fedaudit_testkit::{Demo, DemoOptions, Settings};
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64;
    let options = DemoOptions { latency: std::time::Duration::from_millis(150), ..DemoOptions::default() };
    let demo = Demo::start(Settings { events: 20_000, ..Settings::new(13, now) }, options).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = demo.write_config(folder.path()).unwrap();
    let count = |entries: &[fedaudit_testkit::LogEntry], product: &str, words: &str| {
        entries.iter().filter(|entry| entry.product == product && entry.target.starts_with(words)).count()
    };
    for signal in ["-TERM", "-HUP", "-INT"] {
        let child = Command::new(FEDAUDIT)
            .args(["query", "--config", config.to_str().unwrap(), "--from", "-30d", "SELECT * FROM events"])
            .args(["--format", "csv", "--output", folder.path().join("rows.csv").to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // In the middle of it: every product has been logged in to and asked for data.
        let busy = |entries: &[fedaudit_testkit::LogEntry]| {
            count(entries, "truenas", "audit.query") > 0 && count(entries, "vsphere", "ReadNextEvents") > 0
        };
        for _ in 0..600 {
            if busy(&demo.log.entries()) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        let ended = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap();
        assert_eq!(ended.status.code(), Some(1), "{signal}: {}", err(&ended));
        assert!(err(&ended).contains("interrupted"), "{signal}: {}", err(&ended));
        let left = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(!left.into_iter().any(|name| name.to_string_lossy().contains("rows.csv")), "{signal}");
        let entries = demo.log.take();
        assert!(busy(&entries), "{signal}: {entries:#?}");
        for (product, login, logout) in
            [("truenas", "auth.login_ex ", "auth.logout "), ("vsphere", "Login ", "Logout ")]
        {
            assert_eq!(count(&entries, product, login), 1, "{signal}: {product}");
            assert_eq!(count(&entries, product, logout), 1, "{signal}: {product}");
        }
        let of_sps = |method: &str| {
            entries
                .iter()
                .filter(|entry| entry.target.starts_with("/api/authentication") && entry.method == method)
                .count()
        };
        assert_eq!(of_sps("GET"), of_sps("DELETE"), "{signal}");
    }
}
