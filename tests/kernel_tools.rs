//! What the stock tools show of our bridge is what they show of the peer's, errors included.
//!
//! Both daemons are asked the same, one after the other, over the same bridge; what is theirs by
//! nature (counters, the path of the socket) is taken out, and the rest has to be equal word for
//! word. [`MISSING`] lists the peer's commands that we do not have: it only shrinks.

mod kernel;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kernel::bridge::{Port, Setup};
use kernel::daemon::Daemon;
use kernel::netns::Host;
use kernel::{attempt, enter};

/// The peer's commands that belong to later milestones.
const MISSING: &str = include_str!("kernel/missing_commands.txt");

/// Ours that the peer does not have.
const EXTRA: [&str; 7] = [
    "flow/history",
    "flow/top",
    "flow/why",
    "record/start",
    "record/stop",
    "set-options",
    "upcall/ports",
];

/// Commands whose answers are compared, in this order: later ones see what earlier ones did.
const APPCTL: &[&str] = &[
    "no/such-command",
    "dpif/show-dp-features br0",
    "dpif/show-dp-features br9",
    "dpif/show-dp-features",
    "dpif-netlink/dispatch-mode",
    "dpif/dump-dps",
    "dpif/dump-dps x",
    "dpif/dump-flows",
    "dpif/dump-flows br9",
    "dpif/dump-flows -m br9",
    "dpif/dump-flows br0",
    "dpif/show",
    "ofproto/list",
    "fdb/add",
    "fdb/add br0",
    "fdb/add br9 v1 0 02:00:00:00:00:01",
    "fdb/add br0 vX 0 02:00:00:00:00:01",
    "fdb/add br0 v1 0 02:00:00:00:00:zz",
    "fdb/add br0 v1 x 02:00:00:00:00:01",
    "fdb/add br0 v1 0 02:00:00:00:00:01",
    "fdb/add br0 v1 0 02:00:00:00:00:01",
    "fdb/add br0 br0 0 02:00:00:00:00:01",
    "fdb/add br0 br0 7 02:00:00:00:00:03",
    "fdb/add br0 v1 5000 02:00:00:00:00:04",
    "fdb/add br0 v1 0 01:00:00:00:00:05",
    "fdb/add br0 LOCAL 8 02:00:00:00:00:03",
    "fdb/add br0 v1 9 02:00:00:00:00:04 extra",
    "fdb/show br0",
    "fdb/show br9",
    "fdb/stats-show br0",
    "fdb/stats-show br9",
    "fdb/stats-show",
    "fdb/stats-clear br9",
    "fdb/stats-clear br0",
    "fdb/stats-clear",
    "fdb/del br9 0 02:00:00:00:00:01",
    "fdb/del br0 0 02:00:00:00:00:99",
    "fdb/del br0 0 zz",
    "fdb/del br0 0 02:00:00:00:00:01",
    "fdb/del br0 0 02:00:00:00:00:01",
    "fdb/del br0 0",
    "fdb/flush br9",
    "fdb/flush br0",
    "fdb/flush",
    "fdb/flush br0 br1",
    "fdb/show br0",
    "upcall/disable-megaflows",
    "upcall/enable-megaflows",
    "upcall/disable-ufid",
    "upcall/enable-ufid",
    "upcall/set-flow-limit",
    "upcall/set-flow-limit x",
    "upcall/set-flow-limit -1",
    "upcall/set-flow-limit 5x",
    "upcall/set-flow-limit 1000",
    "revalidator/wait",
    "revalidator/purge",
    "revalidator/purge x",
    "dpctl/dump-dps",
    "dpctl/dump-dps foo",
    "dpctl/show nosuch",
    "dpctl/show foo@bar",
    "dpctl/show -x",
    "dpctl/show",
    "dpctl/show -s ovs-system",
    "dpctl/show system@ovs-system",
    "dpctl/dump-flows nosuch",
    "dpctl/dump-flows filter=bad",
    "dpctl/dump-flows filter=icmp",
    "dpctl/dump-flows type=ovs",
    "dpctl/dump-flows type=bad",
    "dpctl/dump-flows type=offloaded",
    "dpctl/dump-flows pmd=1",
    "dpctl/dump-flows -m -x",
    "dpctl/dump-flows ovs-system extra",
    "dpctl/add-dp",
    "dpctl/add-dp foo",
    "dpctl/add-dp foo",
    "dpctl/add-dp foo@bar",
    "dpctl/dump-dps",
    "dpctl/dump-flows",
    "dpctl/get-flow foo",
    "dpctl/add-if foo",
    "dpctl/add-if foo nosuchdev",
    "dpctl/add-if foo i0,type=internal",
    "dpctl/add-if foo i1,type=internal,port_no=7 i2,type=internal,port_no=7",
    "dpctl/add-if foo i3,type=bogus",
    "dpctl/add-if nosuch i3",
    "dpctl/show foo",
    "dpctl/set-if foo i0,type=internal",
    "dpctl/set-if foo i0,type=vxlan",
    "dpctl/set-if foo i0,port_no=3",
    "dpctl/set-if foo nosuch",
    "dpctl/set-if foo i0,foo=bar",
    "dpctl/del-if foo i0",
    "dpctl/del-if foo i0",
    "dpctl/del-if foo 7",
    "dpctl/del-if foo 99",
    "dpctl/del-if nosuch i0",
    "dpctl/show foo",
    "dpctl/add-flow foo in_port(7),eth(),eth_type(0x800),ipv4() 0",
    "dpctl/add-flow foo in_port(7),eth(),eth_type(0x800),ipv4() 0",
    "dpctl/add-flow foo ufid:11111111-1111-1111-1111-111111111111,in_port(8),eth(),eth_type(0x806),arp() 1",
    "dpctl/add-flow foo in_port(7),eth(),eth_type(0x800),ipv9() 0",
    "dpctl/add-flow foo in_port(7),eth(),eth_type(0x800),ipv4() bogus",
    "dpctl/add-flow foo in_port(7),eth(),eth_type(0x800),ipv4() 1,foo(",
    "dpctl/add-flow foo ufid:xyz,in_port(7),eth() 1",
    "dpctl/add-flow in_port(7),eth() 1",
    "dpctl/dump-flows foo",
    "dpctl/dump-flows --names foo",
    "dpctl/dump-flows foo filter=arp",
    "dpctl/dump-flows foo filter=in_port=7",
    "dpctl/dump-flows foo type=tc,ovs",
    "dpctl/dump-flows foo type=tc",
    "dpctl/get-flow foo ufid:11111111-1111-1111-1111-111111111111",
    "dpctl/get-flow -m foo ufid:11111111-1111-1111-1111-111111111111",
    "dpctl/get-flow foo ufid:11111111-1111-1111-1111-111111111112",
    "dpctl/get-flow foo bad",
    "dpctl/get-flow",
    "dpctl/mod-flow foo in_port(7),eth(),eth_type(0x800),ipv4() 1",
    "dpctl/mod-flow -s foo in_port(7),eth(),eth_type(0x800),ipv4() 2",
    "dpctl/mod-flow --clear foo in_port(7),eth(),eth_type(0x800),ipv4() 3",
    "dpctl/mod-flow foo in_port(9),eth(),eth_type(0x800),ipv4() 1",
    "dpctl/mod-flow --may-create foo in_port(9),eth(),eth_type(0x800),ipv4() 1",
    "dpctl/mod-flow --bogus foo in_port(9),eth(),eth_type(0x800),ipv4() 1",
    "dpctl/dump-flows foo",
    "dpctl/del-flow -s foo in_port(7),eth(),eth_type(0x800),ipv4()",
    "dpctl/del-flow foo in_port(7),eth(),eth_type(0x800),ipv4()",
    "dpctl/del-flow foo bad",
    "dpctl/del-flow",
    "dpctl/add-flows foo /run/flows",
    "dpctl/dump-flows foo",
    "dpctl/mod-flows foo /run/flows",
    "dpctl/add-flows foo /nosuch",
    "dpctl/del-flows foo /run/flows-to-delete",
    "dpctl/dump-flows foo",
    "dpctl/del-flows foo",
    "dpctl/dump-flows foo",
    "dpctl/del-flows",
    "dpctl/del-flows a b c",
    "dpctl/cache-get-size foo",
    "dpctl/cache-get-size nosuch",
    "dpctl/cache-set-size",
    "dpctl/cache-set-size foo masks-cache 512",
    "dpctl/cache-set-size foo masks-cache 513",
    "dpctl/cache-set-size foo masks-cache x",
    "dpctl/cache-set-size foo bar 512",
    "dpctl/cache-set-size nosuch masks-cache 512",
    "dpctl/cache-set-size foo masks-cache 10000000",
    "dpctl/cache-get-size",
    "dpctl/del-dp foo",
    "dpctl/del-dp foo",
    "dpctl/del-dp",
    "dpctl/parse-actions 1,2 drop",
    "dpctl/parse-actions foo",
    "dpctl/parse-actions",
    "dpctl/normalize-actions",
    "dpctl/normalize-actions in_port(1),eth(),eth_type(0x800) 1,2",
    "dpctl/normalize-actions in_port(1),eth() set(eth(dst=00:00:00:00:00:01)),1,pop_vlan,2",
    "dpctl/normalize-actions in_port(1),eth() 3,1,push_vlan(vid=5,pcp=1),2,1",
    "dpctl/normalize-actions in_port=1 1",
    "dpctl/normalize-actions in_port(a),eth() a,b a=1 b=2",
    "dpctl/normalize-actions in_port(a),eth() a,b a",
    "coverage/read-counter nosuch",
    "coverage/read-counter",
    "vlog/list-pattern",
    "vlog/enable-rate-limit nosuch",
    "vlog/enable-rate-limit dpif",
    "vlog/disable-rate-limit",
    "vlog/set foo:bar",
    "vlog/set dpif:file:baz",
    "vlog/reopen",
    "vlog/close",
    "vlog/close",
];

