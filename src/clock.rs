//! The clock that the daemon acts by: `CLOCK_MONOTONIC`, or under test a clock that stands and is moved by hand.
//!
//! What always holds: it never goes back; while nobody touched it, reading it costs one relaxed load
//! more than the system call; who waits for it is woken when it is moved; [`settled`] returns
//! after every [`Follower`] has done what the new time calls for. Wall time (log lines, the
//! database's timestamps) is not moved.
//!
//! Any thread reads. `time/stop` and `time/warp` move it, which exist with `--enable-dummy` only.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

static CLOCK: Clock = Clock::new();

/// Longest time that [`settled`] waits for one who does not come back.
const SETTLE: Duration = Duration::from_secs(5);

/// Milliseconds of `CLOCK_MONOTONIC`, the clock that the kernel stamps flows with; or of the virtual
/// clock, once it was stopped or warped.
pub fn now_ms() -> u64 {
    CLOCK.now_ms()
}

/// Stops the clock: from now on only [`warp`] moves it.
pub fn stop() {
    CLOCK.stop();
}

/// Moves the clock on by `ms` milliseconds and wakes all who act by it.
pub fn warp(ms: u64) {
    CLOCK.warp(ms);
}

/// Whether the clock was stopped or warped.
pub fn is_virtual() -> bool {
    CLOCK.is_virtual.load(Ordering::Relaxed)
}

/// Number of the last request to look at the clock: see [`Follower`].
pub fn asked() -> u64 {
    CLOCK.seq.load(Ordering::Acquire)
}

/// Waits until all who follow the clock have done what its last [`warp`] called for; not for ever if
/// one of them hangs.
pub async fn settled() {
    // What one of them does may give another one work (an address that dies of age has its flows
    // looked at), so that all are asked twice.
    for _ in 0..2 {
        let seq = CLOCK.ask();
        let _ = tokio::time::timeout(SETTLE, CLOCK.done(seq)).await;
    }
}

/// Waits until the clock shows `when_ms`.
pub async fn sleep_until(when_ms: u64) {
    loop {
        let mut moved = std::pin::pin!(CLOCK.moved.notified());
        moved.as_mut().enable();
        let left = when_ms.saturating_sub(now_ms());
        if left == 0 {
            return;
        }
        if CLOCK.is_stopped() {
            moved.await;
        } else {
            let _ = tokio::time::timeout(Duration::from_millis(left), moved).await;
        }
    }
}

/// Waits until the clock has moved on by `time`.
pub async fn sleep(time: Duration) {
    sleep_until(now_ms().saturating_add(time.as_millis() as u64)).await;
}

/// One who acts by the clock: told when it was moved, waited for by [`settled`]. Dropping it ends
/// both.
pub struct Follower {
    slot: Arc<Slot>,
    /// The request that is being served.
    serving: u64,
}

struct Slot {
    /// Number of the last request that was served.
    done: AtomicU64,
    asked: Notify,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Default for Follower {
    fn default() -> Self {
        Self::new()
    }
}

impl Follower {
    /// A task: it awaits [`Self::warped`] in its loop.
    pub fn new() -> Self {
        Self::with_wake(|| ())
    }

    /// A thread, which `wake` makes look; it calls [`asked`] and [`Self::served`].
    pub fn with_wake(wake: impl Fn() + Send + Sync + 'static) -> Self {
        CLOCK.follow(Box::new(wake))
    }

    /// Waits until the clock has been moved since the last time. The caller does then what its
    /// timers do, and calls it again: that says that it is done. Nothing is lost by dropping the
    /// future.
    pub async fn warped(&mut self) {
        self.served(self.serving);
        loop {
            let asked = self.slot.asked.notified();
            let seq = CLOCK.seq.load(Ordering::Acquire);
            if seq != self.serving {
                self.serving = seq;
                return;
            }
            asked.await;
        }
    }

