//! Libraries that are loaded, behave and misbehave.

mod foreign;
mod header;
mod rust;
mod support;
