//! The fixed structures of `linux/openvswitch.h`, as views of unaligned bytes.
//!
//! Integers of the header's `__u32` and the like are in host order, those of its `__be32` kind in
//! network order. The padding that a C compiler adds at the end is a field, because the kernel
//! counts it in the length of the attribute; it is zero in all that the kernel sends.
//!
//! Plain data: any thread.
#![allow(non_camel_case_types)]

use zerocopy::byteorder::{native_endian as ne, network_endian as be};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::*;

/// Gives a structure C layout and byte views.
macro_rules! plain {
    ($($item:item)*) => {$(
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
        #[repr(C)]
        $item
    )*};
}

plain! {
    /// Follows the Generic Netlink header in every message of every family.
    pub struct ovs_header {
        /// Ifindex of the datapath's local device; 0 where a request names the datapath otherwise.
        pub dp_ifindex: ne::I32,
    }

    /// [`OVS_DP_ATTR_STATS`].
    pub struct ovs_dp_stats {
        /// Packets that matched a flow.
        pub n_hit: ne::U64,
        /// Packets that matched none.
        pub n_missed: ne::U64,
        /// Misses that did not reach user space.
        pub n_lost: ne::U64,
        /// Flows installed.
        pub n_flows: ne::U64,
    }

    /// [`OVS_DP_ATTR_MEGAFLOW_STATS`].
    pub struct ovs_dp_megaflow_stats {
        /// Masks tried by all look-ups together.
        pub n_mask_hit: ne::U64,
        /// Masks in use.
        pub n_masks: ne::U32,
        /// Reserved.
        pub pad0: ne::U32,
        /// Look-ups that the mask cache answered (Linux 5.10).
        pub n_cache_hit: ne::U64,
        /// Reserved.
        pub pad1: ne::U64,
    }

    /// [`OVS_VPORT_ATTR_STATS`].
    pub struct ovs_vport_stats {
        /// Packets received.
        pub rx_packets: ne::U64,
        /// Packets sent.
        pub tx_packets: ne::U64,
        /// Bytes received.
        pub rx_bytes: ne::U64,
        /// Bytes sent.
        pub tx_bytes: ne::U64,
        /// Bad packets received.
        pub rx_errors: ne::U64,
        /// Packets that could not be sent.
        pub tx_errors: ne::U64,
        /// Dropped on receive for want of buffers.
        pub rx_dropped: ne::U64,
        /// Dropped on send for want of buffers.
        pub tx_dropped: ne::U64,
    }

    /// Statistics of a flow, a meter or a band.
    pub struct ovs_flow_stats {
        /// Packets matched.
        pub n_packets: ne::U64,
        /// Bytes of those packets.
        pub n_bytes: ne::U64,
    }

    /// [`OVS_KEY_ATTR_ETHERNET`].
    pub struct ovs_key_ethernet {
        /// Source.
        pub eth_src: [u8; 6],
        /// Destination.
        pub eth_dst: [u8; 6],
    }

    /// One entry of [`OVS_KEY_ATTR_MPLS`].
    pub struct ovs_key_mpls {
        /// Label stack entry: label, traffic class, bottom of stack, TTL.
        pub mpls_lse: be::U32,
    }

    /// [`OVS_KEY_ATTR_IPV4`].
    pub struct ovs_key_ipv4 {
        /// Source.
        pub ipv4_src: [u8; 4],
        /// Destination.
        pub ipv4_dst: [u8; 4],
        /// Protocol.
        pub ipv4_proto: u8,
        /// TOS byte.
        pub ipv4_tos: u8,
        /// TTL.
        pub ipv4_ttl: u8,
        /// `OVS_FRAG_TYPE_*`.
        pub ipv4_frag: u8,
    }

    /// [`OVS_KEY_ATTR_IPV6`].
    pub struct ovs_key_ipv6 {
        /// Source.
        pub ipv6_src: [u8; 16],
        /// Destination.
        pub ipv6_dst: [u8; 16],
        /// Flow label in the low 20 bits.
        pub ipv6_label: be::U32,
        /// Protocol after the extension headers.
        pub ipv6_proto: u8,
        /// Traffic class.
        pub ipv6_tclass: u8,
        /// Hop limit.
        pub ipv6_hlimit: u8,
        /// `OVS_FRAG_TYPE_*`.
        pub ipv6_frag: u8,
    }

    /// [`OVS_KEY_ATTR_IPV6_EXTHDRS`].
    pub struct ovs_key_ipv6_exthdrs {
        /// Extension headers seen, one bit each, and whether their order is the recommended one.
        pub hdrs: ne::U16,
    }

    /// [`OVS_KEY_ATTR_TCP`].
    pub struct ovs_key_tcp {
        /// Source port.
        pub tcp_src: be::U16,
        /// Destination port.
        pub tcp_dst: be::U16,
    }

    /// [`OVS_KEY_ATTR_UDP`].
    pub struct ovs_key_udp {
        /// Source port.
        pub udp_src: be::U16,
        /// Destination port.
        pub udp_dst: be::U16,
    }

    /// [`OVS_KEY_ATTR_SCTP`].
    pub struct ovs_key_sctp {
        /// Source port.
        pub sctp_src: be::U16,
        /// Destination port.
        pub sctp_dst: be::U16,
    }

    /// [`OVS_KEY_ATTR_ICMP`].
    pub struct ovs_key_icmp {
        /// Type.
        pub icmp_type: u8,
        /// Code.
        pub icmp_code: u8,
    }

    /// [`OVS_KEY_ATTR_ICMPV6`].
    pub struct ovs_key_icmpv6 {
        /// Type.
        pub icmpv6_type: u8,
        /// Code.
        pub icmpv6_code: u8,
    }

    /// [`OVS_KEY_ATTR_ARP`].
    pub struct ovs_key_arp {
        /// Sender protocol address.
        pub arp_sip: [u8; 4],
        /// Target protocol address.
        pub arp_tip: [u8; 4],
        /// Operation.
        pub arp_op: be::U16,
        /// Sender hardware address.
        pub arp_sha: [u8; 6],
        /// Target hardware address.
        pub arp_tha: [u8; 6],
        /// Padding.
        pub pad: [u8; 2],
    }

    /// [`OVS_KEY_ATTR_ND`].
    pub struct ovs_key_nd {
        /// Target address.
        pub nd_target: [u8; 16],
        /// Source link-layer address.
        pub nd_sll: [u8; 6],
        /// Target link-layer address.
        pub nd_tll: [u8; 6],
    }

    /// [`OVS_KEY_ATTR_CT_LABELS`].
    pub struct ovs_key_ct_labels {
        /// Labels, as the tracker stores them.
        pub ct_labels: [u8; OVS_CT_LABELS_LEN],
    }

    /// [`OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4`].
    pub struct ovs_key_ct_tuple_ipv4 {
        /// Source of the connection's first packet.
        pub ipv4_src: [u8; 4],
        /// Destination of the connection's first packet.
        pub ipv4_dst: [u8; 4],
        /// Source port, or ICMP type.
        pub src_port: be::U16,
        /// Destination port, or ICMP code.
        pub dst_port: be::U16,
        /// Protocol; 0 says that the packet is not tracked.
        pub ipv4_proto: u8,
        /// Padding.
        pub pad: [u8; 3],
    }

    /// [`OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6`].
    pub struct ovs_key_ct_tuple_ipv6 {
        /// Source of the connection's first packet.
        pub ipv6_src: [u8; 16],
        /// Destination of the connection's first packet.
        pub ipv6_dst: [u8; 16],
        /// Source port, or ICMP type.
        pub src_port: be::U16,
        /// Destination port, or ICMP code.
        pub dst_port: be::U16,
        /// Protocol; 0 says that the packet is not tracked.
        pub ipv6_proto: u8,
        /// Padding.
        pub pad: [u8; 3],
    }

    /// [`OVS_NSH_KEY_ATTR_BASE`].
    pub struct ovs_nsh_key_base {
        /// Version and flags.
        pub flags: u8,
        /// TTL.
        pub ttl: u8,
        /// Metadata type.
        pub mdtype: u8,
        /// Next protocol.
        pub np: u8,
        /// Service path id (24 bits) and index (8 bits).
        pub path_hdr: be::U32,
    }

    /// [`OVS_NSH_KEY_ATTR_MD1`].
    pub struct ovs_nsh_key_md1 {
        /// Context words.
        pub context: [be::U32; NSH_MD1_CONTEXT_SIZE],
    }

    /// [`OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS`], of `linux/erspan.h`.
    pub struct erspan_metadata {
        /// 1 or 2.
        pub version: ne::I32,
        /// Version 1: the index as be32, then 4 unused bytes. Version 2: timestamp as be32, group tag as be16, flags, direction and hardware id.
        pub u: [u8; 8],
    }

    /// [`OVS_ACTION_ATTR_TRUNC`].
    pub struct ovs_action_trunc {
        /// Largest length of the packet, in bytes; the kernel takes no less than 14.
        pub max_len: ne::U32,
    }

    /// [`OVS_ACTION_ATTR_PUSH_MPLS`].
    pub struct ovs_action_push_mpls {
        /// Label stack entry.
        pub mpls_lse: be::U32,
        /// 0x8847 or 0x8848.
        pub mpls_ethertype: be::U16,
        /// Padding.
        pub pad: [u8; 2],
    }

    /// [`OVS_ACTION_ATTR_ADD_MPLS`].
    pub struct ovs_action_add_mpls {
        /// Label stack entry.
        pub mpls_lse: be::U32,
        /// 0x8847 or 0x8848.
        pub mpls_ethertype: be::U16,
        /// [`OVS_MPLS_L3_TUNNEL_FLAG_MASK`] or 0.
        pub tun_flags: ne::U16,
    }

    /// [`OVS_ACTION_ATTR_PUSH_VLAN`].
    pub struct ovs_action_push_vlan {
        /// 0x8100 or 0x88a8.
        pub vlan_tpid: be::U16,
        /// TCI, with bit 0x1000 set.
        pub vlan_tci: be::U16,
    }

    /// [`OVS_ACTION_ATTR_PUSH_ETH`].
    pub struct ovs_action_push_eth {
        /// Addresses of the new header.
        pub addresses: ovs_key_ethernet,
    }

    /// [`OVS_ACTION_ATTR_HASH`].
    pub struct ovs_action_hash {
        /// `OVS_HASH_ALG_*`.
        pub hash_alg: ne::U32,
        /// Basis.
        pub hash_basis: ne::U32,
    }

    /// One entry of [`OVS_CT_LIMIT_ATTR_ZONE_LIMIT`].
    pub struct ovs_zone_limit {
        /// Zone, or [`OVS_ZONE_LIMIT_DEFAULT_ZONE`].
        pub zone_id: ne::I32,
        /// Most connections; 0 is no limit.
        pub limit: ne::U32,
        /// Connections now; in replies only.
        pub count: ne::U32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes from a C compiler over the header of Linux 6.12.
    #[test]
    fn sizes_are_those_of_c() {
        let sizes = [
            ("ovs_header", size_of::<ovs_header>(), 4),
            ("ovs_dp_stats", size_of::<ovs_dp_stats>(), 32),
            ("ovs_dp_megaflow_stats", size_of::<ovs_dp_megaflow_stats>(), 32),
            ("ovs_vport_stats", size_of::<ovs_vport_stats>(), 64),
            ("ovs_flow_stats", size_of::<ovs_flow_stats>(), 16),
            ("ovs_key_ethernet", size_of::<ovs_key_ethernet>(), 12),
            ("ovs_key_mpls", size_of::<ovs_key_mpls>(), 4),
            ("ovs_key_ipv4", size_of::<ovs_key_ipv4>(), 12),
            ("ovs_key_ipv6", size_of::<ovs_key_ipv6>(), 40),
            ("ovs_key_ipv6_exthdrs", size_of::<ovs_key_ipv6_exthdrs>(), 2),
            ("ovs_key_tcp", size_of::<ovs_key_tcp>(), 4),
            ("ovs_key_udp", size_of::<ovs_key_udp>(), 4),
            ("ovs_key_sctp", size_of::<ovs_key_sctp>(), 4),
            ("ovs_key_icmp", size_of::<ovs_key_icmp>(), 2),
            ("ovs_key_icmpv6", size_of::<ovs_key_icmpv6>(), 2),
            ("ovs_key_arp", size_of::<ovs_key_arp>(), 24),
            ("ovs_key_nd", size_of::<ovs_key_nd>(), 28),
            ("ovs_key_ct_labels", size_of::<ovs_key_ct_labels>(), 16),
            ("ovs_key_ct_tuple_ipv4", size_of::<ovs_key_ct_tuple_ipv4>(), 16),
            ("ovs_key_ct_tuple_ipv6", size_of::<ovs_key_ct_tuple_ipv6>(), 40),
            ("ovs_nsh_key_base", size_of::<ovs_nsh_key_base>(), 8),
            ("ovs_nsh_key_md1", size_of::<ovs_nsh_key_md1>(), 16),
            ("erspan_metadata", size_of::<erspan_metadata>(), 12),
            ("ovs_action_trunc", size_of::<ovs_action_trunc>(), 4),
            ("ovs_action_push_mpls", size_of::<ovs_action_push_mpls>(), 8),
            ("ovs_action_add_mpls", size_of::<ovs_action_add_mpls>(), 8),
            ("ovs_action_push_vlan", size_of::<ovs_action_push_vlan>(), 4),
            ("ovs_action_push_eth", size_of::<ovs_action_push_eth>(), 12),
            ("ovs_action_hash", size_of::<ovs_action_hash>(), 8),
            ("ovs_zone_limit", size_of::<ovs_zone_limit>(), 12),
        ];
        for (name, here, c) in sizes {
            assert_eq!(here, c, "{name}");
        }
    }
}
