//! Our daemon over a database of the stock `ovsdb-server`, told by the stock tools: what comes back,
//! what it does when server, devices or a second daemon come and go.
//!
//! Steps of which the outcome is in the database are run with both daemons and compared
//! ([`both_tell_the_same`]); `kernel_vsctl.rs` does so for a long script.

mod kernel;

use std::process::{Command, Stdio};
use std::time::Duration;

use kernel::deployment::{Deployment, Whose};
use kernel::netns::Host;
use kernel::ping::{Ping, ping};
use kernel::process::our_daemon;
use kernel::{attempt, enter, run, wait_for};

const SOON: Duration = Duration::from_secs(10);

/// Columns that are compared, those of chance and time left out.
const COLUMNS: &str = "--columns=name,type,ofport,error,status,admin_state,link_state,link_speed,\
                       duplex,mtu,mac,mtu_request,ofport_request,options,lacp_current,cfm_fault";

/// What the database holds that the daemon wrote, sorted.
fn told(place: &Deployment) -> String {
    let mut rows: Vec<String> = Vec::new();
    let bridges = "--columns=name,datapath_version,datapath_type,fail_mode,status,rstp_status";
    let ports = "--columns=name,status,statistics,rstp_status,rstp_statistics";
    for (columns, table) in [(COLUMNS, "Interface"), (bridges, "Bridge"), (ports, "Port")] {
        let text = place.must(&[columns, "list", table]);
        rows.extend(text.split("\n\n").map(|row| row.trim().to_owned()));
    }
    rows.sort();
    rows.join("\n\n")
}

/// Names of the counters of an interface.
fn counters(place: &Deployment, name: &str) -> Vec<String> {
    let text = place.must(&["get", "Interface", name, "statistics"]);
    let pairs = text.trim().trim_matches(['{', '}']).split(", ");
    pairs.filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())).collect()
}

fn devices() {
    for name in ["veth0", "dum0", "late0"] {
        attempt(&["ip", "link", "del", name]);
    }
    run(&["ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1"]);
    for end in ["veth0", "veth1"] {
        run(&["ip", "link", "set", end, "up"]);
    }
    run(&["ip", "link", "add", "dum0", "type", "dummy"]);
}

const STEPS: &[&str] = &[
    "add-br br0",
    "add-port br0 veth0 tag=10",
    "add-port br0 dum0 -- set interface dum0 ofport_request=77",
    "add-port br0 int0 -- set interface int0 type=internal mtu_request=1400 mac=\"02:00:00:00:00:77\"",
    "add-br br1 -- add-port br1 p1 -- set interface p1 type=patch options:peer=p0 \
     -- add-port br0 p0 -- set interface p0 type=patch options:peer=p1",
    "add-port br0 nosuch",
    "add-port br0 weird -- set interface weird type=foo",
    "add-port br0 npeer -- set interface npeer type=patch",
    "add-port br0 self -- set interface self type=patch options:peer=self",
    "add-port br0 dpdk0 -- set interface dpdk0 type=dpdk",
    "add-port br0 ovs-system",
    "add-port br0 a-name-of-sixteen",
    "add-port br0 an-internal-name -- set interface an-internal-name type=internal",
    "add-port br0 a/b -- set interface a/b type=internal",
    "set bridge br1 fail_mode=secure other-config:datapath-id=0000000000000123",
    "get bridge br1 datapath_id",
    "set bridge br0 other-config:hwaddr=aa:bb:cc:dd:ee:02",
    "get bridge br0 datapath_id",
    "get interface br0 mac_in_use",
    "get interface int0 mac_in_use",
    "set interface dum0 ofport_request=78",
    "set interface veth0 type=internal",
    "get interface veth0 ofport error",
    "set interface veth0 type=system",
    "get interface veth0 error",
    "del-port dum0",
    "del-br br1 -- del-port p0",
    "del-port a-name-of-sixteen -- del-port an-internal-name -- del-port a/b",
    "del-port nosuch -- del-port weird -- del-port npeer -- del-port self -- del-port dpdk0",
    "set port veth0 trunks=1,2 vlan_mode=trunk",
    "clear port veth0 tag trunks vlan_mode",
    "emer-reset",
];

