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
//!
//! Whoever steers the revalidator by hand does it here too: a round or a purge is asked for and gives a
//! [`Ticket`]; [`Changes::pause`] keeps it from looking at anything until [`Changes::resume`].
//! Waiting for a ticket blocks: on a thread of its own, or by looking now and then.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::coverage::counter;
use crate::limits::{CHANGES_LOG, CHANGES_MAX};
use crate::odp::ufid::Ufid;
use crate::snapshot::Dep;

counter!(static REV_RECONFIGURE = "rev_reconfigure");
counter!(static REV_FLOW_TABLE = "rev_flow_table");
counter!(static REV_MAC_LEARNING = "rev_mac_learning");

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
    /// Somebody holds the revalidator up; and it has taken notice.
    paused: bool,
    is_paused: bool,
    rounds: Requests,
    purges: Requests,
    /// The piece of work that ended gave rise to another, which is in hand.
    is_aftermath: bool,
}

/// Requests of one kind, numbered: the last one, the last that the revalidator has in hand, and the
/// last that it is done with.
#[derive(Default)]
struct Requests {
    asked: u64,
    taken: u64,
    done: u64,
}

impl Requests {
    fn ask(&mut self) -> u64 {
        self.asked += 1;
        self.asked
    }
}

/// A request to the revalidator, to be waited for with [`Changes::await_done`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ticket {
    /// A round.
    Round(u64),
    /// A purge.
    Purge(u64),
}

