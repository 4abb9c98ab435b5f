//! The daemon at work: control socket, signals, timers, and the switch beside them.
//!
//! What always holds: the switch learns that it is to end through [`Control::event`] and ends by
//! returning; whoever asked with `exit` has the answer after that; then socket and pidfile go, and
//! if a signal was the reason the process dies of it.

use super::signals::{AsyncSignals, die_of};
use super::stage::{Parent, close_standard_fds};
use super::{Daemon, Exit, Fatal, control_path, signals, systemd};
use crate::clock::Follower;
use crate::coverage;
use crate::memory::{Memory, Watch};
use crate::strerror::strerror;
use crate::unixctl::{Registry, Reply, Server};
use crate::vlog::clock::monotonic_ms;
use nix::sys::signal::Signal;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

use super::dirs::Dirs;
use super::options::{Options, short_version};

/// Something the switch is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Return. The datapath stays as it is, unless the end says otherwise.
    End(End),
    /// Read the configuration file again (SIGHUP in standalone mode).
    Reload,
}

/// How to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Remove datapaths, ports and flows from the kernel (`exit --cleanup`).
    pub cleanup: bool,
}

/// What the switch has of the process it runs in. Clones share it; control thread only.
#[derive(Clone, Debug)]
pub struct Control(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    options: Options,
    dirs: Dirs,
    pidfile: Option<PathBuf>,
    registry: Registry,
    memory: Memory,
    parent: RefCell<Option<Parent>>,
    is_ready: Cell<bool>,
    end: Cell<Option<End>>,
    signal: Cell<Option<Signal>>,
    reload: Cell<bool>,
    /// Who asked with `exit` and waits.
    waiting: RefCell<Vec<Reply>>,
    changed: Notify,
}

impl Control {
    /// The options.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// Where things are.
    pub fn dirs(&self) -> &Dirs {
        &self.0.dirs
    }

    /// Our pidfile, if there is one. It must not be opened: see [`pidfile`](super::pidfile).
    pub fn pidfile(&self) -> Option<&Path> {
        self.0.pidfile.as_deref()
    }

    /// The commands of the control socket; more may be registered at any time.
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// What `memory/show` counts.
    pub fn memory(&self) -> &Memory {
        &self.0.memory
    }

    /// The first configuration is in force: lets the caller of `--detach` go, leaves its
    /// directory and its terminal. Calls after the first do nothing.
    pub fn ready(&self) {
        if self.0.is_ready.replace(true) {
            return;
        }
        if let Some(parent) = self.0.parent.take() {
            parent.notify();
        }
        systemd::notify(&format!("READY=1\nMAINPID={}", std::process::id()));
        if self.0.options.detach {
            if !self.0.options.no_chdir {
                let _ = std::env::set_current_dir("/");
            }
            let _ = close_standard_fds();
        }
    }

    /// Waits for the next thing to do. After an [`Event::End`] it gives that again.
    pub async fn event(&self) -> Event {
        loop {
            if let Some(end) = self.0.end.get() {
                return Event::End(end);
            }
            if self.0.reload.take() {
                return Event::Reload;
            }
            self.0.changed.notified().await;
        }
    }

    /// Asks the switch to end.
    pub fn end(&self, end: End) {
        systemd::notify("STOPPING=1");
        let cleanup = end.cleanup || self.0.end.get().is_some_and(|already| already.cleanup);
        self.0.end.set(Some(End { cleanup }));
        self.0.changed.notify_waiters();
        self.0.changed.notify_one();
    }

    fn on_signal(&self, signal: Signal) {
        if signal == Signal::SIGHUP && self.0.options.standalone.is_some() {
            self.0.reload.set(true);
            self.0.changed.notify_one();
            return;
        }
        let number = signal as i32;
        let name = signals::describe(number);
        tracing::warn!(target: "fatal_signal", "terminating with signal {number} ({name})");
        self.0.signal.set(Some(signal));
        self.end(End { cleanup: false });
    }
}

