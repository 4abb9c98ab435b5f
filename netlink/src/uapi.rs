//! Constants and fixed structures of the kernel's `linux/openvswitch.h`, as of Linux 6.12.
//!
//! Everything bears the header's own name, so that it can be looked up there, and the header's own
//! value: none of them ever changes, new ones are only appended. What a later kernel added says so,
//! and so does most of what is younger than Linux 5.0. The `*_UNSPEC` and `*_MAX` values are there
//! for tables and tests; they never travel.
//!
//! The fixed structures are in `uapi/structs.rs`, conntrack's timeout policies, which have a header of their
//! own, in `uapi/ct_timeout.rs`; both are re-exported here. Constants and plain data: any thread.

mod ct_timeout;
mod structs;

pub use ct_timeout::*;
pub use structs::*;

// Header of every message of every OVS family.
/// Name of the datapath family.
pub const OVS_DATAPATH_FAMILY: &str = "ovs_datapath";
/// Multicast group on which datapath changes are announced.
pub const OVS_DATAPATH_MCGROUP: &str = "ovs_datapath";
/// Version of the datapath family; 2 says that the sender gives [`OVS_DP_ATTR_USER_FEATURES`].
pub const OVS_DATAPATH_VERSION: u8 = 2;
/// First version of the datapath family in which user features are negotiated.
pub const OVS_DP_VER_FEATURES: u8 = 2;

// `ovs_datapath_cmd`: commands of the datapath family.
/// Not a command.
pub const OVS_DP_CMD_UNSPEC: u8 = 0;
/// Create a datapath; also the kind of every reply and notification that describes one.
pub const OVS_DP_CMD_NEW: u8 = 1;
/// Remove a datapath with its ports and flows.
pub const OVS_DP_CMD_DEL: u8 = 2;
/// Look one up by ifindex or name, or dump all.
pub const OVS_DP_CMD_GET: u8 = 3;
/// Change user features, the per-CPU port ids or the size of the mask cache.
pub const OVS_DP_CMD_SET: u8 = 4;

// `ovs_datapath_attr`.
/// Not an attribute.
pub const OVS_DP_ATTR_UNSPEC: u16 = 0;
/// String: name of the local port's device, which is the datapath's name.
pub const OVS_DP_ATTR_NAME: u16 = 1;
/// u32: port id for upcalls of the local port, in NEW only; 0 sends none.
pub const OVS_DP_ATTR_UPCALL_PID: u16 = 2;
/// [`ovs_dp_stats`].
pub const OVS_DP_ATTR_STATS: u16 = 3;
/// [`ovs_dp_megaflow_stats`].
pub const OVS_DP_ATTR_MEGAFLOW_STATS: u16 = 4;
/// u32: `OVS_DP_F_*`.
pub const OVS_DP_ATTR_USER_FEATURES: u16 = 5;
/// Padding that aligns a following 64-bit value on some architectures.
pub const OVS_DP_ATTR_PAD: u16 = 6;
/// u32: entries of the per-CPU cache of masks; 0 turns it off (Linux 5.10).
pub const OVS_DP_ATTR_MASKS_CACHE_SIZE: u16 = 7;
/// u32 array: upcall port ids, indexed by CPU number (Linux 5.15).
pub const OVS_DP_ATTR_PER_CPU_PIDS: u16 = 8;
/// u32: ifindex that the new local device is to have, in NEW only (Linux 6.7).
pub const OVS_DP_ATTR_IFINDEX: u16 = 9;
/// Highest datapath attribute of Linux 6.12.
pub const OVS_DP_ATTR_MAX: u16 = 9;

// User features of a datapath, in [`OVS_DP_ATTR_USER_FEATURES`].
/// The last attribute of a message may lack its padding.
pub const OVS_DP_F_UNALIGNED: u32 = 1 << 0;
/// A vport may have several upcall port ids, chosen by packet hash.
pub const OVS_DP_F_VPORT_PIDS: u32 = 1 << 1;
/// tc's chain number and the recirculation id are shared.
pub const OVS_DP_F_TC_RECIRC_SHARING: u32 = 1 << 2;
/// Upcalls go to the port id of the CPU that saw the packet.
pub const OVS_DP_F_DISPATCH_UPCALL_PER_CPU: u32 = 1 << 3;
/// Number of the local port of every datapath.
pub const OVSP_LOCAL: u32 = 0;

// Packet family.
/// Name of the packet family.
pub const OVS_PACKET_FAMILY: &str = "ovs_packet";
/// Version of the packet family.
pub const OVS_PACKET_VERSION: u8 = 1;

// `ovs_packet_cmd`.
/// Not a command.
pub const OVS_PACKET_CMD_UNSPEC: u8 = 0;
/// From the kernel: no flow matched the packet.
pub const OVS_PACKET_CMD_MISS: u8 = 1;
/// From the kernel: a userspace action was executed.
pub const OVS_PACKET_CMD_ACTION: u8 = 2;
/// To the kernel: apply actions to a packet.
pub const OVS_PACKET_CMD_EXECUTE: u8 = 3;

