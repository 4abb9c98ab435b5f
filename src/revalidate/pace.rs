//! Letting packets go first: a revalidator works in small pieces while handlers have a backlog.
//!
//! On a CPU that both share, a dump of ten thousands of flows would hold every first packet up for as
//! long as the scheduler lets it. While some handler is behind, the revalidator sleeps for a moment
//! after each piece; a thread that sleeps is never long in anyone's way. Where a handler has itself run
//! before all other threads, a revalidator does so too: put aside in the midst of a piece it would keep
//! a lock, its own of a shard or the kernel's of the datapath, and the handler would wait for that behind
//! whoever has the CPU. What always holds: the sleeps of one round are bounded, so that flows are
//! revalidated however long a storm lasts; a revalidator runs before others only as long as it sleeps
//! between its pieces.
//!
//! Each revalidator thread has its own.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ovs_netlink::sched::Class;

use crate::limits::FLOW_OPS_BATCH;
use crate::upcall::Udpif;

/// Flows looked at in one piece: some hundredths of a millisecond, as many as a datagram of a dump has.
const PIECE: usize = 32;

/// Flows changed by one system call while a handler is behind: nobody else has the CPU before it ends.
const CHANGES: usize = 8;

/// How long to let others work, some times longer than a piece takes: after flows were looked at, and
/// after some were changed, which must keep up with a storm. With the scheduler's slack this is hardly
/// more than it says.
const MOMENT: Duration = Duration::from_micros(300);
const CHANGED_MOMENT: Duration = Duration::from_micros(150);

/// Longest time that the sleeps of one round may add up to.
const LONGEST: Duration = Duration::from_secs(2);

/// See the module's page. One for each round, and for each set of changes.
pub struct Pace<'a> {
    udpif: &'a Udpif,
    steps: usize,
    slept: Duration,
    /// This thread's scheduling class, once it was asked for.
    class: Option<Class>,
}

impl<'a> Pace<'a> {
    /// At the beginning of a round.
    pub fn new(udpif: &'a Udpif) -> Self {
        let mut pace = Self { udpif, steps: 0, slept: Duration::ZERO, class: None };
        pace.go_along();
        pace
    }

    /// So much has been done as it takes to look at this many flows.
    #[inline]
    pub fn steps(&mut self, flows: usize) {
        self.steps += flows;
        if self.steps >= PIECE {
            self.steps = 0;
            self.rest();
        }
    }

    /// How many flows to change between two rests.
    pub fn changes(&self) -> usize {
        if self.is_behind() { CHANGES } else { FLOW_OPS_BATCH }
    }

    fn is_behind(&self) -> bool {
        self.udpif.behind.load(Ordering::Relaxed) > 0
    }

    /// Sleeps for a moment if a handler is behind, and for another while one awaits an answer.
    pub fn rest(&mut self) {
        self.rest_for(MOMENT);
    }

    /// The same after flows were changed.
    pub fn rest_from_changes(&mut self) {
        self.rest_for(CHANGED_MOMENT);
    }

    fn rest_for(&mut self, moment: Duration) {
        let mut goes_on = self.is_behind();
        while goes_on && self.slept < LONGEST {
            let begun = Instant::now();
            std::thread::sleep(moment);
            self.slept += begun.elapsed();
            goes_on = self.udpif.awaiting.load(Ordering::Relaxed) > 0;
        }
        self.go_along();
    }

    /// Has this thread run before others if a handler does.
    fn go_along(&mut self) {
        let is_raised = self.udpif.raised.load(Ordering::Relaxed) > 0
            && self.is_behind()
            && self.slept < LONGEST;
        if is_raised && self.class.is_none() {
            self.class = Some(Class::of_this_thread());
        }
        if let Some(class) = &mut self.class {
            // Where it is not allowed, handlers have said so.
            let _ = class.raise(is_raised);
        }
    }

    /// Has this thread take its place among others until it rests: what comes now may be long.
    pub fn stand_back(&mut self) {
        if let Some(class) = &mut self.class {
            let _ = class.raise(false);
        }
    }

    /// How long it has slept.
    pub fn slept(&self) -> Duration {
        self.slept
    }
}

impl Drop for Pace<'_> {
    fn drop(&mut self) {
        self.stand_back();
    }
}
