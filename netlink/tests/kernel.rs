//! The whole crate against a running kernel's openvswitch module. `ci/kernel-tests` runs them on kernels
//! that have it; anywhere else they are ignored.

use std::io::ErrorKind;
use std::time::Duration;

use ovs_netlink::action::Action;
use ovs_netlink::attr::AttrWriter;
use ovs_netlink::ct_limit::{self, Zone, ZoneLimit};
use ovs_netlink::datapath::{self, Datapath, DatapathId, DatapathNew, DatapathSet, UserFeatures};
use ovs_netlink::family::FamilyError;
use ovs_netlink::flow::{FlowPut, IfExists};
use ovs_netlink::key::KeyAttr;
use ovs_netlink::meter::{self, Band, BandType, MeterConfig};
use ovs_netlink::monitor::{Change, Event, Listener, Monitor, OvsGroups, RouteGroups};
use ovs_netlink::msg::{Messages, MsgBuf, MsgFlags};
use ovs_netlink::packet::{Execute, Upcall, UpcallCmd};
use ovs_netlink::vport::{self, VportId, VportNew, VportSet, VportType};
use ovs_netlink::{Error, Families, RecvRing, Socket};

/// A datapath of its own for one test, removed at its end.
struct Lab {
    socket: Socket,
    families: Families,
    dp: Datapath,
}

impl Lab {
    fn new(name: &str) -> Self {
        Self::with(name, UserFeatures::UNALIGNED, 0)
    }

    fn with(name: &str, user_features: UserFeatures, upcall_pid: u32) -> Self {
        let mut socket = Socket::open().unwrap();
        let families = Families::resolve_on(&mut socket).expect("the module is loaded");
        let _ = datapath::delete(&mut socket, &families, DatapathId::Name(name));
        let request = DatapathNew { name, upcall_pid, user_features, ..DatapathNew::default() };
        let dp = datapath::create(&mut socket, &families, &request).expect("run as root");
        Self { socket, families, dp }
    }

    fn add_internal(&mut self, name: &str, upcall_pids: &[u32]) -> Result<vport::Vport, Error> {
        let request = VportNew {
            dp_ifindex: self.dp.ifindex,
            port_no: None,
            ty: VportType::Internal,
            name,
            options: None,
            upcall_pids,
            ifindex: None,
        };
        vport::create(&mut self.socket, &self.families, &request)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let id = DatapathId::Ifindex(self.dp.ifindex);
        let _ = datapath::delete(&mut self.socket, &self.families, id);
    }
}

fn errno<T: std::fmt::Debug>(result: Result<T, Error>) -> Option<i32> {
    result.unwrap_err().errno()
}

#[test]
#[ignore = "needs the lab"]
fn datapaths_are_made_found_changed_and_removed() {
    let mut lab = Lab::new("nldp");
    let Lab { socket, families, dp } = &mut lab;
    assert_eq!((dp.name.as_str(), dp.user_features), ("nldp", UserFeatures::UNALIGNED));
    for id in [DatapathId::Name("nldp"), DatapathId::Ifindex(dp.ifindex)] {
        assert_eq!(datapath::get(socket, families, id).unwrap().ifindex, dp.ifindex);
    }
    assert!(datapath::dump(socket, families).unwrap().iter().any(|d| d.name == "nldp"));
    let set = DatapathSet {
        id: DatapathId::Ifindex(dp.ifindex),
        user_features: UserFeatures::UNALIGNED | UserFeatures::DISPATCH_UPCALL_PER_CPU,
        per_cpu_pids: Some(&[socket.port_id()]),
        masks_cache_size: Some(512),
    };
    let changed = datapath::set(socket, families, &set).unwrap();
    assert_eq!(changed.user_features, set.user_features);
    assert_eq!(changed.masks_cache_size, Some(512));
    assert_eq!(changed.per_cpu_pids, [socket.port_id()]);
    let again = DatapathNew { name: "nldp", ..DatapathNew::default() };
    assert_eq!(errno(datapath::create(socket, families, &again)), Some(libc::EEXIST));
    let unknown = DatapathNew {
        name: "nldp2",
        user_features: UserFeatures::from_bits_retain(1 << 31),
        ..DatapathNew::default()
    };
    assert_eq!(errno(datapath::create(socket, families, &unknown)), Some(libc::EOPNOTSUPP));
    let id = DatapathId::Name("nldp");
    datapath::delete(socket, families, id).unwrap();
    assert_eq!(errno(datapath::get(socket, families, id)), Some(libc::ENODEV));
}

