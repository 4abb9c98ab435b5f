//! `fdb/*`: the addresses that bridges have learned, or were told. Control thread; what goes through all
//! addresses, of which there may be a million, is done on threads of its own.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{
    Answer, Commands, bridge_named, bridges_by_name, error, leading_number, no_such_bridge, spawn,
};
use crate::bridge::switch::{Served, Switch};
use crate::flow::EthAddr;
use crate::l2::fdb::{BundleId, FdbEntry, FdbKey};
use crate::ofproto::OfPort;
use crate::snapshot::{Bridge, Dep};
use crate::unixctl::{Call, CommandError, Format};
use crate::upcall::{Udpif, now_ms};

pub(super) fn register(commands: &Commands<'_>) {
    commands.of_bridge("fdb/add", "bridge port vlan mac", 4..=4, add);
    commands.of_bridge("fdb/del", "bridge vlan mac", 3..=3, del);
    let current = commands.current.clone();
    commands.registry.register_deferred("fdb/flush", "[bridge]", 0..=1, move |call, reply| {
        let served = current.borrow().as_ref().map(Switch::served);
        spawn(move || reply.send(flush(served.as_ref(), &call)));
    });
    let usage = "[bridge...]";
    commands.later_any("fdb/show", usage, 0..=usize::MAX, |backer, call| {
        show(backer.as_ref().map(|backer| &*backer.udpif), call)
    });
    commands.any("fdb/stats-clear", "[bridge]", 0..=1, stats_clear);
    commands.of_bridge("fdb/stats-show", "bridge", 1..=1, stats_show);
}

/// The bridges that the arguments name; all without arguments.
fn chosen(udpif: Option<&Udpif>, call: &Call) -> Result<Vec<Arc<Bridge>>, CommandError> {
    let Some(udpif) = udpif else {
        return if call.args.is_empty() { Ok(Vec::new()) } else { Err(no_such_bridge()) };
    };
    if call.args.is_empty() {
        return Ok(bridges_by_name(udpif));
    }
    let snapshot = udpif.snapshot.load();
    let named = |name: &String| snapshot.bridge_named(name).cloned().ok_or_else(no_such_bridge);
    call.args.iter().map(named).collect()
}

/// The number of the port behind which a bundle's addresses are said to be.
fn port_of(bridge: &Bridge, bundle: BundleId) -> Option<OfPort> {
    bridge.bundle(bundle).and_then(|bundle| bundle.ports.first()).copied()
}

fn port_text(bridge: &Bridge, bundle: BundleId) -> String {
    port_of(bridge, bundle).map_or_else(|| "?".to_owned(), |port| port.to_string())
}

fn show(udpif: Option<&Udpif>, call: &Call) -> Answer {
    let bridges = chosen(udpif, call)?;
    let now_ms = now_ms();
    if call.format == Format::Json {
        let entries = |bridge: &Arc<Bridge>| {
            let entries = bridge.fdb.entries(now_ms);
            let rows = Value::from_iter(entries.iter().map(|entry| entry_json(bridge, entry)));
            (bridge.name.clone(), rows)
        };
        return Ok(Value::Object(bridges.iter().map(entries).collect::<Map<_, _>>()).into());
    }
    // One bridge is shown as always; several have a column more.
    let longest = bridges.iter().map(|bridge| bridge.name.len()).max().unwrap_or(0);
    let width = if bridges.len() > 1 { longest.max("Bridge".len()) + 1 } else { 0 };
    let column = |name: &str| match width {
        0 => String::new(),
        width => format!(" {name:<width$}"),
    };
    let mut text = column("Bridge") + " port  VLAN  MAC                Age\n";
    for bridge in &bridges {
        let entries = bridge.fdb.entries(now_ms);
        if entries.is_empty() && width > 0 {
            let _ = writeln!(text, " {}", bridge.name);
        }
        for (i, entry) in entries.iter().enumerate() {
            let name = if i == 0 { bridge.name.as_str() } else { "" };
            let port = port_text(bridge, entry.bundle);
            let FdbKey { vlan, mac } = entry.key;
            let _ = write!(text, "{}{port:>5}  {vlan:>4}  {mac}  ", column(name));
            let _ = match entry.is_static {
                true => writeln!(text, "static"),
                false => writeln!(text, "{:>3}", entry.age_ms / 1000),
            };
        }
    }
    Ok(text.into())
}

