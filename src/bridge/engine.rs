//! The engine: keeps the datapath as the configuration wants it, whatever happens to either.
//!
//! What always holds: a configuration is made true as far as it can be, and what could not be had is in
//! the [`Outcome`], word for word as the peer says it; a datapath, a port or a module that goes
//! away is noticed, logged once with cause and remedy, and put back as soon as that is possible;
//! without bridges there is no datapath; the kernel is asked about what has changed, not about all there
//! is; and whatever takes the longer the more ports there are, or is the kernel's to do, is a thread's work,
//! to which `Works` is lent: the control thread serves others meanwhile, and moves pointers. Control thread;
//! `watch` has threads of its own that listen.

mod backing;
mod devices;
mod outcome;
mod watch;
mod works;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Notify;

use self::backing::Backing;
pub use self::outcome::{BridgeOutcome, InterfaceOutcome, Outcome};
use self::watch::Feed;
use self::works::{Heard, Reconciled, Works};
use super::config::Config;
use super::ct_zones::CtZones;
use super::current::Current;
use super::reconcile::Reconciler;
use super::switch::{Served, Switch};
use crate::aside::{aside, free};
use crate::clock;
use crate::coverage::counter;
use crate::datapath::{Datapath, DpError, DpErrorKind, PortEvent};
use crate::netdev::{HostDevices, KernelDevices, Link, LinkEvent, LinkTable};
use crate::odp::ufid::UfidHasher;

counter!(static BRIDGE_RECONFIGURE = "bridge_reconfigure");

/// Name of the kernel's datapath that all bridges share, as the peer has it.
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

impl DummyMode {
    /// The types of datapaths that are dummies.
    pub const fn types(self) -> &'static [&'static str] {
        match self {
            Self::Off => &[],
            Self::On => &["dummy"],
            Self::System => &["dummy", "system"],
            Self::Override => &["dummy", "netdev", "system"],
        }
    }
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

/// A datapath and the devices that can be its ports.
type Opened = (Arc<dyn Datapath>, Arc<dyn HostDevices>);

/// Opens a datapath.
type Opener = Arc<dyn Fn(&Backing) -> Result<Opened, DpError> + Send + Sync>;

/// See the module's page.
pub struct Engine {
    /// The recording is taken by the first datapath that is opened.
    options: EngineOptions,
    opener: Opener,
    /// What carries the bridges.
    backing: Option<Backing>,
    works: Works,
    current: Current,
    host: Arc<dyn HostDevices>,
    /// Rung when there is something to hear.
    bell: Arc<Notify>,
    links_heard: Option<Feed<LinkEvent>>,
    ports_heard: Option<Feed<PortEvent>>,
    ufids: UfidHasher,
    /// The CPUs that upcalls were last directed by.
    cpus: (String, usize),
    /// The last failure of the datapath as a whole.
    failure: Option<DpError>,
    outcome: Arc<Outcome>,
}

impl Engine {
    /// An engine that has nothing to do yet.
    pub fn new(options: EngineOptions) -> Self {
        Self::with_opener(options, Arc::new(|backing| Ok((backing.open()?, backing.host()))))
    }

    /// One over other datapaths than those of this machine.
    fn with_opener(options: EngineOptions, opener: Opener) -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            options,
            opener,
            backing: None,
            works: Works { machine_id: read("/etc/machine-id"), ..Works::default() },
            current: Current::default(),
            host: Arc::new(KernelDevices),
            bell: Arc::default(),
            links_heard: None,
            ports_heard: None,
            ufids: UfidHasher::from_text(&read("/proc/sys/kernel/random/boot_id")),
            cpus: cpus(),
            failure: None,
            outcome: Arc::default(),
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
    pub fn outcome(&self) -> &Arc<Outcome> {
        &self.outcome
    }

    /// Lends `state`, and the devices as they were last seen, to a thread that does `work` with them. The
    /// counters of a device are those of the last [`Engine::refresh_stats`].
    pub async fn aside_with_links<S, T>(
        &mut self,
        state: &mut S,
        work: impl FnOnce(&mut S, &LinkTable) -> T + Send + 'static,
    ) -> T
    where
        S: Default + Send + 'static,
        T: Send + 'static,
    {
        let mut lent = (std::mem::take(&mut self.works), std::mem::take(state));
        let result = aside(&mut lent, |(works, state)| work(state, &works.links)).await;
        (self.works, *state) = lent;
        result
    }

