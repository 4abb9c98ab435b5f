//! rovs: a drop-in `ovs-vswitchd` over the in-tree Linux `openvswitch` module.
//!
//! The modules stand in reading order; a packet travels down the list, and a module uses only
//! those above it.

pub mod limits;

pub mod packet;

pub mod flow;

pub mod odp;

pub mod datapath;