#[test]
#[ignore = "needs the lab"]
fn vports_are_attached_found_changed_and_detached() {
    let mut lab = Lab::with("nlvp", UserFeatures::VPORT_PIDS, 0);
    let made = lab.add_internal("nlvp-i", &[7]).unwrap();
    assert_eq!(errno(lab.add_internal("nlvp-i", &[])), Some(libc::EEXIST));
    let Lab { socket, families, dp } = &mut lab;
    assert_eq!((made.name.as_str(), made.ty), ("nlvp-i", VportType::Internal));
    assert_eq!(made.upcall_pids, [7]);
    let id = VportId::Number { dp_ifindex: dp.ifindex, port_no: made.port_no };
    let found = vport::get(socket, families, id).unwrap();
    assert_eq!(found, vport::get(socket, families, VportId::Name("nlvp-i")).unwrap());
    assert_eq!((found.ifindex, found.options), (made.ifindex, None));
    let set = VportSet { id, upcall_pids: Some(&[]), options: None };
    assert_eq!(vport::set(socket, families, &set).unwrap().upcall_pids, [0]);
    let mut names: Vec<_> =
        vport::dump(socket, families, dp.ifindex).unwrap().into_iter().map(|p| p.name).collect();
    names.sort();
    assert_eq!(names, ["nlvp", "nlvp-i"]);
    vport::delete(socket, families, id).unwrap();
    assert_eq!(errno(vport::get(socket, families, id)), Some(libc::ENODEV));
    let local = VportId::Number { dp_ifindex: dp.ifindex, port_no: 0 };
    assert_eq!(errno(vport::delete(socket, families, local)), Some(libc::EINVAL));
    assert_eq!(errno(vport::dump(socket, families, 0x7fff_fff0)), Some(libc::ENODEV));
}

/// An ARP request, as the kernel will read it.
const ARP: [u8; 42] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6, // Ethernet
    0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2,
];

#[test]
#[ignore = "needs the lab"]
fn a_packet_goes_down_and_comes_up_again() {
    let upcalls = Socket::open().unwrap();
    let mut lab = Lab::with("nlpkt", UserFeatures::UNALIGNED, upcalls.port_id());
    let userspace = Action::Userspace {
        pid: upcalls.port_id(),
        userdata: Some(b"cookie"),
        egress_tun_port: None,
        actions: false,
    };
    let (mut key, mut actions) = (Vec::new(), Vec::new());
    KeyAttr::InPort(0).write(&mut AttrWriter::new(&mut key));
    userspace.write(&mut AttrWriter::new(&mut actions));
    let execute = Execute {
        dp_ifindex: lab.dp.ifindex,
        packet: &ARP,
        key: &key,
        actions: &actions,
        ..Execute::default()
    };
    // As a handler does: many at once, without acknowledgements; the third one has no datapath.
    let first = lab.socket.reserve_seqs(3);
    let mut buf = MsgBuf::new();
    let id = lab.families.packet.id;
    for (i, dp_ifindex) in (0u32..).zip([lab.dp.ifindex, lab.dp.ifindex, 0x7fff_fff0]) {
        let execute = Execute { dp_ifindex, ..execute };
        execute.append(&mut buf, id, MsgFlags::empty(), first + i).unwrap();
    }
    lab.socket.send(buf.as_bytes()).unwrap();
    let mut refused = Vec::new();
    lab.socket.drain_errors(|seq, ack| refused.push((seq - first, ack.errno))).unwrap();
    assert_eq!(refused, [(2, libc::ENODEV)]);

    let mut ring = RecvRing::new(8);
    assert_eq!(upcalls.recv_batch(&mut ring, Duration::from_secs(5)).unwrap(), 2);
    for datagram in ring.iter() {
        let m = Messages::new(datagram.unwrap()).next().unwrap().unwrap();
        assert_eq!((m.kind, m.port, m.seq), (id, 0, 0));
        let upcall = Upcall::parse(m.genl().unwrap()).unwrap();
        assert_eq!(upcall.cmd, UpcallCmd::Action);
        assert_eq!((upcall.packet, upcall.userdata), (&ARP[..], Some(&b"cookie"[..])));
        assert_eq!(upcall.dp_ifindex, lab.dp.ifindex);
    }
}

