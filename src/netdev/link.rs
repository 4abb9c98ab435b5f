//! One device, as rtnetlink shows it.
//!
//! What always holds: no message makes the parser panic; messages that are about a device's place
//! in a bridge rather than about the device are passed over.
//!
//! Plain values: any thread.

use ovs_netlink::{
    attr::{Attr, AttrError, Attrs},
    msg::{Message, MsgError},
};

use crate::flow::EthAddr;

/// `RTM_NEWLINK`.
pub(super) const RTM_NEWLINK: u16 = 16;
/// `RTM_DELLINK`.
pub(super) const RTM_DELLINK: u16 = 17;
/// `sizeof(struct ifinfomsg)`.
pub(super) const IFINFOMSG_LEN: usize = 16;
pub(super) const IFLA_ADDRESS: u16 = 1;
pub(super) const IFLA_IFNAME: u16 = 3;
pub(super) const IFLA_MTU: u16 = 4;
pub(super) const IFF_UP: u32 = 0x1;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_STATS64: u16 = 23;
const IFLA_CARRIER: u16 = 33;
const IFLA_CARRIER_CHANGES: u16 = 35;
const IFLA_INFO_KIND: u16 = 1;
const IFF_RUNNING: u32 = 0x40;
const IFF_LOWER_UP: u32 = 0x1_0000;
const AF_UNSPEC: u8 = 0;

/// A device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// Its number; it keeps it when it is renamed.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Its address; zero for devices that have none of six bytes.
    pub mac: EthAddr,
    /// Largest payload in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Up, and able to carry packets (`IFF_RUNNING`).
    pub running: bool,
    /// Has a carrier.
    pub carrier: bool,
    /// How often the carrier has come or gone.
    pub carrier_changes: u32,
    /// What made it, as "veth" or "openvswitch"; physical devices have none.
    pub kind: Option<String>,
    /// ifindex of the bridge, bond or datapath that it belongs to.
    pub master: Option<u32>,
    /// Its counters.
    pub stats: LinkStats,
}

/// Counters of a device (`struct rtnl_link_stats64`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LinkStats {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Bad packets received.
    pub rx_errors: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Received packets dropped for want of space.
    pub rx_dropped: u64,
    /// Packets not sent for want of space.
    pub tx_dropped: u64,
    /// Multicast packets received.
    pub multicast: u64,
    /// Collisions.
    pub collisions: u64,
    /// Received packets of a wrong length.
    pub rx_length_errors: u64,
    /// Received packets that did not fit the device's ring.
    pub rx_over_errors: u64,
    /// Received packets with a wrong checksum.
    pub rx_crc_errors: u64,
    /// Received packets out of frame.
    pub rx_frame_errors: u64,
    /// Received packets that the device's queue had no room for.
    pub rx_fifo_errors: u64,
    /// Received packets that the device missed.
    pub rx_missed_errors: u64,
}

impl LinkStats {
    fn parse(attr: &Attr<'_>) -> Result<Self, AttrError> {
        // Later kernels lengthen the structure; older ones have at least this much.
        let bytes: &[u8; 128] = attr.prefix()?;
        let mut words = bytes
            .chunks_exact(8)
            .map(|c| u64::from_ne_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]));
        let mut next = || words.next().unwrap_or(0);
        Ok(Self {
            rx_packets: next(),
            tx_packets: next(),
            rx_bytes: next(),
            tx_bytes: next(),
            rx_errors: next(),
            tx_errors: next(),
            rx_dropped: next(),
            tx_dropped: next(),
            multicast: next(),
            collisions: next(),
            rx_length_errors: next(),
            rx_over_errors: next(),
            rx_crc_errors: next(),
            rx_frame_errors: next(),
            rx_fifo_errors: next(),
            rx_missed_errors: next(),
        })
    }
}

/// A device that changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkEvent {
    /// New, or different: this is how it is now.
    Changed(Link),
    /// Gone; this is how it was.
    Removed(Link),
    /// Events were lost: list all devices.
    Overrun,
}

