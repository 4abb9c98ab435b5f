//! The flow family: flows as the kernel tells them, and the requests that install, change, remove
//! and look for them.
//!
//! [`FlowMsg`] is any message of the family, received or sent; keys, masks and actions in it stay
//! encoded, for [`KeyAttrs`](crate::key::KeyAttrs) and [`Actions`](crate::action::Actions). The
//! requests append one complete message each to a [`MsgBuf`]; a transaction numbers them anew, and
//! adds [`MsgFlags::ACK`], itself.
//!
//! What always holds: no input makes a parse panic; a request for one flow can never turn into the
//! one that flushes them all, because [`FlowId`] always has something to look for; attributes that
//! this version does not know stay reachable through [`FlowMsg::attrs`].
//!
//! Plain values: any thread. Source: `include/uapi/linux/openvswitch.h`, `net/openvswitch/datapath.c`.

use bitflags::bitflags;
use zerocopy::IntoBytes;

use crate::attr::{Attr, AttrError, AttrWriter, Attrs};
use crate::key::view;
use crate::msg::{MsgBuf, MsgError, MsgFlags, MsgHead, split_ovs_header};
use crate::uapi::*;

/// A unique flow id: 128 bits that the one who installs a flow chooses.
pub type UfidBytes = [u8; 16];

bitflags! {
    /// What the kernel may leave out when it tells a flow that has a ufid (`OVS_UFID_F_*`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct UfidFlags: u32 {
        /// The key.
        const OMIT_KEY = OVS_UFID_F_OMIT_KEY;
        /// The mask.
        const OMIT_MASK = OVS_UFID_F_OMIT_MASK;
        /// The actions.
        const OMIT_ACTIONS = OVS_UFID_F_OMIT_ACTIONS;
        /// All three: a flow is then its ufid and its statistics.
        const TERSE = OVS_UFID_F_OMIT_KEY | OVS_UFID_F_OMIT_MASK | OVS_UFID_F_OMIT_ACTIONS;
        const _ = !0;
    }
}

/// What has matched a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowStats {
    /// Packets.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
}

/// A message of the flow family: a flow in a reply, dump or notification, or a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowMsg<'a> {
    /// Ifindex of the datapath's local device.
    pub dp_ifindex: u32,
    /// Key, with the bits outside the mask zeroed if the flow has a ufid.
    pub key: Option<&'a [u8]>,
    /// Mask; none for an exact match.
    pub mask: Option<&'a [u8]>,
    /// Actions; an empty list drops. The kernel leaves them out of a dump when they do not fit.
    pub actions: Option<&'a [u8]>,
    /// Statistics, absent before the first packet.
    pub stats: Option<FlowStats>,
    /// The low eight TCP flags seen so far, or-ed; absent while zero.
    pub tcp_flags: Option<u8>,
    /// When a packet last matched, in milliseconds of the monotonic clock; absent before the first.
    pub used_ms: Option<u64>,
    /// The flow's id, if it was installed with one.
    pub ufid: Option<UfidBytes>,
    /// In a request: what the reply may leave out.
    pub ufid_flags: Option<UfidFlags>,
    /// In a request: zero the statistics.
    pub clear: bool,
    /// In a request: a feature probe, about which the kernel logs nothing.
    pub probe: bool,
    /// All attributes as they came, unknown ones included. Not written.
    pub attrs: &'a [u8],
}

impl<'a> FlowMsg<'a> {
    /// Reads what follows the generic netlink header.
    ///
    /// # Errors
    /// [`MsgError`] when it is cut short or an attribute of a known type does not have its size; a
    /// ufid must have 16 bytes.
    #[inline]
    pub fn parse(body: &'a [u8]) -> Result<Self, MsgError> {
        let (dp_ifindex, attrs) = split_ovs_header(body)?;
        let mut flow = Self { dp_ifindex, attrs: attrs.rest(), ..Self::default() };
        for attr in attrs {
            flow.take(attr?)?;
        }
        Ok(flow)
    }

