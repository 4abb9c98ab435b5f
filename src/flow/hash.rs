//! The hashes over packets whose values show: they choose bond members, group buckets and multipath
//! links, so a restart or an exchange of the daemon must not change them.
//!
//! They equal the peer's on a machine of the same byte order (its build without SSE 4.2, as distributions
//! ship it). Anyone can compute them; for tables use [`mini`](super::mini)'s seeded ones. Pure functions:
//! any thread.

use std::fmt;

use zerocopy::IntoBytes;

use super::field::Prereq;
use super::{EthAddr, Flow, FlowWildcards, VLAN_CFI, VLAN_VID_MASK};
use crate::packet::{ether_type, ip_proto};

/// Which fields an action hashes, with their numbers on the wire (NX_HASH_FIELDS_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum HashFields {
    /// Ethernet source.
    EthSrc = 0,
    /// Both directions alike: Ethernet, VLAN, IP and TCP or SCTP.
    SymmetricL4 = 1,
    /// Both directions alike: IP and TCP or SCTP; of other packets Ethernet and VLAN.
    SymmetricL3L4 = 2,
    /// Like `SymmetricL3L4`, UDP as well.
    SymmetricL3L4Udp = 3,
    /// IP source.
    NwSrc = 4,
    /// IP destination.
    NwDst = 5,
    /// Both directions alike: IP.
    SymmetricL3 = 6,
}

impl HashFields {
    /// All, by number.
    pub const ALL: [Self; 7] = [
        Self::EthSrc,
        Self::SymmetricL4,
        Self::SymmetricL3L4,
        Self::SymmetricL3L4Udp,
        Self::NwSrc,
        Self::NwDst,
        Self::SymmetricL3,
    ];

    /// The one with that number on the wire.
    pub fn from_wire(number: u16) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The one of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fields| fields.name() == name)
    }

    /// Name in text.
    pub fn name(self) -> &'static str {
        match self {
            Self::EthSrc => "eth_src",
            Self::SymmetricL4 => "symmetric_l4",
            Self::SymmetricL3L4 => "symmetric_l3l4",
            Self::SymmetricL3L4Udp => "symmetric_l3l4+udp",
            Self::NwSrc => "nw_src",
            Self::NwDst => "nw_dst",
            Self::SymmetricL3 => "symmetric_l3",
        }
    }

    /// The hash of a packet.
    pub fn hash(self, flow: &Flow, basis: u16) -> u32 {
        let basis = u32::from(basis);
        match (self, flow.dl_type.get()) {
            (Self::EthSrc, _) => jhash_bytes(&flow.dl_src.0, basis),
            (Self::SymmetricL4, _) => symmetric_l4(flow, basis),
            (Self::SymmetricL3L4, _) => symmetric_l3l4(flow, basis, false),
            (Self::SymmetricL3L4Udp, _) => symmetric_l3l4(flow, basis, true),
            (Self::SymmetricL3, _) => symmetric_l3(flow, basis),
            (Self::NwSrc, ether_type::IPV4) => jhash_bytes(&flow.nw_src, basis),
            (Self::NwDst, ether_type::IPV4) => jhash_bytes(&flow.nw_dst, basis),
            (Self::NwSrc, ether_type::IPV6) => jhash_bytes(&flow.ipv6_src, basis),
            (Self::NwDst, ether_type::IPV6) => jhash_bytes(&flow.ipv6_dst, basis),
            (Self::NwSrc | Self::NwDst, _) => basis,
        }
    }

    /// Makes the bits significant that [`hash`](Self::hash) reads.
    pub fn unwildcard(self, flow: &Flow, wildcards: &mut FlowWildcards) {
        let ip = Prereq::IpAny.holds(flow);
        let whole = flow.nw_frag == 0;
        let masks = &mut wildcards.masks;
        let (src, dst, both) = match self {
            Self::EthSrc => {
                masks.dl_src = EthAddr::BROADCAST;
                return;
            }
            Self::NwSrc => (true, false, false),
            Self::NwDst => (false, true, false),
            _ => (true, true, true),
        };
        match flow.dl_type.get() {
            ether_type::IPV4 => {
                masks.nw_src = if src { [0xff; 4] } else { masks.nw_src };
                masks.nw_dst = if dst { [0xff; 4] } else { masks.nw_dst };
            }
            ether_type::IPV6 => {
                masks.ipv6_src = if src { [0xff; 16] } else { masks.ipv6_src };
                masks.ipv6_dst = if dst { [0xff; 16] } else { masks.ipv6_dst };
            }
            // What is neither hashes by its link layer.
            _ if both && matches!(self, Self::SymmetricL3L4 | Self::SymmetricL3L4Udp) => {
                link_layer(masks);
                masks.packet_type = u32::MAX.into();
            }
            _ => {}
        }
        let ports = match self {
            Self::SymmetricL4 => {
                link_layer(masks);
                matches!(flow.nw_proto, ip_proto::TCP | ip_proto::SCTP)
            }
            Self::SymmetricL3L4 => whole && matches!(flow.nw_proto, ip_proto::TCP | ip_proto::SCTP),
            Self::SymmetricL3L4Udp => {
                let proto = flow.nw_proto;
                whole && matches!(proto, ip_proto::TCP | ip_proto::SCTP | ip_proto::UDP)
            }
            _ => return,
        };
        if ip {
            masks.nw_proto = u8::MAX;
            if self != Self::SymmetricL4 {
                masks.nw_frag |= super::FLOW_NW_FRAG_ANY | super::FLOW_NW_FRAG_LATER;
            }
            if ports {
                masks.tp_src = u16::MAX.into();
                masks.tp_dst = u16::MAX.into();
            }
        }
    }
}

