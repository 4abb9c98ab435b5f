//! `ping` between hosts, and what came of it.

use std::process::{Child, Command, Stdio};

use super::netns::Host;

/// A running ping.
pub struct Ping {
    child: Child,
}

/// What a ping reported.
#[derive(Clone, Debug)]
pub struct Pinged {
    /// Requests sent.
    pub sent: u32,
    /// Replies received, duplicates not counted.
    pub received: u32,
    /// Replies that came more than once.
    pub duplicates: u32,
    /// Round trips in milliseconds, by sequence number, from 1.
    pub latency: Vec<(u32, f64)>,
}

impl Ping {
    /// Starts `count` pings from `host` to `target` (either family), one each `interval_ms`.
    pub fn start(host: &Host, target: &str, count: u32, interval_ms: u32) -> Self {
        let interval = format!("{:.3}", f64::from(interval_ms) / 1000.0);
        let count = count.to_string();
        let argv = host.argv(&["ping", "-n", "-W", "2", "-i", &interval, "-c", &count, target]);
        let child = Command::new(argv[0])
            .args(&argv[1..])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ping is installed");
        Self { child }
    }

    /// Waits for its end.
    pub fn finish(self) -> Pinged {
        let out = self.child.wait_with_output().expect("ping ends");
        let text = String::from_utf8_lossy(&out.stdout);
        parse(&text)
            .unwrap_or_else(|| panic!("ping said:\n{text}{}", String::from_utf8_lossy(&out.stderr)))
    }
}

/// Pings and waits.
pub fn ping(host: &Host, target: &str, count: u32, interval_ms: u32) -> Pinged {
    Ping::start(host, target, count, interval_ms).finish()
}

fn parse(text: &str) -> Option<Pinged> {
    let number = |line: &str, key: &str| -> Option<f64> {
        let rest = line.split_once(key)?.1;
        rest.split(|c: char| c != '.' && !c.is_ascii_digit()).next()?.parse().ok()
    };
    let mut latency = Vec::new();
    let mut duplicates = 0;
    for line in text.lines() {
        if line.contains("DUP!") {
            duplicates += 1;
        } else if let (Some(seq), Some(ms)) = (number(line, "icmp_seq="), number(line, "time=")) {
            latency.push((seq as u32, ms));
        }
    }
    let summary = text.lines().find(|l| l.contains("packets transmitted"))?;
    let sent = summary.split_whitespace().next()?.parse().ok()?;
    let received = summary.split(", ").nth(1)?.split_whitespace().next()?.parse().ok()?;
    Some(Pinged { sent, received, duplicates, latency })
}

impl Pinged {
    /// Requests without reply.
    pub fn lost(&self) -> u32 {
        self.sent.saturating_sub(self.received)
    }

    /// The round trip that `percent` of the answered requests did not exceed, in milliseconds.
    pub fn percentile(&self, percent: usize) -> f64 {
        let mut all: Vec<f64> = self.latency.iter().map(|l| l.1).collect();
        all.sort_by(f64::total_cmp);
        let at = (all.len() * percent).div_ceil(100).saturating_sub(1);
        all.get(at).copied().unwrap_or(f64::INFINITY)
    }
}
