//! Generator and sink: first packets of new flows, sent by one host and awaited at another.
//!
//! The generator keeps a window of packets outstanding: each that arrives lets another go, so that
//! the daemon is never idle and nothing is lost for want of buffers. Packet number i is a flow of
//! its own by construction, whatever order a seed gives them.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};

use crate::kernel::frames::{announce, udp_frame};
use crate::kernel::inject::{Injector, packet_socket};
use crate::kernel::netns::{Host, Mac};

/// What makes a packet the first of a new flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A pair of addresses that have not spoken to each other; all are known.
    Macs,
    /// A 5-tuple, where flows may not be wildcarded.
    Tuples,
}

/// Two hosts with the means to send and to receive.
pub struct Load {
    left: Injector,
    right: Injector,
    sink: OwnedFd,
    frame: Vec<u8>,
    seed: u32,
    sides: [u8; 2],
    hosts: [Host; 2],
}

/// What came of a run.
pub struct Run {
    /// Packets that arrived.
    pub arrived: u32,
    /// Packets that did not within a second.
    pub lost: u32,
    /// From the first sent to the last arrived.
    pub elapsed: Duration,
    /// Time under way of each, in the order of arrival, where packets went one by one.
    pub each: Vec<Duration>,
}

/// Addresses on either side; their pairs are flows.
const SIDE: u32 = 256;
const PATIENCE: Duration = Duration::from_secs(1);

/// Address number `n` of host `side`.
pub fn mac(side: u8, n: u32) -> Mac {
    let [_, _, high, low] = n.to_be_bytes();
    [2, 0xbe, side, 0, high, low]
}

impl Load {
    /// Two hosts of these numbers, which are ports `v…` of a switch.
    pub fn new(seed: u32, sides: [u8; 2]) -> Self {
        let hosts = sides.map(Host::silent);
        let sink = packet_socket(&hosts[1]);
        setsockopt(&sink, sockopt::RcvBufForce, &(8 << 20)).expect("as root");
        let [left, right] = [Injector::new(&hosts[0]), Injector::new(&hosts[1])];
        let frame = udp_frame(mac(sides[1], 0), mac(sides[0], 0));
        Self { left, right, sink, frame, seed, sides, hosts }
    }

    /// The hosts: the one that sends and the one that receives.
    pub fn hosts(&self) -> &[Host; 2] {
        &self.hosts
    }

    /// Has the switch learn the addresses of both sides.
    pub fn announce(&self) {
        for n in 0..SIDE {
            self.left.send(&announce(mac(self.sides[0], n), 0));
            self.right.send(&announce(mac(self.sides[1], n), 0));
            // A few at a time: nobody shall lose one.
            if n % 16 == 15 {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        std::thread::sleep(Duration::from_millis(500));
        self.drain();
    }

    fn build(&mut self, kind: Kind, number: u32) -> &[u8] {
        // An odd factor makes another order of the same flows for each seed.
        let i = number.wrapping_mul(self.seed.wrapping_mul(2).wrapping_add(0x9e37_79b1) | 1);
        let [a, b, c, d] = i.to_be_bytes();
        let [left, right] = self.sides;
        match kind {
            Kind::Macs => {
                let pair = i % (SIDE * SIDE);
                self.frame[..6].copy_from_slice(&mac(right, pair % SIDE));
                self.frame[6..12].copy_from_slice(&mac(left, pair / SIDE));
            }
            Kind::Tuples => {
                self.frame[28..30].copy_from_slice(&[a, b]);
                self.frame[34..36].copy_from_slice(&[c, d]);
            }
        }
        &self.frame
    }

    /// Whether a packet that is ours is there.
    fn receive(&self, wait: Duration) -> bool {
        receive(&self.sink, wait).is_some()
    }

    /// Takes what has arrived and is not wanted any more.
    pub fn drain(&self) {
        while self.receive(Duration::from_millis(50)) {}
    }

    /// Flows number `first` and on, `n` of them, with `window` outstanding.
    pub fn saturate(&mut self, kind: Kind, first: u32, n: u32, window: u32) -> Run {
        self.drain();
        let begin = Instant::now();
        let (mut sent, mut arrived, mut lost) = (0, 0, 0);
        let mut end = begin;
        while arrived + lost < n {
            while sent < n && sent - arrived - lost < window {
                let frame = self.build(kind, first + sent).to_vec();
                self.left.send(&frame);
                sent += 1;
            }
            if self.receive(PATIENCE) {
                arrived += 1;
                end = Instant::now();
            } else {
                lost += sent - arrived - lost;
            }
        }
        Run { arrived, lost, elapsed: end - begin, each: Vec::new() }
    }

    /// The same one by one, with a pause between.
    pub fn one_by_one(&mut self, kind: Kind, first: u32, n: u32, pause: Duration) -> Run {
        self.questions(kind, first, n, pause, PATIENCE)
    }

    /// The same, where one that takes longer than `patience` is lost.
    pub fn questions(
        &mut self,
        kind: Kind,
        first: u32,
        n: u32,
        pause: Duration,
        patience: Duration,
    ) -> Run {
        self.drain();
        let begin = Instant::now();
        let (mut each, mut lost) = (Vec::new(), 0);
        for i in 0..n {
            std::thread::sleep(pause);
            // One that comes too late is not the next one's answer.
            while self.receive(Duration::ZERO) {}
            let frame = self.build(kind, first + i).to_vec();
            let sent = Instant::now();
            self.left.send(&frame);
            let is_it = |number: [u8; 4]| kind == Kind::Macs || number == tuple(&frame);
            let answered = loop {
                match receive(&self.sink, patience.saturating_sub(sent.elapsed())) {
                    Some(number) if is_it(number) => break true,
                    Some(_) => {}
                    None => break false,
                }
            };
            if answered {
                each.push(sent.elapsed());
            } else {
                lost += 1;
            }
        }
        Run { arrived: n - lost, lost, elapsed: begin.elapsed(), each }
    }
}

/// The bytes of a frame that number its 5-tuple.
pub fn tuple(frame: &[u8]) -> [u8; 4] {
    [frame[28], frame[29], frame[34], frame[35]]
}

/// The number of the 5-tuple of the next packet that is ours.
pub fn receive(sink: &OwnedFd, wait: Duration) -> Option<[u8; 4]> {
    let mut buffer = [0; 256];
    let end = Instant::now() + wait;
    loop {
        match recv(sink.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(n) if n > 36 && buffer[6..8] == [2, 0xbe] && buffer[12..14] == [8, 0] => {
                return Some(tuple(&buffer));
            }
            Ok(_) => continue,
            Err(_) => {}
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let _ = poll(&mut [PollFd::new(sink.as_fd(), PollFlags::POLLIN)], timeout);
    }
}
