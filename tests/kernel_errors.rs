//! Errors of the kernel under traffic: a full flow table, ports taken away behind the daemon's back.
//! Each is survived, told in the log with its remedy, and traffic flows again afterwards. (More of
//! the kind is in kernel_changes.rs.)

mod kernel;

use std::time::Duration;

use kernel::bridge::{Port, Setup};
use kernel::daemon::Daemon;
use kernel::frames::udp_frame;
use kernel::inject::Injector;
use kernel::netns::Host;
use kernel::ping::ping;
use kernel::{attempt, enter, run, wait_for};
use nix::sys::signal::{Signal, kill};

const LONG: Duration = Duration::from_secs(20);

fn two_hosts() -> (Vec<Host>, Daemon, Setup) {
    let hosts: Vec<Host> = (1..=2).map(Host::new).collect();
    let mut daemon = Daemon::ours();
    let setup = Setup::one(hosts.iter().map(|h| Port::new(&h.port)).collect());
    daemon.start(&setup);
    assert_eq!(ping(&hosts[0], &hosts[1].ipv4(), 5, 20).lost(), 0);
    (hosts, daemon, setup)
}

fn recovers(from: &Host, to: &Host) {
    wait_for("pings to go through again", LONG, || {
        (ping(from, &to.ipv4(), 3, 20).lost() == 0).then_some(())
    });
}

#[test]
#[ignore = "needs the lab"]
fn over_the_flow_limit_packets_are_forwarded_all_the_same() {
    enter();
    let (hosts, daemon, setup) = two_hosts();
    let Some(file) = daemon.file() else { return };
    let limited = format!("{}\n[other-config]\nflow-limit = 50\n", setup.toml());
    std::fs::write(&file, limited).expect("write the configuration");
    kill(daemon.pid(), Signal::SIGHUP).expect("daemon runs");
    wait_for("the file to be applied", LONG, || {
        daemon.log().contains("configuration applied").then_some(())
    });
    daemon.appctl(&["upcall/disable-megaflows"]);
    let frame = udp_frame(hosts[1].mac(), hosts[0].mac());
    Injector::new(&hosts[0]).flood(&frame, 0, 500);
    assert_eq!(ping(&hosts[0], &hosts[1].ipv4(), 5, 20).lost(), 0, "no room, but packets go");
    let log = daemon.log();
    let told = log.lines().filter(|l| l.contains("flows reached") && l.contains("raise")).count();
    assert_eq!(told, 1, "told {told} times");
    let coverage = daemon.appctl(&["coverage/show"]);
    assert!(coverage.contains("upcall_flow_limit_hit"), "{coverage}");
    daemon.appctl(&["upcall/enable-megaflows"]);
    recovers(&hosts[0], &hosts[1]);
}

#[test]
#[ignore = "needs the lab"]
fn a_port_taken_away_with_the_stock_tool_is_put_back() {
    enter();
    let (hosts, daemon, _) = two_hosts();
    if daemon.is_peer() {
        return;
    }
    for _ in 0..3 {
        run(&["ovs-dpctl", "del-if", "ovs-system", "v2"]);
        recovers(&hosts[0], &hosts[1]);
    }
    // What does not belong there goes.
    run(&["ip", "link", "add", "stray", "type", "veth", "peer", "name", "yarts"]);
    run(&["ovs-dpctl", "add-if", "ovs-system", "stray"]);
    wait_for("the stray port to go", LONG, || {
        (!run(&["ovs-dpctl", "show"]).contains("stray")).then_some(())
    });
    attempt(&["ip", "link", "del", "stray"]);
    recovers(&hosts[0], &hosts[1]);
}

#[test]
#[ignore = "needs the lab"]
fn flows_deleted_with_the_stock_tool_come_back() {
    enter();
    let (hosts, daemon, _) = two_hosts();
    for _ in 0..3 {
        run(&["ovs-dpctl", "del-flows", "ovs-system"]);
        assert_eq!(ping(&hosts[0], &hosts[1].ipv4(), 5, 20).lost(), 0);
    }
    drop(daemon);
}
