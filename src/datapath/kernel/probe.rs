//! What the running kernel's datapath can do, found by trying to install flows.
//!
//! What always holds: every trial carries the probe flag, so that the kernel logs nothing; each flow
//! is under a port number that no port has, so that it neither meets traffic nor other flows, and is
//! removed again.
//!
//! While a datapath is opened, on that thread.

use std::fs;

use ovs_netlink::{
    Error, Families,
    attr::{AttrError, AttrWriter},
    flow::{FlowDel, FlowGet, FlowId, FlowMsg, FlowPut, IfExists, UfidFlags},
    msg::{MsgBuf, MsgFlags},
    uapi,
};

use super::Channel;
use crate::datapath::{Dispatch, Feature, Support};

/// The highest number that a port can have in a flow key; ports are given out from the lowest.
const PROBE_PORT: u32 = 0xfffe;
const PROBE_UFID: [u8; 16] = *b"rovs probe  ufid";
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_8021AD: u16 = 0x88a8;
const ETH_P_MPLS_UC: u16 = 0x8847;
const TAG_PRESENT: u16 = 0x1001;
const NESTING_MAX: u32 = 10;
const MPLS_LABELS_MAX: u32 = 3;

type Written = Result<(), AttrError>;

/// Tries everything.
pub(super) fn probe(
    channel: &mut Channel,
    families: &Families,
    dp_ifindex: u32,
    dispatch: Dispatch,
    strict: bool,
) -> Support {
    let mut p = Prober { channel, families, dp_ifindex, key: Vec::new(), actions: Vec::new() };
    Support {
        dispatch,
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
            .map_or_else(|_| "unknown".to_owned(), |release| release.trim().to_owned()),
        refuses_unknown_features: strict,
        ufid: p.ufid(),
        recirc: p.key(|w| {
            w.u32(uapi::OVS_KEY_ATTR_RECIRC_ID, 1);
            w.u32(uapi::OVS_KEY_ATTR_DP_HASH, 1);
            ethernet(w, 0x1234);
        }),
        max_vlan_headers: p.depth(2, |p, depth| p.key(|w| write_tags(w, depth))),
        max_mpls_depth: p.depth(MPLS_LABELS_MAX, |p, depth| {
            p.key(|w| {
                ethernet(w, ETH_P_MPLS_UC);
                let labels: Vec<u8> = (1..=depth).flat_map(|n| mpls_label(n == depth)).collect();
                w.bytes(uapi::OVS_KEY_ATTR_MPLS, &labels);
            })
        }),
        masked_set: p.actions(|w| {
            let nest = w.begin(uapi::OVS_ACTION_ATTR_SET_MASKED);
            w.bytes(uapi::OVS_KEY_ATTR_ETHERNET, &[[0x50; 12], [0x7f; 12]].concat());
            w.end(nest)
        }),
        trunc: p.actions(|w| {
            w.u32(uapi::OVS_ACTION_ATTR_TRUNC, 60);
            Ok(())
        }),
        clone: p.actions(|w| {
            let nest = w.begin(uapi::OVS_ACTION_ATTR_CLONE);
            w.end(nest)
        }),
        sample_nesting: p.depth(NESTING_MAX, |p, depth| p.actions(|w| write_samples(w, depth))),
        ct_state: p.ct_state(1),
        ct_zone: p.ct(|w| w.u16(uapi::OVS_KEY_ATTR_CT_ZONE, 1)),
        ct_mark: p.ct(|w| w.u32(uapi::OVS_KEY_ATTR_CT_MARK, 1)),
        ct_label: p.ct(|w| w.bytes(uapi::OVS_KEY_ATTR_CT_LABELS, &[1; 16])),
        ct_state_nat: p.ct_state(uapi::OVS_CS_F_TRACKED | uapi::OVS_CS_F_NAT_MASK),
        ct_orig_tuple: p.key(|w| {
            w.u32(uapi::OVS_KEY_ATTR_CT_STATE, 1);
            w.bytes(uapi::OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4, &[1; 16]);
            write_ipv4(w);
        }),
        ct_orig_tuple6: p.key(|w| {
            w.u32(uapi::OVS_KEY_ATTR_CT_STATE, 1);
            w.bytes(uapi::OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6, &[1; 40]);
            ethernet(w, ETH_P_IPV6);
            w.bytes(uapi::OVS_KEY_ATTR_IPV6, &[0; 40]);
        }),
        ct_eventmask: p.ct_action(|w| w.u32(uapi::OVS_CT_ATTR_EVENTMASK, 1)),
        ct_clear: p.actions(|w| {
            w.flag(uapi::OVS_ACTION_ATTR_CT_CLEAR);
            Ok(())
        }),
        ct_zero_snat: p.ct_nat(|w| {
            w.flag(uapi::OVS_NAT_ATTR_SRC);
            w.bytes(uapi::OVS_NAT_ATTR_IP_MIN, &[0; 4]);
        }),
        ct_timeout: p.ct_action(|w| w.str(uapi::OVS_CT_ATTR_TIMEOUT, "ovs_test_tp")),
        max_hash_alg: p.depth(1, |p, alg| {
            p.actions(|w| {
                w.bytes(uapi::OVS_ACTION_ATTR_HASH, &[alg.to_ne_bytes(), [0; 4]].concat());
                Ok(())
            })
        }),
        check_pkt_len: p.actions(|w| {
            let nest = w.begin(uapi::OVS_ACTION_ATTR_CHECK_PKT_LEN);
            w.u16(uapi::OVS_CHECK_PKT_LEN_ATTR_PKT_LEN, 100);
            w.flag(uapi::OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER);
            w.flag(uapi::OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL);
            w.end(nest)
        }),
        drop_action: p.actions(|w| {
            w.u32(uapi::OVS_ACTION_ATTR_DROP, 0);
            Ok(())
        }),
        add_mpls: p.actions(|w| {
            let [t0, t1] = ETH_P_MPLS_UC.to_be_bytes();
            let [f0, f1] = uapi::OVS_MPLS_L3_TUNNEL_FLAG_MASK.to_ne_bytes();
            let argument = [&mpls_label(true)[..], &[t0, t1, f0, f1]].concat();
            w.bytes(uapi::OVS_ACTION_ATTR_ADD_MPLS, &argument);
            Ok(())
        }),
        psample: p.actions(|w| {
            let nest = w.begin(uapi::OVS_ACTION_ATTR_PSAMPLE);
            w.u32(uapi::OVS_PSAMPLE_ATTR_GROUP, 10);
            w.bytes(uapi::OVS_PSAMPLE_ATTR_COOKIE, &[1; 16]);
            w.end(nest)
        }),
    }
}

