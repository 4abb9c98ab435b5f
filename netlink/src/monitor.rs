//! Changes as the kernel announces them: ports and datapaths, links, addresses, routes and
//! neighbours, and whether the module is there at all.
//!
//! What always holds: nothing is queued here, announcements wait in the kernel's bounded buffer; when
//! that overflows, or an announcement cannot be read, [`Event::Lost`] comes in its place, and
//! whoever listens reads everything anew. What one does oneself is announced, too.
//!
//! A [`Listener`] never waits and belongs to one thread; a [`Monitor`] is two of them on a tokio
//! runtime. Sources: `include/uapi/linux/{openvswitch,genetlink,rtnetlink}.h`.

mod listener;
#[cfg(test)]
mod tests;

use std::io;
use std::task::{Context, Poll};

use tokio::io::unix::AsyncFd;

pub use self::listener::Listener;
use crate::datapath::Datapath;
use crate::family::Families;
use crate::sys;
use crate::vport::Vport;

pub use netlink_packet_route::RouteNetlinkMessage;

bitflags::bitflags! {
    /// What to be told of the OVS families.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct OvsGroups: u32 {
        /// Datapaths.
        const DATAPATH = 1 << 0;
        /// Ports.
        const VPORT = 1 << 1;
        /// The families themselves, as the module comes and goes.
        const FAMILY = 1 << 2;
    }
}

bitflags::bitflags! {
    /// What to be told of the rest of the network stack; bit n - 1 is multicast group n, `RTNLGRP_*`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct RouteGroups: u32 {
        /// Network devices.
        const LINK = 1 << 0;
        /// Neighbours: ARP and ND entries.
        const NEIGHBOUR = 1 << 2;
        /// IPv4 addresses.
        const IPV4_ADDR = 1 << 4;
        /// IPv4 routes.
        const IPV4_ROUTE = 1 << 6;
        /// IPv4 routing rules.
        const IPV4_RULE = 1 << 7;
        /// IPv6 addresses.
        const IPV6_ADDR = 1 << 8;
        /// IPv6 routes.
        const IPV6_ROUTE = 1 << 10;
        /// IPv6 routing rules.
        const IPV6_RULE = 1 << 18;
        /// Addresses of both kinds.
        const ADDR = Self::IPV4_ADDR.bits() | Self::IPV6_ADDR.bits();
        /// Routes of both kinds.
        const ROUTE = Self::IPV4_ROUTE.bits() | Self::IPV6_ROUTE.bits();
        /// Rules of both kinds.
        const RULE = Self::IPV4_RULE.bits() | Self::IPV6_RULE.bits();
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// It is new.
    New,
    /// It has changed.
    Set,
    /// It is gone; the announcement describes what was.
    Gone,
}

/// An announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A datapath.
    Datapath(Change, Datapath),
    /// A port. When its device is deleted or a datapath goes, its port goes first.
    Vport(Change, Vport),
    /// A generic netlink family, of the module or another's: its name and id. When those of the
    /// module come anew they have other ids, see [`Listener::join_ovs`].
    Family(Change, String, u16),
    /// Links, addresses, routes, neighbours and rules, in the words of netlink-packet-route.
    Route(Box<RouteNetlinkMessage>),
    /// Announcements were lost (`ENOBUFS`), or one could not be read: everything must be read anew.
    Lost,
}

/// Listens to the OVS families and to rtnetlink on a tokio runtime.
#[derive(Debug)]
pub struct Monitor {
    sources: [Option<AsyncFd<Listener>>; 2],
    next: usize,
}

impl Monitor {
    /// Listens to the given groups. Without `families` (the module is not loaded) only those of
    /// [`OvsGroups::FAMILY`], until [`Self::join_ovs`].
    ///
    /// # Errors
    /// Whatever opening sockets and joining groups fails with. Needs a tokio runtime with I/O.
    pub fn open(
        families: Option<&Families>,
        ovs: OvsGroups,
        route: RouteGroups,
    ) -> io::Result<Self> {
        let generic = match ovs.is_empty() {
            true => None,
            false => Some(sys::watch(Listener::ovs(families, ovs)?)?),
        };
        let route = match route.is_empty() {
            true => None,
            false => Some(sys::watch(Listener::route(route)?)?),
        };
        Ok(Self { sources: [generic, route], next: 0 })
    }

    /// Follows the OVS families to new ids, after [`Event::Family`] has told of them.
    ///
    /// # Errors
    /// Whatever `setsockopt` fails with.
    pub fn join_ovs(&mut self, families: &Families) -> io::Result<()> {
        match &mut self.sources[0] {
            Some(source) => source.get_mut().join_ovs(families),
            None => Ok(()),
        }
    }

    /// The next announcement. Cancelling it loses nothing.
    ///
    /// # Errors
    /// Whatever `recv` fails with.
    pub async fn next(&mut self) -> io::Result<Event> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Self::next`], for own event loops.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Event>> {
        // Each source has its turn to be first, so that none can starve the other.
        for _ in 0..self.sources.len() {
            let turn = self.next % self.sources.len();
            self.next = turn + 1;
            if let Some(Some(source)) = self.sources.get_mut(turn)
                && let Poll::Ready(event) = poll_source(source, cx)
            {
                return Poll::Ready(event);
            }
        }
        Poll::Pending
    }
}

fn poll_source(source: &mut AsyncFd<Listener>, cx: &mut Context<'_>) -> Poll<io::Result<Event>> {
    loop {
        // What is left of the last datagram makes the descriptor no readier.
        if let Some(event) = source.get_mut().buffered() {
            return Poll::Ready(Ok(event));
        }
        let mut ready = match source.poll_read_ready_mut(cx) {
            Poll::Ready(ready) => ready?,
            Poll::Pending => return Poll::Pending,
        };
        match ready.get_inner_mut().try_next() {
            Ok(Some(event)) => return Poll::Ready(Ok(event)),
            Ok(None) => ready.clear_ready(),
            Err(e) => return Poll::Ready(Err(e)),
        }
    }
}
