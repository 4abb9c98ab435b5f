//! Expectations: `ovs-vsctl list interface` of the stock daemon 3.1.0 with the same devices.

use super::*;
use crate::bridge::config::{BridgeConfig, InterfaceConfig, PortConfig};
use crate::datapath::OdpPort;
use crate::ofproto::OfPort;
use crate::ovsdb::value::Atom;

const BRIDGE: Uuid = Uuid([1; 16]);
const INTERFACE: Uuid = Uuid([2; 16]);

fn link() -> Link {
    Link {
        ifindex: 6,
        name: "no-such-device".to_owned(),
        mac: EthAddr([2, 0, 0, 0, 0, 9]),
        mtu: 1400,
        up: true,
        running: false,
        carrier: false,
        carrier_changes: 4,
        kind: Some("veth".to_owned()),
        master: None,
        stats: LinkStats { rx_packets: 7, multicast: 3, ..LinkStats::default() },
    }
}

fn rows() -> Rows {
    let mut rows = Rows::default();
    rows.bridges.insert("br0".to_owned(), BRIDGE);
    rows.interfaces.insert(("br0".to_owned(), "v".to_owned()), INTERFACE);
    rows
}

fn outcome(interface: Result<InterfaceOutcome, String>) -> Outcome {
    let bridge = BridgeOutcome {
        datapath_id: 0x1234,
        interfaces: [("v".to_owned(), interface)].into(),
        ..BridgeOutcome::default()
    };
    Outcome { bridges: [("br0".to_owned(), bridge)].into(), ..Outcome::default() }
}

fn had(odp: Option<u32>) -> Result<InterfaceOutcome, String> {
    Ok(InterfaceOutcome { ofport: OfPort(5), odp: odp.map(OdpPort) })
}

/// What is written of the interface.
struct Written(Transaction);

impl Written {
    fn text(&self, column: &str) -> Option<&str> {
        self.of(column)?.scalar()?.as_str()
    }

    fn number(&self, column: &str) -> Option<i64> {
        match self.of(column)?.scalar()? {
            Atom::Integer(n) => Some(*n),
            _ => None,
        }
    }

    fn is_cleared(&self, column: &str) -> bool {
        self.of(column).is_some_and(Datum::is_empty)
    }

    fn of(&self, column: &str) -> Option<&Datum> {
        self.0.written(Table::Interface, &INTERFACE, column)
    }
}

fn write(status: &mut Status, outcome: &Outcome, link: &Link) -> Written {
    write_of(status, &Config::default(), outcome, link)
}

fn write_of(status: &mut Status, config: &Config, outcome: &Outcome, link: &Link) -> Written {
    let (replica, rows) = (Replica::default(), rows());
    let link = |_: &str| Some(link);
    let facts = Facts { replica: &replica, rows: &rows, config, outcome, link };
    let mut txn = Transaction::new();
    status.write(&facts, &mut txn);
    Written(txn)
}

#[test]
fn a_device_is_told_once_and_again_when_it_changes() {
    let mut status = Status::new(DummyMode::Off);
    let (outcome, mut link) = (outcome(had(Some(3))), link());
    let written = write(&mut status, &outcome, &link);
    assert_eq!(written.number("ofport"), Some(5));
    assert_eq!(written.number("ifindex"), Some(6));
    assert_eq!(written.number("mtu"), Some(1400));
    assert_eq!(written.number("link_resets"), Some(0));
    assert_eq!(written.text("mac_in_use"), Some("02:00:00:00:00:09"));
    assert_eq!(written.text("admin_state"), Some("up"));
    assert_eq!(written.text("link_state"), Some("down"));
    for column in ["error", "status", "duplex", "link_speed", "cfm_health", "lacp_current"] {
        assert!(written.is_cleared(column), "{column}");
    }
    let id = written.0.written(Table::Bridge, &BRIDGE, "datapath_id");
    assert_eq!(id, Some(&Datum::from("0000000000001234")));
    let version = written.0.written(Table::Bridge, &BRIDGE, "datapath_version");
    assert_eq!(version, Some(&Datum::from("<unknown>")));

    link.stats.rx_packets = 100;
    assert_eq!(write(&mut status, &outcome, &link).of("ofport"), None);
    (link.running, link.carrier, link.carrier_changes) = (true, true, 5);
    let written = write(&mut status, &outcome, &link);
    assert_eq!(written.text("link_state"), Some("up"));
    assert_eq!(written.number("link_resets"), Some(1));
    status.forget();
    assert!(write(&mut status, &outcome, &link).of("ofport").is_some());
    let touched = (Table::Interface, INTERFACE);
    let change = || Changes { touched: [(touched, Change::Modified(vec!["ofport"]))].into() };
    // The first change is what was written just now, the next is somebody else's.
    status.touched(&change());
    assert_eq!(write(&mut status, &outcome, &link).of("ofport"), None);
    status.touched(&change());
    assert!(write(&mut status, &outcome, &link).of("ofport").is_some());
    // A transaction that changed nothing is not told of.
    status.settled();
    status.touched(&change());
    assert!(write(&mut status, &outcome, &link).of("ofport").is_some());
}

