//! Event counters: how often each interesting place in the code was passed.
//!
//! What it is: static counters with names, and the moving averages that `coverage/show` prints.
//!
//! What always holds: counting is one relaxed atomic add to a cache line that few threads share
//! (each counter has a slot per group of threads), so it may stand on the hot path; a counter is
//! listed from the moment it first counts. Names are the peer's where the event is.
//!
//! `NAMES` lists them, so that each is known, at zero, before it first counts.
//!
//! Threads: any thread counts; the control thread calls [`tick`] every five seconds.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use ovs_netlink::tally::Tally;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Counters of this program; a test sees to it that there is such an event for each.
const NAMES: [&str; 38] = [
    "bridge_reconfigure",
    "dpif_destroy",
    "dpif_execute",
    "dpif_execute_error",
    "dpif_flow_del",
    "dpif_flow_flush",
    "dpif_flow_get",
    "dpif_flow_put",
    "dpif_flow_put_error",
    "dpif_port_add",
    "dpif_port_del",
    "dumped_duplicate_flow",
    "dumped_new_flow",
    "flow_extract",
    "handler_duplicate_upcall",
    "mac_learning_evicted",
    "mac_learning_expired",
    "mac_learning_learned",
    "mac_learning_moved",
    "mac_learning_static_none_move",
    "miniflow_extract_ipv4_pkt_len_error",
    "miniflow_extract_ipv4_pkt_too_short",
    "miniflow_extract_ipv6_pkt_len_error",
    "miniflow_extract_ipv6_pkt_too_short",
    "netlink_overflow",
    "netlink_received",
    "netlink_sent",
    "rev_flow_table",
    "rev_mac_learning",
    "rev_reconfigure",
    "revalidate_missed_dp_flow",
    "revalidate_xlate",
    "ukey_invalid_stat_reset",
    "unixctl_received",
    "unixctl_replied",
    "upcall_action_unserved",
    "upcall_flow_limit_hit",
    "xlate_actions",
];

/// Time between two calls of [`tick`]; a slot of the averages.
pub const TICK_MS: u64 = 5000;
const SLOTS_PER_MINUTE: usize = 12;
const MINUTES: usize = 60;
/// Slots of a counter: threads beyond share.
const SHARDS: usize = 8;

counter!(static NETLINK_SENT = "netlink_sent");
counter!(static NETLINK_RECEIVED = "netlink_received");
counter!(static NETLINK_OVERFLOW = "netlink_overflow");

/// A counter; make one with [`counter!`](crate::coverage::counter).
pub struct Counter {
    name: &'static str,
    is_listed: AtomicBool,
    shards: [Shard; SHARDS],
}

#[repr(align(64))]
struct Shard(AtomicU64);

impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.name, self.total())
    }
}

thread_local! {
    static SHARD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS
    };
}

impl Counter {
    /// A counter of that name, at zero. It must be a `static`.
    pub const fn new(name: &'static str) -> Counter {
        Counter {
            name,
            is_listed: AtomicBool::new(false),
            shards: [const { Shard(AtomicU64::new(0)) }; SHARDS],
        }
    }

