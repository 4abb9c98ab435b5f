//! The loop of the database mode: what the database wants goes to the engine, what came of it goes
//! back.
//!
//! What always holds: configuration is taken and status written only while we hold the lock
//! `ovs_vswitchd`; a database that is away changes nothing of what is forwarded; whatever
//! transaction did not happen is made up for. Each transaction holds all that differs from what
//! the rows were told, `cur_cfg` included, so that none can overtake another. Control thread: one task,
//! woken by the database, by changes of ports and devices, and by a clock of one second; what a large
//! database costs is a thread's work, to which replica and `Books` are lent, so that the control
//! thread's other tasks have their turn.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::books::{Books, Told, Wanted};
use super::system_stats::{Figures, Pidfiles, SystemStats};
use crate::aside::{aside, free};
use crate::bridge::commands;
use crate::bridge::engine::{DummyMode, Engine};
use crate::bridge::switch::Switch;
use crate::clock::{self, Follower};
use crate::daemon::options::{Options, short_version};
use crate::daemon::{Control, Event, Fatal};
use crate::memory;
use crate::ovsdb::client::{self, Client, ClientOptions, TlsFiles};
use crate::ovsdb::remote::Remote;
use crate::ovsdb::replica::Replica;
use crate::ovsdb::schema::Table;
use crate::ovsdb::tls_policy::{Lists, TlsPolicy};
use crate::ovsdb::transaction::{TxnError, TxnId};

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
    engine.current().provide_memory(control.memory());
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
                    mode.free();
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
    books: Books,
    /// Transactions of which the outcome is not known.
    in_flight: BTreeSet<TxnId>,
    /// The database may not know all.
    is_behind: bool,
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
            books: Books::new(dummy),
            in_flight: BTreeSet::new(),
            is_behind: false,
            statistics_due_ms: 0,
            system_stats: None,
            lock_is_elsewhere: false,
            lacks_root: false,
        }
    }

    /// Lends replica and books to a thread that does `work` with them.
    async fn aside<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Replica, &mut Books) -> T + Send + 'static,
    ) -> T {
        let mut lent = (self.client.lend(), std::mem::take(&mut self.books));
        let result = aside(&mut lent, |(replica, books)| work(replica, books)).await;
        self.take_back(lent);
        result
    }

    fn take_back(&mut self, (replica, books): (Replica, Books)) {
        self.client.take_back(replica);
        self.books = books;
    }

    async fn on_event(&mut self, event: client::Event) {
        let replica = self.client.replica();
        let cells = |table: &Table| replica.rows(*table).len() * table.columns().len();
        self.cells.set(Table::ALL.iter().map(cells).sum::<usize>() as u64);
        match event {
            client::Event::Connected => {
                let is_writable = self.client.is_writable();
                let wanted = self.aside(move |replica, books| {
                    books.connected();
                    is_writable.then(|| books.read(replica))
                });
                if let Some(wanted) = wanted.await {
                    self.configure(wanted).await;
                }
            }
            client::Event::Updated(changes) => {
                let is_writable = self.client.is_writable();
                let wanted = self.aside(move |replica, books| {
                    let is_other = books.note(replica, &changes);
                    is_other.then(|| is_writable.then(|| books.read(replica)))
                });
                match wanted.await {
                    Some(Some(wanted)) => self.configure(wanted).await,
                    Some(None) => {}
                    None => {
                        self.is_behind = true;
                        self.catch_up().await;
                    }
                }
            }
            client::Event::Disconnected => {}
            client::Event::Lock(true) => {
                self.lock_is_elsewhere = false;
                if self.client.is_writable() {
                    let wanted = self.aside(|replica, books| books.read(replica)).await;
                    self.configure(wanted).await;
                }
            }
            client::Event::Lock(false) => self.stand_back().await,
            client::Event::Committed(id, outcome) => self.on_outcome(id, outcome.err()).await,
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
        self.aside(|_, books| books.stand_back()).await;
    }

    /// Makes true what the database wants, and tells it.
    async fn configure(&mut self, wanted: Option<Wanted>) {
        let Some(Wanted { config, enable_statistics }) = wanted else {
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
        self.look_at_the_machine(enable_statistics);
        if let Some(config) = config {
            self.engine.apply(config).await;
        }
        self.is_behind = true;
        self.tell(false).await;
    }

    /// What a large database leaves to be freed keeps nobody waiting who asked for the end.
    fn free(&mut self) {
        self.engine.free();
        free((self.client.lend(), std::mem::take(&mut self.books)));
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
        let config = self.books.config();
        let interval_ms = config.and_then(|config| config.settings.stats_update_interval_ms);
        let interval_ms = interval_ms.unwrap_or(STATS_INTERVAL_MS);
        // A shorter interval holds at once.
        let due_ms = self.statistics_due_ms.min(now_ms + interval_ms);
        self.statistics_due_ms = due_ms;
        self.is_behind = true;
        if now_ms >= due_ms && self.in_flight.is_empty() && self.client.is_writable() {
            self.statistics_due_ms = now_ms + interval_ms;
            self.engine.refresh_stats().await;
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
        if !self.client.is_writable() {
            return;
        }
        let told = Told {
            outcome: self.engine.outcome().clone(),
            served: self.engine.current().borrow().as_ref().map(Switch::served),
            figures: match &self.system_stats {
                None => Some(Figures::new()),
                Some(stats) => stats.latest(),
            },
            with_statistics,
        };
        let mut lent = (self.client.lend(), std::mem::take(&mut self.books));
        let txn = self.engine.aside_with_links(&mut lent, move |(replica, books), links| {
            books.tell(replica, links, &told)
        });
        let txn = txn.await;
        self.take_back(lent);
        if let Some(txn) = txn {
            self.is_behind = false;
            self.in_flight.insert(self.client.commit(txn));
        }
    }

    async fn on_outcome(&mut self, id: TxnId, error: Option<TxnError>) {
        self.in_flight.remove(&id);
        if error.is_none() && self.books.config().is_some() {
            self.begin();
        }
        self.is_behind |= error.is_some();
        if self.aside(move |_, books| books.settled(error.as_ref())).await {
            self.catch_up().await;
        }
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
