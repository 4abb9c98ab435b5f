//! One socket in multicast groups, and the reading of what they announce.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::{Change, Event, OvsGroups, RouteGroups};
use crate::datapath::Datapath;
use crate::error::RecvError;
use crate::family::{self, Families, Family, FamilyError};
use crate::msg::{Genl, Message, Messages, NLMSG_MIN_TYPE, NLMSG_OVERRUN};
use crate::socket::Socket;
use crate::uapi::*;
use crate::vport::Vport;

/// `GENL_ID_CTRL`: the family that announces the others has a fixed id.
const GENL_ID_CTRL: u16 = 0x10;
/// Receive buffer: room for some thousand announcements, so that a burst (a bridge of many ports is
/// torn down) need not be answered by reading everything anew.
const RCVBUF: usize = 1 << 20;

/// Reads announcements from one socket, without waiting; its descriptor tells when there are any.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    source: Source,
    /// The part of the last datagram that has not been walked.
    unread: std::ops::Range<usize>,
}

#[derive(Debug)]
enum Source {
    Ovs { groups: OvsGroups, datapath: u16, vport: u16 },
    Route,
}

impl Listener {
    /// Listens to the OVS families. Without `families` (the module is not loaded) only to
    /// [`OvsGroups::FAMILY`], until [`Self::join_ovs`].
    ///
    /// # Errors
    /// Whatever opening the socket and joining groups fails with.
    pub fn ovs(families: Option<&Families>, groups: OvsGroups) -> io::Result<Self> {
        let mut socket = Socket::open()?;
        if groups.contains(OvsGroups::FAMILY) {
            let ctrl = family::resolve(&mut socket, "nlctrl").map_err(|e| match e {
                FamilyError::Exchange { source: crate::Error::Io(e), .. } => e,
                e => io::Error::other(e),
            })?;
            join(&socket, ctrl.as_ref(), "notify")?;
        }
        let mut listener = Self::new(socket, Source::Ovs { groups, datapath: 0, vport: 0 })?;
        if let Some(families) = families {
            listener.join_ovs(families)?;
        }
        Ok(listener)
    }

    /// Listens to rtnetlink.
    ///
    /// # Errors
    /// Whatever opening the socket and joining groups fails with.
    pub fn route(groups: RouteGroups) -> io::Result<Self> {
        let socket = Socket::open_protocol(NETLINK_ROUTE)?;
        for group in (1..=u32::BITS).filter(|n| groups.bits() >> (n - 1) & 1 == 1) {
            socket.join(group)?;
        }
        Self::new(socket, Source::Route)
    }

