//! The tracked view: the only way in which translation reads a packet's fields.
//!
//! A [`Tracked`] holds the flow as it stands at this point of the pipeline and the wildcards of
//! the megaflow under construction. Its fields are private; each getter marks the bits that it
//! hands out, so forgetting to un-wildcard what a decision read does not compile.
//!
//! What always holds: the wildcards have a 1-bit wherever a getter handed out a bit. Writes do not
//! mark: what a rewrite needs is un-wildcarded when it is committed to actions
//! ([`crate::odp::commit`]). One thread.

use super::{
    Be16, EthAddr, FLOW_MAX_VLAN_HEADERS, Flow, FlowTnl, FlowWildcards, VLAN_CFI, VLAN_PCP_MASK,
    VLAN_VID_MASK, VlanHdr,
};

/// The VLAN headers of a flow, outermost first.
pub type VlanStack = [VlanHdr; FLOW_MAX_VLAN_HEADERS];

/// The way back to a bridge: see [`Tracked::enter`].
pub struct Entered {
    flow: Flow,
    tunnel: FlowTnl,
}

/// See the module's page.
pub struct Tracked<'w> {
    flow: Flow,
    wc: &'w mut FlowWildcards,
}

macro_rules! getters {
    ($($(#[$doc:meta])* $field:ident: $ty:ty;)*) => {
        $(
            $(#[$doc])*
            pub fn $field(&mut self) -> $ty {
                self.wc.masks.$field = FlowWildcards::EXACT.masks.$field;
                self.flow.$field
            }
        )*
    };
}

impl<'w> Tracked<'w> {
    /// Starts with `flow` and the bits that are significant already.
    pub fn new(flow: &Flow, wc: &'w mut FlowWildcards) -> Self {
        Self { flow: *flow, wc }
    }

    /// Gives the input port another number: the datapath's becomes the bridge's.
    pub fn set_in_port(&mut self, in_port: u32) {
        self.flow.in_port = in_port;
    }

    getters! {
        /// Port the packet came in by.
        in_port: u32;
        /// Recirculation id.
        recirc_id: u32;
        /// Ethernet source.
        dl_src: EthAddr;
        /// Ethernet destination.
        dl_dst: EthAddr;
        /// Ethernet type.
        dl_type: Be16;
        /// IPv4 source or ARP sender.
        nw_src: [u8; 4];
        /// IPv4 destination or ARP target.
        nw_dst: [u8; 4];
        /// IP protocol or ARP opcode.
        nw_proto: u8;
        /// Fragment bits.
        nw_frag: u8;
    }

    /// The id of the outermost VLAN header; `None` where there is no header. Presence and id are
    /// recorded as read, the priority is not.
    pub fn outer_vid(&mut self) -> Option<u16> {
        let mask = &mut self.wc.masks.vlans[0].tci;
        mask.set(mask.get() | VLAN_VID_MASK | VLAN_CFI);
        let tci = self.flow.vlans[0].tci.get();
        (tci & VLAN_CFI != 0).then_some(tci & VLAN_VID_MASK)
    }

    /// The id of the VLAN header behind the outermost; `None` where there is none. Recorded as read, with
    /// presence.
    pub fn inner_vid(&mut self) -> Option<u16> {
        let mask = &mut self.wc.masks.vlans[1].tci;
        mask.set(mask.get() | VLAN_VID_MASK | VLAN_CFI);
        let tci = self.flow.vlans[1].tci.get();
        (tci & VLAN_CFI != 0).then_some(tci & VLAN_VID_MASK)
    }

    /// The priority bits of the outermost VLAN header, where they stand in its TCI; 0 where there is
    /// no header.
    pub fn outer_pcp(&mut self) -> u16 {
        let mask = &mut self.wc.masks.vlans[0].tci;
        mask.set(mask.get() | VLAN_PCP_MASK | VLAN_CFI);
        self.flow.vlans[0].tci.get() & VLAN_PCP_MASK
    }

    /// The VLAN headers to be carried through to an output, changed or not. Not recorded as read:
    /// no decision may rest on them, and where the output differs from the input the commit of
    /// the difference records what it replaced.
    pub fn carried_vlans(&self) -> VlanStack {
        self.flow.vlans
    }

    /// Replaces the VLAN headers, giving back the earlier ones.
    pub fn replace_vlans(&mut self, vlans: VlanStack) -> VlanStack {
        std::mem::replace(&mut self.flow.vlans, vlans)
    }

    /// Enters another bridge by its port `in_port`: what the first one noted about the packet, where
    /// it came from outside, and its connection tracking stay behind. `came_with` are the VLAN
    /// headers that the packet has on the wire; if those that it has now are others, the ones that may
    /// have moved up are recorded as read. Gives back what [`Tracked::leave`] wants.
    pub fn enter(&mut self, in_port: u32, came_with: &VlanStack) -> Entered {
        let left = Entered { flow: self.flow, tunnel: self.wc.masks.tunnel };
        let (flow, zero) = (&mut self.flow, &Flow::ZERO);
        flow.in_port = in_port;
        flow.metadata = zero.metadata;
        flow.regs = zero.regs;
        flow.tunnel = zero.tunnel;
        flow.actset_output = zero.actset_output;
        flow.clear_conntrack();
        if flow.vlans != *came_with {
            let headers = came_with.iter().zip(&mut self.wc.masks.vlans).skip(1);
            for (_, mask) in headers.filter(|(header, _)| header.tci.get() & VLAN_CFI != 0) {
                *mask = FlowWildcards::EXACT.masks.vlans[0];
            }
        }
        left
    }

    /// Goes back to the bridge that was left by [`Tracked::enter`]. Bits of a tunnel that were read
    /// in between are none of the packet's.
    pub fn leave(&mut self, left: Entered) {
        self.flow = left.flow;
        self.wc.masks.tunnel = left.tunnel;
    }

    /// The flow and the wildcards, for a reader that records for itself: the classifier and the
    /// commit of rewrites.
    pub fn parts(&mut self) -> (&Flow, &mut FlowWildcards) {
        (&self.flow, self.wc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_a_field_marks_it_and_nothing_else() {
        let mut flow = Flow::ZERO;
        flow.dl_src = EthAddr([2, 0, 0, 0, 0, 1]);
        let mut wc = FlowWildcards::CATCHALL;
        assert_eq!(Tracked::new(&flow, &mut wc).dl_src(), flow.dl_src);
        let mut want = FlowWildcards::CATCHALL;
        want.masks.dl_src = EthAddr::BROADCAST;
        assert!(wc == want);
    }

    #[test]
    fn reading_the_outer_vid_leaves_the_priority_out() {
        let mut flow = Flow::ZERO;
        flow.vlans[0] = VlanHdr { tpid: Be16::new(0x8100), tci: Be16::new(0xb00a) };
        let mut wc = FlowWildcards::CATCHALL;
        assert_eq!(Tracked::new(&flow, &mut wc).outer_vid(), Some(10));
        assert_eq!(wc.masks.vlans[0].tci.get(), 0x1fff);
        assert_eq!(wc.masks.vlans[0].tpid.get(), 0);
        assert_eq!(Tracked::new(&flow, &mut wc).outer_pcp(), 0xa000);
        assert_eq!(wc.masks.vlans[0].tci.get(), 0xffff);
    }

    #[test]
    fn absence_of_a_vlan_header_is_read_too() {
        let mut wc = FlowWildcards::CATCHALL;
        assert_eq!(Tracked::new(&Flow::ZERO, &mut wc).outer_vid(), None);
        assert_eq!(wc.masks.vlans[0].tci.get(), 0x1fff);
    }
}
