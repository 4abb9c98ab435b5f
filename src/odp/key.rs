//! Flow keys: what the datapath says about a packet, to and from [`Flow`].
//!
//! A key says which headers there are by having their attributes; which are needed follows from
//! the headers before (a TCP packet needs an IP attribute whose protocol says TCP). How far a key
//! keeps to that is its [`Fitness`]. Conventions worth knowing: a frame without Ethernet type
//! (802.2) has no `ETHERTYPE`; a packet without Ethernet header has `ETHERTYPE` but no
//! `ETHERNET`; what follows a VLAN tag is nested in `ENCAP`; bit 0x1000 of a TCI says that there
//! is a tag.
//!
//! What always holds: no bytes make this panic; a field that the packet does not have is zero in
//! the flow; the kernel's key, made a flow and encoded again, has the same bytes (without
//! `IPV6_EXTHDRS`, which a flow does not hold). Plain values: any thread.
//!
//! Source: `linux/openvswitch.h`, `Documentation/networking/openvswitch.rst`,
//! `net/openvswitch/flow_netlink.c`.

use ovs_netlink::attr::{AttrError, AttrWriter, Attrs};
use ovs_netlink::key::KeyAttrs;
use ovs_netlink::uapi::{
    OVS_KEY_ATTR_ENCAP, OVS_KEY_ATTR_ETHERTYPE, OVS_KEY_ATTR_IN_PORT, OVS_KEY_ATTR_VLAN,
};
use thiserror::Error;

use super::Support;
use super::decode::{Role, decode};
use super::encode::Encoder;
pub use super::tunnel::tunnel_from_attrs;
use crate::flow::{FLOW_MAX_VLAN_HEADERS, Flow};
use crate::packet::ether_type;

/// Port number that says that a packet came through no port.
pub const ODPP_NONE: u32 = u32::MAX;

/// An encoded flow key: a list of `OVS_KEY_ATTR_*` attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OdpKey<'a>(pub &'a [u8]);

/// How well a key or mask fits what is expected of it. The greater the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fitness {
    /// Exactly the attributes that are expected. Attributes of a type that this program does not
    /// know do not count: a newer kernel may say more than is asked of it.
    Perfect,
    /// An attribute is there that means nothing in this place: the datapath knows more about the
    /// packet than the flow can say.
    TooMuch,
    /// An expected attribute is missing: the flow says less than the packet, and so packets of
    /// this flow cannot all be treated alike without looking at them.
    TooLittle,
}

/// Why a key or mask cannot be read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The encoding is broken, or an attribute has the wrong size.
    #[error(transparent)]
    Attr(#[from] AttrError),
    /// An attribute type is there twice.
    #[error("duplicate attribute {0} in flow key")]
    Duplicate(u16),
    /// `ETHERTYPE` holds a length.
    #[error("invalid Ethertype {0} in flow key")]
    EtherType(u16),
    /// A TCI other than 0 without bit 0x1000.
    #[error("OVS_KEY_ATTR_VLAN {0:#06x} is nonzero but CFI bit is not set")]
    VlanNoCfi(u16),
    /// Bottom of stack set before the last label.
    #[error("MPLS BOS set in non-innermost label")]
    MplsBos,
    /// Fragment type above `OVS_FRAG_TYPE_MAX`.
    #[error("invalid fragment type {0} in flow key")]
    Frag(u8),
    /// ARP operation above 255.
    #[error("unsupported ARP opcode {0} in flow key")]
    ArpOp(u16),
    /// A tunnel without TTL.
    #[error("tunnel options missing TTL")]
    TunnelTtl,
    /// More Geneve options than a flow holds.
    #[error("{0} bytes of Geneve options are more than a flow holds")]
    GeneveLength(usize),
    /// MD type 1 context headers, but another metadata type.
    #[error("OVS_NSH_KEY_ATTR_MD1 present but declared mdtype {0} is not 1 (NSH_M_TYPE1)")]
    NshMdType(u8),
    /// A mask for a frame without Ethernet type must match that exactly.
    #[error("mask expected for non-Ethernet II frame")]
    MaskEtherType,
    /// A mask matches headers behind an Ethernet type that it does not match exactly.
    #[error("unexpected L3 matching with masked Ethertype {mask:#06x}")]
    MaskL3 {
        /// Mask of the Ethernet type.
        mask: u16,
    },
    /// A mask matches ports without matching the protocol.
    #[error("flow matches on L4 ports but does not define an L4 protocol")]
    MaskL4,
    /// A mask matches neighbour discovery without matching the ICMPv6 type.
    #[error("ICMP src mask should be (0xff) but is actually ({0:#x})")]
    MaskNd(u16),
}

