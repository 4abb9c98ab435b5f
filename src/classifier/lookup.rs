//! The lookup: which rule has the highest priority among those that match, and why.
//!
//! Subtables are tried in the order of their highest priority until none can beat what was found.
//! A trie that was walked leaves a bit set of the subtables that have a rule under one of the walked
//! prefixes; all others that match a prefix of that field cannot match and are not touched.
//!
//! What always holds: the wildcards get every bit on which the way of the lookup depended. A subtable
//! without a match adds either the mask of the stages up to the one that failed, or, where a trie
//! shows that there is no match, the stages before that one and the prefix that the trie read. When
//! the prefix is significant already, the subtable adds nothing. Hence a flow that differs only in
//! bits that are not significant gets the same rule (`tests::properties`).
//!
//! Nothing is allocated. Many threads may look up at once; nothing in here writes to the classifier.

use arrayvec::ArrayVec;

use super::prefix::{MAX_PREFIX_FIELDS, PrefixField};
use super::subtable::{NO_RULE, Ports, Subtable};
use super::{Classifier, Listed, RuleRef, Version};
use crate::flow::mini::finish;
use crate::flow::{Flow, FlowWildcards};
use crate::limits::CLASSIFIER_TRACKED_SUBTABLES;

/// What a lookup did. Counts add up over lookups until the caller clears them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LookupStats {
    /// Subtables of which at least one stage was hashed, or a trie asked for the first time.
    pub subtables_probed: u64,
    /// Subtables passed over without touching them, because of what tries had told before.
    pub subtables_skipped: u64,
    /// Stages hashed and sought.
    pub stages: u64,
    /// Tries walked.
    pub tries: u64,
}

const WORDS: usize = CLASSIFIER_TRACKED_SUBTABLES / 64;

/// What one trie told about the flow.
struct Walk {
    /// Leading bits that decided the way.
    read: u8,
    /// Leading bits known to be significant already.
    known: u8,
    /// Bit `n - 1` for each prefix of length `n` on the way.
    lens: u128,
    /// Bit per subtable that has a rule with a prefix on the way; subtables beyond the end are not
    /// tracked, and `lens` must do for them.
    subtables: ArrayVec<u64, WORDS>,
}

/// The walks of one lookup, of those tries that were asked.
type Walks = [Option<Walk>; MAX_PREFIX_FIELDS];

impl Walk {
    /// False when no rule of `listed`, whose mask has a prefix of `len` bits, can match.
    #[inline]
    fn may_match(&self, listed: &Listed, len: u8) -> bool {
        self.lens >> (len - 1) & 1 != 0
            && self
                .subtables
                .get(listed.subtable as usize / 64)
                .is_none_or(|word| word >> (listed.subtable % 64) & 1 != 0)
    }
}

impl<R> Classifier<R> {
    /// The rule of the highest priority among those that match `flow` and are visible in `version`;
    /// between rules of the same priority, one of them. The bits of `flow` that the answer depends on,
    /// also when it is "none", are added to `wildcards`.
    pub fn lookup(
        &self,
        version: Version,
        flow: &Flow,
        wildcards: Option<&mut FlowWildcards>,
    ) -> Option<&RuleRef<R>> {
        self.lookup_counted(version, flow, wildcards, &mut LookupStats::default())
    }

    /// Like [`lookup`](Self::lookup), and adds to `stats` what it took.
    pub fn lookup_counted(
        &self,
        version: Version,
        flow: &Flow,
        mut wildcards: Option<&mut FlowWildcards>,
        stats: &mut LookupStats,
    ) -> Option<&RuleRef<R>> {
        let mut walks: Walks = std::array::from_fn(|_| None);
        let mut best: Option<&RuleRef<R>> = None;
        for listed in &self.order {
            if best.is_some_and(|best| best.priority >= listed.priority) {
                break;
            }
            if self.excluded(listed, flow, wildcards.as_deref(), &mut walks, stats) {
                stats.subtables_skipped += 1;
                continue;
            }
            let Some(subtable) = self.subtables.get(listed.subtable as usize) else { continue };
            stats.subtables_probed += 1;
            let head = match wildcards.as_deref_mut() {
                Some(wc) => self.probe(subtable, listed, version, flow, wc, &mut walks, stats),
                None => {
                    stats.stages += 1;
                    subtable.find(flow.words())
                }
            };
            if let Some(rule) = head.and_then(|head| self.visible_rule(subtable, head, version))
                && best.is_none_or(|best| best.priority < rule.priority)
            {
                best = Some(rule);
            }
        }
        best
    }

