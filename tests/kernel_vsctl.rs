//! One script of `ovs-vsctl` steps, run against both daemons: exit codes, outputs, and after each step
//! what the stock tools show of database, datapath and bridges.

mod kernel;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use kernel::deployment::{Deployment, Whose};
use kernel::enter;
use kernel::frames::announce;
use kernel::inject::Injector;
use kernel::netns::Host;

/// The steps, words set apart by spaces.
const SCRIPT: &[&str] = &[
    // The kernel makes up the address of a bridge, and its id is made of that.
    "add-br br0 -- set Bridge br0 other_config:hwaddr=02:00:00:00:00:0b",
    "--may-exist add-br br0",
    "add-br br0",
    "add-port br0 v1",
    "add-port br0 v2 tag=10",
    "add-port br0 v3 trunks=10,20",
    "add-port br0 v1",
    "--may-exist add-port br0 v1",
    "add-port nobr v4",
    "add-port br0 i0 -- set Interface i0 type=internal",
    "get Interface v1 ofport admin_state mtu",
    "set Port v2 vlan_mode=access",
    "set Port v3 vlan_mode=native-untagged tag=10",
    "set Port v3 vlan_mode=native-tagged",
    "remove Port v3 tag 10 -- set Port v3 vlan_mode=trunk",
    "set Port v2 tag=5000",
    "set Port v2 vlan_mode=wrong",
    "set Port v3 trunks=1,2,99999",
    "clear Port v2 tag vlan_mode",
    "set Port v2 tag=20",
    "set Interface i0 mac=\"02:00:00:00:00:aa\"",
    "set Interface i0 mac=\"01:00:00:00:00:aa\"",
    "clear Interface i0 mac",
    "set Interface i0 mtu_request=1400",
    "set Interface i0 mtu_request=100000",
    "clear Interface i0 mtu_request",
    "set Interface v1 mtu_request=1450",
    "remove Interface v1 mtu_request 1450",
    "add-br br1 -- set Bridge br1 other_config:hwaddr=02:00:00:00:00:1b",
    "add-port br0 p0 -- set Interface p0 type=patch options:peer=p1",
    "add-port br1 p1 -- set Interface p1 type=patch options:peer=p0",
    "set Interface p1 options:peer=nowhere",
    "set Interface p1 options:peer=p0",
    "add-port br1 v1",
    "del-port br1 v1",
    "del-port br0 v9",
    "--if-exists del-port br0 v9",
    "add-br br10 br0 10",
    "add-port br10 v4",
    "list-br",
    "br-to-vlan br10",
    "br-to-parent br10",
    "list-ports br10",
    "list-ifaces br0",
    "port-to-br v4",
    "iface-to-br v4",
    "add-br br9 br0 9999",
    "del-br br10",
    "create QoS type=linux-htb other-config:max-rate=1000000",
    "create Queue dscp=10 other-config:min-rate=1000",
    "set Bridge br0 other_config:hwaddr=02:00:00:00:00:ee",
    "set Bridge br0 other_config:datapath-id=0000000000000abc",
    "remove Bridge br0 other_config datapath-id",
    "set-fail-mode br0 secure",
    "get-fail-mode br0",
    "set-fail-mode br0 wrong",
    "del-fail-mode br0",
    "set Bridge br0 other_config:mac-aging-time=60 other_config:mac-table-size=100",
    "set Bridge br0 other_config:forward-bpdu=true",
    "br-set-external-id br0 bridge-id one",
    "br-get-external-id br0 bridge-id",
    "set Open_vSwitch . other_config:max-idle=20000",
    "set Open_vSwitch . external_ids:system-id=lab",
    "wait-until Interface v2 admin_state=up",
    "del-port v3 -- add-port br0 v3 tag=7",
    "set Port v1 vlan_mode=access tag=3 trunks=1,2",
    "emer-reset",
    "get Port nosuch tag",
    "set Interface v1 nocolumn=3",
    "remove Interface p0 options peer",
    "set Interface p0 options:peer=p0",
    "set Interface p0 options:peer=p1",
    UNPAIRED,
    "set Bridge br1 datapath_type=system",
    "set Interface v2 ofport_request=42",
    "set Interface v3 ofport_request=42",
    "clear Interface v2 ofport_request",
    "clear Interface v3 ofport_request",
    "add-port br0 nodev",
    "get Interface nodev error ofport",
    "del-port br0 nodev",
    "set Interface i0 type=nosuchtype",
    "set Interface i0 type=internal",
    "set Interface v1 type=internal",
    "set Interface v1 type=system",
    "del-br nobr",
    "--if-exists del-br nobr",
    "del-br br1",
    "del-br br0",
    "show",
];

