//! The process as operators and scripts meet it: command line, exit codes, pidfile, background,
//! monitor, signals, control socket.
//!
//! What is expected was taken from ovs-vswitchd 3.1.0 run with the same arguments. Where a stock
//! `ovs-appctl` is installed the control socket is asked through it, else through our own client.

use rovs::daemon::dirs::Dirs;
use rovs::unixctl::client;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A place of its own for a daemon.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { dir: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn daemon(&self, args: &[&str]) -> Command {
        // Signals that are ignored where the tests were started (by nohup, in the background of a
        // script) would be ignored by the daemon too.
        let mut command = Command::new("env");
        let exec = "exec -a ovs-vswitchd \"$0\" \"$@\"";
        command.args(["--default-signal", "bash", "-c", exec]);
        command.arg(env!("CARGO_BIN_EXE_ovs-vswitchd")).args(args).stdin(Stdio::null());
        self.in_place(&mut command);
        command
    }

    fn in_place(&self, command: &mut Command) {
        for variable in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
            command.env(variable, self.dir.path());
        }
        command.env("OVS_SYSLOG_METHOD", "null").current_dir(self.dir.path());
    }

    /// Exit status, standard output and error of a run that ends by itself.
    fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        texts(self.daemon(args).output().expect("a run"))
    }

    /// Starts a daemon in the foreground and waits until it can be asked.
    fn start(&self, args: &[&str]) -> Running {
        let mut args = args.to_vec();
        args.extend(["--pidfile", "-vconsole:off", "--log-file"]);
        let child = self.daemon(&args).spawn().expect("a start");
        let running = Running { child };
        wait_for("the daemon", || self.ask("version", &[]).is_ok());
        running
    }

    fn pid(&self) -> Option<i32> {
        self.text("ovs-vswitchd.pid").trim().parse().ok()
    }

    /// Asks the daemon named by the pidfile.
    fn ask(&self, command: &str, args: &[&str]) -> Result<String, String> {
        let at = |_: &str| Some(self.dir.path().into());
        let socket = rovs::daemon::control_socket(&Dirs::from_variables(at), "ovs-vswitchd")
            .map_err(|error| error.to_string())?;
        client::call(&socket, command, args).map_err(|error| error.to_string())?
    }

    /// Runs a stock `ovs-appctl`, if there is one.
    fn appctl(&self, args: &[&str]) -> Option<(Option<i32>, String, String)> {
        let mut command = Command::new("ovs-appctl");
        command.args(["--timeout=10", "-vconsole:off"]).args(args);
        self.in_place(&mut command);
        match command.output() {
            Ok(output) => Some(texts(output)),
            Err(_) => {
                eprintln!("no ovs-appctl here: not asked by the stock client");
                None
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).expect("the directory");
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.expect("an entry").file_name().to_string_lossy().into_owned()
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }
}

fn texts(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A daemon in the foreground, killed if a test fails.
struct Running {
    child: Child,
}

impl Running {
    fn end(&mut self) -> std::process::ExitStatus {
        self.child.wait().expect("its end")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A detached daemon or monitor, killed if a test fails.
struct Detached<'a>(&'a Place);

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        if let Some(pid) = self.0.pid() {
            kill(pid, nix::sys::signal::Signal::SIGTERM);
        }
    }
}

fn kill(pid: i32, signal: nix::sys::signal::Signal) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
}

