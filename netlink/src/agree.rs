//! Whether the actions that the kernel tells are the ones it was told.
//!
//! The kernel keeps actions in a form of its own and tells them from there: the branches of
//! check_pkt_len the other way round, conntrack attributes in its own order and with what was left
//! out (zone 0, the last address of a range of one), tunnel attributes sorted and padded. Bytes therefore
//! differ where nothing does.
//!
//! What always holds: actions whose bytes are equal agree; no input makes it
//! panic or recurse deeper than [`ACTION_DEPTH_MAX`]. The test against a real kernel is
//! `tests/kernel_flows.rs`.
//!
//! Plain functions: any thread, no allocation. Source: `net/openvswitch/flow_netlink.c`
//! (`ovs_nla_put_actions`), `net/openvswitch/conntrack.c` (`ovs_ct_action_to_attr`).

use crate::action::{ACTION_DEPTH_MAX, Action, Actions};
use crate::ct::{Ct, Nat};
use crate::key::KeyAttr;
use crate::tunnel::{TunnelAttr, TunnelAttrs};

/// Whether two encoded lists of actions do the same. Lists that are malformed or nest too deep
/// agree with nothing.
pub fn actions_agree(a: &[u8], b: &[u8]) -> bool {
    lists_agree(a, b, ACTION_DEPTH_MAX)
}

fn lists_agree(a: &[u8], b: &[u8], depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    let (mut a, mut b) = (Actions::new(a), Actions::new(b));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(Ok(a)), Some(Ok(b))) if agree(&a, &b, depth) => {}
            _ => return false,
        }
    }
}

fn agree(a: &Action<'_>, b: &Action<'_>, depth: usize) -> bool {
    use Action::{CheckPktLen, Clone, DecTtl, Sample, Set};
    match (*a, *b) {
        (Clone(a), Clone(b)) | (DecTtl(a), DecTtl(b)) => lists_agree(a, b, depth),
        (Sample { probability: p, actions: a }, Sample { probability: q, actions: b }) => {
            p == q && lists_agree(a, b, depth)
        }
        (
            CheckPktLen { pkt_len: p, greater: a, less_equal: c },
            CheckPktLen { pkt_len: q, greater: b, less_equal: d },
        ) => p == q && lists_agree(a, b, depth) && lists_agree(c, d, depth),
        (Action::Ct(a), Action::Ct(b)) => match (Ct::parse(a), Ct::parse(b)) {
            (Ok(a), Ok(b)) => filled_in(a) == filled_in(b),
            _ => a == b,
        },
        (Set(KeyAttr::Tunnel(a)), Set(KeyAttr::Tunnel(b))) => {
            tunnel_within(a, b) && tunnel_within(b, a)
        }
        (a, b) => a == b,
    }
}

/// The action with everything said that it means.
fn filled_in(ct: Ct<'_>) -> Ct<'_> {
    let nat = ct.nat.map(|nat| Nat {
        ip_max: nat.ip_max.or(nat.ip_min),
        proto_max: nat.proto_max.or(nat.proto_min),
        ..nat
    });
    Ct {
        zone: ct.zone.or(Some(0)),
        mark: ct.mark.filter(|&(_, mask)| mask != 0),
        labels: ct.labels.filter(|(_, mask)| *mask != [0; 16]),
        nat,
        ..ct
    }
}

/// Whether each attribute of tunnel key `a` is in `b` too.
fn tunnel_within(a: &[u8], b: &[u8]) -> bool {
    TunnelAttrs::new(a).all(|attr| match attr {
        Ok(TunnelAttr::Pad) => true,
        Ok(_) => TunnelAttrs::new(b).any(|other| other == attr),
        Err(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::attr::AttrWriter;
    use crate::ct::{Commit, NatEnd};
    use crate::uapi::*;

    fn encode(f: impl Fn(&mut AttrWriter<'_>)) -> Vec<u8> {
        let mut buf = Vec::new();
        f(&mut AttrWriter::new(&mut buf));
        buf
    }

    fn ct(ct: Ct<'_>) -> Vec<u8> {
        encode(|w| ct.write(w))
    }

    #[test]
    fn order_of_branches_does_not_matter_but_which_is_which_does() {
        let list = |port| encode(|w| Action::Output(port).write(w));
        let write = |first: u16, a: u32, second: u16, b: u32| {
            encode(|w| {
                let action = w.begin(OVS_ACTION_ATTR_CHECK_PKT_LEN);
                w.u16(OVS_CHECK_PKT_LEN_ATTR_PKT_LEN, 100);
                w.bytes(first, &list(a));
                w.bytes(second, &list(b));
                w.end(action).unwrap();
            })
        };
        const GT: u16 = OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER;
        const LE: u16 = OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL;
        assert!(actions_agree(&write(GT, 1, LE, 2), &write(LE, 2, GT, 1)));
        assert!(!actions_agree(&write(GT, 1, LE, 2), &write(GT, 2, LE, 1)));
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let nat = Nat {
            end: Some(NatEnd::Src),
            ip_min: Some([10, 0, 0, 1].into()),
            proto_min: Some(5),
            ..Nat::default()
        };
        let told = Ct { commit: Commit::Yes, nat: Some(nat), mark: Some((0, 0)), ..Ct::default() };
        let nat = Nat { ip_max: nat.ip_min, proto_max: Some(5), ..nat };
        let tells = Ct { commit: Commit::Yes, nat: Some(nat), zone: Some(0), ..Ct::default() };
        assert!(actions_agree(&ct(told), &ct(tells)));
        assert!(!actions_agree(&ct(told), &ct(Ct { zone: Some(1), ..tells })));
        assert!(!actions_agree(&ct(told), &ct(Ct { commit: Commit::Force, ..tells })));
        let nat = Nat { proto_max: Some(6), ..nat };
        assert!(!actions_agree(&ct(told), &ct(Ct { nat: Some(nat), ..tells })));
    }

    #[test]
    fn tunnel_attributes_are_a_set() {
        let set = |attrs: &[TunnelAttr<'_>]| {
            let key = encode(|w| attrs.iter().for_each(|a| a.write(w)));
            encode(|w| Action::Set(KeyAttr::Tunnel(&key)).write(w))
        };
        let (id, ttl) = (TunnelAttr::Id(1), TunnelAttr::Ttl(64));
        assert!(actions_agree(&set(&[id, ttl]), &set(&[ttl, TunnelAttr::Pad, id])));
        assert!(!actions_agree(&set(&[id, ttl]), &set(&[ttl])));
        assert!(!actions_agree(&set(&[id]), &set(&[id, TunnelAttr::Csum])));
    }

    #[test]
    fn length_matters_and_depth_is_bounded() {
        let one = encode(|w| Action::Output(1).write(w));
        let two = encode(|w| [1, 1].map(Action::Output).iter().for_each(|a| a.write(w)));
        assert!(actions_agree(&two, &two) && actions_agree(&[], &[]));
        assert!(!actions_agree(&one, &two) && !actions_agree(&two, &one));
        let mut deep = one;
        for nested in 1..ACTION_DEPTH_MAX + 4 {
            deep = encode(|w| Action::Clone(&deep).write(w));
            assert_eq!(actions_agree(&deep, &deep), nested < ACTION_DEPTH_MAX, "{nested}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end(
            a in proptest::collection::vec(any::<u8>(), 0..200),
            b in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            prop_assert_eq!(actions_agree(&a, &b), actions_agree(&b, &a));
            let _ = actions_agree(&a, &a);
        }
    }
}