impl fmt::Display for HashFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn link_layer(masks: &mut Flow) {
    masks.dl_src = EthAddr::BROADCAST;
    masks.dl_dst = EthAddr::BROADCAST;
    for vlan in &mut masks.vlans {
        vlan.tci |= VLAN_VID_MASK | VLAN_CFI;
    }
}

/// Hash over addresses, protocol and ports of an IP or ARP packet: how a bond in balance-tcp mode chose
/// its member before recirculation, and select groups by default.
pub fn five_tuple(flow: &Flow, basis: u32) -> u32 {
    let mut hash = basis;
    match flow.dl_type.get() {
        ether_type::IPV6 => {
            hash = add_bytes(hash, &flow.ipv6_src);
            hash = add_bytes(hash, &flow.ipv6_dst);
        }
        ether_type::IPV4 | ether_type::ARP => {
            hash = add(hash, word(flow.nw_src));
            hash = add(hash, word(flow.nw_dst));
        }
        _ => return finish(hash, 42),
    }
    hash = add(hash, flow.nw_proto.into());
    use ip_proto::*;
    if matches!(flow.nw_proto, TCP | UDP | SCTP | ICMP | ICMPV6) {
        let [a, b] = flow.tp_src.to_bytes();
        let [c, d] = flow.tp_dst.to_bytes();
        hash = add(hash, word([a, b, c, d]));
    }
    finish(hash, 42)
}

/// Hash over link, network and transport layer, the same for both directions. UDP ports do not count: they
/// need not be the same both ways.
pub fn symmetric_l4(flow: &Flow, basis: u32) -> u32 {
    let mut fields = [0u8; 32];
    fields[..16].copy_from_slice(&ip_difference(flow));
    fields[16..18].copy_from_slice(flow.dl_type.as_bytes());
    fields[18..20].copy_from_slice(&vlan_difference(flow));
    if flow.is_ip_any() {
        if matches!(flow.nw_proto, ip_proto::TCP | ip_proto::SCTP) {
            fields[20..22].copy_from_slice(&port_difference(flow));
        }
        fields[28] = flow.nw_proto;
    }
    fields[22..28].copy_from_slice(&eth_difference(flow));
    jhash_bytes(&fields, basis)
}

