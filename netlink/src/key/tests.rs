use proptest::prelude::*;

use super::*;
use crate::attr::Attrs;

/// Type, size of the value and bytes of trailing padding in it, from `net/openvswitch/flow_netlink.c`.
const SIZES: [(u16, usize, usize); 26] = [
    (OVS_KEY_ATTR_PRIORITY, 4, 0),
    (OVS_KEY_ATTR_IN_PORT, 4, 0),
    (OVS_KEY_ATTR_ETHERNET, 12, 0),
    (OVS_KEY_ATTR_VLAN, 2, 0),
    (OVS_KEY_ATTR_ETHERTYPE, 2, 0),
    (OVS_KEY_ATTR_IPV4, 12, 0),
    (OVS_KEY_ATTR_IPV6, 40, 0),
    (OVS_KEY_ATTR_TCP, 4, 0),
    (OVS_KEY_ATTR_UDP, 4, 0),
    (OVS_KEY_ATTR_ICMP, 2, 0),
    (OVS_KEY_ATTR_ICMPV6, 2, 0),
    (OVS_KEY_ATTR_ARP, 24, 2),
    (OVS_KEY_ATTR_ND, 28, 0),
    (OVS_KEY_ATTR_SKB_MARK, 4, 0),
    (OVS_KEY_ATTR_SCTP, 4, 0),
    (OVS_KEY_ATTR_TCP_FLAGS, 2, 0),
    (OVS_KEY_ATTR_DP_HASH, 4, 0),
    (OVS_KEY_ATTR_RECIRC_ID, 4, 0),
    (OVS_KEY_ATTR_CT_STATE, 4, 0),
    (OVS_KEY_ATTR_CT_ZONE, 2, 0),
    (OVS_KEY_ATTR_CT_MARK, 4, 0),
    (OVS_KEY_ATTR_CT_LABELS, 16, 0),
    (OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4, 16, 3),
    (OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6, 40, 3),
    (OVS_KEY_ATTR_PACKET_TYPE, 4, 0),
    (OVS_KEY_ATTR_IPV6_EXTHDRS, 2, 0),
];

