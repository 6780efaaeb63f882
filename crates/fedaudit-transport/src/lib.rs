//! The wire of fedaudit: HTTP and WebSocket clients with verified TLS, retries, deadlines and bounds. What a status or a
//! body means to a product is the plugin's business; how it travels is decided here, once.

mod discreet;
mod echo;
#[cfg(test)]
mod fuzz;
mod http_client;
mod login;
mod origin;
mod pace;
mod proxy;
mod request;
mod response;
mod retry;
mod secret_ref;
mod tls;
mod websocket;

pub use discreet::{Discreet, Spoken};
pub use http_client::{Bounds, HttpClient};
pub use login::{Attempt, Login};
pub use origin::Origin;
pub use pace::Pace;
pub use proxy::ProxyConfig;
pub use request::HttpRequest;
pub use response::{HttpResponse, error_for, error_saying};
pub use retry::{PATIENCE, remaining, retry_after};
pub use secret_ref::SecretRef;
pub use tls::TlsConfig;
pub use websocket::WebSocket;

/// What we call ourselves: recognisable in the products' logs, and never like a browser (SPS treats those differently).
pub const USER_AGENT: &str = concat!("fedaudit/", env!("CARGO_PKG_VERSION"));
