//! The default range: it stands in for a bound that is missing, and for nothing else.

use std::process::Output;

use crate::{Demo, command, err, json, query};

/// The windows that the streams of a source were asked for.
fn asked(answer: &Output) -> Vec<(String, serde_json::Value)> {
    assert!(matches!(answer.status.code(), Some(0 | 3)), "{}", err(answer));
    let receipt = &json(answer)["receipt"];
    let streams = receipt["streams"].as_array().unwrap().iter();
    streams.map(|stream| (stream["table"].as_str().unwrap().to_owned(), stream["asked"].clone())).collect()
}

fn seconds(time: &serde_json::Value) -> i64 {
    fedaudit_core::Time::parse(time.as_str().unwrap()).unwrap().time.seconds()
}

#[test]
fn a_question_with_its_own_bound_keeps_it() {
    let demo = Demo::start(21, 2000);
    let config = demo.changed("range.toml", |text| format!("default_range = \"1d\"\n{text}"));
    let ask = |sql: &str, more: &[&str]| query(&config, sql, &[&["--format", "json"], more].concat());
    let count = |answer: &Output| json(answer)["rows"][0]["n"].as_u64().unwrap();
    let bounded = ask("SELECT count(*) AS n FROM events WHERE time >= now() - interval '10 days'", &[]);
    let flagged = ask("SELECT count(*) AS n FROM events", &["--from", "-10d"]);
    let default = ask("SELECT count(*) AS n FROM events", &[]);
    assert!(count(&default) < count(&bounded), "the default cut off the question");
    assert_eq!(count(&bounded), count(&flagged));
    for answer in [&bounded, &flagged] {
        assert!(json(answer)["receipt"]["default_range"].is_null());
        assert!(
            asked(answer).iter().all(|(_, window)| { (seconds(&window["from"]) + 10 * 86_400 - now()).abs() < 600 })
        );
    }
    assert!(json(&default)["receipt"]["default_range"].as_str().unwrap().starts_with("events since "));
    assert!(err(&default).contains("range: events since "), "{}", err(&default));
    let all = ask("SELECT count(*) AS n FROM events", &["--all-time"]);
    assert!(count(&all) >= count(&bounded) && asked(&all).iter().all(|(_, window)| window["from"].is_null()));
}

#[test]
fn it_counts_back_from_the_end_of_the_question() {
    let demo = Demo::start(22, 1000);
    let config = demo.changed("range.toml", |text| format!("default_range = \"1d\"\n{text}"));
    let ask = |sql: &str, more: &[&str]| asked(&query(&config, sql, &[&["--format", "json"], more].concat()));
    let flag = ask("SELECT count(*) FROM events", &["--to", "2026-01-15"]);
    let sql = ask("SELECT count(*) FROM events WHERE time < '2026-01-15T00:00:00Z'", &[]);
    assert!(!flag.is_empty() && flag == sql);
    for (_, window) in flag {
        assert_eq!(window, serde_json::json!({ "from": "2026-01-14T00:00:00Z", "to": "2026-01-15T00:00:00Z" }));
    }
    // One that ends in the future counts back from now.
    for (_, window) in ask("SELECT count(*) FROM events", &["--to", "2200-01-01"]) {
        assert!((seconds(&window["from"]) + 86_400 - now()).abs() < 600, "{window}");
    }
    // Each scan for itself: only the sessions lack a bound here.
    let join = "SELECT count(*) FROM events e JOIN sessions s ON e.session_key = s.session_key \
                WHERE e.time >= now() - interval '3 days'";
    for (table, window) in ask(join, &[]) {
        let days = if table == "events" { 3 } else { 1 };
        assert!((seconds(&window["from"]) + days * 86_400 - now()).abs() < 600, "{table}: {window}");
    }
}

#[test]
fn a_variable_that_is_wrong_is_named() {
    let demo = Demo::start(23, 500);
    for (variable, value, words) in [
        ("FEDAUDIT_DEFAULT_RANGE", "7", "'7' is no span of time"),
        ("FEDAUDIT_DEFAULT_RANGE", "0d", "longer than nothing"),
        ("FEDAUDIT_PARTIAL", "maybe", "'maybe' is none of: fail, warn, allow"),
        ("FEDAUDIT_LOG", "fedaudit=loud", "fedaudit=loud"),
    ] {
        let config = demo.path("c.toml");
        let answer = command(&["query", "--config", config.to_str().unwrap(), "SELECT 1"])
            .env(variable, value)
            .output()
            .unwrap();
        assert_eq!(answer.status.code(), Some(2), "{variable}: {}", err(&answer));
        assert!(err(&answer).starts_with(&format!("error: {variable}: ")), "{}", err(&answer));
        assert!(err(&answer).contains(words) && !err(&answer).contains("c.toml"), "{}", err(&answer));
    }
    let config = demo.path("c.toml");
    let answer = command(&["query", "--config", config.to_str().unwrap(), "SELECT count(*) FROM events"])
        .env("FEDAUDIT_DEFAULT_RANGE", "2d")
        .output()
        .unwrap();
    assert!(err(&answer).contains("range: events since "), "{}", err(&answer));
}

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64
}
