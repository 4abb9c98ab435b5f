//! Matches and flows from text: `tcp,nw_dst=10.0.0.0/8,tp_dst=80`.
//!
//! The grammar is ovs-ofctl(8)'s: words with commas or white space between, each `name`,
//! `name=value`, `name:value` or `name(value)`. Plain values: any thread.

use super::Flow;
use super::field::{DL_VLAN_NONE, Field, FieldTextError, Subfield, SubfieldError};
use super::matching::{Match, PROTOCOLS};
use super::port::{OfPort, PortNames};
use crate::flow::field::parse_integer;

/// Why a text is not a match or a flow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatchTextError {
    /// A word that names no field.
    #[error("unknown keyword {0}")]
    UnknownKeyword(String),
    /// A value that its field cannot have.
    #[error(transparent)]
    Field(#[from] FieldTextError),
    /// A range of bits that its field does not have.
    #[error(transparent)]
    Subfield(#[from] SubfieldError),
    /// Not a number, in a range of bits.
    #[error("{name}: cannot parse integer value: {value}")]
    SubfieldNumber {
        /// The range.
        name: String,
        /// What was read.
        value: String,
    },
    /// A number too large for a range of bits.
    #[error("{name}: value {value} does not fit into {bits} bits")]
    SubfieldTooLarge {
        /// The range.
        name: String,
        /// What was read.
        value: String,
        /// Bits of the range.
        bits: u16,
    },
    /// A flow's Ethernet type given twice.
    #[error("{0}: Ethernet type set multiple times")]
    EtherTypeTwice(String),
    /// A flow's IP protocol given twice.
    #[error("{0}: network protocol set multiple times")]
    ProtocolTwice(String),
    /// A flow's field given twice.
    #[error("{text}: field {field} set multiple times")]
    Twice {
        /// The whole text.
        text: String,
        /// The field.
        field: Field,
    },
    /// A flow's field that such a packet does not have.
    #[error("{text}: prerequisites not met for setting {name}")]
    Prerequisites {
        /// The whole text.
        text: String,
        /// What was given.
        name: String,
    },
    /// A flow's field that does not exist.
    #[error("{text}: unknown field {name}")]
    UnknownField {
        /// The whole text.
        text: String,
        /// What was given.
        name: String,
    },
    /// A flow's value that its field cannot have.
    #[error("{text}: bad value for {name} ({error})")]
    BadValue {
        /// The whole text.
        text: String,
        /// What was given.
        name: String,
        /// What is wrong with it.
        error: FieldTextError,
    },
    /// A mask in a flow.
    #[error("{text}: bad value for {name} ({value}: wildcards not allowed here)")]
    Wildcard {
        /// The whole text.
        text: String,
        /// What was given.
        name: String,
        /// Its value.
        value: String,
    },
}

/// The words of a text and their values, empty where there is none.
#[derive(Clone, Debug)]
pub struct KeyValues<'a> {
    rest: &'a str,
}

/// Splits a text into its words.
pub fn key_values(text: &str) -> KeyValues<'_> {
    KeyValues { rest: text }
}

const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

impl<'a> Iterator for KeyValues<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.rest.trim_start_matches([',', ' ', '\t', '\r', '\n']);
        if text.is_empty() {
            self.rest = text;
            return None;
        }
        let is_end = |c: char| c == ',' || SPACE.contains(&c);
        let key_end =
            text.find(|c| is_end(c) || matches!(c, ':' | '=' | '(')).unwrap_or(text.len());
        let (key, rest) = text.split_at(key_end);
        let mut rest = rest.chars();
        let (value, rest) = match rest.next() {
            Some(':' | '=') => split_value(rest.as_str(), is_end),
            Some('(') => split_value(rest.as_str(), |c| c == ')'),
            _ => ("", rest.as_str()),
        };
        self.rest = rest;
        Some((key, value))
    }
}

/// Splits before the first end that is not in parentheses; the end itself is dropped.
fn split_value(text: &str, is_end: impl Fn(char) -> bool) -> (&str, &str) {
    let mut level = 0;
    for (i, c) in text.char_indices() {
        match c {
            '(' => level += 1,
            c if level == 0 && is_end(c) => return (&text[..i], &text[i + c.len_utf8()..]),
            ')' => level -= 1,
            _ => {}
        }
    }
    (text, "")
}

