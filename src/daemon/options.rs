//! The command line of `ovs-vswitchd`, as clap knows it, and the texts of `--help` and
//! `--version`.
//!
//! The peer's options first and in its order, which shows in messages about ambiguous prefixes;
//! then ours. Source: ovs-vswitchd(8).

use super::dirs::Dirs;
use crate::bridge::engine::{DummyMode, EngineOptions};
use clap::Parser;
use clap::builder::{OsStringValueParser, TypedValueParser};
use std::ffi::OsString;
use std::path::PathBuf;

/// Version of Open vSwitch whose behaviour we have.
///
/// `ovs-ctl version` and packagers' scripts take the last word of the first line of `--version`
/// for the version of Open vSwitch, and compare it with the database schema's and the kernel
/// module's; so that line names the peer's version and our own stands in the second.
pub const COMPATIBLE_VERSION: &str = "3.1.0";

/// The options.
#[derive(Clone, Debug, Default, Parser)]
#[command(
    name = "ovs-vswitchd",
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true
)]
pub struct Options {
    /// Show usage and exit.
    #[arg(short = 'h', long)]
    pub help: bool,
    /// Show the version and exit.
    #[arg(short = 'V', long)]
    pub version: bool,
    /// Lock all memory.
    #[arg(long)]
    pub mlockall: bool,
    /// Control socket; "none" for none.
    #[arg(long, value_parser = path())]
    pub unixctl: Option<PathBuf>,
    /// Run in the background; the parent returns when the switch is configured.
    #[arg(long)]
    pub detach: bool,
    /// Accepted for compatibility: files outside of the directories of Open vSwitch may be used.
    #[arg(long)]
    pub no_self_confinement: bool,
    /// Do not change to the root directory.
    #[arg(long)]
    pub no_chdir: bool,
    /// Write a pidfile; empty for the default name.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = path())]
    pub pidfile: Option<PathBuf>,
    /// Replace the pidfile of a running daemon.
    #[arg(long)]
    pub overwrite_pidfile: bool,
    /// Start again after a crash.
    #[arg(long)]
    pub monitor: bool,
    /// `USER[:GROUP]` to run as.
    #[arg(long)]
    pub user: Option<String>,
    /// Logging levels; carried out while the command line is read.
    #[arg(short = 'v', long, num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub verbose: Vec<OsString>,
    /// Log file; carried out while the command line is read.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = path())]
    pub log_file: Vec<PathBuf>,
    /// How to reach the system logger; carried out while the command line is read.
    #[arg(long)]
    pub syslog_method: Vec<OsString>,
    /// HOST:PORT to send to as well; carried out while the command line is read.
    #[arg(long)]
    pub syslog_target: Vec<OsString>,
    /// Private key for SSL.
    #[arg(short = 'p', long, value_parser = path())]
    pub private_key: Option<PathBuf>,
    /// Certificate for the private key.
    #[arg(short = 'c', long, value_parser = path())]
    pub certificate: Option<PathBuf>,
    /// Certificate of the peers' CA.
    #[arg(short = 'C', long, value_parser = path())]
    pub ca_cert: Option<PathBuf>,
    /// SSL protocols to enable.
    #[arg(long)]
    pub ssl_protocols: Option<String>,
    /// SSL ciphers to enable, in the notation of OpenSSL.
    #[arg(long)]
    pub ssl_ciphers: Option<String>,
    /// TLS 1.3 cipher suites to enable.
    #[arg(long)]
    pub ssl_ciphersuites: Option<String>,
    /// Name that the server's certificate must have.
    #[arg(long)]
    pub ssl_server_name: Option<String>,
    /// CA certificate to send to peers.
    #[arg(long, value_parser = path())]
    pub peer_ca_cert: Option<PathBuf>,
    /// CA certificate to read, or to write from the first peer.
    #[arg(long, value_parser = path())]
    pub bootstrap_ca_cert: Option<PathBuf>,
    /// Dummy datapath: empty, "override" or "system".
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub enable_dummy: Option<String>,
    /// No datapath of the kernel.
    #[arg(long)]
    pub disable_system: bool,
    /// Do not read the kernel's routes.
    #[arg(long)]
    pub disable_system_route: bool,
    /// Refused, like by the peer.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub dpdk: Option<OsString>,
    /// NUMA node of each pretended CPU.
    #[arg(long)]
    pub dummy_numa: Option<String>,
    /// Keep CAP_SYS_RAWIO with --user.
    #[arg(long)]
    pub hw_rawio_access: bool,
    /// Configuration file, instead of a database.
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub standalone: Option<PathBuf>,
    /// Record what comes from the kernel.
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub record: Option<PathBuf>,
    /// Serve metrics at "unix:PATH" or a loopback address.
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<String>,
    /// The database; see [`Options::database`].
    #[arg(value_name = "DATABASE", allow_hyphen_values = true)]
    pub operands: Vec<OsString>,
}

