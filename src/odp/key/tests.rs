//! Keys: identity, arbitrary bytes, and the conventions of the kernel and the peer.

use ovs_netlink::key::KeyAttr;
use ovs_netlink::uapi::OVS_KEY_ATTR_CT_ZONE;
use proptest::prelude::*;

use super::*;
use crate::flow::{FLOW_DL_TYPE_NONE, FLOW_NW_FRAG_ANY, FLOW_NW_FRAG_LATER, VLAN_CFI};
use crate::odp::dice::{self, Dice};

fn encode(attrs: &[KeyAttr<'_>]) -> Vec<u8> {
    let mut buf = Vec::new();
    let mut w = AttrWriter::new(&mut buf);
    for attr in attrs {
        attr.write(&mut w);
    }
    buf
}

fn decode_key(key: &[u8]) -> Result<(Fitness, Flow), KeyError> {
    let mut flow = Flow::ZERO;
    OdpKey(key).to_flow(2, &mut flow).map(|fitness| (fitness, flow))
}

fn show(a: &Flow, b: &Flow) -> String {
    let different = |i: &usize| a.words()[*i] != b.words()[*i];
    let words: Vec<_> = (0..crate::flow::FLOW_WORDS).filter(different).collect();
    format!("words {words:?} differ")
}

const ETH: KeyAttr<'_> = KeyAttr::Ethernet { src: [2, 0, 0, 0, 0, 1], dst: [2, 0, 0, 0, 0, 2] };
const IPV4: KeyAttr<'_> =
    KeyAttr::Ipv4 { src: [10, 0, 0, 1], dst: [10, 0, 0, 2], proto: 17, tos: 0, ttl: 64, frag: 0 };
const UDP: KeyAttr<'_> = KeyAttr::Udp { src: 1, dst: 2 };
const IP: KeyAttr<'_> = KeyAttr::EtherType(0x0800);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_flow_made_a_key_is_that_flow(seed: u64) {
        let (flow, _) = dice::flow(&mut Dice(seed));
        let mut key = Vec::new();
        key_from_flow(&flow, &Support::default(), &mut key).unwrap();
        let (fitness, back) = decode_key(&key).unwrap();
        prop_assert_eq!(fitness, Fitness::Perfect);
        prop_assert!(back == flow, "{}", show(&flow, &back));
        let mut again = Vec::new();
        key_from_flow(&back, &Support::default(), &mut again).unwrap();
        prop_assert_eq!(again, key);
    }

    #[test]
    fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_key(&bytes);
    }

    #[test]
    fn a_damaged_key_is_taken_or_refused(seed: u64, damage in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..6), cut: u16) {
        let (flow, _) = dice::flow(&mut Dice(seed));
        let mut key = Vec::new();
        key_from_flow(&flow, &Support::default(), &mut key).unwrap();
        for (at, v) in damage {
            let at = usize::from(at) % key.len();
            key[at] = v;
        }
        if cut % 3 == 0 {
            key.truncate(usize::from(cut) % key.len());
        }
        if let Ok((_, flow)) = decode_key(&key) {
            // Whatever was understood can be said again.
            let mut key = Vec::new();
            key_from_flow(&flow, &Support::default(), &mut key).unwrap();
        }
    }
}

#[test]
fn fitness_says_what_is_too_much_or_too_little() {
    let unknown = KeyAttr::Unknown { kind: 60, value: &[1, 2, 3] };
    let exthdrs = KeyAttr::Ipv6Exthdrs(0);
    let port = KeyAttr::InPort(1);
    let arp = KeyAttr::Arp { sip: [0; 4], tip: [0; 4], op: 1, sha: [0; 6], tha: [0; 6] };
    for (attrs, fitness) in [
        (&[port, ETH, IP, IPV4, UDP][..], Fitness::Perfect),
        (&[ETH, IP, IPV4, UDP, unknown, exthdrs], Fitness::Perfect),
        (&[ETH, IP, IPV4], Fitness::TooLittle),
        (&[ETH, IP, UDP], Fitness::TooLittle),
        (&[ETH, IP, IPV4, UDP, arp], Fitness::TooMuch),
        (&[ETH, IP, IPV4, arp], Fitness::TooLittle),
        (&[ETH, KeyAttr::EtherType(0x0806)], Fitness::TooLittle),
        (&[ETH, KeyAttr::EtherType(0x9000)], Fitness::Perfect),
        (&[ETH, KeyAttr::EtherType(0x9000), UDP], Fitness::TooMuch),
        (&[ETH], Fitness::Perfect),
        (&[], Fitness::Perfect),
    ] {
        assert_eq!(decode_key(&encode(attrs)).map(|(f, _)| f), Ok(fitness), "{attrs:?}");
    }
}

