//! Where a field stands in a [`Flow`], and reading and writing it there.
//!
//! Values are plain numbers as they read in network order, right-aligned in a `u128`. Wildcards have
//! the shape of a flow, so the same places serve for masks. Plain values: any thread.

use std::mem::offset_of;

use zerocopy::IntoBytes;

use super::Field;
use crate::flow::matching::Match;
use crate::flow::port::OfPort;
use crate::flow::{Flow, FlowWildcards, VLAN_CFI};
use crate::packet::ether_type;

/// `dl_vlan`: there must be no VLAN tag (OpenFlow 1.0's OFP_VLAN_NONE).
pub const DL_VLAN_NONE: u128 = 0xffff;

/// The control information of the outer VLAN tag.
const TCI: usize = offset_of!(Flow, vlans) + 2;

/// Where a field stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Bytes that the field has for itself.
    Whole(Bytes),
    /// Some bits of a number.
    Part {
        bytes: Bytes,
        /// The field's bits.
        bits: u32,
        /// How far they are moved down to make the value.
        shift: u8,
        /// Bits that are set along with the field: "there is a VLAN tag".
        along: u32,
    },
    /// Registers in a row, the first one highest.
    Regs { first: u8, count: u8 },
    /// `in_port` as OpenFlow 1.0 numbers it.
    Port16,
    /// A port as OpenFlow 1.1 numbers it; the offset of a `u32`.
    Port32(usize),
    /// In the tunnel metadata, where the TLV map says.
    TunMetadata,
}

/// Up to 16 bytes of a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes {
    at: usize,
    len: usize,
    /// In host order, rather than in network order.
    host: bool,
}

/// A number in network order.
pub(super) const fn be(at: usize, len: usize) -> Place {
    Place::Whole(Bytes { at, len, host: false })
}

/// A number in host order.
pub(super) const fn ne(at: usize, len: usize) -> Place {
    Place::Whole(Bytes { at, len, host: true })
}

/// Some bits of a number.
pub(super) const fn part(whole: Place, bits: u32, shift: u8) -> Place {
    match whole {
        Place::Whole(bytes) => Place::Part { bytes, bits, shift, along: 0 },
        other => other,
    }
}

/// Some bits of the outer VLAN tag.
pub(super) const fn vlan(bits: u16, shift: u8, along: u16) -> Place {
    let bytes = Bytes { at: TCI, len: 2, host: false };
    Place::Part { bytes, bits: bits as u32, shift, along: along as u32 }
}

/// Some bits of the outer MPLS label stack entry.
pub(super) const fn mpls(bits: u32, shift: u8) -> Place {
    part(be(offset_of!(Flow, mpls_lse), 4), bits, shift)
}

/// Registers in a row.
pub(super) const fn regs(first: u8, count: u8) -> Place {
    Place::Regs { first, count }
}

impl Bytes {
    /// A port number in its `u32`.
    const fn port(at: usize) -> Self {
        Self { at, len: 4, host: true }
    }

    fn load(self, flow: &Flow) -> u128 {
        let stored = flow.as_bytes().iter().skip(self.at).take(self.len);
        let add = |number: u128, byte: &u8| number << 8 | u128::from(*byte);
        if self.host && cfg!(target_endian = "little") {
            stored.rev().fold(0, add)
        } else {
            stored.fold(0, add)
        }
    }

    fn store(self, flow: &mut Flow, value: u128) {
        let stored = flow.as_mut_bytes().iter_mut().skip(self.at).take(self.len);
        let value = value.to_le_bytes();
        if self.host && cfg!(target_endian = "little") {
            stored.zip(value).for_each(|(to, from)| *to = from);
        } else {
            stored.rev().zip(value).for_each(|(to, from)| *to = from);
        }
    }

    /// All bits that there are.
    fn all(self) -> u128 {
        u128::MAX >> (128 - 8 * self.len)
    }
}

