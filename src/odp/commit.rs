//! The difference of two flows as datapath actions: what makes a packet that looks like `base` look
//! like `flow`.
//!
//! A header is rewritten by a masked set action whose mask is what the wildcards hold for it: the
//! translator marks there every bit that it reads or writes. A field that did not change is left
//! out of the action, for then its bits are matched exactly and need no writing. What the datapath
//! has no action for (ARP, ICMP, neighbour discovery) is appended all the same and reported as
//! [`SlowPathReason::ACTION`]: such packets are executed in user space.
//!
//! What always holds: after it, `base` says in every rewritten field what `flow` says; bits are only
//! added to the wildcards. Nothing here allocates. Plain functions: any thread.

use ovs_netlink::action::Action;
use ovs_netlink::attr::AttrWriter;
use ovs_netlink::nsh::{MaskedNshAttr, NshAttr};
use ovs_netlink::uapi::*;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::action::OdpActions;
use super::cookie::SlowPathReason;
use super::decode::{NSH_M_TYPE1, OFPHTN_ETHERTYPE};
use super::encode::{NshMetadata, mpls_labels, write_nsh};
use crate::flow::{
    EthAddr, FLOW_MAX_MPLS_LABELS, FLOW_NW_FRAG_ANY, FLOW_NW_FRAG_LATER, Flow, FlowNsh,
    FlowWildcards, SEGMENT_ENDS, VlanHdr,
};
use crate::packet::{ether_type, ip_proto};

/// Packet type of Ethernet frames.
pub const PT_ETH: u32 = 0;
/// Packet type of packets that begin with a Network Service Header.
pub const PT_NSH: u32 = OFPHTN_ETHERTYPE << 16 | ether_type::NSH as u32;
/// Packet type of packets that begin with an MPLS label.
pub const PT_MPLS: u32 = OFPHTN_ETHERTYPE << 16 | ether_type::MPLS as u32;
/// Packet type of multicast packets that begin with an MPLS label.
pub const PT_MPLS_MC: u32 = OFPHTN_ETHERTYPE << 16 | ether_type::MPLS_MCAST as u32;

/// ECN bits of a type of service.
const ECN_MASK: u8 = 3;
/// Bits of an IPv6 flow label.
const IPV6_LABEL_MASK: u32 = 0x000f_ffff;

/// How the difference is to be expressed.
#[derive(Clone, Copy, Debug)]
pub struct CommitOptions<'a> {
    /// The datapath has set actions with a mask; without, whole headers are set and matched.
    pub masked_set: bool,
    /// `flow` is `base` with a header in front that is still to be pushed.
    pub pending_encap: bool,
    /// `flow` is `base` without its outermost header, which is still to be popped.
    pub pending_decap: bool,
    /// Metadata of type 2 for the NSH to push, encoded.
    pub nsh_md2: &'a [u8],
}

impl Default for CommitOptions<'_> {
    fn default() -> Self {
        Self { masked_set: true, pending_encap: false, pending_decap: false, nsh_md2: &[] }
    }
}

/// Whether [`commit_actions`] has anything to do, where no header waits to be pushed or popped. It
/// looks at the headers and at what is named here.
pub fn is_rewritten(flow: &Flow, base: &Flow) -> bool {
    let [metadata, ..] = SEGMENT_ENDS;
    let named = |f: &Flow| (f.packet_type, f.skb_priority, f.pkt_mark);
    flow.words()[metadata..] != base.words()[metadata..] || named(flow) != named(base)
}

