//! Many ports: all in one transaction, one by one, and then one more; their counters, a start over them,
//! their end; and whether the control socket answers meanwhile. Times of both daemons are shown; what is
//! asserted are system calls and answers, which do not depend on the machine. With `ROVS_LAB_SCALE=full`
//! as many ports are added one by one as are meant, which takes some minutes.

mod kernel;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kernel::answers::Answers;
use kernel::deployment::{Deployment, Whose};
use kernel::{enter, run, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How many ports to add.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// In one transaction.
    at_once: usize,
    /// An `ovs-vsctl` each.
    one_by_one: usize,
}

/// Ports of our daemon, and of the stock one, whose time grows with the square of their number.
fn plans() -> (Plan, Plan) {
    let is_full = std::env::var("ROVS_LAB_SCALE").is_ok_and(|scale| scale == "full");
    let plan = |at_once, one_by_one| Plan { at_once, one_by_one };
    if is_full {
        return (plan(1000, 1000), plan(300, 100));
    }
    (plan(1000, 40), plan(60, 20))
}

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
    /// Most ports that were made between two answers of the control socket.
    ports_between: usize,
    /// Programs and threads that were started meanwhile.
    forks: usize,
}

/// Programs and threads that were started in the guest since it booted.
fn forks() -> usize {
    let text = std::fs::read_to_string("/proc/stat").expect("procfs");
    let line = text.lines().find_map(|line| line.strip_prefix("processes "));
    line.and_then(|n| n.parse().ok()).expect("how many processes there were")
}

/// How the daemon answers while `work` is done, and how long that takes.
fn answers_during(site: &Deployment, work: impl FnOnce()) -> (Answers, Duration) {
    Answers::during(&site.control_socket(), || {
        let begun = Instant::now();
        work();
        begun.elapsed()
    })
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

fn scale(whose: Whose, plan: Plan) -> Needed {
    enter();
    let Plan { at_once, one_by_one } = plan;
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
    let before = forks();
    let (answers, took) = answers_during(&site, || drop(site.must(&args)));
    needed.forks = forks() - before;
    println!("{whose:?}: {at_once} ports in {took:?}: {answers}");
    (needed.at_once, needed.ports_between) = (took, answers.devices_between);
    let made = || run(&["ovs-dpctl", "show"]).matches("(internal)").count();
    // Two more for the datapath itself and the bridge.
    assert_eq!(made(), 4 + at_once, "not all ports are there when ovs-vsctl returns");

    let took: Vec<Duration> = (0..one_by_one).map(|n| add(&site, &format!("q{n}"))).collect();
    needed.first_ten = took[..10].iter().sum::<Duration>() / 10;
    needed.last_ten = took[took.len() - 10..].iter().sum::<Duration>() / 10;
    needed.one_more = add(&site, "more");
    needed.calls_many = calls_of_adding(&site, "most");
    assert_eq!(made(), 6 + at_once + one_by_one);
    let errors =
        site.must(&["--no-wait", "--bare", "--columns=error", "find", "Interface", "error!=[]"]);
    assert_eq!(errors.trim(), "", "ports with an error");

    let (answers, took) = answers_during(&site, || {
        site.must(&["set", "Open_vSwitch", ".", "other_config:stats-update-interval=1000"]);
        std::thread::sleep(Duration::from_secs(3));
        site.must(&["set", "Open_vSwitch", ".", "other_config:stats-update-interval=600000"]);
    });
    println!("{whose:?}: counters of all ports written every second, {took:?}: {answers}");
    site.stop();
    site.launch(whose);
    let socket = site.control_socket();
    wait_for("the control socket", Duration::from_secs(30), || socket.exists().then_some(()));
    let (answers, took) = answers_during(&site, || site.settle());
    println!("{whose:?}: started over all ports, {took:?}: {answers}");
    let (answers, took) =
        answers_during(&site, || drop(site.must(&["--timeout=300", "del-br", "br0"])));
    println!("{whose:?}: all ports removed in {took:?}: {answers}");
    needed
}

#[test]
#[ignore = "needs the lab"]
fn one_port_more_costs_the_same_whatever_there_is() {
    let (plan, peers_plan) = plans();
    let ours = scale(Whose::Ours, plan);
    let peer = scale(Whose::Peers, peers_plan);
    for (name, plan, needed) in [("ours", plan, &ours), ("peer", peers_plan, &peer)] {
        println!("{name}: {plan:?}: {needed:?}");
    }
    // Half as many again, for what happens to fall into the time.
    let most = ours.calls_few * 3 / 2 + 10;
    assert!(
        ours.calls_many <= most,
        "{} calls for one port among many, {} among few",
        ours.calls_many,
        ours.calls_few
    );
    // Where the kernel runs a program for each device, those are what an asker waits for.
    assert!(ours.forks < plan.at_once / 2, "the guest starts {} programs", ours.forks);
    // One answer that had to wait for all ports would be as many apart from the last as there are. On one
    // CPU the scheduler may keep whoever asks from running while some of them are made.
    assert!(ours.ports_between <= plan.at_once / 2, "{ours:?}");
}
