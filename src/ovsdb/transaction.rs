//! Transactions: what shall be written, and what became of it (RFC 7047 section 5.2).
//!
//! What always holds: a transaction is one `transact` request, so it happens whole or not at all.
//! What the database holds already is left out; when nothing remains nothing is sent. Columns that
//! the server's schema lacks are left out as well, and rows that are gone. Pure values, any thread.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Serialize, Serializer};
use serde_json::Value;
use thiserror::Error;

use super::replica::Replica;
use super::schema::{DATABASE, Table};
use super::value::{Atom, ColumnType, Datum, Encoded, Uuid};

/// A row that a transaction inserts: a name that is good inside the transaction only. References
/// to the row are written as `named.uuid()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedUuid(Uuid);

impl NamedUuid {
    fn next() -> NamedUuid {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut bytes = [0xff; 16];
        let (_, low) = bytes.split_at_mut(8);
        low.copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        NamedUuid(Uuid(bytes))
    }

    /// Stands for the row inside its transaction.
    pub fn uuid(&self) -> &Uuid {
        &self.0
    }
}

/// Which transaction an outcome is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnId(pub(super) u64);

/// What a committed transaction did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// The names of the rows inserted.
    pub inserted: BTreeMap<NamedUuid, Uuid>,
}

/// Why a transaction did not happen.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TxnError {
    /// What a `wait` asks for is not so, or was not when the transaction arrived. Worth another
    /// try once the replica has changed.
    #[error("the database has changed meanwhile")]
    Aborted,
    /// Not connected, or not in step with the server yet; nothing was sent.
    #[error("not connected to the database")]
    NotConnected,
    /// The connection was lost before the outcome was known: it may have happened or not.
    #[error("connection to the database was lost")]
    Lost,
    /// Another process holds the lock.
    #[error("the lock is held by another process")]
    NotLocked,
    /// Too many transactions are waiting for their outcome.
    #[error("too many transactions in progress")]
    Busy,
    /// The server refused an operation, or the whole; the words are the server's.
    #[error("{error}: {details}")]
    Refused {
        /// Such as `constraint violation`, `referential integrity violation`.
        error: String,
        /// For people.
        details: String,
        /// The row that the refused operation is about; `None` when the whole was refused.
        row: Option<(Table, Uuid)>,
    },
    /// The server's answer makes no sense.
    #[error("unexpected answer from the database")]
    Malformed,
}

impl TxnError {
    /// Can the same succeed later, without a change of ours?
    pub fn is_transient(&self) -> bool {
        !matches!(self, TxnError::Refused { .. } | TxnError::Malformed)
    }
}

/// One column of one row.
pub(super) type Cell = (Table, Uuid, &'static str);

#[derive(Clone, Debug)]
enum Edit {
    Set(Datum),
    /// Keys to set and keys to take away.
    Map(BTreeMap<Atom, Atom>, BTreeSet<Atom>),
    /// Elements to add and to take away.
    Elements(BTreeSet<Atom>, BTreeSet<Atom>),
}

#[derive(Clone, Debug, Default)]
struct RowEdit {
    inserted: bool,
    deleted: bool,
    columns: BTreeMap<&'static str, Edit>,
}

/// See the module's page.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    waits: Vec<(Table, Uuid, &'static str, Datum)>,
    rows: BTreeMap<(Table, Uuid), RowEdit>,
    comment: Vec<String>,
}

impl Transaction {
    /// One that does nothing yet.
    pub fn new() -> Transaction {
        Transaction::default()
    }

    /// Nothing was asked for? (A comment alone is nothing.)
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes a column. The last writing counts.
    pub fn update(
        &mut self,
        table: Table,
        row: &Uuid,
        column: &'static str,
        datum: impl Into<Datum>,
    ) {
        self.row(table, row).columns.insert(column, Edit::Set(datum.into()));
    }

    /// Inserts a row; what it shall hold is said by [`Transaction::update`] on its
    /// [`NamedUuid::uuid`]. The row goes again unless a row of a root table comes to refer to it.
    pub fn insert(&mut self, table: Table) -> NamedUuid {
        let named = NamedUuid::next();
        self.row(table, &named.0).inserted = true;
        named
    }

