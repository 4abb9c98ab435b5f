//! Flows of an earlier run: kept when today's translation agrees, so that a restart loses nothing.
//!
//! A fresh daemon has an empty forwarding database, and translation would contradict every unicast
//! flow. The flows themselves say where the addresses are: a flow's source is behind its input
//! port, and a flow that leaves by one port only has its destination there. `prime` learns both
//! before [`adopt`] lets translation judge.
//!
//! Runs once on a thread of its own before handlers serve, and for single flows on the revalidator
//! when it finds one that it does not know.

use ovs_netlink::action::{Action, Actions};
use ovs_netlink::attr::AttrError;
use ovs_netlink::flow::FlowMsg;

use super::decide::{Scratch, Verdict, retranslate};
use crate::datapath::{Datapath, DpError, DumpDetail, FlowOp, OdpPort};
use crate::flow::{Flow, VLAN_CFI, VLAN_VID_MASK};
use crate::l2::fdb::FdbKey;
use crate::odp::Support;
use crate::odp::key::{Fitness, OdpKey, key_from_flow};
use crate::odp::mask::minimal_key_and_mask;
use crate::odp::ufid::Ufid;
use crate::snapshot::{Bridge, Bundle, Port, Snapshot, VlanMode};
use crate::upcall::Udpif;
use crate::upcall::ukey::{DeleteReason, NewUkey, UkeyState, UkeyStats};
use crate::vlog::{self, RateLimit};

static RL: RateLimit = RateLimit::new(1, 5);

/// What came of an adoption.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Adopted {
    /// Flows kept as they are.
    pub kept: usize,
    /// Flows kept with other actions.
    pub modified: usize,
    /// Flows deleted.
    pub deleted: usize,
}

/// A flow as a full dump gave it, owned.
pub struct Found {
    ufid: Option<Ufid>,
    key: Vec<u8>,
    mask: Option<Vec<u8>>,
    actions: Vec<u8>,
    stats: UkeyStats,
}

impl Found {
    /// Copies what a full dump shows of a flow; `None` if it shows no key.
    pub fn of(flow: &FlowMsg<'_>) -> Option<Self> {
        let counts = flow.stats.unwrap_or_default();
        Some(Self {
            ufid: flow.ufid.map(Ufid),
            key: flow.key?.to_vec(),
            mask: flow.mask.map(<[u8]>::to_vec),
            actions: flow.actions.unwrap_or_default().to_vec(),
            stats: UkeyStats {
                packets: counts.packets,
                bytes: counts.bytes,
                used_ms: flow.used_ms.unwrap_or(0),
                tcp_flags: flow.tcp_flags.unwrap_or(0),
            },
        })
    }
}

/// Takes over all flows that are in the kernel; none while an operator has the daemon hold its hands
/// still ([`Gate`](crate::upcall::gate::Gate)).
///
/// # Errors
/// When the kernel's flows cannot be listed.
pub fn adopt_all(udpif: &Udpif, datapath: &dyn Datapath, now_ms: u64) -> Result<Adopted, DpError> {
    if udpif.gate.is_held() {
        return Ok(Adopted::default());
    }
    let mut found = Vec::new();
    datapath.flow_dump(DumpDetail::Full, &mut |flow| found.extend(Found::of(flow)))?;
    let snapshot = udpif.snapshot.load_full();
    for flow in &found {
        prime(flow, &snapshot, udpif.target.support.max_vlan_headers, now_ms);
    }
    Ok(adopt(udpif, datapath, &found, now_ms))
}

/// Learns what a flow tells of where addresses are.
fn prime(found: &Found, snapshot: &Snapshot, max_vlan_headers: usize, now_ms: u64) {
    let mut flow = Flow::ZERO;
    if OdpKey(&found.key).to_flow(max_vlan_headers, &mut flow).is_err() {
        return;
    }
    let Some((bridge, port, bundle)) = place(snapshot, OdpPort(flow.in_port)) else {
        return;
    };
    let vlan = vlan_of(&flow, bundle);
    // Learning by age: an address last seen long ago is not made young by a restart.
    let used_ms = if found.stats.used_ms == 0 { now_ms } else { found.stats.used_ms.min(now_ms) };
    let learn = |mac, bundle| {
        let key = FdbKey { vlan, mac };
        if bridge.fdb.lookup(key, now_ms).is_none() {
            bridge.fdb.learn(key, bundle, false, false, used_ms);
        }
    };
    learn(flow.dl_src, port.bundle);
    let mut outputs = Actions::new(&found.actions).flatten().filter_map(|action| match action {
        Action::Output(odp) => Some(OdpPort(odp)),
        _ => None,
    });
    if let (Some(only), None) = (outputs.next(), outputs.next())
        && let Some((to, port, _)) = place(snapshot, only)
        && to.id == bridge.id
    {
        learn(flow.dl_dst, port.bundle);
    }
}

fn place(snapshot: &Snapshot, odp: OdpPort) -> Option<(&Bridge, &Port, &Bundle)> {
    let (bridge, port) = snapshot.port(odp)?;
    Some((bridge, port, bridge.bundle(port.bundle)?))
}

