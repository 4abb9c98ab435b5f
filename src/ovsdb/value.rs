//! Values of the database: atoms, sets and maps, and their JSON form (RFC 7047 section 5.1).
//!
//! What always holds: a set is sorted and has no element twice, so that equal contents are equal
//! values; what comes out of [`ColumnType::decode`] is of the column's type. Pure values, any thread.

mod read;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrayvec::ArrayString;
use serde::{Serialize, Serializer};
use serde_json::Value;
use thiserror::Error;

/// The name of a row: a UUID of RFC 4122, shown as `8-4-4-4-12` hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// The UUID of zeros: the value of a reference that was never set.
    pub const ZERO: Uuid = Uuid([0; 16]);
}

impl Uuid {
    /// What a row is called inside a transaction that inserts it.
    pub fn symbol(&self) -> String {
        format!("row{}", self.text().replace('-', "_"))
    }

    /// As it is shown. Thousands of them are written for one change: no formatter is asked.
    fn text(&self) -> ArrayString<36> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = ArrayString::new();
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            for digit in [byte >> 4, byte & 0xf] {
                text.push(DIGITS.get(usize::from(digit)).copied().unwrap_or_default().into());
            }
        }
        text
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a UUID")]
pub struct NotUuid;

impl FromStr for Uuid {
    type Err = NotUuid;

    fn from_str(text: &str) -> Result<Uuid, NotUuid> {
        let text = text.as_bytes();
        if text.len() != 36 {
            return Err(NotUuid);
        }
        let mut bytes = [0; 16];
        let mut digits = 0_usize;
        for (at, &c) in text.iter().enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if c != b'-' {
                    return Err(NotUuid);
                }
                continue;
            }
            let digit = char::from(c).to_digit(16).ok_or(NotUuid)?;
            let byte = bytes.get_mut(digits / 2).ok_or(NotUuid)?;
            *byte = (*byte << 4) | u8::try_from(digit).map_err(|_| NotUuid)?;
            digits += 1;
        }
        Ok(Uuid(bytes))
    }
}

/// The type of an atom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomType {
    /// Signed, 64 bits.
    Integer,
    /// A double.
    Real,
    /// True or false.
    Boolean,
    /// UTF-8.
    String,
    /// The name of a row.
    Uuid,
}

impl AtomType {
    /// The type of that name in a schema.
    pub fn from_name(name: &str) -> Option<AtomType> {
        Some(match name {
            "integer" => AtomType::Integer,
            "real" => AtomType::Real,
            "boolean" => AtomType::Boolean,
            "string" => AtomType::String,
            "uuid" => AtomType::Uuid,
            _ => return None,
        })
    }

    /// What a column of this type holds when nothing was said (RFC 7047 section 5.2.1).
    pub fn default_atom(self) -> Atom {
        match self {
            AtomType::Integer => Atom::Integer(0),
            AtomType::Real => Atom::Real(0.0),
            AtomType::Boolean => Atom::Boolean(false),
            AtomType::String => Atom::from(""),
            AtomType::Uuid => Atom::Uuid(Uuid::ZERO),
        }
    }
}

/// One scalar. Totally ordered: by kind, then by value (doubles as IEEE 754 `totalOrder`).
#[derive(Clone, Debug)]
pub enum Atom {
    /// Signed, 64 bits.
    Integer(i64),
    /// A double.
    Real(f64),
    /// True or false.
    Boolean(bool),
    /// UTF-8.
    String(Arc<str>),
    /// The name of a row.
    Uuid(Uuid),
}

impl Atom {
    /// Its type.
    pub fn kind(&self) -> AtomType {
        match self {
            Atom::Integer(_) => AtomType::Integer,
            Atom::Real(_) => AtomType::Real,
            Atom::Boolean(_) => AtomType::Boolean,
            Atom::String(_) => AtomType::String,
            Atom::Uuid(_) => AtomType::Uuid,
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Atom::String(text) => Some(text),
            _ => None,
        }
    }

    /// Reads an atom of a known type.
    ///
    /// # Errors
    /// [`ValueError`] when it is of another.
    pub fn decode(kind: AtomType, value: &Value) -> Result<Atom, ValueError> {
        let wrong = ValueError::Atom(kind);
        Ok(match (kind, value) {
            (AtomType::Integer, Value::Number(number)) => {
                Atom::Integer(whole(number).ok_or(wrong)?)
            }
            (AtomType::Real, Value::Number(number)) => {
                Atom::Real(number.as_f64().filter(|real| real.is_finite()).ok_or(wrong)?)
            }
            (AtomType::Boolean, Value::Bool(value)) => Atom::Boolean(*value),
            (AtomType::String, Value::String(text)) => Atom::from(text.as_str()),
            (AtomType::Uuid, Value::Array(pair)) => match pair.as_slice() {
                [Value::String(tag), Value::String(uuid)] if tag == "uuid" => {
                    Atom::Uuid(uuid.parse().map_err(|_| wrong)?)
                }
                _ => return Err(wrong),
            },
            _ => return Err(wrong),
        })
    }
}