// `ovs_packet_attr`.
/// Not an attribute.
pub const OVS_PACKET_ATTR_UNSPEC: u16 = 0;
/// Bytes: the packet from its Ethernet header on.
pub const OVS_PACKET_ATTR_PACKET: u16 = 1;
/// Nested `OVS_KEY_ATTR_*`: key of the packet as it was received.
pub const OVS_PACKET_ATTR_KEY: u16 = 2;
/// Nested `OVS_ACTION_ATTR_*`: to execute, or, in an upcall, those the packet was under.
pub const OVS_PACKET_ATTR_ACTIONS: u16 = 3;
/// Bytes: the cookie of the userspace action.
pub const OVS_PACKET_ATTR_USERDATA: u16 = 4;
/// Nested `OVS_TUNNEL_KEY_ATTR_*`: the tunnel that the packet is about to leave by.
pub const OVS_PACKET_ATTR_EGRESS_TUN_KEY: u16 = 5;
/// Reserved: user space of the past used it.
pub const OVS_PACKET_ATTR_UNUSED1: u16 = 6;
/// Reserved: user space of the past used it.
pub const OVS_PACKET_ATTR_UNUSED2: u16 = 7;
/// Flag: a feature probe; the kernel is to log no error.
pub const OVS_PACKET_ATTR_PROBE: u16 = 8;
/// u16: largest fragment that a reassembled packet came in.
pub const OVS_PACKET_ATTR_MRU: u16 = 9;
/// u32: length of the packet before truncation.
pub const OVS_PACKET_ATTR_LEN: u16 = 10;
/// u64: the packet's hash in the low 32 bits, bit 32 if made in software, bit 33 if over the transport ports.
pub const OVS_PACKET_ATTR_HASH: u16 = 11;
/// Highest packet attribute of Linux 6.12.
pub const OVS_PACKET_ATTR_MAX: u16 = 11;
/// u32: port id for upcalls of this execute, instead of the CPU's (Linux 6.17).
pub const OVS_PACKET_ATTR_UPCALL_PID: u16 = 12;

// Vport family.
/// Name of the vport family.
pub const OVS_VPORT_FAMILY: &str = "ovs_vport";
/// Multicast group on which vport changes are announced.
pub const OVS_VPORT_MCGROUP: &str = "ovs_vport";
/// Version of the vport family.
pub const OVS_VPORT_VERSION: u8 = 1;

// `ovs_vport_cmd`.
/// Not a command.
pub const OVS_VPORT_CMD_UNSPEC: u8 = 0;
/// Attach a port; also the kind of every reply and notification that describes one.
pub const OVS_VPORT_CMD_NEW: u8 = 1;
/// Detach a port.
pub const OVS_VPORT_CMD_DEL: u8 = 2;
/// Look one up by number or name, or dump all of a datapath.
pub const OVS_VPORT_CMD_GET: u8 = 3;
/// Change upcall port ids or options.
pub const OVS_VPORT_CMD_SET: u8 = 4;

// `ovs_vport_type`.
/// Not a type.
pub const OVS_VPORT_TYPE_UNSPEC: u32 = 0;
/// An existing network device.
pub const OVS_VPORT_TYPE_NETDEV: u32 = 1;
/// A device that the datapath itself implements.
pub const OVS_VPORT_TYPE_INTERNAL: u32 = 2;
/// Flow-based GRE tunnel.
pub const OVS_VPORT_TYPE_GRE: u32 = 3;
/// Flow-based VXLAN tunnel.
pub const OVS_VPORT_TYPE_VXLAN: u32 = 4;
/// Flow-based Geneve tunnel.
pub const OVS_VPORT_TYPE_GENEVE: u32 = 5;
/// Highest vport type of Linux 6.12.
pub const OVS_VPORT_TYPE_MAX: u32 = 5;

// `ovs_vport_attr`.
/// Not an attribute.
pub const OVS_VPORT_ATTR_UNSPEC: u16 = 0;
/// u32: port number within the datapath.
pub const OVS_VPORT_ATTR_PORT_NO: u16 = 1;
/// u32: `OVS_VPORT_TYPE_*`.
pub const OVS_VPORT_ATTR_TYPE: u16 = 2;
/// String of at most 15 bytes: name of the port, which is the device's for one that has a device.
pub const OVS_VPORT_ATTR_NAME: u16 = 3;
/// Nested `OVS_TUNNEL_ATTR_*`: what the type asks for.
pub const OVS_VPORT_ATTR_OPTIONS: u16 = 4;
/// u32 array: port ids for upcalls of this port; a single 0 sends none.
pub const OVS_VPORT_ATTR_UPCALL_PID: u16 = 5;
/// [`ovs_vport_stats`].
pub const OVS_VPORT_ATTR_STATS: u16 = 6;
/// Padding that aligns a following 64-bit value on some architectures.
pub const OVS_VPORT_ATTR_PAD: u16 = 7;
/// u32: ifindex of the device.
pub const OVS_VPORT_ATTR_IFINDEX: u16 = 8;
/// s32: network namespace id of the device, where it is not the datapath's.
pub const OVS_VPORT_ATTR_NETNSID: u16 = 9;
/// Nested `OVS_VPORT_UPCALL_ATTR_*` (Linux 6.3).
pub const OVS_VPORT_ATTR_UPCALL_STATS: u16 = 10;
/// Highest vport attribute of Linux 6.12.
pub const OVS_VPORT_ATTR_MAX: u16 = 10;