    #[inline]
    fn take(&mut self, attr: Attr<'a>) -> Result<(), AttrError> {
        match attr.kind {
            OVS_FLOW_ATTR_KEY => self.key = Some(attr.value),
            OVS_FLOW_ATTR_MASK => self.mask = Some(attr.value),
            OVS_FLOW_ATTR_ACTIONS => self.actions = Some(attr.value),
            OVS_FLOW_ATTR_STATS => {
                let stats: &ovs_flow_stats = view(attr)?;
                let (packets, bytes) = (stats.n_packets.get(), stats.n_bytes.get());
                self.stats = Some(FlowStats { packets, bytes });
            }
            OVS_FLOW_ATTR_TCP_FLAGS => self.tcp_flags = Some(attr.u8()?),
            OVS_FLOW_ATTR_USED => self.used_ms = Some(attr.u64()?),
            OVS_FLOW_ATTR_UFID => self.ufid = Some(*attr.array()?),
            OVS_FLOW_ATTR_UFID_FLAGS => {
                self.ufid_flags = Some(UfidFlags::from_bits_retain(attr.u32()?));
            }
            OVS_FLOW_ATTR_CLEAR => self.clear = true,
            OVS_FLOW_ATTR_PROBE => self.probe = true,
            _ => {}
        }
        Ok(())
    }

    /// Appends the attributes, in the order in which both the kernel and its users write them.
    pub fn write(&self, w: &mut AttrWriter<'_>) {
        if let Some(ufid) = self.ufid {
            w.bytes(OVS_FLOW_ATTR_UFID, &ufid);
        }
        if let Some(flags) = self.ufid_flags {
            w.u32(OVS_FLOW_ATTR_UFID_FLAGS, flags.bits());
        }
        if let Some(key) = self.key {
            w.bytes(OVS_FLOW_ATTR_KEY, key);
        }
        if let Some(mask) = self.mask {
            w.bytes(OVS_FLOW_ATTR_MASK, mask);
        }
        if let Some(used_ms) = self.used_ms {
            w.u64(OVS_FLOW_ATTR_USED, used_ms);
        }
        if let Some(FlowStats { packets, bytes }) = self.stats {
            let stats = ovs_flow_stats { n_packets: packets.into(), n_bytes: bytes.into() };
            w.bytes(OVS_FLOW_ATTR_STATS, stats.as_bytes());
        }
        if let Some(tcp_flags) = self.tcp_flags {
            w.u8(OVS_FLOW_ATTR_TCP_FLAGS, tcp_flags);
        }
        if let Some(actions) = self.actions {
            w.bytes(OVS_FLOW_ATTR_ACTIONS, actions);
        }
        if self.clear {
            w.flag(OVS_FLOW_ATTR_CLEAR);
        }
        if self.probe {
            w.flag(OVS_FLOW_ATTR_PROBE);
        }
    }

    /// All attributes as they came, for those that this version does not know.
    pub const fn attrs(&self) -> Attrs<'a> {
        Attrs::new(self.attrs)
    }
}

/// What a terse dump tells of a flow, for those who read very many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCounts {
    /// The flow's id, if it was installed with one.
    pub ufid: Option<UfidBytes>,
    /// Statistics; zero before the first packet.
    pub stats: FlowStats,
    /// The low eight TCP flags seen so far, or-ed.
    pub tcp_flags: u8,
    /// When a packet last matched, in milliseconds of the monotonic clock; 0 before the first.
    pub used_ms: u64,
}

impl FlowCounts {
    /// Reads what [`FlowMsg::parse`] reads, and passes over the rest.
    ///
    /// # Errors
    /// As for [`FlowMsg::parse`], as far as it is read.
    #[inline]
    pub fn parse(body: &[u8]) -> Result<Self, MsgError> {
        let (_, attrs) = split_ovs_header(body)?;
        let mut flow = Self::default();
        Attrs::each(attrs.rest(), |attr, _| {
            match attr.kind {
                OVS_FLOW_ATTR_UFID => flow.ufid = Some(*attr.array()?),
                OVS_FLOW_ATTR_STATS => {
                    let stats: &ovs_flow_stats = view(attr)?;
                    let (packets, bytes) = (stats.n_packets.get(), stats.n_bytes.get());
                    flow.stats = FlowStats { packets, bytes };
                }
                OVS_FLOW_ATTR_TCP_FLAGS => flow.tcp_flags = attr.u8()?,
                OVS_FLOW_ATTR_USED => flow.used_ms = attr.u64()?,
                _ => {}
            }
            Ok::<(), MsgError>(())
        })?;
        Ok(flow)
    }
}

/// Which flow is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowId<'a> {
    /// The one installed with this ufid.
    Ufid(UfidBytes),
    /// The one installed without a ufid and with this key, unmasked.
    Key(&'a [u8]),
}

