//! The forwarding database: which MAC address was seen where, per VLAN.
//!
//! What always holds: at most [`FdbConfig::max_entries`] entries; when the table is full, the port
//! with the most entries loses one of its least recently used, so that one port cannot push out
//! the addresses of the others. Reserved, multicast and zero addresses are never learned. An
//! entry ages from its last use, [`FdbConfig::aging_ms`]; an expired one is not found, whether or
//! not [`Fdb::expire`] has come by. A static entry ([`Fdb::add_static`]) is an operator's word:
//! it neither ages nor moves nor makes room, and goes only by command or with its port.
//!
//! Handlers look up and refresh under a reader lock and take the writer lock only to learn or to
//! move; the control thread expires. Time is milliseconds of the monotonic clock.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::coverage::counter;
use crate::flow::EthAddr;

counter!(static LEARNED = "mac_learning_learned");
counter!(static EXPIRED = "mac_learning_expired");
counter!(static EVICTED = "mac_learning_evicted");
counter!(static MOVED = "mac_learning_moved");
counter!(static STATIC_NONE_MOVE = "mac_learning_static_none_move");

/// A place behind which addresses are: a port or a bond, by a number that its bridge never reuses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BundleId(pub u32);

/// A VLAN and an address in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct FdbKey {
    /// VLAN id, 0 for untagged traffic.
    pub vlan: u16,
    /// The address.
    pub mac: EthAddr,
}

/// Bounds of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FdbConfig {
    /// Most entries; the peer's default is 8192.
    pub max_entries: usize,
    /// Life of an unused entry in milliseconds; the peer's default is 300 s.
    pub aging_ms: u64,
    /// VLANs in which nothing is learned and everything is flooded.
    pub flood_vlans: Vec<u16>,
}

impl Default for FdbConfig {
    fn default() -> Self {
        Self { max_entries: 8192, aging_ms: 300_000, flood_vlans: Vec::new() }
    }
}

/// What came of learning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Learned {
    /// May not be learned: a group address, or a VLAN without learning.
    Refused,
    /// Known there already; its age is refreshed.
    Refreshed,
    /// New; the entry that had to go for it, if any.
    New {
        /// What was pushed out.
        evicted: Option<FdbKey>,
    },
    /// Known behind another port until now.
    Moved {
        /// Where it was.
        from: BundleId,
    },
    /// A bond may have reflected the packet: locked by a gratuitous ARP a moment ago.
    Locked,
    /// An operator said where it is; what packets say does not count.
    Static,
}

/// One entry as a listing shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FdbEntry {
    /// VLAN and address.
    pub key: FdbKey,
    /// Where it is.
    pub bundle: BundleId,
    /// Milliseconds since its last use.
    pub age_ms: u64,
    /// Whether it stays as it is, whatever is seen.
    pub is_static: bool,
}

/// Counts since the table was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FdbStats {
    /// Entries now.
    pub entries: usize,
    /// Most entries allowed.
    pub max_entries: usize,
    /// Static ones among the entries.
    pub static_entries: usize,
    /// Learned.
    pub learned: u64,
    /// Died of age.
    pub expired: u64,
    /// Pushed out by others.
    pub evicted: u64,
    /// Seen behind another port than before.
    pub moved: u64,
}

struct Entry {
    bundle: BundleId,
    used_ms: AtomicU64,
    is_static: bool,
    /// Until when gratuitous ARPs over bonds are not believed.
    grat_arp_lock_ms: u64,
    /// Which of the queue's records for this key is the valid one.
    ticket: u64,
}

/// Records of one bundle's entries, oldest first; a record whose ticket is not its entry's is
/// stale and skipped.
#[derive(Default)]
struct BundleQueue {
    count: usize,
    records: VecDeque<(FdbKey, u64, u64)>,
}

struct Table {
    config: FdbConfig,
    entries: HashMap<FdbKey, Entry, foldhash::fast::RandomState>,
    queues: HashMap<BundleId, BundleQueue, foldhash::fast::RandomState>,
    /// Bundles by number of entries, to find the greediest.
    by_count: BTreeSet<(usize, BundleId)>,
    next_ticket: u64,
    static_entries: usize,
    stats: FdbStats,
}

/// See the module's page.
pub struct Fdb {
    table: RwLock<Table>,
}

/// Milliseconds during which a gratuitous ARP over a plain port makes those over bonds unbelieved.
const GRAT_ARP_LOCK_MS: u64 = 5_000;

