//! The inside of `tunnel(...)` and `nsh(...)`.
//!
//! What always holds: a mask that is missing beside a mask of the whole counts as zero. Plain
//! functions: any thread.

use ovs_netlink::attr::{Attr, Attrs};
use ovs_netlink::tunnel::{GeneveOpts, TunnelAttr, TunnelAttrs, vxlan_gbp};
use ovs_netlink::uapi::*;
use zerocopy::FromBytes;

use super::fields::{Flags, List};
use super::{put, put_hex_number};
use crate::flow::{FlowNsh, tnl_flags};
use crate::odp::decode::{NSH_M_TYPE1, read_nsh};

const FLAGS_ALL: u32 =
    (tnl_flags::OAM | tnl_flags::DONT_FRAGMENT | tnl_flags::CSUM | tnl_flags::KEY) as u32;

pub(super) fn put_tunnel(key: &[u8], mask: Option<&[u8]>, verbose: bool, out: &mut String) {
    let mut list = List::new(out, verbose);
    let (mut flags, mut mask_flags) = (0, 0);
    for attr in TunnelAttrs::new(key).map_while(Result::ok) {
        let masked = mask.map(|mask| find(mask, attr.kind()));
        flags |= flag(attr.kind());
        put_attr(attr, masked, &mut list, verbose);
    }
    for attr in Attrs::new(mask.unwrap_or_default()).map_while(Result::ok) {
        // A flag can be matched to be clear, so that the key need not have it. A tunnel id matches
        // its flag only when the key has one.
        if attr.kind != OVS_TUNNEL_KEY_ATTR_ID {
            mask_flags |= flag(attr.kind);
        }
    }
    mask_flags |= flags & u32::from(tnl_flags::KEY);
    if mask.is_some() && mask_flags == 0 && !verbose {
        return;
    }
    let out = list.item();
    out.push_str("flags(");
    match mask {
        Some(_) => Flags::TUNNEL.put_masked(flags, mask_flags, FLAGS_ALL, out),
        None => Flags::TUNNEL.put(flags, '|', out),
    }
    out.push(')');
}

/// The value of an attribute in an encoded mask.
fn find(mask: &[u8], kind: u16) -> Option<Attr<'_>> {
    Attrs::new(mask).map_while(Result::ok).find(|attr| attr.kind == kind)
}

fn flag(kind: u16) -> u32 {
    match kind {
        OVS_TUNNEL_KEY_ATTR_ID => tnl_flags::KEY.into(),
        OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT => tnl_flags::DONT_FRAGMENT.into(),
        OVS_TUNNEL_KEY_ATTR_CSUM => tnl_flags::CSUM.into(),
        OVS_TUNNEL_KEY_ATTR_OAM => tnl_flags::OAM.into(),
        _ => 0,
    }
}

/// Shows one attribute. `masked` is none without a mask, and `Some(None)` where the mask has no such
/// attribute.
fn put_attr(
    attr: TunnelAttr<'_>,
    masked: Option<Option<Attr<'_>>>,
    list: &mut List<'_>,
    verbose: bool,
) {
    let mask = masked.map(|mask| mask.and_then(|mask| TunnelAttr::parse(mask).ok()));
    /// The mask's value: none for exact, zero where the mask has no such attribute.
    macro_rules! mask {
        ($kind:ident, $zero:expr) => {
            mask.map(|mask| match mask {
                Some(TunnelAttr::$kind(v)) => v,
                _ => $zero,
            })
        };
    }
    match attr {
        TunnelAttr::Id(v) => list.tun_id(v, mask!(Id, 0)),
        TunnelAttr::Ipv4Src(v) => list.ip4("src", v, mask!(Ipv4Src, [0; 4])),
        TunnelAttr::Ipv4Dst(v) => list.ip4("dst", v, mask!(Ipv4Dst, [0; 4])),
        TunnelAttr::Ipv6Src(v) => list.ip6("ipv6_src", v, mask!(Ipv6Src, [0; 16])),
        TunnelAttr::Ipv6Dst(v) => list.ip6("ipv6_dst", v, mask!(Ipv6Dst, [0; 16])),
        TunnelAttr::Tos(v) => list.u8_hex("tos", v, mask!(Tos, 0)),
        TunnelAttr::Ttl(v) => list.u8("ttl", v, mask!(Ttl, 0)),
        TunnelAttr::TpSrc(v) => list.u16("tp_src", v, mask!(TpSrc, 0)),
        TunnelAttr::TpDst(v) => list.u16("tp_dst", v, mask!(TpDst, 0)),
        TunnelAttr::DontFragment | TunnelAttr::Csum | TunnelAttr::Oam => {}
        TunnelAttr::Ipv4InfoBridge => list.item().push_str("ipv4_info_bridge"),
        TunnelAttr::VxlanOpts(v) => {
            let mask = mask!(VxlanOpts, &[]);
            nested("vxlan", list, |out| put_vxlan(v, mask, verbose, out));
        }
        TunnelAttr::GeneveOpts(v) => {
            let mask = mask!(GeneveOpts, &[]);
            nested("geneve", list, |out| put_geneve(v, mask, verbose, out));
        }
        TunnelAttr::ErspanOpts(v) => {
            let mask = mask!(ErspanOpts, &[]);
            nested("erspan", list, |out| put_erspan(v, mask, verbose, out));
        }
        TunnelAttr::Pad => {}
        TunnelAttr::Unknown { kind, value } => {
            let out = list.item();
            put(out, format_args!("key{kind}("));
            super::key::put_generic(value, out);
            if let Some(Some(TunnelAttr::Unknown { value, .. })) = mask {
                out.push('/');
                super::key::put_generic(value, out);
            }
            out.push(')');
        }
    }
}

