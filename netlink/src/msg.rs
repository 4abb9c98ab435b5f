//! Whole netlink messages: building many into one reused buffer, walking those of a datagram.
//!
//! What always holds: a [`MsgBuf`] holds complete messages only (one that is given up or does not
//! fit is taken back, see [`MsgWriter`]), each 4-byte aligned with its length filled in, so its
//! bytes can go out in one `send`. Walking any bytes with [`Messages`] never panics.
//!
//! Plain values, no locks: any thread. Sources: `include/uapi/linux/netlink.h`, `genetlink.h` and
//! `openvswitch.h` (`struct ovs_header`).

use netlink_packet_core::{NetlinkMessage, NetlinkSerializable};
use thiserror::Error;

use crate::attr::{AttrError, AttrWriter, Attrs, align4};

/// `NLMSG_HDRLEN`: length, type, flags, sequence number, port id.
pub const NLMSG_HDRLEN: usize = 16;
/// `GENL_HDRLEN`: command, version, two reserved bytes.
pub const GENL_HDRLEN: usize = 4;
/// `sizeof(struct ovs_header)`: the datapath's ifindex.
pub const OVS_HDRLEN: usize = 4;

/// `NLMSG_NOOP`: nothing to see.
pub const NLMSG_NOOP: u16 = 1;
/// `NLMSG_ERROR`: a failure, or with error number 0 an acknowledgement.
pub const NLMSG_ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
pub const NLMSG_DONE: u16 = 3;
/// `NLMSG_OVERRUN`: data was lost.
pub const NLMSG_OVERRUN: u16 = 4;
/// `NLMSG_MIN_TYPE`: the first type that belongs to a family.
pub const NLMSG_MIN_TYPE: u16 = 0x10;

bitflags::bitflags! {
    /// `nlmsg_flags`. Several bits mean different things in different directions and commands.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MsgFlags: u16 {
        /// `NLM_F_REQUEST`: from user space.
        const REQUEST = 0x01;
        /// `NLM_F_MULTI`: one of several, ended by `NLMSG_DONE`.
        const MULTI = 0x02;
        /// `NLM_F_ACK`: answer with an acknowledgement, or an error.
        const ACK = 0x04;
        /// `NLM_F_ECHO`: send what changed to the requester too.
        const ECHO = 0x08;
        /// `NLM_F_DUMP_INTR`: the dump is inconsistent, something changed under it.
        const DUMP_INTR = 0x10;
        /// `NLM_F_DUMP` of a get request: all objects.
        const DUMP = 0x300;
        /// `NLM_F_REPLACE` of a new request: override what exists.
        const REPLACE = 0x100;
        /// `NLM_F_EXCL` of a new request: fail if it exists.
        const EXCL = 0x200;
        /// `NLM_F_CREATE` of a new request: create what does not exist.
        const CREATE = 0x400;
        /// `NLM_F_APPEND` of a new request: at the end of the list.
        const APPEND = 0x800;
        /// `NLM_F_CAPPED` of an error: only the request's header is echoed.
        const CAPPED = 0x100;
        /// `NLM_F_ACK_TLVS` of an error: extended ACK attributes follow.
        const ACK_TLVS = 0x200;
        const _ = !0;
    }
}

/// Everything before the attributes of a request to an OVS family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MsgHead {
    /// The family's id, which becomes `nlmsg_type`.
    pub family: u16,
    /// Command within the family.
    pub cmd: u8,
    /// Version of the family's protocol.
    pub version: u8,
    /// `nlmsg_flags`.
    pub flags: MsgFlags,
    /// Sequence number; transactions of [`Socket`](crate::Socket) replace it.
    pub seq: u32,
    /// `struct ovs_header`: ifindex of the datapath's local port, 0 for none in particular.
    pub dp_ifindex: u32,
}

/// Complete messages, one behind the other, in a buffer that is reused.
#[derive(Clone, Debug, Default)]
pub struct MsgBuf {
    bytes: Vec<u8>,
    count: usize,
}

