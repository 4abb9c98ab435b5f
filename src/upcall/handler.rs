//! A handler thread: reads upcalls, has them decided, sends the answers.
//!
//! What always holds: one `recvmmsg` and one send for a batch; no lock across either; an overrun
//! is counted and the reading goes on, never closes. With a backlog the handler empties its
//! socket into a [`FairQueue`], and ports with little to ask are answered before the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ovs_netlink::RecvRing;

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

/// Upcalls of one read above which the socket may hold more than can be served soon.
const BACKLOG: usize = UPCALL_BATCH / 2;

/// Upcalls served between two looks at the socket while others wait.
const SERVE: usize = UPCALL_BATCH / 2;

/// See the module's page.
pub struct Handler {
    udpif: Arc<Udpif>,
    port: Box<dyn UpcallPort>,
    ring: RecvRing,
    worker: Worker,
    queue: FairQueue,
    buffer: Vec<u8>,
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
        let wait = if self.queue.is_empty() { wait } else { Duration::ZERO };
        let read = self.read(wait)?;
        if self.queue.is_empty() && read < BACKLOG {
            if read > 0 {
                self.serve_ring();
            } else {
                self.queue.tidy();
            }
            return Ok(());
        }
        self.enqueue();
        let mut read = read;
        let mut turns = FAIR_QUEUE_MAX / UPCALL_BATCH;
        while read == UPCALL_BATCH && turns > 0 {
            read = self.read(Duration::ZERO)?;
            self.enqueue();
            turns -= 1;
        }
        self.serve_queue();
        Ok(())
    }

    fn read(&mut self, wait: Duration) -> Result<usize, RecvError> {
        match self.port.recv(&mut self.ring, wait) {
            Ok(read) => Ok(read),
            Err(RecvError::Overrun) => {
                self.udpif.counters.overruns.fetch_add(1, Ordering::Relaxed);
                vlog::limited!(WARN, target: "ofproto_dpif_upcall", &OVERFLOW_RL,
                    "overflow of an upcall socket (ENOBUFS): the kernel lost packets of new flows; \
                     upcall/ports shows the port that opens the most");
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

    fn serve_ring(&mut self) {
        self.worker.begin(now_ms());
        for datagram in self.ring.iter() {
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

    /// Answers the ports that have little to ask, then some of the others.
    fn serve_queue(&mut self) {
        self.worker.begin(now_ms());
        let mut served = 0;
        while served < SERVE && self.queue.pop_light(&mut self.buffer) {
            self.worker.decide(&self.buffer);
            served += 1;
        }
        if served > 0 {
            self.flush();
            self.worker.begin(now_ms());
        }
        for _ in 0..SERVE {
            if !self.queue.pop(&mut self.buffer) {
                break;
            }
            self.worker.decide(&self.buffer);
        }
        self.flush();
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

fn send_errno(error: &SendError) -> i32 {
    match error {
        SendError::NoBuffers => libc::ENOBUFS,
        SendError::Io(errno) => *errno,
    }
}
