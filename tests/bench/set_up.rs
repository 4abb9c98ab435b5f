//! What it costs to set a flow up: many at once, and one by one.

use std::time::Duration;

use crate::kernel::daemon::dp_stats;
use crate::load::{Kind, Load};
use crate::meter;
use crate::subject::{SETTINGS, Subject, Who};
use crate::tracing::Tracing;
use crate::work::Print;

/// Packets outstanding at a time: as many as one receive of a daemon takes.
const WINDOW: u32 = 64;
/// Between packets that go one by one.
const PAUSE: Duration = Duration::from_millis(5);

/// Measures `who` with `scale` flows.
pub fn measure(print: &Print<'_>, who: Who, kind: Kind, scale: u32) {
    let name = match kind {
        Kind::Macs => "macs",
        Kind::Tuples => "tuples",
    };
    let mut load = Load::new(print.seed, [1, 2]);
    let subject = Subject::start(who, kind == Kind::Tuples, SETTINGS);
    let pid = subject.pid();
    if kind == Kind::Macs {
        print.line("idle.rss", who, meter::read(pid).rss as f64 / 1e6);
    }
    load.announce();
    let warm = scale / 4;
    load.saturate(kind, 0, warm, WINDOW);
    let mut next = warm;

    let (before, flows) = (meter::read(pid), dp_stats().flows);
    let run = load.saturate(kind, next, scale, WINDOW);
    next += scale;
    let used = meter::read(pid).since(before);
    let made = dp_stats().flows.saturating_sub(flows).max(1) as f64;
    let kilo = |ns: u64| ns as f64 / made / 1e3;
    print.line(&format!("{name}.handlers"), who, kilo(used.handler_ns));
    print.line(&format!("{name}.cpu"), who, kilo(used.cpu_ns));
    let rate = f64::from(run.arrived) / run.elapsed.as_secs_f64();
    print.line(&format!("{name}.rate"), who, rate);
    print.line(&format!("{name}.lost"), who, f64::from(run.lost));

    let few = (scale / 10).clamp(20, 200);
    let before = meter::read(pid);
    let mut run = load.one_by_one(kind, next, few, PAUSE);
    next += few;
    let used = meter::read(pid).since(before);
    run.each.sort();
    if let Some(median) = run.each.get(run.each.len() / 2) {
        print.line(&format!("{name}.one.p50"), who, median.as_nanos() as f64 / 1e3);
    }
    let per_packet = used.handler_ns as f64 / f64::from(few) / 1e3;
    print.line(&format!("{name}.one.cpu"), who, per_packet);

    // Counted last: who is counted is slower.
    if let Some(tracing) = Tracing::of_calls() {
        let before = tracing.count(pid);
        load.saturate(kind, next, scale, WINDOW);
        next += scale;
        let saturated = tracing.count(pid);
        load.one_by_one(kind, next, few, PAUSE);
        next += few;
        let low = tracing.count(pid) - saturated;
        print.line(&format!("{name}.calls"), who, (saturated - before) as f64 / f64::from(scale));
        print.line(&format!("{name}.one.calls"), who, low as f64 / f64::from(few));
    }
    if let Some(tracing) = Tracing::of_heap() {
        let before = tracing.count(pid);
        load.saturate(kind, next, scale, WINDOW);
        let heap = tracing.count(pid) - before;
        print.line(&format!("{name}.heap"), who, heap as f64 / f64::from(scale));
    }
}
