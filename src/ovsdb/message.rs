//! JSON-RPC 1.0 messages between us and the database server (RFC 7047 section 4).
//!
//! What always holds: the large parts of a message (parameters, results) stay text until they are
//! looked at row by row, so a message costs little more memory than its text. Absent members and
//! null members mean the same. Pure values, any thread.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// A message, its shape checked.
#[derive(Debug)]
pub enum Message<'a> {
    /// Something is asked of us.
    Request {
        /// What.
        method: String,
        /// About what.
        params: &'a RawValue,
        /// To be given back.
        id: Value,
    },
    /// Something is told to us.
    Notification {
        /// What.
        method: String,
        /// About what.
        params: &'a RawValue,
    },
    /// What we asked for.
    Reply {
        /// As we gave it.
        id: Value,
        /// `None` for null.
        result: Option<&'a RawValue>,
    },
    /// Why we do not get what we asked for.
    Error {
        /// As we gave it.
        id: Value,
        /// Mostly a string, or an object with members `error` and `details`.
        error: Value,
    },
}

#[derive(Deserialize)]
struct Members<'a> {
    method: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    id: Option<Value>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<Value>,
}

impl<'a> Message<'a> {
    /// Reads a message from a JSON text.
    ///
    /// # Errors
    /// For what is not JSON, and for members that make no message.
    pub fn parse(text: &'a [u8]) -> Result<Message<'a>, serde_json::Error> {
        let members: Members<'a> = serde_json::from_slice(text)?;
        let shape = serde_json::Error::custom;
        let id = members.id.filter(|id| !id.is_null());
        match (members.method, id, members.error.filter(|error| !error.is_null())) {
            (Some(method), id, None) => {
                let params = members.params.ok_or_else(|| shape("params missing"))?;
                Ok(match id {
                    Some(id) => Message::Request { method, params, id },
                    None => Message::Notification { method, params },
                })
            }
            (None, Some(id), Some(error)) => Ok(Message::Error { id, error }),
            (None, Some(id), None) => Ok(Message::Reply { id, result: members.result }),
            (None, None, _) => Err(shape("neither method nor id")),
            (Some(_), _, Some(_)) => Err(shape("both method and error")),
        }
    }
}

/// Calls `each` for the members of an object, in their order; each value is left as text.
///
/// # Errors
/// If it is no object, and what `each` says.
pub fn members<E: fmt::Display>(
    object: &RawValue,
    each: impl FnMut(&str, &RawValue) -> Result<(), E>,
) -> Result<(), serde_json::Error> {
    struct Members<F>(F);
    impl<'de, E: fmt::Display, F: FnMut(&str, &RawValue) -> Result<(), E>> Visitor<'de> for Members<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                (self.0)(&key, value).map_err(A::Error::custom)?;
            }
            Ok(())
        }
    }
    serde_json::Deserializer::from_str(object.get()).deserialize_map(Members(each))
}

/// The elements of an array, left as text; `None` if it is none or has more than `N`.
pub fn elements<const N: usize>(array: &RawValue) -> Option<Vec<&RawValue>> {
    struct Elements<const N: usize>;
    impl<'de, const N: usize> DeserializeSeed<'de> for Elements<N> {
        type Value = Vec<&'de RawValue>;
        fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
            from.deserialize_seq(self)
        }
    }
    impl<'de, const N: usize> Visitor<'de> for Elements<N> {
        type Value = Vec<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a short array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut found = Vec::with_capacity(N);
            while let Some(element) = seq.next_element()? {
                if found.len() == N {
                    return Err(A::Error::custom("too many elements"));
                }
                found.push(element);
            }
            Ok(found)
        }
    }
    Elements::<N>.deserialize(&mut serde_json::Deserializer::from_str(array.get())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_messages() {
        let kind = |text: &str| match Message::parse(text.as_bytes()) {
            Ok(Message::Request { method, params, id }) => {
                format!("request {method} {params} {id}")
            }
            Ok(Message::Notification { method, params }) => format!("told {method} {params}"),
            Ok(Message::Reply { id, result }) => format!("reply {id} {result:?}"),
            Ok(Message::Error { id, error }) => format!("error {id} {error}"),
            Err(_) => "nonsense".to_owned(),
        };
        for (text, want) in [
            (
                r#"{"method":"echo","params":[1, "x"],"id":"echo"}"#,
                r#"request echo [1, "x"] "echo""#,
            ),
            (r#"{"id":null,"method":"update","params":[]}"#, "told update []"),
            (r#"{"method":"locked","params":["l"]}"#, r#"told locked ["l"]"#),
            (r#"{"id":3,"result":{},"error":null}"#, "reply 3 Some(RawValue({}))"),
            (r#"{"id":3,"result":null,"error":null}"#, "reply 3 None"),
            (r#"{"id":3,"result":null,"error":"unknown method"}"#, r#"error 3 "unknown method""#),
            (r#"{"id":null,"result":1}"#, "nonsense"),
            (r#"{"method":"echo","id":1}"#, "nonsense"),
            (r#"{"method":1,"params":[],"id":1}"#, "nonsense"),
            ("[]", "nonsense"),
            ("{", "nonsense"),
        ] {
            assert_eq!(kind(text), want, "{text}");
        }
    }

    #[test]
    fn parts() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).expect("JSON");
        let mut seen = String::new();
        members(&raw(r#"{"a":[1],"b\n":{"c":2}}"#), |key, value| {
            seen += &format!("{key:?}={value} ");
            Ok::<_, String>(())
        })
        .expect("an object");
        assert_eq!(seen, r#""a"=[1] "b\n"={"c":2} "#);
        assert!(members(&raw("[]"), |_, _| Ok::<_, String>(())).is_err());
        assert!(members(&raw(r#"{"a":1}"#), |_, _| Err("no")).is_err());
        let found =
            elements::<2>(&raw("[1,[2, 3]]")).map(|e| e.iter().map(|v| v.get().len()).sum());
        assert_eq!(found, Some(7_usize));
        assert!(elements::<1>(&raw("[1,2]")).is_none());
        assert!(elements::<1>(&raw("{}")).is_none());
    }
}
