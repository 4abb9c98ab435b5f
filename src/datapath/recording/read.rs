//! Reading a recording back.
//!
//! What always holds: no bytes make it panic; it borrows from the file and copies only texts.
//!
//! Plain values: any thread.

use ovs_netlink::{
    attr::Attrs,
    msg::{Message, Messages, NLMSG_ERROR},
};

use super::{
    ATTR_COUNT, ATTR_TEXT, CMD_CONFIG, CMD_END, CMD_GAP, CMD_HEAD, CMD_LEARNED, CMD_OVERRUN,
    CMD_PORTS, COOKED_LEN, Event, FAMILY_ID, FILE_HEADER_LEN, FRAME_MAX, Head, LINKTYPE_NETLINK,
    MAGIC_NANOSECONDS, PACKET_KERNEL, PACKET_USER, RECORD_HEADER_LEN, RecordedPort, RecordingError,
    VERSION,
};

/// A whole file.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What stands at its beginning.
    pub head: Head,
    bytes: Vec<u8>,
}

impl Recording {
    /// Reads the head; the frames are read by [`Self::frames`].
    ///
    /// # Errors
    /// When it is no recording, or cut within the head.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, RecordingError> {
        let mut frames = Frames::new(&bytes)?;
        let head = loop {
            let offset = frames.offset;
            let (_, _, _, way, message) = frames.next_message().ok_or(RecordingError::NoHead)??;
            if way != PACKET_USER || message.kind != FAMILY_ID {
                // Announcements of the families stand before it.
                continue;
            }
            let own = Own::parse(&message).filter(|own| own.cmd == CMD_HEAD);
            let text = own.and_then(|own| own.text).ok_or(RecordingError::NoHead)?;
            break parse_head(text, offset)?;
        };
        Ok(Self { head, bytes })
    }

    /// All that it tells, in order. After an error nothing follows.
    pub fn frames(&self) -> Frames<'_> {
        // The header was looked at already.
        self.frames_from(FILE_HEADER_LEN)
    }

    /// The rest from a [`Frames::position`] on.
    pub fn frames_from(&self, position: usize) -> Frames<'_> {
        Frames { bytes: &self.bytes, offset: position, count: 0, clock: Some(&self.head) }
    }

    /// The ports of a [`Event::Ports`].
    ///
    /// # Errors
    /// [`RecordingError::Json`].
    pub fn parse_ports(text: &str) -> Result<Vec<RecordedPort>, RecordingError> {
        serde_json::from_str(text).map_err(|e| RecordingError::Json {
            what: "list of ports",
            offset: 0,
            error: e.to_string(),
        })
    }
}

fn parse_head(text: &str, offset: usize) -> Result<Head, RecordingError> {
    let failed =
        |e: serde_json::Error| RecordingError::Json { what: "head", offset, error: e.to_string() };
    // The version first: another one has another shape.
    let value: serde_json::Value = serde_json::from_str(text).map_err(failed)?;
    let version = value.get("version").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if version != u64::from(VERSION) {
        return Err(RecordingError::Version { version: version.try_into().unwrap_or(u32::MAX) });
    }
    serde_json::from_value(value).map_err(failed)
}

/// One thing that a recording tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// Nanoseconds since 1970.
    pub wall_ns: u64,
    /// The recording daemon's `CLOCK_MONOTONIC` milliseconds.
    pub monotonic_ms: u64,
    /// What.
    pub event: Event<'a>,
}

/// Walks a file; ends after the first error.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    bytes: &'a [u8],
    offset: usize,
    count: usize,
    clock: Option<&'a Head>,
}

/// Time, handler, batch, way and message.
type Raw<'a> = (u64, u16, u32, u16, Message<'a>);

impl<'a> Frames<'a> {
    /// Where the next frame begins in the file.
    pub const fn position(&self) -> usize {
        self.offset
    }

    fn new(bytes: &'a [u8]) -> Result<Self, RecordingError> {
        let Some(header) = bytes.first_chunk::<FILE_HEADER_LEN>() else {
            return Err(RecordingError::TooShort { len: bytes.len() });
        };
        let word = |at: usize| {
            u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        if word(0) != MAGIC_NANOSECONDS {
            return Err(RecordingError::Magic { magic: word(0) });
        }
        if word(20) != LINKTYPE_NETLINK {
            return Err(RecordingError::LinkType { link_type: word(20) });
        }
        Ok(Self { bytes, offset: FILE_HEADER_LEN, count: 0, clock: None })
    }

    fn next_message(&mut self) -> Option<Result<Raw<'a>, RecordingError>> {
        let offset = self.offset;
        let rest = self.bytes.get(offset..).filter(|rest| !rest.is_empty())?;
        let result = self.split(rest, offset);
        if result.is_err() {
            self.offset = self.bytes.len();
        }
        Some(result)
    }