impl Match {
    /// Reads a match: fields, protocol names and ranges of bits.
    pub fn parse(text: &str, ports: Option<&PortNames>) -> Result<Self, MatchTextError> {
        let mut result = Self::CATCHALL;
        for (name, value) in key_values(text) {
            if !result.parse_word(name, value, ports)? {
                return Err(MatchTextError::UnknownKeyword(name.into()));
            }
        }
        Ok(result)
    }

    /// Adds what one word of a flow's text demands. False for a word that has nothing to do with the
    /// match, such as `priority`.
    pub fn parse_word(
        &mut self,
        name: &str,
        value: &str,
        ports: Option<&PortNames>,
    ) -> Result<bool, MatchTextError> {
        if self.set_protocol(name) {
        } else if name == "eth" {
            self.set(Field::PacketType, 0);
        } else if let Some(field) = Field::by_name(name) {
            // A name alone demands nothing, except where presence itself can be matched.
            let value = if value.is_empty() { "*" } else { value };
            let (value, mask) = field.parse(value, ports)?;
            self.set_masked(field, value, mask);
            self.add_ethernet_prereq(field);
        } else if name.contains('[') {
            self.parse_subfield(name, value)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Demands an Ethernet packet when only such packets have the field.
    fn add_ethernet_prereq(&mut self, field: Field) {
        if field.info().prereq != super::field::Prereq::Nothing {
            self.set_default_packet_type();
        }
    }

    fn parse_subfield(&mut self, name: &str, value: &str) -> Result<(), MatchTextError> {
        let (subfield, _) = Subfield::parse(name)?;
        let field = subfield.field();
        let number = parse_integer(value).ok_or_else(|| MatchTextError::SubfieldNumber {
            name: name.into(),
            value: value.into(),
        })?;
        let bits = subfield.bits();
        if bits < 128 && number >> bits != 0 {
            let mut value = String::new();
            // Writing to a string does not fail.
            let _ = field.format(&mut value, number, field.exact_mask(), None);
            return Err(MatchTextError::SubfieldTooLarge { name: name.into(), value, bits });
        }
        let shifted = number.checked_shl(subfield.offset().into()).unwrap_or(0);
        let (old, old_mask) = self.get(field);
        let mask = old_mask | subfield.mask();
        self.set_masked(field, old & !subfield.mask() | shifted, mask);
        self.add_ethernet_prereq(field);
        Ok(())
    }
}

impl Flow {
    /// Reads a packet's description, as for a trace: every field at most once, without masks, and only
    /// after the fields that say that the packet has it. Without `in_port` the port is
    /// [`OfPort::NONE`].
    pub fn parse(text: &str, ports: Option<&PortNames>) -> Result<Self, MatchTextError> {
        let mut flow = Self::ZERO;
        for (name, value) in key_values(text) {
            if let Some((_, dl_type, proto)) = PROTOCOLS.iter().find(|(known, ..)| *known == name) {
                if flow.dl_type.get() != 0 {
                    return Err(MatchTextError::EtherTypeTwice(text.into()));
                }
                flow.dl_type = (*dl_type).into();
                if *proto != 0 && flow.nw_proto != 0 {
                    return Err(MatchTextError::ProtocolTwice(text.into()));
                }
                flow.nw_proto |= proto;
                continue;
            }
            let Some(field) = Field::by_name(name) else {
                return Err(MatchTextError::UnknownField { text: text.into(), name: name.into() });
            };
            if !field.info().prereq.holds(&flow) {
                return Err(MatchTextError::Prerequisites { text: text.into(), name: name.into() });
            }
            if field.get(&flow) != 0 {
                return Err(MatchTextError::Twice { text: text.into(), field });
            }
            let (number, mask) = field.parse(value, ports).map_err(|error| {
                MatchTextError::BadValue { text: text.into(), name: name.into(), error }
            })?;
            if mask != field.exact_mask() {
                return Err(MatchTextError::Wildcard {
                    text: text.into(),
                    name: name.into(),
                    value: value.into(),
                });
            }
            if field != Field::DlVlan || number != DL_VLAN_NONE {
                field.set(&mut flow, number);
            }
        }
        if flow.in_port == 0 {
            flow.in_port = OfPort::NONE.in_port();
        }
        Ok(flow)
    }
}
