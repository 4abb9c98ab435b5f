//! A handler thread: reads upcalls, has them decided, sends the answers.
//!
//! What always holds: one `recvmmsg` and one send for a batch; no lock across either; an overrun
//! is counted and the reading goes on, never closes. Ports with little to ask are answered before
//! the rest, with a send of their own: in a batch that holds both kinds, and with a backlog (two
//! full batches in a row), when the handler empties its socket into a [`FairQueue`] between small
//! portions of the rest. Where others want the CPU too, it rests between these, asleep on its
//! socket ([`Contention`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use ovs_netlink::RecvRing;

use super::contention::Contention;
use super::fair::FairQueue;
use super::worker::Worker;
use super::{Udpif, now_ms};
use crate::datapath::{OdpPort, RecvError, SendError, UpcallPort};
use crate::limits::{FAIR_QUEUE_MAX, UPCALL_BATCH};
use crate::vlog::{self, RateLimit};

/// A socket that overflows is told of once in ten seconds.
static OVERFLOW_RL: RateLimit = RateLimit::new(6, 1);
static RL: RateLimit = RateLimit::new(1, 5);

/// How long a handler leaves a socket alone that gives an error.
const PAUSE: Duration = Duration::from_millis(10);

/// How long a handler waits for upcalls before it looks whether it shall stop.
const WAIT: Duration = Duration::from_millis(200);

/// Upcalls of one read that are answered in the order they came in: too few to wait for.
const SMALL: usize = 8;

/// A port with at most so many upcalls in a batch has little to ask.
const LIGHT: usize = 2;

/// Upcalls served between two looks at the socket while others wait: as many as one read brings, and
/// few while there is anybody with little to ask, who may ask again.
const SERVE: usize = UPCALL_BATCH;
const SERVE_WATCHED: usize = 4;

/// Portions for which a handler remembers that somebody with little to ask was there.
const WATCH: u32 = 1_000;

/// See the module's page.
pub struct Handler {
    udpif: Arc<Udpif>,
    port: Box<dyn UpcallPort>,
    ring: RecvRing,
    worker: Worker,
    queue: FairQueue,
    buffer: Vec<u8>,
    /// Ports of the batch in the ring.
    ports: Vec<OdpPort>,
    /// The last read was full: there may be more.
    was_full: bool,
    /// Small portions that are still to be made.
    watch: u32,
    contention: Contention,
    /// Until when the backlog is left alone.
    rest_until: Option<Instant>,
    /// Whether this handler is counted in [`Udpif::behind`].
    is_behind: bool,
}

impl Handler {
    /// A handler that reads from `port`.
    pub fn new(udpif: Arc<Udpif>, port: Box<dyn UpcallPort>) -> Self {
        Self {
            worker: Worker::new(udpif.clone()),
            udpif,
            port,
            ring: RecvRing::new(UPCALL_BATCH),
            queue: FairQueue::new(FAIR_QUEUE_MAX),
            buffer: Vec::new(),
            ports: Vec::with_capacity(UPCALL_BATCH),
            was_full: false,
            watch: 0,
            contention: Contention::default(),
            rest_until: None,
            is_behind: false,
        }
    }

