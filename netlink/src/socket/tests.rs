//! The socket against a made-up kernel at the other end of a socket pair: every kind of answer. The
//! overflow of a receive buffer is the real kernel's, which answers on any Linux.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::thread::{self, JoinHandle};

use super::*;
use crate::attr::AttrWriter;
use crate::msg::{MsgHead, NLMSG_DONE, NLMSG_ERROR, NLMSG_HDRLEN};

const FAMILY: u16 = 0x20;
const PORT: u32 = 4711;

/// One request as the made-up kernel sees it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    seq: u32,
    flags: MsgFlags,
    value: u32,
}

/// Datagrams to answer with.
#[derive(Default)]
struct Answer(Vec<Vec<u8>>);

impl Answer {
    /// One datagram with one message.
    fn one(self, kind: u16, flags: MsgFlags, seq: u32, payload: &[u8]) -> Self {
        self.datagram(&[(kind, flags, seq, PORT, payload)])
    }

    fn datagram(mut self, messages: &[(u16, MsgFlags, u32, u32, &[u8])]) -> Self {
        let mut bytes = Vec::new();
        for (kind, flags, seq, port, payload) in messages {
            let len = u32::try_from(NLMSG_HDRLEN + payload.len()).unwrap();
            bytes.extend(len.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(flags.bits().to_ne_bytes());
            bytes.extend(seq.to_ne_bytes());
            bytes.extend(port.to_ne_bytes());
            bytes.extend(*payload);
            bytes.resize(crate::attr::align4(bytes.len()), 0);
        }
        self.0.push(bytes);
        self
    }

    fn object(self, seq: u32, value: u32) -> Self {
        self.one(FAMILY, MsgFlags::empty(), seq, &object(value))
    }

    /// An acknowledgement, or with `errno` a refusal, capped as the kernel caps it.
    fn ack(self, seq: u32, errno: i32) -> Self {
        self.one(NLMSG_ERROR, MsgFlags::CAPPED, seq, &refusal(errno))
    }

    fn done(self, seq: u32, code: i32) -> Self {
        self.one(NLMSG_DONE, MsgFlags::MULTI, seq, &code.to_ne_bytes())
    }
}

/// Generic netlink header, `ovs_header` with `value` in it, no attributes.
fn object(value: u32) -> Vec<u8> {
    [&[1, 1, 0, 0][..], &value.to_ne_bytes()].concat()
}

fn refusal(errno: i32) -> Vec<u8> {
    [&(-errno).to_ne_bytes()[..], &[0; NLMSG_HDRLEN]].concat()
}

/// A socket, and a thread that answers each datagram of requests by `answer` until the socket is
/// closed; it returns what it saw.
fn fake_kernel(
    mut answer: impl FnMut(&[Seen]) -> Answer + Send + 'static,
) -> (Socket, JoinHandle<Vec<Vec<Seen>>>) {
    let (near, far) = UnixDatagram::pair().unwrap();
    let kernel = thread::spawn(move || {
        let (mut all, mut buf) = (Vec::new(), vec![0; 1 << 18]);
        while let Ok(len @ 1..) = far.recv(&mut buf) {
            let seen: Vec<_> = Messages::new(&buf[..len]).map(|m| seen(&m.unwrap())).collect();
            for datagram in answer(&seen).0 {
                far.send(&datagram).unwrap();
            }
            all.push(seen);
        }
        all
    });
    (Socket::adopt(OwnedFd::from(near), PORT).unwrap(), kernel)
}

fn seen(m: &Message<'_>) -> Seen {
    let value = m.payload.get(4..8).map(|v| u32::from_ne_bytes(v.try_into().unwrap()));
    Seen { seq: m.seq, flags: m.flags, value: value.unwrap_or_default() }
}

/// Ends the made-up kernel by an empty datagram and returns what it saw.
fn end(socket: Socket, kernel: JoinHandle<Vec<Vec<Seen>>>) -> Vec<Vec<Seen>> {
    socket.inner.send(&[], 0).unwrap();
    kernel.join().unwrap()
}

/// Requests with the given values, each with `flags`.
fn requests(values: impl IntoIterator<Item = u32>, flags: MsgFlags) -> MsgBuf {
    let mut buf = MsgBuf::new();
    for dp_ifindex in values {
        let head = MsgHead { family: FAMILY, cmd: 3, version: 1, flags, seq: 0, dp_ifindex };
        buf.begin(head).finish().unwrap();
    }
    buf
}

fn value(m: &Message<'_>) -> u32 {
    seen(m).value
}

#[test]
fn an_object_is_returned_once_its_acknowledgement_is_there() {
    let (mut socket, kernel) =
        fake_kernel(|r| Answer::default().object(r[0].seq, 7).ack(r[0].seq, 0));
    for _ in 0..2 {
        let reply = socket.transact(&mut requests([1], MsgFlags::ECHO)).unwrap().unwrap();
        assert_eq!(value(&reply), 7);
    }
    let seen = end(socket, kernel);
    let flags = MsgFlags::REQUEST | MsgFlags::ACK | MsgFlags::ECHO;
    assert!(seen.iter().all(|r| r[0].flags == flags));
    assert_eq!(seen[1][0].seq, seen[0][0].seq + 1);
}

#[test]
fn an_acknowledgement_alone_is_no_object() {
    let (mut socket, kernel) = fake_kernel(|r| Answer::default().ack(r[0].seq, 0));
    assert_eq!(socket.transact(&mut requests([1], MsgFlags::empty())).unwrap(), None);
    let fetched = socket.fetch(&mut requests([1], MsgFlags::empty()), |_| Ok(()));
    assert!(matches!(fetched, Err(Error::NoObject)));
    end(socket, kernel);
}

#[test]
fn a_refusal_carries_the_kernels_words() {
    let (mut socket, kernel) = fake_kernel(|r| {
        let mut payload = refusal(libc::EEXIST);
        let mut w = AttrWriter::new(&mut payload);
        w.str(1, "flow exists");
        w.u32(2, 24);
        Answer::default().one(
            NLMSG_ERROR,
            MsgFlags::CAPPED | MsgFlags::ACK_TLVS,
            r[0].seq,
            &payload,
        )
    });
    match socket.transact(&mut requests([1], MsgFlags::empty())) {
        Err(Error::Kernel { errno, message, offset, missing }) => {
            assert_eq!((errno, offset, missing), (libc::EEXIST, Some(24), None));
            assert_eq!(message.as_deref(), Some("flow exists"));
        }
        other => panic!("{other:?}"),
    }
    end(socket, kernel);
}

#[test]
fn late_answers_and_others_messages_are_passed_over() {
    let (mut socket, kernel) = fake_kernel(|r| {
        let seq = r[0].seq;
        Answer::default().ack(seq.wrapping_sub(1), libc::EINVAL).object(0, 99).datagram(&[
            (NLMSG_ERROR, MsgFlags::CAPPED, seq, PORT + 1, &refusal(libc::EPERM)),
            (FAMILY, MsgFlags::empty(), seq, PORT, &object(5)),
            (NLMSG_ERROR, MsgFlags::CAPPED, seq, PORT, &refusal(0)),
        ])
    });
    let reply = socket.transact(&mut requests([1], MsgFlags::empty())).unwrap().unwrap();
    assert_eq!(value(&reply), 5);
    end(socket, kernel);
}

#[test]
fn a_malformed_answer_is_an_error() {
    let (mut socket, kernel) =
        fake_kernel(|r| Answer::default().one(NLMSG_ERROR, MsgFlags::empty(), r[0].seq, &[1]));
    let result = socket.transact(&mut requests([1], MsgFlags::empty()));
    assert!(matches!(result, Err(Error::Malformed(MsgError::Family { len: 1 }))), "{result:?}");
    end(socket, kernel);
}

#[test]
fn a_truncated_answer_is_an_error_with_its_length() {
    let (mut socket, kernel) = fake_kernel(|r| {
        Answer::default().one(FAMILY, MsgFlags::empty(), r[0].seq, &vec![0; RX_BYTES])
    });
    let result = socket.transact(&mut requests([1], MsgFlags::empty()));
    let len = RX_BYTES + NLMSG_HDRLEN;
    assert!(matches!(result, Err(Error::Truncated { len: l }) if l == len), "{result:?}");
    end(socket, kernel);
}

/// Runs a batch and returns what came for each request: a value, nothing, or an error number.
fn batch(socket: &mut Socket, buf: &mut MsgBuf) -> Vec<Result<Option<u32>, Option<i32>>> {
    let mut results = vec![None; buf.count()];
    socket.transact_batch(buf, |i, result| {
        let result = result.map(|m| m.map(|m| value(&m))).map_err(|e| e.errno());
        assert_eq!(results[i].replace(result), None, "request {i} had a result already");
    });
    results.into_iter().map(Option::unwrap).collect()
}

#[test]
fn each_request_of_a_batch_has_its_own_result() {
    // The kernel's answers: an echo for even values, an error for those divisible by 3, else an
    // acknowledgement; here in reverse order but for the last, which ends the exchange.
    let (mut socket, kernel) = fake_kernel(|r| {
        let mut answer = Answer::default();
        let last = r.len() - 1;
        for r in r[..last].iter().rev().chain(&r[last..]) {
            answer = match r.value {
                v if v % 3 == 0 => answer.ack(r.seq, libc::EEXIST),
                v if v % 2 == 0 => answer.object(r.seq, v),
                _ => answer,
            };
            if r.flags.contains(MsgFlags::ACK) && r.value % 3 != 0 {
                answer = answer.ack(r.seq, 0);
            }
        }
        answer
    });
    socket.rcvbuf = 8 * RCVBUF_PER_REQUEST;
    let mut buf = requests(0..20, MsgFlags::ECHO);
    let results = batch(&mut socket, &mut buf);
    for (v, result) in (0u32..).zip(results) {
        let expected = match v {
            v if v % 3 == 0 => Err(Some(libc::EEXIST)),
            v if v % 2 == 0 => Ok(Some(v)),
            _ => Ok(None),
        };
        assert_eq!(result, expected, "request {v}");
    }
    let seen = end(socket, kernel);
    let sizes: Vec<_> = seen.iter().map(Vec::len).collect();
    assert_eq!(sizes, [8, 8, 4], "as many at a time as the receive buffer has room for");
    let acked: Vec<_> = seen.iter().flatten().map(|r| r.flags.contains(MsgFlags::ACK)).collect();
    let expected: Vec<_> = (0..20).map(|i| [7, 15, 19].contains(&i)).collect();
    assert_eq!(acked, expected, "with an echo only the last needs an acknowledgement");
}

#[test]
fn without_an_echo_each_request_of_a_batch_asks_for_an_acknowledgement() {
    let (mut socket, kernel) =
        fake_kernel(|r| r.iter().fold(Answer::default(), |a, r| a.ack(r.seq, 0)));
    assert_eq!(batch(&mut socket, &mut requests(0..3, MsgFlags::CREATE)), [Ok(None); 3]);
    assert_eq!(batch(&mut socket, &mut MsgBuf::new()), []);
    let flags = MsgFlags::CREATE | MsgFlags::REQUEST | MsgFlags::ACK;
    assert!(end(socket, kernel).iter().flatten().all(|r| r.flags == flags));
}

#[test]
fn a_batch_whose_answer_is_malformed_still_answers_each() {
    let (mut socket, kernel) = fake_kernel(|r| {
        Answer::default().ack(r[0].seq, 0).one(NLMSG_ERROR, MsgFlags::empty(), r[1].seq, &[])
    });
    let results = batch(&mut socket, &mut requests(0..3, MsgFlags::empty()));
    assert_eq!(results, [Ok(None), Err(None), Err(None)]);
    end(socket, kernel);
}

fn dumped(socket: &mut Socket) -> Result<Vec<u32>, Error> {
    socket.dump(&mut requests([0], MsgFlags::empty()), |m| Ok(Some(value(&m))))
}

#[test]
fn a_dump_collects_many_datagrams() {
    let (mut socket, kernel) = fake_kernel(|r| {
        let (seq, multi) = (r[0].seq, MsgFlags::MULTI);
        let first: &[_] = &[
            (FAMILY, multi, seq, PORT, &object(1)[..]),
            (FAMILY, multi, seq - 1, PORT, &object(66)),
            (FAMILY, multi, seq, PORT, &object(2)),
        ];
        let last: &[_] = &[
            (FAMILY, multi, seq, PORT, &object(3)[..]),
            (NLMSG_DONE, multi, seq, PORT, &0i32.to_ne_bytes()),
        ];
        Answer::default().datagram(first).datagram(last)
    });
    assert_eq!(dumped(&mut socket).unwrap(), [1, 2, 3]);
    let seen = end(socket, kernel);
    assert_eq!(seen[0][0].flags, MsgFlags::REQUEST | MsgFlags::DUMP);
}

#[test]
fn an_interrupted_dump_starts_again_from_nothing() {
    let mut attempt = 0;
    let (mut socket, kernel) = fake_kernel(move |r| {
        attempt += 1;
        let flags = MsgFlags::MULTI;
        let flags = if attempt < 3 { flags | MsgFlags::DUMP_INTR } else { flags };
        Answer::default().one(FAMILY, flags, r[0].seq, &object(attempt)).done(r[0].seq, 0)
    });
    assert_eq!(dumped(&mut socket).unwrap(), [3]);
    assert_eq!(end(socket, kernel).len(), 3);
}

#[test]
fn a_dump_that_is_always_interrupted_gives_up() {
    let (mut socket, kernel) = fake_kernel(|r| {
        Answer::default().one(NLMSG_DONE, MsgFlags::DUMP_INTR, r[0].seq, &0i32.to_ne_bytes())
    });
    let result = dumped(&mut socket);
    assert!(matches!(result, Err(Error::Interrupted { attempts: 16 })), "{result:?}");
    assert_eq!(end(socket, kernel).len(), 16);
}

#[test]
fn a_dump_fails_by_an_error_or_by_a_negative_done() {
    let mut errors = [libc::EBUSY, libc::ENODEV].into_iter();
    let (mut socket, kernel) = fake_kernel(move |r| {
        let seq = r[0].seq;
        let errno = errors.next().unwrap();
        let answer = Answer::default().one(FAMILY, MsgFlags::MULTI, seq, &object(1));
        if errno == libc::EBUSY { answer.ack(seq, errno) } else { answer.done(seq, -errno) }
    });
    assert_eq!(dumped(&mut socket).unwrap_err().errno(), Some(libc::EBUSY));
    assert_eq!(dumped(&mut socket).unwrap_err().errno(), Some(libc::ENODEV));
    end(socket, kernel);
}

#[test]
fn a_dump_given_up_is_read_to_its_end() {
    let (mut socket, kernel) = fake_kernel(|r| {
        (0..50).fold(Answer::default(), |a, v| a.object(r[0].seq, v)).done(r[0].seq, 0)
    });
    let mut request = requests([0], MsgFlags::empty());
    let mut dump = socket.start_dump(&mut request).unwrap();
    let first: Vec<_> = dump.next_batch().unwrap().unwrap().map(|m| value(&m)).collect();
    assert_eq!(first, [0]);
    drop(dump);
    assert!(matches!(socket.receive(Duration::ZERO), Ok(None)), "nothing is left over");
    end(socket, kernel);
}

#[test]
fn errors_of_what_was_sent_are_drained_without_waiting() {
    let (near, far) = UnixDatagram::pair().unwrap();
    let mut socket = Socket::adopt(OwnedFd::from(near), PORT).unwrap();
    assert_eq!(socket.drain_errors(|_, _| panic!("nothing is there")).unwrap(), Drained::default());
    let first = socket.reserve_seqs(3);
    let mut buf = requests(0..3, MsgFlags::empty());
    buf.number(first, MsgFlags::REQUEST);
    socket.send(buf.as_bytes()).unwrap();
    let answers = Answer::default().ack(first, libc::EEXIST).ack(first + 2, libc::ENOSPC);
    answers.0.iter().for_each(|datagram| assert!(far.send(datagram).is_ok()));
    let mut seen = Vec::new();
    let drained = socket.drain_errors(|seq, ack| seen.push((seq - first, ack.errno))).unwrap();
    assert_eq!(seen, [(0, libc::EEXIST), (2, libc::ENOSPC)]);
    assert_eq!(drained, Drained { acks: 2, overrun: false });
}

#[test]
fn many_datagrams_are_received_at_once_and_a_truncated_one_is_told() {
    let (near, far) = UnixDatagram::pair().unwrap();
    let socket = Socket::adopt(OwnedFd::from(near), PORT).unwrap();
    let mut ring = RecvRing::with_slot(4, 8);
    assert_eq!(socket.recv_batch(&mut ring, Duration::ZERO).unwrap(), 0);
    assert_eq!(socket.recv_batch(&mut ring, Duration::from_millis(1)).unwrap(), 0);
    for datagram in [&b"one"[..], b"exactly8", b"more than 8", b"", b"fifth"] {
        far.send(datagram).unwrap();
    }
    assert_eq!(socket.recv_batch(&mut ring, Duration::from_secs(5)).unwrap(), 4);
    let got: Vec<_> = ring.iter().map(|d| d.map_err(|e| e.to_string())).collect();
    let truncated = RecvError::Truncated { len: 11 }.to_string();
    assert_eq!(got, [Ok(&b"one"[..]), Ok(b"exactly8"), Err(truncated), Ok(b"")]);
    assert_eq!(socket.recv_batch(&mut ring, Duration::ZERO).unwrap(), 1);
    assert_eq!((ring.get(0).unwrap().unwrap(), ring.get(1).is_none()), (&b"fifth"[..], true));
    assert_eq!(socket.recv_batch(&mut ring, Duration::ZERO).unwrap(), 0);
    assert!(ring.is_empty(), "what was received before is forgotten");
}

#[test]
fn a_long_wait_ends_and_brings_what_comes() {
    let (near, far) = UnixDatagram::pair().unwrap();
    let socket = Socket::adopt(OwnedFd::from(near), PORT).unwrap();
    let mut ring = RecvRing::with_slot(4, 8);
    assert_eq!(socket.recv_batch(&mut ring, LONG_WAIT).unwrap(), 0);
    // Sent while it waits; without a descriptor that waits, too.
    for is_nonblocking in [false, true] {
        socket.set_nonblocking(is_nonblocking).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(20));
                far.send(b"one").unwrap();
            });
            assert_eq!(socket.recv_batch(&mut ring, Duration::from_secs(60)).unwrap(), 1);
        });
        far.send(b"two").unwrap();
        far.send(b"three").unwrap();
        assert_eq!(socket.recv_batch(&mut ring, Duration::from_secs(60)).unwrap(), 2);
    }
}

