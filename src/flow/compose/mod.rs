//! From a [`Flow`] to a packet that reads as it: for traces that generate a packet, and tests.
//! Plain values: any thread.

use zerocopy::IntoBytes;

use super::{
    EthAddr, FLOW_DL_TYPE_NONE, FLOW_MAX_MPLS_LABELS, FLOW_NW_FRAG_ANY, FLOW_NW_FRAG_LATER, Flow,
    VLAN_CFI,
};
use crate::packet::arp::ArpHeader;
use crate::packet::ethernet::EthernetHeader;
use crate::packet::icmp::{self, IcmpHeader};
use crate::packet::icmpv6::{
    self, Icmpv6Header, LinkAddressOption, OPT_SOURCE_LINKADDR, OPT_TARGET_LINKADDR,
};
use crate::packet::igmp::IgmpHeader;
use crate::packet::ipv4::{IPV4_HEADER_LEN, IPV4_MF, Ipv4Header};
use crate::packet::ipv6::{FragmentHeader, Ipv6Header};
use crate::packet::mpls::{MPLS_BOS_MASK, MplsLse};
use crate::packet::nsh::{MD_TYPE1, NSH_BASE_LEN, NSH_MD1_LEN, NshHeader};
use crate::packet::sctp::SctpHeader;
use crate::packet::tcp::{TcpHeader, flag};
use crate::packet::udp::UdpHeader;
use crate::packet::vlan::VlanTag;
use crate::packet::{csum, ether_type, ip_proto};

/// A packet that [`extract`](super::extract::extract) reads as `flow`, as far as a packet can say it.
/// `payload` goes into the transport protocols that carry any.
///
/// Of a later fragment the offset is made up; checksums are right.
pub fn compose(flow: &Flow, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(128 + payload.len());
    let dl_type = flow.dl_type.get();
    if flow.is_ethernet() {
        frame.extend_from_slice(flow.dl_dst.as_bytes());
        frame.extend_from_slice(flow.dl_src.as_bytes());
        for vlan in flow.vlans.iter().take_while(|vlan| vlan.tci.get() & VLAN_CFI != 0) {
            let tpid = if vlan.tpid.get() == 0 { ether_type::VLAN_8021Q.into() } else { vlan.tpid };
            frame.extend_from_slice(VlanTag { tpid, tci: vlan.tci }.as_bytes());
        }
        if dl_type == FLOW_DL_TYPE_NONE {
            let length = frame.len() as u16;
            frame.extend_from_slice(&length.to_be_bytes());
            return frame;
        }
        frame.extend_from_slice(&dl_type.to_be_bytes());
    }
    match dl_type {
        ether_type::IPV4 => ipv4(flow, payload, &mut frame),
        ether_type::IPV6 => ipv6(flow, payload, &mut frame),
        ether_type::ARP | ether_type::RARP => {
            let op = u16::from(flow.nw_proto);
            let arp = ArpHeader::new(op, flow.arp_sha, flow.nw_src, flow.arp_tha, flow.nw_dst);
            frame.extend_from_slice(arp.as_bytes());
        }
        ether_type::MPLS | ether_type::MPLS_MCAST => {
            for lse in &flow.mpls_lse[..FLOW_MAX_MPLS_LABELS] {
                frame.extend_from_slice(MplsLse(*lse).as_bytes());
                if lse.get() & MPLS_BOS_MASK != 0 {
                    break;
                }
            }
        }
        ether_type::NSH => nsh(flow, &mut frame),
        _ => {}
    }
    frame
}

fn ipv4(flow: &Flow, payload: &[u8], frame: &mut Vec<u8>) {
    let frag_off = match flow.nw_frag {
        frag if frag & FLOW_NW_FRAG_LATER != 0 => IPV4_MF | 100,
        frag if frag & FLOW_NW_FRAG_ANY != 0 => IPV4_MF,
        _ => 0,
    };
    let mut segment = transport(flow, payload);
    let mut ip = Ipv4Header {
        ver_ihl: 0x45,
        tos: flow.nw_tos,
        total_len: ((IPV4_HEADER_LEN + segment.len()) as u16).into(),
        frag_off: frag_off.into(),
        ttl: flow.nw_ttl,
        proto: flow.nw_proto,
        src: flow.nw_src,
        dst: flow.nw_dst,
        ..Default::default()
    };
    ip.checksum = csum::checksum(ip.as_bytes()).into();
    checksum(flow, ip.pseudo_header(segment.len()), &mut segment);
    frame.extend_from_slice(ip.as_bytes());
    frame.extend_from_slice(&segment);
}

fn ipv6(flow: &Flow, payload: &[u8], frame: &mut Vec<u8>) {
    let mut segment = transport(flow, payload);
    let fragment = (flow.nw_frag & FLOW_NW_FRAG_ANY != 0).then(|| FragmentHeader {
        // What a later fragment carries is not known from its flow.
        next_header: if is_later(flow) { ip_proto::NONE } else { flow.nw_proto },
        offset: if is_later(flow) { 100 << 3 | 1 } else { 1 }.into(),
        ..Default::default()
    });
    let fragment = fragment.as_ref().map_or(&[][..], |fragment| fragment.as_bytes());
    let ip = Ipv6Header {
        flow: Ipv6Header::flow_word(flow.nw_tos, flow.ipv6_label.get()),
        payload_len: ((fragment.len() + segment.len()) as u16).into(),
        next_header: if fragment.is_empty() { flow.nw_proto } else { ip_proto::FRAGMENT },
        hop_limit: flow.nw_ttl,
        src: flow.ipv6_src,
        dst: flow.ipv6_dst,
    };
    checksum(flow, ip.pseudo_header(flow.nw_proto, segment.len()), &mut segment);
    frame.extend_from_slice(ip.as_bytes());
    frame.extend_from_slice(fragment);
    frame.extend_from_slice(&segment);
}

