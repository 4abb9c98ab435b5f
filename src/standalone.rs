//! Standalone configuration: the bridges from one TOML file instead of a database.
//!
//! ```toml
//! [bridge.br0]
//! mac = "02:00:00:00:00:01"         # address of the device br0
//! fail-mode = "standalone"          # or "secure": no flows, no forwarding
//! datapath-type = "system"          # or, with --enable-dummy, "dummy"
//! mac-table-size = 8192
//! mac-aging-time = 300              # seconds
//! flood-vlans = [99]
//!
//! [bridge.br0.port.veth0]
//! tag = 10                          # access port of VLAN 10
//!
//! [bridge.br0.port.veth1]
//! vlan-mode = "native-untagged"     # access, trunk, native-tagged, native-untagged, dot1q-tunnel
//! tag = 10
//! trunks = [10, 20]
//! ofport = 5
//!
//! [bridge.br0.port.veth2]
//! vlan-mode = "dot1q-tunnel"        # a customer's frames, tagged or not, in VLAN 30
//! tag = 30
//! cvlans = [1, 2]                   # the customer's VLANs that pass, 0 for none; all if left out
//! qinq-ethtype = "802.1ad"          # or "802.1q"
//!
//! [bridge.br0.port.host0]
//! type = "internal"                 # system, internal, patch; with --enable-dummy also dummy
//! mtu-request = 1400
//!
//! [bridge.br0.port.to-br1]
//! type = "patch"
//! peer = "to-br0"                   # a patch port that names this one as its peer
//!
//! [other-config]
//! max-idle = 10000                  # milliseconds
//! flow-limit = 200000
//! ```
//!
//! What always holds: a file is taken whole or refused whole, with line, column and what would be
//! right; unknown keys are refused, for they are misspelt ones.

pub mod run;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::bridge::config::{
    BridgeConfig, Config, FailMode, InterfaceConfig, InterfaceKind, PortConfig, SettingsConfig,
};
use crate::flow::EthAddr;
use crate::l2::fdb::FdbConfig;
use crate::limits::CONFIG_FILE_MAX;
use crate::snapshot::{PriorityTags, QinqType, VlanMode};

/// Why a file was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{0}")]
    Read(String),
    /// The file is larger than a configuration can sensibly be.
    #[error("the file is larger than {CONFIG_FILE_MAX} bytes")]
    TooLarge,
    /// Something in it is wrong.
    #[error("line {line}, column {column}: {message}")]
    Wrong {
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong and what would be right.
        message: String,
    },
}

/// Reads and checks the file at `path`.
///
/// # Errors
/// As [`ConfigError`] says.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    parse(&read(path)?)
}

/// Reads the text of the file at `path`.
///
/// # Errors
/// As [`ConfigError`] says.
pub fn read(path: &Path) -> Result<String, ConfigError> {
    let meta = std::fs::metadata(path).map_err(|e| ConfigError::Read(e.to_string()))?;
    if meta.len() > CONFIG_FILE_MAX {
        return Err(ConfigError::TooLarge);
    }
    let bytes = std::fs::read(path).map_err(|e| ConfigError::Read(e.to_string()))?;
    String::from_utf8(bytes).map_err(|e| {
        let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let good = String::from_utf8_lossy(good).into_owned();
        let (line, column) = position(&good, good.len());
        ConfigError::Wrong { line, column, message: "not UTF-8 text".to_owned() }
    })
}

