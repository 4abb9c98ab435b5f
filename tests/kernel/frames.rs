//! The scripted packets: one entry for each thing that makes a flow key look different.
//!
//! Every frame carries the source address it is given, so that the flow it makes can be told from
//! the others in one dump. Frames are built here byte by byte on purpose, from the RFCs, and share
//! no code with the daemon. Unless a name says otherwise they are addressed to [`KNOWN`].

use super::netns::Mac;

/// Address learned on the second port before the frames are sent.
pub const KNOWN: Mac = [2, 0, 0, 0, 0, 2];
/// Address learned on the third port.
pub const KNOWN_THIRD: Mac = [2, 0, 0, 0, 0, 3];
/// Address that nobody has.
pub const UNKNOWN: Mac = [2, 0, 0, 0, 0x99, 0x99];
/// All ones.
pub const BROADCAST: Mac = [0xff; 6];

const IP_A: [u8; 4] = [10, 0, 0, 1];
const IP_B: [u8; 4] = [10, 0, 0, 2];
const V6_A: [u8; 16] = v6(1);
const V6_B: [u8; 16] = v6(2);
const TYPE_IPV4: u16 = 0x0800;
const TYPE_ARP: u16 = 0x0806;
const TYPE_RARP: u16 = 0x8035;
const TYPE_IPV6: u16 = 0x86dd;
const TYPE_VLAN: u16 = 0x8100;
const TYPE_QINQ: u16 = 0x88a8;
const TYPE_MPLS: u16 = 0x8847;
const ICMP: u8 = 1;
const IGMP: u8 = 2;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;

/// A scripted packet.
pub struct Frame {
    /// Stands for it in results.
    pub name: &'static str,
    /// Builds it with this source address.
    pub build: fn(Mac) -> Vec<u8>,
}

const fn f(name: &'static str, build: fn(Mac) -> Vec<u8>) -> Frame {
    Frame { name, build }
}

/// The source address of frame number `index`; the one that wants a multicast source makes its own.
pub fn source(index: usize) -> Mac {
    let [hi, lo] = u16::try_from(index).expect("fewer frames than that").to_be_bytes();
    [2, 0xaa, 0, 0, hi, lo]
}

