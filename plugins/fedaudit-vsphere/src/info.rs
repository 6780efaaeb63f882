//! What a vSphere source says of itself before it is asked anything.

use std::time::Duration;

use fedaudit_core::{
    Action, BlindSpot, Bound, Operator, Order, Pairing, Plugin as _, Predicate, Pushable, SourceInfo, StreamInfo,
    StreamKind,
};
use fedaudit_transport::Origin;

use crate::VSphere;

/// The event log.
pub(crate) const EVENTS: &str = "vim.events";
/// The live sessions.
pub(crate) const SESSIONS: &str = "sessions";

/// The description of a source at this address.
pub(crate) fn source_info(origin: &Origin, pushes_user_name: bool) -> SourceInfo {
    SourceInfo {
        product: "vsphere".into(),
        plugin: env!("CARGO_PKG_NAME").into(),
        plugin_version: VSphere::VERSION.into(),
        origin: origin.as_str().into(),
        streams: vec![events(pushes_user_name), sessions()],
    }
}

fn events(pushes_user_name: bool) -> StreamInfo {
    let superset = |column: &str| Pushable { column: column.into(), operators: vec![Operator::In], exact: false };
    let mut pushable = vec![superset("action"), superset("event_code")];
    if pushes_user_name {
        pushable.push(superset("user_name"));
    }
    StreamInfo {
        time_field: "createdTime".into(),
        lower_bound: Bound::Inclusive,
        upper_bound: Bound::Inclusive,
        // Oldest first unless asked otherwise: the latest page, then scrolling back.
        order: Order::Either,
        pushable,
        // `event.maxAge` is 30 days unless an administrator changed it; the server's own value wins where it is readable.
        history: Some(Duration::from_hours(30 * 24)),
        lateness: Duration::from_mins(2),
        follow: true,
        // A collector each, of 32 for the whole server: other tools need theirs.
        parallel_windows: 4,
        blind_spots: blind_spots(),
        pairing: Some(Pairing {
            opens: vec![Action::Login],
            closes: vec![Action::Logout],
            by_account: false,
            nested: false,
            max_session: None,
            live_stream: Some(SESSIONS.into()),
            live_protocols: Vec::new(),
            start_member: Some("loginTime".into()),
            restarts: vec![Action::ServiceStart],
        }),
        ..StreamInfo::new(EVENTS, StreamKind::Events)
    }
}

fn blind_spots() -> Vec<BlindSpot> {
    let about = |predicates: Vec<Predicate>, reason: &str| BlindSpot { predicates, reason: reason.into() };
    vec![
        about(
            vec![Predicate::any_of("service", ["VAMI"])],
            "logins to the appliance's own console (port 5480) are not vCenter events",
        ),
        about(
            vec![Predicate::any_of("action", ["account.unlock", "account.enable", "account.disable"])],
            "single sign-on writes one kind of event for every change of an account; it is read as account.update",
        ),
    ]
}

fn sessions() -> StreamInfo {
    StreamInfo { time_field: "loginTime".into(), ..StreamInfo::new(SESSIONS, StreamKind::Sessions) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blind_spots_are_told() {
        let info = source_info(&Origin::parse("https://vc-1.example").unwrap(), false);
        let events = info.stream(EVENTS).unwrap();
        assert!(events.blind_spots.iter().any(|spot| spot.reason.contains("5480")));
        assert!(events.pairing.as_ref().unwrap().live_stream.as_deref() == Some(SESSIONS));
        assert!(!events.can_push(&Predicate::any_of("user_name", ["ana"])));
    }
}
