//! The running switch: one datapath, the threads that serve it, and what they share.
//!
//! What always holds: handlers read only after the first configuration is in force and flows of an
//! earlier run have been judged, so that no packet is decided by half a configuration; the
//! sockets exist before, and what comes in the meantime waits in them. Dropping a [`Switch`] stops
//! its threads and leaves datapath and flows as they are.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;

use super::config::{Config, Lacking, SettingsConfig};
use super::{features, recorded};
use crate::aside::aside;
use crate::datapath::record::{RecordError, Summary, Tap};
use crate::datapath::recording::{Head, RecordedPort};
use crate::datapath::{Datapath, DpError, UpcallPort};
use crate::limits::RECORDING_BYTES;
use crate::odp;
use crate::odp::ufid::UfidHasher;
use crate::revalidate::RoundStats;
use crate::revalidate::adopt::{Adopted, adopt_all};
use crate::revalidate::crew::Crew;
use crate::snapshot::{Dep, Snapshot};
use crate::upcall::handler::Handler;
use crate::upcall::{Settings, Target, Udpif, now_ms};

/// See the module's page.
pub struct Switch {
    /// The kernel's side.
    pub datapath: Arc<dyn Datapath>,
    /// What handlers, revalidators and control thread share.
    pub udpif: Arc<Udpif>,
    /// What the revalidator's rounds are like.
    pub rounds: Arc<RoundStats>,
    /// Features of the datapath of which less than all is made use of (`dpif/set-dp-features`).
    pub features_used: RefCell<BTreeMap<&'static str, u32>>,
    /// Handlers that serve, or will.
    pub handlers: usize,
    /// What a recording is told.
    noted: Noted,
    waiting: Vec<Box<dyn UpcallPort>>,
    /// Revalidators that work, or will.
    revalidators: Cell<usize>,
    crew: Option<Crew>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Switch {
    /// Takes a datapath and directs its upcalls to sockets of ours; nobody reads them yet.
    ///
    /// # Errors
    /// When the datapath does not take the handlers.
    pub fn open(
        datapath: Arc<dyn Datapath>,
        settings: &SettingsConfig,
        ufids: UfidHasher,
    ) -> Result<Self, DpError> {
        let udpif = Udpif::new(Target {
            families: datapath.families(),
            dp_ifindex: datapath.dp_ifindex(),
            support: odp_support(datapath.support(), settings.vlan_limit()),
            ufids,
        });
        apply_settings(&udpif.settings, settings);
        udpif.set_restore_wait(settings.flow_restore_wait);
        features::log(&*datapath);
        let handlers = datapath.handlers_wanted(settings.n_handler_threads).max(1);
        let tap = udpif.tap.clone();
        let waiting = tap.wrap(datapath.open_handlers(handlers)?);
        Ok(Self {
            datapath,
            udpif,
            rounds: Arc::default(),
            features_used: RefCell::default(),
            handlers,
            noted: Noted { tap, config: Arc::default() },
            waiting,
            revalidators: Cell::new(revalidators(settings, handlers)),
            crew: None,
            stop: Arc::default(),
            threads: Vec::new(),
        })
    }

    /// Takes the first configuration, judges the flows that are there, and begins to serve.
    ///
    /// # Errors
    /// When the kernel's flows cannot be listed, or a thread cannot be had.
    pub async fn start(&mut self, snapshot: Snapshot) -> Result<Adopted, DpError> {
        self.udpif.snapshot.store(Arc::new(snapshot));
        let adopted = self.adopt().await?;
        for (i, port) in std::mem::take(&mut self.waiting).into_iter().enumerate() {
            let handler = Handler::new(self.udpif.clone(), port);
            let stop = self.stop.clone();
            self.spawn(format!("handler{}", i + 1), move || handler.run(&stop));
        }
        let (udpif, datapath) = (self.udpif.clone(), self.datapath.clone());
        let threads = self.revalidators.get();
        self.crew = Some(Crew::start(udpif, datapath, self.rounds.clone(), threads));
        Ok(adopted)
    }

    /// Has a thread judge the flows that are there: of hundreds of thousands that takes a while.
    async fn adopt(&self) -> Result<Adopted, DpError> {
        let (udpif, datapath) = (self.udpif.clone(), self.datapath.clone());
        aside(&mut (), move |()| adopt_all(&udpif, &*datapath, now_ms())).await
    }

    fn spawn(&mut self, name: String, work: impl FnOnce() + Send + 'static) {
        // Half a megabyte is ample for a road without recursion, and is locked by --mlockall.
        let thread = std::thread::Builder::new().name(name.clone()).stack_size(512 << 10);
        match thread.spawn(work) {
            Ok(thread) => self.threads.push(thread),
            Err(error) => {
                tracing::error!(target: "ofproto_dpif_upcall", "cannot start thread {name}: {error}");
            }
        }
    }

    /// What a thread has to know of it to [`configure`](Served::configure) it.
    pub fn served(&self) -> Served {
        let (datapath, udpif) = (self.datapath.clone(), self.udpif.clone());
        Served { datapath, udpif, noted: self.noted.clone() }
    }

    /// Takes another configuration while serving. `changes` are those that the snapshots do not
    /// show.
    pub fn configure(&self, snapshot: Snapshot, changes: Vec<Dep>) {
        self.served().configure(snapshot, changes);
    }

    /// Takes other bounds and another number of revalidators. The number of handlers is given at the
    /// start.
    pub fn set_bounds(&self, settings: &SettingsConfig) {
        apply_settings(&self.udpif.settings, settings);
        self.revalidators.set(revalidators(settings, self.handlers));
        if let Some(crew) = &self.crew {
            crew.resize(self.revalidators.get());
        }
        self.udpif.set_restore_wait(settings.flow_restore_wait);
    }

    /// Whom a feature that is not there is asked of in vain, by name.
    pub fn lacks(&self, feature: Lacking) -> Vec<String> {
        let config = self.noted.config.load();
        let asked = config.lacking.iter().filter(|(lacking, _)| *lacking == feature);
        asked.map(|(_, name)| name.clone()).collect()
    }

    /// Begins a recording into a file, of packets decided by `snapshot`.
    ///
    /// # Errors
    /// When one is being made, the ports cannot be listed, or the file cannot be written.
    pub fn record(&self, path: &Path, snapshot: &Snapshot) -> Result<(), RecordError> {
        let program = concat!("rovs ", env!("CARGO_PKG_VERSION"));
        let head = Head::now(&*self.datapath, program, &self.udpif.target.ufids.secret());
        let ports = self.datapath.ports().map_err(std::io::Error::other)?;
        let ports: Vec<RecordedPort> = ports.iter().map(RecordedPort::from).collect();
        let config = self.noted.described(snapshot, &self.udpif);
        self.noted.tap.start(path, &head, &config, &ports, RECORDING_BYTES)
    }

    /// Tells the recording, if one is made, that something changed that it cannot see: ports,
    /// configuration, addresses that went.
    pub fn note_state(&self) {
        self.noted.tell_recording(&*self.datapath, &self.udpif);
    }

    /// How many threads keep flows right.
    pub fn revalidators(&self) -> usize {
        self.revalidators.get()
    }

    /// Whether a thread found that the datapath is no more.
    pub fn is_gone(&self) -> bool {
        self.udpif.health.datapath_gone.load(Ordering::Relaxed)
    }

    /// Whether a handler found that its socket is of no use any more, so that upcalls go unread.
    pub fn handler_ended(&self) -> bool {
        self.udpif.health.handler_ended.load(Ordering::Relaxed)
    }

    /// Forgets a suspicion that [`Switch::is_gone`] raised and that turned out wrong.
    pub fn not_gone(&self) {
        self.udpif.health.datapath_gone.store(false, Ordering::Relaxed);
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.crew = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(target: "ofproto_dpif_upcall", "a thread ended by a panic");
            }
        }
        if let Err(RecordError::Io(error)) = self.noted.tap.stop() {
            tracing::warn!(target: "record", "recording: {error}");
        }
    }
}

