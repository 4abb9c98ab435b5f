//! Devices of the host: what they are, changing them, and being told of changes.
//!
//! What always holds: a listing is whole (an interrupted dump is begun again); lost events are
//! told as such, and after a resync the [`LinkTable`] is right again; what the kernel adds that we do
//! not know is passed over.
//!
//! Read [`link`] (one device), [`table`] (all of them, kept by events), then this file. Any thread;
//! devices are changed rarely. Sources: rtnetlink(7), `include/uapi/linux/{rtnetlink,if_link}.h`.

pub mod dummy;
pub mod fake;
pub mod kernel;
pub mod link;
pub mod table;

use std::os::fd::BorrowedFd;

use ovs_netlink::Error;

pub use self::{
    kernel::KernelDevices,
    link::{Link, LinkEvent, LinkStats},
    table::{LinkChange, LinkTable},
};
use crate::flow::EthAddr;

/// The devices of one network namespace, or of a fake kernel.
pub trait HostDevices: Send + Sync {
    /// All devices.
    fn links(&self) -> Result<Vec<Link>, Error>;

    /// The device of this name.
    fn link(&self, name: &str) -> Result<Option<Link>, Error>;

    /// Brings a device up or down.
    fn set_up(&self, name: &str, up: bool) -> Result<(), Error>;

    /// Gives a device another address.
    fn set_mac(&self, name: &str, mac: EthAddr) -> Result<(), Error>;

    /// Sets the largest payload of a device, in bytes.
    fn set_mtu(&self, name: &str, mtu: u32) -> Result<(), Error>;

    /// Devices as they change from now on. List them after this call, not before, and nothing is
    /// missed.
    fn watch(&self) -> Result<Box<dyn LinkEvents>, Error>;
}

/// Where [`LinkEvent`]s come from. One thread uses it.
pub trait LinkEvents: Send {
    /// Readable when there are events; for tokio's `AsyncFd`.
    fn fd(&self) -> BorrowedFd<'_>;

    /// Hands out the events that are there. Never waits.
    ///
    /// # Errors
    /// When there will be no more events.
    fn read(&mut self, each: &mut dyn FnMut(LinkEvent)) -> Result<(), Error>;
}

/// All devices of the network namespace.
///
/// # Errors
/// When the kernel cannot be asked or its answer not be read.
pub fn links() -> Result<Vec<Link>, Error> {
    KernelDevices.links()
}

/// Gives a device of the network namespace another address.
///
/// # Errors
/// When the kernel refuses it: no such device, not an address that it takes.
pub fn set_mac(name: &str, mac: EthAddr) -> Result<(), Error> {
    KernelDevices.set_mac(name, mac)
}
