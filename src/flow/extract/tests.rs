//! Extraction against etherparse's idea of the same frames, and on odd input.

use etherparse::{PacketBuilder, SlicedPacket, TransportSlice, VlanId};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn flow_of(frame: &[u8]) -> (Flow, Layers) {
    let mut flow = Flow::ZERO;
    let layers = extract(frame, &PacketMetadata::default(), VlanLimit::MAX, &mut flow);
    (flow, layers)
}

fn tcp_frame() -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .double_vlan(VlanId::try_new(5).unwrap(), VlanId::try_new(6).unwrap())
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 63)
        .tcp(1234, 80, 7, 1000)
        .syn()
        .write(&mut frame, b"data")
        .unwrap();
    frame
}

#[test]
fn double_tagged_tcp() {
    let (flow, layers) = flow_of(&tcp_frame());
    assert_eq!((flow.dl_src, flow.dl_dst), (EthAddr([2; 6]), EthAddr([4; 6])));
    assert_eq!(flow.vlans.map(|v| v.tci.get()), [0x1005, 0x1006]);
    assert_eq!(flow.vlans.map(|v| v.tpid.get()), [0x88a8, 0x8100]);
    assert_eq!(flow.dl_type.get(), 0x0800);
    assert_eq!((flow.nw_src, flow.nw_dst), ([10, 0, 0, 1], [10, 0, 0, 2]));
    assert_eq!((flow.nw_proto, flow.nw_ttl, flow.nw_frag), (6, 63, 0));
    assert_eq!((flow.tp_src.get(), flow.tp_dst.get(), flow.tcp_flags.get()), (1234, 80, 2));
    assert_eq!(layers, Layers { l2_5: None, l3: Some(22), l4: Some(42), l2_pad: 0 });
}

#[test]
fn a_tag_beyond_the_limit_is_the_type() {
    let mut flow = Flow::ZERO;
    let layers = extract(&tcp_frame(), &PacketMetadata::default(), VlanLimit::default(), &mut flow);
    assert_eq!(flow.vlans[0].tci.get(), 0x1005);
    assert_eq!(flow.vlans[1], VlanHdr::default());
    assert_eq!(flow.dl_type.get(), 0x8100);
    assert_eq!(flow.nw_proto, 0);
    assert_eq!(layers.l3, Some(18));
}

#[test]
fn connection_fields_follow_the_packet() {
    let ct_orig =
        CtOrigTuple::V4 { src: [1; 4], dst: [2; 4], proto: 17, tp_src: 5.into(), tp_dst: 6.into() };
    let metadata = PacketMetadata { ct_state: 0x21, ct_mark: 9, ct_orig, ..Default::default() };
    let mut flow = Flow::ZERO;
    extract(&tcp_frame(), &metadata, VlanLimit::MAX, &mut flow);
    assert_eq!((flow.ct_nw_src, flow.ct_nw_proto, flow.ct_mark), ([1; 4], 17, 9));
    assert_eq!((flow.ct_tp_src.get(), flow.ct_tp_dst.get()), (5, 6));
    let mut again = Flow::ZERO;
    extract(&tcp_frame(), &PacketMetadata::of(&flow), VlanLimit::MAX, &mut again);
    assert!(again == flow);
    // Without a state, nothing else counts.
    let metadata = PacketMetadata { ct_state: 0, ..metadata };
    extract(&tcp_frame(), &metadata, VlanLimit::MAX, &mut flow);
    assert_eq!((flow.ct_nw_proto, flow.ct_mark, flow.ct_tp_src.get()), (0, 0, 0));
}

#[test]
fn every_truncation_only_loses_fields() {
    let frame = tcp_frame();
    let (whole, _) = flow_of(&frame);
    for cut in 0..frame.len() {
        let (flow, layers) = flow_of(&frame[..cut]);
        assert_eq!(layers.l3.is_some(), cut >= 14, "cut at {cut}");
        assert_eq!(layers.l4, None, "total length lies, cut at {cut}");
        assert_eq!(flow.nw_proto, 0);
        if cut >= 22 {
            assert_eq!(flow.vlans, whole.vlans);
        }
    }
    assert_eq!(flow_of(&frame[..13]).0, Flow::ZERO);
    // Cut between the tags: the second tag's type stands for the packet's.
    assert_eq!(flow_of(&frame[..20]).0.dl_type.get(), 0x8100);
}

