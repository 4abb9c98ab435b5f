//! The tool (not yet wired).
fn main() {}
