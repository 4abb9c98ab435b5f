//! From a packet's bytes to its [`Flow`].
//!
//! The result must agree, bit for bit and on odd input too, with what the kernel module puts into
//! an upcall's key (`key_extract` in net/openvswitch/flow.c) and with what the peer reads from the same
//! packet (`miniflow_extract` in lib/flow.c): flows of one packet compared with each other would
//! otherwise flap. The rule of both: a header that is cut short or lies about lengths leaves its fields
//! and everything above zero, and never makes the packet an error.
//!
//! Known odd cases, all deliberate: more VLAN tags than the limit leave the tag's type as `dl_type`;
//! labels beyond the third are walked over but not kept; an ARP opcode above 255 reads as 0; a later
//! fragment has no ports, and as IPv6 has protocol 44; TCP with a bad header length has no ports;
//! NSH with variable metadata has no context; a neighbour discovery option given twice clears target and
//! addresses.
//!
//! Does not allocate. Plain values: any thread.

use super::{
    Be16, Be32, EthAddr, FLOW_DL_TYPE_NONE, FLOW_MAX_MPLS_LABELS, FLOW_MAX_VLAN_HEADERS,
    FLOW_NW_FRAG_ANY, FLOW_NW_FRAG_LATER, Flow, FlowNsh, FlowTnl, VLAN_CFI, VlanHdr,
};
use crate::coverage::counter;
use crate::packet::arp::ArpHeader;
use crate::packet::ethernet::EthernetHeader;
use crate::packet::icmp::IcmpHeader;
use crate::packet::icmpv6::{Icmpv6Header, Neighbor};
use crate::packet::igmp::IgmpHeader;
use crate::packet::ipv4::Ipv4Header;
use crate::packet::ipv6::{Fragment, Ipv6Header, walk_extensions};
use crate::packet::llc::LlcSnapHeader;
use crate::packet::mpls::MplsLse;
use crate::packet::nsh::{MD_TYPE1, Md1Context, NSH_BASE_LEN, NSH_MD1_LEN, NshHeader};
use crate::packet::sctp::SctpHeader;
use crate::packet::tcp::{TCP_HEADER_LEN, TcpHeader};
use crate::packet::udp::UdpHeader;
use crate::packet::vlan::VlanTag;
use crate::packet::{ether_type, header, ip_proto};

counter!(static EXTRACTED = "flow_extract");
counter!(static IPV4_TOO_SHORT = "miniflow_extract_ipv4_pkt_too_short");
counter!(static IPV4_BAD_LENGTH = "miniflow_extract_ipv4_pkt_len_error");
counter!(static IPV6_TOO_SHORT = "miniflow_extract_ipv6_pkt_too_short");
counter!(static IPV6_BAD_LENGTH = "miniflow_extract_ipv6_pkt_len_error");

/// `packet_type` of a packet that starts with an Ethernet header.
pub const PACKET_TYPE_ETHERNET: Be32 = Be32::ZERO;

/// What the switch knows about a packet besides its bytes.
#[derive(Clone, Copy, Default)]
pub struct PacketMetadata<'a> {
    /// Tunnel the packet came through; ignored when it has no destination.
    pub tunnel: Option<&'a FlowTnl>,
    /// Packet priority for queueing.
    pub skb_priority: u32,
    /// Packet mark.
    pub pkt_mark: u32,
    /// Hash computed by the datapath.
    pub dp_hash: u32,
    /// Port the packet came in by.
    pub in_port: u32,
    /// Recirculation id.
    pub recirc_id: u32,
    /// Connection tracking state bits; without any, the other connection fields are ignored.
    pub ct_state: u8,
    /// Connection tracking zone.
    pub ct_zone: u16,
    /// Connection mark.
    pub ct_mark: u32,
    /// Connection label.
    pub ct_label: [u8; 16],
    /// The connection's original direction.
    pub ct_orig: CtOrigTuple,
    /// Whether the packet starts with an Ethernet header, or which header it starts with.
    pub packet_type: Be32,
}

