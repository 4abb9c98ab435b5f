//! A handler thread: reads upcalls, has them decided, sends the answers.
//!
//! What always holds: one `recvmmsg` and one send for a batch; no lock across either; an overrun
//! is counted and the reading goes on, never closes. What the kernel refused is asked for after a
//! number of messages, or some time: nothing waits for it, and hardly ever is there anything. Ports
//! with little to ask are answered before the rest, with a send of their own: in a batch that holds
//! both kinds, and with a backlog, when the handler empties its socket into a [`FairQueue`] between
//! small pieces of the rest. Where others want the CPU too, it goes before them and keeps to a
//! [`Budget`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::prctl::set_timerslack;
use nix::time::{ClockId, clock_gettime};
use ovs_netlink::RecvRing;
use ovs_netlink::sched::Class;

use super::budget::{Budget, Turn};
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

/// How long the rest is decided between two looks at the socket while there is a port with little to
/// ask, which may ask again. Sending takes longer than that. Else a whole batch is answered at once.
const PIECE: Duration = Duration::from_micros(10);

/// How long a handler remembers that somebody with little to ask was there.
const WATCH: Duration = Duration::from_secs(2);

/// How many messages may be sent before refusals are asked for, and for how long that may wait while
/// upcalls come. The worker knows two batches of puts by their numbers.
const UNHEARD: usize = UPCALL_BATCH;
const UNHEARD_MS: u64 = 50;

