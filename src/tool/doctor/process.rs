//! The process's side: capabilities, network namespace, run directory, the daemon itself, and other
//! daemons that want the same datapath.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use caps::{CapSet, Capability};
use nix::unistd::{AccessFlags, access};

use super::super::Failure;
use super::super::control::Control;
use super::Finding;
use crate::daemon::dirs::Dirs;
use crate::unixctl::client::ClientError;

/// Looks at the process and at the daemon `target`.
pub(super) fn examine(target: &str) -> Vec<Finding> {
    let dirs = Dirs::from_env();
    let effective = caps::read(None, CapSet::Effective).unwrap_or_default();
    let effective: BTreeSet<String> = effective.iter().map(Capability::to_string).collect();
    let asked = Asked::ask(&dirs, target);
    let switches = switches();
    vec![
        capabilities(&effective),
        network_namespace(link("/proc/self/ns/net"), link("/proc/1/ns/net")),
        run_directory(&dirs.run),
        control_socket(target, &asked),
        other_daemons(&switches, &asked),
    ]
}

fn link(path: &str) -> Option<String> {
    fs::read_link(path).ok().map(|link| link.to_string_lossy().into_owned())
}

/// What a switch needs, and without what it does less.
fn capabilities(effective: &BTreeSet<String>) -> Finding {
    let check = "capabilities";
    let has = |name: &str| effective.contains(name);
    if !has("CAP_NET_ADMIN") {
        return Finding::missing(
            check,
            "CAP_NET_ADMIN is not there",
            "run as root, or give it: \"docker run --cap-add NET_ADMIN\", AmbientCapabilities= in \
             the unit, \"setcap cap_net_admin+ep\" on the program",
        );
    }
    let less: Vec<&str> = [
        ("CAP_NET_RAW", "raw sockets"),
        ("CAP_NET_BROADCAST", "namespace ids"),
        ("CAP_IPC_LOCK", "--mlockall"),
    ]
    .iter()
    .filter(|(name, _)| !has(name))
    .map(|(name, _)| *name)
    .collect();
    if less.is_empty() {
        return Finding::ok(check, "CAP_NET_ADMIN and the lesser ones");
    }
    Finding::note(
        check,
        format!("CAP_NET_ADMIN is there, {} not", less.join(" and ")),
        "ports work; --mlockall, raw sockets or other network namespaces may not: add them as well",
    )
}

fn network_namespace(own: Option<String>, init: Option<String>) -> Finding {
    let check = "network namespace";
    match (own, init) {
        (Some(own), Some(init)) if own == init => Finding::ok(check, format!("the host's ({own})")),
        (Some(own), Some(init)) => Finding::note(
            check,
            format!("{own} is not that of process 1 ({init})"),
            "each has datapaths of its own; for the host's use \"nsenter --net=/proc/1/ns/net\" \
             or --network=host",
        ),
        (Some(own), None) => Finding::ok(check, own),
        (None, _) => Finding::note(check, "unknown", "is /proc mounted?"),
    }
}

fn run_directory(run: &Path) -> Finding {
    let (check, shown) = ("run directory", run.display());
    match access(run, AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) => Finding::ok(check, format!("{shown}")),
        Err(nix::errno::Errno::ENOENT) => Finding::missing(
            check,
            format!("{shown} does not exist"),
            format!("run \"mkdir -p {shown}\", or set OVS_RUNDIR"),
        ),
        Err(error) => Finding::missing(
            check,
            format!("{shown} is not to be written to ({})", error.desc()),
            "run as its owner, or set OVS_RUNDIR",
        ),
    }
}

/// What the daemon said.
#[derive(Debug)]
enum Asked {
    /// It answers; whether it has our commands, and its process number if it is known.
    Answers {
        version: String,
        is_ours: bool,
        has_datapath: Result<(), String>,
    },
    Absent(String),
    Forbidden(String),
    Stuck(String),
}

impl Asked {
    fn ask(dirs: &Dirs, target: &str) -> Self {
        let ask = || -> Result<Self, Failure> {
            let mut control = Control::connect_in(dirs, target)?;
            control.set_patience(Duration::from_secs(2))?;
            let version = control.text("version", &[])?.trim_end().to_owned();
            let is_ours = control.text("list-commands", &[])?.contains("flow/why");
            let has_datapath = match control.text("upcall/ports", &[]) {
                Err(Failure::Refused { text, .. }) => Err(text.trim_end().to_owned()),
                other => {
                    other.map(drop).or(Ok(()) as Result<(), Failure>).map_err(|_| String::new())
                }
            };
            Ok(Self::Answers { version, is_ours, has_datapath })
        };
        ask().unwrap_or_else(|failure| match &failure {
            Failure::Client(ClientError::Connect { source, .. })
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Self::Forbidden(failure.to_string())
            }
            Failure::NoDaemon { source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Self::Forbidden(failure.to_string())
            }
            Failure::NoDaemon { .. } | Failure::Client(ClientError::Connect { .. }) => {
                Self::Absent(failure.to_string())
            }
            _ => Self::Stuck(failure.to_string()),
        })
    }
}

