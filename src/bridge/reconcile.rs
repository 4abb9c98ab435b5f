//! From what is wanted to what is: compares a [`Config`] with the datapath and changes the
//! difference, then publishes the result as a [`Snapshot`].
//!
//! What always holds: applying the same configuration twice changes nothing the second time; a port
//! that cannot be had (no such device, busy) is reported and leaves all others alone; OpenFlow
//! numbers, forwarding databases and counters of what stays are kept; a datapath port number is
//! not given to another device as long as there are unused ones, so that no stale flow meets a new
//! port. Control thread.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::config::{BridgeConfig, Config, InterfaceConfig, InterfaceKind, PortConfig};
use crate::datapath::{Datapath, DpError, DpErrorKind, OdpPort, PortInfo, PortKind};
use crate::flow::EthAddr;
use crate::l2::fdb::{BundleId, Fdb};
use crate::ofproto::{OfPort, Tables};
use crate::snapshot::{
    Attachment, Bridge, BridgeId, Bundle, Dep, Patch, PatchCounters, Port, Snapshot,
};

/// A device of the host, as far as it matters here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its address.
    pub mac: EthAddr,
    /// Whether it is up and has a carrier.
    pub running: bool,
}

/// A port that is wanted and could not be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Missing {
    /// Its bridge.
    pub bridge: String,
    /// Its name.
    pub port: String,
    /// Why.
    pub reason: String,
}

/// What came of applying a configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Ports added to the datapath.
    pub added: Vec<String>,
    /// Ports removed from it.
    pub removed: Vec<String>,
    /// Ports that could not be had.
    pub missing: Vec<Missing>,
}

impl Report {
    /// Whether the datapath's ports were changed.
    pub fn changed(&self) -> bool {
        !self.added.is_empty() || !self.removed.is_empty()
    }
}

struct BridgeState {
    id: BridgeId,
    fdb: Arc<Fdb>,
    tables: Arc<Tables>,
    /// OpenFlow numbers by port name; kept after a port goes, for when it comes back.
    ofports: BTreeMap<String, OfPort>,
    last_ofport: u16,
    bundles: BTreeMap<String, BundleId>,
    /// Counters of patch ports by name.
    patches: BTreeMap<String, Arc<PatchCounters>>,
}

/// See the module's page.
#[derive(Default)]
pub struct Reconciler {
    bridges: BTreeMap<String, BridgeState>,
    next_bridge: u32,
    next_bundle: u32,
    next_odp: u32,
}

/// Highest datapath port number that the kernel takes (`DP_MAX_PORTS` is 65535).
const ODP_MAX: u32 = 65_534;

struct Wanted<'a> {
    bridge: &'a str,
    kind: PortKind,
}

impl Reconciler {
    /// Makes the datapath's ports those of `config` and tells the outcome, with the snapshot that
    /// describes it. Changes in forwarding databases are appended to `changes`.
    ///
    /// # Errors
    /// When the datapath cannot be asked, or is gone; what was done until then stays.
    pub fn apply(
        &mut self,
        config: &Config,
        datapath: &dyn Datapath,
        devices: &[Device],
        changes: &mut Vec<Dep>,
    ) -> Result<(Snapshot, Report), DpError> {
        let mut report = Report::default();
        let wanted = wanted(config);
        let actual = self.remove_unwanted(datapath, &wanted, &mut report)?;
        let ports = self.add_missing(datapath, &wanted, actual, devices, &mut report)?;
        self.bridges.retain(|name, _| config.bridges.contains_key(name));
        let mut bridges = Vec::new();
        for (name, bridge) in &config.bridges {
            self.ensure_bridge(name, bridge, changes);
            bridges.push(Arc::new(self.build(name, bridge, &ports, devices)));
        }
        Ok((Snapshot::new(bridges), report))
    }

    fn remove_unwanted(
        &mut self,
        datapath: &dyn Datapath,
        wanted: &BTreeMap<&str, Wanted<'_>>,
        report: &mut Report,
    ) -> Result<BTreeMap<String, PortInfo>, DpError> {
        let mut kept = BTreeMap::new();
        for port in datapath.ports()? {
            self.next_odp = self.next_odp.max(port.odp.0 + 1);
            if port.odp == OdpPort::LOCAL {
                continue;
            }
            if wanted.get(port.name.as_str()).is_some_and(|wanted| wanted.kind == port.kind) {
                kept.insert(port.name.clone(), port);
                continue;
            }
            match datapath.port_del(port.odp) {
                Ok(()) => report.removed.push(port.name),
                Err(error) if error.kind == DpErrorKind::NoSuchPort => {}
                Err(error) if error.is_gone() => return Err(error),
                Err(error) => tracing::warn!(target: "bridge", "{error}"),
            }
        }
        Ok(kept)
    }

