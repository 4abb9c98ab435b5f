//! Tests of the forwarding database.

use super::*;

fn key(vlan: u16, n: u32) -> FdbKey {
    let [_, b, c, d] = n.to_be_bytes();
    FdbKey { vlan, mac: EthAddr([2, 0, 0, b, c, d]) }
}

fn small(max_entries: usize) -> Fdb {
    Fdb::new(FdbConfig { max_entries, ..FdbConfig::default() })
}

const A: BundleId = BundleId(1);
const B: BundleId = BundleId(2);

#[test]
fn learns_refreshes_and_moves() {
    let fdb = small(10);
    assert_eq!(fdb.learn(key(0, 1), A, false, false, 100), Learned::New { evicted: None });
    assert_eq!(fdb.learn(key(0, 1), A, false, false, 200), Learned::Refreshed);
    assert_eq!(fdb.learn(key(0, 1), B, false, false, 300), Learned::Moved { from: A });
    assert_eq!(fdb.lookup(key(0, 1), 300), Some(B));
    assert_eq!(fdb.lookup(key(5, 1), 300), None);
    assert_eq!(fdb.stats().moved, 1);
}

#[test]
fn ages_from_the_last_use() {
    let fdb = small(10);
    fdb.learn(key(0, 1), A, false, false, 0);
    assert_eq!(fdb.seen(key(0, 1), A, 200_000, 200_100), Learned::Refreshed);
    assert_eq!(fdb.lookup(key(0, 1), 499_999), Some(A));
    assert_eq!(fdb.lookup(key(0, 1), 500_000), None);
    let mut gone = Vec::new();
    fdb.expire(500_000, |key| gone.push(key));
    assert_eq!(gone, [key(0, 1)]);
    assert_eq!(
        fdb.stats(),
        FdbStats { max_entries: 10, learned: 1, expired: 1, ..FdbStats::default() }
    );
}

#[test]
fn what_the_kernel_saw_counts_when_it_is_clearly_younger() {
    let fdb = small(10);
    fdb.learn(key(0, 1), B, false, false, 1_000);
    assert_eq!(fdb.seen(key(0, 1), A, 900, 1_100), Learned::Refused);
    assert_eq!(
        fdb.seen(key(0, 1), A, 1_020, 1_100),
        Learned::Refused,
        "the kernel's clock is coarse"
    );
    assert_eq!(fdb.seen(key(0, 1), A, 1_050, 1_100), Learned::Moved { from: B });
    // Forgotten, as by fdb/flush: traffic that the kernel forwards brings it back.
    fdb.flush(|_, _| true, |_| ());
    assert_eq!(fdb.seen(key(0, 1), A, 1_060, 1_200), Learned::New { evicted: None });
    // Died of age and not collected yet: those who read its absence must hear.
    assert_eq!(fdb.lookup(key(0, 1), 400_000), None);
    assert_eq!(fdb.seen(key(0, 1), A, 399_000, 400_000), Learned::New { evicted: None });
    assert_eq!(fdb.lookup(key(0, 1), 400_000), Some(A));
    assert_eq!(fdb.seen(key(0, 2), A, 1_000, 900_000), Learned::Refused, "too long ago");
}

#[test]
fn the_greediest_port_pays() {
    let fdb = small(10);
    for n in 0..2 {
        fdb.learn(key(0, n), A, false, false, u64::from(n));
    }
    for n in 100..108 {
        fdb.learn(key(0, n), B, false, false, u64::from(n));
    }
    // B's oldest has been used since, so it is the second oldest that goes.
    assert_eq!(fdb.seen(key(0, 100), B, 500, 500), Learned::Refreshed);
    let learned = fdb.learn(key(0, 3), A, false, false, 600);
    assert_eq!(learned, Learned::New { evicted: Some(key(0, 101)) });
    assert_eq!(fdb.lookup(key(0, 0), 600), Some(A));
    assert_eq!(fdb.lookup(key(0, 100), 600), Some(B));
}

#[test]
fn group_addresses_and_flood_vlans_are_not_learned() {
    let fdb = Fdb::new(FdbConfig { flood_vlans: vec![7], ..FdbConfig::default() });
    let group = FdbKey { vlan: 0, mac: EthAddr([1, 0, 0x5e, 0, 0, 1]) };
    assert_eq!(fdb.learn(group, A, false, false, 0), Learned::Refused);
    assert_eq!(fdb.learn(key(7, 1), A, false, false, 0), Learned::Refused);
    assert!(fdb.is_flood_vlan(7));
}

