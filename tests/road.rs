//! The road of a packet, whole daemon over a fake kernel: configuration in, packets in, packets
//! and flows out. No privileges, no clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rovs::bridge::reconcile::Reconciler;
use rovs::bridge::switch::Switch;
use rovs::datapath::fake::FakeKernel;
use rovs::datapath::recording::Recording;
use rovs::datapath::{Datapath, DumpDetail, FlowOp};
use rovs::flow::EthAddr;
use rovs::l2::fdb::FdbKey;
use rovs::netdev::{HostDevices, LinkTable};
use rovs::odp::ufid::UfidHasher;
use rovs::snapshot::Snapshot;
use rovs::standalone;
use rovs::tool::replay::replay;

/// A switch over a fake kernel, with the devices that its configuration names.
struct World {
    kernel: FakeKernel,
    reconciler: Reconciler,
    switch: Option<Switch>,
    config: rovs::bridge::config::Config,
}

impl World {
    fn new(toml: &str) -> Self {
        let kernel = FakeKernel::new();
        let config = standalone::parse(toml).unwrap();
        for bridge in config.bridges.values() {
            for port in bridge.ports.keys() {
                kernel.add_device(port);
                kernel.change_device(port, |device| device.up = true);
            }
        }
        let mut world = Self { kernel, reconciler: Reconciler::default(), switch: None, config };
        world.start();
        world
    }

    fn start(&mut self) -> rovs::revalidate::adopt::Adopted {
        let datapath: Arc<dyn Datapath> = Arc::new(self.kernel.open("ovs-system", true).unwrap());
        let ufids = UfidHasher::new([7; 16]);
        let mut switch = Switch::open(datapath.clone(), &self.config.settings, ufids).unwrap();
        self.reconciler.forget_ports();
        let snapshot = self.reconcile(&*datapath);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let adopted = runtime.block_on(switch.start(snapshot)).unwrap();
        for bridge in self.config.bridges.keys() {
            self.kernel.change_device(bridge, |device| device.up = true);
        }
        self.switch = Some(switch);
        adopted
    }

    fn reconcile(&mut self, datapath: &dyn Datapath) -> Snapshot {
        let mut changes = Vec::new();
        let links = LinkTable::of(self.kernel.links().unwrap());
        let (snapshot, report) =
            self.reconciler.apply(&self.config, datapath, &links, &mut changes).unwrap();
        assert_eq!(report.missing, []);
        snapshot
    }

    fn configure(&mut self, toml: &str) {
        self.config = standalone::parse(toml).unwrap();
        let datapath = self.switch().datapath.clone();
        let snapshot = self.reconcile(&*datapath);
        self.switch().configure(snapshot, Vec::new());
    }

    fn switch(&self) -> &Switch {
        self.switch.as_ref().unwrap()
    }

    fn stop(&mut self) {
        self.switch = None;
    }

    /// Packets that leave by `device` once `n` have.
    fn expect(&self, device: &str, n: usize) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        let done = eventually(|| {
            sent.extend(self.kernel.sent(device));
            sent.len() >= n
        });
        assert!(done, "{device} sent {} of {n} packets", sent.len());
        assert_eq!(sent.len(), n, "{device} sent more than expected");
        sent
    }

    fn flows(&self) -> usize {
        let mut n = 0;
        let datapath = &self.switch().datapath;
        datapath.flow_dump(DumpDetail::Terse, &mut |_| n += 1).unwrap();
        n
    }

    fn missed(&self) -> u64 {
        self.switch().datapath.stats().unwrap().missed
    }
}

/// Waits until `done` says so; a minute is long enough for any machine.
fn eventually(mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        if done() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

fn frame(dst: u8, src: u8, tail: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src];
    if dst == 0xff {
        frame[..6].fill(0xff);
    }
    frame.extend_from_slice(tail);
    frame.resize(60, 0);
    frame
}

