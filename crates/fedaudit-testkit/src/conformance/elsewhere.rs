//! Another server, trusted like the product's own, that nothing may ever be sent to.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State};

use crate::serve::{serve, serve_plain};
use crate::{Authority, ServerHandle};

/// The wrong place, once over TLS and once without.
pub(crate) struct Elsewhere {
    tls: ServerHandle,
    plain: ServerHandle,
    heard: Heard,
}

type Heard = Arc<Mutex<Vec<String>>>;

impl Elsewhere {
    /// Starts listening.
    pub(crate) async fn start(authority: &Authority) -> io::Result<Self> {
        let heard = Heard::default();
        let router = Router::new().fallback(hear).with_state(Arc::clone(&heard));
        Ok(Self { tls: serve(router.clone(), authority).await?, plain: serve_plain(router).await?, heard })
    }

    /// Its addresses.
    pub(crate) fn origins(&self) -> [&str; 2] {
        [&self.tls.origin, &self.plain.origin]
    }

    /// What it was sent.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn hear(State(heard): State<Heard>, request: Request) -> &'static str {
    let line = format!("{} {} {:?}", request.method(), request.uri(), request.headers());
    heard.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    "{}"
}
