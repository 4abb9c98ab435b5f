//! What a flow's UFID is a hash of.
//!
//! A megaflow is named by which bits it matches and by their values, so that every packet of it gives
//! the same name and the second is known as a duplicate; a flow without a mask by its key's bytes.
//!
//! Few masks are in use at a time, and masks are long: the hash up to the end of the mask is kept for
//! the last few, and only the values are hashed for each flow. One thread.

use crate::flow::{Flow, FlowWildcards};
use crate::odp::reader::WildcardsId;
use crate::odp::ufid::{Naming, Ufid, UfidHasher};

/// Masks remembered: more than one table of rules makes for one kind of traffic.
const MASKS: usize = 8;

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
}

impl Namer {
    /// Makes names with this secret.
    pub fn new(hasher: UfidHasher) -> Self {
        Self { hasher, masks: Vec::with_capacity(MASKS), count: 0 }
    }

    /// The name of the flow that has this key and no mask.
    pub fn exact(&self, key: &[u8]) -> Ufid {
        self.hasher.ufid(key)
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

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;
    use crate::flow::FLOW_WORDS;

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
