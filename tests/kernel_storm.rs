//! One port opens flows as fast as it can; its neighbours must not suffer for it.
//!
//! Megaflows are off, so that every 5-tuple is a flow of its own and goes up once.

mod kernel;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use kernel::bridge::{Port, Setup};
use kernel::daemon::{Daemon, dp_stats};
use kernel::enter;
use kernel::frames::{announce, udp_frame};
use kernel::inject::Injector;
use kernel::netns::Host;

/// First packets of new flows that the quiet neighbour sends.
const QUESTIONS: u32 = 60;
/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_millis(400);

#[derive(Debug)]
struct Outcome {
    /// Round trips of new flows without a storm, sorted.
    quiet: Vec<Duration>,
    /// The same in the storm.
    storm: Vec<Duration>,
    sent: u64,
    missed: u64,
    lost: u64,
    /// `upcall/ports` at the end, if the daemon has it.
    ports: String,
}

/// Asks h4 from h3, each time from another port: two new flows a question. Sorted round trips.
fn questions(asker: &Host, target: &Host) -> Vec<Duration> {
    let address = format!("{}:7777", target.ipv4());
    let mut answered = Vec::new();
    for _ in 0..QUESTIONS {
        let socket = asker.enter(|| UdpSocket::bind("0.0.0.0:0").expect("a port"));
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let begin = Instant::now();
        socket.send_to(b"?", &address).expect("a route");
        if socket.recv(&mut [0; 16]).is_ok() {
            answered.push(begin.elapsed());
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    answered.sort();
    answered
}

fn run_storm(mut daemon: Daemon) -> Outcome {
    let hosts: Vec<Host> = (1..=4).map(Host::new).collect();
    daemon.start(&Setup::one(hosts.iter().map(|h| Port::new(&h.port)).collect()));
    daemon.appctl(&["upcall/disable-megaflows"]);
    let opts = std::env::var("ROVS_STORM").unwrap_or_default();
    let has = |o: &str| opts.split(',').any(|w| w == o);
    if has("nice") {
        for t in std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap() {
            let t = t.unwrap().file_name().into_string().unwrap();
            kernel::attempt(&["renice", "-n", "-10", "-p", &t]);
        }
    }
    if has("fifo") {
        for t in std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap() {
            let t = t.unwrap().file_name().into_string().unwrap();
            let name = std::fs::read_to_string(format!("/proc/{t}/comm")).unwrap();
            if name.starts_with("handler") {
                println!("{:?}", kernel::attempt(&["chrt", "-f", "-p", "1", &t]));
            }
        }
    }
    let rt = || {
        if has("rt") {
            let t = nix::unistd::gettid().to_string();
            println!("{:?}", kernel::attempt(&["chrt", "-f", "-p", "2", &t]));
        }
    };
    let echo = hosts[3].enter(|| UdpSocket::bind("0.0.0.0:7777").expect("a port"));
    echo.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    let wires: Vec<Injector> = hosts.iter().map(Injector::new).collect();
    for (host, wire) in hosts.iter().zip(&wires) {
        wire.send(&announce(host.mac(), 0));
    }
    // Neighbours are known beforehand: what is measured is the switch, not address resolution.
    for (a, b) in [(2, 3), (3, 2)] {
        let mac = kernel::netns::text(hosts[b].mac());
        let address = hosts[b].ipv4();
        hosts[a].exec(&["ip", "neigh", "replace", &address, "lladdr", &mac, "dev", "eth0"]);
    }
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut buffer = [0; 16];
            rt();
            while !stop.load(Relaxed) {
                if let Ok((n, from)) = echo.recv_from(&mut buffer) {
                    let _ = echo.send_to(&buffer[..n], from);
                }
            }
        });
        let quiet = s
            .spawn(|| {
                rt();
                questions(&hosts[2], &hosts[3])
            })
            .join()
            .unwrap();
        let before = dp_stats();
        s.spawn(|| {
            let frame = udp_frame(hosts[1].mac(), hosts[0].mac());
            let mut next = 0;
            while !stop.load(Relaxed) {
                sent.fetch_add(wires[0].flood(&frame, next, 200).into(), Relaxed);
                next += 200;
            }
        });
        std::thread::sleep(Duration::from_millis(1000));
        let storm = s
            .spawn(|| {
                rt();
                questions(&hosts[2], &hosts[3])
            })
            .join()
            .unwrap();
        println!("{}", daemon.try_appctl(&["upcall/show"]).0);
        println!("{}", daemon.try_appctl(&["coverage/show"]).0);
        stop.store(true, Relaxed);
        let after = dp_stats();
        Outcome {
            quiet,
            storm,
            sent: sent.load(Relaxed),
            missed: after.missed - before.missed,
            lost: after.lost - before.lost,
            ports: daemon.try_appctl(&["upcall/ports"]).0,
        }
    })
}

