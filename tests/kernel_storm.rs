//! One port opens flows as fast as it can; its neighbours must not suffer for it.
//!
//! Megaflows are off, so that every 5-tuple is a flow of its own and goes up once.

mod kernel;

use kernel::bridge::{Port, Setup};
use kernel::daemon::{Daemon, DpStats, dp_stats};
use kernel::enter;
use kernel::storm::{Field, QUESTIONS, Storm};

struct Outcome {
    storm: Storm,
    before: DpStats,
    after: DpStats,
    /// `upcall/ports` at the end, if the daemon has it.
    ports: String,
}

fn run_storm(mut daemon: Daemon) -> Outcome {
    let field = Field::new();
    daemon.start(&Setup::one((1..=4).map(|n| Port::new(&format!("v{n}"))).collect()));
    daemon.appctl(&["upcall/disable-megaflows"]);
    if std::env::var("ROVS_STORM").is_ok_and(|v| v.contains("nice")) {
        for t in std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap() {
            let t = t.unwrap().file_name().into_string().unwrap();
            kernel::attempt(&["renice", "-n", "-10", "-p", &t]);
        }
    }
    if let Some(us) = std::env::var("ROVS_STORM")
        .unwrap()
        .split(',')
        .find_map(|w| w.strip_prefix("slice=").map(str::to_owned))
    {
        let nice =
            if std::env::var("ROVS_STORM").is_ok_and(|v| v.contains("nice")) { "-10" } else { "0" };
        for t in std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap() {
            let t = t.unwrap().file_name().into_string().unwrap();
            let name = std::fs::read_to_string(format!("/proc/{t}/comm")).unwrap();
            if name.starts_with("handler") {
                println!(
                    "handler {:?}",
                    kernel::attempt(&[
                        "/root/.pyenv/versions/3.11.7/bin/python3.11",
                        "/work/wt/storm/target/slice.py",
                        &t,
                        &us,
                        nice
                    ])
                );
            }
        }
    }
    if std::env::var("ROVS_STORM").is_ok_and(|v| v.contains("rt")) {
        for t in std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap() {
            let t = t.unwrap().file_name().into_string().unwrap();
            let name = std::fs::read_to_string(format!("/proc/{t}/comm")).unwrap();
            if name.starts_with("handler") {
                println!("handler {:?}", kernel::attempt(&["chrt", "-f", "-p", "1", &t]));
            }
        }
    }
    let (storm, before, after) =
        field.storm(dp_stats, || (dp_stats(), daemon.try_appctl(&["coverage/show"]).0));
    println!(
        "{}",
        daemon
            .log()
            .lines()
            .filter(|l| l.contains("pauses"))
            .map(|l| format!("handler {l}\n"))
            .collect::<String>()
    );
    Outcome { storm, before, after: after.0, ports: daemon.try_appctl(&["upcall/ports"]).0 }
}

fn report(who: &str, o: &Outcome) {
    let s = &o.storm;
    println!(
        "{who}: in {:.1?} sent {}, up {}, lost {}",
        s.lasted,
        s.sent,
        o.after.missed - o.before.missed,
        o.after.lost - o.before.lost
    );
    for (class, name) in [(0, "plain"), (1, "prompt")] {
        for (when, series) in [("quiet", &s.quiet[class]), ("storm", &s.storm[class])] {
            for (what, times) in [("first", &series.first), ("next", &series.next)] {
                println!(
                    "{who}, {name}, {when}, {what}: {} answered, p50 {:.0?} p90 {:.0?} p99 {:.0?}",
                    times.answered(),
                    times.percentile(50),
                    times.percentile(90),
                    times.percentile(99)
                );
            }
        }
    }
}

#[test]
#[ignore = "needs the lab"]
fn a_quiet_neighbour_is_answered_in_the_storm() {
    enter();
    let which = std::env::var("ROVS_STORM").unwrap_or_default();
    if which.contains("peer") {
        report("peer", &run_storm(Daemon::peer()));
        return;
    }
    let ours = run_storm(Daemon::ours());
    report("ours", &ours);
    assert_eq!(ours.storm.storm[0].first.answered(), QUESTIONS);
}
