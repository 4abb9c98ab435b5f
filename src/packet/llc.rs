//! IEEE 802.2 link control with the subnetwork access protocol, behind an 802.3 length.
//! Plain values: any thread.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Be16;

/// LLC and SNAP headers.
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
pub struct LlcSnapHeader {
    /// Destination service access point.
    pub dsap: u8,
    /// Source service access point.
    pub ssap: u8,
    /// Control field.
    pub control: u8,
    /// Organisation.
    pub org: [u8; 3],
    /// Ethernet type, for organisation 0.
    pub ether_type: Be16,
}

impl LlcSnapHeader {
    /// True when [`ether_type`](Self::ether_type) is an Ethernet type: both access points say SNAP,
    /// the frame is unnumbered information and the organisation is 0.
    pub fn carries_ethernet_type(&self) -> bool {
        (self.dsap, self.ssap, self.control) == (0xaa, 0xaa, 3) && self.org == [0; 3]
    }
}

/// IEEE 802.2 header without SNAP, as spanning tree uses it.
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
pub struct LlcHeader {
    /// Destination service access point.
    pub dsap: u8,
    /// Source service access point.
    pub ssap: u8,
    /// Control field.
    pub control: u8,
}
