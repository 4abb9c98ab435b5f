//! Datapath actions: `OVS_ACTION_ATTR_*`, one at a time.
//!
//! A list of actions is read with [`Actions`] and written with [`Action::write`]. Lists inside an
//! action stay encoded and are lists for [`Actions`] again. To compose such a list in place, begin
//! the action with [`begin_clone`], [`begin_sample`], [`begin_check_pkt_len`] or [`begin_dec_ttl`],
//! append to the same writer, and end it.
//!
//! What always holds: no input makes the walk panic; an action of unknown type, or with something
//! unknown inside, is kept whole as [`Action::Unknown`], so that nobody takes half of it for all of
//! it; writing what was parsed and parsing that gives the same action. The bytes are the same too if
//! what is inside came in the usual order, which for check_pkt_len is: length, longer, others (the
//! kernel tells the two branches the other way round). How deep lists nest is not bounded by the
//! walk: who recurses stops at [`ACTION_DEPTH_MAX`].
//!
//! Plain values: any thread. Source: `include/uapi/linux/openvswitch.h`,
//! `net/openvswitch/flow_netlink.c`.

use zerocopy::IntoBytes;

use crate::attr::{Attr, AttrError, AttrWriter, NLA_F_NESTED, Nest};
use crate::key::{KeyAttr, view};
use crate::nsh::{halves, write_halves};
use crate::uapi::*;
use crate::walk::walker;

/// How deep the kernel lets lists of actions nest (`OVS_COPY_ACTIONS_MAX_DEPTH`).
pub const ACTION_DEPTH_MAX: usize = 16;

