//! What the database is told: the outcome of a configuration and the state of its devices as writes of
//! a [`Transaction`].
//!
//! What always holds: what a row was told already is not worked out again until its outcome, its
//! device or the row itself changes; what the database holds already is not sent
//! ([`Transaction`]). Rows of a bridge that could not be had are left alone, as the peer leaves
//! them. Control thread, or one that works for it.
//!
//! Source: ovs-vswitchd.conf.db(5); where that is silent, what the peer was seen to write.

use std::collections::{BTreeMap, BTreeSet};

use ovs_netlink::ethtool::{self, Driver, LinkMode};

use super::desired::Rows;
use super::system_stats::Figures;
use crate::bridge::config::{BOND_INSTEAD, Config, InterfaceKind, Lacking};
use crate::bridge::engine::{BridgeOutcome, DummyMode, InterfaceOutcome, Outcome};
use crate::datapath::Support;
use crate::flow::EthAddr;
use crate::netdev::{Link, LinkStats};
use crate::ovsdb::replica::{Change, Changes, Replica};
use crate::ovsdb::schema::Table;
use crate::ovsdb::transaction::Transaction;
use crate::ovsdb::value::{Datum, Uuid};

/// Kind of the devices that a datapath of the kernel makes (`IFLA_INFO_KIND`).
const INTERNAL: &str = "openvswitch";

/// See the module's page.
#[derive(Debug, Default)]
pub struct Status {
    dummy: DummyMode,
    /// What the rows of interfaces were told last, and whether they were of a bond.
    told: BTreeMap<Uuid, (Told, bool)>,
    /// Rows of interfaces that the transaction under way writes: what changes in them next is what
    /// they were told.
    written: BTreeSet<Uuid>,
    /// By ifindex and name: a renamed or replaced device is asked anew.
    drivers: BTreeMap<(u32, String), Drive>,
    /// The ports' columns were written since the connection came.
    ports_told: bool,
}

#[derive(Clone, PartialEq, Debug)]
enum Told {
    Failed(String),
    Device(InterfaceOutcome, Link),
    /// A device that was not seen yet.
    Number(InterfaceOutcome),
    /// And whether there is a peer.
    Patch(InterfaceOutcome, Result<(), String>),
}

impl Told {
    /// Whether it still says how things are; counters apart.
    fn is_of(
        &self,
        outcome: &Result<InterfaceOutcome, String>,
        link: Option<&Link>,
        peer: &Result<(), String>,
    ) -> bool {
        match (self, outcome, link) {
            (Told::Failed(told), Err(text), _) => told == text,
            (Told::Patch(told, to), Ok(had), None) => told == had && to == peer,
            (Told::Number(told), Ok(had), None) => told == had,
            (Told::Device(told, before), Ok(had), Some(now)) => {
                told == had && is_alike(before, now)
            }
            _ => false,
        }
    }
}

/// Whether two states of a device differ in counters only.
fn is_alike(a: &Link, b: &Link) -> bool {
    let Link { ifindex, name, mac, mtu, up, running, carrier, .. } = a;
    let Link { carrier_changes, kind, master, .. } = a;
    (ifindex, mac, mtu, up, running, carrier)
        == (&b.ifindex, &b.mac, &b.mtu, &b.up, &b.running, &b.carrier)
        && (carrier_changes, master) == (&b.carrier_changes, &b.master)
        && (name, kind) == (&b.name, &b.kind)
}

/// What ethtool says of a device.
#[derive(Clone, Debug, Default)]
struct Drive {
    driver: Option<Driver>,
    mode: Option<LinkMode>,
    /// Whether it ran when it was asked: a link that comes may have another speed.
    running: bool,
    /// Carrier changes before we saw it.
    earlier_resets: u32,
}

/// What the rows are written from.
pub struct Facts<'a, L> {
    /// The database.
    pub replica: &'a Replica,
    /// Which rows are meant.
    pub rows: &'a Rows,
    /// What they want.
    pub config: &'a Config,
    /// What became of them.
    pub outcome: &'a Outcome,
    /// Devices by name.
    pub link: L,
}

/// Packets and bytes of a patch port, received and sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PatchStats {
    /// Packets that came through it.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets that went through it.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
}

impl Status {
    /// Nothing was told yet.
    pub fn new(dummy: DummyMode) -> Self {
        Self { dummy, ..Self::default() }
    }