    fn add_missing(
        &mut self,
        datapath: &dyn Datapath,
        wanted: &BTreeMap<&str, Wanted<'_>>,
        mut actual: BTreeMap<String, PortInfo>,
        devices: &[Device],
        report: &mut Report,
    ) -> Result<BTreeMap<String, OdpPort>, DpError> {
        let exists: BTreeSet<&str> = devices.iter().map(|device| device.name.as_str()).collect();
        let mut ports = BTreeMap::new();
        for (name, want) in wanted {
            if let Some(port) = actual.remove(*name) {
                ports.insert(port.name, port.odp);
                continue;
            }
            let mut miss = |reason: String| {
                report.missing.push(Missing {
                    bridge: want.bridge.to_owned(),
                    port: (*name).to_owned(),
                    reason,
                });
            };
            if want.kind == PortKind::Netdev && !exists.contains(name) {
                miss(format!("could not open network device {name} (No such device)"));
                continue;
            }
            match self.add_port(datapath, name, want.kind) {
                Ok(odp) => {
                    report.added.push((*name).to_owned());
                    ports.insert((*name).to_owned(), odp);
                }
                Err(error) if error.is_gone() => return Err(error),
                Err(error) => miss(format!("{error}; {}", error.remedy())),
            }
        }
        Ok(ports)
    }

    fn add_port(
        &mut self,
        datapath: &dyn Datapath,
        name: &str,
        kind: PortKind,
    ) -> Result<OdpPort, DpError> {
        // Once all numbers have been used, the kernel picks one that is free.
        let want = (1..=ODP_MAX).contains(&self.next_odp.max(1)).then_some(self.next_odp.max(1));
        let odp = datapath.port_add(name, kind, want.map(OdpPort))?;
        self.next_odp = self.next_odp.max(odp.0 + 1);
        Ok(odp)
    }

    fn ensure_bridge(&mut self, name: &str, config: &BridgeConfig, changes: &mut Vec<Dep>) {
        if let Some(state) = self.bridges.get(name) {
            let id = state.id;
            state.fdb.configure(config.fdb.clone(), |key| changes.push(Dep::Fdb(id, key)));
            return;
        }
        self.next_bridge += 1;
        self.bridges.insert(
            name.to_owned(),
            BridgeState {
                id: BridgeId(self.next_bridge),
                fdb: Arc::new(Fdb::new(config.fdb.clone())),
                tables: Arc::new(Tables::standalone()),
                ofports: BTreeMap::new(),
                last_ofport: 0,
                bundles: BTreeMap::new(),
                patches: BTreeMap::new(),
            },
        );
    }

    /// Describes a bridge with those of its ports that exist.
    fn build(
        &mut self,
        name: &str,
        config: &BridgeConfig,
        odp: &BTreeMap<String, OdpPort>,
        devices: &[Device],
    ) -> Bridge {
        let local = PortConfig::single(
            name,
            InterfaceConfig { kind: InterfaceKind::Internal, ..InterfaceConfig::default() },
        );
        let own = (!config.ports.contains_key(name)).then_some((name, &local));
        let named = config.ports.iter().map(|(name, port)| (name.as_str(), port));
        let all: Vec<(&str, &PortConfig)> = named.chain(own).collect();
        let Some(state) = self.bridges.get_mut(name) else {
            unreachable!("the bridge was ensured");
        };
        state.number(name, &all);
        state.bundles.retain(|port, _| all.iter().any(|(name, _)| name == port));
        let mut bundles = Vec::new();
        let mut ports = Vec::new();
        for (port_name, port) in all {
            let bundle = *state.bundles.entry(port_name.to_owned()).or_insert_with(|| {
                self.next_bundle += 1;
                BundleId(self.next_bundle)
            });
            let mut members = Vec::new();
            for (interface_name, interface) in &port.interfaces {
                let at = match (&interface.kind, odp.get(interface_name)) {
                    (InterfaceKind::Patch { peer }, _) => {
                        let counters = state.patches.entry(interface_name.clone()).or_default();
                        let counters = counters.clone();
                        Attachment::Patch(Patch { peer: peer.clone(), counters })
                    }
                    (_, Some(odp)) => Attachment::Datapath(*odp),
                    (_, None) => continue,
                };
                let Some(ofp) = state.ofports.get(interface_name).copied() else {
                    continue;
                };
                let device = devices.iter().find(|device| device.name == *interface_name);
                let may_enable = device.is_none_or(|device| device.running);
                members.push((may_enable, ofp));
                let name = interface_name.clone();
                ports.push(Port { ofp, at, name, bundle, may_enable });
            }
            if members.is_empty() {
                continue;
            }
            // The first member forwards.
            members.sort_by_key(|(may_enable, ofp)| (!may_enable, *ofp));
            bundles.push(Bundle {
                id: bundle,
                name: port_name.to_owned(),
                vlan_mode: port.mode(),
                vlan: port.tag.unwrap_or(0),
                trunks: port.trunk_set(),
                priority_tags: port.priority_tags,
                ports: members.into_iter().map(|(_, ofp)| ofp).collect(),
            });
        }
        ports.sort_by_key(|port| port.ofp);
        bundles.sort_by_key(|bundle| bundle.ports.first().copied());
        Bridge {
            id: state.id,
            name: name.to_owned(),
            forward_bpdu: config.forward_bpdu,
            bundles,
            ports,
            fdb: state.fdb.clone(),
            tables: state.tables.clone(),
        }
    }
}

