//! The daemons' programs as processes: where they lie, the directory they work in, how they end.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::unistd::Pid;

use super::wait_for;

const LONG: Duration = Duration::from_secs(30);

/// Our `ovs-vswitchd`.
pub fn our_daemon() -> PathBuf {
    std::env::var_os("ROVS_BIN_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_ovs-vswitchd")),
        |dir| PathBuf::from(dir).join("ovs-vswitchd"),
    )
}

/// The distribution's, or the one that `ci/bench --against` names.
pub fn peers_daemon() -> PathBuf {
    std::env::var_os("ROVS_PEER_VSWITCHD").unwrap_or("/usr/sbin/ovs-vswitchd".into()).into()
}

/// An empty directory of this name below /run.
pub fn fresh_dir(name: &str) -> PathBuf {
    let dir = PathBuf::from("/run/rovs-lab").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("may write below /run");
    dir
}

/// A program of Open vSwitch to which `dir` is where everything lies.
pub fn in_dir(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    for name in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
        command.env(name, dir);
    }
    command.stdin(Stdio::null());
    command
}

/// The process id of a child; panics if there is none.
pub fn pid_of(child: &Option<Child>) -> Pid {
    let id = child.as_ref().expect("it was started").id();
    Pid::from_raw(id.try_into().expect("a pid fits"))
}

/// Waits for a child that was told to end.
pub fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        wait_for("a process to end", LONG, || child.try_wait().ok().flatten());
    }
}

/// Shows the end of a daemon's log, for a test that failed.
pub fn show_end(log: &str) {
    eprintln!("--- the daemon's log, last lines:");
    let telling = |l: &&str| !l.contains("Datapath supports") && !l.contains("|coverage");
    let lines: Vec<_> = log.lines().filter(telling).collect();
    for line in &lines[lines.len().saturating_sub(25)..] {
        eprintln!("{line}");
    }
}
