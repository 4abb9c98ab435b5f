//! Encoding a recording.
//!
//! What always holds: whatever was appended is a prefix of a valid file.
//!
//! One thread.

use ovs_netlink::msg::{Messages, MsgBuf, MsgFlags, NLMSG_ERROR};

use super::{
    ARPHRD_NETLINK, ATTR_COUNT, ATTR_TEXT, CMD_CONFIG, CMD_END, CMD_GAP, CMD_HEAD, CMD_LEARNED,
    CMD_OVERRUN, CMD_PORTS, COOKED_LEN, FAMILY_ID, FAMILY_NAME, FRAME_MAX, Head, LINKTYPE_NETLINK,
    MAGIC_NANOSECONDS, NETLINK_GENERIC, NO_HANDLER, PACKET_KERNEL, PACKET_USER, RecordedPort,
};

/// `GENL_ID_CTRL`.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_NEWFAMILY: u8 = 1;
const CTRL_VERSION: u8 = 2;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// Text of one message; longer ones are split.
const TEXT_MAX: usize = 60 << 10;

/// Encodes a recording into memory; whoever has it takes the bytes away from time to time.
#[derive(Debug)]
pub struct Writer {
    /// The encoded file so far, but for what was taken.
    pub bytes: Vec<u8>,
    scratch: MsgBuf,
    wall_ns: u64,
    monotonic_ms: u64,
}