    /// It is not known any more what the rows hold: after a lost connection, a refused transaction.
    pub fn forget(&mut self) {
        self.told.clear();
        self.written.clear();
        self.ports_told = false;
    }

    /// The transaction under way has ended; its changes, if it made any, have come before.
    pub fn settled(&mut self) {
        self.written.clear();
    }

    /// Rows were changed, by us or by others.
    pub fn touched(&mut self, changes: &Changes) {
        for ((table, uuid), change) in &changes.touched {
            match table {
                Table::Interface => {
                    let is_told = match change {
                        // Counters are not among what is told here.
                        Change::Modified(columns) => {
                            columns.iter().all(|column| *column == "statistics")
                                || self.written.remove(uuid)
                        }
                        Change::Inserted | Change::Deleted => false,
                    };
                    if !is_told {
                        self.told.remove(uuid);
                    }
                }
                Table::Port if *change == Change::Inserted => self.ports_told = false,
                _ => {}
            }
        }
    }

    /// Writes what is told of bridges, ports and interfaces.
    pub fn write<'a, L>(&mut self, facts: &Facts<'a, L>, txn: &mut Transaction)
    where
        L: Fn(&str) -> Option<&'a Link>,
    {
        for (name, uuid) in &facts.rows.bridges {
            if let Some(bridge) = had(facts.outcome, name) {
                write_bridge(bridge, uuid, txn);
            }
        }
        if !self.ports_told {
            self.ports_told = true;
            write_ports(facts.replica, txn);
        }
        let patches = patches(facts.config, facts.outcome);
        let bonded = bonded(facts.config);
        for ((bridge, name), uuid) in &facts.rows.interfaces {
            let outcome = had(facts.outcome, bridge).and_then(|b| b.interfaces.get(name));
            let Some(outcome) = outcome else { continue };
            let link = match outcome {
                Ok(had) if had.odp.is_some() => (facts.link)(name),
                _ => None,
            };
            let peer = match outcome {
                Ok(had) if had.odp.is_none() => has_peer(&patches, facts.config, bridge, name),
                _ => Ok(()),
            };
            let is_bonded = bonded.contains(&(bridge.as_str(), name.as_str()));
            let is_told = |(told, was_bonded): &(Told, bool)| {
                *was_bonded == is_bonded && told.is_of(outcome, link, &peer)
            };
            if self.told.get(uuid).is_some_and(is_told) {
                continue;
            }
            let told = match (outcome, link) {
                (Err(text), _) => Told::Failed(text.clone()),
                (Ok(had), None) if had.odp.is_some() => Told::Number(*had),
                (Ok(had), None) => Told::Patch(*had, peer),
                (Ok(had), Some(link)) => {
                    let link = Link { stats: LinkStats::default(), ..link.clone() };
                    Told::Device(*had, link)
                }
            };
            self.write_interface(&told, is_bonded, uuid, txn);
            self.written.insert(*uuid);
            self.told.insert(*uuid, (told, is_bonded));
        }
        let rows = &facts.rows.interfaces;
        if self.told.len() > rows.len() {
            let known: BTreeSet<&Uuid> = rows.values().collect();
            self.told.retain(|uuid, _| known.contains(uuid));
        }
        if self.drivers.len() > 2 * rows.len() + 16 {
            self.drivers.clear();
        }
    }

    fn write_interface(
        &mut self,
        told: &Told,
        is_bonded: bool,
        uuid: &Uuid,
        txn: &mut Transaction,
    ) {
        let mut columns = match told {
            Told::Failed(text) => failed(text),
            Told::Number(had) => accepted(had),
            Told::Patch(had, peer) => {
                let mut columns = accepted(had);
                if let Err(text) = peer {
                    columns.push(("error", Datum::from(text.as_str())));
                }
                columns.extend(patch(uuid));
                columns
            }
            Told::Device(had, link) => {
                let mut columns = accepted(had);
                columns.extend(device(link, self.drive(link)));
                columns
            }
        };
        if is_bonded && !matches!(told, Told::Failed(_)) {
            let error = format!("{} is not supported; {BOND_INSTEAD}", Lacking::Bond);
            columns.retain(|(column, _)| *column != "error");
            columns.push(("error", Datum::from(error.as_str())));
        }
        for (column, datum) in columns.into_iter().chain(not_there()) {
            txn.update(Table::Interface, uuid, column, datum);
        }
    }

    /// What ethtool says of a device, asked when the device is new or its link came.
    fn drive(&mut self, link: &Link) -> &Drive {
        let (dummy, running) = (self.dummy, link.running);
        let is_kernels = dummy == DummyMode::Off && link.kind.as_deref() != Some(INTERNAL);
        let drive =
            self.drivers.entry((link.ifindex, link.name.clone())).or_insert_with(|| Drive {
                driver: is_kernels.then(|| ethtool::driver(&link.name).ok()).flatten(),
                mode: is_kernels.then(|| ethtool::link_mode(&link.name).ok()).flatten(),
                running,
                earlier_resets: link.carrier_changes,
            });
        if drive.running != running {
            drive.running = running;
            drive.mode = is_kernels.then(|| ethtool::link_mode(&link.name).ok()).flatten();
        }
        drive
    }

    /// Writes the counters of all interfaces, or of those that have none yet.
    pub fn write_statistics<'a, L, P>(
        &self,
        facts: &Facts<'a, L>,
        patch: P,
        only_missing: bool,
        txn: &mut Transaction,
    ) where
        L: Fn(&str) -> Option<&'a Link>,
        P: Fn(&str, &str) -> PatchStats,
    {
        for ((bridge, name), uuid) in &facts.rows.interfaces {
            let outcome = had(facts.outcome, bridge).and_then(|b| b.interfaces.get(name));
            let Some(Ok(had)) = outcome else { continue };
            if only_missing {
                let row = facts.replica.row(Table::Interface, uuid);
                if row.is_some_and(|row| row.get("statistics").is_some_and(|s| !s.is_empty())) {
                    continue;
                }
            }
            let statistics = if had.odp.is_none() {
                patch_statistics(patch(bridge, name))
            } else if let Some(link) = (facts.link)(name) {
                device_statistics(&link.stats)
            } else {
                continue;
            };
            txn.update(Table::Interface, uuid, "statistics", statistics);
        }
    }
}

