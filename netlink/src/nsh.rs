//! Network service headers: `OVS_NSH_KEY_ATTR_*`, inside [`KeyAttr::Nsh`](crate::key::KeyAttr::Nsh)
//! and the push_nsh action.
//!
//! In a set_masked action every attribute holds value and mask side by side, one level further
//! inside than with other headers: [`MaskedNshAttrs`] walks that form.
//!
//! What always holds: no input makes a walk panic; writing what was parsed gives the same bytes;
//! attributes of unknown type are kept.
//!
//! Plain values: any thread. Source: `include/uapi/linux/openvswitch.h`, RFC 8300.

use zerocopy::IntoBytes;
use zerocopy::byteorder::network_endian as be;

use crate::attr::{Attr, AttrError, AttrWriter};
use crate::key::view;
use crate::uapi::*;
use crate::walk::walker;

/// One attribute of a network service header. Numbers are in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NshAttr<'a> {
    /// Base and service path header.
    Base {
        /// Version and flags.
        flags: u8,
        /// TTL.
        ttl: u8,
        /// Metadata type.
        mdtype: u8,
        /// Next protocol.
        np: u8,
        /// Service path id (24 bits) and index (8 bits).
        path_hdr: u32,
    },
    /// Context of metadata type 1.
    Md1([u32; NSH_MD1_CONTEXT_SIZE]),
    /// Metadata of type 2 as on the wire. Only in push_nsh.
    Md2(&'a [u8]),
    /// An attribute that this version does not know.
    Unknown {
        /// Its type.
        kind: u16,
        /// Its value.
        value: &'a [u8],
    },
}

impl<'a> NshAttr<'a> {
    /// Reads one attribute.
    ///
    /// # Errors
    /// [`AttrError::Size`] when a known attribute does not have the kernel's size.
    pub fn parse(attr: Attr<'a>) -> Result<Self, AttrError> {
        Ok(match attr.kind {
            OVS_NSH_KEY_ATTR_BASE => {
                let base: &ovs_nsh_key_base = view(attr)?;
                Self::Base {
                    flags: base.flags,
                    ttl: base.ttl,
                    mdtype: base.mdtype,
                    np: base.np,
                    path_hdr: base.path_hdr.get(),
                }
            }
            OVS_NSH_KEY_ATTR_MD1 => {
                Self::Md1(view::<ovs_nsh_key_md1>(attr)?.context.map(be::U32::get))
            }
            OVS_NSH_KEY_ATTR_MD2 => Self::Md2(attr.value),
            kind => Self::Unknown { kind, value: attr.value },
        })
    }

    /// Appends the attribute.
    pub fn write(&self, w: &mut AttrWriter<'_>) {
        self.with_value(|value| w.bytes(self.kind(), value));
    }

    /// The attribute's type, `OVS_NSH_KEY_ATTR_*`.
    pub const fn kind(&self) -> u16 {
        match *self {
            Self::Base { .. } => OVS_NSH_KEY_ATTR_BASE,
            Self::Md1(_) => OVS_NSH_KEY_ATTR_MD1,
            Self::Md2(_) => OVS_NSH_KEY_ATTR_MD2,
            Self::Unknown { kind, .. } => kind,
        }
    }

    fn with_value<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        match *self {
            Self::Base { flags, ttl, mdtype, np, path_hdr } => {
                f(ovs_nsh_key_base { flags, ttl, mdtype, np, path_hdr: path_hdr.into() }.as_bytes())
            }
            Self::Md1(context) => {
                f(ovs_nsh_key_md1 { context: context.map(be::U32::from) }.as_bytes())
            }
            Self::Md2(value) | Self::Unknown { value, .. } => f(value),
        }
    }
}

walker! {
    /// Walks a network service header; ends after the first error.
    NshAttrs, NshAttr
}

/// One attribute of a network service header in a set_masked action: value and mask, of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskedNshAttr<'a> {
    key: NshAttr<'a>,
    mask: NshAttr<'a>,
}

impl<'a> MaskedNshAttr<'a> {
    /// Pairs a value with a mask.
    ///
    /// # Errors
    /// [`AttrError::Value`] when they are not of one type and size.
    pub fn new(key: NshAttr<'a>, mask: NshAttr<'a>) -> Result<Self, AttrError> {
        let size = |attr: &NshAttr<'_>| attr.with_value(<[u8]>::len);
        if key.kind() != mask.kind() || size(&key) != size(&mask) {
            return Err(AttrError::Value { kind: key.kind() });
        }
        Ok(Self { key, mask })
    }

    /// The value to set.
    pub const fn key(&self) -> NshAttr<'a> {
        self.key
    }

    /// Which bits of it to set.
    pub const fn mask(&self) -> NshAttr<'a> {
        self.mask
    }

    /// Reads one attribute.
    ///
    /// # Errors
    /// [`AttrError::Size`] when it is not twice the size of its type.
    pub fn parse(attr: Attr<'a>) -> Result<Self, AttrError> {
        let (key, mask) = halves(attr)?;
        Self::new(NshAttr::parse(key)?, NshAttr::parse(mask)?)
    }

    /// Appends the attribute.
    pub fn write(&self, w: &mut AttrWriter<'_>) {
        self.key.with_value(|k| self.mask.with_value(|m| write_halves(w, self.key.kind(), k, m)));
    }
}

walker! {
    /// Walks a network service header of a set_masked action; ends after the first error.
    MaskedNshAttrs, MaskedNshAttr
}

/// Splits a value into the two halves that a set_masked action puts side by side.
pub(crate) fn halves(attr: Attr<'_>) -> Result<(Attr<'_>, Attr<'_>), AttrError> {
    let (got, kind) = (attr.value.len(), attr.kind);
    let error = AttrError::Size { kind, expected: got.next_multiple_of(2), got };
    if !got.is_multiple_of(2) {
        return Err(error);
    }
    let (key, mask) = attr.value.split_at_checked(got / 2).ok_or(error)?;
    Ok((Attr { kind, value: key }, Attr { kind, value: mask }))
}

/// Appends one attribute whose value is `key` and `mask` side by side.
pub(crate) fn write_halves(w: &mut AttrWriter<'_>, kind: u16, key: &[u8], mask: &[u8]) {
    let nest = w.begin(kind);
    w.buffer().extend_from_slice(key);
    w.buffer().extend_from_slice(mask);
    // An attribute that is too long is remembered by the writer; nothing is lost by going on.
    let _ = w.end(nest);
    w.raw(&[]);
}

#[cfg(test)]
mod tests;