/// Addresses and ports of a connection's original direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CtOrigTuple {
    /// None known.
    #[default]
    None,
    /// An IPv4 connection; read only for IPv4 packets.
    V4 {
        /// Source.
        src: [u8; 4],
        /// Destination.
        dst: [u8; 4],
        /// IP protocol.
        proto: u8,
        /// Source port, or ICMP type.
        tp_src: Be16,
        /// Destination port, or ICMP code.
        tp_dst: Be16,
    },
    /// An IPv6 connection; read only for IPv6 packets.
    V6 {
        /// Source.
        src: [u8; 16],
        /// Destination.
        dst: [u8; 16],
        /// IP protocol.
        proto: u8,
        /// Source port, or ICMP type.
        tp_src: Be16,
        /// Destination port, or ICMP code.
        tp_dst: Be16,
    },
}

impl<'a> PacketMetadata<'a> {
    /// The metadata of a packet that was extracted before, for extracting it again after its bytes
    /// changed.
    pub fn of(flow: &'a Flow) -> Self {
        let (proto, tp_src, tp_dst) = (flow.ct_nw_proto, flow.ct_tp_src, flow.ct_tp_dst);
        let ct_orig = match flow.dl_type.get() {
            _ if flow.ct_state == 0 || proto == 0 => CtOrigTuple::None,
            ether_type::IPV4 => {
                CtOrigTuple::V4 { src: flow.ct_nw_src, dst: flow.ct_nw_dst, proto, tp_src, tp_dst }
            }
            ether_type::IPV6 => CtOrigTuple::V6 {
                src: flow.ct_ipv6_src,
                dst: flow.ct_ipv6_dst,
                proto,
                tp_src,
                tp_dst,
            },
            _ => CtOrigTuple::None,
        };
        Self {
            tunnel: Some(&flow.tunnel),
            skb_priority: flow.skb_priority,
            pkt_mark: flow.pkt_mark,
            dp_hash: flow.dp_hash,
            in_port: flow.in_port,
            recirc_id: flow.recirc_id,
            ct_state: flow.ct_state,
            ct_zone: flow.ct_zone,
            ct_mark: flow.ct_mark,
            ct_label: flow.ct_label,
            ct_orig,
            packet_type: flow.packet_type,
        }
    }
}

/// Where a packet's layers start, in bytes from its first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    /// MPLS label stack; `None` without one.
    pub l2_5: Option<u32>,
    /// Behind the link layer and any labels; `None` when the packet is shorter than an Ethernet
    /// header.
    pub l3: Option<u32>,
    /// Behind a sound IP header and its options or extensions; `None` without one.
    pub l4: Option<u32>,
    /// Bytes at the end that the IP header's length leaves over.
    pub l2_pad: u32,
}

/// How many VLAN tags count as such, at most [`FLOW_MAX_VLAN_HEADERS`].
///
/// `other_config:vlan-limit`; the default of 1 keeps OpenFlow tables written before two were
/// possible working.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanLimit(usize);

impl VlanLimit {
    /// All tags that a flow can hold.
    pub const MAX: Self = Self(FLOW_MAX_VLAN_HEADERS);

    /// A configured limit; 0 means "as many as possible", and so does too large a number.
    pub fn new(limit: usize) -> Self {
        if limit == 0 { Self::MAX } else { Self(limit.min(FLOW_MAX_VLAN_HEADERS)) }
    }

    /// The number.
    pub fn get(self) -> usize {
        self.0
    }
}

impl Default for VlanLimit {
    fn default() -> Self {
        Self(1)
    }
}