/// Interfaces of ports that have several, with their bridges.
fn bonded(config: &Config) -> BTreeSet<(&str, &str)> {
    let mut bonded = BTreeSet::new();
    for (bridge, config) in &config.bridges {
        for port in config.ports.values().filter(|port| port.is_bond()) {
            bonded.extend(port.interfaces.keys().map(|name| (bridge.as_str(), name.as_str())));
        }
    }
    bonded
}

/// Patch ports that could be had, and where they lead.
fn patches<'a>(config: &'a Config, outcome: &Outcome) -> BTreeMap<&'a str, &'a str> {
    let mut patches = BTreeMap::new();
    for (name, bridge) in &config.bridges {
        let Some(had) = had(outcome, name) else { continue };
        for (name, interface) in bridge.ports.values().flat_map(|port| &port.interfaces) {
            if let InterfaceKind::Patch { peer } = &interface.kind
                && matches!(had.interfaces.get(name), Some(Ok(_)))
            {
                patches.insert(name.as_str(), peer.as_str());
            }
        }
    }
    patches
}

/// Whether the patch port has one at its other end that names it; if not, what the peer says.
fn has_peer(
    patches: &BTreeMap<&str, &str>,
    config: &Config,
    bridge: &str,
    name: &str,
) -> Result<(), String> {
    let Some(peer) = patches.get(name) else { return Ok(()) };
    if patches.get(peer) == Some(&name) {
        return Ok(());
    }
    let kind = match config.bridges.get(bridge).map(|bridge| bridge.datapath_type.as_str()) {
        None | Some("") => "system",
        Some(kind) => kind,
    };
    Err(format!("No usable peer '{peer}' exists in '{kind}' datapath."))
}

fn had<'a>(outcome: &'a Outcome, bridge: &str) -> Option<&'a BridgeOutcome> {
    outcome.bridges.get(bridge).filter(|bridge| bridge.error.is_none())
}

/// Writes what is told in the one row of `Open_vSwitch`, `cur_cfg` left out. `statistics` are those of the
/// machine, `None` if they are not known yet.
pub fn write_root(
    replica: &Replica,
    dummy: DummyMode,
    statistics: Option<&Figures>,
    txn: &mut Transaction,
) {
    let Some(root) = replica.root() else { return };
    let mut datapaths = vec!["system"];
    let mut interfaces = vec!["internal", "patch", "system"];
    if dummy != DummyMode::Off {
        datapaths.push("dummy");
        interfaces.extend(["dummy", "dummy-internal", "dummy-pmd"]);
    }
    let mut write = |column, datum| txn.update(Table::OpenVSwitch, &root.uuid(), column, datum);
    write("datapath_types", Datum::set(datapaths));
    write("iface_types", Datum::set(interfaces));
    write("dpdk_initialized", Datum::from(false));
    write("dpdk_version", Datum::from("none"));
    if let Some(figures) = statistics {
        let pairs = figures.iter().map(|(name, figure)| (name.as_str(), figure.as_str()));
        write("statistics", Datum::map(pairs));
    }
}

