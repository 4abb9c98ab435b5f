//! Messages to the kernel as a replay compares and shows them.
//!
//! What always holds: any bytes can be compared and shown.

use ovs_netlink::flow::FlowMsg;
use ovs_netlink::msg::{Message, Messages, NLMSG_HDRLEN, split_ovs_header};
use ovs_netlink::packet::Upcall;
use ovs_netlink::uapi::{OVS_PACKET_ATTR_ACTIONS, OVS_PACKET_ATTR_KEY, OVS_PACKET_ATTR_PACKET};

use crate::datapath::FamilyIds;
use crate::odp::format::{PortNames, Style, format_actions, format_key};
use crate::odp::ufid::Ufid;

/// What a message asks of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// To install a flow.
    Put {
        /// Its name.
        ufid: Option<[u8; 16]>,
        /// Encoded key.
        key: &'a [u8],
        /// Encoded mask.
        mask: Option<&'a [u8]>,
        /// Encoded actions.
        actions: &'a [u8],
    },
    /// To carry out actions on a packet.
    Execute {
        /// The packet.
        packet: &'a [u8],
        /// Encoded metadata.
        key: &'a [u8],
        /// Encoded actions.
        actions: &'a [u8],
    },
    /// Something that a handler does not say.
    Other(&'a [u8]),
}

impl<'a> Said<'a> {
    /// Reads one message.
    pub fn parse(bytes: &'a [u8], families: FamilyIds) -> Self {
        let message = Messages::new(bytes).next().and_then(Result::ok);
        let said = message.and_then(|message| {
            if message.kind == families.flow {
                Self::put(&message)
            } else if message.kind == families.packet {
                Self::execute(&message)
            } else {
                None
            }
        });
        said.unwrap_or(Self::Other(bytes))
    }

    fn put(message: &Message<'a>) -> Option<Self> {
        let flow = FlowMsg::parse(message.genl().ok()?.body).ok()?;
        Some(Self::Put {
            ufid: flow.ufid,
            key: flow.key.unwrap_or_default(),
            mask: flow.mask,
            actions: flow.actions.unwrap_or_default(),
        })
    }

    fn execute(message: &Message<'a>) -> Option<Self> {
        let (_, attrs) = split_ovs_header(message.genl().ok()?.body).ok()?;
        let (mut packet, mut key, mut actions): (&[u8], &[u8], &[u8]) = (&[], &[], &[]);
        for attr in attrs {
            let attr = attr.ok()?;
            match attr.kind {
                OVS_PACKET_ATTR_PACKET => packet = attr.value,
                OVS_PACKET_ATTR_KEY => key = attr.value,
                OVS_PACKET_ATTR_ACTIONS => actions = attr.value,
                _ => {}
            }
        }
        Some(Self::Execute { packet, key, actions })
    }

    /// For people.
    pub fn text(&self, names: &PortNames) -> String {
        let style = Style { names: Some(names), verbose: false };
        let mut text = String::new();
        match self {
            Self::Put { ufid, key, mask, actions } => {
                text.push_str("flow ");
                if let Some(ufid) = ufid {
                    text.push_str(&format!("{}, ", Ufid(*ufid)));
                }
                format_key(key, *mask, style, &mut text);
                text.push_str(", actions:");
                format_actions(actions, Some(names), &mut text);
            }
            Self::Execute { packet, key, actions } => {
                text.push_str(&format!("packet of {} bytes, ", packet.len()));
                format_key(key, None, style, &mut text);
                text.push_str(", actions:");
                format_actions(actions, Some(names), &mut text);
            }
            Self::Other(bytes) => text.push_str(&format!("message of {} bytes", bytes.len())),
        }
        text
    }
}

/// The encoded flow key of an upcall.
pub fn upcall_key(datagram: &[u8]) -> Option<&[u8]> {
    let message = Messages::new(datagram).next()?.ok()?;
    Upcall::parse(message.genl().ok()?).ok().map(|upcall| upcall.key)
}

/// Cuts what was sent in one call into messages.
pub fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let mut rest = bytes;
    let mut messages = Vec::new();
    for message in Messages::new(bytes).map_while(Result::ok) {
        let length = (NLMSG_HDRLEN + message.payload.len()).next_multiple_of(4).min(rest.len());
        let (this, tail) = rest.split_at(length);
        messages.push(this);
        rest = tail;
    }
    messages
}

/// A message's sequence number; 0 when it has none.
pub fn seq(message: &[u8]) -> u32 {
    let bytes = message.get(8..12).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    bytes.map_or(0, u32::from_ne_bytes)
}

/// The message without sequence number and port id, which count from the start of a daemon.
pub fn plain(message: &[u8]) -> Vec<u8> {
    let mut plain = message.to_vec();
    plain.get_mut(8..NLMSG_HDRLEN).unwrap_or_default().fill(0);
    plain
}
