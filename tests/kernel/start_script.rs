//! The distribution's start script, `ovs-ctl`, with either daemon under the name that it starts.

use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use super::process::our_daemon;
use super::{attempt, run};

/// The script.
pub const CTL: &str = "/usr/share/openvswitch/scripts/ovs-ctl";
/// The distribution's daemon.
pub const STOCK: &str = "/usr/lib/openvswitch-switch/ovs-vswitchd";
/// The name that the script starts.
const NAME: &str = "/usr/sbin/ovs-vswitchd";

/// The daemon under test: ours, unless `ROVS_LAB_DAEMON=peer`.
pub fn under_test() -> PathBuf {
    match std::env::var("ROVS_LAB_DAEMON") {
        Ok(which) if which == "peer" => STOCK.into(),
        _ => our_daemon(),
    }
}

/// Holds the name. When it goes, everything is stopped and the name is the distribution's again,
/// since other tests start the stock daemon by it; the next start finds no database.
pub struct Installed;

impl Installed {
    /// Gives the name to `program`.
    pub fn new(program: &Path) -> Installed {
        let _ = std::fs::remove_file(NAME);
        std::os::unix::fs::symlink(program, NAME).expect("the name can be taken");
        Installed
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        attempt(&[CTL, "stop"]);
        let _ = std::fs::remove_file(NAME);
        let _ = std::os::unix::fs::symlink("/etc/alternatives/ovs-vswitchd", NAME);
        run(&[
            "sh",
            "-c",
            "rm -rf /etc/openvswitch/* /etc/openvswitch/.conf* /var/lib/openvswitch/* /run/openvswitch/*",
        ]);
    }
}

/// The number in the daemon's pidfile.
pub fn pid() -> Option<Pid> {
    let text = std::fs::read_to_string("/run/openvswitch/ovs-vswitchd.pid").ok()?;
    text.trim().parse().ok().map(Pid::from_raw)
}

/// The program that a process runs.
pub fn program_of(pid: Pid) -> String {
    let exe = std::fs::read_link(format!("/proc/{pid}/exe")).expect("the daemon runs");
    exe.display().to_string()
}
