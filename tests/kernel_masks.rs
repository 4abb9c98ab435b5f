//! The flows a bridge installs for the scripted packets: same keys, masks and actions as the peer's.
//!
//! Both daemons get the same bridge and the same frames one after the other. What the datapath then
//! holds is compared frame by frame. With `ROVS_LAB_OUT=DIR` the peer's answers are written there.

mod kernel;

use std::fmt::Write;

use kernel::bridge::{Port, Setup};
use kernel::daemon::{Daemon, dp_stats};
use kernel::frames::{FRAMES, KNOWN, KNOWN_THIRD, announce, source};
use kernel::inject::Injector;
use kernel::netns::{Host, Mac, text};
use kernel::{enter, flows};

/// The bridges under test: a name, and what `v1` (where the frames come in), `v2` and `v3` are.
fn setups() -> Vec<(&'static str, Setup)> {
    let bridge = |a, b, c| Setup::one(vec![a, b, c]).with("max-idle", 120_000);
    vec![
        ("plain", bridge(Port::new("v1"), Port::new("v2"), Port::new("v3"))),
        ("access", bridge(Port::access("v1", 10), Port::access("v2", 10), Port::new("v3"))),
        (
            "trunk",
            bridge(Port::trunk("v1", &[10, 20]), Port::access("v2", 10), Port::access("v3", 20)),
        ),
        (
            "native-untagged",
            bridge(
                Port::native_untagged("v1", 10, &[10, 20]),
                Port::trunk("v2", &[10, 20]),
                Port::native_untagged("v3", 20, &[10, 20]),
            ),
        ),
        (
            "native-tagged",
            bridge(
                Port::native_tagged("v1", 10, &[10, 20]),
                Port::native_tagged("v2", 10, &[10, 20]),
                Port::access("v3", 10),
            ),
        ),
        (
            "tunnel",
            bridge(Port::tunnel("v1", 10, &[]), Port::new("v2"), Port::tunnel("v3", 10, &[])),
        ),
        ("patch", patched()),
    ]
}

/// Two bridges and a patch, which is an access port of VLAN 10 on the second: `v3` is behind it.
fn patched() -> Setup {
    let mut setup =
        Setup::one(vec![Port::new("v1"), Port::access("v2", 10), Port::patch("p0", "p1")]);
    let mut second = setup.bridges[0].clone();
    second.name = "br1".into();
    second.mac = Some("02:00:00:00:00:fe");
    let patch = Port { tag: Some(10), ..Port::patch("p1", "p0") };
    second.ports = vec![patch, Port::access("v3", 10)];
    setup.bridges.push(second);
    setup.with("max-idle", 120_000)
}

