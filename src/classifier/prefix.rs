//! The fields that may have a prefix trie: where they stand in a flow, and their leading bits.
//!
//! What always holds: a field's value is handled as the most significant bits of a `u128`, in the
//! order of the packet. Which fields a table uses comes from the `prefixes` column of the database's
//! `Flow_Table` (`ovs-vswitchd.conf.db(5)`). Plain values: any thread.

use std::mem::offset_of;

use zerocopy::IntoBytes;

use super::trie::prefix_mask;
use crate::flow::{Flow, FlowTnl, FlowWildcards};

/// Most fields that a classifier keeps tries for; `ovs-vswitchd.conf.db(5)` allows so many names.
pub const MAX_PREFIX_FIELDS: usize = 4;

/// A field of which rules often match a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixField {
    /// `tun_id`.
    TunId,
    /// `tun_src`.
    TunSrc,
    /// `tun_dst`.
    TunDst,
    /// `tun_ipv6_src`.
    TunIpv6Src,
    /// `tun_ipv6_dst`.
    TunIpv6Dst,
    /// `ct_nw_src`.
    CtNwSrc,
    /// `ct_nw_dst`.
    CtNwDst,
    /// `ct_ipv6_src`.
    CtIpv6Src,
    /// `ct_ipv6_dst`.
    CtIpv6Dst,
    /// `nw_src`.
    NwSrc,
    /// `nw_dst`.
    NwDst,
    /// `ipv6_src`.
    Ipv6Src,
    /// `ipv6_dst`.
    Ipv6Dst,
}

impl PrefixField {
    /// What a table uses when the database says nothing (the peer's choice since 3.5). Destinations
    /// come first, because they are asked first.
    pub const DEFAULT: [Self; MAX_PREFIX_FIELDS] =
        [Self::NwDst, Self::NwSrc, Self::Ipv6Dst, Self::Ipv6Src];

    /// Bytes of the flow.
    const fn place(self) -> (usize, usize) {
        const TUNNEL: usize = offset_of!(Flow, tunnel);
        match self {
            Self::TunId => (TUNNEL + offset_of!(FlowTnl, tun_id), 8),
            Self::TunSrc => (TUNNEL + offset_of!(FlowTnl, ip_src), 4),
            Self::TunDst => (TUNNEL + offset_of!(FlowTnl, ip_dst), 4),
            Self::TunIpv6Src => (TUNNEL + offset_of!(FlowTnl, ipv6_src), 16),
            Self::TunIpv6Dst => (TUNNEL + offset_of!(FlowTnl, ipv6_dst), 16),
            Self::CtNwSrc => (offset_of!(Flow, ct_nw_src), 4),
            Self::CtNwDst => (offset_of!(Flow, ct_nw_dst), 4),
            Self::CtIpv6Src => (offset_of!(Flow, ct_ipv6_src), 16),
            Self::CtIpv6Dst => (offset_of!(Flow, ct_ipv6_dst), 16),
            Self::NwSrc => (offset_of!(Flow, nw_src), 4),
            Self::NwDst => (offset_of!(Flow, nw_dst), 4),
            Self::Ipv6Src => (offset_of!(Flow, ipv6_src), 16),
            Self::Ipv6Dst => (offset_of!(Flow, ipv6_dst), 16),
        }
    }

    /// Length of the field in bits.
    pub fn bits(self) -> u8 {
        (self.place().1 * 8) as u8
    }

    /// Index of the flow's word that the field begins in. No field begins in one segment and ends
    /// in another.
    pub(super) fn word(self) -> usize {
        self.place().0 / 8
    }

    /// The field's value.
    #[inline]
    pub(super) fn value(self, flow: &Flow) -> u128 {
        let (offset, len) = self.place();
        let bytes = &flow.as_bytes()[offset..offset + len];
        match *bytes {
            [a, b, c, d] => u128::from(u32::from_be_bytes([a, b, c, d])) << 96,
            _ => {
                let mut value = [0; 16];
                value[..len].copy_from_slice(bytes);
                u128::from_be_bytes(value)
            }
        }
    }

    /// Length of the prefix that `mask` matches of this field; `None` where it matches nothing, or
    /// something other than a prefix.
    pub(super) fn prefix_len(self, mask: &FlowWildcards) -> Option<u8> {
        let mask = self.value(&mask.masks);
        let len = mask.leading_ones() as u8;
        (len > 0 && mask == prefix_mask(len)).then_some(len)
    }

    /// How many leading bits of the field are significant in `mask`.
    #[inline]
    pub(super) fn leading_bits(self, mask: &FlowWildcards) -> u8 {
        self.value(&mask.masks).leading_ones() as u8
    }

    /// Makes the first `len` bits of the field significant in `mask`.
    pub(super) fn fold_prefix(self, mask: &mut FlowWildcards, len: u8) {
        let (offset, bytes) = self.place();
        let prefix = prefix_mask(len.min(self.bits())).to_be_bytes();
        for (m, p) in mask.masks.as_mut_bytes()[offset..offset + bytes].iter_mut().zip(prefix) {
            *m |= p;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_masks() {
        let mut mask = FlowWildcards::CATCHALL;
        assert_eq!(PrefixField::NwDst.prefix_len(&mask), None);
        mask.masks.nw_dst = [255, 254, 0, 0];
        assert_eq!(PrefixField::NwDst.prefix_len(&mask), Some(15));
        assert_eq!(PrefixField::NwSrc.prefix_len(&mask), None);
        mask.masks.nw_dst = [255, 0, 255, 0];
        assert_eq!(PrefixField::NwDst.prefix_len(&mask), None);
        assert_eq!(PrefixField::NwDst.leading_bits(&mask), 8);
        mask.masks.ipv6_src = [255; 16];
        assert_eq!(PrefixField::Ipv6Src.prefix_len(&mask), Some(128));
        mask.masks.tunnel.tun_id = 0xffff_0000_0000_0000.into();
        assert_eq!(PrefixField::TunId.prefix_len(&mask), Some(16));
    }

    #[test]
    fn folding_a_prefix_touches_that_field_only() {
        let mut mask = FlowWildcards::CATCHALL;
        PrefixField::NwSrc.fold_prefix(&mut mask, 9);
        assert_eq!(mask.masks.nw_src, [255, 128, 0, 0]);
        PrefixField::Ipv6Dst.fold_prefix(&mut mask, 128);
        assert_eq!(mask.masks.ipv6_dst, [255; 16]);
        let mut expected = FlowWildcards::CATCHALL;
        expected.masks.nw_src = [255, 128, 0, 0];
        expected.masks.ipv6_dst = [255; 16];
        assert!(mask == expected);
    }
}
