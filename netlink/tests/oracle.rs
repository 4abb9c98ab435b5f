//! A second opinion: `netlink-bindings`, generated from the kernel's own machine-readable specs.
//!
//! It decodes what we encode (which is what was recorded, see `recordings.rs`) and finds the same
//! values; we decode what it encodes. Where its specs are wrong and the kernel is right is said at
//! each place: psample's number, the size of the MPLS actions, what is around push_nsh, several
//! label stack entries, value and mask side by side.

mod recording;

use std::fmt::Debug;

use netlink_bindings::ovs_flow as theirs;
use netlink_bindings::ovs_packet;
use ovs_netlink::action::{Action, Actions};
use ovs_netlink::attr::Attrs;
use ovs_netlink::ct::{CtAttr, CtAttrs, NatAttr, NatAttrs};
use ovs_netlink::flow::{FlowMsg, FlowStats};
use ovs_netlink::key::{KeyAttr, KeyAttrs, mpls_lses};
use ovs_netlink::nsh::{NshAttr, NshAttrs};
use ovs_netlink::tunnel::{TunnelAttr, TunnelAttrs, vxlan_gbp};
use ovs_netlink::uapi::*;
use recording::{files, messages};

/// Compares two walks element by element; both must end together.
fn pairs<A: Debug, B, E: Debug, F: Debug>(
    ours: impl Iterator<Item = Result<A, E>>,
    mut theirs: impl Iterator<Item = Result<B, F>> + Debug,
    mut same: impl FnMut(&A, &B) -> bool,
) {
    for a in ours {
        let (a, b) = (a.unwrap(), theirs.next().unwrap().unwrap());
        assert!(same(&a, &b), "{a:?} is not what comes before {theirs:?}");
    }
    assert!(theirs.next().is_none());
}

fn same_keys(list: &[u8]) {
    pairs(KeyAttrs::new(list), theirs::KeyAttrs::new(list), same_key);
}

