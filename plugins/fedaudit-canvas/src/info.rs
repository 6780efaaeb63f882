//! What the authentication log offers and what it can never show.

use std::time::Duration;

use fedaudit_core::{
    Action, BlindSpot, Bound, Operator, Order, Outcome, Pairing, Predicate, Pushable, SourceInfo, StreamInfo,
    StreamKind,
};
use fedaudit_transport::Origin;

/// The one stream.
pub(crate) const STREAM: &str = "audit.authentication";

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Canvas reserves 50 of 600 units of a token's budget for every request in flight; nine leave room for others.
const IN_FLIGHT: usize = 9;

pub(crate) fn info(origin: &Origin) -> SourceInfo {
    // Not exact: a deleted user or login is looked for in the whole account.
    let by_id = |column: &str| Pushable { column: column.to_owned(), operators: vec![Operator::In], exact: false };
    let failure = || Predicate::any_of("outcome", [Outcome::Failure.as_str()]);
    let blind = |predicates: Vec<Predicate>, reason: &str| BlindSpot { predicates, reason: reason.to_owned() };
    SourceInfo {
        product: "canvas".to_owned(),
        plugin: "fedaudit-canvas".to_owned(),
        plugin_version: concat!(env!("CARGO_PKG_VERSION"), "+map.1").to_owned(),
        origin: origin.as_str().to_owned(),
        streams: vec![StreamInfo {
            time_field: "created_at".to_owned(),
            lower_bound: Bound::Inclusive,
            upper_bound: Bound::Inclusive,
            granularity: Duration::from_secs(1),
            order: Order::Descending,
            pushable: ["user_uid", "account_id", "tenant"].map(by_id).into(),
            history: Some(365 * DAY),
            lateness: HOUR,
            parallel_windows: IN_FLIGHT,
            blind_spots: vec![
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
            ],
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
            ..StreamInfo::new(STREAM, StreamKind::Events)
        }],
    }
}