/// An integer also when it is written `5.0`, as JSON makes no difference.
fn whole(number: &serde_json::Number) -> Option<i64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0; // 2^53
    if let Some(value) = number.as_i64() {
        return Some(value);
    }
    let real = number.as_f64()?;
    #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
    (real.fract() == 0.0 && real.abs() <= EXACT_MAX).then_some(real as i64)
}

impl PartialEq for Atom {
    fn eq(&self, other: &Atom) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Atom {}

impl PartialOrd for Atom {
    fn partial_cmp(&self, other: &Atom) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Atom {
    fn cmp(&self, other: &Atom) -> Ordering {
        match (self, other) {
            (Atom::Integer(a), Atom::Integer(b)) => a.cmp(b),
            (Atom::Real(a), Atom::Real(b)) => a.total_cmp(b),
            (Atom::Boolean(a), Atom::Boolean(b)) => a.cmp(b),
            (Atom::String(a), Atom::String(b)) => a.cmp(b),
            (Atom::Uuid(a), Atom::Uuid(b)) => a.cmp(b),
            _ => (self.kind() as u8).cmp(&(other.kind() as u8)),
        }
    }
}

impl From<i64> for Atom {
    fn from(value: i64) -> Atom {
        Atom::Integer(value)
    }
}

impl From<bool> for Atom {
    fn from(value: bool) -> Atom {
        Atom::Boolean(value)
    }
}

impl From<&str> for Atom {
    fn from(text: &str) -> Atom {
        Atom::String(text.into())
    }
}

impl From<String> for Atom {
    fn from(text: String) -> Atom {
        Atom::String(text.into())
    }
}

impl From<Uuid> for Atom {
    fn from(uuid: Uuid) -> Atom {
        Atom::Uuid(uuid)
    }
}

/// The content of one column of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Datum {
    /// Sorted, each once. A scalar is a set of one, an optional scalar one of none or one.
    Set(Vec<Atom>),
    /// Keys and values.
    Map(BTreeMap<Atom, Atom>),
}

impl Datum {
    /// The empty set: an optional value that is not there.
    pub const EMPTY: Datum = Datum::Set(Vec::new());

    /// A set of atoms in any order, with any of them twice.
    pub fn set<T: Into<Atom>>(atoms: impl IntoIterator<Item = T>) -> Datum {
        let mut atoms: Vec<Atom> = atoms.into_iter().map(Into::into).collect();
        atoms.sort_unstable();
        atoms.dedup();
        Datum::Set(atoms)
    }

    /// One value or none.
    pub fn optional(atom: Option<impl Into<Atom>>) -> Datum {
        Datum::Set(atom.into_iter().map(Into::into).collect())
    }

    /// A map; of keys given twice the last counts.
    pub fn map<K: Into<Atom>, V: Into<Atom>>(pairs: impl IntoIterator<Item = (K, V)>) -> Datum {
        Datum::Map(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }

    /// Elements, or pairs.
    pub fn len(&self) -> usize {
        match self {
            Datum::Set(atoms) => atoms.len(),
            Datum::Map(pairs) => pairs.len(),
        }
    }

    /// Nothing in it?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The only element of a set.
    pub fn scalar(&self) -> Option<&Atom> {
        match self {
            Datum::Set(atoms) => match atoms.as_slice() {
                [atom] => Some(atom),
                _ => None,
            },
            Datum::Map(_) => None,
        }
    }
}

/// The JSON form of an [`Atom`] or a [`Datum`] (RFC 7047 section 5.1), the shortest one, written without a
/// tree of values in between.
#[derive(Clone, Copy)]
pub struct Encoded<'a, T> {
    /// What is written.
    pub content: &'a T,
    /// Which rows have no name yet: they are written otherwise inside a transaction.
    pub is_inserted: &'a dyn Fn(&Uuid) -> bool,
}

impl Serialize for Encoded<'_, Atom> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.content {
            Atom::Integer(value) => value.serialize(serializer),
            Atom::Real(value) => value.serialize(serializer),
            Atom::Boolean(value) => value.serialize(serializer),
            Atom::String(text) => text.serialize(serializer),
            Atom::Uuid(uuid) if (self.is_inserted)(uuid) => {
                ("named-uuid", uuid.symbol()).serialize(serializer)
            }
            Atom::Uuid(uuid) => ("uuid", uuid).serialize(serializer),
        }
    }
}

