//! The flow: everything a switching decision may read about a packet, at a fixed place.
//!
//! [`Flow`] is a plain block of [`FLOW_WORDS`] 64-bit words without padding, so that the classifier
//! and the wildcards can treat it as words, while the rest of the code names fields. A
//! [`FlowWildcards`] is a `Flow` whose 1-bits say which bits matter.
//!
//! What always holds: a field that the packet does not have is zero, and unused bytes are zero
//! (flows compare and hash as words). In wildcards a false 1-bit costs a cache entry, a false
//! 0-bit forwards packets wrongly. Fields stand in the order of the layers, in four segments
//! ([`SEGMENT_ENDS`]), because the classifier looks at one segment after the other and stops as
//! early as it can.
//!
//! Addresses and ports are kept as they stand in the packet; numbers that only the switch gives
//! meaning to (ports, marks, registers, conntrack zone) are in host order. Plain values: any
//! thread.

pub mod compose;
pub mod extract;
pub mod field;
pub mod format;
pub mod hash;
pub mod matching;
pub mod mini;
pub mod parse;
pub mod port;
mod presence;
mod stack;
pub mod tracked;

use std::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use self::field::Field;
pub use self::matching::Match;
pub use self::port::OfPort;
pub use crate::packet::ethernet::EthAddr;
pub use crate::packet::vlan::{VLAN_CFI, VLAN_PCP_MASK, VLAN_VID_MASK};
pub use crate::packet::{Be16, Be32, Be64};

/// OpenFlow registers of 32 bits that a flow carries (`reg0`…`reg15`).
pub const FLOW_N_REGS: usize = 16;
/// VLAN headers that a flow can hold.
pub const FLOW_MAX_VLAN_HEADERS: usize = 2;
/// MPLS labels that a flow can hold.
pub const FLOW_MAX_MPLS_LABELS: usize = 3;
/// `dl_type` of a frame that has no Ethernet type (802.3 with LLC but no SNAP).
pub const FLOW_DL_TYPE_NONE: u16 = 0x05ff;
/// `nw_frag`: any fragment.
pub const FLOW_NW_FRAG_ANY: u8 = 1;
/// `nw_frag`: a fragment with a non-zero offset.
pub const FLOW_NW_FRAG_LATER: u8 = 2;

/// One VLAN header; all zero where the packet has none at this depth.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct VlanHdr {
    /// Ethernet type of the tag: 0x8100 or 0x88a8.
    pub tpid: Be16,
    /// Priority, [`VLAN_CFI`] (always set when there is a header) and VLAN id.
    pub tci: Be16,
}

/// Geneve options of a tunnel packet, as they came or as the TLV map placed them.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TunMetadata {
    /// Which mapped fields are present (bit per TLV-map entry); 0 for raw options.
    pub present: u64,
    /// Bytes of raw options in `opts`.
    pub len: u8,
    /// Zero.
    pub pad: [u8; 7],
    /// Raw options, or mapped values.
    pub opts: [u8; 256],
}

/// What a tunnel header said, or shall say.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowTnl {
    /// Outer IPv4 destination; with `ipv6_dst` zero too there is no tunnel.
    pub ip_dst: [u8; 4],
    /// Outer IPv4 source.
    pub ip_src: [u8; 4],
    /// Outer IPv6 destination.
    pub ipv6_dst: [u8; 16],
    /// Outer IPv6 source.
    pub ipv6_src: [u8; 16],
    /// Tunnel key.
    pub tun_id: Be64,
    /// [`tnl_flags`].
    pub flags: u16,
    /// Outer type of service.
    pub ip_tos: u8,
    /// Outer time to live.
    pub ip_ttl: u8,
    /// Outer source port.
    pub tp_src: Be16,
    /// Outer destination port.
    pub tp_dst: Be16,
    /// VXLAN group policy id.
    pub gbp_id: Be16,
    /// VXLAN group policy flags.
    pub gbp_flags: u8,
    /// ERSPAN version.
    pub erspan_ver: u8,
    /// ERSPAN v1 index.
    pub erspan_idx: u32,
    /// ERSPAN v2 direction.
    pub erspan_dir: u8,
    /// ERSPAN v2 hardware id.
    pub erspan_hwid: u8,
    /// GTP-U flags.
    pub gtpu_flags: u8,
    /// GTP-U message type.
    pub gtpu_msgtype: u8,
    /// Zero.
    pub pad: [u8; 4],
    /// Geneve options.
    pub metadata: TunMetadata,
}

