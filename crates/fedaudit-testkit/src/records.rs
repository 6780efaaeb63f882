//! What each stand-in product holds: plain data in the product's own values, before anyone normalises anything.
//! How a product speaks about these records over the wire is the business of its stand-in.

use std::collections::HashMap;

use crate::truth::Truth;

/// Everything that one generated organisation left behind in its four products, and what really happened.
#[derive(Debug, Clone)]
pub struct World {
    /// The seed that this world was grown from.
    pub seed: u64,
    /// First instant of the history, UTC microseconds.
    pub from: i64,
    /// End of the history (exclusive), UTC microseconds, a whole second.
    pub to: i64,
    /// The storage appliance `nas-1`.
    pub truenas: TrueNas,
    /// The virtualisation manager `vc-1`.
    pub vsphere: Vsphere,
    /// The privileged-session gateway `sps-1`.
    pub sps: Sps,
    /// The learning platform `lms`.
    pub canvas: Canvas,
    /// What really happened, and what the records let anyone know of it.
    pub truth: Truth,
}

/// The audit databases of TrueNAS, one for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrueNasService {
    /// API calls, API logins and logouts.
    Middleware,
    /// File sharing.
    Smb,
    /// `sudo` on the appliance.
    Sudo,
    /// The operating system's own audit trail.
    System,
}

impl TrueNasService {
    /// All services, in the order of the product's documentation.
    pub const ALL: [Self; 4] = [Self::Middleware, Self::Smb, Self::Sudo, Self::System];

    /// The product's spelling, as in `services` and in each row.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Middleware => "MIDDLEWARE",
            Self::Smb => "SMB",
            Self::Sudo => "SUDO",
            Self::System => "SYSTEM",
        }
    }
}

/// One row of an audit database of TrueNAS.
#[derive(Debug, Clone, PartialEq)]
pub struct TrueNasRecord {
    /// Random UUID.
    pub audit_id: String,
    /// When the log daemon stored the row, Unix seconds; 0 to 2 s after `timestamp`.
    pub message_timestamp: i64,
    /// When it happened, Unix seconds.
    pub timestamp: i64,
    /// Client address; for `SUDO` the submitting host's name.
    pub address: String,
    /// Account, or a marker that starts with a dot.
    pub username: String,
    /// Connection id, process id, or empty.
    pub session: String,
    /// Which database holds the row.
    pub service: TrueNasService,
    /// JSON text, or `null`.
    pub service_data: Box<str>,
    /// The product's event name.
    pub event: &'static str,
    /// JSON text.
    pub event_data: Box<str>,
    /// Whether the product calls it a success.
    pub success: bool,
}

/// One row of the live list `auth.sessions`.
#[derive(Debug, Clone, PartialEq)]
pub struct TrueNasSession {
    /// UUID of the connection; equals `session` of its audit rows.
    pub id: String,
    /// True for root on the local socket and for the other node of a pair.
    pub internal: bool,
    /// `address:port`, or the description of a local socket.
    pub origin: String,
    /// Kind of credential, for example `LOGIN_PASSWORD`.
    pub credentials: &'static str,
    /// JSON text, its shape depends on the kind.
    pub credentials_data: Box<str>,
    /// Unix seconds.
    pub created_at: i64,
    /// True for TLS and for local links.
    pub secure_transport: bool,
}

/// One storage appliance.
#[derive(Debug, Clone)]
pub struct TrueNas {
    /// Host name of the appliance.
    pub host: String,
    /// `MIDDLEWARE` rows by (`message_timestamp`, `audit_id`).
    pub middleware: Vec<TrueNasRecord>,
    /// `SMB` rows in the same order.
    pub smb: Vec<TrueNasRecord>,
    /// `SUDO` rows in the same order.
    pub sudo: Vec<TrueNasRecord>,
    /// `SYSTEM` rows in the same order.
    pub system: Vec<TrueNasRecord>,
    /// The live list at the end of the history, by `created_at`.
    pub sessions: Vec<TrueNasSession>,
    /// Accounts that exist on the appliance.
    pub users: Vec<String>,
    /// Shares whose use is audited.
    pub audited_shares: Vec<&'static str>,
    /// Days that the appliance says it keeps audit rows for (at least the length of the history).
    pub retention_days: u32,
}

