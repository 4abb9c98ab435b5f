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
        Ok(Dump { socket: self, seq, end: End::default() })
    }
}

/// A dump under way. Dropped before its end, it reads and discards the rest.
#[derive(Debug)]
pub struct Dump<'s> {
    socket: &'s mut Socket,
    seq: u32,
    end: End,
}

/// What is known of a dump's end.
#[derive(Debug, Default)]
struct End {
    /// Nothing more comes.
    done: bool,
    interrupted: bool,
    /// What went wrong in the datagram that was handed out last.
    failure: Option<Error>,
}

impl Dump<'_> {
    /// The objects of the next datagram, borrowed until the next call; `None` at the end. There may be
    /// none in it.
    ///
    /// # Errors
    /// [`Error::Kernel`] when the kernel refuses or breaks off the dump; otherwise as for
    /// [`Socket::transact`]. What is wrong with a datagram is told after the objects before that
    /// place. After [`Error::Overrun`], [`Error::Truncated`] and [`Error::Malformed`] the dump
    /// goes on, incomplete; after the others nothing comes.
    pub fn next_batch(&mut self) -> Result<Option<DumpBatch<'_>>, Error> {
        if let Some(failure) = self.end.failure.take() {
            return Err(failure);
        }
        if self.end.done {
            return Ok(None);
        }
        let len = match self.receive(REPLY_TIMEOUT)? {
            Some(len) => len,
            None => {
                self.end.done = true;
                return Err(Error::NoReply);
            }
        };
        let Self { socket, seq, end } = self;
        let (seq, port) = (*seq, socket.port);
        let datagram = socket.rx.get(..len).unwrap_or_default();
        Ok(Some(DumpBatch { messages: Messages::new(datagram), seq, port, end }))
    }

    /// Whether the kernel has said that something changed under the dump: objects may be missing or
    /// come twice.
    pub const fn interrupted(&self) -> bool {
        self.end.interrupted
    }

    fn receive(&mut self, timeout: Duration) -> Result<Option<usize>, Error> {
        match self.socket.receive(timeout).map_err(Error::from) {
            Err(e @ Error::Io(_)) => {
                self.end.done = true;
                Err(e)
            }
            result => result,
        }
    }
}

impl Drop for Dump<'_> {
    fn drop(&mut self) {
        for _ in 0..DISCARD_MAX {
            if self.end.done {
                break;
            }
            // Whatever comes is not wanted; the errors after which nothing comes set `done`.
            let _ = self.next_batch();
        }
    }
}

/// The objects in one datagram of a dump. What is not taken out of it is passed over.
#[derive(Debug)]
pub struct DumpBatch<'a> {
    messages: Messages<'a>,
    seq: u32,
    port: u32,
    end: &'a mut End,
}

impl<'a> DumpBatch<'a> {
    /// Takes in a message that is no object of this dump.
    #[cold]
    fn note(&mut self, m: &Message<'_>) -> Result<(), Error> {
        if m.kind == NLMSG_OVERRUN {
            return Err(Error::Overrun);
        }
        if m.seq != self.seq || m.port != self.port {
            return Ok(());
        }
        self.end.interrupted |= m.flags.contains(MsgFlags::DUMP_INTR);
        if let Some(ack) = Ack::parse(m)? {
            self.end.done = true;
            if ack.errno != 0 {
                return Err(Error::from_ack(&ack));
            }
        }
        Ok(())
    }
}

impl<'a> Iterator for DumpBatch<'a> {
    type Item = Message<'a>;

    #[inline]
    fn next(&mut self) -> Option<Message<'a>> {
        loop {
            let noted = match self.messages.next()? {
                Ok(m) if m.kind >= NLMSG_MIN_TYPE && m.seq == self.seq && m.port == self.port => {
                    self.end.interrupted |= m.flags.contains(MsgFlags::DUMP_INTR);
                    return Some(m);
                }
                Ok(m) => self.note(&m),
                Err(e) => Err(e.into()),
            };
            if let Err(e) = noted {
                self.end.failure = Some(e);
                self.messages = Messages::new(&[]);
                return None;
            }
        }
    }
}

impl Drop for DumpBatch<'_> {
    fn drop(&mut self) {
        while self.next().is_some() {}
    }
}
