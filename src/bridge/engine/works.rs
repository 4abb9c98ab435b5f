//! What the engine does with the kernel: asks for devices and ports, makes and tunes them; and what it
//! does with each of its ports: compares, logs, tells what came of it.
//!
//! Any call of the kernel may take long: whoever adds or removes devices, this daemon or another, keeps all
//! others waiting meanwhile. So may any work of which there is more the more ports there are. So
//! [`Works`] is lent to a thread for each piece of work ([`aside`](crate::aside)), and the control thread
//! serves its sockets until it is given back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::EngineOptions;
use super::backing::{Backing, Carried};
use super::devices::{Tuning, bridge_mac};
use super::outcome::{BridgeOutcome, InterfaceOutcome, Outcome};
use crate::bridge::config::{Config, InterfaceKind};
use crate::bridge::ct_zones::{CtZones, WantedZones};
use crate::bridge::reconcile::{Reconciler, Report, interfaces};
use crate::bridge::switch::Served;
use crate::clock;
use crate::datapath::{Datapath, DpError, PortEvent};
use crate::flow::EthAddr;
use crate::netdev::{HostDevices, LinkChange, LinkEvent, LinkTable};
use crate::snapshot::{Dep, Snapshot};

/// Devices asked for one by one; for more of them all are listed.
const LOOKUPS_MAX: usize = 16;

/// What is wanted, and what is known of the kernel.
#[derive(Default)]
pub(super) struct Works {
    pub config: Arc<Config>,
    /// Bridges that nothing carries, and why.
    pub refused: BTreeMap<String, String>,
    /// What is missing and why, so that each is logged once.
    pub missing: BTreeMap<(String, String), String>,
    pub machine_id: String,
    /// Names of all interfaces that are configured.
    pub names: BTreeSet<String>,
    pub reconciler: Reconciler,
    pub ct_zones: CtZones,
    pub links: LinkTable,
    pub tuning: Tuning,
    /// Something was noticed that was not looked into yet.
    pub is_stale: bool,
}

impl Works {
    /// Takes another configuration, as far as it can be carried; tells what carries it, `now` being what
    /// does so at the moment.
    pub fn take_config(
        &mut self,
        config: Arc<Config>,
        now: Option<&Backing>,
        options: &EngineOptions,
    ) -> Option<Backing> {
        let Carried { backing, config, refused } = Carried::new(config, now, options);
        for (name, reason) in &refused {
            if !self.refused.contains_key(name) {
                tracing::error!(target: "bridge", "failed to create bridge {name}: {reason}");
            }
        }
        self.refused = refused;
        self.config = config;
        self.names.clear();
        for (name, bridge) in &self.config.bridges {
            self.names.insert(name.clone());
            self.names.extend(interfaces(bridge).map(|(name, _)| name.to_owned()));
        }
        self.tuning.forgive();
        backing
    }

    /// Takes in what was announced.
    pub fn hear(
        &mut self,
        Heard { links, ports }: Heard,
        host: &dyn HostDevices,
        datapath: Option<&dyn Datapath>,
    ) {
        let is_lost = links.iter().any(|event| matches!(event, LinkEvent::Overrun));
        for event in links {
            let changes = self.links.apply(event);
            self.note_links(changes);
        }
        if is_lost {
            self.list_links(host);
        }
        for (event, datapath) in ports.iter().zip(std::iter::repeat(datapath)) {
            self.is_stale |= datapath.is_some_and(|d| self.reconciler.note_event(event, d));
        }
    }

    /// Has all devices listed; what is different is noted as if it had been announced.
    pub fn list_links(&mut self, host: &dyn HostDevices) {
        match host.links() {
            Ok(links) => {
                let changes = self.links.resync(links);
                self.note_links(changes);
            }
            Err(error) => {
                tracing::warn!(target: "netdev_linux", "cannot list devices: {error}");
            }
        }
    }

    /// Has those devices looked up that are configured, `of_interest` and not known.
    pub fn look_up(&mut self, host: &dyn HostDevices, of_interest: impl Fn(&str) -> bool) {
        let is_device = |kind: &InterfaceKind| {
            matches!(
                kind,
                InterfaceKind::System | InterfaceKind::Internal | InterfaceKind::Dummy(_)
            )
        };
        let configured = self.config.bridges.iter().flat_map(|(bridge, config)| {
            let devices = interfaces(config).filter(|(_, i)| is_device(&i.kind));
            devices.map(|(name, _)| name).chain([bridge.as_str()])
        });
        let unknown: BTreeSet<String> = configured
            .filter(|name| of_interest(name) && self.links.by_name(name).is_none())
            .map(str::to_owned)
            .collect();
        if unknown.len() > LOOKUPS_MAX {
            self.list_links(host);
            return;
        }
        for name in unknown {
            if let Ok(Some(link)) = host.link(&name) {
                let _ = self.links.apply(LinkEvent::Changed(link));
            }
        }
    }

