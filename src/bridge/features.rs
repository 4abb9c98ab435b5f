//! What the datapath can do, on the control socket: the peer's list, and with JSON also why not and on
//! which kernel.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::commands::{Answer, bridge_named};
use super::switch::Switch;
use crate::datapath::{Datapath, Feature, Support};
use crate::unixctl::{Call, Format};

/// A feature's value, as far as the probes know.
enum Shown {
    Bool(Feature<bool>),
    Number(Feature<u32>),
    /// Never, by the nature of the kernel's datapath.
    No,
}

fn list(support: &Support) -> Vec<(&'static str, Shown)> {
    use Shown::{Bool, No, Number};
    vec![
        ("Masked set action", Bool(support.masked_set)),
        ("Tunnel push pop", No),
        ("Ufid", Bool(support.ufid)),
        ("Truncate action", Bool(support.trunc)),
        ("Clone action", Bool(support.clone)),
        ("Sample nesting", Number(support.sample_nesting)),
        ("Conntrack eventmask", Bool(support.ct_eventmask)),
        ("Conntrack clear", Bool(support.ct_clear)),
        ("Max dp_hash algorithm", Number(support.max_hash_alg)),
        ("Check pkt length action", Bool(support.check_pkt_len)),
        ("Conntrack timeout policy", Bool(support.ct_timeout)),
        ("Explicit Drop action", Bool(support.drop_action)),
        ("Optimized Balance TCP mode", No),
        ("Conntrack all-zero IP SNAT", Bool(support.ct_zero_snat)),
        ("MPLS Label add", Bool(support.add_mpls)),
        ("Max VLAN headers", Number(support.max_vlan_headers)),
        ("Max MPLS depth", Number(support.max_mpls_depth)),
        ("Recirc", Bool(support.recirc)),
        ("CT state", Bool(support.ct_state)),
        ("CT zone", Bool(support.ct_zone)),
        ("CT mark", Bool(support.ct_mark)),
        ("CT label", Bool(support.ct_label)),
        ("CT state NAT", Bool(support.ct_state_nat)),
        ("CT orig tuple", Bool(support.ct_orig_tuple)),
        ("CT orig tuple for IPv6", Bool(support.ct_orig_tuple6)),
        ("IPv6 ND Extension", No),
    ]
}

/// Says in the log what a datapath that was just opened can do, in the peer's words.
pub(super) fn log(datapath: &dyn Datapath) {
    let name = format!("{}@{}", datapath.type_name(), datapath.name());
    for line in log_lines(datapath.support()) {
        tracing::info!(target: "ofproto_dpif", "{name}: {line}");
    }
}

fn log_lines(support: &Support) -> Vec<String> {
    let verb = |feature: Feature<bool>| if feature.value { "supports" } else { "does not support" };
    let is = |feature: Feature<bool>, what: &str| format!("Datapath {} {what}", verb(feature));
    let no = Feature::<bool>::default();
    let mut lines = vec![
        is(support.recirc, "recirculation"),
        format!("VLAN header stack length probed as {}", support.max_vlan_headers.value),
        format!("MPLS label stack length probed as {}", support.max_mpls_depth.value),
    ];
    // To have it is no news.
    if !support.masked_set.value {
        lines.push("datapath does not support masked set action feature.".to_owned());
    }
    lines.extend([
        is(support.trunc, "truncate action"),
        is(support.ufid, "unique flow ids"),
        is(support.clone, "clone action"),
        format!("Max sample nesting level probed as {}", support.sample_nesting.value),
        is(support.ct_eventmask, "eventmask in conntrack action"),
        is(support.ct_clear, "ct_clear action"),
        format!("Max dp_hash algorithm probed to be {}", support.max_hash_alg.value),
        is(support.check_pkt_len, "check_pkt_len action"),
        is(support.ct_timeout, "timeout policy in conntrack action"),
        is(support.drop_action, "explicit drop action"),
        is(support.ct_zero_snat, "ct_zero_snat"),
        is(support.add_mpls, "add_mpls action"),
        is(support.psample, "psample action"),
        is(support.ct_state, "ct_state"),
        is(support.ct_zone, "ct_zone"),
        is(support.ct_mark, "ct_mark"),
        is(support.ct_label, "ct_label"),
        is(support.ct_state_nat, "ct_state_nat"),
        is(support.ct_orig_tuple, "ct_orig_tuple"),
        is(support.ct_orig_tuple6, "ct_orig_tuple6"),
        is(no, "IPv6 ND Extensions"),
    ]);
    lines
}

/// `dpif/show-dp-features BRIDGE`.
pub(super) fn show_dp_features(switch: &Switch, call: Call) -> Answer {
    bridge_named(switch, &call)?;
    let support = switch.datapath.support();
    if call.format == Format::Json {
        let mut features = Map::new();
        for (name, value) in list(support) {
            let (value, errno) = match value {
                Shown::Bool(feature) => (json!(feature.value), feature.errno),
                Shown::Number(feature) => (json!(feature.value), feature.errno),
                Shown::No => (json!(false), 0),
            };
            features.insert(name.to_owned(), json!({"value": value, "errno": errno}));
        }
        return Ok(json!({"kernel": support.kernel, "features": Value::Object(features)}).into());
    }
    let mut text = String::new();
    for (name, value) in list(support) {
        let _ = match value {
            Shown::Bool(Feature { value: true, .. }) => writeln!(text, "{name}: Yes"),
            Shown::Bool(_) | Shown::No => writeln!(text, "{name}: No"),
            Shown::Number(feature) => writeln!(text, "{name}: {}", feature.value),
        };
    }
    Ok(text.into())
}

/// `dpif-netlink/dispatch-mode`.
pub(super) fn dispatch_mode(switch: &Switch, call: Call) -> Answer {
    let mode = switch.datapath.support().dispatch.to_string();
    if call.format == Format::Json {
        return Ok(json!({switch.datapath.name(): mode}).into());
    }
    Ok(format!("{}: {mode} dispatch mode\n", switch.datapath.name()).into())
}
