//! The engine over a fake kernel.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::bridge::config::from_toml;
use crate::bridge::ct_zones::WantedZones;
use crate::datapath::fake::FakeKernel;
use crate::datapath::{CtPolicyId, CtTimeout, CtTimeouts, PortKind};
use crate::flow::EthAddr;
use crate::netdev::{LinkEvents, LinkTable};
use crate::ofproto::OfPort;

/// An engine with a thread of its own.
struct Driven {
    engine: Engine,
    runtime: Runtime,
}

impl Deref for Driven {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl DerefMut for Driven {
    fn deref_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }
}

impl Driven {
    fn apply(&mut self, config: Config) -> &Outcome {
        self.runtime.block_on(self.engine.apply(config))
    }

    fn refresh(&mut self) -> Option<&Outcome> {
        self.runtime.block_on(self.engine.refresh())
    }

    fn tick(&mut self) -> Option<&Outcome> {
        self.runtime.block_on(self.engine.tick())
    }

    fn end(&mut self, cleanup: bool) {
        self.runtime.block_on(self.engine.end(cleanup));
    }
}

/// An engine whose datapaths and devices are a fake kernel's.
fn engine(kernel: &FakeKernel) -> Driven {
    let kernel = kernel.clone();
    let opener = move |_: &Backing| {
        let datapath = kernel.open(DATAPATH, true)?;
        Ok((Arc::new(datapath) as Arc<dyn Datapath>, Arc::new(kernel.clone()) as _))
    };
    Driven {
        engine: Engine::with_opener(EngineOptions::default(), Arc::new(opener)),
        runtime: Builder::new_current_thread().enable_time().build().unwrap(),
    }
}

fn config(toml: &str) -> Config {
    from_toml(toml)
}

type Interface = Result<InterfaceOutcome, String>;

fn interface<'a>(outcome: &'a Outcome, bridge: &str, name: &str) -> Option<&'a Interface> {
    outcome.bridges[bridge].interfaces.get(name)
}

/// Refreshes until `done`; a minute is long enough for any machine.
fn until(driven: &mut Driven, what: &str, done: impl Fn(&Outcome) -> bool) {
    let Driven { engine, runtime } = driven;
    let patience = Duration::from_secs(60);
    let result = runtime.block_on(async {
        let reached = async {
            while !done(engine.outcome()) {
                engine.changed().await;
                let _ = engine.refresh().await;
            }
        };
        tokio::time::timeout(patience, reached).await
    });
    assert!(result.is_ok(), "{what}: {:?}", engine.outcome());
}

#[test]
fn without_bridges_there_is_no_datapath() {
    let kernel = FakeKernel::new();
    kernel.add_device("a");
    let mut engine = engine(&kernel);
    assert_eq!(*engine.apply(Config::default()), Outcome::default());
    assert!(kernel.open(DATAPATH, false).is_err());
    let outcome = engine.apply(config("[bridge.br0.port.a]\n"));
    assert_eq!(outcome.failure, None);
    let ofport = |name| interface(outcome, "br0", name).unwrap().as_ref().unwrap().ofport;
    assert_eq!((ofport("a"), ofport("br0")), (OfPort(1), OfPort::LOCAL));
    engine.apply(Config::default());
    assert!(kernel.open(DATAPATH, false).is_err(), "gone with the last bridge");
    engine.apply(config("[bridge.br0.port.a]\n"));
    assert!(engine.link("br0").is_some(), "known as soon as it is there");
    engine.end(false);
}

#[test]
fn a_device_that_comes_later_becomes_a_port_and_one_that_goes_is_missed() {
    let kernel = FakeKernel::new();
    let mut engine = engine(&kernel);
    let outcome = engine.apply(config("[bridge.br0.port.a]\n"));
    let error = "could not open network device a (No such device)".to_owned();
    assert_eq!(interface(outcome, "br0", "a"), Some(&Err(error.clone())));
    kernel.add_device("a");
    until(&mut engine, "a is a port", |o| interface(o, "br0", "a").is_some_and(Result::is_ok));
    assert_eq!(engine.link("a").map(|link| link.name.as_str()), Some("a"));
    kernel.remove_device("a");
    until(&mut engine, "a is missed", |o| interface(o, "br0", "a") == Some(&Err(error.clone())));
}

