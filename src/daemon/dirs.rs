//! The directories of Open vSwitch: those of Debian's packages, unless the environment says
//! otherwise.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    /// Sockets and pidfiles (`OVS_RUNDIR`).
    pub run: PathBuf,
    /// Log files (`OVS_LOGDIR`).
    pub log: PathBuf,
    /// Databases (`OVS_DBDIR`; with `OVS_SYSCONFDIR` alone its subdirectory `openvswitch`).
    pub db: PathBuf,
    /// Configuration of the machine (`OVS_SYSCONFDIR`).
    pub sysconf: PathBuf,
    /// Files of the package, such as the schema (`OVS_PKGDATADIR`).
    pub pkgdata: PathBuf,
}

impl Dirs {
    /// The directories as the environment has them.
    pub fn from_env() -> Dirs {
        Dirs::from_variables(|name| std::env::var_os(name))
    }

    /// The directories for an environment; empty variables count as unset.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Dirs {
        let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let or = |name, default: &str| set(name).unwrap_or_else(|| default.into());
        let db = set("OVS_DBDIR")
            .or_else(|| set("OVS_SYSCONFDIR").map(|sysconf| sysconf.join("openvswitch")));
        Dirs {
            run: or("OVS_RUNDIR", "/var/run/openvswitch"),
            log: or("OVS_LOGDIR", "/var/log/openvswitch"),
            db: db.unwrap_or_else(|| "/etc/openvswitch".into()),
            sysconf: or("OVS_SYSCONFDIR", "/etc"),
            pkgdata: or("OVS_PKGDATADIR", "/usr/share/openvswitch"),
        }
    }

    /// A file as an option names it: from the run directory unless its path is absolute.
    pub fn in_run(&self, name: &Path) -> PathBuf {
        self.run.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_over_defaults() {
        let dirs = Dirs::from_variables(|_| None);
        assert_eq!(dirs.run, Path::new("/var/run/openvswitch"));
        assert_eq!(dirs.db, Path::new("/etc/openvswitch"));
        let dirs = Dirs::from_variables(|name| match name {
            "OVS_RUNDIR" => Some("/r".into()),
            "OVS_LOGDIR" => Some("".into()),
            "OVS_SYSCONFDIR" => Some("/s".into()),
            _ => None,
        });
        assert_eq!(dirs.run, Path::new("/r"));
        assert_eq!(dirs.log, Path::new("/var/log/openvswitch"));
        assert_eq!(
            (dirs.db.as_path(), dirs.sysconf.as_path()),
            (Path::new("/s/openvswitch"), Path::new("/s"))
        );
        assert_eq!(dirs.in_run(Path::new("x.pid")), Path::new("/r/x.pid"));
        assert_eq!(dirs.in_run(Path::new("/y/x.pid")), Path::new("/y/x.pid"));
    }
}
