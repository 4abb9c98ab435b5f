//! Masks: never wider than asked for, and never more than the key has.

use ovs_netlink::key::{KeyAttr, KeyAttrs};
use proptest::prelude::*;

use super::*;
use crate::flow::FLOW_WORDS;
use crate::odp::dice::{self, Dice};
use crate::odp::key::key_from_flow;

/// `wc` restricted to the bits that are set in `exists`.
fn within(wc: &FlowWildcards, exists: &Flow) -> FlowWildcards {
    let mut both = *wc;
    for (word, exists) in both.masks.words_mut().iter_mut().zip(exists.words()) {
        *word &= exists;
    }
    both
}

fn missing(asked: &FlowWildcards, got: &FlowWildcards) -> Vec<usize> {
    (0..FLOW_WORDS).filter(|&i| asked.masks.words()[i] & !got.masks.words()[i] != 0).collect()
}

/// The mask attributes that the kernel would refuse: those whose type the key lacks.
fn refused(key: &[u8], mask: &[u8]) -> Vec<u16> {
    let find = |kind| Attrs::new(key).find_kind(kind).unwrap();
    let mut bad = Vec::new();
    for attr in KeyAttrs::new(mask) {
        let attr = attr.unwrap();
        let kind = attr.kind();
        match (attr, find(kind).map(|a| a.value)) {
            (KeyAttr::Encap(mask), Some(key)) => bad.extend(refused(key, mask)),
            (_, Some(_))
            | (KeyAttr::Tunnel(_) | KeyAttr::InPort(_) | KeyAttr::EtherType(_), None) => {}
            (_, None) => bad.push(kind),
        }
    }
    bad
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_mask_covers_what_was_asked_for(seed: u64) {
        let mut dice = Dice(seed);
        let (flow, exists) = dice::flow(&mut dice);
        let wc = dice::wildcards(&mut dice);
        let (support, mut key, mut mask) = (Support::default(), Vec::new(), Vec::new());
        key_from_flow(&flow, &support, &mut key).unwrap();
        mask_from_wildcards(&wc, &flow, &support, &mut mask).unwrap();
        let mut got = FlowWildcards::CATCHALL;
        prop_assert_eq!(mask_to_wildcards(&mask, &flow, 2, &mut got), Ok(Fitness::Perfect));
        prop_assert_eq!(missing(&within(&wc, &exists), &got), Vec::<usize>::new());
        prop_assert_eq!(refused(&key, &mask), Vec::<u16>::new());

        // The short form says the same.
        let (mut short_key, mut short_mask) = (Vec::new(), Vec::new());
        minimal_key_and_mask(OdpKey(&key), &flow, &wc, &support, None, &mut short_key, &mut short_mask).unwrap();
        let mut short = FlowWildcards::CATCHALL;
        prop_assert_eq!(mask_to_wildcards(&short_mask, &flow, 2, &mut short), Ok(Fitness::Perfect));
        prop_assert_eq!(missing(&got, &short), Vec::<usize>::new());
        prop_assert_eq!(refused(&short_key, &short_mask), Vec::<u16>::new());
        prop_assert!(short_key.len() <= key.len() && short_mask.len() <= mask.len());
        let mut short_flow = Flow::ZERO;
        prop_assert_eq!(OdpKey(&short_key).to_flow(2, &mut short_flow), Ok(Fitness::Perfect));
        prop_assert!(within(&short, &exists).equal_except(&flow, &short_flow));
    }

    #[test]
    fn no_mask_matches_everything_there_is(seed: u64) {
        let (flow, exists) = dice::flow(&mut Dice(seed));
        let mut got = FlowWildcards::CATCHALL;
        prop_assert_eq!(mask_to_wildcards(&[], &flow, 2, &mut got), Ok(Fitness::Perfect));
        prop_assert_eq!(missing(&FlowWildcards { masks: exists }, &got), Vec::<usize>::new());
    }

    #[test]
    fn any_bytes_are_taken_or_refused(seed: u64, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (flow, _) = dice::flow(&mut Dice(seed));
        let mut wc = FlowWildcards::CATCHALL;
        let _ = mask_to_wildcards(&bytes, &flow, 2, &mut wc);
        let (mut key, mut mask) = (Vec::new(), Vec::new());
        let _ = minimal_key_and_mask(OdpKey(&bytes), &flow, &wc, &Support::default(), None, &mut key, &mut mask);
    }
}

#[test]
fn nothing_asked_for_is_still_exact_where_the_kernel_is() {
    let (flow, _) = dice::flow(&mut Dice(1));
    let (mut key, mut mask, mut short_key) = (Vec::new(), Vec::new(), Vec::new());
    let support = Support::default();
    key_from_flow(&flow, &support, &mut key).unwrap();
    minimal_key_and_mask(
        OdpKey(&key),
        &flow,
        &FlowWildcards::CATCHALL,
        &support,
        None,
        &mut short_key,
        &mut mask,
    )
    .unwrap();
    let kinds: Vec<u16> = Attrs::new(&mask).map(|a| a.unwrap().kind).collect();
    assert_eq!(kinds[..2], [OVS_KEY_ATTR_RECIRC_ID, OVS_KEY_ATTR_IN_PORT]);
    assert!(kinds.contains(&OVS_KEY_ATTR_ETHERTYPE));
    let mut wc = FlowWildcards::CATCHALL;
    mask_to_wildcards(&mask, &flow, 2, &mut wc).unwrap();
    assert_eq!(wc.masks.dl_type.get(), u16::MAX);
}

#[test]
fn masks_are_those_of_the_stock_daemon() {
    let mut count = 0;
    for put in crate::odp::dice::hex_lines(include_str!("puts.txt")) {
        let (key, mask) = (&put[0], &put[1]);
        let has = |kind| kinds(mask).unwrap() & 1u64 << kind != 0;
        let support = Support {
            // As the daemon's default for `vlan-limit`.
            max_vlan_headers: 1,
            ct_zone: has(OVS_KEY_ATTR_CT_ZONE),
            ..Support::default()
        };
        let (mut flow, mut wc) = (Flow::ZERO, FlowWildcards::CATCHALL);
        OdpKey(key).to_flow(1, &mut flow).unwrap();
        let fitness = mask_to_wildcards(mask, &flow, 1, &mut wc);
        assert!(fitness.is_ok(), "{fitness:?}");
        let mut again = Vec::new();
        mask_from_wildcards(&wc, &flow, &support, &mut again).unwrap();
        // That version has them in another order, and leaves some out that are zero, which the kernel
        // takes for the same.
        let sorted = |list| {
            let mut attrs: Vec<_> = Attrs::new(list).map(Result::unwrap).collect();
            attrs.retain(|attr| attr.value.iter().any(|&byte| byte != 0));
            attrs.sort_by_key(|attr| attr.kind);
            attrs.iter().map(|attr| (attr.kind, attr.value.to_vec())).collect::<Vec<_>>()
        };
        assert_eq!(sorted(&again), sorted(mask));
        count += 1;
    }
    assert!(count > 50, "{count}");
}
