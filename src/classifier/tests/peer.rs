//! The width of the megaflows, against the peer's.
//!
//! `peer_megaflows.txt` holds rule sets, flows, and the winner and megaflow that stock ovs-vswitchd
//! 3.1.0 gave for each (`capture.py` asked it). The winner must be the same. Where our wildcards leave
//! out bits that the peer's have, one of these is why, and `properties` holds that each is sound:
//!
//! - Ports: the ports trie alone shows that nothing matches, and the peer adds the rest of the last
//!   stage all the same (TCP flags in `last-stage`, the ND target in `neighbour-discovery`).
//! - Short prefixes: a subtable whose prefix is shorter than what the trie read is excluded by as
//!   many bits as its own prefix has; the peer hashes the whole stage (`both-addresses`).
//! - Members: a trie knows which subtables have a rule on the way; the peer knows only the lengths.
//! - ARP: the tries hold for every packet; the peer asks them for IP only.
//!
//! Where ours have bits that the peer's lack, the cause is the second or third: a subtable is
//! excluded by its destination, which is asked first, where the peer had to go on to the source. That
//! happens in `acl-4` and `acl-6` only.

use std::net::Ipv6Addr;

use crate::classifier::{Classifier, PrefixField};
use crate::flow::mini::MiniMatch;
use crate::flow::{EthAddr, Flow, FlowWildcards};

/// A match in the making: value and mask.
#[derive(Clone, Default)]
struct Text {
    flow: Flow,
    mask: FlowWildcards,
}

fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).unwrap(),
        None => text.parse().unwrap(),
    }
}

/// Value and mask of `value[/mask]`.
fn number_and_mask(text: &str, exact: u64) -> (u64, u64) {
    match text.split_once('/') {
        Some((value, mask)) => (number(value), number(mask)),
        None => (number(text), exact),
    }
}

fn ipv4(text: &str) -> ([u8; 4], [u8; 4]) {
    let parse = |a: &str| a.parse::<std::net::Ipv4Addr>().unwrap().octets();
    match text.split_once('/') {
        None => (parse(text), [255; 4]),
        Some((address, mask)) if mask.contains('.') => (parse(address), parse(mask)),
        Some((address, len)) => {
            let len: u32 = len.parse().unwrap();
            (parse(address), u32::MAX.checked_shl(32 - len).unwrap_or(0).to_be_bytes())
        }
    }
}

fn ipv6(text: &str) -> ([u8; 16], [u8; 16]) {
    let (address, len) = text.split_once('/').unwrap_or((text, "128"));
    let len: u32 = len.parse().unwrap();
    let mask = u128::MAX.checked_shl(128 - len).unwrap_or(0).to_be_bytes();
    (address.parse::<Ipv6Addr>().unwrap().octets(), mask)
}

fn ethernet(text: &str) -> (EthAddr, EthAddr) {
    let parse = |a: &str| {
        let mut bytes = a.split(':').map(|b| u8::from_str_radix(b, 16).unwrap());
        EthAddr(std::array::from_fn(|_| bytes.next().unwrap()))
    };
    match text.split_once('/') {
        Some((address, mask)) => (parse(address), parse(mask)),
        None => (parse(text), EthAddr::BROADCAST),
    }
}

fn tcp_flag(name: &str) -> u16 {
    let names = ["fin", "syn", "rst", "psh", "ack", "urg"];
    1 << names.iter().position(|n| *n == name).unwrap()
}

/// `+syn-ack` (some bits matter), or `syn|ack` and `0x10` (all do).
fn tcp_flags(text: &str) -> (u16, u16) {
    if !text.starts_with(['+', '-']) {
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let (value, mask) = number_and_mask(text, 0xfff);
            return (value as u16, mask as u16);
        }
        return (text.split('|').map(tcp_flag).sum(), 0xfff);
    }
    let (mut value, mut mask) = (0, 0);
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest[1..].find(['+', '-']).map_or(rest.len(), |at| at + 1);
        let flag = tcp_flag(&rest[1..end]);
        mask |= flag;
        value |= if rest.starts_with('+') { flag } else { 0 };
        rest = &rest[end..];
    }
    (value, mask)
}

