//! The control socket: what `ovs-appctl` talks to.
//!
//! What it is: a [`Registry`] of named commands, a [`Server`] that answers JSON-RPC 1.0 requests
//! on a Unix socket from it, and a small blocking [`client`].
//!
//! What always holds: one request at a time is in progress on a connection, and each gets exactly
//! one answer, even if the command forgets to give one; nothing that a client sends makes the
//! daemon wait, grow beyond a bound of [`crate::limits`], or stop. The texts are the peer's.
//!
//! Threads: registry, server and handlers live on the control thread (a tokio current-thread
//! runtime with a `LocalSet`) and may hold state that is not `Send`. A [`Reply`] may be moved to
//! any thread or task and used later.

mod builtin;
pub mod client;
pub mod framing;
pub mod message;
mod registry;
mod server;

pub use registry::{Answer, Call, CommandError, Format, Output, Registry, Reply};
pub(crate) use server::short_name;
pub use server::{Server, ServerError};

#[cfg(test)]
mod tests;
