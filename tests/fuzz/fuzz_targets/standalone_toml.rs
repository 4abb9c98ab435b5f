//! Any text as a standalone configuration: taken, or refused at a place that the text has.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rovs::standalone::{ConfigError, parse};

fuzz_target!(|text: &str| {
    if let Err(ConfigError::Wrong { line, column, message }) = parse(text) {
        let lines = text.split('\n').count();
        assert!((1..=lines).contains(&line), "line {line} of {lines}");
        let width = text.split('\n').nth(line - 1).map_or(0, |l| l.chars().count());
        assert!((1..=width + 1).contains(&column), "column {column} of {width}");
        assert!(!message.is_empty());
    }
});
