//! A subtable: all rules of one mask, in a hash table over the bits of that mask.
//!
//! The mask's words are cut into stages, one for each segment of the flow in which the mask has
//! bits. Each stage but the last has an index that knows which values of the stages so far occur, so
//! that a lookup can give up early; the last stage is the table itself. A trie over the transport
//! ports says which of their bits a failed last stage depended on.
//!
//! Rules with the same match hang in one chain below a *head*, highest priority first. Values of
//! heads lie packed in one array, a stride of mask words each.
//!
//! What always holds: stage indexes, ports trie and the classifier's tries count heads, not rules.
//! Writers are exclusive; lookups only read.

use std::collections::BTreeMap;
use std::mem::offset_of;

use arrayvec::ArrayVec;
use hashbrown::HashTable;
use zerocopy::IntoBytes;

use super::prefix::{MAX_PREFIX_FIELDS, PrefixField};
use super::trie::{PrefixTrie, prefix_mask};
use crate::flow::mini::{HashSeed, MiniFlow, Minimask, SEGMENTS, finish, mix, segment_map};
use crate::flow::{FLOW_WORDS, Flow, FlowWildcards};

/// End of a chain of rules, and a head that is not in use.
pub(super) const NO_RULE: u32 = u32::MAX;

/// One word of the mask.
#[derive(Clone, Copy, Debug)]
pub(super) struct MaskWord {
    /// Index in the flow's words.
    pub place: usize,
    /// Significant bits, never zero.
    pub bits: u64,
}

/// The part of a subtable's mask that lies in one segment.
#[derive(Debug)]
pub(super) struct Stage {
    /// First of the mask words of this stage.
    pub start: usize,
    /// One past the last.
    pub end: usize,
    /// Bit per trie of the classifier that this stage can ask.
    pub tries: u8,
    segment: usize,
    /// Hashes over the stages up to this one, with the number of heads that have each.
    index: HashTable<(u64, u32)>,
}

impl Stage {
    /// True when some head has this hash over the stages up to this one.
    #[inline]
    pub fn has(&self, hash: u64) -> bool {
        self.index.find(hash, |(h, _)| *h == hash).is_some()
    }

    fn count(&mut self, hash: u64) {
        match self.index.find_mut(hash, |(h, _)| *h == hash) {
            Some((_, n)) => *n += 1,
            None => {
                self.index.insert_unique(hash, (hash, 1), |(h, _)| *h);
            }
        }
    }

    fn discount(&mut self, hash: u64) {
        if let Ok(mut entry) = self.index.find_entry(hash, |(h, _)| *h == hash) {
            entry.get_mut().1 -= 1;
            if entry.get().1 == 0 {
                entry.remove();
            }
        }
    }
}

/// The transport ports as one value of 32 bits, source first.
#[derive(Debug)]
pub(super) struct Ports {
    mask: u32,
    /// Bits up to the last one in `mask`: the length of every prefix in the trie.
    len: u8,
    heads: PrefixTrie<u32>,
}

/// Offset of the source port, which the destination port follows.
const PORTS: usize = offset_of!(Flow, tp_src);
const _: () = assert!(PORTS + 2 == offset_of!(Flow, tp_dst));

fn ports_of(flow: &Flow) -> u32 {
    let bytes = flow.as_bytes();
    u32::from_be_bytes([bytes[PORTS], bytes[PORTS + 1], bytes[PORTS + 2], bytes[PORTS + 3]])
}

impl Ports {
    fn new(mask: u32) -> Option<Self> {
        let len = 32 - mask.trailing_zeros() as u8;
        (mask != 0).then(|| Self { mask, len, heads: PrefixTrie::new() })
    }

    fn key(&self, flow: &Flow) -> u128 {
        u128::from(ports_of(flow) & self.mask) << 96
    }

    /// When no head has the ports of `flow`: the bits of the ports that show it.
    pub fn absence(&self, flow: &Flow) -> Option<u32> {
        let mut present = false;
        let read = self.heads.walk(self.key(flow), self.len, |len, _| present |= len == self.len);
        (!present).then(|| self.mask & (prefix_mask(read) >> 96) as u32)
    }