impl Ticket {
    fn is_done(self, inner: &Inner) -> bool {
        match self {
            Self::Round(n) => inner.rounds.done >= n,
            Self::Purge(n) => inner.purges.done >= n,
        }
    }
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
    /// Notified when a request is done or the revalidator has paused.
    progress: Condvar,
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
        let mut causes = [false; 3];
        for dep in deps {
            let tag = dep.tag();
            seq += 1;
            match dep {
                Dep::Fdb(..) => causes[0] = true,
                Dep::Rule(..) | Dep::Table(..) => causes[1] = true,
                _ => causes[2] = true,
            }
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
        let counters = [&REV_MAC_LEARNING, &REV_FLOW_TABLE, &REV_RECONFIGURE];
        for (counter, _) in counters.iter().zip(causes).filter(|(_, is_cause)| *is_cause) {
            counter.add(1);
        }
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
        REV_RECONFIGURE.add(1);
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

    /// Asks for a round that begins from now on: `revalidator/wait` waits until it is done and what
    /// it brought to light has been acted on. A pause puts it off.
    pub fn request_round(&self) -> Ticket {
        let mut inner = self.lock();
        inner.kicked = true;
        self.wake.notify_all();
        Ticket::Round(inner.rounds.ask())
    }

    /// Asks for every flow to be deleted, as [`Self::flush`], for `revalidator/purge`. Done even
    /// while the revalidator is paused.
    pub fn request_purge(&self) -> Ticket {
        let mut inner = self.lock();
        inner.changed.flush = true;
        self.wake.notify_all();
        Ticket::Purge(inner.purges.ask())
    }

    /// Whether what was asked for has been done.
    pub fn is_done(&self, ticket: Ticket) -> bool {
        ticket.is_done(&self.lock())
    }

    /// Waits until what was asked for has been done; false if `timeout` passed or the daemon stops.
    pub fn await_done(&self, ticket: Ticket, timeout: Duration) -> bool {
        self.await_progress(timeout, |inner| ticket.is_done(inner))
    }

    /// Keeps the revalidator from looking at flows, for `revalidator/pause`, once it has finished
    /// what it is at: [`Self::await_paused`].
    pub fn pause(&self) {
        self.lock().paused = true;
        self.wake.notify_all();
    }

    /// Waits until a pause has begun; false if `timeout` passed or the daemon stops.
    pub fn await_paused(&self, timeout: Duration) -> bool {
        self.await_progress(timeout, |inner| inner.is_paused)
    }

    /// Ends a pause, for `revalidator/resume`.
    pub fn resume(&self) {
        let mut inner = self.lock();
        inner.paused = false;
        inner.is_paused = false;
        self.wake.notify_all();
    }

    /// Ends every wait, now and later.
    pub fn stop(&self) {
        self.lock().stop = true;
        self.wake.notify_all();
        self.progress.notify_all();
    }

    fn await_progress(&self, timeout: Duration, is_there: impl Fn(&Inner) -> bool) -> bool {
        let wait = |inner: &mut Inner| !is_there(inner) && !inner.stop;
        let inner = self.lock();
        let waited = self.progress.wait_timeout_while(inner, timeout, wait);
        let (inner, _) = waited.unwrap_or_else(|e| e.into_inner());
        is_there(&inner)
    }

    /// Waits until something changed, someone kicked, or `timeout` passed; takes what changed. That
    /// the revalidator waits says that it is done with what it took before.
    pub fn wait(&self, timeout: Duration) -> (Wake, Changed) {
        let end = Instant::now() + timeout;
        let mut inner = self.lock();
        self.note_done(&mut inner);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let wake = if inner.stop {
                Wake::Stop
            } else if inner.paused {
                if inner.changed.flush {
                    inner.changed.flush = false;
                    inner.purges.taken = inner.purges.asked;
                    return (Wake::Changed, Changed { flush: true, ..Changed::default() });
                }
                inner.is_paused = true;
                self.progress.notify_all();
                inner = self.wake.wait(inner).unwrap_or_else(|e| e.into_inner());
                continue;
            } else if inner.kicked {
                Wake::Kicked
            } else if !inner.changed.is_empty() {
                Wake::Changed
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
            inner.purges.taken = inner.purges.asked;
            inner.rounds.taken = inner.rounds.asked;
            return (wake, std::mem::take(&mut inner.changed));
        }
    }

    /// A purge in hand is done. Rounds in hand are when nothing came of them that is still to be looked
    /// at, or that has been looked at once: something may change all the time.
    fn note_done(&self, inner: &mut Inner) {
        inner.purges.done = inner.purges.taken;
        if inner.changed.is_empty() || inner.is_aftermath {
            inner.rounds.done = inner.rounds.taken;
            inner.is_aftermath = false;
        } else {
            inner.is_aftermath = inner.rounds.taken != inner.rounds.done;
        }
        self.progress.notify_all();
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
    fn a_round_is_done_when_its_aftermath_is() {
        let changes = Changes::default();
        let zero = Duration::ZERO;
        let ticket = changes.request_round();
        assert!(!changes.is_done(ticket));
        assert_eq!(changes.wait(zero).0, Wake::Kicked);
        // The round learned an address.
        changes.add([Dep::Bridge(BridgeId(1))]);
        assert_eq!(changes.wait(zero).0, Wake::Changed);
        assert!(!changes.is_done(ticket));
        // Another change comes, which nobody waits for.
        changes.add([Dep::Bridge(BridgeId(2))]);
        assert_eq!(changes.wait(zero).0, Wake::Changed);
        assert!(changes.await_done(ticket, zero));
    }

    #[test]
    fn a_kick_and_a_change_are_taken_together() {
        let changes = Changes::default();
        changes.add([Dep::Bridge(BridgeId(1))]);
        changes.kick();
        let (wake, changed) = changes.wait(Duration::ZERO);
        assert_eq!((wake, changed.is_empty()), (Wake::Kicked, false));
        assert_eq!(changes.wait(Duration::ZERO).0, Wake::Timeout);
    }

    #[test]
    fn a_paused_revalidator_purges_and_does_nothing_else() {
        let changes = Changes::default();
        changes.pause();
        std::thread::scope(|scope| {
            let revalidator = scope.spawn(|| {
                let first = changes.wait(Duration::ZERO);
                assert_eq!(first.0, Wake::Changed);
                assert!(first.1.flush && !first.1.everything, "{first:?}");
                changes.wait(Duration::from_secs(60))
            });
            assert!(changes.await_paused(Duration::from_secs(60)));
            changes.add_everything();
            let round = changes.request_round();
            let purge = changes.request_purge();
            assert!(changes.await_done(purge, Duration::from_secs(60)));
            assert!(!changes.is_done(round));
            changes.resume();
            let (wake, changed) = revalidator.join().unwrap();
            assert!(wake == Wake::Kicked && changed.everything && !changed.flush, "{changed:?}");
        });
    }

    #[test]
    fn stop_outlasts_a_wait() {
        let changes = Changes::default();
        changes.stop();
        assert_eq!(changes.wait(Duration::from_secs(60)).0, Wake::Stop);
        assert_eq!(changes.wait(Duration::from_secs(60)).0, Wake::Stop);
    }
}
