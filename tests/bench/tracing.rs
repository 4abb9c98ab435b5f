//! Counts what a process's handlers do: system calls, and calls of the C library's allocator.
//!
//! The kernel counts, in histograms by thread (tracefs: `raw_syscalls:sys_enter`, and probes
//! at the entries of `malloc` and its like), so that nobody is slowed down by a tracer, as far as
//! system calls go. Where the guest's kernel cannot do it, there is no count.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::meter::handlers;

const ROOT: &str = "/sys/kernel/tracing";
const LIBC: &str = "/lib/x86_64-linux-gnu/libc.so.6";
const CALLS: &str = "events/raw_syscalls/sys_enter";
const ALLOCATE: [&str; 6] =
    ["malloc", "calloc", "realloc", "memalign", "posix_memalign", "aligned_alloc"];
const HISTOGRAM: &str = "hist:keys=common_pid:size=16384";

/// Counts while it lives.
pub struct Tracing {
    /// What is counted, below [`ROOT`].
    events: Vec<String>,
}

fn write(path: &str, text: &str) -> bool {
    fs::OpenOptions::new()
        .append(true)
        .open(Path::new(ROOT).join(path))
        .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
        .is_ok()
}

impl Tracing {
    /// System calls; `None` if this kernel does not count them.
    pub fn of_calls() -> Option<Self> {
        if !Path::new(ROOT).join("README").exists() {
            let _ = Command::new("mount").args(["-t", "tracefs", "tracefs", ROOT]).status();
        }
        Self::start(vec![CALLS.to_owned()])
    }

    /// Allocations; `None` if this kernel does not count them.
    pub fn of_heap() -> Option<Self> {
        let symbols = Command::new("nm").args(["-D", "--defined-only", LIBC]).output().ok()?;
        let symbols = String::from_utf8_lossy(&symbols.stdout).into_owned();
        let mut events = Vec::new();
        for name in ALLOCATE {
            // The library's code lies in the file at its address: Debian links it so.
            let line = symbols.lines().find(|line| {
                line.split_whitespace().nth(2).is_some_and(|w| w.starts_with(&format!("{name}@@")))
            })?;
            let offset = line.split_whitespace().next()?;
            if !write("uprobe_events", &format!("p:bench/{name} {LIBC}:0x{offset}\n")) {
                return None;
            }
            events.push(format!("events/bench/{name}"));
        }
        Self::start(events)
    }

    fn start(events: Vec<String>) -> Option<Self> {
        let tracing = Self { events };
        let all = tracing.events.iter().all(|event| write(&format!("{event}/trigger"), HISTOGRAM));
        all.then_some(tracing)
    }

    /// What the handlers of process `pid` have done so far.
    pub fn count(&self, pid: u32) -> u64 {
        let handlers = handlers(pid);
        self.events.iter().map(|event| count(event, &handlers)).sum()
    }
}

fn count(event: &str, threads: &BTreeSet<u64>) -> u64 {
    let text = fs::read_to_string(format!("{ROOT}/{event}/hist")).unwrap_or_default();
    // { common_pid:        123 } hitcount:        456
    let entries = text.lines().filter_map(|line| {
        let (thread, hits) = line.strip_prefix("{ common_pid:")?.split_once("} hitcount:")?;
        Some((thread.trim().parse().ok()?, hits.trim().parse::<u64>().ok()?))
    });
    entries.filter(|(thread, _)| threads.contains(thread)).map(|(_, hits)| hits).sum()
}

impl Drop for Tracing {
    fn drop(&mut self) {
        for event in &self.events {
            write(&format!("{event}/trigger"), &format!("!{HISTOGRAM}"));
            if let Some(name) = event.strip_prefix("events/bench/") {
                write("uprobe_events", &format!("-:bench/{name}\n"));
            }
        }
    }
}
