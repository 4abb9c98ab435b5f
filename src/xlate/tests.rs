//! NORMAL against the stock daemon's: `peer_normal.txt`, made by `capture.sh` with `ofproto/trace`.

use ovs_netlink::action::{Action, Actions};

use super::*;
use crate::flow::matching::Match;
use crate::flow::{VLAN_PCP_MASK, VLAN_VID_MASK};
use crate::l2::fdb::{Fdb, FdbConfig};
use crate::ofproto::{OfPort, Tables};
use crate::snapshot::{Attachment, Bundle, Patch, PriorityTags, QinqType, VlanMode, VlanSet};

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

/// A port of a bridge with one port in each bundle: its number, its VLANs, its peer if it is a patch.
type Plan = (u16, VlanMode, u16, VlanSet, Option<u16>);

fn bridge_of(id: u32, name: &str, ports: &[Plan]) -> Bridge {
    let bundle_id = |n: u16| BundleId(id << 16 | u32::from(n));
    let bundle = |(n, vlan_mode, vlan, trunks, _): &Plan| Bundle {
        id: bundle_id(*n),
        name: format!("p{n}"),
        vlan_mode: *vlan_mode,
        vlan: *vlan,
        trunks: trunks.clone(),
        priority_tags: PriorityTags::Never,
        ports: vec![OfPort(*n)],
    };
    let port = |(n, .., peer): &Plan| Port {
        ofp: OfPort(*n),
        at: match peer {
            Some(peer) => {
                Attachment::Patch(Patch { peer: format!("p{peer}"), counters: Arc::default() })
            }
            None if *n == OfPort::LOCAL.0 => Attachment::Datapath(OdpPort(LOCAL_ODP + id)),
            None => Attachment::Datapath(OdpPort(u32::from(*n))),
        },
        name: format!("p{n}"),
        bundle: bundle_id(*n),
        may_enable: true,
    };
    Bridge {
        id: BridgeId(id),
        name: name.into(),
        forward_bpdu: false,
        bundles: ports.iter().map(bundle).collect(),
        ports: ports.iter().map(port).collect(),
        fdb: Arc::new(Fdb::new(FdbConfig::default())),
        tables: Arc::new(Tables::standalone()),
    }
}