fn same_key(ours: &KeyAttr<'_>, other: &theirs::KeyAttrs<'_>) -> bool {
    use theirs::KeyAttrs as T;
    match (*ours, other) {
        (KeyAttr::Encap(list), T::Encap(t)) => {
            same_keys(list);
            t.get_buf() == list
        }
        (KeyAttr::Priority(a), T::Priority(b))
        | (KeyAttr::InPort(a), T::InPort(b))
        | (KeyAttr::SkbMark(a), T::SkbMark(b))
        | (KeyAttr::DpHash(a), T::DpHash(b))
        | (KeyAttr::RecircId(a), T::RecircId(b))
        | (KeyAttr::CtState(a), T::CtState(b))
        | (KeyAttr::CtMark(a), T::CtMark(b))
        | (KeyAttr::PacketType(a), T::PacketType(b)) => a == *b,
        (KeyAttr::Vlan(a), T::Vlan(b))
        | (KeyAttr::EtherType(a), T::Ethertype(b))
        | (KeyAttr::TcpFlags(a), T::TcpFlags(b))
        | (KeyAttr::CtZone(a), T::CtZone(b)) => a == *b,
        (KeyAttr::Ethernet { src, dst }, T::Ethernet(t)) => (src, dst) == (t.eth_src, t.eth_dst),
        (KeyAttr::Ipv4 { src, dst, proto, tos, ttl, frag }, T::Ipv4(t)) => {
            (u32::from_be_bytes(src), u32::from_be_bytes(dst)) == (t.ipv4_src(), t.ipv4_dst())
                && [proto, tos, ttl, frag] == [t.ipv4_proto, t.ipv4_tos, t.ipv4_ttl, t.ipv4_frag]
        }
        (KeyAttr::Ipv6 { src, dst, label, proto, tclass, hlimit, frag }, T::Ipv6(t)) => {
            (src, dst, label) == (t.ipv6_src, t.ipv6_dst, t.ipv6_label())
                && [proto, tclass, hlimit, frag]
                    == [t.ipv6_proto, t.ipv6_tclass, t.ipv6_hlimit, t.ipv6_frag]
        }
        (KeyAttr::Tcp { src, dst }, T::Tcp(t)) => (src, dst) == (t.tcp_src(), t.tcp_dst()),
        (KeyAttr::Udp { src, dst }, T::Udp(t)) => (src, dst) == (t.udp_src(), t.udp_dst()),
        (KeyAttr::Sctp { src, dst }, T::Sctp(t)) => (src, dst) == (t.sctp_src(), t.sctp_dst()),
        (KeyAttr::Icmp { ty, code }, T::Icmp(t)) | (KeyAttr::Icmpv6 { ty, code }, T::Icmpv6(t)) => {
            (ty, code) == (t.icmp_type, t.icmp_code)
        }
        (KeyAttr::Arp { sip, tip, op, sha, tha }, T::Arp(t)) => {
            (u32::from_be_bytes(sip), u32::from_be_bytes(tip)) == (t.arp_sip(), t.arp_tip())
                && (op, sha, tha) == (t.arp_op(), t.arp_sha, t.arp_tha)
        }
        (KeyAttr::Nd { target, sll, tll }, T::Nd(t)) => {
            (target, sll, tll) == (t.nd_target, t.nd_sll, t.nd_tll)
        }
        (KeyAttr::Tunnel(list), T::Tunnel(t)) => {
            same_tunnel(list);
            t.get_buf() == list
        }
        // It knows of one entry, not of several or none.
        (KeyAttr::Mpls(lses), T::Mpls(t)) => {
            mpls_lses(lses).next().is_none_or(|lse| lses.len() > 4 || lse == t.mpls_lse())
        }
        (KeyAttr::CtLabels(a), T::CtLabels(b)) => a == *b,
        (
            KeyAttr::CtOrigTupleIpv4 { src, dst, src_port, dst_port, proto },
            T::CtOrigTupleIpv4(t),
        ) => {
            (u32::from_be_bytes(src), u32::from_be_bytes(dst)) == (t.ipv4_src(), t.ipv4_dst())
                && (src_port, dst_port, proto) == (t.src_port(), t.dst_port(), t.ipv4_proto)
        }
        (KeyAttr::CtOrigTupleIpv6 { src, dst, .. }, T::CtOrigTupleIpv6(t)) => {
            t.len() == 40 && t.starts_with(&[src, dst].concat())
        }
        (KeyAttr::Nsh(list), T::Nsh(t)) => {
            same_nsh(list);
            t.get_buf() == list
        }
        (KeyAttr::Ipv6Exthdrs(a), T::Ipv6Exthdrs(t)) => a == t.hdrs,
        _ => false,
    }
}

fn same_tunnel(list: &[u8]) {
    use theirs::TunnelKeyAttrs as T;
    pairs(TunnelAttrs::new(list), T::new(list), |a, b| match (*a, b) {
        (TunnelAttr::Id(a), T::Id(b)) => a == *b,
        (TunnelAttr::Ipv4Src(a), T::Ipv4Src(b)) | (TunnelAttr::Ipv4Dst(a), T::Ipv4Dst(b)) => {
            u32::from_be_bytes(a) == *b
        }
        (TunnelAttr::Tos(a), T::Tos(b)) | (TunnelAttr::Ttl(a), T::Ttl(b)) => a == *b,
        (TunnelAttr::DontFragment, T::DontFragment(()))
        | (TunnelAttr::Csum, T::Csum(()))
        | (TunnelAttr::Oam, T::Oam(()))
        | (TunnelAttr::Ipv4InfoBridge, T::Ipv4InfoBridge(()))
        | (TunnelAttr::Pad, T::Pad([])) => true,
        (TunnelAttr::TpSrc(a), T::TpSrc(b)) | (TunnelAttr::TpDst(a), T::TpDst(b)) => a == *b,
        (TunnelAttr::GeneveOpts(a), T::GeneveOpts(b))
        | (TunnelAttr::ErspanOpts(a), T::ErspanOpts(b)) => a == *b,
        (TunnelAttr::VxlanOpts(a), T::VxlanOpts(t)) => {
            vxlan_gbp(a).unwrap() == Some(t.get_gbp().unwrap())
        }
        (TunnelAttr::Ipv6Src(a), T::Ipv6Src(b)) | (TunnelAttr::Ipv6Dst(a), T::Ipv6Dst(b)) => {
            a == *b
        }
        _ => false,
    });
}

