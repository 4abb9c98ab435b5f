//! The last translation of a batch, for packets that it holds for as well.
//!
//! Where flows match exactly, the packets of one sender to one receiver have a flow each, and all of
//! them one decision: it is the same for whatever differs only in bits that it did not read, as long as
//! nothing changes. (Where flows are wildcarded such packets are one megaflow's, and come up once.)
//!
//! What always holds: what comes of it is what translating each packet would give
//! (`tests/road_batches.rs`). One thread.

use crate::flow::{Flow, FlowWildcards};
use crate::odp::reader::KeyKind;

/// What a translation rests on besides the packet and the batch's snapshot and time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Basis {
    /// The headers that the packet came with: a mask does not say that there were no others.
    pub kind: KeyKind,
    /// The changes that were known.
    pub changes_seq: u64,
}

/// See the module's page.
pub struct Translated {
    /// What it rests on; `None` if there is none, or it serves no other packet.
    basis: Option<Basis>,
    /// The packet.
    flow: Flow,
}

impl Translated {
    /// None yet.
    pub const fn new() -> Self {
        Self { basis: None, flow: Flow::ZERO }
    }

    /// Forgets it.
    pub fn clear(&mut self) {
        self.basis = None;
    }

    /// Remembers that of `flow`, unless it is not to serve others.
    #[inline]
    pub fn remember(&mut self, flow: &Flow, basis: Option<Basis>) {
        self.basis = basis;
        if basis.is_some() {
            self.flow = *flow;
        }
    }

    /// Whether it holds for another packet, if it read the bits of `read`.
    #[inline]
    pub fn holds_for(&self, flow: &Flow, basis: Option<Basis>, read: &FlowWildcards) -> bool {
        let was = &self.flow;
        // What differs most often first, for all of it takes longer.
        if basis.is_none()
            || basis != self.basis
            || (flow.dl_src, flow.dl_dst) != (was.dl_src, was.dl_dst)
        {
            return false;
        }
        let words = flow.words().iter().zip(was.words()).zip(read.masks.words());
        words.fold(0, |differ, ((a, b), read)| differ | (a ^ b) & read) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::FLOW_WORDS;
    use crate::odp::Support;
    use crate::odp::key::{OdpKey, key_from_flow};
    use crate::odp::reader::KeyReader;

    #[test]
    fn a_translation_holds_for_what_differs_in_nothing_that_was_read() {
        let (mut key, mut reader) = (Vec::new(), KeyReader::new(Support::default()));
        key_from_flow(&Flow::ZERO, &Support::default(), &mut key).unwrap();
        reader.read(OdpKey(&key)).unwrap();
        let basis = reader.kind().map(|kind| Basis { kind, changes_seq: 1 });
        let mut translated = Translated::new();
        let none = FlowWildcards::CATCHALL;
        assert!(!translated.holds_for(reader.flow(), basis, &none));
        translated.remember(reader.flow(), None);
        assert!(!translated.holds_for(reader.flow(), None, &none));
        translated.remember(reader.flow(), basis);
        let later = reader.kind().map(|kind| Basis { kind, changes_seq: 2 });
        assert!(!translated.holds_for(reader.flow(), later, &none));
        let mut addresses = FlowWildcards::CATCHALL;
        (addresses.masks.dl_src.0, addresses.masks.dl_dst.0) = ([0xff; 6], [0xff; 6]);
        for place in 0..FLOW_WORDS {
            let (mut flow, mut read) = (*reader.flow(), FlowWildcards::CATCHALL);
            assert!(translated.holds_for(&flow, basis, &read));
            flow.words_mut()[place] ^= 0x10_0000_0000;
            read.masks.words_mut()[place] = 0xff_0000_0000;
            assert!(!translated.holds_for(&flow, basis, &read), "word {place}");
            // Addresses are looked at whether they were read or not.
            if addresses.masks.words()[place] == 0 {
                read.masks.words_mut()[place] = 0x0f_0000_0000;
                assert!(translated.holds_for(&flow, basis, &read), "word {place}");
            }
        }
    }
}