/// Appends the actions that make packets of `base` packets of `flow`, and makes `base` the same.
/// Bits that the actions depend on are added to `wc`. The tunnel is not looked at: see
/// [`commit_tunnel`].
///
/// Returns why such packets cannot be left to the datapath, empty if they can.
pub fn commit_actions(
    flow: &Flow,
    base: &mut Flow,
    actions: &mut OdpActions,
    wc: &mut FlowWildcards,
    options: CommitOptions<'_>,
) -> SlowPathReason {
    let masked = options.masked_set;
    let mut slow = encap_decap(flow, base, actions, wc, options);
    ethernet(flow, base, actions, wc, masked);
    // Without its labels first, a packet has no network header to rewrite.
    let unlabelled =
        ether_type::is_mpls(base.dl_type.get()) && !ether_type::is_mpls(flow.dl_type.get());
    if unlabelled {
        mpls(flow, base, actions, false);
    }
    if flow.dl_type.get() == ether_type::NSH {
        nsh(flow, base, actions, wc, masked);
    }
    slow |= network(flow, base, actions, wc, masked);
    ports(flow, base, actions, wc, masked);
    slow |= icmp(flow, base, actions, wc);
    if !unlabelled {
        mpls(flow, base, actions, false);
    }
    vlan(flow, base, actions, wc);
    let kind = OVS_KEY_ATTR_PRIORITY;
    let (key, mask) = (flow.skb_priority, &mut wc.masks.skb_priority);
    word(kind, key, &mut base.skb_priority, mask, actions, masked);
    let (key, mask) = (flow.pkt_mark, &mut wc.masks.pkt_mark);
    word(OVS_KEY_ATTR_SKB_MARK, key, &mut base.pkt_mark, mask, actions, masked);
    slow
}

/// Appends the action that has packets leave by the tunnel of `flow`, if it has one that `base` has
/// not, and makes `base` the same. `options` are encoded Geneve options, where the flow holds mapped
/// ones.
pub fn commit_tunnel(
    flow: &Flow,
    base: &mut Flow,
    actions: &mut OdpActions,
    options: Option<&[u8]>,
) {
    if flow.tunnel.dst_is_set() && base.tunnel != flow.tunnel {
        base.tunnel = flow.tunnel;
        actions.set_tunnel(&base.tunnel, options);
    }
}

/// Appends the action that sets a header of type `kind` from `base` to `key`, if they differ. `sizes`
/// are those of the fields; bytes beyond them are padding. On return `mask` holds the bits written.
fn set<T>(
    kind: u16,
    sizes: &[usize],
    key: &T,
    base: &T,
    mask: &mut T,
    actions: &mut OdpActions,
    masked: bool,
) -> bool
where
    T: FromBytes + IntoBytes + Immutable + KnownLayout,
{
    let (key, base, mask) = (key.as_bytes(), base.as_bytes(), mask.as_mut_bytes());
    let mut differ = false;
    let mut rest = (key, base, &mut *mask);
    for &size in sizes {
        let (Some((k, key)), Some((b, base)), Some((m, mask))) = (
            rest.0.split_at_checked(size),
            rest.1.split_at_checked(size),
            rest.2.split_at_mut_checked(size),
        ) else {
            break;
        };
        rest = (key, base, mask);
        if k == b {
            m.fill(0);
            continue;
        }
        differ = true;
        // A bit that differs is written whether it was marked or not.
        for ((m, k), b) in m.iter_mut().zip(k).zip(b) {
            *m |= k ^ b;
        }
    }
    if !differ {
        return false;
    }
    let fields = sizes.iter().sum::<usize>();
    let whole = mask.get(..fields).is_some_and(|m| m.iter().all(|&byte| byte == u8::MAX));
    if masked && !whole {
        write_masked(kind, key, mask, actions);
    } else {
        if let Some(fields) = mask.get_mut(..fields) {
            fields.fill(u8::MAX);
        }
        actions.with(|w| {
            let nest = w.begin(OVS_ACTION_ATTR_SET);
            w.bytes(kind, key);
            // What did not fit is remembered by the writer.
            let _ = w.end(nest);
        });
    }
    true
}

/// Appends a masked set action: value and mask side by side, no value bit outside the mask.
fn write_masked(kind: u16, key: &[u8], mask: &[u8], actions: &mut OdpActions) {
    /// Twice the longest header, which is IPv6's.
    const ROOM: usize = 2 * size_of::<ovs_key_ipv6>();
    let mut value = [0; ROOM];
    let (values, masks) = value.split_at_mut(key.len().min(ROOM / 2));
    for (((v, m), key), mask) in values.iter_mut().zip(masks).zip(key).zip(mask) {
        (*v, *m) = (key & mask, *mask);
    }
    let value = value.get(..2 * key.len()).unwrap_or_default();
    actions.with(|w| {
        let nest = w.begin(OVS_ACTION_ATTR_SET_MASKED);
        w.bytes(kind, value);
        let _ = w.end(nest);
    });
}

