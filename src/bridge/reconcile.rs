//! From what is wanted to what is: compares a [`Config`] with the datapath and changes the
//! difference, then publishes the result as a [`Snapshot`].
//!
//! What always holds: applying the same configuration twice changes nothing the second time; an
//! interface that cannot be had (no such device, busy) is reported and leaves all others alone; OpenFlow
//! numbers, forwarding databases and counters of what stays are kept; a datapath port number is
//! not given to another device as long as there are unused ones, so that no stale flow meets a new
//! port; the kernel is asked about what changes only: its ports are listed once, and from then on
//! known from its events and from what is done here.

mod ofports;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use self::ofports::OfPorts;
use super::config::{BridgeConfig, Config, FailMode, InterfaceConfig, InterfaceKind, PortConfig};
use crate::datapath::{Datapath, DpError, DpErrorKind, OdpPort, PortEvent, PortInfo, PortKind};
use crate::l2::fdb::{BundleId, Fdb};
use crate::netdev::LinkTable;
use crate::ofproto::{OfPort, Tables};
use crate::snapshot::{
    Attachment, Bridge, BridgeId, Bundle, Dep, Patch, PatchCounters, Port, Snapshot,
};
use crate::strerror::strerror;

/// An interface that is wanted and could not be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Missing {
    /// Its bridge.
    pub bridge: String,
    /// Its name.
    pub interface: String,
    /// Why, in the peer's words.
    pub reason: String,
}

/// What came of applying a configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Interfaces added: bridge, name and OpenFlow number.
    pub added: Vec<(String, String, OfPort)>,
    /// Interfaces removed: the same.
    pub removed: Vec<(String, String, OfPort)>,
    /// Ports of the datapath that were none of ours, and are no more.
    pub purged: Vec<String>,
    /// Interfaces that could not be had.
    pub missing: Vec<Missing>,
}

impl Report {
    /// Whether there are other interfaces than before.
    pub fn changed(&self) -> bool {
        !self.added.is_empty() || !self.removed.is_empty() || !self.purged.is_empty()
    }
}

struct BridgeState {
    id: BridgeId,
    fdb: Arc<Fdb>,
    fail_mode: FailMode,
    tables: Arc<Tables>,
    ofports: OfPorts,
    bundles: BTreeMap<String, BundleId>,
    /// Counters of patch ports by name.
    patches: BTreeMap<String, Arc<PatchCounters>>,
    /// What was built last.
    built: Option<Arc<Bridge>>,
}

/// A port that the datapath has, as far as we know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Actual {
    odp: OdpPort,
    kind: PortKind,
}

/// See the module's page.
#[derive(Default)]
pub struct Reconciler {
    bridges: BTreeMap<String, BridgeState>,
    next_bridge: u32,
    next_bundle: u32,
    next_odp: u32,
    /// The datapath's ports by name, its local one left out; `None` until they are listed.
    actual: Option<BTreeMap<String, Actual>>,
}

/// Highest datapath port number that the kernel takes (`DP_MAX_PORTS` is 65535).
const ODP_MAX: u32 = 65_534;

struct Wanted<'a> {
    bridge: &'a str,
    kind: PortKind,
}

