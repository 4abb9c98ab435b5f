//! What the devices of a bridge shall be like: addresses and sizes, chosen as the peer chooses them.
//!
//! What always holds: a device that is as it shall be is not touched; what the kernel refuses is tried
//! and logged once; queueing disciplines are nobody's business here.

use std::collections::{BTreeMap, BTreeSet};

use crate::bridge::config::{BridgeConfig, Config, InterfaceConfig, InterfaceKind, PortConfig};
use crate::bridge::reconcile::interfaces;
use crate::flow::EthAddr;
use crate::netdev::{HostDevices, LinkTable};

/// Size of packets where no device says another (`ETH_PAYLOAD_MAX`).
const MTU_DEFAULT: u32 = 1500;

/// See the module's page.
#[derive(Default)]
pub(super) struct Tuning {
    /// The size that each bridge's devices were last brought to.
    mtus: BTreeMap<String, u32>,
    /// What the kernel would not do.
    refused: BTreeSet<String>,
}

impl Tuning {
    /// Makes the devices what they shall be, those apart that are `missing` from their bridges: a
    /// device of that name is somebody else's. `links` is kept in step.
    pub(super) fn apply(
        &mut self,
        config: &Config,
        missing: &BTreeMap<(String, String), String>,
        machine_id: &str,
        host: &dyn HostDevices,
        links: &mut LinkTable,
    ) {
        self.mtus.retain(|bridge, _| config.bridges.contains_key(bridge));
        for (name, bridge) in &config.bridges {
            let is_there = |interface: &str| {
                missing.is_empty() || !missing.contains_key(&(name.clone(), interface.to_owned()))
            };
            let mac = bridge_mac(name, bridge, links, machine_id);
            if is_there(name) {
                self.set_mac(name, mac, host, links);
            }
            let others = interfaces(bridge).filter(|(other, _)| other != name && is_there(other));
            for (interface, config) in others {
                if let Some(mac) = config.mac.filter(|_| config.kind == InterfaceKind::Internal) {
                    self.set_mac(interface, mac, host, links);
                }
            }
            for (interface, mac) in fake_bridge_macs(name, bridge, links, machine_id) {
                if is_there(interface) {
                    self.set_mac(interface, mac, host, links);
                }
            }
            self.set_mtus(name, bridge, &is_there, host, links);
        }
    }

    /// What is asked for is set; the bridge's own devices of which nothing is asked follow the smallest of
    /// the others when that changes, and are never larger.
    fn set_mtus(
        &mut self,
        bridge: &str,
        config: &BridgeConfig,
        is_there: &impl Fn(&str) -> bool,
        host: &dyn HostDevices,
        links: &mut LinkTable,
    ) {
        let local = InterfaceConfig { kind: InterfaceKind::Internal, ..InterfaceConfig::default() };
        let has_local = interfaces(config).any(|(name, _)| name == bridge);
        let own = (!has_local).then_some((bridge, &local));
        let all = interfaces(config).chain(own).filter(|(name, _)| is_there(name));
        let all: Vec<_> = all.collect();
        let follows = |name: &str, interface: &InterfaceConfig| {
            interface.mtu_request.is_none()
                && (interface.kind == InterfaceKind::Internal || name == bridge)
        };
        for (name, interface) in &all {
            if let Some(mtu) = interface.mtu_request {
                self.set_mtu(name, mtu, host, links);
            }
        }
        let others = all.iter().filter(|(name, interface)| !follows(name, interface));
        let smallest = others.filter_map(|(name, _)| links.by_name(name)).map(|l| l.mtu).min();
        let before = self.mtus.get(bridge).copied();
        if smallest.is_none() && before.is_none() {
            return;
        }
        let smallest = smallest.unwrap_or(MTU_DEFAULT);
        self.mtus.insert(bridge.to_owned(), smallest);
        for (name, _) in all.iter().filter(|(name, interface)| follows(name, interface)) {
            let is_larger = links.by_name(name).is_some_and(|link| link.mtu > smallest);
            if is_larger || before != Some(smallest) {
                self.set_mtu(name, smallest, host, links);
            }
        }
    }

