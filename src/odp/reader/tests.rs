//! A reader answers as the functions that it saves calls of.

use proptest::prelude::*;

use super::*;
use crate::odp::dice::{self, Dice};
use crate::odp::key::key_from_flow;

/// Reads one key both ways, and encodes it under some wildcards.
fn same(reader: &mut KeyReader, key: &[u8], wildcards: &[FlowWildcards]) {
    let support = Support::default();
    let mut flow = Flow::ZERO;
    let want = OdpKey(key).to_flow(support.max_vlan_headers, &mut flow);
    assert_eq!(reader.read(OdpKey(key)), want);
    if want.is_err() {
        return;
    }
    assert_eq!(reader.flow(), &flow);
    let (mut got, mut want) = (Vec::new(), Vec::new());
    let wanted = metadata_of_packet(OdpKey(key), &flow, &support, &mut want);
    assert_eq!(reader.metadata(OdpKey(key), &mut got), wanted);
    assert_eq!(got, want);
    if let Some(mask) = reader.exact_mask() {
        let mut want = Vec::new();
        assert_eq!(exact_mask(OdpKey(key), &support, &mut want), Ok(true));
        assert_eq!(mask, want);
    }
    for (id, wc) in wildcards.iter().enumerate() {
        // Behind what is there already.
        let mut got = (vec![7; 4], vec![8; 8]);
        let mut want = got.clone();
        let wanted =
            minimal_key_and_mask(OdpKey(key), &flow, wc, &support, None, &mut want.0, &mut want.1);
        let with = (WildcardsId(id as u64), wc);
        assert_eq!(reader.key_and_mask(OdpKey(key), with, &mut got.0, &mut got.1), wanted);
        assert_eq!(got, want);
    }
}

/// A key in which some bytes of an earlier one are others.
fn altered(dice: &mut Dice, key: &[u8]) -> Vec<u8> {
    let mut key = key.to_vec();
    for _ in 0..dice.below(12) {
        if let Some(at) = dice.u64().checked_rem(key.len() as u64) {
            key[at as usize] = dice.of(&[0, 1, 0x10, 0x81, 0xff, dice.0 as u8]);
        }
    }
    if dice.below(10) == 0 {
        key.truncate(dice.below(key.len() as u64 + 1) as usize);
    }
    key
}

/// A key like an earlier one: another packet of the same kind.
fn like(dice: &mut Dice, flow: &Flow) -> Flow {
    let (mut other, _) = dice::flow(dice);
    let mut flow = *flow;
    let keep = |dice: &mut Dice| dice.below(3) == 0;
    macro_rules! take {
        ($($field:ident)*) => { $(if !keep(dice) { flow.$field = other.$field; })* };
    }
    take!(in_port dl_src dl_dst nw_src nw_dst nw_tos nw_ttl ipv6_src ipv6_dst ipv6_label);
    if keep(dice) {
        other.tp_src = 135.into();
        take!(tp_src tp_dst tcp_flags nd_target arp_sha arp_tha nw_frag dp_hash ct_mark);
        take!(ct_nw_src ct_nw_dst ct_tp_src ct_tp_dst ct_nw_proto vlans recirc_id skb_priority);
    }
    flow
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn reading_with_memory_is_reading(seed: u64) {
        let mut dice = Dice(seed);
        let mut reader = KeyReader::new(Support::default());
        let wildcards: Vec<_> =
            (0..MASKS as u64 + 2).map(|_| dice::wildcards(&mut dice)).collect();
        // More kinds of packets than are remembered.
        let kinds: Vec<_> = (0..PATTERNS + 4).map(|_| dice::flow(&mut dice).0).collect();
        for _ in 0..60 {
            let kind = dice.of(&kinds);
            let flow = like(&mut dice, &kind);
            let mut key = Vec::new();
            key_from_flow(&flow, &Support::default(), &mut key).unwrap();
            same(&mut reader, &key, &wildcards);
            same(&mut reader, &altered(&mut dice, &key), &wildcards);
        }
    }
}

#[test]
fn like_keys_are_known_and_others_are_not() {
    let support = Support::default();
    let mut reader = KeyReader::new(support);
    let mut flow = Flow::ZERO;
    (flow.dl_type, flow.nw_proto) = (0x0800.into(), 6);
    let mut read = |flow: &Flow| {
        let mut key = Vec::new();
        key_from_flow(flow, &support, &mut key).unwrap();
        assert_eq!(reader.read(OdpKey(&key)), Ok(Fitness::Perfect));
        assert_eq!(reader.flow(), flow);
        reader.patterns.len()
    };
    assert_eq!(read(&flow), 1);
    (flow.in_port, flow.nw_dst, flow.tp_dst) = (7, [10, 0, 0, 1], 80.into());
    (flow.dl_src.0, flow.tcp_flags, flow.nw_ttl) = ([2; 6], 0x12.into(), 64);
    assert_eq!(read(&flow), 1);
    flow.recirc_id = 1;
    assert_eq!(read(&flow), 2);
    flow.nw_proto = 17;
    flow.tcp_flags = 0.into();
    assert_eq!(read(&flow), 3);
}
