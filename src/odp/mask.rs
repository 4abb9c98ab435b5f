//! Masks: which bits of a key the kernel shall match, to and from [`FlowWildcards`].
//!
//! The kernel refuses a mask that matches a header without matching exactly what says that the
//! header is there, so prerequisites are made exact here: the Ethernet type (and the TPID and
//! presence bit of every VLAN tag) always, the protocol when a port or flag is matched, the ICMPv6
//! type when neighbour discovery is. It matches the input port, the presence of an Ethernet header
//! and the absence of (further) VLAN tags whether it is told to or not.
//!
//! What always holds: decoding what was encoded gives wildcards that cover those asked for, in
//! every field that the packet has; the kernel that [`Support`] describes takes the mask with the
//! key of the same flow. Plain functions: any thread.
//!
//! Source: `ovs_nla_get_match` and `match_validate` in `net/openvswitch/flow_netlink.c`.

use std::ops::Range;

use arrayvec::ArrayVec;
use ovs_netlink::attr::{Attr, AttrError, AttrWriter, Attrs, NLA_HDRLEN};
use ovs_netlink::uapi::*;

use super::Support;
use super::decode::{Role, decode};
use super::encode::Encoder;
use super::key::{Fitness, KeyError, OdpKey};
use crate::flow::{Flow, FlowWildcards};

/// Appends the mask that matches `wc`, for the key of `flow`, with every attribute that the key
/// has.
///
/// # Errors
/// None that a flow can cause; the writer's own bound.
pub fn mask_from_wildcards(
    wc: &FlowWildcards,
    flow: &Flow,
    support: &Support,
    out: &mut Vec<u8>,
) -> Result<(), AttrError> {
    let mut w = AttrWriter::new(out);
    Encoder::mask(flow, &wc.masks, support).write(&mut w)?;
    w.finish()
}

/// Appends to `key_out` and `mask_out` the shortest key and mask with which the kernel matches `wc`:
/// attributes that the mask wildcards are left out of it, and metadata of which nothing is matched
/// is left out of the key as well. (What a header needs stays in the key: there, the kernel insists.)
///
/// `key` is the key as the datapath gave it and `flow` what it says; it need not say everything.
/// `geneve_mask` is the mask of the Geneve options in `key`, where `flow` holds mapped ones.
///
/// # Errors
/// When `key` is not a list of attributes.
pub fn minimal_key_and_mask(
    key: OdpKey<'_>,
    flow: &Flow,
    wc: &FlowWildcards,
    support: &Support,
    geneve_mask: Option<&[u8]>,
    key_out: &mut Vec<u8>,
    mask_out: &mut Vec<u8>,
) -> Result<(), AttrError> {
    let mask_start = mask_out.len();
    let mut w = AttrWriter::new(mask_out);
    Encoder::mask(flow, &wc.masks, support).minimal().geneve(geneve_mask).write(&mut w)?;
    w.finish()?;
    let matched = kinds(mask_out.get(mask_start..).unwrap_or_default())?;
    let key_start = key_out.len();
    let there = copy_attrs(key.0, matched | !METADATA, key_out)?;
    if matched & METADATA & !there & !(1 << OVS_KEY_ATTR_TUNNEL) != 0 {
        // Not a key of the kernel's, which names all metadata that it knows.
        key_out.truncate(key_start);
        return super::key::key_from_flow(flow, support, key_out);
    }
    Ok(())
}

/// Appends the mask that the kernel makes for a flow put of `key` without one, byte for byte: every
/// attribute of the key, with all bits of its value set that the kernel knows. With it the put costs the
/// kernel less. False, and nothing appended, for a key with attributes of which the mask says more, or
/// not so: there it must be left to the kernel.
///
/// Source: `ovs_nla_get_match` and `nlattr_set` in `net/openvswitch/flow_netlink.c`.
///
/// # Errors
/// When `key` is not a list of attributes; what was appended is then unspecified.
pub fn exact_mask(
    key: OdpKey<'_>,
    support: &Support,
    out: &mut Vec<u8>,
) -> Result<bool, AttrError> {
    let start = out.len();
    out.extend_from_slice(key.0);
    let mask = out.get_mut(start..).unwrap_or_default();
    let is_whole = set_values(key.0, support, mask)?;
    if !is_whole {
        out.truncate(start);
    }
    Ok(is_whole)
}

/// Sets the values of the attributes of `list`, of which `out` is a copy.
fn set_values(list: &[u8], support: &Support, out: &mut [u8]) -> Result<bool, AttrError> {
    let mut is_whole = true;
    Attrs::each(list, |Attr { kind, value }, place| {
        let start = place.start + NLA_HDRLEN;
        let out = out.get_mut(start..start + value.len()).unwrap_or_default();
        match kind {
            // The kernel sets fields for which there is no attribute, and there are lists in them.
            OVS_KEY_ATTR_TUNNEL | OVS_KEY_ATTR_NSH => is_whole = false,
            OVS_KEY_ATTR_ENCAP => is_whole &= set_values(value, support, out)?,
            OVS_KEY_ATTR_CT_STATE if value.len() == 4 => {
                let nat = if support.ct_state_nat { OVS_CS_F_NAT_MASK } else { 0 };
                out.copy_from_slice(&(CT_STATE_BITS | nat).to_ne_bytes());
            }
            _ => out.fill(0xff),
        }
        Ok::<_, AttrError>(())
    })?;
    Ok(is_whole)
}

