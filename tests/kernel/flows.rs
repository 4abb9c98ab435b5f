//! Datapath flows as `ovs-dpctl dump-flows` prints them, freed of what differs from run to run.

use super::netns::{Mac, text};
use super::run;

/// Every installed flow as `KEY, actions:ACTIONS`, ports by name, without counters, sorted.
pub fn dump() -> Vec<String> {
    normalise(&run(&["ovs-dpctl", "--names", "dump-flows"]))
}

/// The same with every attribute that the kernel holds, wildcarded ones too.
pub fn dump_verbose() -> Vec<String> {
    normalise(&run(&["ovs-dpctl", "--names", "-m", "dump-flows"]))
}

/// Removes counters, time and UFIDs of each line and sorts the lines.
pub fn normalise(dump: &str) -> Vec<String> {
    let mut flows: Vec<String> =
        dump.lines().filter(|l| l.contains("actions:")).map(normal_line).collect();
    flows.sort();
    flows
}

fn normal_line(line: &str) -> String {
    const VOLATILE: [&str; 7] =
        ["ufid:", "packets:", "bytes:", "used:", "flags:", "dp:", "offloaded:"];
    // Items are set apart by ", ", which no key or action contains.
    line.trim()
        .split(", ")
        .filter(|item| !VOLATILE.iter().any(|v| item.starts_with(v)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The flows of `dump` that match this source address.
pub fn from_source(dump: &[String], src: Mac) -> Vec<&str> {
    let wanted = format!("eth(src={}", text(src));
    dump.iter().filter(|f| f.contains(&wanted)).map(String::as_str).collect()
}

/// Waits until two dumps in a row agree and returns the last.
pub fn settled() -> Vec<String> {
    let mut last = dump();
    for _ in 0..50 {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let now = dump();
        if now == last {
            return now;
        }
        last = now;
    }
    panic!("flows never settle:\n{}", last.join("\n"));
}

/// A flow line with its outputs in an order of their own: the order in which a switch floods follows
/// its tables, not the packet. Each output is written with the VLAN changes that are in force there;
/// taking a tag off and putting the same on again is no change.
pub fn canonical(flow: &str) -> String {
    let Some((key, actions)) = flow.split_once(", actions:") else { return flow.to_string() };
    let own_tag = key
        .split_once("vlan(")
        .and_then(|(_, rest)| rest.split_once(')'))
        .map(|(tag, _)| format!("push_vlan({tag})"));
    let mut changes: Vec<&str> = Vec::new();
    let mut outputs = Vec::new();
    for action in split_top(actions) {
        let undoes = match changes.last() {
            Some(&"pop_vlan") => own_tag.as_deref() == Some(action),
            Some(last) => last.starts_with("push_vlan") && action == "pop_vlan",
            None => false,
        };
        if undoes {
            changes.pop();
        } else if action.contains('(') || action == "pop_vlan" || action == "drop" {
            changes.push(action);
        } else {
            outputs.push(format!("{}->{action}", changes.join(",")));
        }
    }
    outputs.sort();
    if outputs.is_empty() {
        outputs.push(changes.join(","));
    }
    format!("{key}, actions:{}", outputs.join(" "))
}

/// A flow that forwards a tag of VLAN 0 with a priority, without the match on the priority; any other
/// flow as it is.
pub fn without_priority(flow: &str) -> String {
    let Some((head, rest)) = flow.split_once("vlan(vid=0,pcp=") else { return flow.to_string() };
    match rest.split_once(')') {
        Some((pcp, rest)) if pcp != "0" && !rest.ends_with("actions:drop") => {
            format!("{head}vlan(vid=0){rest}")
        }
        _ => flow.to_string(),
    }
}

/// Splits at commas that are not inside parentheses.
fn split_top(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut out) = (0, 0, Vec::new());
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                out.push(&text[from..i]);
                from = i + 1;
            }
            _ => {}
        }
    }
    out.push(&text[from..]);
    out
}