impl Place {
    fn load(self, flow: &Flow) -> u128 {
        match self {
            Self::Whole(bytes) => bytes.load(flow),
            Self::Part { bytes, bits, shift, .. } => (bytes.load(flow) & u128::from(bits)) >> shift,
            Self::Regs { first, count } => {
                let regs = flow.regs.iter().skip(first.into()).take(count.into());
                regs.fold(0, |value, &reg| value << 32 | u128::from(reg))
            }
            Self::Port16 => u128::from(flow.in_port as u16),
            Self::Port32(at) => OfPort(Bytes::port(at).load(flow) as u16).to_ofp11().into(),
            Self::TunMetadata => 0,
        }
    }

    fn store(self, flow: &mut Flow, value: u128) {
        match self {
            Self::Whole(bytes) => bytes.store(flow, value),
            Self::Part { bytes, bits, shift, along } => {
                let rest = bytes.load(flow) & !u128::from(bits);
                bytes.store(flow, rest | (value << shift) & u128::from(bits) | u128::from(along));
            }
            Self::Regs { first, count } => {
                let regs = flow.regs.iter_mut().skip(first.into()).take(count.into());
                for (i, reg) in regs.rev().enumerate() {
                    *reg = (value >> (32 * i)) as u32;
                }
            }
            Self::Port16 => flow.in_port = u32::from(value as u16),
            Self::Port32(at) => {
                let port = OfPort::from_ofp11(value as u32).unwrap_or(OfPort::NONE);
                Bytes::port(at).store(flow, port.0.into());
            }
            Self::TunMetadata => {}
        }
    }

    /// Makes the bits significant that `mask` stands for, in terms of the value, and no others of the place.
    fn store_mask(self, masks: &mut Flow, mask: u128, exact: bool) {
        match self {
            Self::Port16 => masks.in_port = if mask == 0 { 0 } else { u32::MAX },
            Self::Port32(at) => {
                Bytes::port(at).store(masks, if mask == 0 { 0 } else { u128::MAX });
            }
            Self::Part { bytes, bits, .. } if mask == 0 && bytes.at == TCI => {
                // "There is a tag" goes with the last other field of the tag.
                let tag = u128::from(VLAN_CFI);
                let rest = bytes.load(masks) & !(u128::from(bits) & !tag);
                bytes.store(masks, if rest == tag { 0 } else { rest });
            }
            _ if exact => self.store(masks, u128::MAX),
            _ => self.store(masks, mask),
        }
    }

    /// True when every bit of the place is significant.
    fn is_exact(self, masks: &Flow) -> bool {
        match self {
            Self::Whole(bytes) => bytes.load(masks) == bytes.all(),
            Self::Part { bytes, bits, .. } => !bytes.load(masks) & u128::from(bits) == 0,
            Self::Regs { count, .. } => self.load(masks) == u128::MAX >> (128 - 32 * count as u32),
            Self::Port16 => masks.in_port == u32::MAX,
            Self::Port32(at) => Bytes::port(at).load(masks) == u32::MAX.into(),
            Self::TunMetadata => false,
        }
    }
}

impl Field {
    fn place(self) -> Place {
        self.info().place
    }

    /// All bytes of the field set: the mask of an exact match. 0 for `tun_metadata` fields.
    pub fn exact_mask(self) -> u128 {
        match self.info().bytes {
            bytes @ 1..=16 => u128::MAX >> (128 - 8 * u32::from(bytes)),
            _ => 0,
        }
    }

    /// The field's value in `flow`. Does not look at prerequisites.
    ///
    /// `tun_metadata` fields stand where the TLV map placed them and cannot be read here: 0.
    pub fn get(self, flow: &Flow) -> u128 {
        // ICMP types and codes have two bytes in a flow, hence the mask.
        self.place().load(flow) & self.exact_mask()
    }

    /// Sets the field in `flow`. Does not look at prerequisites; bits that the field does not have
    /// are dropped. Setting part of a VLAN tag makes a tag.
    pub fn set(self, flow: &mut Flow, value: u128) {
        if self == Self::DlVlan && value == DL_VLAN_NONE {
            flow.vlans[0].tci = Default::default();
            return;
        }
        self.place().store(flow, value & self.exact_mask());
        let vlan = &mut flow.vlans[0];
        if self.is_vlan() && vlan.tpid.get() == 0 && vlan.tci.get() != 0 {
            vlan.tpid = ether_type::VLAN_8021Q.into();
        }
    }

