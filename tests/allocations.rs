//! The counted gates of the road: allocations an upcall, bytes a ukey, system calls a batch, and
//! flows translated anew for a change. Counts, not times.

#[path = "cost/world.rs"]
mod world;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ovs_netlink::RecvRing;
use rovs::datapath::{RecvError, SendError, UpcallPort};
use rovs::flow::EthAddr;
use rovs::l2::fdb::FdbKey;
use rovs::revalidate::Revalidator;
use rovs::snapshot::Dep;
use rovs::upcall::handler::Handler;
use rovs::upcall::worker::Worker;

use world::{World, packet};

/// Number of calls: receive, send, errors.
type Calls = Arc<Mutex<[usize; 3]>>;

struct Counted {
    inner: Box<dyn UpcallPort>,
    calls: Calls,
}

impl UpcallPort for Counted {
    fn recv(&mut self, ring: &mut RecvRing, timeout: Duration) -> Result<usize, RecvError> {
        self.calls.lock().unwrap()[0] += 1;
        self.inner.recv(ring, timeout)
    }

    fn send(&mut self, messages: &[u8]) -> Result<(), SendError> {
        self.calls.lock().unwrap()[1] += 1;
        self.inner.send(messages)
    }

    fn errors(&mut self, each: &mut dyn FnMut(u32, i32)) {
        self.calls.lock().unwrap()[2] += 1;
        self.inner.errors(each);
    }
}

#[test]
fn an_upcall_allocates_nothing_once_the_buffers_have_grown() {
    let mut world = World::new();
    let mut worker = Worker::new(world.switch.udpif.clone());
    let upcalls = world.upcalls((100..2_100).map(|src| packet(1, src, false)));
    assert_eq!(upcalls.len(), 2_000);
    world.decide(&mut worker, &upcalls, false);
    // Again, all of it known. A counter's first use enters it in a list.
    world.decide(&mut worker, &upcalls, false);
    let known = allocation_counter::measure(|| world.decide(&mut worker, &upcalls, false));
    assert_eq!(known.count_total, 0, "upcalls of known flows");
    // Some flows have gone and come again.
    let ukeys = &world.switch.udpif.ukeys;
    let names: Vec<_> = ukeys
        .shards()
        .flat_map(|shard| shard.iter().map(|ukey| ukey.ufid).step_by(3).collect::<Vec<_>>())
        .collect();
    for ufid in &names {
        assert!(ukeys.shard(ufid).remove(ufid).is_some());
    }
    let again = allocation_counter::measure(|| world.decide(&mut worker, &upcalls, false));
    assert_eq!(world.switch.udpif.ukeys.len(), 2_000);
    assert_eq!(again.count_total, 0, "upcalls that install {} flows", names.len());
    // Over the limit.
    world.switch.udpif.settings.flow_limit.store(10, Ordering::Relaxed);
    let names = &names[..50];
    for ufid in names {
        world.switch.udpif.ukeys.shard(ufid).remove(ufid);
    }
    world.decide(&mut worker, &upcalls, false);
    let over = allocation_counter::measure(|| world.decide(&mut worker, &upcalls, false));
    assert_eq!(over.count_total, 0, "upcalls over the flow limit");
}

#[test]
fn a_ukey_has_at_most_600_bytes() {
    let mut world = World::new();
    let mut worker = Worker::new(world.switch.udpif.clone());
    for src in 0..10_000u16 {
        world.kernel.inject("a", &packet(1, src, src.is_multiple_of(2)));
    }
    let all = world.waiting();
    world.decide(&mut worker, &all, false);
    let ukeys = &world.switch.udpif.ukeys;
    assert!(ukeys.len() > 5_000, "{} flows", ukeys.len());
    let each = ukeys.bytes() / ukeys.len();
    assert!(each <= 600, "{each} bytes a ukey");
}

#[test]
fn a_batch_takes_one_receive_one_send_and_one_look_at_the_errors() {
    for (n, most) in [(1, [1, 1, 1]), (31, [1, 1, 1]), (64, [1, 1, 1]), (128, [3, 3, 3])] {
        let mut world = World::new();
        let calls = Calls::default();
        let port = Counted { inner: world.port.take().unwrap(), calls: calls.clone() };
        let mut handler = Handler::new(world.switch.udpif.clone(), Box::new(port));
        for src in 0..n {
            world.kernel.inject("a", &packet(1, 100 + src, false));
        }
        let served = || world.switch.udpif.ports.totals().iter().map(|p| p.served).sum::<u64>();
        while served() < u64::from(n) {
            handler.turn(Duration::ZERO).unwrap();
        }
        let calls = *calls.lock().unwrap();
        assert!(calls.iter().zip(most).all(|(had, most)| *had <= most), "{n} upcalls: {calls:?}");
        assert_eq!(world.datapath.stats().unwrap().flows, u64::from(n));
    }
}

