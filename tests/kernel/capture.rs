//! What arrives at a host, by `tcpdump`: it puts VLAN tags back that the kernel takes off.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::netns::Host;

/// A running capture of what comes in at `eth0` of a host.
pub struct Capture {
    child: Child,
    file: PathBuf,
}

impl Capture {
    /// Starts it; returns when it listens.
    pub fn start(host: &Host) -> Self {
        let file = PathBuf::from(format!("/run/capture-{}.pcap", host.ns));
        let path = file.to_string_lossy().into_owned();
        // Without immediate mode the last second of packets stays in the kernel at the end.
        let listen = ["tcpdump", "--immediate-mode", "-i", "eth0", "-Q", "in", "-s0", "-U", "-nw"];
        let mut argv = host.argv(&listen);
        argv.push(&path);
        let mut child = Command::new(argv[0])
            .args(&argv[1..])
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump is installed");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        loop {
            match lines.next() {
                Some(Ok(line)) if line.contains("listening on") => break,
                Some(Ok(_)) => {}
                _ => panic!("tcpdump did not start"),
            }
        }
        // Somebody must read the rest, or its last words would block it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, file }
    }

    /// Ends it and returns the frames that came in, whole.
    pub fn stop(mut self) -> Vec<Vec<u8>> {
        // What was sent just before lies in the socket's ring still.
        std::thread::sleep(std::time::Duration::from_millis(300));
        let pid = Pid::from_raw(self.child.id().try_into().expect("pid fits"));
        kill(pid, Signal::SIGINT).expect("tcpdump runs");
        self.child.wait().expect("tcpdump ends");
        let bytes = std::fs::read(&self.file).unwrap_or_default();
        let _ = std::fs::remove_file(&self.file);
        records(&bytes)
    }
}

/// Frames of a pcap file in the byte order of this machine.
fn records(mut file: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    file = file.get(24..).unwrap_or_default();
    while let Some((head, rest)) = file.split_at_checked(16) {
        let len = u32::from_ne_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let Some((frame, rest)) = rest.split_at_checked(len) else { break };
        frames.push(frame.to_vec());
        file = rest;
    }
    frames
}
