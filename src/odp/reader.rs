//! Reading keys that are like earlier ones, which most are: packets of a storm differ in addresses
//! and ports, and a key's attributes come in one order.
//!
//! A [`KeyReader`] remembers, for some keys it has read, the flow, which bytes of the key are values
//! that stand in the flow as they are, and where. A key that agrees in all other bytes gives the same
//! flow but for these values. What else follows from those other bytes is remembered with them: the
//! metadata that an execute repeats, the mask and the attributes of the key that a flow put has
//! for given wildcards, and the mask of one that matches exactly.
//!
//! What always holds: the answers are those of [`OdpKey::to_flow`], [`metadata_of_packet`],
//! [`exact_mask`] and [`minimal_key_and_mask`]; whatever is not understood is left to them. A key is remembered only
//! if the key with all its values inverted is read right by what would be remembered. Nothing is
//! allocated once the buffers have grown. One thread.

use std::mem::offset_of;
use std::ops::Range;

use arrayvec::ArrayVec;
use ovs_netlink::attr::{Attr, AttrError, AttrWriter, Attrs, NLA_HDRLEN};
use ovs_netlink::uapi::*;
use zerocopy::IntoBytes;

use super::Support;
use super::key::{Fitness, KeyError, OdpKey};
use super::mask::{attr_runs, exact_mask, metadata_of_packet, minimal_key_and_mask};
use crate::flow::{FLOW_MAX_VLAN_HEADERS, Flow, FlowWildcards, VlanHdr};

/// Keys remembered: more than there are kinds of packets in one storm.
const PATTERNS: usize = 8;

/// Masks remembered with each: more than one bridge makes for one kind of packet.
const MASKS: usize = 4;

/// Once there are [`PATTERNS`], at most one in so many keys is remembered in the place of another:
/// that costs as much as reading some three.
const LEARN_EVERY: u32 = 16;

/// Pieces of the key that a flow put has, at most; more are not remembered.
const RUNS: usize = 8;

/// Room for a mask from the beginning; few are longer.
const MASK_BYTES: usize = 256;

/// Stands for one [`FlowWildcards`] among those of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WildcardsId(pub u64);

/// Stands for keys that differ in values only: what headers there are is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyKind(u64);

/// A value of the key that the flow has as it is, of 2, 4, 8 or 16 bytes.
#[derive(Clone, Copy)]
struct Move {
    from: u16,
    to: u16,
    len: u16,
}

/// What was put for a key like this under some wildcards.
struct KnownMask {
    id: Option<WildcardsId>,
    mask: Vec<u8>,
    runs: ArrayVec<Range<usize>, RUNS>,
}

/// A key that is remembered.
struct Pattern {
    kind: KeyKind,
    /// Bytes of the key.
    len: usize,
    /// The key in words: the bits that must agree, and how.
    words: Vec<(u64, u64)>,
    /// The same of its last word, which overlaps the one before.
    last: (u64, u64),
    moves: Vec<Move>,
    flow: Flow,
    fitness: Fitness,
    /// Metadata for an execute, and where in it the input port is; `None` if more of it is values.
    metadata: Option<usize>,
    metadata_bytes: Vec<u8>,
    /// The mask that matches keys like this exactly, if it is known.
    has_exact_mask: bool,
    exact_mask: Vec<u8>,
    masks: [KnownMask; MASKS],
    next_mask: usize,
}

/// See the module's page.
pub struct KeyReader {
    support: Support,
    flow: Flow,
    patterns: Vec<Pattern>,
    /// The pattern that the last key was like, or was not.
    last: usize,
    is_like_last: bool,
    next: usize,
    since_learnt: u32,
    /// Keys ever remembered.
    learnt: u64,
    inverted: Vec<u8>,
}

