//! What changed: the flows that rest on it are translated once more.
//!
//! A [`Walk`] goes through the shards of the ukeys, one at a time; threads that have nothing to do take
//! shards too.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::decide::{Scratch, Verdict, retranslate};
use super::ops::Todo;
use super::{Party, Revalidator, Share};
use crate::coverage::counter;
use crate::limits::{FLOW_OPS_BATCH, UKEY_SHARDS};
use crate::snapshot::Snapshot;
use crate::upcall::Udpif;
use crate::upcall::changes::{Batch, Changed};
use crate::upcall::ukey::{ShardGuard, Then, Ukey, UkeyState};

counter!(static XLATE = "revalidate_xlate");

/// Flows that one thread translates anew without asking others to take part: some milliseconds of work,
/// beside which waking them is nothing.
const ALONE_TRANSLATED: usize = 512;

/// Flows among which one thread looks for those that are touched.
const ALONE_PASSED: usize = 16_384;

/// Flows translated anew while their shard is locked: a quarter of a millisecond or so.
const LOOKED_IN_A_ROW: u64 = 64;

/// As many flows could be looked at in a dump in the time that a translation takes.
const TRANSLATION: usize = 4;

/// One batch of changes being looked at. See the module's page.
pub(super) struct Walk {
    batch: Batch,
    now_ms: u64,
    /// The shard that nobody has taken yet.
    next: AtomicUsize,
    looked: AtomicU64,
    pub party: Party,
}

/// Which ukeys are looked at.
enum Touched<'a> {
    All,
    /// Few tags are sooner compared than hashed.
    Few(arrayvec::ArrayVec<u64, FEW>),
    Many(&'a Changed),
}

const FEW: usize = 4;

impl<'a> Touched<'a> {
    fn by(changed: &'a Changed) -> Self {
        if changed.everything {
            Self::All
        } else if changed.tags.len() <= FEW {
            Self::Few(changed.tags.iter().copied().collect())
        } else {
            Self::Many(changed)
        }
    }

    fn is(&self, ukey: &Ukey) -> bool {
        match self {
            Self::All => true,
            Self::Few(few) => ukey.tags().iter().any(|tag| few.contains(tag)),
            Self::Many(changed) => changed.touches(ukey.tags().iter().copied()),
        }
    }
}

impl Revalidator {
    /// Looks at all flows that a batch of changes touches.
    pub(super) fn walk(&mut self, batch: Batch, now_ms: u64) {
        let shared = self.shared.clone();
        let changed = &batch.changed;
        self.finish_undone(now_ms);
        if changed.flush {
            self.purge(now_ms);
        }
        let is_walk = changed.everything || !changed.tags.is_empty();
        let alone = if changed.everything { ALONE_TRANSLATED } else { ALONE_PASSED };
        let walk = Arc::new(Walk {
            now_ms,
            next: AtomicUsize::new(if is_walk { 0 } else { UKEY_SHARDS }),
            looked: AtomicU64::new(0),
            party: Party::of_one(),
            batch,
        });
        self.look_at_flows(&walk);
        if is_walk && shared.udpif.ukeys.len() > alone {
            shared.offer(Share::Walk(walk.clone()));
        }
        self.take_part_in_walk(&walk);
    }

    /// Looks at those flows that are to be looked at by name.
    fn look_at_flows(&mut self, walk: &Walk) {
        let udpif = self.shared.udpif.clone();
        let mut look = Look::new(walk);
        for ufid in &walk.batch.changed.flows {
            let mut shard = udpif.ukeys.shard(ufid);
            let snapshot = udpif.snapshot.load_full();
            if let Some(ukey) = shard.get_mut(ufid) {
                look.at(ukey, &udpif, &snapshot, &mut self.scratch);
            }
        }
        look.count(&udpif);
        self.carry_out(&look.todo, walk.now_ms);
    }

