//! The daemon (not yet wired).
fn main() {}
