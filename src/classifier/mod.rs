//! The classifier: finds the rule of the highest priority that matches a flow, and tells which bits
//! of the flow the answer depends on. Each OpenFlow table is one.
//!
//! # How it works
//!
//! Rules with the same mask share a *subtable*, which is a hash table over the bits of the mask. A
//! lookup asks one subtable after the other, in the order of their highest priority, until no other
//! can beat what it found ([`lookup`]). Three things keep it from reading bits that it can do without,
//! because each bit read makes the megaflow in the kernel narrower:
//! - *stages*: a subtable is asked segment by segment (metadata, link, network, transport), and is
//!   done with at the first segment that nothing in it matches;
//! - *prefix tries* ([`PrefixField`]): one trie a field over all subtables tells which of them have a
//!   rule under a prefix of this value. The others are excluded by as many leading bits as the trie
//!   read, and once those bits are significant, excluded for nothing;
//! - *ports tries*: one a subtable, over the transport ports.
//!
//! # Versions
//!
//! A rule is visible to lookups in versions from the one that it was inserted for up to, and not
//! including, the one that it is removed in. A bundle inserts and removes for the next version while
//! lookups go on in the present one; when the caller makes the next version the present one, the
//! whole bundle takes effect at once. Rules that no lookup can see any more are taken out later, by
//! [`Classifier::purge`]. [`Classifier::defer`] puts off the bookkeeping between subtables until
//! [`Classifier::publish`].
//!
//! # What always holds
//!
//! - A flow that differs from another only in bits that a lookup left insignificant gets the same
//!   rule. It follows that two megaflows which overlap lead to the same rule.
//! - Between two rules with the same match and priority at most one is visible in any version.
//! - A lookup allocates nothing (`tests/classifier_cost.rs`).
//!
//! # Threads
//!
//! Lookups take `&self` and change nothing, so any number of threads can share a classifier behind a
//! reader lock, taken once per batch. Writers take `&mut self`. A change costs little beyond the number
//! of rules with the very same match and, where it changes the order of subtables, moving their list;
//! now and then a hash table grows. Nothing here blocks.
//!
//! # Conjunctive matches
//!
//! Not here yet. Their place is the end of [`Classifier::lookup_counted`]'s loop: a rule found there
//! that has `conjunction` clauses does not win by itself, but is kept aside for its clauses.

mod prefix;
mod subtable;
mod trie;

pub mod lookup;
pub mod query;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use arrayvec::ArrayVec;
use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;
use thiserror::Error;

pub use lookup::LookupStats;
pub use prefix::{MAX_PREFIX_FIELDS, PrefixField};
use subtable::{NO_RULE, Subtable};
use trie::PrefixTrie;

use crate::flow::Flow;
use crate::flow::mini::{HashSeed, MiniMatch, Minimask};

/// A state of the table: rules are visible from one version up to another.
pub type Version = u64;

/// The version in which a rule that is not to be removed becomes invisible.
pub const NEVER: Version = Version::MAX;

/// Names a rule in one classifier. An id that is out of date is refused, never taken for another rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RuleId {
    index: u32,
    serial: u32,
}

/// A rule as the classifier knows it: the caller's handle, a priority, and when it is visible.
#[derive(Debug)]
pub struct RuleRef<R> {
    handle: R,
    priority: i32,
    added: Version,
    removed: Version,
    id: RuleId,
    subtable: u32,
    head: u32,
    /// The next rule with the same match, of the same or a lower priority.
    next: u32,
}

impl<R> RuleRef<R> {
    /// What the caller inserted.
    pub fn handle(&self) -> &R {
        &self.handle
    }

    /// Larger numbers win.
    pub fn priority(&self) -> i32 {
        self.priority
    }

    /// The rule's name in its classifier.
    pub fn id(&self) -> RuleId {
        self.id
    }

    /// The first version that the rule is visible in, and the first later one that it is not;
    /// [`NEVER`] when no removal is planned.
    pub fn versions(&self) -> (Version, Version) {
        (self.added, self.removed)
    }

    /// True when lookups in `version` see the rule.
    pub fn visible_in(&self, version: Version) -> bool {
        self.added <= version && version < self.removed
    }
}

/// An insertion met a rule with the same match and priority, visible in some of the same versions.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a rule with the same match and priority is there already")]
pub struct Occupied<R> {
    /// The rule that is there.
    pub existing: RuleId,
    /// The handle that was to be inserted.
    pub handle: R,
}

/// An entry of the order in which lookups ask subtables, with what it takes to pass one over.
#[derive(Clone, Copy, Debug)]
struct Listed {
    priority: i32,
    subtable: u32,
    born: u64,
    tries: u8,
    prefix_lens: [u8; MAX_PREFIX_FIELDS],
}

impl Listed {
    fn key(&self) -> (Reverse<i32>, u64) {
        (Reverse(self.priority), self.born)
    }
}

