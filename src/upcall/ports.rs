//! Upcalls by datapath port: how many came, were served, were dropped.
//!
//! Handlers count into a port's block without a lock, once they have its handle; the map itself is
//! locked only when a port is first seen and when the control socket lists.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use crate::datapath::OdpPort;

/// One port's counts.
#[derive(Default, Debug)]
pub struct PortCount {
    /// Upcalls read.
    pub asked: AtomicU64,
    /// Upcalls answered.
    pub served: AtomicU64,
    /// Upcalls dropped because others had to be served.
    pub dropped: AtomicU64,
}

/// One port's counts at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortTotals {
    /// The port.
    pub port: OdpPort,
    /// Upcalls read.
    pub asked: u64,
    /// Upcalls answered.
    pub served: u64,
    /// Upcalls dropped because others had to be served.
    pub dropped: u64,
}

/// See the module's page.
#[derive(Default)]
pub struct PortCounters {
    ports: RwLock<HashMap<OdpPort, Arc<PortCount>, foldhash::fast::RandomState>>,
}

impl PortCounters {
    /// The block of `port`.
    pub fn port(&self, port: OdpPort) -> Arc<PortCount> {
        let known = self.ports.read().unwrap_or_else(|e| e.into_inner()).get(&port).cloned();
        known.unwrap_or_else(|| {
            let mut ports = self.ports.write().unwrap_or_else(|e| e.into_inner());
            ports.entry(port).or_default().clone()
        })
    }

    /// All counts, by port number.
    pub fn totals(&self) -> Vec<PortTotals> {
        let ports = self.ports.read().unwrap_or_else(|e| e.into_inner());
        let mut totals: Vec<PortTotals> = ports
            .iter()
            .map(|(port, count)| PortTotals {
                port: *port,
                asked: count.asked.load(Ordering::Relaxed),
                served: count.served.load(Ordering::Relaxed),
                dropped: count.dropped.load(Ordering::Relaxed),
            })
            .collect();
        totals.sort_by_key(|totals| totals.port);
        totals
    }

    /// Forgets a port that is gone, so that its number can be another's.
    pub fn forget(&self, port: OdpPort) {
        self.ports.write().unwrap_or_else(|e| e.into_inner()).remove(&port);
    }
}
