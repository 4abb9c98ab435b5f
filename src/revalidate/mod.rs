//! Revalidation: installed flows are kept true to what they rest on, and gone when unused.
//!
//! A [`Revalidator`] is one thread with two occupations. When something changes it translates the
//! flows that rest on it once more, and only those. And it makes rounds: a terse dump brings the
//! counters, which feed rules and the forwarding database; flows idle too long go; flows that
//! the kernel does not have any more are forgotten; flows that we do not know are adopted or
//! deleted ([`adopt`]). What is decided about a flow is decided in [`decide`].
//!
//! What always holds: only operational ukeys are touched (one whose put is on its way belongs to
//! its handler); a ukey outlives its flow; no ukey shard is locked across a system call.

pub mod adopt;
pub mod decide;
pub mod pace;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ovs_netlink::flow::FlowMsg;

use self::adopt::Found;
use self::decide::{Scratch, Verdict, allowed_idle_ms, is_idle, retranslate};
use self::pace::Pace;
use crate::clock::Follower;
use crate::coverage::counter;
use crate::datapath::{Datapath, DpError, DpErrorKind, DumpDetail, FlowOp, FlowTotals};
use crate::limits::{FLOW_OPS_BATCH, UNKNOWN_FLOWS_MAX};
use crate::odp::ufid::Ufid;
use crate::upcall::changes::{Changed, Wake};
use crate::upcall::ukey::{DeleteReason, Feed, Ukey, UkeyState, UkeyStats};
use crate::upcall::{Udpif, now_ms};
use crate::vlog::{self, RateLimit};

counter!(static XLATE = "revalidate_xlate");
counter!(static FLOW_DEL = "dpif_flow_del");
counter!(static NEW_FLOW = "dumped_new_flow");
counter!(static DUPLICATE_FLOW = "dumped_duplicate_flow");
counter!(static MISSED = "revalidate_missed_dp_flow");
counter!(static STATS_RESET = "ukey_invalid_stat_reset");

static RL: RateLimit = RateLimit::new(1, 5);

/// How long the revalidator sleeps between looks at a gate that is shut; a release wakes it.
const HELD_PAUSE: Duration = Duration::from_secs(1);

/// A dump that takes longer is worth a line in the log.
const SLOW_DUMP_MS: u64 = 2_000;

/// So many flows less are worth the walk over all free memory: a few megabytes.
const CROWD: usize = 4_096;

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

/// See the module's page.
pub struct Revalidator {
    udpif: Arc<Udpif>,
    datapath: Arc<dyn Datapath>,
    stats: Arc<RoundStats>,
    round: u32,
    scratch: Scratch,
    /// Flows that the kernel would not delete, to be tried again.
    undone: Vec<(Ufid, DeleteReason)>,
    /// Most flows there were since memory was given back.
    crowd: usize,
}

/// A flow that is to be changed or to go, copied out of its shard.
struct Todo {
    ufid: Ufid,
    key: Vec<u8>,
    mask: Vec<u8>,
    actions: Option<Vec<u8>>,
    reason: DeleteReason,
}

impl Revalidator {
    /// A revalidator that has not looked yet.
    pub fn new(udpif: Arc<Udpif>, datapath: Arc<dyn Datapath>, stats: Arc<RoundStats>) -> Self {
        let scratch = Scratch::default();
        Self { udpif, datapath, stats, round: 0, scratch, undone: Vec::new(), crowd: 0 }
    }

