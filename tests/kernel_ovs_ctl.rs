//! The distribution's start script, unchanged, with our daemon under the name that it starts.
//! The same steps are done with the stock daemon and with ours; what the script says and how it
//! exits must be the same, but for the line by which ours tells its own version. (What comes after the start of a bridge is in other tests.)

mod kernel;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kernel::process::our_daemon;
use kernel::start_script::{CTL, Installed, STOCK, pid, program_of};
use kernel::{attempt, enter, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LONG: Duration = Duration::from_secs(60);

/// The script with all it said and its exit status.
fn ctl(args: &[&str]) -> String {
    let out = Command::new(CTL).args(args).output().expect("ovs-ctl is installed");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = normal(&(text(&out.stdout) + &text(&out.stderr)));
    format!("$ ovs-ctl {}\n{said}exit status {:?}\n", args.join(" "), out.status.code())
}

/// Without what differs from run to run.
fn normal(text: &str) -> String {
    let mut out = String::new();
    let mut in_number = false;
    for c in text.chars() {
        if c.is_ascii_digit() {
            if !in_number {
                out.push('N');
            }
            in_number = true;
        } else {
            in_number = false;
            out.push(c);
        }
    }
    out
}

fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// All steps with the daemon `program` under the stock name: what was said.
fn steps(program: &Path) -> String {
    let _installed = Installed::new(program);
    let mut said = ctl(&["status"]);
    said += &ctl(&["version"]);
    said += &ctl(&["start", "--system-id=lab", "--no-record-hostname"]);
    let first = pid().expect("it has a pidfile");
    assert_eq!(program_of(first), program.display().to_string());
    said += &ctl(&["status"]);
    said += &ctl(&["start", "--system-id=lab", "--no-record-hostname"]);
    assert_eq!(pid(), Some(first), "a second start leaves it alone");

    // A crash: the monitor starts another.
    kill(first, Signal::SIGSEGV).expect("it runs");
    let second = wait_for("another daemon", LONG, || pid().filter(|pid| *pid != first));
    wait_for("its control socket", LONG, || attempt(&["ovs-appctl", "version"]).1.then_some(()));
    said += &ctl(&["status"]);

    // Killed by hand: the monitor takes it for the end.
    kill(second, Signal::SIGKILL).expect("it runs");
    wait_for("its end", LONG, || (!is_alive(second)).then_some(()));
    std::thread::sleep(Duration::from_millis(500));
    said += &ctl(&["status"]);
    said += &ctl(&["start", "--system-id=lab", "--no-record-hostname"]);
    let third = pid().expect("it has a pidfile");
    assert_ne!(third, second);

    said += &ctl(&["restart", "--system-id=lab", "--no-record-hostname"]);
    let fourth = pid().expect("it has a pidfile");
    assert_ne!(fourth, third);
    assert!(!is_alive(third), "the old one ended");
    said += &ctl(&["force-reload-kmod", "--system-id=lab", "--no-record-hostname"]);
    said += &ctl(&["status"]);
    // Without a monitor, as in the units of systemd.
    said += &ctl(&["--no-ovsdb-server", "stop"]);
    said += &ctl(&["--no-ovsdb-server", "--no-monitor", "--system-id=lab", "start"]);
    let fifth = pid().expect("it has a pidfile");
    said += &ctl(&["status"]);
    said += &ctl(&["stop"]);
    assert!(!is_alive(fifth));
    assert_eq!(pid(), None, "no pidfile is left");
    said += &ctl(&["status"]);
    said += &ctl(&["stop"]);
    said
}

#[test]
#[ignore = "needs the lab"]
fn the_start_script_says_the_same() {
    enter();
    let stock = steps(Path::new(STOCK));
    let ours = steps(&our_daemon()).replace("\nrovs N.N.N\n", "\n");
    println!("{ours}");
    assert!(stock == ours, "the stock daemon:\n{stock}\nours:\n{ours}");
}
