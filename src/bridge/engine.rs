//! The engine: keeps the datapath as the configuration wants it, whatever happens to either.
//!
//! What always holds: a configuration is made true as far as it can be, and what could not be had is in
//! the [`Outcome`], word for word as the peer says it; a datapath, a port or a module that goes
//! away is noticed, logged once with cause and remedy, and put back as soon as that is possible;
//! without bridges there is no datapath. Control thread.

mod backing;
mod watch;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use self::backing::{Backing, Carried};
use self::watch::PortWatch;
use super::commands::Current;
use super::config::{BridgeConfig, Config, InterfaceConfig};
use super::reconcile::{Device, Missing, Reconciler, bridge_mac};
use super::switch::Switch;
use crate::coverage::counter;
use crate::datapath::{DpError, DpErrorKind, OdpPort};
use crate::flow::EthAddr;
use crate::netdev::{HostDevices, KernelDevices, LinkTable};
use crate::odp::ufid::UfidHasher;
use crate::ofproto::OfPort;
use crate::snapshot::Snapshot;

counter!(static BRIDGE_RECONFIGURE = "bridge_reconfigure");

/// Name of the datapath that all bridges share, as the peer has it.
const DATAPATH: &str = "ovs-system";

/// Which datapaths are dummies, which exist in this process only (`--enable-dummy`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DummyMode {
    /// None.
    #[default]
    Off,
    /// Those of type `dummy`.
    On,
    /// Those of type `system` as well.
    System,
    /// All, whatever their type.
    Override,
}

/// What an engine is told once.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// Where to record from the start.
    pub record: Option<PathBuf>,
    /// Which datapaths are dummies.
    pub dummy: DummyMode,
    /// Whether the kernel's datapath may not be used (`--disable-system`).
    pub no_system: bool,
}

/// What came of a configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// Why there is no datapath at the moment.
    pub failure: Option<String>,
    /// Bridges by name.
    pub bridges: BTreeMap<String, BridgeOutcome>,
}

/// What came of a bridge.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BridgeOutcome {
    /// Why it does not forward.
    pub error: Option<String>,
    /// Its datapath id.
    pub datapath_id: u64,
    /// `datapath_version`.
    pub datapath_version: String,
    /// Its interfaces by name, the local one among them; a text is that of `Interface.error`.
    pub interfaces: BTreeMap<String, Result<InterfaceOutcome, String>>,
}

/// An interface that could be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InterfaceOutcome {
    /// OpenFlow number.
    pub ofport: OfPort,
    /// Datapath number; patch ports have none.
    pub odp: Option<OdpPort>,
}

/// See the module's page.
pub struct Engine {
    /// The recording is taken by the first datapath that is opened.
    options: EngineOptions,
    /// What carries the bridges.
    backing: Option<Backing>,
    /// Bridges that nothing carries, and why.
    refused: BTreeMap<String, String>,
    host: Arc<dyn HostDevices>,
    config: Config,
    current: Current,
    reconciler: Reconciler,
    devices: Vec<Device>,
    links: LinkTable,
    /// Woken when the datapath's ports were changed.
    port_watch: PortWatch,
    ufids: UfidHasher,
    machine_id: String,
    /// What is missing and why, so that each is logged once.
    missing: BTreeMap<String, String>,
    /// The CPUs that upcalls were last directed by.
    cpus: (String, usize),
    /// The last failure of the datapath as a whole.
    failure: Option<DpError>,
    outcome: Outcome,
}

