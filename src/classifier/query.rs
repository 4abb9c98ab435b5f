//! Questions of the control side: exact and loose matches, overlaps, all rules.
//!
//! What always holds: answers cost what they look at: an exact match one hash lookup, the others one
//! comparison a rule in those subtables whose mask allows an answer. Any thread that may look up.

use smallvec::SmallVec;

use super::subtable::{NO_RULE, Subtable};
use super::{Classifier, RuleRef, Version};
use crate::flow::mini::{MiniFlow, MiniMatch, Minimask};

/// Places among a subtable's mask words, bits to compare there and their values.
type Common = SmallVec<[(usize, u64, u64); 16]>;

/// Where the mask of `subtable` and `matching` both have significant bits.
fn common(subtable: &Subtable, matching: &MiniMatch) -> Common {
    (0..)
        .zip(&subtable.words)
        .map(|(at, word)| {
            let bits = word.bits & matching.mask.word(word.place);
            (at, bits, matching.flow.word(word.place) & bits)
        })
        .filter(|(_, bits, _)| *bits != 0)
        .collect()
}

fn agrees(subtable: &Subtable, head: u32, common: &Common) -> bool {
    let values = subtable.values(head);
    common.iter().all(|&(at, bits, value)| values[at] & bits == value)
}

impl<R> Classifier<R> {
    /// The rule with this match and priority that is visible in `version`.
    pub fn find_exactly(
        &self,
        matching: &MiniMatch,
        priority: i32,
        version: Version,
    ) -> Option<&RuleRef<R>> {
        let subtable = self.subtable_of(&matching.mask)?;
        let head = subtable.find_equal(&matching.flow)?;
        self.chain(subtable, head)
            .find(|rule| rule.priority() == priority && rule.visible_in(version))
    }

    /// True when a rule of the same priority that is visible in `version` can match a flow that
    /// `matching` matches too (OpenFlow 1.5 section 6.4, `OFPFF_CHECK_OVERLAP`). A rule with the very
    /// same match overlaps.
    pub fn rule_overlaps(&self, matching: &MiniMatch, priority: i32, version: Version) -> bool {
        let hit = |rule: &RuleRef<R>| rule.priority() == priority && rule.visible_in(version);
        self.subtables.iter().any(|(_, subtable)| {
            if !subtable.has_priority(priority) {
                return false;
            }
            if matching.mask.covers(&subtable.mask) {
                // One head at most has these values.
                let head = subtable.find(matching.flow.expand().words());
                return head.is_some_and(|head| self.chain(subtable, head).any(hit));
            }
            let common = common(subtable, matching);
            subtable
                .heads()
                .filter(|&head| agrees(subtable, head, &common))
                .any(|head| self.chain(subtable, head).any(hit))
        })
    }

    /// All rules, visible or not, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &RuleRef<R>> {
        self.rules.iter().map(|(_, rule)| rule)
    }

    /// At most `limit` rules that come behind the first `skip` places, visible or not, and the places
    /// to skip the next time; `None` at the end. For walks over a table that give writers a turn: a rule
    /// that stays all the while is seen once, one that comes or goes may be missed.
    pub fn page(&self, skip: usize, limit: usize) -> (Vec<&RuleRef<R>>, Option<usize>) {
        let end = self.rules.capacity();
        let mut at = skip;
        let mut page = Vec::new();
        while at < end && page.len() < limit {
            page.extend(self.rules.get(at));
            at += 1;
        }
        (page, (at < end).then_some(at))
    }

    /// The rules visible in `version` that `criteria` includes: those that match in every field that
    /// `criteria` matches, with the same values, and possibly in more. This is how OpenFlow's requests
    /// that are not strict select (OpenFlow 1.5 section 6.4). Priorities do not matter.
    pub fn iter_loosely<'a>(
        &'a self,
        criteria: &'a MiniMatch,
        version: Version,
    ) -> impl Iterator<Item = &'a RuleRef<R>> {
        self.subtables
            .iter()
            .filter(|(_, subtable)| subtable.mask.covers(&criteria.mask))
            .flat_map(move |(_, subtable)| {
                let common = common(subtable, criteria);
                subtable
                    .heads()
                    .filter(move |&head| agrees(subtable, head, &common))
                    .flat_map(move |head| self.chain(subtable, head))
            })
            .filter(move |rule| rule.visible_in(version))
    }

    /// The match that `rule`, which is in this classifier, was inserted with.
    pub fn match_of(&self, rule: &RuleRef<R>) -> Option<MiniMatch> {
        let subtable = self.subtables.get(rule.subtable as usize)?;
        let flow = subtable.expand(rule.head);
        let mask = subtable.mask.clone();
        Some(MiniMatch { flow: MiniFlow::under(&flow, &mask), mask })
    }

    fn subtable_of(&self, mask: &Minimask) -> Option<&Subtable> {
        self.find_subtable(mask).and_then(|key| self.subtables.get(key as usize))
    }

    /// The rules with the match of `head`, highest priority first.
    fn chain<'a>(
        &'a self,
        subtable: &Subtable,
        head: u32,
    ) -> impl Iterator<Item = &'a RuleRef<R>> + use<'a, R> {
        let rule = |at: u32| if at == NO_RULE { None } else { self.rules.get(at as usize) };
        std::iter::successors(rule(subtable.first_rule(head)), move |r| rule(r.next))
    }
}