impl FlowId<'_> {
    fn write(&self, w: &mut AttrWriter<'_>) {
        match *self {
            Self::Ufid(ufid) => w.bytes(OVS_FLOW_ATTR_UFID, &ufid),
            Self::Key(key) => w.bytes(OVS_FLOW_ATTR_KEY, key),
        }
    }
}

/// What [`FlowPut`] does when the flow exists already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfExists {
    /// It fails with `EEXIST`.
    Fail,
    /// It replaces the actions. A flow with a ufid is only replaced if the key has no bits outside
    /// the mask (else `ENOENT`: the kernel compares it with the key it has masked); [`FlowSet`]
    /// does not mind.
    Replace,
}

/// Installs a flow (`OVS_FLOW_CMD_NEW`).
///
/// The kernel answers `EINVAL` to a key or mask that does not hold together and to actions that do
/// not fit the key, `EEXIST` as [`IfExists`] says, `E2BIG` to too many actions, `ENOSPC` and
/// `ENOMEM` when it is full, `ENODEV` when the datapath is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowPut<'a> {
    /// Ifindex of the datapath's local device.
    pub dp_ifindex: u32,
    /// Key. Packet type and ND extensions must not be in it.
    pub key: &'a [u8],
    /// Mask; none for an exact match.
    pub mask: Option<&'a [u8]>,
    /// Actions; an empty list drops.
    pub actions: &'a [u8],
    /// Id to install it under. Without one the key is the id.
    pub ufid: Option<UfidBytes>,
    /// What if it exists.
    pub if_exists: IfExists,
    /// A feature probe, about which the kernel logs nothing.
    pub probe: bool,
    /// Zero the statistics of a flow that is replaced.
    pub clear: bool,
}

impl FlowPut<'_> {
    /// Appends the request, with `flags` ([`MsgFlags::ACK`] or [`MsgFlags::ECHO`]) added.
    ///
    /// # Errors
    /// [`AttrError::TooLong`]; the buffer is then as before.
    pub fn append(
        &self,
        buf: &mut MsgBuf,
        family: u16,
        flags: MsgFlags,
        seq: u32,
    ) -> Result<(), AttrError> {
        // The kernel takes CREATE for EXCL, which generic netlink reads as part of DUMP.
        let create = match self.if_exists {
            IfExists::Fail => MsgFlags::CREATE,
            IfExists::Replace => MsgFlags::empty(),
        };
        let mut msg =
            buf.begin(head(family, OVS_FLOW_CMD_NEW, flags | create, seq, self.dp_ifindex));
        let flow = FlowMsg {
            key: Some(self.key),
            mask: self.mask,
            actions: Some(self.actions),
            ufid: self.ufid,
            probe: self.probe,
            clear: self.clear,
            ..FlowMsg::default()
        };
        flow.write(msg.attrs());
        msg.finish()
    }
}

/// Changes the actions of a flow, or zeroes its statistics (`OVS_FLOW_CMD_SET`).
///
/// The kernel answers `ENOENT` when there is no such flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowSet<'a> {
    /// Ifindex of the datapath's local device.
    pub dp_ifindex: u32,
    /// Key; the kernel needs it to check new actions against, even if there is a ufid.
    pub key: &'a [u8],
    /// Mask; none for an exact match.
    pub mask: Option<&'a [u8]>,
    /// The new actions, of which an empty list drops; none leaves them as they are.
    pub actions: Option<&'a [u8]>,
    /// Id that the flow was installed under.
    pub ufid: Option<UfidBytes>,
    /// A feature probe, about which the kernel logs nothing.
    pub probe: bool,
    /// Zero the statistics.
    pub clear: bool,
}

impl FlowSet<'_> {
    /// Appends the request, with `flags` ([`MsgFlags::ACK`] or [`MsgFlags::ECHO`]) added.
    ///
    /// # Errors
    /// [`AttrError::TooLong`]; the buffer is then as before.
    pub fn append(
        &self,
        buf: &mut MsgBuf,
        family: u16,
        flags: MsgFlags,
        seq: u32,
    ) -> Result<(), AttrError> {
        let mut msg = buf.begin(head(family, OVS_FLOW_CMD_SET, flags, seq, self.dp_ifindex));
        let flow = FlowMsg {
            key: Some(self.key),
            mask: self.mask,
            actions: self.actions,
            ufid: self.ufid,
            probe: self.probe,
            clear: self.clear,
            ..FlowMsg::default()
        };
        flow.write(msg.attrs());
        msg.finish()
    }
}

