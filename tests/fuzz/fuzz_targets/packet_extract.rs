//! Any bytes: extraction does not panic, its offsets lie in the packet, and text and wildcards of what it
//! read hold together.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rovs::flow::compose::compose;
use rovs::flow::extract::{PacketMetadata, VlanLimit, extract};
use rovs::flow::mini::MiniFlow;
use rovs::flow::{Flow, FlowWildcards};

fuzz_target!(|data: &[u8]| {
    let Some((&kind, frame)) = data.split_first() else { return };
    let packet_type = match kind {
        0x80.. => 0x1_0000 | u32::from(u16::from_be_bytes([0x08, 0x00])),
        _ => 0,
    };
    let metadata = PacketMetadata { packet_type: packet_type.into(), ..Default::default() };
    let mut flow = Flow::ZERO;
    let layers = extract(frame, &metadata, VlanLimit::new(kind.into()), &mut flow);
    for offset in [layers.l2_5, layers.l3, layers.l4].into_iter().flatten() {
        assert!(offset as usize <= frame.len());
    }
    assert!(MiniFlow::new(&flow).expand() == flow);
    let wildcards = FlowWildcards::for_packet(&flow);
    assert!(wildcards.equal_except(&flow, &flow));
    let _ = flow.to_string();
    compose(&flow, frame);
});