impl Writer {
    /// Begins a file with its head.
    pub fn new(head: &Head) -> Self {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&MAGIC_NANOSECONDS.to_ne_bytes());
        bytes.extend_from_slice(&2u16.to_ne_bytes());
        bytes.extend_from_slice(&4u16.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&u32::try_from(FRAME_MAX).unwrap_or(u32::MAX).to_ne_bytes());
        bytes.extend_from_slice(&LINKTYPE_NETLINK.to_ne_bytes());
        let (wall_ns, monotonic_ms) = (head.wall_ns, head.monotonic_ms);
        let mut writer = Self { bytes, scratch: MsgBuf::new(), wall_ns, monotonic_ms };
        let f = head.families;
        let known = [
            (Some(f.datapath), "ovs_datapath"),
            (Some(f.vport), "ovs_vport"),
            (Some(f.flow), "ovs_flow"),
            (Some(f.packet), "ovs_packet"),
            (f.meter, "ovs_meter"),
            (f.ct_limit, "ovs_ct_limit"),
            (Some(FAMILY_ID), FAMILY_NAME),
        ];
        for (id, name) in known {
            if let Some(id) = id {
                writer.announce(id, name);
            }
        }
        let text = serde_json::to_string(head).unwrap_or_default();
        writer.own(monotonic_ms, NO_HANDLER, CMD_HEAD, Some(&text), 0);
        writer
    }

    /// The configuration from now on.
    pub fn config(&mut self, now_ms: u64, mut text: &str) {
        // The parts before the last carry a count of 1: more follow.
        while text.len() > TEXT_MAX {
            let end = (0..=TEXT_MAX).rev().find(|&at| text.is_char_boundary(at));
            let (part, rest) = text.split_at(end.unwrap_or(0));
            self.own(now_ms, NO_HANDLER, CMD_CONFIG, Some(part), 1);
            text = rest;
        }
        self.own(now_ms, NO_HANDLER, CMD_CONFIG, Some(text), 0);
    }

    /// All ports from now on. More than a message holds are left out.
    pub fn ports(&mut self, now_ms: u64, ports: &[RecordedPort]) {
        let mut fit = ports.len();
        loop {
            let text = serde_json::to_string(ports.get(..fit).unwrap_or_default());
            match text {
                Ok(text) if text.len() < u16::MAX.into() || fit == 0 => {
                    self.own(now_ms, NO_HANDLER, CMD_PORTS, Some(&text), 0);
                    return;
                }
                _ => fit /= 2,
            }
        }
    }

    /// An upcall, as it was received.
    pub fn upcall(&mut self, now_ms: u64, handler: u16, batch: u32, datagram: &[u8]) {
        self.frame(now_ms, PACKET_USER, handler, batch, datagram);
    }

    /// Messages, as they were sent.
    pub fn sent(&mut self, now_ms: u64, handler: u16, batch: u32, messages: &[u8]) {
        let mut rest = messages;
        for message in Messages::new(messages).map_while(Result::ok) {
            let len = (16 + message.payload.len()).next_multiple_of(4).min(rest.len());
            let (this, tail) = rest.split_at(len);
            self.frame(now_ms, PACKET_KERNEL, handler, batch, this);
            rest = tail;
        }
    }

    /// The kernel refused a message.
    pub fn refused(&mut self, now_ms: u64, handler: u16, batch: u32, seq: u32, errno: i32) {
        self.scratch.clear();
        let mut w = self.scratch.begin_raw(NLMSG_ERROR, MsgFlags::CAPPED, seq);
        // `struct nlmsgerr`: the error and the header of the request, of which the number counts.
        w.fixed(&(-errno).to_ne_bytes());
        w.fixed(&[16, 0, 0, 0, 0, 0, 0, 0]);
        w.fixed(&seq.to_ne_bytes());
        w.fixed(&[0; 4]);
        if w.finish().is_ok() {
            self.frame_scratch(now_ms, handler, batch);
        }
    }

    /// A handler was told that upcalls were lost.
    pub fn overrun(&mut self, now_ms: u64, handler: u16) {
        self.own(now_ms, handler, CMD_OVERRUN, None, 0);
    }

    /// An address was learned from counters alone.
    pub fn learned(&mut self, now_ms: u64, text: &str) {
        self.own(now_ms, NO_HANDLER, CMD_LEARNED, Some(text), 0);
    }

    /// Batches were left out.
    pub fn gap(&mut self, now_ms: u64, batches: u64) {
        self.own(now_ms, NO_HANDLER, CMD_GAP, None, batches);
    }

    /// The recording ends.
    pub fn end(&mut self, now_ms: u64, reason: &str) {
        self.own(now_ms, NO_HANDLER, CMD_END, Some(reason), 0);
    }

    fn announce(&mut self, id: u16, name: &str) {
        self.scratch.clear();
        let flags = MsgFlags::empty();
        let mut w =
            self.scratch.begin_genl(GENL_ID_CTRL, CTRL_CMD_NEWFAMILY, CTRL_VERSION, flags, 0);
        w.attrs().str(CTRL_ATTR_FAMILY_NAME, name);
        w.attrs().u16(CTRL_ATTR_FAMILY_ID, id);
        if w.finish().is_ok() {
            self.frame_scratch(self.monotonic_ms, NO_HANDLER, 0);
        }
    }

    fn own(&mut self, now_ms: u64, handler: u16, cmd: u8, text: Option<&str>, count: u64) {
        self.scratch.clear();
        let mut w = self.scratch.begin_genl(FAMILY_ID, cmd, 1, MsgFlags::empty(), 0);
        if let Some(text) = text {
            w.attrs().str(ATTR_TEXT, text);
        }
        if count != 0 {
            w.attrs().u64(ATTR_COUNT, count);
        }
        if w.finish().is_ok() {
            self.frame_scratch(now_ms, handler, 0);
        }
    }

    fn frame_scratch(&mut self, now_ms: u64, handler: u16, batch: u32) {
        let scratch = std::mem::take(&mut self.scratch);
        self.frame(now_ms, PACKET_USER, handler, batch, scratch.as_bytes());
        self.scratch = scratch;
    }

    fn frame(&mut self, now_ms: u64, way: u16, handler: u16, batch: u32, payload: &[u8]) {
        let elapsed_ns = now_ms.saturating_sub(self.monotonic_ms).saturating_mul(1_000_000);
        let at_ns = self.wall_ns.saturating_add(elapsed_ns);
        let seconds = u32::try_from(at_ns / 1_000_000_000).unwrap_or(u32::MAX);
        let nanoseconds = u32::try_from(at_ns % 1_000_000_000).unwrap_or(0);
        let full = COOKED_LEN + payload.len();
        let (Ok(len), true) = (u32::try_from(full), full <= FRAME_MAX) else { return };
        for word in [seconds, nanoseconds, len, len] {
            self.bytes.extend_from_slice(&word.to_ne_bytes());
        }
        for half in [way, ARPHRD_NETLINK, handler] {
            self.bytes.extend_from_slice(&half.to_be_bytes());
        }
        self.bytes.extend_from_slice(&batch.to_be_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&NETLINK_GENERIC.to_be_bytes());
        self.bytes.extend_from_slice(payload);
    }
}
