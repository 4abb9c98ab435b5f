//! Keys and masks from text.
//!
//! What always holds: the mask gets every attribute that the key gets. Plain functions: any thread.

use ovs_netlink::attr::{AttrError, AttrWriter};
use ovs_netlink::key::KeyAttr;
use ovs_netlink::uapi::*;

use super::ParseError;
use super::scan::Scanner;
use super::tunnel;
use crate::flow::VLAN_CFI;
use crate::odp::decode::NSH_M_TYPE1;
use crate::odp::encode::{NshMetadata, write_nsh};
use crate::odp::format::PortNames;
use crate::odp::format::fields::Flags;
use crate::odp::ufid::Ufid;

/// Reads a key with its mask and appends them to `key` and `mask`, encoded. Gives the flow's id, if
/// the text begins with one.
///
/// # Errors
/// Where the text is not one; `key` and `mask` then hold what was read before.
pub fn parse_key(
    text: &str,
    names: Option<&PortNames>,
    key: &mut Vec<u8>,
    mask: &mut Vec<u8>,
) -> Result<Option<Ufid>, ParseError> {
    let mut s = Scanner::new(text, names);
    let ufid = self::key(&mut s, key, mask)?;
    s.skip_separators();
    if s.rest().is_empty() { Ok(ufid) } else { Err(s.expected("a field of a flow")) }
}

/// Reads a key as far as there is one.
pub(super) fn key(
    s: &mut Scanner<'_>,
    key: &mut Vec<u8>,
    mask: &mut Vec<u8>,
) -> Result<Option<Ufid>, ParseError> {
    let mut ufid = None;
    let (mut k, mut m) = (AttrWriter::new(key), AttrWriter::new(mask));
    s.skip_separators();
    if s.eat("ufid:") {
        let text = s.peek_until(&[',', ' ']);
        ufid = Some(Ufid::parse(text).ok_or_else(|| s.expected("a UUID"))?);
        s.advance(text.len());
    }
    attrs(s, &mut k, &mut m)?;
    Ok(ufid)
}

/// Reads attributes up to something that is none.
fn attrs(
    s: &mut Scanner<'_>,
    k: &mut AttrWriter<'_>,
    m: &mut AttrWriter<'_>,
) -> Result<(), ParseError> {
    loop {
        s.skip_separators();
        let rest = s.rest();
        let Some((name, _)) = rest.split_once('(') else { return Ok(()) };
        if !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') || name.is_empty() {
            return Ok(());
        }
        attr(s, k, m)?;
    }
}

/// An attribute too long for its length is the text's fault.
fn fits(s: &Scanner<'_>, result: Result<(), AttrError>) -> Result<(), ParseError> {
    result.map_err(|_| s.expected("less text before"))
}

