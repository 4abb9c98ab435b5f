//! `flow/*`: why a flow is there, why flows went, which are the heaviest. Not the peer's.
//!
//! On threads of their own.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Answer, Backer, Commands, error};
use crate::bridge::text::{FlowText, port_names};
use crate::odp::ufid::Ufid;
use crate::revalidate::decide::{Scratch, retranslate_traced};
use crate::snapshot::{Dep, Snapshot};
use crate::unixctl::{Call, Format};
use crate::upcall::now_ms;
use crate::upcall::trigger::Trigger;

pub(super) fn register(commands: &Commands<'_>) {
    commands.later("flow/history", "[count]", 0..=1, flow_history);
    commands.later("flow/why", "ufid|terms", 1..=1, flow_why);
    commands.later("flow/top", "[count]", 0..=1, flow_top);
}

fn flow_history(backer: &Backer, call: &Call) -> Answer {
    let count = match call.arg(0) {
        Some(arg) => arg.parse().map_err(|_| error(format!("{arg}: not a number")))?,
        None => 20,
    };
    let names = port_names(&*backer.datapath)?;
    let now_ms = now_ms();
    let deletions = backer.udpif.history.last(count);
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

fn flow_why(job: &Backer, call: &Call) -> Answer {
    let asked = call.arg(0).unwrap_or_default();
    let names = port_names(&*job.datapath)?;
    let snapshot = job.udpif.snapshot.load_full();
    let now_ms = now_ms();
    let mut found = Vec::new();
    let mut scratch = Scratch::default();
    for shard in job.udpif.ukeys.shards() {
        for ukey in shard.iter() {
            let flow =
                FlowText::of(ukey.key(), ukey.mask().unwrap_or_default(), ukey.actions(), &names);
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
fn flow_top(job: &Backer, call: &Call) -> Answer {
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
        let text =
            FlowText::of(ukey.key(), ukey.mask().unwrap_or_default(), ukey.actions(), &names);
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
