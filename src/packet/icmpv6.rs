//! ICMPv6 header, neighbour discovery and multicast listener discovery (RFC 4443, 4861, 3810).
//! Plain values: any thread.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ethernet::EthAddr;
use super::{Be16, header};

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
pub struct Icmpv6Header {
    /// Type.
    pub ty: u8,
    /// Code.
    pub code: u8,
    /// Checksum over pseudo header, header and payload.
    pub checksum: Be16,
    /// Flags and reserved bits of neighbour discovery, and others.
    pub rest: [u8; 4],
}

/// Bytes of a header.
pub const ICMPV6_HEADER_LEN: usize = size_of::<Icmpv6Header>();
/// `ty`: echo request.
pub const ECHO_REQUEST: u8 = 128;
/// `ty`: echo reply.
pub const ECHO_REPLY: u8 = 129;
/// `ty`: multicast listener query.
pub const MLD_QUERY: u8 = 130;
/// `ty`: multicast listener report.
pub const MLD_REPORT: u8 = 131;
/// `ty`: multicast listener done.
pub const MLD_DONE: u8 = 132;
/// `ty`: multicast listener report, version 2.
pub const MLD2_REPORT: u8 = 143;
/// `ty`: router solicitation.
pub const ND_ROUTER_SOLICIT: u8 = 133;
/// `ty`: router advertisement.
pub const ND_ROUTER_ADVERT: u8 = 134;
/// `ty`: neighbour solicitation.
pub const ND_NEIGHBOR_SOLICIT: u8 = 135;
/// `ty`: neighbour advertisement.
pub const ND_NEIGHBOR_ADVERT: u8 = 136;

impl Icmpv6Header {
    /// True for the two messages that resolve a neighbour's address.
    pub fn is_neighbor_discovery(&self) -> bool {
        self.code == 0 && matches!(self.ty, ND_NEIGHBOR_SOLICIT | ND_NEIGHBOR_ADVERT)
    }
}

/// A link-layer address option of neighbour discovery.
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
pub struct LinkAddressOption {
    /// [`OPT_SOURCE_LINKADDR`] or [`OPT_TARGET_LINKADDR`].
    pub ty: u8,
    /// Length in units of 8 bytes: 1.
    pub len: u8,
    /// The address.
    pub address: EthAddr,
}

/// Option: the sender's link-layer address.
pub const OPT_SOURCE_LINKADDR: u8 = 1;
/// Option: the target's link-layer address.
pub const OPT_TARGET_LINKADDR: u8 = 2;

/// What a neighbour solicitation or advertisement says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Neighbor {
    /// The address asked about; zero when it was cut short or an address option came twice.
    pub target: [u8; 16],
    /// Source link-layer address; zero when there is none.
    pub source_address: EthAddr,
    /// Target link-layer address; zero when there is none.
    pub target_address: EthAddr,
    /// Type of the first link-layer address option; 0 when there is none.
    pub option: u8,
}

impl Neighbor {
    /// Reads the message from behind its [`Icmpv6Header`]. A garbled option ends the reading and keeps what
    /// came before. An option that comes twice clears target and addresses, because the two could be
    /// meant for different readers; [`option`](Self::option) stays.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut nd = Self::default();
        let Some((target, mut rest)) = header::<[u8; 16]>(bytes) else {
            return nd;
        };
        nd.target = *target;
        while let Some((option, _)) = header::<LinkAddressOption>(rest) {
            let length = usize::from(option.len) * 8;
            if length == 0 || length > rest.len() {
                break;
            }
            let slot = match option.ty {
                OPT_SOURCE_LINKADDR if length == 8 => Some(&mut nd.source_address),
                OPT_TARGET_LINKADDR if length == 8 => Some(&mut nd.target_address),
                _ => None,
            };
            if let Some(slot) = slot {
                if !slot.is_zero() {
                    return Self { option: nd.option, ..Self::default() };
                }
                *slot = option.address;
                if nd.option == 0 {
                    nd.option = option.ty;
                }
            }
            rest = &rest[length..];
        }
        nd
    }
}

/// Start of a group record of a version 2 listener report; its types are IGMP's.
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
pub struct Mldv2Record {
    /// Record type; see [`igmp::record`](super::igmp::record).
    pub ty: u8,
    /// 32-bit words of auxiliary data behind the sources.
    pub aux_len: u8,
    /// Number of source addresses behind this.
    pub source_count: Be16,
    /// Group address.
    pub group: [u8; 16],
}
