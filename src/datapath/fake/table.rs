//! The fake kernel's flow table: a list of flows per mask, and the module's rules for what may stand
//! beside what.
//!
//! What always holds: a flow under a UFID is found by that UFID only, one without by its key only; a
//! new flow whose unmasked key an existing flow matches is refused (`EEXIST`), or taken for a change
//! of that flow when the request allows it.
//!
//! Used under the fake kernel's lock.

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
    /// As it came; what the flow is known by when it has no UFID.
    pub raw_key: Vec<u8>,
    pub actions: Vec<u8>,
    pub totals: FlowTotals,
}

impl Flow {
    /// Shows the flow as the kernel tells it, leaving out what `omit` says.
    pub fn show(&self, dp_ifindex: u32, omit: UfidFlags, each: &mut dyn FnMut(&FlowMsg<'_>)) {
        // Without a UFID nothing is left out.
        let omit = if self.ufid.is_some() { omit } else { UfidFlags::empty() };
        let (mut key, mut mask) = (Vec::new(), Vec::new());
        let known = self.ufid.is_some();
        let written = if known { self.key.write(&self.key, false, &mut key) } else { Ok(()) };
        let written = written.and_then(|()| self.mask.write(&self.key, true, &mut mask));
        debug_assert!(written.is_ok(), "keys are far below the limit of an attribute");
        let key = if known { &key } else { &self.raw_key };
        let FlowTotals { packets, bytes, used_ms, tcp_flags } = self.totals;
        each(&FlowMsg {
            dp_ifindex,
            key: (!omit.contains(UfidFlags::OMIT_KEY)).then_some(key),
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
    pub flows: Vec<Flow>,
    masks: Vec<Key>,
    /// Flows that it takes before it answers `ENOSPC`; the real one has no such limit.
    pub capacity: Option<usize>,
}

/// A request to install or change a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    pub ufid: Option<[u8; 16]>,
    pub key: &'a [u8],
    pub matching: Match,
    pub actions: Option<&'a [u8]>,
    pub clear: bool,
}

impl FlowTable {
    /// Masks in use.
    pub fn masks(&self) -> usize {
        self.masks.len()
    }

    /// The flow that a packet with this key hits, and how many masks were tried.
    pub fn lookup(&mut self, key: &Key) -> (Option<&mut Flow>, u64) {
        let mut tried = 0;
        for mask in &self.masks {
            tried += 1;
            let hit = self.flows.iter().position(|f| f.mask == *mask && key.matches(&f.key, mask));
            if let Some(index) = hit {
                return (self.flows.get_mut(index), tried);
            }
        }
        (None, tried)
    }

    /// The flow that is meant.
    pub fn find(&self, id: Id<'_>) -> Result<Option<usize>, Refusal> {
        match id {
            Id::Ufid(ufid) => Ok(self.flows.iter().position(|f| f.ufid == Some(ufid))),
            Id::Key(raw) => {
                let key = Match::parse(raw, None)?.key;
                Ok(self.flows.iter().position(|f| {
                    f.ufid.is_none() && Match::parse(&f.raw_key, None).is_ok_and(|m| m.key == key)
                }))
            }
        }
    }

    /// Installs a flow; with `replace` one that is there already is changed.
    pub fn install(&mut self, new: Change<'_>, replace: bool) -> Result<usize, Refusal> {
        let same = new.ufid.and_then(|u| self.flows.iter().position(|f| f.ufid == Some(u)));
        let overlapping = || {
            self.masks.iter().find_map(|mask| {
                let fits = |f: &Flow| f.mask == *mask && new.matching.key.matches(&f.key, mask);
                self.flows.iter().position(fits)
            })
        };
        let Some(mut index) = same.or_else(overlapping) else {
            return self.add(&new);
        };
        if !replace {
            return Err(Refusal::new(libc::EEXIST, ""));
        }
        if !self.flows.get(index).is_some_and(|f| is_same(f, &new)) {
            let by_key = self.flows.get(index).is_some_and(|f| f.ufid.is_none());
            let exact = if by_key { self.find_exact(&new.matching) } else { None };
            index = exact.ok_or(Refusal::new(libc::ENOENT, ""))?;
        }
        self.change(index, &new);
        Ok(index)
    }

    /// Changes a flow that must exist.
    pub fn set(&mut self, new: Change<'_>) -> Result<usize, Refusal> {
        let found = match new.ufid {
            Some(ufid) => self.find(Id::Ufid(ufid))?,
            None => self.find_exact(&new.matching),
        };
        let index = found.ok_or(Refusal::new(libc::ENOENT, ""))?;
        self.change(index, &new);
        Ok(index)
    }

    /// Removes a flow.
    pub fn remove(&mut self, index: usize) -> Flow {
        let flow = self.flows.remove(index);
        if !self.flows.iter().any(|f| f.mask == flow.mask) {
            self.masks.retain(|m| *m != flow.mask);
        }
        flow
    }

    /// Removes all flows.
    pub fn flush(&mut self) {
        self.flows.clear();
        self.masks.clear();
    }

    fn find_exact(&self, m: &Match) -> Option<usize> {
        let masked = m.key.masked(&m.mask);
        self.flows.iter().position(|f| f.ufid.is_none() && f.key == masked && f.mask == m.mask)
    }

    fn add(&mut self, new: &Change<'_>) -> Result<usize, Refusal> {
        if self.capacity.is_some_and(|most| self.flows.len() >= most) {
            return Err(Refusal::new(libc::ENOSPC, "flow table is full"));
        }
        let mask = new.matching.mask;
        if !self.masks.contains(&mask) {
            self.masks.push(mask);
        }
        self.flows.push(Flow {
            ufid: new.ufid,
            key: new.matching.key.masked(&mask),
            mask,
            raw_key: new.key.to_vec(),
            actions: new.actions.unwrap_or_default().to_vec(),
            totals: FlowTotals::default(),
        });
        Ok(self.flows.len() - 1)
    }

    fn change(&mut self, index: usize, new: &Change<'_>) {
        let Some(flow) = self.flows.get_mut(index) else { return };
        if let Some(actions) = new.actions {
            flow.actions = actions.to_vec();
        }
        if new.clear {
            flow.totals = FlowTotals::default();
        }
    }
}

fn is_same(flow: &Flow, new: &Change<'_>) -> bool {
    match flow.ufid {
        Some(_) => flow.key == new.matching.key.masked(&flow.mask),
        None => Match::parse(&flow.raw_key, None).is_ok_and(|m| m.key == new.matching.key),
    }
}
