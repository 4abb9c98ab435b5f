//! The switch of standalone mode: reads the file, makes it true, keeps it true.
//!
//! What always holds: a file that is refused changes nothing (at the start it ends the daemon, later
//! it leaves the running configuration); a datapath, a port or a module that goes away is
//! noticed within a second, logged once with cause and remedy, and put back as soon as that is
//! possible. Control thread: one task, woken by signals, port events and a clock of one second.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::port_watch::PortWatch;
use super::{ConfigError, parse, read};
use crate::bridge::commands::{self, Current};
use crate::bridge::config::Config;
use crate::bridge::reconcile::{Device, Reconciler, bridge_mac};
use crate::bridge::switch::Switch;
use crate::clock::Follower;
use crate::daemon::{Control, Event, Fatal};
use crate::datapath::kernel::{KernelDatapath, KernelOptions};
use crate::datapath::{Datapath, DpError, DpErrorKind};
use crate::memory;
use crate::netdev;
use crate::odp::ufid::UfidHasher;

/// Name of the datapath that all bridges share, as the peer has it.
const DATAPATH: &str = "ovs-system";

/// Runs the switch until the daemon ends.
///
/// # Errors
/// When the file is refused at the start, or the privileges for a datapath are missing. A datapath
/// that cannot be had for another reason is waited for.
pub async fn run(control: Control, file: PathBuf) -> Result<(), Fatal> {
    let (text, config) =
        load(&file).map_err(|error| Fatal::logged("bridge", refusal(&file, &error)))?;
    let mut running = Running::new(file, text, config);
    running.record.clone_from(&control.options().record);
    commands::register(control.registry(), &running.current);
    provide_memory(&control, &running.current);
    match running.open() {
        Ok(()) => {}
        // No waiting helps against missing privileges; a module may be loaded any time.
        Err(error) if error.kind == DpErrorKind::Permission => {
            return Err(Fatal::logged("dpif", format!("{error}; {}", error.remedy())));
        }
        Err(error) => running.note_failure(&error),
    }
    control.ready();

    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut clock = Follower::new();
    loop {
        let ports_changed = running.port_watch.changed();
        tokio::select! {
            event = control.event() => match event {
                Event::End(end) => {
                    running.end(end.cleanup);
                    return Ok(());
                }
                Event::Reload => running.reload(),
            },
            () = ports_changed.notified() => running.reconcile_or_note(),
            _ = tick.tick() => running.tick(),
            () = clock.warped() => running.tick(),
        }
    }
}

/// The file's text, and what it says.
fn load(file: &std::path::Path) -> Result<(String, Config), ConfigError> {
    let text = read(file)?;
    let config = parse(&text)?;
    Ok((text, config))
}

fn refusal(file: &std::path::Path, error: &ConfigError) -> String {
    format!("{}: {error}", file.display())
}

fn provide_memory(control: &Control, current: &Current) {
    let current = current.clone();
    control.memory().provide(move |usage| {
        if let Some(switch) = &*current.borrow() {
            let ports: usize =
                switch.udpif.snapshot.load().bridges().iter().map(|b| b.ports.len()).sum();
            memory::add(usage, "handlers", switch.handlers as u64);
            memory::add(usage, "ports", ports as u64);
            memory::add(usage, "revalidators", 1);
            memory::add(usage, "udpif keys", switch.udpif.ukeys.len() as u64);
        }
    });
}

struct Running {
    file: PathBuf,
    /// Where to record from the start.
    record: Option<PathBuf>,
    text: String,
    config: Config,
    current: Current,
    reconciler: Reconciler,
    devices: Vec<Device>,
    /// Woken when the datapath's ports were changed.
    port_watch: PortWatch,
    ufids: UfidHasher,
    machine_id: String,
    /// What is missing and why, so that each is logged once.
    missing: BTreeMap<String, String>,
    /// The CPUs that upcalls were last directed by.
    cpus: (String, usize),
    /// The last failure logged of the datapath as a whole.
    failure: Option<String>,
}