/// Of all questions: one without an answer took as long as the asker waits, at least.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (QUESTIONS as usize * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(PATIENCE)
}

fn report(who: &str, o: &Outcome) {
    let times = percentile(&o.storm, 99).as_secs_f64() / percentile(&o.quiet, 99).as_secs_f64();
    println!(
        "{who}: sent {}, up {}, lost {}; quiet: {} answered, p50 {:?} p99 {:?}; storm: {} answered, p50 {:?} p99 {:?}, {times:.1} times quiet",
        o.sent,
        o.missed,
        o.lost,
        o.quiet.len(),
        percentile(&o.quiet, 50),
        percentile(&o.quiet, 99),
        o.storm.len(),
        percentile(&o.storm, 50),
        percentile(&o.storm, 99),
    );
}

#[test]
#[ignore = "needs the lab"]
fn a_quiet_neighbour_is_answered_in_the_storm() {
    enter();
    if std::env::var("ROVS_STORM").is_ok() {
        let ours = run_storm(Daemon::ours());
        report("ours", &ours);
        println!("{:?}", ours.storm);
        return;
    }
    let peer = run_storm(Daemon::peer());
    report("peer", &peer);
    let daemon = Daemon::ours();
    let is_peer = daemon.is_peer();
    let ours = run_storm(daemon);
    report("ours", &ours);
    assert_eq!(ours.quiet.len(), QUESTIONS as usize, "unanswered without any storm");
    if is_peer {
        return;
    }
    assert_eq!(ours.storm.len(), QUESTIONS as usize, "the neighbour's first packets got lost");
    // A clock says nothing in a lab that others load; beside the peer in the same lab it does.
    for percent in [50, 99] {
        assert!(
            percentile(&ours.storm, percent) * 2 <= percentile(&peer.storm, percent),
            "the neighbour waits more than half as long as with the peer (p{percent})"
        );
    }
    // Whatever did not get an answer is on the account of the port that stormed.
    let account = |port: &str, key: &str| -> u64 {
        ours.ports
            .lines()
            .filter(|l| l.trim().starts_with(&format!("{port}:")))
            .flat_map(str::split_whitespace)
            .find_map(|w| w.strip_prefix(key)?.parse().ok())
            .unwrap_or(0)
    };
    assert!(account("v1", "upcalls:") > 0, "v1 has no account:\n{}", ours.ports);
    for port in ["v2", "v3", "v4"] {
        let bad = account(port, "dropped:") + account(port, "lost:");
        assert_eq!(bad, 0, "{port} paid for v1:\n{}", ours.ports);
    }
    // Which port a lost upcall came from is told by the kernel since Linux 6.2.
    if !ours.ports.contains("lost:?") {
        let lost: u64 = ["v1", "v2", "v3", "v4"].iter().map(|p| account(p, "lost:")).sum();
        assert!(lost >= ours.lost, "{} lost, {lost} accounted:\n{}", ours.lost, ours.ports);
    }
}
