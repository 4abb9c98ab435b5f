//! What changed since the revalidator last looked: a set of dependency tags.
//!
//! Handlers and the control thread add, after the state itself has changed; the revalidator waits
//! and takes. The set is bounded: past [`CHANGES_MAX`] it says "everything" instead, which costs a
//! full revalidation and is always right.
//!
//! A handler translates, then installs; what changed in between would be missed by a revalidator
//! that has already looked. So changes are numbered and the youngest kept in a log:
//! [`Changes::since`] tells a handler, once its flows are in the kernel, what changed under it, and
//! [`Changes::recheck`] takes the flows it has doubts about.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::limits::{CHANGES_LOG, CHANGES_MAX};
use crate::odp::ufid::Ufid;
use crate::snapshot::Dep;

/// A batch of changes.
#[derive(Default, Debug)]
pub struct Changed {
    /// Tags of what changed.
    pub tags: HashSet<u64, foldhash::fast::RandomState>,
    /// Whether everything is to be looked at.
    pub everything: bool,
    /// Flows to be looked at whatever they rest on.
    pub flows: Vec<Ufid>,
    /// Whether every flow is to be deleted.
    pub flush: bool,
}

impl Changed {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty() && !self.everything && self.flows.is_empty() && !self.flush
    }

    /// Whether a flow that rests on `deps` is touched.
    pub fn touches(&self, deps: impl IntoIterator<Item = u64>) -> bool {
        self.everything
            || !self.tags.is_empty() && deps.into_iter().any(|tag| self.tags.contains(&tag))
    }
}

#[derive(Default)]
struct Inner {
    changed: Changed,
    /// The youngest tags, oldest first; the last one has the number [`Changes::seq`].
    log: VecDeque<u64>,
    /// Number of the last change that the log cannot tell by tags.
    everything_seq: u64,
    kicked: bool,
    stop: bool,
}

/// Why a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wake {
    /// Something changed.
    Changed,
    /// Someone wants a round now.
    Kicked,
    /// The time was up.
    Timeout,
    /// The daemon stops.
    Stop,
}

/// See the module's page.
#[derive(Default)]
pub struct Changes {
    inner: Mutex<Inner>,
    wake: Condvar,
    seq: AtomicU64,
}

impl Changes {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Number of the last change.
    pub fn seq(&self) -> u64 {
        self.seq.load(Ordering::Acquire)
    }

