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

    /// Says that rows changed, in the form that the daemon asked for.
    fn update(&self, rows: &str) {
        let message = format!(
            r#"{{"id":null,"method":"update3","params":[["monid","Open_vSwitch"],"{}",{rows}]}}"#,
            "00000000-0000-0000-0000-000000000000"
        );
        self.say(message.as_bytes());
    }

    fn cut(&self) {
        if let Some(stream) = self.daemon.lock().unwrap().take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
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
    let long = "x".repeat(300);
    let no_device = |name: &str| format!("could not open network device {name} (No such device)");
    let rows: [(&str, &str, String, usize); 6] = [
        ("typed", "type=nonsense", "Address family not supported".to_owned(), 2),
        ("lonely", "type=patch", "lonely: patch type requires valid 'peer' argument".to_owned(), 1),
        ("self", "type=patch options:peer=self", "self: patch peer must not be self".to_owned(), 1),
        (
            "rich",
            "type=patch options:peer=a options:b=c",
            "rich: patch type takes only a 'peer' argument".to_owned(),
            1,
        ),
        (&long, "type=internal", String::new(), 1),
        ("br1", "type=dummy", "File exists".to_owned(), 1),
    ];
    let _ = no_device;
    let mut place = Place::new();
    place.must("add-br br1 -- set Bridge br1 datapath_type=dummy");
    let before = place.complaints().len();
    let mut words = vec!["remove Open_vSwitch . external_ids none".to_owned()];
    for (name, settings, ..) in &rows {
        words.push(format!("add-port br0 {name} -- set Interface {name} {settings}"));
    }
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
        let told = place.column("Interface", name, "error");
        assert!(told.contains(error.as_str()) && told != "[]", "{name}: {told}");
        assert_eq!(place.column("Interface", name, "ofport"), "-1", "{name}");
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
        let about = complaints.iter().filter(|line| {
            line.contains(&format!(" {name} ")) || line.contains(&format!("|{name}:"))
        });
        assert_eq!(about.count(), *lines, "{name}: {complaints:#?}");
    }
    assert_eq!(complaints.len(), rows.iter().map(|row| row.3).sum::<usize>(), "{complaints:#?}");
}

const ROW: &str = "01010101-0101-0101-0101-010101010101";

#[test]
fn a_server_that_means_no_good_costs_no_packet() {
    let mut place = Place::new();
    let deep = 1 << 20;
    let lies: Vec<(&str, Vec<u8>)> = vec![
        ("no message", b"}".to_vec()),
        ("bytes", vec![0xff; 4096]),
        ("never closed", vec![b'['; deep]),
        ("deep", [vec![b'['; deep], vec![b']'; deep]].concat()),
        ("no object", b"[1,2,3]".to_vec()),
        ("another method", br#"{"id":null,"method":7,"params":[]}"#.to_vec()),
        ("an answer that nobody asked for", br#"{"id":77777,"result":{},"error":null}"#.to_vec()),
        ("a cut string", br#"{"id":null,"method":"upd"#.to_vec()),
    ];
    let rows = [
        ("no rows", "[]".to_owned()),
        ("no table", r#"{"Nonsense":{}}"#.to_owned()),
        ("no uuid", r#"{"Port":{"x":{"insert":{}}}}"#.to_owned()),
        ("no change", format!(r#"{{"Port":{{"{ROW}":{{"explode":{{}}}}}}}}"#)),
        ("no such row", format!(r#"{{"Port":{{"{ROW}":{{"modify":{{"name":"x"}}}}}}}}"#)),
        ("a wrong type", format!(r#"{{"Port":{{"{ROW}":{{"insert":{{"name":7}}}}}}}}"#)),
        (
            "a wrong set",
            format!(r#"{{"Port":{{"{ROW}":{{"insert":{{"trunks":["set",[["map"]]]}}}}}}}}"#),
        ),
        (
            "a wrong uuid",
            format!(r#"{{"Port":{{"{ROW}":{{"insert":{{"interfaces":["uuid","q"]}}}}}}}}"#),
        ),
    ];
    for (tag, what) in (100..).zip(0..lies.len() + rows.len()) {
        let before = place.wire.connections.load(Ordering::SeqCst);
        let complaints = place.complaints().len();
        let name = match lies.get(what) {
            Some((name, text)) => {
                place.wire.say(text);
                name
            }
            None => {
                let (name, rows) = &rows[what - lies.len()];
                place.wire.update(rows);
                name
            }
        };
        place.forwards();
        place.told("version", &[]);
        // A text that is not complete is waited for, and ends with the connection.
        if name.contains("cut") || name.contains("never") {
            place.wire.cut();
        }
        let is_news = |place: &Place| place.wire.connections.load(Ordering::SeqCst) > before;
        if *name != "an answer that nobody asked for" {
            place.wait_for(name, is_news);
        }
        place.must(&format!("set Port p2 tag={tag}"));
        place.forwards();
        let complaints = place.complaints().split_off(complaints);
        assert!(complaints.len() <= 3, "{name}: {complaints:#?}");
        println!("{name}: {complaints:?}");
    }
    assert!(place.daemon.try_wait().expect("a child").is_none(), "it runs");
}

#[test]
fn references_that_dangle_are_no_rows() {
    let mut place = Place::new();
    // In the replica's eyes the bridge has a port that is no row, and a port an interface that is none.
    let root = place.column("Open_vSwitch", ".", "_uuid");
    let port = place.column("Port", "p2", "_uuid");
    let dangling = format!(r#"["set",[["uuid","{ROW}"]]]"#);
    place.wire.update(&format!(
        r#"{{"Open_vSwitch":{{"{root}":{{"modify":{{"bridges":{dangling},"next_cfg":7777}}}}}},
            "Port":{{"{port}":{{"modify":{{"interfaces":{dangling}}}}}}}}}"#
    ));
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
        wire.update(&format!(
            r#"{{"Port":{{"{port}":{{"modify":{{"external_ids":["map",[["a","{much}"]]]}}}}}}}}"#
        ));
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
    let before = place.wire.connections.load(Ordering::SeqCst);
    // It asks whether anybody is there, and tries again.
    place.wait_for("another try", |place| place.wire.connections.load(Ordering::SeqCst) > before);
    place.forwards();
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
