//! Netlink attributes (`struct nlattr`): walking them in a received buffer, appending them to a
//! reused one.
//!
//! What always holds: no input makes the walk panic or read outside its slice; what [`AttrWriter`]
//! has appended is 4-byte aligned, its padding is zero, and no length ever wraps its 16 bits (an
//! attribute that does not fit is left out and the writer says so in [`AttrWriter::end`] and
//! [`AttrWriter::finish`]). Walking what was written gives back the same kinds and values.
//!
//! Plain values, no locks: any thread. Source: `include/uapi/linux/netlink.h`.

use std::ops::Range;

use thiserror::Error;
use zerocopy::FromBytes;

/// `NLA_F_NESTED`: the value is itself a list of attributes.
pub const NLA_F_NESTED: u16 = 0x8000;
/// `NLA_F_NET_BYTEORDER`: the value is in network byte order.
pub const NLA_F_NET_BYTEORDER: u16 = 0x4000;
/// `NLA_HDRLEN`: length and type, 2 bytes each.
pub const NLA_HDRLEN: usize = 4;

const KIND_MASK: u16 = !(NLA_F_NESTED | NLA_F_NET_BYTEORDER);

/// `len` rounded up to the 4-byte alignment of netlink headers and attributes.
pub const fn align4(len: usize) -> usize {
    len.wrapping_add(3) & !3
}

/// Why attributes could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AttrError {
    /// Fewer bytes are left than an attribute header needs.
    #[error("{left} bytes left over after the last attribute")]
    Trailing {
        /// Bytes left.
        left: usize,
    },
    /// The length field is below the header's own size or beyond the buffer.
    #[error("attribute {kind} says it is {len} bytes long where 4 to {left} are possible")]
    Length {
        /// Attribute type, flags masked off.
        kind: u16,
        /// `nla_len` as received.
        len: u16,
        /// Bytes from the attribute's start to the end of the buffer.
        left: usize,
    },
    /// The value does not have the size that its type asks for.
    #[error("attribute {kind} has a value of {got} bytes, expected {expected}")]
    Size {
        /// Attribute type.
        kind: u16,
        /// Bytes that the type needs.
        expected: usize,
        /// Bytes that are there.
        got: usize,
    },
    /// A string without its terminating NUL, or not UTF-8.
    #[error("attribute {kind} is not a NUL-terminated UTF-8 string")]
    Text {
        /// Attribute type.
        kind: u16,
    },
    /// A value that the attribute's type does not allow.
    #[error("attribute {kind} has an invalid value")]
    Value {
        /// Attribute type.
        kind: u16,
    },
    /// A mandatory attribute is not there.
    #[error("attribute {kind} is missing")]
    Missing {
        /// Attribute type.
        kind: u16,
    },
    /// Header and value together exceed the 65,535 bytes that `nla_len` can express.
    #[error("attribute {kind} would be {len} bytes long, more than 65535")]
    TooLong {
        /// Attribute type.
        kind: u16,
        /// Bytes with the header.
        len: usize,
    },
}

/// One attribute, borrowed from the buffer it was received in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr<'a> {
    /// `nla_type` with `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER` masked off.
    pub kind: u16,
    /// The value without header and padding.
    pub value: &'a [u8],
}

