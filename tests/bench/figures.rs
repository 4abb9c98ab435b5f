//! The figures: their names, their units, and what is wanted of them (issue 4's table).
//!
//! Measurements name a figure by its `id`; the table shows the figures of this list in its order.

/// What a figure of ours is to be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Wanted {
    /// At most this, in the figure's unit.
    AtMost(f64),
    /// At most this part of the peer's.
    OfPeer(f64),
    /// At least so many times the peer's.
    TimesPeer(f64),
    /// At most so many times another figure of ours.
    Times(f64, &'static str),
}

impl Wanted {
    /// As it stands in the table.
    pub fn text(self) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {most}"),
            Self::OfPeer(part) => format!("≤ {part} × peer"),
            Self::TimesPeer(times) => format!("≥ {times} × peer"),
            Self::Times(times, _) => format!("≤ {times} × quiet"),
        }
    }

    /// The most, or the least, that is wanted, given the peer's value and those of our other figures;
    /// `None` if there is nothing to compare with.
    pub fn bound(self, peer: Option<f64>, ours: impl Fn(&str) -> Option<f64>) -> Option<f64> {
        match self {
            Self::AtMost(most) => Some(most),
            Self::OfPeer(part) => peer.map(|peer| peer * part),
            Self::TimesPeer(times) => peer.map(|peer| peer * times),
            Self::Times(times, other) => ours(other).map(|ours| ours * times),
        }
    }

    /// Whether more is better.
    pub fn is_least(self) -> bool {
        matches!(self, Self::TimesPeer(_))
    }
}

/// One row, or one in each lab that measures it.
pub struct Figure {
    /// Stands for it in results.
    pub id: &'static str,
    /// Stands for it in the table.
    pub title: &'static str,
    /// Unit of its values.
    pub unit: &'static str,
    /// Labs in which something is wanted, and what.
    pub wanted: &'static [(&'static str, Wanted)],
}

const fn row(
    id: &'static str,
    title: &'static str,
    unit: &'static str,
    wanted: &'static [(&'static str, Wanted)],
) -> Figure {
    Figure { id, title, unit, wanted }
}

use Wanted::{AtMost, OfPeer, Times, TimesPeer};

/// All of them. `k` is thousand instructions in the lab that counts them, µs of CPU in the others.
pub const FIGURES: &[Figure] = &[
    row("macs.handlers", "MAC pairs: handlers' CPU per set-up", "k", &[("icount", AtMost(24.0))]),
    row("macs.cpu", "MAC pairs: all CPU per set-up", "k", &[]),
    row("macs.rate", "MAC pairs: set-ups per second", "/s", &[("uml", TimesPeer(2.0))]),
    row("macs.lost", "MAC pairs: packets lost", "", &[]),
    row("macs.calls", "MAC pairs: system calls per upcall", "", &[("icount", AtMost(0.1))]),
    row("macs.heap", "MAC pairs: heap allocations per upcall", "", &[("icount", AtMost(0.0))]),
    row("macs.one.cpu", "MAC pairs, one by one: handlers' CPU", "k", &[("icount", AtMost(34.0))]),
    row("macs.one.p50", "MAC pairs, one by one: first packet, p50", "µs", &[("uml", OfPeer(0.6))]),
    row(
        "macs.one.calls",
        "MAC pairs, one by one: system calls per upcall",
        "",
        &[("icount", AtMost(3.0))],
    ),
    row("tuples.handlers", "5-tuples: handlers' CPU per set-up", "k", &[("icount", AtMost(24.0))]),
    row("tuples.cpu", "5-tuples: all CPU per set-up", "k", &[]),
    row("tuples.rate", "5-tuples: set-ups per second", "/s", &[("uml", TimesPeer(2.0))]),
    row("tuples.lost", "5-tuples: packets lost", "", &[]),
    row("tuples.calls", "5-tuples: system calls per upcall", "", &[("icount", AtMost(0.1))]),
    row("tuples.heap", "5-tuples: heap allocations per upcall", "", &[("icount", AtMost(0.0))]),
    row("tuples.one.cpu", "5-tuples, one by one: handlers' CPU", "k", &[("icount", AtMost(34.0))]),
    row("tuples.one.p50", "5-tuples, one by one: first packet, p50", "µs", &[("uml", OfPeer(0.6))]),
    row(
        "tuples.one.calls",
        "5-tuples, one by one: system calls per upcall",
        "",
        &[("icount", AtMost(3.0))],
    ),
    row("storm.quiet.p50", "a quiet port's first packets: p50", "µs", &[]),
    row("storm.quiet.p99", "a quiet port's first packets: p99", "µs", &[]),
    row(
        "storm.p50",
        "the same while another port storms: p50",
        "µs",
        &[
            ("icount", Times(2.0, "storm.quiet.p50")),
            ("uml", Times(2.0, "storm.quiet.p50")),
            ("smp", Times(2.0, "storm.quiet.p50")),
        ],
    ),
    row(
        "storm.p99",
        "the same while another port storms: p99",
        "µs",
        &[
            ("icount", Times(2.0, "storm.quiet.p99")),
            ("uml", Times(2.0, "storm.quiet.p99")),
            ("smp", Times(2.0, "storm.quiet.p99")),
        ],
    ),
    row(
        "storm.unanswered",
        "the same while another port storms: unanswered",
        "%",
        &[("icount", AtMost(0.0)), ("uml", AtMost(0.0)), ("smp", AtMost(0.0))],
    ),
    row("crowd.flows", "flows installed for the rows below", "", &[]),
    row("crowd.memory", "memory per flow", "B", &[("icount", AtMost(600.0))]),
    row(
        "crowd.memory.back",
        "memory once they are gone, of that before",
        "×",
        &[("icount", AtMost(1.1))],
    ),
    row(
        "crowd.sweep",
        "one sweep of idle, valid flows: CPU per flow",
        "k",
        &[("icount", AtMost(0.9))],
    ),
    row("crowd.idle", "idle: CPU with flows installed", "%", &[("icount", AtMost(15.0))]),
    row("change.mac.touched", "a MAC moves: flows that rest on it", "", &[]),
    row("change.mac.looked", "a MAC moves: translations", "", &[]),
    row(
        "change.mac.time",
        "a MAC moves: last flow corrected after",
        "ms",
        &[("icount", OfPeer(0.05))],
    ),
    row("change.tag.touched", "a port's tag changes: flows that rest on it", "", &[]),
    row("change.tag.looked", "a port's tag changes: translations", "", &[]),
    row(
        "change.tag.time",
        "a port's tag changes: last flow corrected after",
        "ms",
        &[("icount", OfPeer(0.05))],
    ),
    row("start.cpu", "start with 2 ports: CPU until ready", "ms", &[("icount", AtMost(10.0))]),
    row("ports.cpu", "adding ports in one transaction: the daemon's CPU", "ms", &[]),
    row("ports.cpu.1000", "the same, for 1,000 ports", "ms", &[("icount", AtMost(1000.0))]),
    row(
        "ports.linear",
        "the same: second half of the ports, of the first",
        "×",
        &[("icount", AtMost(1.2))],
    ),
    row("ports.time", "the same: until ovs-vsctl returns (limit: the requests)", "ms", &[]),
    row("idle.rss", "resident memory, one bridge, idle", "MB", &[("icount", OfPeer(1.0))]),
    row("binary", "program, as it is loaded (text and data)", "MB", &[]),
];

/// The figure of this name.
pub fn find(id: &str) -> Option<&'static Figure> {
    FIGURES.iter().find(|figure| figure.id == id)
}
