//! Sparse flows and masks: the words of a [`Flow`] that matter, packed, with a map of their places.
//!
//! A [`MiniFlow`] holds a bit per word of `Flow` and the words whose bit is set, in order. A
//! [`Minimask`] is the same for wildcards. A rule of the classifier is a mask, which its subtable
//! holds once, and a `MiniFlow` packed by that mask's map; comparing a packet with it touches only
//! the words that the mask names.
//!
//! What always holds: a word whose bit is clear is zero; a `Minimask` holds no zero word; words that
//! [`MiniFlow::under`] packs are zero outside the mask. Equality is over map and words, so compare
//! two `MiniFlow`s only when both were packed the same way (both [`MiniFlow::new`], or both `under`
//! one mask).
//!
//! Hashes are over words that strangers choose, hence seeded ([`HashSeed`]); they are never shown and
//! differ from run to run. Plain values: any thread.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;

use smallvec::SmallVec;

use super::{FLOW_WORDS, Flow, FlowWildcards, SEGMENT_ENDS};

/// Words that a [`MiniFlow`] holds without allocating: enough for a tracked TCP connection over IPv6
/// without a tunnel's metadata. Makes the whole value 128 bytes.
pub const INLINE_WORDS: usize = 13;

/// Number of segments of a flow; see [`SEGMENT_ENDS`].
pub const SEGMENTS: usize = SEGMENT_ENDS.len();

/// The words of a flow that its map names. See the module's page.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct MiniFlow {
    map: u128,
    words: SmallVec<[u64; INLINE_WORDS]>,
}

impl MiniFlow {
    /// Packs the words of `flow` that are not zero.
    pub fn new(flow: &Flow) -> Self {
        let mut map = 0u128;
        let mut words = SmallVec::new();
        for (i, &word) in flow.words().iter().enumerate() {
            if word != 0 {
                map |= 1 << i;
                words.push(word);
            }
        }
        Self { map, words }
    }

    /// Packs the words of `flow` that `mask` names, zero or not, with the bits outside `mask` cleared.
    /// The result has the map of `mask`.
    pub fn under(flow: &Flow, mask: &Minimask) -> Self {
        let flow = flow.words();
        let words = mask.iter().map(|(i, m)| flow[i] & m).collect();
        Self { map: mask.map(), words }
    }

    /// Bit per word of [`Flow::words`]: which words are held.
    pub fn map(&self) -> u128 {
        self.map
    }

    /// The words held, in the order of their places.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The word at place `index` of [`Flow::words`]; 0 where none is held.
    pub fn word(&self, index: usize) -> u64 {
        if index >= FLOW_WORDS || self.map & (1 << index) == 0 {
            return 0;
        }
        let before = (self.map & ((1 << index) - 1)).count_ones() as usize;
        self.words[before]
    }

    /// The words held with their places.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        Places(self.map).zip(self.words.iter().copied())
    }

    /// The whole flow.
    pub fn expand(&self) -> Flow {
        let mut flow = Flow::ZERO;
        let words = flow.words_mut();
        for (i, word) in self.iter() {
            words[i] = word;
        }
        flow
    }

    /// Hash of the words held. Two values packed by the same map hash alike when they are equal.
    pub fn hash(&self, seed: HashSeed) -> u64 {
        finish(self.words.iter().fold(seed.0, |hash, &word| mix(hash, word)))
    }

    /// For each segment, the hash over the words of that and all earlier segments: what
    /// [`Minimask::stage_hash`] returns, stage after stage, for a flow that this one matches.
    /// Meant for values packed [`under`](Self::under) a mask.
    pub fn stage_hashes(&self, seed: HashSeed) -> [u64; SEGMENTS] {
        let mut hashes = [0; SEGMENTS];
        let mut hash = seed.0;
        for (segment, out) in hashes.iter_mut().enumerate() {
            for &word in &self.words[packed_range(self.map, segment)] {
                hash = mix(hash, word);
            }
            *out = hash;
        }
        hashes
    }

    /// Bytes on the heap; 0 for up to [`INLINE_WORDS`] words.
    pub fn heap_bytes(&self) -> usize {
        if self.words.spilled() { self.words.capacity() * size_of::<u64>() } else { 0 }
    }
}

