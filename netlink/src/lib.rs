//! The Generic Netlink families of the Linux `openvswitch` module.

pub mod uapi;
