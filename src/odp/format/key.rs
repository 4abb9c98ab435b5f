//! Keys and masks as text.
//!
//! What always holds: an attribute that the mask lacks counts as wildcarded when there is a mask at
//! all, and as exact when there is none. Plain functions: any thread.

use ovs_netlink::attr::{Attr, Attrs};
use ovs_netlink::key::{KeyAttr, mpls_lses};
use ovs_netlink::uapi::*;

use super::fields::{Flags, Hex, List};
use super::tunnel::{put_nsh, put_tunnel};
use super::{Style, put, put_hex_number, put_leftover, put_port};

/// Appends a key with its mask.
pub fn format_key(key: &[u8], mask: Option<&[u8]>, style: Style<'_>, out: &mut String) {
    if key.is_empty() {
        return out.push_str("<empty>");
    }
    let mask = mask.filter(|mask| !mask.is_empty());
    let mut list = List::new(out, style.verbose);
    let (mut has_ethertype, mut has_packet_type) = (false, false);
    let mut walk = Attrs::new(key);
    let mut rest = key;
    while let Some(attr) = walk.next() {
        let Ok(attr) = attr else { break };
        rest = walk.rest();
        let of_mask = mask.and_then(|mask| find(mask, attr.kind));
        let wildcarded = mask.is_some() && of_mask.is_none_or(|m| is_wildcard(m));
        match attr.kind {
            OVS_KEY_ATTR_ETHERTYPE => has_ethertype = true,
            OVS_KEY_ATTR_PACKET_TYPE => has_packet_type = true,
            _ => {}
        }
        let nests = matches!(attr.kind, OVS_KEY_ATTR_ENCAP | OVS_KEY_ATTR_TUNNEL);
        if style.verbose || !wildcarded || nests {
            let zeros = vec![0; if nests { 0 } else { attr.value.len() }];
            let wild = Attr { kind: attr.kind, value: &zeros };
            let of_mask = of_mask.or(mask.map(|_| wild));
            format_attr(attr, of_mask, style, list.item());
        } else if attr.kind == OVS_KEY_ATTR_ETHERNET && !has_packet_type {
            // That there is an Ethernet header is said even when nothing in it is matched.
            list.item().push_str("eth()");
        } else if attr.kind == OVS_KEY_ATTR_PACKET_TYPE {
            has_packet_type = false;
        }
    }
    put_leftover(rest, key, list.out);
    if let Some(Ok(KeyAttr::EtherType(v))) = mask
        .filter(|_| !has_ethertype)
        .and_then(|mask| find(mask, OVS_KEY_ATTR_ETHERTYPE))
        .map(KeyAttr::parse)
    {
        put(list.out, format_args!(",eth_type(0/0x{v:04x})"));
    }
}

fn find(mask: &[u8], kind: u16) -> Option<Attr<'_>> {
    Attrs::new(mask).map_while(Result::ok).find(|attr| attr.kind == kind)
}

fn is_wildcard(mask: Attr<'_>) -> bool {
    known(mask.kind) && mask.value.iter().all(|&byte| byte == 0)
}

/// Whether the mask of this attribute can be told to be zero or exact from its bytes.
fn known(kind: u16) -> bool {
    !matches!(kind, OVS_KEY_ATTR_UNSPEC | OVS_KEY_ATTR_ENCAP) && kind < OVS_KEY_ATTR_TUNNEL_INFO
}

/// Whether a mask is as good as none, padding and unused bits aside.
fn is_exact(mask: Attr<'_>) -> bool {
    match KeyAttr::parse(mask) {
        _ if !known(mask.kind) => false,
        Ok(KeyAttr::TcpFlags(v)) => v & 0xfff == 0xfff,
        _ => mask.value.iter().all(|&byte| byte == u8::MAX),
    }
}