    /// True when a trie shows that `listed` has no match, by bits that are significant already.
    #[inline]
    fn excluded(
        &self,
        listed: &Listed,
        flow: &Flow,
        wildcards: Option<&FlowWildcards>,
        walks: &mut Walks,
        stats: &mut LookupStats,
    ) -> bool {
        let mut tries = listed.tries;
        while tries != 0 {
            let i = tries.trailing_zeros() as usize;
            tries &= tries - 1;
            if walks[i].is_none() && wildcards.is_some() {
                continue;
            }
            // Bits cost nothing when nobody wants to know them.
            let walk = walks[i].get_or_insert_with(|| self.walk_trie(i, flow, stats));
            let len = listed.prefix_lens[i];
            if walk.may_match(listed, len) {
                continue;
            }
            let Some(wildcards) = wildcards else { return true };
            let needed = walk.read.min(len);
            if walk.known < needed {
                walk.known = self.tries[i].field.leading_bits(wildcards);
            }
            if walk.known >= needed {
                return true;
            }
        }
        false
    }

    /// Looks for `flow` in one subtable, stage by stage. Returns the head that it matches, if that
    /// has a rule visible in `version`.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "the state of one lookup, taken apart")]
    fn probe(
        &self,
        subtable: &Subtable,
        listed: &Listed,
        version: Version,
        flow: &Flow,
        wildcards: &mut FlowWildcards,
        walks: &mut Walks,
        stats: &mut LookupStats,
    ) -> Option<u32> {
        let last = subtable.stages.len() - 1;
        let mut hash = self.seed.0;
        for (i, stage) in subtable.stages.iter().enumerate() {
            let mut tries = stage.tries;
            while tries != 0 {
                let t = tries.trailing_zeros() as usize;
                tries &= tries - 1;
                let walk = walks[t].get_or_insert_with(|| self.walk_trie(t, flow, stats));
                let len = listed.prefix_lens[t];
                if !walk.may_match(listed, len) {
                    // Never more bits than this stage would have read.
                    let needed = walk.read.min(len);
                    self.tries[t].field.fold_prefix(wildcards, needed);
                    walk.known = walk.known.max(needed);
                    subtable.fold(stage.start, wildcards);
                    return None;
                }
            }
            stats.stages += 1;
            hash = subtable.mix_stage(stage, hash, flow.words());
            if i < last && !stage.has(finish(hash)) {
                subtable.fold(stage.end, wildcards);
                return None;
            }
        }
        let head = subtable
            .head_of_flow(finish(hash), flow.words())
            .filter(|&head| self.visible_rule(subtable, head, version).is_some());
        if head.is_none()
            && let Some(bits) = subtable.ports.as_ref().and_then(|ports| ports.absence(flow))
        {
            // The ports alone rule a match out: nothing else of this stage matters.
            Ports::fold(bits, wildcards);
            subtable.fold(subtable.stages[last].start, wildcards);
            return None;
        }
        subtable.fold(subtable.words.len(), wildcards);
        head
    }

    fn walk_trie(&self, index: usize, flow: &Flow, stats: &mut LookupStats) -> Walk {
        let mut walk = Walk { read: 0, known: 0, lens: 0, subtables: ArrayVec::new() };
        let Some(trie) = self.tries.get(index) else { return walk };
        stats.tries += 1;
        let words = self.subtables_end.div_ceil(64).min(WORDS);
        walk.subtables.extend(std::iter::repeat_n(0, words));
        let (lens, subtables) = (&mut walk.lens, &mut walk.subtables);
        let field: PrefixField = trie.field;
        walk.read = trie.prefixes.walk(field.value(flow), field.bits(), |len, members| {
            if members.is_empty() {
                return;
            }
            *lens |= 1 << (len - 1);
            for &(subtable, _) in members {
                if let Some(word) = subtables.get_mut(subtable as usize / 64) {
                    *word |= 1 << (subtable % 64);
                }
            }
        });
        walk
    }

    /// The first rule of a head's chain that is visible in `version`.
    #[inline]
    pub(super) fn visible_rule(
        &self,
        subtable: &Subtable,
        head: u32,
        version: Version,
    ) -> Option<&RuleRef<R>> {
        let mut at = subtable.first_rule(head);
        while at != NO_RULE {
            let rule = self.rules.get(at as usize)?;
            if rule.visible_in(version) {
                return Some(rule);
            }
            at = rule.next;
        }
        None
    }
}
