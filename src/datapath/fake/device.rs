//! The fake kernel's network devices.
//!
//! What always holds: an internal device is there exactly as long as its port.
//!
//! Used under the fake kernel's lock.

use super::{
    FakeKernel, Refusal, State, Watcher,
    watch::Reader,
    wire::{DeviceOptions, LinkState, Wire},
};
use crate::datapath::{DpError, PortKind, PortStats, error::Op};

/// First letter of the made-up MAC addresses: locally administered.
const MAC_PREFIX: [u8; 2] = [0x02, 0xfa];
/// First dummy's address, which the others are counted up from.
const DUMMY_MAC: [u8; 4] = [0xaa, 0x55, 0xaa, 0x55];

/// What a device shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FakeDevice {
    /// Name.
    pub name: String,
    /// Number; a renamed device keeps it.
    pub ifindex: u32,
    /// Address.
    pub mac: [u8; 6],
    /// Largest payload.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Cable plugged.
    pub carrier: bool,
    /// Created by a datapath.
    pub internal: bool,
}

#[derive(Debug)]
pub(super) struct Device {
    pub shown: FakeDevice,
    /// The datapath that it is a port of.
    pub port_of: Option<u32>,
    pub sent: Vec<Vec<u8>>,
    /// What a dummy is connected to.
    pub wire: Wire,
}

/// A change of a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeviceEvent {
    /// New, or different.
    Changed(FakeDevice),
    /// Gone.
    Removed(FakeDevice),
    /// Events were lost.
    Overrun,
}

impl FakeKernel {
    /// A device appears, up and with carrier; returns its ifindex, or nothing when the name is
    /// taken.
    pub fn add_device(&self, name: &str) -> Option<u32> {
        self.lock().create_device(name, None).ok()
    }

    /// A device disappears, and with it a port on it.
    pub fn remove_device(&self, name: &str) -> bool {
        let mut state = self.lock();
        state.release(name);
        state.remove_device(name)
    }

    /// A device gets another name. The port on it goes on under that, and its datapath says nothing.
    pub fn rename_device(&self, old: &str, new: &str) -> bool {
        let mut state = self.lock();
        if state.devices.contains_key(new) {
            return false;
        }
        let Some(mut device) = state.devices.remove(old) else { return false };
        new.clone_into(&mut device.shown.name);
        let shown = device.shown.clone();
        let dp_ifindex = device.port_of;
        state.devices.insert(new.to_owned(), device);
        state.tell_device(DeviceEvent::Changed(shown));
        let Some(dp_ifindex) = dp_ifindex else { return true };
        let Some(dp) = state.datapaths.get_mut(&dp_ifindex) else { return true };
        if let Some(port) = dp.ports.values_mut().find(|p| p.name == old) {
            new.clone_into(&mut port.name);
        }
        true
    }

    /// All devices, by name.
    pub fn devices(&self) -> Vec<FakeDevice> {
        self.lock().devices.values().map(|d| d.shown.clone()).collect()
    }

    /// Changes a device by `change`, which leaves its name and ifindex alone. False when there is
    /// no such device.
    pub fn change_device(&self, name: &str, change: impl FnOnce(&mut FakeDevice)) -> bool {
        let mut state = self.lock();
        let Some(device) = state.devices.get_mut(name) else { return false };
        let before = device.shown.clone();
        change(&mut device.shown);
        device.shown.name = before.name;
        device.shown.ifindex = before.ifindex;
        let shown = device.shown.clone();
        state.tell_device(DeviceEvent::Changed(shown));
        true
    }

    /// Makes a dummy, unless it is there, and connects it as `options` say. `type_name` is what
    /// the peer's tools show for it.
    ///
    /// # Errors
    /// When the name is none for a device.
    pub fn configure_device(
        &self,
        name: &str,
        type_name: &str,
        options: &DeviceOptions,
    ) -> Result<(), DpError> {
        let doing = || format!("open device {name}");
        let weak = self.downgrade();
        let mut state = self.lock();
        if !state.devices.contains_key(name) {
            state.create_device(name, None).map_err(|r| r.error(Op::PortAdd, doing()))?;
        }
        if let Some(device) = state.devices.get_mut(name) {
            device.wire.type_name = Some(type_name.to_owned());
            device.wire.connect(name, options, &weak);
        }
        Ok(())
    }

