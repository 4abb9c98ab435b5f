//! What the switch has counted at two moments, and the rates between them.
//!
//! What always holds: a counter that went back (a device was made anew, the daemon restarted)
//! gives a rate of zero, not a huge one; two samples of one moment give no rates. Plain values.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value, json};

/// An answer of `flow/top`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Sample {
    /// When, in milliseconds of the daemon's monotonic clock.
    pub(super) at_ms: u64,
    pub(super) hit: u64,
    pub(super) missed: u64,
    pub(super) lost: u64,
    /// Flows installed.
    pub(super) flows: u64,
    pub(super) ports: Vec<PortSample>,
    /// Those flows with the most bytes, the first of all `flows`.
    pub(super) heaviest: Vec<FlowSample>,
}

/// A port's counters.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct PortSample {
    pub(super) port: u32,
    pub(super) name: String,
    pub(super) rx_packets: u64,
    pub(super) tx_packets: u64,
    pub(super) rx_bytes: u64,
    pub(super) tx_bytes: u64,
    pub(super) upcalls: u64,
    pub(super) dropped: u64,
    #[serde(default)]
    pub(super) lost: u64,
}

/// A flow's counters.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct FlowSample {
    pub(super) ufid: String,
    pub(super) flow: String,
    pub(super) actions: String,
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// What happened between two samples, a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) at_ms: u64,
    pub(super) interval_ms: u64,
    pub(super) hit: f64,
    pub(super) missed: f64,
    pub(super) lost: f64,
    pub(super) flows: u64,
    pub(super) ports: Vec<PortRates>,
    /// Flows with traffic, the heaviest first.
    pub(super) heaviest: Vec<FlowRates>,
}

/// A port's rates.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PortRates {
    pub(super) port: u32,
    pub(super) name: String,
    pub(super) rx_packets: f64,
    pub(super) tx_packets: f64,
    pub(super) rx_bits: f64,
    pub(super) tx_bits: f64,
    pub(super) upcalls: f64,
    /// Upcalls that nobody answered: dropped by us or lost on the way to us.
    pub(super) drops: f64,
}

/// A flow's rates.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FlowRates {
    pub(super) ufid: String,
    pub(super) flow: String,
    pub(super) actions: String,
    pub(super) packets: f64,
    pub(super) bits: f64,
}

impl Sample {
    /// The rates since `before`; none when no time has passed.
    pub(super) fn since(&self, before: &Self) -> Option<Rates> {
        let interval_ms = self.at_ms.checked_sub(before.at_ms).filter(|ms| *ms > 0)?;
        let rate =
            |now: u64, then: u64| now.saturating_sub(then) as f64 * 1000.0 / interval_ms as f64;
        Some(Rates {
            at_ms: self.at_ms,
            interval_ms,
            hit: rate(self.hit, before.hit),
            missed: rate(self.missed, before.missed),
            lost: rate(self.lost, before.lost),
            flows: self.flows,
            ports: self.ports.iter().map(|port| port.rates(before, &rate)).collect(),
            heaviest: self.flow_rates(before, &rate),
        })
    }

    fn flow_rates(&self, before: &Self, rate: &impl Fn(u64, u64) -> f64) -> Vec<FlowRates> {
        let known: HashMap<&str, &FlowSample> =
            before.heaviest.iter().map(|flow| (flow.ufid.as_str(), flow)).collect();
        // A flow that was not listed is new; or the list was cut, and it had at most as much as the
        // last one listed.
        let is_cut = (before.heaviest.len() as u64) < before.flows;
        let last = before.heaviest.last().filter(|_| is_cut);
        let unlisted = (
            last.map_or(0, |flow| flow.bytes),
            if is_cut {
                before.heaviest.iter().map(|flow| flow.packets).max().unwrap_or(0)
            } else {
                0
            },
        );
        let mut rates: Vec<FlowRates> = self
            .heaviest
            .iter()
            .map(|flow| {
                let then = known.get(flow.ufid.as_str()).map(|then| (then.bytes, then.packets));
                let (bytes, packets) = then.unwrap_or(unlisted);
                FlowRates {
                    ufid: flow.ufid.clone(),
                    flow: flow.flow.clone(),
                    actions: flow.actions.clone(),
                    packets: rate(flow.packets, packets),
                    bits: 8.0 * rate(flow.bytes, bytes),
                }
            })
            .filter(|flow| flow.bits > 0.0 || flow.packets > 0.0)
            .collect();
        rates.sort_by(|a, b| b.bits.total_cmp(&a.bits).then(b.packets.total_cmp(&a.packets)));
        rates
    }
}

