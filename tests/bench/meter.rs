//! What is read off a process: CPU time to the nanosecond, and memory.
//!
//! In the guest that counts instructions a nanosecond is one instruction, so CPU time is
//! the number of instructions, those in the kernel on the process's behalf among them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// CPU time and memory of a process at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// Nanoseconds on a CPU, all threads.
    pub cpu_ns: u64,
    /// Of those, of threads that are called `handler…`.
    pub handler_ns: u64,
    /// Resident memory in bytes.
    pub rss: u64,
}

fn tasks(pid: u32) -> impl Iterator<Item = PathBuf> {
    let tasks = Path::new("/proc").join(pid.to_string()).join("task");
    std::fs::read_dir(tasks).expect("it runs").flatten().map(|task| task.path())
}

fn text(task: &Path, name: &str) -> String {
    std::fs::read_to_string(task.join(name)).unwrap_or_default()
}

/// Threads of process `pid` that are called `handler…`.
pub fn handlers(pid: u32) -> BTreeSet<u64> {
    tasks(pid)
        .filter(|task| text(task, "comm").starts_with("handler"))
        .filter_map(|task| task.file_name()?.to_str()?.parse().ok())
        .collect()
}

/// Reads process `pid` (proc(5): `task/*/schedstat`, `statm`).
pub fn read(pid: u32) -> Reading {
    let mut reading = Reading::default();
    for task in tasks(pid) {
        let schedstat = text(&task, "schedstat");
        let ns = schedstat.split(' ').next().and_then(|w| w.parse().ok()).unwrap_or(0);
        reading.cpu_ns += ns;
        if text(&task, "comm").starts_with("handler") {
            reading.handler_ns += ns;
        }
    }
    let statm = text(&Path::new("/proc").join(pid.to_string()), "statm");
    let pages: u64 = statm.split(' ').nth(1).and_then(|w| w.parse().ok()).unwrap_or(0);
    reading.rss = pages * 4096;
    reading
}

impl Reading {
    /// What was used since `before`; memory as it is now.
    pub fn since(self, before: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(before.cpu_ns),
            handler_ns: self.handler_ns.saturating_sub(before.handler_ns),
            rss: self.rss,
        }
    }
}