/// Subtables that have rules under a prefix, with the number of heads that each has there.
type Members = SmallVec<[(u32, u32); 2]>;

#[derive(Debug)]
struct FieldTrie {
    field: PrefixField,
    prefixes: PrefixTrie<Members>,
}

impl FieldTrie {
    /// Counts a head of `subtable` under the first `len` bits that `flow` has in the field.
    fn add(&mut self, flow: &Flow, len: u8, subtable: u32) {
        let members = self.prefixes.entry(self.field.value(flow), len);
        match members.iter_mut().find(|(s, _)| *s == subtable) {
            Some((_, heads)) => *heads += 1,
            None => members.push((subtable, 1)),
        }
    }

    fn remove(&mut self, flow: &Flow, len: u8, subtable: u32) {
        self.prefixes.update(self.field.value(flow), len, |members| {
            if let Some(at) = members.iter().position(|(s, _)| *s == subtable) {
                members[at].1 -= 1;
                if members[at].1 == 0 {
                    members.swap_remove(at);
                }
            }
        });
    }
}

/// Rules by match and priority. See the module's page.
///
/// `R` is a cheap handle of the caller's, such as an `Arc` or an index.
#[derive(Debug)]
pub struct Classifier<R> {
    seed: HashSeed,
    rules: Slab<RuleRef<R>>,
    serial: u32,
    subtables: Slab<Subtable>,
    /// One more than the largest index of a subtable so far.
    subtables_end: usize,
    by_mask: HashTable<u32>,
    order: Vec<Listed>,
    tries: ArrayVec<FieldTrie, MAX_PREFIX_FIELDS>,
    deferred: bool,
    born: u64,
    leaving: BTreeMap<Version, Vec<RuleId>>,
}

impl<R> Default for Classifier<R> {
    fn default() -> Self {
        Self::new(&PrefixField::DEFAULT)
    }
}

impl<R> Classifier<R> {
    /// An empty classifier with tries over `fields`; fields beyond [`MAX_PREFIX_FIELDS`] and
    /// repetitions are left out. Tries are asked in the order given.
    pub fn new(fields: &[PrefixField]) -> Self {
        let mut this = Self {
            seed: HashSeed::random(),
            rules: Slab::new(),
            serial: 0,
            subtables: Slab::new(),
            subtables_end: 0,
            by_mask: HashTable::new(),
            order: Vec::new(),
            tries: ArrayVec::new(),
            deferred: false,
            born: 0,
            leaving: BTreeMap::new(),
        };
        this.set_prefix_fields(fields);
        this
    }

    /// Number of rules, visible or not.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// True when there are no rules at all.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Number of different masks among the rules.
    pub fn subtable_count(&self) -> usize {
        self.subtables.len()
    }

    /// The rule that `id` names; `None` once it was taken out.
    pub fn rule(&self, id: RuleId) -> Option<&RuleRef<R>> {
        self.rules.get(id.index as usize).filter(|rule| rule.id == id)
    }

    /// Inserts a rule, to be visible from `version` on.
    ///
    /// # Errors
    ///
    /// [`Occupied`] when a rule with the same match and priority would be visible in some of the same
    /// versions; nothing has changed then.
    pub fn insert(
        &mut self,
        matching: &MiniMatch,
        priority: i32,
        version: Version,
        handle: R,
    ) -> Result<RuleId, Occupied<R>> {
        let key = match self.find_subtable(&matching.mask) {
            Some(key) => key,
            None => self.add_subtable(&matching.mask),
        };
        let head = self.subtables[key as usize].find_equal(&matching.flow);

        // The place in the chain: behind all rules of the same or a higher priority.
        let (mut before, mut after) = (NO_RULE, NO_RULE);
        if let Some(head) = head {
            after = self.subtables[key as usize].first_rule(head);
            while after != NO_RULE && self.rules[after as usize].priority >= priority {
                let rule = &self.rules[after as usize];
                if rule.priority == priority && rule.removed > version {
                    return Err(Occupied { existing: rule.id, handle });
                }
                (before, after) = (after, rule.next);
            }
        }

        self.serial = self.serial.wrapping_add(1);
        let vacant = self.rules.vacant_entry();
        let index = vacant.key() as u32;
        let id = RuleId { index, serial: self.serial };
        let rule = vacant.insert(RuleRef {
            handle,
            priority,
            added: version,
            removed: NEVER,
            id,
            subtable: key,
            head: head.unwrap_or(NO_RULE),
            next: after,
        });
        let subtable = &mut self.subtables[key as usize];
        match head {
            None => {
                let head = subtable.add_head(&matching.flow, index);
                rule.head = head;
                self.change_tries(key, head, FieldTrie::add);
            }
            Some(head) if before == NO_RULE => subtable.set_first_rule(head, index),
            Some(_) => self.rules[before as usize].next = index,
        }
        self.subtables[key as usize].add_priority(priority);
        self.relist(key);
        Ok(id)
    }

