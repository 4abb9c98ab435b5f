//! The two daemons, started, told and asked in the same way.
//!
//! [`Daemon::Peer`] is the distribution's `ovs-vswitchd` over a [`Deployment`]; [`Daemon::Ours`] is
//! `ovs-vswitchd --standalone`. Each has a private directory below /run.
//! Dropping a daemon kills it and removes its datapath.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::bridge::Setup;
use super::deployment::{Deployment, Whose};
use super::process::{end, fresh_dir, in_dir, our_daemon, pid_of, show_end};
use super::{ask, attempt, run, wait_for};

/// A daemon over the kernel's datapath `ovs-system`.
pub enum Daemon {
    /// The distribution's.
    Peer(Deployment),
    /// The one under test.
    Ours(Standalone),
}

/// Our daemon and its file.
pub struct Standalone {
    dir: PathBuf,
    daemon: Option<Child>,
}

/// What `ovs-dpctl show` says of the datapath.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DpStats {
    /// Packets that matched a flow.
    pub hit: u64,
    /// Packets that did not.
    pub missed: u64,
    /// Of those, the ones the daemon never got.
    pub lost: u64,
    /// Flows installed.
    pub flows: u64,
    /// Masks in use.
    pub masks: u64,
}

const LONG: Duration = Duration::from_secs(20);

impl Daemon {
    /// The stock daemon, not yet started.
    pub fn peer() -> Self {
        Self::Peer(Deployment::new())
    }

    /// The daemon under test, not yet started: ours, unless `ROVS_LAB_DAEMON=peer`.
    pub fn ours() -> Self {
        if std::env::var("ROVS_LAB_DAEMON").is_ok_and(|v| v == "peer") {
            return Self::peer();
        }
        Self::Ours(Standalone { dir: fresh_dir("ours"), daemon: None })
    }

    /// Whether this is the stock daemon.
    pub fn is_peer(&self) -> bool {
        matches!(self, Self::Peer(_))
    }

    /// Starts it with `setup` and returns when the bridges work.
    pub fn start(&mut self, setup: &Setup) {
        match self {
            Self::Peer(stock) => {
                stock.start(Whose::Peers);
                vsctl(stock, &setup.vsctl(&[]));
            }
            Self::Ours(ours) => {
                std::fs::write(ours.file(), setup.toml()).expect("write the configuration");
                ours.start_daemon();
            }
        }
        for bridge in &setup.bridges {
            self.await_ports(bridge.devices());
        }
    }

    /// Starts it again as it was last configured, after [`stop`](Self::stop) or [`kill9`](Self::kill9).
    pub fn restart(&mut self) {
        match self {
            Self::Peer(stock) => stock.start(Whose::Peers),
            Self::Ours(ours) => ours.start_daemon(),
        }
    }

    /// Replaces the configuration of the running daemon; returns when its ports are there.
    pub fn configure(&mut self, setup: &Setup) {
        match self {
            Self::Peer(stock) => {
                let wanted = |name: &str| {
                    setup.bridges.iter().flat_map(|b| &b.ports).any(|p| p.name == name)
                };
                let mut leftover = Vec::new();
                for bridge in stock.must(&["list-br"]).lines() {
                    let ports = stock.must(&["list-ports", bridge]);
                    leftover.extend(ports.lines().filter(|p| !wanted(p)).map(str::to_owned));
                }
                vsctl(stock, &setup.vsctl(&leftover));
            }
            Self::Ours(ours) => {
                std::fs::write(ours.file(), setup.toml()).expect("write the configuration");
                let log = ours.log();
                let before = log.matches(RELOADED).count();
                kill(self.pid(), Signal::SIGHUP).expect("daemon runs");
                let Self::Ours(ours) = self else { return };
                wait_for("the daemon to re-read its file", LONG, || {
                    (ours.log().matches(RELOADED).count() > before).then_some(())
                });
                std::thread::sleep(Duration::from_millis(300));
            }
        }
        for bridge in &setup.bridges {
            self.await_ports(bridge.devices());
        }
    }

