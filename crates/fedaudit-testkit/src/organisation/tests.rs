//! Checks of the world itself: it repeats, its records are well-formed, and its truth agrees with them in number.

use std::collections::{BTreeMap, HashSet};

use super::{DAY, SECOND, Settings};
use crate::records::{TrueNasService, World};

const TO: i64 = 1_795_317_601 * SECOND;

fn world() -> World {
    World::generate(&Settings::new(42, TO + 250_000))
}

fn seen(world: &World, product: &str) -> usize {
    world.truth.events.iter().filter(|event| event.observable && event.product == product).count()
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let text = |seed| {
        let world = World::generate(&Settings { events: 2000, ..Settings::new(seed, TO) });
        let mut page_views: Vec<_> = world.canvas.page_views.values().cloned().collect();
        page_views.sort_by(|a, b| a.id.cmp(&b.id));
        let canvas = (&world.canvas.events, &world.canvas.logins, page_views);
        format!("{:?} {:?} {:?} {canvas:?} {:?}", world.truenas, world.vsphere, world.sps, world.truth)
    };
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}

#[test]
fn every_json_text_parses_and_every_time_is_inside() {
    let world = world();
    assert_eq!((world.from, world.to), (TO - 14 * DAY, TO));
    let inside = |micros: i64| (world.from..world.to).contains(&micros);
    for service in TrueNasService::ALL {
        let records = world.truenas.records(service);
        assert!(!records.is_empty());
        assert!(records.is_sorted_by_key(|record| (record.message_timestamp, record.audit_id.clone())));
        for record in records {
            assert_eq!(record.service, service);
            assert!(inside(record.timestamp * SECOND) && inside(record.message_timestamp * SECOND), "{record:?}");
            assert!((0..=2).contains(&(record.message_timestamp - record.timestamp)));
            for text in [&record.service_data, &record.event_data] {
                serde_json::from_str::<serde_json::Value>(text).unwrap_or_else(|error| panic!("{error}: {text}"));
            }
        }
    }
    for session in &world.truenas.sessions {
        serde_json::from_str::<serde_json::Value>(&session.credentials_data).unwrap();
    }
    assert!(world.vsphere.events.is_sorted_by_key(|event| (event.created, event.key)));
    assert!(world.vsphere.events.iter().all(|event| inside(event.created)));
    assert!(world.sps.sessions.is_sorted_by_key(|session| session.start));
    assert!(world.sps.sessions.iter().all(|session| inside(session.start) && session.end.is_none_or(inside)));
    assert!(world.canvas.events.iter().all(|event| inside(event.created_at * SECOND)));
    assert!(world.canvas.events.is_sorted_by(|a, b| a.created_at >= b.created_at));
    assert!(world.truth.events.iter().all(|event| inside(event.time.0)));
    assert!(world.truth.events.is_sorted_by_key(|event| event.time));
}

#[test]
fn the_truth_counts_what_the_records_show() {
    let world = world();
    let truenas: usize = TrueNasService::ALL.iter().map(|service| world.truenas.records(*service).len()).sum();
    assert_eq!(seen(&world, "truenas"), truenas);
    assert_eq!(seen(&world, "vsphere"), world.vsphere.events.len());
    assert_eq!(seen(&world, "canvas"), world.canvas.events.len());
    let refused = |verdict: &str| matches!(verdict, "AUTH_FAIL" | "DENY");
    let ended = world.sps.sessions.iter().filter(|it| it.end.is_some() && !refused(it.verdict)).count();
    assert_eq!(seen(&world, "sps"), world.sps.sessions.len() + ended);
    assert!((18_000..24_000).contains(&world.truth.events.len()), "{}", world.truth.events.len());
    assert!(world.truth.events.iter().any(|event| !event.observable && event.product == "canvas"));
}