impl KeyReader {
    /// A reader that has read nothing yet, for a datapath that understands this.
    pub fn new(support: Support) -> Self {
        Self {
            support,
            flow: Flow::ZERO,
            patterns: Vec::new(),
            last: 0,
            is_like_last: false,
            next: 0,
            since_learnt: 0,
            learnt: 0,
            inverted: Vec::new(),
        }
    }

    /// What the key that was read last says.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Of which kind the key is that was read last; `None` if it is not like one that is remembered.
    pub fn kind(&self) -> Option<KeyKind> {
        self.pattern().map(|pattern| pattern.kind)
    }

    /// Reads a key. See [`OdpKey::to_flow`].
    ///
    /// # Errors
    /// When the key contradicts itself; [`KeyReader::flow`] is then unspecified.
    pub fn read(&mut self, key: OdpKey<'_>) -> Result<Fitness, KeyError> {
        self.since_learnt += 1;
        let matches = |pattern: &Pattern| pattern.matches(key.0);
        if self.patterns.get(self.last).is_some_and(matches) {
            let pattern = &self.patterns[self.last];
            if !self.is_like_last {
                self.flow = pattern.flow;
                self.is_like_last = true;
            }
            pattern.carry(key.0, &mut self.flow);
            return Ok(pattern.fitness);
        }
        if let Some(at) = self.patterns.iter().position(matches) {
            let pattern = &self.patterns[at];
            (self.last, self.is_like_last) = (at, true);
            self.flow = pattern.flow;
            pattern.carry(key.0, &mut self.flow);
            return Ok(pattern.fitness);
        }
        self.is_like_last = false;
        let vlan_limit = self.support.max_vlan_headers;
        let fitness = key.to_flow(vlan_limit, &mut self.flow)?;
        if self.patterns.len() < PATTERNS || self.since_learnt >= LEARN_EVERY {
            self.since_learnt = 0;
            self.learn(key, fitness);
        }
        Ok(fitness)
    }

    /// Appends what an execute must repeat of the key that was read last. See
    /// [`metadata_of_packet`].
    ///
    /// # Errors
    /// When `key` is not a list of attributes.
    pub fn metadata(&self, key: OdpKey<'_>, out: &mut Vec<u8>) -> Result<(), AttrError> {
        match self.pattern() {
            Some(Pattern { metadata: Some(in_port), metadata_bytes, .. }) => {
                let start = out.len();
                out.extend_from_slice(metadata_bytes);
                if let Some(value) =
                    out.get_mut(start + in_port..).and_then(<[u8]>::first_chunk_mut)
                {
                    *value = self.flow.in_port.to_ne_bytes();
                }
                Ok(())
            }
            _ => metadata_of_packet(key, &self.flow, &self.support, out),
        }
    }

    /// The mask with which the kernel matches all that the key says that was read last, as it does
    /// without one, only dearer; `None` if it must find that out by itself. See [`exact_mask`].
    pub fn exact_mask(&self) -> Option<&[u8]> {
        let pattern = self.pattern().filter(|pattern| pattern.has_exact_mask)?;
        Some(&pattern.exact_mask)
    }