/// Name of an attribute; none for those that the peer does not know.
pub(in crate::odp) fn attr_name(kind: u16) -> Option<&'static str> {
    Some(match kind {
        OVS_KEY_ATTR_UNSPEC => "unspec",
        OVS_KEY_ATTR_ENCAP => "encap",
        OVS_KEY_ATTR_PRIORITY => "skb_priority",
        OVS_KEY_ATTR_SKB_MARK => "skb_mark",
        OVS_KEY_ATTR_CT_STATE => "ct_state",
        OVS_KEY_ATTR_CT_ZONE => "ct_zone",
        OVS_KEY_ATTR_CT_MARK => "ct_mark",
        OVS_KEY_ATTR_CT_LABELS => "ct_label",
        OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4 => "ct_tuple4",
        OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6 => "ct_tuple6",
        OVS_KEY_ATTR_TUNNEL => "tunnel",
        OVS_KEY_ATTR_IN_PORT => "in_port",
        OVS_KEY_ATTR_ETHERNET => "eth",
        OVS_KEY_ATTR_VLAN => "vlan",
        OVS_KEY_ATTR_ETHERTYPE => "eth_type",
        OVS_KEY_ATTR_IPV4 => "ipv4",
        OVS_KEY_ATTR_IPV6 => "ipv6",
        OVS_KEY_ATTR_TCP => "tcp",
        OVS_KEY_ATTR_TCP_FLAGS => "tcp_flags",
        OVS_KEY_ATTR_UDP => "udp",
        OVS_KEY_ATTR_SCTP => "sctp",
        OVS_KEY_ATTR_ICMP => "icmp",
        OVS_KEY_ATTR_ICMPV6 => "icmpv6",
        OVS_KEY_ATTR_ARP => "arp",
        OVS_KEY_ATTR_ND => "nd",
        OVS_KEY_ATTR_ND_EXTENSIONS => "nd_ext",
        OVS_KEY_ATTR_MPLS => "mpls",
        OVS_KEY_ATTR_DP_HASH => "dp_hash",
        OVS_KEY_ATTR_RECIRC_ID => "recirc_id",
        OVS_KEY_ATTR_PACKET_TYPE => "packet_type",
        OVS_KEY_ATTR_NSH => "nsh",
        _ => return None,
    })
}

/// Appends one attribute with its mask.
pub(super) fn format_attr(
    attr: Attr<'_>,
    mask: Option<Attr<'_>>,
    style: Style<'_>,
    out: &mut String,
) {
    match attr_name(attr.kind) {
        Some(name) => out.push_str(name),
        None => put(out, format_args!("key{}", attr.kind)),
    }
    out.push('(');
    let masked = mask.filter(|mask| !is_exact(*mask));
    let len = attr.value.len();
    if attr.kind == OVS_KEY_ATTR_MPLS && (len == 0 || !len.is_multiple_of(4)) {
        // As the peer shows it, which forgets the second parenthesis.
        return put(out, format_args!("(bad key length {len})"));
    }
    match (KeyAttr::parse(attr), mask.map(KeyAttr::parse).transpose()) {
        (Ok(KeyAttr::Unknown { .. } | KeyAttr::Ipv6Exthdrs(_)) | Err(_), _) | (_, Err(_)) => {
            put_generic(attr.value, out);
            if let Some(mask) = masked {
                out.push('/');
                put_generic(mask.value, out);
            }
        }
        (Ok(key), Ok(mask)) => put_value(key, mask, masked.is_none(), style, out),
    }
    out.push(')');
}

/// Appends bytes as the peer shows what it does not know.
pub(super) fn put_generic(value: &[u8], out: &mut String) {
    for (i, byte) in value.iter().enumerate() {
        put(out, format_args!("{}{byte:02x}", if i == 0 { "" } else { " " }));
    }
}

