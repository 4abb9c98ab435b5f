//! What a stock kernel and the stock daemon said to each other, read and written again.
//!
//! The captures in `captured/` were made with nlmon and tcpdump in user-mode Linux while Debian 12's
//! ovs-vswitchd 3.1.0 and ovs-dpctl made ports of every type, forwarded, set meters and conntrack
//! limits; one or two messages of each kind were kept. They open in wireshark.

use std::collections::BTreeMap;

use ovs_netlink::ack::Ack;
use ovs_netlink::attr::{Attr, AttrWriter, Attrs};
use ovs_netlink::ct_limit::{self, Zone};
use ovs_netlink::datapath::{Datapath, DatapathId, DatapathNew, DatapathSet, UserFeatures};
use ovs_netlink::family::Family;
use ovs_netlink::meter::{BandType, Meter, MeterConfig, MeterFeatures};
use ovs_netlink::msg::{Genl, Message, Messages, MsgBuf, MsgFlags, split_ovs_header};
use ovs_netlink::packet::{Execute, Upcall, UpcallCmd};
use ovs_netlink::uapi::*;
use ovs_netlink::vport::{TunnelOptions, Vport, VportNew, VportType};

const CAPTURES: [(&str, &[u8]); 2] = [
    ("6.1", include_bytes!("captured/linux-6.1.pcap")),
    ("6.12", include_bytes!("captured/linux-6.12.pcap")),
];

/// `GENL_ID_CTRL`.
const CTRL: u16 = 0x10;
const NETLINK_GENERIC: u16 = 16;

/// A captured message of a generic netlink family.
struct Captured {
    kernel: &'static str,
    family: String,
    to_user: bool,
    message: Message<'static>,
    genl: Genl<'static>,
}

impl Captured {
    fn attrs(&self) -> Attrs<'static> {
        split_ovs_header(self.genl.body).unwrap().1
    }

    fn is(&self, family: &str, to_user: bool) -> bool {
        self.family == family && self.to_user == to_user
    }

    fn is_request(&self, family: &str, cmd: u8) -> bool {
        self.is(family, false) && self.genl.cmd == cmd
    }
}

/// Datagrams of a capture with their protocol. (nlmon does not tell their direction.)
fn datagrams(pcap: &'static [u8]) -> Vec<(u16, &'static [u8])> {
    let (mut rest, mut all) = (&pcap[24..], Vec::new());
    while let Some((head, tail)) = rest.split_first_chunk::<16>() {
        let len = u32::from_le_bytes(head[8..12].try_into().unwrap()) as usize;
        let (cooked, datagram) = tail[..len].split_first_chunk::<16>().unwrap();
        all.push((u16::from_be_bytes([cooked[14], cooked[15]]), datagram));
        rest = &tail[len..];
    }
    all
}

/// All messages of generic netlink families; families are named as the capture itself names them.
fn captured() -> Vec<Captured> {
    let mut all = Vec::new();
    for (kernel, pcap) in CAPTURES {
        let mut names = BTreeMap::from([(CTRL, "nlctrl".to_owned())]);
        for (protocol, datagram) in datagrams(pcap) {
            if protocol != NETLINK_GENERIC {
                continue;
            }
            for message in Messages::new(datagram).map(Result::unwrap).filter(|m| m.kind >= CTRL) {
                let genl = message.genl().unwrap();
                if message.kind == CTRL && genl.cmd == 1 {
                    let name = Attrs::new(genl.body).find_kind(2).unwrap().unwrap();
                    let family = Family::parse(genl).unwrap();
                    names.insert(family.id, name.str().unwrap().to_owned());
                }
                let family = names.get(&message.kind).cloned().unwrap_or_default();
                let to_user = !message.flags.contains(MsgFlags::REQUEST);
                all.push(Captured { kernel, family, to_user, message, genl });
            }
        }
    }
    all
}