#[test]
fn a_gratuitous_arp_locks_out_reflections_over_bonds() {
    let fdb = small(10);
    fdb.learn(key(0, 1), A, true, false, 0);
    assert_eq!(fdb.learn(key(0, 1), B, true, true, 4_999), Learned::Locked);
    assert_eq!(fdb.learn(key(0, 1), B, true, true, 5_000), Learned::Moved { from: A });
}

#[test]
fn smaller_bounds_take_effect_at_once() {
    let fdb = small(10);
    for n in 0..10 {
        fdb.learn(key(n as u16 % 2, n), A, false, false, u64::from(n));
    }
    let mut gone = 0;
    let config = FdbConfig { max_entries: 3, flood_vlans: vec![1], ..FdbConfig::default() };
    fdb.configure(config, |_| gone += 1);
    assert_eq!((gone, fdb.stats().entries), (7, 3));
    assert!(fdb.entries(10).iter().all(|entry| entry.key.vlan == 0));
}

proptest::proptest! {
    /// Whatever is done, the table keeps its bound and its counts agree with its entries.
    #[test]
    fn bounded_and_consistent(ops in proptest::collection::vec((0u8..6, 0u32..12, 1u32..4), 1..200)) {
        let fdb = small(5);
        for (t, (op, n, bundle)) in ops.into_iter().enumerate() {
            let now = t as u64 * 10_000;
            match op {
                0 => fdb.expire(now, |_| ()),
                1 => fdb.flush(|_, b| b == BundleId(bundle), |_| ()),
                _ => {
                    fdb.learn(key(0, n), BundleId(bundle), op == 2, bundle == 3, now);
                }
            }
            let table = fdb.read();
            assert!(table.entries.len() <= 5);
            let counted: usize = table.queues.values().map(|queue| queue.count).sum();
            assert_eq!(counted, table.entries.len());
            assert_eq!(table.by_count.len(), table.queues.len());
            for (key, entry) in &table.entries {
                let queue = &table.queues[&entry.bundle];
                assert!(queue.records.iter().any(|r| (r.0, r.1) == (*key, entry.ticket)));
            }
        }
    }
}

#[test]
fn a_static_entry_neither_ages_nor_moves_nor_makes_room() {
    let fdb = small(2);
    assert!(fdb.add_static(key(0, 1), A, 0));
    assert_eq!(fdb.learn(key(0, 1), B, false, false, 10), Learned::Static);
    assert_eq!(fdb.learn(key(0, 1), B, true, false, 10), Learned::Static);
    assert_eq!(fdb.seen(key(0, 1), B, 900, 1_000), Learned::Static);
    fdb.learn(key(0, 2), B, false, false, 20);
    // The table is full: the learned one goes, not the static one.
    assert_eq!(
        fdb.learn(key(0, 3), B, false, false, 30),
        Learned::New { evicted: Some(key(0, 2)) }
    );
    fdb.expire(10_000_000, |_| ());
    assert_eq!(fdb.lookup(key(0, 1), 10_000_000), Some(A));
    fdb.flush_learned(|_| ());
    let stats = fdb.stats();
    assert_eq!((stats.entries, stats.static_entries), (1, 1));
    // What is said again may be said otherwise.
    assert!(fdb.add_static(key(0, 1), B, 40));
    assert_eq!(fdb.lookup(key(0, 1), 40), Some(B));
    assert!(fdb.add_static(key(0, 4), A, 50));
    assert!(!fdb.add_static(key(0, 5), A, 50));
    assert_eq!(fdb.learn(key(0, 6), A, false, false, 60), Learned::Refused);
    assert!(fdb.remove_static(key(0, 1)));
    assert!(!fdb.remove_static(key(0, 1)));
    fdb.learn(key(0, 7), A, false, false, 70);
    assert!(!fdb.remove_static(key(0, 7)));
    assert_eq!(fdb.stats().static_entries, 1);
}

#[test]
fn a_port_that_goes_takes_its_static_entries_with_it() {
    let fdb = small(10);
    fdb.learn(key(0, 1), A, false, false, 0);
    // What was learned becomes static, and is counted once.
    assert!(fdb.add_static(key(0, 1), A, 0));
    fdb.add_static(key(0, 2), B, 0);
    fdb.flush(|_, bundle| bundle == A, |_| ());
    let left: Vec<_> = fdb.entries(0).iter().map(|entry| entry.key).collect();
    assert_eq!(left, [key(0, 2)]);
    assert_eq!(fdb.stats().static_entries, 1);
}
