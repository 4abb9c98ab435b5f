//! `dpctl/ct-*` and `ipf-*`: limits of the kernel's conntrack zones, and what only the user-space
//! conntrack has.

use serde_json::json;

use ovs_netlink::ct_limit::{Zone, ZoneLimit};

use super::{Asked, Datapaths, Failed, MANY, Opened, Said};
use crate::datapath::kernel::ct_limits;

/// The datapath, and the arguments behind its name. The limits are the kernel's: another datapath has
/// none.
fn of_kernel<'a>(
    datapaths: &Datapaths,
    asked: &'a Asked,
    most: usize,
    said: &mut Said,
) -> Result<(Opened, &'a [String]), Failed> {
    let opened = datapaths.open_optional(asked, most, said)?;
    let is_named = asked.args.first().is_some_and(|name| datapaths.exists(name));
    let rest = asked.args.get(usize::from(is_named)..).unwrap_or_default();
    Ok((opened, rest))
}

fn is_kernels(opened: &Opened, said: &mut Said, complaint: &str) -> Result<(), Failed> {
    match opened.datapath.type_name() {
        "system" => Ok(()),
        _ => Err(said.complain_errno(libc::EOPNOTSUPP, complaint)),
    }
}

pub(super) fn set_limits(
    datapaths: &Datapaths,
    asked: &Asked,
    said: &mut Said,
) -> Result<(), Failed> {
    let (opened, mut rest) = of_kernel(datapaths, asked, MANY, said)?;
    let mut limits = Vec::new();
    if let Some((first, others)) = rest.split_first()
        && let Some(text) = first.strip_prefix("default=")
    {
        let Some(limit) = scanned(text) else {
            return Err(said.complain_errno(libc::EINVAL, "invalid default limit"));
        };
        limits.push(ZoneLimit { zone: Zone::Default, limit, count: 0 });
        rest = others;
    }
    for text in rest {
        match zone_limit(text) {
            Ok(limit) => limits.push(limit),
            Err(complaint) => return Err(said.complain_errno(libc::EINVAL, complaint)),
        }
    }
    if limits.is_empty() {
        return Err(said.complain_errno(libc::EINVAL, "failed to parse zone limit"));
    }
    const FAILED: &str = "failed to set conntrack limit";
    is_kernels(&opened, said, FAILED)?;
    ct_limits::set_zone_limits(&limits).map_err(|error| said.complain_error(&error, FAILED))
}

/// `zone=N,limit=L`, in any order. The error is the peer's text.
fn zone_limit(text: &str) -> Result<ZoneLimit, String> {
    let (mut zone, mut limit) = (None, None);
    for part in text.split([',', ' ', '\t']).filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        if value.is_empty() {
            return Err(format!("field {key} missing value"));
        }
        let wrong = || format!("failed to parse field {key}");
        let number = number(value).ok_or_else(wrong);
        match key {
            "zone" => zone = Some(u16::try_from(number?).map_err(|_| wrong())?),
            "limit" => limit = Some(number?),
            _ => return Err(format!("invalid zone limit field: {key}")),
        }
    }
    match (zone, limit) {
        (Some(zone), Some(limit)) => Ok(ZoneLimit { zone: Zone::Id(zone), limit, count: 0 }),
        _ => Err("failed to parse zone limit".to_owned()),
    }
}

/// A number in C's notation.
fn number(text: &str) -> Option<u32> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let octal = text.strip_prefix('0').filter(|digits| !digits.is_empty());
    match (hex, octal) {
        (Some(digits), _) => u32::from_str_radix(digits, 16).ok(),
        (None, Some(digits)) => u32::from_str_radix(digits, 8).ok(),
        (None, None) => text.parse().ok(),
    }
}

/// The number that the text begins with, as scanf(3) reads it.
fn scanned(text: &str) -> Option<u32> {
    let text = text.trim_start();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text.get(..digits)?.parse().ok()
}

/// `zone=N1,N2...`. The error is the peer's text. What it takes for another zone (70000) is none here.
fn zones(text: &str) -> Result<Vec<Zone>, String> {
    let list = text.strip_prefix("zone=").ok_or_else(|| format!("invalid argument {text}"))?;
    let named = list.split(',').filter(|zone| !zone.is_empty());
    let zone = |text: &str| scanned(text).and_then(|zone| u16::try_from(zone).ok()).map(Zone::Id);
    let zones: Option<Vec<Zone>> = named.map(zone).collect();
    let zones = zones.filter(|zones| !zones.is_empty());
    zones.ok_or_else(|| "invalid zone".to_owned())
}

pub(super) fn del_limits(
    datapaths: &Datapaths,
    asked: &Asked,
    said: &mut Said,
) -> Result<(), Failed> {
    let (opened, rest) = of_kernel(datapaths, asked, 2, said)?;
    let text = rest.first().map_or("", String::as_str);
    let zones = zones(text).map_err(|text| said.complain_errno(libc::EINVAL, text))?;
    const FAILED: &str = "failed to delete conntrack limit";
    is_kernels(&opened, said, FAILED)?;
    ct_limits::delete_zone_limits(&zones).map_err(|error| said.complain_error(&error, FAILED))
}

