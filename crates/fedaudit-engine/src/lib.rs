//! fedaudit-engine
