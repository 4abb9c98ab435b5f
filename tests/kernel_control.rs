//! The control socket in a storm of upcalls: handlers have as much to do as a CPU can, and go before others
//! then. Times are shown; what is asserted is that each question has an answer.

mod kernel;

use kernel::answers::Answers;
use kernel::bridge::{Port, Setup};
use kernel::daemon::{Daemon, DpStats, dp_stats};
use kernel::enter;
use kernel::storm::{Class, Field};

fn answers_in_a_storm(who: &str, mut daemon: Daemon) {
    let field = Field::new();
    daemon.start(&Setup::one((1..=4).map(|n| Port::new(&format!("v{n}"))).collect()));
    // Every 5-tuple is a flow of its own and goes up once.
    daemon.appctl(&["upcall/disable-megaflows"]);
    let storm = || -> (_, DpStats, DpStats) { field.storm(&[Class::Plain], dp_stats) };
    let (answers, (storm, before, after)) = Answers::during(&daemon.control_socket(), storm);
    println!(
        "{who}: {} packets sent, {} upcalls: {answers}",
        storm.sent,
        after.missed - before.missed
    );
    assert!(after.missed > before.missed, "no storm");
}

#[test]
#[ignore = "needs the lab"]
fn questions_are_answered_in_a_storm() {
    enter();
    answers_in_a_storm("peer", Daemon::peer());
    answers_in_a_storm("ours", Daemon::ours());
}