pub(super) fn get_limits(
    datapaths: &Datapaths,
    asked: &Asked,
    said: &mut Said,
) -> Result<(), Failed> {
    let (opened, rest) = of_kernel(datapaths, asked, 2, said)?;
    let asked_for = match rest.first() {
        None => Vec::new(),
        Some(text) => zones(text).map_err(|text| said.complain_errno(libc::EINVAL, text))?,
    };
    const FAILED: &str = "failed to get conntrack limit";
    is_kernels(&opened, said, FAILED)?;
    let mut limits =
        ct_limits::zone_limits(&asked_for).map_err(|error| said.complain_error(&error, FAILED))?;
    let is_default = |limit: &ZoneLimit| limit.zone == Zone::Default;
    let default = match limits.iter().find(|limit| is_default(limit)) {
        Some(limit) => limit.limit,
        // The kernel tells it only when all are asked for.
        None => ct_limits::zone_limits(&[Zone::Default])
            .map_err(|error| said.complain_error(&error, FAILED))?
            .first()
            .map_or(0, |limit| limit.limit),
    };
    limits.retain(|limit| !is_default(limit));
    let rows = limits.iter().filter_map(|limit| match limit.zone {
        Zone::Default => None,
        Zone::Id(zone) => Some((zone, limit.limit, limit.count)),
    });
    if asked.json {
        let rows =
            rows.map(|(zone, limit, count)| json!({"zone": zone, "limit": limit, "count": count}));
        said.json = Some(json!({"default": default, "zones": rows.collect::<Vec<_>>()}));
        return Ok(());
    }
    said.line(format_args!("default limit={default}"));
    for (zone, limit, count) in rows {
        said.line(format_args!("zone={zone},limit={limit},count={count}"));
    }
    Ok(())
}

/// `ct-bkts`: the kernel does not tell its buckets.
pub(super) fn buckets(datapaths: &Datapaths, asked: &Asked, said: &mut Said) -> Result<(), Failed> {
    let is_threshold = |arg: &&String| arg.strip_prefix("gt=").and_then(scanned).is_some();
    let args = match asked.args.split_last() {
        Some((last, others)) if is_threshold(&last) => others,
        _ => &asked.args,
    };
    datapaths.open_named(args, 1, said)?;
    said.line("Command is available for UserSpace ConnTracker only.");
    Ok(())
}

/// What only the user-space conntrack can do: the datapath must be there, the arguments must make sense,
/// and then the answer is that it is not supported.
fn unsupported(
    datapaths: &Datapaths,
    asked: &Asked,
    most: usize,
    said: &mut Said,
    check: impl FnOnce(&Asked) -> Result<(), &'static str>,
    what: &str,
) -> Result<(), Failed> {
    datapaths.open_optional(asked, most, said)?;
    if let Err(complaint) = check(asked) {
        return Err(said.complain_errno(libc::EINVAL, complaint));
    }
    Err(said.complain_errno(libc::EOPNOTSUPP, what))
}

macro_rules! unsupported {
    ($($name:ident: $most:expr, $check:expr, $what:expr;)*) => {
        $(pub(super) fn $name(
            datapaths: &Datapaths,
            asked: &Asked,
            said: &mut Said,
        ) -> Result<(), Failed> {
            unsupported(datapaths, asked, $most, said, $check, $what)
        })*
    };
}

unsupported! {
    set_maxconns: 2, |asked| last_number(asked, "maxconns missing or malformed"),
        "ct set maxconns failed";
    get_maxconns: 1, |_| Ok(()), "maxconns could not be retrieved";
    get_nconns: 1, |_| Ok(()), "nconns could not be retrieved";
    enable_tcp_seq_chk: 1, |_| Ok(()), "enabling TCP sequence checking failed";
    disable_tcp_seq_chk: 1, |_| Ok(()), "disabling TCP sequence checking failed";
    get_tcp_seq_chk: 1, |_| Ok(()), "TCP sequence checking query failed";
    ipf_set_enabled: 3, |asked| version_of_ip(asked.last_but(0)),
        "enabling fragmentation reassembly failed";
    ipf_set_disabled: 3, |asked| version_of_ip(asked.last_but(0)),
        "disabling fragmentation reassembly failed";
    ipf_set_min_frag: 3, |asked| {
        version_of_ip(asked.last_but(1))
            .map_err(|_| "parameter missing: v4 for IPv4 or v6 for IPv6")?;
        last_number(asked, "parameter missing for minimum fragment size")
    }, "requested minimum fragment size too small; see documentation";
    ipf_set_max_nfrags: 2, |asked| last_number(asked, "parameter missing for maximum fragments"),
        "setting maximum fragments failed";
    ipf_get_status: 1, |_| Ok(()), "ipf status could not be retrieved";
    offload_stats_show: 1, |_| Ok(()), "retrieving offload statistics";
}

fn last_number(asked: &Asked, complaint: &'static str) -> Result<(), &'static str> {
    scanned(asked.last_but(0)).map(drop).ok_or(complaint)
}

fn version_of_ip(text: &str) -> Result<(), &'static str> {
    let text = text.trim_start();
    match text.starts_with("v4") || text.starts_with("v6") {
        true => Ok(()),
        false => Err("parameter missing: 'v4' for IPv4 or 'v6' for IPv6"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn limits_in_text() {
        let limit = |zone, limit| ZoneLimit { zone: Zone::Id(zone), limit, count: 0 };
        assert_eq!(zone_limit("zone=5,limit=10"), Ok(limit(5, 10)));
        assert_eq!(zone_limit("limit=0x10,zone=010"), Ok(limit(8, 16)));
        assert!(zone_limit("zone=65536,limit=1").is_err());
        assert_eq!(zones("zone=1,,65535,"), Ok(vec![Zone::Id(1), Zone::Id(65535)]));
        for wrong in ["zone=", "zone=,", "zone=70000", "zone=x"] {
            assert_eq!(zones(wrong), Err("invalid zone".to_owned()), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(zone=|limit=|default=)?[0-9a-fx,= ]{0,20}") {
            let _ = (zone_limit(&text), zones(&text));
        }
    }
}
