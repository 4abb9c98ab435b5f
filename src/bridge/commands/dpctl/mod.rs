//! `dpctl/*`: any datapath of the host, with bridges or without, as the peer's `ovs-dpctl` shows
//! and changes it.
//!
//! Where dummies are (`--enable-dummy`), datapaths of their types can be made and taken away here too.
//!
//! What always holds: what is said before a mistake is part of the answer, a failed answer too; the
//! datapath of the bridges is reached through the switch that serves it, any other as it is found,
//! without a change to what its owner asked of it. Every call runs on a thread of its own.

mod actions;
mod conntrack;
mod flows;
mod ports;
mod show;

use std::fmt::{Display, Write as _};
use std::sync::Arc;

use serde_json::Value;

use super::{Backer, Commands, full_name, spawn};
use crate::datapath::dummy::{self, by_hand};
use crate::datapath::fake::FakeKernel;
use crate::datapath::kernel::KernelDatapath;
use crate::datapath::{Datapath, DpError, DpErrorKind};
use crate::odp::ufid::{Ufid, UfidHasher};
use crate::strerror::strerror;
use crate::unixctl::{Call, CommandError, Format, Output};

/// How the peer's messages begin.
const PROGRAM: &str = "ovs-vswitchd";

type Run = fn(&Datapaths, &Asked, &mut Said) -> Result<(), Failed>;

/// Name, usage, least and most arguments, and what to do, in the peer's order.
const COMMANDS: [(&str, &str, usize, usize, Run); 36] = [
    ("add-dp", "dp [iface...]", 1, MANY, ports::add_dp),
    ("del-dp", "dp", 1, 1, ports::del_dp),
    ("add-if", "dp iface...", 2, MANY, ports::add_if),
    ("del-if", "dp iface...", 2, MANY, ports::del_if),
    ("set-if", "dp iface...", 2, MANY, ports::set_if),
    ("dump-dps", "", 0, 0, show::dump_dps),
    ("show", "[-s] [dp...]", 0, MANY, show::show),
    ("dump-flows", "[-m] [--names] [dp] [filter=..] [type=..] [pmd=..]", 0, 6, flows::dump_flows),
    ("add-flow", "[dp] flow actions", 2, 3, flows::add_flow),
    ("mod-flow", "[dp] flow actions", 2, 3, flows::mod_flow),
    ("get-flow", "[dp] ufid", 1, 2, flows::get_flow),
    ("del-flow", "[dp] flow", 1, 2, flows::del_flow),
    ("add-flows", "[dp] file", 1, 2, flows::add_flows),
    ("mod-flows", "[dp] file", 1, 2, flows::mod_flows),
    ("del-flows", "[dp] [file]", 0, 2, flows::del_flows),
    ("offload-stats-show", "[dp]", 0, 1, conntrack::offload_stats_show),
    ("cache-get-size", "[dp]", 0, 1, show::cache_get_size),
    ("cache-set-size", "dp cache <size>", 3, 3, show::cache_set_size),
    ("ct-bkts", "[dp] [gt=N]", 0, 2, conntrack::buckets),
    ("ct-set-maxconns", "[dp] maxconns", 1, 2, conntrack::set_maxconns),
    ("ct-get-maxconns", "[dp]", 0, 1, conntrack::get_maxconns),
    ("ct-get-nconns", "[dp]", 0, 1, conntrack::get_nconns),
    ("ct-enable-tcp-seq-chk", "[dp]", 0, 1, conntrack::enable_tcp_seq_chk),
    ("ct-disable-tcp-seq-chk", "[dp]", 0, 1, conntrack::disable_tcp_seq_chk),
    ("ct-get-tcp-seq-chk", "[dp]", 0, 1, conntrack::get_tcp_seq_chk),
    ("ct-set-limits", "[dp] [default=L] [zone=N,limit=L]...", 1, MANY, conntrack::set_limits),
    ("ct-del-limits", "[dp] zone=N1[,N2]...", 1, 2, conntrack::del_limits),
    ("ct-get-limits", "[dp] [zone=N1[,N2]...]", 0, 2, conntrack::get_limits),
    ("ipf-set-enabled", "[dp] v4|v6", 1, 2, conntrack::ipf_set_enabled),
    ("ipf-set-disabled", "[dp] v4|v6", 1, 2, conntrack::ipf_set_disabled),
    ("ipf-set-min-frag", "[dp] v4|v6 minfragment", 2, 3, conntrack::ipf_set_min_frag),
    ("ipf-set-max-nfrags", "[dp] maxfrags", 1, 2, conntrack::ipf_set_max_nfrags),
    ("ipf-get-status", "[dp]", 0, 1, conntrack::ipf_get_status),
    ("list-commands", "", 0, MANY, list_commands),
    ("parse-actions", "actions", 1, MANY, actions::parse_actions),
    ("normalize-actions", "actions", 2, MANY, actions::normalize_actions),
];

