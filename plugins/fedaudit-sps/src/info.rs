//! What an SPS source offers, as data.

use std::time::Duration;

use fedaudit_core::{
    Action, BlindSpot, Bound, Operator, Order, Plugin as _, Predicate, Pushable, SourceInfo, StreamInfo, StreamKind,
};

use crate::Sps;
use crate::config::{Config, Detail};

/// Sessions of the gateway, current and past.
pub(crate) const SESSIONS: &str = "sessions";
/// The start and the end of each of them, as events.
pub(crate) const SESSION_EVENTS: &str = "sps.sessions";

const DAY: Duration = Duration::from_hours(24);

pub(crate) fn source_info(origin: &str, config: &Config) -> SourceInfo {
    let look_back = config.look_back();
    let mut info = SourceInfo {
        product: "sps".to_owned(),
        plugin: env!("CARGO_PKG_NAME").to_owned(),
        plugin_version: Sps::VERSION.to_owned(),
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
    };
    for detail in Detail::ALL {
        if config.details.contains(&detail) {
            info.streams.push(detail_stream(detail, config));
        } else if let (Some(action), Some(events)) =
            (only_here(detail), info.streams.iter_mut().find(|stream| stream.name == SESSION_EVENTS))
        {
            events.blind_spots.push(BlindSpot {
                predicates: vec![Predicate::any_of("action", [action])],
                reason: format!(
                    "{} of sessions are read only where the source's details name \"{}\"",
                    detail.path(),
                    detail.path()
                ),
            });
        }
    }
    info
}

/// The action that no other stream of this source shows.
fn only_here(detail: Detail) -> Option<&'static str> {
    match detail {
        Detail::Events => Some(Action::ExecRun.as_str()),
        Detail::TrailDownloads => Some(Action::LogRead.as_str()),
        Detail::Alerts | Detail::Channels => None,
    }
}

/// A list below sessions. Conditions choose the sessions whose lists are asked for, so only what an entry shares with its
/// session can be pushed.
fn detail_stream(detail: Detail, config: &Config) -> StreamInfo {
    let columns: &[&str] = match detail {
        Detail::TrailDownloads => &["session_id"],
        // An alert's policy is its rule.
        Detail::Alerts => &["session_id", "user_name", "protocol", "dst_ip", "src_ip", "source_node"],
        _ => &["session_id", "user_name", "protocol", "dst_ip", "src_ip", "policy", "source_node"],
    };
    let reach = config.reach(detail);
    let always = |reason: String| BlindSpot { predicates: Vec::new(), reason };
    let mut blind_spots = vec![
        always(
            "an account under an audit data access rule sees a filtered list, and the product does not say so"
                .to_owned(),
        ),
        always(match detail {
            Detail::Events => {
                "only indexed recordings have events, and only contents that the indexing policy extracts".to_owned()
            }
            Detail::Alerts => {
                "only content policies that store their matches in the connection database show alerts".to_owned()
            }
            Detail::Channels => "connections that opened no channel have none".to_owned(),
            Detail::TrailDownloads => format!(
                "downloads of recordings whose session began more than {} days before the window (downloads_back_days) are not seen",
                reach.as_secs() / 86_400
            ),
        }),
    ];
    if detail != Detail::TrailDownloads {
        blind_spots.push(always(format!(
            "of a session that began more than {} hours before the window (look_back_hours) something is seen only while it is running",
            reach.as_secs() / 3600
        )));
    }
    StreamInfo {
        time_field: "time".to_owned(),
        granularity: Duration::from_millis(1),
        order: Order::None,
        pushable: pushable(columns),
        // Recordings are indexed after their sessions.
        lateness: DAY,
        look_back: reach,
        blind_spots,
        ..StreamInfo::new(detail.stream(), StreamKind::Events)
    }
}

fn pushable(columns: &[&str]) -> Vec<Pushable> {
    columns
        .iter()
        .map(|column| Pushable { column: (*column).to_owned(), operators: vec![Operator::In], exact: false })
        .collect()
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
        pushable: pushable(columns),
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
