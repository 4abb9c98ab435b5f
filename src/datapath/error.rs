//! What can go wrong between this program and a datapath, with the remedy in words.
//!
//! What always holds: an error names the operation, keeps the kernel's error number and, where the
//! kernel gave one, its extended-ACK text; two errors of the same cause compare equal.
//!
//! Plain values: any thread.

use std::{borrow::Cow, fmt};

use thiserror::Error;

/// Cause of a [`DpError`].
///
/// What the callers do about the six that happen in a healthy daemon's life:
///
/// | cause | policy |
/// |---|---|
/// | [`Overrun`](Self::Overrun) (ENOBUFS) | count it, keep reading; nothing is closed. The kernel's `lost` counts the same packets. |
/// | [`Exists`](Self::Exists) of a flow | somebody else installed it, or it overlaps one that is being changed: the packet is executed all the same and the next upcall tries again. |
/// | [`NoSpace`](Self::NoSpace) | install nothing more until the next sweep has removed flows; packets are executed. |
/// | [`DatapathGone`](Self::DatapathGone) | stop sending, reopen (creating it), add the ports again, install anew. |
/// | [`Busy`](Self::Busy) | the port stays out and its error is shown; tried again when the device changes. |
/// | [`FamiliesGone`](Self::FamiliesGone) | the module was removed: wait for it to come back, then as `DatapathGone`. |
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum DpErrorKind {
    /// The datapath was removed under us.
    DatapathGone,
    /// No datapath of this name, and creating one was not asked for.
    NoSuchDatapath,
    /// The kernel has no openvswitch families: module not loaded, or removed.
    FamiliesGone,
    /// No host device of this name.
    NoSuchDevice,
    /// The datapath has no such port.
    NoSuchPort,
    /// The datapath has no such flow.
    NoSuchFlow,
    /// What was to be created exists already.
    Exists,
    /// The device belongs to another bridge or datapath, or the port number is taken.
    Busy,
    /// A table is full: flows, masks, ports or probes.
    NoSpace,
    /// The kernel has no memory left.
    NoMemory,
    /// The message is larger than the kernel takes (actions over 32 KiB, attributes over 64 KiB).
    TooBig,
    /// A socket buffer was too small and messages were lost.
    Overrun,
    /// We lack `CAP_NET_ADMIN` in the datapath's user namespace.
    Permission,
    /// This kernel cannot do that.
    Unsupported,
    /// The kernel refused a malformed request.
    Invalid,
    /// A dump was interrupted by changes more often than it is restarted.
    Interrupted,
    /// The kernel's answer could not be read.
    Malformed,
    /// Anything else: see the error number.
    Other,
}

/// A failed operation on a datapath.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub struct DpError {
    /// Cause.
    pub kind: DpErrorKind,
    /// What was attempted, as in "add port eth0".
    pub doing: Cow<'static, str>,
    /// The kernel's error number, positive; 0 when the cause is not an answer of the kernel.
    pub errno: i32,
    /// The kernel's own words (extended ACK), or what could not be read.
    pub message: Option<String>,
}

impl DpError {
    /// An error without the kernel's words.
    pub fn new(kind: DpErrorKind, doing: impl Into<Cow<'static, str>>, errno: i32) -> Self {
        Self { kind, doing: doing.into(), errno, message: None }
    }

    /// The same with the kernel's words.
    #[must_use]
    pub fn with_message(mut self, message: Option<String>) -> Self {
        self.message = message;
        self
    }

    /// Whether the datapath has to be opened anew before anything can succeed.
    pub const fn is_gone(&self) -> bool {
        matches!(self.kind, DpErrorKind::DatapathGone | DpErrorKind::FamiliesGone)
    }

