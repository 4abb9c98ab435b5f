//! IPv6 header and the walk along its extension headers (RFC 8200).
//! Plain values: any thread.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Be16, Be32, csum, header, ip_proto};

/// The fixed header.
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
pub struct Ipv6Header {
    /// Version (4 bits), traffic class (8), flow label (20).
    pub flow: Be32,
    /// Bytes behind this header.
    pub payload_len: Be16,
    /// Type of what follows.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source.
    pub src: [u8; 16],
    /// Destination.
    pub dst: [u8; 16],
}

/// Bytes of a header.
pub const IPV6_HEADER_LEN: usize = size_of::<Ipv6Header>();
/// Flow label bits of [`Ipv6Header::flow`].
pub const IPV6_LABEL_MASK: u32 = 0x000f_ffff;

impl Ipv6Header {
    /// Traffic class.
    pub fn traffic_class(&self) -> u8 {
        (self.flow.get() >> 20) as u8
    }

    /// Flow label.
    pub fn label(&self) -> u32 {
        self.flow.get() & IPV6_LABEL_MASK
    }

    /// Puts [`flow`](Self::flow) together; excess bits of the label are dropped.
    pub fn flow_word(traffic_class: u8, label: u32) -> Be32 {
        (6 << 28 | u32::from(traffic_class) << 20 | label & IPV6_LABEL_MASK).into()
    }

    /// True when the payload length fits the `available` bytes from the start of this header. The
    /// version is not looked at: the Ethernet type decided that.
    pub fn is_sane(&self, available: usize) -> bool {
        let total = usize::from(self.payload_len.get()) + IPV6_HEADER_LEN;
        total <= available && available - total <= usize::from(u16::MAX)
    }

    /// Sum of the pseudo header for `proto` with a payload of `len` bytes.
    pub fn pseudo_header(&self, proto: u8, len: usize) -> csum::Sum {
        csum::Sum::default()
            .bytes(&self.src)
            .bytes(&self.dst)
            .word(proto.into())
            .bytes(&(len as u32).to_be_bytes())
    }
}

/// Fragment extension header.
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
pub struct FragmentHeader {
    /// Type of what follows.
    pub next_header: u8,
    /// Zero.
    pub reserved: u8,
    /// Offset in units of 8 bytes (13 bits), reserved (2), more fragments (1).
    pub offset: Be16,
    /// Identification.
    pub id: Be32,
}

/// Offset bits of [`FragmentHeader::offset`].
pub const IPV6_OFFSET_MASK: u16 = 0xfff8;

/// Where a walk along extension headers ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpperLayer {
    /// Protocol of what stands at `offset`; [`ip_proto::FRAGMENT`] for a later fragment.
    pub proto: u8,
    /// Bytes of extension headers walked over.
    pub offset: usize,
    /// What fragment headers said.
    pub fragment: Fragment,
    /// Where the last fragment header stands.
    pub fragment_header: Option<usize>,
    /// Where the last routing header stands.
    pub routing_header: Option<usize>,
}

/// Whether a packet is a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// A whole packet; also an "atomic fragment", whose fragment header says nothing.
    No,
    /// The first fragment: headers follow as in a whole packet.
    First,
    /// Another fragment: no headers follow.
    Later,
}

/// Walks along extension headers to the first header that is none. `bytes` starts behind the fixed
/// header and ends with the packet; `next_header` is the fixed header's. `None` when a header is cut
/// short.
///
/// A fragment header whose offset field is not zero, be it only in the reserved bits, makes the packet a
/// fragment, as in the kernel and the peer.
pub fn walk_extensions(bytes: &[u8], next_header: u8) -> Option<UpperLayer> {
    let mut end = UpperLayer {
        proto: next_header,
        offset: 0,
        fragment: Fragment::No,
        fragment_header: None,
        routing_header: None,
    };
    loop {
        // Each of these headers is at least 8 bytes long.
        let here = match end.proto {
            ip_proto::HOPOPTS
            | ip_proto::ROUTING
            | ip_proto::DSTOPTS
            | ip_proto::AH
            | ip_proto::FRAGMENT => bytes.get(end.offset..).filter(|rest| rest.len() >= 8)?,
            _ => return Some(end),
        };
        let length = usize::from(here[1]);
        let length = match end.proto {
            ip_proto::AH => (length + 2) * 4,
            ip_proto::FRAGMENT => {
                let (fragment, _) = header::<FragmentHeader>(here)?;
                end.fragment_header = Some(end.offset);
                let offset = fragment.offset.get();
                if offset & IPV6_OFFSET_MASK != 0 {
                    end.fragment = Fragment::Later;
                    end.offset += size_of::<FragmentHeader>();
                    return Some(end);
                }
                if offset != 0 {
                    end.fragment = Fragment::First;
                }
                size_of::<FragmentHeader>()
            }
            kind => {
                if kind == ip_proto::ROUTING {
                    end.routing_header = Some(end.offset);
                }
                (length + 1) * 8
            }
        };
        if length > here.len() {
            return None;
        }
        end.proto = here[0];
        end.offset += length;
    }
}
