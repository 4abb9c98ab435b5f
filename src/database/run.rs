//! The loop of the database mode: what the database wants goes to the engine, what came of it goes
//! back.
//!
//! What always holds: configuration is taken and status written only while we hold the lock
//! `ovs_vswitchd`; a database that is away changes nothing of what is forwarded; whatever
//! transaction did not happen is made up for. Each transaction holds all that differs from what
//! the rows were told, `cur_cfg` included, so that none can overtake another. Control thread: one task,
//! woken by the database, by changes of ports and devices, and by a clock of one second; between the steps
//! of what a large database costs, the thread's other tasks have their turn.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::MissedTickBehavior;

use super::desired::{Circumstances, Complaint, Desired, Rows, desire, ofport};
use super::status::{Facts, PatchStats, Status, write_capabilities, write_root};
use super::system_stats::{Figures, Pidfiles, SystemStats};
use crate::bridge::commands;
use crate::bridge::engine::{DummyMode, Engine};
use crate::bridge::switch;
use crate::clock::{self, Follower};
use crate::daemon::options::{Options, short_version};
use crate::daemon::{Control, Event, Fatal};
use crate::memory;
use crate::ovsdb::client::{self, Client, ClientOptions, TlsFiles};
use crate::ovsdb::remote::Remote;
use crate::ovsdb::replica::{Change, Changes, Row};
use crate::ovsdb::schema::Table;
use crate::ovsdb::tls_policy::{Lists, TlsPolicy};
use crate::ovsdb::transaction::{Transaction, TxnError, TxnId};
use crate::ovsdb::value::{Atom, Uuid};

/// The lock that makes one daemon of all that talk to a database the one that counts.
const LOCK: &str = "ovs_vswitchd";

/// `stats-update-interval` unless the database says otherwise, in milliseconds.
const STATS_INTERVAL_MS: u64 = 5000;

/// Runs the switch that the database at `remote` describes, until the daemon ends.
///
/// # Errors
/// When `remote` names no server. A server that is not there is waited for.
pub async fn run(control: Control, remote: String) -> Result<(), Fatal> {
    let remotes =
        Remote::parse_list(&remote).map_err(|error| Fatal::logged("bridge", error.to_string()))?;
    let options = control.options();
    let lock = Some(LOCK.to_owned());
    let client = Client::new(remotes, ClientOptions { lock, tls: tls(options) });
    let dummy = options.engine().dummy;
    let engine = Engine::new(options.engine());
    commands::register(control.registry(), &engine.current(), dummy.types());
    switch::provide_memory(control.memory(), &engine.current());
    let mut mode = Mode::new(control.clone(), client, engine, dummy);
    let cells = mode.cells.clone();
    control.memory().provide(move |usage| memory::add(usage, "idl-cells", cells.get()));

    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut clock = Follower::new();
    loop {
        tokio::select! {
            event = control.event() => match event {
                Event::End(end) => {
                    mode.engine.end(end.cleanup).await;
                    return Ok(());
                }
                Event::Reload => {}
            },
            event = mode.client.event() => mode.on_event(event).await,
            () = mode.engine.changed() => mode.on_devices().await,
            _ = tick.tick() => mode.on_tick().await,
            // Whoever moves the clock by hand is answered when the database knows what came of it.
            () = clock.warped(), if mode.in_flight.is_empty() => mode.on_tick().await,
        }
    }
}

fn tls(options: &Options) -> Option<TlsFiles> {
    let bootstrap = options.bootstrap_ca_cert.clone();
    let lists = Lists {
        protocols: options.ssl_protocols.as_deref(),
        ciphers: options.ssl_ciphers.as_deref(),
        ciphersuites: options.ssl_ciphersuites.as_deref(),
    };
    let policy = TlsPolicy::read(lists, |text| tracing::error!(target: "stream_ssl", "{text}"));
    Some(TlsFiles {
        private_key: options.private_key.clone()?,
        certificate: options.certificate.clone()?,
        bootstrap_ca_cert: bootstrap.is_some(),
        ca_cert: bootstrap.or_else(|| options.ca_cert.clone())?,
        policy,
    })
}

struct Mode {
    control: Control,
    /// How many values the replica holds.
    cells: Rc<Cell<u64>>,
    client: Client,
    engine: Engine,
    dummy: DummyMode,
    status: Status,
    /// What the engine was given last; `None` before the first time, and while another daemon
    /// has the lock.
    desired: Option<Desired>,
    /// The `next_cfg` of what the engine was given last.
    configured: Option<i64>,
    recorded: BTreeMap<Uuid, u16>,
    restored: bool,
    /// What was complained of in the last configuration.
    said: BTreeSet<Complaint>,
    /// Datapath ids as they were logged.
    datapath_ids: BTreeMap<String, u64>,
    /// Transactions of which the outcome is not known.
    in_flight: BTreeSet<TxnId>,
    /// The database may not know all.
    is_behind: bool,
    /// Rows that the server does not let us write.
    refused: BTreeSet<(Table, Uuid)>,
    statistics_due_ms: u64,
    /// The machine's figures, when the database asks for them.
    system_stats: Option<SystemStats>,
    lock_is_elsewhere: bool,
    lacks_root: bool,
}