#[test]
fn what_the_datapath_made_has_one_key() {
    let mut link = link();
    link.kind = Some("openvswitch".to_owned());
    let written = write(&mut Status::new(DummyMode::Off), &outcome(had(Some(3))), &link);
    assert_eq!(written.of("status"), Some(&Datum::map([("driver_name", "openvswitch")])));
}

#[test]
fn an_interface_that_could_not_be_had_is_cleared() {
    let mut status = Status::new(DummyMode::Off);
    let text = "could not open network device v (No such device)";
    let written = write(&mut status, &outcome(Err(text.to_owned())), &link());
    assert_eq!(written.number("ofport"), Some(-1));
    assert_eq!(written.text("error"), Some(text));
    let cleared = ["admin_state", "link_state", "ifindex", "mac_in_use", "mtu", "statistics"];
    for column in cleared.into_iter().chain(["status", "duplex", "link_speed"]) {
        assert!(written.is_cleared(column), "{column}");
    }
    assert_eq!(written.of("link_resets"), None);
    // A reserved name has no text, as with the peer.
    let written = write(&mut status, &outcome(Err(String::new())), &link());
    assert_eq!(written.number("ofport"), Some(-1));
    assert!(written.is_cleared("error"));
}

#[test]
fn a_patch_port_is_up_and_has_no_device() {
    let written = write(&mut Status::new(DummyMode::Off), &outcome(had(None)), &link());
    assert_eq!((written.number("ifindex"), written.number("link_resets")), (Some(0), Some(0)));
    assert_eq!(written.text("admin_state"), Some("up"));
    assert_eq!(written.text("link_state"), Some("up"));
    for column in ["mtu", "status", "duplex", "link_speed"] {
        assert!(written.is_cleared(column), "{column}");
    }
    assert!(written.text("mac_in_use").is_some());
}

// The text is what the stock daemon wrote while the other end was missing.
#[test]
fn a_patch_port_without_peer_says_so_until_it_has_one() {
    let patch = |name: &str, peer: &str| {
        let kind = InterfaceKind::Patch { peer: peer.to_owned() };
        let interface = InterfaceConfig { kind, ..InterfaceConfig::default() };
        let port = PortConfig::single(name, interface);
        let ports = [(name.to_owned(), port)].into();
        BridgeConfig { ports, ..BridgeConfig::default() }
    };
    let mut config = Config::default();
    config.bridges.insert("br0".to_owned(), patch("v", "p"));
    let mut status = Status::new(DummyMode::Off);
    let mut outcome = outcome(had(None));
    let written = write_of(&mut status, &config, &outcome, &link());
    let text = "No usable peer 'p' exists in 'system' datapath.";
    assert_eq!((written.text("error"), written.number("ofport")), (Some(text), Some(5)));
    config.bridges.insert("br1".to_owned(), patch("p", "v"));
    let mut other = outcome.bridges["br0"].clone();
    other.interfaces = [("p".to_owned(), had(None))].into();
    outcome.bridges.insert("br1".to_owned(), other);
    assert!(write_of(&mut status, &config, &outcome, &link()).is_cleared("error"));
}

#[test]
fn a_bridge_that_could_not_be_had_leaves_its_rows_alone() {
    let mut outcome = outcome(had(Some(3)));
    for bridge in outcome.bridges.values_mut() {
        bridge.error = Some("Address family not supported by protocol".to_owned());
    }
    let written = write(&mut Status::new(DummyMode::Off), &outcome, &link());
    assert!(written.0.is_empty());
}

// The keys of `statistics` as the stock daemon has them for a veth device and for a patch port.
#[test]
fn counters_have_the_peers_names() {
    let keys = |datum: Datum| match datum {
        Datum::Map(map) => {
            let keys: Vec<String> =
                map.keys().filter_map(|key| Some(key.as_str()?.to_owned())).collect();
            keys.join(" ")
        }
        Datum::Set(_) => String::new(),
    };
    assert_eq!(
        keys(device_statistics(&link().stats)),
        "collisions rx_bytes rx_crc_err rx_dropped rx_errors rx_frame_err rx_missed_errors \
         rx_multicast_packets rx_over_err rx_packets tx_bytes tx_dropped tx_errors tx_packets"
    );
    assert_eq!(
        keys(patch_statistics(PatchStats::default())),
        "rx_bytes rx_packets tx_bytes tx_packets"
    );
    assert_eq!(counters([("n", u64::MAX)]), Datum::map([("n", i64::MAX)]));
}

#[test]
fn capabilities_are_texts() {
    let mut support = Support::default();
    support.max_vlan_headers.value = 2;
    support.recirc.value = true;
    let map: BTreeMap<_, _> = capabilities(&support).into_iter().collect();
    assert_eq!(map["max_vlan_headers"], "2");
    assert_eq!(map["recirc"], "true");
    assert_eq!(map["ct_zone"], "false");
    assert!(!map.contains_key("ct_flush"));
}
