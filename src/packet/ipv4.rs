//! IPv4 header (RFC 791).
//!
//! Believe `ihl` and `total_len` only after [`Ipv4Header::is_sane`]. Plain values: any thread.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Be16, csum};

/// Fixed part of the header.
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
pub struct Ipv4Header {
    /// Version (4) and header length in 32-bit words.
    pub ver_ihl: u8,
    /// Type of service: DSCP (6 bits) and ECN (2 bits).
    pub tos: u8,
    /// Bytes of header and payload.
    pub total_len: Be16,
    /// Identification, for reassembly.
    pub id: Be16,
    /// Flags (3 bits) and fragment offset in units of 8 bytes.
    pub frag_off: Be16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the payload.
    pub proto: u8,
    /// Checksum over the header with its options.
    pub checksum: Be16,
    /// Source.
    pub src: [u8; 4],
    /// Destination.
    pub dst: [u8; 4],
}

/// Bytes of a header without options.
pub const IPV4_HEADER_LEN: usize = size_of::<Ipv4Header>();
/// `frag_off`: don't fragment.
pub const IPV4_DF: u16 = 0x4000;
/// `frag_off`: more fragments follow.
pub const IPV4_MF: u16 = 0x2000;
/// `frag_off`: the offset.
pub const IPV4_OFFSET_MASK: u16 = 0x1fff;

impl Ipv4Header {
    /// Bytes of the header with its options, as it says.
    pub fn header_len(&self) -> usize {
        usize::from(self.ver_ihl & 0x0f) * 4
    }

    /// True when the lengths agree with each other and with the `available` bytes from the start of
    /// the header. The version is not looked at: the Ethernet type decided that.
    pub fn is_sane(&self, available: usize) -> bool {
        let header_len = self.header_len();
        let total_len = usize::from(self.total_len.get());
        header_len >= IPV4_HEADER_LEN
            && header_len <= total_len
            && total_len <= available
            && available - total_len <= usize::from(u16::MAX)
    }

    /// True for a fragment, the first one included.
    pub fn is_fragment(&self) -> bool {
        self.frag_off.get() & (IPV4_MF | IPV4_OFFSET_MASK) != 0
    }

    /// True for a fragment that does not start the packet: no transport header follows.
    pub fn is_later_fragment(&self) -> bool {
        self.frag_off.get() & IPV4_OFFSET_MASK != 0
    }

    /// Sum of the pseudo header for a payload of `len` bytes.
    pub fn pseudo_header(&self, len: usize) -> csum::Sum {
        csum::Sum::default()
            .bytes(&self.src)
            .bytes(&self.dst)
            .word(self.proto.into())
            .word(len as u16)
    }
}
