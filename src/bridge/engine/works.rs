//! What the engine does with the kernel: asks for devices and ports, makes and tunes them.
//!
//! Any call of the kernel may take long: whoever adds or removes devices, this daemon or another, keeps all
//! others waiting meanwhile. So [`Works`] is lent to a thread for each piece of work ([`aside`]), and the
//! control thread serves its sockets until it is given back.

use std::collections::{BTreeMap, BTreeSet};

use tokio::task::spawn_blocking;

use super::devices::Tuning;
use crate::bridge::config::{Config, InterfaceKind};
use crate::bridge::ct_zones::{CtZones, WantedZones};
use crate::bridge::reconcile::{Reconciler, Report, interfaces};
use crate::datapath::{Datapath, DpError, PortEvent};
use crate::netdev::{HostDevices, LinkChange, LinkEvent, LinkTable};
use crate::snapshot::{Dep, Snapshot};
use crate::{clock, vlog};

/// Devices asked for one by one; for more of them all are listed.
const LOOKUPS_MAX: usize = 16;

/// Lends `state` to a thread that does `work` with it. Must be waited for to its end.
pub(super) async fn aside<S, T>(state: &mut S, work: impl FnOnce(&mut S) -> T + Send + 'static) -> T
where
    S: Default + Send + 'static,
    T: Send + 'static,
{
    let mut lent = std::mem::take(state);
    let done = spawn_blocking(move || {
        // Its lines are those that the peer's main thread writes.
        vlog::set_subprogram_name("");
        let result = work(&mut lent);
        (lent, result)
    });
    match done.await {
        Ok((back, result)) => {
            *state = back;
            result
        }
        // It cannot be cancelled: a panic is passed on.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// What is wanted, and what is known of the kernel.
#[derive(Default)]
pub(super) struct Works {
    pub config: Config,
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
    /// Takes another configuration.
    pub fn take_config(&mut self, config: Config) {
        self.config = config;
        self.names.clear();
        for (name, bridge) in &self.config.bridges {
            self.names.insert(name.clone());
            self.names.extend(interfaces(bridge).map(|(name, _)| name.to_owned()));
        }
        self.tuning.forgive();
    }

    /// Takes in what was announced.
    pub fn hear(
        &mut self,
        links: Vec<LinkEvent>,
        ports: &[PortEvent],
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

    /// Brings devices to what they shall be; those that the datapath has just made, by these
    /// names, are announced later.
    pub fn tune(
        &mut self,
        added: &BTreeSet<String>,
        missing: &BTreeMap<(String, String), String>,
        machine_id: &str,
        host: &dyn HostDevices,
    ) {
        if !added.is_empty() {
            self.look_up(host, |name| added.contains(name));
        }
        self.tuning.apply(&self.config, missing, machine_id, host, &mut self.links);
    }
}

/// What came of [`Works::reconcile`].
pub(super) struct Reconciled {
    pub snapshot: Snapshot,
    pub report: Report,
    /// Changes in forwarding databases.
    pub changes: Vec<Dep>,
}
