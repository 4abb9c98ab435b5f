//! Constants of `linux/netfilter/nfnetlink_cttimeout.h`, and what of `linux/netfilter/nfnetlink.h` its
//! messages need, as of Linux 6.12.
//!
//! Names and values are the headers', as in the rest of [`uapi`](super). Constants: any thread.

/// `struct nfgenmsg`, which follows the netlink header: address family, version, resource (2 bytes).
pub const NFGENMSG_LEN: usize = 4;
/// Version in `struct nfgenmsg`.
pub const NFNETLINK_V0: u8 = 0;
/// Subsystem of conntrack timeout policies: the upper byte of `nlmsg_type`.
pub const NFNL_SUBSYS_CTNETLINK_TIMEOUT: u8 = 8;

// `ctnl_timeout_msg_types`: the lower byte of `nlmsg_type`.
/// Make a policy or change it; also the kind of what a dump shows.
pub const IPCTNL_MSG_TIMEOUT_NEW: u8 = 0;
/// Look one up by name, or dump all.
pub const IPCTNL_MSG_TIMEOUT_GET: u8 = 1;
/// Remove one by name; without a name, all that nobody uses.
pub const IPCTNL_MSG_TIMEOUT_DELETE: u8 = 2;

// `ctattr_timeout`.
/// String, at most [`CTNL_TIMEOUT_NAME_MAX`] bytes with its NUL: name of the policy.
pub const CTA_TIMEOUT_NAME: u16 = 1;
/// be16: address family, `AF_*`.
pub const CTA_TIMEOUT_L3PROTO: u16 = 2;
/// u8: protocol, `IPPROTO_*`.
pub const CTA_TIMEOUT_L4PROTO: u16 = 3;
/// Nested `CTA_TIMEOUT_TCP_*` and the like, by protocol.
pub const CTA_TIMEOUT_DATA: u16 = 4;
/// be32: how many hold it, the list of policies being one; only told.
pub const CTA_TIMEOUT_USE: u16 = 5;

/// Longest name of a policy, its NUL included.
pub const CTNL_TIMEOUT_NAME_MAX: usize = 32;

// `ctattr_timeout_tcp`: all be32, seconds.
/// A SYN was seen.
pub const CTA_TIMEOUT_TCP_SYN_SENT: u16 = 1;
/// Its answer was seen.
pub const CTA_TIMEOUT_TCP_SYN_RECV: u16 = 2;
/// The connection is open.
pub const CTA_TIMEOUT_TCP_ESTABLISHED: u16 = 3;
/// The first FIN was seen.
pub const CTA_TIMEOUT_TCP_FIN_WAIT: u16 = 4;
/// It was acknowledged.
pub const CTA_TIMEOUT_TCP_CLOSE_WAIT: u16 = 5;
/// The second FIN was seen.
pub const CTA_TIMEOUT_TCP_LAST_ACK: u16 = 6;
/// It was acknowledged as well.
pub const CTA_TIMEOUT_TCP_TIME_WAIT: u16 = 7;
/// A reset was seen.
pub const CTA_TIMEOUT_TCP_CLOSE: u16 = 8;
/// Both sides sent a SYN.
pub const CTA_TIMEOUT_TCP_SYN_SENT2: u16 = 9;
/// Data is sent again and again.
pub const CTA_TIMEOUT_TCP_RETRANS: u16 = 10;
/// Data goes without acknowledgement.
pub const CTA_TIMEOUT_TCP_UNACK: u16 = 11;

// `ctattr_timeout_udp`: all be32, seconds.
/// Packets were seen one way.
pub const CTA_TIMEOUT_UDP_UNREPLIED: u16 = 1;
/// Packets were seen both ways.
pub const CTA_TIMEOUT_UDP_REPLIED: u16 = 2;

// `ctattr_timeout_icmp` and `ctattr_timeout_icmpv6`.
/// be32, seconds.
pub const CTA_TIMEOUT_ICMP_TIMEOUT: u16 = 1;
/// be32, seconds.
pub const CTA_TIMEOUT_ICMPV6_TIMEOUT: u16 = 1;
