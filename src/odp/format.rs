//! Datapath flows as text, exactly as the peer's tools print them (`ovs-dpctl dump-flows`).
//!
//! Two forms of one text: the terse one leaves out what the mask wildcards, the verbose one (`-m`)
//! shows all with its mask. A field that is matched exactly has no mask behind it; an attribute of
//! unknown type is shown as `key32(00 00/00 00)`.
//!
//! What always holds: any bytes can be shown; what was shown can be read by
//! `odp::parse` and by the peer. Nothing here is on the road of a packet. Plain
//! functions: any thread.

mod action;
pub(in crate::odp) mod fields;
mod key;
mod tunnel;

use std::collections::HashMap;
use std::fmt::Write;

pub use action::{format_actions, format_tcp_flags};
pub use key::format_key;

use super::ufid::Ufid;

/// Names of datapath ports, both ways.
#[derive(Clone, Debug, Default)]
pub struct PortNames {
    names: HashMap<u32, String>,
    ports: HashMap<String, u32>,
}

impl PortNames {
    /// Gives a port a name; a name that it had, or that another port had, is forgotten.
    pub fn insert(&mut self, port: u32, name: &str) {
        if let Some(old) = self.names.insert(port, name.to_owned()) {
            self.ports.remove(&old);
        }
        if let Some(old) = self.ports.insert(name.to_owned(), port).filter(|&old| old != port) {
            self.names.remove(&old);
        }
    }

    /// The name of a port.
    pub fn name(&self, port: u32) -> Option<&str> {
        self.names.get(&port).map(String::as_str)
    }

    /// The port of this name.
    pub fn port(&self, name: &str) -> Option<u32> {
        self.ports.get(name).copied()
    }
}

/// How flows are shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style<'a> {
    /// Show ports by name where they have one.
    pub names: Option<&'a PortNames>,
    /// Show what is wildcarded, and the flow's id.
    pub verbose: bool,
}

/// One line of a dump of flows.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlowLine<'a> {
    /// Id of the flow; shown when verbose.
    pub ufid: Option<Ufid>,
    /// Encoded key.
    pub key: &'a [u8],
    /// Encoded mask; none for an exact match.
    pub mask: Option<&'a [u8]>,
    /// Encoded actions.
    pub actions: &'a [u8],
    /// Packets that matched.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Milliseconds since the last of them; none before the first.
    pub used_ms_ago: Option<u64>,
    /// TCP flags seen, or-ed.
    pub tcp_flags: u16,
}

/// Appends a line of a dump, without its end of line.
pub fn format_flow(flow: &FlowLine<'_>, style: Style<'_>, out: &mut String) {
    if let Some(ufid) = flow.ufid.filter(|_| style.verbose) {
        put(out, format_args!("{ufid}, "));
    }
    format_key(flow.key, flow.mask, style, out);
    put(out, format_args!(", packets:{}, bytes:{}, used:", flow.packets, flow.bytes));
    match flow.used_ms_ago {
        Some(ms) => put(out, format_args!("{}.{:03}s", ms / 1000, ms % 1000)),
        None => out.push_str("never"),
    }
    if flow.tcp_flags != 0 {
        out.push_str(", flags:");
        format_tcp_flags(flow.tcp_flags, out);
    }
    out.push_str(", actions:");
    format_actions(flow.actions, style.names, out);
}

/// Writes to a string, which cannot fail.
fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

/// Appends a port's name, or its number.
fn put_port(port: u32, names: Option<&PortNames>, out: &mut String) {
    match names.and_then(|names| names.name(port)) {
        Some(name) => out.push_str(name),
        None => put(out, format_args!("{port}")),
    }
}

/// Appends bytes in hexadecimal, without separators.
fn put_hex(bytes: &[u8], out: &mut String) {
    bytes.iter().for_each(|byte| put(out, format_args!("{byte:02x}")));
}

/// Appends bytes as one number in hexadecimal, without leading zeros.
fn put_hex_number(bytes: &[u8], out: &mut String) {
    let mut digits = bytes.iter().skip_while(|&&byte| byte == 0);
    match digits.next() {
        None => out.push('0'),
        Some(first) => {
            put(out, format_args!("0x{first:x}"));
            digits.for_each(|byte| put(out, format_args!("{byte:02x}")));
        }
    }
}

/// Appends what is left of a list that is not well formed.
fn put_leftover(rest: &[u8], whole: &[u8], out: &mut String) {
    if rest.is_empty() {
        return;
    }
    if rest.len() == whole.len() {
        out.push_str("<empty>");
    }
    put(out, format_args!(",***{} leftover bytes*** (", rest.len()));
    put_hex(rest, out);
    out.push(')');
}

#[cfg(test)]
mod tests;