impl BridgeState {
    /// Gives each interface its OpenFlow number: the one it wants, the one it has, the one it had
    /// in an earlier run, or the next unused. What is wanted is given first, so that nobody else takes
    /// it.
    fn number(&mut self, bridge: &str, ports: &[(&str, &PortConfig)]) {
        let interfaces = || ports.iter().flat_map(|(_, port)| &port.interfaces);
        self.ofports.insert(bridge.to_owned(), OfPort::LOCAL);
        for (name, interface) in interfaces() {
            if let Some(wanted) = interface.ofport_request.filter(|_| name != bridge).map(OfPort) {
                self.ofports.retain(|other, ofp| *ofp != wanted || other == name);
                self.ofports.insert(name.clone(), wanted);
            }
        }
        for (name, interface) in interfaces() {
            if !self.ofports.contains_key(name) {
                let recorded = interface.ofport_recorded.map(OfPort);
                let recorded = recorded.filter(|ofp| !self.ofports.values().any(|o| o == ofp));
                let Some(ofp) = recorded.or_else(|| self.next_ofport(ports)) else {
                    continue;
                };
                self.ofports.insert(name.clone(), ofp);
            }
        }
    }

    fn next_ofport(&mut self, ports: &[(&str, &PortConfig)]) -> Option<OfPort> {
        let is_taken =
            |ofports: &BTreeMap<String, OfPort>, ofp| ofports.values().any(|o| *o == ofp);
        for _ in 0..2 {
            while self.last_ofport < OFPORT_MAX {
                self.last_ofport += 1;
                let next = OfPort(self.last_ofport);
                if !is_taken(&self.ofports, next) {
                    return Some(next);
                }
            }
            // All used once: the numbers of ports that are no more are free again.
            self.last_ofport = 0;
            self.ofports.retain(|name, ofp| {
                *ofp == OfPort::LOCAL
                    || ports.iter().any(|(_, port)| port.interfaces.contains_key(name))
            });
        }
        None
    }
}

/// Highest OpenFlow number that a port is given without asking for it.
const OFPORT_MAX: u16 = 32_767;

fn wanted(config: &Config) -> BTreeMap<&str, Wanted<'_>> {
    let mut wanted = BTreeMap::new();
    for (bridge, bridge_config) in &config.bridges {
        wanted.insert(bridge.as_str(), Wanted { bridge, kind: PortKind::Internal });
        for (name, interface) in bridge_config.ports.values().flat_map(|port| &port.interfaces) {
            let kind = match interface.kind {
                InterfaceKind::System | InterfaceKind::Dummy(_) => PortKind::Netdev,
                InterfaceKind::Internal => PortKind::Internal,
                InterfaceKind::Patch { .. } | InterfaceKind::Refused(_) => continue,
            };
            if name != bridge {
                wanted.insert(name.as_str(), Wanted { bridge, kind });
            }
        }
    }
    wanted
}

/// The address that the device of a bridge shall have: the one that is configured, else the lowest
/// globally unique one among its ports' devices, else one made from the machine's and the bridge's
/// name, so that it stays the same from run to run.
pub fn bridge_mac(
    name: &str,
    config: &BridgeConfig,
    devices: &[Device],
    machine_id: &str,
) -> EthAddr {
    if let Some(mac) = config.mac {
        return mac;
    }
    let lowest = devices
        .iter()
        .filter(|device| {
            let interfaces =
                config.ports.values().flat_map(|port| port.interfaces.get(&device.name));
            interfaces.into_iter().any(|interface| interface.kind == InterfaceKind::System)
        })
        .map(|device| device.mac)
        .filter(|mac| {
            mac.0[0] & 0x02 == 0
                && !mac.is_multicast()
                && !mac.is_reserved()
                && *mac != EthAddr::ZERO
        })
        .min();
    lowest.unwrap_or_else(|| made_mac(name, machine_id))
}

/// A locally administered unicast address that depends on nothing but the two names (FNV-1a).
fn made_mac(name: &str, machine_id: &str) -> EthAddr {
    let bytes = machine_id.bytes().chain([0]).chain(name.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let [_, _, a, b, c, d, e, f] = hash.to_be_bytes();
    EthAddr([a & !1 | 2, b, c, d, e, f])
}

#[cfg(test)]
mod tests;