/// What is wanted of the datapath, by name.
type WantedPorts<'a> = BTreeMap<&'a str, Wanted<'a>>;

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
        links: &LinkTable,
        changes: &mut Vec<Dep>,
    ) -> Result<(Snapshot, Report), DpError> {
        let mut report = Report::default();
        let wanted = self.wanted(config, &mut report);
        if let Err(error) = self.change_ports(datapath, &wanted, links, &mut report) {
            self.actual = None;
            return Err(error);
        }
        let built = self.bridges.values().filter_map(|state| state.built.as_ref());
        let ours = built.flat_map(|bridge| &bridge.ports).map(|port| port.name.as_str());
        let ours: HashSet<&str> = ours.collect();
        report.purged.retain(|name| !ours.contains(name.as_str()));
        self.bridges.retain(|name, state| {
            let is_kept = config.bridges.contains_key(name);
            for port in state.built.iter().filter(|_| !is_kept).flat_map(|built| &built.ports) {
                report.removed.push((name.clone(), port.name.clone(), port.ofp));
            }
            is_kept
        });
        let mut bridges = Vec::with_capacity(config.bridges.len());
        for (name, bridge) in &config.bridges {
            self.ensure_bridge(name, bridge, changes);
            bridges.push(self.build(name, bridge, &wanted, links, &mut report));
        }
        Ok((Snapshot::new(bridges), report))
    }

    /// Takes in what the kernel tells of its ports. True if that is news, after which the
    /// configuration should be applied again.
    pub fn note_event(&mut self, event: &PortEvent, datapath: &dyn Datapath) -> bool {
        let Some(actual) = &mut self.actual else {
            return true;
        };
        let (PortEvent::Changed(port) | PortEvent::Removed(port)) = event else {
            self.actual = None;
            return true;
        };
        if port.odp == OdpPort::LOCAL {
            return false;
        }
        let is_removal = matches!(event, PortEvent::Removed(_));
        let told = Actual { odp: port.odp, kind: port.kind };
        let is_known = actual.get(&port.name) == Some(&told);
        if is_known != is_removal {
            return false;
        }
        // An event may be older than what was done since: the kernel is asked.
        let Ok(now) = datapath.port(&port.name) else {
            self.actual = None;
            return true;
        };
        let now = now.map(|port| Actual { odp: port.odp, kind: port.kind });
        let before = actual.get(&port.name).copied();
        match now {
            Some(now) => drop(actual.insert(port.name.clone(), now)),
            None => drop(actual.remove(&port.name)),
        }
        // A port by another name of a removed port's device.
        before != now || is_removal
    }

    /// Forgets what the datapath's ports are, so that they are listed when they are next needed:
    /// another datapath, or devices with other names.
    pub fn forget_ports(&mut self) {
        self.actual = None;
    }

    /// Whether a device of this name is a port of the datapath, as far as is known.
    pub fn has_port(&self, name: &str) -> bool {
        self.actual.as_ref().is_none_or(|actual| actual.contains_key(name))
    }

    /// Which devices the datapath shall have as ports. One that several bridges want is that bridge's
    /// who has it, else the first one's.
    fn wanted<'a>(&self, config: &'a Config, report: &mut Report) -> WantedPorts<'a> {
        let mut wanted: WantedPorts<'a> = BTreeMap::new();
        for bridge in config.bridges.keys() {
            wanted.insert(bridge, Wanted { bridge, kind: PortKind::Internal });
        }
        let has = |bridge: &str, name: &str| {
            self.bridges.get(bridge).is_some_and(|state| state.ofports.get(name).is_some())
        };
        for (bridge, bridge_config) in &config.bridges {
            for (name, interface) in interfaces(bridge_config) {
                let mut miss = |bridge: &str, reason: String| {
                    let (bridge, interface) = (bridge.to_owned(), name.to_owned());
                    report.missing.push(Missing { bridge, interface, reason });
                };
                let kind = match &interface.kind {
                    InterfaceKind::System | InterfaceKind::Dummy(_) => PortKind::Netdev,
                    InterfaceKind::Internal => PortKind::Internal,
                    InterfaceKind::Patch { .. } => continue,
                    InterfaceKind::Refused(reason) => {
                        miss(bridge, reason.clone());
                        continue;
                    }
                };
                if name == bridge {
                    continue;
                }
                match wanted.get_mut(name) {
                    None => drop(wanted.insert(name, Wanted { bridge, kind })),
                    Some(other) if other.bridge != name && has(bridge, name) => {
                        miss(other.bridge, taken(name));
                        *other = Wanted { bridge, kind };
                    }
                    Some(_) => miss(bridge, taken(name)),
                }
            }
        }
        wanted
    }

    fn list(&mut self, datapath: &dyn Datapath) -> Result<(), DpError> {
        if self.actual.is_some() {
            return Ok(());
        }
        let mut actual = BTreeMap::new();
        for PortInfo { odp, name, kind, .. } in datapath.ports()? {
            self.next_odp = self.next_odp.max(odp.0 + 1);
            if odp != OdpPort::LOCAL {
                actual.insert(name, Actual { odp, kind });
            }
        }
        self.actual = Some(actual);
        Ok(())
    }

    fn change_ports(
        &mut self,
        datapath: &dyn Datapath,
        wanted: &WantedPorts<'_>,
        links: &LinkTable,
        report: &mut Report,
    ) -> Result<(), DpError> {
        self.list(datapath)?;
        self.remove_unwanted(datapath, wanted, report)?;
        self.add_missing(datapath, wanted, links, report)
    }

    fn remove_unwanted(
        &mut self,
        datapath: &dyn Datapath,
        wanted: &WantedPorts<'_>,
        report: &mut Report,
    ) -> Result<(), DpError> {
        let actual = self.actual.get_or_insert_default();
        let is_unwanted = |(name, port): &(&String, &Actual)| {
            wanted.get(name.as_str()).is_none_or(|wanted| wanted.kind != port.kind)
        };
        let unwanted: Vec<(String, OdpPort)> = actual
            .iter()
            .filter(is_unwanted)
            .map(|(name, port)| (name.clone(), port.odp))
            .collect();
        for (name, odp) in unwanted {
            if wanted.contains_key(name.as_str()) {
                // Of another kind: another device, and with the peer another number.
                self.bridges.values_mut().for_each(|state| state.ofports.forget(&name));
            }
            match datapath.port_del(odp) {
                Ok(()) => {
                    actual.remove(&name);
                    report.purged.push(name);
                }
                Err(error) if error.kind == DpErrorKind::NoSuchPort => {
                    actual.remove(&name);
                }
                Err(error) if error.is_gone() => return Err(error),
                Err(error) => tracing::warn!(target: "bridge", "{error}"),
            }
        }
        Ok(())
    }

    fn add_missing(
        &mut self,
        datapath: &dyn Datapath,
        wanted: &WantedPorts<'_>,
        links: &LinkTable,
        report: &mut Report,
    ) -> Result<(), DpError> {
        for (name, want) in wanted {
            let actual = self.actual.get_or_insert_default();
            if actual.contains_key(*name) {
                continue;
            }
            let mut miss = |reason: String| {
                let (bridge, interface) = (want.bridge.to_owned(), (*name).to_owned());
                report.missing.push(Missing { bridge, interface, reason });
            };
            if want.kind == PortKind::Netdev && links.by_name(name).is_none() {
                miss(format!("could not open network device {name} (No such device)"));
                continue;
            }
            match self.add_port(datapath, name, want.kind) {
                Ok(()) => {}
                Err(error) if error.is_gone() => return Err(error),
                Err(error) if error.kind == DpErrorKind::NoSuchDevice => {
                    miss(format!("could not open network device {name} (No such device)"));
                }
                Err(error) => {
                    let why = match error.errno {
                        0 => error.to_string(),
                        errno => strerror(&std::io::Error::from_raw_os_error(errno)),
                    };
                    miss(format!("could not add network device {name} to ofproto ({why})"));
                }
            }
        }
        Ok(())
    }

    fn add_port(
        &mut self,
        datapath: &dyn Datapath,
        name: &str,
        kind: PortKind,
    ) -> Result<(), DpError> {
        // Once all numbers have been used, the kernel picks one that is free.
        let want = (1..=ODP_MAX).contains(&self.next_odp.max(1)).then_some(self.next_odp.max(1));
        let odp = match datapath.port_add(name, kind, want.map(OdpPort)) {
            Ok(odp) => odp,
            // It, or another port of that number, may be there without our knowing: announced, but not
            // read yet.
            Err(error) if matches!(error.kind, DpErrorKind::Exists | DpErrorKind::Busy) => {
                match datapath.port(name)? {
                    Some(port) if port.kind == kind => port.odp,
                    Some(_) => return Err(error),
                    None => datapath.port_add(name, kind, None)?,
                }
            }
            Err(error) => return Err(error),
        };
        self.next_odp = self.next_odp.max(odp.0 + 1);
        self.actual.get_or_insert_default().insert(name.to_owned(), Actual { odp, kind });
        Ok(())
    }

    fn ensure_bridge(&mut self, name: &str, config: &BridgeConfig, changes: &mut Vec<Dep>) {
        let tables = || match config.fail_mode {
            FailMode::Standalone => Arc::new(Tables::standalone()),
            FailMode::Secure => Arc::new(Tables::secure()),
        };
        if let Some(state) = self.bridges.get_mut(name) {
            let id = state.id;
            state.fdb.configure(config.fdb.clone(), |key| changes.push(Dep::Fdb(id, key)));
            if state.fail_mode != config.fail_mode {
                (state.fail_mode, state.tables) = (config.fail_mode, tables());
            }
            return;
        }
        self.next_bridge += 1;
        self.bridges.insert(
            name.to_owned(),
            BridgeState {
                id: BridgeId(self.next_bridge),
                fdb: Arc::new(Fdb::new(config.fdb.clone())),
                fail_mode: config.fail_mode,
                tables: tables(),
                ofports: OfPorts::default(),
                bundles: BTreeMap::new(),
                patches: BTreeMap::new(),
                built: None,
            },
        );
    }

    /// Describes a bridge with those of its interfaces that exist.
    fn build(
        &mut self,
        name: &str,
        config: &BridgeConfig,
        wanted: &WantedPorts<'_>,
        links: &LinkTable,
        report: &mut Report,
    ) -> Arc<Bridge> {
        let local = PortConfig::single(
            name,
            InterfaceConfig { kind: InterfaceKind::Internal, ..InterfaceConfig::default() },
        );
        let own = (!config.ports.contains_key(name)).then_some((name, &local));
        let named = config.ports.iter().map(|(name, port)| (name.as_str(), port));
        let all: Vec<(&str, &PortConfig)> = named.chain(own).collect();
        let (Some(state), Some(actual)) = (self.bridges.get_mut(name), &self.actual) else {
            unreachable!("the bridge was ensured, the ports listed");
        };

        let odp_of = |interface: &str| {
            wanted.get(interface).filter(|wanted| wanted.bridge == name)?;
            actual.get(interface).map(|port| port.odp)
        };
        let configs: BTreeMap<&str, &InterfaceConfig> = interfaces(config).collect();
        let is_patch =
            |config: &InterfaceConfig| matches!(config.kind, InterfaceKind::Patch { .. });
        let there = configs.iter().map(|(interface, config)| (*interface, *config)).filter(
            |(interface, config)| {
                *interface != name && (is_patch(config) || odp_of(interface).is_some())
            },
        );
        state.ofports.number(
            there,
            |interface| configs.contains_key(interface) && interface != name,
            |interface| configs.get(interface).copied(),
        );
        state.patches.retain(|patch, _| configs.get(patch.as_str()).is_some_and(|c| is_patch(c)));
        let names: BTreeSet<&str> = all.iter().map(|(port, _)| *port).collect();
        state.bundles.retain(|port, _| names.contains(port.as_str()));

        let mut bundles = Vec::with_capacity(all.len());
        let mut ports = Vec::with_capacity(all.len());
        for (port_name, port) in all {
            let mut members = Vec::new();
            for (interface_name, interface) in &port.interfaces {
                let at = match (&interface.kind, odp_of(interface_name)) {
                    (InterfaceKind::Patch { peer }, _) => {
                        let counters = state.patches.entry(interface_name.clone()).or_default();
                        let counters = counters.clone();
                        Attachment::Patch(Patch { peer: peer.clone(), counters })
                    }
                    (_, Some(odp)) => Attachment::Datapath(odp),
                    (_, None) => continue,
                };
                let ofp = match interface_name == name {
                    true => Some(OfPort::LOCAL),
                    false => state.ofports.get(interface_name),
                };
                let Some(ofp) = ofp else {
                    let reason = format!(
                        "could not add network device {interface_name} to ofproto (No space left on device)"
                    );
                    let (bridge, interface) = (name.to_owned(), interface_name.clone());
                    report.missing.push(Missing { bridge, interface, reason });
                    continue;
                };
                // A device that was made just now is down.
                let is_made = interface.kind == InterfaceKind::Internal;
                let link = links.by_name(interface_name);
                let may_enable = link.map_or(!is_made, |link| link.up && link.running);
                members.push((ofp, at, interface_name, may_enable));
            }
            if members.is_empty() {
                continue;
            }
            let bundle = *state.bundles.entry(port_name.to_owned()).or_insert_with(|| {
                self.next_bundle += 1;
                BundleId(self.next_bundle)
            });
            // The first member forwards.
            members.sort_by_key(|(ofp, .., may_enable)| (!may_enable, *ofp));
            bundles.push(Bundle {
                id: bundle,
                name: port_name.to_owned(),
                vlan_mode: port.mode(),
                vlan: port.tag.unwrap_or(0),
                trunks: port.trunk_set(),
                priority_tags: port.priority_tags,
                ports: members.iter().map(|(ofp, ..)| *ofp).collect(),
            });
            for (ofp, at, name, may_enable) in members {
                ports.push(Port { ofp, at, name: name.clone(), bundle, may_enable });
            }
        }
        ports.sort_by_key(|port| port.ofp);
        bundles.sort_by_key(|bundle| bundle.ports.iter().min().copied());
        let bridge = Bridge {
            id: state.id,
            name: name.to_owned(),
            forward_bpdu: config.forward_bpdu,
            bundles: bundles.into(),
            ports,
            fdb: state.fdb.clone(),
            tables: state.tables.clone(),
        };
        if let Some(built) = state.built.as_ref().filter(|built| built.is_alike(&bridge)) {
            return built.clone();
        }
        note_changes(state.built.as_deref(), &bridge, report);
        let bridge = Arc::new(bridge);
        state.built = Some(bridge.clone());
        bridge
    }
}