    fn note_links(&mut self, changes: Vec<LinkChange>) {
        for change in changes {
            let (names, is_rename) = match &change {
                LinkChange::Added { ifindex } | LinkChange::Changed { ifindex } => {
                    ([self.links.get(*ifindex).map(|link| link.name.as_str()), None], false)
                }
                LinkChange::Removed { link } => ([Some(link.name.as_str()), None], false),
                LinkChange::Renamed { ifindex, from } => {
                    let now = self.links.get(*ifindex).map(|link| link.name.as_str());
                    ([now, Some(from.as_str())], true)
                }
            };
            let mut names = names.into_iter().flatten();
            if names.clone().any(|name| self.names.contains(name)) {
                self.is_stale = true;
            }
            // The datapath has the port by another name now, of which it tells nobody.
            if is_rename && names.any(|name| self.reconciler.has_port(name)) {
                self.reconciler.forget_ports();
                self.is_stale = true;
            }
        }
        if self.is_stale {
            self.tuning.forgive();
        }
    }

    /// Makes the datapath's ports, and conntrack's timeouts, those that are wanted.
    pub fn reconcile(&mut self, datapath: &dyn Datapath) -> Result<Reconciled, DpError> {
        let mut changes = Vec::new();
        let applied = self.reconciler.apply(&self.config, datapath, &self.links, &mut changes);
        let (snapshot, report) = applied?;
        self.apply_ct_zones(datapath);
        Ok(Reconciled { snapshot, report, changes })
    }

    /// Makes conntrack's timeouts those that are wanted.
    pub fn apply_ct_zones(&mut self, datapath: &dyn Datapath) {
        let none = WantedZones::new();
        let wanted = self.config.ct_zones.get(datapath.type_name()).unwrap_or(&none);
        self.ct_zones.apply(wanted, datapath, clock::now_ms());
    }

    /// Logs what came and went, and brings devices to what they shall be; those that the datapath has
    /// just made are announced later.
    pub fn take_report(&mut self, report: Report, host: &dyn HostDevices) {
        for name in &report.purged {
            tracing::info!(target: "bridge", "removed port {name}, which is in no bridge");
        }
        for (bridge, name, ofp) in &report.removed {
            tracing::info!(
                target: "bridge", "bridge {bridge}: deleted interface {name} on port {}", ofp.0
            );
        }
        for (bridge, name, ofp) in &report.added {
            tracing::info!(
                target: "bridge", "bridge {bridge}: added interface {name} on port {}", ofp.0
            );
        }
        let before = std::mem::take(&mut self.missing);
        for missing in report.missing {
            let key = (missing.bridge, missing.interface);
            if before.get(&key) != Some(&missing.reason) && !missing.reason.is_empty() {
                tracing::warn!(target: "bridge", "{}", missing.reason);
            }
            self.missing.insert(key, missing.reason);
        }
        let added: BTreeSet<String> = report.added.into_iter().map(|(_, name, _)| name).collect();
        if !added.is_empty() {
            self.look_up(host, |name| added.contains(name));
        }
        let Self { config, missing, machine_id, links, .. } = self;
        self.tuning.apply(config, missing, machine_id, host, links);
    }

    /// What came of the configuration.
    pub fn outcome(&self, served: Option<&Served>, failure: Option<String>) -> Outcome {
        let snapshot = served.map(|served| served.udpif.snapshot.load_full());
        let version = served.map_or_else(String::new, |served| version_of(&*served.datapath));
        let mut bridges = BTreeMap::new();
        for (name, config) in &self.config.bridges {
            let mac = bridge_mac(name, config, &self.links, &self.machine_id);
            let bridge = snapshot.as_ref().and_then(|snapshot| snapshot.bridge_named(name));
            let ports = bridge.iter().flat_map(|bridge| &bridge.ports);
            let had = ports.map(|port| {
                let had = InterfaceOutcome { ofport: port.ofp, odp: port.odp() };
                (port.name.clone(), Ok(had))
            });
            let outcome = BridgeOutcome {
                error: None,
                datapath_id: config.datapath_id.unwrap_or(mac_to_id(mac)),
                datapath_version: version.clone(),
                interfaces: had.collect(),
            };
            bridges.insert(name.clone(), outcome);
        }
        for (name, reason) in &self.refused {
            let outcome = BridgeOutcome { error: Some(reason.clone()), ..BridgeOutcome::default() };
            bridges.insert(name.clone(), outcome);
        }
        for ((bridge, name), reason) in &self.missing {
            if let Some(bridge) = bridges.get_mut(bridge) {
                bridge.interfaces.insert(name.clone(), Err(reason.clone()));
            }
        }
        Outcome { failure, bridges }
    }
}

/// What came of [`Works::reconcile`].
pub(super) struct Reconciled {
    pub snapshot: Snapshot,
    pub report: Report,
    /// Changes in forwarding databases.
    pub changes: Vec<Dep>,
}

/// What was announced.
pub(super) struct Heard {
    pub links: Vec<LinkEvent>,
    pub ports: Vec<PortEvent>,
}

/// What the peer has in column `datapath_version`: the module in the kernel tree has no version.
fn version_of(datapath: &dyn Datapath) -> String {
    match datapath.type_name() {
        "system" => std::fs::read_to_string("/sys/module/openvswitch/version")
            .map_or_else(|_| "<unknown>".to_owned(), |version| version.trim().to_owned()),
        _ => "<built-in>".to_owned(),
    }
}

fn mac_to_id(mac: EthAddr) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}
