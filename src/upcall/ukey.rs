//! Ukeys: what we know of each megaflow that we asked the kernel to install.
//!
//! What always holds: there is a ukey for every flow that we installed until the kernel has
//! confirmed its deletion; one ukey per UFID. A ukey is found by its UFID in one of
//! [`UKEY_SHARDS`] shards, each behind a lock that is never held across a system call.
//!
//! A [`Ukey`] keeps its key, mask and actions as the bytes that were sent, beside what a later
//! question needs: on what it rests (tags), what its traffic feeds (learned addresses, counters of
//! rules and patches), and which packet made it.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::l2::fdb::{BundleId, FdbKey};
use crate::limits::UKEY_SHARDS;
use crate::odp::ufid::Ufid;
use crate::ofproto::Rule;
use crate::snapshot::{BridgeId, Dep, PatchCounters};
use crate::xlate::{DropReason, Effect};

use super::slab::Slab;

/// Life of a ukey.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UkeyState {
    /// The put is on its way.
    Visible,
    /// The kernel has the flow.
    Operational,
    /// A revalidator changes it, or asks the kernel for it; nobody else touches it meanwhile.
    InHand,
    /// Its deletion is on its way.
    Evicting,
}

/// What is to become of a ukey that was in hand when somebody else wanted something of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// Nothing more.
    Rest,
    /// What it rests on has changed: it is to be looked at again.
    Look,
    /// It is to go.
    Delete(DeleteReason),
}

/// Why a flow was deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeleteReason {
    /// No packet for the idle time.
    Idle,
    /// Too many flows: those idle longest go.
    FlowLimit,
    /// What it rested on changed, and the new mask or key is another.
    Changed,
    /// An earlier run installed it and today's translation disagrees.
    NotAdopted,
    /// Someone else removed it from the kernel.
    Gone,
    /// The kernel refused it.
    Refused(i32),
    /// Somebody asked for all flows to go.
    Flushed,
    /// Its key does not parse any more: not ours.
    Foreign,
}

impl DeleteReason {
    /// A few words for people.
    pub fn text(self) -> String {
        match self {
            Self::Idle => "idle".into(),
            Self::FlowLimit => "over the flow limit".into(),
            Self::Changed => "what it rested on changed".into(),
            Self::NotAdopted => "an earlier run's flow that translates differently now".into(),
            Self::Gone => "removed from the kernel by someone else".into(),
            Self::Refused(errno) => {
                format!("refused by the kernel: {}", std::io::Error::from_raw_os_error(errno))
            }
            Self::Flushed => "flushed".into(),
            Self::Foreign => "not a flow of ours".into(),
        }
    }
}

/// Kernel counters of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UkeyStats {
    /// Packets that the kernel forwarded by it.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When it last saw one, in monotonic milliseconds; 0 for never.
    pub used_ms: u64,
    /// TCP flags seen, OR-ed.
    pub tcp_flags: u8,
}

/// The address that a flow's traffic keeps in the forwarding database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Learnt {
    /// The bridge.
    pub bridge: BridgeId,
    /// VLAN and address.
    pub key: FdbKey,
    /// Where it is.
    pub bundle: BundleId,
}

/// What a flow's counters are passed on to.
#[derive(Clone, Debug)]
pub enum Feed {
    /// An address is kept in the forwarding database.
    Learnt(Learnt),
    /// A rule decided.
    Rule(Arc<Rule>),
    /// The packets went through a patch: the end where they left a bridge, and the end where they
    /// came into the other.
    Patch(Arc<PatchCounters>, Arc<PatchCounters>),
}

impl Feed {
    fn of(effect: &Effect) -> Self {
        match effect {
            Effect::Learn { bridge, key, bundle, .. } => {
                Self::Learnt(Learnt { bridge: *bridge, key: *key, bundle: *bundle })
            }
            Effect::Credit(rule) => Self::Rule(rule.clone()),
            Effect::Patch { from, to } => Self::Patch(from.clone(), to.clone()),
        }
    }
}