impl<'a> Attr<'a> {
    /// The value as exactly `N` bytes.
    #[inline]
    pub fn array<const N: usize>(&self) -> Result<&'a [u8; N], AttrError> {
        self.value.try_into().map_err(|_| self.size_error(N))
    }

    /// The first `N` bytes of the value, for kernel structures that later versions may lengthen.
    pub fn prefix<const N: usize>(&self) -> Result<&'a [u8; N], AttrError> {
        self.value.first_chunk().ok_or_else(|| self.size_error(N))
    }

    /// A fixed structure at the start of the value, which later kernels may lengthen.
    pub fn read<T: FromBytes>(&self) -> Result<T, AttrError> {
        match T::read_from_prefix(self.value) {
            Ok((value, _)) => Ok(value),
            Err(_) => Err(self.size_error(size_of::<T>())),
        }
    }

    /// An 8-bit value.
    #[inline]
    pub fn u8(&self) -> Result<u8, AttrError> {
        Ok(u8::from_ne_bytes(*self.array()?))
    }

    /// A 16-bit value in host byte order.
    #[inline]
    pub fn u16(&self) -> Result<u16, AttrError> {
        Ok(u16::from_ne_bytes(*self.array()?))
    }

    /// A 32-bit value in host byte order.
    #[inline]
    pub fn u32(&self) -> Result<u32, AttrError> {
        Ok(u32::from_ne_bytes(*self.array()?))
    }

    /// A 64-bit value in host byte order (netlink aligns it to 4 bytes only).
    #[inline]
    pub fn u64(&self) -> Result<u64, AttrError> {
        Ok(u64::from_ne_bytes(*self.array()?))
    }

    /// A 16-bit value in network byte order.
    #[inline]
    pub fn be16(&self) -> Result<u16, AttrError> {
        Ok(u16::from_be_bytes(*self.array()?))
    }

    /// A 32-bit value in network byte order.
    #[inline]
    pub fn be32(&self) -> Result<u32, AttrError> {
        Ok(u32::from_be_bytes(*self.array()?))
    }

    /// A 64-bit value in network byte order.
    #[inline]
    pub fn be64(&self) -> Result<u64, AttrError> {
        Ok(u64::from_be_bytes(*self.array()?))
    }

    /// An array of 32-bit values in host byte order.
    pub fn u32s(&self) -> Result<Vec<u32>, AttrError> {
        match self.value.as_chunks() {
            (words, []) => Ok(words.iter().map(|w| u32::from_ne_bytes(*w)).collect()),
            _ => Err(AttrError::Value { kind: self.kind }),
        }
    }

    /// A string up to its first NUL; an error when there is no NUL or it is not UTF-8.
    pub fn str(&self) -> Result<&'a str, AttrError> {
        let text = self.value.split(|&b| b == 0).next().unwrap_or_default();
        if text.len() == self.value.len() {
            return Err(AttrError::Text { kind: self.kind });
        }
        std::str::from_utf8(text).map_err(|_| AttrError::Text { kind: self.kind })
    }

    /// The value as a list of attributes.
    pub fn attrs(&self) -> Attrs<'a> {
        Attrs::new(self.value)
    }

    fn size_error(&self, expected: usize) -> AttrError {
        AttrError::Size { kind: self.kind, expected, got: self.value.len() }
    }
}

/// An attribute that outlives its buffer: one that this crate does not know, kept as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedAttr {
    /// Attribute type.
    pub kind: u16,
    /// The value.
    pub value: Vec<u8>,
}

impl From<Attr<'_>> for OwnedAttr {
    fn from(a: Attr<'_>) -> Self {
        Self { kind: a.kind, value: a.value.to_vec() }
    }
}

/// Walks a list of attributes; ends after the first error.
///
/// The last attribute may lack its padding, as the kernel leaves it out of upcalls when the
/// datapath has `OVS_DP_F_UNALIGNED`.
#[derive(Clone, Debug, Default)]
pub struct Attrs<'a> {
    rest: &'a [u8],
}

impl<'a> Attrs<'a> {
    /// Walks `list`, which begins with an attribute header.
    pub const fn new(list: &'a [u8]) -> Self {
        Self { rest: list }
    }

