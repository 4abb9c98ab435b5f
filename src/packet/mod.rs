//! Packet headers as views over bytes, and checksums.
//!
//! One protocol, one file. A header is a plain structure without alignment, laid over the bytes with
//! [`header`] or [`header_mut`]; fields that share a byte have accessors. The same structure, filled
//! in and turned into bytes, builds a packet.
//!
//! What always holds: a view only says that there are enough bytes, not that their contents make
//! sense; each file says what else to check (`is_sane` and the like) before believing lengths. No
//! function here panics, whatever the bytes. Plain values: any thread.

pub mod arp;
pub mod csum;
pub mod ethernet;
pub mod icmp;
pub mod icmpv6;
pub mod igmp;
pub mod ipv4;
pub mod ipv6;
pub mod llc;
pub mod mpls;
pub mod nsh;
pub mod sctp;
pub mod tcp;
pub mod udp;
pub mod vlan;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A 16-bit field in network byte order.
pub type Be16 = zerocopy::network_endian::U16;
/// A 32-bit field in network byte order.
pub type Be32 = zerocopy::network_endian::U32;
/// A 64-bit field in network byte order.
pub type Be64 = zerocopy::network_endian::U64;

/// Lays a header over the start of `bytes`; also returns what follows it. `None` when there are too
/// few bytes.
pub fn header<T>(bytes: &[u8]) -> Option<(&T, &[u8])>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    T::ref_from_prefix(bytes).ok()
}

/// Like [`header`], to change the bytes.
pub fn header_mut<T>(bytes: &mut [u8]) -> Option<(&mut T, &mut [u8])>
where
    T: FromBytes + IntoBytes + KnownLayout + Unaligned,
{
    T::mut_from_prefix(bytes).ok()
}

/// Ethernet types (IEEE 802 numbers).
pub mod ether_type {
    /// Smallest value of the type field that is a type; below it is a length.
    pub const MIN: u16 = 0x0600;
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// Transparent Ethernet bridging.
    pub const TEB: u16 = 0x6558;
    /// Reverse ARP.
    pub const RARP: u16 = 0x8035;
    /// VLAN tag (802.1Q).
    pub const VLAN_8021Q: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// Slow protocols: LACP, link OAM.
    pub const LACP: u16 = 0x8809;
    /// MPLS unicast.
    pub const MPLS: u16 = 0x8847;
    /// MPLS multicast.
    pub const MPLS_MCAST: u16 = 0x8848;
    /// Service VLAN tag (802.1ad).
    pub const VLAN_8021AD: u16 = 0x88a8;
    /// Link layer discovery.
    pub const LLDP: u16 = 0x88cc;
    /// Connectivity fault management.
    pub const CFM: u16 = 0x8902;
    /// Network Service Header.
    pub const NSH: u16 = 0x894f;

    /// True for the types of a VLAN tag.
    pub fn is_vlan(ty: u16) -> bool {
        ty == VLAN_8021Q || ty == VLAN_8021AD
    }

    /// True for the types of an MPLS label stack.
    pub fn is_mpls(ty: u16) -> bool {
        ty == MPLS || ty == MPLS_MCAST
    }
}

/// IP protocol numbers (IANA).
pub mod ip_proto {
    /// IPv6 hop-by-hop options.
    pub const HOPOPTS: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// IGMP.
    pub const IGMP: u8 = 2;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// GRE.
    pub const GRE: u8 = 47;
    /// Authentication header.
    pub const AH: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6: nothing follows.
    pub const NONE: u8 = 59;
    /// IPv6 destination options.
    pub const DSTOPTS: u8 = 60;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

#[cfg(test)]
mod tests;