impl MsgBuf {
    /// Empty, without memory.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), count: 0 }
    }

    /// Empty, with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), count: 0 }
    }

    /// Forgets the messages and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    /// The encoded messages, ready for one `send`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many messages it holds.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Whether it holds none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes it holds.
    pub const fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The messages.
    pub fn messages(&self) -> Messages<'_> {
        Messages::new(&self.bytes)
    }

    /// Begins a message to an OVS family: `nlmsghdr`, `genlmsghdr` and `ovs_header`.
    pub fn begin(&mut self, head: MsgHead) -> MsgWriter<'_> {
        // In one piece: two are built for every upcall.
        let mut whole = [0; NLMSG_HDRLEN + GENL_HDRLEN + OVS_HDRLEN];
        whole[4..6].copy_from_slice(&head.family.to_ne_bytes());
        whole[6..8].copy_from_slice(&head.flags.bits().to_ne_bytes());
        whole[8..12].copy_from_slice(&head.seq.to_ne_bytes());
        whole[16] = head.cmd;
        whole[17] = head.version;
        whole[20..].copy_from_slice(&head.dp_ifindex.to_ne_bytes());
        self.begin_with(&whole)
    }

    /// Begins a message to any generic netlink family: `nlmsghdr` and `genlmsghdr`.
    pub fn begin_genl(
        &mut self,
        family: u16,
        cmd: u8,
        version: u8,
        flags: MsgFlags,
        seq: u32,
    ) -> MsgWriter<'_> {
        let mut w = self.begin_raw(family, flags, seq);
        w.fixed(&[cmd, version, 0, 0]);
        w
    }

    /// Begins a message of any netlink protocol: `nlmsghdr` only, its own header is the caller's
    /// to add with [`MsgWriter::fixed`].
    pub fn begin_raw(&mut self, kind: u16, flags: MsgFlags, seq: u32) -> MsgWriter<'_> {
        let mut head = [0; NLMSG_HDRLEN];
        head[4..6].copy_from_slice(&kind.to_ne_bytes());
        head[6..8].copy_from_slice(&flags.bits().to_ne_bytes());
        head[8..12].copy_from_slice(&seq.to_ne_bytes());
        self.begin_with(&head)
    }

    #[inline]
    fn begin_with(&mut self, head: &[u8]) -> MsgWriter<'_> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(head);
        let attrs = AttrWriter::new(&mut self.bytes);
        MsgWriter { start, count: &mut self.count, attrs, complete: false }
    }

    /// Adds a message built from the types of the netlink-packet crates, for control messages; they
    /// own what they are made of, so not for packets and flows.
    pub fn push<T: NetlinkSerializable>(&mut self, mut message: NetlinkMessage<T>) {
        message.finalize();
        let start = self.bytes.len();
        self.bytes.resize(start + align4(message.buffer_len()), 0);
        message.serialize(self.bytes.get_mut(start..).unwrap_or_default());
        self.count += 1;
    }

    /// Overwrites sequence number and adds `flags` in each message: `first_seq`, `first_seq` + 1, …
    pub fn number(&mut self, first_seq: u32, flags: MsgFlags) {
        let mut seq = first_seq;
        for_each_head(&mut self.bytes, |head| {
            head.seq = seq;
            head.flags |= flags;
            seq = seq.wrapping_add(1);
        });
    }

    /// The encoded messages, to overwrite parts of their headers.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

/// What may change in the header of a message that is already built.
pub(crate) struct HeadPatch {
    /// `nlmsg_flags`.
    pub(crate) flags: MsgFlags,
    /// `nlmsg_seq`.
    pub(crate) seq: u32,
}

/// Lets `patch` change the header of each message in `bytes`.
pub(crate) fn for_each_head(bytes: &mut [u8], mut patch: impl FnMut(&mut HeadPatch)) {
    let mut rest = bytes;
    while let Some((head, tail)) = rest.split_first_chunk_mut::<NLMSG_HDRLEN>() {
        let [l0, l1, l2, l3, _, _, f0, f1, s0, s1, s2, s3, ..] = head;
        let len = u32::from_ne_bytes([*l0, *l1, *l2, *l3]) as usize;
        let mut now = HeadPatch {
            flags: MsgFlags::from_bits_retain(u16::from_ne_bytes([*f0, *f1])),
            seq: u32::from_ne_bytes([*s0, *s1, *s2, *s3]),
        };
        patch(&mut now);
        [*f0, *f1] = now.flags.bits().to_ne_bytes();
        [*s0, *s1, *s2, *s3] = now.seq.to_ne_bytes();
        rest = tail.get_mut(align4(len).saturating_sub(NLMSG_HDRLEN)..).unwrap_or_default();
    }
}

/// A message being built at the end of a [`MsgBuf`]. Dropped without [`Self::finish`], or when an
/// attribute did not fit, it leaves no trace in the buffer.
#[derive(Debug)]
#[must_use = "a message that is not finished is taken back"]
pub struct MsgWriter<'b> {
    start: usize,
    count: &'b mut usize,
    attrs: AttrWriter<'b>,
    complete: bool,
}

