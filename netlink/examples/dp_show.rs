//! Lists the datapaths of this network namespace and their ports, as `ovs-dpctl show` does. (But what
//! kind of tunnel is behind a device is for rtnetlink to tell; to the module it is a mere device.)
//!
//! Needs the openvswitch module and CAP_NET_ADMIN:
//! `cargo run -p ovs-netlink --example dp_show`

use ovs_netlink::datapath::Datapath;
use ovs_netlink::vport::{Vport, VportType};
use ovs_netlink::{Families, Socket, datapath, vport};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut socket = Socket::open()?;
    let families = Families::resolve_on(&mut socket)?;
    for dp in datapath::dump(&mut socket, &families)? {
        let mut ports = vport::dump(&mut socket, &families, dp.ifindex)?;
        ports.sort_by_key(|port| port.port_no);
        show(&dp, &ports);
    }
    Ok(())
}

fn show(dp: &Datapath, ports: &[Vport]) {
    println!("system@{}:", dp.name);
    let stats = dp.stats.unwrap_or_default();
    println!("  lookups: hit:{} missed:{} lost:{}", stats.hit, stats.missed, stats.lost);
    println!("  flows: {}", stats.flows);
    if let Some(mega) = dp.megaflow_stats {
        let packets = stats.hit + stats.missed;
        let per_packet = |n: u64| if packets == 0 { 0.0 } else { n as f64 / packets as f64 };
        let (probed, cached) = (per_packet(mega.mask_hit), 100.0 * per_packet(mega.cache_hit));
        println!("  masks: hit:{} total:{} hit/pkt:{probed:.2}", mega.mask_hit, mega.masks);
        if mega.cache_hit > 0 {
            println!("  cache: hit:{} hit-rate:{cached:.2}%", mega.cache_hit);
        }
    }
    if let Some(size) = dp.masks_cache_size {
        println!("  caches:\n    masks-cache: size:{size}");
    }
    for port in ports {
        println!("  port {}: {}{}", port.port_no, port.name, kind(port));
    }
}

/// What follows the name: nothing for an ordinary device.
fn kind(port: &Vport) -> String {
    let name = match port.ty {
        VportType::Netdev => return String::new(),
        VportType::Internal => "internal",
        VportType::Gre => "gre",
        VportType::Vxlan => "vxlan",
        VportType::Geneve => "geneve",
        VportType::Unknown(number) => return format!(" (type {number})"),
    };
    match port.options.as_ref().and_then(|o| o.dst_port) {
        Some(dst_port) => format!(" ({name}: dst_port={dst_port})"),
        None => format!(" ({name})"),
    }
}
