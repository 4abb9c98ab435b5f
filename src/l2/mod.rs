//! Link-layer switching state: each a table or a protocol's state, with time as an argument.

pub mod fdb;