fn is_alive(pid: i32) -> bool {
    // A process that ended but was not waited for (by a container's init, say) is not alive.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn mistakes_of_the_operator_end_with_1_in_the_peers_words() {
    let place = Place::new();
    let at = place.dir.path().display().to_string();
    for (args, want) in [
        (&["--nosuch"][..], "unrecognized option '--nosuch'"),
        (&["a", "b"], "at most one non-option argument accepted; use --help for usage"),
        (&["--unixctl"], "option '--unixctl' requires an argument"),
        (
            &["--no", "-x"],
            "option '--no' is ambiguous; possibilities: '--no-self-confinement' '--no-chdir'",
        ),
        (&["-vfoo"], "processing \"foo\": no destination, level, or module \"foo\""),
        (&["--dpdk"], "Using --dpdk to configure DPDK is not supported."),
        (&["--mlockall=3"], "option '--mlockall' doesn't allow an argument"),
        (&["--syslog-method=x"], "unsupported syslog method 'x'"),
        (&["--enable-dummy=x", "--nosuch"], "x: unknown dummy level"),
        (&["--syslog-target=192.0.2.1:514", "--nosuch"], "unrecognized option '--nosuch'"),
        (&["--dummy-numa"], "option '--dummy-numa' requires an argument"),
        (&["--ssl-protocols"], "option '--ssl-protocols' requires an argument"),
    ] {
        let want = format!("ovs-vswitchd: {want}\n");
        assert_eq!(place.run(args), (Some(1), String::new(), want), "{args:?}");
    }
    let (code, _, error) = place.run(&["--pid=no/such", "-vconsole:off"]);
    let want =
        format!("ovs-vswitchd: {at}/no/such.tmp: create failed (No such file or directory)\n");
    assert_eq!((code, error), (Some(1), want));
    // A log file that cannot be had is no start; what the log says of it is all that is said.
    for more in [&[][..], &["--detach"], &["--detach", "--monitor"]] {
        let mut args = vec!["-vPATTERN:console:%c|%p|%m", "--log-file=/no/such/x.log"];
        args.extend(more);
        let want =
            "vlog|WARN|failed to open /no/such/x.log for logging: No such file or directory\n";
        assert_eq!(place.run(&args), (Some(1), String::new(), want.to_owned()), "{more:?}");
    }
    assert_eq!(place.names(), [""; 0]);
}

/// What `ovs-ctl` and other starters pass, all in one line.
#[test]
fn the_options_of_starters_are_taken() {
    let place = Place::new();
    let running = place.start(&[
        "unix:/no/such/db.sock",
        "-vsyslog:err",
        "-vfile:info",
        "--mlockall",
        "--no-chdir",
        "--no-self-confinement",
        "--overwrite-pidfile",
        "--enable-dummy=override",
        "--disable-system",
        "--disable-system-route",
        "--private-key=key.pem",
        "--certificate=cert.pem",
        "--ca-cert=ca.pem",
        "--peer-ca-cert=peer.pem",
        "--bootstrap-ca-cert=boot.pem",
        "--ssl-protocols=TLSv1.2",
        "--ssl-ciphers=HIGH:!aNULL:!MD5",
    ]);
    let pid = running.child.id();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).expect("a line");
    if nix::unistd::geteuid().is_root() {
        assert_ne!(locked.trim(), "0 kB", "--mlockall");
    }
    // --no-chdir concerns --detach only; in the foreground it stays where it was anyway.
    let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).expect("a directory");
    assert_eq!(cwd, place.dir.path().canonicalize().expect("a path"));
}

/// The second daemon of `--overwrite-pidfile` takes the name; the first keeps running.
#[test]
fn a_pidfile_is_overwritten_on_demand() {
    let place = Place::new();
    let first = place.start(&[]);
    let mut command = place.daemon(&["--pidfile", "--overwrite-pidfile", "-vconsole:off"]);
    let second = Running { child: command.spawn().expect("a start") };
    let number = second.child.id() as i32;
    wait_for("the new pidfile", || place.pid() == Some(number));
    assert!(is_alive(first.child.id() as i32));
}

/// `--user` leaves a process that can do its work and nothing else.
#[test]
fn another_user_keeps_the_capabilities_of_a_switch_only() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not root: --user cannot be tried");
        return;
    }
    let place = Place::new();
    // The daemon makes its socket as that user.
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(place.dir.path(), std::fs::Permissions::from_mode(0o777))
        .expect("permissions");
    let running = place.start(&["--user=nobody"]);
    let pid = running.child.id();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let nobody = nix::unistd::User::from_name("nobody").expect("users").expect("nobody").uid;
    assert_eq!(field("Uid:"), vec![nobody.to_string(); 4].join(" "));
    assert_eq!(field("Groups:"), "");
    // CAP_NET_BIND_SERVICE 10, NET_BROADCAST 11, NET_ADMIN 12, NET_RAW 13, IPC_LOCK 14.
    let kept = u64::from_str_radix(&field("CapEff:"), 16).expect("a number");
    assert_eq!(kept & !0x7c00, 0, "{kept:x}");
    assert_ne!(kept & (1 << 12), 0, "CAP_NET_ADMIN: {kept:x}");
    assert_eq!(field("CapBnd:"), "0".repeat(16));
}

