//! The fields inside a pair of parentheses: commas between them, masks behind them, and the flags.
//!
//! What always holds: a list begins and ends without a comma. Plain values: any thread.

use std::fmt::{self, Display};
use std::net::Ipv6Addr;

use super::put;

/// Shows a number as C's `%#x`: 0 has no prefix.
pub(super) struct Hex(pub u64);

impl Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { f.write_str("0") } else { write!(f, "0x{:x}", self.0) }
    }
}

/// Shows an IPv6 address as `inet_ntop` does, which differs from Rust's own way where an address
/// ends in an IPv4 address without a prefix that says so.
pub(super) struct Ip6(pub [u8; 16]);

impl Display for Ip6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] if (a, b) != (0, 0) => {
                write!(f, "::{a}.{b}.{c}.{d}")
            }
            bytes => Ipv6Addr::from(bytes).fmt(f),
        }
    }
}

pub(super) struct Mac(pub [u8; 6]);

impl Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::flow::EthAddr(self.0).fmt(f)
    }
}

pub(super) struct Ip4(pub [u8; 4]);

impl Display for Ip4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::Ipv4Addr::from(self.0).fmt(f)
    }
}

/// Fields being appended to a text, with commas between them.
pub(super) struct List<'o> {
    pub out: &'o mut String,
    verbose: bool,
    any: bool,
}

impl<'o> List<'o> {
    pub fn new(out: &'o mut String, verbose: bool) -> Self {
        Self { out, verbose, any: false }
    }

    /// Appends the comma that the next item needs, and lends the text for it.
    pub fn item(&mut self) -> &mut String {
        if std::mem::replace(&mut self.any, true) {
            self.out.push(',');
        }
        self.out
    }

    /// Appends `name=key`, and `/mask` unless the mask is missing or full. Nothing when the mask
    /// is zero, unless verbose.
    fn field<T: PartialEq>(
        &mut self,
        name: &str,
        (key, mask): (T, Option<T>),
        (zero, full): (T, T),
        show_key: impl FnOnce(T) -> String,
        show_mask: impl FnOnce(T) -> String,
    ) {
        if mask.as_ref() == Some(&zero) && !self.verbose {
            return;
        }
        let mask = mask.filter(|mask| *mask != full).map(show_mask);
        let out = self.item();
        put(out, format_args!("{name}={}", show_key(key)));
        if let Some(mask) = mask {
            put(out, format_args!("/{mask}"));
        }
    }

    pub fn mac(&mut self, name: &str, key: [u8; 6], mask: Option<[u8; 6]>) {
        let show = |v| Mac(v).to_string();
        self.field(name, (key, mask), ([0; 6], [0xff; 6]), show, show);
    }

    pub fn ip4(&mut self, name: &str, key: [u8; 4], mask: Option<[u8; 4]>) {
        let show = |v| Ip4(v).to_string();
        self.field(name, (key, mask), ([0; 4], [0xff; 4]), show, show);
    }

    pub fn ip6(&mut self, name: &str, key: [u8; 16], mask: Option<[u8; 16]>) {
        let show = |v| Ip6(v).to_string();
        self.field(name, (key, mask), ([0; 16], [0xff; 16]), show, show);
    }

    pub fn u8(&mut self, name: &str, key: u8, mask: Option<u8>) {
        let hex = |v: u8| Hex(v.into()).to_string();
        self.field(name, (key, mask), (0, u8::MAX), |v| v.to_string(), hex);
    }

    pub fn u8_hex(&mut self, name: &str, key: u8, mask: Option<u8>) {
        let hex = |v: u8| Hex(v.into()).to_string();
        self.field(name, (key, mask), (0, u8::MAX), hex, hex);
    }

    pub fn u16(&mut self, name: &str, key: u16, mask: Option<u16>) {
        let hex = |v: u16| Hex(v.into()).to_string();
        self.field(name, (key, mask), (0, u16::MAX), |v| v.to_string(), hex);
    }

