//! The datapath: what forwards packets in the kernel, as this program sees and steers it.
//!
//! Two seams. [`Datapath`] is the control side: ports, flows, statistics, one blocking call each,
//! shared by threads. [`UpcallPort`] is the packet side, one per handler thread; it moves *bytes*,
//! whole generic netlink messages both ways, so that a recording, its replay, the fake kernel and
//! injected faults all stand at the same place and can be compared byte for byte.
//!
//! What always holds: every implementation answers alike, errors included (one list of checks runs
//! against the stock kernel module and against the fake one); a flow operation's answer says whether the
//! kernel did it; nothing here decides what is done with a packet.
//!
//! Read [`port`], [`ct_timeout`] and [`error`] (the values), [`support`] (what a kernel can do), then this file
//! and [`dump`].

pub mod chaos;
pub mod ct_timeout;
pub mod dummy;
pub mod dump;
pub mod error;
pub mod fake;
pub mod kernel;
pub mod port;
pub mod record;
pub mod recording;
pub mod replay;
pub mod support;

use std::{borrow::Cow, collections::BTreeSet, os::fd::BorrowedFd, time::Duration};

use ovs_netlink::{flow::FlowMsg, ring::RecvRing};
use serde::{Deserialize, Serialize};

pub use self::{
    ct_timeout::{CtPolicyId, CtTimeout, CtTimeouts},
    dump::{DumpPiece, FlowDump},
    error::{DpError, DpErrorKind, RecvError, SendError},
    port::{OdpPort, PortInfo, PortKind, PortStats, UpcallStats},
    support::{Dispatch, Feature, Support},
};

/// Generic netlink ids of the OVS families, needed to read and write messages. They change when
/// the module is loaded anew; a recording carries those it was made with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FamilyIds {
    /// `ovs_datapath`.
    pub datapath: u16,
    /// `ovs_vport`.
    pub vport: u16,
    /// `ovs_flow`.
    pub flow: u16,
    /// `ovs_packet`.
    pub packet: u16,
    /// `ovs_meter`, where the kernel has it.
    pub meter: Option<u16>,
    /// `ovs_ct_limit`, where the kernel has it.
    pub ct_limit: Option<u16>,
}

/// A handler's end of the packet side. One thread uses it.
pub trait UpcallPort: Send {
    /// Waits up to `timeout` for upcalls and reads as many as are there and fit into `ring` (whose
    /// earlier content is lost); returns how many. 0 when time ran out or a signal came.
    ///
    /// # Errors
    /// [`RecvError::Overrun`] and [`RecvError::Truncated`] leave the port usable: read on.
    fn recv(&mut self, ring: &mut RecvRing, timeout: Duration) -> Result<usize, RecvError>;

    /// Sends complete messages (flow puts, executes) in one system call. No acknowledgement is
    /// asked for.
    ///
    /// # Errors
    /// When none of the messages was taken. What the kernel thinks of each comes by
    /// [`Self::errors`].
    fn send(&mut self, messages: &[u8]) -> Result<(), SendError>;

    /// Hands out the kernel's refusals of what was sent before: sequence number and (positive)
    /// error number of each. Never waits.
    fn errors(&mut self, each: &mut dyn FnMut(u32, i32));
}

/// A datapath's control side. Calls may block on the kernel; any thread.
pub trait Datapath: Send + Sync {
    /// Name of the datapath and of its local port.
    fn name(&self) -> &str;

    /// Its type as the peer's tools write it before the name: `system@ovs-system`.
    fn type_name(&self) -> &str {
        "system"
    }