fn nested(name: &str, list: &mut List<'_>, inside: impl FnOnce(&mut String)) {
    let out = list.item();
    put(out, format_args!("{name}("));
    inside(out);
    out.push(')');
}

fn put_vxlan(opts: &[u8], mask: Option<&[u8]>, verbose: bool, out: &mut String) {
    let Ok(Some(gbp)) = vxlan_gbp(opts) else { return };
    let mask = mask.map(|mask| vxlan_gbp(mask).ok().flatten().unwrap_or_default());
    let split = |gbp: u32| {
        let [_, flags, id0, id1] = gbp.to_be_bytes();
        (u16::from_be_bytes([id0, id1]), flags)
    };
    let (id, flags) = split(gbp);
    out.push_str("gbp(");
    let mut list = List::new(out, verbose);
    list.u16("id", id, mask.map(|m| split(m).0));
    list.u8_hex("flags", flags, mask.map(|m| split(m).1));
    out.push(')');
}

fn put_erspan(opts: &[u8], mask: Option<&[u8]>, verbose: bool, out: &mut String) {
    let Ok((opts, _)) = erspan_metadata::read_from_prefix(opts) else { return };
    let mask = mask.map(|mask| {
        let mask = erspan_metadata::read_from_prefix(mask);
        mask.map_or(erspan_metadata::default(), |(mask, _)| mask)
    });
    let version = |m: erspan_metadata| m.version.get().to_le_bytes()[0];
    let mut list = List::new(out, verbose);
    list.u8("ver", version(opts), mask.map(version));
    match opts.version.get() {
        1 => {
            let hex = |m: &erspan_metadata| super::fields::Hex(m.index().into());
            put(list.item(), format_args!("idx={}", hex(&opts)));
            if let Some(mask) = mask {
                put(list.out, format_args!("/{}", hex(&mask)));
            }
        }
        2 => {
            // The peer shows the low four of the six bits, and a mask of the one bit never as full.
            let dir = |m: erspan_metadata| u8::from(m.dir());
            let hwid = |m: erspan_metadata| m.hwid() & 0xf;
            list.u8("dir", dir(opts), mask.map(dir));
            list.u8_hex("hwid", hwid(opts), mask.map(hwid));
        }
        _ => {}
    }
}

