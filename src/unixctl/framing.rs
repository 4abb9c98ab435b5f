//! Where one JSON text ends and the next begins in a stream of bytes.
//!
//! Sans-I/O: bytes go in as they come, cut anywhere; whole texts come out. Only braces, brackets
//! and strings are looked at, each byte once; whether a text is valid JSON is for its parser.
//! What always holds: no more than the given number of bytes is kept for one text.

use thiserror::Error;

/// Cuts a byte stream into top-level JSON objects and arrays.
#[derive(Debug)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Bytes of `buffer` already looked at.
    scanned: usize,
    depth: usize,
    string: InString,
    bytes_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InString {
    No,
    Yes,
    /// After a backslash.
    Escape,
}

/// Why a stream makes no sense any more; the connection should be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Neither white space nor the beginning of an object or array between texts.
    #[error("byte {0:#04x} between messages")]
    Garbage(u8),
    /// A text longer than allowed.
    #[error("message longer than {0} bytes")]
    TooLong(usize),
}

impl Framer {
    /// A framer that takes texts of up to `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Framer {
        Framer { buffer: Vec::new(), scanned: 0, depth: 0, string: InString::No, bytes_max }
    }

    /// Takes bytes from the stream. Texts that are complete should be taken out with
    /// [`Framer::next_text`] before more is fed, or what waits counts as one text.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Is part of a text waiting for its end?
    pub fn is_partial(&self) -> bool {
        self.depth > 0
    }

    /// Takes the next complete text out, if there is one.
    ///
    /// # Errors
    /// [`FrameError`]; the stream cannot be used any more.
    pub fn next_text(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        if self.depth == 0 {
            self.skip_white_space()?;
        }
        let end = self.scan();
        if self.scanned > self.bytes_max || self.scanned == self.bytes_max && end.is_none() {
            return Err(FrameError::TooLong(self.bytes_max));
        }
        Ok(end.map(|end| {
            self.scanned = 0;
            let rest = self.buffer.split_off(end);
            std::mem::replace(&mut self.buffer, rest)
        }))
    }

    /// Looks at what has not been looked at, up to the end of a text; gives that end, if there is one.
    fn scan(&mut self) -> Option<usize> {
        let from = self.scanned;
        let Self { depth, string, .. } = self;
        let is_end = |byte: &u8| {
            match (*string, *byte) {
                (InString::Yes, b'\\') => *string = InString::Escape,
                (InString::Yes, b'"') => *string = InString::No,
                (InString::Yes, _) => {}
                (InString::No, b'"') => *string = InString::Yes,
                (InString::No, b'{' | b'[') => *depth += 1,
                (InString::No, b'}' | b']') => {
                    // The first byte of a text opens, so there is always something to close.
                    *depth = depth.saturating_sub(1);
                    return *depth == 0;
                }
                (InString::No, _) => {}
                (InString::Escape, _) => *string = InString::Yes,
            }
            false
        };
        let bytes = self.buffer.get(from..).unwrap_or_default();
        let end = bytes.iter().position(is_end).map(|at| from + at + 1);
        self.scanned = end.unwrap_or(self.buffer.len());
        end
    }

    fn skip_white_space(&mut self) -> Result<(), FrameError> {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        let first = self.buffer.iter().position(|byte| !blank(byte)).unwrap_or(self.buffer.len());
        self.buffer.drain(..first);
        match self.buffer.first() {
            None | Some(b'{' | b'[') => Ok(()),
            Some(&other) => Err(FrameError::Garbage(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// All texts of a stream that arrives in the given pieces.
    fn texts<'a>(
        pieces: impl IntoIterator<Item = &'a [u8]>,
        bytes_max: usize,
    ) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut framer = Framer::new(bytes_max);
        let mut out = Vec::new();
        for piece in pieces {
            framer.feed(piece);
            while let Some(text) = framer.next_text()? {
                out.push(text);
            }
        }
        Ok(out)
    }

    #[test]
    fn strings_hide_braces_and_quotes() {
        let stream = br#" {"a":"}\"]\\"} [1,[2],{}]
{}"#;
        let found = texts([&stream[..]], 100).expect("texts");
        assert_eq!(found, [&br#"{"a":"}\"]\\"}"#[..], b"[1,[2],{}]", b"{}"]);
    }

    #[test]
    fn bounds_and_garbage() {
        assert_eq!(texts([&b"{} x"[..]], 100), Err(FrameError::Garbage(b'x')));
        assert_eq!(texts([&b"}"[..]], 100), Err(FrameError::Garbage(b'}')));
        assert_eq!(texts([&b"[[[[[["[..]], 5), Err(FrameError::TooLong(5)));
        assert_eq!(texts([&b"[\"abcdefgh"[..]], 10), Err(FrameError::TooLong(10)));
        assert!(texts([&b"[1234567]"[..]], 10).is_ok());
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
            "[\\\\\"{}\\[\\]]{0,8}".prop_map(Value::from),
        ];
        let tree = leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::hash_map(".{0,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        });
        tree.prop_map(|value| json!({ "id": value }))
    }

    proptest! {
        #[test]
        fn cut_anywhere_the_same_texts_come_out(
            values in proptest::collection::vec((value(), "[ \t\r\n]{0,3}"), 0..6),
            sizes in proptest::collection::vec(1..20usize, 1..40),
        ) {
            let mut stream = Vec::new();
            for (value, blank) in &values {
                stream.extend(blank.bytes());
                stream.extend(value.to_string().bytes());
            }
            let mut pieces = Vec::new();
            let mut rest = &stream[..];
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*size).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            let found = texts(pieces, 1 << 20).expect("texts");
            let found: Vec<Value> =
                found.iter().map(|text| serde_json::from_slice(text).expect("JSON")).collect();
            let values: Vec<Value> = values.into_iter().map(|(value, _)| value).collect();
            prop_assert_eq!(found, values);
        }

        #[test]
        fn hostile_bytes_end_in_texts_or_an_error(
            stream in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(b'{'), Just(b'}'), Just(b'"'), Just(b'\\')], 0..300),
            size in 1..300usize,
        ) {
            if let Ok(found) = texts(stream.chunks(size), 64) {
                prop_assert!(found.iter().all(|text| text.len() <= 64));
            }
        }
    }
}
