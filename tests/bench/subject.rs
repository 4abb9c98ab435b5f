//! What is measured: one of the two daemons, or the null responder, over the ports `v1` and `v2`.

use std::io::BufRead;
use std::process::{Child, Command, Stdio};

use crate::kernel::attempt;
use crate::kernel::bridge::{Port, Setup};
use crate::kernel::daemon::Daemon;
use crate::kernel::deployment::Whose;

/// Flows do not die of age while they are measured.
pub const SETTINGS: &[(&str, u32)] = &[("max-idle", 600_000)];

/// Who answers the upcalls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// The distribution's daemon.
    Peer,
    /// Ours.
    Rovs,
    /// The null responder.
    Limit,
}

impl Who {
    /// In the order in which a round measures them.
    pub const ALL: [Self; 3] = [Self::Peer, Self::Rovs, Self::Limit];

    /// Stands for it in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Rovs => "rovs",
            Self::Limit => "limit",
        }
    }

    /// The daemon over a database; `None` for the null responder.
    pub fn whose(self) -> Option<Whose> {
        match self {
            Self::Peer => Some(Whose::Peers),
            Self::Rovs => Some(Whose::Ours),
            Self::Limit => None,
        }
    }
}

/// One that runs. Dropping it ends it and its datapath.
pub enum Subject {
    /// A daemon.
    Daemon(Daemon),
    /// The null responder.
    Null(Child),
}

impl Subject {
    /// Starts it; `exact`: flows match everything that the packet says.
    pub fn start(who: Who, exact: bool, settings: &[(&'static str, u32)]) -> Self {
        Self::start_with(who, exact, settings, vec![Port::new("v1"), Port::new("v2")])
    }

    /// The same with other ports than `v1` and `v2`, which the null responder has in any case.
    pub fn start_with(
        who: Who,
        exact: bool,
        settings: &[(&'static str, u32)],
        ports: Vec<Port>,
    ) -> Self {
        let mut daemon = match who {
            Who::Peer => Daemon::peer(),
            Who::Rovs => Daemon::ours(),
            Who::Limit => return Self::null(exact),
        };
        let mut setup = Setup::one(ports);
        for (key, value) in settings {
            setup = setup.with(key, *value);
        }
        daemon.start(&setup);
        if exact {
            daemon.appctl(&["upcall/disable-megaflows"]);
        }
        Self::Daemon(daemon)
    }

    fn null(exact: bool) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("own path"));
        command.args(["null", "v1", "v2"]).stdin(Stdio::null()).stdout(Stdio::piped());
        if exact {
            command.env("ROVS_BENCH_EXACT", "1");
        }
        let mut child = command.spawn().expect("the null responder");
        let mut line = String::new();
        let out = child.stdout.take().expect("a pipe");
        std::io::BufReader::new(out).read_line(&mut line).expect("it says when it is ready");
        assert_eq!(line.trim(), "ready");
        Self::Null(child)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        match self {
            Self::Daemon(daemon) => daemon.pid().as_raw().unsigned_abs(),
            Self::Null(child) => child.id(),
        }
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Self::Null(child) = self {
            let _ = child.kill();
            let _ = child.wait();
            let _ = attempt(&["ovs-dpctl", "del-dp", "ovs-system"]);
        }
    }
}
