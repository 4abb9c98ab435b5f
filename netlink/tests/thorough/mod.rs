//! Looks at everything in some bytes that may be anything, and checks what must hold for anything:
//! nothing panics, and what was understood is understood the same when written again.
//!
//! Used by the property tests of recordings and by the fuzz targets.

use ovs_netlink::action::{ACTION_DEPTH_MAX, Action, Actions};
use ovs_netlink::agree::actions_agree;
use ovs_netlink::attr::{AttrWriter, Attrs};
use ovs_netlink::ct::{Ct, CtAttr, CtAttrs, Nat, NatAttrs};
use ovs_netlink::flow::FlowMsg;
use ovs_netlink::key::{KeyAttr, KeyAttrs, mpls_lses};
use ovs_netlink::msg::Genl;
use ovs_netlink::nsh::{MaskedNshAttrs, NshAttrs};
use ovs_netlink::packet::Upcall;
use ovs_netlink::tunnel::{GeneveOpts, TunnelAttr, TunnelAttrs, vxlan_gbp};

fn written(write: impl FnOnce(&mut AttrWriter<'_>)) -> Vec<u8> {
    let mut buf = Vec::new();
    let mut w = AttrWriter::new(&mut buf);
    write(&mut w);
    w.finish().unwrap();
    buf
}

/// Walks with `$walker` and has each item that is understood written and read again.
macro_rules! again {
    ($walker:ident, $list:expr, $item:ident => $inside:expr) => {
        for $item in $walker::new($list).map_while(Result::ok) {
            let bytes = written(|w| $item.write(w));
            assert_eq!($walker::new(&bytes).collect::<Result<Vec<_>, _>>().unwrap(), [$item]);
            $inside
        }
    };
}

/// A key or mask.
pub fn key(list: &[u8], depth: usize) {
    again!(KeyAttrs, list, attr => match attr {
        KeyAttr::Encap(inner) if depth > 0 => key(inner, depth - 1),
        KeyAttr::Tunnel(value) => tunnel(value),
        KeyAttr::Nsh(value) => nsh(value),
        KeyAttr::Mpls(value) => assert_eq!(mpls_lses(value).count(), value.len() / 4),
        _ => {}
    });
}

/// A tunnel key.
pub fn tunnel(list: &[u8]) {
    again!(TunnelAttrs, list, attr => match attr {
        TunnelAttr::GeneveOpts(value) => {
            let mut again = Vec::new();
            for option in GeneveOpts::new(value).map_while(Result::ok) {
                option.append(&mut again).unwrap();
            }
            assert!(value.starts_with(&again));
        }
        TunnelAttr::VxlanOpts(value) => drop(vxlan_gbp(value)),
        _ => {}
    });
}

/// A network service header, of a key and of a set_masked action.
pub fn nsh(list: &[u8]) {
    again!(NshAttrs, list, _attr => {});
    again!(MaskedNshAttrs, list, _attr => {});
}

/// A list of actions.
pub fn actions(list: &[u8]) {
    let _ = actions_agree(list, list);
    actions_within(list, ACTION_DEPTH_MAX);
}

fn actions_within(list: &[u8], depth: usize) {
    let Some(depth) = depth.checked_sub(1) else { return };
    again!(Actions, list, action => match action {
        Action::Set(KeyAttr::Tunnel(value)) => tunnel(value),
        Action::Set(KeyAttr::Nsh(value))
        | Action::SetMaskedNsh(value)
        | Action::PushNsh(value) => nsh(value),
        Action::Ct(value) => ct(value),
        Action::Sample { actions: list, .. } | Action::Clone(list) | Action::DecTtl(list) => {
            actions_within(list, depth);
        }
        Action::CheckPktLen { greater, less_equal, .. } => {
            actions_within(greater, depth);
            actions_within(less_equal, depth);
        }
        _ => {}
    });
}

/// A conntrack action.
pub fn ct(list: &[u8]) {
    again!(CtAttrs, list, attr => if let CtAttr::Nat(value) = attr { nat(value) });
    if let Ok(ct) = Ct::parse(list) {
        let bytes = written(|w| ct.write(w));
        let action = Attrs::new(&bytes).next().unwrap().unwrap();
        assert_eq!(Ct::parse(action.value), Ok(ct));
        assert!(actions_agree(&bytes, &bytes));
    }
}

fn nat(list: &[u8]) {
    again!(NatAttrs, list, _attr => {});
    if let Ok(nat) = Nat::parse(list) {
        let bytes = written(|w| nat.write(w));
        assert_eq!(Nat::parse(Attrs::new(&bytes).next().unwrap().unwrap().value), Ok(nat));
    }
}

/// A message of the flow family, behind the generic netlink header.
pub fn flow(body: &[u8]) {
    let Ok(flow) = FlowMsg::parse(body) else { return };
    flow.key.into_iter().chain(flow.mask).for_each(|list| key(list, 8));
    flow.actions.into_iter().for_each(actions);
    let mut again = flow.dp_ifindex.to_ne_bytes().to_vec();
    let mut w = AttrWriter::new(&mut again);
    flow.write(&mut w);
    w.finish().unwrap();
    let back = FlowMsg::parse(&again).unwrap();
    assert_eq!(FlowMsg { attrs: flow.attrs, ..back }, flow);
}

/// A message of the packet family.
pub fn packet(genl: Genl<'_>) {
    let Ok(upcall) = Upcall::parse(genl) else { return };
    key(upcall.key, 8);
    upcall.egress_tun_key.into_iter().for_each(tunnel);
    upcall.actions.into_iter().for_each(actions);
    assert!(upcall.attrs().all(|attr| attr.is_ok()));
}
