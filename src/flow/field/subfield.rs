//! Some bits in a row of a field: what actions copy, load and learn.
//! Plain values: any thread.

use std::fmt;

use super::Field;
use crate::flow::{Flow, FlowWildcards};

/// `bits` bits of a field from bit `offset` up. They lie in the field, and there is at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subfield {
    field: Field,
    offset: u16,
    bits: u16,
}

/// Why there is no such subfield.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubfieldError {
    /// No field of that name.
    #[error("{text}: unknown field `{name}'")]
    UnknownField {
        /// What was read.
        text: String,
        /// The name in it.
        name: String,
    },
    /// What follows the name.
    #[error("{0}: syntax error expecting [] or [<bit>] or [<start>..<end>]")]
    Syntax(String),
    /// The range is upside down.
    #[error("{text}: starting bit {start} is after ending bit {end}")]
    Reversed {
        /// What was read.
        text: String,
        /// First bit.
        start: u16,
        /// Last bit.
        end: u16,
    },
    /// The range reaches beyond the field.
    #[error("{text}: {which} bit {bit} is not valid because field is only {width} bits wide")]
    TooWide {
        /// What was read.
        text: String,
        /// `starting` or `ending`.
        which: &'static str,
        /// The bit.
        bit: u16,
        /// Bits of the field.
        width: u16,
    },
}

impl Subfield {
    /// The bits `offset..offset + bits`; `None` when the field does not have them all.
    pub fn new(field: Field, offset: u16, bits: u16) -> Option<Self> {
        let end = offset.checked_add(bits)?;
        (bits > 0 && end <= field.info().bits).then_some(Self { field, offset, bits })
    }

    /// The whole field.
    pub fn whole(field: Field) -> Self {
        Self { field, offset: 0, bits: field.info().bits }
    }

    /// The field.
    pub fn field(self) -> Field {
        self.field
    }

    /// The lowest bit.
    pub fn offset(self) -> u16 {
        self.offset
    }

    /// How many bits.
    pub fn bits(self) -> u16 {
        self.bits
    }

    /// True for all bits of the field.
    pub fn is_whole(self) -> bool {
        self == Self::whole(self.field)
    }

    /// The bits, as a mask of the field. 0 for `tun_metadata` fields.
    pub fn mask(self) -> u128 {
        match (self.bits, self.offset) {
            _ if self.field.is_tun_metadata() => 0,
            (bits @ 1..=128, offset @ 0..=127) => (u128::MAX >> (128 - bits)) << offset,
            _ => 0,
        }
    }

    /// The value in `flow`, right-aligned.
    pub fn get(self, flow: &Flow) -> u128 {
        (self.field.get(flow) & self.mask()).checked_shr(self.offset.into()).unwrap_or(0)
    }

    /// Sets the bits in `flow` and leaves the field's others.
    pub fn set(self, flow: &mut Flow, value: u128) {
        let value = value.checked_shl(self.offset.into()).unwrap_or(0) & self.mask();
        self.field.set(flow, self.field.get(flow) & !self.mask() | value);
    }

    /// Makes the bits significant.
    pub fn unwildcard(self, wildcards: &mut FlowWildcards) {
        self.field.unwildcard_bits(self.mask(), wildcards);
    }

    /// Reads `NAME[start..end]`, `NAME[bit]`, `NAME[]` or `NAME` at the start of `text`; also returns what
    /// follows. `NAME` is the field's or the wire's.
    pub fn parse(text: &str) -> Result<(Self, &str), SubfieldError> {
        let name = &text[..text.find(['[', '-']).unwrap_or(text.len())];
        let wire_name = name.strip_suffix("_W").unwrap_or(name);
        let field = Field::by_wire_name(wire_name)
            .or_else(|| Field::by_name(name))
            .ok_or_else(|| SubfieldError::UnknownField { text: text.into(), name: name.into() })?;
        let rest = &text[name.len()..];
        let Some(rest) = rest.strip_prefix('[') else { return Ok((Self::whole(field), rest)) };
        let syntax = || SubfieldError::Syntax(text.into());
        let (range, rest) = rest.split_once(']').ok_or_else(syntax)?;
        if range.is_empty() {
            return Ok((Self::whole(field), rest));
        }
        let (start, end) = range.split_once("..").unwrap_or((range, range));
        let number = |digits: &str| digits.trim_start().parse::<u16>().map_err(|_| syntax());
        let (start, end) = (number(start)?, number(end)?);
        let width = field.info().bits;
        if start > end {
            return Err(SubfieldError::Reversed { text: text.into(), start, end });
        }
        let too_wide = |which, bit| SubfieldError::TooWide { text: text.into(), which, bit, width };
        if start >= width {
            return Err(too_wide("starting", start));
        }
        let subfield = Self::new(field, start, end - start + 1);
        Ok((subfield.ok_or_else(|| too_wide("ending", end))?, rest))
    }
}

impl fmt::Display for Subfield {
    /// As the peer writes it, with the wire's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field.wire(0).map_or(self.field.name(), |wire| wire.name))?;
        match (self.offset, self.bits) {
            _ if self.is_whole() => f.write_str("[]"),
            (bit, 1) => write!(f, "[{bit}]"),
            (start, bits) => write!(f, "[{start}..{}]", start + bits - 1),
        }
    }
}
