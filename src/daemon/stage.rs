//! The processes of a start: the one the operator called, a monitor, the daemon.
//!
//! What it is: `--detach` and `--monitor` without fork(2). Each further process is this program
//! again, started with the same arguments; [`VARIABLE`] in its environment tells it which part it
//! plays, and its standard input is a socket on which it says that it is ready. So no process
//! ever runs on after a fork, threads may be started at any time, and there is nothing to undo.
//!
//! What always holds: the caller returns success only after the daemon said that it is ready, and
//! failure with the daemon's own exit status if it gave up before.

use super::fatal::Fatal;
use super::signals;
use crate::strerror::strerror;
use crate::vlog::Vlog;
use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};

/// Tells a process which part it plays: `monitor:N` or `daemon:N`, where N is the number of its
/// first log message, so that a start counts through.
const VARIABLE: &str = "ROVS_STAGE";

/// Which part a process plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Called by the operator.
    First,
    /// Detached, to watch the daemon.
    Monitor,
    /// The daemon of a monitor or of a caller that waits.
    Daemon,
}

impl Stage {
    /// The part of this process, and the number of its first log message.
    pub fn of_this_process() -> (Stage, u32) {
        let text = std::env::var(VARIABLE).unwrap_or_default();
        let (stage, sequence) = text.split_once(':').unwrap_or((&text, ""));
        let stage = match stage {
            "monitor" => Stage::Monitor,
            "daemon" => Stage::Daemon,
            _ => return (Stage::First, 1),
        };
        (stage, sequence.parse().unwrap_or(1))
    }
}

/// What a process was called with; kept, because the monitor writes over its arguments.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The program's name as the caller gave it.
    pub program: OsString,
    /// The arguments.
    pub args: Vec<OsString>,
}

/// How a child of ours began.
pub enum Begun {
    /// It is ready.
    Ready(Child),
    /// It ended before that.
    Ended {
        /// Its process number.
        pid: u32,
        /// How it ended.
        status: ExitStatus,
    },
}

impl Invocation {
    /// Starts this program again as `stage` and waits until it is ready or has ended.
    ///
    /// # Errors
    /// What the system said.
    pub fn begin(&self, stage: Stage) -> io::Result<Begun> {
        let (mut ours, theirs) = UnixStream::pair()?;
        let part = if stage == Stage::Monitor { "monitor" } else { "daemon" };
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0(&self.program)
            .args(&self.args)
            .env(VARIABLE, format!("{part}:{}", Vlog::next_sequence()))
            .stdin(Stdio::from(OwnedFd::from(theirs)));
        let mut child = command.spawn()?;
        // The command holds their end of the pair; with it gone the end of the child ends ours.
        drop(command);
        match ours.read_exact(&mut [0]) {
            Ok(()) => Ok(Begun::Ready(child)),
            Err(_) => Ok(Begun::Ended { pid: child.id(), status: child.wait()? }),
        }
    }
}

/// The socket on which a child tells its parent that it is ready.
#[derive(Debug)]
pub struct Parent(UnixStream);

impl Parent {
    /// Takes the socket from standard input, which becomes `/dev/null`.
    ///
    /// # Errors
    /// What the system said.
    pub fn take() -> io::Result<Parent> {
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        let null = std::fs::File::open("/dev/null")?;
        nix::unistd::dup2_stdin(&null)?;
        Ok(Parent(UnixStream::from(socket)))
    }

    /// Says that this process is ready. A parent that is gone does not mind.
    pub fn notify(mut self) {
        let _ = self.0.write_all(&[0]);
    }
}

/// Points standard input, output and error to `/dev/null`.
///
/// # Errors
/// What the system said.
pub fn close_standard_fds() -> io::Result<()> {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    Ok(())
}

/// Starts `stage` for `--detach` and gives the exit status for the caller's process.
///
/// # Errors
/// [`Fatal`] when it could not be started, or died of a signal before it was ready.
pub fn detach(invocation: &Invocation, stage: Stage) -> Result<u8, Fatal> {
    match invocation.begin(stage) {
        Ok(Begun::Ready(_)) => Ok(0),
        Ok(Begun::Ended { status, .. }) => match exit_code(status) {
            Some(code) => Ok(code),
            None => {
                tracing::error!(target: "daemon_unix",
                    "fork child died before signaling startup ({})", describe(status));
                let text = "could not detach from foreground session";
                Err(Fatal::logged("daemon_unix", text))
            }
        },
        Err(error) => {
            let text = format!("could not detach from foreground session ({})", strerror(&error));
            Err(Fatal::logged("daemon_unix", text))
        }
    }
}

/// The exit status of a process that gave up by itself.
pub fn exit_code(status: ExitStatus) -> Option<u8> {
    status.code().filter(|code| *code != 0).map(|code| u8::try_from(code).unwrap_or(1))
}

/// How a process ended, in the peer's words.
pub fn describe(status: ExitStatus) -> String {
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed ({})", signals::describe(signal)),
        (None, None) => format!("terminated abnormally ({:x})", status.into_raw()),
    };
    if status.core_dumped() { how + ", core dumped" } else { how }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_in_the_peers_words() {
        let describe = |raw| describe(ExitStatus::from_raw(raw));
        assert_eq!(describe(3 << 8), "exit status 3");
        assert_eq!(describe(libc::SIGTERM), "killed (Terminated)");
        assert_eq!(describe(libc::SIGSEGV | 0x80), "killed (Segmentation fault), core dumped");
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), Some(3));
        assert_eq!(exit_code(ExitStatus::from_raw(0)), None);
        assert_eq!(exit_code(ExitStatus::from_raw(9)), None);
    }
}
