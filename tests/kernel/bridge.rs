//! What a bridge shall be, in one form that both daemons can be told.
//!
//! [`Setup`] renders to `ovs-vsctl` commands for the stock daemon and to the TOML file of
//! `--standalone` for ours.

use std::fmt::Write;

/// Bridges and the daemon's own settings.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Every bridge.
    pub bridges: Vec<Bridge>,
    /// `Open_vSwitch other_config`: n-handler-threads, max-idle (ms), flow-limit, max-revalidator.
    pub other_config: Vec<(&'static str, u32)>,
}

/// One bridge; its local port bears its name.
#[derive(Clone, Debug)]
pub struct Bridge {
    /// Name, at most 15 bytes.
    pub name: String,
    /// `other_config:hwaddr`.
    pub mac: Option<&'static str>,
    /// `other_config:mac-table-size`.
    pub mac_table_size: Option<u32>,
    /// `other_config:mac-aging-time`, seconds.
    pub mac_aging_time: Option<u32>,
    /// Ports in the order in which they are added.
    pub ports: Vec<Port>,
}

/// One port.
#[derive(Clone, Debug)]
pub struct Port {
    /// Name of the device.
    pub name: String,
    /// Access VLAN, or the native one.
    pub tag: Option<u16>,
    /// VLANs of a trunk; empty means all.
    pub trunks: Vec<u16>,
    /// access, trunk, native-tagged, native-untagged or dot1q-tunnel; the daemon infers it if absent.
    pub vlan_mode: Option<&'static str>,
    /// Customers' VLANs of a tunnel; empty means all.
    pub cvlans: Vec<u16>,
    /// `other_config:qinq-ethtype` of a tunnel.
    pub qinq_ethtype: Option<&'static str>,
    /// An internal port, which the datapath creates.
    pub internal: bool,
    /// A patch port, and the name of its peer.
    pub peer: Option<&'static str>,
}

impl Setup {
    /// One bridge `br0` with these ports.
    pub fn one(ports: Vec<Port>) -> Self {
        let bridge = Bridge {
            name: "br0".into(),
            mac: Some("02:00:00:00:00:ff"),
            mac_table_size: None,
            mac_aging_time: None,
            ports,
        };
        Self { bridges: vec![bridge], other_config: Vec::new() }
    }

    /// Adds a setting of the daemon.
    pub fn with(mut self, key: &'static str, value: u32) -> Self {
        self.other_config.push((key, value));
        self
    }

    /// Arguments of one `ovs-vsctl` transaction that makes a database say this, where bridges
    /// and ports may be there already; `leftover` ports are taken away.
    pub fn vsctl(&self, leftover: &[String]) -> Vec<String> {
        let mut argv: Vec<String> = Vec::new();
        let mut command = |words: &[&str]| {
            argv.push("--".into());
            argv.extend(words.iter().map(|w| (*w).to_string()));
        };
        for port in leftover {
            command(&["del-port", port]);
        }
        for (key, value) in &self.other_config {
            command(&["set", "Open_vSwitch", ".", &format!("other_config:{key}={value}")]);
        }
        for bridge in &self.bridges {
            command(&["--may-exist", "add-br", &bridge.name]);
            let other = [
                bridge.mac.map(|m| format!("hwaddr=\"{m}\"")),
                bridge.mac_table_size.map(|n| format!("mac-table-size={n}")),
                bridge.mac_aging_time.map(|n| format!("mac-aging-time={n}")),
            ];
            for setting in other.into_iter().flatten() {
                command(&["set", "Bridge", &bridge.name, &format!("other_config:{setting}")]);
            }
            for port in &bridge.ports {
                command(&["--may-exist", "add-port", &bridge.name, &port.name]);
                let columns = ["tag", "trunks", "cvlans", "vlan_mode", "other_config"];
                command(&[&["clear", "Port", &port.name], &columns[..]].concat());
                if let Some(tag) = port.tag {
                    command(&["set", "Port", &port.name, &format!("tag={tag}")]);
                }
                if !port.trunks.is_empty() {
                    let list: Vec<_> = port.trunks.iter().map(u16::to_string).collect();
                    command(&["set", "Port", &port.name, &format!("trunks={}", list.join(","))]);
                }
                if !port.cvlans.is_empty() {
                    let list: Vec<_> = port.cvlans.iter().map(u16::to_string).collect();
                    command(&["set", "Port", &port.name, &format!("cvlans={}", list.join(","))]);
                }
                if let Some(kind) = port.qinq_ethtype {
                    let setting = format!("other_config:qinq-ethtype={kind}");
                    command(&["set", "Port", &port.name, &setting]);
                }
                if let Some(mode) = port.vlan_mode {
                    command(&["set", "Port", &port.name, &format!("vlan_mode={mode}")]);
                }
                if port.internal {
                    command(&["set", "Interface", &port.name, "type=internal"]);
                }
                if let Some(peer) = port.peer {
                    let options = format!("options:peer={peer}");
                    command(&["set", "Interface", &port.name, "type=patch", &options]);
                }
            }
        }
        argv
    }