// `ovs_vport_upcall_attr`: counts from 0, unlike the others.
/// u64: upcalls delivered.
pub const OVS_VPORT_UPCALL_ATTR_SUCCESS: u16 = 0;
/// u64: upcalls lost.
pub const OVS_VPORT_UPCALL_ATTR_FAIL: u16 = 1;
/// Highest upcall statistic of Linux 6.12.
pub const OVS_VPORT_UPCALL_ATTR_MAX: u16 = 1;

// Extensions of a VXLAN port, and the options of a VXLAN tunnel key.
/// Not an extension.
pub const OVS_VXLAN_EXT_UNSPEC: u16 = 0;
/// Group based policy: a flag on a port, u32 in a tunnel key.
pub const OVS_VXLAN_EXT_GBP: u16 = 1;
/// Highest VXLAN extension of Linux 6.12.
pub const OVS_VXLAN_EXT_MAX: u16 = 1;

// Options of tunnel ports, in [`OVS_VPORT_ATTR_OPTIONS`].
/// Not an option.
pub const OVS_TUNNEL_ATTR_UNSPEC: u16 = 0;
/// u16 in host order: the UDP port to listen on.
pub const OVS_TUNNEL_ATTR_DST_PORT: u16 = 1;
/// Nested `OVS_VXLAN_EXT_*`.
pub const OVS_TUNNEL_ATTR_EXTENSION: u16 = 2;
/// Highest tunnel port option of Linux 6.12.
pub const OVS_TUNNEL_ATTR_MAX: u16 = 2;

// Flow family.
/// Name of the flow family.
pub const OVS_FLOW_FAMILY: &str = "ovs_flow";
/// Multicast group on which flow changes are announced.
pub const OVS_FLOW_MCGROUP: &str = "ovs_flow";
/// Version of the flow family.
pub const OVS_FLOW_VERSION: u8 = 1;

// `ovs_flow_cmd`.
/// Not a command.
pub const OVS_FLOW_CMD_UNSPEC: u8 = 0;
/// Install a flow; also the kind of every reply and notification that describes one.
pub const OVS_FLOW_CMD_NEW: u8 = 1;
/// Remove a flow, or, without key and ufid, all of them.
pub const OVS_FLOW_CMD_DEL: u8 = 2;
/// Look one up by key or ufid, or dump all.
pub const OVS_FLOW_CMD_GET: u8 = 3;
/// Change the actions of a flow or clear its statistics.
pub const OVS_FLOW_CMD_SET: u8 = 4;

// `ovs_flow_attr`.
/// Not an attribute.
pub const OVS_FLOW_ATTR_UNSPEC: u16 = 0;
/// Nested `OVS_KEY_ATTR_*`.
pub const OVS_FLOW_ATTR_KEY: u16 = 1;
/// Nested `OVS_ACTION_ATTR_*`; empty drops, absent in SET leaves them alone.
pub const OVS_FLOW_ATTR_ACTIONS: u16 = 2;
/// [`ovs_flow_stats`], absent while zero.
pub const OVS_FLOW_ATTR_STATS: u16 = 3;
/// u8: low eight TCP flags seen so far, or-ed; absent while zero.
pub const OVS_FLOW_ATTR_TCP_FLAGS: u16 = 4;
/// u64: monotonic milliseconds at which a packet last matched; absent before the first.
pub const OVS_FLOW_ATTR_USED: u16 = 5;
/// Flag in SET: zero statistics, TCP flags and time of last use.
pub const OVS_FLOW_ATTR_CLEAR: u16 = 6;
/// Nested `OVS_KEY_ATTR_*`: 1-bits must match; absent means all of the key.
pub const OVS_FLOW_ATTR_MASK: u16 = 7;
/// Flag: a feature probe; the kernel is to log no error.
pub const OVS_FLOW_ATTR_PROBE: u16 = 8;
/// 1 to 16 bytes: unique flow id.
pub const OVS_FLOW_ATTR_UFID: u16 = 9;
/// u32: `OVS_UFID_F_*`.
pub const OVS_FLOW_ATTR_UFID_FLAGS: u16 = 10;
/// Padding that aligns a following 64-bit value on some architectures.
pub const OVS_FLOW_ATTR_PAD: u16 = 11;
/// Highest flow attribute of Linux 6.12.
pub const OVS_FLOW_ATTR_MAX: u16 = 11;