    fn is_vlan(self) -> bool {
        use Field::*;
        matches!(self, VlanTci | DlVlan | VlanVid | DlVlanPcp | VlanPcp)
    }

    /// Which bits of the field are significant; all of them read as
    /// [`exact_mask`](Self::exact_mask).
    pub fn mask(self, wildcards: &FlowWildcards) -> u128 {
        let place = self.place();
        match place {
            _ if place.is_exact(&wildcards.masks) => self.exact_mask(),
            Place::Port16 | Place::Port32(_) => 0,
            _ => place.load(&wildcards.masks) & self.exact_mask(),
        }
    }

    /// True when no bit of the field is significant.
    pub fn is_wildcarded(self, wildcards: &FlowWildcards) -> bool {
        self.mask(wildcards) == 0
    }

    /// Makes the whole field significant. Does not touch prerequisites.
    pub fn unwildcard(self, wildcards: &mut FlowWildcards) {
        self.place().store_mask(&mut wildcards.masks, self.exact_mask(), true);
    }

    /// Makes the bits `mask` of the field significant, besides those that already are.
    pub fn unwildcard_bits(self, mask: u128, wildcards: &mut FlowWildcards) {
        let mask = mask & self.exact_mask() | self.mask(wildcards);
        if mask != 0 {
            self.place().store_mask(&mut wildcards.masks, mask, self.covers_all(mask));
        }
    }

    /// True when `mask` has all bits that the field can have.
    pub fn covers_all(self, mask: u128) -> bool {
        let all = self.valid_bits();
        all != 0 && mask & all == all
    }

    /// The bits that the field can have; 0 for `tun_metadata` fields.
    fn valid_bits(self) -> u128 {
        match self {
            // Its 12 bits do not count the one that says whether there is a tag.
            Self::VlanVid => 0x1fff,
            Self::CtState => 0xff,
            Self::IpDscp => 0xfc,
            // The switch keeps the low byte.
            Self::ArpOp => 0xff,
            _ => match self.info().bits {
                bits @ 1..=128 => u128::MAX >> (128 - bits),
                _ => 0,
            },
        }
    }

    /// True when `value` can occur in a masked match.
    pub fn is_valid(self, value: u128) -> bool {
        match self {
            Self::InPortOxm | Self::ActsetOutput => OfPort::from_ofp11(value as u32).is_some(),
            Self::NshTtl => value <= 63,
            Self::NshMdtype => matches!(value, 1 | 2),
            // Not checked, as in the peer.
            Self::TunErspanIdx | Self::TunErspanVer | Self::TunErspanDir | Self::TunErspanHwid => {
                value <= self.exact_mask()
            }
            _ => value & !self.valid_bits() == 0 || self.is_tun_metadata(),
        }
    }
}

impl Match {
    /// Matches the field exactly. Does not add prerequisites.
    pub fn set(&mut self, field: Field, value: u128) {
        self.set_masked(field, value, field.exact_mask());
    }

    /// Matches the bits `mask` of the field; no bit wildcards it. Does not add prerequisites.
    ///
    /// A `dl_vlan` of [`DL_VLAN_NONE`] matches packets without a tag.
    pub fn set_masked(&mut self, field: Field, value: u128, mask: u128) {
        let mask = mask & field.exact_mask();
        if field == Field::DlVlan && mask != 0 && value == DL_VLAN_NONE {
            self.set(Field::VlanTci, 0);
            return;
        }
        let exact = field.covers_all(mask);
        field.place().store_mask(&mut self.wildcards.masks, mask, exact);
        if mask != 0 {
            field.place().store(&mut self.flow, value & mask);
        }
        self.zero_wildcarded();
    }

    /// Wildcards the field.
    pub fn clear(&mut self, field: Field) {
        self.set_masked(field, 0, 0);
    }

    /// The field's value and which bits of it matter.
    pub fn get(&self, field: Field) -> (u128, u128) {
        (field.get(&self.flow), field.mask(&self.wildcards))
    }
}