/// Hash over network and transport layer, the same for both directions; over the link layer where there is no
/// IP.
pub fn symmetric_l3l4(flow: &Flow, basis: u32, with_udp: bool) -> u32 {
    let mut hash = basis;
    let addresses = ip_difference(flow);
    match flow.dl_type.get() {
        ether_type::IPV4 => hash = add_bytes(hash, &addresses[..4]),
        ether_type::IPV6 => hash = add_bytes(hash, &addresses),
        _ => return symmetric_l2(flow, basis),
    }
    hash = add(hash, flow.nw_proto.into());
    let counts = match flow.nw_proto {
        ip_proto::TCP | ip_proto::SCTP => true,
        ip_proto::UDP => with_udp,
        _ => false,
    };
    if flow.nw_frag & 3 == 0 && counts {
        hash = add(hash, u16::from_ne_bytes(port_difference(flow)).into());
    }
    finish(hash, basis)
}

/// Hash over the link layer, the same for both directions; 0 for packets without Ethernet.
pub fn symmetric_l2(flow: &Flow, basis: u32) -> u32 {
    if !flow.is_ethernet() {
        return 0;
    }
    let mut fields = [0u8; 12];
    fields[..2].copy_from_slice(flow.dl_type.as_bytes());
    fields[2..4].copy_from_slice(&vlan_difference(flow));
    fields[4..10].copy_from_slice(&eth_difference(flow));
    finish(add_bytes(basis, &fields), basis)
}

/// Hash over IP addresses, the same for both directions.
pub fn symmetric_l3(flow: &Flow, basis: u32) -> u32 {
    let mut fields = [0u8; 20];
    fields[..16].copy_from_slice(&ip_difference(flow));
    fields[16..18].copy_from_slice(flow.dl_type.as_bytes());
    jhash_bytes(&fields, basis)
}

/// Jenkins' hash of bytes.
pub fn jhash_bytes(bytes: &[u8], basis: u32) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(bytes.len() as u32).wrapping_add(basis);
    let mut state = [start; 3];
    let mut chunks = bytes.chunks_exact(12);
    for chunk in &mut chunks {
        add_words(&mut state, chunk);
        jhash_mix(&mut state);
    }
    if !chunks.remainder().is_empty() {
        add_words(&mut state, chunks.remainder());
        jhash_final(&mut state);
    }
    state[2]
}

/// Murmur hash of bytes.
pub fn hash_bytes(bytes: &[u8], basis: u32) -> u32 {
    finish(add_bytes(basis, bytes), bytes.len() as u32)
}

/// Murmur hash of two words.
pub fn hash_2words(x: u32, y: u32) -> u32 {
    finish(add(add(x, 0), y), 8)
}

/// Murmur hash of three words.
pub fn hash_3words(a: u32, b: u32, c: u32) -> u32 {
    finish(add(add(add(a, 0), b), c), 12)
}

/// Murmur hash of one word.
pub fn hash_int(x: u32, basis: u32) -> u32 {
    hash_2words(x, basis)
}

