//! How long conntrack remembers connections: the timeouts that a policy of a zone can name.
//!
//! What always holds: two policies are equal when they name the same timeouts with the same values,
//! those that have no effect included, as with the peer. Plain values: any thread.
//!
//! Source: ovs-vswitchd.conf.db(5), table `CT_Timeout_Policy`.

use std::collections::BTreeMap;

/// A timeout by the protocol and state of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CtTimeout {
    /// `tcp_syn_sent`.
    TcpSynSent,
    /// `tcp_syn_recv`.
    TcpSynRecv,
    /// `tcp_established`.
    TcpEstablished,
    /// `tcp_fin_wait`.
    TcpFinWait,
    /// `tcp_close_wait`.
    TcpCloseWait,
    /// `tcp_last_ack`.
    TcpLastAck,
    /// `tcp_time_wait`.
    TcpTimeWait,
    /// `tcp_close`.
    TcpClose,
    /// `tcp_syn_sent2`.
    TcpSynSent2,
    /// `tcp_retransmit`.
    TcpRetransmit,
    /// `tcp_unack`.
    TcpUnack,
    /// `udp_first`: without effect in the kernel.
    UdpFirst,
    /// `udp_single`.
    UdpSingle,
    /// `udp_multiple`.
    UdpMultiple,
    /// `icmp_first`: of ICMPv6 as well.
    IcmpFirst,
    /// `icmp_reply`: without effect in the kernel.
    IcmpReply,
}

impl CtTimeout {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::TcpSynSent,
        Self::TcpSynRecv,
        Self::TcpEstablished,
        Self::TcpFinWait,
        Self::TcpCloseWait,
        Self::TcpLastAck,
        Self::TcpTimeWait,
        Self::TcpClose,
        Self::TcpSynSent2,
        Self::TcpRetransmit,
        Self::TcpUnack,
        Self::UdpFirst,
        Self::UdpSingle,
        Self::UdpMultiple,
        Self::IcmpFirst,
        Self::IcmpReply,
    ];

    /// Its name in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TcpSynSent => "tcp_syn_sent",
            Self::TcpSynRecv => "tcp_syn_recv",
            Self::TcpEstablished => "tcp_established",
            Self::TcpFinWait => "tcp_fin_wait",
            Self::TcpCloseWait => "tcp_close_wait",
            Self::TcpLastAck => "tcp_last_ack",
            Self::TcpTimeWait => "tcp_time_wait",
            Self::TcpClose => "tcp_close",
            Self::TcpSynSent2 => "tcp_syn_sent2",
            Self::TcpRetransmit => "tcp_retransmit",
            Self::TcpUnack => "tcp_unack",
            Self::UdpFirst => "udp_first",
            Self::UdpSingle => "udp_single",
            Self::UdpMultiple => "udp_multiple",
            Self::IcmpFirst => "icmp_first",
            Self::IcmpReply => "icmp_reply",
        }
    }

    /// The timeout of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|timeout| timeout.name() == name)
    }
}

/// The timeouts of a policy, in seconds; for others the system's hold.
pub type CtTimeouts = BTreeMap<CtTimeout, u32>;

/// Number of a timeout policy; the kernel knows it by names that are made of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CtPolicyId(pub u32);
