//! Upcalls: packets that the kernel has no flow for, decided and answered with a flow.
//!
//! A handler thread ([`handler`]) reads upcalls, has its [`worker`] decide them, and sends the flow
//! puts and executes of a whole batch in one system call. What all threads share is the [`Udpif`]:
//! the [`Snapshot`] of the configuration, the [`ukey`]s of installed flows, the bounds, and the
//! record of [`changes`] that drives revalidation.
//!
//! What always holds: a flow in the kernel that we installed has a ukey; a packet whose flow could
//! not be installed is forwarded all the same; every upcall is counted at its port as served or
//! dropped.

pub mod budget;
pub mod changes;
pub mod fair;
pub mod gate;
pub mod handler;
mod handout;
pub mod history;
pub mod limit;
pub mod name;
pub mod ports;
pub mod slab;
mod translated;
pub mod trigger;
pub mod ukey;
pub mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;

pub use crate::clock::now_ms;
use crate::datapath::FamilyIds;
use crate::datapath::record::Tap;
use crate::l2::fdb::{FdbKey, Learned};
use crate::odp;
use crate::odp::ufid::UfidHasher;
use crate::snapshot::{BridgeId, Dep, Snapshot};
use crate::xlate::Effect;

use self::changes::Changes;
use self::gate::Gate;
use self::history::History;
use self::limit::FlowLimit;
use self::ports::PortCounters;
use self::ukey::{Learnt, UkeyMap};
/// Bounds that an operator sets, read by all threads.
#[derive(Debug)]
pub struct Settings {
    /// Most flows ever (`other_config:flow-limit`); [`Udpif::flow_limit`] is the limit in force.
    pub flow_limit: AtomicUsize,
    /// Idle time after which a flow goes (`other_config:max-idle`).
    pub max_idle_ms: AtomicU64,
    /// Longest time between two rounds of the revalidator (`other_config:max-revalidator`).
    pub max_revalidator_ms: AtomicU64,
    /// Whether flows are wildcarded (`upcall/disable-megaflows`).
    pub megaflows: AtomicBool,
    /// Whether dumps name flows by their UFID alone (`upcall/disable-ufid`); else they show keys,
    /// masks and actions too.
    pub ufid: AtomicBool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            flow_limit: AtomicUsize::new(200_000),
            max_idle_ms: AtomicU64::new(10_000),
            max_revalidator_ms: AtomicU64::new(500),
            megaflows: AtomicBool::new(true),
            ufid: AtomicBool::new(true),
        }
    }
}

/// Counts since the start; any thread adds.
#[derive(Default, Debug)]
pub struct Counters {
    /// Upcalls read.
    pub upcalls: AtomicU64,
    /// Upcalls that could not be read or were of no kind that is served.
    pub bad: AtomicU64,
    /// Upcalls that a userspace action sent.
    pub actions: AtomicU64,
    /// Upcalls dropped for fairness.
    pub dropped: AtomicU64,
    /// Times a handler's socket had lost upcalls.
    pub overruns: AtomicU64,
    /// Flows installed.
    pub installed: AtomicU64,
    /// Upcalls of a flow that was installed already.
    pub duplicates: AtomicU64,
    /// Upcalls answered without installing a flow: the table is full.
    pub over_limit: AtomicU64,
    /// Flows that the kernel refused.
    pub refused: AtomicU64,
    /// Packets that the kernel refused to send.
    pub execute_failed: AtomicU64,
    /// Flows translated anew since something changed.
    pub retranslated: AtomicU64,
    /// Flows whose actions were changed for it.
    pub modified: AtomicU64,
    /// Flows deleted, for whatever reason.
    pub deleted: AtomicU64,
    /// Flows of an earlier run taken over.
    pub adopted: AtomicU64,
}

/// What became of the kernel's side, as handlers learned by errors; the control thread looks.
#[derive(Default, Debug)]
pub struct Health {
    /// The datapath does not exist any more.
    pub datapath_gone: AtomicBool,
    /// A flow was refused because another one is in its place.
    pub overlap: AtomicBool,
    /// The kernel takes no more flows; nothing is installed until the next round has looked.
    pub full: AtomicBool,
    /// A handler has nothing to read from any more: the sockets have to be opened anew.
    pub handler_ended: AtomicBool,
}

