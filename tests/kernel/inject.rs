//! Sends raw frames out of a namespace, exactly as scripted or as fast as it can.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, send, socket,
};

use super::netns::Host;

/// A packet socket on `eth0` of a host.
pub struct Injector {
    socket: OwnedFd,
}

/// A packet socket bound to `eth0` of a host.
pub fn packet_socket(host: &Host) -> OwnedFd {
    host.enter(|| {
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::EthAll,
        )
        .expect("packet socket");
        let address: LinkAddr = getifaddrs()
            .expect("interfaces")
            .filter(|i| i.interface_name == "eth0")
            .find_map(|i| i.address.and_then(|a| a.as_link_addr().copied()))
            .expect("eth0 has a link address");
        bind(socket.as_raw_fd(), &address).expect("bind to eth0");
        socket
    })
}

impl Injector {
    /// Opens it; the socket stays in the host's namespace wherever it is used.
    pub fn new(host: &Host) -> Self {
        Self { socket: packet_socket(host) }
    }

    /// Sends one frame.
    pub fn send(&self, frame: &[u8]) {
        let sent = send(self.socket.as_raw_fd(), frame, MsgFlags::empty())
            .unwrap_or_else(|e| panic!("cannot send {} bytes: {e}", frame.len()));
        assert_eq!(sent, frame.len());
    }

    /// Sends `n` UDP packets, each a 5-tuple of its own, as fast as it can; `frame` is an
    /// untagged IPv4 UDP packet without options. Tuple number `i` has source address
    /// 10.(i bits 16..32 in two bytes) and source port (i bits 0..16); returns how many went out.
    pub fn flood(&self, frame: &[u8], first: u32, n: u32) -> u32 {
        let mut frame = frame.to_vec();
        let mut out = 0;
        for i in first..first.wrapping_add(n) {
            let b = i.to_be_bytes();
            frame[28..30].copy_from_slice(&b[..2]);
            frame[34..36].copy_from_slice(&b[2..]);
            // A full device queue refuses now and then.
            if send(self.socket.as_raw_fd(), &frame, MsgFlags::empty()).is_ok() {
                out += 1;
            }
        }
        out
    }
}