/// Checks a configuration given as text.
///
/// # Errors
/// [`ConfigError::Wrong`].
pub fn parse(text: &str) -> Result<Config, ConfigError> {
    let file: File = toml::from_str(text).map_err(|error| {
        let (line, column) = position(text, error.span().map_or(0, |span| span.start));
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        ConfigError::Wrong { line, column, message }
    })?;
    check(file).map_err(|Complaint { at, message }| {
        let (line, column) = position(text, at);
        ConfigError::Wrong { line, column, message }
    })
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before: String = text.bytes().take(offset).map(char::from).collect();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = 1 + before.matches('\n').count();
    let column = 1 + text.get(line_start..offset).map_or(0, |head| head.chars().count());
    (line, column)
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    bridge: BTreeMap<Spanned<String>, BridgeTable>,
    #[serde(default)]
    other_config: OtherConfig,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct OtherConfig {
    n_handler_threads: Option<Spanned<i64>>,
    n_revalidator_threads: Option<Spanned<i64>>,
    max_idle: Option<Spanned<i64>>,
    max_revalidator: Option<Spanned<i64>>,
    flow_limit: Option<Spanned<i64>>,
    vlan_limit: Option<Spanned<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct BridgeTable {
    mac: Option<Spanned<String>>,
    datapath_id: Option<Spanned<String>>,
    fail_mode: Option<Spanned<String>>,
    datapath_type: Option<String>,
    #[serde(default)]
    forward_bpdu: bool,
    mac_table_size: Option<Spanned<i64>>,
    mac_aging_time: Option<Spanned<i64>>,
    #[serde(default)]
    flood_vlans: Vec<Spanned<i64>>,
    #[serde(default)]
    port: BTreeMap<Spanned<String>, PortTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PortTable {
    #[serde(rename = "type")]
    kind: Option<Spanned<String>>,
    tag: Option<Spanned<i64>>,
    #[serde(default)]
    trunks: Vec<Spanned<i64>>,
    #[serde(default)]
    cvlans: Vec<Spanned<i64>>,
    qinq_ethtype: Option<Spanned<String>>,
    vlan_mode: Option<Spanned<String>>,
    priority_tags: Option<Spanned<String>>,
    ofport: Option<Spanned<i64>>,
    mac: Option<Spanned<String>>,
    mtu_request: Option<Spanned<i64>>,
    peer: Option<Spanned<String>>,
    #[serde(default)]
    options: BTreeMap<String, String>,
}

/// Something wrong at a byte offset.
struct Complaint {
    at: usize,
    message: String,
}

fn complain<T>(value: &Spanned<T>, message: impl fmt::Display) -> Complaint {
    Complaint { at: value.span().start, message: message.to_string() }
}

fn check(file: File) -> Result<Config, Complaint> {
    let other = &file.other_config;
    let settings = SettingsConfig {
        n_handler_threads: number(&other.n_handler_threads, "n-handler-threads", 1, 1024)?,
        n_revalidator_threads: number(
            &other.n_revalidator_threads,
            "n-revalidator-threads",
            1,
            1024,
        )?,
        max_idle_ms: number(&other.max_idle, "max-idle", 100, 86_400_000)?,
        max_revalidator_ms: number(&other.max_revalidator, "max-revalidator", 100, 86_400_000)?,
        flow_limit: number(&other.flow_limit, "flow-limit", 0, 100_000_000)?,
        vlan_limit: number(&other.vlan_limit, "vlan-limit", 0, 2)?,
        ..SettingsConfig::default()
    };
    let mut bridges = BTreeMap::new();
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    for (name, table) in file.bridge {
        device_name(&name, "bridge")?;
        owner(&mut owners, &name, name.get_ref())?;
        let mut ports = BTreeMap::new();
        let mut ofports: BTreeMap<i64, &str> = BTreeMap::new();
        for (port_name, port) in table.port.iter() {
            if port.kind.as_ref().is_none_or(|kind| kind.get_ref() != "patch") {
                device_name(port_name, "port")?;
            }
            owner(&mut owners, port_name, name.get_ref())?;
            ports.insert(port_name.get_ref().clone(), check_port(port_name.get_ref(), port)?);
            if let Some(ofport) = &port.ofport
                && let Some(other) = ofports.insert(*ofport.get_ref(), port_name.get_ref())
            {
                let message = format!(
                    "ofport {} is wanted by {other} too; give each its own",
                    ofport.get_ref()
                );
                return Err(complain(ofport, message));
            }
        }
        let bridge = check_bridge(&table, ports)?;
        bridges.insert(name.into_inner(), bridge);
    }
    Ok(Config { bridges, settings, ..Config::default() })
}

fn owner(
    owners: &mut BTreeMap<String, String>,
    device: &Spanned<String>,
    bridge: &str,
) -> Result<(), Complaint> {
    match owners.insert(device.get_ref().clone(), bridge.to_owned()) {
        None => Ok(()),
        Some(other) => Err(complain(
            device,
            format!(
                "device {} is in bridge {other} already; a device can be in one bridge only",
                device.get_ref()
            ),
        )),
    }
}

fn check_bridge(
    table: &BridgeTable,
    ports: BTreeMap<String, PortConfig>,
) -> Result<BridgeConfig, Complaint> {
    let default = FdbConfig::default();
    let flood_vlans: Result<Vec<u16>, Complaint> =
        table.flood_vlans.iter().map(|vid| in_range(vid, "flood-vlans", 0, 4095)).collect();
    let aging: Option<u64> = number(&table.mac_aging_time, "mac-aging-time", 15, 3600)?;
    Ok(BridgeConfig {
        datapath_type: table.datapath_type.clone().unwrap_or_default(),
        fail_mode: one_of(
            &table.fail_mode,
            "fail-mode",
            &[("standalone", FailMode::Standalone), ("secure", FailMode::Secure)],
        )?
        .unwrap_or_default(),
        mac: address(&table.mac)?,
        default_mac: None,
        datapath_id: table.datapath_id.as_ref().map(datapath_id).transpose()?,
        forward_bpdu: table.forward_bpdu,
        fdb: FdbConfig {
            max_entries: number(&table.mac_table_size, "mac-table-size", 10, 1_000_000)?
                .unwrap_or(default.max_entries),
            aging_ms: aging.map_or(default.aging_ms, |seconds| seconds * 1000),
            flood_vlans: flood_vlans?,
        },
        ports,
    })
}

/// Kinds as they are written.
#[derive(Clone, Copy)]
enum Kind {
    System,
    Internal,
    Patch,
    Dummy,
}

fn check_interface(table: &PortTable) -> Result<InterfaceConfig, Complaint> {
    let kinds = [
        ("system", Kind::System),
        ("internal", Kind::Internal),
        ("patch", Kind::Patch),
        ("dummy", Kind::Dummy),
    ];
    let kind = one_of(&table.kind, "type", &kinds)?.unwrap_or(Kind::System);
    let kind = match (kind, &table.peer) {
        (Kind::Patch, Some(peer)) => InterfaceKind::Patch { peer: peer.get_ref().clone() },
        (Kind::Patch, None) => {
            let at = table.kind.as_ref().map_or(0, |kind| kind.span().start);
            let message = "a patch port needs peer, the name of the port at its other end";
            return Err(Complaint { at, message: message.to_owned() });
        }
        (_, Some(peer)) => {
            return Err(complain(peer, "only a patch port has a peer; add type = \"patch\""));
        }
        (Kind::System, None) => InterfaceKind::System,
        (Kind::Internal, None) => InterfaceKind::Internal,
        (Kind::Dummy, None) => InterfaceKind::Dummy("dummy".to_owned()),
    };
    Ok(InterfaceConfig {
        kind,
        ofport_request: number(&table.ofport, "ofport", 1, 65_279)?,
        ofport_recorded: None,
        mac: address(&table.mac)?,
        mtu_request: number(&table.mtu_request, "mtu-request", 68, 65_535)?,
        options: table.options.clone(),
    })
}

fn check_port(name: &str, table: &PortTable) -> Result<PortConfig, Complaint> {
    let trunks: Result<Vec<u16>, Complaint> =
        table.trunks.iter().map(|vid| in_range(vid, "trunks", 0, 4095)).collect();
    let cvlans: Result<Vec<u16>, Complaint> =
        table.cvlans.iter().map(|vid| in_range(vid, "cvlans", 0, 4095)).collect();
    let types = [("802.1ad", QinqType::Dot1ad), ("802.1q", QinqType::Dot1q)];
    let qinq = one_of(&table.qinq_ethtype, "qinq-ethtype", &types)?;
    let config = PortConfig {
        tag: number(&table.tag, "tag", 0, 4095)?,
        trunks: trunks?,
        cvlans: cvlans?,
        vlan_mode: one_of(
            &table.vlan_mode,
            "vlan-mode",
            &[
                ("access", VlanMode::Access),
                ("trunk", VlanMode::Trunk),
                ("native-tagged", VlanMode::NativeTagged),
                ("native-untagged", VlanMode::NativeUntagged),
                ("dot1q-tunnel", VlanMode::Dot1qTunnel(qinq.unwrap_or_default())),
            ],
        )?,
        priority_tags: one_of(
            &table.priority_tags,
            "priority-tags",
            &[
                ("never", PriorityTags::Never),
                ("if-nonzero", PriorityTags::IfNonzero),
                ("always", PriorityTags::Always),
            ],
        )?
        .unwrap_or_default(),
        ..PortConfig::single(name, check_interface(table)?)
    };
    if config.vlan_mode == Some(VlanMode::Access)
        && let Some(first) = table.trunks.first()
    {
        return Err(complain(first, "an access port has no trunks; remove them or the mode"));
    }
    if !matches!(config.vlan_mode, Some(VlanMode::Dot1qTunnel(_))) {
        let needs = "is of a port with vlan-mode = \"dot1q-tunnel\"";
        if let Some(first) = table.cvlans.first() {
            return Err(complain(first, format!("cvlans {needs}")));
        }
        if let Some(kind) = &table.qinq_ethtype {
            return Err(complain(kind, format!("qinq-ethtype {needs}")));
        }
    }
    Ok(config)
}

fn number<T: TryFrom<i64>>(
    value: &Option<Spanned<i64>>,
    key: &str,
    least: i64,
    most: i64,
) -> Result<Option<T>, Complaint> {
    value.as_ref().map(|value| in_range(value, key, least, most)).transpose()
}

fn in_range<T: TryFrom<i64>>(
    value: &Spanned<i64>,
    key: &str,
    least: i64,
    most: i64,
) -> Result<T, Complaint> {
    let n = *value.get_ref();
    let wrong = || complain(value, format!("{key} is {n}; it must be from {least} to {most}"));
    if (least..=most).contains(&n) { T::try_from(n).map_err(|_| wrong()) } else { Err(wrong()) }
}

fn one_of<T: Copy>(
    value: &Option<Spanned<String>>,
    key: &str,
    choices: &[(&str, T)],
) -> Result<Option<T>, Complaint> {
    let Some(value) = value else {
        return Ok(None);
    };
    match choices.iter().find(|(name, _)| name == value.get_ref()) {
        Some((_, choice)) => Ok(Some(*choice)),
        None => {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            let message =
                format!("{key} is {:?}; it must be one of {}", value.get_ref(), names.join(", "));
            Err(complain(value, message))
        }
    }
}

/// A device name as Linux takes it: 1 to 15 bytes, no slash, no white space, not `.` or `..`.
fn device_name(name: &Spanned<String>, what: &str) -> Result<(), Complaint> {
    let text = name.get_ref();
    let wrong = if text.is_empty() {
        "is empty".to_owned()
    } else if text.len() > 15 {
        format!("is {} bytes long; a device name has at most 15", text.len())
    } else if text == "." || text == ".." || text == "ovs-system" {
        "is a name that Linux or the datapath keeps for itself".to_owned()
    } else if text.chars().any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control()) {
        "has a character that a device name must not have (slash, colon, white space)".to_owned()
    } else {
        return Ok(());
    };
    Err(complain(name, format!("{what} name {text:?} {wrong}")))
}

fn address(value: &Option<Spanned<String>>) -> Result<Option<EthAddr>, Complaint> {
    let Some(value) = value else {
        return Ok(None);
    };
    let wrong = |why: &str| {
        let message = format!("mac is {:?}; {why}", value.get_ref());
        complain(value, message)
    };
    let mut bytes = [0; 6];
    let mut parts = value.get_ref().split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.len() == 2);
        *byte = part
            .and_then(|part| u8::from_str_radix(part, 16).ok())
            .ok_or_else(|| wrong("it must look like 02:00:00:00:00:01"))?;
    }
    let mac = EthAddr(bytes);
    if parts.next().is_some() {
        return Err(wrong("it must look like 02:00:00:00:00:01"));
    }
    if mac.is_multicast() || mac == EthAddr::ZERO {
        return Err(wrong("it must be the address of one device, not of a group, and not zero"));
    }
    Ok(Some(mac))
}

fn datapath_id(value: &Spanned<String>) -> Result<u64, Complaint> {
    let text = value.get_ref();
    let id = (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten();
    id.filter(|id| *id != 0).ok_or_else(|| {
        complain(value, format!("datapath-id is {text:?}; it must be 16 hex digits, not all 0"))
    })
}

#[cfg(test)]
mod tests;
