//! Flow or wildcards → attributes: the walk that keys and masks share.
//!
//! The order is the kernel's own, so that a key that came from it is given back byte for byte.
//! Which headers there are is read from the flow, also when a mask is written.
//!
//! What always holds: a mask gets no attribute that the key of the same flow and [`Support`] lacks
//! (save `TUNNEL`, which the kernel always takes), and every prerequisite of what it matches
//! exactly. No allocation beyond the buffer. Plain functions: any thread.

use ovs_netlink::attr::{AttrError, AttrWriter};
use ovs_netlink::key::KeyAttr;
use ovs_netlink::nsh::NshAttr;
use ovs_netlink::uapi::*;

use super::Support;
use super::decode::*;
use super::key::ODPP_NONE;
use super::tunnel;
use crate::flow::{
    FLOW_MAX_MPLS_LABELS, FLOW_MAX_VLAN_HEADERS, FLOW_NW_FRAG_LATER, Flow, FlowNsh, VLAN_CFI,
};
use crate::packet::{ether_type, ip_proto};

/// Writes one key or one mask.
#[derive(Clone, Copy)]
pub(super) struct Encoder<'f> {
    flow: &'f Flow,
    /// What is written: the flow itself, or its mask.
    data: &'f Flow,
    support: &'f Support,
    is_mask: bool,
    /// Leave out attributes that are zero throughout, which in a mask means the same to the kernel.
    minimal: bool,
    /// Encoded Geneve options of the tunnel, where the flow holds mapped ones.
    geneve: Option<&'f [u8]>,
}

impl<'f> Encoder<'f> {
    pub(super) fn key(flow: &'f Flow, support: &'f Support) -> Self {
        Self { flow, data: flow, support, is_mask: false, minimal: false, geneve: None }
    }

    pub(super) fn mask(flow: &'f Flow, mask: &'f Flow, support: &'f Support) -> Self {
        Self { flow, data: mask, support, is_mask: true, minimal: false, geneve: None }
    }

    pub(super) fn minimal(self) -> Self {
        Self { minimal: true, ..self }
    }

    pub(super) fn geneve(self, options: Option<&'f [u8]>) -> Self {
        Self { geneve: options, ..self }
    }

    pub(super) fn write(&self, w: &mut AttrWriter<'_>) -> Result<(), AttrError> {
        self.write_metadata(w)?;
        if self.support.packet_type {
            KeyAttr::PacketType(self.data.packet_type.get()).write(w);
        }
        if self.flow.packet_type.get() == 0 {
            let (src, dst) = (self.data.dl_src.0, self.data.dl_dst.0);
            self.put(w, KeyAttr::Ethernet { src, dst }, src == [0; 6] && dst == [0; 6]);
            return self.tags(w, 0);
        }
        self.payload(w)
    }

    /// Writes what stands outside of any header.
    pub(super) fn write_metadata(&self, w: &mut AttrWriter<'_>) -> Result<(), AttrError> {
        self.metadata(w)?;
        self.conntrack(w);
        Ok(())
    }

    /// Writes an attribute, unless it is zero and that may be left out.
    #[inline(always)]
    fn put(&self, w: &mut AttrWriter<'_>, attr: KeyAttr<'_>, zero: bool) {
        if !(zero && self.minimal) {
            attr.write(w);
        }
    }

    fn metadata(&self, w: &mut AttrWriter<'_>) -> Result<(), AttrError> {
        let (flow, data) = (self.flow, self.data);
        if self.support.recirc {
            // A flow is for one stage of recirculation, whether a decision read it or not.
            let recirc_id = if self.is_mask { u32::MAX } else { data.recirc_id };
            self.put(w, KeyAttr::RecircId(recirc_id), recirc_id == 0);
            self.put(w, KeyAttr::DpHash(data.dp_hash), data.dp_hash == 0);
        }
        self.put(w, KeyAttr::Priority(data.skb_priority), data.skb_priority == 0);
        if self.writes_tunnel() {
            let mask_of = self.is_mask.then_some(&flow.tunnel);
            tunnel::write(w, &data.tunnel, mask_of, self.geneve)?;
        }
        if self.is_mask {
            // The kernel matches it exactly in any case, once it is named.
            KeyAttr::InPort(u32::MAX).write(w);
        } else if flow.in_port != ODPP_NONE {
            KeyAttr::InPort(flow.in_port).write(w);
        }
        self.put(w, KeyAttr::SkbMark(data.pkt_mark), data.pkt_mark == 0);
        Ok(())
    }

