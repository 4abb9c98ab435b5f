//! Committed differences, executed on a flow by a second reading of the actions, give the target.

use ovs_netlink::key::{KeyAttr, mpls_lses};
use ovs_netlink::nsh::MaskedNshAttrs;
use proptest::prelude::*;

use super::*;
use crate::flow::{FLOW_WORDS, VLAN_CFI};
use crate::odp::decode::{has_l4, read_nsh};
use crate::odp::dice::{self, Dice};

/// What a datapath would make of a packet that looks like `flow`.
fn execute(actions: &OdpActions, flow: &mut Flow) {
    for action in actions {
        match action.unwrap() {
            Action::Set(key) => set_header(flow, key, None),
            Action::SetMasked(pair) => set_header(flow, pair.key(), Some(pair.mask())),
            Action::SetMaskedNsh(value) => {
                for attr in MaskedNshAttrs::new(value) {
                    set_nsh(flow, attr.unwrap());
                }
            }
            Action::PopVlan => flow.vlans = [flow.vlans[1], VlanHdr::default()],
            Action::PushVlan { tpid, tci } => {
                flow.vlans = [VlanHdr { tpid: tpid.into(), tci: tci.into() }, flow.vlans[0]];
            }
            Action::PopMpls { ethertype } => {
                flow.mpls_lse.rotate_left(1);
                flow.mpls_lse[3] = 0.into();
                flow.dl_type = ethertype.into();
            }
            Action::PushMpls { lse, ethertype } | Action::AddMpls { lse, ethertype, .. } => {
                flow.mpls_lse.rotate_right(1);
                flow.mpls_lse[0] = lse.into();
                flow.dl_type = ethertype.into();
            }
            Action::PopEth => (flow.dl_src, flow.dl_dst) = Default::default(),
            Action::PushEth { src, dst } => {
                flow.packet_type = 0.into();
                (flow.dl_src, flow.dl_dst) = (EthAddr(src), EthAddr(dst));
            }
            other => panic!("{other:?} is not a rewrite"),
        }
    }
}

fn mix<const N: usize>(to: &mut [u8; N], key: [u8; N], mask: [u8; N]) {
    for i in 0..N {
        assert_eq!(key[i] & !mask[i], 0, "value bits outside the mask");
        to[i] = to[i] & !mask[i] | key[i];
    }
}

fn mix8(to: &mut u8, key: u8, mask: u8) {
    let mut byte = [*to];
    mix(&mut byte, [key], [mask]);
    [*to] = byte;
}

fn mix16(to: &mut crate::flow::Be16, key: u16, mask: u16) {
    assert_eq!(key & !mask, 0, "value bits outside the mask");
    *to = (to.get() & !mask | key).into();
}