proptest! {
    #[test]
    fn arbitrary_bytes(frame in vec(any::<u8>(), 0..200), packet_type in any::<Option<u16>>()) {
        let packet_type = packet_type.map_or(0, |t| 0x1_0000 | u32::from(t));
        let metadata = PacketMetadata { packet_type: packet_type.into(), ..Default::default() };
        let mut flow = Flow::ZERO;
        let layers = extract(&frame, &metadata, VlanLimit::MAX, &mut flow);
        for offset in [layers.l2_5, layers.l3, layers.l4].into_iter().flatten() {
            prop_assert!(offset as usize <= frame.len());
        }
    }

    /// Bytes that look like headers reach deeper than random ones. (An IPv6 payload length of 0 is
    /// etherparse's word for "all there is"; for the kernel and the peer it is nothing.)
    #[test]
    fn agrees_with_etherparse(
        tail in vec(any::<u8>(), 0..120), ipv6: bool, proto in prop::sample::select(
            vec![0u8, 1, 2, 6, 17, 43, 44, 51, 58, 60, 132]), plen in 1u16..120,
    ) {
        let mut frame = vec![2; 12];
        if ipv6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(plen.to_be_bytes());
            frame.extend([proto, 64]);
            frame.extend([9; 32]);
        } else {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend((plen + 20).to_be_bytes());
            frame.extend([0, 0, 0, 0, 64, proto, 0, 0]);
            frame.extend([9; 8]);
        }
        frame.extend(tail);
        let (flow, layers) = flow_of(&frame);
        // Only where both found a transport header: etherparse stops at other errors than we do.
        if let (Some(l4), Ok(sliced)) = (layers.l4, SlicedPacket::from_ethernet(&frame)) {
            prop_assert!(l4 as usize <= frame.len());
            let ports = match sliced.transport {
                Some(TransportSlice::Tcp(tcp)) => Some((tcp.source_port(), tcp.destination_port())),
                Some(TransportSlice::Udp(udp)) => Some((udp.source_port(), udp.destination_port())),
                Some(TransportSlice::Icmpv4(icmp)) =>
                    Some((icmp.type_u8().into(), icmp.code_u8().into())),
                Some(TransportSlice::Icmpv6(icmp)) =>
                    Some((icmp.type_u8().into(), icmp.code_u8().into())),
                _ => None,
            };
            if let Some(ports) = ports {
                prop_assert_eq!((flow.tp_src.get(), flow.tp_dst.get()), ports);
            }
        }
    }
}

/// Frames and what `ovs-ofctl parse-pcap` (3.1.0) wrote for them; `corpus.txt` beside this file, or another
/// of the same form that the environment names.
#[test]
fn agrees_with_the_peer() {
    let other = std::env::var("ROVS_EXTRACT_CORPUS").map(std::fs::read_to_string);
    let corpus = match &other {
        Ok(read) => read.as_deref().unwrap(),
        Err(_) => include_str!("corpus.txt"),
    };
    let metadata = PacketMetadata { in_port: 0xffff, ..Default::default() };
    let mut wrong = Vec::new();
    for line in corpus.lines().filter(|line| !line.starts_with('#')) {
        let (hex, expected) = line.split_once(' ').unwrap();
        let frame: Vec<u8> = (0..hex.len() / 2)
            .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        let mut flow = Flow::ZERO;
        extract(&frame, &metadata, VlanLimit::MAX, &mut flow);
        let text = flow.to_string();
        if text != expected {
            wrong.push(format!("{hex}\n   ours {text}\n  peer's {expected}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(10)].join("\n")
    );
}