fn is_later(flow: &Flow) -> bool {
    flow.nw_frag & FLOW_NW_FRAG_LATER != 0
}

fn transport(flow: &Flow, payload: &[u8]) -> Vec<u8> {
    if is_later(flow) {
        return payload.to_vec();
    }
    let (src, dst) = (flow.tp_src, flow.tp_dst);
    let (ty, code) = (src.get() as u8, dst.get() as u8);
    match flow.nw_proto {
        ip_proto::TCP => {
            let flags = flow.tcp_flags.get() & 0xfff;
            let tcp = TcpHeader { src, dst, ctl: (5 << 12 | flags).into(), ..Default::default() };
            let without = flags & (flag::SYN | flag::FIN | flag::RST) != 0;
            [tcp.as_bytes(), if without { &[] } else { payload }].concat()
        }
        ip_proto::UDP => {
            let len = (size_of::<UdpHeader>() + payload.len()) as u16;
            let udp = UdpHeader { src, dst, len: len.into(), checksum: 0.into() };
            [udp.as_bytes(), payload].concat()
        }
        ip_proto::SCTP => {
            let mut sctp = SctpHeader { src, dst, ..Default::default() };
            sctp.checksum = csum::crc32c(&[sctp.as_bytes()]).to_le_bytes();
            sctp.as_bytes().to_vec()
        }
        ip_proto::ICMP => {
            let header = IcmpHeader { ty, code, ..Default::default() };
            let echo = code == 0 && matches!(ty, icmp::ECHO_REQUEST | icmp::ECHO_REPLY);
            [header.as_bytes(), if echo { payload } else { &[] }].concat()
        }
        ip_proto::IGMP => {
            let igmp = IgmpHeader { ty, code, checksum: 0.into(), group: flow.igmp_group_ip4 };
            igmp.as_bytes().to_vec()
        }
        ip_proto::ICMPV6 => {
            let header = Icmpv6Header { ty, code, checksum: 0.into(), rest: flow.igmp_group_ip4 };
            if header.is_neighbor_discovery() {
                return neighbor(flow, &header);
            }
            let echo = code == 0 && matches!(ty, icmpv6::ECHO_REQUEST | icmpv6::ECHO_REPLY);
            [header.as_bytes(), if echo { payload } else { &[] }].concat()
        }
        _ => Vec::new(),
    }
}

fn neighbor(flow: &Flow, header: &Icmpv6Header) -> Vec<u8> {
    let mut message = [header.as_bytes(), &flow.nd_target].concat();
    let mut options = [(OPT_SOURCE_LINKADDR, flow.arp_sha), (OPT_TARGET_LINKADDR, flow.arp_tha)];
    if flow.tcp_flags.get() == u16::from(OPT_TARGET_LINKADDR) {
        options.reverse();
    }
    for (ty, address) in options {
        // An option with a zero address is how a flow tells that there was one at all.
        if !address.is_zero() || flow.tcp_flags.get() == u16::from(ty) {
            message.extend_from_slice(LinkAddressOption { ty, len: 1, address }.as_bytes());
        }
    }
    message
}

/// Fills in the checksum of a transport header.
fn checksum(flow: &Flow, pseudo: csum::Sum, segment: &mut [u8]) {
    if is_later(flow) {
        return;
    }
    let (at, start) = match flow.nw_proto {
        ip_proto::TCP => (16, pseudo),
        ip_proto::UDP => (6, pseudo),
        ip_proto::ICMPV6 => (2, pseudo),
        ip_proto::ICMP | ip_proto::IGMP => (2, csum::Sum::default()),
        _ => return,
    };
    let mut sum = start.bytes(segment).finish();
    if sum == 0 && flow.nw_proto == ip_proto::UDP {
        // In UDP, 0 says that there is no checksum.
        sum = 0xffff;
    }
    if let Some(field) = segment.get_mut(at..at + 2) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

fn nsh(flow: &Flow, frame: &mut Vec<u8>) {
    let fixed = flow.nsh.mdtype == MD_TYPE1;
    let len = if fixed { NSH_MD1_LEN } else { NSH_BASE_LEN };
    let nsh = NshHeader {
        base: NshHeader::base(flow.nsh.flags, flow.nsh.ttl, len),
        md_type: flow.nsh.mdtype,
        next_proto: flow.nsh.np,
        path: flow.nsh.path_hdr,
    };
    frame.extend_from_slice(nsh.as_bytes());
    if fixed {
        frame.extend_from_slice(flow.nsh.context.as_bytes());
    }
}

/// An Ethernet header and what follows it.
pub fn ethernet_frame(dst: EthAddr, src: EthAddr, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let eth = EthernetHeader { dst, src, ether_type: ether_type.into() };
    [eth.as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests;
