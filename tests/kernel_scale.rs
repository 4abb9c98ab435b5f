//! Many ports: all in one transaction, one by one, and then one more. Times of both daemons are shown;
//! what is asserted are system calls, which do not depend on the machine.

mod kernel;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kernel::deployment::{Deployment, Whose};
use kernel::{enter, run, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Ports in one transaction, unless `ROVS_LAB_PORTS` says otherwise: user-mode Linux on a machine with
/// other work needs many minutes for the thousand that are meant.
const AT_ONCE: usize = 300;
/// Ports added one by one, an `ovs-vsctl` each.
const ONE_BY_ONE: usize = 40;

/// What a daemon needed.
#[derive(Debug, Default)]
struct Needed {
    at_once: Duration,
    first_ten: Duration,
    last_ten: Duration,
    one_more: Duration,
    /// System calls of the daemon while one port was added: to one port, and to over a thousand.
    calls_few: u64,
    calls_many: u64,
}

/// Counts the system calls of a process that send something or read something.
struct Strace {
    child: Child,
    summary: String,
}

impl Strace {
    fn attach(pid: Pid, name: &str) -> Self {
        let summary = format!("/run/strace-{name}");
        let child = Command::new("strace")
            .args(["-f", "-c", "-o", &summary, "-e", "trace=sendto,sendmsg,sendmmsg,ioctl,openat"])
            .args(["-p", &pid.to_string()])
            .stderr(Stdio::null())
            .spawn()
            .expect("strace is installed");
        // Attached once the daemon has a tracer.
        wait_for("strace to attach", Duration::from_secs(10), || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            (!status.contains("TracerPid:\t0")).then_some(())
        });
        Self { child, summary }
    }

    fn calls(mut self) -> u64 {
        let pid = Pid::from_raw(self.child.id().try_into().expect("a pid fits"));
        kill(pid, Signal::SIGINT).expect("strace runs");
        self.child.wait().expect("strace ends");
        let text = std::fs::read_to_string(&self.summary).unwrap_or_default();
        let total = text.lines().find(|line| line.ends_with(" total"));
        let calls = total.and_then(|line| line.split_whitespace().nth(3));
        calls.and_then(|n| n.parse().ok()).unwrap_or(0)
    }
}

fn add(site: &Deployment, name: &str) -> Duration {
    let begun = Instant::now();
    site.must(&["add-port", "br0", name, "--", "set", "Interface", name, "type=internal"]);
    begun.elapsed()
}

/// System calls of the daemon while one port is added.
fn calls_of_adding(site: &Deployment, name: &str) -> u64 {
    let strace = Strace::attach(site.pid(), name);
    add(site, name);
    strace.calls()
}

fn at_once() -> usize {
    std::env::var("ROVS_LAB_PORTS").ok().and_then(|n| n.parse().ok()).unwrap_or(AT_ONCE)
}

fn scale(whose: Whose) -> Needed {
    enter();
    let at_once = at_once();
    let mut needed = Needed::default();
    let mut site = Deployment::new();
    site.start(whose);
    // No statistics while calls are counted.
    site.must(&["set", "Open_vSwitch", ".", "other_config:stats-update-interval=600000"]);
    site.must(&["add-br", "br0"]);
    add(&site, "few");
    needed.calls_few = calls_of_adding(&site, "fewer");

    let mut args = vec!["--timeout=300".to_owned()];
    for n in 0..at_once {
        let name = format!("p{n}");
        args.extend(["--", "add-port", "br0", &name].map(String::from));
        args.extend(["--", "set", "Interface", &name, "type=internal"].map(String::from));
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    eprintln!("{whose:?}: calls for one port among few: {}", needed.calls_few);
    let begun = Instant::now();
    site.must(&args);
    needed.at_once = begun.elapsed();
    eprintln!("{whose:?}: {at_once} ports in {:?}", needed.at_once);
    let made = || run(&["ovs-dpctl", "show"]).matches("(internal)").count();
    // Two more for the datapath itself and the bridge.
    assert_eq!(made(), 4 + at_once, "not all ports are there when ovs-vsctl returns");

    let took: Vec<Duration> = (0..ONE_BY_ONE).map(|n| add(&site, &format!("q{n}"))).collect();
    needed.first_ten = took[..10].iter().sum::<Duration>() / 10;
    needed.last_ten = took[took.len() - 10..].iter().sum::<Duration>() / 10;
    needed.one_more = add(&site, "more");
    needed.calls_many = calls_of_adding(&site, "most");
    assert_eq!(made(), 6 + at_once + ONE_BY_ONE);
    let errors =
        site.must(&["--no-wait", "--bare", "--columns=error", "find", "Interface", "error!=[]"]);
    assert_eq!(errors.trim(), "", "ports with an error");
    needed
}

#[test]
#[ignore = "needs the lab"]
fn one_port_more_costs_the_same_whatever_there_is() {
    let ours = scale(Whose::Ours);
    let peer = scale(Whose::Peers);
    for (name, needed) in [("ours", &ours), ("peer", &peer)] {
        let at_once = at_once();
        println!("{name}: {at_once} ports at once and {ONE_BY_ONE} one by one: {needed:?}");
    }
    // Half as many again, for what happens to fall into the time.
    let most = ours.calls_few * 3 / 2 + 10;
    assert!(
        ours.calls_many <= most,
        "{} calls for one port among many, {} among few",
        ours.calls_many,
        ours.calls_few
    );
}
