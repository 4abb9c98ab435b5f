//! The Generic Netlink families of the Linux `openvswitch` module.
//!
//! What is received is *borrowed* from the receive buffer and parsed once; what is sent is
//! *appended* to a buffer that the caller reuses. Nothing here knows about switching: this is what
//! the kernel says and how to say something to it, and nothing else, so that any forwarding
//! paradigm can be put on the module.
//!
//! Read in this order: [`attr`] (one attribute), [`msg`] (whole messages), [`socket`] (exchanges
//! with the kernel, with [`ack`], [`error`] and [`ring`]), [`key`] and [`action`] (what is matched
//! and what is done about it), then one file per family: [`datapath`], [`vport`], [`flow`],
//! [`packet`], [`meter`], [`ct_limit`]; [`family`] has their ids, [`monitor`] tells of changes, [`ethtool`] of drivers;
//! [`ct_timeout`] speaks to conntrack itself, of the timeout policies that the conntrack action names.
//! Constants bear the names of the kernel's header, in [`uapi`].
//!
//! Two programs show it at work: `examples/dp_show.rs` lists datapaths and ports, and
//! `examples/hub.rs` is a forwarding paradigm of its own in 150 lines. The least of all:
//!
//! ```no_run
//! use ovs_netlink::{Families, Socket, datapath};
//!
//! let mut socket = Socket::open()?;
//! let families = Families::resolve_on(&mut socket)?;
//! for dp in datapath::dump(&mut socket, &families)? {
//!     println!("{}: {:?}", dp.name, dp.stats);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What always holds
//! No input makes anything panic. Attributes that a later kernel adds are kept or stay reachable.
//! What does not fit its length field is an error, not a message cut short. What the kernel loses
//! (`ENOBUFS`), truncates or interrupts is told. `unsafe` stands in `sys.rs` alone.

pub mod ack;
pub mod action;
pub mod agree;
pub mod attr;
pub mod ct;
pub mod ct_limit;
pub mod ct_timeout;
pub mod datapath;
pub mod error;
pub mod ethtool;
pub mod family;
pub mod flow;
pub mod key;
pub mod meter;
pub mod monitor;
pub mod msg;
pub mod nsh;
pub mod packet;
pub mod ring;
pub mod sched;
pub mod socket;
mod sys;
pub mod tally;
pub mod tunnel;
pub mod uapi;
pub mod vport;
mod walk;

pub use error::{Error, RecvError};
pub use family::Families;
pub use ring::RecvRing;
pub use socket::{DumpDatagram, Socket};
pub use sys::give_memory_back;
