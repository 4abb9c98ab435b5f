//! Ports of a datapath: their numbers, kinds and counters.
//!
//! What always holds: an [`OdpPort`] is a number of the datapath and never mixed with an OpenFlow
//! port number or an ifindex; a port keeps its number for as long as it exists.
//!
//! Plain values: any thread.

use std::fmt;

use ovs_netlink::uapi;

/// Number of a port within the datapath.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct OdpPort(pub u32);

impl OdpPort {
    /// No port at all (`ODPP_NONE` of the peer).
    pub const NONE: Self = Self(u32::MAX);
    /// The datapath's own internal port, named as the datapath (`OVSP_LOCAL`).
    pub const LOCAL: Self = Self(uapi::OVSP_LOCAL);
}

impl fmt::Display for OdpPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What stands behind a port (`enum ovs_vport_type`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PortKind {
    /// An existing host device: veth, tap, physical, or a tunnel device in metadata mode.
    Netdev,
    /// A device that the datapath creates with the port and removes with it.
    Internal,
    /// The module's own GRE port.
    Gre,
    /// The module's own VXLAN port.
    Vxlan,
    /// The module's own Geneve port.
    Geneve,
    /// A kind that this program does not know.
    Other(u32),
}

impl PortKind {
    /// From the number that the kernel uses.
    pub const fn from_vport_type(kind: u32) -> Self {
        match kind {
            uapi::OVS_VPORT_TYPE_NETDEV => Self::Netdev,
            uapi::OVS_VPORT_TYPE_INTERNAL => Self::Internal,
            uapi::OVS_VPORT_TYPE_GRE => Self::Gre,
            uapi::OVS_VPORT_TYPE_VXLAN => Self::Vxlan,
            uapi::OVS_VPORT_TYPE_GENEVE => Self::Geneve,
            other => Self::Other(other),
        }
    }

    /// The name that the peer's tools show for it.
    pub const fn type_name(self) -> &'static str {
        match self {
            Self::Netdev => "system",
            Self::Internal => "internal",
            Self::Gre => "gre",
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::Other(_) => "unknown",
        }
    }

    /// The number that the kernel uses.
    pub const fn vport_type(self) -> u32 {
        match self {
            Self::Netdev => uapi::OVS_VPORT_TYPE_NETDEV,
            Self::Internal => uapi::OVS_VPORT_TYPE_INTERNAL,
            Self::Gre => uapi::OVS_VPORT_TYPE_GRE,
            Self::Vxlan => uapi::OVS_VPORT_TYPE_VXLAN,
            Self::Geneve => uapi::OVS_VPORT_TYPE_GENEVE,
            Self::Other(kind) => kind,
        }
    }
}

/// Counters of a port's device (`struct ovs_vport_stats`), as the device sees it: a packet that the
/// datapath sends out of an [`PortKind::Internal`] port is *received* by that device. (So the kernel
/// tells it; the peer turns it round for internal ports when it shows OpenFlow port statistics.)
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortStats {
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
}

/// Upcalls of a port (Linux 6.2 and later).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UpcallStats {
    /// Upcalls that reached a handler's socket.
    pub success: u64,
    /// Upcalls that were lost.
    pub fail: u64,
}

/// A port as the datapath tells of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortInfo {
    /// Its number.
    pub odp: OdpPort,
    /// Name of its device.
    pub name: String,
    /// What stands behind it.
    pub kind: PortKind,
    /// Host ifindex of its device, unless that is in a network namespace without an id here.
    pub ifindex: Option<u32>,
    /// Id of the network namespace of its device, when that is another one.
    pub netns_id: Option<i32>,
    /// Counters.
    pub stats: PortStats,
    /// Upcall counters, where the kernel has them.
    pub upcall_stats: Option<UpcallStats>,
}
