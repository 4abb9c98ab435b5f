//! The family `ovs_ct_limit` (Linux 4.18): how many connections a conntrack zone may hold.
//!
//! What always holds: the list of a request is never empty by accident of padding, each entry is
//! `struct ovs_zone_limit` as the kernel lays it out.
//!
//! Control side, any thread. Source: `include/uapi/linux/openvswitch.h`, `enum ovs_ct_limit_cmd` and
//! `struct ovs_zone_limit`; `net/openvswitch/conntrack.c`.

use zerocopy::{FromBytes, IntoBytes};

use crate::attr::{Attr, AttrError, AttrWriter};
use crate::error::Error;
use crate::family::Family;
use crate::msg::{MsgBuf, MsgError, MsgFlags, MsgHead, split_ovs_header};
use crate::socket::Socket;
use crate::uapi::*;

/// What a limit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Zone {
    /// Every zone without a limit of its own.
    Default,
    /// One zone.
    Id(u16),
}

impl Zone {
    fn to_i32(self) -> i32 {
        match self {
            Self::Default => OVS_ZONE_LIMIT_DEFAULT_ZONE,
            Self::Id(id) => id.into(),
        }
    }

    fn from_i32(number: i32) -> Option<Self> {
        match number {
            OVS_ZONE_LIMIT_DEFAULT_ZONE => Some(Self::Default),
            _ => u16::try_from(number).ok().map(Self::Id),
        }
    }
}

/// `struct ovs_zone_limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneLimit {
    /// The zone.
    pub zone: Zone,
    /// Connections it may hold; 0 for any number.
    pub limit: u32,
    /// Connections it holds; 0 for the default, and in requests.
    pub count: u32,
}

/// Parses what follows the generic netlink header of a reply.
///
/// # Errors
/// [`MsgError`] when it is malformed.
pub fn parse(body: &[u8]) -> Result<Vec<ZoneLimit>, MsgError> {
    let (_, attrs) = split_ovs_header(body)?;
    match attrs.find_kind(OVS_CT_LIMIT_ATTR_ZONE_LIMIT)? {
        Some(list) => Ok(parse_list(&list)?),
        None => Ok(Vec::new()),
    }
}

/// Writes `limits` as the one attribute that this family has.
pub fn write(limits: &[ZoneLimit], w: &mut AttrWriter<'_>) {
    let nest = w.begin(OVS_CT_LIMIT_ATTR_ZONE_LIMIT);
    for l in limits {
        w.raw(raw(l).as_bytes());
    }
    // The writer remembers a failure and tells it at the end.
    let _ = w.end(nest);
}

/// Sets limits.
///
/// # Errors
/// As for [`Socket::transact`].
pub fn set(socket: &mut Socket, family: &Family, limits: &[ZoneLimit]) -> Result<(), Error> {
    socket.transact(&mut request(family, OVS_CT_LIMIT_CMD_SET, limits)?).map(drop)
}

/// Removes the limits of `zones`; for [`Zone::Default`], sets no limit.
///
/// # Errors
/// As for [`Socket::transact`].
pub fn delete(socket: &mut Socket, family: &Family, zones: &[Zone]) -> Result<(), Error> {
    socket.transact(&mut request(family, OVS_CT_LIMIT_CMD_DEL, &named(zones))?).map(drop)
}

/// The limits and counts of `zones`; for an empty list those of all zones that have a limit, the
/// default first.
///
/// # Errors
/// As for [`Socket::transact`].
pub fn get(socket: &mut Socket, family: &Family, zones: &[Zone]) -> Result<Vec<ZoneLimit>, Error> {
    socket.fetch(&mut request(family, OVS_CT_LIMIT_CMD_GET, &named(zones))?, parse)
}

fn named(zones: &[Zone]) -> Vec<ZoneLimit> {
    zones.iter().map(|&zone| ZoneLimit { zone, limit: 0, count: 0 }).collect()
}

fn request(family: &Family, cmd: u8, limits: &[ZoneLimit]) -> Result<MsgBuf, Error> {
    let mut buf = MsgBuf::new();
    let mut w = buf.begin(MsgHead {
        family: family.id,
        cmd,
        version: OVS_CT_LIMIT_VERSION,
        flags: MsgFlags::empty(),
        seq: 0,
        dp_ifindex: 0,
    });
    if !limits.is_empty() {
        write(limits, w.attrs());
    }
    w.finish().map_err(Error::Encode)?;
    Ok(buf)
}

fn raw(l: &ZoneLimit) -> ovs_zone_limit {
    ovs_zone_limit { zone_id: l.zone.to_i32().into(), limit: l.limit.into(), count: l.count.into() }
}

fn parse_list(list: &Attr<'_>) -> Result<Vec<ZoneLimit>, AttrError> {
    let value_error = AttrError::Value { kind: list.kind };
    let (entries, rest) = list.value.as_chunks::<{ size_of::<ovs_zone_limit>() }>();
    if !rest.is_empty() {
        return Err(value_error);
    }
    let parse = |entry: &[u8; size_of::<ovs_zone_limit>()]| {
        let l = ovs_zone_limit::read_from_bytes(entry).ok()?;
        let zone = Zone::from_i32(l.zone_id.get())?;
        Some(ZoneLimit { zone, limit: l.limit.get(), count: l.count.get() })
    };
    entries.iter().map(|entry| parse(entry).ok_or(value_error)).collect()
}
