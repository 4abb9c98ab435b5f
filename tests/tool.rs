//! The tool as people and scripts meet it: over a control socket that a fake daemon serves.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use rovs::unixctl::{CommandError, Format, Registry, Server};
use serde_json::{Value, json};

/// A control socket with the commands that the tool uses; it lives as long as this value.
struct Fake {
    dir: tempfile::TempDir,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Fake {
    fn start(register: fn(&Registry)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("fake.ctl");
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let registry = Registry::new("ovs-vswitchd (Open vSwitch) 3.1.0");
            register(&registry);
            tokio::task::LocalSet::new().block_on(&runtime.expect("a runtime"), async {
                let server = Server::bind(&path, registry).expect("a server");
                let server = tokio::task::spawn_local(server.run());
                ready.send(()).expect("someone waits");
                let _ = stopped.await;
                server.abort();
            });
        });
        is_ready.recv().expect("a server");
        Self { dir, stop: Some(stop), thread: Some(thread) }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("fake.ctl")
    }

    fn rovs(&self, args: &[&str]) -> Output {
        let mut command = rovs();
        command.env("OVS_RUNDIR", self.dir.path()).arg("--target").arg(self.socket());
        command.args(args).output().expect("a run")
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn rovs() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rovs"));
    command.stdin(Stdio::null());
    command
}

/// Status, standard output and standard error.
fn texts(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn stdout(output: Output) -> String {
    let (code, out, err) = texts(output);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(err, "");
    out
}

fn switch(registry: &Registry) {
    registry.register("flow/why", "", 1..=1, |call| match (call.arg(0), call.format) {
        (Some("in_port(veth0) icmp"), Format::Text) => Ok("the story\n".into()),
        (Some("in_port(veth0) icmp"), Format::Json) => Ok(json!([{"ufid": "ufid:1"}]).into()),
        _ => Err::<rovs::unixctl::Output, _>(CommandError("no installed flow is it".to_owned())),
    });
    registry.register("flow/history", "", 0..=1, |call| {
        Ok(match call.format {
            Format::Text => format!("last {}: idle", call.arg(0).unwrap_or_default()).into(),
            Format::Json => rovs::unixctl::Output::from(json!([{"reason": "idle"}])),
        })
    });
    registry.register("dpctl/dump-flows", "", 0..=4, |_| {
        Ok(json!([
            {"ufid": "ufid:1", "flow": "in_port(veth0),eth_type(0x0806)", "actions": "veth1",
             "packets": 3, "bytes": 126, "used_ms_ago": 1250},
            {"ufid": null, "flow": "in_port(veth1)", "actions": "drop",
             "packets": 0, "bytes": 0, "used_ms_ago": null},
        ]))
    });
    registry.register("dpctl/show", "", 0..=2, |_| {
        let port = |port: u32, name: &str, kind: &str| {
            json!({"port": port, "name": name, "type": kind, "rx_packets": 10, "tx_packets": 20,
                   "rx_bytes": 1000, "tx_bytes": 2000, "rx_dropped": 1, "tx_dropped": 2})
        };
        Ok(json!({"system@ovs-system": {"ports": [
            port(0, "ovs-system", "internal"), port(2, "veth0", "system")]}}))
    });
    registry.register("record/start", "", 1..=1, |call| match call.arg(0) {
        Some(file) if file.starts_with('/') => Ok(()),
        other => Err(CommandError(format!("not absolute: {other:?}"))),
    });
    registry.register("record/stop", "", 0..=0, |_| Ok("100 bytes"));
    registry.register("upcall/ports", "", 0..=0, |_| {
        Ok(json!([{"port": "veth0", "asked": 7, "served": 5, "dropped": 2}]))
    });
    // A clock and counters of its own: each sample is two seconds after the one before.
    let samples = AtomicU64::new(0);
    registry.register("flow/top", "", 0..=1, move |_| {
        let n = samples.fetch_add(1, Ordering::Relaxed);
        Ok(json!({
            "at_ms": 5000 + 2000 * n, "hit": 4000 * n, "missed": 10 * n, "lost": n, "flows": 2,
            "ports": [{"port": 2, "name": "veth0", "rx_packets": 2000 * n, "tx_packets": 0,
                "rx_bytes": 250_000 * n, "tx_bytes": 0, "upcalls": 6 * n, "dropped": 2 * n}],
            "heaviest": [
                {"ufid": "ufid:1", "flow": "in_port(veth0)", "actions": "veth1",
                 "packets": 90_000, "bytes": 9_000_000},
                {"ufid": "ufid:2", "flow": "in_port(veth1)", "actions": "veth0",
                 "packets": 20 * n, "bytes": 2000 * n},
            ],
        }))
    });
}

#[test]
fn why_and_history_show_what_the_daemon_says() {
    let fake = Fake::start(switch);
    assert_eq!(stdout(fake.rovs(&["why", "in_port(veth0)", "icmp"])), "the story\n");
    let json = stdout(fake.rovs(&["why", "--json", "in_port(veth0)", "icmp"]));
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json[0]["ufid"], "ufid:1");
    assert_eq!(stdout(fake.rovs(&["history"])), "last 20: idle\n");
    assert_eq!(stdout(fake.rovs(&["history", "5"])), "last 5: idle\n");
    let json = stdout(fake.rovs(&["history", "--json"]));
    assert_eq!(serde_json::from_str::<Value>(&json).expect("JSON")[0]["reason"], "idle");
}