#[test]
fn upcalls_that_come_one_by_one_take_a_receive_and_a_send_each() {
    let mut world = World::new();
    let calls = Calls::default();
    let port = Counted { inner: world.port.take().unwrap(), calls: calls.clone() };
    let mut handler = Handler::new(world.switch.udpif.clone(), Box::new(port));
    let begun = std::time::Instant::now();
    for src in 0..100 {
        world.kernel.inject("a", &packet(1, 100 + src, false));
        handler.turn(Duration::ZERO).unwrap();
    }
    // Refusals are asked for after 64 messages, two an upcall, or 50 ms.
    let looks = 100 * 2 / 64 + begun.elapsed().as_millis() as usize / 50 + 1;
    let [receives, sends, errors] = *calls.lock().unwrap();
    assert_eq!((receives, sends), (100, 100));
    assert!((1..=looks).contains(&errors), "{errors} looks, at most {looks}");
    // And when nothing else comes.
    handler.turn(Duration::ZERO).unwrap();
    assert_eq!(*calls.lock().unwrap(), [101, 100, errors + 1]);
    handler.turn(Duration::ZERO).unwrap();
    assert_eq!(*calls.lock().unwrap(), [102, 100, errors + 1]);
}

#[test]
fn a_refusal_may_come_a_batch_later() {
    let mut world = World::new();
    let mut worker = Worker::new(world.switch.udpif.clone());
    let upcalls = world.upcalls((100..300).map(|src| packet(1, src, false)));
    let udpif = world.switch.udpif.clone();
    let refused = |worker: &mut Worker, seq| {
        worker.refused(seq, libc::EINVAL);
        (udpif.ukeys.len(), udpif.counters.execute_failed.load(Ordering::Relaxed))
    };
    world.decide(&mut worker, &upcalls[..64], false);
    // Puts and executes take turns, and are counted from 1.
    assert_eq!(refused(&mut worker, 1), (63, 0));
    assert_eq!(refused(&mut worker, 2), (63, 1));
    world.decide(&mut worker, &upcalls[64..128], false);
    assert_eq!(refused(&mut worker, 3), (126, 1));
    assert_eq!(refused(&mut worker, 129), (125, 1));
    world.decide(&mut worker, &upcalls[128..192], false);
    // Three batches ago: forgotten.
    assert_eq!(refused(&mut worker, 5), (189, 2));
}

#[test]
fn a_late_refusal_leaves_alone_what_was_put_again() {
    let mut world = World::new();
    let mut worker = Worker::new(world.switch.udpif.clone());
    let upcalls = world.upcalls([packet(1, 100, false)]);
    let udpif = world.switch.udpif.clone();
    let ukeys = &udpif.ukeys;
    world.decide(&mut worker, &upcalls, false);
    let ufid = ukeys.shards().find_map(|shard| shard.iter().map(|ukey| ukey.ufid).next()).unwrap();
    // A dump did not show it.
    assert!(ukeys.shard(&ufid).remove(&ufid).is_some());
    world.decide(&mut worker, &upcalls, false);
    worker.refused(1, libc::EINVAL);
    assert!(ukeys.shard(&ufid).get(&ufid).is_some());
    // The later one is refused as well.
    worker.refused(3, libc::EINVAL);
    assert!(ukeys.is_empty());
}

#[test]
fn a_change_retranslates_the_flows_it_touches_among_20_000() {
    let mut world = World::new();
    let mut worker = Worker::new(world.switch.udpif.clone());
    let udpif = world.switch.udpif.clone();
    // 20,000 flows to host 1, which is known, and three to host 2, which is not.
    world.kernel.inject("b", &packet(9, 1, false));
    let first = world.waiting();
    world.decide(&mut worker, &first, true);
    let many = world.upcalls((100..20_100).map(|src| packet(1, src, false)));
    world.decide(&mut worker, &many, true);
    let few = world.upcalls((100..103).map(|src| packet(2, src, false)));
    assert_eq!(few.len(), 3);
    world.decide(&mut worker, &few, true);
    let mut revalidator =
        Revalidator::new(udpif.clone(), world.datapath.clone(), world.switch.rounds.clone());
    assert!(revalidator.apply_changes(1_000));
    assert!(udpif.ukeys.len() >= 20_003);

    let before = udpif.counters.retranslated.load(Ordering::Relaxed);
    let bridge = udpif.snapshot.load().bridges()[0].clone();
    let key = FdbKey { vlan: 0, mac: EthAddr([2, 0, 0, 0, 0, 2]) };
    let port_c = bridge.ports.iter().find(|port| port.name == "c").unwrap().bundle;
    bridge.fdb.learn(key, port_c, false, false, 1_000);
    udpif.changes.add([Dep::Fdb(bridge.id, key)]);
    assert!(revalidator.apply_changes(1_000));
    let touched = udpif.counters.retranslated.load(Ordering::Relaxed) - before;
    assert_eq!(touched, 3);
    assert_eq!(udpif.counters.modified.load(Ordering::Relaxed), 3);
}
