//! Revalidation: installed flows are kept true to what they rest on, and gone when unused.
//!
//! There are two occupations. When something changes, the flows that rest on it are translated once
//! more, and only those (`walk.rs`). And there are rounds (`round.rs`): a terse dump brings the counters,
//! which feed rules and the forwarding database; flows idle too long go; flows that the kernel does
//! not have any more are forgotten; flows that we do not know are adopted or deleted ([`adopt`]). What
//! is decided about a flow is decided in [`decide`], and done in `ops.rs`.
//!
//! The threads of a [`Crew`](crew::Crew) are all alike. Each takes what there is to do; whoever is at
//! something large offers the rest of it to the others, piece by piece, and whoever leaves it last
//! finishes it, so that nobody waits for anybody. A change does not wait for the end of a round or of
//! another change: a thread that has nothing to do takes it at once, and one that is busy looks between
//! two pieces.
//!
//! What always holds: only operational ukeys are touched (one whose put is on its way belongs to
//! its handler), and a thread whose operation on one is on its way has taken it in hand, so that nobody
//! else touches it; a ukey outlives its flow; no ukey shard is locked across a system call. Whoever
//! translates a flow does it by a snapshot that was loaded under its shard's lock, so that an older
//! decision never follows a younger one.

pub mod adopt;
pub mod crew;
pub mod decide;
mod ops;
pub mod pace;
mod round;
mod walk;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::decide::Scratch;
use self::pace::Pace;
use self::round::Round;
use self::walk::Walk;
use crate::clock::Follower;
use crate::datapath::{Datapath, DpError, DumpPiece};
use crate::odp::ufid::Ufid;
use crate::upcall::changes::Work;
use crate::upcall::ukey::DeleteReason;
use crate::upcall::{Udpif, now_ms};
use crate::vlog::{self, RateLimit};

static RL: RateLimit = RateLimit::new(1, 5);

/// How long the revalidator sleeps between looks at a gate that is shut; a release wakes it.
const HELD_PAUSE: Duration = Duration::from_secs(1);

/// A busy thread looks for changes after each piece, but walks through all ukeys for them only once
/// for so many parts of all flows that it has dealt with: walks take no more time than what they
/// interrupt. (Looking whether a flow rests on a change costs less than a sixteenth of reading its
/// counters.)
const WALKS_A_ROUND: usize = 16;

/// What the last round was like, for `upcall/show`; the control socket reads.
#[derive(Default, Debug)]
pub struct RoundStats {
    /// Rounds made.
    pub rounds: AtomicU64,
    /// Milliseconds that the last dump took.
    pub dump_ms: AtomicU64,
    /// Flows that it showed.
    pub flows: AtomicU64,
    /// Most flows that a dump has shown.
    pub max_flows: AtomicU64,
    /// Flows translated anew because of the last change.
    pub last_change_flows: AtomicU64,
}

/// What the threads share.
struct Shared {
    udpif: Arc<Udpif>,
    datapath: Arc<dyn Datapath>,
    stats: Arc<RoundStats>,
    /// Flows that the kernel would not delete, to be tried again. Their ukeys are in the hand of
    /// whoever takes this.
    undone: Mutex<Vec<(Ufid, DeleteReason)>>,
    /// What may be shared just now.
    shares: Mutex<Vec<Share>>,
    /// Held while flows of an earlier run are judged late.
    adopting: Mutex<()>,
    /// Most flows there were since memory was given back.
    crowd: AtomicUsize,
    clock: Option<Follower>,
}

/// Something large that threads may take a part of.
#[derive(Clone)]
enum Share {
    Walk(Arc<Walk>),
    Round(Arc<Round>),
}

impl Share {
    fn party(&self) -> &Party {
        match self {
            Self::Walk(walk) => &walk.party,
            Self::Round(round) => &round.party,
        }
    }
}

/// Who takes part in something. Nobody waits: the last to leave is told that he is.
struct Party(Mutex<PartyState>);

struct PartyState {
    is_open: bool,
    inside: usize,
}

impl Party {
    /// With the one who begins it.
    fn of_one() -> Self {
        Self(Mutex::new(PartyState { is_open: true, inside: 1 }))
    }

    fn lock(&self) -> MutexGuard<'_, PartyState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was something left to take part in.
    fn join(&self) -> bool {
        let mut state = self.lock();
        state.inside += usize::from(state.is_open);
        state.is_open
    }

    /// Leaves because nothing is left; whether all others have left before.
    fn leave(&self) -> bool {
        let mut state = self.lock();
        state.is_open = false;
        state.inside -= 1;
        state.inside == 0
    }
}

/// One thread's part. See the module's page.
pub struct Revalidator {
    shared: Arc<Shared>,
    scratch: Scratch,
    /// Memory for pieces of a dump.
    piece: DumpPiece,
    /// How many ukeys may be walked through before this thread goes on with what it is at.
    walks_left: usize,
    /// It is at a walk that came between: nothing comes between that.
    is_aside: bool,
    /// Time taken by what came between, since the round began.
    aside: Duration,
}