fn parse(text: &str) -> Text {
    let mut parsed = Text::default();
    let (flow, mask) = (&mut parsed.flow, &mut parsed.mask.masks);
    for field in text.split(',') {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        let protocol = match name {
            "ip" => Some((0x0800, None)),
            "icmp" => Some((0x0800, Some(1))),
            "tcp" => Some((0x0800, Some(6))),
            "udp" => Some((0x0800, Some(17))),
            "ipv6" => Some((0x86dd, None)),
            "tcp6" => Some((0x86dd, Some(6))),
            "udp6" => Some((0x86dd, Some(17))),
            "icmp6" => Some((0x86dd, Some(58))),
            "arp" => Some((0x0806, None)),
            _ => None,
        };
        if let Some((ethertype, proto)) = protocol {
            (flow.dl_type, mask.dl_type) = (ethertype.into(), 0xffff.into());
            if let Some(proto) = proto {
                (flow.nw_proto, mask.nw_proto) = (proto, 0xff);
            }
            continue;
        }
        match name {
            "in_port" => (flow.in_port, mask.in_port) = (number(value) as u32, u32::MAX),
            "dl_src" => (flow.dl_src, mask.dl_src) = ethernet(value),
            "dl_dst" => (flow.dl_dst, mask.dl_dst) = ethernet(value),
            "dl_type" => {
                (flow.dl_type, mask.dl_type) = ((number(value) as u16).into(), 0xffff.into());
            }
            "nw_src" | "arp_spa" => (flow.nw_src, mask.nw_src) = ipv4(value),
            "nw_dst" | "arp_tpa" => (flow.nw_dst, mask.nw_dst) = ipv4(value),
            "ipv6_src" => (flow.ipv6_src, mask.ipv6_src) = ipv6(value),
            "ipv6_dst" => (flow.ipv6_dst, mask.ipv6_dst) = ipv6(value),
            "nd_target" => (flow.nd_target, mask.nd_target) = ipv6(value),
            "nw_proto" | "arp_op" => (flow.nw_proto, mask.nw_proto) = (number(value) as u8, 0xff),
            "nw_tos" => (flow.nw_tos, mask.nw_tos) = (number(value) as u8, 0xfc),
            "nw_ttl" => (flow.nw_ttl, mask.nw_ttl) = (number(value) as u8, 0xff),
            "tcp_flags" => {
                let (value, bits) = tcp_flags(value);
                (flow.tcp_flags, mask.tcp_flags) = (value.into(), bits.into());
            }
            "tp_src" | "tcp_src" | "udp_src" | "icmp_type" | "icmpv6_type" => {
                let (value, bits) = number_and_mask(value, 0xffff);
                (flow.tp_src, mask.tp_src) = ((value as u16).into(), (bits as u16).into());
            }
            "tp_dst" | "tcp_dst" | "udp_dst" | "icmp_code" | "icmpv6_code" => {
                let (value, bits) = number_and_mask(value, 0xffff);
                (flow.tp_dst, mask.tp_dst) = ((value as u16).into(), (bits as u16).into());
            }
            _ => panic!("{field}"),
        }
    }
    parsed
}

fn field(name: &str) -> PrefixField {
    match name {
        "nw_src" => PrefixField::NwSrc,
        "nw_dst" => PrefixField::NwDst,
        "ipv6_src" => PrefixField::Ipv6Src,
        "ipv6_dst" => PrefixField::Ipv6Dst,
        _ => panic!("{name}"),
    }
}

/// What the translation reads of every packet, and how it ends its wildcards.
fn always(wildcards: &mut FlowWildcards, flow: &Flow) {
    let mask = &mut wildcards.masks;
    (mask.in_port, mask.dl_type) = (u32::MAX, 0xffff.into());
    if flow.nw_proto == 58 {
        // Type and code have eight bits.
        mask.tp_src = (mask.tp_src.get() & 0xff).into();
        mask.tp_dst = (mask.tp_dst.get() & 0xff).into();
    }
}

fn bits(wildcards: &FlowWildcards) -> u32 {
    wildcards.masks.words().iter().map(|w| w.count_ones()).sum()
}

/// How many bits are significant in `a` and not in `b`.
fn more(a: &FlowWildcards, b: &FlowWildcards) -> u32 {
    a.masks.words().iter().zip(b.masks.words()).map(|(a, b)| (a & !b).count_ones()).sum()
}

#[test]
fn megaflows_are_at_least_as_wide_as_the_peers() {
    let mut classifier = Classifier::<()>::default();
    let mut table = "";
    let (mut same, mut fewer, mut mixed) = (0, 0, 0);
    let (mut ours_bits, mut peers_bits) = (0, 0);
    for line in include_str!("peer_megaflows.txt").lines() {
        let mut parts = line.split(' ');
        match parts.next().unwrap() {
            "table" => {
                table = parts.next().unwrap();
                let fields: Vec<PrefixField> =
                    parts.next().unwrap().split(',').map(field).collect();
                classifier = Classifier::new(&fields);
            }
            "rule" => {
                let priority = parts.next().unwrap().parse().unwrap();
                let rule = parse(parts.next().unwrap());
                let matching = MiniMatch::new(&rule.flow, &rule.mask);
                classifier.insert(&matching, priority, 1, ()).unwrap();
            }
            "flow" => {
                let flow = parse(parts.next().unwrap()).flow;
                let flow = Flow {
                    dl_src: EthAddr([0x50, 0x54, 0, 0, 0, 5]),
                    dl_dst: if flow.dl_dst == EthAddr::ZERO {
                        EthAddr([0x50, 0x54, 0, 0, 0, 7])
                    } else {
                        flow.dl_dst
                    },
                    ..flow
                };
                let winner = parts.next().unwrap();
                let mut peers = parse(parts.next().unwrap()).mask;
                always(&mut peers, &flow);
                let mut ours = FlowWildcards::CATCHALL;
                always(&mut ours, &flow);
                let rule = classifier.lookup(1, &flow, Some(&mut ours));
                always(&mut ours, &flow);
                let priority = rule.map_or("none".to_owned(), |r| r.priority().to_string());
                assert_eq!(priority, winner, "{table}: {line}");
                ours_bits += bits(&ours);
                peers_bits += bits(&peers);
                match (more(&ours, &peers), more(&peers, &ours)) {
                    (0, 0) => same += 1,
                    (0, _) => fewer += 1,
                    (extra, saved) => {
                        assert!(["acl-4", "acl-6"].contains(&table), "+{extra} -{saved} {line}");
                        mixed += 1;
                    }
                }
            }
            _ => {}
        }
    }
    assert_eq!((same, fewer, mixed), (275, 39, 17));
    assert_eq!((ours_bits, peers_bits), (35_194, 36_142));
}
