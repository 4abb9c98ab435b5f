//! Errors of the kernel under traffic: a full socket, a full flow table, ports, datapath and module taken
//! away behind the daemon's back. Each is survived, told in the log once with its remedy, and traffic
//! flows again afterwards.
//!
//! That the kernel has no room for a flow (ENOSPC) cannot be brought about: the module has no bound
//! of its own. tests/road_faults.rs has a fake kernel say it; here is the daemon's own bound.

mod kernel;

use std::time::Duration;

use kernel::bridge::{Port, Setup};
use kernel::daemon::{Daemon, dp_stats};
use kernel::frames::{announce, udp_frame};
use kernel::inject::Injector;
use kernel::netns::Host;
use kernel::ping::ping;
use kernel::{attempt, enter, run, wait_for};
use nix::sys::signal::{Signal, kill};

const LONG: Duration = Duration::from_secs(20);

/// Three hosts, of which the first has spoken with the second.
fn hosts() -> (Vec<Host>, Daemon, Setup) {
    let hosts: Vec<Host> = (1..=3).map(Host::new).collect();
    let mut daemon = Daemon::ours();
    let setup = Setup::one(hosts.iter().map(|h| Port::new(&h.port)).collect());
    daemon.start(&setup);
    assert_eq!(ping(&hosts[0], &hosts[1].ipv4(), 5, 20).lost(), 0);
    (hosts, daemon, setup)
}

/// Lines of the log that hold all of `words`.
fn told(daemon: &Daemon, words: &[&str]) -> usize {
    let log = daemon.log();
    log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

/// Waits until pings go through again.
fn recovers(from: &Host, to: &Host) {
    wait_for("pings to go through again", LONG, || {
        (ping(from, &to.ipv4(), 3, 20).lost() == 0).then_some(())
    });
}

#[test]
#[ignore = "needs the lab"]
fn over_the_flow_limit_packets_are_forwarded_all_the_same() {
    enter();
    let (hosts, daemon, setup) = hosts();
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
    assert_eq!(told(&daemon, &["limit of 50 flows reached", "; raise flow-limit"]), 1);
    let coverage = daemon.appctl(&["coverage/show"]);
    assert!(coverage.contains("upcall_flow_limit_hit"), "{coverage}");
    daemon.appctl(&["upcall/enable-megaflows"]);
    recovers(&hosts[0], &hosts[1]);
}

#[test]
#[ignore = "needs the lab"]
fn a_port_taken_away_with_the_stock_tool_is_put_back() {
    enter();
    let (hosts, daemon, _) = hosts();
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
    let (hosts, daemon, _) = hosts();
    for _ in 0..3 {
        run(&["ovs-dpctl", "del-flows", "ovs-system"]);
        assert_eq!(ping(&hosts[0], &hosts[1].ipv4(), 5, 20).lost(), 0);
    }
    drop(daemon);
}

#[test]
#[ignore = "needs the lab"]
fn a_port_deleted_under_a_flood_is_survived() {
    enter();
    let (mut hosts, daemon, _) = hosts();
    daemon.appctl(&["upcall/disable-megaflows"]);
    let wire = Injector::new(&hosts[0]);
    let frame = udp_frame(hosts[1].mac(), hosts[0].mac());
    std::thread::scope(|s| {
        s.spawn(|| wire.flood(&frame, 0, 20_000));
        std::thread::sleep(Duration::from_millis(200));
        drop(hosts.remove(1));
    });
    daemon.appctl(&["upcall/enable-megaflows"]);
    recovers(&hosts[0], &hosts[1]);
    let stale = kernel::flows::settled();
    assert!(!stale.iter().any(|f| f.contains("actions:v2")), "{}", stale.join("\n"));
}

#[test]
#[ignore = "needs the lab"]
fn a_full_upcall_socket_is_survived_and_told_once() {
    enter();
    let (hosts, daemon, _) = hosts();
    daemon.appctl(&["upcall/disable-megaflows"]);
    Injector::new(&hosts[1]).send(&announce(hosts[1].mac(), 0));
    kill(daemon.pid(), Signal::SIGSTOP).expect("daemon runs");
    let frame = udp_frame(hosts[1].mac(), hosts[0].mac());
    Injector::new(&hosts[0]).flood(&frame, 0, 60_000);
    let lost = dp_stats().lost;
    kill(daemon.pid(), Signal::SIGCONT).expect("daemon runs");
    assert!(lost > 0, "60,000 flows fitted into the socket: the test proves nothing");
    daemon.appctl(&["upcall/enable-megaflows"]);
    recovers(&hosts[0], &hosts[2]);
    if !daemon.is_peer() {
        let told = told(&daemon, &["(ENOBUFS), the kernel lost packets", "; upcall/ports shows"]);
        // Once in ten seconds.
        assert!((1..=2).contains(&told), "told {told} times:\n{}", daemon.log());
    }
}

#[test]
#[ignore = "needs the lab"]
fn a_datapath_deleted_under_the_daemon_comes_back() {
    enter();
    let (hosts, daemon, _) = hosts();
    if daemon.is_peer() {
        return;
    }
    for times in 1..=2 {
        run(&["ovs-dpctl", "del-dp", "ovs-system"]);
        recovers(&hosts[0], &hosts[1]);
        assert!(run(&["ovs-dpctl", "show"]).contains("br0"));
        let remedy = "something else deleted the datapath; it is created again with its ports";
        assert_eq!(told(&daemon, &["|ERR|", remedy]), times, "{}", daemon.log());
        assert_eq!(told(&daemon, &["|INFO|datapath ovs-system is back"]), times);
    }
}

#[test]
#[ignore = "needs the lab"]
fn a_module_taken_out_and_put_back_is_survived() {
    enter();
    let (hosts, daemon, _) = hosts();
    if daemon.is_peer() {
        return;
    }
    // A daemon that polls may put the datapath back in between: try until the module is free.
    wait_for("the module to go", LONG, || {
        attempt(&["ovs-dpctl", "del-dp", "ovs-system"]);
        attempt(&["rmmod", "openvswitch"]).1.then_some(())
    });
    let remedy = ["|ERR|", "; load the kernel module: modprobe openvswitch"];
    wait_for("the daemon to say so", LONG, || (told(&daemon, &remedy) > 0).then_some(()));
    // It looks every second, and answers whoever asks.
    std::thread::sleep(Duration::from_secs(3));
    daemon.appctl(&["version"]);
    assert_eq!(told(&daemon, &remedy), 1, "{}", daemon.log());
    run(&["modprobe", "openvswitch"]);
    recovers(&hosts[0], &hosts[1]);
    let back = told(&daemon, &["|INFO|datapath ovs-system is back"]);
    assert!(back >= 1, "{}", daemon.log());
    assert_eq!(told(&daemon, &["panicked"]), 0);
}