    fn writes_tunnel(&self) -> bool {
        let any = |flow: &Flow| flow.words()[..TUNNEL_WORDS] != Flow::ZERO.words()[..TUNNEL_WORDS];
        match (self.is_mask, self.minimal) {
            (false, _) => self.flow.tunnel.dst_is_set(),
            (true, false) => true,
            (true, true) => any(self.data) || self.geneve.is_some(),
        }
    }

    fn conntrack(&self, w: &mut AttrWriter<'_>) {
        let (flow, data, support) = (self.flow, self.data, self.support);
        if support.ct_state {
            self.put(w, KeyAttr::CtState(data.ct_state.into()), data.ct_state == 0);
        }
        if support.ct_zone {
            self.put(w, KeyAttr::CtZone(data.ct_zone), data.ct_zone == 0);
        }
        if support.ct_mark {
            self.put(w, KeyAttr::CtMark(data.ct_mark), data.ct_mark == 0);
        }
        if support.ct_label {
            let label = u128::from_be_bytes(data.ct_label).to_ne_bytes();
            self.put(w, KeyAttr::CtLabels(label), data.ct_label == [0; 16]);
        }
        if flow.ct_nw_proto == 0 {
            return;
        }
        let proto = data.ct_nw_proto;
        let (src_port, dst_port) = (data.ct_tp_src.get(), data.ct_tp_dst.get());
        let zero = proto == 0 && src_port | dst_port == 0;
        match flow.dl_type.get() {
            ether_type::IPV4 if support.ct_orig_tuple => {
                let (src, dst) = (data.ct_nw_src, data.ct_nw_dst);
                let attr = KeyAttr::CtOrigTupleIpv4 { src, dst, src_port, dst_port, proto };
                self.put(w, attr, zero && src == [0; 4] && dst == [0; 4]);
            }
            // Neighbour discovery is kept in the same place of the kernel's key.
            ether_type::IPV6 if support.ct_orig_tuple6 && !has_nd_type(flow) => {
                let (src, dst) = (data.ct_ipv6_src, data.ct_ipv6_dst);
                let attr = KeyAttr::CtOrigTupleIpv6 { src, dst, src_port, dst_port, proto };
                self.put(w, attr, zero && src == [0; 16] && dst == [0; 16]);
            }
            _ => {}
        }
    }

    /// VLAN tags from `depth` on, and what is behind them.
    fn tags(&self, w: &mut AttrWriter<'_>, depth: usize) -> Result<(), AttrError> {
        let limit = self.support.max_vlan_headers.min(FLOW_MAX_VLAN_HEADERS);
        let tag = self.flow.vlans.get(depth).filter(|_| depth < limit);
        let Some(tag) = tag else { return self.payload(w) };
        let cut_off = tag.tci.get() & VLAN_CFI == 0;
        if cut_off && !ether_type::is_vlan(self.flow.dl_type.get()) {
            return self.payload(w);
        }
        // Of a tag that was cut off, the TPID is in the Ethernet type.
        let tpid = if cut_off { self.flow.dl_type } else { tag.tpid };
        self.ethertype(w, tpid.get());
        if cut_off && self.is_mask {
            return Ok(());
        }
        let tci = self.data.vlans.get(depth).map_or(0, |tag| tag.tci.get());
        // The kernel wants the presence bit matched.
        KeyAttr::Vlan(if self.is_mask { tci | VLAN_CFI } else { tci }).write(w);
        let encap = w.begin(OVS_KEY_ATTR_ENCAP);
        if !cut_off {
            self.tags(w, depth + 1)?;
        }
        w.end(encap)
    }

    /// Writes the Ethernet type of a key, or its mask, which is always exact.
    fn ethertype(&self, w: &mut AttrWriter<'_>, eth_type: u16) {
        KeyAttr::EtherType(if self.is_mask { u16::MAX } else { eth_type }).write(w);
    }

