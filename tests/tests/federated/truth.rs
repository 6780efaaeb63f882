//! The truth of a generated organisation against the answer of the engine: no event and no session more, less or other.

use fedaudit_core::{Time, Window};
use fedaudit_testkit::Settings;
use fedaudit_testkit::truth::{Instant, TrueSession};

use crate::world::{Lab, TO, ask, differences, small};

const HOUR: i64 = 3_600_000_000;
const SEEDS: [u64; 3] = [7, 42, 2026];

const EVENTS: &str = "SELECT product, action, outcome, user_name, cast(date_trunc('hour', time) AS BIGINT), count(*) FROM events \
                      GROUP BY 1, 2, 3, 4, 5";
const SESSIONS: &str = "SELECT product, session_id, user_name, cast(start_time AS BIGINT), cast(end_time AS BIGINT), state \
                        FROM sessions";

fn cell(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "∅".to_owned(), |value| value.to_string())
}

fn expected_events(lab: &Lab) -> Vec<String> {
    let mut counts = std::collections::BTreeMap::<String, u64>::new();
    for event in lab.demo.world.truth.events.iter().filter(|event| event.observable) {
        let hour = event.time.0 - event.time.0.rem_euclid(HOUR);
        let user = cell(event.user_name.as_deref());
        *counts
            .entry(format!("{} | {} | {} | {user} | {hour}", event.product, event.action, event.outcome))
            .or_default() += 1;
    }
    counts.into_iter().map(|(key, count)| format!("{key} | {count}")).collect()
}

fn expected_sessions(lab: &Lab) -> Vec<String> {
    let micros = |time: Option<Instant>| cell(time.map(|time| time.0));
    let line = |session: &TrueSession| {
        let TrueSession { product, session_id, user_name, start_time, end_time, state, .. } = session;
        let (id, user) = (cell(session_id.as_deref()), cell(user_name.as_deref()));
        format!("{product} | {id} | {user} | {} | {} | {state}", micros(*start_time), micros(*end_time))
    };
    lab.demo.world.truth.sessions.iter().filter(|session| session.observable).map(line).collect()
}

async fn judge(settings: Settings) {
    let seed = settings.seed;
    let lab = Lab::start(settings).await;
    let engine = lab.engine();
    let events = ask(&engine, lab.window(), EVENTS).await.unwrap().whole(EVENTS);
    let sessions = ask(&engine, lab.window(), SESSIONS).await.unwrap().whole(SESSIONS);
    let mut wrong = differences(&expected_events(&lab), &events.lines());
    wrong.extend(differences(&expected_sessions(&lab), &sessions.lines()));
    assert!(events.rows() > 100 && sessions.rows() > 100);
    assert!(wrong.is_empty(), "seed {seed}: {} differences\n{}", wrong.len(), wrong[..wrong.len().min(60)].join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_is_the_truth_for_every_seed() {
    for seed in SEEDS {
        judge(Settings { events: 8000, ..Settings::new(seed, TO) }).await;
    }
}

/// A part of the history: what began before it and what ended after it must not change what lies inside.
#[tokio::test(flavor = "multi_thread")]
async fn every_window_holds_exactly_its_events() {
    let lab = Lab::start(small(3)).await;
    let engine = lab.engine();
    let world = &lab.demo.world;
    let day = 24 * HOUR;
    // Bounds on an hour, on an event itself, one microsecond beside it, and a window without anything.
    let of_event = world.truth.events[world.truth.events.len() / 2].time.0;
    for (from, to) in [
        (world.from + 3 * day, world.from + 5 * day),
        (of_event, of_event + 1),
        (of_event, of_event + 6 * HOUR),
        (of_event - 6 * HOUR, of_event),
        (of_event + 1, of_event + day),
        (world.from - 9 * day, world.from),
    ] {
        let window = Window::new(Time::from_micros(from), Time::from_micros(to));
        let sql = "SELECT product, action, outcome, user_name, cast(time AS BIGINT) FROM events";
        let given = ask(&engine, window, sql).await.unwrap().whole(sql);
        let expected: Vec<String> = world
            .truth
            .events
            .iter()
            .filter(|event| event.observable && (from..to).contains(&event.time.0))
            .map(|event| {
                let user = cell(event.user_name.as_deref());
                format!("{} | {} | {} | {user} | {}", event.product, event.action, event.outcome, event.time.0)
            })
            .collect();
        let wrong = differences(&expected, &given.lines());
        assert!(wrong.is_empty(), "{window}: {} differences\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
    }
}

/// A window in the middle: a session that began and ended in it, or began up to the look-back before it, is the one that
/// the whole history tells of.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_the_history_tells_the_same_sessions() {
    let lab = Lab::start(small(4)).await;
    let engine = lab.engine();
    let day = 24 * HOUR;
    let (from, to) = (lab.demo.world.from + 4 * day + 5 * HOUR, lab.demo.world.from + 8 * day + 11 * HOUR);
    let window = Window::new(Time::from_micros(from), Time::from_micros(to));
    let of = |(low, high): (i64, i64)| {
        format!(
            "SELECT session_key, user_name, start_time, end_time, state, login_event_key, logout_event_key FROM sessions \
             WHERE cast(start_time AS BIGINT) >= {low} AND cast(end_time AS BIGINT) >= {from} AND cast(end_time AS BIGINT) < {high}"
        )
    };
    let sql = of((from - day, to));
    let whole = ask(&engine, lab.window(), &sql).await.unwrap().whole(&sql);
    let part = ask(&engine, window, &sql).await.unwrap().whole(&sql);
    let wrong = differences(&whole.lines(), &part.lines());
    assert!(whole.rows() > 50);
    assert!(
        wrong.is_empty(),
        "{} differences of {}\n{}",
        wrong.len(),
        whole.rows(),
        wrong[..wrong.len().min(30)].join("\n")
    );
}