/// What a thread that reconfigures a [`Switch`] has to know of it. Any thread.
pub struct Served {
    /// The kernel's side.
    pub datapath: Arc<dyn Datapath>,
    /// What handlers, revalidator and control thread share.
    pub udpif: Arc<Udpif>,
    noted: Noted,
}

impl Served {
    /// Notes the configuration that is in force from now on.
    pub fn note_config(&self, config: &Arc<Config>) {
        self.noted.config.store(config.clone());
    }

    /// See [`Switch::configure`].
    pub fn configure(&self, snapshot: Snapshot, changes: Vec<Dep>) {
        self.udpif.configure(snapshot);
        if !changes.is_empty() {
            self.udpif.changes.add(changes);
        }
        self.tell_recording();
    }

    /// Tells the recording, if one is made, that something changed that it cannot see.
    pub fn tell_recording(&self) {
        self.noted.tell_recording(&*self.datapath, &self.udpif);
    }

    /// Ends the recording, once the disk has taken all of it.
    ///
    /// # Errors
    /// When none is being made, or the file could not be written.
    pub fn stop_recording(&self) -> Result<Summary, RecordError> {
        self.noted.tap.stop()
    }

    /// What goes by the clock: addresses die of age. About once a second.
    pub fn tick(&self) {
        let now_ms = now_ms();
        let mut changes = Vec::new();
        for bridge in self.udpif.snapshot.load().bridges() {
            bridge.fdb.expire(now_ms, |key| changes.push(Dep::Fdb(bridge.id, key)));
        }
        if !changes.is_empty() {
            self.udpif.changes.add(changes);
            self.tell_recording();
        }
        if self.udpif.health.overlap.swap(false, Ordering::Relaxed) {
            self.udpif.changes.kick();
        }
    }
}

