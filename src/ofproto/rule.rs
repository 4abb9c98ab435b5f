//! A rule: what a table does with the flows that match.
//!
//! A rule never changes once it is in a table; a modification is another rule. Counters are the
//! exception: any thread adds to them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::OfPort;

/// Names a rule for as long as the daemon runs; never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RuleId(pub u64);

/// An OpenFlow action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OfpAction {
    /// Forward as a learning switch does.
    Normal,
    /// Send to one port.
    Output(OfPort),
}

/// See the module's page.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub id: RuleId,
    /// Higher wins.
    pub priority: u16,
    /// What a controller calls it.
    pub cookie: u64,
    /// What is done; none drops the packet.
    pub actions: Vec<OfpAction>,
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Rule {
    /// A rule that has matched nothing yet.
    pub fn new(id: RuleId, priority: u16, cookie: u64, actions: Vec<OfpAction>) -> Self {
        Self { id, priority, cookie, actions, packets: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// Credits packets that the rule decided.
    pub fn credit(&self, packets: u64, bytes: u64) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Packets and bytes so far.
    pub fn counters(&self) -> (u64, u64) {
        (self.packets.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}
