//! Which fields a packet has.
//! Plain values: any thread.

use super::extract::PACKET_TYPE_ETHERNET;
use super::field::Prereq;
use super::{Be16, Be32, FLOW_MAX_MPLS_LABELS, FLOW_NW_FRAG_LATER, Flow, FlowWildcards, tnl_flags};
use crate::packet::mpls::MPLS_BOS_MASK;
use crate::packet::{ether_type, ip_proto};

const ONES16: Be16 = Be16::from_bytes([0xff; 2]);
const ONES32: Be32 = Be32::from_bytes([0xff; 4]);
const EXACT: Flow = FlowWildcards::EXACT.masks;

impl FlowWildcards {
    /// Every field that packets like `flow` have, but for registers, metadata, conjunction id and the
    /// action set's port, which no packet brings along.
    pub fn for_packet(flow: &Flow) -> Self {
        let mut wildcards = Self::CATCHALL;
        let masks = &mut wildcards.masks;
        tunnel(flow, masks);
        masks.skb_priority = u32::MAX;
        masks.pkt_mark = u32::MAX;
        masks.ct_state = u8::MAX;
        masks.ct_zone = u16::MAX;
        masks.ct_mark = u32::MAX;
        masks.ct_label = [0xff; 16];
        masks.recirc_id = u32::MAX;
        masks.dp_hash = u32::MAX;
        masks.in_port = u32::MAX;
        masks.packet_type = ONES32;
        let dl_type = if flow.packet_type == PACKET_TYPE_ETHERNET {
            masks.dl_dst = EXACT.dl_dst;
            masks.dl_src = EXACT.dl_src;
            masks.dl_type = ONES16;
            // The first tag that is not there counts: that it is not there can be matched.
            for (mask, vlan) in masks.vlans.iter_mut().zip(&flow.vlans) {
                *mask = EXACT.vlans[0];
                if vlan.tci.get() == 0 {
                    break;
                }
            }
            flow.dl_type.get()
        } else {
            flow.packet_type.get() as u16
        };
        if network(flow, dl_type, masks) {
            transport(flow, masks);
        }
        wildcards
    }

    /// Wildcards what no packet brings along: metadata, registers, conjunction id and the action set's
    /// port.
    pub fn clear_non_packet_fields(&mut self) {
        self.masks.metadata = Default::default();
        self.masks.regs = Default::default();
        self.masks.actset_output = 0;
        self.masks.conj_id = 0;
    }
}

fn tunnel(flow: &Flow, masks: &mut Flow) {
    let (tnl, masks) = (&flow.tunnel, &mut masks.tunnel);
    if !tnl.dst_is_set() {
        if tnl.tun_id.get() != 0 {
            masks.tun_id = EXACT.tunnel.tun_id;
        }
        return;
    }
    let (metadata, tun_id) = (masks.metadata, masks.tun_id);
    *masks = EXACT.tunnel;
    masks.metadata = metadata;
    masks.pad = [0; 4];
    if tnl.flags & tnl_flags::KEY == 0 {
        masks.tun_id = tun_id;
    }
    if tnl.flags & tnl_flags::UDPIF != 0 {
        masks.metadata.len = u8::MAX;
        for byte in masks.metadata.opts.iter_mut().take(tnl.metadata.len.into()) {
            *byte = 0xff;
        }
    } else if tnl.metadata.present != 0 {
        masks.metadata.present = tnl.metadata.present;
        masks.metadata.opts = [0xff; 256];
    }
}

/// Masks the network layer; true when an IP header (or NSH, which is treated like one) may be followed by a
/// transport header.
fn network(flow: &Flow, dl_type: u16, masks: &mut Flow) -> bool {
    match dl_type {
        ether_type::IPV4 => {
            masks.nw_src = [0xff; 4];
            masks.nw_dst = [0xff; 4];
            masks.ct_nw_src = [0xff; 4];
            masks.ct_nw_dst = [0xff; 4];
        }
        ether_type::IPV6 => {
            masks.ipv6_src = [0xff; 16];
            masks.ipv6_dst = [0xff; 16];
            masks.ipv6_label = ONES32;
            if Prereq::Nd.holds(flow) {
                masks.arp_sha = EXACT.arp_sha;
                masks.arp_tha = EXACT.arp_tha;
                masks.nd_target = [0xff; 16];
            } else {
                masks.ct_ipv6_src = [0xff; 16];
                masks.ct_ipv6_dst = [0xff; 16];
            }
        }
        ether_type::ARP | ether_type::RARP => {
            masks.nw_src = [0xff; 4];
            masks.nw_dst = [0xff; 4];
            masks.nw_proto = u8::MAX;
            masks.arp_sha = EXACT.arp_sha;
            masks.arp_tha = EXACT.arp_tha;
            return false;
        }
        ether_type::MPLS | ether_type::MPLS_MCAST => {
            for i in 0..FLOW_MAX_MPLS_LABELS {
                masks.mpls_lse[i] = ONES32;
                if flow.mpls_lse[i].get() & MPLS_BOS_MASK != 0 {
                    break;
                }
            }
            return false;
        }
        ether_type::NSH => masks.nsh = EXACT.nsh,
        _ => return false,
    }
    true
}

fn transport(flow: &Flow, masks: &mut Flow) {
    masks.nw_frag = super::FLOW_NW_FRAG_ANY | FLOW_NW_FRAG_LATER;
    masks.nw_tos = u8::MAX;
    masks.nw_ttl = u8::MAX;
    masks.nw_proto = u8::MAX;
    masks.ct_nw_proto = u8::MAX;
    masks.ct_tp_src = ONES16;
    masks.ct_tp_dst = ONES16;
    if flow.nw_frag & FLOW_NW_FRAG_LATER != 0 {
        return;
    }
    match flow.nw_proto {
        ip_proto::TCP => masks.tcp_flags = ONES16,
        ip_proto::IGMP => masks.igmp_group_ip4 = [0xff; 4],
        ip_proto::ICMP | ip_proto::ICMPV6 | ip_proto::UDP | ip_proto::SCTP => {}
        _ => return,
    }
    masks.tp_src = ONES16;
    masks.tp_dst = ONES16;
}