/// Writes what the kernel's datapath can do, where a row of `Datapath` asks for it.
pub fn write_capabilities(replica: &Replica, support: &Support, txn: &mut Transaction) {
    let Some(root) = replica.root() else { return };
    for (kind, row) in root.pairs("datapaths") {
        if let (Some("system"), crate::ovsdb::value::Atom::Uuid(row)) = (kind.as_str(), row) {
            let none: [&str; 0] = [];
            txn.mutate_map(Table::Datapath, row, "capabilities", capabilities(support), none);
        }
    }
}

fn capabilities(support: &Support) -> Vec<(&'static str, String)> {
    vec![
        ("add_mpls", support.add_mpls.value.to_string()),
        ("check_pkt_len", support.check_pkt_len.value.to_string()),
        ("clone", support.clone.value.to_string()),
        ("ct_clear", support.ct_clear.value.to_string()),
        ("ct_eventmask", support.ct_eventmask.value.to_string()),
        ("ct_label", support.ct_label.value.to_string()),
        ("ct_mark", support.ct_mark.value.to_string()),
        ("ct_orig_tuple", support.ct_orig_tuple.value.to_string()),
        ("ct_orig_tuple6", support.ct_orig_tuple6.value.to_string()),
        ("ct_state", support.ct_state.value.to_string()),
        ("ct_state_nat", support.ct_state_nat.value.to_string()),
        ("ct_timeout", support.ct_timeout.value.to_string()),
        ("ct_zero_snat", support.ct_zero_snat.value.to_string()),
        ("ct_zone", support.ct_zone.value.to_string()),
        ("explicit_drop_action", support.drop_action.value.to_string()),
        ("lb_output_action", false.to_string()),
        ("masked_set_action", support.masked_set.value.to_string()),
        ("max_hash_alg", support.max_hash_alg.value.to_string()),
        ("max_mpls_depth", support.max_mpls_depth.value.to_string()),
        ("max_vlan_headers", support.max_vlan_headers.value.to_string()),
        ("nd_ext", false.to_string()),
        ("psample", support.psample.value.to_string()),
        ("recirc", support.recirc.value.to_string()),
        ("sample_nesting", (support.sample_nesting.value > 0).to_string()),
        ("tnl_push_pop", false.to_string()),
        ("trunc", support.trunc.value.to_string()),
        ("ufid", support.ufid.value.to_string()),
    ]
}

fn write_bridge(bridge: &BridgeOutcome, uuid: &Uuid, txn: &mut Transaction) {
    let version = match bridge.datapath_version.as_str() {
        "" => "<unknown>",
        version => version,
    };
    txn.update(Table::Bridge, uuid, "datapath_id", format!("{:016x}", bridge.datapath_id));
    txn.update(Table::Bridge, uuid, "datapath_version", version);
    // Spanning tree is what would stand there.
    txn.update(Table::Bridge, uuid, "status", Datum::EMPTY);
    txn.update(Table::Bridge, uuid, "rstp_status", Datum::EMPTY);
}

/// Spanning tree again: an earlier daemon may have left what is not so any more.
fn write_ports(replica: &Replica, txn: &mut Transaction) {
    for row in replica.rows(Table::Port) {
        for column in ["rstp_statistics", "rstp_status", "statistics", "status"] {
            if row.get(column).is_some_and(|datum| !datum.is_empty()) {
                txn.update(Table::Port, &row.uuid(), column, Datum::EMPTY);
            }
        }
    }
}

