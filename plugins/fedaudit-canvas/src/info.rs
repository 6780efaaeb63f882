//! What the audit logs offer and what they can never show.

use std::time::Duration;

use fedaudit_core::{
    Action, BlindSpot, Bound, Operator, Order, Outcome, Pairing, Plugin as _, Predicate, Pushable, SourceInfo,
    StreamInfo, StreamKind,
};
use fedaudit_transport::Origin;

use crate::Canvas;
use crate::budget::IN_FLIGHT;
use crate::stream::Stream;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

pub(crate) fn info(origin: &Origin, streams: &[Stream]) -> SourceInfo {
    SourceInfo {
        product: "canvas".to_owned(),
        plugin: "fedaudit-canvas".to_owned(),
        plugin_version: Canvas::VERSION.to_owned(),
        origin: origin.as_str().to_owned(),
        streams: Stream::ALL
            .into_iter()
            .filter(|stream| streams.contains(stream))
            .map(|stream| match stream {
                Stream::Authentication => authentication(streams),
                Stream::Course => course(),
                Stream::GradeChange => grade_change(),
            })
            .collect(),
    }
}

/// What all three have in common.
fn log(stream: Stream) -> StreamInfo {
    StreamInfo {
        time_field: "created_at".to_owned(),
        lower_bound: Bound::Inclusive,
        upper_bound: Bound::Inclusive,
        granularity: Duration::from_secs(1),
        history: Some(365 * DAY),
        lateness: HOUR,
        ..StreamInfo::new(stream.name(), StreamKind::Events)
    }
}

/// Not exact: what has no list of its own, or not any more, is looked for in everything.
fn by(columns: &[&str]) -> Vec<Pushable> {
    let by_id = |column: &&str| Pushable { column: (*column).to_owned(), operators: vec![Operator::In], exact: false };
    columns.iter().map(by_id).collect()
}

fn blind(predicates: Vec<Predicate>, reason: &str) -> BlindSpot {
    BlindSpot { predicates, reason: reason.to_owned() }
}

fn failure() -> Predicate {
    Predicate::any_of("outcome", [Outcome::Failure.as_str()])
}

fn authentication(streams: &[Stream]) -> StreamInfo {
    let mut blind_spots = vec![
        blind(
            vec![Predicate::any_of("action", [Action::Login.as_str()]), failure()],
            "Canvas records a login only when it succeeds: failed logins are not recorded",
        ),
        blind(vec![failure()], "Canvas records no failure of any kind in this log"),
        blind(
            Vec::new(),
            "a logout is recorded only when the user logs out explicitly: a closed browser and an expired session leave \
             no record; calls with an access token are no logins",
        ),
    ];
    for (stream, target) in [(Stream::Course, "course"), (Stream::GradeChange, "grade")] {
        if !streams.contains(&stream) {
            let reason = format!("the log {} is not read: name it in streams", stream.name());
            blind_spots.push(blind(vec![Predicate::any_of("target_type", [target])], &reason));
        }
    }
    StreamInfo {
        order: Order::Descending,
        pushable: by(&["user_uid", "account_id", "tenant"]),
        parallel_windows: IN_FLIGHT,
        blind_spots,
        pairing: Some(Pairing {
            opens: vec![Action::Login],
            closes: vec![Action::Logout],
            by_account: true,
            nested: false,
            max_session: Some(DAY),
            live_stream: None,
            live_protocols: Vec::new(),
            start_member: None,
            restarts: Vec::new(),
        }),
        ..log(Stream::Authentication)
    }
}

fn course() -> StreamInfo {
    StreamInfo {
        order: Order::Descending,
        pushable: by(&["action", "target_uid", "tenant"]),
        parallel_windows: IN_FLIGHT,
        blind_spots: vec![
            blind(vec![failure()], "Canvas records no failure in this log"),
            blind(Vec::new(), "very long values are cut by Canvas"),
        ],
        ..log(Stream::Course)
    }
}

fn grade_change() -> StreamInfo {
    StreamInfo {
        // Course after course.
        order: Order::None,
        pushable: by(&["action", "user_uid", "tenant"]),
        // Many short lists are read side by side within one window: more windows would only mean more requests.
        parallel_windows: 1,
        blind_spots: vec![
            blind(vec![failure()], "Canvas records no failure in this log"),
            blind(
                Vec::new(),
                "Canvas leaves out what the reader may not see of anonymous grading; deleted courses have no readable log",
            ),
        ],
        ..log(Stream::GradeChange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_declared() {
        let origin = Origin::parse("https://lms.example").unwrap();
        let only = info(&origin, &[Stream::Authentication]);
        assert_eq!(only.streams.len(), 1);
        let log = &only.streams[0];
        let spot = |column: &str, word: &str| {
            log.blind_spots
                .iter()
                .any(|spot| spot.predicates.iter().any(|p| p.column == column && p.texts() == Some(vec![word])))
        };
        assert!(spot("outcome", "failure") && spot("target_type", "course") && spot("target_type", "grade"));
        assert!(log.blind_spots.iter().any(|spot| spot.predicates.is_empty() && spot.reason.contains("logout")));
        assert_eq!((log.lateness, log.parallel_windows), (HOUR, 9));
        let all = info(&origin, &Stream::ALL);
        assert_eq!(all.streams.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), Stream::ALL.map(Stream::name));
        assert!(all.streams[0].blind_spots.len() < log.blind_spots.len());
        let says = |stream: usize, words: &str| {
            all.streams[stream].blind_spots.iter().any(|spot| spot.predicates.is_empty() && spot.reason.contains(words))
        };
        assert!(says(1, "very long values") && says(2, "deleted courses") && says(2, "anonymous grading"));
    }

    #[test]
    fn history_is_one_year() {
        let origin = Origin::parse("https://lms.example").unwrap();
        assert!(info(&origin, &Stream::ALL).streams.iter().all(|stream| stream.history == Some(365 * DAY)));
    }
}
