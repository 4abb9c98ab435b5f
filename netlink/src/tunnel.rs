//! Tunnel keys: `OVS_TUNNEL_KEY_ATTR_*`, inside [`KeyAttr::Tunnel`](crate::key::KeyAttr::Tunnel).
//!
//! One list serves as key and mask of a received packet, as argument of a set action, and as the
//! egress tunnel of an upcall. Options of Geneve, VXLAN and ERSPAN stay encoded in [`TunnelAttr`]
//! and have types of their own beside it, because a mask of options is bytes without meaning.
//!
//! What always holds: no input makes a walk panic; writing what was parsed gives the same bytes;
//! attributes of unknown type are kept.
//!
//! Plain values: any thread. Source: `include/uapi/linux/openvswitch.h`, `linux/erspan.h`, RFC 8926.

use crate::attr::{Attr, AttrError, AttrWriter};
use crate::uapi::*;
use crate::walk::walker;

/// One attribute of a tunnel key. Numbers are in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelAttr<'a> {
    /// Tunnel id: VNI, GRE key. There only if the packet had one.
    Id(u64),
    /// Outer IPv4 source.
    Ipv4Src([u8; 4]),
    /// Outer IPv4 destination.
    Ipv4Dst([u8; 4]),
    /// Outer TOS or traffic class.
    Tos(u8),
    /// Outer TTL or hop limit.
    Ttl(u8),
    /// Outer DF bit.
    DontFragment,
    /// Outer checksum.
    Csum,
    /// Geneve OAM frame.
    Oam,
    /// Geneve options as on the wire: for [`GeneveOpts`].
    GeneveOpts(&'a [u8]),
    /// Outer source port.
    TpSrc(u16),
    /// Outer destination port.
    TpDst(u16),
    /// VXLAN extensions: for [`vxlan_gbp`].
    VxlanOpts(&'a [u8]),
    /// Outer IPv6 source.
    Ipv6Src([u8; 16]),
    /// Outer IPv6 destination.
    Ipv6Dst([u8; 16]),
    /// ERSPAN metadata, as [`erspan_metadata`].
    ErspanOpts(&'a [u8]),
    /// Bridge mode of a tunnel device.
    Ipv4InfoBridge,
    /// Nothing: on some architectures the kernel puts it before the 64-bit id, to align that.
    Pad,
    /// An attribute that this version does not know.
    Unknown {
        /// Its type.
        kind: u16,
        /// Its value.
        value: &'a [u8],
    },
}

impl<'a> TunnelAttr<'a> {
    /// Reads one attribute of a tunnel key.
    ///
    /// # Errors
    /// [`AttrError::Size`] when a known attribute does not have the kernel's size.
    pub fn parse(attr: Attr<'a>) -> Result<Self, AttrError> {
        let flag = |this| attr.array::<0>().map(|_| this);
        Ok(match attr.kind {
            OVS_TUNNEL_KEY_ATTR_ID => Self::Id(attr.be64()?),
            OVS_TUNNEL_KEY_ATTR_IPV4_SRC => Self::Ipv4Src(*attr.array()?),
            OVS_TUNNEL_KEY_ATTR_IPV4_DST => Self::Ipv4Dst(*attr.array()?),
            OVS_TUNNEL_KEY_ATTR_TOS => Self::Tos(attr.u8()?),
            OVS_TUNNEL_KEY_ATTR_TTL => Self::Ttl(attr.u8()?),
            OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT => flag(Self::DontFragment)?,
            OVS_TUNNEL_KEY_ATTR_CSUM => flag(Self::Csum)?,
            OVS_TUNNEL_KEY_ATTR_OAM => flag(Self::Oam)?,
            OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS => Self::GeneveOpts(attr.value),
            OVS_TUNNEL_KEY_ATTR_TP_SRC => Self::TpSrc(attr.be16()?),
            OVS_TUNNEL_KEY_ATTR_TP_DST => Self::TpDst(attr.be16()?),
            OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS => Self::VxlanOpts(attr.value),
            OVS_TUNNEL_KEY_ATTR_IPV6_SRC => Self::Ipv6Src(*attr.array()?),
            OVS_TUNNEL_KEY_ATTR_IPV6_DST => Self::Ipv6Dst(*attr.array()?),
            OVS_TUNNEL_KEY_ATTR_PAD => flag(Self::Pad)?,
            OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS => Self::ErspanOpts(attr.value),
            OVS_TUNNEL_KEY_ATTR_IPV4_INFO_BRIDGE => flag(Self::Ipv4InfoBridge)?,
            kind => Self::Unknown { kind, value: attr.value },
        })
    }

    /// Appends the attribute.
    pub fn write(&self, w: &mut AttrWriter<'_>) {
        let kind = self.kind();
        match *self {
            Self::Id(v) => w.be64(kind, v),
            Self::Ipv4Src(v) | Self::Ipv4Dst(v) => w.bytes(kind, &v),
            Self::Tos(v) | Self::Ttl(v) => w.u8(kind, v),
            Self::DontFragment | Self::Csum | Self::Oam | Self::Pad | Self::Ipv4InfoBridge => {
                w.flag(kind)
            }
            Self::TpSrc(v) | Self::TpDst(v) => w.be16(kind, v),
            Self::Ipv6Src(v) | Self::Ipv6Dst(v) => w.bytes(kind, &v),
            Self::GeneveOpts(v)
            | Self::VxlanOpts(v)
            | Self::ErspanOpts(v)
            | Self::Unknown { value: v, .. } => w.bytes(kind, v),
        }
    }

    /// The attribute's type, `OVS_TUNNEL_KEY_ATTR_*`.
    pub const fn kind(&self) -> u16 {
        match *self {
            Self::Id(_) => OVS_TUNNEL_KEY_ATTR_ID,
            Self::Ipv4Src(_) => OVS_TUNNEL_KEY_ATTR_IPV4_SRC,
            Self::Ipv4Dst(_) => OVS_TUNNEL_KEY_ATTR_IPV4_DST,
            Self::Tos(_) => OVS_TUNNEL_KEY_ATTR_TOS,
            Self::Ttl(_) => OVS_TUNNEL_KEY_ATTR_TTL,
            Self::DontFragment => OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT,
            Self::Csum => OVS_TUNNEL_KEY_ATTR_CSUM,
            Self::Oam => OVS_TUNNEL_KEY_ATTR_OAM,
            Self::GeneveOpts(_) => OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS,
            Self::TpSrc(_) => OVS_TUNNEL_KEY_ATTR_TP_SRC,
            Self::TpDst(_) => OVS_TUNNEL_KEY_ATTR_TP_DST,
            Self::VxlanOpts(_) => OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS,
            Self::Ipv6Src(_) => OVS_TUNNEL_KEY_ATTR_IPV6_SRC,
            Self::Ipv6Dst(_) => OVS_TUNNEL_KEY_ATTR_IPV6_DST,
            Self::ErspanOpts(_) => OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS,
            Self::Ipv4InfoBridge => OVS_TUNNEL_KEY_ATTR_IPV4_INFO_BRIDGE,
            Self::Pad => OVS_TUNNEL_KEY_ATTR_PAD,
            Self::Unknown { kind, .. } => kind,
        }
    }
}

walker! {
    /// Walks a tunnel key; ends after the first error.
    TunnelAttrs, TunnelAttr
}

/// Reads the group based policy of a [`VxlanOpts`](TunnelAttr::VxlanOpts) value: id in the low 16
/// bits, flags above. `None` when there is none.
///
/// # Errors
/// Whatever is wrong with the list.
pub fn vxlan_gbp(value: &[u8]) -> Result<Option<u32>, AttrError> {
    Attr { kind: OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS, value }
        .attrs()
        .find_kind(OVS_VXLAN_EXT_GBP)?
        .map(|gbp| gbp.u32())
        .transpose()
}

/// Appends a [`VxlanOpts`](TunnelAttr::VxlanOpts) with a group based policy.
pub fn write_vxlan_gbp(w: &mut AttrWriter<'_>, gbp: u32) {
    // One attribute of 4 bytes: header, value.
    let mut ext = [0; 8];
    let [l0, l1] = 8u16.to_ne_bytes();
    let [k0, k1] = OVS_VXLAN_EXT_GBP.to_ne_bytes();
    let [v0, v1, v2, v3] = gbp.to_ne_bytes();
    ext.copy_from_slice(&[l0, l1, k0, k1, v0, v1, v2, v3]);
    w.bytes(OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS, &ext);
}

/// One Geneve option (RFC 8926, section 3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneveOpt<'a> {
    /// Option class.
    pub class: u16,
    /// Type; bit 0x80 makes it critical.
    pub ty: u8,
    /// The three reserved bits.
    pub reserved: u8,
    /// Data: a multiple of 4 bytes, at most 124.
    pub data: &'a [u8],
}

impl<'a> GeneveOpt<'a> {
    const HEADER_LEN: usize = 4;
    const DATA_LEN_MAX: usize = 31 * 4;

    /// Appends the option in wire format. `None` when the data is too long or not a multiple of 4.
    pub fn append(&self, out: &mut Vec<u8>) -> Option<()> {
        let len = self.data.len();
        if !len.is_multiple_of(4) || len > Self::DATA_LEN_MAX {
            return None;
        }
        let words = u8::try_from(len / 4).ok()?;
        out.extend_from_slice(&self.class.to_be_bytes());
        out.extend_from_slice(&[self.ty, (self.reserved & 7) << 5 | words]);
        out.extend_from_slice(self.data);
        Some(())
    }
}

/// Walks the options in a [`GeneveOpts`](TunnelAttr::GeneveOpts) value; ends after the first error.
#[derive(Clone, Debug, Default)]
pub struct GeneveOpts<'a> {
    rest: &'a [u8],
}