fn put_geneve(opts: &[u8], mask: Option<&[u8]>, verbose: bool, out: &mut String) {
    let zeros = vec![0; opts.len()];
    let mask = mask.map(|mask| if mask.is_empty() { &*zeros } else { mask });
    if let Some(mask) = mask.filter(|mask| mask.len() != opts.len()) {
        let (value, mask) = (opts.len(), mask.len());
        return put(out, format_args!("value len {value} different from mask len {mask}"));
    }
    let mut rest = opts;
    for opt in GeneveOpts::new(opts) {
        let Ok(opt) = opt else {
            let (left, least) = (rest.len(), 4);
            return match rest.get(3).map(|len| 4 + usize::from(len & 0x1f) * 4) {
                Some(len) => put(out, format_args!("opt len {len} greater than remaining {left}")),
                None => put(out, format_args!("opt len {left} less than minimum {least}")),
            };
        };
        let at = opts.len() - rest.len();
        let len = 4 + opt.data.len();
        rest = rest.get(len..).unwrap_or_default();
        // The mask stands at the option's place, whatever lengths it says itself.
        let mask = mask.and_then(|mask| mask.get(at..at + len));
        let head = mask.and_then(|mask| mask.first_chunk::<4>());
        out.push('{');
        let mut list = List::new(out, verbose);
        list.u16_hex("class", opt.class, head.map(|m| u16::from_be_bytes([m[0], m[1]])));
        list.u8_hex("type", opt.ty, head.map(|m| m[2]));
        let len_mask = head.map(|m| if m[3] & 0x1f == 0x1f { u8::MAX } else { m[3] & 0x1f });
        let len = u8::try_from(opt.data.len()).unwrap_or(u8::MAX);
        list.u8("len", len, len_mask);
        let data_mask = mask.map(|mask| mask.get(4..).unwrap_or_default());
        let wild = data_mask.is_some_and(|mask| mask.iter().all(|&b| b == 0));
        if !opt.data.is_empty() && (verbose || !wild) {
            put_hex_number(opt.data, list.item());
            if let Some(mask) = data_mask.filter(|mask| mask.iter().any(|&b| b != u8::MAX)) {
                list.out.push('/');
                put_hex_number(mask, list.out);
            }
        }
        out.push('}');
    }
}

pub(super) fn put_nsh(key: &[u8], mask: Option<&[u8]>, out: &mut String) {
    let Ok((nsh, has_md1)) = read_nsh(key) else { return };
    match mask {
        None => put_exact_nsh(&nsh, out),
        Some(mask) => {
            let mut masks = read_nsh(mask).map_or(FlowNsh::default(), |(masks, _)| masks);
            if !has_md1 {
                // The peer asks the mask only about what the key has, and shows the rest as exact.
                masks.context = [u32::MAX.into(); 4];
            }
            put_masked_nsh(&nsh, &masks, out);
        }
    }
}

fn put_exact_nsh(nsh: &FlowNsh, out: &mut String) {
    let path = nsh.path_hdr.get();
    put(
        out,
        format_args!(
            "flags={},ttl={},mdtype={},np={},spi=0x{:x},si={}",
            nsh.flags,
            nsh.ttl,
            nsh.mdtype,
            nsh.np,
            path >> 8,
            path & 0xff
        ),
    );
    if nsh.mdtype == NSH_M_TYPE1 {
        for (i, c) in nsh.context.iter().enumerate() {
            put(out, format_args!(",c{}=0x{:x}", i + 1, c.get()));
        }
    }
}

pub(super) fn put_masked_nsh(nsh: &FlowNsh, mask: &FlowNsh, out: &mut String) {
    let mut list = List::new(out, false);
    let [.., si] = nsh.path_hdr.get().to_be_bytes();
    let [.., si_mask] = mask.path_hdr.get().to_be_bytes();
    let spi_mask = match mask.path_hdr.get() >> 8 {
        0xff_ffff => u32::MAX,
        mask => mask,
    };
    let byte = |list: &mut List<'_>, name, v: u8, m: u8| match m {
        0 => {}
        u8::MAX => put(list.item(), format_args!("{name}={v}")),
        m => put(list.item(), format_args!("{name}=0x{v:02x}/0x{m:02x}")),
    };
    let word = |list: &mut List<'_>, name, v: u32, m: u32| match m {
        0 => {}
        u32::MAX => put(list.item(), format_args!("{name}=0x{v:x}")),
        m => put(list.item(), format_args!("{name}=0x{v:x}/0x{m:08x}")),
    };
    byte(&mut list, "flags", nsh.flags, mask.flags);
    byte(&mut list, "ttl", nsh.ttl, mask.ttl);
    byte(&mut list, "mdtype", nsh.mdtype, mask.mdtype);
    byte(&mut list, "np", nsh.np, mask.np);
    word(&mut list, "spi", nsh.path_hdr.get() >> 8, spi_mask);
    byte(&mut list, "si", si, si_mask);
    for ((name, c), m) in ["c1", "c2", "c3", "c4"].iter().zip(nsh.context).zip(mask.context) {
        word(&mut list, name, c.get(), m.get());
    }
}