#[test]
fn a_device_is_found_that_is_younger_than_the_last_announcement() {
    let kernel = FakeKernel::new();
    let mut engine = engine(&kernel);
    engine.apply(config("[bridge.br0]\n"));
    // Nobody waits for the announcement.
    engine.links_heard = None;
    kernel.add_device("a");
    let outcome = engine.apply(config("[bridge.br0.port.a]\n"));
    assert!(interface(outcome, "br0", "a").is_some_and(Result::is_ok));
}

#[test]
fn a_renamed_device_leaves_and_returns() {
    let kernel = FakeKernel::new();
    kernel.add_device("a");
    let mut engine = engine(&kernel);
    engine.apply(config("[bridge.br0.port.a]\n"));
    kernel.rename_device("a", "x");
    until(&mut engine, "a is missed", |o| interface(o, "br0", "a").is_some_and(Result::is_err));
    kernel.rename_device("x", "a");
    until(&mut engine, "a is a port", |o| interface(o, "br0", "a").is_some_and(Result::is_ok));
}

#[test]
fn ports_that_others_take_away_are_put_back() {
    let kernel = FakeKernel::new();
    kernel.add_device("a");
    let mut engine = engine(&kernel);
    let outcome = engine.apply(config("[bridge.br0.port.a]\n"));
    let first = interface(outcome, "br0", "a").cloned().unwrap().unwrap();
    let theirs = kernel.open(DATAPATH, false).unwrap();
    theirs.port_del(first.odp.unwrap()).unwrap();
    until(&mut engine, "a is a port again", |o| {
        let now = interface(o, "br0", "a");
        now.is_some_and(|now| now.as_ref().is_ok_and(|now| now.odp != first.odp))
    });
    let now = interface(engine.outcome(), "br0", "a").cloned().unwrap().unwrap();
    assert_eq!(now.ofport, first.ofport);
}

#[test]
fn a_state_that_changed_is_told() {
    let kernel = FakeKernel::new();
    kernel.add_device("a");
    let mut engine = engine(&kernel);
    kernel.change_device("a", |device| device.carrier = false);
    engine.apply(config("[bridge.br0.port.a]\n"));
    kernel.change_device("a", |device| (device.up, device.carrier) = (true, true));
    let mut told = false;
    while engine.link("a").is_none_or(|link| !link.running) {
        engine.runtime.block_on(engine.engine.changed());
        told |= engine.refresh().is_some();
    }
    assert!(told);
}

#[test]
fn a_datapath_that_is_deleted_comes_back() {
    let kernel = FakeKernel::new();
    kernel.add_device("a");
    let mut engine = engine(&kernel);
    engine.apply(config("[bridge.br0.port.a]\n"));
    kernel.delete_datapath(DATAPATH);
    let _ = engine.tick();
    assert!(engine.outcome().failure.is_some());
    let outcome = engine.tick().expect("something new");
    assert_eq!(outcome.failure, None);
    assert!(interface(outcome, "br0", "a").is_some_and(Result::is_ok));
}

#[test]
fn what_is_switched_off_stays_off_whatever_datapath_there_is() {
    let kernel = FakeKernel::new();
    let mut engine = engine(&kernel);
    let current = engine.current();
    let are_off = || {
        let current = current.borrow();
        let settings = &current.as_ref().expect("a switch").udpif.settings;
        !settings.megaflows.load(Ordering::Relaxed) && !settings.ufid.load(Ordering::Relaxed)
    };
    // The control socket is there before the first datapath.
    current.set_megaflows(false);
    current.set_ufid(false);
    engine.apply(config("[bridge.br0]\n"));
    assert!(are_off());
    kernel.delete_datapath(DATAPATH);
    let _ = engine.tick();
    let _ = engine.tick();
    assert!(are_off());
    current.set_megaflows(true);
    assert!(!are_off());
}