/// From this step on ports come and go in ways in which each daemon numbers them as it pleases: ours
/// keeps the numbers that a port had, the peer gives it others. Numbers, and the addresses that hang on
/// them, are compared up to here.
const NUMBERS_UNTIL: &str = "remove Interface p0 options peer";

/// Differences that are meant: the step they begin with, what the line holds, and why.
const KNOWN: &[(&str, &str, &str)] = &[
    (SCRIPT[0], "Open_vSwitch  datapath_types:", "no datapath in user space"),
    (
        SCRIPT[0],
        "Open_vSwitch  iface_types:",
        "what can be opened is told, tunnels are not there yet",
    ),
    (
        "clear Interface i0 mtu_request",
        " mtu:",
        "the peer follows the other ports only once they change",
    ),
    ("set Interface p0 options:peer=p0", "p1", "the peer forgets that p1's peer is refused"),
    (UNPAIRED, "Interface p0", LATE),
    ("set Bridge br1 datapath_type=system", "Interface p0", LATE),
    (WIDOWED, "Interface p0", LATE),
];

/// Why the peer's patch port may not tell that its peer is gone, or here again.
const LATE: &str = "the peer tells it with a change of some device: now, later or never";

/// The step that takes away the peer of patch port p0 until the next one.
const UNPAIRED: &str = "set Bridge br1 datapath_type=nosuch";

/// The step that takes it away for good, and what ours tells of it at once.
const WIDOWED: &str = "del-br br1";
const WIDOW: &str = r#"Interface p0 error: "No usable peer 'p1' exists in 'system' datapath.""#;

/// Steps after which packets go through the bridge, so that there are addresses to show.
const LEARN_AFTER: &[usize] = &[5, 19, 37, 63];

/// Tables of which every row is shown.
const TABLES: &[&str] = &["Open_vSwitch", "Bridge", "Port", "Interface", "QoS", "Queue"];

/// Columns that show time, chance or whose program it is.
const VOLATILE: &[&str] = &["_uuid", "ovs_version", "statistics", "link_resets", "ifindex"];

/// What a step led to, a line each, in an order of its own.
struct Step {
    command: &'static str,
    lines: Vec<String>,
}

fn play(whose: Whose) -> Vec<Step> {
    enter();
    let hosts: Vec<Host> = (1..=4).map(Host::silent).collect();
    let wires: Vec<Injector> = hosts.iter().map(Injector::new).collect();
    let mut site = Deployment::new();
    site.start(whose);
    let mut steps = Vec::new();
    let mut is_numbered = true;
    for (n, command) in SCRIPT.iter().copied().enumerate() {
        is_numbered &= command != NUMBERS_UNTIL;
        let words: Vec<&str> = command.split(' ').collect();
        let said = site.vsctl(&words);
        let mut lines = vec![format!("exit {}", said.code)];
        lines.extend(said.out.lines().map(|line| format!("out {}", anonymous(line))));
        // A logged line begins with time and number.
        let errors =
            said.err.lines().map(|line| match line.splitn(3, '|').collect::<Vec<_>>()[..] {
                [_, _, message] => message,
                _ => line,
            });
        lines.extend(errors.map(|line| format!("err {}", anonymous(line))));
        if LEARN_AFTER.contains(&n) {
            for (host, wire) in hosts.iter().zip(&wires) {
                for tag in [0, 10, 20] {
                    wire.send(&announce(host.mac(), tag));
                }
            }
            std::thread::sleep(Duration::from_millis(300));
        }
        lines.extend(settled(&site));
        if n % 10 == 0 {
            lines.extend(tree("ovs-dpctl", &site.tool(&["ovs-dpctl", "show"]).out));
        }
        if !is_numbered {
            lines = lines.iter().filter_map(|line| without_numbers(line)).collect();
        }
        note(whose, command, &lines);
        steps.push(Step { command, lines });
    }
    steps
}