#[test]
fn errors_go_to_stderr_with_a_remedy() {
    let fake = Fake::start(switch);
    let (code, out, err) = texts(fake.rovs(&["why", "10.0.0.9"]));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("no installed flow is it") && err.contains("`rovs flows`"), "{err}");

    let bare = Fake::start(|_| {});
    let (code, _, err) = texts(bare.rovs(&["history"]));
    assert_eq!(code, Some(1));
    assert!(err.contains("not a valid command") && err.contains("another daemon"), "{err}");

    let dir = tempfile::tempdir().expect("a directory");
    for target in [None, Some("/nonexistent.ctl"), Some("other")] {
        let mut command = rovs();
        command.env("OVS_RUNDIR", dir.path()).arg("ports");
        target.map(|target| command.args(["-t", target]));
        let (code, out, err) = texts(command.output().expect("a run"));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{target:?}");
        assert!(err.contains("rovs doctor"), "{target:?}: {err}");
    }
    for wrong in [&["why"][..], &["nonsense"], &["top", "--interval", "0"], &[]] {
        let (code, out, err) = texts(fake.rovs(wrong));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{wrong:?}");
        assert!(err.contains("Usage") || err.contains("--help"), "{err}");
    }
}

#[test]
fn flows_one_a_line() {
    let fake = Fake::start(switch);
    assert_eq!(
        stdout(fake.rovs(&["flows"])),
        "ufid:1, in_port(veth0),eth_type(0x0806), packets:3, bytes:126, used:1.250s, actions:veth1\n\
         in_port(veth1), packets:0, bytes:0, used:never, actions:drop\n"
    );
    let json: Value = serde_json::from_str(&stdout(fake.rovs(&["flows", "--json"]))).expect("JSON");
    assert_eq!(json[1]["actions"], "drop");
}

#[test]
fn ports_with_their_upcalls() {
    let fake = Fake::start(switch);
    let text = stdout(fake.rovs(&["ports"]));
    let words: Vec<Vec<&str>> =
        text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        words[1],
        ["0", "ovs-system", "internal", "10", "1000", "1", "20", "2000", "2", "0", "0", "0", "-"]
    );
    assert_eq!(words[2][9..], ["7", "5", "2", "-"]);
    let json: Value = serde_json::from_str(&stdout(fake.rovs(&["ports", "--json"]))).expect("JSON");
    assert_eq!(json[1]["upcalls"]["served"], 5);
    assert_eq!(json[1]["rx_bytes"], 1000);
}

