//! Attributes → flow or wildcards: the walk that keys and masks share.
//!
//! One level of attributes (the whole key, or what a VLAN tag encapsulates) is gathered by type
//! first, then taken in the order of the headers: what a header needs is *taken*, what is still
//! there at the end was too much, what could not be taken was too little.
//!
//! What always holds: a value reaches the flow only when the headers before it say that it is
//! there. No allocation. Plain functions: any thread.

use ovs_netlink::attr::{Attr, AttrError, Attrs};
use ovs_netlink::key::{KeyAttr, mpls_lses};
use ovs_netlink::nsh::{NshAttr, NshAttrs};
use ovs_netlink::uapi::*;

use super::key::{Fitness, KeyError, ODPP_NONE};
use super::tunnel;
use crate::flow::{
    EthAddr, FLOW_DL_TYPE_NONE, FLOW_MAX_MPLS_LABELS, FLOW_MAX_VLAN_HEADERS, FLOW_NW_FRAG_ANY,
    FLOW_NW_FRAG_LATER, Flow, FlowNsh, VLAN_CFI, VlanHdr,
};
use crate::packet::{ether_type, ip_proto};

/// Bottom of stack bit of an MPLS label stack entry.
pub(super) const MPLS_BOS: u32 = 0x100;
/// Metadata type with four fixed context headers.
pub(super) const NSH_M_TYPE1: u8 = 1;
/// Name space of packet types that are Ethernet types.
pub(super) const OFPHTN_ETHERTYPE: u32 = 1;

/// True when the flow has a transport header: IP, and not a fragment beyond the first.
pub(super) fn has_l4(flow: &Flow) -> bool {
    flow.is_ip_any() && flow.nw_frag & FLOW_NW_FRAG_LATER == 0
}

/// True for ICMPv6 of the types neighbour solicitation and advertisement, whatever the code: the
/// kernel looks at the type alone when it asks for an `ND` attribute.
pub(super) fn has_nd_type(flow: &Flow) -> bool {
    flow.dl_type.get() == ether_type::IPV6
        && flow.nw_proto == ip_proto::ICMPV6
        && has_l4(flow)
        && matches!(flow.tp_src.get(), 135 | 136)
}

/// Whether the attributes are values, or masks of the values in a flow decoded before.
#[derive(Clone, Copy)]
pub(super) enum Role<'f> {
    Key,
    Mask(&'f Flow),
}

/// Decodes a key or mask over `flow`, which is zeroed first.
pub(super) fn decode(
    list: &[u8],
    role: Role<'_>,
    vlan_limit: usize,
    flow: &mut Flow,
) -> Result<Fitness, KeyError> {
    *flow = Flow::ZERO;
    let mut level = Level::gather(list)?;
    metadata(&mut level, role, flow)?;
    link(&mut level, role, flow)?;
    let fitness = vlans(&mut level, role, vlan_limit.min(FLOW_MAX_VLAN_HEADERS), flow)?;
    if let Some(done) = fitness {
        return Ok(done);
    }
    Ok(level.fitness())
}

/// Attribute types that a level can hold: all that the peer knows.
const KINDS: usize = OVS_KEY_ATTR_ND_EXTENSIONS as usize + 1;

/// The attributes of one level of nesting, by type.
struct Level<'a> {
    list: &'a [u8],
    present: u64,
    missing: bool,
    /// The worst fitness of the levels around this one.
    outer: Fitness,
    /// Where in the list the attribute of each type that is present begins.
    places: [u32; KINDS],
}

impl<'a> Level<'a> {
    /// Gathers a list. Types that are not known, `IPV6_EXTHDRS` among them, are passed over.
    fn gather(list: &'a [u8]) -> Result<Self, KeyError> {
        let mut level =
            Self { list, present: 0, missing: false, outer: Fitness::Perfect, places: [0; KINDS] };
        Attrs::each(list, |attr, place| {
            // The size is checked here even where the value is never taken.
            KeyAttr::check_size(attr)?;
            let Some(to) = level.places.get_mut(usize::from(attr.kind)) else { return Ok(()) };
            if level.present & 1 << attr.kind != 0 {
                return Err(KeyError::Duplicate(attr.kind));
            }
            level.present |= 1 << attr.kind;
            *to = place.start as u32;
            Ok(())
        })?;
        Ok(level)
    }

