//! Whether packets are decided at all: an operator may have the daemon hold its hands still until
//! OpenFlow rules are restored (`other_config:flow-restore-wait`).
//!
//! What always holds: while the gate is shut no upcall is read and no flow is touched; when it is
//! released, the revalidator judges the flows that are in the kernel before the first upcall is
//! read; a gate that has been open is never shut again, as with the peer.
//!
//! The control thread shuts and releases, the revalidator opens, handlers wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    /// Nobody has said anything: open, but may still be shut.
    #[default]
    New,
    Shut,
    /// Flows are being judged, then it opens.
    Released,
    /// For good.
    Open,
}

/// See the module's page.
#[derive(Default)]
pub struct Gate {
    state: Mutex<State>,
    opened: Condvar,
    /// Whether the state is other than open: one load for a handler's every turn.
    is_shut: AtomicBool,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Shuts or releases it; tells whether it has just been released, so that the revalidator
    /// has to be woken. Without effect once it has been open.
    pub fn set(&self, wait: bool) -> bool {
        let mut state = self.lock();
        let before = *state;
        *state = match (before, wait) {
            (State::New | State::Shut, true) => State::Shut,
            (State::New, false) => State::Open,
            (State::Shut, false) => State::Released,
            (State::Released | State::Open, _) => before,
        };
        self.is_shut.store(matches!(*state, State::Shut | State::Released), Ordering::Release);
        before == State::Shut && *state == State::Released
    }

    /// Whether upcalls have to wait.
    pub fn is_shut(&self) -> bool {
        self.is_shut.load(Ordering::Acquire)
    }

    /// Whether flows must not be touched.
    pub fn is_held(&self) -> bool {
        self.is_shut() && *self.lock() == State::Shut
    }

    /// Opens it, if it was released.
    pub fn open(&self) {
        let mut state = self.lock();
        if *state == State::Released {
            *state = State::Open;
            self.is_shut.store(false, Ordering::Release);
            self.opened.notify_all();
        }
    }

    /// Waits up to `timeout` for it to open; returns whether it is open.
    pub fn await_open(&self, timeout: Duration) -> bool {
        let is_shut = |state: &mut State| matches!(state, State::Shut | State::Released);
        let waited = self.opened.wait_timeout_while(self.lock(), timeout, is_shut);
        let (mut state, _) = waited.unwrap_or_else(|e| e.into_inner());
        !is_shut(&mut state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shut_released_open_for_good() {
        let gate = Gate::default();
        assert!(!gate.is_shut() && gate.await_open(Duration::ZERO));
        assert!(!gate.set(true));
        assert!(gate.is_shut() && gate.is_held() && !gate.await_open(Duration::ZERO));
        gate.open();
        assert!(gate.is_held(), "nobody released it");
        assert!(gate.set(false));
        assert!(gate.is_shut() && !gate.is_held() && !gate.await_open(Duration::ZERO));
        assert!(!gate.set(false));
        gate.open();
        assert!(!gate.is_shut() && gate.await_open(Duration::ZERO));
        assert!(!gate.set(true));
        assert!(!gate.is_shut(), "once open, open for good");
    }
}