fn set_header(flow: &mut Flow, key: KeyAttr<'_>, mask: Option<KeyAttr<'_>>) {
    match (key, mask) {
        (KeyAttr::Ethernet { src, dst }, mask) => {
            let (ms, md) = match mask {
                Some(KeyAttr::Ethernet { src, dst }) => (src, dst),
                _ => ([0xff; 6], [0xff; 6]),
            };
            mix(&mut flow.dl_src.0, src, ms);
            mix(&mut flow.dl_dst.0, dst, md);
        }
        (KeyAttr::Ipv4 { src, dst, tos, ttl, .. }, mask) => {
            let (ms, md, mt, ml) = match mask {
                Some(KeyAttr::Ipv4 { src, dst, tos, ttl, proto: 0, frag: 0 }) => {
                    (src, dst, tos, ttl)
                }
                None => ([0xff; 4], [0xff; 4], 0xff, 0xff),
                other => panic!("{other:?}"),
            };
            mix(&mut flow.nw_src, src, ms);
            mix(&mut flow.nw_dst, dst, md);
            mix8(&mut flow.nw_tos, tos, mt);
            mix8(&mut flow.nw_ttl, ttl, ml);
        }
        (KeyAttr::Ipv6 { src, dst, label, tclass, hlimit, .. }, mask) => {
            let (ms, md, mf, mt, ml) = match mask {
                Some(KeyAttr::Ipv6 { src, dst, label, tclass, hlimit, proto: 0, frag: 0 }) => {
                    (src, dst, label, tclass, hlimit)
                }
                None => ([0xff; 16], [0xff; 16], 0xfffff, 0xff, 0xff),
                other => panic!("{other:?}"),
            };
            assert_eq!(mf >> 20, 0, "the kernel refuses it");
            mix(&mut flow.ipv6_src, src, ms);
            mix(&mut flow.ipv6_dst, dst, md);
            flow.ipv6_label = (flow.ipv6_label.get() & !mf | label).into();
            mix8(&mut flow.nw_tos, tclass, mt);
            mix8(&mut flow.nw_ttl, hlimit, ml);
        }
        (
            KeyAttr::Tcp { src, dst } | KeyAttr::Udp { src, dst } | KeyAttr::Sctp { src, dst },
            mask,
        ) => {
            let (ms, md) = match mask {
                Some(
                    KeyAttr::Tcp { src, dst }
                    | KeyAttr::Udp { src, dst }
                    | KeyAttr::Sctp { src, dst },
                ) => (src, dst),
                _ => (u16::MAX, u16::MAX),
            };
            mix16(&mut flow.tp_src, src, ms);
            mix16(&mut flow.tp_dst, dst, md);
        }
        (KeyAttr::Icmp { ty, code } | KeyAttr::Icmpv6 { ty, code }, None) => {
            (flow.tp_src, flow.tp_dst) = (u16::from(ty).into(), u16::from(code).into());
        }
        (
            KeyAttr::Arp { sip, tip, op, sha, tha },
            Some(KeyAttr::Arp { sip: ms, tip: mt, op: mo, sha: mh, tha: mg }),
        ) => {
            mix(&mut flow.nw_src, sip, ms);
            mix(&mut flow.nw_dst, tip, mt);
            mix8(&mut flow.nw_proto, op as u8, mo as u8);
            mix(&mut flow.arp_sha.0, sha, mh);
            mix(&mut flow.arp_tha.0, tha, mg);
        }
        (KeyAttr::Arp { sip, tip, op, sha, tha }, None) => {
            (flow.nw_src, flow.nw_dst, flow.nw_proto) = (sip, tip, op as u8);
            (flow.arp_sha, flow.arp_tha) = (EthAddr(sha), EthAddr(tha));
        }
        (KeyAttr::Nd { target, sll, tll }, mask) => {
            let (mt, ms, ml) = match mask {
                Some(KeyAttr::Nd { target, sll, tll }) => (target, sll, tll),
                _ => ([0xff; 16], [0xff; 6], [0xff; 6]),
            };
            mix(&mut flow.nd_target, target, mt);
            mix(&mut flow.arp_sha.0, sll, ms);
            mix(&mut flow.arp_tha.0, tll, ml);
        }
        (KeyAttr::Mpls(value), None) => {
            flow.mpls_lse[0] = mpls_lses(value).next().unwrap().into();
        }
        (KeyAttr::Nsh(value), None) => flow.nsh = read_nsh(value).unwrap().0,
        (KeyAttr::Priority(v), mask) => {
            let m = if let Some(KeyAttr::Priority(m)) = mask { m } else { u32::MAX };
            flow.skb_priority = flow.skb_priority & !m | v;
        }
        (KeyAttr::SkbMark(v), mask) => {
            let m = if let Some(KeyAttr::SkbMark(m)) = mask { m } else { u32::MAX };
            flow.pkt_mark = flow.pkt_mark & !m | v;
        }
        other => panic!("{other:?}"),
    }
}

