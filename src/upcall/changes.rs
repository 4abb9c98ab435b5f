//! What changed since the revalidator last looked: a set of dependency tags.
//!
//! Handlers and the control thread add, the revalidator waits and takes. The set is bounded: past
//! [`CHANGES_MAX`] it says "everything" instead, which costs a full revalidation and is always
//! right.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::limits::CHANGES_MAX;
use crate::snapshot::Dep;

/// A batch of changes.
#[derive(Default, Debug)]
pub struct Changed {
    /// Tags of what changed.
    pub tags: HashSet<u64, foldhash::fast::RandomState>,
    /// Whether everything is to be looked at.
    pub everything: bool,
}

impl Changed {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty() && !self.everything
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
}

impl Changes {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Notes that `deps` changed.
    pub fn add(&self, deps: impl IntoIterator<Item = Dep>) {
        let mut inner = self.lock();
        let changed = &mut inner.changed;
        let was_empty = changed.is_empty();
        if !changed.everything {
            changed.tags.extend(deps.into_iter().map(Dep::tag));
            if changed.tags.len() > CHANGES_MAX {
                changed.tags.clear();
                changed.everything = true;
            }
        }
        if was_empty && !changed.is_empty() {
            self.wake.notify_all();
        }
    }

    /// Asks for every flow to be translated again.
    pub fn add_everything(&self) {
        let mut inner = self.lock();
        inner.changed.everything = true;
        inner.changed.tags.clear();
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
    fn stop_outlasts_a_wait() {
        let changes = Changes::default();
        changes.stop();
        assert_eq!(changes.wait(Duration::from_secs(60)).0, Wake::Stop);
        assert_eq!(changes.wait(Duration::from_secs(60)).0, Wake::Stop);
    }
}