    /// What the peer's tools show as the type of a dummy, and of its options.
    pub fn device_text(&self, name: &str) -> Option<String> {
        self.lock().devices.get(name)?.wire.text()
    }

    /// How a dummy's connection to another one does.
    pub fn link_state(&self, name: &str) -> Option<LinkState> {
        self.lock().devices.get(name).map(|device| device.wire.state())
    }

    /// Gives a dummy an address, so that it answers ARP requests for it. False when there is no
    /// such device.
    pub fn set_ipv4(&self, name: &str, address: std::net::Ipv4Addr) -> bool {
        let mut state = self.lock();
        let Some(device) = state.devices.get_mut(name) else { return false };
        device.wire.ipv4 = Some(address);
        true
    }

    /// Counters of the port on a device.
    pub fn device_stats(&self, name: &str) -> Option<PortStats> {
        let mut state = self.lock();
        let (dp_ifindex, odp) = state.port_of(name)?;
        state.port_mut(dp_ifindex, odp).map(|port| port.stats)
    }

    /// Devices as they change from now on.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn watch_devices(&self) -> std::io::Result<Reader<DeviceEvent>> {
        let (watcher, reader) = Watcher::pair()?;
        self.lock().device_watchers.push(watcher);
        Ok(reader)
    }
}

impl State {
    pub(super) fn create_device(
        &mut self,
        name: &str,
        kind: Option<PortKind>,
    ) -> Result<u32, Refusal> {
        if self.devices.contains_key(name) {
            return Err(Refusal::new(libc::EEXIST, ""));
        }
        let fits = self.dummies || name.len() <= 15 && !name.contains(['/', ' ', '\0']);
        if name.is_empty() || !fits {
            return Err(Refusal::invalid("not a name for a device"));
        }
        let ifindex = self.next_ifindex;
        self.next_ifindex += 1;
        let [a, b, c, d] = ifindex.to_be_bytes();
        let internal = kind == Some(PortKind::Internal);
        let mac = if self.dummies {
            let [.., high, low] = self.next_dummy.to_be_bytes();
            self.next_dummy += 1;
            let [p, q, r, s] = DUMMY_MAC;
            [p, q, r, s, high, low]
        } else {
            [MAC_PREFIX[0], MAC_PREFIX[1], a, b, c, d]
        };
        let shown = FakeDevice {
            name: name.to_owned(),
            ifindex,
            mac,
            mtu: 1500,
            up: !internal || self.dummies,
            carrier: true,
            internal,
        };
        let device =
            Device { shown: shown.clone(), port_of: None, sent: Vec::new(), wire: Wire::default() };
        self.devices.insert(name.to_owned(), device);
        self.tell_device(DeviceEvent::Changed(shown));
        Ok(ifindex)
    }

    pub(super) fn remove_device(&mut self, name: &str) -> bool {
        match self.devices.remove(name) {
            Some(device) => {
                self.tell_device(DeviceEvent::Removed(device.shown));
                true
            }
            None => false,
        }
    }

    /// Takes a device out of its datapath.
    fn release(&mut self, name: &str) {
        let Some(dp_ifindex) = self.devices.get(name).and_then(|d| d.port_of) else { return };
        let Some(dp) = self.datapaths.get(&dp_ifindex) else { return };
        if let Some((&odp, _)) = dp.ports.iter().find(|(_, p)| p.name == name) {
            self.detach(dp_ifindex, odp);
        }
    }

    fn tell_device(&mut self, event: DeviceEvent) {
        self.device_watchers.retain_mut(|w| w.tell(event.clone(), DeviceEvent::Overrun));
    }
}
