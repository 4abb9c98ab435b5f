//! The configuration as handlers see it: bridges, bundles and ports, built whole and swapped whole.
//!
//! What always holds: a [`Snapshot`] never changes; a reconfiguration builds another and swaps the
//! pointer. What does change under the packets (the forwarding database, the rule tables, the
//! counters) is shared between successive snapshots. Every datapath port belongs to at most one
//! bridge, and every port of a bridge to exactly one of its bundles.
//!
//! [`Dep`] names the parts of it that a translation can rest on; [`Snapshot::changes_to`] says
//! which of them a reconfiguration touched.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::datapath::OdpPort;
use crate::l2::fdb::{BundleId, Fdb, FdbKey};
use crate::ofproto::{OfPort, RuleId, TableId, Tables};

/// Names a bridge for as long as the daemon runs; never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BridgeId(pub u32);

/// A set of VLAN ids.
#[derive(Clone, PartialEq, Eq)]
pub struct VlanSet([u64; 64]);

impl VlanSet {
    /// No VLAN.
    pub const EMPTY: Self = Self([0; 64]);
    /// Every VLAN.
    pub const ALL: Self = Self([u64::MAX; 64]);

    /// Adds `vid`; ids above 4095 are ignored.
    pub fn insert(&mut self, vid: u16) {
        if let Some(word) = self.0.get_mut(usize::from(vid / 64)) {
            *word |= 1 << (vid % 64);
        }
    }

    /// Whether `vid` is in the set.
    pub fn contains(&self, vid: u16) -> bool {
        self.0.get(usize::from(vid / 64)).is_some_and(|word| word & (1 << (vid % 64)) != 0)
    }

    /// The ids in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0..4096).filter(|vid| self.contains(*vid))
    }

    /// Whether no id is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

impl FromIterator<u16> for VlanSet {
    fn from_iter<I: IntoIterator<Item = u16>>(ids: I) -> Self {
        let mut set = Self::EMPTY;
        ids.into_iter().for_each(|vid| set.insert(vid));
        set
    }
}

impl std::fmt::Debug for VlanSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Self::ALL {
            f.write_str("all")
        } else {
            f.debug_set().entries(self.iter()).finish()
        }
    }
}

/// How a bundle treats VLAN tags: the column `vlan_mode` of ovs-vswitchd.conf.db(5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VlanMode {
    /// One VLAN, untagged on the wire.
    Access,
    /// Tagged as they come.
    Trunk,
    /// A trunk whose native VLAN is tagged on the way out.
    NativeTagged,
    /// A trunk whose native VLAN is untagged on the way out.
    NativeUntagged,
    /// A customer's frames, whatever their tags, behind a tag of the provider's (802.1ad).
    Dot1qTunnel(QinqType),
}

/// Ethernet type of the tag that a [`VlanMode::Dot1qTunnel`] puts on: `other_config:qinq-ethtype`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum QinqType {
    /// 0x88a8, as 802.1ad wants it.
    #[default]
    Dot1ad,
    /// 0x8100.
    Dot1q,
}

impl QinqType {
    /// As on the wire.
    pub fn tpid(self) -> u16 {
        match self {
            Self::Dot1ad => 0x88a8,
            Self::Dot1q => 0x8100,
        }
    }
}

/// When a bundle sends an 802.1Q header of VLAN 0 that carries only a priority.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PriorityTags {
    /// Never.
    #[default]
    Never,
    /// When the priority is not zero.
    IfNonzero,
    /// Whenever the packet came with a header.
    Always,
}

/// A logical port of a bridge: one port, or several bonded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bundle {
    /// Its name for as long as the daemon runs.
    pub id: BundleId,
    /// Name of the Port record.
    pub name: String,
    /// How tags are treated.
    pub vlan_mode: VlanMode,
    /// Access or native VLAN; 0 where there is none.
    pub vlan: u16,
    /// VLANs that pass on a trunk; of a tunnel, the customer's that pass in it, 0 being none.
    pub trunks: VlanSet,
    /// Priority tags on the way out.
    pub priority_tags: PriorityTags,
    /// Member ports; the first forwards.
    pub ports: Vec<OfPort>,
}

impl Bundle {
    /// Whether a trunk lets `vid` pass.
    pub fn trunks_vlan(&self, vid: u16) -> bool {
        match self.vlan_mode {
            VlanMode::Access | VlanMode::Dot1qTunnel(_) => false,
            _ => self.trunks.contains(vid) || self.is_native(vid),
        }
    }

    /// Whether packets of `vid` may leave here, as far as that VLAN alone decides.
    pub fn includes_vlan(&self, vid: u16) -> bool {
        match self.vlan_mode {
            VlanMode::Access | VlanMode::Dot1qTunnel(_) => self.vlan == vid,
            _ => self.trunks_vlan(vid),
        }
    }