    #[inline]
    fn has(&self, kind: u16) -> bool {
        self.present & 1 << kind != 0
    }

    /// Whether there is a VLAN tag, of whatever type.
    fn has_tag(&self) -> bool {
        let tagged = |attr| matches!(attr, KeyAttr::Vlan(tci) if tci & VLAN_CFI != 0);
        self.has(OVS_KEY_ATTR_ENCAP) && self.peek(OVS_KEY_ATTR_VLAN).is_some_and(tagged)
    }

    /// The attribute, without taking it.
    #[inline(always)]
    fn peek(&self, kind: u16) -> Option<KeyAttr<'a>> {
        if !self.has(kind) {
            return None;
        }
        let place = *self.places.get(usize::from(kind))? as usize;
        let Attr { value, .. } = Attrs::at(self.list, place)?;
        // With the type that is asked for, all but one arm of the parser are left out.
        KeyAttr::parse_here(Attr { kind, value }).ok()
    }

    /// The attribute, which thereby is expected.
    #[inline(always)]
    fn take(&mut self, kind: u16) -> Option<KeyAttr<'a>> {
        let attr = self.peek(kind);
        self.present &= !(1 << kind);
        attr
    }

    /// The attribute; when it is not there, a key says too little. A mask may lack anything.
    #[inline(always)]
    fn need(&mut self, kind: u16, role: Role<'_>) -> Option<KeyAttr<'a>> {
        let attr = self.take(kind);
        self.missing |= attr.is_none() && matches!(role, Role::Key);
        attr
    }

    fn fitness(&self) -> Fitness {
        let own = if self.missing {
            Fitness::TooLittle
        } else if self.present != 0 {
            Fitness::TooMuch
        } else {
            Fitness::Perfect
        };
        own.max(self.outer)
    }
}

fn metadata(level: &mut Level<'_>, role: Role<'_>, flow: &mut Flow) -> Result<(), KeyError> {
    let is_mask = matches!(role, Role::Mask(_));
    match level.take(OVS_KEY_ATTR_RECIRC_ID) {
        Some(KeyAttr::RecircId(v)) => flow.recirc_id = v,
        // Left out of a mask it is exact for the reader, so that no dump of any datapath can make
        // a flow look as if it took packets at every stage of recirculation.
        _ if is_mask => flow.recirc_id = u32::MAX,
        _ => {}
    }
    if let Some(KeyAttr::DpHash(v)) = level.take(OVS_KEY_ATTR_DP_HASH) {
        flow.dp_hash = v;
    }
    if let Some(KeyAttr::Priority(v)) = level.take(OVS_KEY_ATTR_PRIORITY) {
        flow.skb_priority = v;
    }
    if let Some(KeyAttr::SkbMark(v)) = level.take(OVS_KEY_ATTR_SKB_MARK) {
        flow.pkt_mark = v;
    }
    conntrack(level, flow);
    if let Some(KeyAttr::Tunnel(value)) = level.peek(OVS_KEY_ATTR_TUNNEL) {
        let key = match role {
            Role::Key => None,
            Role::Mask(of) => Some(&of.tunnel),
        };
        // A tunnel with an unknown attribute is not taken and so counts as too much.
        if tunnel::read(value, key, &mut flow.tunnel)? {
            level.take(OVS_KEY_ATTR_TUNNEL);
        }
    }
    match level.take(OVS_KEY_ATTR_IN_PORT) {
        Some(KeyAttr::InPort(v)) => flow.in_port = v,
        _ if !is_mask => flow.in_port = ODPP_NONE,
        _ => {}
    }
    Ok(())
}