    /// The attributes not walked yet, still encoded.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Hands each attribute of `list` to `each`, with the bytes of the list that it occupies, padding
    /// included. For walks that want places, and for those that every packet takes: it is cheaper
    /// than the iterator.
    ///
    /// # Errors
    /// As for the iterator, and what `each` fails with, which ends the walk.
    #[inline(always)]
    pub fn each<E: From<AttrError>>(
        list: &'a [u8],
        mut each: impl FnMut(Attr<'a>, Range<usize>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = list;
        while let Some((head, tail)) = rest.split_first_chunk() {
            let (len, kind) = split_head(*head);
            // A length below the header's size wraps round, and is more than there is.
            let len = usize::from(len).wrapping_sub(NLA_HDRLEN);
            let Some(value) = tail.get(..len) else { break };
            let start = list.len() - rest.len();
            rest = tail.get(align4(len)..).unwrap_or_default();
            each(Attr { kind, value }, start..list.len() - rest.len())?;
        }
        match Attrs::new(rest).next() {
            Some(Err(error)) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The attribute that begins at this place of `list`.
    #[inline]
    pub fn at(list: &'a [u8], place: usize) -> Option<Attr<'a>> {
        let (head, tail) = list.get(place..)?.split_first_chunk()?;
        let (len, kind) = split_head(*head);
        Some(Attr { kind, value: tail.get(..usize::from(len).wrapping_sub(NLA_HDRLEN))? })
    }

    /// The first attribute of this kind from here on; errors on the way are reported.
    ///
    /// # Errors
    /// As for the iterator, up to that attribute.
    #[inline]
    pub fn find_kind(self, kind: u16) -> Result<Option<Attr<'a>>, AttrError> {
        let mut rest = self.rest;
        while let Some((head, tail)) = rest.split_first_chunk() {
            let (len, this) = split_head(*head);
            let len = usize::from(len).wrapping_sub(NLA_HDRLEN);
            let Some(value) = tail.get(..len) else { break };
            if this == kind {
                return Ok(Some(Attr { kind, value }));
            }
            rest = tail.get(align4(len)..).unwrap_or_default();
        }
        Attrs::new(rest).next().transpose().map(|_| None)
    }
}

impl<'a> Iterator for Attrs<'a> {
    type Item = Result<Attr<'a>, AttrError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let list = std::mem::take(&mut self.rest);
        if list.is_empty() {
            return None;
        }
        let Some(&[l0, l1, k0, k1]) = list.first_chunk() else {
            return Some(Err(AttrError::Trailing { left: list.len() }));
        };
        let len = u16::from_ne_bytes([l0, l1]);
        let kind = u16::from_ne_bytes([k0, k1]) & KIND_MASK;
        let Some(value) = list.get(NLA_HDRLEN..usize::from(len)) else {
            return Some(Err(AttrError::Length { kind, len, left: list.len() }));
        };
        self.rest = list.get(align4(usize::from(len))..).unwrap_or_default();
        Some(Ok(Attr { kind, value }))
    }
}

/// Length and type in a header. Read as one number, for compilers make four loads of four bytes.
#[inline(always)]
fn split_head(head: [u8; NLA_HDRLEN]) -> (u16, u16) {
    let [low, high] = [0, 16].map(|shift| (u32::from_ne_bytes(head) >> shift) as u16);
    let (len, kind) = if cfg!(target_endian = "little") { (low, high) } else { (high, low) };
    (len, kind & KIND_MASK)
}

/// A nested attribute begun with [`AttrWriter::begin`] and not yet ended; nests end in the reverse
/// order of their beginning.
#[derive(Debug)]
#[must_use = "a nest that is not ended has no length"]
pub struct Nest {
    start: usize,
}

/// Appends attributes to a `Vec<u8>` that the caller reuses. Everything is 4-byte aligned relative
/// to where the writer began, padding is zeroed.
///
/// An attribute that is too long for its 16-bit length is left out; from then on [`Self::end`] and
/// [`Self::finish`] return that first error, so a caller checks once.
#[derive(Debug)]
pub struct AttrWriter<'b> {
    buf: &'b mut Vec<u8>,
    error: Option<AttrError>,
}

impl<'b> AttrWriter<'b> {
    /// Appends behind what `buf` already holds (whole messages or attributes, so a multiple of 4).
    pub fn new(buf: &'b mut Vec<u8>) -> Self {
        debug_assert!(buf.len().is_multiple_of(4), "attributes begin on a multiple of 4");
        Self { buf, error: None }
    }