#[test]
fn bridges_and_internal_devices_have_their_addresses_and_sizes_at_once() {
    let kernel = FakeKernel::new();
    kernel.add_device("a");
    let mac = EthAddr([0, 0, 0x5e, 0, 0, 9]);
    kernel.set_mac("a", mac).unwrap();
    kernel.set_mtu("a", 1400).unwrap();
    let mut engine = engine(&kernel);
    engine.apply(config("[bridge.br0]\n"));
    let outcome = engine.apply(config(
        "[bridge.br0.port.a]\n[bridge.br0.port.i]\ntype = \"internal\"\nmac = \"02:00:00:00:00:07\"\n",
    ));
    assert_eq!(outcome.bridges["br0"].datapath_id, 0x5e00_0009);
    let links = LinkTable::of(kernel.links().unwrap());
    let link = |name| links.by_name(name).map(|link| (link.mac, link.mtu)).unwrap();
    assert_eq!(link("br0"), (mac, 1400));
    assert_eq!(link("i"), (EthAddr([2, 0, 0, 0, 0, 7]), 1400));
    assert_eq!(engine.link("i").map(|link| link.mtu), Some(1400));
}

#[test]
fn a_bridge_of_an_unknown_type_leaves_the_others_alone() {
    let kernel = FakeKernel::new();
    kernel.add_device("a");
    let mut engine = engine(&kernel);
    let mut config = config("[bridge.br0.port.a]\n[bridge.br1]\n[bridge.br2]\n");
    config.bridges.get_mut("br1").unwrap().datapath_type = "odd".to_owned();
    config.bridges.get_mut("br2").unwrap().datapath_type = "system".to_owned();
    let outcome = engine.apply(config);
    assert!(outcome.bridges["br1"].error.is_some());
    assert_eq!(outcome.bridges["br2"].error, None);
    assert!(interface(outcome, "br0", "a").is_some_and(Result::is_ok));
    assert!(interface(outcome, "br2", "br2").is_some_and(Result::is_ok));
    assert!(interface(outcome, "br1", "br1").is_none());
}

#[test]
fn ports_of_an_earlier_run_are_taken_over() {
    let kernel = FakeKernel::new();
    kernel.add_device("a");
    kernel.add_device("old");
    let theirs = kernel.open(DATAPATH, true).unwrap();
    theirs.port_add("old", PortKind::Netdev, None).unwrap();
    let odp = theirs.port_add("a", PortKind::Netdev, None).unwrap();
    let mut config = config("[bridge.br0.port.a]\n[bridge.br0.port.b]\n");
    let ports = &mut config.bridges.get_mut("br0").unwrap().ports;
    ports.get_mut("a").unwrap().interfaces.get_mut("a").unwrap().ofport_recorded = Some(7);
    let mut engine = engine(&kernel);
    let outcome = engine.apply(config.clone());
    assert_eq!(
        interface(outcome, "br0", "a"),
        Some(&Ok(InterfaceOutcome { ofport: OfPort(7), odp: Some(odp) }))
    );
    assert!(theirs.port("old").unwrap().is_none());
    kernel.add_device("b");
    let outcome = engine.apply(config);
    let b = interface(outcome, "br0", "b").cloned().unwrap().unwrap();
    assert_eq!(b.ofport, OfPort(8), "after the highest that is known");
}

/// Devices that take until somebody else has had a turn.
struct Slow {
    kernel: FakeKernel,
    turns: Mutex<mpsc::Receiver<()>>,
    waits: AtomicUsize,
}

impl Slow {
    fn wait(&self) {
        let turns = self.turns.lock().unwrap();
        turns.recv_timeout(Duration::from_secs(60)).expect("a turn of the control thread");
        self.waits.fetch_add(1, Ordering::Relaxed);
    }
}

impl HostDevices for Slow {
    fn links(&self) -> Result<Vec<Link>, ovs_netlink::Error> {
        self.wait();
        self.kernel.links()
    }

    fn link(&self, name: &str) -> Result<Option<Link>, ovs_netlink::Error> {
        self.wait();
        self.kernel.link(name)
    }