/// The corpus, in sending order.
pub const FRAMES: &[Frame] = &[
    // ARP
    f("arp_request", |s| eth(BROADCAST, s, TYPE_ARP, &arp(1, s, IP_A, [0; 6], IP_B))),
    f("arp_reply", |s| eth(KNOWN, s, TYPE_ARP, &arp(2, s, IP_A, KNOWN, IP_B))),
    f("arp_request_unicast", |s| eth(KNOWN, s, TYPE_ARP, &arp(1, s, IP_A, KNOWN, IP_B))),
    f("arp_gratuitous_request", |s| eth(BROADCAST, s, TYPE_ARP, &arp(1, s, IP_A, [0; 6], IP_A))),
    f("arp_gratuitous_reply", |s| eth(BROADCAST, s, TYPE_ARP, &arp(2, s, IP_A, BROADCAST, IP_A))),
    f("arp_probe", |s| eth(BROADCAST, s, TYPE_ARP, &arp(1, s, [0; 4], [0; 6], IP_B))),
    f("arp_op_above_255", |s| eth(KNOWN, s, TYPE_ARP, &arp(0x0102, s, IP_A, KNOWN, IP_B))),
    f("arp_broadcast_op_3", |s| eth(BROADCAST, s, TYPE_ARP, &arp(3, s, IP_A, [0; 6], IP_B))),
    f("arp_truncated", |s| eth(KNOWN, s, TYPE_ARP, &arp(1, s, IP_A, KNOWN, IP_B)[..20])),
    f("arp_truncated_broadcast", |s| {
        eth(BROADCAST, s, TYPE_ARP, &arp(1, s, IP_A, KNOWN, IP_B)[..20])
    }),
    f("arp_foreign_hardware", |s| {
        let mut body = arp(1, s, IP_A, [0; 6], IP_B);
        body[0..2].copy_from_slice(&[0, 6]);
        eth(BROADCAST, s, TYPE_ARP, &body)
    }),
    f("rarp", |s| eth(BROADCAST, s, TYPE_RARP, &arp(3, s, [0; 4], s, [0; 4]))),
    // IPv4
    f("icmp_echo", |s| eth(KNOWN, s, TYPE_IPV4, &ipv4(ICMP, &icmp(8, 0)))),
    f("icmp_echo_reply", |s| eth(KNOWN, s, TYPE_IPV4, &ipv4(ICMP, &icmp(0, 0)))),
    f("icmp_unreachable", |s| eth(KNOWN, s, TYPE_IPV4, &ipv4(ICMP, &icmp(3, 1)))),
    f("icmp_to_unknown", |s| eth(UNKNOWN, s, TYPE_IPV4, &ipv4(ICMP, &icmp(8, 0)))),
    f("icmp_to_third", |s| eth(KNOWN_THIRD, s, TYPE_IPV4, &ipv4(ICMP, &icmp(8, 0)))),
    f("icmp_to_broadcast", |s| eth(BROADCAST, s, TYPE_IPV4, &ipv4(ICMP, &icmp(8, 0)))),
    f("icmp_to_itself", |s| eth(s, s, TYPE_IPV4, &ipv4(ICMP, &icmp(8, 0)))),
    f("icmp_to_zero", |s| eth([0; 6], s, TYPE_IPV4, &ipv4(ICMP, &icmp(8, 0)))),
    f("icmp_truncated", |s| eth(KNOWN, s, TYPE_IPV4, &ipv4(ICMP, &icmp(8, 0)[..3]))),
    f("tcp_syn", |s| eth(KNOWN, s, TYPE_IPV4, &ipv4(TCP, &tcp(0x002)))),
    f("tcp_syn_ack", |s| eth(KNOWN, s, TYPE_IPV4, &ipv4(TCP, &tcp(0x012)))),
    f("tcp_fin_ack", |s| eth(KNOWN, s, TYPE_IPV4, &ipv4(TCP, &tcp(0x011)))),
    f("tcp_ns_cwr_ece", |s| eth(KNOWN, s, TYPE_IPV4, &ipv4(TCP, &tcp(0x1c2)))),
    f("tcp_no_flags", |s| eth(KNOWN, s, TYPE_IPV4, &ipv4(TCP, &tcp(0)))),
    f("tcp_to_unknown", |s| eth(UNKNOWN, s, TYPE_IPV4, &ipv4(TCP, &tcp(0x010)))),
    f("tcp_truncated", |s| eth(KNOWN, s, TYPE_IPV4, &ipv4(TCP, &tcp(2)[..10]))),
    f("tcp_offset_too_small", |s| {
        let mut segment = tcp(2);
        segment[12] = 0x30;
        eth(KNOWN, s, TYPE_IPV4, &ipv4(TCP, &segment))
    }),
    f("tcp_offset_beyond_end", |s| {
        let mut segment = tcp(2);
        segment[12] = 0xf0;
        eth(KNOWN, s, TYPE_IPV4, &ipv4(TCP, &segment))
    }),
    f("udp", |s| eth(KNOWN, s, TYPE_IPV4, &ipv4(UDP, &udp(1234, 53, 8)))),
    f("udp_dhcp", |s| {
        let packet = Ip4 { src: [0; 4], dst: [255; 4], ..Ip4::new(UDP) };
        eth(BROADCAST, s, TYPE_IPV4, &packet.with(&udp(68, 67, 240)))
    }),
    f("udp_truncated", |s| eth(KNOWN, s, TYPE_IPV4, &ipv4(UDP, &udp(1, 2, 8)[..6]))),
    f("udp_length_lies", |s| {
        let mut datagram = udp(1, 2, 8);
        datagram[4..6].copy_from_slice(&[0xff, 0xff]);
        eth(KNOWN, s, TYPE_IPV4, &ipv4(UDP, &datagram))
    }),
    f("udp_vxlan_port", |s| eth(KNOWN, s, TYPE_IPV4, &ipv4(UDP, &udp(40000, 4789, 58)))),
    f("sctp", |s| eth(KNOWN, s, TYPE_IPV4, &ipv4(SCTP, &sctp()))),
    f("sctp_truncated", |s| eth(KNOWN, s, TYPE_IPV4, &ipv4(SCTP, &sctp()[..8]))),
    f("igmp_report", |s| {
        let packet = Ip4 { dst: [224, 0, 0, 251], ttl: 1, ..Ip4::new(IGMP) };
        let report = [0x16, 0, 0, 0, 224, 0, 0, 251];
        eth([1, 0, 0x5e, 0, 0, 0xfb], s, TYPE_IPV4, &packet.with(&report))
    }),
    f("igmp_query", |s| {
        let packet = Ip4 { dst: [224, 0, 0, 1], ttl: 1, ..Ip4::new(IGMP) };
        eth([1, 0, 0x5e, 0, 0, 1], s, TYPE_IPV4, &packet.with(&[0x11, 100, 0, 0, 0, 0, 0, 0]))
    }),
    f("ipv4_multicast_udp", |s| {
        let packet = Ip4 { dst: [239, 1, 2, 3], ..Ip4::new(UDP) };
        eth([1, 0, 0x5e, 1, 2, 3], s, TYPE_IPV4, &packet.with(&udp(5000, 5001, 8)))
    }),
    f("ipv4_gre", |s| eth(KNOWN, s, TYPE_IPV4, &ipv4(47, &[0, 0, 8, 0, 1, 2, 3, 4]))),
    f("ipv4_esp", |s| eth(KNOWN, s, TYPE_IPV4, &ipv4(50, &[0; 24]))),
    f("ipv4_unknown_protocol", |s| eth(KNOWN, s, TYPE_IPV4, &ipv4(253, &[1, 2, 3, 4]))),
    f("ipv4_protocol_0", |s| eth(KNOWN, s, TYPE_IPV4, &ipv4(0, &[1, 2, 3, 4]))),
    f("ipv4_dscp_ecn", |s| {
        eth(KNOWN, s, TYPE_IPV4, &Ip4 { tos: 0xbb, ..Ip4::new(UDP) }.with(&udp(1, 2, 8)))
    }),
    f("ipv4_ttl_0", |s| {
        eth(KNOWN, s, TYPE_IPV4, &Ip4 { ttl: 0, ..Ip4::new(UDP) }.with(&udp(1, 2, 8)))
    }),
    f("ipv4_options", |s| {
        eth(KNOWN, s, TYPE_IPV4, &Ip4 { options: 8, ..Ip4::new(UDP) }.with(&udp(1, 2, 8)))
    }),
    f("ipv4_dont_fragment", |s| {
        eth(KNOWN, s, TYPE_IPV4, &Ip4 { fragment: 0x4000, ..Ip4::new(UDP) }.with(&udp(1, 2, 8)))
    }),
    f("ipv4_fragment_first_udp", |s| {
        eth(KNOWN, s, TYPE_IPV4, &Ip4 { fragment: 0x2000, ..Ip4::new(UDP) }.with(&udp(1, 2, 24)))
    }),
    f("ipv4_fragment_first_tcp", |s| {
        eth(KNOWN, s, TYPE_IPV4, &Ip4 { fragment: 0x2000, ..Ip4::new(TCP) }.with(&tcp(2)))
    }),
    f("ipv4_fragment_first_icmp", |s| {
        eth(KNOWN, s, TYPE_IPV4, &Ip4 { fragment: 0x2000, ..Ip4::new(ICMP) }.with(&icmp(8, 0)))
    }),
    f("ipv4_fragment_middle", |s| {
        eth(KNOWN, s, TYPE_IPV4, &Ip4 { fragment: 0x2010, ..Ip4::new(UDP) }.with(&[7; 32]))
    }),
    f("ipv4_fragment_last", |s| {
        eth(KNOWN, s, TYPE_IPV4, &Ip4 { fragment: 0x0010, ..Ip4::new(UDP) }.with(&[7; 32]))
    }),
    f("ipv4_fragment_last_to_unknown", |s| {
        eth(UNKNOWN, s, TYPE_IPV4, &Ip4 { fragment: 0x0010, ..Ip4::new(TCP) }.with(&[7; 32]))
    }),
    f("ipv4_header_truncated", |s| eth(KNOWN, s, TYPE_IPV4, &ipv4(UDP, &udp(1, 2, 8))[..12])),
    f("ipv4_header_only_half_options", |s| {
        let packet = Ip4 { options: 20, ..Ip4::new(UDP) }.with(&[]);
        eth(KNOWN, s, TYPE_IPV4, &packet[..24])
    }),
    f("ipv4_ihl_4", |s| patched(KNOWN, s, 0, 0x44)),
    f("ipv4_ihl_15", |s| patched(KNOWN, s, 0, 0x4f)),
    f("ipv4_version_5", |s| patched(KNOWN, s, 0, 0x55)),
    f("ipv4_version_6", |s| patched(KNOWN, s, 0, 0x65)),
    f("ipv4_total_length_too_long", |s| patched(KNOWN, s, 2, 0x40)),
    f("ipv4_total_length_too_short", |s| patched(KNOWN, s, 3, 10)),
    f("ipv4_total_length_0", |s| patched(KNOWN, s, 3, 0)),
    f("ipv4_checksum_wrong", |s| patched(KNOWN, s, 10, 0xee)),
    f("ipv4_empty", |s| eth(KNOWN, s, TYPE_IPV4, &[])),
    f("ipv4_padded", |s| {
        let mut packet = ipv4(UDP, &udp(1, 2, 2));
        packet.resize(46, 0);
        eth(KNOWN, s, TYPE_IPV4, &packet)
    }),
    // IPv6
    f("icmpv6_echo", |s| eth(KNOWN, s, TYPE_IPV6, &ipv6(ICMPV6, &icmp(128, 0)))),
    f("icmpv6_echo_reply", |s| eth(KNOWN, s, TYPE_IPV6, &ipv6(ICMPV6, &icmp(129, 0)))),
    f("icmpv6_truncated", |s| eth(KNOWN, s, TYPE_IPV6, &ipv6(ICMPV6, &[128]))),
    f("nd_solicit_multicast", |s| {
        let packet = Ip6 { dst: SOLICITED, hops: 255, ..Ip6::new(ICMPV6) };
        eth(
            [0x33, 0x33, 0xff, 0, 0, 2],
            s,
            TYPE_IPV6,
            &packet.with(&nd(135, 0, V6_B, Some((1, s)))),
        )
    }),
    f("nd_solicit_unicast", |s| {
        let packet = Ip6 { hops: 255, ..Ip6::new(ICMPV6) };
        eth(KNOWN, s, TYPE_IPV6, &packet.with(&nd(135, 0, V6_B, Some((1, s)))))
    }),
    f("nd_solicit_detection", |s| {
        let packet = Ip6 { src: [0; 16], dst: SOLICITED, hops: 255, ..Ip6::new(ICMPV6) };
        eth([0x33, 0x33, 0xff, 0, 0, 2], s, TYPE_IPV6, &packet.with(&nd(135, 0, V6_B, None)))
    }),
    f("nd_advert", |s| {
        let packet = Ip6 { hops: 255, ..Ip6::new(ICMPV6) };
        eth(KNOWN, s, TYPE_IPV6, &packet.with(&nd(136, 0x60, V6_A, Some((2, s)))))
    }),
    f("nd_advert_unsolicited", |s| {
        let packet = Ip6 { dst: ALL_NODES, hops: 255, ..Ip6::new(ICMPV6) };
        eth(
            [0x33, 0x33, 0, 0, 0, 1],
            s,
            TYPE_IPV6,
            &packet.with(&nd(136, 0x20, V6_A, Some((2, s)))),
        )
    }),
    f("nd_option_length_0", |s| {
        let mut body = nd(135, 0, V6_B, Some((1, s)));
        body[25] = 0;
        eth(KNOWN, s, TYPE_IPV6, &Ip6 { hops: 255, ..Ip6::new(ICMPV6) }.with(&body))
    }),
    f("nd_option_twice", |s| {
        let mut body = nd(135, 0, V6_B, Some((1, s)));
        body.extend_from_within(24..32);
        eth(KNOWN, s, TYPE_IPV6, &Ip6 { hops: 255, ..Ip6::new(ICMPV6) }.with(&body))
    }),
    f("nd_hop_limit_64", |s| {
        eth(KNOWN, s, TYPE_IPV6, &ipv6(ICMPV6, &nd(135, 0, V6_B, Some((1, s)))))
    }),
    f("nd_code_1", |s| {
        let mut body = nd(135, 0, V6_B, Some((1, s)));
        body[1] = 1;
        eth(KNOWN, s, TYPE_IPV6, &Ip6 { hops: 255, ..Ip6::new(ICMPV6) }.with(&body))
    }),
    f("nd_truncated_target", |s| {
        let body = nd(135, 0, V6_B, None);
        eth(KNOWN, s, TYPE_IPV6, &Ip6 { hops: 255, ..Ip6::new(ICMPV6) }.with(&body[..16]))
    }),
    f("router_solicit", |s| {
        let packet = Ip6 { dst: ALL_ROUTERS, hops: 255, ..Ip6::new(ICMPV6) };
        let mut body = icmp(133, 0)[..8].to_vec();
        body.extend([1, 1]);
        body.extend(s);
        eth([0x33, 0x33, 0, 0, 0, 2], s, TYPE_IPV6, &packet.with(&body))
    }),
    f("router_advert", |s| {
        let packet = Ip6 { dst: ALL_NODES, hops: 255, ..Ip6::new(ICMPV6) };
        let mut body = icmp(134, 0)[..4].to_vec();
        body.extend([64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
        eth([0x33, 0x33, 0, 0, 0, 1], s, TYPE_IPV6, &packet.with(&body))
    }),
    f("mld_report", |s| {
        let packet = Ip6 { dst: MLD_ROUTERS, hops: 1, ..Ip6::new(0) };
        let mut body = vec![ICMPV6, 0, 5, 2, 0, 0, 1, 0];
        body.extend([143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0]);
        body.extend(SOLICITED);
        eth([0x33, 0x33, 0, 0, 0, 0x16], s, TYPE_IPV6, &packet.with(&body))
    }),
    f("tcp6_syn", |s| eth(KNOWN, s, TYPE_IPV6, &ipv6(TCP, &tcp(2)))),
    f("udp6", |s| eth(KNOWN, s, TYPE_IPV6, &ipv6(UDP, &udp(1234, 53, 8)))),
    f("udp6_to_unknown", |s| eth(UNKNOWN, s, TYPE_IPV6, &ipv6(UDP, &udp(1234, 53, 8)))),
    f("udp6_multicast", |s| {
        let packet = Ip6 { dst: ALL_NODES, ..Ip6::new(UDP) };
        eth([0x33, 0x33, 0, 0, 0, 1], s, TYPE_IPV6, &packet.with(&udp(5353, 5353, 8)))
    }),
    f("sctp6", |s| eth(KNOWN, s, TYPE_IPV6, &ipv6(SCTP, &sctp()))),
    f("ipv6_label_class", |s| {
        let packet = Ip6 { class_label: 0x0bb1_2345, ..Ip6::new(UDP) };
        eth(KNOWN, s, TYPE_IPV6, &packet.with(&udp(1, 2, 8)))
    }),
    f("ipv6_hop_limit_0", |s| {
        eth(KNOWN, s, TYPE_IPV6, &Ip6 { hops: 0, ..Ip6::new(UDP) }.with(&udp(1, 2, 8)))
    }),
    f("ipv6_no_next_header", |s| eth(KNOWN, s, TYPE_IPV6, &ipv6(59, &[]))),
    f("ipv6_unknown_protocol", |s| eth(KNOWN, s, TYPE_IPV6, &ipv6(253, &[1, 2, 3, 4]))),
    f("ipv6_hop_by_hop_udp", |s| {
        eth(KNOWN, s, TYPE_IPV6, &ipv6(0, &chain(&[UDP, 0, 1, 4, 0, 0, 0, 0], &udp(1, 2, 8))))
    }),
    f("ipv6_dest_opts_tcp", |s| {
        eth(KNOWN, s, TYPE_IPV6, &ipv6(60, &chain(&[TCP, 0, 1, 4, 0, 0, 0, 0], &tcp(2))))
    }),
    f("ipv6_routing_udp", |s| {
        eth(KNOWN, s, TYPE_IPV6, &ipv6(43, &chain(&[UDP, 0, 253, 0, 0, 0, 0, 0], &udp(1, 2, 8))))
    }),
    f("ipv6_chain_of_three", |s| {
        let options =
            [60, 0, 1, 4, 0, 0, 0, 0, 43, 0, 1, 4, 0, 0, 0, 0, UDP, 0, 253, 0, 0, 0, 0, 0];
        eth(KNOWN, s, TYPE_IPV6, &ipv6(0, &chain(&options, &udp(1, 2, 8))))
    }),
    f("ipv6_auth_header_udp", |s| {
        let auth = [UDP, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        eth(KNOWN, s, TYPE_IPV6, &ipv6(51, &chain(&auth, &udp(1, 2, 8))))
    }),
    f("ipv6_esp", |s| eth(KNOWN, s, TYPE_IPV6, &ipv6(50, &[0; 24]))),
    f("ipv6_fragment_first", |s| {
        eth(KNOWN, s, TYPE_IPV6, &ipv6(44, &chain(&[UDP, 0, 0, 1, 0, 0, 0, 9], &udp(1, 2, 24))))
    }),
    f("ipv6_fragment_later", |s| {
        eth(KNOWN, s, TYPE_IPV6, &ipv6(44, &chain(&[UDP, 0, 0, 0x41, 0, 0, 0, 9], &[7; 32])))
    }),
    f("ipv6_fragment_atomic", |s| {
        eth(KNOWN, s, TYPE_IPV6, &ipv6(44, &chain(&[UDP, 0, 0, 0, 0, 0, 0, 9], &udp(1, 2, 8))))
    }),
    f("ipv6_fragment_first_icmpv6", |s| {
        eth(KNOWN, s, TYPE_IPV6, &ipv6(44, &chain(&[ICMPV6, 0, 0, 1, 0, 0, 0, 9], &icmp(128, 0))))
    }),
    f("ipv6_header_truncated", |s| eth(KNOWN, s, TYPE_IPV6, &ipv6(UDP, &udp(1, 2, 8))[..30])),
    f("ipv6_extension_truncated", |s| eth(KNOWN, s, TYPE_IPV6, &ipv6(0, &[UDP, 0, 1]))),
    f("ipv6_extension_beyond_end", |s| {
        eth(KNOWN, s, TYPE_IPV6, &ipv6(0, &[UDP, 9, 1, 4, 0, 0, 0, 0]))
    }),
    f("ipv6_payload_length_too_long", |s| {
        let mut packet = ipv6(UDP, &udp(1, 2, 8));
        packet[4] = 0x40;
        eth(KNOWN, s, TYPE_IPV6, &packet)
    }),
    f("ipv6_payload_length_0", |s| {
        let mut packet = ipv6(UDP, &udp(1, 2, 8));
        packet[5] = 0;
        eth(KNOWN, s, TYPE_IPV6, &packet)
    }),
    f("ipv6_version_4", |s| {
        let mut packet = ipv6(UDP, &udp(1, 2, 8));
        packet[0] = 0x40;
        eth(KNOWN, s, TYPE_IPV6, &packet)
    }),
    // VLAN
    f("vlan10_udp", |s| tagged(KNOWN, s, &[(TYPE_VLAN, 10)], TYPE_IPV4, &plain())),
    f("vlan10_to_unknown", |s| tagged(UNKNOWN, s, &[(TYPE_VLAN, 10)], TYPE_IPV4, &plain())),
    f("vlan10_arp", |s| {
        let body = arp(1, s, IP_A, [0; 6], IP_B);
        tagged(BROADCAST, s, &[(TYPE_VLAN, 10)], TYPE_ARP, &body)
    }),
    f("vlan10_icmpv6", |s| {
        tagged(KNOWN, s, &[(TYPE_VLAN, 10)], TYPE_IPV6, &ipv6(ICMPV6, &icmp(128, 0)))
    }),
    f("vlan10_priority5", |s| tagged(KNOWN, s, &[(TYPE_VLAN, 0xa00a)], TYPE_IPV4, &plain())),
    f("vlan10_dei", |s| tagged(KNOWN, s, &[(TYPE_VLAN, 0x100a)], TYPE_IPV4, &plain())),
    f("vlan20_udp", |s| tagged(KNOWN, s, &[(TYPE_VLAN, 20)], TYPE_IPV4, &plain())),
    f("vlan20_to_unknown", |s| tagged(UNKNOWN, s, &[(TYPE_VLAN, 20)], TYPE_IPV4, &plain())),
    f("vlan30_udp", |s| tagged(KNOWN, s, &[(TYPE_VLAN, 30)], TYPE_IPV4, &plain())),
    f("vlan30_broadcast", |s| tagged(BROADCAST, s, &[(TYPE_VLAN, 30)], TYPE_IPV4, &plain())),
    f("vlan4095", |s| tagged(KNOWN, s, &[(TYPE_VLAN, 4095)], TYPE_IPV4, &plain())),
    f("priority_tag_0", |s| tagged(KNOWN, s, &[(TYPE_VLAN, 0)], TYPE_IPV4, &plain())),
    f("priority_tag_7", |s| tagged(KNOWN, s, &[(TYPE_VLAN, 0xe000)], TYPE_IPV4, &plain())),
    f("priority_tag_7_to_unknown", |s| {
        tagged(UNKNOWN, s, &[(TYPE_VLAN, 0xe000)], TYPE_IPV4, &plain())
    }),
    f("qinq_100_10", |s| {
        tagged(KNOWN, s, &[(TYPE_QINQ, 100), (TYPE_VLAN, 10)], TYPE_IPV4, &plain())
    }),
    f("qinq_10_20", |s| tagged(KNOWN, s, &[(TYPE_QINQ, 10), (TYPE_VLAN, 20)], TYPE_IPV4, &plain())),
    f("qinq_single_10", |s| tagged(KNOWN, s, &[(TYPE_QINQ, 10)], TYPE_IPV4, &plain())),
    f("vlan_in_vlan_10_20", |s| {
        tagged(KNOWN, s, &[(TYPE_VLAN, 10), (TYPE_VLAN, 20)], TYPE_IPV4, &plain())
    }),
    f("vlan_three_deep", |s| {
        let tags = [(TYPE_QINQ, 10), (TYPE_VLAN, 20), (TYPE_VLAN, 30)];
        tagged(KNOWN, s, &tags, TYPE_IPV4, &plain())
    }),
    f("vlan_tag_truncated", |s| eth(KNOWN, s, TYPE_VLAN, &[0, 10])),
    f("vlan_no_payload", |s| tagged(KNOWN, s, &[(TYPE_VLAN, 10)], TYPE_IPV4, &[])),
    f("vlan10_llc", |s| {
        let body = [0x42, 0x42, 3, 0, 0, 0, 0, 0];
        tagged(KNOWN, s, &[(TYPE_VLAN, 10)], 8, &body)
    }),
    // MPLS
    f("mpls_1", |s| eth(KNOWN, s, TYPE_MPLS, &mpls(&[16], &plain()))),
    f("mpls_2", |s| eth(KNOWN, s, TYPE_MPLS, &mpls(&[16, 17], &plain()))),
    f("mpls_3", |s| eth(KNOWN, s, TYPE_MPLS, &mpls(&[16, 17, 18], &plain()))),
    f("mpls_4", |s| eth(KNOWN, s, TYPE_MPLS, &mpls(&[16, 17, 18, 19], &plain()))),
    f("mpls_multicast", |s| eth(KNOWN, s, 0x8848, &mpls(&[16], &plain()))),
    f("mpls_no_bottom", |s| eth(KNOWN, s, TYPE_MPLS, &[0, 1, 0, 64])),
    f("mpls_truncated", |s| eth(KNOWN, s, TYPE_MPLS, &[0, 1])),
    f("vlan10_mpls", |s| tagged(KNOWN, s, &[(TYPE_VLAN, 10)], TYPE_MPLS, &mpls(&[16], &plain()))),
    // IEEE 802.2 and other types
    f("llc", |s| eth(KNOWN, s, 8, &[0xe0, 0xe0, 3, 1, 2, 3, 4, 5])),
    f("llc_broadcast", |s| eth(BROADCAST, s, 8, &[0xe0, 0xe0, 3, 1, 2, 3, 4, 5])),
    f("snap_cdp", |s| {
        let mut body = vec![0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0];
        body.extend([2, 180, 0, 0, 0, 1, 0, 5, b'x']);
        eth([1, 0, 0x0c, 0xcc, 0xcc, 0xcc], s, body.len() as u16, &body)
    }),
    f("snap_ipv4", |s| {
        let mut body = vec![0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
        body.extend(plain());
        eth(KNOWN, s, body.len() as u16, &body)
    }),
    f("stp_bpdu", |s| eth([1, 0x80, 0xc2, 0, 0, 0], s, 38, &bpdu())),
    f("pause_frame", |s| eth([1, 0x80, 0xc2, 0, 0, 1], s, 0x8808, &[0, 1, 0, 0])),
    f("lacp", |s| eth([1, 0x80, 0xc2, 0, 0, 2], s, 0x8809, &[1, 1, 1, 20])),
    f("eapol", |s| eth([1, 0x80, 0xc2, 0, 0, 3], s, 0x888e, &[1, 1, 0, 0])),
    f("lldp", |s| eth([1, 0x80, 0xc2, 0, 0, 0x0e], s, 0x88cc, &[2, 7, 4, 2, 0, 0, 0, 0, 1])),
    f("reserved_0f", |s| eth([1, 0x80, 0xc2, 0, 0, 0x0f], s, TYPE_IPV4, &plain())),
    f("reserved_10", |s| eth([1, 0x80, 0xc2, 0, 0, 0x10], s, TYPE_IPV4, &plain())),
    f("cisco_stp", |s| {
        eth([1, 0, 0x0c, 0xcc, 0xcc, 0xcd], s, 8, &[0xaa, 0xaa, 3, 0, 0, 12, 1, 11])
    }),
    f("extreme_edp", |s| {
        eth([0, 0xe0, 0x2b, 0, 0, 0], s, 8, &[0xaa, 0xaa, 3, 0, 0xe0, 0x2b, 0, 0xbb])
    }),
    f("unknown_type", |s| eth(KNOWN, s, 0x88b5, &[1, 2, 3, 4])),
    f("unknown_type_broadcast", |s| eth(BROADCAST, s, 0x88b5, &[1, 2, 3, 4])),
    f("type_0x05ff", |s| eth(KNOWN, s, 0x05ff, &[1, 2, 3, 4, 5, 6, 7, 8])),
    f("type_0x0600", |s| eth(KNOWN, s, 0x0600, &[1, 2, 3, 4, 5, 6, 7, 8])),
    f("nsh", |s| {
        let nsh = [0x0f, 0xc2, 2, 3, 0, 0, 1, 255];
        eth(KNOWN, s, 0x894f, &nsh)
    }),
    f("length_0", |s| eth(KNOWN, s, 0, &[])),
    f("header_only", |s| eth(KNOWN, s, 0x88b5, &[])),
    f("source_multicast", |s| eth(KNOWN, [3, 0xaa, 0, 0, s[4], s[5]], TYPE_IPV4, &plain())),
    f("source_multicast_to_unknown", |s| {
        eth(UNKNOWN, [3, 0xaa, 0, 0, s[4], s[5]], TYPE_IPV4, &plain())
    }),
    f("jumbo_payload", |s| eth(KNOWN, s, TYPE_IPV4, &ipv4(UDP, &udp(1, 2, 1472)))),
];

/// A plain untagged UDP packet: what floods are made from.
pub fn udp_frame(dst: Mac, src: Mac) -> Vec<u8> {
    eth(dst, src, TYPE_IPV4, &plain())
}

/// A gratuitous ARP request of `src`: makes a switch learn it. `tag` 0 sends it untagged.
pub fn announce(src: Mac, tag: u16) -> Vec<u8> {
    let body = arp(1, src, [10, 0, 0, src[5]], [0; 6], [10, 0, 0, src[5]]);
    match tag {
        0 => eth(BROADCAST, src, TYPE_ARP, &body),
        tag => tagged(BROADCAST, src, &[(TYPE_VLAN, tag)], TYPE_ARP, &body),
    }
}

/// `frame` with an 802.1Q tag behind its addresses.
pub fn with_tag(frame: &[u8], tci: u16) -> Vec<u8> {
    let mut out = frame[..12].to_vec();
    out.extend(TYPE_VLAN.to_be_bytes());
    out.extend(tci.to_be_bytes());
    out.extend(&frame[12..]);
    out
}

const SOLICITED: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 2];
const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const ALL_ROUTERS: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const MLD_ROUTERS: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16];

const fn v6(n: u8) -> [u8; 16] {
    [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]
}

fn eth(dst: Mac, src: Mac, ty: u16, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(14 + body.len());
    out.extend(dst);
    out.extend(src);
    out.extend(ty.to_be_bytes());
    out.extend(body);
    out
}

fn tagged(dst: Mac, src: Mac, tags: &[(u16, u16)], ty: u16, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(dst);
    out.extend(src);
    for (tpid, tci) in tags {
        out.extend(tpid.to_be_bytes());
        out.extend(tci.to_be_bytes());
    }
    out.extend(ty.to_be_bytes());
    out.extend(body);
    out
}

fn arp(op: u16, sha: Mac, spa: [u8; 4], tha: Mac, tpa: [u8; 4]) -> Vec<u8> {
    let mut out = vec![0, 1, 8, 0, 6, 4];
    out.extend(op.to_be_bytes());
    out.extend(sha);
    out.extend(spa);
    out.extend(tha);
    out.extend(tpa);
    out
}

/// An IPv4 header (RFC 791); `options` are bytes of no-operation.
struct Ip4 {
    src: [u8; 4],
    dst: [u8; 4],
    proto: u8,
    tos: u8,
    ttl: u8,
    fragment: u16,
    options: usize,
}

impl Ip4 {
    fn new(proto: u8) -> Self {
        Self { src: IP_A, dst: IP_B, proto, tos: 0, ttl: 64, fragment: 0, options: 0 }
    }

    fn with(&self, body: &[u8]) -> Vec<u8> {
        let header = 20 + self.options;
        let mut out = vec![0x40 | (header / 4) as u8, self.tos];
        out.extend(((header + body.len()) as u16).to_be_bytes());
        out.extend([0x12, 0x34]);
        out.extend(self.fragment.to_be_bytes());
        out.extend([self.ttl, self.proto, 0, 0]);
        out.extend(self.src);
        out.extend(self.dst);
        out.resize(header, 1);
        let sum = checksum(&out);
        out[10..12].copy_from_slice(&sum.to_be_bytes());
        out.extend(body);
        out
    }
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks_exact(2).map(|b| u32::from(u16::from_be_bytes([b[0], b[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !(((sum & 0xffff) + (sum >> 16)) as u16)
}

fn ipv4(proto: u8, body: &[u8]) -> Vec<u8> {
    Ip4::new(proto).with(body)
}

/// A UDP packet of which byte `at` of the IPv4 header says `value`.
fn patched(dst: Mac, src: Mac, at: usize, value: u8) -> Vec<u8> {
    let mut packet = plain();
    packet[at] = value;
    eth(dst, src, TYPE_IPV4, &packet)
}

/// An IPv6 header (RFC 8200).
struct Ip6 {
    src: [u8; 16],
    dst: [u8; 16],
    next: u8,
    hops: u8,
    class_label: u32,
}

impl Ip6 {
    fn new(next: u8) -> Self {
        Self { src: V6_A, dst: V6_B, next, hops: 64, class_label: 0 }
    }

    fn with(&self, body: &[u8]) -> Vec<u8> {
        let mut out = (0x6000_0000 | self.class_label).to_be_bytes().to_vec();
        out.extend((body.len() as u16).to_be_bytes());
        out.extend([self.next, self.hops]);
        out.extend(self.src);
        out.extend(self.dst);
        out.extend(body);
        out
    }
}

fn ipv6(next: u8, body: &[u8]) -> Vec<u8> {
    Ip6::new(next).with(body)
}

fn chain(extensions: &[u8], body: &[u8]) -> Vec<u8> {
    [extensions, body].concat()
}

fn plain() -> Vec<u8> {
    ipv4(UDP, &udp(1, 2, 8))
}

fn icmp(ty: u8, code: u8) -> [u8; 16] {
    [ty, code, 0, 0, 0, 1, 0, 1, b'a', b'b', b'c', b'd', b'e', b'f', b'g', b'h']
}

/// A neighbour solicitation or advertisement (RFC 4861) with one link-layer address option.
fn nd(ty: u8, flags: u8, target: [u8; 16], option: Option<(u8, Mac)>) -> Vec<u8> {
    let mut out = vec![ty, 0, 0, 0, flags, 0, 0, 0];
    out.extend(target);
    if let Some((kind, mac)) = option {
        out.extend([kind, 1]);
        out.extend(mac);
    }
    out
}

fn tcp(flags: u16) -> Vec<u8> {
    let mut out = vec![0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0];
    out.extend((0x5000 | flags).to_be_bytes());
    out.extend([0x20, 0, 0, 0, 0, 0]);
    out
}

fn udp(src: u16, dst: u16, payload: usize) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(src.to_be_bytes());
    out.extend(dst.to_be_bytes());
    out.extend(((8 + payload) as u16).to_be_bytes());
    out.extend([0, 0]);
    out.resize(8 + payload, 0x55);
    out
}

fn sctp() -> Vec<u8> {
    let mut out = vec![0x30, 0x39, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0];
    out.extend([1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    out
}

fn mpls(labels: &[u32], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, label) in labels.iter().enumerate() {
        let bottom = u32::from(i + 1 == labels.len());
        out.extend((label << 12 | bottom << 8 | 64).to_be_bytes());
    }
    out.extend(body);
    out
}

/// A configuration BPDU (IEEE 802.1D) in LLC.
fn bpdu() -> Vec<u8> {
    let mut out = vec![0x42, 0x42, 3, 0, 0, 0, 0, 0];
    out.extend([0x80, 0, 2, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0x80, 0, 2, 0, 0, 0, 0, 9]);
    out.extend([0x80, 1, 0, 0, 20, 0, 2, 0, 15, 0]);
    out
}