    /// An 8-bit value.
    #[inline]
    pub fn u8(&mut self, kind: u16, v: u8) {
        self.bytes(kind, &[v]);
    }

    /// A 16-bit value in host byte order.
    #[inline]
    pub fn u16(&mut self, kind: u16, v: u16) {
        self.bytes(kind, &v.to_ne_bytes());
    }

    /// A 32-bit value in host byte order.
    #[inline]
    pub fn u32(&mut self, kind: u16, v: u32) {
        self.bytes(kind, &v.to_ne_bytes());
    }

    /// A 64-bit value in host byte order.
    #[inline]
    pub fn u64(&mut self, kind: u16, v: u64) {
        self.bytes(kind, &v.to_ne_bytes());
    }

    /// A 16-bit value in network byte order.
    #[inline]
    pub fn be16(&mut self, kind: u16, v: u16) {
        self.bytes(kind, &v.to_be_bytes());
    }

    /// A 32-bit value in network byte order.
    #[inline]
    pub fn be32(&mut self, kind: u16, v: u32) {
        self.bytes(kind, &v.to_be_bytes());
    }

    /// A 64-bit value in network byte order.
    #[inline]
    pub fn be64(&mut self, kind: u16, v: u64) {
        self.bytes(kind, &v.to_be_bytes());
    }

    /// Any bytes.
    #[inline]
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        // The sizes of most attributes are appended in one piece, which is several times cheaper.
        match *value {
            [a] => self.piece(kind, 1, [a, 0, 0, 0]),
            [a, b] => self.piece(kind, 2, [a, b, 0, 0]),
            [a, b, c, d] => self.piece(kind, 4, [a, b, c, d]),
            _ => match value.try_into() {
                Ok(value) => self.piece_of_12(kind, value),
                Err(_) => self.long(kind, value),
            },
        }
    }

    /// An attribute of up to 4 bytes, padded.
    #[inline]
    fn piece(&mut self, kind: u16, value_len: u16, [a, b, c, d]: [u8; 4]) {
        let [l0, l1] = (NLA_HDRLEN as u16 + value_len).to_ne_bytes();
        let [k0, k1] = kind.to_ne_bytes();
        self.buf.extend_from_slice(&[l0, l1, k0, k1, a, b, c, d]);
    }

    #[inline]
    fn piece_of_12(&mut self, kind: u16, value: &[u8; 12]) {
        let [l0, l1] = (NLA_HDRLEN as u16 + 12).to_ne_bytes();
        let [k0, k1] = kind.to_ne_bytes();
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *value;
        self.buf.extend_from_slice(&[l0, l1, k0, k1, a, b, c, d, e, f, g, h, i, j, k, l]);
    }

    #[inline]
    fn long(&mut self, kind: u16, value: &[u8]) {
        let end = self.buf.len() + align4(NLA_HDRLEN + value.len());
        if self.header(kind, value.len()) {
            self.buf.extend_from_slice(value);
            if self.buf.len() != end {
                self.buf.resize(end, 0);
            }
        }
    }

    /// A string; the terminating NUL is added.
    pub fn str(&mut self, kind: u16, value: &str) {
        if self.header(kind, value.len() + 1) {
            self.buf.extend_from_slice(value.as_bytes());
            self.buf.push(0);
            self.pad();
        }
    }

    /// An attribute without a value.
    pub fn flag(&mut self, kind: u16) {
        self.bytes(kind, &[]);
    }

    /// An array of 32-bit values in host byte order.
    pub fn u32s(&mut self, kind: u16, values: &[u32]) {
        if self.header(kind, size_of_val(values)) {
            values.iter().for_each(|v| self.buf.extend_from_slice(&v.to_ne_bytes()));
        }
    }

    /// Attributes that are encoded already, padding included.
    #[inline]
    pub fn raw(&mut self, encoded: &[u8]) {
        self.buf.extend_from_slice(encoded);
        self.pad();
    }

