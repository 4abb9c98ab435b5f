//! Requests and answers against those that the stock ovs-vswitchd 3.1.0, `nfct list timeout` and the
//! kernels exchanged when this was said (captured with nlmon and tcpdump, one of each kept):
//!
//! ```sh
//! ovs-vsctl add-zone-tp system zone=5 udp_first=1 udp_single=2 icmp_first=7 icmp_reply=8 tcp_syn_sent=11 tcp_retransmit=12
//! nfct list timeout
//! ovs-vsctl del-zone-tp system zone=5
//! ```

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::thread::{self, JoinHandle};

use proptest::prelude::*;

use super::*;
use crate::attr::{AttrWriter, align4};
use crate::msg::{Messages, NLMSG_DONE, NLMSG_ERROR, NLMSG_HDRLEN, for_each_head};

const CAPTURES: [&[u8]; 2] = [
    include_bytes!("../../tests/captured/ct-timeouts-6.1.pcap"),
    include_bytes!("../../tests/captured/ct-timeouts-6.12.pcap"),
];

const TCP: u8 = libc::IPPROTO_TCP as u8;
const UDP: u8 = libc::IPPROTO_UDP as u8;
const ICMP: u8 = libc::IPPROTO_ICMP as u8;
const ICMPV6: u8 = libc::IPPROTO_ICMPV6 as u8;

