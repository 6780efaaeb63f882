//! The Canvas plugin against a Canvas of the test kit, over real TLS on loopback.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "conformance/bench.rs"]
mod bench;
#[path = "conformance/failures.rs"]
mod failures;
#[path = "conformance/fields.rs"]
mod fields;
#[path = "conformance/reading.rs"]
mod reading;
#[path = "conformance/suite.rs"]
mod suite;
