//! IGMP header (RFC 1112, 2236, 3376).
//! Plain values: any thread.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Be16;

/// What all versions share.
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
pub struct IgmpHeader {
    /// Type.
    pub ty: u8,
    /// Maximum response time of a query; zero otherwise.
    pub code: u8,
    /// Checksum over the whole message.
    pub checksum: Be16,
    /// Group address.
    pub group: [u8; 4],
}

/// Bytes of a header.
pub const IGMP_HEADER_LEN: usize = size_of::<IgmpHeader>();

/// Version 3 report: header, then group records.
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
pub struct Igmpv3Header {
    /// [`HOST_MEMBERSHIP_REPORT_V3`].
    pub ty: u8,
    /// Zero.
    pub reserved1: u8,
    /// Checksum over the whole message.
    pub checksum: Be16,
    /// Zero.
    pub reserved2: Be16,
    /// Number of group records.
    pub group_count: Be16,
}

/// Start of a group record of a version 3 report.
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
pub struct Igmpv3Record {
    /// Record type; see [`record`].
    pub ty: u8,
    /// 32-bit words of auxiliary data behind the sources.
    pub aux_len: u8,
    /// Number of source addresses behind this.
    pub source_count: Be16,
    /// Group address.
    pub group: [u8; 4],
}

/// `ty`: query.
pub const HOST_MEMBERSHIP_QUERY: u8 = 0x11;
/// `ty`: version 1 report.
pub const HOST_MEMBERSHIP_REPORT: u8 = 0x12;
/// `ty`: version 2 report.
pub const HOST_MEMBERSHIP_REPORT_V2: u8 = 0x16;
/// `ty`: leave.
pub const HOST_LEAVE_MESSAGE: u8 = 0x17;
/// `ty`: version 3 report.
pub const HOST_MEMBERSHIP_REPORT_V3: u8 = 0x22;

/// Record types of version 3 reports and of MLD version 2.
pub mod record {
    /// The interface listens to the sources given.
    pub const MODE_IS_INCLUDE: u8 = 1;
    /// The interface listens to all but the sources given.
    pub const MODE_IS_EXCLUDE: u8 = 2;
    /// Changed to include.
    pub const CHANGE_TO_INCLUDE_MODE: u8 = 3;
    /// Changed to exclude.
    pub const CHANGE_TO_EXCLUDE_MODE: u8 = 4;
    /// More sources.
    pub const ALLOW_NEW_SOURCES: u8 = 5;
    /// Fewer sources.
    pub const BLOCK_OLD_SOURCES: u8 = 6;
}
