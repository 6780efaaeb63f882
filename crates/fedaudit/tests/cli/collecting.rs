//! Collecting from the demo's products: what the store holds is what a question finds, and a second run adds nothing.

use fedaudit_core::Time;

use crate::{Demo, err, json, out, query, run};

#[test]
fn what_was_collected_is_what_a_question_finds() {
    let demo = Demo::start(31, 3000);
    let store = demo.path("store");
    let config = demo.changed("collect.toml", |text| format!("store = \"{}\"\n{text}", store.display()));
    let file = config.to_str().unwrap();
    let collect = |more: &[&str]| run(&[&["collect", "--config", file, "--json"], more].concat());
    let truth: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(demo.path("t.json")).unwrap()).unwrap();
    let window = ["--from", truth["from"].as_str().unwrap(), "--to", truth["to"].as_str().unwrap()];

    let before = run(&["coverage", "--config", file]);
    assert_eq!(before.status.code(), Some(2), "{}", out(&before));
    assert!(err(&before).contains("fedaudit collect"), "{}", err(&before));

    let first = collect(&window);
    assert_eq!(first.status.code(), Some(0), "{}\n{}", out(&first), err(&first));
    let sum = |report: &serde_json::Value, sessions: bool| -> u64 {
        let streams = report["streams"].as_array().unwrap().iter();
        let lists = |name: &str| name.contains("sessions") && name != "sps.sessions";
        let of = streams.filter(|stream| lists(stream["stream"].as_str().unwrap()) == sessions);
        of.map(|stream| stream["counts"]["new"].as_u64().unwrap()).sum()
    };
    let asked = query(&config, "SELECT count(*) AS n FROM events", &[&["--format", "json"][..], &window].concat());
    assert_eq!(sum(&json(&first), false), json(&asked)["rows"][0]["n"].as_u64().unwrap(), "{}", out(&first));

    let second = collect(&window);
    assert_eq!(sum(&json(&second), false), 0, "{}", out(&second));

    // The demo's history has ended: all of it is sealed, but for the streams whose rows may still be a day late.
    let coverage = run(&["coverage", "--config", file, window[0], window[1], window[2], window[3]]);
    assert_eq!(coverage.status.code(), Some(0), "{}", err(&coverage));
    for stream in json(&coverage)["streams"].as_array().unwrap() {
        if stream["live_list"] != true {
            assert_eq!(stream["gaps"], serde_json::json!([]), "{stream}");
        }
    }
    let bars = run(&["coverage", "--config", file, "--format", "bars"]);
    assert!(out(&bars).contains('█') && out(&bars).contains("sealed"), "{}", out(&bars));

    // Whoever reads the answers and the store finds no secret there.
    for secret in demo.secrets() {
        assert!(!out(&first).contains(&secret) && !err(&first).contains(&secret));
    }
    assert!(Time::parse(json(&coverage)["from"].as_str().unwrap()).is_some());
}

#[test]
fn collecting_needs_to_know_where() {
    let demo = Demo::start(32, 200);
    let answer = run(&["collect", "--config", demo.path("c.toml").to_str().unwrap()]);
    assert_eq!(answer.status.code(), Some(2));
    assert!(err(&answer).contains("FEDAUDIT_STORE"), "{}", err(&answer));
}

/// Questions are answered from both sides as from the products alone; without any product what was collected stays.
#[test]
fn a_question_is_answered_from_both_sides() {
    let mut demo = Demo::start(33, 3000);
    let store = demo.path("store");
    let config = demo.changed("both.toml", |text| format!("store = \"{}\"\n{text}", store.display()));
    let file = config.to_str().unwrap();
    let truth: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(demo.path("t.json")).unwrap()).unwrap();
    let window = ["--from", truth["from"].as_str().unwrap(), "--to", truth["to"].as_str().unwrap()];
    let ask = |sql: &str, more: &[&str]| query(&config, sql, &[&window[..], &["--format", "json"], more].concat());
    // Nothing was collected yet: all live, without a word. The store alone has nothing to say.
    let events = "SELECT source, stream, event_key FROM events ORDER BY source, stream, event_key";
    let live = ask(events, &[]);
    assert_eq!(live.status.code(), Some(0), "{}", err(&live));
    let nothing = ask(events, &["--stored"]);
    assert_eq!(nothing.status.code(), Some(2), "{}", out(&nothing));
    assert!(err(&nothing).contains("fedaudit collect"), "{}", err(&nothing));

    let collected = run(&["collect", "--config", file]);
    assert_eq!(collected.status.code(), Some(0), "{}", err(&collected));
    let sessions = "SELECT source, session_key, start_time, end_time, state FROM sessions ORDER BY source, session_key, start_time";
    for sql in [events, sessions] {
        let live = ask(sql, &["--live"]);
        let both = ask(sql, &[]);
        assert_eq!(both.status.code(), Some(0), "{}", err(&both));
        assert_eq!(json(&both)["rows"], json(&live)["rows"], "{sql}");
        assert!(json(&live)["rows"].as_array().unwrap().len() > 50);
        assert!(err(&both).contains("stored until") && !err(&live).contains("stored until"), "{}", err(&both));
    }
    let read = |answer: &std::process::Output| -> u64 {
        let receipt = &json(answer)["receipt"];
        receipt["streams"].as_array().unwrap().iter().map(|stream| stream["records"].as_u64().unwrap()).sum()
    };
    assert!(read(&ask(events, &[])) < read(&ask(events, &["--live"])) / 2, "most of it is not asked for again");
    let counted = ask("SELECT count(*) AS n FROM coverage WHERE complete", &[]);
    assert!(json(&counted)["rows"][0]["n"].as_u64().unwrap() > 5, "{}", out(&counted));

    // A store that cannot be read is no store without rows.
    let mark = store.join("fedaudit-store.json");
    let good = std::fs::read_to_string(&mark).unwrap();
    std::fs::write(&mark, "{").unwrap();
    let broken = ask(events, &[]);
    assert_ne!(broken.status.code(), Some(0));
    assert!(err(&broken).contains("fedaudit-store.json"), "{}", err(&broken));
    assert_eq!(ask(events, &["--live"]).status.code(), Some(0));
    std::fs::write(&mark, good).unwrap();

    let before = json(&ask(events, &[]))["rows"].clone();
    // No product is there any more, and nobody has their credentials.
    demo.secret_files().iter().filter(|file| file.exists()).for_each(|file| std::fs::remove_file(file).unwrap());
    demo.end();
    let stored = query(&config, events, &[&window[..], &["--format", "json", "--stored"]].concat());
    assert_eq!(json(&stored)["rows"], before, "{}", err(&stored));
    let receipt = &json(&stored)["receipt"];
    assert!(receipt["sources"].as_array().unwrap().iter().all(|source| source["wire"]["requests"] == 0), "{receipt}");
    // Asked about the time since: what is not stored is missing.
    let since = query(&config, events, &["--from", window[3], "--stored", "--format", "json"]);
    assert_eq!(since.status.code(), Some(3), "{}", err(&since));
    assert!(err(&since).contains("fedaudit collect"), "{}", err(&since));
}
