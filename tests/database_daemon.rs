//! The whole daemon over a dummy datapath and a database of the distribution's `ovsdb-server`: rows that make
//! no sense, and a server that means no good. Neither root nor a kernel module is needed.
//!
//! Between daemon and server stands a [`Wire`] that can be cut, held up, and made to tell lies.

mod ovsdb;

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ovsdb::{Lab, run};
use rovs::unixctl::client;

/// Beyond any time a loaded machine needs; only a hang takes so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// What stands between daemon and server.
struct Wire {
    /// The daemon's end of the connection of the moment.
    daemon: Mutex<Option<UnixStream>>,
    /// Whether what the server says is swallowed.
    is_mute: AtomicBool,
    connections: AtomicUsize,
}

impl Wire {
    /// Listens at `here` for what is passed on to `there`.
    fn new(here: PathBuf, there: PathBuf) -> Arc<Self> {
        let wire = Arc::new(Self {
            daemon: Mutex::new(None),
            is_mute: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
        });
        let listener = UnixListener::bind(here).expect("a socket");
        let shared = wire.clone();
        std::thread::spawn(move || {
            for daemon in listener.incoming().map_while(Result::ok) {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                // Without a server the connection is closed at once.
                if let Ok(server) = UnixStream::connect(&there) {
                    shared.carry(daemon, server);
                }
            }
        });
        wire
    }