    fn set_mtu(&mut self, name: &str, mtu: u32, host: &dyn HostDevices, links: &mut LinkTable) {
        if links.by_name(name).is_none_or(|link| link.mtu == mtu) {
            return;
        }
        let what = format!("{name}: setting MTU {mtu} failed");
        if self.refused.contains(&what) {
            return;
        }
        match host.set_mtu(name, mtu) {
            Ok(()) => links.edit(name, |link| link.mtu = mtu),
            Err(error) => self.refuse(what, &error),
        }
    }

    fn set_mac(&mut self, name: &str, mac: EthAddr, host: &dyn HostDevices, links: &mut LinkTable) {
        if links.by_name(name).is_none_or(|link| link.mac == mac) {
            return;
        }
        let what = format!("interface {name}: setting MAC {mac} failed");
        if self.refused.contains(&what) {
            return;
        }
        match host.set_mac(name, mac) {
            Ok(()) => links.edit(name, |link| link.mac = mac),
            Err(error) => self.refuse(what, &error),
        }
    }

    fn refuse(&mut self, what: String, error: &ovs_netlink::Error) {
        tracing::warn!(target: "bridge", "{what} ({error})");
        self.refused.insert(what);
    }

    /// Lets what was refused be tried again: the configuration is another, or a device is.
    pub(super) fn forgive(&mut self) {
        self.refused.clear();
    }
}

/// The address that the device of a bridge shall have: the one that is configured, else the lowest
/// globally unique one of its ports, else one made from the machine's and the bridge's name, so
/// that it stays the same from run to run. The address of a port is the one that is configured for that
/// purpose, else that of its interface whose name comes first.
pub(super) fn bridge_mac(
    name: &str,
    config: &BridgeConfig,
    links: &LinkTable,
    machine_id: &str,
) -> EthAddr {
    if let Some(mac) = config.mac {
        return mac;
    }
    lowest(config.ports.values(), name, links)
        .or(config.default_mac)
        .unwrap_or_else(|| made_mac(name, machine_id))
}

/// The lowest globally unique address of some ports of a bridge.
fn lowest<'a>(
    ports: impl Iterator<Item = &'a PortConfig>,
    bridge: &str,
    links: &LinkTable,
) -> Option<EthAddr> {
    let of_ports = ports.filter_map(|port| {
        port.mac.or_else(|| {
            let present = port.interfaces.keys().find_map(|interface| links.by_name(interface));
            present.filter(|link| link.name != bridge).map(|link| link.mac)
        })
    });
    let is_global = |mac: &EthAddr| {
        mac.0[0] & 0x02 == 0 && !mac.is_multicast() && !mac.is_reserved() && *mac != EthAddr::ZERO
    };
    of_ports.filter(is_global).min()
}

/// Addresses of the devices of fake bridges that want none: as a bridge's own, but of the ports of
/// the same VLAN.
fn fake_bridge_macs<'a>(
    name: &str,
    config: &'a BridgeConfig,
    links: &LinkTable,
    machine_id: &str,
) -> Vec<(&'a str, EthAddr)> {
    let fakes = config.ports.values().filter(|port| port.fake_bridge);
    let wanting = fakes.flat_map(|port| port.interfaces.iter().map(move |i| (port, i)));
    wanting
        .filter(|(_, (other, interface))| {
            interface.mac.is_none() && interface.kind == InterfaceKind::Internal && *other != name
        })
        .map(|(port, (interface, _))| {
            let alike = config.ports.values().filter(|p| port.tag.is_none() || p.tag == port.tag);
            let default = config.default_mac.unwrap_or_else(|| made_mac(name, machine_id));
            (interface.as_str(), lowest(alike, name, links).unwrap_or(default))
        })
        .collect()
}

