//! What is known of the database beside its rows: what they want, and what they were told.
//!
//! What always holds: whatever takes the longer the more rows there are is done here, on a thread to which
//! the [`Books`] and the replica are lent; the control thread moves them there and back. Each
//! transaction holds all that differs from what the rows were told, `cur_cfg` included, so that none
//! can overtake another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::desired::{Circumstances, Complaint, Desired, Rows, desire, ofport};
use super::status::{Facts, PatchStats, Status, write_capabilities, write_root};
use super::system_stats::Figures;
use crate::bridge::config::Config;
use crate::bridge::engine::{DummyMode, Outcome};
use crate::bridge::switch::Served;
use crate::netdev::LinkTable;
use crate::ovsdb::replica::{Change, Changes, Replica, Row};
use crate::ovsdb::schema::Table;
use crate::ovsdb::transaction::{Transaction, TxnError};
use crate::ovsdb::value::{Atom, Uuid};
use crate::snapshot::{Bridge, Snapshot};

/// See the module's page.
#[derive(Debug, Default)]
pub(super) struct Books {
    dummy: DummyMode,
    status: Status,
    /// What the engine was given last, and its `next_cfg`; `None` before the first time, and while
    /// another daemon has the lock.
    desired: Option<(Desired, i64)>,
    /// `Interface.ofport` as it was when a row was first seen.
    recorded: BTreeMap<Uuid, u16>,
    restored: bool,
    /// What was complained of in the last configuration.
    said: BTreeSet<Complaint>,
    /// Datapath ids as they were logged.
    datapath_ids: BTreeMap<String, u64>,
    /// Rows that the server does not let us write.
    refused: BTreeSet<(Table, Uuid)>,
}

/// What the rows want.
#[derive(Debug)]
pub(super) struct Wanted {
    /// If it is not what was wanted before.
    pub config: Option<Arc<Config>>,
    /// `enable-statistics`.
    pub enable_statistics: bool,
}

/// What the status is made of, beside rows and devices.
pub(super) struct Told {
    /// What came of the configuration.
    pub outcome: Arc<Outcome>,
    /// The switch, if there is one.
    pub served: Option<Served>,
    /// The machine's figures, `None` if they are not known yet.
    pub figures: Option<Figures>,
    /// Whether counters that were told before are told anew.
    pub with_statistics: bool,
}

impl Books {
    /// Nothing is known yet.
    pub fn new(dummy: DummyMode) -> Self {
        Self { dummy, status: Status::new(dummy), ..Self::default() }
    }

    /// What the engine was given last, if anything.
    pub fn config(&self) -> Option<&Config> {
        self.desired.as_ref().map(|(desired, _)| &*desired.config)
    }

    /// A connection is there: to another server, perhaps, or to the same one without its volatile columns.
    pub fn connected(&mut self) {
        self.status.forget();
        self.refused.clear();
    }

    /// Another daemon has the lock.
    pub fn stand_back(&mut self) {
        self.desired = None;
        self.datapath_ids.clear();
        self.status.forget();
    }

    /// Takes in what changed in rows beside the configuration; true if that changed as well.
    pub fn note(&mut self, replica: &Replica, changes: &Changes) -> bool {
        self.status.touched(changes);
        for ((table, uuid), change) in &changes.touched {
            self.refused.remove(&(*table, *uuid));
            if *table != Table::Interface {
                continue;
            }
            match change {
                Change::Inserted => {
                    let row = replica.row(Table::Interface, uuid);
                    if let Some(number) = row.and_then(|row| row.opt_integer("ofport"))
                        && let Some(number) = ofport(number)
                    {
                        self.recorded.insert(*uuid, number);
                    }
                }
                Change::Modified(_) => {}
                Change::Deleted => drop(self.recorded.remove(uuid)),
            }
        }
        concerns_configuration(changes)
    }

    /// Reads what the rows want; `None` if there is no row that says so.
    pub fn read(&mut self, replica: &Replica) -> Option<Wanted> {
        let next_cfg = replica.root()?.integer("next_cfg");
        if self.desired.is_none() {
            // Whoever was at work until now may have given numbers since the rows were first seen.
            let interfaces = replica.rows(Table::Interface);
            let number = |row: &Row| Some((row.uuid(), ofport(row.opt_integer("ofport")?)?));
            self.recorded = interfaces.filter_map(number).collect();
        }
        let around =
            Circumstances { recorded: &self.recorded, dummy: self.dummy, restored: self.restored };
        let mut desired = desire(replica, around);
        self.restored |= !desired.config.settings.flow_restore_wait;
        self.complain(std::mem::take(&mut desired.complaints));
        let before = self.desired.as_ref().map(|(before, _)| &before.config);
        let wanted = Wanted {
            config: (before != Some(&desired.config)).then(|| desired.config.clone()),
            enable_statistics: desired.enable_statistics,
        };
        self.desired = Some((desired, next_cfg));
        Some(wanted)
    }

    fn complain(&mut self, complaints: BTreeSet<Complaint>) {
        for complaint in complaints.difference(&self.said) {
            if complaint.is_error {
                tracing::error!(target: "bridge", "{}", complaint.text);
            } else {
                tracing::warn!(target: "bridge", "{}", complaint.text);
            }
        }
        self.said = complaints;
    }

