//! Timeout policies of conntrack, each as the six that the kernel wants for it: one for each protocol and
//! address family, under the names that the peer gives them.
//!
//! What always holds: names that are not ours are left alone. Any thread; a socket of its own for each
//! call, for they are few. They are the network namespace's: all datapaths share them.

use std::borrow::Cow;
use std::collections::BTreeSet;

use ovs_netlink::ct_timeout::{self, L3, PolicyNew, Timeout};
use ovs_netlink::{Error, Socket, uapi};

use super::{socket_error, translate};
use crate::datapath::ct_timeout::{CtPolicyId, CtTimeout, CtTimeouts};
use crate::datapath::{DpError, DpErrorKind, error::Op};

/// What names of ours begin with; the number and an underscore follow.
const PREFIX: &str = "ovs_tp_";

/// One of the kernel's policies that make up one of ours.
struct Part {
    /// How its name ends.
    ending: &'static str,
    l3: L3,
    l4: u8,
    /// Which timeouts concern it, and as what.
    timeouts: &'static [(CtTimeout, u16)],
}

const TCP: &[(CtTimeout, u16)] = &[
    (CtTimeout::TcpSynSent, uapi::CTA_TIMEOUT_TCP_SYN_SENT),
    (CtTimeout::TcpSynRecv, uapi::CTA_TIMEOUT_TCP_SYN_RECV),
    (CtTimeout::TcpEstablished, uapi::CTA_TIMEOUT_TCP_ESTABLISHED),
    (CtTimeout::TcpFinWait, uapi::CTA_TIMEOUT_TCP_FIN_WAIT),
    (CtTimeout::TcpCloseWait, uapi::CTA_TIMEOUT_TCP_CLOSE_WAIT),
    (CtTimeout::TcpLastAck, uapi::CTA_TIMEOUT_TCP_LAST_ACK),
    (CtTimeout::TcpTimeWait, uapi::CTA_TIMEOUT_TCP_TIME_WAIT),
    (CtTimeout::TcpClose, uapi::CTA_TIMEOUT_TCP_CLOSE),
    (CtTimeout::TcpSynSent2, uapi::CTA_TIMEOUT_TCP_SYN_SENT2),
    (CtTimeout::TcpRetransmit, uapi::CTA_TIMEOUT_TCP_RETRANS),
    (CtTimeout::TcpUnack, uapi::CTA_TIMEOUT_TCP_UNACK),
];
/// The kernel has no timeout for a first packet alone.
const UDP: &[(CtTimeout, u16)] = &[
    (CtTimeout::UdpSingle, uapi::CTA_TIMEOUT_UDP_UNREPLIED),
    (CtTimeout::UdpMultiple, uapi::CTA_TIMEOUT_UDP_REPLIED),
];
/// The kernel forgets an echo once it is answered.
const ICMP: &[(CtTimeout, u16)] = &[(CtTimeout::IcmpFirst, uapi::CTA_TIMEOUT_ICMP_TIMEOUT)];
const ICMPV6: &[(CtTimeout, u16)] = &[(CtTimeout::IcmpFirst, uapi::CTA_TIMEOUT_ICMPV6_TIMEOUT)];

/// In the peer's order, which shows where the kernel's policies are listed.
const PARTS: [Part; 6] = [
    Part { ending: "tcp4", l3: L3::Ipv4, l4: libc::IPPROTO_TCP as u8, timeouts: TCP },
    Part { ending: "udp4", l3: L3::Ipv4, l4: libc::IPPROTO_UDP as u8, timeouts: UDP },
    Part { ending: "icmp4", l3: L3::Ipv4, l4: libc::IPPROTO_ICMP as u8, timeouts: ICMP },
    Part { ending: "tcp6", l3: L3::Ipv6, l4: libc::IPPROTO_TCP as u8, timeouts: TCP },
    Part { ending: "udp6", l3: L3::Ipv6, l4: libc::IPPROTO_UDP as u8, timeouts: UDP },
    Part { ending: "icmpv6", l3: L3::Ipv6, l4: libc::IPPROTO_ICMPV6 as u8, timeouts: ICMPV6 },
];

impl Part {
    fn name(&self, id: CtPolicyId) -> String {
        format!("{PREFIX}{}_{}", id.0, self.ending)
    }
}

/// The policy that the kernel's policy of this name is a part of.
fn id_of(name: &str) -> Option<CtPolicyId> {
    let (number, ending) = name.strip_prefix(PREFIX)?.split_once('_')?;
    let is_ours = PARTS.iter().any(|part| part.ending == ending)
        && number.bytes().all(|digit| digit.is_ascii_digit());
    number.parse().ok().filter(|_| is_ours).map(CtPolicyId)
}

