//! Which datapath a bridge is on, the kernel's or a dummy, by its type; and the devices that a dummy
//! datapath wants.
//!
//! What always holds: there is one datapath at a time; bridges whose type is of another are left
//! out, with a reason. Control thread.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{DummyMode, EngineOptions};
use crate::bridge::config::{Config, InterfaceKind};
use crate::datapath::kernel::{KernelDatapath, KernelOptions};
use crate::datapath::{Datapath, DpError, dummy};
use crate::netdev::{HostDevices, KernelDevices};

/// What carries bridges.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Backing {
    /// The kernel module.
    Kernel,
    /// This process, under the name of a type.
    Dummy(String),
}

/// The type of datapaths that the kernel has.
const SYSTEM: &str = "system";
/// `strerror(EAFNOSUPPORT)`, which is what the peer says of a type that it does not have.
const NO_SUCH_TYPE: &str = "Address family not supported by protocol";

impl Backing {
    /// What carries bridges of this `datapath_type`, if anything does.
    fn of(datapath_type: &str, options: &EngineOptions) -> Option<Self> {
        let datapath_type = if datapath_type.is_empty() { SYSTEM } else { datapath_type };
        match datapath_type {
            _ if options.dummy.types().contains(&datapath_type) => {
                Some(Self::Dummy(datapath_type.to_owned()))
            }
            SYSTEM if !options.no_system => Some(Self::Kernel),
            _ => None,
        }
    }

    fn is_alike(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Kernel, Self::Kernel) | (Self::Dummy(_), Self::Dummy(_)))
    }

    /// Name of the datapath.
    pub fn name(&self) -> String {
        match self {
            Self::Kernel => super::DATAPATH.to_owned(),
            Self::Dummy(type_name) => format!("ovs-{type_name}"),
        }
    }

    /// Opens the datapath, which is created if need be.
    pub fn open(&self) -> Result<Arc<dyn Datapath>, DpError> {
        let name = self.name();
        Ok(match self {
            Self::Kernel => {
                Arc::new(KernelDatapath::open_with(&name, true, KernelOptions::from_env())?)
            }
            Self::Dummy(type_name) => Arc::new(dummy::open(type_name, &name)?),
        })
    }

    /// The devices that its ports stand on.
    pub fn host(&self) -> Arc<dyn HostDevices> {
        match self {
            Self::Kernel => Arc::new(KernelDevices),
            Self::Dummy(_) => Arc::new(dummy::kernel().clone()),
        }
    }

    /// Whether there are devices to make.
    pub fn makes_devices(&self) -> bool {
        *self != Self::Kernel
    }

    /// Makes the dummies that `config` wants, and connects them as their options say.
    pub fn make_devices(&self, config: &Config, mode: DummyMode) {
        if !self.makes_devices() {
            return;
        }
        let all = config.bridges.values().flat_map(|bridge| bridge.ports.values());
        for (name, interface) in all.flat_map(|port| &port.interfaces) {
            let type_name = match &interface.kind {
                InterfaceKind::Dummy(type_name) => type_name,
                InterfaceKind::System if mode != DummyMode::On => SYSTEM,
                _ => continue,
            };
            let made = dummy::kernel().configure_device(name, type_name, &interface.options);
            if let Err(error) = made {
                tracing::warn!(target: "netdev_dummy", "{error}");
            }
        }
    }
}

/// A configuration and what can carry it.
pub(super) struct Carried {
    /// What carries the bridges; `None` when there are none.
    pub backing: Option<Backing>,
    /// The bridges that can be carried.
    pub config: Arc<Config>,
    /// Why the others cannot be.
    pub refused: BTreeMap<String, String>,
}