fn word(kind: u16, key: u32, base: &mut u32, wc: &mut u32, actions: &mut OdpActions, masked: bool) {
    let mut mask = *wc;
    if set(kind, &[4], &key, base, &mut mask, actions, masked) {
        *base = key;
        *wc |= mask;
    }
}

fn encap_decap(
    flow: &Flow,
    base: &mut Flow,
    actions: &mut OdpActions,
    wc: &mut FlowWildcards,
    options: CommitOptions<'_>,
) -> SlowPathReason {
    let (to, from) = (flow.packet_type.get(), base.packet_type.get());
    wc.masks.packet_type = u32::MAX.into();
    if options.pending_encap {
        match to {
            PT_ETH => {
                actions.push(Action::PushEth { src: flow.dl_src.0, dst: flow.dl_dst.0 });
                base.packet_type = flow.packet_type;
                (base.dl_src, base.dl_dst) = (flow.dl_src, flow.dl_dst);
            }
            PT_NSH => {
                push_nsh(flow, actions, options.nsh_md2);
                base.packet_type = flow.packet_type;
                let [metadata, ..] = SEGMENT_ENDS;
                let headers = base.words_mut().iter_mut().zip(flow.words()).skip(metadata);
                headers.for_each(|(base, flow)| *base = *flow);
            }
            PT_MPLS | PT_MPLS_MC => mpls(flow, base, actions, true),
            _ => return SlowPathReason::ACTION,
        }
    } else if options.pending_decap || to != from {
        match from {
            PT_ETH if to >> 16 == OFPHTN_ETHERTYPE => {
                actions.push(Action::PopEth);
                base.packet_type = flow.packet_type;
                (base.dl_src, base.dl_dst) = (EthAddr::ZERO, EthAddr::ZERO);
            }
            // The packet is then recirculated, so that `base` need not follow.
            PT_NSH => actions.push(Action::PopNsh),
            PT_MPLS | PT_MPLS_MC => mpls(flow, base, actions, false),
            _ => return SlowPathReason::ACTION,
        }
    }
    SlowPathReason::empty()
}

fn push_nsh(flow: &Flow, actions: &mut OdpActions, md2: &[u8]) {
    let metadata = match flow.nsh.mdtype {
        NSH_M_TYPE1 => NshMetadata::Md1,
        _ if md2.is_empty() => NshMetadata::None,
        _ => NshMetadata::Md2(md2),
    };
    actions.with(|w| {
        let nest = w.begin(OVS_ACTION_ATTR_PUSH_NSH);
        let _ = write_nsh(w, &flow.nsh, metadata);
        let _ = w.end(nest);
    });
}

fn ethernet(
    flow: &Flow,
    base: &mut Flow,
    actions: &mut OdpActions,
    wc: &mut FlowWildcards,
    masked: bool,
) {
    if flow.packet_type.get() != PT_ETH || base.packet_type.get() != PT_ETH {
        return;
    }
    let header = |f: &Flow| ovs_key_ethernet { eth_src: f.dl_src.0, eth_dst: f.dl_dst.0 };
    let mut mask = header(&wc.masks);
    let (key, was) = (header(flow), header(base));
    if set(OVS_KEY_ATTR_ETHERNET, &[6, 6], &key, &was, &mut mask, actions, masked) {
        (base.dl_src, base.dl_dst) = (flow.dl_src, flow.dl_dst);
        or(&mut wc.masks.dl_src.0, &mask.eth_src);
        or(&mut wc.masks.dl_dst.0, &mask.eth_dst);
    }
}

fn vlan(flow: &Flow, base: &mut Flow, actions: &mut OdpActions, wc: &mut FlowWildcards) {
    let tags = |f: &Flow| f.vlans.map(|v| (v.tpid.get(), v.tci.get()));
    let (from, to) = (tags(base), tags(flow));
    let from = from.get(..base.vlan_count()).unwrap_or_default();
    let to = to.get(..flow.vlan_count()).unwrap_or_default();
    let common = from.iter().rev().zip(to.iter().rev()).take_while(|(a, b)| a == b).count();
    for mask in wc.masks.vlans.iter_mut().take(from.len() - common).rev() {
        actions.push(Action::PopVlan);
        *mask = VlanHdr { tpid: u16::MAX.into(), tci: u16::MAX.into() };
    }
    for &(tpid, tci) in to.iter().take(to.len() - common).rev() {
        actions.push(Action::PushVlan { tpid, tci });
    }
    base.vlans = flow.vlans;
}

