//! fedaudit
fn main() {}
