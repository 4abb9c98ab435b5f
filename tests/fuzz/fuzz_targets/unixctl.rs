//! Any bytes on the control socket, in pieces: cut into requests, each read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rovs::unixctl::framing::Framer;
use rovs::unixctl::message::{Request, parse_answer};

fuzz_target!(|data: &[u8]| {
    // The first byte says how long the pieces are.
    let Some((&size, stream)) = data.split_first() else { return };
    let mut framer = Framer::new(1 << 16);
    for piece in stream.chunks(usize::from(size).max(1)) {
        framer.feed(piece);
        loop {
            match framer.next_text() {
                Ok(Some(text)) => {
                    let _ = Request::parse(&text);
                    let _ = parse_answer(&text);
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
});