fn conntrack(level: &mut Level<'_>, flow: &mut Flow) {
    if let Some(KeyAttr::CtState(v)) = level.take(OVS_KEY_ATTR_CT_STATE) {
        // The kernel's bits stand where the flow has them.
        flow.ct_state = v.to_le_bytes()[0];
    }
    if let Some(KeyAttr::CtZone(v)) = level.take(OVS_KEY_ATTR_CT_ZONE) {
        flow.ct_zone = v;
    }
    if let Some(KeyAttr::CtMark(v)) = level.take(OVS_KEY_ATTR_CT_MARK) {
        flow.ct_mark = v;
    }
    if let Some(KeyAttr::CtLabels(v)) = level.take(OVS_KEY_ATTR_CT_LABELS) {
        flow.ct_label = u128::from_ne_bytes(v).to_be_bytes();
    }
    if let Some(KeyAttr::CtOrigTupleIpv4 { src, dst, src_port, dst_port, proto }) =
        level.take(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4)
    {
        (flow.ct_nw_src, flow.ct_nw_dst, flow.ct_nw_proto) = (src, dst, proto);
        (flow.ct_tp_src, flow.ct_tp_dst) = (src_port.into(), dst_port.into());
    }
    if let Some(KeyAttr::CtOrigTupleIpv6 { src, dst, src_port, dst_port, proto }) =
        level.take(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6)
    {
        (flow.ct_ipv6_src, flow.ct_ipv6_dst, flow.ct_nw_proto) = (src, dst, proto);
        (flow.ct_tp_src, flow.ct_tp_dst) = (src_port.into(), dst_port.into());
    }
}

/// Packet type, Ethernet addresses and the outermost Ethernet type.
fn link(level: &mut Level<'_>, role: Role<'_>, flow: &mut Flow) -> Result<(), KeyError> {
    if let Some(KeyAttr::PacketType(v)) = level.take(OVS_KEY_ATTR_PACKET_TYPE) {
        flow.packet_type = v.into();
    }
    if let Some(KeyAttr::Ethernet { src, dst }) = level.take(OVS_KEY_ATTR_ETHERNET) {
        (flow.dl_src, flow.dl_dst) = (EthAddr(src), EthAddr(dst));
        flow.packet_type = 0.into();
    } else if let (Role::Key, Some(KeyAttr::EtherType(v))) =
        (role, level.peek(OVS_KEY_ATTR_ETHERTYPE))
    {
        flow.packet_type = (OFPHTN_ETHERTYPE << 16 | u32::from(v)).into();
    }
    if let Role::Mask(_) = role {
        // Whether there is an Ethernet header is always matched.
        flow.packet_type = u32::MAX.into();
    }
    ethertype(level, role, flow)
}

fn ethertype(level: &mut Level<'_>, role: Role<'_>, flow: &mut Flow) -> Result<(), KeyError> {
    let found = match level.take(OVS_KEY_ATTR_ETHERTYPE) {
        Some(KeyAttr::EtherType(v)) => Some(v),
        _ => None,
    };
    flow.dl_type = match (role, found) {
        // So the kernel dumps the inner tag of a flow whose mask ends before it; of which type the
        // tag was is lost.
        (Role::Key, Some(0)) if level.has_tag() => ether_type::VLAN_8021Q.into(),
        (Role::Key, Some(v)) if v < ether_type::MIN => return Err(KeyError::EtherType(v)),
        (Role::Key, Some(v)) => v.into(),
        // Headers that say themselves what they are.
        (Role::Key, None) if level.has(OVS_KEY_ATTR_IPV4) => ether_type::IPV4.into(),
        (Role::Key, None) if level.has(OVS_KEY_ATTR_IPV6) => ether_type::IPV6.into(),
        (Role::Key, None) if level.has(OVS_KEY_ATTR_MPLS) => ether_type::MPLS.into(),
        (Role::Key, None) => FLOW_DL_TYPE_NONE.into(),
        (Role::Mask(of), v) if of.dl_type.get() < ether_type::MIN && v != Some(u16::MAX) => {
            return Err(KeyError::MaskEtherType);
        }
        // And so its mask: that there is a tag is matched, and no type is left to match.
        (Role::Mask(of), Some(0)) if level.has_tag() && ether_type::is_vlan(of.dl_type.get()) => {
            u16::MAX.into()
        }
        (Role::Mask(_), Some(v)) => v.into(),
        (Role::Mask(of), None) if of.packet_type.get() != 0 => u16::MAX.into(),
        (Role::Mask(_), None) => 0.into(),
    };
    Ok(())
}