/// One datapath action. Numbers are in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Send to this port number.
    Output(u32),
    /// Send to user space.
    Userspace {
        /// Netlink port id to send to; ignored under per-CPU dispatch.
        pid: u32,
        /// Cookie that the upcall carries back.
        userdata: Option<&'a [u8]>,
        /// Output port whose tunnel key the upcall is to carry.
        egress_tun_port: Option<u32>,
        /// The upcall is to carry the actions.
        actions: bool,
    },
    /// Overwrite a header. In practice the tunnel to leave by.
    Set(KeyAttr<'a>),
    /// Overwrite bits of a header.
    SetMasked(MaskedKeyAttr<'a>),
    /// Overwrite bits of a network service header: a list for
    /// [`MaskedNshAttrs`](crate::nsh::MaskedNshAttrs). Defined, and refused by every kernel: their
    /// check takes the pairs for single values.
    SetMaskedNsh(&'a [u8]),
    /// Push a VLAN tag.
    PushVlan {
        /// 0x8100 or 0x88a8.
        tpid: u16,
        /// TCI, with bit 0x1000 set.
        tci: u16,
    },
    /// Pop the outermost VLAN tag.
    PopVlan,
    /// Do these actions to a part of the packets, on a copy.
    Sample {
        /// Fraction of `u32::MAX`.
        probability: u32,
        /// The actions.
        actions: &'a [u8],
    },
    /// Extract the key anew and look it up with this recirculation id.
    Recirc(u32),
    /// Compute the datapath hash.
    Hash {
        /// `OVS_HASH_ALG_*`.
        algorithm: u32,
        /// Basis.
        basis: u32,
    },
    /// Push a label stack entry behind the Ethernet header.
    PushMpls {
        /// The entry.
        lse: u32,
        /// 0x8847 or 0x8848.
        ethertype: u16,
    },
    /// Pop the outermost label stack entry.
    PopMpls {
        /// Ethernet type of what was below it.
        ethertype: u16,
    },
    /// Conntrack: a list for [`CtAttrs`](crate::ct::CtAttrs), or all of it with
    /// [`Ct::parse`](crate::ct::Ct::parse).
    Ct(&'a [u8]),
    /// Cut the packet for the next output.
    Trunc {
        /// Longest length, in bytes.
        max_len: u32,
    },
    /// Push an Ethernet header.
    PushEth {
        /// Source.
        src: [u8; 6],
        /// Destination.
        dst: [u8; 6],
    },
    /// Pop the Ethernet header.
    PopEth,
    /// Forget the conntrack state.
    CtClear,
    /// Push a network service header: a list for [`NshAttrs`](crate::nsh::NshAttrs). On the wire
    /// it is inside an `OVS_KEY_ATTR_NSH`, which the header file does not say.
    PushNsh(&'a [u8]),
    /// Pop the network service header.
    PopNsh,
    /// Run through the meter with this number.
    Meter(u32),
    /// Do these actions on a copy.
    Clone(&'a [u8]),
    /// Do one or the other according to the packet's length.
    CheckPktLen {
        /// Length to compare with, in bytes.
        pkt_len: u16,
        /// Actions for longer packets.
        greater: &'a [u8],
        /// Actions for the others.
        less_equal: &'a [u8],
    },
    /// Push a label stack entry in front of the frame or of the network header.
    AddMpls {
        /// The entry.
        lse: u32,
        /// 0x8847 or 0x8848.
        ethertype: u16,
        /// [`OVS_MPLS_L3_TUNNEL_FLAG_MASK`] for in front of the network header.
        tun_flags: u16,
    },
    /// Count the TTL down, and do these actions when it runs out.
    DecTtl(&'a [u8]),
    /// Drop, for this reason (`XLATE_*`); 0 for none.
    Drop(u32),
    /// Send a sample to a psample group.
    Psample {
        /// The group.
        group: u32,
        /// Cookie of the sample, at most [`OVS_PSAMPLE_COOKIE_MAX_SIZE`] bytes.
        cookie: Option<&'a [u8]>,
    },
    /// An action that this version does not know, or that has something in it that it does not.
    Unknown {
        /// Its type.
        kind: u16,
        /// Its value.
        value: &'a [u8],
    },
}

impl<'a> Action<'a> {
    /// Reads one action.
    ///
    /// # Errors
    /// [`AttrError`] when a known action or something in it does not have the kernel's size, or
    /// lacks what the kernel insists on.
    pub fn parse(attr: Attr<'a>) -> Result<Self, AttrError> {
        let flag = |this| attr.array::<0>().map(|_| this);
        Ok(match attr.kind {
            OVS_ACTION_ATTR_OUTPUT => Self::Output(attr.u32()?),
            OVS_ACTION_ATTR_USERSPACE => Self::parse_userspace(attr)?,
            OVS_ACTION_ATTR_SET => Self::Set(KeyAttr::parse(only(attr)?)?),
            OVS_ACTION_ATTR_SET_MASKED => match only(attr)? {
                Attr { kind: OVS_KEY_ATTR_NSH, value } => Self::SetMaskedNsh(value),
                header => {
                    let (key, mask) = halves(header)?;
                    let masked = MaskedKeyAttr::new(KeyAttr::parse(key)?, KeyAttr::parse(mask)?);
                    masked.map_or(Self::unknown(attr), Self::SetMasked)
                }
            },
            OVS_ACTION_ATTR_PUSH_VLAN => {
                let a: &ovs_action_push_vlan = view(attr)?;
                Self::PushVlan { tpid: a.vlan_tpid.get(), tci: a.vlan_tci.get() }
            }
            OVS_ACTION_ATTR_POP_VLAN => flag(Self::PopVlan)?,
            OVS_ACTION_ATTR_SAMPLE => Self::parse_sample(attr)?,
            OVS_ACTION_ATTR_RECIRC => Self::Recirc(attr.u32()?),
            OVS_ACTION_ATTR_HASH => {
                let a: &ovs_action_hash = view(attr)?;
                Self::Hash { algorithm: a.hash_alg.get(), basis: a.hash_basis.get() }
            }
            OVS_ACTION_ATTR_PUSH_MPLS => {
                let a: &ovs_action_push_mpls = view(attr)?;
                Self::PushMpls { lse: a.mpls_lse.get(), ethertype: a.mpls_ethertype.get() }
            }
            OVS_ACTION_ATTR_POP_MPLS => Self::PopMpls { ethertype: attr.be16()? },
            OVS_ACTION_ATTR_CT => Self::Ct(attr.value),
            OVS_ACTION_ATTR_TRUNC => Self::Trunc { max_len: attr.u32()? },
            OVS_ACTION_ATTR_PUSH_ETH => {
                let a: &ovs_action_push_eth = view(attr)?;
                Self::PushEth { src: a.addresses.eth_src, dst: a.addresses.eth_dst }
            }
            OVS_ACTION_ATTR_POP_ETH => flag(Self::PopEth)?,
            OVS_ACTION_ATTR_CT_CLEAR => flag(Self::CtClear)?,
            OVS_ACTION_ATTR_PUSH_NSH => match only(attr)? {
                Attr { kind: OVS_KEY_ATTR_NSH, value } => Self::PushNsh(value),
                _ => Self::unknown(attr),
            },
            OVS_ACTION_ATTR_POP_NSH => flag(Self::PopNsh)?,
            OVS_ACTION_ATTR_METER => Self::Meter(attr.u32()?),
            OVS_ACTION_ATTR_CLONE => Self::Clone(attr.value),
            OVS_ACTION_ATTR_CHECK_PKT_LEN => Self::parse_check_pkt_len(attr)?,
            OVS_ACTION_ATTR_ADD_MPLS => {
                let a: &ovs_action_add_mpls = view(attr)?;
                Self::AddMpls {
                    lse: a.mpls_lse.get(),
                    ethertype: a.mpls_ethertype.get(),
                    tun_flags: a.tun_flags.get(),
                }
            }
            OVS_ACTION_ATTR_DEC_TTL => Self::parse_dec_ttl(attr)?,
            OVS_ACTION_ATTR_DROP => Self::Drop(attr.u32()?),
            OVS_ACTION_ATTR_PSAMPLE => Self::parse_psample(attr)?,
            _ => Self::unknown(attr),
        })
    }

    const fn unknown(attr: Attr<'a>) -> Self {
        Self::Unknown { kind: attr.kind, value: attr.value }
    }

    fn parse_userspace(action: Attr<'a>) -> Result<Self, AttrError> {
        let (mut pid, mut userdata, mut egress_tun_port, mut actions) = (None, None, None, false);
        for attr in action.attrs() {
            let attr = attr?;
            match attr.kind {
                OVS_USERSPACE_ATTR_PID => pid = Some(attr.u32()?),
                OVS_USERSPACE_ATTR_USERDATA => userdata = Some(attr.value),
                OVS_USERSPACE_ATTR_EGRESS_TUN_PORT => egress_tun_port = Some(attr.u32()?),
                OVS_USERSPACE_ATTR_ACTIONS => actions = true,
                _ => return Ok(Self::unknown(action)),
            }
        }
        let pid = pid.ok_or(AttrError::Missing { kind: OVS_USERSPACE_ATTR_PID })?;
        Ok(Self::Userspace { pid, userdata, egress_tun_port, actions })
    }

    fn parse_sample(action: Attr<'a>) -> Result<Self, AttrError> {
        let (mut probability, mut actions) = (None, None);
        for attr in action.attrs() {
            let attr = attr?;
            match attr.kind {
                OVS_SAMPLE_ATTR_PROBABILITY => probability = Some(attr.u32()?),
                OVS_SAMPLE_ATTR_ACTIONS => actions = Some(attr.value),
                _ => return Ok(Self::unknown(action)),
            }
        }
        Ok(Self::Sample {
            probability: probability
                .ok_or(AttrError::Missing { kind: OVS_SAMPLE_ATTR_PROBABILITY })?,
            actions: actions.ok_or(AttrError::Missing { kind: OVS_SAMPLE_ATTR_ACTIONS })?,
        })
    }

    fn parse_check_pkt_len(action: Attr<'a>) -> Result<Self, AttrError> {
        let (mut pkt_len, mut greater, mut less_equal) = (None, None, None);
        for attr in action.attrs() {
            let attr = attr?;
            match attr.kind {
                OVS_CHECK_PKT_LEN_ATTR_PKT_LEN => pkt_len = Some(attr.u16()?),
                OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER => greater = Some(attr.value),
                OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL => less_equal = Some(attr.value),
                _ => return Ok(Self::unknown(action)),
            }
        }
        let missing = |kind| AttrError::Missing { kind };
        Ok(Self::CheckPktLen {
            pkt_len: pkt_len.ok_or(missing(OVS_CHECK_PKT_LEN_ATTR_PKT_LEN))?,
            greater: greater.ok_or(missing(OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER))?,
            less_equal: less_equal.ok_or(missing(OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL))?,
        })
    }

    fn parse_dec_ttl(action: Attr<'a>) -> Result<Self, AttrError> {
        let mut actions = None;
        for attr in action.attrs() {
            let attr = attr?;
            match attr.kind {
                OVS_DEC_TTL_ATTR_ACTION => actions = Some(attr.value),
                _ => return Ok(Self::unknown(action)),
            }
        }
        Ok(Self::DecTtl(actions.ok_or(AttrError::Missing { kind: OVS_DEC_TTL_ATTR_ACTION })?))
    }

    fn parse_psample(action: Attr<'a>) -> Result<Self, AttrError> {
        let (mut group, mut cookie) = (None, None);
        for attr in action.attrs() {
            let attr = attr?;
            match attr.kind {
                OVS_PSAMPLE_ATTR_GROUP => group = Some(attr.u32()?),
                OVS_PSAMPLE_ATTR_COOKIE => cookie = Some(attr.value),
                _ => return Ok(Self::unknown(action)),
            }
        }
        let group = group.ok_or(AttrError::Missing { kind: OVS_PSAMPLE_ATTR_GROUP })?;
        Ok(Self::Psample { group, cookie })
    }

    /// Appends the action.
    pub fn write(&self, w: &mut AttrWriter<'_>) {
        let kind = self.kind();
        match *self {
            Self::Output(v) | Self::Recirc(v) | Self::Meter(v) | Self::Drop(v) => w.u32(kind, v),
            Self::Userspace { pid, userdata, egress_tun_port, actions } => nest(w, kind, |w| {
                w.u32(OVS_USERSPACE_ATTR_PID, pid);
                if let Some(userdata) = userdata {
                    w.bytes(OVS_USERSPACE_ATTR_USERDATA, userdata);
                }
                if let Some(port) = egress_tun_port {
                    w.u32(OVS_USERSPACE_ATTR_EGRESS_TUN_PORT, port);
                }
                if actions {
                    w.flag(OVS_USERSPACE_ATTR_ACTIONS);
                }
            }),
            Self::Set(header) => nest(w, kind, |w| header.write(w)),
            Self::SetMasked(header) => nest(w, kind, |w| header.write(w)),
            Self::SetMaskedNsh(value) => nest(w, kind, |w| w.bytes(OVS_KEY_ATTR_NSH, value)),
            Self::PushNsh(value) => nest(w, kind, |w| w.bytes(OVS_KEY_ATTR_NSH, value)),
            Self::PushVlan { tpid, tci } => w.bytes(
                kind,
                ovs_action_push_vlan { vlan_tpid: tpid.into(), vlan_tci: tci.into() }.as_bytes(),
            ),
            Self::PopVlan | Self::PopEth | Self::CtClear | Self::PopNsh => w.flag(kind),
            Self::Sample { probability, actions } => nest(w, kind, |w| {
                w.u32(OVS_SAMPLE_ATTR_PROBABILITY, probability);
                w.bytes(OVS_SAMPLE_ATTR_ACTIONS, actions);
            }),
            Self::Hash { algorithm, basis } => w.bytes(
                kind,
                ovs_action_hash { hash_alg: algorithm.into(), hash_basis: basis.into() }.as_bytes(),
            ),
            Self::PushMpls { lse, ethertype } => w.bytes(
                kind,
                ovs_action_push_mpls {
                    mpls_lse: lse.into(),
                    mpls_ethertype: ethertype.into(),
                    pad: [0; 2],
                }
                .as_bytes(),
            ),
            Self::PopMpls { ethertype } => w.be16(kind, ethertype),
            Self::Trunc { max_len } => w.u32(kind, max_len),
            Self::PushEth { src, dst } => {
                w.bytes(kind, ovs_key_ethernet { eth_src: src, eth_dst: dst }.as_bytes());
            }
            Self::CheckPktLen { pkt_len, greater, less_equal } => nest(w, kind, |w| {
                w.u16(OVS_CHECK_PKT_LEN_ATTR_PKT_LEN, pkt_len);
                w.bytes(OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER, greater);
                w.bytes(OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL, less_equal);
            }),
            Self::AddMpls { lse, ethertype, tun_flags } => w.bytes(
                kind,
                ovs_action_add_mpls {
                    mpls_lse: lse.into(),
                    mpls_ethertype: ethertype.into(),
                    tun_flags: tun_flags.into(),
                }
                .as_bytes(),
            ),
            Self::DecTtl(actions) => {
                nest(w, kind, |w| w.bytes(OVS_DEC_TTL_ATTR_ACTION, actions));
            }
            // Checked strictly, unlike all others.
            Self::Psample { group, cookie } => nest(w, kind | NLA_F_NESTED, |w| {
                w.u32(OVS_PSAMPLE_ATTR_GROUP, group);
                if let Some(cookie) = cookie {
                    w.bytes(OVS_PSAMPLE_ATTR_COOKIE, cookie);
                }
            }),
            Self::Ct(value) | Self::Clone(value) | Self::Unknown { value, .. } => {
                w.bytes(kind, value)
            }
        }
    }

    /// The action's type, `OVS_ACTION_ATTR_*`.
    pub const fn kind(&self) -> u16 {
        match *self {
            Self::Output(_) => OVS_ACTION_ATTR_OUTPUT,
            Self::Userspace { .. } => OVS_ACTION_ATTR_USERSPACE,
            Self::Set(_) => OVS_ACTION_ATTR_SET,
            Self::SetMasked(_) | Self::SetMaskedNsh(_) => OVS_ACTION_ATTR_SET_MASKED,
            Self::PushVlan { .. } => OVS_ACTION_ATTR_PUSH_VLAN,
            Self::PopVlan => OVS_ACTION_ATTR_POP_VLAN,
            Self::Sample { .. } => OVS_ACTION_ATTR_SAMPLE,
            Self::Recirc(_) => OVS_ACTION_ATTR_RECIRC,
            Self::Hash { .. } => OVS_ACTION_ATTR_HASH,
            Self::PushMpls { .. } => OVS_ACTION_ATTR_PUSH_MPLS,
            Self::PopMpls { .. } => OVS_ACTION_ATTR_POP_MPLS,
            Self::Ct(_) => OVS_ACTION_ATTR_CT,
            Self::Trunc { .. } => OVS_ACTION_ATTR_TRUNC,
            Self::PushEth { .. } => OVS_ACTION_ATTR_PUSH_ETH,
            Self::PopEth => OVS_ACTION_ATTR_POP_ETH,
            Self::CtClear => OVS_ACTION_ATTR_CT_CLEAR,
            Self::PushNsh(_) => OVS_ACTION_ATTR_PUSH_NSH,
            Self::PopNsh => OVS_ACTION_ATTR_POP_NSH,
            Self::Meter(_) => OVS_ACTION_ATTR_METER,
            Self::Clone(_) => OVS_ACTION_ATTR_CLONE,
            Self::CheckPktLen { .. } => OVS_ACTION_ATTR_CHECK_PKT_LEN,
            Self::AddMpls { .. } => OVS_ACTION_ATTR_ADD_MPLS,
            Self::DecTtl(_) => OVS_ACTION_ATTR_DEC_TTL,
            Self::Drop(_) => OVS_ACTION_ATTR_DROP,
            Self::Psample { .. } => OVS_ACTION_ATTR_PSAMPLE,
            Self::Unknown { kind, .. } => kind,
        }
    }
}

walker! {
    /// Walks a list of actions; ends after the first error.
    Actions, Action
}

/// The header of a set_masked action: value and mask, of one type and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskedKeyAttr<'a> {
    key: KeyAttr<'a>,
    mask: KeyAttr<'a>,
}

impl<'a> MaskedKeyAttr<'a> {
    /// Pairs a value with a mask. The kernel refuses value bits outside the mask.
    ///
    /// # Errors
    /// [`AttrError::Value`] when they are not of one type and size, or of a type that is not set
    /// this way (NSH, and what nests).
    pub fn new(key: KeyAttr<'a>, mask: KeyAttr<'a>) -> Result<Self, AttrError> {
        let nested = matches!(key, KeyAttr::Nsh(_) | KeyAttr::Tunnel(_) | KeyAttr::Encap(_));
        let size = |attr: &KeyAttr<'_>| attr.with_value(<[u8]>::len);
        if nested || key.kind() != mask.kind() || size(&key) != size(&mask) {
            return Err(AttrError::Value { kind: key.kind() });
        }
        Ok(Self { key, mask })
    }

    /// The value to set.
    pub const fn key(&self) -> KeyAttr<'a> {
        self.key
    }

    /// Which bits of it to set.
    pub const fn mask(&self) -> KeyAttr<'a> {
        self.mask
    }

    fn write(&self, w: &mut AttrWriter<'_>) {
        self.key.with_value(|k| self.mask.with_value(|m| write_halves(w, self.key.kind(), k, m)));
    }
}

/// An action begun and not yet ended, whose list of actions is being appended.
#[derive(Debug)]
#[must_use = "an action that is not ended has no length"]
pub struct OpenAction {
    action: Nest,
    list: Option<Nest>,
}

impl OpenAction {
    /// Ends the action.
    ///
    /// # Errors
    /// [`AttrError::TooLong`], as [`AttrWriter::end`].
    pub fn end(self, w: &mut AttrWriter<'_>) -> Result<(), AttrError> {
        if let Some(list) = self.list {
            w.end(list)?;
        }
        w.end(self.action)
    }
}

/// Begins [`Action::Clone`]; its actions are appended next.
pub fn begin_clone(w: &mut AttrWriter<'_>) -> OpenAction {
    OpenAction { action: w.begin(OVS_ACTION_ATTR_CLONE), list: None }
}

/// Begins [`Action::Sample`]; its actions are appended next.
pub fn begin_sample(w: &mut AttrWriter<'_>, probability: u32) -> OpenAction {
    let action = w.begin(OVS_ACTION_ATTR_SAMPLE);
    w.u32(OVS_SAMPLE_ATTR_PROBABILITY, probability);
    OpenAction { action, list: Some(w.begin(OVS_SAMPLE_ATTR_ACTIONS)) }
}

/// Begins [`Action::DecTtl`]; the actions for packets whose TTL runs out are appended next.
pub fn begin_dec_ttl(w: &mut AttrWriter<'_>) -> OpenAction {
    let action = w.begin(OVS_ACTION_ATTR_DEC_TTL);
    OpenAction { action, list: Some(w.begin(OVS_DEC_TTL_ATTR_ACTION)) }
}

/// Begins [`Action::CheckPktLen`]; the actions for longer packets are appended next, then
/// [`OpenCheckPktLen::less_equal`] turns to the others.
pub fn begin_check_pkt_len(w: &mut AttrWriter<'_>, pkt_len: u16) -> OpenCheckPktLen {
    let action = w.begin(OVS_ACTION_ATTR_CHECK_PKT_LEN);
    w.u16(OVS_CHECK_PKT_LEN_ATTR_PKT_LEN, pkt_len);
    OpenCheckPktLen { action, greater: w.begin(OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER) }
}

/// A check_pkt_len action whose first branch is being appended.
#[derive(Debug)]
#[must_use = "an action that is not ended has no length"]
pub struct OpenCheckPktLen {
    action: Nest,
    greater: Nest,
}

impl OpenCheckPktLen {
    /// Ends the branch for longer packets; the actions for the others are appended next.
    ///
    /// # Errors
    /// [`AttrError::TooLong`], as [`AttrWriter::end`].
    pub fn less_equal(self, w: &mut AttrWriter<'_>) -> Result<OpenAction, AttrError> {
        w.end(self.greater)?;
        let list = w.begin(OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL);
        Ok(OpenAction { action: self.action, list: Some(list) })
    }
}

fn nest(w: &mut AttrWriter<'_>, kind: u16, inside: impl FnOnce(&mut AttrWriter<'_>)) {
    let nest = w.begin(kind);
    inside(w);
    // What did not fit is remembered by the writer.
    let _ = w.end(nest);
}

/// The one attribute that there must be inside a set or push_nsh action.
fn only(action: Attr<'_>) -> Result<Attr<'_>, AttrError> {
    let mut attrs = action.attrs();
    let header = attrs.next().ok_or(AttrError::Value { kind: action.kind })??;
    match attrs.next() {
        None => Ok(header),
        Some(_) => Err(AttrError::Value { kind: action.kind }),
    }
}

#[cfg(test)]
mod tests;