#[test]
#[ignore = "needs the lab"]
fn upcalls_that_nobody_reads_are_an_overrun() {
    let mut upcalls = Socket::open().unwrap();
    upcalls.set_rcvbuf_force(4096).unwrap();
    let lab = Lab::with("nlover", UserFeatures::UNALIGNED, upcalls.port_id());
    let (mut key, mut actions, mut buf) = (Vec::new(), Vec::new(), MsgBuf::new());
    KeyAttr::InPort(0).write(&mut AttrWriter::new(&mut key));
    let userspace = Action::Userspace {
        pid: upcalls.port_id(),
        userdata: None,
        egress_tun_port: None,
        actions: false,
    };
    userspace.write(&mut AttrWriter::new(&mut actions));
    for _ in 0..200 {
        let execute = Execute {
            dp_ifindex: lab.dp.ifindex,
            packet: &ARP,
            key: &key,
            actions: &actions,
            ..Execute::default()
        };
        execute.append(&mut buf, lab.families.packet.id, MsgFlags::empty(), 1).unwrap();
    }
    lab.socket.send(buf.as_bytes()).unwrap();
    let (mut ring, mut overruns, mut received) = (RecvRing::new(64), 0, 0);
    loop {
        match upcalls.recv_batch(&mut ring, Duration::ZERO) {
            Ok(0) => break,
            Ok(count) => received += count,
            Err(ovs_netlink::RecvError::Overrun) => overruns += 1,
            Err(e) => panic!("{e}"),
        }
    }
    assert!(received < 200, "{received} of 200 in a buffer of a few KiB");
    assert_eq!(overruns, 1, "told once, however many were lost");
    assert_eq!(
        received + upcalls.drops().unwrap() as usize,
        200,
        "the kernel counts the lost ones"
    );
    assert_eq!(upcalls.recv_batch(&mut ring, Duration::ZERO).unwrap(), 0);
}

#[test]
#[ignore = "needs the lab"]
fn a_batch_of_flows_has_a_result_for_each() {
    let mut lab = Lab::new("nlflow");
    let mut mask = Vec::new();
    let mut w = AttrWriter::new(&mut mask);
    KeyAttr::InPort(u32::MAX).write(&mut w);
    KeyAttr::EtherType(0xffff).write(&mut w);
    let mut buf = MsgBuf::new();
    let mut put = |in_port: u32, flags| {
        let mut key = Vec::new();
        let mut w = AttrWriter::new(&mut key);
        KeyAttr::InPort(in_port).write(&mut w);
        KeyAttr::Ethernet { src: [2; 6], dst: [4; 6] }.write(&mut w);
        KeyAttr::EtherType(0x88cc).write(&mut w);
        let put = FlowPut {
            dp_ifindex: lab.dp.ifindex,
            key: &key,
            mask: Some(&mask),
            actions: &[],
            ufid: None,
            if_exists: IfExists::Fail,
            probe: false,
            clear: false,
        };
        put.append(&mut buf, lab.families.flow.id, flags, 0).unwrap();
    };
    // 150 flows, some twice, some with an echo: several sends.
    for port in 0..150 {
        put(port, if port % 3 == 0 { MsgFlags::ECHO } else { MsgFlags::empty() });
        if port % 10 == 0 {
            put(port, MsgFlags::empty());
        }
    }
    let (mut echoes, mut acks, mut exist) = (0, 0, 0);
    lab.socket.transact_batch(&mut buf, |_, result| match result {
        Ok(Some(_)) => echoes += 1,
        Ok(None) => acks += 1,
        Err(e) if e.errno() == Some(libc::EEXIST) => exist += 1,
        Err(e) => panic!("{e}"),
    });
    assert_eq!((echoes, acks, exist), (50, 100, 15));
    let id = DatapathId::Ifindex(lab.dp.ifindex);
    let dp = datapath::get(&mut lab.socket, &lab.families, id).unwrap();
    assert_eq!(dp.stats.unwrap().flows, 150);
}

