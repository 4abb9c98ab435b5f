//! What every datapath must answer: one list of checks, run on the fake kernel (`fake_datapath.rs`)
//! and on the stock module (`kernel_datapath.rs`).

#![allow(dead_code, reason = "each of the test programs uses its part")]

pub mod frames;

use std::time::{Duration, Instant};

use ovs_netlink::{
    attr::{AttrWriter, Attrs},
    flow::{FlowPut, IfExists},
    msg::{Message, Messages, MsgBuf, MsgFlags},
    packet::{Execute, Upcall, UpcallCmd},
    ring::RecvRing,
    uapi,
};
use rovs::datapath::{
    CtPolicyId, CtTimeout, CtTimeouts, Datapath, DpErrorKind, DumpDetail, FlowOp, FlowResult,
    FlowTotals, OdpPort, PortEvent, PortKind, RecvError, UpcallPort,
};

use rovs::{
    flow::EthAddr,
    netdev::{HostDevices, LinkChange, LinkTable},
};

use self::frames::{DST, SRC};

/// A machine with a kernel, for the duration of a check.
pub trait World {
    /// A new datapath "dpc", or the existing one.
    fn open(&self, create: bool) -> Box<dyn Datapath>;
    /// A device that can be a port, up and quiet.
    fn add_device(&self, name: &str);
    fn remove_device(&self, name: &str);
    fn rename_device(&self, old: &str, new: &str);
    /// Brings a device up that the datapath made.
    fn set_up(&self, name: &str);
    /// A packet comes in by the device.
    fn inject(&self, name: &str, packet: &[u8]);
    /// Takes what left by the device; waits until `n` packets are there or it takes too long.
    fn sent(&self, name: &str, n: usize) -> Vec<Vec<u8>>;
    /// The machine's devices.
    fn host(&self) -> Box<dyn HostDevices>;
    /// Somebody else deletes the datapath.
    fn delete_datapath(&self);
}

/// One check.
pub type Check = (&'static str, fn(&dyn World));

/// All of them, in the order in which they make sense.
pub const CHECKS: &[Check] = &[
    ("ports come and go", ports_come_and_go),
    ("ports are refused as they should be", ports_are_refused),
    ("port events", port_events),
    ("devices and what is told of them", host_devices),
    ("first packet up, second forwarded", first_packet_up),
    ("upcalls carry the key of every shape", upcalls_carry_keys),
    ("flows are refused as they should be", flows_are_refused),
    ("flows are shown and counted", flows_are_shown),
    ("errors come back by sequence number", errors_by_sequence),
    ("userspace action", userspace_action),
    ("actions change packets", actions_change_packets),
    ("execute", execute),
    ("timeout policies of conntrack", ct_policies),
    ("a datapath deleted under us", deleted_under_us),
    ("handlers replaced", handlers_replaced),
];

pub const NAME: &str = "dpc";

/// A datapath with two ports, p1 and p2.
struct Bench<'w> {
    world: &'w dyn World,
    dp: Box<dyn Datapath>,
    p1: OdpPort,
    p2: OdpPort,
}

impl<'w> Bench<'w> {
    fn new(world: &'w dyn World) -> Self {
        let dp = world.open(true);
        for name in ["p1", "p2"] {
            world.add_device(name);
        }
        let p1 = dp.port_add("p1", PortKind::Netdev, None).unwrap();
        let p2 = dp.port_add("p2", PortKind::Netdev, None).unwrap();
        Self { world, dp, p1, p2 }
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        let _ = self.dp.destroy();
        for name in ["p1", "p2"] {
            self.world.remove_device(name);
        }
    }
}

fn ct_policies(world: &dyn World) {
    let dp = world.open(true);
    let before = dp.ct_policies().unwrap();
    let (one, two) = (CtPolicyId(4_000_000_001), CtPolicyId(4_000_000_002));
    let timeouts = CtTimeout::ALL.into_iter().zip(1..).collect();
    dp.set_ct_policy(one, &timeouts).unwrap();
    dp.set_ct_policy(one, &CtTimeouts::new()).unwrap();
    dp.set_ct_policy(two, &timeouts).unwrap();
    let both = before.iter().copied().chain([one, two]).collect();
    assert_eq!(dp.ct_policies().unwrap(), both);
    dp.delete_ct_policy(one).unwrap();
    dp.delete_ct_policy(one).unwrap();
    // They are not the datapath's.
    dp.destroy().unwrap();
    let dp = world.open(true);
    let left = before.iter().copied().chain([two]).collect();
    assert_eq!(dp.ct_policies().unwrap(), left);
    dp.delete_ct_policy(two).unwrap();
    assert_eq!(dp.ct_policies().unwrap(), before);
    dp.destroy().unwrap();
}

fn kind<T: std::fmt::Debug>(result: Result<T, rovs::datapath::DpError>) -> (DpErrorKind, i32) {
    let e = result.unwrap_err();
    (e.kind, e.errno)
}

/// Attributes, encoded.
pub fn attrs(write: impl FnOnce(&mut AttrWriter<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut AttrWriter::new(&mut bytes));
    bytes
}