    /// Which of the datapath's threads has its flows, where the peer's tools tell that.
    fn flows_of(&self) -> Option<&'static str> {
        None
    }

    /// The type of a port's device as the peer's tools show it, and how it is configured if that
    /// tells.
    fn port_type(&self, port: &PortInfo) -> Cow<'static, str> {
        Cow::Borrowed(port.kind.type_name())
    }

    /// ifindex of the local port: the datapath's number in every message.
    fn dp_ifindex(&self) -> u32;

    /// Generic netlink ids for this datapath's messages.
    fn families(&self) -> FamilyIds;

    /// What the kernel can do, as probed when the datapath was opened.
    fn support(&self) -> &Support;

    /// How many handlers [`Self::open_handlers`] should be asked for, at least 1. Under per-CPU
    /// dispatch the CPUs decide and `configured` is ignored.
    fn handlers_wanted(&self, configured: Option<usize>) -> usize;

    /// Opens `n` handlers (at least 1) and directs upcalls to them; ports of earlier handlers
    /// answer [`RecvError::Gone`] or stay silent from then on.
    fn open_handlers(&self, n: usize) -> Result<Vec<Box<dyn UpcallPort>>, DpError>;

    /// Directs upcalls anew after CPUs came or went; true when the number of handlers wanted
    /// has changed, so that the caller should open them anew.
    fn refresh_cpus(&self) -> Result<bool, DpError>;

    /// What a userspace action for packets of `port` names as its receiver: `u32::MAX` under per-CPU
    /// dispatch, where the kernel chooses; else a handler's port id, which changes with the handlers.
    fn upcall_pid(&self, port: OdpPort) -> u32;

    /// Adds a port, with the number `want` if given, and returns its number.
    fn port_add(
        &self,
        name: &str,
        kind: PortKind,
        want: Option<OdpPort>,
    ) -> Result<OdpPort, DpError>;

    /// Removes a port; with an internal port its device.
    fn port_del(&self, port: OdpPort) -> Result<(), DpError>;

    /// All ports, in the kernel's order.
    fn ports(&self) -> Result<Vec<PortInfo>, DpError>;

    /// The port whose device has this name.
    fn port(&self, name: &str) -> Result<Option<PortInfo>, DpError>;

    /// Ports as they come and go from now on, whoever does it.
    fn watch_ports(&self) -> Result<Box<dyn PortEvents>, DpError>;

    /// Counters of the datapath.
    fn stats(&self) -> Result<DpStats, DpError>;

    /// Begins to show all flows. A dump that changes interrupt starts anew, so a flow may be shown
    /// twice; with flows changing all the time one may be missed. What a piece shows is as old as the
    /// call that brought the piece before it.
    fn flow_dump_start(&self, detail: DumpDetail) -> Result<Box<dyn FlowDump>, DpError>;

    /// Shows `each` all flows, as [`Self::flow_dump_start`] does.
    fn flow_dump(
        &self,
        detail: DumpDetail,
        each: &mut dyn FnMut(&FlowMsg<'_>),
    ) -> Result<(), DpError> {
        let mut dump = self.flow_dump_start(detail)?;
        let mut piece = DumpPiece::new();
        while dump.next(&mut piece)? {
            for flow in piece.flows() {
                each(&flow?);
            }
        }
        Ok(())
    }

    /// Shows `each` the flow with this id, if there is one; returns whether there is.
    fn flow_get(
        &self,
        ufid: &[u8; 16],
        each: &mut dyn FnMut(&FlowMsg<'_>),
    ) -> Result<bool, DpError>;

    /// Carries out `ops` in order, in bounded batches, and calls `done` once for each, in order:
    /// index and result. A failure does not stop those behind it.
    fn flow_ops(&self, ops: &[FlowOp<'_>], done: &mut dyn FnMut(usize, FlowResult));

    /// Removes all flows.
    fn flow_flush(&self) -> Result<(), DpError>;

    /// Has the kernel carry out encoded `actions` on a packet, with the encoded metadata `key`.
    fn execute(&self, packet: &[u8], key: &[u8], actions: &[u8]) -> Result<(), DpError>;

    /// Entries of each CPU's mask cache, where the datapath has one.
    fn masks_cache_size(&self) -> Result<Option<u32>, DpError> {
        Ok(None)
    }

    /// Sets the size of each CPU's mask cache and returns what it became: a power of two, or 0 for
    /// none.
    ///
    /// # Errors
    /// [`DpErrorKind::Unsupported`] without such a cache; else the kernel's, for a size out of range.
    fn set_masks_cache_size(&self, _size: u32) -> Result<u32, DpError> {
        Err(DpError::new(DpErrorKind::Unsupported, "set cache size", 0))
    }

    /// Timeout policies of conntrack under numbers of ours, whoever made them. All datapaths of a
    /// network namespace share them, and they outlive the datapaths.
    ///
    /// # Errors
    /// [`DpErrorKind::Unsupported`] where there are none.
    fn ct_policies(&self) -> Result<BTreeSet<CtPolicyId>, DpError> {
        Err(without_ct_policies("list conntrack timeout policies"))
    }

    /// Makes a timeout policy, or gives it other timeouts. Those that are not named are what
    /// connections without a policy have at this moment.
    ///
    /// # Errors
    /// The kernel's; it may then be there in part.
    fn set_ct_policy(&self, _id: CtPolicyId, _timeouts: &CtTimeouts) -> Result<(), DpError> {
        Err(without_ct_policies("set conntrack timeout policy"))
    }

    /// Removes a timeout policy; that there is none is no error.
    ///
    /// # Errors
    /// [`DpErrorKind::Busy`] as long as a flow, a rule or a connection uses it, of kernels that mind
    /// (Linux 6.1 does, 6.12 does not). What of it is not in use is gone.
    fn delete_ct_policy(&self, _id: CtPolicyId) -> Result<(), DpError> {
        Err(without_ct_policies("delete conntrack timeout policy"))
    }

    /// Removes the datapath with its ports and flows.
    fn destroy(&self) -> Result<(), DpError>;
}

fn without_ct_policies(doing: &'static str) -> DpError {
    DpError::new(DpErrorKind::Unsupported, doing, libc::EOPNOTSUPP)
}

/// How much of each flow a dump tells. Counters are always there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DumpDetail {
    /// UFID and counters; flows that have no UFID with their key.
    Terse,
    /// Key, mask and actions as well.
    Full,
}

/// One change of the flow table. Keys, masks and actions are encoded attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlowOp<'a> {
    /// Installs a flow that must not exist yet.
    Put {
        /// Id, unless the kernel has none.
        ufid: Option<&'a [u8; 16]>,
        /// Key.
        key: &'a [u8],
        /// Mask; absent for an exact match.
        mask: Option<&'a [u8]>,
        /// Actions; empty to drop.
        actions: &'a [u8],
    },
    /// Replaces the actions of a flow, which must exist. Its counters go on.
    Modify {
        /// Id, unless the flow has none.
        ufid: Option<&'a [u8; 16]>,
        /// Key.
        key: &'a [u8],
        /// Mask; absent for an exact match.
        mask: Option<&'a [u8]>,
        /// Actions; empty to drop.
        actions: &'a [u8],
    },
    /// Removes a flow and asks for its final counters.
    Del {
        /// Id, unless the flow has none.
        ufid: Option<&'a [u8; 16]>,
        /// Key; used when there is no id.
        key: &'a [u8],
    },
}

/// What came of a [`FlowOp`]: the flow's counters where the kernel tells them (always for
/// [`FlowOp::Del`]).
pub type FlowResult = Result<Option<FlowTotals>, DpError>;

/// Counters of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowTotals {
    /// Packets that hit it.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// `CLOCK_MONOTONIC` milliseconds of the last hit; absent when there was none.
    pub used_ms: Option<u64>,
    /// All TCP flags seen, or-ed.
    pub tcp_flags: u8,
}

