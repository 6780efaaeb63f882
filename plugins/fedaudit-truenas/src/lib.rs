//! fedaudit-truenas