/// Turns the label stack of `base` into that of `flow`; what that depends on was marked when the
/// labels were touched.
fn mpls(flow: &Flow, base: &mut Flow, actions: &mut OdpActions, encap: bool) {
    let (mut base_n, flow_n) = (mpls_labels(base), mpls_labels(flow));
    let stack = |f: &Flow, n: usize| {
        let mut lses = [0; FLOW_MAX_MPLS_LABELS];
        for (to, lse) in lses.iter_mut().zip(f.mpls_lse.iter().take(n).rev()) {
            *to = lse.get();
        }
        lses
    };
    // Bottom of the stack first.
    let (from, to) = (stack(base, base_n), stack(flow, flow_n));
    let alike = from.iter().zip(&to).take(base_n.min(flow_n)).take_while(|(a, b)| a == b);
    let mut common = alike.count();
    while base_n > common {
        if base_n == common + 1 && flow_n > common {
            // The one label left to change is rewritten in its place.
            let lse = to.get(common).copied().unwrap_or_default();
            actions.with(|w| {
                let nest = w.begin(OVS_ACTION_ATTR_SET);
                w.be32(OVS_KEY_ATTR_MPLS, lse);
                let _ = w.end(nest);
            });
            base.mpls_lse[0] = lse.into();
            common += 1;
        } else {
            // While labels are below, what is below the popped one is a label.
            let below = flow.dl_type.get();
            let labels = !ether_type::is_mpls(below) && base_n > 1;
            let ethertype = if labels { ether_type::MPLS } else { below };
            actions.push(Action::PopMpls { ethertype });
            base.mpls_lse.rotate_left(1);
            base.mpls_lse[FLOW_MAX_MPLS_LABELS] = 0.into();
            base.dl_type = flow.dl_type;
            base_n -= 1;
        }
    }
    for &lse in to.iter().take(flow_n).skip(base_n) {
        let ethertype = flow.dl_type.get();
        actions.push(if encap {
            Action::AddMpls { lse, ethertype, tun_flags: 0 }
        } else {
            Action::PushMpls { lse, ethertype }
        });
        base.mpls_lse.rotate_right(1);
        base.mpls_lse[0] = lse.into();
        base.mpls_lse[FLOW_MAX_MPLS_LABELS] = 0.into();
        base.dl_type = flow.dl_type;
    }
}

fn nsh(
    flow: &Flow,
    base: &mut Flow,
    actions: &mut OdpActions,
    wc: &mut FlowWildcards,
    masked: bool,
) {
    if flow.nsh == base.nsh {
        return;
    }
    let mask = &mut wc.masks.nsh;
    let whole = mask.as_bytes().iter().all(|&byte| byte == u8::MAX);
    if masked && !whole {
        actions.with(|w| {
            let nest = w.begin(OVS_ACTION_ATTR_SET_MASKED);
            let inner = w.begin(OVS_KEY_ATTR_NSH);
            write_masked_nsh(w, &flow.nsh, mask);
            let _ = w.end(inner);
            let _ = w.end(nest);
        });
    } else {
        mask.as_mut_bytes().fill(u8::MAX);
        actions.with(|w| {
            let nest = w.begin(OVS_ACTION_ATTR_SET);
            let md1 = flow.nsh.mdtype == NSH_M_TYPE1;
            let metadata = if md1 { NshMetadata::Md1 } else { NshMetadata::None };
            let _ = write_nsh(w, &flow.nsh, metadata);
            let _ = w.end(nest);
        });
    }
    base.nsh = flow.nsh;
}