/// Reads `frame` into `flow`, all of which is overwritten, and says where the layers start.
pub fn extract(
    frame: &[u8],
    metadata: &PacketMetadata<'_>,
    vlan_limit: VlanLimit,
    flow: &mut Flow,
) -> Layers {
    EXTRACTED.add(1);
    *flow = Flow::ZERO;
    metadata.put(flow);
    let mut layers = Layers::default();
    let mut packet = Reader { frame, at: 0, end: frame.len() };
    if metadata.packet_type == PACKET_TYPE_ETHERNET {
        if packet.link(flow, vlan_limit).is_none() {
            return layers;
        }
    } else {
        flow.dl_type = Be16::new(metadata.packet_type.get() as u16);
    }
    if ether_type::is_mpls(flow.dl_type.get()) {
        layers.l2_5 = Some(packet.offset());
        packet.labels(flow);
    }
    layers.l3 = Some(packet.offset());
    let ip = match flow.dl_type.get() {
        ether_type::IPV4 => packet.ipv4(flow, metadata),
        ether_type::IPV6 => packet.ipv6(flow, metadata),
        ether_type::ARP | ether_type::RARP => {
            packet.arp(flow);
            None
        }
        ether_type::NSH => {
            flow.nsh = packet.nsh().unwrap_or_default();
            None
        }
        _ => None,
    };
    if let Some(ct_ports) = ip {
        layers.l4 = Some(packet.offset());
        layers.l2_pad = (frame.len() - packet.end) as u32;
        packet.transport(flow, ct_ports);
    }
    layers
}

impl PacketMetadata<'_> {
    /// Fills in the metadata segment.
    fn put(&self, flow: &mut Flow) {
        if let Some(tunnel) = self.tunnel.filter(|t| t.dst_is_set()) {
            flow.tunnel = *tunnel;
        }
        flow.skb_priority = self.skb_priority;
        flow.pkt_mark = self.pkt_mark;
        flow.dp_hash = self.dp_hash;
        flow.in_port = self.in_port;
        flow.recirc_id = self.recirc_id;
        flow.packet_type = self.packet_type;
        if self.ct_state != 0 {
            flow.ct_state = self.ct_state;
            flow.ct_zone = self.ct_zone;
            flow.ct_mark = self.ct_mark;
            flow.ct_label = self.ct_label;
        }
    }
}

/// Ports of a connection's original direction, for the transport layer to fill in if it turns out to
/// have room for them.
#[derive(Clone, Copy, Default)]
struct CtPorts {
    src: Be16,
    dst: Be16,
}

