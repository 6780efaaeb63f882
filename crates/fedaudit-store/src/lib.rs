//! Collected rows in an open table format, and the ledger of what they cover.
//!
//! A store is a folder or a place in an object store. In it lie Delta tables that other engines read as well: `events` and
//! `sessions` with the columns of the live tables, `rejected` with the bytes of what could not be decoded, `coverage` with
//! every window that was read, `amendments` with what changed after the fact, `identities` with what each source said it is.
//! [`Writer`] is the one process that writes; what it promises stands in `docs/store.md`.

pub mod collect;
mod collected;
pub mod columns;
mod compact;
mod durable;
mod entry;
mod error;
mod file;
mod file_reader;
mod findings;
mod format;
mod identity;
mod keys;
mod layout;
mod ledger;
mod lock;
mod place;
mod read;
mod records;
mod recover;
mod setbacks;
mod sift;
mod store;
mod stored;
mod table;
mod writer;

pub use compact::Tidied;
pub use entry::{Counts, Entry, Reading};
pub use fedaudit_engine::Coverage;
pub use identity::Identity;
pub use ledger::Ledger;
pub use place::Place;
pub use store::Store;
pub use writer::{Fetch, Writer};