#[test]
fn contradictions_are_errors() {
    let ip = |frag| KeyAttr::Ipv4 { src: [0; 4], dst: [0; 4], proto: 1, tos: 0, ttl: 0, frag };
    let arp = KeyAttr::Arp { sip: [0; 4], tip: [0; 4], op: 256, sha: [0; 6], tha: [0; 6] };
    let vlan = KeyAttr::EtherType(0x8100);
    for (attrs, error) in [
        (&[ETH, IP, ip(3)][..], KeyError::Frag(3)),
        (&[ETH, KeyAttr::EtherType(0x0806), arp], KeyError::ArpOp(256)),
        (&[ETH, KeyAttr::EtherType(0x05ff)], KeyError::EtherType(0x05ff)),
        (&[ETH, ETH], KeyError::Duplicate(4)),
        (&[ETH, vlan, KeyAttr::Vlan(5), KeyAttr::Encap(&[])], KeyError::VlanNoCfi(5)),
        (&[KeyAttr::Tunnel(&[])], KeyError::TunnelTtl),
    ] {
        assert_eq!(decode_key(&encode(attrs)).map(|(f, _)| f), Err(error), "{attrs:?}");
    }
    assert!(matches!(decode_key(&[1, 2, 3]), Err(KeyError::Attr(_))));
}

#[test]
fn frames_without_ethernet_type_have_no_attribute_for_it() {
    let (fitness, flow) = decode_key(&encode(&[ETH])).unwrap();
    assert_eq!((fitness, flow.dl_type.get()), (Fitness::Perfect, FLOW_DL_TYPE_NONE));
    assert_eq!(flow.in_port, ODPP_NONE);
}

#[test]
fn packets_without_ethernet_header_have_a_packet_type() {
    let key = encode(&[IP, IPV4, UDP]);
    let (fitness, flow) = decode_key(&key).unwrap();
    assert_eq!((fitness, flow.packet_type.get()), (Fitness::Perfect, 0x1_0800));
    let mut again = Vec::new();
    let support = Support {
        recirc: false,
        ct_state: false,
        ct_zone: false,
        ct_mark: false,
        ct_label: false,
        ..Support::default()
    };
    key_from_flow(&flow, &support, &mut again).unwrap();
    assert_eq!(again[encode(&[KeyAttr::Priority(0), KeyAttr::SkbMark(0)]).len()..], key);
}

#[test]
fn fragments_beyond_the_first_have_no_transport_header() {
    for (frag, nw_frag, fitness) in [
        (0, 0, Fitness::TooLittle),
        (1, FLOW_NW_FRAG_ANY, Fitness::TooLittle),
        (2, FLOW_NW_FRAG_ANY | FLOW_NW_FRAG_LATER, Fitness::Perfect),
    ] {
        let ip = KeyAttr::Ipv4 { src: [0; 4], dst: [0; 4], proto: 6, tos: 0, ttl: 0, frag };
        let (got, flow) = decode_key(&encode(&[ETH, IP, ip])).unwrap();
        assert_eq!((got, flow.nw_frag), (fitness, nw_frag));
    }
}

