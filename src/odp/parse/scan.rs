//! The scanner under the parser: words, numbers, addresses, masks, parentheses.
//!
//! What always holds: the position only moves forward and always stands between characters. Plain
//! values: any thread.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{DEPTH_MAX, ParseError};
use crate::odp::format::PortNames;
use crate::odp::format::fields::Flags;

/// A text and a place in it.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    pub names: Option<&'a PortNames>,
}

type Result<T> = std::result::Result<T, ParseError>;

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str, names: Option<&'a PortNames>) -> Self {
        Self { text, at: 0, depth: 0, names }
    }

    pub fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub fn advance(&mut self, bytes: usize) {
        self.at += bytes;
    }

    pub fn expected(&self, expected: &'static str) -> ParseError {
        ParseError { expected, at: self.at, rest: self.rest().chars().take(20).collect() }
    }

    pub fn skip_separators(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n', ',']).len();
    }

    pub fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    pub fn need(&mut self, text: &'static str) -> Result<()> {
        if self.eat(text) { Ok(()) } else { Err(self.expected(text)) }
    }

    /// The characters up to one of those that end a word, which may be none.
    pub fn peek_until(&self, ends: &[char]) -> &'a str {
        let rest = self.rest();
        rest.split(ends).next().unwrap_or_default()
    }

    /// `name:value`, up to a comma.
    pub fn peek_item(&self) -> Option<(&'a str, &'a str)> {
        self.peek_until(&[',']).split_once(':')
    }

    /// A name of letters, digits and underscores.
    pub fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let word = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        self.at += word.len();
        word
    }

    /// Characters up to a comma or parenthesis: the name of something.
    pub fn name(&mut self) -> Result<&'a str> {
        let name = self.peek_until(&[',', ')', '(']).trim();
        if name.is_empty() {
            return Err(self.expected("a name"));
        }
        self.at += self.peek_until(&[',', ')', '(']).len();
        Ok(name)
    }

    /// Reads what stands in parentheses, the opening one read already, to the closing one.
    pub fn nested<T>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.expected("fewer nested parentheses"));
        }
        let result = inside(self)?;
        self.depth -= 1;
        self.need(")")?;
        Ok(result)
    }

    /// Reads `name=…` fields in parentheses, the opening one read already. `field` reads what follows
    /// the equals sign, or the name where there is none, and tells whether it knows the name.
    pub fn fields(
        &mut self,
        mut field: impl FnMut(&mut Self, &'a str) -> Result<bool>,
    ) -> Result<()> {
        self.nested(|s| {
            loop {
                s.skip_separators();
                if s.rest().is_empty() || s.rest().starts_with(')') {
                    return Ok(());
                }
                let before = s.at;
                let name = s.word();
                s.eat("=");
                if name.is_empty() || !field(s, name)? {
                    s.at = before;
                    return Err(s.expected("a field"));
                }
            }
        })
    }

    /// A number, in decimal or with `0x`.
    pub fn u64(&mut self) -> Result<u64> {
        let rest = self.rest();
        let (digits, radix, skip) = match rest.strip_prefix("0x").or(rest.strip_prefix("0X")) {
            Some(hex) => (hex, 16, 2),
            None => (rest, 10, 0),
        };
        let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
        let digits = digits.get(..end).unwrap_or_default();
        let value = u64::from_str_radix(digits, radix);
        let value = value.map_err(|_| self.expected("a number"))?;
        self.at += skip + digits.len();
        Ok(value)
    }

    pub fn number<T: TryFrom<u64>>(&mut self) -> Result<T> {
        let before = self.at;
        let value = self.u64()?;
        T::try_from(value).map_err(|_| {
            self.at = before;
            self.expected("a smaller number")
        })
    }

    /// A value, and its mask behind a slash; `full` without one.
    pub fn masked<T>(
        &mut self,
        full: T,
        mut value: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<(T, T)> {
        let key = value(self)?;
        let mask = if self.eat("/") { value(self)? } else { full };
        Ok((key, mask))
    }

    pub fn u8s(&mut self) -> Result<(u8, u8)> {
        self.masked(u8::MAX, Self::number)
    }

    pub fn u16s(&mut self) -> Result<(u16, u16)> {
        self.masked(u16::MAX, Self::number)
    }

    pub fn u32s(&mut self) -> Result<(u32, u32)> {
        self.masked(u32::MAX, Self::number)
    }

    pub fn u64s(&mut self) -> Result<(u64, u64)> {
        self.masked(u64::MAX, Self::number)
    }

    pub fn macs(&mut self) -> Result<([u8; 6], [u8; 6])> {
        self.masked([0xff; 6], Self::mac)
    }

    pub fn ip4s(&mut self) -> Result<([u8; 4], [u8; 4])> {
        self.masked([0xff; 4], Self::ip4)
    }

    pub fn ip6s(&mut self) -> Result<([u8; 16], [u8; 16])> {
        self.masked([0xff; 16], Self::ip6)
    }

    pub fn mac(&mut self) -> Result<[u8; 6]> {
        let mut mac = [0; 6];
        for (i, byte) in mac.iter_mut().enumerate() {
            if i > 0 {
                self.need(":")?;
            }
            let digits = self.take_while(|c| c.is_ascii_hexdigit());
            let value = u8::from_str_radix(digits, 16);
            *byte = value.map_err(|_| self.expected("an Ethernet address"))?;
        }
        Ok(mac)
    }

    pub fn ip4(&mut self) -> Result<[u8; 4]> {
        let before = self.at;
        let text = self.take_while(|c| c.is_ascii_digit() || c == '.');
        text.parse::<Ipv4Addr>().map(|ip| ip.octets()).map_err(|_| {
            self.at = before;
            self.expected("an IPv4 address")
        })
    }

    pub fn ip6(&mut self) -> Result<[u8; 16]> {
        let before = self.at;
        let text = self.take_while(|c| c.is_ascii_hexdigit() || c == ':' || c == '.');
        text.parse::<Ipv6Addr>().map(|ip| ip.octets()).map_err(|_| {
            self.at = before;
            self.expected("an IPv6 address")
        })
    }

    /// A number in hexadecimal of up to `N` bytes, or in decimal of up to eight.
    pub fn big<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        self.big_into(&mut out)?;
        Ok(out)
    }

    /// As [`Self::big`], into a place of any size, right-aligned.
    pub fn big_into(&mut self, out: &mut [u8]) -> Result<()> {
        let Some(hex) = self.rest().strip_prefix("0x") else {
            let value = self.u64()?.to_be_bytes();
            let significant = value.iter().skip_while(|&&byte| byte == 0).count();
            if significant > out.len() {
                return Err(self.expected("a smaller number"));
            }
            out.fill(0);
            out.iter_mut().rev().zip(value.iter().rev()).for_each(|(to, from)| *to = *from);
            return Ok(());
        };
        let end = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
        let digits = hex.get(..end).unwrap_or_default();
        let value = hex_bytes(digits).filter(|_| !digits.is_empty());
        let value = value.ok_or_else(|| self.expected("a number"))?;
        let zeros = value.len().saturating_sub(out.len());
        if value.iter().take(zeros).any(|&byte| byte != 0) {
            return Err(self.expected("a smaller number"));
        }
        out.fill(0);
        out.iter_mut().rev().zip(value.iter().rev()).for_each(|(to, from)| *to = *from);
        self.at += 2 + digits.len();
        Ok(())
    }

    /// Bytes in hexadecimal, with blanks between them or without.
    pub fn bytes(&mut self) -> Result<Vec<u8>> {
        let text = self.take_while(|c| c.is_ascii_hexdigit() || c == ' ');
        let digits: String = text.chars().filter(|c| *c != ' ').collect();
        match hex_bytes(&digits) {
            Some(bytes) if digits.len().is_multiple_of(2) => Ok(bytes),
            _ => Err(self.expected("an even number of hexadecimal digits")),
        }
    }

    /// Flags: a number, `a|b`, or `+a-b`. Without signs all of `all` are meant.
    pub fn flags(&mut self, flags: Flags, all: u32) -> Result<(u32, u32)> {
        if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            return self.masked(all, Self::number);
        }
        let (mut key, mut mask, mut signed) = (0, 0, false);
        loop {
            let set = match () {
                () if self.eat("+") => true,
                () if self.eat("-") => false,
                () if self.eat("|") || mask == 0 => {
                    if signed {
                        return Err(self.expected("a sign"));
                    }
                    mask |= self.flag(flags, &mut key, true)?;
                    continue;
                }
                () => break,
            };
            signed = true;
            mask |= self.flag(flags, &mut key, set)?;
        }
        Ok((key, if signed { mask } else { all }))
    }

    fn flag(&mut self, flags: Flags, key: &mut u32, set: bool) -> Result<u32> {
        let before = self.at;
        // A bit without a name is shown as a number, in brackets or not.
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '[' || c == ']');
        let number = name.strip_prefix("0x").and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let Some(bit) = flags.bit(name).or(number) else {
            self.at = before;
            return Err(self.expected("a flag"));
        };
        if set {
            *key |= bit;
        }
        Ok(bit)
    }

    /// A port, by number or by name.
    pub fn port(&mut self) -> Result<u32> {
        if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            let before = self.at;
            let number = self.number();
            if number.is_ok()
                && matches!(self.rest().chars().next(), None | Some(',' | ')' | '/' | ' '))
            {
                return number;
            }
            self.at = before;
        }
        let before = self.at;
        let name = self.name()?;
        self.names.and_then(|names| names.port(name)).ok_or_else(|| {
            self.at = before;
            self.expected("a port")
        })
    }

    fn take_while(&mut self, mut wanted: impl FnMut(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }
}

/// Hexadecimal digits as bytes; an odd one stands alone at the front.
fn hex_bytes(digits: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (odd, pairs) = digits.as_bytes().split_at_checked(digits.len() % 2)?;
    let first = odd.iter().map(|&c| digit(c));
    let rest = pairs.as_chunks::<2>().0.iter().map(|&[a, b]| Some(digit(a)? << 4 | digit(b)?));
    first.chain(rest).collect()
}