/// A key for IPv4 UDP packets to `dst` as `frames::udp_frame` makes them.
fn udp_key(port: OdpPort, dst: u16) -> Vec<u8> {
    attrs(|w| {
        w.u32(uapi::OVS_KEY_ATTR_IN_PORT, port.0);
        w.bytes(uapi::OVS_KEY_ATTR_ETHERNET, &[SRC, DST].concat());
        w.be16(uapi::OVS_KEY_ATTR_ETHERTYPE, 0x0800);
        w.bytes(uapi::OVS_KEY_ATTR_IPV4, &[10, 0, 0, 1, 10, 0, 0, 2, 17, 0x10, 64, 0]);
        w.bytes(uapi::OVS_KEY_ATTR_UDP, &[[3, 0xe8], dst.to_be_bytes()].concat());
    })
}

/// Exact in port, type and destination port.
fn udp_mask() -> Vec<u8> {
    attrs(|w| {
        w.u32(uapi::OVS_KEY_ATTR_IN_PORT, u32::MAX);
        w.bytes(uapi::OVS_KEY_ATTR_ETHERNET, &[0; 12]);
        w.be16(uapi::OVS_KEY_ATTR_ETHERTYPE, 0xffff);
        w.bytes(uapi::OVS_KEY_ATTR_IPV4, &[0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0xff]);
        w.bytes(uapi::OVS_KEY_ATTR_UDP, &[0, 0, 0xff, 0xff]);
    })
}

fn output(port: OdpPort) -> Vec<u8> {
    attrs(|w| w.u32(uapi::OVS_ACTION_ATTR_OUTPUT, port.0))
}

fn ops(dp: &dyn Datapath, ops: &[FlowOp<'_>]) -> Vec<FlowResult> {
    let mut results = Vec::new();
    dp.flow_ops(ops, &mut |index, result| {
        assert_eq!(index, results.len(), "answers come in order");
        results.push(result);
    });
    assert_eq!(results.len(), ops.len());
    results
}

/// One upcall, owned.
#[derive(Debug)]
pub struct Up {
    pub cmd: UpcallCmd,
    pub packet: Vec<u8>,
    pub key: Vec<u8>,
    pub userdata: Option<Vec<u8>>,
}

/// Waits for the next `n` upcalls that are of our own making.
pub fn upcalls(port: &mut dyn UpcallPort, n: usize) -> Vec<Up> {
    let all = upcalls_within(port, n, Duration::from_secs(5));
    assert_eq!(all.len(), n, "upcalls");
    all
}

/// The next upcalls of our own making, until there are `n` or time runs out.
fn upcalls_within(port: &mut dyn UpcallPort, n: usize, limit: Duration) -> Vec<Up> {
    let mut ring = RecvRing::new(8);
    let mut all = Vec::new();
    let deadline = Instant::now() + limit;
    loop {
        let count = port.recv(&mut ring, limit.min(Duration::from_millis(200))).unwrap();
        assert_eq!(count, ring.len());
        for datagram in ring.iter() {
            for message in Messages::new(datagram.unwrap()) {
                let message: Message<'_> = message.unwrap();
                let up = Upcall::parse(message.genl().unwrap()).unwrap();
                // The test's frames bear its addresses, whatever else is on the wire.
                if up.packet.get(6..12) == Some(&SRC) {
                    all.push(Up {
                        cmd: up.cmd,
                        packet: up.packet.to_vec(),
                        key: up.key.to_vec(),
                        userdata: up.userdata.map(<[u8]>::to_vec),
                    });
                }
            }
        }
        if all.len() >= n || Instant::now() >= deadline {
            return all;
        }
    }
}

fn ports_come_and_go(world: &dyn World) {
    let dp = world.open(true);
    let local = dp.port(NAME).unwrap().unwrap();
    assert_eq!((local.odp, local.kind), (OdpPort::LOCAL, PortKind::Internal));
    assert_eq!(local.ifindex, Some(dp.dp_ifindex()));
    world.add_device("p1");
    let p1 = dp.port_add("p1", PortKind::Netdev, None).unwrap();
    assert_eq!(p1, OdpPort(1));
    let i1 = dp.port_add("i1", PortKind::Internal, Some(OdpPort(7))).unwrap();
    assert_eq!(i1, OdpPort(7));
    let i2 = dp.port_add("i2", PortKind::Internal, None).unwrap();
    assert_eq!(i2, OdpPort(2), "the lowest free number");
    let ports: Vec<_> = dp.ports().unwrap();
    let mut names: Vec<_> = ports.iter().map(|p| (p.odp.0, p.name.as_str(), p.kind)).collect();
    names.sort_by_key(|(odp, ..)| *odp);
    assert_eq!(
        names,
        [
            (0, NAME, PortKind::Internal),
            (1, "p1", PortKind::Netdev),
            (2, "i2", PortKind::Internal),
            (7, "i1", PortKind::Internal)
        ]
    );
    dp.port_del(i1).unwrap();
    assert_eq!(dp.port("i1").unwrap(), None);
    assert_eq!(dp.port("nothere").unwrap(), None);
    // Adopted by whoever opens it next, with what is in it.
    let again = world.open(false);
    assert_eq!((again.dp_ifindex(), again.ports().unwrap().len()), (dp.dp_ifindex(), 3));
    // A renamed device is the same port under the new name.
    world.rename_device("p1", "p9");
    assert_eq!(dp.port("p9").unwrap().map(|p| p.odp), Some(p1));
    assert!(dp.ports().unwrap().iter().all(|p| p.name != "p1"));
    world.rename_device("p9", "p1");
    // A device that vanishes takes its port with it.
    world.remove_device("p1");
    assert_eq!(dp.port("p1").unwrap(), None);
    dp.destroy().unwrap();
}

fn ports_are_refused(world: &dyn World) {
    let bench = Bench::new(world);
    let add = |name, kind, want: Option<u32>| bench.dp.port_add(name, kind, want.map(OdpPort));
    use {DpErrorKind as E, PortKind as K};
    assert_eq!(kind(add("nodevice", K::Netdev, None)), (E::NoSuchDevice, libc::ENODEV));
    assert_eq!(kind(add("p1", K::Netdev, None)), (E::Exists, libc::EEXIST));
    assert_eq!(kind(add("p1", K::Internal, None)), (E::Exists, libc::EEXIST));
    assert_eq!(kind(add(NAME, K::Netdev, None)), (E::Invalid, libc::EINVAL));
    assert_eq!(kind(add("i1", K::Internal, Some(1))), (E::Busy, libc::EBUSY));
    assert_eq!(kind(add("i1", K::Internal, Some(65535))), (E::NoSpace, libc::EFBIG));
    assert_eq!(kind(add("i1", K::Other(99), None)), (E::Unsupported, libc::EAFNOSUPPORT));
    assert_eq!(kind(bench.dp.port_del(OdpPort(99))), (E::NoSuchPort, libc::ENODEV));
    assert_eq!(kind(bench.dp.port_del(OdpPort::LOCAL)), (E::Invalid, libc::EINVAL));
    assert_eq!(bench.dp.ports().unwrap().len(), 3);
}

fn port_events(world: &dyn World) {
    let bench = Bench::new(world);
    let mut events = bench.dp.watch_ports().unwrap();
    let mut next = move || {
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut got = Vec::new();
        while got.is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
            events.read(&mut |e| got.push(e)).unwrap();
        }
        got.into_iter()
            .map(|e| match e {
                PortEvent::Changed(p) => format!("+{} {}", p.odp, p.name),
                PortEvent::Removed(p) => format!("-{} {}", p.odp, p.name),
                PortEvent::Overrun => "overrun".to_owned(),
            })
            .collect::<Vec<_>>()
    };
    let odp = bench.dp.port_add("i1", PortKind::Internal, None).unwrap();
    assert_eq!(next(), [format!("+{odp} i1")]);
    bench.dp.port_del(odp).unwrap();
    assert_eq!(next(), [format!("-{odp} i1")]);
    world.remove_device("p2");
    assert_eq!(next(), [format!("-{} p2", bench.p2)]);
}

