//! The conversation with the server, without sockets and clocks.
//!
//! What it is: texts in with [`Session::receive`], texts out with [`Session::take_output`], what
//! happened with [`Session::next_event`]. One value lives through all connections; call
//! [`Session::connected`] and [`Session::disconnected`] at their ends.
//!
//! How it goes, as with the peer: ask for the lock; ask for the schema of `_Server` and watch its
//! table `Database` for ours; watch our tables with `monitor_cond_since` from the last transaction
//! known; if the server knows none of that, with `monitor_cond` or `monitor`. Unlike the peer we
//! always ask for our schema: what `_Server` says of it is old after a conversion (seen with a
//! server of 3.1.0). When the server cannot resume, its answer holds everything: it is compared
//! with the replica, which changes in one step.
//!
//! What always holds: the replica is complete; each transaction gets one outcome; a text that makes
//! no sense is an error after which the connection must be closed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use thiserror::Error;

use super::database_row::{DatabaseRows, Unfit};
use super::message::{Message, elements};
use super::replica::{Changes, Replica};
use super::schema::{DATABASE, Schema, SchemaError, Table};
use super::transaction::{Compiled, Done, Transaction, TxnError, TxnId};
use super::updates::{Form, UpdateError, apply, difference};
use super::value::Uuid;
use crate::limits::{OVSDB_BACKLOG_BYTES_MAX, OVSDB_TRANSACTIONS_MAX};

/// What happened.
#[derive(Debug, PartialEq)]
pub enum SessionEvent {
    /// The replica is what the server has.
    Connected,
    /// The replica has changed; `all` if everything may have, the schema included.
    Updated {
        /// How.
        changes: Changes,
        /// The server told everything or we are back in step: take the whole replica.
        all: bool,
    },
    /// The server is away.
    Disconnected,
    /// We hold the lock, or another process does.
    Lock(bool),
    /// What became of a transaction.
    Committed(TxnId, Result<Done, TxnError>),
}

/// Why the connection must be closed.
#[derive(Debug, Error)]
pub enum SessionError {
    /// Not a message.
    #[error("received bad JSON-RPC message: {0}")]
    Message(#[from] serde_json::Error),
    /// A schema that is none.
    #[error("error parsing database schema: {0}")]
    Schema(#[from] SchemaError),
    /// Rows that make no sense.
    #[error("{0}")]
    Update(#[from] UpdateError),
    /// The answer to a request of ours has another shape than it should.
    #[error("received malformed {0}")]
    Malformed(&'static str),
    /// The server refuses what we cannot do without.
    #[error("received unexpected error response to {method}: {error}")]
    Refused {
        /// The request.
        method: &'static str,
        /// Its words.
        error: String,
    },
    /// The server does not have our database, or not in a state to be used.
    #[error("{0}")]
    Unfit(Unfit),
    /// The server reads nothing of what we send.
    #[error("sending backlog exceeded maximum size")]
    Backlog,
}

/// Where a conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Disconnected,
    /// Waiting for the schema of `_Server`.
    ServerSchema,
    /// Waiting for the rows of `_Server`.
    ServerMonitor,
    /// Waiting for our database's schema, to watch it so.
    DataSchema(Method),
    /// Waiting for our database's rows.
    DataMonitor(Method),
    /// In step.
    Monitoring,
}

/// The ways to watch our database, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    CondSince,
    Cond,
    Plain,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Method::CondSince => "monitor_cond_since",
            Method::Cond => "monitor_cond",
            Method::Plain => "monitor",
        }
    }
}

/// See the module's page.
#[derive(Debug)]
pub struct Session {
    lock: Option<String>,
    has_lock: bool,
    lock_request: Option<u64>,
    state: State,
    /// The request whose answer `state` waits for.
    awaited: Option<u64>,
    databases: DatabaseRows,
    schema: Arc<Schema>,
    replica: Replica,
    /// Has the replica ever been filled?
    is_filled: bool,
    last_txn: Uuid,
    transactions: BTreeMap<u64, (TxnId, Compiled)>,
    next_id: u64,
    output: Vec<u8>,
    events: VecDeque<SessionEvent>,
}

impl Session {
    /// A session that is not connected yet; `lock` is the lock to take.
    pub fn new(lock: Option<String>) -> Session {
        Session {
            lock,
            has_lock: false,
            lock_request: None,
            state: State::Disconnected,
            awaited: None,
            databases: DatabaseRows::default(),
            schema: Arc::default(),
            replica: Replica::default(),
            is_filled: false,
            last_txn: Uuid::ZERO,
            transactions: BTreeMap::new(),
            next_id: 0,
            output: Vec::new(),
            events: VecDeque::new(),
        }
    }

