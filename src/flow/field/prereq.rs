//! Whether a packet, or every packet of a match, has a field.
//!
//! Checking reads other fields, so the check itself un-wildcards what it read: the Ethernet type is
//! always significant in a translation and not recorded, protocol numbers, ports and the like are.
//! Plain values: any thread.

use super::{Field, Prereq};
use crate::flow::matching::Match;
use crate::flow::{FLOW_DL_TYPE_NONE, FLOW_NW_FRAG_LATER, Flow, FlowWildcards, VLAN_CFI, ct_state};
use crate::packet::{ether_type, icmpv6, ip_proto};

/// Name space of a packet type whose value is an Ethernet type (OpenFlow 1.5, OFPHTN_ETHERTYPE).
pub const PACKET_NAMESPACE_ETHERTYPE: u16 = 1;

/// States of which a packet with a valid connection has at least one.
const CT_VALID: u8 = ct_state::NEW | ct_state::ESTABLISHED | ct_state::REPLY_DIR;

impl Flow {
    /// True for a packet that starts with an Ethernet header.
    pub fn is_ethernet(&self) -> bool {
        self.packet_type.get() == 0
    }

    /// The Ethernet type, or what stands for it in a packet without an Ethernet header.
    pub fn effective_dl_type(&self) -> u16 {
        let packet_type = self.packet_type.get();
        match (packet_type >> 16) as u16 {
            _ if packet_type == 0 => self.dl_type.get(),
            PACKET_NAMESPACE_ETHERTYPE => packet_type as u16,
            _ => FLOW_DL_TYPE_NONE,
        }
    }

    /// True when the connection fields of the packet mean something.
    pub fn has_valid_ct(&self) -> bool {
        self.ct_state & CT_VALID != 0
    }

    fn is_ip(&self, proto: u8) -> bool {
        matches!(self.effective_dl_type(), ether_type::IPV4 | ether_type::IPV6)
            && self.nw_proto == proto
    }
}

impl Prereq {
    /// True when `flow` meets this. Makes the bits significant that the answer rests on.
    pub fn is_met(self, flow: &Flow, wildcards: &mut FlowWildcards) -> bool {
        self.record(flow, &mut wildcards.masks);
        self.holds(flow)
    }

    /// True when `flow` meets this.
    pub fn holds(self, flow: &Flow) -> bool {
        let dl_type = flow.effective_dl_type();
        let first = flow.nw_frag & FLOW_NW_FRAG_LATER == 0;
        match self {
            Self::Nothing => true,
            Self::Ethernet => flow.is_ethernet(),
            Self::VlanVid => flow.is_ethernet() && flow.vlans[0].tci.get() & VLAN_CFI != 0,
            Self::Arp => matches!(dl_type, ether_type::ARP | ether_type::RARP),
            Self::Ipv4 => dl_type == ether_type::IPV4,
            Self::Ipv6 => dl_type == ether_type::IPV6,
            Self::IpAny => matches!(dl_type, ether_type::IPV4 | ether_type::IPV6),
            Self::Nsh => dl_type == ether_type::NSH,
            Self::Mpls => ether_type::is_mpls(dl_type),
            Self::Ct => flow.has_valid_ct(),
            Self::Tcp => flow.is_ip(ip_proto::TCP) && first,
            Self::Udp => flow.is_ip(ip_proto::UDP) && first,
            Self::Sctp => flow.is_ip(ip_proto::SCTP) && first,
            Self::Icmpv4 => dl_type == ether_type::IPV4 && flow.nw_proto == ip_proto::ICMP,
            Self::Icmpv6 => dl_type == ether_type::IPV6 && flow.nw_proto == ip_proto::ICMPV6,
            Self::NdSolicit => is_nd(flow, &[icmpv6::ND_NEIGHBOR_SOLICIT]),
            Self::NdAdvert => is_nd(flow, &[icmpv6::ND_NEIGHBOR_ADVERT]),
            Self::Nd => is_nd(flow, &[icmpv6::ND_NEIGHBOR_SOLICIT, icmpv6::ND_NEIGHBOR_ADVERT]),
        }
    }

    fn record(self, flow: &Flow, masks: &mut Flow) {
        match self {
            Self::Ethernet => masks.packet_type = u32::MAX.into(),
            Self::VlanVid => {
                masks.packet_type = u32::MAX.into();
                if flow.is_ethernet() {
                    masks.vlans[0].tci |= VLAN_CFI;
                }
            }
            Self::Ct => masks.ct_state |= CT_VALID,
            Self::Tcp | Self::Udp | Self::Sctp if Self::IpAny.holds(flow) => {
                masks.nw_proto = u8::MAX;
                masks.nw_frag |= FLOW_NW_FRAG_LATER;
            }
            Self::Icmpv4 if Self::Ipv4.holds(flow) => masks.nw_proto = u8::MAX,
            Self::Icmpv6 if Self::Ipv6.holds(flow) => masks.nw_proto = u8::MAX,
            Self::Nd | Self::NdSolicit | Self::NdAdvert if Self::Ipv6.holds(flow) => {
                masks.nw_proto = u8::MAX;
                if Self::Icmpv6.holds(flow) {
                    masks.tp_dst = u16::MAX.into();
                    if flow.tp_dst.get() == 0 {
                        masks.tp_src = u16::MAX.into();
                    }
                }
            }
            _ => {}
        }
    }
}

fn is_nd(flow: &Flow, types: &[u8]) -> bool {
    Prereq::Icmpv6.holds(flow)
        && flow.tp_dst.get() == 0
        && types.iter().any(|&ty| flow.tp_src.get() == u16::from(ty))
}

impl Field {
    /// True when the packet has the field. Makes the bits significant that the answer rests on.
    pub fn is_present(self, flow: &Flow, wildcards: &mut FlowWildcards) -> bool {
        self.info().prereq.is_met(flow, wildcards)
    }
}

impl Match {
    /// True when every packet that matches has the field.
    pub fn has_prereqs(&self, field: Field) -> bool {
        match field.info().prereq {
            Prereq::Ct => {
                use ct_state::*;
                let state = self.flow.ct_state;
                let valid = NEW | ESTABLISHED | RELATED | REPLY_DIR | SRC_NAT | DST_NAT;
                let explicitly_valid = state & TRACKED != 0
                    && self.wildcards.masks.ct_state & INVALID != 0
                    && state & INVALID == 0;
                state & valid != 0 || explicitly_valid
            }
            prereq => prereq.holds(&self.flow),
        }
    }
}