impl Mode {
    fn new(control: Control, client: Client, engine: Engine, dummy: DummyMode) -> Self {
        Self {
            control,
            cells: Rc::default(),
            client,
            engine,
            dummy,
            status: Status::new(dummy),
            desired: None,
            configured: None,
            recorded: BTreeMap::new(),
            restored: false,
            said: BTreeSet::new(),
            datapath_ids: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            is_behind: false,
            refused: BTreeSet::new(),
            statistics_due_ms: 0,
            system_stats: None,
            lock_is_elsewhere: false,
            lacks_root: false,
        }
    }

    async fn on_event(&mut self, event: client::Event) {
        let replica = self.client.replica();
        let cells = |table: &Table| replica.rows(*table).len() * table.columns().len();
        self.cells.set(Table::ALL.iter().map(cells).sum::<usize>() as u64);
        match event {
            client::Event::Connected => {
                // It may be another server, or the same one without its volatile columns.
                self.status.forget();
                self.refused.clear();
                self.configure().await;
            }
            client::Event::Updated(changes) => {
                self.note(&changes);
                if concerns_configuration(&changes) {
                    self.configure().await;
                } else {
                    self.is_behind = true;
                    self.catch_up().await;
                }
            }
            client::Event::Disconnected => {}
            client::Event::Lock(true) => {
                self.lock_is_elsewhere = false;
                self.configure().await;
            }
            client::Event::Lock(false) => self.stand_back().await,
            client::Event::Committed(id, outcome) => self.on_outcome(id, outcome.err()).await,
        }
    }

