//! `dpctl/dump-flows`, `get-flow`, `add-flow`, `mod-flow`, `del-flow` and their kin that read files:
//! the datapath's flows, shown and changed by hand.
//!
//! A flow that is put here lives as long as the revalidator agrees with it.

use serde_json::Value;

use super::{Asked, Datapaths, Failed, Opened, Said};
use crate::bridge::text::{Layout, dump_json, dump_line, port_names, stats_text};
use crate::datapath::{DpErrorKind, DumpDetail, FlowOp, FlowTotals};
use crate::flow::matching::Match;
use crate::flow::parse::MatchTextError;
use crate::flow::port::{OfPort, PortNames as OfPortNames};
use crate::flow::{FLOW_MAX_VLAN_HEADERS, Flow, FlowWildcards};
use crate::odp::action::OdpActions;
use crate::odp::format::{PortNames, Style};
use crate::odp::key::OdpKey;
use crate::odp::mask::mask_to_wildcards;
use crate::odp::parse::{parse_actions, parse_key};
use crate::odp::ufid::Ufid;
use crate::upcall::now_ms;

/// Longest file of flows that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;

pub(super) fn dump_flows(
    datapaths: &Datapaths,
    asked: &Asked,
    said: &mut Said,
) -> Result<(), Failed> {
    let (mut filter, mut types) = (None, None);
    let mut args = asked.args.as_slice();
    while let Some((last, rest)) = args.split_last() {
        match last.split_once('=') {
            Some(("filter", text)) if filter.is_none() => filter = Some(text),
            Some(("type", text)) if types.is_none() => types = Some(text),
            // The kernel has no such threads: it is read and means nothing.
            Some(("pmd", text)) if text.parse::<i32>().is_ok() => {}
            Some(("pmd", _)) => return Err(Failed),
            _ => break,
        }
        args = rest;
    }
    let shorter = Asked { args: args.to_vec(), ..Asked::default() };
    let opened = datapaths.open_optional(&shorter, 1, said)?;
    let names = if asked.names { Some(port_names(&*opened.datapath)) } else { None };
    let names = names.transpose().map_err(|error| said.complain_error(&error, "listing ports"))?;
    let filter = filter.map(|text| Filter::parse(text, &opened)).transpose();
    let filter =
        filter.map_err(|text| said.complain(format_args!("Failed to parse filter ({text})")))?;
    let shown = wants_kernel_flows(types, said)?;
    let style = Style { names: names.as_ref(), verbose: asked.verbose };
    let now_ms = now_ms();
    let mut rows = Vec::new();
    let mut head = opened.datapath.flows_of();
    let dumped = opened.datapath.flow_dump(DumpDetail::Full, &mut |flow| {
        let key = flow.key.unwrap_or_default();
        if !shown || filter.as_ref().is_some_and(|filter| !filter.passes(key, flow.mask)) {
            return;
        }
        if asked.json {
            rows.push(dump_json(flow, style, now_ms));
        } else {
            if let Some(thread) = head.take() {
                said.line(format_args!("flow-dump from the {thread}:"));
            }
            said.line(dump_line(flow, style, now_ms, Layout::Dpctl));
        }
    });
    said.json = asked.json.then_some(Value::Array(rows));
    let what = "Failed to dump flows from datapath";
    dumped.map_err(|error| said.complain_error(&error, what))
}

/// Whether flows of the kernel's own table, the only ones there are, are among the types asked for.
fn wants_kernel_flows(types: Option<&str>, said: &mut Said) -> Result<bool, Failed> {
    let Some(types) = types else { return Ok(true) };
    let mut wanted = false;
    for kind in types.split(',').filter(|kind| !kind.is_empty()) {
        match kind {
            "ovs" | "non-offloaded" | "all" => wanted = true,
            "tc" | "dpdk" | "offloaded" | "partially-offloaded" => {}
            _ => {
                let what = format!("Failed to parse type ({kind})");
                return Err(said.complain_errno(libc::EINVAL, what));
            }
        }
    }
    Ok(wanted)
}

/// Which flows are shown: those that some packet of the filter's could hit.
struct Filter(Match);