/// A locally administered unicast address that depends on nothing but the two names (FNV-1a).
fn made_mac(name: &str, machine_id: &str) -> EthAddr {
    let bytes = machine_id.bytes().chain([0]).chain(name.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let [_, _, a, b, c, d, e, f] = hash.to_be_bytes();
    EthAddr([a & !1 | 2, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::fake::FakeKernel;

    fn mac(n: u8) -> EthAddr {
        EthAddr([0, 0, 0x5e, 0, 1, n])
    }

    /// A fake kernel with these devices, all of 1,500 bytes.
    fn host(names: &[&str]) -> FakeKernel {
        let kernel = FakeKernel::new();
        for name in names {
            kernel.add_device(name);
            kernel.set_mtu(name, 1500).unwrap();
        }
        kernel
    }

    fn tune(
        tuning: &mut Tuning,
        toml: &Config,
        kernel: &FakeKernel,
    ) -> Vec<(String, EthAddr, u32)> {
        let mut links = LinkTable::of(kernel.links().unwrap());
        tuning.apply(toml, &BTreeMap::new(), "machine", kernel, &mut links);
        let listed = LinkTable::of(kernel.links().unwrap());
        assert!(links.iter().eq(listed.iter()), "in step");
        listed.iter().map(|link| (link.name.clone(), link.mac, link.mtu)).collect()
    }

    fn config(interfaces: &[(&str, InterfaceConfig)]) -> Config {
        let port = |(name, interface): &(&str, InterfaceConfig)| {
            let port = crate::bridge::config::PortConfig::single(name, interface.clone());
            ((*name).to_owned(), port)
        };
        let ports = interfaces.iter().map(port).collect();
        let bridge = BridgeConfig { ports, ..BridgeConfig::default() };
        Config { bridges: [("br0".to_owned(), bridge)].into(), ..Config::default() }
    }

    fn system() -> InterfaceConfig {
        InterfaceConfig::default()
    }

    fn internal() -> InterfaceConfig {
        InterfaceConfig { kind: InterfaceKind::Internal, ..InterfaceConfig::default() }
    }

    #[test]
    fn the_lowest_global_address_is_the_bridges() {
        let kernel = host(&["br0", "a", "b", "c"]);
        let pick = |config: &Config| {
            let links = LinkTable::of(kernel.links().unwrap());
            bridge_mac("br0", &config.bridges["br0"], &links, "machine")
        };
        for (name, n) in [("a", 9), ("b", 5), ("c", 7)] {
            kernel.set_mac(name, mac(n)).unwrap();
        }
        let mut config = config(&[("a", system()), ("b", system()), ("c", system())]);
        assert_eq!(pick(&config), mac(5));
        kernel.set_mac("b", EthAddr([2, 0, 0, 0, 0, 1])).unwrap();
        assert_eq!(pick(&config), mac(7), "a local address is none to take");
        let bridge = config.bridges.get_mut("br0").unwrap();
        bridge.ports.get_mut("b").unwrap().mac = Some(mac(1));
        assert_eq!(pick(&config), mac(1), "column mac of the port");
        config.bridges.get_mut("br0").unwrap().mac = Some(mac(3));
        assert_eq!(pick(&config), mac(3), "hwaddr");
        let made = pick(&super::tests::config(&[]));
        assert_eq!(made.0[0] & 3, 2, "local, of one device");
        assert_eq!(made, pick(&super::tests::config(&[("none", system())])), "always the same");
    }

    #[test]
    fn a_bridge_without_ports_takes_its_default() {
        let kernel = host(&["br0", "fake", "a", "b"]);
        let mut config = config(&[("fake", internal()), ("a", system()), ("b", system())]);
        let bridge = config.bridges.get_mut("br0").unwrap();
        bridge.default_mac = Some(mac(42));
        bridge.ports.get_mut("fake").unwrap().fake_bridge = true;
        for port in ["fake", "b"] {
            bridge.ports.get_mut(port).unwrap().tag = Some(7);
        }
        let local = EthAddr([2, 0, 0, 0, 0, 1]);
        for name in ["a", "b"] {
            kernel.set_mac(name, local).unwrap();
        }
        let of = |tuned: Vec<(String, EthAddr, u32)>, name: &str| {
            tuned.into_iter().find(|(other, ..)| other == name).unwrap().1
        };
        let mut tuning = Tuning::default();
        assert_eq!(of(tune(&mut tuning, &config, &kernel), "br0"), mac(42));
        kernel.set_mac("a", mac(3)).unwrap();
        kernel.set_mac("b", mac(5)).unwrap();
        let tuned = tune(&mut tuning, &config, &kernel);
        assert_eq!(of(tuned.clone(), "br0"), mac(3));
        assert_eq!(of(tuned, "fake"), mac(5), "of the ports of its VLAN");
    }

    // A port that asks for an internal device where there is a host's of that name.
    #[test]
    fn devices_of_others_are_left_alone() {
        let kernel = host(&["br0", "eth0", "a"]);
        kernel.set_mtu("a", 1400).unwrap();
        let mut eth0 = internal();
        eth0.mac = Some(mac(9));
        let config = config(&[("eth0", eth0), ("a", system())]);
        let missing = [(("br0".to_owned(), "eth0".to_owned()), "File exists".to_owned())].into();
        let before = kernel.links().unwrap();
        let mut links = LinkTable::of(before.clone());
        Tuning::default().apply(&config, &missing, "machine", &kernel, &mut links);
        let of = |links: Vec<crate::netdev::Link>| {
            links.into_iter().find(|link| link.name == "eth0").map(|link| (link.mac, link.mtu))
        };
        assert_eq!(of(kernel.links().unwrap()), of(before));
    }

    #[test]
    fn a_bond_has_the_address_of_its_first_interface() {
        let kernel = host(&["br0", "a", "b"]);
        kernel.set_mac("a", mac(9)).unwrap();
        kernel.set_mac("b", mac(5)).unwrap();
        let mut port = crate::bridge::config::PortConfig::single("a", system());
        port.interfaces.insert("b".to_owned(), system());
        let ports = [("bond".to_owned(), port)].into();
        let links = LinkTable::of(kernel.links().unwrap());
        let config = BridgeConfig { ports, ..BridgeConfig::default() };
        assert_eq!(bridge_mac("br0", &config, &links, ""), mac(9));
    }

    #[test]
    fn own_devices_follow_the_smallest_of_the_others() {
        let kernel = host(&["br0", "a", "b", "i"]);
        let mut tuning = Tuning::default();
        let mtus = |tuned: Vec<(String, EthAddr, u32)>| -> Vec<u32> {
            tuned.into_iter().map(|(.., mtu)| mtu).collect()
        };
        let with = |a: Option<u32>| {
            config(&[
                ("a", InterfaceConfig { mtu_request: a, ..system() }),
                ("b", system()),
                ("i", internal()),
            ])
        };
        kernel.set_mtu("br0", 9000).unwrap();
        assert_eq!(mtus(tune(&mut tuning, &with(None), &kernel)), [1500; 4]);
        assert_eq!(mtus(tune(&mut tuning, &with(Some(1400)), &kernel)), [1400, 1400, 1500, 1400]);
        // Back to what it was: they follow up as well as down.
        assert_eq!(mtus(tune(&mut tuning, &with(Some(1500)), &kernel)), [1500; 4]);
        // Smaller by hand is left, larger is not.
        kernel.set_mtu("br0", 1300).unwrap();
        kernel.set_mtu("i", 2000).unwrap();
        assert_eq!(mtus(tune(&mut tuning, &with(Some(1500)), &kernel)), [1300, 1500, 1500, 1500]);
        // Only internal ports are left: 1500; one of them has its own.
        let own = InterfaceConfig { mtu_request: Some(1600), ..internal() };
        assert_eq!(
            mtus(tune(&mut tuning, &config(&[("i", internal())]), &kernel)),
            [1300, 1500, 1500, 1500]
        );
        assert_eq!(
            mtus(tune(&mut tuning, &config(&[("i", own)]), &kernel)),
            [1600, 1500, 1500, 1600]
        );
    }

    #[test]
    fn a_lone_bridge_is_left_as_it_is() {
        let kernel = host(&["br0"]);
        kernel.set_mtu("br0", 9000).unwrap();
        assert_eq!(tune(&mut Tuning::default(), &config(&[]), &kernel)[0].2, 9000);
    }

    #[test]
    fn what_is_refused_is_tried_once() {
        let kernel = host(&["br0", "a"]);
        let mut tuning = Tuning::default();
        let small = InterfaceConfig { mtu_request: Some(1), ..system() };
        let config = config(&[("a", small)]);
        tune(&mut tuning, &config, &kernel);
        assert_eq!(tuning.refused.len(), 1);
        tune(&mut tuning, &config, &kernel);
        assert_eq!(tuning.refused.len(), 1);
    }
}
