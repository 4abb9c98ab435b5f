use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::attr::Attrs;

fn ipv6() -> IpAddr {
    IpAddr::from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
}

#[test]
fn every_attribute_reads_back() {
    let all = [
        CtAttr::Commit,
        CtAttr::Zone(0x0102),
        CtAttr::Mark { value: 1, mask: 0xff },
        CtAttr::Labels { value: [1; 16], mask: [2; 16] },
        CtAttr::Helper("ftp"),
        CtAttr::Nat(&[]),
        CtAttr::ForceCommit,
        CtAttr::EventMask(0x5c5),
        CtAttr::Timeout("ovs_tp_0_tcp4"),
        CtAttr::Unknown { kind: 10, value: &[1] },
    ];
    let mut bytes = Vec::new();
    let mut w = AttrWriter::new(&mut bytes);
    all.iter().for_each(|attr| attr.write(&mut w));
    assert_eq!(CtAttrs::new(&bytes).collect::<Result<Vec<_>, _>>().unwrap(), all);
    let raw: Vec<_> = Attrs::new(&bytes).map(Result::unwrap).collect();
    assert_eq!(raw.iter().map(|a| a.kind).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    assert_eq!(raw[1].value, 0x0102u16.to_ne_bytes());
    assert_eq!(raw[2].value, [1u32.to_ne_bytes(), 0xffu32.to_ne_bytes()].concat());
    assert_eq!(raw[4].value, b"ftp\0");
}

#[test]
fn every_nat_attribute_reads_back() {
    let all = [
        NatAttr::Src,
        NatAttr::Dst,
        NatAttr::IpMin(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))),
        NatAttr::IpMax(ipv6()),
        NatAttr::ProtoMin(0x1234),
        NatAttr::ProtoMax(0x2345),
        NatAttr::Persistent,
        NatAttr::ProtoHash,
        NatAttr::ProtoRandom,
        NatAttr::Unknown { kind: 10, value: &[1] },
    ];
    let mut bytes = Vec::new();
    let mut w = AttrWriter::new(&mut bytes);
    all.iter().for_each(|attr| attr.write(&mut w));
    assert_eq!(NatAttrs::new(&bytes).collect::<Result<Vec<_>, _>>().unwrap(), all);
    let raw: Vec<_> = Attrs::new(&bytes).map(Result::unwrap).collect();
    assert_eq!(raw.iter().map(|a| a.kind).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    assert_eq!(raw[2].value, [10, 0, 0, 1]);
    assert_eq!(raw[4].value, 0x1234u16.to_ne_bytes());
}

#[test]
fn the_whole_reads_back() {
    let ct = Ct {
        commit: Commit::Force,
        eventmask: Some(0x5c5),
        timeout: Some("tp"),
        zone: Some(5),
        mark: Some((1, 2)),
        labels: Some(([3; 16], [4; 16])),
        helper: Some("ftp"),
        nat: Some(Nat {
            end: Some(NatEnd::Dst),
            persistent: true,
            hash: true,
            random: false,
            ip_min: Some(ipv6()),
            ip_max: None,
            proto_min: Some(1),
            proto_max: Some(2),
        }),
    };
    let mut bytes = Vec::new();
    ct.write(&mut AttrWriter::new(&mut bytes));
    let action = Attrs::new(&bytes).next().unwrap().unwrap();
    assert_eq!((action.kind, Ct::parse(action.value)), (OVS_ACTION_ATTR_CT, Ok(ct)));
    assert_eq!(Ct::parse(&[]), Ok(Ct::default()));
}

#[test]
fn half_understood_is_not_understood() {
    let mut bytes = Vec::new();
    AttrWriter::new(&mut bytes).u32(10, 1);
    assert_eq!(Ct::parse(&bytes), Err(AttrError::Value { kind: 10 }));
    assert_eq!(Nat::parse(&bytes), Err(AttrError::Value { kind: 10 }));
}

#[test]
fn names_end_with_their_only_nul() {
    for value in [&b"ftp"[..], b"ftp\0\0", b"", b"\xff\0"] {
        let attr = Attr { kind: OVS_CT_ATTR_HELPER, value };
        assert_eq!(CtAttr::parse(attr), Err(AttrError::Text { kind: OVS_CT_ATTR_HELPER }));
    }
}

proptest! {
    #[test]
    fn what_is_parsed_is_written_back(
        kind in 0u16..12, fill: [u8; 32], text in "[a-z]{0,8}",
        len in prop_oneof![Just(0usize), Just(2), Just(4), Just(8), Just(16), Just(32), 0..32usize],
    ) {
        let text = [text.as_bytes(), &[0]].concat();
        for value in [&fill[..len], &text[..]] {
            let attr = Attr { kind, value };
            let mut bytes = Vec::new();
            if let Ok(parsed) = CtAttr::parse(attr) {
                parsed.write(&mut AttrWriter::new(&mut bytes));
                prop_assert_eq!(Attrs::new(&bytes).next(), Some(Ok(attr)));
            }
            bytes.clear();
            if let Ok(parsed) = NatAttr::parse(attr) {
                parsed.write(&mut AttrWriter::new(&mut bytes));
                prop_assert_eq!(Attrs::new(&bytes).next(), Some(Ok(attr)));
            }
        }
    }

    #[test]
    fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(CtAttrs::new(&bytes).count() <= bytes.len() / 4 + 1);
        prop_assert!(NatAttrs::new(&bytes).count() <= bytes.len() / 4 + 1);
        let (_, _) = (Ct::parse(&bytes), Nat::parse(&bytes));
    }

    #[test]
    fn a_nat_reads_back(
        end in 0..3u8, flags: [bool; 3], v6: Option<u128>, v4: Option<u32>, ports: [Option<u16>; 2],
    ) {
        let nat = Nat {
            end: [None, Some(NatEnd::Src), Some(NatEnd::Dst)][usize::from(end)],
            persistent: flags[0],
            hash: flags[1],
            random: flags[2],
            ip_min: v4.map(|ip| Ipv4Addr::from(ip).into()),
            ip_max: v6.map(|ip| Ipv6Addr::from(ip).into()),
            proto_min: ports[0],
            proto_max: ports[1],
        };
        let mut bytes = Vec::new();
        nat.write(&mut AttrWriter::new(&mut bytes));
        let attr = Attrs::new(&bytes).next().unwrap().unwrap();
        prop_assert_eq!((attr.kind, Nat::parse(attr.value)), (OVS_CT_ATTR_NAT, Ok(nat)));
    }
}
