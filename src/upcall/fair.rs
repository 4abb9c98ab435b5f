//! Fairness among ports when upcalls come faster than they can be served.
//!
//! Under per-CPU dispatch the ports of a CPU share one socket, and a port that opens flows without
//! end fills it: the kernel then loses everyone's upcalls alike. Reading is some ten times cheaper
//! than serving, so a handler with a backlog empties its socket into this queue, which has room
//! per port and is served round robin, and drops here, by port and counted, what does not fit.
//!
//! What always holds: at most `max` upcalls wait; the port that loses is the one with the longest
//! queue; the order within a port is kept. Buffers are reused, so nothing is allocated once the
//! queue has been full. One thread.

use std::collections::{HashMap, VecDeque};

use crate::datapath::OdpPort;

/// A port is light, and served before the others, with at most so many waiting upcalls and at most
/// so many of the last ones.
const LIGHT: usize = 2;
const LIGHT_RECENT: u32 = 16;

/// Upcalls after which those before count half.
const RECENT: u32 = 256;

/// What one port has.
#[derive(Default)]
struct Waiting {
    upcalls: VecDeque<Vec<u8>>,
    /// Upcalls of late, the older ones counted less.
    recent: u32,
}

impl Waiting {
    fn is_light(&self) -> bool {
        self.upcalls.len() <= LIGHT && self.recent <= LIGHT_RECENT
    }
}

/// See the module's page.
pub struct FairQueue {
    max: usize,
    len: usize,
    queues: HashMap<OdpPort, Waiting, foldhash::fast::RandomState>,
    /// Upcalls since `recent` was halved.
    pushed: u32,
    /// Ports with something waiting, the next to be served first.
    turn: VecDeque<OdpPort>,
    spare: Vec<Vec<u8>>,
}

impl FairQueue {
    /// An empty queue for at most `max` upcalls.
    pub fn new(max: usize) -> Self {
        Self {
            max,
            len: 0,
            queues: HashMap::default(),
            pushed: 0,
            turn: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    /// Number of waiting upcalls.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an upcall of `port`. The port that loses one for it, if any: this one or another.
    #[must_use = "a dropped upcall must be counted"]
    pub fn push(&mut self, port: OdpPort, datagram: &[u8]) -> Option<OdpPort> {
        self.count(port);
        let mut loser = None;
        if self.len >= self.max {
            let own = self.queues.get(&port).map_or(0, |own| own.upcalls.len());
            let longest =
                self.turn.iter().map(|port| (self.queues[port].upcalls.len(), *port)).max();
            match longest {
                Some((len, other)) if len > own => {
                    if let Some(lost) =
                        self.queues.get_mut(&other).and_then(|other| other.upcalls.pop_back())
                    {
                        self.spare.push(lost);
                        self.len -= 1;
                    }
                    loser = Some(other);
                }
                _ => return Some(port),
            }
        }
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(datagram);
        let queue = &mut self.queues.entry(port).or_default().upcalls;
        if queue.is_empty() {
            self.turn.push_back(port);
        }
        queue.push_back(buffer);
        self.len += 1;
        loser
    }

    fn count(&mut self, port: OdpPort) {
        self.queues.entry(port).or_default().recent += 1;
        self.pushed += 1;
        if self.pushed >= RECENT {
            self.pushed = 0;
            self.queues.values_mut().for_each(|waiting| waiting.recent /= 2);
        }
    }

    /// Takes the next upcall of a light port into `out`; false if no light port waits.
    pub fn pop_light(&mut self, out: &mut Vec<u8>) -> bool {
        let light = self.turn.iter().position(|port| self.queues[port].is_light());
        light.is_some_and(|turn| self.pop_at(turn, out))
    }

    /// Takes the next upcall, ports in turn, into `out`; false if none waits.
    pub fn pop(&mut self, out: &mut Vec<u8>) -> bool {
        self.pop_at(0, out)
    }

    fn pop_at(&mut self, turn: usize, out: &mut Vec<u8>) -> bool {
        let Some(port) = self.turn.remove(turn) else {
            return false;
        };
        let Some(Waiting { upcalls: queue, .. }) = self.queues.get_mut(&port) else {
            return false;
        };
        let Some(buffer) = queue.pop_front() else {
            return false;
        };
        if !queue.is_empty() {
            self.turn.push_back(port);
        }
        self.len -= 1;
        self.spare.push(std::mem::replace(out, buffer));
        true
    }

    /// Forgets ports that no longer exist and gives memory of a past storm back.
    pub fn tidy(&mut self) {
        if self.is_empty() {
            self.queues.clear();
            self.turn.clear();
            self.spare.truncate(64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOISY: OdpPort = OdpPort(1);
    const QUIET: OdpPort = OdpPort(2);

    fn pop(queue: &mut FairQueue) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        queue.pop(&mut out).then_some(out)
    }

    #[test]
    fn ports_take_turns_and_keep_their_order() {
        let mut queue = FairQueue::new(10);
        for n in 0..3 {
            assert_eq!(queue.push(NOISY, &[1, n]), None);
        }
        assert_eq!(queue.push(QUIET, &[2, 0]), None);
        let served: Vec<_> = std::iter::from_fn(|| pop(&mut queue)).collect();
        assert_eq!(served, [[1, 0], [2, 0], [1, 1], [1, 2]]);
    }

    #[test]
    fn the_longest_queue_loses_its_youngest() {
        let mut queue = FairQueue::new(4);
        for n in 0..4 {
            assert_eq!(queue.push(NOISY, &[n]), None);
        }
        assert_eq!(queue.push(NOISY, &[9]), Some(NOISY));
        assert_eq!(queue.push(QUIET, &[100]), Some(NOISY));
        let mut served = Vec::new();
        while let Some(upcall) = pop(&mut queue) {
            served.extend(upcall);
        }
        assert_eq!(served, [0, 100, 1, 2]);
    }

    #[test]
    fn light_ports_come_first() {
        let mut queue = FairQueue::new(100);
        for n in 0..50 {
            assert_eq!(queue.push(NOISY, &[n]), None);
        }
        assert_eq!(queue.push(QUIET, &[100]), None);
        let mut out = Vec::new();
        assert!(queue.pop_light(&mut out));
        assert_eq!(out, [100]);
        assert!(!queue.pop_light(&mut out));
        assert_eq!(queue.len(), 50);
        // Who had much to ask just now is not light because little of it is left.
        while queue.pop(&mut out) {}
        assert_eq!(queue.push(NOISY, &[7]), None);
        assert!(!queue.pop_light(&mut out));
        assert_eq!(queue.push(QUIET, &[101]), None);
        assert!(queue.pop_light(&mut out));
        assert_eq!(out, [101]);
    }

    proptest::proptest! {
        #[test]
        fn bounded_and_nothing_vanishes(ops in proptest::collection::vec((0u32..5, 0u8..4), 1..300)) {
            let mut queue = FairQueue::new(8);
            let (mut pushed, mut lost, mut served) = (0, 0, 0);
            for (port, op) in ops {
                let mut out = Vec::new();
                match op {
                    0 => served += usize::from(queue.pop(&mut out)),
                    1 => served += usize::from(queue.pop_light(&mut out)),
                    _ => {
                        pushed += 1;
                        lost += usize::from(queue.push(OdpPort(port), &[op]).is_some());
                    }
                }
                assert!(queue.len() <= 8);
                assert_eq!(queue.len(), queue.queues.values().map(|w| w.upcalls.len()).sum::<usize>());
                assert_eq!(pushed, lost + served + queue.len());
            }
        }
    }
}
