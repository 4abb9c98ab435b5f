//! VLAN tags (IEEE 802.1Q).
//!
//! The tag control information is priority (3 bits), a bit that the standard calls CFI or DEI and the
//! switch claims for "there is a tag", and the VLAN id (12 bits). Plain values: any thread.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Be16;

/// Bit of a VLAN TCI that says "there is a VLAN header" (the wire's CFI/DEI bit, which the switch
/// claims for this).
pub const VLAN_CFI: u16 = 0x1000;
/// VLAN id bits of a TCI.
pub const VLAN_VID_MASK: u16 = 0x0fff;
/// Priority bits of a TCI.
pub const VLAN_PCP_MASK: u16 = 0xe000;
/// Lowest priority bit of a TCI.
pub const VLAN_PCP_SHIFT: u32 = 13;

/// What stands between the Ethernet addresses and the type: 0x8100 or 0x88a8, and the tag.
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
pub struct VlanTag {
    /// Ethernet type of the tag.
    pub tpid: Be16,
    /// Tag control information.
    pub tci: Be16,
}

impl VlanTag {
    /// VLAN id.
    pub fn vid(&self) -> u16 {
        self.tci.get() & VLAN_VID_MASK
    }

    /// Priority.
    pub fn pcp(&self) -> u8 {
        (self.tci.get() >> VLAN_PCP_SHIFT) as u8
    }
}

/// Bytes of a tag.
pub const VLAN_TAG_LEN: usize = size_of::<VlanTag>();