/// The conntrack states that every kernel with conntrack knows.
const CT_STATE_BITS: u32 = OVS_CS_F_NEW
    | OVS_CS_F_ESTABLISHED
    | OVS_CS_F_RELATED
    | OVS_CS_F_REPLY_DIR
    | OVS_CS_F_INVALID
    | OVS_CS_F_TRACKED;

/// Appends those attributes of `list` whose types have their bits in `wanted`. Gives back a bit for
/// each type up to [`OVS_KEY_ATTR_NSH`] that is in the list; others are not copied.
///
/// # Errors
/// When `list` is not a list of attributes.
fn copy_attrs(list: &[u8], wanted: u64, out: &mut Vec<u8>) -> Result<u64, AttrError> {
    let mut w = AttrWriter::new(out);
    each_run(list, wanted, |run| w.raw(list.get(run).unwrap_or_default()))
}

/// Finds the pieces of `key` that [`minimal_key_and_mask`] copies for `mask`; false if there are more
/// than `runs` holds.
///
/// # Errors
/// When one of them is not a list of attributes.
pub(super) fn attr_runs<const N: usize>(
    key: &[u8],
    mask: &[u8],
    runs: &mut ArrayVec<Range<usize>, N>,
) -> Result<bool, AttrError> {
    runs.clear();
    let mut fits = true;
    each_run(key, kinds(mask)? | !METADATA, |run| fits &= runs.try_push(run).is_ok())?;
    Ok(fits)
}

/// Hands out where in `list` the attributes are whose types have their bits in `wanted`, neighbours
/// together.
#[inline(always)]
fn each_run(
    list: &[u8],
    wanted: u64,
    mut each: impl FnMut(Range<usize>),
) -> Result<u64, AttrError> {
    let mut there = 0;
    let mut run = 0..0;
    Attrs::each(list, |Attr { kind, .. }, place| {
        if kind > OVS_KEY_ATTR_NSH {
            return Ok(());
        }
        there |= 1u64 << kind;
        if wanted & 1 << kind != 0 {
            if place.start != run.end {
                if !run.is_empty() {
                    each(run.clone());
                }
                run.start = place.start;
            }
            run.end = place.end;
        }
        Ok::<_, AttrError>(())
    })?;
    if !run.is_empty() {
        each(run);
    }
    Ok(there)
}

/// Appends what an execute must repeat of an upcall's key: what the packet's bytes do not say.
/// Attributes that are zero say the same when they are not there. `flow` is what the key says.
///
/// Source: `ovs_flow_key_extract_userspace` in the kernel's `net/openvswitch/flow.c`.
///
/// # Errors
/// When `key` is not a list of attributes.
pub fn metadata_of_packet(
    key: OdpKey<'_>,
    flow: &Flow,
    support: &Support,
    out: &mut Vec<u8>,
) -> Result<(), AttrError> {
    if flow.tunnel.dst_is_set() {
        // The tunnel may say more than a flow does.
        return copy_attrs(key.0, METADATA | 1 << OVS_KEY_ATTR_IN_PORT, out).map(drop);
    }
    let mut w = AttrWriter::new(out);
    Encoder::key(flow, support).minimal().write_metadata(&mut w)?;
    w.finish()
}

/// Attribute types that say something about a packet as a whole, and stand outside of any header.
const METADATA: u64 = 1 << OVS_KEY_ATTR_RECIRC_ID
    | 1 << OVS_KEY_ATTR_DP_HASH
    | 1 << OVS_KEY_ATTR_PRIORITY
    | 1 << OVS_KEY_ATTR_TUNNEL
    | 1 << OVS_KEY_ATTR_SKB_MARK
    | 1 << OVS_KEY_ATTR_CT_STATE
    | 1 << OVS_KEY_ATTR_CT_ZONE
    | 1 << OVS_KEY_ATTR_CT_MARK
    | 1 << OVS_KEY_ATTR_CT_LABELS
    | 1 << OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4
    | 1 << OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6;

/// The attribute types in a list, a bit each; those beyond 63 are passed over.
fn kinds(list: &[u8]) -> Result<u64, AttrError> {
    let mut kinds = 0;
    Attrs::each(list, |attr, _| {
        kinds |= 1u64.checked_shl(attr.kind.into()).unwrap_or_default();
        Ok::<_, AttrError>(())
    })?;
    Ok(kinds)
}

/// Overwrites `wc` with what a mask says; `flow` is what its key says ([`OdpKey::to_flow`] with the
/// same `vlan_limit`). An empty mask matches every bit of every field that the packet has.
///
/// # Errors
/// When the mask contradicts itself or the key; `wc` is then unspecified.
pub fn mask_to_wildcards(
    mask: &[u8],
    flow: &Flow,
    vlan_limit: usize,
    wc: &mut FlowWildcards,
) -> Result<Fitness, KeyError> {
    if mask.is_empty() {
        let mut exact = Vec::new();
        mask_from_wildcards(&FlowWildcards::EXACT, flow, &Support::default(), &mut exact)?;
        return decode(&exact, Role::Mask(flow), vlan_limit, &mut wc.masks);
    }
    decode(mask, Role::Mask(flow), vlan_limit, &mut wc.masks)
}

#[cfg(test)]
mod tests;
