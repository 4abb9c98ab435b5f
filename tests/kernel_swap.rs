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
    assert_eq!(numbers(&site), numbered, "ports have other numbers");
    println!("database replaced ten times: {} of {} pings lost", all.0, all.1);
    assert_eq!(all.0, 0);
}
