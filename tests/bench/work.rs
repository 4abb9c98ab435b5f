//! The measurements, daemon after daemon, several rounds of all.
//!
//! Each prints one JSON line: lab, figure, who, value, unit. Progress goes to standard error.

use std::time::Duration;

use crate::kernel::daemon::dp_stats;
use crate::load::{Kind, Load};
use crate::meter;
use crate::subject::{Subject, Who};

/// Packets outstanding at a time: as many as one receive of a daemon takes.
const WINDOW: u32 = 64;
/// Flows do not die of age while they are measured.
const SETTINGS: &[(&str, u32)] = &[("max-idle", 600_000)];

struct Print<'a> {
    lab: &'a str,
    round: u32,
}

impl Print<'_> {
    fn line(&self, figure: &str, who: Who, value: f64, unit: &str) {
        let (lab, round) = (self.lab, self.round);
        let line = serde_json::json!({
            "lab": lab, "round": round, "figure": figure, "who": who.name(),
            "value": value, "unit": unit,
        });
        println!("{line}");
    }
}

/// Runs all, `rounds` times, with `scale` flows in each saturated run.
pub fn measure(lab: &str, rounds: u32, scale: u32) {
    crate::kernel::enter();
    for round in 1..=rounds {
        let print = Print { lab, round };
        for who in Who::ALL {
            for (name, kind) in [("macs", Kind::Macs), ("tuples", Kind::Tuples)] {
                eprintln!("bench: {lab}, round {round} of {rounds}: {}, {name}", who.name());
                set_up(&print, who, name, kind, scale);
            }
            if who != Who::Limit {
                eprintln!("bench: {lab}, round {round} of {rounds}: {}, idle", who.name());
                idle(&print, who, scale);
            }
        }
    }
}

/// Cost of a flow's set-up: many at once, and one by one.
fn set_up(print: &Print<'_>, who: Who, name: &str, kind: Kind, scale: u32) {
    let mut load = Load::new(print.round);
    let subject = Subject::start(who, kind == Kind::Tuples, SETTINGS);
    if kind == Kind::Macs {
        let ready = meter::read(subject.pid());
        print.line("start: CPU until ready", who, ready.cpu_ns as f64 / 1e6, "ms");
        print.line("idle: resident memory", who, ready.rss as f64 / 1e6, "MB");
    }
    load.announce();
    let warm = scale / 4;
    load.saturate(kind, 0, warm, WINDOW);

    let (before, flows) = (meter::read(subject.pid()), dp_stats().flows);
    let run = load.saturate(kind, warm, scale, WINDOW);
    let used = meter::read(subject.pid()).since(before);
    let made = dp_stats().flows.saturating_sub(flows).max(1) as f64;
    let kilo = |ns: u64| ns as f64 / made / 1e3;
    print.line(&format!("{name}: handlers' CPU per set-up"), who, kilo(used.handler_ns), "k");
    print.line(&format!("{name}: all CPU per set-up"), who, kilo(used.cpu_ns), "k");
    let rate = f64::from(run.arrived) / run.elapsed.as_secs_f64();
    print.line(&format!("{name}: set-ups per second"), who, rate, "/s");
    print.line(&format!("{name}: lost"), who, f64::from(run.lost), "");

    let few = (scale / 10).clamp(20, 200);
    let before = meter::read(subject.pid());
    let mut run = load.one_by_one(kind, warm + scale, few, Duration::from_millis(5));
    let used = meter::read(subject.pid()).since(before);
    run.each.sort();
    if let Some(median) = run.each.get(run.each.len() / 2) {
        let micros = median.as_nanos() as f64 / 1e3;
        print.line(&format!("{name}: first packet, one by one, median"), who, micros, "us");
    }
    let per_packet = used.handler_ns as f64 / f64::from(few) / 1e3;
    print.line(&format!("{name}: handlers' CPU, one by one"), who, per_packet, "k");
}

/// What flows cost that are there and are not used.
fn idle(print: &Print<'_>, who: Who, scale: u32) {
    let mut load = Load::new(print.round);
    let subject = Subject::start(who, true, SETTINGS);
    load.announce();
    let before = meter::read(subject.pid());
    let flows = scale.saturating_mul(4);
    load.saturate(Kind::Tuples, 0, flows, WINDOW);
    let made = dp_stats().flows.max(1) as f64;
    std::thread::sleep(Duration::from_secs(2));
    let full = meter::read(subject.pid());
    let grown = full.rss.saturating_sub(before.rss) as f64 / made;
    print.line("memory per flow", who, grown, "B");
    let wait = Duration::from_secs(6);
    std::thread::sleep(wait);
    let used = meter::read(subject.pid()).since(full);
    let share = used.cpu_ns as f64 / wait.as_nanos() as f64 * 100.0;
    print.line("idle: CPU with flows installed", who, share, "%");
    print.line("idle: flows installed", who, made, "");
}