    /// Appends the key and mask of a flow put for the key that was read last under `wc`, which `id`
    /// stands for. See [`minimal_key_and_mask`].
    ///
    /// # Errors
    /// When `key` is not a list of attributes.
    pub fn key_and_mask(
        &mut self,
        key: OdpKey<'_>,
        (id, wc): (WildcardsId, &FlowWildcards),
        key_out: &mut Vec<u8>,
        mask_out: &mut Vec<u8>,
    ) -> Result<(), AttrError> {
        let (flow, support) = (&self.flow, &self.support);
        let pattern = if self.is_like_last { self.patterns.get_mut(self.last) } else { None };
        let Some(pattern) = pattern else {
            return minimal_key_and_mask(key, flow, wc, support, None, key_out, mask_out);
        };
        if let Some(known) = pattern.masks.iter().find(|known| known.id == Some(id)) {
            mask_out.extend_from_slice(&known.mask);
            copy_runs(key.0, &known.runs, key_out);
            return Ok(());
        }
        let (key_start, mask_start) = (key_out.len(), mask_out.len());
        minimal_key_and_mask(key, flow, wc, support, None, key_out, mask_out)?;
        let mask = mask_out.get(mask_start..).unwrap_or_default();
        let put = key_out.get(key_start..).unwrap_or_default();
        let next = pattern.next_mask;
        let Some(known) = pattern.masks.get_mut(next) else { return Ok(()) };
        known.id = None;
        if attr_runs(key.0, mask, &mut known.runs)? {
            self.inverted.clear();
            copy_runs(key.0, &known.runs, &mut self.inverted);
            // Else the key was made up, or there are too many pieces.
            if self.inverted == put {
                known.id = Some(id);
                known.mask.clear();
                known.mask.extend_from_slice(mask);
                pattern.next_mask = (next + 1) % MASKS;
            }
        }
        Ok(())
    }

    fn pattern(&self) -> Option<&Pattern> {
        self.patterns.get(self.last).filter(|_| self.is_like_last)
    }

    /// Remembers a key that was just read.
    fn learn(&mut self, key: OdpKey<'_>, fitness: Fitness) {
        if self.patterns.len() < PATTERNS {
            self.patterns.push(Pattern::default());
            self.next = self.patterns.len() - 1;
        }
        let at = self.next;
        let Some(pattern) = self.patterns.get_mut(at) else { return };
        self.next = (at + 1) % PATTERNS;
        if pattern.learn(key, &self.flow, fitness, &self.support, &mut self.inverted).is_some() {
            self.learnt += 1;
            pattern.kind = KeyKind(self.learnt);
            (self.last, self.is_like_last) = (at, true);
        } else {
            // No key is like this.
            pattern.len = 0;
        }
    }
}

impl Pattern {
    /// Whether `key` differs in values only.
    #[inline]
    fn matches(&self, key: &[u8]) -> bool {
        if key.len() != self.len {
            return false;
        }
        let (words, _) = key.as_chunks();
        let Some(last) = key.last_chunk() else { return false };
        let mut differ = differs(*last, self.last);
        for (word, like) in words.iter().zip(&self.words) {
            differ |= differs(*word, *like);
        }
        differ == 0
    }

    /// Carries the values of a key like this into a flow that has those of another.
    #[inline]
    fn carry(&self, key: &[u8], flow: &mut Flow) {
        let flow = flow.as_mut_bytes();
        for &Move { from, to, len } in &self.moves {
            match len {
                16 => carry::<16>(key, from, flow, to),
                8 => carry::<8>(key, from, flow, to),
                4 => carry::<4>(key, from, flow, to),
                _ => carry::<2>(key, from, flow, to),
            }
        }
    }

