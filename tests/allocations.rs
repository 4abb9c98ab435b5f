//! The counted gates of the road: allocations an upcall, bytes a ukey, system calls a batch, and
//! flows translated anew for a change. Counts, not times.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ovs_netlink::RecvRing;
use rovs::bridge::reconcile::Reconciler;
use rovs::bridge::switch::Switch;
use rovs::datapath::fake::FakeKernel;
use rovs::datapath::{Datapath, RecvError, SendError, UpcallPort};
use rovs::flow::EthAddr;
use rovs::l2::fdb::FdbKey;
use rovs::netdev::{HostDevices, LinkTable};
use rovs::odp::ufid::UfidHasher;
use rovs::revalidate::Revalidator;
use rovs::snapshot::Dep;
use rovs::standalone;
use rovs::upcall::handler::Handler;
use rovs::upcall::worker::Worker;

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

struct World {
    kernel: FakeKernel,
    datapath: Arc<dyn Datapath>,
    switch: Switch,
    port: Option<Box<dyn UpcallPort>>,
}

fn world() -> World {
    let kernel = FakeKernel::new();
    let mut toml =
        "[other-config]\nflow-limit = 1000000\n[bridge.br0]\nmac-table-size = 100000\n".to_owned();
    for name in ["a", "b", "c"] {
        kernel.add_device(name);
        toml.push_str(&format!("[bridge.br0.port.{name}]\n"));
    }
    let config = standalone::parse(&toml).unwrap();
    let datapath: Arc<dyn Datapath> = Arc::new(kernel.open("ovs-system", true).unwrap());
    let hasher = UfidHasher::new([7; 16]);
    let switch = Switch::open(datapath.clone(), &config.settings, hasher).unwrap();
    let links = LinkTable::of(kernel.links().unwrap());
    let applied =
        Reconciler::default().apply(&config, &*datapath, &links, &mut Vec::new()).unwrap();
    switch.configure(applied.0, Vec::new());
    switch.udpif.limit.set(1_000_000);
    let port = datapath.open_handlers(1).unwrap().pop();
    World { kernel, datapath, switch, port }
}

/// An IPv4 UDP packet between two addresses of 16 bits, with a tag of VLAN 7 if asked for.
fn packet(dst: u16, src: u16, is_tagged: bool) -> Vec<u8> {
    let ([d, e], [s, t]) = (dst.to_be_bytes(), src.to_be_bytes());
    let mut packet = vec![2, 0, 0, 0, d, e, 2, 0, 0, 0, s, t];
    if is_tagged {
        packet.extend([0x81, 0, 0x60, 7]);
    }
    packet.extend([8, 0, 0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, s, t, 10, 0, d, e]);
    packet.extend([0, 1, 0, 2, 0, 12, 0, 0, 1, 2, 3, 4]);
    packet.resize(64, 0);
    packet
}

impl World {
    /// The upcalls of packets from port a to host 1, as datagrams.
    fn upcalls(&mut self, sources: std::ops::Range<u16>) -> Vec<Vec<u8>> {
        let port = self.port.as_mut().unwrap();
        let mut ring = RecvRing::with_slot(64, 2048);
        let mut all = Vec::new();
        for src in sources {
            assert!(self.kernel.inject("a", &packet(1, src, false)));
            while port.recv(&mut ring, Duration::ZERO).unwrap() > 0 {
                all.extend(ring.iter().map(|datagram| datagram.unwrap().to_vec()));
            }
        }
        all
    }

    /// Has a worker decide these in batches of 64.
    fn decide(&mut self, worker: &mut Worker, upcalls: &[Vec<u8>], send: bool) {
        for batch in upcalls.chunks(64) {
            worker.begin(1_000);
            batch.iter().for_each(|datagram| worker.decide(datagram));
            if send {
                let port = self.port.as_mut().unwrap();
                port.send(worker.finish()).unwrap();
                port.errors(&mut |seq, errno| panic!("message {seq}: error {errno}"));
            } else {
                assert!(!worker.finish().is_empty());
            }
            worker.settle();
        }
    }
}

