//! Files of an answer: what stands there is replaced by a whole answer, and a receipt never outlives its question.

use std::fs;
use std::path::Path;

use crate::{Demo, command, err, query};

/// A value that only some rows do not fit: the answer fails after it has begun.
const FAILING: &str = "SELECT time, CAST(user_name AS BIGINT) AS number FROM events";

fn read(path: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_question_that_fails_spoils_nothing() {
    let demo = Demo::start(31, 1000);
    let folder = tempfile::tempdir().unwrap();
    let (rows, receipt) = (folder.path().join("rows.csv"), folder.path().join("receipt.json"));
    let ask = |sql: &str| {
        let files = ["--output", rows.to_str().unwrap(), "--receipt", receipt.to_str().unwrap()];
        demo.query(sql, &[&["--from", "-30d", "--format", "csv"], &files[..]].concat())
    };
    let whole = ask("SELECT time, user_name FROM events");
    assert_eq!(whole.status.code(), Some(0), "{}", err(&whole));
    assert!(fs::read_to_string(&rows).unwrap().lines().count() > 100);
    assert_eq!(read(&receipt)["complete"], true);
    assert!(read(&receipt)["error"].is_null());
    for (sql, why) in [
        ("SELECT nothing FROM events", "nothing"),
        ("SELEKT", "SELEKT"),
        (FAILING, "cast"),
        ("SELECT 1; SELECT 2", "single"),
    ] {
        assert_eq!(ask("SELECT time, user_name FROM events").status.code(), Some(0));
        let before = fs::read_to_string(&rows).unwrap();
        let failed = ask(sql);
        assert_eq!(failed.status.code(), Some(2), "{}", err(&failed));
        assert_eq!(fs::read_to_string(&rows).unwrap(), before, "{sql}");
        let receipt = read(&receipt);
        assert_eq!((&receipt["complete"], receipt["sql"].as_str()), (&serde_json::json!(false), Some(sql)));
        let text = receipt["error"]["error_text"].as_str().unwrap().to_lowercase();
        assert!(text.contains(&why.to_lowercase()), "{text}");
    }
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    // Rows that cannot be written are missing.
    let full = demo.query(
        "SELECT * FROM events",
        &["--from", "-30d", "--output", "/dev/full", "--receipt", receipt.to_str().unwrap()],
    );
    assert_eq!(full.status.code(), Some(1), "{}", err(&full));
    assert!(err(&full).contains("NOT COMPLETE") && err(&full).contains("No space"), "{}", err(&full));
    assert_eq!(read(&receipt)["complete"], false);
    // A wrong configuration is an end as well.
    let wrong = demo.changed("wrong.toml", |text| text.replace("type =", "tipe ="));
    let failed = query(&wrong, "SELECT 1", &["--receipt", receipt.to_str().unwrap()]);
    assert_eq!(failed.status.code(), Some(2));
    assert_eq!(read(&receipt)["complete"], false);
}

#[test]
fn rows_and_receipt_do_not_share_a_file() {
    let demo = Demo::start(32, 500);
    let folder = tempfile::tempdir().unwrap();
    let one = folder.path().join("one");
    fs::write(&one, "what was there").unwrap();
    let other_name = folder.path().join("./one");
    for output in [one.to_str().unwrap(), other_name.to_str().unwrap()] {
        let both = ["--from", "-1d", "--output", output, "--receipt", one.to_str().unwrap()];
        let refused = demo.query("SELECT * FROM events", &both);
        assert_eq!(refused.status.code(), Some(2));
        assert!(err(&refused).contains("replace the answer"), "{}", err(&refused));
    }
    // Nor by way of the shell.
    let config = demo.path("c.toml");
    let arguments = ["query", "--config", config.to_str().unwrap(), "--receipt", one.to_str().unwrap(), "SELECT 1"];
    let shell = fs::OpenOptions::new().append(true).open(&one).unwrap();
    let refused = command(&arguments).stdout(shell).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
    assert_eq!(fs::read_to_string(&one).unwrap(), "what was there");
    let nowhere = folder.path().join("nowhere/rows.csv");
    let refused = demo.query("SELECT 1", &["--output", nowhere.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(err(&refused).starts_with("error: ") && !err(&refused).contains("receipt:"), "{}", err(&refused));
    let nothing = demo.query("SELECT 1", &["--output", "/dev/null", "--receipt", "/dev/null"]);
    assert_eq!(nothing.status.code(), Some(0), "{}", err(&nothing));
}