impl<'b> MsgWriter<'b> {
    /// Where the message's attributes go.
    pub fn attrs(&mut self) -> &mut AttrWriter<'b> {
        &mut self.attrs
    }

    /// Appends a protocol's fixed header, padded to a multiple of 4.
    pub fn fixed(&mut self, header: &[u8]) {
        self.attrs.raw(header);
    }

    /// Fills in the length and adds the message to the buffer.
    ///
    /// # Errors
    /// [`AttrError::TooLong`] when an attribute did not fit; the message is taken back.
    pub fn finish(mut self) -> Result<(), AttrError> {
        self.attrs.finish()?;
        let start = self.start;
        let buf = self.attrs.buffer();
        let len = buf.len().saturating_sub(start);
        let short = u32::try_from(len).map_err(|_| AttrError::TooLong { kind: 0, len })?;
        if let Some(field) = buf.get_mut(start..start + 4) {
            field.copy_from_slice(&short.to_ne_bytes());
            self.complete = true;
            *self.count += 1;
        }
        Ok(())
    }
}

impl Drop for MsgWriter<'_> {
    fn drop(&mut self) {
        if !self.complete {
            self.attrs.buffer().truncate(self.start);
        }
    }
}

/// A received message that does not hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MsgError {
    /// The datagram ends within a message header.
    #[error("{left} bytes where a netlink header of 16 should be")]
    Header {
        /// Bytes left in the datagram.
        left: usize,
    },
    /// The length field is below the header's own size or beyond the datagram.
    #[error("message of type {kind} says it is {len} bytes long where 16 to {left} are possible")]
    Length {
        /// `nlmsg_type`.
        kind: u16,
        /// `nlmsg_len`.
        len: u32,
        /// Bytes from the message's start to the end of the datagram.
        left: usize,
    },
    /// The message ends within a header that its family must have.
    #[error("message of {len} bytes ends within its family's header")]
    Family {
        /// Bytes after the netlink header.
        len: usize,
    },
    /// An attribute is malformed.
    #[error(transparent)]
    Attr(#[from] AttrError),
}

/// One message, borrowed from the datagram it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `nlmsg_type`: a family's id, or one of the `NLMSG_*` control types.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: MsgFlags,
    /// The request's sequence number; 0 in notifications and upcalls.
    pub seq: u32,
    /// Port id of the socket whose request this answers or that made the change, 0 for the kernel.
    pub port: u32,
    /// What follows the netlink header, padding excluded.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Splits the payload behind the generic netlink header.
    ///
    /// # Errors
    /// [`MsgError::Family`] when it is shorter than that header.
    #[inline]
    pub fn genl(&self) -> Result<Genl<'a>, MsgError> {
        match self.payload.split_first_chunk::<GENL_HDRLEN>() {
            Some((&[cmd, version, _, _], body)) => Ok(Genl { cmd, version, body }),
            None => Err(MsgError::Family { len: self.payload.len() }),
        }
    }
}

/// The payload of a generic netlink message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Genl<'a> {
    /// Command within the family.
    pub cmd: u8,
    /// Version of the family's protocol.
    pub version: u8,
    /// What follows the generic netlink header; `ovs_header` and attributes for the OVS families.
    pub body: &'a [u8],
}

/// Splits the body of an OVS message into `dp_ifindex` and attributes.
///
/// # Errors
/// [`MsgError::Family`] when it is shorter than `struct ovs_header`.
#[inline]
pub fn split_ovs_header(body: &[u8]) -> Result<(u32, Attrs<'_>), MsgError> {
    match body.split_first_chunk::<OVS_HDRLEN>() {
        Some((head, attrs)) => Ok((u32::from_ne_bytes(*head), Attrs::new(attrs))),
        None => Err(MsgError::Family { len: body.len() }),
    }
}

