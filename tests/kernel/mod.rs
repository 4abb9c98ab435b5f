//! What the `kernel_*.rs` tests are written with: namespaces, the two daemons, frames and dumps.
//!
//! These tests need root and a kernel with the openvswitch module, which `ci/lab` provides; they
//! are ignored anywhere else. `ci/test` builds them outside and runs the finished programs in the
//! guest with `--ignored --test-threads=1`: they share one kernel and may not run beside each other.
//!
//! - `ROVS_LAB` is set in the guest; without it [`enter`] refuses to touch the machine.
//! - `ROVS_BIN_DIR` is where our `ovs-vswitchd` lies; by default the one Cargo built for the test.
//! - `ROVS_LAB_DAEMON=peer` puts the stock daemon in the place of ours, which checks the tests.
//!
//! A failed expectation panics with what the programs said; there is nothing to recover here.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod answers;
pub mod bridge;
pub mod capture;
pub mod daemon;
pub mod deployment;
pub mod flows;
pub mod frames;
pub mod inject;
pub mod netns;
pub mod ping;
pub mod process;
pub mod start_script;
pub mod storm;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Makes the guest ready for a test; panics outside of the lab.
pub fn enter() {
    assert!(
        std::env::var_os("ROVS_LAB").is_some(),
        "this test changes the kernel it runs on: run it with ci/lab (see README.md)"
    );
    // Left over by a test that failed half-way.
    for ns in run(&["ip", "netns", "list"]).lines() {
        if let Some(name) = ns.split_whitespace().next() {
            run(&["ip", "netns", "del", name]);
        }
    }
    if attempt(&["ovs-dpctl", "dump-dps"]).0.contains("ovs-system") {
        run(&["ovs-dpctl", "del-dp", "ovs-system"]);
    }
    // Nothing may speak on the bridge but what a test sends: no router solicitations of its ports.
    for scope in ["all", "default"] {
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1");
    }
}

/// A daemon's answer to a control command, asked at its socket without a tool in between; an error as
/// `Err`.
pub fn ask(socket: &Path, method: &str, params: &[&str]) -> Result<String, String> {
    let mut stream = UnixStream::connect(socket).expect("the daemon listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let call = serde_json::json!({"id": 0, "method": method, "params": params});
    stream.write_all(call.to_string().as_bytes()).expect("the daemon reads");
    let mut values =
        serde_json::Deserializer::from_reader(&stream).into_iter::<serde_json::Value>();
    let answer = values.next().expect("an answer").expect("valid JSON");
    match (answer["result"].as_str(), answer["error"].as_str()) {
        (Some(result), _) => Ok(result.to_owned()),
        (None, error) => Err(error.unwrap_or_default().to_owned()),
    }
}

/// Runs a program and returns what it printed; panics unless it succeeds.
pub fn run(argv: &[&str]) -> String {
    let out = spawn(argv);
    assert!(
        out.status.success(),
        "{argv:?} failed ({}):\n{}{}",
        out.status,
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Runs a program that may fail: its output (both streams) and whether it succeeded.
pub fn attempt(argv: &[&str]) -> (String, bool) {
    let out = spawn(argv);
    let mut text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&out.stderr));
    (text, out.status.success())
}

fn spawn(argv: &[&str]) -> Output {
    Command::new(argv[0])
        .args(&argv[1..])
        .output()
        .unwrap_or_else(|e| panic!("cannot run {argv:?}: {e}"))
}

/// Polls until `check` returns something; panics with `what` after `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut check: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < end, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
