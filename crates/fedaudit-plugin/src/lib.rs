//! Sources that are loaded at run time.
//!
//! A plugin is a shared library with one exported function, `fedaudit_plugin`, which returns a [table](abi::Table) of C
//! functions. [`abi`] defines the table; `include/fedaudit_plugin.h`, for other languages, is made of it. [`guest`] turns
//! a Rust [`Plugin`](fedaudit_core::Plugin) into such a library with one line, [`export_plugin!`]. [`host`] loads one and
//! makes an [`AuditSource`](fedaudit_core::AuditSource) of each of its sources.
//!
//! Rows cross as Arrow arrays of the C Data Interface, without a copy; everything else crosses as JSON.
#![allow(
    unsafe_code,
    reason = "the boundary of a shared library is made of raw pointers; this crate is where they end"
)]

pub mod abi;
pub mod guest;
pub mod host;
#[cfg(unix)]
pub mod process;
#[cfg(feature = "conformance")]
pub mod subject;
mod wire;