    /// Begins a nested attribute. The type is written as given: the OVS families neither send nor
    /// need [`NLA_F_NESTED`]; for a family that does, pass `kind | NLA_F_NESTED`.
    pub fn begin(&mut self, kind: u16) -> Nest {
        let start = self.buf.len();
        let [k0, k1] = kind.to_ne_bytes();
        self.buf.extend_from_slice(&[0, 0, k0, k1]);
        Nest { start }
    }

    /// Ends a nested attribute by filling in its length.
    ///
    /// # Errors
    /// [`AttrError::TooLong`] when it, or an attribute written before, exceeds 65,535 bytes; a nest
    /// that is too long is removed again.
    pub fn end(&mut self, nest: Nest) -> Result<(), AttrError> {
        let len = self.buf.len().saturating_sub(nest.start);
        let Some([l0, l1, k0, k1, ..]) = self.buf.get_mut(nest.start..) else {
            // Not reachable through this API: a nest never outlives the bytes it began with.
            return Err(self.fail(AttrError::Trailing { left: len }));
        };
        match u16::try_from(len) {
            Ok(short) => [*l0, *l1] = short.to_ne_bytes(),
            Err(_) => {
                let kind = u16::from_ne_bytes([*k0, *k1]) & KIND_MASK;
                self.buf.truncate(nest.start);
                return Err(self.fail(AttrError::TooLong { kind, len }));
            }
        }
        self.error.map_or(Ok(()), Err)
    }

    /// Bytes in the buffer, those from before this writer included: a position for
    /// [`Self::truncate`].
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Whether the buffer is empty.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Takes back everything after `len`, a position from [`Self::len`] with no nest begun since
    /// still open. The first error is kept.
    pub fn truncate(&mut self, len: usize) {
        self.buf.truncate(len);
    }

    /// Whether everything was written.
    ///
    /// # Errors
    /// The first [`AttrError::TooLong`].
    pub fn finish(&self) -> Result<(), AttrError> {
        self.error.map_or(Ok(()), Err)
    }

    /// Appends an attribute header; false when the value does not fit.
    #[inline]
    fn header(&mut self, kind: u16, value_len: usize) -> bool {
        let len = NLA_HDRLEN + value_len;
        let Ok(short) = u16::try_from(len) else {
            self.fail(AttrError::TooLong { kind: kind & KIND_MASK, len });
            return false;
        };
        let ([l0, l1], [k0, k1]) = (short.to_ne_bytes(), kind.to_ne_bytes());
        self.buf.reserve(align4(len));
        self.buf.extend_from_slice(&[l0, l1, k0, k1]);
        true
    }

    #[inline]
    fn pad(&mut self) {
        let missing = align4(self.buf.len()) - self.buf.len();
        if let Some(zeros) = [0; 3].get(..missing).filter(|zeros| !zeros.is_empty()) {
            self.buf.extend_from_slice(zeros);
        }
    }

    fn fail(&mut self, error: AttrError) -> AttrError {
        *self.error.get_or_insert(error)
    }

    /// The whole buffer, for the layer that patches message lengths.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        self.buf
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A nested list as data: what the property tests write and read back.
    #[derive(Clone, Debug, PartialEq)]
    enum Tree {
        Leaf(u16, Vec<u8>),
        Nest(u16, Vec<Tree>),
    }

    fn write(w: &mut AttrWriter<'_>, trees: &[Tree]) -> Result<(), AttrError> {
        for tree in trees {
            match tree {
                Tree::Leaf(kind, value) => w.bytes(*kind, value),
                Tree::Nest(kind, inner) => {
                    let nest = w.begin(*kind);
                    write(w, inner)?;
                    w.end(nest)?;
                }
            }
        }
        w.finish()
    }

