//! Datapath flows as text and JSON for the control socket, in the peer's words.

use ovs_netlink::flow::FlowMsg;
use serde_json::{Value, json};

use crate::datapath::{Datapath, DpError, FlowTotals};
use crate::odp::format::{PortNames, Style, format_actions, format_key, format_tcp_flags};
use crate::odp::ufid::Ufid;

/// A flow's parts as text.
pub struct FlowText {
    /// Key and mask.
    pub key: String,
    /// Actions.
    pub actions: String,
}

impl FlowText {
    /// Of a flow given by its encoded parts; ports by name.
    pub fn of(key: &[u8], mask: &[u8], actions: &[u8], names: &PortNames) -> Self {
        let style = Style { names: Some(names), verbose: false };
        let mut text = Self { key: String::new(), actions: String::new() };
        format_key(key, Some(mask), style, &mut text.key);
        format_actions(actions, style.names, &mut text.actions);
        text
    }
}

/// Which of the peer's two forms a line has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// Of `dpctl/dump-flows`: with `-m` it says which layer forwards by the flow.
    Dpctl,
    /// Of `dpif/dump-flows`.
    Dpif,
}

/// A line of a dump of flows, without its end.
pub fn dump_line(flow: &FlowMsg<'_>, style: Style<'_>, now_ms: u64, layout: Layout) -> String {
    let stats = flow.stats.unwrap_or_default();
    let totals = FlowTotals {
        packets: stats.packets,
        bytes: stats.bytes,
        used_ms: flow.used_ms,
        tcp_flags: flow.tcp_flags.unwrap_or(0),
    };
    let mut line = String::new();
    if let Some(ufid) = flow.ufid.filter(|_| style.verbose) {
        line.push_str(&Ufid(ufid).to_string());
        line.push_str(if layout == Layout::Dpctl { ", " } else { " " });
    }
    format_key(flow.key.unwrap_or_default(), flow.mask, style, &mut line);
    line.push_str(", ");
    line.push_str(&stats_text(&totals, now_ms));
    if style.verbose && layout == Layout::Dpctl {
        line.push_str(", dp:ovs");
    }
    line.push_str(", actions:");
    format_actions(flow.actions.unwrap_or_default(), style.names, &mut line);
    line
}

/// A flow's counters: `packets:3, bytes:180, used:0.200s, flags:S`.
pub fn stats_text(totals: &FlowTotals, now_ms: u64) -> String {
    let used = totals.used_ms.map(|used_ms| now_ms.saturating_sub(used_ms));
    let used =
        used.map_or_else(|| "never".to_owned(), |ms| format!("{}.{:03}s", ms / 1000, ms % 1000));
    let mut text = format!("packets:{}, bytes:{}, used:{used}", totals.packets, totals.bytes);
    if totals.tcp_flags != 0 {
        text.push_str(", flags:");
        format_tcp_flags(u16::from(totals.tcp_flags), &mut text);
    }
    text
}

/// The same as a JSON object.
pub fn dump_json(flow: &FlowMsg<'_>, style: Style<'_>, now_ms: u64) -> Value {
    let stats = flow.stats.unwrap_or_default();
    let (mut key, mut actions) = (String::new(), String::new());
    format_key(flow.key.unwrap_or_default(), flow.mask, style, &mut key);
    format_actions(flow.actions.unwrap_or_default(), style.names, &mut actions);
    json!({
        "ufid": flow.ufid.map(|ufid| Ufid(ufid).to_string()),
        "flow": key, "actions": actions, "packets": stats.packets, "bytes": stats.bytes,
        "used_ms_ago": flow.used_ms.map(|used_ms| now_ms.saturating_sub(used_ms)),
    })
}

/// The names of a datapath's ports.
///
/// # Errors
/// When they cannot be listed.
pub fn port_names(datapath: &dyn Datapath) -> Result<PortNames, DpError> {
    let mut names = PortNames::default();
    for port in datapath.ports()? {
        names.insert(port.odp.0, &port.name);
    }
    Ok(names)
}