    fn split(&mut self, rest: &'a [u8], offset: usize) -> Result<Raw<'a>, RecordingError> {
        let cut = RecordingError::Cut { offset, frames: self.count };
        let (head, rest) = rest.split_first_chunk::<RECORD_HEADER_LEN>().ok_or(cut.clone())?;
        let word =
            |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (seconds, nanoseconds, len) = (word(0), word(4), word(8));
        let full = usize::try_from(len).unwrap_or(usize::MAX);
        if !(COOKED_LEN..=FRAME_MAX).contains(&full) {
            return Err(RecordingError::Length { offset, len });
        }
        let (cooked, payload) =
            rest.get(..full).and_then(|f| f.split_first_chunk::<COOKED_LEN>()).ok_or(cut)?;
        let way = u16::from_be_bytes([cooked[0], cooked[1]]);
        let handler = u16::from_be_bytes([cooked[4], cooked[5]]);
        let batch = u32::from_be_bytes([cooked[6], cooked[7], cooked[8], cooked[9]]);
        let message = match Messages::new(payload).next() {
            Some(Ok(message)) => message,
            _ => return Err(RecordingError::Frame { offset }),
        };
        self.offset = offset + RECORD_HEADER_LEN + full;
        self.count += 1;
        let wall_ns = u64::from(seconds) * 1_000_000_000 + u64::from(nanoseconds);
        Ok((wall_ns, handler, batch, way, message))
    }

    /// The bytes of the frame that begins at `offset`, without what stands in front.
    fn payload(&self, offset: usize) -> &'a [u8] {
        let start = offset + RECORD_HEADER_LEN + COOKED_LEN;
        self.bytes.get(start..self.offset).unwrap_or_default()
    }

    fn event(&self, offset: usize, raw: &Raw<'a>) -> Option<Result<Event<'a>, RecordingError>> {
        let (_, handler, batch, way, message) = *raw;
        let malformed = Some(Err(RecordingError::Frame { offset }));
        if way == PACKET_KERNEL {
            return Some(Ok(Event::Sent { handler, batch, message: self.payload(offset) }));
        }
        let packet = self.clock.map(|head| head.families.packet);
        Some(Ok(match message.kind {
            NLMSG_ERROR => match message.payload.first_chunk() {
                Some(errno) => Event::Refused {
                    handler,
                    batch,
                    seq: message.seq,
                    errno: i32::from_ne_bytes(*errno).wrapping_neg(),
                },
                None => return malformed,
            },
            kind if Some(kind) == packet => {
                Event::Upcall { handler, batch, datagram: self.payload(offset) }
            }
            FAMILY_ID => {
                let Some(own) = Own::parse(&message) else { return malformed };
                match (own.cmd, own.text) {
                    (CMD_CONFIG, Some(text)) if own.count == 0 => Event::Config(text),
                    (CMD_CONFIG, Some(text)) => Event::ConfigPart(text),
                    (CMD_PORTS, Some(text)) => Event::Ports(text),
                    (CMD_LEARNED, Some(text)) => Event::Learned(text),
                    (CMD_OVERRUN, _) => Event::Overrun { handler },
                    (CMD_GAP, _) => Event::Gap { batches: own.count },
                    (CMD_END, Some(reason)) => Event::End { reason },
                    // The head, and what a later version of the format 1 may add.
                    _ => return None,
                }
            }
            // Announcements, and what others may have put in.
            _ => return None,
        }))
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let offset = self.offset;
            let raw = match self.next_message()? {
                Ok(raw) => raw,
                Err(e) => return Some(Err(e)),
            };
            let Some(event) = self.event(offset, &raw) else { continue };
            if event.is_err() {
                self.offset = self.bytes.len();
            }
            let wall_ns = raw.0;
            let monotonic_ms = self.clock.map_or(0, |head| {
                head.monotonic_ms.saturating_add(wall_ns.saturating_sub(head.wall_ns) / 1_000_000)
            });
            return Some(event.map(|event| Frame { wall_ns, monotonic_ms, event }));
        }
    }
}

/// A message of our own family.
struct Own<'a> {
    cmd: u8,
    text: Option<&'a str>,
    count: u64,
}

impl<'a> Own<'a> {
    fn parse(message: &Message<'a>) -> Option<Self> {
        let genl = message.genl().ok()?;
        let mut own = Self { cmd: genl.cmd, text: None, count: 0 };
        for attr in Attrs::new(genl.body) {
            let attr = attr.ok()?;
            match attr.kind {
                ATTR_TEXT => own.text = Some(attr.str().ok()?),
                ATTR_COUNT => own.count = attr.u64().ok()?,
                _ => (),
            }
        }
        Some(own)
    }
}