/// What most flows feed: an address and a rule.
const INLINE_FEEDS: usize = 2;

/// Bytes that most flows' key, mask and actions fit into: those of TCP over IPv4, whether flows are
/// wildcarded or not.
const INLINE_BYTES: usize = 152;

/// Tags that most flows rest on.
const INLINE_TAGS: usize = 8;

/// One installed flow. See the module's page.
pub struct Ukey {
    /// Its name in the kernel.
    pub ufid: Ufid,
    /// Where it stands.
    pub state: UkeyState,
    /// Kernel counters as of the last look.
    pub stats: UkeyStats,
    /// When it was made, monotonic milliseconds.
    pub created_ms: u64,
    /// What is to become of it once it is in nobody's hand any more.
    pub then: Then,
    /// Round of the revalidator that last saw it in the kernel; 0 for none.
    pub seen_round: u32,
    /// The number of the last [`UkeyMap::next_phase`] when it was made.
    pub made_in: u32,
    /// The bridge that decided it.
    pub bridge: Option<BridgeId>,
    /// What its traffic means.
    pub feeds: smallvec::SmallVec<[Feed; INLINE_FEEDS]>,
    /// Why it drops, if it does.
    pub drop: Option<DropReason>,
    /// Whether an earlier run installed it. Otherwise its key is that of the packet that made it,
    /// to the last bit.
    pub adopted: bool,
    tags: smallvec::SmallVec<[u64; INLINE_TAGS]>,
    key_len: u16,
    /// `None` for an exact match.
    mask_len: Option<u16>,
    bytes: smallvec::SmallVec<[u8; INLINE_BYTES]>,
}

/// What a ukey is made of.
pub struct NewUkey<'a> {
    /// Its name in the kernel.
    pub ufid: Ufid,
    /// Key attributes as put.
    pub key: &'a [u8],
    /// Mask attributes as put; none for an exact match, whatever was put to say so.
    pub mask: Option<&'a [u8]>,
    /// Action attributes as put.
    pub actions: &'a [u8],
    /// The bridge that decided it.
    pub bridge: Option<BridgeId>,
    /// What it rests on.
    pub deps: &'a [Dep],
    /// What its packets cause.
    pub effects: &'a [Effect],
    /// Why it drops, if it does.
    pub drop: Option<DropReason>,
    /// Whether an earlier run installed it.
    pub adopted: bool,
    /// Now, monotonic milliseconds.
    pub now_ms: u64,
}

impl Ukey {
    /// A ukey whose put is on its way.
    #[inline]
    pub fn new(new: &NewUkey<'_>) -> Self {
        Self {
            ufid: new.ufid,
            state: UkeyState::Visible,
            stats: UkeyStats::default(),
            created_ms: new.now_ms,
            then: Then::Rest,
            seen_round: 0,
            made_in: 0,
            bridge: new.bridge,
            feeds: new.effects.iter().map(Feed::of).collect(),
            drop: new.drop,
            adopted: new.adopted,
            tags: tags_of(new.deps),
            key_len: new.key.len() as u16,
            mask_len: new.mask.map(|mask| mask.len() as u16),
            bytes: joined([new.key, new.mask.unwrap_or_default(), new.actions]),
        }
    }

    /// Takes over what another translation of the same flow found.
    pub fn rest_on(
        &mut self,
        bridge: Option<BridgeId>,
        deps: &[Dep],
        effects: &[Effect],
        drop: Option<DropReason>,
    ) {
        self.bridge = bridge;
        self.drop = drop;
        self.tags = tags_of(deps);
        self.feeds.clear();
        self.feeds.extend(effects.iter().map(Feed::of));
    }

    /// Key attributes as put.
    pub fn key(&self) -> &[u8] {
        &self.bytes[..usize::from(self.key_len)]
    }

    /// Mask attributes as put; none for an exact match.
    pub fn mask(&self) -> Option<&[u8]> {
        Some(&self.bytes[usize::from(self.key_len)..][..usize::from(self.mask_len?)])
    }