fn write_masked_nsh(w: &mut AttrWriter<'_>, nsh: &FlowNsh, mask: &FlowNsh) {
    let path = mask.path_hdr.get();
    if mask.flags | mask.ttl != 0 || path != 0 {
        // Metadata type and next protocol cannot be written.
        let base = |flags, ttl, path_hdr| NshAttr::Base { flags, ttl, mdtype: 0, np: 0, path_hdr };
        let key = base(nsh.flags & mask.flags, nsh.ttl & mask.ttl, nsh.path_hdr.get() & path);
        if let Ok(attr) = MaskedNshAttr::new(key, base(mask.flags, mask.ttl, path)) {
            attr.write(w);
        }
    }
    let masks = mask.context.map(|c| c.get());
    if nsh.mdtype == NSH_M_TYPE1 && masks != [0; 4] {
        let mut key = nsh.context.map(|c| c.get());
        key.iter_mut().zip(masks).for_each(|(k, m)| *k &= m);
        if let Ok(attr) = MaskedNshAttr::new(NshAttr::Md1(key), NshAttr::Md1(masks)) {
            attr.write(w);
        }
    }
}

fn network(
    flow: &Flow,
    base: &mut Flow,
    actions: &mut OdpActions,
    wc: &mut FlowWildcards,
    masked: bool,
) -> SlowPathReason {
    if flow.nw_proto == 0 {
        // No network header, or none that names what is in it.
        return SlowPathReason::empty();
    }
    match base.dl_type.get() {
        ether_type::IPV4 => ipv4(flow, base, actions, wc, masked),
        ether_type::IPV6 => {
            ipv6(flow, base, actions, wc, masked);
            if base.nw_proto == ip_proto::ICMPV6 {
                // The extensions first: they say which options the packet is to have.
                return nd_extensions(flow, base, actions, wc, masked)
                    | nd(flow, base, actions, wc, masked);
            }
        }
        ether_type::ARP => return arp(flow, base, actions, wc),
        _ => {}
    }
    SlowPathReason::empty()
}

/// Whether the ECN bits of a packet from a tunnel stay as decapsulation made them: its congestion
/// mark may differ from packet to packet of the flow, so that they must not be written then.
fn keeps_ecn(flow: &Flow, base: &Flow) -> bool {
    base.tunnel.dst_is_set() && (base.nw_tos ^ flow.nw_tos) & ECN_MASK == 0
}

fn ipv4(
    flow: &Flow,
    base: &mut Flow,
    actions: &mut OdpActions,
    wc: &mut FlowWildcards,
    masked: bool,
) {
    // Protocol and fragment cannot be written and are the same in both.
    let header = |f: &Flow, proto, frag| ovs_key_ipv4 {
        ipv4_src: f.nw_src,
        ipv4_dst: f.nw_dst,
        ipv4_proto: proto,
        ipv4_tos: f.nw_tos,
        ipv4_ttl: f.nw_ttl,
        ipv4_frag: frag,
    };
    let (proto, frag) = (base.nw_proto, frag_type(base.nw_frag));
    let (key, was) = (header(flow, proto, frag), header(base, proto, frag));
    let mut mask = header(&wc.masks, 0, 0);
    if keeps_ecn(flow, base) {
        mask.ipv4_tos &= !ECN_MASK;
    }
    let sizes = [4, 4, 1, 1, 1, 1];
    if set(OVS_KEY_ATTR_IPV4, &sizes, &key, &was, &mut mask, actions, masked) {
        (base.nw_src, base.nw_dst) = (flow.nw_src, flow.nw_dst);
        (base.nw_tos, base.nw_ttl) = (flow.nw_tos, flow.nw_ttl);
        let wc = &mut wc.masks;
        or(&mut wc.nw_src, &mask.ipv4_src);
        or(&mut wc.nw_dst, &mask.ipv4_dst);
        or_ip(wc, mask.ipv4_proto, mask.ipv4_tos, mask.ipv4_ttl, mask.ipv4_frag);
    }
}