    /// Counts `n` events.
    pub fn add(&'static self, n: u64) {
        if !self.is_listed.load(Ordering::Relaxed) {
            self.list();
        }
        if let Some(Shard(count)) = self.shards.get(SHARD.with(|shard| *shard)) {
            count.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Events counted since the start, by all threads.
    pub fn total(&self) -> u64 {
        self.shards.iter().map(|Shard(count)| count.load(Ordering::Relaxed)).sum()
    }

    /// The name that `coverage/show` prints.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Lists the counter although it has not counted yet, so that `coverage/read-counter` knows
    /// it from the start.
    pub fn list(&'static self) {
        if !self.is_listed.swap(true, Ordering::Relaxed) {
            let mut coverage = COVERAGE.lock().unwrap_or_else(PoisonError::into_inner);
            coverage.counters.push(Listed { counter: self, average: Average::default() });
        }
    }
}

/// Defines a counter: `counter!(static UPCALLS = "upcall_miss");` and later `UPCALLS.add(1)`.
#[macro_export]
macro_rules! coverage_counter {
    ($(#[$attribute:meta])* $visibility:vis static $ident:ident = $name:literal) => {
        $(#[$attribute])*
        $visibility static $ident: $crate::coverage::Counter =
            $crate::coverage::Counter::new($name);
    };
}
pub use coverage_counter as counter;

static COVERAGE: LazyLock<Mutex<Coverage>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Coverage {
    counters: Vec<Listed>,
    /// Slots gone by, modulo an hour of them.
    slot: usize,
    last_tick_ms: Option<u64>,
}

struct Listed {
    counter: &'static Counter,
    average: Average,
}

#[derive(Clone, Debug)]
struct Average {
    last_total: u64,
    slots: [u64; SLOTS_PER_MINUTE],
    minutes: [u64; MINUTES],
}

impl Default for Average {
    fn default() -> Average {
        Average { last_total: 0, slots: [0; SLOTS_PER_MINUTE], minutes: [0; MINUTES] }
    }
}

/// Takes over what is counted where this module is not known.
fn absorb() {
    static TAKEN: Mutex<Option<Tally>> = Mutex::new(None);
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Tally::now();
    let last = taken.replace(now).unwrap_or_default();
    NETLINK_SENT.add(now.sent.saturating_sub(last.sent));
    NETLINK_RECEIVED.add(now.received.saturating_sub(last.received));
    NETLINK_OVERFLOW.add(now.overflows.saturating_sub(last.overflows));
}

/// Moves the averages on to `now_ms`; what was counted since the last call is spread over the
/// slots that went by. Does nothing before a slot is over.
pub fn tick(now_ms: u64) {
    absorb();
    COVERAGE.lock().unwrap_or_else(PoisonError::into_inner).tick(now_ms);
}

/// The text of `coverage/show`.
pub fn show() -> String {
    absorb();
    COVERAGE.lock().unwrap_or_else(PoisonError::into_inner).show()
}

/// The total of the counter of that name, for `coverage/read-counter`.
pub fn read(name: &str) -> Option<u64> {
    absorb();
    let coverage = COVERAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let listed = coverage.counters.iter().find(|listed| listed.counter.name == name);
    let known = || NAMES.contains(&name).then_some(0);
    listed.map(|listed| listed.counter.total()).or_else(known)
}

/// Names and totals of all counters, for metrics.
pub fn totals() -> Vec<(&'static str, u64)> {
    absorb();
    let coverage = COVERAGE.lock().unwrap_or_else(PoisonError::into_inner);
    coverage.counters.iter().map(|listed| (listed.counter.name, listed.counter.total())).collect()
}

impl Coverage {
    fn tick(&mut self, now_ms: u64) {
        let last_ms = *self.last_tick_ms.get_or_insert(now_ms);
        let slots = now_ms.saturating_sub(last_ms) / TICK_MS;
        if slots == 0 {
            return;
        }
        self.last_tick_ms = Some(last_ms + slots * TICK_MS);
        // After an hour's sleep every slot is overwritten anyway.
        let slots = usize::try_from(slots).unwrap_or(usize::MAX).min(SLOTS_PER_MINUTE * MINUTES);
        for listed in &mut self.counters {
            let total = listed.counter.total();
            listed.average.advance(total, self.slot, slots);
        }
        self.slot = (self.slot + slots) % (SLOTS_PER_MINUTE * MINUTES);
    }

    fn show(&self) -> String {
        let mut out = format!(
            "Event coverage, avg rate over last: {} seconds, last minute, last hour,  \
             hash={:08x}:\n",
            TICK_MS / 1000,
            self.hash()
        );
        let last_slot = (self.slot + SLOTS_PER_MINUTE * MINUTES - 1) % SLOTS_PER_MINUTE;
        let unlisted = |name: &&&str| self.counters.iter().all(|at| at.counter.name != **name);
        let mut never_hit = NAMES.iter().filter(unlisted).count();
        for Listed { counter, average } in &self.counters {
            let total = counter.total();
            if total == 0 {
                never_hit += 1;
                continue;
            }
            let last = average.slots.get(last_slot).copied().unwrap_or(0);
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "{:<24} {:5.1}/sec {:9.3}/sec {:13.4}/sec   total: {}",
                counter.name,
                last as f64 * 1000.0 / TICK_MS as f64,
                average.slots.iter().sum::<u64>() as f64 / 60.0,
                average.minutes.iter().sum::<u64>() as f64 / 3600.0,
                total
            );
        }
        let _ = writeln!(out, "{never_hit} events never hit");
        out
    }

    /// A hash of which counters counted, and of their order by total: equal for processes that
    /// do the same things, whatever the numbers.
    fn hash(&self) -> u32 {
        let mut counts: Vec<(u64, &str)> =
            self.counters.iter().map(|at| (at.counter.total(), at.counter.name)).collect();
        counts.retain(|(total, _)| *total > 0);
        counts.sort_by(|(a, a_name), (b, b_name)| b.cmp(a).then(a_name.cmp(b_name)));
        let mut hash = 0;
        let mut groups = 0;
        let mut rank = 0u32;
        for group in counts.chunk_by(|(a, _), (b, _)| a == b) {
            groups += 1;
            hash = murmur3(&rank.to_le_bytes(), hash);
            for (_, name) in group {
                hash = murmur3(name.as_bytes(), hash);
                rank += 1;
            }
        }
        murmur3(&u32::to_le_bytes(groups), hash)
    }
}

impl Average {
    fn advance(&mut self, total: u64, slot: usize, slots: usize) {
        let count = total.saturating_sub(self.last_total);
        self.last_total = total;
        let share = count / slots as u64;
        for at in 0..slots {
            let in_minute = (slot + at) % SLOTS_PER_MINUTE;
            let minute = (slot + at) / SLOTS_PER_MINUTE % MINUTES;
            let rest = if at == slots - 1 { count % slots as u64 } else { 0 };
            if let Some(slot) = self.slots.get_mut(in_minute) {
                *slot = share + rest;
            }
            if let Some(sum) = self.minutes.get_mut(minute) {
                *sum = if in_minute == 0 { share + rest } else { *sum + share + rest };
            }
        }
    }
}

/// MurmurHash3 (x86, 32 bit) of `bytes`, from a seed. Public domain, by Austin Appleby.
fn murmur3(bytes: &[u8], seed: u32) -> u32 {
    let mix = |hash: u32, word: u32| {
        let word = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        hash ^ word
    };
    let (words, rest) = bytes.as_chunks::<4>();
    let mut hash = words.iter().fold(seed, |hash, word| {
        mix(hash, u32::from_le_bytes(*word))
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64)
    });
    let tail = rest.iter().rev().fold(0, |tail, byte| tail << 8 | u32::from(*byte));
    hash = mix(hash, tail) ^ bytes.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of the reference implementation of MurmurHash3_x86_32.
    #[test]
    fn murmur3_vectors() {
        assert_eq!(murmur3(b"", 0), 0);
        assert_eq!(murmur3(b"", 1), 0x514e_28b7);
        assert_eq!(murmur3(b"aaaa", 0x9747_b28c), 0x5a97_808a);
        assert_eq!(murmur3(b"Hello, world!", 0x9747_b28c), 0x2488_4cba);
    }

    #[test]
    fn averages() {
        counter!(static A = "a_counter");
        counter!(static B = "b_counter");
        let mut coverage = Coverage::default();
        for counter in [&A, &B] {
            coverage.counters.push(Listed { counter, average: Average::default() });
        }
        coverage.tick(1_000);
        A.add(50);
        coverage.tick(5_999);
        coverage.tick(6_000);
        // The shape of a line of ovs-vswitchd 3.1.0:
        // util_xalloc                0.0/sec     0.000/sec        0.0000/sec   total: 950
        let show = coverage.show();
        let lines: Vec<&str> = show.lines().skip(1).collect();
        // One of the two here, and all of the others.
        let never = format!("{} events never hit", NAMES.len() + 1);
        let counted =
            "a_counter                 10.0/sec     0.833/sec        0.0139/sec   total: 50";
        assert_eq!(lines, [counted, never.as_str()]);
        assert!(show.starts_with(
            "Event coverage, avg rate over last: 5 seconds, last minute, last hour,  hash="
        ));
        // Eleven slots later it still counts for the minute, twelve later for the hour only.
        coverage.tick(6_000 + 11 * TICK_MS);
        assert!(coverage.show().contains(" 0.0/sec     0.833/sec        0.0139/sec"));
        coverage.tick(6_000 + 12 * TICK_MS);
        assert!(coverage.show().contains(" 0.0/sec     0.000/sec        0.0139/sec"));
        coverage.tick(6_000 + 800 * TICK_MS);
        assert!(coverage.show().contains(" 0.0/sec     0.000/sec        0.0000/sec   total: 50"));
    }

    #[test]
    fn counts_of_many_threads_add_up() {
        counter!(static MANY = "a_counter_of_many_threads");
        assert_eq!(read("a_counter_of_many_threads"), None);
        let threads: Vec<_> =
            (0..20).map(|_| std::thread::spawn(|| (0..1000).for_each(|_| MANY.add(1)))).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
        assert_eq!(read("a_counter_of_many_threads"), Some(20_000));
        assert!(totals().contains(&("a_counter_of_many_threads", 20_000)));
    }

    /// The names in the sources, those of this file's tests left out.
    fn names_in(dir: &std::path::Path, names: &mut std::collections::BTreeSet<String>) {
        for entry in std::fs::read_dir(dir).expect("sources").flatten() {
            let path = entry.path();
            if path.is_dir() {
                names_in(&path, names);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let code: String =
                text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            for rest in code.split("counter!(").skip(1) {
                let call = rest.split(')').next().unwrap_or_default();
                names.extend(call.split('"').nth(1).map(str::to_owned));
            }
        }
    }

    #[test]
    fn counters_are_known_before_they_count() {
        let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut names = std::collections::BTreeSet::new();
        names_in(&src, &mut names);
        for known in NAMES {
            assert!(names.contains(known), "nothing counts {known}");
        }
        assert!(read("netlink_sent").is_some());
        assert_eq!(read("no_such_counter"), None);
    }
}