impl fmt::Debug for MiniFlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(i, w)| (i, format!("{w:#018x}")))).finish()
    }
}

/// Wildcards, packed: the words that hold significant bits. See the module's page.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Minimask(MiniFlow);

impl Minimask {
    /// Packs `wildcards`.
    pub fn new(wildcards: &FlowWildcards) -> Self {
        Self(MiniFlow::new(&wildcards.masks))
    }

    /// Bit per word of [`Flow::words`]: which words have significant bits.
    pub fn map(&self) -> u128 {
        self.0.map
    }

    /// The mask's words that are not zero, in the order of their places.
    pub fn words(&self) -> &[u64] {
        &self.0.words
    }

    /// The mask's word at place `index` of [`Flow::words`].
    pub fn word(&self, index: usize) -> u64 {
        self.0.word(index)
    }

    /// The mask's words with their places.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.0.iter()
    }

    /// True when nothing matters.
    pub fn is_catchall(&self) -> bool {
        self.0.map == 0
    }

    /// The whole wildcards.
    pub fn expand(&self) -> FlowWildcards {
        FlowWildcards { masks: self.0.expand() }
    }

    /// Hash of the mask itself, to find the subtable that has it.
    pub fn hash(&self, seed: HashSeed) -> u64 {
        let seed = HashSeed(mix(mix(seed.0, self.0.map as u64), (self.0.map >> 64) as u64));
        self.0.hash(seed)
    }

    /// Hash of `flow` under this mask: equals [`MiniFlow::hash`] of [`MiniFlow::under`].
    pub fn hash_flow(&self, flow: &Flow, seed: HashSeed) -> u64 {
        let flow = flow.words();
        finish(self.iter().fold(seed.0, |hash, (i, m)| mix(hash, flow[i] & m)))
    }

    /// One stage of a staged lookup: continues `so_far` (the seed for the first stage, the last
    /// stage's result for the others) over the words of `segment`. Skipping a segment in which the
    /// mask has no word changes nothing. After the last stage, [`finish`] gives
    /// [`hash_flow`](Self::hash_flow).
    pub fn stage_hash(&self, flow: &Flow, segment: usize, so_far: u64) -> u64 {
        let flow = flow.words();
        let masks = &self.0.words[packed_range(self.0.map, segment)];
        Places(self.0.map & segment_map(segment))
            .zip(masks)
            .fold(so_far, |hash, (i, m)| mix(hash, flow[i] & m))
    }

    /// Which segments have significant bits.
    pub fn segments(&self) -> [bool; SEGMENTS] {
        std::array::from_fn(|segment| self.0.map & segment_map(segment) != 0)
    }

    /// True when `flow` agrees with `value` in every significant bit. `value` must have been packed
    /// [`under`](MiniFlow::under) this mask.
    pub fn matches(&self, value: &MiniFlow, flow: &Flow) -> bool {
        debug_assert_eq!(self.0.map, value.map);
        let flow = flow.words();
        self.iter().zip(&value.words).all(|((i, m), v)| flow[i] & m == *v)
    }

    /// Like [`matches`](Self::matches), and on a difference says in which word the first one is.
    pub fn first_difference(&self, value: &MiniFlow, flow: &Flow) -> Option<usize> {
        debug_assert_eq!(self.0.map, value.map);
        let flow = flow.words();
        self.iter().zip(&value.words).find(|((i, m), v)| flow[*i] & m != **v).map(|((i, _), _)| i)
    }

    /// Adds the significant bits to `wildcards`.
    pub fn fold_into(&self, wildcards: &mut FlowWildcards) {
        let words = wildcards.masks.words_mut();
        for (i, m) in self.iter() {
            words[i] |= m;
        }
    }

    /// Adds the significant bits of the first `segments` segments to `wildcards`.
    pub fn fold_segments_into(&self, segments: usize, wildcards: &mut FlowWildcards) {
        let end = if segments == 0 { 0 } else { SEGMENT_ENDS[segments.min(SEGMENTS) - 1] };
        let words = wildcards.masks.words_mut();
        for (i, m) in self.iter().take_while(|(i, _)| *i < end) {
            words[i] |= m;
        }
    }

    /// True when every bit significant in `other` is significant here.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.map & !self.0.map == 0 && other.iter().all(|(i, m)| m & !self.word(i) == 0)
    }

    /// Bytes on the heap; 0 for up to [`INLINE_WORDS`] words.
    pub fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }
}

