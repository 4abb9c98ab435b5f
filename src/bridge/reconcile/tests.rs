//! The reconciler over a fake kernel.

use std::sync::Mutex;

use ovs_netlink::flow::FlowMsg;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::*;
use crate::bridge::config::from_toml;
use crate::datapath::fake::{FakeDatapath, FakeKernel};
use crate::datapath::{
    DpStats, DumpDetail, FamilyIds, FlowDump, FlowOp, FlowResult, PortEvents, Support, UpcallPort,
};
use crate::netdev::HostDevices;

/// A datapath that counts what it is asked about its ports.
struct Counting {
    inner: FakeDatapath,
    calls: Mutex<Vec<String>>,
}

impl Counting {
    fn new(kernel: &FakeKernel) -> Self {
        let inner = kernel.open("ovs-system", true).unwrap();
        Self { inner, calls: Mutex::default() }
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    fn note(&self, call: impl Into<String>) {
        self.calls.lock().unwrap().push(call.into());
    }
}

impl Datapath for Counting {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn dp_ifindex(&self) -> u32 {
        self.inner.dp_ifindex()
    }

    fn families(&self) -> FamilyIds {
        self.inner.families()
    }

    fn support(&self) -> &Support {
        self.inner.support()
    }

    fn handlers_wanted(&self, configured: Option<usize>) -> usize {
        self.inner.handlers_wanted(configured)
    }

    fn open_handlers(&self, n: usize) -> Result<Vec<Box<dyn UpcallPort>>, DpError> {
        self.inner.open_handlers(n)
    }

    fn refresh_cpus(&self) -> Result<bool, DpError> {
        self.inner.refresh_cpus()
    }

    fn upcall_pid(&self, port: OdpPort) -> u32 {
        self.inner.upcall_pid(port)
    }

    fn port_add(
        &self,
        name: &str,
        kind: PortKind,
        want: Option<OdpPort>,
    ) -> Result<OdpPort, DpError> {
        self.note(format!("add {name}"));
        self.inner.port_add(name, kind, want)
    }

    fn port_del(&self, port: OdpPort) -> Result<(), DpError> {
        self.note("delete");
        self.inner.port_del(port)
    }

    fn ports(&self) -> Result<Vec<PortInfo>, DpError> {
        self.note("list");
        self.inner.ports()
    }

    fn port(&self, name: &str) -> Result<Option<PortInfo>, DpError> {
        self.note(format!("get {name}"));
        self.inner.port(name)
    }

    fn watch_ports(&self) -> Result<Box<dyn PortEvents>, DpError> {
        self.inner.watch_ports()
    }

    fn stats(&self) -> Result<DpStats, DpError> {
        self.inner.stats()
    }

    fn flow_dump_start(&self, detail: DumpDetail) -> Result<Box<dyn FlowDump>, DpError> {
        self.inner.flow_dump_start(detail)
    }

