//! Datapath flows from text: the inverse of [`mod@super::format`].
//!
//! What the peer's tools print and take is taken here, verbose or terse, with port names or numbers:
//! for `dpctl/add-flow`, for tests, for replaying a dump. A field without a mask is matched exactly,
//! one that is not named is wildcarded.
//!
//! What always holds: any text is taken or refused with the place of the fault; nothing nests deeper
//! than [`DEPTH_MAX`]; what was formatted is read back as the same bytes. Not on the road of a
//! packet. Plain functions: any thread.

mod action;
mod key;
mod scan;
mod tunnel;

use std::str::FromStr;

use scan::Scanner;
use thiserror::Error;

pub use action::parse_actions;
pub use key::parse_key;

use super::action::OdpActions;
use super::format::PortNames;
use super::ufid::Ufid;

/// How deep parentheses may nest in a text.
pub const DEPTH_MAX: usize = 32;

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected {expected} at {rest:?}")]
pub struct ParseError {
    /// What should have stood there.
    pub expected: &'static str,
    /// Where: bytes from the beginning of the text.
    pub at: usize,
    /// The beginning of what stood there.
    pub rest: String,
}

impl ParseError {
    /// The peer's words for a key of this text that cannot be read: all from the attribute on in which
    /// the fault is.
    pub fn syntax_error(&self, text: &str) -> String {
        let (mut depth, mut start) = (0usize, 0);
        for (at, c) in text.char_indices().take_while(|(at, _)| *at <= self.at) {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                ',' | ' ' | '\t' | '\r' | '\n' if depth == 0 && at < self.at => {
                    start = at + c.len_utf8();
                }
                _ => {}
            }
        }
        format!("syntax error at {}", text.get(start..).unwrap_or_default())
    }
}

/// A line of a dump of flows, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowText {
    /// Id of the flow, if the line has one.
    pub ufid: Option<Ufid>,
    /// Encoded key.
    pub key: Vec<u8>,
    /// Encoded mask.
    pub mask: Vec<u8>,
    /// Encoded actions.
    pub actions: OdpActions,
    /// Packets that matched.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Milliseconds since the last of them; none before the first.
    pub used_ms_ago: Option<u64>,
    /// TCP flags seen, or-ed.
    pub tcp_flags: u16,
}

/// Reads a line of a dump of flows. Items that this program does not know (`dp:ovs`,
/// `offloaded:yes`, …) are passed over.
///
/// # Errors
/// Where the line is not one.
pub fn parse_flow(text: &str, names: Option<&PortNames>) -> Result<FlowText, ParseError> {
    let mut flow = FlowText::default();
    let mut s = Scanner::new(text, names);
    flow.ufid = key::key(&mut s, &mut flow.key, &mut flow.mask)?;
    loop {
        s.skip_separators();
        let Some((name, value)) = s.peek_item() else { return Err(s.expected("actions:")) };
        if name == "actions" {
            s.advance(name.len() + 1);
            action::actions(&mut s, &mut flow.actions)?;
            s.skip_separators();
            return if s.rest().is_empty() { Ok(flow) } else { Err(s.expected("an action")) };
        }
        match name {
            "packets" => flow.packets = number(&s, value)?,
            "bytes" => flow.bytes = number(&s, value)?,
            "used" if value != "never" => flow.used_ms_ago = Some(seconds(&s, value)?),
            "flags" => flow.tcp_flags = tcp_flags(value),
            _ => {}
        }
        s.advance(name.len() + 1 + value.len());
    }
}

fn number<T: FromStr>(s: &Scanner<'_>, text: &str) -> Result<T, ParseError> {
    text.parse().map_err(|_| s.expected("a number"))
}

/// Reads `1.052s` as milliseconds.
fn seconds(s: &Scanner<'_>, text: &str) -> Result<u64, ParseError> {
    let number_text = text.strip_suffix('s').unwrap_or(text);
    let (whole, fraction) = number_text.split_once('.').unwrap_or((number_text, ""));
    let whole: u64 = number(s, whole)?;
    let mut ms = 0;
    for digit in fraction.chars().chain("000".chars()).take(3) {
        ms = ms * 10 + u64::from(digit.to_digit(10).ok_or_else(|| s.expected("seconds"))?);
    }
    Ok(whole.saturating_mul(1000).saturating_add(ms))
}

/// Reads TCP flags as `tcpdump` shows them.
fn tcp_flags(text: &str) -> u16 {
    const LETTERS: [(char, u16); 9] = [
        ('S', 0x002),
        ('F', 0x001),
        ('P', 0x008),
        ('R', 0x004),
        ('U', 0x020),
        ('.', 0x010),
        ('E', 0x040),
        ('C', 0x080),
        ('N', 0x100),
    ];
    let letters = LETTERS.iter().filter(|(letter, _)| text.contains(*letter));
    let numbers =
        [0x200, 0x400, 0x800].into_iter().filter(|bit| text.contains(&format!("[{bit:x}]")));
    letters.map(|(_, bit)| *bit).chain(numbers).fold(0, |flags, bit| flags | bit)
}

#[cfg(test)]
mod tests;
