//! The inside of `tunnel(...)` and `nsh(...)`.
//!
//! What always holds: key and mask get the same options, and options of the same length. Plain
//! functions: any thread.

use ovs_netlink::attr::AttrWriter;
use ovs_netlink::tunnel::{TunnelAttr, write_vxlan_gbp};
use ovs_netlink::uapi::*;
use zerocopy::IntoBytes;

use super::ParseError;
use super::scan::Scanner;
use crate::flow::{FlowNsh, tnl_flags};
use crate::odp::decode::NSH_M_TYPE1;
use crate::odp::format::fields::Flags;

const FLAGS_ALL: u32 =
    (tnl_flags::OAM | tnl_flags::DONT_FRAGMENT | tnl_flags::CSUM | tnl_flags::KEY) as u32;

/// Reads the fields of a tunnel, the opening parenthesis read already, as attributes of a key and of
/// a mask.
pub(super) fn tunnel(
    s: &mut Scanner<'_>,
    key: &mut Vec<u8>,
    mask: &mut Vec<u8>,
) -> Result<(), ParseError> {
    let (mut k, mut m) = (AttrWriter::new(key), AttrWriter::new(mask));
    let (mut has_id, mut key_flag) = (false, false);
    s.fields(|s, name| {
        /// Writes an attribute of a key and of its mask.
        macro_rules! put {
            ($kind:ident, $values:expr) => {{
                let (key, mask) = $values;
                TunnelAttr::$kind(key).write(&mut k);
                TunnelAttr::$kind(mask).write(&mut m);
            }};
        }
        match name {
            "tun_id" => {
                has_id = true;
                put!(Id, s.u64s()?);
            }
            "src" => put!(Ipv4Src, s.ip4s()?),
            "dst" => put!(Ipv4Dst, s.ip4s()?),
            "ipv6_src" => put!(Ipv6Src, s.ip6s()?),
            "ipv6_dst" => put!(Ipv6Dst, s.ip6s()?),
            "tos" => put!(Tos, s.u8s()?),
            "ttl" => put!(Ttl, s.u8s()?),
            "tp_src" => put!(TpSrc, s.u16s()?),
            "tp_dst" => put!(TpDst, s.u16s()?),
            "flags" => {
                s.need("(")?;
                let (flags, masks) = s.nested(|s| s.flags(Flags::TUNNEL, FLAGS_ALL))?;
                key_flag = flags & u32::from(tnl_flags::KEY) != 0;
                write_flags(flags, &mut k);
                write_flags(masks, &mut m);
            }
            "vxlan" => {
                s.need("(")?;
                let (gbp, gbp_mask) = s.nested(vxlan)?;
                write_vxlan_gbp(&mut k, gbp);
                write_vxlan_gbp(&mut m, gbp_mask);
            }
            "erspan" => {
                s.need("(")?;
                let (opts, opts_mask) = erspan(s)?;
                TunnelAttr::ErspanOpts(opts.as_bytes()).write(&mut k);
                TunnelAttr::ErspanOpts(opts_mask.as_bytes()).write(&mut m);
            }
            "geneve" => {
                s.need("(")?;
                let (opts, opts_mask) = s.nested(geneve)?;
                TunnelAttr::GeneveOpts(&opts).write(&mut k);
                TunnelAttr::GeneveOpts(&opts_mask).write(&mut m);
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if key_flag && !has_id {
        // There is an id, but none of it is matched.
        TunnelAttr::Id(0).write(&mut k);
        TunnelAttr::Id(0).write(&mut m);
    }
    Ok(())
}

/// The flags that have an attribute; the key flag follows from the tunnel id.
fn write_flags(flags: u32, w: &mut AttrWriter<'_>) {
    for (flag, attr) in [
        (tnl_flags::DONT_FRAGMENT, TunnelAttr::DontFragment),
        (tnl_flags::CSUM, TunnelAttr::Csum),
        (tnl_flags::OAM, TunnelAttr::Oam),
    ] {
        if flags & u32::from(flag) != 0 {
            attr.write(w);
        }
    }
}

fn vxlan(s: &mut Scanner<'_>) -> Result<(u32, u32), ParseError> {
    let ((mut id, mut id_mask), (mut flags, mut flags_mask)) = ((0, 0), (0, 0));
    s.need("gbp(")?;
    s.fields(|s, name| {
        match name {
            "id" => (id, id_mask) = s.u16s()?,
            "flags" => (flags, flags_mask) = s.u8s()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let gbp = |id: u16, flags: u8| u32::from(flags) << 16 | u32::from(id);
    Ok((gbp(id, flags), gbp(id_mask, flags_mask)))
}

fn erspan(s: &mut Scanner<'_>) -> Result<(erspan_metadata, erspan_metadata), ParseError> {
    let ((mut version, mut version_mask), (mut index, mut index_mask)) = ((0, 0), (0, 0));
    let mut has_index = false;
    let ((mut dir, mut dir_mask), (mut hwid, mut hwid_mask)) = ((0, 0), (0, 0));
    s.fields(|s, name| {
        match name {
            "ver" => (version, version_mask) = s.u8s()?,
            "idx" => {
                has_index = true;
                (index, index_mask) = s.u32s()?;
            }
            "dir" => (dir, dir_mask) = s.u8s()?,
            "hwid" => (hwid, hwid_mask) = s.u8s()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    // A version that is not matched is not shown; the index is, in version 1.
    let version = match version {
        0 if has_index => 1,
        0 => 2,
        version => version,
    };
    let (key, mut mask) = match version {
        1 => (erspan_metadata::v1(index), erspan_metadata::v1(index_mask)),
        2 => (erspan_metadata::v2(dir != 0, hwid), erspan_metadata::v2(dir_mask != 0, hwid_mask)),
        _ => return Err(s.expected("version 1 or 2 of ERSPAN before")),
    };
    mask.version = i32::from(version_mask as i8).into();
    Ok((key, mask))
}

fn geneve(s: &mut Scanner<'_>) -> Result<(Vec<u8>, Vec<u8>), ParseError> {
    let (mut key, mut mask) = (Vec::new(), Vec::new());
    while s.eat("{") {
        let ((mut class, mut class_mask), (mut ty, mut ty_mask)) = ((0, 0), (0, 0));
        let (mut len, mut len_mask) = (0u8, 0u8);
        if s.eat("class=") {
            (class, class_mask) = s.u16s()?;
        }
        s.eat(",");
        if s.eat("type=") {
            (ty, ty_mask) = s.u8s()?;
        }
        s.eat(",");
        if s.eat("len=") {
            (len, len_mask) = s.u8s()?;
        }
        if len > 124 || !len.is_multiple_of(4) || key.len() + 4 + usize::from(len) > 255 {
            return Err(s.expected("a shorter option before"));
        }
        let at = key.len();
        let end = at + 4 + usize::from(len);
        key.extend([class.to_be_bytes()[0], class.to_be_bytes()[1], ty, len / 4]);
        let class_mask = class_mask.to_be_bytes();
        mask.extend([class_mask[0], class_mask[1], ty_mask, len_mask & 0x1f]);
        key.resize(end, 0);
        mask.resize(end, 0);
        if s.eat(",") {
            s.big_into(key.get_mut(at + 4..).unwrap_or_default())?;
            let place = mask.get_mut(at + 4..).unwrap_or_default();
            if s.eat("/") {
                s.big_into(place)?;
            } else {
                place.fill(u8::MAX);
            }
        }
        s.need("}")?;
    }
    Ok((key, mask))
}

/// Reads the fields of a network service header, the opening parenthesis read already; `md2` takes
/// the metadata of type 2, where that may be.
pub(super) fn nsh(
    s: &mut Scanner<'_>,
    mut md2: Option<&mut Vec<u8>>,
) -> Result<(FlowNsh, FlowNsh), ParseError> {
    let (mut key, mut mask) = (FlowNsh::default(), FlowNsh::default());
    let ((mut spi, mut spi_mask), (mut si, mut si_mask)) = ((0u32, 0u32), (0u8, 0u8));
    s.fields(|s, name| {
        match name {
            "flags" => (key.flags, mask.flags) = s.u8s()?,
            "ttl" => (key.ttl, mask.ttl) = s.u8s()?,
            "mdtype" => (key.mdtype, mask.mdtype) = s.u8s()?,
            "np" => (key.np, mask.np) = s.u8s()?,
            "spi" => (spi, spi_mask) = s.u32s()?,
            "si" => (si, si_mask) = s.u8s()?,
            "c1" | "c2" | "c3" | "c4" => {
                let (value, bits) = s.u32s()?;
                let at = usize::from(name.as_bytes()[1] - b'1');
                (key.context[at], mask.context[at]) = (value.into(), bits.into());
            }
            "md2" => {
                let Some(md2) = md2.as_deref_mut() else { return Ok(false) };
                let digits = s.peek_until(&[',', ')']).len().saturating_sub(2);
                md2.resize(digits.div_ceil(2).next_multiple_of(4).min(248), 0);
                s.big_into(md2)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if mask.mdtype == 0 {
        // Which metadata there is is not said. If any is matched, it is this.
        key.mdtype = NSH_M_TYPE1;
    }
    key.path_hdr = (spi << 8 | u32::from(si)).into();
    mask.path_hdr = (spi_mask << 8 | u32::from(si_mask)).into();
    Ok((key, mask))
}
