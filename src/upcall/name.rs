//! What a flow's UFID is a hash of.
//!
//! A megaflow is named by which bits it matches and by their values, so that every packet of it gives
//! the same name and the second is known as a duplicate; a flow without a mask by its key's bytes.
//!
//! Few masks are in use at a time, and masks are long: the hash up to the end of the mask is kept for
//! the last few, and only the values are hashed for each flow. In the same way the hash of what keys
//! begin with, the metadata, is kept for the last one. One thread.

use crate::flow::{Flow, FlowWildcards};
use crate::odp::reader::WildcardsId;
use crate::odp::ufid::{Naming, Ufid, UfidHasher};

/// Masks remembered: more than one table of rules makes for one kind of traffic.
const MASKS: usize = 8;

/// Bytes of a key up to the last of its metadata, where there is conntrack in it. Whole words.
const HEAD: usize = 80;

/// A mask, and the beginning of the name of each flow that has it.
struct Mask {
    id: WildcardsId,
    masks: Flow,
    /// Words that are not zero, with their places.
    words: Vec<(usize, u64)>,
    begun: Naming,
}

/// See the module's page.
pub struct Namer {
    hasher: UfidHasher,
    /// The mask that was found last is the first.
    masks: Vec<Mask>,
    /// Masks ever remembered.
    count: u64,
    /// What the last key began with, and the beginning of its name.
    head: [u8; HEAD],
    begun: Naming,
}

impl Namer {
    /// Makes names with this secret.
    pub fn new(hasher: UfidHasher) -> Self {
        let head = [0; HEAD];
        let begun = begin_with(&hasher, &head);
        Self { hasher, masks: Vec::with_capacity(MASKS), count: 0, head, begun }
    }

    /// The name of the flow that has this key and no mask.
    pub fn exact(&mut self, key: &[u8]) -> Ufid {
        let Some((head, rest)) = key.split_first_chunk() else { return self.hasher.ufid(key) };
        if self.head != *head {
            self.head = *head;
            self.begun = begin_with(&self.hasher, head);
        }
        self.begun.finish_with(rest)
    }

    /// The name of the megaflow that is all packets like `flow` in the bits of `wc`, and what stands for
    /// these from now on.
    pub fn megaflow(&mut self, flow: &Flow, wc: &FlowWildcards) -> (Ufid, WildcardsId) {
        let known = self.masks.iter().position(|mask| mask.masks.words() == wc.masks.words());
        match known {
            Some(0) => {}
            Some(at) => self.masks.swap(0, at),
            None => self.remember(wc),
        }
        // Remembered just now, if it was not before.
        let Some(mask) = self.masks.first() else { return (Ufid::default(), WildcardsId(0)) };
        let mut naming = mask.begun;
        let flow = flow.words();
        for &(place, bits) in &mask.words {
            naming.word(flow.get(place).copied().unwrap_or_default() & bits);
        }
        (naming.finish(), mask.id)
    }

    /// Puts a mask first, in the place of the last one if there are too many.
    fn remember(&mut self, wc: &FlowWildcards) {
        if self.masks.len() < MASKS {
            let begun = self.hasher.begin();
            let id = WildcardsId(0);
            self.masks.push(Mask { id, masks: Flow::ZERO, words: Vec::new(), begun });
        }
        self.masks.rotate_right(1);
        let Some(mask) = self.masks.first_mut() else { return };
        self.count += 1;
        mask.id = WildcardsId(self.count);
        mask.masks = wc.masks;
        mask.words.clear();
        let words = wc.masks.words().iter().copied().enumerate();
        mask.words.extend(words.filter(|(_, bits)| *bits != 0));
        let mut begun = self.hasher.begin();
        begun.word(mask.words.len() as u64);
        for &(place, bits) in &mask.words {
            begun.word(place as u64);
            begun.word(bits);
        }
        mask.begun = begun;
    }
}

/// Begins a name with these words.
fn begin_with(hasher: &UfidHasher, head: &[u8; HEAD]) -> Naming {
    let mut begun = hasher.begin();
    head.as_chunks().0.iter().for_each(|word| begun.word(u64::from_le_bytes(*word)));
    begun
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;
    use crate::flow::FLOW_WORDS;

    #[test]
    fn an_exact_flow_has_the_name_of_its_keys_bytes() {
        let hasher = UfidHasher::new([3; 16]);
        let mut namer = Namer::new(hasher);
        for len in (0..2 * HEAD).chain((0..2 * HEAD).rev()) {
            for first in [0, 1] {
                let mut key = vec![7; len];
                key.iter_mut().take(1).for_each(|byte| *byte = first);
                assert_eq!(namer.exact(&key), hasher.ufid(&key), "{len} bytes");
            }
        }
    }

    #[test]
    fn a_name_stands_for_mask_and_matched_bits() {
        let mut namer = Namer::new(UfidHasher::new([3; 16]));
        let mut names = HashSet::new();
        let mut stands_for = HashMap::new();
        // Three times as many masks as are remembered, and round again.
        for round in 0..2 {
            for n in 0..3 * MASKS {
                let (mut flow, mut wc) = (Flow::ZERO, FlowWildcards::CATCHALL);
                wc.masks.words_mut()[n % FLOW_WORDS] = 0xff;
                wc.masks.words_mut()[(n + 1) % FLOW_WORDS] = 1;
                for value in 0..4 {
                    flow.words_mut()[n] = value;
                    let (name, id) = namer.megaflow(&flow, &wc);
                    assert_eq!(*stands_for.entry(id.0).or_insert(n), n);
                    assert_eq!(names.insert(name), round == 0, "mask {n}, value {value}");
                    // Bits that are not matched make no difference.
                    flow.words_mut()[n] = value | 0x100;
                    flow.words_mut()[(n + 2) % FLOW_WORDS] = 7;
                    assert_eq!(namer.megaflow(&flow, &wc), (name, id));
                }
            }
        }
        assert_eq!(names.len(), 3 * MASKS * 4);
    }
}
