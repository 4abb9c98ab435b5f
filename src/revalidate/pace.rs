//! Letting packets go first: a revalidator works in small pieces while handlers have a backlog.
//!
//! On a CPU that both share, a dump of ten thousands of flows would hold every first packet up for as
//! long as the scheduler lets it. While some handler is behind, the revalidator sleeps for a moment
//! after each piece; a thread that sleeps is never long in anyone's way. What always holds: the
//! sleeps of one round are bounded, so that flows are revalidated however long a storm lasts.
//!
//! Each revalidator thread has its own.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::limits::FLOW_OPS_BATCH;
use crate::upcall::Udpif;

/// Flows looked at in one piece: a tenth of a millisecond or so.
const PIECE: u32 = 64;

/// Flows changed by one system call while a handler is behind: nobody else has the CPU before it ends.
const CHANGES: usize = 16;

/// How long to let others work. With the scheduler's slack this is hardly more than it says.
const MOMENT: Duration = Duration::from_micros(300);

/// Longest time that the sleeps of one round may add up to.
const LONGEST: Duration = Duration::from_secs(1);

/// See the module's page. One for each round, and for each set of changes.
pub struct Pace<'a> {
    udpif: &'a Udpif,
    steps: u32,
    slept: Duration,
}

impl<'a> Pace<'a> {
    /// At the beginning of a round.
    pub fn new(udpif: &'a Udpif) -> Self {
        Self { udpif, steps: 0, slept: Duration::ZERO }
    }

    /// A flow has been looked at.
    #[inline]
    pub fn step(&mut self) {
        self.steps += 1;
        if self.steps.is_multiple_of(PIECE) {
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

    /// Sleeps for a moment if a handler is behind.
    pub fn rest(&mut self) {
        if self.is_behind() && self.slept < LONGEST {
            let begun = Instant::now();
            std::thread::sleep(MOMENT);
            self.slept += begun.elapsed();
        }
    }

    /// How long it has slept.
    pub fn slept(&self) -> Duration {
        self.slept
    }
}
