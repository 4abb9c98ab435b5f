//! Translation: a flow and the state of the switch in, datapath actions and a mask out.
//!
//! One translator serves upcalls, revalidation, replay and trace. It is pure: it changes nothing
//! but its [`XlateOut`]; what must happen besides is listed in [`XlateOut::effects`] and applied by
//! the caller, with a packet at an upcall, with counters at revalidation, not at all in a
//! trace.
//!
//! What always holds: `wc` has a 1-bit for every bit of the packet that a decision read (fields are
//! read through [`Tracked`] only), and `deps` names every part of the switch's state that one
//! read. Any thread; a thread reuses its `XlateOut`, so that nothing is allocated once
//! the buffers have grown.

mod normal;
mod output;
mod patch;
mod vlan;

use std::borrow::Cow;
use std::sync::Arc;

use crate::coverage::counter;
use crate::datapath::OdpPort;
use crate::flow::tracked::{Tracked, VlanStack};
use crate::flow::{
    FLOW_MAX_MPLS_LABELS, FLOW_NW_FRAG_ANY, FLOW_NW_FRAG_LATER, Flow, FlowWildcards, VLAN_CFI,
};
use crate::l2::fdb::{BundleId, FdbKey};
use crate::odp::action::OdpActions;
use crate::ofproto::{OfpAction, Rule, TableId};
use crate::snapshot::{Bridge, BridgeId, Dep, PatchCounters, Port, Snapshot};

counter!(static XLATE_ACTIONS = "xlate_actions");

/// What is translated.
#[derive(Clone, Copy)]
pub struct XlateIn<'a> {
    /// The switch.
    pub snapshot: &'a Snapshot,
    /// The packet; `in_port` is the datapath's number.
    pub flow: &'a Flow,
    /// Monotonic milliseconds, for the age of what is looked up.
    pub now_ms: u64,
}

/// What must happen besides forwarding.
#[derive(Clone, Debug)]
pub enum Effect {
    /// The source address was seen.
    Learn {
        /// On this bridge.
        bridge: BridgeId,
        /// VLAN and address.
        key: FdbKey,
        /// Behind this bundle.
        bundle: BundleId,
        /// In a gratuitous ARP.
        grat_arp: bool,
    },
    /// A rule decided.
    Credit(Arc<Rule>),
    /// The packet went through a patch.
    Patch {
        /// The end where it left a bridge.
        from: Arc<PatchCounters>,
        /// The end where it came into the other.
        to: Arc<PatchCounters>,
    },
}

/// Why a packet goes nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropReason {
    /// The datapath port belongs to no bridge.
    UnknownPort,
    /// Table 0 had no rule for it.
    NoRule,
    /// The rule has no actions.
    RuleDrops,
    /// A tagged packet on an access port.
    TaggedOnAccess,
    /// A VLAN that the port does not carry.
    VlanNotTrunked,
    /// A tunnel in a tunnel: more tags than a flow holds.
    TooManyVlans,
    /// A destination that bridges keep to themselves (01:80:c2:00:00:0x).
    ReservedDestination,
    /// A group address, on an interface of a bond that is not the one that sends.
    InactiveMember,
    /// The destination is behind the port the packet came from.
    DestinationIsSource,
    /// A flood with nowhere to go.
    NowhereToFlood,
    /// More actions than the kernel accepts.
    TooManyActions,
    /// A patch port whose peer is not there, or has another peer.
    NoPeer,
    /// Bridges patched into a ring: too many in a row, or in all.
    TooDeep,
}

impl DropReason {
    /// A sentence for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::UnknownPort => "received on a datapath port that belongs to no bridge",
            Self::NoRule => "no rule in table 0 matches",
            Self::RuleDrops => "the rule that matched has no actions",
            Self::TaggedOnAccess => "tagged packet received on an access port",
            Self::VlanNotTrunked => "the port does not carry this VLAN",
            Self::TooManyVlans => "more VLAN tags than a flow holds",
            Self::ReservedDestination => "reserved destination address",
            Self::InactiveMember => "a group address on an interface of a bond that does not send",
            Self::DestinationIsSource => "the destination is behind the input port",
            Self::NowhereToFlood => "no other port carries this VLAN",
            Self::TooManyActions => "more actions than the kernel accepts",
            Self::NoPeer => "the patch port has no peer",
            Self::TooDeep => "bridges are patched into a ring",
        }
    }
}

/// What came of a translation. Reused from one to the next.
#[derive(Default)]
pub struct XlateOut {
    /// Datapath actions, encoded.
    pub actions: OdpActions,
    /// The bits that were read.
    pub wc: FlowWildcards,
    /// The state that was read.
    pub deps: Vec<Dep>,
    /// What must happen besides.
    pub effects: Vec<Effect>,
    /// Why there are no actions, when there are none.
    pub drop: Option<DropReason>,
    /// The bridge that decided; `None` for a port of no bridge.
    pub bridge: Option<BridgeId>,
    /// The story of the decision, a line a step, when asked for by [`translate_traced`].
    pub trace: Option<Vec<String>>,
}

impl XlateOut {
    fn clear(&mut self) {
        self.actions.clear();
        self.wc = FlowWildcards::CATCHALL;
        self.deps.clear();
        self.effects.clear();
        self.drop = None;
        self.bridge = None;
        if let Some(trace) = &mut self.trace {
            trace.clear();
        }
    }
}