    fn watch(&self) -> Result<Box<dyn LinkEvents>, ovs_netlink::Error> {
        self.kernel.watch()
    }

    fn set_up(&self, name: &str, up: bool) -> Result<(), ovs_netlink::Error> {
        self.wait();
        self.kernel.set_up(name, up)
    }

    fn set_mac(&self, name: &str, mac: EthAddr) -> Result<(), ovs_netlink::Error> {
        self.wait();
        self.kernel.set_mac(name, mac)
    }

    fn set_mtu(&self, name: &str, mtu: u32) -> Result<(), ovs_netlink::Error> {
        self.wait();
        self.kernel.set_mtu(name, mtu)
    }
}

// What answers the control socket is another task of the same thread.
#[test]
fn others_have_their_turn_while_the_kernel_takes_its_time() {
    let kernel = FakeKernel::new();
    kernel.add_device("a");
    let (turn, turns) = mpsc::channel();
    let slow = Arc::new(Slow {
        kernel: kernel.clone(),
        turns: Mutex::new(turns),
        waits: AtomicUsize::new(0),
    });
    let theirs = slow.clone();
    let opener = move |_: &Backing| {
        theirs.wait();
        let datapath = kernel.open(DATAPATH, true)?;
        Ok((Arc::new(datapath) as Arc<dyn Datapath>, theirs.clone() as _))
    };
    let mut engine = Engine::with_opener(EngineOptions::default(), Arc::new(opener));
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let mut waits = Vec::new();
    for toml in [
        "[bridge.br0.port.a]\nmtu-request = 1400\n",
        "[bridge.br0.port.a]\nmtu-request = 1300\n[bridge.br0.port.b]\n",
    ] {
        let is_done = std::cell::Cell::new(false);
        let apply = async {
            engine.apply(config(toml)).await;
            is_done.set(true);
        };
        let other = async {
            while !is_done.get() {
                let _ = turn.send(());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        runtime.block_on(async { tokio::join!(apply, other) });
        waits.push(slow.waits.load(Ordering::Relaxed));
    }
    // Opening, listing and tuning; then tuning and looking for what is missing.
    assert!(waits[0] >= 3 && waits[1] >= waits[0] + 2, "{waits:?}");
    assert_eq!(engine.link("a").map(|link| link.mtu), Some(1300));
}

#[test]
fn zones_have_their_timeouts_as_long_as_there_is_a_datapath() {
    let kernel = FakeKernel::new();
    let mut engine = engine(&kernel);
    let timeouts = |seconds| CtTimeouts::from([(CtTimeout::UdpSingle, seconds)]);
    let wanted = |toml: &str, seconds| {
        let zones = WantedZones::from([(5, timeouts(seconds))]);
        Config { ct_zones: [("system".to_owned(), zones)].into(), ..config(toml) }
    };
    engine.apply(wanted("", 1));
    assert_eq!(kernel.ct_policies(), [].into(), "no bridge, no datapath");
    engine.apply(wanted("[bridge.br0]\n", 1));
    assert_eq!(kernel.ct_policies(), [(CtPolicyId(1), timeouts(1))].into());
    kernel.use_ct_policy(CtPolicyId(1), true);
    engine.apply(wanted("[bridge.br0]\n", 2));
    let both = [(CtPolicyId(1), timeouts(1)), (CtPolicyId(2), timeouts(2))].into();
    assert_eq!(kernel.ct_policies(), both);
    // Another time that is due: as if 20 seconds were over.
    kernel.use_ct_policy(CtPolicyId(1), false);
    engine.works.ct_zones.forget();
    let _ = engine.tick();
    let left = [(CtPolicyId(2), timeouts(2))].into();
    assert_eq!(kernel.ct_policies(), left);
    kernel.delete_datapath(DATAPATH);
    let _ = engine.tick();
    let _ = engine.tick();
    assert_eq!(kernel.ct_policies(), left, "another datapath, the same policy");
    engine.apply(config("[bridge.br0]\n"));
    assert_eq!(kernel.ct_policies(), [].into());
}
