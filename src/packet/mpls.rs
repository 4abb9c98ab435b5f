//! MPLS label stack entries (RFC 3032).
//! Plain values: any thread.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Be32;

/// Label bits.
pub const MPLS_LABEL_MASK: u32 = 0xffff_f000;
/// Traffic class bits.
pub const MPLS_TC_MASK: u32 = 0x0000_0e00;
/// Bottom of stack bit.
pub const MPLS_BOS_MASK: u32 = 0x0000_0100;
/// Time to live bits.
pub const MPLS_TTL_MASK: u32 = 0x0000_00ff;

/// One label stack entry.
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
pub struct MplsLse(pub Be32);

impl MplsLse {
    /// Puts an entry together; excess bits of the arguments are dropped.
    pub fn new(label: u32, tc: u8, bos: bool, ttl: u8) -> Self {
        let word = (label & 0xf_ffff) << 12
            | u32::from(tc & 7) << 9
            | u32::from(bos) << 8
            | u32::from(ttl);
        Self(word.into())
    }

    /// Label, 20 bits.
    pub fn label(self) -> u32 {
        self.0.get() >> 12
    }

    /// Traffic class, 3 bits.
    pub fn tc(self) -> u8 {
        (self.0.get() >> 9) as u8 & 7
    }

    /// True for the last entry of a stack.
    pub fn bos(self) -> bool {
        self.0.get() & MPLS_BOS_MASK != 0
    }

    /// Time to live.
    pub fn ttl(self) -> u8 {
        self.0.get() as u8
    }
}

/// Bytes of an entry.
pub const MPLS_LSE_LEN: usize = size_of::<MplsLse>();
