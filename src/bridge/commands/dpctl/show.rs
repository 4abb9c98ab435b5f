//! `dpctl/show`, `dump-dps` and the caches: datapaths and their ports.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{Asked, Datapaths, Failed, Opened, Said};
use crate::datapath::{DpError, DpErrorKind, PortInfo, PortKind, PortStats};
use crate::netdev::{self, LinkStats};

/// The kernel's one cache, by the peer's name.
const MASKS_CACHE: &str = "masks-cache";

pub(super) fn dump_dps(
    datapaths: &Datapaths,
    asked: &Asked,
    said: &mut Said,
) -> Result<(), Failed> {
    let names = datapaths.names().map_err(|_| Failed)?;
    names.iter().for_each(|name| said.line(name));
    said.json = asked.json.then(|| Value::from(names));
    Ok(())
}

/// Calls `each` with the datapaths named, or with all; goes on after a failure.
fn each_chosen(
    datapaths: &Datapaths,
    asked: &Asked,
    said: &mut Said,
    complaint: &str,
    mut each: impl FnMut(&Opened, &mut Said),
) -> Result<(), Failed> {
    let names = match asked.args.as_slice() {
        [] => datapaths.names().map_err(|_| Failed)?,
        named => named.to_vec(),
    };
    let mut result = Ok(());
    for name in names {
        match datapaths.open(&name) {
            Ok(opened) => each(&opened, said),
            Err(error) => {
                let failed = said.complain_error(&error, format_args!("{complaint} {name} failed"));
                result = Err(failed);
            }
        }
    }
    result
}

pub(super) fn show(datapaths: &Datapaths, asked: &Asked, said: &mut Said) -> Result<(), Failed> {
    let links = if asked.statistics { link_stats() } else { HashMap::new() };
    let mut shown = serde_json::Map::new();
    let result = each_chosen(datapaths, asked, said, "opening datapath", |opened, said| {
        if asked.json {
            match shown_json(opened) {
                Ok(row) => drop(shown.insert(opened.name(), row)),
                Err(error) => drop(said.complain_error(&error, "reading statistics")),
            }
        } else {
            show_one(opened, asked.statistics.then_some(&links), said);
        }
    });
    said.json = asked.json.then_some(Value::Object(shown));
    result
}

fn link_stats() -> HashMap<String, LinkStats> {
    let links = netdev::links().unwrap_or_default();
    links.into_iter().map(|link| (link.name, link.stats)).collect()
}

fn show_one(opened: &Opened, links: Option<&HashMap<String, LinkStats>>, said: &mut Said) {
    said.line(format_args!("{}:", opened.name()));
    if let Ok(stats) = opened.datapath.stats() {
        said.line(format_args!(
            "  lookups: hit:{} missed:{} lost:{}",
            stats.hit, stats.missed, stats.lost
        ));
        said.line(format_args!("  flows: {}", stats.flows));
        if let Some(masks) = stats.masks {
            let packets = stats.hit + stats.missed;
            let rate = |n: u64| if packets == 0 { 0.0 } else { n as f64 / packets as f64 };
            let (hit, total) = (masks.hit, masks.masks);
            said.line(format_args!("  masks: hit:{hit} total:{total} hit/pkt:{:.2}", rate(hit)));
            // The peer takes no hits for a kernel that does not count them.
            let hits = masks.cache_hit;
            if hits > 0 {
                let percent = rate(hits) * 100.0;
                said.line(format_args!("  cache: hit:{hits} hit-rate:{percent:.2}%"));
            }
        }
    }
    show_caches(opened, said);
    for port in ports(opened).unwrap_or_default() {
        let kind = match opened.datapath.port_type(&port).as_ref() {
            "system" => String::new(),
            kind => format!(" ({kind})"),
        };
        said.line(format_args!("  port {}: {}{kind}", port.odp, port.name));
        if let Some(links) = links {
            let link = links.get(&port.name).filter(|_| port.kind == PortKind::Netdev);
            show_stats(&port.stats, link.copied().unwrap_or_default(), said);
        }
    }
}

fn ports(opened: &Opened) -> Result<Vec<PortInfo>, DpError> {
    let mut ports = opened.datapath.ports()?;
    ports.sort_by_key(|port| port.odp);
    Ok(ports)
}

fn show_stats(s: &PortStats, link: LinkStats, said: &mut Said) {
    said.line(format_args!(
        "    RX packets:{} errors:{} dropped:{} overruns:{} frame:{}",
        s.rx_packets, s.rx_errors, s.rx_dropped, link.rx_over_errors, link.rx_frame_errors
    ));
    said.line(format_args!(
        "    TX packets:{} errors:{} dropped:{} aborted:0 carrier:0",
        s.tx_packets, s.tx_errors, s.tx_dropped
    ));
    said.line(format_args!("    collisions:{}", link.collisions));
    said.line(format_args!(
        "    RX bytes:{}{}  TX bytes:{}{}",
        s.rx_bytes,
        human_size(s.rx_bytes),
        s.tx_bytes,
        human_size(s.tx_bytes)
    ));
}

