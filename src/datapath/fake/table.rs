//! The fake kernel's flow table: a list of flows per mask, and the module's rules for what may stand
//! beside what.
//!
//! What always holds: a flow under a UFID is found by that UFID only, one without by its key only; a
//! new flow whose unmasked key an existing flow matches is refused (`EEXIST`), or taken for a change
//! of that flow when the request allows it.
//!
//! Used under the fake kernel's lock.

use std::collections::{BTreeMap, HashMap};

use ovs_netlink::flow::{FlowMsg, FlowStats, UfidFlags};

use super::{
    Refusal,
    key::{Key, Match},
};
use crate::datapath::FlowTotals;

/// An installed flow.
#[derive(Debug)]
pub(super) struct Flow {
    pub ufid: Option<[u8; 16]>,
    /// Masked.
    pub key: Key,
    pub mask: Key,
    /// What the flow is known by when it has no UFID.
    pub unmasked: Key,
    pub actions: Vec<u8>,
    pub totals: FlowTotals,
}

impl Flow {
    /// Shows the flow as the kernel tells it, leaving out what `omit` says. With `unmasked` the key is
    /// the one that it was installed with.
    pub fn show(
        &self,
        dp_ifindex: u32,
        omit: UfidFlags,
        unmasked: bool,
        each: &mut dyn FnMut(&FlowMsg<'_>),
    ) {
        // Without a UFID nothing is left out.
        let omit = if self.ufid.is_some() { omit } else { UfidFlags::empty() };
        let (mut key, mut mask) = (Vec::new(), Vec::new());
        let masked = self.ufid.is_some() && !unmasked;
        let shown = if masked { &self.key } else { &self.unmasked };
        let of = if unmasked { shown } else { &self.key };
        let written = shown.write(shown, false, &mut key);
        let written = written.and_then(|()| self.mask.write(of, true, &mut mask));
        debug_assert!(written.is_ok(), "keys are far below the limit of an attribute");
        let FlowTotals { packets, bytes, used_ms, tcp_flags } = self.totals;
        each(&FlowMsg {
            dp_ifindex,
            key: (!omit.contains(UfidFlags::OMIT_KEY)).then_some(&key),
            mask: (!omit.contains(UfidFlags::OMIT_MASK)).then_some(&mask),
            actions: (!omit.contains(UfidFlags::OMIT_ACTIONS)).then_some(&self.actions),
            stats: (packets > 0).then_some(FlowStats { packets, bytes }),
            tcp_flags: (tcp_flags != 0).then_some(tcp_flags),
            used_ms,
            ufid: self.ufid,
            ..FlowMsg::default()
        });
    }
}

/// How a flow is meant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Id<'a> {
    Ufid([u8; 16]),
    Key(&'a [u8]),
}

/// Flows in the order of their installation, masks in that of their first use.
#[derive(Debug, Default)]
pub(super) struct FlowTable {
    flows: BTreeMap<u64, Flow>,
    next: u64,
    by_ufid: HashMap<[u8; 16], u64>,
    /// Flows without a UFID, by unmasked key.
    by_key: HashMap<Key, u64>,
    masks: Vec<Subtable>,
    /// Flows that it takes before it answers `ENOSPC`; the real one has no such limit.
    pub capacity: Option<usize>,
}

/// The flows of one mask, by masked key.
#[derive(Debug)]
struct Subtable {
    mask: Key,
    flows: HashMap<Key, u64>,
}

/// A request to install or change a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    pub ufid: Option<[u8; 16]>,
    pub matching: Match,
    pub actions: Option<&'a [u8]>,
    pub clear: bool,
}

impl FlowTable {
    /// Flows.
    pub fn flows(&self) -> impl ExactSizeIterator<Item = &Flow> {
        self.flows.values()
    }

    /// Flows from this number on, with their numbers.
    pub fn flows_from(&self, first: u64) -> impl Iterator<Item = (&u64, &Flow)> {
        self.flows.range(first..)
    }

    /// Masks in use.
    pub fn masks(&self) -> usize {
        self.masks.len()
    }

    /// The flow that a packet with this key hits, and how many masks were tried.
    pub fn lookup(&mut self, key: &Key) -> (Option<&mut Flow>, u64) {
        let mut tried = 0;
        let hit = self.masks.iter().find_map(|subtable| {
            tried += 1;
            subtable.flows.get(&key.masked(&subtable.mask)).copied()
        });
        (hit.and_then(|id| self.flows.get_mut(&id)), tried)
    }

