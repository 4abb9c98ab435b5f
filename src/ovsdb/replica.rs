//! The replica: the database's rows as the server last told them.
//!
//! What always holds: a replica is complete and of one moment; it is never seen half filled, and
//! while the server is away it stays as it was. References are names of rows and may dangle. Rows
//! are shared and never change in place, so a copy of a replica costs a pointer a row.
//!
//! Threads: one copy belongs to the connection's thread, which updates it, another to the control
//! thread, which reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::schema::{Schema, Table};
use super::value::{Atom, Datum, Uuid};

/// One row. A column reads as absent when the server has none of that name, when it holds
/// nothing, and when what it holds is of another type (then one line in the log says so).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    table: Table,
    uuid: Uuid,
    /// By the places of [`Table::columns`].
    values: Box<[Option<Datum>]>,
}

impl Row {
    pub(super) fn new(table: Table, uuid: Uuid) -> Row {
        Row { table, uuid, values: vec![None; table.columns().len()].into() }
    }

    pub(super) fn value_at(&self, column: usize) -> Option<&Datum> {
        self.values.get(column)?.as_ref()
    }

    pub(super) fn set_at(&mut self, column: usize, datum: Option<Datum>) {
        if let Some(value) = self.values.get_mut(column) {
            *value = datum;
        }
    }

    /// Columns in which two rows of one table differ.
    pub(super) fn differences(&self, other: &Row) -> Vec<&'static str> {
        let values = self.values.iter().zip(&other.values);
        let names = self.table.columns().iter().zip(values);
        names.filter(|(_, (a, b))| a != b).map(|(name, _)| *name).collect()
    }

    /// The table that it is in.
    pub fn table(&self) -> Table {
        self.table
    }

    /// Its name.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// The content of a column, as it is.
    pub fn get(&self, column: &str) -> Option<&Datum> {
        match self.table.column(column) {
            Some(at) => self.value_at(at),
            None => {
                self.note(column, "is not read");
                None
            }
        }
    }

    /// The text of a column, or `""`.
    pub fn string(&self, column: &str) -> &str {
        self.opt_string(column).unwrap_or("")
    }

    /// The text of a column.
    pub fn opt_string(&self, column: &str) -> Option<&str> {
        self.scalar(column, |atom| match atom {
            Atom::String(text) => Some(&**text),
            _ => None,
        })
    }

    /// The number in a column, or 0.
    pub fn integer(&self, column: &str) -> i64 {
        self.opt_integer(column).unwrap_or(0)
    }

    /// The number in a column.
    pub fn opt_integer(&self, column: &str) -> Option<i64> {
        self.scalar(column, |atom| match atom {
            Atom::Integer(value) => Some(*value),
            _ => None,
        })
    }

    /// The truth in a column, or false.
    pub fn boolean(&self, column: &str) -> bool {
        self.opt_boolean(column).unwrap_or(false)
    }

    /// The truth in a column.
    pub fn opt_boolean(&self, column: &str) -> Option<bool> {
        self.scalar(column, |atom| match atom {
            Atom::Boolean(value) => Some(*value),
            _ => None,
        })
    }

    /// The row that a column refers to; it may not exist.
    pub fn opt_uuid(&self, column: &str) -> Option<Uuid> {
        self.scalar(column, |atom| match atom {
            Atom::Uuid(uuid) => Some(*uuid),
            _ => None,
        })
    }

    /// The texts of a set.
    pub fn strings(&self, column: &str) -> impl Iterator<Item = &str> {
        self.elements(column, |atom| match atom {
            Atom::String(text) => Some(&**text),
            _ => None,
        })
    }

    /// The numbers of a set.
    pub fn integers(&self, column: &str) -> impl Iterator<Item = i64> {
        self.elements(column, |atom| match atom {
            Atom::Integer(value) => Some(*value),
            _ => None,
        })
    }

    /// The rows that a set refers to; they may not exist.
    pub fn uuids(&self, column: &str) -> impl Iterator<Item = Uuid> {
        self.elements(column, |atom| match atom {
            Atom::Uuid(uuid) => Some(*uuid),
            _ => None,
        })
    }

    /// Keys and values of a map of texts, in the order of the keys.
    pub fn map(&self, column: &str) -> impl Iterator<Item = (&str, &str)> {
        self.pairs(column).filter_map(move |(key, value)| {
            let pair = key.as_str().zip(value.as_str());
            if pair.is_none() {
                self.note(column, "is of an unexpected type");
            }
            pair
        })
    }

    /// Keys and values of a map, whatever their types.
    pub fn pairs(&self, column: &str) -> impl Iterator<Item = (&Atom, &Atom)> {
        let map = match self.get(column) {
            Some(Datum::Map(map)) => Some(map),
            Some(Datum::Set(_)) => {
                self.note(column, "is of an unexpected type");
                None
            }
            None => None,
        };
        map.into_iter().flatten()
    }

    /// The value of one key in a map of texts.
    pub fn key(&self, column: &str, key: &str) -> Option<&str> {
        match self.get(column)? {
            Datum::Map(map) => map.get(&Atom::from(key))?.as_str(),
            Datum::Set(_) => {
                self.note(column, "is of an unexpected type");
                None
            }
        }
    }

    fn scalar<'a, T>(&'a self, column: &str, pick: fn(&'a Atom) -> Option<T>) -> Option<T> {
        let datum = self.get(column)?;
        if matches!(datum, Datum::Set(atoms) if atoms.is_empty()) {
            return None;
        }
        let found = datum.scalar().and_then(pick);
        if found.is_none() {
            self.note(column, "is of an unexpected type");
        }
        found
    }

    fn elements<'a, T>(
        &'a self,
        column: &str,
        pick: fn(&'a Atom) -> Option<T>,
    ) -> impl Iterator<Item = T> {
        let atoms = match self.get(column) {
            Some(Datum::Set(atoms)) => atoms.as_slice(),
            Some(Datum::Map(_)) => {
                self.note(column, "is of an unexpected type");
                &[]
            }
            None => &[],
        };
        if atoms.first().is_some_and(|atom| pick(atom).is_none()) {
            self.note(column, "is of an unexpected type");
        }
        atoms.iter().filter_map(pick)
    }

    fn note(&self, column: &str, what: &'static str) {
        note_once(self.table, column, what);
    }
}