/// Bits of [`FlowTnl::flags`].
pub mod tnl_flags {
    /// An operations frame (Geneve O bit).
    pub const OAM: u16 = 1;
    /// Outer don't-fragment bit.
    pub const DONT_FRAGMENT: u16 = 2;
    /// Outer checksum is there.
    pub const CSUM: u16 = 4;
    /// `tun_id` is there.
    pub const KEY: u16 = 8;
    /// `metadata` holds raw options rather than mapped values.
    pub const UDPIF: u16 = 16;
}

impl FlowTnl {
    /// True when a tunnel destination is set, which is what says that there is tunnel metadata.
    pub fn dst_is_set(&self) -> bool {
        self.ip_dst != [0; 4] || self.ipv6_dst != [0; 16]
    }
}

/// Network Service Header (RFC 8300).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct FlowNsh {
    /// Flags.
    pub flags: u8,
    /// Time to live.
    pub ttl: u8,
    /// Metadata type.
    pub mdtype: u8,
    /// Next protocol.
    pub np: u8,
    /// Service path identifier (24 bits) and service index (8 bits).
    pub path_hdr: Be32,
    /// Fixed-length context headers of metadata type 1.
    pub context: [Be32; 4],
}

/// Everything a decision may read about a packet. See the module's page.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Flow {
    // Segment 0: metadata.
    /// Tunnel the packet came through, or shall leave by.
    pub tunnel: FlowTnl,
    /// OpenFlow metadata.
    pub metadata: Be64,
    /// Registers.
    pub regs: [u32; FLOW_N_REGS],
    /// Packet priority for queueing (`skb->priority`).
    pub skb_priority: u32,
    /// Packet mark (`skb->mark`).
    pub pkt_mark: u32,
    /// Hash computed by the datapath for this packet.
    pub dp_hash: u32,
    /// Port the packet came in by: a datapath number in `odp`, an OpenFlow number in `xlate`
    /// and the classifier.
    pub in_port: u32,
    /// Recirculation id; 0 for a packet fresh from its port.
    pub recirc_id: u32,
    /// Connection tracking state bits ([`ct_state`]).
    pub ct_state: u8,
    /// Protocol of the connection's original direction.
    pub ct_nw_proto: u8,
    /// Connection tracking zone.
    pub ct_zone: u16,
    /// Connection mark.
    pub ct_mark: u32,
    /// Packet type: 0 for Ethernet, otherwise name space and type (OpenFlow 1.5 section 7.2.3.11).
    pub packet_type: Be32,
    /// Connection label, as 128 bits in network order.
    pub ct_label: [u8; 16],
    /// Conjunction id.
    pub conj_id: u32,
    /// Output port in the action set.
    pub actset_output: u32,

    // Segment 1: link layer.
    /// Ethernet destination.
    pub dl_dst: EthAddr,
    /// Ethernet source.
    pub dl_src: EthAddr,
    /// Ethernet type behind any VLAN headers; [`FLOW_DL_TYPE_NONE`] where there is none.
    pub dl_type: Be16,
    /// Zero.
    pub pad1: [u8; 2],
    /// VLAN headers, outermost first.
    pub vlans: [VlanHdr; FLOW_MAX_VLAN_HEADERS],
    /// MPLS label stack entries, outermost first; the fourth is padding and zero.
    pub mpls_lse: [Be32; FLOW_MAX_MPLS_LABELS + 1],

    // Segment 2: network layer.
    /// IPv4 source, or ARP sender.
    pub nw_src: [u8; 4],
    /// IPv4 destination, or ARP target.
    pub nw_dst: [u8; 4],
    /// IPv4 source of the connection's original direction.
    pub ct_nw_src: [u8; 4],
    /// IPv4 destination of the connection's original direction.
    pub ct_nw_dst: [u8; 4],
    /// IPv6 source.
    pub ipv6_src: [u8; 16],
    /// IPv6 destination.
    pub ipv6_dst: [u8; 16],
    /// IPv6 source of the connection's original direction.
    pub ct_ipv6_src: [u8; 16],
    /// IPv6 destination of the connection's original direction.
    pub ct_ipv6_dst: [u8; 16],
    /// IPv6 flow label, 20 bits.
    pub ipv6_label: Be32,
    /// [`FLOW_NW_FRAG_ANY`], [`FLOW_NW_FRAG_LATER`].
    pub nw_frag: u8,
    /// Type of service: DSCP and ECN.
    pub nw_tos: u8,
    /// Time to live, or hop limit.
    pub nw_ttl: u8,
    /// IP protocol, or the low 8 bits of the ARP opcode.
    pub nw_proto: u8,

    // Segment 3: transport layer.
    /// Neighbour discovery target.
    pub nd_target: [u8; 16],
    /// ARP sender hardware address, or ND source link-layer address.
    pub arp_sha: EthAddr,
    /// ARP target hardware address, or ND target link-layer address.
    pub arp_tha: EthAddr,
    /// TCP flags (12 bits), or the ND options type.
    pub tcp_flags: Be16,
    /// Zero.
    pub pad2: [u8; 2],
    /// Network Service Header.
    pub nsh: FlowNsh,
    /// TCP, UDP or SCTP source port, or ICMP type.
    pub tp_src: Be16,
    /// TCP, UDP or SCTP destination port, or ICMP code.
    pub tp_dst: Be16,
    /// Source port of the connection's original direction.
    pub ct_tp_src: Be16,
    /// Destination port of the connection's original direction.
    pub ct_tp_dst: Be16,
    /// IGMP group, or the reserved field of neighbour discovery.
    pub igmp_group_ip4: [u8; 4],
    /// Zero.
    pub pad3: [u8; 4],
}