/// How far the kernel's time of a flow's last packet may be off: it counts in ticks, of 10 ms at
/// most, and rounds twice.
const KERNEL_CLOCK_MS: u64 = 20;

impl Fdb {
    /// An empty table.
    pub fn new(config: FdbConfig) -> Self {
        Self {
            table: RwLock::new(Table {
                config,
                entries: HashMap::default(),
                queues: HashMap::default(),
                by_count: BTreeSet::new(),
                next_ticket: 0,
                static_entries: 0,
                stats: FdbStats::default(),
            }),
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Table> {
        // The table is whole after every statement that can panic, so a poisoned lock is sound.
        self.table.read().unwrap_or_else(|e| e.into_inner())
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(|e| e.into_inner())
    }

    /// Where `key` is, or `None`: not known, or not known any more.
    pub fn lookup(&self, key: FdbKey, now_ms: u64) -> Option<BundleId> {
        let table = self.read();
        let entry = table.entries.get(&key)?;
        table.alive(entry, now_ms).then_some(entry.bundle)
    }

    /// Notes that `key` was seen behind `bundle`. `grat_arp` says that the packet was a gratuitous
    /// ARP, `bond` that the bundle is one.
    pub fn learn(
        &self,
        key: FdbKey,
        bundle: BundleId,
        grat_arp: bool,
        bond: bool,
        now_ms: u64,
    ) -> Learned {
        {
            let table = self.read();
            if !table.may_learn(key) {
                return Learned::Refused;
            }
            // The common case: known here, and only its age changes.
            if let Some(entry) = table.entries.get(&key)
                && table.alive(entry, now_ms)
                && (entry.bundle == bundle || entry.is_static)
                && (!grat_arp || bond || entry.is_static)
            {
                if entry.is_static {
                    if entry.bundle != bundle {
                        STATIC_NONE_MOVE.add(1);
                    }
                    return Learned::Static;
                }
                entry.used_ms.fetch_max(now_ms, Ordering::Relaxed);
                return Learned::Refreshed;
            }
        }
        self.write().learn(key, bundle, grat_arp, bond, now_ms)
    }

    /// Notes that the kernel alone forwarded packets of `key` that came from `bundle`, the last one
    /// at `used_ms`. An address that was forgotten is learned again, and one known elsewhere moves
    /// when it was clearly seen here later than there.
    pub fn seen(&self, key: FdbKey, bundle: BundleId, used_ms: u64, now_ms: u64) -> Learned {
        {
            let table = self.read();
            if !table.may_learn(key) || now_ms.saturating_sub(used_ms) >= table.config.aging_ms {
                return Learned::Refused;
            }
            if let Some(entry) = table.entries.get(&key)
                && table.alive(entry, now_ms)
            {
                if entry.is_static {
                    return Learned::Static;
                }
                if entry.bundle == bundle {
                    entry.used_ms.fetch_max(used_ms, Ordering::Relaxed);
                    return Learned::Refreshed;
                }
                let there_ms = entry.used_ms.load(Ordering::Relaxed);
                if used_ms <= there_ms.saturating_add(KERNEL_CLOCK_MS) {
                    return Learned::Refused;
                }
            }
        }
        self.write().learn(key, bundle, false, false, used_ms)
    }

    /// Removes what has died of age; `each` sees every key removed.
    pub fn expire(&self, now_ms: u64, mut each: impl FnMut(FdbKey)) {
        let dead: Vec<FdbKey> = {
            let table = self.read();
            table
                .entries
                .iter()
                .filter(|(_, entry)| !table.alive(entry, now_ms))
                .map(|(key, _)| *key)
                .collect()
        };
        if dead.is_empty() {
            return;
        }
        let mut table = self.write();
        for key in dead {
            // It may have been used between the two locks.
            if table.entries.get(&key).is_some_and(|entry| !table.alive(entry, now_ms)) {
                table.remove(key);
                table.stats.expired += 1;
                EXPIRED.add(1);
                each(key);
            }
        }
    }

    /// Says that `key` is behind `bundle`, whatever is seen, until [`Fdb::remove_static`] or the
    /// bundle goes. Group addresses are taken too, as the peer does. False when the table is full of
    /// static entries.
    pub fn add_static(&self, key: FdbKey, bundle: BundleId, now_ms: u64) -> bool {
        let mut table = self.write();
        table.remove(key);
        if table.entries.len() >= table.config.max_entries && table.evict().is_none() {
            return false;
        }
        table.next_ticket += 1;
        let entry = Entry {
            bundle,
            used_ms: AtomicU64::new(now_ms),
            is_static: true,
            grat_arp_lock_ms: 0,
            ticket: table.next_ticket,
        };
        table.entries.insert(key, entry);
        table.static_entries += 1;
        true
    }

    /// Removes a static entry; false when there is none.
    pub fn remove_static(&self, key: FdbKey) -> bool {
        let mut table = self.write();
        let is_there = table.entries.get(&key).is_some_and(|entry| entry.is_static);
        if is_there {
            table.remove(key);
        }
        is_there
    }

    /// The entry of `key`, unless it is not known any more.
    pub fn entry(&self, key: FdbKey, now_ms: u64) -> Option<FdbEntry> {
        let table = self.read();
        let entry = table.entries.get(&key).filter(|entry| table.alive(entry, now_ms))?;
        Some(entry.shown(key, now_ms))
    }

    /// Forgets everything that was learned; `each` sees every key removed.
    pub fn flush_learned(&self, mut each: impl FnMut(FdbKey)) {
        let mut table = self.write();
        let gone: Vec<FdbKey> = table.learned_keys().collect();
        for key in gone {
            table.remove(key);
            each(key);
        }
    }

    /// Removes the entries that `which` picks, static ones too; `each` sees every key removed.
    pub fn flush(&self, which: impl Fn(FdbKey, BundleId) -> bool, mut each: impl FnMut(FdbKey)) {
        let mut table = self.write();
        let gone: Vec<FdbKey> = table
            .entries
            .iter()
            .filter(|(key, entry)| which(**key, entry.bundle))
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            table.remove(key);
            each(key);
        }
    }

    /// Takes other bounds; what does not fit them goes, `each` sees every key removed.
    pub fn configure(&self, config: FdbConfig, mut each: impl FnMut(FdbKey)) {
        let mut table = self.write();
        table.config = config;
        let refused: Vec<FdbKey> =
            table.learned_keys().filter(|key| !table.may_learn(*key)).collect();
        for key in refused {
            table.remove(key);
            each(key);
        }
        while table.entries.len() > table.config.max_entries {
            match table.evict() {
                Some(key) => each(key),
                None => break,
            }
        }
    }

    /// Whether nothing is learned in `vlan`, so that everything in it is flooded.
    pub fn is_flood_vlan(&self, vlan: u16) -> bool {
        self.read().config.flood_vlans.contains(&vlan)
    }

    /// All living entries, least recently used first.
    pub fn entries(&self, now_ms: u64) -> Vec<FdbEntry> {
        let table = self.read();
        let mut all: Vec<(u64, FdbEntry)> = table
            .entries
            .iter()
            .filter(|(_, entry)| table.alive(entry, now_ms))
            .map(|(key, entry)| (entry.ticket, entry.shown(*key, now_ms)))
            .collect();
        all.sort_by_key(|(ticket, entry)| (std::cmp::Reverse(entry.age_ms), *ticket));
        all.into_iter().map(|(_, entry)| entry).collect()
    }

    /// Counts.
    pub fn stats(&self) -> FdbStats {
        let table = self.read();
        FdbStats {
            entries: table.entries.len(),
            max_entries: table.config.max_entries,
            static_entries: table.static_entries,
            ..table.stats
        }
    }

    /// Forgets the counts that [`Fdb::stats`] accumulates.
    pub fn clear_stats(&self) {
        self.write().stats = FdbStats::default();
    }
}

impl Entry {
    fn shown(&self, key: FdbKey, now_ms: u64) -> FdbEntry {
        FdbEntry {
            key,
            bundle: self.bundle,
            age_ms: now_ms.saturating_sub(self.used_ms.load(Ordering::Relaxed)),
            is_static: self.is_static,
        }
    }
}

impl Table {
    fn alive(&self, entry: &Entry, now_ms: u64) -> bool {
        entry.is_static
            || now_ms.saturating_sub(entry.used_ms.load(Ordering::Relaxed)) < self.config.aging_ms
    }