// What the reply about a flow may leave out, in [`OVS_FLOW_ATTR_UFID_FLAGS`].
/// The key.
pub const OVS_UFID_F_OMIT_KEY: u32 = 1 << 0;
/// The mask.
pub const OVS_UFID_F_OMIT_MASK: u32 = 1 << 1;
/// The actions.
pub const OVS_UFID_F_OMIT_ACTIONS: u32 = 1 << 2;

// `ovs_key_attr`.
/// Not an attribute.
pub const OVS_KEY_ATTR_UNSPEC: u16 = 0;
/// Nested `OVS_KEY_ATTR_*` of what follows a VLAN tag.
pub const OVS_KEY_ATTR_ENCAP: u16 = 1;
/// u32: `skb->priority`.
pub const OVS_KEY_ATTR_PRIORITY: u16 = 2;
/// u32: number of the port the packet came in by.
pub const OVS_KEY_ATTR_IN_PORT: u16 = 3;
/// [`ovs_key_ethernet`].
pub const OVS_KEY_ATTR_ETHERNET: u16 = 4;
/// be16: VLAN TCI, with bit 0x1000 saying that a tag is there.
pub const OVS_KEY_ATTR_VLAN: u16 = 5;
/// be16: Ethernet type; absent for 802.2 frames.
pub const OVS_KEY_ATTR_ETHERTYPE: u16 = 6;
/// [`ovs_key_ipv4`].
pub const OVS_KEY_ATTR_IPV4: u16 = 7;
/// [`ovs_key_ipv6`].
pub const OVS_KEY_ATTR_IPV6: u16 = 8;
/// [`ovs_key_tcp`].
pub const OVS_KEY_ATTR_TCP: u16 = 9;
/// [`ovs_key_udp`].
pub const OVS_KEY_ATTR_UDP: u16 = 10;
/// [`ovs_key_icmp`].
pub const OVS_KEY_ATTR_ICMP: u16 = 11;
/// [`ovs_key_icmpv6`].
pub const OVS_KEY_ATTR_ICMPV6: u16 = 12;
/// [`ovs_key_arp`].
pub const OVS_KEY_ATTR_ARP: u16 = 13;
/// [`ovs_key_nd`].
pub const OVS_KEY_ATTR_ND: u16 = 14;
/// u32: `skb->mark`.
pub const OVS_KEY_ATTR_SKB_MARK: u16 = 15;
/// Nested `OVS_TUNNEL_KEY_ATTR_*`.
pub const OVS_KEY_ATTR_TUNNEL: u16 = 16;
/// [`ovs_key_sctp`].
pub const OVS_KEY_ATTR_SCTP: u16 = 17;
/// be16: the twelve TCP flag bits.
pub const OVS_KEY_ATTR_TCP_FLAGS: u16 = 18;
/// u32: hash that the datapath computed; 0 for none.
pub const OVS_KEY_ATTR_DP_HASH: u16 = 19;
/// u32: recirculation id; 0 for a packet fresh from its port.
pub const OVS_KEY_ATTR_RECIRC_ID: u16 = 20;
/// Array of [`ovs_key_mpls`], outermost first; Linux takes up to three.
pub const OVS_KEY_ATTR_MPLS: u16 = 21;
/// u32: `OVS_CS_F_*`.
pub const OVS_KEY_ATTR_CT_STATE: u16 = 22;
/// u16 in host order: conntrack zone.
pub const OVS_KEY_ATTR_CT_ZONE: u16 = 23;
/// u32: conntrack mark.
pub const OVS_KEY_ATTR_CT_MARK: u16 = 24;
/// [`ovs_key_ct_labels`].
pub const OVS_KEY_ATTR_CT_LABELS: u16 = 25;
/// [`ovs_key_ct_tuple_ipv4`].
pub const OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4: u16 = 26;
/// [`ovs_key_ct_tuple_ipv6`].
pub const OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6: u16 = 27;
/// Nested `OVS_NSH_KEY_ATTR_*`.
pub const OVS_KEY_ATTR_NSH: u16 = 28;
/// be32: packet type. Between user-space programs only, never for the kernel.
pub const OVS_KEY_ATTR_PACKET_TYPE: u16 = 29;
/// Neighbour discovery extensions. Between user-space programs only, never for the kernel.
pub const OVS_KEY_ATTR_ND_EXTENSIONS: u16 = 30;
/// Inside the kernel only: never on a socket.
pub const OVS_KEY_ATTR_TUNNEL_INFO: u16 = 31;
/// [`ovs_key_ipv6_exthdrs`] (Linux 5.18).
pub const OVS_KEY_ATTR_IPV6_EXTHDRS: u16 = 32;
/// Highest key attribute of Linux 6.12.
pub const OVS_KEY_ATTR_MAX: u16 = 32;