    /// A connection is there.
    pub fn connected(&mut self) {
        self.disconnected();
        if let Some(lock) = &self.lock {
            let params = json!([lock]);
            self.lock_request = Some(self.request("lock", params));
        }
        self.begin();
    }

    /// The connection is gone. What was sent and not answered is lost.
    pub fn disconnected(&mut self) {
        self.output.clear();
        self.awaited = None;
        self.lock_request = None;
        self.has_lock = false;
        for (_, (id, _)) in std::mem::take(&mut self.transactions) {
            self.events.push_back(SessionEvent::Committed(id, Err(TxnError::Lost)));
        }
        if std::mem::replace(&mut self.state, State::Disconnected) == State::Monitoring {
            self.events.push_back(SessionEvent::Disconnected);
        }
    }

    /// Takes a message of the server.
    ///
    /// # Errors
    /// [`SessionError`]: close the connection.
    pub fn receive(&mut self, text: &[u8]) -> Result<(), SessionError> {
        match Message::parse(text)? {
            Message::Request { method, params, id } => {
                let answer = match &*method {
                    "echo" => json!({ "id": id, "result": params, "error": null }),
                    _ => json!({ "id": id, "result": null, "error": "unknown method" }),
                };
                self.send(&answer)
            }
            Message::Notification { method, params } => self.notified(&method, params),
            Message::Reply { id, result } => match self.whose(&id) {
                Whose::State(state) => self.advance(state, Ok(result)),
                Whose::Lock => self.lock_answered(result),
                Whose::Transaction(id, compiled) => {
                    let outcome = match result.map(|r| serde_json::from_str(r.get())) {
                        Some(Ok(result)) => compiled.outcome(&result),
                        _ => Err(TxnError::Malformed),
                    };
                    self.events.push_back(SessionEvent::Committed(id, outcome));
                    Ok(())
                }
                Whose::Nobody => Ok(()),
            },
            Message::Error { id, error } => match self.whose(&id) {
                Whose::State(state) => self.advance(state, Err(error)),
                Whose::Lock => self.lock_answered(None),
                Whose::Transaction(id, _) => {
                    let outcome = Err(TxnError::Refused {
                        error: words(&error),
                        details: details(&error),
                        row: None,
                    });
                    self.events.push_back(SessionEvent::Committed(id, outcome));
                    Ok(())
                }
                Whose::Nobody => Ok(()),
            },
        }
    }

    /// Asks the server for a sign of life.
    pub fn probe(&mut self) {
        let echo = json!({ "method": "echo", "params": [], "id": "echo" });
        // Beyond the bound the connection is closed by whoever sends the next message.
        let _ = self.send(&echo);
    }

    /// Sends a transaction; its outcome is an event.
    pub fn commit(&mut self, id: TxnId, transaction: &Transaction) {
        let outcome = match self.try_commit(id, transaction) {
            Ok(true) => return,
            Ok(false) => Ok(Done::default()),
            Err(error) => Err(error),
        };
        self.events.push_back(SessionEvent::Committed(id, outcome));
    }

    /// Was something sent?
    fn try_commit(&mut self, id: TxnId, transaction: &Transaction) -> Result<bool, TxnError> {
        if self.state != State::Monitoring {
            return Err(TxnError::NotConnected);
        }
        if self.lock.is_some() && !self.has_lock {
            return Err(TxnError::NotLocked);
        }
        if self.transactions.len() >= OVSDB_TRANSACTIONS_MAX {
            return Err(TxnError::Busy);
        }
        let on_their_way = self.transactions.values().flat_map(|(_, compiled)| &compiled.written);
        let unsettled: BTreeSet<_> = on_their_way.copied().collect();
        let Some(mut compiled) = transaction.compile(&self.replica, &unsettled) else {
            return Ok(false);
        };
        if let Some(lock) = &self.lock {
            compiled.assert_lock(lock);
        }
        let request = self.transact(&compiled.take_params());
        self.transactions.insert(request, (id, compiled));
        Ok(true)
    }

    /// Bytes to be sent, if any.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// The next event, in the order in which they happened.
    pub fn next_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// The database as it was told last.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Asks for the state of the databases.
    fn begin(&mut self) {
        self.databases = DatabaseRows::default();
        self.ask(State::ServerSchema, "get_schema", json!(["_Server"]));
    }

    fn ask(&mut self, state: State, method: &'static str, params: impl Serialize) {
        self.state = state;
        self.awaited = Some(self.request(method, params));
    }

    fn request(&mut self, method: &'static str, params: impl Serialize) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        // Too much waiting is noticed when the server's next message is answered, or by its silence.
        let _ = self.send(&Request { method, params, id });
        id
    }

