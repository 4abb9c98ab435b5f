//! A round: what the kernel has is compared with what we know of it.
//!
//! The kernel's flows are dumped, and whoever takes part in the [`Round`] fetches a piece, looks at its
//! flows, and fetches the next. The last to leave the dump deletes what was found idle, looks for
//! flows that the dump did not show, and has a look at those that nobody knows.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ovs_netlink::flow::{FlowCounts, FlowMsg, FlowStats};
use ovs_netlink::msg::Message;

use super::adopt::{self, Found};
use super::decide::{allowed_idle_ms, is_idle};
use super::ops::{credit, is_free};
use super::pace::Pace;
use super::{Party, RL, Revalidator, Share};
use crate::coverage::counter;
use crate::datapath::{DpError, DumpDetail, DumpPiece, FlowDump, FlowOp};
use crate::limits::UNKNOWN_FLOWS_MAX;
use crate::odp::ufid::Ufid;
use crate::upcall::ukey::{DeleteReason, Then, UkeyState, UkeyStats};
use crate::vlog;

counter!(static NEW_FLOW = "dumped_new_flow");
counter!(static DUPLICATE_FLOW = "dumped_duplicate_flow");
counter!(static MISSED = "revalidate_missed_dp_flow");

/// A dump that takes longer is worth a line in the log.
const SLOW_DUMP_MS: u64 = 2_000;

/// So many flows less are worth the walk over all free memory: a few megabytes.
const CROWD: usize = 4_096;

/// Flows that one thread looks at before it asks others to take part: some milliseconds of work, beside
/// which waking them is nothing.
const ALONE: usize = 2_048;

/// As many flows could be looked at in the time that asking the kernel for one takes.
const ASKING: usize = 8;

/// A round that is being made. See the module's page.
pub(super) struct Round {
    /// Stands for it in ukeys.
    number: u32,
    now_ms: u64,
    begun: Instant,
    /// How long a flow may be idle.
    allowed_ms: u64,
    /// Why flows go that are idle for longer.
    reason: DeleteReason,
    dump: Mutex<Dump>,
    seen: Mutex<Seen>,
    pub party: Party,
}

/// The dump, or that it has ended.
struct Dump {
    dump: Option<Box<dyn FlowDump>>,
    /// Why there are flows that it did not show.
    failure: Option<DpError>,
}

/// What the dump showed.
#[derive(Default)]
struct Seen {
    flows: usize,
    idle: Vec<Ufid>,
    unknown: Vec<Unknown>,
    /// Time that one of those who took part has not worked at it.
    away: Duration,
}

type Unknown = (Option<Ufid>, Option<Vec<u8>>);

impl Round {
    fn dump(&self) -> MutexGuard<'_, Dump> {
        self.dump.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches the next piece; false when there is none.
    fn fetch(&self, piece: &mut DumpPiece) -> bool {
        let mut state = self.dump();
        let Some(dump) = &mut state.dump else {
            return false;
        };
        match dump.next(piece) {
            Ok(true) => return true,
            Ok(false) => {}
            Err(error) => state.failure = Some(error),
        }
        state.dump = None;
        false
    }

    /// Nobody fetches any more.
    fn fail(&self, error: DpError) {
        let mut state = self.dump();
        state.dump = None;
        state.failure.get_or_insert(error);
    }
}

impl Revalidator {
    /// One round, by this thread alone: counters, idle flows, flows that are gone, flows that are not
    /// ours.
    ///
    /// # Errors
    /// When the kernel's flows cannot be listed; nothing is deleted then.
    pub fn make_round(&mut self, now_ms: u64) -> Result<(), DpError> {
        let round = self.start_round(now_ms)?;
        self.look_at_pieces(&round, &mut || ());
        self.finish_round(&round)
    }

    /// Begins a round in which others may take part. Returns how long to wait for the next if it has
    /// ended already; else the last to leave it sees to that.
    pub(super) fn begin_round(&mut self, now_ms: u64) -> Option<Duration> {
        match self.start_round(now_ms) {
            Ok(round) => {
                let round = Arc::new(round);
                let shared = self.shared.clone();
                self.look_at_pieces(&round, &mut || shared.offer(Share::Round(round.clone())));
                self.leave_round(&round);
                None
            }
            Err(error) => {
                self.shared.note_failure(&error);
                Some(self.pause(Duration::ZERO))
            }
        }
    }

    /// Takes part in a round that another thread has begun.
    pub(super) fn take_part_in_round(&mut self, round: &Round) {
        self.walks_left = self.shared.udpif.ukeys.len();
        self.look_at_pieces(round, &mut || ());
        self.leave_round(round);
    }

    /// Leaves a round of which nothing is left to share; the last finishes it.
    fn leave_round(&mut self, round: &Round) {
        if !round.party.leave() {
            return;
        }
        let shared = self.shared.clone();
        shared.withdraw(&round.party);
        self.aside = Duration::ZERO;
        if let Err(error) = self.finish_round(round) {
            shared.note_failure(&error);
        }
        let took = round.begun.elapsed().saturating_sub(self.aside + round.seen().away);
        shared.serve(shared.udpif.changes.round_done(self.pause(took)));
    }