/// Counters of a datapath.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DpStats {
    /// Packets that hit a flow.
    pub hit: u64,
    /// Packets that hit none and went up.
    pub missed: u64,
    /// Packets that hit none and were lost on the way up.
    pub lost: u64,
    /// Flows.
    pub flows: u64,
    /// Mask statistics, where the kernel has them.
    pub masks: Option<MaskStats>,
}

/// Counters of a datapath's masks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MaskStats {
    /// Masks tried, over all packets.
    pub hit: u64,
    /// Masks.
    pub masks: u32,
    /// Packets whose mask was found in the mask cache.
    pub cache_hit: u64,
}

/// A port that came or went, whoever did it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PortEvent {
    /// Added or changed. That its device was renamed is not told: only the host's own device
    /// events tell that.
    Changed(PortInfo),
    /// Removed; the information is that of its last moment.
    Removed(PortInfo),
    /// Events were lost: ask for all ports.
    Overrun,
}

/// Where [`PortEvent`]s come from. One thread uses it.
pub trait PortEvents: Send {
    /// Readable when there are events.
    fn fd(&self) -> BorrowedFd<'_>;

    /// Hands out the events that are there. Never waits.
    ///
    /// # Errors
    /// When there will be no more events.
    fn read(&mut self, each: &mut dyn FnMut(PortEvent)) -> Result<(), DpError>;
}