/// An UDP packet from port `sport`.
fn udp(dst: u8, src: u8, sport: u16) -> Vec<u8> {
    let mut tail = vec![8, 0, 0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0];
    tail.extend([10, 0, 0, src, 10, 0, 0, dst]);
    tail.extend(sport.to_be_bytes());
    tail.extend([0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
    frame(dst, src, &tail)
}

const THREE: &str = "[bridge.br0.port.a]\n[bridge.br0.port.b]\n[bridge.br0.port.c]\n";

#[test]
fn floods_learns_and_leaves_the_rest_to_the_kernel() {
    let world = World::new(THREE);
    world.kernel.inject("a", &udp(2, 1, 100));
    assert_eq!(world.expect("b", 1), [udp(2, 1, 100)]);
    assert_eq!(world.expect("c", 1), [udp(2, 1, 100)]);
    assert_eq!(world.expect("br0", 1).len(), 1);

    world.kernel.inject("b", &udp(1, 2, 53));
    assert_eq!(world.expect("a", 1), [udp(1, 2, 53)]);
    assert_eq!(world.kernel.sent("c").len(), 0);

    // The flow that flooded to 2 is put right, because 2 was learned.
    let switch = world.switch();
    assert!(eventually(|| switch
        .udpif
        .counters
        .modified
        .load(std::sync::atomic::Ordering::Relaxed)
        == 1));
    let missed = world.missed();
    for sport in 0..1000 {
        world.kernel.inject("a", &udp(2, 1, sport));
    }
    assert_eq!(world.expect("b", 1000).len(), 1000);
    assert_eq!(world.kernel.sent("c").len(), 0);
    assert_eq!(world.missed(), missed, "the kernel forwards alone");
    assert_eq!(world.flows(), 2);
}

#[test]
fn vlans_are_kept_apart_and_tagged() {
    let world = World::new(
        "[bridge.br0.port.a]\ntag = 10\n[bridge.br0.port.b]\ntag = 10\n\
         [bridge.br0.port.c]\ntag = 20\n[bridge.br0.port.t]\ntrunks = [10, 20]\n\
         [bridge.br0.port.n]\nvlan-mode = \"native-untagged\"\ntag = 20\ntrunks = [10]\n",
    );
    world.kernel.inject("a", &udp(0xff, 1, 1));
    assert_eq!(world.expect("b", 1), [udp(0xff, 1, 1)]);
    let mut tagged = udp(0xff, 1, 1);
    tagged.splice(12..12, [0x81, 0, 0, 10]);
    assert_eq!(world.expect("t", 1), [tagged.clone()]);
    assert_eq!(world.expect("n", 1), [tagged]);
    assert_eq!(world.kernel.sent("c").len(), 0);

    // A tagged packet may not come in by an access port.
    let mut tagged = udp(0xff, 7, 1);
    tagged.splice(12..12, [0x81, 0, 0, 10]);
    let flows = world.flows();
    world.kernel.inject("a", &tagged);
    assert!(eventually(|| world.flows() == flows + 1));
    for device in ["b", "c", "t", "n"] {
        assert_eq!(world.kernel.sent(device).len(), 0, "{device}");
    }

    // The native VLAN leaves untagged.
    world.kernel.inject("c", &udp(0xff, 3, 1));
    assert_eq!(world.expect("n", 1), [udp(0xff, 3, 1)]);
}

#[test]
fn a_move_touches_only_the_flows_that_read_the_address() {
    let world = World::new(THREE);
    let switch = world.switch();
    let counters = &switch.udpif.counters;
    let load = |n: &std::sync::atomic::AtomicU64| n.load(std::sync::atomic::Ordering::Relaxed);
    world.kernel.inject("b", &udp(0xff, 2, 1));
    // Many other flows, to a known address.
    for src in 10..110 {
        world.kernel.inject("a", &udp(2, src, 1));
    }
    world.expect("b", 100);
    world.kernel.inject("a", &udp(3, 1, 1));
    world.kernel.inject("c", &udp(1, 3, 1));
    world.expect("c", 2);
    assert!(eventually(|| load(&counters.modified) >= 1));
    let before = load(&counters.retranslated);
    // Address 3 moves from c to b.
    world.kernel.inject("b", &udp(0xff, 3, 2));
    assert!(eventually(|| load(&counters.modified) >= 2));
    let touched = load(&counters.retranslated) - before;
    assert!((1..=3).contains(&touched), "{touched} flows were translated anew");
    world.kernel.sent("b");
    world.kernel.inject("a", &udp(3, 1, 9));
    assert_eq!(world.expect("b", 1), [udp(3, 1, 9)]);
}

#[test]
fn a_restart_adopts_what_is_there() {
    let mut world = World::new(THREE);
    world.kernel.inject("a", &udp(2, 1, 1));
    world.expect("b", 1);
    world.kernel.inject("b", &udp(1, 2, 1));
    world.expect("a", 1);
    let counters = &world.switch().udpif.counters;
    assert!(eventually(|| counters.modified.load(std::sync::atomic::Ordering::Relaxed) == 1));
    world.stop();
    world.reconciler = Reconciler::default();
    let adopted = world.start();
    assert_eq!((adopted.kept, adopted.modified, adopted.deleted), (2, 0, 0));
    let missed = world.missed();
    world.kernel.sent("c");
    world.kernel.inject("a", &udp(2, 1, 77));
    assert_eq!(world.expect("b", 1), [udp(2, 1, 77)]);
    assert_eq!(world.kernel.sent("c").len(), 0);
    assert_eq!(world.missed(), missed);
}

/// A UDP packet behind two tags.
fn double_tagged(dst: u8, src: u8, sport: u16) -> Vec<u8> {
    let mut packet = udp(dst, src, sport);
    packet.splice(12..12, [0x88, 0xa8, 0, 10, 0x81, 0, 0, 20]);
    packet
}

/// Whatever `vlan-limit` flows were made with and are found with: they are kept, and can be changed,
/// for which the kernel wants its own key. With a higher limit than before more of them is read.
#[test]
fn a_restart_adopts_flows_of_packets_with_two_tags() {
    let limited = |limit| format!("[other-config]\nvlan-limit = {limit}\n{THREE}");
    for (before, after) in [(0, 0), (1, 1), (2, 1), (2, 2), (1, 2)] {
        let mut world = World::new(&limited(before));
        world.kernel.inject("a", &double_tagged(2, 1, 1));
        assert_eq!(world.expect("b", 1), [double_tagged(2, 1, 1)]);
        world.stop();
        world.reconciler = Reconciler::default();
        world.config = standalone::parse(&limited(after)).unwrap();
        let adopted = world.start();
        let what = format!("vlan-limit {before}, then {after}");
        let kept = usize::from(after <= before);
        assert_eq!(
            (adopted.kept, adopted.modified, adopted.deleted),
            (kept, 0, 1 - kept),
            "{what}"
        );
        if kept == 0 {
            continue;
        }
        // The flood becomes a unicast.
        world.kernel.inject("b", &double_tagged(1, 2, 1));
        world.expect("a", 1);
        let load = |n: &std::sync::atomic::AtomicU64| n.load(std::sync::atomic::Ordering::Relaxed);
        let counters = &world.switch().udpif.counters;
        let put_right = || load(&counters.modified) + load(&counters.deleted) > 0;
        assert!(eventually(put_right), "{what}");
        assert_eq!((load(&counters.modified), load(&counters.deleted)), (1, 0), "{what}");
        world.kernel.sent("b");
        world.kernel.sent("c");
        let missed = world.missed();
        world.kernel.inject("a", &double_tagged(2, 1, 7));
        assert_eq!(world.expect("b", 1), [double_tagged(2, 1, 7)], "{what}");
        assert_eq!((world.kernel.sent("c").len(), world.missed()), (0, missed), "{what}");
    }
}

#[test]
fn what_counters_taught_is_in_a_recording() {
    let world = World::new(THREE);
    let switch = world.switch();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.pcap");
    switch.served().note_config(&standalone::parse(THREE).unwrap().into());
    let snapshot = switch.udpif.snapshot.load_full();
    switch.record(&file, &snapshot).unwrap();
    let fdb = &snapshot.bridges()[0].fdb;
    let key = FdbKey { vlan: 0, mac: EthAddr([2, 0, 0, 0, 0, 1]) };
    let place = || fdb.lookup(key, rovs::upcall::now_ms());
    let pause = || std::thread::sleep(Duration::from_millis(30));

    // 1 is behind a, then behind b, then the kernel's own traffic shows it behind a again.
    world.kernel.inject("a", &udp(9, 1, 1));
    world.expect("b", 1);
    let behind_a = place();
    pause();
    world.kernel.inject("b", &udp(9, 1, 1));
    assert!(eventually(|| place() != behind_a));
    pause();
    let missed = world.missed();
    let back = || {
        world.kernel.inject("a", &udp(9, 1, 1));
        switch.udpif.changes.kick();
        place() == behind_a
    };
    assert!(eventually(back));
    assert_eq!(world.missed(), missed, "an upcall taught it");
    world.kernel.sent("a");
    world.kernel.inject("c", &udp(1, 3, 1));
    world.expect("a", 1);
    let summary = switch.served().stop_recording().unwrap();
    assert_eq!(summary.left_out, 0);

    let recording = Recording::parse(std::fs::read(&file).unwrap()).unwrap();
    let outcome = replay(recording, None, |_| ()).unwrap();
    assert!(outcome.is_well(), "{:#?}", outcome.differences);
    assert_eq!(outcome.comparison.puts, 3);
}

#[test]
fn a_reconfiguration_puts_right_the_flows_it_touches() {
    let mut world = World::new(THREE);
    world.kernel.inject("a", &udp(0xff, 1, 1));
    world.expect("b", 1);
    world.expect("c", 1);
    world.configure("[bridge.br0.port.a]\n[bridge.br0.port.b]\ntag = 9\n[bridge.br0.port.c]\n");
    let counters = &world.switch().udpif.counters;
    assert!(eventually(|| counters.modified.load(std::sync::atomic::Ordering::Relaxed) == 1));
    world.kernel.inject("a", &udp(0xff, 1, 1));
    world.expect("c", 1);
    assert_eq!(world.kernel.sent("b").len(), 0);
}

#[test]
fn foreign_flows_and_deleted_flows_are_noticed() {
    let world = World::new(THREE);
    world.kernel.inject("a", &udp(2, 1, 1));
    world.expect("b", 1);
    let switch = world.switch();
    let ukey = |shard: rovs::upcall::ukey::ShardGuard<'_>| {
        shard
            .iter()
            .next()
            .map(|ukey| (ukey.ufid, ukey.key().to_vec(), ukey.mask().unwrap_or_default().to_vec()))
    };
    let (ufid, key, mask) = switch.udpif.ukeys.shards().find_map(ukey).unwrap();
    let (ufid, key, mask) = (&ufid.0, &key, &mask);
    // Someone deletes it: forgotten, and installed again by the next packet.
    switch.datapath.flow_ops(&[FlowOp::Del { ufid: Some(ufid), key }], &mut |_, r| {
        r.unwrap();
    });
    let gone = || {
        switch.udpif.changes.kick();
        switch.udpif.ukeys.is_empty()
    };
    assert!(eventually(gone));
    // Someone installs one that drops: today's translation says otherwise.
    let other = [9; 16];
    let put = FlowOp::Put { ufid: Some(&other), key, mask: Some(mask), actions: &[] };
    switch.datapath.flow_ops(&[put], &mut |_, r| {
        r.unwrap();
    });
    let corrected = || {
        switch.udpif.changes.kick();
        switch.udpif.ukeys.len() == 1 || world.flows() == 0
    };
    assert!(eventually(corrected));
    world.kernel.inject("a", &udp(2, 1, 2));
    world.expect("b", 1);
}