    /// Sets and removes single keys of a map column; other keys stay as they are.
    pub fn mutate_map<K: Into<Atom>, V: Into<Atom>, R: Into<Atom>>(
        &mut self,
        table: Table,
        row: &Uuid,
        column: &'static str,
        set: impl IntoIterator<Item = (K, V)>,
        remove: impl IntoIterator<Item = R>,
    ) {
        let edit = self.row(table, row).columns.entry(column);
        let edit = edit.or_insert_with(|| Edit::Map(BTreeMap::new(), BTreeSet::new()));
        for key in remove {
            let key = key.into();
            match edit {
                Edit::Set(Datum::Map(map)) => drop(map.remove(&key)),
                Edit::Map(set, remove) => {
                    set.remove(&key);
                    remove.insert(key);
                }
                _ => {}
            }
        }
        for (key, value) in set {
            let (key, value) = (key.into(), value.into());
            match edit {
                Edit::Set(Datum::Map(map)) => drop(map.insert(key, value)),
                Edit::Map(set, remove) => {
                    remove.remove(&key);
                    set.insert(key, value);
                }
                _ => {}
            }
        }
    }

    /// Adds and removes single elements of a set column; others stay as they are.
    pub fn mutate_set<I: Into<Atom>, R: Into<Atom>>(
        &mut self,
        table: Table,
        row: &Uuid,
        column: &'static str,
        insert: impl IntoIterator<Item = I>,
        remove: impl IntoIterator<Item = R>,
    ) {
        let edit = self.row(table, row).columns.entry(column);
        let edit = edit.or_insert_with(|| Edit::Elements(BTreeSet::new(), BTreeSet::new()));
        let Edit::Elements(added, removed) = edit else { return };
        for atom in remove {
            let atom = atom.into();
            added.remove(&atom);
            removed.insert(atom);
        }
        for atom in insert {
            let atom = atom.into();
            removed.remove(&atom);
            added.insert(atom);
        }
    }

    /// Makes all of the transaction depend on a column's having this content
    /// ([`TxnError::Aborted`] otherwise).
    pub fn wait(
        &mut self,
        table: Table,
        row: &Uuid,
        column: &'static str,
        datum: impl Into<Datum>,
    ) {
        self.waits.push((table, *row, column, datum.into()));
    }

    /// Deletes a row.
    pub fn delete(&mut self, table: Table, row: &Uuid) {
        let row = self.row(table, row);
        row.deleted = true;
        row.columns.clear();
    }

    /// A line for the server's log; lines add up.
    pub fn comment(&mut self, text: &str) {
        self.comment.push(text.to_owned());
    }

    fn row(&mut self, table: Table, row: &Uuid) -> &mut RowEdit {
        self.rows.entry((table, *row)).or_default()
    }

    /// What a column is set to.
    #[cfg(test)]
    pub(crate) fn written(&self, table: Table, row: &Uuid, column: &str) -> Option<&Datum> {
        match self.rows.get(&(table, *row))?.columns.get(column)? {
            Edit::Set(datum) => Some(datum),
            _ => None,
        }
    }

    /// The parameters of the `transact` request, without what `replica` holds already and
    /// without the assertion of a lock. `None` when nothing remains to be written.
    ///
    /// Of cells in `unsettled`, which transactions on their way write, it is not known what they will
    /// hold, so they are written in any case.
    pub(super) fn compile(
        &self,
        replica: &Replica,
        unsettled: &BTreeSet<Cell>,
    ) -> Option<Compiled> {
        let is_inserted = |uuid: &Uuid| self.is_inserted(uuid);
        let mut compiled = Compiled::new();
        for (table, uuid, column, datum) in &self.waits {
            if let Some(kind) = replica.schema().column(*table, column) {
                let cells = vec![(*column, Cow::Borrowed(fitted(datum, kind)))];
                let operation = Operation::Wait {
                    timeout: 0,
                    table: table.name(),
                    this_row: [condition(uuid)],
                    columns: [column],
                    until: "==",
                    rows: [Cells { cells, is_inserted: &is_inserted }],
                };
                compiled.push(&operation, Origin::Row(*table, *uuid));
            }
        }
        let waits = compiled.operations.len();
        for (&(table, uuid), edit) in &self.rows {
            self.compile_row(replica, unsettled, (table, uuid), edit, &mut compiled);
        }
        if compiled.operations.len() == waits {
            return None;
        }
        if !self.comment.is_empty() {
            let comment = self.comment.join("\n");
            compiled.push(&Operation::Comment { comment }, Origin::Whole);
        }
        Some(compiled)
    }

