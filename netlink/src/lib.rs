//! The Generic Netlink families of the Linux `openvswitch` module.
//!
//! What is received is *borrowed* from the receive buffer and parsed once; what is sent is
//! *appended* to a buffer that the caller reuses. Nothing here knows about switching: this is what
//! the kernel says and how to say something to it, and nothing else, so that any forwarding
//! paradigm can be put on the module.
//!
//! Read in this order: [`attr`] (one attribute), [`msg`] (whole messages).

pub mod attr;
pub mod flow;
pub mod key;
pub mod msg;
pub mod nsh;
pub mod tunnel;
pub mod uapi;
mod walk;
