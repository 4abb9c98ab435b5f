//! VLAN translation at the edges of a bridge: from the wire to the VLAN a packet is switched in,
//! and from there to the wire of each output (ovs-vswitchd.conf.db(5), column `vlan_mode`).

use crate::flow::tracked::{Tracked, VlanStack};
use crate::flow::{Be16, VLAN_CFI, VLAN_PCP_MASK, VLAN_VID_MASK};
use crate::snapshot::{Bundle, PriorityTags, VlanMode, VlanSet};

use super::DropReason;

const ETH_TYPE_VLAN: u16 = 0x8100;

/// One tag as it is carried through the bridge: unlike on the wire, id 0 and no priority means
/// that there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Tag {
    tpid: u16,
    vid: u16,
    pcp: u16,
    /// Came in behind another one: a header whatever it holds, for nobody has read it.
    is_inner: bool,
}

impl Tag {
    /// Whether it is a header on the wire whatever its priority.
    fn is_always_header(self, priority_tags: PriorityTags) -> bool {
        let always = priority_tags == PriorityTags::Always && self.tpid != 0;
        self.vid != 0 || self.is_inner || always
    }
}

/// The tags of a packet while it is in the bridge, the outermost being the VLAN it is switched in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Tags([Tag; 2]);

impl Tags {
    fn of(vlans: &VlanStack) -> Self {
        let mut tags = Self::default();
        for (n, (tag, header)) in tags.0.iter_mut().zip(vlans).enumerate() {
            let tci = header.tci.get();
            if tci & VLAN_CFI == 0 {
                break;
            }
            *tag = Tag {
                tpid: header.tpid.get(),
                vid: tci & VLAN_VID_MASK,
                pcp: tci & VLAN_PCP_MASK,
                is_inner: n > 0,
            };
        }
        tags
    }

    /// The VLAN the packet is switched in; 0 for none.
    pub(super) fn vid(&self) -> u16 {
        self.0[0].vid
    }

    /// Puts a tag of the provider's around the customer's, if there is one.
    fn tunnelled(self, tpid: u16, vid: u16) -> Self {
        let [customer, _] = self.0;
        let customer = Tag { is_inner: customer.tpid != 0, ..customer };
        Self([Tag { tpid, vid, ..Tag::default() }, customer])
    }

    fn set_outer(&mut self, vid: u16) {
        let outer = &mut self.0[0];
        outer.vid = vid;
        if outer.tpid == 0 {
            outer.tpid = ETH_TYPE_VLAN;
        }
    }

    fn to_wire(self, priority_tags: PriorityTags) -> VlanStack {
        let mut out = VlanStack::default();
        let mut headers = out.iter_mut();
        for tag in self.0 {
            let tci = tag.vid | tag.pcp;
            let is_header = tag.is_always_header(priority_tags) || tci != 0;
            if is_header && let Some(header) = headers.next() {
                header.tpid = Be16::new(if tag.tpid == 0 { ETH_TYPE_VLAN } else { tag.tpid });
                header.tci = Be16::new(tci | VLAN_CFI);
            }
        }
        out
    }
}

/// Whether a packet whose outermost id is `vid` (0 for none or a priority tag) may enter here.
pub(super) fn admit(bundle: &Bundle, vid: u16) -> Result<(), DropReason> {
    match bundle.vlan_mode {
        VlanMode::Access if vid != 0 => Err(DropReason::TaggedOnAccess),
        VlanMode::Access => Ok(()),
        VlanMode::NativeTagged | VlanMode::NativeUntagged if vid == 0 => Ok(()),
        VlanMode::Dot1qTunnel(_) if bundle.trunks.contains(vid) => Ok(()),
        _ if bundle.trunks_vlan(vid) => Ok(()),
        _ => Err(DropReason::VlanNotTrunked),
    }
}

/// From the wire into the bridge. `vid` is the outermost id as the decision read it.
pub(super) fn enter(bundle: &Bundle, vlans: &VlanStack, vid: u16) -> Tags {
    let mut tags = Tags::of(vlans);
    match bundle.vlan_mode {
        VlanMode::Access => tags.set_outer(bundle.vlan),
        VlanMode::NativeTagged | VlanMode::NativeUntagged if vid == 0 => {
            tags.set_outer(bundle.vlan);
        }
        VlanMode::Dot1qTunnel(kind) => tags = tags.tunnelled(kind.tpid(), bundle.vlan),
        _ => {}
    }
    tags
}

/// Whether packets that came in by `from` and have these tags may leave by `bundle`: an access port takes
/// none with a customer's tag, a tunnel those of its customers.
pub(super) fn carries(bundle: &Bundle, from: &Bundle, tags: Tags, flow: &mut Tracked<'_>) -> bool {
    if !bundle.includes_vlan(tags.vid()) {
        return false;
    }
    // What is the customer's tag now was the packet's only one at the entrance of a tunnel, and was
    // read there; behind another it is seen as far as `vlan-limit` goes.
    let mut customers = || match from.vlan_mode {
        VlanMode::Dot1qTunnel(_) => tags.0[1].vid,
        _ => flow.inner_vid().unwrap_or(0),
    };
    match bundle.vlan_mode {
        VlanMode::Access => customers() == 0,
        VlanMode::Dot1qTunnel(_) => {
            bundle.trunks == VlanSet::ALL || bundle.trunks.contains(customers())
        }
        _ => true,
    }
}

/// From the bridge to the wire. `flow` is the packet as it came.
///
/// A tag of VLAN 0 is one by its priority: with none it is taken off. There the priority decides, and
/// is recorded as read (the peer leaves it open, and so forwards every priority as the first one);
/// elsewhere it is carried through unread.
pub(super) fn leave(bundle: &Bundle, tags: Tags, flow: &mut Tracked<'_>) -> VlanStack {
    let mut out = tags;
    match bundle.vlan_mode {
        // A tag beyond `vlan-limit` is the customer's and stays.
        VlanMode::Access => out.0[0] = Tag::default(),
        VlanMode::NativeUntagged if tags.vid() == bundle.vlan => out.0[0] = Tag::default(),
        VlanMode::Dot1qTunnel(_) => out.0 = [tags.0[1], Tag::default()],
        _ => {}
    }
    // A customer's own tag keeps its priority.
    if bundle.priority_tags != PriorityTags::Never && !out.0[0].is_inner {
        out.0[0].pcp = match tags.0[1].is_inner {
            // The tag that it is taken from may stay, so that nothing else records it.
            true => flow.outer_pcp(),
            false => flow.carried_vlans()[0].tci.get() & VLAN_PCP_MASK,
        };
    }
    if !out.0[0].is_always_header(bundle.priority_tags) {
        flow.outer_pcp();
    }
    out.to_wire(bundle.priority_tags)
}
