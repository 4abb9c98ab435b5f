//! Commands of features that are not there: `bond/*`, `lacp/*`, `stp/*`, `rstp/*`, `cfm/*`, `bfd/*`, `mdb/*`,
//! `autoattach/*`, `bridge/reconnect`, tunnels.
//!
//! What always holds: the answer is true. As long as nobody asks for the feature there is nothing to show,
//! which is told in the peer's words; where the configuration asks for it the answer is an error that
//! says so, never that all is well. Control thread.

use super::{Answer, Commands, bridge_named, error, leading_number};
use crate::bridge::config::Lacking;
use crate::bridge::switch::Switch;
use crate::flow::EthAddr;
use crate::flow::hash::{add, finish};
use crate::unixctl::{Call, CommandError};

pub(super) fn register(commands: &Commands<'_>) {
    bonds(commands);
    spanning_trees(commands);
    monitoring(commands);
    rest(commands);
}

/// An error if the feature is asked for.
fn none_asks(switch: Option<&Switch>, feature: Lacking) -> Result<(), CommandError> {
    let asked = switch.map(|switch| switch.lacks(feature)).unwrap_or_default();
    if asked.is_empty() {
        return Ok(());
    }
    Err(error(format!("{feature} is configured on {}, but not supported", asked.join(", "))))
}

/// What is said without an object's name, and what of an object that there is not.
fn show(
    commands: &Commands<'_>,
    name: &str,
    usage: &str,
    feature: Lacking,
    all: &'static str,
    one: &'static str,
) {
    commands.any(name, usage, 0..=1, move |switch, call| {
        none_asks(switch, feature)?;
        if call.args.is_empty() { Ok(all.into()) } else { Err(error(one)) }
    });
}

fn bonds(commands: &Commands<'_>) {
    const NONE: &str = "no such bond";
    let list = "bond\ttype\trecircID\tmembers\n";
    commands.any("bond/list", "", 0..=0, move |switch, _| {
        none_asks(switch, Lacking::Bond)?;
        Ok(list.into())
    });
    show(commands, "bond/show", "[port]", Lacking::Bond, "", NONE);
    let no_bond = |switch: Option<&Switch>, _| -> Answer {
        none_asks(switch, Lacking::Bond)?;
        Err(error(NONE))
    };
    commands.any("bond/migrate", "port hash member", 3..=3, no_bond);
    for what in ["set-active", "enable", "disable"] {
        commands.any(&format!("bond/{what}-member"), "port member", 2..=2, no_bond);
        // Its name of earlier releases, which is not listed.
        let current = commands.current.clone();
        let name = format!("bond/{what}-slave");
        commands.registry.register_hidden(&name, 2..=2, move |call, reply| {
            reply.send(no_bond(current.borrow().as_ref(), call));
        });
    }
    commands.any("bond/hash", "mac [vlan] [basis]", 1..=3, |_, call| bond_hash(&call));
    show(commands, "lacp/show", "[port]", Lacking::Lacp, "", "no such lacp object");
    show(commands, "lacp/show-stats", "[port]", Lacking::Lacp, "", "no such lacp object");
}

/// Which of a bond's 256 buckets an address and a VLAN fall into. Needs no bond.
fn bond_hash(call: &Call) -> Answer {
    let number = |at: usize, complaint: &str| match call.arg(at) {
        None => Ok(0),
        Some(text) if text.trim_start().starts_with(|c: char| c.is_ascii_digit()) => {
            Ok(leading_number(text) as u32)
        }
        Some(_) => Err(error(complaint)),
    };
    let (vlan, basis) = (number(1, "invalid vlan")?, number(2, "invalid basis")?);
    let mac = call.arg(0).and_then(|mac| mac.parse::<EthAddr>().ok());
    let mac = mac.ok_or_else(|| error("invalid mac"))?;
    Ok(format!("{}\n", mac_and_vlan(mac, vlan as u16, basis) & 0xff).into())
}

/// The peer's hash of both as one number of 64 bits.
fn mac_and_vlan(mac: EthAddr, vlan: u16, basis: u32) -> u32 {
    let ([a, b, c, d, e, f], [v, w]) = (mac.0, vlan.to_be_bytes());
    let (high, low) = (u32::from_be_bytes([v, w, a, b]), u32::from_be_bytes([c, d, e, f]));
    finish(add(add(basis, low), high), 8)
}

