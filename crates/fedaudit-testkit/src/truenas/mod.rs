//! Stand-in for TrueNAS: its audit databases and live sessions over JSON-RPC on a WebSocket.
//!
//! It behaves like the release that [`Options::versions`] ends with, quirks included: the filter language of its period,
//! limits of size and number, whole seconds, and a credential that works once over plain HTTP and never again.

mod answer;
mod filter;
mod login;
mod methods;
mod query;
mod scram;
mod sessions;
mod socket;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ws::Message;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{ConnectInfo, State};
use axum::http::header::{CONTENT_TYPE, DATE};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use tokio::sync::{mpsc, watch};

pub use query::row_text;

use crate::records::{TrueNasRecord, TrueNasService, TrueNasSession, World};
use crate::request_log::{LogEntry, RequestLog};

/// How audit queries behave, by release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Regime {
    /// Before 25.10.1: several services in a call, no rule on limits, filters in SQL or in memory.
    A,
    /// 25.10.1 to 25.10.7: one service, a limit is required, SQL only, and OR means AND.
    B,
    /// 26 and later: as B, with OR repaired.
    C,
}

/// What the reader's account may do.
#[derive(Debug, Clone, Copy)]
pub struct Roles {
    /// SYSTEM_AUDIT_READ
    pub audit_read: bool,
    /// AUTH_SESSIONS_READ
    pub sessions_read: bool,
    /// FULL_ADMIN, needed to subscribe to session events.
    pub full_admin: bool,
}

/// The other controller of a pair.
#[derive(Debug, Clone)]
pub struct OtherController {
    /// What its own audit databases hold.
    pub world: Arc<World>,
    /// Whether it answers.
    pub reachable: bool,
}

/// Who may log in, and how the appliance behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// API versions; the newest decides on behaviour. None at all is a release without this API.
    pub versions: Vec<String>,
    /// The reader's account.
    pub username: String,
    /// Its API key, `id-secret`.
    pub api_key: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// A token that was generated for it.
    pub token: Option<String>,
    /// The account has a second factor.
    pub second_factor: bool,
    /// What the account may do.
    pub roles: Roles,
    /// Whether clients come over TLS; an API key that comes without it is revoked.
    pub secure: bool,
    /// The answer to a right credential, in place of `SUCCESS`: `DENIED`, `EXPIRED`.
    pub login_answer: Option<&'static str>,
    /// The security settings demand a second factor of everybody: keys and tokens are no way in.
    pub assurance_level_2: bool,
    /// The other side of `SCRAM` does not know the key and only pretends to.
    pub false_server: bool,
    /// The client's address is not allowed: connections are closed as soon as they are open.
    pub forbidden: bool,
    /// This is the standby controller of a pair.
    pub standby: bool,
    /// The other controller of a pair; none on a single one, which ignores `remote_controller`.
    pub other: Option<OtherController>,
    /// Calls a minute that one method takes from clients that are not logged in; the product's own number is 20.
    pub anonymous_calls: Option<usize>,
    /// Audit rows whose event data are no JSON: from 25.10.1 on, pages that hold one fail as a whole.
    pub poisoned: Vec<String>,
    /// Columns that are NULL in an audit row (`audit_id`, column): in 25.10.0, pages that hold one fail as a whole.
    pub nulls: Vec<(String, &'static str)>,
    /// An operator that this appliance does not know.
    pub unknown_operator: Option<&'static str>,
    /// The account may not read `audit.config`.
    pub hidden_config: bool,
    /// Connections that are silent for this long are dropped.
    pub idle: Option<Duration>,
    /// Answer every request with the page of a proxy's login.
    pub html: bool,
    /// Added to every call.
    pub latency: Duration,
    /// What was asked.
    pub log: RequestLog,
    /// Whether the reader's own logins and session appear in the product's records, as they do on a real one.
    pub list_reader: bool,
    /// The list of sessions is empty, as it is on none.
    pub lists_nobody: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            versions: ["v25.04.0", "v25.04.1", "v25.10.0", "v25.10.1"].map(str::to_owned).to_vec(),
            username: "auditor".to_owned(),
            api_key: None,
            password: None,
            token: None,
            second_factor: false,
            roles: Roles { audit_read: true, sessions_read: true, full_admin: false },
            secure: true,
            login_answer: None,
            assurance_level_2: false,
            false_server: false,
            forbidden: false,
            standby: false,
            other: None,
            anonymous_calls: None,
            poisoned: Vec::new(),
            nulls: Vec::new(),
            unknown_operator: None,
            hidden_config: false,
            idle: None,
            html: false,
            latency: Duration::ZERO,
            log: RequestLog::default(),
            list_reader: false,
            lists_nobody: false,
        }
    }
}

/// One stand-in appliance. Clones are the same appliance.
#[derive(Debug, Clone)]
pub struct StandIn(Arc<Appliance>);

#[derive(Debug)]
struct Appliance {
    world: Arc<World>,
    options: Options,
    newest: Vec<u32>,
    regime: Regime,
    /// Live sessions of others.
    live: Mutex<Vec<TrueNasSession>>,
    /// Where each open connection's messages go.
    lines: Mutex<HashMap<String, mpsc::UnboundedSender<Message>>>,
    /// Connections that are told of sessions, with the id of their subscription.
    subscribers: Mutex<HashMap<String, String>>,
    /// Half-done `SCRAM` logins by connection.
    scrams: Mutex<HashMap<String, scram::Pending>>,
    /// Live connections of the reader: session id, origin and login time.
    readers: Mutex<HashMap<String, Reader>>,
    /// Rows that the reader's own logins made.
    own_rows: Mutex<Vec<TrueNasRecord>>,
    /// Rows stored after this second are not there yet.
    stored_until: AtomicI64,
    /// Rows stored before this second are deleted.
    kept_from: AtomicI64,
    revoked: AtomicBool,
    anonymous: Mutex<HashMap<String, Vec<Instant>>>,
    /// Counts up when connections are to be cut.
    cut: watch::Sender<u64>,
    next_id: AtomicI64,
}

