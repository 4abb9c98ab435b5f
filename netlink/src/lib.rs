//! The Generic Netlink families of the Linux `openvswitch` module.
