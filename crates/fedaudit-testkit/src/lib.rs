//! Stand-in products and the truth behind them: one seeded generator makes an organisation's history, and four loopback
//! servers each show their product's view of it. They know nothing of fedaudit's own code, so that they can judge it; only
//! `conformance` knows the contract of a source, which it holds every plugin to.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod canvas;
pub mod conformance;
pub mod demo;
pub mod faults;
pub mod organisation;
pub mod random;
pub mod records;
pub mod request_log;
pub mod serve;
pub mod sps;
pub mod tls;
pub mod truenas;
pub mod truth;
pub mod vsphere;

pub use axum;
pub use demo::{Demo, DemoOptions};
pub use organisation::Settings;
pub use records::World;
pub use request_log::{LogEntry, RequestLog};
pub use serve::{ServerHandle, serve};
pub use tls::Authority;
