//! The text of an update of the replica, row by row: one way through it, and no tree of values.
//!
//! What always holds: the content of columns stays text until somebody asks for it; tables and columns that
//! nobody asked for are passed over. Pure values, any thread.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::schema::Table;

/// Columns by their places in [`Table::columns`].
pub(super) type Columns<'a> = BTreeMap<usize, &'a RawValue>;

/// What is told of a row, in any of the forms.
#[derive(Debug, Default)]
pub(super) struct RowUpdate<'a> {
    pub old: Option<Columns<'a>>,
    pub new: Option<Columns<'a>>,
    pub initial: Option<Columns<'a>>,
    pub insert: Option<Columns<'a>>,
    pub modify: Option<Columns<'a>>,
    pub is_deletion: bool,
}

/// Calls `each` for the rows of `<table-updates>` or `<table-updates2>`, in their order, as far as they are
/// of tables that are `known`.
///
/// # Errors
/// If it is none, and what `each` says.
pub(super) fn each_row<'a>(
    updates: &'a RawValue,
    known: impl Fn(&str) -> Option<Table>,
    each: impl FnMut(Table, &str, RowUpdate<'a>) -> Result<(), String>,
) -> Result<(), serde_json::Error> {
    serde_json::Deserializer::from_str(updates.get()).deserialize_map(Tables { known, each })
}

struct Tables<K, E> {
    known: K,
    each: E,
}

impl<'de, K, E> Visitor<'de> for Tables<K, E>
where
    K: Fn(&str) -> Option<Table>,
    E: FnMut(Table, &str, RowUpdate<'de>) -> Result<(), String>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("updates of tables")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            match (self.known)(&name) {
                Some(table) => map.next_value_seed(Rows { table, each: &mut self.each })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// A key, borrowed where it can be.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        from.deserialize_str(Text).map(Name)
    }
}

struct Rows<'e, E> {
    table: Table,
    each: &'e mut E,
}

impl<'de, E> DeserializeSeed<'de> for Rows<'_, E>
where
    E: FnMut(Table, &str, RowUpdate<'de>) -> Result<(), String>,
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de, E> Visitor<'de> for Rows<'_, E>
where
    E: FnMut(Table, &str, RowUpdate<'de>) -> Result<(), String>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("updates of rows")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(uuid)) = map.next_key()? {
            let update = map.next_value_seed(Row(self.table))?;
            (self.each)(self.table, &uuid, update).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

struct Row(Table);

impl<'de> DeserializeSeed<'de> for Row {
    type Value = RowUpdate<'de>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Row {
    type Value = RowUpdate<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an update of a row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut update = RowUpdate::default();
        while let Some(Name(kind)) = map.next_key()? {
            let content = match &*kind {
                "old" => &mut update.old,
                "new" => &mut update.new,
                "initial" => &mut update.initial,
                "insert" => &mut update.insert,
                "modify" => &mut update.modify,
                other => {
                    // Its value is null.
                    update.is_deletion |= other == "delete";
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *content = map.next_value_seed(Content(self.0))?;
        }
        Ok(update)
    }
}

/// An object of columns, or null.
struct Content(Table);

impl<'de> DeserializeSeed<'de> for Content {
    type Value = Option<Columns<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Content {
    type Value = Option<Columns<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of columns")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut columns = Columns::new();
        while let Some(Name(name)) = map.next_key()? {
            match self.0.column(&name) {
                Some(at) => drop(columns.insert(at, map.next_value()?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(columns))
    }
}