/// Reads one attribute and writes its value and its mask.
pub(super) fn attr(
    s: &mut Scanner<'_>,
    k: &mut AttrWriter<'_>,
    m: &mut AttrWriter<'_>,
) -> Result<(), ParseError> {
    use KeyAttr::*;
    let start = s.rest();
    let name = s.word();
    s.need("(")?;
    /// Reads one value with its mask.
    macro_rules! single {
        ($kind:ident, $values:expr) => {{
            let (key, mask) = s.nested($values)?;
            ($kind(key), $kind(mask))
        }};
    }
    /// Reads named fields of an attribute, all of which have a mask.
    macro_rules! fields {
        ($kind:ident { $($field:ident = $zero:expr => $name:literal $read:ident),* $(,)? }) => {{
            $(let mut $field = ($zero, $zero);)*
            s.fields(|s, name| {
                match name {
                    $($name => $field = s.$read()?,)*
                    _ => return Ok(false),
                }
                Ok(true)
            })?;
            ($kind { $($field: $field.0),* }, $kind { $($field: $field.1),* })
        }};
    }
    let (key, mask) = match name {
        "recirc_id" => single!(RecircId, |s| s.u32s()),
        "dp_hash" => single!(DpHash, |s| s.u32s()),
        "skb_priority" => single!(Priority, |s| s.u32s()),
        "skb_mark" => single!(SkbMark, |s| s.u32s()),
        "ct_state" => single!(CtState, |s| s.flags(Flags::CT_STATE, u32::MAX)),
        "ct_zone" => single!(CtZone, |s| wild(s).map_or_else(|| s.u16s(), Ok)),
        "ct_mark" => single!(CtMark, |s| wild(s).map_or_else(|| s.u32s(), Ok)),
        "ct_label" => single!(CtLabels, |s| label(s)),
        "in_port" => single!(InPort, |s| in_port(s)),
        "eth_type" => {
            // A frame without Ethernet type has nothing but the mask of it, which is then shown.
            // Otherwise 0 is the TPID of a tag that the mask does not take apart.
            let (v, mask) = s.nested(|s| s.masked(None, |s| s.number().map(Some)))?;
            if let (Some(0), Some(mask)) = (v, mask) {
                EtherType(mask).write(m);
                return Ok(());
            }
            (EtherType(v.unwrap_or_default()), EtherType(mask.unwrap_or(u16::MAX)))
        }
        "tcp_flags" => {
            let (v, mask) = s.nested(|s| s.flags(Flags::TCP, 0xffff))?;
            let short = |v: u32| u16::try_from(v).unwrap_or(u16::MAX);
            (TcpFlags(short(v)), TcpFlags(short(mask)))
        }
        "packet_type" => packet_type(s)?,
        "vlan" => vlan(s)?,
        "eth" => fields!(Ethernet {
            src = [0; 6] => "src" macs,
            dst = [0; 6] => "dst" macs,
        }),
        "ipv4" => fields!(Ipv4 {
            src = [0; 4] => "src" ip4s,
            dst = [0; 4] => "dst" ip4s,
            proto = 0 => "proto" u8s,
            tos = 0 => "tos" u8s,
            ttl = 0 => "ttl" u8s,
            frag = 0 => "frag" frags,
        }),
        "ipv6" => fields!(Ipv6 {
            src = [0; 16] => "src" ip6s,
            dst = [0; 16] => "dst" ip6s,
            label = 0 => "label" labels,
            proto = 0 => "proto" u8s,
            tclass = 0 => "tclass" u8s,
            hlimit = 0 => "hlimit" u8s,
            frag = 0 => "frag" frags,
        }),
        "tcp" => fields!(Tcp { src = 0 => "src" u16s, dst = 0 => "dst" u16s }),
        "udp" => fields!(Udp { src = 0 => "src" u16s, dst = 0 => "dst" u16s }),
        "sctp" => fields!(Sctp { src = 0 => "src" u16s, dst = 0 => "dst" u16s }),
        "icmp" => fields!(Icmp { ty = 0 => "type" u8s, code = 0 => "code" u8s }),
        "icmpv6" => fields!(Icmpv6 { ty = 0 => "type" u8s, code = 0 => "code" u8s }),
        "arp" => fields!(Arp {
            sip = [0; 4] => "sip" ip4s,
            tip = [0; 4] => "tip" ip4s,
            op = 0 => "op" u16s,
            sha = [0; 6] => "sha" macs,
            tha = [0; 6] => "tha" macs,
        }),
        "nd" => fields!(Nd {
            target = [0; 16] => "target" ip6s,
            sll = [0; 6] => "sll" macs,
            tll = [0; 6] => "tll" macs,
        }),
        "nd_ext" => fields!(NdExtensions {
            reserved = 0 => "nd_reserved" u32s,
            options_type = 0 => "nd_options_type" u8s,
        }),
        "ct_tuple4" => fields!(CtOrigTupleIpv4 {
            src = [0; 4] => "src" ip4s,
            dst = [0; 4] => "dst" ip4s,
            proto = 0 => "proto" u8s,
            src_port = 0 => "tp_src" u16s,
            dst_port = 0 => "tp_dst" u16s,
        }),
        "ct_tuple6" => ct_tuple6(s)?,
        "mpls" => return mpls(s, k, m),
        "nsh" => return nsh(s, k, m),
        "encap" => {
            let (k_nest, m_nest) = (k.begin(OVS_KEY_ATTR_ENCAP), m.begin(OVS_KEY_ATTR_ENCAP));
            s.nested(|s| attrs(s, k, m))?;
            let (k_end, m_end) = (k.end(k_nest), m.end(m_nest));
            return fits(s, k_end.and(m_end));
        }
        "tunnel" => {
            let (mut key, mut mask) = (Vec::new(), Vec::new());
            tunnel::tunnel(s, &mut key, &mut mask)?;
            Tunnel(&key).write(k);
            Tunnel(&mask).write(m);
            return Ok(());
        }
        _ => match name.strip_prefix("key").and_then(|kind| kind.parse().ok()) {
            Some(kind) => return unknown(s, kind, k, m),
            None => {
                s.advance(0);
                let rest = start.chars().take(20).collect();
                return Err(ParseError { rest, ..s.expected("a field of a flow") });
            }
        },
    };
    key.write(k);
    mask.write(m);
    Ok(())
}