/// Ids of all policies of which the kernel has a part at least, whoever made them.
pub(super) fn list() -> Result<BTreeSet<CtPolicyId>, DpError> {
    const DOING: &str = "list conntrack timeout policies";
    let list = |socket: &mut Socket| ct_timeout::dump(socket, |policy| id_of(policy.name));
    let listed = ct_timeout::open().map_err(Error::Io).and_then(|mut socket| list(&mut socket));
    listed.map(|ids| ids.into_iter().collect()).map_err(|error| {
        let mut error = translate(Op::Datapath, Cow::Borrowed(DOING), error);
        // There is nothing in the request that could be wrong.
        if matches!(error.errno, libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT) {
            error.kind = DpErrorKind::Unsupported;
        }
        error
    })
}

/// Makes a policy, or gives it other timeouts, as far as the first part that is refused.
pub(super) fn set(id: CtPolicyId, timeouts: &CtTimeouts) -> Result<(), DpError> {
    let mut socket = open()?;
    for part in &PARTS {
        let wanted = part.timeouts.iter().filter_map(|(timeout, kind)| {
            let seconds = *timeouts.get(timeout)?;
            Some(Timeout { kind: *kind, seconds })
        });
        let (name, timeouts) = (part.name(id), wanted.collect::<Vec<Timeout>>());
        let policy = PolicyNew { name: &name, l3: part.l3, l4: part.l4, timeouts: &timeouts };
        ct_timeout::set(&mut socket, &policy).map_err(|error| failed("set", &name, error))?;
    }
    Ok(())
}

/// Removes a policy, as much of it as is there and not in use; the first refusal is told.
pub(super) fn delete(id: CtPolicyId) -> Result<(), DpError> {
    let mut socket = open()?;
    let mut result = Ok(());
    for part in &PARTS {
        let name = part.name(id);
        match ct_timeout::delete(&mut socket, &name) {
            Err(error) if error.errno() != Some(libc::ENOENT) => {
                result = result.and(Err(failed("delete", &name, error)));
            }
            _ => {}
        }
    }
    result
}

fn open() -> Result<Socket, DpError> {
    ct_timeout::open().map_err(|error| socket_error("ask for conntrack timeout policies", &error))
}

fn failed(verb: &str, name: &str, error: Error) -> DpError {
    let doing = format!("{verb} conntrack timeout policy {name}");
    translate(Op::Datapath, Cow::Owned(doing), error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // The names are those that nfct showed when the stock daemon had made a policy.
    #[test]
    fn names_are_the_peers() {
        let names: Vec<String> = PARTS.iter().map(|part| part.name(CtPolicyId(1))).collect();
        let peers = "ovs_tp_1_tcp4 ovs_tp_1_udp4 ovs_tp_1_icmp4 ovs_tp_1_tcp6 ovs_tp_1_udp6 ovs_tp_1_icmpv6";
        assert_eq!(names, peers.split(' ').collect::<Vec<_>>());
        let longest = PARTS.iter().map(|part| part.name(CtPolicyId(u32::MAX)).len()).max();
        assert!(longest < Some(uapi::CTNL_TIMEOUT_NAME_MAX));
    }

    #[test]
    fn names_of_others_are_not_ours() {
        for name in [
            "",
            "ovs_tp_",
            "ovs_tp_1",
            "ovs_tp__tcp4",
            "ovs_tp_1_tcp",
            "ovs_tp_1_icmpv66",
            "ovs_tp_+1_tcp4",
            "ovs_tp_4294967296_tcp4",
            "ovs_test_tp",
            "xovs_tp_1_tcp4",
        ] {
            assert_eq!(id_of(name), None, "{name}");
        }
    }

    #[test]
    fn each_timeout_concerns_what_it_is_named_after() {
        for part in &PARTS {
            for (timeout, _) in part.timeouts {
                let (protocol, _) = timeout.name().split_once('_').unwrap();
                assert!(part.ending.starts_with(protocol), "{timeout:?} of {}", part.ending);
            }
        }
        let without_effect: Vec<CtTimeout> = CtTimeout::ALL
            .into_iter()
            .filter(|one| !PARTS.iter().any(|part| part.timeouts.iter().any(|(t, _)| t == one)))
            .collect();
        assert_eq!(without_effect, [CtTimeout::UdpFirst, CtTimeout::IcmpReply]);
    }

    proptest! {
        #[test]
        fn an_id_is_read_back_from_each_name(id in any::<u32>(), part in 0..PARTS.len()) {
            prop_assert_eq!(id_of(&PARTS[part].name(CtPolicyId(id))), Some(CtPolicyId(id)));
        }

        #[test]
        fn any_name_is_read_or_not_ours(name in "(ovs_tp_)?[ -~]{0,40}") {
            let read = id_of(&name);
            prop_assert!(read.is_none_or(|id| name.starts_with("ovs_tp_") && name.contains(&id.0.to_string())));
        }
    }
}
