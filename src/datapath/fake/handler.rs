//! A handler's end of the fake kernel: a bounded queue of upcalls, and a way to send messages.
//!
//! What always holds: as with a netlink socket, once an upcall did not fit, all further ones are lost
//! until the queue is empty, and the reader is told once.
//!
//! The queue is shared by the kernel's side and one reading thread.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use ovs_netlink::ring::RecvRing;

use super::FakeKernel;
use crate::datapath::{RecvError, SendError, UpcallPort};

/// Upcalls on their way to one handler.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    arrived: Condvar,
    idle: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    upcalls: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Something was lost and the queue has not been empty since.
    congested: bool,
    /// The reader has not been told of the loss yet.
    overrun: bool,
    closed: bool,
    /// The reader waits for more: it is done with what it took.
    waiting: bool,
    /// Upcalls ever added.
    taken: u64,
}

impl Queue {
    /// Adds an upcall, unless there is no room within `limit` bytes; returns whether there was.
    pub fn push(&self, upcall: Vec<u8>, limit: usize) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return false;
        }
        if state.congested || state.bytes + upcall.len() > limit {
            (state.congested, state.overrun) = (true, true);
            self.arrived.notify_one();
            return false;
        }
        state.bytes += upcall.len();
        state.taken += 1;
        state.upcalls.push_back(upcall);
        self.arrived.notify_one();
        true
    }

    /// Upcalls ever added.
    pub fn taken(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).taken
    }

    /// Waits up to `timeout` until the reader has nothing left to do; returns whether it has not.
    pub fn wait_idle(&self, timeout: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let busy = |s: &mut QueueState| !(s.closed || (s.waiting && s.upcalls.is_empty()));
        let (_state, waited) = self
            .idle
            .wait_timeout_while(state, timeout, busy)
            .unwrap_or_else(PoisonError::into_inner);
        !waited.timed_out()
    }

    /// Nothing more will come.
    pub fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.arrived.notify_all();
        self.idle.notify_all();
    }

    fn recv(&self, ring: &mut RecvRing, timeout: Duration) -> Result<usize, RecvError> {
        ring.clear();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |s: &mut QueueState| s.upcalls.is_empty() && !s.overrun && !s.closed;
        state.waiting = !timeout.is_zero();
        if state.waiting && idle(&mut state) {
            self.idle.notify_all();
        }
        let (mut state, _) = self
            .arrived
            .wait_timeout_while(state, timeout, idle)
            .unwrap_or_else(PoisonError::into_inner);
        // Between two waits it is as good as waiting: it has nothing in hand.
        state.waiting = state.waiting && idle(&mut state);
        if std::mem::take(&mut state.overrun) {
            state.congested = !state.upcalls.is_empty();
            return Err(RecvError::Overrun);
        }
        while let Some(upcall) = state.upcalls.front() {
            if !ring.push(upcall) {
                break;
            }
            state.bytes -= upcall.len();
            state.upcalls.pop_front();
        }
        if state.upcalls.is_empty() {
            state.congested = false;
        }
        match ring.len() {
            0 if state.closed => Err(RecvError::Gone),
            n => Ok(n),
        }
    }
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct FakeUpcallPort {
    pub kernel: FakeKernel,
    pub dp_ifindex: u32,
    pub queue: Arc<Queue>,
    pub refusals: Vec<(u32, i32)>,
}

impl UpcallPort for FakeUpcallPort {
    fn recv(&mut self, ring: &mut RecvRing, timeout: Duration) -> Result<usize, RecvError> {
        self.queue.recv(ring, timeout)
    }

    fn send(&mut self, messages: &[u8]) -> Result<(), SendError> {
        self.kernel.requests(self.dp_ifindex, messages, &mut self.refusals);
        Ok(())
    }

    fn errors(&mut self, each: &mut dyn FnMut(u32, i32)) {
        for (seq, errno) in self.refusals.drain(..) {
            each(seq, errno);
        }
    }
}
