//! fedaudit-sps
