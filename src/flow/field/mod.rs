//! The fields that OpenFlow can match and set: what they are called, how they look on the wire and
//! in text, where they stand in a flow, and what must hold for a packet to have them.
//!
//! [`Field`] and its table stand in `table.rs`, once. Values travel as `u128`, right-aligned; the
//! variable-length `tun_metadata` fields stand where a TLV map says and are not read or written here.
//! Constant data and plain values: any thread.

mod place;
mod prereq;
mod subfield;
mod table;
mod text;

pub use place::DL_VLAN_NONE;
pub use subfield::{Subfield, SubfieldError};
pub use table::Field;
pub use text::{FieldTextError, flag_names, format_flags, format_flags_masked};
pub(crate) use text::{format_eth, format_ipv4, format_ipv6, format_packet_type, parse_integer};

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

/// What is known of a field.
#[derive(Debug)]
pub struct FieldInfo {
    /// Name in text.
    pub name: &'static str,
    /// An old name that is still read; none or one.
    pub alias: &'static [&'static str],
    /// Bytes on the wire.
    pub bytes: u8,
    /// How many of the low bits may be set.
    pub bits: u16,
    /// Whether single bits can be matched.
    pub maskable: Maskable,
    /// How values look in text.
    pub format: Format,
    /// What must hold for a packet to have the field.
    pub prereq: Prereq,
    /// Whether actions may write it.
    pub access: Access,
    /// Whether the classifier can keep prefixes of it.
    pub prefix: bool,
    place: place::Place,
    /// Numbers on the wire, in the order of the OpenFlow versions that brought them.
    pub wire: &'static [Wire],
}

/// Whether single bits of a field can be matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maskable {
    /// Any bits.
    Any,
    /// All or none.
    Whole,
}

/// Whether actions may write a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// They may not.
    Ro,
    /// They may.
    Rw,
}

/// How a field's values look in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Decimal number.
    Decimal,
    /// Hexadecimal number.
    Hex,
    /// Ethernet address.
    Ethernet,
    /// IPv4 address.
    Ipv4,
    /// IPv6 address.
    Ipv6,
    /// Port as OpenFlow 1.0 numbers it.
    Port16,
    /// Port as OpenFlow 1.1 numbers it.
    Port32,
    /// `no`, `yes`, `first`, `later`, `not_later`.
    Frag,
    /// Names of [`tnl_flags`](super::tnl_flags).
    TunnelFlags,
    /// Names of TCP flags.
    TcpFlags,
    /// Names of [`ct_state`](super::ct_state) bits.
    CtState,
    /// `(namespace,type)`.
    PacketType,
}

/// What must hold for a packet to have a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prereq {
    /// All packets have it.
    Nothing,
    /// An Ethernet header.
    Ethernet,
    /// ARP or reverse ARP.
    Arp,
    /// A VLAN tag.
    VlanVid,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// IPv4 or IPv6.
    IpAny,
    /// A Network Service Header.
    Nsh,
    /// A valid tracked connection.
    Ct,
    /// MPLS.
    Mpls,
    /// TCP, not a later fragment.
    Tcp,
    /// UDP, not a later fragment.
    Udp,
    /// SCTP, not a later fragment.
    Sctp,
    /// ICMP.
    Icmpv4,
    /// ICMPv6.
    Icmpv6,
    /// Neighbour solicitation or advertisement.
    Nd,
    /// Neighbour solicitation.
    NdSolicit,
    /// Neighbour advertisement.
    NdAdvert,
}

/// A field's number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The number.
    pub header: Header,
    /// OpenFlow wire version that brought it; 0 for an extension, which any version may carry.
    pub since: u8,
    /// Name, such as `NXM_OF_IN_PORT`.
    pub name: &'static str,
}

/// What identifies a field in an NXM or OXM header, apart from its length and mask bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Class; 0xffff for an experimenter's.
    pub class: u16,
    /// Number in the class, 7 bits.
    pub field: u8,
    /// The experimenter of class 0xffff; 0 otherwise.
    pub experimenter: u32,
}

impl Header {
    /// Bytes of the experimenter's id, which count towards the header's length.
    pub fn experimenter_len(self) -> usize {
        if self.class == 0xffff { 4 } else { 0 }
    }
}

impl Field {
    /// The field's properties.
    pub fn info(self) -> &'static FieldInfo {
        &table::FIELDS[self.index()]
    }

    /// Place in [`Field::ALL`], for bit sets.
    pub fn index(self) -> usize {
        self as usize
    }

    /// Name in text.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The field of that name or alias.
    pub fn by_name(name: &str) -> Option<Self> {
        NAMES.get(name).copied()
    }

    /// The field with that number on the wire.
    pub fn by_header(header: Header) -> Option<Self> {
        HEADERS.get(&header).copied()
    }

    /// The field of that name on the wire, such as `NXM_OF_IN_PORT`.
    pub fn by_wire_name(name: &str) -> Option<Self> {
        WIRE_NAMES.get(name).copied()
    }

    /// The number to use when talking `version` (1 for OpenFlow 1.0 … 6 for 1.5), or to prefer the
    /// extensions' numbers with 0; `None` for a field that cannot go on the wire.
    pub fn wire(self, version: u8) -> Option<&'static Wire> {
        let numbers = self.info().wire;
        numbers.iter().rev().find(|wire| wire.since <= version).or(numbers.first())
    }

    /// True for `tun_metadata0`…`tun_metadata63`.
    pub fn is_tun_metadata(self) -> bool {
        matches!(self.info().place, place::Place::TunMetadata)
    }

    /// True when actions may write the field.
    pub fn is_writable(self) -> bool {
        self.info().access == Access::Rw
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

static NAMES: LazyLock<HashMap<&str, Field>> = LazyLock::new(|| {
    // Of two fields that share a name, the first one has it: tp_src is TCP's.
    let names = |field: Field| {
        let info = field.info();
        std::iter::once(info.name).chain(info.alias.iter().copied()).map(move |name| (name, field))
    };
    Field::ALL.iter().rev().copied().flat_map(names).collect()
});

static HEADERS: LazyLock<HashMap<Header, Field>> = LazyLock::new(|| {
    let headers = |field: Field| field.info().wire.iter().map(move |wire| (wire.header, field));
    Field::ALL.iter().copied().flat_map(headers).collect()
});

static WIRE_NAMES: LazyLock<HashMap<&str, Field>> = LazyLock::new(|| {
    let names = |field: Field| field.info().wire.iter().map(move |wire| (wire.name, field));
    Field::ALL.iter().copied().flat_map(names).collect()
});

#[cfg(test)]
mod tests;
