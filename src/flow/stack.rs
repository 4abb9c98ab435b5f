//! Pushing and popping VLAN tags and MPLS labels of a flow, as actions do.
//!
//! What moves to another place in the flow is read, so the functions make it significant. Plain values:
//! any thread.

use super::{
    Be32, FLOW_MAX_MPLS_LABELS, FLOW_MAX_VLAN_HEADERS, Flow, FlowWildcards, SEGMENT_ENDS, VlanHdr,
};
use crate::packet::ether_type;
use crate::packet::mpls::{MPLS_BOS_MASK, MplsLse};

const ALL: Be32 = Be32::from_bytes([0xff; 4]);

impl Flow {
    /// Removes the outer VLAN tag, if there is one.
    pub fn pop_vlan(&mut self, wildcards: &mut FlowWildcards) {
        let count = self.vlan_count();
        if count == 0 {
            return;
        }
        for mask in wildcards.masks.vlans.iter_mut().take(count).skip(1) {
            *mask = FlowWildcards::EXACT.masks.vlans[0];
        }
        self.vlans.copy_within(1..count, 0);
        self.vlans[count - 1] = VlanHdr::default();
    }

    /// Makes room for an outer VLAN tag, all zero. A tag beyond [`FLOW_MAX_VLAN_HEADERS`] is lost to the
    /// flow.
    pub fn push_vlan_room(&mut self, wildcards: &mut FlowWildcards) {
        let count = self.vlan_count();
        for mask in wildcards.masks.vlans.iter_mut().take(count) {
            *mask = FlowWildcards::EXACT.masks.vlans[0];
        }
        self.vlans.copy_within(..FLOW_MAX_VLAN_HEADERS - 1, 1);
        self.vlans[0] = VlanHdr::default();
    }

    /// Number of MPLS labels, at most [`FLOW_MAX_MPLS_LABELS`]. Makes the bottom-of-stack bits
    /// significant that it reads.
    pub fn mpls_count(&self, wildcards: &mut FlowWildcards) -> usize {
        if !ether_type::is_mpls(self.dl_type.get()) {
            return 0;
        }
        let mut count = 0;
        for i in 0..FLOW_MAX_MPLS_LABELS {
            wildcards.masks.mpls_lse[i] |= MPLS_BOS_MASK;
            let lse = self.mpls_lse[i].get();
            if lse & MPLS_BOS_MASK != 0 {
                return i + 1;
            }
            count += usize::from(lse != 0);
        }
        count
    }

    /// Labels of the innermost ones that `self` and `other` have in common. `count` and `other_count` are
    /// their [`mpls_count`](Self::mpls_count)s.
    pub fn common_mpls_labels(
        &self,
        count: usize,
        other: &Self,
        other_count: usize,
        wildcards: &mut FlowWildcards,
    ) -> usize {
        let (ours, theirs) =
            (&self.mpls_lse[..count.min(3)], &other.mpls_lse[..other_count.min(3)]);
        let mut common = 0;
        for ((i, ours), (j, theirs)) in
            ours.iter().enumerate().rev().zip(theirs.iter().enumerate().rev())
        {
            wildcards.masks.mpls_lse[i] = ALL;
            wildcards.masks.mpls_lse[j] = ALL;
            if ours != theirs {
                break;
            }
            common += 1;
        }
        common
    }

    /// Adds an outer MPLS label to a flow that has `count`, and makes `dl_type` its Ethernet type. False, with
    /// nothing changed, when the flow is full or `dl_type` is none of MPLS.
    ///
    /// A first label is 0, or 2 for IPv6 (explicit null), with the packet's time to live or else 64, and its
    /// DSCP's upper bits; others copy the label outside them. With `clear_network` the first label hides what
    /// is behind it.
    pub fn push_mpls(
        &mut self,
        count: usize,
        dl_type: u16,
        clear_network: bool,
        wildcards: &mut FlowWildcards,
    ) -> bool {
        if count >= FLOW_MAX_MPLS_LABELS || !ether_type::is_mpls(dl_type) {
            return false;
        }
        let masks = &mut wildcards.masks;
        if count > 0 {
            masks.mpls_lse[..count].fill(ALL);
            self.mpls_lse.copy_within(..count, 1);
            self.mpls_lse[0] = (self.mpls_lse[1].get() & !MPLS_BOS_MASK).into();
        } else {
            let label = if self.dl_type.get() == ether_type::IPV6 { 2 } else { 0 };
            let (mut tc, mut ttl) = (0, 64);
            if self.is_ip_any() {
                masks.nw_tos |= 0xfc;
                masks.nw_ttl = u8::MAX;
                tc = self.nw_tos >> 2 & 7;
                ttl = if self.nw_ttl != 0 { self.nw_ttl } else { ttl };
            }
            self.mpls_lse[0] = MplsLse::new(label, tc, true, ttl).0;
            if clear_network {
                self.clear_from_network_layer();
                self.dp_hash = 0;
            }
        }
        self.dl_type = dl_type.into();
        true
    }