/// In a unit of `Type=notify` systemd learns when it is ready and when it goes.
#[test]
fn a_service_manager_is_told() {
    let place = Place::new();
    let manager = std::os::unix::net::UnixDatagram::bind(place.path("notify")).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let state = || {
        let mut bytes = [0; 200];
        let length = manager.recv(&mut bytes).expect("a state");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    std::fs::write(place.path("bridge.toml"), "").expect("a file");
    let file = place.path("bridge.toml").display().to_string();
    let mut command = place.daemon(&[
        "--pidfile",
        "-vconsole:off",
        "--enable-dummy=override",
        "--standalone",
        &file,
    ]);
    let mut running = Running {
        child: command.env("NOTIFY_SOCKET", place.path("notify")).spawn().expect("a start"),
    };
    let pid = running.child.id();
    assert_eq!(state(), format!("READY=1\nMAINPID={pid}"));
    assert_eq!(place.ask("exit", &[]), Ok(String::new()));
    assert_eq!(state(), "STOPPING=1");
    assert!(running.end().success());
}

#[test]
fn version_and_help() {
    let place = Place::new();
    let (code, version, _) = place.run(&["--version", "--nosuch"]);
    let mut lines = version.lines();
    assert_eq!((code, lines.next()), (Some(0), Some("ovs-vswitchd (Open vSwitch) 3.1.0")));
    assert_eq!(lines.next(), Some(concat!("rovs ", env!("CARGO_PKG_VERSION"))));
    let (code, help, _) = place.run(&["-h"]);
    assert_eq!(code, Some(0));
    let at = place.dir.path().display();
    for line in [
        "usage: ovs-vswitchd [OPTIONS] [DATABASE]",
        &format!("      (default: \"unix:{at}/db.sock\")."),
        &format!("  --pidfile[=FILE]        create pidfile (default: {at}/ovs-vswitchd.pid)"),
        &format!("                           (default: {at}/ovs-vswitchd.log)"),
    ] {
        assert!(help.lines().any(|found| found == line), "{line}");
    }
}

#[test]
fn stock_appctl_is_answered() {
    let place = Place::new();
    let mut running = place.start(&[]);
    let failed = "ovs-appctl: ovs-vswitchd: server returned an error\n";
    for (args, code, want) in [
        (&["version"][..], 0, "ovs-vswitchd (Open vSwitch) 3.1.0\n".to_owned()),
        (
            &["nosuch"],
            2,
            format!(
                "\"nosuch\" is not a valid command (use \"list-commands\" to see a list of valid \
                 commands)\n{failed}"
            ),
        ),
        (&["version", "x"], 2, format!("\"version\" command takes at most 0 arguments\n{failed}")),
        (&["vlog/set", "pattern"], 2, format!("missing destination\n{failed}")),
        (&["vlog/enable-rate-limit", "foo"], 2, format!("unknown module\n{failed}")),
        (&["vlog/disable-rate-limit", "vlog"], 0, String::new()),
        (&["exit", "a", "b"], 2, format!("\"exit\" command takes at most 1 arguments\n{failed}")),
        (&["memory/show"], 0, String::new()),
        (&["vlog/set", "ANY:any:dbg", "console:off"], 0, String::new()),
    ] {
        let Some((status, out, error)) = place.appctl(args) else { break };
        assert_eq!((status, out + &error), (Some(code), want), "{args:?}");
    }
    if let Some((_, list, _)) = place.appctl(&["vlog/list"]) {
        assert!(
            list.contains(
                "\nvlog               OFF        DBG        DBG    (rate limiting disabled)\n"
            ),
            "{list}"
        );
    }
    if let Some((_, list, _)) = place.appctl(&["coverage/show"]) {
        assert!(list.contains("\nunixctl_received "), "{list}");
        assert!(list.ends_with(" events never hit\n"), "{list}");
    }
    assert_eq!(place.ask("exit", &["--cleanup"]), Ok(String::new()));
    assert!(running.end().success());
    assert_eq!(place.names(), ["ovs-vswitchd.log"]);
}

#[test]
fn the_log_file_is_rotated() {
    let place = Place::new();
    let _running = place.start(&["-vPATTERN:file:%c|%p|%m", "--standalone=/dev/null"]);
    std::fs::rename(place.path("ovs-vswitchd.log"), place.path("old")).expect("rename");
    assert_eq!(place.ask("vlog/reopen", &[]), Ok(String::new()));
    let at = place.path("ovs-vswitchd.log").display().to_string();
    let opened = format!("vlog|INFO|opened log file {at}\n");
    assert_eq!(place.text("ovs-vswitchd.log"), opened);
    assert_eq!(place.text("old"), format!("{opened}vlog|INFO|closing log file\n"));
}

/// A log file on a full disk: lines are lost, nothing else. From the peer's own tests.
#[test]
fn a_log_file_that_takes_nothing_does_no_harm() {
    let place = Place::new();
    let _running = place.start(&["-vPATTERN:file:%m"]);
    std::fs::remove_file(place.path("ovs-vswitchd.log")).expect("removed");
    std::os::unix::fs::symlink("/dev/full", place.path("ovs-vswitchd.log")).expect("a link");
    assert_eq!(place.ask("vlog/reopen", &[]), Ok(String::new()));
    assert_eq!(place.ask("vlog/set", &["file:dbg"]), Ok(String::new()));
    std::fs::remove_file(place.path("ovs-vswitchd.log")).expect("removed");
    assert_eq!(place.ask("vlog/reopen", &[]), Ok(String::new()));
    assert!(place.text("ovs-vswitchd.log").starts_with("opened log file "));
    assert_eq!(place.ask("vlog/close", &[]), Ok(String::new()));
    assert_eq!(place.ask("vlog/close", &[]), Ok(String::new()));
    let silent = Place::new();
    let _quiet =
        Running { child: silent.daemon(&["--pidfile", "-vconsole:off"]).spawn().expect("a start") };
    wait_for("the daemon", || silent.ask("version", &[]).is_ok());
    assert_eq!(silent.ask("vlog/reopen", &[]), Err("Logging to file not configured\n".to_owned()));
}

#[test]
fn a_signal_ends_it_and_can_be_seen() {
    let place = Place::new();
    for (signal, name) in [
        (nix::sys::signal::Signal::SIGTERM, "terminating with signal 15 (Terminated)"),
        (nix::sys::signal::Signal::SIGINT, "terminating with signal 2 (Interrupt)"),
        (nix::sys::signal::Signal::SIGHUP, "terminating with signal 1 (Hangup)"),
    ] {
        let mut running = place.start(&[]);
        kill(running.child.id() as i32, signal);
        assert_eq!(running.end().signal(), Some(signal as i32));
        let log = place.text("ovs-vswitchd.log");
        assert!(log.contains(&format!("|fatal_signal|WARN|{name}\n")), "{log}");
        assert_eq!(place.names(), ["ovs-vswitchd.log"]);
    }
}

#[test]
fn standalone_a_hangup_is_no_end() {
    let place = Place::new();
    std::fs::write(place.path("bridge.toml"), "").expect("a file");
    let file = place.path("bridge.toml").display().to_string();
    let mut running = place.start(&["--standalone", &file]);
    kill(running.child.id() as i32, nix::sys::signal::Signal::SIGHUP);
    for _ in 0..3 {
        assert!(place.ask("version", &[]).is_ok());
    }
    assert_eq!(place.ask("exit", &[]), Ok(String::new()));
    assert!(running.end().success());
}

#[test]
fn one_daemon_to_a_pidfile() {
    let place = Place::new();
    let mut running = place.start(&[]);
    let pid = place.pid().expect("a number");
    assert_eq!(pid, running.child.id() as i32);
    let at = place.path("ovs-vswitchd.pid").display().to_string();
    let want = format!("ovs-vswitchd: {at}: already running as pid {pid}, aborting\n");
    assert_eq!(place.run(&["--pidfile", "-vconsole:off"]), (Some(1), String::new(), want.clone()));
    assert_eq!(
        place.run(&["--pidfile", "--detach", "--monitor", "-vconsole:off"]),
        (Some(1), String::new(), want)
    );
    assert_eq!(place.pid(), Some(pid), "it was not touched");
    // Killed, it leaves a stale one behind, which is no hindrance.
    kill(pid, nix::sys::signal::Signal::SIGKILL);
    running.end();
    assert_eq!(place.pid(), Some(pid));
    let mut next = place.start(&[]);
    assert_ne!(place.pid(), Some(pid));
    kill(next.child.id() as i32, nix::sys::signal::Signal::SIGTERM);
    next.end();
    assert_eq!(place.pid(), None);
}

#[test]
fn detached_it_is_ready_when_the_prompt_returns() {
    let place = Place::new();
    let args = [
        "--detach",
        "--pidfile=x.pid",
        "--unixctl=x.ctl",
        "-vconsole:off",
        "--log-file",
        "--standalone=/dev/null",
    ];
    let (code, out, error) = place.run(&args);
    assert_eq!((code, out, error), (Some(0), String::new(), String::new()));
    let socket = place.path("x.ctl");
    let pid: i32 = place.text("x.pid").trim().parse().expect("a number");
    assert_eq!(
        client::call(&socket, "version", &[]).expect("an answer"),
        Ok("ovs-vswitchd (Open vSwitch) 3.1.0\n".to_owned())
    );
    assert_eq!(
        std::fs::read_link(format!("/proc/{pid}/cwd")).expect("a directory"),
        Path::new("/")
    );
    assert_eq!(
        std::fs::read_link(format!("/proc/{pid}/fd/2")).expect("standard error"),
        Path::new("/dev/null")
    );
    // What ovs-ctl compares.
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).expect("a name");
    assert_eq!(comm, "ovs-vswitchd\n");
    assert_eq!(client::call(&socket, "exit", &[]).expect("an answer"), Ok(String::new()));
    wait_for("its end", || !is_alive(pid));
    assert_eq!(place.names(), ["ovs-vswitchd.log"]);
}

