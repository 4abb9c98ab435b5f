//! The table: medians and spread of each figure, rovs against the peer, the limit and what is wanted.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::Value;

use crate::chart;
use crate::figures::{FIGURES, Figure, Wanted};

/// A figure in a lab.
pub struct Row {
    /// What was measured.
    pub figure: &'static Figure,
    /// Where.
    pub lab: String,
    /// The stock daemon's.
    pub peer: Option<Cell>,
    /// Ours.
    pub rovs: Option<Cell>,
    /// The limit.
    pub limit: Option<Cell>,
    /// What is wanted, and the value that this comes to.
    pub wanted: Option<(Wanted, Option<f64>)>,
}

/// Values of several rounds.
#[derive(Clone, Copy)]
pub struct Cell {
    /// The one in the middle.
    pub median: f64,
    /// Half the distance between the least and the greatest.
    spread: f64,
}

/// Reads a file of JSON lines, prints the table, and draws the chart unless its name is empty.
pub fn run(chart: &str, file: &str) -> ExitCode {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => return fail(&format!("{file}: {error}")),
    };
    let mut values: BTreeMap<(String, String, String), Vec<f64>> = BTreeMap::new();
    let mut labs: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let Ok(line) = serde_json::from_str::<Value>(line) else {
            return fail(&format!("{file}: not a line of a measurement: {line}"));
        };
        let word = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let lab = word("lab");
        if !labs.contains(&lab) {
            labs.push(lab.clone());
        }
        let cell = values.entry((lab, word("figure"), word("who"))).or_default();
        cell.push(line["value"].as_f64().unwrap_or(f64::NAN));
    }
    let rows = rows(&labs, &mut values);
    print!("{}", table(&rows));
    if !chart.is_empty()
        && let Err(error) = std::fs::write(chart, chart::draw(&rows))
    {
        return fail(&format!("{chart}: {error}"));
    }
    ExitCode::SUCCESS
}

fn fail(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}

fn rows(labs: &[String], values: &mut BTreeMap<(String, String, String), Vec<f64>>) -> Vec<Row> {
    let mut rows = Vec::new();
    for lab in labs {
        let mut cell = |id: &str, who: &str| {
            values.get_mut(&(lab.clone(), id.to_owned(), who.to_owned())).map(|v| Cell::of(v))
        };
        for figure in FIGURES {
            let [peer, rovs, limit] = ["peer", "rovs", "limit"].map(|who| cell(figure.id, who));
            if peer.is_none() && rovs.is_none() {
                continue;
            }
            let wanted = figure.wanted.iter().find(|(other, _)| other == lab).map(|(_, w)| *w);
            let wanted = wanted.map(|wanted| {
                let other = match wanted {
                    Wanted::Times(_, other) => cell(other, "rovs").map(|cell| cell.median),
                    _ => None,
                };
                (wanted, wanted.bound(peer.map(|peer| peer.median), |_| other))
            });
            rows.push(Row { figure, lab: lab.clone(), peer, rovs, limit, wanted });
        }
    }
    rows
}

fn table(rows: &[Row]) -> String {
    let mut out = String::from(
        "| lab | figure | peer | rovs | limit | rovs/peer | rovs/limit | wanted | |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let shown = |cell: Option<Cell>| {
            cell.map_or_else(|| "–".to_owned(), |cell| cell.text(row.figure.unit))
        };
        let ratio = |to: Option<Cell>| match (row.rovs, to) {
            (Some(rovs), Some(to)) if to.median != 0.0 => {
                format!("{:.2}", rovs.median / to.median)
            }
            _ => "–".to_owned(),
        };
        let cells = [
            row.lab.clone(),
            row.figure.title.to_owned(),
            shown(row.peer),
            shown(row.rovs),
            shown(row.limit),
            ratio(row.peer),
            ratio(row.limit),
            row.wanted.map_or_else(String::new, |(wanted, _)| wanted.text()),
            match row.is_reached() {
                Some(true) => "✓".to_owned(),
                Some(false) => "short".to_owned(),
                None => String::new(),
            },
        ];
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    out
}

impl Row {
    /// Whether we are where we want to be; `None` where nothing is wanted, or nothing to compare with.
    pub fn is_reached(&self) -> Option<bool> {
        let (wanted, bound) = self.wanted?;
        let (ours, bound) = (self.rovs?.median, bound?);
        Some(if wanted.is_least() { ours >= bound } else { ours <= bound })
    }
}

impl Cell {
    fn of(values: &mut [f64]) -> Self {
        values.sort_by(f64::total_cmp);
        let (first, last) = (values.first().copied(), values.last().copied());
        let median = values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
        Self { median, spread: (last.unwrap_or(0.0) - first.unwrap_or(0.0)) / 2.0 }
    }

    fn text(self, unit: &str) -> String {
        let digits = match self.median.abs() {
            m if m == 0.0 || m >= 100.0 => 0,
            m if m >= 10.0 => 1,
            _ => 2,
        };
        let space = if unit.is_empty() { "" } else { " " };
        format!("{:.digits$}{space}{unit} ±{:.digits$}", self.median, self.spread)
    }
}
