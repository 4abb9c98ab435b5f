use proptest::prelude::*;

use super::*;
use crate::attr::Attrs;
use crate::ct::Ct;
use crate::nsh::{MaskedNshAttrs, NshAttr};

fn encode(actions: &[Action<'_>]) -> Vec<u8> {
    let mut buf = Vec::new();
    let mut w = AttrWriter::new(&mut buf);
    for action in actions {
        action.write(&mut w);
    }
    w.finish().unwrap();
    buf
}

fn decode(bytes: &[u8]) -> Vec<Action<'_>> {
    Actions::new(bytes).collect::<Result<_, _>>().unwrap()
}

fn nsh() -> Vec<u8> {
    let mut nsh = Vec::new();
    let base = NshAttr::Base { flags: 0, ttl: 63, mdtype: 2, np: 3, path_hdr: 0x1234_56ff };
    base.write(&mut AttrWriter::new(&mut nsh));
    nsh
}

#[test]
fn every_action_reads_back() {
    let (inner, nsh) = (encode(&[Action::Output(7), Action::PopVlan]), nsh());
    let mut ct = Vec::new();
    Ct { zone: Some(5), ..Ct::default() }.write(&mut AttrWriter::new(&mut ct));
    let ttl = |ttl| KeyAttr::Ipv4 { src: [0; 4], dst: [0; 4], proto: 0, tos: 0, ttl, frag: 0 };
    let all = [
        Action::Output(2),
        Action::Userspace {
            pid: u32::MAX,
            userdata: Some(&[1, 2, 3]),
            egress_tun_port: Some(4),
            actions: true,
        },
        Action::Set(KeyAttr::Tunnel(&[])),
        Action::PushVlan { tpid: 0x8100, tci: 0x1064 },
        Action::PopVlan,
        Action::Sample { probability: 0x8000_0000, actions: &inner },
        Action::Recirc(9),
        Action::Hash { algorithm: OVS_HASH_ALG_L4, basis: 3 },
        Action::PushMpls { lse: 0x0006_4140, ethertype: 0x8847 },
        Action::PopMpls { ethertype: 0x0800 },
        Action::SetMasked(MaskedKeyAttr::new(ttl(63), ttl(255)).unwrap()),
        Action::Ct(&ct[4..]),
        Action::Trunc { max_len: 64 },
        Action::PushEth { src: [1; 6], dst: [2; 6] },
        Action::PopEth,
        Action::CtClear,
        Action::PushNsh(&nsh),
        Action::PopNsh,
        Action::Meter(1),
        Action::Clone(&inner),
        Action::CheckPktLen { pkt_len: 1500, greater: &[], less_equal: &inner },
        Action::AddMpls { lse: 1, ethertype: 0x8847, tun_flags: OVS_MPLS_L3_TUNNEL_FLAG_MASK },
        Action::DecTtl(&inner),
        Action::Drop(3),
        Action::Psample { group: 10, cookie: Some(&[1, 2]) },
    ];
    let bytes = encode(&all);
    assert_eq!(decode(&bytes), all);
    let kinds: Vec<_> = Attrs::new(&bytes).map(|a| a.unwrap().kind).collect();
    assert_eq!(kinds, (1..=OVS_ACTION_ATTR_MAX).collect::<Vec<_>>());
    let Action::Ct(value) = decode(&bytes)[11] else { panic!() };
    assert_eq!(Ct::parse(value), Ok(Ct { zone: Some(5), ..Ct::default() }));
}