#[test]
fn a_start_that_fails_fails_for_the_caller_too() {
    for more in [&["--detach"][..], &["--detach", "--monitor"], &["--monitor"]] {
        let place = Place::new();
        let mut args = vec!["--pidfile", "--no-chdir", "--unixctl=no/such", "-vconsole:off"];
        args.extend(more);
        let (code, _, error) = place.run(&args);
        assert_eq!(code, Some(1), "{more:?}");
        let at = place.path("no/such").display().to_string();
        let want = format!(
            "ovs-vswitchd: {at}: could not initialize control socket (No such file or directory)\n"
        );
        assert_eq!(error, want, "{more:?}");
        assert_eq!(place.names(), [""; 0], "{more:?}");
    }
}

#[test]
fn the_monitor_restarts_what_crashed_and_ends_with_what_ended() {
    let place = Place::new();
    let args = ["--detach", "--monitor", "--pidfile", "--log-file", "--no-chdir", "-vconsole:off"];
    let args = [&args[..], &["--standalone=/dev/null"]].concat();
    assert_eq!(place.run(&args).0, Some(0));
    let _detached = Detached(&place);
    let first = place.pid().expect("a number");
    let parent_of = |pid: i32| -> i32 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
        let (_, rest) = stat.rsplit_once(") ").expect("its fields");
        rest.split(' ').nth(1).expect("a parent").parse().expect("a number")
    };
    let monitor = parent_of(first);
    // The monitor may still be about to say so when the prompt is back.
    wait_for("the monitor's title", || {
        let title = std::fs::read(format!("/proc/{monitor}/cmdline")).expect("a title");
        String::from_utf8_lossy(&title).trim_end_matches('\0')
            == format!("ovs-vswitchd: monitoring pid {first} (healthy)")
    });
    kill(first, nix::sys::signal::Signal::SIGSEGV);
    wait_for("a new daemon", || {
        place.pid().is_some_and(|pid| pid != first) && place.ask("version", &[]).is_ok()
    });
    let second = place.pid().expect("a number");
    assert_eq!(parent_of(second), monitor);
    kill(second, nix::sys::signal::Signal::SIGTERM);
    wait_for("the end of both", || !is_alive(second) && !is_alive(monitor));
    assert_eq!(place.pid(), None);
    let log = place.text("ovs-vswitchd.log");
    for line in [
        // "core dumped" may follow, by the machine's settings.
        format!(
            "|daemon_unix(monitor)|ERR|1 crashes: pid {first} died, killed (Segmentation fault)"
        ),
        "|fatal_signal|WARN|terminating with signal 15 (Terminated)\n".to_owned(),
        format!("|daemon_unix(monitor)|INFO|pid {second} died, killed (Terminated), exiting\n"),
    ] {
        assert!(log.contains(&line), "{line} in {log}");
    }
}

/// The monitor can be ended alone; the daemon works on, as the peer's does.
#[test]
fn a_monitor_ends_at_a_signal() {
    let place = Place::new();
    assert_eq!(
        place
            .run(&["--detach", "--monitor", "--pidfile", "-vconsole:off", "--standalone=/dev/null"])
            .0,
        Some(0)
    );
    let _detached = Detached(&place);
    let pid = place.pid().expect("a number");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let (_, rest) = stat.rsplit_once(") ").expect("its fields");
    let monitor: i32 = rest.split(' ').nth(1).expect("a parent").parse().expect("a number");
    kill(monitor, nix::sys::signal::Signal::SIGTERM);
    wait_for("the monitor's end", || !is_alive(monitor));
    assert!(place.ask("version", &[]).is_ok());
}
