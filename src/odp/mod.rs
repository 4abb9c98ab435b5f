//! Datapath flows: the language of netlink attributes in which the kernel speaks of packets and is
//! told what to do with them, to and from [`Flow`](crate::flow::Flow) and to and from text.
//!
//! Read in this order: [`key`] (packets: attributes ⇄ flow), [`mask`] (which bits matter:
//! attributes ⇄ wildcards), [`action`] (what to do), [`cookie`] (what comes back with a packet that
//! an action sends up), [`commit`] (the difference of two flows as actions), [`mod@format`] (the peer
//! tools' text), [`parse`] (the inverse), [`ufid`] (names of flows), [`reader`] (what was worked out for
//! one packet's key and serves the next like it).
//!
//! What always holds: bytes from outside are parsed once and never make anything panic; what is
//! encoded from a flow is accepted by the kernel that [`Support`] describes; port numbers here are
//! the datapath's. Everything is appended to buffers that the caller reuses; nothing else
//! allocates, text excepted. Plain values and functions: any thread.

pub mod action;
pub mod commit;
pub mod cookie;
pub mod format;
pub mod key;
pub mod mask;
pub mod parse;
pub mod reader;
pub mod ufid;

mod decode;
mod encode;
mod tunnel;

#[cfg(test)]
mod dice;

/// What the datapath was found to understand; decides which attributes are sent to it.
///
/// The answers come from probes at start (`dpif/show-dp-features`); the default is Linux 6.1 and
/// later with everything configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    /// VLAN headers in a key: the lower of what the datapath takes and `other_config:vlan-limit`.
    pub max_vlan_headers: usize,
    /// MPLS labels in a mask.
    pub max_mpls_depth: usize,
    /// `RECIRC_ID` and `DP_HASH`.
    pub recirc: bool,
    /// `CT_STATE`.
    pub ct_state: bool,
    /// The address translation bits of `CT_STATE`.
    pub ct_state_nat: bool,
    /// `CT_ZONE`.
    pub ct_zone: bool,
    /// `CT_MARK`.
    pub ct_mark: bool,
    /// `CT_LABELS`.
    pub ct_label: bool,
    /// `CT_ORIG_TUPLE_IPV4`.
    pub ct_orig_tuple: bool,
    /// `CT_ORIG_TUPLE_IPV6`.
    pub ct_orig_tuple6: bool,
    /// `ND_EXTENSIONS`: a datapath in user space only, Linux refuses it.
    pub nd_ext: bool,
    /// `PACKET_TYPE`: a datapath in user space only, Linux refuses it.
    pub packet_type: bool,
}

impl Default for Support {
    fn default() -> Self {
        Self {
            max_vlan_headers: 2,
            max_mpls_depth: 3,
            recirc: true,
            ct_state: true,
            ct_state_nat: true,
            ct_zone: true,
            ct_mark: true,
            ct_label: true,
            ct_orig_tuple: true,
            ct_orig_tuple6: true,
            nd_ext: false,
            packet_type: false,
        }
    }
}
