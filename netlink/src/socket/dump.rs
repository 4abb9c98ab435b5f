//! Dumps: one request, many answers, until `NLMSG_DONE`.
//!
//! What always holds: a dump that is given up half-way is read to its end, so the socket can be used
//! again; an interrupted one (`NLM_F_DUMP_INTR`) is started anew, a bounded number of times.
//!
//! As for the socket: one thread at a time; a [`DumpDatagram`] may go to another.

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
        let progress = self.begin_dump(request)?;
        Ok(Dump { socket: self, progress })
    }

    /// Starts a dump whose datagrams are taken out of the socket, to be read elsewhere: by
    /// [`Self::next_datagram`], until that says that there are no more, or fails for good.
    ///
    /// # Errors
    /// [`Error::Io`] when the request cannot be sent.
    pub fn begin_dump(&mut self, request: &mut MsgBuf) -> Result<DumpProgress, Error> {
        let seq = self.reserve_seqs(1);
        request.number(seq, MsgFlags::REQUEST | MsgFlags::DUMP);
        self.send(request.as_bytes())?;
        Ok(DumpProgress { seq, end: End::default() })
    }

    /// Takes the next datagram of a dump, and leaves the memory of `into` for the one after it; false
    /// at the end. There may be no object in it.
    ///
    /// # Errors
    /// As for [`Dump::next_batch`].
    pub fn next_datagram(
        &mut self,
        progress: &mut DumpProgress,
        into: &mut DumpDatagram,
    ) -> Result<bool, Error> {
        into.len = 0;
        let Some(len) = progress.receive(self)? else {
            return Ok(false);
        };
        let batch = progress.batch(self, len);
        (into.seq, into.port) = (batch.seq, batch.port);
        drop(batch);
        std::mem::swap(&mut self.rx, &mut into.bytes);
        into.len = len;
        Ok(true)
    }

    /// Reads the rest of a dump that nobody wants any more, so that the socket can be used again.
    pub fn end_dump(&mut self, mut progress: DumpProgress) {
        progress.discard(self);
    }
}

/// Where a dump stands that was begun with [`Socket::begin_dump`].
#[derive(Debug)]
pub struct DumpProgress {
    seq: u32,
    end: End,
}

impl DumpProgress {
    /// Whether the kernel has said that something changed under the dump: objects may be missing or
    /// come twice.
    pub const fn interrupted(&self) -> bool {
        self.end.interrupted
    }

    /// Receives the next datagram into the socket's memory; `None` at the end.
    fn receive(&mut self, socket: &mut Socket) -> Result<Option<usize>, Error> {
        if let Some(failure) = self.end.failure.take() {
            return Err(failure);
        }
        if self.end.done {
            return Ok(None);
        }
        match socket.receive(REPLY_TIMEOUT).map_err(Error::from) {
            Ok(Some(len)) => Ok(Some(len)),
            Ok(None) => {
                self.end.done = true;
                Err(Error::NoReply)
            }
            Err(e) => {
                self.end.done |= matches!(e, Error::Io(_));
                Err(e)
            }
        }
    }

    /// The objects of the datagram that was received last.
    fn batch<'a>(&'a mut self, socket: &'a Socket, len: usize) -> DumpBatch<'a> {
        let datagram = socket.rx.get(..len).unwrap_or_default();
        let messages = Messages::new(datagram);
        DumpBatch { messages, seq: self.seq, port: socket.port, end: &mut self.end }
    }

    fn discard(&mut self, socket: &mut Socket) {
        for _ in 0..DISCARD_MAX {
            if self.end.done {
                break;
            }
            // Whatever comes is not wanted; the errors after which nothing comes set `done`.
            if let Ok(Some(len)) = self.receive(socket) {
                drop(self.batch(socket, len));
            }
        }
    }
}

/// A datagram of a dump, taken out of its socket.
#[derive(Debug, Default)]
pub struct DumpDatagram {
    bytes: Vec<u8>,
    len: usize,
    seq: u32,
    port: u32,
}

impl DumpDatagram {
    /// Without memory and objects.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), len: 0, seq: 0, port: 0 }
    }

    /// Its objects. What is wrong with it is told by the call that would bring the next one.
    pub fn objects(&self) -> impl Iterator<Item = Message<'_>> {
        let messages = Messages::new(self.bytes.get(..self.len).unwrap_or_default());
        let is_object =
            |m: &Message<'_>| m.kind >= NLMSG_MIN_TYPE && m.seq == self.seq && m.port == self.port;
        messages.map_while(Result::ok).filter(is_object)
    }

    /// Takes over messages that came another way than over a socket: from a made-up kernel. They are
    /// numbered 0.
    pub fn fill(&mut self, messages: &MsgBuf) {
        self.bytes.clear();
        self.bytes.extend_from_slice(messages.as_bytes());
        *self =
            Self { len: self.bytes.len(), bytes: std::mem::take(&mut self.bytes), seq: 0, port: 0 };
    }
}

/// A dump under way. Dropped before its end, it reads and discards the rest.
#[derive(Debug)]
pub struct Dump<'s> {
    socket: &'s mut Socket,
    progress: DumpProgress,
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
        let Self { socket, progress } = self;
        let received = progress.receive(socket)?;
        Ok(received.map(|len| progress.batch(socket, len)))
    }

    /// Whether the kernel has said that something changed under the dump: objects may be missing or
    /// come twice.
    pub const fn interrupted(&self) -> bool {
        self.progress.interrupted()
    }
}

impl Drop for Dump<'_> {
    fn drop(&mut self) {
        self.progress.discard(self.socket);
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
