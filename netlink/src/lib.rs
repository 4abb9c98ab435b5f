//! The Generic Netlink families of the Linux `openvswitch` module.
//!
//! What is received is *borrowed* from the receive buffer and parsed once; what is sent is
//! *appended* to a buffer that the caller reuses. Nothing here knows about switching: this is what
//! the kernel says and how to say something to it, and nothing else, so that any forwarding
//! paradigm can be put on the module.
//!
//! Read in this order: [`attr`] (one attribute), [`msg`] (whole messages), [`socket`] (exchanges
//! with the kernel, with [`ack`], [`error`] and [`ring`]), [`key`] and [`action`] (what is matched
//! and what is done about it), then one file per family.

pub mod ack;
pub mod action;
pub mod agree;
pub mod attr;
pub mod ct;
pub mod ct_limit;
pub mod datapath;
pub mod error;
pub mod family;
pub mod flow;
pub mod key;
pub mod meter;
pub mod monitor;
pub mod msg;
pub mod nsh;
pub mod packet;
pub mod ring;
pub mod socket;
mod sys;
pub mod tunnel;
pub mod uapi;
pub mod vport;
mod walk;

pub use error::{Error, RecvError};
pub use family::Families;
pub use ring::RecvRing;
pub use socket::Socket;
