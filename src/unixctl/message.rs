//! JSON-RPC 1.0 messages as the control socket uses them.
//!
//! A request is `{"method": NAME, "params": [STRING...], "id": ANY}`, the answer
//! `{"id": ANY, "result": X, "error": null}` or the same with the two exchanged. Unlike in
//! JSON-RPC 2.0 an absent member and a null member mean the same. Sources: the JSON-RPC 1.0
//! specification, RFC 7047 section 4, and the bytes that a stock `ovs-appctl` sends.

use serde_json::{Map, Value, json};
use thiserror::Error;

/// A request, its shape checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The command's name.
    pub method: String,
    /// Its arguments; commands want strings, but that is answered, not refused.
    pub params: Vec<Value>,
    /// Copied into the answer.
    pub id: Value,
}

/// Why a text is no request. The peer closes the connection on each of these.
#[derive(Debug, Error)]
pub enum RequestError {
    /// Not JSON at all.
    #[error("syntax error: {0}")]
    Syntax(#[from] serde_json::Error),
    /// JSON of another shape.
    #[error("{0}")]
    Shape(&'static str),
    /// A message that only a server may send, or that wants no answer.
    #[error("received unexpected {0} message")]
    Unexpected(&'static str),
}

impl Request {
    /// Reads a request from a JSON text.
    ///
    /// # Errors
    /// [`RequestError`] for everything that is not exactly a request.
    pub fn parse(text: &[u8]) -> Result<Request, RequestError> {
        let Value::Object(mut members) = serde_json::from_slice(text)? else {
            return Err(RequestError::Shape("message is not a JSON object"));
        };
        let mut take = |name| members.remove(name).filter(|value| !value.is_null());
        let (method, params, id) = (take("method"), take("params"), take("id"));
        let (result, error) = (take("result"), take("error"));
        if !members.is_empty() {
            return Err(RequestError::Shape("message has an unexpected member"));
        }
        match (method, id) {
            (Some(Value::String(method)), Some(id)) => match (params, result, error) {
                (Some(Value::Array(params)), None, None) => Ok(Request { method, params, id }),
                (_, None, None) => Err(RequestError::Shape("\"params\" must be JSON array")),
                _ => Err(RequestError::Shape("request must not have \"result\" or \"error\"")),
            },
            (Some(Value::String(_)), None) => Err(RequestError::Unexpected("notification")),
            (Some(_), _) => Err(RequestError::Shape("method is not a JSON string")),
            (None, _) if error.is_some() => Err(RequestError::Unexpected("error")),
            (None, _) if result.is_some() => Err(RequestError::Unexpected("reply")),
            (None, _) => Err(RequestError::Shape("message has neither method nor result")),
        }
    }

    /// The bytes of a request.
    pub fn encode(method: &str, args: &[&str], id: u64) -> Vec<u8> {
        json!({ "method": method, "params": args, "id": id }).to_string().into_bytes()
    }
}

/// The bytes of an answer; `Err` goes into its `error` member.
pub fn encode_answer(answer: Result<Value, String>, id: Value) -> Vec<u8> {
    let (result, error) = match answer {
        Ok(result) => (result, Value::Null),
        Err(error) => (Value::Null, Value::String(error)),
    };
    let mut members = Map::new();
    members.insert("id".to_owned(), id);
    members.insert("result".to_owned(), result);
    members.insert("error".to_owned(), error);
    Value::Object(members).to_string().into_bytes()
}

/// Reads an answer: its result, or the text of its error.
pub fn parse_answer(text: &[u8]) -> Option<Result<Value, String>> {
    let Value::Object(mut members) = serde_json::from_slice(text).ok()? else { return None };
    match (members.remove("result"), members.remove("error")) {
        (Some(result), None | Some(Value::Null)) => Some(Ok(result)),
        (_, Some(Value::String(error))) => Some(Err(error)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What ovs-appctl 3.1.0 sent for `ovs-appctl -t SOCKET vlog/set a "b c"`.
    #[test]
    fn a_stock_request() {
        let text = br#"{"id":0,"method":"vlog/set","params":["a","b c"]}"#;
        let request = Request::parse(text).expect("a request");
        assert_eq!(
            request,
            Request {
                method: "vlog/set".to_owned(),
                params: vec!["a".into(), "b c".into()],
                id: json!(0)
            }
        );
    }

    #[test]
    fn what_is_no_request() {
        for (text, want) in [
            ("[]", "message is not a JSON object"),
            (r#"{"method":"x","params":[],"id":null}"#, "received unexpected notification message"),
            (r#"{"result":"x","error":null,"id":1}"#, "received unexpected reply message"),
            (r#"{"result":null,"error":"x","id":1}"#, "received unexpected error message"),
            (r#"{"method":"x","params":{},"id":1}"#, "\"params\" must be JSON array"),
            (
                r#"{"method":"x","params":[],"id":1,"jsonrpc":"2.0"}"#,
                "message has an unexpected member",
            ),
            (r#"{"method":7,"params":[],"id":1}"#, "method is not a JSON string"),
            ("{}", "message has neither method nor result"),
        ] {
            let error = Request::parse(text.as_bytes()).expect_err(text);
            assert_eq!(error.to_string(), want, "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(matches!(Request::parse(deep.as_bytes()), Err(RequestError::Syntax(_))));
    }

    #[test]
    fn answers() {
        let ok = encode_answer(Ok("a\n".into()), json!(7));
        assert_eq!(ok, br#"{"id":7,"result":"a\n","error":null}"#);
        assert_eq!(parse_answer(&ok), Some(Ok("a\n".into())));
        let bad = encode_answer(Err("no\n".to_owned()), json!("x"));
        assert_eq!(bad, br#"{"id":"x","result":null,"error":"no\n"}"#);
        assert_eq!(parse_answer(&bad), Some(Err("no\n".to_owned())));
        assert_eq!(parse_answer(b"{}"), None);
    }

    proptest! {
        #[test]
        fn requests_survive_the_wire(method in ".{0,20}", args in proptest::collection::vec(".{0,20}", 0..5), id: u64) {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let request = Request::parse(&Request::encode(&method, &args, id)).expect("a request");
            prop_assert_eq!(request.method, method);
            prop_assert_eq!(request.params, args.into_iter().map(Value::from).collect::<Vec<_>>());
            prop_assert_eq!(request.id, json!(id));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Request::parse(&bytes);
            let _ = parse_answer(&bytes);
        }
    }
}