    fn learned_keys(&self) -> impl Iterator<Item = FdbKey> + '_ {
        self.entries.iter().filter(|(_, entry)| !entry.is_static).map(|(key, _)| *key)
    }

    fn may_learn(&self, key: FdbKey) -> bool {
        !key.mac.is_multicast()
            && key.mac != EthAddr::ZERO
            && !self.config.flood_vlans.contains(&key.vlan)
    }

    fn learn(
        &mut self,
        key: FdbKey,
        bundle: BundleId,
        grat_arp: bool,
        bond: bool,
        now_ms: u64,
    ) -> Learned {
        let aging_ms = self.config.aging_ms;
        if let Some(entry) = self.entries.get_mut(&key) {
            // It became static between the two locks.
            if entry.is_static {
                return Learned::Static;
            }
            let expired = now_ms.saturating_sub(entry.used_ms.load(Ordering::Relaxed)) >= aging_ms;
            if grat_arp && bond && entry.grat_arp_lock_ms > now_ms {
                return Learned::Locked;
            }
            entry.used_ms = AtomicU64::new(now_ms);
            if grat_arp && !bond {
                entry.grat_arp_lock_ms = now_ms + GRAT_ARP_LOCK_MS;
            }
            let from = entry.bundle;
            if from == bundle {
                return if expired { Learned::New { evicted: None } } else { Learned::Refreshed };
            }
            entry.bundle = bundle;
            self.enqueue(key, bundle, now_ms);
            self.uncount(from);
            self.stats.moved += 1;
            MOVED.add(1);
            return Learned::Moved { from };
        }
        let evicted =
            if self.entries.len() >= self.config.max_entries { self.evict() } else { None };
        if self.entries.len() >= self.config.max_entries {
            return Learned::Refused;
        }
        let entry = Entry {
            bundle,
            used_ms: AtomicU64::new(now_ms),
            is_static: false,
            grat_arp_lock_ms: if grat_arp && !bond { now_ms + GRAT_ARP_LOCK_MS } else { 0 },
            ticket: 0,
        };
        self.entries.insert(key, entry);
        self.enqueue(key, bundle, now_ms);
        self.stats.learned += 1;
        LEARNED.add(1);
        Learned::New { evicted }
    }

