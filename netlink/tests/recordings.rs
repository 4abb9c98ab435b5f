//! Everything that stock kernels and the stock daemon were seen to say is understood down to the
//! last attribute, and written back byte by byte.

mod recording;

use std::collections::BTreeSet;

use ovs_netlink::action::{Action, Actions};
use ovs_netlink::attr::{Attr, AttrWriter, Attrs};
use ovs_netlink::ct::{Ct, CtAttr, CtAttrs, Nat, NatAttr, NatAttrs};
use ovs_netlink::datapath::Datapath;
use ovs_netlink::flow::FlowMsg;
use ovs_netlink::key::{KeyAttr, KeyAttrs, mpls_lses};
use ovs_netlink::msg::Genl;
use ovs_netlink::nsh::{MaskedNshAttr, MaskedNshAttrs, NshAttr, NshAttrs};
use ovs_netlink::packet::Upcall;
use ovs_netlink::tunnel::{GeneveOpts, TunnelAttr, TunnelAttrs, vxlan_gbp};
use ovs_netlink::uapi::*;
use ovs_netlink::vport::Vport;
use recording::{Recorded, files, messages};

/// What was seen in all recordings together.
#[derive(Default)]
struct Seen {
    keys: BTreeSet<u16>,
    tunnel: BTreeSet<u16>,
    actions: BTreeSet<u16>,
    ct: BTreeSet<u16>,
    nat: BTreeSet<u16>,
    nsh: BTreeSet<u16>,
    /// Whether the message at hand is from the kernel.
    from_kernel: bool,
}

