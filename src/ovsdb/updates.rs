//! Updates of the replica: `<table-updates>` of RFC 7047 section 4.1.6 and `<table-updates2>` of
//! ovsdb-server(7), section 4.1.14.
//!
//! What always holds: an update is applied whole or, when it makes no sense, not at all. A column
//! with a value of another type than the schema says is as good as absent, and noted once; tables
//! and columns that we did not ask for are passed over.

use std::sync::Arc;

use serde_json::value::RawValue;
use thiserror::Error;

use super::replica::{Change, Changes, Replica, Row, note_once};
use super::schema::{Schema, Table};
use super::told::{Columns, RowUpdate, each_row};
use super::value::{Atom, ColumnType, Datum, Uuid};

/// How rows are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `{"old": ROW, "new": ROW}` of `monitor`.
    Whole,
    /// `{"initial"|"insert"|"modify"|"delete": ROW}` of `monitor_cond` and `monitor_cond_since`.
    Difference,
}

/// Why an update was not applied.
#[derive(Debug, Error)]
pub enum UpdateError {
    /// The text makes no sense.
    #[error("syntax error: {0}")]
    Syntax(#[from] serde_json::Error),
    /// It is about a row that we do not have: we are out of step.
    #[error("cannot modify missing row {row} in table {}", table.name())]
    Missing {
        /// The table.
        table: Table,
        /// The row's name.
        row: Uuid,
    },
}

/// A row as it shall be.
type Staged = (Table, Uuid, Option<(Arc<Row>, Change)>);

/// Applies an update and tells what it changed.
///
/// # Errors
/// [`UpdateError`]; the replica is as before.
pub fn apply(
    replica: &mut Replica,
    updates: &RawValue,
    form: Form,
) -> Result<Changes, UpdateError> {
    let mut staged: Vec<Staged> = Vec::new();
    let mut missing = None;
    let schema = replica.schema();
    let known = |name: &str| Table::from_name(name).filter(|table| schema.has_table(*table));
    let each = |table: Table, uuid: &str, update: RowUpdate<'_>| {
        let uuid: Uuid = uuid.parse().map_err(|_| "a row's name is no UUID".to_owned())?;
        match stage(replica, table, uuid, update, form)? {
            Stage::Row(row) => staged.push((table, uuid, row)),
            Stage::Nothing => {}
            Stage::Missing => missing = Some((table, uuid)),
        }
        Ok::<_, String>(())
    };
    each_row(updates, known, each)?;
    if let Some((table, row)) = missing {
        return Err(UpdateError::Missing { table, row });
    }
    let mut changes = Changes::default();
    for (table, uuid, row) in staged {
        let rows = replica.table_mut(table);
        match row {
            Some((row, change)) => {
                rows.insert(uuid, row);
                changes.add(table, uuid, change);
            }
            None => {
                if rows.remove(&uuid).is_some() {
                    changes.add(table, uuid, Change::Deleted);
                }
            }
        }
    }
    Ok(changes)
}

enum Stage {
    Row(Option<(Arc<Row>, Change)>),
    Nothing,
    Missing,
}

fn stage(
    replica: &Replica,
    table: Table,
    uuid: Uuid,
    update: RowUpdate<'_>,
    form: Form,
) -> Result<Stage, String> {
    let whole = match form {
        Form::Whole => {
            if update.new.is_none() && update.old.is_none() {
                return Err("a row's update has neither \"old\" nor \"new\"".to_owned());
            }
            let Some(new) = update.new else { return Ok(Stage::Row(None)) };
            new
        }
        Form::Difference => match update.initial.or(update.insert) {
            Some(row) => row,
            None => {
                if let Some(difference) = update.modify {
                    let Some(present) = replica.table(table).get(&uuid) else {
                        return Ok(Stage::Missing);
                    };
                    let row = modified(replica.schema(), present, &difference);
                    return Ok(replacement(Some(present), row));
                }
                if update.is_deletion {
                    return Ok(Stage::Row(None));
                }
                return Err("a row's update is of no known kind".to_owned());
            }
        },
    };
    let row = complete(replica.schema(), table, uuid, &whole);
    Ok(replacement(replica.table(table).get(&uuid), row))
}

