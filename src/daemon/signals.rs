//! Signals as events: blocked for all threads, read from a descriptor by a thread of their own.
//!
//! What always holds: a blocked signal keeps its default action, so that after clean-up the
//! process can still die of it, and whoever waits for us sees which one it was. A signal that
//! was ignored when we were started (nohup) stays ignored.

use crate::limits::SIGNALS_PENDING_MAX;
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use tokio::sync::mpsc;

/// The signals that end the daemon, or, SIGHUP in standalone mode, make it read its file.
const WATCHED: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGALRM];

/// Faults. A program that gets one by itself dies of it although it is blocked (signal(7)). One
/// that someone sent would be lost in the handler by which the Rust runtime tells stack overflows
/// from other faults; read from the descriptor it kills as it should.
const FAULTS: [Signal; 2] = [Signal::SIGSEGV, Signal::SIGBUS];

/// The watched signals, blocked.
#[derive(Debug)]
pub struct Signals {
    set: SigSet,
    descriptor: SignalFd,
}

impl Signals {
    /// Blocks the signals. Call it before the first thread is started.
    ///
    /// # Errors
    /// What the system said.
    pub fn watch() -> io::Result<Signals> {
        let ignored = ignored_signals();
        let set: SigSet = WATCHED
            .into_iter()
            .filter(|signal| ignored & 1 << (*signal as u64 - 1) == 0)
            .chain(FAULTS)
            .collect();
        set.thread_block()?;
        Ok(Signals { set, descriptor: SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)? })
    }

    /// Starts a thread that waits for signals, for the control thread to hear of them.
    ///
    /// # Errors
    /// What the system said.
    pub fn into_async(self) -> io::Result<AsyncSignals> {
        let (sender, receiver) = mpsc::channel(SIGNALS_PENDING_MAX);
        let descriptor = self.descriptor;
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            while let Ok(info) = descriptor.read_signal() {
                let number = info.and_then(|info| i32::try_from(info.ssi_signo).ok());
                let signal = number.and_then(|number| Signal::try_from(number).ok());
                if let Some(fault) = signal.filter(|signal| FAULTS.contains(signal)) {
                    die_of(fault);
                }
                // What does not fit any more says nothing new.
                if let Some(signal) = signal
                    && let Err(mpsc::error::TrySendError::Closed(_)) = sender.try_send(signal)
                {
                    return;
                }
            }
        })?;
        Ok(AsyncSignals { set: self.set, receiver })
    }
}

/// Watched signals as a tokio event source.
#[derive(Debug)]
pub struct AsyncSignals {
    set: SigSet,
    receiver: mpsc::Receiver<Signal>,
}

impl AsyncSignals {
    /// Waits for the next signal; `None` when there can be no more.
    pub async fn next(&mut self) -> Option<Signal> {
        self.receiver.recv().await
    }

    /// Lets the signals act again, so that a second one ends a clean-up that hangs.
    pub fn release(&self) {
        let _ = self.set.thread_unblock();
    }
}

/// Dies of `signal`, which must not be blocked any more; returns if the system does not let us.
pub fn die_of(signal: Signal) {
    let _ = SigSet::from(signal).thread_unblock();
    // The handler of the Rust runtime for faults gives way to the default action at the first.
    let _ = raise(signal);
    let _ = raise(signal);
}

/// A bit for each signal (number less one) that the process ignores.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// What sigdescr_np(3) calls a signal.
pub fn describe(number: i32) -> String {
    let text = match number {
        libc::SIGHUP => "Hangup",
        libc::SIGINT => "Interrupt",
        libc::SIGQUIT => "Quit",
        libc::SIGILL => "Illegal instruction",
        libc::SIGTRAP => "Trace/breakpoint trap",
        libc::SIGABRT => "Aborted",
        libc::SIGBUS => "Bus error",
        libc::SIGFPE => "Floating point exception",
        libc::SIGKILL => "Killed",
        libc::SIGUSR1 => "User defined signal 1",
        libc::SIGSEGV => "Segmentation fault",
        libc::SIGUSR2 => "User defined signal 2",
        libc::SIGPIPE => "Broken pipe",
        libc::SIGALRM => "Alarm clock",
        libc::SIGTERM => "Terminated",
        libc::SIGSTKFLT => "Stack fault",
        libc::SIGXCPU => "CPU time limit exceeded",
        libc::SIGXFSZ => "File size limit exceeded",
        libc::SIGVTALRM => "Virtual timer expired",
        libc::SIGPROF => "Profiling timer expired",
        libc::SIGIO => "I/O possible",
        libc::SIGPWR => "Power failure",
        libc::SIGSYS => "Bad system call",
        _ => return format!("signal {number}"),
    };
    text.to_owned()
}
