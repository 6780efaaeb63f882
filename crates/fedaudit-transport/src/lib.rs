//! The wire of fedaudit: HTTP and WebSocket clients with verified TLS, retries, deadlines and bounds. What a status or a
//! body means to a product is the plugin's business; how it travels is decided here, once.

mod http_client;
mod login;
mod origin;
mod response;
mod retry;
mod secret_ref;
mod tls;
mod websocket;

pub use http_client::{HttpClient, HttpRequest};
pub use login::{Attempt, Login};
pub use origin::Origin;
pub use response::{HttpResponse, error_for};
pub use secret_ref::SecretRef;
pub use tls::TlsConfig;
pub use websocket::WebSocket;

/// What we call ourselves: recognisable in the products' logs, and never like a browser (SPS treats those differently).
pub const USER_AGENT: &str = concat!("fedaudit/", env!("CARGO_PKG_VERSION"));
