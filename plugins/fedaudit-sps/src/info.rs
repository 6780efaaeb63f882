//! What an SPS source offers, as data.

use std::time::Duration;

use fedaudit_core::{BlindSpot, Bound, Operator, Order, Pushable, SourceInfo, StreamInfo, StreamKind};

/// Sessions of the gateway, current and past.
pub(crate) const SESSIONS: &str = "sessions";
/// The start and the end of each of them, as events.
pub(crate) const SESSION_EVENTS: &str = "sps.sessions";

/// Revision of the mapping; part of the plugin's version.
const MAPPING: u32 = 1;
const DAY: Duration = Duration::from_hours(24);

pub(crate) fn source_info(origin: &str, look_back: Duration) -> SourceInfo {
    SourceInfo {
        product: "sps".to_owned(),
        plugin: env!("CARGO_PKG_NAME").to_owned(),
        plugin_version: format!("{}+map{MAPPING}", env!("CARGO_PKG_VERSION")),
        origin: origin.to_owned(),
        streams: vec![
            stream(
                SESSIONS,
                StreamKind::Sessions,
                look_back,
                &[
                    "user_name",
                    "protocol",
                    "verdict",
                    "server_ip",
                    "client_ip",
                    "policy",
                    "source_node",
                    "is_active",
                    "state",
                ],
            ),
            stream(
                SESSION_EVENTS,
                StreamKind::Events,
                look_back,
                &["user_name", "protocol", "dst_ip", "src_ip", "policy", "source_node"],
            ),
        ],
    }
}

fn stream(name: &str, kind: StreamKind, look_back: Duration, columns: &[&str]) -> StreamInfo {
    StreamInfo {
        time_field: "start_time".to_owned(),
        // "started after": pushed one second early, so that either reading of it serves.
        lower_bound: Bound::Exclusive,
        // The product's `end` is a bound on end times; reading stops by itself instead.
        upper_bound: Bound::None,
        granularity: Duration::from_millis(1),
        order: Order::Ascending,
        pushable: columns
            .iter()
            .map(|column| Pushable { column: (*column).to_owned(), operators: vec![Operator::In], exact: false })
            .collect(),
        // Documents may appear or be revised long after the session began.
        lateness: DAY,
        look_back,
        blind_spots: blind_spots(look_back),
        // Sessions come as rows of their own, nothing is rebuilt from events.
        pairing: None,
        ..StreamInfo::new(name, kind)
    }
}

fn blind_spots(look_back: Duration) -> Vec<BlindSpot> {
    let always = |reason: String| BlindSpot { predicates: Vec::new(), reason };
    vec![
        always("logins to the appliance itself (web and REST) are no sessions of the gateway and are not listed".to_owned()),
        always(
            "an account under an audit data access rule sees a filtered list, and the product does not say so".to_owned(),
        ),
        always("sessions recorded by search-local nodes, or before a node joined the cluster, are not on the search master".to_owned()),
        always(format!(
            "a session that began more than {} hours before the window (look_back_hours) is seen only while it is running; \
             its end is not",
            look_back.as_secs() / 3600
        )),
    ]
}
