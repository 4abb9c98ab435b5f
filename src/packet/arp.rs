//! ARP for Ethernet and IPv4 (RFC 826), and reverse ARP (RFC 903), which has the same shape.
//! Plain values: any thread.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Be16;
use super::ether_type;
use super::ethernet::{EthAddr, EthernetHeader};

/// The packet.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct ArpHeader {
    /// Hardware type: 1.
    pub hw_type: Be16,
    /// Protocol: 0x0800.
    pub proto: Be16,
    /// Bytes of a hardware address: 6.
    pub hw_len: u8,
    /// Bytes of a protocol address: 4.
    pub proto_len: u8,
    /// Operation.
    pub op: Be16,
    /// Sender hardware address.
    pub sha: EthAddr,
    /// Sender protocol address.
    pub spa: [u8; 4],
    /// Target hardware address.
    pub tha: EthAddr,
    /// Target protocol address.
    pub tpa: [u8; 4],
}

/// `op`: request.
pub const OP_REQUEST: u16 = 1;
/// `op`: reply.
pub const OP_REPLY: u16 = 2;
/// `op`: reverse request.
pub const OP_RARP: u16 = 3;
/// Bytes of a packet.
pub const ARP_LEN: usize = size_of::<ArpHeader>();

impl ArpHeader {
    /// A packet for Ethernet and IPv4.
    pub fn new(op: u16, sha: EthAddr, spa: [u8; 4], tha: EthAddr, tpa: [u8; 4]) -> Self {
        Self {
            hw_type: 1.into(),
            proto: ether_type::IPV4.into(),
            hw_len: 6,
            proto_len: 4,
            op: op.into(),
            sha,
            spa,
            tha,
            tpa,
        }
    }

    /// True when the addresses are of Ethernet and IPv4.
    pub fn is_ethernet_ipv4(&self) -> bool {
        self.hw_type.get() == 1
            && self.proto.get() == ether_type::IPV4
            && self.hw_len == 6
            && self.proto_len == 4
    }

    /// The whole frame of a request for `tpa`, broadcast.
    pub fn request_frame(sha: EthAddr, spa: [u8; 4], tpa: [u8; 4]) -> Vec<u8> {
        let arp = Self::new(OP_REQUEST, sha, spa, EthAddr::ZERO, tpa);
        arp.frame(EthAddr::BROADCAST, sha)
    }

    /// The packet in an Ethernet frame.
    pub fn frame(&self, dst: EthAddr, src: EthAddr) -> Vec<u8> {
        let eth = EthernetHeader { dst, src, ether_type: ether_type::ARP.into() };
        [eth.as_bytes(), self.as_bytes()].concat()
    }
}
