//! No upcall, however odd, makes a handler panic or the kernel hold a wrong flow. The fuzz target
//! `road` walks the same; what it found is kept here.

mod road_upcalls {
    pub mod walk;
}

use proptest::prelude::*;
use road_upcalls::walk::walk;

/// A step of injecting a frame by device `n`, as the walk reads it.
fn frame(n: u8, frame: &[u8]) -> Vec<u8> {
    let mut step = vec![4 | n << 3, frame.len() as u8];
    step.extend(frame);
    step
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..most)
}

/// The beginning of a frame that goes somewhere, and anything behind.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let mac = || (0u8..4).prop_map(|n| [2, 0, 0, 0, 0, n]);
    let tags = proptest::collection::vec((any::<bool>(), 0u8..8, 0u8..3), 0..3);
    let kind = prop_oneof![
        Just([8, 0]),
        Just([8, 6]),
        Just([0x86, 0xdd]),
        Just([0x88, 0x47]),
        any::<[u8; 2]>()
    ];
    (mac(), mac(), tags, kind, bytes(80)).prop_map(|(dst, src, tags, kind, rest)| {
        let mut frame = [dst, src].concat();
        for (service, pcp, vid) in tags {
            frame.extend(if service { [0x88, 0xa8] } else { [0x81, 0] });
            frame.extend([pcp << 5, vid * 10]);
        }
        frame.extend(kind);
        frame.extend(rest);
        frame
    })
}

fn steps() -> impl Strategy<Value = Vec<u8>> {
    let with_length = |mut bytes: Vec<u8>| {
        bytes.insert(0, bytes.len() as u8);
        bytes
    };
    prop_oneof![
        2 => bytes(60).prop_map(move |bytes| [vec![0], with_length(bytes)].concat()),
        2 => bytes(60).prop_map(move |bytes| [vec![1], with_length(bytes)].concat()),
        8 => (0u8..4, frames()).prop_map(|(n, bytes)| frame(n, &bytes)),
        8 => (0u8..4, frames(), bytes(10)).prop_map(move |(n, bytes, changes)| {
            [vec![6 | n << 3], with_length(bytes), with_length(changes)].concat()
        }),
        2 => any::<u8>().prop_map(|choice| vec![choice | 7]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_upcalls_end_well(
        config in 0u8..4,
        steps in proptest::collection::vec(steps(), 0..24),
    ) {
        walk(&[vec![config], steps.concat()].concat());
    }
}
