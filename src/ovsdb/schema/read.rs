//! Reading the text of a schema (RFC 7047 section 3.2).
//!
//! What always holds: one way through the text, of which most is of no concern and not made into values; a
//! text in which something makes no sense is gone through again, member by member, so that it costs
//! that table or column only. Pure values, any thread.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::super::value::{AtomType, ColumnType};
use super::{SchemaError, Table};

/// The types of [`Table::columns`], by table.
type Tables = BTreeMap<Table, Vec<Option<ColumnType>>>;

/// What of a schema is read.
#[derive(Default, Deserialize)]
pub(super) struct Found {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub version: Option<String>,
    #[serde(default, deserialize_with = "tables")]
    pub tables: Option<Tables>,
}

fn tables<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Tables>, D::Error> {
    from.deserialize_map(Named(|name: &str| Table::from_name(name).map(InTable))).map(|tables| {
        let tables = tables.into_iter();
        Some(tables.filter_map(|(table, columns)| Some((table, columns?))).collect())
    })
}

/// The members of an object that are known by name, each read by what the name calls for.
struct Named<F>(F);

impl<'de, F, S, K, V> Visitor<'de> for Named<F>
where
    F: Fn(&str) -> Option<S>,
    S: DeserializeSeed<'de, Value = (K, V)>,
    K: Ord,
{
    type Value = BTreeMap<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = BTreeMap::new();
        while let Some(name) = map.next_key::<&str>()? {
            match (self.0)(name) {
                Some(seed) => {
                    let (key, value) = map.next_value_seed(seed)?;
                    found.insert(key, value);
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

/// A table; `None` if it has no columns, as if the server did not have it.
struct InTable(Table);

impl<'de> DeserializeSeed<'de> for InTable {
    type Value = (Table, Option<Vec<Option<ColumnType>>>);

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        let table = self.0;
        let columns = |name: &str| (name == "columns").then_some(Columns(table));
        let mut found = from.deserialize_map(Named(columns))?;
        Ok((table, found.remove(&())))
    }
}

struct Columns(Table);

impl<'de> DeserializeSeed<'de> for Columns {
    type Value = ((), Vec<Option<ColumnType>>);

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        let table = self.0;
        let mut found = from.deserialize_map(Named(|name: &str| table.column(name).map(Column)))?;
        Ok(((), (0..table.columns().len()).map(|at| found.remove(&at)).collect()))
    }
}

/// A column at a place of [`Table::columns`].
struct Column(usize);

impl<'de> DeserializeSeed<'de> for Column {
    type Value = (usize, ColumnType);

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        #[derive(Deserialize)]
        struct Members {
            #[serde(rename = "type")]
            kind: Type,
        }
        Ok((self.0, Members::deserialize(from)?.kind.0))
    }
}

/// `<type>`.
struct Type(ColumnType);

impl<'de> Deserialize<'de> for Type {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(OfType).map(Type)
    }
}

struct OfType;

impl<'de> Visitor<'de> for OfType {
    type Value = ColumnType;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a type")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<ColumnType, E> {
        Base::named(name).map(|Base(kind)| ColumnType::scalar(kind))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ColumnType, A::Error> {
        let (mut key, mut value, mut min, mut max) = (None, None, 1, 1);
        while let Some(name) = map.next_key::<&str>()? {
            match name {
                "key" => key = Some(map.next_value::<Base>()?.0),
                "value" => value = Some(map.next_value::<Base>()?.0),
                "min" => min = map.next_value::<u64>()?,
                "max" => max = map.next_value::<Bound>()?.0,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        match key {
            Some(key) if min <= 1 && max >= 1 && min <= max => {
                Ok(ColumnType { key, value, min, max })
            }
            _ => Err(A::Error::custom("no type")),
        }
    }
}

/// `<base-type>`: of its constraints none concerns us.
struct Base(AtomType);

impl Base {
    fn named<E: Error>(name: &str) -> Result<Self, E> {
        AtomType::from_name(name).map(Base).ok_or_else(|| E::custom("no atomic type"))
    }
}

impl<'de> Deserialize<'de> for Base {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OfBase;
        impl<'de> Visitor<'de> for OfBase {
            type Value = Base;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a base type")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Base, E> {
                Base::named(name)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Base, A::Error> {
                let mut found = None;
                while let Some(name) = map.next_key::<&str>()? {
                    match name {
                        "type" => found = Some(Base::named(map.next_value::<&str>()?)?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                found.ok_or_else(|| A::Error::missing_field("type"))
            }
        }
        from.deserialize_any(OfBase)
    }
}

/// How many elements there may be.
struct Bound(u64);

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OfBound;
        impl Visitor<'_> for OfBound {
            type Value = Bound;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or \"unlimited\"")
            }

            fn visit_u64<E: Error>(self, most: u64) -> Result<Bound, E> {
                Ok(Bound(most))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Bound, E> {
                if text == "unlimited" { Ok(Bound(u64::MAX)) } else { Err(E::custom("no bound")) }
            }
        }
        from.deserialize_any(OfBound)
    }
}

/// Members that stay text until they are looked at one by one.
type Members<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

fn object<'a>(members: &Members<'a>, name: &str) -> Option<Members<'a>> {
    let text: &'a RawValue = members.get(name).copied()?;
    serde_json::from_str(text.get()).ok()
}

/// Reads a text in which something makes no sense. A table or column of which that is so is left out.
pub(super) fn read_leniently(text: &str) -> Result<Found, SchemaError> {
    let members: Members<'_> =
        serde_json::from_str(text).map_err(|_| SchemaError::Malformed("name"))?;
    let string = |name| serde_json::from_str(members.get(name)?.get()).ok();
    let in_table = |tables: &Members<'_>, table: Table| -> Option<Vec<Option<ColumnType>>> {
        let columns = object(&object(tables, table.name())?, "columns")?;
        let kind = |name: &&str| {
            let column = serde_json::Deserializer::from_str(columns.get(*name)?.get());
            let (_, kind) = Column(0).deserialize(&mut { column }).ok()?;
            Some(kind)
        };
        Some(table.columns().iter().map(kind).collect())
    };
    let tables = object(&members, "tables").map(|tables| {
        let found = Table::ALL.into_iter();
        found.filter_map(|table| Some((table, in_table(&tables, table)?))).collect()
    });
    Ok(Found { name: string("name"), version: string("version"), tables })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::small_schema_json;
    use super::*;

    #[test]
    fn both_ways_lead_to_the_same() {
        let mut schema = small_schema_json();
        let whole = |text: &str| serde_json::from_str::<Found>(text).map(|found| found.tables);
        assert!(whole(&schema.to_string()).is_err(), "it has a type that nobody knows");
        schema["tables"]["Port"]["columns"]["mac"] = json!({ "type": { "key": "string" } });
        // Names may be written in any way, and members come in any order.
        schema["tables"]["Manager"] = json!({ "indexes": [["target"]], "columns": {
            "target": { "ephemeral": true, "type": { "max": 2, "min": 0, "key": { "enum": ["set", []], "type": "real" } } } } });
        for text in [schema.to_string(), schema.to_string().replace("Manager", "Mana\\u0067er")] {
            let leniently = read_leniently(&text).expect("a schema").tables;
            assert!(leniently.as_ref().is_some_and(|tables| tables.len() == 4), "{leniently:?}");
            assert!(whole(&text).is_ok_and(|tables| tables == leniently) || text.contains('\\'));
        }
    }
}
