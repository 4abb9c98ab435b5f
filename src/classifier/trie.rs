//! A path-compressed binary trie of bit prefixes, in one flat array of nodes.
//!
//! A walk along a value visits every stored prefix of the value and tells how many leading bits of
//! the value decided the way: any other value with the same bits takes the same way. That number is
//! what the classifier un-wildcards when a trie shows that there is nothing to find.
//!
//! What always holds: a payload equal to its default stands for "nothing stored here"; every node
//! but the root has a payload or two children, so the trie depends on its content alone and not on
//! the order in which it came. Plain values: any thread.

/// No such node.
const NONE: u32 = u32::MAX;

/// Index of the root, which stands for the empty prefix.
const ROOT: u32 = 0;

/// Prefixes of up to 128 bits, with a payload each.
///
/// Keys and values stand at the most significant end of the `u128`; bits behind a key's length are
/// zero.
#[derive(Debug, Clone)]
pub(super) struct PrefixTrie<P> {
    nodes: Vec<Node<P>>,
    free: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Node<P> {
    key: u128,
    children: [u32; 2],
    len: u8,
    payload: P,
}

impl<P> Node<P> {
    fn leaf(key: u128, len: u8, payload: P) -> Self {
        Self { key, children: [NONE; 2], len, payload }
    }

    fn is_leaf(&self) -> bool {
        self.children == [NONE; 2]
    }
}

impl<P: Default + PartialEq> PrefixTrie<P> {
    /// An empty trie.
    pub fn new() -> Self {
        Self { nodes: vec![Node::leaf(0, 0, P::default())], free: Vec::new() }
    }

    /// Visits the payload of every prefix of the first `bits` bits of `value`, shortest first, with
    /// its length. Returns how many leading bits of `value` decided the way, at most `bits`.
    #[inline]
    pub fn walk<'a>(&'a self, value: u128, bits: u8, mut visit: impl FnMut(u8, &'a P)) -> u8 {
        let mut node = &self.nodes[ROOT as usize];
        loop {
            if node.len >= bits {
                return bits;
            }
            let next = node.children[bit_at(value, node.len)];
            if next == NONE {
                // The bit was read only to tell the missing branch from the one that exists.
                return if node.is_leaf() { node.len } else { node.len + 1 };
            }
            node = &self.nodes[next as usize];
            let common = (value ^ node.key).leading_zeros() as u8;
            if common < node.len {
                return common + 1;
            }
            visit(node.len, &node.payload);
        }
    }

    /// The payload of the prefix of `len` bits of `key`, which is created where there is none. The
    /// caller makes it differ from the default.
    pub fn entry(&mut self, key: u128, len: u8) -> &mut P {
        let key = key & prefix_mask(len);
        let mut at = ROOT;
        loop {
            let node_len = self.nodes[at as usize].len;
            if node_len == len {
                return &mut self.nodes[at as usize].payload;
            }
            let branch = bit_at(key, node_len);
            let next = self.nodes[at as usize].children[branch];
            if next == NONE {
                let leaf = self.add(Node::leaf(key, len, P::default()));
                self.nodes[at as usize].children[branch] = leaf;
                return &mut self.nodes[leaf as usize].payload;
            }
            let child = &self.nodes[next as usize];
            let (child_key, child_len) = (child.key, child.len);
            let common = ((child_key ^ key).leading_zeros() as u8).min(len).min(child_len);
            if common == child_len {
                at = next;
                continue;
            }
            // The edge parts in the middle: a node goes in at that place.
            let middle = self.add(Node::leaf(key & prefix_mask(common), common, P::default()));
            self.nodes[middle as usize].children[bit_at(child_key, common)] = next;
            self.nodes[at as usize].children[branch] = middle;
            at = middle;
        }
    }

    /// Changes the payload of a stored prefix by `change`; a prefix whose payload becomes the
    /// default is taken out. Returns false when the prefix is not stored.
    pub fn update(&mut self, key: u128, len: u8, change: impl FnOnce(&mut P)) -> bool {
        let key = key & prefix_mask(len);
        let (mut grandparent, mut parent, mut at) = (NONE, NONE, ROOT);
        while self.nodes[at as usize].len < len {
            let next = self.nodes[at as usize].children[bit_at(key, self.nodes[at as usize].len)];
            if next == NONE {
                return false;
            }
            (grandparent, parent, at) = (parent, at, next);
        }
        let node = &mut self.nodes[at as usize];
        if node.len != len || node.key != key || node.payload == P::default() {
            return false;
        }
        change(&mut node.payload);
        if node.payload == P::default() && at != ROOT {
            self.take_out(parent, at);
            if parent != ROOT {
                self.take_out(grandparent, parent);
            }
        }
        true
    }

    /// Takes `at` out below `parent` if it neither holds anything nor branches.
    fn take_out(&mut self, parent: u32, at: u32) {
        let node = &self.nodes[at as usize];
        let below = match node.children {
            _ if node.payload != P::default() => return,
            [NONE, below] | [below, NONE] => below,
            _ => return,
        };
        let branch = bit_at(node.key, self.nodes[parent as usize].len);
        self.nodes[parent as usize].children[branch] = below;
        self.free.push(at);
    }

