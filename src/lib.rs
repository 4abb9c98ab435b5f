//! rovs: a drop-in `ovs-vswitchd` over the in-tree Linux `openvswitch` module.
//!
//! The modules stand in reading order; a packet travels down the list, and a module uses only
//! those above it.

pub mod limits;

pub mod strerror;

pub mod vlog;

pub mod coverage;

pub mod memory;

pub mod unixctl;

pub mod packet;

pub mod flow;

pub mod odp;

pub mod datapath;

pub mod netdev;

pub mod classifier;

pub mod ofproto;

pub mod l2;

pub mod snapshot;

pub mod xlate;

pub mod upcall;

pub mod revalidate;

pub mod bridge;

pub mod daemon;

pub mod standalone;

pub mod tool;
