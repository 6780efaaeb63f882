//! The wire against loopback servers: what is sent where, how often, how long it may take, and whom it trusts. The numbers
//! are those of `docs/conformance/transport.md`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "wire/bounds.rs"]
mod bounds;
#[path = "wire/logins.rs"]
mod logins;
#[path = "wire/proxies.rs"]
mod proxies;
#[path = "wire/redirects.rs"]
mod redirects;
#[path = "wire/retries.rs"]
mod retries;
#[path = "wire/server.rs"]
mod server;
#[path = "wire/sockets.rs"]
mod sockets;
#[path = "wire/trust.rs"]
mod trust;
