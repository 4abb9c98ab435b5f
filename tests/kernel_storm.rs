//! One port opens flows as fast as it can; its neighbours must not suffer for it.
//!
//! Megaflows are off, so that every 5-tuple is a flow of its own and goes up once.

mod kernel;

use kernel::bridge::{Port, Setup};
use kernel::daemon::{Daemon, DpStats, dp_stats};
use kernel::enter;
use kernel::storm::{Class, Field, QUESTIONS, Storm};

struct Outcome {
    storm: Storm,
    sent_up: u64,
    lost: u64,
    /// `upcall/ports` at the end, if the daemon has it.
    ports: String,
}

fn run_storm(mut daemon: Daemon, classes: &[Class]) -> Outcome {
    let field = Field::new();
    daemon.start(&Setup::one((1..=4).map(|n| Port::new(&format!("v{n}"))).collect()));
    daemon.appctl(&["upcall/disable-megaflows"]);
    let (storm, before, after): (_, DpStats, DpStats) = field.storm(classes, dp_stats);
    Outcome {
        storm,
        sent_up: after.missed - before.missed,
        lost: after.lost - before.lost,
        ports: daemon.try_appctl(&["upcall/ports"]).0,
    }
}

fn report(who: &str, o: &Outcome) {
    let s = &o.storm;
    println!("{who}: in {:.1?} sent {}, up {}, lost {}", s.lasted, s.sent, o.sent_up, o.lost);
    for (when, all) in [("quiet", &s.quiet), ("storm", &s.storm)] {
        for series in all {
            for (what, times) in [("new flows", &series.first), ("the same flow", &series.next)] {
                let answered = times.answered();
                let [p50, p90, p99] = [50, 90, 99].map(|p| times.percentile(p));
                println!(
                    "{who}, {when}, {:?}, {what}: {answered} answered, p50 {p50:.0?} p90 {p90:.0?} p99 {p99:.0?}",
                    series.class
                );
            }
        }
    }
}

#[test]
#[ignore = "needs the lab"]
fn a_quiet_neighbour_is_answered_in_the_storm() {
    enter();
    let peer = run_storm(Daemon::peer(), &[Class::Plain]);
    report("peer", &peer);
    let daemon = Daemon::ours();
    let is_peer = daemon.is_peer();
    let ours = run_storm(daemon, &[Class::Plain, Class::Prompt]);
    report("ours", &ours);
    for series in &ours.storm.quiet {
        assert_eq!(series.first.answered(), QUESTIONS, "unanswered without any storm");
    }
    if is_peer {
        return;
    }
    for series in &ours.storm.storm {
        assert_eq!(series.first.answered(), QUESTIONS, "the neighbour's first packets got lost");
    }
    // A clock says nothing in a lab that others load; beside the peer in the same lab it does.
    for percent in [50, 99] {
        let [ours, peer] = [&ours, &peer].map(|o| o.storm.storm[0].first.percentile(percent));
        assert!(
            ours * 2 <= peer,
            "the neighbour waits more than half as long as with the peer (p{percent})"
        );
    }
    // Whatever did not get an answer is on the account of the port that stormed.
    let account = |port: &str, key: &str| -> u64 {
        ours.ports
            .lines()
            .filter(|l| l.trim().starts_with(&format!("{port}:")))
            .flat_map(str::split_whitespace)
            .find_map(|w| w.strip_prefix(key)?.parse().ok())
            .unwrap_or(0)
    };
    assert!(account("v1", "upcalls:") > 0, "v1 has no account:\n{}", ours.ports);
    for port in ["v2", "v3", "v4"] {
        let bad = account(port, "dropped:") + account(port, "lost:");
        assert_eq!(bad, 0, "{port} paid for v1:\n{}", ours.ports);
    }
    // Which port a lost upcall came from is told by the kernel since Linux 6.2.
    if !ours.ports.contains("lost:?") {
        let lost: u64 = ["v1", "v2", "v3", "v4"].iter().map(|p| account(p, "lost:")).sum();
        assert!(lost >= ours.lost, "{} lost, {lost} accounted:\n{}", ours.lost, ours.ports);
    }
}
