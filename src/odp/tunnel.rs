//! The tunnel nest of keys, masks and set actions, to and from [`FlowTnl`].
//!
//! What always holds: Geneve options from a packet are kept raw (`tnl_flags::UDPIF`), because only
//! the TLV map of a bridge knows which field an option is; what reads a mask is told the key it is
//! for, since options mean something only beside the key. Plain functions: any thread.

use ovs_netlink::attr::{AttrError, AttrWriter};
use ovs_netlink::tunnel::{GeneveOpts, TunnelAttr, TunnelAttrs, vxlan_gbp, write_vxlan_gbp};
use ovs_netlink::uapi::{OVS_KEY_ATTR_TUNNEL, erspan_metadata};
use zerocopy::{FromBytes, IntoBytes};

use super::key::{Fitness, KeyError};
use crate::flow::{Flow, FlowTnl, tnl_flags};

/// Reads the attributes of a tunnel into `tnl`, which is zero; as a mask when `key` is given. False
/// when there was an attribute that is not understood.
pub(super) fn read(
    value: &[u8],
    key: Option<&FlowTnl>,
    tnl: &mut FlowTnl,
) -> Result<bool, KeyError> {
    let (mut ttl, mut understood) = (false, true);
    for attr in TunnelAttrs::new(value) {
        match attr? {
            TunnelAttr::Id(v) => {
                tnl.tun_id = v.into();
                tnl.flags |= tnl_flags::KEY;
            }
            TunnelAttr::Ipv4Src(v) => tnl.ip_src = v,
            TunnelAttr::Ipv4Dst(v) => tnl.ip_dst = v,
            TunnelAttr::Ipv6Src(v) => tnl.ipv6_src = v,
            TunnelAttr::Ipv6Dst(v) => tnl.ipv6_dst = v,
            TunnelAttr::Tos(v) => tnl.ip_tos = v,
            TunnelAttr::Ttl(v) => {
                tnl.ip_ttl = v;
                ttl = true;
            }
            TunnelAttr::DontFragment => tnl.flags |= tnl_flags::DONT_FRAGMENT,
            TunnelAttr::Csum => tnl.flags |= tnl_flags::CSUM,
            TunnelAttr::Oam => tnl.flags |= tnl_flags::OAM,
            TunnelAttr::TpSrc(v) => tnl.tp_src = v.into(),
            TunnelAttr::TpDst(v) => tnl.tp_dst = v.into(),
            TunnelAttr::GeneveOpts(v) => read_geneve(v, key.is_some(), tnl)?,
            TunnelAttr::VxlanOpts(v) => {
                let gbp = vxlan_gbp(v)?.unwrap_or_default();
                let [_, flags, id0, id1] = gbp.to_be_bytes();
                tnl.gbp_flags = flags;
                tnl.gbp_id = u16::from_be_bytes([id0, id1]).into();
            }
            TunnelAttr::ErspanOpts(v) => understood &= read_erspan(v, key, tnl),
            TunnelAttr::Pad => {}
            TunnelAttr::Ipv4InfoBridge | TunnelAttr::Unknown { .. } => understood = false,
        }
    }
    // A tunnel in bridge mode has no TTL, and is not understood anyhow.
    if ttl || !understood { Ok(understood) } else { Err(KeyError::TunnelTtl) }
}

fn read_geneve(opts: &[u8], is_mask: bool, tnl: &mut FlowTnl) -> Result<(), KeyError> {
    let len = u8::try_from(opts.len()).map_err(|_| KeyError::GeneveLength(opts.len()))?;
    if let Some(room) = tnl.metadata.opts.get_mut(..opts.len()) {
        room.copy_from_slice(opts);
    }
    tnl.flags |= tnl_flags::UDPIF;
    // The length is matched exactly, or options that begin alike would be taken for the same.
    tnl.metadata.len = if is_mask { u8::MAX } else { len };
    Ok(())
}

fn read_erspan(value: &[u8], key: Option<&FlowTnl>, tnl: &mut FlowTnl) -> bool {
    let Ok((opts, _)) = erspan_metadata::ref_from_prefix(value) else { return false };
    let version = opts.version.get();
    match key.map_or(version, |key| i32::from(key.erspan_ver)) {
        1 => tnl.erspan_idx = opts.index(),
        2 => {
            tnl.erspan_dir = if key.is_some() && opts.dir() { u8::MAX } else { opts.dir().into() };
            tnl.erspan_hwid = opts.hwid();
        }
        _ => return false,
    }
    tnl.erspan_ver = if key.is_none() { version.to_le_bytes()[0] } else { u8::MAX };
    true
}