/// The datagrams of a capture whose first message is of this type, and of this direction.
fn datagrams(pcap: &'static [u8], kind: u16, is_request: bool) -> Vec<&'static [u8]> {
    let (mut rest, mut all) = (&pcap[24..], Vec::new());
    while let Some((head, tail)) = rest.split_first_chunk::<16>() {
        let len = u32::from_le_bytes(head[8..12].try_into().unwrap()) as usize;
        // After the pcap header comes nlmon's, of 16 bytes as well.
        let datagram = &tail[16..len];
        let first = Messages::new(datagram).next().unwrap().unwrap();
        if first.kind == kind && first.flags.contains(MsgFlags::REQUEST) == is_request {
            all.push(datagram);
        }
        rest = &tail[len..];
    }
    assert!(!all.is_empty(), "no message of type {kind:#x}");
    all
}

/// What a policy asks for, or has, in seconds by state.
type Seconds = &'static [(u16, u32)];

fn timeouts(seconds: Seconds) -> Vec<Timeout> {
    seconds.iter().map(|&(kind, seconds)| Timeout { kind, seconds }).collect()
}

/// What was asked for, part by part.
const ASKED: [(&str, L3, u8, Seconds); 6] = [
    ("ovs_tp_1_tcp4", L3::Ipv4, TCP, &[(1, 11), (10, 12)]),
    ("ovs_tp_1_udp4", L3::Ipv4, UDP, &[(1, 2)]),
    ("ovs_tp_1_icmp4", L3::Ipv4, ICMP, &[(1, 7)]),
    ("ovs_tp_1_tcp6", L3::Ipv6, TCP, &[(1, 11), (10, 12)]),
    ("ovs_tp_1_udp6", L3::Ipv6, UDP, &[(1, 2)]),
    ("ovs_tp_1_icmpv6", L3::Ipv6, ICMPV6, &[(1, 7)]),
];

/// What nfct showed of it: the rest is what the kernel has for connections without a policy.
const TCP_SHOWN: Seconds = &[
    (CTA_TIMEOUT_TCP_SYN_SENT, 11),
    (CTA_TIMEOUT_TCP_SYN_RECV, 60),
    (CTA_TIMEOUT_TCP_ESTABLISHED, 432_000),
    (CTA_TIMEOUT_TCP_FIN_WAIT, 120),
    (CTA_TIMEOUT_TCP_CLOSE_WAIT, 60),
    (CTA_TIMEOUT_TCP_LAST_ACK, 30),
    (CTA_TIMEOUT_TCP_TIME_WAIT, 120),
    (CTA_TIMEOUT_TCP_CLOSE, 10),
    (CTA_TIMEOUT_TCP_SYN_SENT2, 120),
    (CTA_TIMEOUT_TCP_RETRANS, 12),
    (CTA_TIMEOUT_TCP_UNACK, 300),
];
const UDP_SHOWN: Seconds = &[(CTA_TIMEOUT_UDP_UNREPLIED, 2), (CTA_TIMEOUT_UDP_REPLIED, 120)];
const ICMP_SHOWN: Seconds = &[(CTA_TIMEOUT_ICMP_TIMEOUT, 7)];

fn shown(l4: u8) -> Seconds {
    match l4 {
        TCP => TCP_SHOWN,
        UDP => UDP_SHOWN,
        _ => ICMP_SHOWN,
    }
}

#[test]
fn a_policy_is_asked_for_in_the_peers_bytes() {
    for pcap in CAPTURES {
        let peers = datagrams(pcap, kind(IPCTNL_MSG_TIMEOUT_NEW), true);
        assert_eq!(peers.len(), ASKED.len());
        for (peers, (name, l3, l4, seconds)) in peers.into_iter().zip(ASKED) {
            let message = Messages::new(peers).next().unwrap().unwrap();
            let timeouts = &timeouts(seconds)[..];
            let flags = MsgFlags::REQUEST | MsgFlags::ACK | MsgFlags::REPLACE;
            let mut ours = MsgBuf::new();
            PolicyNew { name, l3, l4, timeouts }.append(&mut ours, flags, message.seq).unwrap();
            // The port id is the kernel's to fill in where it is 0.
            let mut ours = ours.as_bytes().to_vec();
            ours[12..16].copy_from_slice(&message.port.to_ne_bytes());
            assert_eq!(ours, peers, "{name}");
        }
    }
}

/// A socket with a made-up kernel behind it that takes one request, which it returns, and gives these
/// datagrams for an answer.
fn answered_by(answer: Vec<Vec<u8>>) -> (Socket, JoinHandle<Vec<u8>>) {
    const PORT: u32 = 4711;
    let (near, far) = UnixDatagram::pair().unwrap();
    let kernel = thread::spawn(move || {
        let mut request = vec![0; 1 << 16];
        let len = far.recv(&mut request).unwrap();
        request.truncate(len);
        let seq = Messages::new(&request).next().unwrap().unwrap().seq;
        for mut datagram in answer {
            for_each_head(&mut datagram, |head| head.seq = seq);
            let mut rest = &mut datagram[..];
            while !rest.is_empty() {
                let len = u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize;
                rest[12..16].copy_from_slice(&PORT.to_ne_bytes());
                rest = &mut rest[align4(len)..];
            }
            far.send(&datagram).unwrap();
        }
        request
    });
    (Socket::adopt(OwnedFd::from(near), PORT).unwrap(), kernel)
}

/// Type and what follows the netlink header.
fn body(datagram: &[u8]) -> (u16, &[u8]) {
    let message = Messages::new(datagram).next().unwrap().unwrap();
    (message.kind, message.payload)
}

#[test]
fn policies_are_shown_as_nfct_shows_them() {
    for pcap in CAPTURES {
        let mut answer = datagrams(pcap, kind(IPCTNL_MSG_TIMEOUT_NEW), false);
        answer.extend(datagrams(pcap, NLMSG_DONE, false));
        let (mut socket, kernel) = answered_by(answer.iter().map(|d| d.to_vec()).collect());
        let all = dump(&mut socket, |policy| {
            let timeouts = policy.timeouts().collect::<Result<Vec<_>, _>>().unwrap();
            Some((policy.name.to_owned(), policy.l3, policy.l4, policy.uses, timeouts))
        });
        let expected =
            ASKED.map(|(name, l3, l4, _)| (name.to_owned(), l3, l4, Some(1), timeouts(shown(l4))));
        assert_eq!(all.unwrap(), expected);
        let nfct = datagrams(pcap, kind(IPCTNL_MSG_TIMEOUT_GET), true)[0];
        let ours = kernel.join().unwrap();
        assert_eq!(body(&ours), body(nfct));
    }
}

#[test]
fn a_policy_is_removed_in_the_peers_bytes_and_a_refusal_is_told() {
    for pcap in CAPTURES {
        let peers = datagrams(pcap, kind(IPCTNL_MSG_TIMEOUT_DELETE), true)[0];
        let acks = datagrams(pcap, NLMSG_ERROR, false);
        let ack = acks.last().unwrap().to_vec();
        let (mut socket, kernel) = answered_by(vec![ack.clone()]);
        delete(&mut socket, "ovs_tp_1_tcp4").unwrap();
        assert_eq!(body(&kernel.join().unwrap()), body(peers));

        let mut busy = ack;
        busy[NLMSG_HDRLEN..NLMSG_HDRLEN + 4].copy_from_slice(&(-libc::EBUSY).to_ne_bytes());
        let (mut socket, _kernel) = answered_by(vec![busy]);
        let refused = delete(&mut socket, "ovs_tp_1_tcp4").unwrap_err();
        assert_eq!(refused.errno(), Some(libc::EBUSY));
    }
}

#[test]
fn what_a_policy_must_have_is_missed() {
    let whole = |leave_out: u16| {
        let mut bytes = vec![0; NFGENMSG_LEN];
        let mut w = AttrWriter::new(&mut bytes);
        if leave_out != CTA_TIMEOUT_NAME {
            w.str(CTA_TIMEOUT_NAME, "p");
        }
        if leave_out != CTA_TIMEOUT_L3PROTO {
            w.be16(CTA_TIMEOUT_L3PROTO, 2);
        }
        if leave_out != CTA_TIMEOUT_L4PROTO {
            w.u8(CTA_TIMEOUT_L4PROTO, UDP);
        }
        if leave_out != CTA_TIMEOUT_DATA {
            w.flag(CTA_TIMEOUT_DATA);
        }
        bytes
    };
    let bytes = whole(0);
    assert_eq!(Policy::parse(&bytes).map(|p| (p.name, p.uses)), Ok(("p", None)));
    for kind in CTA_TIMEOUT_NAME..=CTA_TIMEOUT_DATA {
        let missing = MsgError::Attr(AttrError::Missing { kind });
        assert_eq!(Policy::parse(&whole(kind)), Err(missing));
    }
    for len in 0..NFGENMSG_LEN {
        assert_eq!(Policy::parse(&bytes[..len]), Err(MsgError::Family { len }));
    }
}

#[test]
fn a_name_that_fits_no_attribute_is_an_error() {
    let name = "x".repeat(70_000);
    let new = PolicyNew { name: &name, l3: L3::Ipv4, l4: UDP, timeouts: &[] };
    let mut buf = MsgBuf::new();
    assert!(new.append(&mut buf, MsgFlags::empty(), 0).is_err());
    assert!(buf.is_empty());
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        name in "[ -~]{0,40}",
        family in any::<u16>(),
        l4 in any::<u8>(),
        seconds in proptest::collection::vec((1..0x3fff_u16, any::<u32>()), 0..20),
    ) {
        let l3 = L3::from_u16(family);
        prop_assert_eq!(l3.to_u16(), family);
        let timeouts: Vec<_> =
            seconds.into_iter().map(|(kind, seconds)| Timeout { kind, seconds }).collect();
        let new = PolicyNew { name: &name, l3, l4, timeouts: &timeouts };
        let mut buf = MsgBuf::new();
        new.append(&mut buf, MsgFlags::empty(), 7).unwrap();
        let message = buf.messages().next().unwrap().unwrap();
        prop_assert_eq!(message.kind, 0x800);
        let policy = Policy::parse(message.payload).unwrap();
        prop_assert_eq!((policy.name, policy.l3, policy.l4, policy.uses), (&*name, l3, l4, None));
        prop_assert_eq!(policy.timeouts().collect::<Result<Vec<_>, _>>().unwrap(), timeouts);
    }

    // Cut off, with bytes changed, lengths that lie among them.
    #[test]
    fn bytes_of_any_kind_are_read_or_refused(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        end in any::<prop::sample::Index>(),
    ) {
        let all: Vec<_> = CAPTURES
            .into_iter()
            .flat_map(|pcap| datagrams(pcap, kind(IPCTNL_MSG_TIMEOUT_NEW), false))
            .flat_map(|datagram| Messages::new(datagram).map(|m| m.unwrap().payload))
            .collect();
        let mut bytes = all[which.index(all.len())].to_vec();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let whole = bytes.len();
        bytes.truncate(end.index(whole + 1));
        if let Ok(policy) = Policy::parse(&bytes) {
            // What is understood lies within what came.
            let within = bytes.as_ptr_range();
            prop_assert!(policy.data.is_empty() || within.contains(&policy.data.as_ptr()));
            prop_assert!(policy.name.len() + policy.data.len() < bytes.len());
            prop_assert!(policy.timeouts().count() <= policy.data.len() / 4 + 1);
        }
    }
}