    fn read(attrs: Attrs<'_>, like: &[Tree]) -> Vec<Tree> {
        attrs
            .zip(like)
            .map(|(a, like)| match (a.unwrap(), like) {
                (a, Tree::Leaf(..)) => Tree::Leaf(a.kind, a.value.to_vec()),
                (a, Tree::Nest(_, inner)) => Tree::Nest(a.kind, read(a.attrs(), inner)),
            })
            .collect()
    }

    fn trees() -> impl Strategy<Value = Vec<Tree>> {
        let leaf = (0u16..0x4000, proptest::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(k, v)| Tree::Leaf(k, v));
        let tree = leaf.prop_recursive(4, 40, 6, |inner| {
            (0u16..0x4000, proptest::collection::vec(inner, 0..6))
                .prop_map(|(k, v)| Tree::Nest(k, v))
        });
        proptest::collection::vec(tree, 0..6)
    }

    proptest! {
        #[test]
        fn walking_any_bytes_ends_and_stays_inside(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut sum = 0;
            for a in Attrs::new(&bytes) {
                let Ok(a) = a else { break };
                sum += NLA_HDRLEN + a.value.len();
                let _ = (a.u8(), a.u16(), a.u32(), a.u64(), a.be16(), a.be32(), a.be64(), a.str());
                let _ = (a.array::<7>(), a.prefix::<7>(), a.attrs().count());
            }
            prop_assert!(sum <= bytes.len());
        }

        #[test]
        fn the_two_walks_are_one(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut each = Vec::new();
            let mut places = Vec::new();
            let end = Attrs::each(&bytes, |attr, place| {
                places.push((attr, place));
                each.push(Ok(attr));
                Ok::<_, AttrError>(())
            });
            each.extend(end.err().map(Err));
            for (attr, place) in places {
                prop_assert_eq!(Attrs::at(&bytes, place.start), Some(attr));
                prop_assert!(place.end <= bytes.len() && place.len() >= attr.value.len() + NLA_HDRLEN);
            }
            prop_assert_eq!(each, Attrs::new(&bytes).collect::<Vec<_>>());
        }

        #[test]
        fn what_was_written_is_read_back(trees in trees()) {
            let mut buf = Vec::new();
            write(&mut AttrWriter::new(&mut buf), &trees).unwrap();
            prop_assert!(buf.len().is_multiple_of(4));
            prop_assert_eq!(read(Attrs::new(&buf), &trees), trees);
        }
    }

    // The same list as libnl's `nla_put_*` lays it out on a little-endian machine.
    #[test]
    #[cfg(target_endian = "little")]
    fn layout_is_the_kernels() {
        let mut buf = Vec::new();
        let mut w = AttrWriter::new(&mut buf);
        w.str(1, "br0");
        w.u8(2, 0xab);
        let nest = w.begin(3);
        w.be16(4, 0x0800);
        w.u64(5, 1);
        w.end(nest).unwrap();
        w.flag(6);
        w.finish().unwrap();
        assert_eq!(
            buf,
            [
                8, 0, 1, 0, b'b', b'r', b'0', 0, // name
                5, 0, 2, 0, 0xab, 0, 0, 0, // u8, three bytes of padding
                24, 0, 3, 0, // nest
                6, 0, 4, 0, 8, 0, 0, 0, // be16
                12, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, // u64
                4, 0, 6, 0, // flag
            ]
        );
    }

    #[test]
    fn flags_are_masked_off_the_kind() {
        let kind = (NLA_F_NESTED | NLA_F_NET_BYTEORDER | 9).to_ne_bytes();
        let list = [4u16.to_ne_bytes(), kind].concat();
        assert_eq!(Attrs::new(&list).next(), Some(Ok(Attr { kind: 9, value: &[] })));
    }

    #[test]
    fn the_last_attribute_may_lack_padding() {
        let mut list = Vec::new();
        AttrWriter::new(&mut list).bytes(1, &[1, 2, 3, 4, 5]);
        list.truncate(9);
        let mut attrs = Attrs::new(&list);
        assert_eq!(attrs.next(), Some(Ok(Attr { kind: 1, value: &[1, 2, 3, 4, 5] })));
        assert_eq!(attrs.next(), None);
    }

