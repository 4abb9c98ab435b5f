//! Sending to a port: the rewrites so far are committed to actions, then the output itself.

use super::{Ctx, DropReason, patch};
use crate::odp::commit::{CommitOptions, commit_actions, is_rewritten};
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
    // VLAN headers are all that is rewritten so far, which the datapath does by itself.
    if is_rewritten(flow, &ctx.base) {
        commit_actions(flow, ctx.base.to_mut(), ctx.actions, wc, CommitOptions::default());
    }
    ctx.actions.output(odp.0);
    Ok(())
}