impl Filter {
    fn parse(text: &str, opened: &Opened) -> Result<Self, String> {
        let mut ports = OfPortNames::default();
        for port in opened.datapath.ports().unwrap_or_default() {
            if let Ok(number) = u16::try_from(port.odp.0) {
                ports.add(OfPort(number), &port.name);
            }
        }
        Match::parse(text, Some(&ports)).map(Self).map_err(|error| match error {
            MatchTextError::UnknownKeyword(name) => format!("{text}: unknown field {name}"),
            error => error.to_string(),
        })
    }

    /// Fields that the flow leaves open pass.
    fn passes(&self, key: &[u8], mask: Option<&[u8]>) -> bool {
        let (mut flow, mut wildcards) = (Flow::ZERO, FlowWildcards::CATCHALL);
        let vlans = FLOW_MAX_VLAN_HEADERS;
        if OdpKey(key).to_flow(vlans, &mut flow).is_err() {
            return false;
        }
        let mask = mask.unwrap_or_default();
        if mask_to_wildcards(mask, &flow, vlans, &mut wildcards).is_err() {
            return false;
        }
        Match::new(&flow, &wildcards).overlaps(&self.0)
    }
}

pub(super) fn get_flow(
    datapaths: &Datapaths,
    asked: &Asked,
    said: &mut Said,
) -> Result<(), Failed> {
    let opened = datapaths.open_optional(asked, 2, said)?;
    let text = asked.last_but(0);
    let ufid = match ufid_of(text) {
        Ok(Some((ufid, _))) => ufid,
        // To the peer this is no failure.
        Ok(None) => {
            said.complain("parsing flow ufid");
            return Ok(());
        }
        Err(errno) => {
            said.complain_errno(errno, "parsing flow ufid");
            return Ok(());
        }
    };
    let names = if asked.names { port_names(&*opened.datapath).ok() } else { None };
    let style = Style { names: names.as_ref(), verbose: asked.verbose };
    let now_ms = now_ms();
    let (mut line, mut json) = (None, None);
    let found = opened.datapath.flow_get(&ufid.0, &mut |flow| {
        line = Some(dump_line(flow, style, now_ms, Layout::Dpctl));
        json = Some(dump_json(flow, style, now_ms));
    });
    match found {
        Ok(true) => line.into_iter().for_each(|line| said.line(line)),
        Ok(false) => return Err(said.complain_errno(libc::ENOENT, "getting flow")),
        Err(error) => return Err(said.complain_error(&error, "getting flow")),
    }
    said.json = json.filter(|_| asked.json);
    Ok(())
}

/// The id that a text begins with, and what follows it.
fn ufid_of(text: &str) -> Result<Option<(Ufid, &str)>, i32> {
    let Some(rest) = text.strip_prefix("ufid:") else { return Ok(None) };
    let ufid = rest.get(..36).and_then(Ufid::parse).ok_or(libc::EINVAL)?;
    Ok(Some((ufid, rest.get(36..).unwrap_or_default())))
}

/// How a flow is put.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Put {
    Create,
    Modify,
    CreateOrModify,
}

pub(super) fn add_flow(
    datapaths: &Datapaths,
    asked: &Asked,
    said: &mut Said,
) -> Result<(), Failed> {
    let opened = datapaths.open_optional(asked, 3, said)?;
    put_flow(&opened, asked.last_but(1), asked.last_but(0), Put::Create, asked, said)
}

pub(super) fn mod_flow(
    datapaths: &Datapaths,
    asked: &Asked,
    said: &mut Said,
) -> Result<(), Failed> {
    let opened = datapaths.open_optional(asked, 3, said)?;
    let put = if asked.may_create { Put::CreateOrModify } else { Put::Modify };
    put_flow(&opened, asked.last_but(1), asked.last_but(0), put, asked, said)
}

/// A flow's id, key and mask from text; complains as the peer about what cannot be read.
struct Target {
    /// The one given, else the one that the key has by our own reckoning.
    ufid: Ufid,
    is_given: bool,
    key: Vec<u8>,
    mask: Vec<u8>,
}

impl Target {
    fn parse(
        text: &str,
        opened: &Opened,
        said: &mut Said,
        complaint: impl Fn(&str) -> String,
    ) -> Result<Self, Failed> {
        let (ufid, text) = match ufid_of(text) {
            Ok(Some((ufid, rest))) => (Some(ufid), rest),
            Ok(None) => (None, text),
            Err(errno) => return Err(said.complain_errno(errno, "parsing flow ufid")),
        };
        let names = port_names(&*opened.datapath).unwrap_or_default();
        let (mut key, mut mask) = (Vec::new(), Vec::new());
        if let Err(error) = parse_key(text, Some(&names), &mut key, &mut mask) {
            let what = complaint(&error.syntax_error(text));
            return Err(said.complain_errno(libc::EINVAL, what));
        }
        let is_given = ufid.is_some();
        let ufid = ufid.unwrap_or_else(|| opened.ufid(&key));
        Ok(Self { ufid, is_given, key, mask })
    }
}