    fn is_native(&self, vid: u16) -> bool {
        matches!(self.vlan_mode, VlanMode::NativeTagged | VlanMode::NativeUntagged)
            && self.vlan == vid
    }
}

/// Packets that crossed one end of a patch, seen from its bridge; any thread adds.
#[derive(Debug, Default)]
pub struct PatchCounters {
    /// Packets that came in here from the other bridge.
    pub rx_packets: AtomicU64,
    /// Their bytes.
    pub rx_bytes: AtomicU64,
    /// Packets that left here for the other bridge.
    pub tx_packets: AtomicU64,
    /// Their bytes.
    pub tx_bytes: AtomicU64,
}

impl PatchCounters {
    /// Credits packets that went from the end that these are of to the end that `peer` is of.
    pub fn credit(&self, peer: &Self, packets: u64, bytes: u64) {
        self.tx_packets.fetch_add(packets, Ordering::Relaxed);
        self.tx_bytes.fetch_add(bytes, Ordering::Relaxed);
        peer.rx_packets.fetch_add(packets, Ordering::Relaxed);
        peer.rx_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// One end of a link between two bridges.
#[derive(Clone, Debug)]
pub struct Patch {
    /// Name of the port at the other end, which counts only if it names this one.
    pub peer: String,
    /// What crossed it; shared with earlier snapshots.
    pub counters: Arc<PatchCounters>,
}

/// Counters are no part of what a patch is.
impl PartialEq for Patch {
    fn eq(&self, other: &Self) -> bool {
        self.peer == other.peer
    }
}

impl Eq for Patch {}

/// What is behind a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Attachment {
    /// A port of the datapath.
    Datapath(OdpPort),
    /// Another bridge; the datapath knows nothing of it.
    Patch(Patch),
}

/// A port of a bridge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// OpenFlow number.
    pub ofp: OfPort,
    /// What is behind it.
    pub at: Attachment,
    /// Name of the device.
    pub name: String,
    /// Bundle it belongs to.
    pub bundle: BundleId,
    /// Whether it may carry packets: administratively up and with carrier.
    pub may_enable: bool,
}

impl Port {
    /// Its number in the datapath; patch ports have none.
    pub fn odp(&self) -> Option<OdpPort> {
        match self.at {
            Attachment::Datapath(odp) => Some(odp),
            Attachment::Patch(_) => None,
        }
    }

    /// Its end of a patch, if it is one.
    pub fn patch(&self) -> Option<&Patch> {
        match &self.at {
            Attachment::Datapath(_) => None,
            Attachment::Patch(patch) => Some(patch),
        }
    }
}

/// The bundles of a bridge in order, and by id.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bundles {
    list: Vec<Bundle>,
    by_id: HashMap<BundleId, usize, foldhash::fast::RandomState>,
}

impl Bundles {
    /// The bundle of this id.
    pub fn get(&self, id: BundleId) -> Option<&Bundle> {
        self.by_id.get(&id).and_then(|at| self.list.get(*at))
    }
}

impl From<Vec<Bundle>> for Bundles {
    fn from(list: Vec<Bundle>) -> Self {
        let by_id = list.iter().enumerate().map(|(at, bundle)| (bundle.id, at)).collect();
        Self { list, by_id }
    }
}

impl FromIterator<Bundle> for Bundles {
    fn from_iter<I: IntoIterator<Item = Bundle>>(bundles: I) -> Self {
        bundles.into_iter().collect::<Vec<_>>().into()
    }
}

impl std::ops::Deref for Bundles {
    type Target = [Bundle];

    fn deref(&self) -> &[Bundle] {
        &self.list
    }
}

impl<'a> IntoIterator for &'a Bundles {
    type Item = &'a Bundle;
    type IntoIter = std::slice::Iter<'a, Bundle>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

/// A bridge as handlers see it.
#[derive(Clone)]
pub struct Bridge {
    /// Its name for as long as the daemon runs.
    pub id: BridgeId,
    /// Its name for people.
    pub name: String,
    /// Whether frames to 01:80:c2:00:00:0x are forwarded.
    pub forward_bpdu: bool,
    /// Bundles in the order in which floods leave.
    pub bundles: Bundles,
    /// Ports in ascending order of OpenFlow number.
    pub ports: Vec<Port>,
    /// Forwarding database, shared with earlier snapshots.
    pub fdb: Arc<Fdb>,
    /// Rule tables, shared with earlier snapshots.
    pub tables: Arc<Tables>,
}

impl Bridge {
    /// The port of that OpenFlow number.
    pub fn port(&self, ofp: OfPort) -> Option<&Port> {
        self.ports.binary_search_by_key(&ofp, |port| port.ofp).ok().map(|i| &self.ports[i])
    }

