//! The devices of a fake kernel, as the host shows its own.
//!
//! What always holds: the same answers as [`KernelDevices`](super::KernelDevices) gives, error
//! numbers included, as far as a fake device has them.
//!
//! Any thread.

use std::os::fd::BorrowedFd;

use ovs_netlink::Error;

use super::{HostDevices, Link, LinkEvent, LinkEvents, LinkStats};
use crate::{
    datapath::fake::{DeviceEvent, FakeDevice, FakeKernel, Reader},
    flow::EthAddr,
};

/// Smallest MTU that an Ethernet device takes (`ETH_MIN_MTU`).
const MTU_MIN: u32 = 68;

impl HostDevices for FakeKernel {
    fn links(&self) -> Result<Vec<Link>, Error> {
        Ok(self.devices().into_iter().map(|device| self.counted(link(device))).collect())
    }

    fn link(&self, name: &str) -> Result<Option<Link>, Error> {
        let device = self.devices().into_iter().find(|d| d.name == name);
        Ok(device.map(|device| self.counted(link(device))))
    }

    fn set_up(&self, name: &str, up: bool) -> Result<(), Error> {
        changed(self.change_device(name, |d| d.up = up))
    }

    fn set_mac(&self, name: &str, mac: EthAddr) -> Result<(), Error> {
        if mac == EthAddr::ZERO || mac.0[0] & 1 != 0 {
            return Err(refused(libc::EADDRNOTAVAIL));
        }
        changed(self.change_device(name, |d| d.mac = mac.0))
    }

    fn set_mtu(&self, name: &str, mtu: u32) -> Result<(), Error> {
        if mtu < MTU_MIN {
            return Err(refused(libc::EINVAL));
        }
        changed(self.change_device(name, |d| d.mtu = mtu))
    }

    fn watch(&self) -> Result<Box<dyn LinkEvents>, Error> {
        Ok(Box::new(self.watch_devices()?))
    }
}

impl FakeKernel {
    /// The device with its counters.
    fn counted(&self, link: Link) -> Link {
        let Some(stats) = self.device_stats(&link.name) else { return link };
        let stats = LinkStats {
            rx_packets: stats.rx_packets,
            tx_packets: stats.tx_packets,
            rx_bytes: stats.rx_bytes,
            tx_bytes: stats.tx_bytes,
            ..LinkStats::default()
        };
        Link { stats, ..link }
    }
}

impl LinkEvents for Reader<DeviceEvent> {
    fn fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }

    fn read(&mut self, each: &mut dyn FnMut(LinkEvent)) -> Result<(), Error> {
        self.read(&mut |event| {
            each(match event {
                DeviceEvent::Changed(device) => LinkEvent::Changed(link(device)),
                DeviceEvent::Removed(device) => LinkEvent::Removed(link(device)),
                DeviceEvent::Overrun => LinkEvent::Overrun,
            });
        });
        Ok(())
    }
}

fn link(device: FakeDevice) -> Link {
    let running = device.up && device.carrier;
    Link {
        ifindex: device.ifindex,
        mac: EthAddr(device.mac),
        mtu: device.mtu,
        up: device.up,
        running,
        carrier: running,
        carrier_changes: 0,
        kind: device.internal.then(|| "openvswitch".to_owned()),
        master: None,
        stats: LinkStats::default(),
        name: device.name,
    }
}

fn refused(errno: i32) -> Error {
    Error::Kernel { errno, message: None, offset: None, missing: None }
}

fn changed(there: bool) -> Result<(), Error> {
    if there { Ok(()) } else { Err(refused(libc::ENODEV)) }
}
