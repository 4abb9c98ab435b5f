//! UDP header (RFC 768).
//! Plain values: any thread.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Be16;

/// The header.
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
pub struct UdpHeader {
    /// Source port.
    pub src: Be16,
    /// Destination port.
    pub dst: Be16,
    /// Bytes of header and payload.
    pub len: Be16,
    /// Checksum over pseudo header, header and payload; 0 for none.
    pub checksum: Be16,
}

/// Bytes of a header.
pub const UDP_HEADER_LEN: usize = size_of::<UdpHeader>();
