//! A slab that grows and shrinks in chunks: slots keep their index, nothing is moved when it grows,
//! and a chunk whose last slot is freed goes back to the allocator.
//!
//! Ukeys live in it, so that installing a flow allocates once in 16 installs and memory
//! follows the number of flows down as well as up. One owner; a ukey shard's lock covers it.

/// Slots in a chunk: every slab has some that are free, and there are many slabs.
const CHUNK: usize = 16;

struct Chunk<T> {
    slots: Vec<Option<T>>,
    used: usize,
    /// Bit per slot that is free.
    free: u16,
}

/// See the module's page.
pub struct Slab<T> {
    chunks: Vec<Option<Chunk<T>>>,
    /// Chunks that may have a free slot, youngest last; checked when used.
    open: Vec<u32>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), open: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes held for values, used or not.
    pub fn capacity_bytes(&self) -> usize {
        self.chunks.iter().flatten().count() * CHUNK * size_of::<Option<T>>()
    }

    /// Puts in what `make` gives and tells where.
    #[inline]
    pub fn insert_with(&mut self, make: impl FnOnce() -> T) -> u32 {
        let c = self.open_chunk();
        let chunk = self.chunks[c].get_or_insert_with(|| {
            let mut slots = Vec::with_capacity(CHUNK);
            slots.resize_with(CHUNK, || None);
            Chunk { slots, used: 0, free: u16::MAX }
        });
        let slot = chunk.free.trailing_zeros() as usize;
        chunk.free &= chunk.free - 1;
        // Made in its place, where an assignment would move it.
        chunk.slots[slot].get_or_insert_with(make);
        chunk.used += 1;
        self.len += 1;
        (c * CHUNK + slot) as u32
    }

    /// A chunk with a free slot, or an empty place for one.
    fn open_chunk(&mut self) -> usize {
        while let Some(&c) = self.open.last() {
            match &self.chunks[c as usize] {
                Some(chunk) if chunk.used == CHUNK => {
                    self.open.pop();
                }
                _ => return c as usize,
            }
        }
        self.chunks.push(None);
        let c = self.chunks.len() - 1;
        self.open.push(c as u32);
        c
    }

    /// The value at `index`.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&T> {
        let (c, slot) = place(index);
        self.chunks.get(c)?.as_ref()?.slots.get(slot)?.as_ref()
    }

    /// The value at `index`, to change.
    #[inline]
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let (c, slot) = place(index);
        self.chunks.get_mut(c)?.as_mut()?.slots.get_mut(slot)?.as_mut()
    }

    /// Takes the value at `index` out.
    pub fn remove(&mut self, index: u32) -> Option<T> {
        let (c, slot) = place(index);
        let place = self.chunks.get_mut(c)?;
        let chunk = place.as_mut()?;
        let value = chunk.slots.get_mut(slot)?.take()?;
        chunk.free |= 1 << slot;
        if chunk.used == CHUNK {
            self.open.push(c as u32);
        }
        chunk.used -= 1;
        if chunk.used == 0 {
            *place = None;
        }
        self.len -= 1;
        if self.len == 0 {
            // The lists as well, or they keep what lies below them from being given back.
            (self.chunks, self.open) = (Vec::new(), Vec::new());
        }
        Some(value)
    }

    /// All values.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten().flat_map(|chunk| chunk.slots.iter().flatten())
    }

    /// The values from `first` on, to change, and where they are.
    pub fn iter_mut_from(&mut self, first: u32) -> impl Iterator<Item = (u32, &mut T)> {
        let (c, slot) = place(first);
        let chunks = self.chunks.iter_mut().enumerate().skip(c);
        chunks.flat_map(move |(i, chunk)| {
            let slots = chunk.iter_mut().flat_map(|chunk| chunk.slots.iter_mut().enumerate());
            let slots = slots.skip(if i == c { slot } else { 0 });
            slots
                .filter_map(move |(slot, value)| Some(((i * CHUNK + slot) as u32, value.as_mut()?)))
        })
    }

    /// All values, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flatten().flat_map(|chunk| chunk.slots.iter_mut().flatten())
    }
}

#[inline]
fn place(index: u32) -> (usize, usize) {
    (index as usize / CHUNK, index as usize % CHUNK)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn memory_follows_the_number_of_values_down() {
        let mut slab = Slab::default();
        let places: Vec<u32> = (0..10_000u64).map(|n| slab.insert_with(|| n)).collect();
        let full = slab.capacity_bytes();
        for place in &places {
            slab.remove(*place);
        }
        assert_eq!((slab.is_empty(), slab.capacity_bytes()), (true, 0));
        for n in 0..10_000 {
            slab.insert_with(|| n);
        }
        assert_eq!(slab.capacity_bytes(), full);
    }

    proptest::proptest! {
        #[test]
        fn behaves_as_a_map(ops in proptest::collection::vec((0u8..3, 0usize..300), 1..600)) {
            let mut slab = Slab::default();
            let mut model: HashMap<u32, usize> = HashMap::new();
            for (op, n) in ops {
                if op < 2 {
                    let place = slab.insert_with(|| n);
                    assert!(model.insert(place, n).is_none());
                } else if let Some(place) = model.keys().nth(n % (model.len().max(1))).copied() {
                    assert_eq!(slab.remove(place), model.remove(&place));
                    assert_eq!(slab.remove(place), None);
                }
                assert_eq!(slab.len(), model.len());
                assert_eq!(slab.iter().count(), model.len());
                let from: Vec<_> = slab.iter_mut_from(n as u32).map(|(place, n)| (place, *n)).collect();
                assert!(from.is_sorted());
                let mut wanted: Vec<_> = model.clone().into_iter().collect();
                wanted.retain(|(place, _)| *place >= n as u32);
                wanted.sort();
                assert_eq!(from, wanted);
                for (place, n) in &model {
                    assert_eq!(slab.get(*place), Some(n));
                }
            }
        }
    }
}
