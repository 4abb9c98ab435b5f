//! rovs: a drop-in `ovs-vswitchd` over the in-tree Linux `openvswitch` module.
//!
//! The daemon is the binary `ovs-vswitchd`, the tool to look into it is `rovs`; both are a few lines
//! over this library, which is also there for those who want to put another brain on the module.
//! `ARCHITECTURE.md` tells the life of one packet.
//!
//! The modules stand in reading order; a packet travels down the list, and a module uses only
//! those above it:
//!
//! - the ground floor: [`limits`] (every bound with its reason), [`strerror`], [`clock`], [`vlog`] (log lines as the
//!   peer's), [`coverage`] and [`memory`] (counters), [`unixctl`] (the control socket), [`aside`] (what is done for the
//!   control thread);
//! - values: [`packet`] (header views), [`flow`] (fields, flows, matches), [`odp`] (the datapath's keys, masks
//!   and actions, as bytes and as text);
//! - the kernel: [`datapath`] (the kernel's, a fake one, recordings, faults), [`netdev`] (host devices);
//! - the switch: [`classifier`], [`ofproto`] (rules and tables), [`l2`] (learned addresses), [`snapshot`] (the
//!   configuration as packets meet it), [`xlate`] (what is done with a packet, and why);
//! - what runs it: [`upcall`] (handlers, installed flows), [`revalidate`] (keeping them right), [`ovsdb`] (the
//!   database's client), [`bridge`] (from what is wanted to what is), [`daemon`] (the process), [`database`] (bridges as a
//!   database describes them), [`standalone`] (as one TOML file does), [`tool`] (`rovs`).
//!
//! To decide upcalls in another way, take [`datapath::Datapath::open_handlers`] and answer what
//! [`datapath::UpcallPort::recv`] gives; the crate `ovs_netlink` alone does for less.

pub mod limits;

pub mod strerror;

pub mod clock;

pub mod vlog;

pub mod coverage;

pub mod memory;

pub mod unixctl;

pub mod aside;

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

pub mod ovsdb;

pub mod bridge;

pub mod daemon;

pub mod standalone;

pub mod database;

pub mod tool;
