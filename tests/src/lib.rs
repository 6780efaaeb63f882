//! What needs the engine, the plugins and the stand-ins in one process: the sources of a configuration, and the scripts of
//! faults. What only tests share lives beside them, in `tests/federated/world.rs`.

pub mod faults;
mod sources;

pub use sources::{AfterTheHistory, TO, behind, read_config, source};
