//! What an answer covers: sessions that reach beyond the window, and reading that stops early.

use std::collections::BTreeMap;
use std::time::Duration;

use fedaudit_core::{EndReason, Time, Window};

use crate::world::{Lab, ask, small};

/// What the generator knows of a session with both ends: its start and its end.
fn sessions(lab: &Lab) -> Vec<(i64, i64)> {
    let truth = lab.demo.world.truth.sessions.iter();
    truth.filter_map(|session| Some((session.start_time.as_ref()?.0, session.end_time.as_ref()?.0))).collect()
}

/// The instant at which most sessions are open, and still are half an hour later.
fn busiest(lab: &Lab) -> Time {
    let sessions = sessions(lab);
    let open_at = |at: i64| sessions.iter().filter(|(start, end)| *start < at && *end > at + HALF_AN_HOUR).count();
    let busiest = sessions.iter().map(|(start, _)| start + 1_000_000).max_by_key(|at| open_at(*at));
    Time::from_micros(busiest.unwrap())
}

const HALF_AN_HOUR: i64 = 1_800_000_000;

/// A window that ends in the middle of the history still knows how its sessions ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_after_the_window_has_its_end() {
    let lab = Lab::start(small(71)).await;
    let engine = lab.engine();
    let whole = lab.window();
    let middle = busiest(&lab);
    let hours = Duration::from_hours;
    let sql = |condition: &str| {
        format!("SELECT source, session_key, end_time FROM sessions WHERE start_time IS NOT NULL AND {condition}")
    };
    let across = format!("start_time < timestamp '{middle}' AND end_time > timestamp '{middle}'");
    let expected = ask(&engine, whole, &sql(&across)).await.unwrap();
    let window = Window::new(middle.minus(hours(12)), middle);
    let given = ask(&engine, window, &sql("true")).await.unwrap().whole("half a history");
    let given: BTreeMap<(String, String), String> = given.lines().iter().map(|line| cells(line)).collect();
    let last = middle.plus(hours(24)).to_string();
    let mut seen = BTreeMap::<String, usize>::new();
    for (key, end) in expected.lines().iter().map(|line| cells(line)).filter(|(_, end)| *end < last) {
        // What began more than a look-back before the window is known by its end only, or not at all.
        if let Some(known) = given.get(&key) {
            // Canvas names no session: within a shorter span the same rows may pair otherwise.
            assert!(*known == end || key.0 == "lms", "{key:?}: {known} instead of {end}");
            *seen.entry(key.0).or_default() += 1;
        }
    }
    for source in ["nas-1", "vc-1", "sps-1"] {
        assert!(seen.get(source).is_some_and(|count| *count > 0), "{seen:?}");
    }
}

fn cells(line: &str) -> ((String, String), String) {
    let mut cells = line.split(" | ").map(str::to_owned);
    let mut next = || cells.next().unwrap();
    ((next(), next()), next())
}

/// A session that began before one instant and ended after a later one was open all the time in between.
#[tokio::test(flavor = "multi_thread")]
async fn long_sessions_are_found_by_what_they_span() {
    let lab = Lab::start(small(73)).await;
    let engine = lab.engine();
    let before = busiest(&lab);
    let after = before.plus(Duration::from_micros(HALF_AN_HOUR as u64));
    let sql = format!(
        "SELECT source, session_key, start_time, end_time FROM sessions WHERE start_time < timestamp '{before}' AND \
         end_time > timestamp '{after}'"
    );
    let given = ask(&engine, lab.window(), &sql).await.unwrap().whole(&sql);
    let all =
        ask(&engine, lab.window(), "SELECT source, session_key, start_time, end_time FROM sessions").await.unwrap();
    let spans = |line: &&String| {
        let cells: Vec<&str> = line.split(" | ").collect();
        cells[2] != "∅"
            && cells[3] != "∅"
            && cells[2] < before.to_string().as_str()
            && cells[3] > after.to_string().as_str()
    };
    let expected: Vec<String> =
        all.lines().iter().filter(spans).filter(|line| !line.starts_with("lms")).cloned().collect();
    assert!(expected.len() > 5, "{expected:#?}");
    for line in &expected {
        assert!(given.lines().contains(line), "{line} is missing in {:#?}", given.lines());
    }
    // `--from` and a start before it: what was open then.
    let window = Window { from: Some(after), to: lab.window().to };
    let sql = format!(
        "SELECT source, session_key, start_time, end_time FROM sessions WHERE start_time < timestamp '{before}'"
    );
    let open = ask(&engine, window, &sql).await.unwrap().whole(&sql);
    for line in &expected {
        assert!(open.lines().contains(line), "{line} is missing in {:#?}", open.lines());
    }
}

