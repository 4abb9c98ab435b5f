//! Having the kernel do what was decided.
//!
//! What always holds: the ukey of each [`Todo`] is in the hand of the thread that has the todo, from
//! the decision until the kernel's answer is known; what others wanted of it meanwhile
//! ([`Then`]) is seen to afterwards. A flow that could not be changed does not stay as it was.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::Revalidator;
use super::pace::Pace;
use crate::coverage::counter;
use crate::datapath::{DpErrorKind, FlowOp, FlowTotals};
use crate::limits::FLOW_OPS_BATCH;
use crate::odp::ufid::Ufid;
use crate::upcall::Udpif;
use crate::upcall::ukey::{DeleteReason, Feed, Then, Ukey, UkeyState, UkeyStats};

counter!(static FLOW_DEL = "dpif_flow_del");
counter!(static STATS_RESET = "ukey_invalid_stat_reset");

/// As many flows could be looked at in the time that a deletion takes.
const DELETION: usize = 8;

/// A flow that is to be changed or to go, copied out of its shard. Its ukey is in hand.
pub(super) struct Todo {
    ufid: Ufid,
    key: Vec<u8>,
    mask: Option<Vec<u8>>,
    actions: Option<Vec<u8>>,
    reason: DeleteReason,
}

impl Todo {
    /// Takes a ukey in hand to give its flow other actions.
    pub fn modify(ukey: &mut Ukey, actions: &[u8]) -> Self {
        ukey.state = UkeyState::InHand;
        Self {
            ufid: ukey.ufid,
            key: ukey.key().to_vec(),
            mask: ukey.mask().map(<[u8]>::to_vec),
            actions: Some(actions.to_vec()),
            reason: DeleteReason::Changed,
        }
    }

    /// Takes a ukey in hand to delete its flow.
    pub fn delete(ukey: &mut Ukey, reason: DeleteReason) -> Self {
        ukey.state = UkeyState::Evicting;
        Self { ufid: ukey.ufid, key: ukey.key().to_vec(), mask: None, actions: None, reason }
    }

    fn op(&self) -> FlowOp<'_> {
        match &self.actions {
            Some(actions) => FlowOp::Modify {
                ufid: Some(&self.ufid.0),
                key: &self.key,
                mask: self.mask.as_deref(),
                actions,
            },
            None => FlowOp::Del { ufid: Some(&self.ufid.0), key: &self.key },
        }
    }
}

impl Revalidator {
    /// Has the kernel do what was decided.
    pub(super) fn carry_out(&mut self, todo: &[Todo], now_ms: u64) {
        if todo.is_empty() {
            return;
        }
        let shared = self.shared.clone();
        let udpif = &*shared.udpif;
        let ops: Vec<FlowOp<'_>> = todo.iter().map(Todo::op).collect();
        let (mut undeleted, mut in_hand, mut again) = (Vec::new(), Vec::new(), Vec::new());
        let mut pace = Pace::new(udpif);
        let mut done = 0;
        while done < todo.len() {
            let end = todo.len().min(done + pace.changes());
            let (ops, todo) = (&ops[done..end], &todo[done..end]);
            done = end;
            shared.datapath.flow_ops(ops, &mut |i, result| {
                let Some(todo) = todo.get(i) else {
                    return;
                };
                match result {
                    Ok(_) if todo.actions.is_some() => {
                        udpif.counters.modified.fetch_add(1, Ordering::Relaxed);
                        match self.let_go(&todo.ufid) {
                            Then::Rest => {}
                            Then::Look => again.push(todo.ufid),
                            Then::Delete(reason) => in_hand.push((todo.ufid, reason)),
                        }
                    }
                    Ok(totals) => self.forget(&todo.ufid, todo.reason, totals, now_ms),
                    Err(error) if error.kind == DpErrorKind::NoSuchFlow => {
                        self.forget(&todo.ufid, DeleteReason::Gone, None, now_ms);
                    }
                    Err(error) => {
                        shared.note_failure(&error);
                        let list =
                            if todo.actions.is_some() { &mut in_hand } else { &mut undeleted };
                        list.push((todo.ufid, todo.reason));
                    }
                }
            });
            pace.rest_from_changes();
        }
        if !again.is_empty() {
            udpif.changes.recheck(again);
        }
        if !undeleted.is_empty() {
            shared.undone.lock().unwrap_or_else(PoisonError::into_inner).extend(undeleted);
        }
        self.delete(in_hand, is_in_hand, now_ms);
    }

    /// Lets go of a ukey, unless it is to be deleted; tells what it is to be.
    pub(super) fn let_go(&self, ufid: &Ufid) -> Then {
        let mut shard = self.shared.udpif.ukeys.shard(ufid);
        let Some(ukey) = shard.get_mut(ufid) else {
            return Then::Rest;
        };
        let then = std::mem::replace(&mut ukey.then, Then::Rest);
        if !matches!(then, Then::Delete(_)) {
            ukey.state = UkeyState::Operational;
        }
        then
    }

