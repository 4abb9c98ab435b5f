//! The whole daemon over the dummy datapath: packets come in by command, time is moved by hand, and
//! what the switch made of them is read from the control socket. Needs neither root nor a kernel module.
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_ovs-vswitchd"));
        command.arg0("ovs-vswitchd").args(args).stdin(Stdio::null());
        command.arg("--standalone").arg(&file).arg("--unixctl").arg(dir.path().join("ctl"));
        command.args(["--disable-system", "-vconsole:off", "--log-file"]);
        for variable in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
            command.env(variable, dir.path());
        }
        command.env("OVS_SYSLOG_METHOD", "null").current_dir(dir.path());
        let daemon = Self { child: command.spawn().expect("a start"), dir };
        daemon.wait_for("the bridge", |daemon| {
            daemon.ask("dpif/show", &[]).is_ok_and(|text| text.contains("br0"))
        });
        daemon
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