/// Runs the steps with a daemon and gives what each led to.
fn steps(whose: Whose) -> Vec<String> {
    enter();
    devices();
    let mut place = Deployment::new();
    place.start(whose);
    let mut outcomes = Vec::new();
    for step in STEPS {
        let words: Vec<&str> = step.split(' ').collect();
        let said = place.vsctl(&words);
        // Link states follow on their own.
        std::thread::sleep(Duration::from_millis(300));
        outcomes.push(format!("{step}\n{said:?}\n{}", told(&place)));
    }
    outcomes.push(format!("{:?} {:?}", counters(&place, "veth0"), counters(&place, "br0")));
    outcomes
}

#[test]
#[ignore = "needs the lab"]
fn both_tell_the_same() {
    let (peers, ours) = (steps(Whose::Peers), steps(Whose::Ours));
    let mut different = 0;
    for (peer, ours) in peers.iter().zip(&ours) {
        if peer == ours {
            continue;
        }
        different += 1;
        println!("== {}", peer.lines().next().unwrap_or_default());
        for (tag, a, b) in [("peer", peer, ours), ("ours", ours, peer)] {
            let other: Vec<&str> = b.lines().collect();
            for line in a.lines().filter(|line| !other.contains(line)) {
                println!("  {tag}: {line}");
            }
        }
    }
    assert_eq!(different, 0, "steps that ended differently");
}

#[test]
#[ignore = "needs the lab"]
fn an_error_is_told_and_the_tool_comes_back() {
    enter();
    let mut place = Deployment::new();
    place.start(Whose::Ours);
    place.must(&["add-br", "br0"]);
    let said = place.vsctl(&["add-port", "br0", "nosuch"]);
    assert!(said.err.contains("could not open network device nosuch (No such device)"), "{said:?}");
    assert_eq!(place.must(&["get", "Interface", "nosuch", "ofport"]).trim(), "-1");
    // A device that appears later is taken, and one that goes is told.
    run(&["ip", "link", "add", "nosuch", "type", "dummy"]);
    wait_for("the device to be taken", SOON, || {
        (place.must(&["get", "Interface", "nosuch", "ofport", "error"]) == "1\n[]\n").then_some(())
    });
    run(&["ip", "link", "set", "nosuch", "up"]);
    wait_for("its state", SOON, || {
        (place.must(&["get", "Interface", "nosuch", "admin_state"]).trim() == "up").then_some(())
    });
    run(&["ip", "link", "del", "nosuch"]);
    wait_for("its end to be told", SOON, || {
        (place.must(&["get", "Interface", "nosuch", "ofport"]).trim() == "-1").then_some(())
    });
    let log = place.log();
    for line in [
        "|bridge|INFO|bridge br0: added interface br0 on port 65534",
        "|bridge|INFO|bridge br0: using datapath ID 0000",
        "|bridge|INFO|ovs-vswitchd (Open vSwitch) ",
        "|bridge|WARN|could not open network device nosuch (No such device)",
        "|bridge|INFO|bridge br0: added interface nosuch on port 1",
    ] {
        assert!(log.contains(line), "{line} is not in the log");
    }
}

#[test]
#[ignore = "needs the lab"]
fn every_column_acts_at_once() {
    enter();
    let hosts: Vec<Host> = (1..=2).map(Host::silent).collect();
    let mut place = Deployment::new();
    place.start(Whose::Ours);
    place.must(&["add-br", "br0"]);
    for host in &hosts {
        place.must(&["add-port", "br0", &host.port, "trunks=10"]);
        host.exec(&[
            "ip", "link", "add", "link", "eth0", "name", "t10", "type", "vlan", "id", "10",
        ]);
        host.exec(&["ip", "addr", "add", &format!("{}/24", host.ipv4()), "dev", "t10"]);
        host.exec(&["ip", "link", "set", "t10", "up"]);
    }
    let arrives = || ping(&hosts[0], &hosts[1].ipv4(), 3, 200).lost() == 0;
    assert!(arrives(), "in the trunk's VLAN");
    // No next_cfg: a plain write, as a client of the database makes it.
    let plain = |value: &str| place.must(&["--no-wait", "set", "Port", "v2", value]);
    plain("trunks=20");
    wait_for("the trunk to close", SOON, || (!arrives()).then_some(()));
    plain("trunks=20,10");
    wait_for("the trunk to open", SOON, || arrives().then_some(()));
    plain("vlan_mode=access");
    wait_for("the mode to act", SOON, || (!arrives()).then_some(()));
    place.must(&["--no-wait", "clear", "Port", "v2", "vlan_mode"]);
    wait_for("the mode to act", SOON, || arrives().then_some(()));
}