    /// Action attributes as put.
    pub fn actions(&self) -> &[u8] {
        &self.bytes[self.actions_at()..]
    }

    /// Takes other actions.
    pub fn set_actions(&mut self, actions: &[u8]) {
        self.bytes.truncate(self.actions_at());
        self.bytes.extend_from_slice(actions);
    }

    fn actions_at(&self) -> usize {
        usize::from(self.key_len) + self.mask_len.map_or(0, usize::from)
    }

    /// Tags of what it rests on.
    pub fn tags(&self) -> &[u64] {
        &self.tags
    }

    /// When it last mattered: its last packet, or its making.
    #[inline]
    pub fn last_use_ms(&self) -> u64 {
        self.stats.used_ms.max(self.created_ms)
    }

    /// Bytes on the heap beside the slot.
    pub fn heap_bytes(&self) -> usize {
        let bytes = if self.bytes.spilled() { self.bytes.capacity() } else { 0 };
        let tags = if self.tags.spilled() { self.tags.capacity() * 8 } else { 0 };
        let feeds =
            if self.feeds.spilled() { self.feeds.capacity() * size_of::<Feed>() } else { 0 };
        bytes + tags + feeds
    }
}

/// Tags of deps. As for [`joined`], what fits is made in its place.
fn tags_of(deps: &[Dep]) -> smallvec::SmallVec<[u64; INLINE_TAGS]> {
    let mut tags = [0; INLINE_TAGS];
    if deps.len() > INLINE_TAGS {
        return deps.iter().map(|dep| dep.tag()).collect();
    }
    for (tag, dep) in tags.iter_mut().zip(deps) {
        *tag = dep.tag();
    }
    smallvec::SmallVec::from_buf_and_len(tags, deps.len())
}

/// The parts, one behind the other. What fits is made in its place, which costs a third of appending.
fn joined(parts: [&[u8]; 3]) -> smallvec::SmallVec<[u8; INLINE_BYTES]> {
    let len = parts.iter().map(|part| part.len()).sum();
    let mut bytes = [0; INLINE_BYTES];
    if len > INLINE_BYTES {
        let mut bytes = smallvec::SmallVec::with_capacity(len);
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        return bytes;
    }
    let mut rest = &mut bytes[..];
    for part in parts {
        let (here, after) = rest.split_at_mut(part.len());
        here.copy_from_slice(part);
        rest = after;
    }
    smallvec::SmallVec::from_buf_and_len(bytes, len)
}

#[derive(Default)]
struct Shard {
    by_ufid: HashTable<u32>,
    slab: Slab<Ukey>,
}

/// The ukeys whose UFIDs fall into one shard, while its lock is held.
pub struct ShardGuard<'a> {
    shard: MutexGuard<'a, Shard>,
    map: &'a UkeyMap,
}

/// See the module's page.
pub struct UkeyMap {
    shards: Vec<Mutex<Shard>>,
    count: AtomicUsize,
    phase: AtomicU32,
}

impl Default for UkeyMap {
    fn default() -> Self {
        Self {
            shards: (0..UKEY_SHARDS).map(|_| Mutex::default()).collect(),
            count: AtomicUsize::new(0),
            phase: AtomicU32::new(0),
        }
    }
}