    fn new(mut socket: Socket, source: Source) -> io::Result<Self> {
        socket.set_rcvbuf_force(RCVBUF)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, source, unread: 0..0 })
    }

    /// Joins the groups of `families`, whose ids are new since the module was loaded.
    ///
    /// # Errors
    /// Whatever `setsockopt` fails with.
    pub fn join_ovs(&mut self, families: &Families) -> io::Result<()> {
        let Source::Ovs { groups, datapath, vport } = &mut self.source else { return Ok(()) };
        if groups.contains(OvsGroups::DATAPATH) {
            join(&self.socket, Some(&families.datapath), OVS_DATAPATH_MCGROUP)?;
        }
        if groups.contains(OvsGroups::VPORT) {
            join(&self.socket, Some(&families.vport), OVS_VPORT_MCGROUP)?;
        }
        (*datapath, *vport) = (families.datapath.id, families.vport.id);
        Ok(())
    }

    /// Asks for a receive buffer of `bytes` instead of 1 MiB, past `net.core.rmem_max` where
    /// privileges allow. Returns what the kernel made of it.
    ///
    /// # Errors
    /// Whatever `setsockopt` fails with.
    pub fn set_rcvbuf_force(&mut self, bytes: usize) -> io::Result<usize> {
        self.socket.set_rcvbuf_force(bytes)
    }

    /// The next announcement that is there; `None` when there is none.
    ///
    /// # Errors
    /// Whatever `recv` fails with.
    pub fn try_next(&mut self) -> io::Result<Option<Event>> {
        loop {
            if let Some(event) = self.buffered() {
                return Ok(Some(event));
            }
            match self.socket.receive(Duration::ZERO) {
                Ok(Some(len)) => self.unread = 0..len,
                Ok(None) => return Ok(None),
                Err(RecvError::Overrun | RecvError::Truncated { .. }) => {
                    return Ok(Some(Event::Lost));
                }
                Err(RecvError::Io(e)) => return Err(e),
            }
        }
    }

    /// The next announcement of the last datagram.
    pub(super) fn buffered(&mut self) -> Option<Event> {
        let mut messages = Messages::new(self.socket.received(self.unread.clone()));
        while let Some(m) = messages.next() {
            let event = match m {
                Ok(m) => self.event(&m),
                Err(_) => Some(Event::Lost),
            };
            if event.is_some() {
                self.unread.start = self.unread.end - messages.rest().len();
                return event;
            }
        }
        self.unread.start = self.unread.end;
        None
    }

    /// What a message announces; `None` when it is nothing of interest.
    fn event(&self, m: &Message<'_>) -> Option<Event> {
        match (m.kind, &self.source) {
            (NLMSG_OVERRUN, _) => Some(Event::Lost),
            (..NLMSG_MIN_TYPE, _) => None,
            (_, Source::Route) => Some(route_event(m)),
            (id, Source::Ovs { datapath, vport, .. }) => match m.genl() {
                Err(_) => Some(Event::Lost),
                Ok(genl) if id == GENL_ID_CTRL => family_event(genl),
                Ok(genl) if id == *datapath => ovs_event(genl, Datapath::parse, Event::Datapath),
                Ok(genl) if id == *vport => ovs_event(genl, Vport::parse, Event::Vport),
                Ok(_) => None,
            },
        }
    }

    #[cfg(test)]
    pub(super) fn fake(socket: Socket, datapath: u16, vport: u16) -> Self {
        let groups = OvsGroups::all();
        Self { socket, source: Source::Ovs { groups, datapath, vport }, unread: 0..0 }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn join(socket: &Socket, family: Option<&Family>, group: &str) -> io::Result<()> {
    match family.and_then(|f| f.group(group)) {
        Some(id) => socket.join(id),
        None => Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("the kernel has no multicast group {group}"),
        )),
    }
}

/// The OVS families use the same numbers for their commands.
fn ovs_event<T>(
    genl: Genl<'_>,
    parse: impl FnOnce(&[u8]) -> Result<T, crate::msg::MsgError>,
    event: impl FnOnce(Change, T) -> Event,
) -> Option<Event> {
    let change = match genl.cmd {
        OVS_DP_CMD_NEW => Change::New,
        OVS_DP_CMD_SET => Change::Set,
        OVS_DP_CMD_DEL => Change::Gone,
        _ => return None,
    };
    Some(parse(genl.body).map_or(Event::Lost, |object| event(change, object)))
}

fn family_event(genl: Genl<'_>) -> Option<Event> {
    let change = match libc::c_int::from(genl.cmd) {
        libc::CTRL_CMD_NEWFAMILY => Change::New,
        libc::CTRL_CMD_DELFAMILY => Change::Gone,
        _ => return None,
    };
    Some(match Family::parse(genl) {
        Some(Family { name, id, .. }) if !name.is_empty() => Event::Family(change, name, id),
        _ => Event::Lost,
    })
}

fn route_event(m: &Message<'_>) -> Event {
    let mut header = NetlinkHeader::default();
    header.message_type = m.kind;
    match RouteNetlinkMessage::deserialize(&header, m.payload) {
        Ok(message) => Event::Route(Box::new(message)),
        Err(_) => Event::Lost,
    }
}
