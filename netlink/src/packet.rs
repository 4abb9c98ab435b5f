//! The family `ovs_packet`: packets that come up (upcalls) and packets that go down (execute).
//!
//! What always holds: an upcall borrows from the buffer it was received in and is parsed in one walk
//! without allocation; an execute is appended to a reused buffer. Attributes that this crate does
//! not know stay reachable through [`Upcall::attrs`].
//!
//! The hot path: any thread, no locks. Source: `include/uapi/linux/openvswitch.h`,
//! `enum ovs_packet_cmd` and `enum ovs_packet_attr`; `net/openvswitch/datapath.c`
//! (`queue_userspace_packet`, `ovs_packet_cmd_execute`).

use crate::attr::{AttrError, Attrs};
use crate::msg::{Genl, MsgBuf, MsgError, MsgFlags, MsgHead, split_ovs_header};
use crate::uapi::*;

/// Why a packet came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpcallCmd {
    /// `OVS_PACKET_CMD_MISS`: no flow matched it.
    Miss,
    /// `OVS_PACKET_CMD_ACTION`: a flow's userspace action sent it.
    Action,
}

/// Why a message is no upcall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpcallError {
    /// The command is neither MISS nor ACTION.
    #[error("packet message with command {cmd} is no upcall")]
    Command {
        /// The command.
        cmd: u8,
    },
    /// It does not hold together, or lacks packet or key.
    #[error(transparent)]
    Message(#[from] MsgError),
}

impl From<AttrError> for UpcallError {
    fn from(error: AttrError) -> Self {
        Self::Message(error.into())
    }
}

/// A packet sent up by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upcall<'a> {
    /// Why it came.
    pub cmd: UpcallCmd,
    /// The datapath.
    pub dp_ifindex: u32,
    /// The packet from its Ethernet header on (from its network header on for layer 3 devices), cut
    /// to what a TRUNC action before left of it.
    pub packet: &'a [u8],
    /// `OVS_KEY_ATTR_*`: the flow key of the packet as it was received.
    pub key: &'a [u8],
    /// The cookie of the userspace action.
    pub userdata: Option<&'a [u8]>,
    /// `OVS_TUNNEL_KEY_ATTR_*`: the tunnel it is about to leave through.
    pub egress_tun_key: Option<&'a [u8]>,
    /// `OVS_ACTION_ATTR_*`: all actions of the flow, where the userspace action asked for them.
    pub actions: Option<&'a [u8]>,
    /// The largest fragment a reassembled packet came in.
    pub mru: Option<u16>,
    /// The packet's hash, and how it was made, to be handed back in an execute (Linux 5.5).
    pub hash: Option<u64>,
    /// The packet's length before truncation, where it was truncated.
    pub len: Option<u32>,
    /// All attributes, still encoded: for those this crate does not know.
    pub attrs: &'a [u8],
}

impl<'a> Upcall<'a> {
    /// Parses a message of the packet family.
    ///
    /// # Errors
    /// [`UpcallError`] when it is something else, malformed, or without packet or key.
    #[inline]
    pub fn parse(genl: Genl<'a>) -> Result<Self, UpcallError> {
        let cmd = match genl.cmd {
            OVS_PACKET_CMD_MISS => UpcallCmd::Miss,
            OVS_PACKET_CMD_ACTION => UpcallCmd::Action,
            cmd => return Err(UpcallError::Command { cmd }),
        };
        let (dp_ifindex, attrs) = split_ovs_header(genl.body)?;
        let (mut packet, mut key) = (None, None);
        let mut upcall = Self {
            cmd,
            dp_ifindex,
            packet: &[],
            key: &[],
            userdata: None,
            egress_tun_key: None,
            actions: None,
            mru: None,
            hash: None,
            len: None,
            attrs: attrs.rest(),
        };
        Attrs::each(attrs.rest(), |a, _| {
            match a.kind {
                OVS_PACKET_ATTR_PACKET => packet = Some(a.value),
                OVS_PACKET_ATTR_KEY => key = Some(a.value),
                OVS_PACKET_ATTR_USERDATA => upcall.userdata = Some(a.value),
                OVS_PACKET_ATTR_EGRESS_TUN_KEY => upcall.egress_tun_key = Some(a.value),
                OVS_PACKET_ATTR_ACTIONS => upcall.actions = Some(a.value),
                OVS_PACKET_ATTR_MRU => upcall.mru = Some(a.u16()?),
                OVS_PACKET_ATTR_HASH => upcall.hash = Some(a.u64()?),
                OVS_PACKET_ATTR_LEN => upcall.len = Some(a.u32()?),
                _ => {}
            }
            Ok::<_, AttrError>(())
        })?;
        upcall.packet = packet.ok_or(AttrError::Missing { kind: OVS_PACKET_ATTR_PACKET })?;
        upcall.key = key.ok_or(AttrError::Missing { kind: OVS_PACKET_ATTR_KEY })?;
        Ok(upcall)
    }