#[test]
fn a_vectored_send_is_one_datagram() {
    let (near, far) = UnixDatagram::pair().unwrap();
    let socket = Socket::adopt(OwnedFd::from(near), PORT).unwrap();
    socket.send_vectored(&[IoSlice::new(b"head"), IoSlice::new(b"packet")]).unwrap();
    let mut buf = [0; 32];
    let len = far.recv(&mut buf).unwrap();
    assert_eq!(&buf[..len], b"headpacket");
}

#[test]
fn sends_are_cut_between_messages() {
    let mut buf = MsgBuf::new();
    for _ in 0..5 {
        let mut w = buf.begin(MsgHead::default());
        w.attrs().bytes(1, &[0; 40]);
        w.finish().unwrap();
    }
    let one = buf.byte_len() / 5;
    let bytes = buf.as_bytes();
    assert_eq!(chunk(bytes, usize::MAX, usize::MAX), (5 * one, 5));
    assert_eq!(chunk(bytes, 2, usize::MAX), (2 * one, 2));
    assert_eq!(chunk(bytes, usize::MAX, 3 * one), (3 * one, 3));
    assert_eq!(chunk(bytes, usize::MAX, 3 * one - 1), (2 * one, 2));
    assert_eq!(chunk(bytes, usize::MAX, 1), (one, 1), "one that is too long goes alone");
    assert_eq!(chunk(b"no message", 1, 1), (10, 1));
}

