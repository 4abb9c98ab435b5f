//! Notices that somebody changed the datapath's ports.
//!
//! A thread waits at the kernel's announcements and wakes the control task; what happened is then
//! read from the datapath itself, so a lost announcement costs nothing but time (the clock of
//! one second looks as well). The thread ends when its [`PortWatch`] is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::Notify;

use crate::datapath::{Datapath, PortEvents};

/// Milliseconds after which the thread looks whether it shall end.
const WAIT_MS: u16 = 250;

/// See the module's page. The default one watches nothing.
#[derive(Default)]
pub struct PortWatch {
    changed: Arc<Notify>,
    stop: Arc<AtomicBool>,
}

impl PortWatch {
    /// Watches the ports of `datapath`, if it lets itself be watched.
    pub fn start(datapath: &dyn Datapath) -> Self {
        let watch = Self::default();
        match datapath.watch_ports() {
            Ok(events) => {
                let (changed, stop) = (watch.changed.clone(), watch.stop.clone());
                let thread = std::thread::Builder::new().name("port_watch".to_owned());
                if let Err(error) = thread.spawn(move || run(events, &changed, &stop)) {
                    tracing::warn!(target: "bridge", "ports are not watched: {error}");
                }
            }
            Err(error) => tracing::warn!(target: "bridge", "ports are not watched: {error}"),
        }
        watch
    }

    /// Notified when ports have changed.
    pub fn changed(&self) -> Arc<Notify> {
        self.changed.clone()
    }
}

impl Drop for PortWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn run(mut events: Box<dyn PortEvents>, changed: &Notify, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let mut fds = [PollFd::new(events.fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::from(WAIT_MS));
        if !matches!(ready, Ok(n) if n > 0) {
            continue;
        }
        let mut some = false;
        // When there will be no more events, the clock still looks.
        let more = events.read(&mut |_| some = true).is_ok();
        if some {
            changed.notify_one();
        }
        if !more {
            return;
        }
    }
}