/// Reads a device out of a message; `None` for messages about something else.
///
/// # Errors
/// When the message does not hold together.
pub(super) fn parse(message: &Message<'_>) -> Result<Option<Link>, MsgError> {
    if !matches!(message.kind, RTM_NEWLINK | RTM_DELLINK) {
        return Ok(None);
    }
    let Some((head, attrs)) = message.payload.split_first_chunk::<IFINFOMSG_LEN>() else {
        return Err(MsgError::Family { len: message.payload.len() });
    };
    // A bridge announces with the same messages that a device enters or leaves it.
    if head[0] != AF_UNSPEC {
        return Ok(None);
    }
    let word = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let flags = word(8);
    let mut link = Link {
        ifindex: word(4),
        name: String::new(),
        mac: EthAddr::ZERO,
        mtu: 0,
        up: flags & IFF_UP != 0,
        running: flags & IFF_RUNNING != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        carrier_changes: 0,
        kind: None,
        master: None,
        stats: LinkStats::default(),
    };
    for attr in Attrs::new(attrs) {
        let attr = attr?;
        match attr.kind {
            IFLA_IFNAME => link.name = attr.str()?.to_owned(),
            IFLA_MTU => link.mtu = attr.u32()?,
            IFLA_ADDRESS if attr.value.len() == 6 => link.mac = EthAddr(*attr.array()?),
            IFLA_MASTER => link.master = Some(attr.u32()?),
            IFLA_CARRIER => link.carrier = attr.u8()? != 0,
            IFLA_CARRIER_CHANGES => link.carrier_changes = attr.u32()?,
            IFLA_STATS64 => link.stats = LinkStats::parse(&attr)?,
            IFLA_LINKINFO => {
                let kind = attr.attrs().find_kind(IFLA_INFO_KIND)?;
                link.kind = kind.map(|k| k.str().map(str::to_owned)).transpose()?;
            }
            _ => {}
        }
    }
    Ok(Some(link))
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable;
    use netlink_packet_route::link::{
        InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, Stats64,
    };
    use ovs_netlink::msg::MsgFlags;

    use super::*;

    fn message(kind: u16, payload: &[u8]) -> Message<'_> {
        Message { kind, flags: MsgFlags::empty(), seq: 0, port: 0, payload }
    }

    // The second source: a link as netlink-packet-route writes it.
    #[test]
    fn a_link_of_netlink_packet_route_is_read() {
        let mut theirs = LinkMessage::default();
        theirs.header.index = 7;
        theirs.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
        let mut stats = Stats64::default();
        (stats.rx_packets, stats.tx_dropped, stats.rx_missed_errors) = (1, 2, 3);
        theirs.attributes = vec![
            LinkAttribute::IfName("v1".to_owned()),
            LinkAttribute::Mtu(1400),
            LinkAttribute::Address(vec![2, 0, 0, 0, 0, 9]),
            LinkAttribute::Controller(3),
            LinkAttribute::CarrierChanges(5),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]),
            LinkAttribute::Stats64(stats),
        ];
        let mut bytes = vec![0; theirs.buffer_len()];
        theirs.emit(&mut bytes);
        let link = parse(&message(RTM_NEWLINK, &bytes)).unwrap().unwrap();
        let expected = Link {
            ifindex: 7,
            name: "v1".to_owned(),
            mac: EthAddr([2, 0, 0, 0, 0, 9]),
            mtu: 1400,
            up: true,
            running: false,
            carrier: true,
            carrier_changes: 5,
            kind: Some("veth".to_owned()),
            master: Some(3),
            stats: LinkStats {
                rx_packets: 1,
                tx_dropped: 2,
                rx_missed_errors: 3,
                ..LinkStats::default()
            },
        };
        assert_eq!(link, expected);
        // The same from a bridge's point of view is no news of the device.
        bytes[0] = 7;
        assert_eq!(parse(&message(RTM_DELLINK, &bytes)), Ok(None));
    }

    proptest::proptest! {
        #[test]
        fn no_message_makes_it_panic(payload: Vec<u8>, kind in 15u16..19) {
            let _ = parse(&message(kind, &payload));
        }
    }
}
