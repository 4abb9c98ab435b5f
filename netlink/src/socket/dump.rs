//! Dumps: one request, many answers, until `NLMSG_DONE`.
//!
//! What always holds: a dump that is given up half-way is read to its end, so the socket can be used
//! again; an interrupted one (`NLM_F_DUMP_INTR`) is started anew, a bounded number of times.
//!
//! As for the socket: one thread at a time.

use std::time::Duration;

use super::{REPLY_TIMEOUT, Socket};
use crate::ack::Ack;
use crate::error::Error;
use crate::msg::{Message, Messages, MsgBuf, MsgError, MsgFlags, NLMSG_MIN_TYPE, NLMSG_OVERRUN};

/// How often an interrupted dump is tried: interfaces may come and go for a while at boot, but not
/// between any two datagrams for ever.
const ATTEMPTS: u32 = 16;
/// Datagrams read at most to finish a dump that nobody wants any more.
const DISCARD_MAX: usize = 1 << 20;

impl Socket {
    /// Dumps all objects of a get request, each made into a `T` by `parse`, which may also pass one
    /// over. The flags `REQUEST` and `DUMP` are set here. When something changed under the dump and
    /// the kernel says so, it starts again from nothing.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when that happens too often; otherwise as for [`Socket::transact`].
    pub fn dump<T>(
        &mut self,
        request: &mut MsgBuf,
        mut parse: impl FnMut(Message<'_>) -> Result<Option<T>, MsgError>,
    ) -> Result<Vec<T>, Error> {
        for _ in 0..ATTEMPTS {
            let mut all = Vec::new();
            let mut dump = self.start_dump(request)?;
            while let Some(batch) = dump.next_batch()? {
                for m in batch {
                    all.extend(parse(m)?);
                }
            }
            if !dump.interrupted() {
                return Ok(all);
            }
        }
        Err(Error::Interrupted { attempts: ATTEMPTS })
    }

    /// Starts a dump that is read datagram by datagram, for tables too large to collect.
    ///
    /// # Errors
    /// [`Error::Io`] when the request cannot be sent.
    pub fn start_dump(&mut self, request: &mut MsgBuf) -> Result<Dump<'_>, Error> {
        let seq = self.reserve_seqs(1);
        request.number(seq, MsgFlags::REQUEST | MsgFlags::DUMP);
        self.send(request.as_bytes())?;
        Ok(Dump { socket: self, seq, done: false, interrupted: false })
    }
}

/// A dump under way. Dropped before its end, it reads and discards the rest.
#[derive(Debug)]
pub struct Dump<'s> {
    socket: &'s mut Socket,
    seq: u32,
    done: bool,
    interrupted: bool,
}

impl Dump<'_> {
    /// The objects of the next datagram, borrowed until the next call; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Kernel`] when the kernel refuses or breaks off the dump; otherwise as for
    /// [`Socket::transact`]. After [`Error::Overrun`], [`Error::Truncated`] and
    /// [`Error::Malformed`] the dump goes on, incomplete; after the others nothing comes.
    pub fn next_batch(&mut self) -> Result<Option<DumpBatch<'_>>, Error> {
        while !self.done {
            let len = match self.receive(REPLY_TIMEOUT)? {
                Some(len) => len,
                None => {
                    self.done = true;
                    return Err(Error::NoReply);
                }
            };
            let datagram = self.socket.rx.get(..len).unwrap_or_default();
            let mut objects = 0;
            for m in Messages::new(datagram) {
                let m = m?;
                if m.kind == NLMSG_OVERRUN {
                    return Err(Error::Overrun);
                }
                if m.seq != self.seq || m.port != self.socket.port {
                    continue;
                }
                self.interrupted |= m.flags.contains(MsgFlags::DUMP_INTR);
                match Ack::parse(&m)? {
                    Some(ack) => {
                        self.done = true;
                        if ack.errno != 0 {
                            return Err(Error::from_ack(&ack));
                        }
                    }
                    None if m.kind >= NLMSG_MIN_TYPE => objects += 1,
                    None => {}
                }
            }
            if objects > 0 {
                let (seq, port) = (self.seq, self.socket.port);
                let datagram = self.socket.rx.get(..len).unwrap_or_default();
                return Ok(Some(DumpBatch { messages: Messages::new(datagram), seq, port }));
            }
        }
        Ok(None)
    }

    /// Whether the kernel has said that something changed under the dump: objects may be missing or
    /// come twice.
    pub const fn interrupted(&self) -> bool {
        self.interrupted
    }

    fn receive(&mut self, timeout: Duration) -> Result<Option<usize>, Error> {
        match self.socket.receive(timeout).map_err(Error::from) {
            Err(e @ Error::Io(_)) => {
                self.done = true;
                Err(e)
            }
            result => result,
        }
    }
}

impl Drop for Dump<'_> {
    fn drop(&mut self) {
        for _ in 0..DISCARD_MAX {
            if self.done {
                break;
            }
            // Whatever comes is not wanted; the errors after which nothing comes set `done`.
            let _ = self.next_batch();
        }
    }
}

/// The objects in one datagram of a dump.
#[derive(Clone, Debug)]
pub struct DumpBatch<'a> {
    messages: Messages<'a>,
    seq: u32,
    port: u32,
}

impl<'a> Iterator for DumpBatch<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        // The walk was error-free when the batch was made.
        let Self { messages, seq, port } = self;
        messages
            .by_ref()
            .map_while(Result::ok)
            .find(|m| m.seq == *seq && m.port == *port && m.kind >= NLMSG_MIN_TYPE)
    }
}
