//! `ofproto/list`: which bridges there are. Control thread.

use serde_json::Value;

use super::{Answer, Commands, bridges_by_name};
use crate::bridge::switch::Switch;
use crate::unixctl::{Call, Format};

pub(super) fn register(commands: &Commands<'_>) {
    commands.any("ofproto/list", "", 0..=0, list);
}

fn list(switch: Option<&Switch>, call: Call) -> Answer {
    let bridges = switch.map(|switch| bridges_by_name(&switch.udpif)).unwrap_or_default();
    if call.format == Format::Json {
        return Ok(Value::from_iter(bridges.iter().map(|bridge| bridge.name.as_str())).into());
    }
    Ok(bridges.iter().map(|bridge| format!("{}\n", bridge.name)).collect::<String>().into())
}
