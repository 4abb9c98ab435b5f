//! What the database wants: its rows as a [`Config`].
//!
//! What always holds: it is a pure function; a row that makes no sense costs that row alone, with the
//! text that goes into `Interface.error` or a line in the log, in the peer's words; what is
//! accepted and has no effect here is said once. No input makes it panic.
//!
//! Sources: ovs-vswitchd.conf.db(5); where that is silent, the peer's behaviour.

mod ct_zones;
mod other_config;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use self::ct_zones::ct_zones;
use self::other_config::{boolean, ignored_settings, int, settings};
use crate::bridge::config::{
    BOND_INSTEAD, BridgeConfig, Config, FailMode, InterfaceConfig, InterfaceKind, Lacking,
    PortConfig,
};
use crate::bridge::engine::DummyMode;
use crate::flow::EthAddr;
use crate::l2::fdb::FdbConfig;
use crate::ovsdb::replica::{Replica, Row};
use crate::ovsdb::schema::Table;
use crate::ovsdb::value::{Atom, Uuid};
use crate::snapshot::{PriorityTags, QinqType, VlanMode};

/// What the rows are judged by, beside themselves.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// `Interface.ofport` as it was when a row was first seen: the number of an earlier run.
    pub recorded: &'a BTreeMap<Uuid, u16>,
    /// Which types are dummies.
    pub dummy: DummyMode,
    /// `flow-restore-wait` was taken away once; from then on it has no effect.
    pub restored: bool,
}

/// What the database wants.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Desired {
    /// As the engine takes it.
    pub config: Arc<Config>,
    /// `enable-statistics`.
    pub enable_statistics: bool,
    /// Where the outcome goes.
    pub rows: Rows,
    /// What does not make sense, or has no effect.
    pub complaints: BTreeSet<Complaint>,
}

/// Rows by the names that a [`Config`] has for them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rows {
    /// Bridges.
    pub bridges: BTreeMap<String, Uuid>,
    /// Interfaces, by bridge and their own name.
    pub interfaces: BTreeMap<(String, String), Uuid>,
}

/// A line for the log.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Complaint {
    /// Error (true) or warning.
    pub is_error: bool,
    /// What is wrong.
    pub text: String,
}

/// Reads the rows.
pub fn desire(replica: &Replica, around: Circumstances<'_>) -> Desired {
    let mut reading = Reading {
        replica,
        around,
        owners: BTreeMap::new(),
        taken: BTreeSet::new(),
        desired: Desired::default(),
        config: Config::default(),
    };
    if let Some(root) = replica.root() {
        reading.root(root);
    }
    Desired { config: Arc::new(reading.config), ..reading.desired }
}

struct Reading<'a> {
    replica: &'a Replica,
    around: Circumstances<'a>,
    /// Bridge and kind of each interface name: a device can be in one bridge only.
    owners: BTreeMap<&'a str, InterfaceKind>,
    /// Interface rows that are in use.
    taken: BTreeSet<Uuid>,
    desired: Desired,
    /// That of `desired`.
    config: Config,
}

impl<'a> Reading<'a> {
    fn error(&mut self, text: impl fmt::Display) {
        self.desired.complaints.insert(Complaint { is_error: true, text: text.to_string() });
    }

    fn warn(&mut self, text: impl fmt::Display) {
        self.desired.complaints.insert(Complaint { is_error: false, text: text.to_string() });
    }

    fn root(&mut self, root: &'a Row) {
        self.config.settings = settings(root, self.around.restored);
        self.desired.enable_statistics = boolean(root, "enable-statistics");
        if boolean(root, "dpdk-init") {
            self.error("DPDK not supported in this copy of Open vSwitch.");
        }
        let ignored = ignored_settings(root);
        if !ignored.is_empty() {
            self.warn(format!("other_config without effect here: {}", ignored.join(", ")));
        }
        for (kind, row) in root.pairs("datapaths") {
            let (Some(kind), Atom::Uuid(row)) = (kind.as_str(), row) else { continue };
            let Some(row) = self.replica.row(Table::Datapath, row) else { continue };
            let zones = ct_zones(self.replica, row);
            if !zones.is_empty() {
                self.config.ct_zones.insert(kind.to_owned(), zones);
            }
        }
        let mut bridges: BTreeMap<&str, &Row> = BTreeMap::new();
        for row in self.rows(Table::Bridge, root, "bridges") {
            let name = row.string("name");
            if name.is_empty() || name.contains(['/', '\\']) {
                self.warn(format!("ignoring bridge with invalid name \"{name}\""));
            } else if bridges.contains_key(name) {
                self.warn(format!("bridge {name} specified twice"));
            } else {
                // A bridge's own device comes before any port of that name.
                self.owners.insert(name, InterfaceKind::Internal);
                bridges.insert(name, row);
            }
        }
        for (name, row) in bridges {
            let bridge = self.bridge(name, row);
            self.desired.rows.bridges.insert(name.to_owned(), row.uuid());
            self.config.bridges.insert(name.to_owned(), bridge);
        }
    }

