//! Recordings: what the kernel said to the handlers and what they answered, in one file.
//!
//! A recording is a pcap file with nanosecond time stamps and link type NETLINK (253), so that
//! `tshark` opens it and names the families. In it, in this order: `nlctrl` announcements of the
//! families; our own messages of the made-up family [`FAMILY_NAME`], with everything that a replay
//! needs to know beside the packets; then upcalls, messages sent and errors as they came. The
//! sixteen bytes in front of each frame are those of the kernel's `nlmon` devices, with handler and
//! batch in the place that is unused there.
//!
//! What always holds: what [`Writer`] wrote, [`Recording`] reads back the same; a file cut anywhere,
//! or altered, gives a typed error and what stood before it, never a panic; nothing in a file makes
//! the reader take more memory than a small multiple of the file.
//!
//! Plain values: any thread.

mod read;
#[cfg(test)]
mod tests;
mod write;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::{
    read::{Frame, Frames, Recording},
    write::Writer,
};
use super::{FamilyIds, OdpPort, PortInfo, PortKind, Support};

/// Name of the made-up generic netlink family of our own messages.
pub const FAMILY_NAME: &str = "rovs_recording";

/// Version of the format; the reader refuses others.
pub const VERSION: u32 = 1;

/// Id of the made-up family: beyond the ids that kernels give out.
const FAMILY_ID: u16 = 0xfff0;
/// Commands of the made-up family.
const CMD_HEAD: u8 = 1;
const CMD_CONFIG: u8 = 2;
const CMD_PORTS: u8 = 3;
const CMD_OVERRUN: u8 = 4;
const CMD_GAP: u8 = 5;
const CMD_END: u8 = 6;
const CMD_LEARNED: u8 = 7;
/// Attributes of the made-up family.
const ATTR_TEXT: u16 = 1;
const ATTR_COUNT: u16 = 2;

/// `LINKTYPE_NETLINK`.
const LINKTYPE_NETLINK: u32 = 253;
/// Magic of a pcap file with nanoseconds, in the byte order of the machine that wrote it.
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const FILE_HEADER_LEN: usize = 24;
const RECORD_HEADER_LEN: usize = 16;
const COOKED_LEN: usize = 16;
/// `PACKET_USER` and `PACKET_KERNEL` of linux/if_packet.h: to user space, to the kernel.
const PACKET_USER: u16 = 6;
const PACKET_KERNEL: u16 = 7;
/// `ARPHRD_NETLINK`.
const ARPHRD_NETLINK: u16 = 824;
/// `NETLINK_GENERIC`.
const NETLINK_GENERIC: u16 = 16;
/// Longest frame in a file: the longest netlink message that is exchanged, and more.
const FRAME_MAX: usize = 1 << 20;
/// Stands for "no handler" in a frame.
const NO_HANDLER: u16 = u16::MAX;

/// What a replay needs to know before the first packet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Head {
    /// [`VERSION`].
    pub version: u32,
    /// Program that recorded, with its version.
    pub program: String,
    /// Name of the datapath.
    pub datapath: String,
    /// Its number in all messages.
    pub dp_ifindex: u32,
    /// Ids of the families in all messages.
    pub families: FamilyIds,
    /// What the kernel can do.
    pub support: Support,
    /// What UFIDs are seeded with, as hexadecimal digits.
    pub ufid_secret: String,
    /// Nanoseconds since 1970 at the beginning.
    pub wall_ns: u64,
    /// `CLOCK_MONOTONIC` milliseconds at the same moment.
    pub monotonic_ms: u64,
}

/// A port as a replay needs it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecordedPort {
    /// Number in the datapath.
    pub odp: u32,
    /// Name of the device.
    pub name: String,
    /// Number of its kind, as the kernel has it.
    pub kind: u32,
    /// ifindex of the device.
    pub ifindex: Option<u32>,
}