    /// Whether packets are treated alike by both; databases and tables are the same then, not equal.
    pub fn is_alike(&self, other: &Self) -> bool {
        self.id == other.id
            && self.name == other.name
            && self.forward_bpdu == other.forward_bpdu
            && self.bundles == other.bundles
            && self.ports == other.ports
            && Arc::ptr_eq(&self.fdb, &other.fdb)
            && Arc::ptr_eq(&self.tables, &other.tables)
    }

    /// The bundle of that id.
    pub fn bundle(&self, id: BundleId) -> Option<&Bundle> {
        self.bundles.get(id)
    }
}

/// See the module's page.
#[derive(Clone, Default)]
pub struct Snapshot {
    bridges: Vec<Arc<Bridge>>,
    by_odp: HashMap<OdpPort, Place, foldhash::fast::RandomState>,
    /// The other ends of the patches that have two.
    peers: HashMap<(BridgeId, OfPort), Place, foldhash::fast::RandomState>,
}

/// Indexes of a bridge and of a port of it.
type Place = (usize, usize);

impl Snapshot {
    /// A snapshot of these bridges.
    pub fn new(bridges: Vec<Arc<Bridge>>) -> Self {
        let mut by_odp = HashMap::default();
        let mut patches: HashMap<&str, (Place, &str)> = HashMap::new();
        for (b, bridge) in bridges.iter().enumerate() {
            for (p, port) in bridge.ports.iter().enumerate() {
                match &port.at {
                    Attachment::Datapath(odp) => drop(by_odp.insert(*odp, (b, p))),
                    Attachment::Patch(patch) => {
                        patches.insert(&port.name, ((b, p), &patch.peer));
                    }
                }
            }
        }
        let mut peers = HashMap::default();
        for (name, ((b, p), peer)) in &patches {
            // Both name each other; a port that names itself leads nowhere.
            if let Some((place, back)) = patches.get(peer)
                && back == name
                && peer != name
            {
                peers.insert((bridges[*b].id, bridges[*b].ports[*p].ofp), *place);
            }
        }
        Self { bridges, by_odp, peers }
    }

    /// Bridge and port at the other end of a patch port, if there is one that names this one too.
    pub fn patch_peer(&self, bridge: BridgeId, port: OfPort) -> Option<(&Arc<Bridge>, &Port)> {
        let &(b, p) = self.peers.get(&(bridge, port))?;
        let bridge = self.bridges.get(b)?;
        Some((bridge, bridge.ports.get(p)?))
    }

    /// The bridges.
    pub fn bridges(&self) -> &[Arc<Bridge>] {
        &self.bridges
    }

    /// The bridge of that id.
    pub fn bridge(&self, id: BridgeId) -> Option<&Arc<Bridge>> {
        self.bridges.iter().find(|bridge| bridge.id == id)
    }

    /// The bridge of that name.
    pub fn bridge_named(&self, name: &str) -> Option<&Arc<Bridge>> {
        self.bridges.iter().find(|bridge| bridge.name == name)
    }

    /// The bridge and port behind a datapath port.
    pub fn port(&self, odp: OdpPort) -> Option<(&Arc<Bridge>, &Port)> {
        let &(b, p) = self.by_odp.get(&odp)?;
        let bridge = self.bridges.get(b)?;
        Some((bridge, bridge.ports.get(p)?))
    }

    /// Bundles of which learned addresses do not hold in `next`: they are gone, or carry other
    /// VLANs.
    pub fn displaced(&self, next: &Self) -> Vec<(Arc<Bridge>, BundleId)> {
        let mut displaced = Vec::new();
        for old in &self.bridges {
            let Some(new) = next.bridge(old.id) else {
                continue;
            };
            if Arc::ptr_eq(old, new) {
                continue;
            }
            let carries = |bundle: &Bundle| (bundle.vlan_mode, bundle.vlan, bundle.trunks.clone());
            for bundle in &old.bundles {
                let after = new.bundle(bundle.id);
                if after.is_none_or(|after| carries(after) != carries(bundle)) {
                    displaced.push((new.clone(), bundle.id));
                }
            }
        }
        displaced
    }