    pub fn u16_hex(&mut self, name: &str, key: u16, mask: Option<u16>) {
        let hex = |v: u16| Hex(v.into()).to_string();
        self.field(name, (key, mask), (0, u16::MAX), hex, hex);
    }

    /// A tunnel key, whose 0 is shown with the prefix.
    pub fn tun_id(&mut self, key: u64, mask: Option<u64>) {
        let hex = |v: u64| Hex(v).to_string();
        self.field("tun_id", (key, mask), (0, u64::MAX), |v| format!("0x{v:x}"), hex);
    }

    /// An IPv6 flow label: a mask of its 20 bits is full.
    pub fn label(&mut self, key: u32, mask: Option<u32>) {
        let hex = |v: u32| Hex(v.into()).to_string();
        let mask = mask.map(|m| if m & 0xfffff == 0xfffff { u32::MAX } else { m });
        self.field("label", (key, mask), (0, u32::MAX), hex, hex);
    }

    /// The fragment type, whose mask is all or nothing; nothing is not even shown when verbose.
    pub fn frag(&mut self, key: u8, mask: Option<u8>) {
        let name = match (key, mask) {
            (_, Some(0)) => return,
            (_, Some(mask @ 1..=0xfe)) => {
                let out = self.item();
                let text = "error: partial mask not supported for frag";
                return put(out, format_args!("{text} ({})", Hex(mask.into())));
            }
            (0, _) => "no",
            (1, _) => "first",
            (2, _) => "later",
            _ => "<error>",
        };
        put(self.item(), format_args!("frag={name}"));
    }
}

/// Names of flag bits.
#[derive(Clone, Copy)]
pub(in crate::odp) struct Flags(pub &'static [(u32, &'static str)]);

impl Flags {
    pub const TUNNEL: Self = Self(&[(1, "oam"), (2, "df"), (4, "csum"), (8, "key")]);
    pub const CT_STATE: Self = Self(&[
        (0x01, "new"),
        (0x02, "est"),
        (0x04, "rel"),
        (0x08, "rpl"),
        (0x10, "inv"),
        (0x20, "trk"),
        (0x40, "snat"),
        (0x80, "dnat"),
    ]);
    pub const TCP: Self = Self(&[
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
    ]);

    pub fn name(self, bit: u32) -> Option<&'static str> {
        self.0.iter().find(|(b, _)| *b == bit).map(|(_, name)| *name)
    }

    pub fn bit(self, name: &str) -> Option<u32> {
        self.0.iter().find(|(_, n)| *n == name).map(|(bit, _)| *bit)
    }

    /// Appends the names of the bits that are set, and the others as one number.
    pub fn put(self, flags: u32, separator: char, out: &mut String) {
        if flags == 0 {
            return out.push('0');
        }
        let mut list = String::new();
        let mut unnamed = 0;
        for bit in bits(flags) {
            match self.name(bit) {
                Some(name) => put(&mut list, format_args!("{name}{separator}")),
                None => unnamed |= bit,
            }
        }
        if unnamed != 0 {
            put(&mut list, format_args!("0x{unnamed:x}{separator}"));
        }
        out.push_str(list.trim_end_matches(separator));
    }

    /// Appends the bits of the mask with a sign each; as [`Self::put`] when it is all there is.
    pub fn put_masked(self, flags: u32, mask: u32, all: u32, out: &mut String) {
        if mask == all {
            return self.put(flags, '|', out);
        }
        if mask == 0 {
            return out.push_str("0/0");
        }
        for bit in bits(mask) {
            out.push(if flags & bit != 0 { '+' } else { '-' });
            out.push_str(self.name(bit).unwrap_or("[Unknown]"));
        }
    }
}

/// The bits that are set, from the lowest.
fn bits(flags: u32) -> impl Iterator<Item = u32> {
    (0..u32::BITS).map(|i| 1 << i).filter(move |bit| flags & bit != 0)
}