/// See the module's page.
pub struct Udpif {
    /// The configuration.
    pub snapshot: ArcSwap<Snapshot>,
    /// Installed flows.
    pub ukeys: UkeyMap,
    /// What changed.
    pub changes: Changes,
    /// Deleted flows.
    pub history: History,
    /// Upcalls by port.
    pub ports: PortCounters,
    /// Bounds.
    pub settings: Settings,
    /// How many flows may be installed just now.
    pub limit: FlowLimit,
    /// Whether packets are decided.
    pub gate: Gate,
    /// Handlers that have more upcalls waiting than they can serve at once. What can wait does.
    pub behind: AtomicUsize,
    /// Handlers that have themselves run before all other threads.
    pub raised: AtomicUsize,
    /// Handlers that await an answer to what they have just answered.
    pub awaiting: AtomicUsize,
    /// Counts.
    pub counters: Counters,
    /// The kernel's side.
    pub health: Health,
    /// How messages to the kernel are addressed.
    pub target: Target,
    /// Where a recording is told what no upcall shows.
    pub tap: Tap,
    /// When the daemon started.
    pub started: Instant,
}

/// How messages to one datapath are addressed and what it understands.
#[derive(Clone, Debug)]
pub struct Target {
    /// Generic netlink ids.
    pub families: FamilyIds,
    /// The datapath's number.
    pub dp_ifindex: u32,
    /// What its keys may hold.
    pub support: odp::Support,
    /// What UFIDs are made with.
    pub ufids: UfidHasher,
}

impl Udpif {
    /// With no bridges and no flows.
    pub fn new(target: Target) -> Arc<Self> {
        Arc::new(Self {
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            ukeys: UkeyMap::default(),
            changes: Changes::default(),
            history: History::default(),
            ports: PortCounters::default(),
            settings: Settings::default(),
            limit: FlowLimit::default(),
            gate: Gate::default(),
            behind: AtomicUsize::new(0),
            raised: AtomicUsize::new(0),
            awaiting: AtomicUsize::new(0),
            counters: Counters::default(),
            health: Health::default(),
            target,
            tap: Tap::default(),
            started: Instant::now(),
        })
    }

    /// Takes another configuration and has the flows that it touches looked at. Addresses behind ports
    /// that went, or whose VLANs are others now, are forgotten.
    pub fn configure(&self, next: Snapshot) {
        let before = self.snapshot.swap(Arc::new(next));
        let next = self.snapshot.load();
        let mut changes = before.changes_to(&next);
        for (bridge, bundle) in before.displaced(&next) {
            let is_there = |_, at| at == bundle;
            bridge.fdb.flush(is_there, |key| changes.push(Dep::Fdb(bridge.id, key)));
        }
        if !changes.is_empty() {
            self.changes.add(changes);
        }
    }

    /// Carries out what a translation wants besides forwarding, for `packets` packets of `bytes`
    /// bytes the last of which was seen at `now_ms`.
    pub fn apply(
        &self,
        snapshot: &Snapshot,
        effects: &[Effect],
        packets: u64,
        bytes: u64,
        now_ms: u64,
    ) {
        for effect in effects {
            if let Effect::Learn { bridge: id, key, bundle, grat_arp } = effect {
                let Some(bridge) = snapshot.bridge(*id) else {
                    continue;
                };
                let learned = bridge.fdb.learn(*key, *bundle, *grat_arp, false, now_ms);
                self.note_learned(*id, *key, learned);
            }
        }
        self.credit(effects, packets, bytes);
    }

    /// The same for more packets at the same time: what they teach is known already.
    pub fn credit(&self, effects: &[Effect], packets: u64, bytes: u64) {
        for effect in effects {
            match effect {
                Effect::Credit(rule) => rule.credit(packets, bytes),
                Effect::Patch { from, to } => from.credit(to, packets, bytes),
                Effect::Learn { .. } => {}
            }
        }
    }

    /// Carries out what a flow's counters say: the kernel forwarded packets from this address, the
    /// last one at `used_ms`.
    pub fn keep_learnt(&self, learnt: &Learnt, used_ms: u64, now_ms: u64) {
        let snapshot = self.snapshot.load();
        let Some(bridge) = snapshot.bridge(learnt.bridge) else {
            return;
        };
        // A flow that waits for its revalidation may speak of a port that is no more.
        if bridge.bundle(learnt.bundle).is_some_and(|b| b.includes_vlan(learnt.key.vlan)) {
            let learned = bridge.fdb.seen(learnt.key, learnt.bundle, used_ms, now_ms);
            if matches!(learned, Learned::New { .. } | Learned::Moved { .. })
                && let Some(bundle) = bridge.bundle(learnt.bundle)
            {
                let FdbKey { vlan, mac } = learnt.key;
                self.tap.learned(|| format!("{} {} {vlan} {mac}", bridge.name, bundle.name));
            }
            self.note_learned(learnt.bridge, learnt.key, learned);
        }
    }