impl Carried {
    /// Sorts out the bridges of `config`; what carries some now goes on as long as any wants it.
    pub fn new(config: Arc<Config>, now: Option<&Backing>, options: &EngineOptions) -> Self {
        let of = |datapath_type: &str| Backing::of(datapath_type, options);
        let wanted = || config.bridges.values().filter_map(|bridge| of(&bridge.datapath_type));
        let is_kept = now.filter(|now| wanted().any(|backing| backing.is_alike(now)));
        let backing = is_kept.cloned().or_else(|| wanted().next());
        let reason = |datapath_type: &str| match (of(datapath_type), &backing) {
            (Some(own), Some(backing)) if own.is_alike(backing) => None,
            (Some(_), _) => {
                Some("bridges of the kernel and dummies cannot be had at once".to_owned())
            }
            (None, _) => Some(NO_SUCH_TYPE.to_owned()),
        };
        let refused = config
            .bridges
            .iter()
            .filter_map(|(name, bridge)| Some((name.clone(), reason(&bridge.datapath_type)?)));
        let refused: BTreeMap<String, String> = refused.collect();
        let mut config = config;
        if !refused.is_empty() {
            let config = Arc::make_mut(&mut config);
            config.bridges.retain(|name, _| !refused.contains_key(name));
        }
        Self { backing, config, refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::config::BridgeConfig;

    fn config(bridges: &[(&str, &str)]) -> Config {
        let bridge = |datapath_type: &str| BridgeConfig {
            datapath_type: datapath_type.to_owned(),
            ..BridgeConfig::default()
        };
        let bridges = bridges.iter().map(|(name, ty)| ((*name).to_owned(), bridge(ty))).collect();
        Config { bridges, ..Config::default() }
    }

    fn carried(dummy: DummyMode, no_system: bool, bridges: &[(&str, &str)]) -> Carried {
        let options = EngineOptions { dummy, no_system, ..EngineOptions::default() };
        Carried::new(config(bridges).into(), None, &options)
    }

    #[test]
    fn types_are_what_the_peer_makes_of_them() {
        let dummy = |name: &str| Some(Backing::Dummy(name.to_owned()));
        for (mode, datapath_type, no_system, expected) in [
            (DummyMode::Off, "", false, Some(Backing::Kernel)),
            (DummyMode::Off, "system", false, Some(Backing::Kernel)),
            (DummyMode::Off, "", true, None),
            (DummyMode::Off, "dummy", false, None),
            (DummyMode::Off, "netdev", false, None),
            (DummyMode::On, "dummy", true, dummy("dummy")),
            (DummyMode::On, "", true, None),
            (DummyMode::On, "", false, Some(Backing::Kernel)),
            (DummyMode::System, "", true, dummy("system")),
            (DummyMode::System, "netdev", true, None),
            (DummyMode::Override, "netdev", true, dummy("netdev")),
            (DummyMode::Override, "nosuch", true, None),
        ] {
            let carried = carried(mode, no_system, &[("br0", datapath_type)]);
            assert_eq!(carried.backing, expected, "{mode:?} {datapath_type:?}");
            let error = carried.refused.get("br0").map(String::as_str);
            assert_eq!(error, expected.is_none().then_some(NO_SUCH_TYPE));
            assert_eq!(carried.config.bridges.len(), usize::from(expected.is_some()));
        }
        assert_eq!(dummy("dummy").map(|dummy| dummy.name()).unwrap(), "ovs-dummy");
    }

    #[test]
    fn what_carries_bridges_goes_on_as_long_as_one_wants_it() {
        let options = EngineOptions { dummy: DummyMode::On, ..EngineOptions::default() };
        let both = [("a", ""), ("b", "dummy")];
        let first = carried(DummyMode::On, false, &both);
        assert_eq!(first.backing, Some(Backing::Kernel));
        assert!(first.config.bridges.contains_key("a") && first.refused.contains_key("b"));
        let dummy = Backing::Dummy("dummy".to_owned());
        let then = Carried::new(config(&both).into(), Some(&dummy), &options);
        assert_eq!(then.backing, Some(dummy.clone()));
        assert!(then.refused.contains_key("a"));
        let gone = Carried::new(config(&both[..1]).into(), Some(&dummy), &options);
        assert_eq!(gone.backing, Some(Backing::Kernel));
        assert_eq!(Carried::new(config(&[]).into(), Some(&dummy), &options).backing, None);
    }
}
