//! `rovs why`, `rovs history`, `rovs flows`.

use std::fmt::Write as _;

use clap::Args;
use serde::Deserialize;

use super::control::Control;
use super::{Failure, Format, print};

/// `rovs why`.
#[derive(Debug, Args)]
pub(super) struct Why {
    /// A flow's UFID, or words that its key contains, such as `in_port(veth0)` or `10.0.0.2`.
    #[arg(required = true, value_name = "UFID|TERM")]
    terms: Vec<String>,
    #[command(flatten)]
    format: Format,
}

/// `rovs history`.
#[derive(Debug, Args)]
pub(super) struct History {
    /// How many.
    #[arg(default_value_t = 20)]
    count: usize,
    #[command(flatten)]
    format: Format,
}

impl Why {
    pub(super) fn run(&self, target: &str) -> Result<(), Failure> {
        answer(target, self.format.json, "flow/why", &[&self.terms.join(" ")])
    }
}

impl History {
    pub(super) fn run(&self, target: &str) -> Result<(), Failure> {
        answer(target, self.format.json, "flow/history", &[&self.count.to_string()])
    }
}

/// Shows what the daemon says, as it says it.
fn answer(target: &str, json: bool, command: &str, args: &[&str]) -> Result<(), Failure> {
    let mut control = Control::connect(target)?;
    if json {
        print(&format!("{:#}\n", control.json(command, args)?))
    } else {
        print(&control.text(command, args)?)
    }
}

/// A flow of `dpctl/dump-flows`.
#[derive(Debug, Deserialize)]
struct Flow {
    ufid: Option<String>,
    flow: String,
    actions: String,
    packets: u64,
    bytes: u64,
    used_ms_ago: Option<u64>,
}

/// `rovs flows`.
pub(super) fn list(target: &str, json: bool) -> Result<(), Failure> {
    let mut control = Control::connect(target)?;
    let answer = control.json("dpctl/dump-flows", &["--names"])?;
    if json {
        return print(&format!("{answer:#}\n"));
    }
    let flows: Vec<Flow> = serde_json::from_value(answer)
        .map_err(|source| Failure::Answer { command: "dpctl/dump-flows".to_owned(), source })?;
    let mut text = String::new();
    for flow in &flows {
        line(flow, &mut text);
    }
    print(&text)
}

/// One line in the shape of `ovs-dpctl dump-flows -m`.
fn line(flow: &Flow, text: &mut String) {
    // Writing to a String cannot fail.
    if let Some(ufid) = &flow.ufid {
        let _ = write!(text, "{ufid}, ");
    }
    let _ = write!(text, "{}, packets:{}, bytes:{}, used:", flow.flow, flow.packets, flow.bytes);
    match flow.used_ms_ago {
        Some(ms) => {
            let _ = write!(text, "{}.{:03}s", ms / 1000, ms % 1000);
        }
        None => text.push_str("never"),
    }
    let _ = writeln!(text, ", actions:{}", flow.actions);
}