    /// Becomes the pattern of `key`, which says `flow`; `None` if it cannot.
    fn learn(
        &mut self,
        key: OdpKey<'_>,
        flow: &Flow,
        fitness: Fitness,
        support: &Support,
        bytes: &mut Vec<u8>,
    ) -> Option<()> {
        self.len = key.0.len();
        (self.flow, self.fitness) = (*flow, fitness);
        self.moves.clear();
        self.masks.iter_mut().for_each(|known| known.id = None);
        // First the bits that must agree, then the key with all others inverted.
        bytes.clear();
        bytes.resize(self.len, 0xff);
        let mut has_more_metadata = false;
        self.find_values(key.0, 0, 0, bytes, &mut has_more_metadata).ok()?;
        let like = |(agree, key): (&[u8; 8], &[u8; 8])| {
            let agree = u64::from_ne_bytes(*agree);
            (agree, agree & u64::from_ne_bytes(*key))
        };
        self.words.clear();
        self.words.extend(bytes.as_chunks().0.iter().zip(key.0.as_chunks().0).map(like));
        self.last = like((bytes.last_chunk()?, key.0.last_chunk()?));
        bytes.iter_mut().zip(key.0).for_each(|(byte, key)| *byte = !*byte ^ key);
        let (mut want, mut got) = (Flow::ZERO, *flow);
        let inverted = OdpKey(bytes).to_flow(support.max_vlan_headers, &mut want);
        self.carry(bytes, &mut got);
        if !self.matches(bytes) || inverted != Ok(fitness) || want != got {
            return None;
        }
        self.exact_mask.clear();
        self.has_exact_mask = exact_mask(key, support, &mut self.exact_mask).ok()?;
        self.metadata_bytes.clear();
        metadata_of_packet(key, flow, support, &mut self.metadata_bytes).ok()?;
        self.metadata = None;
        if !has_more_metadata && !flow.tunnel.dst_is_set() {
            Attrs::each(&self.metadata_bytes, |attr, place| {
                if attr.kind == OVS_KEY_ATTR_IN_PORT {
                    self.metadata = Some(place.start + NLA_HDRLEN);
                }
                Ok::<_, AttrError>(())
            })
            .ok()?;
        }
        Some(())
    }

    /// Finds the values in `list`, which begins at `start` of the key behind `tags` VLAN tags, and
    /// clears their bits in `agree`.
    fn find_values(
        &mut self,
        list: &[u8],
        start: usize,
        tags: usize,
        agree: &mut [u8],
        has_more_metadata: &mut bool,
    ) -> Result<(), AttrError> {
        Attrs::each(list, |Attr { kind, value }, place| {
            let start = start + place.start + NLA_HDRLEN;
            match kind {
                OVS_KEY_ATTR_ENCAP => {
                    return self.find_values(value, start, tags + 1, agree, has_more_metadata);
                }
                OVS_KEY_ATTR_VLAN if tags < FLOW_MAX_VLAN_HEADERS && value.len() == 2 => {
                    let tag = offset_of!(Flow, vlans) + tags * size_of::<VlanHdr>();
                    let to = tag + offset_of!(VlanHdr, tci);
                    self.moves.push(Move { from: start as u16, to: to as u16, len: 2 });
                    if let Some([high, low]) = agree.get_mut(start..start + 2) {
                        // The bit that says that there is a tag.
                        (*high, *low) = (0x10, 0);
                    }
                    return Ok(());
                }
                // Zero, they are left out where they would be repeated.
                OVS_KEY_ATTR_DP_HASH
                | OVS_KEY_ATTR_CT_MARK
                | OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4
                | OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6 => {
                    if value.iter().all(|byte| *byte == 0) {
                        return Ok(());
                    }
                    *has_more_metadata = true;
                }
                _ => {}
            }
            for &(at, len, to) in values_of(kind) {
                let from = start + at;
                let Some(bits) =
                    agree.get_mut(from..from + len).filter(|_| at + len <= value.len())
                else {
                    continue;
                };
                bits.fill(0);
                self.moves.push(Move { from: from as u16, to: to as u16, len: len as u16 });
            }
            Ok(())
        })
    }
}

/// The bits of a word that must agree and do not.
#[inline(always)]
fn differs(word: [u8; 8], (agree, like): (u64, u64)) -> u64 {
    u64::from_ne_bytes(word) & agree ^ like
}

#[inline(always)]
fn carry<const N: usize>(key: &[u8], from: u16, flow: &mut [u8], to: u16) {
    let value = key.get(usize::from(from)..).and_then(<[u8]>::first_chunk::<N>);
    let place = flow.get_mut(usize::from(to)..).and_then(<[u8]>::first_chunk_mut::<N>);
    if let (Some(value), Some(place)) = (value, place) {
        *place = *value;
    }
}

/// Appends pieces of `key`, of which the last may lack its padding.
fn copy_runs(key: &[u8], runs: &[Range<usize>], out: &mut Vec<u8>) {
    let mut w = AttrWriter::new(out);
    for run in runs {
        w.raw(key.get(run.clone()).unwrap_or_default());
    }
}

