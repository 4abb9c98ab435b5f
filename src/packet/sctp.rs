//! SCTP common header (RFC 9260).
//! Plain values: any thread.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Be16, Be32};

/// The common header.
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
pub struct SctpHeader {
    /// Source port.
    pub src: Be16,
    /// Destination port.
    pub dst: Be16,
    /// Verification tag.
    pub vtag: Be32,
    /// CRC-32c over header and chunks, this field zero, lowest byte first.
    pub checksum: [u8; 4],
}

/// Bytes of a header.
pub const SCTP_HEADER_LEN: usize = size_of::<SctpHeader>();