/// Appends a `TUNNEL` attribute; `tnl` is a mask when `mask_of` gives the tunnel it is a mask of.
///
/// Geneve options are `options` when given, else the raw ones of `tnl`; mapped ones (TLV map) are
/// not written. A mask of raw options matches their classes, types and lengths if it matches any bit
/// of them.
pub(super) fn write(
    w: &mut AttrWriter<'_>,
    tnl: &FlowTnl,
    mask_of: Option<&FlowTnl>,
    options: Option<&[u8]>,
) -> Result<(), AttrError> {
    let key = mask_of.unwrap_or(tnl);
    let nest = w.begin(OVS_KEY_ATTR_TUNNEL);
    // A mask of an id needs no flag; a key of 0 does.
    if tnl.tun_id.get() != 0 || tnl.flags & tnl_flags::KEY != 0 {
        TunnelAttr::Id(tnl.tun_id.get()).write(w);
    }
    write_addresses(w, tnl, key);
    if tnl.ip_tos != 0 {
        TunnelAttr::Tos(tnl.ip_tos).write(w);
    }
    TunnelAttr::Ttl(tnl.ip_ttl).write(w);
    if tnl.flags & tnl_flags::DONT_FRAGMENT != 0 {
        TunnelAttr::DontFragment.write(w);
    }
    if tnl.flags & tnl_flags::CSUM != 0 {
        TunnelAttr::Csum.write(w);
    }
    if tnl.tp_src.get() != 0 {
        TunnelAttr::TpSrc(tnl.tp_src.get()).write(w);
    }
    if tnl.tp_dst.get() != 0 {
        TunnelAttr::TpDst(tnl.tp_dst.get()).write(w);
    }
    if tnl.flags & tnl_flags::OAM != 0 {
        TunnelAttr::Oam.write(w);
    }
    // The kernel takes one kind of options; a mask has those that its key has.
    if key.erspan_ver != 0 {
        write_erspan(w, tnl, key, mask_of.is_some());
    } else if !write_geneve(w, tnl, mask_of, options)
        && (tnl.gbp_flags != 0 || tnl.gbp_id.get() != 0)
    {
        write_vxlan_gbp(w, u32::from(tnl.gbp_flags) << 16 | u32::from(tnl.gbp_id.get()));
    }
    w.end(nest)
}

/// Writes the addresses of the family that `key` is of: the kernel takes no mixture, not even in a
/// mask.
fn write_addresses(w: &mut AttrWriter<'_>, tnl: &FlowTnl, key: &FlowTnl) {
    if key.ip_src == [0; 4] && key.ip_dst == [0; 4] && key.ipv6_dst != [0; 16] {
        if tnl.ipv6_src != [0; 16] {
            TunnelAttr::Ipv6Src(tnl.ipv6_src).write(w);
        }
        if tnl.ipv6_dst != [0; 16] {
            TunnelAttr::Ipv6Dst(tnl.ipv6_dst).write(w);
        }
        return;
    }
    if tnl.ip_src != [0; 4] {
        TunnelAttr::Ipv4Src(tnl.ip_src).write(w);
    }
    if tnl.ip_dst != [0; 4] {
        TunnelAttr::Ipv4Dst(tnl.ip_dst).write(w);
    }
}

/// False when there are no options to write.
fn write_geneve(
    w: &mut AttrWriter<'_>,
    tnl: &FlowTnl,
    mask_of: Option<&FlowTnl>,
    options: Option<&[u8]>,
) -> bool {
    let key = mask_of.unwrap_or(tnl);
    let raw = key.flags & tnl_flags::UDPIF != 0;
    let len = usize::from(key.metadata.len);
    let opts = match options {
        Some(opts) => opts,
        // The kernel wants as many bytes in the mask as in the key.
        None => tnl.metadata.opts.get(..len).filter(|_| raw).unwrap_or_default(),
    };
    let matched = || opts.iter().any(|&byte| byte != 0) || tnl.metadata.len != 0;
    if opts.is_empty() || mask_of.is_some() && !matched() {
        return false;
    }
    let Some(key) = mask_of.filter(|_| options.is_none()) else {
        TunnelAttr::GeneveOpts(opts).write(w);
        return true;
    };
    // What is matched in an option is in that option only if those before it are as they are.
    let mut mask = [0; 256];
    let mut at = 0;
    for (to, from) in mask.iter_mut().zip(opts) {
        *to = *from;
    }
    let key_opts = key.metadata.opts.get(..len).unwrap_or_default();
    for opt in GeneveOpts::new(key_opts).map_while(Result::ok) {
        if let Some([c0, c1, ty, len]) = mask.get_mut(at..).and_then(|m| m.first_chunk_mut()) {
            (*c0, *c1, *ty, *len) = (0xff, 0xff, 0xff, *len | 0x1f);
        }
        at += 4 + opt.data.len();
    }
    TunnelAttr::GeneveOpts(mask.get(..len).unwrap_or_default()).write(w);
    true
}

fn write_erspan(w: &mut AttrWriter<'_>, tnl: &FlowTnl, key: &FlowTnl, is_mask: bool) {
    let mut opts = match key.erspan_ver {
        1 => erspan_metadata::v1(tnl.erspan_idx),
        2 => erspan_metadata::v2(tnl.erspan_dir != 0, tnl.erspan_hwid),
        _ => return,
    };
    if is_mask {
        if tnl.erspan_ver | tnl.erspan_dir | tnl.erspan_hwid == 0 && tnl.erspan_idx == 0 {
            return;
        }
        // The rest is to be read by the version.
        opts.version = (-1).into();
    }
    TunnelAttr::ErspanOpts(opts.as_bytes()).write(w);
}

/// Reads the attributes of a tunnel by themselves, as they come with an upcall for a packet that is
/// about to leave by it.
///
/// # Errors
/// When the encoding is broken or the TTL is missing.
pub fn tunnel_from_attrs(value: &[u8]) -> Result<(FlowTnl, Fitness), KeyError> {
    let mut tnl = Flow::ZERO.tunnel;
    let understood = read(value, None, &mut tnl)?;
    Ok((tnl, if understood { Fitness::Perfect } else { Fitness::TooMuch }))
}