impl Running {
    fn new(file: PathBuf, text: String, config: Config) -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            file,
            record: None,
            text,
            config,
            current: Rc::new(RefCell::new(None)),
            reconciler: Reconciler::default(),
            devices: Vec::new(),
            port_watch: PortWatch::default(),
            ufids: UfidHasher::from_text(&read("/proc/sys/kernel/random/boot_id")),
            machine_id: read("/etc/machine-id"),
            missing: BTreeMap::new(),
            cpus: cpus(),
            failure: None,
        }
    }

    /// Opens the datapath, makes the configuration true and begins to serve.
    fn open(&mut self) -> Result<(), DpError> {
        let datapath = KernelDatapath::open_with(DATAPATH, true, KernelOptions::from_env())?;
        let datapath: Arc<dyn Datapath> = Arc::new(datapath);
        self.port_watch = PortWatch::start(&*datapath);
        let mut switch = Switch::open(datapath.clone(), &self.config.settings, self.ufids)?;
        let mut changes = Vec::new();
        self.devices = devices();
        let (snapshot, report) =
            self.reconciler.apply(&self.config, &*datapath, &self.devices, &mut changes)?;
        self.log_ports(&snapshot, &report.added, &report.removed);
        self.log_missing(report.missing);
        switch.note_config(&self.text);
        // Once only: a datapath that comes back is another one, and the file is full of the first.
        if let Some(path) = self.record.take() {
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
        self.set_bridge_addresses();
        if self.failure.take().is_some() {
            tracing::info!(target: "dpif", "datapath {DATAPATH} is back");
        }
        Ok(())
    }

    /// Reads the file again; what differs is changed.
    fn reload(&mut self) {
        match load(&self.file) {
            Ok((text, config)) => {
                (self.text, self.config) = (text, config);
                if let Some(switch) = &*self.current.borrow() {
                    switch.note_config(&self.text);
                    switch.set_bounds(&self.config.settings);
                }
                match self.reconcile() {
                    Ok(()) => tracing::info!(
                        target: "bridge", "{}: read again, configuration applied", self.file.display()
                    ),
                    Err(error) => self.note_failure(&error),
                }
            }
            Err(error) => tracing::error!(
                target: "bridge",
                "{}; configuration refused, the running configuration stays",
                refusal(&self.file, &error)
            ),
        }
    }

    fn reconcile_or_note(&mut self) {
        if let Err(error) = self.reconcile() {
            self.note_failure(&error);
        }
    }

    fn reconcile(&mut self) -> Result<(), DpError> {
        let current = self.current.clone();
        let current = current.borrow();
        let Some(switch) = &*current else {
            return Ok(());
        };
        self.devices = devices();
        let mut changes = Vec::new();
        let (snapshot, report) =
            self.reconciler.apply(&self.config, &*switch.datapath, &self.devices, &mut changes)?;
        self.log_ports(&snapshot, &report.added, &report.removed);
        self.log_missing(report.missing);
        switch.configure(snapshot, changes);
        self.set_bridge_addresses();
        if self.failure.take().is_some() {
            tracing::info!(target: "dpif", "datapath {DATAPATH} is in order again");
        }
        Ok(())
    }

    fn log_ports(
        &self,
        snapshot: &crate::snapshot::Snapshot,
        added: &[String],
        removed: &[String],
    ) {
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

    fn log_missing(&mut self, missing: Vec<crate::bridge::reconcile::Missing>) {
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
    fn set_bridge_addresses(&self) {
        for (name, config) in &self.config.bridges {
            let mac = bridge_mac(name, config, &self.devices, &self.machine_id);
            self.set_address(name, mac);
            for (name, port) in &config.ports {
                if let Some(mac) = port.mac {
                    self.set_address(name, mac);
                }
            }
        }
    }

    fn set_address(&self, name: &str, mac: crate::flow::EthAddr) {
        let has = self.devices.iter().find(|device| device.name == name).map(|d| d.mac);
        if has == Some(mac) {
            return;
        }
        if let Err(error) = netdev::set_mac(name, mac) {
            tracing::warn!(target: "bridge", "{name}: cannot set address {mac}: {error}");
        }
    }

    /// What goes by the clock.
    fn tick(&mut self) {
        if self.current.borrow().is_none() {
            if let Err(error) = self.open() {
                self.note_failure(&error);
            }
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
            self.note_failure(&error);
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
        let now = devices();
        if now != self.devices && self.current.borrow().is_some() {
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
            Some(Err(error)) => self.note_failure(&error),
            Some(Ok(false)) | None => {}
        }
    }

    /// Logs a failure once; if the datapath is gone, gives it up until it can be opened again.
    fn note_failure(&mut self, error: &DpError) {
        let text = format!("{error}; {}", error.remedy());
        if self.failure.as_ref() != Some(&text) {
            tracing::error!(target: "dpif", "datapath {DATAPATH}: {text}");
        }
        self.failure = Some(text);
        if error.is_gone() {
            self.give_up();
        }
    }

    /// Lets go of the datapath; the next tick opens it again.
    fn give_up(&mut self) {
        self.port_watch = PortWatch::default();
        drop(self.current.borrow_mut().take());
    }

    /// Ends: threads stop, and with `cleanup` the datapath goes with all that is in it.
    fn end(&mut self, cleanup: bool) {
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
}

/// Which CPUs are on, and how many of them this process may use.
fn cpus() -> (String, usize) {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    (online, std::thread::available_parallelism().map_or(1, usize::from))
}

/// The devices of the host; none if they cannot be listed, which is logged.
fn devices() -> Vec<Device> {
    match netdev::links() {
        Ok(links) => links
            .into_iter()
            .map(|link| Device { running: link.up && link.running, name: link.name, mac: link.mac })
            .collect(),
        Err(error) => {
            tracing::warn!(target: "netdev_linux", "cannot list devices: {error}");
            Vec::new()
        }
    }
}
