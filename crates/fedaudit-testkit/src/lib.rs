//! fedaudit-testkit