#[test]
fn sequence_numbers_are_never_zero() {
    let (near, _far) = UnixDatagram::pair().unwrap();
    let mut socket = Socket::adopt(OwnedFd::from(near), PORT).unwrap();
    assert_eq!((socket.reserve_seqs(10), socket.reserve_seqs(1)), (1, 11));
    socket.next_seq = u32::MAX - 2;
    assert_eq!(socket.reserve_seqs(2), u32::MAX - 2);
    assert_eq!(socket.reserve_seqs(2), 1, "a run that would wrap starts anew");
    assert_eq!(socket.reserve_seqs(1), 3);
}

/// The request for the description of the family `nlctrl`, which every Linux has.
fn describe_nlctrl(buf: &mut MsgBuf) {
    let mut w = buf.begin_genl(0x10, 3, 2, MsgFlags::empty(), 0);
    w.attrs().str(2, "nlctrl");
    w.finish().unwrap();
}

#[test]
fn the_real_kernel_resolves_and_refuses() {
    let mut socket = Socket::open().unwrap();
    let family = crate::family::resolve(&mut socket, "nlctrl").unwrap().unwrap();
    assert_eq!(family.id, 0x10);
    assert!(family.group("notify").is_some());
    assert_eq!(crate::family::resolve(&mut socket, "no such family").unwrap(), None);
    // An attribute of a kind that is refused: the id with a length of 1, which the policy forbids.
    let mut buf = MsgBuf::new();
    let mut w = buf.begin_genl(0x10, 3, 2, MsgFlags::empty(), 0);
    w.attrs().u8(1, 1);
    w.finish().unwrap();
    match socket.transact(&mut buf) {
        Err(Error::Kernel { message, offset, .. }) => {
            assert!(message.is_some_and(|m| !m.is_empty()));
            assert_eq!(offset, Some(20));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_real_kernel_answers_a_batch_longer_than_its_buffer() {
    let mut socket = Socket::open().unwrap();
    let mut buf = MsgBuf::new();
    (0..500).for_each(|_| describe_nlctrl(&mut buf));
    let mut answered = 0;
    socket.transact_batch(&mut buf, |_, result| {
        answered += usize::from(matches!(result, Ok(Some(_))));
    });
    assert_eq!(answered, 500);
}

#[test]
fn a_full_receive_buffer_is_an_overrun_and_the_socket_recovers() {
    let mut socket = Socket::open().unwrap();
    socket.inner.set_rx_buf_sz(4096i32).unwrap();
    let mut buf = MsgBuf::new();
    (0..200).for_each(|_| describe_nlctrl(&mut buf));
    // As if the buffer were large enough for all of it.
    socket.rcvbuf = 1 << 30;
    let (mut answered, mut lost) = (0, 0);
    socket.transact_batch(&mut buf, |_, result| match result {
        Ok(_) => answered += 1,
        Err(Error::Overrun) => lost += 1,
        Err(e) => panic!("{e}"),
    });
    assert_eq!(answered + lost, 200);
    assert!(lost > 0);
    assert!(socket.drops().unwrap() > 0, "the kernel has counted them");
    let mut one = MsgBuf::new();
    describe_nlctrl(&mut one);
    assert!(socket.transact(&mut one).unwrap().is_some(), "the socket is usable again");

    // The same through the ring: the overrun comes first, then what survived.
    buf.number(socket.reserve_seqs(200), MsgFlags::REQUEST | MsgFlags::ACK);
    socket.send(buf.as_bytes()).unwrap();
    let mut ring = RecvRing::new(8);
    let first = socket.recv_batch(&mut ring, Duration::ZERO);
    assert!(matches!(first, Err(RecvError::Overrun)), "{first:?}");
    assert!(ring.is_empty());
    assert!(socket.recv_batch(&mut ring, Duration::ZERO).unwrap() > 0);
    assert!(socket.set_rcvbuf_force(1 << 16).unwrap() >= 1 << 16);
}