impl Revalidator {
    /// A revalidator of one thread that has not looked yet.
    pub fn new(udpif: Arc<Udpif>, datapath: Arc<dyn Datapath>, stats: Arc<RoundStats>) -> Self {
        Self::of(Arc::new(Shared::new(udpif, datapath, stats, None)))
    }

    fn of(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            scratch: Scratch::default(),
            piece: DumpPiece::new(),
            walks_left: 0,
            is_aside: false,
            aside: Duration::ZERO,
        }
    }

    /// Works as thread `id` until there is to be none of that number, or
    /// [`Changes::stop`](crate::upcall::changes::Changes::stop).
    fn run(mut self, id: usize) {
        let udpif = self.shared.udpif.clone();
        let changes = &udpif.changes;
        loop {
            let work = changes.next(id);
            if matches!(work, Work::Stop) {
                return;
            }
            let may_work = self.may_work();
            match work {
                Work::Changes(batch) if may_work => self.walk(batch, now_ms()),
                Work::Changes(batch) => self.shared.serve(changes.batch_done(batch.number)),
                Work::Round => {
                    let pause =
                        if may_work { self.begin_round(now_ms()) } else { Some(HELD_PAUSE) };
                    if let Some(pause) = pause {
                        self.shared.serve(changes.round_done(pause));
                    }
                }
                Work::Help => self.help(),
                Work::Stop => return,
            }
        }
    }

    /// Takes part in what others are at.
    fn help(&mut self) {
        let shares = self.shared.shares().clone();
        match shares.into_iter().find(|share| share.party().join()) {
            Some(Share::Walk(walk)) => self.take_part_in_walk(&walk),
            Some(Share::Round(round)) => self.take_part_in_round(&round),
            None => {}
        }
    }

    /// Between two pieces of something larger, `flows` flows after the last time: looks at what has
    /// changed meanwhile, at its place among other threads if that had a `pace`. True if there was
    /// something.
    fn attend(&mut self, flows: usize, now_ms: u64, pace: Option<&mut Pace<'_>>) -> bool {
        let udpif = self.shared.udpif.clone();
        let all = udpif.ukeys.len();
        self.walks_left = (self.walks_left + flows.saturating_mul(WALKS_A_ROUND)).min(all);
        if self.is_aside || self.walks_left < all || !udpif.changes.is_pending() {
            return false;
        }
        let Some(batch) = udpif.changes.take() else {
            return false;
        };
        if let Some(pace) = pace {
            pace.stand_back();
        }
        self.walks_left = 0;
        let begun = Instant::now();
        self.is_aside = true;
        self.walk(batch, now_ms);
        self.is_aside = false;
        self.aside += begun.elapsed();
        true
    }

    /// Looks at what has changed, if anything has, and then returns true.
    pub fn apply_changes(&mut self, now_ms: u64) -> bool {
        self.walks_left = usize::MAX;
        self.attend(0, now_ms, None)
    }

    /// Whether flows may be touched. When an operator has just let go, those in the kernel are judged
    /// first; then the handlers may read.
    fn may_work(&self) -> bool {
        let Shared { udpif, datapath, adopting, .. } = &*self.shared;
        if udpif.gate.is_held() {
            return false;
        }
        if udpif.gate.is_shut() {
            let _one = adopting.lock().unwrap_or_else(PoisonError::into_inner);
            if !udpif.gate.is_shut() {
                return true;
            }
            match adopt::adopt_all(udpif, &**datapath, now_ms()) {
                Ok(adopted) => tracing::info!(target: "ofproto_dpif_upcall",
                    "flow-restore-wait is over: of the flows in the kernel {} are kept, {} changed, \
                     {} deleted", adopted.kept, adopted.modified, adopted.deleted),
                // The next round finds them.
                Err(error) => self.shared.note_failure(&error),
            }
            udpif.gate.open();
        }
        true
    }
}

impl Shared {
    fn new(
        udpif: Arc<Udpif>,
        datapath: Arc<dyn Datapath>,
        stats: Arc<RoundStats>,
        clock: Option<Follower>,
    ) -> Self {
        Self {
            udpif,
            datapath,
            stats,
            undone: Mutex::default(),
            shares: Mutex::default(),
            adopting: Mutex::default(),
            crowd: AtomicUsize::new(0),
            clock,
        }
    }

    fn shares(&self) -> MutexGuard<'_, Vec<Share>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the other threads take part in something, as many as have nothing to do.
    fn offer(&self, share: Share) {
        self.shares().push(share);
        self.udpif.changes.call_helpers();
    }

    /// Takes back what has been offered and is at its end.
    fn withdraw(&self, party: &Party) {
        self.shares().retain(|share| !std::ptr::eq(share.party(), party));
    }

    /// What the clock called for is done.
    fn serve(&self, asked: u64) {
        if let Some(clock) = &self.clock {
            clock.served(asked);
        }
    }

    fn note_failure(&self, error: &DpError) {
        if error.is_gone() {
            self.udpif.health.datapath_gone.store(true, Ordering::Relaxed);
        } else {
            vlog::limited!(WARN, target: "ofproto_dpif_upcall", &RL,
                "revalidation: {error}; {}", error.remedy());
        }
    }
}

#[cfg(test)]
mod tests;
