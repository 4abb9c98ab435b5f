//! NORMAL: forward as a learning switch does, within the VLAN the packet belongs to.
//!
//! The source address is learned (an effect), the destination looked up; an unknown one and every
//! group address goes to all ports that carry the VLAN, except back to where it came from.

use super::vlan::{self, Tags};
use super::{Ctx, DropReason, Effect, output};
use crate::flow::{VLAN_CFI, VlanHdr};
use crate::l2::fdb::FdbKey;
use crate::snapshot::{Bundle, Dep, VlanMode};

const ETH_TYPE_ARP: u16 = 0x0806;
const ARP_OP_REQUEST: u8 = 1;
const ARP_OP_REPLY: u8 = 2;

/// See the module's page.
pub(super) fn normal(ctx: &mut Ctx<'_>) -> Result<(), DropReason> {
    let dl_src = ctx.flow.dl_src();
    let dl_dst = ctx.flow.dl_dst();
    let vid = ctx.flow.outer_vid().unwrap_or(0);

    let bridge = ctx.bridge;
    ctx.deps.push(Dep::Bundle(bridge.id, ctx.in_port.bundle));
    let Some(in_bundle) = bridge.bundle(ctx.in_port.bundle) else {
        return Err(DropReason::UnknownPort);
    };
    vlan::admit(in_bundle, vid)?;
    if matches!(in_bundle.vlan_mode, VlanMode::Dot1qTunnel(_)) {
        hide_inner_vlan(ctx)?;
    }
    let tags = vlan::enter(in_bundle, &ctx.flow.carried_vlans(), vid);
    if dl_dst.is_reserved() && !bridge.forward_bpdu {
        return Err(DropReason::ReservedDestination);
    }

    // What everybody is sent comes by each member, and comes back by another than it went: only the one
    // that sends takes it, or addresses of this side would seem to be on the other.
    if dl_dst.is_multicast() && in_bundle.ports.first() != Some(&ctx.in_port.ofp) {
        return Err(DropReason::InactiveMember);
    }

    let src = FdbKey { vlan: tags.vid(), mac: dl_src };
    let grat_arp = is_gratuitous_arp(ctx);
    ctx.effects.push(Effect::Learn { bridge: bridge.id, key: src, bundle: in_bundle.id, grat_arp });

    if dl_dst.is_multicast() {
        ctx.report(|| format!("group address {dl_dst} in VLAN {}, flooding", tags.vid()));
        return flood(ctx, in_bundle, tags);
    }
    let dst = FdbKey { vlan: tags.vid(), mac: dl_dst };
    ctx.deps.push(Dep::Fdb(bridge.id, dst));
    // The source is learned before the destination is looked up, which shows when they are one.
    let known = if dst == src { Some(in_bundle.id) } else { bridge.fdb.lookup(dst, ctx.now_ms) };
    let known = known.and_then(|id| bridge.bundle(id));
    // Where a reconfigured port's address was learned may be out of the VLAN since.
    if let Some(bundle) = known {
        ctx.deps.push(Dep::Bundle(bridge.id, bundle.id));
    }
    let known = known.filter(|bundle| vlan::carries(bundle, in_bundle, tags, &mut ctx.flow));
    let Some(out_bundle) = known else {
        ctx.report(|| format!("no learned address {dl_dst} in VLAN {}, flooding", tags.vid()));
        return flood(ctx, in_bundle, tags);
    };
    ctx.report(|| format!("{dl_dst} in VLAN {} is behind {}", tags.vid(), out_bundle.name));
    if out_bundle.id == in_bundle.id {
        return Err(DropReason::DestinationIsSource);
    }
    leave(ctx, out_bundle, tags)
}

/// Sends to every other bundle that carries the VLAN.
fn flood(ctx: &mut Ctx<'_>, in_bundle: &Bundle, tags: Tags) -> Result<(), DropReason> {
    let bridge = ctx.bridge;
    ctx.deps.push(Dep::Flood(bridge.id, tags.vid()));
    ctx.deps.push(Dep::FloodAny(bridge.id));
    let mut result = Err(DropReason::NowhereToFlood);
    for bundle in &bridge.bundles {
        if bundle.id != in_bundle.id && vlan::carries(bundle, in_bundle, tags, &mut ctx.flow) {
            result = result.or(leave(ctx, bundle, tags));
        }
    }
    result
}

/// Sends to a bundle's port with the tags that its wire shall carry.
fn leave(ctx: &mut Ctx<'_>, bundle: &Bundle, tags: Tags) -> Result<(), DropReason> {
    let Some(port) = bundle.ports.first() else {
        return Err(DropReason::NowhereToFlood);
    };
    let headers = vlan::leave(bundle, tags, &mut ctx.flow);
    let before = ctx.flow.replace_vlans(headers);
    let sent = output::output(ctx, *port);
    ctx.flow.replace_vlans(before);
    sent
}

/// A tunnel puts its tag around whatever comes in, and a packet with two tags would have one more than
/// a flow holds: from here on its inner one is part of what it carries, and stays as it is.
fn hide_inner_vlan(ctx: &mut Ctx<'_>) -> Result<(), DropReason> {
    let [outer, inner] = ctx.flow.carried_vlans();
    if inner.tci.get() & VLAN_CFI == 0 {
        return Ok(());
    }
    // Tags that are still to be put on would be taken for the packet's own.
    if ctx.base.vlans != [outer, inner] {
        return Err(DropReason::TooManyVlans);
    }
    let seen = [outer, VlanHdr::default()];
    ctx.flow.replace_vlans(seen);
    ctx.base.vlans = seen;
    ctx.came_with = seen;
    Ok(())
}

/// Whether the packet announces its sender's own address: a broadcast ARP reply, or a broadcast
/// request for the sender itself.
fn is_gratuitous_arp(ctx: &mut Ctx<'_>) -> bool {
    let flow = &mut ctx.flow;
    flow.dl_type().get() == ETH_TYPE_ARP
        && flow.dl_dst().is_broadcast()
        && match flow.nw_proto() {
            ARP_OP_REPLY => true,
            ARP_OP_REQUEST => flow.nw_src() == flow.nw_dst(),
            _ => false,
        }
}
