//! The switch on the control socket: the peer's commands in the peer's words, a file a family, and
//! what the peer does not have (`flow/*`, `record/*`, `upcall/ports`).
//!
//! Registered once; each call asks for the switch of the moment. While there is none the answers are
//! those of a daemon without bridges. What asks the kernel for more than a counter runs on a thread
//! of its own and answers later, so that the control thread, and with it every other client, does not
//! wait. The JSON shapes are the peer's where it has them; src/unixctl/json.md lists them all.

mod dpctl;
mod dpif;
mod dpif_netdev;
mod fdb;
mod flow;
mod lacking;
mod ofproto;
mod record;
mod upcall;

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::current::Current;
use super::switch::Switch;
use crate::datapath::Datapath;
use crate::snapshot::Bridge;
use crate::unixctl::{Call, CommandError, Output, Registry};
use crate::upcall::Udpif;

pub(super) type Answer = Result<Output, CommandError>;

pub(super) fn error(text: impl Into<String>) -> CommandError {
    CommandError(text.into())
}

/// The peer's words for a bridge that there is not.
fn no_such_bridge() -> CommandError {
    error("no such bridge")
}

/// Adds the commands; datapaths of the types `dummies` are this process's own.
pub fn register(registry: &Registry, current: &Current, dummies: &'static [&'static str]) {
    let commands = Commands { registry, current, dummies };
    dpctl::register(&commands);
    dpif::register(&commands);
    dpif_netdev::register(&commands);
    fdb::register(&commands);
    flow::register(&commands);
    lacking::register(&commands);
    ofproto::register(&commands);
    record::register(&commands);
    upcall::register(&commands);
}

/// Where the families add their commands.
struct Commands<'a> {
    registry: &'a Registry,
    current: &'a Current,
    dummies: &'static [&'static str],
}

impl Commands<'_> {
    /// A command about a switch that has to be there, answered at once.
    fn now(
        &self,
        name: &str,
        usage: &str,
        args: RangeInclusive<usize>,
        run: fn(&Switch, Call) -> Answer,
    ) {
        self.any(name, usage, args, move |switch, call| match switch {
            Some(switch) => run(switch, call),
            None => Err(no_datapath()),
        });
    }

    /// A command about a bridge, answered at once; without a switch there is no bridge.
    fn of_bridge(
        &self,
        name: &str,
        usage: &str,
        args: RangeInclusive<usize>,
        run: fn(&Switch, Call) -> Answer,
    ) {
        self.any(name, usage, args, move |switch, call| match switch {
            Some(switch) => run(switch, call),
            None => Err(no_such_bridge()),
        });
    }

    /// A command that has an answer without a switch too, given at once.
    fn any(
        &self,
        name: &str,
        usage: &str,
        args: RangeInclusive<usize>,
        run: impl Fn(Option<&Switch>, Call) -> Answer + 'static,
    ) {
        let current = self.current.clone();
        self.registry.register(name, usage, args, move |call| run(current.borrow().as_ref(), call));
    }

    /// A command that switches something, for whatever switch there is.
    fn switching(&self, name: &str, run: fn(&Current) -> Answer) {
        let current = self.current.clone();
        self.registry.register(name, "", 0..=0, move |_| run(&current));
    }

    /// A command that takes time: it runs on a thread of its own.
    fn later(
        &self,
        name: &str,
        usage: &str,
        args: RangeInclusive<usize>,
        run: fn(&Backer, &Call) -> Answer,
    ) {
        self.later_any(name, usage, args, move |backer, call| match backer {
            Some(backer) => run(&backer, call),
            None => Err(no_datapath()),
        });
    }

    /// A command for tests, which `list-commands` does not show: on a thread of its own, without
    /// arguments and answer.
    fn hidden(&self, name: &str, run: fn(&Backer)) {
        let current = self.current.clone();
        self.registry.register_hidden(name, 0..=0, move |_, reply| {
            let backer = current.borrow().as_ref().map(Backer::of);
            spawn(move || {
                backer.iter().for_each(run);
                reply.ok(());
            });
        });
    }

    /// The same for a command that has an answer without a switch too.
    fn later_any(
        &self,
        name: &str,
        usage: &str,
        args: RangeInclusive<usize>,
        run: impl Fn(Option<Backer>, &Call) -> Answer + Clone + Send + 'static,
    ) {
        let current = self.current.clone();
        self.registry.register_deferred(name, usage, args, move |call, reply| {
            let backer = current.borrow().as_ref().map(Backer::of);
            let run = run.clone();
            spawn(move || reply.send(run(backer, &call)));
        });
    }
}

/// Runs `work`, which answers a call. If no thread can be had the call is answered as abandoned.
fn spawn(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().name("unixctl".to_owned()).spawn(work);
    if let Err(error) = thread {
        tracing::warn!(target: "unixctl", "cannot start a thread for a command: {error}");
    }
}

/// The answer to what only a switch could tell.
fn no_datapath() -> CommandError {
    error("the datapath is not there (see the log)")
}

/// What a command that runs on a thread of its own needs of the switch.
struct Backer {
    datapath: Arc<dyn Datapath>,
    udpif: Arc<Udpif>,
}

impl Backer {
    fn of(switch: &Switch) -> Self {
        Self { datapath: switch.datapath.clone(), udpif: switch.udpif.clone() }
    }

    /// Its name with its type, as in `system@ovs-system`.
    fn name(&self) -> String {
        full_name(&*self.datapath)
    }
}

/// A datapath's name with its type.
fn full_name(datapath: &dyn Datapath) -> String {
    format!("{}@{}", datapath.type_name(), datapath.name())
}

/// The bridge that the first argument names.
pub(super) fn bridge_named(switch: &Switch, call: &Call) -> Result<Arc<Bridge>, CommandError> {
    let snapshot = switch.udpif.snapshot.load();
    let name = call.arg(0).unwrap_or_default();
    snapshot.bridge_named(name).cloned().ok_or_else(no_such_bridge)
}

/// The bridges, by name.
fn bridges_by_name(udpif: &Udpif) -> Vec<Arc<Bridge>> {
    let mut bridges = udpif.snapshot.load().bridges().to_vec();
    bridges.sort_by(|a, b| a.name.cmp(&b.name));
    bridges
}

/// A number as atoi(3) reads it: what stands in front, 0 for none.
fn leading_number(text: &str) -> i64 {
    let text = text.trim_start();
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    let end = digits.bytes().take_while(u8::is_ascii_digit).count();
    let number = digits.get(..end).and_then(|digits| digits.parse().ok()).unwrap_or(0i64);
    if negative { -number } else { number }
}

#[cfg(test)]
mod tests;