#[test]
fn ids_are_unique() {
    let world = world();
    let mut ids = HashSet::new();
    for service in TrueNasService::ALL {
        assert!(world.truenas.records(service).iter().all(|record| ids.insert(record.audit_id.as_str())));
    }
    assert!(world.canvas.events.iter().all(|event| ids.insert(event.id.as_str())));
    assert!(world.sps.sessions.iter().all(|session| ids.insert(session.key.as_str())));
    let sessions = world.truth.sessions.iter().filter_map(|session| session.session_id.as_deref());
    let sessions: Vec<_> = sessions.collect();
    assert_eq!(sessions.iter().collect::<HashSet<_>>().len(), sessions.len());
    let keys: HashSet<i32> = world.vsphere.events.iter().map(|event| event.key).collect();
    assert_eq!(keys.len(), world.vsphere.events.len());
    assert!(world.vsphere.events.iter().all(|event| keys.contains(&event.chain_id)));
}

#[test]
fn every_product_has_sessions_in_every_state_it_knows() {
    let world = world();
    let mut states: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for session in &world.truth.sessions {
        *states.entry((session.product, session.state)).or_default() += 1;
        if let (Some(start), Some(end)) = (session.start_time, session.end_time) {
            assert!(start < end, "{session:?}");
        }
    }
    for expected in [
        ("truenas", "active"),
        ("truenas", "closed"),
        ("truenas", "unknown"),
        ("truenas", "presumed_closed"),
        ("vsphere", "active"),
        ("vsphere", "closed"),
        ("sps", "active"),
        ("sps", "closed"),
        ("sps", "rejected"),
        ("canvas", "closed"),
        ("canvas", "unknown"),
        ("canvas", "presumed_closed"),
    ] {
        assert!(states.contains_key(&expected), "{expected:?} in {states:?}");
    }
    let live = world.truth.sessions.iter().filter(|it| it.state == "active" && it.product == "vsphere").count();
    assert_eq!(live, world.vsphere.sessions.len());
    let live = world.truth.sessions.iter().filter(|it| it.state == "active" && it.product == "truenas").count();
    assert_eq!(live, world.truenas.sessions.len());
}

#[test]
fn the_reading_of_canvas_sessions_agrees_with_its_logouts() {
    let world = world();
    let logouts = world.canvas.events.iter().filter(|event| event.event_type == "logout").count();
    let closed = world.truth.sessions.iter().filter(|it| it.product == "canvas" && it.state == "closed").count();
    assert_eq!(logouts, closed);
    // Some logouts close another session than the one that really ended: that is the reading of the records.
    let guessed = |it: &&crate::truth::TrueSession| {
        it.product == "canvas" && it.end_time.is_some() && it.end_time != it.true_end_time
    };
    assert!(world.truth.sessions.iter().filter(guessed).count() > 0);
}

#[test]
fn edge_settings_are_survived() {
    for (days, events, people, failure_rate) in [(1, 0, 0, 0.0), (0, 50, 1, 1.0), (40, 3000, 300, 0.5)] {
        let world = World::generate(&Settings { seed: 9, to: TO, days, events, people, failure_rate, only: None });
        assert!(world.truth.events.iter().all(|event| (world.from..world.to).contains(&event.time.0)));
        let names: HashSet<_> = world.truth.people.iter().map(|person| &person.name).collect();
        assert_eq!(names.len(), world.truth.people.len());
    }
}

#[test]
fn a_large_world_grows_in_proportion() {
    let grown = |events| {
        World::generate(&Settings { events, people: 200, ..Settings::new(3, TO) }).truth.events.len() as f64
            / events as f64
    };
    for ratio in [grown(20_000), grown(100_000)] {
        assert!((0.95..1.15).contains(&ratio), "{ratio}");
    }
}

#[test]
fn the_truth_file_is_json() {
    let mut bytes = Vec::new();
    World::generate(&Settings { events: 500, ..Settings::new(5, TO) }).truth.write_json(&mut bytes).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(value["to"], "2026-11-22T03:20:01Z");
    assert!(value["events"][0]["time"].as_str().unwrap().ends_with('Z'));
    assert!(value["sessions"].as_array().unwrap().len() > 10);
}

#[test]
fn a_world_of_one_product_has_records_of_no_other() {
    let world = World::generate(&Settings { events: 4000, only: Some("vsphere".into()), ..Settings::new(5, TO) });
    let count = world.vsphere.events.len();
    assert!((3000..6000).contains(&count), "{count}");
    let others = world.truenas.smb.len() + world.truenas.middleware.len() + world.canvas.events.len();
    assert!(others < 100, "{others}");
}
