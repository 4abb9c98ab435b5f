//! Timeouts of conntrack zones: column `Datapath.ct_zones` with the rows that it leads to.

use crate::bridge::ct_zones::WantedZones;
use crate::datapath::{CtTimeout, CtTimeouts};
use crate::ovsdb::replica::{Replica, Row};
use crate::ovsdb::schema::Table;
use crate::ovsdb::value::Atom;

/// The zones of a datapath. One without a policy has one that names nothing, as with the peer.
pub fn ct_zones(replica: &Replica, datapath: &Row) -> WantedZones {
    let zone = |(zone, row): (&Atom, &Atom)| {
        let (Atom::Integer(zone), Atom::Uuid(row)) = (zone, row) else { return None };
        let zone = u16::try_from(*zone).ok()?;
        let policy = replica.row(Table::CtZone, row)?.opt_uuid("timeout_policy");
        let policy = policy.and_then(|policy| replica.row(Table::CtTimeoutPolicy, &policy));
        Some((zone, policy.map(timeouts).unwrap_or_default()))
    };
    datapath.pairs("ct_zones").filter_map(zone).collect()
}

/// Timeouts that are not known here are left out.
fn timeouts(policy: &Row) -> CtTimeouts {
    let timeout = |(name, seconds): (&Atom, &Atom)| match (name.as_str(), seconds) {
        (Some(name), Atom::Integer(seconds)) => {
            Some((CtTimeout::from_name(name)?, u32::try_from(*seconds).ok()?))
        }
        _ => None,
    };
    policy.pairs("timeouts").filter_map(timeout).collect()
}
