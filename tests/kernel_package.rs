//! The Debian package on the lab's Debian: installed, swapped in, out and in again under the
//! distribution's start script, and removed. What runs is told by `/proc/PID/exe`.

mod kernel;

use kernel::process::our_daemon;
use kernel::start_script::{CTL, STOCK, pid, program_of};
use kernel::{attempt, enter, run};

const OURS: &str = "/usr/lib/rovs/ovs-vswitchd";

/// Ends what runs if a test fails half-way.
struct Stopped;

impl Drop for Stopped {
    fn drop(&mut self) {
        attempt(&[CTL, "stop"]);
        attempt(&["dpkg", "--no-triggers", "--purge", "rovs"]);
    }
}

/// The program of the running daemon.
fn running() -> String {
    program_of(pid().expect("a pidfile"))
}

fn chosen() -> String {
    run(&["readlink", "-f", "/usr/sbin/ovs-vswitchd"]).trim().to_owned()
}

#[test]
#[ignore = "needs the lab"]
fn installed_swapped_and_removed() {
    enter();
    let ours = our_daemon();
    let bins = ours.parent().expect("a directory").display().to_string();
    let _stopped = Stopped;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/ci/package");
    let deb = run(&[script, "--bins", &bins, "--out", "/run/package"]);
    // Another test may have put its own link there.
    run(&[
        "update-alternatives",
        "--force",
        "--install",
        "/usr/sbin/ovs-vswitchd",
        "ovs-vswitchd",
        STOCK,
        "100",
    ]);
    assert_eq!(chosen(), STOCK);
    run(&[CTL, "start", "--system-id=lab", "--no-record-hostname"]);
    assert_eq!(running(), STOCK);

    run(&["dpkg", "--no-triggers", "-i", deb.trim()]);
    assert_eq!(chosen(), OURS, "its priority is above the stock daemon's");
    assert_eq!(running(), STOCK, "what runs is left alone");
    assert!(run(&["rovs", "--version"]).starts_with("rovs "));
    assert!(std::path::Path::new("/usr/share/man/man1/rovs-why.1.gz").exists());

    run(&["rovs-swap", "in"]);
    assert_eq!(running(), OURS);
    run(&["rovs-swap", "out"]);
    assert_eq!((chosen(), running()), (STOCK.to_owned(), STOCK.to_owned()));
    run(&["rovs-swap", "in"]);
    assert_eq!((chosen(), running()), (OURS.to_owned(), OURS.to_owned()));
    assert!(run(&["ovs-appctl", "version"]).contains("(Open vSwitch)"));

    run(&["dpkg", "--no-triggers", "--purge", "rovs"]);
    assert_eq!(chosen(), STOCK);
    run(&[CTL, "--no-ovsdb-server", "--no-record-hostname", "--system-id=lab", "restart"]);
    assert_eq!(running(), STOCK);
    run(&[CTL, "stop"]);
    assert!(!std::path::Path::new("/usr/sbin/rovs-swap").exists(), "the package is gone");
}
