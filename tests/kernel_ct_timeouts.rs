//! Timeouts of conntrack zones: the same `ovs-vsctl` calls to both daemons, and what the kernel then has
//! for policies, as `nfct` tells it.

mod kernel;

use std::collections::BTreeSet;
use std::time::Duration;

use kernel::deployment::{Deployment, Whose};
use kernel::{attempt, enter, run, wait_for};

/// Longer than three times the 20 seconds after which what could not be removed is tried again.
const LONG: Duration = Duration::from_secs(75);

/// The kernel's policies by nfct, a line each, as `NAME: l3proto=2 … UNREPLIED=30 …`, in the kernel's
/// order.
fn policies() -> Vec<String> {
    let text = run(&["nfct", "list", "timeout"]);
    let mut lines: Vec<String> = Vec::new();
    for word in text.lines().map(|line| line.trim_matches(['\t', ' ', ',', ';', '}'])) {
        match word.split_once(" = ") {
            Some((".policy", "{")) | None => {}
            Some((name, "{")) => lines.push(format!("{}:", name.trim_start_matches('.'))),
            Some((name, value)) => {
                let line = lines.last_mut().expect("a policy begins with its name");
                line.push_str(&format!(" {}={value}", name.trim_start_matches('.')));
            }
        }
    }
    lines
}

/// Removes what an earlier test left.
fn clear() {
    for line in policies() {
        let name = line.split(':').next().unwrap_or_default().to_owned();
        run(&["nfct", "delete", "timeout", &name]);
    }
}

/// The names of the kernel's policies without protocol, each once: `ovs_tp_1`.
fn numbers() -> Vec<String> {
    let mut all: Vec<String> = policies()
        .iter()
        .filter_map(|line| Some(line.split(':').next()?.rsplit_once('_')?.0.to_owned()))
        .collect();
    all.sort();
    all.dedup();
    all
}

/// How many policies the database asks for: as many as there are lists of timeouts.
fn wanted(site: &Deployment) -> usize {
    let zones = site.vsctl(&["--no-wait", "list-zone-tp", "system"]).out;
    let lists: BTreeSet<&str> =
        zones.lines().filter_map(|line| Some(line.split_once(',')?.1)).collect();
    lists.len()
}

/// Waits until the kernel has the six policies of each that the database asks for, with `others` beside
/// them, and returns them.
fn settled(site: &Deployment, others: usize) -> Vec<String> {
    let wanted = 6 * wanted(site) + others;
    let what = format!("{wanted} policies");
    wait_for(&what, LONG, || Some(policies()).filter(|policies| policies.len() == wanted))
}

/// A database with a row for the kernel's datapath, and a bridge.
fn site() -> Deployment {
    let site = Deployment::new();
    let words = "--no-wait add-br br0 -- --id=@dp create Datapath datapath_version=0 \
                 -- set Open_vSwitch . datapaths:system=@dp";
    vsctl(&site, words);
    site
}

/// `ovs-vsctl` with these words, which must succeed.
fn vsctl(site: &Deployment, words: &str) -> String {
    site.must(&words.split_whitespace().collect::<Vec<_>>())
}

/// A step and the policies after it.
type Step = (String, Vec<String>);

const COMMANDS: &[&str] = &[
    "add-zone-tp system zone=5 tcp_syn_sent=1 tcp_syn_recv=2 tcp_established=3 tcp_fin_wait=4 \
     tcp_close_wait=5 tcp_last_ack=6 tcp_time_wait=7 tcp_close=8 tcp_syn_sent2=9 tcp_retransmit=10 \
     tcp_unack=11 udp_first=12 udp_single=13 udp_multiple=14 icmp_first=15 icmp_reply=16",
    "add-zone-tp system zone=6 udp_single=7",
    "add-zone-tp system zone=7 udp_single=7",
    "--no-wait add-zone-tp system zone=8 udp_first=7",
    "add-zone-tp system zone=65535 tcp_established=2147483647 udp_multiple=0",
    "--may-exist add-zone-tp system zone=6 udp_single=8",
    "add-zone-tp system zone=6 udp_single=8",
    "add-zone-tp system zone=9 sctp=8",
    "add-zone-tp system zone=65536 udp_single=8",
    "del-zone-tp system zone=7",
    "del-zone-tp system zone=7",
];

/// A flow of a datapath of its own, whose conntrack action names a policy for UDP over IPv4.
struct FlowThatUses;

