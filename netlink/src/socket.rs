//! A blocking netlink socket for threads: requests, batches, dumps, and upcalls in bulk.
//!
//! What always holds: each request of a batch gets exactly one result; an answer is matched by
//! sequence number and port id, so one that came late is never taken for another's; `EINTR` is
//! retried; a lost message (`ENOBUFS`) and a truncated one are errors that say so, never silence;
//! every wait has an end. The kernel carries a request out within the `send`, so the wait for an
//! answer is none at all in practice.
//!
//! # Which socket for what
//! A transaction throws away whatever else arrives before its answer. So a thread that handles
//! upcalls receives them on one socket with [`Socket::recv_batch`] and sends flow puts and executes
//! on another with [`Socket::send`], whose only input are the errors that
//! [`Socket::drain_errors`] reads. A thread may also use one socket for both, as long as it makes no
//! transactions on it: errors then come between the upcalls, as `NLMSG_ERROR` messages for
//! [`Ack::parse`].
//!
//! A socket belongs to one thread at a time. Sources: `netlink(7)`, `net/netlink/af_netlink.c`.

mod dump;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket as SysSocket, SocketAddr};

use crate::ack::Ack;
use crate::error::{Error, RecvError};
use crate::msg::{Message, Messages, MsgBuf, MsgError, MsgFlags, NLMSG_MIN_TYPE, NLMSG_OVERRUN};
use crate::ring::RecvRing;
use crate::{sys, tally};

pub use self::dump::{Dump, DumpBatch, DumpDatagram, DumpProgress};

/// Longest datagram that a transaction or dump can receive: two attributes of the greatest length
/// and some more. (The kernel's own dumps use at most 32 KiB.)
const RX_BYTES: usize = 160 << 10;
/// How long to wait for an answer that the kernel gives within the `send`; only a defect reaches it.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// Receive buffer per unanswered request: an answer of ordinary size with the kernel's overhead.
const RCVBUF_PER_REQUEST: usize = 4096;
/// Bytes per `send`: the default send buffer (208 KiB) takes no more than that in one datagram, and
/// beyond this length a system call less no longer shows.
const SEND_BYTES: usize = 128 << 10;
/// Waits from here on are those of a thread that has nothing to do, and are all of one length; others
/// vary, and setting the socket for each would cost more than it saves.
const LONG_WAIT: Duration = Duration::from_millis(100);
/// Datagrams that one call of [`Socket::drain_errors`] reads at most.
const DRAIN_MAX: usize = 4096;

/// A netlink socket bound to a port id of its own and connected to the kernel, so that nobody else
/// can send to it. Extended ACKs are on.
pub struct Socket {
    inner: SysSocket,
    port: u32,
    next_seq: u32,
    rcvbuf: usize,
    rx: Vec<u8>,
    /// How long `rx` is when something is received into it.
    rx_bytes: usize,
    reply: Vec<u8>,
    answered: Vec<bool>,
    /// Milliseconds that a receive of the kernel's waits; 0 before that was set.
    rcvtimeo_ms: AtomicU64,
    is_nonblocking: AtomicBool,
}

/// What [`Socket::drain_errors`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Errors and acknowledgements reported.
    pub acks: usize,
    /// Whether some were lost (`ENOBUFS`).
    pub overrun: bool,
}

impl Socket {
    /// A generic netlink socket.
    ///
    /// # Errors
    /// Whatever `socket`, `bind` or `connect` fail with.
    pub fn open() -> io::Result<Self> {
        Self::open_protocol(NETLINK_GENERIC)
    }