    fn compile_row(
        &self,
        replica: &Replica,
        unsettled: &BTreeSet<Cell>,
        (table, uuid): (Table, Uuid),
        edit: &RowEdit,
        compiled: &mut Compiled,
    ) {
        if !replica.schema().has_table(table) {
            return;
        }
        let is_inserted: &dyn Fn(&Uuid) -> bool = &|uuid| self.is_inserted(uuid);
        let table_name = table.name();
        if edit.inserted {
            if edit.deleted {
                return;
            }
            let mut cells = Vec::new();
            for (&column, edit) in &edit.columns {
                let Some(kind) = replica.schema().column(table, column) else { continue };
                let datum = match edit {
                    Edit::Set(datum) => Cow::Borrowed(fitted(datum, kind)),
                    Edit::Map(set, _) => Cow::Owned(Datum::Map(set.clone())),
                    Edit::Elements(added, _) => Cow::Owned(Datum::set(added.iter().cloned())),
                };
                cells.push((column, datum));
            }
            let row = Cells { cells, is_inserted };
            let operation = Operation::Insert { table: table_name, name: uuid.symbol(), row };
            compiled.push(&operation, Origin::Insert(table, uuid));
            return;
        }
        let Some(present) = replica.row(table, &uuid) else { return };
        if edit.deleted {
            let this_row = [condition(&uuid)];
            let operation = Operation::Delete { table: table_name, this_row };
            compiled.push(&operation, Origin::Row(table, uuid));
            return;
        }
        let (mut cells, mut mutations) = (Vec::new(), Vec::new());
        for (&column, edit) in &edit.columns {
            let Some(kind) = replica.schema().column(table, column) else { continue };
            let cell = (table, uuid, column);
            let is_settled = !unsettled.contains(&cell);
            let present = present.get(column);
            let operations = cells.len() + mutations.len();
            match edit {
                Edit::Set(datum) => {
                    let datum = fitted(datum, kind);
                    if !is_settled || present != Some(datum) {
                        cells.push((column, Cow::Borrowed(datum)));
                    }
                }
                Edit::Map(set, remove) => {
                    let empty = BTreeMap::new();
                    let present = match present {
                        Some(Datum::Map(map)) => map,
                        _ => &empty,
                    };
                    let set: Vec<_> = set
                        .iter()
                        .filter(|(k, v)| !is_settled || present.get(k) != Some(v))
                        .collect();
                    // A key that is there keeps its value at an insertion, so it goes first.
                    let changed = set.iter().map(|(key, _)| *key);
                    let gone: BTreeSet<_> = remove
                        .iter()
                        .chain(changed)
                        .filter(|key| !is_settled || present.contains_key(key))
                        .collect();
                    if !gone.is_empty() {
                        mutations.push((column, "delete", Datum::set(gone.into_iter().cloned())));
                    }
                    if !set.is_empty() {
                        let set = Datum::map(set.into_iter().map(|(k, v)| (k.clone(), v.clone())));
                        mutations.push((column, "insert", set));
                    }
                }
                Edit::Elements(added, removed) => {
                    let present = match present {
                        Some(Datum::Set(atoms)) => atoms.as_slice(),
                        _ => &[],
                    };
                    let is_there = |atom: &&Atom| present.binary_search(atom).is_ok();
                    let gone = removed.iter().filter(|atom| !is_settled || is_there(atom));
                    let new = added.iter().filter(|atom| !is_settled || !is_there(atom));
                    let (gone, new): (Vec<_>, Vec<_>) =
                        (gone.cloned().collect(), new.cloned().collect());
                    if !gone.is_empty() {
                        mutations.push((column, "delete", Datum::Set(gone)));
                    }
                    if !new.is_empty() {
                        mutations.push((column, "insert", Datum::Set(new)));
                    }
                }
            }
            if cells.len() + mutations.len() > operations {
                compiled.written.push(cell);
            }
        }
        let this_row = [condition(&uuid)];
        if !cells.is_empty() {
            let row = Cells { cells, is_inserted };
            let operation = Operation::Update { table: table_name, this_row, row };
            compiled.push(&operation, Origin::Row(table, uuid));
        }
        if !mutations.is_empty() {
            let encoded = mutations.iter().map(|(column, mutator, content)| {
                (*column, *mutator, Encoded { content, is_inserted })
            });
            let mutations = encoded.collect();
            let operation = Operation::Mutate { table: table_name, this_row, mutations };
            compiled.push(&operation, Origin::Row(table, uuid));
        }
    }

    fn is_inserted(&self, uuid: &Uuid) -> bool {
        // Names of rows to be inserted begin as no UUID of a server does.
        uuid.0.starts_with(&[0xff; 8])
            && self.rows.iter().any(|((_, u), row)| u == uuid && row.inserted)
    }
}

/// An empty set stands for an empty map as well.
fn fitted<'a>(datum: &'a Datum, kind: &ColumnType) -> &'a Datum {
    static NO_PAIRS: Datum = Datum::Map(BTreeMap::new());
    match datum {
        Datum::Set(atoms) if atoms.is_empty() && kind.value.is_some() => &NO_PAIRS,
        datum => datum,
    }
}

