//! `dpif/*` and `dpif-netlink/*`: the bridges' datapath. What asks the kernel runs on threads.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Answer, Backer, Commands, bridges_by_name, error, no_such_bridge};
use crate::bridge::features;
use crate::bridge::switch::Switch;
use crate::bridge::text::{Layout, dump_json, dump_line, port_names};
use crate::datapath::{Datapath, DumpDetail, OdpPort, PortInfo};
use crate::odp::format::Style;
use crate::odp::key::OdpKey;
use crate::snapshot::{Bridge, Port};
use crate::strerror::strerror;
use crate::unixctl::{Call, Format};
use crate::upcall::now_ms;

pub(super) fn register(commands: &Commands<'_>) {
    commands.any("dpif/dump-dps", "", 0..=0, dump_dps);
    commands.later_any("dpif/show", "", 0..=0, |backer, call| match backer {
        Some(backer) => show(&backer, call),
        None if call.format == Format::Json => Ok(json!({}).into()),
        None => Ok(().into()),
    });
    let usage = "[-m] [--names | --no-names] bridge";
    commands.later_any("dpif/dump-flows", usage, 1..=usize::MAX, |backer, call| match backer {
        Some(backer) => dump_flows(&backer, call),
        None => Err(no_such_bridge()),
    });
    commands.of_bridge("dpif/show-dp-features", "bridge", 1..=1, features::show_dp_features);
    commands.of_bridge("dpif/set-dp-features", "bridge", 1..=3, features::set_dp_features);
    commands.any("dpif-netlink/dispatch-mode", "", 0..=0, |switch, call| match switch {
        Some(switch) => features::dispatch_mode(switch, call),
        None => Ok(().into()),
    });
}

fn dump_dps(switch: Option<&Switch>, call: Call) -> Answer {
    let bridges = switch.map(|switch| bridges_by_name(&switch.udpif)).unwrap_or_default();
    let kind = switch.map_or("", |switch| switch.datapath.type_name());
    let names = bridges.iter().map(|bridge| format!("{kind}@{}", bridge.name));
    if call.format == Format::Json {
        return Ok(Value::from_iter(names).into());
    }
    Ok(names.map(|name| name + "\n").collect::<String>().into())
}

fn show(backer: &Backer, call: &Call) -> Answer {
    let stats = backer.datapath.stats()?;
    let infos = backer.datapath.ports()?;
    let bridges = bridges_by_name(&backer.udpif);
    if call.format == Format::Json {
        // Numbers as strings: the peer's shape, which its users parse.
        let bridges = bridges.iter().map(|bridge| {
            let ports = by_name(bridge).into_iter();
            let ports =
                ports.map(|port| (port.name.clone(), port_json(port, &*backer.datapath, &infos)));
            (bridge.name.clone(), Value::Object(ports.collect()))
        });
        let bridges = Value::Object(bridges.collect::<Map<_, _>>());
        let stats = json!({"hit": stats.hit.to_string(), "missed": stats.missed.to_string()});
        return Ok(json!({backer.name(): {"stats": stats, "bridges": bridges}}).into());
    }
    let mut text = format!("{}: hit:{} missed:{}\n", backer.name(), stats.hit, stats.missed);
    for bridge in bridges {
        let _ = writeln!(text, "  {}:", bridge.name);
        for port in by_name(&bridge) {
            let (number, kind) = attachment(port, &*backer.datapath, &infos);
            let config = port.patch().map(|patch| format!(": peer={}", patch.peer));
            let config = config.unwrap_or_default();
            let _ = writeln!(text, "    {} {}/{number}: ({kind}{config})", port.name, port.ofp.0);
        }
    }
    Ok(text.into())
}

fn by_name(bridge: &Bridge) -> Vec<&Port> {
    let mut ports: Vec<&Port> = bridge.ports.iter().collect();
    ports.sort_by(|a, b| a.name.cmp(&b.name));
    ports
}

/// A port's number in the datapath and its type.
fn attachment(
    port: &Port,
    datapath: &dyn Datapath,
    infos: &[PortInfo],
) -> (String, Cow<'static, str>) {
    let Some(odp) = port.odp() else { return ("none".to_owned(), Cow::Borrowed("patch")) };
    let info = infos.iter().find(|info| info.odp == odp);
    let kind = info.map_or(Cow::Borrowed("system"), |info| datapath.port_type(info));
    (odp.to_string(), kind)
}

fn port_json(port: &Port, datapath: &dyn Datapath, infos: &[PortInfo]) -> Value {
    let (number, kind) = attachment(port, datapath, infos);
    let mut row = json!({"ofport": port.ofp.0.to_string(), "port_no": number, "type": kind});
    if let Some(patch) = port.patch() {
        row["config"] = json!({"peer": patch.peer});
    }
    row
}

fn dump_flows(backer: &Backer, call: &Call) -> Answer {
    let (bridge, options) = call.args.split_last().ok_or_else(no_such_bridge)?;
    let snapshot = backer.udpif.snapshot.load_full();
    let bridge: Arc<Bridge> = snapshot.bridge_named(bridge).cloned().ok_or_else(no_such_bridge)?;
    let verbose = options.iter().any(|option| option == "-m");
    // The last word on names counts; an option that is none is passed over, as by the peer.
    let names = options.iter().rev().find_map(|option| match option.as_str() {
        "--names" => Some(true),
        "--no-names" => Some(false),
        _ => None,
    });
    let names = names.unwrap_or(verbose).then(|| port_names(&*backer.datapath)).transpose()?;
    let style = Style { names: names.as_ref(), verbose };
    let now_ms = now_ms();
    let mut rows = Vec::new();
    let mut text = String::new();
    let dumped = backer.datapath.flow_dump(DumpDetail::Full, &mut |flow| {
        let in_port = OdpKey(flow.key.unwrap_or_default()).in_port().map(OdpPort);
        if in_port.and_then(|odp| snapshot.port(odp)).is_none_or(|(of, _)| of.id != bridge.id) {
            return;
        }
        match call.format {
            Format::Json => rows.push(dump_json(flow, style, now_ms)),
            Format::Text => {
                let _ = writeln!(text, "{}", dump_line(flow, style, now_ms, Layout::Dpif));
            }
        }
    });
    if let Err(failure) = dumped {
        let reason = strerror(&std::io::Error::from_raw_os_error(failure.errno));
        return Err(error(format!("dpif/dump_flows failed: {reason}")));
    }
    Ok(if call.format == Format::Json { Value::Array(rows).into() } else { text.into() })
}