    /// A socket of any netlink protocol, `netlink_sys::protocols::NETLINK_*`.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_protocol(protocol: isize) -> io::Result<Self> {
        let mut inner = SysSocket::new(protocol)?;
        let port = inner.bind_auto()?.port_number();
        inner.connect(&SocketAddr::new(0, 0))?;
        inner.set_ext_ack(true)?;
        inner.set_cap_ack(true)?;
        Self::with_port(inner, port)
    }

    /// A socket that someone else opened and bound to `port`; in tests an end of a socket pair with
    /// a made-up kernel at the other.
    ///
    /// # Errors
    /// Whatever `getsockopt` fails with.
    pub fn adopt(fd: OwnedFd, port: u32) -> io::Result<Self> {
        Self::with_port(sys::adopt(fd), port)
    }

    fn with_port(inner: SysSocket, port: u32) -> io::Result<Self> {
        let rcvbuf = sys::rcvbuf(inner.as_fd())?;
        let (rx, reply, answered) = (Vec::new(), Vec::new(), Vec::new());
        let is_nonblocking = sys::is_nonblocking(inner.as_fd())?.into();
        let rcvtimeo_ms = AtomicU64::new(0);
        Ok(Self {
            inner,
            port,
            next_seq: 1,
            rcvbuf,
            rx,
            rx_bytes: RX_BYTES,
            reply,
            answered,
            rcvtimeo_ms,
            is_nonblocking,
        })
    }

    /// The port id: what a vport or a datapath is given as the destination of its upcalls.
    pub const fn port_id(&self) -> u32 {
        self.port
    }

    /// Asks for a receive buffer of `bytes`, past `net.core.rmem_max` where privileges allow.
    /// Returns what the kernel made of it: twice as much, or less than asked for.
    ///
    /// # Errors
    /// Whatever `setsockopt` fails with.
    pub fn set_rcvbuf_force(&mut self, bytes: usize) -> io::Result<usize> {
        sys::set_rcvbuf(self.as_fd(), i32::try_from(bytes).unwrap_or(i32::MAX))?;
        self.rcvbuf = sys::rcvbuf(self.as_fd())?;
        Ok(self.rcvbuf)
    }

    /// Has transactions and dumps receive no datagram longer than `bytes` from now on: a longer one is
    /// an error. The kernel makes the datagrams of a dump as long as the longest buffer that was ever
    /// handed to the socket, up to 32 KiB, and where it is not preemptible nobody else has the CPU while
    /// it fills one. For a socket that nothing was received with yet.
    pub fn limit_datagrams(&mut self, bytes: usize) {
        self.rx_bytes = bytes.min(RX_BYTES);
    }

    /// Makes the descriptor non-blocking, for event loops; the methods here do not depend on it.
    ///
    /// # Errors
    /// Whatever `fcntl` fails with.
    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        self.inner.set_non_blocking(on)?;
        self.is_nonblocking.store(on, Ordering::Relaxed);
        Ok(())
    }

    /// How many datagrams the kernel has dropped for this socket since it was opened.
    ///
    /// # Errors
    /// Whatever `getsockopt` fails with.
    pub fn drops(&self) -> io::Result<u32> {
        sys::drops(self.as_fd())
    }

    /// Joins a multicast group by its id. Use a socket without transactions for it.
    ///
    /// # Errors
    /// Whatever `setsockopt` fails with.
    pub fn join(&self, group: u32) -> io::Result<()> {
        self.inner.add_membership(group)
    }

    /// The first of `count` consecutive sequence numbers that no transaction of this socket will
    /// use; never 0, the number of notifications.
    pub fn reserve_seqs(&mut self, count: u32) -> u32 {
        let first = match self.next_seq.checked_add(count) {
            Some(_) => self.next_seq,
            None => 1,
        };
        self.next_seq = first.saturating_add(count);
        first
    }

    /// Sends one request and waits for its answer: the object it asked for, or `None` for a mere
    /// acknowledgement. Sequence number and the flags `REQUEST` and `ACK` are set here; `ECHO` makes
    /// the kernel send what a change resulted in.
    ///
    /// # Errors
    /// [`Error::Kernel`] when the kernel refuses it; [`Error::Overrun`], [`Error::Truncated`],
    /// [`Error::NoReply`], [`Error::Malformed`] or [`Error::Io`] when the answer is unknown.
    pub fn transact(&mut self, request: &mut MsgBuf) -> Result<Option<Message<'_>>, Error> {
        let seq = self.reserve_seqs(count_u32(request));
        request.number(seq, MsgFlags::REQUEST | MsgFlags::ACK);
        self.send(request.as_bytes())?;
        self.reply.clear();
        let mut overrun = false;
        'receive: loop {
            let len = match self.receive(wait(overrun)) {
                Ok(Some(len)) => len,
                Ok(None) if overrun => return Err(Error::Overrun),
                Ok(None) => return Err(Error::NoReply),
                Err(RecvError::Overrun) => {
                    overrun = true;
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            for (range, m) in ranges(self.rx.get(..len).unwrap_or_default()) {
                let m = m?;
                if m.kind == NLMSG_OVERRUN {
                    return Err(Error::Overrun);
                }
                if m.seq != seq || m.port != self.port {
                    continue;
                }
                match Ack::parse(&m)? {
                    Some(ack) if ack.errno != 0 => return Err(Error::from_ack(&ack)),
                    Some(_) => break 'receive,
                    None if m.kind >= NLMSG_MIN_TYPE && self.reply.is_empty() => {
                        self.reply.extend_from_slice(self.rx.get(range).unwrap_or_default());
                    }
                    None => {}
                }
            }
        }
        Ok(Messages::new(&self.reply).next().transpose()?)
    }

    /// As [`Self::transact`], for a generic netlink request that is answered by one object: `parse`
    /// gets what follows the generic netlink header.
    ///
    /// # Errors
    /// [`Error::NoObject`] when the request was only acknowledged; otherwise as for
    /// [`Self::transact`].
    pub fn fetch<T>(
        &mut self,
        request: &mut MsgBuf,
        parse: impl FnOnce(&[u8]) -> Result<T, MsgError>,
    ) -> Result<T, Error> {
        let reply = self.transact(request)?.ok_or(Error::NoObject)?;
        Ok(parse(reply.genl()?.body)?)
    }

    /// Sends many requests, as many at a time as their answers fit into the receive buffer, and
    /// hands each one's result to `on_reply` with its index: the object for requests that return
    /// one, `None` for an acknowledgement. Each index comes exactly once, in no certain order.
    ///
    /// Sequence numbers and flags are set here. Requests with `ECHO` are answered by what they
    /// changed and need no acknowledgement besides.
    pub fn transact_batch(
        &mut self,
        requests: &mut MsgBuf,
        mut on_reply: impl FnMut(usize, Result<Option<Message<'_>>, Error>),
    ) {
        let per_send = (self.rcvbuf / RCVBUF_PER_REQUEST).max(1);
        let first_seq = self.reserve_seqs(count_u32(requests));
        let mut rest = requests.bytes_mut();
        let mut done = 0;
        while !rest.is_empty() {
            let (len, count) = chunk(rest, per_send, SEND_BYTES);
            let (now, later) = rest.split_at_mut(len);
            rest = later;
            let seq = first_seq.wrapping_add(u32::try_from(done).unwrap_or(u32::MAX));
            prepare(now, seq, count);
            self.transact_chunk(now, seq, count, |i, result| on_reply(done + i, result));
            done += count;
        }
    }

    fn transact_chunk(
        &mut self,
        bytes: &[u8],
        first_seq: u32,
        count: usize,
        mut on_reply: impl FnMut(usize, Result<Option<Message<'_>>, Error>),
    ) {
        self.answered.clear();
        self.answered.resize(count, false);
        let outcome = match self.send(bytes) {
            Ok(()) => self.collect(first_seq, &mut on_reply),
            Err(e) => Err(e.into()),
        };
        let unanswered = self.answered.iter().enumerate().filter(|(_, answered)| !**answered);
        for (i, _) in unanswered {
            on_reply(
                i,
                match &outcome {
                    // The last one's acknowledgement is there, so nothing more will come for this one:
                    // the kernel carried it out and had no memory to show the result.
                    Ok(()) => Ok(None),
                    Err(e) => Err(again(e)),
                },
            );
        }
    }

    /// Receives until the last request of a chunk has been acknowledged or refused.
    fn collect(
        &mut self,
        first_seq: u32,
        on_reply: &mut impl FnMut(usize, Result<Option<Message<'_>>, Error>),
    ) -> Result<(), Error> {
        let mut lost = None;
        loop {
            let len = match self.receive(wait(lost.is_some())) {
                Ok(Some(len)) => len,
                Ok(None) => return Err(lost.unwrap_or(Error::NoReply)),
                // What is still there may answer other requests.
                Err(e @ (RecvError::Overrun | RecvError::Truncated { .. })) => {
                    lost.get_or_insert(e.into());
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            for m in Messages::new(self.rx.get(..len).unwrap_or_default()) {
                let m = m?;
                let index = m.seq.wrapping_sub(first_seq) as usize;
                let last = index + 1 == self.answered.len();
                let Some(answered) = self.answered.get_mut(index) else { continue };
                if m.port != self.port {
                    continue;
                }
                let verdict = Ack::parse(&m)?;
                if verdict.is_none() && m.kind < NLMSG_MIN_TYPE {
                    continue;
                }
                if !std::mem::replace(answered, true) {
                    on_reply(
                        index,
                        match &verdict {
                            Some(ack) if ack.errno != 0 => Err(Error::from_ack(ack)),
                            Some(_) => Ok(None),
                            None => Ok(Some(m)),
                        },
                    );
                }
                if last && verdict.is_some() {
                    return lost.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Sends messages without waiting for anything: fire and forget. Errors, and the answers of
    /// messages that asked for one, are left for [`Self::drain_errors`]. More than 128 KiB are sent
    /// in several calls.
    ///
    /// # Errors
    /// Whatever `send` fails with; what was sent before is not taken back.
    pub fn send(&self, messages: &[u8]) -> io::Result<()> {
        let mut rest = messages;
        while !rest.is_empty() {
            let (len, _) = chunk(rest, usize::MAX, SEND_BYTES);
            let (now, later) = rest.split_at(len);
            retry(|| self.inner.send(now, 0))?;
            rest = later;
        }
        Ok(())
    }

    /// Sends the concatenation of `parts`, which are whole messages together, in one call; for
    /// packets that should not be copied behind their message first.
    ///
    /// # Errors
    /// Whatever `sendmsg` fails with.
    pub fn send_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        retry(|| sys::sendmsg(self.as_fd(), parts)).map(drop)
    }

    /// Reads what has come in answer to [`Self::send`], without waiting: `on_ack` gets the sequence
    /// number and the verdict of each. Other messages are thrown away.
    ///
    /// # Errors
    /// Whatever `recv` fails with, a full buffer apart, which is told in the result.
    pub fn drain_errors(&mut self, mut on_ack: impl FnMut(u32, Ack<'_>)) -> io::Result<Drained> {
        let mut drained = Drained::default();
        for _ in 0..DRAIN_MAX {
            let len = match self.receive(Duration::ZERO) {
                Ok(Some(len)) => len,
                Ok(None) => break,
                Err(RecvError::Overrun) => {
                    drained.overrun = true;
                    continue;
                }
                Err(RecvError::Truncated { .. }) => continue,
                Err(RecvError::Io(e)) => return Err(e),
            };
            let messages = Messages::new(self.rx.get(..len).unwrap_or_default());
            for m in messages.map_while(Result::ok) {
                if let Ok(Some(ack)) = Ack::parse(&m) {
                    drained.acks += 1;
                    on_ack(m.seq, ack);
                }
            }
        }
        Ok(drained)
    }

    /// Receives as many datagrams as are there and `ring` has slots for, waiting up to `timeout` for
    /// the first. Returns how many; 0 when the time ran out.
    ///
    /// # Errors
    /// [`RecvError::Overrun`] when the kernel had to drop messages: count it and go on reading;
    /// [`RecvError::Io`].
    pub fn recv_batch(&self, ring: &mut RecvRing, timeout: Duration) -> Result<usize, RecvError> {
        if timeout >= LONG_WAIT && self.waits_by_itself(timeout) {
            // A signal ends the wait early: the caller may have been meant to notice it.
            return match ring.fill(self.as_fd(), true) {
                Ok(count) => Ok(count),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    Ok(0)
                }
                Err(e) => Err(RecvError::from_io(e)),
            };
        }
        let mut waited = timeout.is_zero();
        loop {
            match ring.fill(self.as_fd(), false) {
                Ok(count) => return Ok(count),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    if waited {
                        return Ok(0);
                    }
                    // A signal ends the wait early: the caller may have been meant to notice it.
                    waited = true;
                    match sys::wait_readable(self.as_fd(), timeout) {
                        Ok(true) => {}
                        Ok(false) => return Ok(0),
                        Err(e) if e.kind() == ErrorKind::Interrupted => {}
                        Err(e) => return Err(e.into()),
                    }
                }
                Err(e) => return Err(RecvError::from_io(e)),
            }
        }
    }

    /// Has the kernel's receive wait for `timeout`, which saves asking first and waiting by `poll`: two
    /// system calls of three for a message that comes alone. False where it would not wait.
    fn waits_by_itself(&self, timeout: Duration) -> bool {
        if self.is_nonblocking.load(Ordering::Relaxed) {
            return false;
        }
        let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        if self.rcvtimeo_ms.load(Ordering::Relaxed) == ms {
            return true;
        }
        let is_set = sys::set_rcvtimeo(self.as_fd(), timeout).is_ok();
        if is_set {
            self.rcvtimeo_ms.store(ms, Ordering::Relaxed);
        }
        is_set
    }

    /// Part of what [`Self::receive`] got last.
    pub(crate) fn received(&self, range: std::ops::Range<usize>) -> &[u8] {
        self.rx.get(range).unwrap_or_default()
    }

    /// Receives one datagram into `rx` and returns its length; `None` when there is none after
    /// `timeout`.
    pub(crate) fn receive(&mut self, timeout: Duration) -> Result<Option<usize>, RecvError> {
        if self.rx.len() != self.rx_bytes {
            // Fresh from the system, of which only what a datagram reaches becomes memory.
            self.rx = vec![0; self.rx_bytes];
        }
        loop {
            let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
            let received = retry(|| self.inner.recv(&mut &mut self.rx[..], flags));
            match tally::received(received, |_| 1) {
                Ok(len) if len > self.rx.len() => return Err(RecvError::Truncated { len }),
                Ok(len) => return Ok(Some(len)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    if timeout.is_zero()
                        || !retry(|| sys::wait_readable(self.inner.as_fd(), timeout))?
                    {
                        return Ok(None);
                    }
                }
                Err(e) => return Err(RecvError::from_io(e)),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Socket {{ fd: {}, port: {} }}", self.as_raw_fd(), self.port)
    }
}

/// After a loss only what is already there can still be an answer.
const fn wait(lost: bool) -> Duration {
    if lost { Duration::ZERO } else { REPLY_TIMEOUT }
}

fn count_u32(requests: &MsgBuf) -> u32 {
    u32::try_from(requests.count()).unwrap_or(u32::MAX)
}

/// The same failure for another request of the batch.
fn again(error: &Error) -> Error {
    match error {
        Error::Overrun => Error::Overrun,
        Error::Truncated { len } => Error::Truncated { len: *len },
        Error::Malformed(e) => Error::Malformed(*e),
        Error::Io(e) => Error::Io(match e.raw_os_error() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => e.kind().into(),
        }),
        _ => Error::NoReply,
    }
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Length and number of the messages at the start of `bytes` that go out together: at least one, at
/// most `messages` and, unless the first alone is longer, `limit` bytes.
fn chunk(bytes: &[u8], messages: usize, limit: usize) -> (usize, usize) {
    let (mut len, mut count) = (0, 0);
    for (range, m) in ranges(bytes) {
        let fits = range.end <= limit && count < messages;
        if m.is_err() || (count > 0 && !fits) {
            break;
        }
        (len, count) = (range.end, count + 1);
    }
    // What is no message goes out as it is, for the kernel to judge.
    if count == 0 { (bytes.len(), 1) } else { (len, count) }
}

/// Numbers the messages from `first_seq` on. Each asks for an acknowledgement unless it gets an
/// echo; the last always does, because it ends the exchange.
fn prepare(bytes: &mut [u8], first_seq: u32, count: usize) {
    let mut index = 0;
    crate::msg::for_each_head(bytes, |head| {
        index += 1;
        head.seq = first_seq.wrapping_add(u32::try_from(index - 1).unwrap_or(u32::MAX));
        head.flags |= MsgFlags::REQUEST;
        head.flags.set(MsgFlags::ACK, index == count || !head.flags.contains(MsgFlags::ECHO));
    });
}

/// The messages of `bytes` with the bytes each occupies, padding included.
fn ranges(
    bytes: &[u8],
) -> impl Iterator<Item = (std::ops::Range<usize>, Result<Message<'_>, MsgError>)> {
    let mut messages = Messages::new(bytes);
    std::iter::from_fn(move || {
        let start = bytes.len() - messages.rest().len();
        let m = messages.next()?;
        Some((start..bytes.len() - messages.rest().len(), m))
    })
}