struct Prober<'a> {
    channel: &'a mut Channel,
    families: &'a Families,
    dp_ifindex: u32,
    key: Vec<u8>,
    actions: Vec<u8>,
}

impl Prober<'_> {
    /// Whether flows with such a key can be installed.
    fn key(&mut self, write: impl FnOnce(&mut AttrWriter<'_>)) -> Feature<bool> {
        self.key.clear();
        self.actions.clear();
        let mut w = AttrWriter::new(&mut self.key);
        w.u32(uapi::OVS_KEY_ATTR_IN_PORT, PROBE_PORT);
        write(&mut w);
        feature(self.try_flow(None))
    }

    /// Whether flows with such actions can be installed.
    fn actions(&mut self, write: impl FnOnce(&mut AttrWriter<'_>) -> Written) -> Feature<bool> {
        self.key.clear();
        self.actions.clear();
        let mut w = AttrWriter::new(&mut self.key);
        w.u32(uapi::OVS_KEY_ATTR_IN_PORT, PROBE_PORT);
        write_ipv4(&mut w);
        feature(write(&mut AttrWriter::new(&mut self.actions)).map_err(Error::Encode))
            .and(|| feature(self.try_flow(None)))
    }

    fn ct(&mut self, write: impl FnOnce(&mut AttrWriter<'_>)) -> Feature<bool> {
        self.key(|w| {
            write(w);
            ethernet(w, 0x1234);
        })
    }

    fn ct_state(&mut self, bits: u32) -> Feature<bool> {
        self.ct(|w| w.u32(uapi::OVS_KEY_ATTR_CT_STATE, bits))
    }

    fn ct_nat(&mut self, write: impl FnOnce(&mut AttrWriter<'_>)) -> Feature<bool> {
        self.actions(|w| {
            let ct = w.begin(uapi::OVS_ACTION_ATTR_CT);
            w.flag(uapi::OVS_CT_ATTR_COMMIT);
            let nat = w.begin(uapi::OVS_CT_ATTR_NAT);
            write(w);
            w.end(nat)?;
            w.end(ct)
        })
    }

    fn ct_action(&mut self, write: impl FnOnce(&mut AttrWriter<'_>)) -> Feature<bool> {
        self.actions(|w| {
            let nest = w.begin(uapi::OVS_ACTION_ATTR_CT);
            w.flag(uapi::OVS_CT_ATTR_COMMIT);
            write(w);
            w.end(nest)
        })
    }

    /// The highest number up to `most` for which all from 1 on succeed.
    fn depth(
        &mut self,
        most: u32,
        mut one: impl FnMut(&mut Self, u32) -> Feature<bool>,
    ) -> Feature<u32> {
        for depth in 1..=most {
            let found = one(self, depth);
            if !found.value {
                return Feature { value: depth - 1, errno: found.errno };
            }
        }
        Feature::found(most)
    }

    fn ufid(&mut self) -> Feature<bool> {
        self.key.clear();
        self.actions.clear();
        let mut w = AttrWriter::new(&mut self.key);
        w.u32(uapi::OVS_KEY_ATTR_IN_PORT, PROBE_PORT);
        ethernet(&mut w, 0x1234);
        feature(self.try_flow(Some(PROBE_UFID)))
    }

    /// Installs the flow, looks whether it is there as it was meant, and removes it.
    fn try_flow(&mut self, ufid: Option<[u8; 16]>) -> Result<(), Error> {
        let (dp_ifindex, family) = (self.dp_ifindex, self.families.flow.id);
        let socket = &mut self.channel.socket;
        let id = ufid.map_or(FlowId::Key(&self.key), FlowId::Ufid);
        let mut buf = MsgBuf::new();
        // One left over from a run that was killed here is replaced.
        FlowPut {
            dp_ifindex,
            key: &self.key,
            mask: None,
            actions: &self.actions,
            ufid,
            if_exists: IfExists::Replace,
            probe: true,
            clear: false,
        }
        .append(&mut buf, family, MsgFlags::empty(), 0)
        .map_err(Error::Encode)?;
        socket.transact(&mut buf)?;
        buf.clear();
        FlowGet { dp_ifindex, id, omit: UfidFlags::empty() }
            .append(&mut buf, family, MsgFlags::empty(), 0)
            .map_err(Error::Encode)?;
        let shown = match socket.transact(&mut buf) {
            Ok(Some(message)) => {
                let flow = FlowMsg::parse(message.genl()?.body)?;
                if flow.ufid == ufid { Ok(()) } else { Err(Error::NoObject) }
            }
            Ok(None) => Err(Error::NoObject),
            Err(e) => Err(e),
        };
        buf.clear();
        FlowDel { dp_ifindex, id, terse: true }
            .append(&mut buf, family, MsgFlags::empty(), 0)
            .map_err(Error::Encode)?;
        // Where ids are unknown the flow is there under its key.
        if socket.transact(&mut buf).is_err() && ufid.is_some() {
            buf.clear();
            FlowDel { dp_ifindex, id: FlowId::Key(&self.key), terse: true }
                .append(&mut buf, family, MsgFlags::empty(), 0)
                .map_err(Error::Encode)?;
            socket.transact(&mut buf)?;
        }
        shown
    }
}

impl Feature<bool> {
    fn and(self, next: impl FnOnce() -> Self) -> Self {
        if self.value { next() } else { self }
    }
}

fn feature(result: Result<(), Error>) -> Feature<bool> {
    match result {
        Ok(()) => Feature::found(true),
        Err(e) => Feature { value: false, errno: e.errno().unwrap_or(0) },
    }
}

fn ethernet(w: &mut AttrWriter<'_>, ty: u16) {
    w.bytes(uapi::OVS_KEY_ATTR_ETHERNET, &[0; 12]);
    w.be16(uapi::OVS_KEY_ATTR_ETHERTYPE, ty);
}

fn write_ipv4(w: &mut AttrWriter<'_>) {
    ethernet(w, ETH_P_IP);
    w.bytes(uapi::OVS_KEY_ATTR_IPV4, &[0; 12]);
}

/// An IPv4 key below `depth` tags.
fn write_tags(w: &mut AttrWriter<'_>, depth: u32) {
    w.bytes(uapi::OVS_KEY_ATTR_ETHERNET, &[0; 12]);
    let mut nests = Vec::new();
    for n in 0..depth {
        let inner = n + 1 == depth;
        w.be16(uapi::OVS_KEY_ATTR_ETHERTYPE, if inner { ETH_P_8021Q } else { ETH_P_8021AD });
        w.be16(uapi::OVS_KEY_ATTR_VLAN, TAG_PRESENT);
        nests.push(w.begin(uapi::OVS_KEY_ATTR_ENCAP));
    }
    w.be16(uapi::OVS_KEY_ATTR_ETHERTYPE, ETH_P_IP);
    w.bytes(uapi::OVS_KEY_ATTR_IPV4, &[0; 12]);
    while let Some(nest) = nests.pop() {
        // The writer remembers a failure; so short a key has none.
        let _ = w.end(nest);
    }
}

fn write_samples(w: &mut AttrWriter<'_>, depth: u32) -> Written {
    let sample = w.begin(uapi::OVS_ACTION_ATTR_SAMPLE);
    w.u32(uapi::OVS_SAMPLE_ATTR_PROBABILITY, 1);
    let actions = w.begin(uapi::OVS_SAMPLE_ATTR_ACTIONS);
    if depth > 1 {
        write_samples(w, depth - 1)?;
    }
    w.end(actions)?;
    w.end(sample)
}

/// Label 1; `last` has the bottom-of-stack bit.
fn mpls_label(last: bool) -> [u8; 4] {
    (1 << 12 | u32::from(last) << 8 | 64u32).to_be_bytes()
}