    fn carry(self: &Arc<Self>, mut daemon: UnixStream, mut server: UnixStream) {
        *self.daemon.lock().unwrap() = Some(daemon.try_clone().expect("a descriptor"));
        let (mut from_daemon, mut to_server) =
            (daemon.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from_daemon, &mut to_server);
            let _ = to_server.shutdown(Shutdown::Both);
        });
        let wire = self.clone();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(length @ 1..) = server.read(&mut buffer) {
                // A lie is told between two of these.
                let _whole = wire.daemon.lock().unwrap();
                if !wire.is_mute.load(Ordering::SeqCst)
                    && daemon.write_all(&buffer[..length]).is_err()
                {
                    break;
                }
            }
            let _ = daemon.shutdown(Shutdown::Both);
        });
    }

    /// Says something to the daemon in the server's name. The daemon may hang up half-way.
    fn say(&self, text: &[u8]) {
        let mut stream = self.daemon.lock().unwrap();
        let _ = stream.as_mut().expect("a connection").write_all(text);
    }

    fn cut(&self) {
        if let Some(stream) = self.daemon.lock().unwrap().take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// What a server says of changed rows, in the form that the daemon asks for.
fn update(rows: &str) -> Vec<u8> {
    let txn = "00000000-0000-0000-0000-000000000000";
    let params = format!(r#"[["monid","Open_vSwitch"],"{txn}",{rows}]"#);
    format!(r#"{{"id":null,"method":"update3","params":{params}}}"#).into_bytes()
}

/// A row of `Port` that nobody has, and what becomes of it.
fn row(change: &str) -> String {
    format!(r#"{{"Port":{{"{ROW}":{change}}}}}"#)
}

/// Server, wire and daemon, with a bridge `br0` of the dummy ports `p1` and `p2`.
struct Place {
    wire: Arc<Wire>,
    daemon: Child,
    lab: Lab,
    macs: u8,
}

impl Place {
    fn new() -> Self {
        let lab = Lab::new();
        let wire = Wire::new(lab.path("wire.sock"), lab.path("db.sock"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_ovs-vswitchd"));
        command.arg0("ovs-vswitchd").arg(format!("unix:{}", lab.text("wire.sock")));
        command.arg("--unixctl").arg(lab.path("switch.ctl")).stdin(Stdio::null());
        command.args([
            "--enable-dummy=override",
            "--disable-system",
            "-vconsole:off",
            "--log-file",
        ]);
        for variable in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
            command.env(variable, lab.dir.path());
        }
        command.env("OVS_SYSLOG_METHOD", "null").current_dir(lab.dir.path());
        let daemon = command.spawn().expect("a start");
        let mut place = Self { wire, daemon, lab, macs: 0 };
        // No statistics in between.
        place.must("set Open_vSwitch . other_config:stats-update-interval=600000");
        place.must("add-br br0 -- set Bridge br0 datapath_type=dummy");
        for port in ["p1", "p2"] {
            place.must(&format!("add-port br0 {port} -- set Interface {port} type=dummy"));
        }
        place.forwards();
        place
    }

    /// `ovs-vsctl WORDS`, which waits until the daemon has done it.
    #[track_caller]
    fn must(&self, words: &str) -> String {
        let db = format!("--db={}", self.lab.unix());
        let mut args = vec![db.as_str(), "--timeout=100"];
        args.extend(words.split(' '));
        run("ovs-vsctl", &args)
    }

    /// A column without the tool's quotes.
    fn column(&self, table: &str, name: &str, column: &str) -> String {
        let told = self.lab.vsctl(&["get", table, name, column]);
        told.trim().trim_matches('"').replace("\\\"", "\"")
    }

    #[track_caller]
    fn told(&self, command: &str, args: &[&str]) -> String {
        let answer = client::call(&self.lab.path("switch.ctl"), command, args);
        match answer.map_err(|error| error.to_string()).and_then(|answer| answer) {
            Ok(text) => text,
            Err(error) => panic!("{command} {args:?}: {error}\n{}", self.log()),
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.lab.path("ovs-vswitchd.log")).unwrap_or_default()
    }

    /// Warnings and errors of the log, without their heads.
    fn complaints(&self) -> Vec<String> {
        let is_complaint = |line: &&str| line.contains("|WARN|") || line.contains("|ERR|");
        let text = |line: &str| line.splitn(3, '|').nth(2).unwrap_or_default().to_owned();
        self.log().lines().filter(is_complaint).map(text).collect()
    }

    /// A packet from a host that was never heard of comes in at p1: handlers decide it and learn.
    #[track_caller]
    fn forwards(&mut self) {
        self.macs += 1;
        let mac = format!("50:54:00:00:00:{:02x}", self.macs);
        let packet = format!(
            "in_port(1),eth(src={mac},dst=ff:ff:ff:ff:ff:ff),eth_type(0x0800),\
             ipv4(src=10.0.0.1,dst=10.0.0.2,proto=1,tos=0,ttl=64,frag=no),icmp(type=8,code=0)"
        );
        self.told("netdev-dummy/receive", &["p1", &packet]);
        let known = self.told("fdb/show", &["br0"]);
        assert!(known.contains(&mac), "not forwarded:\n{known}{}", self.log());
    }

    #[track_caller]
    fn wait_for(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < end, "no {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

// Texts are the peer's; a type that does not exist has two lines there as well.
#[test]
fn a_row_that_makes_no_sense_costs_itself_only() {
    let port = |name: &str, settings: &str| {
        format!("add-port br0 {name} -- set Interface {name} {settings}")
    };
    // Name, how it comes to be, what it is told, and in how many lines.
    let rows = [
        ("typed", port("typed", "type=nonsense"), "(Address family not supported", 2),
        ("lonely", port("lonely", "type=patch"), "patch type requires valid 'peer' argument", 1),
        ("self", port("self", "type=patch options:peer=self"), "patch peer must not be self", 1),
        ("rich", port("rich", "type=patch options:peer=a options:b=c"), "takes only a 'peer'", 1),
    ];
    let mut place = Place::new();
    let before = place.complaints().len();
    let mut words: Vec<String> = rows.iter().map(|(_, words, ..)| words.clone()).collect();
    // Columns of a good row with nonsense in them.
    for nonsense in [
        "set Bridge br0 other_config:hwaddr=nonsense other_config:datapath-id=xyz",
        "set Bridge br0 other_config:mac-table-size=-7 other_config:mac-aging-time=never",
        "set Port p1 mac=\"never\"",
        "set Interface p2 ofport_request=65000 mac=\"12\"",
        "set Open_vSwitch . other_config:n-handler-threads=-4 other_config:flow-limit=much",
        "set Open_vSwitch . other_config:max-idle=-1 other_config:vlan-limit=a",
        "add-port br0 p3 tag=3",
        "set Interface p3 type=dummy",
    ] {
        words.push(nonsense.to_owned());
    }
    place.must(&words.join(" -- "));
    for (name, _, error, _) in &rows {
        let told = place
            .must(&format!("--bare --columns=ofport,error find Interface name={name} error!=[]"));
        assert!(told.starts_with("-1\n") && told.contains(error), "{name}: {told}");
    }
    for port in ["p1", "p2", "p3", "br0"] {
        assert_eq!(place.column("Interface", port, "error"), "[]", "{port}");
        assert_ne!(place.column("Interface", port, "ofport"), "-1", "{port}");
    }
    place.forwards();
    // Once, however often the configuration is looked at.
    for tag in 10..15 {
        place.must(&format!("set Port p3 tag={tag}"));
    }
    let complaints = place.complaints().split_off(before);
    for (name, .., lines) in &rows {
        let is_about = |line: &&String| line.split([' ', '|', ':']).any(|word| word == *name);
        let about: Vec<_> = complaints.iter().filter(is_about).collect();
        assert_eq!(about.len(), *lines, "{name}: {about:#?}");
    }
    let most: usize = rows.iter().map(|row| row.3).sum();
    assert_eq!(complaints.len(), most, "{complaints:#?}");
}

const ROW: &str = "01010101-0101-0101-0101-010101010101";

/// What becomes of the connection after a lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// The daemon hangs up, and says why.
    HungUp,
    /// It is of no concern.
    Kept,
    /// The rest of a text is waited for; the wire is cut.
    Cut,
}

/// Tells lies one after the other. After each, packets are forwarded and the control socket
/// answers, and what the honest server has is taken in.
fn after_lies(lies: &[(&str, Vec<u8>, End)]) {
    let mut place = Place::new();
    for (tag, (what, text, end)) in (100..).zip(lies) {
        let connections = |place: &Place| place.wire.connections.load(Ordering::SeqCst);
        let (before, complaints) = (connections(&place), place.complaints().len());
        place.wire.say(text);
        place.forwards();
        place.told("version", &[]);
        match end {
            End::HungUp => place.wait_for(what, |place| connections(place) > before),
            End::Kept => {}
            End::Cut => place.wire.cut(),
        }
        place.must(&format!("set Port p2 tag={tag}"));
        place.forwards();
        let complaints = place.complaints().split_off(complaints);
        // The reason, and that the connection is gone; of many alike not even that.
        assert!(complaints.len() <= 2, "{what}: {complaints:#?}");
        assert!(*end != End::HungUp || !complaints.is_empty(), "{what}: no word of it");
        assert_eq!(connections(&place), before + usize::from(*end != End::Kept), "{what}");
    }
    assert!(place.daemon.try_wait().expect("a child").is_none(), "it runs");
}

// Each lie costs a second or more of waiting before the daemon connects again: in several tests, so that
// they wait together.
#[test]
fn a_server_that_speaks_no_json_costs_no_packet() {
    after_lies(&[
        ("no message", b"}".to_vec(), End::HungUp),
        ("bytes", vec![0xff; 4096], End::HungUp),
        ("never closed", vec![b'['; 1 << 20], End::Cut),
        ("a cut string", br#"{"id":null,"method":"upd"#.to_vec(), End::Cut),
    ]);
}

#[test]
fn a_server_that_speaks_no_json_rpc_costs_no_packet() {
    let deep = [vec![b'['; 1 << 20], vec![b']'; 1 << 20]].concat();
    let deep_params =
        [br#"{"id":null,"method":"update3","params":"#.as_slice(), &deep, b"}"].concat();
    let unasked = br#"{"id":77777,"result":{},"error":null}"#;
    after_lies(&[
        ("deep", deep, End::HungUp),
        ("deep parameters", deep_params, End::HungUp),
        ("another method", br#"{"id":null,"method":7,"params":[]}"#.to_vec(), End::HungUp),
        ("an answer that nobody asked for", unasked.to_vec(), End::Kept),
    ]);
}

#[test]
fn a_server_that_sends_no_rows_costs_no_packet() {
    after_lies(&[
        ("no rows", update("[]"), End::HungUp),
        ("no table", update(r#"{"Nonsense":{}}"#), End::Kept),
        ("no uuid", update(r#"{"Port":{"x":{"insert":{}}}}"#), End::HungUp),
        ("no change", update(&row(r#"{"explode":{}}"#)), End::HungUp),
        ("no such row", update(&row(r#"{"modify":{"name":"x"}}"#)), End::HungUp),
    ]);
}

// Of such a row the column is empty; the rest counts.
#[test]
fn a_server_that_sends_wrong_values_costs_no_packet() {
    after_lies(&[
        ("a wrong type", update(&row(r#"{"insert":{"name":7}}"#)), End::Kept),
        ("a wrong set", update(&row(r#"{"modify":{"trunks":["set",[["map"]]]}}"#)), End::Kept),
        ("a wrong uuid", update(&row(r#"{"modify":{"interfaces":["uuid","q"]}}"#)), End::Kept),
    ]);
}

#[test]
fn references_that_dangle_are_no_rows() {
    let mut place = Place::new();
    // In the replica's eyes the bridge has a port that is no row, and a port an interface that is none.
    let root = place.column("Open_vSwitch", ".", "_uuid");
    let port = place.column("Port", "p2", "_uuid");
    let dangling = format!(r#"["set",[["uuid","{ROW}"]]]"#);
    place.wire.say(&update(&format!(
        r#"{{"Open_vSwitch":{{"{root}":{{"modify":{{"bridges":{dangling},"next_cfg":7777}}}}}},
            "Port":{{"{port}":{{"modify":{{"interfaces":{dangling}}}}}}}}}"#
    )));
    // It has taken it in when it writes what it takes for the truth.
    place.wait_for("acting on it", |place| place.column("Open_vSwitch", ".", "cur_cfg") == "7777");
    place.forwards();
    place.wire.cut();
    place.must("set Port p2 tag=5");
    place.forwards();
    assert_eq!(place.column("Interface", "p2", "error"), "[]");
}

#[test]
fn a_hundred_megabytes_of_a_column_hold_up_nobody() {
    let mut place = Place::new();
    let port = place.column("Port", "p2", "_uuid");
    let wire = place.wire.clone();
    let telling = std::thread::spawn(move || {
        let much = "x".repeat(100 << 20);
        wire.say(&update(&format!(
            r#"{{"Port":{{"{port}":{{"modify":{{"external_ids":["map",[["a","{much}"]]]}}}}}}}}"#
        )));
    });
    let mut answers = 0;
    while !telling.is_finished() {
        place.forwards();
        place.told("version", &[]);
        answers += 1;
        if place.macs == u8::MAX {
            place.macs = 0;
        }
    }
    telling.join().expect("told");
    assert!(answers > 20, "{answers} packets and answers meanwhile");
    place.must("set Port p2 tag=9");
    place.forwards();
}

#[test]
fn a_server_that_falls_silent_or_away_is_come_back_to() {
    let mut place = Place::new();
    place.wire.is_mute.store(true, Ordering::SeqCst);
    place.lab.vsctl(&["add-port", "br0", "p3", "--", "set", "Interface", "p3", "type=dummy"]);
    for _ in 0..5 {
        place.forwards();
    }
    // The peer does not ask a server on a Unix socket whether it is there, nor do we.
    place.wire.cut();
    place.wire.is_mute.store(false, Ordering::SeqCst);
    place.must("set Port p2 tag=3");
    assert_eq!(place.column("Interface", "p3", "ofport"), "3");

    place.lab.kill();
    place.wire.cut();
    let before = place.wire.connections.load(Ordering::SeqCst);
    place.wait_for("tries in vain", |place| {
        place.wire.connections.load(Ordering::SeqCst) >= before + 2
    });
    place.forwards();
    place.lab.start();
    place.must("set Port p2 tag=4");
    // The server forgot what it kept in memory only.
    for port in ["p1", "p2", "p3"] {
        assert_eq!(place.column("Interface", port, "admin_state"), "up", "{port}");
    }
    place.forwards();
}

#[test]
fn timeouts_of_conntrack_zones_are_taken_without_complaint() {
    let mut place = Place::new();
    let row =
        "--id=@dp create Datapath datapath_version=0 -- set Open_vSwitch . datapaths:dummy=@dp";
    for words in [
        row,
        "add-zone-tp dummy zone=5 udp_single=7 icmp_first=0",
        "add-zone-tp dummy zone=65535 tcp_established=2147483647",
        "del-zone-tp dummy zone=5",
        "clear Open_vSwitch . datapaths",
    ] {
        place.must(words);
        assert_eq!(place.complaints(), [""; 0], "{words}");
    }
    place.forwards();
}
