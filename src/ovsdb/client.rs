//! The connection to the database server, as the control thread sees it.
//!
//! What it is: [`Client::event`] tells what happened, [`Client::replica`] is the database as of the
//! last event, [`Client::commit`] writes. A thread of its own holds the socket, reads and applies
//! updates; however large they are, the control thread only takes over what is ready.
//!
//! What always holds: the replica changes inside [`Client::event`] only, from one complete state
//! to another; while the server is away it stays; each transaction gets exactly one outcome.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::connection::{Command, Connection};
use super::outbox::{Item, Outbox, Step};
use super::remote::Remote;
use super::replica::{Changes, Replica};
pub use super::tls::TlsFiles;
use super::transaction::{Done, Transaction, TxnError, TxnId};
use crate::limits::OVSDB_TRANSACTIONS_MAX;

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
    outbox: Arc<Outbox>,
    commands: mpsc::Sender<Command>,
    /// Outcomes of transactions that could not be handed over.
    refused: VecDeque<TxnId>,
    next_txn: u64,
    is_writable: bool,
}

impl Client {
    /// Begins to connect to one of `remotes`, and again whenever the connection is lost.
    pub fn new(remotes: Vec<Remote>, options: ClientOptions) -> Client {
        let outbox = Arc::new(Outbox::default());
        let (commands, receiver) = mpsc::channel(OVSDB_TRANSACTIONS_MAX);
        let theirs = outbox.clone();
        let thread = std::thread::Builder::new().name("ovsdb".to_owned()).spawn(move || {
            // Its lines are those that the peer's main thread writes.
            crate::vlog::set_subprogram_name("");
            // The peer has no such thread: its lines of the connection are the main thread's.
            crate::vlog::set_subprogram_name("");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => {
                    runtime.block_on(async {
                        let ClientOptions { lock, tls } = options;
                        Connection::new(remotes, lock, tls, receiver, theirs).run().await;
                    });
                    // A name service that does not answer must not hold up the end.
                    runtime.shutdown_background();
                }
                Err(error) => tracing::error!(target: "ovsdb_cs", "no connection: {error}"),
            }
        });
        if let Err(error) = thread {
            tracing::error!(target: "ovsdb_cs", "no thread for the connection: {error}");
        }
        Client {
            replica: Replica::default(),
            outbox,
            commands,
            refused: VecDeque::new(),
            next_txn: 0,
            is_writable: false,
        }
    }

    /// Waits for the next event. May be dropped while it waits; nothing is lost.
    pub async fn event(&mut self) -> Event {
        if let Some(id) = self.refused.pop_front() {
            return Event::Committed(id, Err(TxnError::Busy));
        }
        let Item { event, step, is_writable } = self.outbox.pop().await;
        self.is_writable = is_writable;
        match step {
            Some(Step::Whole(replica)) => {
                let old = std::mem::replace(&mut self.replica, *replica);
                self.outbox.give_back(old);
            }
            Some(Step::Rows(rows)) => self.replica.put(rows),
            None => {}
        }
        event
    }

    /// The database as of the last event; empty before the first [`Event::Updated`].
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Hands the replica to whoever reads it on another thread; must be given back before the next event.
    pub fn lend(&mut self) -> Replica {
        std::mem::take(&mut self.replica)
    }

    /// Takes back what [`Client::lend`] gave.
    pub fn take_back(&mut self, replica: Replica) {
        self.replica = replica;
    }

    /// Could transactions be sent as of the last event: connected, and the lock (if any) held?
    pub fn is_writable(&self) -> bool {
        self.is_writable
    }

    /// Sends a transaction. Its outcome is an event, also when there is nothing to send.
    pub fn commit(&mut self, transaction: Transaction) -> TxnId {
        self.next_txn += 1;
        let id = TxnId(self.next_txn);
        if self.commands.try_send((id, transaction)).is_err() {
            self.refused.push_back(id);
        }
        id
    }
}

#[cfg(test)]
mod tests;