    fn rows(&self, table: Table, row: &'a Row, column: &'a str) -> Vec<&'a Row> {
        row.uuids(column).filter_map(|uuid| self.replica.row(table, &uuid)).collect()
    }

    fn bridge(&mut self, name: &str, row: &'a Row) -> BridgeConfig {
        self.complain_of_what_is_missing(name, row);
        let mut config = BridgeConfig {
            datapath_type: row.string("datapath_type").to_owned(),
            fail_mode: match row.opt_string("fail_mode") {
                None | Some("standalone") => FailMode::Standalone,
                Some(_) => FailMode::Secure,
            },
            mac: self.hardware_address(name, row),
            default_mac: Some(address_of_row(row.uuid())),
            datapath_id: row.key("other_config", "datapath-id").and_then(datapath_id),
            forward_bpdu: boolean(row, "forward-bpdu"),
            fdb: fdb(row),
            ports: BTreeMap::new(),
        };
        for port in self.rows(Table::Port, row, "ports") {
            let port_name = port.string("name");
            if config.ports.contains_key(port_name) {
                self.warn(format!("bridge {name}: {port_name} specified twice as bridge port"));
                continue;
            }
            let port = self.port(name, port);
            if !port.interfaces.is_empty() {
                config.ports.insert(port_name.to_owned(), port);
            }
        }
        config
    }

    /// What other milestones bring: said, so that nobody waits for it.
    fn complain_of_what_is_missing(&mut self, name: &str, row: &Row) {
        let sets = [
            ("mirrors", None),
            ("netflow", None),
            ("sflow", None),
            ("ipfix", None),
            ("controller", Some(Lacking::Controller)),
            ("auto_attach", Some(Lacking::AutoAttach)),
        ];
        let flags = [
            ("stp_enable", Some(Lacking::Stp)),
            ("rstp_enable", Some(Lacking::Rstp)),
            ("mcast_snooping_enable", Some(Lacking::McastSnooping)),
        ];
        let sets = sets.into_iter().filter(|(column, _)| row.uuids(column).next().is_some());
        let flags = flags.into_iter().filter(|(column, _)| row.boolean(column));
        let mut missing = Vec::new();
        for (column, feature) in sets.chain(flags) {
            missing.push(column);
            self.lack(feature, name);
        }
        if !missing.is_empty() {
            let missing = missing.join(", ");
            self.warn(format!("bridge {name}: columns without effect here: {missing}"));
        }
    }

    fn hardware_address(&mut self, name: &str, row: &Row) -> Option<EthAddr> {
        let mac = row.key("other_config", "hwaddr").and_then(address)?;
        if mac.is_multicast() {
            self.error(format!("bridge {name}: cannot set MAC address to multicast address {mac}"));
            return None;
        }
        if mac == EthAddr::ZERO {
            self.error(format!("bridge {name}: cannot set MAC address to zero"));
            return None;
        }
        Some(mac)
    }

    fn port(&mut self, bridge: &str, row: &'a Row) -> PortConfig {
        let name = row.string("name");
        let mut config = PortConfig {
            tag: row.opt_integer("tag").and_then(vlan),
            trunks: row.integers("trunks").filter_map(vlan).collect(),
            cvlans: row.integers("cvlans").filter_map(vlan).collect(),
            vlan_mode: self.vlan_mode(name, row),
            priority_tags: match row.key("other_config", "priority-tags") {
                Some("if-nonzero" | "true") => PriorityTags::IfNonzero,
                Some("always") => PriorityTags::Always,
                _ => PriorityTags::Never,
            },
            mac: row.opt_string("mac").and_then(address),
            fake_bridge: row.boolean("fake_bridge"),
            interfaces: BTreeMap::new(),
        };
        let has_trunks = !config.trunks.is_empty() || !config.cvlans.is_empty();
        if config.vlan_mode.is_none() && config.tag.is_some() && has_trunks {
            self.warn(format!("port {name}: ignoring trunks in favor of implicit vlan"));
        }
        let has_qos = row.opt_uuid("qos").is_some();
        if has_qos || row.boolean("protected") {
            let what = if has_qos { "qos" } else { "protected" };
            self.warn(format!("port {name}: columns without effect here: {what}"));
        }
        if row.opt_string("lacp").is_some_and(|mode| mode != "off") {
            self.warn(format!("port {name}: {} is not supported", Lacking::Lacp));
            self.lack(Some(Lacking::Lacp), name);
        }
        for interface in self.rows(Table::Interface, row, "interfaces") {
            if !self.taken.insert(interface.uuid()) {
                let name = interface.string("name");
                self.warn(format!("bridge {bridge}: interface {name} is in use elsewhere"));
                continue;
            }
            let name = interface.string("name").to_owned();
            let key = (bridge.to_owned(), name.clone());
            if self.desired.rows.interfaces.contains_key(&key) {
                self.warn(format!("bridge {bridge}: interface {name} specified twice"));
                continue;
            }
            let interface_config = self.interface(bridge, interface);
            self.desired.rows.interfaces.insert(key, interface.uuid());
            config.interfaces.insert(name, interface_config);
        }
        if config.is_bond() {
            let what = Lacking::Bond;
            self.warn(format!("port {name}: {what} is not supported; {BOND_INSTEAD}"));
            self.lack(Some(what), name);
        }
        config
    }

    fn lack(&mut self, feature: Option<Lacking>, name: &str) {
        let lacking = feature.map(|feature| (feature, name.to_owned()));
        self.config.lacking.extend(lacking);
    }

    /// Monitoring that others rely on must not be missing silently.
    fn complain_of_monitoring(&mut self, name: &str, row: &Row) {
        let is_asked = [
            (Lacking::Cfm, row.opt_integer("cfm_mpid").is_some()),
            (
                Lacking::Bfd,
                row.key("bfd", "enable").is_some_and(|on| on.eq_ignore_ascii_case("true")),
            ),
        ];
        for (feature, _) in is_asked.into_iter().filter(|(_, is_asked)| *is_asked) {
            self.warn(format!("interface {name}: {feature} is not supported"));
            self.lack(Some(feature), name);
        }
    }

    fn vlan_mode(&mut self, name: &str, row: &Row) -> Option<VlanMode> {
        Some(match row.opt_string("vlan_mode")? {
            "access" => VlanMode::Access,
            "trunk" => VlanMode::Trunk,
            "native-tagged" => VlanMode::NativeTagged,
            "native-untagged" => VlanMode::NativeUntagged,
            "dot1q-tunnel" => {
                VlanMode::Dot1qTunnel(match row.key("other_config", "qinq-ethtype") {
                    Some("802.1q") => QinqType::Dot1q,
                    _ => QinqType::Dot1ad,
                })
            }
            other => {
                let instead = "falling back to trunk mode";
                self.warn(format!("port {name}: unknown VLAN mode {other}, {instead}"));
                VlanMode::Trunk
            }
        })
    }

    fn interface(&mut self, bridge: &str, row: &'a Row) -> InterfaceConfig {
        let name = row.string("name");
        let is_local = name == bridge;
        self.complain_of_monitoring(name, row);
        let mut kind = self.kind(name, is_local, row);
        if !is_local && !matches!(kind, InterfaceKind::Refused(_)) {
            match self.owners.get(name) {
                None => drop(self.owners.insert(name, kind.clone())),
                Some(other) => {
                    let is_alike = std::mem::discriminant(other) == std::mem::discriminant(&kind);
                    kind = InterfaceKind::Refused(if is_alike {
                        format!("could not add network device {name} to ofproto (File exists)")
                    } else {
                        format!("could not open network device {name} (File exists)")
                    });
                }
            }
        }
        InterfaceConfig {
            mac: self.interface_address(name, is_local, &kind, row),
            options: self.dummy_options(&kind, row),
            kind,
            ofport_request: row.opt_integer("ofport_request").and_then(ofport),
            ofport_recorded: self.around.recorded.get(&row.uuid()).copied(),
            mtu_request: row.opt_integer("mtu_request").and_then(|mtu| u32::try_from(mtu).ok()),
        }
    }

    fn kind(&mut self, name: &str, is_local: bool, row: &Row) -> InterfaceKind {
        let refused = |error: &str| {
            InterfaceKind::Refused(format!("could not open network device {name} ({error})"))
        };
        let is_dummys = self.around.dummy != DummyMode::Off && name == "ovs-dummy";
        if is_dummys || is_reserved(name) {
            self.warn(format!("could not create interface {name}, name is reserved"));
            return InterfaceKind::Refused(String::new());
        }
        if name.is_empty() {
            return refused("Invalid argument");
        }
        if is_local {
            return InterfaceKind::Internal;
        }
        match row.string("type") {
            "" | "system" => InterfaceKind::System,
            "internal" => InterfaceKind::Internal,
            "patch" => match patch_peer(name, row) {
                Ok(peer) => InterfaceKind::Patch { peer },
                Err(text) => InterfaceKind::Refused(text),
            },
            dummy @ ("dummy" | "dummy-internal" | "dummy-pmd")
                if self.around.dummy != DummyMode::Off =>
            {
                InterfaceKind::Dummy(dummy.to_owned())
            }
            "tap" if self.around.dummy == DummyMode::Override => {
                InterfaceKind::Dummy("tap".to_owned())
            }
            other => {
                self.warn(format!("could not create netdev {name} of unknown type {other}"));
                refused("Address family not supported by protocol")
            }
        }
    }

    /// Options of a device that is a dummy; others have none that the engine knows.
    fn dummy_options(&self, kind: &InterfaceKind, row: &Row) -> BTreeMap<String, String> {
        let is_dummy = match kind {
            InterfaceKind::Dummy(_) => true,
            InterfaceKind::System => {
                matches!(self.around.dummy, DummyMode::System | DummyMode::Override)
            }
            _ => false,
        };
        let options = row.map("options").filter(|_| is_dummy);
        options.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn interface_address(
        &mut self,
        name: &str,
        is_local: bool,
        kind: &InterfaceKind,
        row: &Row,
    ) -> Option<EthAddr> {
        let mac = row.opt_string("mac").and_then(address)?;
        if *kind != InterfaceKind::Internal {
            return None;
        }
        let wrong = if is_local {
            "ignoring mac in Interface record (use Bridge record to set local port's mac)"
        } else if mac.is_multicast() {
            "cannot set MAC to multicast address"
        } else if mac == EthAddr::ZERO {
            "cannot set MAC to all zero address"
        } else {
            return Some(mac);
        };
        self.error(format!("interface {name}: {wrong}"));
        None
    }
}