    fn payload(&self, w: &mut AttrWriter<'_>) -> Result<(), AttrError> {
        let (flow, data) = (self.flow, self.data);
        let dl_type = flow.dl_type.get();
        if dl_type >= ether_type::MIN || self.is_mask {
            self.ethertype(w, dl_type);
        }
        match dl_type {
            ether_type::IPV4 | ether_type::IPV6 => self.ip(w, dl_type),
            ether_type::ARP | ether_type::RARP => {
                let (sip, tip, sha, tha) =
                    (data.nw_src, data.nw_dst, data.arp_sha.0, data.arp_tha.0);
                let exact = self.is_mask && data.nw_proto == u8::MAX;
                let op = if exact { u16::MAX } else { data.nw_proto.into() };
                let zero = op == 0 && (sip, tip, sha, tha) == Default::default();
                self.put(w, KeyAttr::Arp { sip, tip, op, sha, tha }, zero);
            }
            ether_type::NSH => {
                let zero = data.nsh == FlowNsh::default();
                if !(zero && self.minimal) {
                    let md1 = self.is_mask || flow.nsh.mdtype == NSH_M_TYPE1;
                    let metadata = if md1 { NshMetadata::Md1 } else { NshMetadata::None };
                    let mut nsh = data.nsh;
                    if self.is_mask && nsh.context.iter().any(|c| c.get() != 0) {
                        // There are context headers only with one type of metadata.
                        nsh.mdtype = u8::MAX;
                    }
                    write_nsh(w, &nsh, metadata)?;
                }
            }
            _ if ether_type::is_mpls(dl_type) => self.mpls(w),
            _ => {}
        }
        if has_l4(flow) {
            self.transport(w);
        }
        Ok(())
    }

    fn ip(&self, w: &mut AttrWriter<'_>, dl_type: u16) {
        let data = self.data;
        let proto = if self.is_mask && self.matches_l4() { u8::MAX } else { data.nw_proto };
        let frag = match (data.nw_frag, self.is_mask) {
            (0, _) => OVS_FRAG_TYPE_NONE,
            (_, true) => u8::MAX,
            (v, false) if v & FLOW_NW_FRAG_LATER != 0 => OVS_FRAG_TYPE_LATER,
            (_, false) => OVS_FRAG_TYPE_FIRST,
        };
        let (tos, ttl) = (data.nw_tos, data.nw_ttl);
        let zero = proto | frag | tos | ttl == 0;
        if dl_type == ether_type::IPV4 {
            let (src, dst) = (data.nw_src, data.nw_dst);
            let zero = zero && src == [0; 4] && dst == [0; 4];
            self.put(w, KeyAttr::Ipv4 { src, dst, proto, tos, ttl, frag }, zero);
        } else {
            let (src, dst, label) = (data.ipv6_src, data.ipv6_dst, data.ipv6_label.get());
            let attr = KeyAttr::Ipv6 { src, dst, label, proto, tclass: tos, hlimit: ttl, frag };
            self.put(w, attr, zero && src == [0; 16] && dst == [0; 16] && label == 0);
        }
    }

    fn mpls(&self, w: &mut AttrWriter<'_>) {
        let mut n = mpls_labels(self.flow);
        if self.is_mask {
            n = n.min(self.support.max_mpls_depth);
        }
        let mut value = [0; 4 * FLOW_MAX_MPLS_LABELS];
        for (to, lse) in value.as_chunks_mut().0.iter_mut().zip(&self.data.mpls_lse) {
            *to = lse.get().to_be_bytes();
        }
        // The kernel takes no empty stack.
        let value = value.get(..4 * n.clamp(1, FLOW_MAX_MPLS_LABELS)).unwrap_or_default();
        self.put(w, KeyAttr::Mpls(value), value.iter().all(|&b| b == 0));
    }

    /// Whether a mask has bits in the transport header that the flow has.
    fn matches_l4(&self) -> bool {
        let (flow, data) = (self.flow, self.data);
        if !has_l4(flow) {
            return false;
        }
        match (flow.nw_proto, flow.dl_type.get()) {
            (ip_proto::TCP, _) => data.tp_src.get() | data.tp_dst.get() | data.tcp_flags.get() != 0,
            (ip_proto::UDP | ip_proto::SCTP, _) => data.tp_src.get() | data.tp_dst.get() != 0,
            (ip_proto::ICMP, ether_type::IPV4) | (ip_proto::ICMPV6, ether_type::IPV6) => {
                (data.tp_src.get() | data.tp_dst.get()) & 0xff != 0
                    || has_nd_type(flow) && self.matches_nd()
            }
            _ => false,
        }
    }

    fn matches_nd(&self) -> bool {
        let data = self.data;
        self.flow.tp_dst.get() == 0
            && (data.nd_target != [0; 16]
                || data.arp_sha.0 != [0; 6]
                || data.arp_tha.0 != [0; 6]
                || self.support.nd_ext
                    && (data.igmp_group_ip4 != [0; 4] || data.tcp_flags.get() != 0))
    }