#[test]
fn an_upcall_allocates_nothing_once_the_buffers_have_grown() {
    let mut world = world();
    let mut worker = Worker::new(world.switch.udpif.clone());
    let upcalls = world.upcalls(100..2_100);
    assert_eq!(upcalls.len(), 2_000);
    world.decide(&mut worker, &upcalls, false);
    // Again, all of it known.
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
    let mut world = world();
    let mut worker = Worker::new(world.switch.udpif.clone());
    for src in 0..10_000u16 {
        world.kernel.inject("a", &packet(1, src, src.is_multiple_of(2)));
    }
    let mut ring = RecvRing::with_slot(64, 2048);
    let mut all = Vec::new();
    while world.port.as_mut().unwrap().recv(&mut ring, Duration::ZERO).is_ok_and(|n| n > 0) {
        all.extend(ring.iter().map(|datagram| datagram.unwrap().to_vec()));
    }
    world.decide(&mut worker, &all, false);
    let ukeys = &world.switch.udpif.ukeys;
    assert!(ukeys.len() > 5_000, "{} flows", ukeys.len());
    let each = ukeys.bytes() / ukeys.len();
    assert!(each <= 600, "{each} bytes a ukey");
}

#[test]
fn a_batch_takes_one_receive_one_send_and_one_look_at_the_errors() {
    for (n, most) in [(1, [1, 1, 1]), (31, [1, 1, 1]), (64, [1, 1, 1]), (128, [3, 3, 3])] {
        let mut world = world();
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
fn a_change_retranslates_the_flows_it_touches_among_20_000() {
    let mut world = world();
    let mut worker = Worker::new(world.switch.udpif.clone());
    let udpif = world.switch.udpif.clone();
    // 20,000 flows to host 1, which is known, and three to host 2, which is not.
    world.kernel.inject("b", &packet(9, 1, false));
    let first = world.upcalls(0..0);
    let mut all = first;
    let mut ring = RecvRing::with_slot(64, 2048);
    while world.port.as_mut().unwrap().recv(&mut ring, Duration::ZERO).is_ok_and(|n| n > 0) {
        all.extend(ring.iter().map(|datagram| datagram.unwrap().to_vec()));
    }
    world.decide(&mut worker, &all, true);
    let many = world.upcalls(100..20_100);
    world.decide(&mut worker, &many, true);
    for src in 100..103 {
        world.kernel.inject("a", &packet(2, src, false));
    }
    let mut few = Vec::new();
    while world.port.as_mut().unwrap().recv(&mut ring, Duration::ZERO).is_ok_and(|n| n > 0) {
        few.extend(ring.iter().map(|datagram| datagram.unwrap().to_vec()));
    }
    assert_eq!(few.len(), 3);
    world.decide(&mut worker, &few, true);
    let mut revalidator =
        Revalidator::new(udpif.clone(), world.datapath.clone(), world.switch.rounds.clone());
    let (_, changed) = udpif.changes.wait(Duration::ZERO);
    revalidator.apply_changes(&changed, 1_000);
    assert!(udpif.ukeys.len() >= 20_003);

    let before = udpif.counters.retranslated.load(Ordering::Relaxed);
    let bridge = udpif.snapshot.load().bridges()[0].clone();
    let key = FdbKey { vlan: 0, mac: EthAddr([2, 0, 0, 0, 0, 2]) };
    let port_c = bridge.ports.iter().find(|port| port.name == "c").unwrap().bundle;
    bridge.fdb.learn(key, port_c, false, false, 1_000);
    udpif.changes.add([Dep::Fdb(bridge.id, key)]);
    let (_, changed) = udpif.changes.wait(Duration::ZERO);
    revalidator.apply_changes(&changed, 1_000);
    let touched = udpif.counters.retranslated.load(Ordering::Relaxed) - before;
    assert_eq!(touched, 3);
    assert_eq!(udpif.counters.modified.load(Ordering::Relaxed), 3);
}