fn ipv6(
    flow: &Flow,
    base: &mut Flow,
    actions: &mut OdpActions,
    wc: &mut FlowWildcards,
    masked: bool,
) {
    let header = |f: &Flow, proto, frag| ovs_key_ipv6 {
        ipv6_src: f.ipv6_src,
        ipv6_dst: f.ipv6_dst,
        ipv6_label: (f.ipv6_label.get() & IPV6_LABEL_MASK).into(),
        ipv6_proto: proto,
        ipv6_tclass: f.nw_tos,
        ipv6_hlimit: f.nw_ttl,
        ipv6_frag: frag,
    };
    let (proto, frag) = (base.nw_proto, frag_type(base.nw_frag));
    let (key, was) = (header(flow, proto, frag), header(base, proto, frag));
    let mut mask = header(&wc.masks, 0, 0);
    if keeps_ecn(flow, base) {
        mask.ipv6_tclass &= !ECN_MASK;
    }
    let sizes = [16, 16, 4, 1, 1, 1, 1];
    if set(OVS_KEY_ATTR_IPV6, &sizes, &key, &was, &mut mask, actions, masked) {
        (base.ipv6_src, base.ipv6_dst) = (flow.ipv6_src, flow.ipv6_dst);
        base.ipv6_label = flow.ipv6_label;
        (base.nw_tos, base.nw_ttl) = (flow.nw_tos, flow.nw_ttl);
        let wc = &mut wc.masks;
        or(&mut wc.ipv6_src, &mask.ipv6_src);
        or(&mut wc.ipv6_dst, &mask.ipv6_dst);
        wc.ipv6_label = (wc.ipv6_label.get() | mask.ipv6_label.get() & IPV6_LABEL_MASK).into();
        or_ip(wc, mask.ipv6_proto, mask.ipv6_tclass, mask.ipv6_hlimit, mask.ipv6_frag);
    }
}

fn or_ip(wc: &mut Flow, proto: u8, tos: u8, ttl: u8, frag: u8) {
    wc.nw_proto |= proto;
    wc.nw_tos |= tos;
    wc.nw_ttl |= ttl;
    if frag != 0 {
        wc.nw_frag = FLOW_NW_FRAG_ANY | FLOW_NW_FRAG_LATER;
    }
}

fn frag_type(nw_frag: u8) -> u8 {
    match nw_frag {
        0 => OVS_FRAG_TYPE_NONE,
        v if v & FLOW_NW_FRAG_LATER != 0 => OVS_FRAG_TYPE_LATER,
        _ => OVS_FRAG_TYPE_FIRST,
    }
}

fn arp(
    flow: &Flow,
    base: &mut Flow,
    actions: &mut OdpActions,
    wc: &mut FlowWildcards,
) -> SlowPathReason {
    let header = |f: &Flow, op: u16| ovs_key_arp {
        arp_sip: f.nw_src,
        arp_tip: f.nw_dst,
        arp_op: op.into(),
        arp_sha: f.arp_sha.0,
        arp_tha: f.arp_tha.0,
        pad: [0; 2],
    };
    let (key, was) = (header(flow, flow.nw_proto.into()), header(base, base.nw_proto.into()));
    let op_mask = if wc.masks.nw_proto == u8::MAX { u16::MAX } else { wc.masks.nw_proto.into() };
    let mut mask = header(&wc.masks, op_mask);
    if !set(OVS_KEY_ATTR_ARP, &[4, 4, 2, 6, 6], &key, &was, &mut mask, actions, true) {
        return SlowPathReason::empty();
    }
    (base.nw_src, base.nw_dst, base.nw_proto) = (flow.nw_src, flow.nw_dst, flow.nw_proto);
    (base.arp_sha, base.arp_tha) = (flow.arp_sha, flow.arp_tha);
    let wc = &mut wc.masks;
    or(&mut wc.nw_src, &mask.arp_sip);
    or(&mut wc.nw_dst, &mask.arp_tip);
    wc.nw_proto |= mask.arp_op.get().to_be_bytes()[1];
    or(&mut wc.arp_sha.0, &mask.arp_sha);
    or(&mut wc.arp_tha.0, &mask.arp_tha);
    SlowPathReason::ACTION
}

fn nd(
    flow: &Flow,
    base: &mut Flow,
    actions: &mut OdpActions,
    wc: &mut FlowWildcards,
    masked: bool,
) -> SlowPathReason {
    let header =
        |f: &Flow| ovs_key_nd { nd_target: f.nd_target, nd_sll: f.arp_sha.0, nd_tll: f.arp_tha.0 };
    let (key, was, mut mask) = (header(flow), header(base), header(&wc.masks));
    if !set(OVS_KEY_ATTR_ND, &[16, 6, 6], &key, &was, &mut mask, actions, masked) {
        return SlowPathReason::empty();
    }
    base.nd_target = flow.nd_target;
    (base.arp_sha, base.arp_tha) = (flow.arp_sha, flow.arp_tha);
    or(&mut wc.masks.nd_target, &mask.nd_target);
    or(&mut wc.masks.arp_sha.0, &mask.nd_sll);
    or(&mut wc.masks.arp_tha.0, &mask.nd_tll);
    SlowPathReason::ACTION
}