    fn transport(&self, w: &mut AttrWriter<'_>) {
        let (flow, data) = (self.flow, self.data);
        let (src, dst) = (data.tp_src.get(), data.tp_dst.get());
        let zero = src | dst == 0;
        // ICMP type and code are the low bytes of the ports.
        let ([_, mut ty], [_, code]) = (src.to_be_bytes(), dst.to_be_bytes());
        match (flow.nw_proto, flow.dl_type.get()) {
            (ip_proto::TCP, _) => {
                self.put(w, KeyAttr::Tcp { src, dst }, zero);
                // The kernel wants the flags with every TCP key, zero or not.
                if !self.is_mask || data.tcp_flags.get() != 0 {
                    KeyAttr::TcpFlags(data.tcp_flags.get()).write(w);
                }
            }
            (ip_proto::UDP, _) => self.put(w, KeyAttr::Udp { src, dst }, zero),
            (ip_proto::SCTP, _) => self.put(w, KeyAttr::Sctp { src, dst }, zero),
            (ip_proto::ICMP, ether_type::IPV4) => {
                self.put(w, KeyAttr::Icmp { ty, code }, ty | code == 0);
            }
            (ip_proto::ICMPV6, ether_type::IPV6) => {
                if self.is_mask && has_nd_type(flow) && self.matches_nd() {
                    ty = u8::MAX;
                }
                self.put(w, KeyAttr::Icmpv6 { ty, code }, ty | code == 0);
                if has_nd_type(flow) && (!self.is_mask || ty == u8::MAX) {
                    self.neighbour_discovery(w);
                }
            }
            _ => {}
        }
    }

    fn neighbour_discovery(&self, w: &mut AttrWriter<'_>) {
        let data = self.data;
        let (target, sll, tll) = if self.flow.tp_dst.get() == 0 {
            (data.nd_target, data.arp_sha.0, data.arp_tha.0)
        } else {
            // With another code there is nothing to say, but the kernel wants the attribute.
            Default::default()
        };
        let zero = (target, sll, tll) == Default::default();
        self.put(w, KeyAttr::Nd { target, sll, tll }, zero);
        let (reserved, options) = (data.igmp_group_ip4, data.tcp_flags.get());
        if self.support.nd_ext && (reserved != [0; 4] || options != 0) {
            let reserved = u32::from_be_bytes(reserved);
            let [_, options_type] = options.to_be_bytes();
            KeyAttr::NdExtensions { reserved, options_type }.write(w);
        }
    }
}

/// Words of a flow that the tunnel occupies, at its beginning.
const TUNNEL_WORDS: usize = size_of::<crate::flow::FlowTnl>() / 8;
const _: () = assert!(std::mem::offset_of!(Flow, tunnel) == 0);

/// Labels in the flow's MPLS stack: up to the bottom of stack, or to the first that is zero.
pub(super) fn mpls_labels(flow: &Flow) -> usize {
    if !ether_type::is_mpls(flow.dl_type.get()) {
        return 0;
    }
    let lses = flow.mpls_lse.iter().take(FLOW_MAX_MPLS_LABELS);
    for (i, lse) in lses.enumerate() {
        match lse.get() {
            0 => return i,
            lse if lse & MPLS_BOS != 0 => return i + 1,
            _ => {}
        }
    }
    FLOW_MAX_MPLS_LABELS
}

/// Context headers that an `NSH` attribute is to have.
#[derive(Clone, Copy)]
pub(super) enum NshMetadata<'a> {
    None,
    /// The four of type 1.
    Md1,
    /// Encoded ones of type 2, for a header to push.
    Md2(&'a [u8]),
}

/// Appends an `NSH` attribute.
pub(super) fn write_nsh(
    w: &mut AttrWriter<'_>,
    nsh: &FlowNsh,
    metadata: NshMetadata<'_>,
) -> Result<(), AttrError> {
    let nest = w.begin(OVS_KEY_ATTR_NSH);
    NshAttr::Base {
        flags: nsh.flags,
        ttl: nsh.ttl,
        mdtype: nsh.mdtype,
        np: nsh.np,
        path_hdr: nsh.path_hdr.get(),
    }
    .write(w);
    match metadata {
        NshMetadata::None => {}
        NshMetadata::Md1 => NshAttr::Md1(nsh.context.map(|c| c.get())).write(w),
        NshMetadata::Md2(headers) => NshAttr::Md2(headers).write(w),
    }
    w.end(nest)
}
