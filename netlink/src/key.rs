//! Flow keys and masks: `OVS_KEY_ATTR_*`, one attribute at a time.
//!
//! A key is a list of attributes, a mask another with the same types; both are read with
//! [`KeyAttrs`] and written with [`KeyAttr::write`]. What is inside a tunnel or NSH attribute is in
//! [`crate::tunnel`] and [`crate::nsh`].
//!
//! What always holds: no input makes the walk panic; writing what was parsed gives the same bytes
//! (padding zeroed); an attribute of unknown type is kept. Whether attributes fit together is not
//! judged here: the kernel does that for what it is sent, and the reader of a key for what it gets.
//!
//! Plain values: any thread. Source: `include/uapi/linux/openvswitch.h`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::attr::{Attr, AttrError, AttrWriter};
use crate::uapi::*;
use crate::walk::walker;

/// One attribute of a flow key or mask. Numbers are in host order; in a mask their 1-bits match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAttr<'a> {
    /// The attributes behind a VLAN tag: a list for [`KeyAttrs`]. Empty for a truncated tag.
    Encap(&'a [u8]),
    /// `skb->priority`.
    Priority(u32),
    /// Number of the port that the packet came in by.
    InPort(u32),
    /// Ethernet addresses.
    Ethernet {
        /// Source.
        src: [u8; 6],
        /// Destination.
        dst: [u8; 6],
    },
    /// VLAN TCI; bit 0x1000 says that there is a tag.
    Vlan(u16),
    /// Ethernet type. Not there for 802.2 frames (and then exact in the mask).
    EtherType(u16),
    /// IPv4 header.
    Ipv4 {
        /// Source.
        src: [u8; 4],
        /// Destination.
        dst: [u8; 4],
        /// Protocol.
        proto: u8,
        /// TOS byte.
        tos: u8,
        /// TTL.
        ttl: u8,
        /// `OVS_FRAG_TYPE_*`.
        frag: u8,
    },
    /// IPv6 header.
    Ipv6 {
        /// Source.
        src: [u8; 16],
        /// Destination.
        dst: [u8; 16],
        /// Flow label, in the low 20 bits.
        label: u32,
        /// Protocol after the extension headers.
        proto: u8,
        /// Traffic class.
        tclass: u8,
        /// Hop limit.
        hlimit: u8,
        /// `OVS_FRAG_TYPE_*`.
        frag: u8,
    },
    /// TCP ports.
    Tcp {
        /// Source.
        src: u16,
        /// Destination.
        dst: u16,
    },
    /// UDP ports.
    Udp {
        /// Source.
        src: u16,
        /// Destination.
        dst: u16,
    },
    /// ICMP.
    Icmp {
        /// Type.
        ty: u8,
        /// Code.
        code: u8,
    },
    /// ICMPv6.
    Icmpv6 {
        /// Type.
        ty: u8,
        /// Code.
        code: u8,
    },
    /// ARP or RARP.
    Arp {
        /// Sender protocol address.
        sip: [u8; 4],
        /// Target protocol address.
        tip: [u8; 4],
        /// Operation.
        op: u16,
        /// Sender hardware address.
        sha: [u8; 6],
        /// Target hardware address.
        tha: [u8; 6],
    },
    /// IPv6 neighbour discovery.
    Nd {
        /// Target address.
        target: [u8; 16],
        /// Source link-layer address.
        sll: [u8; 6],
        /// Target link-layer address.
        tll: [u8; 6],
    },
    /// `skb->mark`.
    SkbMark(u32),
    /// The tunnel that the packet came by, or is to leave by: a list for
    /// [`TunnelAttrs`](crate::tunnel::TunnelAttrs).
    Tunnel(&'a [u8]),
    /// SCTP ports.
    Sctp {
        /// Source.
        src: u16,
        /// Destination.
        dst: u16,
    },
    /// TCP flags: twelve bits.
    TcpFlags(u16),
    /// Hash computed by an action; 0 for none.
    DpHash(u32),
    /// Recirculation id; 0 for a packet fresh from its port.
    RecircId(u32),
    /// Label stack entries, outermost first, 4 bytes each: see [`mpls_lses`]. Linux gives and takes
    /// up to three; the mask of a flow that matches none of the stack has none.
    Mpls(&'a [u8]),
    /// `OVS_CS_F_*`.
    CtState(u32),
    /// Conntrack zone.
    CtZone(u16),
    /// Conntrack mark.
    CtMark(u32),
    /// Conntrack labels.
    CtLabels([u8; OVS_CT_LABELS_LEN]),
    /// IPv4 addresses and ports of the tracked connection's first packet.
    CtOrigTupleIpv4 {
        /// Source.
        src: [u8; 4],
        /// Destination.
        dst: [u8; 4],
        /// Source port, or ICMP type.
        src_port: u16,
        /// Destination port, or ICMP code.
        dst_port: u16,
        /// Protocol.
        proto: u8,
    },
    /// IPv6 addresses and ports of the tracked connection's first packet.
    CtOrigTupleIpv6 {
        /// Source.
        src: [u8; 16],
        /// Destination.
        dst: [u8; 16],
        /// Source port, or ICMPv6 type.
        src_port: u16,
        /// Destination port, or ICMPv6 code.
        dst_port: u16,
        /// Protocol.
        proto: u8,
    },
    /// Network service header: a list for [`NshAttrs`](crate::nsh::NshAttrs).
    Nsh(&'a [u8]),
    /// Packet type: namespace in the high half, type in the low one. Never send it to the kernel.
    PacketType(u32),
    /// More of IPv6 neighbour discovery. Never send it to the kernel.
    NdExtensions {
        /// The reserved field, or the flags of an advertisement.
        reserved: u32,
        /// Type of the first option.
        options_type: u8,
    },
    /// IPv6 extension headers seen, one bit each.
    Ipv6Exthdrs(u16),
    /// An attribute that this version does not know, or that has no business on a socket.
    Unknown {
        /// Its type.
        kind: u16,
        /// Its value.
        value: &'a [u8],
    },
}

/// In [`SIZES`]: bytes of any number, or of a type that is not known.
const ANY_SIZE: u8 = u8::MAX;

/// Bytes of each type of attribute.
const SIZES: [u8; OVS_KEY_ATTR_MAX as usize + 1] = {
    let mut sizes = [ANY_SIZE; OVS_KEY_ATTR_MAX as usize + 1];
    sizes[OVS_KEY_ATTR_PRIORITY as usize] = 4;
    sizes[OVS_KEY_ATTR_IN_PORT as usize] = 4;
    sizes[OVS_KEY_ATTR_ETHERNET as usize] = size_of::<ovs_key_ethernet>() as u8;
    sizes[OVS_KEY_ATTR_VLAN as usize] = 2;
    sizes[OVS_KEY_ATTR_ETHERTYPE as usize] = 2;
    sizes[OVS_KEY_ATTR_IPV4 as usize] = size_of::<ovs_key_ipv4>() as u8;
    sizes[OVS_KEY_ATTR_IPV6 as usize] = size_of::<ovs_key_ipv6>() as u8;
    sizes[OVS_KEY_ATTR_TCP as usize] = size_of::<ovs_key_tcp>() as u8;
    sizes[OVS_KEY_ATTR_UDP as usize] = size_of::<ovs_key_udp>() as u8;
    sizes[OVS_KEY_ATTR_ICMP as usize] = size_of::<ovs_key_icmp>() as u8;
    sizes[OVS_KEY_ATTR_ICMPV6 as usize] = size_of::<ovs_key_icmpv6>() as u8;
    sizes[OVS_KEY_ATTR_ARP as usize] = size_of::<ovs_key_arp>() as u8;
    sizes[OVS_KEY_ATTR_ND as usize] = size_of::<ovs_key_nd>() as u8;
    sizes[OVS_KEY_ATTR_SKB_MARK as usize] = 4;
    sizes[OVS_KEY_ATTR_SCTP as usize] = size_of::<ovs_key_sctp>() as u8;
    sizes[OVS_KEY_ATTR_TCP_FLAGS as usize] = 2;
    sizes[OVS_KEY_ATTR_DP_HASH as usize] = 4;
    sizes[OVS_KEY_ATTR_RECIRC_ID as usize] = 4;
    sizes[OVS_KEY_ATTR_CT_STATE as usize] = 4;
    sizes[OVS_KEY_ATTR_CT_ZONE as usize] = 2;
    sizes[OVS_KEY_ATTR_CT_MARK as usize] = 4;
    sizes[OVS_KEY_ATTR_CT_LABELS as usize] = OVS_CT_LABELS_LEN as u8;
    sizes[OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4 as usize] = size_of::<ovs_key_ct_tuple_ipv4>() as u8;
    sizes[OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6 as usize] = size_of::<ovs_key_ct_tuple_ipv6>() as u8;
    sizes[OVS_KEY_ATTR_PACKET_TYPE as usize] = 4;
    sizes[OVS_KEY_ATTR_ND_EXTENSIONS as usize] = 8;
    sizes[OVS_KEY_ATTR_IPV6_EXTHDRS as usize] = 2;
    sizes
};

impl<'a> KeyAttr<'a> {
    /// Reads one attribute of a key or mask.
    ///
    /// # Errors
    /// [`AttrError::Size`] when a known attribute does not have exactly the kernel's size (a whole
    /// number of label stack entries for MPLS).
    pub fn parse(attr: Attr<'a>) -> Result<Self, AttrError> {
        Self::parse_here(attr)
    }

    /// [`Self::parse`], to be inlined where the type is known: of the many, one is then left.
    ///
    /// # Errors
    /// As [`Self::parse`].
    #[inline(always)]
    pub fn parse_here(attr: Attr<'a>) -> Result<Self, AttrError> {
        Ok(match attr.kind {
            OVS_KEY_ATTR_ENCAP => Self::Encap(attr.value),
            OVS_KEY_ATTR_PRIORITY => Self::Priority(attr.u32()?),
            OVS_KEY_ATTR_IN_PORT => Self::InPort(attr.u32()?),
            OVS_KEY_ATTR_ETHERNET => {
                let k: &ovs_key_ethernet = view(attr)?;
                Self::Ethernet { src: k.eth_src, dst: k.eth_dst }
            }
            OVS_KEY_ATTR_VLAN => Self::Vlan(attr.be16()?),
            OVS_KEY_ATTR_ETHERTYPE => Self::EtherType(attr.be16()?),
            OVS_KEY_ATTR_IPV4 => {
                let k: &ovs_key_ipv4 = view(attr)?;
                Self::Ipv4 {
                    src: k.ipv4_src,
                    dst: k.ipv4_dst,
                    proto: k.ipv4_proto,
                    tos: k.ipv4_tos,
                    ttl: k.ipv4_ttl,
                    frag: k.ipv4_frag,
                }
            }
            OVS_KEY_ATTR_IPV6 => {
                let k: &ovs_key_ipv6 = view(attr)?;
                Self::Ipv6 {
                    src: k.ipv6_src,
                    dst: k.ipv6_dst,
                    label: k.ipv6_label.get(),
                    proto: k.ipv6_proto,
                    tclass: k.ipv6_tclass,
                    hlimit: k.ipv6_hlimit,
                    frag: k.ipv6_frag,
                }
            }
            OVS_KEY_ATTR_TCP => {
                let k: &ovs_key_tcp = view(attr)?;
                Self::Tcp { src: k.tcp_src.get(), dst: k.tcp_dst.get() }
            }
            OVS_KEY_ATTR_UDP => {
                let k: &ovs_key_udp = view(attr)?;
                Self::Udp { src: k.udp_src.get(), dst: k.udp_dst.get() }
            }
            OVS_KEY_ATTR_ICMP => {
                let k: &ovs_key_icmp = view(attr)?;
                Self::Icmp { ty: k.icmp_type, code: k.icmp_code }
            }
            OVS_KEY_ATTR_ICMPV6 => {
                let k: &ovs_key_icmpv6 = view(attr)?;
                Self::Icmpv6 { ty: k.icmpv6_type, code: k.icmpv6_code }
            }
            OVS_KEY_ATTR_ARP => {
                let k: &ovs_key_arp = view(attr)?;
                Self::Arp {
                    sip: k.arp_sip,
                    tip: k.arp_tip,
                    op: k.arp_op.get(),
                    sha: k.arp_sha,
                    tha: k.arp_tha,
                }
            }
            OVS_KEY_ATTR_ND => {
                let k: &ovs_key_nd = view(attr)?;
                Self::Nd { target: k.nd_target, sll: k.nd_sll, tll: k.nd_tll }
            }
            OVS_KEY_ATTR_SKB_MARK => Self::SkbMark(attr.u32()?),
            OVS_KEY_ATTR_TUNNEL => Self::Tunnel(attr.value),
            OVS_KEY_ATTR_SCTP => {
                let k: &ovs_key_sctp = view(attr)?;
                Self::Sctp { src: k.sctp_src.get(), dst: k.sctp_dst.get() }
            }
            OVS_KEY_ATTR_TCP_FLAGS => Self::TcpFlags(attr.be16()?),
            OVS_KEY_ATTR_DP_HASH => Self::DpHash(attr.u32()?),
            OVS_KEY_ATTR_RECIRC_ID => Self::RecircId(attr.u32()?),
            OVS_KEY_ATTR_MPLS => Self::Mpls(label_stack(attr)?),
            OVS_KEY_ATTR_CT_STATE => Self::CtState(attr.u32()?),
            OVS_KEY_ATTR_CT_ZONE => Self::CtZone(attr.u16()?),
            OVS_KEY_ATTR_CT_MARK => Self::CtMark(attr.u32()?),
            OVS_KEY_ATTR_CT_LABELS => Self::CtLabels(*attr.array()?),
            OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4 => {
                let k: &ovs_key_ct_tuple_ipv4 = view(attr)?;
                Self::CtOrigTupleIpv4 {
                    src: k.ipv4_src,
                    dst: k.ipv4_dst,
                    src_port: k.src_port.get(),
                    dst_port: k.dst_port.get(),
                    proto: k.ipv4_proto,
                }
            }
            OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6 => {
                let k: &ovs_key_ct_tuple_ipv6 = view(attr)?;
                Self::CtOrigTupleIpv6 {
                    src: k.ipv6_src,
                    dst: k.ipv6_dst,
                    src_port: k.src_port.get(),
                    dst_port: k.dst_port.get(),
                    proto: k.ipv6_proto,
                }
            }
            OVS_KEY_ATTR_NSH => Self::Nsh(attr.value),
            OVS_KEY_ATTR_PACKET_TYPE => Self::PacketType(attr.be32()?),
            OVS_KEY_ATTR_ND_EXTENSIONS => {
                let [r0, r1, r2, r3, options_type, ..] = *attr.array::<8>()?;
                let reserved = u32::from_be_bytes([r0, r1, r2, r3]);
                Self::NdExtensions { reserved, options_type }
            }
            OVS_KEY_ATTR_IPV6_EXTHDRS => Self::Ipv6Exthdrs(attr.u16()?),
            kind => Self::Unknown { kind, value: attr.value },
        })
    }

    /// Checks the size of an attribute's value, which is what [`Self::parse`] can fail with.
    ///
    /// # Errors
    /// [`AttrError::Size`].
    #[inline]
    pub fn check_size(attr: Attr<'_>) -> Result<(), AttrError> {
        match SIZES.get(usize::from(attr.kind)) {
            Some(&size) if size != ANY_SIZE => {
                let (expected, got) = (usize::from(size), attr.value.len());
                if expected == got {
                    return Ok(());
                }
                Err(AttrError::Size { kind: attr.kind, expected, got })
            }
            _ if attr.kind == OVS_KEY_ATTR_MPLS => label_stack(attr).map(drop),
            _ => Ok(()),
        }
    }

    /// Appends the attribute.
    #[inline(always)]
    pub fn write(&self, w: &mut AttrWriter<'_>) {
        self.with_value(|value| w.bytes(self.kind(), value));
    }

    /// The attribute's type, `OVS_KEY_ATTR_*`.
    #[inline(always)]
    pub const fn kind(&self) -> u16 {
        match *self {
            Self::Encap(_) => OVS_KEY_ATTR_ENCAP,
            Self::Priority(_) => OVS_KEY_ATTR_PRIORITY,
            Self::InPort(_) => OVS_KEY_ATTR_IN_PORT,
            Self::Ethernet { .. } => OVS_KEY_ATTR_ETHERNET,
            Self::Vlan(_) => OVS_KEY_ATTR_VLAN,
            Self::EtherType(_) => OVS_KEY_ATTR_ETHERTYPE,
            Self::Ipv4 { .. } => OVS_KEY_ATTR_IPV4,
            Self::Ipv6 { .. } => OVS_KEY_ATTR_IPV6,
            Self::Tcp { .. } => OVS_KEY_ATTR_TCP,
            Self::Udp { .. } => OVS_KEY_ATTR_UDP,
            Self::Icmp { .. } => OVS_KEY_ATTR_ICMP,
            Self::Icmpv6 { .. } => OVS_KEY_ATTR_ICMPV6,
            Self::Arp { .. } => OVS_KEY_ATTR_ARP,
            Self::Nd { .. } => OVS_KEY_ATTR_ND,
            Self::SkbMark(_) => OVS_KEY_ATTR_SKB_MARK,
            Self::Tunnel(_) => OVS_KEY_ATTR_TUNNEL,
            Self::Sctp { .. } => OVS_KEY_ATTR_SCTP,
            Self::TcpFlags(_) => OVS_KEY_ATTR_TCP_FLAGS,
            Self::DpHash(_) => OVS_KEY_ATTR_DP_HASH,
            Self::RecircId(_) => OVS_KEY_ATTR_RECIRC_ID,
            Self::Mpls(_) => OVS_KEY_ATTR_MPLS,
            Self::CtState(_) => OVS_KEY_ATTR_CT_STATE,
            Self::CtZone(_) => OVS_KEY_ATTR_CT_ZONE,
            Self::CtMark(_) => OVS_KEY_ATTR_CT_MARK,
            Self::CtLabels(_) => OVS_KEY_ATTR_CT_LABELS,
            Self::CtOrigTupleIpv4 { .. } => OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4,
            Self::CtOrigTupleIpv6 { .. } => OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6,
            Self::Nsh(_) => OVS_KEY_ATTR_NSH,
            Self::PacketType(_) => OVS_KEY_ATTR_PACKET_TYPE,
            Self::NdExtensions { .. } => OVS_KEY_ATTR_ND_EXTENSIONS,
            Self::Ipv6Exthdrs(_) => OVS_KEY_ATTR_IPV6_EXTHDRS,
            Self::Unknown { kind, .. } => kind,
        }
    }

    /// Hands the encoded value, without header and padding, to `f`.
    #[inline(always)]
    pub(crate) fn with_value<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        match *self {
            Self::Encap(v)
            | Self::Tunnel(v)
            | Self::Mpls(v)
            | Self::Nsh(v)
            | Self::Unknown { value: v, .. } => f(v),
            Self::Priority(v)
            | Self::InPort(v)
            | Self::SkbMark(v)
            | Self::DpHash(v)
            | Self::RecircId(v)
            | Self::CtState(v)
            | Self::CtMark(v) => f(&v.to_ne_bytes()),
            Self::CtZone(v) | Self::Ipv6Exthdrs(v) => f(&v.to_ne_bytes()),
            Self::Vlan(v) | Self::EtherType(v) | Self::TcpFlags(v) => f(&v.to_be_bytes()),
            Self::PacketType(v) => f(&v.to_be_bytes()),
            Self::CtLabels(v) => f(&v),
            Self::Ethernet { src, dst } => {
                f(ovs_key_ethernet { eth_src: src, eth_dst: dst }.as_bytes())
            }
            Self::Ipv4 { src, dst, proto, tos, ttl, frag } => f(ovs_key_ipv4 {
                ipv4_src: src,
                ipv4_dst: dst,
                ipv4_proto: proto,
                ipv4_tos: tos,
                ipv4_ttl: ttl,
                ipv4_frag: frag,
            }
            .as_bytes()),
            Self::Ipv6 { src, dst, label, proto, tclass, hlimit, frag } => f(ovs_key_ipv6 {
                ipv6_src: src,
                ipv6_dst: dst,
                ipv6_label: label.into(),
                ipv6_proto: proto,
                ipv6_tclass: tclass,
                ipv6_hlimit: hlimit,
                ipv6_frag: frag,
            }
            .as_bytes()),
            Self::Tcp { src, dst } | Self::Udp { src, dst } | Self::Sctp { src, dst } => {
                let ([s0, s1], [d0, d1]) = (src.to_be_bytes(), dst.to_be_bytes());
                f(&[s0, s1, d0, d1])
            }
            Self::Icmp { ty, code } | Self::Icmpv6 { ty, code } => f(&[ty, code]),
            Self::Arp { sip, tip, op, sha, tha } => f(ovs_key_arp {
                arp_sip: sip,
                arp_tip: tip,
                arp_op: op.into(),
                arp_sha: sha,
                arp_tha: tha,
                pad: [0; 2],
            }
            .as_bytes()),
            Self::Nd { target, sll, tll } => {
                f(ovs_key_nd { nd_target: target, nd_sll: sll, nd_tll: tll }.as_bytes())
            }
            Self::CtOrigTupleIpv4 { src, dst, src_port, dst_port, proto } => {
                f(ovs_key_ct_tuple_ipv4 {
                    ipv4_src: src,
                    ipv4_dst: dst,
                    src_port: src_port.into(),
                    dst_port: dst_port.into(),
                    ipv4_proto: proto,
                    pad: [0; 3],
                }
                .as_bytes())
            }
            Self::CtOrigTupleIpv6 { src, dst, src_port, dst_port, proto } => {
                f(ovs_key_ct_tuple_ipv6 {
                    ipv6_src: src,
                    ipv6_dst: dst,
                    src_port: src_port.into(),
                    dst_port: dst_port.into(),
                    ipv6_proto: proto,
                    pad: [0; 3],
                }
                .as_bytes())
            }
            Self::NdExtensions { reserved, options_type } => {
                let [r0, r1, r2, r3] = reserved.to_be_bytes();
                f(&[r0, r1, r2, r3, options_type, 0, 0, 0])
            }
        }
    }
}

walker! {
    /// Walks a key, a mask, or what an [`Encap`](KeyAttr::Encap) holds; ends after the first error.
    KeyAttrs, KeyAttr
}

/// The label stack entries of an [`Mpls`](KeyAttr::Mpls) value, outermost first. Bytes beyond the
/// last whole entry are left out.
pub fn mpls_lses(value: &[u8]) -> impl Iterator<Item = u32> + '_ {
    value.as_chunks::<4>().0.iter().map(|lse| u32::from_be_bytes(*lse))
}

/// The value as a structure of exactly its size.
pub(crate) fn view<T>(attr: Attr<'_>) -> Result<&T, AttrError>
where
    T: FromBytes + Immutable + KnownLayout + Unaligned,
{
    T::ref_from_bytes(attr.value).map_err(|_| AttrError::Size {
        kind: attr.kind,
        expected: size_of::<T>(),
        got: attr.value.len(),
    })
}

fn label_stack(attr: Attr<'_>) -> Result<&[u8], AttrError> {
    let got = attr.value.len();
    if !got.is_multiple_of(4) {
        let expected = got.next_multiple_of(4);
        return Err(AttrError::Size { kind: attr.kind, expected, got });
    }
    Ok(attr.value)
}

#[cfg(test)]
mod tests;