/// `[column, function, value]` of RFC 7047 section 5.1.
type Condition = (&'static str, &'static str, (&'static str, Uuid));

/// That a row is the one of this name.
fn condition(uuid: &Uuid) -> Condition {
    ("_uuid", "==", ("uuid", *uuid))
}

/// An operation as it is sent (RFC 7047 section 5.2).
#[derive(Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Operation<'a> {
    Wait {
        timeout: u32,
        table: &'a str,
        #[serde(rename = "where")]
        this_row: [Condition; 1],
        columns: [&'a str; 1],
        until: &'a str,
        rows: [Cells<'a>; 1],
    },
    Insert {
        table: &'a str,
        #[serde(rename = "uuid-name")]
        name: String,
        row: Cells<'a>,
    },
    Delete {
        table: &'a str,
        #[serde(rename = "where")]
        this_row: [Condition; 1],
    },
    Update {
        table: &'a str,
        #[serde(rename = "where")]
        this_row: [Condition; 1],
        row: Cells<'a>,
    },
    Mutate {
        table: &'a str,
        #[serde(rename = "where")]
        this_row: [Condition; 1],
        mutations: Vec<(&'a str, &'a str, Encoded<'a, Datum>)>,
    },
    Comment {
        comment: String,
    },
    Assert {
        lock: &'a str,
    },
}

/// Columns with their content.
struct Cells<'a> {
    cells: Vec<(&'static str, Cow<'a, Datum>)>,
    is_inserted: &'a dyn Fn(&Uuid) -> bool,
}

impl Serialize for Cells<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_inserted = self.is_inserted;
        let cells = self.cells.iter();
        let encoded = |content| Encoded { content, is_inserted };
        serializer.collect_map(cells.map(|(column, datum)| (column, encoded(&**datum))))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Whole,
    Row(Table, Uuid),
    Insert(Table, Uuid),
}

/// A transaction as it is sent, and whose row each operation is about.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    /// The database's name and the operations; the array is not closed yet.
    params: Vec<u8>,
    operations: Vec<Origin>,
    /// What it writes of rows that are there.
    pub(super) written: Vec<Cell>,
}

impl Compiled {
    fn new() -> Compiled {
        let params = format!("[\"{DATABASE}\"").into_bytes();
        Compiled { params, operations: Vec::new(), written: Vec::new() }
    }

    fn push(&mut self, operation: &Operation<'_>, origin: Origin) {
        self.params.push(b',');
        // Texts and numbers, written to memory.
        let _ = serde_json::to_writer(&mut self.params, operation);
        self.operations.push(origin);
    }

    /// Adds the condition that we hold a lock.
    pub(super) fn assert_lock(&mut self, lock: &str) {
        self.push(&Operation::Assert { lock }, Origin::Whole);
    }

    /// Takes out the parameters of the request: a JSON array.
    pub(super) fn take_params(&mut self) -> Vec<u8> {
        self.params.push(b']');
        std::mem::take(&mut self.params)
    }

    /// Reads the server's answer: an array with an object for each operation that succeeded, an
    /// error object for the one that did not and nulls after it; an error after them all when
    /// the commit failed.
    pub(super) fn outcome(&self, result: &Value) -> Result<Done, TxnError> {
        let results = result.as_array().ok_or(TxnError::Malformed)?;
        let mut done = Done::default();
        for (at, result) in results.iter().enumerate() {
            let origin = self.operations.get(at).copied().unwrap_or(Origin::Whole);
            if let Some(error) = result.get("error").filter(|error| !error.is_null()) {
                return Err(failure(error, result, origin));
            }
            if let Origin::Insert(_, named) = origin {
                let kind = ColumnType::scalar(super::value::AtomType::Uuid);
                let uuid = result.get("uuid").and_then(|uuid| kind.decode(uuid).ok());
                match uuid.as_ref().and_then(Datum::scalar) {
                    Some(Atom::Uuid(uuid)) => drop(done.inserted.insert(NamedUuid(named), *uuid)),
                    _ => return Err(TxnError::Malformed),
                }
            }
        }
        if results.len() < self.operations.len() {
            return Err(TxnError::Malformed);
        }
        Ok(done)
    }
}

fn failure(error: &Value, result: &Value, origin: Origin) -> TxnError {
    let error = match error {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match error.as_str() {
        "timed out" | "aborted" => return TxnError::Aborted,
        "not owner" => return TxnError::NotLocked,
        _ => {}
    }
    let details = result.get("details").and_then(Value::as_str).unwrap_or_default().to_owned();
    let row = match origin {
        Origin::Whole => None,
        Origin::Row(table, uuid) | Origin::Insert(table, uuid) => Some((table, uuid)),
    };
    TxnError::Refused { error, details, row }
}

#[cfg(test)]
mod tests;