/// Walks the messages of a datagram; ends after the first error.
#[derive(Clone, Debug, Default)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Walks `datagram`, which begins with a message header.
    pub const fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }

    /// What has not been walked yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, MsgError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let list = std::mem::take(&mut self.rest);
        if list.is_empty() {
            return None;
        }
        let Some(head) = list.first_chunk::<NLMSG_HDRLEN>() else {
            return Some(Err(MsgError::Header { left: list.len() }));
        };
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, p0, p1, p2, p3] = *head;
        let len = u32::from_ne_bytes([l0, l1, l2, l3]);
        let kind = u16::from_ne_bytes([k0, k1]);
        let end = usize::try_from(len).unwrap_or(usize::MAX);
        let Some(payload) = list.get(NLMSG_HDRLEN..end) else {
            return Some(Err(MsgError::Length { kind, len, left: list.len() }));
        };
        self.rest = list.get(align4(end)..).unwrap_or_default();
        Some(Ok(Message {
            kind,
            flags: MsgFlags::from_bits_retain(u16::from_ne_bytes([f0, f1])),
            seq: u32::from_ne_bytes([s0, s1, s2, s3]),
            port: u32::from_ne_bytes([p0, p1, p2, p3]),
            payload,
        }))
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
    use netlink_packet_generic::{
        GenlMessage,
        ctrl::{GenlCtrl, GenlCtrlCmd, nlas::GenlCtrlAttrs},
    };
    use proptest::prelude::*;

    use super::*;

    const HEAD: MsgHead = MsgHead {
        family: 0x1f,
        cmd: 3,
        version: 1,
        flags: MsgFlags::REQUEST.union(MsgFlags::ACK),
        seq: 77,
        dp_ifindex: 5,
    };

    #[test]
    fn a_message_reads_back_as_written() {
        let mut buf = MsgBuf::new();
        let mut w = buf.begin(HEAD);
        w.attrs().str(1, "br0");
        w.finish().unwrap();
        let mut w = buf.begin(MsgHead { seq: 78, ..HEAD });
        w.attrs().bytes(2, &[1]);
        w.finish().unwrap();
        assert_eq!(buf.count(), 2);
        let all: Vec<_> = buf.messages().collect::<Result<_, _>>().unwrap();
        assert_eq!((all[0].seq, all[1].seq), (77, 78));
        assert_eq!((all[0].kind, all[0].flags, all[0].port), (0x1f, HEAD.flags, 0));
        let genl = all[1].genl().unwrap();
        assert_eq!((genl.cmd, genl.version), (3, 1));
        let (dp, mut attrs) = split_ovs_header(genl.body).unwrap();
        assert_eq!((dp, attrs.next().unwrap().unwrap().value), (5, &[1][..]));
    }

    #[test]
    fn an_unfinished_message_leaves_no_trace() {
        let mut buf = MsgBuf::new();
        buf.begin(HEAD).finish().unwrap();
        let before = buf.as_bytes().to_vec();
        let mut w = buf.begin(HEAD);
        w.attrs().u32(1, 1);
        drop(w);
        let mut w = buf.begin(HEAD);
        w.attrs().bytes(1, &[0; 70_000]);
        assert_eq!(w.finish(), Err(AttrError::TooLong { kind: 1, len: 70_004 }));
        assert_eq!((buf.as_bytes(), buf.count()), (&before[..], 1));
    }

    #[test]
    fn numbering_reaches_every_message() {
        let mut buf = MsgBuf::new();
        for len in 0..5 {
            let mut w = buf.begin(MsgHead { flags: MsgFlags::REQUEST, ..HEAD });
            w.attrs().bytes(1, &vec![0; len]);
            w.finish().unwrap();
        }
        buf.number(u32::MAX - 1, MsgFlags::ACK);
        let seqs: Vec<_> = buf.messages().map(|m| m.unwrap().seq).collect();
        assert_eq!(seqs, [u32::MAX - 1, u32::MAX, 0, 1, 2]);
        assert!(buf.messages().all(|m| m.unwrap().flags == MsgFlags::REQUEST | MsgFlags::ACK));
    }

    // The second source: what netlink-packet-core makes of the same request.
    #[test]
    fn bytes_are_those_of_netlink_packet_core() {
        let mut expected = NetlinkMessage::from(GenlMessage::from_payload(GenlCtrl {
            cmd: GenlCtrlCmd::GetFamily,
            nlas: vec![GenlCtrlAttrs::FamilyName("ovs_flow".to_owned())],
        }));
        expected.header.flags = NLM_F_REQUEST;
        expected.header.sequence_number = 9;
        expected.finalize();
        let mut bytes = vec![0; expected.buffer_len()];
        expected.serialize(&mut bytes);

        let mut buf = MsgBuf::new();
        let mut w = buf.begin_genl(0x10, 3, 2, MsgFlags::REQUEST, 9);
        w.attrs().str(2, "ovs_flow");
        w.finish().unwrap();
        assert_eq!(buf.as_bytes(), bytes);
        let back = NetlinkMessage::<GenlMessage<GenlCtrl>>::deserialize(buf.as_bytes()).unwrap();
        assert!(matches!(back.payload, NetlinkPayload::InnerMessage(m)
            if m.payload.cmd == GenlCtrlCmd::GetFamily));
    }

    proptest! {
        #[test]
        fn walking_any_bytes_ends_and_stays_inside(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let mut sum = 0;
            for m in Messages::new(&bytes) {
                let Ok(m) = m else { break };
                sum += NLMSG_HDRLEN + m.payload.len();
                if let Ok(genl) = m.genl() {
                    let _ = split_ovs_header(genl.body).map(|(_, attrs)| attrs.count());
                }
            }
            prop_assert!(sum <= bytes.len());
        }

        #[test]
        fn walking_lying_lengths_ends(len in any::<u32>(), tail in proptest::collection::vec(any::<u8>(), 0..60)) {
            let bytes = [&len.to_ne_bytes()[..], &tail].concat();
            prop_assert!(Messages::new(&bytes).count() <= 5);
        }
    }
}