/// Takes the VLAN tags apart, then what they encapsulate. `Some` when there is nothing behind a
/// tag, so that its fitness is that of the whole.
fn vlans<'a>(
    level: &mut Level<'a>,
    role: Role<'_>,
    limit: usize,
    flow: &mut Flow,
) -> Result<Option<Fitness>, KeyError> {
    for depth in 0..limit {
        let tagged = match role {
            Role::Key => ether_type::is_vlan(flow.dl_type.get()),
            Role::Mask(of) => of.vlans.get(depth).is_some_and(|v| v.tci.get() & VLAN_CFI != 0),
        };
        if !tagged {
            break;
        }
        let tci = match level.need(OVS_KEY_ATTR_VLAN, role) {
            Some(KeyAttr::Vlan(v)) => v,
            _ => 0,
        };
        let encap = level.need(OVS_KEY_ATTR_ENCAP, role);
        if let Some(tag) = flow.vlans.get_mut(depth) {
            *tag = VlanHdr { tpid: flow.dl_type, tci: tci.into() };
        }
        flow.dl_type = 0.into();
        let Some(KeyAttr::Encap(inside)) = encap else { return Ok(Some(level.fitness())) };
        if let Role::Key = role {
            match tci {
                _ if level.missing => return Ok(Some(Fitness::TooLittle)),
                // A tag that was cut off: nothing follows.
                0 if inside.is_empty() => return Ok(Some(level.fitness())),
                0 => return Ok(Some(level.fitness().max(Fitness::TooMuch))),
                _ if tci & VLAN_CFI == 0 => return Err(KeyError::VlanNoCfi(tci)),
                _ => {}
            }
        }
        let outer = level.fitness();
        *level = Level::gather(inside)?;
        level.outer = outer;
        ethertype(level, role, flow)?;
    }
    if let Role::Mask(of) = role {
        // The kernel always matches that there is no (further) tag.
        let tags = of.vlan_count();
        for tag in flow.vlans.iter_mut().skip(tags) {
            *tag = VlanHdr { tpid: u16::MAX.into(), tci: u16::MAX.into() };
        }
        if let (0, Some(KeyAttr::Vlan(v))) = (tags, level.take(OVS_KEY_ATTR_VLAN)) {
            flow.vlans[0].tci = v.into();
        }
    }
    network(level, role, flow)
}

/// Everything behind the Ethernet type. `Some` when that alone settles the fitness.
fn network(
    level: &mut Level<'_>,
    role: Role<'_>,
    flow: &mut Flow,
) -> Result<Option<Fitness>, KeyError> {
    let dl_type = match role {
        Role::Key => flow.dl_type.get(),
        Role::Mask(of) => of.dl_type.get(),
    };
    let matched = match dl_type {
        ether_type::IPV4 | ether_type::IPV6 => ip(level, role, dl_type, flow)?,
        ether_type::ARP | ether_type::RARP => arp(level, role, flow)?,
        ether_type::NSH => nsh(level, role, flow)?,
        _ if ether_type::is_mpls(dl_type) => return mpls(level, role, flow),
        _ => return Ok(None),
    };
    if matched && matches!(role, Role::Mask(_)) && flow.dl_type.get() != u16::MAX {
        return Err(KeyError::MaskL3 { mask: flow.dl_type.get() });
    }
    transport(level, role, flow)?;
    Ok(None)
}

fn mpls(
    level: &mut Level<'_>,
    role: Role<'_>,
    flow: &mut Flow,
) -> Result<Option<Fitness>, KeyError> {
    let Some(KeyAttr::Mpls(value)) = level.need(OVS_KEY_ATTR_MPLS, role) else { return Ok(None) };
    if value.is_empty() {
        // The label was cut off, or none is matched of the flow that is told.
        let kind = OVS_KEY_ATTR_MPLS;
        return Err(AttrError::Size { kind, expected: 4, got: 0 }.into());
    }
    for (lse, v) in flow.mpls_lse.iter_mut().take(FLOW_MAX_MPLS_LABELS).zip(mpls_lses(value)) {
        *lse = v.into();
    }
    if matches!(role, Role::Mask(_)) {
        if flow.mpls_lse[0].get() != 0 && flow.dl_type.get() != u16::MAX {
            return Err(KeyError::MaskL3 { mask: flow.dl_type.get() });
        }
        return Ok(None);
    }
    let n = mpls_lses(value).count();
    if n > FLOW_MAX_MPLS_LABELS {
        return Ok(Some(Fitness::TooMuch));
    }
    if mpls_lses(value).take(n.saturating_sub(1)).any(|lse| lse & MPLS_BOS != 0) {
        return Err(KeyError::MplsBos);
    }
    let ends = mpls_lses(value).last().is_some_and(|lse| lse & MPLS_BOS != 0);
    Ok((n < FLOW_MAX_MPLS_LABELS && !ends).then_some(Fitness::TooLittle))
}

