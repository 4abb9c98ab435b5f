//! The switch on the control socket: `fdb/*`, `dpctl/*`, `dpif/*`, `upcall/*`, `revalidator/*` in the
//! peer's words, and what the peer does not have: why a flow is there (`flow/why`), why flows went
//! (`flow/history`), who asks for upcalls (`upcall/ports`).
//!
//! Registered once; each call asks for the switch of the moment, which is absent while the datapath
//! is. Control thread; what takes long (dumps) runs on a thread of its own and answers later.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::features;
use super::switch::Switch;
use super::text::{FlowText, dump_json, dump_line, port_names};
use crate::datapath::record::Summary;
use crate::datapath::{Datapath, DumpDetail, OdpPort, PortKind};
use crate::odp::format::Style;
use crate::odp::key::OdpKey;
use crate::odp::ufid::Ufid;
use crate::revalidate::decide::{Scratch, retranslate_traced};
use crate::snapshot::{Attachment, Bridge, Dep, Port, Snapshot};
use crate::unixctl::{Call, CommandError, Format, Output, Registry, Reply};
use crate::upcall::trigger::Trigger;
use crate::upcall::{Udpif, now_ms};

/// The switch of the moment.
pub type Current = Rc<RefCell<Option<Switch>>>;

pub(super) type Answer = Result<Output, CommandError>;

fn error(text: impl Into<String>) -> CommandError {
    CommandError(text.into())
}

/// Adds the commands.
pub fn register(registry: &Registry, current: &Current) {
    let add = |name: &str, usage: &str, args, run: fn(&Switch, Call) -> Answer| {
        let current = current.clone();
        registry.register(name, usage, args, move |call| match &*current.borrow() {
            Some(switch) => run(switch, call),
            None => Err(error("the datapath is not there (see the log)")),
        });
    };
    add("fdb/show", "bridge", 1..=1, fdb_show);
    add("fdb/flush", "[bridge]", 0..=1, fdb_flush);
    add("fdb/stats-show", "bridge", 1..=1, fdb_stats_show);
    add("fdb/stats-clear", "[bridge]", 0..=1, fdb_stats_clear);
    add("dpif/show", "", 0..=0, dpif_show);
    add("dpctl/show", "[-s] [dp...]", 0..=2, dpctl_show);
    add("dpctl/dump-dps", "", 0..=0, |switch, _| Ok(format!("{}\n", dp_name(switch)).into()));
    add("dpif/dump-dps", "", 0..=0, dump_bridges);
    add("dpif/show-dp-features", "bridge", 1..=1, features::show_dp_features);
    add("dpif-netlink/dispatch-mode", "", 0..=0, features::dispatch_mode);
    add("upcall/show", "", 0..=0, upcall_show);
    add("upcall/ports", "", 0..=0, upcall_ports);
    add("upcall/disable-megaflows", "", 0..=0, |switch, _| set_megaflows(switch, false));
    add("upcall/enable-megaflows", "", 0..=0, |switch, _| set_megaflows(switch, true));
    add("upcall/set-flow-limit", "flow-limit-number", 1..=1, set_flow_limit);
    add("revalidator/wait", "", 0..=0, |switch, _| {
        switch.udpif.changes.kick();
        Ok(().into())
    });
    add("revalidator/purge", "", 0..=0, |switch, _| {
        switch.udpif.changes.flush();
        Ok(().into())
    });
    add("flow/history", "[count]", 0..=1, flow_history);
    add("record/start", "file", 1..=1, record_start);
    add("record/stop", "", 0..=0, record_stop);

    let later = |name: &str, usage: &str, args, run: fn(&Job, &Call) -> Answer| {
        let current = current.clone();
        registry.register_deferred(name, usage, args, move |call, reply| {
            match &*current.borrow() {
                Some(switch) => Job::of(switch).run(call, reply, run),
                None => reply.error("the datapath is not there (see the log)"),
            }
        });
    };
    later("dpctl/dump-flows", "[-m] [--names | --no-names] [dp]", 0..=4, dump_flows);
    later("dpctl/del-flows", "[dp]", 0..=1, del_flows);
    later("dpif/dump-flows", "[-m] [--names | --no-names] bridge", 1..=4, bridge_dump_flows);
    later("flow/why", "ufid|terms", 1..=1, flow_why);
    later("flow/top", "[count]", 0..=1, flow_top);
}