    #[test]
    fn a_walk_ends_after_its_first_error() {
        for (list, error) in [
            (&[0u8, 0, 7, 0, 4, 0, 1, 0][..], AttrError::Length { kind: 7, len: 0, left: 8 }),
            (&[3, 0, 7, 0], AttrError::Length { kind: 7, len: 3, left: 4 }),
            (&[9, 0, 7, 0, 1, 2, 3, 4], AttrError::Length { kind: 7, len: 9, left: 8 }),
            (&[5, 0, 7], AttrError::Trailing { left: 3 }),
        ] {
            if cfg!(target_endian = "little") {
                let all: Vec<_> = Attrs::new(list).collect();
                assert_eq!(all, [Err(error)]);
            }
        }
    }

    #[test]
    fn sizes_are_exact() {
        let a = Attr { kind: 4, value: &[0, 0, 1] };
        assert_eq!(a.u16(), Err(AttrError::Size { kind: 4, expected: 2, got: 3 }));
        assert_eq!(a.be32(), Err(AttrError::Size { kind: 4, expected: 4, got: 3 }));
        assert_eq!(a.prefix::<2>(), Ok(&[0, 0]));
        assert!(a.prefix::<4>().is_err());
    }

    #[test]
    fn strings_need_their_nul_and_end_at_the_first() {
        let text = |value| Attr { kind: 1, value }.str();
        assert_eq!(text(b"eth0\0"), Ok("eth0"));
        assert_eq!(text(b"eth0\0\0junk"), Ok("eth0"));
        assert_eq!(text(b"\0"), Ok(""));
        for bad in [&b"eth0"[..], b"", b"\xff\0"] {
            assert_eq!(text(bad), Err(AttrError::Text { kind: 1 }));
        }
    }

    #[test]
    fn an_oversized_nest_is_an_error_and_is_taken_back() {
        let mut buf = Vec::new();
        let mut w = AttrWriter::new(&mut buf);
        w.u32(1, 1);
        let outer = w.begin(2);
        let inner = w.begin(3);
        for _ in 0..10_000 {
            w.u32(4, 4);
        }
        let error = AttrError::TooLong { kind: 3, len: 80_004 };
        assert_eq!(w.end(inner), Err(error));
        assert_eq!(w.end(outer), Err(error), "the outer nest is incomplete");
        assert_eq!(w.finish(), Err(error));
        let kinds: Vec<_> = Attrs::new(&buf).map(|a| a.map(|a| a.kind)).collect();
        assert_eq!(kinds, [Ok(1), Ok(2)]);
    }

    #[test]
    fn an_oversized_value_is_an_error_and_left_out() {
        let mut buf = Vec::new();
        let mut w = AttrWriter::new(&mut buf);
        w.bytes(1, &[0; 65_531]);
        assert_eq!(w.finish(), Ok(()));
        w.bytes(2, &[0; 65_532]);
        w.u8(3, 0);
        assert_eq!(w.finish(), Err(AttrError::TooLong { kind: 2, len: 65_536 }));
        assert_eq!(Attrs::new(&buf).filter(|a| matches!(a, Ok(a) if a.kind == 2)).count(), 0);
        assert_eq!(Attrs::new(&buf).count(), 2);
    }

    #[test]
    fn find_kind_reports_errors_before_it() {
        let mut buf = Vec::new();
        let mut w = AttrWriter::new(&mut buf);
        w.u8(1, 1);
        w.u8(2, 2);
        assert_eq!(Attrs::new(&buf).find_kind(2).unwrap().unwrap().u8(), Ok(2));
        assert_eq!(Attrs::new(&buf).find_kind(3), Ok(None));
        buf.push(0);
        assert_eq!(Attrs::new(&buf).find_kind(3), Err(AttrError::Trailing { left: 1 }));
    }
}
