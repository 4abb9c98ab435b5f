//! What the running kernel's datapath can do, found by trying to install flows.
//!
//! What always holds: every trial carries the probe flag, so that the kernel logs nothing; each flow
//! is under a port number that no port has, so that it neither meets traffic nor other flows, and is
//! removed again. All trials leave together: what is to be tried is noted first, and then read from
//! the answers by the same [`survey`].
//!
//! While a datapath is opened, on that thread.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use ovs_netlink::{
    Error, Families,
    attr::{AttrError, AttrWriter},
    flow::{FlowDel, FlowId, FlowMsg, FlowPut, IfExists},
    msg::{Message, MsgBuf, MsgFlags},
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
    let mut p = Prober::default();
    survey(&mut p);
    p.try_all(channel, families, dp_ifindex);
    Support {
        dispatch,
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
            .map_or_else(|_| "unknown".to_owned(), |release| release.trim().to_owned()),
        refuses_unknown_features: strict,
        ..survey(&mut p)
    }
}

/// Goes through all that there is to try.
fn survey(p: &mut Prober) -> Support {
    Support {
        dispatch: Dispatch::default(),
        kernel: String::new(),
        refuses_unknown_features: false,
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

/// A flow to install.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Trial {
    key: Vec<u8>,
    actions: Vec<u8>,
    ufid: Option<[u8; 16]>,
}

#[derive(Default)]
struct Prober {
    key: Vec<u8>,
    actions: Vec<u8>,
    /// What is to be tried; all of it succeeds as long as it was not.
    trials: BTreeSet<Trial>,
    /// What came of it: nothing, or an error number.
    results: Option<BTreeMap<Trial, Result<(), i32>>>,
}

impl Prober {
    /// Whether flows with such a key can be installed.
    fn key(&mut self, write: impl FnOnce(&mut AttrWriter<'_>)) -> Feature<bool> {
        self.key.clear();
        self.actions.clear();
        let mut w = AttrWriter::new(&mut self.key);
        w.u32(uapi::OVS_KEY_ATTR_IN_PORT, PROBE_PORT);
        write(&mut w);
        self.flow(None)
    }

    /// Whether flows with such actions can be installed.
    fn actions(&mut self, write: impl FnOnce(&mut AttrWriter<'_>) -> Written) -> Feature<bool> {
        self.key.clear();
        self.actions.clear();
        let mut w = AttrWriter::new(&mut self.key);
        w.u32(uapi::OVS_KEY_ATTR_IN_PORT, PROBE_PORT);
        write_ipv4(&mut w);
        match write(&mut AttrWriter::new(&mut self.actions)) {
            Ok(()) => self.flow(None),
            Err(_) => Feature { value: false, errno: 0 },
        }
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
        self.flow(Some(PROBE_UFID))
    }

    /// Whether the flow can be installed.
    fn flow(&mut self, ufid: Option<[u8; 16]>) -> Feature<bool> {
        let trial = Trial { key: self.key.clone(), actions: self.actions.clone(), ufid };
        let Some(results) = &self.results else {
            self.trials.insert(trial);
            return Feature::found(true);
        };
        match results.get(&trial) {
            Some(Ok(())) => Feature::found(true),
            Some(Err(errno)) => Feature { value: false, errno: *errno },
            None => Feature { value: false, errno: 0 },
        }
    }

    /// Installs the flows, looks whether each is there as it was meant, and removes those of a key before
    /// the next: what a key leaves out is not matched, and so one flow could be in another's way.
    fn try_all(&mut self, channel: &mut Channel, families: &Families, dp_ifindex: u32) {
        let family = families.flow.id;
        let trials: Vec<&Trial> = self.trials.iter().collect();
        let mut buf = MsgBuf::new();
        // What each message tries.
        let mut tried: Vec<Option<&Trial>> = Vec::new();
        // They are in the order of their keys.
        for of_key in trials.chunk_by(|a, b| a.key == b.key) {
            for trial in of_key {
                // One left over from a run that was killed here is replaced, and so is one of the same key.
                let put = FlowPut {
                    dp_ifindex,
                    key: &trial.key,
                    mask: None,
                    actions: &trial.actions,
                    ufid: trial.ufid,
                    if_exists: IfExists::Replace,
                    probe: true,
                    clear: false,
                };
                if put.append(&mut buf, family, MsgFlags::ECHO, 0).is_ok() {
                    tried.push(Some(trial));
                }
            }
            let ufids = of_key.iter().filter_map(|trial| trial.ufid).map(FlowId::Ufid);
            // Where ids are unknown the flow is there under its key.
            let keys = of_key.first().map(|trial| FlowId::Key(&trial.key));
            for id in ufids.chain(keys) {
                let delete = FlowDel { dp_ifindex, id, terse: true, probe: true };
                if delete.append(&mut buf, family, MsgFlags::empty(), 0).is_ok() {
                    tried.push(None);
                }
            }
        }
        let mut results = BTreeMap::new();
        channel.socket.transact_batch(&mut buf, |index, result| {
            if let Some(Some(trial)) = tried.get(index) {
                results.insert((*trial).clone(), is_there(trial, result));
            }
        });
        self.results = Some(results);
    }
}

/// Whether the kernel shows a flow as it was put; else its error number.
fn is_there(trial: &Trial, shown: Result<Option<Message<'_>>, Error>) -> Result<(), i32> {
    let check = || {
        let message = shown?.ok_or(Error::NoObject)?;
        let flow = FlowMsg::parse(message.genl()?.body)?;
        if flow.ufid == trial.ufid { Ok(()) } else { Err(Error::NoObject) }
    };
    check().map_err(|error: Error| error.errno().unwrap_or(0))
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
