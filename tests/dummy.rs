//! The whole daemon over the dummy datapath: packets come in by command, time is moved by hand, and
//! what the switch made of them is read from the control socket, or from a database. Needs neither root
//! nor a kernel module; the database server comes with the package openvswitch-switch.
//!
//! The lines of flows are those of ovs-vswitchd 3.1.0 with `--enable-dummy`.

use rovs::unixctl::client;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// From a host behind port 1 to one behind port 2.
const THERE: &str = "in_port(1),eth(src=50:54:00:00:00:05,dst=50:54:00:00:00:07),eth_type(0x0800),\
    ipv4(src=192.168.0.1,dst=192.168.0.2,proto=1,tos=0,ttl=64,frag=no),icmp(type=8,code=0)";
/// The way back.
const BACK: &str = "in_port(2),eth(src=50:54:00:00:00:07,dst=50:54:00:00:00:05),eth_type(0x0800),\
    ipv4(src=192.168.0.2,dst=192.168.0.1,proto=1,tos=0,ttl=64,frag=no),icmp(type=0,code=0)";

struct Daemon {
    dir: tempfile::TempDir,
    child: Child,
}

impl Daemon {
    fn start(config: &str, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("conf.toml");
        let config = config.replace("DIR", &dir.path().display().to_string());
        std::fs::write(&file, config).expect("a configuration");
        let file = file.display().to_string();
        let daemon = Self::spawn(dir, &[&["--standalone", &file], args].concat());
        daemon.wait_for("the bridge", |daemon| {
            daemon.ask("dpif/show", &[]).is_ok_and(|text| text.contains("br0"))
        });
        daemon
    }