/// Removes a flow (`OVS_FLOW_CMD_DEL`). With [`MsgFlags::ECHO`] the answer is the flow with its
/// final statistics.
///
/// The kernel answers `ENOENT` when there is no such flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowDel<'a> {
    /// Ifindex of the datapath's local device.
    pub dp_ifindex: u32,
    /// Which flow.
    pub id: FlowId<'a>,
    /// The answer may leave out all but ufid and statistics.
    pub terse: bool,
    /// A trial: the kernel logs no complaint (`OVS_FLOW_ATTR_PROBE`).
    pub probe: bool,
}

impl FlowDel<'_> {
    /// Appends the request, with `flags` ([`MsgFlags::ACK`] or [`MsgFlags::ECHO`]) added.
    ///
    /// # Errors
    /// [`AttrError::TooLong`]; the buffer is then as before.
    pub fn append(
        &self,
        buf: &mut MsgBuf,
        family: u16,
        flags: MsgFlags,
        seq: u32,
    ) -> Result<(), AttrError> {
        let mut msg = buf.begin(head(family, OVS_FLOW_CMD_DEL, flags, seq, self.dp_ifindex));
        self.id.write(msg.attrs());
        write_omit(msg.attrs(), omit_if(self.terse));
        if self.probe {
            msg.attrs().flag(OVS_FLOW_ATTR_PROBE);
        }
        msg.finish()
    }
}

/// Looks a flow up (`OVS_FLOW_CMD_GET`).
///
/// The kernel answers `ENOENT` when there is no such flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowGet<'a> {
    /// Ifindex of the datapath's local device.
    pub dp_ifindex: u32,
    /// Which flow.
    pub id: FlowId<'a>,
    /// What the answer may leave out.
    pub omit: UfidFlags,
}

impl FlowGet<'_> {
    /// Appends the request, with `flags` added.
    ///
    /// # Errors
    /// [`AttrError::TooLong`]; the buffer is then as before.
    pub fn append(
        &self,
        buf: &mut MsgBuf,
        family: u16,
        flags: MsgFlags,
        seq: u32,
    ) -> Result<(), AttrError> {
        let mut msg = buf.begin(head(family, OVS_FLOW_CMD_GET, flags, seq, self.dp_ifindex));
        self.id.write(msg.attrs());
        write_omit(msg.attrs(), self.omit);
        msg.finish()
    }
}

/// Removes all flows of a datapath (`OVS_FLOW_CMD_DEL` without key and ufid).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowFlush {
    /// Ifindex of the datapath's local device.
    pub dp_ifindex: u32,
}

impl FlowFlush {
    /// Appends the request, with `flags` added.
    ///
    /// # Errors
    /// None today; as with the other requests.
    pub fn append(
        &self,
        buf: &mut MsgBuf,
        family: u16,
        flags: MsgFlags,
        seq: u32,
    ) -> Result<(), AttrError> {
        buf.begin(head(family, OVS_FLOW_CMD_DEL, flags, seq, self.dp_ifindex)).finish()
    }
}

/// Asks for all flows of a datapath (`OVS_FLOW_CMD_GET` with [`MsgFlags::DUMP`]). The kernel does
/// not filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowDump {
    /// Ifindex of the datapath's local device.
    pub dp_ifindex: u32,
    /// What the answers may leave out, for flows that have a ufid; others always come with key.
    pub omit: UfidFlags,
}

impl FlowDump {
    /// Appends the request.
    ///
    /// # Errors
    /// None today; as with the other requests.
    pub fn append(&self, buf: &mut MsgBuf, family: u16, seq: u32) -> Result<(), AttrError> {
        let mut msg =
            buf.begin(head(family, OVS_FLOW_CMD_GET, MsgFlags::DUMP, seq, self.dp_ifindex));
        write_omit(msg.attrs(), self.omit);
        msg.finish()
    }
}

fn head(family: u16, cmd: u8, flags: MsgFlags, seq: u32, dp_ifindex: u32) -> MsgHead {
    let flags = flags | MsgFlags::REQUEST;
    MsgHead { family, cmd, version: OVS_FLOW_VERSION, flags, seq, dp_ifindex }
}

fn omit_if(terse: bool) -> UfidFlags {
    if terse { UfidFlags::TERSE } else { UfidFlags::empty() }
}

fn write_omit(w: &mut AttrWriter<'_>, omit: UfidFlags) {
    if !omit.is_empty() {
        w.u32(OVS_FLOW_ATTR_UFID_FLAGS, omit.bits());
    }
}

#[cfg(test)]
mod tests;