#[test]
fn numbers_are_in_the_order_the_kernel_uses() {
    let bytes = encode(&[
        Action::PushVlan { tpid: 0x88a8, tci: 0x1064 },
        Action::PushMpls { lse: 0x0006_4140, ethertype: 0x8847 },
        Action::AddMpls { lse: 1, ethertype: 0x8848, tun_flags: 1 },
        Action::PopMpls { ethertype: 0x0800 },
    ]);
    let values: Vec<_> = Attrs::new(&bytes).map(|a| a.unwrap().value).collect();
    assert_eq!(values[0], [0x88, 0xa8, 0x10, 0x64]);
    assert_eq!(values[1], [0x00, 0x06, 0x41, 0x40, 0x88, 0x47, 0, 0]);
    let [f0, f1] = 1u16.to_ne_bytes();
    assert_eq!(values[2], [0, 0, 0, 1, 0x88, 0x48, f0, f1]);
    assert_eq!(values[3], [8, 0]);
}

#[test]
fn a_masked_header_is_value_then_mask() {
    let tci = |tci| KeyAttr::Vlan(tci);
    let bytes = encode(&[Action::SetMasked(MaskedKeyAttr::new(tci(1), tci(0xfff)).unwrap())]);
    let header = Attrs::new(&bytes).next().unwrap().unwrap().attrs().next().unwrap().unwrap();
    assert_eq!((header.kind, header.value), (OVS_KEY_ATTR_VLAN, &[0, 1, 0x0f, 0xff][..]));
    let icmp =
        MaskedKeyAttr::new(KeyAttr::Icmp { ty: 1, code: 2 }, KeyAttr::Icmp { ty: 3, code: 4 });
    let bytes = encode(&[Action::SetMasked(icmp.unwrap())]);
    assert_eq!(bytes.len(), 12);
    assert_eq!(decode(&bytes), [Action::SetMasked(icmp.unwrap())]);
    assert!(MaskedKeyAttr::new(tci(1), KeyAttr::EtherType(1)).is_err());
    assert!(MaskedKeyAttr::new(KeyAttr::Nsh(&[]), KeyAttr::Nsh(&[])).is_err());
    assert!(MaskedKeyAttr::new(KeyAttr::Mpls(&[0; 4]), KeyAttr::Mpls(&[0; 8])).is_err());
}

#[test]
fn masked_nsh_is_paired_further_inside() {
    let mut nested = Vec::new();
    let mut w = AttrWriter::new(&mut nested);
    let pair = [[0, 63, 0, 0, 0, 0, 0, 0], [0, 255, 0, 0, 0, 0, 0, 0]].concat();
    w.bytes(OVS_NSH_KEY_ATTR_BASE, &pair);
    let bytes = encode(&[Action::SetMaskedNsh(&nested)]);
    let [Action::SetMaskedNsh(value)] = decode(&bytes)[..] else { panic!() };
    let base = MaskedNshAttrs::new(value).next().unwrap().unwrap();
    let ttl = |ttl| NshAttr::Base { flags: 0, ttl, mdtype: 0, np: 0, path_hdr: 0 };
    assert_eq!((base.key(), base.mask()), (ttl(63), ttl(255)));
}

#[test]
fn composing_in_place_is_writing_at_once() {
    let inner = encode(&[Action::Output(7)]);
    let other = encode(&[Action::CtClear, Action::Output(8)]);
    let at_once = encode(&[
        Action::Clone(&inner),
        Action::Sample { probability: 1, actions: &inner },
        Action::DecTtl(&inner),
        Action::CheckPktLen { pkt_len: 1500, greater: &inner, less_equal: &other },
    ]);
    let mut buf = Vec::new();
    let w = &mut AttrWriter::new(&mut buf);
    for begin in [begin_clone, |w: &mut AttrWriter<'_>| begin_sample(w, 1), begin_dec_ttl] {
        let open = begin(w);
        Action::Output(7).write(w);
        open.end(w).unwrap();
    }
    let open = begin_check_pkt_len(w, 1500);
    Action::Output(7).write(w);
    let open = open.less_equal(w).unwrap();
    Action::CtClear.write(w);
    Action::Output(8).write(w);
    open.end(w).unwrap();
    assert_eq!(buf, at_once);
}

