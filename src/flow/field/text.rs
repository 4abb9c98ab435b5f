//! Field values in text, as the peer's tools write and read them.
//!
//! What is written here parses back to the same value and mask. Plain values: any thread.

use std::fmt::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Field, Format, Maskable};
use crate::flow::port::{OfPort, PortNames};
use crate::flow::{EthAddr, FLOW_NW_FRAG_ANY, FLOW_NW_FRAG_LATER};

/// Why a text is not a field's value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldTextError {
    /// Not a number.
    #[error("{text}: bad syntax for {field} {part}")]
    Number {
        /// What was read.
        text: String,
        /// The field.
        field: Field,
        /// `value` or `mask`.
        part: &'static str,
    },
    /// A number of too many bytes.
    #[error("{text}: {part} too large for {}-byte field {field}", field.info().bytes)]
    TooLarge {
        /// What was read.
        text: String,
        /// The field.
        field: Field,
        /// `value` or `mask`.
        part: &'static str,
    },
    /// Not an Ethernet address.
    #[error("{0}: invalid Ethernet address")]
    Ethernet(String),
    /// Not an IPv4 address.
    #[error("{0}: invalid IP address")]
    Ipv4(String),
    /// Prefix length out of range.
    #[error("{0}: IPv4 network prefix bits not between 0 and 32, inclusive")]
    Ipv4Prefix(String),
    /// Not an IPv6 address.
    #[error("{0}: invalid IPv6 address")]
    Ipv6(String),
    /// Prefix length out of range.
    #[error("{0}: IPv6 network prefix bits not between 0 and 128, inclusive")]
    Ipv6Prefix(String),
    /// No such port.
    #[error("{text}: invalid or unknown port for {field}")]
    Port {
        /// What was read.
        text: String,
        /// The field.
        field: Field,
    },
    /// Not a kind of fragment.
    #[error(
        "{0}: unknown fragment type (valid types are \"no\", \"yes\", \"first\", \"later\", \
         \"not_later\""
    )]
    Frag(String),
    /// No such flag.
    #[error("{text}: unknown {what} flag(s)")]
    UnknownFlag {
        /// What was read.
        text: String,
        /// Whose flags.
        what: &'static str,
    },
    /// A flag without a sign among flags with one.
    #[error("{text}: {what} must be preceded by '+' (for SET) or '-' (NOT SET)")]
    FlagSign {
        /// What was read.
        text: String,
        /// Whose flags.
        what: &'static str,
    },
    /// A flag twice.
    #[error("{text}: Each {what} flag can be specified only once")]
    FlagTwice {
        /// What was read.
        text: String,
        /// Whose flags.
        what: &'static str,
    },
    /// Not a packet type.
    #[error("{text}: bad syntax for packet type {part}")]
    PacketType {
        /// What was read, from where it went wrong.
        text: String,
        /// What was expected there.
        part: &'static str,
    },
    /// Only some bits of a field that can only be matched as a whole.
    #[error("{text}: invalid mask for field {field}")]
    Mask {
        /// What was read.
        text: String,
        /// The field.
        field: Field,
    },
    /// Where a TLV map puts these is not known here.
    #[error("{0}: no TLV map to look it up in")]
    TunMetadata(Field),
}

const FRAG_MASK: u128 = (FLOW_NW_FRAG_ANY | FLOW_NW_FRAG_LATER) as u128;
const FRAG_ANY: u128 = FLOW_NW_FRAG_ANY as u128;
const FRAG_LATER: u128 = FLOW_NW_FRAG_LATER as u128;

/// Name, mask, value.
const FRAGS: [(&str, u128, u128); 7] = [
    ("no", FRAG_MASK, 0),
    ("first", FRAG_MASK, FRAG_ANY),
    ("later", FRAG_MASK, FRAG_MASK),
    ("no", FRAG_ANY, 0),
    ("yes", FRAG_ANY, FRAG_ANY),
    ("not_later", FRAG_LATER, 0),
    ("later", FRAG_LATER, FRAG_LATER),
];