/// A mask and the values it speaks of, packed: what the classifier keeps of a rule's match.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct MiniMatch {
    /// The values, packed [`under`](MiniFlow::under) `mask`.
    pub flow: MiniFlow,
    /// Which bits of the values matter.
    pub mask: Minimask,
}

impl MiniMatch {
    /// Packs `flow` under `wildcards`.
    pub fn new(flow: &Flow, wildcards: &FlowWildcards) -> Self {
        let mask = Minimask::new(wildcards);
        Self { flow: MiniFlow::under(flow, &mask), mask }
    }

    /// True when `flow` matches.
    pub fn matches(&self, flow: &Flow) -> bool {
        self.mask.matches(&self.flow, flow)
    }

    /// Hash over mask and values.
    pub fn hash(&self, seed: HashSeed) -> u64 {
        self.flow.hash(HashSeed(self.mask.hash(seed)))
    }
}

/// What hashes start from. Take one [`random`](Self::random) value per table and keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashSeed(pub u64);

impl HashSeed {
    /// A seed that an outsider cannot know.
    pub fn random() -> Self {
        // The standard library draws its hash keys from the kernel's random numbers; two rounds of its
        // SipHash make a word of them without another dependency.
        let state = std::hash::RandomState::new();
        let mut hasher = state.build_hasher();
        hasher.write_u64(0x726f_7673);
        Self(hasher.finish())
    }
}

/// Adds a word to a running hash.
pub fn mix(hash: u64, word: u64) -> u64 {
    // A folded multiply, as in foldhash and wyhash: one multiplication a word. The running hash is
    // secret, so that nobody outside can choose a factor of zero.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let wide = u128::from(hash ^ word) * u128::from(hash.rotate_left(32) ^ FACTOR);
    (wide as u64) ^ ((wide >> 64) as u64) ^ word.rotate_left(23)
}

/// Ends a running hash.
pub fn finish(hash: u64) -> u64 {
    let wide = u128::from(hash ^ 0x2545_f491_4f6c_dd1d) * 0xd6e8_feb8_6659_fd93;
    (wide as u64) ^ ((wide >> 64) as u64)
}

/// Map of the words that `segment` spans.
pub fn segment_map(segment: usize) -> u128 {
    let start = if segment == 0 { 0 } else { SEGMENT_ENDS[segment - 1] };
    below(SEGMENT_ENDS[segment]) & !below(start)
}

/// The bits below `end`, which is less than 128.
const fn below(end: usize) -> u128 {
    (1 << end) - 1
}

/// Which of the packed words belong to `segment`.
fn packed_range(map: u128, segment: usize) -> Range<usize> {
    let start = if segment == 0 { 0 } else { SEGMENT_ENDS[segment - 1] };
    let before = |end| (map & below(end)).count_ones() as usize;
    before(start)..before(SEGMENT_ENDS[segment])
}

/// The places of the 1-bits of a map, lowest first.
struct Places(u128);

impl Iterator for Places {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let place = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(place)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let n = self.0.count_ones() as usize;
        (n, Some(n))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn flow_of(entries: &[(usize, u64)]) -> Flow {
        let mut flow = Flow::ZERO;
        for &(i, w) in entries {
            flow.words_mut()[i] = w;
        }
        flow
    }

    fn entries() -> impl Strategy<Value = Vec<(usize, u64)>> {
        vec((0..FLOW_WORDS, prop_oneof![Just(u64::MAX), any::<u64>(), Just(0), 1u64..16]), 0..24)
    }

    #[test]
    fn is_two_cache_lines() {
        assert_eq!(size_of::<MiniFlow>(), 128);
    }