fn nd_extensions(
    flow: &Flow,
    base: &mut Flow,
    actions: &mut OdpActions,
    wc: &mut FlowWildcards,
    masked: bool,
) -> SlowPathReason {
    let header = |f: &Flow| {
        let ([r0, r1, r2, r3], [_, ty]) = (f.igmp_group_ip4, f.tcp_flags.get().to_be_bytes());
        [r0, r1, r2, r3, ty, 0, 0, 0]
    };
    let (key, was, mut mask) = (header(flow), header(base), header(&wc.masks));
    if !set(OVS_KEY_ATTR_ND_EXTENSIONS, &[4, 1], &key, &was, &mut mask, actions, masked) {
        return SlowPathReason::empty();
    }
    (base.igmp_group_ip4, base.tcp_flags) = (flow.igmp_group_ip4, flow.tcp_flags);
    let [r0, r1, r2, r3, ty, ..] = mask;
    or(&mut wc.masks.igmp_group_ip4, &[r0, r1, r2, r3]);
    wc.masks.tcp_flags = (wc.masks.tcp_flags.get() | u16::from(ty)).into();
    SlowPathReason::ACTION
}

fn ports(
    flow: &Flow,
    base: &mut Flow,
    actions: &mut OdpActions,
    wc: &mut FlowWildcards,
    masked: bool,
) {
    let kind = match flow.nw_proto {
        _ if !base.is_ip_any() => return,
        ip_proto::TCP => OVS_KEY_ATTR_TCP,
        ip_proto::UDP => OVS_KEY_ATTR_UDP,
        ip_proto::SCTP => OVS_KEY_ATTR_SCTP,
        _ => return,
    };
    // The three have one layout.
    let header = |f: &Flow| ovs_key_tcp { tcp_src: f.tp_src, tcp_dst: f.tp_dst };
    let (key, was, mut mask) = (header(flow), header(base), header(&wc.masks));
    if set(kind, &[2, 2], &key, &was, &mut mask, actions, masked) {
        (base.tp_src, base.tp_dst) = (flow.tp_src, flow.tp_dst);
        let wc = &mut wc.masks;
        wc.tp_src = (wc.tp_src.get() | mask.tcp_src.get()).into();
        wc.tp_dst = (wc.tp_dst.get() | mask.tcp_dst.get()).into();
    }
}

fn icmp(
    flow: &Flow,
    base: &mut Flow,
    actions: &mut OdpActions,
    wc: &mut FlowWildcards,
) -> SlowPathReason {
    let kind = match (flow.dl_type.get(), flow.nw_proto) {
        (ether_type::IPV4, ip_proto::ICMP) => OVS_KEY_ATTR_ICMP,
        (ether_type::IPV6, ip_proto::ICMPV6) => OVS_KEY_ATTR_ICMPV6,
        _ => return SlowPathReason::empty(),
    };
    let low = |v: u16| v.to_be_bytes()[1];
    let header = |f: &Flow| [low(f.tp_src.get()), low(f.tp_dst.get())];
    let (key, was, mut mask) = (header(flow), header(base), header(&wc.masks));
    if !set(kind, &[1, 1], &key, &was, &mut mask, actions, false) {
        return SlowPathReason::empty();
    }
    (base.tp_src, base.tp_dst) = (flow.tp_src, flow.tp_dst);
    let wc = &mut wc.masks;
    wc.tp_src = (wc.tp_src.get() | u16::from(mask[0])).into();
    wc.tp_dst = (wc.tp_dst.get() | u16::from(mask[1])).into();
    SlowPathReason::ACTION
}

fn or<const N: usize>(to: &mut [u8; N], bits: &[u8; N]) {
    to.iter_mut().zip(bits).for_each(|(to, bits)| *to |= bits);
}

#[cfg(test)]
mod tests;
