//! Configuration re-read, and devices changed behind the daemon's back. (Errors are in kernel_errors.rs.)

mod kernel;

use std::time::Duration;

use kernel::bridge::{Port, Setup};
use kernel::daemon::{Daemon, REFUSED};
use kernel::netns::Host;
use kernel::ping::{Ping, ping};
use kernel::{enter, run, wait_for};
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
    for (broken, place) in [
        ("[bridge.br0.port.v1]\ntag = 4096\n", "line 2, column 7: "),
        ("[bridge.br0\n", "line 1, column 12: "),
        ("[bridge.br0]\ntagg = 1\n", "line 2, column 1: "),
    ] {
        let before = daemon.log().matches(REFUSED).count();
        std::fs::write(&file, broken).expect("write the configuration");
        kill(daemon.pid(), Signal::SIGHUP).expect("daemon runs");
        let line = wait_for("the file to be refused", LONG, || {
            let log = daemon.log();
            (log.matches(REFUSED).count() > before)
                .then(|| log.lines().rfind(|l| l.contains(REFUSED)).map(str::to_string))
        });
        let line = line.expect("just found");
        assert!(line.contains(place), "not {place} in {line}");
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