/// What a command that runs on a thread of its own needs of the switch.
struct Job {
    datapath: Arc<dyn Datapath>,
    udpif: Arc<Udpif>,
}

impl Job {
    fn of(switch: &Switch) -> Self {
        Self { datapath: switch.datapath.clone(), udpif: switch.udpif.clone() }
    }

    fn run(self, call: Call, reply: Reply, run: fn(&Self, &Call) -> Answer) {
        let work = move || reply.send(run(&self, &call));
        let thread = std::thread::Builder::new().name("unixctl".to_owned()).spawn(work);
        if let Err(error) = thread {
            tracing::warn!(target: "unixctl", "cannot start a thread for a command: {error}");
        }
    }
}

fn dp_name(switch: &Switch) -> String {
    format!("system@{}", switch.datapath.name())
}

pub(super) fn bridge_named(switch: &Switch, call: &Call) -> Result<Arc<Bridge>, CommandError> {
    let snapshot = switch.udpif.snapshot.load();
    let name = call.arg(0).unwrap_or_default();
    snapshot.bridge_named(name).cloned().ok_or_else(|| error("no such bridge"))
}

fn chosen(switch: &Switch, call: &Call) -> Result<Vec<Arc<Bridge>>, CommandError> {
    match call.arg(0) {
        Some(_) => Ok(vec![bridge_named(switch, call)?]),
        None => Ok(switch.udpif.snapshot.load().bridges().to_vec()),
    }
}

fn fdb_show(switch: &Switch, call: Call) -> Answer {
    let bridge = bridge_named(switch, &call)?;
    let entries = bridge.fdb.entries(now_ms());
    let port = |id| {
        let port = bridge.bundle(id).and_then(|bundle| bundle.ports.first());
        port.map_or_else(|| "?".to_owned(), ToString::to_string)
    };
    if call.format == Format::Json {
        let rows = entries.iter().map(|entry| {
            json!({
                "port": port(entry.bundle),
                "vlan": entry.key.vlan,
                "mac": entry.key.mac.to_string(),
                "age": entry.age_ms / 1000,
            })
        });
        return Ok(Value::from_iter(rows).into());
    }
    let mut text = " port  VLAN  MAC                Age\n".to_owned();
    for entry in entries {
        let (port, age) = (port(entry.bundle), entry.age_ms / 1000);
        let _ = writeln!(text, "{port:>5}  {:>4}  {}  {age:>3}", entry.key.vlan, entry.key.mac);
    }
    Ok(text.into())
}

fn fdb_flush(switch: &Switch, call: Call) -> Answer {
    let mut changes = Vec::new();
    for bridge in chosen(switch, &call)? {
        bridge.fdb.flush(|_, _| true, |key| changes.push(Dep::Fdb(bridge.id, key)));
    }
    switch.udpif.changes.add(changes);
    switch.note_state();
    Ok("table successfully flushed\n".into())
}

fn fdb_stats_show(switch: &Switch, call: Call) -> Answer {
    let bridge = bridge_named(switch, &call)?;
    let stats = bridge.fdb.stats();
    if call.format == Format::Json {
        return Ok(json!({
            "entries": stats.entries, "max_entries": stats.max_entries, "static": 0,
            "learned": stats.learned, "expired": stats.expired, "evicted": stats.evicted,
            "moved": stats.moved,
        })
        .into());
    }
    Ok(format!(
        "Statistics for bridge \"{}\":\n  Current/maximum MAC entries in the table: {}/{}\n  \
         Current static MAC entries in the table : 0\n  \
         Total number of learned MAC entries     : {}\n  \
         Total number of expired MAC entries     : {}\n  \
         Total number of evicted MAC entries     : {}\n  \
         Total number of port moved MAC entries  : {}\n",
        bridge.name,
        stats.entries,
        stats.max_entries,
        stats.learned,
        stats.expired,
        stats.evicted,
        stats.moved
    )
    .into())
}