// `ovs_tunnel_key_attr`: counts from 0, unlike the others.
/// be64: tunnel id (VNI, GRE key).
pub const OVS_TUNNEL_KEY_ATTR_ID: u16 = 0;
/// be32: outer source.
pub const OVS_TUNNEL_KEY_ATTR_IPV4_SRC: u16 = 1;
/// be32: outer destination.
pub const OVS_TUNNEL_KEY_ATTR_IPV4_DST: u16 = 2;
/// u8: outer TOS or traffic class.
pub const OVS_TUNNEL_KEY_ATTR_TOS: u16 = 3;
/// u8: outer TTL or hop limit; the kernel insists on it in an action.
pub const OVS_TUNNEL_KEY_ATTR_TTL: u16 = 4;
/// Flag: outer DF bit.
pub const OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT: u16 = 5;
/// Flag: outer checksum.
pub const OVS_TUNNEL_KEY_ATTR_CSUM: u16 = 6;
/// Flag: Geneve OAM frame.
pub const OVS_TUNNEL_KEY_ATTR_OAM: u16 = 7;
/// Bytes: Geneve options as on the wire, a multiple of 4.
pub const OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS: u16 = 8;
/// be16: outer source port.
pub const OVS_TUNNEL_KEY_ATTR_TP_SRC: u16 = 9;
/// be16: outer destination port.
pub const OVS_TUNNEL_KEY_ATTR_TP_DST: u16 = 10;
/// Nested `OVS_VXLAN_EXT_*`.
pub const OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS: u16 = 11;
/// 16 bytes: outer source.
pub const OVS_TUNNEL_KEY_ATTR_IPV6_SRC: u16 = 12;
/// 16 bytes: outer destination.
pub const OVS_TUNNEL_KEY_ATTR_IPV6_DST: u16 = 13;
/// Padding that aligns a following 64-bit value on some architectures.
pub const OVS_TUNNEL_KEY_ATTR_PAD: u16 = 14;
/// [`erspan_metadata`].
pub const OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS: u16 = 15;
/// Flag: bridge mode of a tunnel device (Linux 5.0).
pub const OVS_TUNNEL_KEY_ATTR_IPV4_INFO_BRIDGE: u16 = 16;
/// Highest tunnel key attribute of Linux 6.12.
pub const OVS_TUNNEL_KEY_ATTR_MAX: u16 = 16;

// `ovs_frag_type`.
/// Not a fragment.
pub const OVS_FRAG_TYPE_NONE: u8 = 0;
/// Fragment with offset 0.
pub const OVS_FRAG_TYPE_FIRST: u8 = 1;
/// Fragment with another offset: it has no transport header.
pub const OVS_FRAG_TYPE_LATER: u8 = 2;
/// Highest fragment type.
pub const OVS_FRAG_TYPE_MAX: u8 = 2;

// Connection tracking state, in [`OVS_KEY_ATTR_CT_STATE`].
/// First packets of a connection that is not committed.
pub const OVS_CS_F_NEW: u32 = 0x01;
/// Part of a connection that has seen both directions.
pub const OVS_CS_F_ESTABLISHED: u32 = 0x02;
/// Belongs to a connection by way of another (ICMP error, FTP data).
pub const OVS_CS_F_RELATED: u32 = 0x04;
/// Travels against the connection's first packet.
pub const OVS_CS_F_REPLY_DIR: u32 = 0x08;
/// Could not be tracked.
pub const OVS_CS_F_INVALID: u32 = 0x10;
/// Has been through the tracker.
pub const OVS_CS_F_TRACKED: u32 = 0x20;
/// NAT has changed the source.
pub const OVS_CS_F_SRC_NAT: u32 = 0x40;
/// NAT has changed the destination.
pub const OVS_CS_F_DST_NAT: u32 = 0x80;
/// Either NAT bit.
pub const OVS_CS_F_NAT_MASK: u32 = OVS_CS_F_SRC_NAT | OVS_CS_F_DST_NAT;
/// 32-bit words of conntrack labels.
pub const OVS_CT_LABELS_LEN_32: usize = 4;
/// Bytes of conntrack labels.
pub const OVS_CT_LABELS_LEN: usize = 16;

// `ovs_nsh_key_attr`.
/// Not an attribute.
pub const OVS_NSH_KEY_ATTR_UNSPEC: u16 = 0;
/// [`ovs_nsh_key_base`].
pub const OVS_NSH_KEY_ATTR_BASE: u16 = 1;
/// [`ovs_nsh_key_md1`].
pub const OVS_NSH_KEY_ATTR_MD1: u16 = 2;
/// Bytes: metadata of MD type 2, only in push actions.
pub const OVS_NSH_KEY_ATTR_MD2: u16 = 3;
/// Highest NSH attribute of Linux 6.12.
pub const OVS_NSH_KEY_ATTR_MAX: u16 = 3;
/// 32-bit words of NSH MD type 1 context.
pub const NSH_MD1_CONTEXT_SIZE: usize = 4;