impl TrueNas {
    /// The rows of one audit database, by (`message_timestamp`, `audit_id`).
    pub fn records(&self, service: TrueNasService) -> &[TrueNasRecord] {
        match service {
            TrueNasService::Middleware => &self.middleware,
            TrueNasService::Smb => &self.smb,
            TrueNasService::Sudo => &self.sudo,
            TrueNasService::System => &self.system,
        }
    }
}

/// One value of a vSphere data object, typed as its schema has it.
#[derive(Debug, Clone, PartialEq)]
pub enum VimValue {
    /// `xsd:string`.
    Text(String),
    /// `xsd:int` or `xsd:long`.
    Int(i64),
    /// `xsd:boolean`.
    Bool(bool),
    /// `xsd:dateTime`, UTC microseconds.
    Time(i64),
    /// A nested data object, members in schema order.
    Object {
        /// Its type, for example `VmEventArgument`.
        type_name: &'static str,
        /// Its members that have a value.
        members: Vec<(&'static str, VimValue)>,
    },
    /// A managed object reference.
    Ref {
        /// Managed object type, for example `VirtualMachine`.
        kind: &'static str,
        /// Managed object id, for example `vm-42`.
        value: String,
    },
    /// An array; in XML the element repeats.
    List(Vec<VimValue>),
    /// A value in a slot whose declared type is `anyType`: the wire must name the real type.
    Any(Box<VimValue>),
}

/// One event of vCenter.
#[derive(Debug, Clone, PartialEq)]
pub struct VsphereEvent {
    /// Event class, for example `UserLoginSessionEvent`.
    pub class: &'static str,
    /// Running number.
    pub key: i32,
    /// Key of the event that began the chain.
    pub chain_id: i32,
    /// `createdTime`, UTC microseconds.
    pub created: i64,
    /// `userName` as the product writes it; empty for the system.
    pub user_name: String,
    /// Members that have a value, in schema order: `datacenter`, `computeResource`, `host`, `vm`, `ds`, `net`, `dvs`,
    /// `fullFormattedMessage`, `changeTag`, then the members of the class itself (base classes first).
    pub members: Vec<(&'static str, VimValue)>,
}

/// One entry of vCenter's live list `SessionManager.sessionList`.
#[derive(Debug, Clone, PartialEq)]
pub struct VsphereSession {
    /// Session id; equals `sessionId` of its login event.
    pub key: String,
    /// As in events.
    pub user_name: String,
    /// Display name.
    pub full_name: String,
    /// UTC microseconds.
    pub login_time: i64,
    /// UTC microseconds.
    pub last_active_time: i64,
    /// Client address.
    pub ip_address: String,
    /// Client program.
    pub user_agent: String,
    /// API calls made so far.
    pub call_count: i64,
    /// True for a session that an extension opened.
    pub extension_session: bool,
    /// Language, for example `en`.
    pub locale: String,
}

/// One vCenter.
#[derive(Debug, Clone)]
pub struct Vsphere {
    /// `about.instanceUuid`.
    pub instance_uuid: String,
    /// `about.version`.
    pub version: &'static str,
    /// Events by (`created`, `key`).
    pub events: Vec<VsphereEvent>,
    /// The live list at the end of the history, by `login_time`.
    pub sessions: Vec<VsphereSession>,
}

/// One session document of the gateway. All times are UTC microseconds with millisecond detail.
#[derive(Debug, Clone, PartialEq)]
pub struct SpsSession {
    /// Opaque document key.
    pub key: String,
    /// Start of the connection.
    pub start: i64,
    /// End; none while active.
    pub end: Option<i64>,
    /// When the document was made.
    pub creation: i64,
    /// Raised with each change.
    pub revision: i64,
    /// Still running.
    pub active: bool,
    /// A fragment that the product hides by default.
    pub hidden: bool,
    /// A flag whose meaning the vendor does not say.
    pub phantom: bool,
    /// `RECORDING` for sessions of this gateway.
    pub origin: &'static str,
    /// `SSH` or `RDP`.
    pub protocol: &'static str,
    /// Verdict of the document, for example `ACCEPT`.
    pub verdict: &'static str,
    /// Verdict inside `recording`, in that object's own spelling, for example `Accepted`.
    pub recording_verdict: &'static str,
    /// Node that served it.
    pub node_id: String,
    /// Client address.
    pub client_ip: String,
    /// Client port.
    pub client_port: u16,
    /// Client name, often just the address.
    pub client_name: String,
    /// Address of the server reached; none if no server was reached.
    pub server_ip: Option<String>,
    /// Its port.
    pub server_port: u16,
    /// Its name.
    pub server_name: String,
    /// Address that the client asked for.
    pub target_ip: String,
    /// Port that the client asked for.
    pub target_port: u16,
    /// The gateway's own address towards the server.
    pub server_local_ip: String,
    /// The gateway's own port towards the server.
    pub server_local_port: u16,
    /// `user.id`.
    pub user_id: String,
    /// `user.name`: the gateway user, or the server user where no gateway login took place.
    pub user_name: String,
    /// `user.gateway_username` where the release has it.
    pub gateway_username: Option<String>,
    /// Account used on the server.
    pub server_username: String,
    /// Authentication towards the server, for example `PASSWORD`.
    pub auth_method: &'static str,
    /// Name of the connection policy.
    pub connection_policy: &'static str,
    /// Its stable key.
    pub connection_policy_id: String,
    /// Name of the channel policy.
    pub channel_policy: &'static str,
    /// Running number of the TCP connection.
    pub content_reference_id: i64,
    /// The strongest sign of success.
    pub has_accepted_channel: bool,
    /// `recording.session_id`, as in the log stream.
    pub sid: String,
    /// Risk score 0 to 100 where the product scored the session.
    pub risk: Option<i32>,
    /// A replayable recording exists.
    pub has_trail: bool,
}

/// One gateway.
#[derive(Debug, Clone)]
pub struct Sps {
    /// Host name of the appliance.
    pub hostname: String,
    /// Its node id.
    pub node_id: String,
    /// Documents by (`start`, `key`).
    pub sessions: Vec<SpsSession>,
}

/// One row of Canvas's authentication log.
#[derive(Debug, Clone, PartialEq)]
pub struct CanvasEvent {
    /// UUID of the row.
    pub id: String,
    /// Unix seconds.
    pub created_at: i64,
    /// `login` or `logout`.
    pub event_type: &'static str,
    /// The login (pseudonym) used.
    pub login_id: i64,
    /// Account that the login belongs to.
    pub account_id: i64,
    /// Its user.
    pub user_id: i64,
    /// Id of the linked page view, where there is one.
    pub page_view: Option<String>,
}

/// One login (pseudonym) of Canvas.
#[derive(Debug, Clone, PartialEq)]
pub struct CanvasLogin {
    /// Its number.
    pub id: i64,
    /// Its user.
    pub user_id: i64,
    /// Its account.
    pub account_id: i64,
    /// The name typed to log in.
    pub unique_id: String,
}

/// One user of Canvas.
#[derive(Debug, Clone, PartialEq)]
pub struct CanvasUser {
    /// Their number.
    pub id: i64,
    /// Display name.
    pub name: String,
    /// `login_id` of the user object: the `unique_id` of a login.
    pub login_id: String,
}

/// One page view of Canvas, as far as authentication events link to it.
#[derive(Debug, Clone, PartialEq)]
pub struct CanvasPageView {
    /// Request id.
    pub id: String,
    /// Client address.
    pub remote_ip: String,
    /// Client program.
    pub user_agent: &'static str,
}

/// One Canvas instance.
#[derive(Debug, Clone)]
pub struct Canvas {
    /// Number of the root account.
    pub root_account_id: i64,
    /// Its name.
    pub root_account_name: String,
    /// Its UUID.
    pub root_account_uuid: String,
    /// The log, newest first by (`created_at`, `id`).
    pub events: Vec<CanvasEvent>,
    /// Logins by number.
    pub logins: Vec<CanvasLogin>,
    /// Users by number.
    pub users: Vec<CanvasUser>,
    /// Page views by id.
    pub page_views: HashMap<String, CanvasPageView>,
}