impl Daemon {
    /// Serves the control socket and runs `switch` until it returns.
    ///
    /// The switch gets a [`Control`], calls [`Control::ready`] once it is configured, registers
    /// its commands, and returns when [`Control::event`] says so or when it cannot go on.
    pub fn run<S, F>(self, switch: S) -> Exit
    where
        S: FnOnce(Control) -> F,
        F: Future<Output = Result<(), Fatal>>,
    {
        let (program, vlog) = (self.program.clone(), self.vlog);
        let pidfile = self.pidfile;
        let shared = Shared {
            registry: Registry::new(&short_version(&self.program)),
            memory: Memory::default(),
            options: self.options,
            dirs: self.dirs,
            pidfile: pidfile.as_ref().map(|pidfile| pidfile.path().to_owned()),
            parent: RefCell::new(self.parent),
            is_ready: Cell::new(false),
            end: Cell::new(None),
            signal: Cell::new(None),
            reload: Cell::new(false),
            waiting: RefCell::default(),
            changed: Notify::new(),
        };
        shared.registry.register_vlog(vlog);
        shared.registry.register_coverage();
        shared.registry.register_memory(&shared.memory);
        if shared.options.dummy().is_some() {
            shared.registry.register_time();
            crate::netdev::dummy::register(&shared.registry);
        }
        let control = Control(Rc::new(shared));
        register_exit(&control);

        let result = serve(&control, &program, self.signals, switch);
        drop(pidfile);
        match result {
            Err(fatal) => Exit { code: fatal.report(&program, Some(vlog)) },
            Ok(()) => {
                if let Some(signal) = control.0.signal.get() {
                    die_of(signal);
                }
                Exit { code: ExitCode::SUCCESS }
            }
        }
    }
}

fn register_exit(control: &Control) {
    let weak = Rc::downgrade(&control.0);
    control.registry().register_deferred("exit", "[--cleanup]", 0..=1, move |call, reply| {
        let Some(shared) = weak.upgrade() else { return };
        shared.waiting.borrow_mut().push(reply);
        Control(shared).end(End { cleanup: call.arg(0) == Some("--cleanup") });
    });
}

fn serve<S, F>(
    control: &Control,
    program: &str,
    signals: super::Signals,
    switch: S,
) -> Result<(), Fatal>
where
    S: FnOnce(Control) -> F,
    F: Future<Output = Result<(), Fatal>>,
{
    let failed = |what: &str, error: &io::Error| {
        Fatal::logged("vswitchd", format!("{what} ({})", strerror(error)))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed("no runtime", &error))?;
    let server = control_path(control.options(), control.dirs(), program)
        .map(|path| Server::bind(&path, control.registry().clone()))
        .transpose()
        .map_err(|error| Fatal::usage(error.to_string()))?;
    let busy = server.as_ref().map(Server::busy);
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut signals =
            signals.into_async().map_err(|error| failed("signalfd failed", &error))?;
        let server = tokio::task::spawn_local(async move {
            match server {
                Some(server) => server.run().await,
                None => std::future::pending().await,
            }
        });
        let timers = tokio::task::spawn_local(timers(control.memory().clone()));
        let mut switch = std::pin::pin!(switch(control.clone()));
        let result = loop {
            tokio::select! {
                result = &mut switch => break result,
                Some(signal) = signals.next() => after_signal(control, &signals, signal),
            }
        };
        for reply in control.0.waiting.take() {
            match &result {
                Ok(()) => reply.ok(()),
                Err(fatal) => reply.error(fatal.text()),
            }
        }
        if let Some(busy) = busy {
            answers_are_sent(&busy).await;
        }
        server.abort();
        timers.abort();
        result
    })
}

fn after_signal(control: &Control, signals: &AsyncSignals, signal: Signal) {
    control.on_signal(signal);
    if control.0.signal.get().is_some() {
        // The next one is to end us even if the switch does not return.
        signals.release();
    }
}

/// Lets the answers go out that are ready, without waiting for clients that do not read.
async fn answers_are_sent(busy: &Cell<usize>) {
    for _ in 0..50 {
        if busy.get() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What has to be done now and then.
async fn timers(memory: Memory) {
    let mut ticks = tokio::time::interval(Duration::from_millis(coverage::TICK_MS));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut follower = Follower::new();
    let mut watch = Watch::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = follower.warped() => {}
        }
        let now_ms = monotonic_ms();
        coverage::tick(now_ms);
        if let Some(line) = watch.check(now_ms, crate::memory::peak_rss_kb()) {
            tracing::info!(target: "memory", "{line}");
            let report = memory.report();
            if !report.is_empty() {
                tracing::info!(target: "memory", "{report}");
            }
        }
    }
}