fn encode(attrs: &[KeyAttr<'_>]) -> Vec<u8> {
    let mut buf = Vec::new();
    let mut w = AttrWriter::new(&mut buf);
    for attr in attrs {
        attr.write(&mut w);
    }
    w.finish().unwrap();
    buf
}

#[test]
fn every_fixed_type_has_exactly_one_size() {
    for (kind, size, pad) in SIZES {
        for got in 0..64 {
            let value = [0xff; 64];
            let attr = Attr { kind, value: &value[..got] };
            let parsed = KeyAttr::parse(attr);
            if got != size {
                assert_eq!(parsed, Err(AttrError::Size { kind, expected: size, got }));
                continue;
            }
            let parsed = parsed.unwrap();
            assert_eq!(parsed.kind(), kind);
            assert!(!matches!(parsed, KeyAttr::Unknown { .. }), "{kind}");
            let mut expected = vec![0xff; size];
            expected[size - pad..].fill(0);
            assert_eq!(Attrs::new(&encode(&[parsed])).next().unwrap().unwrap().value, expected);
        }
    }
}

#[test]
fn numbers_are_in_the_order_the_kernel_uses() {
    let bytes = encode(&[
        KeyAttr::InPort(2),
        KeyAttr::EtherType(0x0800),
        KeyAttr::Vlan(0x1064),
        KeyAttr::CtZone(0x0102),
        KeyAttr::Tcp { src: 0x1234, dst: 80 },
        KeyAttr::Ipv6 {
            src: [1; 16],
            dst: [2; 16],
            label: 0x0a_bcde,
            proto: 6,
            tclass: 1,
            hlimit: 64,
            frag: OVS_FRAG_TYPE_FIRST,
        },
        KeyAttr::CtOrigTupleIpv4 {
            src: [10, 0, 0, 1],
            dst: [10, 0, 0, 2],
            src_port: 0x1234,
            dst_port: 80,
            proto: 17,
        },
    ]);
    let values: Vec<_> = Attrs::new(&bytes).map(|a| a.unwrap().value).collect();
    assert_eq!(values[0], 2u32.to_ne_bytes());
    assert_eq!(values[1], [8, 0]);
    assert_eq!(values[2], [0x10, 0x64]);
    assert_eq!(values[3], 0x0102u16.to_ne_bytes());
    assert_eq!(values[4], [0x12, 0x34, 0, 80]);
    assert_eq!(values[5][32..], [0, 0x0a, 0xbc, 0xde, 6, 1, 64, 1]);
    assert_eq!(values[6], [10, 0, 0, 1, 10, 0, 0, 2, 0x12, 0x34, 0, 80, 17, 0, 0, 0]);
}

#[test]
fn label_stacks_are_whole() {
    let parse = |value| KeyAttr::parse(Attr { kind: OVS_KEY_ATTR_MPLS, value });
    let stack = [0x00, 0x06, 0x41, 0x40, 0x00, 0x0c, 0x81, 0x3f, 0, 0, 0, 1];
    let Ok(KeyAttr::Mpls(value)) = parse(&stack) else { panic!("three entries") };
    assert_eq!(mpls_lses(value).collect::<Vec<_>>(), [0x0006_4140, 0x000c_813f, 1]);
    let size = |expected, got| Err(AttrError::Size { kind: OVS_KEY_ATTR_MPLS, expected, got });
    // The kernel tells an empty mask of labels so.
    assert_eq!(parse(&[]), Ok(KeyAttr::Mpls(&[])));
    assert_eq!(parse(&stack[..6]), size(8, 6));
}

#[test]
fn the_walk_ends_after_an_error() {
    let mut bytes = encode(&[KeyAttr::InPort(1)]);
    let mut w = AttrWriter::new(&mut bytes);
    w.u8(OVS_KEY_ATTR_PRIORITY, 1);
    w.u32(OVS_KEY_ATTR_SKB_MARK, 1);
    let mut walk = KeyAttrs::new(&bytes);
    assert_eq!(walk.next(), Some(Ok(KeyAttr::InPort(1))));
    assert!(matches!(walk.next(), Some(Err(AttrError::Size { .. }))));
    assert_eq!(walk.next(), None);
}

/// Bytes with the padding inside known structures zeroed, as a writer would have them.
fn without_padding(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    let pad = SIZES.iter().find(|&&(k, ..)| k == kind).map_or(0, |&(.., pad)| pad);
    let pad = if kind == OVS_KEY_ATTR_ND_EXTENSIONS { 3 } else { pad };
    let len = value.len();
    value[len - pad..].fill(0);
    value
}

proptest! {
    #[test]
    fn what_is_parsed_is_written_back(
        kind in 0u16..40, value in proptest::collection::vec(any::<u8>(), 0..48), fit: bool,
    ) {
        let fixed = SIZES.iter().find(|&&(k, ..)| k == kind).filter(|_| fit);
        let len = fixed.map_or(value.len(), |&(_, size, _)| size);
        let value: Vec<u8> = value.iter().copied().cycle().take(len).collect();
        if let Ok(parsed) = KeyAttr::parse(Attr { kind, value: &value }) {
            prop_assert_eq!(parsed.kind(), kind);
            let bytes = encode(&[parsed]);
            let back: Vec<_> = KeyAttrs::new(&bytes).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(back, vec![parsed]);
            let raw = Attrs::new(&bytes).next().unwrap().unwrap();
            prop_assert_eq!(raw.value, without_padding(kind, &value));
        }
    }

    #[test]
    fn a_size_is_right_where_parsing_takes_it(
        kind in 0u16..40, value in proptest::collection::vec(any::<u8>(), 0..48),
    ) {
        let attr = Attr { kind, value: &value };
        prop_assert_eq!(KeyAttr::check_size(attr), KeyAttr::parse(attr).map(drop));
    }

    #[test]
    fn walking_any_bytes_ends(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(KeyAttrs::new(&bytes).count() <= bytes.len() / 4 + 1);
    }
}
