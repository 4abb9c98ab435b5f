//! A recording of any content: read to its end or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rovs::datapath::recording::{Event, Recording};

fuzz_target!(|data: &[u8]| {
    let Ok(recording) = Recording::parse(data.to_vec()) else { return };
    for frame in recording.frames() {
        if let Ok(Event::Ports(text)) = frame.map(|f| f.event) {
            let _ = Recording::parse_ports(text);
        }
    }
});
