//! A recording made in a storm: within its bound, nobody waits for it, and it can be read and replayed
//! to its end.

mod kernel;

use std::path::PathBuf;
use std::process::Command;

use kernel::bridge::{Port, Setup};
use kernel::daemon::{Daemon, dp_stats};
use kernel::enter;
use kernel::frames::{announce, udp_frame};
use kernel::inject::Injector;
use kernel::netns::Host;
use rovs::limits::RECORDING_BYTES;

/// New flows of the storm, each an upcall.
const FLOWS: u32 = 60_000;

fn rovs() -> PathBuf {
    std::env::var_os("ROVS_BIN_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_rovs")),
        |dir| PathBuf::from(dir).join("rovs"),
    )
}

/// Upcalls that were lost or dropped, by kernel and handlers, while `FLOWS` new flows came.
fn storm(daemon: &Daemon, hosts: &[Host], wires: &[Injector]) -> (u64, u64) {
    let before = dp_stats();
    let frame = udp_frame(hosts[1].mac(), hosts[0].mac());
    let mut next = 0;
    while next < FLOWS {
        wires[0].flood(&frame, next, 200);
        next += 200;
    }
    let lost = dp_stats().lost - before.lost;
    let ports = daemon.appctl(&["upcall/ports"]);
    let dropped = ports
        .lines()
        .filter(|line| line.trim().starts_with("v1:"))
        .flat_map(str::split_whitespace)
        .find_map(|word| word.strip_prefix("dropped:")?.parse().ok());
    (lost, dropped.unwrap_or(0))
}

#[test]
#[ignore = "needs the lab"]
fn a_storm_is_recorded_and_replayed() {
    enter();
    let hosts: Vec<Host> = (1..=2).map(Host::silent).collect();
    let mut daemon = Daemon::ours();
    if daemon.is_peer() {
        return;
    }
    daemon.start(&Setup::one(hosts.iter().map(|host| Port::new(&host.port)).collect()));
    daemon.appctl(&["upcall/disable-megaflows"]);
    let wires: Vec<Injector> = hosts.iter().map(Injector::new).collect();
    for (host, wire) in hosts.iter().zip(&wires) {
        wire.send(&announce(host.mac(), 0));
    }
    let file = daemon.dir().join("storm.pcap");
    let name = file.to_string_lossy().into_owned();
    daemon.appctl(&["record/start", &name]);
    let (lost, dropped) = storm(&daemon, &hosts, &wires);
    let said = daemon.appctl(&["record/stop"]);
    let bytes = std::fs::metadata(&file).expect("a recording").len();
    println!("{FLOWS} flows: {lost} lost, {dropped} dropped; {bytes} bytes; {}", said.trim());
    assert!(bytes <= RECORDING_BYTES + (1 << 20), "{bytes} bytes");
    assert_eq!(lost, 0, "handlers waited");

    let output = Command::new(rovs()).args(["replay", "--json", &name]).output().expect("a run");
    let text = String::from_utf8_lossy(&output.stdout);
    let told: serde_json::Value = serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    let count = |key: &str| told[key].as_u64().unwrap_or(0);
    println!(
        "replay: {} upcalls, {} equal, {} of them elsewhere, {} different, {} gaps, ended {}",
        count("upcalls"),
        count("equal"),
        count("elsewhere"),
        count("different"),
        count("gaps"),
        told["ended"]
    );
    for difference in told["differences"].as_array().into_iter().flatten().take(3) {
        println!("  {difference}");
    }
    assert!(told["damage"].is_null(), "{}", told["damage"]);
    assert!(!told["ended"].is_null(), "the end is missing");
}