    /// Notes that `deps` changed.
    pub fn add(&self, deps: impl IntoIterator<Item = Dep>) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let was_empty = inner.changed.is_empty();
        let mut seq = self.seq();
        for tag in deps.into_iter().map(Dep::tag) {
            seq += 1;
            if inner.log.len() == CHANGES_LOG {
                inner.log.pop_front();
            }
            inner.log.push_back(tag);
            if !inner.changed.everything {
                inner.changed.tags.insert(tag);
            }
        }
        if inner.changed.tags.len() > CHANGES_MAX {
            inner.changed.tags.clear();
            inner.changed.everything = true;
        }
        self.seq.store(seq, Ordering::Release);
        if was_empty && !inner.changed.is_empty() {
            self.wake.notify_all();
        }
    }

    /// Asks for every flow to be translated again.
    pub fn add_everything(&self) {
        let mut inner = self.lock();
        let seq = self.seq() + 1;
        inner.log.clear();
        inner.everything_seq = seq;
        inner.changed.everything = true;
        inner.changed.tags.clear();
        self.seq.store(seq, Ordering::Release);
        self.wake.notify_all();
    }

    /// Appends to `tags` what changed after number `seq`; false when that is not known tag by tag,
    /// so that everything may have changed.
    pub fn since(&self, seq: u64, tags: &mut Vec<u64>) -> bool {
        let inner = self.lock();
        let missed = (self.seq() - seq) as usize;
        if seq < inner.everything_seq || missed > inner.log.len() {
            return false;
        }
        tags.extend(inner.log.iter().skip(inner.log.len() - missed));
        true
    }

    /// Asks for these flows to be translated again.
    pub fn recheck(&self, flows: impl IntoIterator<Item = Ufid>) {
        let mut inner = self.lock();
        let was_empty = inner.changed.is_empty();
        inner.changed.flows.extend(flows);
        if inner.changed.flows.len() > CHANGES_MAX {
            inner.changed.flows.clear();
            inner.changed.everything = true;
        }
        if was_empty && !inner.changed.is_empty() {
            self.wake.notify_all();
        }
    }

    /// Asks for every flow to be deleted; packets that still come are decided anew.
    pub fn flush(&self) {
        let mut inner = self.lock();
        inner.changed.flush = true;
        self.wake.notify_all();
    }

    /// Asks for a round without waiting for the time.
    pub fn kick(&self) {
        self.lock().kicked = true;
        self.wake.notify_all();
    }

    /// Ends every wait, now and later.
    pub fn stop(&self) {
        self.lock().stop = true;
        self.wake.notify_all();
    }

    /// Waits until something changed, someone kicked, or `timeout` passed; takes what changed.
    pub fn wait(&self, timeout: Duration) -> (Wake, Changed) {
        let end = Instant::now() + timeout;
        let mut inner = self.lock();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let wake = if inner.stop {
                Wake::Stop
            } else if !inner.changed.is_empty() {
                Wake::Changed
            } else if inner.kicked {
                Wake::Kicked
            } else if left.is_zero() {
                Wake::Timeout
            } else {
                inner = match self.wake.wait_timeout(inner, left) {
                    Ok((inner, _)) => inner,
                    Err(e) => e.into_inner().0,
                };
                continue;
            };
            inner.kicked = false;
            return (wake, std::mem::take(&mut inner.changed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::BridgeId;

    #[test]
    fn a_wait_takes_what_changed_once() {
        let changes = Changes::default();
        let dep = Dep::Bridge(BridgeId(3));
        changes.add([dep]);
        let (wake, changed) = changes.wait(Duration::from_secs(60));
        assert_eq!(wake, Wake::Changed);
        assert!(changed.touches([1, dep.tag()]));
        assert!(!changed.touches([Dep::Bridge(BridgeId(4)).tag()]));
        let (wake, changed) = changes.wait(Duration::ZERO);
        assert_eq!((wake, changed.is_empty()), (Wake::Timeout, true));
    }

    #[test]
    fn too_many_changes_become_everything() {
        let changes = Changes::default();
        changes.add((0..=CHANGES_MAX as u32).map(|n| Dep::Bridge(BridgeId(n))));
        let (_, changed) = changes.wait(Duration::ZERO);
        assert!(changed.everything && changed.tags.is_empty());
        assert!(changed.touches([]));
    }

    #[test]
    fn the_log_tells_what_changed_under_a_handler() {
        let changes = Changes::default();
        let dep = |n| Dep::Bridge(BridgeId(n));
        changes.add([dep(1)]);
        let seq = changes.seq();
        changes.add([dep(2), dep(3)]);
        let mut tags = Vec::new();
        assert!(changes.since(seq, &mut tags));
        assert_eq!(tags, [dep(2).tag(), dep(3).tag()]);
        changes.add((0..CHANGES_LOG as u32).map(dep));
        assert!(!changes.since(seq, &mut tags), "the log has forgotten");
        let seq = changes.seq();
        changes.add_everything();
        assert!(!changes.since(seq, &mut tags));
        tags.clear();
        assert!(changes.since(changes.seq(), &mut tags) && tags.is_empty());
    }

    #[test]
    fn stop_outlasts_a_wait() {
        let changes = Changes::default();
        changes.stop();
        assert_eq!(changes.wait(Duration::from_secs(60)).0, Wake::Stop);
        assert_eq!(changes.wait(Duration::from_secs(60)).0, Wake::Stop);
    }
}