    /// Sends a transaction, the parameters of which are JSON already.
    fn transact(&mut self, params: &[u8]) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        if self.output.len() <= OVSDB_BACKLOG_BYTES_MAX {
            self.output.extend(br#"{"method":"transact","params":"#);
            self.output.extend(params);
            self.output.extend(format!(r#","id":{id}}}"#).as_bytes());
        }
        id
    }

    fn send(&mut self, message: &impl serde::Serialize) -> Result<(), SessionError> {
        if self.output.len() > OVSDB_BACKLOG_BYTES_MAX {
            return Err(SessionError::Backlog);
        }
        serde_json::to_writer(&mut self.output, message)?;
        Ok(())
    }

    fn whose(&mut self, id: &Value) -> Whose {
        let Some(id) = id.as_u64() else { return Whose::Nobody };
        if self.awaited == Some(id) {
            self.awaited = None;
            return Whose::State(self.state);
        }
        if self.lock_request == Some(id) {
            self.lock_request = None;
            return Whose::Lock;
        }
        match self.transactions.remove(&id) {
            Some((id, compiled)) => Whose::Transaction(id, compiled),
            None => Whose::Nobody,
        }
    }

    /// Goes on from `state` with the answer that it waited for.
    fn advance(
        &mut self,
        state: State,
        answer: Result<Option<&RawValue>, Value>,
    ) -> Result<(), SessionError> {
        match (state, answer) {
            (State::ServerSchema, Ok(Some(_))) => {
                let columns = json!([{ "columns": DatabaseRows::COLUMNS }]);
                let params = json!(["_Server", monitor_id("_Server"), { "Database": columns }]);
                self.ask(State::ServerMonitor, "monitor_cond", params);
            }
            (State::ServerSchema | State::ServerMonitor, Err(_)) => {
                self.ask(State::DataSchema(Method::Cond), "get_schema", json!([DATABASE]));
            }
            (State::ServerMonitor, Ok(Some(rows))) => {
                self.databases.update(rows)?;
                self.databases.check(DATABASE).map_err(SessionError::Unfit)?;
                self.request("set_db_change_aware", json!([true]));
                self.ask(State::DataSchema(Method::CondSince), "get_schema", json!([DATABASE]));
            }
            (State::DataSchema(method), Ok(Some(schema))) => {
                self.take_schema(schema)?;
                self.monitor(method);
            }
            (State::DataMonitor(Method::CondSince), Err(_)) => self.monitor(Method::Cond),
            (State::DataMonitor(Method::Cond), Err(_)) => self.monitor(Method::Plain),
            (State::DataMonitor(method), Ok(Some(result))) => self.monitored(method, result)?,
            (State::DataSchema(_), Err(error)) => {
                return Err(SessionError::Refused { method: "get_schema", error: words(&error) });
            }
            (State::DataMonitor(Method::Plain), Err(error)) => {
                let method = "monitor";
                return Err(SessionError::Refused { method, error: words(&error) });
            }
            (State::Disconnected | State::Monitoring, _) => {}
            (_, Ok(None)) => return Err(SessionError::Malformed("reply")),
        }
        Ok(())
    }

    fn take_schema(&mut self, schema: &RawValue) -> Result<(), SessionError> {
        let schema = Schema::parse(schema.get())?;
        if schema != *self.schema {
            // Other columns than before: what the server remembers as told is not what we need.
            self.last_txn = Uuid::ZERO;
            self.schema = Arc::new(schema);
        }
        Ok(())
    }

    fn monitor(&mut self, method: Method) {
        // RFC 7047 has an object here, all servers take an array of them.
        let request = |(table, columns): (Table, _)| (table.name(), [Columns { columns }]);
        let tables: BTreeMap<_, _> = self.schema.monitored().map(request).collect();
        let (id, state) = (monitor_id(DATABASE), State::DataMonitor(method));
        if method == Method::CondSince {
            let last_txn = self.last_txn;
            self.ask(state, method.name(), (DATABASE, id, tables, last_txn));
        } else {
            self.ask(state, method.name(), (DATABASE, id, tables));
        }
    }

    /// Takes the first rows, or what was missed while the connection was away.
    fn monitored(&mut self, method: Method, result: &RawValue) -> Result<(), SessionError> {
        let malformed = SessionError::Malformed("reply to a monitor request");
        let (resumed, updates, form) = match method {
            Method::CondSince => {
                let parts = elements::<3>(result).unwrap_or_default();
                let [found, last, updates] = parts.as_slice() else { return Err(malformed) };
                let found: bool = serde_json::from_str(found.get())?;
                let resumed = found && self.is_filled && self.last_txn != Uuid::ZERO;
                self.last_txn = parse_uuid(last).ok_or(malformed)?;
                (resumed, *updates, Form::Difference)
            }
            Method::Cond => (false, result, Form::Difference),
            Method::Plain => (false, result, Form::Whole),
        };
        if method != Method::CondSince {
            self.last_txn = Uuid::ZERO;
        }
        let is_new = !self.is_filled || *self.replica.schema() != *self.schema;
        let applied = if resumed {
            apply(&mut self.replica, updates, form)
        } else {
            let mut replica = Replica::new(self.schema.clone());
            apply(&mut replica, updates, form).map(|_| {
                let changes = difference(&self.replica, &replica);
                self.replica = replica;
                changes
            })
        };
        // What cannot be resumed is asked for anew.
        let changes = applied.inspect_err(|_| self.last_txn = Uuid::ZERO)?;
        self.state = State::Monitoring;
        if !changes.is_empty() || is_new {
            self.events.push_back(SessionEvent::Updated { changes, all: true });
        }
        self.is_filled = true;
        self.events.push_back(SessionEvent::Connected);
        Ok(())
    }

    fn notified(&mut self, method: &str, params: &RawValue) -> Result<(), SessionError> {
        let parts = || elements::<3>(params).ok_or(SessionError::Malformed("notification"));
        match method {
            "update" | "update2" | "update3" => {
                let parts = parts()?;
                let (id, last, updates) = match (method, parts.as_slice()) {
                    ("update3", [id, last, updates]) => (id, Some(last), updates),
                    ("update" | "update2", [id, updates]) => (id, None, updates),
                    _ => return Err(SessionError::Malformed("update notification")),
                };
                let id: Value = serde_json::from_str(id.get())?;
                if id == monitor_id("_Server") {
                    self.databases.update(updates)?;
                    self.databases.check(DATABASE).map_err(SessionError::Unfit)?;
                } else if id == monitor_id(DATABASE) && self.state == State::Monitoring {
                    let form = if method == "update" { Form::Whole } else { Form::Difference };
                    // Told of a row that we do not have, the next connection begins from nothing.
                    let changes = apply(&mut self.replica, updates, form)
                        .inspect_err(|_| self.last_txn = Uuid::ZERO)?;
                    if let Some(last) = last {
                        self.last_txn =
                            parse_uuid(last).ok_or(SessionError::Malformed("transaction id"))?;
                    }
                    if !changes.is_empty() {
                        self.events.push_back(SessionEvent::Updated { changes, all: false });
                    }
                }
            }
            "locked" | "stolen" => {
                let parts = parts()?;
                let name: Option<String> =
                    parts.first().and_then(|name| serde_json::from_str(name.get()).ok());
                if name.is_some() && name == self.lock {
                    self.locked(method == "locked");
                }
            }
            "monitor_canceled" => {
                let id =
                    parts()?.first().and_then(|id| serde_json::from_str::<Value>(id.get()).ok());
                if id == Some(monitor_id(DATABASE)) {
                    self.cancel_and_begin("_Server");
                } else if id == Some(monitor_id("_Server")) {
                    self.cancel_and_begin(DATABASE);
                }
            }
            _ => tracing::debug!(target: "ovsdb_cs", "received unexpected notification {method}"),
        }
        Ok(())
    }

    /// The server has stopped to tell us of one database, as when its schema is converted: stop the
    /// other, too, and begin from the top. The replica stays meanwhile.
    fn cancel_and_begin(&mut self, other: &str) {
        let was_monitoring = self.state == State::Monitoring;
        let params = json!([monitor_id(other)]);
        self.request("monitor_cancel", params);
        if was_monitoring {
            self.events.push_back(SessionEvent::Disconnected);
        }
        self.begin();
    }

    fn lock_answered(&mut self, result: Option<&RawValue>) -> Result<(), SessionError> {
        let result: Value = match result {
            Some(result) => serde_json::from_str(result.get())?,
            None => Value::Null,
        };
        self.locked(result.get("locked") == Some(&Value::Bool(true)));
        Ok(())
    }

    fn locked(&mut self, has_lock: bool) {
        self.has_lock = has_lock;
        self.events.push_back(SessionEvent::Lock(has_lock));
    }
}

/// A request as it is sent.
#[derive(Serialize)]
struct Request<P> {
    method: &'static str,
    params: P,
    id: u64,
}

/// What is watched of a table.
#[derive(Serialize)]
struct Columns {
    columns: Vec<&'static str>,
}

enum Whose {
    State(State),
    Lock,
    Transaction(TxnId, Compiled),
    Nobody,
}

fn monitor_id(database: &str) -> Value {
    json!(["monid", database])
}

fn parse_uuid(text: &RawValue) -> Option<Uuid> {
    serde_json::from_str::<String>(text.get()).ok()?.parse().ok()
}

/// The kind of an error, which is a string or an object with a member `error`.
fn words(error: &Value) -> String {
    match error.get("error").unwrap_or(error) {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn details(error: &Value) -> String {
    error.get("details").and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