/// Tells the report which interfaces came and went.
fn note_changes(before: Option<&Bridge>, bridge: &Bridge, report: &mut Report) {
    let old: BTreeMap<&str, OfPort> = before
        .iter()
        .flat_map(|bridge| &bridge.ports)
        .map(|port| (port.name.as_str(), port.ofp))
        .collect();
    for port in &bridge.ports {
        if old.get(port.name.as_str()) != Some(&port.ofp) {
            report.added.push((bridge.name.clone(), port.name.clone(), port.ofp));
        }
    }
    let new: BTreeSet<&str> = bridge.ports.iter().map(|port| port.name.as_str()).collect();
    for port in before.iter().flat_map(|bridge| &bridge.ports) {
        if !new.contains(port.name.as_str()) {
            report.removed.push((bridge.name.clone(), port.name.clone(), port.ofp));
        }
    }
}

/// What the peer says when a device is in another bridge.
fn taken(name: &str) -> String {
    format!("could not add network device {name} to ofproto (Device or resource busy)")
}

/// A bridge's interfaces by name.
pub(super) fn interfaces(
    config: &BridgeConfig,
) -> impl Iterator<Item = (&str, &InterfaceConfig)> + Clone {
    let interfaces = config.ports.values().flat_map(|port| &port.interfaces);
    interfaces.map(|(name, interface)| (name.as_str(), interface))
}

#[cfg(test)]
mod tests;
