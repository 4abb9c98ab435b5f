//! Any text as a datapath flow: read or refused, and what is read can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rovs::odp::action::OdpActions;
use rovs::odp::format::{Style, format_actions, format_key};
use rovs::odp::parse::{parse_actions, parse_flow, parse_key};

fuzz_target!(|text: &str| {
    let _ = parse_flow(text, None);
    let (mut key, mut mask) = (Vec::new(), Vec::new());
    if parse_key(text, None, &mut key, &mut mask).is_ok() {
        let mut shown = String::new();
        format_key(&key, Some(&mask), Style { names: None, verbose: true }, &mut shown);
    }
    let mut actions = OdpActions::new();
    if parse_actions(text, None, &mut actions).is_ok() {
        let mut shown = String::new();
        format_actions(actions.as_bytes(), None, &mut shown);
        let mut again = OdpActions::new();
        let _ = parse_actions(&shown, None, &mut again);
    }
});
