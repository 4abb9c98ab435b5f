//! When a handler should rest although there is work: so that it is woken at once when it matters.
//!
//! A scheduler wakes a thread that sleeps of its own accord at once, and lets one that takes all the
//! CPU it can get wait for its turn, some milliseconds. A handler with an endless backlog is of the
//! second kind, and a quiet port's first packet would wait with it. That others want the CPU shows in
//! preemptions; then the handler spends, for each piece of the backlog, some time waiting for its
//! socket, and what comes from a quiet port is answered within it.
//!
//! Plain values, no clock and no system call of its own: one handler's thread.

use std::time::Duration;

/// Most rest, as a multiple of the work before.
const MOST: u32 = 2;

/// Work without preemption, in pieces, after which rest is halved: some seconds.
const CALM: u32 = 4_096;

/// Longest piece of work that counts: a preempted one lasts longer than it works.
const WORK: Duration = Duration::from_micros(500);

/// See the module's page.
#[derive(Debug, Default)]
pub struct Contention {
    preemptions: Option<u64>,
    rest: u32,
    calm: u32,
}

impl Contention {
    /// Whether others want the CPU.
    pub fn is_felt(&self) -> bool {
        self.rest > 0
    }

    /// A piece of work took `worked`, and the thread has been preempted `preemptions` times in its
    /// life: how long to rest.
    pub fn rest_after(&mut self, preemptions: u64, worked: Duration) -> Duration {
        let before = self.preemptions.replace(preemptions);
        if before.is_some_and(|before| before != preemptions) {
            self.rest = (self.rest * 2).clamp(1, MOST);
            self.calm = 0;
        } else {
            self.calm += 1;
            if self.calm >= CALM {
                self.calm = 0;
                self.rest /= 2;
            }
        }
        worked.min(WORK) * self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_grows_with_preemptions_and_ends_without() {
        let mut contention = Contention::default();
        let work = Duration::from_micros(100);
        assert_eq!(contention.rest_after(7, work), Duration::ZERO, "what was before is not known");
        assert_eq!(contention.rest_after(7, work), Duration::ZERO);
        assert!(!contention.is_felt());
        assert_eq!(contention.rest_after(8, work), work);
        assert_eq!(contention.rest_after(9, work), work * 2);
        assert_eq!(contention.rest_after(12, Duration::from_secs(1)), WORK * MOST);
        assert!(contention.is_felt());
        let mut pieces = 0;
        while contention.is_felt() {
            contention.rest_after(12, work);
            pieces += 1;
        }
        assert_eq!(pieces, 2 * CALM);
    }
}