// `ovs_action_attr`.
/// Not an action.
pub const OVS_ACTION_ATTR_UNSPEC: u16 = 0;
/// u32: port number.
pub const OVS_ACTION_ATTR_OUTPUT: u16 = 1;
/// Nested `OVS_USERSPACE_ATTR_*`.
pub const OVS_ACTION_ATTR_USERSPACE: u16 = 2;
/// One nested `OVS_KEY_ATTR_*`: the header to overwrite.
pub const OVS_ACTION_ATTR_SET: u16 = 3;
/// [`ovs_action_push_vlan`].
pub const OVS_ACTION_ATTR_PUSH_VLAN: u16 = 4;
/// No argument.
pub const OVS_ACTION_ATTR_POP_VLAN: u16 = 5;
/// Nested `OVS_SAMPLE_ATTR_*`.
pub const OVS_ACTION_ATTR_SAMPLE: u16 = 6;
/// u32: recirculation id.
pub const OVS_ACTION_ATTR_RECIRC: u16 = 7;
/// [`ovs_action_hash`].
pub const OVS_ACTION_ATTR_HASH: u16 = 8;
/// [`ovs_action_push_mpls`].
pub const OVS_ACTION_ATTR_PUSH_MPLS: u16 = 9;
/// be16: Ethernet type of what was below.
pub const OVS_ACTION_ATTR_POP_MPLS: u16 = 10;
/// One nested `OVS_KEY_ATTR_*` with value and mask side by side; value bits outside the mask are 0.
pub const OVS_ACTION_ATTR_SET_MASKED: u16 = 11;
/// Nested `OVS_CT_ATTR_*`.
pub const OVS_ACTION_ATTR_CT: u16 = 12;
/// [`ovs_action_trunc`]: for the next output.
pub const OVS_ACTION_ATTR_TRUNC: u16 = 13;
/// [`ovs_action_push_eth`].
pub const OVS_ACTION_ATTR_PUSH_ETH: u16 = 14;
/// No argument.
pub const OVS_ACTION_ATTR_POP_ETH: u16 = 15;
/// No argument.
pub const OVS_ACTION_ATTR_CT_CLEAR: u16 = 16;
/// One nested [`OVS_KEY_ATTR_NSH`] with the header to push.
pub const OVS_ACTION_ATTR_PUSH_NSH: u16 = 17;
/// No argument.
pub const OVS_ACTION_ATTR_POP_NSH: u16 = 18;
/// u32: meter id of the datapath.
pub const OVS_ACTION_ATTR_METER: u16 = 19;
/// Nested `OVS_ACTION_ATTR_*` that work on a copy.
pub const OVS_ACTION_ATTR_CLONE: u16 = 20;
/// Nested `OVS_CHECK_PKT_LEN_ATTR_*`.
pub const OVS_ACTION_ATTR_CHECK_PKT_LEN: u16 = 21;
/// [`ovs_action_add_mpls`] (Linux 5.6).
pub const OVS_ACTION_ATTR_ADD_MPLS: u16 = 22;
/// Nested `OVS_DEC_TTL_ATTR_*` (Linux 5.7).
pub const OVS_ACTION_ATTR_DEC_TTL: u16 = 23;
/// u32: reason, 0 for none (Linux 6.6).
pub const OVS_ACTION_ATTR_DROP: u16 = 24;
/// Nested `OVS_PSAMPLE_ATTR_*` (Linux 6.11).
pub const OVS_ACTION_ATTR_PSAMPLE: u16 = 25;
/// Highest action of Linux 6.12.
pub const OVS_ACTION_ATTR_MAX: u16 = 25;

// `ovs_sample_attr`.
/// Not an attribute.
pub const OVS_SAMPLE_ATTR_UNSPEC: u16 = 0;
/// u32: fraction of `u32::MAX`.
pub const OVS_SAMPLE_ATTR_PROBABILITY: u16 = 1;
/// Nested `OVS_ACTION_ATTR_*`.
pub const OVS_SAMPLE_ATTR_ACTIONS: u16 = 2;
/// Highest attribute of a sample action.
pub const OVS_SAMPLE_ATTR_MAX: u16 = 2;

// `ovs_userspace_attr`.
/// Not an attribute.
pub const OVS_USERSPACE_ATTR_UNSPEC: u16 = 0;
/// u32: port id to send to; ignored under per-CPU dispatch.
pub const OVS_USERSPACE_ATTR_PID: u16 = 1;
/// Bytes: cookie that the upcall carries back.
pub const OVS_USERSPACE_ATTR_USERDATA: u16 = 2;
/// u32: output port whose tunnel key the upcall is to carry.
pub const OVS_USERSPACE_ATTR_EGRESS_TUN_PORT: u16 = 3;
/// Flag: the upcall is to carry the actions.
pub const OVS_USERSPACE_ATTR_ACTIONS: u16 = 4;
/// Highest attribute of a userspace action.
pub const OVS_USERSPACE_ATTR_MAX: u16 = 4;