/// Bits of [`Flow::ct_state`].
pub mod ct_state {
    /// Beginning of a new connection.
    pub const NEW: u8 = 0x01;
    /// Part of an existing connection.
    pub const ESTABLISHED: u8 = 0x02;
    /// Related to an established connection.
    pub const RELATED: u8 = 0x04;
    /// In the reply direction.
    pub const REPLY_DIR: u8 = 0x08;
    /// Could not be tracked.
    pub const INVALID: u8 = 0x10;
    /// Went through connection tracking.
    pub const TRACKED: u8 = 0x20;
    /// Source was translated.
    pub const SRC_NAT: u8 = 0x40;
    /// Destination was translated.
    pub const DST_NAT: u8 = 0x80;
}

/// 64-bit words in a [`Flow`].
pub const FLOW_WORDS: usize = size_of::<Flow>() / 8;

/// Word index at which each of the four segments ends: metadata, link, network, transport.
pub const SEGMENT_ENDS: [usize; 4] = [
    std::mem::offset_of!(Flow, dl_dst) / 8,
    std::mem::offset_of!(Flow, nw_src) / 8,
    std::mem::offset_of!(Flow, nd_target) / 8,
    FLOW_WORDS,
];

const _: () = {
    assert!(FLOW_WORDS < 128, "a word map is a u128");
    assert!(std::mem::offset_of!(Flow, dl_dst).is_multiple_of(8));
    assert!(std::mem::offset_of!(Flow, nw_src).is_multiple_of(8));
    assert!(std::mem::offset_of!(Flow, nd_target).is_multiple_of(8));
};

impl Flow {
    /// The flow of no packet.
    pub const ZERO: Self = zerocopy::transmute!([0u64; FLOW_WORDS]);

    /// The flow as words.
    pub fn words(&self) -> &[u64; FLOW_WORDS] {
        zerocopy::transmute_ref!(self)
    }

    /// The flow as words to change.
    pub fn words_mut(&mut self) -> &mut [u64; FLOW_WORDS] {
        zerocopy::transmute_mut!(self)
    }

    /// True for IPv4 and IPv6.
    pub fn is_ip_any(&self) -> bool {
        matches!(self.dl_type.get(), 0x0800 | 0x86dd)
    }

    /// Number of VLAN headers.
    pub fn vlan_count(&self) -> usize {
        self.vlans.iter().take_while(|v| v.tci.get() & VLAN_CFI != 0).count()
    }
}

impl fmt::Debug for Flow {
    /// The words that are not zero, by their places.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        mini::MiniFlow::new(self).fmt(f)
    }
}

impl Default for Flow {
    fn default() -> Self {
        Self::ZERO
    }
}

/// Which bits of a flow matter: a 1-bit is significant, a 0-bit is wildcarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FlowWildcards {
    /// The bits, at the places of the fields they speak of.
    pub masks: Flow,
}

impl FlowWildcards {
    /// Nothing matters.
    pub const CATCHALL: Self = Self { masks: Flow::ZERO };

    /// Everything matters.
    pub const EXACT: Self = Self { masks: zerocopy::transmute!([u64::MAX; FLOW_WORDS]) };

    /// Adds the significant bits of `other` to these.
    pub fn fold(&mut self, other: &Self) {
        for (mine, theirs) in self.masks.words_mut().iter_mut().zip(other.masks.words()) {
            *mine |= theirs;
        }
    }

    /// True when every significant bit of `other` is significant here too.
    pub fn covers(&self, other: &Self) -> bool {
        self.masks.words().iter().zip(other.masks.words()).all(|(mine, theirs)| theirs & !mine == 0)
    }

    /// True when `a` and `b` agree in every significant bit.
    pub fn equal_except(&self, a: &Flow, b: &Flow) -> bool {
        self.masks.words().iter().zip(a.words()).zip(b.words()).all(|((m, a), b)| (a ^ b) & m == 0)
    }
}
