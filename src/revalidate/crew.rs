//! The revalidator's threads: as many as are asked for, also while they work.
//!
//! Control thread. Dropping a [`Crew`] stops its threads and waits for them.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::{Revalidator, RoundStats, Shared};
use crate::clock::Follower;
use crate::datapath::Datapath;
use crate::upcall::Udpif;

/// Half a megabyte is ample for a road without recursion, and is locked by --mlockall.
const STACK_BYTES: usize = 512 << 10;

/// See the module's page.
pub struct Crew {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Crew {
    /// Starts `threads` threads.
    pub fn start(
        udpif: Arc<Udpif>,
        datapath: Arc<dyn Datapath>,
        stats: Arc<RoundStats>,
        threads: usize,
    ) -> Self {
        let kicked = udpif.clone();
        let clock = Follower::with_wake(move || kicked.changes.kick());
        let shared = Arc::new(Shared::new(udpif, datapath, stats, Some(clock)));
        let crew = Self { shared, threads: Mutex::default() };
        crew.resize(threads);
        crew
    }

    /// Has so many threads work from now on; those that are too many end when they are done with what
    /// they have in hand.
    pub fn resize(&self, threads: usize) {
        let changes = &self.shared.udpif.changes;
        if changes.threads() == threads {
            return;
        }
        let mut running = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|thread| !thread.is_finished());
        let missing = changes.set_threads(threads);
        for (i, id) in missing.iter().copied().enumerate() {
            let revalidator = Revalidator::of(self.shared.clone());
            let name = format!("revalidator{}", id + 1);
            let thread = Builder::new().name(name.clone()).stack_size(STACK_BYTES);
            match thread.spawn(move || revalidator.run(id)) {
                Ok(thread) => running.push(thread),
                Err(error) => {
                    tracing::error!(target: "ofproto_dpif_upcall",
                        "cannot start thread {name}: {error}");
                    changes.not_started(&missing[i..]);
                    return;
                }
            }
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.udpif.changes.stop();
        let threads = self.threads.get_mut().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(target: "ofproto_dpif_upcall", "a thread ended by a panic");
            }
        }
    }
}