/// What is said to be covered was read; what was not needed is not said to be covered.
#[tokio::test(flavor = "multi_thread")]
async fn early_stop_covers_what_was_read_and_no_more() {
    let lab = Lab::start(small(72)).await;
    let engine = lab.engine();
    let taken = ask(&engine, lab.window(), "SELECT event_key FROM events ORDER BY time DESC LIMIT 5").await.unwrap();
    let stopped: Vec<_> =
        taken.receipt.streams.iter().filter(|stream| stream.end == Some(EndReason::EnoughRows)).collect();
    assert!(!stopped.is_empty());
    for stream in stopped {
        let [covered] = stream.covered[..] else { continue };
        assert!(covered.from > lab.window().from, "{stream:#?}");
        let sql = format!(
            "SELECT count(*) FROM events WHERE source = '{}' AND stream = '{}' AND time >= timestamp '{}'",
            stream.source,
            stream.stream,
            covered.from.unwrap()
        );
        let there = ask(&engine, lab.window(), &sql).await.unwrap().number();
        assert!(there <= stream.rows, "{there} rows are there, {} were read: {stream:#?}", stream.rows);
    }
    // A question that ends before it has seen much: what it did not read is not covered.
    let few = ask(&engine, lab.window(), "SELECT event_key FROM events LIMIT 1").await.unwrap();
    for stream in &few.receipt.streams {
        let whole = stream.end != Some(EndReason::EnoughRows);
        assert!(whole || stream.covered.iter().all(|covered| covered.from > lab.window().from), "{stream:#?}");
    }
}

/// Of a source that never answered nothing is claimed, also where its rows were not needed.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_makes_no_claim_about_who_did_not_answer() {
    let mut lab = Lab::start(small(74)).await;
    lab.table("nas-1").insert("url".to_owned(), "https://127.0.0.1:9".into());
    let taken = ask(&lab.engine(), lab.window(), "SELECT product FROM events LIMIT 1").await.unwrap();
    assert_eq!(taken.rows(), 1);
    for stream in &taken.receipt.streams {
        assert!(stream.pages > 0 || !stream.status.is_whole(), "{stream:#?}");
    }
    let named = |stream: &str| {
        taken.receipt.not_asked.iter().any(|known| known == stream)
            || taken.receipt.streams.iter().any(|known| format!("{}/{}", known.source, known.stream) == stream)
    };
    assert!(named("nas-1/audit.SMB") && named("vc-1/vim.events"), "{:#?}", taken.receipt);
}

/// A bound on the start chooses sessions; it does not change what is known of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_bound_on_the_start_changes_no_state() {
    let lab = Lab::start(small(75)).await;
    let engine = lab.engine();
    let bound = busiest(&lab);
    let states = async |start: &str| {
        let sql = format!(
            "SELECT product, state, count(*) FROM sessions WHERE {start} < timestamp '{bound}' GROUP BY product, state \
             ORDER BY product, state"
        );
        ask(&engine, lab.window(), &sql).await.unwrap().whole(&sql).lines()
    };
    assert_eq!(states("start_time").await, states("start_time + interval '0 seconds'").await);
}