impl FlowThatUses {
    fn new(policy: &str) -> Self {
        let _ = attempt(&["ovs-dpctl", "del-dp", "lab0"]);
        run(&["ovs-dpctl", "add-dp", "lab0"]);
        let key = "in_port(0),eth(),eth_type(0x0800),ipv4(proto=17,frag=no),udp()";
        let action = format!("ct(commit,timeout={policy})");
        run(&["ovs-dpctl", "add-flow", "lab0", key, &action]);
        Self
    }
}

impl Drop for FlowThatUses {
    fn drop(&mut self) {
        let _ = attempt(&["ovs-dpctl", "del-dp", "lab0"]);
    }
}

/// Whether this kernel refuses to remove a policy that a flow uses, as nfct sees it.
fn kernel_keeps_what_is_used() -> bool {
    run(&["nfct", "add", "timeout", "probe", "inet", "udp", "unreplied", "1"]);
    let flow = FlowThatUses::new("probe");
    let (said, is_gone) = attempt(&["nfct", "delete", "timeout", "probe"]);
    assert!(is_gone || said.contains("busy"), "{said}");
    drop(flow);
    let _ = attempt(&["nfct", "delete", "timeout", "probe"]);
    !is_gone
}

fn play(whose: Whose) -> Vec<Step> {
    enter();
    clear();
    // One of somebody else, and what an earlier run may have left of one.
    run(&["nfct", "add", "timeout", "ovs_tp_x_tcp4", "inet", "tcp", "established", "1"]);
    run(&["nfct", "add", "timeout", "ovs_tp_2_udp4", "inet", "udp", "unreplied", "1"]);
    let mut site = site();
    vsctl(&site, "--no-wait add-zone-tp system zone=1 icmp_first=1");
    let mut steps: Vec<Step> = Vec::new();
    let mut note = |what: String, policies: Vec<String>| steps.push((what, policies));
    site.start(whose);
    note("start".to_owned(), settled(&site, 1));
    for command in COMMANDS {
        let said = site.vsctl(&command.split_whitespace().collect::<Vec<_>>());
        note(format!("{command} (exit {})", said.code), settled(&site, 1));
    }
    // Other timeouts in the same row: another policy comes, the old one goes.
    let row = vsctl(&site, "--bare --columns=_uuid find CT_Timeout_Policy timeouts:udp_first=7");
    vsctl(&site, &format!("set CT_Timeout_Policy {} timeouts:udp_first=70", row.trim()));
    note("other timeouts".to_owned(), settled(&site, 1));

    // A flow of another datapath uses one of the six. Linux 6.1 does not let go of it then, 6.12 does.
    let is_kept = kernel_keeps_what_is_used();
    let used = policies().into_iter().find(|line| line.contains(" UNREPLIED=8 "));
    let used = used.expect("that of zone 6").split(':').next().unwrap_or_default().to_owned();
    let number = used.rsplit_once('_').expect("protocol and number").0.to_owned();
    let flow = FlowThatUses::new(&used);
    vsctl(&site, "del-zone-tp system zone=6");
    let left = || {
        let parts: Vec<String> = policies()
            .iter()
            .filter_map(|line| Some(line.split(':').next()?.to_owned()))
            .filter(|name| name.starts_with(&format!("{number}_")))
            .collect();
        (parts.len() <= usize::from(is_kept)).then_some(parts)
    };
    let left = wait_for("what is not in use to go", LONG, left);
    assert_eq!(left, if is_kept { vec![used] } else { vec![] });
    note("one in use".to_owned(), policies());
    vsctl(&site, "add-zone-tp system zone=10 udp_single=8");
    note("the same again".to_owned(), settled(&site, 1 + usize::from(is_kept)));
    drop(flow);
    note("no more in use".to_owned(), settled(&site, 1));

    site.stop();
    note("ended".to_owned(), policies());
    vsctl(&site, "--no-wait del-zone-tp system zone=5");
    site.start(whose);
    note("started again".to_owned(), settled(&site, 1));
    vsctl(&site, "clear Open_vSwitch . datapaths");
    wait_for("policies to go", LONG, || (numbers() == ["ovs_tp_x"]).then_some(()));
    note("without a row".to_owned(), policies());
    steps
}

