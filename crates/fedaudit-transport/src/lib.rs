//! fedaudit-transport