/// The names of single bits, lowest first, for the formats that have some.
pub fn flag_names(format: Format) -> &'static [(u32, &'static str)] {
    match format {
        Format::TunnelFlags => &[(1, "oam"), (2, "df"), (4, "csum"), (8, "key")],
        Format::TcpFlags => &[
            (0x001, "fin"),
            (0x002, "syn"),
            (0x004, "rst"),
            (0x008, "psh"),
            (0x010, "ack"),
            (0x020, "urg"),
            (0x040, "ece"),
            (0x080, "cwr"),
            (0x100, "ns"),
            (0x200, "[200]"),
            (0x400, "[400]"),
            (0x800, "[800]"),
        ],
        Format::CtState => &[
            (0x01, "new"),
            (0x02, "est"),
            (0x04, "rel"),
            (0x08, "rpl"),
            (0x10, "inv"),
            (0x20, "trk"),
            (0x40, "snat"),
            (0x80, "dnat"),
        ],
        _ => &[],
    }
}

/// Writes the names of the bits of `flags` with `separator` between them, unknown ones together as a
/// number; 0 for none.
pub fn format_flags(
    out: &mut impl Write,
    names: &[(u32, &str)],
    flags: u32,
    separator: char,
) -> fmt::Result {
    if flags == 0 {
        return out.write_char('0');
    }
    let mut unknown = flags;
    let mut first = true;
    for (bit, name) in names.iter().filter(|(bit, _)| flags & bit != 0) {
        unknown &= !bit;
        if !std::mem::take(&mut first) {
            out.write_char(separator)?;
        }
        out.write_str(name)?;
    }
    match (unknown, first) {
        (0, _) => Ok(()),
        (unknown, true) => write!(out, "{unknown:#x}"),
        (unknown, false) => write!(out, "{separator}{unknown:#x}"),
    }
}

/// Writes the bits of `flags` that `mask` names as `+name` or `-name`; all of them, when `mask` is
/// `all`, as [`format_flags`] does.
pub fn format_flags_masked(
    out: &mut impl Write,
    names: &[(u32, &str)],
    flags: u32,
    mask: u32,
    all: u32,
) -> fmt::Result {
    if mask == all {
        return format_flags(out, names, flags, '|');
    }
    if mask == 0 {
        return out.write_str("0/0");
    }
    for bit in (0..32).map(|i| 1 << i).filter(|bit| mask & bit != 0) {
        let name = names.iter().find(|(b, _)| *b == bit).map_or("[Unknown]", |(_, name)| *name);
        write!(out, "{}{name}", if flags & bit != 0 { '+' } else { '-' })?;
    }
    Ok(())
}

/// Writes an IPv4 address, with its mask as a prefix length where that is possible, unless exact.
pub(crate) fn format_ipv4(out: &mut impl Write, address: u32, mask: u32) -> fmt::Result {
    write!(out, "{}", Ipv4Addr::from(address))?;
    match mask {
        u32::MAX => Ok(()),
        mask if mask.count_ones() == mask.leading_ones() => write!(out, "/{}", mask.count_ones()),
        mask => write!(out, "/{}", Ipv4Addr::from(mask)),
    }
}

/// Writes an IPv6 address, with its mask as a prefix length where that is possible, unless exact.
pub(crate) fn format_ipv6(out: &mut impl Write, address: u128, mask: u128) -> fmt::Result {
    format_ipv6_address(out, address)?;
    match mask {
        u128::MAX => Ok(()),
        mask if mask.count_ones() == mask.leading_ones() => write!(out, "/{}", mask.count_ones()),
        mask => {
            out.write_char('/')?;
            format_ipv6_address(out, mask)
        }
    }
}