impl<'a> GeneveOpts<'a> {
    /// Walks `options`, which begins with an option header.
    pub const fn new(options: &'a [u8]) -> Self {
        Self { rest: options }
    }
}

impl<'a> Iterator for GeneveOpts<'a> {
    type Item = Result<GeneveOpt<'a>, AttrError>;

    fn next(&mut self) -> Option<Self::Item> {
        let options = std::mem::take(&mut self.rest);
        if options.is_empty() {
            return None;
        }
        let Some(&[c0, c1, ty, len]) = options.first_chunk() else {
            return Some(Err(AttrError::Trailing { left: options.len() }));
        };
        let end = GeneveOpt::HEADER_LEN + usize::from(len & 0x1f) * 4;
        let Some((option, rest)) = options.split_at_checked(end) else {
            let kind = OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS;
            return Some(Err(AttrError::Size { kind, expected: end, got: options.len() }));
        };
        self.rest = rest;
        let data = option.get(GeneveOpt::HEADER_LEN..).unwrap_or_default();
        let class = u16::from_be_bytes([c0, c1]);
        Some(Ok(GeneveOpt { class, ty, reserved: len >> 5, data }))
    }
}

/// Fields of ERSPAN metadata. Which of them mean something is for `version` to say; in a mask, for
/// the version in the key.
impl erspan_metadata {
    /// Metadata of version 1.
    pub fn v1(index: u32) -> Self {
        let [i0, i1, i2, i3] = index.to_be_bytes();
        Self { version: 1.into(), u: [i0, i1, i2, i3, 0, 0, 0, 0] }
    }

    /// Metadata of version 2: direction (mirrored egress traffic if set) and 6 bits of hardware id.
    pub fn v2(dir: bool, hwid: u8) -> Self {
        let flags = [hwid >> 4 & 0x3, hwid << 4 | u8::from(dir) << 3];
        Self { version: 2.into(), u: [0, 0, 0, 0, 0, 0, flags[0], flags[1]] }
    }

    /// Index, of version 1.
    pub const fn index(&self) -> u32 {
        let [i0, i1, i2, i3, ..] = self.u;
        u32::from_be_bytes([i0, i1, i2, i3])
    }

    /// Direction, of version 2.
    pub const fn dir(&self) -> bool {
        self.u[7] & 0x08 != 0
    }

    /// Hardware id, of version 2.
    pub const fn hwid(&self) -> u8 {
        (self.u[6] & 0x3) << 4 | self.u[7] >> 4
    }
}

#[cfg(test)]
mod tests;
