//! `record/*`: what the handlers read and answer, into a file. Not the peer's.
//!
//! Control thread; the end waits for the disk, and does so on a thread of its own.

use std::fmt::Write as _;

use serde_json::json;

use super::{Answer, Commands, no_datapath, spawn};
use crate::bridge::switch::{Served, Switch};
use crate::datapath::record::Summary;
use crate::unixctl::{Call, Format};

pub(super) fn register(commands: &Commands<'_>) {
    commands.now("record/start", "file", 1..=1, record_start);
    let current = commands.current.clone();
    commands.registry.register_deferred("record/stop", "", 0..=0, move |call, reply| {
        let served = current.borrow().as_ref().map(Switch::served);
        spawn(move || {
            reply.send(served.ok_or_else(no_datapath).and_then(|s| record_stop(&s, &call)))
        });
    });
}

fn record_start(switch: &Switch, call: Call) -> Answer {
    let file = call.arg(0).unwrap_or_default();
    let snapshot = switch.udpif.snapshot.load_full();
    switch.record(std::path::Path::new(file), &snapshot)?;
    tracing::info!(target: "record", "recording into {file}");
    Ok(().into())
}

fn record_stop(served: &Served, call: &Call) -> Answer {
    let summary = served.stop_recording()?;
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
