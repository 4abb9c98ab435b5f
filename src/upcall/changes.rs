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
//! Revalidator threads ask here for [`Work`] and tell when they are done with it
//! (`handout.rs` keeps the accounts): what changed goes to whoever asks first, rounds are
//! begun when they are due.
//!
//! Whoever steers the revalidator by hand does it here too: a round or a purge is asked for and gives a
//! [`Ticket`]; [`Changes::pause`] keeps it from looking at anything until [`Changes::resume`].
//! Waiting for a ticket blocks: on a thread of its own, or by looking now and then.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::handout::Handout;
use crate::clock;
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
    /// When the next round begins; at once before the first.
    due: Option<Instant>,
    stop: bool,
    /// Somebody holds the revalidator up.
    paused: bool,
    handout: Handout,
    /// Threads wanted for a share of something large.
    help: usize,
    /// How many threads are to work, and which do: those with lower numbers.
    threads: usize,
    alive: Vec<bool>,
}

impl Inner {
    /// Whether there are changes that somebody may take now.
    fn has_work(&self) -> bool {
        if self.paused { self.changed.flush } else { !self.changed.is_empty() }
    }

    /// Takes what changed; while paused a purge only.
    fn take(&mut self) -> Batch {
        let changed = if self.paused {
            self.changed.flush = false;
            Changed { flush: true, ..Changed::default() }
        } else {
            std::mem::take(&mut self.changed)
        };
        Batch { number: self.handout.take_batch(changed.flush), changed }
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
            Self::Round(n) => inner.handout.is_round_done(n),
            Self::Purge(n) => inner.handout.is_purge_done(n),
        }
    }
}

/// Changes that one thread has taken, to be given back with [`Changes::batch_done`].
#[derive(Debug)]
pub struct Batch {
    /// What changed.
    pub changed: Changed,
    /// Stands for it.
    pub number: u64,
}

/// What a revalidator thread is to do.
#[derive(Debug)]
pub enum Work {
    /// Look at the flows that these touch.
    Changes(Batch),
    /// Make a round, and tell [`Changes::round_done`].
    Round,
    /// Take a share of what another thread is at.
    Help,
    /// End.
    Stop,
}