/// A number of bytes in the largest unit that it fills, in parentheses; nothing under 1 KiB.
fn human_size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.iter().find(|(shift, _)| bytes >> shift > 0);
    unit.map_or_else(String::new, |(shift, name)| {
        format!(" ({:.1} {name})", bytes as f64 / (1u64 << shift) as f64)
    })
}

/// The same as a JSON object.
fn shown_json(opened: &Opened) -> Result<Value, DpError> {
    let stats = opened.datapath.stats()?;
    let ports = ports(opened)?;
    let ports = ports.iter().map(|port| {
        json!({
            "port": port.odp.0, "name": port.name, "type": opened.datapath.port_type(port),
            "rx_packets": port.stats.rx_packets, "tx_packets": port.stats.tx_packets,
            "rx_bytes": port.stats.rx_bytes, "tx_bytes": port.stats.tx_bytes,
            "rx_errors": port.stats.rx_errors, "tx_errors": port.stats.tx_errors,
            "rx_dropped": port.stats.rx_dropped, "tx_dropped": port.stats.tx_dropped,
        })
    });
    let ports = Value::from_iter(ports);
    let cache = opened.datapath.masks_cache_size()?;
    Ok(json!({
        "hit": stats.hit, "missed": stats.missed,
        "lost": stats.lost, "flows": stats.flows,
        "masks": stats.masks.map(|masks| masks.masks),
        "mask_hits": stats.masks.map(|masks| masks.hit),
        "cache_hits": stats.masks.map(|masks| masks.cache_hit),
        "masks_cache_size": cache,
        "ports": ports,
    }))
}

fn show_caches(opened: &Opened, said: &mut Said) {
    if let Ok(Some(size)) = opened.datapath.masks_cache_size() {
        said.line("  caches:");
        said.line(format_args!("    {MASKS_CACHE}: size:{size}"));
    }
}

pub(super) fn cache_get_size(
    datapaths: &Datapaths,
    asked: &Asked,
    said: &mut Said,
) -> Result<(), Failed> {
    // The peer complains with another capital letter here when a datapath was named.
    let complaint = if asked.args.is_empty() { "opening datapath" } else { "Opening datapath" };
    let mut sizes = serde_json::Map::new();
    let result = each_chosen(datapaths, asked, said, complaint, |opened, said| {
        said.line(format_args!("{}:", opened.name()));
        show_caches(opened, said);
        let size = opened.datapath.masks_cache_size().ok().flatten();
        sizes.insert(opened.name(), json!({MASKS_CACHE: size}));
    });
    said.json = asked.json.then_some(Value::Object(sizes));
    result
}

pub(super) fn cache_set_size(
    datapaths: &Datapaths,
    asked: &Asked,
    said: &mut Said,
) -> Result<(), Failed> {
    let (name, cache, size) = (asked.arg(0), asked.arg(1), asked.arg(2));
    let digits = size.trim_start().bytes().take_while(u8::is_ascii_digit).count();
    let size = size.trim_start().get(..digits).and_then(|digits| digits.parse().ok());
    let Some(size) = size else {
        return Err(said.complain_errno(libc::EINVAL, "size is malformed"));
    };
    let opened = datapaths.open(name).map_err(|error| {
        said.complain_error(&error, format_args!("Opening datapath {name} failed"))
    })?;
    match opened.datapath.masks_cache_size() {
        Ok(Some(_)) if cache == MASKS_CACHE => {}
        Ok(Some(_)) => {
            let what = format!("Cache name \"{cache}\" not found on dpif");
            return Err(said.complain_errno(libc::EINVAL, what));
        }
        Ok(None) => return Err(said.complain("Setting caches not supported")),
        Err(error) => return Err(said.complain_error(&error, "Setting caches not supported")),
    }
    // The kernel takes powers of two only. What has no next one is out of its range all the same.
    let size = if size == 0 { 0 } else { u32::checked_next_power_of_two(size).unwrap_or(size) };
    match opened.datapath.set_masks_cache_size(size) {
        Ok(size) => said.line(format_args!("Setting cache size successful, new size {size}")),
        Err(error) if error.kind == DpErrorKind::Unsupported && error.errno == 0 => {
            return Err(said.complain("Setting caches not supported"));
        }
        Err(error) => return Err(said.complain_error(&error, "Setting cache size failed")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        // As the peer prints them.
        assert_eq!(human_size(1023), "");
        assert_eq!(human_size(1024), " (1.0 KiB)");
        assert_eq!(human_size(1536), " (1.5 KiB)");
        assert_eq!(human_size(5 << 20), " (5.0 MiB)");
        assert_eq!(human_size(3 << 40), " (3.0 TiB)");
    }
}
