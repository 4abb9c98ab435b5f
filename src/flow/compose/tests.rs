//! Composed packets read as the flows they were made of, and are sound to etherparse.

use etherparse::SlicedPacket;
use proptest::prelude::*;

use super::*;
use crate::flow::VlanHdr;
use crate::flow::extract::{PacketMetadata, VlanLimit, extract};

fn read(frame: &[u8]) -> Flow {
    let mut flow = Flow::ZERO;
    extract(frame, &PacketMetadata::default(), VlanLimit::MAX, &mut flow);
    flow
}

/// The flows of the extraction corpus: whatever a packet can say, saying it again says the same.
#[test]
fn corpus_composes_to_itself() {
    let corpus = include_str!("../extract/corpus.txt").lines().filter(|l| !l.starts_with('#'));
    for line in corpus {
        let (hex, _) = line.split_once(' ').unwrap();
        let frame: Vec<u8> = (0..hex.len() / 2)
            .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        let flow = read(&frame);
        // Only sound packets: what is cut short reads as a field that a whole packet cannot have.
        let later6 = flow.dl_type.get() == 0x86dd && flow.nw_frag & 2 != 0;
        let again = read(&compose(&flow, &[]));
        let cut = flow.dl_type.get() == 0x8100 || frame.len() < 14;
        let opt_without_target = flow.tcp_flags.get() != 0 && flow.nd_target == [0; 16];
        if !(cut || later6 || opt_without_target) && flow.nw_ttl != 0 {
            assert_eq!(again, flow, "{hex}: {flow}, again {again}");
        }
    }
}

#[test]
fn checksums_are_right() {
    for text in [
        "tcp,nw_src=1.2.3.4,nw_dst=5.6.7.8,tp_src=9,tp_dst=10,tcp_flags=ack",
        "udp,nw_src=1.2.3.4,nw_dst=5.6.7.8,udp_src=9,udp_dst=10",
        "udp6,ipv6_src=fd00::1,ipv6_dst=fd00::2,udp_src=9,udp_dst=10",
        "icmp6,ipv6_src=fd00::1,ipv6_dst=fd00::2,icmpv6_type=128",
        "icmp,nw_src=1.2.3.4,icmp_type=8",
    ] {
        let flow = Flow::parse(text, None).unwrap();
        let frame = compose(&flow, b"some payload!");
        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        let l3 = &frame[14..];
        if flow.dl_type.get() == 0x0800 {
            assert_eq!(csum::checksum(&l3[..20]), 0, "{text}");
            let (ip, segment) = crate::packet::header::<Ipv4Header>(l3).unwrap();
            let start = match flow.nw_proto {
                ip_proto::ICMP => csum::Sum::default(),
                _ => ip.pseudo_header(segment.len()),
            };
            assert_eq!(start.bytes(segment).finish(), 0, "{text}");
        } else {
            let (ip, segment) = crate::packet::header::<Ipv6Header>(l3).unwrap();
            let start = ip.pseudo_header(flow.nw_proto, segment.len());
            assert_eq!(start.bytes(segment).finish(), 0, "{text}");
        }
        assert!(packet.transport.is_some(), "{text}");
    }
}

