//! The Canvas plugin against a Canvas of the test kit, over real TLS on loopback.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "conformance/bench.rs"]
mod bench;
#[path = "conformance/changes.rs"]
mod changes;
#[path = "conformance/failures.rs"]
mod failures;
#[path = "conformance/fields.rs"]
mod fields;
#[path = "conformance/forms.rs"]
mod forms;
#[path = "conformance/pace.rs"]
mod pace;
#[path = "conformance/reading.rs"]
mod reading;
#[path = "conformance/real_client.rs"]
mod real_client;
#[path = "conformance/statements.rs"]
mod statements;
#[path = "conformance/suite.rs"]
mod suite;
#[path = "conformance/trust.rs"]
mod trust;
