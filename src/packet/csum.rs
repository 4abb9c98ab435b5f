//! The Internet checksum (RFC 1071), its incremental update (RFC 1624), and SCTP's CRC-32c.
//!
//! Checksums are plain numbers here, as they read in network order. Plain values: any thread.

/// A sum under way. Parts must each be of even length but the last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes; an odd last byte counts as the high half of a word.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let mut sum = self.0;
        let (words, rest) = bytes.as_chunks::<4>();
        for word in words {
            sum += u64::from(u32::from_be_bytes(*word));
        }
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        Self(fold(sum + u64::from(u32::from_be_bytes(last))))
    }

    /// Adds a 16-bit word.
    #[must_use]
    pub fn word(self, word: u16) -> Self {
        Self(fold(self.0 + u64::from(word)))
    }

    /// The checksum: the complement of the sum.
    pub fn finish(self) -> u16 {
        !(fold(self.0) as u16)
    }
}

/// The checksum of `bytes`. Over data that holds its own checksum it is 0 when that is right.
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::default().bytes(bytes).finish()
}

/// The checksum of data that had the checksum `csum` before its word `old` became `new`.
pub fn update16(csum: u16, old: u16, new: u16) -> u16 {
    Sum::default().word(!csum).word(!old).word(new).finish()
}

/// Like [`update16`] for a field of any even length, on a word boundary. Both have the same length.
pub fn update_bytes(csum: u16, old: &[u8], new: &[u8]) -> u16 {
    debug_assert_eq!(old.len(), new.len());
    // The sum of the complements is the complement of the sum.
    let old = checksum(old);
    Sum::default().word(!csum).word(old).bytes(new).finish()
}

/// Folds a sum of 32-bit words to 16 bits.
fn fold(sum: u64) -> u64 {
    // Four rounds bring any 64-bit sum down to 16 bits.
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum & 0xffff) + (sum >> 16)
}

/// CRC-32c (Castagnoli) of `parts` in a row, as SCTP has it. In the header it stands lowest byte
/// first.
pub fn crc32c(parts: &[&[u8]]) -> u32 {
    let mut crc = u32::MAX;
    for byte in parts.iter().copied().flatten() {
        crc = CRC32C_TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8);
    }
    !crc
}

const CRC32C_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};
