//! The measurements, daemon after daemon, several rounds of all.
//!
//! Each prints one JSON line: lab, round, seed, figure, who, value. Progress goes to standard error.

use std::time::Instant;

use crate::figures;
use crate::load::Kind;
use crate::subject::Who;
use crate::{crowd, ports, set_up, storm};

/// Where results go.
pub struct Print<'a> {
    lab: &'a str,
    round: u32,
    /// The order of packets.
    pub seed: u32,
}

impl Print<'_> {
    /// A value of a figure.
    pub fn line(&self, figure: &str, who: Who, value: f64) {
        assert!(figures::find(figure).is_some(), "{figure} is not in the list of figures");
        let (lab, round, seed) = (self.lab, self.round, self.seed);
        let line = serde_json::json!({
            "lab": lab, "round": round, "seed": seed, "figure": figure, "who": who.name(),
            "value": value,
        });
        println!("{line}");
    }
}

/// A group of figures.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Macs,
    Tuples,
    Storm,
    Ports,
    Crowd,
}

impl Group {
    /// In the order in which a round measures them.
    const ALL: [Self; 5] = [Self::Macs, Self::Tuples, Self::Storm, Self::Ports, Self::Crowd];

    fn name(self) -> &'static str {
        match self {
            Self::Macs => "macs",
            Self::Tuples => "tuples",
            Self::Storm => "storm",
            Self::Ports => "ports",
            Self::Crowd => "crowd",
        }
    }

    /// What costs the control side is counted, not timed.
    fn is_for(self, lab: &str) -> bool {
        lab == "icount" || !matches!(self, Self::Ports | Self::Crowd)
    }

    fn measure(self, print: &Print<'_>, who: Who, scale: u32) {
        match self {
            Self::Macs => set_up::measure(print, who, Kind::Macs, scale),
            Self::Tuples => set_up::measure(print, who, Kind::Tuples, scale),
            Self::Storm => storm::measure(print, who, (scale / 20).clamp(60, 200)),
            Self::Ports => ports::measure(print, who, scale / 4),
            Self::Crowd => crowd::measure(print, who, scale * 25),
        }
    }
}

/// Runs all, `rounds` times, with `scale` flows in each saturated run; of the groups only the one
/// that is called `only` (`GROUP` or `GROUP/WHO`), if there is one.
pub fn measure(lab: &str, rounds: u32, scale: u32, seed: u32, only: &str) {
    crate::kernel::enter();
    let begun = Instant::now();
    let (only_group, only_who) = only.split_once('/').unwrap_or((only, ""));
    let is_meant = |name: &str, only: &str| only.is_empty() || name == only;
    for round in 1..=rounds {
        let print = Print { lab, round, seed: seed.wrapping_add(round) };
        for group in Group::ALL.into_iter().filter(|group| group.is_for(lab)) {
            if !is_meant(group.name(), only_group) {
                continue;
            }
            for who in Who::ALL.into_iter().filter(|who| is_meant(who.name(), only_who)) {
                eprintln!(
                    "bench: {lab}, round {round} of {rounds}: {}, {} ({} s of the guest's time)",
                    group.name(),
                    who.name(),
                    begun.elapsed().as_secs()
                );
                group.measure(&print, who, scale);
            }
        }
    }
}
