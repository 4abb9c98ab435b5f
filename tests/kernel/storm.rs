//! One port opens flows as fast as it can; another one, with little to ask, has its first packets timed.
//!
//! Host 1 floods host 2 with 5-tuples, each a flow of its own. Host 3 asks host 4, each time from
//! another UDP port, so that question and answer are the first packets of two new flows; between
//! these it asks over a flow that is always there. That round trip is the floor: what the two
//! threads wait for the CPU in the same storm, with no part of the daemon in it.
//!
//! Asker and answerer can be put before all others ([`Class::Prompt`]): they never wait behind the
//! flood themselves then, and what is left is the switch.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::frames::{announce, udp_frame};
use super::inject::Injector;
use super::netns::{Host, text};
use super::run;

/// Questions of one measurement.
pub const QUESTIONS: usize = 100;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_millis(400);
const PAUSE: Duration = Duration::from_millis(15);

/// Who is asked: with the rest, or before all others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// As any thread.
    Plain,
    /// `SCHED_FIFO`.
    Prompt,
}

impl Class {
    fn udp_port(self) -> u16 {
        7777 + u16::from(self == Self::Prompt)
    }

    /// Puts the calling thread into it.
    fn take(self) {
        if self == Self::Prompt {
            run(&["chrt", "--fifo", "--pid", "2", &nix::unistd::gettid().to_string()]);
        }
    }
}

/// Round trips, sorted.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// How many there were.
    pub fn answered(&self) -> usize {
        self.0.len()
    }

    /// Of all questions: one without an answer took as long as it is waited for, at least.
    pub fn percentile(&self, percent: usize) -> Duration {
        let at = (QUESTIONS * percent).div_ceil(100).saturating_sub(1);
        self.0.get(at).copied().unwrap_or(PATIENCE)
    }
}

/// Round trips of one series of questions.
#[derive(Clone, Debug)]
pub struct Series {
    /// Who asked and answered.
    pub class: Class,
    /// Over new flows.
    pub first: Times,
    /// Over a flow that is there.
    pub next: Times,
}

/// What a storm did.
#[derive(Clone, Debug)]
pub struct Storm {
    /// Before it, a series for each class.
    pub quiet: Vec<Series>,
    /// In it.
    pub storm: Vec<Series>,
    /// Packets that the flood sent.
    pub sent: u64,
    /// How long it lasted.
    pub lasted: Duration,
}

/// Four hosts and what is needed to storm between them.
pub struct Field {
    hosts: Vec<Host>,
    wires: Vec<Injector>,
}

impl Field {
    /// Hosts 1 to 4, whose ports are `v1` to `v4`.
    pub fn new() -> Self {
        let hosts: Vec<Host> = (1..=4).map(Host::ipv4_only).collect();
        let wires = hosts.iter().map(Injector::new).collect();
        // Neighbours are known beforehand: what is measured is the switch, not address resolution.
        for (a, b) in [(2, 3), (3, 2)] {
            let (address, mac) = (hosts[b].ipv4(), text(hosts[b].mac()));
            hosts[a].exec(&["ip", "neigh", "replace", &address, "lladdr", &mac, "dev", "eth0"]);
        }
        Self { hosts, wires }
    }

    /// Has the switch learn where the hosts are, and measures without and with a storm for each of
    /// `classes`; what `look` sees when the storm begins, and at its end while it still goes on.
    pub fn storm<L>(&self, classes: &[Class], look: impl Fn() -> L) -> (Storm, L, L) {
        for (host, wire) in self.hosts.iter().zip(&self.wires) {
            wire.send(&announce(host.mac(), 0));
        }
        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|s| {
            for &class in classes {
                let echo = self.hosts[3].enter(|| socket(class.udp_port()));
                let stop = &stop;
                s.spawn(move || {
                    class.take();
                    let mut buffer = [0; 16];
                    while !stop.load(Relaxed) {
                        if let Ok((n, from)) = echo.recv_from(&mut buffer) {
                            let _ = echo.send_to(&buffer[..n], from);
                        }
                    }
                });
            }
            let ask = || -> Vec<Series> {
                let asked = |class: &Class| {
                    let class = *class;
                    s.spawn(move || self.questions(class)).join().expect("it asks")
                };
                classes.iter().map(asked).collect()
            };
            let quiet = ask();
            let before = look();
            let begin = Instant::now();
            s.spawn(|| {
                let frame = udp_frame(self.hosts[1].mac(), self.hosts[0].mac());
                let mut next = 0;
                while !stop.load(Relaxed) {
                    sent.fetch_add(self.wires[0].flood(&frame, next, 200).into(), Relaxed);
                    next += 200;
                }
            });
            std::thread::sleep(Duration::from_secs(1));
            let storm = ask();
            let after = look();
            stop.store(true, Relaxed);
            let sent = sent.load(Relaxed);
            (Storm { quiet, storm, sent, lasted: begin.elapsed() }, before, after)
        })
    }

    fn questions(&self, class: Class) -> Series {
        class.take();
        let address = format!("{}:{}", self.hosts[3].ipv4(), class.udp_port());
        let mut series = Series { class, first: Times::default(), next: Times::default() };
        let standing = self.hosts[2].enter(|| socket(0));
        let _ = round_trip(&standing, &address);
        for _ in 0..QUESTIONS {
            let new = self.hosts[2].enter(|| socket(0));
            for (socket, times) in [(&new, &mut series.first), (&standing, &mut series.next)] {
                std::thread::sleep(PAUSE);
                times.0.extend(round_trip(socket, &address));
            }
        }
        series.first.0.sort();
        series.next.0.sort();
        series
    }
}

fn round_trip(socket: &UdpSocket, address: &str) -> Option<Duration> {
    let begin = Instant::now();
    socket.send_to(b"?", address).expect("a route");
    socket.recv(&mut [0; 16]).is_ok().then(|| begin.elapsed())
}

fn socket(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind(("0.0.0.0", port)).expect("a port");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}
