//! The streams of a TrueNAS and what can be asked of them.

use std::time::Duration;

use fedaudit_core::{
    Action, BlindSpot, Bound, Operator, Order, Pairing, Predicate, Pushable, SourceInfo, StreamInfo, StreamKind,
};

/// How long after an event its row may still appear: the log daemon batches, and buffers on disk.
pub(crate) const LATENESS: Duration = Duration::from_secs(120);
/// Name of the stream of live sessions.
pub(crate) const SESSIONS: &str = "auth.sessions";

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

/// Everything that the configuration alone tells of a source.
pub(crate) fn info(origin: &str) -> SourceInfo {
    let mut streams: Vec<StreamInfo> = Service::ALL.into_iter().map(audit).collect();
    streams.push(sessions());
    SourceInfo {
        product: "truenas".to_owned(),
        plugin: "truenas".to_owned(),
        plugin_version: concat!(env!("CARGO_PKG_VERSION"), "+map1").to_owned(),
        origin: origin.to_owned(),
        streams,
    }
}

fn audit(service: Service) -> StreamInfo {
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
        pairing: pairing(service),
        ..StreamInfo::new(service.stream(), StreamKind::Events)
    }
}

fn sessions() -> StreamInfo {
    StreamInfo {
        time_field: "created_at".to_owned(),
        granularity: Duration::from_secs(1),
        ..StreamInfo::new(SESSIONS, StreamKind::Sessions)
    }
}

fn pushable(service: Service) -> Vec<Pushable> {
    let column =
        |column: &str, exact: bool| Pushable { column: column.to_owned(), operators: vec![Operator::In], exact };
    let mut columns =
        vec![column("event_code", true), column("action", false), column("outcome", false), column("record_id", true)];
    if service != Service::System {
        columns.push(column("user_name", false));
    }
    if service == Service::Middleware {
        columns.push(column("session_id", true));
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
            spot(
                vec![Predicate::any_of("action", ["config.read"])],
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