/// Adds a word to a running Murmur hash.
pub fn add(hash: u32, word: u32) -> u32 {
    let word = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    (hash ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
}

/// Ends a running Murmur hash.
pub fn finish(hash: u32, last: u32) -> u32 {
    let hash = hash ^ last;
    let hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    let hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

/// Adds bytes to a running Murmur hash, the last word filled with zeros.
fn add_bytes(hash: u32, bytes: &[u8]) -> u32 {
    bytes.chunks(4).fold(hash, |hash, chunk| add(hash, filled(chunk)))
}

fn word(bytes: [u8; 4]) -> u32 {
    u32::from_ne_bytes(bytes)
}

/// A word of up to four bytes.
fn filled(chunk: &[u8]) -> u32 {
    let mut bytes = [0; 4];
    for (to, from) in bytes.iter_mut().zip(chunk) {
        *to = *from;
    }
    word(bytes)
}

fn add_words(state: &mut [u32; 3], bytes: &[u8]) {
    for (word, chunk) in state.iter_mut().zip(bytes.chunks(4)) {
        *word = word.wrapping_add(filled(chunk));
    }
}

fn jhash_mix([a, b, c]: &mut [u32; 3]) {
    fn step(x: &mut u32, y: &mut u32, z: u32, rotate: u32, other: u32) {
        *x = x.wrapping_sub(z) ^ z.rotate_left(rotate);
        *y = z.wrapping_add(other);
    }
    let mut old = *c;
    step(a, c, old, 4, *b);
    old = *a;
    step(b, a, old, 6, *c);
    old = *b;
    step(c, b, old, 8, *a);
    old = *c;
    step(a, c, old, 16, *b);
    old = *a;
    step(b, a, old, 19, *c);
    old = *b;
    step(c, b, old, 4, *a);
}

fn jhash_final([a, b, c]: &mut [u32; 3]) {
    fn step(x: &mut u32, y: u32, rotate: u32) {
        *x = (*x ^ y).wrapping_sub(y.rotate_left(rotate));
    }
    step(c, *b, 14);
    step(a, *c, 11);
    step(b, *a, 25);
    step(c, *b, 16);
    step(a, *c, 4);
    step(b, *a, 14);
    step(c, *b, 24);
}

/// The addresses' difference; of IPv4 in the first four bytes, zero without IP.
fn ip_difference(flow: &Flow) -> [u8; 16] {
    let mut difference = [0; 16];
    match flow.dl_type.get() {
        ether_type::IPV4 => {
            let pairs = flow.nw_src.into_iter().zip(flow.nw_dst);
            difference.iter_mut().zip(pairs).for_each(|(d, (a, b))| *d = a ^ b);
        }
        ether_type::IPV6 => {
            let (a, b) = (u128::from_ne_bytes(flow.ipv6_src), u128::from_ne_bytes(flow.ipv6_dst));
            difference = (a ^ b).to_ne_bytes();
        }
        _ => {}
    }
    difference
}

fn eth_difference(flow: &Flow) -> [u8; 6] {
    EthAddr::from_u64(flow.dl_src.to_u64() ^ flow.dl_dst.to_u64()).0
}

fn vlan_difference(flow: &Flow) -> [u8; 2] {
    flow.vlans.iter().fold(0, |vid, vlan| vid ^ vlan.tci.get() & VLAN_VID_MASK).to_be_bytes()
}

fn port_difference(flow: &Flow) -> [u8; 2] {
    (flow.tp_src.get() ^ flow.tp_dst.get()).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{FLOW_WORDS, SEGMENT_ENDS};

    /// Each line: basis, the flow, and the low 16 bits of the hashes in the order of their numbers, as the
    /// peer (3.1.0) loaded them into a register with `multipath(…,modulo_n,65536,0,reg0)` in a trace.
    const PEER: &str = include_str!("hash.txt");

    #[test]
    fn agree_with_the_peer() {
        for line in PEER.lines().filter(|line| !line.starts_with('#')) {
            let (basis, rest) = line.split_once(' ').unwrap();
            let (text, expected) = rest.split_once(' ').unwrap();
            let flow = Flow::parse(text, None).unwrap();
            let expected = expected.split(' ');
            for (fields, expected) in HashFields::ALL.into_iter().zip(expected) {
                let hash = fields.hash(&flow, basis.parse().unwrap()) & 0xffff;
                assert_eq!(format!("{hash:x}"), expected, "{fields} of {text}");
            }
        }
    }

    #[test]
    fn every_bit_read_is_significant() {
        for line in PEER.lines().filter(|line| line.starts_with("0 ")) {
            let text = line.split(' ').nth(1).unwrap();
            let flow = Flow::parse(text, None).unwrap();
            for fields in HashFields::ALL {
                let mut wildcards = FlowWildcards::CATCHALL;
                wildcards.masks.dl_type = u16::MAX.into();
                fields.unwildcard(&flow, &mut wildcards);
                let hash = fields.hash(&flow, 1);
                for i in SEGMENT_ENDS[0] * 64..FLOW_WORDS * 64 {
                    let mut other = flow;
                    other.words_mut()[i / 64] ^= 1 << (i % 64);
                    let insignificant = wildcards.equal_except(&flow, &other);
                    assert!(!insignificant || fields.hash(&other, 1) == hash, "{fields} of {text}");
                }
            }
        }
    }

    #[test]
    fn names_and_numbers() {
        for (i, fields) in HashFields::ALL.into_iter().enumerate() {
            assert_eq!(HashFields::from_wire(i as u16), Some(fields));
            assert_eq!(HashFields::by_name(fields.name()), Some(fields));
        }
        assert_eq!(HashFields::from_wire(7), None);
    }
}