const MANY: usize = usize::MAX;

pub(super) fn register(commands: &Commands<'_>) {
    for (name, usage, least, most, run) in COMMANDS {
        let current = commands.current.clone();
        let dummies = commands.dummies;
        let name = format!("dpctl/{name}");
        commands.registry.register_deferred(&name, usage, least..=most, move |call, reply| {
            let ours = current.borrow().as_ref().map(Backer::of);
            let datapaths = Datapaths { ours: ours.into_iter().collect(), dummies };
            spawn(move || reply.send(datapaths.answer(call, run)));
        });
    }
}

fn list_commands(_: &Datapaths, asked: &Asked, said: &mut Said) -> Result<(), Failed> {
    if asked.json {
        let usages = COMMANDS.iter().map(|(name, usage, ..)| (format!("dpctl/{name}"), *usage));
        said.json = Some(Value::from_iter(usages));
        return Ok(());
    }
    said.line("The available commands are:");
    for (name, usage, ..) in &COMMANDS {
        said.line(format_args!("  dpctl/{name:<23} {usage}"));
    }
    Ok(())
}

/// Options of a call, and the arguments behind them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    args: Vec<String>,
    statistics: bool,
    clear: bool,
    may_create: bool,
    verbose: bool,
    names: bool,
    json: bool,
}

impl Asked {
    fn parse(call: Call) -> Result<Self, String> {
        let mut asked = Self { json: call.format == Format::Json, ..Self::default() };
        let mut names = None;
        let mut args = call.args.into_iter().peekable();
        while let Some(arg) = args.next_if(|arg| arg.len() > 1 && arg.starts_with('-')) {
            match arg.as_str() {
                "--statistics" => asked.statistics = true,
                "--clear" => asked.clear = true,
                "--may-create" => asked.may_create = true,
                "--more" => asked.verbose = true,
                "--names" => names = Some(true),
                "--no-names" => names = Some(false),
                long if long.starts_with("--") => {
                    return Err(format!("Unrecognized option {long}"));
                }
                short => {
                    for letter in short.chars().skip(1) {
                        match letter {
                            'm' => asked.verbose = true,
                            's' => asked.statistics = true,
                            other => return Err(format!("Unrecognized option -{other}")),
                        }
                    }
                }
            }
        }
        asked.args = args.collect();
        asked.names = names.unwrap_or(asked.verbose);
        Ok(asked)
    }

    fn arg(&self, at: usize) -> &str {
        self.args.get(at).map_or("", String::as_str)
    }

    /// The argument with `back` arguments behind it.
    fn last_but(&self, back: usize) -> &str {
        let at = self.args.len().checked_sub(back + 1);
        at.map_or("", |at| self.arg(at))
    }
}

/// What a command has to say, in the order in which it came up.
#[derive(Debug, Default)]
struct Said {
    text: String,
    /// Instead of the text, for those who asked for JSON.
    json: Option<Value>,
}

/// That a command did not do what it was told; why is in what it said.
#[derive(Debug)]
struct Failed;

impl Said {
    fn line(&mut self, line: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    fn complain(&mut self, what: impl Display) -> Failed {
        self.line(format_args!("{PROGRAM}: {what}"));
        Failed
    }

    /// Complains with an error number in words.
    fn complain_errno(&mut self, errno: i32, what: impl Display) -> Failed {
        let reason = strerror(&std::io::Error::from_raw_os_error(errno));
        self.complain(format_args!("{what} ({reason})"))
    }

    /// Complains with a datapath's error in words.
    fn complain_error(&mut self, error: &DpError, what: impl Display) -> Failed {
        match (error.errno, &error.message) {
            (0, Some(message)) => self.complain(format_args!("{what} ({message})")),
            (0, None) => self.complain(format_args!("{what} ({error})")),
            (errno, _) => self.complain_errno(errno, what),
        }
    }
}

/// The datapaths of the host.
struct Datapaths {
    /// Those that bridges use.
    ours: Vec<Backer>,
    /// Types that are dummies.
    dummies: &'static [&'static str],
}

/// A datapath that was opened.
struct Opened {
    datapath: Arc<dyn Datapath>,
    ufids: UfidHasher,
    /// The devices that it makes its ports of, if it is a dummy.
    devices: Option<FakeKernel>,
}