impl Engine {
    /// An engine that has nothing to do yet.
    pub fn new(options: EngineOptions) -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            options,
            backing: None,
            refused: BTreeMap::new(),
            host: Arc::new(KernelDevices),
            config: Config::default(),
            current: Rc::new(RefCell::new(None)),
            reconciler: Reconciler::default(),
            devices: Vec::new(),
            links: LinkTable::default(),
            port_watch: PortWatch::default(),
            ufids: UfidHasher::from_text(&read("/proc/sys/kernel/random/boot_id")),
            machine_id: read("/etc/machine-id"),
            missing: BTreeMap::new(),
            cpus: cpus(),
            failure: None,
            outcome: Outcome::default(),
        }
    }

    /// The switch of the moment, for commands.
    pub fn current(&self) -> Current {
        self.current.clone()
    }

    /// Whether the datapath could not be had for want of privileges, against which no waiting helps.
    pub fn lacks_privileges(&self) -> bool {
        self.failure.as_ref().is_some_and(|error| error.kind == DpErrorKind::Permission)
    }

    /// What came of the last [`Engine::apply`], [`Engine::refresh`] or [`Engine::tick`].
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The device of this name, as it was last seen.
    pub fn link(&self, name: &str) -> Option<&crate::netdev::Link> {
        self.links.by_name(name)
    }

    /// Has the counters of [`Engine::link`] read.
    pub fn refresh_stats(&mut self) {
        self.list_devices();
    }

    /// Makes `config` true. The datapath is opened and closed as needed.
    pub fn apply(&mut self, config: Config) -> &Outcome {
        BRIDGE_RECONFIGURE.add(1);
        let carried = Carried::new(config, self.backing.as_ref(), &self.options);
        (self.config, self.refused) = (carried.config, carried.refused);
        if carried.backing != self.backing {
            self.end(true);
            self.host = carried.backing.as_ref().map_or(Arc::new(KernelDevices), Backing::host);
            self.backing = carried.backing;
        }
        self.make_devices();
        let is_open = self.current.borrow().is_some();
        if self.config.bridges.is_empty() {
            self.end(true);
            self.failure = None;
        } else if !is_open {
            self.open_or_note();
        } else {
            if let Some(switch) = &*self.current.borrow() {
                switch.set_bounds(&self.config.settings);
                switch.note_config(&self.config.to_toml());
            }
            self.reconcile_or_note();
        }
        self.conclude();
        &self.outcome
    }

    /// Looks at devices and ports again after [`Engine::changed`]; `None` if nothing is different.
    pub fn refresh(&mut self) -> Option<&Outcome> {
        self.reconcile_or_note();
        self.conclude().then_some(&self.outcome)
    }

    /// Waits until devices or ports of the datapath have changed.
    pub async fn changed(&self) {
        self.port_watch.changed().notified().await;
    }

    /// What goes by the clock, once a second; `None` if nothing is different.
    pub fn tick(&mut self) -> Option<&Outcome> {
        self.look();
        self.conclude().then_some(&self.outcome)
    }

    /// Ends: threads stop, and with `cleanup` the datapath goes with all that is in it.
    pub fn end(&mut self, cleanup: bool) {
        self.port_watch = PortWatch::default();
        let Some(switch) = self.current.borrow_mut().take() else {
            return;
        };
        let datapath = switch.datapath.clone();
        drop(switch);
        if cleanup && let Err(error) = datapath.destroy() {
            tracing::warn!(target: "dpif", "{error}");
        }
    }

    fn open_or_note(&mut self) {
        if let Err(error) = self.open() {
            self.note_failure(error);
        }
    }

    /// Opens the datapath, makes the configuration true and begins to serve.
    fn open(&mut self) -> Result<(), DpError> {
        let backing = self.backing.clone().unwrap_or(Backing::Kernel);
        let datapath = backing.open()?;
        self.port_watch = PortWatch::start(&*datapath);
        let mut switch = Switch::open(datapath.clone(), &self.config.settings, self.ufids)?;
        let mut changes = Vec::new();
        self.make_devices();
        self.list_devices();
        let (snapshot, report) =
            self.reconciler.apply(&self.config, &*datapath, &self.devices, &mut changes)?;
        self.log_ports(&snapshot, &report.added, &report.removed);
        self.log_missing(report.missing);
        switch.note_config(&self.config.to_toml());
        // Once only: a datapath that comes back is another one, and the file is full of the first.
        if let Some(path) = self.options.record.take() {
            match switch.record(&path, &snapshot) {
                Ok(()) => tracing::info!(target: "record", "recording into {}", path.display()),
                Err(error) => tracing::error!(target: "record", "{}: {error}", path.display()),
            }
        }
        let adopted = switch.start(snapshot)?;
        if adopted.kept + adopted.modified + adopted.deleted > 0 {
            tracing::info!(
                target: "ofproto_dpif_upcall",
                "flows of an earlier run: {} kept, {} changed, {} deleted",
                adopted.kept, adopted.modified, adopted.deleted
            );
        }
        *self.current.borrow_mut() = Some(switch);
        self.set_addresses();
        if self.failure.take().is_some() {
            tracing::info!(target: "dpif", "datapath {DATAPATH} is back");
        }
        Ok(())
    }

    fn reconcile_or_note(&mut self) {
        if let Err(error) = self.reconcile() {
            self.note_failure(error);
        }
    }

    fn reconcile(&mut self) -> Result<(), DpError> {
        let current = self.current.clone();
        let current = current.borrow();
        let Some(switch) = &*current else {
            return Ok(());
        };
        self.list_devices();
        let mut changes = Vec::new();
        let (snapshot, report) =
            self.reconciler.apply(&self.config, &*switch.datapath, &self.devices, &mut changes)?;
        self.log_ports(&snapshot, &report.added, &report.removed);
        self.log_missing(report.missing);
        switch.configure(snapshot, changes);
        self.set_addresses();
        if self.failure.take().is_some() {
            tracing::info!(target: "dpif", "datapath {DATAPATH} is in order again");
        }
        Ok(())
    }

    /// Says what came of it; true if that is not what came of it before.
    fn conclude(&mut self) -> bool {
        let current = self.current.borrow();
        let snapshot = current.as_ref().map(|switch| switch.udpif.snapshot.load_full());
        let mut bridges = BTreeMap::new();
        for (name, config) in &self.config.bridges {
            let bridge = snapshot.as_ref().and_then(|snapshot| snapshot.bridge_named(name));
            let mac = bridge_mac(name, config, &self.devices, &self.machine_id);
            let mut outcome = BridgeOutcome {
                error: None,
                datapath_id: config.datapath_id.unwrap_or(mac_to_id(mac)),
                datapath_version: String::new(),
                interfaces: BTreeMap::new(),
            };
            for port in bridge.iter().flat_map(|bridge| &bridge.ports) {
                let had = InterfaceOutcome { ofport: port.ofp, odp: port.odp() };
                outcome.interfaces.insert(port.name.clone(), Ok(had));
            }
            for (name, _) in interfaces(config) {
                if let Some(reason) = self.missing.get(name) {
                    outcome.interfaces.insert(name.to_owned(), Err(reason.clone()));
                }
            }
            bridges.insert(name.clone(), outcome);
        }
        for (name, reason) in &self.refused {
            let outcome = BridgeOutcome { error: Some(reason.clone()), ..BridgeOutcome::default() };
            bridges.insert(name.clone(), outcome);
        }
        let failure = self.failure.as_ref().map(failure_text);
        drop(current);
        let outcome = Outcome { failure, bridges };
        let is_other = outcome != self.outcome;
        self.outcome = outcome;
        is_other
    }

    fn make_devices(&self) {
        if let Some(backing) = &self.backing {
            backing.make_devices(&self.config, self.options.dummy);
        }
    }

    fn list_devices(&mut self) {
        match self.host.links() {
            Ok(links) => {
                let _ = self.links.resync(links);
            }
            Err(error) => {
                tracing::warn!(target: "netdev_linux", "cannot list devices: {error}");
            }
        }
        self.devices = self
            .links
            .iter()
            .map(|link| Device {
                running: link.up && link.running,
                name: link.name.clone(),
                mac: link.mac,
            })
            .collect();
    }

    fn log_ports(&self, snapshot: &Snapshot, added: &[String], removed: &[String]) {
        for name in removed {
            tracing::info!(target: "bridge", "deleted interface {name}");
        }
        for bridge in snapshot.bridges() {
            for port in bridge.ports.iter().filter(|port| added.contains(&port.name)) {
                tracing::info!(
                    target: "bridge",
                    "bridge {}: added interface {} on port {}",
                    bridge.name, port.name, port.ofp.0
                );
            }
        }
    }

    fn log_missing(&mut self, missing: Vec<Missing>) {
        let before = std::mem::take(&mut self.missing);
        for missing in missing {
            if before.get(&missing.port) != Some(&missing.reason) {
                tracing::warn!(
                    target: "bridge",
                    "bridge {}: port {} is not there: {}; it is added when that changes",
                    missing.bridge, missing.port, missing.reason
                );
            }
            self.missing.insert(missing.port, missing.reason);
        }
    }

    /// Gives the bridges' own devices the addresses they shall have.
    fn set_addresses(&self) {
        for (bridge, config) in &self.config.bridges {
            let mac = bridge_mac(bridge, config, &self.devices, &self.machine_id);
            self.set_address(bridge, mac);
            for (name, interface) in interfaces(config).filter(|(name, _)| name != bridge) {
                if let Some(mac) = interface.mac {
                    self.set_address(name, mac);
                }
            }
        }
    }

    fn set_address(&self, name: &str, mac: EthAddr) {
        let has = self.devices.iter().find(|device| device.name == name).map(|d| d.mac);
        if has == Some(mac) {
            return;
        }
        if let Err(error) = self.host.set_mac(name, mac) {
            tracing::warn!(target: "bridge", "{name}: cannot set address {mac}: {error}");
        }
    }

    fn look(&mut self) {
        if self.config.bridges.is_empty() {
            return;
        }
        if self.current.borrow().is_none() {
            self.open_or_note();
            return;
        }
        let gone = {
            let current = self.current.borrow();
            current.as_ref().and_then(|switch| {
                switch.tick();
                // A suspicion is looked into; so is a datapath that is simply not used.
                let gone = switch.datapath.stats().err().filter(DpError::is_gone);
                if gone.is_none() {
                    switch.not_gone();
                }
                gone
            })
        };
        if let Some(error) = gone {
            self.note_failure(error);
            return;
        }
        if self.current.borrow().as_ref().is_some_and(Switch::handler_ended) {
            tracing::error!(
                target: "dpif",
                "datapath {DATAPATH}: an upcall socket ended; the datapath is opened again"
            );
            self.give_up();
            return;
        }
        self.follow_cpus();
        let before = self.devices.clone();
        self.list_devices();
        if before != self.devices && self.current.borrow().is_some() {
            self.reconcile_or_note();
        }
    }

    /// Directs upcalls anew when CPUs came or went; with another number of them the datapath is
    /// opened again, which costs its flows nothing.
    fn follow_cpus(&mut self) {
        let now = cpus();
        if now == self.cpus {
            return;
        }
        self.cpus = now;
        let refreshed = {
            let current = self.current.borrow();
            current.as_ref().map(|switch| switch.datapath.refresh_cpus())
        };
        match refreshed {
            Some(Ok(true)) => {
                tracing::info!(target: "dpif", "the CPUs changed; the handlers are started anew");
                self.give_up();
            }
            Some(Err(error)) => self.note_failure(error),
            Some(Ok(false)) | None => {}
        }
    }

    /// Logs a failure once; if the datapath is gone, gives it up until it can be opened again.
    fn note_failure(&mut self, error: DpError) {
        if self.failure.as_ref() != Some(&error) {
            tracing::error!(target: "dpif", "datapath {DATAPATH}: {}", failure_text(&error));
        }
        let is_gone = error.is_gone();
        self.failure = Some(error);
        if is_gone {
            self.give_up();
        }
    }

    /// Lets go of the datapath; the next tick opens it again.
    fn give_up(&mut self) {
        self.port_watch = PortWatch::default();
        drop(self.current.borrow_mut().take());
    }
}

fn failure_text(error: &DpError) -> String {
    format!("{error}; {}", error.remedy())
}

/// A bridge's interfaces by name.
fn interfaces(config: &BridgeConfig) -> impl Iterator<Item = (&str, &InterfaceConfig)> {
    let interfaces = config.ports.values().flat_map(|port| &port.interfaces);
    interfaces.map(|(name, interface)| (name.as_str(), interface))
}

fn mac_to_id(mac: EthAddr) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// Which CPUs are on, and how many of them this process may use.
fn cpus() -> (String, usize) {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    (online, std::thread::available_parallelism().map_or(1, usize::from))
}
