//! Recordings of both kernels, taken in the lab by `tests/replay/make`, replayed without a kernel:
//! the upcall road gives today the same bytes as then.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use proptest::prelude::*;
use rovs::datapath::recording::{Event, Recording};
use rovs::tool::replay::said::Said;
use rovs::tool::replay::{Outcome, replay};

fn recordings() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replay");
    let entries = std::fs::read_dir(dir).expect("a directory").flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pcap"))
        .collect();
    found.sort();
    assert!(found.len() >= 2, "{found:?}");
    found
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("a readable recording")
}

fn parse(path: &Path) -> Recording {
    Recording::parse(bytes(path)).expect("a recording")
}

/// The configuration that a recording begins with, without the state behind it.
fn first_config(recording: &Recording) -> String {
    let text = recording.frames().flatten().find_map(|frame| match frame.event {
        Event::Config(text) => Some(text.to_owned()),
        _ => None,
    });
    let text = text.expect("a configuration");
    text.lines().filter(|line| !line.starts_with("#:")).map(|line| format!("{line}\n")).collect()
}

fn against(path: &Path, config: &str) -> Outcome {
    let config = rovs::standalone::parse(config).expect("a configuration");
    replay(parse(path), Some(config), |_| ()).expect("a replay")
}

#[test]
fn every_recording_gives_the_same_bytes() {
    for path in recordings() {
        let outcome = replay(parse(&path), None, |_| ()).expect("a replay");
        assert!(outcome.is_well(), "{}: {:#?}", path.display(), outcome.differences.first());
        let sums = &outcome.comparison;
        assert!(sums.upcalls > 50 && sums.puts > 50 && sums.executes > 50, "{sums:?}");
        assert_eq!(sums.equal, sums.puts + sums.executes);
        assert_eq!((outcome.ended.as_deref(), outcome.gaps), (Some("asked to"), 0));
    }
}

#[test]
fn another_configuration_is_told_flow_by_flow() {
    for path in recordings() {
        let config = first_config(&parse(&path));
        // The configuration that the daemon began with, kept to the end: what differs stems from
        // the change half-way, which put vb into VLAN 20.
        let kept = against(&path, &config);
        assert!(kept.is_well());
        let all = kept.comparison.upcalls;
        assert!(kept.upcalls_changed > 0 && kept.upcalls_changed < all / 2, "{kept:#?}");
        assert!(kept.changes.iter().any(|change| change.other.contains("vb")), "{kept:#?}");
        // No bridge: everything is dropped.
        let none = against(&path, "");
        assert!(none.upcalls_changed >= none.comparison.executes, "{none:#?}");
        assert!(none.changes.iter().all(|change| change.other.contains("actions:drop")));
        let told: u64 = none.changes.iter().map(|change| change.upcalls).sum();
        assert_eq!(told, none.upcalls_changed);
    }
}

#[test]
fn an_answer_that_was_altered_is_found() {
    let path = &recordings()[0];
    let mut altered = bytes(path);
    let recording = parse(path);
    let families = recording.head.families;
    let put = recording.frames().flatten().find_map(|frame| match frame.event {
        Event::Sent { message, .. } => match Said::parse(message, families) {
            Said::Put { actions, .. } if !actions.is_empty() => Some((message, actions)),
            _ => None,
        },
        _ => None,
    });
    let (message, actions) = put.expect("a flow that was put");
    let end = message.windows(actions.len()).position(|window| window == actions).expect("them");
    let end = end + actions.len();
    let at = altered.windows(message.len()).position(|window| window == message).expect("it");
    // The last word of the actions is a port: another one.
    altered[at + end - 4] ^= 0x40;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("altered.pcap");
    std::fs::write(&file, altered).expect("a file");
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rovs"));
        command.arg("replay").arg(&file).args(args).output().expect("a run")
    };
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("  then  flow ufid:") && text.contains("  now   flow ufid:"), "{text}");
    assert!(text.contains(", 1 different"), "{text}");
    let output = run(&["--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["different"], 1);
    assert_ne!(json["differences"][0]["recorded"], json["differences"][0]["replayed"]);
}

#[test]
fn files_that_are_no_recordings_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("x.pcap");
    for content in [&b""[..], b"hello, world, this is no recording", &[0xff; 100]] {
        std::fs::write(&file, content).expect("a file");
        let output = Command::new(env!("CARGO_BIN_EXE_rovs")).arg("replay").arg(&file).output();
        let output = output.expect("a run");
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("x.pcap") && text.contains("rovs record"), "{text}");
    }
}

fn one() -> &'static [u8] {
    static ONE: OnceLock<Vec<u8>> = OnceLock::new();
    ONE.get_or_init(|| bytes(&recordings()[0]))
}

/// Reads and replays; an error is as good as an outcome, a panic is not.
fn survive(bytes: Vec<u8>) -> Option<Outcome> {
    let recording = Recording::parse(bytes).ok()?;
    let config = rovs::standalone::parse("[bridge.b]\n[bridge.b.port.va]\n").expect("a config");
    replay(recording, Some(config), |_| ()).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn cut_anywhere_what_stands_before_is_the_same(cut in 0..one().len()) {
        let whole = one();
        if let Some(outcome) = survive(whole[..cut].to_vec()) {
            // A batch whose answers are cut off has answers that were never recorded, no others.
            prop_assert!(outcome.differences.iter().all(|d| d.recorded.is_none()), "{outcome:?}");
            prop_assert!(outcome.ended.is_none());
        }
    }

    #[test]
    fn flipped_bytes_are_survived(
        flips in proptest::collection::vec((0..one().len(), 1..=255u8), 1..40),
    ) {
        let mut bytes = one().to_vec();
        for (at, flip) in flips {
            bytes[at] ^= flip;
        }
        let _ = survive(bytes);
    }

    #[test]
    fn flipped_bytes_of_packets_are_survived(
        flips in proptest::collection::vec((0..one().len(), 1..=255u8), 1..40),
    ) {
        // Behind the head and in front of no frame: pcap headers stay whole, messages do not.
        let mut bytes = one().to_vec();
        let mut inside = Vec::new();
        let mut at = 24;
        while let Some(length) = bytes.get(at + 8..at + 12) {
            let length = u32::from_ne_bytes([length[0], length[1], length[2], length[3]]) as usize;
            inside.extend(at + 16 + 32..at + 16 + length);
            at += 16 + length;
        }
        for (pick, flip) in flips {
            bytes[inside[pick % inside.len()]] ^= flip;
        }
        let _ = survive(bytes);
    }
}
