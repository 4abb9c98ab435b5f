//! Reading values from JSON text without a tree of values in between.
//!
//! What always holds: what is read here is what [`ColumnType::decode`] makes of the same text; whatever this
//! cannot make sense of is left to that one, which knows what to say. Pure values, any thread.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

use super::{Atom, AtomType, ColumnType, Datum, ValueError};

impl ColumnType {
    /// Reads the column's content from JSON text.
    ///
    /// # Errors
    /// [`ValueError`] for anything that the column cannot hold.
    pub fn read(&self, text: &str) -> Result<Datum, ValueError> {
        self.of_size(self.read_any_size(text)?)
    }

    /// The same of any size, as a difference has it.
    ///
    /// # Errors
    /// [`ValueError`], but never [`ValueError::Size`].
    pub fn read_any_size(&self, text: &str) -> Result<Datum, ValueError> {
        match self.deserialize(&mut serde_json::Deserializer::from_str(text)) {
            Ok(datum) => Ok(datum),
            Err(_) => {
                let value: Value =
                    serde_json::from_str(text).map_err(|_| ValueError::Atom(self.key))?;
                self.decode_any_size(&value)
            }
        }
    }
}

/// A datum of any size.
impl<'de> DeserializeSeed<'de> for &ColumnType {
    type Value = Datum;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Datum, D::Error> {
        from.deserialize_any(Content(self))
    }
}

struct Content<'a>(&'a ColumnType);

impl Content<'_> {
    fn scalar<E: Error>(&self, atom: Result<Atom, E>) -> Result<Datum, E> {
        match self.0.value {
            None => Ok(Datum::Set(vec![atom?])),
            Some(_) => Err(E::custom("no map")),
        }
    }
}

impl<'de> Visitor<'de> for Content<'_> {
    type Value = Datum;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Datum, E> {
        self.scalar(OneAtom(self.0.key).visit_bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Datum, E> {
        self.scalar(OneAtom(self.0.key).visit_i64(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Datum, E> {
        self.scalar(OneAtom(self.0.key).visit_u64(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Datum, E> {
        self.scalar(OneAtom(self.0.key).visit_str(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Datum, A::Error> {
        let ColumnType { key, value, .. } = *self.0;
        let tag: &str = seq.next_element()?.unwrap_or_default();
        let datum = match (tag, value) {
            ("set", None) => seq.next_element_seed(Atoms(key))?.map(Datum::Set),
            ("map", Some(value)) => seq.next_element_seed(Pairs(key, value))?.map(Datum::Map),
            ("uuid", None) => {
                seq.next_element()?.and_then(uuid_of(key)).map(|uuid| Datum::Set(vec![uuid]))
            }
            _ => None,
        };
        end(seq, datum)
    }
}

fn uuid_of(kind: AtomType) -> impl Fn(&str) -> Option<Atom> {
    move |text| (kind == AtomType::Uuid).then(|| text.parse().ok().map(Atom::Uuid)).flatten()
}

/// What was found, if the array ends here.
fn end<'de, A: SeqAccess<'de>, T>(mut seq: A, found: Option<T>) -> Result<T, A::Error> {
    match (found, seq.next_element::<IgnoredAny>()?) {
        (Some(found), None) => Ok(found),
        _ => Err(A::Error::custom("another form")),
    }
}

/// An atom of this type. Forms of which there are several (`5.0`) are left to [`Atom::decode`].
#[derive(Clone, Copy)]
struct OneAtom(AtomType);

impl<'de> DeserializeSeed<'de> for OneAtom {
    type Value = Atom;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Atom, D::Error> {
        from.deserialize_any(self)
    }
}

impl OneAtom {
    fn check<E: Error>(self, kind: AtomType, atom: Atom) -> Result<Atom, E> {
        if self.0 == kind { Ok(atom) } else { Err(E::custom("another type")) }
    }
}

impl<'de> Visitor<'de> for OneAtom {
    type Value = Atom;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an atom")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Atom, E> {
        self.check(AtomType::Boolean, Atom::Boolean(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Atom, E> {
        self.check(AtomType::Integer, Atom::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Atom, E> {
        self.visit_i64(i64::try_from(value).map_err(E::custom)?)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Atom, E> {
        self.check(AtomType::String, Atom::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Atom, A::Error> {
        let is_uuid = seq.next_element::<&str>()? == Some("uuid");
        let uuid = seq.next_element()?.and_then(uuid_of(self.0)).filter(|_| is_uuid);
        end(seq, uuid)
    }
}

/// The elements of a set.
struct Atoms(AtomType);

impl<'de> DeserializeSeed<'de> for Atoms {
    type Value = Vec<Atom>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Vec<Atom>, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Atoms {
    type Value = Vec<Atom>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("atoms")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Atom>, A::Error> {
        let mut atoms = Vec::new();
        while let Some(atom) = seq.next_element_seed(OneAtom(self.0))? {
            atoms.push(atom);
        }
        atoms.sort_unstable();
        if atoms.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
            return Err(A::Error::custom("a duplicate"));
        }
        Ok(atoms)
    }
}

/// The pairs of a map.
#[derive(Clone, Copy)]
struct Pairs(AtomType, AtomType);

impl<'de> DeserializeSeed<'de> for Pairs {
    type Value = BTreeMap<Atom, Atom>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Pairs {
    type Value = BTreeMap<Atom, Atom>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pairs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = seq.next_element_seed(Pair(self))? {
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("a duplicate"));
            }
        }
        Ok(map)
    }
}

struct Pair(Pairs);

impl<'de> DeserializeSeed<'de> for Pair {
    type Value = (Atom, Atom);

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Pair {
    type Value = (Atom, Atom);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pair")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let Pairs(key, value) = self.0;
        let key = seq.next_element_seed(OneAtom(key))?;
        let value = seq.next_element_seed(OneAtom(value))?;
        end(seq, key.zip(value))
    }
}