/// With `ROVS_LAB_OUT=DIR` what each daemon showed is written there.
fn note(whose: Whose, command: &str, lines: &[String]) {
    let Some(dir) = std::env::var_os("ROVS_LAB_OUT") else { return };
    let path = std::path::Path::new(&dir).join(format!("vsctl-{whose:?}.txt"));
    let file = std::fs::File::options().create(true).append(true).open(path);
    let text = format!("== {command}\n{}\n", lines.join("\n"));
    file.and_then(|mut file| file.write_all(text.as_bytes())).expect("write what was shown");
}

/// The state once it stays the same: some of it is written a moment after the configuration is in force.
fn settled(site: &Deployment) -> Vec<String> {
    let mut last = state(site);
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(100));
        let now = state(site);
        if now == last {
            return now;
        }
        last = now;
    }
    last
}

fn state(site: &Deployment) -> Vec<String> {
    let mut lines = Vec::new();
    let mut args = vec!["--no-wait", "--format=json", "show"];
    TABLES.iter().for_each(|table| args.extend(["--", "list", table]));
    let out = site.must(&args);
    // A table is one line; what `show` says comes first.
    let (tables, shown): (Vec<&str>, Vec<&str>) = out.lines().partition(|l| l.starts_with('{'));
    assert_eq!(tables.len(), TABLES.len(), "{out}");
    for (table, text) in TABLES.iter().zip(tables) {
        let mut rows = rows(table, &serde_json::from_str(text).expect("a table"));
        rows.sort();
        lines.extend(rows.concat());
    }
    lines.extend(tree("show", &shown.join("\n")));
    let commands = [
        ("dpif/show", &[][..]),
        ("dpctl/show", &[]),
        ("fdb/show", &["br0"]),
        ("fdb/show", &["br1"]),
    ];
    for (command, params) in commands {
        let (Ok(text) | Err(text)) = site.ask(command, params);
        if command == "fdb/show" {
            // The last column is the age.
            let mut rows: Vec<String> = text
                .lines()
                .map(|line| line.rsplit_once(' ').map_or(line, |(row, _)| row).trim_end())
                .map(|line| format!("{command} {params:?} {line}"))
                .collect();
            rows.sort();
            lines.extend(rows);
        } else {
            lines.extend(tree(command, &text));
        }
    }
    lines
}

/// Rows of a table, each as lines of `TABLE NAME column: value`.
fn rows(table: &str, value: &serde_json::Value) -> Vec<Vec<String>> {
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let headings = list(&value["headings"]);
    let row = |row: &serde_json::Value| {
        let cells: Vec<(String, String)> = headings
            .iter()
            .zip(list(row))
            .map(|(column, value)| {
                (column.as_str().unwrap_or_default().to_owned(), value.to_string())
            })
            .collect();
        let name = cells.iter().find(|(column, _)| column == "name");
        let name = name.map_or("", |(_, name)| name).trim_matches('"').to_owned();
        let shown = cells.into_iter().filter(|(column, _)| !VOLATILE.contains(&column.as_str()));
        shown
            .map(|(column, value)| format!("{table} {name} {column}: {}", anonymous(&value)))
            .collect()
    };
    list(&value["data"]).iter().map(row).collect()
}

/// Indented text as lines that each say what they stand under, sorted: siblings have no order.
fn tree(what: &str, text: &str) -> Vec<String> {
    const COUNTERS: &[&str] = &["lookups:", "flows:", "masks:", "cache:", "ovs_version:"];
    let mut above: Vec<(usize, String)> = Vec::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        let words = line.trim_start();
        if COUNTERS.iter().any(|counter| words.starts_with(counter)) {
            continue;
        }
        let depth = line.len() - words.len();
        above.retain(|(d, _)| *d < depth);
        let words = anonymous(words.split(": hit:").next().unwrap_or(words));
        let path = above.iter().fold(what.to_owned(), |path, (_, name)| format!("{path} / {name}"));
        lines.push(format!("{path} / {words}"));
        above.push((depth, words));
    }
    lines.sort();
    lines
}