/// See the module's page.
pub struct Handler {
    udpif: Arc<Udpif>,
    port: Box<dyn UpcallPort>,
    ring: RecvRing,
    worker: Worker,
    queue: FairQueue,
    buffer: Vec<u8>,
    /// Ports of the batch in the ring.
    ports: BatchPorts,
    /// The last read was full: there may be more.
    was_full: bool,
    budget: Budget,
    /// Until when somebody with little to ask is looked out for.
    watch_until: Duration,
    /// Messages sent since refusals were asked for, and when the first of them was.
    unheard: usize,
    unheard_ms: u64,
    /// This thread's scheduling class, once it was asked for.
    class: Option<Class>,
    /// Whether this handler is counted in [`Udpif::behind`], and in [`Udpif::awaiting`].
    is_behind: bool,
    is_awaiting: bool,
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
            ports: BatchPorts::default(),
            was_full: false,
            budget: Budget::default(),
            watch_until: Duration::ZERO,
            unheard: 0,
            unheard_ms: 0,
            class: None,
            is_behind: false,
            is_awaiting: false,
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
        if is_behind {
            return self.turn_with_backlog();
        }
        let read = self.read(wait)?;
        // Only who pauses may go before others.
        self.go_before_others(false);
        self.tell_awaiting(false);
        self.was_full = read == UPCALL_BATCH;
        match read {
            0 => {
                self.queue.tidy();
                self.hear();
            }
            1..=SMALL => self.serve_ring(|_| Some(None)),
            _ => self.serve_ring_by_port(),
        }
        Ok(())
    }

    /// Empties the socket, answers who has little to ask and some of the rest, and pauses if others want
    /// the CPU and somebody would wait for it.
    fn turn_with_backlog(&mut self) -> Result<(), RecvError> {
        let begun = clock(ClockId::CLOCK_MONOTONIC);
        let is_watched = begun < self.watch_until;
        // That is a system call.
        let worked = is_watched.then(|| clock(ClockId::CLOCK_THREAD_CPUTIME_ID));
        self.go_before_others(is_watched && self.budget.is_contended());
        let read = self.read(Duration::ZERO)?;
        self.was_full = false;
        let (mut is_light, mut is_awaiting) = (false, false);
        if self.queue.is_empty() && read <= SMALL {
            self.serve_ring(|_| Some(None));
        } else {
            is_light = self.drain(read)?;
            // What was sent may be answered at once: the rest waits for it.
            is_awaiting = self.budget.is_awaiting(begun, is_light);
            if !is_awaiting {
                self.serve_queue(is_watched);
                if is_watched {
                    // Who asked meanwhile need not wait for the pause too.
                    let read = self.read(Duration::ZERO)?;
                    is_light |= self.drain(read)?;
                }
            }
        }
        if is_light {
            self.watch_until = begun + WATCH;
        }
        let Some(worked) = worked else {
            return Ok(());
        };
        let now = clock(ClockId::CLOCK_MONOTONIC);
        let took = now.saturating_sub(begun);
        let on_cpu = clock(ClockId::CLOCK_THREAD_CPUTIME_ID).saturating_sub(worked).min(took);
        // The CPU clock of some kernels is no finer than a tick.
        let worked = if on_cpu.is_zero() && self.is_raised() { took } else { on_cpu };
        let turn = Turn { now, took, worked, is_light, is_awaiting };
        let pause = self.budget.pause_after(turn);
        self.tell_awaiting(self.budget.is_awaiting(now, false));
        if let Some(pause) = pause {
            // Not on the socket: what the storm sends would end the pause at once.
            std::thread::sleep(pause);
        }
        Ok(())
    }

    /// Moves what waits in the socket into the queue, of which `read` upcalls are in the ring, and answers
    /// who has little to ask; whether there was anybody.
    fn drain(&mut self, mut read: usize) -> Result<bool, RecvError> {
        self.enqueue();
        let mut is_light = self.serve_light();
        let mut turns = FAIR_QUEUE_MAX / UPCALL_BATCH;
        while read == UPCALL_BATCH && turns > 0 {
            read = self.read(Duration::ZERO)?;
            self.enqueue();
            is_light |= self.serve_light();
            turns -= 1;
        }
        Ok(is_light)
    }

    fn is_raised(&self) -> bool {
        self.class.as_ref().is_some_and(Class::is_raised)
    }

    /// Has this thread run before others, or as any other again. Where that is not allowed it keeps
    /// its place.
    fn go_before_others(&mut self, is_raised: bool) {
        if self.class.is_none() {
            if !is_raised {
                return;
            }
            // A pause must not take longer than it is meant to.
            let _ = set_timerslack(1);
            self.class = Some(Class::of_this_thread());
        }
        let was_raised = self.is_raised();
        if let Some(class) = &mut self.class
            && let Err(error) = class.raise(is_raised)
        {
            tracing::info!(target: "ofproto_dpif_upcall",
                "a storm of upcalls, and other threads want the CPU: first packets of quiet ports \
                 would wait less if this thread might have a real-time priority (CAP_SYS_NICE): {error}");
        }
        tell(&self.udpif.raised, was_raised, self.is_raised());
    }

    fn tell_behind(&mut self, is_behind: bool) {
        tell(&self.udpif.behind, self.is_behind, is_behind);
        self.is_behind = is_behind;
    }

    fn tell_awaiting(&mut self, is_awaiting: bool) {
        tell(&self.udpif.awaiting, self.is_awaiting, is_awaiting);
        self.is_awaiting = is_awaiting;
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
        let mut ports = std::mem::take(&mut self.ports);
        ports.clear();
        for datagram in self.ring.iter() {
            let port = datagram.ok().and_then(|datagram| self.worker.port_of(datagram));
            ports.push(port.unwrap_or(OdpPort::NONE));
        }
        if ports.is_mixed() {
            self.serve_ring(|n| ports.is_light(n).then(|| ports.port(n)));
            self.serve_ring(|n| (!ports.is_light(n)).then(|| ports.port(n)));
        } else {
            self.serve_ring(|n| Some(ports.port(n)));
        }
        self.ports = ports;
    }

    /// Answers those upcalls of a batch that are wanted by their number; `of` tells whose each is, as far
    /// as it is known.
    fn serve_ring(&mut self, of: impl Fn(usize) -> Option<Option<OdpPort>>) {
        self.worker.begin(now_ms());
        for (n, datagram) in self.ring.iter().enumerate() {
            let Some(port) = of(n) else { continue };
            match datagram {
                Ok(datagram) => self.worker.decide_of(port, datagram),
                Err(error) => {
                    self.udpif.counters.bad.fetch_add(1, Ordering::Relaxed);
                    vlog::limited!(DEBUG, target: "ofproto_dpif_upcall", &RL,
                        "upcall not read: {error}");
                }
            }
        }
        self.flush();
    }

    /// Answers the ports that have little to ask; whether there were any.
    fn serve_light(&mut self) -> bool {
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
        }
        served > 0
    }

    /// Answers some of the others, few if somebody may ask meanwhile.
    fn serve_queue(&mut self, is_brief: bool) {
        self.worker.begin(now_ms());
        let end = is_brief.then(|| clock(ClockId::CLOCK_MONOTONIC) + PIECE);
        let mut left = UPCALL_BATCH;
        while left > 0 && self.queue.pop(&mut self.buffer) {
            self.worker.decide(&self.buffer);
            left -= 1;
            if end.is_some_and(|end| clock(ClockId::CLOCK_MONOTONIC) >= end) {
                break;
            }
        }
        self.flush();
    }

    /// Sends the answers.
    fn flush(&mut self) {
        let messages = self.worker.finish();
        if messages.is_empty() {
            return;
        }
        match self.port.send(messages) {
            Ok(()) => {
                if self.unheard == 0 {
                    self.unheard_ms = self.worker.begun_ms();
                }
                self.unheard += self.worker.message_count();
                self.worker.settle();
                let waited = self.worker.begun_ms().saturating_sub(self.unheard_ms);
                if self.unheard >= UNHEARD || waited >= UNHEARD_MS {
                    self.hear();
                }
            }
            Err(error) => {
                vlog::limited!(WARN, target: "ofproto_dpif_upcall", &RL,
                    "flows and packets not sent to the kernel: {error}; they are dropped");
                self.worker.send_failed(send_errno(&error));
            }
        }
    }

    /// Takes the kernel's refusals of what was sent.
    fn hear(&mut self) {
        if self.unheard > 0 {
            self.unheard = 0;
            let worker = &mut self.worker;
            self.port.errors(&mut |seq, errno| worker.refused(seq, errno));
        }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.tell_behind(false);
        self.tell_awaiting(false);
        tell(&self.udpif.raised, self.is_raised(), false);
    }
}

