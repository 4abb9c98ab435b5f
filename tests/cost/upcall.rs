//! Instructions that a replayed upcall takes in user space, counted by callgrind.
//!
//! `cargo bench --bench upcall_cost` replays upcalls of many new flows through a [`Worker`], in this
//! same program run under valgrind, and fails where a case takes more than its bound. With the name
//! of a case it lists the functions that take the most. No clock is read; the optimizer's
//! output is what is counted, hence a benchmark and not a test.
//!
//! [`Worker`]: rovs::upcall::worker::Worker

#[path = "world.rs"]
mod world;

use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::sync::atomic::Ordering;

use rovs::upcall::worker::Worker;

use world::{World, packet};

/// New flows that are counted, and as many before them for the buffers to grow.
const FLOWS: u16 = 4096;

/// A case and the instructions that an upcall may take: a tenth more than it takes.
const CASES: [(&str, u64); 3] = [("macs", 6_800), ("exact", 6_500), ("single", 7_100)];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => gate(),
        ["replay", case] => {
            replay(case);
            ExitCode::SUCCESS
        }
        [case] if CASES.iter().any(|(name, _)| *name == case) => {
            show(case);
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: upcall_cost [macs | exact | single]");
            ExitCode::from(2)
        }
    }
}

/// Replays upcalls of new flows: `macs` of pairs of addresses, `exact` where flows are not
/// wildcarded, in batches of 64; `single` one by one.
fn replay(case: &str) {
    let mut world = World::new();
    let udpif = world.switch.udpif.clone();
    udpif.settings.megaflows.store(case != "exact", Ordering::Relaxed);
    let mut worker = Worker::new(udpif);
    // The destination is known, and all sources are.
    world.kernel.inject("b", &packet(9, 1, false));
    let first = world.waiting();
    world.decide(&mut worker, &first, false);
    let sources = |to: u16| (100..100 + FLOWS).map(move |src| packet(to, src, false));
    let before = world.upcalls(sources(2));
    world.decide(&mut worker, &before, false);
    let upcalls = world.upcalls(sources(1));
    counted(&mut world, &mut worker, &upcalls, if case == "single" { 1 } else { 64 });
    assert_eq!(world.switch.udpif.ukeys.len(), 2 * usize::from(FLOWS) + 1);
    let in_kernel = world.datapath.stats().expect("a datapath").flows;
    assert_eq!(in_kernel, 0, "nothing is sent: what is counted is the road and nothing else");
}

/// What callgrind counts.
#[inline(never)]
fn counted(world: &mut World, worker: &mut Worker, upcalls: &[Vec<u8>], batch: usize) {
    for upcalls in upcalls.chunks(batch) {
        world.decide(worker, black_box(upcalls), false);
    }
}

/// Counts one case; the file that callgrind wrote.
fn callgrind(case: &str) -> tempfile::NamedTempFile {
    let out = tempfile::NamedTempFile::new().expect("a temporary file");
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--collect-atstart=no"])
        .arg("--toggle-collect=*upcall_cost::counted*")
        .arg(format!("--callgrind-out-file={}", out.path().display()))
        .arg(std::env::current_exe().expect("own path"))
        .args(["replay", case])
        .status()
        .expect("valgrind is needed: apt-get install valgrind");
    assert!(status.success(), "{case}: valgrind says {status}");
    out
}

fn instructions(case: &str) -> u64 {
    let out = std::fs::read_to_string(callgrind(case).path()).expect("callgrind's output");
    let totals = out.lines().find_map(|line| line.strip_prefix("totals: ")).expect("totals");
    totals.trim().parse::<u64>().expect("a number") / u64::from(FLOWS)
}

fn show(case: &str) {
    let out = callgrind(case);
    let status = Command::new("callgrind_annotate").arg(out.path()).status();
    assert!(status.is_ok_and(|status| status.success()), "callgrind_annotate");
}

fn gate() -> ExitCode {
    let mut failed = 0;
    for (case, most) in CASES {
        let each = instructions(case);
        let verdict = if each <= most { "ok" } else { "FAILED" };
        println!("{case}: {each} instructions an upcall, at most {most}: {verdict}");
        failed += usize::from(each > most);
    }
    println!("{} passed, {failed} failed", CASES.len() - failed);
    ExitCode::from(u8::from(failed > 0))
}
