//! Names of datapath flows: 128 bits, computed from key and mask with a secret.
//!
//! The kernel takes flows with equal names for one flow, so that nobody outside may be able to find
//! two keys with one name: the name is SipHash-1-3 with 128 bits of output under a secret of this
//! host. (It is made for every flow; of the strengths that its authors give, the one meant for hash
//! tables that strangers fill will do, for nobody outside ever sees a name.) The same secret gives the
//! same names after a restart, so that the flows that are already there are recognized.
//!
//! What always holds: a name has the shape of a random UUID (RFC 9562, version 4). Plain values: any
//! thread.

use std::fmt;

/// Name of a datapath flow, as the kernel keeps it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ufid(pub [u8; 16]);

impl Ufid {
    /// The name as four words of the host, which is how the peer shows it.
    fn words(self) -> [u32; 4] {
        let (words, _) = self.0.as_chunks::<4>();
        std::array::from_fn(|i| words.get(i).map_or(0, |w| u32::from_ne_bytes(*w)))
    }

    /// Reads `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let dashes = [8, 13, 18, 23];
        if bytes.len() != 36 || dashes.iter().any(|&i| bytes.get(i) != Some(&b'-')) {
            return None;
        }
        let mut value = 0u128;
        for (i, &byte) in bytes.iter().enumerate() {
            if !dashes.contains(&i) {
                value = value << 4 | u128::from(char::from(byte).to_digit(16)?);
            }
        }
        let mut out = [0; 16];
        let big = value.to_be_bytes();
        for (to, from) in out.as_chunks_mut::<4>().0.iter_mut().zip(big.as_chunks::<4>().0) {
            *to = u32::from_be_bytes(*from).to_ne_bytes();
        }
        Some(Self(out))
    }
}

impl fmt::Display for Ufid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.words();
        let (b1, b2, c1, c2) = (b >> 16, b & 0xffff, c >> 16, c & 0xffff);
        write!(f, "ufid:{a:08x}-{b1:04x}-{b2:04x}-{c1:04x}-{c2:04x}{d:08x}")
    }
}

impl fmt::Debug for Ufid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Computes names; holds the secret.
#[derive(Clone, Copy)]
pub struct UfidHasher {
    k0: u64,
    k1: u64,
}

impl fmt::Debug for UfidHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UfidHasher(..)")
    }
}

impl UfidHasher {
    /// With a secret that must be kept from those whose packets are switched.
    pub fn new(secret: [u8; 16]) -> Self {
        let secret = u128::from_le_bytes(secret);
        Self { k0: secret as u64, k1: (secret >> 64) as u64 }
    }

    /// With a secret made from text that is secret or at least differs from boot to boot, such as
    /// `/proc/sys/kernel/random/boot_id`.
    pub fn from_text(text: &str) -> Self {
        let seed = Self { k0: 0, k1: 0 };
        Self::new(seed.siphash::<2, 4>(text.trim().as_bytes()))
    }

    /// The secret, for a recording: whoever has it can make two keys of one name.
    pub fn secret(&self) -> [u8; 16] {
        (u128::from(self.k1) << 64 | u128::from(self.k0)).to_le_bytes()
    }

    /// Begins a name.
    pub fn begin(&self) -> Naming {
        Naming { sip: Sip::new(self), words: 0 }
    }

    /// A name made of bytes alone.
    pub fn ufid(&self, bytes: &[u8]) -> Ufid {
        self.begin().finish_with(bytes)
    }

    /// SipHash with 128 bits of output (Aumasson and Bernstein, with the authors' extension).
    fn siphash<const C: usize, const D: usize>(&self, data: &[u8]) -> [u8; 16] {
        let mut sip = Sip::new(self);
        let (blocks, rest) = data.as_chunks::<8>();
        for block in blocks {
            sip.compress::<C>(u64::from_le_bytes(*block));
        }
        sip.finish::<C, D>(last_word(rest, data.len() as u64))
    }
}

/// A name under way: what it is of is taken in word by word. A copy goes on by itself, so that what
/// many names begin with is taken in once.
#[derive(Clone, Copy)]
pub struct Naming {
    sip: Sip,
    words: u64,
}

impl fmt::Debug for Naming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Naming(..)")
    }
}

impl Naming {
    /// Takes in a word.
    #[inline]
    pub fn word(&mut self, word: u64) {
        self.sip.compress::<1>(word);
        self.words = self.words.wrapping_add(1);
    }

    /// The name.
    #[inline]
    pub fn finish(mut self) -> Ufid {
        uuid(self.sip.finish::<1, 3>(last_word(&[], self.words.wrapping_mul(8))))
    }

    /// The name, of which these bytes are the end.
    #[inline]
    pub fn finish_with(mut self, bytes: &[u8]) -> Ufid {
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        let len = self.words.wrapping_mul(8).wrapping_add(rest.len() as u64);
        uuid(self.sip.finish::<1, 3>(last_word(rest, len)))
    }
}

/// The word that SipHash takes in last: what is left of the data, and how long all of it was.
fn last_word(rest: &[u8], len: u64) -> u64 {
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(last) | len << 56
}

