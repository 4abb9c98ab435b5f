//! What this process's netlink sockets have sent and received, for a program's statistics.
//!
//! Any thread counts, with one relaxed add beside a system call; reading is exact as of some moment.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

static SENT: AtomicU64 = AtomicU64::new(0);
static RECEIVED: AtomicU64 = AtomicU64::new(0);
static OVERFLOWS: AtomicU64 = AtomicU64::new(0);

/// Counts since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams received.
    pub received: u64,
    /// Times the kernel had to drop datagrams for a socket of ours (`ENOBUFS`).
    pub overflows: u64,
}

impl Tally {
    /// The counts of this moment.
    pub fn now() -> Self {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Self { sent: load(&SENT), received: load(&RECEIVED), overflows: load(&OVERFLOWS) }
    }
}

/// Takes notice of a send.
pub(crate) fn sent<T>(result: io::Result<T>) -> io::Result<T> {
    if result.is_ok() {
        SENT.fetch_add(1, Ordering::Relaxed);
    }
    result
}

/// Takes notice of a receive that brought `count` of its result in datagrams.
pub(crate) fn received<T>(result: io::Result<T>, count: impl FnOnce(&T) -> usize) -> io::Result<T> {
    match &result {
        Ok(got) => drop(RECEIVED.fetch_add(count(got) as u64, Ordering::Relaxed)),
        Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
            OVERFLOWS.fetch_add(1, Ordering::Relaxed);
        }
        Err(_) => {}
    }
    result
}