#[test]
fn top_tells_rates_between_samples() {
    let fake = Fake::start(switch);
    let text = stdout(fake.rovs(&["top", "--interval", "0.1", "--count", "2"]));
    assert!(!text.contains('\x1b'), "no drawing where there is no terminal");
    let lines: Vec<&str> = text.lines().collect();
    let heads = lines.iter().filter(|line| line.contains("flows 2, hit 2.00k/s, missed 5/s"));
    assert_eq!(heads.count(), 2, "{text}");
    let port: Vec<&str> = lines[3].split_whitespace().collect();
    assert_eq!(port, ["veth0", "1.00k", "1.00M", "0", "0", "3", "1"], "{text}");
    // The other flow has more bytes, but none of them now.
    assert_eq!(lines[6].trim(), "10  8.00k  in_port(veth1), actions:veth0", "{text}");

    let json = stdout(fake.rovs(&["top", "--json", "-i", "0.1", "-n", "3"]));
    let samples: Vec<Value> =
        json.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    assert_eq!(samples.len(), 3);
    for sample in samples {
        assert_eq!(sample["interval_ms"], 2000);
        assert_eq!(sample["ports"][0]["rx_bits_per_s"], 1_000_000.0);
        assert_eq!(sample["ports"][0]["drops_per_s"], 1.0);
        assert_eq!(sample["heaviest"][0]["ufid"], "ufid:2");
        assert_eq!(sample["lost_per_s"], 0.5);
    }
}

#[test]
fn record_begins_and_ends() {
    let fake = Fake::start(switch);
    assert_eq!(stdout(fake.rovs(&["record", "x.pcap", "--duration", "0.1"])), "100 bytes\n");
    let (code, _, err) = texts(fake.rovs(&["record", "x.pcap", "--duration", "soon"]));
    assert_eq!(code, Some(2), "{err}");
}

#[test]
fn an_answer_of_another_shape_is_an_error() {
    let fake = Fake::start(|registry| {
        registry.register("flow/top", "", 0..=1, |_| Ok(json!({"at_ms": "now"})));
        registry.register("dpctl/dump-flows", "", 0..=4, |_| Ok(json!([{"flow": 7}])));
    });
    for args in [&["top", "-n", "1"][..], &["flows"]] {
        let (code, out, err) = texts(fake.rovs(args));
        assert_eq!((code, out.as_str()), (Some(1), ""));
        assert!(err.contains("makes no sense") && err.contains("restart the daemon"), "{err}");
    }
}

#[test]
fn doctor_tells_of_daemon_and_remedies() {
    let fake = Fake::start(switch);
    let output = fake.rovs(&["doctor", "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let findings = json["findings"].as_array().expect("findings");
    let missing = |finding: &&Value| finding["status"] == "missing";
    assert_eq!(output.status.code(), Some(i32::from(findings.iter().any(|f| missing(&f)))));
    // The fake has no flow/why missing, so it counts as ours.
    let of = |check: &str| {
        findings.iter().find(|finding| finding["check"] == check).cloned().unwrap_or_default()
    };
    assert_eq!(of("control socket")["status"], "ok", "{json:#}");
    assert_eq!(of("run directory")["status"], "ok");
    for finding in findings {
        assert_eq!(finding["remedy"].is_null(), finding["status"] == "ok", "{finding}");
    }
    let (code, text, _) = texts(fake.rovs(&["doctor"]));
    assert_eq!(code, output.status.code());
    assert_eq!(text.lines().count(), findings.len());
}

#[test]
fn completions_and_manual_pages_come_from_the_command_line() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(rovs().args(["completions", shell]).output().expect("a run"));
        assert!(script.contains("history") && script.contains("doctor"), "{shell}");
    }
    let page = stdout(rovs().arg("man").output().expect("a run"));
    assert!(page.starts_with(".ie") && page.contains(".TH rovs 1"), "{page}");
    let page = stdout(rovs().args(["man", "top"]).output().expect("a run"));
    assert!(page.contains("interval"), "{page}");
    let (code, _, err) = texts(rovs().args(["man", "nonsense"]).output().expect("a run"));
    assert_eq!(code, Some(1));
    assert!(err.contains("--help"), "{err}");
    let (code, out, _) = texts(rovs().arg("--version").output().expect("a run"));
    assert_eq!(code, Some(0));
    assert!(out.starts_with("rovs "), "{out}");
}
