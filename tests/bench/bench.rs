//! The benchmark: rovs, the stock daemon and a null responder on the same packets, in one run.
//!
//! `ci/bench` starts this program in the lab, once for each kind of guest; there it starts each daemon
//! in turn, several rounds interleaved, and prints one JSON line a measurement. Outside of the lab
//! `report` makes a table of those lines, and a chart. Nothing here is asserted: figures are for
//! reading, and ratios are between daemons of the same run.
//!
//! Read [`figures`] (what there is to know, and what is wanted), [`load`] (what is sent), [`null`] (the
//! practical limit), [`meter`] and [`tracing`] (what is read off), then [`work`], which measures.

mod change;
mod chart;
mod crowd;
mod figures;
#[path = "../kernel/mod.rs"]
mod kernel;
mod load;
mod meter;
mod null;
mod ports;
mod report;
mod set_up;
mod storm;
mod subject;
mod tracing;
mod work;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["null", ports @ ..] => null::run(ports),
        ["measure", lab, rounds, scale, seed, only] => {
            match (rounds.parse(), scale.parse(), seed.parse()) {
                (Ok(rounds), Ok(scale), Ok(seed)) => work::measure(lab, rounds, scale, seed, only),
                _ => return usage(),
            }
        }
        ["report", chart, file] => return report::run(chart, file),
        // `cargo test --all-targets` and the like start every program.
        [] | ["--bench"] => {}
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: bench null PORT... | measure LAB ROUNDS SCALE SEED ONLY | report CHART|'' FILE"
    );
    ExitCode::from(2)
}