/// See the module's page.
#[derive(Default)]
pub struct Changes {
    inner: Mutex<Inner>,
    wake: Condvar,
    /// Notified when somebody is done with something.
    progress: Condvar,
    seq: AtomicU64,
    /// Whether there are changes that nobody has taken, for those who look often.
    is_pending: AtomicBool,
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
        self.note_pending(inner, was_empty);
    }

    /// Tells a thread that has nothing to do that there are changes, if there were none before.
    fn note_pending(&self, inner: &Inner, was_empty: bool) {
        if was_empty && !inner.changed.is_empty() {
            self.is_pending.store(true, Ordering::Relaxed);
            self.wake.notify_one();
        }
    }

    /// Asks for every flow to be translated again.
    pub fn add_everything(&self) {
        let mut inner = self.lock();
        let was_empty = inner.changed.is_empty();
        let seq = self.seq() + 1;
        inner.log.clear();
        inner.everything_seq = seq;
        inner.changed.everything = true;
        inner.changed.tags.clear();
        self.seq.store(seq, Ordering::Release);
        REV_RECONFIGURE.add(1);
        self.note_pending(&inner, was_empty);
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
        self.note_pending(&inner, was_empty);
    }

    /// Asks for every flow to be deleted; packets that still come are decided anew.
    pub fn flush(&self) {
        self.flush_locked(&mut self.lock());
    }

    fn flush_locked(&self, inner: &mut Inner) {
        inner.changed.flush = true;
        // Even if there were other changes: while paused nobody was told of those.
        self.note_pending(inner, true);
    }

    /// Asks for a round without waiting for the time.
    pub fn kick(&self) {
        self.lock().kicked = true;
        self.wake.notify_one();
    }

    /// Asks for a round that begins from now on: `revalidator/wait` waits until it is done and what
    /// it brought to light has been acted on. A pause puts it off.
    pub fn request_round(&self) -> Ticket {
        let mut inner = self.lock();
        inner.kicked = true;
        self.wake.notify_one();
        Ticket::Round(inner.handout.ask_round())
    }

    /// Asks for every flow to be deleted, as [`Self::flush`], for `revalidator/purge`. Done even
    /// while the revalidator is paused.
    pub fn request_purge(&self) -> Ticket {
        let mut inner = self.lock();
        self.flush_locked(&mut inner);
        Ticket::Purge(inner.handout.ask_purge())
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
        self.await_progress(timeout, |inner| inner.paused && inner.handout.is_idle())
    }

    /// Ends a pause, for `revalidator/resume`.
    pub fn resume(&self) {
        let mut inner = self.lock();
        inner.paused = false;
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

    /// Has so many threads work; returns those that are to be started. The others end when they are
    /// done with what they are at.
    pub fn set_threads(&self, threads: usize) -> Vec<usize> {
        let mut inner = self.lock();
        inner.threads = threads;
        let all = inner.alive.len().max(threads);
        inner.alive.resize(all, false);
        let missing = (0..threads).filter(|id| !inner.alive[*id]).collect();
        inner.alive[..threads].fill(true);
        self.wake.notify_all();
        missing
    }

    /// These could not be started: there are only those with lower numbers.
    pub fn not_started(&self, threads: &[usize]) {
        let mut inner = self.lock();
        for id in threads {
            inner.alive[*id] = false;
            inner.threads = inner.threads.min(*id);
        }
    }

    /// How many threads are to work.
    pub fn threads(&self) -> usize {
        self.lock().threads
    }

    /// Waits for something to do for thread `id`: one after the other ends when it is told to.
    pub fn next(&self, id: usize) -> Work {
        let mut inner = self.lock();
        loop {
            if inner.stop || id >= inner.threads {
                if let Some(alive) = inner.alive.get_mut(id) {
                    *alive = false;
                }
                return Work::Stop;
            }
            if inner.has_work() {
                self.is_pending.store(false, Ordering::Relaxed);
                return Work::Changes(inner.take());
            }
            if inner.help > 0 {
                inner.help -= 1;
                return Work::Help;
            }
            if inner.paused || inner.handout.is_round_running() {
                inner = self.wake.wait(inner).unwrap_or_else(|e| e.into_inner());
                continue;
            }
            let left = inner
                .due
                .map_or(Duration::ZERO, |due| due.saturating_duration_since(Instant::now()));
            if inner.kicked || left.is_zero() {
                inner.kicked = false;
                inner.handout.begin_round(clock::asked());
                return Work::Round;
            }
            inner = match self.wake.wait_timeout(inner, left) {
                Ok((inner, _)) => inner,
                Err(e) => e.into_inner().0,
            };
        }
    }

    /// Whether [`Self::take`] would probably give something.
    #[inline]
    pub fn is_pending(&self) -> bool {
        self.is_pending.load(Ordering::Relaxed)
    }

    /// Takes what changed, without waiting; `None` if nothing did, or somebody else has it.
    pub fn take(&self) -> Option<Batch> {
        let mut inner = self.lock();
        self.is_pending.store(false, Ordering::Relaxed);
        inner.has_work().then(|| inner.take())
    }

    /// A batch has been dealt with. Returns what the clock called for that is done: see
    /// [`clock::asked`].
    pub fn batch_done(&self, number: u64) -> u64 {
        let mut inner = self.lock();
        inner.handout.end_batch(number);
        self.progress.notify_all();
        inner.handout.clock_done()
    }

    /// The round has been made; the next one begins after `pause`. Returns as [`Self::batch_done`].
    pub fn round_done(&self, pause: Duration) -> u64 {
        let mut inner = self.lock();
        inner.due = Some(Instant::now() + pause);
        let has_changes = !inner.changed.is_empty();
        inner.handout.end_round(has_changes);
        self.progress.notify_all();
        // Somebody has to keep the time, whatever becomes of this thread.
        self.wake.notify_one();
        inner.handout.clock_done()
    }

    /// Asks threads that have nothing to do to take part in something, as many as there are.
    pub fn call_helpers(&self) {
        let mut inner = self.lock();
        inner.help = inner.threads.saturating_sub(1);
        for _ in 0..inner.help {
            self.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::BridgeId;

    const LONG: Duration = Duration::from_secs(60);

    fn dep(n: u32) -> Dep {
        Dep::Bridge(BridgeId(n))
    }

    /// With one thread, and a round just made.
    fn quiet() -> Changes {
        let changes = Changes::default();
        assert_eq!(changes.set_threads(1), [0]);
        assert!(matches!(changes.next(0), Work::Round));
        changes.round_done(LONG);
        changes
    }

    #[test]
    fn what_changed_is_taken_once() {
        let changes = quiet();
        changes.add([dep(3)]);
        assert!(changes.is_pending());
        let Work::Changes(batch) = changes.next(0) else { panic!("a change was noted") };
        assert!(batch.changed.touches([1, dep(3).tag()]));
        assert!(!batch.changed.touches([dep(4).tag()]));
        assert!(!changes.is_pending() && changes.take().is_none());
    }

    #[test]
    fn too_many_changes_become_everything() {
        let changes = Changes::default();
        changes.add((0..=CHANGES_MAX as u32).map(dep));
        let changed = changes.take().unwrap().changed;
        assert!(changed.everything && changed.tags.is_empty());
        assert!(changed.touches([]));
    }

    #[test]
    fn the_log_tells_what_changed_under_a_handler() {
        let changes = Changes::default();
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
    fn changes_go_before_a_round_and_to_whoever_is_free_during_one() {
        let changes = quiet();
        assert_eq!(changes.set_threads(2), [1]);
        let ticket = changes.request_round();
        changes.add([dep(1)]);
        let Work::Changes(first) = changes.next(0) else { panic!("changes go first") };
        assert!(matches!(changes.next(1), Work::Round));
        changes.batch_done(first.number);
        // The round learns an address; the other thread has it looked at before the round ends.
        changes.add([dep(2)]);
        let Work::Changes(second) = changes.next(0) else { panic!("thread 0 is free") };
        changes.round_done(LONG);
        assert!(!changes.is_done(ticket), "what the round brought to light is in hand");
        changes.batch_done(second.number);
        assert!(changes.await_done(ticket, Duration::ZERO));
    }

    #[test]
    fn one_round_at_a_time_and_none_before_it_is_due() {
        let changes = quiet();
        changes.set_threads(2);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| changes.next(1));
            changes.kick();
            assert!(matches!(waits.join().unwrap(), Work::Round));
            changes.kick();
            let other = scope.spawn(|| changes.next(0));
            changes.add([dep(1)]);
            let Work::Changes(batch) = other.join().unwrap() else { panic!("a second round") };
            changes.batch_done(batch.number);
        });
    }

    #[test]
    fn threads_come_and_go() {
        let changes = quiet();
        assert_eq!(changes.set_threads(3), [1, 2]);
        std::thread::scope(|scope| {
            let surplus = scope.spawn(|| changes.next(2));
            let stays = scope.spawn(|| changes.next(1));
            assert_eq!(changes.set_threads(2), [] as [usize; 0]);
            assert!(matches!(surplus.join().unwrap(), Work::Stop));
            // Number 2 has ended, and is started again.
            assert_eq!(changes.set_threads(3), [2]);
            changes.add([dep(1)]);
            assert!(matches!(stays.join().unwrap(), Work::Changes(_)));
        });
    }

    #[test]
    fn a_paused_revalidator_purges_and_does_nothing_else() {
        let changes = quiet();
        changes.pause();
        assert!(changes.await_paused(LONG));
        std::thread::scope(|scope| {
            let revalidator = scope.spawn(|| {
                let Work::Changes(purge) = changes.next(0) else { panic!("a purge was asked for") };
                assert!(purge.changed.flush && !purge.changed.everything, "{purge:?}");
                changes.batch_done(purge.number);
                changes.next(0)
            });
            changes.add_everything();
            let round = changes.request_round();
            let purge = changes.request_purge();
            assert!(changes.await_done(purge, LONG));
            assert!(!changes.is_done(round));
            changes.resume();
            let Work::Changes(batch) = revalidator.join().unwrap() else { panic!("it went on") };
            assert!(batch.changed.everything && !batch.changed.flush, "{batch:?}");
        });
    }

    #[test]
    fn a_pause_begins_when_nobody_has_anything_in_hand() {
        let changes = quiet();
        changes.add([dep(1)]);
        let batch = changes.take().unwrap();
        changes.pause();
        assert!(!changes.await_paused(Duration::ZERO));
        changes.batch_done(batch.number);
        assert!(changes.await_paused(Duration::ZERO));
    }

    #[test]
    fn stop_outlasts_a_wait() {
        let changes = quiet();
        changes.stop();
        assert!(matches!(changes.next(0), Work::Stop));
        assert!(matches!(changes.next(0), Work::Stop));
    }
}
