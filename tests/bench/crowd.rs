//! Very many flows that nobody uses: what they take in memory, in CPU, and when something changes.
//!
//! The limit of a sweep is a bare terse dump of the same flows.

use std::time::Duration;

use ovs_netlink::datapath::{self, DatapathId};
use ovs_netlink::flow::{FlowDump, UfidFlags};
use ovs_netlink::msg::MsgBuf;
use ovs_netlink::{Families, Socket};

use crate::change;
use crate::kernel::daemon::dp_stats;
use crate::kernel::deployment::Deployment;
use crate::kernel::wait_for;
use crate::load::{Kind, Load};
use crate::meter;
use crate::subject::Who;
use crate::work::Print;

/// Packets outstanding at a time.
const WINDOW: u32 = 64;
/// Flows that the stock daemon takes in the beginning: it lets itself have a thousand more a sweep.
const FIRST: u32 = 9_000;
/// Sweeps over which the cost of one is averaged.
const SWEEPS: u32 = 4;
/// How long idling is looked at.
const IDLE: Duration = Duration::from_secs(10);

/// Measures `who` with so many flows.
pub fn measure(print: &Print<'_>, who: Who, flows: u32) {
    let Some(whose) = who.whose() else {
        return;
    };
    let mut load = Load::new(print.seed, [1, 2]);
    let change = change::Parties::new();
    let mut site = Deployment::new();
    site.must(&["--no-wait", "add-br", "br0"]);
    site.must(&["--no-wait", "set", "Bridge", "br0", "other_config:mac-aging-time=3600"]);
    site.must(&["--no-wait", "set", "Open_vSwitch", ".", "other_config:max-idle=3600000"]);
    for port in ["v1", "v2"] {
        site.must(&["--no-wait", "add-port", "br0", port]);
    }
    change.configure(&site);
    site.start(whose);
    site.appctl(&["upcall/disable-megaflows"]);
    load.announce();
    change.announce();
    let pid = site.pid().as_raw().unsigned_abs();
    let first = FIRST.min(flows);
    load.saturate(Kind::Tuples, 0, 500, WINDOW);
    let before = meter::read(pid);
    load.saturate(Kind::Tuples, 500, first, WINDOW);
    wait_for("the flow limit to rise", Duration::from_secs(600), || {
        std::thread::sleep(Duration::from_secs(2));
        (limit(&site) > flows + 2_000).then_some(())
    });
    load.saturate(Kind::Tuples, 500 + first, flows - first, WINDOW);
    let there = dp_stats().flows;
    print.line("crowd.flows", who, there as f64);
    std::thread::sleep(Duration::from_secs(2));
    let full = meter::read(pid);
    let grown = full.rss.saturating_sub(before.rss) as f64 / (there.max(501) - 500) as f64;
    print.line("crowd.memory", who, grown);

    let before_idle = meter::read(pid);
    std::thread::sleep(IDLE);
    let used = meter::read(pid).since(before_idle);
    print.line("crowd.idle", who, used.cpu_ns as f64 / IDLE.as_nanos() as f64 * 100.0);

    site.ask("revalidator/wait", &[]).expect("it sweeps");
    let before_sweeps = meter::read(pid);
    for _ in 0..SWEEPS {
        site.ask("revalidator/wait", &[]).expect("it sweeps");
    }
    let used = meter::read(pid).since(before_sweeps);
    let kilo = |ns: u64, times: u32| ns as f64 / f64::from(times) / there.max(1) as f64 / 1e3;
    print.line("crowd.sweep", who, kilo(used.cpu_ns, SWEEPS));
    if who == Who::Rovs {
        print.line("crowd.sweep", Who::Limit, kilo(bare_dump(), 1));
    }
    change.measure(print, who, &site);

    site.appctl(&["revalidator/purge"]);
    wait_for("the flows to go", Duration::from_secs(60), || {
        (dp_stats().flows < there / 100).then_some(())
    });
    std::thread::sleep(Duration::from_secs(5));
    let back = meter::read(pid).rss as f64 / before.rss as f64;
    print.line("crowd.memory.back", who, back);
}

/// The number of flows that the daemon allows itself.
fn limit(site: &Deployment) -> u32 {
    let shown = site.ask("upcall/show", &[]).expect("it answers");
    let limit = shown.split("(limit ").nth(1).and_then(|rest| rest.split(')').next());
    limit.and_then(|limit| limit.parse().ok()).unwrap_or(0)
}

/// Nanoseconds that reading all flows takes, when nothing is done with them.
fn bare_dump() -> u64 {
    let mut socket = Socket::open().expect("netlink");
    let families = Families::resolve_on(&mut socket).expect("the module is there");
    let dp = datapath::get(&mut socket, &families, DatapathId::Name("ovs-system")).expect("it is");
    let request = FlowDump { dp_ifindex: dp.ifindex, omit: UfidFlags::TERSE };
    let mut buf = MsgBuf::new();
    request.append(&mut buf, families.flow.id, 0).expect("it fits");
    let pid = std::process::id();
    let before = meter::read(pid);
    let mut dump = socket.start_dump(&mut buf).expect("a dump");
    while let Some(batch) = dump.next_batch().expect("flows") {
        let _ = batch.count();
    }
    meter::read(pid).since(before).cpu_ns
}
