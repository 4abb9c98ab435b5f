//! The devices of this process's network namespace, by rtnetlink.
//!
//! What always holds: each request has a socket of its own; an answer is matched to its request.
//!
//! Any thread.

use std::{
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use ovs_netlink::{
    Error, RecvError, Socket,
    msg::{Messages, MsgBuf, MsgFlags},
    ring::RecvRing,
};

use super::{
    HostDevices, Link, LinkEvent, LinkEvents,
    link::{self, IFF_UP, IFINFOMSG_LEN, IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, RTM_DELLINK},
};
use crate::{flow::EthAddr, limits};

const NETLINK_ROUTE: isize = 0;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
/// `RTNLGRP_LINK`.
const RTNLGRP_LINK: u32 = 1;
/// Datagrams of events read by one call. An event is about 2 KiB; one of a device with many
/// virtual functions is longer, and is then told as lost.
const EVENT_SLOTS: usize = 16;
const EVENT_SLOT_BYTES: usize = 32 << 10;

/// See the module's page.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelDevices;

impl HostDevices for KernelDevices {
    fn links(&self) -> Result<Vec<Link>, Error> {
        let mut socket = Socket::open_protocol(NETLINK_ROUTE)?;
        let mut request = request(RTM_GETLINK, 0, 0, &[])?;
        socket.dump(&mut request, |message| link::parse(&message))
    }

    fn link(&self, name: &str) -> Result<Option<Link>, Error> {
        let mut socket = Socket::open_protocol(NETLINK_ROUTE)?;
        let mut request = request(RTM_GETLINK, 0, 0, &[(IFLA_IFNAME, &c_string(name))])?;
        match socket.transact(&mut request) {
            Ok(Some(message)) => Ok(link::parse(&message)?),
            Ok(None) => Err(Error::NoObject),
            Err(e) if e.errno() == Some(libc::ENODEV) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn set_up(&self, name: &str, up: bool) -> Result<(), Error> {
        let flags = if up { IFF_UP } else { 0 };
        set(flags, IFF_UP, &[(IFLA_IFNAME, &c_string(name))])
    }

    fn set_mac(&self, name: &str, mac: EthAddr) -> Result<(), Error> {
        set(0, 0, &[(IFLA_ADDRESS, &mac.0), (IFLA_IFNAME, &c_string(name))])
    }

    fn set_mtu(&self, name: &str, mtu: u32) -> Result<(), Error> {
        set(0, 0, &[(IFLA_MTU, &mtu.to_ne_bytes()), (IFLA_IFNAME, &c_string(name))])
    }

    fn watch(&self) -> Result<Box<dyn LinkEvents>, Error> {
        let mut socket = Socket::open_protocol(NETLINK_ROUTE)?;
        socket.set_rcvbuf_force(limits::REQUEST_RCVBUF_BYTES)?;
        socket.join(RTNLGRP_LINK)?;
        let ring = RecvRing::with_slot(EVENT_SLOTS, EVENT_SLOT_BYTES);
        Ok(Box::new(KernelLinkEvents { socket, ring }))
    }
}

fn c_string(text: &str) -> Vec<u8> {
    text.bytes().chain([0]).collect()
}

fn request(kind: u16, flags: u32, change: u32, attrs: &[(u16, &[u8])]) -> Result<MsgBuf, Error> {
    let mut header = [0; IFINFOMSG_LEN];
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    let mut request = MsgBuf::new();
    let mut message = request.begin_raw(kind, MsgFlags::empty(), 0);
    message.fixed(&header);
    for (kind, value) in attrs {
        message.attrs().bytes(*kind, value);
    }
    message.finish().map_err(Error::Encode)?;
    Ok(request)
}

fn set(flags: u32, change: u32, attrs: &[(u16, &[u8])]) -> Result<(), Error> {
    let mut socket = Socket::open_protocol(NETLINK_ROUTE)?;
    socket.transact(&mut request(RTM_SETLINK, flags, change, attrs)?).map(drop)
}

/// Announcements of the link group.
struct KernelLinkEvents {
    socket: Socket,
    ring: RecvRing,
}

impl LinkEvents for KernelLinkEvents {
    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn read(&mut self, each: &mut dyn FnMut(LinkEvent)) -> Result<(), Error> {
        loop {
            match self.socket.recv_batch(&mut self.ring, Duration::ZERO) {
                Ok(0) => return Ok(()),
                Ok(_) => (),
                Err(RecvError::Io(e)) => return Err(Error::Io(e)),
                Err(RecvError::Overrun | RecvError::Truncated { .. }) => {
                    each(LinkEvent::Overrun);
                    continue;
                }
            }
            for datagram in self.ring.iter() {
                let Ok(datagram) = datagram else {
                    each(LinkEvent::Overrun);
                    continue;
                };
                for message in Messages::new(datagram) {
                    let parsed = message.and_then(|m| Ok((m.kind, link::parse(&m)?)));
                    match parsed {
                        Ok((RTM_DELLINK, Some(link))) => each(LinkEvent::Removed(link)),
                        Ok((_, Some(link))) => each(LinkEvent::Changed(link)),
                        Ok((_, None)) => (),
                        // Something happened that we do not understand.
                        Err(_) => each(LinkEvent::Overrun),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_there() {
        let links = KernelDevices.links().unwrap();
        let lo = links.iter().find(|link| link.name == "lo").unwrap();
        assert_eq!((lo.ifindex, lo.mac), (1, EthAddr::ZERO));
        let mtu = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap();
        assert_eq!(lo.mtu.to_string(), mtu.trim());
        let alone = KernelDevices.link("lo").unwrap().unwrap();
        assert_eq!((alone.ifindex, alone.mtu), (1, lo.mtu));
        assert_eq!(KernelDevices.link("no-such-device").unwrap(), None);
    }

    #[test]
    fn a_device_that_is_not_there_cannot_be_changed() {
        let mac = EthAddr([2, 0, 0, 0, 0, 1]);
        for result in [
            KernelDevices.set_mac("no-such-device", mac),
            KernelDevices.set_mtu("no-such-device", 1400),
            KernelDevices.set_up("no-such-device", true),
        ] {
            let error = result.unwrap_err();
            assert!(matches!(error.errno(), Some(libc::ENODEV | libc::EPERM)), "{error}");
        }
    }
}
