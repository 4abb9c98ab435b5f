//! What becomes of an installed flow: pure decisions, no kernel.
//!
//! [`retranslate`] walks the road of the upcall for a flow's own key and compares. What always
//! holds: a flow is kept only if today's translation gives the same actions and reads no bit that
//! the flow's mask leaves open; a flow is never deleted to save work.

use ovs_netlink::agree::actions_agree;

use crate::flow::{Flow, FlowWildcards};
use crate::odp;
use crate::odp::key::{Fitness, OdpKey};
use crate::odp::mask::mask_to_wildcards;
use crate::snapshot::Snapshot;
use crate::upcall::ukey::{DeleteReason, Ukey};
use crate::xlate::{XlateIn, XlateOut, translate};

/// What to do with a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is right as it is.
    Keep,
    /// Its actions are others now: those in the [`Scratch`].
    Modify,
    /// It has to go.
    Delete(DeleteReason),
}

/// Buffers for retranslation, reused from flow to flow.
#[derive(Default)]
pub struct Scratch {
    /// What the flow's key says.
    pub flow: Flow,
    /// What the flow's mask says.
    pub wc: FlowWildcards,
    /// Today's translation.
    pub out: XlateOut,
}

/// Translates a flow, given by its encoded key, mask (none for an exact match) and actions, once more.
pub fn retranslate(
    key: &[u8],
    mask: Option<&[u8]>,
    actions: &[u8],
    snapshot: &Snapshot,
    support: &odp::Support,
    now_ms: u64,
    scratch: &mut Scratch,
) -> Verdict {
    let vlans = support.max_vlan_headers;
    // A key that a dump gave back lacks what its mask leaves open.
    let readable = OdpKey(key).to_flow(vlans, &mut scratch.flow).is_ok()
        && matches!(
            mask_to_wildcards(mask.unwrap_or_default(), &scratch.flow, vlans, &mut scratch.wc),
            Ok(Fitness::Perfect | Fitness::TooMuch | Fitness::TooLittle)
        );
    if !readable {
        return Verdict::Delete(DeleteReason::Foreign);
    }
    translate(XlateIn { snapshot, flow: &scratch.flow, now_ms }, &mut scratch.out);
    if !scratch.wc.covers(&matchable(&scratch.out.wc)) {
        return Verdict::Delete(DeleteReason::Changed);
    }
    // The kernel tells actions in a form of its own: other bytes need not be other actions.
    let wanted = scratch.out.actions.as_bytes();
    if wanted == actions || actions_agree(wanted, actions) {
        Verdict::Keep
    } else {
        Verdict::Modify
    }
}

/// [`retranslate`], with the story in `scratch.out.trace`.
pub fn retranslate_traced(
    key: &[u8],
    mask: Option<&[u8]>,
    actions: &[u8],
    snapshot: &Snapshot,
    support: &odp::Support,
    now_ms: u64,
    scratch: &mut Scratch,
) -> Verdict {
    scratch.out.trace.get_or_insert_default();
    retranslate(key, mask, actions, snapshot, support, now_ms, scratch)
}

/// The part of the wildcards that a mask in the kernel can say: the packet type is not among it.
fn matchable(wc: &FlowWildcards) -> FlowWildcards {
    let mut wc = *wc;
    wc.masks.packet_type = Flow::ZERO.packet_type;
    wc
}

/// Whether a flow has been idle for longer than `allowed_ms` (see [`allowed_idle_ms`]).
#[inline]
pub fn is_idle(ukey: &Ukey, now_ms: u64, allowed_ms: u64) -> bool {
    now_ms.saturating_sub(ukey.last_use_ms()) > allowed_ms
}

/// The idle time that is allowed when there are `flows` flows where `limit` are allowed: all of it
/// up to the limit, then less in proportion, down to a tenth of a second at twice the limit. An
/// elephant is never idle, so it stays.
pub fn allowed_idle_ms(max_idle_ms: u64, flows: usize, limit: usize) -> u64 {
    const FLOOR_MS: u64 = 100;
    let over = flows.saturating_sub(limit) as u64;
    if over == 0 {
        return max_idle_ms;
    }
    let limit = limit.max(1) as u64;
    let left = limit.saturating_sub(over);
    (u128::from(max_idle_ms) * u128::from(left) / u128::from(limit)) as u64 + FLOOR_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_shrinks_with_the_crowd() {
        assert_eq!(allowed_idle_ms(10_000, 5, 100), 10_000);
        assert_eq!(allowed_idle_ms(10_000, 100, 100), 10_000);
        assert_eq!(allowed_idle_ms(10_000, 150, 100), 5_100);
        assert_eq!(allowed_idle_ms(10_000, 200, 100), 100);
        assert_eq!(allowed_idle_ms(10_000, 1_000, 0), 100);
    }
}
