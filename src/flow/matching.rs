//! A match: what a rule demands of a packet.
//!
//! Values are set field by field ([`Match::set`]) or read from text ([`Match::parse`]).
//!
//! What always holds for a match made through its functions: a bit that is wildcarded is zero in the
//! flow. Plain values: any thread.

use super::field::Field;
use super::mini::MiniMatch;
use super::{Flow, FlowWildcards};
use crate::packet::{ether_type, icmpv6, ip_proto};

/// What a rule demands of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Values of the bits that matter; the others are zero.
    pub flow: Flow,
    /// Which bits matter.
    pub wildcards: FlowWildcards,
}

impl Match {
    /// Any packet.
    pub const CATCHALL: Self = Self { flow: Flow::ZERO, wildcards: FlowWildcards::CATCHALL };

    /// The bits of `flow` that `wildcards` says matter.
    pub fn new(flow: &Flow, wildcards: &FlowWildcards) -> Self {
        let mut result = Self { flow: *flow, wildcards: *wildcards };
        result.zero_wildcarded();
        result
    }

    /// All that there is in a packet like `flow`, and registers and metadata.
    pub fn of_packet(flow: &Flow) -> Self {
        let mut wildcards = FlowWildcards::for_packet(flow);
        wildcards.masks.regs = FlowWildcards::EXACT.masks.regs;
        wildcards.masks.metadata = FlowWildcards::EXACT.masks.metadata;
        Self { flow: *flow, wildcards }
    }

    /// True when `flow` agrees in every bit that matters.
    pub fn matches(&self, flow: &Flow) -> bool {
        self.wildcards.equal_except(&self.flow, flow)
    }

    /// True when every packet that `self` matches, `other` matches too.
    pub fn is_within(&self, other: &Self) -> bool {
        self.wildcards.covers(&other.wildcards) && other.matches(&self.flow)
    }

    /// True when some packet can match both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let masks = self.wildcards.masks.words().iter().zip(other.wildcards.masks.words());
        let values = self.flow.words().iter().zip(other.flow.words());
        masks.zip(values).all(|((m1, m2), (v1, v2))| (v1 ^ v2) & m1 & m2 == 0)
    }

    /// The match, packed.
    pub fn pack(&self) -> MiniMatch {
        MiniMatch::new(&self.flow, &self.wildcards)
    }

    /// Zeroes the values of bits that do not matter, after `wildcards` was changed by hand.
    pub fn zero_wildcarded(&mut self) {
        let masks = self.wildcards.masks.words();
        for (word, mask) in self.flow.words_mut().iter_mut().zip(masks) {
            *word &= mask;
        }
    }

    /// Demands an Ethernet packet, unless the match says what packet type it wants.
    pub fn set_default_packet_type(&mut self) {
        if Field::PacketType.is_wildcarded(&self.wildcards) {
            self.set(Field::PacketType, 0);
        }
    }

    /// True when the match demands an Ethernet packet.
    pub fn has_default_packet_type(&self) -> bool {
        self.get(Field::PacketType) == (0, Field::PacketType.exact_mask())
    }

    /// Sets the fields that a protocol name such as `tcp6` stands for. False for other words.
    pub fn set_protocol(&mut self, name: &str) -> bool {
        let Some((_, dl_type, proto)) = PROTOCOLS.iter().find(|(known, ..)| *known == name) else {
            return false;
        };
        self.set(Field::EthType, u128::from(*dl_type));
        if *proto != 0 {
            self.set(Field::IpProto, u128::from(*proto));
        }
        self.set_default_packet_type();
        true
    }

    /// Wildcards fields that no packet of the matched kind has, as OpenFlow 1.0 asked for. True when that
    /// changed something.
    pub fn normalize(&mut self) -> bool {
        let before = *self;
        let (ethernet, dl_type) = match self.get(Field::PacketType) {
            (_, 0) | (0, _) => (true, self.flow.dl_type.get()),
            _ => (false, self.flow.effective_dl_type()),
        };
        let ipv4 = dl_type == ether_type::IPV4;
        let ipv6 = dl_type == ether_type::IPV6;
        let arp = matches!(dl_type, ether_type::ARP | ether_type::RARP);
        let proto = self.flow.nw_proto;
        let icmpv6 = ipv6 && proto == ip_proto::ICMPV6;
        let ports = matches!(proto, ip_proto::TCP | ip_proto::UDP | ip_proto::SCTP);
        let nd = |ty: u8| icmpv6 && self.flow.tp_src.get() == u16::from(ty);
        let solicit = nd(icmpv6::ND_NEIGHBOR_SOLICIT);
        let advert = nd(icmpv6::ND_NEIGHBOR_ADVERT);

        let masks = &mut self.wildcards.masks;
        if !ethernet {
            masks.dl_src = Default::default();
            masks.dl_dst = Default::default();
        }
        if !(ipv4 || arp) {
            masks.nw_src = [0; 4];
            masks.nw_dst = [0; 4];
        }
        if !((ipv4 || ipv6) && ports || ipv4 && proto == ip_proto::ICMP || icmpv6) {
            masks.tp_src = 0.into();
            masks.tp_dst = 0.into();
        }
        if !(ipv4 || ipv6 || arp) {
            masks.nw_proto = 0;
        }
        if !(ipv4 || ipv6) {
            masks.nw_tos = 0;
            masks.nw_ttl = 0;
        }
        if !(arp || solicit) {
            masks.arp_sha = Default::default();
        }
        if !(arp || advert) {
            masks.arp_tha = Default::default();
        }
        if !ipv6 {
            masks.ipv6_src = [0; 16];
            masks.ipv6_dst = [0; 16];
            masks.ipv6_label = 0.into();
        }
        if !(solicit || advert) {
            masks.nd_target = [0; 16];
        }
        if !ether_type::is_mpls(dl_type) {
            masks.mpls_lse = Default::default();
        }
        self.zero_wildcarded();
        *self != before
    }
}

/// Words that stand for an Ethernet type and perhaps an IP protocol.
pub(super) const PROTOCOLS: [(&str, u16, u8); 17] = [
    ("ip", ether_type::IPV4, 0),
    ("ipv4", ether_type::IPV4, 0),
    ("ip4", ether_type::IPV4, 0),
    ("arp", ether_type::ARP, 0),
    ("icmp", ether_type::IPV4, ip_proto::ICMP),
    ("tcp", ether_type::IPV4, ip_proto::TCP),
    ("udp", ether_type::IPV4, ip_proto::UDP),
    ("sctp", ether_type::IPV4, ip_proto::SCTP),
    ("ipv6", ether_type::IPV6, 0),
    ("ip6", ether_type::IPV6, 0),
    ("icmp6", ether_type::IPV6, ip_proto::ICMPV6),
    ("tcp6", ether_type::IPV6, ip_proto::TCP),
    ("udp6", ether_type::IPV6, ip_proto::UDP),
    ("sctp6", ether_type::IPV6, ip_proto::SCTP),
    ("rarp", ether_type::RARP, 0),
    ("mpls", ether_type::MPLS, 0),
    ("mplsm", ether_type::MPLS_MCAST, 0),
];