type Columns = Vec<(&'static str, Datum)>;

fn accepted(had: &InterfaceOutcome) -> Columns {
    vec![("ofport", Datum::from(i64::from(had.ofport.0))), ("error", Datum::EMPTY)]
}

/// What an interface holds that could not be had; `link_resets` stays.
fn failed(text: &str) -> Columns {
    let mut columns: Columns = [
        "admin_state",
        "duplex",
        "ifindex",
        "link_speed",
        "link_state",
        "mac_in_use",
        "mtu",
        "statistics",
        "status",
    ]
    .map(|column| (column, Datum::EMPTY))
    .into();
    columns.push(("ofport", Datum::from(-1)));
    columns.push(("error", Datum::optional(Some(text).filter(|text| !text.is_empty()))));
    columns
}

/// Columns of features that we do not have: as if they were off.
fn not_there() -> impl Iterator<Item = (&'static str, Datum)> {
    [
        "bfd_status",
        "cfm_fault",
        "cfm_fault_status",
        "cfm_flap_count",
        "cfm_health",
        "cfm_remote_mpids",
        "cfm_remote_opstate",
        "lacp_current",
    ]
    .into_iter()
    .map(|column| (column, Datum::EMPTY))
}

fn device(link: &Link, drive: &Drive) -> Columns {
    let driver = match &drive.driver {
        _ if link.kind.as_deref() == Some(INTERNAL) => Datum::map([("driver_name", INTERNAL)]),
        Some(driver) => Datum::map([
            ("driver_name", driver.name.as_str()),
            ("driver_version", driver.version.as_str()),
            ("firmware_version", driver.firmware.as_str()),
        ]),
        None => Datum::EMPTY,
    };
    let mbps = drive.mode.and_then(|mode| mode.mbps);
    let full_duplex = drive.mode.and_then(|mode| mode.full_duplex);
    let resets = link.carrier_changes.wrapping_sub(drive.earlier_resets);
    vec![
        ("status", driver),
        ("admin_state", Datum::from(up_or_down(link.up))),
        ("link_state", Datum::from(up_or_down(link.running))),
        ("link_resets", Datum::from(i64::from(resets))),
        ("link_speed", Datum::optional(mbps.map(|mbps| i64::from(mbps) * 1_000_000))),
        ("duplex", Datum::optional(full_duplex.map(|full| if full { "full" } else { "half" }))),
        ("mtu", Datum::from(i64::from(link.mtu))),
        ("mac_in_use", Datum::from(link.mac.to_string())),
        ("ifindex", Datum::from(i64::from(link.ifindex))),
    ]
}

/// A patch port has no device: it is always up, and its address is one that nobody else has.
fn patch(uuid: &Uuid) -> Columns {
    let mut mac = [0; 6];
    for (to, from) in mac.iter_mut().zip(uuid.0.iter().rev()) {
        *to = *from;
    }
    mac[0] = (mac[0] & !1) | 2;
    vec![
        ("status", Datum::EMPTY),
        ("admin_state", Datum::from(up_or_down(true))),
        ("link_state", Datum::from(up_or_down(true))),
        ("link_resets", Datum::from(0)),
        ("link_speed", Datum::EMPTY),
        ("duplex", Datum::EMPTY),
        ("mtu", Datum::EMPTY),
        ("mac_in_use", Datum::from(EthAddr(mac).to_string())),
        ("ifindex", Datum::from(0)),
    ]
}

fn up_or_down(up: bool) -> &'static str {
    if up { "up" } else { "down" }
}

fn device_statistics(stats: &LinkStats) -> Datum {
    counters([
        ("collisions", stats.collisions),
        ("rx_bytes", stats.rx_bytes),
        ("rx_crc_err", stats.rx_crc_errors),
        ("rx_dropped", stats.rx_dropped),
        ("rx_errors", stats.rx_errors),
        ("rx_frame_err", stats.rx_frame_errors),
        ("rx_missed_errors", stats.rx_missed_errors),
        ("rx_multicast_packets", stats.multicast),
        ("rx_over_err", stats.rx_over_errors),
        ("rx_packets", stats.rx_packets),
        ("tx_bytes", stats.tx_bytes),
        ("tx_dropped", stats.tx_dropped),
        ("tx_errors", stats.tx_errors),
        ("tx_packets", stats.tx_packets),
    ])
}

fn patch_statistics(stats: PatchStats) -> Datum {
    counters([
        ("rx_bytes", stats.rx_bytes),
        ("rx_packets", stats.rx_packets),
        ("tx_bytes", stats.tx_bytes),
        ("tx_packets", stats.tx_packets),
    ])
}

fn counters<const N: usize>(counters: [(&'static str, u64); N]) -> Datum {
    Datum::map(counters.map(|(name, n)| (name, i64::try_from(n).unwrap_or(i64::MAX))))
}

#[cfg(test)]
mod tests;