fn set_nsh(flow: &mut Flow, pair: MaskedNshAttr<'_>) {
    match (pair.key(), pair.mask()) {
        (
            NshAttr::Base { flags, ttl, path_hdr, .. },
            NshAttr::Base { flags: mf, ttl: mt, mdtype: 0, np: 0, path_hdr: mp },
        ) => {
            mix8(&mut flow.nsh.flags, flags, mf);
            mix8(&mut flow.nsh.ttl, ttl, mt);
            flow.nsh.path_hdr = (flow.nsh.path_hdr.get() & !mp | path_hdr).into();
        }
        (NshAttr::Md1(key), NshAttr::Md1(mask)) => {
            for i in 0..4 {
                flow.nsh.context[i] = (flow.nsh.context[i].get() & !mask[i] | key[i]).into();
            }
        }
        other => panic!("{other:?}"),
    }
}

/// Another packet with the same headers as `base`, some fields changed, as a rule may do; what was
/// changed is marked in the wildcards, as the translator does.
fn rewrite(dice: &mut Dice, base: &Flow) -> (Flow, FlowWildcards) {
    let (mut flow, mut wc) = (*base, FlowWildcards::CATCHALL);
    let m = &mut wc.masks;
    macro_rules! change {
        ($($field:tt).+) => {
            if dice.coin() {
                flow.$($field).+ = dice.bytes();
                m.$($field).+ = [0xff; _];
            }
        };
    }
    macro_rules! number {
        ($field:ident, $ty:ty) => {
            if dice.coin() {
                flow.$field = (dice.u64() as $ty).into();
                m.$field = <$ty>::MAX.into();
            }
        };
    }
    if base.packet_type.get() == 0 {
        change!(dl_src.0);
        change!(dl_dst.0);
        if dice.coin() {
            let n = dice.below(3) as usize;
            flow.vlans = Default::default();
            for i in 0..n {
                flow.vlans[i] = if dice.coin() && base.vlans[i].tci.get() != 0 {
                    base.vlans[i]
                } else {
                    VlanHdr { tpid: 0x8100.into(), tci: (dice.u64() as u16 | VLAN_CFI).into() }
                };
            }
        }
    }
    number!(skb_priority, u32);
    number!(pkt_mark, u32);
    match base.dl_type.get() {
        ether_type::IPV4 => {
            change!(nw_src);
            change!(nw_dst);
        }
        ether_type::IPV6 => {
            change!(ipv6_src);
            change!(ipv6_dst);
        }
        ether_type::ARP => {
            change!(nw_src);
            change!(arp_sha.0);
            change!(arp_tha.0);
            number!(nw_proto, u8);
            if flow.nw_proto == 0 {
                flow.nw_proto = 1;
            }
        }
        ether_type::NSH => {
            flow.nsh.ttl = dice.u64() as u8;
            m.nsh.ttl = 0xff;
            if flow.nsh.mdtype == 1 && dice.coin() {
                flow.nsh.context[2] = (dice.u64() as u32).into();
                m.nsh.context[2] = u32::MAX.into();
            }
        }
        t if ether_type::is_mpls(t) => {
            let n = 1 + dice.below(3) as usize;
            let keep = dice.below(3) as usize;
            let had = mpls_labels(base);
            flow.mpls_lse = Default::default();
            for i in 0..n {
                let bos = if i + 1 == n { 0x100 } else { 0 };
                flow.mpls_lse[i] = (dice.u64() as u32 & !0x100 | 0x1000 | bos).into();
            }
            for i in 0..keep.min(n).min(had) {
                flow.mpls_lse[n - 1 - i] = base.mpls_lse[had - 1 - i];
            }
        }
        _ => {}
    }
    if base.is_ip_any() {
        number!(nw_tos, u8);
        number!(nw_ttl, u8);
        if has_l4(base) && matches!(base.nw_proto, 6 | 17 | 132) {
            number!(tp_src, u16);
            number!(tp_dst, u16);
        }
    }
    if base.nw_proto == 0 && !ether_type::is_mpls(base.dl_type.get()) {
        // Without a protocol the network header is left alone.
        (flow.nw_src, flow.nw_dst) = (base.nw_src, base.nw_dst);
        (flow.ipv6_src, flow.ipv6_dst) = (base.ipv6_src, base.ipv6_dst);
        (flow.nw_tos, flow.nw_ttl) = (base.nw_tos, base.nw_ttl);
    }
    (flow, wc)
}