/// What happens to a row when `row` takes the place of `present`.
fn replacement(present: Option<&Arc<Row>>, row: Row) -> Stage {
    let change = match present {
        None => Change::Inserted,
        Some(present) => match present.differences(&row) {
            same if same.is_empty() => return Stage::Nothing,
            columns => Change::Modified(columns),
        },
    };
    Stage::Row(Some((Arc::new(row), change)))
}

/// A row of which columns that hold their default may be left out.
fn complete(schema: &Schema, table: Table, uuid: Uuid, columns: &Columns<'_>) -> Row {
    let mut row = Row::new(table, uuid);
    for (at, name) in table.columns().iter().enumerate() {
        let Some(kind) = schema.column_at(table, at) else { continue };
        let datum = match columns.get(&at) {
            None => Some(kind.default_datum()),
            Some(text) => kind.read(text.get()).ok(),
        };
        if datum.is_none() {
            note_once(table, name, "has a value that is not of its type");
        }
        row.set_at(at, datum);
    }
    row
}

/// A row with differences applied.
fn modified(schema: &Schema, present: &Row, difference: &Columns<'_>) -> Row {
    let mut row = present.clone();
    for (&at, text) in difference {
        let table = present.table();
        let Some(kind) = schema.column_at(table, at) else { continue };
        let datum = if kind.max == 1 {
            kind.read(text.get()).ok()
        } else {
            // Without a base that makes sense, a difference makes none.
            present.value_at(at).and_then(|base| merged(kind, base, text.get()))
        };
        if datum.is_none() {
            let name = table.columns().get(at).copied().unwrap_or_default();
            note_once(table, name, "has a value that is not of its type");
        }
        row.set_at(at, datum);
    }
    row
}

/// The content of a column of several elements after a difference: elements of a set that are in
/// one of the two only; of a map, pairs that are new, and without those that are in both.
fn merged(kind: &ColumnType, base: &Datum, difference: &str) -> Option<Datum> {
    let datum = match (base, kind.read_any_size(difference).ok()?) {
        (Datum::Set(base), Datum::Set(difference)) => {
            Datum::Set(either_but_not_both(base, difference))
        }
        (Datum::Map(base), Datum::Map(difference)) => {
            let mut map = base.clone();
            for (key, value) in difference {
                if map.get(&key) == Some(&value) {
                    map.remove(&key);
                } else {
                    map.insert(key, value);
                }
            }
            Datum::Map(map)
        }
        _ => return None,
    };
    let size = datum.len() as u64;
    (size >= kind.min && size <= kind.max).then_some(datum)
}

/// Of two sorted lists, the elements that are in one only, sorted.
fn either_but_not_both(a: &[Atom], b: Vec<Atom>) -> Vec<Atom> {
    use std::cmp::Ordering;
    let mut out = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.iter().peekable(), b.into_iter().peekable());
    loop {
        match (a.peek(), b.peek()) {
            (Some(x), Some(y)) => match (*x).cmp(y) {
                Ordering::Less => out.extend(a.next().cloned()),
                Ordering::Greater => out.extend(b.next()),
                Ordering::Equal => {
                    a.next();
                    b.next();
                }
            },
            (Some(_), None) => out.extend(a.next().cloned()),
            (None, Some(_)) => out.extend(b.next()),
            (None, None) => return out,
        }
    }
}

/// What makes `new` of `old`, whatever happened between them.
pub fn difference(old: &Replica, new: &Replica) -> Changes {
    let mut changes = Changes::default();
    for table in Table::ALL {
        for uuid in old.table(table).keys().filter(|uuid| !new.table(table).contains_key(*uuid)) {
            changes.add(table, *uuid, Change::Deleted);
        }
        for (uuid, row) in new.table(table) {
            match old.table(table).get(uuid) {
                None => changes.add(table, *uuid, Change::Inserted),
                Some(present) => {
                    let columns = present.differences(row);
                    if !columns.is_empty() {
                        changes.add(table, *uuid, Change::Modified(columns));
                    }
                }
            }
        }
    }
    changes
}

#[cfg(test)]
mod tests;
