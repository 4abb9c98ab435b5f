//! `upcall/*` and `revalidator/*`: how packets without a flow are answered, and how flows are kept
//! right. Control thread; what waits for the revalidator does so on a thread of its own.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Answer, Backer, Commands, full_name, leading_number};
use crate::bridge::current::Current;
use crate::bridge::switch::Switch;
use crate::datapath::OdpPort;
use crate::unixctl::{Call, Format};

/// Longest that a command waits for the revalidator, so that no thread waits for ever.
const REVALIDATOR_PATIENCE: Duration = Duration::from_secs(600);

pub(super) fn register(commands: &Commands<'_>) {
    commands.any("upcall/show", "", 0..=0, |switch, call| match switch {
        Some(switch) => upcall_show(switch, call),
        None => Ok(().into()),
    });
    commands.later("upcall/ports", "", 0..=0, upcall_ports);
    commands.switching("upcall/disable-megaflows", |current| set_megaflows(current, false));
    commands.switching("upcall/enable-megaflows", |current| set_megaflows(current, true));
    commands.any("upcall/set-flow-limit", "flow-limit-number", 1..=1, set_flow_limit);
    commands.switching("upcall/disable-ufid", |current| set_ufid(current, false));
    commands.switching("upcall/enable-ufid", |current| set_ufid(current, true));
    commands.later_any("revalidator/wait", "", 0..=0, |backer, _| {
        if let Some(Backer { udpif, .. }) = backer {
            udpif.changes.await_done(udpif.changes.request_round(), REVALIDATOR_PATIENCE);
        }
        Ok(().into())
    });
    commands.later_any("revalidator/purge", "", 0..=0, |backer, _| {
        if let Some(Backer { udpif, .. }) = backer {
            udpif.changes.await_done(udpif.changes.request_purge(), REVALIDATOR_PATIENCE);
        }
        Ok(().into())
    });
    // The peer does not list these two either.
    commands.hidden("revalidator/pause", |backer| {
        backer.udpif.changes.pause();
        backer.udpif.changes.await_paused(REVALIDATOR_PATIENCE);
    });
    commands.hidden("revalidator/resume", |backer| backer.udpif.changes.resume());
}

fn upcall_show(switch: &Switch, call: Call) -> Answer {
    let rounds = &switch.rounds;
    let udpif = &switch.udpif;
    let load = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
    let limit = udpif.flow_limit();
    let (current, max) = (udpif.ukeys.len() as u64, load(&rounds.max_flows));
    let counters = &udpif.counters;
    if call.format == Format::Json {
        return Ok(json!({
            "name": full_name(&*switch.datapath), "flows": current, "max": max, "limit": limit,
            "dump_duration_ms": load(&rounds.dump_ms), "handlers": switch.handlers,
            "revalidators": switch.revalidators(),
            "megaflows": udpif.settings.megaflows.load(Ordering::Relaxed),
            "upcalls": load(&counters.upcalls), "bad": load(&counters.bad),
            "dropped": load(&counters.dropped), "overruns": load(&counters.overruns),
            "installed": load(&counters.installed), "duplicates": load(&counters.duplicates),
            "over_limit": load(&counters.over_limit), "refused": load(&counters.refused),
            "execute_failed": load(&counters.execute_failed),
            "retranslated": load(&counters.retranslated), "modified": load(&counters.modified),
            "deleted": load(&counters.deleted), "adopted": load(&counters.adopted),
            "ukey_bytes": udpif.ukeys.bytes(),
            "last_change_flows": load(&rounds.last_change_flows),
        })
        .into());
    }
    let mut text = format!(
        "{}:\n  flows         : (current {current}) (avg {}) (max {max}) (limit {limit})\n  \
         dump duration : {}ms\n  ufid enabled : {}\n\n",
        full_name(&*switch.datapath),
        load(&rounds.flows),
        load(&rounds.dump_ms),
        udpif.settings.ufid.load(Ordering::Relaxed),
    );
    // Flows belong to no revalidator. They are dealt out here as the peer deals them out.
    let threads = switch.revalidators().max(1);
    let shards: Vec<usize> = udpif.ukeys.shards().map(|shard| shard.len()).collect();
    for id in 0..threads {
        let keys: usize = shards.iter().skip(id).step_by(threads).sum();
        let _ = writeln!(text, "  {}: (keys {keys})", id + 1);
    }
    Ok(text.into())
}

fn upcall_ports(backer: &Backer, call: &Call) -> Answer {
    let ports = backer.datapath.ports()?;
    let totals = backer.udpif.ports.totals();
    let find = |odp: OdpPort| ports.iter().find(|port| port.odp == odp);
    let name = |odp| find(odp).map_or_else(|| odp.to_string(), |port| port.name.clone());
    // What was lost before a handler could read it: told by Linux 6.2 and later.
    let lost = |odp| find(odp).and_then(|port| port.upcall_stats).map(|stats| stats.fail);
    if call.format == Format::Json {
        let rows = totals.iter().map(|t| {
            json!({"port": name(t.port), "upcalls": t.asked, "served": t.served,
                   "dropped": t.dropped, "lost": lost(t.port)})
        });
        return Ok(Value::from_iter(rows).into());
    }
    let mut text = String::new();
    for t in totals {
        let lost = lost(t.port).map_or_else(|| "?".to_owned(), |lost| lost.to_string());
        let (upcalls, served, dropped) = (t.asked, t.served, t.dropped);
        let name = name(t.port);
        let _ = writeln!(
            text,
            "  {name}: upcalls:{upcalls} served:{served} dropped:{dropped} lost:{lost}"
        );
    }
    Ok(text.into())
}

fn set_megaflows(current: &Current, on: bool) -> Answer {
    current.set_megaflows(on);
    Ok(if on { "megaflows enabled\n" } else { "megaflows disabled\n" }.into())
}

fn set_ufid(current: &Current, on: bool) -> Answer {
    current.set_ufid(on);
    Ok(if on {
        "Datapath dumping tersely using UFID enabled for supported datapaths\n"
    } else {
        "Datapath dumping tersely using UFID disabled\n"
    }
    .into())
}

/// Any text is a number to the peer, and so here: atoi(3), cut to 32 bits.
fn set_flow_limit(switch: Option<&Switch>, call: Call) -> Answer {
    let limit = leading_number(call.arg(0).unwrap_or_default()) as u32;
    if let Some(switch) = switch {
        switch.udpif.limit.set(limit as usize);
        switch.note_state();
    }
    Ok(format!("set flow_limit to {limit}\n").into())
}