    /// Takes in what changed in rows beside the configuration.
    fn note(&mut self, changes: &Changes) {
        self.status.touched(changes);
        for ((table, uuid), change) in &changes.touched {
            self.refused.remove(&(*table, *uuid));
            if *table != Table::Interface {
                continue;
            }
            match change {
                Change::Inserted => {
                    let row = self.client.replica().row(Table::Interface, uuid);
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
    }

    /// Another daemon has the lock: ours leaves the datapath to it.
    async fn stand_back(&mut self) {
        if !self.lock_is_elsewhere {
            tracing::error!(
                target: "bridge",
                "another ovs-vswitchd process is running, disabling this process (pid {}) \
                 until it goes away",
                std::process::id()
            );
        }
        self.lock_is_elsewhere = true;
        self.engine.end(false).await;
        (self.desired, self.configured) = (None, None);
        self.datapath_ids.clear();
        self.status.forget();
    }

    /// Makes true what the database wants, and tells it.
    async fn configure(&mut self) {
        if !self.client.is_writable() {
            return;
        }
        let Some(root) = self.client.replica().root() else {
            if !std::mem::replace(&mut self.lacks_root, true) {
                tracing::warn!(
                    target: "bridge",
                    "the database has no Open_vSwitch row; all stays as it is until it has one"
                );
            }
            self.control.ready();
            return;
        };
        self.lacks_root = false;
        let next_cfg = root.integer("next_cfg");
        if self.desired.is_none() {
            // Whoever was at work until now may have given numbers since the rows were first seen.
            let interfaces = self.client.replica().rows(Table::Interface);
            let number = |row: &Row| Some((row.uuid(), ofport(row.opt_integer("ofport")?)?));
            self.recorded = interfaces.filter_map(number).collect();
        }
        let around =
            Circumstances { recorded: &self.recorded, dummy: self.dummy, restored: self.restored };
        let mut desired = desire(self.client.replica(), around);
        self.restored |= !desired.config.settings.flow_restore_wait;
        self.complain(std::mem::take(&mut desired.complaints));
        self.look_at_the_machine(desired.enable_statistics);
        yield_now().await;
        if self.desired.as_ref().is_none_or(|before| before.config != desired.config) {
            self.engine.apply(desired.config.clone()).await;
        }
        self.desired = Some(desired);
        self.configured = Some(next_cfg);
        self.is_behind = true;
        yield_now().await;
        self.tell(false).await;
    }

    fn look_at_the_machine(&mut self, is_wanted: bool) {
        if !is_wanted {
            self.system_stats = None;
        } else if self.system_stats.is_none() {
            let dir = self.control.dirs().run.clone();
            let ours = self.control.pidfile().map(Path::to_owned);
            self.system_stats = Some(SystemStats::start(Pidfiles { dir, ours }));
        }
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

    async fn on_devices(&mut self) {
        if self.lock_is_elsewhere {
            return;
        }
        let _ = self.engine.refresh().await;
        self.is_behind = true;
        self.catch_up().await;
    }

    async fn on_tick(&mut self) {
        if self.lock_is_elsewhere {
            return;
        }
        let _ = self.engine.tick().await;
        let now_ms = clock::now_ms();
        let settings = self.desired.as_ref().map(|desired| &desired.config.settings);
        let interval_ms = settings.and_then(|settings| settings.stats_update_interval_ms);
        let interval_ms = interval_ms.unwrap_or(STATS_INTERVAL_MS);
        // A shorter interval holds at once.
        let due_ms = self.statistics_due_ms.min(now_ms + interval_ms);
        self.statistics_due_ms = due_ms;
        self.is_behind = true;
        if now_ms >= due_ms && self.in_flight.is_empty() && self.client.is_writable() {
            self.statistics_due_ms = now_ms + interval_ms;
            self.engine.refresh_stats().await;
            yield_now().await;
            self.tell(true).await;
        } else {
            self.catch_up().await;
        }
    }

    /// Tells the database what it may not know, unless a transaction is on its way: what that one
    /// does is seen first.
    async fn catch_up(&mut self) {
        if self.is_behind && self.in_flight.is_empty() {
            self.tell(false).await;
        }
    }

    async fn tell(&mut self, with_statistics: bool) {
        let (Some(desired), Some(configured)) = (&self.desired, self.configured) else { return };
        if !self.client.is_writable() {
            return;
        }
        self.is_behind = false;
        let outcome = self.engine.outcome();
        for (name, bridge) in &outcome.bridges {
            let id = bridge.datapath_id;
            if bridge.error.is_none() && self.datapath_ids.get(name) != Some(&id) {
                tracing::info!(target: "bridge", "bridge {name}: using datapath ID {id:016x}");
                self.datapath_ids.insert(name.clone(), id);
            }
        }
        self.datapath_ids.retain(|name, _| outcome.bridges.contains_key(name));
        let replica = self.client.replica();
        let mut txn = Transaction::new();
        txn.comment("ovs-vswitchd: update status");
        let writable = (!self.refused.is_empty()).then(|| without(&desired.rows, &self.refused));
        let rows = writable.as_ref().unwrap_or(&desired.rows);
        let link = |name: &str| self.engine.link(name);
        let facts = Facts { replica, rows, config: &desired.config, outcome, link };
        self.status.write(&facts, &mut txn);
        yield_now().await;
        let patches = patch_statistics(&self.engine);
        let patch = |bridge: &str, name: &str| {
            let found = patches.get(bridge).and_then(|ports| ports.get(name));
            found.copied().unwrap_or_default()
        };
        self.status.write_statistics(&facts, patch, !with_statistics, &mut txn);
        yield_now().await;
        let latest = match &self.system_stats {
            None => Some(Figures::new()),
            Some(stats) => stats.latest(),
        };
        write_root(replica, self.dummy, latest.as_ref(), &mut txn);
        if let Some(switch) = &*self.engine.current().borrow() {
            write_capabilities(replica, switch.datapath.support(), &mut txn);
        }
        if let Some(root) = replica.root() {
            let cur_cfg = Atom::Integer(configured);
            txn.update(Table::OpenVSwitch, &root.uuid(), "cur_cfg", cur_cfg);
        }
        let id = self.client.commit(txn);
        self.in_flight.insert(id);
    }

    async fn on_outcome(&mut self, id: TxnId, error: Option<TxnError>) {
        self.in_flight.remove(&id);
        self.status.settled();
        match error {
            None => {
                if self.configured.is_some() {
                    self.begin();
                }
            }
            Some(error) => {
                self.status.forget();
                self.is_behind = true;
                if let TxnError::Refused { row: Some(row), .. } = &error {
                    tracing::warn!(
                        target: "bridge",
                        "the database refuses what is written to row {} of {}: {error}",
                        row.1, row.0.name()
                    );
                    // Without that row it may do; if it was left out already, nothing helps.
                    if !self.refused.insert(*row) {
                        return;
                    }
                } else if !error.is_transient() {
                    tracing::warn!(target: "bridge", "the database refuses the status: {error}");
                    return;
                } else {
                    // Made up for when the cause is gone, at the next tick at the latest.
                    return;
                }
            }
        }
        self.catch_up().await;
    }

    /// The first configuration is in force and the database knows it.
    fn begin(&mut self) {
        self.control.ready();
        static SAID: std::sync::Once = std::sync::Once::new();
        SAID.call_once(|| {
            let rovs = env!("CARGO_PKG_VERSION");
            let version = short_version("ovs-vswitchd");
            tracing::info!(target: "bridge", "{version}, rovs {rovs}");
        });
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
fn patch_statistics(engine: &Engine) -> BTreeMap<String, BTreeMap<String, PatchStats>> {
    use std::sync::atomic::Ordering::Relaxed;
    let current = engine.current();
    let current = current.borrow();
    let Some(switch) = &*current else { return BTreeMap::new() };
    let snapshot = switch.udpif.snapshot.load();
    let of_bridge = |bridge: &crate::snapshot::Bridge| {
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
