//! Headers against etherparse and the examples of the RFCs.

use etherparse::PacketBuilder;
use proptest::collection::vec;
use proptest::prelude::*;

use super::csum::{Sum, checksum, crc32c, update_bytes, update16};
use super::ethernet::{EthAddr, EthernetHeader};
use super::icmpv6::{Icmpv6Header, Neighbor};
use super::ipv4::Ipv4Header;
use super::ipv6::{Fragment, Ipv6Header, walk_extensions};
use super::tcp::TcpHeader;
use super::udp::UdpHeader;
use super::{arp, header, igmp, llc, mpls, nsh, sctp, vlan};

#[test]
fn checksum_of_rfc1071() {
    // RFC 1071 section 3: the sum of these is ddf2.
    assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    assert_eq!(checksum(&[]), 0xffff);
    assert_eq!(checksum(&[0xab]), !0xab00);
}

#[test]
fn update_of_rfc1624() {
    // RFC 1624 section 4: the case that the earlier equation got wrong.
    assert_eq!(update16(0xdd2f, 0x5555, 0x3285), 0x0000);
}

#[test]
fn crc32c_of_rfc3720() {
    // RFC 3720 B.4.
    assert_eq!(crc32c(&[&[0; 32]]), 0x8a91_36aa);
    assert_eq!(crc32c(&[&[0xff; 20], &[0xff; 12]]), 0x62a8_ab43);
    assert_eq!(crc32c(&[b"123456789"]), 0xe306_9283);
}

#[test]
fn ipv4_tcp_as_etherparse_builds_it() {
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 63)
        .tcp(1234, 80, 7, 1000)
        .syn()
        .ack(9);
    let mut frame = Vec::new();
    builder.write(&mut frame, b"hello").unwrap();
    let (eth, rest) = header::<EthernetHeader>(&frame).unwrap();
    assert_eq!((eth.src, eth.dst), (EthAddr([2; 6]), EthAddr([4; 6])));
    let (ip, _) = header::<Ipv4Header>(rest).unwrap();
    assert!(ip.is_sane(rest.len()));
    assert_eq!((ip.src, ip.dst, ip.ttl, ip.proto), ([10, 0, 0, 1], [10, 0, 0, 2], 63, 6));
    assert_eq!(checksum(&rest[..20]), 0);
    let segment = &rest[ip.header_len()..];
    let (tcp, _) = header::<TcpHeader>(segment).unwrap();
    assert_eq!((tcp.src.get(), tcp.dst.get(), tcp.flags()), (1234, 80, 0x012));
    assert_eq!(tcp.header_len(), 20);
    assert_eq!(ip.pseudo_header(segment.len()).bytes(segment).finish(), 0);
}

#[test]
fn ipv6_udp_as_etherparse_builds_it() {
    let (src, dst) = ([1; 16], [2; 16]);
    let mut frame = Vec::new();
    PacketBuilder::ipv6(src, dst, 12).udp(53, 5353).write(&mut frame, b"odd").unwrap();
    let (ip, rest) = header::<Ipv6Header>(&frame).unwrap();
    assert!(ip.is_sane(frame.len()));
    assert_eq!((ip.src, ip.dst, ip.hop_limit, ip.next_header), (src, dst, 12, 17));
    let (udp, _) = header::<UdpHeader>(rest).unwrap();
    assert_eq!((udp.src.get(), udp.dst.get(), udp.len.get()), (53, 5353, 11));
    assert_eq!(ip.pseudo_header(17, rest.len()).bytes(rest).finish(), 0);
}

#[test]
fn extension_walk() {
    // Hop-by-hop (16 bytes), destination options, authentication (len 4: 24 bytes), TCP.
    let mut chain = vec![60, 1];
    chain.resize(16, 0);
    chain.extend([51, 0, 0, 0, 0, 0, 0, 0]);
    chain.extend([6, 4]);
    chain.resize(48, 0);
    let end = walk_extensions(&chain, 0).unwrap();
    assert_eq!((end.proto, end.offset, end.fragment), (6, 48, Fragment::No));
    for cut in 0..chain.len() {
        assert_eq!(walk_extensions(&chain[..cut], 0), None, "cut at {cut}");
    }
    // Fragments: first, later, atomic, and one with only a reserved bit set.
    let fragment = |offset: u16| {
        let [a, b] = offset.to_be_bytes();
        walk_extensions(&[17, 0, a, b, 0, 0, 0, 1], 44).unwrap()
    };
    assert_eq!((fragment(1).proto, fragment(1).fragment), (17, Fragment::First));
    assert_eq!((fragment(8).proto, fragment(8).fragment), (44, Fragment::Later));
    assert_eq!((fragment(0).proto, fragment(0).fragment), (17, Fragment::No));
    assert_eq!(fragment(2).fragment, Fragment::First);
    assert_eq!(fragment(8).offset, 8);
}