/// Of what neither daemon has here: bonds, spanning trees, a user-space datapath and the like; and the
/// conntrack zones' limits, which are the kernel's.
const OF_WHAT_IS_NOT_THERE: &[&str] = &[
    "autoattach/show-isid",
    "autoattach/show-isid br0",
    "autoattach/show-isid br9",
    "autoattach/statistics",
    "autoattach/statistics br0",
    "autoattach/statistics br9",
    "autoattach/status",
    "autoattach/status br0",
    "autoattach/status br9",
    "bfd/set-forwarding",
    "bfd/set-forwarding true",
    "bfd/set-forwarding v1 true",
    "bfd/set-forwarding v1 x",
    "bfd/set-forwarding v9 true",
    "bfd/set-forwarding normal",
    "bfd/set-forwarding x",
    "bfd/show",
    "bfd/show v1",
    "bfd/show v9",
    "bond/disable-member",
    "bond/disable-member v1",
    "bond/disable-member v1 v1",
    "bond/enable-member v1 v1",
    "bond/disable-slave v1 v1",
    "bond/hash",
    "bond/hash 02:00:00:00:00:01",
    "bond/hash 02:00:00:00:00:01 5",
    "bond/hash 02:00:00:00:00:01 5 6",
    "bond/hash 02:00:00:00:00:01 5 x",
    "bond/hash 02:00:00:00:00:01 x",
    "bond/hash zz",
    "bond/list",
    "bond/list x",
    "bond/migrate",
    "bond/migrate v1 3 v1",
    "bond/set-active-member",
    "bond/set-active-member v1 v1",
    "bond/set-active-slave v1 v1",
    "bond/show",
    "bond/show v1",
    "bond/show nosuch",
    "bridge/reconnect",
    "bridge/reconnect br0",
    "bridge/reconnect br9",
    "cfm/set-fault",
    "cfm/set-fault normal",
    "cfm/set-fault v1 true",
    "cfm/set-fault v1 x",
    "cfm/set-fault x",
    "cfm/set-fault true",
    "cfm/show",
    "cfm/show v1",
    "cfm/show v9",
    "dpctl/ct-bkts",
    "dpctl/ct-bkts gt=5",
    "dpctl/ct-bkts nosuch",
    "dpctl/ct-bkts ovs-system",
    "dpctl/ct-bkts ovs-system gt=x",
    "dpctl/ct-del-limits",
    "dpctl/ct-del-limits zone=5",
    "dpctl/ct-del-limits zone=5,6",
    "dpctl/ct-del-limits zone=x",
    "dpctl/ct-del-limits ovs-system zone=5",
    "dpctl/ct-del-limits nosuch zone=5",
    "dpctl/ct-disable-tcp-seq-chk",
    "dpctl/ct-enable-tcp-seq-chk",
    "dpctl/ct-get-tcp-seq-chk",
    "dpctl/ct-get-limits",
    "dpctl/ct-get-limits zone=5",
    "dpctl/ct-get-limits zone=5,6",
    "dpctl/ct-get-limits zone=x",
    "dpctl/ct-get-limits ovs-system",
    "dpctl/ct-get-limits nosuch",
    "dpctl/ct-get-limits ovs-system zone=5",
    "dpctl/ct-get-maxconns",
    "dpctl/ct-get-maxconns ovs-system",
    "dpctl/ct-get-maxconns nosuch",
    "dpctl/ct-get-nconns",
    "dpctl/ct-get-nconns ovs-system",
    "dpctl/ct-set-limits",
    "dpctl/ct-set-limits zone=5,limit=10",
    "dpctl/ct-set-limits default=5",
    "dpctl/ct-get-limits",
    "dpctl/ct-set-limits default=7 zone=5,limit=10 zone=6,limit=12",
    "dpctl/ct-get-limits",
    "dpctl/ct-get-limits zone=5",
    "dpctl/ct-get-limits zone=5,6,7",
    "dpctl/ct-set-limits default=x",
    "dpctl/ct-set-limits zone=5",
    "dpctl/ct-set-limits zone=5,limit=x",
    "dpctl/ct-set-limits zone=70000,limit=1",
    "dpctl/ct-set-limits zone=5,limt=4",
    "dpctl/ct-set-limits zone=5,limit=4,foo=3",
    "dpctl/ct-set-limits foo=3",
    "dpctl/ct-set-limits ovs-system zone=5,limit=11",
    "dpctl/ct-set-limits nosuch zone=5,limit=11",
    "dpctl/ct-set-limits default=1 default=2",
    "dpctl/ct-set-limits zone=5,limit=11 default=3",
    "dpctl/ct-get-limits",
    "dpctl/ct-del-limits zone=5",
    "dpctl/ct-del-limits zone=7",
    "dpctl/ct-get-limits",
    "dpctl/ct-del-limits default",
    "dpctl/ct-get-limits zone=5,",
    "dpctl/ct-get-limits zone=5,x",
    "dpctl/ct-get-limits zone",
    "dpctl/ct-get-limits zone=5 zone=6",
    "dpctl/ct-get-limits a b c",
    "dpctl/ct-del-limits a b c",
    "dpctl/ct-set-maxconns",
    "dpctl/ct-set-maxconns 10",
    "dpctl/ct-set-maxconns x",
    "dpctl/ct-set-maxconns ovs-system 10",
    "dpctl/ipf-get-status",
    "dpctl/ipf-get-status ovs-system",
    "dpctl/ipf-get-status -m",
    "dpctl/ipf-set-disabled",
    "dpctl/ipf-set-disabled v4",
    "dpctl/ipf-set-disabled v5",
    "dpctl/ipf-set-enabled",
    "dpctl/ipf-set-enabled v6",
    "dpctl/ipf-set-enabled v5",
    "dpctl/ipf-set-max-nfrags",
    "dpctl/ipf-set-max-nfrags 5",
    "dpctl/ipf-set-max-nfrags x",
    "dpctl/ipf-set-min-frag",
    "dpctl/ipf-set-min-frag v4 1000",
    "dpctl/ipf-set-min-frag v5 1000",
    "dpctl/ipf-set-min-frag v4 x",
    "dpctl/offload-stats-show",
    "dpctl/offload-stats-show ovs-system",
    "dpctl/offload-stats-show -m",
    "dpctl/offload-stats-show nosuch",
    "dpif-netdev/bond-show",
    "dpif-netdev/bond-show x",
    "dpif-netdev/bond-show ovs-system",
    "dpif-netdev/dpif-impl-get",
    "dpif-netdev/dpif-impl-set",
    "dpif-netdev/dpif-impl-set dpif_scalar",
    "dpif-netdev/dpif-impl-set x",
    "dpif-netdev/dpif-impl-set ovs-netdev dpif_scalar",
    "dpif-netdev/miniflow-parser-get",
    "dpif-netdev/miniflow-parser-get x",
    "dpif-netdev/miniflow-parser-set",
    "dpif-netdev/miniflow-parser-set scalar",
    "dpif-netdev/miniflow-parser-set autovalidator",
    "dpif-netdev/miniflow-parser-set study",
    "dpif-netdev/miniflow-parser-set study 100",
    "dpif-netdev/miniflow-parser-set study 0",
    "dpif-netdev/miniflow-parser-set study x",
    "dpif-netdev/miniflow-parser-set nosuch",
    "dpif-netdev/miniflow-parser-set -pmd 3 scalar",
    "dpif-netdev/miniflow-parser-set -pmd x scalar",
    "dpif-netdev/miniflow-parser-set -pmd scalar",
    "dpif-netdev/miniflow-parser-set -pmd",
    "dpif-netdev/miniflow-parser-set scalar 5",
    "dpif-netdev/miniflow-parser-set scalar 5 6",
    "dpif-netdev/miniflow-parser-get",
    "dpif-netdev/pmd-perf-log-set",
    "dpif-netdev/pmd-perf-log-set on",
    "dpif-netdev/pmd-perf-log-set off",
    "dpif-netdev/pmd-perf-log-set x",
    "dpif-netdev/pmd-perf-log-set -b 5 -a 5 -e -us 10 -q 5",
    "dpif-netdev/pmd-perf-log-set -b 5x",
    "dpif-netdev/pmd-perf-log-set -b",
    "dpif-netdev/pmd-perf-show",
    "dpif-netdev/pmd-perf-show x",
    "dpif-netdev/pmd-perf-show -nh",
    "dpif-netdev/pmd-perf-show -nh -it 5 -ms 5 -pmd 3",
    "dpif-netdev/pmd-perf-show -it x",
    "dpif-netdev/pmd-perf-show ovs-netdev",
    "dpif-netdev/pmd-rxq-rebalance",
    "dpif-netdev/pmd-rxq-rebalance x",
    "dpif-netdev/pmd-rxq-show",
    "dpif-netdev/pmd-rxq-show x",
    "dpif-netdev/pmd-rxq-show -pmd 3",
    "dpif-netdev/pmd-rxq-show -secs 10",
    "dpif-netdev/pmd-stats-clear",
    "dpif-netdev/pmd-stats-clear x",
    "dpif-netdev/pmd-stats-show",
    "dpif-netdev/pmd-stats-show x",
    "dpif-netdev/pmd-stats-show -pmd 3",
    "dpif-netdev/pmd-stats-show -pmd 3 x",
    "dpif-netdev/pmd-stats-show a b c d",
    "dpif-netdev/subtable-lookup-info-get",
    "dpif-netdev/subtable-lookup-info-get x",
    "dpif-netdev/subtable-lookup-prio-get",
    "dpif-netdev/subtable-lookup-prio-set",
    "dpif-netdev/subtable-lookup-prio-set generic 5",
    "dpif-netdev/subtable-lookup-info-get",
    "dpif-netdev/subtable-lookup-prio-set autovalidator 3",
    "dpif-netdev/subtable-lookup-prio-set generic 300",
    "dpif-netdev/subtable-lookup-prio-set generic -1",
    "dpif-netdev/subtable-lookup-prio-set generic x",
    "dpif-netdev/subtable-lookup-prio-set nosuch 3",
    "dpif-netdev/subtable-lookup-prio-get",
    "dpif/set-dp-features",
    "dpif/set-dp-features br0",
    "dpif/set-dp-features br9",
    "dpif/set-dp-features br0 ct_clear",
    "dpif/set-dp-features br0 ct_clear true",
    "dpif/set-dp-features br0 ct_clear false",
    "dpif/set-dp-features br0 ct_clear True",
    "dpif/set-dp-features br0 ct_clear x",
    "dpif/set-dp-features br0 nosuch true",
    "dpif/set-dp-features br0 recirc false",
    "dpif/set-dp-features br0 sample_nesting 0",
    "dpif/set-dp-features br0 sample_nesting 30",
    "dpif/set-dp-features br0 max_hash_alg 0",
    "dpif/set-dp-features br0 tnl_push_pop true",
    "lacp/show",
    "lacp/show v1",
    "lacp/show v9",
    "lacp/show-stats",
    "lacp/show-stats v1",
    "lacp/show-stats v9",
    "mdb/flush",
    "mdb/flush br0",
    "mdb/flush br9",
    "mdb/show",
    "mdb/show br0",
    "mdb/show br9",
    "odp-execute/action-impl-set",
    "odp-execute/action-impl-set scalar",
    "odp-execute/action-impl-set autovalidator",
    "odp-execute/action-impl-set x",
    "odp-execute/action-impl-show",
    "ofproto/list-tunnels",
    "rstp/show",
    "rstp/show br0",
    "rstp/show br9",
    "rstp/tcn",
    "rstp/tcn br0",
    "rstp/tcn br9",
    "stp/show",
    "stp/show br0",
    "stp/show br9",
    "stp/tcn",
    "stp/tcn br0",
    "stp/tcn br9",
    "tnl/ports/show",
    "tnl/ports/show -v",
    "dpctl/ct-del-limits zone=5,6",
    "dpctl/ct-set-limits default=0",
    "dpctl/ct-get-limits",
    "dpif/set-dp-features br0 ct_clear true",
    "dpif/set-dp-features br0 sample_nesting -3",
    "dpif/set-dp-features br0 sample_nesting x",
    "dpif/set-dp-features br0 sample_nesting 5",
    "dpif/set-dp-features br0 sample_nesting",
    "bond/hash ff:ff:ff:ff:ff:fe 4095 4294967295",
    "bond/hash 00:00:00:00:00:00 0 0",
    "bond/hash 02:00:00:00:00:01 5x",
    "odp-execute/action-impl-show",
];

