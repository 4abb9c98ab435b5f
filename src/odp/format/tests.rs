//! Text against lines that the stock tools printed.

use ovs_netlink::action::Action;
use ovs_netlink::attr::AttrWriter;
use ovs_netlink::key::KeyAttr;
use proptest::prelude::*;

use super::*;
use crate::odp::action::OdpActions;

fn encode(attrs: &[KeyAttr<'_>]) -> Vec<u8> {
    let mut buf = Vec::new();
    let mut w = AttrWriter::new(&mut buf);
    attrs.iter().for_each(|attr| attr.write(&mut w));
    buf
}

// The line that `ovs-dpctl -m dump-flows` of 3.1.0 prints for an ARP request over NORMAL, as far as
// these attributes go.
#[test]
fn a_line_of_a_dump() {
    let eth = |src, dst| KeyAttr::Ethernet { src, dst };
    let arp = |sip, tip, op| KeyAttr::Arp { sip, tip, op, sha: [0; 6], tha: [0; 6] };
    let key = encode(&[
        KeyAttr::RecircId(0),
        KeyAttr::DpHash(0),
        KeyAttr::InPort(1),
        eth([2, 0, 0, 0, 0, 1], [0xff; 6]),
        KeyAttr::EtherType(0x0806),
        arp([10, 0, 0, 1], [10, 0, 0, 2], 1),
    ]);
    let mask = encode(&[
        KeyAttr::RecircId(u32::MAX),
        KeyAttr::DpHash(0),
        KeyAttr::InPort(u32::MAX),
        eth([0xff; 6], [0xff; 6]),
        KeyAttr::EtherType(u16::MAX),
        arp([0xff; 4], [0xff; 4], 0xff),
    ]);
    let mut names = PortNames::default();
    names.insert(1, "v1");
    names.insert(2, "v2");
    let mut actions = OdpActions::new();
    actions.output(2);
    actions.output(3);
    let line = FlowLine {
        key: &key,
        mask: Some(&mask),
        actions: actions.as_bytes(),
        packets: 7,
        bytes: 294,
        used_ms_ago: Some(1052),
        tcp_flags: 0x12,
        ufid: Some(Ufid::default()),
    };
    let show = |style| {
        let mut out = String::new();
        format_flow(&line, style, &mut out);
        out
    };
    assert_eq!(
        show(Style { names: Some(&names), verbose: false }),
        "recirc_id(0),in_port(v1),eth(src=02:00:00:00:00:01,dst=ff:ff:ff:ff:ff:ff),\
         eth_type(0x0806),arp(sip=10.0.0.1,tip=10.0.0.2,op=1/0xff), packets:7, bytes:294, \
         used:1.052s, flags:S., actions:v2,3"
    );
    assert_eq!(
        show(Style { names: None, verbose: true }),
        "ufid:00000000-0000-0000-0000-000000000000, recirc_id(0),dp_hash(0/0),in_port(1),\
         eth(src=02:00:00:00:00:01,dst=ff:ff:ff:ff:ff:ff),eth_type(0x0806),\
         arp(sip=10.0.0.1,tip=10.0.0.2,op=1/0xff,sha=00:00:00:00:00:00/00:00:00:00:00:00,\
         tha=00:00:00:00:00:00/00:00:00:00:00:00), packets:7, bytes:294, used:1.052s, flags:S., \
         actions:2,3"
    );
}

#[test]
fn names_are_one_to_one() {
    let mut names = PortNames::default();
    names.insert(1, "a");
    names.insert(2, "b");
    names.insert(2, "a");
    assert_eq!((names.name(1), names.name(2)), (None, Some("a")));
    assert_eq!((names.port("a"), names.port("b")), (Some(2), None));
}

#[test]
fn addresses_are_shown_as_c_does() {
    let show = |last: [u8; 4]| {
        let mut addr = [0; 16];
        addr[12..].copy_from_slice(&last);
        fields::Ip6(addr).to_string()
    };
    assert_eq!(show([0, 0, 0, 0]), "::");
    assert_eq!(show([0, 0, 0, 1]), "::1");
    assert_eq!(show([0, 0, 2, 0x55]), "::255");
    assert_eq!(show([1, 2, 3, 4]), "::1.2.3.4");
}

proptest! {
    #[test]
    fn any_bytes_can_be_shown(
        key in proptest::collection::vec(any::<u8>(), 0..200),
        mask in proptest::collection::vec(any::<u8>(), 0..200),
        verbose: bool,
    ) {
        let mut out = String::new();
        let style = Style { names: None, verbose };
        format_key(&key, Some(&mask), style, &mut out);
        format_key(&key, None, style, &mut out);
        format_actions(&key, None, &mut out);
    }

    #[test]
    fn any_bytes_in_a_known_place_can_be_shown(
        kind in 0u16..34,
        value in proptest::collection::vec(any::<u8>(), 0..60),
        mask in proptest::collection::vec(any::<u8>(), 0..60),
        verbose: bool,
    ) {
        let wrap = |value: &[u8]| {
            let mut buf = Vec::new();
            AttrWriter::new(&mut buf).bytes(kind, value);
            buf
        };
        let mut out = String::new();
        let style = Style { names: None, verbose };
        format_key(&wrap(&value), Some(&wrap(&mask)), style, &mut out);
        format_actions(&wrap(&value), None, &mut out);
        let same = wrap(&value);
        format_key(&same, Some(&same), style, &mut out);
    }
}

#[test]
fn deep_lists_end_in_dots() {
    let mut list = Vec::new();
    for _ in 0..2000 {
        let inside = std::mem::take(&mut list);
        Action::Clone(&inside).write(&mut AttrWriter::new(&mut list));
    }
    let mut out = String::new();
    format_actions(&list, None, &mut out);
    assert!(out.starts_with("clone(clone(") && out.contains("(...)"));
}