/// What the datapath holds after the frames: a line a flow, each with the frame's name.
struct Answer {
    lines: Vec<(&'static str, String)>,
}

/// What the flows match.
#[derive(Clone, Copy, PartialEq)]
enum Matching {
    /// What decided.
    Mega,
    /// All that the packet says: `upcall/disable-megaflows`.
    Exact,
}

fn ask(daemon: &mut Daemon, setup: &Setup, hosts: &[Host], matching: Matching) -> Answer {
    daemon.start(setup);
    if matching == Matching::Exact {
        daemon.appctl(&["upcall/disable-megaflows"]);
    }
    let wires: Vec<Injector> = hosts.iter().map(Injector::new).collect();
    // Both receivers are known in every VLAN before the first frame goes to them.
    for tag in [0, 10, 20] {
        wires[1].send(&announce(KNOWN, tag));
        wires[2].send(&announce(KNOWN_THIRD, tag));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    for (i, frame) in FRAMES.iter().enumerate() {
        wires[0].send(&(frame.build)(source(i)));
        // Small groups: nothing is lost on the way up, and learning keeps its order.
        if i % 8 == 7 {
            std::thread::sleep(std::time::Duration::from_millis(40));
        }
    }
    // A daemon that gets no CPU for a while looks settled too: the last frame's flow comes last.
    let last = source(FRAMES.len() - 1);
    for _ in 0..100 {
        if !flows::from_source(&flows::dump(), last).is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let mut dump = flows::settled();
    if matching == Matching::Exact {
        dump = flows::dump_verbose();
    }
    assert_eq!(dp_stats().lost, 0, "upcalls were lost, the comparison would mean nothing");
    let mut lines = Vec::new();
    for (i, frame) in FRAMES.iter().enumerate() {
        let bytes = (frame.build)(source(i));
        let src: Mac = bytes[6..12].try_into().expect("six bytes");
        let found = flows::from_source(&dump, src);
        if found.is_empty() {
            lines.push((frame.name, "no flow".to_string()));
        }
        // One name for all sources, or every line would differ from its neighbour.
        lines.extend(found.iter().map(|f| (frame.name, f.replace(&text(src), "SRC"))));
    }
    Answer { lines }
}

impl Answer {
    fn write(&self, bridge: &str) {
        let Some(dir) = std::env::var_os("ROVS_LAB_OUT") else { return };
        let mut out = String::new();
        for (name, flow) in &self.lines {
            let _ = writeln!(out, "{name}\t{flow}");
        }
        let path = std::path::Path::new(&dir).join(format!("flows-{bridge}.txt"));
        std::fs::write(path, out).expect("write the answers");
    }

    /// Takes out a frame's flow.
    fn take(&mut self, frame: &str) -> Option<String> {
        let at = self.lines.iter().position(|(name, _)| *name == frame)?;
        Some(self.lines.remove(at).1)
    }

    /// Panics with every line that only one side has.
    fn must_equal(&self, peer: &Self, bridge: &str) {
        let canonical = |a: &Self| -> Vec<_> {
            a.lines.iter().map(|(name, flow)| (*name, flows::canonical(flow))).collect()
        };
        let (mut ours, peer) = (canonical(self), canonical(peer));
        // A tag of VLAN 0 goes on as one for its priority's sake. Our masks say so; the peer's leave
        // the priority open, and forward a priority of 0 by the same flow, though alone it would
        // lose its tag.
        for line in &mut ours {
            let wider = (line.0, flows::without_priority(&line.1));
            if peer.contains(&wider) {
                *line = wider;
            }
        }
        let mut difference = String::new();
        for (name, flow) in peer.iter().filter(|l| !ours.contains(l)) {
            let _ = writeln!(difference, "- {name}\t{flow}");
        }
        for (name, flow) in ours.iter().filter(|l| !peer.contains(l)) {
            let _ = writeln!(difference, "+ {name}\t{flow}");
        }
        assert!(
            difference.is_empty(),
            "bridge {bridge}: the peer (-) and we (+) do not agree:\n{difference}"
        );
    }
}

fn compare(bridge: &str) {
    let (ours, peer) = answers(bridge, Matching::Mega);
    ours.must_equal(&peer, bridge);
}

/// Ours and the peer's.
fn answers(bridge: &str, matching: Matching) -> (Answer, Answer) {
    enter();
    let hosts: Vec<Host> = (1..=3).map(Host::silent).collect();
    let (_, setup) = setups().into_iter().find(|s| s.0 == bridge).expect("a bridge of that name");
    let peer = {
        let mut daemon = Daemon::peer();
        ask(&mut daemon, &setup, &hosts, matching)
    };
    peer.write(bridge);
    let ours = {
        let mut daemon = Daemon::ours();
        ask(&mut daemon, &setup, &hosts, matching)
    };
    (ours, peer)
}

#[test]
#[ignore = "needs the lab"]
fn masks_of_a_plain_bridge() {
    compare("plain");
}

#[test]
#[ignore = "needs the lab"]
fn masks_of_access_ports() {
    compare("access");
}

#[test]
#[ignore = "needs the lab"]
fn masks_of_a_trunk() {
    compare("trunk");
}

#[test]
#[ignore = "needs the lab"]
fn masks_of_a_native_untagged_port() {
    compare("native-untagged");
}

#[test]
#[ignore = "needs the lab"]
fn masks_of_a_native_tagged_port() {
    compare("native-tagged");
}

#[test]
#[ignore = "needs the lab"]
fn masks_of_a_tunnel() {
    let (mut ours, mut peer) = answers("tunnel", Matching::Mega);
    // A customer's tag of VLAN 0 and priority 0 is one: it goes through. The peer takes it off.
    let frame = "priority_tag_0";
    let (through, off) = (ours.take(frame).expect("a flow"), peer.take(frame).expect("a flow"));
    assert!(through.contains("actions:push_vlan(tpid=0x88a8,vid=10,pcp=0)"), "{through}");
    assert!(off.contains("actions:pop_vlan,push_vlan(tpid=0x88a8,vid=10,pcp=0)"), "{off}");
    // Whether the peer's mask has the customer's priority, which nothing rests on, goes by the order of its
    // outputs, which is chance.
    let told: Vec<_> = ours.lines.iter().map(|(n, flow)| (*n, flows::canonical(flow))).collect();
    for (name, flow) in &mut peer.lines {
        let wider = without_customers_priority(flow);
        if told.contains(&(*name, flows::canonical(&wider))) {
            *flow = wider;
        }
    }
    ours.must_equal(&peer, "tunnel");
}

/// A flow without the match on the outer tag's priority.
fn without_customers_priority(flow: &str) -> String {
    let Some((head, rest)) = flow.split_once("),vlan(vid=") else { return flow.to_owned() };
    match rest.split_once(')') {
        Some((tag, rest)) => {
            let vid = tag.split_once(',').map_or(tag, |(vid, _)| vid);
            format!("{head}),vlan(vid={vid}){rest}")
        }
        None => flow.to_owned(),
    }
}

#[test]
#[ignore = "needs the lab"]
fn masks_across_a_patch() {
    compare("patch");
}

/// The peer puts flows without a mask there, and the kernel makes one: ours is the same, as the kernel
/// tells it with all that it holds.
#[test]
#[ignore = "needs the lab"]
fn flows_that_match_exactly() {
    for bridge in ["plain", "trunk"] {
        let (ours, peer) = answers(bridge, Matching::Exact);
        let exact = |(_, flow): &&(_, String)| flow.contains("skb_mark(0),");
        assert!(peer.lines.iter().filter(exact).count() > FRAMES.len() / 2, "{:?}", peer.lines);
        ours.must_equal(&peer, bridge);
    }
}

// Needs no lab: what the comparison rests on.
#[test]
fn flows_that_do_the_same_have_one_form() {
    let line = "ufid:0b1a, recirc_id(0),in_port(v1),eth_type(0x8100),vlan(vid=10,pcp=0),encap(), \
                packets:3, bytes:180, used:0.2s, flags:S., dp:ovs, actions:v2,pop_vlan,v3";
    let normal = flows::normalise(line);
    assert_eq!(
        normal,
        [
            "recirc_id(0),in_port(v1),eth_type(0x8100),vlan(vid=10,pcp=0),encap(), actions:v2,pop_vlan,v3"
        ]
    );
    let key = normal[0].split(" actions:").next().expect("a key");
    let same = format!("{key} actions:pop_vlan,v3,push_vlan(vid=10,pcp=0),v2");
    let other = format!("{key} actions:pop_vlan,v3,push_vlan(vid=11,pcp=0),v2");
    assert_eq!(flows::canonical(&same), flows::canonical(&normal[0]));
    assert_ne!(flows::canonical(&other), flows::canonical(&normal[0]));
    let none = format!("{key} actions:drop");
    assert_ne!(flows::canonical(&none), flows::canonical(&format!("{key} actions:v2")));
}

#[test]
fn frames_can_be_told_apart() {
    let mut names = std::collections::BTreeSet::new();
    let mut sources = std::collections::BTreeSet::new();
    for (i, frame) in FRAMES.iter().enumerate() {
        let bytes = (frame.build)(source(i));
        assert!(bytes.len() >= 14, "{} has no Ethernet header", frame.name);
        assert!(names.insert(frame.name), "{} is there twice", frame.name);
        assert!(sources.insert(bytes[6..12].to_vec()), "{} has another's source", frame.name);
    }
}