fn same_nsh(list: &[u8]) {
    use theirs::OvsNshKeyAttrs as T;
    pairs(NshAttrs::new(list), T::new(list), |a, b| match (*a, b) {
        (NshAttr::Base { flags, ttl, mdtype, np, path_hdr }, T::Base(t)) => {
            [&[flags, ttl, mdtype, np][..], &path_hdr.to_be_bytes()].concat() == *t
        }
        (NshAttr::Md1(context), T::Md1(t)) => context.map(u32::to_be_bytes).concat() == *t,
        (NshAttr::Md2(a), T::Md2(b)) => a == *b,
        _ => false,
    });
}

fn same_actions(list: &[u8]) {
    // It gives psample the number of the drop action, which it does not know.
    let kinds = Attrs::new(list).map(|attr| attr.unwrap().kind);
    let unlike = [OVS_ACTION_ATTR_DROP, OVS_ACTION_ATTR_PSAMPLE];
    if !kinds.into_iter().any(|kind| unlike.contains(&kind)) {
        pairs(Actions::new(list), theirs::ActionAttrs::new(list), same_action);
    }
}

fn same_action(ours: &Action<'_>, other: &theirs::ActionAttrs<'_>) -> bool {
    use theirs::ActionAttrs as T;
    match (*ours, other) {
        (Action::Output(a), T::Output(b))
        | (Action::Recirc(a), T::Recirc(b))
        | (Action::Trunc { max_len: a }, T::Trunc(b))
        | (Action::Meter(a), T::Meter(b)) => a == *b,
        (Action::Userspace { pid, userdata, egress_tun_port, actions }, T::Userspace(t)) => {
            pid == t.get_pid().unwrap()
                && userdata == t.get_userdata().ok()
                && egress_tun_port == t.get_egress_tun_port().ok()
                && actions == t.get_actions().is_ok()
        }
        (Action::Set(header), T::Set(t)) => same_key(&header, &t.clone().next().unwrap().unwrap()),
        // It takes the pair for one value.
        (Action::SetMasked(_) | Action::SetMaskedNsh(_), T::SetMasked(_)) => true,
        (Action::PushVlan { tpid, tci }, T::PushVlan(t)) => {
            (tpid, tci) == (t.vlan_tpid(), t.vlan_tci())
        }
        (Action::PopVlan, T::PopVlan(()))
        | (Action::PopEth, T::PopEth(()))
        | (Action::CtClear, T::CtClear(()))
        | (Action::PopNsh, T::PopNsh(())) => true,
        (Action::Sample { probability, actions }, T::Sample(t)) => {
            same_actions(actions);
            (probability, actions)
                == (t.get_probability().unwrap(), t.get_actions().unwrap().get_buf())
        }
        (Action::Hash { algorithm, basis }, T::Hash(t)) => {
            (algorithm, basis) == (t.hash_alg, t.hash_basis)
        }
        // It takes the Ethernet type for 32 bits.
        (Action::PushMpls { lse, ethertype }, T::PushMpls(t)) => {
            (lse, u32::from(ethertype) << 16) == (t.mpls_lse(), t.mpls_ethertype())
        }
        (Action::AddMpls { lse, .. }, T::AddMpls(t)) => lse == t.mpls_lse(),
        (Action::PopMpls { ethertype }, T::PopMpls(t)) => ethertype == *t,
        (Action::Ct(list), T::Ct(t)) => {
            same_ct(list);
            t.get_buf() == list
        }
        (Action::PushEth { src, dst }, T::PushEth(t)) => [src, dst].concat() == *t,
        // It does not know of the key attribute in between.
        (Action::PushNsh(_), T::PushNsh(_)) => true,
        (Action::Clone(list), T::Clone(t)) => {
            same_actions(list);
            t.get_buf() == list
        }
        (Action::CheckPktLen { pkt_len, greater, less_equal }, T::CheckPktLen(t)) => {
            same_actions(greater);
            same_actions(less_equal);
            pkt_len == t.get_pkt_len().unwrap()
                && greater == t.get_actions_if_greater().unwrap().get_buf()
                && less_equal == t.get_actions_if_less_equal().unwrap().get_buf()
        }
        (Action::DecTtl(list), T::DecTtl(t)) => {
            same_actions(list);
            t.get_action().unwrap().get_buf() == list
        }
        _ => false,
    }
}