/// Nothing in the parentheses: the terse form of what is wildcarded.
fn wild<T: Default>(s: &Scanner<'_>) -> Option<(T, T)> {
    s.rest().starts_with(')').then(Default::default)
}

fn label(s: &mut Scanner<'_>) -> Result<([u8; 16], [u8; 16]), ParseError> {
    if let Some(wild) = wild(s) {
        return Ok(wild);
    }
    let (v, mask) = labels128(s)?;
    Ok((v, mask))
}

/// A conntrack label with its mask, as the kernel has them.
pub(super) fn labels128(s: &mut Scanner<'_>) -> Result<([u8; 16], [u8; 16]), ParseError> {
    let (v, mask) = s.masked([0xff; 16], Scanner::big)?;
    let kernel = |v: [u8; 16]| u128::from_be_bytes(v).to_ne_bytes();
    Ok((kernel(v), kernel(mask)))
}

fn in_port(s: &mut Scanner<'_>) -> Result<(u32, u32), ParseError> {
    let port = s.port()?;
    let mask = if s.eat("/") { s.number()? } else { u32::MAX };
    Ok((port, mask))
}

fn packet_type(s: &mut Scanner<'_>) -> Result<(KeyAttr<'static>, KeyAttr<'static>), ParseError> {
    let ((mut ns, mut ns_mask), (mut id, mut id_mask)) = ((0, 0), (0, 0));
    s.fields(|s, name| {
        match name {
            "ns" => (ns, ns_mask) = s.u16s()?,
            "id" => (id, id_mask) = s.u16s()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let join = |ns: u16, id: u16| KeyAttr::PacketType(u32::from(ns) << 16 | u32::from(id));
    Ok((join(ns, id), join(ns_mask, id_mask)))
}

fn vlan(s: &mut Scanner<'_>) -> Result<(KeyAttr<'static>, KeyAttr<'static>), ParseError> {
    let (mut tci, mut mask) = (VLAN_CFI, VLAN_CFI);
    s.fields(|s, name| {
        let (shift, max) = match name {
            "vid" => (0, 0xfff),
            "pcp" => (13, 7),
            "cfi" => (12, 1),
            _ => return Ok(false),
        };
        let (v, bits) = s.masked(max, Scanner::number::<u16>)?;
        if v > max {
            return Err(s.expected("a smaller number before"));
        }
        tci = tci & !(max << shift) | v << shift;
        mask = mask & !(max << shift) | (bits & max) << shift;
        Ok(true)
    })?;
    Ok((KeyAttr::Vlan(tci), KeyAttr::Vlan(mask)))
}

/// As IPv4's, but the ports go by two names: those that are shown and those that are taken.
fn ct_tuple6(s: &mut Scanner<'_>) -> Result<(KeyAttr<'static>, KeyAttr<'static>), ParseError> {
    let (mut addrs, mut addr_masks) = ([[0; 16]; 2], [[0; 16]; 2]);
    let (mut ports, mut port_masks) = ([0; 2], [0; 2]);
    let (mut proto, mut proto_mask) = (0, 0);
    s.fields(|s, name| {
        match name {
            "src" => (addrs[0], addr_masks[0]) = s.ip6s()?,
            "dst" => (addrs[1], addr_masks[1]) = s.ip6s()?,
            "proto" => (proto, proto_mask) = s.u8s()?,
            "src_port" | "tp_src" => (ports[0], port_masks[0]) = s.u16s()?,
            "dst_port" | "tp_dst" => (ports[1], port_masks[1]) = s.u16s()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let tuple = |[src, dst]: [[u8; 16]; 2], [src_port, dst_port]: [u16; 2], proto| {
        KeyAttr::CtOrigTupleIpv6 { src, dst, src_port, dst_port, proto }
    };
    Ok((tuple(addrs, ports, proto), tuple(addr_masks, port_masks, proto_mask)))
}

/// Reads fields of a label stack entry; a field that comes again begins the next entry.
pub(super) fn lse_field(name: &str) -> Option<(u32, u32)> {
    Some(match name {
        "label" => (12, 0xf_ffff),
        "tc" => (9, 7),
        "bos" => (8, 1),
        "ttl" => (0, 0xff),
        _ => return None,
    })
}

fn mpls(
    s: &mut Scanner<'_>,
    k: &mut AttrWriter<'_>,
    m: &mut AttrWriter<'_>,
) -> Result<(), ParseError> {
    let mut stack: Vec<(u32, u32)> = vec![(0, 0)];
    let mut seen = 0u32;
    s.fields(|s, name| {
        let Some((shift, max)) = lse_field(name) else { return Ok(false) };
        let (v, bits) = s.masked(max, Scanner::number::<u32>)?;
        if v > max {
            return Err(s.expected("a smaller number before"));
        }
        if seen & 1 << shift != 0 {
            seen = 0;
            stack.push((0, 0));
        }
        seen |= 1 << shift;
        if let Some((lse, mask)) = stack.last_mut() {
            *lse |= v << shift;
            *mask |= (bits & max) << shift;
        }
        Ok(true)
    })?;
    let encode = |of: fn(&(u32, u32)) -> u32| -> Vec<u8> {
        stack.iter().flat_map(|pair| of(pair).to_be_bytes()).collect()
    };
    KeyAttr::Mpls(&encode(|pair| pair.0)).write(k);
    KeyAttr::Mpls(&encode(|pair| pair.1)).write(m);
    Ok(())
}

fn nsh(
    s: &mut Scanner<'_>,
    k: &mut AttrWriter<'_>,
    m: &mut AttrWriter<'_>,
) -> Result<(), ParseError> {
    let (key, mask) = tunnel::nsh(s, None)?;
    let md1 = if key.mdtype == NSH_M_TYPE1 { NshMetadata::Md1 } else { NshMetadata::None };
    let written = write_nsh(k, &key, md1).and(write_nsh(m, &mask, NshMetadata::Md1));
    fits(s, written)
}

/// Reads `key32(00 00/00 00)`. Without a mask the bits are matched exactly.
fn unknown(
    s: &mut Scanner<'_>,
    kind: u16,
    k: &mut AttrWriter<'_>,
    m: &mut AttrWriter<'_>,
) -> Result<(), ParseError> {
    let (key, mask) = s.nested(|s| {
        let key = s.bytes()?;
        let mask = if s.eat("/") { s.bytes()? } else { vec![u8::MAX; key.len()] };
        Ok((key, mask))
    })?;
    k.bytes(kind, &key);
    m.bytes(kind, &mask);
    Ok(())
}

impl Scanner<'_> {
    /// `no`, `first` or `later`, matched exactly.
    fn frags(&mut self) -> Result<(u8, u8), ParseError> {
        let frag = match () {
            () if self.eat("no") => OVS_FRAG_TYPE_NONE,
            () if self.eat("first") => OVS_FRAG_TYPE_FIRST,
            () if self.eat("later") => OVS_FRAG_TYPE_LATER,
            () => return Err(self.expected("no, first or later")),
        };
        Ok((frag, u8::MAX))
    }

    /// An IPv6 flow label, of which 20 bits are all there is.
    fn labels(&mut self) -> Result<(u32, u32), ParseError> {
        let (label, mask) = self.masked(0xf_ffff, Self::number)?;
        if label > 0xf_ffff {
            return Err(self.expected("a flow label of 20 bits before"));
        }
        Ok((label, mask))
    }
}