impl OdpKey<'_> {
    /// Walks the attributes.
    pub fn attrs(&self) -> KeyAttrs<'_> {
        KeyAttrs::new(self.0)
    }

    /// The datapath port that the key names, without reading the rest.
    #[inline]
    pub fn in_port(&self) -> Option<u32> {
        Attrs::new(self.0).find_kind(OVS_KEY_ATTR_IN_PORT).ok()??.u32().ok()
    }

    /// Overwrites `flow` with what the key says. `in_port` is the datapath's number,
    /// [`ODPP_NONE`] when the key has none. Of the VLAN headers the first `vlan_limit` (at most
    /// two) are taken apart; a further one stays the Ethernet type, and the key is then
    /// [`Fitness::TooMuch`].
    ///
    /// # Errors
    /// When the key contradicts itself; `flow` is then unspecified.
    pub fn to_flow(&self, vlan_limit: usize, flow: &mut Flow) -> Result<Fitness, KeyError> {
        decode(self.0, Role::Key, vlan_limit, flow)
    }
}

impl OdpKey<'_> {
    /// Appends the key, as a dump showed it, in a form that the kernel takes again: where the mask ended
    /// before a VLAN tag, the dump has lost the tag's type, and one is put in its place. No matter
    /// which, for it is not matched.
    ///
    /// # Errors
    /// When this is not a list of attributes.
    pub fn put_again(&self, out: &mut Vec<u8>) -> Result<(), AttrError> {
        let mut w = AttrWriter::new(out);
        copy_with_tag_types(self.0, FLOW_MAX_VLAN_HEADERS, &mut w)?;
        w.finish()
    }
}

fn copy_with_tag_types(list: &[u8], tags: usize, w: &mut AttrWriter<'_>) -> Result<(), AttrError> {
    let has_tag = Attrs::new(list).find_kind(OVS_KEY_ATTR_VLAN)?.is_some();
    for attr in Attrs::new(list) {
        let attr = attr?;
        match (attr.kind, attr.value) {
            (OVS_KEY_ATTR_ETHERTYPE, [0, 0]) if has_tag => {
                w.be16(attr.kind, ether_type::VLAN_8021Q)
            }
            (OVS_KEY_ATTR_ENCAP, inside) if tags > 0 => {
                let encap = w.begin(attr.kind);
                copy_with_tag_types(inside, tags - 1, w)?;
                w.end(encap)?;
            }
            (kind, value) => w.bytes(kind, value),
        }
    }
    Ok(())
}

/// Appends the key that says what `flow` says, with the attributes that the datapath understands.
/// An `in_port` of [`ODPP_NONE`] is left out, and so is a tunnel without destination.
///
/// Geneve options are written when they are raw, as they came from a packet; mapped ones (TLV map)
/// are not.
///
/// # Errors
/// None that a flow can cause; the writer's own bound.
pub fn key_from_flow(flow: &Flow, support: &Support, out: &mut Vec<u8>) -> Result<(), AttrError> {
    let mut w = AttrWriter::new(out);
    Encoder::key(flow, support).write(&mut w)?;
    w.finish()
}

#[cfg(test)]
mod tests;