    fn start_round(&mut self, now_ms: u64) -> Result<Round, DpError> {
        self.finish_undone(now_ms);
        let udpif = &self.shared.udpif;
        self.walks_left = udpif.ukeys.len();
        let settings = &udpif.settings;
        let (flows, limit) = (udpif.ukeys.len(), udpif.flow_limit());
        let max_idle_ms = settings.max_idle_ms.load(Ordering::Relaxed);
        let is_terse = settings.ufid.load(Ordering::Relaxed);
        let detail = if is_terse { DumpDetail::Terse } else { DumpDetail::Full };
        let number = udpif.ukeys.next_phase();
        let begun = Instant::now();
        let dump = self.shared.datapath.flow_dump_start(detail).inspect_err(|_| {
            udpif.ukeys.next_phase();
        })?;
        Ok(Round {
            number,
            now_ms,
            begun,
            allowed_ms: allowed_idle_ms(max_idle_ms, flows, limit),
            reason: if flows > limit { DeleteReason::FlowLimit } else { DeleteReason::Idle },
            dump: Mutex::new(Dump { dump: Some(dump), failure: None }),
            seen: Mutex::default(),
            party: Party::of_one(),
        })
    }

    /// Looks at one piece of the dump after the other; `grow` is called once when there are many.
    fn look_at_pieces(&mut self, round: &Round, grow: &mut dyn FnMut()) {
        let udpif = self.shared.udpif.clone();
        let mut pace = Pace::new(&udpif);
        let mut piece = std::mem::take(&mut self.piece);
        let mut mine = Seen::default();
        self.aside = Duration::ZERO;
        let mut has_grown = false;
        while round.fetch(&mut piece) {
            let before = mine.flows;
            let read = piece.each_counts(|counts, message| {
                pace.steps(1);
                self.look_at_flow(round, counts, message, &mut mine);
            });
            if let Err(error) = read {
                round.fail(error);
            }
            if mine.flows >= ALONE && !has_grown {
                has_grown = true;
                grow();
            }
            self.attend(mine.flows - before, round.now_ms, Some(&mut pace));
        }
        self.piece = piece;
        let mut seen = round.seen();
        seen.flows += mine.flows;
        seen.idle.append(&mut mine.idle);
        seen.unknown.append(&mut mine.unknown);
        seen.away = seen.away.max(pace.slept() + self.aside);
    }

    #[inline]
    fn look_at_flow(
        &self,
        round: &Round,
        counts: &FlowCounts,
        message: &Message<'_>,
        mine: &mut Seen,
    ) {
        mine.flows += 1;
        let ufid = counts.ufid.map(Ufid);
        match ufid.and_then(|ufid| self.saw(round, &ufid, counts)) {
            Some(false) => {}
            Some(true) => mine.idle.extend(ufid),
            None => {
                NEW_FLOW.add(1);
                if mine.unknown.len() < UNKNOWN_FLOWS_MAX {
                    let flow = message.genl().and_then(|genl| FlowMsg::parse(genl.body));
                    let key = flow.ok().and_then(|flow| flow.key.map(<[u8]>::to_vec));
                    mine.unknown.push((ufid, key));
                }
            }
        }
    }

    /// Takes what a dump says of a flow and tells whether it is idle and may go; `None` if there is
    /// no ukey for it.
    #[inline]
    fn saw(&self, round: &Round, ufid: &Ufid, counts: &FlowCounts) -> Option<bool> {
        let udpif = &*self.shared.udpif;
        let mut shard = udpif.ukeys.shard(ufid);
        let ukey = shard.get_mut(ufid)?;
        if ukey.made_in == round.number {
            return Some(false);
        }
        if ukey.seen_round == round.number {
            DUPLICATE_FLOW.add(1);
        }
        ukey.seen_round = round.number;
        let FlowCounts { stats: FlowStats { packets, bytes }, tcp_flags, used_ms, .. } = *counts;
        credit(udpif, ukey, UkeyStats { packets, bytes, used_ms, tcp_flags }, round.now_ms);
        Some(is_free(ukey) && is_idle(ukey, round.now_ms, round.allowed_ms))
    }

