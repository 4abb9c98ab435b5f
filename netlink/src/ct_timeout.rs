//! Timeout policies of conntrack (`nfnetlink_cttimeout`, Linux 3.4): how long connections of one
//! protocol are remembered, by name. The conntrack action names one in
//! [`CtAttr::Timeout`](crate::ct::CtAttr::Timeout).
//!
//! They are no generic netlink family but a subsystem of `NETLINK_NETFILTER`, so they want a socket of
//! their own, from [`open`]. A kernel without the subsystem answers everything with `EINVAL`, after it
//! has tried to load the module. Policies belong to the network namespace: every datapath in it
//! can use them, and they outlive them all.
//!
//! What always holds: no input makes parsing panic; a policy that was written reads back the same.
//!
//! Control side, any thread. Sources: `include/uapi/linux/netfilter/nfnetlink_cttimeout.h`,
//! `net/netfilter/nfnetlink_cttimeout.c`.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::attr::{AttrError, Attrs};
use crate::error::Error;
use crate::msg::{MsgBuf, MsgError, MsgFlags, MsgWriter};
use crate::socket::Socket;
use crate::uapi::*;

/// A socket for the requests here.
///
/// # Errors
/// As for [`Socket::open`]; `EPROTONOSUPPORT` when the kernel has no nfnetlink at all.
pub fn open() -> io::Result<Socket> {
    Socket::open_protocol(NETLINK_NETFILTER)
}

/// Address family of the connections that a policy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum L3 {
    /// `AF_INET`.
    Ipv4,
    /// `AF_INET6`.
    Ipv6,
    /// One that this crate does not know.
    Unknown(u16),
}

impl L3 {
    /// The kernel's number.
    pub const fn to_u16(self) -> u16 {
        match self {
            Self::Ipv4 => libc::AF_INET as u16,
            Self::Ipv6 => libc::AF_INET6 as u16,
            Self::Unknown(number) => number,
        }
    }

    /// From the kernel's number.
    pub const fn from_u16(number: u16) -> Self {
        match number as i32 {
            libc::AF_INET => Self::Ipv4,
            libc::AF_INET6 => Self::Ipv6,
            _ => Self::Unknown(number),
        }
    }
}

/// How long a connection is remembered in one of its states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timeout {
    /// The state: `CTA_TIMEOUT_TCP_*`, `CTA_TIMEOUT_UDP_*` and so on, by the policy's protocol.
    pub kind: u16,
    /// For so long after the last packet.
    pub seconds: u32,
}

/// A policy as the kernel shows it, borrowed from the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy<'a> {
    /// Its name, alone of its kind in the network namespace.
    pub name: &'a str,
    /// Address family.
    pub l3: L3,
    /// Protocol, `IPPROTO_*`.
    pub l4: u8,
    /// How many hold it: flows, rules, connections, and the list of policies itself.
    pub uses: Option<u32>,
    /// Its timeouts, encoded: see [`Self::timeouts`].
    pub data: &'a [u8],
}

impl<'a> Policy<'a> {
    /// Parses what follows the netlink header.
    ///
    /// # Errors
    /// [`MsgError`] when it is malformed, or lacks anything but the number of users.
    pub fn parse(payload: &'a [u8]) -> Result<Self, MsgError> {
        let Some((_, attrs)) = payload.split_first_chunk::<NFGENMSG_LEN>() else {
            return Err(MsgError::Family { len: payload.len() });
        };
        let (mut name, mut l3, mut l4, mut uses, mut data) = (None, None, None, None, None);
        for a in Attrs::new(attrs) {
            let a = a?;
            match a.kind {
                CTA_TIMEOUT_NAME => name = Some(a.str()?),
                CTA_TIMEOUT_L3PROTO => l3 = Some(L3::from_u16(a.be16()?)),
                CTA_TIMEOUT_L4PROTO => l4 = Some(a.u8()?),
                CTA_TIMEOUT_USE => uses = Some(a.be32()?),
                CTA_TIMEOUT_DATA => data = Some(a.value),
                _ => {}
            }
        }
        let missing = |kind| AttrError::Missing { kind };
        Ok(Self {
            name: name.ok_or(missing(CTA_TIMEOUT_NAME))?,
            l3: l3.ok_or(missing(CTA_TIMEOUT_L3PROTO))?,
            l4: l4.ok_or(missing(CTA_TIMEOUT_L4PROTO))?,
            uses,
            data: data.ok_or(missing(CTA_TIMEOUT_DATA))?,
        })
    }