fn fdb_stats_clear(switch: &Switch, call: Call) -> Answer {
    chosen(switch, &call)?.iter().for_each(|bridge| bridge.fdb.clear_stats());
    Ok("statistics successfully cleared\n".into())
}

fn dump_bridges(switch: &Switch, _: Call) -> Answer {
    let snapshot = switch.udpif.snapshot.load();
    let mut names: Vec<&str> = snapshot.bridges().iter().map(|b| b.name.as_str()).collect();
    names.sort_unstable();
    Ok(names.iter().map(|name| format!("system@{name}\n")).collect::<String>().into())
}

fn dpif_show(switch: &Switch, call: Call) -> Answer {
    let stats = switch.datapath.stats()?;
    let snapshot = switch.udpif.snapshot.load();
    let kinds = switch.datapath.ports()?;
    let kind = |port: &Port| match &port.at {
        Attachment::Patch(patch) => format!("patch: peer={}", patch.peer),
        Attachment::Datapath(odp) => {
            let kind = kinds.iter().find(|port| port.odp == *odp).map(|port| port.kind);
            let is_internal = kind == Some(PortKind::Internal);
            if is_internal { "internal".to_owned() } else { "system".to_owned() }
        }
    };
    let mut bridges: Vec<&Arc<Bridge>> = snapshot.bridges().iter().collect();
    bridges.sort_by(|a, b| a.name.cmp(&b.name));
    if call.format == Format::Json {
        let bridges = bridges.iter().map(|bridge| {
            let ports = bridge.ports.iter().map(|port| {
                json!({"name": port.name, "ofport": port.ofp.0, "odp": port.odp().map(|odp| odp.0),
                       "type": kind(port)})
            });
            json!({"name": bridge.name, "ports": Value::from_iter(ports)})
        });
        return Ok(json!({
            "name": dp_name(switch), "hit": stats.hit, "missed": stats.missed,
            "bridges": Value::from_iter(bridges),
        })
        .into());
    }
    let mut text = format!("{}: hit:{} missed:{}\n", dp_name(switch), stats.hit, stats.missed);
    for bridge in bridges {
        let _ = writeln!(text, "  {}:", bridge.name);
        let mut ports: Vec<_> = bridge.ports.iter().collect();
        ports.sort_by(|a, b| a.name.cmp(&b.name));
        for port in ports {
            let odp = port.odp().map_or_else(|| "none".to_owned(), |odp| odp.to_string());
            let (ofp, kind) = (port.ofp.0, kind(port));
            let _ = writeln!(text, "    {} {}/{}: ({kind})", port.name, ofp, odp);
        }
    }
    Ok(text.into())
}