/// Writes an IPv6 address as inet_ntop(3) does.
fn format_ipv6_address(out: &mut impl Write, address: u128) -> fmt::Result {
    // The C library writes the last 32 bits like IPv4 when exactly the first 96 are zero, which Rust does
    // not.
    if address >> 32 == 0 && address >> 16 != 0 {
        write!(out, "::{}", Ipv4Addr::from(address as u32))
    } else {
        write!(out, "{}", Ipv6Addr::from(address))
    }
}

/// Writes an Ethernet address, with its mask unless exact.
pub(crate) fn format_eth(out: &mut impl Write, address: EthAddr, mask: EthAddr) -> fmt::Result {
    write!(out, "{address}")?;
    if mask == EthAddr::BROADCAST { Ok(()) } else { write!(out, "/{mask}") }
}

/// Writes name space and type of a packet type.
pub(crate) fn format_packet_type(out: &mut impl Write, value: u32, mask: u32) -> fmt::Result {
    fn half(out: &mut impl Write, value: u16, mask: u16) -> fmt::Result {
        match (value, mask) {
            (_, 0) => return out.write_char('*'),
            (10.., _) => write!(out, "{value:#x}")?,
            _ => write!(out, "{value}")?,
        }
        if mask == u16::MAX { Ok(()) } else { write!(out, "/{mask:#x}") }
    }
    out.write_char('(')?;
    half(out, (value >> 16) as u16, (mask >> 16) as u16)?;
    out.write_char(',')?;
    half(out, value as u16, mask as u16)?;
    out.write_char(')')
}

impl Field {
    /// Writes a value and the mask of its significant bits.
    pub fn format(
        self,
        out: &mut impl Write,
        value: u128,
        mask: u128,
        ports: Option<&PortNames>,
    ) -> fmt::Result {
        let info = self.info();
        let exact = mask == self.exact_mask();
        if mask == 0 {
            return out.write_str("ANY");
        }
        let flags = |all| {
            // Of an exact match, all bits count that have names.
            let mask = if exact { all } else { mask as u32 };
            (flag_names(info.format), value as u32, mask, all)
        };
        match info.format {
            Format::Port16 if exact => format_port(out, OfPort(value as u16), ports),
            Format::Port32 if exact => {
                let port = OfPort::from_ofp11(value as u32).unwrap_or(OfPort::NONE);
                format_port(out, port, ports)
            }
            Format::Decimal | Format::Hex | Format::Port16 | Format::Port32 => {
                match (info.format, value) {
                    (Format::Hex, 1..) => write!(out, "{value:#x}")?,
                    _ => write!(out, "{value}")?,
                }
                if exact { Ok(()) } else { write!(out, "/{mask:#x}") }
            }
            Format::Ethernet => {
                format_eth(out, EthAddr::from_u64(value as u64), EthAddr::from_u64(mask as u64))
            }
            Format::Ipv4 => format_ipv4(out, value as u32, mask as u32),
            Format::Ipv6 => format_ipv6(out, value, mask),
            Format::Frag => {
                let mask = mask & FRAG_MASK;
                let kind = FRAGS.iter().find(|(_, m, v)| *m == mask && *v == value & mask);
                out.write_str(kind.map_or("<error>", |(name, ..)| *name))
            }
            Format::TunnelFlags => {
                let (names, flags, mask, all) = flags(1);
                format_flags_masked(out, names, flags, mask & all, all)
            }
            Format::TcpFlags => {
                let (names, flags, mask, all) = flags(0xfff);
                format_flags_masked(out, names, flags, mask & all, all)
            }
            Format::CtState => {
                let (names, flags, mask, all) = flags(0xff);
                format_flags_masked(out, names, flags, mask & all, all)
            }
            Format::PacketType => format_packet_type(out, value as u32, mask as u32),
        }
    }