/// The bytes not read yet: `frame[at..end]`, with `at <= end <= frame.len()`.
struct Reader<'a> {
    frame: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a [u8] {
        self.frame.get(self.at..self.end).unwrap_or_default()
    }

    fn offset(&self) -> u32 {
        self.at as u32
    }

    /// Walks over `n` bytes that were seen to be there.
    fn skip(&mut self, n: usize) {
        self.at = (self.at + n).min(self.end);
    }

    /// Ethernet addresses, VLAN tags and type; `None` when there is no whole header.
    fn link(&mut self, flow: &mut Flow, vlan_limit: VlanLimit) -> Option<()> {
        let (eth, _) = header::<EthernetHeader>(self.rest())?;
        flow.dl_dst = eth.dst;
        flow.dl_src = eth.src;
        self.skip(2 * size_of::<EthAddr>());
        for vlan in flow.vlans.iter_mut().take(vlan_limit.get()) {
            // A tag counts only when a type follows it.
            let Some((tag, [_, _, ..])) = header::<VlanTag>(self.rest()) else { break };
            if !ether_type::is_vlan(tag.tpid.get()) {
                break;
            }
            *vlan = VlanHdr { tpid: tag.tpid, tci: Be16::new(tag.tci.get() | VLAN_CFI) };
            self.skip(size_of::<VlanTag>());
        }
        let (&dl_type, behind) = header::<Be16>(self.rest())?;
        self.skip(size_of::<Be16>());
        flow.dl_type = dl_type;
        if dl_type.get() < ether_type::MIN {
            flow.dl_type = FLOW_DL_TYPE_NONE.into();
            if let Some((llc, _)) = header::<LlcSnapHeader>(behind)
                && llc.carries_ethernet_type()
            {
                self.skip(size_of::<LlcSnapHeader>());
                if llc.ether_type.get() >= ether_type::MIN {
                    flow.dl_type = llc.ether_type;
                }
            }
        }
        Some(())
    }

    /// The label stack, to its bottom or the end of the packet.
    fn labels(&mut self, flow: &mut Flow) {
        let mut count = 0;
        while let Some((&lse, _)) = header::<MplsLse>(self.rest()) {
            self.skip(size_of::<MplsLse>());
            if count < FLOW_MAX_MPLS_LABELS {
                flow.mpls_lse[count] = lse.0;
                count += 1;
            }
            if lse.bos() {
                break;
            }
        }
    }

    fn ipv4(&mut self, flow: &mut Flow, metadata: &PacketMetadata<'_>) -> Option<CtPorts> {
        let rest = self.rest();
        let Some((ip, _)) = header::<Ipv4Header>(rest) else {
            IPV4_TOO_SHORT.add(1);
            return None;
        };
        if !ip.is_sane(rest.len()) {
            IPV4_BAD_LENGTH.add(1);
            return None;
        }
        self.end = self.at + usize::from(ip.total_len.get());
        self.skip(ip.header_len());
        flow.nw_src = ip.src;
        flow.nw_dst = ip.dst;
        flow.nw_tos = ip.tos;
        flow.nw_ttl = ip.ttl;
        flow.nw_proto = ip.proto;
        if ip.is_fragment() {
            flow.nw_frag = FLOW_NW_FRAG_ANY;
            if ip.is_later_fragment() {
                flow.nw_frag |= FLOW_NW_FRAG_LATER;
            }
        }
        match metadata.ct_orig {
            CtOrigTuple::V4 { src, dst, proto, tp_src, tp_dst }
                if metadata.ct_state != 0 && proto != 0 =>
            {
                flow.ct_nw_proto = proto;
                flow.ct_nw_src = src;
                flow.ct_nw_dst = dst;
                Some(CtPorts { src: tp_src, dst: tp_dst })
            }
            _ => Some(CtPorts::default()),
        }
    }

    fn ipv6(&mut self, flow: &mut Flow, metadata: &PacketMetadata<'_>) -> Option<CtPorts> {
        let rest = self.rest();
        let Some((ip, _)) = header::<Ipv6Header>(rest) else {
            IPV6_TOO_SHORT.add(1);
            return None;
        };
        if !ip.is_sane(rest.len()) {
            IPV6_BAD_LENGTH.add(1);
            return None;
        }
        self.skip(size_of::<Ipv6Header>());
        self.end = self.at + usize::from(ip.payload_len.get());
        flow.ipv6_src = ip.src;
        flow.ipv6_dst = ip.dst;
        let mut ct_ports = CtPorts::default();
        match metadata.ct_orig {
            CtOrigTuple::V6 { src, dst, proto, tp_src, tp_dst }
                if metadata.ct_state != 0 && proto != 0 =>
            {
                flow.ct_nw_proto = proto;
                flow.ct_ipv6_src = src;
                flow.ct_ipv6_dst = dst;
                ct_ports = CtPorts { src: tp_src, dst: tp_dst };
            }
            _ => {}
        }
        // Extension headers that are cut short leave the addresses, but nothing else of the network layer.
        let upper = walk_extensions(self.rest(), ip.next_header)?;
        self.skip(upper.offset);
        flow.ipv6_label = ip.label().into();
        flow.nw_tos = ip.traffic_class();
        flow.nw_ttl = ip.hop_limit;
        flow.nw_proto = upper.proto;
        flow.nw_frag = match upper.fragment {
            Fragment::No => 0,
            Fragment::First => FLOW_NW_FRAG_ANY,
            Fragment::Later => FLOW_NW_FRAG_ANY | FLOW_NW_FRAG_LATER,
        };
        Some(ct_ports)
    }

    fn arp(&mut self, flow: &mut Flow) {
        let Some((arp, _)) = header::<ArpHeader>(self.rest()) else { return };
        if !arp.is_ethernet_ipv4() {
            return;
        }
        flow.nw_src = arp.spa;
        flow.nw_dst = arp.tpa;
        flow.nw_proto = u8::try_from(arp.op.get()).unwrap_or(0);
        flow.arp_sha = arp.sha;
        flow.arp_tha = arp.tha;
    }

    fn nsh(&mut self) -> Option<FlowNsh> {
        let rest = self.rest();
        let (nsh, _) = header::<NshHeader>(rest)?;
        let len = nsh.header_len();
        if nsh.version() != 0 || len > rest.len() {
            return None;
        }
        let context = match nsh.md_type {
            MD_TYPE1 if len == NSH_MD1_LEN => *header::<Md1Context>(rest.get(NSH_BASE_LEN..)?)?.0,
            MD_TYPE1 => return None,
            crate::packet::nsh::MD_TYPE2 if len < NSH_BASE_LEN => return None,
            _ => [Be32::ZERO; 4],
        };
        self.skip(len);
        Some(FlowNsh {
            flags: nsh.flags(),
            ttl: nsh.ttl(),
            mdtype: nsh.md_type,
            np: nsh.next_proto,
            path_hdr: nsh.path,
            context,
        })
    }

    /// Reads what follows an IP header.
    fn transport(&mut self, flow: &mut Flow, ct_ports: CtPorts) {
        let rest = self.rest();
        let has_ports = if flow.nw_frag & FLOW_NW_FRAG_LATER == 0 {
            transport_header(rest, flow)
        } else {
            // The connection is known from the reassembled packet, which had a header.
            let first_is_nd =
                header::<Icmpv6Header>(rest).is_some_and(|(icmp, _)| icmp.is_neighbor_discovery());
            match flow.ct_nw_proto {
                ip_proto::TCP | ip_proto::UDP | ip_proto::SCTP | ip_proto::ICMP => Some(()),
                ip_proto::ICMPV6 if !first_is_nd => Some(()),
                _ => None,
            }
        };
        if has_ports.is_some() {
            flow.ct_tp_src = ct_ports.src;
            flow.ct_tp_dst = ct_ports.dst;
        }
    }
}

