//! Configuration re-read, and devices and datapath changed behind the daemon's back.

mod kernel;

use std::time::Duration;

use kernel::bridge::{Port, Setup};
use kernel::daemon::{Daemon, REFUSED, dp_stats};
use kernel::frames::{announce, udp_frame};
use kernel::inject::Injector;
use kernel::netns::Host;
use kernel::ping::{Ping, ping};
use kernel::{attempt, enter, run, wait_for};
use nix::sys::signal::{Signal, kill};

const LONG: Duration = Duration::from_secs(20);

fn two_hosts() -> (Vec<Host>, Daemon, Setup) {
    let hosts: Vec<Host> = (1..=3).map(Host::new).collect();
    let mut daemon = Daemon::ours();
    let setup = Setup::one(hosts.iter().map(|h| Port::new(&h.port)).collect());
    daemon.start(&setup);
    assert_eq!(ping(&hosts[0], &hosts[1].ipv4(), 5, 20).lost(), 0);
    (hosts, daemon, setup)
}

/// Waits until pings go through again.
fn recovers(from: &Host, to: &Host) {
    wait_for("pings to go through again", LONG, || {
        (ping(from, &to.ipv4(), 3, 20).lost() == 0).then_some(())
    });
}

#[test]
#[ignore = "needs the lab"]
fn a_changed_port_changes_and_the_others_go_on() {
    enter();
    let (hosts, mut daemon, mut setup) = two_hosts();
    let running = Ping::start(&hosts[0], &hosts[1].ipv4(), 300, 10);
    std::thread::sleep(Duration::from_millis(500));
    setup.bridges[0].ports[2].tag = Some(7);
    daemon.configure(&setup);
    assert_eq!(running.finish().lost(), 0, "ports that were not changed lost packets");
    assert_eq!(ping(&hosts[0], &hosts[2].ipv4(), 3, 20).received, 0, "v3 is in VLAN 7 now");
    setup.bridges[0].ports[2].tag = None;
    daemon.configure(&setup);
    recovers(&hosts[0], &hosts[2]);
}

#[test]
#[ignore = "needs the lab"]
fn a_port_taken_away_by_configuration_leaves_the_datapath() {
    enter();
    let (hosts, mut daemon, mut setup) = two_hosts();
    setup.bridges[0].ports.pop();
    daemon.configure(&setup);
    wait_for("v3 to leave", LONG, || (!run(&["ovs-dpctl", "show"]).contains(" v3")).then_some(()));
    assert_eq!(ping(&hosts[0], &hosts[1].ipv4(), 10, 20).lost(), 0);
}

#[test]
#[ignore = "needs the lab"]
fn an_invalid_file_is_refused_and_nothing_changes() {
    enter();
    let (hosts, daemon, setup) = two_hosts();
    let Some(file) = daemon.file() else { return };
    let running = Ping::start(&hosts[0], &hosts[1].ipv4(), 200, 10);
    for broken in
        ["[bridge.br0.port.v1]\ntag = 4096\n", "[bridge.br0\n", "[bridge.br0]\ntagg = 1\n"]
    {
        let before = daemon.log().matches(REFUSED).count();
        std::fs::write(&file, broken).expect("write the configuration");
        kill(daemon.pid(), Signal::SIGHUP).expect("daemon runs");
        let line = wait_for("the file to be refused", LONG, || {
            let log = daemon.log();
            (log.matches(REFUSED).count() > before)
                .then(|| log.lines().rfind(|l| l.contains(REFUSED)).map(str::to_string))
        });
        let line = line.expect("just found");
        assert!(
            line.contains("line 2")
                || line.contains("line 1")
                || line.contains(":2:")
                || line.contains(":1:"),
            "no position in {line}"
        );
    }
    assert_eq!(running.finish().lost(), 0);
    std::fs::write(&file, setup.toml()).expect("write the configuration");
    recovers(&hosts[0], &hosts[2]);
}

#[test]
#[ignore = "needs the lab"]
fn a_device_that_goes_and_comes_back_is_a_port_again() {
    enter();
    let (mut hosts, daemon, _) = two_hosts();
    drop(hosts.remove(1));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(ping(&hosts[0], &hosts[1].ipv4(), 5, 20).lost(), 0, "the others must not notice");
    let back = Host::new(2);
    recovers(&hosts[0], &back);
    drop(daemon);
}

#[test]
#[ignore = "needs the lab"]
fn a_renamed_device_leaves_and_returns() {
    enter();
    let (hosts, daemon, _) = two_hosts();
    run(&["ip", "link", "set", "v2", "down"]);
    run(&["ip", "link", "set", "v2", "name", "other"]);
    std::thread::sleep(Duration::from_millis(1000));
    assert_eq!(ping(&hosts[0], &hosts[2].ipv4(), 5, 20).lost(), 0, "the others must not notice");
    run(&["ip", "link", "set", "other", "name", "v2"]);
    run(&["ip", "link", "set", "v2", "up"]);
    recovers(&hosts[0], &hosts[1]);
    drop(daemon);
}

#[test]
#[ignore = "needs the lab"]
fn a_port_deleted_under_a_flood_is_survived() {
    enter();
    let (mut hosts, daemon, _) = two_hosts();
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
    let (hosts, daemon, _) = two_hosts();
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
    let log = daemon.log().to_lowercase();
    let told = log.lines().filter(|l| l.contains("overflow") || l.contains("enobufs")).count();
    if !daemon.is_peer() {
        assert!((1..=2).contains(&told), "told {told} times:\n{log}");
    }
}

#[test]
#[ignore = "needs the lab"]
fn a_datapath_deleted_under_the_daemon_comes_back() {
    enter();
    let (hosts, daemon, _) = two_hosts();
    if daemon.is_peer() {
        return;
    }
    run(&["ovs-dpctl", "del-dp", "ovs-system"]);
    recovers(&hosts[0], &hosts[1]);
    assert!(run(&["ovs-dpctl", "show"]).contains("br0"));
}

#[test]
#[ignore = "needs the lab"]
fn a_module_taken_out_and_put_back_is_survived() {
    enter();
    let (hosts, daemon, _) = two_hosts();
    if daemon.is_peer() || !std::path::Path::new("/proc/modules").exists() {
        return;
    }
    // A daemon that polls may put the datapath back in between: try until the module is free.
    wait_for("the module to go", LONG, || {
        attempt(&["ovs-dpctl", "del-dp", "ovs-system"]);
        attempt(&["rmmod", "openvswitch"]).1.then_some(())
    });
    run(&["modprobe", "openvswitch"]);
    recovers(&hosts[0], &hosts[1]);
}