/// Fills the fields of IPv4 or IPv6; tells whether any bit is set.
fn ip(
    level: &mut Level<'_>,
    role: Role<'_>,
    dl_type: u16,
    flow: &mut Flow,
) -> Result<bool, KeyError> {
    let header = match dl_type {
        ether_type::IPV4 => level.need(OVS_KEY_ATTR_IPV4, role),
        _ => level.need(OVS_KEY_ATTR_IPV6, role),
    };
    match header {
        Some(KeyAttr::Ipv4 { src, dst, proto, tos, ttl, frag }) => {
            (flow.nw_src, flow.nw_dst) = (src, dst);
            (flow.nw_proto, flow.nw_tos, flow.nw_ttl) = (proto, tos, ttl);
            flow.nw_frag = nw_frag(frag, role)?;
            Ok(src != [0; 4] || dst != [0; 4] || proto | tos | ttl | frag != 0)
        }
        Some(KeyAttr::Ipv6 { src, dst, label, proto, tclass, hlimit, frag }) => {
            (flow.ipv6_src, flow.ipv6_dst, flow.ipv6_label) = (src, dst, label.into());
            (flow.nw_proto, flow.nw_tos, flow.nw_ttl) = (proto, tclass, hlimit);
            flow.nw_frag = nw_frag(frag, role)?;
            let any = src != [0; 16] || dst != [0; 16] || label != 0;
            Ok(any || proto | tclass | hlimit | frag != 0)
        }
        _ => Ok(false),
    }
}

fn nw_frag(frag: u8, role: Role<'_>) -> Result<u8, KeyError> {
    Ok(match (role, frag) {
        (_, OVS_FRAG_TYPE_NONE) => 0,
        (Role::Mask(_), _) => FLOW_NW_FRAG_ANY | FLOW_NW_FRAG_LATER,
        (Role::Key, OVS_FRAG_TYPE_FIRST) => FLOW_NW_FRAG_ANY,
        (Role::Key, OVS_FRAG_TYPE_LATER) => FLOW_NW_FRAG_ANY | FLOW_NW_FRAG_LATER,
        (Role::Key, _) => return Err(KeyError::Frag(frag)),
    })
}

fn arp(level: &mut Level<'_>, role: Role<'_>, flow: &mut Flow) -> Result<bool, KeyError> {
    let Some(KeyAttr::Arp { sip, tip, op, sha, tha }) = level.need(OVS_KEY_ATTR_ARP, role) else {
        return Ok(false);
    };
    let [high, low] = op.to_be_bytes();
    if matches!(role, Role::Key) && high != 0 {
        return Err(KeyError::ArpOp(op));
    }
    (flow.nw_src, flow.nw_dst, flow.nw_proto) = (sip, tip, low);
    (flow.arp_sha, flow.arp_tha) = (EthAddr(sha), EthAddr(tha));
    Ok(op != 0 || sip != [0; 4] || tip != [0; 4] || sha != [0; 6] || tha != [0; 6])
}

fn nsh(level: &mut Level<'_>, role: Role<'_>, flow: &mut Flow) -> Result<bool, KeyError> {
    let Some(KeyAttr::Nsh(value)) = level.need(OVS_KEY_ATTR_NSH, role) else { return Ok(false) };
    let (nsh, has_md1) = read_nsh(value)?;
    if matches!(role, Role::Key) && has_md1 && nsh.mdtype != NSH_M_TYPE1 {
        return Err(KeyError::NshMdType(nsh.mdtype));
    }
    flow.nsh = nsh;
    Ok(nsh != FlowNsh::default())
}

