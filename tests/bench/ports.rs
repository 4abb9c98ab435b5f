//! What the control side costs: starting, and adding many ports in one transaction.
//!
//! The limit of adding ports is the kernel's own work: bare netlink requests, one for each.

use std::time::Instant;

use ovs_netlink::datapath::{self, DatapathId, DatapathNew, UserFeatures};
use ovs_netlink::vport::{self, VportNew, VportType};
use ovs_netlink::{Families, Socket};

use crate::kernel::deployment::Deployment;
use crate::kernel::netns::Host;
use crate::kernel::run;
use crate::meter;
use crate::subject::{Subject, Who};
use crate::work::Print;

/// Measures `who` with so many ports.
pub fn measure(print: &Print<'_>, who: Who, ports: u32) {
    let _hosts = [Host::silent(1), Host::silent(2)];
    match who.whose() {
        None => {
            let subject = Subject::start(who, false, &[]);
            print.line("start.cpu", who, meter::read(subject.pid()).cpu_ns as f64 / 1e6);
            drop(subject);
            bare(print, ports);
        }
        Some(whose) => {
            let mut site = Deployment::new();
            let ready = ["--no-wait", "add-br", "br0", "--", "add-port", "br0", "v1"];
            site.must(&[&ready[..], &["--", "add-port", "br0", "v2"]].concat());
            site.start(whose);
            let pid = site.pid().as_raw().unsigned_abs();
            print.line("start.cpu", who, meter::read(pid).cpu_ns as f64 / 1e6);
            let program = std::fs::canonicalize(format!("/proc/{pid}/exe")).expect("it runs");
            print.line("binary", who, loaded(&program.to_string_lossy()) / 1e6);
            let begun = Instant::now();
            let halves = [(0, ports / 2), (ports / 2, ports)].map(|(first, end)| {
                let before = meter::read(pid);
                add(&site, first, end);
                meter::read(pid).since(before).cpu_ns as f64 / 1e6
            });
            print.line("ports.time", who, begun.elapsed().as_secs_f64() * 1e3);
            print_cpu(print, who, ports, halves);
        }
    }
}

fn print_cpu(print: &Print<'_>, who: Who, ports: u32, [first, second]: [f64; 2]) {
    print.line("ports.cpu", who, first + second);
    print.line("ports.linear", who, second / first);
    if ports == 1000 {
        print.line("ports.cpu.1000", who, first + second);
    }
}

/// One transaction that adds internal ports.
fn add(site: &Deployment, first: u32, end: u32) {
    let mut args = vec!["--timeout=6000".to_owned()];
    for n in first..end {
        let name = format!("p{n}");
        args.extend(["--", "add-port", "br0", &name].map(String::from));
        args.extend(["--", "set", "Interface", &name, "type=internal"].map(String::from));
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    site.must(&args);
    let shown = run(&["ovs-dpctl", "show"]).matches("(internal)").count();
    assert_eq!(shown as u32, 2 + end, "not all ports are there when ovs-vsctl returns");
}

/// The same by nothing but requests to the kernel.
fn bare(print: &Print<'_>, ports: u32) {
    let mut socket = Socket::open().expect("netlink");
    let families = Families::resolve_on(&mut socket).expect("the module is there");
    let user_features = UserFeatures::UNALIGNED | UserFeatures::DISPATCH_UPCALL_PER_CPU;
    let request = DatapathNew { name: "ovs-system", user_features, ..DatapathNew::default() };
    let dp = datapath::create(&mut socket, &families, &request).expect("a datapath");
    let pid = std::process::id();
    let begun = Instant::now();
    let halves = [(0, ports / 2), (ports / 2, ports)].map(|(first, end)| {
        let before = meter::read(pid);
        for n in first..end {
            let request = VportNew {
                dp_ifindex: dp.ifindex,
                port_no: None,
                ty: VportType::Internal,
                name: &format!("p{n}"),
                options: None,
                upcall_pids: &[0],
                ifindex: None,
            };
            vport::create(&mut socket, &families, &request).expect("a port");
        }
        meter::read(pid).since(before).cpu_ns as f64 / 1e6
    });
    print.line("ports.time", Who::Limit, begun.elapsed().as_secs_f64() * 1e3);
    print_cpu(print, Who::Limit, ports, halves);
    datapath::delete(&mut socket, &families, DatapathId::Ifindex(dp.ifindex)).expect("it goes");
}

/// Bytes of text and data, as `size` tells them.
fn loaded(program: &str) -> f64 {
    let out = run(&["size", program]);
    let numbers = out.lines().nth(1).unwrap_or_default().split_whitespace();
    numbers.take(2).filter_map(|word| word.parse::<f64>().ok()).sum()
}