    fn flow_get(
        &self,
        ufid: &[u8; 16],
        each: &mut dyn FnMut(&FlowMsg<'_>),
    ) -> Result<bool, DpError> {
        self.inner.flow_get(ufid, each)
    }

    fn flow_ops(&self, ops: &[FlowOp<'_>], done: &mut dyn FnMut(usize, FlowResult)) {
        self.inner.flow_ops(ops, done);
    }

    fn flow_flush(&self) -> Result<(), DpError> {
        self.inner.flow_flush()
    }

    fn execute(&self, packet: &[u8], key: &[u8], actions: &[u8]) -> Result<(), DpError> {
        self.inner.execute(packet, key, actions)
    }

    fn destroy(&self) -> Result<(), DpError> {
        self.inner.destroy()
    }
}

struct World {
    kernel: FakeKernel,
    datapath: Counting,
    reconciler: Reconciler,
    links: LinkTable,
    events: Box<dyn PortEvents>,
}

impl World {
    fn new(devices: &[&str]) -> Self {
        let kernel = FakeKernel::new();
        for device in devices {
            kernel.add_device(device);
        }
        let datapath = Counting::new(&kernel);
        let events = datapath.watch_ports().unwrap();
        let reconciler = Reconciler::default();
        Self { kernel, datapath, reconciler, links: LinkTable::default(), events }
    }

    fn apply(&mut self, toml: &str) -> (Snapshot, Report) {
        self.apply_config(&from_toml(toml))
    }

    fn apply_config(&mut self, config: &Config) -> (Snapshot, Report) {
        self.links.resync(self.kernel.links().unwrap());
        let mut changes = Vec::new();
        self.reconciler.apply(config, &self.datapath, &self.links, &mut changes).unwrap()
    }

    /// Reads the kernel's announcements; whether they were news.
    fn hear(&mut self) -> bool {
        let mut news = false;
        let (reconciler, datapath) = (&mut self.reconciler, &self.datapath);
        self.events.read(&mut |event| news |= reconciler.note_event(&event, datapath)).unwrap();
        news
    }

    /// Ports of the datapath, its local one left out.
    fn ports(&self) -> BTreeSet<String> {
        let ports = self.datapath.inner.ports().unwrap().into_iter();
        ports.filter(|port| port.odp != OdpPort::LOCAL).map(|port| port.name).collect()
    }
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn ofports(snapshot: &Snapshot) -> BTreeMap<String, u16> {
    let ports = snapshot.bridges().iter().flat_map(|bridge| &bridge.ports);
    ports.map(|port| (port.name.clone(), port.ofp.0)).collect()
}

fn reasons(report: &Report) -> Vec<&str> {
    report.missing.iter().map(|missing| missing.reason.as_str()).collect()
}

#[test]
fn ports_come_and_go_and_the_others_stay() {
    let mut world = World::new(&["a", "b", "c"]);
    let (first, report) = world.apply("[bridge.br0.port.a]\n[bridge.br0.port.b]\n");
    let added: Vec<_> = report.added.iter().map(|(_, name, ofp)| (name.as_str(), ofp.0)).collect();
    assert_eq!(added, [("a", 1), ("b", 2), ("br0", 65_534)]);
    assert_eq!(world.ports(), names(&["a", "b", "br0"]));
    let (second, report) = world.apply("[bridge.br0.port.b]\n[bridge.br0.port.c]\n");
    assert_eq!(report.added, [("br0".into(), "c".into(), OfPort(3))]);
    assert_eq!(report.removed, [("br0".into(), "a".into(), OfPort(1))]);
    assert_eq!(world.ports(), names(&["b", "br0", "c"]));
    let odp = |snapshot: &Snapshot| {
        let bridge = snapshot.bridge_named("br0").unwrap();
        bridge.ports.iter().find(|port| port.name == "b").unwrap().odp()
    };
    assert_eq!(odp(&first), odp(&second));
    let (_, report) = world.apply("");
    assert_eq!(report.removed.len(), 3);
    assert_eq!(world.ports(), names(&[]));
}

#[test]
fn the_same_twice_changes_nothing() {
    let mut world = World::new(&["a", "b"]);
    let toml = "[bridge.br0.port.a]\n[bridge.br0.port.gone]\n[bridge.br1.port.b]\ntag = 5\n";
    let (first, _) = world.apply(toml);
    world.hear();
    let _ = world.datapath.calls();
    let (second, report) = world.apply(toml);
    assert_eq!(world.datapath.calls(), [""; 0]);
    assert!(!report.changed());
    for (a, b) in first.bridges().iter().zip(second.bridges()) {
        assert!(Arc::ptr_eq(a, b), "not built anew");
    }
    assert_eq!(first.changes_to(&second), []);
}

#[test]
fn one_port_more_among_a_thousand_costs_one_call() {
    let many: Vec<String> = (0..1_001).map(|n| format!("p{n}")).collect();
    let mut world = World::new(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let mut toml = "[bridge.br1]\n".to_owned();
    for name in &many[..1_000] {
        toml.push_str(&format!("[bridge.br0.port.{name}]\n"));
    }
    let (before, _) = world.apply(&toml);
    assert_eq!(world.datapath.calls().len(), 1_003, "a listing and an add each");
    assert!(!world.hear(), "what was done here is no news");
    assert_eq!(world.datapath.calls(), [""; 0]);
    toml.push_str("[bridge.br0.port.p1000]\n");
    let (after, _) = world.apply(&toml);
    assert_eq!(world.datapath.calls(), ["add p1000"]);
    let br1 = |snapshot: &Snapshot| snapshot.bridge_named("br1").unwrap().clone();
    assert!(Arc::ptr_eq(&br1(&before), &br1(&after)), "br1 was not changed");
    let changes = before.changes_to(&after);
    assert_eq!(changes.len(), 2, "the new port, and what floods rest on: {changes:?}");
    let (_, report) = world.apply(&toml.replace("[bridge.br0.port.p7]\n", ""));
    assert_eq!(world.datapath.calls(), ["delete"]);
    assert_eq!(report.removed.len(), 1);
}

#[test]
fn what_cannot_be_had_is_told_in_the_peers_words() {
    let mut world = World::new(&["a", "b"]);
    let other = world.kernel.open("other", true).unwrap();
    other.port_add("b", PortKind::Netdev, None).unwrap();
    let toml = "[bridge.br0.port.a]\n[bridge.br0.port.b]\n[bridge.br0.port.gone]\n\
                [bridge.br0.port.i]\ntype = \"internal\"\n";
    world.kernel.add_device("i");
    let (snapshot, report) = world.apply(toml);
    let mut said = reasons(&report);
    said.sort_unstable();
    assert_eq!(
        said,
        [
            "could not add network device b to ofproto (Device or resource busy)",
            "could not add network device i to ofproto (File exists)",
            "could not open network device gone (No such device)",
        ]
    );
    assert_eq!(ofports(&snapshot).len(), 2, "a and br0");
    // They are had as soon as they can be.
    world.kernel.add_device("gone");
    world.kernel.remove_device("i");
    assert!(other.port("b").unwrap().is_some_and(|port| other.port_del(port.odp).is_ok()));
    let (snapshot, report) = world.apply(toml);
    assert_eq!(reasons(&report), [""; 0]);
    // What was not there took no number.
    assert_eq!(ofports(&snapshot)["a"], 1);
    assert_eq!(ofports(&snapshot).len(), 5);
}

#[test]
fn a_device_of_two_bridges_is_the_ones_that_has_it() {
    let mut world = World::new(&["a"]);
    let mut config = from_toml("[bridge.br1.port.a]\n[bridge.br0]\n");
    world.apply_config(&config);
    let port = config.bridges["br1"].ports["a"].clone();
    config.bridges.get_mut("br0").unwrap().ports.insert("a".to_owned(), port);
    let (snapshot, report) = world.apply_config(&config);
    assert_eq!(report.missing.len(), 1);
    assert_eq!(report.missing[0].bridge, "br0");
    assert_eq!(
        reasons(&report),
        ["could not add network device a to ofproto (Device or resource busy)"]
    );
    assert_eq!(snapshot.bridge_named("br1").unwrap().ports.len(), 2);
    config.bridges.get_mut("br1").unwrap().ports.clear();
    let (snapshot, report) = world.apply_config(&config);
    assert_eq!(reasons(&report), [""; 0]);
    assert_eq!(snapshot.bridge_named("br0").unwrap().ports.len(), 2);
}

#[test]
fn what_others_do_to_the_ports_is_put_right() {
    let mut world = World::new(&["a", "b", "c"]);
    let toml = "[bridge.br0.port.a]\n[bridge.br0.port.b]\n";
    let (first, _) = world.apply(toml);
    assert!(!world.hear());
    let port = world.datapath.inner.port("a").unwrap().unwrap();
    world.datapath.inner.port_del(port.odp).unwrap();
    world.datapath.inner.port_add("c", PortKind::Netdev, None).unwrap();
    assert!(world.hear());
    let (second, report) = world.apply(toml);
    assert_eq!(world.ports(), names(&["a", "b", "br0"]));
    assert_eq!(report.purged, ["c"]);
    assert_eq!(ofports(&first), ofports(&second));
    assert!(!world.hear(), "old news");
    // A device that goes, and comes back.
    world.kernel.remove_device("b");
    assert!(world.hear());
    let (third, report) = world.apply(toml);
    assert_eq!(reasons(&report), ["could not open network device b (No such device)"]);
    assert_eq!(report.removed.len(), 1);
    assert!(!ofports(&third).contains_key("b"));
    world.kernel.add_device("b");
    world.hear();
    let (fourth, _) = world.apply(toml);
    assert_eq!(ofports(&first), ofports(&fourth), "it has its number again");
}

#[test]
fn a_renamed_device_is_another_one() {
    let mut world = World::new(&["a", "b"]);
    let toml = "[bridge.br0.port.a]\n";
    world.apply(toml);
    world.kernel.rename_device("a", "x");
    world.reconciler.forget_ports();
    let (_, report) = world.apply(toml);
    assert_eq!(report.missing.len(), 1);
    assert_eq!(world.ports(), names(&["br0"]));
    world.kernel.rename_device("b", "a");
    let (snapshot, _) = world.apply(toml);
    assert_eq!(ofports(&snapshot)["a"], 1);
}

#[test]
fn a_port_of_another_kind_is_made_anew() {
    let mut world = World::new(&["a"]);
    world.apply("[bridge.br0.port.a]\n");
    world.kernel.remove_device("a");
    world.hear();
    let (snapshot, report) = world.apply("[bridge.br0.port.a]\ntype = \"internal\"\n");
    assert_eq!(reasons(&report), [""; 0]);
    assert_eq!(ofports(&snapshot)["a"], 1);
    world.apply("[bridge.br0.port.a]\n");
    assert_eq!(world.ports(), names(&["br0"]));
}

#[test]
fn the_fail_mode_decides_the_tables() {
    let mut world = World::new(&["a"]);
    let (first, _) = world.apply("[bridge.br0.port.a]\n");
    let (second, _) = world.apply("[bridge.br0]\nfail-mode = \"secure\"\n[bridge.br0.port.a]\n");
    let id = first.bridges()[0].id;
    assert!(first.changes_to(&second).contains(&Dep::Bridge(id)));
    assert!(!Arc::ptr_eq(&first.bridges()[0].tables, &second.bridges()[0].tables));
}

#[test]
fn patches_have_peers_when_both_ends_say_so() {
    let mut world = World::new(&[]);
    let both = "[bridge.br0.port.p0]\ntype = \"patch\"\npeer = \"p1\"\n\
                [bridge.br1.port.p1]\ntype = \"patch\"\npeer = \"p0\"\n";
    let peers = |snapshot: &Snapshot| {
        let bridge = snapshot.bridge_named("br0").unwrap();
        let port = bridge.ports.iter().find(|port| port.name == "p0").unwrap();
        snapshot.patch_peer(bridge.id, port.ofp).map(|(bridge, port)| (bridge.id, port.ofp))
    };
    let (first, report) = world.apply(both);
    assert_eq!(report.added.len(), 4);
    assert!(peers(&first).is_some());
    assert_eq!(world.ports(), names(&["br0", "br1"]), "the datapath knows nothing of patches");
    let (second, _) = world.apply(&both.replace("peer = \"p0\"", "peer = \"p9\""));
    assert_eq!(peers(&second), None);
    let id = first.bridge_named("br0").unwrap().id;
    assert!(first.changes_to(&second).contains(&Dep::Patch(id, OfPort(1))));
    let (third, _) = world.apply(both);
    assert!(peers(&third).is_some());
    assert!(second.changes_to(&third).contains(&Dep::Patch(id, OfPort(1))));
    // Counters live as long as the port.
    let counters = |snapshot: &Snapshot| {
        let port = &snapshot.bridge_named("br0").unwrap().ports[0];
        port.patch().unwrap().counters.clone()
    };
    assert!(Arc::ptr_eq(&counters(&first), &counters(&third)));
}

#[test]
fn of_several_interfaces_the_first_running_one_forwards() {
    let mut world = World::new(&["a", "b"]);
    let mut config = from_toml("[bridge.br0.port.a]\n");
    let ports = &mut config.bridges.get_mut("br0").unwrap().ports;
    let mut bond = ports.remove("a").unwrap();
    bond.interfaces.insert("b".to_owned(), InterfaceConfig::default());
    ports.insert("bond".to_owned(), bond);
    let forwards = |snapshot: &Snapshot| {
        let bridge = &snapshot.bridges()[0];
        let bundle = bridge.bundles.iter().find(|bundle| bundle.name == "bond").unwrap();
        assert_eq!(bundle.ports.len(), 2);
        bridge.port(bundle.ports[0]).unwrap().name.clone()
    };
    for name in ["a", "b"] {
        world.kernel.change_device(name, |device| (device.up, device.carrier) = (true, true));
    }
    assert_eq!(forwards(&world.apply_config(&config).0), "a");
    world.kernel.change_device("a", |device| device.carrier = false);
    assert_eq!(forwards(&world.apply_config(&config).0), "b");
}

/// Names of devices of the random runs; the last does not exist.
const POOL: [&str; 5] = ["a", "b", "c", "d", "none"];

#[derive(Clone, Debug)]
enum Step {
    /// Each name in a bridge (or in none), as an internal port or as a device, with a wish for a number.
    Configure(Vec<Option<(bool, bool, Option<u16>)>>),
    Unplug(usize),
    Plug(usize),
    TakeAway(usize),
    PutIn(usize),
    Hear,
}

fn step() -> impl Strategy<Value = Step> {
    let port = proptest::option::of((
        any::<bool>(),
        proptest::bool::weighted(0.2),
        proptest::option::of(1u16..5),
    ));
    prop_oneof![
        4 => proptest::collection::vec(port, POOL.len()).prop_map(Step::Configure),
        1 => (0..4usize).prop_map(Step::Unplug),
        1 => (0..4usize).prop_map(Step::Plug),
        1 => (0..4usize).prop_map(Step::TakeAway),
        1 => (0..4usize).prop_map(Step::PutIn),
        2 => Just(Step::Hear),
    ]
}

fn config_of(ports: &[Option<(bool, bool, Option<u16>)>]) -> Config {
    let mut toml = "[bridge.br0]\n[bridge.br1]\n".to_owned();
    let mut wishes = BTreeSet::new();
    for (name, port) in POOL.iter().zip(ports) {
        if let Some((in_first, internal, wish)) = port {
            let bridge = if *in_first { "br0" } else { "br1" };
            toml.push_str(&format!("[bridge.{bridge}.port.{name}]\n"));
            if *internal {
                toml.push_str("type = \"internal\"\n");
            }
            if let Some(wish) = wish.filter(|wish| wishes.insert((*in_first, *wish))) {
                toml.push_str(&format!("ofport = {wish}\n"));
            }
        }
    }
    from_toml(&toml)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("seeds"))),
        ..ProptestConfig::default()
    })]