#[test]
#[ignore = "needs the lab"]
fn a_server_that_goes_and_comes_costs_nothing() {
    enter();
    let hosts: Vec<Host> = (1..=2).map(Host::new).collect();
    let mut place = Deployment::new();
    place.start(Whose::Ours);
    place.must(&["add-br", "br0", "--", "add-port", "br0", "v1", "--", "add-port", "br0", "v2"]);
    assert_eq!(ping(&hosts[0], &hosts[1].ipv4(), 10, 20).lost(), 0, "at first");
    let before = place.must(&["get", "Interface", "v1", "ofport", "mac_in_use"]);
    let running = Ping::start(&hosts[0], &hosts[1].ipv4(), 800, 10);
    std::thread::sleep(Duration::from_millis(500));
    place.stop_server();
    std::thread::sleep(Duration::from_secs(2));
    // New traffic is forwarded without a database as well.
    assert_eq!(ping(&hosts[1], &hosts[0].ipv6(), 10, 20).lost(), 0, "without a database");
    place.start_server();
    wait_for("columns that the server forgot", Duration::from_secs(30), || {
        let now = place.must(&["--no-wait", "get", "Interface", "v1", "ofport", "mac_in_use"]);
        (now == before).then_some(())
    });
    assert_eq!(running.finish().lost(), 0, "across the restart");
    place.must(&["add-port", "br0", "int0", "--", "set", "Interface", "int0", "type=internal"]);
    assert_eq!(place.must(&["get", "Interface", "int0", "error"]).trim(), "[]");
}

#[test]
#[ignore = "needs the lab"]
fn numbers_stay_over_a_restart() {
    enter();
    devices();
    let mut place = Deployment::new();
    place.start(Whose::Ours);
    place.must(&[
        "add-br", "br0", "--", "add-port", "br0", "dum0", "--", "add-port", "br0", "veth0",
    ]);
    place.must(&["del-port", "dum0", "--", "add-port", "br0", "veth1"]);
    let numbers = |place: &Deployment| {
        let ports = ["veth0", "veth1"];
        let index = run(&["cat", "/sys/class/net/br0/ifindex"]);
        let of = |name| place.must(&["get", "Interface", name, "ofport"]);
        (ports.map(of), index)
    };
    let before = numbers(&place);
    place.stop();
    place.start(Whose::Ours);
    assert_eq!(numbers(&place), before);
    place.kill9();
    place.start(Whose::Ours);
    assert_eq!(numbers(&place), before);
}

#[test]
#[ignore = "needs the lab"]
fn detached_it_comes_back_when_the_bridges_are_there() {
    enter();
    let place = Deployment::new();
    place.must(&["--no-wait", "add-br", "br0"]);
    let program = our_daemon().to_string_lossy().into_owned();
    let options = ["--detach", "--pidfile", "--log-file", "-vconsole:off"];
    let said = place.tool(&[&[program.as_str()][..], &options[..]].concat());
    assert_eq!(said.code, 0, "{said:?}");
    let ofport = place.must(&["--no-wait", "get", "Interface", "br0", "ofport"]);
    assert_eq!(ofport.trim(), "65534");
    let next = place.must(&["--no-wait", "get", "Open_vSwitch", ".", "next_cfg"]);
    assert_eq!(place.must(&["--no-wait", "get", "Open_vSwitch", ".", "cur_cfg"]), next);
    for column in ["datapath_types", "iface_types"] {
        let types = place.must(&["--no-wait", "get", "Open_vSwitch", ".", column]);
        assert!(types.contains("system"), "{column}: {types}");
    }
    place.tool(&["ovs-appctl", "exit", "--cleanup"]);
    wait_for("the datapath to go", SOON, || {
        (!attempt(&["ovs-dpctl", "dump-dps"]).0.contains("ovs-system")).then_some(())
    });
}

