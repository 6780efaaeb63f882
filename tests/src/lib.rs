//! Tests that need the engine, the plugins and the stand-ins in one process. The library itself is empty: what the tests
//! share lives beside them, in `tests/federated/world.rs`.