impl PortSample {
    fn rates(&self, before: &Sample, rate: &impl Fn(u64, u64) -> f64) -> PortRates {
        let then =
            before.ports.iter().find(|then| then.port == self.port && then.name == self.name);
        // A port that has just come has counters of a time that we did not see.
        let then = then.unwrap_or(self);
        PortRates {
            port: self.port,
            name: self.name.clone(),
            rx_packets: rate(self.rx_packets, then.rx_packets),
            tx_packets: rate(self.tx_packets, then.tx_packets),
            rx_bits: 8.0 * rate(self.rx_bytes, then.rx_bytes),
            tx_bits: 8.0 * rate(self.tx_bytes, then.tx_bytes),
            upcalls: rate(self.upcalls, then.upcalls),
            drops: rate(self.dropped, then.dropped) + rate(self.lost, then.lost),
        }
    }
}

impl Rates {
    /// For programs; the first `flows_max` flows.
    pub(super) fn to_json(&self, flows_max: usize) -> Value {
        let ports = self.ports.iter().map(|port| {
            json!({
                "port": port.port, "name": port.name,
                "rx_packets_per_s": round(port.rx_packets), "rx_bits_per_s": round(port.rx_bits),
                "tx_packets_per_s": round(port.tx_packets), "tx_bits_per_s": round(port.tx_bits),
                "upcalls_per_s": round(port.upcalls), "drops_per_s": round(port.drops),
            })
        });
        let heaviest = self.heaviest.iter().take(flows_max).map(|flow| {
            json!({
                "ufid": flow.ufid, "flow": flow.flow, "actions": flow.actions,
                "packets_per_s": round(flow.packets), "bits_per_s": round(flow.bits),
            })
        });
        json!({
            "at_ms": self.at_ms, "interval_ms": self.interval_ms,
            "hit_per_s": round(self.hit), "missed_per_s": round(self.missed),
            "lost_per_s": round(self.lost), "flows": self.flows,
            "ports": Value::from_iter(ports), "heaviest": Value::from_iter(heaviest),
        })
    }
}

/// To thousandths: more digits are noise.
fn round(rate: f64) -> f64 {
    (rate * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(ufid: &str, packets: u64, bytes: u64) -> FlowSample {
        FlowSample { ufid: ufid.to_owned(), packets, bytes, ..FlowSample::default() }
    }

    fn sample(at_ms: u64, flows: u64, heaviest: Vec<FlowSample>) -> Sample {
        Sample { at_ms, flows, heaviest, ..Sample::default() }
    }

    fn heaviest(rates: &Rates) -> Vec<(&str, f64, f64)> {
        rates.heaviest.iter().map(|f| (f.ufid.as_str(), f.packets, f.bits)).collect()
    }

    #[test]
    fn flows_are_sorted_by_rate_and_silent_ones_left_out() {
        let before = sample(1000, 3, vec![flow("old", 500, 90_000), flow("b", 10, 1000)]);
        let before = Sample { flows: 2, ..before };
        let now = sample(
            3000,
            3,
            vec![flow("old", 500, 90_000), flow("b", 30, 3000), flow("new", 4, 8000)],
        );
        let rates = now.since(&before).expect("time has passed");
        assert_eq!(heaviest(&rates), [("new", 2.0, 32_000.0), ("b", 10.0, 8000.0)]);
    }

    #[test]
    fn a_flow_that_a_cut_list_left_out_is_not_taken_for_new() {
        let before = sample(0, 900, vec![flow("a", 10, 5000), flow("b", 9, 4000)]);
        let now = sample(1000, 900, vec![flow("a", 10, 5000), flow("c", 60, 4500)]);
        let rates = now.since(&before).expect("time has passed");
        assert_eq!(heaviest(&rates), [("c", 50.0, 4000.0)], "at least so much");
    }

    #[test]
    fn counters_that_went_back_and_ports_that_came_give_nothing() {
        let port = |name: &str, rx_packets| PortSample {
            name: name.to_owned(),
            rx_packets,
            rx_bytes: rx_packets * 100,
            ..PortSample::default()
        };
        let before = Sample { at_ms: 10, hit: 50, ports: vec![port("a", 7)], ..Sample::default() };
        let now = Sample {
            at_ms: 20,
            hit: 3,
            ports: vec![port("a", 5), port("b", 1_000_000)],
            ..Sample::default()
        };
        let rates = now.since(&before).expect("time has passed");
        assert_eq!(rates.hit, 0.0);
        assert!(rates.ports.iter().all(|port| port.rx_packets == 0.0 && port.rx_bits == 0.0));
        assert!(now.since(&now).is_none());
        assert!(before.since(&now).is_none(), "another daemon's clock");
    }

    #[test]
    fn json_has_the_numbers_rounded() {
        let rates = Rates { hit: 1.0 / 3.0, interval_ms: 500, ..Rates::default() };
        let json = rates.to_json(5);
        assert_eq!(json["hit_per_s"], 0.333);
        assert_eq!(json["interval_ms"], 500);
    }
}