#[test]
#[ignore = "needs the lab"]
fn a_second_daemon_waits_for_its_turn() {
    enter();
    let hosts: Vec<Host> = (1..=2).map(Host::new).collect();
    let mut place = Deployment::new();
    place.start(Whose::Ours);
    place.must(&["add-br", "br0", "--", "add-port", "br0", "v1", "--", "add-port", "br0", "v2"]);
    let log = place.dir().join("second.log");
    let mut second = Command::new(our_daemon())
        .arg(format!("unix:{}/db.sock", place.dir().display()))
        .args(["--unixctl=none", "-vconsole:off"])
        .arg(format!("--log-file={}", log.display()))
        .stdin(Stdio::null())
        .spawn()
        .expect("our daemon");
    let told = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_for("the second to see that it is one", SOON, || {
        told().contains("another ovs-vswitchd process is running").then_some(())
    });
    assert_eq!(ping(&hosts[0], &hosts[1].ipv4(), 10, 20).lost(), 0, "by the first");
    place.kill9();
    wait_for("the second to take over", SOON, || {
        told().contains("using datapath ID").then_some(())
    });
    assert_eq!(ping(&hosts[1], &hosts[0].ipv6(), 10, 20).lost(), 0, "by the second");
    place.must(&["add-port", "br0", "int0", "--", "set", "Interface", "int0", "type=internal"]);
    let _ = second.kill();
    let _ = second.wait();
}

/// The machine's figures by name, and of each how many numbers it has.
fn shape_of_statistics(whose: Whose) -> Vec<(String, usize)> {
    enter();
    let mut place = Deployment::new();
    place.start(whose);
    let get = || place.must(&["--no-wait", "get", "Open_vSwitch", ".", "statistics"]);
    assert_eq!(get().trim(), "{}");
    place.must(&["set", "Open_vSwitch", ".", "other_config:enable-statistics=true"]);
    let text = wait_for("statistics", SOON, || Some(get()).filter(|text| text.trim() != "{}"));
    let pairs = text.trim().trim_matches(['{', '}']).split("\", ").filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        // How many file systems there are is the machine's business.
        let first = value.trim_matches('"').split(' ').next()?;
        Some((name.to_owned(), first.split(',').count()))
    });
    let mut shape: Vec<(String, usize)> = pairs.collect();
    shape.sort();
    place.must(&["remove", "Open_vSwitch", ".", "other_config", "enable-statistics"]);
    wait_for("statistics to go", SOON, || (get().trim() == "{}").then_some(()));
    // The pidfile was not let go of by looking at it.
    assert!(place.appctl(&["version"]).out.contains("Open vSwitch"));
    shape
}