fn rewritten(write: impl FnOnce(&mut AttrWriter<'_>)) -> Vec<u8> {
    let mut buf = Vec::new();
    let mut w = AttrWriter::new(&mut buf);
    write(&mut w);
    w.finish().unwrap();
    buf
}

impl Seen {
    /// Reads a key or mask with all that is in it, and writes it again.
    fn key(&mut self, list: &[u8], is_mask: bool) -> Vec<u8> {
        rewritten(|w| {
            for attr in KeyAttrs::new(list) {
                let attr = attr.unwrap();
                self.keys.insert(attr.kind());
                match attr {
                    KeyAttr::Encap(inner) => KeyAttr::Encap(&self.key(inner, is_mask)).write(w),
                    KeyAttr::Tunnel(tunnel) => {
                        KeyAttr::Tunnel(&self.tunnel(tunnel, is_mask)).write(w);
                    }
                    KeyAttr::Nsh(nsh) => KeyAttr::Nsh(&self.nsh(nsh)).write(w),
                    KeyAttr::Mpls(lses) => {
                        let again: Vec<u8> = mpls_lses(lses).flat_map(u32::to_be_bytes).collect();
                        KeyAttr::Mpls(&again).write(w);
                    }
                    KeyAttr::Unknown { kind, .. } => panic!("unknown key attribute {kind}"),
                    other => other.write(w),
                }
            }
        })
    }

    fn tunnel(&mut self, list: &[u8], is_mask: bool) -> Vec<u8> {
        rewritten(|w| {
            for attr in TunnelAttrs::new(list) {
                let attr = attr.unwrap();
                self.tunnel.insert(attr.kind());
                match attr {
                    TunnelAttr::GeneveOpts(options) if !is_mask => {
                        let mut again = Vec::new();
                        for option in GeneveOpts::new(options) {
                            option.unwrap().append(&mut again).unwrap();
                        }
                        TunnelAttr::GeneveOpts(&again).write(w);
                    }
                    TunnelAttr::VxlanOpts(options) => {
                        assert!(vxlan_gbp(options).unwrap().is_some());
                        attr.write(w);
                    }
                    TunnelAttr::Unknown { kind, .. } => panic!("unknown tunnel attribute {kind}"),
                    other => other.write(w),
                }
            }
        })
    }

    fn nsh(&mut self, list: &[u8]) -> Vec<u8> {
        rewritten(|w| {
            for attr in NshAttrs::new(list) {
                let attr = attr.unwrap();
                self.nsh.insert(attr.kind());
                assert!(!matches!(attr, NshAttr::Unknown { .. }), "{attr:?}");
                attr.write(w);
            }
        })
    }

    /// Reads actions with all that is in them, and writes them again.
    fn actions(&mut self, list: &[u8]) -> Vec<u8> {
        rewritten(|w| {
            for attr in Attrs::new(list) {
                let attr = attr.unwrap();
                let action = Action::parse(attr).unwrap();
                self.actions.insert(action.kind());
                match action {
                    Action::Clone(list) => Action::Clone(&self.actions(list)).write(w),
                    Action::DecTtl(list) => Action::DecTtl(&self.actions(list)).write(w),
                    Action::Sample { probability, actions } => {
                        let actions = self.actions(actions);
                        in_order(w, attr, |w, kind| match kind {
                            OVS_SAMPLE_ATTR_PROBABILITY => w.u32(kind, probability),
                            _ => w.bytes(kind, &actions),
                        });
                    }
                    Action::CheckPktLen { pkt_len, greater, less_equal } => {
                        let (greater, less_equal) =
                            (self.actions(greater), self.actions(less_equal));
                        in_order(w, attr, |w, kind| match kind {
                            OVS_CHECK_PKT_LEN_ATTR_PKT_LEN => w.u16(kind, pkt_len),
                            OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER => w.bytes(kind, &greater),
                            _ => w.bytes(kind, &less_equal),
                        });
                    }
                    Action::Set(header) => {
                        let again = self.key(&rewritten(|w| header.write(w)), false);
                        Action::Set(KeyAttrs::new(&again).next().unwrap().unwrap()).write(w);
                    }
                    Action::SetMaskedNsh(list) => {
                        let pairs = MaskedNshAttrs::new(list).map(Result::unwrap);
                        let again = rewritten(|w| {
                            pairs.for_each(|p: MaskedNshAttr<'_>| p.write(w));
                        });
                        Action::SetMaskedNsh(&again).write(w);
                    }
                    Action::PushNsh(list) => Action::PushNsh(&self.nsh(list)).write(w),
                    Action::Ct(list) => {
                        Ct::parse(list).unwrap();
                        Action::Ct(&self.ct(list)).write(w);
                    }
                    Action::Unknown { kind, .. } => panic!("unknown action {kind}"),
                    // The daemon's probe for it fills the padding with a pattern.
                    Action::SetMasked(m) if m.key().kind() == OVS_KEY_ATTR_ND_EXTENSIONS => {
                        w.bytes(attr.kind, attr.value);
                    }
                    // It must be told with a flag, and is told without.
                    Action::Psample { .. } if self.from_kernel => w.bytes(attr.kind, attr.value),
                    other => other.write(w),
                }
            }
        })
    }

    fn ct(&mut self, list: &[u8]) -> Vec<u8> {
        rewritten(|w| {
            for attr in CtAttrs::new(list) {
                let attr = attr.unwrap();
                self.ct.insert(attr.kind());
                match attr {
                    CtAttr::Nat(list) => {
                        Nat::parse(list).unwrap();
                        CtAttr::Nat(&self.nat(list)).write(w);
                    }
                    CtAttr::Unknown { kind, .. } => panic!("unknown ct attribute {kind}"),
                    other => other.write(w),
                }
            }
        })
    }

    fn nat(&mut self, list: &[u8]) -> Vec<u8> {
        rewritten(|w| {
            for attr in NatAttrs::new(list) {
                let attr = attr.unwrap();
                self.nat.insert(attr.kind());
                assert!(!matches!(attr, NatAttr::Unknown { .. }), "{attr:?}");
                attr.write(w);
            }
        })
    }

    fn flow(&mut self, body: &[u8]) {
        let flow = FlowMsg::parse(body).unwrap();
        for (list, is_mask) in [(flow.key, false), (flow.mask, true)] {
            let Some(list) = list else { continue };
            assert_eq!(self.key(list, is_mask), list);
        }
        if let Some(actions) = flow.actions {
            assert_eq!(self.actions(actions), padded(actions));
            assert_eq!(Actions::new(actions).count(), Attrs::new(actions).count());
        }
        assert_eq!(rewritten(|w| flow.write(w)), without(OVS_FLOW_ATTR_PAD, flow.attrs));
    }

    fn packet(&mut self, genl: Genl<'_>) {
        let attrs = match genl.cmd {
            OVS_PACKET_CMD_EXECUTE => Attrs::new(&genl.body[4..]),
            _ => Upcall::parse(genl).unwrap().attrs(),
        };
        for attr in attrs {
            let attr = attr.unwrap();
            match attr.kind {
                OVS_PACKET_ATTR_KEY => assert_eq!(self.key(attr.value, false), attr.value),
                OVS_PACKET_ATTR_ACTIONS => {
                    assert_eq!(self.actions(attr.value), padded(attr.value));
                }
                OVS_PACKET_ATTR_EGRESS_TUN_KEY => {
                    assert_eq!(self.tunnel(attr.value, false), attr.value);
                }
                kind => assert!(kind <= OVS_PACKET_ATTR_MAX, "unknown packet attribute {kind}"),
            }
        }
    }

    fn take(&mut self, recorded: Recorded<'_>) {
        let Recorded { family, genl, .. } = recorded;
        self.from_kernel = recorded.from_kernel;
        match family {
            OVS_FLOW_FAMILY => self.flow(genl.body),
            OVS_PACKET_FAMILY => self.packet(genl),
            OVS_DATAPATH_FAMILY if self.from_kernel => {
                assert_eq!(Datapath::parse(genl.body).unwrap().unknown, []);
            }
            OVS_VPORT_FAMILY if self.from_kernel => {
                assert_eq!(Vport::parse(genl.body).unwrap().unknown, []);
            }
            _ => assert!(Attrs::new(&genl.body[4..]).all(|attr| attr.is_ok())),
        }
    }
}

/// Writes what is in an action in the order in which it came: the two sides have orders of their own.
fn in_order(w: &mut AttrWriter<'_>, action: Attr<'_>, write: impl Fn(&mut AttrWriter<'_>, u16)) {
    let nest = w.begin(action.kind);
    for attr in action.attrs() {
        write(w, attr.unwrap().kind);
    }
    w.end(nest).unwrap();
}

/// A list with the padding of its last attribute, which its writer may have left out.
fn padded(list: &[u8]) -> Vec<u8> {
    let mut list = list.to_vec();
    list.resize(list.len().next_multiple_of(4), 0);
    list
}

/// A list without the attributes that only align 64-bit values, on architectures that need it.
fn without(pad: u16, list: &[u8]) -> Vec<u8> {
    rewritten(|w| {
        for attr in Attrs::new(list).map(Result::unwrap) {
            if attr.kind != pad {
                w.bytes(attr.kind, attr.value);
            }
        }
    })
}

#[test]
fn all_of_it_is_understood_and_written_back() {
    let mut seen = Seen::default();
    for (name, file) in files() {
        for recorded in messages(&file) {
            eprintln!("{name} frame {} {}", recorded.frame, recorded.family);
            seen.take(recorded);
        }
    }
    // What the recordings are worth. Attributes 29 to 31 never travel.
    let to = |n: u16| (1..=n).collect::<BTreeSet<u16>>();
    let mut keys = to(OVS_KEY_ATTR_NSH);
    keys.insert(OVS_KEY_ATTR_IPV6_EXTHDRS);
    assert_eq!(seen.keys, keys);
    assert_eq!(seen.actions, to(OVS_ACTION_ATTR_MAX));
    assert_eq!(seen.tunnel, (0..=OVS_TUNNEL_KEY_ATTR_MAX).collect());
    assert_eq!(&to(OVS_CT_ATTR_EVENTMASK) - &seen.ct, BTreeSet::new());
    assert_eq!(seen.nat, to(OVS_NAT_ATTR_MAX));
    assert_eq!(seen.nsh, to(OVS_NSH_KEY_ATTR_MAX));
}