/// Lines that are one daemon's own: what the tool says of the socket, and counters.
const OWN: [&str; 7] = [
    "ovs-appctl: ",
    "lookups:",
    "flows:",
    "masks:",
    "cache:",
    "Explicit Drop action",
    "explicit_drop_action",
];

struct Asked {
    /// Command and answer, with its success.
    answers: Vec<(String, String)>,
    /// Usages by command.
    commands: BTreeMap<String, String>,
    /// Lines of the log about what the datapath can do.
    probes: Vec<String>,
}

fn ask(mut daemon: Daemon) -> Asked {
    let host = Host::silent(1);
    daemon.start(&Setup::one(vec![Port::new(&host.port)]));
    let mut answers: Vec<(String, String)> = APPCTL
        .iter()
        .map(|command| {
            let args: Vec<&str> = command.split(' ').collect();
            let (text, good) = daemon.try_appctl(&args);
            let lines =
                text.lines().filter(|line| !OWN.iter().any(|own| line.trim().starts_with(own)));
            let mut lines: Vec<String> = lines.map(without_times).collect();
            // In the order of the kernel's hash table, which differs with the flows' ids.
            if command.starts_with("dpctl/dump-flows") {
                lines.sort();
            }
            let lines = lines.join("\n");
            ((*command).to_owned(), format!("{lines}\n(good: {good})\n"))
        })
        .collect();
    for command in OF_WHAT_IS_NOT_THERE {
        let args: Vec<&str> = command.split(' ').skip(1).collect();
        let name = command.split(' ').next().unwrap_or_default();
        let (text, is_good) = match daemon.ask(name, &args) {
            Ok(text) => (text, true),
            Err(text) => (text, false),
        };
        let lines = text.lines().filter(|line| !OWN.iter().any(|own| line.trim().starts_with(own)));
        let mut lines: Vec<&str> = lines.collect();
        // In the order of a hash table of the peer's.
        if *command == "dpif/set-dp-features br0" {
            lines.sort_unstable();
        }
        // A tool prints the new-line at the end if the answer lacks it.
        answers.push(((*command).to_owned(), format!("{}\n(good: {is_good})\n", lines.join("\n"))));
    }
    for args in [&["ovs-dpctl", "dump-dps"][..], &["ovs-dpctl", "show"]] {
        let text = attempt(args).0;
        let lines = text.lines().filter(|line| !OWN.iter().any(|own| line.trim().starts_with(own)));
        answers.push((args.join(" "), lines.collect::<Vec<_>>().join("\n") + "\n"));
    }
    let listed = daemon.appctl(&["list-commands"]);
    let commands = listed.lines().skip(1).map(|line| {
        let (name, usage) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        (name.to_owned(), usage.trim().to_owned())
    });
    let probes = daemon.log();
    let probes = probes.lines().filter_map(|line| line.split_once("|ofproto_dpif|INFO|"));
    let probes = probes.map(|(_, text)| text.to_owned()).collect();
    Asked { answers, commands: commands.collect(), probes }
}

