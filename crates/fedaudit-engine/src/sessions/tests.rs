//! The scenarios that the reconstruction is specified by, each also shuffled.

use super::*;
use proptest::prelude::*;
use std::time::Duration;

fn at(seconds: f64) -> Time {
    Time::from_micros((seconds * 1e6) as i64)
}

fn event(name: &str, action: Action, seconds: f64) -> SessionEvent {
    SessionEvent {
        event_key: name.to_owned(),
        action,
        outcome: Outcome::Success,
        time: at(seconds),
        ..SessionEvent::default()
    }
}

fn login(name: &str, seconds: f64) -> SessionEvent {
    event(name, Action::Login, seconds)
}

fn logout(name: &str, seconds: f64) -> SessionEvent {
    event(name, Action::Logout, seconds)
}

fn of(account: &str, event: SessionEvent) -> SessionEvent {
    SessionEvent { account_id: Some(account.to_owned()), ..event }
}

fn keyed(key: &str, event: SessionEvent) -> SessionEvent {
    SessionEvent { session_key: Some(key.to_owned()), ..event }
}

fn pairing() -> Pairing {
    Pairing {
        opens: vec![Action::Login],
        closes: vec![Action::Logout],
        by_account: true,
        nested: false,
        max_session: Some(Duration::from_hours(24)),
        live_stream: None,
        live_protocols: Vec::new(),
        start_member: None,
        restarts: vec![Action::ServiceStart],
    }
}

const NOW: f64 = 1_000_000.0;

fn run(events: Vec<SessionEvent>) -> Vec<Rebuilt> {
    rebuild("lms", &pairing(), events, None, at(NOW))
}

#[test]
fn several_candidates_close_the_most_recent() {
    let rows = run(vec![of("9", login("a", NOW - 600.0)), of("9", login("b", NOW - 300.0)), of("9", logout("c", NOW))]);
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].state, rows[0].end), (SessionState::Unknown, None));
    assert_eq!((rows[1].state, rows[1].end), (SessionState::Closed, Some(at(NOW))));
    assert_eq!(
        (rows[1].confidence, rows[1].flags.as_slice()),
        (Confidence::Low, ["ambiguous_2".to_owned()].as_slice())
    );
}

#[test]
fn the_same_browser_decides_between_candidates() {
    let from = |ip: &str, event| SessionEvent { src_ip: Some(ip.to_owned()), ..of("9", event) };
    let rows = run(vec![
        from("192.0.2.1", login("a", NOW - 600.0)),
        from("192.0.2.2", login("b", NOW - 300.0)),
        from("192.0.2.1", logout("c", NOW)),
    ]);
    assert_eq!(rows[0].end, Some(at(NOW)));
    assert_eq!(rows[0].confidence_reason, "context_match");
    assert!(rows[1].is_open());
}

#[test]
fn a_logout_alone_is_an_orphan() {
    let rows = run(vec![of("9", logout("a", NOW))]);
    assert_eq!((rows[0].start, rows[0].end, rows[0].confidence), (None, Some(at(NOW)), Confidence::Low));
}

#[test]
fn in_the_same_second_the_logout_comes_first() {
    let rows = run(vec![of("9", login("a", NOW)), of("9", logout("b", NOW))]);
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.flags.iter().any(|flag| flag == "same_second")));
    let rows = run(vec![keyed("k", login("a", NOW)), keyed("k", logout("b", NOW))]);
    assert_eq!((rows.len(), rows[0].confidence_reason.as_str()), (1, "id_pair"));
}

#[test]
fn a_logout_that_knows_its_login_time_is_a_whole_session() {
    let end = SessionEvent { began: Some(at(NOW - 3600.0)), ..keyed("k", logout("b", NOW)) };
    let rows = run(vec![end.clone()]);
    assert_eq!((rows[0].start, rows[0].confidence_reason.as_str()), (Some(at(NOW - 3600.0)), "logout_with_login_time"));
    let rows = run(vec![end.clone(), keyed("k", login("a", NOW - 3599.6))]);
    assert_eq!(
        (rows[0].start, rows[0].end, rows[0].confidence),
        (Some(at(NOW - 3599.6)), Some(at(NOW)), Confidence::High)
    );
    assert!(rows[0].flags.is_empty());
    let rows = run(vec![end, keyed("k", login("a", NOW - 3000.0))]);
    assert_eq!(rows[0].flags, ["start_conflict"]);
}