/// The name that a hash gives.
fn uuid(hash: [u8; 16]) -> Ufid {
    let mut name = Ufid(hash);
    let [a, b, c, d] = name.words();
    // Version 4, variant of RFC 9562.
    let words = [a, b & !0xf000 | 0x4000, c & !0xc000_0000 | 0x8000_0000, d];
    for (to, word) in name.0.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *to = word.to_ne_bytes();
    }
    name
}

/// The state of SipHash.
#[derive(Clone, Copy)]
struct Sip([u64; 4]);

impl Sip {
    fn new(secret: &UfidHasher) -> Self {
        Self([
            secret.k0 ^ 0x736f_6d65_7073_6575,
            secret.k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
            secret.k0 ^ 0x6c79_6765_6e65_7261,
            secret.k1 ^ 0x7465_6462_7974_6573,
        ])
    }

    #[inline]
    fn compress<const C: usize>(&mut self, block: u64) {
        let v = &mut self.0;
        v[3] ^= block;
        (0..C).for_each(|_| round(v));
        v[0] ^= block;
    }

    /// Takes in the last block, which holds the length, and gives the hash.
    #[inline]
    fn finish<const C: usize, const D: usize>(&mut self, last: u64) -> [u8; 16] {
        self.compress::<C>(last);
        let mut half = |at: usize, with: u64| {
            let v = &mut self.0;
            v[at] ^= with;
            (0..D).for_each(|_| round(v));
            v[0] ^ v[1] ^ v[2] ^ v[3]
        };
        let (low, high) = (half(2, 0xee), half(1, 0xdd));
        (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
    }
}

#[inline]
fn round([a, b, c, d]: &mut [u64; 4]) {
    *a = a.wrapping_add(*b);
    *b = b.rotate_left(13) ^ *a;
    *a = a.rotate_left(32);
    *c = c.wrapping_add(*d);
    *d = d.rotate_left(16) ^ *c;
    *a = a.wrapping_add(*d);
    *d = d.rotate_left(21) ^ *a;
    *c = c.wrapping_add(*b);
    *b = b.rotate_left(17) ^ *c;
    *c = c.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    // From vectors.h of the authors' reference implementation: key 00 01 … 0f, input 00 01 … n-1.
    #[test]
    fn siphash_is_the_reference() {
        let hasher = UfidHasher::new(std::array::from_fn(|i| i as u8));
        let input: Vec<u8> = (0..64).collect();
        for (n, expected) in [
            (0, "a3817f04ba25a8e66df67214c7550293"),
            (1, "da87c1d86b99af44347659119b22fc45"),
            (7, "a1f1ebbed8dbc153c0b84aa61ff08239"),
            (8, "3b62a9ba6258f5610f83e264f31497b4"),
            (63, "5150d1772f50834a503e069a973fbd7c"),
        ] {
            let hex: String =
                hasher.siphash::<2, 4>(&input[..n]).iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(hex, expected, "{n}");
        }
    }

    #[test]
    fn a_name_of_words_is_that_of_their_bytes() {
        let hasher = UfidHasher::new([7; 16]);
        for n in [0, 1, 5, 40] {
            let words: Vec<u64> = (0..n).map(|i| 0x0102_0304_0506_0708 * (i + 1)).collect();
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let mut naming = hasher.begin();
            words.iter().for_each(|word| naming.word(*word));
            for rest in [&[][..], &[1], &[1, 2, 3, 4, 5, 6, 7], &[9; 12]] {
                let bytes = [&bytes, rest].concat();
                let name = uuid(hasher.siphash::<1, 3>(&bytes));
                assert_eq!((naming.finish_with(rest), hasher.ufid(&bytes)), (name, name));
            }
            assert_eq!(naming.finish(), hasher.ufid(&bytes));
        }
    }

    #[test]
    fn names_are_uuids_of_version_4() {
        let hasher = UfidHasher::from_text("95b4d6ae-8d3e-4cb4-b3b9-9b5a6a3e0c61\n");
        for i in 0..100u8 {
            let text = hasher.ufid(&[i]).to_string();
            let name = text.strip_prefix("ufid:").unwrap();
            assert_eq!(&name[14..15], "4", "{name}");
            assert!("89ab".contains(&name[19..20]), "{name}");
            assert_eq!(Ufid::parse(name), Some(hasher.ufid(&[i])));
        }
        assert_ne!(hasher.ufid(&[1]), hasher.ufid(&[2]));
        assert_eq!(
            hasher.ufid(&[1]),
            UfidHasher::from_text(" 95b4d6ae-8d3e-4cb4-b3b9-9b5a6a3e0c61").ufid(&[1])
        );
        assert_ne!(hasher.ufid(&[1]), UfidHasher::new([0; 16]).ufid(&[1]));
    }

    #[test]
    fn other_texts_are_no_names() {
        for text in [
            "",
            "ufid:",
            "0123",
            &"-".repeat(36),
            &"0".repeat(36),
            "0000000000000000000000000000000000é",
        ] {
            assert_eq!(Ufid::parse(text), None);
        }
    }
}
