//! The benchmark: rovs, the stock daemon and a null responder on the same packets, in one run.
//!
//! `ci/bench` starts this program in the lab, once for each kind of guest; there it starts each daemon
//! in turn, several rounds interleaved, and prints one JSON line a measurement. Outside of the lab
//! `report` makes a table of those lines. Nothing here is asserted: figures are for reading, and
//! ratios are between daemons of the same run.
//!
//! Read [`load`] (what is sent), [`null`] (the practical limit), [`meter`] (what is read off), then
//! this file.

#[path = "../kernel/mod.rs"]
mod kernel;
mod load;
mod meter;
mod null;
mod report;
mod subject;
mod work;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["null", ports @ ..] => null::run(ports),
        ["measure", lab, rounds, scale] => match (rounds.parse(), scale.parse()) {
            (Ok(rounds), Ok(scale)) => work::measure(lab, rounds, scale),
            _ => return usage(),
        },
        ["report", files @ ..] if !files.is_empty() => return report::run(files),
        // `cargo test --all-targets` and the like start every program.
        [] | ["--bench"] => {}
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: bench null PORT... | measure LAB ROUNDS SCALE | report FILE...");
    ExitCode::from(2)
}