prop_compose! {
    /// A flow that a sound packet can have.
    fn sound_flow()(
        kind in 0usize..12, macs: [[u8; 6]; 4], vlans in prop::collection::vec(any::<(bool, u16)>(), 0..3),
        ip4: [[u8; 4]; 3], ip6: [[u8; 16]; 3], tos: u8, ttl: u8, label in 0u32..1 << 20,
        ports: [u16; 2], flags in 0u16..0x1000, frag in 0u8..3, lses: [u32; 3], nsh: [u32; 5],
    ) -> Flow {
        let mut flow = Flow { dl_dst: EthAddr(macs[0]), dl_src: EthAddr(macs[1]), ..Flow::ZERO };
        for (to, (outer, tci)) in flow.vlans.iter_mut().zip(vlans) {
            let tpid: u16 = if outer { 0x88a8 } else { 0x8100 };
            *to = VlanHdr { tpid: tpid.into(), tci: (tci | VLAN_CFI).into() };
        }
        let v6 = kind % 2 == 1;
        flow.dl_type = match kind {
            0..8 => if v6 { 0x86dd } else { 0x0800 },
            8 => 0x0806,
            9 => 0x8847,
            10 => 0x894f,
            _ => 0x9999,
        }.into();
        match kind {
            0..8 => {
                flow.nw_tos = tos;
                flow.nw_ttl = ttl;
                flow.nw_frag = [0, 1, 3][usize::from(frag)];
                if v6 {
                    flow.ipv6_src = ip6[0];
                    flow.ipv6_dst = ip6[1];
                    flow.ipv6_label = label.into();
                } else {
                    flow.nw_src = ip4[0];
                    flow.nw_dst = ip4[1];
                }
                flow.nw_proto = [6, 6, 17, 17, 1, 58, 2, 132][kind];
                if flow.nw_frag & 2 != 0 {
                    flow.nw_proto = if v6 { 44 } else { flow.nw_proto };
                    return flow;
                }
                (flow.tp_src, flow.tp_dst) = (ports[0].into(), ports[1].into());
                match flow.nw_proto {
                    6 => flow.tcp_flags = flags.into(),
                    1 | 2 => {
                        (flow.tp_src, flow.tp_dst) = ((ports[0] & 0xff).into(), (ports[1] & 0xff).into());
                        if flow.nw_proto == 2 {
                            flow.igmp_group_ip4 = ip4[2];
                        }
                    }
                    58 => {
                        (flow.tp_src, flow.tp_dst) = ((135 + ports[0] % 2).into(), 0.into());
                        flow.nd_target = ip6[2];
                        flow.igmp_group_ip4 = ip4[2];
                        if flags & 1 != 0 {
                            flow.arp_sha = EthAddr(macs[2]);
                            flow.tcp_flags = 1.into();
                        }
                    }
                    _ => {}
                }
            }
            8 => {
                flow.nw_src = ip4[0];
                flow.nw_dst = ip4[1];
                flow.nw_proto = tos;
                flow.arp_sha = EthAddr(macs[2]);
                flow.arp_tha = EthAddr(macs[3]);
            }
            9 => {
                let count = usize::from(frag) + 1;
                for (i, lse) in lses.into_iter().take(count).enumerate() {
                    let bos = if i + 1 == count { MPLS_BOS_MASK } else { 0 };
                    flow.mpls_lse[i] = (lse & !MPLS_BOS_MASK | bos).into();
                }
            }
            10 => {
                flow.nsh.flags = tos & 3;
                flow.nsh.ttl = ttl & 63;
                flow.nsh.mdtype = 1 + tos % 2;
                flow.nsh.np = 3;
                flow.nsh.path_hdr = nsh[0].into();
                if flow.nsh.mdtype == 1 {
                    for (to, from) in flow.nsh.context.iter_mut().zip(&nsh[1..]) {
                        *to = (*from).into();
                    }
                }
            }
            _ => {}
        }
        flow
    }
}

proptest! {
    #[test]
    fn extract_undoes_compose(flow in sound_flow(), payload in prop::collection::vec(any::<u8>(), 0..40)) {
        let frame = compose(&flow, &payload);
        let again = read(&frame);
        prop_assert_eq!(again, flow, "{} but {}", flow, again);
    }

    /// Of every packet, the part up to any length is read without trouble.
    #[test]
    fn every_length_is_read(flow in sound_flow()) {
        let frame = compose(&flow, &[]);
        for length in 0..frame.len() {
            read(&frame[..length]);
        }
    }

    /// What such a packet has includes all that is not zero in its flow.
    #[test]
    fn packets_have_their_fields(flow in sound_flow()) {
        let mut wildcards = crate::flow::FlowWildcards::for_packet(&flow);
        // Not among them, as in the peer: what only neighbour discovery has.
        wildcards.masks.tcp_flags = u16::MAX.into();
        wildcards.masks.igmp_group_ip4 = [0xff; 4];
        let shown = crate::flow::Match::new(&flow, &wildcards);
        prop_assert_eq!(shown.flow, flow);
    }

    /// Any flow at all makes some packet.
    #[test]
    fn noise_composes(words in prop::collection::vec(any::<u64>(), crate::flow::FLOW_WORDS), dl_type in
        prop::sample::select(vec![0x0800u16, 0x86dd, 0x0806, 0x8847, 0x894f, 0x05ff, 0]),
        proto in prop::sample::select(vec![1u8, 2, 6, 17, 58, 132, 44])) {
        let mut flow = Flow::ZERO;
        flow.words_mut().copy_from_slice(&words);
        flow.dl_type = dl_type.into();
        flow.nw_proto = proto;
        read(&compose(&flow, b"x"));
        let _ = flow.to_string();
    }
}