/// The bridges of `capture_patch.sh`.
fn patched() -> Snapshot {
    use VlanMode::{Access, NativeUntagged, Trunk};
    let trunk = |n, peer| (n, Trunk, 0, VlanSet::ALL, peer);
    let access = |n, vlan, peer| (n, Access, vlan, VlanSet::ALL, peer);
    let local = || trunk(OfPort::LOCAL.0, None);
    let native: VlanSet = [10, 20].into_iter().collect();
    Snapshot::new(vec![
        Arc::new(bridge_of(
            0,
            "br0",
            &[access(1, 10, None), trunk(2, None), trunk(3, Some(4)), local()],
        )),
        Arc::new(bridge_of(
            1,
            "br1",
            &[
                trunk(4, Some(3)),
                access(5, 10, None),
                access(6, 20, None),
                access(7, 10, Some(8)),
                local(),
            ],
        )),
        Arc::new(bridge_of(
            2,
            "br2",
            &[
                trunk(8, Some(7)),
                trunk(10, None),
                access(11, 10, None),
                (12, NativeUntagged, 10, native, None),
                trunk(13, Some(14)),
                local(),
            ],
        )),
    ])
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

/// Compares what is done with the packets of a capture, a line each, with what the peer did. Tells
/// how many lines there were, and how many of our masks tell more of a tag of VLAN 0.
fn compare(capture: &str, snapshot: fn() -> Snapshot) -> (usize, usize) {
    let mut differ = Vec::new();
    let lines = capture.lines().filter(|line| !line.starts_with('#'));
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
                if let Effect::Learn { bridge, key, bundle, .. } = effect {
                    let bridge = snapshot.bridge(*bridge).expect("a bridge");
                    bridge.fdb.learn(*key, *bundle, false, false, NOW_MS);
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
    assert!(differ.is_empty(), "{} of {n} differ:\n{}", differ.len(), differ.join("\n"));
    (n, narrower)
}

#[test]
fn normal_does_as_the_peer_does() {
    let (n, narrower) = compare(include_str!("peer_normal.txt"), snapshot);
    assert!(n > 100 && narrower > 1, "{n} lines, {narrower} tags of VLAN 0");
}

#[test]
fn patches_do_as_the_peers_do() {
    let (n, _) = compare(include_str!("peer_patch.txt"), patched);
    assert!(n > 90, "{n} lines");
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

fn flood(snapshot: &Snapshot, in_port: u32) -> XlateOut {
    let text = format!("in_port={in_port},dl_src=02:00:00:00:00:01,dl_dst=ff:ff:ff:ff:ff:ff");
    let (flow, _) = packet(&text);
    let mut out = XlateOut::default();
    translate_traced(XlateIn { snapshot, flow: &flow, now_ms: NOW_MS }, &mut out);
    out
}

#[test]
fn what_goes_through_patches_is_learned_counted_and_rested_on_in_each_bridge() {
    let snapshot = patched();
    let out = flood(&snapshot, 1);
    let bridges = [BridgeId(0), BridgeId(1), BridgeId(2)];
    let learned: Vec<_> = out
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Learn { bridge, bundle, key, .. } => {
                Some((*bridge, bundle.0 & 0xffff, key.vlan))
            }
            _ => None,
        })
        .collect();
    // The third bridge is behind an access port: no VLAN there.
    assert_eq!(learned, [(bridges[0], 1, 10), (bridges[1], 4, 10), (bridges[2], 8, 0)]);
    let credited = out.effects.iter().filter(|effect| matches!(effect, Effect::Credit(_)));
    assert_eq!(credited.count(), 3);
    for effect in &out.effects {
        if let Effect::Patch { from, to } = effect {
            from.credit(to, 2, 120);
        }
    }
    let counts = |b: usize, n: u16| {
        let patch = snapshot.bridges()[b].port(OfPort(n)).and_then(Port::patch).expect("a patch");
        let load = |n: &std::sync::atomic::AtomicU64| n.load(std::sync::atomic::Ordering::Relaxed);
        let c = &patch.counters;
        [load(&c.rx_packets), load(&c.rx_bytes), load(&c.tx_packets), load(&c.tx_bytes)]
    };
    assert_eq!([counts(0, 3), counts(1, 4)], [[0, 0, 2, 120], [2, 120, 0, 0]]);
    assert_eq!([counts(1, 7), counts(2, 8)], [[0, 0, 2, 120], [2, 120, 0, 0]]);
    assert_eq!(counts(2, 13), [0; 4], "no peer, no packets");
    for bridge in bridges {
        assert!(out.deps.contains(&Dep::Bridge(bridge)), "{bridge:?}");
        assert!(out.deps.contains(&Dep::FloodAny(bridge)), "{bridge:?}");
    }
    for (bridge, port) in [(0, 3), (1, 7), (2, 13)] {
        assert!(out.deps.contains(&Dep::Patch(BridgeId(bridge), OfPort(port))), "{bridge} {port}");
    }
    let story = out.trace.expect("a story");
    assert!(story.iter().any(|line| line == "bridge(\"br1\")"), "{story:?}");
}

#[test]
fn a_patch_without_a_peer_drops() {
    let trunk = |n, peer| (n, VlanMode::Trunk, 0, VlanSet::ALL, peer);
    let alone = |peer| {
        let bridge = bridge_of(0, "br0", &[trunk(1, None), trunk(2, Some(peer))]);
        Snapshot::new(vec![Arc::new(bridge)])
    };
    for peer in [3, 2, 1] {
        let out = flood(&alone(peer), 1);
        assert!(out.actions.is_empty());
        assert_eq!(out.drop, Some(DropReason::NoPeer), "peer {peer}");
    }
}

/// Two bridges joined by two patches: what comes in goes round for ever.
#[test]
fn a_ring_of_bridges_ends() {
    let trunk = |n, peer| (n, VlanMode::Trunk, 0, VlanSet::ALL, peer);
    let ring = move |patches: u16| {
        let ends = |from: u16, to: u16| {
            let patches = (0..patches).map(move |n| trunk(from + n, Some(to + n)));
            patches.chain([trunk(from + 50, None)]).collect::<Vec<_>>()
        };
        let bridges = [bridge_of(0, "br0", &ends(100, 200)), bridge_of(1, "br1", &ends(200, 100))];
        Snapshot::new(bridges.map(Arc::new).to_vec())
    };
    // As much stack as a handler has.
    let thread = std::thread::Builder::new().stack_size(512 << 10);
    let ended = thread.spawn(move || {
        let two = flood(&ring(2), 150);
        let crossed = |out: &XlateOut| {
            out.effects.iter().filter(|e| matches!(e, Effect::Patch { .. })).count()
        };
        // Round in both directions, as deep as is allowed.
        assert_eq!(crossed(&two), 2 * crate::limits::XLATE_DEPTH_MAX);
        let many = flood(&ring(4), 150);
        assert_eq!(crossed(&many), crate::limits::XLATE_RESUBMITS_MAX);
    });
    ended.expect("a thread").join().expect("an end");
}

#[test]
fn a_customers_tag_that_moves_up_at_a_patch_is_read() {
    // Out of the first bridge by a port that takes the outer tag off: the second bridge sees the inner one.
    let trunk = |n, peer| (n, VlanMode::Trunk, 0, VlanSet::ALL, peer);
    let access = |n, vlan, peer| (n, VlanMode::Access, vlan, VlanSet::ALL, peer);
    let native = |n, vlan, peer| (n, VlanMode::NativeUntagged, vlan, VlanSet::ALL, peer);
    let snapshot = Snapshot::new(vec![
        Arc::new(bridge_of(0, "br0", &[trunk(1, None), native(2, 10, Some(3))])),
        Arc::new(bridge_of(1, "br1", &[access(3, 10, Some(2)), trunk(4, None)])),
    ]);
    let (mut flow, _) =
        packet("in_port=1,vlan_tci=0x100a,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02");
    flow.vlans[1].tpid.set(0x8100);
    flow.vlans[1].tci.set(0x1007);
    let mut out = XlateOut::default();
    translate(XlateIn { snapshot: &snapshot, flow: &flow, now_ms: NOW_MS }, &mut out);
    assert_eq!(out.drop, Some(DropReason::TaggedOnAccess));
    assert_eq!(out.wc.masks.vlans[1].tci.get() & VLAN_VID_MASK, VLAN_VID_MASK);
}

/// One port of several interfaces: the first sends, and it alone takes what everybody is sent.
#[test]
fn a_bonds_first_interface_sends_and_takes_floods() {
    let trunk = |n| (n, VlanMode::Trunk, 0, VlanSet::ALL, None);
    let mut bridge = bridge_of(0, "br0", &[trunk(1), trunk(2), trunk(3)]);
    let [one, mut bond, _]: [Bundle; 3] = bridge.bundles.to_vec().try_into().unwrap();
    bond.ports = vec![OfPort(2), OfPort(3)];
    bridge.ports[2].bundle = bond.id;
    bridge.bundles = vec![one, bond].into();
    let snapshot = Snapshot::new(vec![Arc::new(bridge)]);
    let outputs = |port: u16, dst: &str| {
        let text = format!("in_port={port},dl_src=02:00:00:00:00:01,dl_dst={dst}");
        let (flow, _) = packet(&text);
        let mut out = XlateOut::default();
        translate(XlateIn { snapshot: &snapshot, flow: &flow, now_ms: NOW_MS }, &mut out);
        let learns = out.effects.iter().any(|effect| matches!(effect, Effect::Learn { .. }));
        let sent =
            Actions::new(out.actions.as_bytes()).flatten().filter_map(|action| match action {
                Action::Output(port) => Some(port),
                _ => None,
            });
        (sent.collect::<Vec<u32>>(), out.drop, learns)
    };
    let (all, other) = ("ff:ff:ff:ff:ff:ff", "02:00:00:00:00:09");
    assert_eq!(outputs(1, all), (vec![2], None, true));
    assert_eq!(outputs(2, all), (vec![1], None, true));
    assert_eq!(outputs(3, all), (vec![], Some(DropReason::InactiveMember), false));
    // Where the other side spreads what it sends, it comes by each.
    assert_eq!(outputs(3, other), (vec![1], None, true));
}

/// The provider's tag is put on for one output and taken off for the next: the customer's priority is
/// carried, not read.
#[test]
fn what_was_put_on_is_taken_off_unread() {
    let tunnel = VlanMode::Dot1qTunnel(QinqType::Dot1ad);
    let port = |n, mode| (n, mode, 30, VlanSet::ALL, None);
    let trunk = (2, VlanMode::Trunk, 0, VlanSet::ALL, None);
    let bridge = bridge_of(0, "br0", &[port(1, tunnel), trunk, port(3, tunnel)]);
    let snapshot = Snapshot::new(vec![Arc::new(bridge)]);
    for inner in [0, 0x1007] {
        let text = "in_port=1,vlan_tci=0x7005,dl_src=02:00:00:00:00:01,dl_dst=ff:ff:ff:ff:ff:ff";
        let (mut flow, _) = packet(text);
        flow.vlans[1].tci.set(inner);
        flow.vlans[1].tpid.set(if inner == 0 { 0 } else { 0x8100 });
        let mut out = XlateOut::default();
        translate(XlateIn { snapshot: &snapshot, flow: &flow, now_ms: NOW_MS }, &mut out);
        let actions: Vec<Action> = Actions::new(out.actions.as_bytes()).flatten().collect();
        let push = Action::PushVlan { tpid: 0x88a8, tci: 0x101e };
        // A third tag is none of the flow's and stays where it is.
        assert_eq!(actions, [push, Action::Output(2), Action::PopVlan, Action::Output(3)]);
        assert_eq!(out.wc.masks.vlans[0].tci.get(), VLAN_VID_MASK | VLAN_CFI);
        assert_eq!(out.wc.masks.vlans[1].tci.get(), 0);
    }
}

#[test]
fn a_bridge_that_waits_for_its_controller_drops() {
    let trunk = |n| (n, VlanMode::Trunk, 0, VlanSet::ALL, None);
    let mut bridge = bridge_of(0, "br0", &[trunk(1), trunk(2)]);
    bridge.tables = Arc::new(Tables::secure());
    let out = flood(&Snapshot::new(vec![Arc::new(bridge)]), 1);
    assert!(out.actions.is_empty() && out.effects.is_empty());
    assert_eq!(out.drop, Some(DropReason::NoRule));
}