    /// Reads a value and the mask of its significant bits; `*` for none of them.
    pub fn parse(
        self,
        text: &str,
        ports: Option<&PortNames>,
    ) -> Result<(u128, u128), FieldTextError> {
        if text == "*" {
            return Ok((0, 0));
        }
        if self.is_tun_metadata() {
            return Err(FieldTextError::TunMetadata(self));
        }
        let exact = self.exact_mask();
        let info = self.info();
        let (value, mask) = match info.format {
            Format::Decimal | Format::Hex => self.parse_number(text)?,
            Format::Ethernet => parse_eth(text)?,
            Format::Ipv4 => parse_ipv4(text)?,
            Format::Ipv6 => parse_ipv6(text)?,
            Format::Port16 | Format::Port32 => {
                let port = ports.map_or_else(|| OfPort::parse(text), |ports| ports.parse(text));
                let port = port.ok_or(FieldTextError::Port { text: text.into(), field: self })?;
                let wide = info.format == Format::Port32;
                (if wide { port.to_ofp11() } else { port.in_port() }.into(), exact)
            }
            Format::Frag => FRAGS
                .iter()
                .find(|(name, ..)| name.eq_ignore_ascii_case(text))
                .map(|(_, mask, value)| (*value, if *mask == FRAG_MASK { exact } else { *mask }))
                .ok_or_else(|| FieldTextError::Frag(text.into()))?,
            Format::TunnelFlags => self.parse_flags(text, "tunnel", 1)?,
            Format::TcpFlags => self.parse_flags(text, "TCP", 0xfff)?,
            Format::CtState => self.parse_flags(text, "ct_state", 0xff)?,
            Format::PacketType => (parse_packet_type(text)?, exact),
        };
        if info.maskable == Maskable::Whole && mask != 0 && mask != exact {
            return Err(FieldTextError::Mask { text: text.into(), field: self });
        }
        Ok((value, mask))
    }

    fn parse_number(self, text: &str) -> Result<(u128, u128), FieldTextError> {
        let part = |digits: &str, part| match parse_integer(digits) {
            None => Err(FieldTextError::Number { text: text.into(), field: self, part }),
            Some(number) if number > self.exact_mask() => {
                Err(FieldTextError::TooLarge { text: text.into(), field: self, part })
            }
            Some(number) => Ok(number),
        };
        match text.split_once('/') {
            Some((value, mask)) => Ok((part(value, "value")?, part(mask, "mask")?)),
            None => Ok((part(text, "value")?, self.exact_mask())),
        }
    }

    /// Flags as a number with a mask, as signed names, or as names and numbers with bars between.
    fn parse_flags(
        self,
        text: &str,
        what: &'static str,
        allowed: u32,
    ) -> Result<(u128, u128), FieldTextError> {
        let unknown = |text: &str| FieldTextError::UnknownFlag { text: text.into(), what };
        let names = flag_names(self.info().format);
        let bit = |name: &str| {
            let known = names.iter().find(|(bit, known)| *known == name && bit & allowed != 0);
            known.map(|(bit, _)| u128::from(*bit))
        };
        let number = |digits: &str| {
            parse_integer(digits).filter(|number| number & !u128::from(allowed) == 0)
        };
        if let Some((value, mask)) = text.split_once('/') {
            let (value, mask) = (number(value), number(mask));
            return value.zip(mask).ok_or_else(|| unknown(text));
        }
        if !text.starts_with(['+', '-']) {
            let mut flags = 0;
            for name in text.split('|').filter(|name| !name.is_empty()) {
                flags |= number(name).or_else(|| bit(name)).ok_or_else(|| unknown(text))?;
            }
            return Ok((flags, self.exact_mask()));
        }
        let (mut flags, mut mask) = (0, 0);
        let mut rest = text;
        while let Some(sign) = rest.chars().next() {
            if sign != '+' && sign != '-' {
                return Err(FieldTextError::FlagSign { text: rest.into(), what });
            }
            let end = rest[1..].find(['+', '-']).map_or(rest.len(), |i| i + 1);
            let bit = bit(&rest[1..end]).ok_or_else(|| unknown(&rest[1..]))?;
            if mask & bit != 0 {
                return Err(FieldTextError::FlagTwice { text: rest[1..].into(), what });
            }
            mask |= bit;
            if sign == '+' {
                flags |= bit;
            }
            rest = &rest[end..];
        }
        Ok((flags, mask))
    }
}

