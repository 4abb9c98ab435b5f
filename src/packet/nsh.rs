//! Network Service Header (RFC 8300).
//! Plain values: any thread.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Be16, Be32};

/// Base and service path headers; context headers follow.
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
pub struct NshHeader {
    /// Version (2 bits), flags (2), time to live (6), length in 32-bit words (6).
    pub base: Be16,
    /// Metadata type.
    pub md_type: u8,
    /// Protocol of the payload.
    pub next_proto: u8,
    /// Service path identifier (24 bits) and service index (8 bits).
    pub path: Be32,
}

/// The context headers of metadata type 1.
pub type Md1Context = [Be32; 4];

/// Bytes of [`NshHeader`].
pub const NSH_BASE_LEN: usize = size_of::<NshHeader>();
/// Bytes of the whole header for metadata type 1.
pub const NSH_MD1_LEN: usize = NSH_BASE_LEN + size_of::<Md1Context>();
/// `md_type`: four fixed context headers.
pub const MD_TYPE1: u8 = 1;
/// `md_type`: variable context headers.
pub const MD_TYPE2: u8 = 2;

/// Values of [`NshHeader::next_proto`].
pub mod next_proto {
    /// IPv4.
    pub const IPV4: u8 = 1;
    /// IPv6.
    pub const IPV6: u8 = 2;
    /// Ethernet.
    pub const ETHERNET: u8 = 3;
    /// Another NSH.
    pub const NSH: u8 = 4;
    /// MPLS.
    pub const MPLS: u8 = 5;
}

impl NshHeader {
    /// Puts `base` together; excess bits of the arguments are dropped. `len` is in bytes.
    pub fn base(flags: u8, ttl: u8, len: usize) -> Be16 {
        let word = u16::from(flags & 3) << 12 | u16::from(ttl & 63) << 6 | (len / 4) as u16 & 63;
        word.into()
    }

    /// Version; 0 is the only one.
    pub fn version(&self) -> u8 {
        (self.base.get() >> 14) as u8
    }

    /// The O bit (2) and an unassigned one (1).
    pub fn flags(&self) -> u8 {
        (self.base.get() >> 12) as u8 & 3
    }

    /// Time to live, 6 bits.
    pub fn ttl(&self) -> u8 {
        (self.base.get() >> 6) as u8 & 63
    }

    /// Bytes of the whole header with its context, as it says.
    pub fn header_len(&self) -> usize {
        usize::from(self.base.get() & 63) * 4
    }
}
