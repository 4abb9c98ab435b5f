//! `rovs top`: rates between successive samples, drawn in place on a terminal, otherwise one table
//! or JSON object a sample.

use std::time::{Duration, Instant};

use clap::Args;

use super::control::Control;
use super::sample::{Rates, Sample};
use super::screen::{Screen, Wait};
use super::table::{Align, Table, short};
use super::{Failure, Format, print};

/// `rovs top`.
#[derive(Debug, Args)]
pub(super) struct Top {
    /// Seconds between two samples.
    #[arg(short, long, default_value = "1", value_name = "S", value_parser = seconds)]
    interval: Duration,
    /// Ends after so many samples.
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// Flows to show; on a terminal as many as fit.
    #[arg(long, default_value_t = 20, value_name = "N")]
    flows: usize,
    #[command(flatten)]
    format: Format,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if !(0.1..=3600.0).contains(&seconds) {
        return Err("must be from 0.1 to 3600 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Flows asked for beyond those shown: the heaviest of the last second need not be those with the
/// most bytes so far.
const FLOWS_ASKED_MIN: usize = 1000;

/// Longest wait for a sample. Keys and signals are not looked at meanwhile.
const PATIENCE: Duration = Duration::from_secs(3);

impl Top {
    pub(super) fn run(&self, target: &str) -> Result<(), Failure> {
        let mut screen = if self.format.json { None } else { Screen::open()? };
        let mut source = Source::new(target, self.flows);
        let mut before = source.sample()?;
        let mut shown = 0;
        let mut next = Instant::now() + self.interval;
        while self.count.is_none_or(|count| shown < count) {
            match Screen::wait(screen.as_ref(), next)? {
                Wait::Quit => return Ok(()),
                Wait::Time => next = (next + self.interval).max(Instant::now()),
            }
            let now = match (source.sample(), &mut screen) {
                (Ok(now), _) => now,
                // Whoever watches a screen wants to see the daemon come back.
                (Err(failure), Some(screen)) => {
                    screen.draw(&[format!("rovs top: {failure}"), "waiting for it".to_owned()])?;
                    continue;
                }
                (Err(failure), None) => return Err(failure),
            };
            let rates = now.since(&before);
            before = now;
            let Some(rates) = rates else { continue };
            shown += 1;
            match &mut screen {
                Some(screen) => screen.draw(&lines(&rates, target, screen.rows()))?,
                None if self.format.json => print(&format!("{}\n", rates.to_json(self.flows)))?,
                None => {
                    let mut text = lines(&rates, target, None);
                    text.truncate(text.len() - rates.heaviest.len().saturating_sub(self.flows));
                    print(&(text.join("\n") + "\n\n"))?;
                }
            }
        }
        Ok(())
    }
}

/// Where samples come from; connects anew after a failure.
struct Source<'a> {
    target: &'a str,
    count: String,
    control: Option<Control>,
}

impl<'a> Source<'a> {
    fn new(target: &'a str, flows: usize) -> Self {
        let count = flows.saturating_mul(2).max(FLOWS_ASKED_MIN).to_string();
        Self { target, count, control: None }
    }

    fn sample(&mut self) -> Result<Sample, Failure> {
        let mut control = match self.control.take() {
            Some(control) => control,
            None => {
                let mut control = Control::connect(self.target)?;
                control.set_patience(PATIENCE)?;
                control
            }
        };
        let sample = control.ask("flow/top", &[&self.count])?;
        self.control = Some(control);
        Ok(sample)
    }
}

/// The picture, the flows last; at most `rows` lines.
fn lines(rates: &Rates, target: &str, rows: Option<usize>) -> Vec<String> {
    let mut lines = vec![format!(
        "{target}: flows {}, hit {}/s, missed {}/s, lost {}/s",
        rates.flows,
        short(rates.hit),
        short(rates.missed),
        short(rates.lost),
    )];
    lines.push(String::new());
    let mut ports = Table::new(&[
        ("PORT", Align::Left),
        ("RX PKT/S", Align::Right),
        ("RX BIT/S", Align::Right),
        ("TX PKT/S", Align::Right),
        ("TX BIT/S", Align::Right),
        ("UPCALLS/S", Align::Right),
        ("DROPS/S", Align::Right),
    ]);
    let mut busiest: Vec<_> = rates.ports.iter().collect();
    // On a screen that is too small for all ports the quiet ones are the ones to miss.
    let room = rows.map_or(usize::MAX, |rows| (rows * 2 / 3).saturating_sub(3).max(1));
    if busiest.len() > room {
        let weight = |port: &super::sample::PortRates| port.rx_bits + port.tx_bits + port.upcalls;
        busiest.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
        busiest.truncate(room);
    }
    for port in &busiest {
        let cells = [
            port.rx_packets,
            port.rx_bits,
            port.tx_packets,
            port.tx_bits,
            port.upcalls,
            port.drops,
        ];
        let cells = cells.into_iter().map(short);
        ports.add(std::iter::once(port.name.clone()).chain(cells).collect());
    }
    lines.extend(ports.lines());
    if busiest.len() < rates.ports.len() {
        lines.push(format!("({} quieter ports)", rates.ports.len() - busiest.len()));
    }
    lines.push(String::new());
    let mut flows =
        Table::new(&[("PKT/S", Align::Right), ("BIT/S", Align::Right), ("FLOW", Align::Left)]);
    for flow in &rates.heaviest {
        let text = format!("{}, actions:{}", flow.flow, flow.actions);
        flows.add(vec![short(flow.packets), short(flow.bits), text]);
    }
    lines.extend(flows.lines());
    lines.truncate(rows.unwrap_or(usize::MAX));
    lines
}

#[cfg(test)]
mod tests {
    use super::super::sample::{FlowRates, PortRates};
    use super::*;

    fn rates(ports: u32, flows: usize) -> Rates {
        let port = |port| PortRates {
            port,
            name: format!("veth{port}"),
            rx_bits: f64::from(port),
            ..PortRates::default()
        };
        let flow = FlowRates {
            flow: "in_port(veth1)".to_owned(),
            actions: "veth2".to_owned(),
            packets: 7.0,
            bits: 5600.0,
            ..FlowRates::default()
        };
        Rates {
            hit: 1500.0,
            flows: flows as u64,
            ports: (0..ports).map(port).collect(),
            heaviest: vec![flow; flows],
            ..Rates::default()
        }
    }

    #[test]
    fn the_whole_picture() {
        let lines = lines(&rates(2, 1), "x", None);
        let want = [
            "x: flows 1, hit 1.50k/s, missed 0/s, lost 0/s",
            "",
            "PORT   RX PKT/S  RX BIT/S  TX PKT/S  TX BIT/S  UPCALLS/S  DROPS/S",
            "veth0         0         0         0         0          0        0",
            "veth1         0         1         0         0          0        0",
            "",
            "PKT/S  BIT/S  FLOW",
            "    7  5.60k  in_port(veth1), actions:veth2",
        ];
        assert_eq!(lines, want);
    }

    #[test]
    fn a_small_screen_shows_the_busiest() {
        let lines = lines(&rates(100, 50), "x", Some(24));
        assert_eq!(lines.len(), 24);
        assert!(lines[3].starts_with("veth99 "), "{lines:#?}");
        assert!(lines.contains(&"(87 quieter ports)".to_owned()), "{lines:#?}");
    }

    #[test]
    fn intervals_have_bounds() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "nan", "inf", "x", ""] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