fn put_flow(
    opened: &Opened,
    key: &str,
    actions: &str,
    put: Put,
    asked: &Asked,
    said: &mut Said,
) -> Result<(), Failed> {
    let target = Target::parse(key, opened, said, |text| format!("parsing flow key ({text})"))?;
    let names: PortNames = port_names(&*opened.datapath).unwrap_or_default();
    let mut list = OdpActions::new();
    if parse_actions(actions, Some(&names), &mut list).is_err() {
        return Err(said.complain_errno(libc::EINVAL, "parsing actions"));
    }
    let Target { ufid, key, mask, .. } = &target;
    let ufid = Some(&ufid.0);
    let mask = Some(mask.as_slice()).filter(|mask| !mask.is_empty());
    let actions = list.as_bytes();
    let create = FlowOp::Put { ufid, key, mask, actions };
    let modify = FlowOp::Modify { ufid, key, mask, actions };
    let delete = FlowOp::Del { ufid, key };
    let result = match put {
        Put::Create => one(opened, create),
        // The counters begin anew with a flow that is put anew; for the moment between, packets are
        // decided one by one.
        Put::Modify | Put::CreateOrModify if asked.clear => match (one(opened, delete), put) {
            (Err(error), Put::Modify) => Err(error),
            _ => one(opened, create),
        },
        Put::Modify => one(opened, modify),
        Put::CreateOrModify => match one(opened, modify) {
            Err(error) if error.kind == DpErrorKind::NoSuchFlow => one(opened, create),
            result => result,
        },
    };
    result.map_err(|error| said.complain_error(&error, "updating flow table"))?;
    if asked.statistics {
        let mut text = String::new();
        let _ = opened.datapath.flow_get(&target.ufid.0, &mut |flow| {
            text = stats_text(&totals_of(flow), now_ms());
        });
        said.line(text);
    }
    Ok(())
}

fn totals_of(flow: &ovs_netlink::flow::FlowMsg<'_>) -> FlowTotals {
    let stats = flow.stats.unwrap_or_default();
    FlowTotals {
        packets: stats.packets,
        bytes: stats.bytes,
        used_ms: flow.used_ms,
        tcp_flags: flow.tcp_flags.unwrap_or(0),
    }
}

fn one(opened: &Opened, op: FlowOp<'_>) -> crate::datapath::FlowResult {
    let mut result = Ok(None);
    opened.datapath.flow_ops(&[op], &mut |_, done| result = done);
    result
}

pub(super) fn del_flow(
    datapaths: &Datapaths,
    asked: &Asked,
    said: &mut Said,
) -> Result<(), Failed> {
    let opened = datapaths.open_optional(asked, 2, said)?;
    del_one(&opened, asked.last_but(0), asked, said)
}

fn del_one(opened: &Opened, text: &str, asked: &Asked, said: &mut Said) -> Result<(), Failed> {
    let target = Target::parse(text, opened, said, str::to_owned)?;
    match one(opened, FlowOp::Del { ufid: Some(&target.ufid.0), key: &target.key }) {
        Ok(totals) => {
            if asked.statistics {
                said.line(stats_text(&totals.unwrap_or_default(), now_ms()));
            }
            Ok(())
        }
        Err(error) => {
            let failed = said.complain_error(&error, "deleting flow");
            // The peer says so in either case.
            if error.kind == DpErrorKind::NoSuchFlow || !target.is_given {
                said.line("Perhaps you need to specify a UFID?");
            }
            Err(failed)
        }
    }
}

/// What a line of a file does that does not say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Add,
    Modify,
    Delete,
}

pub(super) fn add_flows(
    datapaths: &Datapaths,
    asked: &Asked,
    said: &mut Said,
) -> Result<(), Failed> {
    process_file(datapaths, asked, Verb::Add, said)
}

pub(super) fn mod_flows(
    datapaths: &Datapaths,
    asked: &Asked,
    said: &mut Said,
) -> Result<(), Failed> {
    process_file(datapaths, asked, Verb::Modify, said)
}

