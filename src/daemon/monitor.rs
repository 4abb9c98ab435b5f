//! `--monitor`: waits for the daemon and starts it again when it crashed.
//!
//! What always holds: a daemon that ended by itself or by an operator's signal is not started
//! again; one that crashes at every start is started once in ten seconds at most.

use super::fatal::Fatal;
use super::stage::{Begun, Invocation, Stage, describe, exit_code};
use super::title;
use crate::strerror::strerror;
use crate::vlog::{self, Vlog};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// Time between two starts of a daemon that crashes; the peer's.
const RESTART_INTERVAL: Duration = Duration::from_secs(10);

/// Signals of which a program dies by its own fault. Source: ovs-vswitchd(8), `--monitor`.
const CRASHES: [i32; 9] = [
    libc::SIGABRT,
    libc::SIGALRM,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGPIPE,
    libc::SIGSEGV,
    libc::SIGXCPU,
    libc::SIGXFSZ,
];

/// Starts the daemon; calls `when_ready` when it is; watches it. Gives the exit status for the
/// monitor's own process.
///
/// # Errors
/// [`Fatal`] when the daemon could not be started at all.
pub fn run(
    invocation: &Invocation,
    program: &str,
    vlog: &Vlog,
    when_ready: impl FnOnce(),
) -> Result<u8, Fatal> {
    let failed = || Fatal::logged("daemon_unix", "could not initiate process monitoring");
    let begun = invocation.begin(Stage::Daemon).map_err(|error| {
        tracing::error!(target: "daemon_unix", "fork failed ({})", strerror(&error));
        failed()
    })?;
    let child = match begun {
        Begun::Ready(child) => child,
        Begun::Ended { status, .. } => {
            return exit_code(status).ok_or_else(|| {
                tracing::error!(target: "daemon_unix",
                    "fork child died before signaling startup ({})", describe(status));
                failed()
            });
        }
    };
    let monitor = Monitor { invocation, program, vlog, log_file: vlog.log_file(), crashes: 0 };
    // A log file that we held open could not be rotated.
    vlog.close_log_file();
    vlog::set_subprogram_name("monitor");
    let _ = nix::sys::prctl::set_name(c"monitor");
    when_ready();
    monitor.watch(child)
}

struct Monitor<'a> {
    invocation: &'a Invocation,
    program: &'a str,
    vlog: &'a Vlog,
    log_file: Option<PathBuf>,
    crashes: u32,
}

impl Monitor<'_> {
    fn watch(mut self, mut child: Child) -> Result<u8, Fatal> {
        let mut health = "healthy".to_owned();
        let mut last_restart: Option<Instant> = None;
        loop {
            let mut pid = child.id();
            title::set(&format!("{}: monitoring pid {pid} ({health})", self.program));
            let mut status = child.wait().map_err(|error| {
                let text = format!("waitpid failed ({})", strerror(&error));
                Fatal::logged("daemon_unix", text)
            })?;
            self.reopen_log();
            child = loop {
                if !is_crash(status) {
                    tracing::info!(target: "daemon_unix",
                        "pid {pid} died, {}, exiting", describe(status));
                    return Ok(0);
                }
                self.crashes += 1;
                health = format!("{} crashes: pid {pid} died, {}", self.crashes, describe(status));
                if status.core_dumped() {
                    // One core tells enough; do not fill the disk.
                    let core = nix::sys::resource::Resource::RLIMIT_CORE;
                    let _ = nix::sys::resource::setrlimit(core, 0, 0);
                }
                self.wait_a_while(last_restart, &health);
                last_restart = Some(Instant::now());
                tracing::error!(target: "daemon_unix", "{health}, restarting");
                match self.invocation.begin(Stage::Daemon) {
                    Ok(Begun::Ready(child)) => break child,
                    Ok(Begun::Ended { pid: ended, status: how }) => {
                        if let Some(code) = exit_code(how) {
                            return Ok(code);
                        }
                        tracing::error!(target: "daemon_unix",
                            "fork child died before signaling startup ({})", describe(how));
                        (pid, status) = (ended, how);
                    }
                    Err(error) => {
                        let text = format!("fork failed ({})", strerror(&error));
                        return Err(Fatal::logged("daemon_unix", text));
                    }
                }
            };
            self.vlog.close_log_file();
        }
    }

    fn wait_a_while(&self, last_restart: Option<Instant>, health: &str) {
        let Some(last) = last_restart else { return };
        let rest = RESTART_INTERVAL.saturating_sub(last.elapsed());
        if !rest.is_zero() {
            tracing::warn!(target: "daemon_unix",
                "{health}, waiting until 10 seconds since last restart");
            std::thread::sleep(rest);
        }
    }

    fn reopen_log(&self) {
        if let Some(path) = &self.log_file {
            // Without a log the watching goes on.
            let _ = self.vlog.continue_log_file(path);
        }
    }
}

fn is_crash(status: ExitStatus) -> bool {
    status.signal().is_some_and(|signal| CRASHES.contains(&signal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_crash() {
        for (raw, want) in [
            (0, false),
            (1 << 8, false),
            (libc::SIGTERM, false),
            (libc::SIGKILL, false),
            (libc::SIGSEGV, true),
            (libc::SIGABRT | 0x80, true),
        ] {
            assert_eq!(is_crash(ExitStatus::from_raw(raw)), want, "{raw:#x}");
        }
    }
}