/// File names may be empty, as with getopt.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// What `--enable-dummy` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dummy {
    /// The dummy datapath and devices exist.
    Available,
    /// They take the place of every other type.
    Override,
    /// They take the place of "system".
    System,
}

/// Refuses a word after `--enable-dummy=` that the peer does not know.
///
/// # Errors
/// The peer's words.
pub fn check_dummy(word: &str) -> Result<(), String> {
    match word {
        "" | "override" | "system" => Ok(()),
        _ => Err(format!("{word}: unknown dummy level")),
    }
}

impl Options {
    /// The connection method of the database, `unix:RUNDIR/db.sock` by default.
    pub fn database(&self, dirs: &Dirs) -> String {
        match self.operands.first() {
            Some(database) => database.to_string_lossy().into_owned(),
            None => format!("unix:{}/db.sock", dirs.run.display()),
        }
    }

    /// What `--enable-dummy` asks for; see [`check_dummy`].
    pub fn dummy(&self) -> Option<Dummy> {
        self.enable_dummy.as_deref().map(|word| match word {
            "override" => Dummy::Override,
            "system" => Dummy::System,
            _ => Dummy::Available,
        })
    }

    /// What an engine is told of it all.
    pub fn engine(&self) -> EngineOptions {
        let dummy = match self.dummy() {
            None => DummyMode::Off,
            Some(Dummy::Available) => DummyMode::On,
            Some(Dummy::System) => DummyMode::System,
            Some(Dummy::Override) => DummyMode::Override,
        };
        EngineOptions { record: self.record.clone(), dummy, no_system: self.disable_system }
    }
}

/// The text of `--version`: two lines.
pub fn version(program: &str) -> String {
    format!("{}\nrovs {}\n", short_version(program), env!("CARGO_PKG_VERSION"))
}

/// The first line of `--version`, which is also the answer of the `version` command.
pub fn short_version(program: &str) -> String {
    format!("{program} (Open vSwitch) {COMPATIBLE_VERSION}")
}

/// The text of `--help`.
pub fn usage(program: &str, dirs: &Dirs) -> String {
    let (run, log) = (dirs.run.display(), dirs.log.display());
    format!(
        "{program}: Open vSwitch daemon
usage: {program} [OPTIONS] [DATABASE]
where DATABASE is a socket on which ovsdb-server is listening
      (default: \"unix:{run}/db.sock\").

Active DATABASE connection methods:
  tcp:HOST:PORT           PORT at remote HOST
  ssl:HOST:PORT           SSL PORT at remote HOST
  unix:FILE               Unix domain socket named FILE
PKI configuration (required to use SSL):
  -p, --private-key=FILE  file with private key
  -c, --certificate=FILE  file with certificate for private key
  -C, --ca-cert=FILE      file with peer CA certificate
  --bootstrap-ca-cert=FILE  file with peer CA certificate to read or create
SSL options:
  --ssl-protocols=PROTOS  list of SSL protocols to enable
  --ssl-ciphers=CIPHERS   list of SSL ciphers to enable

Daemon options:
  --detach                run in background as daemon
  --monitor               creates a process to monitor this daemon
  --user=username[:group] changes the effective daemon user:group
  --no-chdir              do not chdir to '/'
  --pidfile[=FILE]        create pidfile (default: {run}/{program}.pid)
  --overwrite-pidfile     with --pidfile, start even if already running

Logging options:
  -vSPEC, --verbose=SPEC   set logging levels
  -v, --verbose            set maximum verbosity level
  --log-file[=FILE]        enable logging to specified FILE
                           (default: {log}/{program}.log)
  --syslog-method=(libc|unix:file|udp:ip:port)
                           specify how to send messages to syslog daemon
  --syslog-target=HOST:PORT  also send syslog msgs to HOST:PORT via UDP

Options of rovs:
  --standalone=FILE       bridges from a TOML file, without a database
  --record=FILE           record what comes from the kernel
  --metrics=ADDRESS       serve metrics at unix:PATH or a loopback address

Other options:
  --unixctl=SOCKET          override default control socket name
  -h, --help                display this help message
  -V, --version             display version information
"
    )
}
