//! Conntrack zones with timeouts of their own: keeps a policy of the datapath for each set of timeouts that
//! is wanted.
//!
//! What always holds: zones that want the same share a policy; a policy never becomes another one, so
//! that what still refers to it means what it meant; one that nobody wants is removed, later if
//! something uses it, and until then its number is not given to another; those of an earlier run
//! are removed as well, whatever they hold, as by the peer. The datapath is asked only when
//! something is to be done. What it refuses is said once, and tried again.
//!
//! Lent to a thread together with the rest of what the engine does with the kernel.

use std::collections::{BTreeMap, BTreeSet};

use crate::datapath::{CtPolicyId, CtTimeouts, Datapath, DpError, DpErrorKind};

/// What could not be done is tried again after this time: the peer's figure. It costs up to a start of
/// modprobe.
const RETRY_MS: u64 = 20_000;

/// Timeouts by zone.
pub type WantedZones = BTreeMap<u16, CtTimeouts>;

/// How far a policy is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Not tried yet.
    New,
    /// The datapath refused it.
    Refused,
    /// The datapath has it.
    Made,
}

/// A policy that is wanted.
struct Policy {
    id: CtPolicyId,
    stage: Stage,
}

/// See the module's page.
#[derive(Default)]
pub struct CtZones {
    policies: BTreeMap<CtTimeouts, Policy>,
    /// Policies that are to be removed.
    leaving: BTreeSet<CtPolicyId>,
    /// What policies the datapath has is known.
    is_listed: bool,
    /// Some zone has timeouts of its own.
    is_wanted: bool,
    /// When what could not be done is tried again, and what is to be removed is.
    retry_at_ms: u64,
    /// What was said of failures that are not over.
    said: BTreeSet<String>,
}

impl CtZones {
    /// Forgets what policies the datapath has, so that they are listed and made anew: others may have
    /// been at work.
    pub fn forget(&mut self) {
        self.is_listed = false;
        self.retry_at_ms = 0;
        self.policies.values_mut().for_each(|policy| policy.stage = Stage::New);
    }

    /// Whether something has waited long enough to be tried again, by [`Self::apply`].
    pub fn is_due(&self, now_ms: u64) -> bool {
        let is_waiting = if self.is_listed { !self.is_in_order() } else { self.is_wanted };
        is_waiting && now_ms >= self.retry_at_ms
    }

    fn is_in_order(&self) -> bool {
        let all_made = self.policies.values().all(|policy| policy.stage == Stage::Made);
        all_made && self.leaving.is_empty()
    }

    /// Makes the datapath's policies those that `wanted` needs.
    pub fn apply(&mut self, wanted: &WantedZones, datapath: &dyn Datapath, now_ms: u64) {
        let is_first = !self.is_wanted && !wanted.is_empty();
        self.is_wanted = !wanted.is_empty();
        let is_due = now_ms >= self.retry_at_ms;
        if !self.is_listed {
            if !is_due && !is_first {
                return;
            }
            match datapath.ct_policies() {
                Ok(ids) => self.take_over(ids),
                Err(error) => {
                    self.retry_at_ms = now_ms + RETRY_MS;
                    // Nobody misses what nobody wants.
                    if self.is_wanted {
                        self.complain(&error);
                    }
                    return;
                }
            }
        }
        self.sort_out(wanted);
        self.make(datapath, is_due);
        if is_due && !self.is_in_order() {
            self.remove(datapath);
            self.retry_at_ms = now_ms + RETRY_MS;
        }
        if self.is_in_order() && !std::mem::take(&mut self.said).is_empty() {
            tracing::info!(target: "ofproto_dpif", "timeouts of conntrack zones are in order again");
        }
    }

    /// Policies that the datapath has and that are not ours go.
    fn take_over(&mut self, mut ids: BTreeSet<CtPolicyId>) {
        for policy in self.policies.values() {
            ids.remove(&policy.id);
        }
        self.leaving.append(&mut ids);
        self.is_listed = true;
    }

    /// Which policies there are to be, and which are to go. Numbers are given as by the peer: by zone, and
    /// the lowest from 1 on that none has.
    fn sort_out(&mut self, wanted: &WantedZones) {
        let used = self.policies.values().map(|policy| policy.id);
        let used: BTreeSet<CtPolicyId> = used.chain(self.leaving.iter().copied()).collect();
        let mut free = (1..=u32::MAX).map(CtPolicyId).filter(|id| !used.contains(id));
        for timeouts in wanted.values() {
            if self.policies.contains_key(timeouts) {
                continue;
            }
            // There are fewer zones than numbers.
            let Some(id) = free.next() else { break };
            self.policies.insert(timeouts.clone(), Policy { id, stage: Stage::New });
        }
        let needed: BTreeSet<&CtTimeouts> = wanted.values().collect();
        self.policies.retain(|timeouts, policy| {
            let is_needed = needed.contains(timeouts);
            if !is_needed {
                self.leaving.insert(policy.id);
            }
            is_needed
        });
    }

    /// Makes those that are new, and if it `is_due` those that were refused, in the order of their numbers.
    fn make(&mut self, datapath: &dyn Datapath, is_due: bool) {
        let missing = self.policies.iter_mut().filter(|(_, policy)| match policy.stage {
            Stage::New => true,
            Stage::Refused => is_due,
            Stage::Made => false,
        });
        let mut missing: Vec<(&CtTimeouts, &mut Policy)> = missing.collect();
        missing.sort_by_key(|(_, policy)| policy.id);
        let mut failures = Vec::new();
        for (timeouts, policy) in missing {
            match datapath.set_ct_policy(policy.id, timeouts) {
                Ok(()) => policy.stage = Stage::Made,
                Err(error) => {
                    policy.stage = Stage::Refused;
                    failures.push(error);
                }
            }
        }
        failures.iter().for_each(|error| self.complain(error));
    }

    fn remove(&mut self, datapath: &dyn Datapath) {
        for id in std::mem::take(&mut self.leaving) {
            let Err(error) = datapath.delete_ct_policy(id) else { continue };
            self.leaving.insert(id);
            if self.said.insert(error.to_string()) {
                tracing::info!(target: "ofproto_dpif", "{error}; tried again until it succeeds");
            }
        }
    }

    fn complain(&mut self, error: &DpError) {
        if !self.said.insert(error.to_string()) {
            return;
        }
        let remedy = match error.kind {
            DpErrorKind::Unsupported => "load the kernel module nfnetlink_cttimeout",
            DpErrorKind::Permission => error.remedy(),
            _ => "it is tried again",
        };
        tracing::warn!(
            target: "ofproto_dpif", "conntrack zones have the system's timeouts: {error}; {remedy}"
        );
    }
}

#[cfg(test)]
mod tests;