    /// Makes `bits` of the ports significant.
    pub fn fold(bits: u32, wildcards: &mut FlowWildcards) {
        let mask = &mut wildcards.masks.as_mut_bytes()[PORTS..PORTS + 4];
        for (m, b) in mask.iter_mut().zip(bits.to_be_bytes()) {
            *m |= b;
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u64,
    head: u32,
}

/// All rules of one mask. See the module's page.
#[derive(Debug)]
pub(super) struct Subtable {
    /// The mask that all rules here have.
    pub mask: Minimask,
    /// The same as [`mask`](Self::mask), for the lookup's inner loops.
    pub words: Box<[MaskWord]>,
    /// At least one; only the last may be empty, in the subtable that matches everything.
    pub stages: ArrayVec<Stage, SEGMENTS>,
    /// Present when the mask has bits in the transport ports.
    pub ports: Option<Ports>,
    /// Per trie of the classifier, the prefix length of this mask; 0 where it has no prefix there.
    pub prefix_lens: [u8; MAX_PREFIX_FIELDS],
    /// Order of creation, which decides between subtables of the same highest priority.
    pub born: u64,
    /// The priority under which the classifier's order lists this subtable, if it does.
    pub listed: Option<i32>,
    seed: HashSeed,
    values: Vec<u64>,
    heads: Vec<u32>,
    free_heads: Vec<u32>,
    table: HashTable<Slot>,
    priorities: BTreeMap<i32, u32>,
}

impl Subtable {
    pub fn new(mask: Minimask, seed: HashSeed, fields: &[PrefixField], born: u64) -> Self {
        let words: Box<[MaskWord]> =
            mask.iter().map(|(place, bits)| MaskWord { place, bits }).collect();
        let mut stages = ArrayVec::new();
        let mut start = 0;
        for segment in 0..SEGMENTS {
            let end = start + (mask.map() & segment_map(segment)).count_ones() as usize;
            if end > start || (segment == SEGMENTS - 1 && stages.is_empty()) {
                stages.push(Stage { start, end, tries: 0, segment, index: HashTable::new() });
            }
            start = end;
        }
        let mut this = Self {
            ports: Ports::new(ports_of(&mask.expand().masks)),
            mask,
            words,
            stages,
            prefix_lens: [0; MAX_PREFIX_FIELDS],
            born,
            listed: None,
            seed,
            values: Vec::new(),
            heads: Vec::new(),
            free_heads: Vec::new(),
            table: HashTable::new(),
            priorities: BTreeMap::new(),
        };
        this.set_prefix_fields(fields);
        this
    }

    /// Notes which of the classifier's tries this mask has a prefix in.
    pub fn set_prefix_fields(&mut self, fields: &[PrefixField]) {
        let wildcards = self.mask.expand();
        self.prefix_lens = [0; MAX_PREFIX_FIELDS];
        for stage in &mut self.stages {
            stage.tries = 0;
        }
        for (i, field) in fields.iter().enumerate() {
            let Some(len) = field.prefix_len(&wildcards) else { continue };
            self.prefix_lens[i] = len;
            let map = 1u128 << field.word();
            if let Some(stage) =
                self.stages.iter_mut().find(|stage| segment_map(stage.segment) & map != 0)
            {
                stage.tries |= 1 << i;
            }
        }
    }

    /// Bit per trie of the classifier in which this mask has a prefix.
    pub fn tries(&self) -> u8 {
        self.stages.iter().fold(0, |tries, stage| tries | stage.tries)
    }

    /// The highest priority of any rule here.
    pub fn max_priority(&self) -> Option<i32> {
        self.priorities.last_key_value().map(|(&priority, _)| priority)
    }

    /// True when some rule here has this priority.
    pub fn has_priority(&self, priority: i32) -> bool {
        self.priorities.contains_key(&priority)
    }

    pub fn is_empty(&self) -> bool {
        self.priorities.is_empty()
    }

    pub fn add_priority(&mut self, priority: i32) {
        *self.priorities.entry(priority).or_insert(0) += 1;
    }

    pub fn remove_priority(&mut self, priority: i32) {
        if let Some(n) = self.priorities.get_mut(&priority) {
            *n -= 1;
            if *n == 0 {
                self.priorities.remove(&priority);
            }
        }
    }

    /// Continues the hash of a flow over one stage. Starts from the classifier's seed.
    #[inline]
    pub fn mix_stage(&self, stage: &Stage, so_far: u64, flow: &[u64; FLOW_WORDS]) -> u64 {
        self.words[stage.start..stage.end]
            .iter()
            .fold(so_far, |hash, word| mix(hash, flow[word.place] & word.bits))
    }

    /// The head whose values `flow` has in all bits of the mask, given the hash over all stages.
    #[inline]
    pub fn head_of_flow(&self, hash: u64, flow: &[u64; FLOW_WORDS]) -> Option<u32> {
        let slot = self.table.find(hash, |slot| {
            slot.hash == hash
                && self
                    .words
                    .iter()
                    .zip(self.values(slot.head))
                    .all(|(word, value)| flow[word.place] & word.bits == *value)
        })?;
        Some(slot.head)
    }

    /// The head for `flow`, hashing it first.
    pub fn find(&self, flow: &[u64; FLOW_WORDS]) -> Option<u32> {
        let hash =
            self.stages.iter().fold(self.seed.0, |hash, stage| self.mix_stage(stage, hash, flow));
        self.head_of_flow(finish(hash), flow)
    }

    /// The head of rules whose packed values are `values`.
    pub fn find_equal(&self, values: &MiniFlow) -> Option<u32> {
        let hash = self.hashes(values.words()).last().copied()?;
        let found = self
            .table
            .find(hash, |slot| slot.hash == hash && self.values(slot.head) == values.words())?;
        Some(found.head)
    }

    /// First rule of a head's chain.
    #[inline]
    pub fn first_rule(&self, head: u32) -> u32 {
        self.heads[head as usize]
    }

    pub fn set_first_rule(&mut self, head: u32, rule: u32) {
        self.heads[head as usize] = rule;
    }

    /// The packed values of a head.
    #[inline]
    pub fn values(&self, head: u32) -> &[u64] {
        let at = head as usize * self.words.len();
        &self.values[at..at + self.words.len()]
    }

    /// The flow that has a head's values, and zero elsewhere.
    pub fn expand(&self, head: u32) -> Flow {
        let mut flow = Flow::ZERO;
        for (word, value) in self.words.iter().zip(self.values(head)) {
            flow.words_mut()[word.place] = *value;
        }
        flow
    }

    /// All heads in use.
    pub fn heads(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).zip(&self.heads).filter(|(_, rule)| **rule != NO_RULE).map(|(head, _)| head)
    }

    /// Adds a head for values that have none, with `rule` as its chain.
    pub fn add_head(&mut self, values: &MiniFlow, rule: u32) -> u32 {
        let hashes = self.hashes(values.words());
        let head = match self.free_heads.pop() {
            Some(head) => {
                let at = head as usize * self.words.len();
                self.values[at..at + self.words.len()].copy_from_slice(values.words());
                self.heads[head as usize] = rule;
                head
            }
            None => {
                self.values.extend_from_slice(values.words());
                self.heads.push(rule);
                (self.heads.len() - 1) as u32
            }
        };
        let last = self.stages.len() - 1;
        for (stage, &hash) in self.stages[..last].iter_mut().zip(&hashes) {
            stage.count(hash);
        }
        if let Some(ports) = &mut self.ports {
            let key = ports.key(&values.expand());
            *ports.heads.entry(key, ports.len) += 1;
        }
        let hash = hashes[last];
        self.table.insert_unique(hash, Slot { hash, head }, |slot| slot.hash);
        head
    }

    /// Takes out a head whose chain is empty.
    pub fn remove_head(&mut self, head: u32) {
        let hashes = self.hashes(self.values(head));
        let last = self.stages.len() - 1;
        for (stage, &hash) in self.stages[..last].iter_mut().zip(&hashes) {
            stage.discount(hash);
        }
        let flow = self.expand(head);
        if let Some(ports) = &mut self.ports {
            ports.heads.update(ports.key(&flow), ports.len, |n| *n -= 1);
        }
        if let Ok(entry) = self.table.find_entry(hashes[last], |slot| slot.head == head) {
            entry.remove();
        }
        self.heads[head as usize] = NO_RULE;
        self.free_heads.push(head);
    }

    /// The hash after each stage.
    fn hashes(&self, values: &[u64]) -> ArrayVec<u64, SEGMENTS> {
        let mut hash = self.seed.0;
        self.stages
            .iter()
            .map(|stage| {
                hash = values[stage.start..stage.end].iter().fold(hash, |h, v| mix(h, *v));
                finish(hash)
            })
            .collect()
    }

    /// Makes the first `words` words of the mask significant in `wildcards`.
    #[inline]
    pub fn fold(&self, words: usize, wildcards: &mut FlowWildcards) {
        let masks = wildcards.masks.words_mut();
        for word in &self.words[..words] {
            masks[word.place] |= word.bits;
        }
    }
}
