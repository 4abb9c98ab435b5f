//! Pings through the bridge, both families: nothing lost, and no more packets sent up than by the peer.

mod kernel;

use std::time::Duration;

use kernel::bridge::{Port, Setup};
use kernel::daemon::{Daemon, DpStats, dp_stats};
use kernel::netns::Host;
use kernel::ping::ping;
use kernel::{enter, flows, run};

/// How long after its addresses came a host still reports its multicast groups (33:33:00:00:00:16):
/// twice at random moments of a second each (RFC 3810, unsolicited reports).
const REPORTS: Duration = Duration::from_secs(3);

/// 100 pings of each family at 10 ms between fresh hosts: what the datapath counted for them, and how
/// many came up although the packet before had asked for the same flow: in a lab that stands still
/// for longer than 10 ms the second ping is there before the first is answered.
fn hundred_pings(mut daemon: Daemon) -> (DpStats, u64) {
    let hosts: Vec<Host> = (1..=2).map(Host::new).collect();
    for host in &hosts {
        // Five seconds after the first packet hosts look after each other (unicast ARP, ND): a slow
        // lab would see that, a quick one would not.
        for family in ["ipv4", "ipv6"] {
            let delay = format!("net.{family}.neigh.eth0.delay_first_probe_time=60");
            host.exec(&["sysctl", "-qw", &delay]);
        }
    }
    // The stock daemon takes so long to start that it never sees the reports; ours does.
    std::thread::sleep(REPORTS);
    daemon.start(&Setup::one(hosts.iter().map(|h| Port::new(&h.port)).collect()));
    let before = dp_stats();
    for target in [hosts[1].ipv4(), hosts[1].ipv6()] {
        let result = ping(&hosts[0], &target, 100, 10);
        assert_eq!((result.received, result.duplicates), (100, 0), "pings to {target}");
    }
    let after = dp_stats();
    assert_eq!(after.lost, 0, "upcalls were lost");
    let duplicates = match &daemon {
        Daemon::Peer(_) => 0,
        Daemon::Ours(_) => daemon.json("upcall/show")["duplicates"].as_u64().expect("a count"),
    };
    let missed = after.missed - before.missed;
    (DpStats { missed, hit: after.hit - before.hit, ..after }, duplicates)
}

#[test]
#[ignore = "needs the lab"]
fn hundred_pings_cost_no_more_upcalls_than_the_peer() {
    enter();
    let (peer, _) = hundred_pings(Daemon::peer());
    let (ours, twice) = hundred_pings(Daemon::ours());
    println!("peer: {peer:?}\nours: {ours:?}, {twice} twice");
    assert!(ours.hit >= 390, "the kernel forwarded only {} packets", ours.hit);
    let (missed, most) = (ours.missed - twice, peer.missed);
    assert!(
        missed <= most,
        "{missed} misses and {twice} while a flow was made, the peer had {most}"
    );
}

#[test]
#[ignore = "needs the lab"]
fn the_local_port_and_an_internal_port_answer() {
    enter();
    let host = Host::new(1);
    let mut daemon = Daemon::ours();
    let internal = Port { internal: true, ..Port::new("int0") };
    daemon.start(&Setup::one(vec![Port::new(&host.port), internal]));
    for (device, address) in [("br0", "10.0.0.100/24"), ("int0", "10.0.0.101/24")] {
        // Apart from each other, or the kernel would answer for one with the other's address.
        let ns = format!("ns-{device}");
        run(&["ip", "netns", "add", &ns]);
        run(&["ip", "link", "set", device, "netns", &ns]);
        run(&["ip", "-n", &ns, "addr", "add", address, "dev", device]);
        run(&["ip", "-n", &ns, "link", "set", device, "up"]);
    }
    for target in ["10.0.0.100", "10.0.0.101"] {
        assert_eq!(ping(&host, target, 20, 20).lost(), 0, "pings to {target}");
    }
}

#[test]
#[ignore = "needs the lab"]
fn idle_flows_expire_and_busy_ones_stay() {
    enter();
    let hosts: Vec<Host> = (1..=4).map(Host::new).collect();
    let mut daemon = Daemon::ours();
    let ports = hosts.iter().map(|h| Port::new(&h.port)).collect();
    daemon.start(&Setup::one(ports).with("max-idle", 1500));
    assert_eq!(ping(&hosts[2], &hosts[3].ipv4(), 5, 50).lost(), 0);
    let busy = kernel::ping::Ping::start(&hosts[0], &hosts[1].ipv4(), 60, 100);
    std::thread::sleep(std::time::Duration::from_secs(5));
    let dump = flows::dump();
    assert_eq!(busy.finish().lost(), 0);
    let from = |n: usize| flows::from_source(&dump, hosts[n].mac()).len();
    assert!(from(0) > 0 && from(1) > 0, "flows in use are gone:\n{}", dump.join("\n"));
    // Hosts look after their neighbours and routers now and then; nobody but ping sends IPv4.
    let idle = [2, 3].into_iter().flat_map(|n| flows::from_source(&dump, hosts[n].mac()));
    let stay: Vec<_> = idle.filter(|f| f.contains("eth_type(0x0800)")).collect();
    assert!(stay.is_empty(), "idle flows stay:\n{}", stay.join("\n"));
}