/// Keeps the number of handlers of which something is so.
fn tell(number: &AtomicUsize, was: bool, is: bool) {
    match (was, is) {
        (false, true) => _ = number.fetch_add(1, Ordering::Relaxed),
        (true, false) => _ = number.fetch_sub(1, Ordering::Relaxed),
        _ => {}
    }
}

/// A clock that every Linux has.
fn clock(id: ClockId) -> Duration {
    clock_gettime(id).map_or(Duration::ZERO, Duration::from)
}

fn send_errno(error: &SendError) -> i32 {
    match error {
        SendError::NoBuffers => libc::ENOBUFS,
        SendError::Io(errno) => *errno,
    }
}

/// Which port each upcall of a batch is of, and which ports have little to ask.
#[derive(Default)]
struct BatchPorts {
    /// Ports with the number of their upcalls.
    counts: Vec<(OdpPort, usize)>,
    /// For each upcall, where its port is in `counts`.
    of: Vec<usize>,
}

impl BatchPorts {
    fn clear(&mut self) {
        self.counts.clear();
        self.of.clear();
    }

    /// Adds the next upcall, which is of `port`.
    fn push(&mut self, port: OdpPort) {
        // Most come in runs of one port.
        let last = self.of.last().copied().filter(|at| self.counts[*at].0 == port);
        let known = last.or_else(|| self.counts.iter().position(|(other, _)| *other == port));
        let at = known.unwrap_or_else(|| {
            self.counts.push((port, 0));
            self.counts.len() - 1
        });
        self.counts[at].1 += 1;
        self.of.push(at);
    }

    /// Whether there are ports of both kinds.
    fn is_mixed(&self) -> bool {
        let light = self.counts.iter().filter(|(_, count)| *count <= LIGHT).count();
        light > 0 && light < self.counts.len()
    }

    /// The port of upcall number `n`.
    fn port(&self, n: usize) -> Option<OdpPort> {
        self.of.get(n).map(|at| self.counts[*at].0)
    }

    /// Whether upcall number `n` is of a port with little to ask.
    fn is_light(&self, n: usize) -> bool {
        self.of.get(n).is_some_and(|at| self.counts[*at].1 <= LIGHT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_mixed_when_few_stand_beside_many() {
        let of = |ports: &[u32]| {
            let mut batch = BatchPorts::default();
            ports.iter().for_each(|port| batch.push(OdpPort(*port)));
            batch
        };
        assert!(!of(&[1, 1, 1, 1]).is_mixed());
        assert!(!of(&[1, 2, 2, 3]).is_mixed());
        assert!(!of(&[]).is_mixed());
        let batch = of(&[1, 2, 1, 1, 2, 3]);
        assert!(batch.is_mixed());
        let light: Vec<bool> = (0..7).map(|n| batch.is_light(n)).collect();
        assert_eq!(light, [false, true, false, false, true, true, false]);
    }
}