/// Names that a datapath or its tunnels keep for themselves.
fn is_reserved(name: &str) -> bool {
    const TUNNELS: [&str; 10] = [
        "genev_sys",
        "gre_sys",
        "vxlan_sys",
        "lisp_sys",
        "stt_sys",
        "erspan_sys",
        "ip6erspan_sys",
        "ip6gre_sys",
        "gtpu_sys",
        "udp_sys",
    ];
    matches!(name, "ovs-system" | "ovs-netdev") || TUNNELS.iter().any(|t| name.starts_with(t))
}

fn patch_peer(name: &str, row: &Row) -> Result<String, String> {
    let Some(peer) = row.key("options", "peer") else {
        return Err(format!("{name}: patch type requires valid 'peer' argument"));
    };
    if row.map("options").count() > 1 {
        return Err(format!("{name}: patch type takes only a 'peer' argument"));
    }
    if peer == name {
        return Err(format!("{name}: patch peer must not be self"));
    }
    Ok(peer.to_owned())
}

fn fdb(row: &Row) -> FdbConfig {
    let default = FdbConfig::default();
    // 0 is the default, and a negative number is beyond all bounds, as the peer casts it.
    let unsigned = |key| match int(row, "other_config", key) {
        None | Some(0) => None,
        Some(n) => Some(u32::try_from(n).unwrap_or(u32::MAX)),
    };
    let aging_s = unsigned("mac-aging-time").map(|seconds| seconds.clamp(15, 3600));
    let most = unsigned("mac-table-size").map(|most| most.clamp(10, 1_000_000));
    FdbConfig {
        max_entries: most.and_then(|n| n.try_into().ok()).unwrap_or(default.max_entries),
        aging_ms: aging_s.map_or(default.aging_ms, |seconds| u64::from(seconds) * 1000),
        flood_vlans: row.integers("flood_vlans").filter_map(vlan).collect(),
    }
}