    fn add(&mut self, node: Node<P>) -> u32 {
        if let Some(at) = self.free.pop() {
            self.nodes[at as usize] = node;
            return at;
        }
        self.nodes.push(node);
        (self.nodes.len() - 1) as u32
    }

    /// Nodes in use, the root among them.
    #[cfg(test)]
    pub fn node_count(&self) -> usize {
        self.nodes.len() - self.free.len()
    }
}

/// The bit behind the first `skip` bits, as an index.
fn bit_at(value: u128, skip: u8) -> usize {
    (value >> (127 - skip) & 1) as usize
}

/// A mask of the first `len` bits, for lengths up to 128.
pub(super) fn prefix_mask(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn v4(a: [u8; 4]) -> u128 {
        u128::from(u32::from_be_bytes(a)) << 96
    }

    fn lengths(trie: &PrefixTrie<u32>, value: u128, bits: u8) -> (Vec<u8>, u8) {
        let mut found = Vec::new();
        let read = trie.walk(value, bits, |len, &n| {
            if n > 0 {
                found.push(len);
            }
        });
        (found, read)
    }

    #[test]
    fn a_walk_reads_up_to_the_first_difference() {
        let mut trie = PrefixTrie::<u32>::new();
        assert_eq!(lengths(&trie, v4([10, 1, 2, 3]), 32), (vec![], 0));
        *trie.entry(v4([10, 1, 0, 0]), 16) += 1;
        *trie.entry(v4([10, 1, 2, 15]), 32) += 1;
        assert_eq!(lengths(&trie, v4([10, 1, 2, 15]), 32), (vec![16, 32], 32));
        // 11 = 0b1011 differs from 10 = 0b1010 in the eighth bit, 192 in the first.
        assert_eq!(lengths(&trie, v4([11, 1, 2, 15]), 32), (vec![], 8));
        assert_eq!(lengths(&trie, v4([192, 168, 0, 2]), 32), (vec![], 1));
        assert_eq!(lengths(&trie, v4([10, 1, 3, 16]), 32), (vec![16], 24));
        assert!(trie.update(v4([10, 1, 2, 15]), 32, |n| *n -= 1));
        // Nothing longer is left: the sixteen bits that matched suffice.
        assert_eq!(lengths(&trie, v4([10, 1, 3, 16]), 32), (vec![16], 16));
        assert!(!trie.update(v4([10, 1, 2, 15]), 32, |n| *n -= 1));
    }

    fn prefixes() -> impl Strategy<Value = Vec<(u128, u8)>> {
        let key = prop_oneof![any::<u128>(), (0u128..64).prop_map(|k| k << 120)];
        vec((key, 1u8..=128).prop_map(|(k, len)| (k & prefix_mask(len), len)), 0..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn finds_the_stored_prefixes_and_reads_enough(
            stored in prefixes(), gone in vec(any::<bool>(), 40), value: u128, noise: u128, near: u8,
        ) {
            let mut trie = PrefixTrie::<u32>::new();
            for &(key, len) in &stored {
                *trie.entry(key, len) += 1;
            }
            let mut left = Vec::new();
            for (&(key, len), &gone) in stored.iter().zip(&gone) {
                if gone {
                    prop_assert!(trie.update(key, len, |n| *n -= 1));
                } else {
                    left.push((key, len));
                }
            }
            // A value close to a stored one, so that walks get deep.
            let value = match stored.get(usize::from(near) % 41) {
                Some(&(key, len)) => key | (value & !prefix_mask(len)),
                None => value,
            };
            let (found, read) = lengths(&trie, value, 128);
            let mut expected: Vec<u8> = left
                .iter()
                .filter(|(key, len)| (value ^ key) & prefix_mask(*len) == 0)
                .map(|(_, len)| *len)
                .collect();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(&found, &expected);
            let other = value & prefix_mask(read) | noise & !prefix_mask(read);
            prop_assert_eq!(lengths(&trie, other, 128), (found, read));
        }

        #[test]
        fn content_alone_makes_the_shape(stored in prefixes(), extra in prefixes()) {
            let mut plain = PrefixTrie::<u32>::new();
            let mut churned = PrefixTrie::<u32>::new();
            for &(key, len) in extra.iter().chain(&stored) {
                *churned.entry(key, len) += 1;
            }
            for &(key, len) in stored.iter().rev() {
                *plain.entry(key, len) += 1;
            }
            for &(key, len) in &extra {
                prop_assert!(churned.update(key, len, |n| *n -= 1));
            }
            prop_assert_eq!(plain.node_count(), churned.node_count());
            for &(key, len) in &stored {
                prop_assert!(churned.update(key, len, |n| *n -= 1));
            }
            prop_assert_eq!(churned.node_count(), 1);
        }
    }
}
