//! A configuration as the TOML that standalone mode reads, for recordings.
//!
//! What always holds: what the file can say comes back as it was. What it cannot say is left out:
//! kinds of devices that standalone mode does not have, all but the first interface of a port, timeouts of
//! conntrack zones.

use std::fmt::Write as _;

use super::{BridgeConfig, Config, FailMode, InterfaceConfig, InterfaceKind, PortConfig};
use crate::l2::fdb::FdbConfig;
use crate::snapshot::{PriorityTags, QinqType, VlanMode};

impl Config {
    /// See the module's page.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let settings = &self.settings;
        let mut other = Table::default();
        other.number("n-handler-threads", settings.n_handler_threads);
        other.number("n-revalidator-threads", settings.n_revalidator_threads);
        other.number("max-idle", settings.max_idle_ms);
        other.number("max-revalidator", settings.max_revalidator_ms);
        other.number("flow-limit", settings.flow_limit);
        other.number("vlan-limit", settings.vlan_limit);
        if !other.0.is_empty() {
            let _ = write!(text, "[other-config]\n{}", other.0);
        }
        for (name, bridge) in &self.bridges {
            let _ = write!(text, "[bridge.{}]\n{}", quoted(name), bridge_table(bridge).0);
            for port in bridge.ports.values() {
                let Some((interface_name, interface)) = port.interfaces.first_key_value() else {
                    continue;
                };
                if interface_name == name {
                    continue;
                }
                if let Some(table) = port_table(port, interface) {
                    let (bridge, port) = (quoted(name), quoted(interface_name));
                    let _ = write!(text, "[bridge.{bridge}.port.{port}]\n{}", table.0);
                }
            }
        }
        text
    }
}

fn bridge_table(bridge: &BridgeConfig) -> Table {
    let mut table = Table::default();
    if bridge.fail_mode == FailMode::Secure {
        table.text("fail-mode", "secure");
    }
    if !bridge.datapath_type.is_empty() {
        table.text("datapath-type", &bridge.datapath_type);
    }
    if let Some(mac) = bridge.mac {
        table.text("mac", &mac.to_string());
    }
    if let Some(id) = bridge.datapath_id {
        table.text("datapath-id", &format!("{id:016x}"));
    }
    if bridge.forward_bpdu {
        table.number("forward-bpdu", Some(true));
    }
    let default = FdbConfig::default();
    let fdb = &bridge.fdb;
    table.number(
        "mac-table-size",
        (fdb.max_entries != default.max_entries).then_some(fdb.max_entries),
    );
    let seconds = fdb.aging_ms / 1000;
    table.number("mac-aging-time", (fdb.aging_ms != default.aging_ms).then_some(seconds));
    table.list("flood-vlans", &fdb.flood_vlans);
    table
}

fn port_table(port: &PortConfig, interface: &InterfaceConfig) -> Option<Table> {
    let mut table = Table::default();
    match &interface.kind {
        InterfaceKind::System => {}
        InterfaceKind::Dummy(_) => table.text("type", "dummy"),
        InterfaceKind::Internal => table.text("type", "internal"),
        InterfaceKind::Patch { peer } => {
            table.text("type", "patch");
            table.text("peer", peer);
        }
        InterfaceKind::Refused(_) => return None,
    }
    table.number("tag", port.tag);
    if port.mode() != VlanMode::Access {
        table.list("trunks", &port.trunks);
    }
    if let Some(VlanMode::Dot1qTunnel(kind)) = port.vlan_mode {
        table.list("cvlans", &port.cvlans);
        let kind = match kind {
            QinqType::Dot1ad => "802.1ad",
            QinqType::Dot1q => "802.1q",
        };
        table.text("qinq-ethtype", kind);
    }
    if let Some(mode) = port.vlan_mode {
        table.text(
            "vlan-mode",
            match mode {
                VlanMode::Access => "access",
                VlanMode::Trunk => "trunk",
                VlanMode::NativeTagged => "native-tagged",
                VlanMode::NativeUntagged => "native-untagged",
                VlanMode::Dot1qTunnel(_) => "dot1q-tunnel",
            },
        );
    }
    match port.priority_tags {
        PriorityTags::Never => {}
        PriorityTags::IfNonzero => table.text("priority-tags", "if-nonzero"),
        PriorityTags::Always => table.text("priority-tags", "always"),
    }
    table.number("ofport", interface.ofport_request);
    if let Some(mac) = interface.mac {
        table.text("mac", &mac.to_string());
    }
    table.number("mtu-request", interface.mtu_request);
    Some(table)
}

/// Lines of one table.
#[derive(Default)]
struct Table(String);

impl Table {
    fn number(&mut self, key: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            let _ = writeln!(self.0, "{key} = {}", value.to_string());
        }
    }

    fn text(&mut self, key: &str, value: &str) {
        let _ = writeln!(self.0, "{key} = {}", quoted(value));
    }

    fn list(&mut self, key: &str, values: &[u16]) {
        if !values.is_empty() {
            let _ = writeln!(self.0, "{key} = {values:?}");
        }
    }
}

/// As a basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
