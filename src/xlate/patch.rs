//! Going through a patch: the packet leaves one bridge and comes into another, within one translation.
//!
//! What always holds: the second bridge sees nothing of what the first noted about the packet, and the
//! first goes on afterwards as if it had not been left; bridges that are patched into a ring end
//! at a depth and a number of crossings that are the peer's.

use super::{Ctx, DropReason, Effect, table};
use crate::limits::{XLATE_DEPTH_MAX, XLATE_RESUBMITS_MAX};
use crate::ofproto::{OfPort, TableId};
use crate::snapshot::{Dep, Patch};

/// Sends the packet, as it stands, through the patch of the port `ofp`.
pub(super) fn cross(ctx: &mut Ctx<'_>, ofp: OfPort, patch: &Patch) -> Result<(), DropReason> {
    ctx.deps.push(Dep::Patch(ctx.bridge.id, ofp));
    let snapshot = ctx.snapshot;
    let Some((bridge, peer)) = snapshot.patch_peer(ctx.bridge.id, ofp) else {
        return Err(DropReason::NoPeer);
    };
    if ctx.depth >= XLATE_DEPTH_MAX || ctx.crossed >= XLATE_RESUBMITS_MAX {
        return Err(DropReason::TooDeep);
    }
    if let Some(theirs) = peer.patch() {
        let (from, to) = (patch.counters.clone(), theirs.counters.clone());
        ctx.effects.push(Effect::Patch { from, to });
    }
    ctx.report(|| format!("bridge(\"{}\")", bridge.name));
    ctx.deps.push(Dep::Bridge(bridge.id));
    let (first, in_port) = (ctx.bridge, ctx.in_port);
    let left = ctx.flow.enter(peer.ofp.in_port(), &ctx.came_with);
    (ctx.bridge, ctx.in_port) = (bridge, peer);
    ctx.depth += 1;
    ctx.crossed += 1;
    let result = table(ctx, TableId(0));
    ctx.depth -= 1;
    (ctx.bridge, ctx.in_port) = (first, in_port);
    ctx.flow.leave(left);
    result
}