    /// Removes the outer one of `count` MPLS labels; the packet is of type `dl_type` then. False, with nothing
    /// changed, when there is none, or when what comes up from below is not known.
    pub fn pop_mpls(&mut self, count: usize, dl_type: u16, wildcards: &mut FlowWildcards) -> bool {
        if count == 0 || count > FLOW_MAX_MPLS_LABELS {
            return false;
        }
        if count == FLOW_MAX_MPLS_LABELS {
            wildcards.masks.mpls_lse[count - 1] |= MPLS_BOS_MASK;
            if self.mpls_lse[count - 1].get() & MPLS_BOS_MASK == 0 {
                return false;
            }
        }
        wildcards.masks.mpls_lse[1..count].fill(ALL);
        self.mpls_lse.copy_within(1..count, 0);
        self.mpls_lse[count - 1] = Be32::ZERO;
        self.dl_type = dl_type.into();
        true
    }

    /// Zeroes network and transport layer.
    pub fn clear_from_network_layer(&mut self) {
        self.words_mut()[SEGMENT_ENDS[1]..].fill(0);
    }

    /// Zeroes what connection tracking brought.
    pub fn clear_conntrack(&mut self) {
        self.ct_state = 0;
        self.ct_zone = 0;
        self.ct_mark = 0;
        self.ct_label = [0; 16];
        self.ct_nw_proto = 0;
        self.ct_tp_src = 0.into();
        self.ct_tp_dst = 0.into();
        self.ct_nw_src = [0; 4];
        self.ct_nw_dst = [0; 4];
        self.ct_ipv6_src = [0; 16];
        self.ct_ipv6_dst = [0; 16];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wildcards() -> FlowWildcards {
        FlowWildcards::CATCHALL
    }

    #[test]
    fn vlans() {
        let mut flow = Flow::parse("dl_vlan=5", None).unwrap();
        let mut wc = wildcards();
        flow.push_vlan_room(&mut wc);
        assert_eq!(flow.vlans.map(|v| v.tci.get()), [0, 0x1005]);
        assert_eq!(wc.masks.vlans[0].tci.get(), 0xffff);
        assert_eq!(wc.masks.vlans[1].tci.get(), 0);
        flow.vlans[0] = VlanHdr { tpid: 0x88a8.into(), tci: 0x1007.into() };
        flow.pop_vlan(&mut wc);
        assert_eq!(flow.vlans.map(|v| v.tci.get()), [0x1005, 0]);
        assert_eq!(wc.masks.vlans[1].tci.get(), 0xffff);
        flow.pop_vlan(&mut wc);
        flow.pop_vlan(&mut wc);
        assert_eq!(flow.vlan_count(), 0);
    }

    #[test]
    fn labels() {
        let mut wc = wildcards();
        let mut flow = Flow::parse("ipv6,nw_ttl=9,nw_tos=40", None).unwrap();
        assert_eq!(flow.mpls_count(&mut wc), 0);
        assert!(flow.push_mpls(0, 0x8847, true, &mut wc));
        let lse = MplsLse(flow.mpls_lse[0]);
        assert_eq!((lse.label(), lse.tc(), lse.bos(), lse.ttl()), (2, 2, true, 9));
        assert_eq!((flow.nw_ttl, flow.dl_type.get()), (0, 0x8847));
        assert_eq!((wc.masks.nw_ttl, wc.masks.nw_tos), (0xff, 0xfc));
        let before = flow;
        assert!(flow.push_mpls(1, 0x8847, true, &mut wc));
        assert!(!MplsLse(flow.mpls_lse[0]).bos());
        assert_eq!(flow.mpls_count(&mut wc), 2);
        assert_eq!(flow.common_mpls_labels(2, &before, 1, &mut wc), 1);
        assert!(flow.push_mpls(2, 0x8848, true, &mut wc));
        assert!(!flow.push_mpls(3, 0x8847, true, &mut wc));
        assert!(flow.pop_mpls(3, 0x8847, &mut wc));
        assert!(flow.pop_mpls(2, 0x8847, &mut wc));
        assert_eq!(flow, before);
        assert!(flow.pop_mpls(1, 0x86dd, &mut wc));
        assert!(!flow.pop_mpls(0, 0x86dd, &mut wc));
        // Three labels whose last is not the bottom: a fourth would come up.
        flow.mpls_lse[..3].fill(0x1000.into());
        assert!(!flow.pop_mpls(3, 0x8847, &mut wc));
    }
}