#[test]
fn absence_from_the_live_list_is_an_end_without_a_time() {
    let mut live = LiveList { seen_at: at(NOW), ..LiveList::default() };
    let events = vec![keyed("gone", login("a", NOW - 600.0)), keyed("here", login("b", NOW - 500.0))];
    live.keys.insert("here".to_owned());
    let rows = rebuild("vc", &pairing(), events, Some(&live), at(NOW));
    assert_eq!(
        (rows[0].state, rows[0].end, rows[0].end_reason),
        (SessionState::Closed, None, Some(EndCause::Vanished))
    );
    assert_eq!((rows[0].confidence, rows[1].state), (Confidence::Medium, SessionState::Active));
}

#[test]
fn old_sessions_are_presumed_closed_without_an_invented_end() {
    let rows = run(vec![of("9", login("a", NOW - 86_401.0)), of("8", login("b", NOW - 86_399.0))]);
    assert_eq!((rows[0].state, rows[0].end), (SessionState::PresumedClosed, None));
    assert_eq!(rows[1].state, SessionState::Unknown);
}

#[test]
fn a_restart_ends_what_was_open() {
    let rows = run(vec![
        keyed("k", login("a", NOW - 600.0)),
        event("r", Action::ServiceStart, NOW - 300.0),
        keyed("l", login("b", NOW - 100.0)),
    ]);
    assert_eq!((rows[0].end_reason, rows[0].end, rows[0].confidence), (Some(EndCause::Restart), None, Confidence::Low));
    assert_eq!(rows[0].ended_before, Some(at(NOW - 300.0)));
    assert_eq!(rows[1].end_reason, None);
}

#[test]
fn another_user_on_the_same_connection_is_another_session() {
    let by = |user: &str, event| SessionEvent { user_name: Some(user.to_owned()), ..keyed("k", event) };
    let rows =
        run(vec![by("ana", login("a", NOW - 600.0)), by("bo", login("b", NOW - 300.0)), by("bo", logout("c", NOW))]);
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].end, rows[0].end_reason), (Some(at(NOW - 300.0)), Some(EndCause::Relogin)));
    assert_eq!(rows[1].end, Some(at(NOW)));
    assert_ne!(rows[0].session_key, rows[1].session_key);
    let rows = run(vec![by("ana", login("a", NOW - 600.0)), by("ana", login("b", NOW - 300.0))]);
    assert_eq!((rows.len(), rows[0].flags.as_slice()), (1, ["relogin".to_owned()].as_slice()));
}

#[test]
fn a_session_of_several_shares_ends_with_the_last() {
    let shares = Pairing { nested: true, ..pairing() };
    let mut events = vec![
        keyed("k", login("a", NOW - 600.0)),
        keyed("k", login("b", NOW - 500.0)),
        keyed("k", logout("c", NOW - 400.0)),
    ];
    assert!(rebuild("nas", &shares, events.clone(), None, at(NOW))[0].is_open());
    events.push(keyed("k", logout("d", NOW - 300.0)));
    let rows = rebuild("nas", &shares, events, None, at(NOW));
    assert_eq!((rows[0].end, rows[0].event_keys.len()), (Some(at(NOW - 300.0)), 4));
}

#[test]
fn failures_open_nothing() {
    let failed = SessionEvent { outcome: Outcome::Failure, ..keyed("k", login("a", NOW)) };
    assert!(run(vec![failed]).is_empty());
}

proptest! {
    #[test]
    fn any_order_gives_the_same_rows(
        seeds in prop::collection::vec((0..4_u8, 0..3_u8, 0..20_i64, any::<bool>()), 0..40),
        rotation in 0..40_usize,
    ) {
        let events: Vec<SessionEvent> = seeds
            .iter()
            .enumerate()
            .map(|(index, (kind, who, second, known))| {
                let name = format!("{index:03}");
                let time = NOW - 1000.0 + *second as f64;
                let event = match kind {
                    0 | 1 => login(&name, time),
                    2 => logout(&name, time),
                    _ => event(&name, Action::ServiceStart, time),
                };
                let event = SessionEvent { user_name: Some(format!("u{who}")), ..of(&who.to_string(), event) };
                if *known { keyed(&format!("k{who}"), event) } else { event }
            })
            .collect();
        let expected = run(events.clone());
        let mut shuffled = events.clone();
        shuffled.rotate_left(rotation.min(events.len()));
        shuffled.reverse();
        shuffled.extend(events);
        prop_assert_eq!(run(shuffled), expected);
    }
}