    /// What the operator can do about it; empty when there is nothing to do.
    pub const fn remedy(&self) -> &'static str {
        match self.kind {
            DpErrorKind::DatapathGone => {
                "something else deleted the datapath; it is created again with its ports"
            }
            DpErrorKind::NoSuchDatapath => "run ovs-vswitchd, or ovs-dpctl add-dp",
            DpErrorKind::FamiliesGone => "load the kernel module: modprobe openvswitch",
            DpErrorKind::NoSuchDevice => "create the device, or correct the port's name",
            DpErrorKind::NoSuchPort => {
                "the port was removed meanwhile; ovs-dpctl show lists those left"
            }
            DpErrorKind::NoSuchFlow => "",
            DpErrorKind::Exists => "remove the device or flow of the same name or key first",
            DpErrorKind::Busy => {
                "take the device out of its other bridge, bond or datapath first (ip link set DEV nomaster)"
            }
            DpErrorKind::NoSpace => "lower the flow limit, or remove ports or flows",
            DpErrorKind::NoMemory => "free memory on this host",
            DpErrorKind::TooBig => "use fewer or shorter actions",
            DpErrorKind::Overrun => "use more handlers, or find the port with the many new flows",
            DpErrorKind::Permission => "run as root, or with CAP_NET_ADMIN",
            DpErrorKind::Unsupported => "use a newer kernel, or do without the feature",
            DpErrorKind::Invalid => "report it with the kernel's words and a recording",
            DpErrorKind::Interrupted => "try again",
            DpErrorKind::Malformed => "report it with a recording",
            DpErrorKind::Other => "",
        }
    }
}

/// What was attempted, as far as it decides what an error number means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    /// Finding or creating a datapath.
    Open,
    /// Anything else with a datapath as a whole.
    Datapath,
    /// Adding a port.
    PortAdd,
    /// Anything else with a port.
    Port,
    /// Anything with flows.
    Flow,
    /// Executing actions on a packet.
    Execute,
}

impl DpErrorKind {
    /// What the error number means. Where one number has two meanings (`ENODEV` of port operations,
    /// `ENOENT` of flow operations) this is the usual one; who knows better says so.
    pub(super) const fn from_errno(op: Op, errno: i32) -> Self {
        match errno {
            libc::ENODEV => match op {
                Op::Open => Self::NoSuchDatapath,
                Op::PortAdd => Self::NoSuchDevice,
                Op::Port => Self::NoSuchPort,
                Op::Datapath | Op::Flow | Op::Execute => Self::DatapathGone,
            },
            libc::ENOENT => match op {
                Op::Flow => Self::NoSuchFlow,
                _ => Self::FamiliesGone,
            },
            libc::EEXIST => Self::Exists,
            libc::EBUSY => Self::Busy,
            libc::ENOSPC | libc::EFBIG => Self::NoSpace,
            libc::ENOMEM => Self::NoMemory,
            libc::E2BIG | libc::EMSGSIZE => Self::TooBig,
            libc::ENOBUFS => Self::Overrun,
            libc::EPERM | libc::EACCES => Self::Permission,
            libc::EOPNOTSUPP | libc::EAFNOSUPPORT => Self::Unsupported,
            libc::EINVAL | libc::ERANGE | libc::EOVERFLOW | libc::EPROTO => Self::Invalid,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for DpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.doing)?;
        if self.errno == 0 {
            write!(f, "{:?}", self.kind)?;
        } else {
            write!(f, "{}", nix::errno::Errno::from_raw(self.errno).desc())?;
        }
        match &self.message {
            Some(message) => write!(f, " ({message})"),
            None => Ok(()),
        }
    }
}

/// Why a handler could not read upcalls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum RecvError {
    /// The kernel dropped upcalls because the socket's buffer was full (ENOBUFS). Those in the
    /// buffer are still there: read on.
    #[error("upcalls were lost, the handler reads too slowly")]
    Overrun,
    /// A datagram was longer than a receive buffer; it is lost.
    #[error("an upcall of {0} bytes does not fit its buffer")]
    Truncated(usize),
    /// The socket is of no use any more: handlers were replaced or the recording ended.
    #[error("no more upcalls")]
    Gone,
    /// Another error of the socket, by number.
    #[error("reading upcalls: {}", nix::errno::Errno::from_raw(*.0).desc())]
    Io(i32),
}

/// Why a handler could not send at all. What the kernel thinks of each message comes by
/// `UpcallPort::errors`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum SendError {
    /// The kernel has no room or memory for the messages (ENOBUFS, ENOMEM, EAGAIN): drop them.
    #[error("no buffer space for messages to the datapath")]
    NoBuffers,
    /// Another error of the socket, by number.
    #[error("sending to the datapath: {}", nix::errno::Errno::from_raw(*.0).desc())]
    Io(i32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_operation_cause_and_the_kernels_words() {
        let e = DpError::new(DpErrorKind::Busy, "add port eth0", libc::EBUSY);
        assert_eq!(e.to_string(), "add port eth0: Device or resource busy");
        let e = e.with_message(Some("already bridged".to_owned()));
        assert_eq!(e.to_string(), "add port eth0: Device or resource busy (already bridged)");
        assert!(e.remedy().contains("nomaster"));
    }
}
