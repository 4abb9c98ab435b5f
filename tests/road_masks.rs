//! Masks tell the truth: whatever bit a megaflow leaves open, translation gives the same; and two
//! megaflows of one state of the switch overlap only if they are the same. Random packets over
//! random bridges.

use std::sync::Arc;

use proptest::prelude::*;
use rovs::datapath::OdpPort;
use rovs::flow::{Be16, EthAddr, Flow, FlowWildcards, VLAN_CFI, VlanHdr};
use rovs::l2::fdb::{BundleId, Fdb, FdbConfig, FdbKey};
use rovs::ofproto::{OfPort, Tables};
use rovs::snapshot::{
    Attachment, Bridge, BridgeId, Bundle, Port, PriorityTags, QinqType, Snapshot, VlanMode, VlanSet,
};
use rovs::xlate::{XlateIn, XlateOut, translate};

/// VLANs that anything is about; 0 is none.
const VLANS: [u16; 4] = [0, 10, 20, 4095];
const NOW_MS: u64 = 1_000;

#[derive(Clone, Debug)]
struct PortPlan {
    mode: VlanMode,
    vlan: u16,
    trunks: Vec<u16>,
    priority_tags: PriorityTags,
}

fn port_plan() -> impl Strategy<Value = PortPlan> {
    let mode = prop_oneof![
        Just(VlanMode::Access),
        Just(VlanMode::Trunk),
        Just(VlanMode::NativeTagged),
        Just(VlanMode::NativeUntagged),
        Just(VlanMode::Dot1qTunnel(QinqType::Dot1ad)),
        Just(VlanMode::Dot1qTunnel(QinqType::Dot1q)),
    ];
    let tags = prop_oneof![
        Just(PriorityTags::Never),
        Just(PriorityTags::IfNonzero),
        Just(PriorityTags::Always),
    ];
    let vlan = || proptest::sample::select(&VLANS[..3]);
    let trunks = proptest::collection::vec(vlan(), 0..3);
    (mode, vlan(), trunks, tags).prop_map(|(mode, vlan, trunks, priority_tags)| PortPlan {
        mode,
        vlan,
        trunks,
        priority_tags,
    })
}

/// A bridge of these ports, numbered from 1, that knows some addresses.
fn bridge(ports: &[PortPlan], known: &[(u8, usize, usize)], forward_bpdu: bool) -> Snapshot {
    let fdb = Fdb::new(FdbConfig::default());
    for (mac, vlan, port) in known {
        let key = FdbKey { vlan: VLANS[*vlan], mac: EthAddr([2, 0, 0, 0, 0, *mac]) };
        fdb.learn(key, BundleId((port % ports.len()) as u32 + 1), false, false, NOW_MS);
    }
    let number = |n: usize| n as u16 + 1;
    let bundles = ports.iter().enumerate().map(|(n, plan)| Bundle {
        id: BundleId(n as u32 + 1),
        name: format!("p{n}"),
        vlan_mode: plan.mode,
        vlan: if plan.mode == VlanMode::Trunk { 0 } else { plan.vlan },
        trunks: match plan.trunks.as_slice() {
            [] => VlanSet::ALL,
            some => some.iter().copied().collect(),
        },
        priority_tags: plan.priority_tags,
        ports: vec![OfPort(number(n))],
    });
    let bridge = Bridge {
        id: BridgeId(1),
        name: "br0".to_owned(),
        forward_bpdu,
        bundles: bundles.collect(),
        ports: (0..ports.len())
            .map(|n| Port {
                ofp: OfPort(number(n)),
                at: Attachment::Datapath(OdpPort(u32::from(number(n)) + 100)),
                name: format!("p{n}"),
                bundle: BundleId(n as u32 + 1),
                may_enable: true,
            })
            .collect(),
        fdb: Arc::new(fdb),
        tables: Arc::new(Tables::standalone()),
    };
    Snapshot::new(vec![Arc::new(bridge)])
}

/// What makes two packets of one class: their headers are of the same kinds.
#[derive(Clone, Copy, Debug)]
struct Class {
    dl_type: u16,
    tags: usize,
    tpids: [u16; 2],
    nw_proto: u8,
    frag: u8,
}

fn class() -> impl Strategy<Value = Class> {
    let dl_type = prop_oneof![
        Just(0x0800u16),
        Just(0x0806),
        Just(0x86dd),
        Just(0x8847),
        Just(0x05ff),
        Just(0x88cc),
    ];
    let tpid = || prop_oneof![3 => Just(0x8100u16), 1 => Just(0x88a8)];
    let proto = prop_oneof![Just(1u8), Just(6), Just(17), Just(58), Just(2)];
    let frag = prop_oneof![3 => Just(0u8), 1 => Just(1), 1 => Just(3)];
    (dl_type, 0usize..3, tpid(), tpid(), proto, frag).prop_map(
        |(dl_type, tags, a, b, nw_proto, frag)| Class {
            dl_type,
            tags,
            tpids: [a, b],
            nw_proto,
            frag,
        },
    )
}

