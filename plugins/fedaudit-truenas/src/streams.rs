//! The streams of a TrueNAS and what can be asked of them.

use std::time::Duration;

use fedaudit_core::{
    Action, BlindSpot, Bound, Operator, Order, Pairing, Plugin as _, Predicate, Pushable, SourceInfo, StreamInfo,
    StreamKind,
};

use crate::TrueNasPlugin;

/// How long after an event its row may still appear: the log daemon batches, and buffers on disk.
pub(crate) const LATENESS: Duration = Duration::from_mins(2);
/// What the names of streams of the other controller end in.
const OTHER: &str = ".other";
/// Name of the stream of live sessions.
pub(crate) const SESSIONS: &str = "auth.sessions";

/// Every stream there can be.
pub(crate) const NAMES: &[&str] = &[
    "audit.MIDDLEWARE",
    "audit.SMB",
    "audit.SUDO",
    "audit.SYSTEM",
    "audit.MIDDLEWARE.other",
    "audit.SMB.other",
    "audit.SUDO.other",
    "audit.SYSTEM.other",
    SESSIONS,
];

/// An audit database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// API calls, API logins and logouts.
    Middleware,
    /// File sharing.
    Smb,
    /// `sudo` on the appliance.
    Sudo,
    /// The operating system's own audit trail (Enterprise).
    System,
}

impl Service {
    /// Every service.
    pub const ALL: [Self; 4] = [Self::Middleware, Self::Smb, Self::Sudo, Self::System];

    /// As the product writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Middleware => "MIDDLEWARE",
            Self::Smb => "SMB",
            Self::Sudo => "SUDO",
            Self::System => "SYSTEM",
        }
    }

    /// Name of its stream.
    pub fn stream(self) -> &'static str {
        match self {
            Self::Middleware => "audit.MIDDLEWARE",
            Self::Smb => "audit.SMB",
            Self::Sudo => "audit.SUDO",
            Self::System => "audit.SYSTEM",
        }
    }

    /// The service of a stream.
    pub fn of_stream(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.stream() == name)
    }
}

/// An audit database of one controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Feed {
    pub(crate) service: Service,
    /// That of the other controller of a pair.
    pub(crate) other: bool,
}

impl Feed {
    /// The feed of a stream.
    pub(crate) fn of_stream(name: &str) -> Option<Self> {
        let (base, other) = name.strip_suffix(OTHER).map_or((name, false), |base| (base, true));
        Service::of_stream(base).map(|service| Self { service, other })
    }

    /// Name of its stream.
    pub(crate) fn stream(self) -> String {
        format!("{}{}", self.service.stream(), if self.other { OTHER } else { "" })
    }
}

/// Everything that the configuration alone tells of a source.
pub(crate) fn info(origin: &str, both_controllers: bool) -> SourceInfo {
    let feeds = |other: bool| Service::ALL.into_iter().map(move |service| audit(Feed { service, other }));
    let mut streams: Vec<StreamInfo> = feeds(false).collect();
    if both_controllers {
        streams.extend(feeds(true));
    }
    streams.push(sessions());
    SourceInfo {
        product: "truenas".to_owned(),
        plugin: "truenas".to_owned(),
        plugin_version: TrueNasPlugin::VERSION.to_owned(),
        origin: origin.to_owned(),
        streams,
    }
}

fn audit(feed: Feed) -> StreamInfo {
    let service = feed.service;
    let mut pairing = pairing(service);
    if let Some(pairing) = pairing.as_mut().filter(|_| feed.other) {
        // The live list is that of the controller that answers.
        (pairing.live_stream, pairing.live_protocols) = (None, Vec::new());
    }
    StreamInfo {
        time_field: "message_timestamp".to_owned(),
        lower_bound: Bound::Inclusive,
        upper_bound: Bound::Inclusive,
        granularity: Duration::from_secs(1),
        order: Order::Either,
        pushable: pushable(service),
        lateness: LATENESS,
        follow: true,
        // Every query is a table scan on the appliance: reading two windows at once only doubles its load.
        parallel_windows: 1,
        blind_spots: blind_spots(service),
        pairing,
        ..StreamInfo::new(&feed.stream(), StreamKind::Events)
    }
}

fn sessions() -> StreamInfo {
    StreamInfo {
        time_field: "created_at".to_owned(),
        granularity: Duration::from_secs(1),
        follow: true,
        ..StreamInfo::new(SESSIONS, StreamKind::Sessions)
    }
}

fn pushable(service: Service) -> Vec<Pushable> {
    use Operator::{In, NotIn, StartsWith};
    let column = |column: &str, operators: &[Operator], exact: bool| Pushable {
        column: column.to_owned(),
        operators: operators.to_vec(),
        exact,
    };
    // A prefix is LIKE there: case is ignored, and some characters stand for any other.
    let text = |name: &str| [column(name, &[In, NotIn], true), column(name, &[StartsWith], false)];
    let mut columns = Vec::from(text("event_code"));
    columns.extend(text("record_id"));
    if service == Service::Middleware {
        columns.extend(text("session_id"));
    }
    columns.extend([column("action", &[In], false), column("outcome", &[In], false)]);
    if service != Service::System {
        columns.push(column("user_name", &[In, StartsWith], false));
    }
    columns
}

fn blind_spots(service: Service) -> Vec<BlindSpot> {
    let spot = |predicates: Vec<Predicate>, reason: &str| BlindSpot { predicates, reason: reason.to_owned() };
    match service {
        Service::Middleware => vec![
            spot(
                vec![
                    Predicate::any_of("action", ["auth.login", "auth.logout"]),
                    Predicate::any_of("auth_method", ["node"]),
                ],
                "logins of the other controller are not audited",
            ),
            // Some are: the question is worth asking.
            spot(
                Vec::new(),
                "TrueNAS audits calls that change something; most reading calls, audit.query among them, are not recorded",
            ),
        ],
        Service::Smb => vec![spot(
            vec![Predicate::any_of("protocol", ["NFS", "ISCSI"])],
            "TrueNAS audits file access over SMB only, and only on shares where auditing is switched on",
        )],
        Service::Sudo => Vec::new(),
        Service::System => vec![spot(
            vec![Predicate::any_of("action", ["auth.logout"])],
            "the operating system's audit trail records logins by SSH and console, not their end",
        )],
    }
}

fn pairing(service: Service) -> Option<Pairing> {
    const HOURS: u64 = 3600;
    let pairing = |opens: Action, closes: &[Action], max_hours: u64| Pairing {
        opens: vec![opens],
        closes: closes.to_vec(),
        by_account: false,
        nested: false,
        max_session: Some(Duration::from_secs(max_hours * HOURS)),
        live_stream: None,
        live_protocols: Vec::new(),
        start_member: None,
        restarts: Vec::new(),
    };
    match service {
        Service::Middleware => Some(Pairing {
            live_stream: Some(SESSIONS.to_owned()),
            live_protocols: vec!["WEBSOCKET".to_owned()],
            restarts: vec![Action::SystemReboot, Action::SystemStop],
            ..pairing(Action::Login, &[Action::Logout], 30 * 24)
        }),
        Service::Smb => Some(Pairing { nested: true, ..pairing(Action::ShareConnect, &[Action::ShareDisconnect], 24) }),
        Service::Sudo => None,
        Service::System => Some(pairing(Action::Login, &[], 24)),
    }
}