    /// Inserts a rule in the place of one with the same match and priority, if there is one visible in
    /// `version` or later; returns that one's handle. Takes effect at once: lookups in earlier versions
    /// find neither. A caller that works with versions, or that put bookkeeping off, uses
    /// [`remove_in`](Self::remove_in) and [`insert`](Self::insert) instead.
    pub fn replace(
        &mut self,
        matching: &MiniMatch,
        priority: i32,
        version: Version,
        handle: R,
    ) -> (RuleId, Option<R>) {
        let occupied = match self.insert(matching, priority, version, handle) {
            Ok(id) => return (id, None),
            Err(occupied) => occupied,
        };
        self.serial = self.serial.wrapping_add(1);
        let id = RuleId { index: occupied.existing.index, serial: self.serial };
        let rule = &mut self.rules[id.index as usize];
        rule.id = id;
        rule.added = version;
        rule.removed = NEVER;
        (id, Some(std::mem::replace(&mut rule.handle, occupied.handle)))
    }

    /// Takes a rule out at once, for all versions, and returns its handle. For rules that lookups may
    /// be using, see [`remove_in`](Self::remove_in).
    pub fn remove(&mut self, id: RuleId) -> Option<R> {
        self.rule(id)?;
        let rule = self.rules.remove(id.index as usize);
        let subtable = &mut self.subtables[rule.subtable as usize];
        let first = subtable.first_rule(rule.head);
        if first != id.index {
            let mut before = first;
            while self.rules[before as usize].next != id.index {
                before = self.rules[before as usize].next;
            }
            self.rules[before as usize].next = rule.next;
        } else if rule.next != NO_RULE {
            subtable.set_first_rule(rule.head, rule.next);
        } else {
            self.change_tries(rule.subtable, rule.head, FieldTrie::remove);
            self.subtables[rule.subtable as usize].remove_head(rule.head);
        }
        self.subtables[rule.subtable as usize].remove_priority(rule.priority);
        self.relist(rule.subtable);
        Some(rule.handle)
    }

    /// Makes a rule invisible from `version` on. It stays until [`purge`](Self::purge) takes it out.
    /// Returns false when there is no such rule, or when it is to go earlier already.
    pub fn remove_in(&mut self, id: RuleId, version: Version) -> bool {
        if version == NEVER || self.rule(id).is_none_or(|rule| rule.removed <= version) {
            return false;
        }
        self.rules[id.index as usize].removed = version;
        self.leaving.entry(version).or_default().push(id);
        true
    }

    /// Takes [`remove_in`](Self::remove_in) back, as when a bundle fails. Returns false when there is no
    /// such rule, when it is not to be removed, or when another has taken its place in the meantime
    /// (remove that one first).
    pub fn restore(&mut self, id: RuleId) -> bool {
        let Some(rule) = self.rule(id) else { return false };
        let removed = rule.removed;
        if removed == NEVER {
            return false;
        }
        let mut at = self.subtables[rule.subtable as usize].first_rule(rule.head);
        while at != NO_RULE {
            let other = &self.rules[at as usize];
            if other.id != id && other.priority == rule.priority && other.removed > removed {
                return false;
            }
            at = other.next;
        }
        self.rules[id.index as usize].removed = NEVER;
        if let Some(ids) = self.leaving.get_mut(&removed) {
            ids.retain(|leaving| *leaving != id);
        }
        true
    }

    /// Takes out rules that are invisible in `oldest`, the oldest version that any lookup may use, and
    /// all later ones. Puts their handles into `gone`, at most `limit` of them, so that a writer can
    /// give readers a turn. Returns true when more is left to do.
    pub fn purge(&mut self, oldest: Version, limit: usize, gone: &mut Vec<R>) -> bool {
        for _ in 0..limit {
            let Some(mut first) = self.leaving.first_entry() else { return false };
            if *first.key() > oldest {
                return false;
            }
            let Some(id) = first.get_mut().pop() else {
                first.remove();
                continue;
            };
            // A rule that was restored, or replaced, stays.
            if self.rule(id).is_some_and(|rule| rule.removed <= oldest) {
                gone.extend(self.remove(id));
            }
        }
        self.leaving.first_key_value().is_some_and(|(version, _)| *version <= oldest)
    }

    /// Puts off bookkeeping between subtables until [`publish`](Self::publish), so that many changes
    /// cost little. Until then lookups may miss rules inserted since, which is right as long as
    /// those are for versions not looked up yet.
    pub fn defer(&mut self) {
        self.deferred = true;
    }