/// Reads the transport header at the start of `bytes`. `None` when there is none to which the ports of a
/// connection could belong.
fn transport_header(bytes: &[u8], flow: &mut Flow) -> Option<()> {
    match flow.nw_proto {
        ip_proto::TCP => {
            let (tcp, _) = header::<TcpHeader>(bytes)?;
            if tcp.header_len() < TCP_HEADER_LEN || tcp.header_len() > bytes.len() {
                return None;
            }
            flow.tcp_flags = tcp.flags().into();
            (flow.tp_src, flow.tp_dst) = (tcp.src, tcp.dst);
        }
        ip_proto::UDP => {
            let (udp, _) = header::<UdpHeader>(bytes)?;
            (flow.tp_src, flow.tp_dst) = (udp.src, udp.dst);
        }
        ip_proto::SCTP => {
            let (sctp, _) = header::<SctpHeader>(bytes)?;
            (flow.tp_src, flow.tp_dst) = (sctp.src, sctp.dst);
        }
        ip_proto::ICMP => {
            let (icmp, _) = header::<IcmpHeader>(bytes)?;
            (flow.tp_src, flow.tp_dst) = (u16::from(icmp.ty).into(), u16::from(icmp.code).into());
        }
        ip_proto::IGMP => {
            let (igmp, _) = header::<IgmpHeader>(bytes)?;
            (flow.tp_src, flow.tp_dst) = (u16::from(igmp.ty).into(), u16::from(igmp.code).into());
            flow.igmp_group_ip4 = igmp.group;
            return None;
        }
        ip_proto::ICMPV6 => {
            let (icmp, behind) = header::<Icmpv6Header>(bytes)?;
            (flow.tp_src, flow.tp_dst) = (u16::from(icmp.ty).into(), u16::from(icmp.code).into());
            if icmp.is_neighbor_discovery() {
                let nd = Neighbor::parse(behind);
                flow.nd_target = nd.target;
                flow.arp_sha = nd.source_address;
                flow.arp_tha = nd.target_address;
                flow.tcp_flags = u16::from(nd.option).into();
                flow.igmp_group_ip4 = icmp.rest;
                return None;
            }
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests;