    /// Serves until `stop` is set or the port is gone.
    pub fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            if self.udpif.gate.is_shut() && !self.udpif.gate.await_open(WAIT) {
                continue;
            }
            if let Err(error) = self.turn(WAIT) {
                tracing::warn!(target: "ofproto_dpif_upcall", "upcall socket is gone: {error}");
                self.udpif.health.handler_ended.store(true, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Reads once, waiting up to `wait` if nothing is queued, and serves what is there.
    ///
    /// # Errors
    /// When nothing will ever be read from the port again.
    pub fn turn(&mut self, wait: Duration) -> Result<(), RecvError> {
        let is_behind = self.was_full || !self.queue.is_empty();
        self.tell_behind(is_behind);
        let wait = match self.rest_left() {
            Some(left) => left,
            None if is_behind => Duration::ZERO,
            None => wait,
        };
        let mut read = self.read(wait)?;
        let may_be_more = read == UPCALL_BATCH;
        let is_backlog = self.was_full && may_be_more || !self.queue.is_empty();
        if !is_backlog && !self.is_sharing() {
            match read {
                0 => self.queue.tidy(),
                1..=SMALL => self.serve_ring(|_| true),
                _ => self.serve_ring_by_port(),
            }
            self.was_full = may_be_more;
            return Ok(());
        }
        self.was_full = false;
        self.enqueue();
        self.serve_light();
        let mut turns = FAIR_QUEUE_MAX / UPCALL_BATCH;
        while read == UPCALL_BATCH && turns > 0 {
            read = self.read(Duration::ZERO)?;
            self.enqueue();
            self.serve_light();
            turns -= 1;
        }
        if self.rest_left().is_none() {
            self.serve_queue();
        }
        Ok(())
    }

    /// Whether somebody with little to ask is there and others want the CPU.
    fn is_sharing(&self) -> bool {
        self.watch > 0 && self.contention.is_felt()
    }

    fn rest_left(&mut self) -> Option<Duration> {
        let left = self.rest_until?.saturating_duration_since(Instant::now());
        if left.is_zero() {
            self.rest_until = None;
        }
        self.rest_until.map(|_| left)
    }

    fn tell_behind(&mut self, is_behind: bool) {
        if is_behind != self.is_behind {
            self.is_behind = is_behind;
            let behind = &self.udpif.behind;
            if is_behind {
                behind.fetch_add(1, Ordering::Relaxed);
            } else {
                behind.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn read(&mut self, wait: Duration) -> Result<usize, RecvError> {
        match self.port.recv(&mut self.ring, wait) {
            Ok(read) => Ok(read),
            Err(RecvError::Overrun) => {
                self.udpif.counters.overruns.fetch_add(1, Ordering::Relaxed);
                vlog::limited!(WARN, target: "ofproto_dpif_upcall", &OVERFLOW_RL,
                    "lost packet on handler: its socket was full (ENOBUFS), the kernel lost packets of new \
                     flows; upcall/ports shows the port that opens the most");
                Ok(0)
            }
            Err(RecvError::Io(libc::EINTR | libc::EAGAIN)) => Ok(0),
            Err(error @ RecvError::Io(_)) => {
                vlog::limited!(WARN, target: "ofproto_dpif_upcall", &RL,
                    "{error}; trying again");
                self.udpif.health.datapath_gone.store(true, Ordering::Relaxed);
                std::thread::sleep(PAUSE);
                Ok(0)
            }
            Err(RecvError::Truncated(_)) => {
                self.udpif.counters.bad.fetch_add(1, Ordering::Relaxed);
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    fn enqueue(&mut self) {
        for datagram in self.ring.iter() {
            let Ok(datagram) = datagram else {
                self.udpif.counters.bad.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let port = self.worker.port_of(datagram).unwrap_or(OdpPort::NONE);
            if let Some(loser) = self.queue.push(port, datagram) {
                self.worker.note_dropped(loser);
            }
        }
    }

    /// Answers a batch, those with little to ask first if there are others.
    fn serve_ring_by_port(&mut self) {
        self.ports.clear();
        for datagram in self.ring.iter() {
            let port = datagram.ok().and_then(|datagram| self.worker.port_of(datagram));
            self.ports.push(port.unwrap_or(OdpPort::NONE));
        }
        let ports = std::mem::take(&mut self.ports);
        let is_light =
            |port: &OdpPort| ports.iter().filter(|other| *other == port).count() <= LIGHT;
        // A batch of one port is the common case of a storm: told without counting.
        let is_mixed = ports.iter().any(|port| port != &ports[0])
            && ports.iter().any(is_light)
            && !ports.iter().all(is_light);
        if is_mixed {
            self.serve_ring(|n| ports.get(n).is_some_and(is_light));
            self.serve_ring(|n| !ports.get(n).is_some_and(is_light));
        } else {
            self.serve_ring(|_| true);
        }
        self.ports = ports;
    }

    /// Answers those upcalls of a batch that are wanted by their number.
    fn serve_ring(&mut self, is_wanted: impl Fn(usize) -> bool) {
        self.worker.begin(now_ms());
        for (_, datagram) in self.ring.iter().enumerate().filter(|(n, _)| is_wanted(*n)) {
            match datagram {
                Ok(datagram) => self.worker.decide(datagram),
                Err(error) => {
                    self.udpif.counters.bad.fetch_add(1, Ordering::Relaxed);
                    vlog::limited!(DEBUG, target: "ofproto_dpif_upcall", &RL,
                        "upcall not read: {error}");
                }
            }
        }
        self.flush();
    }

    /// Answers the ports that have little to ask.
    fn serve_light(&mut self) {
        let mut served = 0;
        while served < UPCALL_BATCH && self.queue.pop_light(&mut self.buffer) {
            if served == 0 {
                self.worker.begin(now_ms());
            }
            self.worker.decide(&self.buffer);
            served += 1;
        }
        if served > 0 {
            self.flush();
            self.watch = WATCH;
        }
    }

    /// Answers some of the others.
    fn serve_queue(&mut self) {
        let is_watched = self.watch > 0;
        self.watch = self.watch.saturating_sub(1);
        let begun = is_watched.then(Instant::now);
        let portion = if is_watched { SERVE_WATCHED } else { SERVE };
        self.worker.begin(now_ms());
        for _ in 0..portion {
            if !self.queue.pop(&mut self.buffer) {
                break;
            }
            self.worker.decide(&self.buffer);
        }
        self.flush();
        if let Some(begun) = begun {
            let rest = self.contention.rest_after(preemptions(), begun.elapsed());
            self.rest_until = (!rest.is_zero()).then(|| Instant::now() + rest);
        }
    }

    /// Sends the answers and takes the kernel's refusals.
    fn flush(&mut self) {
        let messages = self.worker.finish();
        if messages.is_empty() {
            return;
        }
        match self.port.send(messages) {
            Ok(()) => {
                let worker = &mut self.worker;
                self.port.errors(&mut |seq, errno| worker.refused(seq, errno));
                worker.settle();
            }
            Err(error) => {
                vlog::limited!(WARN, target: "ofproto_dpif_upcall", &RL,
                    "flows and packets not sent to the kernel: {error}; they are dropped");
                self.worker.send_failed(send_errno(&error));
            }
        }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.tell_behind(false);
    }
}

/// How often this thread has lost the CPU to another one.
fn preemptions() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD);
    usage.map_or(0, |usage| usage.involuntary_context_switches() as u64)
}

fn send_errno(error: &SendError) -> i32 {
    match error {
        SendError::NoBuffers => libc::ENOBUFS,
        SendError::Io(errno) => *errno,
    }
}