    /// Works until [`Changes::stop`](crate::upcall::changes::Changes::stop).
    pub fn run(mut self) {
        let mut due = Instant::now();
        let udpif = self.udpif.clone();
        let follower = Follower::with_wake(move || udpif.changes.kick());
        let mut served = follower.asked();
        loop {
            let wait = due.saturating_duration_since(Instant::now());
            let (wake, changed) = self.udpif.changes.wait(wait);
            let asked = follower.asked();
            if wake == Wake::Stop {
                return;
            }
            if !self.may_work() {
                due = Instant::now() + HELD_PAUSE;
                served = asked;
                follower.served(served);
                continue;
            }
            if !changed.is_empty() {
                self.apply_changes(&changed, now_ms());
            }
            if wake == Wake::Kicked || asked != served || Instant::now() >= due {
                let begun = Instant::now();
                if let Err(error) = self.make_round(now_ms()) {
                    self.note_failure(&error);
                }
                due = Instant::now() + self.pause(begun.elapsed());
            }
            served = asked;
            follower.served(served);
        }
    }

    /// Whether flows may be touched. When an operator has just let go, those in the kernel are judged
    /// first; then the handlers may read.
    fn may_work(&mut self) -> bool {
        let udpif = &self.udpif;
        if udpif.gate.is_held() {
            return false;
        }
        if udpif.gate.is_shut() {
            match adopt::adopt_all(udpif, &*self.datapath, now_ms()) {
                Ok(adopted) => tracing::info!(target: "ofproto_dpif_upcall",
                    "flow-restore-wait is over: of the flows in the kernel {} are kept, {} changed, \
                     {} deleted", adopted.kept, adopted.modified, adopted.deleted),
                // The next round finds them.
                Err(error) => self.note_failure(&error),
            }
            self.udpif.gate.open();
        }
        true
    }

    /// How long to pause after a round that took `took`: the operator's interval, and longer when a
    /// round is dear, so that dumps never take more than a tenth of the time.
    fn pause(&self, took: Duration) -> Duration {
        const LONGEST: Duration = Duration::from_millis(2_500);
        let settings = &self.udpif.settings;
        let max_idle = settings.max_idle_ms.load(Ordering::Relaxed);
        let interval = settings.max_revalidator_ms.load(Ordering::Relaxed).min(max_idle).max(10);
        let interval = Duration::from_millis(interval);
        interval.max((took * 9).min(LONGEST))
    }

    fn note_failure(&self, error: &DpError) {
        if error.is_gone() {
            self.udpif.health.datapath_gone.store(true, Ordering::Relaxed);
        } else {
            vlog::limited!(WARN, target: "ofproto_dpif_upcall", &RL,
                "revalidation: {error}; {}", error.remedy());
        }
    }

    /// Translates the flows that rest on what changed once more.
    pub fn apply_changes(&mut self, changed: &Changed, now_ms: u64) {
        self.finish_undone(now_ms);
        if changed.flush {
            self.purge(now_ms);
        }
        let udpif = self.udpif.clone();
        let snapshot = udpif.snapshot.load_full();
        let mut todo = Vec::new();
        let mut looked = 0;
        let mut look = |ukey: &mut Ukey, scratch: &mut Scratch| {
            if ukey.state != UkeyState::Operational {
                return;
            }
            looked += 1;
            let verdict = retranslate(
                ukey.key(),
                ukey.mask(),
                ukey.actions(),
                &snapshot,
                &udpif.target.support,
                now_ms,
                scratch,
            );
            let out = &scratch.out;
            let mut add = |actions, reason| {
                todo.push(Todo {
                    ufid: ukey.ufid,
                    key: ukey.key().to_vec(),
                    mask: ukey.mask().to_vec(),
                    actions,
                    reason,
                });
            };
            match verdict {
                Verdict::Keep => ukey.rest_on(out.bridge, &out.deps, &out.effects, out.drop),
                Verdict::Modify => {
                    let actions = out.actions.as_bytes().to_vec();
                    add(Some(actions), DeleteReason::Changed);
                    ukey.set_actions(out.actions.as_bytes());
                    ukey.rest_on(out.bridge, &out.deps, &out.effects, out.drop);
                }
                Verdict::Delete(reason) => {
                    add(None, reason);
                    ukey.state = UkeyState::Evicting;
                }
            }
        };
        if changed.everything || !changed.tags.is_empty() {
            for mut shard in udpif.ukeys.shards() {
                for ukey in shard.iter_mut() {
                    if changed.touches(ukey.tags().iter().copied()) {
                        look(ukey, &mut self.scratch);
                    }
                }
            }
        }
        for ufid in &changed.flows {
            if let Some(ukey) = udpif.ukeys.shard(ufid).get_mut(ufid) {
                look(ukey, &mut self.scratch);
            }
        }
        self.udpif.counters.retranslated.fetch_add(looked, Ordering::Relaxed);
        XLATE.add(looked);
        self.stats.last_change_flows.store(looked, Ordering::Relaxed);
        self.carry_out(&todo, now_ms);
    }