    fn note_learned(&self, bridge: BridgeId, key: FdbKey, learned: Learned) {
        match learned {
            Learned::New { evicted } => {
                let evicted = evicted.map(|key| Dep::Fdb(bridge, key));
                self.changes.add([Dep::Fdb(bridge, key)].into_iter().chain(evicted));
            }
            Learned::Moved { .. } => self.changes.add([Dep::Fdb(bridge, key)]),
            Learned::Refused | Learned::Refreshed | Learned::Locked | Learned::Static => {}
        }
    }

    /// Whether another flow may be installed.
    pub fn has_room(&self) -> bool {
        !self.health.full.load(Ordering::Relaxed) && self.ukeys.len() < self.flow_limit()
    }

    /// How many flows may be installed just now.
    pub fn flow_limit(&self) -> usize {
        self.limit.get(self.settings.flow_limit.load(Ordering::Relaxed))
    }

    /// Has handlers and revalidator hold their hands still, or lets them go
    /// (`other_config:flow-restore-wait`). Before the threads are started, and again whenever the
    /// configuration says it; once they were let go, nothing holds them any more.
    pub fn set_restore_wait(&self, wait: bool) {
        if self.gate.set(wait) {
            self.changes.kick();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::OdpPort;
    use crate::flow::EthAddr;
    use crate::l2::fdb::{BundleId, Fdb, FdbConfig, FdbKey};
    use crate::ofproto::{OfPort, Tables};
    use crate::snapshot::{
        Attachment, Bridge, BridgeId, Bundle, Port, PriorityTags, VlanMode, VlanSet,
    };

    const ID: BridgeId = BridgeId(1);

    fn bundle(id: u32, vlan: u16) -> Bundle {
        Bundle {
            id: BundleId(id),
            name: format!("p{id}"),
            vlan_mode: VlanMode::Access,
            vlan,
            trunks: VlanSet::EMPTY,
            priority_tags: PriorityTags::Never,
            ports: vec![OfPort(id as u16)],
        }
    }

    fn snapshot(fdb: &Arc<Fdb>, bundles: Vec<Bundle>) -> Snapshot {
        let port = |bundle: &Bundle| Port {
            ofp: OfPort(bundle.id.0 as u16),
            at: Attachment::Datapath(OdpPort(bundle.id.0)),
            name: bundle.name.clone(),
            bundle: bundle.id,
            may_enable: true,
        };
        Snapshot::new(vec![Arc::new(Bridge {
            id: ID,
            name: "br0".to_owned(),
            forward_bpdu: false,
            ports: bundles.iter().map(port).collect(),
            bundles: bundles.into(),
            fdb: fdb.clone(),
            tables: Arc::new(Tables::standalone()),
        })])
    }

    #[test]
    fn addresses_do_not_outlive_the_vlans_they_were_learned_in() {
        let families =
            FamilyIds { datapath: 1, vport: 2, flow: 3, packet: 4, meter: None, ct_limit: None };
        let udpif = Udpif::new(Target {
            families,
            dp_ifindex: 1,
            support: odp::Support::default(),
            ufids: UfidHasher::new([0; 16]),
        });
        let fdb = Arc::new(Fdb::new(FdbConfig::default()));
        udpif.configure(snapshot(&fdb, vec![bundle(1, 10), bundle(2, 10), bundle(3, 10)]));
        let key = |id: u32| FdbKey { vlan: 10, mac: EthAddr([2, 0, 0, 0, 0, id as u8]) };
        for id in 1..=3 {
            fdb.learn(key(id), BundleId(id), false, false, 0);
        }
        let _ = udpif.changes.take();
        // The first stays, the second changes its VLAN, the third goes.
        udpif.configure(snapshot(&fdb, vec![bundle(1, 10), bundle(2, 20)]));
        let known: Vec<_> = fdb.entries(0).iter().map(|entry| entry.key).collect();
        assert_eq!(known, [key(1)]);
        let changed = udpif.changes.take().unwrap().changed;
        assert!(changed.touches([Dep::Fdb(ID, key(2)).tag()]));
        assert!(changed.touches([Dep::Fdb(ID, key(3)).tag()]));
        assert!(!changed.touches([Dep::Fdb(ID, key(1)).tag()]));
    }
}
