//! The habits of the process: command line, directories, pidfile, background, monitor, signals.
//!
//! What it is: the road from `main` to a switch that runs, and back. [`Startup::from_env`] reads
//! the command line and starts logging; [`Startup::daemonize`] comes back in the process that is
//! to be the daemon, with pidfile and user as asked for; [`Daemon::run`] serves the control socket
//! and runs the switch until someone ends it; then everything that was put into the file system
//! is taken away.
//!
//! What always holds: the caller of `--detach` gets its prompt back only after the switch called
//! [`Control::ready`]; signals are blocked before the first thread starts, so every thread has
//! them blocked; a panic anywhere ends the process by SIGABRT, which the monitor sees.
//!
//! Threads: all of this is on the main thread, which is also the control thread.

pub mod argv;
pub mod dirs;
mod fatal;
mod monitor;
pub mod options;
pub mod pidfile;
mod run;
mod signals;
mod stage;
mod systemd;
mod title;
mod user;

use crate::vlog::spec::Spec;
use crate::vlog::syslog::Method;
use crate::vlog::{self, Vlog};
use argv::{Argv, LongOption};
use clap::{CommandFactory as _, Parser as _};
use dirs::Dirs;
pub use fatal::Fatal;
use options::Options;
use pidfile::Pidfile;
pub use run::{Control, End, Event};
use signals::Signals;
use stage::{Invocation, Parent, Stage};
use std::ffi::{CString, OsStr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use user::Identity;

/// A process that is not to be the daemon, or not yet, or not any more, ends like this.
#[derive(Debug)]
pub struct Exit {
    /// Its exit status.
    pub code: ExitCode,
}

/// A command line that was read.
#[derive(Debug)]
pub struct Startup {
    program: String,
    invocation: Invocation,
    stage: Stage,
    options: Options,
    dirs: Dirs,
    vlog: &'static Arc<Vlog>,
    identity: Option<Identity>,
}

/// The process that is the daemon.
#[derive(Debug)]
pub struct Daemon {
    program: String,
    options: Options,
    dirs: Dirs,
    vlog: &'static Arc<Vlog>,
    parent: Option<Parent>,
    signals: Signals,
    pidfile: Option<Pidfile>,
}

impl Startup {
    /// Reads the command line of this process and starts logging as it says.
    ///
    /// # Errors
    /// [`Exit`] after `--help` and `--version` were answered, or a mistake was reported.
    pub fn from_env() -> Result<Startup, Exit> {
        let mut args = std::env::args_os();
        let program = args.next().unwrap_or_else(|| "ovs-vswitchd".into());
        Startup::new(Invocation { program, args: args.collect() }, Dirs::from_env())
    }

    fn new(invocation: Invocation, dirs: Dirs) -> Result<Startup, Exit> {
        let base = Path::new(&invocation.program).file_name();
        let program =
            base.map_or_else(|| "ovs-vswitchd".into(), OsStr::to_string_lossy).into_owned();
        // A process that a monitor started has the name of a link of /proc until it says its own.
        if let Ok(name) = CString::new(program.as_str()) {
            let _ = nix::sys::prctl::set_name(&name);
        }
        let argv = Argv::parse(&Options::command(), invocation.args.iter().cloned());
        for LongOption { name, .. } in &argv.options {
            let text = match name.as_str() {
                "help" => options::usage(&program, &dirs),
                "version" => options::version(&program),
                _ => continue,
            };
            use std::io::Write as _;
            let _ = std::io::stdout().write_all(text.as_bytes());
            return Err(Exit { code: ExitCode::SUCCESS });
        }
        let (stage, sequence) = Stage::of_this_process();
        let vlog = vlog::init(&program);
        Vlog::set_next_sequence(sequence);
        let report = |fatal: Fatal| Exit { code: fatal.report(&program, Some(vlog)) };
        for option in &argv.options {
            set_up_logging(option, vlog, &dirs, &program, stage).map_err(report)?;
            if option.name == "enable-dummy" {
                let word = option.value.as_deref().unwrap_or_default().to_string_lossy();
                options::check_dummy(&word).map_err(|text| report(Fatal::usage(text)))?;
            }
        }
        if let Some(error) = &argv.error {
            // The C library names the program as it was called.
            let called = invocation.program.to_string_lossy();
            return Err(Exit { code: Fatal::usage(error.to_string()).report(&called, None) });
        }
        let options = Options::try_parse_from(argv.for_clap(&program))
            .map_err(|error| report(Fatal::usage(error.to_string())))?;
        if options.dpdk.is_some() {
            let text = "Using --dpdk to configure DPDK is not supported.";
            return Err(report(Fatal::usage(text)));
        }
        if options.operands.len() > 1 {
            let text = "at most one non-option argument accepted; use --help for usage";
            return Err(report(Fatal::logged("vswitchd", text)));
        }
        let pidfile = pidfile_path(&options, &dirs, &program);
        let identity = match &options.user {
            Some(spec) => {
                let pidfile = pidfile.as_deref().map(|path| path.display().to_string());
                let named = pidfile.as_deref().unwrap_or("(null)");
                Some(Identity::look_up(spec, named).map_err(report)?)
            }
            None => None,
        };
        Ok(Startup { program, invocation, stage, options, dirs, vlog, identity })
    }

    /// The options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Detaches and monitors as asked for, and comes back in the process that is the daemon.
    ///
    /// # Errors
    /// [`Exit`] in every other process, when it is time for it to end; failures were reported.
    pub fn daemonize(self) -> Result<Daemon, Exit> {
        let (program, vlog) = (self.program.clone(), self.vlog);
        let report = |fatal: Fatal| Exit { code: fatal.report(&program, Some(vlog)) };
        let ended = |code: u8| Exit { code: code.into() };
        let parent = match (self.stage, self.options.detach, self.options.monitor) {
            (Stage::First, true, monitored) => {
                let stage = if monitored { Stage::Monitor } else { Stage::Daemon };
                return Err(stage::detach(&self.invocation, stage).map_or_else(report, ended));
            }
            (Stage::First, false, true) => {
                let end = monitor::run(&self.invocation, &program, vlog, || {});
                return Err(end.map_or_else(report, ended));
            }
            (Stage::First, false, false) => None,
            (Stage::Monitor, ..) => {
                let parent = take_parent().map_err(report)?;
                let _ = nix::unistd::setsid();
                let ready = move || {
                    parent.notify();
                    let _ = stage::close_standard_fds();
                };
                let end = monitor::run(&self.invocation, &program, vlog, ready);
                return Err(end.map_or_else(report, ended));
            }
            (Stage::Daemon, detach, monitored) => {
                if detach && !monitored {
                    let _ = nix::unistd::setsid();
                }
                Some(take_parent().map_err(report)?)
            }
        };
        self.become_daemon(parent).map_err(report)
    }

    fn become_daemon(self, parent: Option<Parent>) -> Result<Daemon, Fatal> {
        if let Some(identity) = &self.identity {
            identity.assume(self.vlog, self.options.hw_rawio_access)?;
        }
        let signals = Signals::watch().map_err(|error| {
            let text = format!("signalfd failed ({})", crate::strerror::strerror(&error));
            Fatal::logged("fatal_signal", text)
        })?;
        abort_on_panic();
        let pidfile = pidfile_path(&self.options, &self.dirs, &self.program)
            .map(|path| Pidfile::create(&path, self.options.overwrite_pidfile))
            .transpose()?;
        if self.options.mlockall {
            lock_memory();
        }
        Ok(Daemon {
            program: self.program,
            options: self.options,
            dirs: self.dirs,
            vlog: self.vlog,
            parent,
            signals,
            pidfile,
        })
    }
}

fn take_parent() -> Result<Parent, Fatal> {
    Parent::take().map_err(|error| {
        let text = format!("no parent to report to ({})", crate::strerror::strerror(&error));
        Fatal::logged("daemon_unix", text)
    })
}

/// Carries out an option about logging at its place in the command line: an earlier `-v` governs
/// what a later `--log-file` says.
fn set_up_logging(
    option: &LongOption,
    vlog: &Vlog,
    dirs: &Dirs,
    program: &str,
    stage: Stage,
) -> Result<(), Fatal> {
    let value = option.value.as_deref();
    let text = value.unwrap_or_default().to_string_lossy();
    match option.name.as_str() {
        "verbose" => {
            let spec = match value {
                None => Spec::MAXIMUM,
                Some(_) => Spec::parse(&text)
                    .map_err(|error| Fatal::usage(format!("processing \"{text}\": {error}")))?,
            };
            vlog.apply(spec);
        }
        "log-file" => {
            let path = match value {
                None => dirs.log.join(format!("{program}.log")),
                Some(path) => PathBuf::from(path),
            };
            // Why it cannot be opened has been logged.
            match stage {
                Stage::First => vlog.set_log_file(&path),
                Stage::Monitor | Stage::Daemon => vlog.continue_log_file(&path),
            }
            .map_err(|_| Fatal::said())?;
        }
        "syslog-method" => {
            let method = Method::parse(&text).map_err(|error| Fatal::usage(error.to_string()))?;
            vlog.set_syslog_method(method);
        }
        "syslog-target" => vlog.set_syslog_target(&text),
        _ => {}
    }
    Ok(())
}

fn pidfile_path(options: &Options, dirs: &Dirs, program: &str) -> Option<PathBuf> {
    let named = options.pidfile.as_deref()?;
    Some(match named.as_os_str().is_empty() {
        true => dirs.in_run(Path::new(&format!("{program}.pid"))),
        false => dirs.in_run(named),
    })
}

/// Where the control socket is to be; `None` for `--unixctl=none`.
fn control_path(options: &Options, dirs: &Dirs, program: &str) -> Option<PathBuf> {
    match &options.unixctl {
        Some(path) if path.as_os_str() == "none" => None,
        Some(path) => Some(dirs.in_run(path)),
        None => {
            let name = format!("{program}.{}.ctl", std::process::id());
            Some(dirs.in_run(Path::new(&name)))
        }
    }
}

/// The control socket of a running daemon, found as `ovs-appctl --target` finds it: a socket by
/// its absolute path, or a program by its pidfile in the run directory.
///
/// # Errors
/// What [`pidfile::read`] said.
pub fn control_socket(dirs: &Dirs, target: &str) -> std::io::Result<PathBuf> {
    if target.starts_with('/') {
        return Ok(PathBuf::from(target));
    }
    let pid = pidfile::read(&dirs.in_run(Path::new(&format!("{target}.pid"))))?;
    Ok(dirs.in_run(Path::new(&format!("{target}.{pid}.ctl"))))
}

/// Keeps all memory that is touched in RAM.
fn lock_memory() {
    use nix::sys::mman::{MlockAllFlags, mlockall};
    // Since Linux 4.4; not touching what is never used saves a lot with many threads.
    let on_fault = MlockAllFlags::from_bits_retain(4);
    let all = MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE;
    if mlockall(all | on_fault).is_err()
        && let Err(error) = mlockall(all)
    {
        tracing::error!(target: "vswitchd", "mlockall failed: {}", error.desc());
    }
}

/// A panic is a defect of ours, in whichever thread. Half a switch is worse than none: log it and
/// die of SIGABRT, so that the monitor starts us again.
fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        vlog::emer!(target: "util", "{panic}");
        std::process::abort();
    }));
}

impl Daemon {
    /// The options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Where things are.
    pub fn dirs(&self) -> &Dirs {
        &self.dirs
    }
}