    /// Looks at shards as long as there are some.
    pub(super) fn take_part_in_walk(&mut self, walk: &Walk) {
        let udpif = self.shared.udpif.clone();
        let touched = Touched::by(&walk.batch.changed);
        let mut look = Look::new(walk);
        loop {
            let i = walk.next.fetch_add(1, Ordering::Relaxed);
            if i >= UKEY_SHARDS {
                break;
            }
            let mut from = Some(0);
            while let Some(first) = from {
                let before = look.looked;
                let shard = udpif.ukeys.shard_number(i);
                from = look.at_some(shard, first, &touched, &udpif, &mut self.scratch);
                let is_urgent = !self.is_aside && udpif.changes.is_pending();
                if look.todo.len() >= FLOW_OPS_BATCH || is_urgent {
                    self.carry_out(&look.todo, walk.now_ms);
                    look.todo.clear();
                }
                self.attend((look.looked - before) as usize * TRANSLATION, walk.now_ms, None);
            }
        }
        look.count(&udpif);
        self.carry_out(&look.todo, walk.now_ms);
        if walk.party.leave() {
            self.shared.withdraw(&walk.party);
            let looked = walk.looked.load(Ordering::Relaxed);
            self.shared.stats.last_change_flows.store(looked, Ordering::Relaxed);
            self.shared.serve(udpif.changes.batch_done(walk.batch.number));
        }
    }
}

/// One thread's share of a walk: what it has found.
struct Look<'a> {
    walk: &'a Walk,
    looked: u64,
    todo: Vec<Todo>,
}

impl<'a> Look<'a> {
    fn new(walk: &'a Walk) -> Self {
        Self { walk, looked: 0, todo: Vec::new() }
    }

    /// Looks at those ukeys of a shard that are touched, from place `first` on; tells where to go on
    /// when there are too many for handlers to wait for them.
    fn at_some(
        &mut self,
        mut shard: ShardGuard<'_>,
        first: u32,
        touched: &Touched<'_>,
        udpif: &Udpif,
        scratch: &mut Scratch,
    ) -> Option<u32> {
        let snapshot = udpif.snapshot.load_full();
        let enough = self.looked + LOOKED_IN_A_ROW;
        let stopped = shard.iter_mut_from(first).try_for_each(|(place, ukey)| {
            if touched.is(ukey) {
                self.at(ukey, udpif, &snapshot, scratch);
                if self.looked == enough {
                    return ControlFlow::Break(place + 1);
                }
            }
            ControlFlow::Continue(())
        });
        stopped.break_value()
    }

    /// Translates a flow anew; one that has to change is taken in hand.
    fn at(&mut self, ukey: &mut Ukey, udpif: &Udpif, snapshot: &Snapshot, scratch: &mut Scratch) {
        match ukey.state {
            UkeyState::Operational => {}
            // Whoever has it in hand may have decided before the change.
            UkeyState::InHand if ukey.then == Then::Rest => {
                ukey.then = Then::Look;
                return;
            }
            UkeyState::InHand | UkeyState::Visible | UkeyState::Evicting => return,
        }
        self.looked += 1;
        let verdict = retranslate(
            ukey.key(),
            ukey.mask(),
            ukey.actions(),
            snapshot,
            &udpif.target.support,
            self.walk.now_ms,
            scratch,
        );
        let out = &scratch.out;
        match verdict {
            Verdict::Keep => ukey.rest_on(out.bridge, &out.deps, &out.effects, out.drop),
            Verdict::Modify => {
                let actions = out.actions.as_bytes();
                self.todo.push(Todo::modify(ukey, actions));
                ukey.set_actions(actions);
                ukey.rest_on(out.bridge, &out.deps, &out.effects, out.drop);
            }
            Verdict::Delete(reason) => self.todo.push(Todo::delete(ukey, reason)),
        }
    }

    /// Adds what it has looked at to all that was.
    fn count(&self, udpif: &Udpif) {
        self.walk.looked.fetch_add(self.looked, Ordering::Relaxed);
        udpif.counters.retranslated.fetch_add(self.looked, Ordering::Relaxed);
        XLATE.add(self.looked);
    }
}
