//! fedaudit-canvas
