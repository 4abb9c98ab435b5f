//! The daemon goes and comes back under a ping every 10 ms: flows in the kernel carry the traffic.

mod kernel;

use std::time::Duration;

use kernel::bridge::{Port, Setup};
use kernel::daemon::{Daemon, dp_stats};
use kernel::netns::Host;
use kernel::ping::{Ping, Pinged, ping};
use kernel::{attempt, enter};

fn under_ping(daemon: &mut Daemon, end: impl FnOnce(&mut Daemon)) -> Pinged {
    let hosts: Vec<Host> = (1..=2).map(Host::new).collect();
    daemon.start(&Setup::one(hosts.iter().map(|h| Port::new(&h.port)).collect()));
    assert_eq!(ping(&hosts[0], &hosts[1].ipv4(), 10, 20).lost(), 0, "before the restart");
    let running = Ping::start(&hosts[0], &hosts[1].ipv4(), 500, 10);
    std::thread::sleep(Duration::from_millis(1000));
    end(daemon);
    std::thread::sleep(Duration::from_millis(500));
    daemon.restart();
    let result = running.finish();
    println!("lost {} of {}; {:?}", result.lost(), result.sent, dp_stats());
    // And it is a switch again, not just a kernel that remembers.
    assert_eq!(ping(&hosts[1], &hosts[0].ipv6(), 10, 20).lost(), 0, "after the restart");
    result
}

#[test]
#[ignore = "needs the lab"]
fn killed_and_started_again_nothing_is_lost() {
    enter();
    let mut daemon = Daemon::ours();
    let result = under_ping(&mut daemon, Daemon::kill9);
    if !daemon.is_peer() {
        assert_eq!(result.lost(), 0);
    }
}

#[test]
#[ignore = "needs the lab"]
fn stopped_and_started_again_nothing_is_lost() {
    enter();
    let mut daemon = Daemon::ours();
    let result = under_ping(&mut daemon, Daemon::stop);
    if !daemon.is_peer() {
        assert_eq!(result.lost(), 0);
    }
}

#[test]
#[ignore = "needs the lab"]
fn cleanup_leaves_no_datapath() {
    enter();
    let host = Host::new(1);
    let mut daemon = Daemon::ours();
    daemon.start(&Setup::one(vec![Port::new(&host.port)]));
    daemon.appctl(&["exit", "--cleanup"]);
    kernel::wait_for("the datapath to go", Duration::from_secs(10), || {
        (!attempt(&["ovs-dpctl", "dump-dps"]).0.contains("ovs-system")).then_some(())
    });
    assert!(!attempt(&["ip", "link", "show", "br0"]).1, "br0 is still there");
    assert!(attempt(&["ip", "link", "show", &host.port]).1, "the host's cable is gone too");
}
