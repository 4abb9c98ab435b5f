//! ICMP header (RFC 792).
//! Plain values: any thread.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Be16;

/// Type, code, checksum and four bytes whose meaning the type decides.
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
pub struct IcmpHeader {
    /// Type.
    pub ty: u8,
    /// Code.
    pub code: u8,
    /// Checksum over header and payload.
    pub checksum: Be16,
    /// Identifier and sequence number of an echo, and others.
    pub rest: [u8; 4],
}

/// Bytes of a header.
pub const ICMP_HEADER_LEN: usize = size_of::<IcmpHeader>();
/// `ty`: echo reply.
pub const ECHO_REPLY: u8 = 0;
/// `ty`: echo request.
pub const ECHO_REQUEST: u8 = 8;