    /// Has the kernel do what was decided.
    fn carry_out(&mut self, todo: &[Todo], now_ms: u64) {
        let ops: Vec<FlowOp<'_>> = todo
            .iter()
            .map(|todo| match &todo.actions {
                Some(actions) => FlowOp::Modify {
                    ufid: Some(&todo.ufid.0),
                    key: &todo.key,
                    mask: Some(&todo.mask),
                    actions,
                },
                None => FlowOp::Del { ufid: Some(&todo.ufid.0), key: &todo.key },
            })
            .collect();
        let counters = &self.udpif.counters;
        let mut failed = Vec::new();
        let udpif = self.udpif.clone();
        let mut pace = Pace::new(&udpif);
        let mut done = 0;
        while done < todo.len() {
            let end = todo.len().min(done + pace.changes());
            let (ops, todo) = (&ops[done..end], &todo[done..end]);
            done = end;
            self.datapath.flow_ops(ops, &mut |i, result| {
                let Some(todo) = todo.get(i) else {
                    return;
                };
                match result {
                    Ok(_) if todo.actions.is_some() => {
                        counters.modified.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(totals) => self.forget(&todo.ufid, todo.reason, totals, now_ms),
                    Err(error) if error.kind == DpErrorKind::NoSuchFlow => {
                        self.forget(&todo.ufid, DeleteReason::Gone, None, now_ms);
                    }
                    Err(error) => {
                        self.note_failure(&error);
                        failed.push((todo.ufid, todo.reason, todo.actions.is_some()));
                    }
                }
            });
            pace.rest();
        }
        // A flow that could not be changed must not stay as it was; one that could not be deleted
        // stays marked, and is tried again.
        let mut unchanged = Vec::new();
        for (ufid, reason, was_modify) in failed {
            let list = if was_modify { &mut unchanged } else { &mut self.undone };
            list.push((ufid, reason));
        }
        if !unchanged.is_empty() {
            self.delete(unchanged, now_ms);
        }
    }

    /// Tries once more what the kernel refused.
    fn finish_undone(&mut self, now_ms: u64) {
        let undone = std::mem::take(&mut self.undone);
        if !undone.is_empty() {
            self.delete(undone, now_ms);
        }
    }

    /// Deletes flows from the kernel, their last counters credited: a batch at a time, since all of
    /// a crowd's keys at once would be memory that does not come back.
    fn delete(&mut self, flows: impl IntoIterator<Item = (Ufid, DeleteReason)>, now_ms: u64) {
        let mut flows = flows.into_iter();
        loop {
            let udpif = &self.udpif;
            let evicted = flows.by_ref().filter_map(|(ufid, reason)| {
                let mut shard = udpif.ukeys.shard(&ufid);
                let ukey = shard.get_mut(&ufid)?;
                ukey.state = UkeyState::Evicting;
                let key = ukey.key().to_vec();
                Some(Todo { ufid, key, mask: Vec::new(), actions: None, reason })
            });
            let todo: Vec<Todo> = evicted.take(FLOW_OPS_BATCH).collect();
            if todo.is_empty() {
                return;
            }
            self.carry_out(&todo, now_ms);
        }
    }

    /// The kernel does not have the flow any more.
    fn forget(&self, ufid: &Ufid, reason: DeleteReason, totals: Option<FlowTotals>, now_ms: u64) {
        let Some(mut ukey) = self.udpif.ukeys.shard(ufid).remove(ufid) else {
            return;
        };
        if let Some(totals) = totals {
            self.credit(&mut ukey, totals_to_stats(&totals), now_ms);
        }
        FLOW_DEL.add(1);
        self.udpif.counters.deleted.fetch_add(1, Ordering::Relaxed);
        self.udpif.history.note(&ukey, reason, now_ms);
    }

    /// Takes new counters of a flow and passes on what they mean.
    fn credit(&self, ukey: &mut Ukey, stats: UkeyStats, now_ms: u64) {
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
                Feed::Learnt(learnt) => self.udpif.keep_learnt(learnt, stats.used_ms, now_ms),
                Feed::Rule(rule) => rule.credit(packets, bytes),
                Feed::Patch(from, to) => from.credit(to, packets, bytes),
            }
        }
    }

    /// One round: counters, idle flows, flows that are gone, flows that are not ours.
    ///
    /// # Errors
    /// When the kernel's flows cannot be listed; nothing is deleted then.
    pub fn make_round(&mut self, now_ms: u64) -> Result<(), DpError> {
        self.finish_undone(now_ms);
        self.round = self.round.wrapping_add(1);
        let begun = Instant::now();
        let mut idle = Vec::new();
        let mut unknown = Vec::new();
        let mut seen = 0u64;
        let flows = self.udpif.ukeys.len();
        let settings = &self.udpif.settings;
        let limit = self.udpif.flow_limit();
        let allowed_ms =
            allowed_idle_ms(settings.max_idle_ms.load(Ordering::Relaxed), flows, limit);
        let is_terse = settings.ufid.load(Ordering::Relaxed);
        let detail = if is_terse { DumpDetail::Terse } else { DumpDetail::Full };
        let datapath = self.datapath.clone();
        let udpif = self.udpif.clone();
        let mut pace = Pace::new(&udpif);
        datapath.flow_dump(detail, &mut |flow| {
            seen += 1;
            pace.step();
            let ufid = flow.ufid.map(Ufid);
            let known =
                ufid.and_then(|ufid| Some((ufid, self.saw(&ufid, flow, now_ms, allowed_ms)?)));
            let Some((ufid, is_idle)) = known else {
                NEW_FLOW.add(1);
                if unknown.len() < UNKNOWN_FLOWS_MAX {
                    unknown.push((ufid, flow.key.map(<[u8]>::to_vec)));
                }
                return;
            };
            if is_idle {
                let reason =
                    if flows > limit { DeleteReason::FlowLimit } else { DeleteReason::Idle };
                idle.push((ufid, reason));
            }
        })?;
        let took_ms = begun.elapsed().saturating_sub(pace.slept()).as_millis() as u64;
        let cap = settings.flow_limit.load(Ordering::Relaxed);
        self.udpif.limit.adapt(cap, seen as usize, took_ms);
        if took_ms > SLOW_DUMP_MS {
            vlog::limited!(WARN, target: "ofproto_dpif_upcall", &RL,
                "Spent an unreasonably long {took_ms}ms dumping flows");
        }
        let stats = &self.stats;
        stats.dump_ms.store(took_ms, Ordering::Relaxed);
        stats.flows.store(seen, Ordering::Relaxed);
        stats.max_flows.fetch_max(seen, Ordering::Relaxed);
        stats.rounds.fetch_add(1, Ordering::Relaxed);

        self.delete(idle, now_ms);
        self.sweep(now_ms);
        self.meet(&unknown, now_ms);
        self.udpif.health.full.store(false, Ordering::Relaxed);
        self.give_memory_back();
        Ok(())
    }

    /// Gives memory back to the system when most of a crowd of flows is gone.
    fn give_memory_back(&mut self) {
        let flows = self.udpif.ukeys.len();
        self.crowd = self.crowd.max(flows);
        if flows <= self.crowd / 2 && self.crowd - flows >= CROWD {
            ovs_netlink::give_memory_back();
            self.crowd = flows;
        }
    }

    /// Takes what a dump says of a flow and tells whether it is idle and may go; `None` if there is
    /// no ukey for it.
    fn saw(&self, ufid: &Ufid, flow: &FlowMsg<'_>, now_ms: u64, allowed_ms: u64) -> Option<bool> {
        let counts = flow.stats.unwrap_or_default();
        let mut shard = self.udpif.ukeys.shard(ufid);
        let ukey = shard.get_mut(ufid)?;
        if ukey.seen_round == self.round {
            DUPLICATE_FLOW.add(1);
        }
        ukey.seen_round = self.round;
        let stats = UkeyStats {
            packets: counts.packets,
            bytes: counts.bytes,
            used_ms: flow.used_ms.unwrap_or(0),
            tcp_flags: flow.tcp_flags.unwrap_or(0),
        };
        self.credit(ukey, stats, now_ms);
        Some(ukey.state == UkeyState::Operational && is_idle(ukey, now_ms, allowed_ms))
    }

    /// Forgets flows that a whole dump did not show although they were there before it began.
    fn sweep(&self, now_ms: u64) {
        let mut gone = Vec::new();
        for shard in self.udpif.ukeys.shards() {
            let missing = shard.iter().filter(|ukey| {
                ukey.state == UkeyState::Operational
                    && ukey.seen_round != self.round
                    && ukey.seen_round != 0
            });
            gone.extend(missing.map(|ukey| ukey.ufid));
        }
        // A dump may pass over a flow when the table is resized under it: the kernel is asked.
        for ufid in gone {
            match self.datapath.flow_get(&ufid.0, &mut |_| ()) {
                Ok(true) => MISSED.add(1),
                Ok(false) => self.forget(&ufid, DeleteReason::Gone, None, now_ms),
                Err(error) => self.note_failure(&error),
            }
        }
        // A flow that no dump has shown yet gets the next one to appear in.
        for mut shard in self.udpif.ukeys.shards() {
            for ukey in shard.iter_mut().filter(|ukey| ukey.seen_round == 0) {
                if ukey.state == UkeyState::Operational {
                    ukey.seen_round = self.round;
                }
            }
        }
    }

    /// Adopts or deletes flows that somebody else installed.
    fn meet(&self, unknown: &[(Option<Ufid>, Option<Vec<u8>>)], now_ms: u64) {
        let mut found = Vec::new();
        for (ufid, key) in unknown {
            // A put that was on its way during the dump has its ukey by now.
            let Some(ufid) = ufid else {
                if let Some(key) = key {
                    let op = FlowOp::Del { ufid: None, key };
                    self.datapath.flow_ops(&[op], &mut |_, _| ());
                }
                continue;
            };
            if self.udpif.ukeys.shard(ufid).get(ufid).is_none() {
                let got =
                    self.datapath.flow_get(&ufid.0, &mut |flow| found.extend(Found::of(flow)));
                if let Err(error) = got {
                    self.note_failure(&error);
                }
            }
        }
        if !found.is_empty() {
            let adopted = adopt::adopt(&self.udpif, &*self.datapath, &found, now_ms);
            vlog::limited!(INFO, target: "ofproto_dpif_upcall", &RL,
                "flows that somebody else installed: {} kept, {} changed, {} deleted",
                adopted.kept, adopted.modified, adopted.deleted);
        }
    }

    /// Deletes every flow that the kernel has and we know, for `revalidator/purge` and before a
    /// datapath goes.
    pub fn purge(&mut self, now_ms: u64) {
        let mut all = Vec::new();
        for shard in self.udpif.ukeys.shards() {
            let there = shard.iter().filter(|ukey| ukey.state == UkeyState::Operational);
            all.extend(there.map(|ukey| (ukey.ufid, DeleteReason::Flushed)));
        }
        self.delete(all, now_ms);
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

#[cfg(test)]
mod tests;