/// What a recording is told besides packets. Clones share it.
#[derive(Clone)]
struct Noted {
    tap: Tap,
    /// The configuration in force.
    config: Arc<ArcSwap<Config>>,
}

impl Noted {
    /// Tells the recording, if one is made, that something changed that it cannot see.
    pub fn tell_recording(&self, datapath: &dyn Datapath, udpif: &Udpif) {
        if !self.tap.is_on() {
            return;
        }
        if let Ok(ports) = datapath.ports() {
            self.tap.ports(ports.iter().map(RecordedPort::from).collect());
        }
        self.tap.config(&self.described(&udpif.snapshot.load(), udpif));
    }

    fn described(&self, snapshot: &Snapshot, udpif: &Udpif) -> String {
        recorded::describe(&self.config.load().to_toml(), snapshot, udpif, now_ms())
    }
}

/// What a flow's key may hold on a datapath with these features, if at most `vlan_limit` VLAN headers
/// are wanted.
pub fn odp_support(support: &crate::datapath::Support, vlan_limit: usize) -> odp::Support {
    odp::Support {
        max_vlan_headers: (support.max_vlan_headers.value as usize).min(vlan_limit),
        max_mpls_depth: support.max_mpls_depth.value as usize,
        recirc: support.recirc.value,
        ct_state: support.ct_state.value,
        ct_state_nat: support.ct_state_nat.value,
        ct_zone: support.ct_zone.value,
        ct_mark: support.ct_mark.value,
        ct_label: support.ct_label.value,
        ct_orig_tuple: support.ct_orig_tuple.value,
        ct_orig_tuple6: support.ct_orig_tuple6.value,
        nd_ext: false,
        packet_type: false,
    }
}

/// How many revalidators there are: one for four handlers unless another number is asked for, as
/// with the peer.
fn revalidators(settings: &SettingsConfig, handlers: usize) -> usize {
    settings.n_revalidator_threads.unwrap_or(handlers / 4 + 1)
}

fn apply_settings(settings: &Settings, wanted: &SettingsConfig) {
    let default = Settings::default();
    let max_idle = wanted.max_idle_ms.unwrap_or(default.max_idle_ms.into_inner());
    settings.max_idle_ms.store(max_idle, Ordering::Relaxed);
    let max_revalidator =
        wanted.max_revalidator_ms.unwrap_or(default.max_revalidator_ms.into_inner());
    settings.max_revalidator_ms.store(max_revalidator, Ordering::Relaxed);
    let flow_limit = wanted.flow_limit.unwrap_or(default.flow_limit.into_inner());
    settings.flow_limit.store(flow_limit, Ordering::Relaxed);
}
