//! The database: a client of `ovsdb-server` (RFC 7047 and ovsdb-server(7)).
//!
//! What it is: [`client::Client`] keeps a [`replica::Replica`] of the tables that we read in step with
//! the server and commits [`transaction::Transaction`]s. It knows tables and columns, nothing of bridges.
//!
//! What always holds: nothing that a server sends makes the daemon stop, wait or grow beyond a
//! bound of [`crate::limits`]; a value of the wrong type is as good as absent; a server that is
//! away leaves the replica as it was.
//!
//! Threads: one thread for the connection, which parses and applies what comes; the control
//! thread takes over what is ready.

pub mod client;
mod connection;
mod database_row;
mod message;
mod outbox;
mod reconnect;
pub mod remote;
pub mod replica;
pub mod schema;
pub mod session;
mod stream;
mod tls;
pub mod tls_policy;
mod told;
pub mod transaction;
mod updates;
pub mod value;
