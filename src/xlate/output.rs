//! Sending to a port: the rewrites so far are committed to actions, then the output itself.

use super::{Ctx, DropReason, patch};
use crate::flow::VLAN_CFI;
use crate::flow::tracked::VlanStack;
use crate::odp::commit::{CommitOptions, commit_actions};
use crate::ofproto::OfPort;
use crate::snapshot::Attachment;

/// Sends the packet, as it stands, to a port of this bridge. A port that does not exist, or the
/// one that the packet came from, swallows it.
pub(super) fn output(ctx: &mut Ctx<'_>, ofp: OfPort) -> Result<(), DropReason> {
    if ofp == ctx.in_port.ofp {
        return Err(DropReason::DestinationIsSource);
    }
    let Some(port) = ctx.bridge.port(ofp) else {
        return Err(DropReason::UnknownPort);
    };
    let odp = match &port.at {
        Attachment::Datapath(odp) => *odp,
        Attachment::Patch(patch) => return patch::cross(ctx, ofp, patch),
    };
    let (flow, wc) = ctx.flow.parts();
    let (tags, read) = (ctx.base.vlans, wc.masks.vlans);
    // VLAN headers are all that is rewritten so far, which the datapath does by itself.
    commit_actions(flow, &mut ctx.base, ctx.actions, wc, CommitOptions::default());
    let own = put_on(&tags, &ctx.came_with);
    if own > 0 {
        // Taking off what an earlier output put on rests on nothing of the packet.
        let taken = count(&tags) - common_end(&tags, &ctx.base.vlans);
        let marked = wc.masks.vlans;
        wc.masks.vlans = read;
        let theirs = taken.saturating_sub(own);
        for (mask, marked) in wc.masks.vlans.iter_mut().zip(marked).take(theirs) {
            *mask = marked;
        }
    }
    ctx.actions.output(odp.0);
    Ok(())
}

fn count(tags: &VlanStack) -> usize {
    tags.iter().take_while(|tag| tag.tci.get() & VLAN_CFI != 0).count()
}

/// How many tags both have in common from the innermost on.
fn common_end(a: &VlanStack, b: &VlanStack) -> usize {
    let (a, b) = (a.iter().take(count(a)), b.iter().take(count(b)));
    a.rev().zip(b.rev()).take_while(|(a, b)| a == b).count()
}

/// How many of the outer tags are on top of all those that the packet came with.
fn put_on(tags: &VlanStack, came_with: &VlanStack) -> usize {
    if tags == came_with {
        return 0;
    }
    let (now, then) = (count(tags), count(came_with));
    if common_end(tags, came_with) == then { now.saturating_sub(then) } else { 0 }
}