fn hash(ufid: &Ufid) -> u64 {
    // A UFID is a keyed hash already; the first byte picks the shard.
    let [.., a, b, c, d, e, f, g, h] = ufid.0;
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

impl UkeyMap {
    /// Number of ukeys.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Locks the shard of `ufid`.
    #[inline]
    pub fn shard(&self, ufid: &Ufid) -> ShardGuard<'_> {
        self.lock(usize::from(ufid.0[0]) % self.shards.len())
    }

    /// Locks shard number `i`, of [`UKEY_SHARDS`].
    pub fn shard_number(&self, i: usize) -> ShardGuard<'_> {
        self.lock(i % self.shards.len())
    }

    /// Locks one shard after the other.
    pub fn shards(&self) -> impl Iterator<Item = ShardGuard<'_>> {
        (0..self.shards.len()).map(|i| self.lock(i))
    }

    #[inline]
    fn lock(&self, i: usize) -> ShardGuard<'_> {
        // Every method leaves a shard whole, so a panic elsewhere does not spoil it.
        let shard = self.shards[i].lock().unwrap_or_else(|e| e.into_inner());
        ShardGuard { shard, map: self }
    }

    /// A round of the revalidator begins or ends; the number by which it goes meanwhile. It is odd
    /// while a round is being made, so never 0.
    ///
    /// What the round's dump says of a flow that was made meanwhile ([`Ukey::made_in`]) may be said of
    /// another one of the same name, which was deleted.
    pub fn next_phase(&self) -> u32 {
        self.phase.fetch_add(1, Ordering::AcqRel).wrapping_add(1)
    }

    /// Bytes held for ukeys: slots and what they have on the heap.
    pub fn bytes(&self) -> usize {
        self.shards()
            .map(|shard| {
                let heap: usize = shard.iter().map(Ukey::heap_bytes).sum();
                heap + shard.shard.slab.capacity_bytes() + shard.shard.by_ufid.capacity() * 5
            })
            .sum()
    }
}

