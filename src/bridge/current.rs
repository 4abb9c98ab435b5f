//! The switch of the moment, and what an operator wants of whatever switch there is.
//!
//! A switch comes with its datapath, and another one when that comes back. `upcall/disable-megaflows` and
//! `upcall/disable-ufid` are about all of them, as with the peer: before the first one too. Control thread.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::switch::Switch;
use crate::memory::{self, Memory};
use crate::snapshot::Bridge;

/// See the module's page; clones are the same.
#[derive(Clone)]
pub struct Current(Rc<Inner>);

struct Inner {
    switch: RefCell<Option<Switch>>,
    megaflows: Cell<bool>,
    ufid: Cell<bool>,
}

impl Default for Current {
    /// No switch yet.
    fn default() -> Self {
        let (megaflows, ufid) = (Cell::new(true), Cell::new(true));
        Self(Rc::new(Inner { switch: RefCell::default(), megaflows, ufid }))
    }
}

impl Current {
    /// The switch, if there is one.
    pub fn borrow(&self) -> Ref<'_, Option<Switch>> {
        self.0.switch.borrow()
    }

    /// A switch is there.
    pub fn put(&self, switch: Switch) {
        switch.udpif.settings.ufid.store(self.0.ufid.get(), Ordering::Relaxed);
        *self.0.switch.borrow_mut() = Some(switch);
        if !self.0.megaflows.get() {
            self.set_megaflows(false);
        }
    }

    /// It is no longer.
    pub fn take(&self) -> Option<Switch> {
        self.0.switch.borrow_mut().take()
    }

    /// Whether flows are to be wildcarded (`upcall/disable-megaflows`).
    pub fn set_megaflows(&self, on: bool) {
        self.0.megaflows.set(on);
        if let Some(switch) = &*self.borrow() {
            switch.udpif.settings.megaflows.store(on, Ordering::Relaxed);
            // Flows with the other kind of mask go; their packets come up again.
            switch.udpif.changes.flush();
            switch.note_state();
        }
    }

    /// Whether dumps name flows by their UFID alone (`upcall/disable-ufid`).
    pub fn set_ufid(&self, on: bool) {
        self.0.ufid.set(on);
        if let Some(switch) = &*self.borrow() {
            switch.udpif.settings.ufid.store(on, Ordering::Relaxed);
        }
    }

    /// Has `memory` ask the switch of the moment.
    pub fn provide_memory(&self, memory: &Memory) {
        let current = self.clone();
        memory.provide(move |usage| {
            if let Some(switch) = &*current.borrow() {
                let snapshot = switch.udpif.snapshot.load();
                let ports: usize = snapshot.bridges().iter().map(|bridge| bridge.ports.len()).sum();
                memory::add(usage, "handlers", switch.handlers as u64);
                memory::add(usage, "ports", ports as u64);
                memory::add(usage, "revalidators", switch.revalidators() as u64);
                let rules = |bridge: &Arc<Bridge>| bridge.tables.len() as u64;
                memory::add(usage, "rules", snapshot.bridges().iter().map(rules).sum());
                memory::add(usage, "udpif keys", switch.udpif.ukeys.len() as u64);
            }
        });
    }
}