#[derive(Debug, Clone)]
struct Reader {
    origin: String,
    login_id: String,
    login_at: i64,
    kind: &'static str,
}

impl StandIn {
    /// An appliance that holds the world's records.
    pub fn new(world: Arc<World>, options: Options) -> Self {
        let newest = options.versions.iter().filter_map(|text| version(text)).max().unwrap_or_default();
        let regime = if newest >= vec![26] {
            Regime::C
        } else if newest >= vec![25, 10, 1] {
            Regime::B
        } else {
            Regime::A
        };
        let live = Mutex::new(world.truenas.sessions.clone());
        Self(Arc::new(Appliance {
            world,
            options,
            newest,
            regime,
            live,
            lines: Mutex::default(),
            subscribers: Mutex::default(),
            scrams: Mutex::default(),
            readers: Mutex::default(),
            own_rows: Mutex::default(),
            stored_until: AtomicI64::new(i64::MAX),
            kept_from: AtomicI64::new(i64::MIN),
            revoked: AtomicBool::new(false),
            anonymous: Mutex::default(),
            cut: watch::Sender::new(0),
            next_id: AtomicI64::new(1),
        }))
    }

    /// The appliance as an HTTP service.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/api/versions", get(versions))
            .route("/api/{version}", any(connect))
            .with_state(Arc::clone(&self.0))
    }

    /// Ends every login; the sockets stay open, as after a session's expiry.
    pub fn expire_logins(&self) {
        self.0.readers().clear();
    }

    /// Cuts every connection.
    pub fn cut_connections(&self) {
        self.0.cut.send_modify(|count| *count += 1);
    }

    /// Number of connections that are logged in.
    pub fn logins(&self) -> usize {
        self.0.readers().len()
    }

    /// Deletes the rows stored before this second, as the product does every day.
    pub fn forget_before(&self, second: i64) {
        self.0.kept_from.store(second, Ordering::Relaxed);
    }

    /// Somebody logs in.
    pub fn begin_session(&self, session: TrueNasSession) {
        self.0.tell_added(&session);
        self.0.live().push(session);
    }

    /// A session ends; the product tells its subscribers unless it is an internal one.
    pub fn end_session(&self, id: &str) {
        let ended = {
            let mut live = self.0.live();
            live.iter().position(|session| session.id == id).map(|index| live.remove(index))
        };
        if ended.is_some_and(|session| !session.internal) {
            self.0.tell_removed(id);
        }
    }

    /// Ends every subscription from this side.
    pub fn end_subscriptions(&self) {
        self.0.end_subscriptions();
    }

    /// Hides rows stored after this second: they are still in the log daemon's buffer.
    pub fn store_until(&self, second: i64) {
        self.0.stored_until.store(second, Ordering::Relaxed);
    }
}

impl Appliance {
    fn readers(&self) -> std::sync::MutexGuard<'_, HashMap<String, Reader>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> std::sync::MutexGuard<'_, Vec<TrueNasSession>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the release is that one or newer.
    fn since(&self, release: &[u32]) -> bool {
        self.newest.as_slice() >= release
    }

    fn own_rows(&self, service: TrueNasService) -> Vec<TrueNasRecord> {
        if service != TrueNasService::Middleware {
            return Vec::new();
        }
        self.own_rows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn log(&self, method: &str, target: String, status: i32, records: u64) {
        self.options.log.push(LogEntry { product: "truenas", method: method.to_owned(), target, status, records });
    }

    /// A UUID-shaped id that was never given before.
    fn fresh_id(&self) -> String {
        let number = self.next_id.fetch_add(1, Ordering::Relaxed);
        format!("0fedad17-0000-4000-8000-{number:012x}")
    }
}

fn version(text: &str) -> Option<Vec<u32>> {
    text.strip_prefix('v')?.split('.').map(|part| part.parse().ok()).collect()
}

async fn versions(State(appliance): State<Arc<Appliance>>) -> Response {
    tokio::time::sleep(appliance.options.latency).await;
    appliance.log("GET", "/api/versions".to_owned(), 200, 0);
    let date = chrono::Utc::now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if appliance.options.html {
        return ([(CONTENT_TYPE, "text/html".to_owned()), (DATE, date)], "<html><title>Sign in</title></html>")
            .into_response();
    }
    if appliance.options.versions.is_empty() {
        return axum::http::StatusCode::NOT_FOUND.into_response();
    }
    let body = serde_json::to_string(&appliance.options.versions).unwrap_or_default();
    ([(CONTENT_TYPE, "application/json".to_owned()), (DATE, date)], body).into_response()
}

async fn connect(
    State(appliance): State<Arc<Appliance>>,
    peer: Option<axum::Extension<ConnectInfo<std::net::SocketAddr>>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let origin = peer.map_or_else(|| "127.0.0.1:40000".to_owned(), |peer| peer.0.0.to_string());
    upgrade.max_message_size(1 << 20).on_upgrade(move |stream| socket::serve(appliance, stream, origin))
}