fn control_socket(target: &str, asked: &Asked) -> Finding {
    let check = "control socket";
    match asked {
        Asked::Answers { has_datapath: Err(why), .. } => Finding::missing(
            check,
            format!("{target} answers, but: {why}"),
            "its log says what the datapath lacks; see the lines above",
        ),
        Asked::Answers { version, is_ours: true, .. } => Finding::ok(check, version.clone()),
        Asked::Answers { version, is_ours: false, .. } => Finding::note(
            check,
            format!("{version} answers, which is not rovs"),
            "only `rovs` of the same package can look into it; its own tool is ovs-appctl",
        ),
        Asked::Absent(text) => Finding::note(
            check,
            text.clone(),
            "start ovs-vswitchd with --pidfile, or name its socket by --target",
        ),
        Asked::Forbidden(text) => {
            Finding::missing(check, text.clone(), "become root, or a member of its group")
        }
        Asked::Stuck(text) => Finding::missing(
            check,
            text.clone(),
            "the daemon is stuck: look at its log, then restart it",
        ),
    }
}

/// A process that is a switch of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    command: String,
}

/// Daemons named ovs-vswitchd in this network namespace, monitors left out.
fn switches() -> Vec<Process> {
    let own = link("/proc/self/ns/net");
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found: Vec<Process> = entries
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            if name.trim_end() != "ovs-vswitchd" {
                return None;
            }
            let net = link(&format!("/proc/{pid}/ns/net"));
            if net.is_some() && net != own {
                return None;
            }
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let command = String::from_utf8_lossy(&line).replace('\0', " ").trim_end().to_owned();
            // The monitor of a daemon says what it is in its command line.
            (!command.contains("monitoring pid")).then_some(Process { pid, command })
        })
        .collect();
    found.sort_by_key(|process| process.pid);
    found
}

fn other_daemons(switches: &[Process], asked: &Asked) -> Finding {
    let check = "other switches";
    let known = usize::from(matches!(asked, Asked::Answers { .. }));
    let list = |switches: &[Process]| {
        let list: Vec<String> = switches
            .iter()
            .map(|process| {
                let program = process.command.split(' ').next().unwrap_or_default();
                format!("{program} (pid {})", process.pid)
            })
            .collect();
        list.join(", ")
    };
    if switches.len() > 1 {
        return Finding::missing(
            check,
            format!("{} share this network namespace: {}", switches.len(), list(switches)),
            "two switches fight over one datapath's flows: stop all but one (\"systemctl stop \
             openvswitch-switch\", \"kill PID\")",
        );
    }
    match (switches, asked) {
        ([one], Asked::Answers { is_ours: false, .. }) => Finding::missing(
            check,
            format!("{} is running, not rovs", list(std::slice::from_ref(one))),
            "stop it before rovs takes its place: \"systemctl stop openvswitch-switch\"",
        ),
        ([one], _) if known == 0 => Finding::note(
            check,
            format!("{} is running, but not under this name", list(std::slice::from_ref(one))),
            "name its socket by --target, or stop it before another is started",
        ),
        _ => Finding::ok(check, "none"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn answers(is_ours: bool) -> Asked {
        Asked::Answers { version: "v".into(), is_ours, has_datapath: Ok(()) }
    }

    #[test]
    fn capabilities_by_weight() {
        assert_eq!(capabilities(&names(&[])).status, Status::Missing);
        assert_eq!(capabilities(&names(&["CAP_NET_ADMIN", "CAP_NET_RAW"])).status, Status::Note);
        let all = ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_NET_BROADCAST", "CAP_IPC_LOCK"];
        assert_eq!(capabilities(&names(&all)).status, Status::Ok);
    }

    #[test]
    fn namespaces() {
        let net = |n: u32| Some(format!("net:[{n}]"));
        assert_eq!(network_namespace(net(1), net(1)).status, Status::Ok);
        assert_eq!(network_namespace(net(1), net(2)).status, Status::Note);
        assert_eq!(network_namespace(net(1), None).status, Status::Ok);
    }

    #[test]
    fn daemons() {
        let process = |pid| Process { pid, command: "/usr/sbin/ovs-vswitchd unix:x".into() };
        let absent = Asked::Absent("no daemon".into());
        assert_eq!(other_daemons(&[], &absent).status, Status::Ok);
        assert_eq!(other_daemons(&[process(7)], &answers(true)).status, Status::Ok);
        assert_eq!(other_daemons(&[process(7)], &absent).status, Status::Note);
        let peer = other_daemons(&[process(7)], &answers(false));
        assert_eq!(peer.status, Status::Missing);
        assert!(peer.found.contains("/usr/sbin/ovs-vswitchd (pid 7)"), "{peer:?}");
        assert_eq!(
            other_daemons(&[process(7), process(8)], &answers(true)).status,
            Status::Missing
        );
        assert_eq!(control_socket("x", &answers(true)).status, Status::Ok);
        assert_eq!(control_socket("x", &answers(false)).status, Status::Note);
        let no_datapath = Asked::Answers {
            version: "v".into(),
            is_ours: true,
            has_datapath: Err("the datapath is not there".into()),
        };
        assert!(control_socket("x", &no_datapath).found.contains("the datapath is not there"));
    }

    #[test]
    fn directories() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(run_directory(dir.path()).status, Status::Ok);
        let absent = run_directory(&dir.path().join("x"));
        assert_eq!(absent.status, Status::Missing);
        assert!(absent.remedy.is_some_and(|remedy| remedy.starts_with("run \"mkdir -p")));
    }
}