// ADD_MPLS and HASH arguments.
/// In `tun_flags`: the label goes in front of the network header, not of the frame.
pub const OVS_MPLS_L3_TUNNEL_FLAG_MASK: u16 = 1 << 0;
/// The kernel's five-tuple hash.
pub const OVS_HASH_ALG_L4: u32 = 0;
/// A hash that is the same both ways (Linux 6.6).
pub const OVS_HASH_ALG_SYM_L4: u32 = 1;

// `ovs_ct_attr`.
/// Not an attribute.
pub const OVS_CT_ATTR_UNSPEC: u16 = 0;
/// Flag: enter the connection in the table.
pub const OVS_CT_ATTR_COMMIT: u16 = 1;
/// u16 in host order: conntrack zone.
pub const OVS_CT_ATTR_ZONE: u16 = 2;
/// Two u32: value and mask of the mark to set.
pub const OVS_CT_ATTR_MARK: u16 = 3;
/// Two times 16 bytes: value and mask of the labels to set.
pub const OVS_CT_ATTR_LABELS: u16 = 4;
/// String: name of the protocol helper.
pub const OVS_CT_ATTR_HELPER: u16 = 5;
/// Nested `OVS_NAT_ATTR_*`.
pub const OVS_CT_ATTR_NAT: u16 = 6;
/// Flag: commit, and start anew if the connection runs the other way.
pub const OVS_CT_ATTR_FORCE_COMMIT: u16 = 7;
/// u32: 1 << `IPCT_*` of the events to announce.
pub const OVS_CT_ATTR_EVENTMASK: u16 = 8;
/// String: name of the timeout policy (Linux 5.2).
pub const OVS_CT_ATTR_TIMEOUT: u16 = 9;
/// Highest attribute of a ct action.
pub const OVS_CT_ATTR_MAX: u16 = 9;

// `ovs_nat_attr`.
/// Not an attribute.
pub const OVS_NAT_ATTR_UNSPEC: u16 = 0;
/// Flag: source NAT.
pub const OVS_NAT_ATTR_SRC: u16 = 1;
/// Flag: destination NAT.
pub const OVS_NAT_ATTR_DST: u16 = 2;
/// 4 or 16 bytes: first address.
pub const OVS_NAT_ATTR_IP_MIN: u16 = 3;
/// 4 or 16 bytes: last address.
pub const OVS_NAT_ATTR_IP_MAX: u16 = 4;
/// u16 in host order: first port.
pub const OVS_NAT_ATTR_PROTO_MIN: u16 = 5;
/// u16 in host order: last port.
pub const OVS_NAT_ATTR_PROTO_MAX: u16 = 6;
/// Flag: the same client keeps its address.
pub const OVS_NAT_ATTR_PERSISTENT: u16 = 7;
/// Flag: ports by hash.
pub const OVS_NAT_ATTR_PROTO_HASH: u16 = 8;
/// Flag: ports at random.
pub const OVS_NAT_ATTR_PROTO_RANDOM: u16 = 9;
/// Highest attribute of a nat nest.
pub const OVS_NAT_ATTR_MAX: u16 = 9;

// `ovs_check_pkt_len_attr`.
/// Not an attribute.
pub const OVS_CHECK_PKT_LEN_ATTR_UNSPEC: u16 = 0;
/// u16 in host order: length to compare with.
pub const OVS_CHECK_PKT_LEN_ATTR_PKT_LEN: u16 = 1;
/// Nested `OVS_ACTION_ATTR_*` for longer packets.
pub const OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER: u16 = 2;
/// Nested `OVS_ACTION_ATTR_*` for the others.
pub const OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL: u16 = 3;
/// Highest attribute of a check_pkt_len action.
pub const OVS_CHECK_PKT_LEN_ATTR_MAX: u16 = 3;

// `ovs_psample_attr`.
/// Longest cookie of a psample action, in bytes.
pub const OVS_PSAMPLE_COOKIE_MAX_SIZE: usize = 16;
/// u32: psample group.
pub const OVS_PSAMPLE_ATTR_GROUP: u16 = 1;
/// Bytes, at most [`OVS_PSAMPLE_COOKIE_MAX_SIZE`]: cookie of the sample.
pub const OVS_PSAMPLE_ATTR_COOKIE: u16 = 2;
/// Highest attribute of a psample action.
pub const OVS_PSAMPLE_ATTR_MAX: u16 = 2;

// `ovs_dec_ttl_attr`.
/// Not an attribute.
pub const OVS_DEC_TTL_ATTR_UNSPEC: u16 = 0;
/// Nested `OVS_ACTION_ATTR_*` for packets whose TTL runs out.
pub const OVS_DEC_TTL_ATTR_ACTION: u16 = 1;
/// Highest attribute of a dec_ttl action.
pub const OVS_DEC_TTL_ATTR_MAX: u16 = 1;

