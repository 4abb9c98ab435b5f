//! How many connections conntrack zones may hold: the module's own limits, which all datapaths share.
//!
//! What always holds: a kernel without them answers that, with `EOPNOTSUPP`. Any thread.

use std::borrow::Cow;

use ovs_netlink::ct_limit::{self, Zone, ZoneLimit};
use ovs_netlink::family::Family;
use ovs_netlink::{Error, socket::Socket};

use super::attach::connect;
use super::translate;
use crate::datapath::{DpError, DpErrorKind, error::Op};

/// The limits and counts of `zones`; for none those of all zones that have a limit, the default
/// first.
///
/// # Errors
/// [`DpErrorKind::FamiliesGone`] without the module, [`DpErrorKind::Unsupported`] without conntrack.
pub fn zone_limits(zones: &[Zone]) -> Result<Vec<ZoneLimit>, DpError> {
    ask("read conntrack limits", |socket, family| ct_limit::get(socket, family, zones))
}

/// Sets limits.
///
/// # Errors
/// As for [`zone_limits`].
pub fn set_zone_limits(limits: &[ZoneLimit]) -> Result<(), DpError> {
    ask("set conntrack limits", |socket, family| ct_limit::set(socket, family, limits))
}

/// Removes the limits of `zones`, for which the default holds from then on.
///
/// # Errors
/// As for [`zone_limits`].
pub fn delete_zone_limits(zones: &[Zone]) -> Result<(), DpError> {
    ask("delete conntrack limits", |socket, family| ct_limit::delete(socket, family, zones))
}

fn ask<T>(
    doing: &'static str,
    request: impl FnOnce(&mut Socket, &Family) -> Result<T, Error>,
) -> Result<T, DpError> {
    let (mut channel, families) = connect(Cow::Borrowed(doing))?;
    let family = families.ct_limit.as_ref();
    let family =
        family.ok_or_else(|| DpError::new(DpErrorKind::Unsupported, doing, libc::EOPNOTSUPP))?;
    let answer = request(&mut channel.socket, family);
    answer.map_err(|error| translate(Op::Datapath, Cow::Borrowed(doing), error))
}
