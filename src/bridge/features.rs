//! What the datapath can do, on the control socket: the peer's list, and with JSON also why not and on
//! which kernel.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::commands::{Answer, bridge_named, error};
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

impl Shown {
    /// As a number, 1 for yes, and whether it is one by nature.
    fn number(&self) -> (u32, bool) {
        match self {
            Self::Bool(feature) => (feature.value.into(), false),
            Self::Number(feature) => (feature.value, true),
            Self::No => (0, false),
        }
    }
}

/// Name, title and value of each.
fn list(support: &Support) -> Vec<(&'static str, &'static str, Shown)> {
    use Shown::{Bool, No, Number};
    vec![
        ("masked_set_action", "Masked set action", Bool(support.masked_set)),
        ("tnl_push_pop", "Tunnel push pop", No),
        ("ufid", "Ufid", Bool(support.ufid)),
        ("trunc", "Truncate action", Bool(support.trunc)),
        ("clone", "Clone action", Bool(support.clone)),
        ("sample_nesting", "Sample nesting", Number(support.sample_nesting)),
        ("ct_eventmask", "Conntrack eventmask", Bool(support.ct_eventmask)),
        ("ct_clear", "Conntrack clear", Bool(support.ct_clear)),
        ("max_hash_alg", "Max dp_hash algorithm", Number(support.max_hash_alg)),
        ("check_pkt_len", "Check pkt length action", Bool(support.check_pkt_len)),
        ("ct_timeout", "Conntrack timeout policy", Bool(support.ct_timeout)),
        ("explicit_drop_action", "Explicit Drop action", Bool(support.drop_action)),
        ("lb_output_action", "Optimized Balance TCP mode", No),
        ("ct_zero_snat", "Conntrack all-zero IP SNAT", Bool(support.ct_zero_snat)),
        ("add_mpls", "MPLS Label add", Bool(support.add_mpls)),
        ("max_vlan_headers", "Max VLAN headers", Number(support.max_vlan_headers)),
        ("max_mpls_depth", "Max MPLS depth", Number(support.max_mpls_depth)),
        ("recirc", "Recirc", Bool(support.recirc)),
        ("ct_state", "CT state", Bool(support.ct_state)),
        ("ct_zone", "CT zone", Bool(support.ct_zone)),
        ("ct_mark", "CT mark", Bool(support.ct_mark)),
        ("ct_label", "CT label", Bool(support.ct_label)),
        ("ct_state_nat", "CT state NAT", Bool(support.ct_state_nat)),
        ("ct_orig_tuple", "CT orig tuple", Bool(support.ct_orig_tuple)),
        ("ct_orig_tuple6", "CT orig tuple for IPv6", Bool(support.ct_orig_tuple6)),
        ("nd_ext", "IPv6 ND Extension", No),
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
        for (_, name, value) in list(support) {
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
    for (_, name, value) in list(support) {
        let _ = match value {
            Shown::Bool(Feature { value: true, .. }) => writeln!(text, "{name}: Yes"),
            Shown::Bool(_) | Shown::No => writeln!(text, "{name}: No"),
            Shown::Number(feature) => writeln!(text, "{name}: {}", feature.value),
        };
    }
    Ok(text.into())
}

/// `dpif/set-dp-features BRIDGE [FEATURE [VALUE]]`: shows what is made use of and what there is, or has less
/// of it made use of. What packets are made flows with while the datapath is open stays; nothing else
/// is put into flows yet, so that less of it changes none.
pub(super) fn set_dp_features(switch: &Switch, call: Call) -> Answer {
    bridge_named(switch, &call)?;
    let features = list(switch.datapath.support());
    let mut used = switch.features_used.borrow_mut();
    let show = |(name, title, value): &(&str, &str, Shown), used: Option<u32>| {
        let (there, is_number) = value.number();
        let text = |n: u32| if is_number { n.to_string() } else { (n != 0).to_string() };
        let (run, boot) = (text(used.unwrap_or(there)), text(there));
        format!("{name} ({title}) : [run time]:{run}, [boot time]:{boot}\n")
    };
    let Some(name) = call.arg(1) else {
        let rows = features.iter().map(|row| show(row, used.get(row.0).copied()));
        return Ok(rows.collect::<String>().into());
    };
    // Mistakes are told in an answer that is none of an error, as by the peer.
    let Some(row) = features.iter().find(|row| row.0 == name) else {
        return Ok("Unexpected support field\n".into());
    };
    let Some(value) = call.arg(2) else {
        return Ok(show(row, used.get(row.0).copied()).into());
    };
    let (there, is_number) = row.2.number();
    let wanted = match (is_number, value) {
        (true, value) => match value.parse::<i32>().map(u32::try_from) {
            Err(_) => return Ok("Integer number expected\n".into()),
            Ok(Err(_)) => return Ok("Negative number not expected\n".into()),
            Ok(Ok(n)) if n > there => {
                return Ok("Can not set value beyond the datapath capability\n".into());
            }
            Ok(Ok(n)) => n,
        },
        (false, value) if value.eq_ignore_ascii_case("false") => 0,
        (false, value) if !value.eq_ignore_ascii_case("true") => {
            return Ok("Boolean value expected\n".into());
        }
        (false, _) if there == 0 => {
            return Ok("Can not enable features not supported by the datapth\n".into());
        }
        (false, _) => 1,
    };
    if wanted != there && matches!(row.0, "ufid" | "max_vlan_headers") {
        return Err(error(format!("{name} cannot be changed while the datapath is in use")));
    }
    used.insert(row.0, wanted);
    Ok(().into())
}

/// `dpif-netlink/dispatch-mode`.
pub(super) fn dispatch_mode(switch: &Switch, call: Call) -> Answer {
    let mode = switch.datapath.support().dispatch.to_string();
    if call.format == Format::Json {
        return Ok(json!({switch.datapath.name(): mode}).into());
    }
    Ok(format!("{}: {mode} dispatch mode\n", switch.datapath.name()).into())
}
