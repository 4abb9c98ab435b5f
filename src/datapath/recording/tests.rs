use proptest::prelude::*;

use super::*;
use crate::datapath::{Datapath, fake::FakeKernel};

fn head() -> Head {
    let dp = FakeKernel::new().open("ovs-system", true).unwrap();
    Head {
        version: VERSION,
        program: "rovs 0".to_owned(),
        datapath: "ovs-system".to_owned(),
        dp_ifindex: 3,
        families: dp.families(),
        support: dp.support().clone(),
        ufid_secret: "00ff".to_owned(),
        wall_ns: 1_700_000_000_123_000_000,
        monotonic_ms: 5000,
    }
}

/// A netlink message of the packet family.
fn message(seq: u8, payload: &[u8]) -> Vec<u8> {
    let len = 16 + payload.len();
    let mut m = u32::try_from(len).unwrap().to_ne_bytes().to_vec();
    m.extend_from_slice(&head().families.packet.to_ne_bytes());
    m.extend_from_slice(&[0, 0, seq, 0, 0, 0, 0, 0, 0, 0]);
    m.extend_from_slice(payload);
    m
}

fn sample() -> Vec<u8> {
    let mut w = Writer::new(&head());
    let port = RecordedPort { odp: 1, name: "v1".to_owned(), kind: 1, ifindex: Some(9) };
    w.config(5000, "[bridge.br0]\n");
    w.ports(5000, &[port]);
    w.upcall(5001, 0, 1, &message(0, b"odd"));
    w.upcall(5001, 0, 1, &message(0, b"more"));
    let sent = [message(1, b"four"), message(2, b"four")].concat();
    w.sent(5002, 0, 1, &sent);
    w.refused(5002, 0, 1, 2, libc::EEXIST);
    w.overrun(5003, 1);
    w.learned(5003, "br0 v1 0 02:00:00:00:00:01");
    w.gap(5003, 7);
    w.end(5004, "asked to");
    w.bytes
}

#[test]
fn what_was_written_is_read_back() {
    let recording = Recording::parse(sample()).unwrap();
    assert_eq!(recording.head, head());
    let frames: Vec<_> = recording.frames().map(Result::unwrap).collect();
    let events: Vec<_> = frames.iter().map(|f| f.event).collect();
    let ports = r#"[{"odp":1,"name":"v1","kind":1,"ifindex":9}]"#;
    assert_eq!(
        events,
        [
            Event::Config("[bridge.br0]\n"),
            Event::Ports(ports),
            Event::Upcall { handler: 0, batch: 1, datagram: &message(0, b"odd") },
            Event::Upcall { handler: 0, batch: 1, datagram: &message(0, b"more") },
            Event::Sent { handler: 0, batch: 1, message: &message(1, b"four") },
            Event::Sent { handler: 0, batch: 1, message: &message(2, b"four") },
            Event::Refused { handler: 0, batch: 1, seq: 2, errno: libc::EEXIST },
            Event::Overrun { handler: 1 },
            Event::Learned("br0 v1 0 02:00:00:00:00:01"),
            Event::Gap { batches: 7 },
            Event::End { reason: "asked to" },
        ]
    );
    assert_eq!(frames[2].monotonic_ms, 5001);
    assert_eq!(frames[2].wall_ns, head().wall_ns + 1_000_000);
    assert_eq!(Recording::parse_ports(ports).unwrap()[0].info().name, "v1");
}

#[test]
fn long_texts_are_split_and_come_back() {
    let text = "ä€ ".repeat(60_000);
    let mut w = Writer::new(&head());
    w.config(5000, &text);
    let recording = Recording::parse(w.bytes).unwrap();
    let mut all = String::new();
    for frame in recording.frames() {
        match frame.unwrap().event {
            Event::Config(part) | Event::ConfigPart(part) => all.push_str(part),
            other => panic!("{other:?}"),
        }
    }
    assert!(all == text);
}

#[test]
fn other_files_are_refused_by_name() {
    let parse = |bytes: Vec<u8>| Recording::parse(bytes).map(drop);
    assert_eq!(parse(b"#!/bin".to_vec()), Err(RecordingError::TooShort { len: 6 }));
    assert!(matches!(parse(vec![0; 24]), Err(RecordingError::Magic { magic: 0 })));
    let mut ethernet = sample();
    ethernet[20] = 1;
    assert_eq!(parse(ethernet), Err(RecordingError::LinkType { link_type: 1 }));
    let mut w = Writer::new(&Head { version: 2, ..head() });
    w.end(5000, "");
    assert_eq!(parse(w.bytes), Err(RecordingError::Version { version: 2 }));
    assert_eq!(parse(sample()[..24].to_vec()), Err(RecordingError::NoHead));
}

#[test]
fn a_file_cut_anywhere_says_where() {
    let whole = sample();
    let all = Recording::parse(whole.clone()).unwrap().frames().count();
    for len in 0..whole.len() {
        let Ok(recording) = Recording::parse(whole[..len].to_vec()) else { continue };
        let frames: Vec<_> = recording.frames().collect();
        let (good, bad): (Vec<_>, Vec<_>) = frames.into_iter().partition(Result::is_ok);
        assert!(good.len() < all && bad.len() <= 1, "{len}");
        if let Some(Err(e)) = bad.first() {
            assert!(matches!(e, RecordingError::Cut { .. }), "{len}: {e}");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(
        changes in proptest::collection::vec((0usize..5000, any::<u8>()), 1..20),
        len in 0usize..5000,
    ) {
        let mut bytes = sample();
        bytes.truncate(len.max(1));
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if let Ok(recording) = Recording::parse(bytes) {
            for frame in recording.frames() {
                if let Ok(Frame { event: Event::Ports(text), .. }) = frame {
                    let _ = Recording::parse_ports(text);
                }
            }
        }
    }

    #[test]
    fn datagrams_of_any_content_survive(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut w = Writer::new(&head());
        let datagram = message(0, &payload);
        w.upcall(6000, 3, 4, &datagram);
        let recording = Recording::parse(w.bytes).unwrap();
        let frame = recording.frames().next().unwrap().unwrap();
        prop_assert_eq!(frame.event, Event::Upcall { handler: 3, batch: 4, datagram: &datagram });
    }
}

// The independent reader. What it says of one frame each is looked at.
#[test]
#[ignore = "needs tshark"]
fn tshark_reads_it_and_names_the_families() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sample.pcap");
    std::fs::write(&path, sample()).unwrap();
    let out = std::process::Command::new("tshark").arg("-Vr").arg(&path).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let frames = text.matches("Linux netlink (cooked header)").count();
    assert_eq!(frames, sample_frames(), "{text}");
    for said in ["ovs_packet", FAMILY_NAME, "Family: Generic (0x0010)"] {
        assert!(text.contains(said), "{said} in {text}");
    }
    assert!(!text.contains("Malformed"), "{text}");
}

/// Frames of the sample: seven announcements and the head, and the events.
fn sample_frames() -> usize {
    8 + Recording::parse(sample()).unwrap().frames().count()
}
