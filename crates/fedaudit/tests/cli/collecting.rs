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