    fn spawn(dir: tempfile::TempDir, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ovs-vswitchd"));
        command.arg0("ovs-vswitchd").args(args).stdin(Stdio::null());
        command.arg("--unixctl").arg(dir.path().join("ctl"));
        command.args(["--disable-system", "-vconsole:off", "--log-file"]);
        for variable in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
            command.env(variable, dir.path());
        }
        command.env("OVS_SYSLOG_METHOD", "null").current_dir(dir.path());
        Self { child: command.spawn().expect("a start"), dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn ask(&self, command: &str, args: &[&str]) -> Result<String, String> {
        client::call(&self.path("ctl"), command, args).map_err(|error| error.to_string())?
    }

    #[track_caller]
    fn told(&self, command: &str, args: &[&str]) -> String {
        match self.ask(command, args) {
            Ok(text) => text,
            Err(error) => panic!("{command} {args:?}: {error}\n{}", self.log()),
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("ovs-vswitchd.log")).unwrap_or_default()
    }

    fn flows(&self) -> Vec<String> {
        let text = self.told("dpctl/dump-flows", &[]);
        let (head, flows) = text.split_once('\n').unwrap_or_default();
        assert_eq!(head, if flows.is_empty() { "" } else { "flow-dump from the main thread:" });
        let mut lines: Vec<String> = flows.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    #[track_caller]
    fn wait_for(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !holds(self) {
            assert!(Instant::now() < end, "no {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Warnings and errors of the log.
    fn complaints(&self) -> Vec<String> {
        let is_complaint = |line: &&str| line.contains("|WARN|") || line.contains("|ERR|");
        self.log().lines().filter(is_complaint).map(str::to_owned).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The packets of a file, without their heads.
fn packets(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).expect("a file of packets");
    let mut rest = &bytes[24..];
    let mut packets = Vec::new();
    while let Some((head, body)) = rest.split_first_chunk::<16>() {
        let len = u32::from_ne_bytes([head[8], head[9], head[10], head[11]]) as usize;
        packets.push(body[..len].to_vec());
        rest = &body[len..];
    }
    packets
}

const TWO_PORTS: &str = r#"
    [bridge.br0]
    datapath-type = "dummy"
    mac = "aa:55:aa:55:00:00"
    [bridge.br0.port.p1]
    type = "dummy"
    ofport = 1
    [bridge.br0.port.p2]
    type = "dummy"
    ofport = 2
    options = { tx_pcap = "DIR/p2-tx.pcap", rxq_pcap = "DIR/p2-rx.pcap" }
"#;

#[test]
fn packets_install_flows_that_live_by_a_clock_moved_by_hand() {
    let daemon = Daemon::start(TWO_PORTS, &["--enable-dummy"]);
    let head = "recirc_id(0),in_port(1),packet_type(ns=0,id=0),\
                eth(src=50:54:00:00:00:05,dst=50:54:00:00:00:07),eth_type(0x0800),ipv4(frag=no), ";
    daemon.told("time/stop", &[]);
    assert_eq!(
        daemon.told("dpif/show", &[]),
        "dummy@ovs-dummy: hit:0 missed:0\n  br0:\n    br0 65534/100: (dummy-internal)\n    \
         p1 1/1: (dummy)\n    p2 2/2: (dummy)\n"
    );

    // The first packet goes everywhere and leaves a flow; its handler is done when we are answered.
    daemon.told("netdev-dummy/receive", &["p1", THERE]);
    assert_eq!(daemon.flows(), [format!("{head}packets:0, bytes:0, used:never, actions:2,100")]);
    // The second one hits it.
    daemon.told("netdev-dummy/receive", &["p1", THERE]);
    assert_eq!(daemon.flows(), [format!("{head}packets:1, bytes:106, used:0.000s, actions:2,100")]);
    assert!(daemon.told("dpif/show", &[]).starts_with("dummy@ovs-dummy: hit:1 missed:1\n"));

    // The answer teaches where the other host is, so that the first flow is made narrower.
    daemon.told("netdev-dummy/receive", &["p2", BACK]);
    daemon.wait_for("change of the first flow", |daemon| {
        daemon.flows().first().is_some_and(|flow| flow.ends_with("actions:2"))
    });
    let flows = daemon.flows();
    assert_eq!(flows.len(), 2, "{flows:?}");
    assert!(flows[1].ends_with("used:never, actions:1"), "{flows:?}");
    let fdb = daemon.told("fdb/show", &["br0"]);
    assert!(fdb.contains("    1     0  50:54:00:00:00:05    0\n"), "{fdb}");

    // Ten seconds without a packet and the flows are gone; addresses are older by that.
    assert_eq!(daemon.told("time/warp", &["5000"]), "warped\n");
    assert_eq!(daemon.flows().len(), 2);
    assert_eq!(daemon.told("time/warp", &["6000", "1000"]), "warped\n");
    assert_eq!(daemon.flows(), [""; 0]);
    assert!(daemon.told("fdb/show", &["br0"]).contains("50:54:00:00:00:05   11\n"));
    assert_eq!(daemon.told("time/warp", &["300000"]), "warped\n");
    assert_eq!(daemon.told("fdb/show", &["br0"]).lines().count(), 1);

    let sent = packets(&daemon.path("p2-tx.pcap"));
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [106, 106]);
    assert_eq!(sent[0][..6], [0x50, 0x54, 0, 0, 0, 7]);
    assert_eq!(packets(&daemon.path("p2-rx.pcap")).len(), 1);
    assert_eq!(daemon.complaints(), [""; 0]);
    daemon.told("exit", &[]);
}

#[test]
fn a_tagged_packet_is_carried_from_port_to_port_as_the_vlans_say() {
    let daemon = Daemon::start(
        r#"
        [bridge.br0]
        datapath-type = "dummy"
        [bridge.br0.port.p1]
        type = "dummy"
        tag = 10
        [bridge.br0.port.p2]
        type = "dummy"
        options = { pcap = "DIR/p2.pcap" }
        [bridge.br0.port.p3]
        type = "dummy"
        tag = 20
        options = { pcap = "DIR/p3.pcap" }
        "#,
        &["--enable-dummy"],
    );
    daemon.told("netdev-dummy/receive", &["p1", "--qid", "0", THERE, "--len", "80"]);
    let sent = packets(&daemon.path("p2.pcap"));
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].len(), 84);
    assert_eq!(sent[0][12..18], [0x81, 0, 0, 10, 8, 0]);
    assert!(packets(&daemon.path("p3.pcap")).is_empty());
    let flows = daemon.flows();
    assert!(flows[0].ends_with("actions:push_vlan(vid=10,pcp=0),2,100"), "{flows:?}");
}

#[test]
fn with_override_every_device_is_a_dummy() {
    let config = r#"
        [bridge.br0]
        [bridge.br0.port.eth7]
    "#;
    let daemon = Daemon::start(config, &["--enable-dummy=override"]);
    assert_eq!(
        daemon.told("dpif/show", &[]),
        "system@ovs-system: hit:0 missed:0\n  br0:\n    br0 65534/100: (dummy-internal)\n    \
         eth7 1/7: (system)\n"
    );
    assert_eq!(daemon.told("netdev-dummy/set-admin-state", &["eth7", "down"]), "OK\n");
    assert_eq!(daemon.told("netdev-dummy/conn-state", &["eth7"]), "eth7: unknown\n");
    let error = daemon.ask("netdev-dummy/receive", &["eth8", THERE]).unwrap_err();
    assert!(error.contains("no such dummy netdev"), "{error}");
    assert!(daemon.ask("time/warp", &["0"]).unwrap_err().contains("invalid MSECS"));
}

/// The answers are those that the peer's dpctl.at expects.
#[test]
fn datapaths_are_made_by_hand_beside_that_of_the_bridges() {
    let daemon = Daemon::start(TWO_PORTS, &["--enable-dummy"]);
    let refused = |command: &str, args: &[&str]| daemon.ask(command, args).unwrap_err();
    assert_eq!(daemon.told("dpctl/add-dp", &["dummy@br0"]), "");
    let error = refused("dpctl/add-dp", &["dummy@br0"]);
    assert_eq!(error, "ovs-vswitchd: add_dp (File exists)\n");
    let error = refused("dpctl/add-dp", &["dummy@ovs-dummy"]);
    assert_eq!(error, "ovs-vswitchd: add_dp (File exists)\n");
    let error = refused("dpctl/add-dp", &["netdev@br0"]);
    assert_eq!(error, "ovs-vswitchd: add_dp (Address family not supported by protocol)\n");
    assert_eq!(daemon.told("dpctl/dump-dps", &[]), "dummy@br0\ndummy@ovs-dummy\n");

    assert_eq!(daemon.told("dpctl/add-if", &["dummy@br0", "p1,type=dummy,port_no=5"]), "");
    let error = refused("dpctl/add-if", &["dummy@br0", "p1,type=dummy"]);
    assert_eq!(error, "ovs-vswitchd: adding p1 to dummy@br0 failed (File exists)\n");
    assert!(refused("dpctl/add-if", &["dummy@br0", "eth0"]).contains("failed to open network"));
    assert_eq!(
        daemon.told("dpctl/show", &["dummy@br0"]),
        "dummy@br0:\n  lookups: hit:0 missed:0 lost:0\n  flows: 0\n  port 0: br0 (dummy-internal)\n  \
         port 5: p1 (dummy)\n"
    );

    let key = "in_port(1),eth(src=00:00:00:00:00:01,dst=00:00:00:00:00:02),eth_type(0x1234)";
    daemon.told("dpctl/add-flow", &["dummy@br0", key, "2"]);
    assert_eq!(
        daemon.told("dpctl/dump-flows", &["dummy@br0"]),
        format!(
            "flow-dump from the main thread:\nrecirc_id(0),{key}, packets:0, bytes:0, used:never, actions:2\n"
        )
    );
    // Without addresses of Ethernet, with a packet type, but not without a port; as 3.1.0 shows them.
    let (bare, typed) = ("in_port(2),eth_type(0x0800)", "in_port(3),packet_type(ns=0,id=0)");
    daemon.told("dpctl/add-flow", &["dummy@br0", &format!("{bare},ipv4(frag=no)"), "3"]);
    let key = format!("{typed},eth(),eth_type(0x0800),ipv4(frag=no)");
    daemon.told("dpctl/add-flow", &["dummy@br0", &key, "4"]);
    let flows = daemon.told("dpctl/dump-flows", &["dummy@br0"]);
    let never = "packets:0, bytes:0, used:never";
    for line in [
        format!("recirc_id(0),{bare},ipv4(frag=no), {never}, actions:3\n"),
        format!("recirc_id(0),{typed},eth_type(0x0800),ipv4(frag=no), {never}, actions:4\n"),
    ] {
        assert!(flows.contains(&line), "{line}{flows}");
    }
    let error =
        refused("dpctl/add-flow", &["dummy@br0", "in_port(4),packet_type(ns=1,id=0x800)", "3"]);
    assert_eq!(error, "ovs-vswitchd: updating flow table (Invalid argument)\n");
    let error = refused("dpctl/add-flow", &["dummy@br0", "eth(),eth_type(0x0800),ipv4()", "3"]);
    assert_eq!(error, "ovs-vswitchd: updating flow table (Invalid argument)\n");
    assert!(daemon.log().contains("flow: in_port is not an exact match"));

    // The bridge's port of that name has nothing to do with it.
    daemon.told("netdev-dummy/receive", &["p1", THERE]);
    assert!(daemon.told("dpif/show", &[]).starts_with("dummy@ovs-dummy: hit:0 missed:1\n"));
    assert!(daemon.told("dpctl/show", &["dummy@br0"]).contains("hit:0 missed:0"));
    assert_eq!(daemon.told("dpctl/del-dp", &["dummy@br0"]), "");
    let error = refused("dpctl/del-if", &["dummy@br0", "br0"]);
    assert_eq!(error, "ovs-vswitchd: opening datapath (No such device)\n");
    assert_eq!(daemon.told("dpctl/dump-dps", &[]), "dummy@ovs-dummy\n");
}

/// A database server, ended with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("package openvswitch-switch");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {text}{errors}");
    text
}

/// Whoever moves the clock is answered when the database shows what came of it.
#[test]
fn statistics_are_in_the_database_when_a_warp_is_answered() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = |name: &str| dir.path().join(name).display().to_string();
    let (file, socket) = (text("conf.db"), text("db.sock"));
    run("ovsdb-tool", &["create", &file, "/usr/share/openvswitch/vswitch.ovsschema"]);
    let server = Command::new("ovsdb-server")
        .args([
            &file,
            &format!("--remote=punix:{socket}"),
            &format!("--unixctl={}", text("server")),
        ])
        .args(["-vconsole:off", "-vsyslog:off"])
        .spawn();
    let _server = Server(server.expect("package openvswitch-switch"));
    let remote = format!("unix:{socket}");
    let database = format!("--db={remote}");
    let vsctl =
        |args: &[&str]| run("ovs-vsctl", &[&[&database, "--retry", "--timeout=60"], args].concat());
    vsctl(&["--no-wait", "init"]);
    let daemon = Daemon::spawn(dir, &[&remote, "--enable-dummy"]);
    vsctl(&["add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=dummy"]);
    vsctl(&["add-port", "br0", "p1", "--", "set", "Interface", "p1", "type=dummy"]);
    daemon.told("time/stop", &[]);
    for packets in 1..=10 {
        daemon.told("netdev-dummy/receive", &["p1", THERE]);
        daemon.told("time/warp", &["6000", "1000"]);
        let shown = vsctl(&["--no-wait", "get", "Interface", "p1", "statistics:rx_packets"]);
        assert_eq!(shown, format!("{packets}\n"));
    }
}