#[test]
fn half_understood_is_unknown() {
    let mut buf = Vec::new();
    let mut w = AttrWriter::new(&mut buf);
    for kind in [
        OVS_ACTION_ATTR_USERSPACE,
        OVS_ACTION_ATTR_SAMPLE,
        OVS_ACTION_ATTR_CHECK_PKT_LEN,
        OVS_ACTION_ATTR_DEC_TTL,
        OVS_ACTION_ATTR_PSAMPLE,
        OVS_ACTION_ATTR_MAX + 1,
    ] {
        nest(&mut w, kind, |w| w.u32(77, 1));
    }
    let all = decode(&buf);
    assert!(all.iter().all(|a| matches!(a, Action::Unknown { .. })), "{all:?}");
    assert_eq!(encode(&all), buf);
}

#[test]
fn what_the_kernel_insists_on_is_missed() {
    for (kind, missing) in [
        (OVS_ACTION_ATTR_USERSPACE, OVS_USERSPACE_ATTR_PID),
        (OVS_ACTION_ATTR_SAMPLE, OVS_SAMPLE_ATTR_PROBABILITY),
        (OVS_ACTION_ATTR_CHECK_PKT_LEN, OVS_CHECK_PKT_LEN_ATTR_PKT_LEN),
        (OVS_ACTION_ATTR_DEC_TTL, OVS_DEC_TTL_ATTR_ACTION),
        (OVS_ACTION_ATTR_PSAMPLE, OVS_PSAMPLE_ATTR_GROUP),
    ] {
        let parsed = Action::parse(Attr { kind, value: &[] });
        assert_eq!(parsed, Err(AttrError::Missing { kind: missing }));
    }
    for kind in [OVS_ACTION_ATTR_SET, OVS_ACTION_ATTR_SET_MASKED] {
        assert_eq!(Action::parse(Attr { kind, value: &[] }), Err(AttrError::Value { kind }));
        let two = encode(&[Action::Output(1), Action::Output(1)]);
        assert_eq!(Action::parse(Attr { kind, value: &two }), Err(AttrError::Value { kind }));
    }
}

#[test]
fn too_long_is_remembered() {
    let long = vec![0; 70_000];
    let mut buf = Vec::new();
    let mut w = AttrWriter::new(&mut buf);
    Action::Clone(&long).write(&mut w);
    Action::Sample { probability: 1, actions: &long }.write(&mut w);
    assert_eq!(w.finish(), Err(AttrError::TooLong { kind: OVS_ACTION_ATTR_CLONE, len: 70_004 }));
}

/// Bytes that are often well-formed actions.
fn likely_actions() -> impl Strategy<Value = Vec<u8>> {
    let leaf = (0u16..34, proptest::collection::vec(any::<u8>(), 0..20), 0..8usize);
    let leaf = leaf.prop_map(|(kind, value, len)| {
        let len = *[0, 2, 4, 4, 8, 12, 24, value.len()].get(len).unwrap_or(&0);
        let value: Vec<u8> = value.iter().copied().cycle().take(len).collect();
        let mut buf = Vec::new();
        AttrWriter::new(&mut buf).bytes(kind, &value);
        buf
    });
    leaf.prop_recursive(4, 30, 5, |inner| {
        (1u16..27, proptest::collection::vec(inner, 0..5)).prop_map(|(kind, inner)| {
            let mut buf = Vec::new();
            AttrWriter::new(&mut buf).bytes(kind, &inner.concat());
            buf
        })
    })
}

proptest! {
    #[test]
    fn what_is_parsed_is_written_back(bytes in likely_actions()) {
        let actions: Vec<_> = Actions::new(&bytes).flatten().collect();
        let again = encode(&actions);
        prop_assert_eq!(decode(&again), actions);
    }

    #[test]
    fn walking_any_bytes_ends(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Actions::new(&bytes).count() <= bytes.len() / 4 + 1);
    }
}