/// Appends what stands in the parentheses. `exact` says that the mask is as good as none.
fn put_value(
    key: KeyAttr<'_>,
    mask: Option<KeyAttr<'_>>,
    exact: bool,
    style: Style<'_>,
    out: &mut String,
) {
    use KeyAttr::*;
    let verbose = style.verbose;
    /// The fields of a mask of the same kind as the key, which none has.
    macro_rules! of_mask {
        ($variant:ident . $field:ident) => {
            match mask {
                Some($variant { $field, .. }) => Some($field),
                _ => None,
            }
        };
    }
    match key {
        Encap(inside) => {
            let of_mask = match mask {
                Some(Encap(mask)) => Some(mask),
                _ => None,
            };
            if !inside.is_empty() {
                format_key(inside, of_mask, Style { names: None, verbose }, out);
            }
        }
        Priority(v) => put_word(v, word_mask(mask, exact), out),
        SkbMark(v) => put_word(v, word_mask(mask, exact), out),
        DpHash(v) => put_word(v, word_mask(mask, exact), out),
        RecircId(v) => put_word(v, word_mask(mask, exact), out),
        CtMark(v) if verbose || matches!(mask, Some(CtMark(1..))) => {
            put_word(v, word_mask(mask, exact), out);
        }
        CtZone(v) if verbose || matches!(mask, Some(CtZone(1..))) => {
            let of_mask = match mask {
                Some(CtZone(mask)) if !exact => Some(mask.into()),
                _ => None,
            };
            put_word(v.into(), of_mask, out);
        }
        CtMark(_) | CtZone(_) => {}
        CtState(v) if verbose => put_word(v, word_mask(mask, exact), out),
        CtState(v) => match word_mask(mask, exact) {
            Some(mask) => Flags::CT_STATE.put_masked(v, mask, u32::MAX, out),
            None => Flags::CT_STATE.put(v, '|', out),
        },
        CtLabels(v) => {
            let of_mask = match mask {
                Some(CtLabels(mask)) => Some(mask),
                _ => None,
            };
            put_label(v, of_mask, verbose, out);
        }
        CtOrigTupleIpv4 { src, dst, src_port, dst_port, proto } => {
            let mut list = List::new(out, verbose);
            list.ip4("src", src, of_mask!(CtOrigTupleIpv4.src));
            list.ip4("dst", dst, of_mask!(CtOrigTupleIpv4.dst));
            list.u8("proto", proto, of_mask!(CtOrigTupleIpv4.proto));
            list.u16("tp_src", src_port, of_mask!(CtOrigTupleIpv4.src_port));
            list.u16("tp_dst", dst_port, of_mask!(CtOrigTupleIpv4.dst_port));
        }
        CtOrigTupleIpv6 { src, dst, src_port, dst_port, proto } => {
            let mut list = List::new(out, verbose);
            list.ip6("src", src, of_mask!(CtOrigTupleIpv6.src));
            list.ip6("dst", dst, of_mask!(CtOrigTupleIpv6.dst));
            list.u8("proto", proto, of_mask!(CtOrigTupleIpv6.proto));
            list.u16("src_port", src_port, of_mask!(CtOrigTupleIpv6.src_port));
            list.u16("dst_port", dst_port, of_mask!(CtOrigTupleIpv6.dst_port));
        }
        Tunnel(value) => {
            let of_mask = match mask {
                Some(Tunnel(mask)) => Some(mask),
                _ => None,
            };
            put_tunnel(value, of_mask, verbose, out);
        }
        InPort(v) => match word_mask(mask, exact) {
            Some(mask) => put(out, format_args!("{v}/{}", Hex(mask.into()))),
            None => put_port(v, style.names, out),
        },
        PacketType(v) => {
            let of_mask = match mask {
                Some(PacketType(mask)) => mask,
                _ => u32::MAX,
            };
            let halves = |v: u32| {
                let [a, b, c, d] = v.to_be_bytes();
                (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
            };
            let mut list = List::new(out, verbose);
            list.u16("ns", halves(v).0, Some(halves(of_mask).0));
            list.u16_hex("id", halves(v).1, Some(halves(of_mask).1));
        }
        Ethernet { src, dst } => {
            let mut list = List::new(out, verbose);
            list.mac("src", src, of_mask!(Ethernet.src));
            list.mac("dst", dst, of_mask!(Ethernet.dst));
        }
        Vlan(v) => {
            let of_mask = match mask {
                Some(Vlan(mask)) => mask,
                _ => u16::MAX,
            };
            put_vlan(v, of_mask, verbose, out);
        }
        Mpls(value) => {
            let of_mask = match mask {
                Some(Mpls(mask)) if !exact => Some(mask),
                _ => None,
            };
            put_mpls(value, of_mask, out);
        }
        EtherType(v) => {
            put(out, format_args!("0x{v:04x}"));
            if let (Some(EtherType(mask)), false) = (mask, exact) {
                put(out, format_args!("/0x{mask:04x}"));
            }
        }
        Ipv4 { src, dst, proto, tos, ttl, frag } => {
            let mut list = List::new(out, verbose);
            list.ip4("src", src, of_mask!(Ipv4.src));
            list.ip4("dst", dst, of_mask!(Ipv4.dst));
            list.u8("proto", proto, of_mask!(Ipv4.proto));
            list.u8_hex("tos", tos, of_mask!(Ipv4.tos));
            list.u8("ttl", ttl, of_mask!(Ipv4.ttl));
            list.frag(frag, of_mask!(Ipv4.frag));
        }
        Ipv6 { src, dst, label, proto, tclass, hlimit, frag } => {
            let mut list = List::new(out, verbose);
            list.ip6("src", src, of_mask!(Ipv6.src));
            list.ip6("dst", dst, of_mask!(Ipv6.dst));
            list.label(label, of_mask!(Ipv6.label));
            list.u8("proto", proto, of_mask!(Ipv6.proto));
            list.u8_hex("tclass", tclass, of_mask!(Ipv6.tclass));
            list.u8("hlimit", hlimit, of_mask!(Ipv6.hlimit));
            list.frag(frag, of_mask!(Ipv6.frag));
        }
        Tcp { src, dst } => {
            let mut list = List::new(out, verbose);
            list.u16("src", src, of_mask!(Tcp.src));
            list.u16("dst", dst, of_mask!(Tcp.dst));
        }
        Udp { src, dst } => {
            let mut list = List::new(out, verbose);
            list.u16("src", src, of_mask!(Udp.src));
            list.u16("dst", dst, of_mask!(Udp.dst));
        }
        Sctp { src, dst } => {
            let mut list = List::new(out, verbose);
            list.u16("src", src, of_mask!(Sctp.src));
            list.u16("dst", dst, of_mask!(Sctp.dst));
        }
        TcpFlags(v) => match mask {
            Some(TcpFlags(mask)) if !exact => {
                Flags::TCP.put_masked(v.into(), (mask & 0xfff).into(), 0xfff, out);
            }
            _ => Flags::TCP.put(v.into(), '|', out),
        },
        Icmp { ty, code } => {
            let mut list = List::new(out, verbose);
            list.u8("type", ty, of_mask!(Icmp.ty));
            list.u8("code", code, of_mask!(Icmp.code));
        }
        Icmpv6 { ty, code } => {
            let mut list = List::new(out, verbose);
            list.u8("type", ty, of_mask!(Icmpv6.ty));
            list.u8("code", code, of_mask!(Icmpv6.code));
        }
        Arp { sip, tip, op, sha, tha } => {
            let mut list = List::new(out, verbose);
            list.ip4("sip", sip, of_mask!(Arp.sip));
            list.ip4("tip", tip, of_mask!(Arp.tip));
            list.u16("op", op, of_mask!(Arp.op));
            list.mac("sha", sha, of_mask!(Arp.sha));
            list.mac("tha", tha, of_mask!(Arp.tha));
        }
        Nd { target, sll, tll } => {
            let mut list = List::new(out, verbose);
            list.ip6("target", target, of_mask!(Nd.target));
            list.mac("sll", sll, of_mask!(Nd.sll));
            list.mac("tll", tll, of_mask!(Nd.tll));
        }
        NdExtensions { reserved, options_type } => {
            put(out, format_args!("nd_reserved=0x{reserved:x}"));
            let of_mask = of_mask!(NdExtensions.options_type);
            if verbose || of_mask != Some(0) {
                out.push(',');
            }
            List::new(out, verbose).u8("nd_options_type", options_type, of_mask);
        }
        Nsh(value) => {
            let of_mask = match mask {
                Some(Nsh(mask)) => Some(mask),
                _ => None,
            };
            put_nsh(value, of_mask, out);
        }
        // Shown by their bytes.
        Ipv6Exthdrs(_) | Unknown { .. } => {}
    }
}

/// The number in a mask that is shown, which an exact one is not.
fn word_mask(mask: Option<KeyAttr<'_>>, exact: bool) -> Option<u32> {
    use KeyAttr::*;
    match mask.filter(|_| !exact)? {
        Priority(v) | SkbMark(v) | DpHash(v) | RecircId(v) | CtMark(v) | CtState(v) | InPort(v) => {
            Some(v)
        }
        _ => None,
    }
}

fn put_word(v: u32, mask: Option<u32>, out: &mut String) {
    put(out, format_args!("{}", Hex(v.into())));
    if let Some(mask) = mask {
        put(out, format_args!("/{}", Hex(mask.into())));
    }
}

/// Appends a conntrack label, given as the kernel has it.
pub(super) fn put_label(v: [u8; 16], mask: Option<[u8; 16]>, verbose: bool, out: &mut String) {
    let number = |v| u128::from_ne_bytes(v).to_be_bytes();
    if verbose || mask.is_some_and(|mask| mask != [0; 16]) {
        put_hex_number(&number(v), out);
        if let Some(mask) = mask.filter(|mask| *mask != [0xff; 16]) {
            out.push('/');
            put_hex_number(&number(mask), out);
        }
    }
}

/// Appends a TCI.
pub(super) fn put_vlan(tci: u16, mask: u16, verbose: bool, out: &mut String) {
    let mut list = List::new(out, verbose);
    let (vid, vid_mask) = (tci & 0xfff, mask & 0xfff);
    if verbose || vid | vid_mask != 0 {
        put(list.item(), format_args!("vid={vid}"));
        if vid_mask != 0xfff {
            put(list.out, format_args!("/0x{vid_mask:x}"));
        }
    }
    let (pcp, pcp_mask) = (tci >> 13, mask >> 13);
    if verbose || pcp | pcp_mask != 0 {
        put(list.item(), format_args!("pcp={pcp}"));
        if pcp_mask != 7 {
            put(list.out, format_args!("/0x{pcp_mask:x}"));
        }
    }
    if tci & 0x1000 == 0 {
        list.item().push_str("cfi=0");
    }
}

fn put_mpls(value: &[u8], mask: Option<&[u8]>, out: &mut String) {
    if let Some(mask) = mask.filter(|mask| mask.len() != value.len()) {
        let (key, mask) = (value.len(), mask.len());
        return put(out, format_args!("(key length {key} != mask length {mask})"));
    }
    let mut list = List::new(out, false);
    let mut masks = mask.map(mpls_lses);
    for lse in mpls_lses(value) {
        match masks.as_mut().and_then(Iterator::next) {
            None => put_lse(lse, list.item()),
            Some(m) => put(
                list.item(),
                format_args!(
                    "label={}/0x{:x},tc={}/{:x},ttl={}/0x{:x},bos={}/{:x}",
                    lse >> 12,
                    m >> 12,
                    lse >> 9 & 7,
                    m >> 9 & 7,
                    lse & 0xff,
                    m & 0xff,
                    lse >> 8 & 1,
                    m >> 8 & 1
                ),
            ),
        }
    }
}

/// Appends a label stack entry.
pub(super) fn put_lse(lse: u32, out: &mut String) {
    let (label, tc, ttl, bos) = (lse >> 12, lse >> 9 & 7, lse & 0xff, lse >> 8 & 1);
    put(out, format_args!("label={label},tc={tc},ttl={ttl},bos={bos}"));
}
