//! NORMAL against the stock daemon's: `peer_normal.txt`, made by `capture.sh` with `ofproto/trace`.

use ovs_netlink::action::{Action, Actions};

use super::*;
use crate::flow::matching::Match;
use crate::flow::{VLAN_PCP_MASK, VLAN_VID_MASK};
use crate::l2::fdb::{Fdb, FdbConfig};
use crate::ofproto::{OfPort, Tables};
use crate::snapshot::{Attachment, Bundle, PriorityTags, VlanMode, VlanSet};

const NOW_MS: u64 = 1;

/// The datapath's number of the local port in the capture; the others have the same in both.
const LOCAL_ODP: u32 = 100;

/// The bridge of `capture.sh`.
fn snapshot() -> Snapshot {
    use VlanMode::{Access, NativeTagged, NativeUntagged, Trunk};
    let trunks = |vids: &[u16]| -> VlanSet { vids.iter().copied().collect() };
    let all = VlanSet::ALL;
    let (never, always) = (PriorityTags::Never, PriorityTags::Always);
    let ports = [
        (1, Access, 10, all.clone(), never),
        (2, Access, 10, all.clone(), never),
        (3, Trunk, 0, all.clone(), never),
        (4, Trunk, 0, trunks(&[10, 20]), never),
        (5, NativeTagged, 10, trunks(&[20]), never),
        (6, NativeUntagged, 10, trunks(&[20]), never),
        (7, Access, 10, all.clone(), PriorityTags::IfNonzero),
        (8, Access, 10, all.clone(), always),
        (OfPort::LOCAL.0, Trunk, 0, all, never),
    ];
    let bundle = |(n, vlan_mode, vlan, trunks, priority_tags): (u16, _, _, _, _)| Bundle {
        id: BundleId(n.into()),
        name: n.to_string(),
        vlan_mode,
        vlan,
        trunks,
        priority_tags,
        ports: vec![OfPort(n)],
    };
    let bundles: Vec<Bundle> = ports.into_iter().map(bundle).collect();
    let port = |bundle: &Bundle| Port {
        ofp: bundle.ports[0],
        at: Attachment::Datapath(OdpPort(odp_of(bundle.ports[0]))),
        name: bundle.name.clone(),
        bundle: bundle.id,
        may_enable: true,
    };
    let bridge = Bridge {
        id: BridgeId(1),
        name: "br0".into(),
        forward_bpdu: false,
        ports: bundles.iter().map(port).collect(),
        bundles: bundles.into(),
        fdb: Arc::new(Fdb::new(FdbConfig::default())),
        tables: Arc::new(Tables::standalone()),
    };
    Snapshot::new(vec![Arc::new(bridge)])
}

fn odp_of(port: OfPort) -> u32 {
    if port == OfPort::LOCAL { LOCAL_ODP } else { port.0.into() }
}

/// A packet's description, with the datapath's number of its port, and its OpenFlow number.
fn packet(text: &str) -> (Flow, u32) {
    let mut flow = Match::parse(text, None).unwrap_or_else(|e| panic!("{text}: {e}")).flow;
    let in_port = flow.in_port;
    flow.in_port = if in_port == OfPort::LOCAL.in_port() { LOCAL_ODP } else { in_port };
    if flow.vlans[0].tci.get() & VLAN_CFI != 0 {
        flow.vlans[0].tpid.set(0x8100);
    }
    (flow, in_port)
}

/// What leaves where: ports and the tags that packets leave with.
type Sent = Vec<(u32, Vec<u16>)>;

enum Done {
    Output(u32),
    Push(u16),
    Pop,
}

fn send(flow: &Flow, actions: impl IntoIterator<Item = Done>) -> Sent {
    let mut tags: Vec<u16> =
        flow.vlans.iter().map(|v| v.tci.get()).take_while(|tci| tci & VLAN_CFI != 0).collect();
    let mut sent = Sent::new();
    for action in actions {
        match action {
            Done::Output(port) => sent.push((port, tags.clone())),
            Done::Push(tci) => tags.insert(0, tci),
            Done::Pop => drop(tags.remove(0)),
        }
    }
    sent.sort();
    sent
}