    fn await_ports<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) {
        wait_for("all ports in the datapath", LONG, || {
            let (text, _) = attempt(&["ovs-dpctl", "show"]);
            let has = |name: &str| {
                text.lines().any(|l| l.split_whitespace().nth(2).is_some_and(|w| w == name))
            };
            names.clone().all(has).then_some(())
        });
    }

    /// Ends the daemon with `ovs-appctl exit`; flows and ports stay in the kernel.
    pub fn stop(&mut self) {
        match self {
            Self::Peer(stock) => stock.stop(),
            Self::Ours(_) => {
                let _ = self.try_appctl(&["exit"]);
                let Self::Ours(ours) = self else { return };
                end(&mut ours.daemon);
            }
        }
    }

    /// Ends the daemon as a crash would.
    pub fn kill9(&mut self) {
        match self {
            Self::Peer(stock) => stock.kill9(),
            Self::Ours(_) => {
                kill(self.pid(), Signal::SIGKILL).expect("daemon runs");
                let Self::Ours(ours) = self else { return };
                end(&mut ours.daemon);
            }
        }
    }

    /// `ovs-appctl ARGS`; panics unless it succeeds.
    pub fn appctl(&self, args: &[&str]) -> String {
        let (text, good) = self.try_appctl(args);
        assert!(good, "ovs-appctl {args:?} failed:\n{text}");
        text
    }

    /// `ovs-appctl ARGS`: both output streams and whether it succeeded.
    pub fn try_appctl(&self, args: &[&str]) -> (String, bool) {
        let target = self.control_socket();
        let target = target.to_string_lossy();
        let mut argv = vec!["ovs-appctl", "--timeout=10", "-t", &target];
        argv.extend_from_slice(args);
        attempt(&argv)
    }

    /// Its answer to a control command, without a tool in between; an error as `Err`.
    pub fn ask(&self, method: &str, params: &[&str]) -> Result<String, String> {
        ask(&self.control_socket(), method, params)
    }

    /// Its control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.dir().join(format!("ovs-vswitchd.{}.ctl", self.pid()))
    }

    /// Process id; panics if it does not run.
    pub fn pid(&self) -> Pid {
        match self {
            Self::Peer(stock) => stock.pid(),
            Self::Ours(ours) => pid_of(&ours.daemon),
        }
    }

    /// CPU time it has used so far.
    pub fn cpu(&self) -> Duration {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("daemon runs");
        // Fields 14 and 15, counted behind the name, which may hold spaces; 100 ticks a second.
        let (_, rest) = stat.rsplit_once(')').expect("stat has a name");
        let ticks = |n: usize| -> u64 {
            rest.split_whitespace().nth(n - 3).and_then(|w| w.parse().ok()).expect("a number")
        };
        Duration::from_millis((ticks(14) + ticks(15)) * 10)
    }

    /// Its log file.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir().join("ovs-vswitchd.log")).unwrap_or_default()
    }

    /// Its private directory (`OVS_RUNDIR`).
    pub fn dir(&self) -> &Path {
        match self {
            Self::Peer(stock) => stock.dir(),
            Self::Ours(ours) => &ours.dir,
        }
    }

    /// The file our daemon reads; `None` for the stock one.
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Peer(_) => None,
            Self::Ours(ours) => Some(ours.file()),
        }
    }

    /// The answer of our daemon to a command without arguments, in its JSON form.
    pub fn json(&self, command: &str) -> serde_json::Value {
        let path = self.dir().join(format!("ovs-vswitchd.{}.ctl", self.pid()));
        let mut stream = UnixStream::connect(path).expect("daemon listens");
        stream.set_read_timeout(Some(LONG)).expect("a timeout");
        let calls = [("set-options", vec!["--format", "json"]), (command, vec![])];
        let mut answer = serde_json::Value::Null;
        for (id, (method, params)) in calls.into_iter().enumerate() {
            let call = serde_json::json!({"id": id, "method": method, "params": params});
            stream.write_all(call.to_string().as_bytes()).expect("daemon reads");
            let mut values =
                serde_json::Deserializer::from_reader(&stream).into_iter::<serde_json::Value>();
            answer = values.next().expect("an answer").expect("valid JSON");
            assert!(answer["error"].is_null(), "{method}: {answer}");
        }
        answer["result"].take()
    }

    /// Flows translated again so far, whatever the cause; 0 for the stock daemon, which does not
    /// tell them from other translations.
    pub fn retranslated(&self) -> u64 {
        match self {
            Self::Peer(_) => 0,
            Self::Ours(_) => self.json("upcall/show")["retranslated"].as_u64().expect("a count"),
        }
    }
}

/// Our daemon says this when SIGHUP has made it read its file, just before it applies it.
const RELOADED: &str = ": read again";

/// Our daemon says this of a file it does not take, behind the reason.
pub const REFUSED: &str = "the running configuration stays";

impl Drop for Standalone {
    fn drop(&mut self) {
        if std::thread::panicking() {
            show_end(&self.log());
        }
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = attempt(&["ovs-dpctl", "del-dp", "ovs-system"]);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// One transaction; returns when the daemon has applied it.
fn vsctl(stock: &Deployment, args: &[String]) {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    stock.must(&args);
}

impl Standalone {
    fn file(&self) -> PathBuf {
        self.dir.join("bridge.toml")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("ovs-vswitchd.log")).unwrap_or_default()
    }

    fn start_daemon(&mut self) {
        let program = our_daemon();
        let mut command = in_dir(&program, &self.dir);
        command.arg("--standalone").arg(self.file());
        command.args(["--log-file", "--pidfile", "-vconsole:off"]);
        let errors = std::fs::File::create(self.dir.join("stderr")).expect("own directory");
        command.stdout(Stdio::null()).stderr(errors);
        let mut child =
            command.spawn().unwrap_or_else(|e| panic!("cannot start {}: {e}", program.display()));
        let socket = self.dir.join(format!("ovs-vswitchd.{}.ctl", child.id()));
        let target = socket.to_string_lossy().into_owned();
        wait_for("our daemon to answer", LONG, || {
            if let Ok(Some(status)) = child.try_wait() {
                let said = std::fs::read_to_string(self.dir.join("stderr")).unwrap_or_default();
                panic!("our daemon ended at once ({status}):\n{said}{}", self.log());
            }
            (socket.exists() && attempt(&["ovs-appctl", "-t", &target, "version"]).1).then_some(())
        });
        self.daemon = Some(child);
    }
}

/// Reads the datapath's counters with the stock tool.
pub fn dp_stats() -> DpStats {
    let text = run(&["ovs-dpctl", "show"]);
    let mut numbers = HashMap::new();
    for line in text.lines() {
        let line = line.trim();
        let Some((group, rest)) = line.split_once(": ") else { continue };
        if group == "flows" {
            numbers.insert("flows".to_string(), rest.parse().unwrap_or(0));
        }
        for word in rest.split_whitespace() {
            if let Some((name, n)) = word.split_once(':') {
                numbers.entry(format!("{group}/{name}")).or_insert(n.parse().unwrap_or(0));
            }
        }
    }
    let get = |key: &str| numbers.get(key).copied().unwrap_or(0);
    DpStats {
        hit: get("lookups/hit"),
        missed: get("lookups/missed"),
        lost: get("lookups/lost"),
        flows: get("flows"),
        masks: get("masks/total"),
    }
}