    #[test]
    fn segments_cover_all_words_once() {
        let maps: Vec<u128> = (0..SEGMENTS).map(segment_map).collect();
        assert_eq!(maps.iter().fold(0, |a, m| a | m), below(FLOW_WORDS));
        assert_eq!(maps.iter().map(|m| m.count_ones()).sum::<u32>(), FLOW_WORDS as u32);
    }

    #[test]
    fn different_seeds_give_different_hashes() {
        let flow = MiniFlow::new(&flow_of(&[(3, 7), (60, 9)]));
        assert_ne!(flow.hash(HashSeed(1)), flow.hash(HashSeed(2)));
        assert_ne!(HashSeed::random(), HashSeed::random());
    }

    #[test]
    fn hashes_of_sequential_keys_spread() {
        // Low bits choose a bucket: 4096 successive addresses must not crowd into few of 256 buckets.
        let mut buckets = [0u32; 256];
        for i in 0..4096u64 {
            let flow = MiniFlow::new(&flow_of(&[(64, i << 32 | 0x0a00_0001)]));
            buckets[flow.hash(HashSeed(0x1234)) as usize & 255] += 1;
        }
        assert!(buckets.iter().all(|&n| (1..=48).contains(&n)), "{buckets:?}");
    }

    #[test]
    fn order_of_words_matters() {
        let seed = HashSeed(5);
        let a = MiniFlow::new(&flow_of(&[(1, 10), (2, 20)]));
        let b = MiniFlow::new(&flow_of(&[(1, 20), (2, 10)]));
        assert_ne!(a.hash(seed), b.hash(seed));
    }

    proptest! {
        #[test]
        fn expand_undoes_new(e in entries()) {
            let flow = flow_of(&e);
            let mini = MiniFlow::new(&flow);
            prop_assert!(mini.expand() == flow);
            for i in 0..FLOW_WORDS {
                prop_assert_eq!(mini.word(i), flow.words()[i]);
            }
        }

        #[test]
        fn packed_matching_is_matching(m in entries(), v in entries(), f in entries(), seed: u64) {
            let wc = FlowWildcards { masks: flow_of(&m) };
            let (value, flow) = (flow_of(&v), flow_of(&f));
            let seed = HashSeed(seed);
            let mm = MiniMatch::new(&value, &wc);
            let equal = wc.equal_except(&value, &flow);
            prop_assert_eq!(mm.matches(&flow), equal);
            prop_assert_eq!(mm.mask.first_difference(&mm.flow, &flow).is_none(), equal);
            prop_assert!(mm.matches(&value));
            prop_assert_eq!(mm.flow.hash(seed), mm.mask.hash_flow(&value, seed));
            prop_assert_eq!(
                MiniFlow::under(&flow, &mm.mask).hash(seed), mm.mask.hash_flow(&flow, seed));
            prop_assert!(mm.mask.expand() == wc);
            let stages = mm.flow.stage_hashes(seed);
            let mut so_far = seed.0;
            for (segment, stage) in stages.into_iter().enumerate() {
                so_far = mm.mask.stage_hash(&value, segment, so_far);
                prop_assert_eq!(so_far, stage);
            }
            prop_assert_eq!(finish(so_far), mm.mask.hash_flow(&value, seed));
        }

        #[test]
        fn folding_and_covering(a in entries(), b in entries()) {
            let (wa, wb) = (FlowWildcards { masks: flow_of(&a) }, FlowWildcards { masks: flow_of(&b) });
            let (ma, mb) = (Minimask::new(&wa), Minimask::new(&wb));
            prop_assert_eq!(ma.covers(&mb), wa.covers(&wb));
            let mut folded = wa;
            mb.fold_into(&mut folded);
            prop_assert!(folded.covers(&wa) && folded.covers(&wb));
            let mut staged = wa;
            mb.fold_segments_into(SEGMENTS, &mut staged);
            prop_assert!(staged == folded);
            let mut none = wa;
            mb.fold_segments_into(0, &mut none);
            prop_assert!(none == wa);
        }
    }
}
