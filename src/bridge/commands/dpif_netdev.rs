//! `dpif-netdev/*` and `odp-execute/*`: the user-space datapath, which is not here, so that no datapath
//! of its kind exists; what is set holds for those that will never be made.
//!
//! What always holds: the answers are those of the stock 3.1.0, built for plain x86-64, on a host without a
//! user-space datapath, errors included. Control thread.

use std::cell::Cell;
use std::rc::Rc;

use super::{Answer, Commands, error};
use crate::unixctl::Call;

pub(super) fn register(commands: &Commands<'_>) {
    of_a_datapath(commands);
    implementations(commands);
    let usage = "on|off [-b before] [-a after] [-e|-ne] [-us usec] [-q qlen]";
    commands.any("dpif-netdev/pmd-perf-log-set", usage, 0..=10, |_, call| perf_log_set(&call));
}

/// Commands that want a datapath, whatever else they are told.
fn of_a_datapath(commands: &Commands<'_>) {
    for (name, usage, most) in [
        ("bond-show", "[dp]", 1),
        ("pmd-perf-show", "[-nh] [-it iter-history-len] [-ms ms-history-len] [-pmd core] [dp]", 8),
        ("pmd-rxq-rebalance", "[dp]", 1),
        ("pmd-rxq-show", "[-pmd core] [-secs secs] [dp]", 5),
        ("pmd-stats-clear", "[-pmd core] [dp]", 3),
        ("pmd-stats-show", "[-pmd core] [dp]", 3),
    ] {
        commands.any(&format!("dpif-netdev/{name}"), usage, 0..=most, |_, _| {
            Err(error("please specify an existing datapath"))
        });
    }
}

fn implementations(commands: &Commands<'_>) {
    commands.any("dpif-netdev/dpif-impl-get", "", 0..=0, |_, _| Ok(().into()));
    let usage = "dpif_implementation_name";
    commands.any("dpif-netdev/dpif-impl-set", usage, 1..=1, |_, call| {
        match call.arg(0).unwrap_or_default() {
            name @ "dpif_scalar" => Ok(format!("DPIF implementation set to {name}.\n").into()),
            name => {
                let text = "DPIF implementation not available: Unknown DPIF implementation";
                Err(error(format!("{text} {name}.\n")))
            }
        }
    });
    commands.any("dpif-netdev/miniflow-parser-get", "", 0..=0, |_, _| Ok(().into()));
    let usage = "[-pmd core] miniflow_implementation_name [study_pkt_cnt]";
    commands
        .any("dpif-netdev/miniflow-parser-set", usage, 1..=5, |_, call| miniflow_parser_set(&call));
    lookups(commands);
    actions(commands);
}

/// Always an error: what the CPU can do is found out when the first datapath is made.
fn miniflow_parser_set(call: &Call) -> Answer {
    let unusable = |text: String| Err(error(format!("Error: {text}")));
    let mut args = call.args.iter().map(String::as_str);
    let mut parser = None;
    while let Some(arg) = args.next() {
        match parser {
            None if arg == "-pmd" => {
                let Some(core) = args.next() else {
                    return unusable("-pmd option requires a thread id argument.\n".to_owned());
                };
                if core.parse::<u32>().is_err() {
                    return unusable(format!(
                        "miniflow extract parser not changed, PMD thread passed is not valid: \
                         '{core}'. Pass a valid pmd thread ID.\n"
                    ));
                }
            }
            None => parser = Some(arg),
            Some("study") if arg.parse::<u32>().is_ok_and(|packets| packets > 0) => {}
            Some("study") => return unusable(format!("invalid study_pkt_cnt value: {arg}.\n")),
            Some(_) => return unusable(format!("unknown argument {arg}.\n")),
        }
    }
    match parser {
        None => unusable(
            "no miniflow extract name provided. Output of miniflow-parser-get shows \
             implementation list.\n"
                .to_owned(),
        ),
        Some(name @ ("autovalidator" | "scalar" | "study")) => {
            unusable(format!("miniflow extract not available due to CPU ISA requirements: {name}"))
        }
        Some(name) => unusable(format!("unknown miniflow extract implementation {name}.")),
    }
}

/// Priorities of the lookup functions, of which the first is for checking the others.
fn lookups(commands: &Commands<'_>) {
    const NAMES: [&str; 2] = ["autovalidator", "generic"];
    let priorities = Rc::new(Cell::new([0u8, 1]));
    let shown = priorities.clone();
    let get = move || {
        let rows = NAMES.iter().zip(shown.get());
        let rows = rows.map(|(name, prio)| format!("  {name} (Use count: 0, Priority: {prio})\n"));
        format!("Available dpcls implementations:\n{}", rows.collect::<String>())
    };
    let get = Rc::new(get);
    let hidden = get.clone();
    commands.any("dpif-netdev/subtable-lookup-info-get", "", 0..=0, move |_, _| Ok(get().into()));
    // Its name of earlier releases, which is not listed.
    let name = "dpif-netdev/subtable-lookup-prio-get";
    commands.registry.register_hidden(name, 0..=0, move |_, reply| reply.ok(hidden()));
    let name = "dpif-netdev/subtable-lookup-prio-set";
    commands.any(name, "[lookup_func] [prio]", 2..=2, move |_, call| {
        let (name, text) = (call.arg(0).unwrap_or_default(), call.arg(1).unwrap_or_default());
        let Ok(priority) = u8::try_from(super::leading_number(text)) else {
            return Err(error("error converting priority, use integer in range 0-255\n"));
        };
        let Some(at) = NAMES.iter().position(|known| *known == name) else {
            return Err(error("error, subtable lookup function not found\n"));
        };
        let mut now = priorities.get();
        if let Some(slot) = now.get_mut(at) {
            *slot = priority;
        }
        priorities.set(now);
        Ok("Lookup priority change affected 0 dpcls ports and 0 subtables.\n".into())
    });
}

/// How packets would be rewritten; the kernel does it here.
fn actions(commands: &Commands<'_>) {
    const NAMES: [&str; 2] = ["scalar", "autovalidator"];
    let active = Rc::new(Cell::new(NAMES[0]));
    let shown = active.clone();
    commands.any("odp-execute/action-impl-show", "", 0..=0, move |_, _| {
        let row = |name: &&str| {
            let is_active = if *name == shown.get() { "Yes" } else { "No" };
            format!("  {name} (available: Yes, active: {is_active})\n")
        };
        let rows: String = NAMES.iter().map(row).collect();
        Ok(format!("Available Actions implementations:\n{rows}").into())
    });
    commands.any("odp-execute/action-impl-set", "name", 1..=1, move |_, call| {
        let name = call.arg(0).unwrap_or_default();
        match NAMES.into_iter().find(|known| *known == name) {
            Some(known) => {
                active.set(known);
                Ok(format!("Action implementation set to {name}.\n").into())
            }
            None => {
                Err(error(format!("Error: unknown action implementation, {name}, specified!\n")))
            }
        }
    });
}

/// The log of slow iterations: of threads that there are none of.
fn perf_log_set(call: &Call) -> Answer {
    let usage = "Usage: ovs-appctl dpif-netdev/pmd-perf-log-set [on|off] [-b before] [-a after] \
                 [-e|-ne] [-us usec] [-q qlen]";
    let mut args = call.args.iter().map(String::as_str);
    while let Some(arg) = args.next() {
        match arg {
            "on" | "off" | "-e" | "-ne" => {}
            "-a" | "-b" | "-q" | "-us" if args.next().is_some_and(|n| n.parse::<u32>().is_ok()) => {
            }
            _ => return Err(error(usage)),
        }
    }
    Ok(().into())
}
