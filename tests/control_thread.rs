//! What the control thread itself does while ports are added: no more for many than for few, so that whoever
//! asks at the control socket meanwhile does not wait. Instructions are counted by callgrind, for each
//! thread by itself: the whole daemon over a dummy datapath and a database of the distribution's
//! `ovsdb-server`.

mod ovsdb;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ovsdb::{Lab, run};
use rovs::unixctl::client;

/// Ports added in one transaction: few, and many.
const PORTS: [u64; 2] = [32, 160];

/// Instructions for each port more that are none of the control thread's work for ports: what it does once a
/// second goes on meanwhile. Work for each port costs a hundred times as many (reading the row, a line
/// in the log, writing the status: a million in a build without optimization).
const ALLOWED_PER_PORT: u64 = 10_000;

fn daemon(lab: &Lab) -> Child {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--separate-threads=yes", "--quiet"]);
    command.arg(format!("--callgrind-out-file={}", lab.text("counted")));
    command.arg(env!("CARGO_BIN_EXE_ovs-vswitchd")).arg(lab.unix());
    command.arg("--unixctl").arg(lab.path("switch.ctl")).stdin(Stdio::null());
    command.args(["--enable-dummy=override", "--disable-system", "-vconsole:off", "--log-file"]);
    for variable in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
        command.env(variable, lab.dir.path());
    }
    command.env("OVS_SYSLOG_METHOD", "null").current_dir(lab.dir.path());
    command.spawn().expect("valgrind is installed")
}

/// Instructions of the thread of this file.
fn counted(path: &Path) -> u64 {
    let text = std::fs::read_to_string(path).expect("what callgrind counted");
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    total.and_then(|total| total.trim().parse().ok()).expect("a total")
}

/// Instructions of the control thread from start to end, with so many ports added in between.
fn of_control_thread(ports: u64) -> u64 {
    let lab = Lab::new();
    let mut daemon = daemon(&lab);
    let db = format!("--db={}", lab.unix());
    let must = |words: &str| {
        let words = words.split(' ');
        run(
            "ovs-vsctl",
            &[db.as_str(), "--timeout=600"].into_iter().chain(words).collect::<Vec<_>>(),
        )
    };
    must("add-br br0 -- set Bridge br0 datapath_type=dummy");
    let port = |n| format!("add-port br0 p{n} -- set Interface p{n} type=dummy");
    must(&(0..ports).map(port).collect::<Vec<_>>().join(" -- "));
    let told = must("--bare --columns=name find Interface ofport>0");
    let had = told.split_whitespace().filter(|name| name.starts_with('p')).count();
    assert_eq!(had as u64, ports, "{told}");
    client::call(&lab.path("switch.ctl"), "exit", &[]).expect("an answer").expect("it ends");
    let patience = Instant::now() + Duration::from_secs(600);
    while daemon.try_wait().expect("a child").is_none() {
        assert!(Instant::now() < patience, "the daemon does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    counted(&lab.path("counted-01"))
}

#[test]
fn many_ports_are_no_work_for_the_control_thread() {
    let [few, many] = PORTS.map(of_control_thread);
    let allowed = few + (PORTS[1] - PORTS[0]) * ALLOWED_PER_PORT;
    println!("{PORTS:?} ports: {few} and {many} instructions");
    assert!(many <= allowed, "{few} instructions for {} ports, {many} for {}", PORTS[0], PORTS[1]);
}