fn ours(bytes: &[u8]) -> Vec<Done> {
    Actions::new(bytes)
        .map(|action| match action.expect("our own") {
            Action::Output(port) => Done::Output(port),
            Action::PushVlan { tci, .. } => Done::Push(tci),
            Action::PopVlan => Done::Pop,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn peers(text: &str) -> Vec<Done> {
    let mut done = Vec::new();
    let mut words = text.split(',');
    while let Some(word) = words.next() {
        let number = |text: &str| text.parse::<u16>().expect("a number");
        done.push(match word {
            "drop" => continue,
            "pop_vlan" => Done::Pop,
            _ => match word.strip_prefix("push_vlan(vid=") {
                None => Done::Output(number(word).into()),
                Some(vid) => {
                    let pcp = words.next().and_then(|w| w.strip_prefix("pcp="));
                    let pcp = pcp.and_then(|w| w.strip_suffix(')')).expect("a priority");
                    Done::Push(number(vid) | number(pcp) << 13 | VLAN_CFI)
                }
            },
        });
    }
    done
}

#[test]
fn normal_does_as_the_peer_does() {
    let mut differ = Vec::new();
    let lines = include_str!("peer_normal.txt").lines().filter(|line| !line.starts_with('#'));
    let (mut n, mut narrower) = (0, 0);
    for line in lines {
        n += 1;
        let [text, known, megaflow, actions]: [&str; 4] =
            line.split('|').collect::<Vec<_>>().try_into().expect("four fields");
        let snapshot = snapshot();
        let mut out = XlateOut::default();
        if !known.is_empty() {
            let (flow, _) = packet(known);
            translate(XlateIn { snapshot: &snapshot, flow: &flow, now_ms: NOW_MS }, &mut out);
            for effect in &out.effects {
                if let Effect::Learn { key, bundle, .. } = effect {
                    snapshot.bridges()[0].fdb.learn(*key, *bundle, false, false, NOW_MS);
                }
            }
        }
        let (flow, in_port) = packet(text);
        translate(XlateIn { snapshot: &snapshot, flow: &flow, now_ms: NOW_MS }, &mut out);
        let (mine, theirs) =
            (send(&flow, ours(out.actions.as_bytes())), send(&flow, peers(actions)));
        if mine != theirs {
            differ.push(format!("{line}\n  sent: {mine:x?}\n  peer: {theirs:x?}"));
        }
        let mut shown = Match::new(&Flow { in_port, ..flow }, &out.wc);
        let mut wanted = Match::parse(megaflow, None).unwrap_or_else(|e| panic!("{megaflow}: {e}"));
        // That a tag of VLAN 0 stays one is for its priority, which the peer reads without matching it.
        let tci = flow.vlans[0].tci.get();
        if tci & VLAN_VID_MASK == 0 && tci & VLAN_PCP_MASK != 0 && !mine.is_empty() {
            wanted.flow.vlans[0].tci = flow.vlans[0].tci;
            wanted.wildcards.masks.vlans[0].tci = u16::MAX.into();
            narrower += 1;
        }
        // The text of a match does not tell which of the two tag types there is.
        for side in [&mut shown, &mut wanted] {
            for n in 0..side.flow.vlans.len() {
                side.flow.vlans[n].tpid = 0.into();
                side.wildcards.masks.vlans[n].tpid = 0.into();
            }
        }
        if shown != wanted {
            differ.push(format!("{line}\n  mask: {:?}\n  peer: {:?}", shown, wanted));
        }
    }
    assert!(n > 100 && narrower > 1, "{n} lines, {narrower} tags of VLAN 0");
    assert!(differ.is_empty(), "{} of {n} differ:\n{}", differ.len(), differ.join("\n"));
}

#[test]
fn an_address_behind_a_port_that_left_the_vlan_is_not_there() {
    let snapshot = snapshot();
    let fdb = &snapshot.bridges()[0].fdb;
    let key = FdbKey { vlan: 20, mac: crate::flow::EthAddr([2, 0, 0, 0, 0, 2]) };
    fdb.learn(key, BundleId(1), false, false, NOW_MS);
    let (flow, _) =
        packet("in_port=4,vlan_tci=0x1014,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02");
    let mut out = XlateOut::default();
    translate(XlateIn { snapshot: &snapshot, flow: &flow, now_ms: NOW_MS }, &mut out);
    let sent = send(&flow, ours(out.actions.as_bytes()));
    assert!(!sent.is_empty() && sent.iter().all(|(port, _)| *port != 1), "{sent:?}");
    assert!(out.deps.contains(&Dep::Bundle(BridgeId(1), BundleId(1))));
}