    /// The flow key of what may be an upcall, which comes first, without reading what follows.
    #[inline]
    pub fn key_of(genl: Genl<'a>) -> Option<&'a [u8]> {
        let (_, attrs) = split_ovs_header(genl.body).ok()?;
        let key = attrs.find_kind(OVS_PACKET_ATTR_KEY).ok()??;
        Some(key.value)
    }

    /// Appends the message as the kernel sends it, but for padding after the packet: for made-up
    /// kernels and recordings. [`Self::attrs`] is left out.
    ///
    /// # Errors
    /// [`AttrError::TooLong`]; the buffer is as before then.
    pub fn append(&self, buf: &mut MsgBuf, family: u16) -> Result<(), AttrError> {
        let mut w = buf.begin(MsgHead {
            family,
            cmd: match self.cmd {
                UpcallCmd::Miss => OVS_PACKET_CMD_MISS,
                UpcallCmd::Action => OVS_PACKET_CMD_ACTION,
            },
            version: OVS_PACKET_VERSION,
            flags: MsgFlags::empty(),
            seq: 0,
            dp_ifindex: self.dp_ifindex,
        });
        let attrs = w.attrs();
        attrs.bytes(OVS_PACKET_ATTR_KEY, self.key);
        for (kind, value) in [
            (OVS_PACKET_ATTR_USERDATA, self.userdata),
            (OVS_PACKET_ATTR_EGRESS_TUN_KEY, self.egress_tun_key),
            (OVS_PACKET_ATTR_ACTIONS, self.actions),
        ] {
            if let Some(value) = value {
                attrs.bytes(kind, value);
            }
        }
        if let Some(mru) = self.mru {
            attrs.u16(OVS_PACKET_ATTR_MRU, mru);
        }
        if let Some(len) = self.len {
            attrs.u32(OVS_PACKET_ATTR_LEN, len);
        }
        if let Some(hash) = self.hash {
            attrs.u64(OVS_PACKET_ATTR_HASH, hash);
        }
        attrs.bytes(OVS_PACKET_ATTR_PACKET, self.packet);
        w.finish()
    }

    /// Walks all attributes, known and unknown.
    pub const fn attrs(&self) -> Attrs<'a> {
        Attrs::new(self.attrs)
    }
}

/// `OVS_PACKET_CMD_EXECUTE`: applies actions to a packet, past the flow table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Execute<'a> {
    /// The datapath.
    pub dp_ifindex: u32,
    /// The packet from its Ethernet header on.
    pub packet: &'a [u8],
    /// `OVS_KEY_ATTR_*`: the metadata only (in port, tunnel, marks, conntrack state); the kernel
    /// reads the rest off the packet.
    pub key: &'a [u8],
    /// `OVS_ACTION_ATTR_*`, encoded.
    pub actions: &'a [u8],
    /// Whether this is a feature probe, of whose failure the kernel need not complain in its log.
    pub probe: bool,
    /// The upcall's [`Upcall::mru`].
    pub mru: Option<u16>,
    /// The upcall's [`Upcall::hash`].
    pub hash: Option<u64>,
}

impl Execute<'_> {
    /// Appends the request. Without `MsgFlags::ACK` only a failure is answered.
    ///
    /// # Errors
    /// [`AttrError::TooLong`]; the buffer is as before then.
    pub fn append(
        &self,
        buf: &mut MsgBuf,
        family: u16,
        flags: MsgFlags,
        seq: u32,
    ) -> Result<(), AttrError> {
        let mut w = buf.begin(MsgHead {
            family,
            cmd: OVS_PACKET_CMD_EXECUTE,
            version: OVS_PACKET_VERSION,
            flags: flags | MsgFlags::REQUEST,
            seq,
            dp_ifindex: self.dp_ifindex,
        });
        let attrs = w.attrs();
        attrs.bytes(OVS_PACKET_ATTR_PACKET, self.packet);
        attrs.bytes(OVS_PACKET_ATTR_KEY, self.key);
        attrs.bytes(OVS_PACKET_ATTR_ACTIONS, self.actions);
        if self.probe {
            attrs.flag(OVS_PACKET_ATTR_PROBE);
        }
        if let Some(mru) = self.mru {
            attrs.u16(OVS_PACKET_ATTR_MRU, mru);
        }
        if let Some(hash) = self.hash {
            attrs.u64(OVS_PACKET_ATTR_HASH, hash);
        }
        w.finish()
    }
}