pub(super) fn del_flows(
    datapaths: &Datapaths,
    asked: &Asked,
    said: &mut Said,
) -> Result<(), Failed> {
    let names_one = asked.args.first().is_some_and(|name| datapaths.exists(name));
    if asked.args.len() > 1 || asked.args.len() == 1 && !names_one {
        return process_file(datapaths, asked, Verb::Delete, said);
    }
    let opened = datapaths.open_optional(asked, 1, said)?;
    let flushed = opened.datapath.flow_flush();
    datapaths.ours.iter().for_each(|backer| backer.udpif.changes.kick());
    flushed.map_err(|error| said.complain_error(&error, "deleting all flows"))
}

/// Carries out a file, line by line. What is wrong with a line is said and does not fail the command,
/// nor does a file that is not there: so the peer.
fn process_file(
    datapaths: &Datapaths,
    asked: &Asked,
    verb: Verb,
    said: &mut Said,
) -> Result<(), Failed> {
    let name = asked.last_but(0);
    let opened = datapaths.open_optional(asked, 3, said)?;
    let text = match read_file(name) {
        Ok(text) => text,
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            said.complain_errno(errno, format_args!("Opening file \"{name}\" failed"));
            return Ok(());
        }
    };
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        // Each complains for itself; the next line has its turn all the same.
        let _ = match parse_line(line, verb) {
            Some((Verb::Add, flow, Some(actions))) => {
                put_flow(&opened, flow, actions, Put::Create, asked, said)
            }
            Some((Verb::Modify, flow, Some(actions))) => {
                put_flow(&opened, flow, actions, Put::Modify, asked, said)
            }
            Some((Verb::Delete, flow, None)) => del_one(&opened, flow, asked, said),
            _ => {
                let number = number + 1;
                Err(said.complain(format_args!("Failed parsing line number {number}, skipped!")))
            }
        };
    }
    Ok(())
}

fn read_file(name: &str) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(name)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// `[add|modify|delete] FLOW [ACTIONS]`.
fn parse_line(line: &str, verb: Verb) -> Option<(Verb, &str, Option<&str>)> {
    let first = line.split([',', ' ', '\t']).next().unwrap_or_default();
    let (verb, rest) = match first {
        "add" => (Verb::Add, line.get(3..)),
        "modify" => (Verb::Modify, line.get(6..)),
        "delete" => (Verb::Delete, line.get(6..)),
        _ => (verb, Some(line)),
    };
    let rest = rest.unwrap_or_default().trim_start();
    let (flow, actions) = match rest.split_once([' ', '\t']) {
        Some((flow, actions)) => (flow, Some(actions.trim()).filter(|text| !text.is_empty())),
        None => (rest, None),
    };
    (!flow.is_empty()).then_some((verb, flow, actions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_file() {
        let add = |line| parse_line(line, Verb::Add);
        assert_eq!(add("add in_port(1) 2"), Some((Verb::Add, "in_port(1)", Some("2"))));
        assert_eq!(add("in_port(1)  2,3 "), Some((Verb::Add, "in_port(1)", Some("2,3"))));
        assert_eq!(add("delete in_port(1)"), Some((Verb::Delete, "in_port(1)", None)));
        assert_eq!(add("modify"), None);
    }

    #[test]
    fn ids_in_front_of_keys() {
        let id = "11111111-2222-3333-4444-555555555555";
        let text = format!("ufid:{id}, in_port(1)");
        let (ufid, rest) = ufid_of(&text).expect("well formed").expect("there");
        assert_eq!(ufid.to_string(), format!("ufid:{id}"));
        assert_eq!(rest, ", in_port(1)");
        assert_eq!(ufid_of("in_port(1)"), Ok(None));
        assert_eq!(ufid_of("ufid:1"), Err(libc::EINVAL));
    }

    #[test]
    fn types_of_flows() {
        let mut said = Said::default();
        let mut wants = |types| wants_kernel_flows(Some(types), &mut said).ok();
        assert_eq!(wants("ovs"), Some(true));
        assert_eq!(wants("tc,non-offloaded"), Some(true));
        assert_eq!(wants("offloaded,tc"), Some(false));
        assert_eq!(wants("bad"), None);
        assert_eq!(said.text, "ovs-vswitchd: Failed to parse type (bad) (Invalid argument)\n");
    }
}