/// A line without what differs from run to run: how long ago a flow was used.
fn without_times(line: &str) -> String {
    match line.split_once("used:") {
        Some((before, after)) if !after.starts_with("never") => {
            let rest = after.split_once('s').map_or("", |(_, rest)| rest);
            format!("{before}used:SOME{rest}")
        }
        _ => line.to_owned(),
    }
}

#[test]
#[ignore = "needs the lab"]
fn stock_tools_show_the_same() {
    enter();
    let flows = "# two and a half\n\
                 add in_port(12),eth(),eth_type(0x800),ipv4() 2\n\
                 modify in_port(12),eth(),eth_type(0x800),ipv4() 3\n\
                 in_port(13),eth(),eth_type(0x800),ipv4() 3\n\
                 add\n";
    std::fs::write("/run/flows", flows).expect("write");
    let deleted = "in_port(12),eth(),eth_type(0x800),ipv4()\nin_port(14),eth() 1\n";
    std::fs::write("/run/flows-to-delete", deleted).expect("write");
    let peer = ask(Daemon::peer());
    let ours = ask(Daemon::ours());
    let mut wrong = String::new();
    for ((command, theirs), (_, ours)) in peer.answers.iter().zip(&ours.answers) {
        if theirs != ours {
            let _ = write!(wrong, "== {command}\n-- peer\n{theirs}-- ours\n{ours}");
        }
    }
    compare_commands(&peer.commands, &ours.commands, &mut wrong);
    for line in peer.probes.iter().filter(|line| !ours.probes.contains(line)) {
        let _ = writeln!(wrong, "== not in our log: {line}");
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn compare_commands(
    peer: &BTreeMap<String, String>,
    ours: &BTreeMap<String, String>,
    wrong: &mut String,
) {
    let missing: Vec<&str> =
        MISSING.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    for (name, usage) in peer {
        let fault = match (ours.get(name), missing.contains(&name.as_str())) {
            (None, false) => format!("we lack {name}"),
            (Some(_), true) => format!("no longer missing: {name}"),
            // Ours takes several bridges, as later releases of the peer do.
            (Some(ours), false) if ours != usage && name != "fdb/show" => {
                format!("usage of {name}: peer {usage:?}, ours {ours:?}")
            }
            _ => continue,
        };
        let _ = writeln!(wrong, "== {fault}");
    }
    for name in ours.keys().filter(|name| !peer.contains_key(*name)) {
        if !EXTRA.contains(&name.as_str()) {
            let _ = writeln!(wrong, "== the peer lacks {name}");
        }
    }
}

/// Keys and actions that Linux 6.1 takes, one of each kind.
const FLOWS: &[(&str, &str)] = &[
    (
        "in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800),ipv4(frag=no)",
        "2",
    ),
    (
        "in_port(2),eth(dst=01:00:00:00:00:00/01:00:00:00:00:00),eth_type(0x0806),arp(op=1,tip=10.0.0.0/255.0.0.0)",
        "1,3",
    ),
    (
        "in_port(3),eth(),eth_type(0x8100),vlan(vid=10,pcp=3),encap(eth_type(0x0800),ipv4(proto=6),tcp(dst=80),tcp_flags(0/0))",
        "pop_vlan,1",
    ),
    (
        "in_port(3),eth(),eth_type(0x8100),vlan(vid=11/0xff),encap(eth_type(0x0806),arp())",
        "pop_vlan,push_vlan(vid=12,pcp=1),1",
    ),
    (
        "in_port(4),eth(),eth_type(0x0800),ipv4(src=10.1.0.0/255.255.0.0,proto=17,tos=4/0xfc,ttl=64,frag=no),udp(src=53,dst=1024/0xfc00)",
        "1",
    ),
    ("in_port(5),eth(),eth_type(0x0800),ipv4(proto=1,frag=no),icmp(type=8,code=0)", "1"),
    ("in_port(6),eth(),eth_type(0x0800),ipv4(proto=17,frag=first),udp(src=1000)", "trunc(100),1"),
    ("in_port(7),eth(),eth_type(0x0800),ipv4(proto=6),tcp(),tcp_flags(+syn-ack)", "1"),
    (
        "in_port(8),eth(),eth_type(0x86dd),ipv6(src=fd00::/ff00::,label=0x12345,proto=58,tclass=0,hlimit=255,frag=no),icmpv6(type=135,code=0),nd(target=fd00::1)",
        "1",
    ),
    (
        "in_port(9),eth(),eth_type(0x86dd),ipv6(dst=fd00::1,proto=132),sctp(dst=9)",
        "set(ipv6(hlimit=9)),1",
    ),
    (
        "in_port(10),eth(),eth_type(0x8847),mpls(label=100,tc=3,ttl=64,bos=1)",
        "pop_mpls(eth_type=0x800),1",
    ),
    ("recirc_id(0x5),in_port(11),eth(),eth_type(0x0800),ipv4()", "1"),
    (
        "skb_priority(0x10),skb_mark(0x5/0xf),in_port(12),eth(),eth_type(0x0800),ipv4()",
        "set(skb_priority(0x7)),1",
    ),
    ("dp_hash(0x1/0xf),in_port(13),eth(),eth_type(0x0800),ipv4()", "recirc(0x6)"),
    ("ct_state(+est+trk),ct_mark(0x5),in_port(14),eth(),eth_type(0x0800),ipv4()", "1"),
    (
        "ct_state(-new+trk),ct_label(0x5/0xff),in_port(15),eth(),eth_type(0x0800),ipv4(proto=6),tcp(),tcp_flags(0/0)",
        "ct_clear,1",
    ),
    (
        "in_port(16),eth(),eth_type(0x0800),ipv4()",
        "ct(commit,mark=0x1/0xff,nat(src=10.0.0.1-10.0.0.9:1000-2000)),recirc(0x7)",
    ),
    (
        "in_port(17),eth(),eth_type(0x0800),ipv4(proto=17,frag=no),udp()",
        "set(eth(src=02:00:00:00:00:09)),set(ipv4(src=10.9.9.9,ttl=7)),1",
    ),
    (
        "in_port(18),eth(),eth_type(0x0800),ipv4(frag=no)",
        "set(ipv4(tos=0x8/0xfc)),sample(sample=50.0%,actions(1,2)),clone(push_vlan(vid=5,pcp=0),1),2",
    ),
    ("in_port(19),eth(),eth_type(0x0800),ipv4()", "userspace(pid=3,slow_path(cfm)),1"),
    ("in_port(20),eth(),eth_type(0x0800),ipv4()", "userspace(pid=7,userdata(01020304)),1"),
    ("in_port(21),eth(),eth_type(0x0800),ipv4()", "check_pkt_len(size=200,gt(1),le(2))"),
    ("in_port(22),eth(),eth_type(0x0800),ipv4()", "hash(l4(0)),recirc(0x8)"),
    (
        "in_port(23),eth(),eth_type(0x0800),ipv4()",
        "push_mpls(label=7,tc=0,ttl=64,bos=1,eth_type=0x8847),1",
    ),
    (
        "in_port(24),eth(),eth_type(0x0800),ipv4()",
        "set(tunnel(tun_id=0x5,src=1.1.1.1,dst=2.2.2.2,ttl=64,flags(df|key))),1",
    ),
    (
        "tunnel(tun_id=0x7,src=1.1.1.1,dst=2.2.2.2,ttl=64,flags(+key)),in_port(25),eth(),eth_type(0x0800),ipv4()",
        "1",
    ),
];

/// The same flows of the kernel's, shown by the stock `ovs-dpctl` and by our daemon.
#[test]
#[ignore = "needs the lab"]
fn flows_are_shown_as_the_stock_tool_shows_them() {
    enter();
    let host = Host::silent(1);
    let mut daemon = Daemon::ours();
    daemon.start(&Setup::one(vec![Port::new(&host.port)]));
    daemon.appctl(&[
        "dpctl/add-dp",
        "foo",
        "i1,type=internal,port_no=1",
        "i2,type=internal,port_no=2",
    ]);
    let mut refused = String::new();
    for (n, (key, actions)) in FLOWS.iter().enumerate() {
        // Half by their tool, half by ours: both are to put what the text says.
        let (said, good) = match n % 2 {
            // It does not read all that it shows.
            0 if attempt(&["ovs-dpctl", "add-flow", "foo", key, actions]).1 => continue,
            _ => daemon.try_appctl(&["dpctl/add-flow", "foo", key, actions]),
        };
        if !good {
            let _ = writeln!(refused, "{key} {actions}: {said}");
        }
    }
    assert!(refused.is_empty(), "{refused}");
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(without_times).collect();
        lines.sort();
        lines
    };
    let mut wrong = String::new();
    for options in [&[][..], &["-m"], &["--names"], &["-m", "--names"], &["-m", "--no-names"]] {
        let theirs = [&["ovs-dpctl", "dump-flows"], options, &["foo"]].concat();
        let theirs = sorted(&attempt(&theirs).0);
        let ours = sorted(&daemon.appctl(&[&["dpctl/dump-flows"], options, &["foo"]].concat()));
        assert_eq!(theirs.len(), FLOWS.len(), "{options:?}");
        for line in theirs.iter().filter(|line| !ours.contains(line)) {
            let _ = writeln!(wrong, "{options:?} - {line}");
        }
        for line in ours.iter().filter(|line| !theirs.contains(line)) {
            let _ = writeln!(wrong, "{options:?} + {line}");
        }
    }
    assert!(wrong.is_empty(), "the stock tool (-) and our daemon (+) do not agree:\n{wrong}");
}

// Needs no lab.
#[test]
fn times_are_taken_out_of_lines() {
    assert_eq!(without_times("packets:1, used:1.5s, actions:1"), "packets:1, used:SOME, actions:1");
    assert_eq!(without_times("used:never, actions:1"), "used:never, actions:1");
}