#[test]
#[ignore = "needs the lab"]
fn the_kernels_policies_are_those_that_the_peer_makes() {
    let peers = play(Whose::Peers);
    let ours = play(Whose::Ours);
    clear();
    for ((what, peers), (_, ours)) in peers.iter().zip(&ours) {
        println!("{what}: {} policies of the kernel", ours.len());
        assert_eq!(ours.join("\n"), peers.join("\n"), "after: {what}");
    }
    assert_eq!(ours.len(), peers.len());
    // The script led somewhere: in the peer's hands as well.
    let most = peers.iter().map(|(_, policies)| policies.len()).max();
    assert!(most > Some(30), "{most:?}");
}

/// The kernel without nfnetlink_cttimeout; with it again when this is dropped.
struct Absence {
    /// The program that loads modules otherwise.
    loader: String,
}

impl Absence {
    fn new() -> Self {
        clear();
        let absence = Self { loader: std::fs::read_to_string(LOADER).expect("may see it") };
        std::fs::write(LOADER, "/bin/false").expect("may change it");
        let (said, _) = attempt(&["rmmod", "nfnetlink_cttimeout"]);
        // It need not have been there. Linux 6.1 never lets go of it once there was a policy.
        let (_, is_there) = attempt(&["nfct", "list", "timeout"]);
        assert!(!is_there, "the module cannot be taken away ({said}): run this test first");
        absence
    }
}

impl Drop for Absence {
    fn drop(&mut self) {
        let _ = std::fs::write(LOADER, &self.loader);
    }
}

/// What the kernel runs to load a module that it misses.
const LOADER: &str = "/proc/sys/kernel/modprobe";

/// Lines of the log that speak of timeout policies, without time and number.
fn said(site: &Deployment) -> Vec<String> {
    let log = site.log();
    let lines = log.lines().filter(|line| line.contains("timeout"));
    lines.filter_map(|line| Some(line.splitn(3, '|').nth(2)?.to_owned())).collect()
}

/// The first by name: a kernel that had policies once may not let go of the module any more.
#[test]
#[ignore = "needs the lab"]
fn a_kernel_without_the_module_is_told_in_one_line() {
    let mut capabilities = Vec::new();
    for whose in [Whose::Peers, Whose::Ours] {
        enter();
        let absence = Absence::new();
        let mut site = site();
        site.start(whose);
        vsctl(&site, "add-zone-tp system zone=5 udp_single=7");
        vsctl(&site, "add-zone-tp system zone=6 udp_single=8");
        vsctl(&site, "add-port br0 i0 -- set Interface i0 type=internal");
        assert_eq!(vsctl(&site, "get Interface i0 ofport").trim(), "1");
        let row = vsctl(&site, "get Open_vSwitch . datapaths:system");
        let of_row = format!("get Datapath {} capabilities:ct_timeout", row.trim());
        capabilities.push(vsctl(&site, &of_row));
        if whose == Whose::Ours {
            let lines = said(&site);
            let told: Vec<&String> = lines.iter().filter(|line| line.contains("|WARN|")).collect();
            assert_eq!(told.len(), 1, "{lines:#?}");
            for word in ["conntrack zones", "Invalid argument", "nfnetlink_cttimeout"] {
                assert!(told[0].contains(word), "{told:?}");
            }
            println!("{}", told[0]);
            drop(absence);
            let names = ["ovs_tp_1", "ovs_tp_2"];
            wait_for("the policies", LONG, || (numbers() == names).then_some(()));
            // As the log has it: once, however often it was tried.
            let lines = wait_for("the good news", LONG, || {
                let lines = said(&site);
                lines.iter().any(|line| line.contains("in order again")).then_some(lines)
            });
            assert_eq!(lines.iter().filter(|line| line.contains("|WARN|")).count(), 1);
        }
    }
    assert_eq!(capabilities[0], capabilities[1], "what the kernel's datapath can do");
    clear();
}

/// The stock daemon forgets the zones of a datapath that goes with its last bridge.
#[test]
#[ignore = "needs the lab"]
fn policies_are_there_again_with_the_next_bridge() {
    enter();
    clear();
    let mut site = site();
    vsctl(&site, "--no-wait add-zone-tp system zone=5 udp_single=7");
    site.start(Whose::Ours);
    let first = settled(&site, 0);
    assert_eq!(first.len(), 6);
    vsctl(&site, "del-br br0");
    vsctl(&site, "add-br br0");
    let timeouts = |lines: &[String]| {
        lines.iter().map(|line| line.split_once(':').map(|l| l.1.to_owned())).collect::<Vec<_>>()
    };
    let then = wait_for("the policies", LONG, || Some(policies()).filter(|p| p.len() == 6));
    assert_eq!(timeouts(&then), timeouts(&first));
    clear();
}