/// A packet of that class: every field that the class has is random, with few values where
/// decisions are made.
fn packet(class: Class) -> impl Strategy<Value = Flow> {
    let mac = || {
        prop_oneof![
            6 => (1u8..6).prop_map(|n| EthAddr([2, 0, 0, 0, 0, n])),
            1 => Just(EthAddr::BROADCAST),
            1 => (0u8..16).prop_map(|n| EthAddr([1, 0x80, 0xc2, 0, 0, n])),
            1 => any::<[u8; 6]>().prop_map(EthAddr),
        ]
    };
    let tci = || {
        let vid = proptest::sample::select(&VLANS[..]);
        (vid, 0u16..8).prop_map(|(vid, pcp)| vid | pcp << 13 | VLAN_CFI)
    };
    let l2 = (1u32..6, mac(), mac(), tci(), tci());
    let l3 = (any::<[u8; 4]>(), any::<bool>(), any::<[u8; 16]>(), any::<[u8; 16]>(), 1u8..4);
    let rest = (any::<u8>(), any::<u8>(), any::<u16>(), any::<u16>(), any::<u32>(), any::<u32>());
    (l2, l3, rest).prop_map(move |(l2, l3, rest)| {
        let (in_port, dl_dst, dl_src, outer, inner) = l2;
        let (nw_src, same, ipv6_src, ipv6_dst, op) = l3;
        let (tos, ttl, tp_src, tp_dst, mark, priority) = rest;
        let mut flow = Flow::ZERO;
        flow.in_port = in_port + 100;
        (flow.dl_dst, flow.dl_src) = (dl_dst, dl_src);
        flow.dl_type = Be16::new(class.dl_type);
        (flow.pkt_mark, flow.skb_priority) = (mark, priority);
        for (n, tci) in [outer, inner].into_iter().take(class.tags).enumerate() {
            flow.vlans[n] = VlanHdr { tpid: Be16::new(class.tpids[n]), tci: Be16::new(tci) };
        }
        match class.dl_type {
            0x0806 => {
                flow.nw_src = nw_src;
                flow.nw_dst = if same { nw_src } else { [10, 0, 0, 9] };
                flow.nw_proto = op;
            }
            0x0800 | 0x86dd => {
                if class.dl_type == 0x0800 {
                    (flow.nw_src, flow.nw_dst) = (nw_src, [10, 0, 0, 1]);
                } else {
                    (flow.ipv6_src, flow.ipv6_dst) = (ipv6_src, ipv6_dst);
                }
                flow.nw_proto = class.nw_proto;
                flow.nw_frag = class.frag;
                (flow.nw_tos, flow.nw_ttl) = (tos, ttl);
                if class.frag != 3 {
                    let bits = if matches!(class.nw_proto, 1 | 58) { 0xff } else { 0xffff };
                    flow.tp_src = Be16::new(tp_src & bits);
                    flow.tp_dst = Be16::new(tp_dst & bits);
                }
            }
            _ => {}
        }
        flow
    })
}

fn decide(snapshot: &Snapshot, flow: &Flow) -> (Vec<u8>, FlowWildcards) {
    let mut out = XlateOut::default();
    translate(XlateIn { snapshot, flow, now_ms: NOW_MS }, &mut out);
    (out.actions.as_bytes().to_vec(), out.wc)
}

/// The bits of `flow` that matter, the others from `other`.
fn mix(flow: &Flow, wc: &FlowWildcards, other: &Flow) -> Flow {
    let mut mixed = *other;
    let masks = wc.masks.words();
    for ((word, mine), mask) in mixed.words_mut().iter_mut().zip(flow.words()).zip(masks) {
        *word = *word & !mask | mine & mask;
    }
    mixed
}

/// A bridge's ports, the addresses it knows, and whether it forwards to reserved ones.
type BridgePlan = (Vec<PortPlan>, Vec<(u8, usize, usize)>, bool);

/// One bridge and two packets of one class.
fn cases() -> impl Strategy<Value = (BridgePlan, Flow, Flow)> {
    let ports = proptest::collection::vec(port_plan(), 1..5);
    let known = proptest::collection::vec((1u8..6, 0usize..3, 0usize..5), 0..8);
    let packets = class().prop_flat_map(|class| (packet(class), packet(class)));
    (ports, known, any::<bool>(), packets)
        .prop_map(|(ports, known, bpdu, (a, b))| ((ports, known, bpdu), a, b))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    /// Invariant (a) of the design, and from it (b): what differs only in open bits gets the same
    /// actions and the same mask.
    #[test]
    fn open_bits_change_nothing((plan, flow, other) in cases()) {
        let snapshot = bridge(&plan.0, &plan.1, plan.2);
        let (actions, wc) = decide(&snapshot, &flow);
        let mixed = mix(&flow, &wc, &other);
        let (mixed_actions, mixed_wc) = decide(&snapshot, &mixed);
        prop_assert_eq!(&actions, &mixed_actions, "{:?}\n{:?}\nmask {:?}", flow, mixed, wc.masks);
        prop_assert!(wc == mixed_wc, "masks differ:\n{:?}\n{:?}", wc.masks, mixed_wc.masks);
    }

    /// Invariant (b): megaflows of two packets are apart or the same.
    #[test]
    fn megaflows_are_apart_or_the_same((plan, a, b) in cases()) {
        let snapshot = bridge(&plan.0, &plan.1, plan.2);
        let (a_actions, a_wc) = decide(&snapshot, &a);
        let (b_actions, b_wc) = decide(&snapshot, &b);
        let words = a.words().iter().zip(b.words());
        let masks = a_wc.masks.words().iter().zip(b_wc.masks.words());
        let overlap = words.zip(masks).all(|((a, b), (m, n))| (a ^ b) & m & n == 0);
        if overlap {
            prop_assert!(a_wc == b_wc, "overlapping masks differ:\n{:?}\n{:?}", a_wc.masks, b_wc.masks);
            prop_assert_eq!(a_actions, b_actions);
        }
    }
}