fn dpctl_show(switch: &Switch, call: Call) -> Answer {
    let stats = switch.datapath.stats()?;
    let ports = switch.datapath.ports()?;
    let with_counters = call.args.iter().any(|arg| arg == "-s" || arg == "--statistics");
    if call.format == Format::Json {
        let ports = ports.iter().map(|port| {
            json!({
                "port": port.odp.0, "name": port.name,
                "type": if port.kind == PortKind::Internal { "internal" } else { "system" },
                "rx_packets": port.stats.rx_packets, "tx_packets": port.stats.tx_packets,
                "rx_bytes": port.stats.rx_bytes, "tx_bytes": port.stats.tx_bytes,
                "rx_dropped": port.stats.rx_dropped, "tx_dropped": port.stats.tx_dropped,
            })
        });
        return Ok(json!({
            "name": dp_name(switch), "hit": stats.hit, "missed": stats.missed,
            "lost": stats.lost, "flows": stats.flows,
            "masks": stats.masks.map(|masks| masks.masks),
            "ports": Value::from_iter(ports),
        })
        .into());
    }
    let mut text = format!(
        "{}:\n  lookups: hit:{} missed:{} lost:{}\n  flows: {}\n",
        dp_name(switch),
        stats.hit,
        stats.missed,
        stats.lost,
        stats.flows
    );
    if let Some(masks) = stats.masks {
        let packets = stats.hit + stats.missed;
        let rate = |n: u64| if packets == 0 { 0.0 } else { n as f64 / packets as f64 };
        let _ = writeln!(
            text,
            "  masks: hit:{} total:{} hit/pkt:{:.2}",
            masks.hit,
            masks.masks,
            rate(masks.hit)
        );
        let hits = masks.cache_hit;
        if hits > 0 {
            let _ = writeln!(text, "  cache: hit:{hits} hit-rate:{:.2}%", rate(hits) * 100.0);
        }
    }
    for port in ports {
        let internal = if port.kind == PortKind::Internal { " (internal)" } else { "" };
        let _ = writeln!(text, "  port {}: {}{internal}", port.odp, port.name);
        if with_counters {
            let s = port.stats;
            let _ = writeln!(
                text,
                "    RX packets:{} errors:{} dropped:{} overruns:0 frame:0\n    \
                 TX packets:{} errors:{} dropped:{} aborted:0 carrier:0\n    collisions:0\n    \
                 RX bytes:{}  TX bytes:{}",
                s.rx_packets,
                s.rx_errors,
                s.rx_dropped,
                s.tx_packets,
                s.tx_errors,
                s.tx_dropped,
                s.rx_bytes,
                s.tx_bytes
            );
        }
    }
    Ok(text.into())
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
            "name": dp_name(switch), "flows": current, "max": max, "limit": limit,
            "dump_duration_ms": load(&rounds.dump_ms), "handlers": switch.handlers,
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
    Ok(format!(
        "{}:\n  flows         : (current {current}) (avg {}) (max {max}) (limit {limit})\n  \
         dump duration : {}ms\n  ufid enabled : true\n\n  1: (keys {current})\n",
        dp_name(switch),
        load(&rounds.flows),
        load(&rounds.dump_ms),
    )
    .into())
}