fn spanning_trees(commands: &Commands<'_>) {
    let (stp, rstp) = ("no such stp object", "No such RSTP object");
    show(commands, "stp/show", "[bridge]", Lacking::Stp, "", stp);
    show(commands, "stp/tcn", "[bridge]", Lacking::Stp, "OK\n", stp);
    show(commands, "rstp/show", "[bridge]", Lacking::Rstp, "", rstp);
    show(commands, "rstp/tcn", "[bridge]", Lacking::Rstp, "OK\n", rstp);
}

fn monitoring(commands: &Commands<'_>) {
    show(commands, "bfd/show", "[interface]", Lacking::Bfd, "", "no such bfd object");
    show(commands, "cfm/show", "[interface]", Lacking::Cfm, "", "no such CFM object");
    let usage = "[interface] normal|false|true";
    let set = |name: &str, feature: Lacking, none: &'static str| {
        commands.any(name, usage, 1..=2, move |switch, call| {
            let what = call.args.last().map_or("", String::as_str);
            if !["normal", "false", "true"].iter().any(|known| what.eq_ignore_ascii_case(known)) {
                return Err(error("unknown fault string"));
            }
            none_asks(switch, feature)?;
            if call.args.len() > 1 { Err(error(none)) } else { Ok("OK\n".into()) }
        });
    };
    set("bfd/set-forwarding", Lacking::Bfd, "no such BFD object");
    set("cfm/set-fault", Lacking::Cfm, "no such CFM object");
}

fn rest(commands: &Commands<'_>) {
    let disabled = |switch: &Switch, call: Call| -> Answer {
        bridge_named(switch, &call)?;
        none_asks(Some(switch), Lacking::McastSnooping)?;
        Err(error("multicast snooping is disabled"))
    };
    commands.of_bridge("mdb/show", "bridge", 1..=1, disabled);
    commands.any("mdb/flush", "[bridge]", 0..=1, move |switch, call| match switch {
        Some(switch) if !call.args.is_empty() => disabled(switch, call),
        None if !call.args.is_empty() => Err(super::no_such_bridge()),
        _ => {
            none_asks(switch, Lacking::McastSnooping)?;
            Ok("table successfully flushed\n".into())
        }
    });
    for what in ["show-isid", "statistics", "status"] {
        commands.any(&format!("autoattach/{what}"), "[bridge]", 0..=1, |switch, _| {
            none_asks(switch, Lacking::AutoAttach)?;
            Ok(().into())
        });
    }
    commands.any("bridge/reconnect", "[bridge]", 0..=1, |switch, call| {
        let is_there = |switch: &Switch| bridge_named(switch, &call).is_ok();
        if !call.args.is_empty() && !switch.is_some_and(is_there) {
            return Err(error("Unknown bridge"));
        }
        none_asks(switch, Lacking::Controller)?;
        Ok(().into())
    });
    // No interface can be a tunnel yet: one that wants to be has its error.
    commands.any("ofproto/list-tunnels", "", 0..=0, |_, _| Ok(().into()));
    commands.any("tnl/ports/show", "-v", 0..=1, |_, _| Ok("Listening ports:\n".into()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unixctl::Format;

    // `ovs-appctl bond/hash` of the stock 3.1.0.
    #[test]
    fn buckets_are_the_peers() {
        let hash = |args: &[&str]| {
            let args = args.iter().map(|arg| (*arg).to_owned()).collect();
            bond_hash(&Call { args, format: Format::Text })
        };
        let good = |bucket: &str| Ok(format!("{bucket}\n").into());
        for (args, bucket) in BUCKETS {
            assert_eq!(hash(args), good(bucket), "{args:?}");
        }
        assert_eq!(hash(&["zz"]), Err(error("invalid mac")));
        assert_eq!(hash(&["02:00:00:00:00:01", "x"]), Err(error("invalid vlan")));
        assert_eq!(hash(&["02:00:00:00:00:01", "5", "x"]), Err(error("invalid basis")));
    }

    const BUCKETS: &[(&[&str], &str)] = &[
        (&["02:00:00:00:00:01"], "38"),
        (&["02:00:00:00:00:01", "5"], "37"),
        (&["02:00:00:00:00:01", "5", "6"], "163"),
    ];
}
