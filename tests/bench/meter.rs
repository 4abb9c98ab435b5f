//! What is read off a process: CPU time to the nanosecond, and memory.
//!
//! In the guest that counts instructions a nanosecond is one instruction, so CPU time is
//! the number of instructions, those in the kernel on the process's behalf among them.

use std::path::Path;

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

/// Reads process `pid` (proc(5): `task/*/schedstat`, `statm`).
pub fn read(pid: u32) -> Reading {
    let mut reading = Reading::default();
    let root = Path::new("/proc").join(pid.to_string());
    for task in std::fs::read_dir(root.join("task")).expect("it runs").flatten() {
        let text = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let ns = text("schedstat").split(' ').next().and_then(|w| w.parse().ok()).unwrap_or(0);
        reading.cpu_ns += ns;
        if text("comm").starts_with("handler") {
            reading.handler_ns += ns;
        }
    }
    let statm = std::fs::read_to_string(root.join("statm")).unwrap_or_default();
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