    /// Does what is to be done when the whole dump has been looked at.
    fn finish_round(&mut self, round: &Round) -> Result<(), DpError> {
        let shared = self.shared.clone();
        let udpif = &*shared.udpif;
        let Seen { flows, idle, unknown, away } = std::mem::take(&mut *round.seen());
        // For the pause.
        round.seen().away = away;
        if let Some(failure) = round.dump().failure.take() {
            udpif.ukeys.next_phase();
            return Err(failure);
        }
        let took_ms = round.begun.elapsed().saturating_sub(away).as_millis() as u64;
        let cap = udpif.settings.flow_limit.load(Ordering::Relaxed);
        udpif.limit.adapt(cap, flows, took_ms);
        if took_ms > SLOW_DUMP_MS {
            vlog::limited!(WARN, target: "ofproto_dpif_upcall", &RL,
                "Spent an unreasonably long {took_ms}ms dumping flows");
        }
        let stats = &shared.stats;
        stats.dump_ms.store(took_ms, Ordering::Relaxed);
        stats.flows.store(flows as u64, Ordering::Relaxed);
        stats.max_flows.fetch_max(flows as u64, Ordering::Relaxed);
        stats.rounds.fetch_add(1, Ordering::Relaxed);

        let Round { number, now_ms, allowed_ms, reason, .. } = *round;
        let idle = idle.into_iter().map(|ufid| (ufid, reason));
        self.delete(idle, |ukey| is_free(ukey) && is_idle(ukey, now_ms, allowed_ms), now_ms);
        self.sweep(number, now_ms);
        udpif.ukeys.next_phase();
        self.meet(&unknown, now_ms);
        udpif.health.full.store(false, Ordering::Relaxed);
        self.give_memory_back();
        Ok(())
    }

    /// How long to pause after a round that took `took`: the operator's interval, and longer when a
    /// round is dear, so that dumps never take more than a tenth of the time.
    fn pause(&self, took: Duration) -> Duration {
        const LONGEST: Duration = Duration::from_millis(2_500);
        let settings = &self.shared.udpif.settings;
        let max_idle = settings.max_idle_ms.load(Ordering::Relaxed);
        let interval = settings.max_revalidator_ms.load(Ordering::Relaxed).min(max_idle).max(10);
        let interval = Duration::from_millis(interval);
        interval.max((took * 9).min(LONGEST))
    }

    /// Gives memory back to the system when most of a crowd of flows is gone.
    fn give_memory_back(&self) {
        let flows = self.shared.udpif.ukeys.len();
        let crowd = self.shared.crowd.fetch_max(flows, Ordering::Relaxed).max(flows);
        if flows <= crowd / 2 && crowd - flows >= CROWD {
            ovs_netlink::give_memory_back();
            self.shared.crowd.store(flows, Ordering::Relaxed);
        }
    }

    /// Forgets flows that a whole dump did not show although they were there before it began.
    fn sweep(&mut self, number: u32, now_ms: u64) {
        let udpif = self.shared.udpif.clone();
        let mut gone = Vec::new();
        let mut pace = Pace::new(&udpif);
        for mut shard in udpif.ukeys.shards() {
            for ukey in shard.iter_mut().filter(|ukey| ukey.state == UkeyState::Operational) {
                // A flow that no dump has shown yet gets the next one to appear in.
                if ukey.seen_round == 0 {
                    ukey.seen_round = number;
                } else if ukey.seen_round != number {
                    ukey.state = UkeyState::InHand;
                    gone.push(ukey.ufid);
                }
            }
            drop(shard);
            pace.rest();
        }
        // A dump may pass over a flow when the table is resized under it: the kernel is asked.
        for ufid in gone {
            self.attend(ASKING, now_ms, Some(&mut pace));
            pace.steps(ASKING);
            match self.shared.datapath.flow_get(&ufid.0, &mut |_| ()) {
                Ok(true) => MISSED.add(1),
                Ok(false) => {
                    self.forget(&ufid, DeleteReason::Gone, None, now_ms);
                    continue;
                }
                Err(error) => self.shared.note_failure(&error),
            }
            match self.let_go(&ufid) {
                Then::Rest => {}
                Then::Look => udpif.changes.recheck([ufid]),
                Then::Delete(reason) => {
                    // It attends to changes as well.
                    pace.stand_back();
                    self.delete_in_hand(ufid, reason, now_ms);
                }
            }
        }
    }

    /// Adopts or deletes flows that somebody else installed.
    fn meet(&self, unknown: &[Unknown], now_ms: u64) {
        let (udpif, datapath) = (&*self.shared.udpif, &*self.shared.datapath);
        let seq = udpif.changes.seq();
        let mut found = Vec::new();
        let mut pace = Pace::new(udpif);
        for (ufid, key) in unknown {
            pace.steps(ASKING);
            // A put that was on its way during the dump has its ukey by now.
            let Some(ufid) = ufid else {
                if let Some(key) = key {
                    let op = FlowOp::Del { ufid: None, key };
                    datapath.flow_ops(&[op], &mut |_, _| ());
                }
                continue;
            };
            if udpif.ukeys.shard(ufid).get(ufid).is_none() {
                let got = datapath.flow_get(&ufid.0, &mut |flow| found.extend(Found::of(flow)));
                if let Err(error) = got {
                    self.shared.note_failure(&error);
                }
            }
        }
        if !found.is_empty() {
            let adopted = adopt::adopt(udpif, datapath, &found, now_ms);
            vlog::limited!(INFO, target: "ofproto_dpif_upcall", &RL,
                "flows that somebody else installed: {} kept, {} changed, {} deleted",
                adopted.kept, adopted.modified, adopted.deleted);
            // Another thread may have looked for what a change touches before they had their ukeys.
            if udpif.changes.seq() != seq {
                udpif.changes.recheck(unknown.iter().filter_map(|(ufid, _)| *ufid));
            }
        }
    }
}
