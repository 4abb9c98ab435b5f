//! `--user USER[:GROUP]`: give up root, keep what a switch needs.
//!
//! What always holds: afterwards the process has no supplementary groups, neither the real,
//! effective nor saved id of root, and only the capabilities named here. Capabilities belong to
//! threads: call [`Identity::assume`] before the first thread is started. Only the daemon changes
//! user; its monitor stays root, because it must start the next daemon, and does nothing but wait.

use super::fatal::Fatal;
use crate::vlog::Vlog;
use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::{Gid, Group, Uid, User, chown, geteuid, getuid, setgroups, setresgid, setresuid};

/// Whom to run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    uid: Uid,
    gid: Gid,
}

impl Identity {
    /// Looks up USER[:GROUP]. `pidfile` is named in messages, as the peer does.
    ///
    /// # Errors
    /// [`Fatal`] in the peer's words.
    pub fn look_up(spec: &str, pidfile: &str) -> Result<Identity, Fatal> {
        let fatal = |text: String| Fatal::logged("daemon_unix", format!("{pidfile}: {text}"));
        if !geteuid().is_root() || !getuid().is_root() {
            return Err(fatal("only root can use --user option".to_owned()));
        }
        let blank = [' ', '\t', '\r', '\n'];
        let spec = spec.trim_start_matches(blank);
        let (name, group) = match spec.split_once(':') {
            Some((name, group)) => (name, group.trim_start_matches(blank)),
            None => (spec, ""),
        };
        let user = if name.is_empty() { User::from_uid(getuid()) } else { User::from_name(name) };
        let user = user.map_err(|error| {
            fatal(format!("Failed to retrieve user {name}'s uid ({}), aborting.", error.desc()))
        })?;
        let user = user.ok_or_else(|| fatal(format!("user {name} not found, aborting.")))?;
        if group.is_empty() {
            return Ok(Identity { uid: user.uid, gid: user.gid });
        }
        let found = Group::from_name(group).map_err(|error| {
            let text = error.desc();
            fatal(format!("Failed to get group entry for {group}, ({text}), aborting."))
        })?;
        let found = found.ok_or_else(|| fatal(format!("group {group} not found, aborting.")))?;
        if found.gid != user.gid && !found.mem.contains(&user.name) {
            return Err(fatal(format!(
                "Invalid --user option {spec} (user {} is not in group {group}), aborting.",
                user.name
            )));
        }
        Ok(Identity { uid: user.uid, gid: found.gid })
    }

    /// Becomes that user. The log file goes along.
    ///
    /// # Errors
    /// [`Fatal`]; the process may then be in between and must end.
    pub fn assume(&self, vlog: &Vlog, keep_rawio: bool) -> Result<(), Fatal> {
        if let Some(path) = vlog.log_file() {
            chown(&path, Some(self.uid), Some(self.gid)).map_err(|error| {
                let path = path.display();
                Fatal::logged(
                    "daemon_unix",
                    format!("Failed to change {path} ownership: {}.", error.desc()),
                )
            })?;
        }
        if keep_rawio {
            tracing::warn!(target: "daemon_unix",
                "No driver requires Linux capability CAP_SYS_RAWIO, disabling it.");
        }
        let failed = |what: &str, why: String| {
            let text = format!("failed to switch to user {} ({what}: {why}), aborting", self.uid);
            Fatal::logged("daemon_unix", text)
        };
        let system = |what| move |error: nix::errno::Errno| failed(what, error.desc().to_owned());
        let capability =
            |what| move |error: caps::errors::CapsError| failed(what, error.to_string());
        let keep: CapsHashSet = [
            Capability::CAP_IPC_LOCK,
            Capability::CAP_NET_BIND_SERVICE,
            Capability::CAP_NET_ADMIN,
            Capability::CAP_NET_RAW,
            Capability::CAP_NET_BROADCAST,
        ]
        .into();
        // While still root: what is not in the bounding set can never come back.
        for one in caps::all() {
            if caps::has_cap(None, CapSet::Bounding, one).unwrap_or(false) {
                caps::drop(None, CapSet::Bounding, one).map_err(capability("bounding set"))?;
            }
        }
        nix::sys::prctl::set_keepcaps(true).map_err(system("PR_SET_KEEPCAPS"))?;
        setgroups(&[]).map_err(system("setgroups"))?;
        setresgid(self.gid, self.gid, self.gid).map_err(system("setresgid"))?;
        setresuid(self.uid, self.uid, self.uid).map_err(system("setresuid"))?;
        let owned = caps::read(None, CapSet::Permitted).map_err(capability("capget"))?;
        let keep: CapsHashSet = keep.intersection(&owned).copied().collect();
        caps::set(None, CapSet::Effective, &CapsHashSet::new()).map_err(capability("effective"))?;
        caps::set(None, CapSet::Permitted, &keep).map_err(capability("permitted"))?;
        caps::set(None, CapSet::Effective, &keep).map_err(capability("effective"))?;
        Ok(())
    }
}
