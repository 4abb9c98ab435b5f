//! A CPU goes and comes back under traffic: the kernel hands upcalls to the socket of the CPU that
//! took the packet, so each CPU that is there needs a handler, and nothing may be lost on the way.
//! `ci/kernel-tests` leaves it out in a guest of one CPU.

mod kernel;

use std::time::Duration;

use kernel::bridge::{Port, Setup};
use kernel::daemon::Daemon;
use kernel::netns::Host;
use kernel::ping::{Ping, ping};
use kernel::{enter, wait_for};

const SWITCH: &str = "/sys/devices/system/cpu/cpu1/online";
const LONG: Duration = Duration::from_secs(60);

/// The daemon's threads that answer upcalls.
fn handlers(daemon: &Daemon) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("daemon runs");
    let names = tasks.flatten().filter_map(|task| {
        // A thread may end between the listing and the look at it.
        std::fs::read_to_string(task.path().join("comm")).ok()
    });
    names.filter(|name| name.starts_with("handler")).count()
}

fn set_online(online: bool) {
    std::fs::write(SWITCH, if online { "1" } else { "0" }).expect("CPU 1 can be switched");
}

#[test]
#[ignore = "needs the lab"]
fn handlers_follow_a_cpu_that_goes_and_comes() {
    enter();
    assert!(std::path::Path::new(SWITCH).exists(), "needs two CPUs: --kernel 6.12 --smp 2");
    let hosts: Vec<Host> = (1..=2).map(Host::new).collect();
    let mut daemon = Daemon::ours();
    daemon.start(&Setup::one(hosts.iter().map(|h| Port::new(&h.port)).collect()));
    assert_eq!(ping(&hosts[0], &hosts[1].ipv4(), 10, 50).lost(), 0, "before");
    if daemon.is_peer() {
        return;
    }
    wait_for("two handlers", LONG, || (handlers(&daemon) == 2).then_some(()));
    let running = Ping::start(&hosts[0], &hosts[1].ipv4(), 400, 50);
    std::thread::sleep(Duration::from_secs(2));
    set_online(false);
    wait_for("one handler", LONG, || (handlers(&daemon) == 1).then_some(()));
    // New flows, on the CPU that is left.
    let alone = ping(&hosts[1], &hosts[0].ipv6(), 5, 100);
    set_online(true);
    assert_eq!(alone.lost(), 0, "new flows with one CPU");
    wait_for("two handlers again", LONG, || (handlers(&daemon) == 2).then_some(()));
    assert_eq!(ping(&hosts[1], &hosts[0].ipv6(), 5, 100).lost(), 0, "new flows with both");
    let result = running.finish();
    println!("lost {} of {}", result.lost(), result.sent);
    assert_eq!(result.lost(), 0);
}
