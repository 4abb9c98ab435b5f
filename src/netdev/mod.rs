//! Devices of the host, as rtnetlink shows and changes them.
//!
//! What always holds: a listing is whole (an interrupted dump is begun again); what the kernel adds
//! that we do not know is passed over. Each call opens a socket of its own: they are rare. Any
//! thread. Sources: rtnetlink(7), `include/uapi/linux/{rtnetlink,if_link}.h`.

use ovs_netlink::attr::Attrs;
use ovs_netlink::msg::{Message, MsgBuf, MsgError, MsgFlags};
use ovs_netlink::{Error, Socket};

use crate::flow::EthAddr;

const NETLINK_ROUTE: isize = 0;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFF_UP: u32 = 0x1;
const IFF_RUNNING: u32 = 0x40;
/// `sizeof(struct ifinfomsg)`.
const IFINFOMSG_LEN: usize = 16;

/// A device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its number.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Its address; zero for devices that have none of six bytes.
    pub mac: EthAddr,
    /// Largest packet.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Has a carrier.
    pub running: bool,
}

/// All devices of the network namespace.
///
/// # Errors
/// When the kernel cannot be asked or its answer not be read.
pub fn links() -> Result<Vec<Link>, Error> {
    let mut socket = Socket::open_protocol(NETLINK_ROUTE)?;
    let mut request = link_request(RTM_GETLINK, &[])?;
    socket.dump(&mut request, |message| parse_link(&message))
}

/// Gives a device another address.
///
/// # Errors
/// When the kernel refuses it: no such device, not an address that it takes.
pub fn set_mac(name: &str, mac: EthAddr) -> Result<(), Error> {
    let mut socket = Socket::open_protocol(NETLINK_ROUTE)?;
    let mut request =
        link_request(RTM_SETLINK, &[(IFLA_ADDRESS, &mac.0), (IFLA_IFNAME, &c_string(name))])?;
    socket.transact(&mut request).map(drop)
}

fn c_string(text: &str) -> Vec<u8> {
    text.bytes().chain([0]).collect()
}

fn link_request(kind: u16, attrs: &[(u16, &[u8])]) -> Result<MsgBuf, Error> {
    let mut request = MsgBuf::new();
    let mut message = request.begin_raw(kind, MsgFlags::empty(), 0);
    message.fixed(&[0; IFINFOMSG_LEN]);
    for (kind, value) in attrs {
        message.attrs().bytes(*kind, value);
    }
    message.finish().map_err(Error::Encode)?;
    Ok(request)
}

/// Reads a link out of an answer; `None` for messages of another type.
fn parse_link(message: &Message<'_>) -> Result<Option<Link>, MsgError> {
    if message.kind != RTM_NEWLINK {
        return Ok(None);
    }
    let Some((head, attrs)) = message.payload.split_first_chunk::<IFINFOMSG_LEN>() else {
        return Err(MsgError::Family { len: message.payload.len() });
    };
    let word = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&head[at..at + 4]);
        u32::from_ne_bytes(bytes)
    };
    let flags = word(8);
    let mut link = Link {
        ifindex: word(4),
        name: String::new(),
        mac: EthAddr::ZERO,
        mtu: 0,
        up: flags & IFF_UP != 0,
        running: flags & IFF_RUNNING != 0,
    };
    for attr in Attrs::new(attrs) {
        let attr = attr?;
        match attr.kind {
            IFLA_IFNAME => link.name = attr.str()?.to_owned(),
            IFLA_MTU => link.mtu = attr.u32()?,
            IFLA_ADDRESS if attr.value.len() == 6 => link.mac = EthAddr(*attr.array()?),
            _ => {}
        }
    }
    Ok(Some(link))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_there() {
        let links = links().unwrap();
        let lo = links.iter().find(|link| link.name == "lo").unwrap();
        assert_eq!((lo.ifindex, lo.mac), (1, EthAddr::ZERO));
        let mtu = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap();
        assert_eq!(lo.mtu.to_string(), mtu.trim());
    }

    #[test]
    fn a_device_that_is_not_there_cannot_be_changed() {
        let error = set_mac("no-such-device", EthAddr([2, 0, 0, 0, 0, 1])).unwrap_err();
        assert!(matches!(error.errno(), Some(libc::ENODEV | libc::EPERM)), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic(payload: Vec<u8>, kind in 15u16..18) {
            let message =
                Message { kind, flags: MsgFlags::empty(), seq: 0, port: 0, payload: &payload };
            let _ = parse_link(&message);
        }
    }
}