    /// What a flow that was translated against `self` may no longer rest on in `next`.
    pub fn changes_to(&self, next: &Self) -> Vec<Dep> {
        let mut changes = Vec::new();
        for old in &self.bridges {
            match next.bridge(old.id) {
                None => {
                    changes.push(Dep::Bridge(old.id));
                    changes.extend(old.ports.iter().filter_map(Port::odp).map(Dep::OdpPort));
                }
                Some(new) if Arc::ptr_eq(old, new) => {}
                Some(new) => bridge_changes(old, new, &mut changes),
            }
        }
        let ends = |snapshot: &Self, end: &(BridgeId, OfPort)| {
            snapshot.patch_peer(end.0, end.1).map(|(bridge, port)| (bridge.id, port.ofp))
        };
        for end in self.peers.keys() {
            if ends(self, end) != ends(next, end) {
                changes.push(Dep::Patch(end.0, end.1));
            }
        }
        for end in next.peers.keys().filter(|end| !self.peers.contains_key(end)) {
            changes.push(Dep::Patch(end.0, end.1));
        }
        for new in next.bridges.iter().filter(|new| self.bridge(new.id).is_none()) {
            changes.extend(new.ports.iter().filter_map(Port::odp).map(Dep::OdpPort));
        }
        changes
    }
}

fn bridge_changes(old: &Bridge, new: &Bridge, changes: &mut Vec<Dep>) {
    if old.forward_bpdu != new.forward_bpdu || !Arc::ptr_eq(&old.tables, &new.tables) {
        changes.push(Dep::Bridge(old.id));
    }
    let mut flooded = VlanSet::EMPTY;
    let mut all_flooded = false;
    let mut touch = |bundle: &Bundle| match bundle.vlan_mode {
        VlanMode::Access | VlanMode::Dot1qTunnel(_) => flooded.insert(bundle.vlan),
        _ => all_flooded = true,
    };
    for bundle in &old.bundles {
        let after = new.bundle(bundle.id);
        let ports = |bridge: &Bridge, bundle: &Bundle| -> Vec<Option<Port>> {
            bundle.ports.iter().map(|ofp| bridge.port(*ofp).cloned()).collect()
        };
        if after.is_none_or(|after| after != bundle || ports(old, bundle) != ports(new, after)) {
            changes.push(Dep::Bundle(old.id, bundle.id));
            touch(bundle);
            after.into_iter().for_each(&mut touch);
        }
    }
    new.bundles.iter().filter(|bundle| old.bundle(bundle.id).is_none()).for_each(&mut touch);
    if all_flooded {
        changes.push(Dep::FloodAny(old.id));
    } else {
        changes.extend(flooded.iter().map(|vlan| Dep::Flood(old.id, vlan)));
    }
    for port in &old.ports {
        if new.port(port.ofp) != Some(port) {
            changes.extend(port.odp().map(Dep::OdpPort));
        }
    }
    for port in &new.ports {
        if old.port(port.ofp) != Some(port) {
            changes.extend(port.odp().map(Dep::OdpPort));
        }
    }
}

/// Something that a translation can rest on. When it changes, the flows that named it are
/// translated again, and no others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dep {
    /// Which bridge and port a datapath port is, or that it is none.
    OdpPort(OdpPort),
    /// Settings of a whole bridge.
    Bridge(BridgeId),
    /// A bundle's VLAN settings and members.
    Bundle(BridgeId, BundleId),
    /// Which bundles a flood in a VLAN reaches.
    Flood(BridgeId, u16),
    /// Which bundles any flood reaches.
    FloodAny(BridgeId),
    /// Where an address is, or that it is unknown.
    Fdb(BridgeId, FdbKey),
    /// The rule that decided.
    Rule(BridgeId, RuleId),
    /// Which rules a table has, as far as the lookup read.
    Table(BridgeId, TableId),
    /// What is at the other end of a patch port.
    Patch(BridgeId, OfPort),
}

impl Dep {
    /// A 64-bit stand-in: equal deps have equal tags; unequal ones may, which costs a needless
    /// translation and nothing else.
    pub fn tag(self) -> u64 {
        let (kind, scope, value) = match self {
            Self::OdpPort(odp) => (1, 0, u64::from(odp.0)),
            Self::Bridge(bridge) => (2, bridge.0, 0),
            Self::Bundle(bridge, bundle) => (3, bridge.0, u64::from(bundle.0)),
            Self::Flood(bridge, vlan) => (4, bridge.0, u64::from(vlan)),
            Self::FloodAny(bridge) => (5, bridge.0, 0),
            Self::Fdb(bridge, key) => {
                let [a, b, c, d, e, f] = key.mac.0;
                let [v, w] = key.vlan.to_be_bytes();
                (6, bridge.0, u64::from_be_bytes([v, w, a, b, c, d, e, f]))
            }
            Self::Rule(bridge, rule) => (7, bridge.0, rule.0),
            Self::Table(bridge, table) => (8, bridge.0, u64::from(table.0)),
            Self::Patch(bridge, port) => (9, bridge.0, u64::from(port.0)),
        };
        // Multiplications by odd constants keep every input bit; the rotation mixes them down.
        (value ^ (u64::from(scope) << 32) ^ kind)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
            .wrapping_add(kind)
            .wrapping_mul(0xd6e8_feb8_6659_fd93)
    }
}