#[test]
fn neighbor_options() {
    let mut message = vec![0x11; 16];
    assert_eq!(Neighbor::parse(&message[..15]), Neighbor::default());
    message.extend([2, 1, 1, 2, 3, 4, 5, 6]);
    let nd = Neighbor::parse(&message);
    assert_eq!((nd.target_address, nd.option), (EthAddr([1, 2, 3, 4, 5, 6]), 2));
    // Unknown options are skipped, a zero length ends the reading.
    message.extend([14, 1, 0, 0, 0, 0, 0, 0]);
    message.extend([1, 1, 9, 9, 9, 9, 9, 9]);
    assert_eq!(Neighbor::parse(&message).source_address, EthAddr([9; 6]));
    let good = Neighbor::parse(&message);
    message.extend([0; 8]);
    assert_eq!(Neighbor::parse(&message), good);
    // An option given twice makes all of it void, but its type stays.
    message.truncate(message.len() - 8);
    message.extend([1, 1, 8, 8, 8, 8, 8, 8]);
    assert_eq!(Neighbor::parse(&message), Neighbor { option: 2, ..Neighbor::default() });
}

#[test]
fn ethernet_addresses_as_text() {
    let address = EthAddr([0, 0x1b, 0x21, 0xff, 9, 0xa]);
    assert_eq!(address.to_string(), "00:1b:21:ff:09:0a");
    assert_eq!("0:1b:21:FF:9:a".parse(), Ok(address));
    for wrong in ["", "0:1:2:3:4", "0:1:2:3:4:5:6", "0:1:2:3:4:100", "0:1:2:3:4:+5", "0:1:2:3:4:g"]
    {
        assert!(wrong.parse::<EthAddr>().is_err(), "{wrong}");
    }
    assert_eq!(EthAddr::from_u64(address.to_u64()), address);
    assert!(EthAddr([1, 0x80, 0xc2, 0, 0, 0xe]).is_reserved());
    assert!(!EthAddr([1, 0x80, 0xc2, 0, 0, 0x10]).is_reserved());
    assert!(EthAddr([1, 0, 0x0c, 0xcc, 0xcc, 0xcd]).is_reserved());
    assert!(!EthAddr([1, 0, 0x0c, 0xcc, 0xcc, 0xc8]).is_reserved());
}

proptest! {
    #[test]
    fn incremental_update_is_the_checksum(
        mut data in vec(any::<u8>(), 20..60), at in 0usize..8, new in any::<[u8; 4]>(),
    ) {
        let at = at * 2;
        let before = checksum(&data);
        let old: [u8; 4] = data[at..at + 4].try_into().unwrap();
        data[at..at + 4].copy_from_slice(&new);
        let after = update_bytes(before, &old, &new);
        // 0 and ffff are the same number in one's complement.
        prop_assert_eq!(after % 0xffff, checksum(&data) % 0xffff);
    }

    #[test]
    fn sums_can_be_split(data in vec(any::<u8>(), 0..90), at in 0usize..40) {
        let at = (at * 2).min(data.len() & !1);
        let split = Sum::default().bytes(&data[..at]).bytes(&data[at..]).finish();
        prop_assert_eq!(split, checksum(&data));
    }

    #[test]
    fn any_bytes_are_fine(bytes in vec(any::<u8>(), 0..120), next: u8) {
        walk_extensions(&bytes, next);
        Neighbor::parse(&bytes);
        checksum(&bytes);
        if let Some((ip, _)) = header::<Ipv4Header>(&bytes) {
            ip.is_sane(bytes.len());
            ip.pseudo_header(bytes.len());
        }
        if let Some((ip, _)) = header::<Ipv6Header>(&bytes) {
            ip.is_sane(bytes.len());
        }
        header::<Icmpv6Header>(&bytes).map(|(h, _)| h.is_neighbor_discovery());
        header::<TcpHeader>(&bytes).map(|(h, _)| (h.header_len(), h.flags()));
        header::<nsh::NshHeader>(&bytes)
            .map(|(h, _)| (h.version(), h.flags(), h.ttl(), h.header_len()));
        header::<mpls::MplsLse>(&bytes).map(|(h, _)| (h.label(), h.tc(), h.bos(), h.ttl()));
        header::<vlan::VlanTag>(&bytes).map(|(h, _)| (h.vid(), h.pcp()));
        header::<llc::LlcSnapHeader>(&bytes).map(|(h, _)| h.carries_ethernet_type());
        header::<arp::ArpHeader>(&bytes).map(|(h, _)| h.is_ethernet_ipv4());
        header::<sctp::SctpHeader>(&bytes);
        header::<igmp::Igmpv3Record>(&bytes);
    }

    #[test]
    fn fields_that_share_bytes(label in 0u32..1 << 20, tc in 0u8..8, bos: bool, ttl: u8,
                               flags in 0u8..4, nsh_ttl in 0u8..64, words in 0usize..64) {
        let lse = mpls::MplsLse::new(label, tc, bos, ttl);
        prop_assert_eq!((lse.label(), lse.tc(), lse.bos(), lse.ttl()), (label, tc, bos, ttl));
        let nsh = nsh::NshHeader {
            base: nsh::NshHeader::base(flags, nsh_ttl, words * 4), ..Default::default()
        };
        prop_assert_eq!((nsh.version(), nsh.flags(), nsh.ttl(), nsh.header_len()),
                        (0, flags, nsh_ttl, words * 4));
    }
}
