//! Libraries that are loaded, behave and misbehave.
#![allow(clippy::unwrap_used, reason = "tests")]

mod bad_child;
mod foreign;
mod generated;
mod header;
mod isolated;
mod plugin_c;
mod previous_arrow;
mod release;
mod rust;
mod support;
