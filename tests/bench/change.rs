//! After one change among very many flows: how many are looked at, and when the last is right.
//!
//! Two changes: an address moves from one port to another, and a port gets another tag. A few flows
//! rest on each; their packets are sent again and again, and where they arrive tells when the
//! flows are right.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::kernel::daemon::dp_stats;
use crate::kernel::deployment::Deployment;
use crate::kernel::frames::{announce, udp_frame};
use crate::kernel::inject::{Injector, packet_socket};
use crate::kernel::netns::Host;
use crate::load::{mac, receive, tuple};
use crate::subject::Who;
use crate::work::Print;

/// Flows that rest on a change.
const TOUCHED: u8 = 16;
/// Between two packets of each of them.
const EVERY: Duration = Duration::from_millis(2);
/// With nothing more to see for so long, all is right.
const QUIET: Duration = Duration::from_secs(4);
/// Nothing takes longer than that.
const PATIENCE: Duration = Duration::from_secs(60);

/// Hosts 3 to 7: the one that sends, the two between which an address moves, and two in a VLAN.
pub struct Parties {
    hosts: [Host; 5],
    sinks: [OwnedFd; 5],
    wires: [Injector; 5],
}

const SENDER: usize = 0;
const OLD: usize = 1;
const NEW: usize = 2;
const IN_VLAN: [usize; 2] = [3, 4];
const MOVING: u8 = 9;

impl Parties {
    /// Makes the hosts.
    pub fn new() -> Self {
        let hosts = [3, 4, 5, 6, 7].map(Host::silent);
        let [a, b, c, d, e] = &hosts;
        let sinks = [a, b, c, d, e].map(packet_socket);
        let wires = [a, b, c, d, e].map(Injector::new);
        Self { hosts, sinks, wires }
    }

    /// Puts them into the database.
    pub fn configure(&self, site: &Deployment) {
        for (i, host) in self.hosts.iter().enumerate() {
            let tag = if IN_VLAN.contains(&i) { "tag=10" } else { "tag=[]" };
            site.must(&["--no-wait", "add-port", "br0", &host.port, tag]);
        }
    }

    /// Has the switch learn their addresses.
    pub fn announce(&self) {
        self.wires[SENDER].send(&announce(mac(3, 0), 0));
        self.wires[OLD].send(&announce(mac(MOVING, 0), 0));
        for (n, party) in IN_VLAN.into_iter().enumerate() {
            self.wires[party].send(&announce(mac(6, n as u32), 0));
        }
        std::thread::sleep(Duration::from_millis(200));
    }

    /// Makes both changes, with the flows of a crowd beside.
    pub fn measure(&self, print: &Print<'_>, who: Who, site: &Deployment) {
        self.mac_moves(print, who, site);
        self.tag_changes(print, who, site);
    }

    fn mac_moves(&self, print: &Print<'_>, who: Who, site: &Deployment) {
        let frames = frames(mac(MOVING, 0), mac(3, 0));
        self.settle(SENDER, &frames);
        let looked = Looked::before(site);
        let begun = Instant::now();
        self.wires[NEW].send(&announce(mac(MOVING, 0), 0));
        let mut wrong: Vec<[u8; 4]> = frames.iter().map(|frame| tuple(frame)).collect();
        while !wrong.is_empty() && begun.elapsed() < PATIENCE {
            self.send(SENDER, &frames);
            let end = Instant::now() + EVERY;
            while let Some(number) =
                receive(&self.sinks[NEW], end.saturating_duration_since(Instant::now()))
            {
                wrong.retain(|other| *other != number);
            }
        }
        print.line("change.mac.time", who, begun.elapsed().as_secs_f64() * 1e3);
        print.line("change.mac.touched", who, f64::from(TOUCHED));
        std::thread::sleep(QUIET);
        print.line("change.mac.looked", who, looked.since(site));
    }

    fn tag_changes(&self, print: &Print<'_>, who: Who, site: &Deployment) {
        let [from, to] = IN_VLAN;
        let frames = frames(mac(6, 1), mac(6, 0));
        self.settle(from, &frames);
        let mut server = UnixStream::connect(site.dir().join("db.sock")).expect("it serves");
        let operation = serde_json::json!({
            "op": "update", "table": "Port",
            "where": [["name", "==", self.hosts[to].port]], "row": {"tag": 20},
        });
        let call = serde_json::json!({"id": 0, "method": "transact", "params": ["Open_vSwitch", operation]});
        let looked = Looked::before(site);
        let begun = Instant::now();
        server.write_all(call.to_string().as_bytes()).expect("it reads");
        let mut last = begun;
        while last.elapsed() < QUIET && begun.elapsed() < PATIENCE {
            self.send(from, &frames);
            let end = Instant::now() + EVERY;
            while receive(&self.sinks[to], end.saturating_duration_since(Instant::now())).is_some()
            {
                last = Instant::now();
            }
        }
        let _ = server.read(&mut [0; 256]);
        print.line("change.tag.time", who, (last - begun).as_secs_f64() * 1e3);
        print.line("change.tag.touched", who, f64::from(TOUCHED));
        print.line("change.tag.looked", who, looked.since(site));
    }

    /// Has the flows installed, and forgets what has arrived.
    fn settle(&self, from: usize, frames: &[Vec<u8>]) {
        for _ in 0..3 {
            self.send(from, frames);
            std::thread::sleep(Duration::from_millis(100));
        }
        for sink in &self.sinks {
            while receive(sink, Duration::ZERO).is_some() {}
        }
    }

    fn send(&self, from: usize, frames: &[Vec<u8>]) {
        for frame in frames {
            self.wires[from].send(frame);
        }
    }
}

/// A packet of each flow that rests on a change.
fn frames(to: [u8; 6], from: [u8; 6]) -> Vec<Vec<u8>> {
    let frame = |n: u8| {
        let mut frame = udp_frame(to, from);
        frame[34..36].copy_from_slice(&[0x77, n]);
        frame
    };
    (0..TOUCHED).map(frame).collect()
}

/// Translations, those of upcalls left out.
struct Looked {
    translations: u64,
    upcalls: u64,
}

impl Looked {
    fn before(site: &Deployment) -> Self {
        Self { translations: site.coverage("xlate_actions"), upcalls: dp_stats().missed }
    }

    fn since(&self, site: &Deployment) -> f64 {
        let now = Self::before(site);
        let upcalls = now.upcalls - self.upcalls;
        (now.translations - self.translations).saturating_sub(upcalls) as f64
    }
}