/// The captured messages for which `wanted` holds; there must be some of each kernel.
fn only(wanted: impl Fn(&Captured) -> bool) -> Vec<Captured> {
    let all: Vec<_> = captured().into_iter().filter(wanted).collect();
    for (kernel, _) in CAPTURES {
        assert!(all.iter().any(|c| c.kernel == kernel), "none of Linux {kernel}");
    }
    all
}

fn list(attrs: Attrs<'_>) -> Vec<Attr<'_>> {
    attrs.map(Result::unwrap).collect()
}

/// Attributes ordered by their type: the peer's order differs from ours.
fn sorted(attrs: Attrs<'_>) -> Vec<Attr<'_>> {
    let mut attrs = list(attrs);
    attrs.sort_by_key(|a| a.kind);
    attrs
}

/// Checks that `write` gives the attributes that the kernel sent, in its order; `pad` is the type of
/// those that only align the next one (user-mode Linux sends them, x86-64 proper does not).
fn assert_written_again(c: &Captured, pad: u16, write: impl FnOnce(&mut AttrWriter<'_>)) {
    let mut buf = Vec::new();
    let mut w = AttrWriter::new(&mut buf);
    write(&mut w);
    w.finish().unwrap();
    let mut kernels: Vec<_> = without(c.attrs(), pad);
    // The kernel tells a replaced meter's number twice.
    kernels.dedup();
    let kernels: Vec<_> = kernels
        .into_iter()
        .map(|(kind, value)| match (c.family.as_str(), kind) {
            ("ovs_vport", OVS_VPORT_ATTR_UPCALL_STATS) => {
                let mut inner = Vec::new();
                let mut w = AttrWriter::new(&mut inner);
                for (kind, value) in without(Attrs::new(&value), pad) {
                    w.bytes(kind, &value);
                }
                (kind, inner)
            }
            _ => (kind, value),
        })
        .collect();
    let ours = without(Attrs::new(&buf), pad);
    assert_eq!(ours, kernels, "{} of Linux {}", c.family, c.kernel);
}

fn without(attrs: Attrs<'_>, pad: u16) -> Vec<(u16, Vec<u8>)> {
    let attrs = list(attrs).into_iter().filter(|a| a.kind != pad);
    attrs.map(|a| (a.kind, a.value.to_vec())).collect()
}

/// Checks that what was built is the request that the peer sent.
fn assert_same_request(buf: &MsgBuf, c: &Captured) {
    let ours = buf.messages().next().unwrap().unwrap();
    let genl = ours.genl().unwrap();
    assert_eq!((ours.kind, genl.cmd), (c.message.kind, c.genl.cmd));
    assert_eq!(genl.version, c.genl.version);
    let (dp_ifindex, attrs) = split_ovs_header(genl.body).unwrap();
    assert_eq!(dp_ifindex, split_ovs_header(c.genl.body).unwrap().0);
    // What the peer sends along and the kernel does not look at.
    let ignored = |a: &Attr<'_>| match (c.family.as_str(), c.genl.cmd) {
        ("ovs_datapath", OVS_DP_CMD_SET) => match a.kind {
            OVS_DP_ATTR_UPCALL_PID => true,
            OVS_DP_ATTR_NAME => dp_ifindex != 0,
            _ => false,
        },
        _ => false,
    };
    let peers: Vec<_> = sorted(c.attrs()).into_iter().filter(|a| !ignored(a)).collect();
    assert_eq!(sorted(attrs), peers);
}

fn u32_of(c: &Captured, kind: u16) -> Option<u32> {
    c.attrs().find_kind(kind).unwrap().map(|a| a.u32().unwrap())
}

fn u32s_of(c: &Captured, kind: u16) -> Option<Vec<u32>> {
    c.attrs().find_kind(kind).unwrap().map(|a| a.u32s().unwrap())
}

fn str_of(c: &Captured, kind: u16) -> Option<&'static str> {
    c.attrs().find_kind(kind).unwrap().map(|a| a.str().unwrap())
}

#[test]
fn families_have_ids_and_groups() {
    let found = only(|c| c.is("nlctrl", true) && c.genl.cmd == 1);
    let groups: BTreeMap<_, _> = found
        .iter()
        .map(|c| {
            let name = Attrs::new(c.genl.body).find_kind(2).unwrap().unwrap().str().unwrap();
            let family = Family::parse(c.genl).unwrap();
            let groups: Vec<_> = family.groups.into_iter().map(|(name, _)| name).collect();
            (name, groups)
        })
        .collect();
    for name in ["ovs_datapath", "ovs_vport", "ovs_flow", "ovs_meter"] {
        assert_eq!(groups[name], [name]);
    }
    assert_eq!(groups["ovs_packet"], [""; 0]);
}

#[test]
fn datapaths_are_written_as_they_were_read() {
    let mut caches = Vec::new();
    for c in only(|c| c.is("ovs_datapath", true)) {
        let dp = Datapath::parse(c.genl.body).unwrap();
        assert_eq!(dp.unknown, []);
        assert!(dp.name == "ovs-system" || dp.name == "other");
        assert!(dp.stats.is_some() && dp.megaflow_stats.is_some());
        caches.extend(dp.masks_cache_size);
        assert_written_again(&c, OVS_DP_ATTR_PAD, |w| dp.write(w));
    }
    assert!(caches.contains(&256) && caches.contains(&512), "the default, and what was set");
}

#[test]
fn datapath_requests_are_the_peers() {
    for c in only(|c| c.is_request("ovs_datapath", OVS_DP_CMD_NEW)) {
        let mut buf = MsgBuf::new();
        let request = DatapathNew {
            name: str_of(&c, OVS_DP_ATTR_NAME).unwrap(),
            upcall_pid: u32_of(&c, OVS_DP_ATTR_UPCALL_PID).unwrap(),
            user_features: UserFeatures::from_bits_retain(
                u32_of(&c, OVS_DP_ATTR_USER_FEATURES).unwrap(),
            ),
            ..DatapathNew::default()
        };
        request.append(&mut buf, c.message.kind, MsgFlags::ECHO, 1).unwrap();
        assert_same_request(&buf, &c);
    }
    for c in only(|c| c.is_request("ovs_datapath", OVS_DP_CMD_SET)) {
        let pids = u32s_of(&c, OVS_DP_ATTR_PER_CPU_PIDS);
        let request = DatapathSet {
            id: match split_ovs_header(c.genl.body).unwrap().0 {
                0 => DatapathId::Name(str_of(&c, OVS_DP_ATTR_NAME).unwrap()),
                ifindex => DatapathId::Ifindex(ifindex),
            },
            user_features: UserFeatures::from_bits_retain(
                u32_of(&c, OVS_DP_ATTR_USER_FEATURES).unwrap(),
            ),
            per_cpu_pids: pids.as_deref(),
            masks_cache_size: u32_of(&c, OVS_DP_ATTR_MASKS_CACHE_SIZE),
        };
        let mut buf = MsgBuf::new();
        request.append(&mut buf, c.message.kind, MsgFlags::empty(), 1).unwrap();
        assert_same_request(&buf, &c);
    }
}

#[test]
fn vports_are_written_as_they_were_read() {
    let mut types = Vec::new();
    let mut upcall_stats = BTreeMap::new();
    for c in only(|c| c.is("ovs_vport", true)) {
        let port = Vport::parse(c.genl.body).unwrap();
        assert_eq!(port.unknown, []);
        assert!(port.ifindex.is_some() && port.stats.is_some());
        upcall_stats.insert(c.kernel, port.upcall_stats.is_some());
        types.push(port.ty);
        assert_written_again(&c, OVS_VPORT_ATTR_PAD, |w| port.write(w));
    }
    assert!(types.contains(&VportType::Internal) && types.contains(&VportType::Netdev));
    let expected = BTreeMap::from([("6.1", false), ("6.12", true)]);
    assert_eq!(upcall_stats, expected, "upcall statistics came with Linux 6.3");
}

#[test]
fn vport_requests_are_the_peers() {
    for c in only(|c| c.is_request("ovs_vport", OVS_VPORT_CMD_NEW)) {
        let pids = u32s_of(&c, OVS_VPORT_ATTR_UPCALL_PID).unwrap();
        let request = VportNew {
            dp_ifindex: split_ovs_header(c.genl.body).unwrap().0,
            port_no: u32_of(&c, OVS_VPORT_ATTR_PORT_NO),
            ty: VportType::from_u32(u32_of(&c, OVS_VPORT_ATTR_TYPE).unwrap()),
            name: str_of(&c, OVS_VPORT_ATTR_NAME).unwrap(),
            options: None,
            upcall_pids: &pids,
            ifindex: None,
        };
        let mut buf = MsgBuf::new();
        request.append(&mut buf, c.message.kind, MsgFlags::ECHO, 1).unwrap();
        assert_same_request(&buf, &c);
    }
}

#[test]
fn upcalls_are_written_as_they_were_read() {
    let (mut commands, mut cookies) = (Vec::new(), 0);
    let upcall = |c: &Captured| c.is("ovs_packet", true);
    for c in only(upcall) {
        let upcall = Upcall::parse(c.genl).unwrap();
        assert!(upcall.packet.len() >= 42 && upcall.hash.is_some());
        let known = [
            OVS_PACKET_ATTR_PACKET,
            OVS_PACKET_ATTR_KEY,
            OVS_PACKET_ATTR_USERDATA,
            OVS_PACKET_ATTR_EGRESS_TUN_KEY,
            OVS_PACKET_ATTR_ACTIONS,
            OVS_PACKET_ATTR_MRU,
            OVS_PACKET_ATTR_LEN,
            OVS_PACKET_ATTR_HASH,
        ];
        assert!(upcall.attrs().all(|a| known.contains(&a.unwrap().kind)));
        commands.push(upcall.cmd);
        cookies += usize::from(upcall.userdata.is_some());

        let mut buf = MsgBuf::new();
        upcall.append(&mut buf, c.message.kind).unwrap();
        let ours = buf.messages().next().unwrap().unwrap();
        let kernels = c.message.payload;
        assert_eq!(&ours.payload[..kernels.len()], kernels, "byte for byte");
        assert!(ours.payload[kernels.len()..].iter().all(|&b| b == 0), "but for the padding");
    }
    assert!(commands.contains(&UpcallCmd::Miss) && commands.contains(&UpcallCmd::Action));
    assert!(cookies > 0);
}

#[test]
fn executes_are_the_peers() {
    for c in only(|c| c.is_request("ovs_packet", OVS_PACKET_CMD_EXECUTE)) {
        let find = |kind| c.attrs().find_kind(kind).unwrap();
        let request = Execute {
            dp_ifindex: split_ovs_header(c.genl.body).unwrap().0,
            packet: find(OVS_PACKET_ATTR_PACKET).unwrap().value,
            key: find(OVS_PACKET_ATTR_KEY).unwrap().value,
            actions: find(OVS_PACKET_ATTR_ACTIONS).unwrap().value,
            probe: find(OVS_PACKET_ATTR_PROBE).is_some(),
            mru: find(OVS_PACKET_ATTR_MRU).map(|a| a.u16().unwrap()),
            hash: find(OVS_PACKET_ATTR_HASH).map(|a| a.u64().unwrap()),
        };
        let mut buf = MsgBuf::new();
        request.append(&mut buf, c.message.kind, MsgFlags::empty(), 1).unwrap();
        assert_same_request(&buf, &c);
    }
}

#[test]
fn meters_are_written_as_they_were_read() {
    for c in only(|c| c.is("ovs_meter", true) && c.genl.cmd == OVS_METER_CMD_FEATURES) {
        let features = MeterFeatures::parse(c.genl.body).unwrap();
        assert!(features.max_meters > 0);
        assert_eq!((features.max_bands, &features.band_types[..]), (1, &[BandType::Drop][..]));
    }
    let reply = |c: &Captured| c.is("ovs_meter", true) && c.genl.cmd != OVS_METER_CMD_FEATURES;
    let mut counted = 0;
    for c in only(reply) {
        if c.attrs().next().is_none() {
            continue; // A meter that was not there was deleted.
        }
        let meter = Meter::parse(c.genl.body).unwrap();
        assert_eq!(meter.unknown, []);
        counted += usize::from(meter.bands.as_ref().is_some_and(|b| b.len() == 1));
        assert_written_again(&c, OVS_METER_ATTR_PAD, |w| meter.write(w));
    }
    assert!(counted > 0);
}

#[test]
fn meter_requests_are_the_peers() {
    for c in only(|c| c.is_request("ovs_meter", OVS_METER_CMD_SET)) {
        let config = MeterConfig::parse(c.genl.body).unwrap();
        let mut buf = Vec::new();
        config.write(&mut AttrWriter::new(&mut buf));
        assert_eq!(sorted(Attrs::new(&buf)), sorted(c.attrs()));
    }
}

#[test]
fn ct_limits_are_read_and_written() {
    // Debian's ready-made user-mode Linux has no conntrack limits; they are 6.12's alone.
    let mut zones = Vec::new();
    for c in captured().iter().filter(|c| c.family == "ovs_ct_limit") {
        let limits = ct_limit::parse(c.genl.body).unwrap();
        let mut buf = Vec::new();
        ct_limit::write(&limits, &mut AttrWriter::new(&mut buf));
        if let Some(kernels) = c.attrs().next() {
            assert_eq!(list(Attrs::new(&buf)), [kernels.unwrap()]);
        }
        zones.extend(limits.into_iter().map(|l| (l.zone, l.limit)));
    }
    for expected in [(Zone::Default, 1000), (Zone::Id(5), 50), (Zone::Id(6), 60)] {
        assert!(zones.contains(&expected), "{zones:?}");
    }
}

#[test]
fn tunnel_options_are_read_and_written() {
    // The peer makes tunnel devices by rtnetlink, so this is from vport-vxlan.c: a nest of the port
    // in host order and a nest of extensions with a flag.
    let options = TunnelOptions { dst_port: Some(4789), gbp: true, unknown: Vec::new() };
    let request = VportNew {
        dp_ifindex: 7,
        port_no: Some(3),
        ty: VportType::Vxlan,
        name: "vxlan_sys_4789",
        options: Some(&options),
        upcall_pids: &[],
        ifindex: None,
    };
    let mut buf = MsgBuf::new();
    request.append(&mut buf, 0x20, MsgFlags::empty(), 1).unwrap();
    let genl = buf.messages().next().unwrap().unwrap().genl().unwrap();
    let port = Vport::parse(genl.body).unwrap();
    assert_eq!((port.options, port.upcall_pids), (Some(options), vec![0]));
    let attrs = split_ovs_header(genl.body).unwrap().1;
    let nest = attrs.find_kind(OVS_VPORT_ATTR_OPTIONS).unwrap().unwrap().value;
    let port = [&6u16.to_ne_bytes()[..], &1u16.to_ne_bytes(), &4789u16.to_ne_bytes(), &[0, 0]];
    let ext = [8u16, 2, 4, 1].map(u16::to_ne_bytes);
    assert_eq!(nest, [port.concat(), ext.concat()].concat());
}

#[test]
fn refusals_are_those_that_were_provoked() {
    let mut seen = Vec::new();
    for (kernel, pcap) in CAPTURES {
        for (_, datagram) in datagrams(pcap) {
            for m in Messages::new(datagram).map(Result::unwrap) {
                match Ack::parse(&m).unwrap() {
                    Some(ack) if ack.errno != 0 => seen.push((kernel, ack.errno)),
                    _ => {}
                }
            }
        }
    }
    for (kernel, _) in CAPTURES {
        // No such device, a feature that this kernel does not know, an attribute it does not like.
        for errno in [19, 95, 22] {
            assert!(seen.contains(&(kernel, errno)), "{seen:?}");
        }
    }
}
