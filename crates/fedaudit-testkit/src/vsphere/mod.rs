//! The stand-in vCenter, or ESXi host: SOAP at `/sdk`, VI JSON below `/sdk/vim25/RELEASE/`, one log and one list of sessions
//! behind both.
//!
//! As the product does, it answers faults with status 500, hands out a cookie with quotes in its value, ends collectors
//! with their login, and holds a limit of collectors for the whole server.

mod call;
mod events;
mod json;
mod methods;
mod options;
mod property;
mod soap;
mod state;
mod text;

mod outside;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use self::call::{Call, Fault, Reply};
pub use self::options::{Introduction, Kind, Options};
use self::state::State;
use crate::records::{VsphereEvent, World};
use crate::request_log::LogEntry;

/// A vCenter that shows one world.
#[derive(Clone)]
pub struct StandIn(Arc<Inner>);

struct Inner {
    world: Arc<World>,
    options: Options,
    /// Whether the world's events stand in the order of time, so that a bound can be searched.
    in_order: bool,
    state: Mutex<State>,
    requests: AtomicU64,
}

impl StandIn {
    /// A vCenter with nobody logged in.
    pub fn new(world: Arc<World>, options: Options) -> Self {
        let in_order = world.vsphere.events.is_sorted_by_key(|event| event.created);
        Self(Arc::new(Inner { world, options, in_order, state: Mutex::default(), requests: AtomicU64::new(0) }))
    }

    /// Its whole HTTP surface.
    pub fn router(&self) -> Router {
        let mut router = Router::new().route("/sdk", post(soap::call));
        let options = &self.0.options;
        if options.versions_file {
            router = router.route("/sdk/vimServiceVersions.xml", get(soap::versions));
        }
        if options.json && options.hello {
            router = router.route("/api/vcenter/system", post(json::hello));
        }
        if options.json {
            let path = "/sdk/vim25/{release}/{kind}/{object}/{member}";
            router = router.route(path, get(json::property).post(json::method));
        }
        router.with_state(self.clone())
    }

    /// Stores an event now, behind all others; its time may be older than theirs.
    pub fn add(&self, event: VsphereEvent) {
        self.state().added.push(Arc::new(event));
    }

    /// Logins that are open now.
    pub fn open_logins(&self) -> usize {
        self.state().logins.len()
    }

    /// Collectors that are held now.
    pub fn open_collectors(&self) -> usize {
        self.state().logins.values().map(|login| login.collectors.len()).sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for StandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandIn").field("product", &"vsphere").finish_non_exhaustive()
    }
}

/// What comes before any understanding: latency, a busy front, a wrong front.
async fn before(inner: &Inner) -> Option<Response> {
    if !inner.options.latency.is_zero() {
        tokio::time::sleep(inner.options.latency).await;
    }
    if inner.options.html {
        return Some(
            ([(header::CONTENT_TYPE, "text/html")], "<html><body>Please sign in</body></html>").into_response(),
        );
    }
    let number = inner.requests.fetch_add(1, Ordering::Relaxed);
    let busy = number.checked_sub(inner.options.available_first).is_some_and(|late| late < inner.options.unavailable);
    busy.then(|| {
        (StatusCode::SERVICE_UNAVAILABLE, [(header::CONTENT_TYPE, "text/html")], "<html>503 Service Unavailable</html>")
            .into_response()
    })
}

fn user_agent(headers: &HeaderMap) -> &str {
    headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default()
}

fn log(inner: &Inner, call: &Call, answer: &Result<Reply<'_>, Fault>) {
    let records = match answer {
        Ok(Reply::Events(events)) => events.len(),
        Ok(Reply::Values(values)) => values.len(),
        Ok(Reply::Property { value: Ok(value), .. }) => value.len(),
        _ => 0,
    };
    inner.options.log.push(LogEntry {
        product: "vsphere",
        method: "RPC".to_owned(),
        target: call.described(),
        status: if answer.is_ok() { 200 } else { 500 },
        records: records as u64,
    });
}