    /// The file for `--standalone`.
    pub fn toml(&self) -> String {
        let mut out = String::new();
        if !self.other_config.is_empty() {
            out.push_str("[other-config]\n");
            for (key, value) in &self.other_config {
                let _ = writeln!(out, "{key} = {value}");
            }
        }
        for bridge in &self.bridges {
            let _ = writeln!(out, "[bridge.\"{}\"]", bridge.name);
            if let Some(mac) = bridge.mac {
                let _ = writeln!(out, "mac = \"{mac}\"");
            }
            if let Some(n) = bridge.mac_table_size {
                let _ = writeln!(out, "mac-table-size = {n}");
            }
            if let Some(n) = bridge.mac_aging_time {
                let _ = writeln!(out, "mac-aging-time = {n}");
            }
            for port in &bridge.ports {
                let _ = writeln!(out, "[bridge.\"{}\".port.\"{}\"]", bridge.name, port.name);
                if let Some(tag) = port.tag {
                    let _ = writeln!(out, "tag = {tag}");
                }
                if !port.trunks.is_empty() {
                    let _ = writeln!(out, "trunks = {:?}", port.trunks);
                }
                if !port.cvlans.is_empty() {
                    let _ = writeln!(out, "cvlans = {:?}", port.cvlans);
                }
                if let Some(kind) = port.qinq_ethtype {
                    let _ = writeln!(out, "qinq-ethtype = \"{kind}\"");
                }
                if let Some(mode) = port.vlan_mode {
                    let _ = writeln!(out, "vlan-mode = \"{mode}\"");
                }
                if port.internal {
                    out.push_str("type = \"internal\"\n");
                }
                if let Some(peer) = port.peer {
                    let _ = writeln!(out, "type = \"patch\"\npeer = \"{peer}\"");
                }
            }
        }
        out
    }
}

impl Bridge {
    /// Names of its devices, its own among them; patch ports have none.
    pub fn devices(&self) -> impl Iterator<Item = &str> + Clone {
        let ports = self.ports.iter().filter(|port| port.peer.is_none());
        ports.map(|port| port.name.as_str()).chain([self.name.as_str()])
    }
}

impl Port {
    /// A port that passes every VLAN.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            tag: None,
            trunks: vec![],
            vlan_mode: None,
            cvlans: vec![],
            qinq_ethtype: None,
            internal: false,
            peer: None,
        }
    }

    /// An access port of VLAN `tag`.
    pub fn access(name: &str, tag: u16) -> Self {
        Self { tag: Some(tag), ..Self::new(name) }
    }

    /// A patch port.
    pub fn patch(name: &str, peer: &'static str) -> Self {
        Self { peer: Some(peer), ..Self::new(name) }
    }

    /// A trunk of these VLANs.
    pub fn trunk(name: &str, trunks: &[u16]) -> Self {
        Self { trunks: trunks.to_vec(), ..Self::new(name) }
    }

    /// A tunnel through VLAN `tag` for these customers' VLANs.
    pub fn tunnel(name: &str, tag: u16, cvlans: &[u16]) -> Self {
        let mode = Some("dot1q-tunnel");
        Self { tag: Some(tag), vlan_mode: mode, cvlans: cvlans.to_vec(), ..Self::new(name) }
    }

    /// A trunk with a native VLAN that leaves without tag.
    pub fn native_untagged(name: &str, tag: u16, trunks: &[u16]) -> Self {
        Self { tag: Some(tag), vlan_mode: Some("native-untagged"), ..Self::trunk(name, trunks) }
    }

    /// A trunk with a native VLAN that leaves with its tag.
    pub fn native_tagged(name: &str, tag: u16, trunks: &[u16]) -> Self {
        Self { tag: Some(tag), vlan_mode: Some("native-tagged"), ..Self::trunk(name, trunks) }
    }
}