impl From<&PortInfo> for RecordedPort {
    fn from(port: &PortInfo) -> Self {
        let kind = port.kind.vport_type();
        Self { odp: port.odp.0, name: port.name.clone(), kind, ifindex: port.ifindex }
    }
}

impl RecordedPort {
    /// The port, with counters at zero.
    pub fn info(&self) -> PortInfo {
        PortInfo {
            odp: OdpPort(self.odp),
            name: self.name.clone(),
            kind: PortKind::from_vport_type(self.kind),
            ifindex: self.ifindex,
            netns_id: None,
            stats: super::PortStats::default(),
            upcall_stats: None,
        }
    }
}

/// What a recording tells, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// The configuration from here on, as text.
    Config(&'a str),
    /// A piece of a text too long for one message; more follow.
    ConfigPart(&'a str),
    /// All ports from here on: JSON of a list of [`RecordedPort`].
    Ports(&'a str),
    /// An address that the kernel's own traffic showed, without an upcall.
    Learned(&'a str),
    /// An upcall, as it was received. Those of one batch stand together.
    Upcall {
        /// Handler that received it.
        handler: u16,
        /// Number of the batch, counted by handler.
        batch: u32,
        /// The datagram.
        datagram: &'a [u8],
    },
    /// A message, as it was sent.
    Sent {
        /// Handler that sent it.
        handler: u16,
        /// Number of the batch that it answers.
        batch: u32,
        /// The message.
        message: &'a [u8],
    },
    /// The kernel refused a message.
    Refused {
        /// Handler whose message it was.
        handler: u16,
        /// Number of the batch that the message answered.
        batch: u32,
        /// Sequence number of the message.
        seq: u32,
        /// Error number.
        errno: i32,
    },
    /// A handler was told that upcalls were lost.
    Overrun {
        /// The handler.
        handler: u16,
    },
    /// Batches are missing: the disk was too slow for them.
    Gap {
        /// How many.
        batches: u64,
    },
    /// The recording ended in good order.
    End {
        /// Why: asked to, or the size limit.
        reason: &'a str,
    },
}

/// Why a file is no recording, or from where on it is none.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RecordingError {
    /// The file is shorter than a pcap file's header.
    #[error("a file of {len} bytes is too short for a recording")]
    TooShort {
        /// Its length.
        len: usize,
    },
    /// Not a pcap file with nanoseconds of this machine's byte order.
    #[error("not a recording: the file begins with {magic:#010x}")]
    Magic {
        /// The first four bytes.
        magic: u32,
    },
    /// A pcap file of something other than netlink.
    #[error("not a recording: pcap link type {link_type} where 253 (netlink) should be")]
    LinkType {
        /// What it says.
        link_type: u32,
    },
    /// The first messages are not those of a recording.
    #[error("not a recording: the head is missing")]
    NoHead,
    /// A version that this program does not read.
    #[error("recording of format version {version}, this program reads version 1")]
    Version {
        /// The version.
        version: u32,
    },
    /// The head, or a list of ports, is not what it should be.
    #[error("{what} at byte {offset} cannot be read: {error}")]
    Json {
        /// What it is.
        what: &'static str,
        /// Where the frame begins.
        offset: usize,
        /// What is wrong.
        error: String,
    },
    /// The file ends within a frame.
    #[error("cut off at byte {offset}: {frames} whole frames stand before")]
    Cut {
        /// Where the frame begins.
        offset: usize,
        /// Frames before it.
        frames: usize,
    },
    /// A frame of an impossible length.
    #[error("frame at byte {offset} says it is {len} bytes long, which it cannot be")]
    Length {
        /// Where the frame begins.
        offset: usize,
        /// The length.
        len: u32,
    },
    /// A frame that is not a netlink message of the kinds that are recorded.
    #[error("frame at byte {offset} is no message of a recording")]
    Frame {
        /// Where the frame begins.
        offset: usize,
    },
}
