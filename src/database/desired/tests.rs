//! Expectations: what the stock daemon 3.1.0 did with the same rows, and ovs-vswitchd.conf.db(5).

use proptest::prelude::*;

use super::*;
use crate::bridge::config::BOND_INSTEAD;
use crate::datapath::{CtTimeout, CtTimeouts};
use crate::ovsdb::value::{Atom, Datum};
use crate::snapshot::VlanSet;

type Columns = Vec<(&'static str, Datum)>;

/// A database by hand.
#[derive(Default)]
struct Db {
    rows: Vec<(Table, Uuid, Columns)>,
    bridges: Vec<Uuid>,
    datapaths: Vec<(&'static str, Uuid)>,
    other_config: Vec<(&'static str, &'static str)>,
    recorded: BTreeMap<Uuid, u16>,
    dummy: DummyMode,
    restored: bool,
}

fn refs(uuids: &[Uuid]) -> Datum {
    Datum::set(uuids.iter().copied())
}

impl Db {
    fn add(&mut self, table: Table, columns: Columns) -> Uuid {
        let mut uuid = Uuid([7; 16]);
        uuid.0[12..].copy_from_slice(&(self.rows.len() as u32).to_be_bytes());
        self.rows.push((table, uuid, columns));
        uuid
    }

    fn interface(&mut self, name: &str, mut columns: Columns) -> Uuid {
        columns.push(("name", Datum::from(name)));
        self.add(Table::Interface, columns)
    }

    fn port(&mut self, name: &str, interfaces: &[Uuid], mut columns: Columns) -> Uuid {
        columns.push(("name", Datum::from(name)));
        columns.push(("interfaces", refs(interfaces)));
        self.add(Table::Port, columns)
    }

    /// A port of one interface.
    fn simple(&mut self, name: &str, interface: Columns, port: Columns) -> Uuid {
        let interface = self.interface(name, interface);
        self.port(name, &[interface], port)
    }

    fn bridge(&mut self, name: &str, ports: &[Uuid], mut columns: Columns) -> Uuid {
        columns.push(("name", Datum::from(name)));
        columns.push(("ports", refs(ports)));
        let uuid = self.add(Table::Bridge, columns);
        self.bridges.push(uuid);
        uuid
    }

    fn desire(&self) -> Desired {
        let root = vec![
            ("bridges", refs(&self.bridges)),
            ("datapaths", Datum::map(self.datapaths.iter().copied())),
            ("other_config", Datum::map(self.other_config.iter().copied())),
        ];
        let root = (Table::OpenVSwitch, Uuid([1; 16]), root);
        let replica = Replica::of(self.rows.iter().cloned().chain([root]));
        let around =
            Circumstances { recorded: &self.recorded, dummy: self.dummy, restored: self.restored };
        desire(&replica, around)
    }
}

fn options(pairs: &[(&'static str, &'static str)]) -> (&'static str, Datum) {
    ("options", Datum::map(pairs.iter().copied()))
}

fn other_config(pairs: &[(&'static str, &'static str)]) -> (&'static str, Datum) {
    ("other_config", Datum::map(pairs.iter().copied()))
}

fn text(column: &'static str, text: &str) -> (&'static str, Datum) {
    (column, Datum::from(text))
}

fn says(desired: &Desired, text: &str) -> bool {
    desired.complaints.iter().any(|complaint| complaint.text == text)
}

/// Kind of the only interface of a port of `br0`.
fn kind(desired: &Desired, name: &str) -> InterfaceKind {
    desired.config.bridges["br0"].ports[name].interfaces[name].kind.clone()
}

fn refused(text: &str) -> InterfaceKind {
    InterfaceKind::Refused(text.to_owned())
}

#[test]
fn columns_arrive_where_they_belong() {
    let mut db = Db::default();
    let local = db.simple("br0", vec![text("type", "internal")], vec![("tag", 7.into())]);
    let veth = db.simple(
        "veth0",
        vec![
            ("ofport_request", 5.into()),
            ("mtu_request", 1400.into()),
            text("mac", "02:00:00:00:00:07"),
        ],
        vec![
            ("tag", 10.into()),
            ("trunks", Datum::set([10, 20, 4096, -1])),
            text("vlan_mode", "native-untagged"),
            other_config(&[("priority-tags", "if-nonzero")]),
            text("mac", "00:00:00:00:00:08"),
        ],
    );
    let int = db.simple(
        "int0",
        vec![text("type", "internal"), text("mac", "2:0:0:0:0:7"), ("ofport", 3.into())],
        vec![("fake_bridge", true.into())],
    );
    let (_, recorded, _) = &db.rows[db.rows.len() - 2];
    db.recorded.insert(*recorded, 3);
    let patch = db.simple("p0", vec![text("type", "patch"), options(&[("peer", "p1")])], vec![]);
    db.bridge(
        "br0",
        &[local, veth, int, patch],
        vec![
            text("fail_mode", "secure"),
            text("datapath_type", "system"),
            ("flood_vlans", Datum::set([5, 99])),
            other_config(&[
                ("hwaddr", "aa:bb:cc:dd:ee:02"),
                ("datapath-id", "0000000000000123"),
                ("forward-bpdu", "TRUE"),
                ("mac-table-size", "5"),
                ("mac-aging-time", "7200"),
            ]),
        ],
    );
    let desired = db.desire();
    assert_eq!(desired.complaints, BTreeSet::new());
    let bridge = &desired.config.bridges["br0"];
    assert_eq!(bridge.fail_mode, FailMode::Secure);
    assert_eq!(bridge.datapath_type, "system");
    assert_eq!(bridge.mac, Some(EthAddr([0xaa, 0xbb, 0xcc, 0xdd, 0xee, 2])));
    assert_eq!(bridge.datapath_id, Some(0x123));
    assert!(bridge.forward_bpdu);
    let fdb = FdbConfig { max_entries: 10, aging_ms: 3_600_000, flood_vlans: vec![5, 99] };
    assert_eq!(bridge.fdb, fdb);
    assert_eq!(bridge.ports["br0"].tag, Some(7));
    let veth = &bridge.ports["veth0"];
    assert_eq!((veth.tag, &veth.trunks), (Some(10), &vec![10, 20]));
    assert_eq!(veth.vlan_mode, Some(VlanMode::NativeUntagged));
    assert_eq!(veth.priority_tags, PriorityTags::IfNonzero);
    assert_eq!(veth.mac, Some(EthAddr([0, 0, 0, 0, 0, 8])));
    let interface = &veth.interfaces["veth0"];
    assert_eq!(interface.kind, InterfaceKind::System);
    assert_eq!((interface.ofport_request, interface.ofport_recorded), (Some(5), None));
    // Only what the datapath makes is given an address.
    assert_eq!((interface.mtu_request, interface.mac), (Some(1400), None));
    assert!(bridge.ports["int0"].fake_bridge);
    let interface = &bridge.ports["int0"].interfaces["int0"];
    assert_eq!(interface.mac, Some(EthAddr([2, 0, 0, 0, 0, 7])));
    assert_eq!(interface.ofport_recorded, Some(3));
    assert_eq!(kind(&desired, "p0"), InterfaceKind::Patch { peer: "p1".to_owned() });
    assert_eq!(desired.rows.bridges.len(), 1);
    assert_eq!(desired.rows.interfaces.len(), 4);
}

#[test]
fn settings_are_read_as_leniently_as_the_peer_reads_them() {
    let mut db = Db {
        other_config: vec![
            ("max-idle", "3000"),
            ("flow-limit", "-1"),
            ("max-revalidator", "x"),
            ("vlan-limit", "-3"),
            ("n-handler-threads", "2"),
            ("n-revalidator-threads", "99999"),
            ("enable-statistics", "True"),
            ("stats-update-interval", "10"),
            ("flow-restore-wait", "True"),
        ],
        ..Db::default()
    };
    assert!(db.desire().enable_statistics);
    let settings = db.desire().config.settings.clone();
    assert_eq!(settings.max_idle_ms, Some(3000));
    assert_eq!((settings.flow_limit, settings.max_revalidator_ms), (None, None));
    assert_eq!(settings.vlan_limit, Some(0));
    assert_eq!(settings.n_handler_threads, Some(2));
    assert_eq!(settings.n_revalidator_threads, Some(crate::limits::THREADS_MAX));
    assert_eq!(settings.stats_update_interval_ms, Some(5000));
    assert!(settings.flow_restore_wait);
    db.restored = true;
    assert!(!db.desire().config.settings.flow_restore_wait);
}

#[test]
fn what_does_not_concern_us_is_said_once_and_left() {
    let mut db = Db {
        other_config: vec![
            ("dpdk-init", "true"),
            ("hw-offload", "true"),
            ("n-offload-threads", "4"),
            ("pmd-cpu-mask", "3"),
        ],
        ..Db::default()
    };
    db.bridge("br0", &[], vec![("stp_enable", true.into()), ("mirrors", refs(&[Uuid([3; 16])]))]);
    let desired = db.desire();
    assert!(says(&desired, "DPDK not supported in this copy of Open vSwitch."));
    let keys = "other_config without effect here: dpdk-init, hw-offload, n-offload-threads, \
                pmd-cpu-mask";
    assert!(says(&desired, keys));
    assert!(says(&desired, "bridge br0: columns without effect here: mirrors, stp_enable"));
    assert!(desired.config.bridges.contains_key("br0"));
    assert!(!desired.enable_statistics);
    assert_eq!(desired.config.lacking, [(Lacking::Stp, "br0".to_owned())].into());
}

#[test]
fn timeouts_of_zones_are_found_over_three_tables() {
    let mut db = Db::default();
    let timeouts = Datum::map([("udp_single", 7_i64), ("icmp_first", 0), ("tcp_new_one", 3)]);
    let policy = db.add(Table::CtTimeoutPolicy, vec![("timeouts", timeouts)]);
    let empty = db.add(Table::CtTimeoutPolicy, vec![]);
    let zone = |policy: Uuid| vec![("timeout_policy", refs(&[policy]))];
    let zones = [
        (5_i64, db.add(Table::CtZone, zone(policy))),
        (6, db.add(Table::CtZone, zone(empty))),
        (7, db.add(Table::CtZone, vec![])),
        // What the schema does not let pass, or is not there any more.
        (8, Uuid([4; 16])),
        (65_536, db.add(Table::CtZone, zone(policy))),
        (-1, db.add(Table::CtZone, zone(policy))),
    ];
    let datapath = db.add(Table::Datapath, vec![("ct_zones", Datum::map(zones))]);
    let without = db.add(Table::Datapath, vec![]);
    db.datapaths.extend([("system", datapath), ("netdev", without)]);
    let desired = db.desire();
    let timeouts = [(CtTimeout::UdpSingle, 7), (CtTimeout::IcmpFirst, 0)].into();
    let none = CtTimeouts::new;
    let zones = [(5, timeouts), (6, none()), (7, none())].into();
    assert_eq!(desired.config.ct_zones, [("system".to_owned(), zones)].into());
    assert!(desired.complaints.is_empty());
}

#[test]
fn monitoring_and_bonds_that_are_not_there_are_said() {
    let mut db = Db::default();
    let bfd = db.interface("a", vec![("bfd", Datum::map([("enable", "true")]))]);
    let cfm = db.interface("b", vec![("cfm_mpid", 5.into())]);
    let off = db.interface("c", vec![("bfd", Datum::map([("enable", "false")]))]);
    let bond = db.port("bond0", &[bfd, cfm], vec![text("lacp", "active")]);
    let single = db.port("c", &[off], vec![text("lacp", "off")]);
    db.bridge("br0", &[bond, single], vec![]);
    let desired = db.desire();
    let lacking = [
        (Lacking::Bond, "bond0".to_owned()),
        (Lacking::Lacp, "bond0".to_owned()),
        (Lacking::Cfm, "b".to_owned()),
        (Lacking::Bfd, "a".to_owned()),
    ];
    assert_eq!(desired.config.lacking, lacking.into());
    assert!(says(&desired, "port bond0: LACP is not supported"));
    assert!(says(&desired, &format!("port bond0: bonding is not supported; {BOND_INSTEAD}")));
    assert!(says(&desired, "interface a: BFD is not supported"));
    assert!(says(&desired, "interface b: CFM is not supported"));
}

#[test]
fn tunnels_have_a_type_and_customers() {
    let mut db = Db::default();
    let tunnel = |more: Vec<(&'static str, Datum)>| {
        [vec![text("vlan_mode", "dot1q-tunnel"), ("tag", 9.into())], more].concat()
    };
    let plain = db.simple("a", vec![], tunnel(vec![]));
    let listed = tunnel(vec![("cvlans", 8.into()), ("trunks", 7.into())]);
    let listed = db.simple(
        "b",
        vec![],
        [listed, vec![other_config(&[("qinq-ethtype", "802.1q")])]].concat(),
    );
    db.bridge("br0", &[plain, listed], vec![]);
    let ports = &db.desire().config.bridges["br0"].ports;
    assert_eq!(ports["a"].mode(), VlanMode::Dot1qTunnel(QinqType::Dot1ad));
    assert_eq!(ports["a"].trunk_set(), VlanSet::ALL);
    assert_eq!(ports["b"].mode(), VlanMode::Dot1qTunnel(QinqType::Dot1q));
    assert_eq!(ports["b"].trunk_set().iter().collect::<Vec<_>>(), [8]);
}

// The texts are the ones that `ovs-vsctl show` printed of the stock daemon.
#[test]
fn interfaces_that_make_no_sense_say_why() {
    let mut db = Db::default();
    let mut ports = Vec::new();
    let patch = || text("type", "patch");
    ports.push(db.simple("weird", vec![text("type", "foo")], vec![]));
    ports.push(db.simple("dpdk0", vec![text("type", "dpdk")], vec![]));
    ports.push(db.simple("npeer", vec![patch()], vec![]));
    ports.push(db.simple("self", vec![patch(), options(&[("peer", "self")])], vec![]));
    let two = options(&[("peer", "x"), ("tos", "1")]);
    ports.push(db.simple("two", vec![patch(), two], vec![]));
    ports.push(db.simple("vxlan_sys_4789", vec![], vec![]));
    ports.push(db.simple("br1", vec![], vec![]));
    ports.push(db.simple("good", vec![], vec![]));
    db.bridge("br0", &ports, vec![]);
    let again = db.simple("good", vec![], vec![]);
    db.bridge("br1", &[again], vec![]);
    let desired = db.desire();
    let unknown = "(Address family not supported by protocol)";
    let could_not = |name| format!("could not open network device {name} {unknown}");
    assert_eq!(kind(&desired, "weird"), refused(&could_not("weird")));
    assert_eq!(kind(&desired, "dpdk0"), refused(&could_not("dpdk0")));
    assert_eq!(
        kind(&desired, "npeer"),
        refused("npeer: patch type requires valid 'peer' argument")
    );
    assert_eq!(kind(&desired, "self"), refused("self: patch peer must not be self"));
    assert_eq!(kind(&desired, "two"), refused("two: patch type takes only a 'peer' argument"));
    assert_eq!(kind(&desired, "vxlan_sys_4789"), refused(""));
    assert!(says(&desired, "could not create interface vxlan_sys_4789, name is reserved"));
    assert_eq!(kind(&desired, "br1"), refused("could not open network device br1 (File exists)"));
    assert_eq!(kind(&desired, "good"), InterfaceKind::System);
    assert_eq!(
        desired.config.bridges["br1"].ports["good"].interfaces["good"].kind,
        refused("could not add network device good to ofproto (File exists)")
    );
}

#[test]
fn dummies_exist_when_they_were_asked_for() {
    let mut db = Db::default();
    let port = db.simple("d0", vec![text("type", "dummy")], vec![]);
    db.bridge("br0", &[port], vec![]);
    assert!(matches!(kind(&db.desire(), "d0"), InterfaceKind::Refused(_)));
    db.dummy = DummyMode::On;
    assert_eq!(kind(&db.desire(), "d0"), InterfaceKind::Dummy("dummy".to_owned()));
}

#[test]
fn wrong_addresses_cost_the_address_only() {
    let mut db = Db::default();
    let internal = || text("type", "internal");
    let local = db.simple("br0", vec![text("mac", "02:00:00:00:00:01")], vec![]);
    let group = db.simple("i1", vec![internal(), text("mac", "01:00:00:00:00:01")], vec![]);
    let zero = db.simple("i2", vec![internal(), text("mac", "00:00:00:00:00:00")], vec![]);
    let junk = db.simple("i3", vec![internal(), text("mac", "+2:00:00:00:00:00")], vec![]);
    let hwaddr = other_config(&[("hwaddr", "01:bb:cc:dd:ee:02"), ("datapath-id", "xyz")]);
    db.bridge("br0", &[local, group, zero, junk], vec![hwaddr]);
    let desired = db.desire();
    let bridge = &desired.config.bridges["br0"];
    assert_eq!((bridge.mac, bridge.datapath_id), (None, None));
    for (name, port) in &bridge.ports {
        assert_eq!(port.interfaces[name].mac, None);
    }
    assert!(says(
        &desired,
        "bridge br0: cannot set MAC address to multicast address 01:bb:cc:dd:ee:02"
    ));
    assert!(says(
        &desired,
        "interface br0: ignoring mac in Interface record (use Bridge record to set local port's mac)"
    ));
    assert!(says(&desired, "interface i1: cannot set MAC to multicast address"));
    assert!(says(&desired, "interface i2: cannot set MAC to all zero address"));
}

#[test]
fn bridges_and_ports_that_make_no_sense_leave_the_others_alone() {
    let mut db = Db::default();
    let interface = db.interface("veth0", vec![]);
    let a = db.port("veth0", &[interface], vec![]);
    let b = db.port("veth0", &[interface], vec![]);
    let empty = db.port("empty", &[Uuid([9; 16])], vec![]);
    let mode = db.simple("q", vec![], vec![text("vlan_mode", "sideways"), ("tag", 9.into())]);
    let implicit = db.simple("t", vec![], vec![("tag", 9.into()), ("trunks", 8.into())]);
    db.bridge("br0", &[a, b, empty, mode, implicit, Uuid([8; 16])], vec![]);
    db.bridge("../../etc", &[], vec![]);
    db.bridge("br0", &[], vec![]);
    db.bridges.push(Uuid([6; 16]));
    let desired = db.desire();
    assert_eq!(desired.config.bridges.keys().collect::<Vec<_>>(), ["br0"]);
    let ports = &desired.config.bridges["br0"].ports;
    assert_eq!(ports.keys().collect::<Vec<_>>(), ["q", "t", "veth0"]);
    assert_eq!(ports["q"].vlan_mode, Some(VlanMode::Trunk));
    assert!(says(&desired, "port q: unknown VLAN mode sideways, falling back to trunk mode"));
    assert!(says(&desired, "ignoring bridge with invalid name \"../../etc\""));
    assert!(says(&desired, "bridge br0 specified twice"));
    assert!(says(&desired, "bridge br0: veth0 specified twice as bridge port"));
    assert!(says(&desired, "port t: ignoring trunks in favor of implicit vlan"));
}

// Row c0970492-8860-4603-… got the address 92:04:97:c0:03:46 from the stock daemon on x86-64.
#[test]
#[cfg(target_endian = "little")]
fn a_bridge_without_ports_has_the_peers_address() {
    let uuid: Uuid = "c0970492-8860-4603-8960-f1c1ce7f4eb5".parse().unwrap();
    assert_eq!(address_of_row(uuid), EthAddr([0x92, 0x04, 0x97, 0xc0, 0x03, 0x46]));
}

#[test]
fn datapath_ids_are_read_in_both_forms() {
    assert_eq!(datapath_id("00000000deadbeef"), Some(0xdead_beef));
    assert_eq!(datapath_id("0xff"), Some(0xff));
    for wrong in ["0", "ff", "0x", "0000000000000000", "+00000000deadbee", "0x11112222333344445"] {
        assert_eq!(datapath_id(wrong), None, "{wrong}");
    }
}

fn atom() -> impl Strategy<Value = Atom> {
    prop_oneof![
        any::<i64>().prop_map(Atom::from),
        (0_i64..70_000).prop_map(Atom::from),
        any::<bool>().prop_map(Atom::from),
        "[a-z0-9:./]{0,20}".prop_map(Atom::from),
        prop_oneof!["br0", "br1", "p0", "internal", "patch", "secure", "access", "peer", "true"]
            .prop_map(Atom::from),
        uuid().prop_map(Atom::from),
    ]
}

/// Few enough that references hit.
fn uuid() -> impl Strategy<Value = Uuid> {
    (0_u8..12).prop_map(|n| Uuid([n; 16]))
}

fn datum() -> impl Strategy<Value = Datum> {
    prop_oneof![
        prop::collection::vec(atom(), 0..6).prop_map(Datum::set),
        prop::collection::vec((atom(), atom()), 0..4).prop_map(Datum::map),
    ]
}

fn row() -> impl Strategy<Value = (Table, Uuid, Columns)> {
    let tables = [Table::OpenVSwitch, Table::Bridge, Table::Port, Table::Interface, Table::Mirror];
    (prop::sample::select(tables.to_vec()), uuid()).prop_flat_map(|(table, uuid)| {
        let columns = prop::sample::select(table.columns());
        let columns = prop::collection::vec((columns, datum()), 0..12);
        columns.prop_map(move |columns| (table, uuid, columns))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_rows_make_it_panic(rows in prop::collection::vec(row(), 0..40)) {
        let recorded = BTreeMap::new();
        let around =
            Circumstances { recorded: &recorded, dummy: DummyMode::Override, restored: false };
        let desired = desire(&Replica::of(rows), around);
        // What is wanted has a row to tell about, and no device is wanted twice.
        let mut devices = BTreeSet::new();
        for (bridge, config) in &desired.config.bridges {
            prop_assert!(desired.rows.bridges.contains_key(bridge));
            for (name, interface) in config.ports.values().flat_map(|port| &port.interfaces) {
                let key = (bridge.clone(), name.clone());
                prop_assert!(desired.rows.interfaces.contains_key(&key));
                let refused = matches!(interface.kind, InterfaceKind::Refused(_));
                prop_assert!(refused || devices.insert(name.clone()));
            }
        }
    }
}