    /// Makes `key`, already in the table, the youngest of `bundle`.
    fn enqueue(&mut self, key: FdbKey, bundle: BundleId, now_ms: u64) {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.ticket = ticket;
        }
        let queue = self.queues.entry(bundle).or_default();
        self.by_count.remove(&(queue.count, bundle));
        queue.count += 1;
        queue.records.push_back((key, ticket, now_ms));
        self.by_count.insert((queue.count, bundle));
        // Stale records are dropped when they outnumber the valid ones.
        if queue.records.len() > 2 * queue.count + 16 {
            let entries = &self.entries;
            queue.records.retain(|(key, ticket, _)| {
                entries.get(key).is_some_and(|entry| entry.ticket == *ticket)
            });
        }
    }

    fn uncount(&mut self, bundle: BundleId) {
        if let Some(queue) = self.queues.get_mut(&bundle) {
            self.by_count.remove(&(queue.count, bundle));
            queue.count = queue.count.saturating_sub(1);
            if queue.count == 0 {
                self.queues.remove(&bundle);
            } else {
                self.by_count.insert((queue.count, bundle));
            }
        }
    }

    fn remove(&mut self, key: FdbKey) {
        match self.entries.remove(&key) {
            Some(entry) if entry.is_static => self.static_entries -= 1,
            Some(entry) => self.uncount(entry.bundle),
            None => {}
        }
    }

    /// Removes one of the oldest entries of the bundle that has most. An entry used since its
    /// record was queued gets a second chance, each at most once a call.
    fn evict(&mut self) -> Option<FdbKey> {
        let &(_, bundle) = self.by_count.last()?;
        let queue = self.queues.get_mut(&bundle)?;
        let mut chances = queue.count;
        while let Some((key, ticket, queued_ms)) = queue.records.pop_front() {
            let Some(entry) = self.entries.get(&key).filter(|entry| entry.ticket == ticket) else {
                continue;
            };
            let used_ms = entry.used_ms.load(Ordering::Relaxed);
            if used_ms > queued_ms && chances > 0 {
                chances -= 1;
                queue.records.push_back((key, ticket, used_ms));
                continue;
            }
            self.remove(key);
            self.stats.evicted += 1;
            EVICTED.add(1);
            return Some(key);
        }
        None
    }
}

#[cfg(test)]
mod tests;
