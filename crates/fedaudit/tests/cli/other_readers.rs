//! Other engines read the store: DuckDB finds in it, row by row, what a question to the products finds.

use std::process::Command;

use serde_json::json;

use crate::object_store::python;
use crate::{Demo, err, json, out, query, run};

#[test]
fn duckdb_finds_what_a_question_finds() {
    let Some(python) = python() else { return };
    let demo = Demo::start(71, 2000);
    let store = demo.path("store");
    let config = demo.changed("collect.toml", |text| format!("store = \"{}\"\n{text}", store.display()));
    let file = config.to_str().unwrap();
    let truth: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(demo.path("t.json")).unwrap()).unwrap();
    let (from, to) = (truth["from"].as_str().unwrap(), truth["to"].as_str().unwrap());
    // Day by day, the last days again and again, so that there are many files and some of them are merged.
    let begin = fedaudit_core::Time::parse(from).unwrap().time;
    let end = fedaudit_core::Time::parse(to).unwrap().time;
    for part in 1..=8 {
        let until = fedaudit_core::Time::from_micros(begin.micros() + (end.micros() - begin.micros()) / 8 * part);
        let until = if part == 8 { end } else { until };
        let collected = run(&["collect", "--config", file, "--from", from, "--to", &until.to_string()]);
        assert_eq!(collected.status.code(), Some(0), "{}", err(&collected));
    }
    let answer = demo.path("answer.parquet");
    let live = ["--live", "--from", from, "--to", to, "--format", "parquet", "--output", answer.to_str().unwrap()];
    let asked = query(&config, "SELECT * FROM events", &live);
    assert_eq!(asked.status.code(), Some(0), "{}", err(&asked));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/other_readers.py");
    let read = Command::new(python).args([script, store.to_str().unwrap(), answer.to_str().unwrap()]).output().unwrap();
    assert!(read.status.success(), "{}", err(&read));
    let found = json(&read);
    println!("{}", out(&read).trim());
    let rows = found["answered"].as_u64().unwrap();
    assert!(rows > 1000, "{found}");
    for way in ["plain", "delta"] {
        assert_eq!(found[way], json!({"rows": rows, "groups_differ": 0, "rows_differ": 0}), "{way}: {found}");
    }
    assert_eq!((&found["new_in_ledger"], &found["unknown_fetches"]), (&json!(rows), &json!(0)), "{found}");
    assert_eq!(found["tables"].as_array().unwrap().len(), 6, "{found}");
    // Delta tells files that were merged into others from those that hold the rows now.
    assert!(found["files"].as_u64() > found["files_of_delta"].as_u64(), "{found}");
}
