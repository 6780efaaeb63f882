//! The ways to put a question, and what comes back for unusual ones.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use crate::{Demo, command, err, json, out};

#[test]
fn a_question_may_begin_with_a_comment_and_come_from_anywhere() {
    let demo = Demo::start(51, 500);
    let sql = "-- how many\nSELECT count(*) AS n FROM events -- all of them\n";
    let file = demo.path("q.sql");
    fs::write(&file, sql).unwrap();
    let config = demo.path("c.toml");
    let ask = |more: &[&str]| {
        let window = ["query", "--config", config.to_str().unwrap(), "--from", "-30d", "--format", "csv"];
        let mut command = command(&[&window[..], more].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // One that reads no stdin may be gone already.
        let _ = child.stdin.take().unwrap().write_all(sql.as_bytes());
        let answer = child.wait_with_output().unwrap();
        assert_eq!(answer.status.code(), Some(0), "{more:?}: {}", err(&answer));
        out(&answer)
    };
    let answer = ask(&[sql]);
    assert!(answer.starts_with("n\n"), "{answer}");
    for more in [
        &["--", sql][..],
        &["--file", file.to_str().unwrap()],
        &["--file", "-"],
        &["-"],
        &["--how-many\nSELECT count(*) AS n FROM events"],
    ] {
        assert_eq!(ask(more), answer, "{more:?}");
    }
    // What is no comment is still an option that does not exist.
    let wrong = demo.query("SELECT 1", &["--form", "-1d"]);
    assert!(wrong.status.code() == Some(2) && err(&wrong).contains("--from"), "{}", err(&wrong));
    assert_eq!(demo.query("SELECT 1", &["--file", "q.sql"]).status.code(), Some(2));
}

#[test]
fn two_columns_of_one_name_stay_two() {
    let demo = Demo::start(52, 500);
    let sql = "SELECT a.source, b.product, b.source FROM sources a JOIN sources b ON a.source = b.source \
               WHERE a.source = 'lms'";
    let rows = json(&demo.query(sql, &["--format", "json"]));
    assert_eq!(rows["rows"], serde_json::json!([{ "source": "lms", "product": "canvas", "source:1": "lms" }]));
    assert!(out(&demo.query(sql, &["--format", "csv"])).starts_with("source,product,source:1\n"));
    for format in ["ndjson", "table"] {
        assert!(out(&demo.query(sql, &["--format", format])).contains("source:1"));
    }
    for format in ["parquet", "arrow"] {
        let answer = demo.query(sql, &["--format", format]);
        assert_eq!(answer.status.code(), Some(0), "{}", err(&answer));
    }
}

#[test]
fn a_plan_with_figures_has_a_receipt() {
    let demo = Demo::start(53, 500);
    let count = "SELECT count(*) FROM events";
    let plan = demo.query(&format!("EXPLAIN {count}"), &["--from", "-30d"]);
    assert!(plan.status.success() && !err(&plan).contains("receipt:"), "{}", err(&plan));
    let figures = demo.query(&format!("/* really */ EXPLAIN ANALYZE {count}"), &["--from", "-30d"]);
    assert!(figures.status.success() && err(&figures).contains("receipt: complete"), "{}", err(&figures));
    assert!(out(&figures).contains("output_rows"), "{}", out(&figures));
}
