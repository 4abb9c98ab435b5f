//! Swapping daemons under traffic: whoever starts finds what is there and goes on with it; and a
//! database that goes away, and comes back as another, changes nothing of what is forwarded.

mod kernel;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use kernel::deployment::{Deployment, Whose};
use kernel::netns::Host;
use kernel::ping::{Ping, ping};
use kernel::{enter, wait_for};

/// A bridge with two hosts and an internal port.
fn describe(site: &Deployment, hosts: &[Host]) {
    site.must(&[
        "add-br",
        "br0",
        "--",
        "add-port",
        "br0",
        &hosts[0].port,
        "--",
        "add-port",
        "br0",
        &hosts[1].port,
        "--",
        "add-port",
        "br0",
        "i0",
        "--",
        "set",
        "Interface",
        "i0",
        "type=internal",
    ]);
}

/// ifindexes of the devices that datapath and bridge made.
fn ifindexes() -> BTreeMap<&'static str, u32> {
    ["ovs-system", "br0", "i0"]
        .into_iter()
        .map(|name| {
            let text = std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex"));
            (name, text.expect("the device is there").trim().parse().expect("a number"))
        })
        .collect()
}

/// OpenFlow numbers of the ports.
fn numbers(site: &Deployment) -> Vec<String> {
    let of = |name| site.must(&["get", "Interface", name, "ofport"]);
    ["v1", "v2", "i0"].map(of).to_vec()
}

/// Pings lost while `swap` goes on, of those sent from before to after it.
fn lost_during(hosts: &[Host], count: u32, swap: impl FnOnce()) -> (u32, u32) {
    let running = Ping::start(&hosts[0], &hosts[1].ipv4(), count, 10);
    std::thread::sleep(Duration::from_millis(500));
    swap();
    let pinged = running.finish();
    (pinged.lost(), pinged.sent)
}

#[test]
#[ignore = "needs the lab"]
fn stock_then_ours_then_stock() {
    enter();
    let hosts: Vec<Host> = (1..=2).map(Host::ipv4_only).collect();
    let mut site = Deployment::new();
    site.start(Whose::Peers);
    describe(&site, &hosts);
    assert_eq!(ping(&hosts[0], &hosts[1].ipv4(), 5, 20).received, 5);
    let before = ifindexes();
    let numbered = numbers(&site);

    let (ours, sent) = lost_during(&hosts, 1_000, || {
        site.stop();
        site.start(Whose::Ours);
    });
    assert_eq!(before, ifindexes(), "a device was made anew");
    let (again, _) = lost_during(&hosts, 1_000, || {
        site.kill9();
        site.start(Whose::Ours);
    });
    assert_eq!(before, ifindexes(), "a device was made anew");
    assert_eq!(numbers(&site), numbered, "ports have other numbers");
    let (peers, _) = lost_during(&hosts, 1_000, || {
        site.stop();
        site.start(Whose::Peers);
    });
    let kept = before == ifindexes();
    println!(
        "stock to ours: {ours} of {sent} lost; ours killed and started: {again}; ours to stock: {peers}, devices kept: {kept}"
    );
    assert_eq!((ours, again), (0, 0), "our starts lose packets");
}

/// The database's file is replaced while the server is stopped: by one with a port more, and back.
#[test]
#[ignore = "needs the lab"]
fn a_database_that_is_replaced() {
    enter();
    let hosts: Vec<Host> = (1..=2).map(Host::ipv4_only).collect();
    let mut site = Deployment::new();
    site.start(Whose::Ours);
    describe(&site, &hosts);
    let numbered = numbers(&site);
    let dir = site.dir().to_owned();
    let file = |name: &str| dir.join(name);
    let (live, without, with) = (file("conf.db"), file("without.db"), file("with.db"));
    let copy = |from: &PathBuf, to: &PathBuf| _ = std::fs::copy(from, to).expect("copied");
    site.stop_server();
    copy(&live, &without);
    site.start_server();
    site.must(&["add-port", "br0", "x0", "--", "set", "Interface", "x0", "type=internal"]);
    site.stop_server();
    copy(&live, &with);
    site.start_server();
    assert_eq!(ping(&hosts[0], &hosts[1].ipv4(), 5, 20).received, 5);
    let before = ifindexes();

    let is_there = || std::path::Path::new("/sys/class/net/x0").exists();
    let mut all = (0, 0);
    for round in 0..10 {
        let (next, wanted) = if round % 2 == 0 { (&without, false) } else { (&with, true) };
        let (lost, sent) = lost_during(&hosts, 300, || {
            site.stop_server();
            std::thread::sleep(Duration::from_millis(200));
            std::fs::remove_file(&live).expect("a file");
            copy(next, &live);
            site.start_server();
            wait_for("what the other file says", Duration::from_secs(30), || {
                (is_there() == wanted).then_some(())
            });
        });
        all = (all.0 + lost, all.1 + sent);
        assert_eq!(before, ifindexes(), "round {round}: a device was made anew");
    }
    // The daemon is the database's as before: it does what it is told, and says so.
    site.must(&["set", "Port", "i0", "tag=2"]);
    assert_eq!(numbers(&site), numbered, "ports have other numbers");
    println!("database replaced ten times: {} of {} pings lost", all.0, all.1);
    assert_eq!(all.0, 0);
}