#[test]
#[ignore = "needs the lab"]
fn a_refusal_says_why() {
    let mut lab = Lab::new("nlwhy");
    // A key without an Ethernet address, which the kernel complains about in its own words only
    // where it has them; the error number is there at any rate.
    let mut key = Vec::new();
    KeyAttr::Tcp { src: 1, dst: 2 }.write(&mut AttrWriter::new(&mut key));
    let put = FlowPut {
        dp_ifindex: lab.dp.ifindex,
        key: &key,
        mask: None,
        actions: &[],
        ufid: None,
        if_exists: IfExists::Fail,
        probe: true,
        clear: false,
    };
    let mut buf = MsgBuf::new();
    put.append(&mut buf, lab.families.flow.id, MsgFlags::empty(), 0).unwrap();
    assert_eq!(errno(lab.socket.transact(&mut buf)), Some(libc::EINVAL));
    // One that the attribute policy refuses comes with text and place.
    let mut buf = MsgBuf::new();
    let head = ovs_netlink::msg::MsgHead {
        family: lab.families.vport.id,
        cmd: ovs_netlink::uapi::OVS_VPORT_CMD_GET,
        version: 1,
        dp_ifindex: lab.dp.ifindex,
        ..Default::default()
    };
    let mut w = buf.begin(head);
    w.attrs().u8(ovs_netlink::uapi::OVS_VPORT_ATTR_PORT_NO, 1);
    w.finish().unwrap();
    match lab.socket.transact(&mut buf) {
        Err(Error::Kernel { message, offset, .. }) => {
            assert!(message.is_some_and(|m| m.contains("ttribute")), "the kernel's text");
            assert_eq!(offset, Some(24), "netlink, generic netlink and OVS header, then the first");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
#[ignore = "needs the lab"]
fn meters_limit_and_count() {
    let mut lab = Lab::new("nlmeter");
    let Lab { socket, families, dp } = &mut lab;
    let family = families.meter.clone().expect("since Linux 4.15");
    let features = meter::features(socket, &family, dp.ifindex).unwrap();
    assert_eq!((features.max_bands, &features.band_types[..]), (1, &[BandType::Drop][..]));
    let band = Band { ty: BandType::Drop, rate: 1000, burst: 100 };
    let config = MeterConfig { id: 3, kbps: true, clear: false, bands: vec![band] };
    let new = meter::set(socket, &family, dp.ifindex, &config).unwrap();
    assert_eq!((new.id, new.stats), (3, None));
    let replaced = meter::set(socket, &family, dp.ifindex, &config).unwrap();
    assert!(replaced.stats.is_some(), "the counters go on");
    let found = meter::get(socket, &family, dp.ifindex, 3).unwrap();
    assert_eq!((found.id, found.bands.map(|b| b.len())), (3, Some(1)));
    assert!(meter::delete(socket, &family, dp.ifindex, 3).unwrap().is_some());
    assert_eq!(meter::delete(socket, &family, dp.ifindex, 3).unwrap(), None);
    assert_eq!(errno(meter::get(socket, &family, dp.ifindex, 3)), Some(libc::ENOENT));
    let two = MeterConfig { bands: vec![band, band], ..config };
    assert_eq!(errno(meter::set(socket, &family, dp.ifindex, &two)), Some(libc::EINVAL));
}

#[test]
#[ignore = "needs the lab"]
fn conntrack_limits_are_set_and_told() {
    let mut lab = Lab::new("nlct");
    let family = lab.families.ct_limit.clone().expect("since Linux 4.18");
    let limit = |zone, limit| ZoneLimit { zone, limit, count: 0 };
    let set = [limit(Zone::Default, 9000), limit(Zone::Id(77), 50)];
    ct_limit::set(&mut lab.socket, &family, &set).unwrap();
    let all = ct_limit::get(&mut lab.socket, &family, &[]).unwrap();
    assert!(set.iter().all(|l| all.contains(l)), "{all:?}");
    ct_limit::delete(&mut lab.socket, &family, &[Zone::Default, Zone::Id(77)]).unwrap();
    let left = ct_limit::get(&mut lab.socket, &family, &[Zone::Default, Zone::Id(77)]).unwrap();
    assert_eq!(left, [limit(Zone::Default, 0), limit(Zone::Id(77), 0)]);
}

#[tokio::test]
#[ignore = "needs the lab"]
async fn changes_are_announced() {
    let mut lab = Lab::new("nlmon");
    let ovs = OvsGroups::DATAPATH | OvsGroups::VPORT;
    let mut monitor = Monitor::open(Some(&lab.families), ovs, RouteGroups::LINK).unwrap();
    let port = lab.add_internal("nlmon-i", &[]).unwrap();
    let id = VportId::Name("nlmon-i");
    vport::delete(&mut lab.socket, &lab.families, id).unwrap();
    let (dp_ifindex, port_no) = (lab.dp.ifindex, port.port_no);
    drop(lab);
    let (mut seen, mut links) = (Vec::new(), 0);
    loop {
        match monitor.next().await.unwrap() {
            Event::Vport(change, p) if p.dp_ifindex == dp_ifindex && p.port_no == port_no => {
                seen.push(change);
            }
            Event::Datapath(Change::Gone, dp) if dp.ifindex == dp_ifindex => break,
            Event::Route(_) => links += 1,
            Event::Lost => panic!("nothing should be lost"),
            _ => {}
        }
    }
    assert_eq!(seen, [Change::New, Change::Gone]);
    // The links' announcements are there too, perhaps behind.
    while links == 0 {
        links += usize::from(matches!(monitor.next().await.unwrap(), Event::Route(_)));
    }
}

#[test]
#[ignore = "needs the lab"]
fn announcements_that_nobody_reads_are_lost_and_said_to_be() {
    let mut lab = Lab::new("nllost");
    let mut listener = Listener::ovs(Some(&lab.families), OvsGroups::VPORT).unwrap();
    listener.set_rcvbuf_force(4096).unwrap();
    for _ in 0..20 {
        let port = lab.add_internal("nllost-i", &[]).unwrap();
        let id = VportId::Number { dp_ifindex: lab.dp.ifindex, port_no: port.port_no };
        vport::delete(&mut lab.socket, &lab.families, id).unwrap();
    }
    let mut events = Vec::new();
    while let Some(event) = listener.try_next().unwrap() {
        events.push(event);
    }
    assert_eq!(events.iter().filter(|e| **e == Event::Lost).count(), 1);
    assert!(events.len() < 41);
}

#[tokio::test]
async fn the_families_are_the_same_both_ways() {
    match (Families::resolve(), Families::resolve_async().await) {
        (Ok(mut blocking), Ok(mut asynchronous)) => {
            for f in [&mut blocking, &mut asynchronous] {
                for f in [&mut f.datapath, &mut f.vport, &mut f.flow, &mut f.packet] {
                    f.groups.sort();
                }
            }
            assert_eq!(blocking, asynchronous);
        }
        (Err(FamilyError::Missing { name: a }), Err(FamilyError::Missing { name: b })) => {
            assert_eq!(a, b);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_missing_module_is_told_with_its_remedy() {
    if let Err(e) = Families::resolve() {
        assert!(e.to_string().contains("modprobe openvswitch"), "{e}");
    }
    let gone = std::io::Error::from(ErrorKind::NotFound);
    assert!(
        FamilyError::Exchange { name: "ovs_flow", source: gone.into() }
            .to_string()
            .contains("ovs_flow")
    );
}
