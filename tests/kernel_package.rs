//! The Debian package on the lab's Debian: installed, swapped in, out and in again under the
//! distribution's start script, and removed. What runs is told by `/proc/PID/exe`.

mod kernel;

use kernel::{attempt, enter, run};

const CTL: &str = "/usr/share/openvswitch/scripts/ovs-ctl";
const OURS: &str = "/usr/lib/rovs/ovs-vswitchd";
const STOCK: &str = "/usr/lib/openvswitch-switch/ovs-vswitchd";

/// Ends what runs if a test fails half-way.
struct Stopped;

impl Drop for Stopped {
    fn drop(&mut self) {
        attempt(&[CTL, "stop"]);
        attempt(&["dpkg", "--purge", "rovs"]);
    }
}

/// The program of the running daemon.
fn running() -> String {
    let pid = std::fs::read_to_string("/run/openvswitch/ovs-vswitchd.pid").expect("a pidfile");
    let exe = std::fs::read_link(format!("/proc/{}/exe", pid.trim())).expect("a daemon");
    exe.display().to_string()
}

fn chosen() -> String {
    run(&["readlink", "-f", "/usr/sbin/ovs-vswitchd"]).trim().to_owned()
}

#[test]
#[ignore = "needs the lab"]
fn installed_swapped_and_removed() {
    enter();
    let bins = match std::env::var("ROVS_BIN_DIR") {
        Ok(dir) => dir,
        Err(_) => {
            let ours = std::path::Path::new(env!("CARGO_BIN_EXE_ovs-vswitchd"));
            ours.parent().expect("a directory").display().to_string()
        }
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/ci/package");
    let _stopped = Stopped;
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

    run(&["dpkg", "-i", deb.trim()]);
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

    run(&["dpkg", "--purge", "rovs"]);
    assert_eq!(chosen(), STOCK);
    run(&[CTL, "--no-ovsdb-server", "--no-record-hostname", "--system-id=lab", "restart"]);
    assert_eq!(running(), STOCK);
    run(&[CTL, "stop"]);
    assert!(!std::path::Path::new("/usr/sbin/rovs-swap").exists(), "the package is gone");
}