#[test]
fn vlan_tags_nest_up_to_the_limit() {
    let inside = encode(&[IP, IPV4, UDP]);
    let inner =
        encode(&[KeyAttr::EtherType(0x8100), KeyAttr::Vlan(0x1002), KeyAttr::Encap(&inside)]);
    let key =
        encode(&[ETH, KeyAttr::EtherType(0x88a8), KeyAttr::Vlan(0x1001), KeyAttr::Encap(&inner)]);
    let (fitness, flow) = decode_key(&key).unwrap();
    assert_eq!((fitness, flow.vlan_count(), flow.dl_type.get()), (Fitness::Perfect, 2, 0x0800));
    assert_eq!((flow.vlans[0].tpid.get(), flow.vlans[1].tci.get()), (0x88a8, VLAN_CFI | 2));

    let mut flow = Flow::ZERO;
    let fitness = OdpKey(&key).to_flow(1, &mut flow);
    assert_eq!(fitness, Ok(Fitness::TooMuch));
    assert_eq!((flow.vlan_count(), flow.dl_type.get(), flow.nw_proto), (1, 0x8100, 0));

    // As the peer's flow for such a packet is dumped, with `vlan-limit` 1.
    let inner =
        encode(&[KeyAttr::EtherType(0), KeyAttr::Vlan(0x1002), KeyAttr::Encap(&encode(&[IP]))]);
    let dumped =
        encode(&[ETH, KeyAttr::EtherType(0x88a8), KeyAttr::Vlan(0x1001), KeyAttr::Encap(&inner)]);
    let mut flow = Flow::ZERO;
    assert_eq!(OdpKey(&dumped).to_flow(1, &mut flow), Ok(Fitness::TooMuch));
    assert_eq!((flow.vlan_count(), flow.dl_type.get()), (1, 0x8100));

    let cut_off = encode(&[ETH, KeyAttr::EtherType(0x8100), KeyAttr::Vlan(0), KeyAttr::Encap(&[])]);
    assert_eq!(decode_key(&cut_off).unwrap().0, Fitness::Perfect);
    let bare = encode(&[ETH, KeyAttr::EtherType(0x8100)]);
    assert_eq!(decode_key(&bare).unwrap().0, Fitness::TooLittle);
}

#[test]
fn mpls_stacks_end_in_their_last_label() {
    let mpls = |lses: &[u32]| {
        let value: Vec<u8> = lses.iter().flat_map(|l| l.to_be_bytes()).collect();
        decode_key(&encode(&[ETH, KeyAttr::EtherType(0x8847), KeyAttr::Mpls(&value)]))
            .map(|(fitness, _)| fitness)
    };
    assert_eq!(mpls(&[0x1100]), Ok(Fitness::Perfect));
    assert_eq!(mpls(&[0x1000]), Ok(Fitness::TooLittle));
    assert_eq!(mpls(&[0x1000, 0x2000, 0x3000]), Ok(Fitness::Perfect));
    assert_eq!(mpls(&[0x1000, 0x2000, 0x3000, 0x4100]), Ok(Fitness::TooMuch));
    assert_eq!(mpls(&[0x1100, 0x2100]), Err(KeyError::MplsBos));
}

/// The bytes of a line of a fixture, and without the attributes that a flow does not hold.
fn without_exthdrs(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut w = AttrWriter::new(&mut out);
    for attr in KeyAttrs::new(key) {
        match attr.unwrap() {
            KeyAttr::Ipv6Exthdrs(_) => {}
            KeyAttr::Encap(inside) => KeyAttr::Encap(&without_exthdrs(inside)).write(&mut w),
            attr => attr.write(&mut w),
        }
    }
    out
}

#[test]
fn keys_of_the_kernel_come_back_byte_for_byte() {
    let mut count = 0;
    for key in crate::odp::dice::hex_lines(include_str!("upcalls.txt")) {
        let key = &key[0];
        let has = |kind| KeyAttrs::new(key).any(|a| a.unwrap().kind() == kind);
        let support = Support { ct_zone: has(OVS_KEY_ATTR_CT_ZONE), ..Support::default() };
        let mut flow = Flow::ZERO;
        let fitness = OdpKey(key).to_flow(2, &mut flow);
        if let Err(KeyError::EtherType(0) | KeyError::Attr(_)) = fitness {
            // A tag or a label that was cut off: which it was is not told.
            continue;
        }
        assert_eq!(fitness, Ok(Fitness::Perfect));
        let mut again = Vec::new();
        key_from_flow(&flow, &support, &mut again).unwrap();
        assert_eq!(again, without_exthdrs(key));
        count += 1;
    }
    assert!(count > 90, "{count}");
}
