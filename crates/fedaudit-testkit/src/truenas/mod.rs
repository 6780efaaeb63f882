//! Stand-in for TrueNAS: its audit databases and live sessions over JSON-RPC on a WebSocket.
//!
//! It behaves like the release that [`Options::versions`] ends with, quirks included: the filter language of its period,
//! limits of size and number, whole seconds, and a credential that works once over plain HTTP and never again.

mod answer;
mod filter;
mod login;
mod methods;
mod query;
mod socket;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{ConnectInfo, State};
use axum::http::header::{CONTENT_TYPE, DATE};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use tokio::sync::watch;

pub use query::row_text;

use crate::records::{TrueNasRecord, TrueNasService, World};
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

/// Who may log in, and how the appliance behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// API versions, oldest first; the newest decides on behaviour.
    pub versions: Vec<String>,
    /// The reader's account.
    pub username: String,
    /// Its API key, `id-secret`.
    pub api_key: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// The account has a second factor.
    pub second_factor: bool,
    /// What the account may do.
    pub roles: Roles,
    /// Whether clients come over TLS; an API key that comes without it is revoked.
    pub secure: bool,
    /// This is the standby controller of a pair.
    pub standby: bool,
    /// Calls a minute that one method takes from clients that are not logged in; the product's own number is 20.
    pub anonymous_calls: Option<usize>,
    /// Audit rows whose JSON the product itself cannot decode: pages that hold one fail as a whole.
    pub poisoned: Vec<String>,
    /// Answer every request with the page of a proxy's login.
    pub html: bool,
    /// Added to every call.
    pub latency: Duration,
    /// What was asked.
    pub log: RequestLog,
    /// Whether the reader's own logins and session appear in the product's records, as they do on a real one.
    pub list_reader: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            versions: ["v25.04.0", "v25.04.1", "v25.10.0", "v25.10.1"].map(str::to_owned).to_vec(),
            username: "auditor".to_owned(),
            api_key: None,
            password: None,
            second_factor: false,
            roles: Roles { audit_read: true, sessions_read: true, full_admin: false },
            secure: true,
            standby: false,
            anonymous_calls: None,
            poisoned: Vec::new(),
            html: false,
            latency: Duration::ZERO,
            log: RequestLog::default(),
            list_reader: false,
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
    regime: Regime,
    /// Live connections of the reader: session id, origin and login time.
    readers: Mutex<HashMap<String, Reader>>,
    /// Rows that the reader's own logins made.
    own_rows: Mutex<Vec<TrueNasRecord>>,
    /// Rows stored after this second are not there yet.
    stored_until: AtomicI64,
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
        Self(Arc::new(Appliance {
            world,
            options,
            regime,
            readers: Mutex::default(),
            own_rows: Mutex::default(),
            stored_until: AtomicI64::new(i64::MAX),
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

    /// Hides rows stored after this second: they are still in the log daemon's buffer.
    pub fn store_until(&self, second: i64) {
        self.0.stored_until.store(second, Ordering::Relaxed);
    }
}

impl Appliance {
    fn readers(&self) -> std::sync::MutexGuard<'_, HashMap<String, Reader>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
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