fn vlan(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|vid| *vid <= 4095)
}

/// An OpenFlow number that a port may have.
pub fn ofport(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|ofport| (1..0xff00).contains(ofport))
}

/// 16 hexadecimal digits, or up to 16 after `0x`; zero is none.
fn datapath_id(text: &str) -> Option<u64> {
    let digits = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => digits,
        None if text.len() == 16 => text,
        None => return None,
    };
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u64::from_str_radix(digits, 16).ok().filter(|id| is_hex && *id != 0)
}

/// Six hexadecimal numbers with colons between them.
fn address(text: &str) -> Option<EthAddr> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.bytes().all(|c| c.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(EthAddr(bytes))
}

/// The address of a bridge that gets none otherwise: from its row's name, so that it stays over
/// restarts, and the same as the peer's, which keeps a row's name as four words of the machine.
fn address_of_row(uuid: Uuid) -> EthAddr {
    let mut bytes = [0; 6];
    for (at, word) in uuid.0.chunks_exact(4).take(2).enumerate() {
        let word = u32::from_be_bytes([word[0], word[1], word[2], word[3]]).to_ne_bytes();
        for (to, from) in bytes.iter_mut().skip(at * 4).zip(word) {
            *to = from;
        }
    }
    // Locally administered, of one device.
    bytes[0] = (bytes[0] & !1) | 2;
    EthAddr(bytes)
}

#[cfg(test)]
mod tests;
