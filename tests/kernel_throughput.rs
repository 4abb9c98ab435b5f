//! The kernel forwards, the daemon rests: a TCP stream, and a million 5-tuples in a few megaflows.

mod kernel;

use std::process::{Command, Stdio};
use std::time::Duration;

use kernel::bridge::{Port, Setup};
use kernel::daemon::{Daemon, dp_stats};
use kernel::frames::{announce, udp_frame};
use kernel::inject::Injector;
use kernel::netns::Host;
use kernel::{enter, flows, wait_for};

#[test]
#[ignore = "needs the lab"]
fn a_tcp_stream_stays_in_the_kernel() {
    enter();
    let hosts: Vec<Host> = (1..=2).map(Host::new).collect();
    let mut daemon = Daemon::ours();
    daemon.start(&Setup::one(hosts.iter().map(|h| Port::new(&h.port)).collect()));
    let argv = hosts[1].argv(&["iperf3", "-s", "-1"]);
    let mut server = Command::new(argv[0])
        .args(&argv[1..])
        .stdout(Stdio::null())
        .spawn()
        .expect("iperf3 is installed");
    wait_for("the iperf3 server", Duration::from_secs(10), || {
        hosts[1].exec(&["ss", "-Hltn", "sport = :5201"]).contains("5201").then_some(())
    });
    let (before, cpu) = (dp_stats(), daemon.cpu());
    let report = hosts[0].exec(&["iperf3", "-c", &hosts[1].ipv4(), "-t", "3", "-J"]);
    let (after, cpu) = (dp_stats(), daemon.cpu() - cpu);
    let _ = server.wait();
    let report: serde_json::Value = serde_json::from_str(&report).expect("iperf3 -J prints JSON");
    let rate = report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap_or(0.0);
    let (missed, hit) = (after.missed - before.missed, after.hit - before.hit);
    println!("{:.0} Mbit/s, {missed} upcalls, {hit} hits, daemon used {cpu:?}", rate / 1e6);
    assert!(rate > 1e6, "hardly anything went through:\n{report}");
    assert!(missed <= 60, "{missed} packets went up");
    assert!(hit > 20 * missed, "only {hit} packets stayed in the kernel");
    assert!(cpu < Duration::from_millis(600), "the daemon worked {cpu:?} in 3 s");
}

#[test]
#[ignore = "needs the lab"]
fn a_million_tuples_make_a_handful_of_megaflows() {
    enter();
    let hosts: Vec<Host> = (1..=2).map(Host::silent).collect();
    let mut daemon = Daemon::ours();
    daemon.start(&Setup::one(hosts.iter().map(|h| Port::new(&h.port)).collect()));
    Injector::new(&hosts[1]).send(&announce(hosts[1].mac(), 0));
    std::thread::sleep(Duration::from_millis(500));
    let before = dp_stats();
    let wire = Injector::new(&hosts[0]);
    let frame = udp_frame(hosts[1].mac(), hosts[0].mac());
    let sent = wire.flood(&frame, 0, 1_000_000);
    let after = dp_stats();
    let missed = after.missed - before.missed;
    println!("{sent} sent, {missed} upcalls, {} lost, {} flows", after.lost, after.flows);
    assert!(sent > 900_000, "only {sent} went out");
    assert!(after.flows <= 10, "{} flows:\n{}", after.flows, flows::dump().join("\n"));
    assert!(after.hit - before.hit + missed >= u64::from(sent), "the kernel saw fewer");
    // All that came before the first flow was in place, at the speed of an idle sender.
    assert!(missed < 20_000, "{missed} packets went up");
}