    /// All is done that request number `seq` called for.
    pub fn served(&self, seq: u64) {
        // Threads that share a follower may come here in another order than they were done in.
        if self.slot.done.fetch_max(seq, Ordering::Release) < seq {
            CLOCK.served.notify_waiters();
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.served(u64::MAX);
    }
}

struct Clock {
    is_virtual: AtomicBool,
    state: Mutex<State>,
    /// Requests to look at the clock.
    seq: AtomicU64,
    followers: Mutex<Vec<Weak<Slot>>>,
    moved: Notify,
    served: Notify,
}

#[derive(Clone, Copy)]
struct State {
    /// The time at which it stands, warps not counted.
    stopped_ms: Option<u64>,
    warped_ms: u64,
}

impl Clock {
    const fn new() -> Self {
        Self {
            is_virtual: AtomicBool::new(false),
            state: Mutex::new(State { stopped_ms: None, warped_ms: 0 }),
            seq: AtomicU64::new(0),
            followers: Mutex::new(Vec::new()),
            moved: Notify::const_new(),
            served: Notify::const_new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        if !self.is_virtual.load(Ordering::Relaxed) {
            return monotonic_ms();
        }
        let State { stopped_ms, warped_ms } = *self.state();
        stopped_ms.unwrap_or_else(monotonic_ms).saturating_add(warped_ms)
    }

    fn stop(&self) {
        let mut state = self.state();
        state.stopped_ms = Some(monotonic_ms());
        self.is_virtual.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.is_virtual.load(Ordering::Relaxed) && self.state().stopped_ms.is_some()
    }

    fn warp(&self, ms: u64) {
        let mut state = self.state();
        state.warped_ms = state.warped_ms.saturating_add(ms);
        self.is_virtual.store(true, Ordering::Relaxed);
        drop(state);
        self.moved.notify_waiters();
        self.ask();
    }

    fn follow(&self, wake: Box<dyn Fn() + Send + Sync>) -> Follower {
        let serving = self.seq.load(Ordering::Acquire);
        let slot = Arc::new(Slot { done: AtomicU64::new(serving), asked: Notify::new(), wake });
        let mut followers = self.followers();
        followers.retain(|slot| slot.strong_count() > 0);
        followers.push(Arc::downgrade(&slot));
        Follower { slot, serving }
    }

    fn followers(&self) -> MutexGuard<'_, Vec<Weak<Slot>>> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slots(&self) -> Vec<Arc<Slot>> {
        self.followers().iter().filter_map(Weak::upgrade).collect()
    }

    /// Has all followers look at the clock; returns the request's number.
    fn ask(&self) -> u64 {
        let seq = self.seq.fetch_add(1, Ordering::AcqRel) + 1;
        for slot in self.slots() {
            (slot.wake)();
            slot.asked.notify_one();
        }
        seq
    }

    async fn done(&self, seq: u64) {
        loop {
            let mut served = std::pin::pin!(self.served.notified());
            served.as_mut().enable();
            if self.slots().iter().all(|slot| slot.done.load(Ordering::Acquire) >= seq) {
                return;
            }
            served.await;
        }
    }
}

fn monotonic_ms() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
    // CLOCK_MONOTONIC always exists on Linux.
    now.map_or(0, |now| now.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_and_is_moved_by_hand() {
        let clock = Clock::new();
        let before = clock.now_ms();
        assert!(before <= clock.now_ms());
        clock.stop();
        let stopped = clock.now_ms();
        assert!(stopped >= before && clock.is_stopped());
        clock.warp(5_000);
        assert_eq!(clock.now_ms(), stopped + 5_000);
        clock.warp(1);
        assert_eq!(clock.now_ms(), stopped + 5_001);
        // As with the peer, stopping it again shows the time that passed meanwhile.
        clock.stop();
        assert!(clock.now_ms() >= stopped + 5_001);
    }

    #[test]
    fn a_warped_clock_goes_on() {
        let clock = Clock::new();
        let before = clock.now_ms();
        clock.warp(100_000);
        assert!(clock.now_ms() >= before + 100_000 && !clock.is_stopped());
        clock.warp(u64::MAX);
        assert_eq!(clock.now_ms(), u64::MAX);
    }

    /// The followers of the process's clock; the clock itself is left alone, for other tests read it.
    #[tokio::test(flavor = "current_thread")]
    async fn it_is_settled_when_all_who_follow_are_done() {
        let work = Arc::new(AtomicU64::new(0));
        let local = tokio::task::LocalSet::new();
        let done = work.clone();
        local.spawn_local(async move {
            let mut follower = Follower::new();
            loop {
                follower.warped().await;
                // A task that takes its time.
                for _ in 0..5 {
                    tokio::task::yield_now().await;
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        let (bell, heard) = std::sync::mpsc::channel();
        let thread_work = Arc::new(AtomicU64::new(0));
        let done = thread_work.clone();
        let follower = Follower::with_wake(move || {
            let _ = bell.send(());
        });
        let thread = std::thread::spawn(move || {
            while heard.recv().is_ok() && done.load(Ordering::Relaxed) < 2 {
                let seq = asked();
                done.fetch_add(1, Ordering::Relaxed);
                follower.served(seq);
            }
        });
        local
            .run_until(async {
                tokio::task::yield_now().await;
                settled().await;
            })
            .await;
        assert!(work.load(Ordering::Relaxed) >= 2);
        assert!(thread_work.load(Ordering::Relaxed) >= 2);
        local.run_until(settled()).await;
        thread.join().expect("the thread ends");
    }
}