    /// Deletes a flow whose ukey is in this thread's hand.
    pub(super) fn delete_in_hand(&mut self, ufid: Ufid, reason: DeleteReason, now_ms: u64) {
        self.delete([(ufid, reason)], is_in_hand, now_ms);
    }

    /// Tries once more what the kernel refused.
    pub(super) fn finish_undone(&mut self, now_ms: u64) {
        let undone = {
            let mut undone = self.shared.undone.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *undone)
        };
        self.delete(undone, is_in_hand, now_ms);
    }

    /// Deletes flows from the kernel, their last counters credited, as far as `may` still says so: a
    /// batch at a time, since all of a crowd's keys at once would be memory that does not come back.
    pub(super) fn delete(
        &mut self,
        flows: impl IntoIterator<Item = (Ufid, DeleteReason)>,
        may: impl Fn(&Ukey) -> bool,
        now_ms: u64,
    ) {
        let udpif = self.shared.udpif.clone();
        let mut flows = flows.into_iter();
        loop {
            let in_hand = flows.by_ref().filter_map(|(ufid, reason)| {
                let mut shard = udpif.ukeys.shard(&ufid);
                let ukey = shard.get_mut(&ufid).filter(|ukey| may(ukey))?;
                Some(Todo::delete(ukey, reason))
            });
            let todo: Vec<Todo> = in_hand.take(FLOW_OPS_BATCH).collect();
            if todo.is_empty() {
                return;
            }
            self.carry_out(&todo, now_ms);
            self.attend(todo.len() * DELETION, now_ms, None);
        }
    }

    /// Deletes every flow that the kernel has and we know, for `revalidator/purge` and before a
    /// datapath goes.
    pub fn purge(&mut self, now_ms: u64) {
        let mut all = Vec::new();
        for mut shard in self.shared.udpif.ukeys.shards() {
            for ukey in shard.iter_mut() {
                match ukey.state {
                    UkeyState::Operational => all.push((ukey.ufid, DeleteReason::Flushed)),
                    UkeyState::InHand => ukey.then = Then::Delete(DeleteReason::Flushed),
                    UkeyState::Visible | UkeyState::Evicting => {}
                }
            }
        }
        self.delete(all, is_free, now_ms);
    }

    /// The kernel does not have the flow any more, whose ukey is in hand.
    pub(super) fn forget(
        &self,
        ufid: &Ufid,
        reason: DeleteReason,
        totals: Option<FlowTotals>,
        now_ms: u64,
    ) {
        let udpif = &*self.shared.udpif;
        let Some(mut ukey) = udpif.ukeys.shard(ufid).remove(ufid) else {
            return;
        };
        if let Some(totals) = totals {
            credit(udpif, &mut ukey, totals_to_stats(&totals), now_ms);
        }
        FLOW_DEL.add(1);
        udpif.counters.deleted.fetch_add(1, Ordering::Relaxed);
        udpif.history.note(&ukey, reason, now_ms);
    }
}

/// Whether nobody has the ukey in hand.
pub(super) fn is_free(ukey: &Ukey) -> bool {
    ukey.state == UkeyState::Operational
}

/// Whether whoever asks has it in hand, since nobody else may ask.
fn is_in_hand(ukey: &Ukey) -> bool {
    matches!(ukey.state, UkeyState::InHand | UkeyState::Evicting)
}

/// Takes new counters of a flow and passes on what they mean.
#[inline]
pub(super) fn credit(udpif: &Udpif, ukey: &mut Ukey, stats: UkeyStats, now_ms: u64) {
    if stats.packets == ukey.stats.packets {
        ukey.stats = stats;
        return;
    }
    credit_more(udpif, ukey, stats, now_ms);
}

fn credit_more(udpif: &Udpif, ukey: &mut Ukey, stats: UkeyStats, now_ms: u64) {
    if stats.packets < ukey.stats.packets {
        STATS_RESET.add(1);
    }
    let packets = stats.packets.saturating_sub(ukey.stats.packets);
    let bytes = stats.bytes.saturating_sub(ukey.stats.bytes);
    ukey.stats = stats;
    if packets == 0 {
        return;
    }
    for feed in &ukey.feeds {
        match feed {
            Feed::Learnt(learnt) => udpif.keep_learnt(learnt, stats.used_ms, now_ms),
            Feed::Rule(rule) => rule.credit(packets, bytes),
            Feed::Patch(from, to) => from.credit(to, packets, bytes),
        }
    }
}

fn totals_to_stats(totals: &FlowTotals) -> UkeyStats {
    UkeyStats {
        packets: totals.packets,
        bytes: totals.bytes,
        used_ms: totals.used_ms.unwrap_or(0),
        tcp_flags: totals.tcp_flags,
    }
}
