//! First packets of new flows of a quiet port, while another port opens flows as fast as it can.
//!
//! Flows match everything, so that each packet of the storm goes up. One that is not answered in
//! time counts as the time that was waited for it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::kernel::bridge::Port;
use crate::kernel::frames::udp_frame;
use crate::kernel::inject::Injector;
use crate::load::{Kind, Load, Run, mac};
use crate::subject::{Subject, Who};
use crate::work::Print;

/// How long a packet is waited for.
const PATIENCE: Duration = Duration::from_millis(400);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(20);
/// Packets of the storm in one go.
const GUST: u32 = 200;

/// Measures `who` with so many questions, quiet and in the storm.
pub fn measure(print: &Print<'_>, who: Who, questions: u32) {
    if who == Who::Limit {
        return;
    }
    let storm = Load::new(print.seed, [1, 2]);
    let mut quiet = Load::new(print.seed, [3, 4]);
    let ports = (1..=4).map(|n| Port::new(&format!("v{n}"))).collect();
    let _subject = Subject::start_with(who, true, &[], ports);
    for load in [&storm, &quiet] {
        load.announce();
    }
    let run = quiet.questions(Kind::Tuples, 0, questions, PAUSE, PATIENCE);
    print.line("storm.quiet.p50", who, percentile(&run, 50));
    print.line("storm.quiet.p99", who, percentile(&run, 99));

    let stop = AtomicBool::new(false);
    let run = std::thread::scope(|s| {
        s.spawn(|| {
            let wire = Injector::new(&storm.hosts()[0]);
            let frame = udp_frame(mac(2, 0), mac(1, 0));
            let mut next = 0u32;
            while !stop.load(Relaxed) {
                wire.flood(&frame, next, GUST);
                next = next.wrapping_add(GUST);
            }
        });
        std::thread::sleep(Duration::from_secs(1));
        let run = quiet.questions(Kind::Tuples, questions, questions, PAUSE, PATIENCE);
        stop.store(true, Relaxed);
        run
    });
    print.line("storm.p50", who, percentile(&run, 50));
    print.line("storm.p99", who, percentile(&run, 99));
    print.line("storm.unanswered", who, f64::from(run.lost) * 100.0 / f64::from(questions));
}

/// In microseconds.
fn percentile(run: &Run, percent: usize) -> f64 {
    let mut each = run.each.clone();
    each.resize(each.len() + run.lost as usize, PATIENCE);
    each.sort();
    let at = (each.len() * percent).div_ceil(100).saturating_sub(1);
    each.get(at).map_or(f64::NAN, |time| time.as_nanos() as f64 / 1e3)
}