impl Opened {
    fn name(&self) -> String {
        full_name(&*self.datapath)
    }

    /// The id under which a flow with this key is put when the caller gives none.
    fn ufid(&self, key: &[u8]) -> Ufid {
        self.ufids.ufid(key)
    }
}

impl Datapaths {
    fn answer(&self, call: Call, run: Run) -> Result<Output, CommandError> {
        let asked = Asked::parse(call).map_err(CommandError)?;
        let mut said = Said::default();
        match run(self, &asked, &mut said) {
            Ok(()) => Ok(match said.json {
                Some(json) => json.into(),
                None => said.text.into(),
            }),
            Err(Failed) => Err(CommandError(said.text)),
        }
    }

    /// Names with types of all datapaths, sorted.
    fn names(&self) -> Result<Vec<String>, DpError> {
        let mut names: Vec<String> = self.ours.iter().map(Backer::name).collect();
        names.extend(by_hand::all().iter().map(|datapath| full_name(&**datapath)));
        match KernelDatapath::names() {
            Ok(kernel) => names.extend(kernel.iter().map(|name| format!("system@{name}"))),
            // Without the module there are still ours, or could be.
            Err(_) if !names.is_empty() || !self.dummies.is_empty() => {}
            Err(error) => return Err(error),
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn exists(&self, name: &str) -> bool {
        let (kind, name) = kind_and_name(name);
        let full = format!("{kind}@{name}");
        self.names().is_ok_and(|names| names.contains(&full))
    }

    /// Opens a datapath that is there. The error is a number, as the peer tells it.
    fn open(&self, name: &str) -> Result<Opened, DpError> {
        let (kind, name) = kind_and_name(name);
        let full = format!("{kind}@{name}");
        if let Some(backer) = self.ours.iter().find(|backer| backer.name() == full) {
            let ufids = backer.udpif.target.ufids;
            let devices = self.is_dummy(kind).then(|| dummy::kernel().clone());
            return Ok(Opened { datapath: backer.datapath.clone(), ufids, devices });
        }
        let ufids = UfidHasher::new([0; 16]);
        if self.is_dummy(kind) {
            let datapath = by_hand::find(kind, name).ok_or_else(|| no_such(name))?;
            let devices = Some(datapath.devices().clone());
            return Ok(Opened { datapath, ufids, devices });
        }
        if kind != "system" {
            return Err(unknown_kind(name));
        }
        let datapath: Arc<dyn Datapath> = Arc::new(KernelDatapath::attach(name)?);
        Ok(Opened { datapath, ufids, devices: None })
    }

    fn is_dummy(&self, kind: &str) -> bool {
        self.dummies.contains(&kind)
    }

    /// Opens the datapath that the first argument names if it names one, else the only one there is.
    /// With `most` arguments the first has to.
    fn open_optional(&self, asked: &Asked, most: usize, said: &mut Said) -> Result<Opened, Failed> {
        self.open_named(&asked.args, most, said)
    }

    /// The same with other arguments.
    fn open_named(&self, args: &[String], most: usize, said: &mut Said) -> Result<Opened, Failed> {
        let named = args.first().filter(|name| self.exists(name)).cloned();
        let name = match named {
            Some(name) => Some(name),
            None if args.len() < most => self.the_only(said),
            None => None,
        };
        match name {
            Some(name) => {
                self.open(&name).map_err(|error| said.complain_error(&error, "opening datapath"))
            }
            None => Err(said.complain_errno(libc::EINVAL, "datapath not found")),
        }
    }

    fn the_only(&self, said: &mut Said) -> Option<String> {
        let names = self.names().unwrap_or_default();
        match names.as_slice() {
            [name] => return Some(name.clone()),
            [] => said.complain("no datapaths exist"),
            _ => said.complain("multiple datapaths, specify one"),
        };
        None
    }
}

fn no_such(name: &str) -> DpError {
    let doing = format!("open datapath {name}");
    DpError::new(DpErrorKind::NoSuchDatapath, doing, libc::ENODEV)
}

fn unknown_kind(name: &str) -> DpError {
    let kind = DpErrorKind::Unsupported;
    DpError::new(kind, format!("open datapath {name}"), libc::EAFNOSUPPORT)
}

/// Splits `TYPE@NAME`; without a type it is the kernel's.
fn kind_and_name(name: &str) -> (&str, &str) {
    match name.split_once('@') {
        Some(("", name)) => ("system", name),
        Some((kind, name)) => (kind, name),
        None => ("system", name),
    }
}
