//! What an operator wants: bridges, ports and settings, from whatever source they come.
//!
//! The values are checked where they are read (a file, a database row); what is here is valid by
//! itself, though it may still clash with the host (a device that does not exist). Names and
//! meanings are those of ovs-vswitchd.conf.db(5). Plain values.

use std::collections::BTreeMap;

use crate::flow::{EthAddr, FLOW_MAX_VLAN_HEADERS};
use crate::l2::fdb::FdbConfig;
use crate::snapshot::{PriorityTags, VlanMode, VlanSet};

/// Everything wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// Bridges by name.
    pub bridges: BTreeMap<String, BridgeConfig>,
    /// Settings of the daemon.
    pub settings: SettingsConfig,
}

/// Settings of the daemon: columns `other_config` of table Open_vSwitch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SettingsConfig {
    /// `n-handler-threads`; under per-CPU dispatch the CPUs decide.
    pub n_handler_threads: Option<usize>,
    /// `max-idle`, milliseconds.
    pub max_idle_ms: Option<u64>,
    /// `max-revalidator`, milliseconds.
    pub max_revalidator_ms: Option<u64>,
    /// `flow-limit`.
    pub flow_limit: Option<usize>,
    /// `vlan-limit`, taken when the datapath is opened.
    pub vlan_limit: Option<usize>,
}

impl SettingsConfig {
    /// VLAN headers that a flow may match: 1 unless more are asked for, as many as a flow holds
    /// for 0.
    pub fn vlan_limit(&self) -> usize {
        match self.vlan_limit {
            None => 1,
            Some(0) => FLOW_MAX_VLAN_HEADERS,
            Some(limit) => limit.min(FLOW_MAX_VLAN_HEADERS),
        }
    }
}

/// A bridge.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BridgeConfig {
    /// `other_config:hwaddr`.
    pub mac: Option<EthAddr>,
    /// `other_config:datapath-id`.
    pub datapath_id: Option<u64>,
    /// `other_config:forward-bpdu`.
    pub forward_bpdu: bool,
    /// Bounds of the forwarding database.
    pub fdb: FdbConfig,
    /// Ports by name, the local one left out.
    pub ports: BTreeMap<String, PortConfig>,
}

/// What kind of device a port is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PortType {
    /// A device of the host.
    #[default]
    System,
    /// A device that the datapath makes.
    Internal,
}

/// A port.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PortConfig {
    /// Kind of device.
    pub kind: PortType,
    /// Access or native VLAN.
    pub tag: Option<u16>,
    /// VLANs of a trunk; none means all.
    pub trunks: Vec<u16>,
    /// How tags are treated; by default access if there is a tag, else trunk.
    pub vlan_mode: Option<VlanMode>,
    /// `other_config:priority-tags`.
    pub priority_tags: PriorityTags,
    /// Wanted OpenFlow number.
    pub ofport: Option<u16>,
    /// Wanted address of an internal device.
    pub mac: Option<EthAddr>,
}

impl PortConfig {
    /// The mode in force.
    pub fn mode(&self) -> VlanMode {
        let default = if self.tag.is_some() { VlanMode::Access } else { VlanMode::Trunk };
        self.vlan_mode.unwrap_or(default)
    }

    /// The VLANs that pass on a trunk.
    pub fn trunk_set(&self) -> VlanSet {
        if self.trunks.is_empty() { VlanSet::ALL } else { self.trunks.iter().copied().collect() }
    }
}