impl ShardGuard<'_> {
    /// Number of ukeys in the shard.
    pub fn len(&self) -> usize {
        self.shard.slab.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn find(&self, ufid: &Ufid) -> Option<u32> {
        let Shard { by_ufid, slab } = &*self.shard;
        by_ufid
            .find(hash(ufid), |place| slab.get(*place).is_some_and(|ukey| ukey.ufid == *ufid))
            .copied()
    }

    /// The ukey of that name.
    #[inline]
    pub fn get(&self, ufid: &Ufid) -> Option<&Ukey> {
        self.shard.slab.get(self.find(ufid)?)
    }

    /// The ukey of that name, to change.
    #[inline]
    pub fn get_mut(&mut self, ufid: &Ufid) -> Option<&mut Ukey> {
        let place = self.find(ufid)?;
        self.shard.slab.get_mut(place)
    }

    /// Adds a ukey; false, and nothing done, if there is one of that name already.
    pub fn insert(&mut self, new: &NewUkey<'_>) -> bool {
        let Shard { by_ufid, slab } = &mut *self.shard;
        let entry = by_ufid.entry(
            hash(&new.ufid),
            |place| slab.get(*place).is_some_and(|ukey| ukey.ufid == new.ufid),
            |place| slab.get(*place).map_or(0, |ukey| hash(&ukey.ufid)),
        );
        let Entry::Vacant(entry) = entry else {
            return false;
        };
        let made_in = self.map.phase.load(Ordering::Acquire);
        entry.insert(slab.insert_with(|| Ukey { made_in, ..Ukey::new(new) }));
        self.map.count.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Takes a ukey out.
    pub fn remove(&mut self, ufid: &Ufid) -> Option<Ukey> {
        let Shard { by_ufid, slab } = &mut *self.shard;
        let entry = by_ufid.entry(
            hash(ufid),
            |place| slab.get(*place).is_some_and(|ukey| ukey.ufid == *ufid),
            |place| slab.get(*place).map_or(0, |ukey| hash(&ukey.ufid)),
        );
        let Entry::Occupied(entry) = entry else {
            return None;
        };
        let (place, _) = entry.remove();
        if by_ufid.len() * 8 < by_ufid.capacity() {
            by_ufid.shrink_to(by_ufid.len() * 2, |place| {
                slab.get(*place).map_or(0, |ukey| hash(&ukey.ufid))
            });
        }
        self.map.count.fetch_sub(1, Ordering::Relaxed);
        slab.remove(place)
    }

    /// The shard's ukeys.
    pub fn iter(&self) -> impl Iterator<Item = &Ukey> {
        self.shard.slab.iter()
    }

    /// The shard's ukeys from a place on, to change, and their places. Who lets go of the shard in
    /// between goes on after the last place, and misses none that was there all the while.
    pub fn iter_mut_from(&mut self, first: u32) -> impl Iterator<Item = (u32, &mut Ukey)> {
        self.shard.slab.iter_mut_from(first)
    }

    /// The shard's ukeys, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Ukey> {
        self.shard.slab.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(n: u64) -> NewUkey<'static> {
        let mut ufid = [0; 16];
        ufid[0] = n as u8;
        ufid[8..].copy_from_slice(&n.to_ne_bytes());
        NewUkey {
            ufid: Ufid(ufid),
            key: &[1; 60],
            mask: Some(&[2; 60]),
            actions: &[3; 8],
            bridge: None,
            deps: &[],
            effects: &[],
            drop: None,
            adopted: false,
            now_ms: 7,
        }
    }

    #[test]
    fn a_ukey_keeps_its_bytes() {
        let mut ukey = Ukey::new(&new(1));
        assert_eq!(
            (ukey.key(), ukey.mask(), ukey.actions()),
            (&[1; 60][..], Some(&[2; 60][..]), &[3; 8][..])
        );
        ukey.set_actions(&[4; 300]);
        assert_eq!(
            (ukey.key(), ukey.mask(), ukey.actions()),
            (&[1; 60][..], Some(&[2; 60][..]), &[4; 300][..])
        );
        assert_eq!(Ukey::new(&NewUkey { mask: None, ..new(1) }).mask(), None);
    }

    #[test]
    fn a_ukey_feeds_all_that_its_packets_pass() {
        let counters: [Arc<PatchCounters>; 2] = Default::default();
        let learn = |bridge| Effect::Learn {
            bridge: BridgeId(bridge),
            key: FdbKey { vlan: 0, mac: crate::flow::EthAddr([2; 6]) },
            bundle: BundleId(bridge),
            grat_arp: false,
        };
        let [from, to] = counters.clone();
        let effects = [learn(1), Effect::Patch { from, to }, learn(2)];
        let ukey = Ukey::new(&NewUkey { effects: &effects, ..new(1) });
        let learnt = ukey.feeds.iter().filter_map(|feed| match feed {
            Feed::Learnt(learnt) => Some(learnt.bridge),
            _ => None,
        });
        assert_eq!(learnt.collect::<Vec<_>>(), [BridgeId(1), BridgeId(2)]);
        assert!(ukey.heap_bytes() > 0, "more than fits in is counted");
        let Feed::Patch(from, to) = &ukey.feeds[1] else { panic!("{:?}", ukey.feeds[1]) };
        from.credit(to, 3, 180);
        assert_eq!(counters[0].tx_packets.load(Ordering::Relaxed), 3);
        assert_eq!(counters[1].rx_bytes.load(Ordering::Relaxed), 180);
    }

    #[test]
    fn a_ukey_is_at_most_600_bytes_and_the_memory_comes_back() {
        let map = UkeyMap::default();
        let flows = 20_000;
        for n in 0..flows {
            assert!(map.shard(&new(n).ufid).insert(&new(n)));
        }
        assert!(map.bytes() / flows as usize <= 600, "{} bytes", map.bytes() / flows as usize);
        for n in 0..flows {
            assert!(map.shard(&new(n).ufid).remove(&new(n).ufid).is_some());
        }
        assert!(map.is_empty());
        assert!(map.bytes() < flows as usize * 60);
    }

    #[test]
    fn one_ukey_per_ufid() {
        let map = UkeyMap::default();
        let one = new(1);
        assert!(map.shard(&one.ufid).insert(&one));
        assert!(!map.shard(&one.ufid).insert(&one));
        assert_eq!(map.len(), 1);
        assert!(map.shard(&one.ufid).remove(&one.ufid).is_some());
        assert!(map.shard(&one.ufid).remove(&one.ufid).is_none());
        assert!(map.shard(&one.ufid).get(&one.ufid).is_none());
    }
}
