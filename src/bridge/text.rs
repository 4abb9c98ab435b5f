//! Datapath flows as text and JSON for the control socket, in the peer's words.

use ovs_netlink::flow::FlowMsg;
use serde_json::{Value, json};

use crate::datapath::{Datapath, DpError};
use crate::odp::format::{FlowLine, PortNames, Style, format_actions, format_flow, format_key};
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

/// A line of `dpctl/dump-flows`, without its end.
pub fn dump_line(flow: &FlowMsg<'_>, style: Style<'_>, now_ms: u64) -> String {
    let stats = flow.stats.unwrap_or_default();
    let mut line = String::new();
    let flow = FlowLine {
        ufid: flow.ufid.map(Ufid),
        key: flow.key.unwrap_or_default(),
        mask: flow.mask,
        actions: flow.actions.unwrap_or_default(),
        packets: stats.packets,
        bytes: stats.bytes,
        used_ms_ago: flow.used_ms.map(|used_ms| now_ms.saturating_sub(used_ms)),
        tcp_flags: u16::from(flow.tcp_flags.unwrap_or(0)),
    };
    format_flow(&flow, style, &mut line);
    line
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