/// The VLAN that a packet of this flow is switched in.
fn vlan_of(flow: &Flow, bundle: &Bundle) -> u16 {
    let tci = flow.vlans[0].tci.get();
    match bundle.vlan_mode {
        VlanMode::Access | VlanMode::Dot1qTunnel(_) => bundle.vlan,
        VlanMode::Trunk => tci & VLAN_VID_MASK,
        _ if tci & VLAN_CFI != 0 && tci & VLAN_VID_MASK != 0 => tci & VLAN_VID_MASK,
        _ => bundle.vlan,
    }
}

/// Lets today's translation judge flows that are in the kernel but have no ukey.
pub fn adopt(udpif: &Udpif, datapath: &dyn Datapath, found: &[Found], now_ms: u64) -> Adopted {
    let snapshot = udpif.snapshot.load_full();
    let mut scratch = Scratch::default();
    let mut adopted = Adopted::default();
    for flow in found {
        let verdict = retranslate(
            &flow.key,
            flow.mask.as_deref(),
            &flow.actions,
            &snapshot,
            &udpif.target.support,
            now_ms,
            &mut scratch,
        );
        // Without a UFID it could not be named later.
        let verdict =
            if flow.ufid.is_none() { Verdict::Delete(DeleteReason::NotAdopted) } else { verdict };
        let ufid = flow.ufid.as_ref();
        let (mut key, mut mask) = (Vec::new(), Vec::new());
        let told = retell(flow, &scratch, &udpif.target.support, &mut key, &mut mask);
        let verdict = if told.is_err() { Verdict::Delete(DeleteReason::Foreign) } else { verdict };
        let op = match verdict {
            Verdict::Keep => None,
            Verdict::Modify => Some(FlowOp::Modify {
                ufid: ufid.map(|ufid| &ufid.0),
                key: &key,
                mask: Some(&mask),
                actions: scratch.out.actions.as_bytes(),
            }),
            Verdict::Delete(_) => {
                Some(FlowOp::Del { ufid: ufid.map(|ufid| &ufid.0), key: &flow.key })
            }
        };
        let mut done = Ok(None);
        if let Some(op) = op {
            datapath.flow_ops(&[op], &mut |_, result| done = result);
        }
        if let Err(error) = &done {
            vlog::limited!(WARN, target: "ofproto_dpif_upcall", &RL,
                "a flow of an earlier run or of somebody else: {error}; it is deleted");
            // What forwards wrongly must not stay; what is not there any more need not go.
            let del = FlowOp::Del { ufid: ufid.map(|ufid| &ufid.0), key: &flow.key };
            datapath.flow_ops(&[del], &mut |_, _| ());
        }
        match (verdict, ufid) {
            (Verdict::Keep | Verdict::Modify, Some(ufid)) if done.is_ok() => {
                insert(udpif, *ufid, (&key, &mask), flow.stats, &scratch, now_ms);
                if verdict == Verdict::Keep {
                    adopted.kept += 1;
                } else {
                    adopted.modified += 1;
                }
            }
            _ => adopted.deleted += 1,
        }
    }
    let kept = (adopted.kept + adopted.modified) as u64;
    udpif.counters.adopted.fetch_add(kept, std::sync::atomic::Ordering::Relaxed);
    adopted
}

/// Writes a flow's key and mask as a put may have them: a dump shows more attributes. They are told in
/// our own words, unless the key says more than a flow holds (a tag beyond `vlan-limit`), which our
/// words would leave out and the kernel then refuse.
fn retell(
    found: &Found,
    scratch: &Scratch,
    support: &Support,
    key: &mut Vec<u8>,
    mask: &mut Vec<u8>,
) -> Result<(), AttrError> {
    let Scratch { flow, wc, .. } = scratch;
    let mut whole = Vec::new();
    let theirs = OdpKey(&found.key);
    let fitness = theirs.to_flow(support.max_vlan_headers, &mut Flow::default());
    if matches!(fitness, Ok(Fitness::TooMuch)) {
        theirs.put_again(&mut whole)?;
    } else {
        key_from_flow(flow, support, &mut whole)?;
    }
    minimal_key_and_mask(OdpKey(&whole), flow, wc, support, None, key, mask)
}

fn insert(
    udpif: &Udpif,
    ufid: Ufid,
    (key, mask): (&[u8], &[u8]),
    stats: UkeyStats,
    scratch: &Scratch,
    now_ms: u64,
) {
    let mut shard = udpif.ukeys.shard(&ufid);
    shard.insert(&NewUkey {
        ufid,
        key,
        mask: Some(mask),
        actions: scratch.out.actions.as_bytes(),
        bridge: scratch.out.bridge,
        deps: &scratch.out.deps,
        effects: &scratch.out.effects,
        drop: scratch.out.drop,
        adopted: true,
        now_ms,
    });
    if let Some(ukey) = shard.get_mut(&ufid) {
        ukey.state = UkeyState::Operational;
        ukey.stats = stats;
    }
}