/// Reads a network service header; the flag tells whether there were context headers of type 1.
/// Metadata of type 2 is passed over: a flow does not hold it.
pub(super) fn read_nsh(value: &[u8]) -> Result<(FlowNsh, bool), AttrError> {
    let (mut nsh, mut has_md1) = (FlowNsh::default(), false);
    for attr in NshAttrs::new(value) {
        match attr? {
            NshAttr::Base { flags, ttl, mdtype, np, path_hdr } => {
                (nsh.flags, nsh.ttl, nsh.mdtype, nsh.np) = (flags, ttl, mdtype, np);
                nsh.path_hdr = path_hdr.into();
            }
            NshAttr::Md1(context) => {
                nsh.context = context.map(Into::into);
                has_md1 = true;
            }
            NshAttr::Md2(_) | NshAttr::Unknown { .. } => {}
        }
    }
    Ok((nsh, has_md1))
}

fn transport(level: &mut Level<'_>, role: Role<'_>, flow: &mut Flow) -> Result<(), KeyError> {
    let (l4, proto, dl_type, nd) = {
        let of = match role {
            Role::Key => &*flow,
            Role::Mask(of) => of,
        };
        (has_l4(of), of.nw_proto, of.dl_type.get(), has_nd_type(of))
    };
    if !l4 {
        return Ok(());
    }
    let header = match (proto, dl_type) {
        (ip_proto::TCP, _) => level.need(OVS_KEY_ATTR_TCP, role),
        (ip_proto::UDP, _) => level.need(OVS_KEY_ATTR_UDP, role),
        (ip_proto::SCTP, _) => level.need(OVS_KEY_ATTR_SCTP, role),
        (ip_proto::ICMP, ether_type::IPV4) => level.need(OVS_KEY_ATTR_ICMP, role),
        (ip_proto::ICMPV6, ether_type::IPV6) => level.need(OVS_KEY_ATTR_ICMPV6, role),
        _ => return Ok(()),
    };
    match header {
        Some(
            KeyAttr::Tcp { src, dst } | KeyAttr::Udp { src, dst } | KeyAttr::Sctp { src, dst },
        ) => (flow.tp_src, flow.tp_dst) = (src.into(), dst.into()),
        Some(KeyAttr::Icmp { ty, code } | KeyAttr::Icmpv6 { ty, code }) => {
            (flow.tp_src, flow.tp_dst) = (u16::from(ty).into(), u16::from(code).into());
        }
        _ => {}
    }
    if proto == ip_proto::TCP
        && let Some(KeyAttr::TcpFlags(v)) = level.take(OVS_KEY_ATTR_TCP_FLAGS)
    {
        flow.tcp_flags = v.into();
    }
    // In a key, the type is known only now that the ICMPv6 attribute was taken.
    let nd = nd || matches!(role, Role::Key) && has_nd_type(flow);
    if nd {
        neighbour_discovery(level, role, flow)?;
    }
    let ports = flow.tp_src.get() | flow.tp_dst.get();
    if matches!(role, Role::Mask(_)) && ports != 0 && flow.nw_proto != u8::MAX {
        return Err(KeyError::MaskL4);
    }
    Ok(())
}

fn neighbour_discovery(
    level: &mut Level<'_>,
    role: Role<'_>,
    flow: &mut Flow,
) -> Result<(), KeyError> {
    let code = match role {
        Role::Key => flow.tp_dst.get(),
        Role::Mask(of) => of.tp_dst.get(),
    };
    let nd = level.need(OVS_KEY_ATTR_ND, role);
    let ext = level.take(OVS_KEY_ATTR_ND_EXTENSIONS);
    if code != 0 {
        // Not neighbour discovery, though the kernel gives the attribute: it means nothing.
        return Ok(());
    }
    if let Some(KeyAttr::Nd { target, sll, tll }) = nd {
        flow.nd_target = target;
        (flow.arp_sha, flow.arp_tha) = (EthAddr(sll), EthAddr(tll));
    }
    if let Some(KeyAttr::NdExtensions { reserved, options_type }) = ext {
        flow.igmp_group_ip4 = reserved.to_be_bytes();
        flow.tcp_flags = u16::from(options_type).into();
    }
    let any = flow.nd_target != [0; 16]
        || flow.arp_sha != EthAddr::ZERO
        || flow.arp_tha != EthAddr::ZERO
        || flow.igmp_group_ip4 != [0; 4]
        || flow.tcp_flags.get() != 0;
    if matches!(role, Role::Mask(_)) && any && flow.tp_src.get() != 0xff {
        return Err(KeyError::MaskNd(flow.tp_src.get()));
    }
    Ok(())
}