fn differing(a: &Flow, b: &Flow) -> Vec<usize> {
    (0..FLOW_WORDS).filter(|&i| a.words()[i] != b.words()[i]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn the_actions_make_the_packet(seed: u64, masked: bool) {
        let mut dice = Dice(seed);
        let (mut start, _) = dice::flow(&mut dice);
        if start.dl_type.get() == ether_type::ARP {
            start.nw_proto |= 1;
        }
        if ether_type::is_mpls(start.dl_type.get()) {
            // Only labels that end are popped.
            let n = mpls_labels(&start);
            let last = &mut start.mpls_lse[n - 1];
            *last = (last.get() | 0x100).into();
        }
        let (flow, mut wc) = rewrite(&mut dice, &start);
        let (before, mut base) = (wc, start);
        let mut actions = OdpActions::new();
        let options = CommitOptions { masked_set: masked, ..CommitOptions::default() };
        let slow = commit_actions(&flow, &mut base, &mut actions, &mut wc, options);
        prop_assert_eq!(differing(&base, &flow), Vec::<usize>::new(), "base");
        let mut packet = start;
        execute(&actions, &mut packet);
        prop_assert_eq!(differing(&packet, &flow), Vec::<usize>::new(), "packet");
        prop_assert!(wc.covers(&before));
        let arp = start.dl_type.get() == ether_type::ARP && (flow.nw_src, flow.nw_proto, flow.arp_sha, flow.arp_tha) != (start.nw_src, start.nw_proto, start.arp_sha, start.arp_tha);
        prop_assert_eq!(slow, if arp { SlowPathReason::ACTION } else { SlowPathReason::empty() });

        prop_assert!(actions.is_empty() || is_rewritten(&flow, &start));

        // Done once, there is nothing left to do. What is no header is not looked at.
        let (len, before) = (actions.len(), wc);
        base.in_port ^= 1;
        base.regs[0] ^= 1;
        prop_assert!(!is_rewritten(&flow, &base));
        commit_actions(&flow, &mut base, &mut actions, &mut wc, options);
        prop_assert_eq!(actions.len(), len);
        prop_assert!(wc == before);
    }
}

fn udp() -> Flow {
    let mut flow = Flow::ZERO;
    flow.dl_type = 0x0800.into();
    (flow.nw_proto, flow.nw_ttl) = (17, 64);
    (flow.tp_src, flow.tp_dst) = (1.into(), 2.into());
    flow
}

fn committed(base: &Flow, flow: &Flow, wc: &mut FlowWildcards) -> OdpActions {
    let (mut base, mut actions) = (*base, OdpActions::new());
    commit_actions(flow, &mut base, &mut actions, wc, CommitOptions::default());
    actions
}

#[test]
fn only_marked_bits_are_written() {
    let (base, mut wc) = (udp(), FlowWildcards::CATCHALL);
    let mut flow = base;
    flow.nw_dst = [10, 1, 0, 0];
    wc.masks.nw_dst = [0xff, 0xff, 0, 0];
    // The source is matched, but not changed.
    wc.masks.nw_src = [0xff; 4];
    let actions = committed(&base, &flow, &mut wc);
    let Some(Ok(Action::SetMasked(pair))) = actions.iter().next() else { panic!() };
    let none = [0; 4];
    assert_eq!(
        (pair.key(), pair.mask()),
        (
            KeyAttr::Ipv4 { src: none, dst: [10, 1, 0, 0], proto: 0, tos: 0, ttl: 0, frag: 0 },
            KeyAttr::Ipv4 { src: none, dst: [0xff, 0xff, 0, 0], proto: 0, tos: 0, ttl: 0, frag: 0 },
        )
    );
    assert_eq!(wc.masks.nw_src, [0xff; 4]);
    assert_eq!(actions.iter().count(), 1);
}

#[test]
fn a_header_written_whole_needs_no_mask() {
    let (base, mut wc) = (udp(), FlowWildcards::CATCHALL);
    let mut flow = base;
    (flow.tp_src, flow.tp_dst) = (3.into(), 4.into());
    (wc.masks.tp_src, wc.masks.tp_dst) = (u16::MAX.into(), u16::MAX.into());
    let actions = committed(&base, &flow, &mut wc);
    assert_eq!(actions.iter().next(), Some(Ok(Action::Set(KeyAttr::Udp { src: 3, dst: 4 }))));
}

#[test]
fn congestion_marks_of_a_tunnel_are_left_alone() {
    let (mut base, mut wc) = (udp(), FlowWildcards::CATCHALL);
    base.tunnel.ip_dst = [1, 2, 3, 4];
    base.nw_tos = 1;
    let mut flow = base;
    flow.nw_tos = 0x81;
    wc.masks.nw_tos = 0xff;
    let actions = committed(&base, &flow, &mut wc);
    let Some(Ok(Action::SetMasked(pair))) = actions.iter().next() else { panic!() };
    assert!(matches!(pair.mask(), KeyAttr::Ipv4 { tos: 0xfc, .. }));
}

#[test]
fn a_tunnel_is_set_once() {
    let (mut base, mut flow, mut actions) = (udp(), udp(), OdpActions::new());
    commit_tunnel(&flow, &mut base, &mut actions, None);
    assert!(actions.is_empty());
    flow.tunnel.ip_dst = [1, 2, 3, 4];
    commit_tunnel(&flow, &mut base, &mut actions, None);
    commit_tunnel(&flow, &mut base, &mut actions, None);
    assert!(matches!(actions.iter().next(), Some(Ok(Action::Set(KeyAttr::Tunnel(_))))));
    assert_eq!(actions.iter().count(), 1);
}

#[test]
fn ethernet_is_pushed_and_popped() {
    let (mut l3, mut wc) = (udp(), FlowWildcards::CATCHALL);
    l3.packet_type = 0x1_0800.into();
    let mut l2 = udp();
    (l2.dl_src, l2.dl_dst) = (EthAddr([1; 6]), EthAddr([2; 6]));
    let actions = committed(&l2, &l3, &mut wc);
    assert_eq!(actions.iter().collect::<Vec<_>>(), [Ok(Action::PopEth)]);
    assert_eq!(wc.masks.packet_type.get(), u32::MAX);

    let (mut base, mut actions) = (l3, OdpActions::new());
    let options = CommitOptions { pending_encap: true, ..CommitOptions::default() };
    commit_actions(&l2, &mut base, &mut actions, &mut wc, options);
    assert_eq!(
        actions.iter().collect::<Vec<_>>(),
        [Ok(Action::PushEth { src: [1; 6], dst: [2; 6] })]
    );
    assert!(base == l2);
}

#[test]
fn nsh_is_pushed_with_its_key_around_it() {
    let mut wc = FlowWildcards::CATCHALL;
    let mut flow = Flow::ZERO;
    flow.packet_type = PT_NSH.into();
    flow.dl_type = ether_type::NSH.into();
    (flow.nsh.mdtype, flow.nsh.np, flow.nsh.ttl) = (2, 3, 63);
    let (mut base, mut actions) = (udp(), OdpActions::new());
    let options =
        CommitOptions { pending_encap: true, nsh_md2: &[1, 2, 3, 4], ..CommitOptions::default() };
    commit_actions(&flow, &mut base, &mut actions, &mut wc, options);
    let Some(Ok(Action::PushNsh(value))) = actions.iter().next() else { panic!() };
    // Inside the NSH key, without which it is no push_nsh: base (4 + 8), metadata (4 + 4).
    assert_eq!((value.len(), value[2]), (20, OVS_NSH_KEY_ATTR_BASE as u8));
    assert_eq!(actions.iter().count(), 1);
}