fn host_devices(world: &dyn World) {
    let host = world.host();
    let mut events = host.watch().unwrap();
    let mut table = LinkTable::default();
    table.resync(host.links().unwrap());
    let bench = Bench::new(world);
    let mut changes = Vec::new();
    // Waits until the table shows what it should; events may come in any number.
    let mut until = |what: &str, done: &dyn Fn(&LinkTable) -> bool| {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !done(&table) {
            assert!(Instant::now() < deadline, "{what}");
            events.read(&mut |event| changes.extend(table.apply(event))).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
        std::mem::take(&mut changes)
    };
    until("devices appear", &|t| t.by_name("p2").is_some() && t.by_name(NAME).is_some());
    let local = host.link(NAME).unwrap().unwrap();
    assert_eq!(
        (local.ifindex, local.kind.as_deref()),
        (bench.dp.dp_ifindex(), Some("openvswitch"))
    );
    assert!(!local.up && !local.running);
    host.set_up(NAME, true).unwrap();
    until("up", &|t| t.by_name(NAME).is_some_and(|l| l.up && l.running));
    let mac = EthAddr([2, 0, 0, 0, 0, 0x77]);
    host.set_mac(NAME, mac).unwrap();
    host.set_mtu(NAME, 1400).unwrap();
    until("address and MTU", &|t| t.by_name(NAME).is_some_and(|l| l.mac == mac && l.mtu == 1400));
    let p1 = host.link("p1").unwrap().unwrap().ifindex;
    world.rename_device("p1", "p9");
    let seen = until("new name", &|t| t.by_name("p9").is_some_and(|l| l.running));
    assert!(seen.contains(&LinkChange::Renamed { ifindex: p1, from: "p1".to_owned() }), "{seen:?}");
    world.rename_device("p9", "p1");
    until("old name", &|t| t.by_name("p1").is_some());
    world.remove_device("p2");
    until("gone", &|t| t.by_name("p2").is_none());
    assert_eq!(host.link("p2").unwrap(), None);
    let errno = |r: Result<(), ovs_netlink::Error>| r.unwrap_err().errno();
    assert_eq!(errno(host.set_up("p2", true)), Some(libc::ENODEV));
    assert_eq!(errno(host.set_mac("p1", EthAddr([1, 0, 0, 0, 0, 1]))), Some(libc::EADDRNOTAVAIL));
    assert_eq!(errno(host.set_mtu("p1", 10)), Some(libc::EINVAL));
}

fn first_packet_up(world: &dyn World) {
    let bench = Bench::new(world);
    let mut handlers = bench.dp.open_handlers(1).unwrap();
    let before = bench.dp.stats().unwrap();
    let frame = frames::udp_frame(53);
    world.inject("p1", &frame);
    let up = upcalls(&mut *handlers[0], 1).remove(0);
    assert_eq!((up.cmd, &up.packet), (UpcallCmd::Miss, &frame));
    let in_port = Attrs::new(&up.key).find_kind(uapi::OVS_KEY_ATTR_IN_PORT).unwrap().unwrap();
    assert_eq!(in_port.u32(), Ok(bench.p1.0));

    // Put and execute in one message, as a handler does.
    let (actions, mask) = (output(bench.p2), udp_mask());
    let families = bench.dp.families();
    let mut messages = MsgBuf::new();
    FlowPut {
        dp_ifindex: bench.dp.dp_ifindex(),
        key: &up.key,
        mask: Some(&mask),
        actions: &actions,
        ufid: Some([1; 16]),
        if_exists: IfExists::Fail,
        probe: false,
        clear: false,
    }
    .append(&mut messages, families.flow, MsgFlags::REQUEST, 1)
    .unwrap();
    let metadata = attrs(|w| w.u32(uapi::OVS_KEY_ATTR_IN_PORT, bench.p1.0));
    Execute {
        dp_ifindex: bench.dp.dp_ifindex(),
        packet: &up.packet,
        key: &metadata,
        actions: &actions,
        probe: false,
        mru: None,
        hash: None,
    }
    .append(&mut messages, families.packet, MsgFlags::REQUEST, 2)
    .unwrap();
    handlers[0].send(messages.as_bytes()).unwrap();
    handlers[0].errors(&mut |seq, errno| panic!("message {seq} was refused with {errno}"));
    assert_eq!(world.sent("p2", 1), [&frame[..]]);

    // From now on the kernel does it alone, for all source ports.
    for src in [2000, 3000] {
        let udp = frames::udp(src, 53, b"payload that pads to sixty bytes");
        world.inject("p1", &frames::ethernet(&[], 0x0800, &frames::ipv4(17, 0, &udp)));
    }
    assert_eq!(world.sent("p2", 2).len(), 2);
    let mut ring = RecvRing::new(1);
    assert_eq!(handlers[0].recv(&mut ring, Duration::from_millis(100)), Ok(0));
    let after = bench.dp.stats().unwrap();
    assert_eq!((after.missed - before.missed, after.hit - before.hit, after.flows), (1, 2, 1));
    assert_eq!(after.lost, before.lost);
    let ports = bench.dp.ports().unwrap();
    let stats = |odp| ports.iter().find(|p| p.odp == odp).unwrap().stats;
    assert_eq!((stats(bench.p1).rx_packets, stats(bench.p2).tx_packets), (3, 3));
    assert_eq!(stats(bench.p1).rx_bytes, 3 * frame.len() as u64);
}

/// Attributes of conntrack, which depend on the kernel's configuration.
const CONNTRACK: &[u16] = &[
    uapi::OVS_KEY_ATTR_CT_STATE,
    uapi::OVS_KEY_ATTR_CT_ZONE,
    uapi::OVS_KEY_ATTR_CT_MARK,
    uapi::OVS_KEY_ATTR_CT_LABELS,
];

/// The list without attributes that not every kernel has.
pub fn portable(list: &[u8]) -> Vec<u8> {
    attrs(|w| {
        for attr in Attrs::new(list).map(Result::unwrap) {
            match attr.kind {
                kind if CONNTRACK.contains(&kind) => (),
                uapi::OVS_KEY_ATTR_ENCAP => w.bytes(attr.kind, &portable(attr.value)),
                kind => w.bytes(kind, attr.value),
            }
        }
    })
}

fn upcalls_carry_keys(world: &dyn World) {
    // The fake kernel beside it gets the same frames, with the same port numbers.
    let fake = rovs::datapath::fake::FakeKernel::new();
    let twin = fake.open(NAME, true).unwrap();
    for name in ["p1", "p2"] {
        fake.add_device(name).unwrap();
        twin.port_add(name, PortKind::Netdev, None).unwrap();
    }
    let mut twin_handler = twin.open_handlers(1).unwrap().remove(0);
    let bench = Bench::new(world);
    let mut handler = bench.dp.open_handlers(1).unwrap().remove(0);
    let mut different = Vec::new();
    let shapes = frames::shapes().into_iter().map(|(name, frame)| (name.to_owned(), frame));
    for (name, frame) in shapes.chain(frames::broken(600)) {
        world.inject("p1", &frame);
        let up = upcalls_within(&mut *handler, 1, Duration::from_millis(400)).pop();
        fake.inject("p1", &frame);
        let twin_up = upcalls_within(&mut *twin_handler, 1, Duration::ZERO).pop();
        let (up, twin_up) = match (up, twin_up) {
            (Some(up), Some(twin_up)) => (up, twin_up),
            (None, None) => continue,
            (up, _) => {
                different.push(format!("{name} {frame:02x?}: only one upcall: {up:02x?}"));
                continue;
            }
        };
        assert_eq!(up.packet, twin_up.packet, "{name}");
        let keys = [&up.key, &twin_up.key].map(|key| describe(&portable(key)));
        if keys[0] != keys[1] {
            different.push(format!("{name} {frame:02x?}: kernel\n{}fake\n{}", keys[0], keys[1]));
        }

        // The key as it came is a flow's key; shown again it is the same, and so is its mask.
        let put = |dp: &dyn Datapath, key: &[u8]| {
            let put = FlowOp::Put { ufid: Some(&[1; 16]), key, mask: None, actions: &[] };
            if let Err(e) = ops(dp, &[put]).remove(0) {
                return format!("{:?}", e.kind);
            }
            let mut shown = String::new();
            let found = dp.flow_get(&[1; 16], &mut |f| {
                let (key, mask) = (f.key.unwrap(), f.mask.unwrap());
                shown = format!("{}\n{}", describe(&portable(key)), describe(&portable(mask)));
            });
            assert_eq!(found, Ok(true));
            dp.flow_flush().unwrap();
            shown
        };
        let shown = [put(&*bench.dp, &up.key), put(&twin, &twin_up.key)];
        if shown[0] != shown[1] {
            different.push(format!("{name}, shown: kernel\n{}fake\n{}", shown[0], shown[1]));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// A line an attribute.
pub fn describe(list: &[u8]) -> String {
    let mut text = String::new();
    for attr in Attrs::new(list).map(Result::unwrap) {
        let line = match attr.kind {
            uapi::OVS_KEY_ATTR_ENCAP => format!("encap(\n{})\n", describe(attr.value)),
            kind => format!("{kind}: {:02x?}\n", attr.value),
        };
        text.push_str(&line);
    }
    text
}

fn flows_are_refused(world: &dyn World) {
    let bench = Bench::new(world);
    let dp = &*bench.dp;
    use DpErrorKind as E;
    let (key, mask, actions) = (udp_key(bench.p1, 53), udp_mask(), output(bench.p2));
    let put = |ufid: &'static [u8; 16], key, mask, actions| FlowOp::Put {
        ufid: Some(ufid),
        key,
        mask,
        actions,
    };
    let one = |op: FlowOp<'_>| kind(ops(dp, &[op]).remove(0));
    ops(dp, &[put(&[1; 16], &key, Some(&mask), &actions)]).remove(0).unwrap();
    // The same id, and another id for the same packets.
    assert_eq!(one(put(&[1; 16], &key, Some(&mask), &actions)), (E::Exists, libc::EEXIST));
    assert_eq!(one(put(&[2; 16], &key, Some(&mask), &actions)), (E::Exists, libc::EEXIST));
    // An exact flow inside the wide one.
    assert_eq!(one(put(&[2; 16], &key, None, &actions)), (E::Exists, libc::EEXIST));
    // Beside it there is room.
    let other = udp_key(bench.p1, 54);
    ops(dp, &[put(&[2; 16], &other, Some(&mask), &actions)]).remove(0).unwrap();
    // What is not there.
    let absent = FlowOp::Modify { ufid: Some(&[9; 16]), key: &key, mask: None, actions: &actions };
    assert_eq!(one(absent), (E::NoSuchFlow, libc::ENOENT));
    let absent = FlowOp::Del { ufid: Some(&[9; 16]), key: &key };
    assert_eq!(one(absent), (E::NoSuchFlow, libc::ENOENT));
    // Keys, masks and actions that do not hold together.
    let ports_only = attrs(|w| {
        w.u32(uapi::OVS_KEY_ATTR_IN_PORT, bench.p1.0);
        w.bytes(uapi::OVS_KEY_ATTR_ETHERNET, &[SRC, DST].concat());
        w.be16(uapi::OVS_KEY_ATTR_ETHERTYPE, 0x0800);
    });
    let loose_protocol = attrs(|w| {
        w.be16(uapi::OVS_KEY_ATTR_ETHERTYPE, 0xffff);
        w.bytes(uapi::OVS_KEY_ATTR_UDP, &[0, 0, 0xff, 0xff]);
    });
    let unknown = attrs(|w| w.u32(99, 1));
    let nowhere = attrs(|w| w.u32(uapi::OVS_ACTION_ATTR_OUTPUT, 70_000));
    let third = udp_key(bench.p1, 55);
    for (what, key, mask, actions) in [
        ("missing IPv4", &ports_only, None, &actions),
        ("ports without protocol", &third, Some(&loose_protocol), &actions),
        ("unknown key", &unknown, None, &actions),
        ("unknown action", &third, Some(&mask), &unknown),
        ("output beyond the last port", &third, Some(&mask), &nowhere),
    ] {
        let got = one(put(&[3; 16], key, mask.map(Vec::as_slice), actions));
        assert_eq!(got, (E::Invalid, libc::EINVAL), "{what}");
    }
    // One refusal among many leaves the others alone.
    let fourth = udp_key(bench.p1, 56);
    let results = ops(
        dp,
        &[
            put(&[3; 16], &third, Some(&mask), &actions),
            put(&[4; 16], &third, Some(&mask), &actions),
            put(&[4; 16], &fourth, Some(&mask), &actions),
        ],
    );
    assert!(results[0].is_ok() && results[1].is_err() && results[2].is_ok());
    assert_eq!(dp.stats().unwrap().flows, 4);
    assert_eq!(dp.stats().unwrap().masks.unwrap().masks, 1);
    dp.flow_flush().unwrap();
    assert_eq!(dp.stats().unwrap().flows, 0);
    // More than fit into one batch.
    let keys: Vec<_> = (1..=1000).map(|dst| udp_key(bench.p1, dst)).collect();
    let ufids: Vec<[u8; 16]> = (1..=1000u128).map(u128::to_be_bytes).collect();
    let many: Vec<_> = keys
        .iter()
        .zip(&ufids)
        .map(|(key, ufid)| FlowOp::Put {
            ufid: Some(ufid),
            key,
            mask: Some(&mask),
            actions: &actions,
        })
        .collect();
    assert!(ops(dp, &many).iter().all(Result::is_ok));
    let mut seen = Vec::new();
    dp.flow_dump(DumpDetail::Terse, &mut |f| seen.push(f.ufid.unwrap())).unwrap();
    seen.sort_unstable();
    assert_eq!(seen, ufids);
    let gone: Vec<_> =
        keys.iter().zip(&ufids).map(|(key, ufid)| FlowOp::Del { ufid: Some(ufid), key }).collect();
    assert!(ops(dp, &gone).iter().all(|r| *r == Ok(Some(FlowTotals::default()))));
}

fn flows_are_shown(world: &dyn World) {
    let bench = Bench::new(world);
    let dp = &*bench.dp;
    let (key, mask, actions) = (udp_key(bench.p1, 53), udp_mask(), output(bench.p2));
    let ufid = &[5; 16];
    let put = FlowOp::Put { ufid: Some(ufid), key: &key, mask: Some(&mask), actions: &actions };
    assert!(ops(dp, &[put]).remove(0).is_ok());
    let frame = frames::udp_frame(53);
    world.inject("p1", &frame);
    world.inject("p1", &frame);
    assert_eq!(world.sent("p2", 2).len(), 2);
    let (packets, bytes) = (2, 2 * frame.len() as u64);

    let mut full = 0;
    dp.flow_dump(DumpDetail::Full, &mut |f| {
        full += 1;
        assert_eq!((f.ufid, f.actions), (Some(*ufid), Some(&actions[..])));
        let stats = f.stats.unwrap();
        assert_eq!((stats.packets, stats.bytes, f.tcp_flags), (packets, bytes, None));
        assert!(f.used_ms.is_some() && f.key.is_some() && f.mask.is_some());
    })
    .unwrap();
    let mut terse = 0;
    dp.flow_dump(DumpDetail::Terse, &mut |f| {
        terse += 1;
        assert_eq!((f.ufid, f.key, f.mask, f.actions), (Some(*ufid), None, None, None));
        assert_eq!(f.stats.unwrap().packets, packets);
    })
    .unwrap();
    assert_eq!((full, terse), (1, 1));
    assert_eq!(dp.flow_get(&[6; 16], &mut |_| ()), Ok(false));

    // New actions, same counters.
    let modify = FlowOp::Modify { ufid: Some(ufid), key: &key, mask: Some(&mask), actions: &[] };
    assert!(ops(dp, &[modify]).remove(0).is_ok());
    world.inject("p1", &frame);
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut seen = 0;
    while seen < 3 && Instant::now() < deadline {
        dp.flow_get(ufid, &mut |f| {
            assert_eq!(f.actions, Some(&[][..]));
            seen = f.stats.unwrap().packets;
        })
        .unwrap();
    }
    let totals =
        ops(dp, &[FlowOp::Del { ufid: Some(ufid), key: &key }]).remove(0).unwrap().unwrap();
    assert_eq!((totals.packets, totals.bytes), (3, 3 * frame.len() as u64));
    assert!(totals.used_ms.is_some());
    assert_eq!(dp.stats().unwrap().flows, 0);

    // Without an id the key is the id.
    let put = FlowOp::Put { ufid: None, key: &key, mask: Some(&mask), actions: &actions };
    assert!(ops(dp, &[put]).remove(0).is_ok());
    dp.flow_dump(DumpDetail::Terse, &mut |f| {
        assert_eq!(f.ufid, None);
        let shown = describe(f.key.unwrap());
        assert!(describe(&key).lines().all(|line| shown.contains(line)), "{shown}");
    })
    .unwrap();
    let gone = ops(dp, &[FlowOp::Del { ufid: None, key: &key }]).remove(0);
    assert_eq!(gone, Ok(Some(FlowTotals::default())));
}

fn errors_by_sequence(world: &dyn World) {
    let bench = Bench::new(world);
    let mut handler = bench.dp.open_handlers(1).unwrap().remove(0);
    let (mask, actions) = (udp_mask(), output(bench.p2));
    let mut messages = MsgBuf::new();
    for (i, dst) in [53, 53, 54].into_iter().enumerate() {
        FlowPut {
            dp_ifindex: bench.dp.dp_ifindex(),
            key: &udp_key(bench.p1, dst),
            mask: Some(&mask),
            actions: &actions,
            ufid: Some([u8::try_from(i).unwrap(); 16]),
            if_exists: IfExists::Fail,
            probe: false,
            clear: false,
        }
        .append(&mut messages, bench.dp.families().flow, MsgFlags::REQUEST, 1)
        .unwrap();
    }
    Execute {
        dp_ifindex: bench.dp.dp_ifindex(),
        packet: &frames::udp_frame(53),
        key: &attrs(|w| w.u32(uapi::OVS_KEY_ATTR_IN_PORT, bench.p1.0)),
        actions: &attrs(|w| w.u32(99, 0)),
        probe: false,
        mru: None,
        hash: None,
    }
    .append(&mut messages, bench.dp.families().packet, MsgFlags::REQUEST, 0)
    .unwrap();
    messages.number(100, MsgFlags::REQUEST);
    handler.send(messages.as_bytes()).unwrap();
    let mut refused = Vec::new();
    handler.errors(&mut |seq, errno| refused.push((seq, errno)));
    assert_eq!(refused, [(101, libc::EEXIST), (103, libc::EINVAL)]);
    handler.errors(&mut |_, _| panic!("each is told once"));
    assert_eq!(bench.dp.stats().unwrap().flows, 2);
}

fn userspace_action(world: &dyn World) {
    let bench = Bench::new(world);
    let mut handler = bench.dp.open_handlers(1).unwrap().remove(0);
    let actions = attrs(|w| {
        let nest = w.begin(uapi::OVS_ACTION_ATTR_USERSPACE);
        w.u32(uapi::OVS_USERSPACE_ATTR_PID, bench.dp.upcall_pid(bench.p1));
        w.bytes(uapi::OVS_USERSPACE_ATTR_USERDATA, b"cookie");
        w.end(nest).unwrap();
    });
    let key = udp_key(bench.p1, 53);
    let put = FlowOp::Put { ufid: Some(&[1; 16]), key: &key, mask: None, actions: &actions };
    assert!(ops(&*bench.dp, &[put]).remove(0).is_ok());
    world.inject("p1", &frames::udp_frame(53));
    let up = upcalls(&mut *handler, 1).remove(0);
    assert_eq!((up.cmd, up.userdata.as_deref()), (UpcallCmd::Action, Some(&b"cookie"[..])));
}

fn actions_change_packets(world: &dyn World) {
    let bench = Bench::new(world);
    let out = |w: &mut AttrWriter<'_>| w.u32(uapi::OVS_ACTION_ATTR_OUTPUT, bench.p2.0);
    let payload = frames::udp(1000, 53, b"payload that pads to sixty bytes");
    let plain = frames::udp_frame(53);
    let tagged =
        |tags: &[(u16, u16)]| frames::ethernet(tags, 0x0800, &frames::ipv4(17, 0, &payload));
    let mut moved = plain.clone();
    moved[5] = 0x77;
    let mut rerouted = plain.clone();
    rerouted[14 + 8] = 9;
    rerouted[14 + 15] = 9;
    rerouted[14 + 10..14 + 12].fill(0);
    let sum = frames::checksum(&rerouted[14..34]);
    rerouted[14 + 10..14 + 12].copy_from_slice(&sum.to_be_bytes());
    let mut short = plain.clone();
    short.truncate(30);
    // Name, actions, and what leaves.
    type Case = (&'static str, Vec<u8>, Vec<Vec<u8>>);
    let cases: Vec<Case> = vec![
        (
            "push_vlan",
            attrs(|w| {
                w.bytes(uapi::OVS_ACTION_ATTR_PUSH_VLAN, &[0x81, 0, 0x10, 10]);
                out(w);
            }),
            vec![tagged(&[(0x8100, 10)])],
        ),
        (
            "push two, pop one",
            attrs(|w| {
                w.bytes(uapi::OVS_ACTION_ATTR_PUSH_VLAN, &[0x81, 0, 0x10, 10]);
                w.bytes(uapi::OVS_ACTION_ATTR_PUSH_VLAN, &[0x88, 0xa8, 0x70, 20]);
                out(w);
                w.flag(uapi::OVS_ACTION_ATTR_POP_VLAN);
                out(w);
                w.flag(uapi::OVS_ACTION_ATTR_POP_VLAN);
                out(w);
            }),
            vec![tagged(&[(0x88a8, 0x6014), (0x8100, 10)]), tagged(&[(0x8100, 10)]), plain.clone()],
        ),
        (
            "set a byte of the destination",
            attrs(|w| {
                let nest = w.begin(uapi::OVS_ACTION_ATTR_SET_MASKED);
                let (mut value, mut mask) = ([0; 12], [0; 12]);
                (value[11], mask[11]) = (0x77, 0xff);
                w.bytes(uapi::OVS_KEY_ATTR_ETHERNET, &[value, mask].concat());
                w.end(nest).unwrap();
                out(w);
            }),
            vec![moved],
        ),
        (
            "set IPv4",
            attrs(|w| {
                let nest = w.begin(uapi::OVS_ACTION_ATTR_SET_MASKED);
                let (mut value, mut mask) = ([0; 12], [0; 12]);
                (value[3], mask[3]) = (9, 0xff);
                (value[10], mask[10]) = (9, 0xff);
                w.bytes(uapi::OVS_KEY_ATTR_IPV4, &[value, mask].concat());
                w.end(nest).unwrap();
                out(w);
            }),
            vec![rerouted],
        ),
        (
            "truncate once",
            attrs(|w| {
                w.u32(uapi::OVS_ACTION_ATTR_TRUNC, 30);
                out(w);
                out(w);
            }),
            vec![short, plain.clone()],
        ),
        (
            "clone keeps the original",
            attrs(|w| {
                let nest = w.begin(uapi::OVS_ACTION_ATTR_CLONE);
                w.bytes(uapi::OVS_ACTION_ATTR_PUSH_VLAN, &[0x81, 0, 0x10, 10]);
                out(w);
                w.end(nest).unwrap();
                out(w);
            }),
            vec![tagged(&[(0x8100, 10)]), plain.clone()],
        ),
        (
            "check_pkt_len",
            attrs(|w| {
                let nest = w.begin(uapi::OVS_ACTION_ATTR_CHECK_PKT_LEN);
                w.u16(uapi::OVS_CHECK_PKT_LEN_ATTR_PKT_LEN, 50);
                // In the kernel's order, so that it is shown as it was put.
                let shorter = w.begin(uapi::OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL);
                w.end(shorter).unwrap();
                let longer = w.begin(uapi::OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER);
                out(w);
                w.end(longer).unwrap();
                w.end(nest).unwrap();
            }),
            vec![plain.clone()],
        ),
        ("drop", Vec::new(), Vec::new()),
    ];
    let key = udp_key(bench.p1, 53);
    for (name, actions, expected) in cases {
        let put = FlowOp::Put { ufid: Some(&[1; 16]), key: &key, mask: None, actions: &actions };
        ops(&*bench.dp, &[put]).remove(0).unwrap_or_else(|e| panic!("{name}: {e}"));
        world.inject("p1", &plain);
        assert_eq!(world.sent("p2", expected.len()), expected, "{name}");
        bench.dp.flow_get(&[1; 16], &mut |f| assert_eq!(f.actions, Some(&actions[..]))).unwrap();
        bench.dp.flow_flush().unwrap();
    }
}

fn execute(world: &dyn World) {
    let bench = Bench::new(world);
    let frame = frames::udp_frame(53);
    let key = attrs(|w| w.u32(uapi::OVS_KEY_ATTR_IN_PORT, bench.p1.0));
    bench.dp.execute(&frame, &key, &output(bench.p2)).unwrap();
    assert_eq!(world.sent("p2", 1), [&frame[..]]);
    // A port that is not there swallows the packet.
    bench.dp.execute(&frame, &key, &output(OdpPort(77))).unwrap();
    let bad = bench.dp.execute(&frame, &key, &attrs(|w| w.u32(99, 0)));
    assert_eq!(kind(bad), (DpErrorKind::Invalid, libc::EINVAL));
    // Out of the local port the host gets it.
    world.set_up(NAME);
    bench.dp.execute(&frame, &key, &output(OdpPort::LOCAL)).unwrap();
    let local = bench.dp.port(NAME).unwrap().unwrap();
    assert_eq!((local.stats.rx_packets, local.stats.tx_packets), (1, 0), "as the device sees it");
}

fn deleted_under_us(world: &dyn World) {
    let bench = Bench::new(world);
    let dp = &*bench.dp;
    let mut handler = dp.open_handlers(1).unwrap().remove(0);
    world.delete_datapath();
    let gone = (DpErrorKind::DatapathGone, libc::ENODEV);
    assert_eq!(kind(dp.stats()), gone);
    assert_eq!(kind(dp.ports()), gone);
    assert_eq!(kind(dp.port(NAME)), gone);
    assert_eq!(kind(dp.port_add("p1", PortKind::Netdev, None)), gone);
    assert_eq!(kind(dp.port_del(bench.p1)), gone);
    assert_eq!(kind(dp.flow_dump(DumpDetail::Terse, &mut |_| ())), gone);
    assert_eq!(kind(dp.flow_flush()), gone);
    let key = udp_key(bench.p1, 53);
    assert_eq!(kind(ops(dp, &[FlowOp::Del { ufid: Some(&[1; 16]), key: &key }]).remove(0)), gone);
    assert_eq!(kind(dp.execute(&frames::udp_frame(53), &key, &[])), gone);
    assert_eq!(kind(dp.destroy()), gone);
    // The handler's messages are refused one by one, and it goes on waiting.
    let mut messages = MsgBuf::new();
    FlowPut {
        dp_ifindex: dp.dp_ifindex(),
        key: &key,
        mask: None,
        actions: &[],
        ufid: None,
        if_exists: IfExists::Fail,
        probe: false,
        clear: false,
    }
    .append(&mut messages, dp.families().flow, MsgFlags::REQUEST, 1)
    .unwrap();
    messages.number(5, MsgFlags::REQUEST);
    handler.send(messages.as_bytes()).unwrap();
    let mut refused = Vec::new();
    handler.errors(&mut |seq, errno| refused.push((seq, errno)));
    assert_eq!(refused, [(5, libc::ENODEV)]);
    let mut ring = RecvRing::new(1);
    assert_eq!(handler.recv(&mut ring, Duration::from_millis(50)), Ok(0));
    // And it can be had again.
    let again = world.open(true);
    let p1 = again.port_add("p1", PortKind::Netdev, None).unwrap();
    let mut handler = again.open_handlers(1).unwrap().remove(0);
    world.inject("p1", &frames::udp_frame(53));
    upcalls(&mut *handler, 1);
    assert_eq!(p1, OdpPort(1));
    again.destroy().unwrap();
}

fn handlers_replaced(world: &dyn World) {
    let bench = Bench::new(world);
    let mut old = bench.dp.open_handlers(1).unwrap().remove(0);
    let wanted = bench.dp.handlers_wanted(None);
    assert!(wanted >= 1);
    let mut handlers = bench.dp.open_handlers(wanted).unwrap();
    assert_eq!(handlers.len(), wanted);
    assert_eq!(bench.dp.refresh_cpus(), Ok(false));
    world.inject("p1", &frames::udp_frame(53));
    // Whichever CPU it came in on.
    let mut ring = RecvRing::new(4);
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut got = 0;
    while got == 0 && Instant::now() < deadline {
        for h in &mut handlers {
            got += h.recv(&mut ring, Duration::from_millis(20)).unwrap();
        }
    }
    assert_eq!(got, 1);
    assert!(matches!(old.recv(&mut ring, Duration::from_millis(20)), Ok(0) | Err(RecvError::Gone)));
}