fn entry_json(bridge: &Bridge, entry: &FdbEntry) -> Value {
    let port = port_of(bridge, entry.bundle).map(|port| port.0);
    let FdbKey { vlan, mac } = entry.key;
    let mut row = json!({"port": port, "vlan": vlan, "mac": mac.to_string()});
    match entry.is_static {
        true => row["static"] = true.into(),
        false => row["age"] = (entry.age_ms / 1000).into(),
    }
    row
}

/// The VLAN and address of two arguments. A VLAN is read as atoi(3) reads it and cut to 16 bits, as
/// the peer does.
fn key_of(vlan: Option<&str>, mac: Option<&str>) -> Result<FdbKey, CommandError> {
    let mac = mac
        .and_then(|mac: &str| mac.parse::<EthAddr>().ok())
        .ok_or_else(|| error("bad MAC address"))?;
    Ok(FdbKey { vlan: leading_number(vlan.unwrap_or_default()) as u16, mac })
}

fn add(switch: &Switch, call: Call) -> Answer {
    let bridge = bridge_named(switch, &call)?;
    let name = call.arg(1).unwrap_or_default();
    let key = key_of(call.arg(2), call.arg(3))?;
    let port = bridge.ports.iter().find(|port| port.name == name);
    let port = port.ok_or_else(|| error("software error, odp port is present but no ofp port"))?;
    let now_ms = now_ms();
    let mut text = String::new();
    if let Some(old) = bridge.fdb.entry(key, now_ms)
        && (old.bundle != port.bundle || !old.is_static)
    {
        let kind = if old.is_static { "static" } else { "dynamic" };
        let place = port_text(&bridge, old.bundle);
        let _ = writeln!(text, "Overriding already existing {kind} entry on {place}");
    }
    if !bridge.fdb.add_static(key, port.bundle, now_ms) {
        return Err(error("could not add static mac entry\n"));
    }
    note(switch, [Dep::Fdb(bridge.id, key)]);
    Ok(text.into())
}

fn del(switch: &Switch, call: Call) -> Answer {
    let bridge = bridge_named(switch, &call)?;
    let key = key_of(call.arg(1), call.arg(2))?;
    if !bridge.fdb.remove_static(key) {
        return Err(error("could not find static mac entry\n"));
    }
    note(switch, [Dep::Fdb(bridge.id, key)]);
    Ok(().into())
}

/// Has flows that rest on these addresses looked at again.
fn note(switch: &Switch, changes: impl IntoIterator<Item = Dep>) {
    switch.udpif.changes.add(changes);
    switch.note_state();
}

fn flush(served: Option<&Served>, call: &Call) -> Answer {
    let mut changes = Vec::new();
    for bridge in chosen(served.map(|served| &*served.udpif), call)? {
        bridge.fdb.flush_learned(|key| changes.push(Dep::Fdb(bridge.id, key)));
    }
    if let Some(served) = served {
        served.udpif.changes.add(changes);
        served.tell_recording();
    }
    Ok("table successfully flushed\n".into())
}

fn stats_show(switch: &Switch, call: Call) -> Answer {
    let bridge = bridge_named(switch, &call)?;
    let stats = bridge.fdb.stats();
    if call.format == Format::Json {
        return Ok(json!({
            "entries": stats.entries, "max_entries": stats.max_entries,
            "static": stats.static_entries, "learned": stats.learned,
            "expired": stats.expired, "evicted": stats.evicted, "moved": stats.moved,
        })
        .into());
    }
    Ok(format!(
        "Statistics for bridge \"{}\":\n  Current/maximum MAC entries in the table: {}/{}\n  \
         Current static MAC entries in the table : {}\n  \
         Total number of learned MAC entries     : {}\n  \
         Total number of expired MAC entries     : {}\n  \
         Total number of evicted MAC entries     : {}\n  \
         Total number of port moved MAC entries  : {}\n",
        bridge.name,
        stats.entries,
        stats.max_entries,
        stats.static_entries,
        stats.learned,
        stats.expired,
        stats.evicted,
        stats.moved
    )
    .into())
}

fn stats_clear(switch: Option<&Switch>, call: Call) -> Answer {
    chosen(switch.map(|switch| &*switch.udpif), &call)?
        .iter()
        .for_each(|bridge| bridge.fdb.clear_stats());
    Ok("statistics successfully cleared\n".into())
}
