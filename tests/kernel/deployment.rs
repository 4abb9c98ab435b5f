//! A database with its server, and either daemon over it: what an operator of the stock tools sees.
//!
//! The tools are the distribution's, pointed at its private directory by `OVS_RUNDIR`. Dropping
//! it ends its processes and removes the datapath.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::process::{end, fresh_dir, in_dir, our_daemon, peers_daemon, pid_of, show_end};
use super::{ask, attempt, run, wait_for};

/// Whose `ovs-vswitchd` it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// The distribution's.
    Peers,
    /// Ours, unless `ROVS_LAB_DAEMON=peer`, which checks the tests.
    Ours,
}

/// See the module's page.
pub struct Deployment {
    dir: PathBuf,
    variables: Vec<(&'static str, &'static str)>,
    server: Option<Child>,
    daemon: Option<Child>,
}

/// What a program said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// Exit status, -1 for a signal.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

const LONG: Duration = Duration::from_secs(30);
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

impl Deployment {
    /// An empty database that is served.
    pub fn new() -> Self {
        let dir = fresh_dir("deployment");
        let mut made = Self { dir, variables: Vec::new(), server: None, daemon: None };
        made.create_database("conf.db");
        made.start_server();
        assert_eq!(made.tool(&["ovs-vsctl", "--no-wait", "init"]).code, 0);
        made
    }

    /// Starts programs with this in their environment.
    pub fn with_variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes a database file of this name.
    pub fn create_database(&self, name: &str) {
        run(&["ovsdb-tool", "create", &self.dir.join(name).to_string_lossy(), SCHEMA]);
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = in_dir(program, &self.dir);
        command.envs(self.variables.iter().copied());
        command
    }

    /// Runs a tool that finds it by itself.
    pub fn tool(&self, argv: &[&str]) -> Said {
        let out = self
            .command(Path::new(argv[0]))
            .args(&argv[1..])
            .output()
            .unwrap_or_else(|e| panic!("cannot run {argv:?}: {e}"));
        Said {
            code: out.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&out.stdout).into_owned(),
            err: String::from_utf8_lossy(&out.stderr).into_owned(),
        }
    }

    /// `ovs-vsctl ARGS`, which waits for the daemon for at most 100 seconds: in the guest that counts
    /// instructions time leaps while the machine reads a file.
    pub fn vsctl(&self, args: &[&str]) -> Said {
        self.tool(&[&["ovs-vsctl", "--timeout=100"], args].concat())
    }

    /// `ovs-vsctl ARGS`, which must succeed.
    pub fn must(&self, args: &[&str]) -> String {
        let said = self.vsctl(args);
        assert_eq!(said.code, 0, "ovs-vsctl {args:?}: {}{}", said.out, said.err);
        said.out
    }

    /// `ovs-appctl ARGS`, asked of the daemon.
    pub fn appctl(&self, args: &[&str]) -> Said {
        self.tool(&[&["ovs-appctl", "--timeout=20"], args].concat())
    }

    /// The daemon's control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.dir.join(format!("ovs-vswitchd.{}.ctl", self.pid()))
    }

    /// The daemon's answer to a control command, asked without a tool in between; an error as `Err`.
    pub fn ask(&self, method: &str, params: &[&str]) -> Result<String, String> {
        ask(&self.control_socket(), method, params)
    }

    /// Starts the server.
    pub fn start_server(&mut self) {
        let _ = std::fs::remove_file(self.dir.join("db.sock"));
        let mut command = self.command(Path::new("ovsdb-server"));
        command.arg(self.dir.join("conf.db"));
        command.arg(format!("--remote=punix:{}/db.sock", self.dir.display()));
        command.args(["--pidfile", "--log-file", "-vconsole:off"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.server = Some(command.spawn().expect("ovsdb-server is installed"));
        wait_for("ovsdb-server", LONG, || self.dir.join("db.sock").exists().then_some(()));
    }

    /// Ends the server, as its own control command does.
    pub fn stop_server(&mut self) {
        let _ = self.tool(&["ovs-appctl", "-t", "ovsdb-server", "exit"]);
        end(&mut self.server);
    }

    /// Starts a daemon and waits until it has done what the database says.
    pub fn start(&mut self, whose: Whose) {
        let stock = is_stock(whose);
        if stock {
            // Started soon after boot it counts no CPUs, starts no handler and loses every upcall.
            let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
            let up: f64 = uptime.split('.').next().and_then(|s| s.parse().ok()).unwrap_or(99.0);
            if up < 12.0 {
                std::thread::sleep(Duration::from_secs_f64(12.5 - up));
            }
        }
        for _ in 0..5 {
            let before = self.log().len();
            self.launch(whose);
            self.settle();
            if !stock || !self.log()[before..].contains("n-handler-threads to 0") {
                return;
            }
            self.kill9();
            std::thread::sleep(Duration::from_secs(3));
        }
        panic!("the stock daemon keeps counting no CPUs");
    }

    /// Starts a daemon, and waits for nothing.
    pub fn launch(&mut self, whose: Whose) {
        let program = if is_stock(whose) { peers_daemon() } else { our_daemon() };
        let mut command = self.command(&program);
        command.args(["--log-file", "--pidfile", "-vconsole:off"]);
        let errors = std::fs::File::create(self.dir.join("stderr")).expect("own directory");
        command.stdout(Stdio::null()).stderr(errors);
        self.daemon = Some(command.spawn().expect("the daemon can be started"));
    }

    /// Waits until the daemon has done what the database says.
    pub fn settle(&self) {
        // Two changes of which nothing is left. `ovs-vsctl` does not wait for a change of nothing.
        for change in [
            &["set", "Open_vSwitch", ".", "external_ids:lab=settles"][..],
            &["remove", "Open_vSwitch", ".", "external_ids", "lab"],
        ] {
            let said = self.vsctl(change);
            if said.code != 0 {
                let errors = std::fs::read_to_string(self.dir.join("stderr")).unwrap_or_default();
                panic!("the daemon does not take its configuration: {}{errors}", said.err);
            }
        }
    }

    /// Ends the daemon with `ovs-appctl exit`.
    pub fn stop(&mut self) {
        let _ = self.appctl(&["exit"]);
        end(&mut self.daemon);
    }

    /// Ends the daemon as a crash would.
    pub fn kill9(&mut self) {
        kill(self.pid(), Signal::SIGKILL).expect("the daemon runs");
        end(&mut self.daemon);
    }

    /// Process id of the daemon.
    pub fn pid(&self) -> Pid {
        pid_of(&self.daemon)
    }

    /// The daemon's log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("ovs-vswitchd.log")).unwrap_or_default()
    }

    /// A counter of `coverage/show`, 0 if it is not there.
    pub fn coverage(&self, name: &str) -> u64 {
        let out = self.ask("coverage/show", &[]).expect("counters");
        let line = out.lines().find(|line| line.split_whitespace().next() == Some(name));
        let total = line.and_then(|line| line.rsplit_once("total: "));
        total.and_then(|(_, n)| n.trim().parse().ok()).unwrap_or(0)
    }
}

/// Whether it is the distribution's daemon that is started.
fn is_stock(whose: Whose) -> bool {
    whose == Whose::Peers || std::env::var("ROVS_LAB_DAEMON").is_ok_and(|v| v == "peer")
}

impl Drop for Deployment {
    fn drop(&mut self) {
        if std::thread::panicking() {
            show_end(&self.log());
        }
        for child in [&mut self.daemon, &mut self.server] {
            if let Some(mut child) = child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        let _ = attempt(&["ovs-dpctl", "del-dp", "ovs-system"]);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
