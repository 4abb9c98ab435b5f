//! Access, trunk, native and tunnel ports: who receives a frame, and with which tags.
//!
//! From each port frames with every tag that matters are sent, to everybody and to one learned
//! host; what tcpdump sees at the other ports must be what the standing rules say and what the peer does.

mod kernel;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use kernel::bridge::{Port, Setup};
use kernel::capture::Capture;
use kernel::daemon::Daemon;
use kernel::enter;
use kernel::frames::{BROADCAST, udp_frame, with_tag};
use kernel::inject::Injector;
use kernel::netns::{Host, Mac};

/// Tags of the frames sent: none, priority only, two VLANs, a priority in a VLAN, a foreign VLAN.
const TAGS: [Option<u16>; 6] = [None, Some(0xa000), Some(10), Some(20), Some(0x600a), Some(30)];

/// A reception: sent by port (index), with this tag, to everybody or to the host that has
/// announced itself on the receiver; received at port (index) with this tag.
type Seen = (usize, Option<u16>, bool, usize, Option<u16>);

fn observe(mut daemon: Daemon, setup: &Setup, hosts: &[Host]) -> BTreeSet<Seen> {
    daemon.start(setup);
    let wires: Vec<Injector> = hosts.iter().map(Injector::new).collect();
    // Each receiver lives in VLAN 10 as that port sees it, if it can.
    for (host, wire) in hosts.iter().zip(&wires) {
        for tag in [0, 10] {
            wire.send(&kernel::frames::announce(host.mac(), tag));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    std::thread::sleep(Duration::from_millis(300));
    let captures: Vec<Capture> = hosts.iter().map(Capture::start).collect();
    for (from, wire) in wires.iter().enumerate() {
        for (t, tag) in TAGS.iter().enumerate() {
            let targets = (0..hosts.len()).filter(|to| *to != from).map(|to| hosts[to].mac());
            for dst in targets.chain([BROADCAST]) {
                // Not a host's own address: these frames must not teach anything about hosts.
                let plain = udp_frame(dst, mark(from, t));
                let frame = tag.map_or(plain.clone(), |tci| with_tag(&plain, tci));
                wire.send(&frame);
                std::thread::sleep(Duration::from_millis(15));
            }
        }
    }
    let mut seen = BTreeSet::new();
    for (to, capture) in captures.into_iter().enumerate() {
        for frame in capture.stop() {
            let Some((from, t)) = unmark(&frame) else { continue };
            let everybody = frame[..6] == BROADCAST;
            let tci =
                (frame[12..14] == [0x81, 0]).then(|| u16::from_be_bytes([frame[14], frame[15]]));
            seen.insert((from, TAGS[t], everybody, to, tci));
        }
    }
    seen
}

fn mark(from: usize, tag: usize) -> Mac {
    [2, 0xbb, 0, 0, from as u8, tag as u8]
}

fn unmark(frame: &[u8]) -> Option<(usize, usize)> {
    let src = frame.get(6..12)?;
    (frame.len() >= 18 && src.starts_with(&[2, 0xbb])).then(|| (src[4].into(), src[5].into()))
}

fn listed<'a>(sign: char, seen: impl IntoIterator<Item = &'a Seen>) -> String {
    let mut out = String::new();
    for (from, sent, everybody, to, got) in seen {
        let kind = if *everybody { "flooded" } else { "addressed" };
        let _ = writeln!(out, "{sign} port {from} sent {sent:?} {kind}: port {to} got {got:?}");
    }
    out
}

fn check(ports: [Port; 3], rules: &[(bool, Seen)]) {
    enter();
    let hosts: Vec<Host> = (1..=3).map(Host::silent).collect();
    let setup = Setup::one(ports.into());
    let ours = observe(Daemon::ours(), &setup, &hosts);
    for (received, seen) in rules {
        let all = listed('=', ours.iter());
        assert_eq!(ours.contains(seen), *received, "{}among\n{all}", listed('?', [seen]));
    }
    let peer = observe(Daemon::peer(), &setup, &hosts);
    let difference = listed('-', peer.difference(&ours)) + &listed('+', ours.difference(&peer));
    assert!(difference.is_empty(), "the peer (-) and we (+) do not agree:\n{difference}");
}

/// Tags behind the addresses of a frame, outermost first: Ethernet type and tag.
fn tags(frame: &[u8]) -> Vec<(u16, u16)> {
    let words = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let mut tags = Vec::new();
    let mut at = 12;
    while frame.len() >= at + 4 && matches!(words(at), 0x8100 | 0x88a8) {
        tags.push((words(at), words(at + 2)));
        at += 4;
    }
    tags
}

/// A customer's tag; the provider's.
const C: u16 = 0x8100;
const S: u16 = 0x88a8;

/// What is sent into each port of a bridge with tunnels.
const STACKS: [&[(u16, u16)]; 9] = [
    &[],
    &[(C, 5)],
    &[(C, 0x6005)],
    &[(C, 6)],
    &[(S, 30)],
    &[(S, 30), (C, 5)],
    &[(S, 0x401e), (C, 0x6005)],
    &[(S, 30), (C, 6)],
    &[(C, 30), (C, 5)],
];

type SeenTags = (usize, usize, usize, Vec<(u16, u16)>);

/// Who receives which of the stacks, flooded, with which tags: sender, stack, receiver, tags.
fn observe_stacks(mut daemon: Daemon, setup: &Setup, hosts: &[Host]) -> BTreeSet<SeenTags> {
    daemon.start(setup);
    let wires: Vec<Injector> = hosts.iter().map(Injector::new).collect();
    std::thread::sleep(Duration::from_millis(300));
    let captures: Vec<Capture> = hosts.iter().map(Capture::start).collect();
    for (from, wire) in wires.iter().enumerate() {
        for (n, stack) in STACKS.iter().enumerate() {
            let mut frame = udp_frame(BROADCAST, mark(from, n));
            let header: Vec<u8> = stack
                .iter()
                .flat_map(|(t, v)| [t.to_be_bytes(), v.to_be_bytes()].concat())
                .collect();
            frame.splice(12..12, header);
            // Twice: by the daemon's hand, and by the flow.
            for _ in 0..2 {
                wire.send(&frame);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
    let mut seen = Vec::new();
    for (to, capture) in captures.into_iter().enumerate() {
        for frame in capture.stop() {
            let Some((from, n)) = unmark(&frame) else { continue };
            if frame[..6] == BROADCAST {
                seen.push((from, n, to, tags(&frame)));
            }
        }
    }
    seen.sort();
    let distinct: BTreeSet<SeenTags> = seen.iter().cloned().collect();
    // What the flow does is what the daemon did, or the copies would differ.
    for one in &distinct {
        let copies = seen.iter().filter(|other| *other == one).count();
        assert_eq!(copies, 2, "{one:?}: {copies} of 2 frames");
    }
    distinct
}

fn check_stacks(setup: &Setup, rules: &[(bool, SeenTags)]) {
    enter();
    let hosts: Vec<Host> = (1..=3).map(Host::silent).collect();
    let ours = observe_stacks(Daemon::ours(), setup, &hosts);
    for (received, seen) in rules {
        assert_eq!(ours.contains(seen), *received, "{seen:x?} among\n{ours:x?}");
    }
    let peer = observe_stacks(Daemon::peer(), setup, &hosts);
    let lost: Vec<_> = peer.difference(&ours).collect();
    let more: Vec<_> = ours.difference(&peer).collect();
    assert!(lost.is_empty() && more.is_empty(), "the peer {lost:x?} and we {more:x?}");
}

#[test]
#[ignore = "needs the lab"]
fn tunnels_put_the_providers_tag_around_the_customers() {
    let ports = vec![Port::tunnel("v1", 30, &[]), Port::tunnel("v2", 30, &[]), Port::new("v3")];
    check_stacks(
        &Setup::one(ports),
        &[
            (true, (0, 0, 1, vec![])),
            (true, (0, 0, 2, vec![(S, 30)])),
            (true, (0, 1, 1, vec![(C, 5)])),
            (true, (0, 1, 2, vec![(S, 30), (C, 5)])),
            (true, (0, 2, 2, vec![(S, 30), (C, 0x6005)])),
            (true, (2, 5, 0, vec![(C, 5)])),
            (true, (2, 4, 0, vec![])),
            (false, (2, 1, 0, vec![(C, 5)])),
        ],
    );
}

#[test]
#[ignore = "needs the lab"]
fn tunnels_let_the_listed_customers_vlans_pass() {
    let mut listed = Port::tunnel("v1", 30, &[5]);
    listed.qinq_ethtype = Some("802.1q");
    let ports = vec![listed, Port::access("v2", 30), Port::trunk("v3", &[30])];
    check_stacks(
        // Two tags are looked at, or what comes in by the trunk hides the customer's.
        &Setup::one(ports).with("vlan-limit", 2),
        &[
            (false, (0, 0, 2, vec![(C, 30)])),
            (true, (0, 1, 2, vec![(C, 30), (C, 5)])),
            (false, (0, 1, 1, vec![(C, 5)])),
            (false, (0, 3, 2, vec![(C, 30), (C, 6)])),
            (true, (2, 5, 0, vec![(C, 5)])),
            (false, (2, 7, 0, vec![(C, 6)])),
            (false, (1, 0, 0, vec![])),
        ],
    );
}

#[test]
#[ignore = "needs the lab"]
fn access_ports_are_apart_and_untagged() {
    check(
        [Port::access("v1", 10), Port::access("v2", 10), Port::access("v3", 20)],
        &[
            (true, (0, None, true, 1, None)),
            (false, (0, None, true, 2, None)),
            (false, (0, Some(10), true, 1, None)),
            (false, (0, Some(10), true, 1, Some(10))),
            (false, (2, None, true, 0, None)),
        ],
    );
}

#[test]
#[ignore = "needs the lab"]
fn trunks_carry_their_vlans_tagged() {
    check(
        [Port::trunk("v1", &[10, 20]), Port::access("v2", 10), Port::new("v3")],
        &[
            (true, (0, Some(10), true, 1, None)),
            (true, (0, Some(10), true, 2, Some(10))),
            (false, (0, Some(20), true, 1, None)),
            (true, (0, Some(20), true, 2, Some(20))),
            (false, (0, Some(30), true, 2, Some(30))),
            (false, (0, None, true, 2, None)),
            (true, (1, None, true, 0, Some(10))),
            (false, (2, Some(30), true, 0, Some(30))),
            (true, (2, Some(0x600a), true, 0, Some(0x600a))),
        ],
    );
}

#[test]
#[ignore = "needs the lab"]
fn native_untagged_ports_send_their_vlan_bare() {
    check(
        [
            Port::native_untagged("v1", 10, &[10, 20]),
            Port::native_untagged("v2", 20, &[10, 20]),
            Port::trunk("v3", &[10, 20]),
        ],
        &[
            (true, (0, None, true, 1, Some(10))),
            (true, (0, None, true, 2, Some(10))),
            (true, (0, Some(20), true, 1, None)),
            (true, (1, Some(10), true, 0, None)),
            (false, (2, Some(30), true, 0, Some(30))),
        ],
    );
}

#[test]
#[ignore = "needs the lab"]
fn native_tagged_ports_send_their_vlan_with_its_tag() {
    check(
        [
            Port::native_tagged("v1", 10, &[10, 20]),
            Port::native_tagged("v2", 10, &[10, 20]),
            Port::access("v3", 10),
        ],
        &[
            (true, (0, None, true, 1, Some(10))),
            (true, (0, None, true, 2, None)),
            (true, (2, None, true, 0, Some(10))),
            (true, (0, Some(20), true, 1, Some(20))),
            (false, (0, Some(30), true, 1, Some(30))),
        ],
    );
}
