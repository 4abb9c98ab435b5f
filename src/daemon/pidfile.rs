//! The pidfile: at most one daemon has it, and whoever reads it can tell whether that one lives.
//!
//! What always holds: a pidfile that can be seen under its name holds a complete number, and is
//! locked (fcntl(2), whole file) by the process of that number, or is stale. The lock ends with
//! the process, however it ends. Because closing any descriptor of a file drops all locks that a
//! process has on it, nothing else in the daemon may open its own pidfile.

use super::fatal::Fatal;
use crate::strerror::strerror;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A pidfile that is ours; removed when dropped.
#[derive(Debug)]
pub struct Pidfile {
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

impl Pidfile {
    /// Makes `path` ours.
    ///
    /// # Errors
    /// [`Fatal`] in the peer's words when another daemon has it (unless `overwrite`), or the
    /// directory does not let us.
    pub fn create(path: &Path, overwrite: bool) -> Result<Pidfile, Fatal> {
        let pid = std::process::id();
        let fatal = |text: String| Fatal::logged("daemon_unix", text);
        let mut name = path.as_os_str().to_owned();
        name.push(".tmp");
        if overwrite {
            // A name of our own. Otherwise all share one, whose lock settles who goes first.
            name.push(pid.to_string());
        }
        let temporary = PathBuf::from(name);
        let shown = temporary.display();
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&temporary)
            .map_err(|error| fatal(format!("{shown}: create failed ({})", strerror(&error))))?;
        lock(&file)
            .map_err(|error| fatal(format!("{shown}: fcntl(F_SETLK) failed ({})", error.desc())))?;
        let finish = |file: &mut File| -> Result<(), Fatal> {
            if !overwrite {
                check_already_running(path)?;
            }
            file.set_len(0).map_err(|error| {
                fatal(format!("{shown}: truncate failed ({})", strerror(&error)))
            })?;
            file.write_all(format!("{pid}\n").as_bytes())
                .map_err(|error| fatal(format!("{shown}: write failed ({})", strerror(&error))))?;
            std::fs::rename(&temporary, path).map_err(|error| {
                let path = path.display();
                fatal(format!("failed to rename \"{shown}\" to \"{path}\" ({})", strerror(&error)))
            })
        };
        if let Err(error) = finish(&mut file) {
            let _ = std::fs::remove_file(&temporary);
            return Err(error);
        }
        Ok(Pidfile { path: path.to_owned(), _file: file })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The process that has the pidfile `path`, for those who want to talk to it.
///
/// # Errors
/// `ESRCH` when the pidfile is stale, else what the system said.
pub fn read(path: &Path) -> io::Result<u32> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    match owner(&file)? {
        None => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        Some(owner) => named_in(&mut file, owner),
    }
}

fn check_already_running(path: &Path) -> Result<(), Fatal> {
    let shown = path.display();
    match remove_stale(path) {
        Ok(None) => Ok(()),
        Ok(Some(pid)) => {
            let text = format!("{shown}: already running as pid {pid}, aborting");
            Err(Fatal::logged("daemon_unix", text))
        }
        Err(error) => {
            let text = format!("{shown}: pidfile check failed ({}), aborting", strerror(&error));
            Err(Fatal::logged("daemon_unix", text))
        }
    }
}

/// Removes the pidfile if it is stale; otherwise gives the process that has it.
fn remove_stale(path: &Path) -> io::Result<Option<u32>> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            tracing::warn!(target: "daemon_unix", "{}: open: {}", path.display(), strerror(&error));
            return Err(error);
        }
    };
    if let Some(owner) = owner(&file)? {
        return named_in(&mut file, owner).map(Some);
    }
    // Nobody has it. Only who holds its lock may remove it, and only if it still has its name:
    // otherwise we might remove the pidfile of someone who was quicker.
    lock(&file).inspect_err(|_| {
        tracing::warn!(target: "daemon_unix", "{}: lost race to lock pidfile", path.display());
    })?;
    let (named, ours) = (std::fs::metadata(path)?, file.metadata()?);
    if (named.dev(), named.ino()) != (ours.dev(), ours.ino()) {
        tracing::warn!(target: "daemon_unix", "{}: lost race to delete pidfile", path.display());
        return Err(io::Error::from_raw_os_error(libc::EALREADY));
    }
    std::fs::remove_file(path)?;
    tracing::debug!(target: "daemon_unix", "{}: deleted stale pidfile", path.display());
    Ok(None)
}

/// The number in the file, which must be that of the process that locks it.
fn named_in(file: &mut File, owner: u32) -> io::Result<u32> {
    let mut text = String::new();
    file.take(128).read_to_string(&mut text)?;
    let pid = text.split_whitespace().next().and_then(|word| word.parse::<u32>().ok());
    if pid == Some(owner) { Ok(owner) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
}

fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn lock(file: &File) -> Result<(), Errno> {
    fcntl(file, FcntlArg::F_SETLK(&whole_file())).map(drop)
}

fn owner(file: &File) -> io::Result<Option<u32>> {
    let mut found = whole_file();
    fcntl(file, FcntlArg::F_GETLK(&mut found))?;
    let is_free = i32::from(found.l_type) == libc::F_UNLCK;
    Ok(if is_free { None } else { u32::try_from(found.l_pid).ok() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_one_is_replaced_and_ours_goes_with_us() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.pid");
        std::fs::write(&path, "1\n").expect("a stale pidfile");
        assert_eq!(read(&path).expect_err("stale").raw_os_error(), Some(libc::ESRCH));
        let pidfile = Pidfile::create(&path, false).expect("a pidfile");
        let text = std::fs::read_to_string(&path).expect("its text");
        assert_eq!(text, format!("{}\n", std::process::id()));
        drop(pidfile);
        assert_eq!(std::fs::read_dir(dir.path()).expect("the directory").count(), 0);
    }

    /// Text of ovs-vswitchd 3.1.0.
    #[test]
    fn no_directory() {
        let error = Pidfile::create(Path::new("/nonexistent/x.pid"), false).expect_err("nowhere");
        assert_eq!(
            error.text(),
            "/nonexistent/x.pid.tmp: create failed (No such file or directory)"
        );
    }
}