    /// Whatever happens in whatever order: once the announcements are read and the configuration is
    /// applied, the datapath has the ports that are wanted and can be had, the snapshot says so, and what
    /// is missing is told.
    #[test]
    fn the_datapath_ends_as_wanted(steps in proptest::collection::vec(step(), 1..25)) {
        let mut world = World::new(&POOL[..4]);
        let mut config = config_of(&[]);
        for step in steps {
            match step {
                Step::Configure(ports) => {
                    config = config_of(&ports);
                    world.apply_config(&config);
                }
                Step::Unplug(n) => drop(world.kernel.remove_device(POOL[n])),
                Step::Plug(n) => drop(world.kernel.add_device(POOL[n])),
                Step::TakeAway(n) => {
                    if let Some(port) = world.datapath.inner.port(POOL[n]).unwrap() {
                        world.datapath.inner.port_del(port.odp).unwrap();
                    }
                }
                Step::PutIn(n) => {
                    let _ = world.datapath.inner.port_add(POOL[n], PortKind::Netdev, None);
                }
                Step::Hear => drop(world.hear()),
            }
        }
        world.hear();
        let (snapshot, report) = world.apply_config(&config);
        let devices: BTreeMap<String, bool> =
            world.kernel.devices().into_iter().map(|d| (d.name, d.internal)).collect();
        let mut want: BTreeSet<String> = names(&["br0", "br1"]);
        for (name, interface) in config.bridges.values().flat_map(interfaces) {
            let is_internal = interface.kind == InterfaceKind::Internal;
            if devices.get(name) == Some(&is_internal) {
                want.insert(name.to_owned());
            } else {
                prop_assert!(report.missing.iter().any(|m| m.interface == name), "{name}");
            }
        }
        prop_assert_eq!(world.ports(), want.clone());
        let told: BTreeSet<String> = ofports(&snapshot).into_keys().collect();
        prop_assert_eq!(told, want);
        for bridge in snapshot.bridges() {
            let numbers: BTreeSet<OfPort> = bridge.ports.iter().map(|port| port.ofp).collect();
            prop_assert_eq!(numbers.len(), bridge.ports.len());
            for (name, interface) in interfaces(&config.bridges[&bridge.name]) {
                let port = bridge.ports.iter().find(|port| port.name == name);
                if let (Some(port), Some(wish)) = (port, interface.ofport_request) {
                    prop_assert_eq!(port.ofp.0, wish);
                }
            }
        }
        world.hear();
        let _ = world.datapath.calls();
        let (_, again) = world.apply_config(&config);
        prop_assert!(!again.changed());
    }
}