fn same_ct(list: &[u8]) {
    use theirs::CtAttrs as T;
    pairs(CtAttrs::new(list), T::new(list), |a, b| match (*a, b) {
        (CtAttr::Commit, T::Commit(())) | (CtAttr::ForceCommit, T::ForceCommit(())) => true,
        (CtAttr::Zone(a), T::Zone(b)) => a == *b,
        (CtAttr::Mark { value, mask }, T::Mark(t)) => {
            [value, mask].map(u32::to_ne_bytes).concat() == *t
        }
        (CtAttr::Labels { value, mask }, T::Labels(t)) => [value, mask].concat() == *t,
        (CtAttr::Helper(a), T::Helper(b)) | (CtAttr::Timeout(a), T::Timeout(b)) => {
            a.as_bytes() == b.to_bytes()
        }
        (CtAttr::EventMask(a), T::Eventmask(b)) => a == *b,
        (CtAttr::Nat(list), T::Nat(t)) => {
            same_nat(list);
            t.get_buf() == list
        }
        _ => false,
    });
}

fn same_nat(list: &[u8]) {
    use theirs::NatAttrs as T;
    let octets = |ip: std::net::IpAddr| match ip {
        std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
        std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    pairs(NatAttrs::new(list), T::new(list), |a, b| match (*a, b) {
        (NatAttr::Src, T::Src(()))
        | (NatAttr::Dst, T::Dst(()))
        | (NatAttr::Persistent, T::Persistent(()))
        | (NatAttr::ProtoHash, T::ProtoHash(()))
        | (NatAttr::ProtoRandom, T::ProtoRandom(())) => true,
        (NatAttr::IpMin(a), T::IpMin(b)) | (NatAttr::IpMax(a), T::IpMax(b)) => octets(a) == *b,
        (NatAttr::ProtoMin(a), T::ProtoMin(b)) | (NatAttr::ProtoMax(a), T::ProtoMax(b)) => a == *b,
        _ => false,
    });
}

fn same_flow(body: &[u8]) {
    let ours = FlowMsg::parse(body).unwrap();
    let (header, t) = theirs::OpNewDo::decode_request(body);
    assert_eq!(ours.dp_ifindex, header.dp_ifindex);
    let stats = t.get_stats().ok();
    let stats = stats.map(|s| FlowStats { packets: s.n_packets, bytes: s.n_bytes });
    assert_eq!(ours.stats, stats);
    assert_eq!(ours.tcp_flags, t.get_tcp_flags().ok());
    assert_eq!(ours.used_ms, t.get_used().ok());
    assert_eq!(ours.ufid.as_ref().map(|u| &u[..]), t.get_ufid().ok());
    assert_eq!(ours.ufid_flags.map(|f| f.bits()), t.get_ufid_flags().ok());
    assert_eq!((ours.clear, ours.probe), (t.get_clear().is_ok(), t.get_probe().is_ok()));
    assert_eq!(ours.key, t.get_key().ok().map(|k| k.get_buf()));
    assert_eq!(ours.mask, t.get_mask().ok().map(|k| k.get_buf()));
    assert_eq!(ours.actions, t.get_actions().ok().map(|k| k.get_buf()));
    ours.key.into_iter().chain(ours.mask).for_each(same_keys);
    ours.actions.into_iter().for_each(same_actions);
}

#[test]
fn it_decodes_what_we_encode() {
    for (name, file) in files() {
        for recorded in messages(&file) {
            let from = if recorded.from_kernel { "kernel" } else { "daemon" };
            eprintln!("{name} frame {} {} from {from}", recorded.frame, recorded.family);
            match recorded.family {
                OVS_FLOW_FAMILY => same_flow(recorded.genl.body),
                OVS_PACKET_FAMILY => {
                    let (_, t) = ovs_packet::OpExecuteDo::decode_request(recorded.genl.body);
                    same_keys(t.get_key().unwrap());
                    t.get_actions().into_iter().for_each(same_actions);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn we_decode_what_it_encodes() {
    let mut ethernet = theirs::OvsKeyEthernet::new();
    (ethernet.eth_src, ethernet.eth_dst) = ([1; 6], [2; 6]);
    let mut ipv4 = theirs::OvsKeyIpv4::new();
    ipv4.set_ipv4_src(0x0a00_0001);
    ipv4.set_ipv4_dst(0x0a00_0002);
    (ipv4.ipv4_proto, ipv4.ipv4_tos, ipv4.ipv4_ttl, ipv4.ipv4_frag) = (17, 4, 64, 1);
    let mut udp = theirs::OvsKeyUdp::new();
    udp.set_udp_src(0x1234);
    udp.set_udp_dst(53);
    let mut tuple = theirs::OvsKeyCtTupleIpv4::new();
    tuple.set_ipv4_src(0x0a00_0003);
    tuple.set_src_port(7);
    tuple.ipv4_proto = 6;
    let mut vlan = theirs::OvsActionPushVlan::new();
    vlan.set_vlan_tpid(0x88a8);
    vlan.set_vlan_tci(0x1064);
    let mut header = theirs::OvsHeader::new();
    header.dp_ifindex = 5;
    let ip = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

    let mut body = Vec::new();
    theirs::OpNewDo::encode_request(&mut body, &header)
        .push_ufid(&[9; 16])
        .push_ufid_flags(7)
        .nested_key()
        .push_recirc_id(3)
        .nested_tunnel()
        .push_id(0x64)
        .push_ipv6_src(&ip)
        .push_ipv4_dst(0x0a01_0002)
        .push_ttl(64)
        .push_csum(())
        .push_tp_dst(4789)
        .nested_vxlan_opts()
        .push_gbp(0x0008_0009)
        .end_nested()
        .end_nested()
        .push_in_port(2)
        .push_ethernet(ethernet)
        .push_vlan(0x1064)
        .push_ethertype(0x8100)
        .nested_encap()
        .push_ethertype(0x0800)
        .push_ipv4(ipv4)
        .push_udp(udp)
        .end_nested()
        .push_ct_zone(5)
        .push_ct_orig_tuple_ipv4(tuple)
        .end_nested()
        .nested_actions()
        .push_push_vlan(vlan)
        .nested_ct()
        .push_commit(())
        .push_zone(5)
        .push_helper(c"ftp")
        .nested_nat()
        .push_src(())
        .push_ip_min(&[10, 0, 0, 1])
        .push_proto_min(80)
        .end_nested()
        .end_nested()
        .nested_sample()
        .push_probability(77)
        .nested_actions()
        .push_output(1)
        .end_nested()
        .end_nested()
        .nested_userspace()
        .push_pid(5)
        .push_userdata(&[1, 2, 3])
        .push_actions(())
        .end_nested()
        .nested_check_pkt_len()
        .push_pkt_len(1500)
        .nested_actions_if_greater()
        .push_output(2)
        .end_nested()
        .nested_actions_if_less_equal()
        .push_pop_mpls(0x0800)
        .end_nested()
        .end_nested()
        .end_nested()
        .push_clear(());

    let flow = FlowMsg::parse(&body).unwrap();
    assert_eq!((flow.dp_ifindex, flow.ufid, flow.clear), (5, Some([9; 16]), true));
    assert_eq!(flow.ufid_flags.unwrap().bits(), 7);
    let key: Vec<_> = KeyAttrs::new(flow.key.unwrap()).map(Result::unwrap).collect();
    let [
        KeyAttr::RecircId(3),
        KeyAttr::Tunnel(tunnel),
        KeyAttr::InPort(2),
        KeyAttr::Ethernet { src: [1, ..], dst: [2, ..] },
        KeyAttr::Vlan(0x1064),
        KeyAttr::EtherType(0x8100),
        KeyAttr::Encap(inner),
        KeyAttr::CtZone(5),
        KeyAttr::CtOrigTupleIpv4 { src: [10, 0, 0, 3], src_port: 7, proto: 6, .. },
    ] = key[..]
    else {
        panic!("{key:?}")
    };
    let inner: Vec<_> = KeyAttrs::new(inner).map(Result::unwrap).collect();
    let (src, dst) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    assert_eq!(
        inner,
        [
            KeyAttr::EtherType(0x0800),
            KeyAttr::Ipv4 { src, dst, proto: 17, tos: 4, ttl: 64, frag: 1 },
            KeyAttr::Udp { src: 0x1234, dst: 53 },
        ]
    );
    let tunnel: Vec<_> = TunnelAttrs::new(tunnel).map(Result::unwrap).collect();
    assert_eq!(
        tunnel[..6],
        [
            TunnelAttr::Id(0x64),
            TunnelAttr::Ipv6Src(ip),
            TunnelAttr::Ipv4Dst([10, 1, 0, 2]),
            TunnelAttr::Ttl(64),
            TunnelAttr::Csum,
            TunnelAttr::TpDst(4789),
        ]
    );
    let TunnelAttr::VxlanOpts(options) = tunnel[6] else { panic!("{tunnel:?}") };
    assert_eq!(vxlan_gbp(options), Ok(Some(0x0008_0009)));

    let actions: Vec<_> = Actions::new(flow.actions.unwrap()).map(Result::unwrap).collect();
    let [
        Action::PushVlan { tpid: 0x88a8, tci: 0x1064 },
        Action::Ct(ct),
        Action::Sample { probability: 77, actions: sampled },
        Action::Userspace {
            pid: 5,
            userdata: Some([1, 2, 3]),
            egress_tun_port: None,
            actions: true,
        },
        Action::CheckPktLen { pkt_len: 1500, greater, less_equal },
    ] = actions[..]
    else {
        panic!("{actions:?}")
    };
    let one = |list| Actions::new(list).next().unwrap().unwrap();
    assert_eq!(one(sampled), Action::Output(1));
    assert_eq!(one(greater), Action::Output(2));
    assert_eq!(one(less_equal), Action::PopMpls { ethertype: 0x0800 });
    let ct: Vec<_> = CtAttrs::new(ct).map(Result::unwrap).collect();
    let [CtAttr::Commit, CtAttr::Zone(5), CtAttr::Helper("ftp"), CtAttr::Nat(nat)] = ct[..] else {
        panic!("{ct:?}")
    };
    let nat: Vec<_> = NatAttrs::new(nat).map(Result::unwrap).collect();
    assert_eq!(nat, [NatAttr::Src, NatAttr::IpMin([10, 0, 0, 1].into()), NatAttr::ProtoMin(80)]);
}