/// Logs a complaint about a column, once for the life of the process.
pub(super) fn note_once(table: Table, column: &str, what: &'static str) {
    static NOTED: Mutex<BTreeSet<(Table, usize, &str)>> = Mutex::new(BTreeSet::new());
    let at = table.column(column).unwrap_or(usize::MAX);
    let mut noted = NOTED.lock().unwrap_or_else(PoisonError::into_inner);
    if noted.insert((table, at, what)) {
        tracing::warn!(target: "ovsdb_idl", "{} table: column {column} {what}", table.name());
    }
}

/// The rows that the server has of our tables. See the module's page.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    schema: Arc<Schema>,
    tables: [BTreeMap<Uuid, Arc<Row>>; Table::ALL.len()],
}

impl Replica {
    pub(super) fn new(schema: Arc<Schema>) -> Replica {
        Replica { schema, tables: Default::default() }
    }

    /// The rows of a table, in the order of their names.
    pub fn rows(&self, table: Table) -> impl ExactSizeIterator<Item = &Row> {
        self.table(table).values().map(|row| &**row)
    }

    /// The row of that name.
    pub fn row(&self, table: Table, uuid: &Uuid) -> Option<&Row> {
        self.table(table).get(uuid).map(|row| &**row)
    }

    /// The one row of `Open_vSwitch`.
    pub fn root(&self) -> Option<&Row> {
        self.rows(Table::OpenVSwitch).next()
    }

    /// Does the server have this column?
    pub fn has(&self, table: Table, column: &str) -> bool {
        self.schema.column(table, column).is_some()
    }

    /// What the server has.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(super) fn table(&self, table: Table) -> &BTreeMap<Uuid, Arc<Row>> {
        // `Table::ALL` numbers the tables, so each has its place.
        &self.tables[table as usize]
    }

    /// Puts rows in the place of those of their names; `None` for those gone.
    pub(super) fn put(
        &mut self,
        rows: impl IntoIterator<Item = ((Table, Uuid), Option<Arc<Row>>)>,
    ) {
        for ((table, uuid), row) in rows {
            let table = self.table_mut(table);
            match row {
                Some(row) => drop(table.insert(uuid, row)),
                None => drop(table.remove(&uuid)),
            }
        }
    }

    pub(super) fn table_mut(&mut self, table: Table) -> &mut BTreeMap<Uuid, Arc<Row>> {
        &mut self.tables[table as usize]
    }
}

#[cfg(test)]
impl Replica {
    /// A replica of rows made by hand, for a server that has no columns.
    pub(crate) fn of(
        rows: impl IntoIterator<Item = (Table, Uuid, Vec<(&'static str, Datum)>)>,
    ) -> Replica {
        let mut replica = Replica::default();
        for (table, uuid, columns) in rows {
            let mut row = Row::new(table, uuid);
            for (column, datum) in columns {
                let at = table.column(column).expect("a column that is read");
                row.set_at(at, Some(datum));
            }
            replica.table_mut(table).insert(uuid, Arc::new(row));
        }
        replica
    }
}

/// What happened to a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Inserted,
    /// These columns have another content.
    Modified(Vec<&'static str>),
    /// It is gone.
    Deleted,
}

/// What differs between two moments of the replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The rows touched, each once.
    pub touched: BTreeMap<(Table, Uuid), Change>,
}

impl Changes {
    /// Nothing differs?
    pub fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }

    /// Adds what happened to a row after what was noted so far.
    pub(super) fn add(&mut self, table: Table, uuid: Uuid, change: Change) {
        use std::collections::btree_map::Entry;
        let mut entry = match self.touched.entry((table, uuid)) {
            Entry::Vacant(entry) => {
                entry.insert(change);
                return;
            }
            Entry::Occupied(entry) => entry,
        };
        match (entry.get_mut(), change) {
            (Change::Inserted, Change::Deleted) => {
                entry.remove();
            }
            (Change::Inserted, _) => {}
            (Change::Modified(columns), Change::Modified(more)) => {
                columns.extend(more);
                columns.sort_unstable();
                columns.dedup();
            }
            // A row deleted and inserted again under its name: which columns differ is not known.
            (Change::Deleted, Change::Inserted) => {
                entry.insert(Change::Modified(table.columns().to_vec()));
            }
            (_, change) => {
                entry.insert(change);
            }
        }
    }

    /// Adds changes that came later.
    pub(super) fn append(&mut self, later: Changes) {
        for ((table, uuid), change) in later.touched {
            self.add(table, uuid, change);
        }
    }
}