/// Text without names that are made up anew each time: UUIDs, and addresses of devices that the kernel
/// gave at random.
fn anonymous(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let token: &str = &rest[..rest
            .find(|c: char| !c.is_ascii_hexdigit() && c != '-' && c != ':')
            .unwrap_or(rest.len())];
        let shape = |groups: &[usize], by: char| {
            let parts: Vec<usize> = token.trim_end_matches(by).split(by).map(str::len).collect();
            parts == groups
        };
        if shape(&[8, 4, 4, 4, 12], '-') {
            out.push_str("UUID");
            rest = &rest[token.len()..];
        } else if shape(&[2; 6], ':')
            && !token.starts_with("02:00:")
            && !token.starts_with("01:00:")
        {
            out.push_str("MAC");
            rest = &rest[token.len()..];
        } else if !token.is_empty() {
            out.push_str(token);
            rest = &rest[token.len()..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// A line without the numbers of ports; nothing of lines that hang on them.
fn without_numbers(line: &str) -> Option<String> {
    let is_of = |what: &str| line.starts_with(what);
    if is_of("fdb/show") {
        return None;
    }
    let numbers = is_of("dpif/show") || is_of("dpctl/show") || is_of("ovs-dpctl");
    let of_port = is_of("Interface") && line.contains(" ofport: ") && !line.ends_with("-1");
    Some(match line.rsplit_once(" / ") {
        // Names of devices stay: the words that hold numbers only are masked.
        Some((path, last)) if numbers => {
            let word = |word: &str| match word.trim_end_matches(':') {
                number if number.chars().all(|c| c.is_ascii_digit() || c == '/') => "N".to_owned(),
                number if number.ends_with("/none") => "N/none".to_owned(),
                _ => word.to_owned(),
            };
            let words: Vec<String> = last.split(' ').map(word).collect();
            format!("{path} / {}", words.join(" "))
        }
        _ if of_port => match line.rsplit_once(' ') {
            Some((head, _)) => format!("{head} N"),
            None => line.to_owned(),
        },
        _ => line.to_owned(),
    })
}

#[test]
#[ignore = "needs the lab"]
fn the_stock_tools_cannot_tell_us_from_the_peer() {
    let peer = play(Whose::Peers);
    let ours = play(Whose::Ours);
    let (mut wrong, mut steps) = (String::new(), 0);
    let mut before = BTreeSet::new();
    for (peer, ours) in peer.iter().zip(&ours) {
        let lost = peer.lines.iter().filter(|line| !ours.lines.contains(line));
        let new = ours.lines.iter().filter(|line| !peer.lines.contains(line));
        let lines = lost.map(|l| format!("  - {l}\n")).chain(new.map(|l| format!("  + {l}\n")));
        let now: BTreeSet<String> = lines.collect();
        steps += usize::from(!now.is_empty());
        // What goes on differing is told once.
        let is_known = |line: &str| {
            KNOWN.iter().any(|(step, part, _)| *step == peer.command && line.contains(part))
        };
        let news: Vec<&str> =
            now.difference(&before).map(String::as_str).filter(|line| !is_known(line)).collect();
        if !news.is_empty() {
            let _ = write!(wrong, "== {}\n{}", peer.command, news.concat());
        }
        before = now;
    }
    assert!(wrong.is_empty(), "{steps} of {} steps: the peer (-), we (+)\n{wrong}", SCRIPT.len());
    for command in [UNPAIRED, WIDOWED] {
        let step = ours.iter().find(|step| step.command == command).expect("a step of the script");
        assert!(step.lines.iter().any(|line| line == WIDOW), "{:?}", step.lines);
    }
}

// Needs no lab: what the comparison rests on.
#[test]
fn names_made_up_are_taken_out_and_no_others() {
    let text = "[0b5d1a6e-0000-4000-8000-00000000000f] 02:00:00:00:00:aa \"f2:1a:00:00:00:01\": 10";
    assert_eq!(anonymous(text), "[UUID] 02:00:00:00:00:aa \"MAC\": 10");
    let shown = tree("x", "a\n    b: 1\n        c\n    b: 2\n");
    assert_eq!(shown, ["x / a", "x / a / b: 1", "x / a / b: 1 / c", "x / a / b: 2"]);
    let masked = |line| without_numbers(line).unwrap_or_default();
    assert_eq!(
        masked("dpif/show / s / br0: / v1 1/11: (system)"),
        "dpif/show / s / br0: / v1 N (system)"
    );
    assert_eq!(
        masked("dpctl/show / s / port 6: br1 (internal)"),
        "dpctl/show / s / port N br1 (internal)"
    );
    assert_eq!(masked("Interface v1 ofport: 11"), "Interface v1 ofport: N");
    assert_eq!(masked("Interface v1 ofport: -1"), "Interface v1 ofport: -1");
}
