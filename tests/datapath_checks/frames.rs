//! Frames of every shape that a flow key distinguishes, built by hand, and flow keys for them.

/// Ethernet addresses of the frames: from `SRC` to `DST`.
pub const SRC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];
pub const DST: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0b];

/// A frame with these tags (TPID, TCI) in front of the type.
pub fn ethernet(tags: &[(u16, u16)], ty: u16, payload: &[u8]) -> Vec<u8> {
    let mut f = [DST, SRC].concat();
    for (tpid, tci) in tags {
        f.extend_from_slice(&tpid.to_be_bytes());
        f.extend_from_slice(&tci.to_be_bytes());
    }
    f.extend_from_slice(&ty.to_be_bytes());
    f.extend_from_slice(payload);
    f
}

/// An IPv4 packet from 10.0.0.1 to 10.0.0.2; `fragment` is the word with flags and offset.
pub fn ipv4(proto: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + payload.len()).unwrap();
    let mut p = vec![0x45, 0x10];
    p.extend_from_slice(&len.to_be_bytes());
    p.extend_from_slice(&[0, 1]);
    p.extend_from_slice(&fragment.to_be_bytes());
    p.extend_from_slice(&[64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let sum = checksum(&p);
    p[10..12].copy_from_slice(&sum.to_be_bytes());
    p.extend_from_slice(payload);
    p
}

/// An IPv6 packet from fd00::1 to fd00::2, traffic class 0x12, label 0x34567.
pub fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap();
    let mut p = vec![0x61, 0x23, 0x45, 0x67];
    p.extend_from_slice(&len.to_be_bytes());
    p.extend_from_slice(&[next, 33]);
    for last in [1, 2] {
        p.extend_from_slice(&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    p.extend_from_slice(payload);
    p
}

/// A UDP datagram without a checksum.
pub fn udp(src: u16, dst: u16, payload: &[u8]) -> Vec<u8> {
    let mut p = [src.to_be_bytes(), dst.to_be_bytes()].concat();
    p.extend_from_slice(&u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
    p.extend_from_slice(&[0, 0]);
    p.extend_from_slice(payload);
    p
}

/// A bare TCP header with the twelve flag bits.
pub fn tcp(src: u16, dst: u16, flags: u16) -> Vec<u8> {
    let mut p = [src.to_be_bytes(), dst.to_be_bytes()].concat();
    p.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0]);
    p.extend_from_slice(&(0x5000 | flags).to_be_bytes());
    p.extend_from_slice(&[0x10, 0, 0, 0, 0, 0]);
    p
}

/// An ARP packet for Ethernet and IPv4.
pub fn arp(operation: u16) -> Vec<u8> {
    let mut p = vec![0, 1, 8, 0, 6, 4];
    p.extend_from_slice(&operation.to_be_bytes());
    p.extend_from_slice(&SRC);
    p.extend_from_slice(&[10, 0, 0, 1]);
    p.extend_from_slice(&[0; 6]);
    p.extend_from_slice(&[10, 0, 0, 2]);
    p
}

/// A neighbour solicitation with the source's link-layer address.
pub fn neighbour_solicitation() -> Vec<u8> {
    let mut p = vec![135, 0, 0, 0, 0, 0, 0, 0];
    p.extend_from_slice(&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    p.extend_from_slice(&[1, 1]);
    p.extend_from_slice(&SRC);
    p
}

/// A plain UDP frame over IPv4.
pub fn udp_frame(dst: u16) -> Vec<u8> {
    ethernet(&[], 0x0800, &ipv4(17, 0, &udp(1000, dst, b"payload that pads to sixty bytes")))
}

/// Every shape, by name. None is shorter than 60 bytes unless that is the point.
pub fn shapes() -> Vec<(&'static str, Vec<u8>)> {
    let pad = |mut f: Vec<u8>| {
        f.resize(f.len().max(60), 0);
        f
    };
    let v4 = |proto, fragment, l4: &[u8]| pad(ethernet(&[], 0x0800, &ipv4(proto, fragment, l4)));
    let v6 = |next, l4: &[u8]| pad(ethernet(&[], 0x86dd, &ipv6(next, l4)));
    let mut sctp = [1000u16.to_be_bytes(), 53u16.to_be_bytes()].concat();
    sctp.extend_from_slice(&[0; 12]);
    let fragment_header = [17, 0, 0, 1, 0, 0, 0, 9];
    let later_header = [17, 0, 1, 0, 0, 0, 0, 9];
    let hop_by_hop = [17, 0, 1, 4, 0, 0, 0, 0];
    vec![
        ("arp request", pad(ethernet(&[], 0x0806, &arp(1)))),
        ("arp of an unknown operation", pad(ethernet(&[], 0x0806, &arp(0x101)))),
        ("rarp", pad(ethernet(&[], 0x8035, &arp(3)))),
        ("icmp", v4(1, 0, &[8, 0, 0, 0, 0, 1, 0, 1])),
        ("tcp syn", v4(6, 0, &tcp(1000, 80, 0x002))),
        ("tcp with ecn nonce", v4(6, 0, &tcp(1000, 80, 0x112))),
        ("tcp header cut", v4(6, 0, &tcp(1000, 80, 2)[..10])),
        ("udp", udp_frame(53)),
        ("sctp", v4(132, 0, &sctp)),
        ("igmp", v4(2, 0, &[0x11, 0, 0, 0, 0, 0, 0, 0])),
        ("first fragment", v4(17, 0x2000, &udp(1, 2, &[0; 24]))),
        ("later fragment", v4(17, 0x0003, &[1; 24])),
        ("ipv6 udp", v6(17, &udp(1000, 53, b"x"))),
        ("ipv6 tcp", v6(6, &tcp(1000, 80, 2))),
        ("ipv6 echo", v6(58, &[128, 0, 0, 0, 0, 1, 0, 1])),
        ("neighbour solicitation", v6(58, &neighbour_solicitation())),
        ("ipv6 first fragment", v6(44, &[&fragment_header[..], &udp(1, 2, &[0; 8])].concat())),
        ("ipv6 later fragment", v6(44, &[&later_header[..], &[1; 16]].concat())),
        ("ipv6 hop by hop", v6(0, &[&hop_by_hop[..], &udp(1, 2, &[0; 8])].concat())),
        ("ipv6 no next header", v6(59, &[])),
        ("vlan", pad(ethernet(&[(0x8100, 10)], 0x0800, &ipv4(17, 0, &udp(1, 2, &[]))))),
        (
            "vlan priority",
            pad(ethernet(&[(0x8100, 0x6000)], 0x0800, &ipv4(17, 0, &udp(1, 2, &[])))),
        ),
        ("qinq", pad(ethernet(&[(0x88a8, 20), (0x8100, 10)], 0x0806, &arp(1)))),
        ("three tags", pad(ethernet(&[(0x88a8, 20), (0x8100, 10), (0x8100, 11)], 0x0806, &arp(1)))),
        ("mpls", pad(ethernet(&[], 0x8847, &[0, 1, 0, 64, 0, 2, 1, 64, 0x45]))),
        ("llc", pad(ethernet(&[], 46, &[0x42, 0x42, 3, 0, 0, 0]))),
        ("snap", pad(ethernet(&[], 46, &[0xaa, 0xaa, 3, 0, 0, 0, 0x20, 0]))),
        ("lldp", pad(ethernet(&[], 0x88cc, &[2, 7, 4]))),
    ]
}

/// The shapes with bytes changed and ends cut off, `n` of them, the same every time. Addresses are
/// left alone.
pub fn broken(n: usize) -> Vec<(String, Vec<u8>)> {
    let shapes = shapes();
    // Knuth's MMIX generator.
    let mut state = 1u64;
    let mut random = move |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut one = |i: usize| {
        let (name, mut frame) = shapes[random(shapes.len())].clone();
        for _ in 0..random(4) {
            // Near the front, where the headers are.
            let at = 12 + random((frame.len() - 12).min(60));
            frame[at] = u8::try_from(random(256)).unwrap();
        }
        frame.truncate(if random(2) == 0 { 14 + random(frame.len() - 13) } else { frame.len() });
        (format!("{name}, broken {i}"), frame)
    };
    (0..).map(&mut one).filter(|(_, frame)| is_settled(frame)).take(n).collect()
}

/// Whether what the module says of a frame is settled. It is not in three cases (6.1): of a cut IPv6
/// header it tells a flow label that it never read; a cut MPLS stack comes up as an empty attribute;
/// and what is cut within a VLAN tag the host drops before.
fn is_settled(frame: &[u8]) -> bool {
    let mut at = 12;
    loop {
        match frame.get(at..at + 2) {
            Some([0x81, 0x00] | [0x88, 0xa8]) if frame.len() < at + 8 => return false,
            Some([0x81, 0x00] | [0x88, 0xa8]) => at += 4,
            Some([0x86, 0xdd]) => return frame.len() >= at + 2 + 40,
            Some([0x88, 0x47 | 0x48]) => {
                let labels = frame[at + 2..].chunks_exact(4).take(3);
                return labels.clone().count() == 3 || labels.clone().any(|lse| lse[2] & 1 != 0);
            }
            // The fake kernel has no NSH.
            Some([0x89, 0x4f]) => return false,
            _ => return true,
        }
    }
}

/// RFC 1071.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|p| u32::from(u16::from_be_bytes([p[0], p.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