    /// The flow that is meant.
    pub fn find(&self, id: Id<'_>) -> Result<Option<u64>, Refusal> {
        Ok(match id {
            Id::Ufid(ufid) => self.by_ufid.get(&ufid).copied(),
            Id::Key(raw) => self.by_key.get(&Match::parse(raw, None)?.key).copied(),
        })
    }

    /// A flow that [`Self::find`] found.
    pub fn get(&self, id: u64) -> Option<&Flow> {
        self.flows.get(&id)
    }

    /// Installs a flow; with `replace` one that is there already is changed.
    pub fn install(&mut self, new: Change<'_>, replace: bool) -> Result<(), Refusal> {
        let same = new.ufid.and_then(|u| self.by_ufid.get(&u).copied());
        let key = &new.matching.key;
        let overlapping =
            || self.masks.iter().find_map(|s| s.flows.get(&key.masked(&s.mask)).copied());
        let Some(id) = same.or_else(overlapping) else {
            return self.add(&new);
        };
        if !replace {
            return Err(Refusal::new(libc::EEXIST, ""));
        }
        let absent = Refusal::new(libc::ENOENT, "");
        let there = self.flows.get(&id).ok_or(absent)?;
        let is_same = match there.ufid {
            Some(_) => there.key == key.masked(&there.mask),
            None => self.by_key.get(key) == Some(&id),
        };
        // A flow under another id, or with another key under this id, is not the one meant.
        let id = match (is_same, there.ufid) {
            (true, _) => id,
            (false, Some(_)) => return Err(absent),
            (false, None) => self.find_exact(&new.matching).ok_or(absent)?,
        };
        self.change(id, &new);
        Ok(())
    }

    /// Changes a flow that must exist; returns its counters.
    pub fn set(&mut self, new: Change<'_>) -> Result<FlowTotals, Refusal> {
        let found = match new.ufid {
            Some(ufid) => self.by_ufid.get(&ufid).copied(),
            None => self.find_exact(&new.matching),
        };
        let id = found.ok_or(Refusal::new(libc::ENOENT, ""))?;
        self.change(id, &new);
        Ok(self.flows.get(&id).map(|f| f.totals).unwrap_or_default())
    }

    /// Removes a flow.
    pub fn remove(&mut self, id: u64) -> Option<Flow> {
        let flow = self.flows.remove(&id)?;
        match flow.ufid {
            Some(ufid) => self.by_ufid.remove(&ufid),
            None => self.by_key.remove(&flow.unmasked),
        };
        if let Some(n) = self.masks.iter().position(|s| s.mask == flow.mask)
            && let Some(subtable) = self.masks.get_mut(n)
        {
            subtable.flows.remove(&flow.key);
            if subtable.flows.is_empty() {
                self.masks.remove(n);
            }
        }
        Some(flow)
    }

    /// Removes all flows.
    pub fn flush(&mut self) {
        self.flows.clear();
        self.by_ufid.clear();
        self.by_key.clear();
        self.masks.clear();
    }

    fn find_exact(&self, m: &Match) -> Option<u64> {
        let subtable = self.masks.iter().find(|s| s.mask == m.mask)?;
        subtable.flows.get(&m.key.masked(&m.mask)).copied()
    }

    fn add(&mut self, new: &Change<'_>) -> Result<(), Refusal> {
        if self.capacity.is_some_and(|most| self.flows.len() >= most) {
            return Err(Refusal::new(libc::ENOSPC, "flow table is full"));
        }
        let Match { key, mask } = new.matching;
        let (id, masked) = (self.next, key.masked(&mask));
        self.next += 1;
        match self.masks.iter_mut().find(|s| s.mask == mask) {
            Some(subtable) => _ = subtable.flows.insert(masked, id),
            None => self.masks.push(Subtable { mask, flows: HashMap::from([(masked, id)]) }),
        }
        match new.ufid {
            Some(ufid) => self.by_ufid.insert(ufid, id),
            None => self.by_key.insert(key, id),
        };
        let flow = Flow {
            ufid: new.ufid,
            key: masked,
            mask,
            unmasked: key,
            actions: new.actions.unwrap_or_default().to_vec(),
            totals: FlowTotals::default(),
        };
        self.flows.insert(id, flow);
        Ok(())
    }

    fn change(&mut self, id: u64, new: &Change<'_>) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        if let Some(actions) = new.actions {
            flow.actions = actions.to_vec();
        }
        if new.clear {
            flow.totals = FlowTotals::default();
        }
    }
}
