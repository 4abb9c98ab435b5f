//! The connection to the database server, as the control thread sees it.
//!
//! What it is: [`Client::event`] tells what happened, [`Client::replica`] is the database as of the
//! last event, [`Client::commit`] writes. A thread of its own holds the socket, reads and applies
//! updates; however large they are, the control thread only takes over what is ready.
//!
//! What always holds: the replica changes inside [`Client::event`] only, from one complete state
//! to another; while the server is away it stays; each transaction gets exactly one outcome.

use std::future::pending;
use std::path::PathBuf;

use super::remote::Remote;
use super::replica::{Changes, Replica};
use super::transaction::{Done, Transaction, TxnError, TxnId};

/// Files for `ssl:` remotes; they are read anew when they have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: our private key.
    pub private_key: PathBuf,
    /// PEM: our certificate, and those between it and the authority.
    pub certificate: PathBuf,
    /// PEM: the authority that must have signed the server's certificate.
    pub ca_cert: PathBuf,
    /// If `ca_cert` does not exist, trust whom we meet first and write it there.
    pub bootstrap_ca_cert: bool,
}

/// How to talk to the server.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// The lock to take; with one, transactions happen only while we hold it.
    pub lock: Option<String>,
    /// For `ssl:` remotes.
    pub tls: Option<TlsFiles>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The replica is what the server has; comes after the [`Event::Updated`] that made it so.
    Connected,
    /// The replica has changed. The first one comes even when the database is empty.
    Updated(Changes),
    /// The server is away; the replica stays. Only after [`Event::Connected`].
    Disconnected,
    /// We hold the lock, or another process does.
    Lock(bool),
    /// What became of a transaction.
    Committed(TxnId, Result<Done, TxnError>),
}

/// See the module's page.
#[derive(Debug)]
pub struct Client {
    replica: Replica,
    next_txn: u64,
}

impl Client {
    /// Begins to connect to one of `remotes`, and again whenever the connection is lost.
    pub fn new(_remotes: Vec<Remote>, _options: ClientOptions) -> Client {
        Client { replica: Replica::default(), next_txn: 0 }
    }

    /// Waits for the next event. May be dropped while it waits; nothing is lost.
    pub async fn event(&mut self) -> Event {
        pending().await
    }

    /// The database as of the last event; empty before the first [`Event::Updated`].
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Can transactions be sent: connected, and the lock (if any) held?
    pub fn is_writable(&self) -> bool {
        false
    }

    /// Sends a transaction. Its outcome is an event, also when there is nothing to send.
    pub fn commit(&mut self, _transaction: Transaction) -> TxnId {
        self.next_txn += 1;
        TxnId(self.next_txn)
    }
}
