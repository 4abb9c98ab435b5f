//! A batch gives the answers that its upcalls give one by one: what is remembered from one packet for
//! the next changes nothing. Random packets of few senders, where flows match exactly and where not.

#[path = "cost/world.rs"]
#[expect(dead_code, reason = "the gates want more of it")]
mod world;

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use ovs_netlink::msg::Messages;
use ovs_netlink::packet::Upcall;
use proptest::prelude::*;
use rovs::upcall::worker::Worker;

use world::World;

/// Device and frame: few addresses, with and without tags, in kinds that differ in their headers.
fn packets() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let device = proptest::sample::select(&["a", "a", "b"][..]);
    let tag = prop_oneof![1 => Just(None), 1 => (0u8..2, 0u8..2).prop_map(Some)];
    let dst = prop_oneof![6 => 1u8..3, 1 => Just(0xff)];
    (device, dst, 1u8..3, tag, 0u8..5, 0u8..3).prop_map(|(device, dst, src, tag, kind, n)| {
        let dst_mac = if dst == 0xff { [0xff; 6] } else { [2, 0, 0, 0, 0, dst] };
        let mut frame = [dst_mac, [2, 0, 0, 0, 0, src]].concat();
        if let Some((pcp, vid)) = tag {
            frame.extend([0x81, 0, pcp << 5, vid]);
        }
        match kind {
            // A request for the sender itself is another decision.
            0 => {
                frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, src, 10, 0, 0, src]);
                frame.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, if n == 0 { src } else { n }]);
            }
            1 => frame.extend([0x88, 0xb5, n]),
            kind => {
                let fragment = if kind == 2 { [0x20, n] } else { [0, 0] };
                frame.extend([8, 0, 0x45, n, 0, 32, 0, 0, fragment[0], fragment[1], 64, 17, 0, 0]);
                frame.extend([10, 0, 0, src, 10, 0, 0, dst, 0, n, 0, 53, 0, 12, 0, 0]);
            }
        }
        frame.resize(64, 0);
        (device, frame)
    })
}

fn key(datagram: &[u8]) -> &[u8] {
    let message = Messages::new(datagram).next().unwrap().unwrap();
    Upcall::parse(message.genl().unwrap()).unwrap().key
}

/// The answers to all of them, decided in batches of this many.
fn answers(packets: &[(&str, Vec<u8>)], is_exact: bool, batch: usize) -> (Vec<u8>, usize) {
    let mut world = World::new();
    let udpif = world.switch.udpif.clone();
    udpif.settings.megaflows.store(!is_exact, Ordering::Relaxed);
    let mut worker = Worker::new(udpif.clone());
    for (device, frame) in packets {
        assert!(world.kernel.inject(device, frame));
    }
    let mut upcalls = world.waiting();
    assert_eq!(upcalls.len(), packets.len());
    // Those of equal keys have the first one's answer in a batch, whatever was learned in between.
    let mut keys = HashSet::new();
    upcalls.retain(|datagram| keys.insert(key(datagram).to_vec()));
    let mut all = Vec::new();
    for batch in upcalls.chunks(batch) {
        worker.begin(1_000);
        batch.iter().for_each(|datagram| worker.decide(datagram));
        all.extend_from_slice(worker.finish());
        worker.settle();
    }
    (all, udpif.ukeys.len())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_is_answered_as_its_upcalls_one_by_one(
        packets in proptest::collection::vec(packets(), 1..120),
        is_exact: bool,
    ) {
        let together = answers(&packets, is_exact, packets.len());
        prop_assert_eq!(together, answers(&packets, is_exact, 1));
    }
}
