//! `rovs record`: has the daemon record for a while.
//!
//! What always holds: a recording that this command began is ended when it ends, by Ctrl-C and
//! SIGTERM too; the daemon ends it by itself at its size limit.

use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::control::Control;
use super::{Failure, Format, print};

/// `rovs record`.
#[derive(Debug, Args)]
pub(super) struct Record {
    /// The file to write, a pcap of netlink frames. It will hold packets: only its owner, who the
    /// daemon runs as, can read it.
    file: PathBuf,
    /// Ends after so many seconds.
    #[arg(long, value_name = "S", value_parser = seconds)]
    duration: Option<Duration>,
    #[command(flatten)]
    format: Format,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

impl Record {
    pub(super) fn run(&self, target: &str) -> Result<(), Failure> {
        // The daemon has a working directory of its own.
        let file = std::path::absolute(&self.file)
            .map_err(|source| Failure::File { path: self.file.display().to_string(), source })?;
        let Some(name) = file.to_str() else {
            return Err(Failure::Usage {
                what: format!("{}: not UTF-8", file.display()),
                remedy: "the control socket takes only names in UTF-8".to_owned(),
            });
        };
        let interrupted = |errno: Errno| Failure::Output(errno.into());
        let set: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        set.thread_block().map_err(interrupted)?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).map_err(interrupted)?;

        let mut control = Control::connect(target)?;
        control.text("record/start", &[name])?;
        if self.duration.is_none() {
            eprintln!("rovs: recording into {name}; end it with Ctrl-C");
        }
        wait(&signals, self.duration).map_err(interrupted)?;
        if self.format.json {
            print(&format!("{:#}\n", control.json("record/stop", &[])?))
        } else {
            print(&control.text("record/stop", &[])?)
        }
    }
}

/// Waits for a signal, at most for `duration`.
fn wait(signals: &SignalFd, duration: Option<Duration>) -> nix::Result<()> {
    let end = duration.map(|duration| Instant::now() + duration);
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(());
        }
        // Rounded up, so that the last millisecond is not spent spinning.
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
}