    /// Its timeouts, all that the protocol has; ends after the first error.
    pub fn timeouts(&self) -> impl Iterator<Item = Result<Timeout, AttrError>> + 'a {
        Attrs::new(self.data).map(|a| {
            let a = a?;
            Ok(Timeout { kind: a.kind, seconds: a.be32()? })
        })
    }
}

/// A policy to be made, or to have other timeouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyNew<'a> {
    /// Its name, at most 31 bytes.
    pub name: &'a str,
    /// Address family.
    pub l3: L3,
    /// Protocol, `IPPROTO_*`.
    pub l4: u8,
    /// Its timeouts. Those that are left out are what the network namespace has for connections
    /// without a policy, at this moment.
    pub timeouts: &'a [Timeout],
}

impl PolicyNew<'_> {
    /// Appends the request. Without [`MsgFlags::REPLACE`] in `flags` a policy of that name must not
    /// exist; one for another protocol cannot be replaced.
    ///
    /// # Errors
    /// [`AttrError::TooLong`] when the name does not fit an attribute.
    pub fn append(&self, buf: &mut MsgBuf, flags: MsgFlags, seq: u32) -> Result<(), AttrError> {
        let mut msg = begin(buf, IPCTNL_MSG_TIMEOUT_NEW, flags | MsgFlags::CREATE, seq);
        let w = msg.attrs();
        w.str(CTA_TIMEOUT_NAME, self.name);
        w.be16(CTA_TIMEOUT_L3PROTO, self.l3.to_u16());
        w.u8(CTA_TIMEOUT_L4PROTO, self.l4);
        let nest = w.begin(CTA_TIMEOUT_DATA);
        for timeout in self.timeouts {
            w.be32(timeout.kind, timeout.seconds);
        }
        w.end(nest)?;
        msg.finish()
    }
}

/// Makes a policy; one of that name, for the same protocol, gets the timeouts instead.
///
/// # Errors
/// As for [`Socket::transact`].
pub fn set(socket: &mut Socket, policy: &PolicyNew<'_>) -> Result<(), Error> {
    let mut buf = MsgBuf::new();
    policy.append(&mut buf, MsgFlags::REPLACE, 0).map_err(Error::Encode)?;
    socket.transact(&mut buf).map(drop)
}

/// Removes a policy.
///
/// # Errors
/// [`Error::Kernel`] with `ENOENT` when there is none, and with `EBUSY` when something uses it and the
/// kernel minds (Linux 6.1 does, 6.12 does not); otherwise as for [`Socket::transact`].
pub fn delete(socket: &mut Socket, name: &str) -> Result<(), Error> {
    let mut buf = MsgBuf::new();
    let mut msg = begin(&mut buf, IPCTNL_MSG_TIMEOUT_DELETE, MsgFlags::empty(), 0);
    msg.attrs().str(CTA_TIMEOUT_NAME, name);
    msg.finish().map_err(Error::Encode)?;
    socket.transact(&mut buf).map(drop)
}

/// All policies of the network namespace, whoever made them, each made into a `T` by `pick`, which may
/// also pass one over.
///
/// # Errors
/// As for [`Socket::dump`].
pub fn dump<T>(
    socket: &mut Socket,
    mut pick: impl FnMut(&Policy<'_>) -> Option<T>,
) -> Result<Vec<T>, Error> {
    let mut buf = MsgBuf::new();
    begin(&mut buf, IPCTNL_MSG_TIMEOUT_GET, MsgFlags::empty(), 0)
        .finish()
        .map_err(Error::Encode)?;
    socket.dump(&mut buf, |message| match message.kind == kind(IPCTNL_MSG_TIMEOUT_NEW) {
        true => Ok(pick(&Policy::parse(message.payload)?)),
        false => Ok(None),
    })
}

/// `nlmsg_type` of a message of the subsystem.
const fn kind(message: u8) -> u16 {
    u16::from_be_bytes([NFNL_SUBSYS_CTNETLINK_TIMEOUT, message])
}

fn begin(buf: &mut MsgBuf, message: u8, flags: MsgFlags, seq: u32) -> MsgWriter<'_> {
    let mut msg = buf.begin_raw(kind(message), flags, seq);
    msg.fixed(&[libc::AF_UNSPEC as u8, NFNETLINK_V0, 0, 0]);
    msg
}

#[cfg(test)]
mod tests;
