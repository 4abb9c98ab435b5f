//! A host that turns up behind another port while it is being pinged.

mod kernel;

use std::time::Duration;

use kernel::bridge::{Port, Setup};
use kernel::daemon::{Daemon, dp_stats};
use kernel::frames::{announce, udp_frame};
use kernel::inject::Injector;
use kernel::netns::{Host, text};
use kernel::ping::Ping;
use kernel::{enter, wait_for};

/// Flows that have nothing to do with the host that moves.
const OTHERS: u32 = 20_000;

#[test]
#[ignore = "needs the lab"]
fn traffic_follows_and_only_its_flows_are_translated_again() {
    enter();
    let hosts: Vec<Host> = (1..=4).map(Host::ipv4_only).collect();
    let mut setup = Setup::one(hosts.iter().map(|h| Port::new(&h.port)).collect())
        .with("max-idle", 600_000)
        .with("flow-limit", 200_000);
    setup.bridges[0].mac_table_size = Some(50_000);
    let mut daemon = Daemon::ours();
    daemon.start(&setup);

    // Every source is a flow of its own: they all go to h4, whom nobody moves.
    let wire = Injector::new(&hosts[2]);
    Injector::new(&hosts[3]).send(&announce(hosts[3].mac(), 0));
    let mut frame = udp_frame(hosts[3].mac(), [2, 0xcc, 0, 0, 0, 0]);
    // The stock daemon shrinks its flow limit when it is slow and never gets that far.
    let wanted = if daemon.is_peer() { OTHERS / 10 } else { OTHERS };
    // Round after round: what is installed stays below, what got lost on the way up comes again.
    let others = wait_for("the other flows", Duration::from_secs(180), || {
        for i in 0..wanted {
            frame[8..12].copy_from_slice(&i.to_be_bytes());
            wire.send(&frame);
            if i % 32 == 31 {
                std::thread::sleep(Duration::from_millis(4));
            }
        }
        std::thread::sleep(Duration::from_millis(500));
        let flows = dp_stats().flows;
        (flows >= u64::from(wanted)).then_some(flows)
    });

    let ping = Ping::start(&hosts[0], &hosts[1].ipv4(), 300, 10);
    std::thread::sleep(Duration::from_millis(1000));
    let before = daemon.retranslated();
    // h2 falls silent without its link going down, and h3 takes its addresses over.
    let mac = text(hosts[1].mac());
    hosts[1].exec(&["sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1"]);
    hosts[1].exec(&["ip", "link", "set", "eth0", "arp", "off"]);
    hosts[2].exec(&["ip", "link", "set", "eth0", "address", &mac]);
    hosts[2].exec(&["ip", "addr", "add", "10.0.0.2/24", "dev", "eth0"]);
    // Said more than once, as hosts do: counters of h2's last packets may still be on their way
    // to the table and take the address back.
    let moved = Injector::new(&hosts[2]);
    for _ in 0..4 {
        moved.send(&announce(hosts[1].mac(), 0));
        std::thread::sleep(Duration::from_millis(200));
    }
    let result = ping.finish();
    std::thread::sleep(Duration::from_millis(1000));
    let translated = daemon.retranslated() - before;
    println!("{others} other flows; lost {} of 300; re-translated {translated}", result.lost());

    let mut entry = daemon.appctl(&["fdb/show", "br0"]);
    entry = entry.lines().filter(|l| !l.contains("02:cc:")).collect::<Vec<_>>().join("\n");
    let flows = kernel::flows::dump();
    let flows: Vec<_> =
        flows.iter().filter(|f| !f.contains("02:cc:")).map(String::as_str).collect();
    let late = result.latency.iter().filter(|(seq, _)| *seq > 250).count();
    assert_eq!(
        late,
        50,
        "the last pings are unanswered, traffic does not follow:\n{entry}\n{}",
        flows.join("\n")
    );
    assert!(entry.contains(&mac), "{entry}");
    let port = port_number(&hosts[2].port, &daemon);
    assert!(
        entry.lines().any(|l| l.contains(&mac) && l.split_whitespace().next() == Some(&*port)),
        "the table does not have {mac} on {port}:\n{entry}"
    );
    if !daemon.is_peer() {
        assert!(translated > 0, "nothing was translated again, yet traffic followed?");
        assert!(translated < 100, "{translated} flows were translated again for one move");
    }
}

/// The OpenFlow number under which `fdb/show` lists a port.
fn port_number(name: &str, daemon: &Daemon) -> String {
    // `dpif/show` says "v3 3/4: (system)": OpenFlow number, then the datapath's.
    let text = daemon.try_appctl(&["dpif/show"]).0;
    text.lines()
        .map(str::trim)
        .find_map(|l| l.strip_prefix(name)?.trim_start().split('/').next().map(str::to_string))
        // Without that command: ports are numbered in the order of the file.
        .unwrap_or_else(|| name.trim_start_matches('v').to_string())
}
