//! What an operator wants: bridges, ports and settings, from whatever source they come.
//!
//! The values are checked where they are read (a file, a database row); what is here is valid by
//! itself, though it may still clash with the host (a device that does not exist). Names and
//! meanings are those of ovs-vswitchd.conf.db(5). Plain values.

mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::ct_zones::WantedZones;
use crate::flow::{EthAddr, FLOW_MAX_VLAN_HEADERS};
use crate::l2::fdb::FdbConfig;
use crate::snapshot::{PriorityTags, VlanMode, VlanSet};

/// Something that can be asked for and that is not there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Lacking {
    /// Several interfaces in a port.
    Bond,
    /// LACP on a port.
    Lacp,
    /// Spanning tree on a bridge.
    Stp,
    /// Rapid spanning tree on a bridge.
    Rstp,
    /// Multicast snooping on a bridge.
    McastSnooping,
    /// Auto-attach on a bridge.
    AutoAttach,
    /// Controllers of a bridge.
    Controller,
    /// Connectivity fault management on an interface.
    Cfm,
    /// Bidirectional forwarding detection on an interface.
    Bfd,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bond => "bonding",
            Self::Lacp => "LACP",
            Self::Stp => "spanning tree (STP)",
            Self::Rstp => "rapid spanning tree (RSTP)",
            Self::McastSnooping => "multicast snooping",
            Self::AutoAttach => "auto-attach",
            Self::Controller => "OpenFlow controllers",
            Self::Cfm => "CFM",
            Self::Bfd => "BFD",
        })
    }
}

/// What a port of several interfaces does as long as there is no [`Lacking::Bond`].
pub const BOND_INSTEAD: &str = "the first interface that runs carries all that is sent";

/// Everything wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// What is asked for in vain, and the bridge, port or interface that it is asked of.
    pub lacking: BTreeSet<(Lacking, String)>,
    /// Bridges by name.
    pub bridges: BTreeMap<String, BridgeConfig>,
    /// Settings of the daemon.
    pub settings: SettingsConfig,
    /// Timeouts of conntrack zones, by the type of datapath that they are wanted of.
    pub ct_zones: BTreeMap<String, WantedZones>,
}

/// Settings of the daemon: columns `other_config` of table Open_vSwitch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SettingsConfig {
    /// `n-handler-threads`; under per-CPU dispatch the CPUs decide.
    pub n_handler_threads: Option<usize>,
    /// `n-revalidator-threads`, taken while running too; by default one for four handlers.
    pub n_revalidator_threads: Option<usize>,
    /// `max-idle`, milliseconds.
    pub max_idle_ms: Option<u64>,
    /// `max-revalidator`, milliseconds.
    pub max_revalidator_ms: Option<u64>,
    /// `flow-limit`.
    pub flow_limit: Option<usize>,
    /// `vlan-limit`, taken when the datapath is opened.
    pub vlan_limit: Option<usize>,
    /// `stats-update-interval`, milliseconds.
    pub stats_update_interval_ms: Option<u64>,
    /// `flow-restore-wait`: flows of an earlier run stay as they are until it is taken away.
    pub flow_restore_wait: bool,
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

/// What a bridge does with packets as long as no controller has told it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FailMode {
    /// Forward as a learning switch.
    #[default]
    Standalone,
    /// Forward by the flows of a controller and nothing else.
    Secure,
}

/// A bridge.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BridgeConfig {
    /// `datapath_type`: empty or `system` is the kernel's.
    pub datapath_type: String,
    /// `fail_mode`.
    pub fail_mode: FailMode,
    /// `other_config:hwaddr`.
    pub mac: Option<EthAddr>,
    /// Address that the bridge takes when none is wanted and no port has one to give.
    pub default_mac: Option<EthAddr>,
    /// `other_config:datapath-id`.
    pub datapath_id: Option<u64>,
    /// `other_config:forward-bpdu`.
    pub forward_bpdu: bool,
    /// Bounds of the forwarding database.
    pub fdb: FdbConfig,
    /// Ports by name. The bridge's own may be among them, under the bridge's name; if it is not, it
    /// exists all the same.
    pub ports: BTreeMap<String, PortConfig>,
}

/// A port: one interface, or several that are bonded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PortConfig {
    /// Access or native VLAN.
    pub tag: Option<u16>,
    /// VLANs of a trunk; none means all.
    pub trunks: Vec<u16>,
    /// Customers' VLANs that pass in a dot1q tunnel, 0 being none; none means all.
    pub cvlans: Vec<u16>,
    /// How tags are treated; by default access if there is a tag, else trunk.
    pub vlan_mode: Option<VlanMode>,
    /// `other_config:priority-tags`.
    pub priority_tags: PriorityTags,
    /// Column `mac`: the address that the bridge takes for its own if it takes one of this port's.
    pub mac: Option<EthAddr>,
    /// Column `fake_bridge`: the internal device of such a port takes the lowest address among the
    /// ports of its VLAN, unless it wants one.
    pub fake_bridge: bool,
    /// Interfaces by name.
    pub interfaces: BTreeMap<String, InterfaceConfig>,
}

impl PortConfig {
    /// A port of one interface, which has the same name.
    pub fn single(name: &str, interface: InterfaceConfig) -> Self {
        Self { interfaces: [(name.to_owned(), interface)].into(), ..Self::default() }
    }

    /// Whether several interfaces are to be one port.
    pub fn is_bond(&self) -> bool {
        self.interfaces.len() > 1
    }

    /// The mode in force.
    pub fn mode(&self) -> VlanMode {
        let default = if self.tag.is_some() { VlanMode::Access } else { VlanMode::Trunk };
        self.vlan_mode.unwrap_or(default)
    }

    /// The VLANs that pass on a trunk, or the customer's that pass in a tunnel.
    pub fn trunk_set(&self) -> VlanSet {
        let listed = match self.mode() {
            VlanMode::Dot1qTunnel(_) => &self.cvlans,
            _ => &self.trunks,
        };
        if listed.is_empty() { VlanSet::ALL } else { listed.iter().copied().collect() }
    }
}

/// What kind of device an interface is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum InterfaceKind {
    /// A device of the host.
    #[default]
    System,
    /// A device that the datapath makes.
    Internal,
    /// One end of a link between two bridges.
    Patch {
        /// Name of the interface at the other end.
        peer: String,
    },
    /// A device that exists in this process only, of the peer's type of that name.
    Dummy(String),
    /// Nothing that can be had; the text says why, as for `Interface.error`.
    Refused(String),
}

/// An interface.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InterfaceConfig {
    /// Kind of device.
    pub kind: InterfaceKind,
    /// Wanted OpenFlow number.
    pub ofport_request: Option<u16>,
    /// The OpenFlow number that it had in an earlier run.
    pub ofport_recorded: Option<u16>,
    /// Wanted address of an internal device.
    pub mac: Option<EthAddr>,
    /// Wanted size of the largest packet, in bytes.
    pub mtu_request: Option<u32>,
    /// Options of a dummy.
    pub options: BTreeMap<String, String>,
}

#[cfg(test)]
pub(super) use tests::from_toml;

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration from the text that standalone mode reads.
    pub fn from_toml(text: &str) -> Config {
        crate::standalone::parse(text).expect("a configuration")
    }
}