    /// Ends what [`defer`](Self::defer) began.
    pub fn publish(&mut self) {
        if !std::mem::take(&mut self.deferred) {
            return;
        }
        self.order.clear();
        let empty: Vec<u32> = self
            .subtables
            .iter()
            .filter(|(_, subtable)| subtable.is_empty())
            .map(|(key, _)| key as u32)
            .collect();
        for key in empty {
            self.drop_subtable(key);
        }
        for (key, subtable) in &mut self.subtables {
            subtable.listed = subtable.max_priority();
            self.order.extend(listing(key as u32, subtable));
        }
        self.order.sort_unstable_by_key(Listed::key);
    }

    /// Changes which fields have tries; see [`new`](Self::new). Costs a walk over all rules unless
    /// the fields are the same as before. Returns true when they were not.
    pub fn set_prefix_fields(&mut self, fields: &[PrefixField]) -> bool {
        let mut wanted = ArrayVec::<PrefixField, MAX_PREFIX_FIELDS>::new();
        for &field in fields {
            if !wanted.contains(&field) && !wanted.is_full() {
                wanted.push(field);
            }
        }
        if self.tries.iter().map(|trie| trie.field).eq(wanted.iter().copied()) {
            return false;
        }
        self.tries =
            wanted.iter().map(|&field| FieldTrie { field, prefixes: PrefixTrie::new() }).collect();
        for (key, subtable) in &mut self.subtables {
            subtable.set_prefix_fields(&wanted);
            for head in subtable.heads() {
                let flow = subtable.expand(head);
                for (trie, &len) in self.tries.iter_mut().zip(&subtable.prefix_lens) {
                    if len != 0 {
                        trie.add(&flow, len, key as u32);
                    }
                }
            }
        }
        for listed in &mut self.order {
            let subtable = &self.subtables[listed.subtable as usize];
            listed.tries = subtable.tries();
            listed.prefix_lens = subtable.prefix_lens;
        }
        true
    }

    #[cfg(test)]
    fn tries_are_empty(&self) -> bool {
        self.tries.iter().all(|trie| trie.prefixes.node_count() == 1)
    }

    fn find_subtable(&self, mask: &Minimask) -> Option<u32> {
        let hash = mask.hash(self.seed);
        self.by_mask.find(hash, |key| self.subtables[*key as usize].mask == *mask).copied()
    }

    fn add_subtable(&mut self, mask: &Minimask) -> u32 {
        let fields: ArrayVec<PrefixField, MAX_PREFIX_FIELDS> =
            self.tries.iter().map(|trie| trie.field).collect();
        self.born += 1;
        let subtable = Subtable::new(mask.clone(), self.seed, &fields, self.born);
        let key = self.subtables.insert(subtable) as u32;
        self.subtables_end = self.subtables_end.max(key as usize + 1);
        let (seed, subtables) = (self.seed, &self.subtables);
        self.by_mask
            .insert_unique(mask.hash(seed), key, |key| subtables[*key as usize].mask.hash(seed));
        key
    }

    fn drop_subtable(&mut self, key: u32) {
        let subtable = self.subtables.remove(key as usize);
        let hash = subtable.mask.hash(self.seed);
        if let Ok(entry) = self.by_mask.find_entry(hash, |k| *k == key) {
            entry.remove();
        }
    }

    /// Adds a head to, or removes it from, each trie that its subtable has a prefix in.
    fn change_tries(
        &mut self,
        key: u32,
        head: u32,
        change: fn(&mut FieldTrie, flow: &Flow, len: u8, subtable: u32),
    ) {
        let subtable = &self.subtables[key as usize];
        if subtable.tries() == 0 {
            return;
        }
        let flow = subtable.expand(head);
        for (trie, &len) in self.tries.iter_mut().zip(&subtable.prefix_lens) {
            if len != 0 {
                change(trie, &flow, len, key);
            }
        }
    }

    /// Brings the place of a subtable in the order up to date with its highest priority; an empty
    /// subtable is dropped.
    fn relist(&mut self, key: u32) {
        let subtable = &mut self.subtables[key as usize];
        let priority = subtable.max_priority();
        if self.deferred || priority == subtable.listed {
            return;
        }
        let was = std::mem::replace(&mut subtable.listed, priority);
        let now = listing(key, subtable);
        if let Some(was) = was {
            let born = subtable.born;
            if let Ok(at) = self.order.binary_search_by_key(&(Reverse(was), born), Listed::key) {
                self.order.remove(at);
            }
        }
        match now {
            Some(now) => {
                let at = self.order.partition_point(|listed| listed.key() < now.key());
                self.order.insert(at, now);
            }
            None => self.drop_subtable(key),
        }
    }
}

fn listing(key: u32, subtable: &Subtable) -> Option<Listed> {
    Some(Listed {
        priority: subtable.listed?,
        subtable: key,
        born: subtable.born,
        tries: subtable.tries(),
        prefix_lens: subtable.prefix_lens,
    })
}