    /// The device of this name, as it was last seen.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.works.links.by_name(name)
    }

    /// Has the counters of all devices read, all at once.
    pub async fn refresh_stats(&mut self) {
        if self.current.borrow().is_some() {
            self.list_links().await;
        }
    }

    /// Makes `config` true. The datapath is opened and closed as needed.
    pub async fn apply(&mut self, config: impl Into<Arc<Config>>) -> &Outcome {
        BRIDGE_RECONFIGURE.add(1);
        let (config, options) = (config.into(), self.options.clone());
        let now = self.backing.clone();
        let backing =
            aside(&mut self.works, move |works| works.take_config(config, now.as_ref(), &options));
        let backing = backing.await;
        if backing != self.backing {
            self.end(true).await;
            self.backing = backing;
            // What comes now is another switch, with nothing learned.
            aside(&mut self.works, |works| {
                works.reconciler = Reconciler::default();
                works.ct_zones = CtZones::default();
            })
            .await;
        }
        match &self.backing {
            None => {
                self.failure = None;
                self.works.missing.clear();
            }
            Some(_) if self.current.borrow().is_none() => self.open_or_note().await,
            Some(_) if self.wants_other_handlers() => {
                // A datapath that is opened again keeps its flows.
                tracing::info!(target: "dpif", "another number of handlers is wanted; they are started anew");
                self.give_up().await;
                self.open_or_note().await;
            }
            Some(_) => {
                self.make_devices().await;
                self.hear().await;
                // A device may be younger than the last announcement that was read.
                self.look_up().await;
                if let Some(switch) = &*self.current.borrow() {
                    switch.set_bounds(&self.works.config.settings);
                }
                self.reconcile_or_note().await;
            }
        }
        self.conclude().await;
        &self.outcome
    }

    /// Looks into what [`Engine::changed`] told; `None` if it is of no concern here.
    pub async fn refresh(&mut self) -> Option<&Outcome> {
        self.hear().await;
        if !std::mem::take(&mut self.works.is_stale) {
            return None;
        }
        self.reconcile_or_note().await;
        self.conclude().await;
        Some(&self.outcome)
    }

    /// Waits until devices, or ports of the datapath, may have changed.
    pub async fn changed(&self) {
        if !self.works.is_stale {
            self.bell.notified().await;
        }
    }

    /// What goes by the clock, once a second; `None` if nothing is different.
    pub async fn tick(&mut self) -> Option<&Outcome> {
        self.look().await;
        self.conclude().await.then_some(&*self.outcome)
    }

    /// Ends: threads stop, and with `cleanup` the datapath goes with all that is in it.
    pub async fn end(&mut self, cleanup: bool) {
        self.close(cleanup).await;
        self.links_heard = None;
    }

    /// Has a thread free what there is to free, once the engine has ended.
    pub fn free(&mut self) {
        free((std::mem::take(&mut self.works), std::mem::take(&mut self.outcome)));
    }

    /// Ends the switch on a thread of its own: threads are waited for, and the kernel takes its time to
    /// remove a thousand ports.
    async fn close(&mut self, destroy: bool) {
        self.ports_heard = None;
        let Some(switch) = self.current.take() else {
            return;
        };
        aside(&mut (), move |()| {
            let datapath = switch.datapath.clone();
            drop(switch);
            if destroy && let Err(error) = datapath.destroy() {
                tracing::warn!(target: "dpif", "{error}");
            }
        })
        .await;
    }

    async fn open_or_note(&mut self) {
        if let Err(error) = self.open().await {
            self.note_failure(error).await;
        }
    }

    /// Opens the datapath, makes the configuration true and begins to serve.
    async fn open(&mut self) -> Result<(), DpError> {
        let Some(backing) = &self.backing else {
            return Ok(());
        };
        let (backing, opener) = (backing.clone(), self.opener.clone());
        let (datapath, host) = aside(&mut (), move |()| opener(&backing)).await?;
        if self.links_heard.is_none() {
            self.host = host;
            self.listen_to_links();
        }
        self.make_devices().await;
        self.listen_to_ports(&*datapath);
        self.list_links().await;
        let (opened, ufids) = (datapath.clone(), self.ufids);
        let reconciled = aside(&mut self.works, move |works| {
            works.reconciler.forget_ports();
            works.ct_zones.forget();
            let switch = Switch::open(opened.clone(), &works.config.settings, ufids)?;
            Ok::<_, DpError>((switch, works.reconcile(&*opened)?))
        });
        let (mut switch, Reconciled { snapshot, report, .. }) = reconciled.await?;
        switch.served().note_config(&self.works.config);
        // Once only: a datapath that comes back is another one, and the file is full of the first.
        if let Some(path) = self.options.record.take() {
            match switch.record(&path, &snapshot) {
                Ok(()) => tracing::info!(target: "record", "recording into {}", path.display()),
                Err(error) => tracing::error!(target: "record", "{}: {error}", path.display()),
            }
        }
        let adopted = switch.start(snapshot).await?;
        if adopted.kept + adopted.modified + adopted.deleted > 0 {
            tracing::info!(
                target: "ofproto_dpif_upcall",
                "flows of an earlier run: {} kept, {} changed, {} deleted",
                adopted.kept, adopted.modified, adopted.deleted
            );
        }
        let name = datapath.name().to_owned();
        self.current.put(switch);
        // Devices that were made with the datapath are announced later.
        self.look_up().await;
        let host = self.host.clone();
        aside(&mut self.works, move |works| works.take_report(report, &*host)).await;
        if self.failure.take().is_some() {
            tracing::info!(target: "dpif", "datapath {name} is back");
        }
        Ok(())
    }

    async fn reconcile_or_note(&mut self) {
        if let Err(error) = self.reconcile().await {
            self.note_failure(error).await;
        }
    }

    async fn reconcile(&mut self) -> Result<(), DpError> {
        let Some(served) = self.served() else {
            return Ok(());
        };
        let (host, name) = (self.host.clone(), served.datapath.name().to_owned());
        let reconciled = aside(&mut self.works, move |works| {
            served.note_config(&works.config);
            let Reconciled { snapshot, report, changes } = works.reconcile(&*served.datapath)?;
            served.configure(snapshot, changes);
            works.take_report(report, &*host);
            Ok::<_, DpError>(())
        });
        reconciled.await?;
        if self.failure.take().is_some() {
            tracing::info!(target: "dpif", "datapath {name} is in order again");
        }
        Ok(())
    }

    /// The datapath of the switch, if there is one.
    fn datapath(&self) -> Option<Arc<dyn Datapath>> {
        self.current.borrow().as_ref().map(|switch| switch.datapath.clone())
    }

    /// What a thread has to know of the switch, if there is one.
    fn served(&self) -> Option<Served> {
        self.current.borrow().as_ref().map(Switch::served)
    }

    /// Says what came of it; true if that is not what came of it before.
    async fn conclude(&mut self) -> bool {
        let (served, before) = (self.served(), std::mem::take(&mut self.outcome));
        let failure = self.failure.as_ref().map(failure_text);
        let outcome = aside(&mut self.works, move |works| {
            let outcome = works.outcome(served.as_ref(), failure);
            match outcome == *before {
                true => (before, false),
                // The one before it is freed here as well.
                false => (Arc::new(outcome), true),
            }
        });
        let (outcome, is_other) = outcome.await;
        self.outcome = outcome;
        is_other
    }

    async fn make_devices(&mut self) {
        if let Some(backing) = self.backing.clone().filter(Backing::makes_devices) {
            let mode = self.options.dummy;
            aside(&mut self.works, move |works| backing.make_devices(&works.config, mode)).await;
        }
    }

    fn listen_to_links(&mut self) {
        self.links_heard = None;
        let feed = self.host.watch().map_err(|error| error.to_string()).and_then(|events| {
            let feed = Feed::start("link_watch", events, self.bell.clone());
            feed.map_err(|error| error.to_string())
        });
        match feed {
            Ok(feed) => self.links_heard = Some(feed),
            Err(error) => tracing::warn!(
                target: "netdev_linux",
                "devices are not watched: {error}; they are listed once a second"
            ),
        }
    }

    fn listen_to_ports(&mut self, datapath: &dyn Datapath) {
        self.ports_heard = None;
        let feed = datapath.watch_ports().map_err(|error| error.to_string()).and_then(|events| {
            let feed = Feed::start("port_watch", events, self.bell.clone());
            feed.map_err(|error| error.to_string())
        });
        match feed {
            Ok(feed) => self.ports_heard = Some(feed),
            Err(error) => tracing::warn!(target: "bridge", "ports are not watched: {error}"),
        }
    }

    /// Takes in what was announced.
    async fn hear(&mut self) {
        let links = self.links_heard.as_ref().map(Feed::take).unwrap_or_default();
        let ports = self.ports_heard.as_ref().map(Feed::take).unwrap_or_default();
        if links.is_empty() && ports.is_empty() {
            return;
        }
        let (host, datapath) = (self.host.clone(), self.datapath());
        let heard = Heard { links, ports };
        aside(&mut self.works, move |works| works.hear(heard, &*host, datapath.as_deref())).await;
    }

    /// Has all devices listed.
    async fn list_links(&mut self) {
        let host = self.host.clone();
        aside(&mut self.works, move |works| works.list_links(&*host)).await;
    }

    /// Has those devices looked up that are configured and not known.
    async fn look_up(&mut self) {
        let host = self.host.clone();
        aside(&mut self.works, move |works| works.look_up(&*host, |_| true)).await;
    }

    async fn look(&mut self) {
        if self.works.config.bridges.is_empty() {
            return;
        }
        if self.current.borrow().is_none() {
            self.open_or_note().await;
            return;
        }
        let Some(served) = self.served() else { return };
        // A suspicion is looked into; so is a datapath that is simply not used.
        let stats = aside(&mut (), move |()| {
            served.tick();
            served.datapath.stats()
        })
        .await;
        let gone = stats.err().filter(DpError::is_gone);
        if let (None, Some(switch)) = (&gone, &*self.current.borrow()) {
            switch.not_gone();
        }
        if let Some(error) = gone {
            self.note_failure(error).await;
            return;
        }
        if self.current.borrow().as_ref().is_some_and(Switch::handler_ended) {
            tracing::error!(
                target: "dpif", "an upcall socket ended; the datapath is opened again"
            );
            self.give_up().await;
            return;
        }
        self.follow_cpus().await;
        let is_deaf = |ended: Option<bool>| ended.unwrap_or(true);
        if is_deaf(self.links_heard.as_ref().map(Feed::has_ended)) {
            self.list_links().await;
        }
        if is_deaf(self.ports_heard.as_ref().map(Feed::has_ended)) {
            aside(&mut self.works, |works| {
                works.reconciler.forget_ports();
                works.is_stale = true;
            })
            .await;
        }
        self.hear().await;
        // What was refused may be possible now; what is missing is cheap to try.
        if std::mem::take(&mut self.works.is_stale) {
            self.reconcile_or_note().await;
        }
        if self.works.ct_zones.is_due(clock::now_ms())
            && let Some(datapath) = self.datapath()
        {
            aside(&mut self.works, move |works| works.apply_ct_zones(&*datapath)).await;
        }
    }

    /// Whether `n-handler-threads` asks for another number of handlers than there are.
    fn wants_other_handlers(&self) -> bool {
        let wanted = self.works.config.settings.n_handler_threads;
        let current = self.current.borrow();
        current
            .as_ref()
            .is_some_and(|switch| switch.datapath.handlers_wanted(wanted).max(1) != switch.handlers)
    }

    /// Directs upcalls anew when CPUs came or went; with another number of them the datapath is
    /// opened again, which costs its flows nothing.
    async fn follow_cpus(&mut self) {
        let now = cpus();
        if now == self.cpus {
            return;
        }
        self.cpus = now;
        let Some(datapath) = self.datapath() else { return };
        match aside(&mut (), move |()| datapath.refresh_cpus()).await {
            Ok(true) => {
                tracing::info!(target: "dpif", "the CPUs changed; the handlers are started anew");
                self.give_up().await;
            }
            Err(error) => self.note_failure(error).await,
            Ok(false) => {}
        }
    }

    /// Logs a failure once; if the datapath is gone, gives it up until it can be opened again.
    async fn note_failure(&mut self, error: DpError) {
        if self.failure.as_ref() != Some(&error) {
            tracing::error!(target: "dpif", "{}", failure_text(&error));
        }
        let is_gone = error.is_gone();
        self.failure = Some(error);
        if is_gone {
            self.give_up().await;
        }
    }

    /// Lets go of the datapath; the next tick opens it again.
    async fn give_up(&mut self) {
        self.close(false).await;
    }
}

fn failure_text(error: &DpError) -> String {
    format!("{error}; {}", error.remedy())
}

/// Which CPUs are on, and how many of them this process may use.
fn cpus() -> (String, usize) {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    (online, std::thread::available_parallelism().map_or(1, usize::from))
}

#[cfg(test)]
mod tests;