// Meter family.
/// Name of the meter family.
pub const OVS_METER_FAMILY: &str = "ovs_meter";
/// Multicast group of the meter family.
pub const OVS_METER_MCGROUP: &str = "ovs_meter";
/// Version of the meter family.
pub const OVS_METER_VERSION: u8 = 1;

// `ovs_meter_cmd`.
/// Not a command.
pub const OVS_METER_CMD_UNSPEC: u8 = 0;
/// Ask what the datapath can do.
pub const OVS_METER_CMD_FEATURES: u8 = 1;
/// Add or change a meter.
pub const OVS_METER_CMD_SET: u8 = 2;
/// Remove a meter.
pub const OVS_METER_CMD_DEL: u8 = 3;
/// Read a meter's statistics.
pub const OVS_METER_CMD_GET: u8 = 4;

// `ovs_meter_attr`.
/// Not an attribute.
pub const OVS_METER_ATTR_UNSPEC: u16 = 0;
/// u32: meter id of the datapath.
pub const OVS_METER_ATTR_ID: u16 = 1;
/// Flag: rates in kbit/s; without it in packets per second.
pub const OVS_METER_ATTR_KBPS: u16 = 2;
/// [`ovs_flow_stats`] of the meter.
pub const OVS_METER_ATTR_STATS: u16 = 3;
/// Nest of nests of `OVS_BAND_ATTR_*`.
pub const OVS_METER_ATTR_BANDS: u16 = 4;
/// u64: monotonic milliseconds of the last use.
pub const OVS_METER_ATTR_USED: u16 = 5;
/// Flag: zero the statistics.
pub const OVS_METER_ATTR_CLEAR: u16 = 6;
/// u32: how many meters the datapath can have.
pub const OVS_METER_ATTR_MAX_METERS: u16 = 7;
/// u32: how many bands a meter can have.
pub const OVS_METER_ATTR_MAX_BANDS: u16 = 8;
/// Padding that aligns a following 64-bit value on some architectures.
pub const OVS_METER_ATTR_PAD: u16 = 9;
/// Highest meter attribute of Linux 6.12.
pub const OVS_METER_ATTR_MAX: u16 = 9;

// `ovs_band_attr`.
/// Not an attribute.
pub const OVS_BAND_ATTR_UNSPEC: u16 = 0;
/// u32: `OVS_METER_BAND_TYPE_*`.
pub const OVS_BAND_ATTR_TYPE: u16 = 1;
/// u32: rate in the meter's unit.
pub const OVS_BAND_ATTR_RATE: u16 = 2;
/// u32: burst in the meter's unit.
pub const OVS_BAND_ATTR_BURST: u16 = 3;
/// [`ovs_flow_stats`] of the band.
pub const OVS_BAND_ATTR_STATS: u16 = 4;
/// Highest band attribute.
pub const OVS_BAND_ATTR_MAX: u16 = 4;

// `ovs_meter_band_type`.
/// Not a type.
pub const OVS_METER_BAND_TYPE_UNSPEC: u32 = 0;
/// Drop what exceeds the rate.
pub const OVS_METER_BAND_TYPE_DROP: u32 = 1;
/// Highest band type.
pub const OVS_METER_BAND_TYPE_MAX: u32 = 1;

// Conntrack limit family.
/// Name of the conntrack limit family.
pub const OVS_CT_LIMIT_FAMILY: &str = "ovs_ct_limit";
/// Multicast group of the conntrack limit family.
pub const OVS_CT_LIMIT_MCGROUP: &str = "ovs_ct_limit";
/// Version of the conntrack limit family.
pub const OVS_CT_LIMIT_VERSION: u8 = 1;

// `ovs_ct_limit_cmd`.
/// Not a command.
pub const OVS_CT_LIMIT_CMD_UNSPEC: u8 = 0;
/// Add or change limits.
pub const OVS_CT_LIMIT_CMD_SET: u8 = 1;
/// Remove limits.
pub const OVS_CT_LIMIT_CMD_DEL: u8 = 2;
/// Read limits and counts.
pub const OVS_CT_LIMIT_CMD_GET: u8 = 3;

// `ovs_ct_limit_attr`.
/// Not an attribute.
pub const OVS_CT_LIMIT_ATTR_UNSPEC: u16 = 0;
/// Array of [`ovs_zone_limit`].
pub const OVS_CT_LIMIT_ATTR_ZONE_LIMIT: u16 = 1;
/// Highest attribute of the family.
pub const OVS_CT_LIMIT_ATTR_MAX: u16 = 1;
/// In [`ovs_zone_limit`]: the limit of zones that have none of their own.
pub const OVS_ZONE_LIMIT_DEFAULT_ZONE: i32 = -1;