impl Serialize for Encoded<'_, Datum> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_inserted = self.is_inserted;
        let encoded = |content| Encoded { content, is_inserted };
        match self.content {
            Datum::Set(atoms) => match atoms.as_slice() {
                [atom] => encoded(atom).serialize(serializer),
                atoms => ("set", Sequence(|| atoms.iter().map(encoded))).serialize(serializer),
            },
            Datum::Map(pairs) => {
                let pair = |(key, value)| (encoded(key), encoded(value));
                ("map", Sequence(|| pairs.iter().map(pair))).serialize(serializer)
            }
        }
    }
}

/// An array of what an iterator has.
struct Sequence<F>(F);

impl<F: Fn() -> I, I: IntoIterator<Item: Serialize>> Serialize for Sequence<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

impl<T: Into<Atom>> From<T> for Datum {
    fn from(atom: T) -> Datum {
        Datum::Set(vec![atom.into()])
    }
}

/// The type of a column, as far as it decides how values are read and merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnType {
    /// Of elements, or of a map's keys.
    pub key: AtomType,
    /// Of a map's values; `None` for a set.
    pub value: Option<AtomType>,
    /// Fewest elements: 0 or 1.
    pub min: u64,
    /// Most elements.
    pub max: u64,
}

/// Why a JSON value is not of a column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ValueError {
    /// An atom is of another type, or out of range.
    #[error("not of type {0:?}")]
    Atom(AtomType),
    /// Not `["set", [...]]`.
    #[error("bad set")]
    Set,
    /// Not `["map", [[key, value]...]]`.
    #[error("bad map")]
    Map,
    /// An element or key occurs twice.
    #[error("contains a duplicate")]
    Duplicate,
    /// Too few or too many elements.
    #[error("{0} elements where {1} to {2} are allowed")]
    Size(u64, u64, u64),
}

impl ColumnType {
    /// A column that holds exactly one atom.
    pub const fn scalar(key: AtomType) -> ColumnType {
        ColumnType { key, value: None, min: 1, max: 1 }
    }

    /// What the column holds in a new row.
    pub fn default_datum(&self) -> Datum {
        match (self.min, self.value) {
            (0, None) => Datum::EMPTY,
            (0, Some(_)) => Datum::Map(BTreeMap::new()),
            (_, None) => Datum::from(self.key.default_atom()),
            (_, Some(value)) => Datum::map([(self.key.default_atom(), value.default_atom())]),
        }
    }

    /// Reads the column's content.
    ///
    /// # Errors
    /// [`ValueError`] for anything that the column cannot hold.
    pub fn decode(&self, value: &Value) -> Result<Datum, ValueError> {
        self.of_size(self.decode_any_size(value)?)
    }

    fn of_size(&self, datum: Datum) -> Result<Datum, ValueError> {
        let size = datum.len() as u64;
        if size < self.min || size > self.max {
            return Err(ValueError::Size(size, self.min, self.max));
        }
        Ok(datum)
    }

    /// Reads a value of the column's types but of any size, as a difference has it.
    ///
    /// # Errors
    /// [`ValueError`], but never [`ValueError::Size`].
    pub fn decode_any_size(&self, value: &Value) -> Result<Datum, ValueError> {
        match self.value {
            Some(kind) => self.decode_map(kind, value),
            None => self.decode_set(value),
        }
    }

    fn decode_set(&self, value: &Value) -> Result<Datum, ValueError> {
        let Some(elements) = tagged(value, "set") else {
            return Ok(Datum::Set(vec![Atom::decode(self.key, value)?]));
        };
        let elements = elements.ok_or(ValueError::Set)?;
        let mut atoms = elements
            .iter()
            .map(|element| Atom::decode(self.key, element))
            .collect::<Result<Vec<_>, _>>()?;
        atoms.sort_unstable();
        if atoms.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
            return Err(ValueError::Duplicate);
        }
        Ok(Datum::Set(atoms))
    }

    fn decode_map(&self, kind: AtomType, value: &Value) -> Result<Datum, ValueError> {
        let pairs = tagged(value, "map").flatten().ok_or(ValueError::Map)?;
        let mut map = BTreeMap::new();
        for pair in pairs {
            let Some([key, value]) = pair.as_array().map(Vec::as_slice) else {
                return Err(ValueError::Map);
            };
            let key = Atom::decode(self.key, key)?;
            if map.insert(key, Atom::decode(kind, value)?).is_some() {
                return Err(ValueError::Duplicate);
            }
        }
        Ok(Datum::Map(map))
    }
}

/// The second half of `[tag, [...]]`: outer `None` if there is another tag or none.
fn tagged<'a>(value: &'a Value, tag: &str) -> Option<Option<&'a Vec<Value>>> {
    match value.as_array()?.as_slice() {
        [Value::String(found), rest @ ..] if found == tag => Some(match rest {
            [Value::Array(elements)] => Some(elements),
            _ => None,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
