//! How many flows may be installed: as many as can be looked after.
//!
//! The operator's `flow-limit` is a cap. Below it the limit in force follows the time that a dump of
//! all flows takes: it begins low, grows while dumps are quick and flows are many, and falls when a
//! dump takes more than a second and a third. The figures are the peer's, so that `upcall/show`
//! tells what operators know.
//!
//! The revalidator adapts it, handlers read it, the control thread may set it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The limit at the start.
const START: usize = 10_000;
/// What it never falls below, unless the cap is lower.
const FLOOR: usize = 1_000;
/// What it grows by after a quick dump.
const STEP: usize = 1_000;

/// See the module's page.
#[derive(Debug)]
pub struct FlowLimit(AtomicUsize);

impl Default for FlowLimit {
    fn default() -> Self {
        Self(AtomicUsize::new(START))
    }
}

impl FlowLimit {
    /// The limit in force where the operator's cap is `cap`.
    pub fn get(&self, cap: usize) -> usize {
        self.0.load(Ordering::Relaxed).min(cap)
    }

    /// Takes another limit, from which the next dump goes on (`upcall/set-flow-limit`).
    pub fn set(&self, limit: usize) {
        self.0.store(limit, Ordering::Relaxed);
    }

    /// Takes notice of a dump that took `dump_ms` and showed `flows` flows.
    pub fn adapt(&self, cap: usize, flows: usize, dump_ms: u64) {
        let next = adapted(self.get(cap), cap, flows, dump_ms);
        self.set(next);
    }
}

/// The limit that follows `limit` after a dump of `flows` flows in `dump_ms` milliseconds.
fn adapted(limit: usize, cap: usize, flows: usize, dump_ms: u64) -> usize {
    let took = usize::try_from(dump_ms).unwrap_or(usize::MAX).max(1);
    let next = match took {
        2001.. => limit / (took / 1000),
        1301.. => limit / 4 * 3 + limit % 4 * 3 / 4,
        // So many could be dumped in a second.
        ..1000 if limit < flows.saturating_mul(1000) / took => limit.saturating_add(STEP),
        _ => limit,
    };
    next.max(FLOOR).min(cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_the_time_of_dumps() {
        let cap = 200_000;
        // Quick dumps let it grow while flows are many, not beyond what could be dumped in a second.
        assert_eq!(adapted(10_000, cap, 10_000, 20), 11_000);
        assert_eq!(adapted(10_000, cap, 0, 1), 10_000);
        assert_eq!(adapted(10_000, cap, 100, 10), 10_000);
        assert_eq!(adapted(10_000, cap, 101, 10), 11_000);
        assert_eq!(adapted(10_000, cap, 10_000, 999), 11_000);
        assert_eq!(
            adapted(10_000, cap, 9_000, 0),
            11_000,
            "no time at all counts as a millisecond"
        );
        assert_eq!(adapted(199_500, cap, 199_500, 900), cap);
        // Slow ones shrink it.
        assert_eq!(adapted(100_000, cap, 100_000, 1_000), 100_000);
        assert_eq!(adapted(100_000, cap, 100_000, 1_300), 100_000);
        assert_eq!(adapted(100_001, cap, 100_000, 1_301), 75_000);
        assert_eq!(adapted(100_000, cap, 100_000, 2_000), 75_000);
        assert_eq!(adapted(100_000, cap, 100_000, 2_001), 50_000);
        assert_eq!(adapted(100_000, cap, 100_000, 9_999), 11_111);
        // Floor and cap.
        assert_eq!(adapted(1_500, cap, 1_500, 60_000), 1_000);
        assert_eq!(adapted(5, cap, 0, 5), 1_000);
        assert_eq!(adapted(5, 50, 0, 5), 50);
        assert_eq!(adapted(usize::MAX, usize::MAX, usize::MAX, u64::MAX), 1_000);
    }

    #[test]
    fn the_cap_holds_at_once() {
        let limit = FlowLimit::default();
        assert_eq!((limit.get(200_000), limit.get(50), limit.get(0)), (10_000, 50, 0));
        limit.set(5);
        assert_eq!(limit.get(200_000), 5);
        limit.adapt(200_000, 0, 1);
        assert_eq!(limit.get(200_000), 1_000);
    }
}