    /// What the database may not know; `None` before a configuration was read.
    pub fn tell(
        &mut self,
        replica: &Replica,
        links: &LinkTable,
        told: &Told,
    ) -> Option<Transaction> {
        let (desired, configured) = self.desired.as_ref()?;
        let Told { outcome, served, figures, with_statistics } = told;
        for (name, bridge) in &outcome.bridges {
            let id = bridge.datapath_id;
            if bridge.error.is_none() && self.datapath_ids.get(name) != Some(&id) {
                tracing::info!(target: "bridge", "bridge {name}: using datapath ID {id:016x}");
                self.datapath_ids.insert(name.clone(), id);
            }
        }
        self.datapath_ids.retain(|name, _| outcome.bridges.contains_key(name));
        let mut txn = Transaction::new();
        txn.comment("ovs-vswitchd: update status");
        let writable = (!self.refused.is_empty()).then(|| without(&desired.rows, &self.refused));
        let rows = writable.as_ref().unwrap_or(&desired.rows);
        let link = |name: &str| links.by_name(name);
        let facts = Facts { replica, rows, config: &desired.config, outcome, link };
        self.status.write(&facts, &mut txn);
        let snapshot = served.as_ref().map(|served| served.udpif.snapshot.load_full());
        let patches = snapshot.as_deref().map(patch_statistics).unwrap_or_default();
        let patch = |bridge: &str, name: &str| {
            let found = patches.get(bridge).and_then(|ports| ports.get(name));
            found.copied().unwrap_or_default()
        };
        self.status.write_statistics(&facts, patch, !with_statistics, &mut txn);
        write_root(replica, self.dummy, figures.as_ref(), &mut txn);
        if let Some(served) = served {
            write_capabilities(replica, served.datapath.support(), &mut txn);
        }
        if let Some(root) = replica.root() {
            let cur_cfg = Atom::Integer(*configured);
            txn.update(Table::OpenVSwitch, &root.uuid(), "cur_cfg", cur_cfg);
        }
        Some(txn)
    }

    /// A transaction has ended; its changes, if it made any, have come before. True if the database
    /// should be told again at once.
    pub fn settled(&mut self, error: Option<&TxnError>) -> bool {
        self.status.settled();
        let Some(error) = error else { return true };
        self.status.forget();
        match error {
            TxnError::Refused { row: Some(row), .. } => {
                tracing::warn!(
                    target: "bridge",
                    "the database refuses what is written to row {} of {}: {error}",
                    row.1, row.0.name()
                );
                // Without that row it may do; if it was left out already, nothing helps.
                self.refused.insert(*row)
            }
            // Made up for when the cause is gone, at the next tick at the latest.
            error if error.is_transient() => false,
            error => {
                tracing::warn!(target: "bridge", "the database refuses the status: {error}");
                false
            }
        }
    }
}

/// Whether changes are in columns that say what is wanted; otherwise they are answers to our own
/// writes.
fn concerns_configuration(changes: &Changes) -> bool {
    changes.touched.iter().any(|((table, _), change)| match change {
        Change::Inserted | Change::Deleted => true,
        Change::Modified(columns) => columns.iter().any(|column| !is_status(*table, column)),
    })
}

/// Columns that say how things are.
fn is_status(table: Table, column: &str) -> bool {
    match table {
        Table::OpenVSwitch => matches!(
            column,
            "cur_cfg"
                | "datapath_types"
                | "dpdk_initialized"
                | "dpdk_version"
                | "iface_types"
                | "statistics"
        ),
        Table::Bridge => {
            matches!(column, "datapath_id" | "datapath_version" | "rstp_status" | "status")
        }
        Table::Port => matches!(
            column,
            "bond_active_slave" | "rstp_statistics" | "rstp_status" | "statistics" | "status"
        ),
        Table::Interface => matches!(
            column,
            "admin_state"
                | "bfd_status"
                | "cfm_fault"
                | "cfm_fault_status"
                | "cfm_flap_count"
                | "cfm_health"
                | "cfm_remote_mpids"
                | "cfm_remote_opstate"
                | "duplex"
                | "error"
                | "ifindex"
                | "lacp_current"
                | "link_resets"
                | "link_speed"
                | "link_state"
                | "mac_in_use"
                | "mtu"
                | "ofport"
                | "statistics"
                | "status"
        ),
        Table::Controller => matches!(column, "is_connected" | "role" | "status"),
        Table::Datapath => column == "capabilities",
        Table::Mirror => column == "statistics",
        _ => false,
    }
}

fn without(rows: &Rows, refused: &BTreeSet<(Table, Uuid)>) -> Rows {
    let mut rows = rows.clone();
    rows.bridges.retain(|_, uuid| !refused.contains(&(Table::Bridge, *uuid)));
    rows.interfaces.retain(|_, uuid| !refused.contains(&(Table::Interface, *uuid)));
    rows
}

/// Counters of all patch ports, by bridge and name.
fn patch_statistics(snapshot: &Snapshot) -> BTreeMap<String, BTreeMap<String, PatchStats>> {
    let of_bridge = |bridge: &Bridge| {
        let patches = bridge.ports.iter().filter_map(|port| Some((port, port.patch()?)));
        patches
            .map(|(port, patch)| {
                let counters = &patch.counters;
                let stats = PatchStats {
                    rx_packets: counters.rx_packets.load(Relaxed),
                    rx_bytes: counters.rx_bytes.load(Relaxed),
                    tx_packets: counters.tx_packets.load(Relaxed),
                    tx_bytes: counters.tx_bytes.load(Relaxed),
                };
                (port.name.clone(), stats)
            })
            .collect()
    };
    snapshot.bridges().iter().map(|bridge| (bridge.name.clone(), of_bridge(bridge))).collect()
}
