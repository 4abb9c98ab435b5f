//! Bytes of any content in pieces of any size: texts come out, each within the bound, or the stream is
//! refused; how the pieces are cut makes no difference. The same code frames the control socket.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rovs::unixctl::framing::{FrameError, Framer};

const BYTES_MAX: usize = 256;

fn texts<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Option<FrameError>) {
    let mut framer = Framer::new(BYTES_MAX);
    let mut found = Vec::new();
    for piece in pieces {
        framer.feed(piece);
        loop {
            match framer.next_text() {
                Ok(Some(text)) => found.push(text),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

fuzz_target!(|data: &[u8]| {
    let Some((size, stream)) = data.split_first() else { return };
    let whole = texts(std::iter::once(stream));
    let cut = texts(stream.chunks(usize::from(*size).max(1)));
    assert_eq!(whole, cut);
    assert!(whole.0.iter().all(|text| text.len() <= BYTES_MAX));
});