fn upcall_ports(switch: &Switch, call: Call) -> Answer {
    let ports = switch.datapath.ports()?;
    let totals = switch.udpif.ports.totals();
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

fn set_megaflows(switch: &Switch, on: bool) -> Answer {
    switch.udpif.settings.megaflows.store(on, Ordering::Relaxed);
    // Flows with the other kind of mask go; their packets come up again.
    switch.udpif.changes.flush();
    switch.note_state();
    Ok(if on { "megaflows enabled\n" } else { "megaflows disabled\n" }.into())
}

fn set_flow_limit(switch: &Switch, call: Call) -> Answer {
    let limit = call.arg(0).and_then(|arg| arg.parse().ok());
    let limit: usize = limit.ok_or_else(|| error("invalid flow limit"))?;
    switch.udpif.limit.set(limit);
    switch.note_state();
    Ok(format!("set flow_limit to {limit}\n").into())
}

fn record_start(switch: &Switch, call: Call) -> Answer {
    let file = call.arg(0).unwrap_or_default();
    let snapshot = switch.udpif.snapshot.load_full();
    switch.record(std::path::Path::new(file), &snapshot)?;
    tracing::info!(target: "record", "recording into {file}");
    Ok(().into())
}

fn record_stop(switch: &Switch, call: Call) -> Answer {
    let summary = switch.stop_recording()?;
    let Summary { bytes, items, left_out, full } = summary;
    tracing::info!(target: "record", "recording ended: {bytes} bytes");
    if call.format == Format::Json {
        return Ok(
            json!({"bytes": bytes, "items": items, "left_out": left_out, "full": full}).into()
        );
    }
    let mut text = format!("{bytes} bytes, {items} batches and answers");
    if left_out > 0 {
        let _ = write!(text, ", {left_out} left out because the disk was too slow");
    }
    if full {
        text.push_str(", ended at the size limit");
    }
    Ok((text + "\n").into())
}

fn flow_history(switch: &Switch, call: Call) -> Answer {
    let count = match call.arg(0) {
        Some(arg) => arg.parse().map_err(|_| error(format!("{arg}: not a number")))?,
        None => 20,
    };
    let names = port_names(&*switch.datapath)?;
    let now_ms = now_ms();
    let deletions = switch.udpif.history.last(count);
    let rows = deletions.iter().map(|deletion| {
        let flow = FlowText::of(&deletion.key, &deletion.mask, &deletion.actions, &names);
        (deletion, flow)
    });
    if call.format == Format::Json {
        let rows = rows.map(|(deletion, flow)| {
            json!({
                "ufid": deletion.ufid.to_string(), "flow": flow.key, "actions": flow.actions,
                "reason": deletion.reason.text(), "packets": deletion.packets,
                "ago_ms": now_ms.saturating_sub(deletion.at_ms),
                "lived_ms": deletion.at_ms.saturating_sub(deletion.created_ms),
            })
        });
        return Ok(Value::from_iter(rows).into());
    }
    let mut text = String::new();
    for (deletion, flow) in rows {
        let _ = writeln!(
            text,
            "{:.3}s ago, after {:.3}s and {} packets: {}\n  {}, actions:{}",
            now_ms.saturating_sub(deletion.at_ms) as f64 / 1000.0,
            deletion.at_ms.saturating_sub(deletion.created_ms) as f64 / 1000.0,
            deletion.packets,
            deletion.reason.text(),
            flow.key,
            flow.actions,
        );
    }
    if text.is_empty() {
        text.push_str("no flow has been deleted yet\n");
    }
    Ok(text.into())
}

fn dump_flows(job: &Job, call: &Call) -> Answer {
    dump(job, call, None)
}

fn bridge_dump_flows(job: &Job, call: &Call) -> Answer {
    let name = call.args.iter().find(|arg| !arg.starts_with('-'));
    let snapshot = job.udpif.snapshot.load_full();
    let bridge = name.and_then(|name| snapshot.bridge_named(name).cloned());
    dump(job, call, Some(bridge.ok_or_else(|| error("no such bridge"))?))
}

fn dump(job: &Job, call: &Call, only: Option<Arc<Bridge>>) -> Answer {
    let flag = |names: &[&str]| call.args.iter().any(|arg| names.contains(&arg.as_str()));
    let verbose = flag(&["-m", "--more"]);
    let by_name = flag(&["--names"]) || (verbose && !flag(&["--no-names"]));
    let names = if by_name { Some(port_names(&*job.datapath)?) } else { None };
    let style = Style { names: names.as_ref(), verbose };
    let now_ms = now_ms();
    let mut rows = Vec::new();
    let mut text = String::new();
    job.datapath.flow_dump(DumpDetail::Full, &mut |flow| {
        let of_bridge = only.as_ref().is_none_or(|bridge| {
            OdpKey(flow.key.unwrap_or_default())
                .in_port()
                .map(OdpPort)
                .is_some_and(|odp| bridge.ports.iter().any(|port| port.odp() == Some(odp)))
        });
        if !of_bridge {
            return;
        }
        if call.format == Format::Json {
            rows.push(dump_json(flow, style, now_ms));
        } else {
            let _ = writeln!(text, "{}", dump_line(flow, style, now_ms));
        }
    })?;
    Ok(if call.format == Format::Json { Value::Array(rows).into() } else { text.into() })
}

fn del_flows(job: &Job, _: &Call) -> Answer {
    job.datapath.flow_flush()?;
    job.udpif.changes.kick();
    Ok(().into())
}

/// One flow and all that it rests on.
struct Why {
    ufid: Ufid,
    flow: FlowText,
    made_by: String,
    age_ms: u64,
    idle_ms: u64,
    packets: u64,
    bytes: u64,
    story: Vec<String>,
    rests_on: Vec<String>,
    verdict: String,
}

fn flow_why(job: &Job, call: &Call) -> Answer {
    let asked = call.arg(0).unwrap_or_default();
    let names = port_names(&*job.datapath)?;
    let snapshot = job.udpif.snapshot.load_full();
    let now_ms = now_ms();
    let mut found = Vec::new();
    let mut scratch = Scratch::default();
    for shard in job.udpif.ukeys.shards() {
        for ukey in shard.iter() {
            let flow = FlowText::of(ukey.key(), ukey.mask(), ukey.actions(), &names);
            let name = ukey.ufid.to_string();
            let hit = name == asked
                || name.trim_start_matches("ufid:") == asked
                || asked.split_whitespace().all(|term| flow.key.contains(term));
            if !hit || found.len() >= WHY_MAX {
                continue;
            }
            let verdict = retranslate_traced(
                ukey.key(),
                ukey.mask(),
                ukey.actions(),
                &snapshot,
                &job.udpif.target.support,
                now_ms,
                &mut scratch,
            );
            let mut story = scratch.out.trace.clone().unwrap_or_default();
            if let Some(drop) = scratch.out.drop {
                story.push(format!("dropped: {}", drop.text()));
            }
            let made_by = if ukey.adopted {
                "an earlier run; adopted".to_owned()
            } else {
                Trigger::of(&scratch.flow).to_string()
            };
            found.push(Why {
                ufid: ukey.ufid,
                flow,
                made_by,
                age_ms: now_ms.saturating_sub(ukey.created_ms),
                idle_ms: now_ms.saturating_sub(ukey.last_use_ms()),
                packets: ukey.stats.packets,
                bytes: ukey.stats.bytes,
                story,
                rests_on: scratch.out.deps.iter().map(|dep| dep_text(*dep, &snapshot)).collect(),
                verdict: format!("{verdict:?}").to_lowercase(),
            });
        }
    }
    if found.is_empty() {
        return Err(error(format!("no installed flow is {asked:?} or has all of these words")));
    }
    Ok(if call.format == Format::Json {
        Value::from_iter(found.iter().map(why_json)).into()
    } else {
        found.iter().map(why_text).collect::<Vec<_>>().join("\n").into()
    })
}

/// Flows that one answer explains.
const WHY_MAX: usize = 100;

fn why_json(why: &Why) -> Value {
    json!({
        "ufid": why.ufid.to_string(), "flow": why.flow.key, "actions": why.flow.actions,
        "made_by": why.made_by, "age_ms": why.age_ms, "idle_ms": why.idle_ms,
        "packets": why.packets, "bytes": why.bytes, "story": why.story,
        "rests_on": why.rests_on, "if_translated_now": why.verdict,
    })
}

fn why_text(why: &Why) -> String {
    let mut text = format!(
        "{}\n  flow     {}\n  actions  {}\n  made     {:.3}s ago by {}\n  traffic  {} packets, {} \
         bytes, idle {:.3}s\n",
        why.ufid,
        why.flow.key,
        why.flow.actions,
        why.age_ms as f64 / 1000.0,
        why.made_by,
        why.packets,
        why.bytes,
        why.idle_ms as f64 / 1000.0,
    );
    for (i, line) in why.story.iter().enumerate() {
        let head = if i == 0 { "because" } else { "" };
        let _ = writeln!(text, "  {head:<8} {line}");
    }
    for (i, line) in why.rests_on.iter().enumerate() {
        let head = if i == 0 { "rests on" } else { "" };
        let _ = writeln!(text, "  {head:<8} {line}");
    }
    let _ = writeln!(text, "  today    {}", why.verdict);
    text
}

/// What a flow rests on, for people.
fn dep_text(dep: Dep, snapshot: &Snapshot) -> String {
    let bridge = |id| snapshot.bridge(id).map_or("?", |bridge| bridge.name.as_str());
    let bundle = |id, bundle| {
        let bundle = snapshot.bridge(id).and_then(|bridge| bridge.bundle(bundle));
        bundle.map_or("?", |bundle| bundle.name.as_str())
    };
    match dep {
        Dep::OdpPort(odp) => match snapshot.port(odp) {
            Some((bridge, port)) => {
                format!("datapath port {odp} is {} of bridge {}", port.name, bridge.name)
            }
            None => format!("datapath port {odp} belongs to no bridge"),
        },
        Dep::Bridge(id) => format!("settings of bridge {}", bridge(id)),
        Dep::Bundle(id, b) => format!("VLAN settings of port {}", bundle(id, b)),
        Dep::Flood(id, vlan) => format!("which ports of {} carry VLAN {vlan}", bridge(id)),
        Dep::FloodAny(id) => format!("which ports bridge {} has", bridge(id)),
        Dep::Fdb(id, key) => {
            let place = snapshot.bridge(id).and_then(|bridge| {
                let bundle = bridge.fdb.lookup(key, now_ms())?;
                bridge.bundle(bundle).map(|bundle| bundle.name.clone())
            });
            let place = place.map_or("is unknown".to_owned(), |name| format!("is behind {name}"));
            format!("FDB entry: {} in VLAN {} {place}", key.mac, key.vlan)
        }
        Dep::Patch(id, port) => match snapshot.patch_peer(id, port) {
            Some((bridge, peer)) => format!("the patch leads to {} of {}", peer.name, bridge.name),
            None => "the patch has no other end".to_owned(),
        },
        Dep::Rule(id, rule) => format!("rule {} of bridge {}", rule.0, bridge(id)),
        Dep::Table(id, table) => format!("table {} of bridge {}", table.0, bridge(id)),
    }
}

/// Ports with their counters and the heaviest flows, in one answer, for a live view.
fn flow_top(job: &Job, call: &Call) -> Answer {
    let count = call.arg(0).and_then(|arg| arg.parse().ok()).unwrap_or(20usize);
    let names = port_names(&*job.datapath)?;
    let ports = job.datapath.ports()?;
    let upcalls = job.udpif.ports.totals();
    let mut flows: Vec<(u64, u64, Ufid)> = Vec::new();
    for shard in job.udpif.ukeys.shards() {
        flows.extend(shard.iter().map(|ukey| (ukey.stats.bytes, ukey.stats.packets, ukey.ufid)));
    }
    let total = flows.len();
    flows.sort_unstable_by_key(|flow| std::cmp::Reverse((flow.0, flow.1)));
    flows.truncate(count);
    let flows = flows.iter().filter_map(|(bytes, packets, ufid)| {
        let shard = job.udpif.ukeys.shard(ufid);
        let ukey = shard.get(ufid)?;
        let text = FlowText::of(ukey.key(), ukey.mask(), ukey.actions(), &names);
        Some(json!({"ufid": ufid.to_string(), "flow": text.key, "actions": text.actions,
                    "packets": packets, "bytes": bytes}))
    });
    let flows = Value::from_iter(flows);
    let ports = ports.iter().map(|port| {
        let upcalls = upcalls.iter().find(|totals| totals.port == port.odp);
        json!({
            "port": port.odp.0, "name": port.name,
            "rx_packets": port.stats.rx_packets, "tx_packets": port.stats.tx_packets,
            "rx_bytes": port.stats.rx_bytes, "tx_bytes": port.stats.tx_bytes,
            "upcalls": upcalls.map_or(0, |t| t.asked),
            "dropped": upcalls.map_or(0, |t| t.dropped),
            "lost": port.upcall_stats.map_or(0, |stats| stats.fail),
        })
    });
    let stats = job.datapath.stats()?;
    Ok(json!({
        "at_ms": now_ms(), "hit": stats.hit, "missed": stats.missed, "lost": stats.lost,
        "flows": total, "ports": Value::from_iter(ports), "heaviest": flows,
    })
    .into())
}