/// Everything that a step of the pipeline reads and writes.
struct Ctx<'a> {
    snapshot: &'a Snapshot,
    bridge: &'a Bridge,
    in_port: &'a Port,
    now_ms: u64,
    /// The flow as rewritten so far.
    flow: Tracked<'a>,
    /// The flow as the actions so far leave it; copied when one changes it, which few do.
    base: Cow<'a, Flow>,
    /// The VLAN headers that the packet came with.
    came_with: VlanStack,
    /// Patches on the way from the port that the packet came in by to here.
    depth: usize,
    /// Patches gone through in all.
    crossed: usize,
    actions: &'a mut OdpActions,
    deps: &'a mut Vec<Dep>,
    effects: &'a mut Vec<Effect>,
    trace: Option<&'a mut Vec<String>>,
}

impl Ctx<'_> {
    fn report(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }
}

/// Translates `input` into `out`, replacing what `out` held.
pub fn translate(input: XlateIn<'_>, out: &mut XlateOut) {
    XLATE_ACTIONS.add(1);
    out.clear();
    mark_always_read(input.flow, &mut out.wc);

    let odp = OdpPort(input.flow.in_port);
    out.deps.push(Dep::OdpPort(odp));
    let Some((bridge, in_port)) = input.snapshot.port(odp) else {
        out.drop = Some(DropReason::UnknownPort);
        return;
    };
    out.bridge = Some(bridge.id);
    out.deps.push(Dep::Bridge(bridge.id));

    let mut ctx = Ctx {
        snapshot: input.snapshot,
        bridge,
        in_port,
        now_ms: input.now_ms,
        flow: Tracked::new(input.flow, &mut out.wc),
        base: Cow::Borrowed(input.flow),
        came_with: input.flow.vlans,
        depth: 0,
        crossed: 0,
        actions: &mut out.actions,
        deps: &mut out.deps,
        effects: &mut out.effects,
        trace: out.trace.as_mut(),
    };
    ctx.flow.set_in_port(in_port.ofp.in_port());
    let mut dropped = table(&mut ctx, TableId(0)).err();
    if out.actions.check(None).is_err() {
        out.actions.clear();
        dropped = Some(DropReason::TooManyActions);
    }
    out.drop = dropped;
    unmark_what_cannot_be_matched(input.flow, &mut out.wc);
}

/// Translates and tells the story in `out.trace`.
pub fn translate_traced(input: XlateIn<'_>, out: &mut XlateOut) {
    out.trace.get_or_insert_default();
    translate(input, out);
}

/// Looks `flow` up in a table and does what the rule says.
fn table(ctx: &mut Ctx<'_>, id: TableId) -> Result<(), DropReason> {
    let (flow, wc) = ctx.flow.parts();
    let rule = ctx.bridge.tables.lookup(id, flow, wc);
    ctx.deps.push(Dep::Table(ctx.bridge.id, id));
    let Some(rule) = rule else {
        return Err(DropReason::NoRule);
    };
    ctx.deps.push(Dep::Rule(ctx.bridge.id, rule.id));
    ctx.report(|| format!("{}. priority {}, cookie {:#x}", id.0, rule.priority, rule.cookie));
    ctx.effects.push(Effect::Credit(rule.clone()));
    if rule.actions.is_empty() {
        return Err(DropReason::RuleDrops);
    }
    let before = ctx.actions.as_bytes().len();
    let mut result = Ok(());
    for action in &rule.actions {
        let done = match action {
            OfpAction::Normal => normal::normal(ctx),
            OfpAction::Output(port) => output::output(ctx, *port),
        };
        result = result.and(done);
    }
    if ctx.actions.as_bytes().len() == before { result } else { Ok(()) }
}

/// What every megaflow matches: the port, the packet type, the Ethernet type, whether the packet is
/// a fragment, and how often it has been round.
fn mark_always_read(flow: &Flow, wc: &mut FlowWildcards) {
    let exact = &FlowWildcards::EXACT.masks;
    wc.masks.packet_type = exact.packet_type;
    wc.masks.in_port = exact.in_port;
    wc.masks.dl_type = exact.dl_type;
    wc.masks.recirc_id = exact.recirc_id;
    if flow.is_ip_any() {
        wc.masks.nw_frag |= FLOW_NW_FRAG_ANY | FLOW_NW_FRAG_LATER;
    }
}

/// Takes back the bits that no megaflow can match: those of the switch's own registers, and of
/// headers that the packet did not come with (a rewrite may have read them).
fn unmark_what_cannot_be_matched(flow: &Flow, wc: &mut FlowWildcards) {
    let masks = &mut wc.masks;
    let zero = &Flow::ZERO;
    masks.metadata = zero.metadata;
    masks.regs = zero.regs;
    masks.conj_id = zero.conj_id;
    masks.actset_output = zero.actset_output;
    masks.tunnel.metadata.pad = zero.tunnel.metadata.pad;

    let icmp = matches!((flow.dl_type.get(), flow.nw_proto), (0x0800, 1) | (0x86dd, 58));
    if icmp {
        // Type and code are 8 bits each in the datapath's key.
        masks.tp_src.set(masks.tp_src.get() & 0xff);
        masks.tp_dst.set(masks.tp_dst.get() & 0xff);
    }
    if flow.nw_frag & FLOW_NW_FRAG_LATER != 0 {
        masks.tp_src = zero.tp_src;
        masks.tp_dst = zero.tp_dst;
    }
    if !matches!(flow.dl_type.get(), 0x8847 | 0x8848) {
        masks.mpls_lse = [zero.mpls_lse[0]; FLOW_MAX_MPLS_LABELS + 1];
    }
    for (mask, header) in masks.vlans.iter_mut().zip(&flow.vlans) {
        if header.tci.get() & VLAN_CFI == 0 {
            *mask = zero.vlans[0];
        } else if mask.tci.get() != 0 {
            mask.tci.set(mask.tci.get() | VLAN_CFI);
        }
    }
    if !flow.tunnel.dst_is_set() {
        masks.tunnel = zero.tunnel;
    }
}

#[cfg(test)]
mod tests;
