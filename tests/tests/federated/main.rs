//! Federated questions over the four stand-in products: the real engine, the real plugins, real TLS on loopback.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    clippy::print_stderr,
    reason = "tests say what they see, and panic where they must"
)]

mod explain;
mod faults;
mod leaving;
mod one_and_many;
mod outages;
mod pushdown;
mod receipt;
mod seeds;
mod stored;
mod tidy;
mod truth;
mod windows;
mod world;