#[test]
#[ignore = "needs the lab"]
fn statistics_of_the_machine_have_the_peers_form() {
    let ours = shape_of_statistics(Whose::Ours);
    let names: Vec<&str> = ours.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["load_average", "memory", "process_ovs-vswitchd", "process_ovsdb-server"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    assert_eq!(shape_of_statistics(Whose::Peers), ours);
}

#[test]
#[ignore = "needs the lab"]
fn what_is_not_there_is_said_where_it_is_asked_for() {
    enter();
    devices();
    let mut place = Deployment::new();
    place.start(Whose::Ours);
    place.must(&["add-br", "br0"]);
    assert_eq!(place.ask("stp/show", &[]), Ok(String::new()));
    assert_eq!(place.ask("bond/show", &[]), Ok(String::new()));
    place.must(&["set", "Bridge", "br0", "stp_enable=true"]);
    let said = place.ask("stp/show", &["br0"]);
    let text = "spanning tree (STP) is configured on br0, but not supported\n";
    assert_eq!(said, Err(text.to_owned()));
    place.must(&["set", "Bridge", "br0", "stp_enable=false"]);
    assert_eq!(place.ask("stp/show", &[]), Ok(String::new()));

    place.must(&["add-bond", "br0", "bond0", "veth0", "dum0"]);
    let text = "bonding is configured on bond0, but not supported\n";
    assert_eq!(place.ask("bond/show", &["bond0"]), Err(text.to_owned()));
    let error = place.must(&["get", "Interface", "dum0", "error"]);
    let text = "bonding is not supported; the first interface that runs carries all that is sent";
    assert_eq!(error.trim(), format!("\"{text}\""));
    assert_eq!(place.log().matches(&format!("port bond0: {text}")).count(), 1);
    place.must(&["del-port", "bond0"]);
    place.must(&["add-port", "br0", "dum0"]);
    assert_eq!(place.must(&["get", "Interface", "dum0", "error"]).trim(), "[]");
    assert_eq!(place.ask("bond/show", &[]), Ok(String::new()));
}

#[test]
#[ignore = "needs the lab"]
fn handlers_of_ports_are_as_many_as_wanted() {
    enter();
    let hosts: Vec<Host> = (1..=2).map(Host::new).collect();
    let mut place = Deployment::new().with_variable("ROVS_UPCALL_DISPATCH", "per-vport");
    place.must(&["--no-wait", "set", "Open_vSwitch", ".", "other_config:n-handler-threads=3"]);
    place.start(Whose::Ours);
    place.must(&["add-br", "br0", "--", "add-port", "br0", "v1", "--", "add-port", "br0", "v2"]);
    let handlers = || {
        let text = place.ask("memory/show", &[]).expect("counts");
        let word = text.split_whitespace().find_map(|word| word.strip_prefix("handlers:"));
        word.and_then(|n| n.parse::<u32>().ok())
    };
    assert_eq!(handlers(), Some(3));
    assert_eq!(ping(&hosts[0], &hosts[1].ipv4(), 10, 20).lost(), 0, "by three");
    place.must(&["set", "Open_vSwitch", ".", "other_config:n-handler-threads=2"]);
    assert_eq!(handlers(), Some(2));
    assert_eq!(ping(&hosts[1], &hosts[0].ipv6(), 10, 20).lost(), 0, "by two");
}

#[test]
#[ignore = "needs the lab"]
fn revalidators_are_as_many_as_wanted_also_while_running() {
    enter();
    let hosts: Vec<Host> = (1..=2).map(Host::new).collect();
    let mut place = Deployment::new();
    place.start(Whose::Ours);
    place.must(&["add-br", "br0", "--", "add-port", "br0", "v1", "--", "add-port", "br0", "v2"]);
    let pid = place.pid();
    let threads = || {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten();
        let names = tasks.flat_map(|task| std::fs::read_to_string(task.path().join("comm")));
        names.filter(|name| name.starts_with("revalidator")).count()
    };
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    for (wanted, are) in [("", cpus / 4 + 1), ("=3", 3), ("=1", 1), ("=2", 2), ("", cpus / 4 + 1)] {
        if wanted.is_empty() {
            place.must(&["remove", "Open_vSwitch", ".", "other_config", "n-revalidator-threads"]);
        } else {
            let setting = format!("other_config:n-revalidator-threads{wanted}");
            place.must(&["set", "Open_vSwitch", ".", &setting]);
        }
        wait_for("so many threads", SOON, || (threads() == are).then_some(()));
        let memory = place.ask("memory/show", &[]).expect("counts");
        let word = format!("revalidators:{are}");
        assert!(memory.split_whitespace().any(|other| other == word), "{memory}");
        place.ask("revalidator/wait", &[]).expect("a round");
        let shown = place.ask("upcall/show", &[]).expect("flows");
        let keys: Vec<usize> = shown
            .lines()
            .filter_map(|line| line.split_once("(keys ")?.1.strip_suffix(')')?.parse().ok())
            .collect();
        assert_eq!(keys.len(), are, "{shown}");
        assert_eq!(ping(&hosts[0], &hosts[1].ipv4(), 10, 20).lost(), 0, "with {are}");
        // Somebody else's purge and a change are seen to, whoever does it.
        place.ask("revalidator/purge", &[]).expect("a purge");
        place.must(&["set", "Port", "v2", "tag=7"]);
        assert_eq!(ping(&hosts[0], &hosts[1].ipv4(), 3, 20).received, 0, "v2 is in VLAN 7");
        place.must(&["clear", "Port", "v2", "tag"]);
        assert_eq!(ping(&hosts[0], &hosts[1].ipv4(), 10, 20).lost(), 0, "with {are}");
    }
}