fn format_port(out: &mut impl Write, port: OfPort, ports: Option<&PortNames>) -> fmt::Result {
    match ports {
        Some(ports) => ports.format(port, out),
        None => write!(out, "{port}"),
    }
}

/// Reads a number as strtoull(3) with base 0 does, but hexadecimal ones of up to 128 bits.
pub(crate) fn parse_integer(text: &str) -> Option<u128> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u128::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'));
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.starts_with('+') {
        return None;
    }
    let number = match digits.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => u64::from_str_radix(octal, 8).ok()?,
        _ => digits.parse().ok()?,
    };
    Some(if negative { number.wrapping_neg() } else { number }.into())
}

fn parse_eth(text: &str) -> Result<(u128, u128), FieldTextError> {
    let (address, mask) = text.split_once('/').unwrap_or((text, "ff:ff:ff:ff:ff:ff"));
    let number = |text: &str| text.parse::<EthAddr>().map(|a| u128::from(a.to_u64()));
    match (number(address), number(mask)) {
        (Ok(address), Ok(mask)) => Ok((address, mask)),
        _ => Err(FieldTextError::Ethernet(text.into())),
    }
}

fn parse_ipv4(text: &str) -> Result<(u128, u128), FieldTextError> {
    let wrong = || FieldTextError::Ipv4(text.into());
    let number = |text: &str| text.parse::<Ipv4Addr>().map(u32::from);
    let (address, mask) = text.split_once('/').unwrap_or((text, "32"));
    let address = number(address).map_err(|_| wrong())?;
    let mask = match (mask.parse::<u32>(), number(mask)) {
        (Ok(0), _) => 0,
        (Ok(bits @ 1..=32), _) => u32::MAX << (32 - bits),
        (Ok(_), _) => return Err(FieldTextError::Ipv4Prefix(text.into())),
        (_, Ok(mask)) => mask,
        _ => return Err(wrong()),
    };
    Ok((address.into(), mask.into()))
}

fn parse_ipv6(text: &str) -> Result<(u128, u128), FieldTextError> {
    let wrong = || FieldTextError::Ipv6(text.into());
    let number = |text: &str| text.parse::<Ipv6Addr>().map(u128::from);
    let (address, mask) = text.split_once('/').unwrap_or((text, "128"));
    let address = number(address).map_err(|_| wrong())?;
    let mask = match (mask.parse::<u32>(), number(mask)) {
        (Ok(0), _) => 0,
        (Ok(bits @ 1..=128), _) => u128::MAX << (128 - bits),
        (Ok(_), _) => return Err(FieldTextError::Ipv6Prefix(text.into())),
        (_, Ok(mask)) => mask,
        _ => return Err(wrong()),
    };
    Ok((address, mask))
}

fn parse_packet_type(text: &str) -> Result<u128, FieldTextError> {
    let wrong = |text: &str, part| FieldTextError::PacketType { text: text.into(), part };
    let half = |digits: &str| parse_integer(digits).filter(|number| *number <= 0xffff);
    let inner = text.strip_prefix('(').ok_or_else(|| wrong(text, "missing '('"))?;
    let (namespace, rest) = inner.split_once(',').ok_or_else(|| wrong(inner, "missing ','"))?;
    let namespace = half(namespace).ok_or_else(|| wrong(inner, "ns"))?;
    let ty = rest.strip_suffix(')').ok_or_else(|| wrong(rest, "missing ')'"))?;
    let ty = half(ty).ok_or_else(|| wrong(rest, "ns_type"))?;
    Ok(namespace << 16 | ty)
}