/// Where in an attribute of this type values stand that the flow has as they are: place, length, and
/// place in the flow. Not those on which it depends what else there is. Where two stand side by side in
/// both, they go together: addresses, ports, TOS and TTL.
///
/// Source: `struct ovs_key_*` in `linux/openvswitch.h`.
fn values_of(kind: u16) -> &'static [(usize, usize, usize)] {
    const SRC: usize = offset_of!(Flow, dl_src);
    const DST: usize = offset_of!(Flow, dl_dst);
    const SHA: usize = offset_of!(Flow, arp_sha);
    const THA: usize = offset_of!(Flow, arp_tha);
    const PORTS: &[(usize, usize, usize)] = &[(0, 4, offset_of!(Flow, tp_src))];
    match kind {
        OVS_KEY_ATTR_IN_PORT => &[(0, 4, offset_of!(Flow, in_port))],
        OVS_KEY_ATTR_DP_HASH => &[(0, 4, offset_of!(Flow, dp_hash))],
        OVS_KEY_ATTR_CT_MARK => &[(0, 4, offset_of!(Flow, ct_mark))],
        OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4 => {
            &[(0, 8, offset_of!(Flow, ct_nw_src)), (8, 4, offset_of!(Flow, ct_tp_src))]
        }
        OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6 => &[
            (0, 16, offset_of!(Flow, ct_ipv6_src)),
            (16, 16, offset_of!(Flow, ct_ipv6_dst)),
            (32, 4, offset_of!(Flow, ct_tp_src)),
        ],
        OVS_KEY_ATTR_ETHERNET => &[(0, 4, SRC), (4, 2, SRC + 4), (6, 4, DST), (10, 2, DST + 4)],
        OVS_KEY_ATTR_IPV4 => &[(0, 8, offset_of!(Flow, nw_src)), (9, 2, offset_of!(Flow, nw_tos))],
        OVS_KEY_ATTR_IPV6 => &[
            (0, 16, offset_of!(Flow, ipv6_src)),
            (16, 16, offset_of!(Flow, ipv6_dst)),
            (32, 4, offset_of!(Flow, ipv6_label)),
            (37, 2, offset_of!(Flow, nw_tos)),
        ],
        OVS_KEY_ATTR_ARP => &[
            (0, 8, offset_of!(Flow, nw_src)),
            (10, 4, SHA),
            (14, 2, SHA + 4),
            (16, 4, THA),
            (20, 2, THA + 4),
        ],
        OVS_KEY_ATTR_TCP | OVS_KEY_ATTR_UDP | OVS_KEY_ATTR_SCTP => PORTS,
        OVS_KEY_ATTR_TCP_FLAGS => &[(0, 2, offset_of!(Flow, tcp_flags))],
        OVS_KEY_ATTR_ND => &[
            (0, 16, offset_of!(Flow, nd_target)),
            (16, 4, SHA),
            (20, 2, SHA + 4),
            (22, 4, THA),
            (26, 2, THA + 4),
        ],
        _ => &[],
    }
}

#[cfg(test)]
mod tests;

impl Default for Pattern {
    /// A pattern that no key is like.
    fn default() -> Self {
        Self {
            kind: KeyKind(0),
            len: 0,
            words: Vec::new(),
            last: (0, 0),
            moves: Vec::new(),
            flow: Flow::ZERO,
            fitness: Fitness::Perfect,
            metadata: None,
            metadata_bytes: Vec::new(),
            has_exact_mask: false,
            exact_mask: Vec::with_capacity(MASK_BYTES),
            masks: std::array::from_fn(|_| KnownMask {
                id: None,
                mask: Vec::with_capacity(MASK_BYTES),
                runs: ArrayVec::new(),
            }),
            next_mask: 0,
        }
    }
}
